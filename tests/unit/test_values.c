#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/json.h"
#include "lib/rng.h"
#include "lib/values.h"

typedef bool put_fn(struct buf *b, struct str s);

/* want NULL: it must not fit, and nothing may be written. */
static void assert_put(put_fn *put, const char *text, const char *want)
{
    struct buf b;
    buf_init(&b, KIB);
    buf_puts(&b, "before:");
    size_t n = strlen(text);
    char *exact = malloc(n + (n == 0)); /* the sanitizers see a read too far */
    memcpy(exact, text, n);
    bool ok = put(&b, (struct str){exact, n});
    if (ok != (want != NULL) || strcmp(buf_cstr(&b) + 7, ok ? want : "") != 0)
        fail_msg("\"%s\": %s, wanted %s", text, buf_cstr(&b), want ? want : "(nothing)");
    if (ok)
        assert_true(json_valid((struct str){b.p + 7, b.n - 7}, NULL));
    free(exact);
    buf_release(&b);
}

static void an_int_is_a_sign_and_digits_copied_as_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"0", "0"},
        {"5", "5"},
        {"-5", "-5"},
        {"+5", "5"},
        {"007", "7"},
        {"-007", "-7"},
        {"000", "0"},
        {"-0", "-0"},
        {"123456789012345678901234567890", "123456789012345678901234567890"},
        {"", NULL},
        {"-", NULL},
        {"+", NULL},
        {"--5", NULL},
        {"+-5", NULL},
        {"-+5", NULL},
        {"5 ", NULL},
        {" 5", NULL},
        {"5.0", NULL},
        {"5e0", NULL},
        {"0x5", NULL},
        {"1,000", NULL},
        {"5\n", NULL},
        {"five", NULL},
        {"\xd9\xa5", NULL}, /* a digit, but not one of JSON's */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_put(value_put_int, cases[i].text, cases[i].want);
}

static void a_double_is_decimal_copied_as_text_and_mended(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"0", "0"},
        {"38.55042047", "38.55042047"},
        {"-121.3914158", "-121.3914158"},
        {"+1.5", "1.5"},
        {".5", "0.5"},
        {"-.5", "-0.5"},
        {"+.5", "0.5"},
        {"1.", "1.0"},
        {"-1.", "-1.0"},
        {"00.50", "0.50"},
        {"0001", "1"},
        {"1e5", "1e5"},
        {"1E5", "1E5"},
        {"1e+5", "1e+5"},
        {"1e-05", "1e-05"},
        {".5e3", "0.5e3"},
        {"1.e3", "1.0e3"},
        {"-0.0", "-0.0"},
        {"0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"},
        {"1e999999", "1e999999"},
        {"", NULL},
        {".", NULL},
        {"-", NULL},
        {"-.", NULL},
        {"e5", NULL},
        {".e5", NULL},
        {"1e", NULL},
        {"1e+", NULL},
        {"1e5.0", NULL},
        {"1e5e5", NULL},
        {"1.2.3", NULL},
        {"1,5", NULL},
        {"nan", NULL},
        {"NaN", NULL},
        {"inf", NULL},
        {"-Infinity", NULL},
        {"0x1p3", NULL},
        {"1 ", NULL},
        {" 1", NULL},
        {"1_000", NULL},
        {"1f", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_put(value_put_double, cases[i].text, cases[i].want);
}

static void a_bool_has_five_spellings_each_way_in_any_case(void **state)
{
    (void)state;
    static const char *const yes[] = {"true", "TRUE", "True", "t", "T",
                                      "yes",  "YES",  "y",    "Y", "1"};
    static const char *const no[] = {"false", "False", "f", "F", "no", "NO", "n", "N", "0"};
    static const char *const bad[] = {"",   "tru", "truee", "on",    "off", "2",  "-1",
                                      "01", "ye",  "null",  " true", "t ",  "11", "o"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_put(value_put_bool, yes[i], "true");
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_put(value_put_bool, no[i], "false");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_put(value_put_bool, bad[i], NULL);
}

static void a_nul_byte_fits_no_number(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, KIB);
    const struct str s = STR("5\0"), t = {"true\0", 5};
    assert_false(value_put_int(&b, s));
    assert_false(value_put_double(&b, s));
    assert_false(value_put_bool(&b, t));
    assert_int_equal(b.n, 0);
    buf_release(&b);
}

static void trimming_takes_blanks_off_both_ends_only(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {{"", ""},        {" ", ""},       {" \t ", ""}, {"a", "a"}, {"  a b \t", "a b"},
                 {"\na ", "\na"}, {"a\r ", "a\r"}, {"\ta", "a"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str got = value_trim(str_of(cases[i].text));
        assert_true(str_eq(got, str_of(cases[i].want)));
    }
    assert_int_equal(value_trim((struct str){0}).n, 0);
}

/* Whatever is accepted is one JSON value; whatever JSON calls an integer is accepted as it is. */
static void what_fits_is_json(void **state)
{
    (void)state;
    static const char alphabet[] = "0123456789+-.eE x";
    struct rng rng;
    rng_seed(&rng, 11);
    unsigned fitted = 0;
    for (unsigned i = 0; i < 200000; i++) {
        char text[8];
        size_t n = rng_below(&rng, sizeof text);
        for (size_t j = 0; j < n; j++)
            text[j] = alphabet[rng_below(&rng, sizeof alphabet - 1)];
        struct str s = {text, n};
        struct buf b;
        buf_init(&b, KIB);
        bool number = value_put_double(&b, s);
        fitted += number;
        if (number)
            assert_true(json_valid(buf_str(&b), NULL));
        bool plain = n > 0 && text[0] != ' ' && text[n - 1] != ' ' && json_valid(s, NULL);
        if (plain)
            assert_true(number && str_eq(buf_str(&b), s));
        buf_reset(&b);
        if (value_put_int(&b, s))
            assert_true(number && json_valid(buf_str(&b), NULL));
        buf_release(&b);
    }
    assert_true(fitted > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_int_is_a_sign_and_digits_copied_as_text),
        cmocka_unit_test(a_double_is_decimal_copied_as_text_and_mended),
        cmocka_unit_test(a_bool_has_five_spellings_each_way_in_any_case),
        cmocka_unit_test(a_nul_byte_fits_no_number),
        cmocka_unit_test(trimming_takes_blanks_off_both_ends_only),
        cmocka_unit_test(what_fits_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
