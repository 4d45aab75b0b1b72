#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/ledger.h"
#include "lib/rng.h"

static struct ledger ledger;

static int set_up(void **state)
{
    (void)state;
    ledger_init(&ledger);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ledger_release(&ledger);
    return 0;
}

static struct ledger_file *add(struct ledger_source *s, const char *path, uint64_t inode,
                               uint64_t seen_s)
{
    struct ledger_file *f = ledger_add(s, path);
    assert_non_null(f);
    f->at.inode = inode;
    f->seen_s = seen_s;
    return f;
}

static struct ledger_file *add_gone(struct ledger_source *s, const char *path, uint64_t inode,
                                    uint64_t seen_s)
{
    struct ledger_file *f = add(s, path, inode, seen_s);
    ledger_leave(f);
    return f;
}

static void decode(const struct buf *b, struct checkpoint *c)
{
    struct err e;
    if (checkpoint_decode(buf_str(b), c, &e) != 0)
        fail_msg("%s", e.text);
}

/* The ledger, saved whole, as the next process reads it. */
static void encoded(struct checkpoint *c)
{
    struct buf b;
    bool whole;
    buf_init(&b, MIB);
    ledger_begin_save(&ledger, &b, &whole);
    assert_false(b.failed);
    assert_true(whole);
    ledger_end_save(&ledger, true);
    decode(&b, c);
    buf_release(&b);
}

static void an_empty_ledger_is_an_empty_checkpoint(void **state)
{
    (void)state;
    assert_null(ledger_find_source(&ledger, "a"));
    struct checkpoint c;
    encoded(&c);
    assert_int_equal(c.sources_n, 0);
    checkpoint_release(&c);
}

static void sources_are_found_by_name(void **state)
{
    (void)state;
    struct ledger_source *a = ledger_add_source(&ledger, "a"),
                         *b = ledger_add_source(&ledger, "ab");
    assert_ptr_equal(ledger_find_source(&ledger, "a"), a);
    assert_ptr_equal(ledger_find_source(&ledger, "ab"), b);
    assert_null(ledger_find_source(&ledger, ""));
    assert_null(ledger_find_source(&ledger, "abc"));
}

static void a_followed_file_is_not_found_until_it_was_left(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    struct ledger_file *f = add(s, "/x", 7, 100);
    assert_true(f->live);
    assert_null(ledger_find(s, 7, NULL));
    ledger_leave(f);
    assert_false(f->live);
    assert_ptr_equal(ledger_find(s, 7, NULL), f);
    assert_null(ledger_find(s, 7, f));
    assert_null(ledger_find(s, 6, NULL));
    assert_null(ledger_find(s, 8, NULL));
    f->live = true; /* taken up again */
    assert_null(ledger_find(s, 7, NULL));
}

static void all_entries_of_an_inode_are_walked_the_newest_first(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    struct ledger_file *old = add_gone(s, "/old", 7, 100);
    add_gone(s, "/other", 6, 500);
    struct ledger_file *newest = add_gone(s, "/newest", 7, 300);
    struct ledger_file *middle = add_gone(s, "/middle", 7, 200);
    add_gone(s, "/another", 8, 500);
    assert_ptr_equal(ledger_find(s, 7, NULL), newest);
    assert_ptr_equal(ledger_find(s, 7, newest), middle);
    middle->live = true;
    assert_ptr_equal(ledger_find(s, 7, newest), old);
    assert_null(ledger_find(s, 7, old));
}

static void sources_do_not_see_each_others_files(void **state)
{
    (void)state;
    struct ledger_source *a = ledger_add_source(&ledger, "a"), *b = ledger_add_source(&ledger, "b");
    add_gone(a, "/x", 7, 1);
    assert_null(ledger_find(b, 7, NULL));
    assert_non_null(ledger_find(a, 7, NULL));
}

static void a_file_may_get_another_path(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    struct ledger_file *f = add(s, "/x", 7, 1);
    assert_true(ledger_rename(f, "/x.1"));
    assert_string_equal(f->path, "/x.1");
    assert_true(ledger_rename(f, f->path)); /* its own */
    assert_string_equal(f->path, "/x.1");
}

