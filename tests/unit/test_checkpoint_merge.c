#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/position.h"
#include "lib/rng.h"

/* A checkpoint that owns what is in it, built one file at a time. Of a file only the id, the path
 * and the offset differ. */
static void put(struct checkpoint *c, const char *source, uint64_t id, const char *path,
                uint64_t offset)
{
    size_t i = 0;
    while (i < c->sources_n && strcmp(c->sources[i].name, source) != 0)
        i++;
    if (i == c->sources_n) {
        c->sources = realloc(c->sources, ++c->sources_n * sizeof *c->sources);
        assert_non_null(c->sources);
        c->sources[i] = (struct checkpoint_source){.name = strdup(source)};
    }
    struct checkpoint_source *s = &c->sources[i];
    if (path == NULL)
        return;
    s->files = realloc(s->files, (s->files_n + 1) * sizeof *s->files);
    assert_non_null(s->files);
    s->files[s->files_n++] = (struct checkpoint_file){
        .id = id, .path = strdup(path), .at = {.offset = offset}, .seen_s = offset + 1};
}

static struct checkpoint a_whole_one(void)
{
    struct checkpoint c = {.generation = 5};
    put(&c, "a", 1, "/a1", 10);
    put(&c, "a", 2, "/a2", 20);
    put(&c, "b", 7, "/b7", 70);
    put(&c, "b", 3, "/b3", 30);
    put(&c, "empty", 0, NULL, 0);
    return c;
}

static void assert_is(const struct checkpoint *c, const char *want)
{
    char text[1000];
    size_t n = (size_t)snprintf(text, sizeof text, "%llu:", (unsigned long long)c->generation);
    for (size_t i = 0; i < c->sources_n; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, " %s(", c->sources[i].name);
        for (size_t k = 0; k < c->sources[i].files_n; k++) {
            const struct checkpoint_file *f = &c->sources[i].files[k];
            assert_int_equal(f->seen_s, f->at.offset + 1); /* an entry is taken as one */
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%llu%s@%llu", k > 0 ? " " : "",
                                  (unsigned long long)f->id, f->path,
                                  (unsigned long long)f->at.offset);
        }
        n += (size_t)snprintf(text + n, sizeof text - n, ")");
    }
    assert_true(n < sizeof text);
    assert_string_equal(text, want);
}

static void merge(struct checkpoint *whole, struct checkpoint *recent)
{
    assert_true(checkpoint_merge(whole, recent));
    assert_null(recent->sources);
    assert_int_equal(recent->sources_n, 0);
}

static void recent_entries_take_the_place_of_those_with_their_id(void **state)
{
    (void)state;
    struct checkpoint whole = a_whole_one(), recent = {.generation = 5};
    put(&recent, "b", 3, "/b3.1", 33);
    put(&recent, "a", 1, "/a1", 11);
    merge(&whole, &recent);
    assert_is(&whole, "5: a(1/a1@11 2/a2@20) b(7/b7@70 3/b3.1@33) empty()");
    checkpoint_release(&whole);
}

static void new_entries_go_to_the_end_of_their_source(void **state)
{
    (void)state;
    struct checkpoint whole = a_whole_one(), recent = {.generation = 5};
    put(&recent, "a", 9, "/a9", 90);
    put(&recent, "a", 2, "/a2", 21);
    put(&recent, "a", 8, "/a8", 80);
    put(&recent, "empty", 10, "/e", 100);
    put(&recent, "new", 11, "/n", 110);
    merge(&whole, &recent);
    assert_is(&whole, "5: a(1/a1@10 2/a2@21 9/a9@90 8/a8@80) b(7/b7@70 3/b3@30) empty(10/e@100) "
                      "new(11/n@110)");
    checkpoint_release(&whole);
}

static void an_entry_may_go_back(void **state)
{
    (void)state;
    struct checkpoint whole = a_whole_one(), recent = {.generation = 5};
    put(&recent, "a", 2, "/a2", 0); /* truncated since */
    merge(&whole, &recent);
    assert_is(&whole, "5: a(1/a1@10 2/a2@0) b(7/b7@70 3/b3@30) empty()");
    checkpoint_release(&whole);
}

