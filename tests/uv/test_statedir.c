#include "tests/uv/uvtest.h"

#include <sys/mount.h>
#include <sys/wait.h>

#include "daemon/statedir.h"

static void an_empty_directory_becomes_ours(void **state)
{
    struct uvtest *t = *state;
    struct statedir s;
    struct err e;
    assert_int_equal(statedir_open(&s, uvtest_dir(t), &e), 0);
    assert_int_equal(uvtest_mode(t, "lock"), 0600);
    char *text = uvtest_read(t, "lock", NULL);
    assert_int_equal(strtol(text, NULL, 10), getpid());
    free(text);
    assert_int_not_equal(access(uvtest_path(t, ".write-test"), F_OK), 0);
    statedir_close(&s);
    statedir_close(&s);
    assert_int_equal(statedir_open(&s, uvtest_dir(t), &e), 0);
    statedir_close(&s);
}

static void a_missing_directory_says_what_to_do(void **state)
{
    struct uvtest *t = *state;
    struct statedir s = {-7, -7};
    struct err e;
    assert_int_equal(statedir_open(&s, uvtest_path(t, "no"), &e), ERR_MISSING);
    assert_non_null(strstr(e.text, "does not exist: create it"));
    assert_int_equal(s.dir_fd, -7); /* nothing is written on failure */
}

static void a_file_is_no_directory(void **state)
{
    struct uvtest *t = *state;
    struct statedir s;
    struct err e;
    uvtest_write(t, "file", "x");
    assert_int_equal(statedir_open(&s, uvtest_path(t, "file"), &e), ERR_IO);
    assert_non_null(strstr(e.text, "not a directory"));
}

static void a_directory_others_may_write_to_is_refused(void **state)
{
    struct uvtest *t = *state;
    static const mode_t BAD[] = {0777, 0770, 0720, 0702, 01777};
    struct statedir s;
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_int_equal(chmod(uvtest_dir(t), BAD[i]), 0);
        assert_int_equal(statedir_open(&s, uvtest_dir(t), &e), ERR_IO);
        assert_non_null(strstr(e.text, "chmod go-w"));
    }
    assert_int_equal(chmod(uvtest_dir(t), 0755), 0);
    assert_int_equal(statedir_open(&s, uvtest_dir(t), &e), 0);
    statedir_close(&s);
}

static void a_second_daemon_hears_the_process_id_of_the_first(void **state)
{
    struct uvtest *t = *state;
    struct statedir s, second;
    struct err e;
    char expected[64];
    snprintf(expected, sizeof expected, "(process %ld)", (long)getpid());
    assert_int_equal(statedir_open(&s, uvtest_dir(t), &e), 0);
    assert_int_equal(statedir_open(&second, uvtest_dir(t), &e), ERR_BUSY);
    assert_non_null(strstr(e.text, "in use by another tailraced"));
    assert_non_null(strstr(e.text, expected));
    /* A lock file without a number in it: still refused, without naming anyone. */
    uvtest_write(t, "lock", "x\n");
    assert_int_equal(statedir_open(&second, uvtest_dir(t), &e), ERR_BUSY);
    assert_null(strstr(e.text, "process"));
    statedir_close(&s);
    assert_int_equal(statedir_open(&s, uvtest_dir(t), &e), 0);
    statedir_close(&s);
}

static void a_lock_that_is_a_link_is_not_followed(void **state)
{
    struct uvtest *t = *state;
    struct statedir s;
    struct err e;
    uvtest_write(t, "victim", "precious");
    assert_int_equal(symlink("victim", uvtest_path(t, "lock")), 0);
    assert_int_equal(statedir_open(&s, uvtest_dir(t), &e), ERR_IO);
    char *text = uvtest_read(t, "victim", NULL);
    assert_string_equal(text, "precious");
    free(text);
}

