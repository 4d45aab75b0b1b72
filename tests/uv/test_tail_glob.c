/* Which files are followed: deep globs, exclusions, and links, whatever happens on the way to
 * them. */
#include <errno.h>

#include "tests/uv/follow.h"

static struct follow *follow_pattern(void **state, const char *pattern)
{
    return follow_open(*state, pattern);
}

static void make_dirs(struct uvtest *t, const char *path)
{
    char part[256];
    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        snprintf(part, sizeof part, "%.*s", (int)i, path);
        assert_true(mkdir(uvtest_path(t, part), 0755) == 0 || errno == EEXIST);
    }
}

/* As `ln -sfn` does it: never a moment without a link. */
static void switch_link(struct uvtest *t, const char *target, const char *name)
{
    link_file(t, target, "link.new");
    rename_file(t, "link.new", name);
}

/* ---- ** ---- */

static void two_stars_enter_every_directory_but_hidden_ones(void **state)
{
    struct follow *fo = follow_pattern(state, "**/*.log");
    make_dirs(fo->uv, "x/y/z");
    make_dirs(fo->uv, "x/.hidden/y");
    write_file(fo->uv, "a.log", "one\n");
    write_file(fo->uv, "x/a.log", "two\n");
    write_file(fo->uv, "x/y/z/a.log", "three\n");
    write_file(fo->uv, "x/y/z/a.txt", "not ours\n");
    write_file(fo->uv, "x/.hidden/a.log", "not ours\n");
    write_file(fo->uv, "x/.hidden/y/a.log", "not ours\n");
    write_file(fo->uv, "x/.a.log", "not ours\n");
    follow_start(fo);
    append(fo->uv, "x/y/z/a.log", "four\n");
    append(fo->uv, "x/.hidden/y/a.log", "not ours\n");
    write_file(fo->uv, "x/y/b.log", "five\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    assert_string_equal(follow_text(fo, "x/a.log"), "two\n");
    assert_string_equal(follow_text(fo, "x/y/z/a.log"), "three\nfour\n");
    assert_string_equal(follow_text(fo, "x/y/b.log"), "five\n");
    assert_int_equal(fo->found_n, 4);
    follow_close(fo);
}

static void directories_that_appear_deep_below_are_entered(void **state)
{
    struct follow *fo = follow_pattern(state, "logs/**/*.log");
    follow_start(fo);
    make_dirs(fo->uv, "logs/a/b/c/d");
    write_file(fo->uv, "logs/a/b/c/d/1.log", "one\n");
    follow_settle(fo);
    append(fo->uv, "logs/a/b/c/d/1.log", "two\n");
    make_dirs(fo->uv, "logs/a/b/x/y");
    write_file(fo->uv, "logs/a/b/x/y/2.log", "three\n");
    follow_settle(fo);
    append(fo->uv, "logs/a/b/x/y/2.log", "four\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "logs/a/b/c/d/1.log"), "one\ntwo\n");
    assert_string_equal(follow_text(fo, "logs/a/b/x/y/2.log"), "three\nfour\n");
    follow_close(fo);
}

static void a_tree_that_is_moved_goes_on_under_its_new_name(void **state)
{
    struct follow *fo = follow_pattern(state, "logs/**/*.log");
    make_dirs(fo->uv, "logs/a/b");
    make_dirs(fo->uv, "ready/c");
    write_file(fo->uv, "logs/a/b/1.log", "one\n");
    write_file(fo->uv, "ready/c/2.log", "two\n");
    follow_start(fo);
    rename_file(fo->uv, "logs/a", "logs/moved");
    rename_file(fo->uv, "ready", "logs/in");
    follow_settle(fo);
    append(fo->uv, "logs/moved/b/1.log", "three\n");
    append(fo->uv, "logs/in/c/2.log", "four\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "logs/moved/b/1.log"), "one\nthree\n");
    assert_string_equal(follow_text(fo, "logs/in/c/2.log"), "two\nfour\n");
    assert_int_equal(follow_file(fo, "logs/moved/b/1.log")->renamed_n, 1);
    assert_int_equal(fo->found_n, 2);
    follow_close(fo);
}

static void a_tree_that_becomes_hidden_is_drained_and_one_that_appears_is_entered(void **state)
{
    struct follow *fo = follow_pattern(state, "**/*.log");
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    make_dirs(fo->uv, "a");
    make_dirs(fo->uv, ".b");
    write_file(fo->uv, "a/1.log", "one\n");
    write_file(fo->uv, ".b/2.log", "two\n");
    follow_start(fo);
    append(fo->uv, "a/1.log", "three\n");
    rename_file(fo->uv, "a", ".a");
    rename_file(fo->uv, ".b", "b");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_string_equal(nth_found(fo, 0)->text, "one\nthree\n");
    assert_string_equal(follow_text(fo, "b/2.log"), "two\n");
    follow_close(fo);
}

static void two_stars_do_not_go_round_in_links(void **state)
{
    struct follow *fo = follow_pattern(state, "**/*.log");
    make_dirs(fo->uv, "a");
    link_file(fo->uv, "..", "a/up");
    link_file(fo->uv, ".", "here");
    write_file(fo->uv, "a/1.log", "one\n");
    follow_start(fo);
    assert_int_equal(fo->found_n, 1);
    assert_int_equal(fo->complaints_n, 0);
    follow_close(fo);
}

/* ---- braces and exclusions ---- */

static void braces_are_several_globs_in_one(void **state)
{
    struct follow *fo = follow_pattern(state, "{app,web/x}/[ab]*.{log,txt}");
    make_dirs(fo->uv, "app");
    write_file(fo->uv, "app/a1.log", "one\n");
    write_file(fo->uv, "app/c1.log", "not ours\n");
    follow_start(fo);
    make_dirs(fo->uv, "web/x");
    write_file(fo->uv, "web/x/b.txt", "two\n");
    write_file(fo->uv, "web/a.txt", "not ours\n");
    follow_settle(fo);
    append(fo->uv, "web/x/b.txt", "three\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "app/a1.log"), "one\n");
    assert_string_equal(follow_text(fo, "web/x/b.txt"), "two\nthree\n");
    assert_int_equal(fo->found_n, 2);
    follow_close(fo);
}

static void a_file_that_two_alternatives_match_is_followed_once(void **state)
{
    struct follow *fo = follow_pattern(state, "{a*,*.log,**/a.log}");
    write_file(fo->uv, "a.log", "one\n");
    follow_start(fo);
    append(fo->uv, "a.log", "two\n");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    assert_string_equal(follow_text(fo, "a.log"), "one\ntwo\n");
    follow_close(fo);
}

static void what_is_excluded_is_never_found_and_drained_when_it_is_renamed_so(void **state)
{
    char below[128];
    snprintf(below, sizeof below, "%s/x/private/**", uvtest_dir(*state));
    char tmp[] = "*.{tmp,bak}.log";
    char *excludes[] = {tmp, below};
    struct follow *fo = follow_open_as(
        *state, "**/*.log", &(struct tail_options){.excludes = excludes, .excludes_n = 2});
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    make_dirs(fo->uv, "x/private/deep");
    write_file(fo->uv, "x/a.log", "one\n");
    write_file(fo->uv, "x/a.tmp.log", "not ours\n");
    write_file(fo->uv, "x/private/deep/a.log", "not ours\n");
    follow_start(fo);
    write_file(fo->uv, "x/b.tmp.log", "not ours\n");
    write_file(fo->uv, "x/private/b.log", "not ours\n");
    append(fo->uv, "x/a.log", "two\n");
    rename_file(fo->uv, "x/a.log", "x/a.bak.log");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    assert_int_equal(fo->found_n, 1);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\n");
    rename_file(fo->uv, "x/b.tmp.log", "x/b.log");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "x/b.log"), "not ours\n");
    follow_close(fo);
}

/* ---- links on the way ---- */

static void a_wildcard_enters_linked_directories(void **state)
{
    struct follow *fo = follow_pattern(state, "d*/a.log");
    make_dirs(fo->uv, "real/one");
    make_dirs(fo->uv, "real/two");
    write_file(fo->uv, "real/one/a.log", "one\n");
    write_file(fo->uv, "real/two/a.log", "two\n");
    link_file(fo->uv, "real/one", "d1");
    follow_start(fo);
    assert_string_equal(follow_text(fo, "d1/a.log"), "one\n");
    link_file(fo->uv, "real/two", "d2"); /* a link that appears */
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "d2/a.log"), "two\n");
    append(fo->uv, "real/one/a.log", "three\n");
    append(fo->uv, "real/two/a.log", "four\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "d1/a.log"), "one\nthree\n");
    assert_string_equal(follow_text(fo, "d2/a.log"), "two\nfour\n");
    follow_close(fo);
}

static void switched(void **state, const char *pattern, bool atomically)
{
    struct follow *fo = follow_pattern(state, pattern);
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    make_dirs(fo->uv, "releases/1");
    make_dirs(fo->uv, "releases/2");
    write_file(fo->uv, "releases/1/a.log", "one\n");
    write_file(fo->uv, "releases/2/a.log", "two\n");
    link_file(fo->uv, "releases/1", "current");
    follow_start(fo);
    assert_int_equal(fo->found_n, 1);
    append(fo->uv, "releases/1/a.log", "last\n");
    if (!atomically) {
        delete_file(fo->uv, "current");
        follow_settle(fo);
        link_file(fo->uv, "releases/2", "current");
    } else {
        switch_link(fo->uv, "releases/2", "current");
    }
    follow_settle(fo);
    append(fo->uv, "releases/2/a.log", "three\n");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "one\nlast\n");
    assert_string_equal(follow_text(fo, "current/a.log"), "two\nthree\n");
    assert_int_equal(fo->found_n, 2);
    assert_string_equal(fo->journal.text, "one\nlast\ntwo\nthree\n");
    UVTEST_UNTIL(fo->uv, fo->lost_n == 1);
    follow_close(fo);
}

