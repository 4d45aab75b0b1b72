#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/ask.h"

static struct ask good(const char *line)
{
    struct ask a;
    struct err e;
    if (ask_parse(str_of(line), &a, &e) != 0)
        fail_msg("%s: %s", line, e.text);
    return a;
}

static void check_bad(const char *line, const char *why)
{
    struct ask a = {.what = ASK_REWIND, .offset = 77};
    struct err e;
    assert_int_equal(ask_parse(str_of(line), &a, &e), ERR_SYNTAX);
    if (strstr(e.text, why) == NULL)
        fail_msg("%s: said \"%s\", not \"%s\"", line, e.text, why);
    assert_int_equal(a.what, ASK_REWIND); /* nothing is written on failure */
    assert_int_equal(a.offset, 77);
}

static void every_request_is_read(void **state)
{
    (void)state;
    assert_int_equal(good("{\"do\":\"who\"}").what, ASK_WHO);
    assert_int_equal(good(" { \"do\" : \"sources\" } \r").what, ASK_SOURCES);
    struct ask a = good("{\"inode\":\"18446744073709551615\",\"do\":\"positions\"}");
    assert_int_equal(a.what, ASK_POSITIONS);
    assert_true(a.inode == UINT64_MAX);
    a = good("{\"do\":\"rewind\",\"source\":\"a.b-c_D\",\"device\":\"0\",\"inode\":\"17\","
             "\"offset\":9223372036854775807}");
    assert_int_equal(a.what, ASK_REWIND);
    assert_string_equal(a.source, "a.b-c_D");
    assert_true(a.device == 0 && a.inode == 17 && a.offset == INT64_MAX);
}

static void what_is_not_a_request_is_refused(void **state)
{
    (void)state;
    check_bad("", "JSON object");
    check_bad("hello", "JSON object");
    check_bad("[]", "JSON object");
    check_bad("{", "not one JSON object");
    check_bad("{\"do\":\"who\"", "not one JSON object");
    check_bad("{\"do\":\"who\"} {}", "not one JSON object");
    check_bad("{}", "\"do\" is missing");
    check_bad("{\"do\":\"shutdown\"}", "\"do\" is not what it must be");
    check_bad("{\"do\":7}", "\"do\" is not what it must be");
    check_bad("{\"do\":{\"do\":\"who\"}}", "\"do\" is not what it must be");
    check_bad("{\"do\":\"wh\\u006f\"}", "\"do\" is not what it must be");
}

static void members_are_exactly_those_that_are_needed(void **state)
{
    (void)state;
    check_bad("{\"do\":\"positions\"}", "\"inode\" is needed with \"positions\"");
    check_bad("{\"do\":\"who\",\"inode\":\"1\"}", "\"inode\" does not go with \"who\"");
    check_bad("{\"do\":\"who\",\"do\":\"who\"}", "\"do\" is there twice");
    check_bad("{\"do\":\"who\",\"quickly\":true}", "unknown member \"quickly\"");
    check_bad("{\"do\":\"rewind\",\"source\":\"a\",\"device\":\"1\",\"inode\":\"1\"}",
              "\"offset\" is needed");
}

static void values_stay_within_their_bounds(void **state)
{
    (void)state;
    check_bad("{\"do\":\"positions\",\"inode\":1}", "\"inode\"");
    check_bad("{\"do\":\"positions\",\"inode\":\"\"}", "\"inode\"");
    check_bad("{\"do\":\"positions\",\"inode\":\"-1\"}", "\"inode\"");
    check_bad("{\"do\":\"positions\",\"inode\":\"1x\"}", "\"inode\"");
    check_bad("{\"do\":\"positions\",\"inode\":\"18446744073709551616\"}", "\"inode\"");
    check_bad("{\"do\":\"positions\",\"inode\":\"99999999999999999999\"}", "\"inode\"");
    check_bad("{\"do\":\"rewind\",\"offset\":9223372036854775808}", "\"offset\"");
    check_bad("{\"do\":\"rewind\",\"offset\":1.5}", "\"offset\"");
    check_bad("{\"do\":\"rewind\",\"offset\":-1}", "\"offset\"");
    check_bad("{\"do\":\"rewind\",\"source\":\"\"}", "\"source\"");
    char line[256];
    snprintf(line, sizeof line, "{\"do\":\"rewind\",\"source\":\"%0*d\"}", ASK_SOURCE_MAX + 1, 7);
    check_bad(line, "\"source\"");
}

static void deep_nesting_costs_nothing(void **state)
{
    (void)state;
    char line[4096] = "{\"do\":";
    memset(line + strlen(line), '[', sizeof line - 1 - strlen(line));
    check_bad(line, "\"do\" is not what it must be");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_is_read),
        cmocka_unit_test(what_is_not_a_request_is_refused),
        cmocka_unit_test(members_are_exactly_those_that_are_needed),
        cmocka_unit_test(values_stay_within_their_bounds),
        cmocka_unit_test(deep_nesting_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