static void old_entries_go_and_followed_ones_stay(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    const uint64_t now = 10 * LEDGER_TTL_S;
    struct ledger_file *live = add(s, "/live", 1, 0);
    add_gone(s, "/too-old", 2, now - LEDGER_TTL_S - 1);
    struct ledger_file *just = add_gone(s, "/just", 3, now - LEDGER_TTL_S);
    add_gone(s, "/future", 4, now + 5);
    assert_non_null(ledger_find(s, 2, NULL));
    assert_true(ledger_expire(&ledger, now, NULL, NULL));
    assert_null(ledger_find(s, 2, NULL));
    assert_ptr_equal(ledger_find(s, 3, NULL), just);
    assert_non_null(ledger_find(s, 4, NULL));
    ledger_leave(live);
    live->seen_s = now - LEDGER_TTL_S - 1;
    assert_ptr_equal(ledger_find(s, 1, NULL), live);
    assert_true(ledger_expire(&ledger, now, NULL, NULL));
    assert_null(ledger_find(s, 1, NULL));
    assert_false(ledger_expire(&ledger, now, NULL, NULL));
    struct checkpoint c;
    encoded(&c);
    assert_int_equal(c.sources_n, 1); /* a source that was started once stays known */
    assert_int_equal(c.sources[0].files_n, 2);
    checkpoint_release(&c);
}

static void a_file_that_was_quiet_for_long_is_not_forgotten_when_it_is_left(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    struct ledger_file *quiet = add(s, "/quiet", 1, 5);
    add(s, "/moves", 2, 4 * LEDGER_TTL_S - 1);
    struct checkpoint c;
    encoded(&c);
    checkpoint_release(&c);
    assert_true(ledger_is_saved(quiet));
    assert_true(ledger_expire(&ledger, 4 * LEDGER_TTL_S, NULL, NULL));
    assert_int_equal(quiet->seen_s, 4 * LEDGER_TTL_S);
    assert_false(ledger_is_saved(quiet));
    assert_false(ledger_expire(&ledger, 4 * LEDGER_TTL_S + LEDGER_RENEW_S - 1, NULL, NULL));
    ledger_leave(quiet);
    assert_false(ledger_expire(&ledger, 5 * LEDGER_TTL_S, NULL, NULL) &&
                 ledger_find(s, 1, NULL) == NULL);
    assert_true(ledger_expire(&ledger, 5 * LEDGER_TTL_S + 1, NULL, NULL));
    assert_null(ledger_find(s, 1, NULL));
}

static void what_is_encoded_is_loaded_again(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "crimes");
    ledger_add_source(&ledger, "no files yet");
    struct ledger_file *f = add(s, "/srv/a.csv", 1311, 1793419200);
    f->at = (struct position){.device = 64769,
                              .inode = 1311,
                              .offset = 104857600,
                              .mid_record = true,
                              .head = fingerprint_of("head", 4),
                              .tail = fingerprint_of("tail", 4)};
    add_gone(s, "/srv/\xff", UINT64_MAX, 5);
    struct checkpoint c;
    encoded(&c);
    ledger_release(&ledger);
    assert_true(list_empty(&ledger.sources));
    ledger_init(&ledger);
    assert_true(ledger_load(&ledger, &c));
    assert_int_equal(c.sources_n, 0);
    assert_non_null(ledger_find_source(&ledger, "no files yet"));
    s = ledger_find_source(&ledger, "crimes");
    const struct ledger_file *again = ledger_find(s, 1311, NULL);
    assert_non_null(again);
    assert_false(again->live);
    assert_string_equal(again->path, "/srv/a.csv");
    assert_int_equal(again->at.device, 64769);
    assert_int_equal(again->at.offset, 104857600);
    assert_true(again->at.mid_record);
    assert_int_equal(again->seen_s, 1793419200);
    const struct fingerprint head = fingerprint_of("head", 4), tail = fingerprint_of("tail", 4);
    assert_true(fingerprint_eq(&again->at.head, &head));
    assert_true(fingerprint_eq(&again->at.tail, &tail));
    assert_string_equal(ledger_find(s, UINT64_MAX, NULL)->path, "/srv/\xff");
}

static void count_told(void *ctx, const struct ledger_file *f)
{
    assert_string_equal(f->path, "/gone");
    ++*(unsigned *)ctx;
}