static void a_link_on_the_way_is_switched(void **state)
{
    switched(state, "current/*.log", true);
}

static void a_link_on_the_way_is_removed_and_made_anew(void **state)
{
    switched(state, "current/*.log", false);
}

static void a_link_that_a_wildcard_matches_is_switched(void **state)
{
    switched(state, "curr*/a.log", true);
}

static void a_link_on_the_way_appears(void **state)
{
    struct follow *fo = follow_pattern(state, "x/current/*.log");
    make_dirs(fo->uv, "x/1");
    write_file(fo->uv, "x/1/a.log", "one\n");
    follow_start(fo);
    assert_int_equal(fo->found_n, 0);
    link_file(fo->uv, "1", "x/current");
    follow_settle(fo);
    append(fo->uv, "x/1/a.log", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "x/current/a.log"), "one\ntwo\n");
    follow_close(fo);
}

/* ---- directories above ---- */

static void a_directory_above_is_moved_away_and_made_again(void **state)
{
    struct follow *fo = follow_pattern(state, "x/y/logs/*.log");
    make_dirs(fo->uv, "x/y/logs");
    int writer = open_writer(fo->uv, "x/y/logs/a.log");
    say(writer, "one\n");
    follow_start(fo);
    say(writer, "two\n");
    rename_file(fo->uv, "x", "gone");
    follow_settle(fo);
    say(writer, "three\n");
    make_dirs(fo->uv, "x/y/logs");
    write_file(fo->uv, "x/y/logs/a.log", "new\n");
    follow_settle(fo);
    say(writer, "four\n");
    append(fo->uv, "x/y/logs/a.log", "newer\n");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\nthree\nfour\n");
    assert_string_equal(nth_found(fo, 1)->text, "new\nnewer\n");
    assert_int_equal(fo->found_n, 2);
    close(writer);
    follow_close(fo);
}

