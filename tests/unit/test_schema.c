#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/config.h"
#include "lib/schema.h"

union base {
    struct config global;
    struct config_stream stream;
    struct config_source source;
    struct shape_field field;
    struct multiline_spec multiline;
};

static const struct schema_row *row(enum option_scope scope, const char *name)
{
    const struct schema_row *o = schema_find(scope, name);
    assert_non_null(o);
    return o;
}

static bool is_scalar(const struct schema_row *o)
{
    return o->type != OPTION_NAMES && o->type != OPTION_MAPPING && o->type != OPTION_RECORD &&
           o->type != OPTION_JSON;
}

static void print(const struct schema_row *o, const void *base, char *out, size_t size)
{
    struct buf b;
    buf_init(&b, size);
    option_print(o, base, &b);
    assert_non_null(buf_cstr(&b));
    memcpy(out, b.p, b.n + 1);
    buf_release(&b);
}

static void assert_value(const struct schema_row *o, const char *text, const char *printed)
{
    union base base = {0};
    struct err e = {0};
    char out[256];
    if (option_set(o, &base, text, &e) != 0)
        fail_msg("%s: %s: %s", o->name, text, e.text);
    print(o, &base, out, sizeof out);
    assert_string_equal(out, printed);
    schema_release(o->scope, &base);
}

static void assert_refused(const struct schema_row *o, const char *text, const char *words)
{
    union base base, untouched;
    struct err e = {0};
    memset(&base, 0, sizeof base);
    memset(&untouched, 0, sizeof untouched);
    int rc = option_set(o, &base, text, &e);
    assert_true(rc < 0);
    assert_int_equal(rc, e.code);
    assert_memory_equal(&base, &untouched, sizeof base);
    if (strstr(e.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, words);
}

static void every_default_is_a_good_value_and_prints_as_it_is_written(void **state)
{
    (void)state;
    size_t checked = 0;
    for (size_t i = 0; i < schema_n; i++) {
        const struct schema_row *o = &schema[i];
        if (o->fallback == NULL || o->size == 0)
            continue;
        char written[64];
        snprintf(written, sizeof written, o->type == OPTION_CHAR ? "\"%s\"" : "%s", o->fallback);
        assert_value(o, o->fallback, written);
        checked++;
    }
    assert_in_range(checked, 15, 60);
}

static void every_row_is_complete(void **state)
{
    (void)state;
    size_t in_scope[SCOPES_N] = {0};
    for (size_t i = 0; i < schema_n; i++)
        assert_true(++in_scope[schema[i].scope] <= 64); /* counted in the bits of a word */
    for (size_t i = 0; i < schema_n; i++) {
        const struct schema_row *o = &schema[i];
        size_t n = strlen(o->sentence);
        assert_true(n > 20 && o->sentence[n - 1] == '.');
        assert_ptr_equal(schema_find(o->scope, o->name), o); /* no other of that name before it */
        assert_ptr_equal(schema_nearest(o->scope, o->name), o);
        assert_int_equal(o->type == OPTION_CHOICE, o->choices != NULL);
        assert_false(o->required && o->fallback != NULL);
        assert_true(o->min <= o->max);
        if (o->type == OPTION_TEXT)
            assert_true(o->max > 0 && o->size == sizeof(char *));
        if (o->type == OPTION_DURATION || o->type == OPTION_SIZE || o->type == OPTION_COUNT)
            assert_true(o->max > 0 && o->size == sizeof(uint64_t));
        if (!is_scalar(o))
            assert_int_equal(o->size, 0);
    }
}

static void every_bound_is_a_good_value_and_one_past_it_is_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < schema_n; i++) {
        const struct schema_row *o = &schema[i];
        if (o->max == 0 || o->type == OPTION_TEXT)
            continue;
        bool time = o->type == OPTION_DURATION || o->type == OPTION_SYNC;
        const char *unit = time ? "ms" : o->type == OPTION_SIZE ? "B" : "";
        union base base = {0};
        char text[40];
        for (int past = 0; past <= 1; past++) {
            snprintf(text, sizeof text, "%llu%s", (unsigned long long)o->max + past, unit);
            assert_int_equal(option_set(o, &base, text, NULL), past ? ERR_RANGE : 0);
            if (o->min == 0)
                continue;
            if (o->type == OPTION_SYNC && past)
                continue; /* 0 is a word there */
            snprintf(text, sizeof text, "%llu%s", (unsigned long long)o->min - past, unit);
            assert_int_equal(option_set(o, &base, text, NULL), past ? ERR_RANGE : 0);
        }
    }
}

