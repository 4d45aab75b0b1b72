#include "tests/uv/uvtest.h"

#include <inttypes.h>
#include <jansson.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "daemon/deadletter.h"
#include "lib/base64.h"

#define TOLD_MAX  4096
#define MAX_BYTES (10 * MIB)

struct fixture {
    struct uvtest *t;
    struct deadletter *d;
    int dir_fd;
    size_t told_n, failed_n;
    uint64_t tokens[TOLD_MAX];
    int codes[TOLD_MAX];
    char error[ERR_TEXT_MAX]; /* the last one */
    unsigned closed_n;
    unsigned again_n; /* stored() stores as many more */
    bool close_in_stored;
};

static void on_closed(void *ctx)
{
    struct fixture *f = ctx;
    f->closed_n++;
    f->d = NULL;
}

static void store(struct fixture *f, const char *source, const char *data, uint64_t token)
{
    struct deadletter_record r = {.source = source,
                                  .stream = "demo",
                                  .path = "/var/log/a.log",
                                  .reason = "too bad",
                                  .inode = 1311,
                                  .offset = 123,
                                  .size = 456,
                                  .data = str_of(data),
                                  .wall_ms = 1795406706789};
    size_t before = f->told_n;
    deadletter_store(f->d, &r, token);
    assert_int_equal(f->told_n, before);
}

static void on_stored(void *ctx, uint64_t token, const struct err *e)
{
    struct fixture *f = ctx;
    assert_true(f->told_n < TOLD_MAX);
    assert_int_equal(f->closed_n, 0);
    f->tokens[f->told_n] = token;
    f->codes[f->told_n++] = e == NULL ? 0 : e->code;
    if (e != NULL) {
        f->failed_n++;
        snprintf(f->error, sizeof f->error, "%s", e->text);
    }
    if (f->again_n > 0) {
        f->again_n--;
        store(f, "again", "x", 1000 + f->again_n);
    }
    if (f->close_in_stored) {
        f->close_in_stored = false;
        deadletter_close(f->d, on_closed, f);
    }
}

