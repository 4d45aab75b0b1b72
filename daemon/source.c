/* One source: a tail, and for each file that it follows, an input. This file is where a file's
 * bytes meet the pipeline, and where it is decided from which offset a file is read:
 *
 *   known again (inode and both fingerprints)   where the checkpoint says
 *   found while a source starts for the very first time, start_at: end    behind its last whole
 *   line
 *   else                                        0
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "daemon/service_in.h"

/* ---- followed files ---- */

static struct followed *followed_of(const struct tail_file *f)
{
    return f->owner;
}

static void followed_free(struct followed *fo)
{
    list_del(&fo->link);
    input_release(&fo->input);
    free(fo->path);
    free(fo->source_name);
    free(fo);
}

/* Its file is closed, or another one now. It stays until the ring has let go of its records. */
static void followed_retire(struct followed *fo)
{
    struct service *s = fo->source->service;
    fo->file = NULL;
    fo->entry = NULL;
    fo->source = NULL;
    list_add_tail(&s->retired, &fo->link);
}

void followed_free_retired(struct service *s)
{
    LIST_FOR(it, save, &s->retired)
    {
        struct followed *fo = CONTAINER_OF(it, struct followed, link);
        if (fo->input.origin.in_ring == 0)
            followed_free(fo);
    }
}

static struct followed *followed_new(struct source *src, struct tail_file *f)
{
    struct followed *fo = calloc(1, sizeof *fo);
    if (fo == NULL)
        return NULL;
    list_init(&fo->link);
    fo->source = src;
    fo->file = f;
    fo->path = strdup(f->path);
    fo->inode = f->inode;
    fo->source_name = strdup(src->name);
    input_init(&fo->input, src->stream->pipeline, src->shape, &src->config->shape,
               fo->path != NULL ? fo->path : "");
    if (fo->path == NULL || fo->source_name == NULL) {
        followed_free(fo);
        return NULL;
    }
    return fo;
}

/* ---- where to begin ---- */

/* The entry of this very file; or, when the file that an entry speaks of has been truncated since,
 * and this one has the bytes that were read of it, that entry: it was copied before
 * (copytruncate). */
static struct ledger_file *known_entry(struct source *src, struct tail_file *f)
{
    struct ledger_file *entry = NULL, *blank = NULL;
    while ((entry = ledger_find(src->ledger, f->inode, entry)) != NULL) {
        if (!tail_is(f, &entry->at))
            ledger_displace(entry);
        else if (entry->at.offset > 0)
            return entry;
        else
            blank = entry;
    }
    entry = ledger_find_displaced(src->ledger, NULL);
    for (; entry != NULL; entry = ledger_find_displaced(src->ledger, entry))
        if (entry->at.offset >= COPY_FIRST && tail_holds(f, &entry->at))
            break;
    return entry != NULL ? entry : blank;
}

/* A file that has become shorter is displaced before any file is looked at: a copy of it may have
 * the inode of a file long gone, and then be looked at first. */
static bool on_knows(void *ctx, uint64_t inode, uint64_t size)
{
    struct source *src = ctx;
    struct ledger_file *entry = NULL;
    bool known = false;
    while ((entry = ledger_find(src->ledger, inode, entry)) != NULL) {
        known |= entry->at.offset > 0;
        if (entry->at.offset > size)
            ledger_displace(entry);
    }
    return known;
}

/* Behind the last line end, so that a half-written line is not cut: at most max_record back. */
static uint64_t last_line_end(const struct source *src, const struct tail_file *f)
{
    uint64_t size = tail_size(f);
    size_t n = (size_t)min_u64(size, src->config->shape.max_record);
    char *bytes = malloc(n + 1);
    ssize_t got = bytes != NULL ? tail_pread(f, bytes, n, size - n) : -1;
    uint64_t end = size;
    if (got == (ssize_t)n && n > 0) {
        struct str text = {bytes, n};
        size_t at = src->config->shape.format == FORMAT_CSV
                        ? csv_last_end(text)
                        : framer_last_end(src->config->shape.encoding, text, size - n);
        end = at > 0 || n == size ? size - n + at : size;
    }
    if (encoding_is_utf16(src->config->shape.encoding))
        end -= end % 2;
    free(bytes);
    return end;
}