static void a_sync_is_a_duration_or_a_word(void **state)
{
    (void)state;
    const struct schema_row *o = row(SCOPE_STREAM, "sync");
    assert_value(o, "always", "always");
    assert_value(o, "never", "never");
    assert_value(o, "500ms", "500ms");
    assert_refused(o, "sometimes", "always");
    assert_refused(o, "0ms", "out of bounds");
    assert_refused(o, "2m", "out of bounds");
}

static void a_mode_is_octal(void **state)
{
    (void)state;
    const struct schema_row *o = row(SCOPE_SOURCE, "mode");
    assert_value(o, "0660", "0660");
    assert_value(o, "600", "0600");
    assert_value(o, "0", "0000");
    static const char *const bad[] = {"0668", "rw", "01777", "10000", "0x1f", "-1", " 7"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_refused(o, bad[i], "is not a mode in octal");
}

static void durations_have_four_units(void **state)
{
    (void)state;
    const struct schema_row *o = row(SCOPE_STREAM, "linger");
    union base base;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"0ms", 0}, {"0s", 0}, {"100ms", 100}, {"007ms", 7}, {"5s", 5000}, {"2m", 120000}};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        base.stream.linger_ms = 1;
        assert_int_equal(option_set(o, &base, good[i].text, NULL), 0);
        assert_int_equal(base.stream.linger_ms, good[i].ms);
    }
    assert_refused(o, "1h", "1h is out of bounds: 0ms to 10m");
    static const char *const bad[] = {"",    "ms", "1.5s", "-1s",  "+1s",  " 1s",  "1s ",
                                      "1 s", "1S", "1sec", "1ms1", "1mss", "0x1s", "one"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_refused(o, bad[i], "is not a whole number with a unit: ms, s, m or h");
}

static void sizes_have_units_of_1000_and_of_1024(void **state)
{
    (void)state;
    const struct schema_row *o = row(SCOPE_STREAM, "buffer");
    union base base;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"8388608B", 8388608}, {"10000KB", 10000000}, {"10000KiB", 10240000},
                {"9MB", 9000000},      {"9MiB", 9437184},     {"2GB", 2000000000},
                {"2GiB", 2147483648},  {"64GiB", 68719476736}};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(option_set(o, &base, good[i].text, NULL), 0);
        assert_int_equal(base.stream.buffer_bytes, good[i].bytes);
    }
    static const char *const bad[] = {"64mb", "64M", "64Mib", "64MIB", "64 MiB", "MiB", "6.4MiB"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_refused(o, bad[i], "KiB, MiB, GiB");
}

static void a_number_without_a_unit_is_told_so_and_0_too(void **state)
{
    (void)state;
    assert_refused(row(SCOPE_STREAM, "linger"), "100", "100 has no unit: ms, s, m or h");
    assert_refused(row(SCOPE_STREAM, "linger"), "0", "0 has no unit");
    assert_refused(row(SCOPE_STREAM, "buffer"), "67108864", "has no unit: B, KB");
}

