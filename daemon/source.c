/* One source: a tail, and what it asks of us. This file is where a file's bytes meet the
 * pipeline. */
#include <stdlib.h>

#include "daemon/service_in.h"

/* ---- bytes ---- */

static bool read_header(struct followed *fo, size_t n, bool *more)
{
    char *bytes = malloc(n);
    ssize_t got = bytes != NULL ? tail_pread(fo->file, bytes, n, 0) : -1;
    *more = got == (ssize_t)n;
    bool ok = got > 0 && input_header(&fo->input, (struct str){bytes, (size_t)got}, !*more);
    free(bytes);
    return ok;
}

/* A CSV file that is taken up in the middle: its first row, behind the lines to skip, names the
 * columns. */
static bool learn_header(struct source *src, struct followed *fo)
{
    const struct shape_spec *spec = &src->config->shape;
    size_t n = spec->max_record + 4 * KIB, most = spec->skip_lines > 0 ? HEADER_BYTES_MAX : n;
    bool more = true;
    for (; n <= most && more; n *= 2)
        if (read_header(fo, n, &more))
            return true;
    return false;
}

static void tell_missing(struct source *src, struct followed *fo)
{
    fo->told_missing = true;
    log_warn(log_msg("a column that the configuration names is not in the file"),
             log_s("source", src->name), log_s("path", fo->path),
             log_s("column", fo->input.missing_column));
}

/* A wrong format shows here first, and where only some lines are odd, one in a while is enough. */
static void tell_no_match(struct source *src, struct followed *fo)
{
    uint64_t held, n = fo->input.no_match - fo->told_no_match;
    if (!log_limit(&src->no_match, uv_now(&src->service->loop), COMPLAIN_EVERY_MS, &held))
        return;
    fo->told_no_match = fo->input.no_match;
    log_warn(log_msg("lines are not of the format that the configuration names"),
             log_s("source", src->name), log_s("path", fo->path), log_u("lines", n),
             log_u("before_offset", fo->input.origin.read_at));
}

static void stall(struct source *src, const char *why)
{
    struct service *s = src->service;
    uint64_t held;
    src->stalled = true;
    s->next_stall_ms = uv_now(&s->loop) + STALL_RETRY_MS;
    source_steer(src);
    if (log_limit(&src->stall, uv_now(&s->loop), COMPLAIN_EVERY_MS, &held))
        log_error(log_msg("the source waits"), log_s("source", src->name), log_s("why", why),
                  log_u("held_back", held));
    service_status(s);
}

static enum tail_verdict on_bytes(void *ctx, struct tail_file *f, struct str bytes, bool at_end,
                                  size_t *used)
{
    struct source *src = ctx;
    struct followed *fo = followed_of(f);
    struct input *in = &fo->input;
    if (input_needs_header(in) && !learn_header(src, fo)) {
        log_error(log_msg("no header row can be read, reading the file from the beginning"),
                  log_s("source", src->name), log_s("path", f->path));
        if (tail_seek(f, 0))
            followed_start_again(src, f);
        return TAIL_GO_ON;
    }
    followed_note_size(fo);
    lag_seen(&fo->lag, f->read_at + bytes.n, in->origin.delivered, uv_now(&src->service->loop));
    enum input_result result =
        input_feed(in, service_now(src->service), bytes, at_end, tail_quiet_ms(f), used);
    tail_patience(f, input_patience_ms(in));
    if (in->missing_column != NULL && !fo->told_missing)
        tell_missing(src, fo);
    if (in->no_match != fo->told_no_match)
        tell_no_match(src, fo);
    switch (result) {
    case INPUT_MORE:
        return TAIL_GO_ON;
    case INPUT_FULL:
        break;
    case INPUT_DEAD_FULL:
        stall(src, NO_DEAD_ROOM);
        break;
    case INPUT_NOMEM:
        stall(src, "out of memory");
        break;
    }
    return TAIL_WAIT;
}

/* ---- other news ---- */

static void on_replaced(void *ctx, struct tail_file *f)
{
    struct source *src = ctx;
    log_warn(log_msg("the file was truncated or written anew, reading it from the beginning"),
             log_s("source", src->name), log_s("path", f->path),
             log_u("undelivered_records", followed_of(f)->input.origin.in_ring));
    followed_start_again(src, f);
}

static void on_renamed(void *ctx, struct tail_file *f)
{
    struct source *src = ctx;
    struct followed *fo = followed_of(f);
    log_info(log_msg("renamed"), log_s("source", src->name), log_s("from", fo->path),
             log_s("path", f->path));
    ledger_rename(fo->entry, f->path);
    src->service->dirty = true;
}

static bool is_settled(void *ctx, struct tail_file *f)
{
    (void)ctx;
    return followed_of(f)->input.origin.in_ring == 0;
}

static void on_lost(void *ctx, struct tail_file *f)
{
    struct source *src = ctx;
    struct followed *fo = followed_of(f);
    struct origin *o = &fo->input.origin;
    uint64_t at = min_u64(o->delivered, f->read_at);
    if (fo->entry != NULL && tail_position(f, at, &fo->entry->at))
        fo->entry->at.mid_record = o->delivered_mid;
    if (fo->entry != NULL && tail_is_deleted(f)) {
        if (src->service->state != SERVICE_CLOSING) /* else the next start finds it gone */
            source_miss_deleted(src, f);
        ledger_drop(fo->entry);
    } else if (fo->entry != NULL) {
        ledger_leave(fo->entry);
    }
    log_debug(log_msg("closed"), log_s("source", src->name), log_s("path", f->path),
              log_u("offset", o->delivered));
    src->service->dirty = true;
    followed_retire(fo);
    followed_free_retired(src->service);
}