/* Runs the open in a child as another user; returns its code and leaves the text in e. */
static int open_as_nobody(const char *path, struct err *e)
{
    int p[2];
    assert_int_equal(pipe(p), 0);
    pid_t child = fork();
    if (child == 0) {
        struct statedir s;
        struct err mine = {0};
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(1);
        mine.code = statedir_open(&s, path, &mine);
        _exit(write(p[1], &mine, sizeof mine) == (ssize_t)sizeof mine ? 0 : 1);
    }
    close(p[1]);
    assert_int_equal(read(p[0], e, sizeof *e), sizeof *e);
    close(p[0]);
    waitpid(child, NULL, 0);
    return e->code;
}

static void what_belongs_to_another_user_is_refused(void **state)
{
    struct uvtest *t = *state;
    struct err e;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chmod(uvtest_dir(t), 0755), 0);
    assert_int_equal(open_as_nobody(uvtest_dir(t), &e), ERR_IO);
    assert_non_null(strstr(e.text, "belongs to user id 0, but user id 65534 is running"));
    assert_int_equal(chmod(uvtest_dir(t), 0700), 0);
    assert_int_equal(open_as_nobody(uvtest_dir(t), &e), ERR_IO);
    assert_non_null(strstr(e.text, "no permission"));
    assert_int_equal(chown(uvtest_dir(t), 65534, 65534), 0);
    assert_int_equal(open_as_nobody(uvtest_dir(t), &e), 0);
    assert_int_equal(chmod(uvtest_dir(t), 0500), 0);
    unlink(uvtest_path(t, "lock"));
    assert_int_equal(open_as_nobody(uvtest_dir(t), &e), ERR_IO);
    assert_non_null(strstr(e.text, "no permission"));
}

static void a_read_only_file_system_is_named(void **state)
{
    struct uvtest *t = *state;
    struct statedir s;
    struct err e;
    if (mount("none", uvtest_dir(t), "tmpfs", 0, "size=64k,mode=0700") != 0)
        skip();
    int rc = mount("none", uvtest_dir(t), "tmpfs", MS_REMOUNT | MS_RDONLY, NULL);
    int opened = statedir_open(&s, uvtest_dir(t), &e);
    umount(uvtest_dir(t));
    assert_int_equal(rc, 0);
    assert_int_equal(opened, ERR_IO);
    assert_non_null(strstr(e.text, "read-only file system"));
}

static void a_full_disk_is_found_at_start_and_by_a_replacement(void **state)
{
    struct uvtest *t = *state;
    struct statedir s;
    struct err e, at_start;
    if (mount("none", uvtest_dir(t), "tmpfs", 0, "size=64k,mode=0700") != 0)
        skip();
    static char big[128 * 1024];
    memset(big, 'x', sizeof big);
    int opened = statedir_open(&s, uvtest_dir(t), &e);
    int small = statedir_replace(s.dir_fd, "state", "old", 3, &e);
    int large = statedir_replace(s.dir_fd, "state", big, sizeof big, &e);
    char *text = uvtest_read(t, "state", NULL);
    int leftover = access(uvtest_path(t, "state.new"), F_OK);
    statedir_close(&s);
    int fd = open(uvtest_path(t, "fill"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, big, sizeof big) > 0)
        ;
    close(fd);
    int again = statedir_open(&s, uvtest_dir(t), &at_start);
    umount(uvtest_dir(t));
    assert_int_equal(opened, 0);
    assert_int_equal(small, 0);
    assert_int_equal(large, ERR_IO);
    assert_non_null(strstr(e.text, "No space left"));
    assert_string_equal(text, "old");
    free(text);
    assert_int_not_equal(leftover, 0);
    assert_int_equal(again, ERR_IO);
    assert_non_null(strstr(at_start.text, "No space left"));
}

