/* sim - the real pipeline, inputs, shapes, ledger and checkpoint in a fake world.
 *
 *   sim FIRST COUNT      runs the seeds FIRST .. FIRST+COUNT-1; a failure prints its seed
 *
 * One seed is some minutes of appends, faults of every kind, crashes and restarts from what is on
 * the disk of the checkpoint, and then fair weather until all is quiet. Held after every pump:
 *   - a durable checkpoint never stands behind a record that is neither stored nor a dead letter
 *   - the ring stays within its size
 * and at the end:
 *   - every record is where it must be: stored, or, if it is refused or malformed, a dead letter
 *   - duplicates are no more than what was read past the durable checkpoint at each crash, and what
 *     requests with a lost answer had stored
 *   - it came to rest by the deadlines that the pump itself named */
#include <stdio.h>
#include <stdlib.h>

#include "lib/input.h"
#include "lib/ledger.h"
#include "tests/sim/world.h"

#define RING_BYTES     (64 * KIB)
#define MAX_RECORD     2048
#define SAVE_EVERY_MS  1000
#define BYSTANDERS     (2 * LEDGER_SMALL_N) /* other files' entries: they make for two documents */
#define STEPS          800
#define REST_STEPS_MAX 200000

struct shipper {
    struct world *world;
    struct pipeline *pipeline;
    struct shape_spec spec;
    struct shape *shape;
    struct input inputs[WORLD_FILES_MAX];
    struct ledger ledger;
    struct ledger_file *entries[WORLD_FILES_MAX];
    bool paused, stalled;
    uint64_t deadline_ms, next_save_ms;
    /* what survives a crash */
    char *durable[2]; /* the whole document, the recent one */
    uint64_t durable_at[WORLD_FILES_MAX];
    unsigned checked[WORLD_FILES_MAX]; /* truths looked at so far, per file */
    /* a save under way */
    char *saving;
    bool saving_whole;
    uint64_t saving_at[WORLD_FILES_MAX], saved_ms;
    bool unsaved; /* the last one failed */
    bool has_bystanders;
    uint64_t allowed_duplicates;
    unsigned crashes;
};

static struct now now_of(const struct world *w)
{
    return (struct now){.mono_ms = w->now_ms, .wall_ms = 1795000000000 + w->now_ms % 100000000};
}

/* ---- what the pipeline asks of the world ---- */

static void do_send(void *ctx, unsigned slot, const struct pipeline_request *r)
{
    world_request(((struct shipper *)ctx)->world, slot, r->body);
}

static void do_dead_letter(void *ctx, const struct record *rec, const char *reason, uint64_t token)
{
    (void)reason;
    world_dead_letter(((struct shipper *)ctx)->world, rec, token);
}

static bool has_dead_room(void *ctx, size_t data_n)
{
    (void)data_n;
    return !((struct shipper *)ctx)->world->weather.dead_full;
}

static void do_steer(void *ctx, bool pause)
{
    ((struct shipper *)ctx)->paused = pause;
}

static void on_trouble(void *ctx, enum pipeline_health health, const struct reply *last)
{
    (void)ctx;
    (void)health;
    (void)last;
}

/* ---- start, crash ---- */

static struct position position_at(const struct world_file *f, uint64_t offset)
{
    size_t tail = (size_t)min_u64(offset, FINGERPRINT_MAX), head = tail;
    return (struct position){.inode = f->inode,
                             .offset = offset,
                             .head = fingerprint_of(f->bytes, head),
                             .tail = fingerprint_of(f->bytes + offset - tail, tail)};
}

static void take_up(struct shipper *s, struct ledger_source *src, unsigned i)
{
    const struct world_file *f = &s->world->files[i];
    char path[16];
    snprintf(path, sizeof path, "/f%u", i);
    struct ledger_file *entry = ledger_find(src, f->inode, NULL);
    if (entry == NULL) {
        entry = ledger_add(src, path);
        entry->at = position_at(f, 0);
    } else {
        struct position here = position_at(f, entry->at.offset);
        if (!fingerprint_eq(&here.tail, &entry->at.tail))
            world_complain(s->world, "the checkpoint's fingerprint does not fit the file");
    }
    entry->live = true;
    s->entries[i] = entry;
    struct input *in = &s->inputs[i];
    input_init(in, s->pipeline, s->shape, &s->spec, "/f");
    input_start(in, entry->at.offset, entry->at.mid_record);
    if (input_needs_header(in) && !input_header(in, (struct str){f->bytes, f->n}, false))
        world_complain(s->world, "no header");
}

