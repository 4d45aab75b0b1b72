#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/client.h"
#include "tests/unit/fakes.h"
#include "tests/unit/spooldisk.h"

/* The real spool and pipeline below a client; the spool's file is memory. */
#define CAPACITY   ((uint64_t)512 * KIB)
#define CHUNK      ((size_t)32 * KIB)
#define RECORD_MAX ((size_t)16 * KIB)

struct world {
    struct fakes fakes;
    struct spool *spool;
    struct disk disk;
    struct shape_spec spec;
    struct shape *shape;
    struct client_home home;
    struct client c;
    struct rng rng;
};

static void make_shape(struct world *x)
{
    struct err e;
    shape_free(x->shape);
    x->shape = shape_new(&x->spec, "host", &e);
    if (x->shape == NULL)
        fail_msg("%s", e.text);
    x->home.shape = x->shape;
}

static struct world *open_world(void)
{
    struct world *x = calloc(1, sizeof *x);
    assert_non_null(x);
    fakes_init(&x->fakes, 8 * MIB);
    x->fakes.logging = true;
    disk_init(&x->disk, CAPACITY, 4711);
    const struct spool_ops ops = disk_ops(&x->disk);
    const struct spool_options o = {
        .record_max = RECORD_MAX + KIB, .sync_ms = 0, .chunk_bytes = CHUNK};
    struct err e;
    struct spool_report report;
    x->spool = spool_new(&o, &ops, x->fakes.p, &e);
    if (x->spool == NULL || spool_recover(x->spool, &report, &e) != 0)
        fail_msg("%s", e.text);
    x->spec = (struct shape_spec){
        .format = FORMAT_LINE, .key = (char *)"k", .max_record = RECORD_MAX, .delimiter = ','};
    rng_seed(&x->rng, 7);
    x->home = (struct client_home){.source = "events",
                                   .answers = true,
                                   .spec = &x->spec,
                                   .spool = x->spool,
                                   .stats = pipeline_stats(x->fakes.p),
                                   .rng = &x->rng};
    make_shape(x);
    client_init(&x->c, &x->home, &(struct client_peer){.pid = 12, .uid = 1000, .gid = 100});
    return x;
}

static void close_world(struct world *x)
{
    client_release(&x->c);
    assert_int_equal(x->home.held, 0);
    assert_int_equal(x->disk.notices, 0);
    disk_finish(&x->disk, x->spool);
    fakes_settle(&x->fakes);
    shape_free(x->shape);
    list_del(&spool_origin(x->spool)->moved);
    fakes_release(&x->fakes);
    spool_free(x->spool);
    disk_release(&x->disk);
    free(x);
}

static void use(struct world *x, enum client_framing framing, bool answers)
{
    client_release(&x->c);
    x->home.framing = framing;
    x->home.answers = answers;
    client_init(&x->c, &x->home, &(struct client_peer){.pid = 12, .uid = 1000, .gid = 100});
}

static void write_out(struct world *x)
{
    spool_turn(x->spool, x->fakes.now);
    disk_finish(&x->disk, x->spool);
    spool_turn(x->spool, x->fakes.now);
}

/* All that is in the spool goes to the service. */
static void deliver(struct world *x)
{
    for (unsigned n = 0; n < 200 && !spool_is_empty(x->spool); n++) {
        x->fakes.now.mono_ms += 1000;
        write_out(x);
        fakes_settle(&x->fakes);
    }
    assert_true(spool_is_empty(x->spool));
}

static enum client_result feed(struct world *x, const char *text)
{
    return client_feed(&x->c, x->fakes.now, str_of(text));
}

static const char *answers(struct world *x)
{
    static char text[256 * KIB];
    assert_false(x->c.answers.failed);
    assert_true(x->c.answers.n < sizeof text);
    memcpy(text, x->c.answers.n > 0 ? x->c.answers.p : "", x->c.answers.n);
    text[x->c.answers.n] = '\0';
    buf_reset(&x->c.answers);
    return text;
}

static void assert_durable(struct world *x, const char *expected)
{
    assert_true(client_acknowledge(&x->c, spool_safe(x->spool, SPOOL_DURABLE)));
    assert_string_equal(answers(x), expected);
}

