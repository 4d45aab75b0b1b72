/* shards.h - every shard of a stream, read in turn and followed across splits and merges.
 *
 * shards_list asks for the shards and adds the ones not known yet; it is called first, when
 * shards_list_due says so, and before believing that nothing more will come. shards_next picks the
 * shard whose turn is nearest (NULL when there is nothing to read), `due_ms` says when its turn is;
 * shards_read reads it once and hands each record to the callback, in order, which returns false to
 * stop the reading. A child shard begins when all its parents known here are read to their end, so
 * that the records of one key keep their order.
 *
 * shards_idle tells whether all shards have been known to hold nothing more for so long.
 * Both calls return the results of kinesis.h, retries already made or planned: KINESIS_OK,
 * _STOPPED, or _FAILED with err set.
 */
#ifndef DAEMON_CLI_SHARDS_H
#define DAEMON_CLI_SHARDS_H

#include "daemon/cli/kinesis.h"
#include "lib/buf.h"

#define SHARDS_MAX 20000 /* a hostile ListShards must end */

struct shards_record {
    const char *shard, *sequence;
    struct str partition_key; /* p is NULL when the stream has none */
    struct str data;
    double arrival; /* seconds since 1970 */
};

typedef bool shards_record_fn(void *ctx, const struct shards_record *r);

enum shard_state { SHARD_WAITING, SHARD_READING, SHARD_DONE };

struct shard {
    char *id, *parents[2]; /* NULL if none */
    enum shard_state state;
    bool closed;      /* the service says that nothing is added any more */
    bool from_latest; /* where it began */
    char *iterator;   /* NULL: to be asked for */
    char *sequence;   /* of the last record read, NULL if none */
    uint64_t due_ms, idle_since_ms;
    bool idle;
    unsigned tries; /* failures in a row */
};

struct shards {
    struct kinesis *k;
    const char *stream; /* a name or an ARN; borrowed */
    bool from_latest;
    uint64_t poll_ms; /* between two looks at a shard that has nothing */
    uint64_t begun_wall_ms, list_due_ms;
    bool listed, changed; /* changed: a waiting shard may have become free to begin */
    struct shard *all;
    size_t n, cap;
    struct buf data;
};

void shards_init(struct shards *s, struct kinesis *k, const char *stream, bool from_latest,
                 uint64_t poll_ms);
void shards_release(struct shards *s);
enum kinesis_result shards_list(struct shards *s, struct err *e);
bool shards_list_due(const struct shards *s, uint64_t now_ms);
struct shard *shards_next(struct shards *s);
enum kinesis_result shards_read(struct shards *s, struct shard *shard, unsigned limit,
                                shards_record_fn *tell, void *ctx, struct err *e);
bool shards_idle(const struct shards *s, uint64_t now_ms, uint64_t for_ms);

#endif
