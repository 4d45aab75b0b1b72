/* From the ring into requests: which batch goes next, its body, its signature; and the records that
 * go to the dead letters instead. Nothing here decides about failures: that is pipeline_settle.c.
 */
#include <stdio.h>

#include "lib/backoff.h"
#include "lib/pipeline_in.h"

/* ---- dead letters ---- */

bool pipeline_dead_add(struct pipeline *p, struct record *rec, const char *reason)
{
    for (unsigned i = 0; i < DEAD_IN_WORK_MAX; i++) {
        struct dead *d = &p->dead[i];
        if (d->state != DEAD_FREE)
            continue;
        d->state = DEAD_WAITING;
        d->rec = rec;
        d->due_ms = 0;
        snprintf(d->reason, sizeof d->reason, "%s", reason);
        p->dead_n++;
        return true;
    }
    return false;
}

void pipeline_pump_dead(struct pipeline *p, struct now now)
{
    for (unsigned i = 0; p->dead_n > 0 && i < DEAD_IN_WORK_MAX; i++) {
        struct dead *d = &p->dead[i];
        if (d->state == DEAD_STORED) {
            d->rec->state = RECORD_DONE;
            d->state = DEAD_FREE;
            p->dead_n--;
            p->stats.records_dead++;
        } else if (d->state == DEAD_FAILED) {
            d->state = DEAD_WAITING;
            d->due_ms = now.mono_ms + DEAD_RETRY_MS;
        }
        if (d->state == DEAD_WAITING && d->due_ms <= now.mono_ms) {
            d->state = DEAD_STORING;
            p->ops.dead_letter(p->ops.ctx, d->rec, d->reason, i);
        }
    }
}

/* Dead records at the head of the untaken part leave for the dead letters. False: no room in work.
 */
static bool take_dead(struct pipeline *p)
{
    struct record *rec;
    while ((rec = ring_peek(&p->ring)) != NULL && rec->kind == RECORD_DEAD) {
        char reason[DEAD_REASON_SIZE];
        struct str key = record_key(rec);
        snprintf(reason, sizeof reason, "%.*s", (int)key.n, key.p);
        if (!pipeline_dead_add(p, rec, reason))
            return false;
        ring_take(&p->ring, rec);
    }
    return true;
}

/* ---- sending ---- */

static bool sign(struct pipeline *p, struct slot *s, struct now now)
{
    uint8_t sha[SHA256_SIZE];
    hash_sha256(s->body.p, s->body.n, sha);
    char date[SIGN_DATE_SIZE];
    sign_date(now.wall_ms, date);
    snprintf(s->date_line, sizeof s->date_line, "X-Amz-Date: %s", date);
    struct sign_header headers[5] = {
        {STR("content-type"), STR(ENCODE_CONTENT_TYPE)},
        {STR("host"), str_of(p->to.host.p)},
        {STR("x-amz-date"), str_of(date)},
        {STR("x-amz-target"), STR(ENCODE_TARGET)},
        {STR("x-amz-security-token"), str_of(p->keys.token.p)},
    };
    const struct keys *k = &p->keys;
    const struct sign_credentials c = {k->akid.p, k->secret.p, k->token.n > 0 ? k->token.p : NULL};
    const struct sign_request r = {
        .method = "POST",
        .path = "/",
        .query = "",
        .headers = headers,
        .headers_n = p->keys.token.n > 0 ? 5 : 4,
        .body_sha256 = sha,
        .region = p->to.region.p,
        .service = "kinesis",
        .amz_date = date,
    };
    buf_reset(&s->authorization);
    buf_puts(&s->authorization, "Authorization: ");
    return sign_v4(&p->sign_key, &c, &r, &s->authorization) == 0 &&
           buf_cstr(&s->authorization) != NULL;
}

/* Encodes, signs and sends the batch's window in this slot. False: no memory; nothing has happened.
 */
static bool send_batch(struct pipeline *p, unsigned slot, struct batch *b, struct now now)
{
    struct slot *s = &p->slots[slot];
    if (!encode_put_records(&s->body, buf_str(&p->to.prefix), b->records, b->window) ||
        !sign(p, s, now))
        return false;
    s->state = SLOT_BUSY;
    s->batch = b;
    p->flying++;
    p->stats.requests++;
    if (b->tries > 0)
        p->stats.records_retried += b->window;
    struct pipeline_request r = {
        .url = p->to.url.p,
        .headers = {p->to.host_line.p, "Content-Type: " ENCODE_CONTENT_TYPE,
                    "X-Amz-Target: " ENCODE_TARGET, s->date_line, s->authorization.p,
                    p->keys.token.n > 0 ? p->keys.token_line.p : NULL},
        .body = buf_str(&s->body),
        .batch = b,
    };
    p->ops.send(p->ops.ctx, slot, &r);
    return true;
}

