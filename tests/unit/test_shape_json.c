/* Records that are JSON: templates, flatten, add. The rest stands in test_shape.c. */
#include "tests/unit/shapetest.h"

#define ISO "%Y-%m-%dT%H:%M:%S%.f%z"

static int set_up(void **state)
{
    (void)state;
    set_up_shape(FORMAT_JSON, 4 * KIB);
    return 0;
}

/* ---- templates ------------------------------------------------------------------------------ */

/* One field x of this kind from a member a of this value. */
static void assert_value(struct shape_field field, const char *value, const char *want,
                         unsigned bad)
{
    char raw[300], whole[300];
    snprintf(raw, sizeof raw, "{\"b\":{\"a\":0}, \"a\" : %s }", value);
    snprintf(whole, sizeof whole, "{\"x\":%s}", want);
    spec.fields = &field;
    spec.fields_n = 1;
    start();
    assert_data(raw, whole);
    assert_int_equal(out.bad_values, bad);
    spec.bad_value_dead = true;
    start();
    if (bad > 0)
        assert_dead(raw, "the value of member a does not fit field x");
    else
        assert_data(raw, whole);
    spec.bad_value_dead = false;
}

static void without_a_type_values_stay_what_they_are(void **state)
{
    (void)state;
    const struct shape_field f = FROM("x", "a"), t = FROM("x", "a", .trim = true);
    static const char *const same[] = {"5",
                                       "-1.50e+3",
                                       "123456789012345678901234567890",
                                       "true",
                                       "false",
                                       "null",
                                       "\"\"",
                                       "\" a\\u0041\\n \"",
                                       "[]",
                                       "[1, {\"a\" : 2}]",
                                       "{ }",
                                       "{\"a\":{\"b\":[ ]}}"};
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        assert_value(f, same[i], same[i], 0);
    assert_value(t, "\" \\ta\\u0020 \"", "\"a\"", 0);
    assert_value(t, "[ 1 ]", "[ 1 ]", 0);
    assert_value(t, "5", "5", 0);
}

static void a_type_converts(void **state)
{
    (void)state;
    const struct shape_field s = FROM("x", "a", .type = TYPE_STRING);
    const struct shape_field i = FROM("x", "a", .type = TYPE_INT);
    const struct shape_field d = FROM("x", "a", .type = TYPE_DOUBLE);
    const struct shape_field b = FROM("x", "a", .type = TYPE_BOOL);
    assert_value(s, "5.0", "\"5.0\"", 0);
    assert_value(s, "true", "\"true\"", 0);
    assert_value(s, "null", "null", 0);
    assert_value(s, "\"\\u0041\"", "\"A\"", 0);
    assert_value(s, "[1, \"a\"]", "\"[1, \\\"a\\\"]\"", 0);
    assert_value(s, "{\"b\":1}", "\"{\\\"b\\\":1}\"", 0);
    assert_value(i, "\"+007\"", "7", 0);
    assert_value(i, "\" 12 \"", "12", 0);
    assert_value(i, "12", "12", 0);
    assert_value(i, "1.5", "null", 1);
    assert_value(i, "\"x\"", "null", 1);
    assert_value(i, "\"\"", "null", 0);
    assert_value(i, "true", "null", 1);
    assert_value(i, "[1]", "null", 1);
    assert_value(i, "{}", "null", 1);
    assert_value(i, "null", "null", 0);
    assert_value(d, "\"1.\"", "1.0", 0);
    assert_value(d, "3", "3", 0);
    assert_value(b, "\"yes\"", "true", 0);
    assert_value(b, "0", "false", 0);
    assert_value(b, "true", "true", 0);
    assert_value(b, "2", "null", 1);
}

