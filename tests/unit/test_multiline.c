#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/multiline.h"
#include "lib/record.h"
#include "lib/rng.h"

#define OUT_MAX 4096

static struct multiline *make(const char *start, const char *continues, uint64_t max_lines)
{
    struct err e;
    const struct multiline_spec spec = {
        .start = (char *)start, .continues = (char *)continues, .max_lines = max_lines};
    struct multiline *m = multiline_new(&spec, &e);
    if (m == NULL)
        fail_msg("%s", e.text);
    return m;
}

/* ---- all that happens to a text, in words ---- */

struct reading {
    struct multiline *m;
    enum shape_encoding encoding;
    size_t max, step; /* step 0: at random */
    bool restart;     /* what the framer remembers is lost again and again */
    struct rng *r;
};

/* |event, !the first part of one that is too long; line ends as they are. */
static size_t story(const struct reading *g, struct str text, char *out)
{
    struct framer f;
    size_t at = 0, seen = 0, n = 0;
    framer_reset(&f, false);
    f.encoding = g->encoding;
    for (;;) {
        bool all = seen == text.n;
        struct frame frame;
        char *exact = malloc(seen - at + 1);
        memcpy(exact, text.p + at, seen - at);
        enum frame_result got = multiline_next(g->m, &f, (struct str){exact, seen - at}, g->max,
                                               all ? MULTILINE_END : MULTILINE_WAIT, &frame);
        assert_true(frame.used <= seen - at);
        if (got == FRAME_RECORD || got == FRAME_OVERSIZE) {
            assert_true(frame.data.n <= g->max);
            out[n++] = got == FRAME_RECORD ? '|' : '!';
            memcpy(out + n, frame.data.p, frame.data.n);
            n += frame.data.n;
        }
        free(exact);
        at += frame.used;
        if (g->restart) {
            framer_reset(&f, f.skipping);
            f.encoding = g->encoding;
        }
        if (got != FRAME_MORE)
            continue;
        if (all)
            break;
        seen = min_size(text.n, seen + (g->step > 0 ? g->step : rng_below(g->r, 5)));
    }
    assert_int_equal(at, text.n);
    return n;
}

static void assert_story(struct multiline *m, size_t max, const char *text, const char *want)
{
    struct rng r;
    rng_seed(&r, 5);
    for (size_t step = 1; step <= strlen(text) + 1; step++) {
        char out[OUT_MAX];
        struct reading g = {
            .m = m, .max = max, .step = step - 1, .restart = step % 3 == 2, .r = &r};
        size_t n = story(&g, str_of(text), out);
        if (!str_eq((struct str){out, n}, str_of(want)))
            fail_msg("step %zu: \"%.*s\", wanted \"%s\"", step - 1, (int)n, out, want);
    }
}

/* ---- which lines belong together ---- */

static void a_line_that_matches_start_begins_an_event(void **state)
{
    (void)state;
    struct multiline *m = make("[0-9]", NULL, 500);
    assert_story(m, 100, "1 a\n b\n  c\n2 d\n3 e\n f\n", "|1 a\n b\n  c|2 d|3 e\n f");
    assert_story(m, 100, "stray\n b\n1\n", "|stray\n b|1");
    assert_story(m, 100, "x1\n1", "|x1|1"); /* at the beginning of the line only */
    multiline_free(m);
}

static void a_line_that_matches_continue_goes_on_with_one(void **state)
{
    (void)state;
    struct multiline *m = make(NULL, "\\s|\\.\\.\\.", 500);
    assert_story(m, 100, "a\n b\n\tc\n...\nd\ne\n f", "|a\n b\n\tc\n...|d|e\n f");
    assert_story(m, 100, " a\n b\nc\n", "| a\n b|c");
    multiline_free(m);
}

static void line_ends_inside_stay_and_the_last_is_left_off(void **state)
{
    (void)state;
    struct multiline *m = make("[0-9]", NULL, 500);
    assert_story(m, 100, "1\r\na\r\n\r\nb\r\n2\r\n", "|1\r\na\r\n\r\nb|2");
    assert_story(m, 100, "1\ra\n\r\r\n2\r", "|1\ra\n\r|2\r");
    multiline_free(m);
}

