/* uvtest.h - what every device test needs: a loop, a patient wait, an empty directory.
 *
 * uvtest_setup gives the test a struct uvtest with a fresh loop; uvtest_teardown demands that
 * everything is closed by then (uv_loop_close() == 0), that no descriptor was left open, and
 * removes the directory. Both fit cmocka_unit_test_setup_teardown.
 *
 *   UVTEST_UNTIL(t, condition)   turns the loop until the condition holds; fails the test after
 *                                UVTEST_PATIENCE_MS. Nothing here sleeps.
 *   uvtest_dir(t)                the path of an empty directory, made at the first call
 *   uvtest_path(t, name)         a path in it; valid until the next call
 *   uvtest_limit_file_size(n)    from here on a write past n bytes of a file fails (EFBIG), like a
 * full disk but everywhere; 0 ends it, and so does the teardown uvtest_turn_idle(t)          turns
 * the loop until nothing is active any more
 */
#ifndef TESTS_UVTEST_H
#define TESTS_UVTEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "lib/base.h"

#define UVTEST_PATIENCE_MS 20000

struct uvtest {
    uv_loop_t loop;
    uv_timer_t tick;
    unsigned fds_n;
    char dir[64];
    char path[512];
};

static inline unsigned uvtest_count_fds(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static inline void uvtest_on_tick(uv_timer_t *timer)
{
    (void)timer;
}

/* The tick only looks again at conditions that no event of the loop announces. */
#define UVTEST_UNTIL(t, condition)                                                                 \
    do {                                                                                           \
        uint64_t patient_until = uv_hrtime() + UVTEST_PATIENCE_MS * UINT64_C(1000000);             \
        uv_timer_start(&(t)->tick, uvtest_on_tick, 20, 20);                                        \
        while (!(condition)) {                                                                     \
            if (uv_hrtime() > patient_until)                                                       \
                fail_msg("waited too long for: %s", #condition);                                   \
            uv_run(&(t)->loop, UV_RUN_ONCE);                                                       \
        }                                                                                          \
        uv_timer_stop(&(t)->tick);                                                                 \
    } while (0)

static inline void uvtest_turn_idle(struct uvtest *t)
{
    uv_unref((uv_handle_t *)&t->tick);
    UVTEST_UNTIL(t, !uv_loop_alive(&t->loop));
    uv_ref((uv_handle_t *)&t->tick);
}

static inline void uvtest_limit_file_size(size_t n)
{
    struct rlimit r;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
    r.rlim_cur = n > 0 ? n : r.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

static inline int uvtest_setup(void **state)
{
    struct uvtest *t = calloc(1, sizeof *t);
    assert_non_null(t);
    /* libuv opens a pipe for signals with the first loop of a process, and keeps it. */
    uv_loop_t first;
    assert_int_equal(uv_loop_init(&first), 0);
    assert_int_equal(uv_loop_close(&first), 0);
    t->fds_n = uvtest_count_fds();
    assert_int_equal(uv_loop_init(&t->loop), 0);
    uv_timer_init(&t->loop, &t->tick);
    *state = t;
    return 0;
}

static inline int uvtest_remove_one(const char *path, const struct stat *st, int kind,
                                    struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static inline int uvtest_teardown(void **state)
{
    struct uvtest *t = *state;
    uvtest_limit_file_size(0);
    if (t->dir[0] != '\0') {
        umount2(t->dir, MNT_DETACH); /* for a test that failed with a small disk mounted there */
        nftw(t->dir, uvtest_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    uv_close((uv_handle_t *)&t->tick, NULL);
    uv_run(&t->loop, UV_RUN_NOWAIT);
    int rc = uv_loop_close(&t->loop);
    if (rc != 0)
        uv_print_all_handles(&t->loop, stderr);
    assert_int_equal(rc, 0);
    assert_int_equal(uvtest_count_fds(), t->fds_n);
    free(t);
    return 0;
}

static inline const char *uvtest_dir(struct uvtest *t)
{
    if (t->dir[0] == '\0') {
        snprintf(t->dir, sizeof t->dir, "/tmp/uvtest-XXXXXX");
        assert_non_null(mkdtemp(t->dir));
    }
    return t->dir;
}

static inline const char *uvtest_path(struct uvtest *t, const char *name)
{
    snprintf(t->path, sizeof t->path, "%s/%s", uvtest_dir(t), name);
    return t->path;
}

/* The whole file, NUL-terminated, to be freed; NULL when there is none. */
static inline char *uvtest_read(struct uvtest *t, const char *name, size_t *n_out)
{
    FILE *f = fopen(uvtest_path(t, name), "re");
    if (f == NULL)
        return NULL;
    struct stat st;
    assert_int_equal(fstat(fileno(f), &st), 0);
    size_t n = (size_t)st.st_size;
    char *text = malloc(n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, n, f), n);
    text[n] = '\0';
    fclose(f);
    if (n_out != NULL)
        *n_out = n;
    return text;
}

static inline void uvtest_write(struct uvtest *t, const char *name, const char *text)
{
    FILE *f = fopen(uvtest_path(t, name), "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static inline unsigned uvtest_mode(struct uvtest *t, const char *name)
{
    struct stat st;
    assert_int_equal(lstat(uvtest_path(t, name), &st), 0);
    return (unsigned)(st.st_mode & 07777);
}

#define UVTEST(name) cmocka_unit_test_setup_teardown(name, uvtest_setup, uvtest_teardown)

#endif
