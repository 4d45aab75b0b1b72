#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/hash.h"
#include "lib/json.h"
#include "lib/shape.h"

#define FIELD(n, f)                                                                                \
    {                                                                                              \
        .name = (char *)(n), .kind = FIELD_FROM, .from = (char *)(f)                               \
    }
#define FIELD_WITH(n, f, ...)                                                                      \
    {                                                                                              \
        .name = (char *)(n), .kind = FIELD_FROM, .from = (char *)(f), __VA_ARGS__                  \
    }
#define CONST(n, text)                                                                             \
    {                                                                                              \
        .name = (char *)(n), .kind = FIELD_CONST, .constant = (char *)(text)                       \
    }
#define OBJECT(n, fs)                                                                              \
    {                                                                                              \
        .name = (char *)(n), .kind = FIELD_OBJECT, .children = (fs), .children_n = ARRAY_LEN(fs)   \
    }
#define TIME(n, f, in, out) FIELD_WITH(n, f, .parse = (char *)(in), .print = (char *)(out))

static struct csv_row row;
static struct rng rng;
static struct shape_out out;

/* What is shaped, and with what: set up for a test, then changed by it. */
static struct shape_spec spec;
static const char *path, *host;
static uint64_t offset;

static int set_up(void **state)
{
    (void)state;
    spec = (struct shape_spec){
        .format = FORMAT_CSV, .delimiter = ',', .key = (char *)"random", .max_record = MIB};
    path = "/srv/a.csv";
    host = "box";
    offset = 77;
    rng_seed(&rng, 1);
    return 0;
}

/* ---- one record at a time ------------------------------------------------------------------- */

struct worker {
    struct shape *shape;
    struct shape_columns *columns;
    struct csv_row header;
    const char *missing;
};

static void start(struct worker *w, const char *header)
{
    struct err e;
    *w = (struct worker){.shape = shape_new(&spec, host, &e)};
    if (w->shape == NULL)
        fail_msg("%s", e.text);
    if (header == NULL)
        return;
    csv_row_init(&w->header, 64 * KIB);
    assert_int_equal(csv_row_next(&w->header, str_of(header), spec.delimiter, true), CSV_ROW);
    w->columns = shape_bind(w->shape, w->header.fields, w->header.n, &w->missing);
    assert_non_null(w->columns);
}

static void stop(struct worker *w)
{
    csv_row_release(&w->header);
    csv_row_release(&row);
    shape_columns_free(w->columns);
    shape_free(w->shape);
}

static enum shape_result apply(struct worker *w, struct str raw)
{
    struct shape_in in = {.raw = raw, .path = str_of(path), .offset = offset};
    if (spec.format == FORMAT_CSV) {
        csv_row_release(&row);
        csv_row_init(&row, 4 * MIB);
        assert_int_equal(csv_row_next(&row, raw, spec.delimiter, true), CSV_ROW);
        in.row = &row;
        in.columns = w->columns;
    }
    enum shape_result result = shape_apply(w->shape, &in, &rng, &out);
    if (result == SHAPE_RECORD && spec.format == FORMAT_CSV)
        assert_true(json_valid(out.data, NULL));
    if (result == SHAPE_DEAD) {
        assert_true(str_eq(out.data, raw));
        assert_true(strlen(out.reason) > 0);
    }
    return result;
}

static void assert_str(struct str got, const char *want)
{
    if (!str_eq(got, str_of(want)))
        fail_msg("got %.*s, wanted %s", (int)got.n, got.p, want);
}

static void assert_data(struct worker *w, const char *raw, const char *want)
{
    assert_int_equal(apply(w, str_of(raw)), SHAPE_RECORD);
    assert_str(out.data, want);
}

/* One field x of this kind from a column a, and the whole record for a cell. */
static void assert_cell(struct shape_field field, const char *cell, const char *want, unsigned bad)
{
    spec.fields = &field;
    spec.fields_n = 1;
    struct worker w;
    start(&w, "a,b");
    char raw[600], whole[600];
    snprintf(raw, sizeof raw, "%s,-", cell);
    snprintf(whole, sizeof whole, "{\"x\":%s}", want);
    assert_data(&w, raw, whole);
    assert_int_equal(out.bad_values, bad);
    stop(&w);
    spec.bad_value_dead = true;
    start(&w, "a,b");
    assert_int_equal(apply(&w, str_of(raw)), bad > 0 ? SHAPE_DEAD : SHAPE_RECORD);
    stop(&w);
    spec.bad_value_dead = false;
}

