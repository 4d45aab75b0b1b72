/* Memory that runs out: malloc, calloc, realloc and free of the whole program are these here. While
 * a test is armed, the n-th allocation fails, once for each n, until everything succeeds; nothing
 * may crash, and all that was allocated must be free again afterwards (the sanitizers' leak check
 * sees to that where they are built in; there, strdup does not come by here). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <openssl/crypto.h>

#include "lib/input.h"
#include "lib/ledger.h"
#include "lib/transform.h"
#include "tests/unit/fakes.h"
#include "tests/unit/spooldisk.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif

void *REAL(malloc)(size_t n);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *p, size_t n);
void REAL(free)(void *p);

static bool armed, failed;
static long left, alive;

static bool fails(void)
{
    if (!armed || left-- != 0)
        return false;
    return failed = true;
}

__attribute__((visibility("default"))) void *malloc(size_t n)
{
    void *p = fails() ? NULL : REAL(malloc)(n);
    alive += p != NULL;
    return p;
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t size)
{
    void *p = fails() ? NULL : REAL(calloc)(n, size);
    alive += p != NULL;
    return p;
}

__attribute__((visibility("default"))) void *realloc(void *was, size_t n)
{
    void *p = fails() ? NULL : REAL(realloc)(was, n);
    alive += p != NULL && was == NULL;
    return p;
}

__attribute__((visibility("default"))) void free(void *p)
{
    alive -= p != NULL;
    REAL(free)(p);
}

/* libcrypto's own memory is left alone: without it hash.c gives up by contract. */
static void *crypto_malloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return REAL(malloc)(n);
}

static void *crypto_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return REAL(realloc)(p, n);
}

static void crypto_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    REAL(free)(p);
}

/* Runs `once` with the first, second, ... allocation failing. It returns whether it got what it
 * wanted, and must get it when nothing has failed; `enough` allocations at least must have been
 * tried. */
static void fail_each(bool (*once)(void), unsigned enough)
{
    left = -1;
    assert_true(once());
    for (long n = 0;; n++) {
        assert_true(n < 10000);
        long before = alive;
        left = n;
        failed = false;
        bool ok = once();
        armed = false;
#ifndef SANITIZED
        if (alive != before)
            fail_msg("allocation %ld failed, and %ld are left over", n, alive - before);
#else
        (void)before;
#endif
        assert_false(failed && ok); /* nobody may pass over it in silence */
        if (failed)
            continue;
        assert_true(ok);
        assert_true(n >= (long)enough);
        return;
    }
}

/* ---- shapes --------------------------------------------------------------------------------- */

static struct shape_field children[] = {
    {.name = (char *)"c", .from = (char *)"b", .type = TYPE_INT},
};

static struct shape_field fields[] = {
    {.name = (char *)"t",
     .from = (char *)"a",
     .parse = (char *)"%Y",
     .print = (char *)"%A %B %d %Y"},
    {.name = (char *)"o", .kind = FIELD_OBJECT, .children = children, .children_n = 1},
    {.name = (char *)"k", .kind = FIELD_CONST, .constant = (char *)"[1,2]"},
    {.name = (char *)"h", .from = (char *)"@host"},
};

static struct shape_spec spec = {.format = FORMAT_CSV,
                                 .delimiter = ',',
                                 .key = (char *)"{a}-{c}",
                                 .fields = fields,
                                 .fields_n = ARRAY_LEN(fields),
                                 .max_record = 64 * KIB};

static const struct str header[] = {{"a", 1}, {"b", 1}, {"c", 1}};

static bool shape_once(void)
{
    struct err e = {0};
    armed = true;
    struct shape *s = shape_new(&spec, "host", &e);
    if (s == NULL) {
        armed = false;
        assert_int_equal(e.code, ERR_NOMEM);
        assert_true(e.text[0] != '\0');
        return false;
    }
    struct shape_columns *c = shape_bind(s, header, 3, NULL);
    armed = false;
    bool ok = c != NULL;
    shape_columns_free(c);
    shape_free(s);
    return ok;
}

static void a_shape_is_made_or_not(void **state)
{
    (void)state;
    fail_each(shape_once, 10);
}

static void columns_without_a_template_are_bound_or_not(void **state)
{
    (void)state;
    spec.fields_n = 0;
    fail_each(shape_once, 8);
    spec.fields_n = ARRAY_LEN(fields);
}

