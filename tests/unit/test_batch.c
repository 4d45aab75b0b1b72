#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/batch.h"
#include "lib/rng.h"

static struct ring ring;
static struct batch batch;

static int set_up(void **state)
{
    (void)state;
    batch_init(&batch);
    return ring_init(&ring, 16 * MIB) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ring_release(&ring);
    return 0;
}

static void put(enum record_kind kind, size_t key_n, size_t data_n)
{
    struct record *rec = ring_reserve(&ring, key_n, data_n);
    assert_non_null(rec);
    rec->kind = (uint8_t)kind;
    ring_publish(&ring, rec);
}

static void fill_with(unsigned n, size_t data_n)
{
    for (unsigned i = 0; i < n; i++)
        put(RECORD_DATA, 4, data_n);
    batch_fill(&batch, &ring);
}

static size_t weight(const struct batch *b)
{
    size_t total = 0;
    for (unsigned i = 0; i < b->n; i++)
        total += record_weight(b->records[i]);
    return total;
}

static void an_empty_ring_fills_nothing(void **state)
{
    (void)state;
    batch_fill(&batch, &ring);
    assert_int_equal(batch.n, 0);
    assert_int_equal(batch.window, 0);
}

static void records_are_borrowed_in_order_and_taken(void **state)
{
    (void)state;
    fill_with(10, 100);
    assert_int_equal(batch.n, 10);
    assert_int_equal(batch.window, 10);
    assert_int_equal(batch.bytes, 10 * 104);
    assert_int_equal(ring.untaken_n, 0);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(batch.records[i]->state, RECORD_TAKEN);
        assert_true(i == 0 || batch.records[i] > batch.records[i - 1]);
    }
}

static void no_more_than_five_hundred_records_go_together(void **state)
{
    (void)state;
    fill_with(501, 1);
    assert_int_equal(batch.n, 500);
    assert_int_equal(ring.untaken_n, 1);
}

static void the_bytes_of_data_and_keys_stay_below_the_limit(void **state)
{
    (void)state;
    const size_t max = BATCH_BYTES_MAX - BATCH_BYTES_SLACK;
    fill_with(5, MIB - 4); /* 5 MiB with their keys */
    assert_int_equal(batch.n, 4);
    assert_int_equal(batch.bytes, 4 * MIB);
    assert_ptr_not_equal(ring_peek(&ring), NULL);
    assert_true(batch.bytes <= max);
}

static void a_batch_may_be_filled_to_the_last_byte(void **state)
{
    (void)state;
    const size_t max = BATCH_BYTES_MAX - BATCH_BYTES_SLACK;
    for (unsigned i = 0; i < 4; i++)
        put(RECORD_DATA, 0, MIB);
    put(RECORD_DATA, 10, max - 4 * MIB - 10);
    put(RECORD_DATA, 0, 1);
    put(RECORD_DATA, 0, 0);
    batch_fill(&batch, &ring);
    assert_int_equal(batch.n, 5);
    assert_int_equal(batch.bytes, max);
    assert_int_equal(ring.untaken_n, 2);
}

static void a_dead_record_ends_the_batch_and_stays(void **state)
{
    (void)state;
    put(RECORD_DATA, 1, 1);
    put(RECORD_DEAD, 6, 1);
    put(RECORD_DATA, 1, 1);
    batch_fill(&batch, &ring);
    assert_int_equal(batch.n, 1);
    assert_int_equal(ring_peek(&ring)->kind, RECORD_DEAD);
    assert_int_equal(ring_peek(&ring)->state, RECORD_WAITING);
}

static void settling_keeps_the_failed_ones_in_order(void **state)
{
    (void)state;
    fill_with(6, 10);
    struct record *was[6];
    memcpy(was, batch.records, sizeof was);
    const uint8_t failed[6] = {0, 1, 0, 0, 1, 0};
    assert_int_equal(batch_settle(&batch, failed), 4);
    assert_int_equal(batch.n, 2);
    assert_int_equal(batch.window, 2);
    assert_ptr_equal(batch.records[0], was[1]);
    assert_ptr_equal(batch.records[1], was[4]);
    assert_int_equal(batch.bytes, 2 * 14);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(was[i]->state, failed[i] ? RECORD_TAKEN : RECORD_DONE);
}

static void settling_everything_empties_the_batch(void **state)
{
    (void)state;
    fill_with(500, 10);
    const uint8_t failed[500] = {0};
    assert_int_equal(batch_settle(&batch, failed), 500);
    assert_int_equal(batch.n, 0);
    assert_int_equal(batch.bytes, 0);
    assert_int_equal(batch.window, 0);
}