static void what_goes_is_told_first(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    add_gone(s, "/gone", 1, 0);
    add_gone(s, "/gone", 2, 0);
    add_gone(s, "/stays", 3, LEDGER_TTL_S);
    unsigned told = 0;
    ledger_expire(&ledger, LEDGER_TTL_S + 1, count_told, &told);
    assert_int_equal(told, 2);
    assert_int_equal(ledger.files_n, 1);
}

/* ---- saving --------------------------------------------------------------------------------- */

static void a_ledger_that_does_not_fit_says_so(void **state)
{
    (void)state;
    add(ledger_add_source(&ledger, "a"), "/x", 7, 1);
    struct buf b;
    bool whole;
    buf_init(&b, 20);
    ledger_begin_save(&ledger, &b, &whole);
    assert_true(b.failed);
    ledger_end_save(&ledger, false);
    buf_release(&b);
}

/* Saves into b; returns whether it was the whole. */
static bool save(struct buf *b, bool ok)
{
    bool whole;
    buf_reset(b);
    ledger_begin_save(&ledger, b, &whole);
    assert_false(b->failed);
    ledger_end_save(&ledger, ok);
    return whole;
}

static void an_entry_is_saved_once_a_save_after_its_change_was_good(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MIB);
    struct ledger_file *f = add(ledger_add_source(&ledger, "s"), "/a", 1, 1);
    assert_false(ledger_is_saved(f));
    save(&b, false);
    assert_false(ledger_is_saved(f));
    save(&b, true);
    assert_true(ledger_is_saved(f));
    ledger_touch(f);
    assert_false(ledger_is_saved(f));
    bool whole;
    buf_reset(&b);
    ledger_begin_save(&ledger, &b, &whole);
    ledger_touch(f); /* too late for the document that is being written */
    ledger_end_save(&ledger, true);
    assert_false(ledger_is_saved(f));
    save(&b, true);
    assert_true(ledger_is_saved(f));
    save(&b, false); /* what is on disk stays there */
    assert_true(ledger_is_saved(f));
    buf_release(&b);
}

static size_t files_in(const struct buf *b)
{
    struct checkpoint c;
    decode(b, &c);
    size_t n = 0;
    for (size_t i = 0; i < c.sources_n; i++)
        n += c.sources[i].files_n;
    checkpoint_release(&c);
    return n;
}

static void a_large_ledger_in_which_little_moves_is_saved_in_part(void **state)
{
    (void)state;
    enum { N = 4 * LEDGER_SMALL_N };
    struct ledger_file *files[N];
    struct ledger_source *s[2] = {ledger_add_source(&ledger, "a"), ledger_add_source(&ledger, "b")};
    for (unsigned i = 0; i < N; i++)
        files[i] = add(s[i % 2], "/x", i, 1);
    struct buf b;
    buf_init(&b, 4 * MIB);
    assert_true(save(&b, true));
    assert_int_equal(files_in(&b), N);
    assert_false(save(&b, true));
    assert_int_equal(files_in(&b), 0);
    ledger_touch(files[5]);
    ledger_touch(files[8]);
    ledger_touch(files[5]);
    assert_false(save(&b, true));
    assert_int_equal(files_in(&b), 2);
    ledger_touch(files[9]);
    assert_false(save(&b, false));
    assert_false(save(&b, true));
    assert_int_equal(files_in(&b), 3); /* all since the whole, saved in between or not */
    for (unsigned i = 0; i < N / LEDGER_RECENT_OF + 1; i++)
        ledger_touch(files[i]);
    assert_true(save(&b, false)); /* too many for a part; but it fails */
    assert_true(save(&b, true));
    assert_false(save(&b, true));
    ledger_drop(files[0]); /* a part cannot say that something is gone */
    assert_true(save(&b, true));
    assert_int_equal(files_in(&b), N - 1);
    ledger_add_source(&ledger, "c");
    assert_true(save(&b, true));
    buf_release(&b);
}

/* ---- a ledger, a disk, crashes -------------------------------------------------------------- */

/* What one entry says, by id. */
struct said {
    bool there;
    uint64_t offset, seen_s, size, inode;
    bool mid_record;
    unsigned source;
    char path[16];
};

enum { IDS_MAX = 6000, BEGIN_N = 1000, SOURCES_N = 3 };

static const char *const SOURCE_NAMES[SOURCES_N] = {"a", "b", "c"};

