/* Formats other than line, json and csv; encodings; `add`. The rest stands in test_shape.c. */
#include "tests/unit/shapetest.h"

static int set_up(void **state)
{
    (void)state;
    set_up_shape(FORMAT_COMBINED_LOG, MIB);
    return 0;
}

static void assert_refused(const char *words)
{
    assert_string_equal(refusal(), words);
}

#define HIT "h - u [10/Oct/2000:13:55:36 -0700] \"GET /\\\"x HTTP/1.0\" 200 - \"-\" \"\""

/* ---- fields --------------------------------------------------------------------------------- */

static void without_a_template_all_fields_are_strings_and_what_is_not_there_is_null(void **state)
{
    (void)state;
    start();
    assert_data(HIT, "{\"host\":\"h\",\"ident\":null,\"authuser\":\"u\",\"datetime\":"
                     "\"10/Oct/2000:13:55:36 -0700\",\"request\":\"GET /\\\\\\\"x HTTP/1.0\","
                     "\"response\":\"200\",\"bytes\":null,\"referer\":null,\"agent\":\"\"}");
    spec.format = FORMAT_SYSLOG;
    start();
    assert_data("<13>Nov 23 05:06:07 root: hi",
                "{\"timestamp\":\"Nov 23 05:06:07\",\"hostname\":null,\"program\":\"root\","
                "\"processid\":null,\"message\":\"hi\",\"pri\":\"13\"}");
    spec.format = FORMAT_LOGFMT;
    start();
    assert_data("a=1 b=\"x\\ty\" c a=2 d=- e=",
                "{\"a\":\"1\",\"b\":\"x\\ty\",\"c\":true,\"d\":\"-\",\"e\":\"\"}");
    spec.format = FORMAT_REGEX;
    spec.pattern = (char *)"(?<b>x+)(?<a>y)?(?<c>z?)";
    start();
    assert_data("xx", "{\"b\":\"xx\",\"a\":null,\"c\":\"\"}");
}

static void a_template_takes_any_of_them(void **state)
{
    (void)state;
    struct shape_field inner[] = {FROM("bytes", "bytes", .type = TYPE_INT),
                                  FROM("status", "response", .type = TYPE_INT)};
    struct shape_field fields[] = {
        TIME("at", "datetime", "%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%dT%H:%M:%S%z"),
        OBJECT("http", inner),
        CONST("v", "1"),
        FROM("path", "@file.path"),
        FROM("user", "authuser", .trim = true),
        FROM("referer", "referer"),
    };
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    spec.key = (char *)"{host}/{@file.offset}";
    start();
    assert_data(HIT,
                "{\"at\":\"2000-10-10T13:55:36-0700\",\"http\":{\"bytes\":null,\"status\":200},"
                "\"v\":1,\"path\":\"/srv/a.log\",\"user\":\"u\",\"referer\":null}");
    assert_int_equal(out.bad_values, 0);
    assert_key(HIT, "h/77");
}

static void logfmt_looks_its_keys_up(void **state)
{
    (void)state;
    struct shape_field fields[] = {FROM("l", "level"), FROM("n", "n", .type = TYPE_INT),
                                   FROM("c", "cached", .type = TYPE_BOOL), FROM("c2", "cached"),
                                   TIME("t", "ts", "%Y", "%y")};
    spec.format = FORMAT_LOGFMT;
    spec.fields = fields;
    spec.fields_n = ARRAY_LEN(fields);
    spec.key = (char *)"{level}-{id}";
    start();
    assert_data("n=5 cached level=\"a\\\"b\" ts=2026 id=7",
                "{\"l\":\"a\\\"b\",\"n\":5,\"c\":true,\"c2\":\"true\",\"t\":\"26\"}");
    assert_key("n=5 cached level=\"a\\\"b\" ts=2026 id=7", "a\"b-7");
    assert_data("x=1", "{\"l\":null,\"n\":null,\"c\":null,\"c2\":null,\"t\":null}");
    assert_int_equal(out.bad_values, 0); /* a key that a line lacks is nothing unusual */
    assert_int_equal(out.key_fallbacks, 1);
    assert_data("n=x", "{\"l\":null,\"n\":null,\"c\":null,\"c2\":null,\"t\":null}");
    assert_int_equal(out.bad_values, 1);
}

