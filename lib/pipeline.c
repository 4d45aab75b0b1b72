/* The happy path of a turn: an answer says that all 500 records of a batch were accepted; they
 * become DONE, the ring's tail passes them, their origins' delivered offsets follow; the slot is
 * free, a new batch is borrowed from the ring, encoded, signed and sent.
 *
 * The ways it fails are in pipeline_settle.c.
 */
#include <stdlib.h>

#include "lib/pipeline_in.h"

/* ---- birth, options, death ---- */

#define POOL_SIZE (PIPELINE_SLOTS_MAX + BATCHES_WAITING_MAX)

static void destination_init(struct destination *to)
{
    buf_init(&to->prefix, 4 * KIB);
    struct buf *small[] = {&to->region, &to->url, &to->host, &to->host_line};
    for (size_t i = 0; i < ARRAY_LEN(small); i++)
        buf_init(small[i], 1 * KIB);
}

static void destination_release(struct destination *to)
{
    struct buf *bufs[] = {&to->prefix, &to->region, &to->url, &to->host, &to->host_line};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        buf_release(bufs[i]);
}

static void keys_init(struct keys *k)
{
    struct buf *bufs[] = {&k->akid, &k->secret, &k->token, &k->token_line};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        buf_init(bufs[i], 64 * KIB); /* session tokens have no documented bound */
}

static void keys_release(struct keys *k)
{
    struct buf *bufs[] = {&k->akid, &k->secret, &k->token, &k->token_line};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        buf_wipe_release(bufs[i]);
}

static void init_bufs(struct pipeline *p)
{
    destination_init(&p->to);
    keys_init(&p->keys);
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
    p->window_most = BATCH_RECORDS_MAX;
    return p;
}

void pipeline_free(struct pipeline *p)
{
    if (p == NULL)
        return;
    keys_release(&p->keys);
    sign_key_wipe(&p->sign_key);
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++) {
        buf_release(&p->slots[i].body);
        buf_release(&p->slots[i].authorization);
    }
    destination_release(&p->to);
    ring_release(&p->ring);
    free(p->pool);
    free(p);
}

static void set_text(struct buf *b, const char *text)
{
    buf_puts(b, text);
    buf_cstr(b);
}

static bool destination_fill(struct destination *to, const struct pipeline_options *o)
{
    encode_prefix(&to->prefix, str_of(o->stream));
    set_text(&to->region, o->region);
    set_text(&to->url, o->url);
    set_text(&to->host, o->host);
    buf_printf(&to->host_line, "Host: %s", o->host);
    buf_cstr(&to->host_line);
    return !to->prefix.failed && !to->region.failed && !to->url.failed && !to->host.failed &&
           !to->host_line.failed;
}

bool pipeline_configure(struct pipeline *p, const struct pipeline_options *o)
{
    assert(o->in_flight >= 1 && o->in_flight <= PIPELINE_SLOTS_MAX);
    struct destination fresh;
    destination_init(&fresh);
    if (!destination_fill(&fresh, o)) {
        destination_release(&fresh);
        return false;
    }
    destination_release(&p->to);
    p->to = fresh;
    p->linger_ms = o->linger_ms;
    p->in_flight = o->in_flight;
    if (p->health == HEALTH_OK || p->flight_limit > p->in_flight)
        p->flight_limit = p->in_flight;
    return true;
}

static bool keys_fill(struct keys *k, const struct sign_credentials *c)
{
    set_text(&k->akid, c->access_key_id);
    set_text(&k->secret, c->secret_access_key);
    if (c->session_token != NULL) {
        set_text(&k->token, c->session_token);
        buf_puts(&k->token_line, "X-Amz-Security-Token: ");
        set_text(&k->token_line, c->session_token);
    }
    return !k->akid.failed && !k->secret.failed && !k->token.failed && !k->token_line.failed;
}

bool pipeline_credentials(struct pipeline *p, const struct sign_credentials *c)
{
    struct keys fresh;
    keys_init(&fresh);
    if (c != NULL && !keys_fill(&fresh, c)) {
        keys_release(&fresh);
        return false;
    }
    keys_release(&p->keys);
    p->keys = fresh;
    sign_key_wipe(&p->sign_key);
    return true;
}

/* ---- callbacks deposit ---- */

enum pipeline_put pipeline_put(struct pipeline *p, struct now now, struct origin *from,
                               const struct pipeline_item *item)
{
    if (item->kind == RECORD_DEAD && !p->ops.dead_room(p->ops.ctx, item->data.n))
        return PUT_DEAD_FULL;
    struct record *rec = ring_reserve(&p->ring, item->key.n, item->data.n);
    if (rec == NULL) {
        p->was_full = true;
        return PUT_FULL;
    }
    char *to = (char *)(rec + 1);
    if (item->key.n > 0)
        memcpy(to, item->key.p, item->key.n);
    if (item->data.n > 0)
        memcpy(to + item->key.n, item->data.p, item->data.n);
    rec->kind = (uint8_t)item->kind;
    rec->key_plain = item->key_plain;
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

/* ---- delivered offsets ---- */

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

/* ---- the turn ---- */

/* All is well, the flight is full and the next requests lie ready: to read further ahead would only
 * push what was read out of the processor's caches. In trouble there is no such pace: the ring then
 * takes what it can, before somebody truncates or deletes the files. */
static bool is_ahead(const struct pipeline *p)
{
    const struct ring *r = &p->ring;
    return p->health == HEALTH_OK && p->flying >= p->flight_limit &&
           (r->untaken_n >= AHEAD_RECORDS || r->written - r->taken >= AHEAD_BYTES);
}

static void steer(struct pipeline *p)
{
    uint64_t used = ring_used(&p->ring), size = p->ring.size;
    /* An empty ring has room again, and nothing in it would bring the turn that ends a pause. */
    bool full = p->full ? used > size / 2 : used > size / 8 * 7 || (p->was_full && used > 0);
    p->was_full = false;
    p->stats.pauses += full && !p->full;
    p->full = full;
    bool pause = full || is_ahead(p);
    if (pause != p->paused)
        p->ops.steer(p->ops.ctx, pause);
    p->paused = pause;
}

uint64_t pipeline_pump(struct pipeline *p, struct now now)
{
    pipeline_settle_answers(p, now);
    pipeline_pump_dead(p, now);
    bool more = retire(p);
    if (p->probe_new) /* it is its turn: many retries, all due, could keep a slot for themselves */
        pipeline_take_new(p, now);
    pipeline_send_due(p, now);
    pipeline_take_new(p, now);
    pipeline_pump_dead(p, now);
    steer(p);
    return more ? now.mono_ms : pipeline_next_deadline(p, now);
}

/* ---- looking in ---- */

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
