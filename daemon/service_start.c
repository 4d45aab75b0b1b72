/* Birth: state, devices, streams with their spools, sources; then the first checkpoint, and READY.
 * What fails here undoes all that was made, through the same end as any other. */
#include "daemon/service.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/service_in.h"

static void on_started(struct service *s)
{
    s->state = SERVICE_RUNNING;
    service_steer_all(s);
    notify_send(&s->notify, "READY=1\nSTATUS=following files");
    log_info(log_msg("started"), log_s("version", TAILRACE_VERSION), log_i("pid", getpid()));
}

void service_saved(struct service *s)
{
    if (s->state == SERVICE_STARTING)
        on_started(s);
    else
        service_steer_all(s); /* sources that a reload has added waited for this */
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
    service_begin_stop(s);
}

static void on_hup(uv_signal_t *handle, int signum)
{
    (void)signum;
    struct service *s = handle->data;
    if (s->state == SERVICE_RUNNING && !s->options.once)
        service_reload(s);
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
    uv_prepare_start(&s->prepare, service_on_prepare);
    uv_unref((uv_handle_t *)&s->prepare);
    uv_signal_start(&s->sigterm, on_stop_signal, SIGTERM);
    uv_signal_start(&s->sigint, on_stop_signal, SIGINT);
    uv_signal_start(&s->sighup, on_hup, SIGHUP);
    uint64_t every_ms = notify_watchdog_ms(&s->notify);
    if (every_ms > 0)
        uv_timer_start(&s->watchdog, service_on_watchdog, every_ms, every_ms);
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
            spooling_report(s);
            return s;
        }
    }
    service_close_all(s);
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
