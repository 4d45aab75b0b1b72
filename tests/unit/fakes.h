/* fakes.h - a pipeline's effects, faked: what it asks for is written down, and the test answers.
 *
 *   struct fakes f;
 *   fakes_init(&f, buffer_bytes);     a pipeline with credentials; linger 0, one request in flight
 *   fakes_pump(&f)                    one turn at f.now
 *   fakes_answer(&f, slot, 200, ...)  by hand, or
 *   fakes_settle(&f)                  turns, accepting every request and dead letter, until the
 *                                     ring is empty or nothing moves any more
 *   fakes_release(&f)
 *
 * f.requests[slot] says what is in flight, f.dead[] the dead letters that wait to be stored. When
 * f.logging is set, all records that were ever sent or given to the dead letters stand in f.log, in
 * the order of the calls. Nothing here knows cmocka: fuzz programs use it too.
 */
#ifndef TESTS_UNIT_FAKES_H
#define TESTS_UNIT_FAKES_H

#include <stdio.h>
#include <stdlib.h>

#include "lib/pipeline.h"

#define FAKES_LOG_MAX 4096

struct fake_request {
    bool busy;
    unsigned n;
    struct record *records[BATCH_RECORDS_MAX];
    struct buf answer;
};

struct fake_dead {
    const struct record *rec;
    uint64_t token;
    char reason[400];
};

struct fake_entry {
    enum record_kind kind;
    struct buf key, data; /* the key, or the reason */
    uint64_t begin, end;
    bool mid_record;
};

struct fakes {
    struct pipeline *p;
    struct now now;
    struct fake_request requests[PIPELINE_SLOTS_MAX];
    unsigned flying, flying_most, sent;
    char url[200];
    char headers[PIPELINE_HEADERS_MAX][400];
    unsigned headers_n;
    struct buf body; /* of the last request */
    struct fake_dead dead[DEAD_IN_WORK_MAX];
    unsigned dead_n, dead_ever;
    bool no_dead_room;
    bool paused;
    unsigned steers;
    enum pipeline_health health;
    unsigned troubles, asked_for_credentials;
    struct reply last;
    bool logging;
    struct fake_entry log[FAKES_LOG_MAX];
    unsigned log_n;
};

static inline void fakes_note(struct fakes *f, const struct record *rec, struct str key)
{
    if (!f->logging)
        return;
    assert(f->log_n < FAKES_LOG_MAX);
    struct fake_entry *e = &f->log[f->log_n++];
    *e = (struct fake_entry){
        .kind = rec->kind, .begin = rec->begin, .end = rec->end, .mid_record = rec->mid_record};
    buf_init(&e->key, 4 * KIB);
    buf_init(&e->data, 2 * MIB);
    struct str data = record_data(rec);
    buf_put(&e->key, key.p, key.n);
    buf_put(&e->data, data.p, data.n);
    assert(!e->key.failed && !e->data.failed);
}

static inline void fakes_forget_log(struct fakes *f)
{
    for (unsigned i = 0; i < f->log_n; i++) {
        buf_release(&f->log[i].key);
        buf_release(&f->log[i].data);
    }
    f->log_n = 0;
}

static inline void fakes_on_send(void *ctx, unsigned slot, const struct pipeline_request *r)
{
    struct fakes *f = ctx;
    struct fake_request *q = &f->requests[slot];
    assert(!q->busy && r->batch->window > 0 && r->batch->window <= r->batch->n);
    q->busy = true;
    q->n = r->batch->window;
    memcpy(q->records, r->batch->records, q->n * sizeof q->records[0]);
    for (unsigned i = 0; i < q->n; i++)
        fakes_note(f, q->records[i], record_key(q->records[i]));
    f->sent++;
    if (++f->flying > f->flying_most)
        f->flying_most = f->flying;
    snprintf(f->url, sizeof f->url, "%s", r->url);
    f->headers_n = 0;
    while (r->headers[f->headers_n] != NULL) {
        snprintf(f->headers[f->headers_n], sizeof f->headers[0], "%s", r->headers[f->headers_n]);
        f->headers_n++;
    }
    buf_reset(&f->body);
    buf_put(&f->body, r->body.p, r->body.n);
}

static inline void fakes_on_dead(void *ctx, const struct record *rec, const char *reason,
                                 uint64_t token)
{
    struct fakes *f = ctx;
    assert(f->dead_n < DEAD_IN_WORK_MAX);
    struct fake_dead *d = &f->dead[f->dead_n++];
    f->dead_ever++;
    d->rec = rec;
    d->token = token;
    snprintf(d->reason, sizeof d->reason, "%s", reason);
    fakes_note(f, rec, str_of(reason));
}

