/* Reading once, and what the owner may ask about a file. */
#include "tests/uv/follow.h"

static struct follow *follow_logs(void **state)
{
    return follow_open(*state, "*.log");
}

/* ---- once ---- */

static void once_reads_to_the_size_at_the_start_and_finishes(void **state)
{
    struct follow *fo = follow_open_once(*state, "*.log");
    char *large = numbered_lines(600 * KIB);
    write_file(fo->uv, "a.log", "one\ntwo without an end");
    write_file(fo->uv, "b.log", large);
    write_file(fo->uv, "c.log", "");
    tail_scan(fo->tail);
    append(fo->uv, "a.log", " and more\nthree\n");
    append(fo->uv, "b.log", "more\n");
    write_file(fo->uv, "d.log", "too late\n");
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_true(tail_finished(fo->tail));
    assert_string_equal(follow_text(fo, "a.log"), "one\ntwo without an end");
    assert_string_equal(follow_text(fo, "b.log"), large);
    assert_int_equal(follow_file(fo, "a.log")->ends_n, 1);
    assert_int_equal(follow_file(fo, "b.log")->ends_n, 1);
    assert_true(follow_file(fo, "b.log")->file->done);
    assert_true(follow_file(fo, "c.log")->file->done);
    assert_null(follow_file(fo, "d.log"));
    assert_int_equal(uv_loop_alive(&fo->uv->loop), 0); /* it neither watches nor waits */
    free(large);
    follow_close(fo);
}

static void once_with_no_files_is_finished_at_once(void **state)
{
    struct follow *fo = follow_open_once(*state, "*.log");
    follow_start(fo);
    assert_true(tail_finished(fo->tail));
    follow_close(fo);
}

static void once_waits_for_room_like_always(void **state)
{
    struct follow *fo = follow_open_once(*state, "*.log");
    write_file(fo->uv, "a.log", "one\ntwo\nthree");
    fo->room = 5;
    follow_start(fo);
    assert_false(tail_finished(fo->tail));
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    fo->room = SIZE_MAX;
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_true(tail_finished(fo->tail));
    assert_string_equal(follow_text(fo, "a.log"), "one\ntwo\nthree");
    follow_close(fo);
}

static void once_ends_also_when_a_file_shrinks_meanwhile(void **state)
{
    struct follow *fo = follow_open_once(*state, "*.log");
    write_file(fo->uv, "a.log", "one\ntwo\nthree\n");
    tail_scan(fo->tail);
    assert_int_equal(truncate(uvtest_path(fo->uv, "a.log"), 4), 0);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_true(tail_finished(fo->tail));
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    follow_close(fo);
}

static void once_that_begins_at_the_end_of_a_file_has_nothing_to_read(void **state)
{
    struct follow *fo = follow_open_once(*state, "*.log");
    write_file(fo->uv, "a.log", "one\n");
    fo->begin_at = UINT64_MAX;
    follow_start(fo);
    assert_true(tail_finished(fo->tail));
    assert_int_equal(fo->told_bytes, 0);
    assert_true(follow_file(fo, "a.log")->file->done);
    follow_close(fo);
}

/* ---- for the owner ---- */

/* An owner that finds, when told bytes, that it must begin elsewhere: it seeks and uses none of
 * them. */
static enum tail_verdict seek_first(void *ctx, struct tail_file *f, struct str bytes, bool at_end,
                                    size_t *used)
{
    if (f->read_at == 4) {
        assert_true(tail_seek(f, 0));
        return TAIL_GO_ON;
    }
    return follow_on_bytes(ctx, f, bytes, at_end, used);
}

