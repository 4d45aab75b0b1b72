#include "tests/uv/uvtest.h"

#include "daemon/checkpoint.h"

struct fixture {
    struct uvtest *t;
    struct checkpoint_store store;
    int dir_fd;
    unsigned saved_n, failed_n, closed_n;
    char error[ERR_TEXT_MAX];
    unsigned saves_to_go; /* saved() begins as many more */
    bool close_in_saved;
};

/* A document of one file, whose id is always the same. */
static struct buf document(uint64_t generation, const char *source, uint64_t offset)
{
    struct checkpoint_file file = {.path = (char *)"/var/log/a.log",
                                   .id = 1,
                                   .at = {.device = 1, .inode = 2, .offset = offset}};
    struct checkpoint_source one = {(char *)(uintptr_t)source, &file, 1};
    struct checkpoint c = {generation, &one, 1};
    struct buf b;
    buf_init(&b, CHECKPOINT_BYTES_MAX);
    checkpoint_encode(&c, &b);
    assert_false(b.failed);
    return b;
}

static struct buf text_of(const char *source, uint64_t offset)
{
    return document(1, source, offset);
}

static void on_closed(void *ctx)
{
    struct fixture *f = ctx;
    f->closed_n++;
}

static void on_saved(void *ctx, const struct err *e)
{
    struct fixture *f = ctx;
    f->saved_n++;
    if (e != NULL) {
        f->failed_n++;
        snprintf(f->error, sizeof f->error, "%s", e->text);
    }
    assert_false(checkpoint_busy(&f->store));
    assert_int_equal(f->closed_n, 0);
    if (f->saves_to_go > 0) {
        f->saves_to_go--;
        struct buf b = text_of("more", f->saves_to_go);
        checkpoint_save(&f->store, &b, true);
    }
    if (f->close_in_saved) {
        f->close_in_saved = false;
        checkpoint_close(&f->store, on_closed, f);
    }
}

static void fixture_open(struct fixture *f, struct uvtest *t)
{
    *f = (struct fixture){.t = t};
    f->dir_fd = open(uvtest_dir(t), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->dir_fd >= 0);
    checkpoint_open(&f->store, &t->loop, f->dir_fd, on_saved, f);
}

static void fixture_close(struct fixture *f)
{
    if (f->closed_n == 0) {
        checkpoint_close(&f->store, on_closed, f);
        assert_int_equal(f->closed_n, 0);
        UVTEST_UNTIL(f->t, f->closed_n == 1);
    }
    close(f->dir_fd);
}

static void save(struct fixture *f, const char *source, uint64_t offset)
{
    struct buf b = text_of(source, offset);
    unsigned before = f->saved_n;
    checkpoint_save(&f->store, &b, true);
    assert_null(b.p);
    assert_int_equal(b.n, 0);
    assert_true(checkpoint_busy(&f->store));
    assert_int_equal(f->saved_n, before);
}

static uint64_t loaded_offset(struct fixture *f)
{
    struct checkpoint c;
    struct err e;
    assert_int_equal(checkpoint_load(f->dir_fd, &c, &e), 0);
    assert_int_equal(c.sources_n, 1);
    assert_int_equal(c.sources[0].files_n, 1);
    uint64_t offset = c.sources[0].files[0].at.offset;
    checkpoint_release(&c);
    return offset;
}

static void what_is_saved_is_loaded(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    save(&f, "one", 4711);
    UVTEST_UNTIL(f.t, f.saved_n == 1);
    assert_int_equal(f.failed_n, 0);
    assert_int_equal(loaded_offset(&f), 4711);
    assert_int_equal(uvtest_mode(f.t, CHECKPOINT_NAME), 0600);
    save(&f, "one", 4712);
    UVTEST_UNTIL(f.t, f.saved_n == 2);
    assert_int_equal(loaded_offset(&f), 4712);
    fixture_close(&f);
}

static void no_file_is_an_empty_checkpoint(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    struct checkpoint c;
    memset(&c, 0xff, sizeof c);
    assert_int_equal(checkpoint_load(f.dir_fd, &c, NULL), 0);
    assert_int_equal(c.sources_n, 0);
    assert_null(c.sources);
    checkpoint_release(&c);
    fixture_close(&f);
}

static void what_cannot_be_a_checkpoint_is_refused_and_left_alone(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    static const char *BAD[] = {"", "{}", "garbage", "{\"version\":999,\"sources\":[]}", "null"};
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        uvtest_write(f.t, CHECKPOINT_NAME, BAD[i]);
        struct checkpoint c = {.sources_n = 77};
        struct err e;
        assert_true(checkpoint_load(f.dir_fd, &c, &e) < 0);
        assert_int_equal(c.sources_n, 77);
        assert_memory_equal(e.text, "checkpoint.json: ", 17);
        assert_true(strlen(e.text) > 17);
        char *text = uvtest_read(f.t, CHECKPOINT_NAME, NULL);
        assert_string_equal(text, BAD[i]);
        free(text);
    }
    fixture_close(&f);
}