static void empty_lines_around_an_event_are_not_of_its_text(void **state)
{
    (void)state;
    struct multiline *m = make("[0-9]", NULL, 500);
    assert_story(m, 100, "\n\r\n1\na\n\n\r\n\n2\n\n", "|||1\na|2");
    assert_story(m, 100, "\n\n", "||");
    multiline_free(m);
}

static void utf_16_lines_are_judged_as_utf_8(void **state)
{
    (void)state;
    struct multiline *m = make("\xc3\xa9[0-9]", NULL, 500);
    /* U+0A00 and U+000A, and an e with an accent */
    const struct str le = STR("\xe9\0001\0\n\0a\0\0\n\n\0\xe9\0002\0\r\0\n\0x\0");
    const struct str be = STR("\0\xe9\0001\0\n\0a\n\0\0\n\0\xe9\0002\0\r\0\n\0x");
    for (size_t step = 1; step < 8; step++) {
        char out[OUT_MAX];
        struct reading g = {.m = m, .encoding = ENCODING_UTF16LE, .max = 100, .step = step};
        struct str got = {out, story(&g, le, out)};
        assert_true(str_eq(got, STR("|\xe9\0001\0\n\0a\0\0\n|\xe9\0002\0\r\0\n\0x\0")));
        g.encoding = ENCODING_UTF16BE;
        got.n = story(&g, be, out);
        assert_true(str_eq(got, STR("|\0\xe9\0001\0\n\0a\n\0|\0\xe9\0002\0\r\0\n\0x")));
    }
    multiline_free(m);
    m = make("\xc3\xa9", NULL, 500);
    struct reading g = {.m = m, .encoding = ENCODING_LATIN1, .max = 100, .step = 1};
    char out[OUT_MAX];
    struct str got = {out, story(&g, STR("\xe9\na\n\xe9\n"), out)};
    assert_true(str_eq(got, STR("|\xe9\na|\xe9")));
    multiline_free(m);
}

static void a_bad_pattern_is_refused_with_its_place(void **state)
{
    (void)state;
    struct err e;
    const struct multiline_spec spec = {.start = (char *)"a(b", .max_lines = 1};
    assert_null(multiline_new(&spec, &e));
    assert_non_null(strstr(e.text, "at byte 3"));
    multiline_free(NULL);
}

/* ---- limits ---- */

static void an_event_ends_after_max_lines(void **state)
{
    (void)state;
    struct multiline *m = make("[0-9]", NULL, 3);
    assert_story(m, 100, "1\na\nb\nc\nd\ne\nf\n2\n", "|1\na\nb|c\nd\ne|f|2");
    multiline_free(m);
    m = make("[0-9]", NULL, 1);
    assert_story(m, 100, "1\na\nb\n2", "|1|a|b|2");
    multiline_free(m);
}

static void an_event_ends_before_a_line_that_does_not_fit(void **state)
{
    (void)state;
    struct multiline *m = make("[0-9]", NULL, 500);
    /* max 16 leaves 14 bytes of text */
    assert_story(m, 16, "1\n23456\nabcdefgh\nij\n2\n", "|1|23456\nabcdefgh|ij|2");
    assert_story(m, 16, "1\nabcdefghijkl\nx\n", "|1\nabcdefghijkl|x");
    assert_story(m, 16, "1\nabcdefghijkl\r\nx\n", "|1\nabcdefghijkl|x");
    assert_story(m, 16, "1\nabcdefghijklm\nx\n", "|1|abcdefghijklm|x");
    assert_story(m, 16, "1\nabcdefghijklm\n", "|1|abcdefghijklm");
    assert_story(m, 16, "1\nabcdefghijkl\n\n\n2\n", "|1\nabcdefghijkl|||2");
    multiline_free(m);
}

