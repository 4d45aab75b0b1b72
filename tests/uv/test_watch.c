/* What the kernel tells is passed on as it is, a bounded amount a turn, and a lost event is told as
 * such. */
#include "daemon/watch.h"

#include <errno.h>

#include "tests/uv/uvtest.h"

#define EVENTS_MAX 256

struct told {
    int wd;
    uint32_t mask;
    char name[64];
};

struct seen {
    struct uvtest *uv;
    struct watch *watch;
    struct told told[EVENTS_MAX];
    unsigned told_n, overflows_n;
    bool closed;
};

static void on_event(void *ctx, int wd, uint32_t mask, uint32_t cookie, const char *name)
{
    struct seen *s = ctx;
    (void)cookie;
    if (s->told_n < EVENTS_MAX) {
        struct told *to = &s->told[s->told_n];
        to->wd = wd;
        to->mask = mask;
        snprintf(to->name, sizeof to->name, "%s", name);
    }
    s->told_n++;
}

static void on_overflow(void *ctx)
{
    ((struct seen *)ctx)->overflows_n++;
}

static void on_closed(void *ctx)
{
    ((struct seen *)ctx)->closed = true;
}

static void open_watch(struct seen *s, void **state)
{
    const struct watch_ops ops = {.ctx = s, .event = on_event, .overflow = on_overflow};
    struct err e = {0};
    *s = (struct seen){.uv = *state};
    s->watch = watch_new(&s->uv->loop, &ops, &e);
    assert_non_null(s->watch);
}

static void close_watch(struct seen *s)
{
    watch_close(s->watch, on_closed, s);
    UVTEST_UNTIL(s->uv, s->closed);
}

/* Events are queued by the system call that causes them: no waiting. */
static void turn(struct seen *s)
{
    unsigned before;
    do {
        before = s->told_n + s->overflows_n;
        uv_run(&s->uv->loop, UV_RUN_NOWAIT);
    } while (s->told_n + s->overflows_n != before);
}

static bool was_told(const struct seen *s, int wd, uint32_t mask, const char *name)
{
    for (unsigned i = 0; i < s->told_n && i < EVENTS_MAX; i++)
        if (s->told[i].wd == wd && (s->told[i].mask & mask) == mask &&
            strcmp(s->told[i].name, name) == 0)
            return true;
    return false;
}

