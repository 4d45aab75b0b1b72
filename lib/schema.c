/* schema.c - the rows, and how a row is found.
 *
 * The table is the only place that knows what an option is. The checks above it are those that a
 * type and two bounds cannot say; each gets the text and answers 0, or an error with a sentence.
 * What depends on two options at once (a stream's ARN and the region, say) stands in config.c.
 */
#include "lib/schema.h"

#include <stdlib.h>

#include "lib/config.h"
#include "lib/endpoint.h"
#include "lib/pattern.h"
#include "lib/timefmt.h"

#define GIB              (1024 * (uint64_t)MIB)
#define SECOND           ((uint64_t)1000)
#define MINUTE           (60 * SECOND)
#define PATH_BYTES_MAX   4095 /* Linux's PATH_MAX, without the NUL */
#define KINESIS_NAME_MAX 128

static bool only(const char *text, const char *extra)
{
    for (; *text != '\0'; text++) {
        char c = *text;
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && strchr(extra, c) == NULL)
            return false;
    }
    return true;
}

static int check_region(const char *text, struct err *e)
{
    if (!only(text, "-"))
        return err_set(e, ERR_SYNTAX, "\"%s\" is not the name of a region, like us-east-1", text);
    return 0;
}

static int check_endpoint(const char *text, struct err *e)
{
    struct endpoint ep;
    return endpoint_parse(&ep, text, e);
}

static int check_path(const char *text, struct err *e)
{
    if (text[0] != '/')
        return err_set(e, ERR_SYNTAX, "\"%.200s\" is not an absolute path: it must start with /",
                       text);
    return 0;
}

static int check_socket(const char *text, struct err *e)
{
    size_t n = strlen(text);
    if (text[0] != '/' || text[n - 1] == '/')
        return err_set(e, ERR_SYNTAX, "\"%.200s\" is not the absolute path of a socket", text);
    return 0;
}

static int check_control(const char *text, struct err *e)
{
    if (strcmp(text, "off") == 0 || (text[0] == '/' && text[strlen(text) - 1] != '/'))
        return 0;
    return err_set(e, ERR_SYNTAX, "\"%.200s\" is neither off nor the absolute path of a socket",
                   text);
}

/* arn:aws*:kinesis:REGION:ACCOUNT:stream/NAME; gives NAME, or NULL. */
static const char *arn_stream_name(const char *arn)
{
    struct str region = endpoint_arn_region(str_of(arn));
    if (region.n == 0)
        return NULL;
    const char *account = region.p + region.n;
    if (*account++ != ':' || strspn(account, "0123456789") != 12)
        return NULL;
    const char *kind = account + 12;
    return strncmp(kind, ":stream/", 8) == 0 ? kind + 8 : NULL;
}

static int check_kinesis(const char *text, struct err *e)
{
    bool arn = strncmp(text, "arn:", 4) == 0;
    const char *name = arn ? arn_stream_name(text) : text;
    if (name == NULL)
        return err_set(e, ERR_SYNTAX,
                       "\"%s\" is not the ARN of a data stream: "
                       "arn:aws:kinesis:REGION:ACCOUNT:stream/NAME",
                       text);
    if (name[0] == '\0' || strlen(name) > KINESIS_NAME_MAX || !only(name, "_.-"))
        return err_set(e, ERR_SYNTAX,
                       "\"%s\" is not the name of a data stream: 1 to %d letters, digits and _.-",
                       name, KINESIS_NAME_MAX);
    return 0;
}

static int check_delimiter(const char *text, struct err *e)
{
    if (strchr("\"\r\n", text[0]) != NULL)
        return err_set(e, ERR_RANGE, "a quote or a line break cannot be the delimiter");
    return 0;
}

static int check_from(const char *text, struct err *e)
{
    if (text[0] != '@' || shape_is_metadata(str_of(text)))
        return 0;
    return err_set(e, ERR_SYNTAX, "there is no metadata \"%.64s\"; there are " SHAPE_METADATA,
                   text);
}

