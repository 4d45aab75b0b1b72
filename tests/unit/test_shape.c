/* Templates over csv, lines, keys, limits; other formats stand in test_shape_*.c. */
#include "lib/hash.h"
#include "tests/unit/shapetest.h"

static int set_up(void **state)
{
    (void)state;
    set_up_shape(FORMAT_CSV, MIB);
    return 0;
}

/* One field x of this kind from a column a, and the whole record for a cell. */
static void assert_cell(struct shape_field field, const char *cell, const char *want, unsigned bad)
{
    spec.fields = &field;
    spec.fields_n = 1;
    start_with("a,b");
    char raw[600], whole[600];
    snprintf(raw, sizeof raw, "%s,-", cell);
    snprintf(whole, sizeof whole, "{\"x\":%s}", want);
    assert_data(raw, whole);
    assert_int_equal(out.bad_values, bad);
    spec.bad_value_dead = true;
    start_with("a,b");
    assert_int_equal(apply(str_of(raw)), bad > 0 ? SHAPE_DEAD : SHAPE_RECORD);
    spec.bad_value_dead = false;
}

static void assert_refused(const char *word)
{
    const char *text = refusal();
    if (strstr(text, word) == NULL)
        fail_msg("%s: no %s in it", text, word);
}

/* ---- templates ------------------------------------------------------------------------------ */

