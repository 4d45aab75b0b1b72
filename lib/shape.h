/* shape.h - what a record becomes: its bytes and its partition key.
 *
 * A struct shape_spec says what is wanted (config builds it, and owns it); shape_new compiles it
 * once per source: constant text is escaped in advance, patterns are compiled, every raw field
 * named in a template gets a number. For csv, shape_bind matches those numbers with one file's
 * header row (each file has its own), giving a struct shape_columns that the caller owns and frees
 * with shape_columns_free before the shape. shape_apply then turns one framed record into bytes
 * and a key:
 *
 *   SHAPE_RECORD   out->data and out->key are set; they borrow from the input or from the shape's
 *                  own buffers and live until the next shape_apply.
 *   SHAPE_DEAD     the record cannot be sent; out->reason says why ("not JSON at byte 12", ...),
 *                  and out->data is the raw record. The caller makes it a dead letter; or, when
 *                  out->too_long and out->may_be_cut say so, offers less of it, with a suffix.
 *   SHAPE_DROPPED  the record is to be passed over (on_no_match).
 *   SHAPE_NOMEM    memory ran out; nothing was used up, try again.
 *
 * Text. What is not UTF-8 by `encoding` is converted first (encoding.h), and in->suffix is put
 * behind it; dead letters hold the bytes as they came. For csv, Latin-1 cells are converted; rows
 * of UTF-16 are not read.
 *
 * Formats. line: the text is the record. json: the text, if it is one valid JSON value (the caller
 * may know that it is: in->valid); or an object made of it, by flatten or the template. csv: an
 * object of the columns. regex, the logs of logformats.h, logfmt: an object of the line's fields;
 * a line that does not match is counted (no_match) and goes as on_no_match says: as it is, as a
 * dead letter, or not at all. The object comes from the template, or, without one, holds all
 * fields as strings; what is not there is null, a bare logfmt key is true. A row with more cells
 * than columns, or fewer, is counted as ragged; what is past the last column is dropped.
 *
 * Template. Field order is kept. Values: string: JSON string; any (the default): the same, but for
 * JSON's own values and metadata that is a number; int: optional sign and digits; double: a decimal
 * number with optional fraction and exponent; both copied as text, never through a double, blanks
 * around them ignored, made JSON where JSON is stricter (+5 is 5, 007 is 7, .5 is 0.5, 1. is 1.0);
 * bool: true/false, yes/no, 1/0, t/f, y/n in any case. An empty cell of a type other than these
 * strings, or of a time, is null and no error; a column that a CSV file does not have is null and
 * counts as a bad value; a field that a line does not have is just null. `trim` takes blanks off
 * both ends first. `parse` + `print` re-format a time; the result is a JSON string unless type says
 * otherwise. A bad value: null and counted, or, with bad_value_dead, SHAPE_DEAD with field and
 * column in the reason (never the value: it may be private). A ragged row is a bad value too (not
 * without a template), for it may be torn. `from` may be metadata
 * (SHAPE_METADATA); numbers among it are ints by themselves, what is not known is null: a socket's
 * records have no file, a file's no peer.
 *
 * From JSON. `from` is a dotted path, followed one name at a time; at each level a member that has
 * all the rest of the path as its name is taken before one to descend into: a.b is the member
 * "a.b", or b in the object a. Names are compared without their escapes; of two members of one name
 * the last counts, as it does for most readers. A value with neither a type nor a time is copied as
 * it stands (line breaks in it become blanks; trim takes blanks off a string). With a type or a
 * time a string counts as its text, a number or a boolean as its digits or letters, and all goes as
 * above; an object or array is, as a string, its JSON, and otherwise a bad value. What is missing,
 * or null, is null.
 *
 * Flatten. Nested objects dissolve into members named by their path, joined by the separator;
 * leaves keep their bytes. Arrays are leaves, an empty object stays {}. Names are not made unique:
 * what the record says twice is said twice, in its order.
 *
 * Add. Members put at the end of each object: a name, and a template of text like a key's or a
 * field as in the record's template. Texts are strings; one source alone that gives nothing is
 * null, and one that is a number (@file.offset, @peer.pid, ...) is a number. An object's own
 * members of such a name are left out (of a flattened one, by the name they would get), so that a
 * client cannot pass off its own. For json the rest of the object's bytes are kept.
 *
 * What is JSON but no object, and was to be changed in one of these ways, has no members: it goes
 * as it stands, and is counted (add_skipped), or is SHAPE_DEAD with bad_value_dead.
 *
 * Key. "random": 8 hex digits; "hash": 32 hex digits of the record's SHA-256; else a template of
 * literal text and {field} or {@metadata} ({{ and }} are braces). Fields are columns or fields of
 * the line, or dotted paths into a JSON record as it came (strings unescaped, numbers and booleans
 * as their text). If a referenced field is missing or empty, or the key would be empty or longer
 * than 256 Unicode characters, the key is random and out->key_fallbacks says so. Invalid UTF-8 in a
 * key is replaced by U+FFFD. With format line a template may not name fields.
 *
 * Limits. data + key over spec->max_record is SHAPE_DEAD. The spec must outlive the shape.
 */