static void assert_delivered(struct world *x, const char *const *records, unsigned n)
{
    deliver(x);
    assert_int_equal(x->fakes.log_n, n);
    for (unsigned i = 0; i < n; i++) {
        const struct fake_entry *e = &x->fakes.log[i];
        assert_int_equal(e->data.n, strlen(records[i]));
        assert_memory_equal(e->data.p, records[i], e->data.n);
    }
    fakes_forget_log(&x->fakes);
}
#define ASSERT_DELIVERED(x, ...)                                                                   \
    assert_delivered(x, (const char *const[]){__VA_ARGS__},                                        \
                     ARRAY_LEN(((const char *const[]){__VA_ARGS__})))

/* ---- frames and ok ---- */

static void lines_are_numbered_and_safe_only_when_synced(void **state)
{
    (void)state;
    struct world *x = open_world();
    assert_int_equal(feed(x, "a\nb\r\n\n\r\nc\nhal"), CLIENT_GO_ON);
    assert_durable(x, "");
    assert_true(client_is_unfinished(&x->c));
    write_out(x);
    assert_durable(x, "ok 3\n");
    assert_durable(x, "");
    assert_int_equal(feed(x, "f\n"), CLIENT_GO_ON);
    assert_false(client_is_unfinished(&x->c));
    write_out(x);
    assert_durable(x, "ok 4\n");
    ASSERT_DELIVERED(x, "a", "b", "c", "half");
    close_world(x);
}

static void bytes_may_be_cut_anywhere(void **state)
{
    (void)state;
    static const char text[] = "one\r\ntwo\n\nthree\n";
    for (size_t cut = 1; cut <= 5; cut++) {
        struct world *x = open_world();
        for (size_t at = 0; at < sizeof text - 1; at += cut) {
            struct str piece = {text + at, min_size(cut, sizeof text - 1 - at)};
            assert_int_equal(client_feed(&x->c, x->fakes.now, piece), CLIENT_GO_ON);
        }
        write_out(x);
        assert_durable(x, "ok 3\n");
        ASSERT_DELIVERED(x, "one", "two", "three");
        close_world(x);
    }
}

static void a_length_goes_before_each_message(void **state)
{
    (void)state;
    static const char text[] = "\0\0\0\3a\nb"
                               "\0\0\0\0"
                               "\0\0\0\2"
                               "\0c"
                               "\0\0\0\1d";
    for (size_t cut = 1; cut < sizeof text; cut++) {
        struct world *x = open_world();
        use(x, CLIENT_LENGTH32, true);
        for (size_t at = 0; at < sizeof text - 1; at += cut) {
            struct str piece = {text + at, min_size(cut, sizeof text - 1 - at)};
            assert_int_equal(client_feed(&x->c, x->fakes.now, piece), CLIENT_GO_ON);
        }
        write_out(x);
        assert_durable(x, "ok 4\n"); /* the empty one is a frame, but no record */
        deliver(x);
        assert_int_equal(x->fakes.log_n, 3);
        assert_memory_equal(x->fakes.log[0].data.p, "a\nb", 3);
        assert_int_equal(x->fakes.log[1].data.n, 2);
        assert_memory_equal(x->fakes.log[1].data.p, "\0c", 2);
        close_world(x);
    }
}

static void many_frames_are_told_together(void **state)
{
    (void)state;
    struct world *x = open_world();
    for (unsigned i = 0; i < 10 * CLIENT_MARKS_MAX; i++)
        assert_int_equal(feed(x, "x\n"), CLIENT_GO_ON);
    assert_durable(x, "");
    write_out(x);
    char expected[40];
    snprintf(expected, sizeof expected, "ok %d\n", 10 * CLIENT_MARKS_MAX);
    assert_durable(x, expected);
    assert_false(client_is_waiting(&x->c));
    close_world(x);
}

static void delivered_is_later_than_durable(void **state)
{
    (void)state;
    struct world *x = open_world();
    feed(x, "a\n");
    write_out(x);
    assert_true(client_acknowledge(&x->c, spool_safe(x->spool, SPOOL_DELIVERED)));
    assert_string_equal(answers(x), "");
    deliver(x);
    assert_true(client_acknowledge(&x->c, spool_safe(x->spool, SPOOL_DELIVERED)));
    assert_string_equal(answers(x), "ok 1\n");
    close_world(x);
}

