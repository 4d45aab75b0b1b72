/* Descriptors are bounded: what has been read and delivered is shut, and opened again when it has
 * news. Nothing is lost by that but what nobody can open any more, and that is told. */
#include <errno.h>

#include "tests/uv/follow.h"

static struct follow *follow_few(void **state, const char *pattern, size_t open_max)
{
    return follow_open_as(*state, pattern, &(struct tail_options){.open_max = open_max});
}

static void write_many(struct follow *fo, unsigned n, const char *text)
{
    for (unsigned i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u.log", i);
        write_file(fo->uv, name, text);
    }
}

static void assert_all_have(struct follow *fo, unsigned n, const char *text)
{
    assert_int_equal(fo->found_n, n);
    for (const struct record *r = fo->records; r != NULL; r = r->next)
        assert_string_equal(r->n > 0 ? r->text : "", text);
}

static unsigned count_open(struct follow *fo)
{
    unsigned n = 0;
    for (const struct record *r = fo->records; r != NULL; r = r->next)
        n += r->file != NULL && r->file->fd >= 0;
    return n;
}

static unsigned open_most;

static enum tail_verdict watch_descriptors(void *ctx, struct tail_file *f, struct str bytes,
                                           bool at_end, size_t *used)
{
    unsigned n = count_open(ctx);
    open_most = n > open_most ? n : open_most;
    return follow_on_bytes(ctx, f, bytes, at_end, used);
}

/* A tail with room for one descriptor; a.log has been read and is shut, as z.log came after it. */
static struct follow *follow_shut(void **state, const char *pattern)
{
    struct follow *fo = follow_few(state, pattern, 1);
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    write_file(fo->uv, "z.log", "z\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    assert_int_equal(follow_file(fo, "a.log")->file->fd, -1);
    return fo;
}

/* ---- how many ---- */

static void a_thousand_files_are_read_with_ten_descriptors(void **state)
{
    struct follow *fo = follow_few(state, "*.log", 10);
    write_many(fo, 1000, "one\n");
    unsigned fds = uvtest_count_fds();
    open_most = 0;
    fo->tell = watch_descriptors;
    follow_start(fo);
    assert_all_have(fo, 1000, "one\n");
    assert_in_range(open_most, 1, 11);
    assert_int_equal(uvtest_count_fds(), fds + 10);
    append(fo->uv, "3.log", "two\n");
    append(fo->uv, "999.log", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "3.log"), "one\ntwo\n");
    assert_string_equal(follow_text(fo, "999.log"), "one\ntwo\n");
    assert_int_equal(count_open(fo), 10);
    assert_int_equal(fo->complaints_n + fo->missed_n + fo->lost_n, 0);
    assert_int_equal(uv_backend_timeout(&fo->uv->loop), -1);
    follow_close(fo);
}

static void the_least_recently_active_is_shut(void **state)
{
    struct follow *fo = follow_few(state, "*.log", 3);
    static const char *const names[] = {"a.log", "b.log", "c.log"};
    follow_start(fo);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        write_file(fo->uv, names[i], "one\n");
        follow_settle(fo);
    }
    append(fo->uv, "a.log", "two\n");
    follow_settle(fo);
    write_file(fo->uv, "d.log", "one\n");
    follow_settle(fo);
    assert_int_equal(follow_file(fo, "b.log")->file->fd, -1);
    assert_int_equal(count_open(fo), 3);
    follow_close(fo);
}

static void what_is_not_delivered_is_not_shut(void **state)
{
    struct follow *fo = follow_few(state, "*.log", 5);
    fo->unsettled = true;
    write_many(fo, 40, "one\n");
    open_most = 0;
    fo->tell = watch_descriptors;
    follow_start(fo);
    unsigned told = 0;
    for (const struct record *r = fo->records; r != NULL; r = r->next) {
        told += r->n > 0;
        assert_true(r->n == 0 || r->file->fd >= 0);
    }
    assert_in_range(told, 5, 39); /* the others wait, so that there are descriptors left */
    fo->unsettled = false;
    UVTEST_UNTIL(fo->uv, fo->journal.n == 40 * 4);
    follow_settle(fo);
    assert_all_have(fo, 40, "one\n");
    assert_int_equal(count_open(fo), 5);
    follow_close(fo);
}