static void a_field_that_the_format_lacks_is_refused(void **state)
{
    (void)state;
    struct shape_field field = FROM("x", "status");
    spec.fields = &field;
    spec.fields_n = 1;
    spec.format = FORMAT_COMMON_LOG;
    assert_refused("there is no field 'status': there are host, ident, authuser, datetime, "
                   "request, response, bytes");
    spec.fields_n = 0;
    spec.key = (char *)"{status}";
    assert_refused("key: there is no field 'status': there are host, ident, authuser, datetime, "
                   "request, response, bytes");
    spec.format = FORMAT_REGEX;
    spec.pattern = (char *)"(?<a>x)";
    assert_refused("key: there is no field 'status': there are a");
    spec.key = (char *)"{a}";
    start();
    assert_key("x", "x");
}

static void a_pattern_needs_to_be_one_with_names(void **state)
{
    (void)state;
    spec.format = FORMAT_REGEX;
    assert_refused("pattern: is required with format: regex");
    spec.pattern = (char *)"(a)";
    assert_refused("pattern: has no named groups, like (?<host>\\S+)");
    spec.pattern = (char *)"(?<a>";
    assert_refused("pattern: at byte 5: missing closing parenthesis");
}

/* ---- lines that do not match ---------------------------------------------------------------- */

static void a_line_of_another_format_goes_as_it_stands_or_becomes_dead_or_is_dropped(void **state)
{
    (void)state;
    spec.key = (char *)"{host}";
    start();
    assert_data("no such line", "no such line");
    assert_int_equal(out.no_match, 1);
    assert_int_equal(out.key_fallbacks, 1);
    assert_int_equal(out.key.n, 8);
    spec.on_no_match = NO_MATCH_DEAD_LETTER;
    start();
    assert_dead("no such line", "the line does not match its format");
    assert_int_equal(out.no_match, 1);
    spec.on_no_match = NO_MATCH_DROP;
    start();
    assert_int_equal(apply(STR("no such line")), SHAPE_DROPPED);
    assert_int_equal(out.no_match, 1);
    assert_key(HIT, "h");
    assert_int_equal(out.no_match, 0);
}

static void a_match_that_costs_too_much_is_no_match(void **state)
{
    (void)state;
    char line[64];
    memset(line, 'a', sizeof line);
    line[62] = 'b';
    line[63] = '!';
    spec.format = FORMAT_REGEX;
    spec.pattern = (char *)"(?<a>(a+)+)c?b";
    start();
    assert_int_equal(apply((struct str){line, sizeof line}), SHAPE_RECORD);
    assert_true(out.data.p == in.raw.p);
    assert_int_equal(out.no_match, 1);
    assert_int_equal(out.regex_limits, 1);
    spec.on_no_match = NO_MATCH_DEAD_LETTER;
    start();
    assert_int_equal(apply((struct str){line, sizeof line}), SHAPE_DEAD);
    assert_string_equal(out.reason, "matching the pattern took more than its limits allow");
    assert_data("aab", "{\"a\":\"aa\"}");
    assert_int_equal(out.regex_limits, 0);
}

static void a_record_that_is_too_long_may_be_cut_only_if_it_is_text(void **state)
{
    (void)state;
    spec.max_record = 40;
    start();
    assert_int_equal(apply(STR("a line that is not of the format, and long")), SHAPE_DEAD);
    assert_true(out.too_long && out.may_be_cut);
    assert_int_equal(out.key.n, 8);
    assert_int_equal(apply(STR(HIT)), SHAPE_DEAD);
    assert_true(out.too_long && !out.may_be_cut);
}

/* ---- encodings ------------------------------------------------------------------------------ */

static void text_is_utf_8_before_anything_looks_at_it(void **state)
{
    (void)state;
    spec.format = FORMAT_LINE;
    spec.encoding = ENCODING_LATIN1;
    start();
    assert_data("caf\xe9", "caf\xc3\xa9");
    spec.format = FORMAT_JSON;
    spec.key = (char *)"{n}";
    start();
    assert_data("{\"n\":\"\xfc\"}", "{\"n\":\"\xc3\xbc\"}");
    assert_key("{\"n\":\"\xfc\"}", "\xc3\xbc");
    spec.format = FORMAT_REGEX;
    spec.pattern = (char *)"(?<n>.*)";
    start();
    assert_data("\xfc", "{\"n\":\"\xc3\xbc\"}");
    spec.encoding = ENCODING_UTF16LE;
    spec.key = (char *)"random";
    start();
    assert_int_equal(apply(STR("a\0\xac\x20\x00\xdc")), SHAPE_RECORD);
    assert_true(str_eq(out.data, STR("{\"n\":\"a\xe2\x82\xac\xef\xbf\xbd\"}")));
    assert_int_equal(out.bytes_replaced, 1);
    spec.format = FORMAT_JSON;
    spec.encoding = ENCODING_UTF16BE;
    start();
    assert_int_equal(apply(STR("\0{\0!")), SHAPE_DEAD);
    assert_true(str_eq(out.data, STR("\0{\0!"))); /* a dead letter holds what was read */
}

