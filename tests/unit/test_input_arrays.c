#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/input.h"
#include "tests/unit/fakes.h"

static struct fakes f;
static struct shape_spec spec;
static struct shape *shape;
static struct input in;

static int set_up(void **state)
{
    (void)state;
    fakes_init(&f, 1 * MIB);
    f.logging = true;
    spec = (struct shape_spec){.format = FORMAT_JSON,
                               .split_arrays = true,
                               .key = (char *)"k",
                               .on_oversize = OVERSIZE_DEAD_LETTER,
                               .max_record = 4 * KIB};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fakes_release(&f);
    return 0;
}

static void open_input(uint64_t offset)
{
    struct err e;
    shape = shape_new(&spec, "box", &e);
    if (shape == NULL)
        fail_msg("%s", e.text);
    input_init(&in, f.p, shape, &spec, "/srv/a");
    input_start(&in, offset, false);
}

static void close_input(void)
{
    fakes_settle(&f);
    assert_int_equal(in.origin.in_ring, 0);
    assert_int_equal(in.origin.delivered, in.origin.read_at);
    input_release(&in);
    shape_free(shape);
}

static enum input_result feed(struct str file, size_t end, bool at_end)
{
    size_t at = (size_t)in.origin.read_at, used;
    char *exact = malloc(end > at ? end - at : 1);
    memcpy(exact, file.p + at, end - at);
    enum input_result result =
        input_feed(&in, f.now, (struct str){exact, end - at}, at_end, 0, &used);
    free(exact);
    assert_int_equal(in.origin.read_at, at + used);
    assert_true(in.origin.delivered <= in.origin.read_at);
    return result;
}

static void read_whole(struct str file)
{
    fakes_forget_log(&f);
    open_input(0);
    assert_int_equal(feed(file, file.n, true), INPUT_MORE);
    assert_int_equal(in.origin.read_at, file.n);
    close_input();
}

static void assert_entry(unsigned i, enum record_kind kind, const char *data, uint64_t begin,
                         uint64_t end)
{
    assert_true(i < f.log_n);
    const struct fake_entry *e = &f.log[i];
    if (e->kind != kind || !str_eq(buf_str(&e->data), str_of(data)) || e->begin != begin ||
        e->end != end)
        fail_msg("record %u is [%zu,%zu) %.*s, not %s", i, (size_t)e->begin, (size_t)e->end,
                 (int)e->data.n, e->data.p, data);
}

/* All records in the log, each behind a bar. */
static const char *all(void)
{
    static char text[4096];
    size_t n = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < f.log_n; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "|%.*s", (int)f.log[i].data.n,
                              f.log[i].data.p);
    return text;
}

/* ---- what comes of a line ------------------------------------------------------------------- */

static void each_element_is_a_record(void **state)
{
    (void)state;
    read_whole(STR("[{\"a\":1}, 2 ,[3,4]]\n{\"b\":[5]}\n[]\n[ ]\n[\"x\"]"));
    assert_int_equal(f.log_n, 5);
    assert_entry(0, RECORD_DATA, "{\"a\":1}", 0, 0);
    assert_entry(1, RECORD_DATA, "2", 0, 0);
    assert_entry(2, RECORD_DATA, "[3,4]", 0, 20);
    assert_entry(3, RECORD_DATA, "{\"b\":[5]}", 20, 30);
    assert_entry(4, RECORD_DATA, "\"x\"", 37, 42);
}

static void without_the_option_an_array_is_one_record(void **state)
{
    (void)state;
    spec.split_arrays = false;
    read_whole(STR("[1,2]\n"));
    assert_int_equal(f.log_n, 1);
    assert_entry(0, RECORD_DATA, "[1,2]", 0, 6);
}

static void a_line_that_is_not_json_throughout_is_one_dead_letter(void **state)
{
    (void)state;
    read_whole(STR("[1,2,x]\n[1,2] 3\n[1,\n"));
    assert_int_equal(f.log_n, 3);
    assert_entry(0, RECORD_DEAD, "[1,2,x]", 0, 8);
    assert_entry(1, RECORD_DEAD, "[1,2] 3", 8, 16);
    assert_entry(2, RECORD_DEAD, "[1,", 16, 20);
    assert_int_equal(in.dead, 3);
}

