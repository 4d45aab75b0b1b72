#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <jansson.h>

#include "lib/base64.h"
#include "lib/encode.h"
#include "lib/rng.h"

static struct ring ring;
static struct record *records[BATCH_RECORDS_MAX];
static struct buf prefix, body;

static int set_up(void **state)
{
    (void)state;
    buf_init(&prefix, 4 * KIB);
    buf_init(&body, ENCODE_BODY_MAX);
    return ring_init(&ring, 16 * MIB) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    buf_release(&prefix);
    buf_release(&body);
    ring_release(&ring);
    return 0;
}

static struct record *make(struct str key, struct str data)
{
    struct record *rec = ring_reserve(&ring, key.n, data.n);
    assert_non_null(rec);
    memcpy(rec + 1, key.p, key.n);
    memcpy((char *)(rec + 1) + key.n, data.p, data.n);
    ring_publish(&ring, rec);
    ring_take(&ring, rec);
    return rec;
}

static json_t *encoded(unsigned n)
{
    assert_true(encode_put_records(&body, buf_str(&prefix), records, n));
    json_error_t e;
    json_t *root = json_loadb(body.p, body.n, JSON_ALLOW_NUL, &e);
    if (root == NULL)
        fail_msg("%s at %d", e.text, e.position);
    assert_int_equal(json_object_size(root), 2);
    return root;
}

static void assert_entry(const json_t *root, size_t i, struct str key, struct str data)
{
    const json_t *entry = json_array_get(json_object_get(root, "Records"), i);
    assert_int_equal(json_object_size(entry), 2);
    const json_t *k = json_object_get(entry, "PartitionKey"), *d = json_object_get(entry, "Data");
    assert_int_equal(json_string_length(k), key.n);
    assert_memory_equal(json_string_value(k), key.p, key.n);
    char *raw = malloc(data.n + 1);
    size_t n = SIZE_MAX;
    struct str text = {json_string_value(d), json_string_length(d)};
    assert_int_equal(base64_decode(raw, data.n, text, &n), 0);
    assert_int_equal(n, data.n);
    assert_memory_equal(raw, data.p, n);
    free(raw);
}

static void a_stream_name_is_a_name_and_an_arn_an_arn(void **state)
{
    (void)state;
    encode_prefix(&prefix, STR("crimes"));
    assert_string_equal(buf_cstr(&prefix), "{\"StreamName\":\"crimes\",\"Records\":[");
    buf_reset(&prefix);
    encode_prefix(&prefix, STR("arn:aws:kinesis:us-east-1:1:stream/x"));
    assert_string_equal(buf_cstr(&prefix),
                        "{\"StreamARN\":\"arn:aws:kinesis:us-east-1:1:stream/x\",\"Records\":[");
    buf_reset(&prefix);
    encode_prefix(&prefix, STR("arn"));
    assert_string_equal(buf_cstr(&prefix), "{\"StreamName\":\"arn\",\"Records\":[");
}

static void one_record_is_one_entry_to_the_byte(void **state)
{
    (void)state;
    encode_prefix(&prefix, STR("s"));
    records[0] = make(STR("k"), STR("hello"));
    assert_true(encode_put_records(&body, buf_str(&prefix), records, 1));
    assert_string_equal(buf_cstr(&body),
                        "{\"StreamName\":\"s\",\"Records\":[{\"Data\":\"aGVsbG8=\","
                        "\"PartitionKey\":\"k\"}]}");
}

static void every_length_and_byte_comes_back(void **state)
{
    (void)state;
    char all[256];
    for (unsigned i = 0; i < 256; i++)
        all[i] = (char)i;
    encode_prefix(&prefix, STR("s"));
    for (unsigned i = 0; i < 257; i++)
        records[i] = make(STR("key"), (struct str){all, i});
    json_t *root = encoded(257);
    assert_int_equal(json_array_size(json_object_get(root, "Records")), 257);
    for (unsigned i = 0; i < 257; i++)
        assert_entry(root, i, STR("key"), (struct str){all, i});
    json_decref(root);
}

static void keys_are_escaped_and_unicode_passes(void **state)
{
    (void)state;
    const struct str keys[] = {STR("\"\\\b\n\t"),           STR("\x01\x1f"),
                               STR("\xc3\xa9\xe2\x82\xac"), STR("\xf0\x9f\x98\x80"),
                               STR("/</script>"),           STR("")};
    encode_prefix(&prefix, STR("s"));
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++)
        records[i] = make(keys[i], STR("x"));
    json_t *root = encoded(ARRAY_LEN(keys));
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++)
        assert_entry(root, i, keys[i], STR("x"));
    json_decref(root);
}

static void a_hostile_stream_name_stays_a_string(void **state)
{
    (void)state;
    encode_prefix(&prefix, STR("a\",\"Records\":[],\"x\":\""));
    records[0] = make(STR("k"), STR("v"));
    json_t *root = encoded(1);
    assert_string_equal(json_string_value(json_object_get(root, "StreamName")),
                        "a\",\"Records\":[],\"x\":\"");
    json_decref(root);
}

static void the_largest_batch_fits_the_largest_body(void **state)
{
    (void)state;
    char key[RECORD_KEY_BYTES_MAX];
    memset(key, 1, sizeof key); /* six bytes each in JSON */
    size_t data_n = (BATCH_BYTES_MAX - BATCH_BYTES_SLACK) / BATCH_RECORDS_MAX;
    char *data = calloc(1, data_n);
    encode_prefix(&prefix, STR("s"));
    for (unsigned i = 0; i < BATCH_RECORDS_MAX; i++)
        records[i] = make((struct str){key, sizeof key}, (struct str){data, data_n});
    json_t *root = encoded(BATCH_RECORDS_MAX);
    assert_entry(root, 499, (struct str){key, sizeof key}, (struct str){data, data_n});
    json_decref(root);
    free(data);
}

static void the_body_is_made_anew_each_time(void **state)
{
    (void)state;
    encode_prefix(&prefix, STR("s"));
    records[0] = make(STR("a"), STR("1"));
    records[1] = make(STR("b"), STR("2"));
    json_decref(encoded(2));
    size_t two = body.n;
    json_t *root = encoded(1);
    assert_true(body.n < two);
    assert_entry(root, 0, STR("a"), STR("1"));
    json_decref(root);
}

static void without_room_the_body_is_empty_and_can_be_used_again(void **state)
{
    (void)state;
    encode_prefix(&prefix, STR("s"));
    records[0] = make(STR("a"), STR("123456"));
    assert_true(encode_put_records(&body, buf_str(&prefix), records, 1));
    size_t whole = body.n;
    for (size_t max = 0; max < whole; max++) {
        struct buf tight;
        buf_init(&tight, max);
        assert_false(encode_put_records(&tight, buf_str(&prefix), records, 1));
        assert_int_equal(tight.n, 0);
        assert_false(tight.failed);
        buf_release(&tight);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_stream_name_is_a_name_and_an_arn_an_arn),
        T(one_record_is_one_entry_to_the_byte),
        T(every_length_and_byte_comes_back),
        T(keys_are_escaped_and_unicode_passes),
        T(a_hostile_stream_name_stays_a_string),
        T(the_largest_batch_fits_the_largest_body),
        T(the_body_is_made_anew_each_time),
        T(without_room_the_body_is_empty_and_can_be_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