static void assert_refused(const char *word)
{
    struct err e = {0};
    assert_null(shape_new(&spec, host, &e));
    assert_true(e.code < 0);
    if (strstr(e.text, word) == NULL)
        fail_msg("%s: no %s in it", e.text, word);
    assert_null(shape_new(&spec, host, NULL));
}

/* ---- templates ------------------------------------------------------------------------------ */

static void the_crime_template_makes_the_documented_record(void **state)
{
    (void)state;
    static const char in[] = "%m/%d/%y %H:%M";
    struct shape_field location[] = {FIELD_WITH("lat", "latitude", .type = TYPE_DOUBLE),
                                     FIELD_WITH("lon", "longitude", .type = TYPE_DOUBLE)};
    struct shape_field fields[] = {
        TIME("crime_time", "cdatetime", in, "%Y/%m/%d %H:%M:%S"),
        FIELD("address", "address"),
        FIELD_WITH("district", "district", .type = TYPE_INT),
        FIELD_WITH("beat", "beat", .trim = true),
        FIELD_WITH("grid", "grid", .type = TYPE_INT),
        FIELD("description", "crimedescr"),
        FIELD_WITH("crime_id", "ucr_ncic_code", .type = TYPE_INT),
        FIELD_WITH("latitude", "latitude", .type = TYPE_DOUBLE),
        FIELD_WITH("longitude", "longitude", .type = TYPE_DOUBLE),
        OBJECT("location", location),
        TIME("crime_year", "cdatetime", in, "%Y"),
        TIME("crime_month", "cdatetime", in, "%m"),
        TIME("crime_day", "cdatetime", in, "%d"),
    };
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    spec.key = (char *)"{district}";
    struct worker w;
    start(&w, "cdatetime,address,district,beat,grid,crimedescr,ucr_ncic_code,latitude,longitude");
    assert_null(w.missing);
    assert_data(
        &w,
        "1/1/06 0:00,3108 OCCIDENTAL DR,3,3C        ,1115,10851(A)VC TAKE VEH W/O "
        "OWNER,2404,38.55042047,-121.3914158",
        "{\"crime_time\":\"2006/01/01 00:00:00\",\"address\":\"3108 OCCIDENTAL "
        "DR\",\"district\":3,\"beat\":\"3C\",\"grid\":1115,\"description\":\"10851(A)VC TAKE "
        "VEH W/O OWNER\",\"crime_id\":2404,\"latitude\":38.55042047,\"longitude\":-121."
        "3914158,\"location\":{\"lat\":38.55042047,\"lon\":-121.3914158},\"crime_year\":"
        "\"2006\",\"crime_month\":\"01\",\"crime_day\":\"01\"}");
    assert_str(out.key, "3");
    assert_int_equal(out.bad_values + out.ragged_rows + out.key_fallbacks + out.bytes_replaced, 0);
    /* the next row must not see the last one's time */
    assert_int_equal(apply(&w, STR("1/31/06 23:59,a,6,x,1,y,2,3,4")), SHAPE_RECORD);
    assert_non_null(memmem(out.data.p, out.data.n, "2006/01/31 23:59:00", 19));
    assert_int_equal(apply(&w, STR("31/31/06 23:59,a,6,x,1,y,2,3,4")), SHAPE_RECORD);
    assert_non_null(memmem(out.data.p, out.data.n, "\"crime_day\":null", 16));
    assert_int_equal(out.bad_values, 4); /* each of the four fields is bad */
    stop(&w);
}

static void strings_are_json_strings_of_the_cell(void **state)
{
    (void)state;
    const struct shape_field s = FIELD("x", "a"), t = FIELD_WITH("x", "a", .trim = true);
    assert_cell(s, "abc", "\"abc\"", 0);
    assert_cell(s, "", "\"\"", 0);
    assert_cell(s, " a ", "\" a \"", 0);
    assert_cell(t, " \ta b ", "\"a b\"", 0);
    assert_cell(t, "  ", "\"\"", 0);
    assert_cell(s, "\"a \"\"q\"\" \\ \"", "\"a \\\"q\\\" \\\\ \"", 0);
    assert_cell(s, "\"two\nlines\"", "\"two\\nlines\"", 0);
    assert_cell(s, "\x01\x7f", "\"\\u0001\x7f\"", 0);
    assert_cell(s, "\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xe2\x82\xac\xf0\x9f\x98\x80\"", 0);
    assert_cell(s, "null", "\"null\"", 0);
}

