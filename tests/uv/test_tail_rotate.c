/* Rotation and deletion: a file stays itself whatever it is called, and is let go only when it is
 * drained. */
#include "tests/uv/follow.h"

static struct follow *follow_pattern(void **state, const char *pattern)
{
    return follow_open(*state, pattern);
}

/* ---- rotation ---- */

static void renamed_within_the_glob_it_is_the_same_file(void **state)
{
    struct follow *fo = follow_pattern(state, "a.log*");
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "one\n");
    follow_start(fo);
    say(writer, "two\n");
    rename_file(fo->uv, "a.log", "a.log.1");
    say(writer, "three\n");
    follow_settle(fo);
    append(fo->uv, "a.log.1", "four\n");
    follow_settle(fo);
    struct record *r = follow_file(fo, "a.log.1");
    assert_non_null(r);
    assert_string_equal(r->text, "one\ntwo\nthree\nfour\n");
    assert_int_equal(r->renamed_n, 1);
    assert_int_equal(fo->found_n, 1);
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1); /* nobody waits for it to be quiet */
    assert_int_equal(r->lost_n, 0);
    assert_int_equal(r->ends_n, 0);
    assert_int_equal(kernel_watches(), 1); /* the directory's */
    close(writer);
    follow_close(fo);
}

static void renamed_out_of_the_glob_it_is_drained_late_bytes_included(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "one\n");
    follow_start(fo);
    tail_pause(fo->tail, true);
    say(writer, "two\n");
    rename_file(fo->uv, "a.log", "a.old");
    follow_settle(fo);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    struct record *r = nth_found(fo, 0);
    assert_string_equal(r->text, "one\ntwo\n");
    say(writer, "late\n");
    follow_settle(fo); /* its own watch tells: this does not wait for the timer */
    assert_string_equal(r->text, "one\ntwo\nlate\n");
    assert_int_equal(r->lost_n, 0);
    assert_int_equal(fo->found_n, 1);
    close(writer);
    follow_close(fo);
}

static void moved_to_another_directory_it_is_drained_too(void **state)
{
    struct follow *fo = follow_pattern(state, "logs/*.log");
    make_dir(fo->uv, "logs");
    make_dir(fo->uv, "old");
    int writer = open_writer(fo->uv, "logs/a.log");
    follow_start(fo);
    say(writer, "one\n");
    rename_file(fo->uv, "logs/a.log", "old/a.log");
    follow_settle(fo);
    say(writer, "late\n");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "one\nlate\n");
    close(writer);
    follow_close(fo);
}

static void an_orphan_is_closed_when_it_was_quiet_with_its_last_half_line(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    write_file(fo->uv, "a.log", "one\nno newline");
    follow_start(fo);
    unsigned fds = uvtest_count_fds();
    rename_file(fo->uv, "a.log", "a.old");
    follow_settle(fo);
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    struct record *r = nth_found(fo, 0);
    assert_string_equal(r->text, "one\nno newline");
    assert_int_equal(r->ends_n, 1);
    assert_int_equal(uvtest_count_fds(), fds - 1);
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1);
    follow_settle(fo);
    assert_int_equal(kernel_watches(), 1);
    assert_int_equal(uv_backend_timeout(&fo->uv->loop), -1);
    follow_close(fo);
}

static void a_file_rotated_within_the_glob_is_told_its_last_half_line_when_it_is_quiet(void **state)
{
    struct follow *fo = follow_pattern(state, "a.log*");
    fo->take = TAKE_LINES;
    tail_set_times(fo->tail, 60, TAIL_POLL_MS, COPY_HOLD_MS);
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "one\nha");
    follow_start(fo);
    follow_settle(fo);
    rename_file(fo->uv, "a.log", "a.log.1");
    say(writer, "l");
    write_file(fo->uv, "a.log", "new\nnot ended");
    follow_settle(fo);
    say(writer, "f");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log.1"), "one\n");
    UVTEST_UNTIL(fo->uv, strcmp(follow_text(fo, "a.log.1"), "one\nhalf") == 0);
    assert_string_equal(follow_text(fo, "a.log"), "new\n"); /* it is alive, and waits for its end */
    rename_file(fo->uv, "a.log.1", "a.log.2");
    rename_file(fo->uv, "a.log", "a.log.1");
    write_file(fo->uv, "a.log", "newer\n");
    UVTEST_UNTIL(fo->uv, strcmp(follow_text(fo, "a.log.1"), "new\nnot ended") == 0);
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1); /* nobody waits for more */
    assert_string_equal(follow_text(fo, "a.log.2"), "one\nhalf");
    close(writer);
    follow_close(fo);
}

