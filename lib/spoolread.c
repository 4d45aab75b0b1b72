/* The happy path: the window holds the next record whole; it is looked at where it lies, and the
 * position moves behind it. When the window ends inside a record it is filled anew from the
 * record's begin.
 *
 * How it fails: where no record begins, the next right header in the window ends the damage; if
 * there is none, all of the window is damage, and the next call looks further. A record is only
 * believed with its checksum; its length, with that of its header, so that the window grows for no
 * accident. */
#include "lib/spoolread.h"

#include <stdlib.h>

bool spoolread_init(struct spoolread *r, const struct spoollog *log, spoolread_fn *read, void *ctx,
                    size_t window_bytes)
{
    *r = (struct spoolread){.log = log,
                            .read = read,
                            .ctx = ctx,
                            .window_cap = window_bytes,
                            .window = malloc(window_bytes)};
    return r->window != NULL;
}

void spoolread_release(struct spoolread *r)
{
    free(r->window);
    *r = (struct spoolread){0};
}

void spoolread_seek(struct spoolread *r, uint64_t position)
{
    r->position = position;
    if (position < r->window_at || position > r->window_at + r->window_n)
        r->window_n = 0;
}

/* What the window holds from the position on. */
static struct str in_window(const struct spoolread *r)
{
    if (r->position < r->window_at || r->position >= r->window_at + r->window_n)
        return (struct str){0};
    size_t at = (size_t)(r->position - r->window_at);
    return (struct str){r->window + at, r->window_n - at};
}

static void read_pages(struct spoolread *r, uint64_t place, size_t n)
{
    for (size_t at = 0, step; at < n; at += step) {
        step = min_size(n - at, SPOOLLOG_PAGE - (size_t)((place + at) % SPOOLLOG_PAGE));
        if (r->read(r->ctx, place + at, r->window + at, step, NULL))
            continue;
        memset(r->window + at, 0, step);
        r->unreadable_pages++;
    }
}

bool spoolread_raw(struct spoolread *r, uint64_t place, size_t n, struct err *e)
{
    assert(n <= r->window_cap);
    r->window_n = 0;
    if (r->read(r->ctx, place, r->window, n, e))
        return true;
    if (!r->passes_errors)
        return false;
    read_pages(r, place, n);
    return true;
}

static bool make_window(struct spoolread *r, size_t n, struct err *e)
{
    if (n <= r->window_cap)
        return true;
    char *window = malloc(n);
    if (window == NULL) {
        err_set(e, ERR_NOMEM, "no memory to read a record of %zu bytes", n);
        return false;
    }
    free(r->window);
    r->window = window;
    r->window_cap = n;
    r->window_n = 0;
    return true;
}

/* Fills the window from the position on, to hold `need` bytes at least if they may be read. */
static bool fill(struct spoolread *r, size_t need, struct err *e)
{
    if (!make_window(r, need, e))
        return false;
    uint64_t left = min_u64(r->readable - r->position, spoollog_lap_left(r->log, r->position));
    size_t n = (size_t)min_u64(left, r->window_cap);
    if (!spoolread_raw(r, spoollog_place(r->log, r->position), n, e))
        return false;
    r->window_at = r->position;
    r->window_n = n;
    return true;
}

/* No record begins at the position. `bytes` is what follows it in the window. */
static enum spoolread_found pass_damage(struct spoolread *r, struct str bytes, uint64_t until,
                                        struct spoolread_item *item)
{
    uint64_t left = spoollog_lap_left(r->log, r->position);
    uint64_t n = spoollog_find(r->log, r->position, bytes);
    if (left - n < SPOOLLOG_HEAD_BYTES || bytes.n < SPOOLLOG_HEAD_BYTES)
        n = left; /* no header has room in the rest of the lap, or before the end */
    *item = (struct spoolread_item){.begin = r->position, .end = min_u64(r->position + n, until)};
    r->position = item->end;
    return SPOOLREAD_DAMAGE;
}

enum spoolread_found spoolread_next(struct spoolread *r, uint64_t until,
                                    struct spoolread_item *item, struct err *e)
{
    assert(until <= r->readable);
    while (r->position < until) {
        uint64_t left = spoollog_lap_left(r->log, r->position);
        if (left < SPOOLLOG_HEAD_BYTES) {
            r->position += left;
            continue;
        }
        struct spoolread_item found = {.begin = r->position};
        struct str bytes = in_window(r);
        switch (spoollog_look(r->log, r->position, bytes, &found.record)) {
        case SPOOLLOG_MORE:
            if (r->readable - r->position < found.record.size)
                return pass_damage(r, bytes, until, item); /* it would end where nothing is */
            if (!fill(r, found.record.size, e))
                return SPOOLREAD_ERROR;
            continue;
        case SPOOLLOG_BAD:
            return pass_damage(r, bytes, until, item);
        case SPOOLLOG_GOOD:
            if (r->readable - r->position < found.record.size) /* a pad's header was enough */
                return pass_damage(r, bytes, until, item);
            break;
        }
        r->position = found.end = found.begin + found.record.size;
        *item = found;
        return found.record.kind == SPOOLLOG_PAD ? SPOOLREAD_PAD : SPOOLREAD_RECORD;
    }
    return SPOOLREAD_END;
}
