/* Directories come, go and move; the watches follow them, and none is left behind. */
#include <errno.h>

#include "tests/uv/follow.h"

static struct follow *follow_pattern(void **state, const char *pattern)
{
    return follow_open(*state, pattern);
}

/* ---- directories ---- */

static void directories_may_appear_one_after_the_other(void **state)
{
    struct follow *fo = follow_pattern(state, "x/y/z/*.log");
    follow_start(fo);
    make_dir(fo->uv, "x");
    follow_settle(fo);
    make_dir(fo->uv, "x/y");
    follow_settle(fo);
    make_dir(fo->uv, "x/y/z");
    follow_settle(fo);
    assert_int_equal(fo->complaints_n, 0);
    write_file(fo->uv, "x/y/z/a.log", "one\n");
    follow_settle(fo);
    append(fo->uv, "x/y/z/a.log", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "x/y/z/a.log"), "one\ntwo\n");
    follow_close(fo);
}

static void directories_may_appear_all_at_once(void **state)
{
    struct follow *fo = follow_pattern(state, "x/*/z/*.log");
    follow_start(fo);
    make_dir(fo->uv, "x");
    make_dir(fo->uv, "x/y");
    make_dir(fo->uv, "x/y/z");
    write_file(fo->uv, "x/y/z/a.log", "one\n");
    follow_settle(fo);
    append(fo->uv, "x/y/z/a.log", "two\n");
    write_file(fo->uv, "x/y/z/b.log", "three\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "x/y/z/a.log"), "one\ntwo\n");
    assert_string_equal(follow_text(fo, "x/y/z/b.log"), "three\n");
    follow_close(fo);
}

static void wildcards_in_directories_follow_every_match(void **state)
{
    struct follow *fo = follow_pattern(state, "host*/logs/[ab]?.log");
    make_dir(fo->uv, "host1");
    make_dir(fo->uv, "host1/logs");
    make_dir(fo->uv, "other");
    make_dir(fo->uv, "other/logs");
    write_file(fo->uv, "host1/logs/a1.log", "one\n");
    write_file(fo->uv, "host1/logs/c1.log", "not ours\n");
    write_file(fo->uv, "other/logs/a1.log", "not ours\n");
    follow_start(fo);
    make_dir(fo->uv, "host2");
    follow_settle(fo);
    make_dir(fo->uv, "host2/logs");
    follow_settle(fo);
    write_file(fo->uv, "host2/logs/b7.log", "two\n");
    write_file(fo->uv, "host2/logs/b77.log", "not ours\n");
    append(fo->uv, "host1/logs/a1.log", "three\n");
    write_file(fo->uv, "other/logs/a2.log", "not ours\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "host1/logs/a1.log"), "one\nthree\n");
    assert_string_equal(follow_text(fo, "host2/logs/b7.log"), "two\n");
    assert_int_equal(fo->found_n, 2);
    follow_close(fo);
}

/* inotify tells that a directory was removed only when the orphan in it is closed; but somebody may
 * make it again long before. */
static void a_directory_removed_and_made_again_is_followed_again(void **state)
{
    struct follow *fo = follow_pattern(state, "x/y/*.log");
    tail_set_times(fo->tail, 50, TAIL_POLL_MS, COPY_HOLD_MS);
    fo->unsettled = true;
    for (unsigned round = 0; round < 3; round++) {
        make_dir(fo->uv, "x");
        make_dir(fo->uv, "x/y");
        write_file(fo->uv, "x/y/a.log", "one\n");
        if (round == 0)
            follow_start(fo);
        UVTEST_UNTIL(fo->uv, fo->found_n == round + 1);
        append(fo->uv, "x/y/a.log", "two\n");
        delete_file(fo->uv, "x/y/a.log");
        delete_file(fo->uv, "x/y");
        delete_file(fo->uv, "x");
        follow_settle(fo);
    }
    for (unsigned i = 0; i < 3; i++)
        assert_string_equal(nth_found(fo, i)->text, "one\ntwo\n");
    fo->unsettled = false;
    UVTEST_UNTIL(fo->uv, fo->lost_n == 3);
    follow_close(fo);
}

static void an_empty_directory_removed_and_made_again_is_noticed_at_once(void **state)
{
    struct follow *fo = follow_pattern(state, "x/y/*.log");
    make_dir(fo->uv, "x");
    make_dir(fo->uv, "x/y");
    follow_start(fo);
    delete_file(fo->uv, "x/y");
    delete_file(fo->uv, "x");
    follow_settle(fo);
    make_dir(fo->uv, "x");
    make_dir(fo->uv, "x/y");
    write_file(fo->uv, "x/y/a.log", "one\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "x/y/a.log"), "one\n");
    follow_close(fo);
}

static void a_directory_replaced_by_another_of_its_name_is_noticed(void **state)
{
    struct follow *fo = follow_pattern(state, "logs/*.log");
    make_dir(fo->uv, "logs");
    int writer = open_writer(fo->uv, "logs/a.log");
    say(writer, "old one\n");
    follow_start(fo);
    rename_file(fo->uv, "logs", "logs.old");
    make_dir(fo->uv, "logs");
    write_file(fo->uv, "logs/a.log", "new one\n");
    say(writer, "old late\n");
    follow_settle(fo);
    append(fo->uv, "logs/a.log", "new two\n");
    write_file(fo->uv, "logs/b.log", "b one\n");
    write_file(fo->uv, "logs.old/b.log", "not ours\n");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "old one\nold late\n");
    assert_string_equal(follow_text(fo, "logs/a.log"), "new one\nnew two\n");
    assert_string_equal(follow_text(fo, "logs/b.log"), "b one\n");
    assert_int_equal(fo->found_n, 3);
    close(writer);
    follow_close(fo);
}

static void a_directory_renamed_within_the_glob_goes_on_under_its_new_name(void **state)
{
    struct follow *fo = follow_pattern(state, "d*/*.log");
    make_dir(fo->uv, "d1");
    write_file(fo->uv, "d1/a.log", "one\n");
    follow_start(fo);
    rename_file(fo->uv, "d1", "d2");
    follow_settle(fo);
    append(fo->uv, "d2/a.log", "two\n");
    write_file(fo->uv, "d2/b.log", "three\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "d2/a.log"), "one\ntwo\n");
    assert_string_equal(follow_text(fo, "d2/b.log"), "three\n");
    assert_int_equal(fo->found_n, 2);
    assert_int_equal(nth_found(fo, 0)->renamed_n, 1);
    follow_close(fo);
}

static void the_watch_above_is_dropped_when_the_directory_is_there(void **state)
{
    struct follow *fo = follow_pattern(state, "x/*.log");
    follow_start(fo);
    assert_int_equal(kernel_watches(), 1);
    make_dir(fo->uv, "x");
    follow_settle(fo);
    assert_int_equal(kernel_watches(), 1);
    unsigned before = fo->events_n;
    write_file(fo->uv, "busy", "what others write next to it wakes nobody\n");
    follow_settle(fo);
    assert_int_equal(fo->events_n, before);
    follow_close(fo);
}

static void a_closed_tail_leaves_no_watch_behind(void **state)
{
    struct follow *fo = follow_pattern(state, "d*/*.log");
    make_dir(fo->uv, "d1");
    make_dir(fo->uv, "d2");
    write_file(fo->uv, "target", "one\n");
    link_file(fo->uv, "../target", "d1/link.log");
    int writer = open_writer(fo->uv, "d2/b.log");
    follow_start(fo);
    delete_file(fo->uv, "d2/b.log");
    follow_settle(fo);
    assert_int_equal(kernel_watches(), 5);
    follow_close_tail(fo);
    assert_int_equal(kernel_watches(), 0);
    close(writer);
    follow_close(fo);
}

static void a_burst_of_new_directories_costs_one_look_a_turn(void **state)
{
    struct follow *fo = follow_pattern(state, "d*/a.log");
    follow_start(fo);
    for (int i = 0; i < 1500; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%d", i);
        make_dir(fo->uv, name);
    }
    write_file(fo->uv, "d1499/a.log", "one\n");
    uint64_t began = uv_hrtime();
    follow_settle(fo);
    assert_true(uv_hrtime() - began < UINT64_C(2000000000));
    assert_string_equal(follow_text(fo, "d1499/a.log"), "one\n");
    append(fo->uv, "d1499/a.log", "two\n");
    write_file(fo->uv, "d77/a.log", "three\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "d1499/a.log"), "one\ntwo\n");
    assert_string_equal(follow_text(fo, "d77/a.log"), "three\n");
    follow_close(fo);
}

/* ---- lost events, missing watches, shared watches ---- */

static void after_an_overflow_everything_is_looked_at_again(void **state)
{
    struct follow *fo = follow_pattern(state, "d*/*.log");
    make_dir(fo->uv, "d1");
    write_file(fo->uv, "d1/a.log", "one\n");
    write_file(fo->uv, "d1/b.log", "b one\n");
    write_file(fo->uv, "d1/c.log", "c one\n");
    follow_start(fo);
    fo->deaf = true;
    append(fo->uv, "d1/a.log", "two\n");
    rename_file(fo->uv, "d1/b.log", "d1/b2.log");
    append(fo->uv, "d1/b2.log", "b two\n");
    delete_file(fo->uv, "d1/c.log");
    make_dir(fo->uv, "d2");
    write_file(fo->uv, "d2/new.log", "new one\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "d1/a.log"), "one\n");
    fo->deaf = false;
    follow_on_overflow(fo);
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "d1/a.log"), "one\ntwo\n");
    assert_string_equal(follow_text(fo, "d1/b2.log"), "b one\nb two\n");
    assert_string_equal(follow_text(fo, "d2/new.log"), "new one\n");
    assert_true(follow_file(fo, "d1/c.log")->file->orphan);
    append(fo->uv, "d2/new.log", "new two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "d2/new.log"), "new one\nnew two\n");
    assert_int_equal(fo->found_n, 4);
    follow_close(fo);
}

static void a_real_overflow_loses_no_bytes(void **state)
{
    unsigned long limit = 0;
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    if (f == NULL || fscanf(f, "%lu", &limit) != 1 || limit > 200000)
        skip();
    fclose(f);
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    char path[512];
    snprintf(path, sizeof path, "%s", uvtest_path(fo->uv, "noise"));
    for (unsigned long i = 0; i < limit / 2 + 10; i++) {
        assert_int_equal(mknod(path, S_IFREG | 0644, 0), 0);
        assert_int_equal(unlink(path), 0);
    }
    append(fo->uv, "a.log", "two\n");
    write_file(fo->uv, "b.log", "three\n");
    follow_settle(fo);
    assert_int_equal(fo->overflows_n, 1);
    assert_string_equal(follow_text(fo, "a.log"), "one\ntwo\n");
    assert_string_equal(follow_text(fo, "b.log"), "three\n");
    follow_close(fo);
}

static void no_watches_left_is_complained_about_once_and_files_are_read_anyway(void **state)
{
    struct follow *fo = follow_pattern(state, "d1/*.log");
    make_dir(fo->uv, "d1");
    write_file(fo->uv, "d1/a.log", "one\n");
    fo->watch_dir_error = -ENOSPC;
    follow_start(fo);
    tail_scan(fo->tail);
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "d1/a.log"), "one\n");
    assert_int_equal(fo->complaints_n, 1); /* for all the directories together */
    assert_non_null(strstr(fo->complaints[0], "max_user_watches"));
    fo->watch_dir_error = 0; /* there are some again: the next scan takes them */
    tail_scan(fo->tail);
    append(fo->uv, "d1/a.log", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "d1/a.log"), "one\ntwo\n");
    follow_close(fo);
}

static void an_orphan_without_a_watch_is_still_heard_by_the_timer(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_times(fo->tail, 600, TAIL_POLL_MS, COPY_HOLD_MS);
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "one\n");
    follow_start(fo);
    fo->watch_file_error = -ENOSPC;
    rename_file(fo->uv, "a.log", "a.old");
    follow_settle(fo);
    assert_int_equal(follow_complaints(fo, "a.log", "max_user_watches"), 1);
    say(writer, "late\n");
    UVTEST_UNTIL(fo->uv, nth_found(fo, 0)->n == 9);
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_string_equal(nth_found(fo, 0)->text, "one\nlate\n");
    close(writer);
    follow_close(fo);
}

