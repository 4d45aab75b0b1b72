#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/base64.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/transform.h"

#define CRIMES                                                                                     \
    "format: csv\ndelimiter: '|'\nquote: none\ncolumns: [time, address, district, beat]\n"         \
    "record:\n"                                                                                    \
    "  time: {from: time, parse: '%Y/%m/%d', print: '%Y-%m-%d'}\n"                                 \
    "  address: {from: address}\n"                                                                 \
    "  district: {from: district, type: int}\n"                                                    \
    "  beat: {from: beat, trim: true}\n"                                                           \
    "  year: {from: time, parse: '%Y/%m/%d', print: '%Y'}\n"
#define STRICT CRIMES "on_bad_value: dead_letter\n"
#define EVENTS "format: json\nflatten: '.'\nsplit_arrays: true\n"

/* ---- a transform, an event, an answer ---- */

static struct config *config;
static struct transform *transform;
static struct buf event, answer, wanted;
static struct transform_done done;
static struct err error;

static int forget(void **state)
{
    (void)state;
    transform_free(transform);
    config_free(config);
    transform = NULL;
    config = NULL;
    buf_release(&event);
    buf_release(&answer);
    buf_release(&wanted);
    return 0;
}

static void hear(void *ctx, const char *line)
{
    (void)ctx;
    fail_msg("%s", line);
}

static void open_with(const char *mapping, size_t answer_max)
{
    forget(NULL);
    config = config_build_mapping("m.yaml", str_of(mapping), hear, NULL);
    transform = transform_new(config->sources, "host", answer_max, &error);
    assert_non_null(transform);
    buf_init(&event, 32 * MIB);
    buf_init(&answer, answer_max);
    buf_init(&wanted, 32 * MIB);
    buf_puts(&event, "{\"records\":[");
    buf_puts(&wanted, "{\"records\":[");
}

static void open_transform(const char *mapping)
{
    open_with(mapping, TRANSFORM_ANSWER_MAX);
}

static void put_base64(struct buf *b, struct str data)
{
    char *to = buf_reserve(b, base64_size(data.n) + 1);
    base64_encode(to, data.p, data.n);
    buf_commit(b, base64_size(data.n));
}

static void put_comma(struct buf *b)
{
    if (b->p[b->n - 1] != '[')
        buf_putc(b, ',');
}

static void give_bytes(const char *id, struct str data)
{
    put_comma(&event);
    buf_printf(&event, "{\"recordId\":\"%s\",\"data\":\"", id);
    put_base64(&event, data);
    buf_puts(&event, "\"}");
}

static void give(const char *id, const char *data)
{
    give_bytes(id, str_of(data));
}

static void want(const char *id, const char *result, const char *data, const char *keys)
{
    put_comma(&wanted);
    buf_printf(&wanted, "{\"recordId\":\"%s\",\"result\":\"%s\",\"data\":\"", id, result);
    put_base64(&wanted, str_of(data));
    buf_puts(&wanted, "\"");
    if (keys != NULL)
        buf_printf(&wanted, ",\"metadata\":{\"partitionKeys\":{%s}}", keys);
    buf_puts(&wanted, "}");
}

static void want_ok(const char *id, const char *data)
{
    want(id, "Ok", data, NULL);
}

static void run(void)
{
    buf_puts(&event, "]}");
    buf_puts(&wanted, "]}");
    char *exact = malloc(event.n);
    memcpy(exact, event.p, event.n);
    if (transform_event(transform, (struct str){exact, event.n}, &answer, &done, &error) != 0)
        fail_msg("%s", error.text);
    assert_string_equal(buf_cstr(&answer), buf_cstr(&wanted));
    assert_int_equal(done.records, done.ok + done.dropped + done.failed);
    done.why_id = done.why != NULL ? STR("-") : (struct str){0}; /* it has pointed into the event */
    free(exact);
}

static int run_text(const char *text)
{
    return transform_event(transform, str_of(text), &answer, &done, &error);
}

/* ---- what records become ---- */

