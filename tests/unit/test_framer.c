#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/framer.h"
#include "lib/rng.h"

static void assert_frame(struct framer *f, const char *text, size_t max, bool at_end,
                         enum frame_result want, const char *data, size_t used)
{
    struct frame frame;
    struct str copy = {malloc(strlen(text) + (text[0] == '\0')), strlen(text)};
    memcpy((char *)copy.p, text, copy.n);
    enum frame_result got = framer_line(f, copy, max, at_end, &frame);
    if (got != want || frame.used != used || !str_eq(frame.data, str_of(data)))
        fail_msg("\"%s\": %d used %zu \"%.*s\", wanted %d used %zu \"%s\"", text, got, frame.used,
                 (int)frame.data.n, frame.data.p ? frame.data.p : "", want, used, data);
    free((char *)copy.p);
}

static void a_line_ends_in_lf_and_a_cr_before_it_is_left_off(void **state)
{
    (void)state;
    struct framer f;
    framer_reset(&f, false);
    assert_frame(&f, "ab\ncd\n", 10, false, FRAME_RECORD, "ab", 3);
    assert_frame(&f, "ab\r\ncd\n", 10, false, FRAME_RECORD, "ab", 4);
    assert_frame(&f, "ab\r\r\n", 10, false, FRAME_RECORD, "ab\r", 5);
    assert_frame(&f, "a\rb\n", 10, false, FRAME_RECORD, "a\rb", 4);
    assert_frame(&f, "\nx", 10, false, FRAME_RECORD, "", 1);
    assert_frame(&f, "\r\nx", 10, false, FRAME_RECORD, "", 2);
}

static void an_unfinished_line_waits_until_the_end_of_the_file(void **state)
{
    (void)state;
    struct framer f;
    framer_reset(&f, false);
    assert_frame(&f, "", 10, false, FRAME_MORE, "", 0);
    assert_frame(&f, "", 10, true, FRAME_MORE, "", 0);
    assert_frame(&f, "ab", 10, false, FRAME_MORE, "", 0);
    assert_frame(&f, "abc", 10, false, FRAME_MORE, "", 0);
    assert_frame(&f, "abc", 10, true, FRAME_RECORD, "abc", 3);
    assert_frame(&f, "abc\r", 10, false, FRAME_MORE, "", 0);
    assert_frame(&f, "abc\r", 10, true, FRAME_RECORD, "abc\r", 4);
    assert_frame(&f, "abc\r\n", 10, true, FRAME_RECORD, "abc", 5);
}

static void the_limit_does_not_count_the_terminator(void **state)
{
    (void)state;
    struct framer f;
    framer_reset(&f, false);
    assert_frame(&f, "abc\n", 3, false, FRAME_RECORD, "abc", 4);
    assert_frame(&f, "abc\r\n", 3, false, FRAME_RECORD, "abc", 5);
    assert_frame(&f, "abc", 3, false, FRAME_MORE, "", 0);
    assert_frame(&f, "abc\r", 3, false, FRAME_MORE, "", 0);
    assert_frame(&f, "abc\r\n", 3, false, FRAME_RECORD, "abc", 5);
    assert_frame(&f, "abc", 3, true, FRAME_RECORD, "abc", 3);
    assert_frame(&f, "\n", 0, false, FRAME_RECORD, "", 1);
    assert_frame(&f, "abcdefgh\n", SIZE_MAX, false, FRAME_RECORD, "abcdefgh", 9);
}

static void assert_oversize(const char *text, size_t max, bool at_end, const char *rest,
                            size_t used, bool over)
{
    struct framer f;
    framer_reset(&f, false);
    char want[16];
    snprintf(want, sizeof want, "%.*s", (int)max, text);
    assert_frame(&f, text, max, at_end, FRAME_OVERSIZE, want, max);
    assert_true(f.skipping);
    assert_frame(&f, rest, max, at_end, FRAME_SKIPPED, "", used);
    assert_int_equal(f.skipping, !over);
}

static void a_line_past_the_limit_is_cut_and_its_rest_skipped(void **state)
{
    (void)state;
    assert_oversize("abcd\nx", 3, false, "d\nx", 2, true);
    assert_oversize("abcd", 3, false, "d", 1, false);
    assert_oversize("abc\rd", 3, false, "\rd", 2, false);
    assert_oversize("abc\r\r\n", 3, false, "\r\r\n", 3, true);
    assert_oversize("abcd\r\n", 3, false, "d\r\n", 3, true);
    assert_oversize("abcd", 3, true, "d", 1, true);
    assert_oversize("abc\r", 3, true, "\r", 1, true);
    assert_oversize("abcdefghij\nk", 3, false, "defghij\nk", 8, true);
    assert_oversize("a\n", 0, false, "a\n", 2, true);
}