static void elements_are_shaped_like_records(void **state)
{
    (void)state;
    struct shape_field at = {.name = (char *)"at", .from = (char *)"@file.offset"};
    struct shape_add add[] = {{.name = (char *)"at", .field = &at}};
    spec.flatten = (char *)".";
    spec.add = add;
    spec.add_n = 1;
    spec.key = (char *)"{u.id}";
    read_whole(STR("\n[{\"u\":{\"id\":7}},{\"u\":{\"id\":8}},9]\n"));
    assert_string_equal(all(), "|{\"u.id\":7,\"at\":1}|{\"u.id\":8,\"at\":1}|9");
    assert_true(str_eq(buf_str(&f.log[1].key), STR("8")));
    assert_int_equal(pipeline_stats(f.p)->add_skipped, 1);
    assert_int_equal(pipeline_stats(f.p)->key_fallbacks, 1);
}

static void a_bad_element_is_a_dead_letter_among_records(void **state)
{
    (void)state;
    struct shape_field n = {.name = (char *)"n", .from = (char *)"n", .type = TYPE_INT};
    spec.fields = &n;
    spec.fields_n = 1;
    spec.bad_value_dead = true;
    open_input(0);
    const struct str file = STR("[{\"n\":1},{\"n\":\"x\"},{\"n\":3}]\n");
    f.no_dead_room = true;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(feed(file, file.n, true), INPUT_DEAD_FULL);
        fakes_settle(&f);
        assert_int_equal(in.origin.delivered, 0);
    }
    assert_string_equal(all(), "|{\"n\":1}");
    f.no_dead_room = false;
    assert_int_equal(feed(file, file.n, true), INPUT_MORE);
    close_input();
    assert_int_equal(f.log_n, 3);
    assert_int_equal(in.dead, 1);
}

/* ---- positions ------------------------------------------------------------------------------ */

static void a_checkpoint_waits_for_the_last_element(void **state)
{
    (void)state;
    const struct str file = STR("0\n[1,2,3]\n4\n");
    open_input(0);
    feed(file, file.n, false);
    assert_int_equal(in.origin.in_ring, 5);
    fakes_pump(&f);
    fakes_answer_entries(&f, 0, (const uint8_t[]){0, 0, 0, 1, 0}, "InternalFailure");
    fakes_pump(&f);
    assert_int_equal(in.origin.delivered, 2); /* [1,2 are there, 3 is not */
    f.now.mono_ms += 60000;
    close_input();
    assert_int_equal(in.origin.delivered, file.n);
}

static void an_empty_array_moves_the_position_at_once(void **state)
{
    (void)state;
    open_input(0);
    feed(STR("[]\n"), 3, false);
    assert_int_equal(in.origin.delivered, 3);
    close_input();
}

/* A hundred elements through a ring that holds a few: each once, in order, and after a stop in the
 * middle from the line's beginning again. */