/* Formats that take lines apart, with what they need beyond the rest. */
static struct shape_add add[] = {{.name = (char *)"p", .text = (char *)"{a}@{@file.path}"}};
static struct shape_spec line_spec = {.key = (char *)"{a}",
                                      .pattern = (char *)"a=\"?(?<a>.*?)(?<b>x)?\"?",
                                      .encoding = ENCODING_LATIN1,
                                      .add = add,
                                      .add_n = ARRAY_LEN(add),
                                      .max_record = 64 * KIB};

static bool line_shape_once(void)
{
    struct err e = {0};
    armed = true;
    struct shape *s = shape_new(&line_spec, "host", &e);
    bool ok = s != NULL && shape_set_ec2(s, "i-1", "zone");
    armed = false;
    assert_true(s != NULL || (e.code == ERR_NOMEM && e.text[0] != '\0'));
    shape_free(s);
    return ok;
}

static bool line_apply_once(void)
{
    struct err e;
    struct rng r;
    rng_seed(&r, 1);
    struct shape *s = shape_new(&line_spec, "host", &e);
    const struct shape_in in = {.raw = STR("a=\"\xe9\\n\""), .path = STR("/x")};
    struct shape_out out;
    armed = true;
    enum shape_result result = shape_apply(s, &in, &r, &out);
    armed = false;
    bool ok = result == SHAPE_RECORD;
    assert_true(ok || result == SHAPE_NOMEM);
    const char *want = line_spec.format == FORMAT_LOGFMT
                           ? "{\"a\":\"\xc3\xa9\\n\",\"p\":\"\xc3\xa9\\n@/x\"}"
                           : "{\"a\":\"\xc3\xa9\\\\n\",\"b\":null,\"p\":\"\xc3\xa9\\\\n@/x\"}";
    assert_true(!ok || (str_eq(out.data, str_of(want)) && out.no_match == 0));
    shape_free(s);
    return ok;
}

static void a_line_is_taken_apart_or_memory_ran_out(void **state)
{
    (void)state;
    static const enum shape_format formats[] = {FORMAT_LOGFMT, FORMAT_REGEX};
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        line_spec.format = formats[i];
        fail_each(line_shape_once, 10);
        fail_each(line_apply_once, 3);
    }
}

/* JSON: its values found and flattened, names and texts that must be unescaped, and more of them
 * than the first allocation holds. */
static struct shape_field deep = {.name = (char *)"d", .from = (char *)"o.d", .trim = true};
static struct shape_add json_add[] = {{.name = (char *)"p", .text = (char *)"{o.a}{o.a}{o.a}"},
                                      {.name = (char *)"d", .field = &deep},
                                      {.name = (char *)"q", .text = (char *)"{o.a}"}};
static struct shape_spec json_spec = {.format = FORMAT_JSON,
                                      .flatten = (char *)"\"",
                                      .key = (char *)"{o.d}",
                                      .add = json_add,
                                      .add_n = ARRAY_LEN(json_add),
                                      .max_record = 64 * KIB};

static struct shape *json_shape_once(void)
{
    struct err e = {0};
    armed = true;
    struct shape *s = shape_new(&json_spec, "host", &e);
    armed = false;
    assert_true(s != NULL || (e.code == ERR_NOMEM && e.text[0] != '\0'));
    return s;
}

static bool json_once(void)
{
    static char raw[8 * KIB], want[32 * KIB];
    const int n = 1500;
    snprintf(raw, sizeof raw, "{\"o\":{\"\\u0061\":\"%0*d\",\"d\":\" \\u0064 \"},\"\\u0070\":1}", n,
             0);
    snprintf(want, sizeof want,
             "{\"o\\\"\\u0061\":\"%0*d\",\"o\\\"d\":\" \\u0064 "
             "\",\"p\":\"%0*d%0*d%0*d\",\"d\":\"d\",\"q\":\"%0*d\"}",
             n, 0, n, 0, n, 0, n, 0, n, 0);
    struct shape *s = json_shape_once();
    if (s == NULL)
        return false;
    struct rng r;
    rng_seed(&r, 1);
    const struct shape_in in = {.raw = str_of(raw), .path = STR("/x")};
    struct shape_out out;
    armed = true;
    enum shape_result result = shape_apply(s, &in, &r, &out);
    armed = false;
    bool ok = result == SHAPE_RECORD;
    assert_true(ok || result == SHAPE_NOMEM);
    assert_true(!ok || (str_eq(out.data, str_of(want)) && str_eq(out.key, STR(" d "))));
    if (!ok) { /* the next one is not the worse for it */
        left = -1;
        assert_int_equal(shape_apply(s, &in, &r, &out), SHAPE_RECORD);
        assert_true(str_eq(out.data, str_of(want)));
    }
    shape_free(s);
    return ok;
}

