/* copytruncate with the copy where the glob matches it: what was read is not read again, what was
 * not is read from the copy, and then the file from 0. In doubt, data is read twice, and never
 * lost. */
#include <errno.h>

#include "tests/uv/follow.h"

#define HOLD_MS 60

/* The next time that a file is found to be empty, this happens to it just afterwards. */
static void (*after_empty)(void *ctx);
static void *after_empty_ctx;

int fstat(int fd, struct stat *st)
{
    int result = fstatat(fd, "", st, AT_EMPTY_PATH);
    if (after_empty != NULL && result == 0 && S_ISREG(st->st_mode) && st->st_size == 0) {
        void (*then)(void *) = after_empty;
        after_empty = NULL;
        then(after_empty_ctx);
    }
    return result;
}

/* A tail that follows a.log and what it is rotated to, and has read `n` bytes of numbered lines. */
static struct follow *follow_lines_of(void **state, size_t n)
{
    struct follow *fo = follow_open(*state, "a.log*");
    char *text = numbered_lines(n);
    write_file(fo->uv, "a.log", text);
    free(text);
    follow_start(fo);
    assert_int_equal(nth_found(fo, 0)->n, n);
    return fo;
}

static void copytruncate(struct follow *fo, const char *copy)
{
    copy_file(fo->uv, "a.log", copy);
    truncate_file(fo->uv, "a.log");
}

static void truncate_and_go_on(struct follow *fo)
{
    truncate_file(fo->uv, "a.log");
    append(fo->uv, "a.log", "new\n");
}

/* Everything once: the copy has what stood in the file, the file what came after. */
static void assert_handed_over(struct follow *fo, const char *copy, const char *since)
{
    size_t n;
    char *whole = uvtest_read(fo->uv, copy, &n);
    assert_int_equal(fo->copied_n, 1);
    assert_int_equal(fo->missed_n, 0);
    assert_int_equal(follow_file(fo, copy)->n, n);
    assert_string_equal(follow_text(fo, copy), whole);
    assert_string_equal(follow_text(fo, "a.log"), since);
    free(whole);
}

/* ---- few descriptors ---- */

static void write_three(struct follow *fo)
{
    char *lines = numbered_lines(3000), text[4000], name[] = "x.log";
    for (name[0] = 'a'; name[0] <= 'c'; name[0]++) {
        snprintf(text, sizeof text, "of %c\n%s", name[0], lines);
        write_file(fo->uv, name, text);
    }
    free(lines);
}

static void copies_that_wait_do_not_keep_their_originals_shut(void **state)
{
    struct follow *fo = follow_open_as(*state, "*.log*", &(struct tail_options){.open_max = 1});
    char name[] = "x.log", copy[] = "x.log.1";
    write_three(fo);
    follow_start(fo);
    follow_settle(fo);
    for (name[0] = copy[0] = 'a'; name[0] <= 'c'; name[0] = ++copy[0]) {
        copy_file(fo->uv, name, copy);
        truncate_file(fo->uv, name);
        append(fo->uv, name, "new\n");
    }
    follow_settle(fo);
    assert_int_equal(fo->copied_n, 3);
    for (name[0] = 'a'; name[0] <= 'c'; name[0]++)
        assert_string_equal(follow_text(fo, name), "new\n");
    follow_close(fo);
}

/* ---- recognised ---- */

static void copied_and_truncated_before_anyone_looks(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    copytruncate(fo, "a.log.1");
    append(fo->uv, "a.log", "new\n");
    follow_settle(fo);
    assert_handed_over(fo, "a.log.1", "new\n");
    append(fo->uv, "a.log", "newer\n");
    append(fo->uv, "a.log.1", "late\n");
    follow_settle(fo);
    assert_handed_over(fo, "a.log.1", "new\nnewer\n");
    follow_close(fo);
}

static void the_same_without_any_event(void **state)
{
    struct follow *fo = follow_open(*state, "a.log*");
    tail_set_times(fo->tail, TAIL_QUIET_MS, 20, COPY_HOLD_MS);
    fo->deaf = true;
    fo->watch_dir_error = fo->watch_file_error = -ENOSPC;
    char *text = numbered_lines(3000);
    write_file(fo->uv, "a.log", text);
    follow_start(fo);
    copytruncate(fo, "a.log.1");
    append(fo->uv, "a.log", "new\n");
    UVTEST_UNTIL(fo->uv, fo->copied_n == 1 && strcmp(follow_text(fo, "a.log"), "new\n") == 0);
    assert_handed_over(fo, "a.log.1", "new\n");
    free(text);
    follow_close(fo);
}