static void times_are_read_from_strings_and_numbers(void **state)
{
    (void)state;
    const struct shape_field day = TIME("x", "a", ISO, "%d", .type = TYPE_INT);
    const struct shape_field all = TIME("x", "a", ISO, "%F %T");
    const struct shape_field seconds = TIME("x", "a", "%s", "%F");
    const struct shape_field millis = TIME("x", "a", "%Q", "%F %T%.f");
    assert_value(day, "\"2019-01-02T03:04:05.678Z\"", "2", 0);
    assert_value(all, "\"2019-01-02T03:04:05Z\"", "\"2019-01-02 03:04:05\"", 0);
    assert_value(all, "\"2019-01-02T03:04:05.6\\u002b01:00\"", "\"2019-01-02 03:04:05\"", 0);
    assert_value(seconds, "1546398245", "\"2019-01-02\"", 0);
    assert_value(seconds, "\"1546398245\"", "\"2019-01-02\"", 0);
    assert_value(millis, "1546398245678", "\"2019-01-02 03:04:05.678\"", 0);
    assert_value(all, "\"yesterday\"", "null", 1);
    assert_value(all, "\"\"", "null", 0);
    assert_value(all, "null", "null", 0);
    assert_value(all, "{}", "null", 1);
}

static void a_path_is_followed_and_a_whole_name_comes_first(void **state)
{
    (void)state;
    struct shape_field f = FROM("x", "a.b.c");
    spec.fields = &f;
    spec.fields_n = 1;
    start();
    assert_data("{\"a\":{\"b\":{\"c\":1}}}", "{\"x\":1}");
    assert_data("{\"a\":{\"b.c\":2,\"b\":{\"c\":1}}}", "{\"x\":2}");
    assert_data("{\"a\":{\"b\":{\"c\":1},\"b.c\":2}}", "{\"x\":2}");
    assert_data("{\"a.b.c\":3,\"a\":{\"b.c\":2,\"b\":{\"c\":1}}}", "{\"x\":3}");
    assert_data("{\"a.b.c\":null,\"a\":{\"b\":{\"c\":1}}}", "{\"x\":null}");
    assert_data("{\"a.b\":{\"c\":1}}", "{\"x\":null}");
    assert_data("{\"a\":[{\"b\":{\"c\":1}}]}", "{\"x\":null}");
    assert_data("{\"b\":{\"c\":1},\"c\":1}", "{\"x\":null}");
    assert_data("{}", "{\"x\":null}");
    assert_int_equal(out.bad_values, 0);
}

static void of_two_members_of_one_name_the_last_counts(void **state)
{
    (void)state;
    struct shape_field f[] = {FROM("x", "a.b"), FROM("y", "a")};
    spec.fields = f;
    spec.fields_n = 2;
    start();
    assert_data("{\"a\":{\"b\":1,\"b\":2}}", "{\"x\":2,\"y\":{\"b\":1,\"b\":2}}");
    assert_data("{\"a\":{\"b\":1},\"a\":{\"c\":2}}", "{\"x\":null,\"y\":{\"c\":2}}");
    assert_data("{\"a\":{\"b\":1},\"a\":3}", "{\"x\":null,\"y\":3}");
    assert_data("{\"a\":3,\"a\":{\"b\":1}}", "{\"x\":1,\"y\":{\"b\":1}}");
    assert_data("{}", "{\"x\":null,\"y\":null}");
}

static void names_are_compared_without_their_escapes(void **state)
{
    (void)state;
    struct shape_field f[] = {FROM("x", "pid"), FROM("y", "a\"b.\xc3\xa9")};
    spec.fields = f;
    spec.fields_n = 2;
    spec.key = (char *)"{pid}";
    start();
    assert_data("{\"p\\u0069d\":1,\"a\\\"b\":{\"\\u00e9\":2}}", "{\"x\":1,\"y\":2}");
    assert_key("{\"\\u0070\\u0069\\u0064\":\"k\"}", "k");
    assert_data("{\"p\\\\u0069d\":1}", "{\"x\":null,\"y\":null}");
}