static bool is_too_old(const struct source *src, const struct tail_file *f)
{
    uint64_t limit_ms = src->config->ignore_older_ms;
    uint64_t written_ms = f->mtime_ns > 0 ? (uint64_t)f->mtime_ns / 1000000 : 0;
    return limit_ms > 0 && written_ms + limit_ms < service_now(src->service).wall_ms;
}

static struct ledger_file *begin_anew(struct source *src, struct tail_file *f, uint64_t offset)
{
    struct ledger_file *entry = ledger_add(src->ledger, f->path);
    if (entry == NULL)
        return NULL;
    bool ok = tail_seek(f, offset) && tail_position(f, offset, &entry->at);
    if (!ok) {
        tail_seek(f, 0);
        entry->at = (struct position){.device = f->device, .inode = f->inode};
    }
    return entry;
}

static void start_followed(struct source *src, struct followed *fo, struct ledger_file *entry)
{
    struct service *s = src->service;
    entry->live = true;
    entry->size = fo->file->known_end;
    entry->seen_s = service_now(s).wall_ms / 1000;
    ledger_touch(entry);
    fo->entry = entry;
    input_start(&fo->input, entry->at.offset, entry->at.mid_record);
    s->dirty = true;
}

static bool on_found(void *ctx, struct tail_file *f)
{
    struct source *src = ctx;
    struct followed *fo = followed_new(src, f);
    if (fo == NULL)
        return false;
    struct ledger_file *entry = known_entry(src, f);
    if (entry != NULL && !tail_seek(f, entry->at.offset))
        entry = NULL;
    if (src->recovering) {
        /* under the name by which it is found again, should this end here */
    } else if (entry != NULL) {
        ledger_rename(entry, f->path);
    } else {
        bool end = (src->fresh && src->config->start_at == START_AT_END) || is_too_old(src, f);
        entry = begin_anew(src, f, end ? last_line_end(src, f) : 0);
    }
    if (entry == NULL) {
        followed_free(fo);
        return false;
    }
    start_followed(src, fo, entry);
    f->owner = fo;
    log_info(log_msg("following"), log_s("source", src->name), log_s("path", f->path),
             log_u("offset", f->read_at));
    return true;
}

static void out_of_memory(void)
{
    log_error(log_msg("out of memory; ending, to be started again from the checkpoint"));
    abort();
}

/* The file begins again at 0 with an input of its own: the old one's records may still be in the
 * ring, with offsets that mean nothing in the new content. */
static void start_again(struct source *src, struct tail_file *f)
{
    struct followed *old = followed_of(f), *fo = followed_new(src, f);
    if (fo == NULL)
        out_of_memory();
    old->entry->at = (struct position){.device = f->device, .inode = f->inode};
    ledger_touch(old->entry);
    start_followed(src, fo, old->entry);
    followed_retire(old);
    f->owner = fo;
    followed_free_retired(src->service);
}

/* The same at any offset, because a person wants it so. Records of the old input that are still in
 * the ring are delivered; their positions no longer count. */
bool source_rewind(struct tail_file *f, uint64_t offset)
{
    struct followed *old = followed_of(f);
    struct source *src = old->source;
    struct followed *fo = followed_new(src, f);
    struct position at = {0}; /* not in the middle of a record */
    if (fo == NULL || !tail_rewind(f, offset, &at)) {
        if (fo != NULL)
            followed_free(fo);
        return false;
    }
    old->entry->at = at;
    start_followed(src, fo, old->entry);
    followed_retire(old);
    f->owner = fo;
    followed_free_retired(src->service);
    return true;
}

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
            start_again(src, f);
        return TAIL_GO_ON;
    }
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
        stall(src, "a record must become a dead letter, and dead_letter_max is reached");
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
    start_again(src, f);
}

/* copytruncate: what was read of `from` stands in `to`, so the input that read it goes on there,
 * with all that it still has in the ring; `from` gets one of its own. */
