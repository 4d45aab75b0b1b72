#include "tests/uv/uvtest.h"

#include <sys/file.h>

#include "daemon/spoolfile.h"
#include "daemon/transfer.h"

#define CAPACITY ((uint64_t)1 * MIB)
#define NAME     "spool/s.spool"

struct fixture {
    struct uvtest *t;
    struct spoolfile *file;
    struct err e; /* of the last open, or the last write */
    unsigned told, failed;
    bool closed;
};

static void on_wrote(void *ctx, const struct err *e)
{
    struct fixture *f = ctx;
    assert_false(f->closed);
    f->told++;
    if (e == NULL)
        return;
    f->e = *e;
    f->failed++;
}

static void on_closed(void *ctx)
{
    ((struct fixture *)ctx)->closed = true;
}

static bool open_named(struct fixture *f, const char *stream, uint64_t capacity)
{
    int dir_fd = open(uvtest_dir(f->t), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir_fd >= 0);
    f->closed = false;
    f->file = spoolfile_open(&f->t->loop, dir_fd, stream, capacity, on_wrote, f, &f->e);
    close(dir_fd);
    return f->file != NULL;
}

static bool open_spool(struct fixture *f, void *t)
{
    *f = (struct fixture){.t = t};
    return open_named(f, "s", CAPACITY);
}

static void close_spool(struct fixture *f)
{
    spoolfile_close(f->file, on_closed, f);
    assert_false(f->closed);
    UVTEST_UNTIL(f->t, f->closed);
}

static void write_spool(struct fixture *f, uint64_t place, const char *text, bool sync)
{
    struct spool_write w = {.pieces_n = 1, .sync = sync};
    w.pieces[0].place = place;
    w.pieces[0].bytes = str_of(text);
    unsigned told = f->told;
    spoolfile_write(f->file, &w);
    assert_int_equal(f->told, told);
    UVTEST_UNTIL(f->t, f->told > told);
}

static bool exists(struct uvtest *t, const char *name)
{
    struct stat st;
    return lstat(uvtest_path(t, name), &st) == 0;
}

static unsigned count_entries(struct uvtest *t, const char *name)
{
    unsigned n = 0;
    DIR *d = opendir(uvtest_path(t, name));
    for (struct dirent *found; d != NULL && (found = readdir(d)) != NULL;)
        n += found->d_name[0] != '.' || strlen(found->d_name) > 2;
    if (d != NULL)
        closedir(d);
    return n;
}

