/* schema.h - every option of the configuration, as a row.
 *
 * config_build reads with these rows, config_diff compares with them, `tailrace check
 * --print-options` prints them, and the manual is held against them. Adding an option is adding a
 * member to a struct of config.h (or shape.h) and a row to schema.c.
 *
 * A row (getopt has taken the name struct option) belongs to one scope and says where its value
 * lives: `offset` and `size` inside the scope's struct (struct config, config_stream,
 * config_source, shape_field, multiline_spec, config_allow). A size of 0 is a row that one function
 * of config.c stores by hand, because its value is a mapping or a sequence (OPTION_MAPPING,
 * OPTION_RECORD, OPTION_ADD, OPTION_NAMES, OPTION_JSON), or that is checked but not kept
 * (key_fallback).
 *
 *   option_set    reads `text` as the row says, checks it, and stores it in the struct at `base`;
 *                 text values are copied and what was there before is freed. Nothing is changed on
 *                 failure, and err holds a sentence without the option's name and place:
 *                 "20m is out of bounds: 0ms to 10m".
 *   option_print  the value as it would be written in the file; "(not set)" for text that is NULL,
 *                 and for a 0 that is out of bounds and no default.
 *   option_equal  whether the two structs hold the same value.
 *   schema_release frees every text value of a scope's struct.
 *
 * Units. Durations: ms, s, m, h. Sizes: B, KB, MB, GB (1000), KiB, MiB, GiB, TiB (1024). Whole
 * numbers only; a number without a unit is refused, 0 too.
 */
#ifndef LIB_SCHEMA_H
#define LIB_SCHEMA_H

#include "lib/buf.h"
#include "lib/err.h"

enum option_scope {
    SCOPE_GLOBAL,
    SCOPE_STREAM,
    SCOPE_SOURCE,
    SCOPE_FIELD,
    SCOPE_MULTILINE,
    SCOPE_ALLOW,
};
#define SCOPES_N 6

/* Where an option of SCOPE_SOURCE may stand: what a source's records become may be in a mapping. */
enum option_place { PLACE_SOURCE, PLACE_BOTH, PLACE_MAPPING };

/* Which kind of source an option of SCOPE_SOURCE goes with. */
enum option_kind { KIND_ANY, KIND_FILE, KIND_SOCKET };

enum option_type {
    OPTION_TEXT,     /* char *, owned; max bounds its length in bytes */
    OPTION_DURATION, /* milliseconds */
    OPTION_SIZE,     /* bytes */
    OPTION_COUNT,    /* a bare number */
    OPTION_CHOICE,   /* an enum or a bool: the index in `choices` */
    OPTION_SYNC,     /* milliseconds, or always (0) or never (UINT64_MAX) */
    OPTION_MODE,     /* permissions, in octal */
    OPTION_CHAR,     /* one ASCII character */
    OPTION_NAMES,    /* a sequence of names, or of numbers */
    OPTION_MAPPING,  /* a mapping by name: streams, sources */
    OPTION_RECORD,   /* the template */
    OPTION_ADD,      /* a mapping from names to templates of text */
    OPTION_JSON,     /* a constant: a JSON scalar */
};

typedef int option_check_fn(const char *text, struct err *e);

struct schema_row {
    enum option_scope scope;
    const char *name;
    enum option_type type;
    bool required;
    enum option_kind kind;
    enum option_place place;
    bool restart;               /* a change takes effect only after a restart */
    size_t offset, size;        /* of the value, in the scope's struct */
    const char *fallback;       /* the default, as it would be written; NULL: none */
    uint64_t min, max;          /* inclusive; both 0: not bounded */
    const char *const *choices; /* NULL at the end */
    option_check_fn *check;     /* beyond type and bounds; may be NULL */
    const char *sentence;
};

extern const struct schema_row schema[];
extern const size_t schema_n;

const char *scope_name(enum option_scope scope); /* "global", "stream", ... */
const struct schema_row *schema_find(enum option_scope scope, const char *name);
/* The option of that scope whose name takes the fewest edits; never NULL. */
const struct schema_row *schema_nearest(enum option_scope scope, const char *name);
/* Insertions, deletions, exchanges and swaps of neighbours; only the first EDIT_CHARS_MAX bytes
 * count. */
unsigned edit_distance(const char *a, const char *b);
#define EDIT_CHARS_MAX 64

int option_set(const struct schema_row *o, void *base, const char *text, struct err *e);
void option_print(const struct schema_row *o, const void *base, struct buf *out);
void option_print_type(const struct schema_row *o, struct buf *out);
void option_print_bounds(const struct schema_row *o,
                         struct buf *out); /* "0ms to 10m", or nothing */
bool option_equal(const struct schema_row *o, const void *a, const void *b);
void schema_release(enum option_scope scope, void *base);

#endif
