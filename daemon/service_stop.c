/* The end: SIGTERM -> sources stop, spools are written, pipelines drain (linger ignored) until
 * empty or the deadline -> last checkpoint -> devices close -> the loop ends by itself. A second
 * signal ends at once: nothing that was acknowledged is lost, files are read again from the last
 * checkpoint. */
#include <signal.h>
#include <unistd.h>

#include "daemon/service_in.h"

/* ---- closing ---- */

static void tell_totals(struct service *s)
{
    LIST_FOR(it, save, &s->streams)
    {
        struct stream *st = CONTAINER_OF(it, struct stream, link);
        const struct stats *t = pipeline_stats(st->pipeline);
        struct log_field fields[] = {
            log_msg("totals"),
            log_s("stream", st->name),
#define TOTAL(name, sentence) log_u(#name, t->name),
            STATS(TOTAL)
#undef TOTAL
                {.kind = LOG_END},
        };
        log_emit(LOG_INFO, fields);
    }
}

static void on_service_closed(struct service *s)
{
    activation_release(&s->activation);
    creds_release(&s->creds);
    notify_release(&s->notify);
    statedir_close(&s->statedir);
}

void on_device_closed(void *service)
{
    struct service *s = service;
    assert(s->open > 0);
    if (--s->open == 0)
        on_service_closed(s);
}

static void on_handle_closed(uv_handle_t *handle)
{
    on_device_closed(handle->data);
}

static void close_handle(struct service *s, uv_handle_t *handle)
{
    handle->data = s;
    uv_close(handle, on_handle_closed);
}

void service_close_all(struct service *s)
{
    if (s->state != SERVICE_STARTING)
        tell_totals(s);
    s->state = SERVICE_CLOSING;
    LIST_FOR(it, save, &s->sources)
    {
        source_close(CONTAINER_OF(it, struct source, link));
    }
    LIST_FOR(it, save, &s->inlets)
    {
        inlet_close(inlet_of(it));
    }
    LIST_FOR(it, save, &s->streams)
    {
        stream_close(CONTAINER_OF(it, struct stream, link));
    }
    if (s->deadletter != NULL)
        deadletter_close(s->deadletter, on_device_closed, s);
    if (s->control != NULL)
        control_close(s->control, on_device_closed, s);
    if (s->watch != NULL)
        watch_close(s->watch, on_device_closed, s);
    checkpoint_close(&s->store, on_device_closed, s);
    uv_handle_t *handles[] = {(uv_handle_t *)&s->prepare,  (uv_handle_t *)&s->timer,
                              (uv_handle_t *)&s->watchdog, (uv_handle_t *)&s->sigterm,
                              (uv_handle_t *)&s->sigint,   (uv_handle_t *)&s->sighup};
    for (size_t i = 0; i < ARRAY_LEN(handles); i++)
        close_handle(s, handles[i]);
}

bool service_all_delivered(struct service *s)
{
    LIST_FOR(it, save, &s->streams)
    {
        const struct stream *st = CONTAINER_OF(it, struct stream, link);
        if (!pipeline_empty(st->pipeline) || !spooling_is_over(st))
            return false;
    }
    return true;
}

void service_steer_all(struct service *s)
{
    LIST_FOR(it, save, &s->sources)
    {
        source_steer(CONTAINER_OF(it, struct source, link));
    }
    LIST_FOR(it, save, &s->inlets)
    {
        inlet_steer(inlet_of(it));
    }
}

static void leave_all(struct service *s)
{
    LIST_FOR(it, save, &s->sources)
    {
        source_take_leave(CONTAINER_OF(it, struct source, link));
    }
}

void service_drain_all(struct service *s)
{
    LIST_FOR(it, save, &s->streams)
    {
        struct stream *st = CONTAINER_OF(it, struct stream, link);
        pipeline_drain(st->pipeline, true);
        if (st->spool != NULL)
            spool_finish(st->spool);
    }
}

void service_begin_stop(struct service *s)
{
    if (s->state >= SERVICE_DRAINING)
        return;
    s->state = SERVICE_DRAINING;
    s->stop_at_ms = uv_now(&s->loop) + s->config->stop_timeout_ms;
    notify_send(&s->notify, "STOPPING=1\nSTATUS=delivering what was read");
    service_steer_all(s);
    service_drain_all(s);
}

void service_fail(struct service *s, int exit_code)
{
    s->exit_code = exit_code;
    service_begin_stop(s);
}

static bool spools_are_quiet(struct service *s)
{
    LIST_FOR(it, save, &s->streams)
    {
        if (!spooling_is_quiet(CONTAINER_OF(it, struct stream, link)))
            return false;
    }
    return true;
}

/* DRAINING -> SAVING when all is delivered or time is up; SAVING -> CLOSING when the checkpoint
 * is. */
uint64_t service_stop_turn(struct service *s, struct now now)
{
    if (s->state == SERVICE_DRAINING) {
        bool late = now.mono_ms >= s->stop_at_ms;
        if (!late && !service_all_delivered(s))
            return s->stop_at_ms;
        if (late)
            log_warn(log_msg("stop_timeout is over; what is left is read again at the next start"));
        s->state = SERVICE_SAVING;
        s->stop_at_ms = now.mono_ms + s->config->stop_timeout_ms;
        leave_all(s);
        saving_turn(s, now); /* it may save at once now */
    }
    if (s->state == SERVICE_SAVING) {
        bool done = saving_done(s) && spools_are_quiet(s);
        if (!done && now.mono_ms < s->stop_at_ms)
            return s->stop_at_ms;
        if (!saving_done(s)) {
            log_error(log_msg("ending without the last checkpoint; what it would have said is "
                              "delivered again at the next start"));
            s->exit_code = EXIT_TEMPORARY;
        }
        service_close_all(s);
    }
    return UINT64_MAX;
}
