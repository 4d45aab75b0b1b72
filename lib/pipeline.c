/* The happy path of a turn: an answer says that all 500 records of a batch were accepted; they become
 * DONE, the ring's tail passes them, their origins' delivered offsets follow; the slot is free, a new
 * batch is borrowed from the ring, encoded, signed and sent.
 *
 * The ways it fails, each in its own function: some records not taken (settle_partial: the batch
 * shrinks and waits), the whole request lost (retry_whole: the flight narrows to one probe), a person needed (hold), a
 * request that will never be taken (refuse: halve until one record stands alone, then a dead letter),
 * a ring that is full (steer), dead letters that cannot be stored (retry_dead).
 */
#include "lib/pipeline.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/backoff.h"

enum slot_state { SLOT_IDLE, SLOT_BUSY, SLOT_ANSWERED };

struct slot {
    enum slot_state state;
    struct batch *batch;
    struct buf body, authorization;
    char date_line[SIGN_DATE_SIZE + 16];
    int status;
    struct str answer;
};

#define DEAD_REASON_SIZE 384

enum dead_state { DEAD_FREE, DEAD_WAITING, DEAD_STORING, DEAD_STORED, DEAD_FAILED };

struct dead {
    enum dead_state state;
    struct record *rec;
    uint64_t due_ms;
    char reason[DEAD_REASON_SIZE];
};

struct pipeline {
    struct pipeline_ops ops;
    struct ring ring;
    struct rng rng;
    struct stats stats;

    uint64_t linger_ms;
    unsigned in_flight;
    struct buf prefix;                         /* of every body */
    struct buf region, url, host, host_line;   /* NUL-terminated */
    struct buf akid, secret, token, token_line; /* NUL-terminated; empty: none */
    struct sign_key sign_key;

    struct slot slots[PIPELINE_SLOTS_MAX];
    unsigned flying;       /* slots not idle */
    unsigned flight_limit; /* how many may fly: 1 after a failure, growing back */
    struct batch *pool;
    struct list free, waiting;
    unsigned waiting_n;

    struct dead dead[DEAD_IN_WORK_MAX];
    unsigned dead_n; /* not free */
    unsigned refused_in_a_row;

    enum pipeline_health health;
    struct list moved;
    bool paused, draining;
};

/* ---- birth, options, death ------------------------------------------------------------------- */

#define POOL_SIZE (PIPELINE_SLOTS_MAX + BATCHES_WAITING_MAX)

static void init_bufs(struct pipeline *p)
{
    buf_init(&p->prefix, 4 * KIB);
    struct buf *small[] = {&p->region, &p->url, &p->host, &p->host_line};
    for (size_t i = 0; i < ARRAY_LEN(small); i++)
        buf_init(small[i], 1 * KIB);
    struct buf *keys[] = {&p->akid, &p->secret, &p->token, &p->token_line};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        buf_init(keys[i], 64 * KIB); /* session tokens have no documented bound */
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++) {
        buf_init(&p->slots[i].body, ENCODE_BODY_MAX);
        buf_init(&p->slots[i].authorization, 8 * KIB);
    }
}

struct pipeline *pipeline_new(uint64_t buffer_bytes, const struct pipeline_ops *ops, uint64_t seed)
{
    struct pipeline *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->ops = *ops;
    rng_seed(&p->rng, seed);
    list_init(&p->free);
    list_init(&p->waiting);
    list_init(&p->moved);
    init_bufs(p);
    sign_key_init(&p->sign_key);
    p->pool = calloc(POOL_SIZE, sizeof *p->pool);
    if (p->pool == NULL || !ring_init(&p->ring, buffer_bytes)) {
        pipeline_free(p);
        return NULL;
    }
    for (unsigned i = 0; i < POOL_SIZE; i++) {
        batch_init(&p->pool[i]);
        list_add_tail(&p->free, &p->pool[i].link);
    }
    p->in_flight = p->flight_limit = 1;
    return p;
}

