#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/readfile.h"

static char dir[] = "/tmp/tailrace-readfile-XXXXXX";
static char path[sizeof dir + 8];

static int make_dir(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/f", mkdtemp(dir) != NULL ? dir : "");
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void write_file(size_t n)
{
    unlink(path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++)
        fputc((int)('a' + i % 26), f);
    assert_int_equal(fclose(f), 0);
}

static void assert_refused(const char *name, size_t max, int code, const char *words)
{
    struct buf b;
    struct err e = {0};
    buf_init(&b, 16);
    buf_puts(&b, "before");
    assert_int_equal(readfile(name, max, &b, &e), code);
    assert_int_equal(e.code, code);
    assert_non_null(strstr(e.text, name));
    assert_non_null(strstr(e.text, words));
    assert_int_equal(b.n, 6);
    assert_memory_equal(b.p, "before", 6);
    buf_release(&b);
}

static void a_file_is_read_whole_and_replaces_what_was_there(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 100000};
    struct buf b;
    buf_init(&b, 16);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        write_file(sizes[i]);
        assert_int_equal(readfile(path, 100000, &b, NULL), 0);
        assert_int_equal(b.n, sizes[i]);
        for (size_t k = 0; k < b.n; k++)
            assert_int_equal(b.p[k], 'a' + k % 26);
    }
    buf_release(&b);
}

static void a_file_whose_size_is_not_known_is_read_to_its_end(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    assert_int_equal(readfile("/proc/self/status", MIB, &b, NULL), 0);
    assert_true(b.n > 5 && memcmp(b.p, "Name:", 5) == 0);
    buf_release(&b);
    assert_refused("/proc/self/status", 10, ERR_RANGE, "larger than 10 bytes");
}

static void a_file_of_exactly_the_maximum_is_read_and_one_byte_more_is_not(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    write_file(1000);
    assert_int_equal(readfile(path, 1000, &b, NULL), 0);
    assert_int_equal(b.n, 1000);
    buf_release(&b);
    assert_refused(path, 999, ERR_RANGE, "larger than 999 bytes");
}

static void what_is_no_regular_file_is_refused_at_once(void **state)
{
    (void)state;
    assert_refused(dir, 100, ERR_TYPE, "is a directory");
    assert_refused("/dev/null", 100, ERR_TYPE, "not a regular file");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(path, 100, ERR_TYPE, "not a regular file"); /* and does not wait for a writer */
}

static void a_missing_file_is_told_from_one_that_cannot_be_opened(void **state)
{
    (void)state;
    unlink(path);
    assert_refused(path, 100, ERR_MISSING, "No such file");
    assert_int_equal(symlink(path, path), 0);
    assert_refused(path, 100, ERR_IO, "symbolic links");
}

static void no_descriptor_is_left_open(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    write_file(10);
    int before = open("/dev/null", O_RDONLY);
    close(before);
    assert_int_equal(readfile(path, 100, &b, NULL), 0);
    assert_int_equal(readfile(path, 1, &b, NULL), ERR_RANGE);
    assert_int_equal(readfile(dir, 100, &b, NULL), ERR_TYPE);
    int after = open("/dev/null", O_RDONLY);
    close(after);
    assert_int_equal(after, before);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_whole_and_replaces_what_was_there),
        cmocka_unit_test(a_file_whose_size_is_not_known_is_read_to_its_end),
        cmocka_unit_test(a_file_of_exactly_the_maximum_is_read_and_one_byte_more_is_not),
        cmocka_unit_test(what_is_no_regular_file_is_refused_at_once),
        cmocka_unit_test(a_missing_file_is_told_from_one_that_cannot_be_opened),
        cmocka_unit_test(no_descriptor_is_left_open),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
