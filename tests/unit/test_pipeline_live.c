/* A real pipeline before a false Kinesis that has moods for minutes: records that it refuses one by
 * one again and again, keys that it throttles, records that it will never take, a time in which
 * whole requests are lost, no credentials, nowhere to store a dead letter. The clock moves only to
 * where the pipeline asked for a turn, where an answer comes, or where a record is put.
 *
 * What is asked here is not whether all is safe (sim does that), but whether all goes on:
 *   - what is in the ring is in flight, or has a turn asked for it
 *   - a record that the service would take is taken soon, whatever it thinks of others
 *   - what gets nowhere is tried rarely
 *   - when the mood is over, all is soon delivered
 * Everything comes from a seed; a failure prints it. test_pipeline_live FIRST COUNT runs others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/backoff.h"
#include "lib/pipeline_in.h"
#include "tests/unit/fakes.h"

#define NEVER               UINT64_MAX
#define RECORDS_MAX         8000
#define PHASES              4
#define SECOND_MS           ((uint64_t)1000)
#define WINDOW_MS           (10 * SECOND_MS) /* in which requests that get nowhere are counted */
#define POISON_MAX          10 /* in a phase: each is searched for in some 18 requests */
#define POISON_IN_A_ROW_MAX (REFUSED_IN_A_ROW_MAX / 2) /* more are a person's matter */

enum trait { PLAIN, STUBBORN, HOT, POISON, DEAD };

struct truth {
    enum trait trait;
    uint64_t put_ms;
    bool settled;
};

struct mood {
    bool stubborn, hot;             /* in force */
    bool expired, no_keys, no_dead; /* credentials refused, or not there; letters not stored */
    unsigned lost;                  /* whole requests, per mille */
    unsigned burst_max;             /* records put at once */
    uint64_t pause_max_ms, latency_max_ms;
    unsigned trait_share[DEAD + 1]; /* of the records that are put, per mille */
};

struct world {
    struct rng rng;
    uint64_t seed;
    struct fakes f;
    struct origin origin;
    struct mood mood;
    struct truth all[RECORDS_MAX];
    unsigned n, phases, oldest_plain, poison, poison_in_a_row;
    size_t data_max;
    uint64_t linger_ms;
    uint64_t deadline, next_put, answers[PIPELINE_SLOTS_MAX], dead_answer;
    uint64_t clear_from; /* from then on, or from now, nothing keeps a plain record waiting */
    uint64_t window_from;
    unsigned fruitless, fruitful, narrowed, batches_most, turns;
    uint64_t longest_ms;
    char complaint[200];
};

static struct world w;
static uint64_t first_seed = 1, seeds = 40;