void pipeline_free(struct pipeline *p)
{
    if (p == NULL)
        return;
    pipeline_credentials(p, NULL);
    sign_key_wipe(&p->sign_key);
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++) {
        buf_release(&p->slots[i].body);
        buf_release(&p->slots[i].authorization);
    }
    struct buf *bufs[] = {&p->prefix, &p->region, &p->url, &p->host, &p->host_line};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        buf_release(bufs[i]);
    ring_release(&p->ring);
    free(p->pool);
    free(p);
}

static void set_text(struct buf *b, const char *text)
{
    buf_reset(b);
    buf_puts(b, text);
    buf_cstr(b);
}

bool pipeline_configure(struct pipeline *p, const struct pipeline_options *o)
{
    assert(o->in_flight >= 1 && o->in_flight <= PIPELINE_SLOTS_MAX);
    buf_reset(&p->prefix);
    encode_prefix(&p->prefix, str_of(o->stream));
    set_text(&p->region, o->region);
    set_text(&p->url, o->url);
    set_text(&p->host, o->host);
    buf_reset(&p->host_line);
    buf_printf(&p->host_line, "Host: %s", o->host);
    buf_cstr(&p->host_line);
    if (p->prefix.failed || p->region.failed || p->url.failed || p->host.failed ||
        p->host_line.failed)
        return false;
    p->linger_ms = o->linger_ms;
    p->in_flight = o->in_flight;
    if (p->health == HEALTH_OK || p->flight_limit > p->in_flight)
        p->flight_limit = p->in_flight;
    return true;
}

bool pipeline_credentials(struct pipeline *p, const struct sign_credentials *c)
{
    struct buf *keys[] = {&p->akid, &p->secret, &p->token, &p->token_line};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        buf_wipe_release(keys[i]);
    sign_key_wipe(&p->sign_key);
    if (c == NULL)
        return true;
    set_text(&p->akid, c->access_key_id);
    set_text(&p->secret, c->secret_access_key);
    if (c->session_token != NULL) {
        set_text(&p->token, c->session_token);
        buf_puts(&p->token_line, "X-Amz-Security-Token: ");
        buf_puts(&p->token_line, c->session_token);
        buf_cstr(&p->token_line);
    }
    return !p->akid.failed && !p->secret.failed && !p->token.failed && !p->token_line.failed;
}

/* ---- callbacks deposit --------------------------------------------------------------------- */

enum pipeline_put pipeline_put(struct pipeline *p, struct now now, struct origin *from,
                               const struct pipeline_item *item)
{
    if (item->kind == RECORD_DEAD && !p->ops.dead_room(p->ops.ctx, item->data.n))
        return PUT_DEAD_FULL;
    struct record *rec = ring_reserve(&p->ring, item->key.n, item->data.n);
    if (rec == NULL)
        return PUT_FULL;
    char *to = (char *)(rec + 1);
    if (item->key.n > 0)
        memcpy(to, item->key.p, item->key.n);
    if (item->data.n > 0)
        memcpy(to + item->key.n, item->data.p, item->data.n);
    rec->kind = (uint8_t)item->kind;
    rec->mid_record = item->mid_record;
    rec->born_ms = (uint32_t)now.mono_ms;
    rec->origin = from;
    rec->begin = item->begin;
    rec->end = item->end;
    ring_publish(&p->ring, rec);
    from->in_ring++;
    p->stats.records_in++;
    p->stats.bytes_in += record_weight(rec);
    return PUT_OK;
}

void pipeline_answer(struct pipeline *p, unsigned slot, int status, struct str body)
{
    struct slot *s = &p->slots[slot];
    assert(slot < PIPELINE_SLOTS_MAX && s->state == SLOT_BUSY);
    s->state = SLOT_ANSWERED;
    s->status = status;
    s->answer = body;
}

