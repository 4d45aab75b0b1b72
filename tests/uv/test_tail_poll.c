/* Where nothing tells of changes, everything is looked at once in a while: asked for, or because
 * the kernel has no watches left. */
#include <errno.h>

#include "tests/uv/follow.h"

#define POLL_MS 10

static struct follow *poll_silently(void **state, const char *pattern)
{
    struct follow *fo = follow_open_as(*state, pattern, &(struct tail_options){.poll = true});
    tail_set_times(fo->tail, 30, POLL_MS, COPY_HOLD_MS);
    fo->deaf = true;
    return fo;
}

static void assert_comes(struct follow *fo, const char *name, const char *text)
{
    UVTEST_UNTIL(fo->uv, strcmp(follow_text(fo, name), text) == 0);
}

/* Every scan asks for the watches of its directories again, and whether each file is known. */
static unsigned looks(const struct follow *fo)
{
    return fo->watch_dirs_n + fo->knows_n;
}

static void wait_for_looks(struct follow *fo, unsigned n)
{
    unsigned before = looks(fo);
    tail_scan(fo->tail);
    unsigned each = looks(fo) - before;
    assert_true(each > 0);
    UVTEST_UNTIL(fo->uv, looks(fo) >= before + (n + 1) * each);
}

/* ---- without any event ---- */

static void what_is_appended_is_found(void **state)
{
    struct follow *fo = poll_silently(state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    assert_true(tail_is_polling(fo->tail));
    append(fo->uv, "a.log", "two\nha");
    assert_comes(fo, "a.log", "one\ntwo\n");
    append(fo->uv, "a.log", "lf\n");
    assert_comes(fo, "a.log", "one\ntwo\nhalf\n");
    follow_close(fo);
}

static void new_files_and_directories_are_found(void **state)
{
    struct follow *fo = poll_silently(state, "**/*.log");
    follow_start(fo);
    write_file(fo->uv, "a.log", "one\n");
    assert_comes(fo, "a.log", "one\n");
    make_dir(fo->uv, "x");
    make_dir(fo->uv, "x/y");
    write_file(fo->uv, "x/y/b.log", "two\n");
    assert_comes(fo, "x/y/b.log", "two\n");
    append(fo->uv, "x/y/b.log", "three\n");
    assert_comes(fo, "x/y/b.log", "two\nthree\n");
    follow_close(fo);
}

static void a_rotation_is_found(void **state)
{
    struct follow *fo = poll_silently(state, "a.log*");
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "one\n");
    follow_start(fo);
    say(writer, "two\n");
    rename_file(fo->uv, "a.log", "a.log.1");
    write_file(fo->uv, "a.log", "new\n");
    say(writer, "late\n");
    assert_comes(fo, "a.log", "new\n");
    assert_comes(fo, "a.log.1", "one\ntwo\nlate\n");
    assert_int_equal(fo->found_n, 2);
    close(writer);
    follow_close(fo);
}

static void renamed_out_of_the_glob_it_is_drained(void **state)
{
    struct follow *fo = poll_silently(state, "*.log");
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "one\n");
    follow_start(fo);
    say(writer, "two\nno newline");
    rename_file(fo->uv, "a.log", "a.old");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\nno newline");
    close(writer);
    follow_close(fo);
}

static void a_truncation_is_found(void **state)
{
    struct follow *fo = poll_silently(state, "*.log");
    write_file(fo->uv, "a.log", "one\ntwo\n");
    follow_start(fo);
    write_file(fo->uv, "a.log", "new\n");
    assert_comes(fo, "a.log", "one\ntwo\nnew\n");
    assert_int_equal(nth_found(fo, 0)->replaced_n, 1);
    follow_close(fo);
}

/* The size alone would not tell. */
static void refilled_to_the_same_size_it_is_found(void **state)
{
    struct follow *fo = poll_silently(state, "*.log");
    write_file(fo->uv, "a.log", "one\ntwo\n");
    set_age(fo->uv, "a.log", 100);
    follow_start(fo);
    write_file(fo->uv, "a.log", "six\nten\n");
    assert_comes(fo, "a.log", "one\ntwo\nsix\nten\n");
    follow_close(fo);
}

static void deleted_files_are_let_go(void **state)
{
    struct follow *fo = poll_silently(state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    write_file(fo->uv, "b.log", "two\n");
    follow_start(fo);
    append(fo->uv, "a.log", "last\n");
    delete_file(fo->uv, "a.log");
    delete_file(fo->uv, "b.log");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 2);
    assert_string_equal(follow_text(fo, "a.log"), "one\nlast\n");
    write_file(fo->uv, "a.log", "new\n");
    assert_comes(fo, "a.log", "new\n");
    follow_close(fo);
}

static void a_switched_link_is_found(void **state)
{
    struct follow *fo = poll_silently(state, "*.log");
    write_file(fo->uv, "1", "one\n");
    write_file(fo->uv, "2", "two\n");
    link_file(fo->uv, "1", "a.log");
    follow_start(fo);
    append(fo->uv, "1", "last\n");
    link_file(fo->uv, "2", "new");
    rename_file(fo->uv, "new", "a.log");
    assert_comes(fo, "a.log", "two\n");
    assert_string_equal(nth_found(fo, 0)->text, "one\nlast\n");
    follow_close(fo);
}