static void objects_constants_and_metadata_stand_beside_json(void **state)
{
    (void)state;
    struct shape_field inner[] = {FROM("lat", "loc.0"), FROM("all", "loc")};
    struct shape_field f[] = {OBJECT("where", inner), CONST("v", "1"), FROM("at", "@file.offset"),
                              FROM("path", "@file.path"),
                              FROM("s", "@file.offset", .type = TYPE_STRING)};
    spec.fields = f;
    spec.fields_n = ARRAY_LEN(f);
    start();
    assert_data("{\"loc\":{\"0\":5}}", "{\"where\":{\"lat\":5,\"all\":{\"0\":5}},\"v\":1,\"at\":77,"
                                       "\"path\":\"/srv/a.log\",\"s\":\"77\"}");
}

static void what_is_copied_stays_in_one_line(void **state)
{
    (void)state;
    struct shape_field f = FROM("x", "a");
    spec.fields = &f;
    spec.fields_n = 1;
    start();
    assert_data("{\"a\":[1,\r\n2,\n\"\\n\"\n]\n}", "{\"x\":[1,  2, \"\\n\" ]}");
    spec.fields_n = 0;
    spec.flatten = (char *)".";
    start();
    assert_data("{\n\"a\"\n:\n[\n1\n],\"b\":\n{\"c\":\n\"\\n\"\n}\n}\n",
                "{\"a\":[ 1 ],\"b.c\":\"\\n\"}");
}

static void what_is_no_object_goes_as_it_stands_or_dies(void **state)
{
    (void)state;
    static const char *const others[] = {"5", " [{\"a\":1}] ", "null", "\"{\""};
    struct shape_field f = FROM("x", "a");
    struct shape_add add[] = {ADD("n", "{a}")};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        for (unsigned how = 0; how < 3; how++) {
            spec.fields = &f;
            spec.fields_n = how == 0;
            spec.flatten = how == 1 ? (char *)"." : NULL;
            spec.add = add;
            spec.add_n = how == 2;
            spec.bad_value_dead = false;
            start();
            assert_data("{\"a\":1}", how == 0   ? "{\"x\":1}"
                                     : how == 1 ? "{\"a\":1}"
                                                : "{\"a\":1,\"n\":\"1\"}");
            assert_data(others[i], others[i]);
            assert_int_equal(out.add_skipped, 1);
            spec.bad_value_dead = true;
            start();
            assert_dead(others[i], "not a JSON object");
        }
    }
}

static void what_is_not_json_is_dead_whatever_it_was_to_become(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *reason;
    } cases[] = {
        {"{\"a\":1}}", "not JSON at byte 7"},
        {"{\"a\":1", "not JSON at byte 6"},
        {"{\"a\":{\"b\":x}}", "not JSON at byte 10"},
        {"{\"a\":[1,]}", "not JSON at byte 8"},
        {"{\"a\" 1}", "not JSON at byte 5"},
        {"[1", "not JSON at byte 2"},
        {"", "not JSON at byte 0"},
        {"{\"q\":{\"b\":1]}", "not JSON at byte 11"},
    };
    struct shape_field f = FROM("x", "a.b");
    struct shape_add add[] = {ADD("n", "m")};
    for (unsigned how = 0; how < 5; how++) {
        spec.fields = &f;
        spec.fields_n = how == 0;
        spec.flatten = how == 1 ? (char *)"." : NULL;
        spec.add = add;
        spec.add_n = how == 2;
        spec.key = how == 3 ? (char *)"{a.b}" : (char *)"random";
        start();
        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
            assert_dead(cases[i].raw, cases[i].reason);
        assert_int_equal(apply(STR("{\"a\":1}")), SHAPE_RECORD);
    }
}

static void a_record_known_to_be_json_is_not_looked_at_again(void **state)
{
    (void)state;
    in.valid = true;
    start();
    assert_data("{no JSON at all", "{no JSON at all");
    spec.flatten = (char *)".";
    start();
    assert_dead("{no JSON at all", "not JSON at byte 1"); /* it is walked anyway */
    assert_data("5", "5");
}

static void what_a_template_takes_is_bounded(void **state)
{
    (void)state;
    struct shape_field f[] = {FROM("x", "a"), FROM("y", "a"), FROM("z", "a")};
    char raw[2000];
    snprintf(raw, sizeof raw, "{\"a\":\"%01500d\"}", 0);
    spec.fields = f;
    spec.fields_n = 3;
    start();
    assert_int_equal(apply(str_of(raw)), SHAPE_DEAD);
    assert_true(out.too_long && !out.may_be_cut);
    spec.fields_n = 2;
    start();
    assert_int_equal(apply(str_of(raw)), SHAPE_RECORD);
}