static void a_row_becomes_a_typed_json_line(void **state)
{
    (void)state;
    open_transform(CRIMES);
    give("1", "2006/01/02|1861 \"GLENROSE\" AVE|2|2B        ");
    want_ok("1",
            "{\"time\":\"2006-01-02\",\"address\":\"1861 \\\"GLENROSE\\\" AVE\",\"district\":2,"
            "\"beat\":\"2B\",\"year\":\"2006\"}\n");
    run();
    assert_int_equal(done.ok, 1);
    assert_int_equal(done.texts, 1);
    assert_null(done.why);
}

static void each_record_is_answered_once_in_its_order(void **state)
{
    (void)state;
    open_transform(EVENTS);
    give("b", "{\"a\":{\"b\":1}}");
    give("a", "{");
    give("b", "[]");
    give("\\u0061\\\"", "[{\"x\":1},{\"y\":{\"z\":[1]}}]");
    want_ok("b", "{\"a.b\":1}\n");
    want("a", "ProcessingFailed", "{", NULL);
    want("b", "Dropped", "", NULL);
    want_ok("\\u0061\\\"", "{\"x\":1}\n{\"y.z\":[1]}\n");
    run();
    assert_int_equal(done.ok, 2);
    assert_int_equal(done.dropped, 1);
    assert_int_equal(done.failed, 1);
    assert_int_equal(done.no_room, 0);
    assert_int_equal(done.texts, 3);
    assert_string_equal(done.why, "not JSON at byte 1");
}

static void data_may_hold_several_rows(void **state)
{
    (void)state;
    open_transform("format: csv\ncolumns: [a, b]\n");
    give("1", "1,2\n3,\"4\n5\"\r\n\r\n6,7");
    want_ok(
        "1",
        "{\"a\":\"1\",\"b\":\"2\"}\n{\"a\":\"3\",\"b\":\"4\\n5\"}\n{\"a\":\"6\",\"b\":\"7\"}\n");
    run();
    assert_int_equal(done.texts, 3);
}

static void data_may_hold_several_lines(void **state)
{
    (void)state;
    open_transform("format: line\n");
    give("1", "one\r\n\n two \nthree");
    give("2", "\n\r\n");
    give("3", "");
    want_ok("1", "one\n two \nthree\n");
    want("2", "Dropped", "", NULL);
    want("3", "Dropped", "", NULL);
    run();
}

static void json_may_be_a_value_a_line_or_one_over_several(void **state)
{
    (void)state;
    open_transform(EVENTS);
    give("1", "{\"a\":1}\n{\"b\":2}\r\n");
    give("2", "{\n  \"a\": {\n \"b\": [1,\r\n2]}\n}\n");
    give("3", "[{\"a\":1},\n{\"a\":2}]");
    give("4", "{\"a\":1}\n[2\n");
    give("5", "{\"a\":1}{\"b\":2}");
    want_ok("1", "{\"a\":1}\n{\"b\":2}\n");
    want_ok("2", "{\"a.b\":[1,  2]}\n");
    want_ok("3", "{\"a\":1}\n{\"a\":2}\n");
    want("4", "ProcessingFailed", "{\"a\":1}\n[2\n", NULL);
    want("5", "ProcessingFailed", "{\"a\":1}{\"b\":2}", NULL);
    run();
}

static void json_that_is_not_changed_still_ends_up_in_one_line(void **state)
{
    (void)state;
    open_transform("format: json\n");
    give("1", "{\n\"a\":\n1}");
    want_ok("1", "{ \"a\": 1}\n");
    run();
}

static void what_is_to_be_dropped_is_dropped_and_the_rest_of_it_is_kept(void **state)
{
    (void)state;
    open_transform("format: logfmt\non_no_match: drop\n");
    give("1", "=\n");
    give("2", "=\na=b\n=");
    want("1", "Dropped", "", NULL);
    want_ok("2", "{\"a\":\"b\"}\n");
    run();
    assert_int_equal(done.stats.dropped, 3);
    assert_int_equal(done.stats.no_match, 3);
}