static unsigned idle_slot(const struct pipeline *p)
{
    unsigned i = 0;
    while (i < PIPELINE_SLOTS_MAX && p->slots[i].state != SLOT_IDLE)
        i++;
    return i;
}

static bool may_send(const struct pipeline *p)
{
    return p->flying < p->flight_limit && p->keys.akid.n > 0;
}

/* The waiting batch that is due first. */
static struct batch *next_due(struct pipeline *p)
{
    struct batch *first = NULL;
    LIST_FOR(it, save, &p->waiting)
    {
        struct batch *b = CONTAINER_OF(it, struct batch, link);
        if (first == NULL || b->due_ms < first->due_ms)
            first = b;
    }
    return first;
}

void pipeline_wait(struct pipeline *p, struct batch *b, uint64_t due_ms)
{
    b->due_ms = due_ms;
    list_add_tail(&p->waiting, &b->link);
    p->waiting_n++;
}

void pipeline_send_due(struct pipeline *p, struct now now)
{
    struct batch *b;
    while (may_send(p) && (b = next_due(p)) != NULL && b->due_ms <= now.mono_ms) {
        list_del(&b->link);
        p->waiting_n--;
        if (!send_batch(p, idle_slot(p), b, now)) {
            pipeline_wait(p, b, now.mono_ms + BACKOFF_THROTTLE_BASE_MS);
            return;
        }
    }
}

/* In trouble the batches that are out already are the probe; without any, one new batch is. Records
 * that were refused one by one, and again, say nothing of those behind them: see settle_partial. */
static bool may_take_new(const struct pipeline *p)
{
    bool well = p->health == HEALTH_OK || p->flying + p->waiting_n == 0 || p->probe_new;
    return may_send(p) && well && p->waiting_n < BATCHES_WAITING_MAX && !list_empty(&p->free);
}

static uint64_t linger_deadline(const struct pipeline *p, const struct record *oldest,
                                struct now now)
{
    uint32_t age = (uint32_t)now.mono_ms - oldest->born_ms; /* right across the wrap */
    return age >= p->linger_ms ? now.mono_ms : now.mono_ms + (p->linger_ms - age);
}

/* Enough for a full request, or waited long enough? */
static bool worth_taking(const struct pipeline *p, const struct record *oldest, struct now now)
{
    return p->draining || p->ring.untaken_n >= BATCH_RECORDS_MAX ||
           p->ring.written - p->ring.taken >= BATCH_BYTES_MAX ||
           linger_deadline(p, oldest, now) <= now.mono_ms;
}

void pipeline_take_new(struct pipeline *p, struct now now)
{
    struct record *oldest;
    while (take_dead(p) && may_take_new(p) && (oldest = ring_peek(&p->ring)) != NULL &&
           worth_taking(p, oldest, now)) {
        struct batch *b = LIST_FIRST(&p->free, struct batch, link);
        list_del(&b->link);
        batch_init(b);
        batch_fill(b, &p->ring);
        b->window = (unsigned)min_size(b->n, p->window_most);
        p->probe_new = false;
        if (!send_batch(p, idle_slot(p), b, now)) {
            pipeline_wait(p, b, now.mono_ms + BACKOFF_THROTTLE_BASE_MS);
            return;
        }
    }
}

/* ---- when next ---- */

uint64_t pipeline_next_deadline(struct pipeline *p, struct now now)
{
    uint64_t next = UINT64_MAX;
    const struct batch *due = may_send(p) ? next_due(p) : NULL;
    if (due != NULL)
        next = due->due_ms;
    const struct record *oldest = may_take_new(p) ? ring_peek(&p->ring) : NULL;
    if (oldest != NULL && oldest->kind == RECORD_DATA) /* a dead one waits for others' answers */
        next = min_u64(next, linger_deadline(p, oldest, now));
    for (unsigned i = 0; p->dead_n > 0 && i < DEAD_IN_WORK_MAX; i++)
        if (p->dead[i].state == DEAD_WAITING)
            next = min_u64(next, p->dead[i].due_ms);
    return next;
}
