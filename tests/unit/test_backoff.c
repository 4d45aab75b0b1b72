#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/backoff.h"

#include "lib/base.h"

#define ROUNDS 20000

struct range {
    uint64_t low, high;
    double mean;
};

static struct range many(uint64_t base_ms, uint64_t cap_ms, unsigned tries, unsigned failed,
                         unsigned total)
{
    struct rng r;
    rng_seed(&r, 7);
    struct range seen = {.low = UINT64_MAX};
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t ms = backoff_ms(&r, base_ms, cap_ms, tries, failed, total);
        seen.low = min_u64(seen.low, ms);
        seen.high = ms > seen.high ? ms : seen.high;
        seen.mean += (double)ms / ROUNDS;
    }
    return seen;
}

/* Drawn evenly from the whole of 0..window. */
static void assert_window(struct range seen, double window)
{
    assert_true((double)seen.high <= window);
    assert_true((double)seen.high >= window * 0.99 - 1);
    assert_true((double)seen.low <= window * 0.01 + 1);
    assert_true(seen.mean > window * 0.48 - 1 && seen.mean < window * 0.52 + 1);
}

static void the_window_doubles_with_every_try_up_to_the_cap(void **state)
{
    (void)state;
    assert_window(many(50, 20000, 0, 1, 1), 50);
    assert_window(many(50, 20000, 1, 1, 1), 100);
    assert_window(many(50, 20000, 8, 1, 1), 12800);
    assert_window(many(50, 20000, 9, 1, 1), 20000);
    assert_window(many(1000, BACKOFF_CAP_MS, 4, 1, 1), 16000);
    assert_window(many(1000, BACKOFF_CAP_MS, 5, 1, 1), 20000);
    assert_window(many(3, 6, 1, 1, 1), 6);
    assert_window(many(300, 200, 0, 1, 1), 200);
}

static void the_share_that_failed_scales_the_window(void **state)
{
    (void)state;
    assert_window(many(1000, 20000, 0, 250, 500), 500);
    assert_window(many(1000, 20000, 10, 1, 500), 40);
    assert_window(many(1000, 20000, 10, 500, 500), 20000);
}

static void nonsense_counts_are_taken_for_the_whole(void **state)
{
    (void)state;
    assert_window(many(1000, 20000, 0, 0, 0), 1000);
    assert_window(many(1000, 20000, 0, 5, 0), 1000);
    assert_window(many(1000, 20000, 0, 7, 3), 1000);
}

static void nothing_overflows_and_nothing_is_zero(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, 50, 1ull << 31, 1ull << 63, UINT64_MAX};
    static const unsigned counts[] = {0, 1, 31, 32, 63, 64, 65, 1000, UINT32_MAX};
    struct rng r;
    rng_seed(&r, 3);
    for (size_t b = 0; b < ARRAY_LEN(values); b++)
        for (size_t c = 0; c < ARRAY_LEN(values); c++)
            for (size_t t = 0; t < ARRAY_LEN(counts); t++)
                for (size_t f = 0; f < ARRAY_LEN(counts); f++) {
                    uint64_t ms =
                        backoff_ms(&r, values[b], values[c], counts[t], counts[f], UINT32_MAX);
                    assert_true(ms >= 1);
                    assert_true(ms <= (values[c] > 0 ? values[c] : 1));
                }
}

static void the_same_seed_waits_the_same(void **state)
{
    (void)state;
    struct rng a, b;
    rng_seed(&a, 42);
    rng_seed(&b, 42);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(backoff_ms(&a, 50, 20000, i, 1, 1), backoff_ms(&b, 50, 20000, i, 1, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_window_doubles_with_every_try_up_to_the_cap),
        cmocka_unit_test(the_share_that_failed_scales_the_window),
        cmocka_unit_test(nonsense_counts_are_taken_for_the_whole),
        cmocka_unit_test(nothing_overflows_and_nothing_is_zero),
        cmocka_unit_test(the_same_seed_waits_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
