#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/ring.h"
#include "lib/rng.h"

#define HEADER sizeof(struct record)

static struct origin anywhere;

/* A record of n data bytes, all of them `tag`. False: no room. */
static bool put(struct ring *r, size_t key_n, size_t n, uint8_t tag)
{
    struct record *rec = ring_reserve(r, key_n, n);
    if (rec == NULL)
        return false;
    memset(rec + 1, tag, key_n + n);
    rec->origin = &anywhere;
    rec->kind = RECORD_DATA;
    ring_publish(r, rec);
    assert_true(ring_sane(r));
    return true;
}

static void assert_tag(const struct record *rec, size_t n, uint8_t tag)
{
    struct str data = record_data(rec);
    assert_int_equal(data.n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal((uint8_t)data.p[i], tag);
}

static struct record *take(struct ring *r)
{
    struct record *rec = ring_peek(r);
    assert_non_null(rec);
    ring_take(r, rec);
    assert_true(ring_sane(r));
    return rec;
}

static void retire(struct ring *r)
{
    struct record *rec = ring_oldest(r);
    assert_non_null(rec);
    ring_retire(r, rec);
}

static void a_new_ring_is_empty_and_shows_nothing(void **state)
{
    (void)state;
    struct ring r;
    assert_true(ring_init(&r, 1024));
    assert_true(ring_sane(&r));
    assert_true(ring_empty(&r));
    assert_int_equal(ring_used(&r), 0);
    assert_null(ring_peek(&r));
    assert_null(ring_oldest(&r));
    ring_release(&r);
}

static void a_size_is_rounded_down_to_eight(void **state)
{
    (void)state;
    struct ring r;
    assert_true(ring_init(&r, 1031));
    assert_int_equal(r.size, 1024);
    ring_release(&r);
}

static void a_record_is_put_taken_and_retired(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r, 1024);
    assert_true(put(&r, 3, 5, 'x'));
    assert_int_equal(r.untaken_n, 1);
    assert_int_equal(ring_used(&r), HEADER + 8);
    struct record *rec = ring_peek(&r);
    assert_int_equal(record_key(rec).n, 3);
    assert_memory_equal(record_key(rec).p, "xxx", 3);
    assert_tag(rec, 5, 'x');
    assert_int_equal(record_weight(rec), 8);
    assert_int_equal(rec->state, RECORD_WAITING);
    assert_null(ring_oldest(&r));
    ring_take(&r, rec);
    assert_int_equal(r.untaken_n, 0);
    assert_int_equal(rec->state, RECORD_TAKEN);
    assert_null(ring_peek(&r));
    assert_null(ring_oldest(&r));
    assert_int_equal(ring_used(&r), HEADER + 8);
    rec->state = RECORD_DONE;
    assert_ptr_equal(ring_oldest(&r), rec);
    ring_retire(&r, rec);
    assert_true(ring_empty(&r));
    ring_release(&r);
}

static void the_oldest_holds_back_those_that_are_done_before_it(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r, 1024);
    struct record *rec[3];
    for (unsigned i = 0; i < 3; i++)
        put(&r, 0, 8, (uint8_t)i);
    for (unsigned i = 0; i < 3; i++)
        rec[i] = take(&r);
    rec[2]->state = rec[1]->state = RECORD_DONE;
    assert_null(ring_oldest(&r));
    rec[0]->state = RECORD_DONE;
    for (unsigned i = 0; i < 3; i++) {
        assert_ptr_equal(ring_oldest(&r), rec[i]);
        retire(&r);
    }
    assert_true(ring_empty(&r));
    ring_release(&r);
}

static void a_full_ring_takes_nothing_and_is_not_changed_by_asking(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r, 4 * (HEADER + 16));
    unsigned n = 0;
    while (put(&r, 0, 16, (uint8_t)n))
        n++;
    assert_int_equal(n, 4);
    assert_int_equal(ring_used(&r), r.size);
    struct ring before = r;
    assert_null(ring_reserve(&r, 0, 0));
    assert_memory_equal(&before, &r, sizeof r);
    for (unsigned i = 0; i < 4; i++) {
        struct record *rec = take(&r);
        assert_tag(rec, 16, (uint8_t)i);
        rec->state = RECORD_DONE;
    }
    retire(&r);
    assert_true(put(&r, 0, 16, 'n'));
    assert_null(ring_reserve(&r, 0, 0));
    ring_release(&r);
}