static struct checkpoint read_document(struct shipper *s, const char *text)
{
    struct checkpoint c = {0};
    struct err e;
    if (text != NULL && checkpoint_decode(str_of(text), &c, &e) != 0)
        world_complain(s->world, "the checkpoint cannot be read: %s", e.text);
    return c;
}

static void load(struct shipper *s)
{
    struct checkpoint whole = read_document(s, s->durable[0]);
    struct checkpoint recent = read_document(s, s->durable[1]);
    ledger_init(&s->ledger);
    if (!checkpoint_merge(&whole, &recent) || !ledger_load(&s->ledger, &whole))
        abort();
    if (!s->has_bystanders || ledger_find_source(&s->ledger, "bystanders") != NULL)
        return;
    struct ledger_source *others = ledger_add_source(&s->ledger, "bystanders");
    for (unsigned i = 0; i < BYSTANDERS; i++)
        ledger_leave(ledger_add(others, "/other"));
}

static void start(struct shipper *s)
{
    const struct pipeline_ops ops = {s,        do_send,   do_dead_letter, has_dead_room,
                                     do_steer, on_trouble};
    const struct pipeline_options o = {.stream = "sim",
                                       .region = "us-east-1",
                                       .url = "http://sim/",
                                       .host = "sim",
                                       .linger_ms = rng_below(&s->world->rng, 300),
                                       .in_flight = 1 + (unsigned)rng_below(&s->world->rng, 6)};
    const struct sign_credentials keys = {"AKID", "secret", NULL};
    s->pipeline = pipeline_new(RING_BYTES, &ops, rng_next(&s->world->rng));
    s->shape = shape_new(&s->spec, "sim", NULL);
    if (s->pipeline == NULL || s->shape == NULL || !pipeline_configure(s->pipeline, &o) ||
        !pipeline_credentials(s->pipeline, &keys))
        abort();
    load(s);
    struct ledger_source *src = ledger_find_source(&s->ledger, "sim");
    if (src == NULL)
        src = ledger_add_source(&s->ledger, "sim");
    for (unsigned i = 0; i < s->world->files_n; i++)
        take_up(s, src, i);
    s->paused = s->stalled = false;
    s->deadline_ms = 0;
}

static void stop(struct shipper *s)
{
    LIST_FOR(it, save, pipeline_moved(s->pipeline))
    {
        list_del(it);
    }
    for (unsigned i = 0; i < s->world->files_n; i++) {
        s->inputs[i].origin.in_ring = 0;
        input_release(&s->inputs[i]);
    }
    pipeline_free(s->pipeline);
    shape_free(s->shape);
    ledger_release(&s->ledger);
    free(s->saving);
    s->saving = NULL;
}

/* The save under way is written. */
static void put_on_disk(struct shipper *s)
{
    char **to = &s->durable[s->saving_whole ? 0 : 1];
    free(*to);
    *to = s->saving;
    s->saving = NULL;
    for (unsigned i = 0; i < s->world->files_n; i++) {
        if (s->saving_at[i] < s->durable_at[i])
            world_complain(s->world, "the checkpoint of file %u went back", i);
        s->durable_at[i] = s->saving_at[i];
    }
}

/* Its elements may be in the ring though read_at stands before the array. */
static bool is_read(const struct shipper *s, const struct truth *t)
{
    const struct input *in = &s->inputs[t->file];
    bool in_array = in->elements_at > 0 && t->text_at < in->origin.read_at + in->elements_at;
    return t->end <= in->origin.read_at + 1 || in_array;
}

static void crash(struct shipper *s)
{
    const struct world *w = s->world;
    if (s->saving != NULL && rng_below(&s->world->rng, 2) == 0)
        put_on_disk(s);
    for (unsigned k = 0; k < w->truths_n; k++) {
        const struct truth *t = &w->truths[k];
        if (t->end > s->durable_at[t->file] && is_read(s, t))
            s->allowed_duplicates++;
    }
    s->crashes++;
    world_crash(s->world);
    stop(s);
    start(s);
}

/* ---- checkpoints ---- */

/* Nothing before a durable offset may be missing. */
static void check_durable(struct shipper *s)
{
    const struct world *w = s->world;
    for (unsigned k = 0; k < w->truths_n; k++) {
        const struct truth *t = &w->truths[k];
        if (t->end <= s->durable_at[t->file] && t->stored == 0 && t->dead == 0)
            world_complain(s->world,
                           "the checkpoint of file %u is at %llu, and record %u (ends at %llu) "
                           "is nowhere",
                           t->file, (unsigned long long)s->durable_at[t->file], k,
                           (unsigned long long)t->end);
    }
}