void pipeline_dead_stored(struct pipeline *p, uint64_t token, bool stored)
{
    assert(token < DEAD_IN_WORK_MAX && p->dead[token].state == DEAD_STORING);
    p->dead[token].state = stored ? DEAD_STORED : DEAD_FAILED;
}

/* ---- delivered offsets ---------------------------------------------------------------------- */

void pipeline_origin_moved(struct pipeline *p, struct origin *from)
{
    if (from->in_ring > 0 ||
        (from->delivered == from->read_at && from->delivered_mid == from->read_mid))
        return;
    from->delivered = from->read_at;
    from->delivered_mid = from->read_mid;
    list_del(&from->moved);
    list_add_tail(&p->moved, &from->moved);
}

/* True: the bound of a turn was reached and there is more to retire. */
static bool retire(struct pipeline *p)
{
    struct record *rec;
    for (unsigned i = 0; (rec = ring_oldest(&p->ring)) != NULL; i++) {
        if (i == PUMP_RETIRE_MAX)
            return true;
        struct origin *from = rec->origin;
        assert(from->in_ring > 0);
        from->in_ring--;
        from->delivered = from->in_ring > 0 ? rec->end : from->read_at;
        from->delivered_mid = from->in_ring > 0 ? rec->mid_record : from->read_mid;
        if (list_empty(&from->moved))
            list_add_tail(&p->moved, &from->moved);
        ring_retire(&p->ring, rec);
    }
    return false;
}

/* ---- dead letters -------------------------------------------------------------------------- */

static bool dead_add(struct pipeline *p, struct record *rec, const char *reason)
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

static void pump_dead(struct pipeline *p, struct now now)
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

/* Dead records at the head of the untaken part leave for the dead letters. False: no room in work. */
static bool take_dead(struct pipeline *p)
{
    struct record *rec;
    while ((rec = ring_peek(&p->ring)) != NULL && rec->kind == RECORD_DEAD) {
        char reason[DEAD_REASON_SIZE];
        struct str key = record_key(rec);
        snprintf(reason, sizeof reason, "%.*s", (int)key.n, key.p);
        if (!dead_add(p, rec, reason))
            return false;
        ring_take(&p->ring, rec);
    }
    return true;
}

/* ---- sending ------------------------------------------------------------------------------- */

static bool sign(struct pipeline *p, struct slot *s, struct now now)
{
    uint8_t sha[SHA256_SIZE];
    hash_sha256(s->body.p, s->body.n, sha);
    char date[SIGN_DATE_SIZE];
    sign_date(now.wall_ms, date);
    snprintf(s->date_line, sizeof s->date_line, "X-Amz-Date: %s", date);
    struct sign_header headers[5] = {
        {STR("content-type"), STR(ENCODE_CONTENT_TYPE)},
        {STR("host"), str_of(p->host.p)},
        {STR("x-amz-date"), str_of(date)},
        {STR("x-amz-target"), STR(ENCODE_TARGET)},
        {STR("x-amz-security-token"), str_of(p->token.p)},
    };
    const struct sign_credentials c = {p->akid.p, p->secret.p, p->token.n > 0 ? p->token.p : NULL};
    const struct sign_request r = {
        .method = "POST",
        .path = "/",
        .query = "",
        .headers = headers,
        .headers_n = p->token.n > 0 ? 5 : 4,
        .body_sha256 = sha,
        .region = p->region.p,
        .service = "kinesis",
        .amz_date = date,
    };
    buf_reset(&s->authorization);
    buf_puts(&s->authorization, "Authorization: ");
    return sign_v4(&p->sign_key, &c, &r, &s->authorization) == 0 &&
           buf_cstr(&s->authorization) != NULL;
}

