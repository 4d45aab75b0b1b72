/* ring.h - the one store of records between the sources and the service.
 *
 * A fixed block of memory, allocated at start, and three positions that only grow (bytes ever):
 *
 *      acked  <=  taken  <=  written,      written - acked <= size
 *      |          |          '- where the next record goes
 *      |          '- the next record that no batch has borrowed yet
 *      '- the oldest record that is not DONE: all before it is delivered, by construction
 *
 * Put:    ring_reserve gives room for one record in one piece (NULL: full; nothing changed); fill
 *         in key and data, then ring_publish. One reservation at a time.
 * Take:   ring_peek shows the record at `taken` (NULL: none), ring_take passes it. It stays where
 *         it is.
 * Retire: ring_oldest shows the record at `acked` if it is DONE (NULL: it is not, or none is left);
 *         ring_retire passes it and frees its room.
 *
 * Laps. Records are whole and never wrap: where the next one cannot go on in one piece, a new lap
 * begins elsewhere in the block: at the front, or behind everything that is alive. A lap is a run
 * of positions and the place where it begins; at most RING_LAPS_MAX are alive. A lap need not use
 * the whole block: when the first half of what it has used is free again, the next begins at the
 * front, so that a ring through which little flows stays in the processor's caches and touches
 * little memory; and when delivery stops then, writing goes on behind, until the block is full. An
 * empty ring begins anew.
 *
 *      block  [ newest lap ....>  free  [acked .... oldest lap .... ] middle lap ....      ]
 *
 * ring_sane is asserted at the doors; ring_check is the same and all that is too slow for that.
 */
#ifndef LIB_RING_H
#define LIB_RING_H

#include "lib/record.h"

#define RING_LAP_MIN  (1 * MIB) /* no new lap before this, but for want of room */
#define RING_LAPS_MAX 4

struct ring {
    char *block;
    uint64_t size;
    uint64_t acked, taken, written;
    struct {
        uint64_t position, place; /* its first position, and where in the block that is */
    } laps[RING_LAPS_MAX];        /* the oldest first */
    unsigned laps_n;
    uint64_t limit;     /* how far in the block the newest lap may go */
    unsigned untaken_n; /* records between taken and written */
};

bool ring_init(struct ring *r, uint64_t size); /* false: no memory */
void ring_release(struct ring *r);
bool ring_sane(const struct ring *r);
bool ring_check(const struct ring *r);

struct record *ring_reserve(struct ring *r, size_t key_n, size_t data_n);
void ring_publish(struct ring *r, struct record *rec);
struct record *ring_peek(const struct ring *r);
void ring_take(struct ring *r, struct record *rec);
struct record *ring_oldest(const struct ring *r);
void ring_retire(struct ring *r, struct record *rec);

static inline uint64_t ring_used(const struct ring *r)
{
    return r->written - r->acked;
}

static inline bool ring_empty(const struct ring *r)
{
    return r->written == r->acked;
}

/* The largest record (key and data) that may be asked for: an empty ring always takes it. */
static inline size_t ring_record_max(const struct ring *r)
{
    return (size_t)(r->size / 2) - sizeof(struct record) - 8;
}

#endif