static void fixture_open(struct fixture *f, struct uvtest *t, uint64_t max_bytes)
{
    struct err e;
    memset(f, 0, sizeof *f);
    f->t = t;
    f->dir_fd = open(uvtest_dir(t), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->d = deadletter_new(&t->loop, f->dir_fd, max_bytes, on_stored, f, &e);
    assert_non_null(f->d);
}

static void fixture_close(struct fixture *f)
{
    if (f->d != NULL) {
        deadletter_close(f->d, on_closed, f);
        assert_int_equal(f->closed_n, 0);
        UVTEST_UNTIL(f->t, f->closed_n == 1);
    }
    uvtest_turn_idle(f->t);
    assert_int_equal(f->closed_n, 1);
    close(f->dir_fd);
}

static size_t count_lines(struct fixture *f, const char *name)
{
    size_t size, n = 0;
    char *text = uvtest_read(f->t, name, &size);
    if (text == NULL)
        return 0;
    for (char *at = text; at < text + size; n++) {
        char *end = strchr(at, '\n');
        assert_non_null(end); /* only whole lines */
        *end = '\0';
        json_t *object = json_loads(at, JSON_DECODE_INT_AS_REAL, NULL);
        assert_non_null(object);
        json_decref(object);
        at = end + 1;
    }
    free(text);
    return n;
}

static void a_record_becomes_a_line_with_everything_in_it(void **state)
{
    struct fixture f;
    fixture_open(&f, *state, MAX_BYTES);
    assert_int_equal(uvtest_mode(f.t, "dead-letter"), 0700);
    store(&f, "src.1", "hello", 42);
    UVTEST_UNTIL(f.t, f.told_n == 1);
    assert_int_equal(f.tokens[0], 42);
    assert_int_equal(f.codes[0], 0);
    char *text = uvtest_read(f.t, "dead-letter/src.1.jsonl", NULL);
    assert_string_equal(text, "{\"time\":\"2026-11-23T04:05:06Z\",\"source\":\"src.1\","
                              "\"stream\":\"demo\",\"path\":\"/var/log/a.log\",\"inode\":\"1311\","
                              "\"offset\":123,\"size\":456,\"reason\":\"too bad\","
                              "\"data\":\"aGVsbG8=\"}\n");
    free(text);
    assert_int_equal(uvtest_mode(f.t, "dead-letter/src.1.jsonl"), 0600);
    fixture_close(&f);
}

static void hostile_text_stays_one_line_of_json(void **state)
{
    struct fixture f;
    fixture_open(&f, *state, MAX_BYTES);
    char data[256];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)i;
    struct deadletter_record r = {.source = "s",
                                  .stream = "demo",
                                  .path = "/a\n\"}\\\xff\x01{",
                                  .reason = "line\nbreak",
                                  .offset = UINT64_MAX,
                                  .size = UINT64_MAX,
                                  .data = {data, sizeof data},
                                  .wall_ms = UINT64_MAX};
    deadletter_store(f.d, &r, 1);
    r.data = (struct str){0};
    r.wall_ms = 0;
    deadletter_store(f.d, &r, 2);
    UVTEST_UNTIL(f.t, f.told_n == 2);
    assert_int_equal(f.failed_n, 0);
    assert_int_equal(count_lines(&f, "dead-letter/s.jsonl"), 2);
    char *text = uvtest_read(f.t, "dead-letter/s.jsonl", NULL);
    json_t *object = json_loads(text, JSON_DISABLE_EOF_CHECK | JSON_DECODE_INT_AS_REAL, NULL);
    assert_non_null(object);
    assert_string_equal(json_string_value(json_object_get(object, "reason")), "line\nbreak");
    assert_string_equal(json_string_value(json_object_get(object, "path")),
                        "/a\n\"}\\\xef\xbf\xbd\x01{");
    char back[sizeof data];
    size_t n;
    const char *base64 = json_string_value(json_object_get(object, "data"));
    assert_int_equal(base64_decode(back, sizeof back, str_of(base64), &n), 0);
    assert_int_equal(n, sizeof data);
    assert_memory_equal(back, data, n);
    assert_non_null(strstr(text, "\"time\":\"1970-01-01T00:00:00Z\""));
    assert_non_null(strstr(text, "\"offset\":18446744073709551615,"));
    json_decref(object);
    free(text);
    fixture_close(&f);
}

static void every_record_hears_its_result_in_order(void **state)
{
    struct fixture f;
    fixture_open(&f, *state, MAX_BYTES);
    static const char *SOURCES[] = {"a", "b", "c"};
    for (uint64_t i = 0; i < 300; i++)
        store(&f, SOURCES[i % 3], "data", i);
    UVTEST_UNTIL(f.t, f.told_n == 300);
    for (uint64_t i = 0; i < 300; i++) {
        assert_int_equal(f.tokens[i], i);
        assert_int_equal(f.codes[i], 0);
    }
    assert_int_equal(count_lines(&f, "dead-letter/a.jsonl"), 100);
    assert_int_equal(count_lines(&f, "dead-letter/b.jsonl"), 100);
    assert_int_equal(count_lines(&f, "dead-letter/c.jsonl"), 100);
    fixture_close(&f);
}

static void lines_are_added_to_what_is_there(void **state)
{
    struct fixture f;
    fixture_open(&f, *state, MAX_BYTES);
    store(&f, "a", "1", 1);
    fixture_close(&f);
    assert_int_equal(f.told_n, 1); /* the close finished it */
    fixture_open(&f, *state, MAX_BYTES);
    store(&f, "a", "2", 2);
    fixture_close(&f);
    assert_int_equal(count_lines(&f, "dead-letter/a.jsonl"), 2);
}

