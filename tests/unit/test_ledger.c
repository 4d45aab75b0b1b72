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
    ledger_expire(&ledger, now, NULL, NULL);
    assert_null(ledger_find(s, 2, NULL));
    assert_ptr_equal(ledger_find(s, 3, NULL), just);
    assert_non_null(ledger_find(s, 4, NULL));
    ledger_leave(live);
    assert_ptr_equal(ledger_find(s, 1, NULL), live);
    ledger_expire(&ledger, now, NULL, NULL);
    assert_null(ledger_find(s, 1, NULL));
    struct checkpoint c;
    encoded(&c);
    assert_int_equal(c.sources_n, 1); /* a source that was started once stays known */
    assert_int_equal(c.sources[0].files_n, 2);
    checkpoint_release(&c);
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

/* ---- saving ------------------------------------------------------------------------------------ */

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

/* What two documents on a disk say together is what the ledger said at the last save that succeeded. */
static void the_two_documents_together_say_what_the_ledger_said(void **state)
{
    (void)state;
    enum { N = 2000 };
    static uint64_t offsets[N + 1]; /* by id, as last saved; UINT64_MAX: not there */
    struct rng r;
    rng_seed(&r, 9);
    struct ledger_source *s[3] = {ledger_add_source(&ledger, "a"), ledger_add_source(&ledger, "b"),
                                  ledger_add_source(&ledger, "c")};
    struct ledger_file *files[N + 1] = {0};
    for (unsigned i = 0; i < 1000; i++) {
        struct ledger_file *f = add(s[i % 3], "/x", i, 1);
        files[f->id] = f;
    }
    struct buf disk[2], b;
    for (unsigned i = 0; i < 2; i++)
        buf_init(&disk[i], 4 * MIB);
    buf_init(&b, 4 * MIB);
    unsigned parts = 0;
    for (unsigned turn = 0; turn < 300; turn++) {
        unsigned moves = (unsigned)rng_below(&r, turn % 40 == 7 ? 400 : 6);
        for (unsigned i = 0; i < moves; i++) {
            struct ledger_file *f = files[1 + rng_below(&r, N)];
            if (f == NULL)
                continue;
            f->at.offset++;
            ledger_touch(f);
        }
        if (rng_below(&r, 10) == 0 && ledger.last_id < N) {
            struct ledger_file *f = add(s[rng_below(&r, 3)], "/new", 1, 1);
            files[f->id] = f;
        }
        unsigned gone = 1 + (unsigned)rng_below(&r, N);
        if (rng_below(&r, 30) == 0 && files[gone] != NULL) {
            ledger_drop(files[gone]);
            files[gone] = NULL;
        }
        bool ok = rng_below(&r, 4) > 0, whole = save(&b, ok);
        if (ok) {
            struct buf *to = &disk[whole ? 0 : 1];
            buf_reset(to);
            buf_put(to, b.p, b.n);
            parts += !whole;
            for (unsigned i = 1; i <= N; i++)
                offsets[i] = files[i] != NULL ? files[i]->at.offset : UINT64_MAX;
        }
        if (disk[0].n == 0)
            continue;
        struct checkpoint c, recent;
        decode(&disk[0], &c);
        if (disk[1].n > 0) {
            decode(&disk[1], &recent);
            assert_true(checkpoint_merge(&c, &recent));
        }
        size_t n = 0, want = 0;
        for (size_t i = 0; i < c.sources_n; i++) {
            for (size_t k = 0; k < c.sources[i].files_n; k++, n++)
                assert_int_equal(c.sources[i].files[k].at.offset,
                                 offsets[c.sources[i].files[k].id]);
        }
        for (unsigned i = 1; i <= N; i++)
            want += offsets[i] != UINT64_MAX;
        assert_int_equal(n, want);
        checkpoint_release(&c);
    }
    assert_true(parts > 100);
    buf_release(&b);
    buf_release(&disk[0]);
    buf_release(&disk[1]);
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
        unsigned i = (unsigned)rng_below(&r, N);
        struct ledger_file *f = files[i];
        if (f == NULL)
            files[i] = add(s, "/x", rng_below(&r, 40), now);
        else if (f->live && rng_below(&r, 2) == 0)
            ledger_leave(f);
        else if (!f->live && rng_below(&r, 3) == 0)
            f->live = true;
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
        for (struct ledger_file *at = NULL; (at = ledger_find(s, inode, at)) != NULL; got++)
            assert_true(at->at.inode == inode && !at->live && got < N);
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
        T(a_ledger_that_does_not_fit_says_so),
        T(a_large_ledger_in_which_little_moves_is_saved_in_part),
        T(the_two_documents_together_say_what_the_ledger_said),
        T(a_loaded_ledger_goes_on_counting),
        T(a_ledger_behaves_like_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