static void utf_8_lines_are_not_touched(void **state)
{
    (void)state;
    spec.format = FORMAT_LINE;
    start();
    assert_int_equal(apply(STR("\xff\0 x")), SHAPE_RECORD);
    assert_true(out.data.p == in.raw.p && out.data.n == in.raw.n);
}

static void cells_and_names_of_latin_1_csv_are_converted(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    spec.encoding = ENCODING_LATIN1;
    spec.key = (char *)"{gr\xc3\xb6\xc3\x9f"
                       "e}";
    start_with("gr\xf6\xdf"
               "e,b");
    assert_null(missing);
    assert_data("\xfc\xe4,\"x\"\"\xe9\"", "{\"gr\xc3\xb6\xc3\x9f"
                                          "e\":\"\xc3\xbc\xc3\xa4\",\"b\":\"x\\\"\xc3\xa9\"}");
    assert_key("\xfc\xe4,1", "\xc3\xbc\xc3\xa4");
}

static void a_suffix_comes_behind_the_text(void **state)
{
    (void)state;
    spec.format = FORMAT_LINE;
    spec.encoding = ENCODING_LATIN1;
    start();
    in.suffix = STR("...");
    assert_data("\xe9", "\xc3\xa9...");
}

/* ---- add ------------------------------------------------------------------------------------ */

static struct shape_add members[] = {ADD("path", "{@file.path}"), ADD("host", "{@host}"),
                                     ADD("offset", "{@file.offset}"),
                                     ADD("note", "a {{\"b\"}} {@file.offset}")};
#define MEMBERS                                                                                    \
    "\"path\":\"/srv/a.log\",\"host\":\"box\",\"offset\":77,\"note\":\"a {\\\"b\\\"} 77\""

static void members_are_added_at_the_end_of_objects(void **state)
{
    (void)state;
    spec.add = members;
    spec.add_n = ARRAY_LEN(members);
    spec.format = FORMAT_LOGFMT;
    start();
    assert_data("a=1", "{\"a\":\"1\"," MEMBERS "}");
    struct shape_field field = FROM("x", "a", .type = TYPE_INT);
    spec.fields = &field;
    spec.fields_n = 1;
    start();
    assert_data("a=1", "{\"x\":1," MEMBERS "}");
    spec.fields_n = 0;
    spec.format = FORMAT_COMMON_LOG;
    start();
    assert_data("not of it", "not of it");
    spec.format = FORMAT_CSV;
    start_with("c");
    assert_data("v", "{\"c\":\"v\"," MEMBERS "}");
}

static void json_objects_keep_their_bytes(void **state)
{
    (void)state;
    spec.format = FORMAT_JSON;
    spec.add = members;
    spec.add_n = ARRAY_LEN(members);
    start();
    assert_data("{\"a\": 1.000 , \"b\":{ } }", "{\"a\": 1.000 , \"b\":{ } ," MEMBERS "}");
    assert_data("{}", "{" MEMBERS "}");
    assert_data(" { \t} ", " { \t" MEMBERS "} ");
    assert_data("{\"a\":\"{\"}", "{\"a\":\"{\"," MEMBERS "}");
    assert_data("{\"a\":{}}", "{\"a\":{}," MEMBERS "}");
    assert_int_equal(out.add_skipped, 0);
    static const char *const others[] = {"[]", "[{}]", "1", "\"}\"", "null", " true "};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_data(others[i], others[i]);
        assert_int_equal(out.add_skipped, 1);
    }
    assert_dead("{\"a\":1}}", "not JSON at byte 7");
}

