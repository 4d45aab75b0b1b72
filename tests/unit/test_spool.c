#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/spool.h"
#include "tests/unit/fakes.h"
#include "tests/unit/spooldisk.h"

#define CAPACITY ((uint64_t)256 * KIB)

struct t {
    struct fakes f;
    struct disk d;
    struct spool *sp;
    struct spool_report report;
    uint64_t deadline;
};

static struct spool_options options = {.record_max = 4 * KIB, .chunk_bytes = 16 * KIB};

static void start(struct t *t)
{
    struct err e;
    const struct spool_ops ops = disk_ops(&t->d);
    fakes_init(&t->f, MIB);
    t->f.logging = true;
    t->sp = spool_new(&options, &ops, t->f.p, &e);
    assert_non_null(t->sp);
    assert_int_equal(spool_recover(t->sp, &t->report, &e), 0);
}

static void stop(struct t *t)
{
    struct err e;
    err_set(&e, ERR_IO, "the process has ended");
    if (t->d.under_way != NULL)
        spool_wrote(t->sp, &e);
    t->d.under_way = NULL;
    spool_free(t->sp);
    fakes_release(&t->f);
}

static int setup(void **state)
{
    struct t *t = malloc(sizeof *t);
    assert_non_null(t);
    options = (struct spool_options){.record_max = 4 * KIB, .chunk_bytes = 16 * KIB};
    disk_init(&t->d, CAPACITY, 0x1122334455667788);
    start(t);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct t *t = *state;
    stop(t);
    disk_release(&t->d);
    free(t);
    return 0;
}

static enum spool_put put(struct t *t, const char *key, const char *data)
{
    const struct spool_item item = {
        .kind = RECORD_DATA, .key = str_of(key), .data = str_of(data), .key_plain = true};
    return spool_put(t->sp, t->f.now, &item);
}

static void turn(struct t *t)
{
    t->deadline = spool_turn(t->sp, t->f.now);
}

/* A turn, its write, and the turn that hears of it. */
static void turn_and_write(struct t *t)
{
    turn(t);
    disk_finish(&t->d, t->sp);
    turn(t);
}

static void records_reach_the_ring_only_when_they_are_written(void **state)
{
    struct t *t = *state;
    assert_int_equal(put(t, "k", "one"), SPOOL_OK);
    turn(t);
    assert_non_null(t->d.under_way);
    assert_true(t->d.under_way->sync);
    assert_true(pipeline_empty(t->f.p));
    assert_int_equal(spool_safe(t->sp, SPOOL_DURABLE), 0);
    disk_finish(&t->d, t->sp);
    turn(t);
    assert_int_equal(spool_safe(t->sp, SPOOL_DURABLE), spool_end(t->sp));
    assert_int_equal(spool_safe(t->sp, SPOOL_DELIVERED), 0);
    fakes_settle(&t->f);
    assert_int_equal(spool_safe(t->sp, SPOOL_DELIVERED), spool_end(t->sp));
    assert_true(spool_is_empty(t->sp));
    assert_int_equal(t->f.log_n, 1);
    assert_memory_equal(t->f.log[0].data.p, "one", 3);
    assert_memory_equal(t->f.log[0].key.p, "k", 1);
}

static void restart(struct t *t)
{
    stop(t);
    start(t);
}

/* n records "FIRST", "FIRST+1", ... */
static unsigned put_many(struct t *t, unsigned first, unsigned n, enum spool_put *last)
{
    static char text[1000];
    memset(text, '.', sizeof text - 1);
    for (unsigned i = 0; i < n; i++) {
        snprintf(text, 20, "%u", first + i);
        text[strlen(text)] = '.';
        enum spool_put result = put(t, "k", text);
        if (last != NULL)
            *last = result;
        if (result != SPOOL_OK)
            return i;
    }
    return n;
}

static void settle(struct t *t)
{
    for (unsigned i = 0; i < 1000 && !spool_is_empty(t->sp); i++) {
        turn_and_write(t);
        fakes_settle(&t->f);
        spool_pause(t->sp, t->f.paused);
        list_del(&spool_origin(t->sp)->moved);
    }
    assert_true(spool_is_empty(t->sp));
}

static unsigned number_of(const struct buf *data)
{
    unsigned v = 0;
    for (size_t i = 0; i < data->n && data->p[i] >= '0' && data->p[i] <= '9'; i++)
        v = v * 10 + (unsigned)(data->p[i] - '0');
    return v;
}