static void what_is_not_utf8_is_replaced_and_counted(void **state)
{
    (void)state;
    struct worker w;
    start(&w, "a,b");
    assert_data(&w, "caf\xe9,\xff\xfe",
                "{\"a\":\"caf\xef\xbf\xbd\",\"b\":\"\xef\xbf\xbd\xef\xbf\xbd\"}");
    assert_int_equal(out.bytes_replaced, 3);
    assert_int_equal(out.bad_values, 0);
    stop(&w);
}

static void ints_are_copied_as_text(void **state)
{
    (void)state;
    const struct shape_field f = FIELD_WITH("x", "a", .type = TYPE_INT);
    assert_cell(f, "5", "5", 0);
    assert_cell(f, " +007 ", "7", 0);
    assert_cell(f, "99999999999999999999999", "99999999999999999999999", 0);
    assert_cell(f, "", "null", 0);
    assert_cell(f, "   ", "null", 0);
    assert_cell(f, "1.0", "null", 1);
    assert_cell(f, "x", "null", 1);
    assert_cell(f, "-", "null", 1);
    assert_cell(f, "\"1,000\"", "null", 1);
}

static void doubles_are_copied_as_text(void **state)
{
    (void)state;
    const struct shape_field f = FIELD_WITH("x", "a", .type = TYPE_DOUBLE);
    assert_cell(f, "-121.3914158", "-121.3914158", 0);
    assert_cell(f, "0.1000000000000000055", "0.1000000000000000055", 0);
    assert_cell(f, " .5 ", "0.5", 0);
    assert_cell(f, "1.", "1.0", 0);
    assert_cell(f, "1e400", "1e400", 0);
    assert_cell(f, "", "null", 0);
    assert_cell(f, "NaN", "null", 1);
    assert_cell(f, "1 2", "null", 1);
}

static void bools_have_their_spellings(void **state)
{
    (void)state;
    const struct shape_field f = FIELD_WITH("x", "a", .type = TYPE_BOOL);
    assert_cell(f, "YES", "true", 0);
    assert_cell(f, " 0 ", "false", 0);
    assert_cell(f, "", "null", 0);
    assert_cell(f, "maybe", "null", 1);
}

static void times_are_printed_anew_without_a_zone_of_ours(void **state)
{
    (void)state;
    const struct shape_field iso = TIME("x", "a", "%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%dT%H:%M:%S%z");
    const struct shape_field day = TIME("x", "a", "%m/%d/%y", "%F");
    const struct shape_field year =
        FIELD_WITH("x", "a", .parse = (char *)"%m/%d/%y", .print = (char *)"%Y", .type = TYPE_INT);
    const struct shape_field trimmed =
        FIELD_WITH("x", "a", .parse = (char *)"%m/%d/%y", .print = (char *)"%F", .trim = true);
    assert_cell(iso, "10/Oct/2000:13:55:36 -0700", "\"2000-10-10T13:55:36-0700\"", 0);
    assert_cell(day, "2/29/04", "\"2004-02-29\"", 0);
    assert_cell(day, "2/29/05", "null", 1);
    assert_cell(day, "", "null", 0);
    assert_cell(day, "yesterday", "null", 1);
    assert_cell(day, "2/28/05 ", "null", 1);
    assert_cell(trimmed, " 2/28/05 ", "\"2005-02-28\"", 0);
    assert_cell(trimmed, "  ", "null", 0);
    assert_cell(year, "1/1/69", "1969", 0);
}

static void a_time_printed_as_a_type_it_does_not_fit_is_a_bad_value(void **state)
{
    (void)state;
    const struct shape_field f =
        FIELD_WITH("x", "a", .parse = (char *)"%m/%d/%y", .print = (char *)"%F", .type = TYPE_INT);
    assert_cell(f, "1/1/06", "null", 1);
}

static void constants_and_objects_keep_their_place(void **state)
{
    (void)state;
    struct shape_field deep[] = {CONST("n", "1.50")};
    struct shape_field in[] = {FIELD("p", "a"), OBJECT("deep", deep), FIELD("q", "b")};
    struct shape_field fields[] = {CONST("s", "\"t\\\"\""), OBJECT("o", in), FIELD("r", "a"),
                                   CONST("nil", "null"), CONST("\"odd\n", "[1,{}]")};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    struct worker w;
    start(&w, "a,b");
    assert_data(
        &w, "1,2",
        "{\"s\":\"t\\\"\",\"o\":{\"p\":\"1\",\"deep\":{\"n\":1.50},\"q\":\"2\"},\"r\":\"1\","
        "\"nil\":null,\"\\\"odd\\n\":[1,{}]}");
    stop(&w);
}