/* ---- bad ---- */

static void a_bad_frame_is_named_and_becomes_a_dead_letter(void **state)
{
    (void)state;
    struct world *x = open_world();
    x->spec.format = FORMAT_JSON;
    make_shape(x);
    assert_int_equal(feed(x, "{\"a\":1}\n{nope\n[2]\n"), CLIENT_GO_ON);
    const char *told = answers(x);
    assert_int_equal(strncmp(told, "bad 2 not JSON", 14), 0);
    assert_ptr_equal(strchr(told, '\n'), told + strlen(told) - 1);
    write_out(x);
    assert_durable(x, "ok 3\n");
    ASSERT_DELIVERED(x, "{\"a\":1}", "{nope", "[2]");
    close_world(x);
}

static void a_dead_letter_tells_its_source_and_reason(void **state)
{
    (void)state;
    struct world *x = open_world();
    x->spec.format = FORMAT_JSON;
    make_shape(x);
    feed(x, "{nope\n");
    write_out(x);
    write_out(x);
    fakes_pump(&x->fakes);
    assert_int_equal(x->fakes.dead_n, 1);
    struct str source, reason;
    assert_true(client_dead_key(record_key(x->fakes.dead[0].rec), &source, &reason));
    assert_string_equal(source.p, "events");
    assert_int_equal(strncmp(reason.p, "not JSON at byte ", 17), 0);
    deliver(x);
    close_world(x);
}

static void a_key_of_a_client_is_no_reason_and_no_path(void **state)
{
    (void)state;
    struct str source, reason;
#define KEY(text) ((struct str){text, sizeof(text) - 1})
    assert_true(client_dead_key(KEY("\0a-b.c\0why\0"), &source, &reason));
    assert_int_equal(source.n, 5);
    assert_int_equal(reason.n, 3);
    assert_false(client_dead_key(KEY("a\0b\0"), &source, &reason));
    assert_false(client_dead_key(KEY("\0../x\0why\0"), &source, &reason));
    assert_false(client_dead_key(KEY("\0a\0why"), &source, &reason));
    assert_false(client_dead_key(KEY("\0abc\0"), &source, &reason));
    assert_false(client_dead_key(KEY("\0\0\0\0"), &source, &reason));
    assert_false(client_dead_key(KEY(""), &source, &reason));
#undef KEY
}

static void an_array_is_one_frame_and_a_record_an_element(void **state)
{
    (void)state;
    struct world *x = open_world();
    x->spec.format = FORMAT_JSON;
    x->spec.split_arrays = true;
    make_shape(x);
    feed(x, " [{\"a\":1}, {\"a\":[2,3]} ,4]\n[]\n{\"b\":5}\n");
    write_out(x);
    assert_durable(x, "ok 3\n");
    ASSERT_DELIVERED(x, "{\"a\":1}", "{\"a\":[2,3]}", "4", "{\"b\":5}");
    close_world(x);
}

static void a_bad_element_names_its_frame_once_and_the_others_go(void **state)
{
    (void)state;
    struct world *x = open_world();
    x->spec.format = FORMAT_JSON;
    x->spec.split_arrays = true;
    x->spec.bad_value_dead = true;
    struct shape_field fields[] = {
        {.name = (char *)"n", .kind = FIELD_FROM, .from = (char *)"n", .type = TYPE_INT}};
    x->spec.fields = fields;
    x->spec.fields_n = 1;
    make_shape(x);
    feed(x, "[{\"n\":1},{\"n\":\"x\"},{\"n\":\"y\"},{\"n\":4}]\n");
    const char *told = answers(x);
    assert_int_equal(strncmp(told, "bad 1 ", 6), 0);
    assert_ptr_equal(strchr(told, '\n'), told + strlen(told) - 1);
    write_out(x);
    assert_durable(x, "ok 1\n");
    deliver(x);
    assert_int_equal(x->fakes.log_n, 4);
    assert_int_equal(x->fakes.dead_ever, 2);
    close_world(x);
}

