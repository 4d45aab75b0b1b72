#include "tests/sim/world.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned chance(struct world *w, unsigned per_mille)
{
    return rng_below(&w->rng, 1000) < per_mille;
}

static void *grow(void *p, size_t n)
{
    p = realloc(p, n);
    if (p == NULL)
        abort();
    return p;
}

void world_complain(struct world *w, const char *fmt, ...)
{
    if (w->complaint[0] != '\0')
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->complaint, sizeof w->complaint, fmt, ap);
    va_end(ap);
}

/* ---- the disk ---- */

static void put(struct world_file *f, const char *text, size_t n)
{
    if (f->n + n > f->cap) {
        f->cap = (f->cap + n) * 2;
        f->bytes = grow(f->bytes, f->cap);
    }
    memcpy(f->bytes + f->n, text, n);
    f->n += n;
}

static const char *line_end(struct world *w)
{
    static const char *const ends[] = {"\n", "\r\n"};
    return ends[rng_below(&w->rng, 2)];
}

/* The text of record `id`, and what must become of it. */
static enum fate write_text(struct world *w, unsigned id, char *text, size_t cap)
{
    char pad[400];
    size_t n = (size_t)rng_below(&w->rng, 200);
    memset(pad, 'x', n);
    pad[n] = '\0';
    bool poison = chance(w, 4), bad = !w->arrays && chance(w, 10);
    const char *mark = poison ? "POISON" : "";
    if (w->multiline)
        snprintf(text, cap, "#%u# %s%s%s", id, mark, pad, n % 2 == 0 ? "" : "\r\n\n  more\n lines");
    else if (w->format == FORMAT_LINE)
        snprintf(text, cap, "#%u# %s%s", id, mark, pad);
    else if (w->format == FORMAT_JSON)
        snprintf(text, cap, "%s\"m\":\"#%u# %s%s\"}", bad ? "" : "{", id, mark, pad);
    else
        snprintf(text, cap, "\"#%u# %s%s, \"\"q\"\"\n\",%s", id, mark, pad, bad ? "none" : "7");
    return poison || (bad && w->format != FORMAT_LINE) ? FATE_DEAD : FATE_SEND;
}

static void append_text(struct world *w, unsigned file)
{
    struct world_file *f = &w->files[file];
    if (w->truths_n == w->truths_cap) {
        w->truths_cap = w->truths_cap * 2 + 64;
        w->truths = grow(w->truths, w->truths_cap * sizeof *w->truths);
    }
    char text[1024];
    struct truth *t = &w->truths[w->truths_n];
    *t = (struct truth){.file = file, .text_at = f->n};
    t->fate = write_text(w, w->truths_n, text, sizeof text);
    t->text_n = strlen(text);
    f->grown_ms = w->now_ms;
    put(f, text, t->text_n);
    w->truths_n++;
}

/* A record, or so many of them as an array; they all end with the line. Returns how many. */
static unsigned append_line(struct world *w, unsigned file, unsigned most)
{
    struct world_file *f = &w->files[file];
    unsigned n = w->arrays ? (unsigned)rng_below(&w->rng, min_size(most, WORLD_ARRAY_MAX) + 1) : 1;
    if (w->arrays)
        put(f, "[", 1);
    for (unsigned i = 0; i < n; i++) {
        if (i > 0)
            put(f, ", ", 1 + rng_below(&w->rng, 2));
        append_text(w, file);
    }
    if (w->arrays)
        put(f, "]", 1);
    const char *end = line_end(w);
    put(f, end, strlen(end));
    for (unsigned i = 1; i <= n; i++)
        w->truths[w->truths_n - i].end =
            f->n - (strlen(end) - 1 > 0 && w->format == FORMAT_CSV ? 1 : 0);
    return n;
}

void world_append(struct world *w, unsigned records)
{
    for (unsigned i = 0; i < records;)
        i += append_line(w, (unsigned)rng_below(&w->rng, w->files_n), records - i);
}

void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){0};
    rng_seed(&w->rng, seed);
    static const enum shape_format formats[] = {FORMAT_LINE, FORMAT_JSON, FORMAT_CSV};
    w->format = formats[rng_below(&w->rng, 3)];
    w->multiline = w->format == FORMAT_LINE && chance(w, 500);
    w->arrays = w->format == FORMAT_JSON && chance(w, 500);
    w->files_n = 1 + (unsigned)rng_below(&w->rng, WORLD_FILES_MAX);
    w->now_ms = rng_next(&w->rng) >> 30; /* far along: linger must survive the wrap of 32 bits */
    for (unsigned i = 0; i < w->files_n; i++) {
        w->files[i].inode = 100 + i;
        if (w->format == FORMAT_CSV)
            put(&w->files[i], "m,n\n", 4);
    }
}