static void a_directory_above_is_moved_away_and_back(void **state)
{
    struct follow *fo = follow_pattern(state, "x/logs/*.log");
    make_dirs(fo->uv, "x/logs");
    write_file(fo->uv, "x/logs/a.log", "one\n");
    follow_start(fo);
    rename_file(fo->uv, "x", "gone");
    follow_settle(fo);
    append(fo->uv, "gone/logs/a.log", "two\n");
    rename_file(fo->uv, "gone", "x");
    follow_settle(fo);
    append(fo->uv, "x/logs/a.log", "three\n");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "one\ntwo\nthree\n");
    assert_int_equal(fo->found_n, 1);
    follow_close(fo);
}

/* ---- links to files ---- */

/* As Kubernetes has it: containers/a.log is a link to pods/a/0.log, which is one to the file. */
static struct follow *follow_pods(void **state)
{
    struct follow *fo = follow_pattern(state, "containers/*.log");
    make_dirs(fo->uv, "containers");
    make_dirs(fo->uv, "pods/a");
    make_dirs(fo->uv, "data/x");
    write_file(fo->uv, "data/x/json.log", "one\n");
    link_file(fo->uv, "../../data/x/json.log", "pods/a/0.log");
    link_file(fo->uv, "../pods/a/0.log", "containers/a.log");
    follow_start(fo);
    assert_string_equal(follow_text(fo, "containers/a.log"), "one\n");
    return fo;
}