static void a_number_that_overflows_is_out_of_bounds(void **state)
{
    (void)state;
    static const char *const huge[] = {"18446744073709551615", "18446744073709551616",
                                       "99999999999999999999999999999", "5124095576030432"};
    for (size_t i = 0; i < ARRAY_LEN(huge); i++) {
        char text[64];
        snprintf(text, sizeof text, "%sh", huge[i]);
        assert_refused(row(SCOPE_STREAM, "linger"), text, "out of bounds");
        snprintf(text, sizeof text, "%sTiB", huge[i]);
        assert_refused(row(SCOPE_STREAM, "buffer"), text, "out of bounds");
        assert_refused(row(SCOPE_STREAM, "in_flight"), huge[i], "out of bounds: 1 to 64");
    }
}

static void a_count_is_a_bare_whole_number(void **state)
{
    (void)state;
    const struct schema_row *o = row(SCOPE_STREAM, "in_flight");
    assert_value(o, "64", "64");
    static const char *const bad[] = {"", "four", "4.0", "-4", "+4", "4ms", "0x4", " 4"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_refused(o, bad[i], "is not a whole number");
}

static void a_choice_becomes_its_enum(void **state)
{
    (void)state;
    union base base = {0};
    assert_int_equal(option_set(row(SCOPE_GLOBAL, "log_level"), &base, "debug", NULL), 0);
    assert_int_equal(base.global.log_level, LOG_DEBUG);
    memset(&base, 0, sizeof base);
    assert_int_equal(option_set(row(SCOPE_SOURCE, "start_at"), &base, "beginning", NULL), 0);
    assert_int_equal(base.source.start_at, START_AT_BEGINNING);
    assert_int_equal(option_set(row(SCOPE_SOURCE, "format"), &base, "csv", NULL), 0);
    assert_int_equal(base.source.shape.format, FORMAT_CSV);
    assert_int_equal(option_set(row(SCOPE_SOURCE, "on_bad_value"), &base, "dead_letter", NULL), 0);
    assert_true(base.source.shape.bad_value_dead);
    memset(&base, 0, sizeof base);
    assert_int_equal(option_set(row(SCOPE_FIELD, "type"), &base, "double", NULL), 0);
    assert_int_equal(base.field.type, TYPE_DOUBLE);
    assert_int_equal(option_set(row(SCOPE_FIELD, "trim"), &base, "true", NULL), 0);
    assert_true(base.field.trim);
    assert_refused(row(SCOPE_FIELD, "type"), "integer",
                   "not one of: any, string, int, double, bool");
    assert_refused(row(SCOPE_FIELD, "trim"), "yes", "not one of: false, true");
    assert_refused(row(SCOPE_SOURCE, "key_fallback"), "hash", "not one of: random");
    assert_refused(row(SCOPE_GLOBAL, "log_level"), "Info", "not one of");
}

static void a_delimiter_is_one_ascii_character(void **state)
{
    (void)state;
    const struct schema_row *o = row(SCOPE_SOURCE, "delimiter");
    assert_value(o, ";", "\";\"");
    assert_value(o, " ", "\" \"");
    assert_value(o, "\t", "\"\\t\"");
    assert_refused(o, "\"", "cannot be the delimiter");
    assert_refused(o, "\r", "cannot be the delimiter");
    assert_refused(o, "\n", "cannot be the delimiter");
    assert_refused(o, "", "not one ASCII character");
    assert_refused(o, ",,", "not one ASCII character");
    assert_refused(o, "\\t", "a tab is \"\\t\" in double quotes");
    assert_refused(o, "\xc2\xa7", "not one ASCII character");
}

static void a_stream_is_a_name_or_an_arn(void **state)
{
    (void)state;
    const struct schema_row *o = row(SCOPE_STREAM, "kinesis");
    char name[130];
    memset(name, 'x', 129);
    name[129] = '\0';
    assert_refused(o, name, "1 to 128 letters, digits and _.-");
    name[128] = '\0';
    assert_value(o, name, name);
    static const char *const good[] = {
        "a", "A-b_c.9", "arn:aws:kinesis:us-east-1:123456789012:stream/crimes",
        "arn:aws-us-gov:kinesis:us-gov-west-1:000000000000:stream/a.b"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_value(o, good[i], good[i]);
    static const char *const bad[] = {
        "a b",
        "a/b",
        "caf\xc3\xa9",
        "arn:",
        "arn:aws:kinesis",
        "arn:aws:firehose:us-east-1:123456789012:deliverystream/x",
        "arn:aws:kinesis:us-east-1:123456789012:stream/",
        "arn:aws:kinesis:us-east-1:12345678901:stream/x",
        "arn:aws:kinesis:us-east-1:1234567890123:stream/x",
        "arn:aws:kinesis:us-east-1:12345678901a:stream/x",
        "arn:aws:kinesis:us-east-1:123456789012:streams/x",
        "arn:aws:kinesis:us-east-1:123456789012:stream/x/consumer/y:1",
        "arn:aws:kinesis::123456789012:stream/x",
        "arn:gcp:kinesis:us-east-1:123456789012:stream/x",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_refused(o, bad[i], "data stream");
}

static void paths_are_absolute_and_urls_are_urls(void **state)
{
    (void)state;
    assert_refused(row(SCOPE_SOURCE, "file"), "logs/*.log", "must start with /");
    assert_refused(row(SCOPE_GLOBAL, "state_dir"), "state", "must start with /");
    assert_refused(row(SCOPE_GLOBAL, "ca_bundle"), "ca.pem", "must start with /");
    assert_value(row(SCOPE_SOURCE, "file"), "/a b/*.[ch]", "/a b/*.[ch]");
    assert_refused(row(SCOPE_GLOBAL, "endpoint"), "localhost:4567", "");
    assert_refused(row(SCOPE_GLOBAL, "endpoint"), "http://u:p@h/", "");
    assert_value(row(SCOPE_GLOBAL, "endpoint"), "http://[::1]:4567", "http://[::1]:4567");
    assert_refused(row(SCOPE_GLOBAL, "region"), "us east", "region");
    char path[5001];
    memset(path, '/', 5000);
    path[5000] = '\0';
    assert_refused(row(SCOPE_SOURCE, "file"), path, "5000 bytes are too long; at most 4095");
    assert_refused(row(SCOPE_SOURCE, "file"), "", "empty");
}

static void patterns_and_metadata_are_checked(void **state)
{
    (void)state;
    assert_refused(row(SCOPE_FIELD, "parse"), "%q", "%q");
    assert_refused(row(SCOPE_FIELD, "print"), "%", "");
    assert_value(row(SCOPE_FIELD, "parse"), "%d/%b/%Y:%H:%M:%S %z", "%d/%b/%Y:%H:%M:%S %z");
    assert_value(row(SCOPE_FIELD, "from"), "@file.offset", "@file.offset");
    assert_value(row(SCOPE_FIELD, "from"), "a@b", "a@b");
    assert_refused(row(SCOPE_FIELD, "from"), "@file", "there is no metadata \"@file\"");
}

static void setting_a_text_again_frees_the_first(void **state)
{
    (void)state;
    union base base = {0};
    const struct schema_row *o = row(SCOPE_GLOBAL, "profile");
    assert_int_equal(option_set(o, &base, "one", NULL), 0);
    assert_int_equal(option_set(o, &base, "two", NULL), 0);
    assert_string_equal(base.global.profile, "two");
    assert_int_equal(option_set(o, &base, "", NULL), ERR_MISSING);
    assert_string_equal(base.global.profile, "two");
    schema_release(SCOPE_GLOBAL, &base);
    assert_null(base.global.profile);
}

static void values_compare_and_print_by_their_row(void **state)
{
    (void)state;
    union base a = {0}, b = {0};
    char out[64];
    const struct schema_row *o = row(SCOPE_GLOBAL, "profile");
    assert_true(option_equal(o, &a, &b));
    print(o, &a, out, sizeof out);
    assert_string_equal(out, "(not set)");
    assert_int_equal(option_set(o, &a, "x", NULL), 0);
    assert_false(option_equal(o, &a, &b));
    assert_false(option_equal(o, &b, &a));
    assert_int_equal(option_set(o, &b, "x", NULL), 0);
    assert_true(option_equal(o, &a, &b));
    schema_release(SCOPE_GLOBAL, &a);
    schema_release(SCOPE_GLOBAL, &b);
    assert_value(row(SCOPE_STREAM, "linger"), "60000ms", "1m");
    assert_value(row(SCOPE_STREAM, "linger"), "61s", "61s");
    assert_value(row(SCOPE_STREAM, "linger"), "1001ms", "1001ms");
    assert_value(row(SCOPE_STREAM, "buffer"), "65536KiB", "64MiB");
    assert_value(row(SCOPE_STREAM, "buffer"), "9000KB", "9MB");
    assert_value(row(SCOPE_STREAM, "buffer"), "9000001B", "9000001B");
}

static void edits_are_counted(void **state)
{
    (void)state;
    assert_int_equal(edit_distance("", ""), 0);
    assert_int_equal(edit_distance("linger", "linger"), 0);
    assert_int_equal(edit_distance("linger", "lingr"), 1);
    assert_int_equal(edit_distance("linger", "lingerr"), 1);
    assert_int_equal(edit_distance("linger", "lunger"), 1);
    assert_int_equal(edit_distance("linger", "lniger"), 1);
    assert_int_equal(edit_distance("kitten", "sitting"), 3);
    assert_int_equal(edit_distance("abc", ""), 3);
    assert_int_equal(edit_distance("", "abc"), 3);
    char a[1000], b[1000];
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    a[999] = b[999] = '\0';
    assert_int_equal(edit_distance(a, b), EDIT_CHARS_MAX);
}

static void the_nearest_option_is_of_the_same_scope(void **state)
{
    (void)state;
    assert_string_equal(schema_nearest(SCOPE_STREAM, "lingr")->name, "linger");
    assert_string_equal(schema_nearest(SCOPE_GLOBAL, "regoin")->name, "region");
    assert_string_equal(schema_nearest(SCOPE_SOURCE, "fromat")->name, "format");
    assert_string_equal(schema_nearest(SCOPE_FIELD, "form")->name, "from");
    assert_string_equal(schema_nearest(SCOPE_GLOBAL, "source")->name, "sources");
    assert_null(schema_find(SCOPE_SOURCE, "linger"));
    assert_non_null(schema_nearest(SCOPE_STREAM, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_a_good_value_and_prints_as_it_is_written),
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(every_bound_is_a_good_value_and_one_past_it_is_not),
        cmocka_unit_test(a_sync_is_a_duration_or_a_word),
        cmocka_unit_test(a_mode_is_octal),
        cmocka_unit_test(durations_have_four_units),
        cmocka_unit_test(sizes_have_units_of_1000_and_of_1024),
        cmocka_unit_test(a_number_without_a_unit_is_told_so_and_0_too),
        cmocka_unit_test(a_number_that_overflows_is_out_of_bounds),
        cmocka_unit_test(a_count_is_a_bare_whole_number),
        cmocka_unit_test(a_choice_becomes_its_enum),
        cmocka_unit_test(a_delimiter_is_one_ascii_character),
        cmocka_unit_test(a_stream_is_a_name_or_an_arn),
        cmocka_unit_test(paths_are_absolute_and_urls_are_urls),
        cmocka_unit_test(patterns_and_metadata_are_checked),
        cmocka_unit_test(setting_a_text_again_frees_the_first),
        cmocka_unit_test(values_compare_and_print_by_their_row),
        cmocka_unit_test(edits_are_counted),
        cmocka_unit_test(the_nearest_option_is_of_the_same_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