static void a_bad_value_is_null_and_counted_or_fails_its_record(void **state)
{
    (void)state;
    open_transform(CRIMES);
    give("1", "2006/01/02|A|x|B\n2006/13/02|A|1|B");
    want_ok("1", "{\"time\":\"2006-01-02\",\"address\":\"A\",\"district\":null,\"beat\":\"B\","
                 "\"year\":\"2006\"}\n"
                 "{\"time\":null,\"address\":\"A\",\"district\":1,\"beat\":\"B\",\"year\":null}\n");
    run();
    assert_int_equal(done.stats.bad_values, 3);
    open_transform(STRICT);
    give("1", "2006/01/02|secret|x|B");
    want("1", "ProcessingFailed", "2006/01/02|secret|x|B", NULL);
    run();
    assert_null(strstr(done.why, "secret"));
    assert_non_null(strstr(done.why, "district"));
}

static void a_record_is_shaped_whole_or_not_at_all(void **state)
{
    (void)state;
    open_transform(STRICT);
    give("1", "2006/01/02|A|1|B\n2006/01/02|A|x|B\n");
    give("2", "2006/01/02|A|1|B\n");
    want("1", "ProcessingFailed", "2006/01/02|A|1|B\n2006/01/02|A|x|B\n", NULL);
    want_ok("2", "{\"time\":\"2006-01-02\",\"address\":\"A\",\"district\":1,\"beat\":\"B\","
                 "\"year\":\"2006\"}\n");
    run();
    assert_int_equal(done.texts, 1);
}

static void what_is_longer_than_max_record_fails(void **state)
{
    (void)state;
    char row[3000];
    memset(row, 'x', sizeof row);
    row[sizeof row - 1] = '\0';
    for (unsigned i = 0; i < 3; i++) {
        static const char *const mappings[] = {"max_record: 2KiB\n",
                                               "max_record: 2KiB\nformat: csv\ncolumns: [a]\n",
                                               "max_record: 2KiB\nformat: json\n"};
        open_transform(mappings[i]);
        give("1", row);
        want("1", "ProcessingFailed", row, NULL);
        run();
    }
}

static void more_cells_than_a_row_can_have_fail_it(void **state)
{
    (void)state;
    char row[CSV_FIELDS_MAX + 2];
    memset(row, ',', sizeof row);
    row[CSV_FIELDS_MAX] = '\0';
    open_transform("format: csv\ncolumns: [a]\n");
    give("1", row);
    want("1", "ProcessingFailed", row, NULL);
    run();
    assert_string_equal(done.why, "too many fields");
}

static void utf_16_is_one_text_a_record(void **state)
{
    (void)state;
    open_transform("format: line\nencoding: utf-16le\n");
    give_bytes("1", (struct str){"a\0\n\nb\0", 6}); /* U+0A0A is no line end */
    want_ok("1", "a\xe0\xa8\x8a"
                 "b\n");
    run();
}

/* ---- aggregates ---- */

static struct str aggregate(struct buf *b, bool sound)
{
    static const char message[] = "\x0a\x01k"
                                  "\x1a\x0b\x08\x00\x1a\x07{\"a\":1}"
                                  "\x1a\x09\x08\x00\x1a\x05[2,3]";
    uint8_t sum[MD5_SIZE];
    buf_init(b, MIB);
    assert_true(hash_md5(message, sizeof message - 1, sum));
    buf_put(b, "\xf3\x89\x9a\xc2", 4);
    buf_put(b, message, sizeof message - 1);
    buf_put(b, sum, sizeof sum);
    b->p[5] = (char)(b->p[5] + !sound);
    return buf_str(b);
}

static void an_aggregate_is_taken_apart_and_a_damaged_one_fails(void **state)
{
    (void)state;
    struct buf good, bad;
    open_transform(EVENTS);
    give_bytes("1", aggregate(&good, true));
    give_bytes("2", aggregate(&bad, false));
    want_ok("1", "{\"a\":1}\n2\n3\n");
    put_comma(&wanted);
    buf_puts(&wanted, "{\"recordId\":\"2\",\"result\":\"ProcessingFailed\",\"data\":\"");
    put_base64(&wanted, buf_str(&bad));
    buf_puts(&wanted, "\"}");
    buf_release(&good);
    buf_release(&bad);
    run();
    assert_int_equal(done.aggregates, 1);
    assert_int_equal(done.texts, 3);
    assert_string_equal(done.why, "a KPL aggregate whose checksum is wrong");
}