static void a_template_of_constants_only_needs_no_column(void **state)
{
    (void)state;
    struct shape_field fields[] = {CONST("a", "true"), {.name = (char *)"o", .kind = FIELD_OBJECT}};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    struct worker w;
    start(&w, "q");
    assert_null(w.missing);
    assert_data(&w, "1", "{\"a\":true,\"o\":{}}");
    stop(&w);
}

static void metadata_is_where_the_record_came_from(void **state)
{
    (void)state;
    struct shape_field fields[] = {FIELD("p", "@file.path"), FIELD("o", "@file.offset"),
                                   FIELD("h", "@host"),
                                   FIELD_WITH("d", "@file.offset", .type = TYPE_DOUBLE)};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    path = "/srv/\"odd\".csv";
    offset = UINT64_MAX;
    struct worker w;
    start(&w, "a");
    assert_data(&w, "1",
                "{\"p\":\"/srv/\\\"odd\\\".csv\",\"o\":18446744073709551615,\"h\":\"box\","
                "\"d\":18446744073709551615}");
    stop(&w);
}

static void a_column_the_file_lacks_is_null_and_a_bad_value(void **state)
{
    (void)state;
    struct shape_field fields[] = {FIELD("x", "a"), FIELD_WITH("y", "gone", .type = TYPE_INT),
                                   FIELD("z", "also")};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    struct worker w;
    start(&w, "a");
    assert_string_equal(w.missing, "gone");
    assert_data(&w, "1", "{\"x\":\"1\",\"y\":null,\"z\":null}");
    assert_int_equal(out.bad_values, 2);
    stop(&w);
    spec.bad_value_dead = true;
    start(&w, "a");
    assert_int_equal(apply(&w, STR("1")), SHAPE_DEAD);
    assert_non_null(strstr(out.reason, "gone"));
    assert_non_null(strstr(out.reason, "field y"));
    stop(&w);
}

static void the_reason_never_holds_the_value(void **state)
{
    (void)state;
    struct shape_field f = FIELD_WITH("x", "a", .type = TYPE_INT);
    spec.fields = &f;
    spec.fields_n = 1;
    spec.bad_value_dead = true;
    struct worker w;
    start(&w, "a");
    assert_int_equal(apply(&w, STR("secret")), SHAPE_DEAD);
    assert_null(strstr(out.reason, "secret"));
    assert_non_null(strstr(out.reason, "column a"));
    assert_int_equal(out.bad_values, 1);
    assert_int_equal(apply(&w, STR("5")), SHAPE_RECORD);
    assert_str(out.data, "{\"x\":5}");
    assert_null(out.reason);
    stop(&w);
}

static void a_missing_cell_is_null_and_no_error(void **state)
{
    (void)state;
    struct shape_field fields[] = {FIELD("x", "a"), FIELD_WITH("y", "b", .type = TYPE_INT),
                                   TIME("z", "c", "%F", "%Y")};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    spec.bad_value_dead = true;
    struct worker w;
    start(&w, "a,b,c");
    assert_data(&w, "1", "{\"x\":\"1\",\"y\":null,\"z\":null}");
    assert_int_equal(out.bad_values, 0);
    stop(&w);
}

static void a_row_with_too_many_cells_is_a_bad_value(void **state)
{
    (void)state;
    struct shape_field f = FIELD("x", "a");
    spec.fields = &f;
    spec.fields_n = 1;
    struct worker w;
    start(&w, "a,b");
    assert_data(&w, "1,2,3", "{\"x\":\"1\"}");
    assert_int_equal(out.ragged_rows, 1);
    assert_int_equal(out.bad_values, 1);
    stop(&w);
    spec.bad_value_dead = true;
    start(&w, "a,b");
    assert_int_equal(apply(&w, STR("1,2,3")), SHAPE_DEAD);
    assert_non_null(strstr(out.reason, "3 cells"));
    stop(&w);
}

static void columns_are_found_by_name_in_every_header(void **state)
{
    (void)state;
    struct shape_field fields[] = {FIELD("x", "b"), FIELD("y", "a"), FIELD("z", "b")};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    struct worker w;
    start(&w, "b,c,a");
    assert_data(&w, "1,2,3", "{\"x\":\"1\",\"y\":\"3\",\"z\":\"1\"}");
    stop(&w);
    start(&w, "a,b,b");
    assert_data(&w, "1,2,3",
                "{\"x\":\"2\",\"y\":\"1\",\"z\":\"2\"}"); /* a repeated name: the first */
    stop(&w);
}

