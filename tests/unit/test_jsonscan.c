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

/* The tokens as letters: { [ ) k s n t f 0, then . for the end or ! for bad. */
static void tokens(struct str text, char *out, size_t cap)
{
    static const char letters[] = ".{[)ksntf0";
    struct json_scan s;
    json_scan_init(&s, text);
    enum json_token t;
    size_t n = 0;
    do {
        t = json_scan_next(&s);
        assert_true(n + 2 < cap);
        out[n++] = t == JSON_BAD ? '!' : letters[t];
    } while (t > JSON_END);
    out[n] = '\0';
    assert_int_equal(json_scan_next(&s), t); /* both ends are final */
}

static void tokens_come_in_document_order(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{}", "{)."},
        {"[]", "[)."},
        {" [ ] ", "[)."},
        {"null", "0."},
        {"\t\r\n true ", "t."},
        {"-0.5e+10", "n."},
        {"\"x\"", "s."},
        {"{\"a\":1}", "{kn)."},
        {"{\"a\":{\"b\":[]},\"c\":[1,\"\",false]}", "{k{k[))k[nsf))."},
        {"[[],{},[[]]]", "[[){)[[)))."},
        {"[1,2", "[nn!"},
        {"[1 2]", "[n!"},
        {"{\"a\" 1}", "{k!"},
        {"1 1", "n!"},
        {"", "!"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char got[64];
        tokens(str_of(cases[i][0]), got, sizeof got);
        if (strcmp(got, cases[i][1]) != 0)
            fail_msg("%s gave %s, wanted %s", cases[i][0], got, cases[i][1]);
    }
}

static void a_token_is_the_text_as_it_stands(void **state)
{
    (void)state;
    struct json_scan s;
    json_scan_init(&s, STR(" {\"k\\u0041\" : \"v\\n\xc3\xbc\", \"\":-1.50E2,\"t\":true} "));
    assert_int_equal(json_scan_next(&s), JSON_OBJECT);
    assert_true(str_eq(s.token, STR("{")));
    assert_int_equal(s.depth, 1);
    assert_int_equal(json_scan_next(&s), JSON_KEY);
    assert_true(str_eq(s.token, STR("k\\u0041")));
    assert_true(s.escaped);
    assert_int_equal(json_scan_next(&s), JSON_STRING);
    assert_true(str_eq(s.token, STR("v\\n\xc3\xbc")));
    assert_true(s.escaped);
    assert_int_equal(json_scan_next(&s), JSON_KEY);
    assert_true(str_eq(s.token, STR("")));
    assert_false(s.escaped);
    assert_int_equal(json_scan_next(&s), JSON_NUMBER);
    assert_true(str_eq(s.token, STR("-1.50E2")));
    assert_int_equal(json_scan_next(&s), JSON_KEY);
    assert_int_equal(json_scan_next(&s), JSON_TRUE);
    assert_true(str_eq(s.token, STR("true")));
    assert_int_equal(json_scan_next(&s), JSON_CLOSE);
    assert_true(str_eq(s.token, STR("}")));
    assert_int_equal(s.depth, 0);
    assert_int_equal(json_scan_next(&s), JSON_END);
}

static const char *const accepted[] = {
    "0",
    "-0",
    "1",
    "-1",
    "10",
    "1.0",
    "0.0",
    "-0.0",
    "1e1",
    "1E1",
    "1e+1",
    "1e-1",
    "0e0",
    "0E+0",
    "1.5e300",
    "123456789012345678901234567890",
    "1e99999",
    "-1.7976931348623157e400",
    "true",
    "false",
    "null",
    "\"\"",
    "\" \"",
    "[]",
    "{}",
    "[[[[]]]]",
    "[1,2,3]",
    "[null]",
    "[ 1 , 2 ]",
    "{\"a\":1,\"a\":2}",
    "{\"\":0}",
    "{\"a\":[{\"b\":null}]}",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0000\"",
    "\"\\uD800\"",
    "\"\\udc00\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\\uabCD\"",
    "\"\x7f\"",
    "\"\xc2\x80\"",
    "\"\xf4\x8f\xbf\xbf\"",
    "\"\xef\xbb\xbf\"",
    "\t\n\r [\t\n\r ]\t\n\r ",
    "\"/\"",
    "\"\xe2\x80\xa8\"",
    "[\"\\\\\"]",
};