static void reading_resumes_in_the_middle_of_a_long_line(void **state)
{
    (void)state;
    struct framer f;
    framer_reset(&f, true);
    assert_frame(&f, "", 3, false, FRAME_MORE, "", 0);
    assert_true(f.skipping);
    assert_frame(&f, "still the same", 3, false, FRAME_SKIPPED, "", 14);
    assert_true(f.skipping);
    assert_frame(&f, "and\rthis\r\nabc\n", 3, false, FRAME_SKIPPED, "", 10);
    assert_false(f.skipping);
    assert_frame(&f, "abc\n", 3, false, FRAME_RECORD, "abc", 4);
    framer_reset(&f, true);
    assert_frame(&f, "", 3, true, FRAME_MORE, "", 0);
    assert_false(f.skipping);
}

static void skipping_for_other_framings_ends_at_lf_or_cr(void **state)
{
    (void)state;
    struct framer f;
    struct frame frame;
    framer_reset(&f, true);
    assert_int_equal(framer_skip(&f, STR("abc"), false, &frame), FRAME_SKIPPED);
    assert_int_equal(frame.used, 3);
    assert_true(f.skipping);
    assert_int_equal(framer_skip(&f, STR("ab\rc\n"), false, &frame), FRAME_SKIPPED);
    assert_int_equal(frame.used, 3);
    assert_false(f.skipping);
    framer_reset(&f, true);
    assert_int_equal(framer_skip(&f, STR("\nabc"), false, &frame), FRAME_SKIPPED);
    assert_int_equal(frame.used, 1);
    assert_int_equal(frame.data.n, 0);
    framer_reset(&f, true);
    assert_int_equal(framer_skip(&f, (struct str){NULL, 0}, false, &frame), FRAME_MORE);
    assert_true(f.skipping);
    assert_int_equal(framer_skip(&f, STR("abc"), true, &frame), FRAME_SKIPPED);
    assert_false(f.skipping);
}

/* All that happens to `text` as one line of words: |record, !oversize. Bytes arrive `step` at a
 * time (0: at random), and reading starts over from the offset, as after a restart, when `restart`.
 */
static size_t story(struct rng *r, struct str text, enum shape_encoding encoding, size_t max,
                    size_t step, bool restart, char *out)
{
    struct framer f;
    size_t at = 0, seen = 0, n = 0;
    framer_reset(&f, false);
    f.encoding = encoding;
    for (;;) {
        bool at_end = seen == text.n;
        struct frame frame;
        enum frame_result got =
            framer_line(&f, (struct str){text.p + at, seen - at}, max, at_end, &frame);
        assert_true(frame.used <= seen - at);
        if (got == FRAME_RECORD || got == FRAME_OVERSIZE) {
            assert_true(frame.data.n <= max);
            out[n++] = got == FRAME_RECORD ? '|' : '!';
            memcpy(out + n, frame.data.p, frame.data.n);
            n += frame.data.n;
        }
        at += frame.used;
        if (restart) {
            framer_reset(&f, f.skipping);
            f.encoding = encoding;
        }
        if (got != FRAME_MORE)
            continue;
        if (at_end)
            break;
        seen = min_size(text.n, seen + (step > 0 ? step : rng_below(r, 5)));
    }
    assert_int_equal(at, text.n);
    return n;
}

static void how_the_bytes_are_cut_makes_no_difference(void **state)
{
    (void)state;
    static const char letters[] = {'a', 'b', 'c', '\n', '\r', '\r', 'd'};
    static const char wide[] = {'\n', '\r', '\n', '\0', '\0', '\0', 'd'};
    struct rng r;
    rng_seed(&r, 31);
    for (int round = 0; round < 20000; round++) {
        char text[40], want[100], got[100];
        size_t n = rng_below(&r, sizeof text), max = rng_below(&r, 7);
        enum shape_encoding encoding = (enum shape_encoding)(round / 2 % 4);
        if (encoding_is_utf16(encoding))
            max += 2;
        for (size_t i = 0; i < n; i++)
            text[i] = (encoding_is_utf16(encoding) ? wide : letters)[rng_below(&r, sizeof letters)];
        struct str all = {text, n};
        size_t want_n = story(&r, all, encoding, max, 100, false, want);
        for (size_t step = 0; step < 4; step++) {
            size_t got_n = story(&r, all, encoding, max, step, round % 2 == 0, got);
            if (got_n != want_n || memcmp(got, want, got_n) != 0)
                fail_msg("max %zu step %zu of \"%.*s\": \"%.*s\", wanted \"%.*s\"", max, step,
                         (int)n, text, (int)got_n, got, (int)want_n, want);
        }
    }
}

static void assert_wide(enum shape_encoding encoding, struct str text, size_t max, bool at_end,
                        enum frame_result want, struct str data, size_t used)
{
    struct framer f;
    struct frame frame;
    framer_reset(&f, false);
    f.encoding = encoding;
    assert_int_equal(framer_line(&f, text, max, at_end, &frame), want);
    assert_int_equal(frame.used, used);
    assert_true(str_eq(frame.data, data));
}