/* ---- flatten -------------------------------------------------------------------------------- */

static void nested_objects_become_dotted_names(void **state)
{
    (void)state;
    spec.flatten = (char *)".";
    spec.key = (char *)"{userId.id}";
    start();
    assert_data("{\"userId\":{\"id\":\"u1\"},\"event\":\"card\",\"eventContext\":{\"ip\":"
                "\"10.0.0.1\",\"device\":{\"os\":\"a\",\"v\":9.10}},\"n\":null,\"t\":true}",
                "{\"userId.id\":\"u1\",\"event\":\"card\",\"eventContext.ip\":\"10.0.0.1\","
                "\"eventContext.device.os\":\"a\",\"eventContext.device.v\":9.10,\"n\":null,"
                "\"t\":true}");
    assert_key("{\"userId\":{\"id\":\"u1\"}}", "u1");
    assert_data("{}", "{}");
    assert_data(" { } ", "{}");
    assert_data("{\"a\":{ }}", "{\"a\":{}}");
    assert_data("{\"a\":{\"b\":{},\"c\":1},\"d\":{}}", "{\"a.b\":{},\"a.c\":1,\"d\":{}}");
    assert_data("{\"a\":[{\"b\":{\"c\":1}}, []]}", "{\"a\":[{\"b\":{\"c\":1}}, []]}");
    assert_data("{\"\":{\"\":1}}", "{\".\":1}");
}

static void names_keep_their_own_bytes(void **state)
{
    (void)state;
    spec.flatten = (char *)".";
    start();
    assert_data("{\"a\\u0062\":{\"c\\\"\":1,\"\xc3\xa9\":2}}",
                "{\"a\\u0062.c\\\"\":1,\"a\\u0062.\xc3\xa9\":2}");
}

static void names_are_not_made_unique(void **state)
{
    (void)state;
    spec.flatten = (char *)".";
    start();
    assert_data("{\"a\":{\"b\":1},\"a.b\":2,\"a\":{\"b\":3}}", "{\"a.b\":1,\"a.b\":2,\"a.b\":3}");
}

static void the_separator_may_be_any_text(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"_", "{\"a_b_c\":1}"},
        {"::", "{\"a::b::c\":1}"},
        {"\"", "{\"a\\\"b\\\"c\":1}"},
        {"\xe2\x86\x92", "{\"a\xe2\x86\x92\x62\xe2\x86\x92\x63\":1}"},
        {"\t", "{\"a\\tb\\tc\":1}"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        spec.flatten = (char *)(uintptr_t)cases[i][0];
        start();
        assert_data("{\"a\":{\"b\":{\"c\":1}}}", cases[i][1]);
    }
}

static void a_flattened_record_is_bounded(void **state)
{
    (void)state;
    spec.flatten = (char *)".";
    spec.max_record = 1 * KIB;
    start();
    /* a long name above many members */
    char raw[1000];
    size_t n = (size_t)snprintf(raw, sizeof raw, "{\"%0500d\":{", 0);
    for (unsigned i = 0; i < 50; i++)
        n += (size_t)snprintf(raw + n, sizeof raw - n, "%s\"%u\":1", i > 0 ? "," : "", i);
    snprintf(raw + n, sizeof raw - n, "}}");
    assert_int_equal(apply(str_of(raw)), SHAPE_DEAD);
    assert_true(out.too_long && !out.may_be_cut);
    assert_data("{\"a\":{\"b\":1}}", "{\"a.b\":1}");
}

