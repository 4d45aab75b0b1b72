/* The daemon's turn, its birth and its death.
 *
 * Stop: SIGTERM -> sources stop, pipelines drain (linger ignored) until empty or the deadline ->
 * last checkpoint -> devices close -> the loop ends by itself. A second signal ends at once:
 * nothing that was not acknowledged is lost, files are read again from the last checkpoint. */
#include "daemon/service.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "daemon/service_in.h"

struct now service_now(struct service *s)
{
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    return (struct now){.mono_ms = uv_now(&s->loop),
                        .wall_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000};
}

/* ---- what is going on ---- */

void service_status(struct service *s)
{
    static const char *const words[] = {"delivering", "retrying", "held: a person is needed"};
    struct buf text;
    buf_init(&text, 4 * KIB);
    LIST_FOR(it, save, &s->streams)
    {
        struct stream *st = CONTAINER_OF(it, struct stream, link);
        buf_printf(&text, "%s%s %s", text.n > 0 ? "; " : "", st->name,
                   words[pipeline_health(st->pipeline)]);
    }
    LIST_FOR(it, save, &s->sources)
    {
        struct source *src = CONTAINER_OF(it, struct source, link);
        if (src->stalled)
            buf_printf(&text, "; %s waits for room in the dead letters", src->name);
    }
    LIST_FOR(it, save, &s->streams)
    {
        const struct stream *st = CONTAINER_OF(it, struct stream, link);
        if (st->spool != NULL && spool_failed(st->spool) != NULL)
            buf_printf(&text, "; the spool of %s has failed, nothing is acknowledged", st->name);
    }
    const char *line = buf_cstr(&text);
    if (line != NULL)
        notify_send(&s->notify, "STATUS=%s", line);
    buf_release(&text);
}

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

static struct progress_facts progress_facts(struct service *s)
{
    struct progress_facts f = {0};
    LIST_FOR(it, save, &s->sources)
    {
        LIST_FOR(jt, keep, tail_files(CONTAINER_OF(it, struct source, link)->tail))
        {
            const struct tail_file *file = CONTAINER_OF(jt, struct tail_file, link);
            f.files++;
            f.files_done += file->done;
            f.bytes += file->limit;
            f.bytes_done += file->read_at;
        }
    }
    LIST_FOR(it, save, &s->streams)
    {
        const struct stats *t = pipeline_stats(CONTAINER_OF(it, struct stream, link)->pipeline);
        f.records_done += t->records_delivered + t->records_dead;
    }
    return f;
}

/* All that could be read is dealt with. */
static int once_exit_code(struct service *s)
{
    uint64_t dead = 0;
    LIST_FOR(it, save, &s->streams)
    {
        dead += pipeline_stats(CONTAINER_OF(it, struct stream, link)->pipeline)->records_dead;
    }
    LIST_FOR(it, save, &s->sources)
    {
        if (tail_is_incomplete(CONTAINER_OF(it, struct source, link)->tail))
            return EXIT_TEMPORARY; /* not everything that is there could be read */
    }
    return dead > 0 ? EXIT_DEAD_LETTERS : 0;
}

/* ---- the end ---- */

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

static void close_all(struct service *s)
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

static bool all_delivered(struct service *s)
{
    LIST_FOR(it, save, &s->streams)
    {
        const struct stream *st = CONTAINER_OF(it, struct stream, link);
        if (!pipeline_empty(st->pipeline) || !spooling_is_over(st))
            return false;
    }
    return true;
}

static void steer_all(struct service *s)
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

static void drain_all(struct service *s)
{
    LIST_FOR(it, save, &s->streams)
    {
        struct stream *st = CONTAINER_OF(it, struct stream, link);
        pipeline_drain(st->pipeline, true);
        if (st->spool != NULL)
            spool_finish(st->spool);
    }
}

static void begin_stop(struct service *s)
{
    if (s->state >= SERVICE_DRAINING)
        return;
    s->state = SERVICE_DRAINING;
    s->stop_at_ms = uv_now(&s->loop) + s->config->stop_timeout_ms;
    notify_send(&s->notify, "STOPPING=1\nSTATUS=delivering what was read");
    steer_all(s);
    drain_all(s);
}

