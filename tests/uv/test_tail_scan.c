/* Finding: which files are followed, and under which names, while everything around them moves. */
#include "tests/uv/follow.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NOBODY 65534

static struct follow *follow_pattern(void **state, const char *pattern)
{
    return follow_open(*state, pattern);
}

/* The old writer of a file: it keeps its descriptor whatever the file is called by now. */
static int open_writer(struct uvtest *t, const char *name)
{
    int fd = open(uvtest_path(t, name), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void move_over(struct uvtest *t, const char *from, const char *to, unsigned flags)
{
    char old[512];
    snprintf(old, sizeof old, "%s", uvtest_path(t, from));
    assert_int_equal(renameat2(AT_FDCWD, old, AT_FDCWD, uvtest_path(t, to), flags), 0);
}

static void link_file(struct uvtest *t, const char *target, const char *name)
{
    assert_int_equal(symlink(target, uvtest_path(t, name)), 0);
}

static void hard_link(struct uvtest *t, const char *target, const char *name)
{
    char old[512];
    snprintf(old, sizeof old, "%s", uvtest_path(t, target));
    assert_int_equal(link(old, uvtest_path(t, name)), 0);
}

static void give_to_nobody(struct uvtest *t, const char *name)
{
    assert_int_equal(lchown(uvtest_path(t, name), NOBODY, NOBODY), 0);
}

static struct record *nth_found(struct follow *fo, unsigned n)
{
    struct record *r = fo->records;
    while (r != NULL && n-- > 0)
        r = r->next;
    assert_non_null(r);
    return r;
}

/* ---- rotation ---- */

static void renamed_within_the_glob_it_is_the_same_file(void **state)
{
    struct follow *fo = follow_pattern(state, "a.log*");
    tail_set_quiet(fo->tail, 20);
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "one\n");
    follow_start(fo);
    say(writer, "two\n");
    rename_file(fo->uv, "a.log", "a.log.1");
    say(writer, "three\n");
    follow_settle(fo);
    append(fo->uv, "a.log.1", "four\n");
    follow_settle(fo);
    struct record *r = follow_file(fo, "a.log.1");
    assert_non_null(r);
    assert_string_equal(r->text, "one\ntwo\nthree\nfour\n");
    assert_int_equal(r->renamed_n, 1);
    assert_int_equal(fo->found_n, 1);
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1); /* nobody waits for it to be quiet */
    assert_int_equal(r->lost_n, 0);
    assert_int_equal(r->ends_n, 0);
    assert_int_equal(kernel_watches(), 1); /* the directory's */
    close(writer);
    follow_close(fo);
}

static void renamed_out_of_the_glob_it_is_drained_late_bytes_included(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "one\n");
    follow_start(fo);
    tail_pause(fo->tail, true);
    say(writer, "two\n");
    rename_file(fo->uv, "a.log", "a.old");
    follow_settle(fo);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    struct record *r = nth_found(fo, 0);
    assert_string_equal(r->text, "one\ntwo\n");
    say(writer, "late\n");
    follow_settle(fo); /* its own watch tells: this does not wait for the timer */
    assert_string_equal(r->text, "one\ntwo\nlate\n");
    assert_int_equal(r->lost_n, 0);
    assert_int_equal(fo->found_n, 1);
    close(writer);
    follow_close(fo);
}

static void moved_to_another_directory_it_is_drained_too(void **state)
{
    struct follow *fo = follow_pattern(state, "logs/*.log");
    make_dir(fo->uv, "logs");
    make_dir(fo->uv, "old");
    int writer = open_writer(fo->uv, "logs/a.log");
    follow_start(fo);
    say(writer, "one\n");
    rename_file(fo->uv, "logs/a.log", "old/a.log");
    follow_settle(fo);
    say(writer, "late\n");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "one\nlate\n");
    close(writer);
    follow_close(fo);
}