static void a_line_longer_than_max_is_cut_and_its_neighbours_are_not(void **state)
{
    (void)state;
    struct multiline *m = make("[0-9]", NULL, 500);
    assert_story(m, 16, "1\na\n0123456789abcdefgh\nb\nc\n2", "|1\na!0123456789abcdef|b\nc|2");
    assert_story(m, 16, "1\nx23456789abcdefgh\r\nb", "|1!x23456789abcdefg|b");
    assert_story(m, 16, "x23456789abcdefgh\n", "!x23456789abcdefg");
    multiline_free(m);
}

static void a_long_line_is_judged_by_its_first_bytes(void **state)
{
    (void)state;
    static char text[3 * MULTILINE_LOOK_MAX];
    struct multiline *m = make(".*END$", NULL, 500);
    for (size_t n = MULTILINE_LOOK_MAX - 3; n <= MULTILINE_LOOK_MAX + 3; n++) {
        for (size_t cr = 0; cr < 2; cr++) {
            struct framer f;
            struct frame frame;
            memset(text, 'x', sizeof text);
            memcpy(text, "a\n", 2);
            memcpy(text + 2 + n - 3, "END", 3);
            memcpy(text + 2 + n, cr ? "\r\n" : "\n", 1 + cr);
            const struct str whole = {text, 2 + n + 1 + cr};
            bool begins = n <= MULTILINE_LOOK_MAX;
            for (size_t seen = 2; seen <= whole.n; seen += seen < n - 3 ? n - 5 : 1) {
                framer_reset(&f, false);
                enum frame_result got =
                    multiline_next(m, &f, (struct str){text, seen}, MIB, MULTILINE_WAIT, &frame);
                if (got == FRAME_RECORD)
                    assert_true(begins && frame.used == 2);
                else
                    assert_int_equal(got, FRAME_MORE);
            }
            assert_int_equal(frame.used, begins ? 2 : 0);
        }
    }
    multiline_free(m);
}

static void a_match_that_costs_too_much_is_given_up_and_counted(void **state)
{
    (void)state;
    char text[200] = "first\n";
    memset(text + 6, 'a', 100);
    memcpy(text + 106, "!\nx\n", 5);
    struct multiline *m = make("(a+)+$", NULL, 500);
    struct framer f;
    struct frame frame;
    framer_reset(&f, false);
    assert_int_equal(multiline_next(m, &f, str_of(text), MIB, MULTILINE_WAIT, &frame), FRAME_MORE);
    assert_int_equal(frame.limits, 1);
    assert_int_equal(multiline_next(m, &f, str_of(text), MIB, MULTILINE_END, &frame), FRAME_RECORD);
    assert_int_equal(frame.limits, 0); /* the line is not judged again */
    assert_int_equal(frame.used, strlen(text));
    multiline_free(m);
}

/* ---- time ---- */

static void assert_next(struct multiline *m, struct framer *f, const char *text,
                        enum multiline_wait wait, enum frame_result want, size_t used)
{
    struct frame frame;
    assert_int_equal(multiline_next(m, f, str_of(text), 100, wait, &frame), want);
    assert_int_equal(frame.used, used);
}

static void an_event_waits_for_the_next_one_or_for_patience_to_end(void **state)
{
    (void)state;
    struct multiline *m = make("[0-9]", NULL, 500);
    struct framer f;
    framer_reset(&f, false);
    assert_next(m, &f, "1\na\n", MULTILINE_WAIT, FRAME_MORE, 0);
    assert_next(m, &f, "1\na\n", MULTILINE_LINES, FRAME_RECORD, 4);
    assert_next(m, &f, "b", MULTILINE_LINES, FRAME_MORE, 0);
    assert_next(m, &f, "b\n", MULTILINE_LINES, FRAME_RECORD, 2);
    assert_next(m, &f, "", MULTILINE_LINES, FRAME_MORE, 0);
    assert_next(m, &f, "", MULTILINE_END, FRAME_MORE, 0);
    assert_next(m, &f, "1\nab", MULTILINE_WAIT, FRAME_MORE, 0);
    assert_next(m, &f, "1\nab", MULTILINE_LINES, FRAME_RECORD, 2);
    assert_next(m, &f, "ab", MULTILINE_WAIT, FRAME_MORE, 0);
    assert_next(m, &f, "ab", MULTILINE_END, FRAME_RECORD, 2);
    multiline_free(m);
}