static void an_array_that_breaks_off_keeps_what_was_good(void **state)
{
    (void)state;
    struct world *x = open_world();
    x->spec.format = FORMAT_JSON;
    x->spec.split_arrays = true;
    make_shape(x);
    feed(x, "[1,2,]\n");
    assert_string_equal(answers(x), "bad 1 not JSON at byte 5\n");
    ASSERT_DELIVERED(x, "1", "2", "]"); /* the last one as a dead letter */
    assert_int_equal(x->fakes.dead_ever, 1);
    close_world(x);
}

/* ---- too long ---- */

static void a_long_line_is_truncated_and_named(void **state)
{
    (void)state;
    struct world *x = open_world();
    char *line = malloc(3 * RECORD_MAX);
    memset(line, 'x', 3 * RECORD_MAX);
    assert_int_equal(client_feed(&x->c, x->fakes.now, (struct str){line, 3 * RECORD_MAX}),
                     CLIENT_GO_ON);
    assert_true(client_is_unfinished(&x->c));
    assert_true(x->c.held.n == 0);
    feed(x, "xxx\nshort\n");
    assert_string_equal(answers(x), "bad 1 too large: truncated\n");
    deliver(x);
    assert_int_equal(x->fakes.log_n, 2);
    const struct buf *cut = &x->fakes.log[0].data;
    assert_int_equal(cut->n, RECORD_MAX - 1); /* the key takes one */
    assert_memory_equal(cut->p + cut->n - 14, "...[truncated]", 14);
    assert_durable(x, "ok 2\n");
    free(line);
    close_world(x);
}

static void a_long_message_is_passed_over_as_it_comes(void **state)
{
    (void)state;
    struct world *x = open_world();
    use(x, CLIENT_LENGTH32, true);
    x->spec.on_oversize = OVERSIZE_DEAD_LETTER;
    static const char head[] = "\0\1\0\0"; /* 65536 */
    char *text = malloc(65536);
    memset(text, 'y', 65536);
    client_feed(&x->c, x->fakes.now, (struct str){head, 4});
    for (size_t at = 0; at < 65536; at += 1024) {
        client_feed(&x->c, x->fakes.now, (struct str){text, 1024});
        assert_true(x->c.held.n <= RECORD_MAX + KIB);
    }
    client_feed(&x->c, x->fakes.now, (struct str){"\0\0\0\1z", 5});
    assert_string_equal(answers(x), "bad 1 longer than max_record\n");
    deliver(x);
    assert_int_equal(x->fakes.log_n, 2);
    assert_int_equal(x->fakes.dead_ever, 1);
    for (unsigned i = 0; i < 2; i++) /* a dead letter may be noted after what came behind it */
        assert_int_equal(x->fakes.log[i].data.n,
                         x->fakes.log[i].kind == RECORD_DEAD ? RECORD_MAX : 1);
    free(text);
    close_world(x);
}

/* ---- the end ---- */

static void the_last_half_line_counts_only_without_answers(void **state)
{
    (void)state;
    struct world *x = open_world();
    feed(x, "a\nb");
    assert_int_equal(client_end(&x->c, x->fakes.now), CLIENT_GO_ON);
    assert_int_equal(x->home.stats->frames_cut, 1);
    use(x, CLIENT_LINES, false);
    feed(x, "c\nd");
    assert_int_equal(client_end(&x->c, x->fakes.now), CLIENT_GO_ON);
    assert_int_equal(x->home.stats->frames_cut, 1);
    use(x, CLIENT_LENGTH32, false);
    client_feed(&x->c, x->fakes.now, (struct str){"\0\0\0\5abc", 7});
    assert_int_equal(client_end(&x->c, x->fakes.now), CLIENT_GO_ON);
    assert_int_equal(x->home.stats->frames_cut, 2);
    ASSERT_DELIVERED(x, "a", "c", "d");
    close_world(x);
}

/* ---- a full spool ---- */

static void fill(struct world *x)
{
    char line[1001];
    memset(line, 'f', 1000);
    line[1000] = '\n';
    for (unsigned n = 0; n < 10000; n++) {
        write_out(x);
        if (client_feed(&x->c, x->fakes.now, (struct str){line, 1001}) == CLIENT_WAIT) {
            write_out(x);
            if (client_resume(&x->c, x->fakes.now) == CLIENT_WAIT)
                return;
        }
    }
    fail_msg("it never got full");
}

