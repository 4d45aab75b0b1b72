/* A real spool and a real pipeline over a false disk and a false Kinesis, which end at any moment,
 * many times: by kill -9, by a power cut that leaves any of the sectors that were not synced, or in
 * good order. Everything comes from a seed; a failure prints it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/spool.h"
#include "tests/unit/fakes.h"
#include "tests/unit/spooldisk.h"

#define IDS_MAX 6000

struct truth {
    uint64_t end;          /* the position behind it, in the life that put it */
    unsigned life;         /* that life */
    bool durable, settled; /* a client was told so */
    bool written;          /* the write it was in had succeeded */
    bool dead;             /* it was put as a dead letter */
    unsigned arrived;
};

enum crash { CRASH_KILL, CRASH_POWER, CRASH_NONE };

struct world {
    struct rng rng;
    uint64_t seed;
    struct disk disk;
    struct fakes f;
    struct spool *sp;
    struct spool_options o;
    enum crash crash;
    bool drop_oldest, unsafe;
    bool failed_ever, failed_before;
    bool fails; /* a write or a sync fails in some lives */
    struct truth all[IDS_MAX];
    unsigned n, life;
    unsigned told_durable, told_delivered; /* ids of this life before are done */
    uint64_t end_of_write;
    bool was_under_way;
    uint64_t sent_to, dead_to; /* how far records went out in this life */
    uint64_t recovered, durable, delivered, dropped;
    char complaint[200];
};

static struct world w;

