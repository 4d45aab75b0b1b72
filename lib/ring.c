/* A record goes behind the one before it, as long as nothing that is alive, nor the end of the
 * block, is in the way; else a new lap begins where there is room. That is looked for only when
 * `limit` is reached: it is what was in the way the last time. */
#include "lib/ring.h"

#include <stdlib.h>

static void begin_anew(struct ring *r)
{
    r->laps_n = 1;
    r->laps[0].position = r->written;
    r->laps[0].place = 0;
    r->limit = r->size;
}

bool ring_init(struct ring *r, uint64_t size)
{
    size &= ~(uint64_t)7;
    *r = (struct ring){.block = malloc((size_t)size), .size = size};
    begin_anew(r);
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
           r->laps_n >= 1 && r->laps_n <= RING_LAPS_MAX && r->laps[0].position <= r->acked;
}

/* The part of the block in which lap i has records that are alive. */
struct extent {
    uint64_t from, to;
};

static struct extent extent_of(const struct ring *r, unsigned i)
{
    uint64_t first = r->laps[i].position, end = r->written;
    if (i + 1 < r->laps_n)
        end = r->laps[i + 1].position;
    uint64_t from = r->acked > first ? r->acked : first;
    if (from > end)
        from = end;
    return (struct extent){r->laps[i].place + (from - first), r->laps[i].place + (end - first)};
}

bool ring_check(const struct ring *r)
{
    for (unsigned i = 0; i < r->laps_n; i++) {
        struct extent a = extent_of(r, i);
        if (a.to > r->size || (i > 0 && r->laps[i].position < r->laps[i - 1].position))
            return false;
        for (unsigned k = 0; k < i; k++) {
            struct extent b = extent_of(r, k);
            if (a.from < b.to && b.from < a.to)
                return false;
        }
    }
    return ring_sane(r) && r->limit <= r->size;
}

static struct record *at(const struct ring *r, uint64_t position)
{
    unsigned i = r->laps_n - 1;
    while (i > 0 && position < r->laps[i].position)
        i--;
    return (struct record *)(void *)(r->block + r->laps[i].place +
                                     (position - r->laps[i].position));
}

/* ---- room ---- */

static void forget_dead_laps(struct ring *r)
{
    while (r->laps_n > 1 && r->acked >= r->laps[1].position) {
        r->laps_n--;
        memmove(&r->laps[0], &r->laps[1], r->laps_n * sizeof r->laps[0]);
    }
}

/* Where the first thing alive begins at or behind this place; the end of the block if nothing
 * does. */
static uint64_t first_alive_from(const struct ring *r, uint64_t place)
{
    uint64_t first = r->size;
    for (unsigned i = 0; i < r->laps_n; i++) {
        struct extent e = extent_of(r, i);
        if (e.from < e.to && e.from >= place && e.from < first)
            first = e.from;
    }
    return first;
}

static uint64_t end_of_alive(const struct ring *r)
{
    uint64_t end = 0;
    for (unsigned i = 0; i < r->laps_n; i++) {
        struct extent e = extent_of(r, i);
        if (e.from < e.to && e.to > end)
            end = e.to;
    }
    return end;
}

static bool new_lap(struct ring *r, uint64_t place, uint64_t size)
{
    uint64_t limit = first_alive_from(r, place);
    if (r->laps_n == RING_LAPS_MAX || place + size > limit)
        return false;
    r->laps[r->laps_n].position = r->written;
    r->laps[r->laps_n].place = place;
    r->laps_n++;
    r->limit = limit;
    return true;
}

static uint64_t head_of(const struct ring *r)
{
    unsigned newest = r->laps_n - 1;
    return r->laps[newest].place + (r->written - r->laps[newest].position);
}

/* The only lap has used much, and half of that is free again. */
static bool is_enough_behind(const struct ring *r)
{
    uint64_t used = r->written - r->laps[0].position;
    return r->laps_n == 1 && used >= RING_LAP_MIN && r->acked - r->laps[0].position >= used / 2;
}

/* Makes room for `size` bytes in one piece at `written`. False: there is none. */
static bool make_room(struct ring *r, uint64_t size)
{
    forget_dead_laps(r);
    if (ring_empty(r))
        begin_anew(r);
    if (is_enough_behind(r) && new_lap(r, 0, size))
        return true;
    uint64_t head = head_of(r);
    if (head + size <= r->limit)
        return true;
    r->limit = first_alive_from(r, head);
    return head + size <= r->limit || new_lap(r, 0, size) || new_lap(r, end_of_alive(r), size);
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