static void finish_save(struct shipper *s)
{
    if (s->saving == NULL || s->world->now_ms < s->saved_ms)
        return;
    /* Of those that fail, some are written all the same. */
    bool ok = rng_below(&s->world->rng, 1000) >= s->world->weather.save_fails;
    if (ok || rng_below(&s->world->rng, 2) == 0)
        put_on_disk(s);
    free(s->saving);
    s->saving = NULL;
    s->unsaved = !ok;
    ledger_end_save(&s->ledger, ok);
    check_durable(s);
}

static void begin_save(struct shipper *s)
{
    struct list *moved = pipeline_moved(s->pipeline);
    if (s->saving != NULL || (list_empty(moved) && !s->unsaved) ||
        s->world->now_ms < s->next_save_ms)
        return;
    LIST_FOR(it, save, moved)
    {
        struct origin *o = CONTAINER_OF(it, struct origin, moved);
        struct input *in = CONTAINER_OF(o, struct input, origin);
        size_t i = (size_t)(in - s->inputs);
        s->entries[i]->at = position_at(&s->world->files[i], o->delivered);
        s->entries[i]->at.mid_record = o->delivered_mid;
        ledger_touch(s->entries[i]);
        list_del(it);
    }
    struct buf text;
    buf_init(&text, MIB);
    ledger_begin_save(&s->ledger, &text, &s->saving_whole);
    buf_cstr(&text);
    if (text.failed)
        abort();
    s->saving = text.p;
    for (unsigned i = 0; i < s->world->files_n; i++)
        s->saving_at[i] = s->entries[i]->at.offset;
    s->saved_ms = s->world->now_ms + rng_below(&s->world->rng, 50);
    s->next_save_ms = s->world->now_ms + SAVE_EVERY_MS;
}

/* ---- a turn ---- */

static bool read_file(struct shipper *s, unsigned i)
{
    struct world_file *f = &s->world->files[i];
    struct input *in = &s->inputs[i];
    uint64_t at = in->origin.read_at;
    size_t n = (size_t)min_u64(f->n - at, MAX_RECORD + 1 + rng_below(&s->world->rng, 20000));
    if (n == 0)
        return false;
    size_t used;
    uint64_t quiet_ms = at + n == f->n ? s->world->now_ms - f->grown_ms : 0;
    enum input_result r =
        input_feed(in, now_of(s->world), (struct str){f->bytes + at, n}, false, quiet_ms, &used);
    s->stalled |= r == INPUT_DEAD_FULL;
    return used > 0;
}

static void take_events(struct shipper *s)
{
    struct event ev;
    while (world_next_event(s->world, &ev)) {
        if (ev.kind == EVENT_STORE)
            world_apply(s->world, &ev);
        if (ev.kind == EVENT_DEAD && ev.ok)
            world_apply(s->world, &ev);
        if (ev.kind == EVENT_DEAD)
            pipeline_dead_stored(s->pipeline, ev.token, ev.ok);
        if (ev.kind == EVENT_ANSWER) {
            pipeline_answer(s->pipeline, ev.slot, ev.status, str_of(ev.body));
            s->deadline_ms =
                pipeline_pump(s->pipeline, now_of(s->world)); /* before body is freed */
        }
        free(ev.body);
        free(ev.ids);
    }
}

static void turn(struct shipper *s)
{
    take_events(s);
    for (unsigned i = 0; i < s->world->files_n && !s->paused && !s->stalled; i++)
        read_file(s, i);
    s->stalled = false; /* asked again next turn */
    s->deadline_ms = pipeline_pump(s->pipeline, now_of(s->world));
    if (!ring_sane(pipeline_ring(s->pipeline)))
        world_complain(s->world, "the ring is not sane");
    finish_save(s);
    begin_save(s);
}

static bool at_rest(const struct shipper *s)
{
    for (unsigned i = 0; i < s->world->files_n; i++)
        if (s->inputs[i].origin.read_at < s->world->files[i].n)
            return false;
    return pipeline_empty(s->pipeline) && s->saving == NULL && !s->unsaved &&
           list_empty(pipeline_moved(s->pipeline));
}

/* When a file will have been quiet for as long as its input has patience. What is past was tried.
 */
static uint64_t patience_ends_ms(const struct shipper *s)
{
    uint64_t next_ms = UINT64_MAX;
    for (unsigned i = 0; i < s->world->files_n; i++) {
        uint64_t quiet_ms = s->world->now_ms - s->world->files[i].grown_ms;
        uint64_t patience_ms = input_patience_ms(&s->inputs[i]);
        if (patience_ms != UINT64_MAX && patience_ms > quiet_ms)
            next_ms = min_u64(next_ms, s->world->now_ms + patience_ms - quiet_ms);
    }
    return next_ms;
}

