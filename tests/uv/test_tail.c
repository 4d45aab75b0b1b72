/* Reading: what stands in the files comes out once and whole, whatever happens to them meanwhile.
 */
#include "tests/uv/follow.h"

static struct follow *follow_logs(void **state)
{
    return follow_open(*state, "*.log");
}

/* ---- plain following ---- */

static void files_that_are_there_are_read_oldest_first(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "newest\n");
    write_file(fo->uv, "b.log", "oldest\n");
    write_file(fo->uv, "c.log", "middle\n");
    set_age(fo->uv, "a.log", 10);
    set_age(fo->uv, "b.log", 1000);
    set_age(fo->uv, "c.log", 100);
    follow_start(fo);
    assert_string_equal(fo->turns, "bca");
    assert_string_equal(follow_text(fo, "a.log"), "newest\n");
    assert_string_equal(follow_text(fo, "b.log"), "oldest\n");
    assert_string_equal(follow_text(fo, "c.log"), "middle\n");
    follow_close(fo);
}

static void a_tail_is_born_paused(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\n");
    tail_scan(fo->tail);
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    assert_int_equal(fo->told_bytes, 0);
    assert_false(tail_finished(fo->tail));
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    assert_true(tail_finished(fo->tail));
    follow_close(fo);
}

static void a_file_that_appears_later_is_read_from_its_beginning(void **state)
{
    struct follow *fo = follow_logs(state);
    follow_start(fo);
    assert_int_equal(fo->found_n, 0);
    write_file(fo->uv, "a.log", "one\n");
    write_file(fo->uv, "other.txt", "not ours\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    assert_int_equal(fo->found_n, 1);
    follow_close(fo);
}

static void what_is_appended_comes_in_order_and_once(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "");
    follow_start(fo);
    char want[4096] = "";
    for (int i = 0; i < 100; i++) {
        char line[32];
        snprintf(line, sizeof line, "line %d\n", i);
        append(fo->uv, "a.log", line);
        strncat(want, line, sizeof want - strlen(want) - 1);
        if (i % 3 == 0)
            follow_settle(fo);
    }
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), want);
    assert_int_equal(follow_file(fo, "a.log")->replaced_n, 0);
    follow_close(fo);
}

static void half_a_line_waits_for_its_end(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\nhal");
    follow_start(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    append(fo->uv, "a.log", "f a li");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    append(fo->uv, "a.log", "ne\nthr");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\nhalf a line\n");
    assert_int_equal(follow_file(fo, "a.log")->ends_n, 0);
    follow_close(fo);
}

static void reading_begins_where_the_owner_seeks(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\ntwo\n");
    fo->begin_at = 4;
    follow_start(fo);
    assert_string_equal(follow_text(fo, "a.log"), "two\n");
    struct tail_file *f = follow_file(fo, "a.log")->file;
    assert_int_equal(f->read_at, 8);
    assert_false(tail_seek(f, 9));
    assert_int_equal(f->read_at, 8);
    follow_close(fo);
}

static void touching_a_file_is_no_news(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    struct record *r = follow_file(fo, "a.log");
    unsigned told = r->told_n;
    int fd = r->file->fd;
    set_age(fo->uv, "a.log", 0);
    follow_settle(fo);
    tail_scan(fo->tail);
    follow_settle(fo);
    assert_int_equal(r->told_n, told);
    assert_int_equal(r->replaced_n, 0);
    assert_int_equal(r->file->fd, fd);
    assert_int_equal(fo->found_n, 1);
    follow_close(fo);
}

static void bytes_of_any_value_pass_unchanged(void **state)
{
    struct follow *fo = follow_logs(state);
    fo->take = TAKE_ALL;
    char bytes[512];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    follow_write_at(fo->uv, "a.log", O_TRUNC, bytes, sizeof bytes);
    follow_start(fo);
    struct record *r = follow_file(fo, "a.log");
    assert_int_equal(r->n, sizeof bytes);
    assert_memory_equal(r->text, bytes, sizeof bytes);
    follow_close(fo);
}

/* ---- files written anew in place ---- */

static void a_truncated_file_begins_again_at_0(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\ntwo\nthree\n");
    follow_start(fo);
    write_file(fo->uv, "a.log", "");
    follow_settle(fo);
    struct record *r = follow_file(fo, "a.log");
    assert_int_equal(r->replaced_n, 1);
    assert_int_equal(r->file->read_at, 0);
    append(fo->uv, "a.log", "four\n");
    follow_settle(fo);
    assert_string_equal(r->text, "one\ntwo\nthree\nfour\n");
    assert_int_equal(r->replaced_n, 1);
    assert_int_equal(fo->found_n, 1);
    follow_close(fo);
}

/* Refilled before anybody looked: shorter, of the same size, longer. */
static void refill(void **state, const char *before, const char *after)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", before);
    follow_start(fo);
    write_file(fo->uv, "a.log", after);
    follow_settle(fo);
    struct record *r = follow_file(fo, "a.log");
    assert_int_equal(r->replaced_n, 1);
    assert_int_equal(r->n, strlen(before) + strlen(after));
    assert_string_equal(r->text + strlen(before), after);
    follow_close(fo);
}

