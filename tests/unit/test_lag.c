#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/lag.h"

static void nothing_seen_is_nothing_behind(void **state)
{
    (void)state;
    struct lag l = {0};
    assert_int_equal(lag_age_ms(&l, 0, 1000), 0);
    lag_seen(&l, 0, 0, 1000);
    lag_seen(&l, 500, 500, 1000);
    assert_int_equal(lag_age_ms(&l, 500, 5000), 0);
}

static void the_age_is_that_of_the_oldest_byte_left(void **state)
{
    (void)state;
    struct lag l = {0};
    lag_seen(&l, 100, 0, 1000);
    lag_seen(&l, 200, 0, 3000);
    lag_seen(&l, 300, 0, 6000);
    assert_int_equal(lag_age_ms(&l, 0, 7000), 6000);
    assert_int_equal(lag_age_ms(&l, 99, 7000), 6000);
    assert_int_equal(lag_age_ms(&l, 100, 7000), 4000);
    assert_int_equal(lag_age_ms(&l, 250, 7000), 1000);
    assert_int_equal(lag_age_ms(&l, 300, 7000), 0);
}

static void bytes_seen_within_a_moment_share_a_mark(void **state)
{
    (void)state;
    struct lag l = {0};
    for (unsigned i = 0; i < LAG_MOMENT_MS; i++)
        lag_seen(&l, 10 * (i + 1), 0, 1000 + i);
    assert_int_equal(l.n, 1);
    assert_int_equal(lag_age_ms(&l, 990, 1100), 100);
}

static void what_is_seen_again_is_no_news(void **state)
{
    (void)state;
    struct lag l = {0};
    lag_seen(&l, 100, 0, 1000);
    lag_seen(&l, 100, 0, 9000);
    lag_seen(&l, 50, 0, 9500);
    assert_int_equal(lag_age_ms(&l, 0, 10000), 9000);
    assert_int_equal(l.n, 1);
}

static void a_file_that_is_read_anew_has_no_past(void **state)
{
    (void)state;
    struct lag l = {0};
    lag_seen(&l, 1000, 0, 1000);
    lag_reset(&l);
    assert_int_equal(lag_age_ms(&l, 0, 5000), 0);
    lag_seen(&l, 10, 0, 5000);
    assert_int_equal(lag_age_ms(&l, 0, 6000), 1000);
}

/* A file that grows by a byte a millisecond and is delivered `behind_ms` later, for ten minutes. */
static void check_steady(uint64_t behind_ms)
{
    struct lag l = {0};
    uint64_t worst = 0;
    for (uint64_t now = 0; now < 600000; now++) {
        uint64_t delivered = now > behind_ms ? now - behind_ms : 0;
        lag_seen(&l, now, delivered, now);
        if (now < 2 * behind_ms + 1000)
            continue;
        uint64_t age = lag_age_ms(&l, delivered, now);
        assert_true(age + 1 >= behind_ms);
        if (age > worst)
            worst = age;
    }
    assert_true(worst <= behind_ms + behind_ms / 2 + LAG_MOMENT_MS);
}

static void a_steady_delay_is_told_within_a_half(void **state)
{
    (void)state;
    check_steady(0);
    check_steady(50);
    check_steady(1000);
    check_steady(10000);
    check_steady(100000);
}

/* Nothing is delivered at all: the age is exact, however long it lasts. */
static void a_standstill_is_told_exactly(void **state)
{
    (void)state;
    struct lag l = {0};
    for (uint64_t now = 5000; now < 1000000; now += 7) {
        lag_seen(&l, now, 0, now);
        assert_int_equal(lag_age_ms(&l, 0, now), now - 5000);
        assert_true(l.n <= LAG_MARKS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_seen_is_nothing_behind),
        cmocka_unit_test(the_age_is_that_of_the_oldest_byte_left),
        cmocka_unit_test(bytes_seen_within_a_moment_share_a_mark),
        cmocka_unit_test(what_is_seen_again_is_no_news),
        cmocka_unit_test(a_file_that_is_read_anew_has_no_past),
        cmocka_unit_test(a_steady_delay_is_told_within_a_half),
        cmocka_unit_test(a_standstill_is_told_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