static int check_regex(const char *text, struct err *e)
{
    struct err why = {0};
    struct pattern *p = pattern_new(text, PATTERN_START, &why);
    pattern_free(p);
    return p != NULL ? 0 : err_set(e, why.code, "%s", why.text);
}

static int check_pattern(const char *text, struct err *e)
{
    struct timefmt f;
    return timefmt_compile(&f, text, e);
}

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const watches[] = {"auto", "poll", NULL};
static const char *const start_ats[] = {"end", "beginning", NULL};
static const char *const formats[] = {
    "line",   "json",           "csv",    "regex", "common_log", "combined_log", "apache_error",
    "syslog", "syslog_rfc5424", "logfmt", NULL};
static const char *const no_matches[] = {"raw", "dead_letter", "drop", NULL};
static const char *const encodings[] = {"utf-8", "latin1", "utf-16le", "utf-16be", NULL};
static const char *const key_fallbacks[] = {"random", NULL};
static const char *const bad_values[] = {"set_null", "dead_letter", NULL};
static const char *const oversizes[] = {"truncate", "split", "dead_letter", NULL};
static const char *const quotes[] = {"\"", "none", NULL};
static const char *const types[] = {"any", "string", "int", "double", "bool", NULL};
static const char *const socket_types[] = {"stream", "datagram", NULL};
static const char *const framings[] = {"newline", "length32", NULL};
static const char *const acks[] = {"none", "durable", "delivered", NULL};
static const char *const on_fulls[] = {"block", "drop_newest", "drop_oldest", NULL};
static const char *const booleans[] = {"false", "true", NULL};

/* The words above stand in the order of the enums they become. */
_Static_assert(LOG_ERROR == 0 && LOG_WARN == 1 && LOG_INFO == 2 && LOG_DEBUG == 3, "log_levels");
_Static_assert(START_AT_END == 0 && START_AT_BEGINNING == 1, "start_ats");
_Static_assert(FORMAT_LINE == 0 && FORMAT_JSON == 1 && FORMAT_CSV == 2 && FORMAT_REGEX == 3,
               "formats");
_Static_assert(FORMAT_COMMON_LOG == 4 && FORMAT_COMBINED_LOG == 5 && FORMAT_APACHE_ERROR == 6 &&
                   FORMAT_SYSLOG == 7 && FORMAT_SYSLOG_RFC5424 == 8 && FORMAT_LOGFMT == 9,
               "formats");
_Static_assert(NO_MATCH_RAW == 0 && NO_MATCH_DEAD_LETTER == 1 && NO_MATCH_DROP == 2, "no_matches");
_Static_assert(ENCODING_UTF8 == 0 && ENCODING_LATIN1 == 1 && ENCODING_UTF16LE == 2 &&
                   ENCODING_UTF16BE == 3,
               "encodings");
_Static_assert(OVERSIZE_TRUNCATE == 0 && OVERSIZE_SPLIT == 1 && OVERSIZE_DEAD_LETTER == 2,
               "oversizes");
_Static_assert(FRAMING_NEWLINE == 0 && FRAMING_LENGTH32 == 1, "framings");
_Static_assert(ACK_NONE == 0 && ACK_DURABLE == 1 && ACK_DELIVERED == 2, "acks");
_Static_assert(FULL_BLOCK == 0 && FULL_DROP_NEWEST == 1 && FULL_DROP_OLDEST == 2, "on_fulls");
_Static_assert(TYPE_ANY == 0 && TYPE_STRING == 1 && TYPE_INT == 2 && TYPE_DOUBLE == 3 &&
                   TYPE_BOOL == 4,
               "types");

#define AT(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)NULL)->member)
#define GLOBAL(member)   .scope = SCOPE_GLOBAL, .name = #member, AT(struct config, member)
#define UNIT(member, unit)                                                                         \
    .scope = SCOPE_GLOBAL, .name = #member, AT(struct config, member##_##unit)