static void json_is_walked_or_memory_ran_out(void **state)
{
    (void)state;
    fail_each(json_once, 15);
}

/* Either SHAPE_NOMEM, or the very record that would have come with memory. */
static bool apply_once(void)
{
    static struct csv_row row;
    struct err e;
    struct rng r;
    rng_seed(&r, 1);
    struct shape *s = shape_new(&spec, "host", &e);
    struct shape_columns *c = shape_bind(s, header, 3, NULL);
    csv_row_init(&row, KIB);
    const struct str raw = STR("2006,5,ccccccccccccccccccccccccccccccccccccccccccccccc");
    assert_int_equal(csv_row_next(&row, raw, ',', true), CSV_ROW);
    const struct shape_in in = {.raw = raw, .row = &row, .columns = c, .path = STR("/x")};
    struct shape_out out;
    armed = true;
    enum shape_result result = shape_apply(s, &in, &r, &out);
    armed = false;
    bool ok = result == SHAPE_RECORD;
    assert_true(ok || result == SHAPE_NOMEM);
    assert_true(!ok || str_eq(out.data, STR("{\"t\":\"Sunday January 01 2006\",\"o\":{\"c\":5},"
                                            "\"k\":[1,2],\"h\":\"host\"}")));
    assert_true(!ok || (out.key.n == 52 && out.key_fallbacks == 0));
    csv_row_release(&row);
    shape_columns_free(c);
    shape_free(s);
    return ok;
}

static void a_record_is_shaped_right_or_not_at_all(void **state)
{
    (void)state;
    fail_each(apply_once, 2);
}

/* ---- pipelines ------------------------------------------------------------------------------ */

static const struct pipeline_options options = {
    .stream = "s", .region = "r", .url = "http://u/", .host = "u", .linger_ms = 0, .in_flight = 2};
static const struct sign_credentials credentials = {"AKID", "secret", "token"};

static bool pipeline_once(void)
{
    static struct fakes f;
    const struct pipeline_ops ops = {.ctx = &f,
                                     .send = fakes_on_send,
                                     .dead_letter = fakes_on_dead,
                                     .dead_room = fakes_dead_room,
                                     .steer = fakes_on_steer,
                                     .trouble = fakes_on_trouble};
    armed = true;
    struct pipeline *p = pipeline_new(64 * KIB, &ops, 1);
    bool ok = p != NULL && pipeline_configure(p, &options) && pipeline_credentials(p, &credentials);
    armed = false;
    pipeline_free(p);
    return ok;
}

static void a_pipeline_is_made_or_not(void **state)
{
    (void)state;
    fail_each(pipeline_once, 10);
}

static struct fakes world;

/* Configured anew without memory, it goes on as before; a request for which there is none waits. */
static bool deliver_once(void)
{
    fakes_init(&world, MIB);
    struct origin o = {0};
    list_init(&o.moved);
    const struct pipeline_item item = {
        .kind = RECORD_DATA, .key = STR("k"), .data = STR("d"), .end = 1};
    assert_int_equal(pipeline_put(world.p, world.now, &o, &item), PUT_OK);
    o.read_at = 1;
    buf_reserve(&world.body, 4 * KIB); /* the fakes' own memory is not what is tested */
    buf_reserve(&world.requests[0].answer, KIB);
    armed = true;
    bool ok = pipeline_configure(world.p, &options);
    ok &= pipeline_credentials(world.p, &credentials);
    uint64_t due = fakes_pump(&world);
    armed = false;
    ok &= world.sent == 1;
    assert_true(world.sent == 1 || (due > world.now.mono_ms && due < UINT64_MAX));
    if (world.sent == 0)
        world.now.mono_ms = due;
    fakes_settle(&world);
    assert_int_equal(o.delivered, 1);
    list_del(&o.moved);
    fakes_release(&world);
    return ok;
}

static void a_record_is_delivered_when_there_is_memory_again(void **state)
{
    (void)state;
    fail_each(deliver_once, 10);
}

/* ---- inputs --------------------------------------------------------------------------------- */

static char *names[] = {(char *)"a", (char *)"b", (char *)"c"};