static void two_tails_on_one_watch_do_not_take_it_from_each_other(void **state)
{
    struct follow *fo = follow_pattern(state, "logs/*.log");
    make_dir(fo->uv, "logs");
    write_file(fo->uv, "target", "one\n");
    link_file(fo->uv, "../target", "logs/link.log");
    write_file(fo->uv, "logs/a.log", "one\n");
    struct follow *other = follow_open_beside(fo, "logs/*");
    follow_start(fo);
    follow_start(other);
    assert_string_equal(follow_text(other, "logs/link.log"), "one\n");
    fo->other = NULL;
    follow_close(other);
    append(fo->uv, "logs/a.log", "two\n");
    append(fo->uv, "target", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "logs/a.log"), "one\ntwo\n");
    assert_string_equal(follow_text(fo, "logs/link.log"), "one\ntwo\n");
    append(fo->uv, "logs/a.log", "three\n");
    append(fo->uv, "target", "three\n");
    write_file(fo->uv, "logs/b.log", "new\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "logs/a.log"), "one\ntwo\nthree\n");
    assert_string_equal(follow_text(fo, "logs/link.log"), "one\ntwo\nthree\n");
    assert_string_equal(follow_text(fo, "logs/b.log"), "new\n");
    follow_close(fo);
}

static void a_scan_with_nothing_new_changes_nothing(void **state)
{
    struct follow *fo = follow_pattern(state, "d*/*.log");
    make_dir(fo->uv, "d1");
    write_file(fo->uv, "d1/a.log", "one\n");
    follow_start(fo);
    struct tail_file before = *follow_file(fo, "d1/a.log")->file;
    unsigned watches = kernel_watches(), events = fo->events_n;
    tail_scan(fo->tail);
    tail_scan(fo->tail);
    follow_settle(fo);
    const struct tail_file *after = follow_file(fo, "d1/a.log")->file;
    assert_int_equal(after->fd, before.fd);
    assert_int_equal(after->inode, before.inode);
    assert_int_equal(after->read_at, before.read_at);
    assert_int_equal(kernel_watches(), watches);
    assert_int_equal(fo->events_n, events);
    assert_int_equal(fo->found_n, 1);
    assert_int_equal(fo->complaints_n, 0);
    follow_close(fo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(directories_may_appear_one_after_the_other),
        UVTEST(directories_may_appear_all_at_once),
        UVTEST(wildcards_in_directories_follow_every_match),
        UVTEST(a_directory_removed_and_made_again_is_followed_again),
        UVTEST(an_empty_directory_removed_and_made_again_is_noticed_at_once),
        UVTEST(a_directory_replaced_by_another_of_its_name_is_noticed),
        UVTEST(a_directory_renamed_within_the_glob_goes_on_under_its_new_name),
        UVTEST(the_watch_above_is_dropped_when_the_directory_is_there),
        UVTEST(a_closed_tail_leaves_no_watch_behind),
        UVTEST(a_burst_of_new_directories_costs_one_look_a_turn),
        UVTEST(after_an_overflow_everything_is_looked_at_again),
        UVTEST(a_real_overflow_loses_no_bytes),
        UVTEST(no_watches_left_is_complained_about_once_and_files_are_read_anyway),
        UVTEST(an_orphan_without_a_watch_is_still_heard_by_the_timer),
        UVTEST(two_tails_on_one_watch_do_not_take_it_from_each_other),
        UVTEST(a_scan_with_nothing_new_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
