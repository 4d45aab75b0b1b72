#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/encoding.h"
#include "lib/json.h"

static struct buf out;

static void assert_becomes(struct str raw, enum shape_encoding from, struct str want,
                           unsigned replaced)
{
    char *exact = malloc(raw.n + 1);
    memcpy(exact, raw.p, raw.n);
    buf_init(&out, raw.n * ENCODING_GROWTH + 16);
    buf_puts(&out, "before");
    assert_int_equal(encoding_to_utf8(&out, (struct str){exact, raw.n}, from), replaced);
    assert_false(out.failed);
    struct str got = {out.p + 6, out.n - 6};
    if (!str_eq(got, want))
        fail_msg("%.*s", (int)got.n, got.p);
    buf_release(&out);
    free(exact);
}

static void latin_1_is_the_character_of_each_byte_s_number(void **state)
{
    (void)state;
    assert_becomes(STR(""), ENCODING_LATIN1, STR(""), 0);
    assert_becomes(STR("plain text, longer than eight"), ENCODING_LATIN1,
                   STR("plain text, longer than eight"), 0);
    assert_becomes(STR("na\xefve caf\xe9"), ENCODING_LATIN1, STR("na\xc3\xafve caf\xc3\xa9"), 0);
    assert_becomes(STR("\x80\x9f\xa0\xff\x7f\0"), ENCODING_LATIN1,
                   STR("\xc2\x80\xc2\x9f\xc2\xa0\xc3\xbf\x7f\0"), 0);
    /* Each place that a character can have among runs of plain bytes. */
    for (size_t at = 0; at < 20; at++) {
        char raw[20], want[21];
        memset(raw, 'a', sizeof raw);
        memset(want, 'a', sizeof want);
        raw[at] = '\xfc';
        want[at] = '\xc3';
        want[at + 1] = '\xbc';
        assert_becomes((struct str){raw, 20}, ENCODING_LATIN1, (struct str){want, 21}, 0);
    }
}

static void utf_8_stays_as_it_is(void **state)
{
    (void)state;
    assert_becomes(STR("\xff\xc3\xa4 \0"), ENCODING_UTF8, STR("\xff\xc3\xa4 \0"), 0);
}