/* ---- without a template --------------------------------------------------------------------- */

static void all_columns_become_strings(void **state)
{
    (void)state;
    struct worker w;
    start(&w, "a,\"b \"\"x\"\"\",c");
    assert_data(&w, "1, two ,", "{\"a\":\"1\",\"b \\\"x\\\"\":\" two \",\"c\":\"\"}");
    assert_int_equal(out.bad_values, 0);
    stop(&w);
}

static void ragged_rows_lose_cells_or_get_nulls(void **state)
{
    (void)state;
    struct worker w;
    start(&w, "a,b");
    assert_data(&w, "1", "{\"a\":\"1\",\"b\":null}");
    assert_int_equal(out.ragged_rows, 0);
    assert_data(&w, "1,2,3,4", "{\"a\":\"1\",\"b\":\"2\"}");
    assert_int_equal(out.ragged_rows, 1);
    assert_int_equal(out.bad_values, 0);
    spec.bad_value_dead = true;
    assert_int_equal(apply(&w, STR("1,2,3")), SHAPE_RECORD);
    stop(&w);
}

static void any_delimiter_will_do(void **state)
{
    (void)state;
    spec.delimiter = '\t';
    struct worker w;
    start(&w, "a\tb");
    assert_data(&w, "1,0\t2", "{\"a\":\"1,0\",\"b\":\"2\"}");
    stop(&w);
}

/* ---- lines and JSON ------------------------------------------------------------------------- */

static void a_line_passes_byte_for_byte(void **state)
{
    (void)state;
    spec.format = FORMAT_LINE;
    struct worker w;
    start(&w, NULL);
    const struct str raw = STR("\xff\0 any \x01 thing");
    assert_int_equal(apply(&w, raw), SHAPE_RECORD);
    assert_ptr_equal(out.data.p, raw.p);
    assert_int_equal(out.data.n, raw.n);
    stop(&w);
}

static void valid_json_passes_byte_for_byte(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{\"n\":123456789012345678901234567890,\"z\":\"\\u0000\",\"f\":1.10}", " [1 ] ", "5",
        "\"\\ud800\"", "null"};
    static const char *const bad[] = {"{",   "{\"a\":1,}", "nul", "{} {}",
                                      "'a'", "\"\xff\"",   "NaN", " "};
    spec.format = FORMAT_JSON;
    struct worker w;
    start(&w, NULL);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_data(&w, good[i], good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(apply(&w, str_of(bad[i])), SHAPE_DEAD);
        assert_non_null(strstr(out.reason, "not JSON at byte"));
    }
    stop(&w);
}

/* ---- keys ----------------------------------------------------------------------------------- */

static void assert_fallback(void)
{
    assert_int_equal(out.key_fallbacks, 1);
    assert_int_equal(out.key.n, 8);
    for (size_t i = 0; i < 8; i++)
        assert_non_null(strchr("0123456789abcdef", out.key.p[i]));
}

/* The key of one record, or NULL: a random one was taken in its place. */
static void assert_key(struct worker *w, const char *raw, const char *want)
{
    assert_int_equal(apply(w, str_of(raw)), SHAPE_RECORD);
    if (want == NULL) {
        assert_fallback();
        return;
    }
    assert_str(out.key, want);
    assert_int_equal(out.key_fallbacks, 0);
}

static void random_keys_differ_and_follow_the_seed(void **state)
{
    (void)state;
    spec.format = FORMAT_LINE;
    struct worker w;
    start(&w, NULL);
    char first[8], second[8];
    apply(&w, STR("a"));
    assert_int_equal(out.key.n, 8);
    assert_int_equal(out.key_fallbacks, 0);
    memcpy(first, out.key.p, 8);
    apply(&w, STR("a"));
    memcpy(second, out.key.p, 8);
    assert_memory_not_equal(first, second, 8);
    rng_seed(&rng, 1);
    apply(&w, STR("a"));
    assert_memory_equal(first, out.key.p, 8);
    stop(&w);
}