static void drain(struct ring *r)
{
    struct record *rec;
    while ((rec = ring_peek(r)) != NULL) {
        ring_take(r, rec);
        rec->state = RECORD_DONE;
    }
    while (ring_oldest(r) != NULL)
        retire(r);
    assert_true(ring_empty(r));
}

static void the_largest_record_fits_an_empty_ring_wherever_it_stands(void **state)
{
    (void)state;
    for (size_t first = 0; first < 400; first += 8) {
        struct ring r;
        ring_init(&r, 1024);
        assert_true(put(&r, 0, first, 'a'));
        drain(&r);
        assert_true(put(&r, 0, ring_record_max(&r), 'z'));
        assert_tag(ring_peek(&r), ring_record_max(&r), 'z');
        drain(&r);
        ring_release(&r);
    }
}

/* Records of 1 KiB, at most `alive` at a time, through a ring of 16 MiB: how far it reaches. */
static size_t reach(unsigned alive, uint64_t bytes)
{
    struct ring r;
    assert_true(ring_init(&r, 16 * MIB));
    size_t far = 0;
    for (unsigned i = 0; r.written < bytes; i++) {
        assert_true(put(&r, 0, 1024, (uint8_t)i));
        struct record *rec = take(&r);
        far = (size_t)((char *)rec - r.block) > far ? (size_t)((char *)rec - r.block) : far;
        rec->state = RECORD_DONE;
        if (i >= alive)
            retire(&r);
    }
    drain(&r);
    ring_release(&r);
    return far;
}

static void a_ring_through_which_little_flows_touches_little_memory(void **state)
{
    (void)state;
    assert_true(reach(10, 200 * MIB) < 2 * RING_LAP_MIN);
    assert_true(reach(1000, 200 * MIB) < 4 * MIB);
    assert_true(reach(12000, 200 * MIB) > 12 * MIB);
}

static void the_whole_block_can_be_filled(void **state)
{
    (void)state;
    struct ring r;
    assert_true(ring_init(&r, 4 * MIB));
    uint64_t n = 0;
    while (put(&r, 0, 1000, (uint8_t)n))
        n++;
    assert_int_equal(n, 4 * MIB / (HEADER + 1000));
    ring_release(&r);
}

static void a_record_of_nothing_is_a_record(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r, 256);
    for (unsigned i = 0; i < 50; i++) {
        assert_true(put(&r, 0, 0, 0));
        struct record *rec = take(&r);
        assert_int_equal(rec->size, HEADER);
        rec->state = RECORD_DONE;
        retire(&r);
    }
    ring_release(&r);
}

static void when_delivery_stops_after_an_early_lap_the_whole_block_is_used(void **state)
{
    (void)state;
    struct ring r;
    assert_true(ring_init(&r, 16 * MIB));
    for (unsigned i = 0; i < 20000; i++) { /* a little flows: laps begin early */
        struct record *rec = ring_reserve(&r, 0, 1000);
        assert_non_null(rec);
        ring_publish(&r, rec);
        if (ring_used(&r) < 200 * KIB)
            continue;
        rec = ring_peek(&r);
        ring_take(&r, rec);
        rec->state = RECORD_DONE;
        ring_retire(&r, rec);
    }
    for (struct record *rec; (rec = ring_reserve(&r, 0, 1000)) != NULL;) {
        ring_publish(&r, rec);
        assert_true(ring_check(&r));
    }
    assert_true(ring_used(&r) > 14 * MIB);
    ring_release(&r);
}

/* ---- against a model ------------------------------------------------------------------------ */

#define MODEL_MAX 4096

/* Records by their number; three counters that only grow, as in the ring. */
struct model {
    size_t n[MODEL_MAX], key_n[MODEL_MAX];
    bool done[MODEL_MAX];
    struct record *at[MODEL_MAX];
    unsigned acked, taken, written;
};

