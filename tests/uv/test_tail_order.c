/* In which order files are told, and how long an owner's patience lasts. */
#include "tests/uv/follow.h"

#define PATIENCE_MS 80

static struct follow *follow_pattern(void **state, const char *pattern)
{
    return follow_open(*state, pattern);
}

/* ---- a successor at the same path ---- */

/* a.log has been rotated with `old` unread, and `fresh` stands at its place; the tail is paused. */
static struct follow *follow_rotated(void **state, const char *pattern, const char *rotated,
                                     const char *old, const char *fresh)
{
    struct follow *fo = follow_pattern(state, pattern);
    write_file(fo->uv, "a.log", old);
    tail_scan(fo->tail);
    rename_file(fo->uv, "a.log", rotated);
    write_file(fo->uv, "a.log", fresh);
    set_age(fo->uv, "a.log", 1000); /* its time would have it read first */
    follow_settle(fo);
    assert_int_equal(fo->found_n, 2);
    assert_int_equal(fo->journal.n, 0);
    return fo;
}

static void assert_one_after_the_other(struct follow *fo, const char *old, const char *fresh)
{
    assert_int_equal(fo->journal.n, strlen(old) + strlen(fresh));
    assert_memory_equal(fo->journal.text, old, strlen(old));
    assert_string_equal(fo->journal.text + strlen(old), fresh);
}

static void it_is_told_after_the_old_file(void **state)
{
    char *old = numbered_lines(900 * KIB), *fresh = numbered_lines(600 * KIB);
    struct follow *fo = follow_rotated(state, "*.log", "a.old", old, fresh);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_one_after_the_other(fo, old, fresh);
    follow_close(fo);
    free(old);
    free(fresh);
}

static void the_same_when_the_old_file_still_matches(void **state)
{
    char *old = numbered_lines(900 * KIB), *fresh = numbered_lines(600 * KIB);
    struct follow *fo = follow_rotated(state, "a.log*", "a.log.1", old, fresh);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_one_after_the_other(fo, old, fresh);
    follow_close(fo);
    free(old);
    free(fresh);
}

static void the_same_with_little_room(void **state)
{
    char *old = numbered_lines(6000), *fresh = numbered_lines(3000);
    struct follow *fo = follow_rotated(state, "a.log*", "a.log.1", old, fresh);
    for (int i = 0; i < 100 && fo->journal.n < 9000; i++) {
        fo->room = 500;
        tail_pause(fo->tail, false);
        follow_settle(fo);
    }
    assert_one_after_the_other(fo, old, fresh);
    follow_close(fo);
    free(old);
    free(fresh);
}

static void half_a_line_at_the_end_of_the_old_file_holds_nobody_up(void **state)
{
    struct follow *fo = follow_rotated(state, "*.log", "a.old", "one\nhalf", "two\n");
    tail_set_times(fo->tail, 60, TAIL_POLL_MS, COPY_HOLD_MS);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_string_equal(fo->journal.text, "one\ntwo\n");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_string_equal(fo->journal.text, "one\ntwo\nhalf");
    follow_close(fo);
}

/* Only up to the end that it had then: its old writer may go on for ever. */
static void late_bytes_of_the_old_file_hold_nobody_up(void **state)
{
    char *late = numbered_lines(3 * MIB);
    struct follow *fo = follow_rotated(state, "*.log", "a.old", "one\n", "two\n");
    append(fo->uv, "a.old", late);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_int_equal(fo->journal.n, 3 * MIB + 8);
    const char *two = strstr(fo->journal.text, "two\n");
    assert_non_null(two);
    assert_true((size_t)(two - fo->journal.text) <= 2 * TAIL_READ_BYTES);
    follow_close(fo);
    free(late);
}