static void files_that_end_in_half_a_record_do_not_use_up_the_descriptors(void **state)
{
    struct follow *fo = follow_few(state, "*.log", 5);
    write_many(fo, 200, "one\nhalf");
    open_most = 0;
    fo->tell = watch_descriptors;
    follow_start(fo);
    assert_all_have(fo, 200, "one\n");
    assert_in_range(open_most, 1, 11);
    append(fo->uv, "0.log", " a line\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "0.log"), "one\nhalf a line\n");
    assert_int_equal(follow_file(fo, "1.log")->file->fd, -1);
    delete_file(fo->uv, "1.log");
    follow_settle(fo);
    assert_int_equal(fo->missed_n, 1);
    assert_int_equal(fo->missed_bytes, 4);
    assert_int_equal(fo->lost_n, 1);
    follow_close(fo);
}

static void the_limit_may_change(void **state)
{
    struct follow *fo = follow_few(state, "*.log", 0);
    write_many(fo, 20, "one\n");
    follow_start(fo);
    assert_int_equal(count_open(fo), 20);
    tail_set_open_max(fo->tail, 4);
    assert_int_equal(count_open(fo), 4);
    tail_set_open_max(fo->tail, 0); /* no limit, as at the start */
    for (unsigned i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u.log", i);
        append(fo->uv, name, "two\n");
    }
    follow_settle(fo);
    assert_all_have(fo, 20, "one\ntwo\n");
    assert_int_equal(count_open(fo), 20);
    follow_close(fo);
}

/* ---- what happens to a file that is shut ---- */

static void it_is_opened_again_for_what_is_appended(void **state)
{
    struct follow *fo = follow_shut(state, "*.log");
    append(fo->uv, "a.log", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\ntwo\n");
    assert_true(follow_file(fo, "a.log")->file->fd >= 0);
    assert_int_equal(follow_file(fo, "z.log")->file->fd, -1);
    follow_close(fo);
}

static void renamed_within_the_glob_it_goes_on(void **state)
{
    struct follow *fo = follow_shut(state, "*.log*");
    append(fo->uv, "a.log", "two\n");
    rename_file(fo->uv, "a.log", "a.log.1");
    write_file(fo->uv, "a.log", "new\n");
    append(fo->uv, "a.log.1", "three\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log.1"), "one\ntwo\nthree\n");
    assert_string_equal(follow_text(fo, "a.log"), "new\n");
    assert_int_equal(follow_file(fo, "a.log.1")->renamed_n, 1);
    assert_int_equal(fo->found_n, 3);
    assert_int_equal(fo->missed_n + fo->lost_n, 0);
    follow_close(fo);
}

static void renamed_out_of_the_glob_it_is_drained_late_bytes_included(void **state)
{
    struct follow *fo = follow_shut(state, "*.log");
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    int writer = open_writer(fo->uv, "a.log");
    say(writer, "two\n");
    rename_file(fo->uv, "a.log", "a.old");
    follow_settle(fo);
    say(writer, "late\n");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\nlate\n");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_int_equal(nth_found(fo, 0)->ends_n, 1);
    assert_int_equal(fo->missed_n, 0);
    close(writer);
    follow_close(fo);
}

static void packed_under_a_new_name_it_is_drained(void **state)
{
    struct follow *fo = follow_shut(state, "*.log*");
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    append(fo->uv, "a.log", "two\n");
    rename_file(fo->uv, "a.log", "a.log.gz");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\n");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_int_equal(fo->missed_n, 0);
    assert_int_equal(fo->found_n, 2);
    follow_close(fo);
}

static void moved_to_where_nobody_looks_with_news_it_is_missed(void **state)
{
    struct follow *fo = follow_shut(state, "*.log");
    make_dir(fo->uv, "elsewhere");
    follow_settle(fo);
    append(fo->uv, "a.log", "two\n");
    rename_file(fo->uv, "a.log", "elsewhere/a.log");
    follow_settle(fo);
    assert_int_equal(fo->missed_n, 1);
    assert_int_equal(fo->lost_n, 1);
    follow_close(fo);
}

static void deleted_without_news_nothing_is_missed(void **state)
{
    struct follow *fo = follow_shut(state, "*.log");
    delete_file(fo->uv, "a.log");
    follow_settle(fo);
    assert_int_equal(fo->missed_n, 0);
    assert_int_equal(fo->lost_n, 1);
    follow_close(fo);
}

static void deleted_with_news_that_is_told(void **state)
{
    struct follow *fo = follow_shut(state, "*.log");
    append(fo->uv, "a.log", "two\n");
    delete_file(fo->uv, "a.log");
    follow_settle(fo);
    assert_int_equal(fo->missed_n, 1);
    assert_int_equal(fo->lost_n, 1);
    write_file(fo->uv, "a.log", "new\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "new\n");
    assert_int_equal(fo->missed_n, 1);
    follow_close(fo);
}

static void another_file_at_its_place_is_another_file(void **state)
{
    struct follow *fo = follow_shut(state, "*.log");
    write_file(fo->uv, "new", "one\ntwo\n");
    rename_file(fo->uv, "new", "a.log");
    follow_settle(fo);
    assert_int_equal(nth_found(fo, 0)->lost_n, 1);
    assert_string_equal(nth_found(fo, 0)->text, "one\n");
    assert_string_equal(follow_text(fo, "a.log"), "one\ntwo\n");
    assert_int_equal(fo->found_n, 3);
    follow_close(fo);
}

/* No event told of it: the descriptor is opened for other news, and is another inode's. */
static void another_file_at_its_place_is_noticed_when_it_is_opened(void **state)
{
    struct follow *fo = follow_shut(state, "*.log");
    fo->deaf = true;
    write_file(fo->uv, "new", "one\nsecret\n");
    rename_file(fo->uv, "new", "a.log");
    follow_settle(fo);
    fo->deaf = false;
    append(fo->uv, "a.log", "two\n");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "one\n");
    assert_int_equal(nth_found(fo, 0)->lost_n, 1);
    assert_string_equal(follow_text(fo, "a.log"), "one\nsecret\ntwo\n");
    follow_close(fo);
}

static void truncated_and_refilled_it_begins_again(void **state)
{
    struct follow *fo = follow_shut(state, "*.log");
    write_file(fo->uv, "a.log", "two\nthree\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\ntwo\nthree\n");
    assert_int_equal(follow_file(fo, "a.log")->replaced_n, 1);
    assert_int_equal(fo->found_n, 2);
    follow_close(fo);
}

static void copied_and_truncated_the_copy_is_recognised(void **state)
{
    struct follow *fo = follow_few(state, "*.log*", 1);
    char *text = numbered_lines(3000);
    write_file(fo->uv, "a.log", text);
    follow_start(fo);
    write_file(fo->uv, "z.log", "z\n");
    follow_settle(fo);
    assert_int_equal(follow_file(fo, "a.log")->file->fd, -1);
    append(fo->uv, "a.log", "unread\n");
    copy_file(fo->uv, "a.log", "a.log.1");
    truncate_file(fo->uv, "a.log");
    append(fo->uv, "a.log", "new\n");
    follow_settle(fo);
    assert_int_equal(fo->copied_n, 1);
    assert_int_equal(follow_file(fo, "a.log.1")->n, 3007);
    assert_string_equal(follow_text(fo, "a.log"), "new\n");
    free(text);
    follow_close(fo);
}

/* Events are lost; a scan finds the names changed, and those that are new are older by their
 * times. */
static void rotated_unseen_every_file_is_found_again_by_its_inode(void **state)
{
    struct follow *fo = follow_few(state, "a.log*", 1);
    write_file(fo->uv, "a.log.1", "oldest\n");
    write_file(fo->uv, "a.log", "old\n");
    follow_start(fo);
    fo->deaf = true;
    append(fo->uv, "a.log.1", "oldest two\n");
    rename_file(fo->uv, "a.log.1", "a.log.2");
    rename_file(fo->uv, "a.log", "a.log.1");
    write_file(fo->uv, "a.log", "new\n");
    append(fo->uv, "a.log.1", "old two\n");
    set_age(fo->uv, "a.log", 300);
    set_age(fo->uv, "a.log.1", 200);
    set_age(fo->uv, "a.log.2", 100);
    follow_settle(fo);
    fo->deaf = false;
    tail_scan(fo->tail);
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log.2"), "oldest\noldest two\n");
    assert_string_equal(follow_text(fo, "a.log.1"), "old\nold two\n");
    assert_string_equal(follow_text(fo, "a.log"), "new\n");
    assert_int_equal(fo->found_n, 3);
    assert_int_equal(fo->missed_n + fo->lost_n, 0);
    follow_close(fo);
}

static void what_is_written_through_a_link_is_heard(void **state)
{
    struct follow *fo = follow_few(state, "*.log", 1);
    make_dir(fo->uv, "target");
    write_file(fo->uv, "target/a", "one\n");
    link_file(fo->uv, "target/a", "a.log");
    follow_start(fo);
    write_file(fo->uv, "z.log", "z\n");
    follow_settle(fo);
    assert_int_equal(follow_file(fo, "a.log")->file->fd, -1);
    rename_file(fo->uv, "a.log", "b.log");
    follow_settle(fo);
    append(fo->uv, "z.log", "z\n");
    follow_settle(fo);
    assert_int_equal(follow_file(fo, "b.log")->file->fd, -1);
    append(fo->uv, "target/a", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "b.log"), "one\ntwo\n");
    follow_close(fo);
}