static void free_event(struct event *ev)
{
    free(ev->body);
    free(ev->ids);
}

void world_release(struct world *w)
{
    for (unsigned i = 0; i < w->files_n; i++)
        free(w->files[i].bytes);
    for (unsigned i = 0; i < w->events_n; i++)
        free_event(&w->events[i]);
    free(w->truths);
}

void world_change_weather(struct world *w, bool fair)
{
    struct weather *x = &w->weather;
    *x = (struct weather){0};
    if (fair || chance(w, 200))
        return;
    unsigned *moods[] = {&x->partial, &x->throttle, &x->error500,   &x->cut_before, &x->cut_after,
                         &x->broken,  &x->held,     &x->dead_fails, &x->save_fails};
    for (size_t i = 0; i < ARRAY_LEN(moods); i++)
        *moods[i] = chance(w, 400) ? (unsigned)rng_below(&w->rng, 300) : 0;
    x->outage = chance(w, 100);
    x->dead_full = chance(w, 100);
}

/* ---- events ---- */

static struct event *add_event(struct world *w, struct event ev)
{
    if (w->events_n == WORLD_EVENTS_MAX)
        abort();
    w->events[w->events_n] = ev;
    return &w->events[w->events_n++];
}

uint64_t world_next_ms(const struct world *w)
{
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i < w->events_n; i++)
        next = min_u64(next, w->events[i].at_ms);
    return next;
}

bool world_next_event(struct world *w, struct event *ev)
{
    for (unsigned i = 0; i < w->events_n; i++) {
        if (w->events[i].at_ms > w->now_ms)
            continue;
        *ev = w->events[i];
        w->events_n--;
        memmove(&w->events[i], &w->events[i + 1], (w->events_n - i) * sizeof *ev);
        return true;
    }
    return false;
}

void world_apply(struct world *w, const struct event *ev)
{
    for (unsigned i = 0; i < ev->ids_n; i++) {
        struct truth *t = &w->truths[ev->ids[i]];
        if (ev->kind == EVENT_DEAD) {
            t->dead++;
            continue;
        }
        w->stored++;
        if (t->stored++ > 0)
            w->duplicates++;
    }
}

void world_crash(struct world *w)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < w->events_n; i++) {
        struct event *ev = &w->events[i];
        if (ev->kind == EVENT_STORE && chance(w, 500))
            world_apply(w, ev); /* it was on the wire already */
        free_event(ev);
    }
    w->events_n = kept;
}

/* ---- Kinesis ---- */

static size_t decode_base64(const char *text, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = 0, have = 0;
    size_t n = 0;
    for (; *text != '\0' && *text != '='; text++) {
        bits = bits << 6 | (unsigned)(strchr(digits, *text) - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (char)(bits >> have & 255);
        }
    }
    return n;
}

/* Which record is this? Also checks that its bytes are what they must be. */
static unsigned identify(struct world *w, const char *data, size_t n)
{
    const char *mark = memchr(data, '#', n);
    unsigned id = mark != NULL ? (unsigned)strtoul(mark + 1, NULL, 10) : UINT32_MAX;
    if (id >= w->truths_n) {
        world_complain(w, "a record that was never written: %.*s", (int)min_size(n, 60), data);
        return 0;
    }
    const struct truth *t = &w->truths[id];
    const char *text = w->files[t->file].bytes + t->text_at;
    if (w->format != FORMAT_CSV && (n != t->text_n || memcmp(text, data, n) != 0))
        world_complain(w, "record %u was changed on its way", id);
    return id;
}

struct request {
    unsigned n;
    unsigned ids[BATCH_RECORDS_MAX];
    bool poison;
};

static void read_request(struct world *w, struct str body, struct request *r)
{
    json_error_t e;
    json_t *root = json_loadb(body.p, body.n, 0, &e);
    const json_t *records = json_object_get(root, "Records");
    r->n = (unsigned)json_array_size(records);
    r->poison = false;
    if (r->n == 0 || r->n > BATCH_RECORDS_MAX)
        world_complain(w, "a request of %u records", r->n);
    for (unsigned i = 0; i < r->n && i < BATCH_RECORDS_MAX; i++) {
        const json_t *rec = json_array_get(records, i);
        const char *text = json_string_value(json_object_get(rec, "Data"));
        char data[4096];
        if (text == NULL || strlen(text) > 4000 || !json_object_get(rec, "PartitionKey")) {
            world_complain(w, "a malformed record in a request");
            break;
        }
        size_t n = decode_base64(text, data);
        r->ids[i] = identify(w, data, n);
        r->poison |= memmem(data, n, "POISON", 6) != NULL;
    }
    json_decref(root);
}