void service_fail(struct service *s, int exit_code)
{
    s->exit_code = exit_code;
    begin_stop(s);
}

static void on_stop_signal(uv_signal_t *handle, int signum)
{
    struct service *s = handle->data;
    if (s->state >= SERVICE_DRAINING) {
        log_warn(log_msg("a second signal: ending at once"), log_i("signal", signum));
        _exit(EXIT_TEMPORARY);
    }
    log_info(log_msg("stopping"), log_i("signal", signum));
    if (s->options.once)
        s->exit_code = EXIT_TEMPORARY;
    begin_stop(s);
}

static void on_hup(uv_signal_t *handle, int signum)
{
    (void)signum;
    struct service *s = handle->data;
    if (s->state == SERVICE_RUNNING && !s->options.once)
        service_reload(s);
}

static bool spools_are_quiet(struct service *s)
{
    LIST_FOR(it, save, &s->streams)
    {
        const struct stream *st = CONTAINER_OF(it, struct stream, link);
        if (st->spool != NULL && !spool_is_quiet(st->spool))
            return false;
    }
    return true;
}

/* DRAINING -> SAVING when all is delivered or time is up; SAVING -> CLOSING when the checkpoint
 * is. */
static uint64_t stop_turn(struct service *s, struct now now)
{
    if (s->state == SERVICE_DRAINING) {
        bool late = now.mono_ms >= s->stop_at_ms;
        if (!late && !all_delivered(s))
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
        close_all(s);
    }
    return UINT64_MAX;
}

/* ---- the turn ---- */

/* The time limit counts from the start: the first checkpoint may not come about either. */
static uint64_t once_turn(struct service *s, struct now now)
{
    if (!s->options.once || s->state > SERVICE_RUNNING)
        return UINT64_MAX;
    const struct progress_facts facts = progress_facts(s);
    bool read = s->state == SERVICE_RUNNING && facts.files_done == facts.files;
    bool done = read && all_delivered(s);
    progress_show(&s->progress, now.mono_ms, &facts, done);
    if (done) {
        service_fail(s, once_exit_code(s));
    } else if (now.mono_ms >= s->once_until_ms) {
        service_fail(s, EXIT_TEMPORARY);
        s->stop_at_ms = now.mono_ms; /* the time for waiting is over */
    } else if (read && !s->once_read) {
        s->once_read = true;
        drain_all(s);
        return now.mono_ms; /* the pipelines have had their turn, and still waited for more */
    }
    return min_u64(s->once_until_ms, progress_due(&s->progress));
}

static uint64_t stall_turn(struct service *s, struct now now)
{
    uint64_t next = UINT64_MAX;
    LIST_FOR(it, save, &s->sources)
    {
        struct source *src = CONTAINER_OF(it, struct source, link);
        if (src->stalled && s->next_stall_ms <= now.mono_ms) {
            src->stalled = false; /* it stalls again if there is still no room */
            source_steer(src);
        }
        if (src->stalled)
            next = s->next_stall_ms;
    }
    return next;
}

static uint64_t creds_turn(struct service *s, struct now now)
{
    if (s->have_creds || s->state > SERVICE_RUNNING)
        return UINT64_MAX;
    service_load_creds(s, now);
    return s->have_creds ? now.mono_ms : s->next_creds_ms;
}

static uint64_t pump_streams(struct service *s, struct now now)
{
    uint64_t next = UINT64_MAX;
    LIST_FOR(it, save, &s->streams)
    {
        struct stream *st = CONTAINER_OF(it, struct stream, link);
        spooling_turn(st, now); /* into the ring what was written */
        next = min_u64(next, pipeline_pump(st->pipeline, now));
        next = min_u64(next, spooling_turn(st, now)); /* and to the disk what was delivered */
        if (st->leaving && pipeline_empty(st->pipeline) && spooling_is_over(st) &&
            list_empty(pipeline_moved(st->pipeline)))
            stream_close(st);
    }
    return next;
}

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* the loop woke up: the turn comes by itself */
}

