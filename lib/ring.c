/* A record goes where `written` points, modulo the size. When the rest of the block is too short, a
 * PAD record (or, where not even a header fits, nothing: the rule below) fills it and the record
 * goes to the front. Sizes are multiples of 8 and so is the block, so the rest is 0 or at least 8
 * bytes; a rest smaller than a header is padding that both sides recognise by its size alone. */
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
    return r->acked <= r->taken && r->taken <= r->written && r->written - r->acked <= r->size;
}

static struct record *at(const struct ring *r, uint64_t position)
{
    return (struct record *)(void *)(r->block + position % r->size);
}

static uint64_t rest_of_block(const struct ring *r, uint64_t position)
{
    return r->size - position % r->size;
}

/* How many bytes of padding lie at this position: 0 if a record does. */
static uint64_t padding_at(const struct ring *r, uint64_t position)
{
    uint64_t rest = rest_of_block(r, position);
    if (rest < sizeof(struct record))
        return rest;
    const struct record *rec = at(r, position);
    return rec->kind == RECORD_PAD ? rec->size : 0;
}

static void pass_padding(const struct ring *r, uint64_t *position, uint64_t limit)
{
    while (*position < limit) {
        uint64_t n = padding_at(r, *position);
        if (n == 0)
            return;
        *position += n;
    }
}

struct record *ring_reserve(struct ring *r, size_t key_n, size_t data_n)
{
    assert(key_n <= RECORD_KEY_BYTES_MAX && key_n + data_n <= ring_record_max(r));
    uint64_t size = (sizeof(struct record) + key_n + data_n + 7) & ~(uint64_t)7;
    uint64_t rest = rest_of_block(r, r->written);
    uint64_t pad = rest < size ? rest : 0;
    if (r->written + pad + size - r->acked > r->size)
        return NULL;
    if (pad >= sizeof(struct record))
        *at(r, r->written) = (struct record){.size = (uint32_t)pad, .kind = RECORD_PAD};
    r->written += pad;
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

struct record *ring_peek(struct ring *r)
{
    pass_padding(r, &r->taken, r->written);
    return r->taken < r->written ? at(r, r->taken) : NULL;
}

void ring_take(struct ring *r, struct record *rec)
{
    assert(rec == at(r, r->taken) && rec->state == RECORD_WAITING);
    rec->state = RECORD_TAKEN;
    r->taken += rec->size;
    r->untaken_n--;
}

struct record *ring_oldest(struct ring *r)
{
    pass_padding(r, &r->acked, r->taken);
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
