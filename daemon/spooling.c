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
    if (e == NULL)
        return;
    log_error(log_msg("the spool has failed: nothing more is acknowledged until a restart"),
              log_s("stream", st->name), log_s("why", e->text));
    service_status(st->service);
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
    if (st->spool != NULL ||
        (!is_fed(config, c) && !spoolfile_exists(s->statedir.dir_fd, st->name)))
        return true;
    const struct spool_ops ops = {
        .ctx = st, .write = do_write, .read = do_read, .notice = on_notice};
    const struct spool_options o = {.record_max = SPOOLED_RECORD_MAX, .sync_ms = c->sync_ms};
    st->spoolfile =
        spoolfile_open(&s->loop, s->statedir.dir_fd, st->name, c->spool_bytes, on_written, st, e);
    if (st->spoolfile == NULL)
        return false;
    struct spool_report report = {0};
    st->spool = spool_new(&o, &ops, st->pipeline, e);
    if (st->spool == NULL || spool_recover(st->spool, &report, e) != 0)
        return false;
    tell_found(st, &report);
    return true;
}

uint64_t spooling_turn(struct stream *st, struct now now)
{
    if (st->spool == NULL)
        return UINT64_MAX;
    struct origin *o = spool_origin(st->spool);
    uint64_t read_at = o->read_at, next = spool_turn(st->spool, now);
    lag_seen(&st->spool_lag, spool_end(st->spool), o->delivered, now.mono_ms);
    list_del(&o->moved); /* no checkpoint tells of it: the spool does, itself */
    return o->read_at != read_at ? now.mono_ms : next; /* the pipeline has something to do */
}

bool spooling_is_over(const struct stream *st)
{
    return st->spool == NULL || spool_is_empty(st->spool);
}