static inline bool fakes_dead_room(void *ctx, size_t data_n)
{
    (void)data_n;
    return !((struct fakes *)ctx)->no_dead_room;
}

static inline void fakes_on_steer(void *ctx, bool pause)
{
    struct fakes *f = ctx;
    assert(f->paused != pause);
    f->paused = pause;
    f->steers++;
}

static inline void fakes_on_trouble(void *ctx, enum pipeline_health health,
                                    const struct reply *last)
{
    struct fakes *f = ctx;
    f->health = health;
    f->last = *last;
    f->troubles++;
    f->asked_for_credentials += last->credentials;
}

static inline bool fakes_configure(struct fakes *f, uint64_t linger_ms, unsigned in_flight)
{
    const struct pipeline_options o = {.stream = "crimes",
                                       .region = "us-east-1",
                                       .url = "http://127.0.0.1:4567/",
                                       .host = "127.0.0.1:4567",
                                       .linger_ms = linger_ms,
                                       .in_flight = in_flight};
    return pipeline_configure(f->p, &o);
}

static inline void fakes_init(struct fakes *f, uint64_t buffer_bytes)
{
    memset(f, 0, sizeof *f);
    f->now = (struct now){.mono_ms = 1000000, .wall_ms = 1793419200000};
    buf_init(&f->body, ENCODE_BODY_MAX);
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++)
        buf_init(&f->requests[i].answer, MIB);
    const struct pipeline_ops ops = {
        .ctx = f,
        .send = fakes_on_send,
        .dead_letter = fakes_on_dead,
        .dead_room = fakes_dead_room,
        .steer = fakes_on_steer,
        .trouble = fakes_on_trouble,
    };
    f->p = pipeline_new(buffer_bytes, &ops, 7);
    const struct sign_credentials c = {.access_key_id = "AKID", .secret_access_key = "secret"};
    bool ok = f->p != NULL && fakes_configure(f, 0, 1) && pipeline_credentials(f->p, &c);
    assert(ok);
    (void)ok;
}

static inline void fakes_release(struct fakes *f)
{
    pipeline_free(f->p);
    buf_release(&f->body);
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++)
        buf_release(&f->requests[i].answer);
    fakes_forget_log(f);
}

static inline uint64_t fakes_pump(struct fakes *f)
{
    return pipeline_pump(f->p, f->now);
}

/* The text is copied, and lives until the next answer in this slot. */
static inline void fakes_answer(struct fakes *f, unsigned slot, int status, const char *text)
{
    struct fake_request *q = &f->requests[slot];
    assert(q->busy);
    q->busy = false;
    f->flying--;
    if (text != q->answer.p) {
        buf_reset(&q->answer);
        buf_puts(&q->answer, text);
    }
    pipeline_answer(f->p, slot, status, buf_str(&q->answer));
}

/* A 200 in which the entries whose bit in failed[] is set carry this code. NULL: all accepted. */
static inline void fakes_answer_entries(struct fakes *f, unsigned slot, const uint8_t *failed,
                                        const char *code)
{
    struct buf *b = &f->requests[slot].answer;
    buf_reset(b);
    buf_puts(b, "{\"Records\":[");
    for (unsigned i = 0; i < f->requests[slot].n; i++) {
        buf_puts(b, i > 0 ? "," : "");
        if (failed != NULL && failed[i])
            buf_printf(b, "{\"ErrorCode\":\"%s\",\"ErrorMessage\":\"m\"}", code);
        else
            buf_puts(b, "{\"SequenceNumber\":\"1\",\"ShardId\":\"s\"}");
    }
    buf_puts(b, "]}");
    fakes_answer(f, slot, 200, b->p);
}

static inline void fakes_accept_all(struct fakes *f)
{
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++)
        if (f->requests[i].busy)
            fakes_answer_entries(f, i, NULL, NULL);
}

static inline void fakes_store_dead(struct fakes *f, bool stored)
{
    unsigned n = f->dead_n;
    f->dead_n = 0;
    for (unsigned i = 0; i < n; i++)
        pipeline_dead_stored(f->p, f->dead[i].token, stored);
}

static inline void fakes_settle(struct fakes *f)
{
    for (unsigned idle = 0; !pipeline_empty(f->p) && idle < 3; idle++) {
        fakes_pump(f);
        if (f->flying > 0 || f->dead_n > 0)
            idle = 0;
        fakes_accept_all(f);
        fakes_store_dead(f, true);
    }
    fakes_pump(f);
}

#endif
