/* What an answer does to its batch. Some records not taken: the batch shrinks and waits
 * (settle_partial). The whole request lost: the flight narrows to one probe (retry_whole). A person
 * needed: the same, slower (hold). A request that will never be taken: it is halved until one
 * record stands alone, and that one becomes a dead letter (refuse). */
#include <stdio.h>

#include "lib/backoff.h"
#include "lib/pipeline_in.h"

static void set_health(struct pipeline *p, enum pipeline_health health, const struct reply *last)
{
    bool news = health != p->health || health != HEALTH_OK;
    p->health = health;
    if (news)
        p->ops.trouble(p->ops.ctx, health, last);
}

/* Something was accepted: the service is there, the keys are good. */
static void thrive(struct pipeline *p, const struct reply *r)
{
    p->refused_in_a_row = 0;
    p->probe_new = false;
    p->window_most = (unsigned)min_size(p->window_most * 17 / 16 + 1, BATCH_RECORDS_MAX);
    p->flight_limit = p->flight_limit * 2 < p->in_flight ? p->flight_limit * 2 : p->in_flight;
    set_health(p, HEALTH_OK, r);
}

/* An answer, but not one record was taken. If it is the second for these records, the service may
 * well take others: so that a few stubborn ones cannot hold up a stream for ever, the next probe is
 * a new batch. It is as rare as the retries. */
static void get_nowhere(struct pipeline *p, const struct batch *b, const struct reply *r)
{
    p->probe_new = b->tries > 0;
    set_health(p, HEALTH_RETRYING, r);
}

static void finish_or_wait(struct pipeline *p, struct batch *b, uint64_t due_ms)
{
    if (b->n == 0)
        list_add_tail(&p->free, &b->link);
    else
        pipeline_wait(p, b, due_ms);
}

/* The first `failed_n` of a narrowed batch were refused, each by itself; what a refused request is
 * being searched for stands behind them, with others that may be taken. They go last: in front, for
 * as long as they fail, they would be all that is sent. */
static void put_last(struct batch *b, unsigned failed_n)
{
    struct record *failed[BATCH_RECORDS_MAX];
    unsigned others = b->n - failed_n;
    memcpy(failed, b->records, failed_n * sizeof failed[0]);
    memmove(&b->records[0], &b->records[failed_n], others * sizeof b->records[0]);
    memcpy(&b->records[others], failed, failed_n * sizeof failed[0]);
}

static void settle_partial(struct pipeline *p, struct batch *b, const struct reply *r,
                           const uint8_t *failed, struct now now)
{
    unsigned sent = b->window;
    unsigned accepted = batch_settle(b, failed);
    p->stats.records_delivered += accepted;
    p->stats.throttles += r->throttled;
    if (accepted > 0)
        thrive(p, r);
    else if (r->failed_n > 0)
        get_nowhere(p, b, r);
    bool all_sent = b->n == r->failed_n;
    if (!all_sent)
        put_last(b, r->failed_n);
    uint64_t due = now.mono_ms;
    if (r->failed_n == 0 || (accepted > 0 && !all_sent)) {
        b->tries = 0; /* the next ones have not failed */
    } else {
        uint64_t base = r->throttled ? BACKOFF_THROTTLE_BASE_MS : BACKOFF_TRANSIENT_BASE_MS;
        due += backoff_ms(&p->rng, base, BACKOFF_CAP_MS, b->tries++, r->failed_n, sent);
    }
    batch_widen(b, p->window_most);
    finish_or_wait(p, b, due);
}

/* Not through in time, and not for the first time: a link so narrow takes less at once. How much,
 * the stream remembers, and tries more with each success. */
static void narrow_down(struct pipeline *p, struct batch *b)
{
    if (b->tries == 0 && p->window_most == BATCH_RECORDS_MAX)
        return;
    batch_narrow(b);
    p->window_most = b->window;
}

static void retry_whole(struct pipeline *p, struct batch *b, const struct reply *r, struct now now)
{
    bool throttled = r->kind == REPLY_THROTTLED;
    p->stats.requests_failed++;
    p->stats.throttles += throttled;
    p->flight_limit = 1;
    p->probe_new = false;
    if (r->late)
        narrow_down(p, b);
    uint64_t base = throttled ? BACKOFF_THROTTLE_BASE_MS : BACKOFF_TRANSIENT_BASE_MS;
    pipeline_wait(p, b, now.mono_ms + backoff_ms(&p->rng, base, BACKOFF_CAP_MS, b->tries++, 1, 1));
    set_health(p, HEALTH_RETRYING, r);
}

static void hold(struct pipeline *p, struct batch *b, const struct reply *r, struct now now)
{
    p->stats.requests_failed++;
    p->flight_limit = 1;
    p->probe_new = false;
    pipeline_wait(p, b,
                  now.mono_ms + backoff_ms(&p->rng, HELD_BASE_MS, HELD_CAP_MS, b->tries++, 1, 1));
    set_health(p, HEALTH_HELD, r);
}

static void refuse(struct pipeline *p, struct batch *b, const struct reply *r, struct now now)
{
    if (b->window > 1) {
        p->stats.requests_failed++;
        batch_narrow(b);
        pipeline_wait(p, b, now.mono_ms);
        return;
    }
    if (p->refused_in_a_row + 1 >= REFUSED_IN_A_ROW_MAX) {
        hold(p, b, r, now);
        return;
    }
    char reason[DEAD_REASON_SIZE];
    snprintf(reason, sizeof reason, "refused: %s: %s", r->code[0] ? r->code : "HTTP 413",
             r->message);
    if (!pipeline_dead_add(p, b->records[0], reason)) { /* no hurry: those in work come first */
        pipeline_wait(p, b, now.mono_ms + DEAD_RETRY_MS);
        return;
    }
    p->stats.requests_failed++;
    p->refused_in_a_row++;
    b->records[0]->kind = RECORD_DEAD;
    batch_drop_first(b);
    batch_widen(b, p->window_most);
    finish_or_wait(p, b, now.mono_ms);
}

static void settle_slot(struct pipeline *p, struct slot *s, struct now now)
{
    struct batch *b = s->batch;
    uint8_t failed[BATCH_RECORDS_MAX];
    struct reply r;
    reply_read(&r, s->status, s->answer, b->window, failed);
    s->state = SLOT_IDLE;
    s->batch = NULL;
    s->answer = (struct str){0};
    buf_shrink(&s->body, 1 * MIB);
    p->flying--;
    switch (r.kind) {
    case REPLY_OK:
    case REPLY_PARTIAL:
        settle_partial(p, b, &r, failed, now);
        break;
    case REPLY_TRANSIENT:
    case REPLY_THROTTLED:
        retry_whole(p, b, &r, now);
        break;
    case REPLY_HELD:
        hold(p, b, &r, now);
        break;
    case REPLY_REFUSED:
        refuse(p, b, &r, now);
        break;
    }
}

void pipeline_settle_answers(struct pipeline *p, struct now now)
{
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++)
        if (p->slots[i].state == SLOT_ANSWERED)
            settle_slot(p, &p->slots[i], now);
}
