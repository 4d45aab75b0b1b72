/* What the control socket answers: the state of the service, as JSON lines (daemon/control.h says
 * which). An answer is made in one go, from what is in memory; only the size of an open file is
 * asked of the kernel. A request that is refused gets one line with the reason.
 *
 * A socket that cannot be made is told and does not matter otherwise: the data comes first. */
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/control.h"
#include "daemon/service_in.h"
#include "lib/ask.h"
#include "lib/hash.h"

_Static_assert(ASK_SOURCE_MAX == CONFIG_NAME_MAX, "a request can name every source");

/* ---- words ---- */

static void put_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "\"%s\":", name);
    json_put_string(out, str_of(text));
}

static void put_path(struct buf *out, const char *path)
{
    struct str s = str_of(path);
    buf_puts(out, "\"path\":");
    if (json_put_string(out, s) == 0)
        return;
    buf_puts(out, ",\"path_hex\":\"");
    for (size_t i = 0; i < s.n; i++) {
        char hex[3];
        hash_hex((const uint8_t *)s.p + i, 1, hex);
        buf_put(out, hex, 2);
    }
    buf_putc(out, '"');
}

static void put_fingerprint(struct buf *out, const char *name, const struct fingerprint *f)
{
    char hex[2 * FINGERPRINT_SIZE + 1];
    hash_hex(f->hash, sizeof f->hash, hex);
    buf_printf(out, ",\"%s\":{\"n\":%" PRIu32 ",\"hash\":\"%s\"}", name, f->n, hex);
}

static void put_identity(struct buf *out, uint64_t device, uint64_t inode)
{
    buf_printf(out, ",\"device\":\"%" PRIu64 "\",\"inode\":\"%" PRIu64 "\"", device, inode);
}

static void put_error(struct buf *out, const char *sentence)
{
    buf_putc(out, '{');
    put_text(out, "error", sentence);
    buf_puts(out, "}\n");
}

static void put_end(struct buf *out)
{
    buf_puts(out, "{\"end\":true}\n");
}

/* ---- who ---- */

static void answer_who(struct service *s, struct buf *out)
{
    buf_printf(out, "{\"version\":\"%s\",\"pid\":%ld,", TAILRACE_VERSION, (long)getpid());
    put_text(out, "state_dir", s->config->state_dir);
    buf_puts(out, "}\n");
    put_end(out);
}

/* ---- positions ---- */

/* `fo` is NULL when nobody follows the file. */
static void put_position(struct buf *out, const struct source *src, const struct ledger_file *entry,
                         const struct followed *fo)
{
    const struct position *at = &entry->at;
    uint64_t read_at = fo != NULL ? fo->input.origin.read_at : at->offset;
    buf_putc(out, '{');
    put_text(out, "source", src->name);
    buf_putc(out, ',');
    put_path(out, entry->path);
    put_identity(out, at->device, at->inode);
    buf_printf(out, ",\"offset\":%" PRIu64 ",\"mid_record\":%s", at->offset,
               at->mid_record ? "true" : "false");
    put_fingerprint(out, "head", &at->head);
    put_fingerprint(out, "tail", &at->tail);
    buf_printf(out,
               ",\"saved\":%s,\"followed\":%s,\"read\":%" PRIu64 ",\"in_ring\":%u"
               ",\"dropped\":%" PRIu64 "}\n",
               ledger_is_saved(entry) ? "true" : "false", fo != NULL ? "true" : "false", read_at,
               fo != NULL ? fo->input.origin.in_ring : 0, fo != NULL ? fo->input.dropped : 0);
}