static void a_cut_file_is_refused(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    struct buf b = text_of("one", 12);
    for (size_t n = 0; n + 1 < b.n; n++) { /* the last byte may be a line feed */
        struct err e;
        struct checkpoint c;
        FILE *file = fopen(uvtest_path(f.t, CHECKPOINT_NAME), "we");
        assert_int_equal(fwrite(b.p, 1, n, file), n);
        fclose(file);
        assert_true(checkpoint_load(f.dir_fd, &c, &e) < 0);
    }
    buf_release(&b);
    fixture_close(&f);
}

static void only_a_regular_file_of_a_sane_size_is_read(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    struct checkpoint c;
    struct err e;
    assert_int_equal(mkfifo(uvtest_path(f.t, CHECKPOINT_NAME), 0600), 0); /* would block */
    assert_int_equal(checkpoint_load(f.dir_fd, &c, &e), ERR_IO);
    assert_string_equal(e.text, "checkpoint.json: not a regular file");
    unlink(uvtest_path(f.t, CHECKPOINT_NAME));
    assert_int_equal(symlink("/dev/zero", uvtest_path(f.t, CHECKPOINT_NAME)), 0);
    assert_int_equal(checkpoint_load(f.dir_fd, &c, &e), ERR_IO);
    unlink(uvtest_path(f.t, CHECKPOINT_NAME));
    uvtest_write(f.t, CHECKPOINT_NAME, "");
    assert_int_equal(truncate(uvtest_path(f.t, CHECKPOINT_NAME), CHECKPOINT_BYTES_MAX + 1), 0);
    assert_int_equal(checkpoint_load(f.dir_fd, &c, &e), ERR_RANGE);
    fixture_close(&f);
}

static void an_unreadable_file_is_an_error_not_an_empty_checkpoint(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    struct checkpoint c;
    struct err e;
    assert_int_equal(mkdir(uvtest_path(f.t, CHECKPOINT_NAME), 0700), 0);
    assert_int_equal(checkpoint_load(f.dir_fd, &c, &e), ERR_IO);
    assert_int_equal(checkpoint_load(-1, &c, &e), ERR_IO);
    fixture_close(&f);
}

static void save_document(struct fixture *f, uint64_t generation, uint64_t offset, bool whole)
{
    struct buf b = document(generation, "one", offset);
    unsigned before = f->saved_n;
    checkpoint_save(&f->store, &b, whole);
    UVTEST_UNTIL(f->t, f->saved_n == before + 1);
}

static void a_recent_document_goes_over_the_whole_one_of_its_generation(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    save_document(&f, 4, 10, true);
    save_document(&f, 4, 20, false);
    assert_int_equal(loaded_offset(&f), 20);
    assert_int_equal(uvtest_mode(f.t, CHECKPOINT_RECENT_NAME), 0600);
    save_document(&f, 4, 30, false);
    assert_int_equal(loaded_offset(&f), 30);
    save_document(&f, 5, 25, true); /* from here on the recent one is left over */
    assert_int_equal(loaded_offset(&f), 25);
    save_document(&f, 5, 26, false);
    assert_int_equal(loaded_offset(&f), 26);
    assert_int_equal(f.failed_n, 0);
    fixture_close(&f);
}

static void a_recent_document_that_cannot_be_written_leaves_both(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    save_document(&f, 4, 10, true);
    save_document(&f, 4, 20, false);
    uvtest_limit_file_size(16);
    save_document(&f, 4, 30, false);
    uvtest_limit_file_size(0);
    assert_int_equal(f.failed_n, 1);
    assert_non_null(strstr(f.error, "checkpoint-recent.json: cannot write"));
    assert_int_equal(loaded_offset(&f), 20);
    fixture_close(&f);
}

static void a_damaged_recent_document_is_refused_by_its_name(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    save_document(&f, 4, 10, true);
    uvtest_write(f.t, CHECKPOINT_RECENT_NAME, "{\"version\":1,");
    struct checkpoint c = {.sources_n = 77};
    struct err e;
    assert_int_equal(checkpoint_load(f.dir_fd, &c, &e), ERR_SYNTAX);
    assert_int_equal(c.sources_n, 77);
    assert_memory_equal(e.text, "checkpoint-recent.json: ", 24);
    unlink(uvtest_path(f.t, CHECKPOINT_RECENT_NAME));
    assert_int_equal(symlink("/dev/zero", uvtest_path(f.t, CHECKPOINT_RECENT_NAME)), 0);
    assert_int_equal(checkpoint_load(f.dir_fd, &c, &e), ERR_IO);
    unlink(uvtest_path(f.t, CHECKPOINT_RECENT_NAME));
    assert_int_equal(loaded_offset(&f), 10);
    fixture_close(&f);
}

static void a_recent_document_alone_only_reserves_its_generation(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    save_document(&f, 4, 20, false);
    struct checkpoint c;
    assert_int_equal(checkpoint_load(f.dir_fd, &c, NULL), 0);
    assert_int_equal(c.sources_n, 0);
    assert_int_equal(c.generation, 4);
    checkpoint_release(&c);
    fixture_close(&f);
}