/* What finds no memory is offered again, and comes once. */
static bool feed_once(void)
{
    fakes_init(&world, MIB);
    struct err e;
    struct shape *s = shape_new(&spec, "host", &e);
    struct input in;
    input_init(&in, world.p, s, &spec, "/x");
    input_start(&in, 0, false);
    const struct str file = STR("a,\"b\",c\n2006,\"1\"\"\",\"x\"\"y\"\n2007,2,y\n");
    bool ok = true;
    armed = true;
    for (unsigned i = 0; in.origin.read_at < file.n && i < 5; i++) {
        size_t at = (size_t)in.origin.read_at, used;
        if (input_needs_header(&in) && !input_header(&in, file, false)) {
            ok = false;
            continue;
        }
        struct str rest = {file.p + at, file.n - at};
        ok &= input_feed(&in, world.now, rest, true, 0, &used) == INPUT_MORE;
    }
    armed = false;
    assert_int_equal(in.origin.read_at, file.n);
    assert_int_equal(pipeline_stats(world.p)->records_in, spec.columns_n > 0 ? 3 : 2);
    fakes_settle(&world);
    assert_int_equal(in.origin.delivered, file.n);
    input_release(&in);
    shape_free(s);
    fakes_release(&world);
    return ok;
}

static void a_file_is_read_once_memory_or_not(void **state)
{
    (void)state;
    fail_each(feed_once, 5);
    spec.columns = names;
    spec.columns_n = ARRAY_LEN(names);
    fail_each(feed_once, 5);
    spec.columns_n = 0;
}

/* ---- ledgers -------------------------------------------------------------------------------- */

/* Two sources, the first with a file. */
static void make_document(struct buf *out)
{
    struct ledger l;
    bool whole;
    ledger_init(&l);
    ledger_add(ledger_add_source(&l, "a"), "/x")->at.inode = 2;
    ledger_add_source(&l, "b");
    ledger_begin_save(&l, out, &whole);
    ledger_release(&l);
    assert_false(out->failed);
}

static bool load_once(void)
{
    struct buf document;
    buf_init(&document, 4 * KIB);
    make_document(&document);
    struct checkpoint c;
    struct err e;
    if (checkpoint_decode(buf_str(&document), &c, &e) != 0)
        fail_msg("%s", e.text);
    buf_release(&document);
    struct ledger l;
    ledger_init(&l);
    armed = true;
    bool ok = ledger_load(&l, &c);
    armed = false;
    assert_int_equal(c.sources_n, 0);
    ledger_release(&l);
    return ok;
}

static void a_checkpoint_is_loaded_or_not(void **state)
{
    (void)state;
#ifdef SANITIZED
    fail_each(load_once, 3);
#else
    fail_each(load_once, 6);
#endif
}

static struct checkpoint decoded(const char *text)
{
    struct checkpoint c;
    struct err e;
    if (checkpoint_decode(str_of(text), &c, &e) != 0)
        fail_msg("%s", e.text);
    return c;
}

#define PRINT "{\"n\":0,\"hash\":\"00112233445566778899aabbccddeeff\"}"
#define ENTRY(id)                                                                                  \
    "{\"id\":\"" id "\",\"path\":\"/x\",\"device\":\"1\",\"inode\":\"2\",\"offset\":0,"            \
    "\"mid_record\":false,\"seen\":1,\"size\":1,\"head\":" PRINT ",\"tail\":" PRINT "}"
#define HEAD "{\"version\":1,\"generation\":1,\"sources\":[{\"name\":\"a\",\"files\":["

static bool merge_once(void)
{
    struct checkpoint whole = decoded(HEAD ENTRY("1") "]}]}");
    struct checkpoint recent =
        decoded(HEAD ENTRY("1") "," ENTRY("2") "]},{\"name\":\"b\",\"files\":[" ENTRY("3") "]}]}");
    armed = true;
    bool ok = checkpoint_merge(&whole, &recent);
    armed = false;
    assert_null(recent.sources);
    assert_true(!ok || (whole.sources_n == 2 && whole.sources[0].files_n == 2));
    checkpoint_release(&whole);
    return ok;
}

static void two_documents_are_merged_or_not(void **state)
{
    (void)state;
    fail_each(merge_once, 4);
}

static bool find_once(void)
{
    struct ledger l;
    ledger_init(&l);
    struct ledger_source *s = ledger_add_source(&l, "a");
    struct ledger_file *f = ledger_add(s, "/x");
    f->at.inode = 7;
    struct buf b;
    buf_init(&b, 4 * KIB);
    armed = true;
    ledger_leave(f);
    bool found = ledger_find(s, 7, NULL) == f;
    bool renamed = ledger_rename(f, "/y"), whole;
    ledger_begin_save(&l, &b, &whole);
    ledger_end_save(&l, !b.failed);
    armed = false;
    assert_string_equal(f->path, renamed ? "/y" : "/x");
    assert_ptr_equal(ledger_find(s, 7, NULL), f);
    bool ok = found && renamed && !b.failed;
    buf_release(&b);
    ledger_release(&l);
    return ok;
}