static void a_new_one_is_private_allocated_and_good(void **state)
{
    struct fixture f;
    struct stat st;
    assert_true(open_spool(&f, *state));
    assert_int_equal(uvtest_mode(f.t, "spool"), 0700);
    assert_int_equal(uvtest_mode(f.t, NAME), 0600);
    assert_int_equal(count_entries(f.t, "spool"), 1);
    assert_int_equal(stat(uvtest_path(f.t, NAME), &st), 0);
    assert_true((uint64_t)st.st_size == SPOOLLOG_DATA_PLACE + CAPACITY);
    assert_true((uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size);
    assert_true(spoolfile_capacity(f.file) == CAPACITY);
    assert_string_equal(spoolfile_path(f.file), NAME);
    close_spool(&f);
    assert_true(open_spool(&f, *state));
    close_spool(&f);
}

static void pieces_are_written_in_order_and_read_back(void **state)
{
    struct fixture f;
    char back[8];
    assert_true(open_spool(&f, *state));
    struct spool_write w = {.pieces_n = 3, .sync = true};
    w.pieces[0].place = w.pieces[2].place = 20000;
    w.pieces[0].bytes = STR("abcd");
    w.pieces[1].place = SPOOLLOG_DATA_PLACE + CAPACITY - 4;
    w.pieces[1].bytes = STR("last");
    w.pieces[2].bytes = STR("XY");
    spoolfile_write(f.file, &w);
    UVTEST_UNTIL(f.t, f.told == 1);
    assert_int_equal(f.failed, 0);
    assert_true(spoolfile_read(f.file, 20000, back, 4, &f.e));
    assert_memory_equal(back, "XYcd", 4);
    assert_true(spoolfile_read(f.file, SPOOLLOG_DATA_PLACE + CAPACITY - 4, back, 4, &f.e));
    assert_memory_equal(back, "last", 4);
    assert_false(spoolfile_read(f.file, SPOOLLOG_DATA_PLACE + CAPACITY - 3, back, 4, &f.e));
    assert_non_null(strstr(f.e.text, NAME));
    close_spool(&f);
}

static void a_sync_alone_is_a_write(void **state)
{
    struct fixture f;
    assert_true(open_spool(&f, *state));
    const struct spool_write w = {.sync = true};
    spoolfile_write(f.file, &w);
    UVTEST_UNTIL(f.t, f.told == 1);
    assert_int_equal(f.failed, 0);
    close_spool(&f);
}

static void a_close_waits_for_the_write_and_tells_it(void **state)
{
    struct fixture f;
    assert_true(open_spool(&f, *state));
    struct spool_write w = {.pieces_n = 1, .sync = true};
    w.pieces[0].place = SPOOLLOG_DATA_PLACE;
    w.pieces[0].bytes = STR("text");
    spoolfile_write(f.file, &w);
    close_spool(&f);
    assert_int_equal(f.told, 1);
    size_t n;
    char *bytes = uvtest_read(f.t, NAME, &n);
    assert_memory_equal(bytes + SPOOLLOG_DATA_PLACE, "text", 4);
    free(bytes);
}

static void a_failing_write_is_told_with_its_reason(void **state)
{
    struct fixture f;
    assert_true(open_spool(&f, *state));
    uvtest_limit_file_size(30000);
    write_spool(&f, 29998, "four", true);
    assert_int_equal(f.failed, 1);
    assert_non_null(strstr(f.e.text, NAME ": cannot write: File too large"));
    write_spool(&f, 20000, "four", true);
    assert_int_equal(f.failed, 1);
    close_spool(&f);
}

/* What is in a spool by its state: saved..written. */
static void set_state(struct fixture *f, uint64_t saved, uint64_t written, bool clean)
{
    struct spoollog log;
    struct err e;
    int dir_fd = open(uvtest_path(f->t, "spool"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = spoolfile_find(dir_fd, "s.spool", false, &log, &e);
    assert_true(fd >= 0);
    const struct spoollog_state s = {
        .generation = 5, .saved = saved, .written = written, .clean = clean};
    char bytes[SPOOLLOG_STATE_BYTES];
    spoollog_put_state(&log, &s, bytes);
    assert_true(transfer_pwrite(fd, spoollog_state_place(5), (struct str){bytes, sizeof bytes}));
    close(fd);
    close(dir_fd);
}

static void the_size_changes_only_while_nothing_waits(void **state)
{
    struct fixture f;
    assert_true(open_spool(&f, *state));
    close_spool(&f);
    assert_true(open_named(&f, "s", 2 * CAPACITY));
    assert_true(spoolfile_capacity(f.file) == 2 * CAPACITY);
    close_spool(&f);
    set_state(&f, 8, 64, true);
    assert_true(open_named(&f, "s", CAPACITY));
    assert_true(spoolfile_capacity(f.file) == 2 * CAPACITY);
    close_spool(&f);
    set_state(&f, 64, 64, false); /* killed: more may be written than it says */
    assert_true(open_named(&f, "s", CAPACITY));
    assert_true(spoolfile_capacity(f.file) == 2 * CAPACITY);
    close_spool(&f);
    set_state(&f, 64, 64, true);
    assert_true(open_named(&f, "s", CAPACITY + 100));
    assert_true(spoolfile_capacity(f.file) == CAPACITY);
    assert_int_equal(count_entries(f.t, "spool"), 1);
    close_spool(&f);
}

static void one_that_is_locked_is_left_alone(void **state)
{
    struct fixture f, second;
    assert_true(open_spool(&f, *state));
    assert_false(open_spool(&second, *state));
    assert_int_equal(second.e.code, ERR_BUSY);
    assert_non_null(strstr(second.e.text, "in use"));
    close_spool(&f);
}

static void expect_refusal(struct uvtest *t, const char *words)
{
    struct fixture f;
    assert_false(open_spool(&f, t));
    if (strstr(f.e.text, words) == NULL)
        fail_msg("%s: expected %s", f.e.text, words);
}

static void something_else_at_the_path_is_refused(void **state)
{
    struct uvtest *t = *state;
    char target[512];
    uvtest_write(t, "spool", "a file");
    expect_refusal(t, "spool: cannot open the directory");
    unlink(uvtest_path(t, "spool"));
    assert_int_equal(mkdir(uvtest_path(t, "spool"), 0700), 0);
    assert_int_equal(mkdir(uvtest_path(t, NAME), 0700), 0);
    expect_refusal(t, NAME ": cannot open it");
    assert_int_equal(rmdir(uvtest_path(t, NAME)), 0);
    assert_int_equal(mkfifo(uvtest_path(t, NAME), 0600), 0);
    expect_refusal(t, "not a regular file");
    unlink(uvtest_path(t, NAME));
    uvtest_write(t, "other", "text");
    snprintf(target, sizeof target, "%s", uvtest_path(t, "other"));
    assert_int_equal(symlink(target, uvtest_path(t, NAME)), 0);
    expect_refusal(t, "symbolic link");
    unlink(uvtest_path(t, NAME));
    uvtest_write(t, NAME, "something that somebody needs");
    expect_refusal(t, "not a spool");
    char *text = uvtest_read(t, NAME, NULL);
    assert_string_equal(text, "something that somebody needs");
    free(text);
    assert_int_equal(count_entries(t, "spool"), 1);
}

static void patch(struct uvtest *t, off_t place, const char *bytes, size_t n)
{
    int fd = open(uvtest_path(t, NAME), O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, bytes, n, place), n);
    close(fd);
}

static void a_newer_version_or_damage_is_refused_untouched(void **state)
{
    struct fixture f;
    size_t n, m;
    assert_true(open_spool(&f, *state));
    close_spool(&f);
    patch(f.t, 16, "\2", 1);
    char *before = uvtest_read(f.t, NAME, &n);
    expect_refusal(f.t, "newer tailrace");
    char *after = uvtest_read(f.t, NAME, &m);
    assert_int_equal(n, m);
    assert_memory_equal(before, after, n);
    free(before);
    free(after);
    patch(f.t, 16, "\1", 1);
    patch(f.t, 33, "garbage", 7);
    assert_true(open_spool(&f, f.t)); /* the copy is good */
    close_spool(&f);
    patch(f.t, SPOOLLOG_COPY_PLACE, "garbage", 7);
    expect_refusal(f.t, "header is damaged");
}

static void one_that_is_cut_short_is_refused(void **state)
{
    struct fixture f;
    assert_true(open_spool(&f, *state));
    close_spool(&f);
    assert_int_equal(truncate(uvtest_path(f.t, NAME), 100000), 0);
    expect_refusal(f.t, "tailrace spool repair");
    assert_int_equal(truncate(uvtest_path(f.t, NAME), 0), 0);
    expect_refusal(f.t, "not a spool");
}

static void a_full_disk_is_told_at_the_start_and_leaves_nothing(void **state)
{
    struct uvtest *t = *state;
    if (mount("none", uvtest_dir(t), "tmpfs", 0, "size=512k,mode=0700") != 0)
        skip();
    expect_refusal(t, NAME ": cannot allocate its space (1060864 bytes): No space left on device");
    unsigned left = count_entries(t, "spool");
    struct fixture f = {.t = t};
    bool smaller = open_named(&f, "s", 128 * KIB);
    if (smaller)
        close_spool(&f);
    bool larger = open_named(&f, "s", 1 * MIB); /* empty, so it would be made anew */
    bool kept = exists(t, NAME);
    unsigned then = count_entries(t, "spool");
    assert_int_equal(umount(uvtest_dir(t)), 0);
    assert_int_equal(left, 0);
    assert_true(smaller);
    assert_false(larger);
    assert_true(kept);
    assert_int_equal(then, 1);
}

static void a_limit_on_file_sizes_is_told_too(void **state)
{
    uvtest_limit_file_size(100000);
    expect_refusal(*state, "File too large");
    uvtest_limit_file_size(0);
    assert_int_equal(count_entries(*state, "spool"), 0);
}

static void a_read_only_disk_is_told(void **state)
{
    struct uvtest *t = *state;
    if (mount("none", uvtest_dir(t), "tmpfs", 0, "size=4m,mode=0700") != 0)
        skip();
    struct fixture f, second = {.t = t};
    bool opened = open_spool(&f, t);
    if (opened)
        close_spool(&f);
    int remounted = mount("none", uvtest_dir(t), "tmpfs", MS_REMOUNT | MS_RDONLY, "");
    bool again = open_spool(&f, t), other = open_named(&second, "other", CAPACITY);
    umount(uvtest_dir(t));
    assert_true(opened);
    assert_int_equal(remounted, 0);
    assert_false(again);
    assert_non_null(strstr(f.e.text, "Read-only file system"));
    assert_false(other);
    assert_non_null(strstr(second.e.text, "Read-only file system"));
}

static void what_a_killed_start_left_is_replaced(void **state)
{
    struct fixture f;
    struct uvtest *t = *state;
    assert_int_equal(mkdir(uvtest_path(t, "spool"), 0700), 0);
    uvtest_write(t, NAME ".new", "half made");
    assert_true(open_spool(&f, t));
    assert_int_equal(count_entries(t, "spool"), 1);
    close_spool(&f);
}

static void it_is_known_whether_a_stream_has_one(void **state)
{
    struct fixture f;
    assert_true(open_spool(&f, *state));
    int dir_fd = open(uvtest_dir(f.t), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(spoolfile_exists(dir_fd, "s"));
    assert_false(spoolfile_exists(dir_fd, "t"));
    close(dir_fd);
    close_spool(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(a_new_one_is_private_allocated_and_good),
        UVTEST(pieces_are_written_in_order_and_read_back),
        UVTEST(a_sync_alone_is_a_write),
        UVTEST(a_close_waits_for_the_write_and_tells_it),
        UVTEST(a_failing_write_is_told_with_its_reason),
        UVTEST(the_size_changes_only_while_nothing_waits),
        UVTEST(one_that_is_locked_is_left_alone),
        UVTEST(something_else_at_the_path_is_refused),
        UVTEST(a_newer_version_or_damage_is_refused_untouched),
        UVTEST(one_that_is_cut_short_is_refused),
        UVTEST(a_full_disk_is_told_at_the_start_and_leaves_nothing),
        UVTEST(a_limit_on_file_sizes_is_told_too),
        UVTEST(a_read_only_disk_is_told),
        UVTEST(what_a_killed_start_left_is_replaced),
        UVTEST(it_is_known_whether_a_stream_has_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
