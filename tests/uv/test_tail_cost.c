/* What following costs, counted in system calls that look at files: it goes with the files that
 * change, not with those that are there. And what happens when such a call fails. For both, the
 * calls of this program pass through here. */
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>

#include "tests/uv/follow.h"

#define FILES 10000

unsigned looks, reads; /* so many calls */
ino_t unreadable;      /* reading this file fails with EIO */

int stat(const char *path, struct stat *st)
{
    looks++;
    return fstatat(AT_FDCWD, path, st, 0);
}

int lstat(const char *path, struct stat *st)
{
    looks++;
    return fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

int fstat(int fd, struct stat *st)
{
    looks++;
    return fstatat(fd, "", st, AT_EMPTY_PATH);
}

DIR *opendir(const char *path)
{
    looks++;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && d == NULL)
        close(fd);
    return d;
}

ssize_t pread(int fd, void *to, size_t n, off_t offset)
{
    struct stat st;
    reads++;
    if (unreadable != 0 && fstatat(fd, "", &st, AT_EMPTY_PATH) == 0 && st.st_ino == unreadable) {
        errno = EIO;
        return -1;
    }
    return (ssize_t)syscall(SYS_pread64, fd, to, n, offset);
}

static int no_errors(void **state)
{
    unreadable = 0;
    return uvtest_setup(state);
}

static void count_anew(void)
{
    looks = reads = 0;
}

/* ---- many files ---- */

static uint64_t cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static struct follow *follow_many(void **state, unsigned n, uint64_t *start_ns)
{
    struct follow *fo = follow_open_as(*state, "*.log*", &(struct tail_options){.open_max = 100});
    for (unsigned i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u.log", i);
        write_file(fo->uv, name, "one\n");
    }
    uint64_t began = cpu_ns();
    follow_start(fo);
    *start_ns = cpu_ns() - began;
    assert_int_equal(fo->found_n, n);
    assert_int_equal(fo->journal.n, n * 4);
    return fo;
}

static void ten_thousand_files_are_taken_up_within_a_second(void **state)
{
    uint64_t start_ns;
    struct follow *fo = follow_many(state, FILES, &start_ns);
    assert_true(start_ns < UINT64_C(1000000000));
    uint64_t began = cpu_ns();
    tail_scan(fo->tail);
    follow_settle(fo);
    assert_true(cpu_ns() - began < UINT64_C(500000000));
    follow_close(fo);
}

static void one_event_costs_no_walk_over_all_files(void **state)
{
    uint64_t start_ns;
    struct follow *fo = follow_many(state, FILES, &start_ns);
    link_file(fo->uv, "nowhere", "dangling.log");
    follow_settle(fo);
    count_anew();
    append(fo->uv, "4711.log", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "4711.log"), "one\ntwo\n");
    assert_true(looks + reads < 20);
    count_anew();
    rename_file(fo->uv, "4711.log", "4711.log.1");
    write_file(fo->uv, "4711.log", "new\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "4711.log"), "new\n");
    assert_true(looks + reads < 60);
    count_anew();
    delete_file(fo->uv, "4711.log.1");
    follow_settle(fo);
    assert_true(looks + reads < 20);
    follow_close(fo);
}

static void nothing_wakes_anyone_while_nothing_happens(void **state)
{
    uint64_t start_ns;
    struct follow *fo = follow_many(state, 2000, &start_ns);
    assert_int_equal(uv_backend_timeout(&fo->uv->loop), -1);
    assert_int_equal(active_handles(fo->uv), 1);
    count_anew();
    uv_run(&fo->uv->loop, UV_RUN_NOWAIT);
    assert_int_equal(looks + reads, 0);
    follow_close(fo);
}