/* ---- partition keys ---- */

static void partition_keys_come_from_the_result(void **state)
{
    (void)state;
    open_transform(CRIMES "partition_keys: [year, district]\n");
    give("1", "2006/01/02|A|3|B");
    give("2", "2006/01/02|A|x|B");
    give("3", "2006/01/02|A|3|B\n2007/01/02|A|3|B");
    want("1", "Ok",
         "{\"time\":\"2006-01-02\",\"address\":\"A\",\"district\":3,\"beat\":\"B\","
         "\"year\":\"2006\"}\n",
         "\"year\":\"2006\",\"district\":\"3\"");
    want("2", "ProcessingFailed", "2006/01/02|A|x|B", NULL);
    want("3", "Ok",
         "{\"time\":\"2006-01-02\",\"address\":\"A\",\"district\":3,\"beat\":\"B\","
         "\"year\":\"2006\"}\n"
         "{\"time\":\"2007-01-02\",\"address\":\"A\",\"district\":3,\"beat\":\"B\","
         "\"year\":\"2007\"}\n",
         "\"year\":\"2006\",\"district\":\"3\"");
    run();
    assert_int_equal(done.mixed, 1);
    assert_string_equal(done.why, "there is no district to partition it by");
}

static void a_partition_key_is_a_value_of_the_object_itself_and_not_empty(void **state)
{
    (void)state;
    open_transform("format: json\npartition_keys: [k]\n");
    give("1", "{\"k\":\"a\\\"b\",\"n\":{\"k\":1}}");
    give("2", "{\"k\":\"\"}");
    give("3", "{\"n\":{\"k\":1}}");
    give("4", "{\"k\":{\"k\":1}}");
    give("5", "{\"k\":1,\"k\":true}");
    give("6", "[1]");
    want("1", "Ok", "{\"k\":\"a\\\"b\",\"n\":{\"k\":1}}\n", "\"k\":\"a\\\"b\"");
    want("2", "ProcessingFailed", "{\"k\":\"\"}", NULL);
    want("3", "ProcessingFailed", "{\"n\":{\"k\":1}}", NULL);
    want("4", "ProcessingFailed", "{\"k\":{\"k\":1}}", NULL);
    want("5", "Ok", "{\"k\":1,\"k\":true}\n", "\"k\":\"true\"");
    want("6", "ProcessingFailed", "[1]", NULL);
    run();
}

/* ---- what may be wrong with a record's members ---- */

static void data_that_is_not_base64_comes_back_as_it_was(void **state)
{
    (void)state;
    open_transform("format: line\n");
    assert_int_equal(run_text("{\"records\":["
                              "{\"recordId\":\"1\",\"data\":\"????\"},"
                              "{\"recordId\":\"2\",\"data\":\"YWJ\"},"
                              "{\"recordId\":\"3\",\"data\":\"\\\"\\u0000\"},"
                              "{\"recordId\":\"4\"},"
                              "{\"recordId\":\"5\",\"data\":7},"
                              "{\"recordId\":\"6\",\"data\":[\"YWI=\"]},"
                              "{\"recordId\":\"7\",\"data\":\"YWI=\",\"data\":null},"
                              "{\"data\":{},\"recordId\":\"8\",\"data\":\"YWI\\u003d\"}]}"),
                     0);
    assert_string_equal(
        buf_cstr(&answer),
        "{\"records\":["
        "{\"recordId\":\"1\",\"result\":\"ProcessingFailed\",\"data\":\"????\"},"
        "{\"recordId\":\"2\",\"result\":\"ProcessingFailed\",\"data\":\"YWJ\"},"
        "{\"recordId\":\"3\",\"result\":\"ProcessingFailed\",\"data\":\"\\\"\\u0000\"},"
        "{\"recordId\":\"4\",\"result\":\"ProcessingFailed\",\"data\":\"\"},"
        "{\"recordId\":\"5\",\"result\":\"ProcessingFailed\",\"data\":\"\"},"
        "{\"recordId\":\"6\",\"result\":\"ProcessingFailed\",\"data\":\"\"},"
        "{\"recordId\":\"7\",\"result\":\"ProcessingFailed\",\"data\":\"\"},"
        "{\"recordId\":\"8\",\"result\":\"Ok\",\"data\":\"YWIK\"}]}");
    assert_string_equal(done.why, "its data is not base64");
    assert_true(str_eq(done.why_id, STR("1")));
}