static void half_a_line_that_still_grows_is_not_quiet(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_times(fo->tail, 500, TAIL_POLL_MS, COPY_HOLD_MS);
    int writer = open_writer(fo->uv, "a.log");
    follow_start(fo);
    rename_file(fo->uv, "a.log", "a.old");
    uint64_t until = uv_hrtime() + UINT64_C(800000000);
    uv_timer_start(&fo->uv->tick, uvtest_on_tick, 20, 20);
    while (uv_hrtime() < until) {
        say(writer, ".");
        uv_run(&fo->uv->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&fo->uv->tick);
    struct record *r = nth_found(fo, 0);
    assert_int_equal(r->ends_n, 0);
    say(writer, "\n");
    follow_settle(fo);
    assert_true(r->n > 1);
    assert_int_equal(r->text[r->n - 1], '\n');
    close(writer);
    follow_close(fo);
}

static void an_orphan_is_kept_until_the_owner_has_settled_it(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_times(fo->tail, 10, TAIL_POLL_MS, COPY_HOLD_MS);
    fo->unsettled = true;
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    delete_file(fo->uv, "a.log");
    UVTEST_UNTIL(fo->uv, nth_found(fo, 0)->ends_n >= 3);
    assert_int_equal(fo->lost_n, 0);
    assert_string_equal(nth_found(fo, 0)->text, "one\n");
    fo->unsettled = false;
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    follow_close(fo);
}

static void rotated_and_made_anew_both_are_read(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "old one\n");
    follow_start(fo);
    say(writer, "old two\n");
    rename_file(fo->uv, "a.log", "a.old");
    write_file(fo->uv, "a.log", "new one\n");
    say(writer, "old late\n");
    follow_settle(fo);
    append(fo->uv, "a.log", "new two\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 2);
    assert_string_equal(nth_found(fo, 0)->text, "old one\nold two\nold late\n");
    assert_string_equal(nth_found(fo, 1)->text, "new one\nnew two\n");
    close(writer);
    follow_close(fo);
}

static void several_rotations_between_two_looks_keep_every_file_apart(void **state)
{
    struct follow *fo = follow_pattern(state, "a.log*");
    write_file(fo->uv, "a.log", "first\n");
    follow_start(fo);
    for (int i = 0; i < 3; i++) {
        static const char *const text[] = {"second\n", "third\n", "fourth\n"};
        if (i > 1)
            rename_file(fo->uv, "a.log.2", "a.log.3");
        if (i > 0)
            rename_file(fo->uv, "a.log.1", "a.log.2");
        rename_file(fo->uv, "a.log", "a.log.1");
        write_file(fo->uv, "a.log", text[i]);
    }
    follow_settle(fo);
    assert_int_equal(fo->found_n, 4);
    assert_string_equal(follow_text(fo, "a.log.3"), "first\n");
    assert_string_equal(follow_text(fo, "a.log.2"), "second\n");
    assert_string_equal(follow_text(fo, "a.log.1"), "third\n");
    assert_string_equal(follow_text(fo, "a.log"), "fourth\n");
    append(fo->uv, "a.log.3", "more of the first\n");
    append(fo->uv, "a.log", "more of the fourth\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log.3"), "first\nmore of the first\n");
    assert_string_equal(follow_text(fo, "a.log"), "fourth\nmore of the fourth\n");
    follow_close(fo);
}

static void renamed_over_another_followed_file_the_other_is_drained(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "a.log", "a one\n");
    write_file(fo->uv, "b.log", "b one\n");
    follow_start(fo);
    struct record *a = follow_file(fo, "a.log"), *b = follow_file(fo, "b.log");
    append(fo->uv, "a.log", "a two\n");
    move_over(fo->uv, "b.log", "a.log", 0);
    append(fo->uv, "a.log", "b two\n");
    follow_settle(fo);
    assert_string_equal(a->text, "a one\na two\n");
    assert_string_equal(b->text, "b one\nb two\n");
    assert_string_equal(b->path, uvtest_path(fo->uv, "a.log"));
    assert_int_equal(fo->found_n, 2);
    follow_close(fo);
}