static void truncated_and_refilled_shorter_is_noticed(void **state)
{
    refill(state, "one\ntwo\nthree\n", "four\n");
}

static void truncated_and_refilled_to_the_same_size_is_noticed(void **state)
{
    refill(state, "one\ntwo\n", "six\nten\n");
}

static void truncated_and_refilled_longer_is_noticed(void **state)
{
    refill(state, "one\ntwo\n", "four\nfive\nsix\nseven\n");
}

static void a_long_file_refilled_with_the_same_beginning_is_noticed(void **state)
{
    char *before = numbered_lines(600 * KIB), *after = numbered_lines(700 * KIB);
    after[600 * KIB - 2] = '#'; /* within the last KiB that was read */
    refill(state, before, after);
    free(before);
    free(after);
}

static void truncated_with_half_a_line_pending_tells_no_mixture(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\nhalf a l");
    follow_start(fo);
    write_file(fo->uv, "a.log", "new first\nnew second\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\nnew first\nnew second\n");
    assert_int_equal(follow_file(fo, "a.log")->replaced_n, 1);
    follow_close(fo);
}

static void truncated_while_paused_is_noticed_when_reading_goes_on(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    tail_pause(fo->tail, true);
    append(fo->uv, "a.log", "two\n");
    follow_settle(fo);
    write_file(fo->uv, "a.log", "three\nfour\n");
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\nthree\nfour\n");
    follow_close(fo);
}

/* ---- room, long records, fairness ---- */

static void a_pause_in_the_middle_of_a_chunk_loses_and_repeats_nothing(void **state)
{
    struct follow *fo = follow_logs(state);
    char *want = numbered_lines(700 * KIB);
    write_file(fo->uv, "a.log", want);
    fo->room = 1000;
    follow_start(fo);
    struct record *r = follow_file(fo, "a.log");
    unsigned pauses = 0;
    while (r->n < 700 * KIB) {
        size_t before = r->n;
        assert_true(before <= 1000 + pauses * 50000);
        follow_settle(fo); /* paused: nothing moves */
        assert_int_equal(r->n, before);
        assert_int_equal(active_handles(fo->uv), 1);
        fo->room = 50000;
        tail_pause(fo->tail, false);
        follow_settle(fo);
        assert_true(r->n > before);
        pauses++;
    }
    assert_true(pauses >= 14);
    assert_string_equal(r->text, want);
    free(want);
    follow_close(fo);
}

static void no_room_at_all_keeps_the_file_where_it_is(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\ntwo\n");
    fo->room = 0;
    follow_start(fo);
    struct record *r = follow_file(fo, "a.log");
    assert_int_equal(r->n, 0);
    assert_int_equal(r->told_n, 1);
    fo->room = SIZE_MAX;
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_string_equal(r->text, "one\ntwo\n");
    follow_close(fo);
}

static void a_record_longer_than_the_chunk_is_told_whole(void **state)
{
    struct follow *fo = follow_logs(state);
    size_t n = FOLLOW_RECORD_MAX;
    char *want = malloc(n + 32);
    assert_non_null(want);
    snprintf(want, n + 32, "short\n");
    memset(want + 6, 'x', n - 1);
    snprintf(want + 6 + n - 1, 26, "\nshort again\n");
    write_file(fo->uv, "a.log", want);
    follow_start(fo);
    struct record *r = follow_file(fo, "a.log");
    assert_int_equal(r->n, strlen(want));
    assert_string_equal(r->text, want);
    free(want);
    follow_close(fo);
}

static void a_long_record_that_grows_slowly_is_told_when_it_ends(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    char piece[8193];
    memset(piece, 'y', sizeof piece - 1);
    piece[sizeof piece - 1] = '\0';
    for (int i = 0; i < 100; i++) {
        append(fo->uv, "a.log", piece);
        follow_settle(fo);
    }
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    append(fo->uv, "a.log", "\n");
    follow_settle(fo);
    assert_int_equal(follow_file(fo, "a.log")->n, 4 + 100 * 8192 + 1);
    follow_close(fo);
}

static void every_ready_file_gets_its_turn(void **state)
{
    struct follow *fo = follow_logs(state);
    fo->take = TAKE_ALL;
    char *large = numbered_lines(2 * MIB);
    write_file(fo->uv, "a.log", large);
    write_file(fo->uv, "b.log", large);
    write_file(fo->uv, "c.log", "small\n");
    set_age(fo->uv, "a.log", 300);
    set_age(fo->uv, "b.log", 200);
    set_age(fo->uv, "c.log", 100);
    follow_start(fo);
    assert_memory_equal(fo->turns, "abcabababababab", 15);
    assert_string_equal(follow_text(fo, "a.log"), large);
    assert_string_equal(follow_text(fo, "b.log"), large);
    assert_string_equal(follow_text(fo, "c.log"), "small\n");
    free(large);
    follow_close(fo);
}