static void a_full_ring_resumes_within_the_line(void **state)
{
    (void)state;
    static char text[40000];
    size_t n = (size_t)snprintf(text, sizeof text, "[");
    for (unsigned i = 0; i < 100; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s{\"n\":\"%0200u\"}", i > 0 ? "," : "",
                              i);
    n += (size_t)snprintf(text + n, sizeof text - n, "]\n5\n");
    const struct str file = {text, n};
    spec.max_record = 32 * KIB;
    fakes_release(&f);
    fakes_init(&f, 8 * KIB);
    f.logging = true;
    for (unsigned stop = 0; stop < 2; stop++) {
        fakes_forget_log(&f);
        open_input(0);
        unsigned full = 0, before = 0;
        while (in.origin.read_at < file.n) {
            full += feed(file, file.n, false) == INPUT_FULL;
            fakes_settle(&f);
            if (in.origin.read_at == 0)
                assert_int_equal(in.origin.delivered, 0);
            if (stop == 1 && full == 2 && before == 0) {
                close_input();
                before = f.log_n;
                open_input(0);
            }
        }
        close_input();
        assert_true(full > 2);
        assert_int_equal(f.log_n, before + 101);
        for (unsigned i = 0; i < 100; i++) {
            char want[300];
            snprintf(want, sizeof want, "{\"n\":\"%0200u\"}", i);
            assert_entry(before + i, RECORD_DATA, want, 0, i == 99 ? n - 2 : 0);
        }
        assert_true(stop == 0 || before > 0);
    }
}

static void an_array_may_come_in_pieces(void **state)
{
    (void)state;
    const struct str file = STR("[1,{\"a\":2}]\n[3]\n");
    for (size_t cut = 0; cut <= file.n; cut++) {
        fakes_forget_log(&f);
        open_input(0);
        assert_int_equal(feed(file, cut, false), INPUT_MORE);
        assert_int_equal(feed(file, file.n, false), INPUT_MORE);
        close_input();
        assert_string_equal(all(), "|1|{\"a\":2}|3");
    }
}

/* ---- while an array is under way ------------------------------------------------------------ */

static void fill_the_middle(struct str file, bool at_end)
{
    fakes_release(&f);
    fakes_init(&f, 16 * KIB); /* many small records take more than the line they came in */
    f.logging = true;
    open_input(0);
    assert_int_equal(feed(file, file.n, at_end), INPUT_FULL);
    fakes_settle(&f);
    assert_int_equal(in.origin.read_at, 0);
    assert_true(in.elements_at > 0 && f.log_n > 0);
}

static struct str long_array(char *text, size_t cap, const char *end)
{
    size_t n = (size_t)snprintf(text, cap, "[");
    for (unsigned i = 0; i < 1000; i++)
        n += (size_t)snprintf(text + n, cap - n, "%s%u", i > 0 ? "," : "", i % 10);
    n += (size_t)snprintf(text + n, cap - n, "%s", end);
    return (struct str){text, n};
}

static void a_new_shape_takes_the_line_from_its_beginning(void **state)
{
    (void)state;
    static char text[8 * KIB];
    struct str file = long_array(text, sizeof text, "]\n");
    fill_the_middle(file, false);
    unsigned before = f.log_n;
    struct shape_spec whole = spec;
    whole.split_arrays = false;
    struct shape *other = shape_new(&whole, "box", NULL);
    fakes_forget_log(&f);
    input_reshape(&in, other, &whole);
    fakes_settle(&f);
    assert_int_equal(feed(file, file.n, false), INPUT_MORE);
    fakes_settle(&f);
    assert_true(before > 10);
    assert_int_equal(f.log_n, 1);
    assert_int_equal(f.log[0].end, file.n);
    shape_free(other);
    close_input();
}

static void a_line_that_grows_behind_its_array_is_a_dead_letter_too(void **state)
{
    (void)state;
    static char text[8 * KIB];
    struct str file = long_array(text, sizeof text, "] x\n"), part = {file.p, file.n - 3};
    fill_the_middle(part, true);
    enum input_result result;
    unsigned before = f.log_n;
    while ((result = feed(file, file.n, false)) == INPUT_FULL)
        fakes_settle(&f);
    assert_int_equal(result, INPUT_MORE);
    close_input();
    assert_true(f.log_n > before);
    assert_int_equal(f.log[f.log_n - 1].kind, RECORD_DEAD);
    assert_int_equal(f.log[f.log_n - 1].end, file.n);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_element_is_a_record),
        TEST(without_the_option_an_array_is_one_record),
        TEST(a_line_that_is_not_json_throughout_is_one_dead_letter),
        TEST(elements_are_shaped_like_records),
        TEST(a_bad_element_is_a_dead_letter_among_records),
        TEST(a_checkpoint_waits_for_the_last_element),
        TEST(an_empty_array_moves_the_position_at_once),
        TEST(a_full_ring_resumes_within_the_line),
        TEST(an_array_may_come_in_pieces),
        TEST(a_new_shape_takes_the_line_from_its_beginning),
        TEST(a_line_that_grows_behind_its_array_is_a_dead_letter_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