static void a_copy_seen_while_it_grows_waits_for_the_truncation(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    char *text = numbered_lines(3000);
    int copy = open_writer(fo->uv, "a.log.1");
    static const size_t parts[] = {300, 1, 1699, 1000};
    for (size_t i = 0, at = 0; i < ARRAY_LEN(parts); at += parts[i++]) {
        assert_int_equal(write(copy, text + at, parts[i]), parts[i]);
        follow_settle(fo);
        assert_string_equal(follow_text(fo, "a.log.1"), "");
    }
    close(copy);
    truncate_and_go_on(fo);
    follow_settle(fo);
    assert_handed_over(fo, "a.log.1", "new\n");
    free(text);
    follow_close(fo);
}

/* logrotate makes the copy, sets its rights, and fills it a moment later. */
static void a_copy_seen_while_it_is_still_empty_waits_for_its_bytes(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    char *text = numbered_lines(3000);
    int copy = open_writer(fo->uv, "a.log.1");
    follow_settle(fo);
    assert_int_equal(fchmod(copy, 0640), 0); /* an event that is not about bytes */
    follow_settle(fo);
    assert_int_equal(write(copy, text, 3000), 3000);
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log.1"), "");
    close(copy);
    truncate_and_go_on(fo);
    follow_settle(fo);
    assert_handed_over(fo, "a.log.1", "new\n");
    free(text);
    follow_close(fo);
}

static void fill_the_copy(void *ctx)
{
    struct follow *fo = ctx;
    char *text = numbered_lines(3000);
    append(fo->uv, "a.log.1", text);
    free(text);
}

/* Filled between the look at its size and the reading. */
static void a_copy_filled_while_it_is_looked_at_waits_for_the_truncation(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    write_file(fo->uv, "a.log.1", "");
    follow_settle(fo);
    after_empty_ctx = fo;
    after_empty = fill_the_copy;
    assert_int_equal(chmod(uvtest_path(fo->uv, "a.log.1"), 0640), 0);
    follow_settle(fo);
    assert_true(after_empty == NULL);
    assert_string_equal(follow_text(fo, "a.log.1"), "");
    truncate_and_go_on(fo);
    follow_settle(fo);
    assert_handed_over(fo, "a.log.1", "new\n");
    follow_close(fo);
}

/* a.log begins again. `n` bytes of it are read; then it has 3000, and is copied before anyone
 * looks. */
static struct follow *follow_copied_after(void **state, size_t n)
{
    struct follow *fo = follow_open(*state, "a.log*");
    char *text = numbered_lines(3000);
    write_file(fo->uv, "a.log", text);
    follow_start(fo);
    truncate_file(fo->uv, "a.log");
    follow_settle(fo);
    nth_found(fo, 0)->n = 0; /* from here on it is written down */
    follow_write_at(fo->uv, "a.log", 0, text, n);
    follow_settle(fo);
    assert_int_equal(follow_file(fo, "a.log")->n, n);
    tail_pause(fo->tail, true);
    append(fo->uv, "a.log", text + n);
    copy_file(fo->uv, "a.log", "a.log.1");
    follow_settle(fo);
    free(text);
    return fo;
}

/* It is read on before it is truncated. */
static void assert_read_on_and_handed_over(struct follow *fo)
{
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_int_equal(nth_found(fo, 0)->n, 3000);
    truncate_and_go_on(fo);
    follow_settle(fo);
    assert_handed_over(fo, "a.log.1", "new\n");
    follow_close(fo);
}

static void copied_when_nothing_of_it_had_been_read(void **state)
{
    assert_read_on_and_handed_over(follow_copied_after(state, 0));
}

static void copied_when_little_of_it_had_been_read(void **state)
{
    assert_read_on_and_handed_over(follow_copied_after(state, 102));
}

/* It is truncated before it is read on. */
static void assert_truncated_and_handed_over(struct follow *fo)
{
    truncate_and_go_on(fo);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_handed_over(fo, "a.log.1", "new\n");
    follow_close(fo);
}