/* What was sent: FIRST, FIRST+1, ... n of them. */
static void expect_sent(const struct t *t, unsigned first, unsigned n)
{
    assert_int_equal(t->f.log_n, n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(number_of(&t->f.log[i].data), first + i);
}

static struct stats *stats_of(struct t *t)
{
    return pipeline_stats(t->f.p);
}

static void what_was_not_delivered_is_read_again_after_a_restart(void **state)
{
    struct t *t = *state;
    assert_int_equal(put_many(t, 1, 2, NULL), 2);
    turn_and_write(t);
    disk_finish(&t->d, t->sp);
    turn(t);
    restart(t);
    assert_int_equal(t->report.records, 2);
    assert_int_equal(t->report.damaged_bytes, 0);
    settle(t);
    expect_sent(t, 1, 2);
    assert_int_equal(stats_of(t)->spool_read_back, 2);
}

/* ---- writing and syncing ---- */

static void a_group_is_synced_together(void **state)
{
    struct t *t = *state;
    spool_set_sync(t->sp, 20);
    put(t, "k", "one");
    turn(t);
    assert_non_null(t->d.under_way);
    assert_false(t->d.under_way->sync);
    disk_finish(&t->d, t->sp);
    turn(t);
    assert_false(pipeline_empty(t->f.p)); /* it need not be synced to be delivered */
    assert_true(t->deadline == t->f.now.mono_ms + 20);
    assert_int_equal(spool_safe(t->sp, SPOOL_DURABLE), 0);
    t->f.now.mono_ms += 19;
    put(t, "k", "two");
    turn_and_write(t);
    assert_int_equal(t->d.syncs, 0);
    t->f.now.mono_ms += 1;
    turn(t);
    assert_true(t->d.under_way->sync);
    put(t, "k", "three"); /* while it is under way: not safe with it */
    uint64_t safe = spool_end(t->sp) - 32;
    disk_finish(&t->d, t->sp);
    turn(t);
    assert_true(spool_safe(t->sp, SPOOL_DURABLE) == safe);
    disk_finish(&t->d, t->sp);
    turn(t);
    assert_true(t->deadline == t->f.now.mono_ms + 20);
}

static void never_means_never(void **state)
{
    struct t *t = *state;
    spool_set_sync(t->sp, SPOOL_SYNC_NEVER);
    for (unsigned i = 0; i < 100; i++) {
        put_many(t, i, 1, NULL);
        t->f.now.mono_ms += 500;
        settle(t);
    }
    assert_int_equal(t->d.syncs, 0);
    assert_true(t->d.states > 10);
    assert_int_equal(spool_safe(t->sp, SPOOL_DURABLE), 0);
    spool_finish(t->sp);
    for (unsigned i = 0; i < 4; i++)
        turn_and_write(t);
    assert_true(spool_is_quiet(t->sp));
    assert_int_equal(t->d.syncs, 0);
    restart(t);
    assert_int_equal(t->report.records, 0);
}

static void a_new_policy_counts_from_the_next_write(void **state)
{
    struct t *t = *state;
    spool_set_sync(t->sp, SPOOL_SYNC_NEVER);
    put(t, "k", "one");
    turn_and_write(t);
    assert_int_equal(t->d.syncs, 0);
    spool_set_sync(t->sp, 20);
    t->f.now.mono_ms += 20;
    turn_and_write(t);
    assert_int_equal(t->d.syncs, 1);
    assert_true(spool_safe(t->sp, SPOOL_DURABLE) == spool_end(t->sp));
}

/* What lies in the file was never synced, and so neither was a state: until one is, there is no
 * room behind it. */
static void a_full_file_stays_full_when_it_is_synced_from_now_on(void **state)
{
    struct t *t = *state;
    enum spool_put last = SPOOL_OK;
    unsigned n = 0;
    spool_set_sync(t->sp, SPOOL_SYNC_NEVER);
    for (unsigned i = 0; i < 300; i++) { /* more than a lap */
        put_many(t, 10000 + i, 1, NULL);
        t->f.now.mono_ms += 500;
        settle(t);
    }
    fakes_forget_log(&t->f);
    spool_pause(t->sp, true);
    t->f.now.mono_ms += SPOOL_SAVE_MS;
    turn_and_write(t);
    for (unsigned i = 0; i < 1000 && last != SPOOL_FULL; i++) {
        n += put_many(t, n, 1, &last);
        turn_and_write(t);
        t->f.now.mono_ms += SPOOL_HOLD_MS;
    }
    assert_int_equal(last, SPOOL_FULL);
    spool_set_sync(t->sp, 20);
    assert_int_equal(put(t, "k", "one too many"), SPOOL_FULL);
    spool_pause(t->sp, false);
    settle(t);
    expect_sent(t, 0, n);
    assert_null(spool_failed(t->sp));
    for (unsigned i = 0; i < 3; i++) { /* a state is synced, and there is room again */
        turn_and_write(t);
        t->f.now.mono_ms += SPOOL_SAVE_MS;
    }
    assert_int_equal(put_many(t, n, 20, &last), 20);
    settle(t);
    expect_sent(t, 0, n + 20);
}

static void an_idle_spool_asks_for_nothing(void **state)
{
    struct t *t = *state;
    put(t, "k", "one");
    settle(t);
    turn_and_write(t);
    assert_true(t->deadline <=
                t->f.now.mono_ms + SPOOL_SAVE_MS); /* what is delivered is not saved */
    t->f.now.mono_ms += SPOOL_SAVE_MS;
    turn_and_write(t);
    unsigned writes = t->d.writes;
    assert_true(t->deadline == UINT64_MAX);
    t->f.now.mono_ms += 1000000;
    turn_and_write(t);
    assert_int_equal(t->d.writes, writes);
    restart(t);
    assert_int_equal(t->report.records, 0);
    turn_and_write(t);
    assert_int_equal(t->d.writes, writes);
}

static void the_state_alone_is_written_once_a_second_at_most(void **state)
{
    struct t *t = *state;
    for (unsigned i = 0; i < 1000; i++) {
        put(t, "k", "x");
        t->f.now.mono_ms += 10;
        settle(t);
    }
    assert_in_range(t->d.states, 8, 12);
}

static void a_stop_in_good_order_leaves_nothing_to_look_for(void **state)
{
    struct t *t = *state;
    spool_set_sync(t->sp, 60000);
    put_many(t, 1, 10, NULL);
    settle(t);
    put_many(t, 11, 5, NULL);
    assert_false(spool_is_quiet(t->sp));
    spool_finish(t->sp);
    for (unsigned i = 0; i < 4; i++)
        turn_and_write(t);
    assert_true(spool_is_quiet(t->sp));
    unsigned writes = t->d.writes;
    turn_and_write(t);
    assert_int_equal(t->d.writes, writes);
    t->d.reads = 0;
    restart(t);
    assert_int_equal(t->report.records, 5);
    assert_true(t->report.cut_bytes == 0 && t->report.damaged_places == 0);
    settle(t);
    expect_sent(t, 11, 5);
}

static void what_is_put_behind_a_clean_end_is_found_again(void **state)
{
    struct t *t = *state;
    char last[1000];
    snprintf(last, sizeof last, "%0983d", 0); /* ends 16 bytes before the lap does: no pad fits */
    unsigned whole = (unsigned)(CAPACITY / 1024) - 1;
    for (unsigned n = 0; n < whole; n += 50) {
        put_many(t, n, n + 50 < whole ? 50 : whole - n, NULL);
        settle(t);
    }
    assert_int_equal(put(t, "k", last), SPOOL_OK);
    assert_int_equal(CAPACITY - spool_end(t->sp), 16);
    settle(t);
    spool_finish(t->sp);
    for (unsigned i = 0; i < 4; i++)
        turn_and_write(t);
    assert_true(spool_is_quiet(t->sp));
    fakes_forget_log(&t->f);
    put_many(t, 0, 5, NULL); /* of a client that had waited for room */
    turn(t);
    disk_finish(&t->d, t->sp);
    turn(t);
    assert_int_equal(spool_safe(t->sp, SPOOL_DURABLE), spool_end(t->sp));
    restart(t);
    assert_int_equal(t->report.records, 5);
    settle(t);
    expect_sent(t, 0, 5);
}

static void a_clean_end_is_no_more_once_something_follows(void **state)
{
    struct t *t = *state;
    struct spoollog_state found;
    bool lost;
    put_many(t, 0, 5, NULL);
    settle(t);
    spool_finish(t->sp);
    for (unsigned i = 0; i < 4; i++)
        turn_and_write(t);
    put_many(t, 0, 5, NULL);
    turn(t);
    disk_finish(&t->d, t->sp);
    struct spoolread r;
    struct spoollog log;
    assert_int_equal(spoolread_header(disk_on_read, &t->d, &log, NULL), 0);
    assert_true(spoolread_init(&r, &log, disk_on_read, &t->d, SPOOLREAD_WINDOW));
    assert_int_equal(spoolread_state(&r, &found, &lost, NULL), 0);
    assert_false(found.clean);
    spoolread_release(&r);
}

/* ---- full ---- */

static void full_memory_is_over_after_the_write(void **state)
{
    struct t *t = *state;
    enum spool_put last;
    put(t, "k", "first");
    turn(t);
    unsigned n = put_many(t, 0, 1000, &last);
    assert_int_equal(last, SPOOL_BUSY);
    assert_in_range(n, 55, 64); /* of 64 KiB */
    assert_false(spool_has_room(t->sp));
    disk_finish(&t->d, t->sp);
    turn_and_write(t);
    assert_true(spool_has_room(t->sp));
    assert_int_equal(put_many(t, n, 1, &last), 1);
}

static unsigned fill(struct t *t, enum spool_put *last)
{
    unsigned n = 0;
    do {
        n += put_many(t, n, 1000, last);
        turn_and_write(t);
        t->f.now.mono_ms += SPOOL_HOLD_MS;
    } while (*last == SPOOL_BUSY);
    return n;
}

static void what_is_not_read_yet_stays_in_memory_while_all_is_well(void **state)
{
    struct t *t = *state;
    enum spool_put last;
    spool_pause(t->sp, true);
    unsigned n = put_many(t, 0, 1000, &last);
    assert_int_equal(last, SPOOL_BUSY);
    turn_and_write(t);
    assert_int_equal(put_many(t, n, 1, &last), 0);
    assert_int_equal(last, SPOOL_BUSY); /* all is written, and nothing of it was read */
    assert_false(spool_has_room(t->sp));
    uint64_t deadline = spool_turn(t->sp, t->f.now);
    assert_in_range(deadline, t->f.now.mono_ms + 1, t->f.now.mono_ms + SPOOL_HOLD_MS);
    t->f.now.mono_ms = deadline;
    spool_turn(t->sp, t->f.now);
    assert_true(spool_has_room(t->sp));
    assert_int_equal(put_many(t, n, 1, &last), 1);
    spool_pause(t->sp, false);
    settle(t);
    expect_sent(t, 0, n + 1);
}

static void memory_that_time_alone_frees_is_waited_for(void **state)
{
    struct t *t = *state;
    enum spool_put last;
    spool_pause(t->sp, true);
    put_many(t, 0, 64, &last);
    assert_int_equal(last, SPOOL_OK); /* nobody was refused, but there is no room any more */
    turn_and_write(t);
    assert_false(spool_has_room(t->sp));
    uint64_t deadline = spool_turn(t->sp, t->f.now);
    assert_in_range(deadline, t->f.now.mono_ms + 1, t->f.now.mono_ms + SPOOL_HOLD_MS);
    t->f.now.mono_ms = deadline;
    assert_int_equal(spool_turn(t->sp, t->f.now), UINT64_MAX);
    assert_true(spool_has_room(t->sp));
}

static void a_small_record_that_fits_does_not_end_the_waiting_of_a_large_one(void **state)
{
    struct t *t = *state;
    enum spool_put last;
    spool_pause(t->sp, true);
    assert_int_equal(put_many(t, 0, 63, &last), 63); /* of the 64 for which there is memory */
    assert_int_equal(put(t, "k", "small"), SPOOL_OK);
    put_many(t, 0, 1, &last);
    assert_int_equal(last, SPOOL_BUSY);
    assert_int_equal(put(t, "k", "small"), SPOOL_OK);
    turn_and_write(t);
    assert_false(spool_has_room(t->sp));
    assert_in_range(spool_turn(t->sp, t->f.now), t->f.now.mono_ms + 1,
                    t->f.now.mono_ms + SPOOL_HOLD_MS);
}

static void a_full_file_waits_for_delivery(void **state)
{
    struct t *t = *state;
    enum spool_put last;
    spool_pause(t->sp, true);
    unsigned n = fill(t, &last);
    assert_int_equal(last, SPOOL_FULL);
    assert_in_range(n, 240, 256);
    assert_false(spool_has_room(t->sp));
    spool_pause(t->sp, false);
    uint64_t before = t->f.now.mono_ms;
    turn(t);
    assert_true(stats_of(t)->spool_read_back > 100);
    fakes_settle(&t->f);
    turn_and_write(t); /* the room is free once the disk knows, and that is at once */
    assert_true(t->f.now.mono_ms == before);
    assert_true(spool_has_room(t->sp));
    put_many(t, n, 50, &last);
    assert_int_equal(last, SPOOL_OK);
    settle(t);
    expect_sent(t, 0, n + 50);
}

static void a_full_ring_costs_nothing_but_reading_back(void **state)
{
    struct t *t = *state;
    stop(t);
    options.chunk_bytes = 8 * KIB;
    start(t);
    fakes_release(&t->f);
    fakes_init(&t->f, 64 * KIB);
    t->f.logging = true;
    spool_free(t->sp);
    const struct spool_ops ops = disk_ops(&t->d);
    t->sp = spool_new(&options, &ops, t->f.p, NULL);
    assert_int_equal(spool_recover(t->sp, &t->report, NULL), 0);
    unsigned n = 0;
    for (unsigned i = 0; i < 40; i++) {
        n += put_many(t, n, 5, NULL);
        turn_and_write(t);
        t->f.now.mono_ms += SPOOL_HOLD_MS;
    }
    assert_int_equal(n, 200);
    assert_true(ring_used(pipeline_ring(t->f.p)) < 66 * KIB);
    settle(t);
    expect_sent(t, 0, 200);
    assert_true(stats_of(t)->spool_read_back > 50);
}

static void the_oldest_are_dropped_and_counted(void **state)
{
    struct t *t = *state;
    static char text[1000];
    spool_pause(t->sp, true);
    memset(text, 'x', sizeof text - 1);
    const struct spool_item item = {
        .kind = RECORD_DATA, .key = STR("k"), .data = str_of(text), .drop_oldest = true};
    unsigned n = 0, busy = 0;
    while (n < 1000) {
        enum spool_put result = spool_put(t->sp, t->f.now, &item);
        assert_true(result == SPOOL_OK || result == SPOOL_BUSY);
        n += result == SPOOL_OK;
        busy += result == SPOOL_BUSY;
        if (result == SPOOL_BUSY)
            turn_and_write(t);
        t->f.now.mono_ms += result == SPOOL_BUSY ? SPOOL_HOLD_MS : 0;
    }
    uint64_t dropped = stats_of(t)->spool_dropped;
    assert_true(dropped > 700);
    assert_true(busy < 100); /* many at a time */
    spool_pause(t->sp, false);
    settle(t);
    assert_int_equal(t->f.log_n, 1000 - dropped);
}

/* ---- the ring ---- */

static void nothing_is_read_while_paused(void **state)
{
    struct t *t = *state;
    spool_pause(t->sp, true);
    put(t, "k", "one");
    turn_and_write(t);
    assert_true(pipeline_empty(t->f.p));
    spool_pause(t->sp, false);
    turn(t);
    assert_false(pipeline_empty(t->f.p));
}

static void a_dead_letter_without_room_waits_and_holds_up_no_write(void **state)
{
    struct t *t = *state;
    const struct spool_item dead = {
        .kind = RECORD_DEAD, .key = STR("src\0reason"), .data = STR("raw")};
    t->f.no_dead_room = true;
    assert_int_equal(spool_put(t->sp, t->f.now, &dead), SPOOL_OK);
    put(t, "k", "1");
    turn_and_write(t);
    assert_true(pipeline_empty(t->f.p));
    assert_true(t->deadline == t->f.now.mono_ms + SPOOL_AGAIN_MS);
    put(t, "k", "2");
    turn_and_write(t);
    assert_true(spool_safe(t->sp, SPOOL_DURABLE) == spool_end(t->sp));
    t->f.no_dead_room = false;
    turn(t);
    assert_true(pipeline_empty(t->f.p));
    t->f.now.mono_ms += SPOOL_AGAIN_MS;
    settle(t);
    assert_int_equal(t->f.dead_ever, 1);
    assert_int_equal(t->f.log_n, 3);
}

static void a_record_too_long_for_the_ring_is_dropped_aloud(void **state)
{
    struct t *t = *state;
    static char big[40 * KIB];
    memset(big, 'b', sizeof big - 1);
    stop(t);
    disk_release(&t->d);
    disk_init(&t->d, 1 * MIB, 9);
    options.record_max = sizeof big;
    start(t);
    put(t, "k", "1");
    put(t, "k", big);
    put(t, "k", "2");
    turn_and_write(t);
    stop(t);
    options.record_max = 4 * KIB;
    fakes_init(&t->f, 64 * KIB);
    t->f.logging = true;
    const struct spool_ops ops = disk_ops(&t->d);
    t->sp = spool_new(&options, &ops, t->f.p, NULL);
    assert_int_equal(spool_recover(t->sp, &t->report, NULL), 0);
    settle(t);
    expect_sent(t, 1, 2);
    assert_int_equal(stats_of(t)->spool_dropped, 1);
    assert_non_null(strstr(t->d.last_notice, "too long"));
}

/* ---- failure ---- */

static void after_a_failure_nothing_more_is_safe(struct t *t)
{
    uint64_t durable = spool_safe(t->sp, SPOOL_DURABLE);
    uint64_t delivered = spool_safe(t->sp, SPOOL_DELIVERED);
    unsigned writes = t->d.writes;
    assert_int_equal(put(t, "k", "refused"), SPOOL_FAILED);
    const struct spool_item unsafe = {
        .kind = RECORD_DATA, .key = STR("k"), .data = STR("3"), .unsafe = true};
    assert_int_equal(spool_put(t->sp, t->f.now, &unsafe), SPOOL_OK);
    t->f.now.mono_ms += 100000;
    turn(t);
    fakes_settle(&t->f);
    turn(t);
    expect_sent(t, 1, 3); /* what is in memory is delivered all the same */
    assert_int_equal(t->d.writes, writes);
    assert_true(spool_safe(t->sp, SPOOL_DURABLE) == durable);
    assert_true(spool_safe(t->sp, SPOOL_DELIVERED) == delivered);
    spool_finish(t->sp);
    assert_true(spool_is_quiet(t->sp));
    assert_true(t->deadline == UINT64_MAX);
}

static void a_failed_write_is_for_good(void **state)
{
    struct t *t = *state;
    put(t, "k", "1");
    settle(t);
    put(t, "k", "2");
    t->d.fail_writes = 1;
    turn_and_write(t);
    assert_non_null(strstr(spool_failed(t->sp), "No space left"));
    after_a_failure_nothing_more_is_safe(t);
}

static void a_failed_sync_is_for_good(void **state)
{
    struct t *t = *state;
    put(t, "k", "1");
    put(t, "k", "2");
    t->d.fail_syncs = 1;
    turn_and_write(t);
    assert_non_null(strstr(spool_failed(t->sp), "cannot sync"));
    after_a_failure_nothing_more_is_safe(t);
}

static void unsafe_records_flow_through_memory_for_long(void **state)
{
    struct t *t = *state;
    put(t, "k", "x");
    t->d.fail_syncs = 1;
    turn_and_write(t);
    static char text[1000];
    memset(text, 'x', sizeof text - 1);
    const struct spool_item unsafe = {
        .kind = RECORD_DATA, .key = STR("k"), .data = str_of(text), .unsafe = true};
    unsigned n = 0;
    for (unsigned i = 0; i < 1000; i++) { /* some laps */
        n += spool_put(t->sp, t->f.now, &unsafe) == SPOOL_OK;
        if (i % 20 == 0) {
            turn(t);
            fakes_settle(&t->f);
        }
    }
    settle(t);
    assert_int_equal(n, 1000);
    assert_int_equal(t->f.log_n, 1001);
}

/* ---- damage ---- */

static char *byte_at(struct t *t, uint64_t position)
{
    return t->d.bytes + SPOOLLOG_DATA_PLACE + position % CAPACITY;
}

static void a_damaged_middle_costs_the_damaged_records(void **state)
{
    struct t *t = *state;
    uint64_t ends[10];
    for (unsigned i = 0; i < 10; i++) {
        put_many(t, i, 1, NULL);
        ends[i] = spool_end(t->sp);
    }
    turn_and_write(t);
    stop(t);
    *byte_at(t, ends[2] + 100) ^= 1;
    *byte_at(t, ends[3] + 12) ^= 1;
    *byte_at(t, ends[6]) ^= 1;
    start(t);
    assert_int_equal(t->report.records, 7);
    assert_int_equal(t->report.damaged_places, 2);
    assert_true(t->report.damaged_bytes == ends[4] - ends[2] + ends[7] - ends[6]);
    assert_int_equal(t->report.cut_bytes, 0);
    settle(t);
    static const unsigned good[] = {0, 1, 2, 5, 6, 8, 9};
    assert_int_equal(t->f.log_n, ARRAY_LEN(good));
    for (unsigned i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(strtoul(t->f.log[i].data.p, NULL, 10), good[i]);
    assert_true(stats_of(t)->spool_damaged_bytes == t->report.damaged_bytes);
    assert_true(t->d.notices >= 2);
    assert_null(spool_failed(t->sp)); /* known since the start */
}

static void a_damaged_end_is_cut_off_and_written_over(void **state)
{
    struct t *t = *state;
    put_many(t, 0, 3, NULL);
    turn_and_write(t);
    uint64_t good = spool_end(t->sp);
    put_many(t, 3, 1, NULL);
    turn_and_write(t);
    uint64_t end = spool_end(t->sp);
    spool_finish(t->sp); /* so that the state knows how much was written */
    for (unsigned i = 0; i < 3; i++)
        turn_and_write(t);
    stop(t);
    *byte_at(t, good + 50) ^= 1;
    start(t);
    assert_int_equal(t->report.records, 3);
    assert_int_equal(t->report.damaged_places, 0);
    assert_true(t->report.cut_bytes == end - good);
    assert_true(spool_end(t->sp) == good);
    put_many(t, 3, 4, NULL);
    settle(t);
    expect_sent(t, 0, 7);
}

static void a_disk_that_rots_is_not_trusted_any_more(void **state)
{
    struct t *t = *state;
    spool_pause(t->sp, true);
    unsigned n = put_many(t, 0, 30, NULL);
    turn_and_write(t);
    for (unsigned i = 0; i < 5; i++) { /* until no chunk holds the first ones any more */
        t->f.now.mono_ms += SPOOL_HOLD_MS;
        n += put_many(t, n, 11, NULL);
        turn_and_write(t);
    }
    *byte_at(t, 1100) ^= 1;
    spool_pause(t->sp, false);
    settle(t);
    assert_int_equal(t->f.log_n, n - 1);
    assert_true(stats_of(t)->spool_damaged_bytes > 0);
    assert_non_null(spool_failed(t->sp));
    assert_non_null(strstr(spool_failed(t->sp), "the disk has lost it"));
    assert_true(spool_safe(t->sp, SPOOL_DELIVERED) <= 1100);
}

static void a_read_that_fails_is_tried_again(void **state)
{
    struct t *t = *state;
    put_many(t, 0, 5, NULL);
    turn_and_write(t);
    restart(t);
    t->d.fail_reads = 1;
    turn(t);
    assert_true(pipeline_empty(t->f.p));
    assert_true(t->deadline == t->f.now.mono_ms + SPOOL_AGAIN_MS);
    assert_non_null(strstr(t->d.last_notice, "Input/output error"));
    turn(t);
    assert_true(pipeline_empty(t->f.p));
    t->f.now.mono_ms += SPOOL_AGAIN_MS;
    settle(t);
    expect_sent(t, 0, 5);
    assert_int_equal(stats_of(t)->spool_damaged_bytes, 0);
}

static bool read_badly(void *ctx, uint64_t place, char *to, size_t n, struct err *e)
{
    struct disk *d = ctx;
    uint64_t bad = SPOOLLOG_DATA_PLACE + 2 * SPOOLLOG_PAGE;
    if (place < bad + SPOOLLOG_PAGE && place + n > bad && d->fail_reads > 0) {
        err_set(e, ERR_IO, "cannot read: Input/output error");
        return false;
    }
    memcpy(to, d->bytes + place, n);
    return true;
}

static void pages_that_cannot_be_read_cost_their_records(void **state)
{
    struct t *t = *state;
    put_many(t, 0, 30, NULL);
    turn_and_write(t);
    stop(t);
    fakes_init(&t->f, MIB);
    t->f.logging = true;
    struct spool_ops ops = disk_ops(&t->d);
    ops.read = read_badly;
    t->sp = spool_new(&options, &ops, t->f.p, NULL);
    assert_int_equal(spool_recover(t->sp, &t->report, NULL), 0);
    t->d.fail_reads = 1;
    for (unsigned i = 0; i < 10; i++) {
        t->f.now.mono_ms += SPOOL_AGAIN_MS;
        turn(t);
    }
    settle(t);
    assert_in_range(t->f.log_n, 24, 26);
    assert_true(stats_of(t)->spool_damaged_bytes > 0);
}

static void a_start_that_cannot_read_is_an_error(void **state)
{
    struct t *t = *state;
    struct err e;
    const struct spool_ops ops = disk_ops(&t->d);
    stop(t);
    t->d.fail_reads = 1;
    fakes_init(&t->f, MIB);
    assert_null(spool_new(&options, &ops, t->f.p, &e));
    assert_int_equal(e.code, ERR_IO);
    t->sp = spool_new(&options, &ops, t->f.p, &e);
    for (unsigned i = 1; i < 4; i++) {
        t->d.fail_reads = i;
        assert_true(spool_recover(t->sp, &t->report, &e) < 0);
    }
    assert_int_equal(spool_recover(t->sp, &t->report, &e), 0);
}

static void both_states_gone_cost_only_duplicates(void **state)
{
    struct t *t = *state;
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(put_many(t, 20 * i, 20, NULL), 20);
        turn_and_write(t);
        if (i < 15)
            settle(t);
    }
    stop(t);
    memset(t->d.bytes + SPOOLLOG_PAGE, 7, 40);
    memset(t->d.bytes + 2 * SPOOLLOG_PAGE, 7, 40);
    start(t);
    assert_true(t->report.lost_state);
    assert_true(t->report.records >= 100);
    settle(t);
    unsigned first = 400 - (unsigned)t->report.records;
    expect_sent(t, first, 400 - first);
}

static void a_spool_too_small_for_its_records_is_refused(void **state)
{
    struct t *t = *state;
    struct err e;
    const struct spool_ops ops = disk_ops(&t->d);
    struct spool_options o = {.record_max = 1 * MIB};
    assert_null(spool_new(&o, &ops, t->f.p, &e));
    assert_int_equal(e.code, ERR_RANGE);
    assert_non_null(strstr(e.text, "it needs"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_reach_the_ring_only_when_they_are_written),
        TEST(what_was_not_delivered_is_read_again_after_a_restart),
        TEST(a_group_is_synced_together),
        TEST(never_means_never),
        TEST(a_new_policy_counts_from_the_next_write),
        TEST(an_idle_spool_asks_for_nothing),
        TEST(the_state_alone_is_written_once_a_second_at_most),
        TEST(a_stop_in_good_order_leaves_nothing_to_look_for),
        TEST(full_memory_is_over_after_the_write),
        TEST(what_is_not_read_yet_stays_in_memory_while_all_is_well),
        TEST(a_full_file_stays_full_when_it_is_synced_from_now_on),
        TEST(what_is_put_behind_a_clean_end_is_found_again),
        TEST(a_clean_end_is_no_more_once_something_follows),
        TEST(memory_that_time_alone_frees_is_waited_for),
        TEST(a_small_record_that_fits_does_not_end_the_waiting_of_a_large_one),
        TEST(a_full_file_waits_for_delivery),
        TEST(a_full_ring_costs_nothing_but_reading_back),
        TEST(the_oldest_are_dropped_and_counted),
        TEST(nothing_is_read_while_paused),
        TEST(a_dead_letter_without_room_waits_and_holds_up_no_write),
        TEST(a_record_too_long_for_the_ring_is_dropped_aloud),
        TEST(a_failed_write_is_for_good),
        TEST(a_failed_sync_is_for_good),
        TEST(unsafe_records_flow_through_memory_for_long),
        TEST(a_damaged_middle_costs_the_damaged_records),
        TEST(a_damaged_end_is_cut_off_and_written_over),
        TEST(a_disk_that_rots_is_not_trusted_any_more),
        TEST(a_read_that_fails_is_tried_again),
        TEST(pages_that_cannot_be_read_cost_their_records),
        TEST(a_start_that_cannot_read_is_an_error),
        TEST(both_states_gone_cost_only_duplicates),
        TEST(a_spool_too_small_for_its_records_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