#define DEMAND(condition)                                                                          \
    do {                                                                                           \
        if (!(condition) && w.complaint[0] == '\0')                                                \
            snprintf(w.complaint, sizeof w.complaint, "at %llu ms, line %d: %s",                   \
                     (unsigned long long)w.f.now.mono_ms, __LINE__, #condition);                   \
    } while (0)

static bool chance(unsigned per_mille)
{
    return rng_below(&w.rng, 1000) < per_mille;
}

/* ---- records ---- */

static bool may_be_poison(void)
{
    return w.poison < w.phases * POISON_MAX && w.poison_in_a_row < POISON_IN_A_ROW_MAX;
}

static enum trait choose_trait(void)
{
    unsigned dice = (unsigned)rng_below(&w.rng, 1000);
    for (enum trait t = STUBBORN; t <= DEAD; t++) {
        if (dice < w.mood.trait_share[t])
            return t == POISON && !may_be_poison() ? PLAIN : t;
        dice -= w.mood.trait_share[t];
    }
    return PLAIN;
}

static bool put_one(void)
{
    static const char bytes[64 * KIB];
    if (w.n == RECORDS_MAX || w.f.paused)
        return false;
    enum trait trait = choose_trait();
    const struct pipeline_item item = {
        .kind = trait == DEAD ? RECORD_DEAD : RECORD_DATA,
        .key = STR("k"),
        .data = {bytes, (size_t)rng_below(&w.rng, w.data_max)},
        .begin = w.n,
        .end = w.n + 1,
    };
    if (pipeline_put(w.f.p, w.f.now, &w.origin, &item) != PUT_OK)
        return false;
    w.all[w.n++] = (struct truth){.trait = trait, .put_ms = w.f.now.mono_ms};
    w.origin.read_at = w.n;
    w.poison += trait == POISON;
    if (trait == PLAIN || trait == POISON)
        w.poison_in_a_row = trait == POISON ? w.poison_in_a_row + 1 : 0;
    return true;
}

static void put_some(void)
{
    for (uint64_t i = 1 + rng_below(&w.rng, w.mood.burst_max); i > 0 && put_one(); i--)
        continue;
    w.next_put = w.f.now.mono_ms + 1 + rng_below(&w.rng, w.mood.pause_max_ms);
}

static void settled(const struct record *rec)
{
    struct truth *t = &w.all[rec->begin];
    uint64_t since = t->put_ms > w.clear_from ? t->put_ms : w.clear_from;
    if (t->trait == PLAIN && w.f.now.mono_ms > since && w.f.now.mono_ms - since > w.longest_ms)
        w.longest_ms = w.f.now.mono_ms - since;
    DEMAND(!t->settled);
    t->settled = true;
}

/* ---- Kinesis ---- */

static void refuse(unsigned slot)
{
    if (w.f.requests[slot].n > 1) {
        w.narrowed++;
        w.fruitless--;
    }
    fakes_answer(&w.f, slot, 400, "{\"__type\":\"ValidationException\"}");
}

/* What the service thinks of a request, if it looks at its records. Returns how many it took. */
static unsigned look_at(unsigned slot)
{
    struct fake_request *q = &w.f.requests[slot];
    uint8_t failed[BATCH_RECORDS_MAX] = {0};
    unsigned failed_n = 0;
    bool throttled = false;
    for (unsigned i = 0; i < q->n; i++) {
        enum trait trait = w.all[q->records[i]->begin].trait;
        if (trait == POISON) {
            refuse(slot);
            return 0;
        }
        failed[i] = (trait == STUBBORN && w.mood.stubborn) || (trait == HOT && w.mood.hot);
        failed_n += failed[i];
        throttled |= trait == HOT && failed[i];
    }
    for (unsigned i = 0; i < q->n; i++)
        if (!failed[i])
            settled(q->records[i]);
    unsigned taken = q->n - failed_n;
    fakes_answer_entries(&w.f, slot, failed,
                         throttled ? "ProvisionedThroughputExceededException" : "InternalFailure");
    return taken;
}

static void answer(unsigned slot)
{
    static const struct {
        int status;
        const char *text;
    } losses[] = {{500, ""}, {0, ""}, {503, ""}, {400, "{\"__type\":\"ThrottlingException\"}"}};
    w.answers[slot] = NEVER;
    if (w.mood.expired) {
        fakes_answer(&w.f, slot, 400, "{\"__type\":\"ExpiredTokenException\"}");
    } else if (chance(w.mood.lost)) {
        unsigned i = (unsigned)rng_below(&w.rng, ARRAY_LEN(losses));
        fakes_answer(&w.f, slot, losses[i].status, losses[i].text);
    } else if (look_at(slot) > 0) {
        w.fruitful++;
        return;
    }
    w.fruitless++;
}

static void answer_what_is_due(void)
{
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++)
        if (w.f.requests[i].busy && w.answers[i] <= w.f.now.mono_ms)
            answer(i);
    if (w.dead_answer > w.f.now.mono_ms)
        return;
    w.dead_answer = NEVER;
    for (unsigned i = 0; i < w.f.dead_n && !w.mood.no_dead; i++)
        settled(w.f.dead[i].rec);
    fakes_store_dead(&w.f, !w.mood.no_dead);
}

static uint64_t next_answer(void)
{
    uint64_t next = w.dead_answer;
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++) {
        if (!w.f.requests[i].busy)
            continue;
        if (w.answers[i] == NEVER) /* it has just been sent */
            w.answers[i] = w.f.now.mono_ms + 1 + rng_below(&w.rng, w.mood.latency_max_ms);
        next = min_u64(next, w.answers[i]);
    }
    return next;
}

