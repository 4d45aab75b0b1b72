/* config.h - the configuration: immutable once built.
 *
 * config_build reads YAML text, applies defaults, checks every bound and every cross-reference, and
 * gives a whole configuration or none. All errors are told, not the first: each goes to `tell` as
 * one line "file:line:column: what is wrong", in document order. An unknown key names the nearest
 * known one. What each option is (name, type, default, bounds, unit, live or restart, sentence)
 * stands in schema.c as a row, and nowhere else; the manual is held against those rows.
 *
 * Checked here, beyond single values: at least one stream and one source; a source's stream exists;
 * names of streams and sources match [A-Za-z0-9_.-]{1,64} and are unique; options that
 * belong to a format (`record:`, `columns:`, `pattern:`, ...) stand with it; parse and print
 * together; a shape compiles (shape_new); a stream ARN is one, and its region agrees with
 * `region:`; the endpoint is a URL; region is there; file globs, state_dir, control and ca_bundle
 * are absolute paths; times and sizes carry units.
 *
 * A mapping is a file of its own, which holds those options of a source that say what its records
 * become (schema.h, PLACE_BOTH), as a source's section does, and partition_keys. A source that
 * names one has none of them itself. config_build_with reads it through `files`, with the same
 * checks, and tells what is wrong in it by its own name; config_build cannot read any.
 * config_build_mapping is the Lambda function's way: it builds nothing but a mapping, into a
 * configuration of one source, of which only shape and partition_keys are set.
 *
 * config_diff compares two configurations row by row: for each difference `tell` gets a line like
 * "streams.crimes.buffer: 64MiB -> 128MiB (needs a restart)", and the function returns how many of
 * the differences need a restart. Sources and streams that were added or removed are named too.
 *
 * Strings belong to the config; config_free frees all; NULL is fine.
 */
#ifndef LIB_CONFIG_H
#define LIB_CONFIG_H

#include "lib/base.h"
#include "lib/shape.h"

#define CONFIG_NAME_MAX    64
#define CONFIG_STREAMS_MAX 256 /* each has a ring of at least 8 MiB */
#define EXCLUDES_MAX       64
#define PARTITION_KEYS_MAX 16
#define CONFIG_SOURCES_MAX 1024 /* each is held against its likes by name */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum start_at { START_AT_END, START_AT_BEGINNING };

enum socket_ack { ACK_NONE, ACK_DURABLE, ACK_DELIVERED };
enum socket_full { FULL_BLOCK, FULL_DROP_NEWEST, FULL_DROP_OLDEST };
enum socket_framing { FRAMING_NEWLINE, FRAMING_LENGTH32 };

struct config_stream {
    char *name;
    char *kinesis; /* the data stream's name or its ARN, as written */
    uint64_t linger_ms;
    uint64_t buffer_bytes;
    uint64_t in_flight;
    uint64_t spool_bytes; /* of the spool's file, if sockets feed the stream */
    uint64_t sync_ms;     /* 0: always; UINT64_MAX: never */
};

/* Who may write to a socket; all empty: whom its mode lets in. */
struct config_allow {
    uint32_t *uids, *gids;
    size_t uids_n, gids_n;
    char **users, **groups;
    size_t users_n, groups_n;
};

struct config_socket {
    char *path; /* absolute; NULL: the source follows files */
    bool datagram;
    uint64_t mode;
    char *owner, *group; /* names or numbers; NULL: the daemon's */
    enum socket_framing framing;
    enum socket_ack ack;
    enum socket_full on_full;
    uint64_t max_clients;
    uint64_t idle_ms; /* 0: a silent client may stay */
    struct config_allow allow;
};

struct config_source {
    char *name;
    char *file; /* a glob, absolute; NULL: a socket */
    struct config_socket socket;
    char *stream_name;
    size_t stream;   /* index into streams */
    char **excludes; /* globs of files to leave alone */
    size_t excludes_n;
    bool watch_poll; /* watch: poll */
    uint64_t max_open_files;
    uint64_t ignore_older_ms; /* 0: nothing is too old */
    enum start_at start_at;
    char *mapping; /* the file that `shape` was read from, or NULL */
    struct shape_spec shape;
    char **partition_keys; /* names of members of the result, for the Lambda function */
    size_t partition_keys_n;
};

struct config {
    char *region;
    char *endpoint;  /* NULL: the region's own */
    char *state_dir; /* default /var/lib/tailrace */
    char *control;   /* the control socket's path, or "off"; NULL: the daemon's choice */
    char *profile;   /* NULL: AWS_PROFILE, then "default" */
    char *ca_bundle; /* NULL: the system's */
    enum log_level log_level;
    uint64_t stop_timeout_ms;
    uint64_t dead_letter_max_bytes;
    uint64_t connect_timeout_ms;
    uint64_t request_timeout_ms;
    struct config_stream *streams;
    size_t streams_n;
    struct config_source *sources;
    size_t sources_n;
};

typedef void config_tell_fn(void *ctx, const char *line);

/* Puts the text of a file into an initialised buf, or says why not in a sentence that names the
 * file. */
struct config_files {
    int (*read)(void *ctx, const char *path, size_t max, struct buf *out, struct err *e);
    void *ctx;
};

/* `file` is only the name used in messages. NULL when anything was wrong. */
struct config *config_build(const char *file, struct str text, config_tell_fn *tell, void *ctx);
struct config *config_build_with(const char *file, struct str text,
                                 const struct config_files *files, config_tell_fn *tell, void *ctx);
struct config *config_build_mapping(const char *file, struct str text, config_tell_fn *tell,
                                    void *ctx);
void config_free(struct config *c);
unsigned config_diff(const struct config *before, const struct config *after, config_tell_fn *tell,
                     void *ctx);

/* The number of a user or a group. The highest one means "none", and is not taken. */
bool config_read_id(const char *text, uint32_t *id);

#endif