static void service_turn(struct service *s)
{
    uv_update_time(&s->loop);
    struct now now = service_now(s);
    inlets_turn(s, now);
    uint64_t next = pump_streams(s, now);
    next = min_u64(next, inlets_answer(s, now));
    next = min_u64(next, saving_turn(s, now));
    next = min_u64(next, creds_turn(s, now));
    next = min_u64(next, stall_turn(s, now));
    next = min_u64(next, once_turn(s, now));
    next = min_u64(next, stop_turn(s, now));
    if (s->state == SERVICE_CLOSING)
        return;
    if (next == UINT64_MAX)
        uv_timer_stop(&s->timer);
    else
        uv_timer_start(&s->timer, on_timer, next > now.mono_ms ? next - now.mono_ms : 0, 0);
}

static void on_prepare(uv_prepare_t *handle)
{
    struct service *s = handle->data;
    if (s->state != SERVICE_CLOSING)
        service_turn(s);
}

static void on_watchdog(uv_timer_t *timer)
{
    struct service *s = timer->data;
    notify_send(&s->notify, "WATCHDOG=1");
}

/* ---- birth ---- */

static void on_started(struct service *s)
{
    s->state = SERVICE_RUNNING;
    steer_all(s);
    notify_send(&s->notify, "READY=1\nSTATUS=following files");
    log_info(log_msg("started"), log_s("version", TAILRACE_VERSION), log_i("pid", getpid()));
}

void service_saved(struct service *s)
{
    if (s->state == SERVICE_STARTING)
        on_started(s);
    else
        steer_all(s); /* sources that a reload has added waited for this */
}

static void on_inotify(void *ctx, int wd, uint32_t mask, uint32_t cookie, const char *name)
{
    struct service *s = ctx;
    LIST_FOR(it, save, &s->sources)
    {
        tail_event(CONTAINER_OF(it, struct source, link)->tail, wd, mask, cookie, name);
    }
}

static void on_overflow(void *ctx)
{
    struct service *s = ctx;
    log_warn(log_msg("inotify's queue overflowed: looking at everything again"));
    LIST_FOR(it, save, &s->sources)
    {
        tail_scan(CONTAINER_OF(it, struct source, link)->tail);
    }
}

static void open_handles(struct service *s)
{
    uv_prepare_init(&s->loop, &s->prepare);
    uv_timer_init(&s->loop, &s->timer);
    uv_timer_init(&s->loop, &s->watchdog);
    uv_signal_init(&s->loop, &s->sigterm);
    uv_signal_init(&s->loop, &s->sigint);
    uv_signal_init(&s->loop, &s->sighup);
    s->open += 6;
    s->prepare.data = s->watchdog.data = s->sigterm.data = s->sigint.data = s->sighup.data = s;
    uv_prepare_start(&s->prepare, on_prepare);
    uv_unref((uv_handle_t *)&s->prepare);
    uv_signal_start(&s->sigterm, on_stop_signal, SIGTERM);
    uv_signal_start(&s->sigint, on_stop_signal, SIGINT);
    uv_signal_start(&s->sighup, on_hup, SIGHUP);
    uint64_t every_ms = notify_watchdog_ms(&s->notify);
    if (every_ms > 0)
        uv_timer_start(&s->watchdog, on_watchdog, every_ms, every_ms);
}

static bool open_devices(struct service *s, struct err *e)
{
    const struct watch_ops ops = {.ctx = s, .event = on_inotify, .overflow = on_overflow};
    saving_open(s);
    s->open++;
    s->deadletter = deadletter_new(&s->loop, s->statedir.dir_fd, s->config->dead_letter_max_bytes,
                                   stream_dead_stored, s, e);
    s->open += s->deadletter != NULL;
    s->watch = s->deadletter != NULL ? watch_new(&s->loop, &ops, e) : NULL;
    s->open += s->watch != NULL;
    if (s->watch != NULL && !s->options.once)
        answers_open(s);
    s->open += s->control != NULL;
    return s->watch != NULL;
}