static void the_crime_template_makes_the_documented_record(void **state)
{
    (void)state;
    static const char date[] = "%m/%d/%y %H:%M";
    struct shape_field location[] = {FROM("lat", "latitude", .type = TYPE_DOUBLE),
                                     FROM("lon", "longitude", .type = TYPE_DOUBLE)};
    struct shape_field fields[] = {
        TIME("crime_time", "cdatetime", date, "%Y/%m/%d %H:%M:%S"),
        FROM("address", "address"),
        FROM("district", "district", .type = TYPE_INT),
        FROM("beat", "beat", .trim = true),
        FROM("grid", "grid", .type = TYPE_INT),
        FROM("description", "crimedescr"),
        FROM("crime_id", "ucr_ncic_code", .type = TYPE_INT),
        FROM("latitude", "latitude", .type = TYPE_DOUBLE),
        FROM("longitude", "longitude", .type = TYPE_DOUBLE),
        OBJECT("location", location),
        TIME("crime_year", "cdatetime", date, "%Y"),
        TIME("crime_month", "cdatetime", date, "%m"),
        TIME("crime_day", "cdatetime", date, "%d"),
    };
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    spec.key = (char *)"{district}";
    start_with("cdatetime,address,district,beat,grid,crimedescr,ucr_ncic_code,latitude,longitude");
    assert_null(missing);
    assert_data(
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
    assert_int_equal(apply(STR("1/31/06 23:59,a,6,x,1,y,2,3,4")), SHAPE_RECORD);
    assert_non_null(memmem(out.data.p, out.data.n, "2006/01/31 23:59:00", 19));
    assert_int_equal(apply(STR("31/31/06 23:59,a,6,x,1,y,2,3,4")), SHAPE_RECORD);
    assert_non_null(memmem(out.data.p, out.data.n, "\"crime_day\":null", 16));
    assert_int_equal(out.bad_values, 4); /* each of the four fields is bad */
}

static void strings_are_json_strings_of_the_cell(void **state)
{
    (void)state;
    const struct shape_field s = FROM("x", "a"), t = FROM("x", "a", .trim = true);
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
    start_with("a,b");
    assert_data("caf\xe9,\xff\xfe",
                "{\"a\":\"caf\xef\xbf\xbd\",\"b\":\"\xef\xbf\xbd\xef\xbf\xbd\"}");
    assert_int_equal(out.bytes_replaced, 3);
    assert_int_equal(out.bad_values, 0);
}

static void ints_are_copied_as_text(void **state)
{
    (void)state;
    const struct shape_field f = FROM("x", "a", .type = TYPE_INT);
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
    const struct shape_field f = FROM("x", "a", .type = TYPE_DOUBLE);
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
    const struct shape_field f = FROM("x", "a", .type = TYPE_BOOL);
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
    const struct shape_field year = TIME("x", "a", "%m/%d/%y", "%Y", .type = TYPE_INT);
    const struct shape_field trimmed = TIME("x", "a", "%m/%d/%y", "%F", .trim = true);
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
    const struct shape_field f = TIME("x", "a", "%m/%d/%y", "%F", .type = TYPE_INT);
    assert_cell(f, "1/1/06", "null", 1);
}

static void constants_and_objects_keep_their_place(void **state)
{
    (void)state;
    struct shape_field deep[] = {CONST("n", "1.50")};
    struct shape_field inner[] = {FROM("p", "a"), OBJECT("deep", deep), FROM("q", "b")};
    struct shape_field fields[] = {CONST("s", "\"t\\\"\""), OBJECT("o", inner), FROM("r", "a"),
                                   CONST("nil", "null"), CONST("\"odd\n", "[1,{}]")};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    start_with("a,b");
    assert_data(
        "1,2", "{\"s\":\"t\\\"\",\"o\":{\"p\":\"1\",\"deep\":{\"n\":1.50},\"q\":\"2\"},\"r\":\"1\","
               "\"nil\":null,\"\\\"odd\\n\":[1,{}]}");
}

static void a_template_of_constants_only_needs_no_column(void **state)
{
    (void)state;
    struct shape_field fields[] = {CONST("a", "true"), {.name = (char *)"o", .kind = FIELD_OBJECT}};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    start_with("q");
    assert_null(missing);
    assert_data("1", "{\"a\":true,\"o\":{}}");
}

static void metadata_is_where_the_record_came_from(void **state)
{
    (void)state;
    struct shape_field fields[] = {FROM("p", "@file.path"), FROM("o", "@file.offset"),
                                   FROM("h", "@host"),
                                   FROM("d", "@file.offset", .type = TYPE_DOUBLE)};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    in.path = STR("/srv/\"odd\".csv");
    in.offset = UINT64_MAX;
    start_with("a");
    assert_data("1", "{\"p\":\"/srv/\\\"odd\\\".csv\",\"o\":18446744073709551615,\"h\":\"box\","
                     "\"d\":18446744073709551615}");
}

static void a_column_the_file_lacks_is_null_and_a_bad_value(void **state)
{
    (void)state;
    struct shape_field fields[] = {FROM("x", "a"), FROM("y", "gone", .type = TYPE_INT),
                                   FROM("z", "also")};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    start_with("a");
    assert_string_equal(missing, "gone");
    assert_data("1", "{\"x\":\"1\",\"y\":null,\"z\":null}");
    assert_int_equal(out.bad_values, 2);
    spec.bad_value_dead = true;
    start_with("a");
    assert_int_equal(apply(STR("1")), SHAPE_DEAD);
    assert_non_null(strstr(out.reason, "gone"));
    assert_non_null(strstr(out.reason, "field y"));
}

static void the_reason_never_holds_the_value(void **state)
{
    (void)state;
    struct shape_field f = FROM("x", "a", .type = TYPE_INT);
    spec.fields = &f;
    spec.fields_n = 1;
    spec.bad_value_dead = true;
    start_with("a");
    assert_int_equal(apply(STR("secret")), SHAPE_DEAD);
    assert_null(strstr(out.reason, "secret"));
    assert_non_null(strstr(out.reason, "column a"));
    assert_int_equal(out.bad_values, 1);
    assert_int_equal(apply(STR("5")), SHAPE_RECORD);
    assert_str(out.data, "{\"x\":5}");
    assert_null(out.reason);
}

static void missing_cells_are_null(void **state)
{
    (void)state;
    struct shape_field fields[] = {FROM("x", "a"), FROM("y", "b", .type = TYPE_INT),
                                   TIME("z", "c", "%F", "%Y")};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    start_with("a,b,c");
    assert_data("1", "{\"x\":\"1\",\"y\":null,\"z\":null}");
    assert_int_equal(out.bad_values, 1); /* of the row */
}

static void a_row_with_too_few_cells_may_be_torn_and_is_a_bad_value(void **state)
{
    (void)state;
    struct shape_field f = FROM("x", "a");
    spec.fields = &f;
    spec.fields_n = 1;
    start_with("a,b");
    assert_data("1", "{\"x\":\"1\"}");
    assert_int_equal(out.ragged_rows, 1);
    assert_int_equal(out.bad_values, 1);
    assert_data("1,", "{\"x\":\"1\"}");
    assert_int_equal(out.ragged_rows, 0);
    assert_int_equal(out.bad_values, 0);
    spec.bad_value_dead = true;
    assert_int_equal(apply(STR("1")), SHAPE_DEAD);
    assert_string_equal(out.reason, "1 cells, but the file has 2 columns");
    assert_int_equal(out.data.n, 1);
}

static void a_row_with_too_many_cells_is_a_bad_value(void **state)
{
    (void)state;
    struct shape_field f = FROM("x", "a");
    spec.fields = &f;
    spec.fields_n = 1;
    start_with("a,b");
    assert_data("1,2,3", "{\"x\":\"1\"}");
    assert_int_equal(out.ragged_rows, 1);
    assert_int_equal(out.bad_values, 1);
    spec.bad_value_dead = true;
    start_with("a,b");
    assert_int_equal(apply(STR("1,2,3")), SHAPE_DEAD);
    assert_non_null(strstr(out.reason, "3 cells"));
}

static void columns_are_found_by_name_in_every_header(void **state)
{
    (void)state;
    struct shape_field fields[] = {FROM("x", "b"), FROM("y", "a"), FROM("z", "b")};
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    start_with("b,c,a");
    assert_data("1,2,3", "{\"x\":\"1\",\"y\":\"3\",\"z\":\"1\"}");
    start_with("a,b,b");
    assert_data("1,2,3", "{\"x\":\"2\",\"y\":\"1\",\"z\":\"2\"}"); /* a repeated name: the first */
}

/* ---- without a template --------------------------------------------------------------------- */

static void all_columns_become_strings(void **state)
{
    (void)state;
    start_with("a,\"b \"\"x\"\"\",c");
    assert_data("1, two ,", "{\"a\":\"1\",\"b \\\"x\\\"\":\" two \",\"c\":\"\"}");
    assert_int_equal(out.bad_values, 0);
}

static void ragged_rows_lose_cells_or_get_nulls(void **state)
{
    (void)state;
    start_with("a,b");
    assert_data("1", "{\"a\":\"1\",\"b\":null}");
    assert_int_equal(out.ragged_rows, 1);
    assert_data("1,2,3,4", "{\"a\":\"1\",\"b\":\"2\"}");
    assert_int_equal(out.ragged_rows, 1);
    assert_int_equal(out.bad_values, 0);
    spec.bad_value_dead = true;
    assert_int_equal(apply(STR("1,2,3")), SHAPE_RECORD);
}

static void any_delimiter_will_do(void **state)
{
    (void)state;
    spec.delimiter = '\t';
    start_with("a\tb");
    assert_data("1,0\t2", "{\"a\":\"1,0\",\"b\":\"2\"}");
}

/* ---- lines and JSON ------------------------------------------------------------------------- */

static void a_line_passes_byte_for_byte(void **state)
{
    (void)state;
    spec.format = FORMAT_LINE;
    start();
    assert_int_equal(apply(STR("\xff\0 any \x01 thing")), SHAPE_RECORD);
    assert_ptr_equal(out.data.p, in.raw.p);
    assert_int_equal(out.data.n, in.raw.n);
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
    start();
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_data(good[i], good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(apply(str_of(bad[i])), SHAPE_DEAD);
        assert_non_null(strstr(out.reason, "not JSON at byte"));
    }
}

/* ---- keys ----------------------------------------------------------------------------------- */

static void random_keys_differ_and_follow_the_seed(void **state)
{
    (void)state;
    spec.format = FORMAT_LINE;
    start();
    char first[8], second[8];
    apply(STR("a"));
    assert_int_equal(out.key.n, 8);
    assert_int_equal(out.key_fallbacks, 0);
    memcpy(first, out.key.p, 8);
    apply(STR("a"));
    memcpy(second, out.key.p, 8);
    assert_memory_not_equal(first, second, 8);
    rng_seed(&rng, 1);
    apply(STR("a"));
    assert_memory_equal(first, out.key.p, 8);
}

static void a_hash_key_is_half_the_sha256_of_the_record(void **state)
{
    (void)state;
    spec.format = FORMAT_LINE;
    spec.key = (char *)"hash";
    start();
    assert_key("abc", "ba7816bf8f01cfea414140de5dae2223");
    spec.format = FORMAT_CSV; /* of the record as it is sent, not as it was read */
    start_with("a");
    apply(STR("1"));
    uint8_t sha[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    hash_sha256("{\"a\":\"1\"}", 9, sha);
    hash_hex(sha, SHA256_SIZE / 2, hex);
    assert_str(out.key, hex);
}

static void a_key_template_joins_text_and_columns(void **state)
{
    (void)state;
    spec.key = (char *)"{a}-{b}/{{x}}/{@host}:{@file.path}@{@file.offset}";
    start_with("a,b,c");
    assert_key("1, 2 ,3", "1- 2 /{x}/box:/srv/a.log@77");
    spec.key = (char *)"constant";
    start_with("a");
    assert_key("1", "constant");
}

static void a_missing_or_empty_field_means_a_random_key(void **state)
{
    (void)state;
    spec.key = (char *)"x{a}{b}";
    start_with("a,b");
    assert_key("1,2", "x12");
    assert_key(",2", NULL);
    assert_key("1,", NULL);
    assert_key("1", NULL);
    assert_key("1,2", "x12");
    start_with("a");
    assert_string_equal(missing, "b");
    assert_key("1", NULL);
}

static void a_key_may_have_256_characters_of_any_length(void **state)
{
    (void)state;
    static const char *const chars[] = {"k", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    spec.key = (char *)"{a}";
    start_with("a");
    for (size_t c = 0; c < ARRAY_LEN(chars); c++) {
        char raw[257 * 4 + 1] = "";
        size_t n = strlen(chars[c]);
        for (size_t i = 0; i < 257; i++)
            memcpy(raw + i * n, chars[c], n + 1);
        assert_key(raw, NULL);
        raw[256 * n] = '\0';
        assert_key(raw, raw);
        assert_int_equal(out.key.n, 256 * n);
    }
}

static void a_key_of_256_characters_counts_all_its_parts(void **state)
{
    (void)state;
    char raw[257];
    memset(raw, 'k', 256);
    raw[256] = '\0';
    spec.key = (char *)"{a}{@host}";
    start_with("a");
    assert_key(raw, NULL);
    raw[253] = '\0';
    assert_int_equal(apply(str_of(raw)), SHAPE_RECORD);
    assert_int_equal(out.key.n, 256);
    assert_int_equal(out.key_fallbacks, 0);
}

static void bad_utf8_in_a_key_is_replaced_and_counts_as_one_character(void **state)
{
    (void)state;
    spec.key = (char *)"{a}";
    start_with("a");
    assert_key("a\xffz", "a\xef\xbf\xbdz");
    char raw[258];
    memset(raw, 0xff, 257);
    raw[257] = '\0';
    assert_key(raw, NULL);
    raw[256] = '\0';
    assert_int_equal(apply(str_of(raw)), SHAPE_RECORD);
    assert_int_equal(out.key.n, 3 * 256);
}

static void a_hostile_cell_named_often_is_not_copied_often(void **state)
{
    (void)state;
    struct shape_field fields[60];
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        fields[i] = (struct shape_field)FROM("x", "a");
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    spec.key = (char *)"{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}";
    char *raw = malloc(MIB + 1);
    memset(raw, 1, MIB); /* six bytes each in JSON: 360 MiB if all were written */
    raw[MIB] = '\0';
    start_with("a");
    assert_int_equal(apply((struct str){raw, MIB}), SHAPE_DEAD);
    assert_non_null(strstr(out.reason, "max_record"));
    spec.fields_n = 0;
    spec.format = FORMAT_LINE;
    spec.key = (char *)"{@file.path}{@file.path}";
    in.path = (struct str){raw, MIB};
    start();
    assert_key("short", NULL);
    spec.format = FORMAT_CSV;
    spec.key = (char *)"{a}{a}";
    raw[200 * KIB] = '\0';
    spec.max_record = 16 * MIB;
    start_with("a");
    assert_key(raw, NULL);
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
        start();
        assert_key(raw, cases[i].want);
        assert_key("[]", NULL);
        assert_key("5", NULL);
    }
}

static void names_with_unicode_are_found(void **state)
{
    (void)state;
    spec.format = FORMAT_JSON;
    spec.key = (char *)"{stra\xc3\x9f\x65}";
    start();
    assert_key("{\"stra\xc3\x9f\x65\":\"x\"}", "x");
}

/* ---- limits and refusals -------------------------------------------------------------------- */

static void data_and_key_together_stay_within_max_record(void **state)
{
    (void)state;
    spec.format = FORMAT_LINE;
    spec.max_record = 20;
    start();
    assert_int_equal(apply(STR("123456789012")), SHAPE_RECORD); /* and 8 of the key */
    assert_int_equal(apply(STR("1234567890123")), SHAPE_DEAD);
    assert_non_null(strstr(out.reason, "max_record"));
    spec.format = FORMAT_CSV;
    start_with("a");
    assert_data("1234", "{\"a\":\"1234\"}");
    assert_int_equal(apply(STR("12345")), SHAPE_DEAD);
}

static void a_bad_template_is_refused_with_a_sentence(void **state)
{
    (void)state;
    struct shape_field bad_parse = TIME("x", "a", "%q", "%Y");
    struct shape_field bad_print = TIME("x", "a", "%Y", "%");
    struct shape_field bad_meta = FROM("x", "@nothing");
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
    start();
    assert_key("x", "/srv/a.log");
}

static void a_template_has_its_limits(void **state)
{
    (void)state;
    static struct shape_field many[SHAPE_FIELDS_MAX + 1];
    static char names[SHAPE_FIELDS_MAX + 1][8];
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        snprintf(names[i], sizeof names[i], "c%zu", i);
        many[i] = (struct shape_field)FROM(names[i], names[i]);
    }
    spec.fields = many;
    spec.fields_n = SHAPE_FIELDS_MAX + 1;
    assert_refused("fields");
    spec.fields_n = SHAPE_FIELDS_MAX;
    start_with("c0");
    assert_string_equal(missing, "c1");
    assert_int_equal(apply(STR("1")), SHAPE_RECORD);
    assert_int_equal(out.bad_values, SHAPE_FIELDS_MAX - 1);

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
    start_with("a");
    assert_int_equal(apply(STR("1")), SHAPE_RECORD);
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
    start_with("a");
    char want[65];
    memset(want, 'x', 64);
    want[64] = '\0';
    assert_key("x", want);
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
    struct shape_field f = FROM("x", "b");
    spec.fields = &f;
    spec.fields_n = 1;
    spec.key = (char *)"{a}";
    start_with("a,b");
    const struct str other[] = {STR("b"), STR("a")};
    struct shape_columns *second = shape_bind(shape, other, 2, NULL), *first = columns;
    assert_non_null(second);
    for (unsigned i = 0; i < 3; i++) {
        columns = first;
        assert_data("1,2", "{\"x\":\"2\"}");
        assert_str(out.key, "1");
        columns = second;
        assert_data("1,2", "{\"x\":\"1\"}");
        assert_str(out.key, "2");
    }
    columns = first;
    shape_columns_free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_crime_template_makes_the_documented_record),
        TEST(strings_are_json_strings_of_the_cell),
        TEST(what_is_not_utf8_is_replaced_and_counted),
        TEST(ints_are_copied_as_text),
        TEST(doubles_are_copied_as_text),
        TEST(bools_have_their_spellings),
        TEST(times_are_printed_anew_without_a_zone_of_ours),
        TEST(a_time_printed_as_a_type_it_does_not_fit_is_a_bad_value),
        TEST(constants_and_objects_keep_their_place),
        TEST(a_template_of_constants_only_needs_no_column),
        TEST(metadata_is_where_the_record_came_from),
        TEST(a_column_the_file_lacks_is_null_and_a_bad_value),
        TEST(the_reason_never_holds_the_value),
        TEST(missing_cells_are_null),
        TEST(a_row_with_too_many_cells_is_a_bad_value),
        TEST(columns_are_found_by_name_in_every_header),
        TEST(all_columns_become_strings),
        TEST(a_row_with_too_few_cells_may_be_torn_and_is_a_bad_value),
        TEST(ragged_rows_lose_cells_or_get_nulls),
        TEST(any_delimiter_will_do),
        TEST(a_line_passes_byte_for_byte),
        TEST(valid_json_passes_byte_for_byte),
        TEST(random_keys_differ_and_follow_the_seed),
        TEST(a_hash_key_is_half_the_sha256_of_the_record),
        TEST(a_key_template_joins_text_and_columns),
        TEST(a_missing_or_empty_field_means_a_random_key),
        TEST(a_key_may_have_256_characters_of_any_length),
        TEST(a_key_of_256_characters_counts_all_its_parts),
        TEST(bad_utf8_in_a_key_is_replaced_and_counts_as_one_character),
        TEST(a_hostile_cell_named_often_is_not_copied_often),
        TEST(json_fields_are_found_by_their_dotted_path),
        TEST(names_with_unicode_are_found),
        TEST(data_and_key_together_stay_within_max_record),
        TEST(a_bad_template_is_refused_with_a_sentence),
        TEST(a_bad_key_is_refused_with_a_sentence),
        TEST(a_template_has_its_limits),
        TEST(a_key_has_a_limit_of_parts),
        TEST(nothing_to_free_is_fine),
        TEST(one_shape_serves_files_with_different_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
