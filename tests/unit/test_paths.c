#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/paths.h"

static struct paths paths;

static void build(char *const *list, size_t n)
{
    struct err e;
    if (paths_build(&paths, list, n, &e) != 0)
        fail_msg("%s", e.text);
    paths_begin(&paths);
}

static int tear_down(void **state)
{
    (void)state;
    paths_release(&paths);
    return 0;
}

/* The member's node, with its own name as value. */
static int meet(int parent, const char *name)
{
    int node = paths_enter(&paths, parent, str_of(name));
    if (node >= 0)
        paths_set(&paths, node, str_of(name));
    return node;
}

static void assert_value(size_t i, const char *want)
{
    struct str got = paths_value(&paths, i);
    if (want == NULL)
        assert_null(got.p);
    else
        assert_true(str_eq(got, str_of(want)));
}

static void what_no_path_asks_for_is_passed_over(void **state)
{
    (void)state;
    build((char *[]){(char *)"a.b", (char *)"cc"}, 2);
    assert_true(meet(0, "a") > 0);
    assert_true(meet(0, "cc") > 0);
    assert_int_equal(meet(0, "b"), -1);
    assert_int_equal(meet(0, ""), -1);
    assert_int_equal(meet(0, "ccc"), -1);
    assert_int_equal(meet(0, "cd"), -1);
    assert_value(0, NULL);
    assert_value(1, "cc");
}

static void a_whole_name_is_taken_before_one_to_descend_into(void **state)
{
    (void)state;
    build((char *[]){(char *)"a.b.c"}, 1);
    int a = meet(0, "a");
    assert_true(paths_descends(&paths, a));
    int b = meet(a, "b");
    assert_false(paths_descends(&paths, meet(b, "c")));
    assert_value(0, "c");
    meet(a, "b.c");
    assert_value(0, "b.c");
    meet(0, "a.b.c");
    assert_value(0, "a.b.c");
    paths_begin(&paths);
    assert_value(0, NULL);
}

static void a_second_member_of_a_name_takes_the_place_of_the_first(void **state)
{
    (void)state;
    build((char *[]){(char *)"a.b", (char *)"a"}, 2);
    meet(meet(0, "a"), "b");
    assert_value(0, "b");
    int again = meet(0, "a");
    assert_value(0, NULL);
    assert_value(1, "a");
    meet(again, "b");
    assert_value(0, "b");
}

static void names_may_be_empty(void **state)
{
    (void)state;
    build((char *[]){(char *)"", (char *)".", (char *)"a."}, 3);
    int empty = meet(0, "");
    assert_value(0, "");
    meet(empty, "");
    assert_value(1, "");
    assert_value(2, NULL);
    meet(meet(0, "a"), "");
    assert_value(2, "");
}

static void names_of_any_length_are_found_among_many(void **state)
{
    (void)state;
    enum { MANY = 300 };
    static char names[MANY][MANY + 2], *list[MANY];
    for (size_t i = 0; i < MANY; i++) {
        memset(names[i], 'x', i / 2);
        names[i][i / 2] = i % 2 == 0 ? 'a' : 'b';
        list[MANY - 1 - i] = names[i];
    }
    build(list, MANY);
    for (size_t i = 0; i < MANY; i += 3)
        assert_true(meet(0, names[i]) > 0);
    for (size_t i = 0; i < MANY; i++)
        assert_value(MANY - 1 - i, i % 3 == 0 ? names[i] : NULL);
}

static void a_path_has_a_limit(void **state)
{
    (void)state;
    char dots[2 * PATHS_DEPTH_MAX + 2] = "";
    for (size_t i = 0; i < PATHS_DEPTH_MAX; i++)
        memcpy(dots + 2 * i, "a.", 3);
    dots[2 * PATHS_DEPTH_MAX - 1] = '\0';
    char *list[] = {(char *)"b", dots};
    build(list, 2);
    paths_release(&paths);
    memcpy(dots + 2 * PATHS_DEPTH_MAX - 1, ".a", 3);
    struct err e;
    assert_int_equal(paths_build(&paths, list, 2, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "more than 32 names"));
    build(NULL, 0);
    assert_int_equal(meet(0, "a"), -1);
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_no_path_asks_for_is_passed_over),
        TEST(a_whole_name_is_taken_before_one_to_descend_into),
        TEST(a_second_member_of_a_name_takes_the_place_of_the_first),
        TEST(names_may_be_empty),
        TEST(names_of_any_length_are_found_among_many),
        TEST(a_path_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
