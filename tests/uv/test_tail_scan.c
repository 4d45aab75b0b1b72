/* Finding: which of the names that match are followed, and which are passed over. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/uv/follow.h"

#define NOBODY 65534

static void give_to_nobody(struct uvtest *t, const char *name)
{
    assert_int_equal(lchown(uvtest_path(t, name), NOBODY, NOBODY), 0);
}

static struct follow *follow_pattern(void **state, const char *pattern)
{
    return follow_open(*state, pattern);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