#define STREAM(label, member) .scope = SCOPE_STREAM, .name = label, AT(struct config_stream, member)
#define SOURCE(label, member) .scope = SCOPE_SOURCE, .name = label, AT(struct config_source, member)
#define SHAPE(label, member)  SOURCE(label, shape.member), .place = PLACE_BOTH
#define FILES(label, member)  SOURCE(label, member), .kind = KIND_FILE
#define SOCKET(label, member) SOURCE(label, socket.member), .kind = KIND_SOCKET
#define LINES(label, member)                                                                       \
    .scope = SCOPE_MULTILINE, .name = label, AT(struct multiline_spec, member)
#define FIELD(label, member) .scope = SCOPE_FIELD, .name = label, AT(struct shape_field, member)

const struct schema_row schema[] = {
    {GLOBAL(region), .type = OPTION_TEXT, .required = true, .max = 63, .check = check_region,
     .sentence = "The AWS region of the streams: part of every request's signature and, without an "
                 "endpoint, of its address."},
    {GLOBAL(endpoint), .type = OPTION_TEXT, .max = 300, .check = check_endpoint,
     .sentence =
         "An http:// or https:// URL of a Kinesis service to use instead of the region's own: "
         "for local parts and VPC endpoints."},
    {GLOBAL(state_dir), .type = OPTION_TEXT, .restart = true, .fallback = "/var/lib/tailrace",
     .max = PATH_BYTES_MAX, .check = check_path,
     .sentence = "The directory of checkpoints and dead letters, locked by the running daemon."},
    {GLOBAL(control), .type = OPTION_TEXT, .restart = true, .max = PATH_BYTES_MAX,
     .check = check_control,
     .sentence = "The socket on which the daemon answers the tailrace tool, or off; by default "
                 "control.sock in systemd's runtime directory if there is one, else in state_dir."},
    {GLOBAL(profile), .type = OPTION_TEXT, .max = 128,
     .sentence = "The profile in the shared AWS files to take credentials from; credentials in the "
                 "environment are then passed over."},
    {GLOBAL(ca_bundle), .type = OPTION_TEXT, .max = PATH_BYTES_MAX, .check = check_path,
     .sentence =
         "A file of CA certificates (PEM) to check the endpoint's certificate against, instead "
         "of the system's."},
    {GLOBAL(log_level), .type = OPTION_CHOICE, .fallback = "info", .choices = log_levels,
     .sentence = "The least important lines that are still logged."},
    {UNIT(stop_timeout, ms), .type = OPTION_DURATION, .fallback = "10s", .min = SECOND,
     .max = 10 * MINUTE,
     .sentence =
         "How long a stop may take to deliver what has been read; the rest is read again at "
         "the next start."},
    {UNIT(dead_letter_max, bytes), .type = OPTION_SIZE, .fallback = "256MiB", .min = MIB,
     .max = 1024 * GIB,
     .sentence =
         "The most that dead letters may take on disk; a source with one more to store then "
         "pauses."},
    {UNIT(connect_timeout, ms), .type = OPTION_DURATION, .fallback = "5s", .min = 100,
     .max = 2 * MINUTE,
     .sentence = "How long a connection to the endpoint may take to be made, TLS included."},
    {UNIT(request_timeout, ms), .type = OPTION_DURATION, .fallback = "30s", .min = SECOND,
     .max = 10 * MINUTE,
     .sentence = "How long one request may take from its start to the end of its answer."},
    {.scope = SCOPE_GLOBAL,
     .name = "streams",
     .type = OPTION_MAPPING,
     .required = true,
     .sentence = "The streams to deliver to, each under a name of your choice."},
    {.scope = SCOPE_GLOBAL,
     .name = "sources",
     .type = OPTION_MAPPING,
     .required = true,
     .sentence = "The files to follow and the sockets to listen on, each under a name of your "
                 "choice; checkpoints are kept under that name."},

    {STREAM("kinesis", kinesis), .type = OPTION_TEXT, .required = true, .max = 256,
     .check = check_kinesis,
     .sentence = "The data stream's name or its ARN, in the region given above."},
    {STREAM("linger", linger_ms), .type = OPTION_DURATION, .fallback = "1s", .min = 0,
     .max = 10 * MINUTE, .sentence = "How long a record may wait for others to fill its request."},
    {STREAM("buffer", buffer_bytes), .type = OPTION_SIZE, .restart = true, .fallback = "64MiB",
     .min = 8 * MIB, .max = 64 * GIB,
     .sentence =
         "The memory for records on their way, allocated at start; when it is full, reading "
         "pauses."},
    {STREAM("in_flight", in_flight), .type = OPTION_COUNT, .fallback = "4", .min = 1, .max = 64,
     .sentence = "How many requests may be under way at one time."},
    {STREAM("spool", spool_bytes), .type = OPTION_SIZE, .restart = true, .fallback = "256MiB",
     .min = 16 * MIB, .max = 1024 * GIB,
     .sentence = "The size on disk, allocated at start, of the log of records that came through "
                 "sockets; only streams that sockets feed have one."},
    {STREAM("sync", sync_ms), .type = OPTION_SYNC, .fallback = "20ms", .min = 1, .max = MINUTE,
     .sentence = "How long a record in the spool may wait to be synced to the disk together with "
                 "others; always syncs with each write, never leaves it to the kernel."},

    {FILES("file", file), .type = OPTION_TEXT, .max = PATH_BYTES_MAX, .check = check_path,
     .sentence =
         "The files, as an absolute path that may hold *, ?, [...], ** for any directories, "
         "and {a,b}."},
    {.scope = SCOPE_SOURCE,
     .name = "exclude",
     .kind = KIND_FILE,
     .type = OPTION_NAMES,
     .sentence = "Files to leave alone though they match: globs of a whole path, or, without a "
                 "slash, of its last part."},
    {FILES("watch", watch_poll), .type = OPTION_CHOICE, .fallback = "auto", .choices = watches,
     .sentence = "How changes are noticed: told by the kernel (inotify), or, for file systems that "
                 "tell nothing, by looking once a second."},
    {FILES("max_open_files", max_open_files), .type = OPTION_COUNT, .fallback = "512", .min = 1,
     .max = 1000000,
     .sentence = "How many files to hold open at one time; the least recently active ones are "
                 "closed, once delivered, and opened again when they change."},
    {FILES("ignore_older", ignore_older_ms), .type = OPTION_DURATION, .min = 1000,
     .max = (uint64_t)10 * 365 * 24 * 60 * MINUTE,
     .sentence =
         "What is in files that were last written longer ago than this, when they are first "
         "seen, is not sent; what is added to them later is."},
    {SOCKET("socket", path), .type = OPTION_TEXT, .max = PATH_BYTES_MAX, .check = check_socket,
     .sentence = "The path of a Unix socket to which applications write, instead of files."},
    {SOCKET("type", datagram), .type = OPTION_CHOICE, .fallback = "stream", .choices = socket_types,
     .sentence = "Whether clients connect and send frames, or send datagrams, each of which is a "
                 "record."},
    {SOCKET("mode", mode), .type = OPTION_MODE, .fallback = "0660",
     .sentence = "The permissions of the socket's file: who may write to it may connect."},
    {SOCKET("owner", owner), .type = OPTION_TEXT, .max = 64,
     .sentence = "The owner of the socket's file, by name or number; by default the daemon's "
                 "user."},
    {SOCKET("group", group), .type = OPTION_TEXT, .max = 64,
     .sentence = "The group of the socket's file, by name or number; by default the daemon's."},
    {SOCKET("framing", framing), .type = OPTION_CHOICE, .fallback = "newline", .choices = framings,
     .sentence = "How a client's bytes are cut into frames: by line ends, or by a length before "
                 "each, four bytes, the highest first."},
    {SOCKET("ack", ack), .type = OPTION_CHOICE, .fallback = "none", .choices = acks,
     .sentence = "What a client is told: nothing, or up to which frame its frames are in the spool "
                 "and synced, or accepted by the service."},
    {SOCKET("on_full", on_full), .type = OPTION_CHOICE, .fallback = "block", .choices = on_fulls,
     .sentence = "What happens when the spool is full: clients wait, or the newest or the oldest "
                 "records are dropped, and counted."},
    {SOCKET("max_clients", max_clients), .type = OPTION_COUNT, .fallback = "1024", .min = 1,
     .max = 100000, .sentence = "How many clients may be connected at one time."},
    {SOCKET("idle_timeout", idle_ms), .type = OPTION_DURATION, .min = SECOND,
     .max = 24 * 60 * MINUTE,
     .sentence = "How long a client may be silent before it is cut off; without it, for ever."},
    {.scope = SCOPE_SOURCE,
     .name = "allow",
     .kind = KIND_SOCKET,
     .type = OPTION_MAPPING,
     .sentence = "Which peers may write, by what the kernel knows of them; without it, all whom "
                 "the mode lets in."},
    {SOURCE("stream", stream_name), .type = OPTION_TEXT, .required = true, .max = 64,
     .sentence = "The name, under streams, of the stream that gets the records."},
    {SOURCE("mapping", mapping), .type = OPTION_TEXT, .max = PATH_BYTES_MAX, .check = check_path,
     .sentence =
         "A file of the options that say what the records become, in place of those options "
         "here; the same file serves the Lambda function."},
    {FILES("start_at", start_at), .type = OPTION_CHOICE, .fallback = "end", .choices = start_ats,
     .sentence = "Where to begin in files that are there when this source is started for the very "
                 "first time; files that appear later are read from their beginning."},
    {SHAPE("format", format), .type = OPTION_CHOICE, .fallback = "line", .choices = formats,
     .sentence = "What the files hold: lines that are records as they stand, lines of JSON, CSV "
                 "(RFC 4180), or lines that become objects: by a pattern, of a well-known log, or "
                 "of key=value pairs."},
    {SHAPE("pattern", pattern), .type = OPTION_TEXT, .max = PATTERN_TEXT_MAX,
     .sentence = "The regular expression (PCRE2) that a whole line must match; its named groups "
                 "are the fields."},
    {SHAPE("on_no_match", on_no_match), .type = OPTION_CHOICE, .fallback = "raw",
     .choices = no_matches,
     .sentence = "What happens to a line that is not of its format: it is sent as it stands, "
                 "becomes a dead letter, or is dropped."},
    {SHAPE("encoding", encoding), .type = OPTION_CHOICE, .fallback = "utf-8", .choices = encodings,
     .sentence = "How the files' text is encoded; what is sent is UTF-8."},
    {SHAPE("delimiter", delimiter), .kind = KIND_FILE, .type = OPTION_CHAR, .fallback = ",",
     .check = check_delimiter,
     .sentence = "The character between the cells of a CSV row; a tab is written \"\\t\" in double "
                 "quotes."},
    {SHAPE("quote", no_quotes), .kind = KIND_FILE, .type = OPTION_CHOICE, .fallback = "\"",
     .choices = quotes,
     .sentence = "The character around CSV cells that hold delimiters or line ends; with none, "
                 "quotes are characters like any other, and each line is a row."},
    {.scope = SCOPE_SOURCE,
     .name = "columns",
     .place = PLACE_BOTH,
     .kind = KIND_FILE,
     .type = OPTION_NAMES,
     .sentence = "The names of the CSV columns, for files that have no header row."},
    {.scope = SCOPE_SOURCE,
     .name = "record",
     .place = PLACE_BOTH,
     .type = OPTION_RECORD,
     .sentence =
         "The template of the JSON object that a record becomes; without it, all its fields as "
         "strings, or, from JSON, the record as it stands."},
    {SHAPE("flatten", flatten), .type = OPTION_TEXT, .max = 8,
     .sentence = "What to join the names of nested JSON objects with, so that their members become "
                 "members of the record; without it, they stay nested."},
    {SHAPE("split_arrays", split_arrays), .type = OPTION_CHOICE, .fallback = "false",
     .choices = booleans,
     .sentence = "Whether each element of a line that is a JSON array is a record of its own."},
    {.scope = SCOPE_SOURCE,
     .name = "add",
     .place = PLACE_BOTH,
     .type = OPTION_ADD,
     .sentence = "Members to put at the end of each JSON object, in place of its own of that name: "
                 "names, and templates of text and {@metadata} or {field} names, or fields as in "
                 "record."},
    {SHAPE("key", key), .type = OPTION_TEXT, .fallback = "random", .max = 4096,
     .sentence = "The partition key: random, the hash of the record, or a template of text and "
                 "{column} names."},
    {.scope = SCOPE_SOURCE,
     .name = "key_fallback",
     .place = PLACE_BOTH,
     .type = OPTION_CHOICE,
     .fallback = "random",
     .choices = key_fallbacks,
     .sentence =
         "The key of a record whose template gives none: a field is missing or empty, or the "
         "key is over 256 characters."},
    {.scope = SCOPE_SOURCE,
     .name = "partition_keys",
     .place = PLACE_MAPPING,
     .type = OPTION_NAMES,
     .sentence = "Only in a mapping, and only of use to the Lambda function: members of the result "
                 "that Firehose gets as partition keys."},
    {SHAPE("on_bad_value", bad_value_dead), .type = OPTION_CHOICE, .fallback = "set_null",
     .choices = bad_values,
     .sentence =
         "What happens to a value that does not fit its type: null in its place, or the whole "
         "record becomes a dead letter."},
    {SHAPE("max_record", max_record), .type = OPTION_SIZE, .fallback = "1MiB", .min = KIB,
     .max = MIB,
     .sentence = "The largest record, its key included; on_oversize decides about a larger one."},
    {SOURCE("on_oversize", shape.on_oversize), .type = OPTION_CHOICE, .fallback = "truncate",
     .choices = oversizes,
     .sentence = "What happens to a line over max_record: its first part is sent with a marker, or "
                 "it is sent in parts, or it becomes a dead letter, as every other record does."},
    {.scope = SCOPE_SOURCE,
     .name = "multiline",
     .kind = KIND_FILE,
     .type = OPTION_MAPPING,
     .sentence = "Which lines belong to one record; without it, each line is one."},
    {FILES("flush_partial_after", shape.flush_after_ms), .type = OPTION_DURATION, .min = 100,
     .max = 60 * MINUTE,
     .sentence = "How long a file must have been quiet for its last record to be sent without its "
                 "line end; without it, the record waits until the file is done with."},
    {FILES("skip_lines", shape.skip_lines), .type = OPTION_COUNT, .fallback = "0", .min = 0,
     .max = 1000, .sentence = "How many lines at the beginning of each file are not records."},

    {LINES("start", start), .type = OPTION_TEXT, .max = PATTERN_TEXT_MAX, .check = check_regex,
     .sentence = "A regular expression (PCRE2); a line whose beginning matches begins a record."},
    {LINES("continue", continues), .type = OPTION_TEXT, .max = PATTERN_TEXT_MAX,
     .check = check_regex,
     .sentence = "A regular expression (PCRE2); a line whose beginning matches goes on with the "
                 "record before it."},
    {LINES("timeout", timeout_ms), .type = OPTION_DURATION, .fallback = "5s", .min = 100,
     .max = 60 * MINUTE,
     .sentence = "How long a file must have been quiet for its last lines to be a whole record."},
    {LINES("max_lines", max_lines), .type = OPTION_COUNT, .fallback = "500", .min = 1,
     .max = 100000, .sentence = "The most lines of one record; the next line then begins another."},

    {.scope = SCOPE_ALLOW,
     .name = "uids",
     .type = OPTION_NAMES,
     .sentence = "Numbers of users who may write."},
    {.scope = SCOPE_ALLOW,
     .name = "gids",
     .type = OPTION_NAMES,
     .sentence = "Numbers of groups who may write; supplementary ones count on stream sockets."},
    {.scope = SCOPE_ALLOW,
     .name = "users",
     .type = OPTION_NAMES,
     .sentence = "Names of users, looked up at a start and a reload."},
    {.scope = SCOPE_ALLOW,
     .name = "groups",
     .type = OPTION_NAMES,
     .sentence = "Names of groups, looked up at a start and a reload."},

    {FIELD("from", from), .type = OPTION_TEXT, .required = true, .max = 1024, .check = check_from,
     .sentence = "The field the value comes from, as a dotted path into JSON, or metadata like "
                 "@file.path."},
    {FIELD("type", type), .type = OPTION_CHOICE, .fallback = "any", .choices = types,
     .sentence = "What the value becomes in JSON; numbers are copied as text and lose no digit. "
                 "any: a value of JSON stays what it is, all else is a string."},
    {FIELD("trim", trim), .type = OPTION_CHOICE, .fallback = "false", .choices = booleans,
     .sentence = "Whether blanks at both ends of the value are taken off first."},
    {FIELD("parse", parse), .type = OPTION_TEXT, .max = 256, .check = check_pattern,
     .sentence = "The strptime pattern by which the value is read as a time; it needs print beside "
                 "it."},
    {FIELD("print", print), .type = OPTION_TEXT, .max = 256, .check = check_pattern,
     .sentence =
         "The strftime pattern by which that time is written; a time without a zone stays as "
         "it is."},
    {.scope = SCOPE_FIELD,
     .name = "const",
     .type = OPTION_JSON,
     .sentence = "A constant instead of a column: the only key of its mapping."},
};

