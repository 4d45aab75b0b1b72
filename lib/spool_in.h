/* spool_in.h - the inside of a spool, shared by its files:
 *   spool.c        life, recovery, putting, what callers may ask, the turn
 *   spool_write.c  when and what to write, and what came of it
 *   spool_feed.c   from memory or the file into the ring; letting go of the oldest
 *
 * Chunks are a queue of stretches of the log, the newest last; all that is not written lies in
 * them, and what is written as long as nobody needs the room. A chunk lies in one piece in memory
 * and in the file: a lap's end begins a new one. Its bytes do not change once they are put.
 *
 * Two positions besides those of spool.h:
 *   handed   what lies before is written, or in the write that is under way
 *   kept     what lies before need not be in the file any more: it is delivered, or was dropped
 */
#ifndef LIB_SPOOL_IN_H
#define LIB_SPOOL_IN_H

#include "lib/spool.h"

#define NEVER UINT64_MAX

struct chunk {
    char *p;
    uint64_t begin;   /* the position of its first byte */
    uint64_t full_ms; /* when the next one began */
    size_t n;
};

struct spool {
    struct spool_ops ops;
    struct pipeline *pipeline;
    struct stats *stats;
    struct spoollog log;
    struct origin origin;
    size_t record_max, chunk_bytes;
    uint64_t sync_ms;

    uint64_t end, handed, written, synced, kept;
    uint64_t lap;       /* the position at which the lap of `end` began */
    uint64_t recovered; /* where `end` was at the start: what lies behind is of this life */

    struct chunk chunks[SPOOL_CHUNKS];
    unsigned first, chunks_n;

    struct spool_write write; /* under way while busy */
    struct {
        uint64_t end;
        bool has_state;
        struct spoollog_state state;
    } job; /* what is true when it is done */
    char state_bytes[SPOOLLOG_STATE_BYTES];
    bool busy, told; /* told: spool_wrote was called, and no turn has looked yet */
    struct spoollog_state state, synced_state; /* in the file; on the disk, too */
    uint64_t state_ms;                         /* when it was last handed out */
    bool state_due;     /* the file's state is of an earlier life: the next write renews it */
    uint64_t first_ms;  /* when the first byte was put that no sync covers, NEVER: there is none */
    bool wants_room;    /* a put has found the file full */
    bool wants_to_drop; /* and may have the oldest dropped for it */
    uint64_t now_ms;    /* of the last put or turn */
    bool paused, finishing;

    struct spoolread reader;
    uint64_t again_ms; /* no reading into the ring before */
    bool stalled;      /* for want of room for a dead letter */
    unsigned read_errors;

    struct err outcome; /* of the write that was told */
    bool failed;
    uint64_t delivered_when_failed;
    char failure[ERR_TEXT_MAX];
};

static inline struct chunk *spool_chunk(struct spool *sp, unsigned i)
{
    return &sp->chunks[(sp->first + i) % SPOOL_CHUNKS];
}

static inline uint64_t chunk_end(const struct chunk *c)
{
    return c->begin + c->n;
}

/* The room behind what is kept is used again only when the file, and the disk if it is ever synced,
 * say that recovery begins there. */
static inline uint64_t spool_floor(const struct spool *sp)
{
    return sp->sync_ms == SPOOL_SYNC_NEVER ? sp->state.saved : sp->synced_state.saved;
}

/* None at all may be left when syncing begins: what no sync covers yet may be more than a lap. */
static inline uint64_t spool_room(const struct spool *sp)
{
    uint64_t used = sp->end - spool_floor(sp);
    return used < sp->log.capacity ? sp->log.capacity - used : 0;
}

/* What a record of the largest size may need, with the rest of a lap that it does not fit into. */
static inline uint64_t spool_room_wanted(const struct spool *sp)
{
    uint64_t size = spoollog_size(0, sp->record_max), rest = sp->log.capacity - (sp->end - sp->lap);
    return size > rest ? size + rest : size;
}

/* spool.c */
void spool_fail(struct spool *sp, const char *text);

/* spool_write.c */
void spool_take_outcome(struct spool *sp);
void spool_start_write(struct spool *sp, struct now now);
uint64_t spool_write_deadline(const struct spool *sp, struct now now);

/* spool_feed.c */
/* True: there is more to do at once. */
bool spool_feed(struct spool *sp, struct now now);
void spool_drop_oldest(struct spool *sp);

#endif