static void an_orphan_is_closed_when_it_was_quiet_with_its_last_half_line(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_quiet(fo->tail, 20);
    write_file(fo->uv, "a.log", "one\nno newline");
    follow_start(fo);
    unsigned fds = uvtest_count_fds();
    rename_file(fo->uv, "a.log", "a.old");
    follow_settle(fo);
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    struct record *r = nth_found(fo, 0);
    assert_string_equal(r->text, "one\nno newline");
    assert_int_equal(r->ends_n, 1);
    assert_int_equal(uvtest_count_fds(), fds - 1);
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1);
    follow_settle(fo);
    assert_int_equal(kernel_watches(), 1);
    assert_int_equal(uv_backend_timeout(&fo->uv->loop), -1);
    follow_close(fo);
}

static void half_a_line_that_still_grows_is_not_quiet(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_quiet(fo->tail, 500);
    int writer = open_writer(fo->uv, "a.log");
    follow_start(fo);
    rename_file(fo->uv, "a.log", "a.old");
    uint64_t until = uv_hrtime() + UINT64_C(800000000);
    uv_timer_start(&fo->uv->tick, uvtest_on_tick, 20, 20);
    while (uv_hrtime() < until) {
        say(writer, ".");
        uv_run(&fo->uv->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&fo->uv->tick);
    struct record *r = nth_found(fo, 0);
    assert_int_equal(r->ends_n, 0);
    say(writer, "\n");
    follow_settle(fo);
    assert_true(r->n > 1);
    assert_int_equal(r->text[r->n - 1], '\n');
    close(writer);
    follow_close(fo);
}

static void an_orphan_is_kept_until_the_owner_has_settled_it(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_quiet(fo->tail, 10);
    fo->unsettled = true;
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    delete_file(fo->uv, "a.log");
    UVTEST_UNTIL(fo->uv, nth_found(fo, 0)->ends_n >= 3);
    assert_int_equal(fo->lost_n, 0);
    assert_string_equal(nth_found(fo, 0)->text, "one\n");
    fo->unsettled = false;
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    follow_close(fo);
}

static void rotated_and_made_anew_both_are_read(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "old one\n");
    follow_start(fo);
    say(writer, "old two\n");
    rename_file(fo->uv, "a.log", "a.old");
    write_file(fo->uv, "a.log", "new one\n");
    say(writer, "old late\n");
    follow_settle(fo);
    append(fo->uv, "a.log", "new two\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 2);
    assert_string_equal(nth_found(fo, 0)->text, "old one\nold two\nold late\n");
    assert_string_equal(nth_found(fo, 1)->text, "new one\nnew two\n");
    close(writer);
    follow_close(fo);
}

static void several_rotations_between_two_looks_keep_every_file_apart(void **state)
{
    struct follow *fo = follow_pattern(state, "a.log*");
    write_file(fo->uv, "a.log", "first\n");
    follow_start(fo);
    for (int i = 0; i < 3; i++) {
        static const char *const text[] = {"second\n", "third\n", "fourth\n"};
        if (i > 1)
            rename_file(fo->uv, "a.log.2", "a.log.3");
        if (i > 0)
            rename_file(fo->uv, "a.log.1", "a.log.2");
        rename_file(fo->uv, "a.log", "a.log.1");
        write_file(fo->uv, "a.log", text[i]);
    }
    follow_settle(fo);
    assert_int_equal(fo->found_n, 4);
    assert_string_equal(follow_text(fo, "a.log.3"), "first\n");
    assert_string_equal(follow_text(fo, "a.log.2"), "second\n");
    assert_string_equal(follow_text(fo, "a.log.1"), "third\n");
    assert_string_equal(follow_text(fo, "a.log"), "fourth\n");
    append(fo->uv, "a.log.3", "more of the first\n");
    append(fo->uv, "a.log", "more of the fourth\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log.3"), "first\nmore of the first\n");
    assert_string_equal(follow_text(fo, "a.log"), "fourth\nmore of the fourth\n");
    follow_close(fo);
}