#ifndef LIB_SHAPE_H
#define LIB_SHAPE_H

#include "lib/buf.h"
#include "lib/csv.h"
#include "lib/encoding.h"
#include "lib/err.h"
#include "lib/multiline.h"
#include "lib/rng.h"
#include "lib/stats.h"

#define SHAPE_RANDOM_KEY_BYTES 8
#define SHAPE_KEY_CHARS_MAX    256 /* Kinesis counts Unicode characters, not bytes */
#define SHAPE_FIELDS_MAX       512 /* in one template, nested ones included */
#define SHAPE_DEPTH_MAX        8   /* nested objects in a template */
#define SHAPE_ADD_MAX          32  /* members of add */

enum shape_format {
    FORMAT_LINE,
    FORMAT_JSON,
    FORMAT_CSV,
    FORMAT_REGEX,
    FORMAT_COMMON_LOG, /* from here on in the order of enum logformat */
    FORMAT_COMBINED_LOG,
    FORMAT_APACHE_ERROR,
    FORMAT_SYSLOG,
    FORMAT_SYSLOG_RFC5424,
    FORMAT_LOGFMT,
};
enum shape_no_match { NO_MATCH_RAW, NO_MATCH_DEAD_LETTER, NO_MATCH_DROP };
enum shape_oversize { OVERSIZE_TRUNCATE, OVERSIZE_SPLIT, OVERSIZE_DEAD_LETTER };
enum shape_type { TYPE_ANY, TYPE_STRING, TYPE_INT, TYPE_DOUBLE, TYPE_BOOL };
enum shape_kind { FIELD_FROM, FIELD_CONST, FIELD_OBJECT };

struct shape_field {
    char *name;
    enum shape_kind kind;
    char *from; /* FIELD_FROM: a raw field's name, a dotted path into JSON, or @metadata */
    enum shape_type type;
    bool trim;
    char *parse, *print;          /* both or neither */
    char *constant;               /* FIELD_CONST: a JSON value, as text */
    struct shape_field *children; /* FIELD_OBJECT */
    size_t children_n;
};

/* A member put at the end of each object. */
struct shape_add {
    char *name;
    char *text;                /* a template, as a key's is; NULL: */
    struct shape_field *field; /* a field of this name */
};

struct shape_spec {
    enum shape_format format;
    char *pattern; /* regex */
    enum shape_no_match on_no_match;
    struct shape_add *add;
    size_t add_n;
    enum shape_encoding encoding; /* of the framed records; what is sent is UTF-8 */
    char *flatten;     /* json: the separator of joined names; NULL: nested objects stay */
    bool split_arrays; /* json: the elements of an array are records; the caller splits (json.h) */
    char delimiter;
    bool no_quotes; /* csv: quotes are plain characters */
    char **columns; /* csv: names given by the configuration; none: each file's first row */
    size_t columns_n;
    char *key; /* "random", "hash" or a template */
    bool bad_value_dead;
    struct shape_field *fields;
    size_t fields_n; /* 0: no template */
    size_t max_record;
    /* How the input cuts bytes into records: */
    struct multiline_spec multiline;
    enum shape_oversize on_oversize;
    uint64_t skip_lines;     /* at the beginning of each file */
    uint64_t flush_after_ms; /* 0: an unterminated record waits for its end */
};

