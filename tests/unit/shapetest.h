/* shapetest.h - a shape on the bench: one spec, one shape made of it, one record at a time.
 *
 *   set_up_shape(format, max_record)   the start of a test's set_up: a spec that only has to be
 *                                      changed, and a record of /srv/a.log at offset 77
 *   start()                            a shape of the spec, in place of the last one
 *   start_with(header)                 also for csv, bound to this header; see `missing`
 *   apply(raw)                         one record; `out` tells what became of it. It must be sound:
 *                                      an object is JSON, a dead letter what was read
 *   assert_data, assert_key, ...       one record, and what of it is looked at
 *   TEST(name)                         for cmocka: with set_up, which is the test's own, and
 *                                      tear_down
 *
 * What is shaped is `in`, but for its bytes: apply() takes an exact copy of them, so that the
 * sanitizers see a read too far. It lives until the next one, as in.raw.
 */
#ifndef TESTS_UNIT_SHAPETEST_H
#define TESTS_UNIT_SHAPETEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/json.h"
#include "lib/shape.h"

#define FROM(n, ...)                                                                               \
    {                                                                                              \
        .name = (char *)(n), .kind = FIELD_FROM, .from = (char *)__VA_ARGS__                       \
    }
#define CONST(n, text)                                                                             \
    {                                                                                              \
        .name = (char *)(n), .kind = FIELD_CONST, .constant = (char *)(text)                       \
    }
#define OBJECT(n, fs)                                                                              \
    {                                                                                              \
        .name = (char *)(n), .kind = FIELD_OBJECT, .children = (fs), .children_n = ARRAY_LEN(fs)   \
    }
#define TIME(n, f, in, ...)                                                                        \
    {                                                                                              \
        .name = (char *)(n), .kind = FIELD_FROM, .from = (char *)(f), .parse = (char *)(in),       \
        .print = (char *)__VA_ARGS__                                                               \
    }
#define ADD(n, t)                                                                                  \
    {                                                                                              \
        .name = (char *)(n), .text = (char *)(t)                                                   \
    }

static struct shape_spec spec;
static struct shape *shape;
static struct shape_in in;
static struct shape_out out;
static struct rng rng;

/* Only for csv. */
static struct csv_row header, row;
static struct shape_columns *columns;
static const char *missing;

static inline void set_up_shape(enum shape_format format, size_t max_record)
{
    spec = (struct shape_spec){
        .format = format, .delimiter = ',', .key = (char *)"random", .max_record = max_record};
    in = (struct shape_in){.path = STR("/srv/a.log"), .offset = 77};
    rng_seed(&rng, 1);
}

static inline void stop(void)
{
    shape_columns_free(columns);
    shape_free(shape);
    columns = NULL;
    shape = NULL;
}

static inline int tear_down(void **state)
{
    (void)state;
    stop();
    csv_row_release(&header);
    csv_row_release(&row);
    return 0;
}

static inline void start(void)
{
    struct err e;
    stop();
    shape = shape_new(&spec, "box", &e);
    if (shape == NULL)
        fail_msg("%s", e.text);
}

static inline void start_with(const char *names)
{
    start();
    csv_row_release(&header);
    csv_row_init(&header, 64 * KIB);
    assert_int_equal(csv_row_next(&header, str_of(names), spec.delimiter, true), CSV_ROW);
    columns = shape_bind(shape, header.fields, header.n, &missing);
    assert_non_null(columns);
}

static inline void copy_in(struct str raw)
{
    static char *copy;
    free(copy);
    copy = malloc(raw.n > 0 ? raw.n : 1);
    assert_non_null(copy);
    memcpy(copy, raw.p, raw.n);
    in.raw = (struct str){copy, raw.n};
    if (spec.format != FORMAT_CSV)
        return;
    csv_row_release(&row);
    csv_row_init(&row, 4 * MIB);
    assert_int_equal(csv_row_next(&row, in.raw, spec.delimiter, true), CSV_ROW);
    in.row = &row;
    in.columns = columns;
}

static inline enum shape_result apply(struct str raw)
{
    copy_in(raw);
    enum shape_result result = shape_apply(shape, &in, &rng, &out);
    bool json = spec.format != FORMAT_LINE && out.no_match == 0 && !in.valid;
    if (result == SHAPE_RECORD && json)
        assert_true(json_valid(out.data, NULL));
    if (result == SHAPE_DEAD) {
        assert_true(str_eq(out.data, raw));
        assert_true(strlen(out.reason) > 0);
    }
    return result;
}

static inline void assert_str(struct str got, const char *want)
{
    if (!str_eq(got, str_of(want)))
        fail_msg("got %.*s, wanted %s", (int)got.n, got.p, want);
}

static inline void assert_data(const char *raw, const char *want)
{
    enum shape_result result = apply(str_of(raw));
    if (result != SHAPE_RECORD)
        fail_msg("%s: %s", raw, result == SHAPE_DEAD ? out.reason : "not a record");
    assert_str(out.data, want);
}

static inline void assert_dead(const char *raw, const char *reason)
{
    assert_int_equal(apply(str_of(raw)), SHAPE_DEAD);
    assert_string_equal(out.reason, reason);
}

/* The key of one record, or NULL: a random one was taken in its place. */
static inline void assert_key(const char *raw, const char *want)
{
    assert_int_equal(apply(str_of(raw)), SHAPE_RECORD);
    assert_int_equal(out.key_fallbacks, want == NULL);
    if (want != NULL) {
        assert_str(out.key, want);
        return;
    }
    assert_int_equal(out.key.n, 8);
    for (size_t i = 0; i < 8; i++)
        assert_non_null(strchr("0123456789abcdef", out.key.p[i]));
}

/* Why there is no shape of the spec; valid until the next call. */
static inline const char *refusal(void)
{
    static struct err e;
    e = (struct err){0};
    assert_null(shape_new(&spec, "box", &e));
    assert_true(e.code < 0);
    assert_null(shape_new(&spec, "box", NULL));
    return e.text;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