/* ---- positions ---- */

static void its_position_is_known_as_far_as_it_was_read(void **state)
{
    struct follow *fo = follow_shut(state, "*.log");
    struct tail_file *f = follow_file(fo, "a.log")->file;
    struct position at = {0}, open_at = {0};
    char c;
    assert_int_equal(tail_pread(f, &c, 1, 0), -1);
    assert_int_equal(tail_size(f), 4);
    assert_false(tail_position(f, 3, &at));
    assert_int_equal(at.inode, 0);
    assert_true(tail_position(f, 4, &at));
    assert_int_equal(at.offset, 4);
    assert_int_equal(at.inode, f->inode);
    append(fo->uv, "a.log", "half");
    follow_settle(fo);
    assert_true(f->fd >= 0);
    assert_true(tail_position(f, 4, &open_at));
    assert_true(fingerprint_eq(&at.tail, &open_at.tail));
    assert_true(tail_is(f, &at));
    follow_close(fo);
}

static void it_can_be_rewound(void **state)
{
    struct follow *fo = follow_shut(state, "*.log");
    struct tail_file *f = follow_file(fo, "a.log")->file;
    struct position at;
    assert_true(tail_rewind(f, 0, &at));
    assert_int_equal(at.offset, 0);
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\none\n");
    follow_close(fo);
}