static void copied_and_truncated_when_nothing_of_it_had_been_read(void **state)
{
    assert_truncated_and_handed_over(follow_copied_after(state, 0));
}

static void copied_and_truncated_when_little_of_it_had_been_read(void **state)
{
    assert_truncated_and_handed_over(follow_copied_after(state, 102));
}

static void unread_bytes_are_read_from_the_copy_and_then_the_file_from_0(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    char *text = numbered_lines(1200 * KIB), *rest = numbered_lines(700 * KIB);
    tail_pause(fo->tail, true);
    append(fo->uv, "a.log", text + 3000); /* the numbers go on */
    copytruncate(fo, "a.log.1");
    append(fo->uv, "a.log", rest);
    follow_settle(fo);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_handed_over(fo, "a.log.1", rest);
    assert_int_equal(fo->journal.n, (1200 + 700) * KIB);
    assert_memory_equal(fo->journal.text + 3000, text + 3000, 1200 * KIB - 3000);
    assert_string_equal(fo->journal.text + 1200 * KIB, rest);
    free(text);
    free(rest);
    follow_close(fo);
}

static void the_order_holds_also_when_the_owner_has_little_room(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    char *text = numbered_lines(9000), *rest = numbered_lines(5000);
    tail_pause(fo->tail, true);
    append(fo->uv, "a.log", text + 3000);
    copytruncate(fo, "a.log.1");
    append(fo->uv, "a.log", rest);
    for (int i = 0; i < 100 && fo->journal.n < 9000 + 5000; i++) {
        fo->room = 700;
        tail_pause(fo->tail, false);
        follow_settle(fo);
    }
    assert_handed_over(fo, "a.log.1", rest);
    assert_memory_equal(fo->journal.text + 3000, text + 3000, 6000);
    assert_string_equal(fo->journal.text + 9000, rest);
    free(text);
    free(rest);
    follow_close(fo);
}

static void three_times(struct follow *fo, const char *header)
{
    static const char *const text[] = {"second", "third", "fourth"};
    char expected[4][4096], name[32];
    size_t n;
    char *first = uvtest_read(fo->uv, "a.log", &n);
    snprintf(expected[0], sizeof expected[0], "%s%s", first, "unread\n");
    free(first);
    append(fo->uv, "a.log", "unread\n");
    for (int i = 0; i < 3; i++) {
        if (i > 1)
            rename_file(fo->uv, "a.log.2", "a.log.3");
        if (i > 0)
            rename_file(fo->uv, "a.log.1", "a.log.2");
        copytruncate(fo, "a.log.1");
        snprintf(expected[i + 1], sizeof expected[0], "%s%s\n%400d\n", header, text[i], i);
        append(fo->uv, "a.log", expected[i + 1]);
    }
    follow_settle(fo);
    assert_int_equal(fo->copied_n, 1);
    assert_int_equal(fo->missed_n, 0);
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, i == 3 ? "a.log" : "a.log.%d", 3 - i);
        assert_string_equal(follow_text(fo, name), expected[i]);
    }
}

static void three_times_between_two_looks_with_renamed_copies(void **state)
{
    struct follow *fo = follow_lines_of(state, 2000);
    three_times(fo, "");
    follow_close(fo);
}

static void three_times_with_files_that_begin_alike(void **state)
{
    struct follow *fo = follow_open(*state, "a.log*");
    char header[400];
    snprintf(header, sizeof header, "%398s\n", "id,time,text");
    write_file(fo->uv, "a.log", header);
    append(fo->uv, "a.log", "1,2,3\n4,5,6\n");
    follow_start(fo);
    three_times(fo, header);
    follow_close(fo);
}