static void on_copied(void *ctx, struct tail_file *from, struct tail_file *to)
{
    struct source *src = ctx;
    struct followed *old = followed_of(from), *unused = followed_of(to);
    log_info(log_msg("copied and truncated, reading on in the copy"), log_s("source", src->name),
             log_s("path", from->path), log_s("copy", to->path), log_u("offset", to->read_at));
    ledger_drop(unused->entry);
    followed_free(unused);
    to->owner = old;
    old->file = to;
    old->inode = to->inode;
    ledger_rename(old->entry, to->path);
    struct origin *o = &old->input.origin;
    o->read_at = min_u64(o->read_at, to->read_at); /* the copy may have ended earlier */
    input_reshape(&old->input, src->shape, &src->config->shape);
    if (!tail_position(to, min_u64(o->delivered, to->read_at), &old->entry->at))
        old->entry->at = (struct position){.device = to->device, .inode = to->inode};
    ledger_touch(old->entry);
    struct followed *fo = followed_new(src, from);
    struct ledger_file *entry = fo != NULL ? ledger_add(src->ledger, from->path) : NULL;
    if (entry == NULL)
        out_of_memory();
    entry->at = (struct position){.device = from->device, .inode = from->inode};
    start_followed(src, fo, entry);
    from->owner = fo;
}

/* What nobody can have any more is said, and counted. */
static void miss(struct source *src, const char *path, uint64_t bytes, const char *why)
{
    struct stats *stats = pipeline_stats(src->stream->pipeline);
    stats->missing_files++;
    stats->missing_bytes += bytes;
    log_warn(log_msg("bytes that were not read are gone"), log_s("source", src->name),
             log_s("path", path), log_u("bytes", bytes), log_s("why", why));
}

static void on_missed(void *ctx, struct tail_file *f, uint64_t bytes, const char *why)
{
    miss(ctx, f->path, bytes, why);
}

/* Its path leads elsewhere, or nowhere; what cannot be looked at may still be there. */
static bool is_gone(const struct ledger_file *entry)
{
    struct stat st;
    if (stat(entry->path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR;
    return st.st_ino != entry->at.inode || !list_empty(&entry->displaced);
}

/* Files that were deleted, packed or renamed out of the glob while nobody looked: what was known
 * to be in them beyond the checkpoint is missing. That is told once; the entry stays, for they may
 * come back. */
static void miss_what_is_gone(struct source *src)
{
    LIST_FOR(it, save, &src->ledger->files)
    {
        struct ledger_file *entry = CONTAINER_OF(it, struct ledger_file, link);
        if (entry->live || entry->size <= entry->at.offset || !is_gone(entry))
            continue;
        miss(src, entry->path, entry->size - entry->at.offset,
             "gone while tailraced was not running");
        entry->size = entry->at.offset;
        ledger_touch(entry);
        src->service->dirty = true;
    }
}

/* Nobody can open it again, so what is not delivered now never will be. */
static void miss_deleted(struct source *src, struct tail_file *f)
{
    uint64_t delivered = followed_of(f)->input.origin.delivered;
    if (f->known_end <= delivered)
        return;
    miss(src, f->path, f->known_end - delivered, "deleted, and tailraced stops following it");
    f->known_end = delivered; /* told */
}

/* Before the last checkpoint. The sizes are there for the next start, which may find a file
 * gone. */
void source_take_leave(struct source *src)
{
    LIST_FOR(it, save, tail_files(src->tail))
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, link);
        struct ledger_file *entry = followed_of(f)->entry;
        uint64_t size = tail_size(f);
        if (tail_is_deleted(f)) {
            miss_deleted(src, f);
            size = followed_of(f)->input.origin.delivered; /* the next start has nothing to add */
        }
        if (entry->size != size) {
            entry->size = size;
            ledger_touch(entry);
            src->service->dirty = true;
        }
    }
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
        miss_deleted(src, f);
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
        .knows = on_knows,
        .found = on_found,
        .bytes = on_bytes,
        .replaced = on_replaced,
        .copied = on_copied,
        .missed = on_missed,
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
    miss_what_is_gone(src);
    src->fresh = false;
    return src;
}

void source_reshape(struct source *src, const struct config_source *c, struct shape *shape)
{
    LIST_FOR(it, save, tail_files(src->tail))
    {
        struct followed *fo = followed_of(CONTAINER_OF(it, struct tail_file, link));
        input_reshape(&fo->input, shape, &c->shape);
        fo->told_missing = false;
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