/* A ledger beside a plain model of it, and a disk that keeps what was written. */
struct world {
    struct rng rng;
    struct ledger_file *files[IDS_MAX + 1]; /* by id */
    struct said on_disk[IDS_MAX + 1], in_flight[IDS_MAX + 1];
    bool changed[IDS_MAX + 1]; /* since the last durable whole document was begun */
    bool changed_before[IDS_MAX + 1];
    bool must_be_whole;
    struct buf whole, recent; /* the disk; empty: not there */
    unsigned parts, wholes, crashes, failed_wholes;
};

static unsigned source_number(const struct ledger_file *f)
{
    for (unsigned i = 0; i < SOURCES_N; i++)
        if (strcmp(f->source->name, SOURCE_NAMES[i]) == 0)
            return i;
    fail_msg("an entry of the unknown source %s", f->source->name);
    return 0;
}

static void remember(const struct world *w, struct said *all)
{
    memset(all, 0, (IDS_MAX + 1) * sizeof *all);
    for (unsigned id = 1; id <= IDS_MAX; id++) {
        const struct ledger_file *f = w->files[id];
        if (f == NULL)
            continue;
        all[id] = (struct said){.there = true,
                                .offset = f->at.offset,
                                .seen_s = f->seen_s,
                                .size = f->size,
                                .inode = f->at.inode,
                                .mid_record = f->at.mid_record,
                                .source = source_number(f)};
        snprintf(all[id].path, sizeof all[id].path, "%s", f->path);
    }
}

static void assert_says(const struct checkpoint_source *s, const struct checkpoint_file *f,
                        const struct said *all)
{
    assert_in_range(f->id, 1, IDS_MAX);
    const struct said *want = &all[f->id];
    assert_true(want->there);
    assert_string_equal(s->name, SOURCE_NAMES[want->source]);
    assert_string_equal(f->path, want->path);
    assert_int_equal(f->at.offset, want->offset);
    assert_int_equal(f->at.mid_record, want->mid_record);
    assert_int_equal(f->at.inode, want->inode);
    assert_int_equal(f->seen_s, want->seen_s);
    assert_int_equal(f->size, want->size);
}

static void read_disk(const struct world *w, struct checkpoint *c)
{
    struct checkpoint recent = {0};
    *c = (struct checkpoint){0};
    if (w->whole.n > 0)
        decode(&w->whole, c);
    if (w->recent.n > 0)
        decode(&w->recent, &recent);
    assert_true(checkpoint_merge(c, &recent));
}

static void check_disk(const struct world *w)
{
    struct checkpoint c;
    size_t n = 0, want = 0;
    read_disk(w, &c);
    for (size_t i = 0; i < c.sources_n; i++)
        for (size_t k = 0; k < c.sources[i].files_n; k++, n++)
            assert_says(&c.sources[i], &c.sources[i].files[k], w->on_disk);
    for (unsigned id = 1; id <= IDS_MAX; id++)
        want += w->on_disk[id].there;
    assert_int_equal(n, want);
    checkpoint_release(&c);
}

static struct ledger_file *any_file(struct world *w)
{
    return w->files[1 + rng_below(&w->rng, ledger.last_id)];
}

static void do_add(struct world *w)
{
    if (ledger.last_id >= IDS_MAX)
        return;
    const char *source = SOURCE_NAMES[rng_below(&w->rng, SOURCES_N)];
    struct ledger_file *f =
        add(ledger_find_source(&ledger, source), "/new", rng_below(&w->rng, 50), 1);
    assert_null(w->files[f->id]);
    w->files[f->id] = f;
    w->changed[f->id] = true;
}

static void do_something(struct world *w)
{
    struct ledger_file *f = any_file(w);
    unsigned what = (unsigned)rng_below(&w->rng, 40);
    if (what == 0)
        do_add(w);
    if (what == 0 || f == NULL)
        return;
    char path[16];
    w->changed[f->id] = true;
    if (what < 4) {
        ledger_leave(f);
    } else if (what < 7) {
        snprintf(path, sizeof path, "/x%llu", (unsigned long long)rng_below(&w->rng, 1000));
        assert_true(ledger_rename(f, path));
    } else if (what == 7 && rng_below(&w->rng, 4) == 0) {
        w->must_be_whole = true;
        w->changed[f->id] = false;
        w->files[f->id] = NULL;
        ledger_drop(f);
    } else {
        f->at.offset += 1 + rng_below(&w->rng, 100);
        f->at.mid_record = rng_below(&w->rng, 2) == 0;
        f->size = f->at.offset + 7;
        f->seen_s++;
        f->live = true;
        ledger_touch(f);
    }
}