/* Each time the tail looks: former copies begin like the file, too, and are followed. */
static void once_a_day_with_files_that_begin_alike(void **state)
{
    struct follow *fo = follow_open(*state, "a.log*");
    char header[400], row[64], name[32], other[32];
    snprintf(header, sizeof header, "%398s\n", "id,time,text");
    write_file(fo->uv, "a.log", header);
    append(fo->uv, "a.log", "0,0\n");
    follow_start(fo);
    for (int day = 1; day <= 40; day++) {
        for (int i = day - 1; i > 0; i--) {
            snprintf(name, sizeof name, "a.log.%d", i);
            snprintf(other, sizeof other, "a.log.%d", i + 1);
            rename_file(fo->uv, name, other);
        }
        copytruncate(fo, "a.log.1");
        append(fo->uv, "a.log", header);
        snprintf(row, sizeof row, "%d,%d\n", day, day * day);
        append(fo->uv, "a.log", row);
        follow_settle(fo);
        assert_int_equal(fo->copied_n, day);
    }
    assert_int_equal(fo->journal.n, 41 * strlen(header) + 2 * 4 + 2 * 4 + (strlen("4,16\n") * 6) +
                                        strlen("10,100\n") * 22 + strlen("32,1024\n") * 9);
    follow_close(fo);
}

static void a_copy_that_ends_before_read_at_was_proven_while_the_file_was_whole(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    copy_file(fo->uv, "a.log", "a.log.1");
    follow_settle(fo);
    append(fo->uv, "a.log", "written between copy and truncation\n");
    follow_settle(fo);
    truncate_and_go_on(fo);
    follow_settle(fo);
    assert_int_equal(fo->copied_n, 1);
    assert_int_equal(nth_found(fo, 0)->n, 3000 + 36); /* nothing twice */
    assert_int_equal(fo->journal.n, 3000 + 36 + 4);
    assert_string_equal(follow_text(fo, "a.log"), "new\n");
    follow_close(fo);
}

/* The copy is shorter than what was read, and when it is seen first, nothing is left to prove it
 * by. */
static void a_copy_that_cannot_be_proven_is_read_again(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    char *text = numbered_lines(3000);
    follow_write_at(fo->uv, "a.log.1", O_TRUNC, text, 2000);
    truncate_and_go_on(fo);
    follow_settle(fo);
    assert_int_equal(fo->copied_n, 0);
    assert_int_equal(nth_found(fo, 0)->replaced_n, 1);
    append(fo->uv, "a.log.1", "\n");
    follow_settle(fo);
    assert_int_equal(follow_file(fo, "a.log.1")->n, 2001);
    assert_memory_equal(follow_text(fo, "a.log.1"), text, 2000);
    assert_string_equal(follow_text(fo, "a.log") + 3000, "new\n");
    free(text);
    follow_close(fo);
}

static void truncated_and_refilled_longer_than_before(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    copytruncate(fo, "a.log.1");
    char *text = numbered_lines(8000);
    append(fo->uv, "a.log", "new\n");
    append(fo->uv, "a.log", text);
    follow_settle(fo);
    assert_int_equal(fo->copied_n, 1);
    assert_int_equal(follow_file(fo, "a.log.1")->n, 3000);
    assert_int_equal(follow_file(fo, "a.log")->n, 8004);
    assert_string_equal(follow_text(fo, "a.log") + 4, text);
    free(text);
    follow_close(fo);
}

static void a_copy_is_recognised_after_a_long_pause(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, 20);
    tail_pause(fo->tail, true);
    append(fo->uv, "a.log", "unread\n");
    copytruncate(fo, "a.log.1");
    uint64_t until = uv_now(&fo->uv->loop) + 100;
    UVTEST_UNTIL(fo->uv, uv_now(&fo->uv->loop) > until);
    append(fo->uv, "a.log", "new\n");
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_handed_over(fo, "a.log.1", "new\n");
    follow_close(fo);
}

/* ---- not recognised ---- */

static void a_plain_copy_is_read_from_0_when_nothing_has_happened_for_a_while(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    tail_set_times(fo->tail, TAIL_QUIET_MS, TAIL_POLL_MS, HOLD_MS);
    char *text = numbered_lines(3000);
    uint64_t began = uv_hrtime();
    copy_file(fo->uv, "a.log", "a.log.1");
    follow_settle(fo);
    UVTEST_UNTIL(fo->uv, follow_file(fo, "a.log.1")->n > 0);
    assert_true(uv_hrtime() - began >= (HOLD_MS - 1) * UINT64_C(1000000));
    assert_string_equal(follow_text(fo, "a.log.1"), text);
    assert_int_equal(fo->copied_n, 0);
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1); /* and nothing waits for a time any more */
    append(fo->uv, "a.log", "more\n");
    append(fo->uv, "a.log.1", "more\n");
    follow_settle(fo);
    assert_int_equal(follow_file(fo, "a.log")->n, 3005);
    assert_int_equal(follow_file(fo, "a.log.1")->n, 3005);
    free(text);
    follow_close(fo);
}

