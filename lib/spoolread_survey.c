/* The happy path: the newer state says where to begin; record follows record, each with its right
 * checksum, up to the end of what was written; there nothing is right any more.
 *
 * How it fails: spoolread.h says how far damage is searched. A read that fails is an error (unless
 * the reader passes them), for the next try may be luckier. */
#include "lib/spoolread.h"

/* ---- the header ---- */

int spoolread_header(spoolread_fn *read, void *ctx, struct spoollog *log, struct err *e)
{
    char bytes[SPOOLLOG_HEADER_BYTES];
    const struct str all = {bytes, sizeof bytes};
    if (!read(ctx, 0, bytes, sizeof bytes, e))
        return ERR_IO;
    int rc = spoollog_get_header(log, all, e);
    bool newer = rc == ERR_RANGE;
    if (rc == 0 || newer || !read(ctx, SPOOLLOG_COPY_PLACE, bytes, sizeof bytes, NULL) ||
        spoollog_get_header(log, all, NULL) != 0)
        return rc;
    return 0;
}

/* ---- the state ---- */

static bool take_state(const struct spoolread *r, struct str bytes, struct spoollog_state *best,
                       bool found)
{
    struct spoollog_state s;
    if (!spoollog_get_state(r->log, bytes, &s))
        return found;
    if (!found || s.generation > best->generation)
        *best = s;
    return true;
}

/* What the headers say that can be found at all: their positions, not before `floor`. */
struct span {
    uint64_t floor, first, end;
};

static void take_head(const struct spoolread *r, uint64_t place, const char *p, struct span *s)
{
    struct spoollog_record rec;
    uint64_t position = spoollog_claim(p);
    if (position % r->log->capacity != place || position > SPOOLLOG_POSITION_MAX ||
        position < s->floor || !spoollog_has_head(r->log, position, p))
        return;
    spoollog_trust(p, &rec);
    if (position < s->first)
        s->first = position;
    if (position + rec.size > s->end)
        s->end = position + rec.size;
}

/* Looks at each multiple of 8 in the data, window by window; they overlap by a header. */
static int look_through(struct spoolread *r, struct span *s, struct err *e)
{
    uint64_t capacity = r->log->capacity;
    for (uint64_t place = 0; place + SPOOLLOG_HEAD_BYTES <= capacity;) {
        size_t n = (size_t)min_u64(r->window_cap, capacity - place);
        if (!spoolread_raw(r, SPOOLLOG_DATA_PLACE + place, n, e))
            return ERR_IO;
        size_t at = 0;
        for (; at + SPOOLLOG_HEAD_BYTES <= n; at += 8)
            take_head(r, place + at, r->window + at, s);
        place += at;
    }
    return 0;
}

static int rebuild_state(struct spoolread *r, struct spoollog_state *state, struct err *e)
{
    struct span all = {.first = UINT64_MAX};
    int rc = look_through(r, &all, e);
    struct span lap = {.first = UINT64_MAX};
    if (all.end > r->log->capacity)
        lap.floor = all.end - r->log->capacity; /* older ones are of a lap that is over */
    if (rc == 0)
        rc = look_through(r, &lap, e);
    if (rc != 0)
        return rc;
    *state = (struct spoollog_state){0};
    if (lap.end > 0) {
        state->saved = lap.first;
        state->written = lap.end;
    }
    return 0;
}

int spoolread_state(struct spoolread *r, struct spoollog_state *state, bool *lost, struct err *e)
{
    struct spoollog_state best;
    bool found = false;
    for (uint64_t slot = 0; slot < 2; slot++) {
        if (!spoolread_raw(r, spoollog_state_place(slot), SPOOLLOG_STATE_BYTES, e))
            return ERR_IO;
        found = take_state(r, (struct str){r->window, SPOOLLOG_STATE_BYTES}, &best, found);
    }
    if (!found) {
        int rc = rebuild_state(r, &best, e);
        if (rc != 0)
            return rc;
    }
    *state = best;
    *lost = !found;
    return 0;
}

/* ---- the records ---- */

/* Where the next record may begin, at most. */
static uint64_t limit_of(const struct spoolread *r, const struct spoollog_state *state,
                         uint64_t good)
{
    uint64_t known = good > state->written ? good : state->written;
    /* Behind a clean end, one look, over the rest of a lap that is too small for a pad: the state
     * of the write that followed it may be lost. */
    return min_u64(known + (state->clean ? SPOOLLOG_HEAD_BYTES : SPOOLREAD_REACH), r->readable);
}

/* A survey under way. */
struct survey {
    struct spool_report report;
    struct spoolread_item damage; /* since the last good one */
    uint64_t good;                /* where that ends */
    spoolread_each_fn *each;
    void *ctx;
};

static void take_damage(struct survey *s, const struct spoolread_item *item)
{
    if (s->damage.begin == s->damage.end)
        s->damage.begin = item->begin;
    s->damage.end = item->end;
}

/* A record or a pad: so what was damaged before it is no end. */
static void take_good(struct survey *s, enum spoolread_found found,
                      const struct spoolread_item *item)
{
    if (s->damage.begin < s->damage.end) {
        s->report.damaged_places++;
        s->report.damaged_bytes += s->damage.end - s->damage.begin;
        if (s->each != NULL)
            s->each(s->ctx, SPOOLREAD_DAMAGE, &s->damage);
        s->damage.begin = s->damage.end;
    }
    s->good = item->end;
    if (found == SPOOLREAD_PAD)
        return;
    s->report.records++;
    s->report.bytes += item->record.key.n + item->record.data.n;
    if (s->each != NULL)
        s->each(s->ctx, SPOOLREAD_RECORD, item);
}

int spoolread_survey(struct spoolread *r, const struct spoollog_state *state,
                     spoolread_each_fn *each, void *ctx, struct spool_report *report, uint64_t *end,
                     struct err *e)
{
    struct survey s = {.good = state->saved, .each = each, .ctx = ctx};
    struct spoolread_item item;
    spoolread_seek(r, state->saved);
    r->readable = state->saved + r->log->capacity;
    for (;;) {
        enum spoolread_found found = spoolread_next(r, limit_of(r, state, s.good), &item, e);
        switch (found) {
        case SPOOLREAD_RECORD:
        case SPOOLREAD_PAD:
            take_good(&s, found, &item);
            break;
        case SPOOLREAD_DAMAGE:
            take_damage(&s, &item);
            break;
        case SPOOLREAD_ERROR:
            return e != NULL ? e->code : ERR_IO;
        case SPOOLREAD_END:
            s.report.cut_bytes = state->written > s.good ? state->written - s.good : 0;
            *report = s.report;
            *end = s.good;
            r->window_n = 0; /* it looked behind the end, where records will be put */
            return 0;
        }
    }
}