static void append_to(struct uvtest *t, const char *name, const char *text)
{
    int fd = open(uvtest_path(t, name), O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void what_happens_in_a_directory_is_told_by_name(void **state)
{
    struct seen s;
    open_watch(&s, state);
    int wd = watch_dir(s.watch, uvtest_dir(s.uv), true);
    assert_true(wd >= 0);
    uvtest_write(s.uv, "a", "one\n");
    turn(&s);
    assert_true(was_told(&s, wd, IN_CREATE, "a"));
    assert_true(was_told(&s, wd, IN_MODIFY, "a"));
    char from[512];
    snprintf(from, sizeof from, "%s", uvtest_path(s.uv, "a"));
    assert_int_equal(rename(from, uvtest_path(s.uv, "b")), 0);
    assert_int_equal(mkdir(uvtest_path(s.uv, "d"), 0755), 0);
    assert_int_equal(unlink(uvtest_path(s.uv, "b")), 0);
    turn(&s);
    assert_true(was_told(&s, wd, IN_MOVED_FROM, "a"));
    assert_true(was_told(&s, wd, IN_MOVED_TO, "b"));
    assert_true(was_told(&s, wd, IN_CREATE | IN_ISDIR, "d"));
    assert_true(was_told(&s, wd, IN_DELETE, "b"));
    close_watch(&s);
}

static void reading_is_no_news_and_touching_is_told_as_that(void **state)
{
    struct seen s;
    open_watch(&s, state);
    uvtest_write(s.uv, "a", "one\n");
    assert_true(watch_dir(s.watch, uvtest_dir(s.uv), true) >= 0);
    assert_int_equal(utimensat(AT_FDCWD, uvtest_path(s.uv, "a"), NULL, 0), 0);
    assert_int_equal(chmod(uvtest_path(s.uv, "a"), 0600), 0);
    char *text = uvtest_read(s.uv, "a", NULL);
    assert_string_equal(text, "one\n");
    free(text);
    turn(&s);
    for (unsigned i = 0; i < s.told_n; i++)
        assert_int_equal(s.told[i].mask, IN_ATTRIB);
    close_watch(&s);
}

static void one_inode_has_one_watch_by_whatever_path(void **state)
{
    struct seen s;
    open_watch(&s, state);
    assert_int_equal(mkdir(uvtest_path(s.uv, "d"), 0755), 0);
    assert_int_equal(symlink("d", uvtest_path(s.uv, "link")), 0);
    int wd = watch_dir(s.watch, uvtest_path(s.uv, "d"), true);
    assert_true(wd >= 0);
    assert_int_equal(watch_dir(s.watch, uvtest_path(s.uv, "d"), true), wd);
    assert_int_equal(watch_dir(s.watch, uvtest_path(s.uv, "link"), true), wd);
    close_watch(&s);
}

static void what_cannot_be_watched_says_why(void **state)
{
    struct seen s;
    open_watch(&s, state);
    uvtest_write(s.uv, "file", "");
    assert_int_equal(watch_dir(s.watch, uvtest_path(s.uv, "missing"), true), -ENOENT);
    assert_int_equal(watch_dir(s.watch, uvtest_path(s.uv, "file"), true), -ENOTDIR);
    assert_int_equal(watch_file(s.watch, -1), -ENOENT);
    close_watch(&s);
}

static void a_watched_file_is_heard_of_after_it_lost_its_name(void **state)
{
    struct seen s;
    open_watch(&s, state);
    uvtest_write(s.uv, "a", "one\n");
    int fd = open(uvtest_path(s.uv, "a"), O_RDWR | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    int wd = watch_file(s.watch, fd);
    assert_true(wd >= 0);
    assert_int_equal(unlink(uvtest_path(s.uv, "a")), 0);
    assert_int_equal(write(fd, "two\n", 4), 4);
    turn(&s);
    assert_true(was_told(&s, wd, IN_MODIFY, ""));
    close(fd);
    close_watch(&s);
}

static void a_dropped_watch_ends_with_ignored_and_then_silence(void **state)
{
    struct seen s;
    open_watch(&s, state);
    uvtest_write(s.uv, "a", "one\n");
    int wd = watch_dir(s.watch, uvtest_dir(s.uv), true);
    watch_drop(s.watch, wd);
    turn(&s);
    assert_true(was_told(&s, wd, IN_IGNORED, ""));
    unsigned before = s.told_n;
    append_to(s.uv, "a", "two\n");
    turn(&s);
    assert_int_equal(s.told_n, before);
    watch_drop(s.watch, wd); /* once more does no harm */
    close_watch(&s);
}

static void a_removed_directory_is_told_and_its_watch_is_gone(void **state)
{
    struct seen s;
    open_watch(&s, state);
    assert_int_equal(mkdir(uvtest_path(s.uv, "d"), 0755), 0);
    int wd = watch_dir(s.watch, uvtest_path(s.uv, "d"), true);
    assert_int_equal(rmdir(uvtest_path(s.uv, "d")), 0);
    turn(&s);
    assert_true(was_told(&s, wd, IN_DELETE_SELF, ""));
    assert_true(was_told(&s, wd, IN_IGNORED, ""));
    close_watch(&s);
}

static unsigned long queue_limit(void)
{
    unsigned long n = 0;
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%lu", &n) != 1)
        n = 0;
    fclose(f);
    return n;
}

/* Making and removing in turn: two events each, which the kernel cannot fold into one. */
static void make_and_remove(struct uvtest *t, unsigned long times)
{
    char path[512];
    snprintf(path, sizeof path, "%s", uvtest_path(t, "a"));
    for (unsigned long i = 0; i < times; i++) {
        assert_int_equal(mknod(path, S_IFREG | 0644, 0), 0);
        assert_int_equal(unlink(path), 0);
    }
}

static void an_overflow_of_the_queue_is_told_once_and_what_came_before_it_too(void **state)
{
    unsigned long limit = queue_limit();
    if (limit == 0 || limit > 200000)
        skip();
    struct seen s;
    open_watch(&s, state);
    assert_true(watch_dir(s.watch, uvtest_dir(s.uv), true) >= 0);
    make_and_remove(s.uv, limit / 2 + 100);
    turn(&s);
    assert_int_equal(s.overflows_n, 1);
    assert_int_equal(s.told_n, limit);
    unsigned before = s.told_n;
    make_and_remove(s.uv, 1);
    turn(&s);
    assert_int_equal(s.told_n, before + 2);
    assert_int_equal(s.overflows_n, 1);
    close_watch(&s);
}

static void one_turn_tells_a_bounded_amount_and_the_next_turns_the_rest(void **state)
{
    if (queue_limit() < 10000)
        skip();
    struct seen s;
    open_watch(&s, state);
    assert_true(watch_dir(s.watch, uvtest_dir(s.uv), true) >= 0);
    make_and_remove(s.uv, 5000);
    uv_run(&s.uv->loop, UV_RUN_NOWAIT);
    assert_true(s.told_n > 0);
    assert_true(s.told_n <= WATCH_READ_MAX / sizeof(struct inotify_event));
    assert_true(s.told_n < 10000);
    turn(&s);
    assert_int_equal(s.told_n, 10000);
    assert_int_equal(s.overflows_n, 0);
    close_watch(&s);
}

static void without_descriptors_it_says_so_and_leaves_nothing(void **state)
{
    struct uvtest *t = *state;
    const struct watch_ops ops = {.event = on_event, .overflow = on_overflow};
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    struct err e = {0};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct watch *w = watch_new(&t->loop, &ops, &e);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_null(w);
    assert_non_null(strstr(e.text, "inotify"));
}

static void an_idle_watch_never_wakes_the_loop(void **state)
{
    struct seen s;
    open_watch(&s, state);
    assert_true(watch_dir(s.watch, uvtest_dir(s.uv), true) >= 0);
    turn(&s);
    assert_int_equal(uv_backend_timeout(&s.uv->loop), -1);
    close_watch(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(what_happens_in_a_directory_is_told_by_name),
        UVTEST(reading_is_no_news_and_touching_is_told_as_that),
        UVTEST(one_inode_has_one_watch_by_whatever_path),
        UVTEST(what_cannot_be_watched_says_why),
        UVTEST(a_watched_file_is_heard_of_after_it_lost_its_name),
        UVTEST(a_dropped_watch_ends_with_ignored_and_then_silence),
        UVTEST(a_removed_directory_is_told_and_its_watch_is_gone),
        UVTEST(an_overflow_of_the_queue_is_told_once_and_what_came_before_it_too),
        UVTEST(one_turn_tells_a_bounded_amount_and_the_next_turns_the_rest),
        UVTEST(without_descriptors_it_says_so_and_leaves_nothing),
        UVTEST(an_idle_watch_never_wakes_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