static const struct {
    const char *text;
    size_t at; /* where it goes wrong */
} refused[] = {
    /* values */
    {"", 0},
    {" ", 1},
    {"nul", 3},
    {"nulL", 3},
    {"True", 0},
    {"tru", 3},
    {"truex", 4},
    {"NaN", 0},
    {"Infinity", 0},
    {"-Infinity", 1},
    {"undefined", 0},
    {"'a'", 0},
    {"a", 0},
    {"\xef\xbb\xbf{}", 0},
    {"1 2", 2},
    {"{}}", 2},
    {"[]]", 2},
    {"[] []", 3},
    {"\"a\" \"b\"", 4},
    {"//x\n1", 0},
    {"/**/1", 0},
    {"1//", 1},
    {"#", 0},
    {"\v1", 0},
    {"\f1", 0},
    {"\xc2\xa0"
     "1",
     0},
    {"[1]\x01", 3},
    /* numbers */
    {"+1", 0},
    {".5", 0},
    {"-", 1},
    {"-a", 1},
    {"1.", 2},
    {"1.e1", 2},
    {"-.5", 1},
    {"01", 1},
    {"-01", 2},
    {"00", 1},
    {"1e", 2},
    {"1e+", 3},
    {"1E-", 3},
    {"1ee1", 2},
    {"0x10", 1},
    {"1_0", 1},
    {"1,0", 1},
    {"1.2.3", 3},
    {"1e1.5", 3},
    {"--1", 1},
    {"-+1", 1},
    {"[1.]", 3},
    {"[-]", 2},
    {"\xef\xbc\x91", 0},
    {"1f", 1},
    /* arrays */
    {"[", 1},
    {"]", 0},
    {"[1", 2},
    {"[1,", 3},
    {"[1,]", 3},
    {"[,1]", 1},
    {"[,]", 1},
    {"[1,,2]", 3},
    {"[1}", 2},
    {"[1:2]", 2},
    {"[\"a\" 1]", 5},
    {"[1]]", 3},
    {"[:", 1},
    {"[1 true]", 3},
    {"[[", 2},
    {"[\"a\":1]", 4},
    {"[{]", 2},
    /* objects */
    {"{", 1},
    {"}", 0},
    {"{]", 1},
    {"{1:1}", 1},
    {"{a:1}", 1},
    {"{'a':1}", 1},
    {"{\"a\"}", 4},
    {"{\"a\":}", 5},
    {"{\"a\":1", 6},
    {"{\"a\":1,", 7},
    {"{\"a\":1,}", 7},
    {"{,}", 1},
    {"{\"a\":1,,\"b\":2}", 7},
    {"{\"a\":1 \"b\":2}", 7},
    {"{\"a\"::1}", 5},
    {"{\"a\":1:2}", 6},
    {"{\"a\":1]", 6},
    {"{\"a\",1}", 4},
    {"{null:1}", 1},
    {"{\"a\"", 4},
    {"{\"a\":", 5},
    {"{:1}", 1},
    {"{\"a\":1}}", 7},
    {"{[]:1}", 1},
    /* strings */
    {"\"", 1},
    {"\"a", 2},
    {"\"\\", 2},
    {"\"\\\"", 3},
    {"\"\\a\"", 2},
    {"\"\\'\"", 2},
    {"\"\\x41\"", 2},
    {"\"\\u\"", 3},
    {"\"\\u12\"", 5},
    {"\"\\u123\"", 6},
    {"\"\\u123g\"", 6},
    {"\"\\u", 3},
    {"\"\\u123", 6},
    {"\"\\U0041\"", 2},
    {"\"\n\"", 1},
    {"\"\t\"", 1},
    {"\"a\x1f\"", 2},
    {"\"\\\n\"", 2},
    {"\"\x80\"", 1},
    {"\"\xc0\x80\"", 1},
    {"\"\xe2\x82\"", 1},
    {"\"\xed\xa0\x80\"", 1},
    {"\"\xc3", 1},
    {"\"\xf4\x90\x80\x80\"", 1},
    {"\"\xff\"", 1},
    {"\"abcdefghijklmnopqrstuvw\x01xyz\"", 24},
    {"{\"\x80\":1}", 2},
};