/* ---- what must hold ---- */

/* How long a record may wait that the service would take: what is before it goes out first, and
 * each request of these may have to wait for one that gets nowhere. */
static uint64_t patience_ms(void)
{
    return 2 * BACKOFF_CAP_MS + w.linger_ms + (100 + 20 * POISON_MAX) * w.mood.latency_max_ms;
}

static bool is_clear(void)
{
    const struct mood *m = &w.mood;
    return !m->expired && !m->no_keys && !m->no_dead && m->lost == 0 &&
           w.f.p->waiting_n + w.f.p->flying < BATCHES_WAITING_MAX;
}

static void watch_the_plain(void)
{
    uint64_t now = w.f.now.mono_ms;
    if (!is_clear() && w.clear_from < now)
        w.clear_from = now;
    if (w.mood.expired)
        w.clear_from = now + HELD_CAP_MS;
    while (w.oldest_plain < w.n &&
           (w.all[w.oldest_plain].settled || w.all[w.oldest_plain].trait != PLAIN))
        w.oldest_plain++;
    if (w.oldest_plain == w.n)
        return;
    uint64_t put_ms = w.all[w.oldest_plain].put_ms;
    uint64_t since = put_ms > w.clear_from ? put_ms : w.clear_from;
    DEMAND(now <= since || now - since <= patience_ms());
}

static void watch_the_storm(void)
{
    uint64_t now = w.f.now.mono_ms;
    unsigned batches = w.f.p->flying + w.f.p->waiting_n;
    if (now - w.window_from >= WINDOW_MS) {
        w.window_from = now;
        w.fruitless = w.fruitful = w.batches_most = 0;
    }
    if (w.batches_most < batches)
        w.batches_most = batches;
    /* Some nine in a batch's first ten seconds; each that gets somewhere makes room for another. */
    DEMAND(w.fruitless <= 12 * w.batches_most + 30 + w.fruitful);
    DEMAND(w.narrowed <= 20 * w.poison + 100);
}

static void turn(void)
{
    uint64_t now = w.f.now.mono_ms;
    w.deadline = fakes_pump(&w.f);
    if (w.f.dead_n > 0 && w.dead_answer == NEVER)
        w.dead_answer = now + 1 + rng_below(&w.rng, w.mood.latency_max_ms);
    bool under_way = w.f.flying > 0 || w.f.dead_n > 0;
    DEMAND(w.deadline != NEVER || under_way || pipeline_empty(w.f.p) || w.mood.no_keys);
    DEMAND(!w.f.paused || !pipeline_empty(w.f.p));
    watch_the_plain();
    watch_the_storm();
    w.turns++;
}

/* One turn, at the next moment at which there is something to do. */
static void step(uint64_t until_ms)
{
    uint64_t now = w.f.now.mono_ms;
    uint64_t next = min_u64(min_u64(next_answer(), w.deadline), min_u64(w.next_put, until_ms));
    if (next > now) {
        w.f.now.mono_ms = next;
        w.f.now.wall_ms += next - now;
        w.turns = 0;
    }
    DEMAND(w.turns < 1000); /* without time moving */
    answer_what_is_due();
    if (w.next_put <= w.f.now.mono_ms)
        put_some();
    turn();
}

/* ---- moods ---- */

static void use_keys(bool there)
{
    const struct sign_credentials c = {.access_key_id = "AKID", .secret_access_key = "secret"};
    assert_true(pipeline_credentials(w.f.p, there ? &c : NULL));
}

static void choose_traits(struct mood *m)
{
    static const unsigned shares[] = {0, 1, 5, 40, 300};
    m->trait_share[STUBBORN] = shares[rng_below(&w.rng, 5)];
    m->trait_share[HOT] = shares[rng_below(&w.rng, 5)];
    m->trait_share[POISON] = shares[rng_below(&w.rng, 4)];
    m->trait_share[DEAD] = shares[rng_below(&w.rng, 3)];
}