static void the_same_beginning_is_no_copy(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    char *text = numbered_lines(3000);
    for (size_t i = 0; i < 2700; i++)
        text[300 + i] = text[300 + i] == '\n' ? '\n' : 'x';
    write_file(fo->uv, "a.log.1", text);                     /* as long as the file */
    follow_write_at(fo->uv, "a.log.2", O_TRUNC, text, 1200); /* shorter */
    append(fo->uv, "a.log.2", "\n");
    follow_settle(fo); /* no need to wait for either */
    assert_string_equal(follow_text(fo, "a.log.1"), text);
    assert_int_equal(follow_file(fo, "a.log.2")->n, 1201);
    assert_int_equal(fo->copied_n, 0);
    free(text);
    follow_close(fo);
}

static void a_short_file_is_never_taken_for_a_copy(void **state)
{
    struct follow *fo = follow_lines_of(state, COPY_FIRST - 1);
    copytruncate(fo, "a.log.1");
    append(fo->uv, "a.log", "new\n");
    follow_settle(fo);
    assert_int_equal(fo->copied_n, 0);
    assert_int_equal(follow_file(fo, "a.log")->replaced_n, 1);
    assert_int_equal(follow_file(fo, "a.log.1")->n, COPY_FIRST - 1);
    assert_string_equal(follow_text(fo, "a.log") + COPY_FIRST - 1, "new\n");
    follow_close(fo);
}