/* A recent document holds what has changed since the last durable whole one, and nothing else. */
static void check_part(struct world *w, const struct buf *text)
{
    struct checkpoint c;
    size_t n = 0, want = 0;
    decode(text, &c);
    for (size_t i = 0; i < c.sources_n; i++) {
        assert_true(c.sources[i].files_n > 0);
        for (size_t k = 0; k < c.sources[i].files_n; k++, n++)
            assert_true(w->changed[c.sources[i].files[k].id]);
    }
    for (unsigned id = 1; id <= IDS_MAX; id++)
        want += w->changed[id];
    assert_int_equal(n, want);
    checkpoint_release(&c);
}

/* The process is gone; the next one knows what is on the disk. */
static void crash(struct world *w)
{
    struct checkpoint c;
    read_disk(w, &c);
    ledger_release(&ledger);
    ledger_init(&ledger);
    assert_true(ledger_load(&ledger, &c));
    memset(w->files, 0, sizeof w->files);
    for (unsigned i = 0; i < SOURCES_N; i++) {
        struct ledger_source *s = ledger_find_source(&ledger, SOURCE_NAMES[i]);
        if (s == NULL)
            s = ledger_add_source(&ledger, SOURCE_NAMES[i]);
        LIST_FOR(it, save, &s->files)
        {
            struct ledger_file *f = CONTAINER_OF(it, struct ledger_file, link);
            w->files[f->id] = f;
        }
    }
    memset(w->changed, 0, sizeof w->changed);
    w->must_be_whole = true;
    w->crashes++;
}

/* One save, with life going on meanwhile. It succeeds; or fails before anything is written; or is
 * written, and fails only then (the directory could not be synced); or the process dies before or
 * after the rename. */
static void save_somehow(struct world *w)
{
    enum { FINE, FAILS, FAILS_WRITTEN, DIES, DIES_WRITTEN };
    const unsigned how = rng_below(&w->rng, 3) > 0 ? FINE : (unsigned)rng_below(&w->rng, 5);
    struct buf text;
    bool whole;
    buf_init(&text, 8 * MIB);
    ledger_begin_save(&ledger, &text, &whole);
    assert_false(text.failed);
    assert_true(whole || !w->must_be_whole);
    remember(w, w->in_flight);
    if (whole) {
        memcpy(w->changed_before, w->changed, sizeof w->changed);
        memset(w->changed, 0, sizeof w->changed);
    } else {
        check_part(w, &text);
        w->parts++;
    }
    bool had_to = w->must_be_whole;
    w->must_be_whole = false;
    for (unsigned i = (unsigned)rng_below(&w->rng, 5); i > 0; i--)
        do_something(w);
    if (how == FINE || how == FAILS_WRITTEN || how == DIES_WRITTEN) {
        struct buf *to = whole ? &w->whole : &w->recent;
        buf_reset(to);
        buf_put(to, text.p, text.n);
        memcpy(w->on_disk, w->in_flight, sizeof w->on_disk);
    }
    buf_release(&text);
    w->wholes += whole;
    if (how >= DIES) {
        crash(w);
        return;
    }
    ledger_end_save(&ledger, how == FINE);
    if (how == FINE)
        return;
    w->must_be_whole |= had_to || whole;
    w->failed_wholes += whole;
    for (unsigned id = 1; whole && id <= IDS_MAX; id++)
        w->changed[id] |= w->changed_before[id] && w->files[id] != NULL;
}

static void after_any_crash_the_disk_says_what_the_ledger_said_when_it_was_written(void **state)
{
    (void)state;
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    for (unsigned seed = 1; seed <= 4; seed++) {
        rng_seed(&w->rng, seed);
        buf_init(&w->whole, 8 * MIB);
        buf_init(&w->recent, 8 * MIB);
        memset(w->on_disk, 0, sizeof w->on_disk);
        crash(w); /* a first start: nothing is there */
        while (ledger.last_id < BEGIN_N)
            do_add(w);
        for (unsigned turn = 0; turn < 400; turn++) {
            unsigned n = (unsigned)rng_below(&w->rng, turn % 40 == 7 ? 800 : 12);
            for (unsigned i = 0; i < n; i++)
                do_something(w);
            save_somehow(w);
            check_disk(w);
        }
        buf_release(&w->whole);
        buf_release(&w->recent);
    }
    assert_true(w->parts > 500 && w->wholes > 200 && w->crashes > 100 && w->failed_wholes > 20);
    free(w);
}