static void through_a_switched_link(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    char *old = numbered_lines(900 * KIB), *fresh = numbered_lines(600 * KIB);
    write_file(fo->uv, "1", old);
    write_file(fo->uv, "2", fresh);
    set_age(fo->uv, "2", 1000);
    link_file(fo->uv, "1", "a.log");
    tail_scan(fo->tail);
    link_file(fo->uv, "2", "new");
    rename_file(fo->uv, "new", "a.log");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 2);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_one_after_the_other(fo, old, fresh);
    follow_close(fo);
    free(old);
    free(fresh);
}

static void through_several_rotations_while_nobody_reads(void **state)
{
    struct follow *fo = follow_pattern(state, "a.log*");
    char *text = numbered_lines(400 * KIB);
    write_file(fo->uv, "a.log", text);
    tail_scan(fo->tail);
    for (int i = 0; i < 4; i++) {
        for (int k = i; k >= 0; k--) {
            char from[32], to[32];
            snprintf(from, sizeof from, k == 0 ? "a.log" : "a.log.%d", k);
            snprintf(to, sizeof to, "a.log.%d", k + 1);
            rename_file(fo->uv, from, to);
        }
        write_file(fo->uv, "a.log", text);
        set_age(fo->uv, "a.log", 1000 * (i + 1)); /* the youngest seems to be the oldest */
        follow_settle(fo);
    }
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_int_equal(fo->journal.n, 5 * 400 * KIB);
    for (int i = 0; i < 5; i++)
        assert_memory_equal(fo->journal.text + i * 400 * KIB, text, 400 * KIB);
    follow_close(fo);
    free(text);
}

static void a_successor_that_goes_while_it_waits(void **state)
{
    struct follow *fo = follow_rotated(state, "*.log", "a.old", "one\n", "two\n");
    tail_set_times(fo->tail, 10, TAIL_POLL_MS, COPY_HOLD_MS);
    delete_file(fo->uv, "a.log");
    follow_settle(fo);
    write_file(fo->uv, "a.log", "three\n");
    follow_settle(fo);
    tail_pause(fo->tail, false);
    UVTEST_UNTIL(fo->uv, fo->lost_n == 2);
    assert_string_equal(fo->journal.text, "one\ntwo\nthree\n");
    follow_close(fo);
}

static void an_old_file_that_is_truncated_holds_nobody_up(void **state)
{
    struct follow *fo = follow_rotated(state, "a.log*", "a.log.1", "one\ntwo\n", "three\n");
    truncate_file(fo->uv, "a.log.1");
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_string_equal(fo->journal.text, "three\n");
    follow_close(fo);
}

/* ---- patience ---- */

static void wait_ms(struct follow *fo, uint64_t ms)
{
    uint64_t until = uv_hrtime() + ms * UINT64_C(1000000);
    UVTEST_UNTIL(fo->uv, uv_hrtime() >= until);
}

static void half_a_line_is_told_again_when_the_file_was_quiet_and_not_before(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    fo->patience_ms = PATIENCE_MS;
    write_file(fo->uv, "a.log", "one\nhalf");
    uv_update_time(&fo->uv->loop); /* by which the tail goes */
    uint64_t began = uv_hrtime();
    follow_start(fo);
    struct record *r = follow_file(fo, "a.log");
    unsigned told = r->told_n;
    UVTEST_UNTIL(fo->uv, r->n == 8);
    assert_true(uv_hrtime() - began >= (PATIENCE_MS - 1) * UINT64_C(1000000));
    assert_string_equal(r->text, "one\nhalf");
    assert_int_equal(r->told_n, told + 1);
    assert_int_equal(r->ends_n, 0); /* it is no end: the file may go on */
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1);
    append(fo->uv, "a.log", " and more\n");
    follow_settle(fo);
    assert_string_equal(r->text, "one\nhalf and more\n");
    follow_close(fo);
}

static void growth_begins_the_time_anew(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    fo->patience_ms = 500;
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "half");
    follow_start(fo);
    struct record *r = follow_file(fo, "a.log");
    for (int i = 0; i < 30; i++) {
        wait_ms(fo, 25);
        say(writer, ".");
        follow_settle(fo);
        assert_int_equal(r->n, 0);
    }
    say(writer, "line\n");
    follow_settle(fo);
    assert_int_equal(r->n, 4 + 30 + 5);
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1);
    close(writer);
    follow_close(fo);
}