static void settling_nothing_changes_nothing(void **state)
{
    (void)state;
    fill_with(3, 10);
    const uint8_t failed[3] = {1, 1, 1};
    assert_int_equal(batch_settle(&batch, failed), 0);
    assert_int_equal(batch.n, 3);
    assert_int_equal(batch.window, 3);
    assert_int_equal(batch.bytes, 42);
}

static void only_the_window_is_settled(void **state)
{
    (void)state;
    fill_with(8, 10);
    struct record *was[8];
    memcpy(was, batch.records, sizeof was);
    batch_narrow(&batch);
    assert_int_equal(batch.window, 4);
    const uint8_t failed[8] = {0, 1, 0, 0, 0, 0, 0, 0}; /* beyond the window it means nothing */
    assert_int_equal(batch_settle(&batch, failed), 3);
    assert_int_equal(batch.n, 5);
    assert_ptr_equal(batch.records[0], was[1]);
    for (unsigned i = 1; i < 5; i++) {
        assert_ptr_equal(batch.records[i], was[i + 3]);
        assert_int_equal(batch.records[i]->state, RECORD_TAKEN);
    }
}

static void narrowing_ends_at_one_record(void **state)
{
    (void)state;
    fill_with(500, 1);
    unsigned steps = 0;
    while (batch.window > 1) {
        unsigned before = batch.window;
        batch_narrow(&batch);
        assert_true(batch.window < before);
        steps++;
    }
    assert_int_equal(steps, 9);
    batch_narrow(&batch);
    assert_int_equal(batch.window, 1);
    assert_int_equal(batch.n, 500);
}

static void the_window_opens_again_with_each_acceptance(void **state)
{
    (void)state;
    fill_with(500, 1);
    while (batch.window > 1)
        batch_narrow(&batch);
    const uint8_t failed[500] = {0};
    unsigned requests = 0;
    for (; batch.n > 0; requests++) {
        assert_true(batch.window >= 1 && batch.window <= batch.n);
        batch_settle(&batch, failed);
        batch_widen(&batch, BATCH_RECORDS_MAX);
    }
    assert_true(requests <= 10); /* doubling; one by one it would be 500 */
}

static void dropping_the_first_moves_the_others_up(void **state)
{
    (void)state;
    put(RECORD_DATA, 0, 100);
    fill_with(2, 10);
    struct record *first = batch.records[0], *second = batch.records[1];
    batch_narrow(&batch);
    batch_narrow(&batch);
    batch_drop_first(&batch);
    assert_int_equal(batch.n, 2);
    assert_int_equal(batch.bytes, 28);
    assert_int_equal(batch.window, 1);
    assert_ptr_equal(batch.records[0], second);
    assert_int_equal(first->state, RECORD_TAKEN);
    batch_drop_first(&batch);
    batch_drop_first(&batch);
    assert_int_equal(batch.n, 0);
    assert_int_equal(batch.window, 0);
    assert_int_equal(batch.bytes, 0);
}

static void a_batch_only_shrinks_and_its_numbers_stay_true(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 200; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        batch_init(&batch);
        for (unsigned i = 0; i < 1 + seed; i++)
            put(RECORD_DATA, rng_below(&rng, 5), rng_below(&rng, 50));
        batch_fill(&batch, &ring);
        for (unsigned turns = 0; batch.n > 0; turns++) {
            assert_true(turns < 2000);
            unsigned n = batch.n, done = 0;
            uint8_t failed[BATCH_RECORDS_MAX];
            for (unsigned i = 0; i < batch.window; i++)
                done += (failed[i] = rng_next(&rng) & 1) == 0;
            uint64_t dice = rng_below(&rng, 4);
            if (dice == 0)
                batch_narrow(&batch);
            else if (dice == 1 && batch.window == 1)
                batch_drop_first(&batch);
            else
                assert_int_equal(batch_settle(&batch, failed), done);
            batch_widen(&batch, BATCH_RECORDS_MAX);
            assert_true(batch.n <= n && batch.window <= batch.n);
            assert_true(batch.window >= 1 || batch.n == 0);
            assert_int_equal(batch.bytes, weight(&batch));
        }
        assert_int_equal(batch.bytes, 0);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_empty_ring_fills_nothing),
        T(records_are_borrowed_in_order_and_taken),
        T(no_more_than_five_hundred_records_go_together),
        T(the_bytes_of_data_and_keys_stay_below_the_limit),
        T(a_batch_may_be_filled_to_the_last_byte),
        T(a_dead_record_ends_the_batch_and_stays),
        T(settling_keeps_the_failed_ones_in_order),
        T(settling_everything_empties_the_batch),
        T(settling_nothing_changes_nothing),
        T(only_the_window_is_settled),
        T(narrowing_ends_at_one_record),
        T(the_window_opens_again_with_each_acceptance),
        T(dropping_the_first_moves_the_others_up),
        T(a_batch_only_shrinks_and_its_numbers_stay_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