static void one_turn_reads_a_bounded_amount(void **state)
{
    struct follow *fo = follow_logs(state);
    fo->take = TAKE_ALL;
    char *text = numbered_lines(500 * KIB);
    for (char name[] = "a.log"; name[0] <= 'h'; name[0]++)
        write_file(fo->uv, name, text);
    tail_scan(fo->tail);
    tail_pause(fo->tail, false);
    unsigned turns = 0;
    while (!tail_finished(fo->tail)) {
        size_t before = fo->told_bytes;
        uv_run(&fo->uv->loop, UV_RUN_NOWAIT);
        assert_true(fo->told_bytes - before <= 2 * TAIL_READ_BYTES);
        turns++;
    }
    assert_true(turns >= 8);
    assert_int_equal(fo->told_bytes, 8 * 500 * KIB);
    free(text);
    follow_close(fo);
}

static void one_turn_looks_at_a_bounded_number_of_files(void **state)
{
    struct follow *fo = follow_logs(state);
    for (int i = 0; i < 600; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.log", i);
        write_file(fo->uv, name, "x\n");
    }
    tail_scan(fo->tail);
    tail_pause(fo->tail, false);
    uv_run(&fo->uv->loop, UV_RUN_NOWAIT);
    uv_run(&fo->uv->loop, UV_RUN_NOWAIT);
    assert_true(fo->told_bytes > 0);
    assert_true(fo->told_bytes < 600 * 2);
    follow_settle(fo);
    assert_int_equal(fo->told_bytes, 600 * 2);
    follow_close(fo);
}

static void two_thousand_files_are_taken_up_quickly(void **state)
{
    struct follow *fo = follow_logs(state);
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    if (r.rlim_cur < 2200 && r.rlim_max >= 2200) {
        r.rlim_cur = 2200;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
    }
    unsigned n = r.rlim_cur >= 2200 ? 2000 : (unsigned)r.rlim_cur / 2;
    for (unsigned i = 0; i < n; i++) {
        char name[32], text[32];
        snprintf(name, sizeof name, "%u.log", i);
        snprintf(text, sizeof text, "first of %u\n", i);
        write_file(fo->uv, name, text);
    }
    uint64_t began = uv_hrtime();
    follow_start(fo);
    tail_scan(fo->tail);
    follow_settle(fo);
    assert_true(uv_hrtime() - began < UINT64_C(3000000000));
    assert_int_equal(fo->found_n, n);
    append(fo->uv, "77.log", "second\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "77.log"), "first of 77\nsecond\n");
    for (const struct record *rec = fo->records; rec != NULL; rec = rec->next)
        assert_memory_equal(rec->text, "first of ", 9);
    follow_close(fo);
}

static void nothing_wakes_the_loop_when_nothing_happens(void **state)
{
    struct follow *fo = follow_logs(state);
    write_file(fo->uv, "a.log", "one\nhalf");
    write_file(fo->uv, "b.log", "");
    follow_start(fo);
    assert_int_equal(uv_backend_timeout(&fo->uv->loop), -1);
    assert_int_equal(active_handles(fo->uv), 1); /* the watch */
    unsigned told = follow_file(fo, "a.log")->told_n;
    uv_run(&fo->uv->loop, UV_RUN_NOWAIT);
    assert_int_equal(follow_file(fo, "a.log")->told_n, told);
    follow_close(fo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(files_that_are_there_are_read_oldest_first),
        UVTEST(a_tail_is_born_paused),
        UVTEST(a_file_that_appears_later_is_read_from_its_beginning),
        UVTEST(what_is_appended_comes_in_order_and_once),
        UVTEST(half_a_line_waits_for_its_end),
        UVTEST(reading_begins_where_the_owner_seeks),
        UVTEST(touching_a_file_is_no_news),
        UVTEST(bytes_of_any_value_pass_unchanged),
        UVTEST(a_truncated_file_begins_again_at_0),
        UVTEST(truncated_and_refilled_shorter_is_noticed),
        UVTEST(truncated_and_refilled_to_the_same_size_is_noticed),
        UVTEST(truncated_and_refilled_longer_is_noticed),
        UVTEST(a_long_file_refilled_with_the_same_beginning_is_noticed),
        UVTEST(truncated_with_half_a_line_pending_tells_no_mixture),
        UVTEST(truncated_while_paused_is_noticed_when_reading_goes_on),
        UVTEST(a_pause_in_the_middle_of_a_chunk_loses_and_repeats_nothing),
        UVTEST(no_room_at_all_keeps_the_file_where_it_is),
        UVTEST(a_record_longer_than_the_chunk_is_told_whole),
        UVTEST(a_long_record_that_grows_slowly_is_told_when_it_ends),
        UVTEST(every_ready_file_gets_its_turn),
        UVTEST(one_turn_reads_a_bounded_amount),
        UVTEST(one_turn_looks_at_a_bounded_number_of_files),
        UVTEST(two_thousand_files_are_taken_up_quickly),
        UVTEST(nothing_wakes_the_loop_when_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
