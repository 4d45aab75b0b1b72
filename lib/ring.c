/* A record goes where `written` points in its lap. When the rest of the block is too short, or the
 * lap has left enough room behind, the next lap begins at the front, up to where the tail still
 * is. */
#include "lib/ring.h"

#include <stdlib.h>

bool ring_init(struct ring *r, uint64_t size)
{
    size &= ~(uint64_t)7;
    *r = (struct ring){.block = malloc((size_t)size), .size = size};
    return r->block != NULL;
}

void ring_release(struct ring *r)
{
    free(r->block);
    *r = (struct ring){0};
}

bool ring_sane(const struct ring *r)
{
    return r->acked <= r->taken && r->taken <= r->written && r->written - r->acked <= r->size &&
           r->lap_before <= r->lap && r->lap <= r->written && r->lap_before <= r->acked &&
           (r->acked >= r->lap || r->written - r->lap <= r->acked - r->lap_before);
}

static struct record *at(const struct ring *r, uint64_t position)
{
    uint64_t lap = position >= r->lap ? r->lap : r->lap_before;
    return (struct record *)(void *)(r->block + (position - lap));
}

static void new_lap(struct ring *r)
{
    r->lap_before = r->lap;
    r->lap = r->written;
    if (ring_empty(r))
        r->lap_before = r->lap; /* nothing is left of the lap before */
}

/* Makes room for `size` bytes in one piece at `written`. False: there is none. */
static bool make_room(struct ring *r, uint64_t size)
{
    if (ring_empty(r) && r->lap != r->written)
        new_lap(r);
    uint64_t head = r->written - r->lap;
    if (r->acked < r->lap) /* the tail is in the lap before, and may not be passed */
        return head + size <= r->acked - r->lap_before;
    uint64_t tail = r->acked - r->lap;
    bool enough_behind = head >= RING_LAP_MIN && tail >= head / 2;
    if (head + size <= r->size && !enough_behind)
        return true;
    if (size > tail)
        return head + size <= r->size;
    new_lap(r);
    return true;
}

struct record *ring_reserve(struct ring *r, size_t key_n, size_t data_n)
{
    assert(key_n <= RECORD_KEY_BYTES_MAX && key_n + data_n <= ring_record_max(r));
    uint64_t size = (sizeof(struct record) + key_n + data_n + 7) & ~(uint64_t)7;
    if (!make_room(r, size))
        return NULL;
    struct record *rec = at(r, r->written);
    *rec = (struct record){
        .size = (uint32_t)size, .data_n = (uint32_t)data_n, .key_n = (uint16_t)key_n};
    return rec;
}

void ring_publish(struct ring *r, struct record *rec)
{
    assert(rec == at(r, r->written));
    r->written += rec->size;
    r->untaken_n++;
    assert(ring_sane(r));
}

struct record *ring_peek(const struct ring *r)
{
    return r->taken < r->written ? at(r, r->taken) : NULL;
}

void ring_take(struct ring *r, struct record *rec)
{
    assert(rec == at(r, r->taken) && rec->state == RECORD_WAITING);
    rec->state = RECORD_TAKEN;
    r->taken += rec->size;
    r->untaken_n--;
}

struct record *ring_oldest(const struct ring *r)
{
    if (r->acked == r->taken)
        return NULL;
    struct record *rec = at(r, r->acked);
    return rec->state == RECORD_DONE ? rec : NULL;
}

void ring_retire(struct ring *r, struct record *rec)
{
    assert(rec == at(r, r->acked) && rec->state == RECORD_DONE);
    r->acked += rec->size;
    assert(ring_sane(r));
}