/* Each has a watch of its own, since its directory tells nothing of it. */
static void one_event_of_many_links_costs_no_walk_over_them(void **state)
{
    struct follow *fo = follow_open(*state, "logs/*.log");
    make_dir(fo->uv, "logs");
    make_dir(fo->uv, "data");
    for (unsigned i = 0; i < 1000; i++) {
        char name[32], target[32];
        snprintf(target, sizeof target, "data/%u", i);
        write_file(fo->uv, target, "one\n");
        snprintf(name, sizeof name, "logs/%u.log", i);
        snprintf(target, sizeof target, "../data/%u", i);
        link_file(fo->uv, target, name);
    }
    follow_start(fo);
    assert_int_equal(fo->journal.n, 4000);
    count_anew();
    append(fo->uv, "data/471", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "logs/471.log"), "one\ntwo\n");
    assert_true(looks + reads < 20);
    follow_close(fo);
}

static void a_burst_of_events_about_links_costs_one_look_at_them(void **state)
{
    struct follow *fo = follow_open(*state, "*.log");
    make_dir(fo->uv, "data");
    for (unsigned i = 0; i < 300; i++) {
        char name[32], target[32];
        snprintf(target, sizeof target, "data/%u", i);
        write_file(fo->uv, target, "one\n");
        snprintf(name, sizeof name, "%u.log", i);
        link_file(fo->uv, target, name);
    }
    follow_start(fo);
    count_anew();
    for (unsigned i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u.txt", i);
        write_file(fo->uv, name, "not ours\n");
    }
    follow_settle(fo);
    assert_true(looks + reads < 300 * 3 + 100 * 4);
    follow_close(fo);
}

static void a_quiet_poll_reads_nothing(void **state)
{
    struct follow *fo =
        follow_open_as(*state, "*.log", &(struct tail_options){.poll = true, .open_max = 10});
    for (unsigned i = 0; i < 50; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u.log", i);
        write_file(fo->uv, name, "one\nhalf");
    }
    follow_start(fo);
    tail_scan(fo->tail); /* the first may find that the times have changed since */
    follow_settle(fo);
    count_anew();
    for (int i = 0; i < 5; i++) {
        tail_scan(fo->tail);
        follow_settle(fo);
    }
    assert_int_equal(reads, 0);
    assert_true(looks > 0);
    follow_close(fo);
}

/* A CSV header is the same in all of them: that must not have each compared with all the others. */
static void many_files_that_begin_alike_are_taken_up_quickly(void **state)
{
    struct follow *fo = follow_open_as(*state, "*.log", &(struct tail_options){.open_max = 100});
    char text[400];
    follow_start(fo);
    for (unsigned i = 0; i < 2000; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u.log", i);
        snprintf(text, sizeof text, "%300s\n%u,%u\n", "id,time,text", i * 7919, i);
        write_file(fo->uv, name, text);
        if (i % 500 == 499)
            follow_settle(fo);
    }
    assert_int_equal(fo->found_n, 2000);
    count_anew();
    write_file(fo->uv, "2000.log", text);
    append(fo->uv, "2000.log", "x\n");
    follow_settle(fo);
    assert_true(looks + reads < 150);
    follow_close(fo);
}

/* ---- reads that fail ---- */

static ino_t inode_of(struct follow *fo, const char *name)
{
    struct stat st;
    assert_int_equal(fstatat(AT_FDCWD, uvtest_path(fo->uv, name), &st, 0), 0);
    return st.st_ino;
}

static void a_read_that_fails_is_tried_again_after_a_while(void **state)
{
    struct follow *fo = follow_open(*state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    write_file(fo->uv, "b.log", "two\n");
    unreadable = inode_of(fo, "a.log");
    follow_start(fo);
    assert_string_equal(follow_text(fo, "a.log"), "");
    assert_string_equal(follow_text(fo, "b.log"), "two\n");
    assert_int_equal(follow_complaints(fo, "a.log", strerror(EIO)), 1);
    count_anew();
    UVTEST_UNTIL(fo->uv, reads >= 2);
    assert_string_equal(follow_text(fo, "a.log"), "");
    assert_int_equal(follow_complaints(fo, "a.log", strerror(EIO)), 1);
    unreadable = 0;
    UVTEST_UNTIL(fo->uv, follow_file(fo, "a.log")->n == 4);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1);
    follow_close(fo);
}