static uint64_t quiet_told_ms;

static enum tail_verdict never_satisfied(void *ctx, struct tail_file *f, struct str bytes,
                                         bool at_end, size_t *used)
{
    (void)ctx, (void)bytes, (void)at_end;
    ((struct record *)f->owner)->told_n++;
    quiet_told_ms = tail_quiet_ms(f);
    tail_patience(f, 20);
    *used = 0;
    return TAIL_GO_ON;
}

static void an_owner_who_asks_again_and_again_is_told_once_more(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    fo->tell = never_satisfied;
    write_file(fo->uv, "a.log", "half");
    uv_update_time(&fo->uv->loop);
    follow_start(fo);
    struct record *r = follow_file(fo, "a.log");
    assert_int_equal(r->told_n, 1);
    assert_true(quiet_told_ms < 20);
    UVTEST_UNTIL(fo->uv, r->told_n == 2);
    assert_true(quiet_told_ms >= 20);
    wait_ms(fo, 70);
    assert_int_equal(r->told_n, 2);
    assert_int_equal(uv_backend_timeout(&fo->uv->loop), -1);
    append(fo->uv, "a.log", "more");
    follow_settle(fo);
    assert_int_equal(r->told_n, 3);
    assert_int_equal(quiet_told_ms, 0);
    UVTEST_UNTIL(fo->uv, r->told_n == 4);
    follow_close(fo);
}

static void who_does_not_ask_is_not_told_again(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    write_file(fo->uv, "a.log", "half");
    follow_start(fo);
    assert_int_equal(uv_backend_timeout(&fo->uv->loop), -1);
    assert_int_equal(active_handles(fo->uv), 1);
    follow_close(fo);
}

static void patience_is_kept_for_a_file_that_is_shut_meanwhile(void **state)
{
    struct follow *fo = follow_open_as(*state, "*.log", &(struct tail_options){.open_max = 1});
    fo->patience_ms = PATIENCE_MS;
    for (int i = 0; i < 8; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.log", i);
        write_file(fo->uv, name, "one\nhalf");
    }
    follow_start(fo);
    assert_int_equal(fo->journal.n, 8 * 4);
    UVTEST_UNTIL(fo->uv, fo->journal.n == 8 * 8);
    for (const struct record *r = fo->records; r != NULL; r = r->next)
        assert_string_equal(r->text, "one\nhalf");
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1);
    follow_close(fo);
}

static void patience_waits_out_a_pause(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    fo->patience_ms = 20;
    write_file(fo->uv, "a.log", "half");
    follow_start(fo);
    tail_pause(fo->tail, true);
    wait_ms(fo, 60);
    assert_int_equal(fo->journal.n, 0);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "half");
    follow_close(fo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(it_is_told_after_the_old_file),
        UVTEST(the_same_when_the_old_file_still_matches),
        UVTEST(the_same_with_little_room),
        UVTEST(half_a_line_at_the_end_of_the_old_file_holds_nobody_up),
        UVTEST(late_bytes_of_the_old_file_hold_nobody_up),
        UVTEST(through_a_switched_link),
        UVTEST(through_several_rotations_while_nobody_reads),
        UVTEST(a_successor_that_goes_while_it_waits),
        UVTEST(an_old_file_that_is_truncated_holds_nobody_up),
        UVTEST(half_a_line_is_told_again_when_the_file_was_quiet_and_not_before),
        UVTEST(growth_begins_the_time_anew),
        UVTEST(an_owner_who_asks_again_and_again_is_told_once_more),
        UVTEST(who_does_not_ask_is_not_told_again),
        UVTEST(patience_is_kept_for_a_file_that_is_shut_meanwhile),
        UVTEST(patience_waits_out_a_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