static void a_hash_key_is_half_the_sha256_of_the_record(void **state)
{
    (void)state;
    spec.format = FORMAT_LINE;
    spec.key = (char *)"hash";
    struct worker w;
    start(&w, NULL);
    assert_key(&w, "abc", "ba7816bf8f01cfea414140de5dae2223");
    stop(&w);
    spec.format = FORMAT_CSV; /* of the record as it is sent, not as it was read */
    start(&w, "a");
    apply(&w, STR("1"));
    uint8_t sha[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    hash_sha256("{\"a\":\"1\"}", 9, sha);
    hash_hex(sha, SHA256_SIZE / 2, hex);
    assert_str(out.key, hex);
    stop(&w);
}

static void a_key_template_joins_text_and_columns(void **state)
{
    (void)state;
    spec.key = (char *)"{a}-{b}/{{x}}/{@host}:{@file.path}@{@file.offset}";
    struct worker w;
    start(&w, "a,b,c");
    assert_key(&w, "1, 2 ,3", "1- 2 /{x}/box:/srv/a.csv@77");
    stop(&w);
    spec.key = (char *)"constant";
    start(&w, "a");
    assert_key(&w, "1", "constant");
    stop(&w);
}

static void a_missing_or_empty_field_means_a_random_key(void **state)
{
    (void)state;
    spec.key = (char *)"x{a}{b}";
    struct worker w;
    start(&w, "a,b");
    assert_key(&w, "1,2", "x12");
    assert_key(&w, ",2", NULL);
    assert_key(&w, "1,", NULL);
    assert_key(&w, "1", NULL);
    assert_key(&w, "1,2", "x12");
    stop(&w);
    start(&w, "a");
    assert_string_equal(w.missing, "b");
    assert_key(&w, "1", NULL);
    stop(&w);
}

static void a_key_may_have_256_characters_of_any_length(void **state)
{
    (void)state;
    static const char *const chars[] = {"k", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    spec.key = (char *)"{a}";
    struct worker w;
    start(&w, "a");
    for (size_t c = 0; c < ARRAY_LEN(chars); c++) {
        char raw[257 * 4 + 1] = "";
        size_t n = strlen(chars[c]);
        for (size_t i = 0; i < 257; i++)
            memcpy(raw + i * n, chars[c], n + 1);
        assert_key(&w, raw, NULL);
        raw[256 * n] = '\0';
        assert_key(&w, raw, raw);
        assert_int_equal(out.key.n, 256 * n);
    }
    stop(&w);
}

static void a_key_of_256_characters_counts_all_its_parts(void **state)
{
    (void)state;
    char raw[257];
    memset(raw, 'k', 256);
    raw[256] = '\0';
    spec.key = (char *)"{a}{@host}";
    struct worker w;
    start(&w, "a");
    assert_key(&w, raw, NULL);
    raw[253] = '\0';
    assert_int_equal(apply(&w, str_of(raw)), SHAPE_RECORD);
    assert_int_equal(out.key.n, 256);
    assert_int_equal(out.key_fallbacks, 0);
    stop(&w);
}

static void bad_utf8_in_a_key_is_replaced_and_counts_as_one_character(void **state)
{
    (void)state;
    spec.key = (char *)"{a}";
    struct worker w;
    start(&w, "a");
    assert_key(&w, "a\xffz", "a\xef\xbf\xbdz");
    char raw[258];
    memset(raw, 0xff, 257);
    raw[257] = '\0';
    assert_key(&w, raw, NULL);
    raw[256] = '\0';
    assert_int_equal(apply(&w, str_of(raw)), SHAPE_RECORD);
    assert_int_equal(out.key.n, 3 * 256);
    stop(&w);
}

static void a_hostile_cell_named_often_is_not_copied_often(void **state)
{
    (void)state;
    struct shape_field fields[60];
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        fields[i] = (struct shape_field)FIELD("x", "a");
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    spec.key = (char *)"{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}";
    char *raw = malloc(MIB + 1);
    memset(raw, 1, MIB); /* six bytes each in JSON: 360 MiB if all were written */
    raw[MIB] = '\0';
    struct worker w;
    start(&w, "a");
    assert_int_equal(apply(&w, (struct str){raw, MIB}), SHAPE_DEAD);
    assert_non_null(strstr(out.reason, "max_record"));
    stop(&w);
    spec.fields_n = 0;
    spec.format = FORMAT_LINE;
    spec.key = (char *)"{@file.path}{@file.path}";
    path = raw;
    start(&w, NULL);
    assert_key(&w, "short", NULL);
    stop(&w);
    spec.format = FORMAT_CSV;
    spec.key = (char *)"{a}{a}";
    raw[200 * KIB] = '\0';
    spec.max_record = 16 * MIB;
    start(&w, "a");
    assert_key(&w, raw, NULL);
    stop(&w);
    free(raw);
}

static void json_fields_are_found_by_their_dotted_path(void **state)
{
    (void)state;
    static const char raw[] =
        "{\"z\":[{\"a\":0}],\"a\":{\"x\":{\"b\":\"no\"},\"b\":{\"c\":\"d\\u00e9\\n\\ud83d\\ude00\"}"
        "},"
        "\"n\":-1.50e3,\"t\":true,\"f\":false,\"nil\":null,\"o\":{},\"l\":[1],\"e\":\"\",\"dup\":1,"
        "\"dup\":2,\"lone\":\"\\ud800\"}";
    static const struct {
        const char *key, *want;
    } cases[] = {
        {"{a.b.c}", "d\xc3\xa9\n\xf0\x9f\x98\x80"},
        {"{n}", "-1.50e3"},
        {"{t}{f}", "truefalse"},
        {"{dup}", "2"},
        {"{lone}", "\xef\xbf\xbd"},
        {"<{n}|{@host}>", "<-1.50e3|box>"},
        {"{nil}", NULL},
        {"{o}", NULL},
        {"{l}", NULL},
        {"{e}", NULL},
        {"{gone}", NULL},
        {"{a}", NULL},
        {"{a.b}", NULL},
        {"{a.b.c.d}", NULL},
        {"{n.x}", NULL},
        {"{z.a}", NULL},
        {"{a.}", NULL},
        {"{.a}", NULL},
        {"{a..b}", NULL},
    };
    spec.format = FORMAT_JSON;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        spec.key = (char *)(uintptr_t)cases[i].key;
        struct worker w;
        start(&w, NULL);
        assert_key(&w, raw, cases[i].want);
        assert_key(&w, "[]", NULL);
        assert_key(&w, "5", NULL);
        stop(&w);
    }
}

static void names_with_unicode_are_found(void **state)
{
    (void)state;
    spec.format = FORMAT_JSON;
    spec.key = (char *)"{stra\xc3\x9f\x65}";
    struct worker w;
    start(&w, NULL);
    assert_key(&w, "{\"stra\xc3\x9f\x65\":\"x\"}", "x");
    stop(&w);
}

/* ---- limits and refusals -------------------------------------------------------------------- */

static void data_and_key_together_stay_within_max_record(void **state)
{
    (void)state;
    spec.format = FORMAT_LINE;
    spec.max_record = 20;
    struct worker w;
    start(&w, NULL);
    assert_int_equal(apply(&w, STR("123456789012")), SHAPE_RECORD); /* and 8 of the key */
    assert_int_equal(apply(&w, STR("1234567890123")), SHAPE_DEAD);
    assert_non_null(strstr(out.reason, "max_record"));
    stop(&w);
    spec.format = FORMAT_CSV;
    start(&w, "a");
    assert_data(&w, "1234", "{\"a\":\"1234\"}");
    assert_int_equal(apply(&w, STR("12345")), SHAPE_DEAD);
    stop(&w);
}

static void a_bad_template_is_refused_with_a_sentence(void **state)
{
    (void)state;
    struct shape_field bad_parse = TIME("x", "a", "%q", "%Y");
    struct shape_field bad_print = TIME("x", "a", "%Y", "%");
    struct shape_field bad_meta = FIELD("x", "@nothing");
    spec.fields_n = 1;
    spec.fields = &bad_parse;
    assert_refused("%q");
    spec.fields = &bad_print;
    assert_refused("%");
    spec.fields = &bad_meta;
    assert_refused("@nothing");
}

static void a_bad_key_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *key, *word;
    } cases[] = {{"", "empty"},    {"{", "{"}, {"{}", "{"},   {"a}b", "}"},  {"{a", "{"},
                 {"{@no}", "@no"}, {"}", "}"}, {"{a}}", "}"}, {"{a}{", "{"}, {"x{{y}", "}"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        spec.key = (char *)(uintptr_t)cases[i].key;
        assert_refused(cases[i].word);
    }
    spec.format = FORMAT_LINE;
    spec.key = (char *)"{a}";
    assert_refused("line");
    spec.key = (char *)"{@file.path}";
    struct worker w;
    start(&w, NULL);
    assert_key(&w, "x", "/srv/a.csv");
    stop(&w);
}

