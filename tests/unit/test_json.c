#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/json.h"
#include "lib/rng.h"

#define FFFD "\xef\xbf\xbd"

/* A copy of exactly n bytes, so that the sanitizers see a read too far. */
static struct str exact(struct str s)
{
    char *p = calloc(1, s.n > 0 ? s.n : 1);
    memcpy(p, s.n > 0 ? s.p : "", s.n);
    return (struct str){p, s.n};
}

static void assert_put(struct str in, struct str want, unsigned replaced)
{
    struct buf b;
    buf_init(&b, MIB);
    struct str copy = exact(in);
    unsigned got = json_put_string(&b, copy);
    if (!str_eq(buf_str(&b), want) || got != replaced)
        fail_msg("%.*s (%u replaced), wanted %.*s (%u)", (int)b.n, b.p, got, (int)want.n, want.p,
                 replaced);
    assert_true(json_valid(buf_str(&b), NULL));
    free((char *)copy.p);
    buf_release(&b);
}

static void plain_strings_are_quoted_and_specials_escaped(void **state)
{
    (void)state;
    assert_put(STR(""), STR("\"\""), 0);
    assert_put((struct str){NULL, 0}, STR("\"\""), 0);
    assert_put(STR("abc"), STR("\"abc\""), 0);
    assert_put(STR("a\"b\\c/d"), STR("\"a\\\"b\\\\c/d\""), 0);
    assert_put(STR("\b\f\n\r\t"), STR("\"\\b\\f\\n\\r\\t\""), 0);
    assert_put(STR("\0\x01\x0b\x1f"), STR("\"\\u0000\\u0001\\u000b\\u001f\""), 0);
    assert_put(STR("\x7f <>&'"), STR("\"\x7f <>&'\""), 0);
    assert_put(STR("a\n"), STR("\"a\\n\""), 0);
    assert_put(STR("\na"), STR("\"\\na\""), 0);
}

static void valid_utf8_passes_as_it_is(void **state)
{
    (void)state;
    static const char *const good[] = {
        "\xc2\x80",           "\xdf\xbf",       "\xe0\xa0\x80",     "\xed\x9f\xbf",
        "\xee\x80\x80",       "\xef\xbf\xbf",   "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf",
        "gr\xc3\xbc\xc3\x9f", "\xe2\x82\xac 5", "\xf0\x9f\x98\x80", FFFD,
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        char want[32];
        snprintf(want, sizeof want, "\"%s\"", good[i]);
        assert_put(str_of(good[i]), str_of(want), 0);
    }
}