static void files_that_are_shut_are_looked_at_too(void **state)
{
    struct follow *fo =
        follow_open_as(*state, "*.log", &(struct tail_options){.poll = true, .open_max = 2});
    tail_set_times(fo->tail, 30, POLL_MS, COPY_HOLD_MS);
    fo->deaf = true;
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.log", i);
        write_file(fo->uv, name, "one\n");
    }
    follow_start(fo);
    append(fo->uv, "0.log", "two\n");
    append(fo->uv, "19.log", "two\n");
    assert_comes(fo, "0.log", "one\ntwo\n");
    assert_comes(fo, "19.log", "one\ntwo\n");
    follow_close(fo);
}

/* ---- what it costs ---- */

static void nothing_is_read_while_nothing_changes(void **state)
{
    struct follow *fo = poll_silently(state, "*.log");
    write_file(fo->uv, "a.log", "one\nhalf");
    write_file(fo->uv, "b.log", "");
    follow_start(fo);
    wait_for_looks(fo, 1); /* the first may find that the times have changed since */
    unsigned told = follow_file(fo, "a.log")->told_n;
    wait_for_looks(fo, 5);
    assert_int_equal(follow_file(fo, "a.log")->told_n, told);
    assert_int_equal(follow_file(fo, "b.log")->told_n, 0);
    assert_int_equal(fo->found_n, 2);
    follow_close(fo);
}

static void nobody_polls_without_need(void **state)
{
    struct follow *fo = follow_open(*state, "*.log");
    tail_set_times(fo->tail, 10, POLL_MS, COPY_HOLD_MS);
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    assert_false(tail_is_polling(fo->tail));
    assert_int_equal(uv_backend_timeout(&fo->uv->loop), -1);
    follow_close(fo);
}

/* ---- because there are no watches left ---- */

static void when_a_directory_cannot_be_watched_it_is_said_once_and_polled(void **state)
{
    struct follow *fo = follow_open(*state, "*/*.log");
    tail_set_times(fo->tail, 30, POLL_MS, COPY_HOLD_MS);
    make_dir(fo->uv, "x");
    write_file(fo->uv, "x/a.log", "one\n");
    fo->watch_dir_error = -ENOSPC;
    follow_start(fo);
    assert_true(tail_is_polling(fo->tail));
    assert_int_equal(fo->complaints_n, 1);
    assert_non_null(strstr(fo->complaints[0], "max_user_watches"));
    append(fo->uv, "x/a.log", "two\n");
    assert_comes(fo, "x/a.log", "one\ntwo\n");
    make_dir(fo->uv, "y");
    write_file(fo->uv, "y/b.log", "three\n");
    assert_comes(fo, "y/b.log", "three\n");
    wait_for_looks(fo, 3);
    assert_int_equal(fo->complaints_n, 1);
    assert_int_equal(fo->events_n, 0);
    follow_close(fo);
}

static void when_a_file_cannot_be_watched_it_is_said_once_and_polled(void **state)
{
    struct follow *fo = follow_open(*state, "logs/*.log");
    tail_set_times(fo->tail, 30, POLL_MS, COPY_HOLD_MS);
    make_dir(fo->uv, "logs");
    write_file(fo->uv, "elsewhere", "one\n");
    hard_link(fo->uv, "elsewhere", "logs/a.log");
    fo->watch_file_error = -ENOSPC;
    follow_start(fo);
    append(fo->uv, "elsewhere", "two\n");
    assert_comes(fo, "logs/a.log", "one\ntwo\n");
    wait_for_looks(fo, 3);
    assert_int_equal(follow_complaints(fo, "logs/a.log", "max_user_watches"), 1);
    follow_close(fo);
}

/* A service user may pass through directories that he may not read: that is no reason to poll. */
static void a_directory_that_can_only_be_passed_through_is_no_reason_to_poll(void **state)
{
    if (geteuid() != 0)
        skip(); /* needs another user */
    struct follow *fo = follow_open(*state, "home/logs/*.log");
    assert_int_equal(chmod(uvtest_dir(fo->uv), 0755), 0);
    make_dir(fo->uv, "home");
    make_dir(fo->uv, "home/logs");
    write_file(fo->uv, "home/logs/a.log", "one\n");
    assert_int_equal(chmod(uvtest_path(fo->uv, "home"), 0711), 0);
    assert_int_equal(seteuid(65534), 0);
    follow_start(fo);
    assert_int_equal(seteuid(0), 0);
    append(fo->uv, "home/logs/a.log", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "home/logs/a.log"), "one\ntwo\n");
    assert_false(tail_is_polling(fo->tail));
    assert_int_equal(fo->complaints_n, 0);
    follow_close(fo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(what_is_appended_is_found),
        UVTEST(new_files_and_directories_are_found),
        UVTEST(a_rotation_is_found),
        UVTEST(renamed_out_of_the_glob_it_is_drained),
        UVTEST(a_truncation_is_found),
        UVTEST(refilled_to_the_same_size_it_is_found),
        UVTEST(deleted_files_are_let_go),
        UVTEST(a_switched_link_is_found),
        UVTEST(files_that_are_shut_are_looked_at_too),
        UVTEST(nothing_is_read_while_nothing_changes),
        UVTEST(nobody_polls_without_need),
        UVTEST(when_a_directory_cannot_be_watched_it_is_said_once_and_polled),
        UVTEST(when_a_file_cannot_be_watched_it_is_said_once_and_polled),
        UVTEST(a_directory_that_can_only_be_passed_through_is_no_reason_to_poll),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