struct shape;
struct shape_columns;

struct shape_in {
    struct str raw;                      /* the record as framed */
    const struct csv_row *row;           /* csv only */
    const struct shape_columns *columns; /* csv only */
    struct str path;                     /* of the file; n 0: there is none, nor an offset */
    uint64_t offset;
    bool has_peer; /* who wrote it to a socket is known: */
    int64_t pid, uid, gid;
    bool valid;        /* json only: raw is known to be one JSON value */
    struct str suffix; /* put behind the text: raw is only the first part of a line, and no match */
};

struct shape_out {
    struct str data, key;
    bool key_plain; /* the key is ours: nothing in it to escape */
    unsigned bad_values, bytes_replaced, key_fallbacks, ragged_rows;
    unsigned no_match, regex_limits, add_skipped;
    const char *reason; /* SHAPE_DEAD: a sentence, alive until the next shape_apply */
    bool too_long;      /* SHAPE_DEAD: data and key are over max_record */
    bool may_be_cut;    /* and the data is only text: less of it would do; key is set */
};

enum shape_result { SHAPE_RECORD, SHAPE_DEAD, SHAPE_DROPPED, SHAPE_NOMEM };

/* NULL with err set: a bad pattern, a bad key template, too many fields, or no memory. */
struct shape *shape_new(const struct shape_spec *spec, const char *host, struct err *e);
void shape_free(struct shape *s);
/* Whether a template names @ec2.*; if so, what is known of the instance (NULL: nothing). False: no
 * memory. */
bool shape_wants_ec2(const struct shape *s);
bool shape_set_ec2(struct shape *s, const char *instance_id, const char *availability_zone);
/* Formats whose lines may not match have on_no_match; those that make objects take a template. */
bool shape_format_may_miss(enum shape_format f);
bool shape_format_has_fields(enum shape_format f);
/* "@file.path" and the like. */
bool shape_is_metadata(struct str name);
#define SHAPE_METADATA                                                                             \
    "@file.path, @file.offset, @host, @peer.pid, @peer.uid, @peer.gid, @ec2.instance_id and "      \
    "@ec2.availability_zone"
/* What the input finds the ends of events with; NULL: each line is a record. */
struct multiline *shape_multiline(const struct shape *s);

/* Only for csv. NULL when memory runs out. *missing (may be NULL) gets the first name that the
 * template or the key asks for and the header lacks, or NULL. A repeated column name: the first. */
struct shape_columns *shape_bind(const struct shape *s, const struct str *names, size_t n,
                                 const char **missing);
void shape_columns_free(struct shape_columns *c);

enum shape_result shape_apply(struct shape *s, const struct shape_in *in, struct rng *r,
                              struct shape_out *out);
/* The text, or as much of it as there is room for beside the suffix and the key: in->raw.n says
 * how much that was. */
enum shape_result shape_cut(struct shape *s, struct shape_in *in, struct rng *r,
                            struct shape_out *out);
/* Whether of a record that is too long its first part may be sent: it is text, and on_oversize does
 * not make it a dead letter. */
bool shape_may_cut(const struct shape_spec *spec);
#define SHAPE_TRUNCATED STR("...[truncated]") /* the suffix of a first part that stays alone */
#define SHAPE_TOO_LONG  "longer than max_record"
/* A file's first bytes, or a record's that is read as a file is, without the byte-order mark that
 * they may begin with. Lines of UTF-8 are sent as they stand, mark and all. */
struct str shape_without_mark(const struct shape_spec *spec, struct str bytes);
void shape_count(struct stats *stats, const struct shape_out *out); /* what was odd about it */

#endif