static void nesting_is_flattened_to_the_limit(void **state)
{
    (void)state;
    static char raw[6 * JSON_DEPTH_MAX + 20], want[2 * JSON_DEPTH_MAX + 20];
    spec.flatten = (char *)".";
    spec.key = (char *)"{a.a.x}";
    start();
    for (unsigned depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        size_t n = 0, m = (size_t)snprintf(want, sizeof want, "{\"");
        for (unsigned i = 1; i < depth; i++) {
            n += (size_t)snprintf(raw + n, sizeof raw - n, "{\"a\":");
            m += (size_t)snprintf(want + m, sizeof want - m, i > 1 ? ".a" : "a");
        }
        n += (size_t)snprintf(raw + n, sizeof raw - n, "{\"x\":0}");
        snprintf(want + m, sizeof want - m, ".x\":0}");
        memset(raw + n, '}', depth - 1);
        raw[n + depth - 1] = '\0';
        if (depth == JSON_DEPTH_MAX)
            assert_data(raw, want);
        else
            assert_int_equal(apply(str_of(raw)), SHAPE_DEAD);
    }
    assert_key("{\"a\":{\"a\":{\"x\":7}}}", "7");
}

/* ---- add ------------------------------------------------------------------------------------ */

static struct shape_add stamps[] = {ADD("pid", "{@peer.pid}"), ADD("uid", "{@peer.uid}")};
#define STAMPS "\"pid\":41,\"uid\":1000"

static void stamp(void)
{
    spec.add = stamps;
    spec.add_n = ARRAY_LEN(stamps);
    in.path = (struct str){0};
    in.has_peer = true;
    in.pid = 41;
    in.uid = 1000;
    in.gid = 0;
    start();
}

static void an_objects_own_members_of_added_names_are_left_out(void **state)
{
    (void)state;
    stamp();
    assert_data("{\"a\":1}", "{\"a\":1," STAMPS "}");
    assert_data("{\"pid\":1,\"a\": 1 }", "{\"a\": 1 ," STAMPS "}");
    assert_data("{ \"a\": 1 , \"pid\":1 }", "{ \"a\": 1 ," STAMPS "}");
    assert_data("{ \"a\": 1 , \"pid\":{\"x\":[]} , \"b\":2}", "{ \"a\": 1 , \"b\":2," STAMPS "}");
    assert_data("{\"pid\":1}", "{" STAMPS "}");
    assert_data("{\"pid\":1,\"uid\":2}", "{" STAMPS "}");
    assert_data("{\"pid\":1,\"pid\":2,\"a\":1,\"pid\":3,\"uid\":[1],\"b\":2,\"uid\":4}",
                "{\"a\":1,\"b\":2," STAMPS "}");
    assert_data("{}", "{" STAMPS "}");
    assert_data(" {\"a\":{\"pid\":1},\"b\":[{\"uid\":1}]} ",
                " {\"a\":{\"pid\":1},\"b\":[{\"uid\":1}]," STAMPS "} ");
}

static void a_name_cannot_hide_behind_escapes(void **state)
{
    (void)state;
    stamp();
    assert_data("{\"p\\u0069d\":1,\"a\":1,\"\\u0075\\u0069\\u0064\":2}", "{\"a\":1," STAMPS "}");
    assert_data("{\"p\\\\u0069d\":1}", "{\"p\\\\u0069d\":1," STAMPS "}");
    spec.flatten = (char *)".";
    start();
    assert_data("{\"p\\u0069d\":1,\"a\":{\"\\u0070id\":2},\"\\u0075id\":{}}",
                "{\"a.\\u0070id\":2," STAMPS "}");
}

static void flattened_members_are_left_out_by_the_name_they_get(void **state)
{
    (void)state;
    struct shape_add add[] = {ADD("a.b", "x"), ADD("c", "y"), ADD("a.", "z")};
    spec.flatten = (char *)".";
    spec.add = add;
    spec.add_n = ARRAY_LEN(add);
    start();
    assert_data("{\"a\":{\"b\":1,\"c\":2},\"c\":{\"d\":3},\"a.b\":4}",
                "{\"a.c\":2,\"c.d\":3,\"a.b\":\"x\",\"c\":\"y\",\"a.\":\"z\"}");
    assert_data("{\"a\":{\"b\":1,\"\":5},\"c\":{}}", "{\"a.b\":\"x\",\"c\":\"y\",\"a.\":\"z\"}");
    assert_data("{\"\\u0061\":{\"b\":1,\"\\u0062\":{\"e\":1}}}",
                "{\"\\u0061.\\u0062.e\":1,\"a.b\":\"x\",\"c\":\"y\",\"a.\":\"z\"}");
    /* an escape in the separator alone */
    add[0].name = (char *)"a\"b";
    spec.flatten = (char *)"\"";
    start();
    assert_data("{\"a\":{\"b\":1}}", "{\"a\\\"b\":\"x\",\"c\":\"y\",\"a.\":\"z\"}");
}