/* ---- no descriptors at all ---- */

#define LIMIT 96

static void limit_descriptors(rlim_t n)
{
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    r.rlim_cur = n;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
}

static rlim_t descriptors_limit(void)
{
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    return r.rlim_cur;
}

static void assert_others_have_some_left(void)
{
    int fds[LIMIT / 4];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        assert_true((fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
}

static void when_the_process_has_no_more_files_that_were_read_are_shut(void **state)
{
    struct follow *fo = follow_few(state, "*.log", 0);
    write_many(fo, 300, "one\n");
    rlim_t before = descriptors_limit();
    limit_descriptors(LIMIT);
    follow_start(fo);
    assert_all_have(fo, 300, "one\n");
    for (int i = 0; i < 300; i += 60) {
        char name[32];
        snprintf(name, sizeof name, "%d.log", i);
        append(fo->uv, name, "two\n");
        follow_settle(fo);
        assert_string_equal(follow_text(fo, name), "one\ntwo\n");
    }
    assert_others_have_some_left();
    assert_int_equal(fo->complaints_n + fo->missed_n + fo->lost_n, 0);
    assert_int_equal(uv_backend_timeout(&fo->uv->loop), -1);
    limit_descriptors(before);
    follow_close(fo);
}

static void when_none_can_be_shut_it_waits_says_so_once_and_recovers(void **state)
{
    struct follow *fo = follow_few(state, "*.log", 0);
    fo->unsettled = true;
    write_many(fo, 300, "one\n");
    rlim_t before = descriptors_limit();
    limit_descriptors(LIMIT);
    follow_start(fo);
    assert_in_range(fo->journal.n, 4, 4 * LIMIT);
    assert_others_have_some_left();
    assert_int_equal(fo->complaints_n, 1);
    assert_non_null(strstr(fo->complaints[0], strerror(EMFILE)));
    fo->unsettled = false;
    UVTEST_UNTIL(fo->uv, fo->journal.n == 300 * 4);
    follow_settle(fo);
    assert_all_have(fo, 300, "one\n");
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1); /* and does not go on polling */
    limit_descriptors(before);
    follow_close(fo);
}

static void once_reads_everything_also_with_few_descriptors(void **state)
{
    struct follow *fo = follow_open_once(*state, "*.log");
    write_many(fo, 300, "one\nhalf");
    rlim_t before = descriptors_limit();
    limit_descriptors(LIMIT);
    follow_start(fo);
    UVTEST_UNTIL(fo->uv, tail_finished(fo->tail));
    assert_all_have(fo, 300, "one\nhalf");
    assert_false(tail_is_incomplete(fo->tail));
    limit_descriptors(before);
    follow_close(fo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(a_thousand_files_are_read_with_ten_descriptors),
        UVTEST(the_least_recently_active_is_shut),
        UVTEST(what_is_not_delivered_is_not_shut),
        UVTEST(files_that_end_in_half_a_record_do_not_use_up_the_descriptors),
        UVTEST(the_limit_may_change),
        UVTEST(it_is_opened_again_for_what_is_appended),
        UVTEST(renamed_within_the_glob_it_goes_on),
        UVTEST(renamed_out_of_the_glob_it_is_drained_late_bytes_included),
        UVTEST(packed_under_a_new_name_it_is_drained),
        UVTEST(moved_to_where_nobody_looks_with_news_it_is_missed),
        UVTEST(deleted_without_news_nothing_is_missed),
        UVTEST(deleted_with_news_that_is_told),
        UVTEST(another_file_at_its_place_is_another_file),
        UVTEST(another_file_at_its_place_is_noticed_when_it_is_opened),
        UVTEST(truncated_and_refilled_it_begins_again),
        UVTEST(copied_and_truncated_the_copy_is_recognised),
        UVTEST(rotated_unseen_every_file_is_found_again_by_its_inode),
        UVTEST(what_is_written_through_a_link_is_heard),
        UVTEST(its_position_is_known_as_far_as_it_was_read),
        UVTEST(it_can_be_rewound),
        UVTEST(when_the_process_has_no_more_files_that_were_read_are_shut),
        UVTEST(when_none_can_be_shut_it_waits_says_so_once_and_recovers),
        UVTEST(once_reads_everything_also_with_few_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