static void members_may_hold_fields(void **state)
{
    (void)state;
    struct shape_add add[] = {ADD("id", "{a.b}/{@file.offset}"), ADD("lone", "{a.b}"),
                              ADD("gone", "{a.c}"), ADD("mixed", "x{a.c}"), ADD("none", "")};
    spec.format = FORMAT_JSON;
    spec.add = add;
    spec.add_n = ARRAY_LEN(add);
    start();
    assert_data("{\"a\":{\"b\":5}}",
                "{\"a\":{\"b\":5},\"id\":\"5/77\",\"lone\":\"5\",\"gone\":null,"
                "\"mixed\":\"x\",\"none\":\"\"}");
}

static void what_is_added_is_bounded(void **state)
{
    (void)state;
    struct shape_add add[] = {ADD("x", "{a}{a}{a}{a}{a}{a}{a}{a}")};
    char *line = malloc(MIB / 2);
    memset(line, 'v', MIB / 2);
    memcpy(line, "a=", 2);
    spec.format = FORMAT_LOGFMT;
    spec.add = add;
    spec.add_n = 1;
    start();
    assert_int_equal(apply((struct str){line, MIB / 2}), SHAPE_DEAD);
    assert_true(out.too_long);
    assert_data("a=1", "{\"a\":\"1\",\"x\":\"11111111\"}");
    free(line);
}

static void a_wrong_member_is_named(void **state)
{
    (void)state;
    struct shape_add add[] = {ADD("ok", "x"), ADD("bad", "{@file.name}")};
    spec.add = add;
    spec.add_n = 2;
    assert_refused("add: bad: unknown metadata '@file.name': there are " SHAPE_METADATA);
    add[1].text = (char *)"}";
    assert_refused("add: bad: a single '}' (write }} for a brace)");
    add[1].text = (char *)"{nothing}";
    assert_refused("add: bad: there is no field 'nothing': there are host, ident, authuser, "
                   "datetime, request, response, bytes, referer, agent");
}

static void what_is_not_known_of_the_instance_is_null_or_nothing(void **state)
{
    (void)state;
    struct shape_add add[] = {ADD("id", "{@ec2.instance_id}"),
                              ADD("at", "in {@ec2.availability_zone}")};
    struct shape_field field = FROM("z", "@ec2.availability_zone");
    spec.format = FORMAT_LOGFMT;
    start();
    assert_false(shape_wants_ec2(shape));
    spec.add = add;
    spec.add_n = 1;
    start();
    assert_true(shape_wants_ec2(shape));
    spec.add_n = 2;
    spec.fields = &field;
    spec.fields_n = 1;
    spec.key = (char *)"{@ec2.instance_id}";
    start();
    assert_data("a=1", "{\"z\":null,\"id\":null,\"at\":\"in \"}");
    assert_int_equal(out.bad_values, 0);
    assert_int_equal(out.key_fallbacks, 1);
    assert_true(shape_set_ec2(shape, "i-0abc", "eu-central-1b"));
    assert_data("a=1", "{\"z\":\"eu-central-1b\",\"id\":\"i-0abc\",\"at\":\"in eu-central-1b\"}");
    assert_key("a=1", "i-0abc");
    assert_true(shape_set_ec2(shape, NULL, NULL));
    assert_data("a=1", "{\"z\":null,\"id\":null,\"at\":\"in \"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_template_all_fields_are_strings_and_what_is_not_there_is_null),
        TEST(a_template_takes_any_of_them),
        TEST(logfmt_looks_its_keys_up),
        TEST(a_field_that_the_format_lacks_is_refused),
        TEST(a_pattern_needs_to_be_one_with_names),
        TEST(a_line_of_another_format_goes_as_it_stands_or_becomes_dead_or_is_dropped),
        TEST(a_match_that_costs_too_much_is_no_match),
        TEST(a_record_that_is_too_long_may_be_cut_only_if_it_is_text),
        TEST(text_is_utf_8_before_anything_looks_at_it),
        TEST(utf_8_lines_are_not_touched),
        TEST(cells_and_names_of_latin_1_csv_are_converted),
        TEST(a_suffix_comes_behind_the_text),
        TEST(members_are_added_at_the_end_of_objects),
        TEST(json_objects_keep_their_bytes),
        TEST(members_may_hold_fields),
        TEST(what_is_added_is_bounded),
        TEST(a_wrong_member_is_named),
        TEST(what_is_not_known_of_the_instance_is_null_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