static void a_template_has_its_limits(void **state)
{
    (void)state;
    static struct shape_field many[SHAPE_FIELDS_MAX + 1];
    static char names[SHAPE_FIELDS_MAX + 1][8];
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        snprintf(names[i], sizeof names[i], "c%zu", i);
        many[i] = (struct shape_field)FIELD(names[i], names[i]);
    }
    spec.fields = many;
    spec.fields_n = SHAPE_FIELDS_MAX + 1;
    assert_refused("fields");
    spec.fields_n = SHAPE_FIELDS_MAX;
    struct worker w;
    start(&w, "c0");
    assert_string_equal(w.missing, "c1");
    assert_int_equal(apply(&w, STR("1")), SHAPE_RECORD);
    assert_int_equal(out.bad_values, SHAPE_FIELDS_MAX - 1);
    stop(&w);

    struct shape_field leaf = CONST("l", "1"), nest[SHAPE_DEPTH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(nest); i++)
        nest[i] = (struct shape_field){.name = (char *)"o",
                                       .kind = FIELD_OBJECT,
                                       .children = i == 0 ? &leaf : &nest[i - 1],
                                       .children_n = 1};
    spec.fields_n = 1;
    spec.fields = &nest[SHAPE_DEPTH_MAX - 1];
    assert_refused("deeper");
    spec.fields = &nest[SHAPE_DEPTH_MAX - 2];
    start(&w, "a");
    assert_int_equal(apply(&w, STR("1")), SHAPE_RECORD);
    stop(&w);
}