/* Fair weather: time moves only to where somebody asked it to. */
static void come_to_rest(struct shipper *s)
{
    struct world *w = s->world;
    world_change_weather(w, true);
    for (unsigned i = 0; !at_rest(s); i++) {
        uint64_t next = min_u64(s->deadline_ms, world_next_ms(w));
        if (s->saving != NULL)
            next = min_u64(next, s->saved_ms);
        else if (s->unsaved || !list_empty(pipeline_moved(s->pipeline)))
            next = min_u64(next, s->next_save_ms);
        next = min_u64(next, patience_ends_ms(s));
        if ((next == UINT64_MAX && i > 0) || i == REST_STEPS_MAX) {
            world_complain(w, "it does not come to rest: nobody asked for another turn");
            return;
        }
        if (next != UINT64_MAX && next > w->now_ms)
            w->now_ms = next;
        turn(s);
    }
}

static void check_end(struct shipper *s)
{
    struct world *w = s->world;
    check_durable(s);
    for (unsigned k = 0; k < w->truths_n; k++) {
        const struct truth *t = &w->truths[k];
        if (t->fate == FATE_SEND && (t->stored == 0 || t->dead > 0))
            world_complain(w, "record %u must be stored: stored %u, dead %u", k, t->stored,
                           t->dead);
        if (t->fate == FATE_DEAD && (t->dead == 0 || t->stored > 0))
            world_complain(w, "record %u must be a dead letter: stored %u, dead %u", k, t->stored,
                           t->dead);
    }
    if (w->duplicates > s->allowed_duplicates + w->ambiguous)
        world_complain(w, "%llu duplicates, allowed %llu", (unsigned long long)w->duplicates,
                       (unsigned long long)(s->allowed_duplicates + w->ambiguous));
}

struct totals {
    uint64_t records, stored, duplicates, crashes;
};

static void live(struct shipper *s)
{
    struct world *w = s->world;
    for (unsigned i = 0; i < STEPS && w->complaint[0] == '\0'; i++) {
        if (rng_below(&w->rng, 100) == 0)
            world_change_weather(w, false);
        if (rng_below(&w->rng, 10) == 0)
            world_append(w, (unsigned)rng_below(&w->rng, 40));
        w->now_ms +=
            rng_below(&w->rng, 20) == 0 ? rng_below(&w->rng, 5000) : rng_below(&w->rng, 100);
        turn(s);
        if (rng_below(&w->rng, 300) == 0)
            crash(s);
    }
}

static bool run(uint64_t seed, struct totals *sum)
{
    struct world w;
    world_init(&w, seed);
    char key[] = "random";
    struct shape_field field = {.name = (char[]){"m"}, .kind = FIELD_FROM, .from = (char[]){"m"}};
    struct shape_field fields[] = {
        field,
        {.name = (char[]){"n"}, .kind = FIELD_FROM, .from = (char[]){"n"}, .type = TYPE_INT}};
    struct shipper s = {.world = &w,
                        .has_bystanders = rng_below(&w.rng, 2) == 0,
                        .spec = {.format = w.format,
                                 .delimiter = ',',
                                 .key = key,
                                 .bad_value_dead = true,
                                 .max_record = MAX_RECORD}};
    char first[] = "#";
    if (w.multiline)
        s.spec.multiline =
            (struct multiline_spec){.start = first, .timeout_ms = 5000, .max_lines = 500};
    if (w.format == FORMAT_CSV) {
        s.spec.fields = fields;
        s.spec.fields_n = ARRAY_LEN(fields);
    }
    s.spec.split_arrays = w.arrays;
    start(&s);
    live(&s);
    if (w.complaint[0] == '\0')
        come_to_rest(&s);
    if (w.complaint[0] == '\0')
        check_end(&s);
    bool ok = w.complaint[0] == '\0';
    if (!ok)
        printf("seed %llu: %s\n", (unsigned long long)seed, w.complaint);
    sum->records += w.truths_n;
    sum->stored += w.stored;
    sum->duplicates += w.duplicates;
    sum->crashes += s.crashes;
    stop(&s);
    free(s.durable[0]);
    free(s.durable[1]);
    world_release(&w);
    return ok;
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 100;
    unsigned failed = 0;
    struct totals sum = {0};
    for (uint64_t seed = first; seed < first + count; seed++)
        failed += !run(seed, &sum);
    printf("sim: %llu seeds: %llu records, %llu stored, %llu duplicates, %llu crashes\n",
           (unsigned long long)count, (unsigned long long)sum.records,
           (unsigned long long)sum.stored, (unsigned long long)sum.duplicates,
           (unsigned long long)sum.crashes);
    printf("%llu passed, %u failed\n", (unsigned long long)count - failed, failed);
    return failed > 0;
}