static void fewer_bytes_than_were_seen_change_nothing(void **state)
{
    (void)state;
    struct multiline *m = make("[0-9]", NULL, 500);
    struct framer f;
    framer_reset(&f, false);
    assert_next(m, &f, "1\nabc\nde", MULTILINE_WAIT, FRAME_MORE, 0);
    assert_next(m, &f, "1\na", MULTILINE_WAIT, FRAME_MORE, 0);
    assert_next(m, &f, "1\nabc\nde\n2\n", MULTILINE_WAIT, FRAME_RECORD, 9);
    multiline_free(m);
}

/* A pattern that takes notes would be needed to count matches; instead the judged bytes are changed
 * behind the framer's back. */
static void no_line_is_judged_twice(void **state)
{
    (void)state;
    struct multiline *m = make("[0-9]", NULL, 500);
    struct framer f;
    struct frame frame;
    char text[] = "1\na\nb\nc\n";
    framer_reset(&f, false);
    assert_next(m, &f, text, MULTILINE_WAIT, FRAME_MORE, 0);
    assert_int_equal(f.lines, 4);
    memset(text, '7', 8);
    assert_next(m, &f, text, MULTILINE_WAIT, FRAME_MORE, 0);
    assert_int_equal(multiline_next(m, &f, STR("77777777x\n8\n"), 100, MULTILINE_WAIT, &frame),
                     FRAME_RECORD);
    assert_int_equal(frame.used, 10);
    multiline_free(m);
}

static void how_the_bytes_are_cut_makes_no_difference(void **state)
{
    (void)state;
    static const char letters[] = {'1', 'b', '\0', '\n', '\r', '\n', 'd'};
    struct multiline *ms[] = {make("1", NULL, 4), make(NULL, "[b\r]", 3), make("$", NULL, 2)};
    struct rng r;
    rng_seed(&r, 31);
    for (int round = 0; round < 20000; round++) {
        char text[60], want[OUT_MAX], got[OUT_MAX];
        size_t n = rng_below(&r, sizeof text);
        struct reading g = {.m = ms[round % 3], .max = 2 + rng_below(&r, 20), .step = 100, .r = &r};
        g.encoding = (enum shape_encoding)rng_below(&r, 4);
        for (size_t i = 0; i < n; i++)
            text[i] = letters[rng_below(&r, sizeof letters)];
        struct str all = {text, n};
        size_t want_n = story(&g, all, want);
        for (g.step = 0; g.step < 4; g.step++) {
            g.restart = round % 2 == 0;
            size_t got_n = story(&g, all, got);
            if (got_n != want_n || memcmp(got, want, got_n) != 0)
                fail_msg("max %zu step %zu of \"%.*s\": \"%.*s\", wanted \"%.*s\"", g.max, g.step,
                         (int)n, text, (int)got_n, got, (int)want_n, want);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(ms); i++)
        multiline_free(ms[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_that_matches_start_begins_an_event),
        cmocka_unit_test(a_line_that_matches_continue_goes_on_with_one),
        cmocka_unit_test(line_ends_inside_stay_and_the_last_is_left_off),
        cmocka_unit_test(empty_lines_around_an_event_are_not_of_its_text),
        cmocka_unit_test(utf_16_lines_are_judged_as_utf_8),
        cmocka_unit_test(a_bad_pattern_is_refused_with_its_place),
        cmocka_unit_test(an_event_ends_after_max_lines),
        cmocka_unit_test(an_event_ends_before_a_line_that_does_not_fit),
        cmocka_unit_test(a_line_longer_than_max_is_cut_and_its_neighbours_are_not),
        cmocka_unit_test(a_long_line_is_judged_by_its_first_bytes),
        cmocka_unit_test(a_match_that_costs_too_much_is_given_up_and_counted),
        cmocka_unit_test(an_event_waits_for_the_next_one_or_for_patience_to_end),
        cmocka_unit_test(fewer_bytes_than_were_seen_change_nothing),
        cmocka_unit_test(no_line_is_judged_twice),
        cmocka_unit_test(how_the_bytes_are_cut_makes_no_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