static void a_replacement_is_whole_and_private(void **state)
{
    struct uvtest *t = *state;
    struct statedir s;
    struct err e;
    mode_t umask_before = umask(0);
    assert_int_equal(statedir_open(&s, uvtest_dir(t), &e), 0);
    assert_int_equal(statedir_replace(s.dir_fd, "state", "one", 3, &e), 0);
    /* What a killed process may leave: an aside of any kind but a directory is in nobody's way. */
    uvtest_write(t, "state.new", "half of something much longer");
    assert_int_equal(statedir_replace(s.dir_fd, "state", "two", 3, &e), 0);
    umask(umask_before);
    size_t n;
    char *text = uvtest_read(t, "state", &n);
    assert_int_equal(n, 3);
    assert_string_equal(text, "two");
    free(text);
    assert_int_equal(uvtest_mode(t, "state"), 0600);
    assert_int_not_equal(access(uvtest_path(t, "state.new"), F_OK), 0);
    statedir_close(&s);
}

static void a_failed_replacement_leaves_the_old_file_and_nothing_else(void **state)
{
    struct uvtest *t = *state;
    struct statedir s;
    struct err e;
    assert_int_equal(statedir_open(&s, uvtest_dir(t), &e), 0);
    assert_int_equal(statedir_replace(s.dir_fd, "state", "old", 3, &e), 0);
    static char big[8192];
    memset(big, 'x', sizeof big);
    uvtest_limit_file_size(4096);
    int rc = statedir_replace(s.dir_fd, "state", big, sizeof big, &e);
    uvtest_limit_file_size(0);
    assert_int_equal(rc, ERR_IO);
    assert_non_null(strstr(e.text, "state: cannot write state.new: File too large"));
    char *text = uvtest_read(t, "state", NULL);
    assert_string_equal(text, "old");
    free(text);
    assert_int_not_equal(access(uvtest_path(t, "state.new"), F_OK), 0);

    assert_int_equal(mkdir(uvtest_path(t, "taken"), 0700), 0);
    assert_int_equal(statedir_replace(s.dir_fd, "taken", "x", 1, &e), ERR_IO);
    assert_non_null(strstr(e.text, "cannot rename"));
    assert_int_not_equal(access(uvtest_path(t, "taken.new"), F_OK), 0);
    statedir_close(&s);
}

static void a_process_killed_while_replacing_leaves_a_whole_file(void **state)
{
    struct uvtest *t = *state;
    struct statedir s;
    struct err e;
    static char a[65536], b[65536];
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    assert_int_equal(statedir_open(&s, uvtest_dir(t), &e), 0);
    assert_int_equal(statedir_replace(s.dir_fd, "state", a, sizeof a, &e), 0);
    for (unsigned round = 0; round < 20; round++) {
        int p[2];
        assert_int_equal(pipe(p), 0);
        pid_t child = fork();
        if (child == 0) {
            for (unsigned i = 0;; i++) {
                statedir_replace(s.dir_fd, "state", i % 2 ? a : b, sizeof a, NULL);
                if (write(p[1], "x", 1) != 1)
                    _exit(1);
            }
        }
        close(p[1]);
        for (unsigned i = 0; i < 1 + round % 5; i++) {
            char c;
            assert_int_equal(read(p[0], &c, 1), 1);
        }
        kill(child, SIGKILL); /* wherever it is by now */
        waitpid(child, NULL, 0);
        close(p[0]);
        size_t n;
        char *text = uvtest_read(t, "state", &n);
        assert_int_equal(n, sizeof a);
        assert_memory_equal(text, text[0] == 'a' ? a : b, n);
        free(text);
    }
    assert_int_equal(statedir_replace(s.dir_fd, "state", "x", 1, &e), 0);
    statedir_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(an_empty_directory_becomes_ours),
        UVTEST(a_missing_directory_says_what_to_do),
        UVTEST(a_file_is_no_directory),
        UVTEST(a_directory_others_may_write_to_is_refused),
        UVTEST(a_second_daemon_hears_the_process_id_of_the_first),
        UVTEST(a_lock_that_is_a_link_is_not_followed),
        UVTEST(what_belongs_to_another_user_is_refused),
        UVTEST(a_read_only_file_system_is_named),
        UVTEST(a_full_disk_is_found_at_start_and_by_a_replacement),
        UVTEST(a_replacement_is_whole_and_private),
        UVTEST(a_failed_replacement_leaves_the_old_file_and_nothing_else),
        UVTEST(a_process_killed_while_replacing_leaves_a_whole_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