static void nothing_recent_changes_nothing(void **state)
{
    (void)state;
    struct checkpoint whole = a_whole_one(), recent = {.generation = 5};
    merge(&whole, &recent);
    assert_is(&whole, "5: a(1/a1@10 2/a2@20) b(7/b7@70 3/b3@30) empty()");
    recent = (struct checkpoint){0};
    merge(&whole, &recent);
    assert_is(&whole, "5: a(1/a1@10 2/a2@20) b(7/b7@70 3/b3@30) empty()");
    checkpoint_release(&whole);
    recent.generation = 0;
    merge(&whole, &recent); /* neither is there */
    assert_is(&whole, "0:");
}

/* A left-over may be older (the usual case), or newer: the whole document was put back by hand, or
 * removed. Its generation must then never be used again while it lies there. */
static void a_left_over_of_another_generation_is_ignored_but_its_number_is_not(void **state)
{
    (void)state;
    static const uint64_t generations[] = {0, 1, 4, 6, 9, UINT64_C(1) << 61};
    for (size_t i = 0; i < ARRAY_LEN(generations); i++) {
        struct checkpoint whole = a_whole_one(), recent = {.generation = generations[i]};
        put(&recent, "a", 1, "/other", 99);
        put(&recent, "new", 44, "/n", 1);
        merge(&whole, &recent);
        uint64_t want = generations[i] > 5 ? generations[i] : 5;
        assert_int_equal(whole.generation, want);
        whole.generation = 5;
        assert_is(&whole, "5: a(1/a1@10 2/a2@20) b(7/b7@70 3/b3@30) empty()");
        checkpoint_release(&whole);
    }
    struct checkpoint whole = {0}, recent = {.generation = 3};
    put(&recent, "a", 1, "/other", 99);
    merge(&whole, &recent);
    assert_is(&whole, "3:");
}

static void many_entries_find_their_places(void **state)
{
    (void)state;
    enum { N = 3000 };
    static uint64_t offsets[2 * N + 1];
    struct rng r;
    rng_seed(&r, 12);
    struct checkpoint whole = {.generation = 1}, recent = {.generation = 1};
    for (uint64_t i = 0; i < N; i++) { /* ids in no order: 7 and N have no common divisor */
        uint64_t id = 1 + i * 7 % N;
        offsets[id] = id;
        put(&whole, id % 2 == 0 ? "even" : "odd", id, "/x", offsets[id]);
    }
    for (uint64_t id = 2 * N; id >= 1; id--) {
        if (rng_below(&r, 3) > 0)
            continue;
        offsets[id] = 10 * N + id;
        put(&recent, id % 2 == 0 ? "even" : "odd", id, "/y", offsets[id]);
    }
    size_t n = 0, want = 0;
    merge(&whole, &recent);
    for (size_t i = 0; i < whole.sources_n; i++) {
        for (size_t k = 0; k < whole.sources[i].files_n; k++, n++) {
            const struct checkpoint_file *f = &whole.sources[i].files[k];
            assert_string_equal(whole.sources[i].name, f->id % 2 == 0 ? "even" : "odd");
            assert_int_equal(f->at.offset, offsets[f->id]);
            assert_string_equal(f->path, f->at.offset > 10 * N ? "/y" : "/x");
        }
    }
    for (size_t id = 1; id <= 2 * N; id++)
        want += offsets[id] > 0;
    assert_int_equal(n, want);
    checkpoint_release(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recent_entries_take_the_place_of_those_with_their_id),
        cmocka_unit_test(new_entries_go_to_the_end_of_their_source),
        cmocka_unit_test(an_entry_may_go_back),
        cmocka_unit_test(nothing_recent_changes_nothing),
        cmocka_unit_test(a_left_over_of_another_generation_is_ignored_but_its_number_is_not),
        cmocka_unit_test(many_entries_find_their_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