static uint64_t bytes_of_a_part(unsigned files_n, unsigned moved_n)
{
    ledger_release(&ledger);
    ledger_init(&ledger);
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    struct buf b;
    buf_init(&b, 64 * MIB);
    for (unsigned i = 0; i < files_n; i++)
        add(s, "/x", i, 1);
    assert_true(save(&b, true));
    struct list *it = s->files.next;
    for (unsigned i = 0; i < moved_n; i++, it = it->next)
        ledger_touch(CONTAINER_OF(it, struct ledger_file, link));
    assert_false(save(&b, true));
    assert_int_equal(files_in(&b), moved_n);
    uint64_t n = b.n;
    buf_release(&b);
    return n;
}

static void a_part_costs_what_moved_not_what_is_known(void **state)
{
    (void)state;
    assert_int_equal(bytes_of_a_part(1000, 50), bytes_of_a_part(50000, 50));
    assert_true(bytes_of_a_part(1000, 100) < 3 * bytes_of_a_part(1000, 50));
}

static void a_small_ledger_is_saved_whole_and_one_entry_more_is_not(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    struct buf b;
    buf_init(&b, MIB);
    for (unsigned i = 0; i < LEDGER_SMALL_N; i++)
        add(s, "/x", i, 1);
    for (unsigned i = 0; i < 3; i++)
        assert_true(save(&b, true));
    add(s, "/y", 9999, 1);
    assert_false(save(&b, true));
    assert_int_equal(files_in(&b), 1);
    buf_release(&b);
}

static void what_changes_during_a_save_is_in_the_next(void **state)
{
    (void)state;
    enum { N = 2 * LEDGER_SMALL_N };
    struct ledger_file *files[N];
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    for (unsigned i = 0; i < N; i++)
        files[i] = add(s, "/x", i, 1);
    struct buf b;
    bool whole;
    buf_init(&b, MIB);
    ledger_begin_save(&ledger, &b, &whole);
    assert_true(whole);
    ledger_touch(files[3]);
    assert_false(ledger_is_saved(files[3]));
    ledger_end_save(&ledger, true);
    assert_true(ledger_is_saved(files[4]));
    assert_false(ledger_is_saved(files[3])); /* only what it said before is */
    assert_false(save(&b, true));
    assert_int_equal(files_in(&b), 1);
    assert_true(ledger_is_saved(files[3]));
    ledger_touch(files[5]);
    assert_false(save(&b, false));
    assert_false(ledger_is_saved(files[5]));
    buf_reset(&b);
    ledger_begin_save(&ledger, &b, &whole);
    ledger_drop(files[6]);
    ledger_end_save(&ledger, true);
    assert_true(save(&b, true)); /* that it is gone */
    assert_int_equal(files_in(&b), N - 1);
    buf_release(&b);
}

static void a_whole_document_that_failed_leaves_its_number_unused(void **state)
{
    (void)state;
    struct checkpoint c;
    struct buf b;
    buf_init(&b, MIB);
    add(ledger_add_source(&ledger, "a"), "/x", 1, 1);
    uint64_t seen = 0;
    for (unsigned i = 0; i < 6; i++) {
        save(&b, i % 2 == 0);
        decode(&b, &c);
        assert_true(c.generation > seen);
        seen = c.generation;
        checkpoint_release(&c);
    }
    buf_release(&b);
}

/* ---- limits --------------------------------------------------------------------------------- */

static void a_full_ledger_makes_room_from_what_was_left_longest_ago(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    struct ledger_file *first = add(s, "/live", 1, 1);
    add_gone(s, "/left first", 2, 1);
    struct ledger_file *again = add_gone(s, "/left again", 3, 1);
    for (unsigned i = 3; i < CHECKPOINT_FILES_MAX; i++)
        add_gone(s, "/x", i + 1, 1);
    ledger_leave(again);
    assert_int_equal(ledger.files_n, CHECKPOINT_FILES_MAX);
    assert_non_null(ledger_find(s, 2, NULL));
    add(s, "/one more", 0, 1);
    assert_true(ledger.files_n < CHECKPOINT_FILES_MAX);
    assert_true(ledger.files_n > CHECKPOINT_FILES_MAX / 2);
    assert_null(ledger_find(s, 2, NULL));
    assert_ptr_equal(ledger_find(s, 3, NULL), again);
    assert_string_equal(first->path, "/live");
    assert_non_null(ledger_find(s, CHECKPOINT_FILES_MAX, NULL));
}