static void what_firehose_says_besides_is_passed_over(void **state)
{
    (void)state;
    open_transform("format: line\n");
    assert_int_equal(
        run_text(" {\"invocationId\":\"x\",\"nested\":{\"records\":[1]},\"records\" : [ "
                 "{\"recordId\":\"1\",\"approximateArrivalTimestamp\":1,"
                 "\"kinesisRecordMetadata\":{\"recordId\":\"2\",\"data\":\"YQ==\","
                 "\"a\":[{}]},\"data\":\"YWI=\"} ] ,\"region\":\"r\"} \n"),
        0);
    assert_string_equal(buf_cstr(&answer),
                        "{\"records\":[{\"recordId\":\"1\",\"result\":\"Ok\",\"data\":\"YWIK\"}]}");
}

static void no_records_are_an_empty_answer(void **state)
{
    (void)state;
    open_transform("format: line\n");
    run();
}

/* ---- events that are none ---- */

static void an_event_that_is_none_is_an_error(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
    } bad[] = {
        {"", ERR_SYNTAX},
        {"{", ERR_SYNTAX},
        {"[]", ERR_TYPE},
        {"\"x\"", ERR_TYPE},
        {"null", ERR_TYPE},
        {"{}", ERR_MISSING},
        {"{}x", ERR_SYNTAX},
        {"{\"records\":[]", ERR_SYNTAX},
        {"{\"records\":[]}}", ERR_SYNTAX},
        {"{\"records\":{}}", ERR_TYPE},
        {"{\"records\":null}", ERR_TYPE},
        {"{\"records\":[],\"records\":[]}", ERR_SYNTAX},
        {"{\"records\":[1]}", ERR_TYPE},
        {"{\"records\":[[]]}", ERR_TYPE},
        {"{\"records\":[{}]}", ERR_MISSING},
        {"{\"records\":[{\"recordId\":\"\",\"data\":\"\"}]}", ERR_MISSING},
        {"{\"records\":[{\"recordId\":7,\"data\":\"\"}]}", ERR_MISSING},
        {"{\"records\":[{\"recordId\":[\"x\"],\"data\":\"\"}]}", ERR_MISSING},
        {"{\"records\":[{\"recordId\":\"x\",\"recordId\":1}]}", ERR_MISSING},
        {"{\"records\":[{\"recordId\":\"1\",\"data\":\"\"}", ERR_SYNTAX},
        {"{\"records\":[{\"recordId\":\"1\",\"data\":\"\"},]}", ERR_SYNTAX},
        {"{\"records\":[{\"recordId\":\"1\",\"x\":[}]}", ERR_SYNTAX},
        {"{\"x\":tru,\"records\":[]}", ERR_SYNTAX},
        {"{\"records\":[{\"recordId\":\"\xff\"}]}", ERR_SYNTAX},
    };
    open_transform("format: line\n");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        error.text[0] = '\0';
        int code = run_text(bad[i].text);
        if (code != bad[i].code || error.text[0] == '\0')
            fail_msg("%s: %d, \"%s\"", bad[i].text, code, error.text);
        assert_int_equal(done.ok + done.failed, 0);
    }
}

static void nesting_without_end_is_refused(void **state)
{
    (void)state;
    open_transform(EVENTS);
    buf_reset(&event);
    buf_puts(&event, "{\"records\":");
    for (unsigned i = 0; i < 1000000; i++)
        buf_putc(&event, '[');
    assert_int_equal(transform_event(transform, buf_str(&event), &answer, &done, &error), ERR_TYPE);
    memcpy(event.p, "{\"reCords\":", 11);
    assert_int_equal(transform_event(transform, buf_str(&event), &answer, &done, &error),
                     ERR_SYNTAX);
}