static bool open_streams(struct service *s, struct err *e)
{
    for (size_t i = 0; i < s->config->streams_n; i++) {
        const struct config_stream *c = &s->config->streams[i];
        struct stream *st = stream_new(s, c, e);
        if (st == NULL || !stream_configure(st, s->config, c, e) ||
            !spooling_open(st, s->config, c, e))
            return false;
    }
    return true;
}

/* With --once only files are read: a socket has no end. */
bool source_open(struct service *s, const struct config_source *c, struct shape *shape,
                 struct err *e)
{
    struct stream *st = stream_find(s, c->stream_name);
    if (c->socket.path == NULL)
        return source_new(s, c, st, shape, e) != NULL;
    if (!s->options.once)
        return inlet_new(s, c, st, shape, e) != NULL;
    shape_free(shape);
    return true;
}

static bool open_sources(struct service *s, struct err *e)
{
    for (size_t i = 0; i < s->config->sources_n; i++) {
        const struct config_source *c = &s->config->sources[i];
        struct shape *shape = source_shape(s, &c->shape, e);
        if (shape == NULL)
            return false;
        if (!source_open(s, c, shape, e)) {
            shape_free(shape);
            return false;
        }
    }
    return true;
}

/* The state directory and what it remembers. */
static bool open_state(struct service *s, struct err *e)
{
    if (statedir_open(&s->statedir, s->config->state_dir, e) != 0)
        return false;
    struct checkpoint c = {0};
    if (checkpoint_load(s->statedir.dir_fd, &c, e) == 0) {
        if (ledger_load(&s->ledger, &c))
            return true;
        err_set(e, ERR_NOMEM, "out of memory");
    }
    statedir_close(&s->statedir);
    return false;
}

static void free_retired(struct service *s)
{
    LIST_FOR(it, save, &s->retired)
    {
        CONTAINER_OF(it, struct followed, link)->input.origin.in_ring = 0; /* the rings are gone */
    }
    followed_free_retired(s);
}

/* Runs the loop to its end, which must leave nothing behind. */
static int service_end(struct service *s)
{
    uv_run(&s->loop, UV_RUN_DEFAULT);
    free_retired(s);
    int rc = uv_loop_close(&s->loop);
    assert(rc == 0);
    int exit_code = rc == 0 ? s->exit_code : EXIT_TEMPORARY;
    ledger_release(&s->ledger);
    config_free(s->config);
    free(s);
    return exit_code;
}

struct service *service_new(struct config *config, const struct service_options *o, int *exit_code,
                            struct err *e)
{
    *exit_code = EXIT_CONFIG;
    struct service *s = calloc(1, sizeof *s);
    if (s == NULL) {
        config_free(config);
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    s->config = config;
    s->options = *o;
    s->dirty = true; /* the first checkpoint is what READY waits for */
    list_init(&s->streams);
    list_init(&s->sources);
    list_init(&s->inlets);
    list_init(&s->retired);
    activation_init(&s->activation);
    ledger_init(&s->ledger);
    creds_init(&s->creds);
    gethostname(s->host, sizeof s->host - 1);
    if (!open_state(s, e)) {
        if (e->code == ERR_BUSY)
            *exit_code = EXIT_TEMPORARY;
        ledger_release(&s->ledger);
        config_free(s->config);
        free(s);
        return NULL;
    }
    uv_loop_init(&s->loop);
    notify_init(&s->notify);
    open_handles(s);
    if (open_devices(s, e)) {
        service_load_creds(s, service_now(s));
        if (open_streams(s, e) && open_sources(s, e)) {
            activation_report(&s->activation);
            return s;
        }
    }
    close_all(s);
    service_end(s);
    return NULL;
}

int service_run(struct service *s)
{
    uint64_t now_ms = uv_now(&s->loop);
    s->once_until_ms =
        s->options.once_timeout_ms > 0 ? now_ms + s->options.once_timeout_ms : UINT64_MAX;
    progress_init(&s->progress, now_ms);
    return service_end(s);
}