static void rotated_where_the_links_lead(void **state)
{
    struct follow *fo = follow_pods(state);
    for (int i = 0; i < 3; i++) {
        append(fo->uv, "data/x/json.log", "last\n");
        rename_file(fo->uv, "data/x/json.log", "data/x/json.log.1");
        write_file(fo->uv, "data/x/json.log", "new\n");
        follow_settle(fo);
        append(fo->uv, "data/x/json.log", "newer\n");
        follow_settle(fo);
    }
    assert_int_equal(fo->found_n, 4);
    assert_string_equal(fo->journal.text,
                        "one\nlast\nnew\nnewer\nlast\nnew\nnewer\nlast\nnew\nnewer\n");
    follow_close(fo);
}

static void rotated_where_the_links_lead_with_a_gap(void **state)
{
    struct follow *fo = follow_pods(state);
    rename_file(fo->uv, "data/x/json.log", "data/x/json.log.1");
    follow_settle(fo);
    append(fo->uv, "data/x/json.log.1", "late\n");
    follow_settle(fo);
    write_file(fo->uv, "data/x/json.log", "new\n");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "one\nlate\n");
    assert_string_equal(follow_text(fo, "containers/a.log"), "new\n");
    follow_close(fo);
}

static void a_link_between_is_switched(void **state)
{
    struct follow *fo = follow_pods(state);
    write_file(fo->uv, "data/x/other.log", "two\n");
    switch_link(fo->uv, "../../data/x/other.log", "pods/a/0.log");
    follow_settle(fo);
    append(fo->uv, "data/x/other.log", "three\n");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "one\n");
    assert_string_equal(follow_text(fo, "containers/a.log"), "two\nthree\n");
    follow_close(fo);
}

/* As in a mounted configuration: the file's link leads through a directory that is a link. */
static void a_directory_between_is_switched(void **state)
{
    struct follow *fo = follow_pattern(state, "v/*.log");
    make_dirs(fo->uv, "v/..1");
    make_dirs(fo->uv, "v/..2");
    write_file(fo->uv, "v/..1/a.log", "one\n");
    write_file(fo->uv, "v/..2/a.log", "two\n");
    link_file(fo->uv, "..1", "v/..data");
    link_file(fo->uv, "..data/a.log", "v/a.log");
    follow_start(fo);
    assert_string_equal(follow_text(fo, "v/a.log"), "one\n");
    switch_link(fo->uv, "..2", "v/..data");
    follow_settle(fo);
    append(fo->uv, "v/..2/a.log", "three\n");
    follow_settle(fo);
    assert_string_equal(nth_found(fo, 0)->text, "one\n");
    assert_string_equal(follow_text(fo, "v/a.log"), "two\nthree\n");
    follow_close(fo);
}

static void a_dangling_link_becomes_whole_step_by_step(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    link_file(fo->uv, "x/second", "a.log");
    follow_start(fo);
    make_dir(fo->uv, "x");
    follow_settle(fo);
    link_file(fo->uv, "../y/./z/third", "x/second");
    follow_settle(fo);
    make_dir(fo->uv, "y");
    follow_settle(fo);
    make_dir(fo->uv, "y/z");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 0);
    write_file(fo->uv, "y/z/third", "one\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\n");
    append(fo->uv, "y/z/third", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "a.log"), "one\ntwo\n");
    assert_int_equal(fo->complaints_n, 0);
    follow_close(fo);
}