static void a_ledger_without_memory_forgets_nothing(void **state)
{
    (void)state;
    fail_each(find_once, 3);
}

/* ---- spools ---- */

static struct disk disk;
static struct fakes spool_fakes;

static struct spool *spool_made(void)
{
    static const struct spool_options o = {.record_max = 2 * MIB};
    const struct spool_ops ops = disk_ops(&disk);
    struct spool_report report;
    struct err e = {0};
    armed = true;
    struct spool *sp = spool_new(&o, &ops, spool_fakes.p, &e);
    bool ok = sp != NULL && spool_recover(sp, &report, &e) == 0;
    armed = false;
    if (ok)
        return sp;
    assert_int_equal(e.code, ERR_NOMEM);
    spool_free(sp);
    return NULL;
}

static bool spool_once(void)
{
    struct spool *sp = spool_made();
    spool_free(sp);
    return sp != NULL;
}

/* One record is longer than what is read at a time: recovery needs a larger window. */
static void a_spool_is_recovered_or_not(void **state)
{
    (void)state;
    static char text[3 * MIB / 2];
    memset(text, 'x', sizeof text - 1);
    const struct spool_item item = {.kind = RECORD_DATA, .data = {text, sizeof text}};
    fakes_init(&spool_fakes, 8 * MIB);
    disk_init(&disk, 32 * MIB, 3);
    left = -1;
    struct spool *sp = spool_made();
    assert_int_equal(spool_put(sp, spool_fakes.now, &item), SPOOL_OK);
    spool_turn(sp, spool_fakes.now);
    disk_finish(&disk, sp);
    spool_turn(sp, spool_fakes.now);
    spool_free(sp);
    fail_each(spool_once, 7);
    disk_release(&disk);
    fakes_release(&spool_fakes);
}

/* ---- the Lambda function -------------------------------------------------------------------- */

static void no_complaint(void *ctx, const char *line)
{
    (void)ctx, (void)line;
}

/* What has no memory is an error of the event, or a record that fails with its data; never half. */
static bool event_once(void)
{
    static const char event[] = "{\"records\":["
                                "{\"recordId\":\"1\",\"data\":\"W3siYSI6MX0sMl0\\u003d\"},"
                                "{\"recordId\":\"2\",\"data\":\"NzcK\"}]}";
    struct transform_done done = {0};
    struct err e;
    struct buf answer;
    bool ok = false;
    buf_init(&answer, TRANSFORM_ANSWER_MAX);
    struct config *c = config_build_mapping(
        "m", STR("format: json\nflatten: .\nsplit_arrays: true\nadd: {b: c}\n"), no_complaint,
        NULL);
    armed = true;
    struct transform *t = transform_new(c->sources, "host", TRANSFORM_ANSWER_MAX, &e);
    if (t != NULL && transform_event(t, STR(event), &answer, &done, &e) == 0) {
        ok = done.ok == 2;
        if (!ok)
            assert_true(done.failed == 2 - done.ok && done.why != NULL);
    }
    transform_free(t);
    config_free(c);
    buf_release(&answer);
    armed = false;
    return ok;
}

static void an_event_is_answered_or_fails_as_a_whole_or_by_record(void **state)
{
    (void)state;
    fail_each(event_once, 20);
}

int main(void)
{
    if (CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) != 1)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shape_is_made_or_not),
        cmocka_unit_test(columns_without_a_template_are_bound_or_not),
        cmocka_unit_test(a_line_is_taken_apart_or_memory_ran_out),
        cmocka_unit_test(json_is_walked_or_memory_ran_out),
        cmocka_unit_test(a_record_is_shaped_right_or_not_at_all),
        cmocka_unit_test(a_pipeline_is_made_or_not),
        cmocka_unit_test(a_record_is_delivered_when_there_is_memory_again),
        cmocka_unit_test(a_file_is_read_once_memory_or_not),
        cmocka_unit_test(a_checkpoint_is_loaded_or_not),
        cmocka_unit_test(two_documents_are_merged_or_not),
        cmocka_unit_test(a_ledger_without_memory_forgets_nothing),
        cmocka_unit_test(a_spool_is_recovered_or_not),
        cmocka_unit_test(an_event_is_answered_or_fails_as_a_whole_or_by_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