/* Once all is delivered: the file's state must say so, before its room is used again. */
static enum client_result resume(struct world *x)
{
    enum client_result result = CLIENT_WAIT;
    for (unsigned n = 0; n < 5 && result == CLIENT_WAIT; n++) {
        result = client_resume(&x->c, x->fakes.now);
        x->fakes.now.mono_ms += 1000;
        write_out(x);
    }
    return result;
}

static void a_full_spool_blocks_and_nothing_is_lost(void **state)
{
    (void)state;
    struct world *x = open_world();
    fill(x);
    uint64_t frames = x->c.frames;
    assert_int_equal(feed(x, "last\n"), CLIENT_WAIT);
    assert_int_equal(x->c.frames, frames);
    deliver(x);
    assert_int_equal(resume(x), CLIENT_GO_ON);
    assert_int_equal(x->c.frames, frames + 1);
    deliver(x);
    assert_int_equal(x->fakes.log_n, frames + 1);
    assert_memory_equal(x->fakes.log[frames].data.p, "last", 4);
    close_world(x);
}

static void an_array_goes_on_where_there_was_no_room(void **state)
{
    (void)state;
    struct world *x = open_world();
    x->spec.format = FORMAT_JSON;
    x->spec.split_arrays = true;
    make_shape(x);
    struct buf text;
    buf_init(&text, 8 * MIB);
    for (unsigned i = 0; i < 2000; i++)
        buf_printf(&text, "%c{\"n\":%u,\"x\":\"%0900d\"}", i == 0 ? '[' : ',', i, 0);
    buf_puts(&text, "]\n");
    enum client_result result = client_feed(&x->c, x->fakes.now, buf_str(&text));
    for (unsigned n = 0; result == CLIENT_WAIT && n < 1000; n++) {
        deliver(x);
        result = resume(x);
    }
    assert_int_equal(result, CLIENT_GO_ON);
    assert_int_equal(x->c.frames, 1);
    deliver(x);
    assert_int_equal(x->fakes.log_n, 2000);
    for (unsigned i = 0; i < 2000; i++) {
        char head[40];
        int n = snprintf(head, sizeof head, "{\"n\":%u,", i);
        assert_memory_equal(x->fakes.log[i].data.p, head, (size_t)n);
    }
    assert_durable(x, "ok 1\n");
    buf_release(&text);
    close_world(x);
}

static void drop_newest_counts_and_names_each(void **state)
{
    (void)state;
    struct world *x = open_world();
    fill(x);
    uint64_t frames = x->c.frames;
    answers(x);
    x->home.on_full = CLIENT_DROP_NEWEST;
    x->c.held.n = 0; /* the one that waits */
    x->c.held_at = 0;
    x->c.in_frame = false;
    char gone[2003];
    memset(gone, 'g', sizeof gone);
    gone[1000] = gone[2001] = '\n';
    gone[2002] = '\0';
    assert_int_equal(feed(x, gone), CLIENT_GO_ON);
    assert_int_equal(x->home.stats->spool_dropped, 2);
    assert_int_equal(x->c.frames, frames + 2);
    const char *told = answers(x);
    assert_non_null(strstr(told, " dropped: the spool is full\n"));
    deliver(x);
    for (unsigned i = 0; i < x->fakes.log_n; i++)
        assert_int_equal(x->fakes.log[i].data.p[0], 'f');
    close_world(x);
}

static void drop_oldest_lets_the_newest_in(void **state)
{
    (void)state;
    struct world *x = open_world();
    use(x, CLIENT_LINES, false);
    x->home.on_full = CLIENT_DROP_OLDEST;
    spool_pause(x->spool, true);
    char line[1001];
    unsigned sent = 3000;
    for (unsigned i = 0; i < sent; i++) {
        snprintf(line, sizeof line, "%0999u\n", i);
        enum client_result result = feed(x, line);
        for (unsigned n = 0; result == CLIENT_WAIT && n < 100; n++) {
            x->fakes.now.mono_ms += 10;
            write_out(x);
            result = client_resume(&x->c, x->fakes.now);
        }
        assert_int_equal(result, CLIENT_GO_ON);
    }
    spool_pause(x->spool, false);
    deliver(x);
    assert_int_equal(x->fakes.log_n + x->home.stats->spool_dropped, sent);
    assert_true(x->home.stats->spool_dropped > 1000);
    snprintf(line, sizeof line, "%0999u", sent - 1);
    assert_memory_equal(x->fakes.log[x->fakes.log_n - 1].data.p, line, 999);
    close_world(x);
}