static void what_is_followed_never_makes_room(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    for (unsigned i = 0; i < CHECKPOINT_FILES_MAX; i++)
        add(s, "/x", i, 1);
    assert_null(ledger_add(s, "/one more"));
    assert_int_equal(ledger.files_n, CHECKPOINT_FILES_MAX);
    ledger_leave(CONTAINER_OF(s->files.next, struct ledger_file, link));
    assert_non_null(ledger_add(s, "/one more"));
    assert_int_equal(ledger.files_n, CHECKPOINT_FILES_MAX);
    struct buf b;
    buf_init(&b, CHECKPOINT_BYTES_MAX);
    assert_true(save(&b, true));
    assert_int_equal(files_in(&b), CHECKPOINT_FILES_MAX); /* it can be read again */
    buf_release(&b);
}

static void sources_have_a_limit(void **state)
{
    (void)state;
    char name[16];
    for (unsigned i = 0; i < CHECKPOINT_SOURCES_MAX; i++) {
        snprintf(name, sizeof name, "%u", i);
        assert_non_null(ledger_add_source(&ledger, name));
    }
    assert_null(ledger_add_source(&ledger, "one more"));
    struct checkpoint c;
    encoded(&c);
    assert_int_equal(c.sources_n, CHECKPOINT_SOURCES_MAX);
    checkpoint_release(&c);
}

static void many_files_are_found_again(void **state)
{
    (void)state;
    enum { N = 5000 };
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    for (unsigned i = 0; i < N; i++)
        add_gone(s, "/x", UINT64_MAX - i % (N / 2), i);
    for (unsigned i = 0; i < N / 2; i++) {
        const struct ledger_file *newest = ledger_find(s, UINT64_MAX - i, NULL);
        assert_int_equal(newest->seen_s, N / 2 + i);
        const struct ledger_file *older = ledger_find(s, UINT64_MAX - i, newest);
        assert_int_equal(older->seen_s, i);
        assert_null(ledger_find(s, UINT64_MAX - i, older));
    }
}

static void displaced_entries_are_walked_until_they_are_live_or_left_again(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a"), *t = ledger_add_source(&ledger, "b");
    struct ledger_file *x = add_gone(s, "/x", 7, 1), *y = add_gone(s, "/y", 7, 2),
                       *z = add_gone(s, "/z", 9, 1);
    assert_null(ledger_find_displaced(s, NULL));
    ledger_displace(y);
    ledger_displace(x);
    ledger_displace(z);
    ledger_displace(y);
    assert_null(ledger_find_displaced(t, NULL));
    assert_ptr_equal(ledger_find_displaced(s, NULL), y);
    assert_ptr_equal(ledger_find_displaced(s, y), x);
    assert_ptr_equal(ledger_find_displaced(s, x), z);
    assert_null(ledger_find_displaced(s, z));
    assert_ptr_equal(ledger_find(s, 7, NULL), y); /* and by inode as before */
    y->live = true;
    assert_ptr_equal(ledger_find_displaced(s, NULL), x);
    ledger_leave(y);
    assert_ptr_equal(ledger_find_displaced(s, NULL), x);
    ledger_drop(x);
    assert_ptr_equal(ledger_find_displaced(s, NULL), z);
    assert_null(ledger_find_displaced(s, z));
}

static void an_entry_is_found_under_the_inode_it_was_left_with(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    struct ledger_file *f = add_gone(s, "/x", 7, 1), *other = add_gone(s, "/y", 8, 1);
    f->live = true;
    f->at.inode = 8; /* the path has another file now */
    assert_null(ledger_find(s, 7, NULL));
    assert_ptr_equal(ledger_find(s, 8, NULL), other);
    f->seen_s = 2;
    ledger_leave(f);
    assert_null(ledger_find(s, 7, NULL));
    assert_ptr_equal(ledger_find(s, 8, NULL), f);
    assert_ptr_equal(ledger_find(s, 8, f), other);
}

