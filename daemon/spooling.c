/* A stream's spool: the deciding half (lib/spool) and its file (spoolfile), brought together.
 *
 * It is opened for streams that sockets feed, and for those that have something left in one. Once a
 * turn it reads what is written into the ring, before the pipeline's turn, and looks again after
 * it, for then the pipeline may have settled some. */
#include "daemon/service_in.h"

#define SPOOLED_RECORD_MAX (MIB + RECORD_KEY_BYTES_MAX) /* the most that max_record can be */

static void do_write(void *ctx, const struct spool_write *w)
{
    struct stream *st = ctx;
    spoolfile_write(st->spoolfile, w);
}

static bool do_read(void *ctx, uint64_t place, char *to, size_t n, struct err *e)
{
    struct stream *st = ctx;
    return spoolfile_read(st->spoolfile, place, to, n, e);
}

static void on_notice(void *ctx, const char *text)
{
    const struct stream *st = ctx;
    log_error(log_msg("the spool"), log_s("stream", st->name), log_s("what", text));
}

static void on_written(void *ctx, const struct err *e)
{
    struct stream *st = ctx;
    spool_wrote(st->spool, e);
}

/* A write, a sync, or what was read back. */
static void tell_failure(struct stream *st)
{
    const char *why = spool_failed(st->spool);
    if (why == NULL || st->spool_told)
        return;
    st->spool_told = true;
    log_error(log_msg("the spool has failed: nothing more is acknowledged until a restart"),
              log_s("stream", st->name), log_s("why", why));
    service_status(st->service);
}

/* What is behind a dead letter that has no room waits with it: nothing is lost, and it is said. */
static void tell_stall(struct stream *st, struct now now)
{
    uint64_t held;
    bool stalled = spool_is_stalled(st->spool);
    if (stalled == st->spool_stalled)
        return;
    st->spool_stalled = stalled;
    service_status(st->service);
    if (stalled && log_limit(&st->stall, now.mono_ms, COMPLAIN_EVERY_MS, &held))
        log_error(log_msg("the spool waits"), log_s("stream", st->name), log_s("why", NO_DEAD_ROOM),
                  log_u("held_back", held));
}

static void tell_found(const struct stream *st, const struct spool_report *r)
{
    if (r->records > 0)
        log_info(log_msg("the spool holds records to deliver"), log_s("stream", st->name),
                 log_u("records", r->records), log_u("bytes", r->bytes));
    if (r->lost_state)
        log_error(log_msg("the spool's state is damaged: what it still holds is delivered again"),
                  log_s("stream", st->name));
    if (r->cut_bytes > 0)
        log_warn(log_msg("the spool's end was torn; it is cut at the last good record"),
                 log_s("stream", st->name), log_u("bytes", r->cut_bytes));
    if (r->damaged_places > 0)
        log_error(log_msg("the spool is damaged; what is good is delivered"),
                  log_s("stream", st->name), log_u("places", r->damaged_places),
                  log_u("bytes", r->damaged_bytes));
}

static bool is_fed(const struct config *config, const struct config_stream *c)
{
    for (size_t i = 0; i < config->sources_n; i++)
        if (config->sources[i].socket.path != NULL &&
            strcmp(config->sources[i].stream_name, c->name) == 0)
            return true;
    return false;
}

bool spooling_open(struct stream *st, const struct config *config, const struct config_stream *c,
                   struct err *e)
{
    struct service *s = st->service;
    bool wanted = is_fed(config, c) && !s->options.once;
    if (st->spool != NULL || (!wanted && !spoolfile_exists(s->statedir.dir_fd, st->name)))
        return true;
    const struct spool_ops ops = {
        .ctx = st, .write = do_write, .read = do_read, .notice = on_notice};
    const struct spool_options o = {.record_max = SPOOLED_RECORD_MAX, .sync_ms = c->sync_ms};
    if (st->spoolfile == NULL)
        st->spoolfile = spoolfile_open(&s->loop, s->statedir.dir_fd, st->name, c->spool_bytes,
                                       on_written, st, e);
    if (st->spoolfile == NULL)
        return false;
    struct spool_report report = {0};
    struct spool *spool = spool_new(&o, &ops, st->pipeline, e);
    if (spool == NULL || spool_recover(spool, &report, e) != 0) {
        spool_free(spool); /* the file stays open, for another try or until the stream closes */
        return false;
    }
    st->spool = spool;
    tell_found(st, &report);
    return true;
}

static void tell_orphan(void *service, const char *stream)
{
    if (stream_find(service, stream) == NULL)
        log_warn(log_msg("a spool belongs to no stream of the configuration: what it may hold is "
                         "not delivered"),
                 log_s("stream", stream));
}

void spooling_report(struct service *s)
{
    spoolfile_each(s->statedir.dir_fd, tell_orphan, s);
}

void spooling_tell_drops(struct stream *st)
{
    uint64_t dropped = pipeline_stats(st->pipeline)->spool_dropped;
    if (dropped == st->drops_told)
        return;
    log_warn(log_msg("records were dropped: the spool is full"), log_s("stream", st->name),
             log_u("records", dropped - st->drops_told), log_u("so_far", dropped));
    st->drops_told = dropped;
}

/* At once, then now and then. When there will be something to tell. */
static uint64_t drops_turn(struct stream *st, struct now now)
{
    uint64_t held;
    if (pipeline_stats(st->pipeline)->spool_dropped == st->drops_told)
        return UINT64_MAX;
    if (!log_limit(&st->drops, now.mono_ms, COMPLAIN_EVERY_MS, &held))
        return st->drops.next_ms;
    spooling_tell_drops(st);
    return UINT64_MAX;
}

uint64_t spooling_turn(struct stream *st, struct now now)
{
    if (st->spool == NULL)
        return UINT64_MAX;
    struct origin *o = spool_origin(st->spool);
    uint64_t read_at = o->read_at, next = spool_turn(st->spool, now);
    tell_failure(st);
    tell_stall(st, now);
    next = min_u64(next, drops_turn(st, now));
    lag_seen(&st->spool_lag, spool_end(st->spool), o->delivered, now.mono_ms);
    list_del(&o->moved); /* no checkpoint tells of it: the spool does, itself */
    return o->read_at != read_at ? now.mono_ms : next; /* the pipeline has something to do */
}

bool spooling_is_over(const struct stream *st)
{
    return st->spool == NULL || spool_is_empty(st->spool);
}

bool spooling_is_quiet(const struct stream *st)
{
    return st->spool == NULL || spool_is_quiet(st->spool);
}