static void in_utf_16_only_the_whole_unit_ends_a_line(void **state)
{
    (void)state;
    const enum shape_encoding le = ENCODING_UTF16LE, be = ENCODING_UTF16BE;
    assert_wide(le, STR("a\0\n\0b\0"), 9, false, FRAME_RECORD, STR("a\0"), 4);
    assert_wide(be, STR("\0a\0\n\0b"), 9, false, FRAME_RECORD, STR("\0a"), 4);
    assert_wide(le, STR("a\0\r\0\n\0"), 9, false, FRAME_RECORD, STR("a\0"), 6);
    assert_wide(be, STR("\0a\0\r\0\n"), 9, false, FRAME_RECORD, STR("\0a"), 6);
    /* U+0A00 and U+000A; U+010A; and two characters with an LF across them */
    assert_wide(le, STR("\0\n\n\0"), 9, false, FRAME_RECORD, STR("\0\n"), 4);
    assert_wide(be, STR("\n\0\0\n"), 9, false, FRAME_RECORD, STR("\n\0"), 4);
    assert_wide(le, STR("\n\1"), 9, false, FRAME_MORE, STR(""), 0);
    assert_wide(le, STR("a\n\0b"), 9, false, FRAME_MORE, STR(""), 0);
    assert_wide(be, STR("a\0\nb"), 9, false, FRAME_MORE, STR(""), 0);
    /* half a unit may still become one, and counts at the end */
    assert_wide(le, STR("a\0\n"), 9, false, FRAME_MORE, STR(""), 0);
    assert_wide(le, STR("a\0\n"), 9, true, FRAME_RECORD, STR("a\0\n"), 3);
    /* the limit is even, and a CR after it may belong to the end */
    assert_wide(le, STR("a\0\r\0\n\0"), 3, false, FRAME_RECORD, STR("a\0"), 6);
    assert_wide(le, STR("a\0\r\0\n"), 2, false, FRAME_MORE, STR(""), 0);
    assert_wide(le, STR("a\0b"), 2, false, FRAME_MORE, STR(""), 0);
    assert_wide(le, STR("a\0b\0"), 3, false, FRAME_OVERSIZE, STR("a\0"), 2);
}

static void the_last_line_end_is_found_from_behind(void **state)
{
    (void)state;
    const enum shape_encoding le = ENCODING_UTF16LE, be = ENCODING_UTF16BE;
    assert_int_equal(framer_last_end(ENCODING_UTF8, STR("a\nb\ncd"), 7), 4);
    assert_int_equal(framer_last_end(ENCODING_LATIN1, STR("abc"), 0), 0);
    assert_int_equal(framer_last_end(ENCODING_UTF8, STR("\n"), 0), 1);
    assert_int_equal(framer_last_end(le, STR("\n\0a\0"), 0), 2);
    assert_int_equal(framer_last_end(le, STR("\n\0a\0"), 1), 0);
    assert_int_equal(framer_last_end(le, STR("x\n\0a\0"), 1), 3);
    assert_int_equal(framer_last_end(be, STR("\0\n\0a\0"), 4), 2);
    assert_int_equal(framer_last_end(be, STR("\n"), 1), 0);
}

static void a_line_in_many_pieces_is_searched_once(void **state)
{
    (void)state;
    struct framer f;
    char text[1000];
    memset(text, 'x', sizeof text);
    framer_reset(&f, false);
    struct frame frame;
    for (size_t n = 0; n <= sizeof text; n++) {
        assert_int_equal(framer_line(&f, (struct str){text, n}, 2000, false, &frame), FRAME_MORE);
        assert_int_equal(f.looked, n);
    }
    text[10] = '\n'; /* what has been searched is not looked at again */
    assert_int_equal(framer_line(&f, (struct str){text, sizeof text}, 2000, false, &frame),
                     FRAME_MORE);
    framer_reset(&f, false);
    assert_int_equal(framer_line(&f, (struct str){text, sizeof text}, 2000, false, &frame),
                     FRAME_RECORD);
    assert_int_equal(frame.used, 11);
    assert_int_equal(f.looked, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_ends_in_lf_and_a_cr_before_it_is_left_off),
        cmocka_unit_test(an_unfinished_line_waits_until_the_end_of_the_file),
        cmocka_unit_test(the_limit_does_not_count_the_terminator),
        cmocka_unit_test(a_line_past_the_limit_is_cut_and_its_rest_skipped),
        cmocka_unit_test(reading_resumes_in_the_middle_of_a_long_line),
        cmocka_unit_test(skipping_for_other_framings_ends_at_lf_or_cr),
        cmocka_unit_test(how_the_bytes_are_cut_makes_no_difference),
        cmocka_unit_test(in_utf_16_only_the_whole_unit_ends_a_line),
        cmocka_unit_test(the_last_line_end_is_found_from_behind),
        cmocka_unit_test(a_line_in_many_pieces_is_searched_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