static void
with_the_copy_elsewhere_the_file_begins_again_and_what_is_known_to_be_lost_is_told(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    append(fo->uv, "a.log", "half a line");
    follow_settle(fo);
    copytruncate(fo, "copy");
    append(fo->uv, "a.log", "new\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    assert_int_equal(fo->copied_n, 0);
    assert_int_equal(fo->missed_n, 1);
    assert_int_equal(fo->missed_bytes, strlen("half a line"));
    assert_int_equal(follow_file(fo, "a.log")->replaced_n, 1);
    assert_string_equal(follow_text(fo, "a.log") + 3000, "new\n");
    follow_close(fo);
}

/* ---- while it is held ---- */

static void renamed_while_it_is_held_it_is_still_the_copy(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    copy_file(fo->uv, "a.log", "a.log.1");
    follow_settle(fo);
    rename_file(fo->uv, "a.log.1", "a.log.2");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log.2"), "");
    truncate_and_go_on(fo);
    follow_settle(fo);
    assert_handed_over(fo, "a.log.2", "new\n");
    follow_close(fo);
}

static void deleted_while_it_is_held_it_is_read_all_the_same(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    tail_set_times(fo->tail, HOLD_MS, TAIL_POLL_MS, HOLD_MS);
    copy_file(fo->uv, "a.log", "a.log.1");
    append(fo->uv, "a.log.1", "only in the copy\n");
    follow_settle(fo);
    struct record *copy = nth_found(fo, 1);
    delete_file(fo->uv, "a.log.1");
    follow_settle(fo);
    UVTEST_UNTIL(fo->uv, copy->lost_n == 1);
    assert_int_equal(copy->n, 3000 + 17);
    assert_int_equal(copy->ends_n, 1);
    assert_int_equal(nth_found(fo, 0)->n, 3000);
    follow_close(fo);
}

static void deleted_while_it_is_held_it_is_still_the_copy(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    copy_file(fo->uv, "a.log", "a.log.1");
    append(fo->uv, "a.log.1", "only in the copy\n");
    follow_settle(fo);
    delete_file(fo->uv, "a.log.1");
    follow_settle(fo);
    truncate_and_go_on(fo);
    follow_settle(fo);
    assert_int_equal(fo->copied_n, 1);
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_int_equal(nth_found(fo, 0)->n, 3000 + 17);
    assert_string_equal(nth_found(fo, 1)->text, "new\n");
    follow_close(fo);
}

static void when_the_file_is_gone_the_copy_is_read_from_0(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    copy_file(fo->uv, "a.log", "a.log.1");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log.1"), "");
    delete_file(fo->uv, "a.log");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    follow_settle(fo); /* it does not wait for the rest of COPY_HOLD_MS */
    assert_int_equal(follow_file(fo, "a.log.1")->n, 3000);
    assert_int_equal(fo->copied_n, 0);
    follow_close(fo);
}

/* ---- what becomes of the ties between them ---- */

static void copied_again_and_again_and_then_deleted(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    tail_set_times(fo->tail, 10, TAIL_POLL_MS, COPY_HOLD_MS);
    for (int i = 1; i <= 3; i++) {
        char name[32], text[512];
        snprintf(name, sizeof name, "a.log.%d", i);
        copytruncate(fo, name);
        snprintf(text, sizeof text, "%400d\n", i);
        append(fo->uv, "a.log", text);
        follow_settle(fo);
        assert_int_equal(fo->copied_n, i);
    }
    delete_file(fo->uv, "a.log");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    append(fo->uv, "a.log.1", "late\n");
    follow_settle(fo);
    assert_int_equal(follow_file(fo, "a.log.1")->n, 3005);
    follow_close(fo);
}

/* The copy has the name that the file had before, so each would be read after the other. */
static void renamed_copied_back_and_truncated(void **state)
{
    struct follow *fo = follow_lines_of(state, 3000);
    char *text = numbered_lines(9000);
    tail_pause(fo->tail, true);
    append(fo->uv, "a.log", text + 3000);
    rename_file(fo->uv, "a.log", "a.log.1");
    follow_settle(fo);
    copy_file(fo->uv, "a.log.1", "a.log");
    truncate_file(fo->uv, "a.log.1");
    append(fo->uv, "a.log.1", "new\n");
    follow_settle(fo);
    tail_pause(fo->tail, false);
    follow_settle(fo);
    assert_int_equal(fo->copied_n, 1);
    assert_int_equal(follow_file(fo, "a.log")->n, 9000);
    assert_string_equal(follow_text(fo, "a.log") + 3000, text + 3000);
    assert_string_equal(follow_text(fo, "a.log.1"), "new\n");
    free(text);
    follow_close(fo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(copies_that_wait_do_not_keep_their_originals_shut),
        UVTEST(copied_and_truncated_before_anyone_looks),
        UVTEST(the_same_without_any_event),
        UVTEST(a_copy_seen_while_it_grows_waits_for_the_truncation),
        UVTEST(a_copy_seen_while_it_is_still_empty_waits_for_its_bytes),
        UVTEST(a_copy_filled_while_it_is_looked_at_waits_for_the_truncation),
        UVTEST(copied_when_nothing_of_it_had_been_read),
        UVTEST(copied_when_little_of_it_had_been_read),
        UVTEST(copied_and_truncated_when_nothing_of_it_had_been_read),
        UVTEST(copied_and_truncated_when_little_of_it_had_been_read),
        UVTEST(unread_bytes_are_read_from_the_copy_and_then_the_file_from_0),
        UVTEST(the_order_holds_also_when_the_owner_has_little_room),
        UVTEST(three_times_between_two_looks_with_renamed_copies),
        UVTEST(three_times_with_files_that_begin_alike),
        UVTEST(once_a_day_with_files_that_begin_alike),
        UVTEST(a_copy_that_ends_before_read_at_was_proven_while_the_file_was_whole),
        UVTEST(a_copy_that_cannot_be_proven_is_read_again),
        UVTEST(truncated_and_refilled_longer_than_before),
        UVTEST(a_copy_is_recognised_after_a_long_pause),
        UVTEST(a_plain_copy_is_read_from_0_when_nothing_has_happened_for_a_while),
        UVTEST(the_same_beginning_is_no_copy),
        UVTEST(a_short_file_is_never_taken_for_a_copy),
        UVTEST(with_the_copy_elsewhere_the_file_begins_again_and_what_is_known_to_be_lost_is_told),
        UVTEST(renamed_while_it_is_held_it_is_still_the_copy),
        UVTEST(deleted_while_it_is_held_it_is_read_all_the_same),
        UVTEST(deleted_while_it_is_held_it_is_still_the_copy),
        UVTEST(when_the_file_is_gone_the_copy_is_read_from_0),
        UVTEST(copied_again_and_again_and_then_deleted),
        UVTEST(renamed_copied_back_and_truncated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