static void renamed_over_another_followed_file_the_other_is_drained(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "a.log", "a one\n");
    write_file(fo->uv, "b.log", "b one\n");
    follow_start(fo);
    struct record *a = follow_file(fo, "a.log"), *b = follow_file(fo, "b.log");
    append(fo->uv, "a.log", "a two\n");
    move_over(fo->uv, "b.log", "a.log", 0);
    append(fo->uv, "a.log", "b two\n");
    follow_settle(fo);
    assert_string_equal(a->text, "a one\na two\n");
    assert_string_equal(b->text, "b one\nb two\n");
    assert_string_equal(b->path, uvtest_path(fo->uv, "a.log"));
    assert_int_equal(fo->found_n, 2);
    follow_close(fo);
}

static void two_files_that_exchange_their_names_stay_themselves(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "a.log", "a one\n");
    write_file(fo->uv, "b.log", "b one\n");
    follow_start(fo);
    struct record *a = follow_file(fo, "a.log"), *b = follow_file(fo, "b.log");
    move_over(fo->uv, "a.log", "b.log", RENAME_EXCHANGE);
    follow_settle(fo);
    append(fo->uv, "a.log", "b two\n");
    append(fo->uv, "b.log", "a two\n");
    follow_settle(fo);
    assert_string_equal(a->text, "a one\na two\n");
    assert_string_equal(b->text, "b one\nb two\n");
    assert_int_equal(fo->found_n, 2);
    follow_close(fo);
}

static void packed_under_a_new_name_it_is_drained_and_not_followed_there(void **state)
{
    struct follow *fo = follow_pattern(state, "a.log*");
    tail_set_quiet(fo->tail, 20);
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    tail_pause(fo->tail, true);
    append(fo->uv, "a.log", "two\n");
    rename_file(fo->uv, "a.log", "a.log.1.gz");
    follow_settle(fo);
    tail_pause(fo->tail, false);
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\n");
    append(fo->uv, "a.log.1.gz", "not ours\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    follow_close(fo);
}

/* ---- deletion ---- */

static void deleted_with_unread_bytes_it_is_drained_and_let_go(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_quiet(fo->tail, 20);
    char *text = numbered_lines(900 * KIB);
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    unsigned fds = uvtest_count_fds();
    tail_pause(fo->tail, true);
    append(fo->uv, "a.log", text);
    delete_file(fo->uv, "a.log");
    follow_settle(fo);
    tail_pause(fo->tail, false);
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_int_equal(uvtest_count_fds(), fds - 1); /* and so its blocks are free */
    assert_string_equal(nth_found(fo, 0)->text + 4, text);
    free(text);
    follow_close(fo);
}

static void deleted_and_made_again_at_once_it_is_another_file(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "a.log", "one\ntwo\n");
    follow_start(fo);
    append(fo->uv, "a.log", "three\n");
    delete_file(fo->uv, "a.log");
    write_file(fo->uv, "a.log", "one\ntwo\nthree\nfour\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 2);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\nthree\n");
    assert_string_equal(nth_found(fo, 1)->text, "one\ntwo\nthree\nfour\n");
    assert_int_not_equal(nth_found(fo, 0)->inode, nth_found(fo, 1)->inode);
    follow_close(fo);
}