/* ---- the answer's size ---- */

static void a_record_without_room_fails_and_a_smaller_one_behind_it_does_not(void **state)
{
    (void)state;
    struct buf grows;
    buf_init(&grows, MIB);
    buf_puts(&grows, "{\"a name that comes twenty times, and in the record only once\":{\"a\":0");
    for (unsigned i = 1; i < 20; i++)
        buf_printf(&grows, ",\"%c\":1", 'a' + (int)i);
    buf_puts(&grows, "}}");
    unsigned failed = 0;
    for (size_t max = 700; max < 2900; max++) {
        open_with(EVENTS, max);
        give("1", "{\"a\":1}");
        give("2", buf_cstr(&grows));
        give("3", "{\"a\":2}");
        buf_puts(&event, "]}");
        assert_int_equal(transform_event(transform, buf_str(&event), &answer, &done, &error), 0);
        assert_true(answer.n <= max);
        assert_true(json_valid(buf_str(&answer), NULL));
        assert_int_equal(done.ok + done.no_room, 3);
        assert_int_equal(done.no_room, done.failed);
        assert_int_equal(done.ok, done.no_room > 0 ? 2 : 3);
        if (done.no_room > 0) {
            assert_string_equal(done.why, "there was no room in the answer");
            assert_true(str_eq(done.why_id, STR("2")));
            failed++;
        }
    }
    buf_release(&grows);
    assert_in_range(failed, 1000, 2199);
}

static void what_fails_behind_a_record_without_room_says_why_itself(void **state)
{
    (void)state;
    struct buf grows;
    buf_init(&grows, MIB);
    buf_puts(&grows, "{\"a name that comes twenty times, and in the record only once\":{\"a\":0");
    for (unsigned i = 1; i < 20; i++)
        buf_printf(&grows, ",\"%c\":1", 'a' + (int)i);
    buf_puts(&grows, "}}");
    open_with(EVENTS, 1000);
    give("1", buf_cstr(&grows));
    want("1", "ProcessingFailed", buf_cstr(&grows), NULL);
    buf_release(&grows);
    buf_puts(&event, ",{\"recordId\":\"2\",\"data\":\"*\"}");
    buf_puts(&wanted, ",{\"recordId\":\"2\",\"result\":\"ProcessingFailed\",\"data\":\"*\"}");
    run();
    assert_int_equal(done.failed, 2);
    assert_int_equal(done.no_room, 1);
}

static void an_answer_that_could_not_even_fail_all_is_an_error(void **state)
{
    (void)state;
    open_with("format: line\n", 200);
    give("1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    give("2", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    buf_puts(&event, "]}");
    assert_int_equal(transform_event(transform, buf_str(&event), &answer, &done, &error),
                     ERR_RANGE);
    open_with("format: line\n", 200);
    give("1", "a");
    want_ok("1", "a\n");
    run();
}

static void an_event_of_six_megabytes_that_grows_is_answered_within_six(void **state)
{
    (void)state;
    open_transform("format: json\nflatten: '.'\nadd: {a: some text, b: some more of it}\n");
    for (unsigned i = 0; i < 32000; i++) {
        char id[24];
        snprintf(id, sizeof id, "%020u", i);
        give(id, "{\"name\":{\"first\":\"x\",\"second\":\"y\",\"third\":\"z\"},\"list\":[1,2]}");
    }
    buf_puts(&event, "]}");
    assert_int_equal(transform_event(transform, buf_str(&event), &answer, &done, &error), 0);
    assert_true(answer.n <= TRANSFORM_ANSWER_MAX && answer.n > TRANSFORM_ANSWER_MAX - 1000);
    assert_true(json_valid(buf_str(&answer), NULL));
    assert_int_equal(done.ok + done.no_room, 32000);
    assert_true(done.no_room > 1000 && done.ok > 1000);
}

