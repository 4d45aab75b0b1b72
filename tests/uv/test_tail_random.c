/* Writers that rotate in every way, in random order, while the tail is paused, looked away from,
 * short of room and of descriptors. Nothing is ever deleted, so every line must come; and where
 * every file can be recognised, once, and in order. A failure names its seed. */
#include "lib/rng.h"
#include "tests/uv/follow.h"

#define APPS      3
#define OPS       120
#define ROTATED   400 /* names there may be of one log */
#define HOLD_LONG 1000000

enum mode {
    MODE_RENAME, /* nothing but renames, and every event heard: once and in order */
    MODE_COPY,   /* copytruncate as well: once */
    MODE_BLIND,  /* and with events lost and few descriptors: at least once */
};

struct app {
    unsigned next, rotated_n;
    unsigned unheard_n; /* rotations since events were heard last */
    bool half;          /* the last line is not whole yet */
};

struct world {
    struct follow *fo;
    struct rng rng;
    enum mode mode;
    uint64_t seed;
    struct app apps[APPS];
};

static unsigned roll(struct world *w, unsigned below)
{
    return (unsigned)rng_below(&w->rng, below);
}

/* ---- writing ---- */

/* No two lines are equal, so no two files begin alike. */
static void write_rest_of_line(struct world *w, unsigned i)
{
    char name[32], rest[512];
    unsigned seq = w->apps[i].next++;
    snprintf(name, sizeof name, "%u.log", i);
    snprintf(rest, sizeof rest, "%u %*u\n", seq, (int)roll(w, 200) + 1, seq);
    append(w->fo->uv, name, rest);
    w->apps[i].half = false;
}

static void write_half_a_line(struct world *w, unsigned i)
{
    char name[32], half[32];
    if (w->apps[i].half)
        return;
    snprintf(name, sizeof name, "%u.log", i);
    snprintf(half, sizeof half, "%u ", i);
    append(w->fo->uv, name, half);
    w->apps[i].half = true;
}

/* Whole lines. */
static void write_some(struct world *w, unsigned i)
{
    for (unsigned n = roll(w, 20) + 1; n > 0; n--) {
        write_half_a_line(w, i);
        write_rest_of_line(w, i);
    }
}

/* 0.log.1 becomes 0.log.2 and so on. */
static void make_way(struct world *w, unsigned i)
{
    for (unsigned k = w->apps[i].rotated_n++; k > 0; k--) {
        char from[32], to[32];
        snprintf(from, sizeof from, "%u.log.%u", i, k);
        snprintf(to, sizeof to, "%u.log.%u", i, k + 1);
        rename_file(w->fo->uv, from, to);
    }
}

static void rotate(struct world *w, unsigned i, bool copy)
{
    char name[32], to[32];
    write_some(w, i);
    make_way(w, i);
    snprintf(name, sizeof name, "%u.log", i);
    snprintf(to, sizeof to, "%u.log.1", i);
    if (copy) {
        copy_file(w->fo->uv, name, to);
        if (roll(w, 2) == 0)
            uv_run(&w->fo->uv->loop, UV_RUN_NOWAIT);
        truncate_file(w->fo->uv, name);
    } else {
        rename_file(w->fo->uv, name, to);
        write_file(w->fo->uv, name, "");
    }
}

/* ---- the turns of the loop ---- */

static void turn(struct world *w)
{
    uv_run(&w->fo->uv->loop, UV_RUN_NOWAIT);
    for (unsigned i = 0; i < APPS; i++)
        w->apps[i].unheard_n = 0;
}

/* A copy is recognised only by the first COPY_FIRST bytes of what has been read, since the file was
 * truncated last: so that must have been noticed, unless the tail is paused and cannot. */
static bool is_known_well(struct world *w, unsigned i)
{
    char name[32];
    turn(w);
    turn(w);
    snprintf(name, sizeof name, "%u.log", i);
    const struct record *r = follow_file(w->fo, name);
    struct stat st;
    return r != NULL && r->file != NULL && r->file->read_at >= COPY_FIRST &&
           stat(uvtest_path(w->fo->uv, name), &st) == 0 && st.st_ino == r->file->inode &&
           (uint64_t)st.st_size >= r->file->read_at && r->file->seen_end <= (uint64_t)st.st_size;
}

static void settle(struct world *w)
{
    follow_settle(w->fo);
    turn(w);
}

static void look_away(struct world *w)
{
    w->fo->deaf = !w->fo->deaf;
    if (!w->fo->deaf) { /* as after an overflow */
        follow_settle(w->fo);
        tail_scan(w->fo->tail);
    }
}

static void do_blindly(struct world *w)
{
    switch (roll(w, 3)) {
    case 0:
        look_away(w);
        break;
    case 1:
        w->fo->unsettled = !w->fo->unsettled;
        break;
    default:
        tail_set_open_max(w->fo->tail, roll(w, 6));
        break;
    }
}

/* Of three rotations in a row only the files' times tell in which order they came, and these are
 * coarse. */