const size_t schema_n = ARRAY_LEN(schema);

const char *scope_name(enum option_scope scope)
{
    static const char *const names[SCOPES_N] = {"global", "stream",    "source",
                                                "field",  "multiline", "allow"};
    return names[scope];
}

const struct schema_row *schema_find(enum option_scope scope, const char *name)
{
    for (size_t i = 0; i < schema_n; i++)
        if (schema[i].scope == scope && strcmp(schema[i].name, name) == 0)
            return &schema[i];
    return NULL;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* The table of the textbook, three rows of it: rows[i % 3][j] is the distance between the first i
 * bytes of a and the first j of b. */
unsigned edit_distance(const char *a, const char *b)
{
    unsigned rows[3][EDIT_CHARS_MAX + 1];
    size_t a_n = strnlen(a, EDIT_CHARS_MAX), b_n = strnlen(b, EDIT_CHARS_MAX);
    for (unsigned j = 0; j <= b_n; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= a_n; i++) {
        const unsigned *before = rows[(i + 1) % 3], *above = rows[(i - 1) % 3];
        unsigned *row = rows[i % 3];
        row[0] = i;
        for (unsigned j = 1; j <= b_n; j++) {
            row[j] = least(above[j - 1] + (a[i - 1] != b[j - 1]), least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
    }
    return rows[a_n % 3][b_n];
}

const struct schema_row *schema_nearest(enum option_scope scope, const char *name)
{
    const struct schema_row *nearest = NULL;
    unsigned nearest_edits = 0;
    for (size_t i = 0; i < schema_n; i++) {
        if (schema[i].scope != scope)
            continue;
        unsigned edits = edit_distance(schema[i].name, name);
        if (nearest == NULL || edits < nearest_edits) {
            nearest = &schema[i];
            nearest_edits = edits;
        }
    }
    return nearest;
}

void schema_release(enum option_scope scope, void *base)
{
    for (size_t i = 0; i < schema_n; i++) {
        const struct schema_row *o = &schema[i];
        if (o->scope != scope || o->type != OPTION_TEXT)
            continue;
        char **at = (char **)(void *)((char *)base + o->offset);
        free(*at);
        *at = NULL;
    }
}