static void two_files_that_exchange_their_names_stay_themselves(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "a.log", "a one\n");
    write_file(fo->uv, "b.log", "b one\n");
    follow_start(fo);
    struct record *a = follow_file(fo, "a.log"), *b = follow_file(fo, "b.log");
    move_over(fo->uv, "a.log", "b.log", RENAME_EXCHANGE);
    follow_settle(fo);
    append(fo->uv, "a.log", "b two\n");
    append(fo->uv, "b.log", "a two\n");
    follow_settle(fo);
    assert_string_equal(a->text, "a one\na two\n");
    assert_string_equal(b->text, "b one\nb two\n");
    assert_int_equal(fo->found_n, 2);
    follow_close(fo);
}

static void packed_under_a_new_name_it_is_drained_and_not_followed_there(void **state)
{
    struct follow *fo = follow_pattern(state, "a.log*");
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    tail_pause(fo->tail, true);
    append(fo->uv, "a.log", "two\n");
    rename_file(fo->uv, "a.log", "a.log.1.gz");
    follow_settle(fo);
    tail_pause(fo->tail, false);
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\n");
    append(fo->uv, "a.log.1.gz", "not ours\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    follow_close(fo);
}

/* ---- deletion ---- */

static void deleted_with_unread_bytes_it_is_drained_and_let_go(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    char *text = numbered_lines(900 * KIB);
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    unsigned fds = uvtest_count_fds();
    tail_pause(fo->tail, true);
    append(fo->uv, "a.log", text);
    delete_file(fo->uv, "a.log");
    follow_settle(fo);
    tail_pause(fo->tail, false);
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_int_equal(uvtest_count_fds(), fds - 1); /* and so its blocks are free */
    assert_string_equal(nth_found(fo, 0)->text + 4, text);
    free(text);
    follow_close(fo);
}

static void deleted_and_made_again_at_once_it_is_another_file(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "a.log", "one\ntwo\n");
    follow_start(fo);
    append(fo->uv, "a.log", "three\n");
    delete_file(fo->uv, "a.log");
    write_file(fo->uv, "a.log", "one\ntwo\nthree\nfour\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 2);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\nthree\n");
    assert_string_equal(nth_found(fo, 1)->text, "one\ntwo\nthree\nfour\n");
    assert_int_not_equal(nth_found(fo, 0)->inode, nth_found(fo, 1)->inode);
    follow_close(fo);
}

/* After the close the inode is free, and ext4 hands it out again at once. */
static void made_again_after_it_was_let_go_it_begins_at_0(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_times(fo->tail, 10, TAIL_POLL_MS, COPY_HOLD_MS);
    write_file(fo->uv, "a.log", "one\ntwo\n");
    follow_start(fo);
    delete_file(fo->uv, "a.log");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    write_file(fo->uv, "a.log", "one\ntwo\nthree\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 2);
    assert_string_equal(nth_found(fo, 1)->text, "one\ntwo\nthree\n");
    follow_close(fo);
}

static void all_files_deleted_a_later_one_is_still_found(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_times(fo->tail, 10, TAIL_POLL_MS, COPY_HOLD_MS);
    write_file(fo->uv, "a.log", "one\n");
    write_file(fo->uv, "b.log", "two\n");
    follow_start(fo);
    delete_file(fo->uv, "a.log");
    delete_file(fo->uv, "b.log");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 2);
    write_file(fo->uv, "c.log", "three\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "c.log"), "three\n");
    follow_close(fo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(renamed_within_the_glob_it_is_the_same_file),
        UVTEST(renamed_out_of_the_glob_it_is_drained_late_bytes_included),
        UVTEST(moved_to_another_directory_it_is_drained_too),
        UVTEST(an_orphan_is_closed_when_it_was_quiet_with_its_last_half_line),
        UVTEST(a_file_rotated_within_the_glob_is_told_its_last_half_line_when_it_is_quiet),
        UVTEST(half_a_line_that_still_grows_is_not_quiet),
        UVTEST(an_orphan_is_kept_until_the_owner_has_settled_it),
        UVTEST(rotated_and_made_anew_both_are_read),
        UVTEST(several_rotations_between_two_looks_keep_every_file_apart),
        UVTEST(renamed_over_another_followed_file_the_other_is_drained),
        UVTEST(two_files_that_exchange_their_names_stay_themselves),
        UVTEST(packed_under_a_new_name_it_is_drained_and_not_followed_there),
        UVTEST(deleted_with_unread_bytes_it_is_drained_and_let_go),
        UVTEST(deleted_and_made_again_at_once_it_is_another_file),
        UVTEST(made_again_after_it_was_let_go_it_begins_at_0),
        UVTEST(all_files_deleted_a_later_one_is_still_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