static void what_the_tool_writes_is_final(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    struct checkpoint c;
    save_document(&f, 4, 10, true);
    save_document(&f, 4, 20, false);
    assert_int_equal(checkpoint_load(f.dir_fd, &c, NULL), 0);
    c.sources[0].files[0].at.offset = 3;
    uvtest_limit_file_size(16);
    struct err e;
    assert_int_equal(checkpoint_write(f.dir_fd, &c, &e), ERR_IO);
    uvtest_limit_file_size(0);
    assert_int_equal(loaded_offset(&f), 20);
    assert_int_equal(checkpoint_write(f.dir_fd, &c, &e), 0);
    assert_int_equal(loaded_offset(&f), 3); /* the recent one with 20 is left over now */
    assert_int_equal(uvtest_mode(f.t, CHECKPOINT_NAME), 0600);
    assert_int_equal(checkpoint_write(f.dir_fd, &c, &e), 0);
    assert_int_equal(loaded_offset(&f), 3);
    checkpoint_release(&c);
    fixture_close(&f);
}

static void a_failed_save_leaves_the_last_good_file(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    save(&f, "one", 1);
    UVTEST_UNTIL(f.t, f.saved_n == 1);
    uvtest_limit_file_size(16);
    save(&f, "one", 2);
    UVTEST_UNTIL(f.t, f.saved_n == 2);
    uvtest_limit_file_size(0);
    assert_int_equal(f.failed_n, 1);
    assert_non_null(strstr(f.error, "checkpoint.json: cannot write"));
    assert_int_equal(loaded_offset(&f), 1);
    save(&f, "one", 3);
    UVTEST_UNTIL(f.t, f.saved_n == 3);
    assert_int_equal(f.failed_n, 1);
    assert_int_equal(loaded_offset(&f), 3);
    fixture_close(&f);
}

static void a_text_that_did_not_fit_its_buf_is_a_failed_save(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    save(&f, "one", 1);
    UVTEST_UNTIL(f.t, f.saved_n == 1);
    struct buf b;
    buf_init(&b, 4);
    buf_puts(&b, "ab");
    buf_puts(&b, "cdef");
    assert_true(b.failed);
    checkpoint_save(&f.store, &b, true);
    UVTEST_UNTIL(f.t, f.saved_n == 2);
    assert_int_equal(f.failed_n, 1);
    assert_non_null(strstr(f.error, "no memory"));
    assert_int_equal(loaded_offset(&f), 1);
    fixture_close(&f);
}

static void saved_may_begin_the_next_save(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    f.saves_to_go = 5;
    save(&f, "one", 99);
    UVTEST_UNTIL(f.t, f.saved_n == 6);
    assert_int_equal(f.failed_n, 0);
    assert_int_equal(loaded_offset(&f), 0);
    fixture_close(&f);
}

static void a_close_lets_the_save_under_way_finish(void **state)
{
    struct fixture f;
    fixture_open(&f, *state);
    save(&f, "one", 5);
    checkpoint_close(&f.store, on_closed, &f);
    UVTEST_UNTIL(f.t, f.closed_n == 1);
    assert_int_equal(f.saved_n, 1);
    assert_int_equal(loaded_offset(&f), 5);
    uvtest_turn_idle(f.t);
    assert_int_equal(f.closed_n, 1);
    fixture_close(&f);
}

static void saved_may_close(void **state)
{
    for (unsigned more = 0; more < 2; more++) {
        struct fixture f;
        fixture_open(&f, *state);
        f.close_in_saved = true;
        f.saves_to_go = more; /* with one, a save is under way when the close comes */
        /* on_saved asserts that closed has not been called by then. */
        save(&f, "one", 5);
        UVTEST_UNTIL(f.t, f.closed_n == 1);
        assert_int_equal(f.saved_n, 1 + more);
        uvtest_turn_idle(f.t);
        assert_int_equal(f.closed_n, 1);
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(what_is_saved_is_loaded),
        UVTEST(no_file_is_an_empty_checkpoint),
        UVTEST(what_cannot_be_a_checkpoint_is_refused_and_left_alone),
        UVTEST(a_cut_file_is_refused),
        UVTEST(only_a_regular_file_of_a_sane_size_is_read),
        UVTEST(an_unreadable_file_is_an_error_not_an_empty_checkpoint),
        UVTEST(a_recent_document_goes_over_the_whole_one_of_its_generation),
        UVTEST(a_recent_document_that_cannot_be_written_leaves_both),
        UVTEST(a_damaged_recent_document_is_refused_by_its_name),
        UVTEST(a_recent_document_alone_only_reserves_its_generation),
        UVTEST(what_the_tool_writes_is_final),
        UVTEST(a_failed_save_leaves_the_last_good_file),
        UVTEST(a_text_that_did_not_fit_its_buf_is_a_failed_save),
        UVTEST(saved_may_begin_the_next_save),
        UVTEST(a_close_lets_the_save_under_way_finish),
        UVTEST(saved_may_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
