/* The daemon's turn, and what it says of itself. Birth is in service_start.c, death in
 * service_stop.c. */
#include "daemon/service.h"

#include <time.h>

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
        if (st->spool_stalled)
            buf_printf(&text, "; the spool of %s waits for room in the dead letters", st->name);
    }
    if (s->dead_fails)
        buf_puts(&text, "; dead letters cannot be stored");
    const char *line = buf_cstr(&text);
    if (line != NULL)
        notify_send(&s->notify, "STATUS=%s", line);
    buf_release(&text);
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

/* ---- the turn ---- */

/* The time limit counts from the start: the first checkpoint may not come about either. */
static uint64_t once_turn(struct service *s, struct now now)
{
    if (!s->options.once || s->state > SERVICE_RUNNING)
        return UINT64_MAX;
    const struct progress_facts facts = progress_facts(s);
    bool read = s->state == SERVICE_RUNNING && facts.files_done == facts.files;
    bool done = read && service_all_delivered(s);
    progress_show(&s->progress, now.mono_ms, &facts, done);
    if (done) {
        service_fail(s, once_exit_code(s));
    } else if (now.mono_ms >= s->once_until_ms) {
        service_fail(s, EXIT_TEMPORARY);
        s->stop_at_ms = now.mono_ms; /* the time for waiting is over */
    } else if (read && !s->once_read) {
        s->once_read = true;
        service_drain_all(s);
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
            spooling_is_quiet(st) && list_empty(pipeline_moved(st->pipeline)))
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
    next = min_u64(next, service_stop_turn(s, now));
    if (s->state == SERVICE_CLOSING)
        return;
    if (next == UINT64_MAX)
        uv_timer_stop(&s->timer);
    else
        uv_timer_start(&s->timer, on_timer, next > now.mono_ms ? next - now.mono_ms : 0, 0);
}

void service_on_prepare(uv_prepare_t *handle)
{
    struct service *s = handle->data;
    if (s->state != SERVICE_CLOSING)
        service_turn(s);
}

void service_on_watchdog(uv_timer_t *timer)
{
    struct service *s = timer->data;
    notify_send(&s->notify, "WATCHDOG=1");
}