/* Encodes, signs and sends the batch's window in this slot. False: no memory; nothing has happened. */
static bool send_batch(struct pipeline *p, unsigned slot, struct batch *b, struct now now)
{
    struct slot *s = &p->slots[slot];
    if (!encode_put_records(&s->body, buf_str(&p->prefix), b->records, b->window) ||
        !sign(p, s, now))
        return false;
    s->state = SLOT_BUSY;
    s->batch = b;
    p->flying++;
    p->stats.requests++;
    if (b->tries > 0)
        p->stats.records_retried += b->window;
    struct pipeline_request r = {
        .url = p->url.p,
        .headers = {p->host_line.p, "Content-Type: " ENCODE_CONTENT_TYPE,
                    "X-Amz-Target: " ENCODE_TARGET, s->date_line, s->authorization.p,
                    p->token.n > 0 ? p->token_line.p : NULL},
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
    return p->flying < p->flight_limit && p->akid.n > 0;
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

static void wait_until(struct pipeline *p, struct batch *b, uint64_t due_ms)
{
    b->due_ms = due_ms;
    list_add_tail(&p->waiting, &b->link);
    p->waiting_n++;
}

static void send_due(struct pipeline *p, struct now now)
{
    struct batch *b;
    while (may_send(p) && (b = next_due(p)) != NULL && b->due_ms <= now.mono_ms) {
        list_del(&b->link);
        p->waiting_n--;
        if (!send_batch(p, idle_slot(p), b, now)) {
            wait_until(p, b, now.mono_ms + BACKOFF_THROTTLE_BASE_MS);
            return;
        }
    }
}

static bool may_take_new(const struct pipeline *p)
{
    return may_send(p) && p->health == HEALTH_OK && p->waiting_n < BATCHES_WAITING_MAX &&
           !list_empty(&p->free);
}

static uint64_t linger_deadline(const struct pipeline *p, const struct record *oldest, struct now now)
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

static void take_new(struct pipeline *p, struct now now)
{
    struct record *oldest;
    while (take_dead(p) && may_take_new(p) && (oldest = ring_peek(&p->ring)) != NULL &&
           worth_taking(p, oldest, now)) {
        struct batch *b = LIST_FIRST(&p->free, struct batch, link);
        list_del(&b->link);
        batch_init(b);
        batch_fill(b, &p->ring);
        if (!send_batch(p, idle_slot(p), b, now)) {
            wait_until(p, b, now.mono_ms + BACKOFF_THROTTLE_BASE_MS);
            return;
        }
    }
}

/* ---- answers ------------------------------------------------------------------------------- */

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
    p->flight_limit = p->flight_limit * 2 < p->in_flight ? p->flight_limit * 2 : p->in_flight;
    set_health(p, HEALTH_OK, r);
}

static void finish_or_wait(struct pipeline *p, struct batch *b, uint64_t due_ms)
{
    if (b->n == 0)
        list_add_tail(&p->free, &b->link);
    else
        wait_until(p, b, due_ms);
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
    uint64_t due = now.mono_ms;
    if (r->failed_n > 0) {
        uint64_t base = r->throttled ? BACKOFF_THROTTLE_BASE_MS : BACKOFF_TRANSIENT_BASE_MS;
        due += backoff_ms(&p->rng, base, BACKOFF_CAP_MS, b->tries++, r->failed_n, sent);
    } else {
        b->tries = 0;
    }
    batch_widen(b);
    finish_or_wait(p, b, due);
}

static void retry_whole(struct pipeline *p, struct batch *b, const struct reply *r, struct now now)
{
    bool throttled = r->kind == REPLY_THROTTLED;
    p->stats.requests_failed++;
    p->stats.throttles += throttled;
    p->flight_limit = 1;
    uint64_t base = throttled ? BACKOFF_THROTTLE_BASE_MS : BACKOFF_TRANSIENT_BASE_MS;
    wait_until(p, b, now.mono_ms + backoff_ms(&p->rng, base, BACKOFF_CAP_MS, b->tries++, 1, 1));
    set_health(p, HEALTH_RETRYING, r);
}

static void hold(struct pipeline *p, struct batch *b, const struct reply *r, struct now now)
{
    p->stats.requests_failed++;
    p->flight_limit = 1;
    wait_until(p, b, now.mono_ms + backoff_ms(&p->rng, HELD_BASE_MS, HELD_CAP_MS, b->tries++, 1, 1));
    set_health(p, HEALTH_HELD, r);
}

static void refuse(struct pipeline *p, struct batch *b, const struct reply *r, struct now now)
{
    if (b->window > 1) {
        p->stats.requests_failed++;
        batch_narrow(b);
        wait_until(p, b, now.mono_ms);
        return;
    }
    if (p->refused_in_a_row + 1 >= REFUSED_IN_A_ROW_MAX) {
        hold(p, b, r, now);
        return;
    }
    char reason[DEAD_REASON_SIZE];
    snprintf(reason, sizeof reason, "refused: %s: %s", r->code[0] ? r->code : "HTTP 413", r->message);
    if (!dead_add(p, b->records[0], reason)) { /* no hurry: those in work come first */
        wait_until(p, b, now.mono_ms + DEAD_RETRY_MS);
        return;
    }
    p->stats.requests_failed++;
    p->refused_in_a_row++;
    b->records[0]->kind = RECORD_DEAD;
    batch_drop_first(b);
    batch_widen(b);
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

static void settle_answers(struct pipeline *p, struct now now)
{
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++)
        if (p->slots[i].state == SLOT_ANSWERED)
            settle_slot(p, &p->slots[i], now);
}

/* ---- the turn ------------------------------------------------------------------------------ */

static void steer(struct pipeline *p)
{
    uint64_t used = ring_used(&p->ring), size = p->ring.size;
    bool pause = p->paused ? used > size / 2 : used > size / 8 * 7;
    if (pause == p->paused)
        return;
    p->paused = pause;
    p->stats.pauses += pause;
    p->ops.steer(p->ops.ctx, pause);
}

static uint64_t next_deadline(struct pipeline *p, struct now now)
{
    uint64_t next = UINT64_MAX;
    const struct batch *due = may_send(p) ? next_due(p) : NULL;
    if (due != NULL)
        next = due->due_ms;
    const struct record *oldest = may_take_new(p) ? ring_peek(&p->ring) : NULL;
    if (oldest != NULL)
        next = min_u64(next, linger_deadline(p, oldest, now));
    for (unsigned i = 0; p->dead_n > 0 && i < DEAD_IN_WORK_MAX; i++)
        if (p->dead[i].state == DEAD_WAITING)
            next = min_u64(next, p->dead[i].due_ms);
    return next;
}

uint64_t pipeline_pump(struct pipeline *p, struct now now)
{
    settle_answers(p, now);
    pump_dead(p, now);
    bool more = retire(p);
    send_due(p, now);
    take_new(p, now);
    pump_dead(p, now);
    steer(p);
    return more ? now.mono_ms : next_deadline(p, now);
}

/* ---- looking in ---------------------------------------------------------------------------- */

void pipeline_drain(struct pipeline *p, bool on)
{
    p->draining = on;
}

bool pipeline_empty(const struct pipeline *p)
{
    return ring_empty(&p->ring);
}

bool pipeline_paused(const struct pipeline *p)
{
    return p->paused;
}

enum pipeline_health pipeline_health(const struct pipeline *p)
{
    return p->health;
}

struct stats *pipeline_stats(struct pipeline *p)
{
    return &p->stats;
}

struct rng *pipeline_rng(struct pipeline *p)
{
    return &p->rng;
}

const struct ring *pipeline_ring(const struct pipeline *p)
{
    return &p->ring;
}

size_t pipeline_record_max(const struct pipeline *p)
{
    return ring_record_max(&p->ring);
}

struct list *pipeline_moved(struct pipeline *p)
{
    return &p->moved;
}