#define DEMAND(condition)                                                                          \
    do {                                                                                           \
        if (!(condition) && w.complaint[0] == '\0')                                                \
            snprintf(w.complaint, sizeof w.complaint, "line %d: %s", __LINE__, #condition);        \
    } while (0)

static bool chance(unsigned per_mille)
{
    return rng_below(&w.rng, 1000) < per_mille;
}

/* ---- records ---- */

static size_t text_of(unsigned id, char *to)
{
    struct rng r;
    rng_seed(&r, w.seed * 1000003 + id);
    size_t n = (size_t)snprintf(to, 32, "#%u#", id);
    size_t more = (size_t)rng_below(&r, rng_below(&r, 10) == 0 ? w.o.record_max - 100 : 60);
    for (size_t i = 0; i < more; i++)
        to[n++] = (char)rng_next(&r);
    return n;
}

static unsigned identify(const struct record *rec)
{
    char text[8 * KIB];
    struct str data = record_data(rec);
    unsigned id = data.n > 1 && data.p[0] == '#' ? (unsigned)strtoul(data.p + 1, NULL, 10) : w.n;
    DEMAND(id < w.n);
    if (id >= w.n)
        return 0;
    size_t n = text_of(id, text);
    DEMAND(n == data.n && memcmp(text, data.p, n) == 0);
    DEMAND(w.all[id].dead == (rec->kind == RECORD_DEAD));
    return id;
}

static void put_one(void)
{
    static char text[8 * KIB];
    char key[16];
    if (w.n == IDS_MAX)
        return;
    struct truth *t = &w.all[w.n];
    *t = (struct truth){.life = w.life, .dead = chance(20)};
    size_t n = text_of(w.n, text), key_n = (size_t)snprintf(key, sizeof key, "k%u", w.n);
    const struct spool_item item = {.kind = t->dead ? RECORD_DEAD : RECORD_DATA,
                                    .key = {key, key_n},
                                    .data = {text, n},
                                    .key_plain = true,
                                    .unsafe = w.unsafe,
                                    .drop_oldest = w.drop_oldest};
    bool room = spool_has_room(w.sp);
    enum spool_put result = spool_put(w.sp, w.f.now, &item);
    DEMAND(!room || result == SPOOL_OK || result == SPOOL_FAILED);
    if (result != SPOOL_OK)
        return;
    t->end = spool_end(w.sp);
    w.n++;
}

/* ---- lives ---- */

static void on_found(void *ctx, enum spoolread_found found, const struct spoolread_item *item)
{
    const uint64_t *durable = ctx;
    DEMAND(found == SPOOLREAD_RECORD || item->begin < w.recovered || item->begin >= *durable);
}

/* What was synced is whole: its room was not used again before the disk knew that it may be. */
static void check_disk(void)
{
    struct spoolread r;
    struct spoollog log;
    struct spoollog_state state;
    struct spool_report report;
    bool lost;
    uint64_t end, durable = w.o.sync_ms == SPOOL_SYNC_NEVER ? 0 : w.durable;
    assert_int_equal(spoolread_header(disk_on_read, &w.disk, &log, NULL), 0);
    assert_true(spoolread_init(&r, &log, disk_on_read, &w.disk, SPOOLREAD_WINDOW));
    assert_int_equal(spoolread_state(&r, &state, &lost, NULL), 0);
    assert_int_equal(spoolread_survey(&r, &state, on_found, &durable, &report, &end, NULL), 0);
    DEMAND(!lost);
    DEMAND(end >= durable);
    spoolread_release(&r);
}

static void begin_life(void)
{
    const struct spool_ops ops = disk_ops(&w.disk);
    struct spool_report report;
    struct err e;
    uint64_t wall = w.f.now.mono_ms;
    check_disk();
    disk_sync(&w.disk); /* as the device does */
    fakes_init(&w.f, 64 * KIB);
    w.f.now.mono_ms += wall;
    w.life++;
    w.sp = spool_new(&w.o, &ops, w.f.p, &e);
    assert_non_null(w.sp);
    assert_int_equal(spool_recover(w.sp, &report, &e), 0);
    w.told_durable = w.told_delivered = w.n;
    w.sent_to = w.dead_to = 0;
    w.was_under_way = w.failed_before = false;
    w.recovered = w.durable = spool_safe(w.sp, SPOOL_DURABLE);
    w.delivered = spool_safe(w.sp, SPOOL_DELIVERED);
    DEMAND(!report.lost_state);
    if (w.crash != CRASH_POWER)
        DEMAND(report.damaged_places == 0 && report.damaged_bytes == 0 && report.cut_bytes == 0);
}

static void end_life(void)
{
    struct err e;
    const struct stats *stats = pipeline_stats(w.f.p);
    w.dropped += stats->spool_dropped;
    DEMAND(w.crash == CRASH_POWER || stats->spool_damaged_bytes == 0);
    DEMAND(spool_failed(w.sp) == NULL || w.failed_ever);
    err_set(&e, ERR_IO, "the end");
    if (w.was_under_way)
        spool_wrote(w.sp, &e);
    spool_free(w.sp);
    fakes_release(&w.f);
}

static void watch_write(void)
{
    if (w.disk.under_way != NULL && !w.was_under_way)
        w.end_of_write = spool_end(w.sp);
    w.was_under_way = w.disk.under_way != NULL;
}

/* What clients are told is written down, and held against what is so. */
static void listen(void)
{
    uint64_t durable = spool_safe(w.sp, SPOOL_DURABLE);
    uint64_t delivered = spool_safe(w.sp, SPOOL_DELIVERED);
    DEMAND(durable >= w.durable && delivered >= w.delivered);
    if (spool_failed(w.sp) != NULL && w.failed_before)
        DEMAND(durable == w.durable && delivered == w.delivered);
    w.failed_before = spool_failed(w.sp) != NULL;
    DEMAND(delivered <= spool_end(w.sp) && durable <= spool_end(w.sp));
    w.durable = durable;
    w.delivered = delivered;
    for (; w.told_durable < w.n && w.all[w.told_durable].end <= durable; w.told_durable++)
        w.all[w.told_durable].durable = true;
    for (; w.told_delivered < w.n && w.all[w.told_delivered].end <= delivered; w.told_delivered++) {
        DEMAND(w.all[w.told_delivered].arrived > 0 || w.drop_oldest);
        w.all[w.told_delivered].settled = true;
    }
}

static void turn(void)
{
    uint64_t deadline = spool_turn(w.sp, w.f.now);
    DEMAND(deadline >= w.f.now.mono_ms);
    watch_write();
    listen();
}

static void finish_write(void)
{
    bool fails = w.disk.fail_writes == 1 || w.disk.fail_syncs == 1;
    w.failed_ever |= fails;
    if (!w.was_under_way)
        return;
    disk_finish(&w.disk, w.sp);
    w.was_under_way = false;
    for (unsigned i = w.told_durable; !fails && i < w.n; i++)
        w.all[i].written |= w.all[i].end <= w.end_of_write && w.all[i].life == w.life;
}

/* ---- Kinesis, and the dead letters ---- */

static void check_order(void)
{
    for (unsigned slot = 0; slot < PIPELINE_SLOTS_MAX; slot++) {
        const struct fake_request *q = &w.f.requests[slot];
        for (unsigned i = 0; q->busy && i < q->n; i++)
            if (q->records[i]->begin >= w.sent_to)
                w.sent_to = q->records[i]->end;
    }
}

static void accept(unsigned slot, bool loses_answer)
{
    struct fake_request *q = &w.f.requests[slot];
    uint8_t failed[BATCH_RECORDS_MAX] = {0};
    unsigned share = chance(100) ? (unsigned)rng_below(&w.rng, 1000) : 0;
    uint64_t last = 0;
    for (unsigned i = 0; i < q->n; i++) {
        DEMAND(q->records[i]->begin >= last); /* in one request, in the order of the spool */
        last = q->records[i]->end;
        failed[i] = chance(share);
        unsigned id = identify(q->records[i]);
        w.all[id].arrived += !failed[i];
    }
    if (!loses_answer)
        fakes_answer_entries(&w.f, slot, failed, "InternalFailure");
}

static void serve(unsigned willing)
{
    check_order();
    for (unsigned slot = 0; slot < PIPELINE_SLOTS_MAX; slot++) {
        if (!w.f.requests[slot].busy || !chance(willing))
            continue;
        if (chance(50))
            fakes_answer(&w.f, slot, 500, "");
        else
            accept(slot, false);
    }
    if (w.f.dead_n > 0 && chance(willing)) {
        bool stored = !chance(100);
        for (unsigned i = 0; i < w.f.dead_n && stored; i++) {
            DEMAND(w.f.dead[i].rec->begin >= w.dead_to || chance(1000));
            w.all[identify(w.f.dead[i].rec)].arrived++;
        }
        fakes_store_dead(&w.f, stored);
    }
    w.f.no_dead_room = willing < 1000 && chance(50);
}

/* One go of the loop, as the daemon has it. */
static void loop_turn(unsigned willing)
{
    turn();
    spool_pause(w.sp, w.f.paused);
    serve(willing);
    fakes_pump(&w.f);
    spool_pause(w.sp, w.f.paused);
    turn();
    list_del(&spool_origin(w.sp)->moved);
}

/* ---- the end of a life ---- */

static void crash(void)
{
    for (unsigned slot = 0; slot < PIPELINE_SLOTS_MAX; slot++)
        if (w.f.requests[slot].busy && chance(500))
            accept(slot, true); /* it was on the wire already */
    if (w.crash == CRASH_POWER && chance(700))
        disk_cut_power(&w.disk, &w.rng);
    else
        disk_kill(&w.disk, &w.rng);
    end_life();
    begin_life();
}

static void stop_in_order(void)
{
    spool_finish(w.sp);
    for (unsigned i = 0; i < 8 && !spool_is_quiet(w.sp); i++) {
        turn();
        finish_write();
    }
    DEMAND(spool_is_quiet(w.sp));
    uint64_t end = spool_end(w.sp), delivered = spool_safe(w.sp, SPOOL_DELIVERED);
    bool failed = spool_failed(w.sp) != NULL;
    end_life();
    begin_life();
    if (failed)
        return;
    /* A power cut may have left a record behind the end of which the log has now come to. */
    DEMAND(spool_end(w.sp) == end || (w.crash == CRASH_POWER && spool_end(w.sp) > end));
    DEMAND(w.drop_oldest || spool_safe(w.sp, SPOOL_DELIVERED) == delivered);
}

/* ---- a run ---- */

static void choose(uint64_t seed, enum crash crash)
{
    static const uint64_t syncs[] = {0, 5, 20, 1000, SPOOL_SYNC_NEVER};
    static const uint64_t capacities[] = {64 * KIB, 128 * KIB, 512 * KIB};
    memset(&w, 0, sizeof w);
    w.seed = seed;
    rng_seed(&w.rng, seed);
    w.crash = crash;
    w.o.sync_ms = syncs[rng_below(&w.rng, 5)];
    w.o.record_max = 300 + (size_t)rng_below(&w.rng, 3000);
    w.o.chunk_bytes = 4 * KIB + 8 * (size_t)rng_below(&w.rng, 500);
    uint64_t capacity = capacities[rng_below(&w.rng, 3)];
    if (seed % 2 == 0) { /* room is scarce, and the disk behind */
        w.o.sync_ms = 1000;
        capacity = 64 * KIB;
    }
    disk_init(&w.disk, capacity, rng_next(&w.rng));
}

static void live(unsigned steps)
{
    unsigned willing = 700, eager = 10;
    for (unsigned i = 0; i < steps && w.complaint[0] == '\0'; i++) {
        if (chance(30)) {
            willing = chance(300) ? 0 : (unsigned)rng_below(&w.rng, 1000);
            eager = 1 + (unsigned)rng_below(&w.rng, 40);
        }
        for (uint64_t k = rng_below(&w.rng, eager); k > 0; k--)
            put_one();
        w.f.now.mono_ms += rng_below(&w.rng, chance(100) ? 2000 : 10);
        loop_turn(willing);
        if (chance(600))
            finish_write();
        if (w.fails && chance(10))
            *(chance(500) ? &w.disk.fail_writes : &w.disk.fail_syncs) = 1;
        w.unsafe = w.fails && chance(500);
        if (w.crash != CRASH_NONE && chance(15))
            crash();
        else if (w.crash != CRASH_NONE && chance(5) && spool_failed(w.sp) == NULL)
            stop_in_order();
    }
}

/* No more records, no more crashes: everything is delivered. */
static void settle(void)
{
    w.disk.fail_writes = w.disk.fail_syncs = 0;
    w.fails = false;
    if (spool_failed(w.sp) != NULL)
        crash();
    for (unsigned i = 0; i < 20000 && !(spool_is_empty(w.sp) && pipeline_empty(w.f.p)); i++) {
        w.f.now.mono_ms += 1000;
        loop_turn(1000);
        finish_write();
    }
    DEMAND(spool_is_empty(w.sp));
    DEMAND(pipeline_empty(w.f.p));
}

static void judge(void)
{
    bool syncs = w.o.sync_ms != SPOOL_SYNC_NEVER;
    for (unsigned i = 0; i < w.n && !w.drop_oldest; i++) {
        const struct truth *t = &w.all[i];
        DEMAND(!t->settled || t->arrived > 0);
        DEMAND(!t->durable || t->arrived > 0);
        DEMAND(w.crash == CRASH_POWER || !t->written || t->arrived > 0);
        DEMAND(!t->durable || syncs);
    }
}

static void finish(void)
{
    stop_in_order();
    end_life();
    disk_release(&w.disk);
    if (w.complaint[0] != '\0')
        fail_msg("seed %llu: %s", (unsigned long long)w.seed, w.complaint);
}

static void run(void)
{
    begin_life();
    live(400);
    settle();
    judge();
    finish();
}

static void kill_9_loses_nothing_that_was_written(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 250; seed++) {
        choose(seed, CRASH_KILL);
        run();
    }
}

static void a_power_cut_loses_nothing_that_was_synced(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 600; seed++) {
        choose(seed, CRASH_POWER);
        run();
    }
}

static void a_failing_disk_makes_no_acknowledgement_a_lie(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        choose(seed, CRASH_POWER);
        w.fails = true;
        run();
    }
}

static void what_a_full_spool_drops_is_counted_exactly(void **state)
{
    (void)state;
    uint64_t dropped = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        choose(seed, CRASH_NONE);
        w.drop_oldest = true;
        begin_life();
        live(400);
        settle();
        uint64_t lost = 0;
        for (unsigned i = 0; i < w.n; i++)
            lost += w.all[i].arrived == 0;
        DEMAND(lost == pipeline_stats(w.f.p)->spool_dropped);
        dropped += lost;
        finish();
    }
    assert_true(dropped > 1000); /* the test has tested something */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kill_9_loses_nothing_that_was_written),
        cmocka_unit_test(a_power_cut_loses_nothing_that_was_synced),
        cmocka_unit_test(a_failing_disk_makes_no_acknowledgement_a_lie),
        cmocka_unit_test(what_a_full_spool_drops_is_counted_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
