#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/pattern.h"

static struct pattern *make(const char *text, enum pattern_where where)
{
    struct err e;
    struct pattern *p = pattern_new(text, where, &e);
    if (p == NULL)
        fail_msg("%s: %s", text, e.text);
    return p;
}

static void assert_group(const struct pattern *p, struct str text, size_t i, const char *want)
{
    struct str got = pattern_group(p, text, i);
    if (want == NULL ? got.p != NULL : got.p == NULL || !str_eq(got, str_of(want)))
        fail_msg("group %zu is %.*s", i, (int)got.n, got.p != NULL ? got.p : "");
}

static void named_groups_come_in_the_order_in_which_they_open(void **state)
{
    (void)state;
    struct pattern *p = make("(?<zeta>(?<beta>\\d+)-(x)(?<alpha>y))|(?<other>z)", PATTERN_WHOLE);
    static const char *const names[] = {"zeta", "beta", "alpha", "other"};
    assert_int_equal(pattern_names_n(p), 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(pattern_name(p, i), names[i]);
    struct str text = STR("42-xy");
    assert_int_equal(pattern_match(p, text), PATTERN_YES);
    assert_group(p, text, 0, "42-xy");
    assert_group(p, text, 1, "42");
    assert_group(p, text, 2, "y");
    assert_group(p, text, 3, NULL);
    text = STR("z");
    assert_int_equal(pattern_match(p, text), PATTERN_YES);
    assert_group(p, text, 0, NULL);
    assert_group(p, text, 3, "z");
    pattern_free(p);
    pattern_free(NULL);
}

static void the_whole_text_must_match_or_its_beginning(void **state)
{
    (void)state;
    struct pattern *p = make("(?<a>b+)", PATTERN_WHOLE);
    assert_int_equal(pattern_match(p, STR("bb")), PATTERN_YES);
    assert_int_equal(pattern_match(p, STR("bbc")), PATTERN_NO);
    assert_int_equal(pattern_match(p, STR("abb")), PATTERN_NO);
    assert_int_equal(pattern_match(p, STR("bb\n")), PATTERN_NO);
    assert_int_equal(pattern_match(p, STR("")), PATTERN_NO);
    pattern_free(p);
    p = make("(?<a>b+)", PATTERN_START);
    assert_int_equal(pattern_match(p, STR("bbc")), PATTERN_YES);
    assert_int_equal(pattern_match(p, STR("abb")), PATTERN_NO);
    pattern_free(p);
    p = make("(?<a>.*)", PATTERN_WHOLE);
    assert_int_equal(pattern_match(p, (struct str){0}), PATTERN_YES);
    assert_int_equal(pattern_match(p, STR("a\0b")), PATTERN_YES);
    pattern_free(p);
}

static void bytes_match_unless_characters_are_asked_for(void **state)
{
    (void)state;
    struct pattern *p = make("(?<a>.)", PATTERN_WHOLE);
    assert_int_equal(pattern_match(p, STR("\xff")), PATTERN_YES);
    assert_int_equal(pattern_match(p, STR("\xc3\xa4")), PATTERN_NO);
    pattern_free(p);
    p = make("(*UTF)(?<a>.)", PATTERN_WHOLE);
    assert_int_equal(pattern_match(p, STR("\xc3\xa4")), PATTERN_YES);
    assert_int_equal(pattern_match(p, STR("\xff")), PATTERN_NO);
    pattern_free(p);
}

static void what_is_no_pattern_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "(?<a>", "a(b", "*", "[z-a]", "(?<1>x)", "\\C", "(?J)(?<a>x)|(?<a>y)"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct err e = {0};
        assert_null(pattern_new(wrong[i], PATTERN_WHOLE, &e));
        assert_true(e.code < 0 && e.text[0] != '\0');
        assert_null(pattern_new(wrong[i], PATTERN_WHOLE, NULL));
    }
    struct err e;
    assert_null(pattern_new("ab(c", PATTERN_WHOLE, &e));
    assert_memory_equal(e.text, "at byte 4: ", 11);
    char *long_one = malloc(PATTERN_TEXT_MAX + 2);
    memset(long_one, 'a', PATTERN_TEXT_MAX + 1);
    long_one[PATTERN_TEXT_MAX + 1] = '\0';
    assert_null(pattern_new(long_one, PATTERN_WHOLE, &e));
    long_one[PATTERN_TEXT_MAX] = '\0';
    pattern_free(make(long_one, PATTERN_WHOLE));
    free(long_one);
}

static void a_pattern_that_runs_away_is_stopped(void **state)
{
    (void)state;
    static const char *const runaways[] = {
        "(?<a>(a+)+)c?b",   "(?<a>(a|aa)+)c?b", "(?<a>(a*)*)*c?b", "(?<a>(?:.*+x|a)*)c?b!",
        "(?<a>(?:a|b)*)c!", "(?<a>.*a){20}c?b", "(?<a>(?R)?a)*c"};
    static const size_t sizes[] = {100, 10 * KIB, MIB};
    char *text = malloc(MIB);
    for (size_t i = 0; i < ARRAY_LEN(runaways); i++) {
        struct pattern *p = make(runaways[i], PATTERN_WHOLE);
        bool limited = false;
        for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
            memset(text, 'a', sizes[k]);
            memcpy(text + sizes[k] - 4, "bc!?", 4);
            enum pattern_result r = pattern_match(p, (struct str){text, sizes[k]});
            assert_true(r == PATTERN_LIMIT || r == PATTERN_NO);
            limited |= r == PATTERN_LIMIT;
        }
        if (!limited)
            fail_msg("%s: was never stopped", runaways[i]);
        pattern_free(p);
    }
    free(text);
}

/* What people write must not meet the limits, also in long lines. */
static void a_sound_pattern_takes_long_lines(void **state)
{
    (void)state;
    struct pattern *p = make("(?<time>\\S+) (?<level>[A-Z]+) (?<text>.*)", PATTERN_WHOLE);
    char *text = malloc(MIB);
    memset(text, 'x', MIB);
    memcpy(text, "12:00 WARN ", 11);
    assert_int_equal(pattern_match(p, (struct str){text, MIB}), PATTERN_YES);
    assert_int_equal(pattern_group(p, (struct str){text, MIB}, 2).n, MIB - 11);
    pattern_free(p);
    p = make("(?<head>.*?) ERROR (?<text>.*)", PATTERN_WHOLE);
    memcpy(text + 16000, " ERROR ", 7);
    assert_int_equal(pattern_match(p, (struct str){text, 16 * KIB}), PATTERN_YES);
    assert_int_equal(pattern_group(p, (struct str){text, 16 * KIB}, 0).n, 16000);
    pattern_free(p);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_groups_come_in_the_order_in_which_they_open),
        cmocka_unit_test(the_whole_text_must_match_or_its_beginning),
        cmocka_unit_test(bytes_match_unless_characters_are_asked_for),
        cmocka_unit_test(what_is_no_pattern_is_refused_with_its_place),
        cmocka_unit_test(a_pattern_that_runs_away_is_stopped),
        cmocka_unit_test(a_sound_pattern_takes_long_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