static void an_owner_may_seek_while_it_is_told_bytes(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\ntwo\n");
    fo->begin_at = 4;
    fo->tell = seek_first;
    follow_start(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\ntwo\n");
    assert_int_equal(follow_file(fo, "a.log")->replaced_n, 0);
    follow_close(fo);
}

static void a_position_knows_its_file_again_and_no_other(void **state)
{
    struct follow *fo = follow_logs(state);
    char *text = numbered_lines(5 * KIB);
    write_file(fo->uv, "a.log", text);
    write_file(fo->uv, "b.log", text);
    follow_start(fo);
    struct tail_file *a = follow_file(fo, "a.log")->file, *b = follow_file(fo, "b.log")->file;
    struct position at = {0};
    assert_true(tail_position(a, 3000, &at));
    assert_true(position_sane(&at));
    assert_int_equal(at.offset, 3000);
    assert_int_equal(at.inode, a->inode);
    assert_true(tail_is(a, &at));
    assert_false(tail_is(b, &at));
    append(fo->uv, "a.log", "more\n"); /* growing changes nothing */
    assert_true(tail_is(a, &at));
    at.device++; /* nor does another device number */
    assert_true(tail_is(a, &at));
    at.offset--;
    assert_false(tail_is(a, &at));
    free(text);
    follow_close(fo);
}

static void a_position_of_other_bytes_before_the_offset_is_not_taken_up(void **state)
{
    struct follow *fo = follow_logs(state);
    char *text = numbered_lines(5 * KIB);
    write_file(fo->uv, "a.log", text);
    follow_start(fo);
    struct tail_file *f = follow_file(fo, "a.log")->file;
    struct position at = {0}, start = {0};
    assert_true(tail_position(f, 5 * KIB, &at));
    assert_true(tail_position(f, 0, &start));
    assert_true(tail_is(f, &start));
    text[5 * KIB - 10] = '#';
    write_file(fo->uv, "a.log", text);
    assert_false(tail_is(f, &at));
    assert_true(tail_is(f, &start));
    text[0] = '#'; /* another first line is another file, wherever the offset */
    write_file(fo->uv, "a.log", text);
    assert_false(tail_is(f, &start));
    assert_int_equal(truncate(uvtest_path(fo->uv, "a.log"), 100), 0);
    assert_false(tail_is(f, &at));
    free(text);
    follow_close(fo);
}

static void no_position_is_given_once_the_bytes_have_changed(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\ntwo\n");
    follow_start(fo);
    struct tail_file *f = follow_file(fo, "a.log")->file;
    struct position at = {.offset = 77};
    write_file(fo->uv, "a.log", "six\nten\n");
    assert_false(tail_position(f, 4, &at));
    assert_int_equal(at.offset, 77); /* the old one stays */
    assert_int_equal(truncate(uvtest_path(fo->uv, "a.log"), 0), 0);
    assert_false(tail_position(f, 4, &at));
    follow_settle(fo);
    assert_true(tail_position(f, 0, &at));
    follow_close(fo);
}

static void the_owner_can_look_at_the_files_bytes(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\ntwo\n");
    follow_start(fo);
    struct tail_file *f = follow_file(fo, "a.log")->file;
    char bytes[16];
    assert_int_equal(tail_pread(f, bytes, 3, 4), 3);
    assert_memory_equal(bytes, "two", 3);
    assert_int_equal(tail_pread(f, bytes, sizeof bytes, 6), 2);
    assert_int_equal(tail_pread(f, bytes, sizeof bytes, 100), 0);
    assert_int_equal(tail_size(f), 8);
    assert_int_equal(f->read_at, 8);
    follow_close(fo);
}

static void a_close_in_the_middle_of_the_work_tells_every_file_as_lost(void **state)
{
    struct follow *fo = follow_logs(state);
    char *large = numbered_lines(1 * MIB);
    write_file(fo->uv, "a.log", large);
    write_file(fo->uv, "b.log", large);
    tail_scan(fo->tail);
    tail_pause(fo->tail, false);
    uv_run(&fo->uv->loop, UV_RUN_NOWAIT);
    follow_close_tail(fo);
    assert_int_equal(fo->lost_n, 2);
    append(fo->uv, "a.log", "more\n"); /* events that nobody wants any more */
    follow_settle(fo);
    free(large);
    follow_close(fo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(once_reads_to_the_size_at_the_start_and_finishes),
        UVTEST(once_with_no_files_is_finished_at_once),
        UVTEST(once_waits_for_room_like_always),
        UVTEST(once_ends_also_when_a_file_shrinks_meanwhile),
        UVTEST(once_that_begins_at_the_end_of_a_file_has_nothing_to_read),
        UVTEST(an_owner_may_seek_while_it_is_told_bytes),
        UVTEST(a_position_knows_its_file_again_and_no_other),
        UVTEST(a_position_of_other_bytes_before_the_offset_is_not_taken_up),
        UVTEST(no_position_is_given_once_the_bytes_have_changed),
        UVTEST(the_owner_can_look_at_the_files_bytes),
        UVTEST(a_close_in_the_middle_of_the_work_tells_every_file_as_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