static void half_a_line_of_a_killed_process_is_cut_off(void **state)
{
    struct uvtest *t = *state;
    static const char WHOLE[] = "{\"a\":1}\n{\"b\":2}\n";
    static char torn[16384]; /* longer than the block that is searched */
    memset(torn, 'x', sizeof torn - 1);
    const struct {
        const char *whole, *half;
        size_t lines_n;
    } cases[] = {{WHOLE, "{\"c\":", 3}, {WHOLE, torn, 3}, {"", torn, 1},
                 {"", "{", 1},          {WHOLE, "", 3},   {"", "", 1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        static char text[sizeof WHOLE + sizeof torn];
        fixture_open(&f, t, MAX_BYTES);
        snprintf(text, sizeof text, "%s%s", cases[i].whole, cases[i].half);
        uvtest_write(t, "dead-letter/a.jsonl", text);
        store(&f, "a", "x", i);
        UVTEST_UNTIL(t, f.told_n == 1);
        assert_int_equal(f.codes[0], 0);
        assert_int_equal(count_lines(&f, "dead-letter/a.jsonl"), cases[i].lines_n);
        fixture_close(&f);
    }
}

static void a_process_killed_at_any_time_leaves_what_it_was_told_is_stored(void **state)
{
    struct uvtest *t = *state;
    for (unsigned round = 0; round < 10; round++) {
        int p[2];
        assert_int_equal(pipe(p), 0);
        size_t before;
        struct fixture f;
        fixture_open(&f, t, MAX_BYTES);
        store(&f, "k", "x", 1); /* cuts off what the last round left */
        fixture_close(&f);
        before = count_lines(&f, "dead-letter/k.jsonl");
        pid_t child = fork();
        if (child == 0) {
            uv_loop_t loop; /* the parent's is not for two */
            uv_loop_init(&loop);
            memset(&f, 0, sizeof f);
            f.dir_fd = open(t->dir, O_RDONLY | O_DIRECTORY);
            f.d = deadletter_new(&loop, f.dir_fd, MAX_BYTES, on_stored, &f, NULL);
            size_t told = 0;
            store(&f, "k", "the data of a record that matters", 1);
            for (;;) {
                uv_run(&loop, UV_RUN_ONCE);
                for (; told < f.told_n; told++) {
                    if (f.codes[told] != 0 || write(p[1], "x", 1) != 1)
                        _exit(1);
                    store(&f, "k", "the data of a record that matters", 1);
                    store(&f, "other", "x", 1);
                }
                if (told > TOLD_MAX / 2)
                    f.told_n = told = 0;
            }
        }
        close(p[1]);
        size_t told_n = 0;
        char c;
        while (told_n < 3 + 4 * round && read(p[0], &c, 1) == 1)
            told_n++;
        assert_int_equal(told_n, 3 + 4 * round);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        while (read(p[0], &c, 1) == 1)
            told_n++;
        close(p[0]);
        fixture_open(&f, t, MAX_BYTES);
        store(&f, "k", "x", 1);
        store(&f, "other", "x", 1);
        fixture_close(&f);
        assert_int_equal(f.failed_n, 0);
        /* "k" and "other" were told together; the two probes are ours. */
        size_t lines_n =
            count_lines(&f, "dead-letter/k.jsonl") + count_lines(&f, "dead-letter/other.jsonl");
        assert_true(lines_n >= before + told_n + 2);
        unlink(uvtest_path(t, "dead-letter/other.jsonl"));
    }
}

static void a_line_that_does_not_fit_on_the_disk_is_cut_back(void **state)
{
    struct fixture f;
    fixture_open(&f, *state, MAX_BYTES);
    store(&f, "a", "fits", 1);
    UVTEST_UNTIL(f.t, f.told_n == 1);
    size_t one_line, size;
    free(uvtest_read(f.t, "dead-letter/a.jsonl", &one_line));
    uvtest_limit_file_size(one_line * 3 + one_line / 2);
    for (uint64_t i = 2; i <= 6; i++)
        store(&f, "a", "fits", i);
    store(&f, "b", "fits", 7);
    UVTEST_UNTIL(f.t, f.told_n == 7);
    uvtest_limit_file_size(0);
    static const int EXPECTED[] = {0, 0, 0, ERR_IO, ERR_IO, ERR_IO, 0};
    for (size_t i = 0; i < ARRAY_LEN(EXPECTED); i++) {
        assert_int_equal(f.tokens[i], i + 1);
        assert_int_equal(f.codes[i], EXPECTED[i]); /* the other source's file has room */
    }
    assert_string_equal(f.error, "dead-letter/a.jsonl: cannot write to it: File too large");
    free(uvtest_read(f.t, "dead-letter/a.jsonl", &size));
    assert_int_equal(size, 3 * one_line);
    /* And with room again it goes on. */
    store(&f, "a", "fits", 8);
    UVTEST_UNTIL(f.t, f.told_n == 8);
    assert_int_equal(f.codes[7], 0);
    assert_int_equal(count_lines(&f, "dead-letter/a.jsonl"), 4);
    fixture_close(&f);
}

static void a_full_disk_is_an_error_until_there_is_space(void **state)
{
    struct fixture f;
    struct uvtest *t = *state;
    if (mount("none", uvtest_dir(t), "tmpfs", 0, "size=64k,mode=0700") != 0)
        skip();
    fixture_open(&f, t, MAX_BYTES);
    static char big[30001];
    memset(big, 'x', sizeof big - 1);
    store(&f, "a", big, 1);
    store(&f, "a", big, 2);
    while (f.told_n < 2)
        uv_run(&t->loop, UV_RUN_ONCE);
    size_t lines_n = count_lines(&f, "dead-letter/a.jsonl");
    unlink(uvtest_path(t, "dead-letter/a.jsonl"));
    store(&f, "a", big, 3);
    fixture_close(&f);
    assert_int_equal(umount(uvtest_dir(t)), 0);
    assert_int_equal(f.codes[0], 0);
    assert_int_equal(f.codes[1], ERR_IO);
    assert_non_null(strstr(f.error, "No space left"));
    assert_int_equal(lines_n, 1);
    assert_int_equal(f.codes[2], 0);
}

static void what_an_operator_takes_away_is_made_anew(void **state)
{
    struct fixture f;
    fixture_open(&f, *state, MAX_BYTES);
    store(&f, "a", "1", 1);
    UVTEST_UNTIL(f.t, f.told_n == 1);
    char to[256];
    snprintf(to, sizeof to, "%s/kept.jsonl", uvtest_dir(f.t));
    assert_int_equal(rename(uvtest_path(f.t, "dead-letter/a.jsonl"), to), 0);
    store(&f, "a", "2", 2);
    UVTEST_UNTIL(f.t, f.told_n == 2);
    assert_int_equal(count_lines(&f, "kept.jsonl"), 1);
    assert_int_equal(count_lines(&f, "dead-letter/a.jsonl"), 1);
    snprintf(to, sizeof to, "%s/away", uvtest_dir(f.t));
    assert_int_equal(rename(uvtest_path(f.t, "dead-letter"), to), 0);
    store(&f, "a", "3", 3);
    UVTEST_UNTIL(f.t, f.told_n == 3);
    assert_int_equal(f.failed_n, 0);
    assert_int_equal(count_lines(&f, "away/a.jsonl"), 1);
    assert_int_equal(count_lines(&f, "dead-letter/a.jsonl"), 1);
    assert_int_equal(uvtest_mode(f.t, "dead-letter"), 0700);
    fixture_close(&f);
}

static void links_and_other_things_in_the_way_are_errors(void **state)
{
    struct fixture f;
    fixture_open(&f, *state, MAX_BYTES);
    uvtest_write(f.t, "victim", "precious");
    assert_int_equal(symlink("../victim", uvtest_path(f.t, "dead-letter/link.jsonl")), 0);
    assert_int_equal(mkfifo(uvtest_path(f.t, "dead-letter/fifo.jsonl"), 0600), 0);
    assert_int_equal(mkdir(uvtest_path(f.t, "dead-letter/dir.jsonl"), 0700), 0);
    store(&f, "link", "x", 1);
    store(&f, "fifo", "x", 2);
    store(&f, "dir", "x", 3);
    store(&f, "good", "x", 4);
    UVTEST_UNTIL(f.t, f.told_n == 4);
    assert_int_equal(f.codes[0], ERR_IO);
    assert_int_equal(f.codes[1], ERR_IO);
    assert_int_equal(f.codes[2], ERR_IO);
    assert_int_equal(f.codes[3], 0);
    char *text = uvtest_read(f.t, "victim", NULL);
    assert_string_equal(text, "precious");
    free(text);
    fixture_close(&f);
}

static void a_directory_that_cannot_be_opened_is_an_error(void **state)
{
    struct uvtest *t = *state;
    struct fixture f;
    fixture_open(&f, t, MAX_BYTES);
    assert_int_equal(rmdir(uvtest_path(t, "dead-letter")), 0);
    uvtest_write(t, "dead-letter", "a file");
    store(&f, "a", "x", 1);
    store(&f, "b", "x", 2);
    UVTEST_UNTIL(t, f.told_n == 2);
    assert_int_equal(f.failed_n, 2);
    assert_non_null(strstr(f.error, "cannot open the directory"));
    struct err e;
    assert_null(deadletter_new(&t->loop, f.dir_fd, MAX_BYTES, on_stored, &f, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_memory_equal(e.text, "dead-letter: ", 13);
    fixture_close(&f);
}

static void room_counts_what_is_there_and_what_is_queued(void **state)
{
    struct fixture f;
    struct uvtest *t = *state;
    fixture_open(&f, t, MAX_BYTES);
    static char old[100001];
    memset(old, 'x', sizeof old - 1);
    uvtest_write(t, "dead-letter/old.jsonl", old);
    fixture_close(&f);

    fixture_open(&f, t, 110000); /* 10000 left, of which a line takes its data and a little */
    assert_true(deadletter_room(f.d, 6000));
    assert_false(deadletter_room(f.d, 7000));
    assert_false(deadletter_room(f.d, UINT64_MAX));
    static char data[4001];
    memset(data, 'y', sizeof data - 1);
    store(&f, "a", data, 1);
    assert_false(deadletter_room(f.d, 4000)); /* queued, not yet on the disk */
    store(&f, "a", data, 2);
    store(&f, "a", "small", 3);
    UVTEST_UNTIL(t, f.told_n == 3);
    assert_int_equal(f.codes[0], 0);
    assert_int_equal(f.codes[1], ERR_RANGE);
    assert_int_equal(f.codes[2], 0);
    assert_int_equal(f.tokens[1], 2);
    assert_string_equal(f.error, "dead-letter: no room for a record of a");
    assert_false(deadletter_room(f.d, 4000));
    assert_int_equal(count_lines(&f, "dead-letter/a.jsonl"), 2);
    deadletter_set_max(f.d, 200000);
    assert_true(deadletter_room(f.d, 4000));
    deadletter_set_max(f.d, 0);
    assert_false(deadletter_room(f.d, 0));
    fixture_close(&f);
}

static void room_comes_back_when_files_are_taken_away(void **state)
{
    struct fixture f;
    struct uvtest *t = *state;
    fixture_open(&f, t, 4096);
    static char data[1001];
    memset(data, 'y', sizeof data - 1);
    store(&f, "a", data, 1);
    store(&f, "a", data, 2);
    UVTEST_UNTIL(t, f.told_n == 2);
    assert_int_equal(f.failed_n, 0);
    assert_false(deadletter_room(f.d, 1000));
    assert_int_equal(unlink(uvtest_path(t, "dead-letter/a.jsonl")), 0);
    assert_false(deadletter_room(f.d, 1000)); /* measured less than a second ago */
    UVTEST_UNTIL(t, deadletter_room(f.d, 1000));
    store(&f, "a", data, 3);
    UVTEST_UNTIL(t, f.told_n == 3);
    assert_int_equal(f.codes[2], 0);
    fixture_close(&f);
}

/* Or nobody could ever make room for it. */
static void an_empty_directory_has_room_for_one_record_of_any_size(void **state)
{
    struct fixture f;
    struct uvtest *t = *state;
    fixture_open(&f, t, 4096);
    static char data[10001];
    memset(data, 'y', sizeof data - 1);
    assert_true(deadletter_room(f.d, sizeof data - 1));
    store(&f, "a", data, 1);
    assert_false(deadletter_room(f.d, 1));
    UVTEST_UNTIL(t, f.told_n == 1);
    assert_int_equal(f.codes[0], 0);
    assert_false(deadletter_room(f.d, 1));
    fixture_close(&f);
}

static void memory_for_waiting_lines_is_bounded_but_one_always_fits(void **state)
{
    struct fixture f;
    fixture_open(&f, *state, 1024 * MIB);
    size_t n = 3 * MIB; /* 4 MiB as base64: the second one is past the bound */
    char *data = malloc(2 * DEADLETTER_QUEUE_MAX + 1);
    memset(data, 'z', 2 * DEADLETTER_QUEUE_MAX);
    data[n] = '\0';
    store(&f, "a", data, 1);
    assert_false(deadletter_room(f.d, n));
    store(&f, "a", data, 2);
    UVTEST_UNTIL(f.t, f.told_n == 2);
    assert_int_equal(f.codes[0], 0);
    assert_int_equal(f.codes[1], ERR_RANGE);
    assert_true(deadletter_room(f.d, 2 * DEADLETTER_QUEUE_MAX));
    data[n] = 'z';
    data[2 * DEADLETTER_QUEUE_MAX] = '\0';
    store(&f, "b", data, 3);
    UVTEST_UNTIL(f.t, f.told_n == 3);
    assert_int_equal(f.codes[2], 0);
    free(data);
    fixture_close(&f);
}

static void stored_may_store_and_close(void **state)
{
    struct fixture f;
    fixture_open(&f, *state, MAX_BYTES);
    f.again_n = 4;
    store(&f, "a", "x", 1);
    UVTEST_UNTIL(f.t, f.told_n == 5);
    assert_int_equal(f.tokens[4], 1000);
    assert_int_equal(count_lines(&f, "dead-letter/again.jsonl"), 4);
    f.again_n = 1;
    f.close_in_stored = true;
    store(&f, "a", "x", 2);
    UVTEST_UNTIL(f.t, f.closed_n == 1);
    assert_int_equal(f.told_n, 7); /* what was stored before the close is finished */
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(a_record_becomes_a_line_with_everything_in_it),
        UVTEST(hostile_text_stays_one_line_of_json),
        UVTEST(every_record_hears_its_result_in_order),
        UVTEST(lines_are_added_to_what_is_there),
        UVTEST(half_a_line_of_a_killed_process_is_cut_off),
        UVTEST(a_process_killed_at_any_time_leaves_what_it_was_told_is_stored),
        UVTEST(a_line_that_does_not_fit_on_the_disk_is_cut_back),
        UVTEST(a_full_disk_is_an_error_until_there_is_space),
        UVTEST(what_an_operator_takes_away_is_made_anew),
        UVTEST(links_and_other_things_in_the_way_are_errors),
        UVTEST(a_directory_that_cannot_be_opened_is_an_error),
        UVTEST(room_counts_what_is_there_and_what_is_queued),
        UVTEST(room_comes_back_when_files_are_taken_away),
        UVTEST(an_empty_directory_has_room_for_one_record_of_any_size),
        UVTEST(memory_for_waiting_lines_is_bounded_but_one_always_fits),
        UVTEST(stored_may_store_and_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
