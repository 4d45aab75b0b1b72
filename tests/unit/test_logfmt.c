#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/logfmt.h"

static struct logfmt_pair pairs[LOGFMT_PAIRS_MAX];
static size_t n;
static struct buf scratch;

static int set_up(void **state)
{
    (void)state;
    buf_init(&scratch, 4 * MIB);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_release(&scratch);
    return 0;
}

/* Pairs as key, value, key, value; a bare key has the value NULL. */
static void assert_pairs(const char *text, size_t wanted_n, const char *const *wanted)
{
    size_t line_n = strlen(text);
    char *line = malloc(line_n + 1);
    memcpy(line, text, line_n);
    if (logfmt_parse((struct str){line, line_n}, &scratch, pairs, &n) != LOGFMT_LINE)
        fail_msg("%s: is refused", text);
    assert_int_equal(n, wanted_n);
    for (size_t i = 0; i < n; i++) {
        const char *key = wanted[2 * i], *value = wanted[2 * i + 1];
        bool bare = pairs[i].value.p == logfmt_bare;
        if (!str_eq(pairs[i].key, str_of(key)) || bare != (value == NULL) ||
            (!bare && !str_eq(pairs[i].value, str_of(value))))
            fail_msg("%s: pair %zu is %.*s=%.*s", text, i, (int)pairs[i].key.n, pairs[i].key.p,
                     (int)pairs[i].value.n, pairs[i].value.p);
    }
    free(line);
}

#define PAIRS(line, ...)                                                                           \
    assert_pairs(line, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *) / 2,                 \
                 (const char *const[]){__VA_ARGS__})

static void pairs_stand_apart_by_blanks(void **state)
{
    (void)state;
    PAIRS("level=info msg=hello", "level", "info", "msg", "hello");
    PAIRS("  a=1\t b=2  ", "a", "1", "b", "2");
    PAIRS("a=", "a", "");
    PAIRS("a= b=", "a", "", "b", "");
    PAIRS("url=http://x/?a=b&c=d", "url", "http://x/?a=b&c=d");
    PAIRS("a=b\"c", "a", "b\"c");
    PAIRS("\xc3\xa4=\xff", "\xc3\xa4", "\xff");
}

static void a_bare_key_is_true(void **state)
{
    (void)state;
    PAIRS("cached a=1", "cached", NULL, "a", "1");
    PAIRS("a=1 cached", "a", "1", "cached", NULL);
    assert_string_equal(logfmt_bare, "true");
    /* The word by itself is a value like any other. */
    PAIRS("a=true", "a", "true");
}

static void quotes_hold_blanks_and_escapes(void **state)
{
    (void)state;
    PAIRS("a=\"b c\" d=e", "a", "b c", "d", "e");
    PAIRS("a=\"\"", "a", "");
    PAIRS("a=\"x=y\"", "a", "x=y");
    PAIRS("a=\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "a", "\"\\/\b\f\n\r\t");
    PAIRS("a=\"\\u00fc\\ud83d\\ude00\" b=c", "a", "\xc3\xbc\xf0\x9f\x98\x80", "b", "c");
    PAIRS("a=\"\\ud83d!\"", "a", "\xef\xbf\xbd!");
    PAIRS("a=\"\\ud83d\\u0041\"", "a",
          "\xef\xbf\xbd"
          "A");
    PAIRS("a=\"C:\\dir\\x\"", "a", "C:\\dir\\x");
    PAIRS("a=\"\\u12\"", "a", "\\u12");
    PAIRS("a=\"\\u12g4\\u\"", "a", "\\u12g4\\u");
    PAIRS("a=\"\\x\" b=\"\\n\" c=\\n", "a", "\\x", "b", "\n", "c", "\\n");
}

static void of_a_repeated_key_the_first_counts(void **state)
{
    (void)state;
    PAIRS("a=1 a=2 b=3 a=4 b=5", "a", "1", "b", "3");
    PAIRS("a a=2", "a", NULL);
}

static void what_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",         " ",       "just some words", "=1",        "a=1 =2",  "\"a\"=1",   "a\"b=1",
        "a=\"b",    "a=\"",    "a=\"b\"c",        "a=\"b\"=c", "a=\"b\\", "a=\"b\\\"", "a=1 \"b\"",
        "a=\"\\\\", "a=1 b\"", "{\"a\": 1}",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        n = 77;
        size_t line_n = strlen(lines[i]);
        char *line = malloc(line_n + 1);
        memcpy(line, lines[i], line_n);
        if (logfmt_parse((struct str){line, line_n}, &scratch, pairs, &n) != LOGFMT_NO)
            fail_msg("%s: is taken", lines[i]);
        assert_int_equal(n, 77);
        free(line);
    }
}

static void pairs_are_bounded_in_number(void **state)
{
    (void)state;
    struct buf line;
    buf_init(&line, MIB);
    for (unsigned i = 0; i < LOGFMT_PAIRS_MAX; i++)
        buf_printf(&line, "k%u=%u ", i, i);
    assert_int_equal(logfmt_parse(buf_str(&line), &scratch, pairs, &n), LOGFMT_LINE);
    assert_int_equal(n, LOGFMT_PAIRS_MAX);
    for (unsigned i = 0; i < 1000; i++)
        buf_printf(&line, "k%u=x ", i % LOGFMT_PAIRS_MAX); /* known already */
    assert_int_equal(logfmt_parse(buf_str(&line), &scratch, pairs, &n), LOGFMT_LINE);
    assert_int_equal(n, LOGFMT_PAIRS_MAX);
    buf_puts(&line, "more=1");
    assert_int_equal(logfmt_parse(buf_str(&line), &scratch, pairs, &n), LOGFMT_NO);
    buf_release(&line);
}

static void scratch_never_moves_under_a_value(void **state)
{
    (void)state;
    struct buf line;
    buf_init(&line, MIB);
    for (unsigned i = 0; i < LOGFMT_PAIRS_MAX; i++)
        buf_printf(&line, "k%u=\"%0*u\\t\" ", i, 900, i);
    assert_int_equal(logfmt_parse(buf_str(&line), &scratch, pairs, &n), LOGFMT_LINE);
    for (unsigned i = 0; i < LOGFMT_PAIRS_MAX; i++) {
        char want[1000];
        snprintf(want, sizeof want, "%0*u\t", 900, i);
        assert_true(str_eq(pairs[i].value, str_of(want)));
    }
    buf_release(&line);
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    struct buf none;
    buf_init(&none, 2);
    assert_int_equal(logfmt_parse(STR("a=\"\\n\""), &none, pairs, &n), LOGFMT_NOMEM);
    assert_int_equal(logfmt_parse(STR("a=\"no escape\""), &none, pairs, &n), LOGFMT_LINE);
    buf_release(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_stand_apart_by_blanks),
        cmocka_unit_test(a_bare_key_is_true),
        cmocka_unit_test(quotes_hold_blanks_and_escapes),
        cmocka_unit_test(of_a_repeated_key_the_first_counts),
        cmocka_unit_test(what_is_none_is_refused),
        cmocka_unit_test(pairs_are_bounded_in_number),
        cmocka_unit_test(scratch_never_moves_under_a_value),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