/* Nothing is delivered, and the disk is slow now and then: who may drop never waits for long. */
static void fill_at_random(struct world *x, struct rng *rng)
{
    static char lines[8001];
    for (unsigned n = 0; n < 400; n++) {
        size_t size = 1 + (size_t)rng_below(rng, 8000);
        for (size_t i = 0; i < size; i++)
            lines[i] = rng_below(rng, 2000) == 0 ? '\n' : 'r';
        lines[size] = '\n';
        enum client_result result = client_feed(&x->c, x->fakes.now, (struct str){lines, size + 1});
        for (unsigned turns = 0; result == CLIENT_WAIT; turns++) {
            assert_true(turns < 10);
            x->fakes.now.mono_ms += SPOOL_HOLD_MS;
            if (turns > 0 || rng_below(rng, 2) == 0)
                write_out(x);
            spool_turn(x->spool, x->fakes.now);
            if (!client_has_room(&x->home))
                continue;
            uint64_t done = spool_end(x->spool) + x->home.stats->spool_dropped;
            result = client_resume(&x->c, x->fakes.now);
            bool got_on = done < spool_end(x->spool) + x->home.stats->spool_dropped;
            assert_true(got_on || !client_has_room(&x->home)); /* else a loop would spin */
        }
        assert_int_equal(result, CLIENT_GO_ON);
        buf_reset(&x->c.answers);
        if (rng_below(rng, 4) == 0)
            write_out(x);
    }
}

static void who_may_drop_never_waits_for_delivery(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 100; seed++) {
        struct world *x = open_world();
        struct rng rng;
        rng_seed(&rng, seed);
        x->home.answers = seed % 4 == 1;
        x->home.on_full = seed % 2 == 0 ? CLIENT_DROP_OLDEST : CLIENT_DROP_NEWEST;
        spool_pause(x->spool, true);
        fill_at_random(x, &rng);
        assert_true(x->home.stats->spool_dropped > 0);
        spool_pause(x->spool, false);
        deliver(x);
        close_world(x);
    }
}

/* ---- bounds ---- */

static void answers_that_are_not_taken_stop_the_reading(void **state)
{
    (void)state;
    struct world *x = open_world();
    x->spec.format = FORMAT_JSON;
    make_shape(x);
    enum client_result result = CLIENT_GO_ON;
    unsigned n = 0;
    for (; result == CLIENT_GO_ON && n < 100000; n++) {
        result = feed(x, "!\n");
        if (result == CLIENT_WAIT && x->c.answers.n + x->c.untaken < CLIENT_ANSWERS_MAX) {
            write_out(x); /* it was only the spool's memory */
            fakes_settle(&x->fakes);
            result = client_resume(&x->c, x->fakes.now);
        }
    }
    assert_int_equal(result, CLIENT_WAIT);
    assert_in_range(x->c.answers.n, CLIENT_ANSWERS_MAX, CLIENT_ANSWERS_MAX + 300);
    x->c.untaken = x->c.answers.n;
    answers(x);
    assert_int_equal(client_resume(&x->c, x->fakes.now), CLIENT_WAIT);
    x->c.untaken = 0;
    assert_int_equal(client_resume(&x->c, x->fakes.now), CLIENT_GO_ON);
    deliver(x);
    close_world(x);
}