static void a_loaded_ledger_goes_on_counting(void **state)
{
    (void)state;
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    uint64_t first = add(s, "/x", 1, 1)->id, second = add(s, "/y", 2, 1)->id;
    assert_true(first != 0 && second != 0 && first != second);
    struct checkpoint c;
    encoded(&c);
    uint64_t generation = c.generation;
    ledger_release(&ledger);
    ledger_init(&ledger);
    assert_true(ledger_load(&ledger, &c));
    s = ledger_find_source(&ledger, "a");
    assert_int_equal(ledger_find(s, 2, NULL)->id, second);
    uint64_t third = add(s, "/z", 3, 1)->id;
    assert_true(third != first && third != second);
    encoded(&c);
    assert_true(c.generation > generation);
    checkpoint_release(&c);
}

/* Adding, leaving, taking up, expiring and finding in any order, against a plain table. */
static void a_ledger_behaves_like_a_table(void **state)
{
    (void)state;
    enum { N = 300 };
    struct ledger_file *files[N] = {0};
    struct ledger_source *s = ledger_add_source(&ledger, "a");
    struct rng r;
    rng_seed(&r, 5);
    uint64_t now = LEDGER_TTL_S;
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = (unsigned)rng_below(&r, step < 4000 ? 16 : N); /* few share their buckets */
        struct ledger_file *f = files[i];
        if (f == NULL)
            files[i] = add(s, "/x", rng_below(&r, 40), now);
        else if (f->live && rng_below(&r, 2) == 0)
            ledger_leave(f);
        else if (!f->live && rng_below(&r, 3) == 0)
            f->live = true;
        if (f != NULL && f->live)
            f->seen_s = now - rng_below(&r, 1000);
        if (step % 500 == 499) {
            now += LEDGER_TTL_S / 3;
            for (unsigned j = 0; j < N; j++)
                if (files[j] != NULL && !files[j]->live && files[j]->seen_s + LEDGER_TTL_S < now)
                    files[j] = NULL;
            ledger_expire(&ledger, now, NULL, NULL);
        }
        uint64_t inode = rng_below(&r, 41);
        unsigned want = 0, got = 0;
        for (unsigned j = 0; j < N; j++)
            want += files[j] != NULL && !files[j]->live && files[j]->at.inode == inode;
        uint64_t newest_s = UINT64_MAX;
        for (struct ledger_file *at = NULL; (at = ledger_find(s, inode, at)) != NULL; got++) {
            assert_true(at->at.inode == inode && !at->live && got < N);
            assert_true(at->seen_s <= newest_s);
            newest_s = at->seen_s;
        }
        assert_int_equal(got, want);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_empty_ledger_is_an_empty_checkpoint),
        T(sources_are_found_by_name),
        T(a_followed_file_is_not_found_until_it_was_left),
        T(all_entries_of_an_inode_are_walked_the_newest_first),
        T(sources_do_not_see_each_others_files),
        T(a_file_may_get_another_path),
        T(old_entries_go_and_followed_ones_stay),
        T(what_is_encoded_is_loaded_again),
        T(what_goes_is_told_first),
        T(a_file_that_was_quiet_for_long_is_not_forgotten_when_it_is_left),
        T(a_ledger_that_does_not_fit_says_so),
        T(an_entry_is_saved_once_a_save_after_its_change_was_good),
        T(a_large_ledger_in_which_little_moves_is_saved_in_part),
        T(after_any_crash_the_disk_says_what_the_ledger_said_when_it_was_written),
        T(a_part_costs_what_moved_not_what_is_known),
        T(a_small_ledger_is_saved_whole_and_one_entry_more_is_not),
        T(what_changes_during_a_save_is_in_the_next),
        T(a_whole_document_that_failed_leaves_its_number_unused),
        T(a_full_ledger_makes_room_from_what_was_left_longest_ago),
        T(what_is_followed_never_makes_room),
        T(sources_have_a_limit),
        T(many_files_are_found_again),
        T(an_entry_is_found_under_the_inode_it_was_left_with),
        T(displaced_entries_are_walked_until_they_are_live_or_left_again),
        T(a_loaded_ledger_goes_on_counting),
        T(a_ledger_behaves_like_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