static void answer_positions(struct service *s, uint64_t inode, struct buf *out)
{
    LIST_FOR(it, save, &s->sources)
    {
        const struct source *src = CONTAINER_OF(it, struct source, link);
        LIST_FOR(jt, keep, tail_files(src->tail))
        {
            const struct tail_file *f = CONTAINER_OF(jt, struct tail_file, link);
            const struct followed *fo = f->owner;
            if (f->inode == inode && fo != NULL && fo->entry != NULL)
                put_position(out, src, fo->entry, fo);
        }
        const struct ledger_file *entry = NULL;
        while ((entry = ledger_find(src->ledger, inode, entry)) != NULL)
            put_position(out, src, entry, NULL);
    }
    put_end(out);
}

/* ---- sources ---- */

static const char *state_of(const struct source *src, const struct tail_file *f)
{
    if (f->done)
        return "done";
    if (f->orphan)
        return "rotated";
    if (src->stalled)
        return "waiting";
    return src->stream->paused ? "paused" : "following";
}

/* One that is shut may have grown since it was looked at. */
static uint64_t size_of(const struct tail_file *f)
{
    struct stat st;
    bool itself =
        f->fd < 0 && stat(f->path, &st) == 0 && st.st_ino == f->inode && st.st_dev == f->device;
    return itself ? (uint64_t)st.st_size : tail_size(f);
}

static void put_followed(struct buf *out, const struct source *src, const struct tail_file *f,
                         struct followed *fo, uint64_t now_ms)
{
    uint64_t size = size_of(f), delivered = fo->input.origin.delivered;
    lag_seen(&fo->lag, size, delivered, now_ms);
    buf_putc(out, '{');
    put_text(out, "source", src->name);
    buf_putc(out, ',');
    put_path(out, f->path);
    buf_putc(out, ',');
    put_text(out, "state", state_of(src, f));
    put_identity(out, f->device, f->inode);
    buf_printf(out,
               ",\"size\":%" PRIu64 ",\"read\":%" PRIu64 ",\"delivered\":%" PRIu64
               ",\"behind_ms\":%" PRIu64 "}\n",
               size, fo->input.origin.read_at, delivered, lag_age_ms(&fo->lag, delivered, now_ms));
}

/* A socket's bytes are those of its stream's spool, which it may share with others. */
static void put_inlet(struct buf *out, struct inlet *in, uint64_t now_ms)
{
    const struct listen_counts *n = inlet_counts(in);
    struct stream *st = inlet_stream(in);
    uint64_t end = spool_end(st->spool), delivered = spool_origin(st->spool)->delivered;
    buf_putc(out, '{');
    put_text(out, "source", inlet_name(in));
    buf_putc(out, ',');
    put_path(out, inlet_path(in));
    buf_putc(out, ',');
    put_text(out, "state", inlet_state(in));
    put_identity(out, 0, 0);
    buf_printf(out,
               ",\"size\":%" PRIu64 ",\"read\":%" PRIu64 ",\"delivered\":%" PRIu64
               ",\"behind_ms\":%" PRIu64 "}\n{",
               end, spool_origin(st->spool)->read_at, delivered,
               lag_age_ms(&st->spool_lag, delivered, now_ms));
    put_text(out, "socket", inlet_name(in));
    buf_printf(out,
               ",\"clients\":%" PRIu64 ",\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64
               ",\"turned_away\":%" PRIu64 ",\"cut_off\":%" PRIu64 "}\n",
               n->clients, n->accepted, n->refused, n->turned_away, n->cut_off);
}

static void put_spool(struct buf *out, const struct stream *st)
{
    const char *failed = st->spool != NULL ? spool_failed(st->spool) : NULL;
    if (st->spool == NULL)
        return;
    buf_printf(out, ",\"spool_capacity\":%" PRIu64 ",\"spool_synced\":%" PRIu64,
               spool_capacity(st->spool), spool_safe(st->spool, SPOOL_DURABLE));
    if (failed != NULL) {
        buf_putc(out, ',');
        put_text(out, "spool_failed", failed);
    }
}