/* After the close the inode is free, and ext4 hands it out again at once. */
static void made_again_after_it_was_let_go_it_begins_at_0(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_quiet(fo->tail, 10);
    write_file(fo->uv, "a.log", "one\ntwo\n");
    follow_start(fo);
    delete_file(fo->uv, "a.log");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    write_file(fo->uv, "a.log", "one\ntwo\nthree\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 2);
    assert_string_equal(nth_found(fo, 1)->text, "one\ntwo\nthree\n");
    follow_close(fo);
}

static void all_files_deleted_a_later_one_is_still_found(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_quiet(fo->tail, 10);
    write_file(fo->uv, "a.log", "one\n");
    write_file(fo->uv, "b.log", "two\n");
    follow_start(fo);
    delete_file(fo->uv, "a.log");
    delete_file(fo->uv, "b.log");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 2);
    write_file(fo->uv, "c.log", "three\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "c.log"), "three\n");
    follow_close(fo);
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
    tail_set_quiet(fo->tail, 50);
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

/* ---- what is not followed ---- */

static void make_socket(struct uvtest *t, const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%.100s", uvtest_path(t, name));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof a), 0);
    close(fd);
}

static void only_regular_files_are_opened_and_the_others_named_once(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    assert_int_equal(mkfifo(uvtest_path(fo->uv, "fifo.log"), 0644), 0);
    make_dir(fo->uv, "dir.log");
    make_socket(fo->uv, "socket.log");
    link_file(fo->uv, "/dev/zero", "device.log");
    link_file(fo->uv, "fifo.log", "fifolink.log");
    link_file(fo->uv, "dir.log", "dirlink.log");
    link_file(fo->uv, "nowhere", "dangling.log");
    link_file(fo->uv, "loop.log", "loop.log");
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    tail_scan(fo->tail);
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    static const char *const names[] = {"fifo.log",   "dir.log",      "socket.log",
                                        "device.log", "fifolink.log", "dirlink.log"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(follow_complaints(fo, names[i], "not a regular file"), 1);
    assert_int_equal(follow_complaints(fo, "dangling.log", ""), 0);
    follow_close(fo);
}

static void special_files_that_appear_later_are_passed_over_too(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    follow_start(fo);
    assert_int_equal(mkfifo(uvtest_path(fo->uv, "fifo.log"), 0644), 0);
    make_dir(fo->uv, "dir.log");
    if (geteuid() == 0)
        assert_int_equal(mknod(uvtest_path(fo->uv, "device.log"), S_IFCHR | 0666, 0x0105), 0);
    write_file(fo->uv, "a.log", "one\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    follow_close(fo);
}

static void packed_files_are_ignored_whatever_the_glob_says(void **state)
{
    struct follow *fo = follow_pattern(state, "a*");
    write_file(fo->uv, "a.log", "one\n");
    static const char *const names[] = {"a.1.gz",  "a.1.bz2", "a.1.zip", "a.1.xz",
                                        "a.1.zst", "a.1.lz4", "a.2.GZ"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        write_file(fo->uv, names[i], "packed\n");
    follow_start(fo);
    append(fo->uv, "a.1.gz", "more\n");
    write_file(fo->uv, "a.3.gz", "later\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    follow_close(fo);
}

static void classes_and_strange_names_match_as_the_shell_would(void **state)
{
    struct follow *fo = follow_pattern(state, "app.[01][1-9]*");
    write_file(fo->uv, "app.01", "one\n");
    write_file(fo->uv, "app.10", "not ours\n");
    write_file(fo->uv, "app.21", "not ours\n");
    follow_start(fo);
    write_file(fo->uv, "app.12 [x]*?\n\xff", "two\n");
    write_file(fo->uv, "app.30", "not ours\n");
    follow_settle(fo);
    append(fo->uv, "app.12 [x]*?\n\xff", "three\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "app.01"), "one\n");
    assert_string_equal(follow_text(fo, "app.12 [x]*?\n\xff"), "two\nthree\n");
    assert_int_equal(fo->found_n, 2);
    follow_close(fo);
}

static void an_unreadable_file_is_named_once_and_taken_up_when_it_can_be_read(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    assert_int_equal(chmod(uvtest_dir(fo->uv), 0755), 0);
    write_file(fo->uv, "a.log", "one\n");
    write_file(fo->uv, "b.log", "two\n");
    assert_int_equal(chmod(uvtest_path(fo->uv, "a.log"), 0), 0);
    bool root = geteuid() == 0;
    if (root)
        assert_int_equal(seteuid(NOBODY), 0);
    follow_start(fo);
    tail_scan(fo->tail);
    follow_settle(fo);
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(fo->found_n, 1);
    assert_string_equal(follow_text(fo, "b.log"), "two\n");
    assert_int_equal(follow_complaints(fo, "a.log", strerror(EACCES)), 1);
    assert_int_equal(fo->complaints_n, 1);
    assert_int_equal(chmod(uvtest_path(fo->uv, "a.log"), 0644), 0);
    append(fo->uv, "a.log", "three\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\nthree\n");
    follow_close(fo);
}

static void an_unreadable_directory_is_named(void **state)
{
    struct follow *fo = follow_pattern(state, "d*/*.log");
    assert_int_equal(chmod(uvtest_dir(fo->uv), 0755), 0);
    make_dir(fo->uv, "d1");
    make_dir(fo->uv, "d2");
    write_file(fo->uv, "d1/a.log", "one\n");
    write_file(fo->uv, "d2/a.log", "two\n");
    assert_int_equal(chmod(uvtest_path(fo->uv, "d1"), 0), 0);
    bool root = geteuid() == 0;
    if (root)
        assert_int_equal(seteuid(NOBODY), 0);
    follow_start(fo);
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(fo->found_n, 1);
    assert_string_equal(follow_text(fo, "d2/a.log"), "two\n");
    assert_int_equal(follow_complaints(fo, "d1", strerror(EACCES)), 1);
    assert_int_equal(chmod(uvtest_path(fo->uv, "d1"), 0755), 0);
    follow_close(fo);
}

static void a_file_the_owner_does_not_want_now_is_asked_again_on_the_next_scan(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    fo->refuse = true;
    unsigned fds = uvtest_count_fds();
    follow_start(fo);
    assert_int_equal(fo->found_n, 0);
    assert_int_equal(uvtest_count_fds(), fds);
    fo->refuse = false;
    tail_scan(fo->tail);
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    follow_close(fo);
}

/* ---- links ---- */

static void a_link_is_followed_and_what_is_written_to_its_target_is_heard(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    make_dir(fo->uv, "elsewhere");
    write_file(fo->uv, "elsewhere/target", "one\n");
    link_file(fo->uv, "elsewhere/target", "a.log");
    follow_start(fo);
    append(fo->uv, "elsewhere/target", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\ntwo\n");
    link_file(fo->uv, "elsewhere/late", "b.log");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    follow_close(fo);
}

static void a_link_of_another_owner_is_refused(void **state)
{
    if (geteuid() != 0)
        skip();
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "roots", "secret\n");
    write_file(fo->uv, "nobodys", "own\n");
    give_to_nobody(fo->uv, "nobodys");
    link_file(fo->uv, "roots", "bad.log");
    give_to_nobody(fo->uv, "bad.log");
    link_file(fo->uv, "nobodys", "own.log");
    give_to_nobody(fo->uv, "own.log");
    follow_start(fo);
    tail_scan(fo->tail);
    follow_settle(fo);
    assert_null(follow_file(fo, "bad.log"));
    assert_int_equal(follow_complaints(fo, "bad.log", "another owner"), 1);
    assert_string_equal(follow_text(fo, "own.log"), "own\n");
    follow_close(fo);
}

static void a_link_of_root_to_anybodys_file_is_followed(void **state)
{
    if (geteuid() != 0)
        skip();
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "nobodys", "one\n");
    give_to_nobody(fo->uv, "nobodys");
    link_file(fo->uv, "nobodys", "a.log");
    follow_start(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    assert_int_equal(fo->complaints_n, 0);
    follow_close(fo);
}

static void a_link_switched_to_another_target_drains_the_old_and_reads_the_new(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    int writer = open_writer(fo->uv, "day1");
    say(writer, "old one\n");
    write_file(fo->uv, "day2", "new one\n");
    link_file(fo->uv, "day1", "current.log");
    follow_start(fo);
    say(writer, "old two\n");
    link_file(fo->uv, "day2", "tmp");
    move_over(fo->uv, "tmp", "current.log", 0);
    follow_settle(fo);
    say(writer, "old late\n");
    append(fo->uv, "day2", "new two\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 2);
    assert_string_equal(nth_found(fo, 0)->text, "old one\nold two\nold late\n");
    assert_string_equal(nth_found(fo, 1)->text, "new one\nnew two\n");
    close(writer);
    follow_close(fo);
}

static void a_hard_links_second_name_is_followed_once(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    hard_link(fo->uv, "a.log", "b.log");
    follow_start(fo);
    append(fo->uv, "a.log", "two\n");
    follow_settle(fo);
    append(fo->uv, "b.log", "three\n");
    follow_settle(fo);
    hard_link(fo->uv, "a.log", "c.log");
    follow_settle(fo);
    append(fo->uv, "c.log", "four\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\nthree\nfour\n");
    follow_close(fo);
}

static void a_hard_link_written_through_a_name_elsewhere_is_heard(void **state)
{
    struct follow *fo = follow_pattern(state, "logs/*.log");
    make_dir(fo->uv, "logs");
    write_file(fo->uv, "elsewhere", "one\n");
    hard_link(fo->uv, "elsewhere", "logs/a.log");
    follow_start(fo);
    append(fo->uv, "elsewhere", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "logs/a.log"), "one\ntwo\n");
    follow_close(fo);
}

static void a_hard_link_that_loses_its_first_name_goes_on_under_the_second(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    hard_link(fo->uv, "a.log", "b.log");
    delete_file(fo->uv, "a.log");
    follow_settle(fo);
    append(fo->uv, "b.log", "two\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    assert_string_equal(follow_text(fo, "b.log"), "one\ntwo\n");
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
    assert_int_equal(follow_complaints(fo, "d1", "max_user_watches"), 1);
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
    tail_set_quiet(fo->tail, 600);
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
        UVTEST(renamed_within_the_glob_it_is_the_same_file),
        UVTEST(renamed_out_of_the_glob_it_is_drained_late_bytes_included),
        UVTEST(moved_to_another_directory_it_is_drained_too),
        UVTEST(an_orphan_is_closed_when_it_was_quiet_with_its_last_half_line),
        UVTEST(half_a_line_that_still_grows_is_not_quiet),
        UVTEST(an_orphan_is_kept_until_the_owner_has_settled_it),
        UVTEST(rotated_and_made_anew_both_are_read),
        UVTEST(several_rotations_between_two_looks_keep_every_file_apart),
        UVTEST(renamed_over_another_followed_file_the_other_is_drained),
        UVTEST(two_files_that_exchange_their_names_stay_themselves),
        UVTEST(packed_under_a_new_name_it_is_drained_and_not_followed_there),
        UVTEST(deleted_with_unread_bytes_it_is_drained_and_let_go),
        UVTEST(deleted_and_made_again_at_once_it_is_another_file),
        UVTEST(made_again_after_it_was_let_go_it_begins_at_0),
        UVTEST(all_files_deleted_a_later_one_is_still_found),
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
        UVTEST(only_regular_files_are_opened_and_the_others_named_once),
        UVTEST(special_files_that_appear_later_are_passed_over_too),
        UVTEST(packed_files_are_ignored_whatever_the_glob_says),
        UVTEST(classes_and_strange_names_match_as_the_shell_would),
        UVTEST(an_unreadable_file_is_named_once_and_taken_up_when_it_can_be_read),
        UVTEST(an_unreadable_directory_is_named),
        UVTEST(a_file_the_owner_does_not_want_now_is_asked_again_on_the_next_scan),
        UVTEST(a_link_is_followed_and_what_is_written_to_its_target_is_heard),
        UVTEST(a_link_of_another_owner_is_refused),
        UVTEST(a_link_of_root_to_anybodys_file_is_followed),
        UVTEST(a_link_switched_to_another_target_drains_the_old_and_reads_the_new),
        UVTEST(a_hard_links_second_name_is_followed_once),
        UVTEST(a_hard_link_written_through_a_name_elsewhere_is_heard),
        UVTEST(a_hard_link_that_loses_its_first_name_goes_on_under_the_second),
        UVTEST(after_an_overflow_everything_is_looked_at_again),
        UVTEST(a_real_overflow_loses_no_bytes),
        UVTEST(no_watches_left_is_complained_about_once_and_files_are_read_anyway),
        UVTEST(an_orphan_without_a_watch_is_still_heard_by_the_timer),
        UVTEST(two_tails_on_one_watch_do_not_take_it_from_each_other),
        UVTEST(a_scan_with_nothing_new_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
