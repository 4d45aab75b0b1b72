/* One stream: its pipeline, and the effects that the pipeline asks for. Each op is a few lines:
 * what to do is decided in lib/pipeline.c, here it is only done. */
#include <stdio.h>
#include <stdlib.h>

#include "daemon/service_in.h"
#include "lib/client.h"

#define USER_AGENT "tailrace/" TAILRACE_VERSION
#define TOKEN_BITS 16 /* of a dead letter's token; the stream's id stands above */

static_assert(DEAD_IN_WORK_MAX <= 1 << TOKEN_BITS, "a pipeline's token fits below the stream's id");

static struct followed *origin_of(const struct record *rec)
{
    struct input *in = CONTAINER_OF(rec->origin, struct input, origin);
    return CONTAINER_OF(in, struct followed, input);
}

/* ---- what the pipeline asks for ---- */

static void do_send(void *ctx, unsigned slot, const struct pipeline_request *r)
{
    struct stream *st = ctx;
    const struct http_request request = {.url = r->url, .headers = r->headers, .body = r->body};
    http_send(st->http, slot, &request);
}

/* May the stream's trouble be written to the log now? Its end is told only if it was. */
static bool may_complain(struct stream *st, uint64_t *held)
{
    bool may = log_limit(&st->trouble, uv_now(&st->service->loop), COMPLAIN_EVERY_MS, held);
    st->trouble_told |= may;
    return may;
}

static void on_answer(void *ctx, unsigned slot, const struct http_result *result)
{
    struct stream *st = ctx;
    uint64_t held;
    if (result->status == 0 && may_complain(st, &held))
        log_warn(log_msg("no answer"), log_s("stream", st->name), log_s("why", result->error),
                 log_u("held_back", held));
    pipeline_answer(st->pipeline, slot, result->late ? REPLY_STATUS_LATE : result->status,
                    result->body);
}

/* Where the record came from. The reason of what was dead before it was put into a spool begins
 * with the name of its source (lib/client.h). */
static void name_origin(const struct stream *st, const struct record *rec,
                        struct deadletter_record *r)
{
    if (st->spool == NULL || rec->origin != spool_origin(st->spool)) {
        const struct followed *f = origin_of(rec);
        r->source = f->source_name;
        r->path = f->path;
        r->inode = f->inode;
        return;
    }
    r->path = spoolfile_path(st->spoolfile);
    r->source = st->name;
    struct str key = record_key(rec), name, reason;
    if (rec->kind == RECORD_DEAD && client_dead_key(key, &name, &reason)) {
        r->source = name.p;
        r->reason = reason.p;
    }
}

static void do_dead_letter(void *ctx, const struct record *rec, const char *reason, uint64_t token)
{
    struct stream *st = ctx;
    struct service *s = st->service;
    struct deadletter_record r = {
        .stream = st->name,
        .reason = reason,
        .offset = rec->begin,
        .size = rec->end - rec->begin,
        .data = record_data(rec),
        .wall_ms = service_now(s).wall_ms,
    };
    name_origin(st, rec, &r);
    uint64_t held;
    bool again = s->dead_fails; /* it has been told, and why it is not stored */
    if (!again && log_limit(&s->dead_trouble, uv_now(&s->loop), 1000, &held))
        log_warn(log_msg("dead letter"), log_s("source", r.source), log_s("path", r.path),
                 log_u("offset", r.offset), log_s("reason", r.reason), log_u("held_back", held));
    deadletter_store(s->deadletter, &r, (uint64_t)st->id << TOKEN_BITS | token);
}

void stream_dead_stored(void *service, uint64_t token, const struct err *e)
{
    struct service *s = service;
    uint64_t held;
    if (e != NULL && log_limit(&s->dead_failure, uv_now(&s->loop), COMPLAIN_EVERY_MS, &held))
        log_error(log_msg("a dead letter cannot be stored; it is kept and tried again"),
                  log_s("why", e->text), log_u("held_back", held));
    if (s->dead_fails != (e != NULL)) {
        s->dead_fails = e != NULL;
        service_status(s);
    }
    LIST_FOR(it, save, &s->streams)
    {
        struct stream *st = CONTAINER_OF(it, struct stream, link);
        if (st->id == token >> TOKEN_BITS)
            pipeline_dead_stored(st->pipeline, token & ((1u << TOKEN_BITS) - 1), e == NULL);
    }
}

static bool has_dead_room(void *ctx, size_t data_n)
{
    struct stream *st = ctx;
    return deadletter_room(st->service->deadletter, data_n);
}

static void do_steer(void *ctx, bool pause)
{
    struct stream *st = ctx;
    st->paused = pause;
    if (st->spool != NULL)
        spool_pause(st->spool, pause);
    LIST_FOR(it, save, &st->service->sources)
    {
        struct source *src = CONTAINER_OF(it, struct source, link);
        if (src->stream == st)
            source_steer(src);
    }
}

static const char *health_text(enum pipeline_health health)
{
    static const char *const texts[] = {"delivering again", "delivery fails, trying again",
                                        "delivery is held, a person is needed; data is kept"};
    return texts[health];
}