static char *reply_text(struct world *w, const struct request *r, const bool *failed,
                        unsigned entries)
{
    struct buf b;
    buf_init(&b, MIB);
    unsigned failures = 0;
    for (unsigned i = 0; i < r->n; i++)
        failures += failed[i];
    buf_printf(&b, "{\"FailedRecordCount\":%u,\"Records\":[", failures);
    for (unsigned i = 0; i < entries; i++) {
        const char *code =
            chance(w, 500) ? "ProvisionedThroughputExceededException" : "InternalFailure";
        buf_puts(&b, i > 0 ? "," : "");
        if (failed[i])
            buf_printf(&b, "{\"ErrorCode\":\"%s\",\"ErrorMessage\":\"no\"}", code);
        else
            buf_printf(&b, "{\"SequenceNumber\":\"49%020u\",\"ShardId\":\"shardId-0\"}", r->ids[i]);
    }
    buf_puts(&b, "]}");
    buf_cstr(&b);
    return b.p;
}

static void store_later(struct world *w, uint64_t at_ms, const struct request *r,
                        const bool *failed)
{
    struct event ev = {.at_ms = at_ms, .kind = EVENT_STORE};
    ev.ids = grow(NULL, r->n * sizeof *ev.ids + 1);
    for (unsigned i = 0; i < r->n; i++)
        if (!failed[i])
            ev.ids[ev.ids_n++] = r->ids[i];
    add_event(w, ev);
}

static void answer_later(struct world *w, uint64_t at_ms, unsigned slot, int status,
                         const char *body)
{
    add_event(w, (struct event){.at_ms = at_ms,
                                .kind = EVENT_ANSWER,
                                .slot = slot,
                                .status = status,
                                .body = body != NULL ? strdup(body) : NULL});
}

/* An answer that stores nothing. True: this is what happens. */
static bool refuse(struct world *w, const struct request *r, unsigned slot, uint64_t at_ms)
{
    static const char *const held[] = {"AccessDeniedException", "ResourceNotFoundException",
                                       "KMSDisabledException", "UnrecognizedClientException"};
    char body[160] = "";
    int status = 400;
    if (w->weather.outage || chance(w, w->weather.cut_before))
        status = 0;
    else if (chance(w, w->weather.error500))
        status = chance(w, 500) ? 500 : 503;
    else if (chance(w, w->weather.throttle))
        snprintf(body, sizeof body, "{\"__type\":\"ProvisionedThroughputExceededException\"}");
    else if (chance(w, w->weather.held))
        snprintf(body, sizeof body, "{\"__type\":\"com.amazonaws.kinesis#%s\",\"message\":\"no\"}",
                 held[rng_below(&w->rng, ARRAY_LEN(held))]);
    else if (r->poison)
        snprintf(body, sizeof body,
                 "{\"__type\":\"InvalidArgumentException\",\"message\":\"poison\"}");
    else
        return false;
    answer_later(w, at_ms, slot, status, body);
    return true;
}

void world_request(struct world *w, unsigned slot, struct str body)
{
    static struct request r;
    static bool failed[BATCH_RECORDS_MAX];
    read_request(w, body, &r);
    uint64_t at = w->now_ms + 1 + rng_below(&w->rng, 200);
    if (refuse(w, &r, slot, at))
        return;
    unsigned share = chance(w, w->weather.partial) ? (unsigned)rng_below(&w->rng, 1001) : 0;
    for (unsigned i = 0; i < r.n; i++)
        failed[i] = chance(w, share);
    store_later(w, w->now_ms + (at - w->now_ms) / 2, &r, failed);
    bool cut = chance(w, w->weather.cut_after), broken = chance(w, w->weather.broken);
    if (cut || broken)
        w->ambiguous += r.n;
    char *text = reply_text(w, &r, failed, broken ? (unsigned)rng_below(&w->rng, r.n) : r.n);
    if (broken && chance(w, 500))
        text[rng_below(&w->rng, strlen(text))] = '\0';
    answer_later(w, at, slot, cut ? 0 : 200, text);
    free(text);
}

void world_dead_letter(struct world *w, const struct record *rec, uint64_t token)
{
    struct event ev = {
        .at_ms = w->now_ms + rng_below(&w->rng, 20), .kind = EVENT_DEAD, .token = token};
    ev.ok = !chance(w, w->weather.dead_fails);
    ev.ids = grow(NULL, sizeof *ev.ids);
    struct str data = record_data(rec);
    const char *mark = memchr(data.p, '#', data.n);
    ev.ids[0] = mark != NULL ? (unsigned)strtoul(mark + 1, NULL, 10) : 0;
    if (mark == NULL || ev.ids[0] >= w->truths_n)
        world_complain(w, "a dead letter that was never written");
    else
        ev.ids_n = 1;
    add_event(w, ev);
}