/* In the block, aligned, and on top of no record that is alive. */
static void assert_free_place(const struct ring *r, const struct model *m, const struct record *rec)
{
    const char *p = (const char *)rec;
    assert_true(p >= r->block && p + rec->size <= r->block + r->size);
    assert_int_equal((uintptr_t)p % 8, 0);
    for (unsigned i = m->acked; i < m->written; i++) {
        const char *q = (const char *)m->at[i];
        assert_true(p + rec->size <= q || q + m->at[i]->size <= p);
    }
}

static void step_put(struct ring *r, struct model *m, struct rng *rng)
{
    if (m->written == MODEL_MAX)
        return;
    size_t key_n = rng_below(rng, 9), n = rng_below(rng, ring_record_max(r) - 8);
    if (rng_below(rng, 4) > 0)
        n %= 64;
    struct ring before = *r;
    struct record *rec = ring_reserve(r, key_n, n);
    if (rec == NULL) {
        assert_true(before.acked == r->acked && before.taken == r->taken &&
                    before.written == r->written && before.untaken_n == r->untaken_n);
        assert_true(m->written > m->acked); /* an empty ring takes all */
        return;
    }
    assert_free_place(r, m, rec);
    memset(rec + 1, (uint8_t)m->written, key_n + n);
    ring_publish(r, rec);
    m->at[m->written] = rec;
    m->n[m->written] = n;
    m->key_n[m->written] = key_n;
    m->done[m->written] = false;
    m->written++;
}

static void step_take(struct ring *r, struct model *m)
{
    struct record *rec = ring_peek(r);
    if (m->taken == m->written) {
        assert_null(rec);
        return;
    }
    assert_non_null(rec);
    assert_int_equal(rec->state, RECORD_WAITING);
    assert_int_equal(record_key(rec).n, m->key_n[m->taken]);
    assert_ptr_equal(rec, m->at[m->taken]);
    ring_take(r, rec);
    m->taken++;
}

static void step_done(struct model *m, struct rng *rng)
{
    if (m->acked == m->taken)
        return;
    unsigned i = m->acked + (unsigned)rng_below(rng, m->taken - m->acked);
    m->at[i]->state = RECORD_DONE;
    m->done[i] = true;
}

static void step_retire(struct ring *r, struct model *m)
{
    struct record *rec = ring_oldest(r);
    if (m->acked == m->taken || !m->done[m->acked]) {
        assert_null(rec);
        return;
    }
    assert_ptr_equal(rec, m->at[m->acked]);
    assert_tag(rec, m->n[m->acked], (uint8_t)m->acked);
    ring_retire(r, rec);
    m->acked++;
}

static void a_ring_behaves_like_three_counters_over_a_list(void **state)
{
    (void)state;
    static struct model m;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct ring r;
        assert_true(ring_init(&r, 256 + 8 * rng_below(&rng, 200)));
        memset(&m, 0, sizeof m);
        for (unsigned i = 0; i < 4000; i++) {
            uint64_t a = r.acked, t = r.taken, w = r.written, dice = rng_below(&rng, 10);
            if (dice < 3)
                step_put(&r, &m, &rng);
            else if (dice < 5)
                step_take(&r, &m);
            else if (dice < 8)
                step_done(&m, &rng);
            else
                step_retire(&r, &m);
            assert_true(ring_sane(&r) && r.acked >= a && r.taken >= t && r.written >= w);
            assert_int_equal(r.untaken_n, m.written - m.taken);
            assert_int_equal(ring_empty(&r), m.acked == m.written);
        }
        assert_true(r.written > 4 * r.size); /* it went round */
        ring_release(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_ring_is_empty_and_shows_nothing),
        cmocka_unit_test(when_delivery_stops_after_an_early_lap_the_whole_block_is_used),
        cmocka_unit_test(a_size_is_rounded_down_to_eight),
        cmocka_unit_test(a_record_is_put_taken_and_retired),
        cmocka_unit_test(the_oldest_holds_back_those_that_are_done_before_it),
        cmocka_unit_test(a_full_ring_takes_nothing_and_is_not_changed_by_asking),
        cmocka_unit_test(the_largest_record_fits_an_empty_ring_wherever_it_stands),
        cmocka_unit_test(a_ring_through_which_little_flows_touches_little_memory),
        cmocka_unit_test(the_whole_block_can_be_filled),
        cmocka_unit_test(a_record_of_nothing_is_a_record),
        cmocka_unit_test(a_ring_behaves_like_three_counters_over_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