static void a_read_that_fails_is_tried_again_with_the_next_event(void **state)
{
    struct follow *fo = follow_open(*state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    unreadable = inode_of(fo, "a.log");
    append(fo->uv, "a.log", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    unreadable = 0;
    append(fo->uv, "a.log", "three\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\ntwo\nthree\n");
    follow_close(fo);
}

static void an_orphan_that_cannot_be_read_is_not_given_up(void **state)
{
    struct follow *fo = follow_open(*state, "*.log");
    tail_set_times(fo->tail, 10, TAIL_POLL_MS, COPY_HOLD_MS);
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    unreadable = inode_of(fo, "a.log");
    append(fo->uv, "a.log", "two\n");
    delete_file(fo->uv, "a.log");
    follow_settle(fo);
    count_anew();
    UVTEST_UNTIL(fo->uv, reads >= 5);
    assert_int_equal(fo->lost_n, 0);
    unreadable = 0;
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\n");
    follow_close(fo);
}

static void who_cannot_be_read_holds_no_successor_up(void **state)
{
    struct follow *fo = follow_open(*state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    tail_scan(fo->tail);
    unreadable = inode_of(fo, "a.log");
    rename_file(fo->uv, "a.log", "a.old");
    write_file(fo->uv, "a.log", "two\n");
    follow_settle(fo);
    tail_pause(fo->tail, false);
    UVTEST_UNTIL(fo->uv, fo->journal.n == 4);
    assert_string_equal(fo->journal.text, "two\n");
    unreadable = 0;
    UVTEST_UNTIL(fo->uv, fo->journal.n == 8);
    follow_close(fo);
}

static void what_cannot_be_read_does_not_keep_others_from_being_shut(void **state)
{
    struct follow *fo = follow_open_as(*state, "*.log", &(struct tail_options){.open_max = 2});
    write_file(fo->uv, "0.log", "one\n");
    unreadable = inode_of(fo, "0.log");
    for (unsigned i = 1; i < 30; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u.log", i);
        write_file(fo->uv, name, "one\n");
    }
    follow_start(fo);
    UVTEST_UNTIL(fo->uv, fo->journal.n == 29 * 4);
    unreadable = 0;
    UVTEST_UNTIL(fo->uv, fo->journal.n == 30 * 4);
    follow_close(fo);
}

static void once_with_a_file_that_cannot_be_read_finishes_and_is_incomplete(void **state)
{
    struct follow *fo = follow_open_once(*state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    write_file(fo->uv, "b.log", "two\n");
    unreadable = inode_of(fo, "a.log");
    follow_start(fo);
    assert_true(tail_finished(fo->tail));
    assert_true(tail_is_incomplete(fo->tail));
    assert_string_equal(fo->journal.text, "two\n");
    assert_int_equal(follow_complaints(fo, "a.log", strerror(EIO)), 1);
    follow_close(fo);
}

static void once_with_everything_read_is_complete(void **state)
{
    struct follow *fo = follow_open_once(*state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    write_file(fo->uv, "b.log", "");
    link_file(fo->uv, "nowhere", "c.log");
    follow_start(fo);
    assert_true(tail_finished(fo->tail));
    assert_false(tail_is_incomplete(fo->tail));
    follow_close(fo);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, no_errors, uvtest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ten_thousand_files_are_taken_up_within_a_second),
        TEST(one_event_costs_no_walk_over_all_files),
        TEST(nothing_wakes_anyone_while_nothing_happens),
        TEST(one_event_of_many_links_costs_no_walk_over_them),
        TEST(a_burst_of_events_about_links_costs_one_look_at_them),
        TEST(a_quiet_poll_reads_nothing),
        TEST(many_files_that_begin_alike_are_taken_up_quickly),
        TEST(a_read_that_fails_is_tried_again_after_a_while),
        TEST(a_read_that_fails_is_tried_again_with_the_next_event),
        TEST(an_orphan_that_cannot_be_read_is_not_given_up),
        TEST(who_cannot_be_read_holds_no_successor_up),
        TEST(what_cannot_be_read_does_not_keep_others_from_being_shut),
        TEST(once_with_a_file_that_cannot_be_read_finishes_and_is_incomplete),
        TEST(once_with_everything_read_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