static void lines_cannot_bring_added_names_either(void **state)
{
    (void)state;
    spec.format = FORMAT_LOGFMT;
    stamp();
    assert_data("pid=1 a=2 uid=3 pid", "{\"a\":\"2\"," STAMPS "}");
    assert_data("pid=1", "{" STAMPS "}");
    spec.format = FORMAT_REGEX;
    spec.pattern = (char *)"(?<pid>\\d+) (?<a>.*)";
    start();
    assert_data("1 2", "{\"a\":\"2\"," STAMPS "}");
    spec.pattern = (char *)"(?<pid>\\d+)";
    start();
    assert_data("1", "{" STAMPS "}");
}

static void csv_columns_of_added_names_are_left_out(void **state)
{
    (void)state;
    spec.format = FORMAT_CSV;
    stamp();
    start_with("uid,a,pid,b");
    assert_data("1,2,3,4", "{\"a\":\"2\",\"b\":\"4\"," STAMPS "}");
    start_with("uid");
    assert_data("1", "{" STAMPS "}");
}

static void peers_are_numbers_by_themselves_and_null_when_unknown(void **state)
{
    (void)state;
    struct shape_add add[] = {ADD("gid", "{@peer.gid}"), ADD("who", "{@peer.uid}/{@peer.pid}"),
                              ADD("path", "{@file.path}"), ADD("at", "{@file.offset}")};
    struct shape_field f[] = {FROM("n", "@peer.uid"), FROM("s", "@peer.uid", .type = TYPE_STRING),
                              FROM("p", "@file.path"), FROM("o", "@file.offset")};
    spec.fields = f;
    spec.fields_n = ARRAY_LEN(f);
    spec.add = add;
    spec.add_n = ARRAY_LEN(add);
    spec.key = (char *)"u{@peer.uid}";
    in.path = (struct str){0};
    in.has_peer = true;
    in.uid = 4294967295;
    in.pid = -1;
    start();
    assert_data("{}", "{\"n\":4294967295,\"s\":\"4294967295\",\"p\":null,\"o\":null,\"gid\":0,"
                      "\"who\":\"4294967295/-1\",\"path\":null,\"at\":null}");
    assert_key("{}", "u4294967295");
    in = (struct shape_in){.path = STR("/x"), .offset = 0};
    assert_data("{}", "{\"n\":null,\"s\":null,\"p\":\"/x\",\"o\":0,\"gid\":null,\"who\":\"/\","
                      "\"path\":\"/x\",\"at\":0}");
    assert_key("{}", NULL);
}

static struct shape_field year = TIME("event_year", "timestamp", ISO, "%Y", .type = TYPE_INT);
static struct shape_field month = TIME("event_month", "timestamp", ISO, "%m");
static struct shape_field parts[] = {FROM("os", "c.os"), CONST("v", "1")};
static struct shape_field nested = OBJECT("more", parts);
static struct shape_add fields[] = {{.name = (char *)"event_year", .field = &year},
                                    {.name = (char *)"event_month", .field = &month},
                                    ADD("note", "{c.os}!"),
                                    {.name = (char *)"more", .field = &nested}};
#define FIELDS                                                                                     \
    "\"event_year\":2019,\"event_month\":\"03\",\"note\":\"a!\",\"more\":{\"os\":\"a\",\"v\":1}"