static bool may_rotate(struct world *w, unsigned i)
{
    return w->mode != MODE_RENAME || w->apps[i].unheard_n++ < 2;
}

static void step(struct world *w)
{
    unsigned i = roll(w, APPS);
    switch (roll(w, 12)) {
    case 0:
        if (w->apps[i].rotated_n < ROTATED && may_rotate(w, i))
            rotate(w, i, w->mode != MODE_RENAME && is_known_well(w, i));
        break;
    case 1:
        write_half_a_line(w, i);
        break;
    case 2:
        settle(w);
        break;
    case 3:
        w->fo->room = roll(w, 3) == 0 ? SIZE_MAX : roll(w, 3000);
        tail_pause(w->fo->tail, false);
        break;
    case 4:
        tail_pause(w->fo->tail, true);
        break;
    case 5:
        if (w->mode == MODE_BLIND)
            do_blindly(w);
        break;
    case 6:
    case 7:
        turn(w);
        break;
    default:
        write_some(w, i);
        break;
    }
}

/* ---- the judge ---- */

/* What came of each line: how often, and whether the first time after the line before it. */
static void judge(struct world *w)
{
    unsigned *seen[APPS], last[APPS];
    for (unsigned i = 0; i < APPS; i++) {
        seen[i] = calloc(w->apps[i].next + 1, sizeof *seen[i]);
        last[i] = UINT32_MAX;
    }
    bool in_order = true;
    for (const char *p = w->fo->journal.text; p != NULL && *p != '\0'; p = strchr(p, '\n') + 1) {
        unsigned app, seq;
        if (sscanf(p, "%u %u", &app, &seq) != 2 || app >= APPS || seq >= w->apps[app].next)
            fail_msg("mode %d seed %llu: a torn line: %.30s", (int)w->mode,
                     (unsigned long long)w->seed, p);
        in_order &= seq == last[app] + 1;
        last[app] = seq;
        seen[app][seq]++;
    }
    for (unsigned i = 0; i < APPS; i++)
        for (unsigned k = 0; k < w->apps[i].next; k++)
            if (seen[i][k] == 0 || (w->mode != MODE_BLIND && seen[i][k] > 1))
                fail_msg("mode %d seed %llu: line %u of %u came %u times", (int)w->mode,
                         (unsigned long long)w->seed, k, i, seen[i][k]);
    if (w->mode == MODE_RENAME && !in_order)
        fail_msg("seed %llu: not in order", (unsigned long long)w->seed);
    for (unsigned i = 0; i < APPS; i++)
        free(seen[i]);
}

static size_t bytes_on_disk(struct world *w)
{
    size_t n = 0;
    for (unsigned i = 0; i < APPS; i++)
        for (unsigned k = 0; k <= w->apps[i].rotated_n; k++) {
            char name[32];
            struct stat st;
            snprintf(name, sizeof name, k == 0 ? "%u.log" : "%u.log.%u", i, k);
            assert_int_equal(stat(uvtest_path(w->fo->uv, name), &st), 0);
            n += (size_t)st.st_size;
        }
    return n;
}

static void come_to_rest(struct world *w)
{
    struct follow *fo = w->fo;
    for (unsigned i = 0; i < APPS; i++)
        write_some(w, i);
    fo->unsettled = false;
    fo->room = SIZE_MAX;
    if (fo->deaf)
        look_away(w);
    tail_set_open_max(fo->tail, 0);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    if (w->mode == MODE_BLIND) { /* a copy of what was read already may be held for its time */
        tail_set_times(fo->tail, 1, TAIL_POLL_MS, 1);
        UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1);
    }
}

static void live(void **state, enum mode mode, uint64_t seed)
{
    struct world w = {.mode = mode, .seed = seed};
    rng_seed(&w.rng, seed);
    w.fo = follow_open(*state, "[0-9].log*");
    tail_set_times(w.fo->tail, HOLD_LONG, TAIL_POLL_MS, HOLD_LONG);
    for (unsigned i = 0; i < APPS; i++)
        write_some(&w, i);
    follow_start(w.fo);
    for (int i = 0; i < OPS; i++)
        step(&w);
    come_to_rest(&w);
    judge(&w);
    if (mode != MODE_BLIND)
        assert_int_equal(w.fo->journal.n, bytes_on_disk(&w));
    if (mode == MODE_RENAME)
        assert_int_equal(w.fo->missed_n, 0);
    follow_close(w.fo);
    nftw(uvtest_dir(*state), uvtest_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    ((struct uvtest *)*state)->dir[0] = '\0';
}

static void renamed_logs_come_once_and_in_order(void **state)
{
    for (uint64_t seed = 1; seed <= 60; seed++)
        live(state, MODE_RENAME, seed);
}

static void copied_and_renamed_logs_come_once(void **state)
{
    for (uint64_t seed = 1; seed <= 60; seed++)
        live(state, MODE_COPY, seed);
}

static void whatever_happens_every_line_comes(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        live(state, MODE_BLIND, seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(renamed_logs_come_once_and_in_order),
        UVTEST(copied_and_renamed_logs_come_once),
        UVTEST(whatever_happens_every_line_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