static void the_grammar_of_rfc_8259_is_taken_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(accepted); i++) {
        struct str copy = exact(str_of(accepted[i]));
        size_t at = 999;
        if (!json_valid(copy, &at) || at != 999)
            fail_msg("refused at %zu: %s", at, accepted[i]);
        free((char *)copy.p);
    }
}

static void anything_looser_is_refused_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct str copy = exact(str_of(refused[i].text));
        size_t at = 999;
        if (json_valid(copy, &at) || at != refused[i].at)
            fail_msg("went wrong at %zu, wanted %zu: %s", at, refused[i].at, refused[i].text);
        assert_false(json_valid(copy, NULL));
        free((char *)copy.p);
    }
}

static void a_nul_is_not_white_space_and_not_string_data(void **state)
{
    (void)state;
    size_t at = 0;
    assert_false(json_valid((struct str){"1\0", 2}, &at));
    assert_int_equal(at, 1);
    assert_false(json_valid((struct str){"\"\0\"", 3}, &at));
    assert_int_equal(at, 1);
    assert_false(json_valid((struct str){"\"\\\0\"", 4}, &at));
    assert_int_equal(at, 2);
    assert_false(json_valid((struct str){"[\0]", 3}, &at));
    assert_int_equal(at, 1);
}

static void every_prefix_of_a_document_is_cut_short(void **state)
{
    (void)state;
    struct str whole =
        STR("{\"key\\u00e4\": [1.5e-3, true, null, {\"\xe2\x82\xac\":\"\\ud83d\\ude00"
            " and some more text\"}], \"b\":false}");
    assert_true(json_valid(whole, NULL));
    for (size_t n = 0; n < whole.n; n++) {
        struct str copy = exact((struct str){whole.p, n});
        size_t at = 999;
        if (json_valid(copy, &at) || at > n)
            fail_msg("the first %zu bytes: wrong at %zu", n, at);
        free((char *)copy.p);
    }
}

static void nesting_is_allowed_to_the_limit_and_not_past_it(void **state)
{
    (void)state;
    char text[4 * JSON_DEPTH_MAX + 8];
    for (size_t depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
        size_t at = 999;
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        bool ok = depth <= JSON_DEPTH_MAX;
        assert_int_equal(json_valid((struct str){text, 2 * depth}, &at), ok);
        assert_int_equal(at, ok ? 999 : JSON_DEPTH_MAX);
    }
    memset(text, '[', sizeof text);
    assert_false(json_valid((struct str){text, sizeof text}, NULL));
}

static void brackets_must_match_at_every_depth(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 5);
    for (int round = 0; round < 200; round++) {
        char text[JSON_DEPTH_MAX * 8], stack[JSON_DEPTH_MAX];
        size_t n = 0, depth = 1 + rng_below(&r, JSON_DEPTH_MAX);
        for (size_t i = 0; i < depth; i++) {
            bool array = rng_below(&r, 2) == 0;
            n += (size_t)snprintf(text + n, sizeof text - n, array ? "[" : "{\"a\":");
            stack[i] = array ? ']' : '}';
        }
        text[n++] = '1';
        size_t first_close = n;
        for (size_t i = depth; i-- > 0;)
            text[n++] = stack[i];
        assert_true(json_valid((struct str){text, n}, NULL));
        size_t wrong = first_close + rng_below(&r, depth), at = 0;
        text[wrong] = text[wrong] == ']' ? '}' : ']';
        assert_false(json_valid((struct str){text, n}, &at));
        assert_int_equal(at, wrong);
    }
}