static void a_link_that_appears_dangling_is_waited_for(void **state)
{
    struct follow *fo = follow_pattern(state, "logs/*.log");
    make_dir(fo->uv, "logs");
    make_dir(fo->uv, "data");
    follow_start(fo);
    char *target = strdup(uvtest_path(fo->uv, "data/a"));
    link_file(fo->uv, target, "logs/a.log");
    free(target);
    follow_settle(fo);
    write_file(fo->uv, "data/a", "one\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "logs/a.log"), "one\n");
    follow_close(fo);
}

static void of_two_links_to_a_file_the_second_goes_on_when_the_first_is_removed(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    tail_set_times(fo->tail, 20, TAIL_POLL_MS, COPY_HOLD_MS);
    make_dir(fo->uv, "data");
    write_file(fo->uv, "data/a", "one\n");
    link_file(fo->uv, "data/a", "a.log");
    follow_start(fo);
    link_file(fo->uv, "data/a", "b.log");
    follow_settle(fo);
    assert_int_equal(fo->found_n, 1);
    delete_file(fo->uv, "a.log");
    follow_settle(fo);
    append(fo->uv, "data/a", "two\n");
    follow_settle(fo);
    assert_string_equal(follow_text(fo, "b.log"), "one\ntwo\n");
    UVTEST_UNTIL(fo->uv, active_handles(fo->uv) == 1); /* it is no orphan */
    assert_int_equal(fo->lost_n, 0);
    follow_close(fo);
}

static void many_dangling_links_are_no_harm(void **state)
{
    struct follow *fo = follow_pattern(state, "*.log");
    make_dir(fo->uv, "data");
    for (int i = 0; i < 300; i++) {
        char name[32], target[32];
        snprintf(name, sizeof name, "%d.log", i);
        snprintf(target, sizeof target, "data/%d", i);
        link_file(fo->uv, target, name);
    }
    follow_start(fo);
    for (int i = 0; i < 300; i += 13) {
        char name[32];
        snprintf(name, sizeof name, "data/%d", i);
        write_file(fo->uv, name, "x\n");
    }
    follow_settle(fo);
    assert_int_equal(fo->found_n, 24);
    assert_int_equal(fo->journal.n, 48);
    follow_close(fo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(two_stars_enter_every_directory_but_hidden_ones),
        UVTEST(directories_that_appear_deep_below_are_entered),
        UVTEST(a_tree_that_is_moved_goes_on_under_its_new_name),
        UVTEST(a_tree_that_becomes_hidden_is_drained_and_one_that_appears_is_entered),
        UVTEST(two_stars_do_not_go_round_in_links),
        UVTEST(braces_are_several_globs_in_one),
        UVTEST(a_file_that_two_alternatives_match_is_followed_once),
        UVTEST(what_is_excluded_is_never_found_and_drained_when_it_is_renamed_so),
        UVTEST(a_wildcard_enters_linked_directories),
        UVTEST(a_link_on_the_way_is_switched),
        UVTEST(a_link_on_the_way_is_removed_and_made_anew),
        UVTEST(a_link_that_a_wildcard_matches_is_switched),
        UVTEST(a_link_on_the_way_appears),
        UVTEST(a_directory_above_is_moved_away_and_made_again),
        UVTEST(a_directory_above_is_moved_away_and_back),
        UVTEST(rotated_where_the_links_lead),
        UVTEST(rotated_where_the_links_lead_with_a_gap),
        UVTEST(a_link_between_is_switched),
        UVTEST(a_directory_between_is_switched),
        UVTEST(a_dangling_link_becomes_whole_step_by_step),
        UVTEST(a_link_that_appears_dangling_is_waited_for),
        UVTEST(of_two_links_to_a_file_the_second_goes_on_when_the_first_is_removed),
        UVTEST(many_dangling_links_are_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