/* What Python's bytes.decode("utf-8", "replace") makes of the same bytes. */
static void invalid_utf8_is_replaced_by_maximal_subparts(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
        unsigned replaced;
    } cases[] = {
        {"\x80", FFFD, 1},
        {"\xbf\xbf", FFFD FFFD, 2},
        {"a\xc0\x80z", "a" FFFD FFFD "z", 2},
        {"\xc1\xbf", FFFD FFFD, 2},
        {"\xc2", FFFD, 1},
        {"\xc2z", FFFD "z", 1},
        {"\xc3\xc3\xbc", FFFD "\xc3\xbc", 1},
        {"\xe0\x80\x80", FFFD FFFD FFFD, 3},
        {"\xe0\x9f\xbf", FFFD FFFD FFFD, 3},
        {"\xe2\x82", FFFD, 1},
        {"\xe2\x82z", FFFD "z", 1},
        {"\xe2z", FFFD "z", 1},
        {"\xed\xa0\x80", FFFD FFFD FFFD, 3},
        {"\xed\xbf\xbf", FFFD FFFD FFFD, 3},
        {"\xf0\x80\x80\x80", FFFD FFFD FFFD FFFD, 4},
        {"\xf0\x9f\x98", FFFD, 1},
        {"\xf0\x9f\x98z", FFFD "z", 1},
        {"\xf0\x9f", FFFD, 1},
        {"\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD, 4},
        {"\xf5\x80\x80\x80", FFFD FFFD FFFD FFFD, 4},
        {"\xfe\xff", FFFD FFFD, 2},
        {"\xf8\x88\x80\x80\x80", FFFD FFFD FFFD FFFD FFFD, 5},
        {"\xf1\x80\x80\xe1\x80\xc2"
         "b",
         FFFD FFFD FFFD "b", 3},
        {"\xf0\x9f\x98\xf0\x9f\x98\x80", FFFD "\xf0\x9f\x98\x80", 1},
        {"\xe2\x82\"", FFFD "\\\"", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char want[64];
        snprintf(want, sizeof want, "\"%s\"", cases[i].want);
        assert_put(str_of(cases[i].in), str_of(want), cases[i].replaced);
    }
}

static void a_special_byte_is_found_wherever_it_stands(void **state)
{
    (void)state;
    static const char specials[] = {'"', '\\', '\n', '\x1f', '\0', '\x80', '\xff'};
    static const char harmless[] = {' ', '!', '#', '[', ']', '~', '\x7f'};
    for (size_t n = 0; n < 70; n++) {
        char text[70];
        for (size_t i = 0; i < n; i++)
            text[i] = harmless[i % sizeof harmless];
        struct str copy = exact((struct str){text, n});
        assert_int_equal(json_plain_len(copy.p, n), n);
        free((char *)copy.p);
        for (size_t at = 0; at < n; at++)
            for (size_t s = 0; s < sizeof specials; s++) {
                struct str one = exact((struct str){text, n});
                ((char *)one.p)[at] = specials[s];
                assert_int_equal(json_plain_len(one.p, n), at);
                free((char *)one.p);
            }
    }
}

static void a_full_buf_keeps_nothing_of_the_string(void **state)
{
    (void)state;
    struct str in = STR("abcdefghijklmnopqrstuvwxyz\n\"\x80 end");
    struct str want = STR("\"abcdefghijklmnopqrstuvwxyz\\n\\\"" FFFD " end\"");
    for (size_t max = 0; max <= want.n + 2; max++) {
        struct buf b;
        buf_init(&b, max);
        if (max > 0)
            buf_putc(&b, '[');
        size_t before = b.n;
        json_put_string(&b, in);
        assert_int_equal(b.failed, max < want.n + 1);
        assert_int_equal(b.n, b.failed ? before : before + want.n);
        buf_release(&b);
    }
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 11);
    for (int round = 0; round < 5000; round++) {
        char text[200];
        size_t n = 0, want = rng_below(&r, 150);
        while (n < want) {
            static const char *const pieces[] = {"a",
                                                 "\"",
                                                 "\\",
                                                 "\n",
                                                 "\x1f",
                                                 "\xc3\xbc",
                                                 "\xe2\x82\xac",
                                                 "\xf0\x9f\x98\x80",
                                                 "plain text ",
                                                 "\x7f",
                                                 "0123456789abcdefgh"};
            struct str piece = str_of(pieces[rng_below(&r, ARRAY_LEN(pieces))]);
            memcpy(text + n, piece.p, piece.n);
            n += piece.n;
        }
        struct buf b, back;
        buf_init(&b, MIB);
        buf_init(&back, MIB);
        assert_int_equal(json_put_string(&b, (struct str){text, n}), 0);
        struct json_scan s;
        json_scan_init(&s, buf_str(&b));
        assert_int_equal(json_scan_next(&s), JSON_STRING);
        assert_int_equal(json_scan_next(&s), JSON_END);
        json_unescape(&back, (struct str){b.p + 1, b.n - 2});
        assert_true(str_eq(buf_str(&back), (struct str){text, n}));
        buf_release(&b);
        buf_release(&back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_strings_are_quoted_and_specials_escaped),
        cmocka_unit_test(valid_utf8_passes_as_it_is),
        cmocka_unit_test(invalid_utf8_is_replaced_by_maximal_subparts),
        cmocka_unit_test(a_special_byte_is_found_wherever_it_stands),
        cmocka_unit_test(a_full_buf_keeps_nothing_of_the_string),
        cmocka_unit_test(what_is_written_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