static void skip_moves_past_the_closing_bracket(void **state)
{
    (void)state;
    struct json_scan s;
    json_scan_init(&s, STR("[{\"a\":[1,{\"b\":[]}]},[],7]"));
    assert_int_equal(json_scan_next(&s), JSON_ARRAY);
    assert_int_equal(json_scan_next(&s), JSON_OBJECT);
    assert_int_equal(json_scan_skip(&s), JSON_CLOSE);
    assert_int_equal(s.depth, 1);
    assert_int_equal(json_scan_next(&s), JSON_ARRAY);
    assert_int_equal(json_scan_skip(&s), JSON_CLOSE);
    assert_int_equal(json_scan_next(&s), JSON_NUMBER);
    assert_int_equal(json_scan_next(&s), JSON_CLOSE);
    assert_int_equal(json_scan_next(&s), JSON_END);
    json_scan_init(&s, STR("[{\"a\":[1,}]}]"));
    json_scan_next(&s);
    json_scan_next(&s);
    assert_int_equal(json_scan_skip(&s), JSON_BAD);
    assert_int_equal(json_scan_next(&s), JSON_BAD);
    assert_int_equal(s.at, 9);
}

static void assert_unescaped(struct str token, struct str want)
{
    struct buf b;
    buf_init(&b, KIB);
    struct str copy = exact(token);
    json_unescape(&b, copy);
    if (!str_eq(buf_str(&b), want))
        fail_msg("%.*s became %.*s", (int)token.n, token.p, (int)b.n, b.p);
    free((char *)copy.p);
    buf_release(&b);
}

static void escapes_are_undone(void **state)
{
    (void)state;
    assert_unescaped(STR(""), STR(""));
    assert_unescaped(STR("plain"), STR("plain"));
    assert_unescaped(STR("a\\\"\\\\\\/\\b\\f\\n\\r\\tz"), STR("a\"\\/\b\f\n\r\tz"));
    assert_unescaped(STR("\\u0041\\u00e4\\u20AC\\uFFFF"), STR("A\xc3\xa4\xe2\x82\xac\xef\xbf\xbf"));
    assert_unescaped(STR("\\u0000"), STR("\0"));
    assert_unescaped(STR("\\u007f\\u0080\\u07ff\\u0800"), STR("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80"));
    assert_unescaped(STR("\\ud83d\\ude00"), STR("\xf0\x9f\x98\x80"));
    assert_unescaped(STR("\\uD800\\uDC00\\uDBFF\\uDFFF"), STR("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"));
}

static void half_a_surrogate_pair_becomes_the_replacement_character(void **state)
{
    (void)state;
    assert_unescaped(STR("\\ud800"), STR(FFFD));
    assert_unescaped(STR("\\udc00x"), STR(FFFD "x"));
    assert_unescaped(STR("\\ud800\\ud800\\udc00"), STR(FFFD "\xf0\x90\x80\x80"));
    assert_unescaped(STR("\\udc00\\ud800"), STR(FFFD FFFD));
    assert_unescaped(STR("\\ud800\\u0041"), STR(FFFD "A"));
    assert_unescaped(STR("\\ud800\\n\\udc00"), STR(FFFD "\n" FFFD));
}

static void text_that_is_no_token_is_unescaped_without_harm(void **state)
{
    (void)state;
    assert_unescaped(STR("\\"), STR(FFFD));
    assert_unescaped(STR("\\q"), STR(FFFD));
    assert_unescaped(STR("\\\0z"), STR(FFFD "z"));
    assert_unescaped(STR("\\u"), STR(FFFD));
    assert_unescaped(STR("\\u12"), STR(FFFD "12"));
    assert_unescaped(STR("\\ud800\\u12"), STR(FFFD FFFD "12"));
}

/* The elements, each with a bar behind it, then how it ended; "offset" of what was bad. The text
 * moves in memory between two calls, and nothing may be read behind it. */
static void split(struct str text, char *out, size_t cap)
{
    size_t at = 0, n = 0;
    out[0] = '\0';
    for (;;) {
        char *copy = malloc(text.n > 0 ? text.n : 1);
        memcpy(copy, text.p, text.n);
        struct str element = {0};
        enum json_split r = json_split_next((struct str){copy, text.n}, &at, &element);
        if (r == JSON_SPLIT_ELEMENT)
            n += (size_t)snprintf(out + n, cap - n, "%.*s|", (int)element.n, element.p);
        free(copy);
        if (r == JSON_SPLIT_ELEMENT)
            continue;
        if (r == JSON_SPLIT_BAD)
            snprintf(out + n, cap - n, "bad at %zu", at);
        else
            assert_int_equal(at, text.n);
        return;
    }
}