static void utf_16_in_both_orders(void **state)
{
    (void)state;
    assert_becomes(STR("a\0\xe4\0\xac\x20\x3d\xd8\x00\xde"), ENCODING_UTF16LE,
                   STR("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), 0);
    assert_becomes(STR("\0a\0\xe4\x20\xac\xd8\x3d\xde\x00"), ENCODING_UTF16BE,
                   STR("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), 0);
    assert_becomes(STR("\xff\xdb\xff\xdf"), ENCODING_UTF16LE, STR("\xf4\x8f\xbf\xbf"), 0);
    assert_becomes(STR("\0\0\xff\xff"), ENCODING_UTF16BE, STR("\0\xef\xbf\xbf"), 0);
}

#define BAD "\xef\xbf\xbd"

static void half_a_pair_is_replaced_and_counted(void **state)
{
    (void)state;
    assert_becomes(STR("\xd8\x3d"), ENCODING_UTF16BE, STR(BAD), 1);
    assert_becomes(STR("\xd8\x3d\0a"), ENCODING_UTF16BE, STR(BAD "a"), 1);
    assert_becomes(STR("\xde\x00\0a"), ENCODING_UTF16BE, STR(BAD "a"), 1);
    assert_becomes(STR("\xd8\x3d\xd8\x3d\xde\x00"), ENCODING_UTF16BE, STR(BAD "\xf0\x9f\x98\x80"),
                   1);
    assert_becomes(STR("\xde\x00\xd8\x3d"), ENCODING_UTF16BE, STR(BAD BAD), 2);
    assert_becomes(STR("a"), ENCODING_UTF16LE, STR(BAD), 1);
    assert_becomes(STR("a\0b"), ENCODING_UTF16LE, STR("a" BAD), 1);
    assert_becomes(STR("\x3d\xd8\x00"), ENCODING_UTF16LE, STR(BAD BAD), 2);
}

static uint32_t decode(struct str s, size_t *n)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t bad_n;
    *n = json_utf8_len(s.p, s.n, &bad_n);
    switch (*n) {
    case 1:
        return p[0];
    case 2:
        return (p[0] & 31u) << 6 | (p[1] & 63u);
    case 3:
        return (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
    case 4:
        return (p[0] & 7u) << 18 | (p[1] & 63u) << 12 | (p[2] & 63u) << 6 | (p[3] & 63u);
    default:
        fail_msg("not UTF-8");
        return 0;
    }
}

static void every_character_comes_out_as_itself(void **state)
{
    (void)state;
    buf_init(&out, 64);
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xd800 && c < 0xe000)
            continue;
        uint32_t rest = c - 0x10000;
        unsigned units[2] = {c < 0x10000 ? c : 0xd800 | rest >> 10, 0xdc00 | (rest & 0x3ff)};
        unsigned char be[4];
        size_t n = c < 0x10000 ? 1 : 2;
        for (size_t i = 0; i < n; i++) {
            be[2 * i] = (unsigned char)(units[i] >> 8);
            be[2 * i + 1] = (unsigned char)units[i];
        }
        buf_reset(&out);
        assert_int_equal(encoding_to_utf8(&out, (struct str){(char *)be, 2 * n}, ENCODING_UTF16BE),
                         0);
        size_t used;
        if (decode(buf_str(&out), &used) != c || used != out.n)
            fail_msg("U+%04X", c);
    }
    buf_release(&out);
}

static void without_room_nothing_is_appended(void **state)
{
    (void)state;
    buf_init(&out, 3);
    encoding_to_utf8(&out, STR("\xff\xff"), ENCODING_LATIN1);
    assert_true(out.failed);
    assert_int_equal(out.n, 0);
    buf_release(&out);
}

/* Cut where encoding_fit says, what comes out fits, and one character more would not. */
static void assert_fit(struct str text, enum shape_encoding from, size_t room, size_t want)
{
    assert_int_equal(encoding_fit(text, from, room), want);
}

static void a_text_is_cut_between_characters(void **state)
{
    (void)state;
    assert_fit(STR("abc"), ENCODING_UTF8, 3, 3);
    assert_fit(STR("abc"), ENCODING_UTF8, 2, 2);
    assert_fit(STR("abc"), ENCODING_UTF8, 0, 0);
    assert_fit(STR("a\xe2\x82\xac!"), ENCODING_UTF8, 3, 1);
    assert_fit(STR("a\xe2\x82\xac!"), ENCODING_UTF8, 4, 4);
    assert_fit(STR("a\xe4!"), ENCODING_LATIN1, 2, 1);
    assert_fit(STR("a\xe4!"), ENCODING_LATIN1, 3, 2);
    assert_fit(STR("a\xe4!"), ENCODING_LATIN1, 4, 3);
    assert_fit(STR("a\0\xac\x20!\0"), ENCODING_UTF16LE, 3, 2);
    assert_fit(STR("a\0\xac\x20!\0"), ENCODING_UTF16LE, 4, 4);
    assert_fit(STR("\x3d\xd8\x00\xde!\0"), ENCODING_UTF16LE, 3, 0);
    assert_fit(STR("\x3d\xd8\x00\xde!\0"), ENCODING_UTF16LE, 4, 4);
    assert_fit(STR("\x3d\xd8\x00\xde!\0"), ENCODING_UTF16LE, 5, 6);
    assert_fit(STR("\xd8\x3d\0a"), ENCODING_UTF16BE, 3, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latin_1_is_the_character_of_each_byte_s_number),
        cmocka_unit_test(utf_8_stays_as_it_is),
        cmocka_unit_test(utf_16_in_both_orders),
        cmocka_unit_test(half_a_pair_is_replaced_and_counted),
        cmocka_unit_test(every_character_comes_out_as_itself),
        cmocka_unit_test(without_room_nothing_is_appended),
        cmocka_unit_test(a_text_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