static void what_all_hold_is_bounded(void **state)
{
    (void)state;
    struct world *x = open_world();
    x->spec.format = FORMAT_JSON;
    x->spec.split_arrays = true; /* frames may be 16 MiB */
    make_shape(x);
    struct client many[6];
    char *piece = malloc(MIB);
    memset(piece, ' ', MIB);
    enum client_result result = CLIENT_GO_ON;
    unsigned opened = 0;
    for (; opened < ARRAY_LEN(many) && result == CLIENT_GO_ON; opened++) {
        client_init(&many[opened], &x->home, &(struct client_peer){0});
        for (unsigned i = 0; i < 15 && result == CLIENT_GO_ON; i++)
            result = client_feed(&many[opened], x->fakes.now, (struct str){piece, MIB});
    }
    assert_int_equal(result, CLIENT_BREAK);
    assert_int_equal(opened, 5);
    while (opened > 0)
        client_release(&many[--opened]);
    assert_int_equal(x->home.held, 0);
    free(piece);
    close_world(x);
}

/* ---- datagrams ---- */

static void a_datagram_is_a_record(void **state)
{
    (void)state;
    struct world *x = open_world();
    use(x, CLIENT_LINES, false);
    const struct client_peer peer = {.pid = 5, .uid = 6, .gid = 7};
    x->spec.format = FORMAT_JSON;
    struct shape_add add[] = {{.name = (char *)"u", .text = (char *)"{@peer.uid}"}};
    x->spec.add = add;
    x->spec.add_n = 1;
    make_shape(x);
    assert_true(client_datagram(&x->c, x->fakes.now, &peer, STR("{\"u\":0}\n"), true));
    assert_true(client_datagram(&x->c, x->fakes.now, &peer, (struct str){"{\"a\":1}\0", 8}, true));
    assert_true(client_datagram(&x->c, x->fakes.now, &peer, STR(""), true));
    assert_true(client_datagram(&x->c, x->fakes.now, &peer, STR("{\"a\":2}"), false)); /* cut */
    ASSERT_DELIVERED(x, "{\"u\":6}", "{\"a\":1,\"u\":6}", "{\"a\":2}");
    assert_int_equal(x->fakes.dead_ever, 1);
    close_world(x);
}

static void what_the_peer_is_cannot_be_forged(void **state)
{
    (void)state;
    struct world *x = open_world();
    x->spec.format = FORMAT_JSON;
    struct shape_add add[] = {{.name = (char *)"pid", .text = (char *)"{@peer.pid}"},
                              {.name = (char *)"uid", .text = (char *)"{@peer.uid}"}};
    x->spec.add = add;
    x->spec.add_n = 2;
    make_shape(x);
    feed(x, "{\"pid\":1,\"p\\u0069d\":2,\"x\":3,\"uid\":0}\n");
    ASSERT_DELIVERED(x, "{\"x\":3,\"pid\":12,\"uid\":1000}");
    close_world(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_numbered_and_safe_only_when_synced),
        cmocka_unit_test(bytes_may_be_cut_anywhere),
        cmocka_unit_test(a_length_goes_before_each_message),
        cmocka_unit_test(many_frames_are_told_together),
        cmocka_unit_test(delivered_is_later_than_durable),
        cmocka_unit_test(a_bad_frame_is_named_and_becomes_a_dead_letter),
        cmocka_unit_test(a_dead_letter_tells_its_source_and_reason),
        cmocka_unit_test(a_key_of_a_client_is_no_reason_and_no_path),
        cmocka_unit_test(an_array_is_one_frame_and_a_record_an_element),
        cmocka_unit_test(a_bad_element_names_its_frame_once_and_the_others_go),
        cmocka_unit_test(an_array_that_breaks_off_keeps_what_was_good),
        cmocka_unit_test(a_long_line_is_truncated_and_named),
        cmocka_unit_test(a_long_message_is_passed_over_as_it_comes),
        cmocka_unit_test(the_last_half_line_counts_only_without_answers),
        cmocka_unit_test(a_full_spool_blocks_and_nothing_is_lost),
        cmocka_unit_test(an_array_goes_on_where_there_was_no_room),
        cmocka_unit_test(drop_newest_counts_and_names_each),
        cmocka_unit_test(drop_oldest_lets_the_newest_in),
        cmocka_unit_test(who_may_drop_never_waits_for_delivery),
        cmocka_unit_test(answers_that_are_not_taken_stop_the_reading),
        cmocka_unit_test(what_all_hold_is_bounded),
        cmocka_unit_test(a_datagram_is_a_record),
        cmocka_unit_test(what_the_peer_is_cannot_be_forged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