static void put_stream(struct buf *out, const struct stream *st)
{
    const struct stats *t = pipeline_stats(st->pipeline);
    buf_putc(out, '{');
    put_text(out, "stream", st->name);
#define COUNTER(name, sentence) buf_printf(out, ",\"" #name "\":%" PRIu64, t->name);
    STATS(COUNTER)
#undef COUNTER
    put_spool(out, st);
    buf_puts(out, "}\n");
}

static void answer_sources(struct service *s, struct buf *out)
{
    uint64_t now_ms = uv_now(&s->loop);
    LIST_FOR(it, save, &s->sources)
    {
        const struct source *src = CONTAINER_OF(it, struct source, link);
        LIST_FOR(jt, keep, tail_files(src->tail))
        {
            const struct tail_file *f = CONTAINER_OF(jt, struct tail_file, link);
            if (f->owner != NULL)
                put_followed(out, src, f, f->owner, now_ms);
        }
    }
    LIST_FOR(it, save, &s->inlets)
    {
        put_inlet(out, inlet_of(it), now_ms);
    }
    LIST_FOR(it, save, &s->streams)
    {
        put_stream(out, CONTAINER_OF(it, struct stream, link));
    }
    put_end(out);
}

/* ---- rewind ---- */

static struct tail_file *find_file(const struct source *src, const struct ask *a)
{
    LIST_FOR(it, save, tail_files(src->tail))
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, link);
        if (f->device == a->device && f->inode == a->inode && f->owner != NULL)
            return f;
    }
    return NULL;
}

/* NULL, or why not. */
static const char *try_rewind(struct service *s, const struct ask *a, struct buf *out)
{
    if (s->state != SERVICE_RUNNING || s->options.once)
        return "tailraced is starting, stopping, or runs with --once: not now";
    const struct source *src = source_find(s, a->source);
    struct tail_file *f = src != NULL ? find_file(src, a) : NULL;
    if (f == NULL)
        return "the source does not follow such a file";
    if (a->offset > tail_size(f))
        return "the offset is behind the end of the file";
    const struct followed *fo = f->owner;
    uint64_t from = fo->input.origin.delivered;
    if (!source_rewind(f, a->offset))
        return "the file cannot be read at this offset";
    log_warn(log_msg("rewound, as asked on the control socket"), log_s("source", src->name),
             log_s("path", f->path), log_u("from", from), log_u("to", a->offset));
    buf_putc(out, '{');
    put_path(out, f->path);
    buf_printf(out, ",\"from\":%" PRIu64 ",\"offset\":%" PRIu64 "}\n", from, a->offset);
    put_end(out);
    return NULL;
}

/* ---- the socket ---- */

static void on_request(void *ctx, struct str line, struct buf *out)
{
    struct service *s = ctx;
    struct ask a;
    struct err e;
    const char *why_not = NULL;
    if (ask_parse(line, &a, &e) != 0) {
        put_error(out, e.text);
        return;
    }
    switch (a.what) {
    case ASK_WHO:
        answer_who(s, out);
        break;
    case ASK_POSITIONS:
        answer_positions(s, a.inode, out);
        break;
    case ASK_SOURCES:
        answer_sources(s, out);
        break;
    case ASK_REWIND:
        why_not = try_rewind(s, &a, out);
        break;
    }
    if (why_not != NULL)
        put_error(out, why_not);
}

void answers_open(struct service *s)
{
    const struct control_ops ops = {.ctx = s, .request = on_request};
    const char *configured = s->config->control;
    char path[CONTROL_PATH_MAX];
    struct err e = {.code = ERR_RANGE, .text = "its path is too long"};
    if (configured != NULL && strcmp(configured, "off") == 0)
        return;
    if (control_path(configured, s->config->state_dir, path))
        s->control = control_new(&s->loop, path, &ops, &e);
    if (s->control == NULL)
        log_warn(log_msg("no control socket: tailrace shipped, sources and rewind cannot ask"),
                 log_s("why", e.text));
}