static void members_may_be_fields(void **state)
{
    (void)state;
    static const char raw[] =
        "{\"timestamp\":\"2019-03-02T03:04:05.678Z\",\"c\":{\"os\":\"a\"},\"event_year\":1}";
    spec.add = fields;
    spec.add_n = ARRAY_LEN(fields);
    start();
    assert_data(raw,
                "{\"timestamp\":\"2019-03-02T03:04:05.678Z\",\"c\":{\"os\":\"a\"}," FIELDS "}");
    spec.flatten = (char *)".";
    start();
    assert_data(raw, "{\"timestamp\":\"2019-03-02T03:04:05.678Z\",\"c.os\":\"a\"," FIELDS "}");
    struct shape_field f = FROM("id", "c.os");
    spec.flatten = NULL;
    spec.fields = &f;
    spec.fields_n = 1;
    start();
    assert_data(raw, "{\"id\":\"a\"," FIELDS "}");
    spec.fields_n = 0;
    spec.format = FORMAT_LOGFMT;
    start();
    assert_data("timestamp=2019-03-02T03:04:05Z c.os=a",
                "{\"timestamp\":\"2019-03-02T03:04:05Z\",\"c.os\":\"a\"," FIELDS "}");
}

static void bad_values_of_added_fields_are_counted_or_the_end(void **state)
{
    (void)state;
    spec.add = fields;
    spec.add_n = 2;
    start();
    assert_data("{\"timestamp\":5}", "{\"timestamp\":5,\"event_year\":null,\"event_month\":null}");
    assert_int_equal(out.bad_values, 2);
    assert_data("{}", "{\"event_year\":null,\"event_month\":null}");
    assert_int_equal(out.bad_values, 0);
    spec.bad_value_dead = true;
    for (unsigned how = 0; how < 2; how++) {
        spec.flatten = how == 1 ? (char *)"." : NULL;
        start();
        assert_dead("{\"timestamp\":5}",
                    "the value of member timestamp does not fit field event_year");
        assert_data("{}", "{\"event_year\":null,\"event_month\":null}");
    }
}

static void too_many_fields_count_those_that_are_added(void **state)
{
    (void)state;
    static struct shape_field many[SHAPE_FIELDS_MAX];
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct shape_field)CONST("c", "1");
    spec.fields = many;
    spec.fields_n = ARRAY_LEN(many) - 4;
    spec.add = &fields[3];
    spec.add_n = 1;
    start();
    spec.fields_n++;
    start();
    spec.fields_n++;
    assert_string_equal(refusal(), "513 fields: at most 512");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_type_values_stay_what_they_are),
        TEST(a_type_converts),
        TEST(times_are_read_from_strings_and_numbers),
        TEST(a_path_is_followed_and_a_whole_name_comes_first),
        TEST(of_two_members_of_one_name_the_last_counts),
        TEST(names_are_compared_without_their_escapes),
        TEST(objects_constants_and_metadata_stand_beside_json),
        TEST(what_is_copied_stays_in_one_line),
        TEST(what_is_no_object_goes_as_it_stands_or_dies),
        TEST(what_is_not_json_is_dead_whatever_it_was_to_become),
        TEST(a_record_known_to_be_json_is_not_looked_at_again),
        TEST(what_a_template_takes_is_bounded),
        TEST(nested_objects_become_dotted_names),
        TEST(names_keep_their_own_bytes),
        TEST(names_are_not_made_unique),
        TEST(the_separator_may_be_any_text),
        TEST(a_flattened_record_is_bounded),
        TEST(nesting_is_flattened_to_the_limit),
        TEST(an_objects_own_members_of_added_names_are_left_out),
        TEST(a_name_cannot_hide_behind_escapes),
        TEST(flattened_members_are_left_out_by_the_name_they_get),
        TEST(lines_cannot_bring_added_names_either),
        TEST(csv_columns_of_added_names_are_left_out),
        TEST(peers_are_numbers_by_themselves_and_null_when_unknown),
        TEST(members_may_be_fields),
        TEST(bad_values_of_added_fields_are_counted_or_the_end),
        TEST(too_many_fields_count_those_that_are_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