static int do_watch_dir(void *ctx, const char *path, bool names)
{
    return watch_dir(((struct source *)ctx)->service->watch, path, names);
}

static int do_watch_file(void *ctx, int fd)
{
    return watch_file(((struct source *)ctx)->service->watch, fd);
}

static void do_unwatch(void *ctx, int wd)
{
    watch_drop(((struct source *)ctx)->service->watch, wd);
}

static void on_complaint(void *ctx, const char *path, const char *what)
{
    log_warn(log_msg("passed over"), log_s("source", ((struct source *)ctx)->name),
             log_s("path", path), log_s("why", what));
}

/* ---- life ---- */

/* Nothing is asked of the metadata service unless a template needs it, and then once. */
static void ask_imds(struct service *s)
{
    struct err e;
    if (s->imds_asked || s->imds.instance_id[0] != '\0')
        return;
    s->imds_asked = true;
    if (imds_load(&s->imds, &e) != 0)
        log_warn(log_msg("nothing is known of the EC2 instance: @ec2.* are null until a reload"),
                 log_s("why", e.text));
}

struct shape *source_shape(struct service *s, const struct shape_spec *spec, struct err *e)
{
    struct shape *shape = shape_new(spec, s->host, e);
    if (shape == NULL || !shape_wants_ec2(shape))
        return shape;
    ask_imds(s);
    if (shape_set_ec2(shape, s->imds.instance_id, s->imds.availability_zone))
        return shape;
    shape_free(shape);
    err_set(e, ERR_NOMEM, "out of memory");
    return NULL;
}

void source_steer(struct source *src)
{
    const struct service *s = src->service;
    bool run = s->state == SERVICE_RUNNING && src->first_save <= s->saved && !src->stalled &&
               !src->stream->paused;
    tail_pause(src->tail, !run);
}

static bool make_tail(struct source *src, struct err *e)
{
    struct service *s = src->service;
    const struct tail_ops ops = {
        .ctx = src,
        .knows = followed_knows,
        .found = followed_found,
        .bytes = on_bytes,
        .replaced = on_replaced,
        .copied = followed_copied,
        .missed = source_missed,
        .renamed = on_renamed,
        .settled = is_settled,
        .lost = on_lost,
        .watch_dir = do_watch_dir,
        .watch_file = do_watch_file,
        .unwatch = do_unwatch,
        .complain = on_complaint,
    };
    const struct tail_options o = {
        .pattern = src->config->file,
        .excludes = src->config->excludes,
        .excludes_n = src->config->excludes_n,
        .record_max = src->config->shape.max_record,
        .open_max = src->config->max_open_files,
        .once = s->options.once,
        .poll = src->config->watch_poll,
    };
    src->tail = tail_new(&s->loop, &o, &ops, e);
    return src->tail != NULL;
}

struct source *source_new(struct service *s, const struct config_source *c, struct stream *st,
                          struct shape *shape, struct err *e)
{
    struct source *src = calloc(1, sizeof *src);
    char *name = strdup(c->name);
    struct ledger_source *entries = ledger_find_source(&s->ledger, c->name);
    bool fresh = entries == NULL;
    if (fresh)
        entries = ledger_add_source(&s->ledger, c->name);
    if (src == NULL || name == NULL || entries == NULL) {
        free(src);
        free(name);
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    *src = (struct source){.service = s,
                           .config = c,
                           .stream = st,
                           .ledger = entries,
                           .fresh = fresh,
                           .name = name,
                           .first_save = s->save + 1};
    if (!make_tail(src, e)) {
        free(name);
        free(src);
        return NULL;
    }
    src->shape = shape; /* taken over only now */
    s->open++;
    s->dirty = true;
    list_add_tail(&s->sources, &src->link);
    tail_scan(src->tail);
    source_recover(src);
    source_miss_gone(src);
    src->fresh = false;
    return src;
}

void source_reshape(struct source *src, const struct config_source *c, struct shape *shape)
{
    LIST_FOR(it, save, tail_files(src->tail))
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, link);
        struct followed *fo = followed_of(f);
        input_reshape(&fo->input, shape, &c->shape);
        fo->told_missing = false;
        tail_tell_rest(f);
    }
    shape_free(src->shape);
    src->shape = shape;
    src->config = c;
    tail_set_open_max(src->tail, c->max_open_files);
}

static void on_tail_closed(void *ctx)
{
    struct source *src = ctx;
    struct service *s = src->service;
    shape_free(src->shape);
    free(src->name);
    free(src);
    on_device_closed(s);
}

void source_close(struct source *src)
{
    list_del(&src->link);
    tail_close(src->tail, on_tail_closed, src);
}

struct source *source_find(struct service *s, const char *name)
{
    LIST_FOR(it, save, &s->sources)
    {
        struct source *src = CONTAINER_OF(it, struct source, link);
        if (strcmp(src->name, name) == 0)
            return src;
    }
    return NULL;
}