static void on_trouble(void *ctx, enum pipeline_health health, const struct reply *last)
{
    struct stream *st = ctx;
    struct service *s = st->service;
    uint64_t held = 0;
    if (health == HEALTH_OK && st->trouble_told)
        log_info(log_msg(health_text(health)), log_s("stream", st->name));
    if (health == HEALTH_OK)
        st->trouble_told = false;
    else if (may_complain(st, &held))
        log_emit(health == HEALTH_HELD ? LOG_ERROR : LOG_WARN,
                 (const struct log_field[]){log_msg(health_text(health)),
                                            log_s("stream", st->name),
                                            log_s("code", last->code),
                                            log_s("message", last->message),
                                            log_u("held_back", held),
                                            {.kind = LOG_END}});
    if (last->credentials)
        service_load_creds(s, service_now(s));
    service_status(s);
}

/* ---- credentials ---- */

void service_load_creds(struct service *s, struct now now)
{
    if (now.mono_ms < s->next_creds_ms)
        return;
    s->next_creds_ms = now.mono_ms + CREDS_RETRY_MS;
    struct err e;
    uint64_t held;
    if (creds_load(&s->creds, s->config->profile, &e) != 0) {
        if (log_limit(&s->creds_trouble, now.mono_ms, 6 * COMPLAIN_EVERY_MS, &held))
            log_error(log_msg("no credentials; data is kept"), log_s("why", e.text));
        return;
    }
    s->have_creds = true;
    struct sign_credentials view = creds_view(&s->creds);
    LIST_FOR(it, save, &s->streams)
    {
        pipeline_credentials(CONTAINER_OF(it, struct stream, link)->pipeline, &view);
    }
}

/* ---- life ---- */

static int find_endpoint(struct endpoint *ep, const struct config *config, struct err *e)
{
    if (config->endpoint != NULL)
        return endpoint_parse(ep, config->endpoint, e);
    return endpoint_default(ep, "kinesis", config->region, e);
}

bool stream_configure(struct stream *st, const struct config *config, const struct config_stream *c,
                      struct err *e)
{
    struct endpoint ep;
    if (find_endpoint(&ep, config, e) != 0)
        return false;
    const struct pipeline_options o = {
        .stream = c->kinesis,
        .region = config->region,
        .url = ep.url,
        .host = ep.host,
        .linger_ms = c->linger_ms,
        .in_flight = (unsigned)c->in_flight,
    };
    http_set_timeouts(st->http, config->connect_timeout_ms, config->request_timeout_ms);
    if (http_set_ca_bundle(st->http, config->ca_bundle) && pipeline_configure(st->pipeline, &o))
        return true;
    err_set(e, ERR_NOMEM, "out of memory");
    return false;
}

static uint64_t random_seed(void)
{
    uint64_t seed = 0;
    uv_random(NULL, NULL, &seed, sizeof seed, 0, NULL);
    return seed ^ uv_hrtime();
}

static bool make_parts(struct stream *st, const struct config_stream *c, struct err *e)
{
    struct service *s = st->service;
    const struct pipeline_ops ops = {
        .ctx = st,
        .send = do_send,
        .dead_letter = do_dead_letter,
        .dead_room = has_dead_room,
        .steer = do_steer,
        .trouble = on_trouble,
    };
    st->name = strdup(c->name);
    st->pipeline = pipeline_new(c->buffer_bytes, &ops, random_seed());
    if (st->name == NULL || st->pipeline == NULL) {
        err_set(e, ERR_NOMEM, "stream %s: no memory for a buffer of %llu bytes", c->name,
                (unsigned long long)c->buffer_bytes);
        return false;
    }
    const struct http_options o = {
        .slots = PIPELINE_SLOTS_MAX,
        .connect_timeout_ms = s->config->connect_timeout_ms,
        .total_timeout_ms = s->config->request_timeout_ms,
        .ca_bundle = s->config->ca_bundle,
        .user_agent = USER_AGENT,
    };
    st->http = http_new(&s->loop, &o, on_answer, st, e);
    return st->http != NULL;
}

static void stream_free(struct stream *st)
{
    if (st->pipeline != NULL)
        LIST_FOR(it, save, pipeline_moved(st->pipeline))
        {
            list_del(it); /* the origins outlive the list's head */
        }
    pipeline_free(st->pipeline);
    spool_free(st->spool);
    free(st->name);
    free(st);
}

struct stream *stream_new(struct service *s, const struct config_stream *c, struct err *e)
{
    struct stream *st = calloc(1, sizeof *st);
    if (st == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    st->service = s;
    st->id = s->next_stream_id++;
    list_init(&st->link);
    if (!make_parts(st, c, e)) {
        stream_free(st);
        return NULL;
    }
    s->open++;
    list_add_tail(&s->streams, &st->link);
    if (s->have_creds) {
        struct sign_credentials view = creds_view(&s->creds);
        pipeline_credentials(st->pipeline, &view);
    }
    return st;
}

static void on_stream_closed(void *ctx)
{
    struct stream *st = ctx;
    struct service *s = st->service;
    stream_free(st);
    on_device_closed(s);
}

static void on_http_closed(void *ctx)
{
    struct stream *st = ctx;
    if (st->spoolfile != NULL)
        spoolfile_close(st->spoolfile, on_stream_closed, st);
    else
        on_stream_closed(st);
}

void stream_close(struct stream *st)
{
    list_del(&st->link);
    spooling_tell_drops(st);
    http_close(st->http, on_http_closed, st);
}

struct stream *stream_find(struct service *s, const char *name)
{
    LIST_FOR(it, save, &s->streams)
    {
        struct stream *st = CONTAINER_OF(it, struct stream, link);
        if (strcmp(st->name, name) == 0)
            return st;
    }
    return NULL;
}