static void assert_split(const char *text, const char *want)
{
    char got[256];
    split(str_of(text), got, sizeof got);
    assert_string_equal(got, want);
}

static void an_array_is_split_into_its_elements(void **state)
{
    (void)state;
    assert_split("[1,2]", "1|2|");
    assert_split(" [ 1 , {\"a\" : [1, 2]} ,[3 ],\"x,]\", null ] \n",
                 "1|{\"a\" : [1, 2]}|[3 ]|\"x,]\"|null|");
    assert_split("[]", "");
    assert_split(" [ \t] ", "");
    assert_split("[[]]", "[]|");
    assert_split("[{}]", "{}|");
}

static void what_is_no_array_of_values_is_refused_where_it_goes_wrong(void **state)
{
    (void)state;
    assert_split("", "bad at 0");
    assert_split("{\"a\":1}", "bad at 0");
    assert_split("1", "bad at 0");
    assert_split("[", "bad at 1");
    assert_split("[,", "bad at 1");
    assert_split("[1", "bad at 2");
    assert_split("[1,", "bad at 3");
    assert_split("[1,]", "1|bad at 3");
    assert_split("[1 2]", "bad at 3");
    assert_split("[01]", "bad at 2");
    assert_split("[1,2}", "1|bad at 4");
    assert_split("[1] x", "bad at 4");
    assert_split("[] x", "bad at 3");
    assert_split("[1,{\"a\"},3]", "1|bad at 7");
    assert_split("[1,\"\xff\"]", "1|bad at 4");
}

static void the_last_element_is_known_as_such(void **state)
{
    (void)state;
    struct str text = STR("[1, 2 ] "), element;
    size_t at = 0;
    assert_int_equal(json_split_next(text, &at, &element), JSON_SPLIT_ELEMENT);
    assert_true(at < text.n);
    assert_int_equal(json_split_next(text, &at, &element), JSON_SPLIT_ELEMENT);
    assert_int_equal(at, text.n);
    assert_int_equal(json_split_next(text, &at, &element), JSON_SPLIT_END);
}

static void an_array_is_known_by_its_first_byte(void **state)
{
    (void)state;
    assert_true(json_is_array(STR("[")));
    assert_true(json_is_array(STR(" \t\r\n[1]")));
    assert_false(json_is_array(STR("{\"a\":[]}")));
    assert_false(json_is_array(STR("")));
    assert_false(json_is_array(STR("  ")));
}

static void nesting_counts_the_array_that_is_split(void **state)
{
    (void)state;
    char text[2 * JSON_DEPTH_MAX + 3];
    for (unsigned depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct str element, all = {text, 2 * depth};
        size_t at = 0;
        enum json_split got = json_split_next(all, &at, &element);
        assert_int_equal(got, depth == JSON_DEPTH_MAX ? JSON_SPLIT_ELEMENT : JSON_SPLIT_BAD);
        assert_int_equal(json_valid(all, NULL), depth == JSON_DEPTH_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_come_in_document_order),
        cmocka_unit_test(a_token_is_the_text_as_it_stands),
        cmocka_unit_test(the_grammar_of_rfc_8259_is_taken_whole),
        cmocka_unit_test(anything_looser_is_refused_with_its_place),
        cmocka_unit_test(a_nul_is_not_white_space_and_not_string_data),
        cmocka_unit_test(every_prefix_of_a_document_is_cut_short),
        cmocka_unit_test(nesting_is_allowed_to_the_limit_and_not_past_it),
        cmocka_unit_test(brackets_must_match_at_every_depth),
        cmocka_unit_test(skip_moves_past_the_closing_bracket),
        cmocka_unit_test(escapes_are_undone),
        cmocka_unit_test(half_a_surrogate_pair_becomes_the_replacement_character),
        cmocka_unit_test(text_that_is_no_token_is_unescaped_without_harm),
        cmocka_unit_test(an_array_is_split_into_its_elements),
        cmocka_unit_test(what_is_no_array_of_values_is_refused_where_it_goes_wrong),
        cmocka_unit_test(the_last_element_is_known_as_such),
        cmocka_unit_test(an_array_is_known_by_its_first_byte),
        cmocka_unit_test(nesting_counts_the_array_that_is_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
