#include "lib/batch.h"

void batch_init(struct batch *b)
{
    list_init(&b->link);
    b->due_ms = 0;
    b->tries = 0;
    b->n = b->window = 0;
    b->bytes = 0;
}

static bool fits(const struct batch *b, const struct record *rec)
{
    return b->n < BATCH_RECORDS_MAX &&
           b->bytes + record_weight(rec) <= BATCH_BYTES_MAX - BATCH_BYTES_SLACK;
}

void batch_fill(struct batch *b, struct ring *r)
{
    struct record *rec;
    while ((rec = ring_peek(r)) != NULL && rec->kind == RECORD_DATA && fits(b, rec)) {
        ring_take(r, rec);
        b->records[b->n++] = rec;
        b->bytes += record_weight(rec);
    }
    b->window = b->n;
}

unsigned batch_settle(struct batch *b, const uint8_t *failed)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < b->n; i++) {
        struct record *rec = b->records[i];
        if (i >= b->window || failed[i]) {
            b->records[kept++] = rec;
        } else {
            b->bytes -= record_weight(rec);
            rec->state = RECORD_DONE;
        }
    }
    unsigned accepted = b->n - kept;
    b->n = kept;
    if (b->window > b->n)
        b->window = b->n;
    return accepted;
}

void batch_drop_first(struct batch *b)
{
    assert(b->n > 0);
    b->bytes -= record_weight(b->records[0]);
    b->n--;
    memmove(&b->records[0], &b->records[1], b->n * sizeof b->records[0]);
    if (b->window > b->n)
        b->window = b->n;
}

void batch_narrow(struct batch *b)
{
    b->window = (b->window + 1) / 2;
}

void batch_widen(struct batch *b, unsigned most)
{
    unsigned twice = b->window < 1 ? 1 : b->window * 2;
    b->window = (unsigned)min_size(min_size(twice, most), b->n);
}