static void a_key_has_a_limit_of_parts(void **state)
{
    (void)state;
    char key[65 * 3 + 1] = "";
    for (size_t i = 0; i < 65; i++)
        memcpy(key + 3 * i, "{a}", 4);
    spec.key = key;
    assert_refused("parts");
    key[64 * 3] = '\0';
    struct worker w;
    start(&w, "a");
    char want[65];
    memset(want, 'x', 64);
    want[64] = '\0';
    assert_key(&w, "x", want);
    stop(&w);
}

static void nothing_to_free_is_fine(void **state)
{
    (void)state;
    shape_free(NULL);
    shape_columns_free(NULL);
}

static void one_shape_serves_files_with_different_headers(void **state)
{
    (void)state;
    struct shape_field f = FIELD("x", "b");
    spec.fields = &f;
    spec.fields_n = 1;
    spec.key = (char *)"{a}";
    struct worker w;
    start(&w, "a,b");
    const struct str other[] = {STR("b"), STR("a")};
    struct shape_columns *second = shape_bind(w.shape, other, 2, NULL), *first = w.columns;
    assert_non_null(second);
    for (unsigned i = 0; i < 3; i++) {
        w.columns = first;
        assert_data(&w, "1,2", "{\"x\":\"2\"}");
        assert_str(out.key, "1");
        w.columns = second;
        assert_data(&w, "1,2", "{\"x\":\"1\"}");
        assert_str(out.key, "2");
    }
    w.columns = first;
    shape_columns_free(second);
    stop(&w);
}

#define T(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_crime_template_makes_the_documented_record),
        T(strings_are_json_strings_of_the_cell),
        T(what_is_not_utf8_is_replaced_and_counted),
        T(ints_are_copied_as_text),
        T(doubles_are_copied_as_text),
        T(bools_have_their_spellings),
        T(times_are_printed_anew_without_a_zone_of_ours),
        T(a_time_printed_as_a_type_it_does_not_fit_is_a_bad_value),
        T(constants_and_objects_keep_their_place),
        T(a_template_of_constants_only_needs_no_column),
        T(metadata_is_where_the_record_came_from),
        T(a_column_the_file_lacks_is_null_and_a_bad_value),
        T(the_reason_never_holds_the_value),
        T(a_missing_cell_is_null_and_no_error),
        T(a_row_with_too_many_cells_is_a_bad_value),
        T(columns_are_found_by_name_in_every_header),
        T(all_columns_become_strings),
        T(ragged_rows_lose_cells_or_get_nulls),
        T(any_delimiter_will_do),
        T(a_line_passes_byte_for_byte),
        T(valid_json_passes_byte_for_byte),
        T(random_keys_differ_and_follow_the_seed),
        T(a_hash_key_is_half_the_sha256_of_the_record),
        T(a_key_template_joins_text_and_columns),
        T(a_missing_or_empty_field_means_a_random_key),
        T(a_key_may_have_256_characters_of_any_length),
        T(a_key_of_256_characters_counts_all_its_parts),
        T(bad_utf8_in_a_key_is_replaced_and_counts_as_one_character),
        T(a_hostile_cell_named_often_is_not_copied_often),
        T(json_fields_are_found_by_their_dotted_path),
        T(names_with_unicode_are_found),
        T(data_and_key_together_stay_within_max_record),
        T(a_bad_template_is_refused_with_a_sentence),
        T(a_bad_key_is_refused_with_a_sentence),
        T(a_template_has_its_limits),
        T(a_key_has_a_limit_of_parts),
        T(nothing_to_free_is_fine),
        T(one_shape_serves_files_with_different_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