static void a_text_that_grows_past_all_bounds_fails(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, MIB);
    buf_putc(&text, '[');
    for (unsigned i = 0; i < 500; i++)
        buf_puts(&text, "{\"n\":");
    buf_puts(&text, "{\"a\":1");
    for (unsigned i = 0; i < 20000; i++)
        buf_puts(&text, ",\"a\":1");
    for (unsigned i = 0; i < 501; i++)
        buf_putc(&text, '}');
    buf_putc(&text, ']');
    open_transform(EVENTS);
    give("1", buf_cstr(&text));
    want("1", "ProcessingFailed", buf_cstr(&text), NULL);
    buf_release(&text);
    run();
}

static void a_failure_leaves_nothing_behind_for_the_next_event(void **state)
{
    (void)state;
    open_transform(EVENTS);
    assert_int_equal(run_text("{\"records\":[{\"recordId\":\"1\",\"data\":\"ew==\"}]}"), 0);
    assert_int_equal(done.failed, 1);
    assert_int_equal(run_text("{\"records\":[{\"recordId\":\"2\"},{"), ERR_SYNTAX);
    give("3", "{\"a\":1}");
    want_ok("3", "{\"a\":1}\n");
    run();
    assert_int_equal(done.records, 1);
    assert_null(done.why);
}

/* ---- mappings ---- */

static void csv_without_columns_is_no_mapping_for_records(void **state)
{
    (void)state;
    forget(NULL);
    config = config_build_mapping("m.yaml", STR("format: csv\n"), hear, NULL);
    assert_null(transform_new(config->sources, "host", 1000, &error));
    assert_non_null(strstr(error.text, "columns: is required"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_row_becomes_a_typed_json_line, forget),
        cmocka_unit_test_teardown(each_record_is_answered_once_in_its_order, forget),
        cmocka_unit_test_teardown(data_may_hold_several_rows, forget),
        cmocka_unit_test_teardown(data_may_hold_several_lines, forget),
        cmocka_unit_test_teardown(json_may_be_a_value_a_line_or_one_over_several, forget),
        cmocka_unit_test_teardown(json_that_is_not_changed_still_ends_up_in_one_line, forget),
        cmocka_unit_test_teardown(what_is_to_be_dropped_is_dropped_and_the_rest_of_it_is_kept,
                                  forget),
        cmocka_unit_test_teardown(a_bad_value_is_null_and_counted_or_fails_its_record, forget),
        cmocka_unit_test_teardown(a_record_is_shaped_whole_or_not_at_all, forget),
        cmocka_unit_test_teardown(what_is_longer_than_max_record_fails, forget),
        cmocka_unit_test_teardown(more_cells_than_a_row_can_have_fail_it, forget),
        cmocka_unit_test_teardown(utf_16_is_one_text_a_record, forget),
        cmocka_unit_test_teardown(an_aggregate_is_taken_apart_and_a_damaged_one_fails, forget),
        cmocka_unit_test_teardown(partition_keys_come_from_the_result, forget),
        cmocka_unit_test_teardown(a_partition_key_is_a_value_of_the_object_itself_and_not_empty,
                                  forget),
        cmocka_unit_test_teardown(data_that_is_not_base64_comes_back_as_it_was, forget),
        cmocka_unit_test_teardown(what_firehose_says_besides_is_passed_over, forget),
        cmocka_unit_test_teardown(no_records_are_an_empty_answer, forget),
        cmocka_unit_test_teardown(an_event_that_is_none_is_an_error, forget),
        cmocka_unit_test_teardown(nesting_without_end_is_refused, forget),
        cmocka_unit_test_teardown(a_record_without_room_fails_and_a_smaller_one_behind_it_does_not,
                                  forget),
        cmocka_unit_test_teardown(what_fails_behind_a_record_without_room_says_why_itself, forget),
        cmocka_unit_test_teardown(an_answer_that_could_not_even_fail_all_is_an_error, forget),
        cmocka_unit_test_teardown(an_event_of_six_megabytes_that_grows_is_answered_within_six,
                                  forget),
        cmocka_unit_test_teardown(a_text_that_grows_past_all_bounds_fails, forget),
        cmocka_unit_test_teardown(a_failure_leaves_nothing_behind_for_the_next_event, forget),
        cmocka_unit_test_teardown(csv_without_columns_is_no_mapping_for_records, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