static void choose_mood(bool rough)
{
    static const unsigned bursts[] = {1, 3, 40, 1200};
    static const uint64_t pauses[] = {20, 500, 10000}, latencies[] = {2, 50, 150, 400};
    struct mood m = {
        .stubborn = !chance(200),
        .hot = !chance(200),
        .burst_max = bursts[rng_below(&w.rng, 4)],
        .pause_max_ms = pauses[rng_below(&w.rng, 3)],
        .latency_max_ms = latencies[rng_below(&w.rng, 4)],
    };
    choose_traits(&m);
    if (rough) {
        m.lost = chance(500) ? (unsigned)rng_below(&w.rng, 1001) : 0;
        m.expired = chance(150);
        m.no_keys = chance(150);
        m.no_dead = chance(300);
    }
    w.mood = m;
    use_keys(!m.no_keys);
}

/* Some records more, and then nothing but what the pipeline does by itself. */
static void live(bool rough)
{
    choose_mood(rough);
    w.phases++;
    uint64_t now = w.f.now.mono_ms, until = now + 200 * SECOND_MS + patience_ms();
    uint64_t puts_until = now + rng_below(&w.rng, 100 * SECOND_MS);
    unsigned n_max = w.n + RECORDS_MAX / PHASES;
    w.next_put = now;
    turn(); /* the mood may have brought the keys */
    while (w.f.now.mono_ms < until && w.complaint[0] == '\0') {
        step(until);
        if (w.f.now.mono_ms >= puts_until || w.n >= n_max)
            w.next_put = NEVER;
    }
}

static void settle(void)
{
    w.mood = (struct mood){.latency_max_ms = 20, .burst_max = 1, .pause_max_ms = 1};
    w.next_put = NEVER;
    use_keys(true);
    turn();
    uint64_t until = w.f.now.mono_ms + patience_ms() + HELD_CAP_MS;
    while (!pipeline_empty(w.f.p) && w.f.now.mono_ms < until && w.complaint[0] == '\0')
        step(until);
    DEMAND(pipeline_empty(w.f.p));
    DEMAND(w.origin.delivered == w.n);
    for (unsigned i = 0; i < w.n; i++)
        DEMAND(w.all[i].settled);
}

/* ---- runs ---- */

static void begin(uint64_t seed)
{
    static const size_t sizes[] = {30, 300, 20 * KIB}, rings[] = {64 * KIB, 512 * KIB, 4 * MIB};
    memset(&w, 0, sizeof w);
    w.seed = seed;
    rng_seed(&w.rng, seed);
    w.data_max = sizes[rng_below(&w.rng, 3)];
    w.linger_ms = chance(300) ? 0 : rng_below(&w.rng, 301);
    fakes_init(&w.f, rings[rng_below(&w.rng, 3)]);
    assert_true(fakes_configure(&w.f, w.linger_ms, 1 + (unsigned)rng_below(&w.rng, 6)));
    rng_seed(pipeline_rng(w.f.p), seed);
    list_init(&w.origin.moved);
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++)
        w.answers[i] = NEVER;
    w.dead_answer = NEVER;
    w.clear_from = w.window_from = w.f.now.mono_ms;
}

static void run(uint64_t seed, bool rough)
{
    begin(seed);
    for (unsigned i = 0; i < PHASES && w.complaint[0] == '\0'; i++)
        live(rough);
    if (w.complaint[0] == '\0')
        settle();
    list_del(&w.origin.moved);
    fakes_release(&w.f);
    if (w.complaint[0] != '\0')
        fail_msg("seed %llu: %s", (unsigned long long)seed, w.complaint);
}

static void what_the_service_would_take_never_waits_for_what_it_refuses(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++)
        run(seed, false);
}

static void after_any_trouble_all_goes_on(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++)
        run(seed, true);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_service_would_take_never_waits_for_what_it_refuses),
        cmocka_unit_test(after_any_trouble_all_goes_on),
    };
    if (argc > 2) {
        first_seed = strtoull(argv[1], NULL, 10);
        seeds = strtoull(argv[2], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
