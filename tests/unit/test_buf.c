#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/buf.h"

static void what_is_put_comes_out_in_order(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, KIB);
    assert_null(b.p);
    buf_put(&b, "ab", 2);
    buf_puts(&b, "cd");
    buf_putc(&b, 'e');
    buf_printf(&b, "%d-%s", 12, "x");
    buf_put(&b, "\0z", 2);
    assert_false(b.failed);
    assert_int_equal(b.n, 11);
    assert_memory_equal(b.p, "abcde12-x\0z", 11);
    assert_true(str_eq(buf_str(&b), (struct str){"abcde12-x\0z", 11}));
    buf_release(&b);
    assert_null(b.p);
    assert_int_equal(b.n, 0);
}

static void an_empty_buf_takes_nothing_without_memory(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    buf_put(&b, "", 0);
    buf_put(&b, NULL, 0);
    buf_puts(&b, "");
    assert_false(b.failed);
    assert_null(b.p);
    buf_putc(&b, 'x');
    assert_true(b.failed);
    buf_release(&b);
}

static void the_cap_is_exact(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    for (int i = 0; i < 100; i++)
        buf_putc(&b, 'x');
    assert_false(b.failed);
    assert_int_equal(b.n, 100);
    assert_true(b.cap <= 100);
    buf_putc(&b, 'y');
    assert_true(b.failed);
    assert_int_equal(b.n, 100);
    buf_release(&b);
}

static void a_failure_sticks_and_nothing_is_half_appended(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4);
    buf_puts(&b, "abc");
    buf_puts(&b, "de");
    assert_true(b.failed);
    buf_puts(&b, "f");
    buf_printf(&b, "%d", 1);
    assert_null(buf_reserve(&b, 1));
    assert_null(buf_cstr(&b));
    assert_int_equal(b.n, 3);
    assert_memory_equal(b.p, "abc", 3);
    buf_reset(&b);
    assert_false(b.failed);
    assert_int_equal(b.n, 0);
    buf_puts(&b, "wxyz");
    assert_false(b.failed);
    buf_release(&b);
}

static void a_size_that_would_wrap_around_fails(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_puts(&b, "abc");
    assert_null(buf_reserve(&b, SIZE_MAX - 1));
    assert_true(b.failed);
    assert_int_equal(b.n, 3);
    buf_release(&b);
}

static void cstr_ends_in_a_nul_that_does_not_count(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4);
    assert_string_equal(buf_cstr(&b), "");
    buf_puts(&b, "abc");
    assert_string_equal(buf_cstr(&b), "abc");
    assert_int_equal(b.n, 3);
    buf_putc(&b, 'd');
    assert_false(b.failed);
    assert_null(buf_cstr(&b));
    assert_true(b.failed);
    buf_release(&b);
}

static void reserved_room_counts_when_it_is_committed(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    char *to = buf_reserve(&b, 500);
    assert_non_null(to);
    memset(to, 'r', 500);
    assert_int_equal(b.n, 0);
    buf_commit(&b, 200);
    assert_int_equal(b.n, 200);
    assert_int_equal(b.p[199], 'r');
    buf_release(&b);
}

static void reset_keeps_the_memory_and_shrink_lets_go_of_much(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MIB);
    assert_non_null(buf_reserve(&b, 10000));
    buf_commit(&b, 10000);
    char *p = b.p;
    buf_reset(&b);
    assert_ptr_equal(b.p, p);
    buf_shrink(&b, b.cap);
    assert_ptr_equal(b.p, p);
    buf_shrink(&b, b.cap - 1);
    assert_null(b.p);
    buf_puts(&b, "again");
    assert_false(b.failed);
    buf_wipe_release(&b);
    assert_null(b.p);
}

static void appending_a_byte_at_a_time_does_not_move_it_every_time(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MIB);
    unsigned grown = 0;
    for (size_t i = 0; i < MIB; i++) {
        size_t cap = b.cap;
        buf_putc(&b, (char)i);
        grown += b.cap != cap;
    }
    assert_false(b.failed);
    assert_true(grown < 40);
    for (size_t i = 0; i < MIB; i++)
        if (b.p[i] != (char)i)
            fail_msg("byte %zu is wrong", i);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_comes_out_in_order),
        cmocka_unit_test(an_empty_buf_takes_nothing_without_memory),
        cmocka_unit_test(the_cap_is_exact),
        cmocka_unit_test(a_failure_sticks_and_nothing_is_half_appended),
        cmocka_unit_test(a_size_that_would_wrap_around_fails),
        cmocka_unit_test(cstr_ends_in_a_nul_that_does_not_count),
        cmocka_unit_test(reserved_room_counts_when_it_is_committed),
        cmocka_unit_test(reset_keeps_the_memory_and_shrink_lets_go_of_much),
        cmocka_unit_test(appending_a_byte_at_a_time_does_not_move_it_every_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
