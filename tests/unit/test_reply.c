#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/buf.h"
#include "lib/reply.h"

#define OK_ENTRY "{\"SequenceNumber\":\"49\",\"ShardId\":\"shardId-0\"}"
#define LATE_ENTRY                                                                                 \
    "{\"ErrorCode\":\"ProvisionedThroughputExceededException\",\"ErrorMessage\":\"Rate "           \
    "exceeded\"}"

static struct reply reply;
static uint8_t failed[500];

/* The body is read from an exact copy, so that the sanitizers see a read too far. */
static enum reply_kind read_bytes(int status, struct str body, unsigned n)
{
    char *exact = malloc(body.n + (body.n == 0));
    memcpy(exact, body.p, body.n);
    memset(failed, 0xee, sizeof failed);
    memset(&reply, 0xee, sizeof reply);
    reply_read(&reply, status, (struct str){exact, body.n}, n, failed);
    free(exact);
    return reply.kind;
}

static enum reply_kind read_text(int status, const char *body, unsigned n)
{
    return read_bytes(status, str_of(body), n);
}

static void a_clean_answer_is_ok(void **state)
{
    (void)state;
    assert_int_equal(
        read_text(200, "{\"FailedRecordCount\":0,\"Records\":[" OK_ENTRY "," OK_ENTRY "]}", 2),
        REPLY_OK);
    assert_int_equal(reply.failed_n, 0);
    assert_int_equal(failed[0] | failed[1], 0); /* what settles a batch looks at them */
    assert_false(reply.throttled);
    assert_string_equal(reply.code, "");
    assert_int_equal(read_text(200, " { \"Records\" : [ " OK_ENTRY " ] } \n", 1), REPLY_OK);
}

static void members_may_come_in_any_order_with_unknown_ones_between(void **state)
{
    (void)state;
    assert_int_equal(
        read_text(
            200,
            "{\"x\":[1,{\"Records\":[]},[[]]],\"EncryptionType\":\"KMS\",\"Records\":[{\"ShardId\":"
            "\"s\",\"more\":{\"ErrorCode\":\"deep\",\"a\":[{}]},\"SequenceNumber\":\"1\"}],"
            "\"FailedRecordCount\":0,\"y\":null}",
            1),
        REPLY_OK);
}

static void null_members_count_as_absent(void **state)
{
    (void)state;
    assert_int_equal(read_text(200,
                               "{\"FailedRecordCount\":0,\"EncryptionType\":null,\"Records\":[{"
                               "\"SequenceNumber\":\"49\",\"ShardId\":\"s\",\"ErrorCode\":null,"
                               "\"ErrorMessage\":null}]}",
                               1),
                     REPLY_OK);
    assert_int_equal(
        read_text(200,
                  "{\"Records\":[{\"SequenceNumber\":null,\"ErrorCode\":\"InternalFailure\"}]}", 1),
        REPLY_PARTIAL);
    assert_int_equal(read_text(200, "{\"Records\":[{\"SequenceNumber\":null}]}", 1), REPLY_PARTIAL);
}

static void only_the_failed_entries_are_marked(void **state)
{
    (void)state;
    assert_int_equal(read_text(200,
                               "{\"FailedRecordCount\":2,\"Records\":[" OK_ENTRY
                               ",{\"ErrorCode\":\"InternalFailure\",\"ErrorMessage\":\"Internal "
                               "Service Failure\"}," OK_ENTRY "," LATE_ENTRY "]}",
                               4),
                     REPLY_PARTIAL);
    assert_int_equal(reply.failed_n, 2);
    assert_memory_equal(failed, ((const uint8_t[]){0, 1, 0, 1}), 4);
    assert_true(reply.throttled);
    assert_string_equal(reply.code, "InternalFailure"); /* of the first */
    assert_string_equal(reply.message, "Internal Service Failure");
}

static void the_entries_are_believed_not_the_count(void **state)
{
    (void)state;
    assert_int_equal(read_text(200, "{\"FailedRecordCount\":0,\"Records\":[" LATE_ENTRY "]}", 1),
                     REPLY_PARTIAL);
    assert_int_equal(read_text(200, "{\"FailedRecordCount\":1,\"Records\":[" OK_ENTRY "]}", 1),
                     REPLY_OK);
}

static void a_failure_that_is_no_throttle_is_not_called_one(void **state)
{
    (void)state;
    assert_int_equal(read_text(200, "{\"Records\":[{\"ErrorCode\":\"InternalFailure\"}]}", 1),
                     REPLY_PARTIAL);
    assert_false(reply.throttled);
    assert_int_equal(reply.failed_n, 1);
}

static void an_entry_without_a_sequence_number_has_failed(void **state)
{
    (void)state;
    static const char *const entries[] = {"{}", "{\"ShardId\":\"s\"}", "{\"SequenceNumber\":\"\"}",
                                          "{\"SequenceNumber\":49}",
                                          "{\"SequenceNumber\":\"1\",\"ErrorCode\":\"X\"}"};
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        char body[200];
        snprintf(body, sizeof body, "{\"Records\":[%s,%s]}", entries[i], OK_ENTRY);
        assert_int_equal(read_text(200, body, 2), REPLY_PARTIAL);
        assert_int_equal(failed[0], 1);
        assert_int_equal(failed[1], 0);
    }
}

static void an_error_code_that_is_no_text_makes_the_answer_broken(void **state)
{
    (void)state;
    static const char *const codes[] = {"5", "true", "false", "{}", "[]", "{\"a\":1}"};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        char body[200];
        snprintf(body, sizeof body, "{\"Records\":[{\"SequenceNumber\":\"1\",\"ErrorCode\":%s}]}",
                 codes[i]);
        assert_int_equal(read_text(200, body, 1), REPLY_TRANSIENT);
    }
}

static void too_few_or_too_many_entries_match_nothing(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"Records\":[]}",
        "{\"Records\":[" OK_ENTRY "]}",
        "{\"Records\":[" OK_ENTRY "," OK_ENTRY "," OK_ENTRY "]}",
        "{\"Records\":[" OK_ENTRY "],\"Records\":[" OK_ENTRY "]}",
        "{\"Records\":[" OK_ENTRY "," OK_ENTRY "],\"Records\":[" OK_ENTRY "," OK_ENTRY "]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        assert_int_equal(read_text(200, bodies[i], 2), REPLY_TRANSIENT);
        assert_string_equal(reply.code, "BrokenAnswer");
        assert_true(reply.message[0] != '\0');
        assert_int_equal(reply.failed_n, 0);
        assert_int_equal(failed[2], 0xee); /* never past the request's own */
    }
}

static void what_is_no_whole_answer_is_transient(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "null",
        "{}",
        "[]",
        "\"Records\"",
        "<html><body>502</body></html>",
        "OK",
        "{\"Records\":null}",
        "{\"Records\":{}}",
        "{\"Records\":5}",
        "{\"Records\":\"" OK_ENTRY "\"}",
        "{\"records\":[" OK_ENTRY "]}",
        "{\"Records\":[1]}",
        "{\"Records\":[null]}",
        "{\"Records\":[[" OK_ENTRY "]]}",
        "{\"Records\":[" OK_ENTRY "]",
        "{\"Records\":[" OK_ENTRY "]}x",
        "{\"Records\":[" OK_ENTRY "]}{\"Records\":[" OK_ENTRY "]}",
        "{\"Records\":[" OK_ENTRY ",]}",
        "{\"Records\":[" OK_ENTRY "],}",
        "{\"Records\":[{\"SequenceNumber\":\"1\xff\"}]}",
        "{\"Records\":[{\"SequenceNumber\":\"1\",}]}",
        "[{\"Records\":[" OK_ENTRY "]}]",
        "{\"x\":{\"Records\":[" OK_ENTRY "]}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        if (read_text(200, bodies[i], 1) != REPLY_TRANSIENT)
            fail_msg("%s: %d", bodies[i], reply.kind);
}

static void an_answer_that_is_cut_anywhere_delivers_nothing(void **state)
{
    (void)state;
    const struct str body =
        STR("{\"FailedRecordCount\":1,\"Records\":[" OK_ENTRY "," LATE_ENTRY
            ",{\"ErrorCode\":null,\"x\":[{\"y\":\"\\u00e9\"}],\"SequenceNumber\":\"7\"}]}");
    for (size_t n = 0; n < body.n; n++)
        if (read_bytes(200, (struct str){body.p, n}, 3) != REPLY_TRANSIENT)
            fail_msg("cut at %zu: %d", n, reply.kind);
    assert_int_equal(read_bytes(200, body, 3), REPLY_PARTIAL);
}

static void hostile_depth_is_refused_not_followed(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4 * MIB);
    buf_puts(&b, "{\"Records\":[{\"SequenceNumber\":\"1\",\"x\":");
    for (unsigned i = 0; i < 100000; i++)
        buf_putc(&b, '[');
    assert_int_equal(read_bytes(200, buf_str(&b), 1), REPLY_TRANSIENT);
    buf_release(&b);
}

static void a_full_batch_is_read(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MIB);
    buf_puts(&b, "{\"Records\":[");
    for (unsigned i = 0; i < 500; i++)
        buf_printf(&b, "%s%s", i > 0 ? "," : "", i % 7 == 3 ? LATE_ENTRY : OK_ENTRY);
    buf_puts(&b, "]}");
    assert_int_equal(read_bytes(200, buf_str(&b), 500), REPLY_PARTIAL);
    unsigned sum = 0;
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(failed[i], i % 7 == 3);
        sum += failed[i];
    }
    assert_int_equal(reply.failed_n, sum);
    assert_int_equal(read_bytes(200, buf_str(&b), 499), REPLY_TRANSIENT);
    buf_release(&b);
}

struct judged {
    int status;
    const char *code;
    enum reply_kind kind;
    bool credentials;
};

static void the_code_decides_and_not_the_status(void **state)
{
    (void)state;
    static const struct judged cases[] = {
        {400, "ProvisionedThroughputExceededException", REPLY_THROTTLED, false},
        {400, "ThrottlingException", REPLY_THROTTLED, false},
        {400, "KMSThrottlingException", REPLY_THROTTLED, false},
        {400, "LimitExceededException", REPLY_THROTTLED, false},
        {503, "SlowDown", REPLY_THROTTLED, false},
        {400, "AccessDeniedException", REPLY_HELD, true},
        {400, "ExpiredTokenException", REPLY_HELD, true},
        {400, "UnrecognizedClientException", REPLY_HELD, true},
        {403, "InvalidSignatureException", REPLY_HELD, true},
        {400, "MissingAuthenticationTokenException", REPLY_HELD, true},
        {400, "ResourceNotFoundException", REPLY_HELD, false},
        {400, "KMSDisabledException", REPLY_HELD, false},
        {400, "KMSInvalidStateException", REPLY_HELD, false},
        {400, "KMSAccessDeniedException", REPLY_HELD, false},
        {400, "KMSNotFoundException", REPLY_HELD, false},
        {400, "KMSOptInRequired", REPLY_HELD, false},
        {400, "InvalidArgumentException", REPLY_REFUSED, false},
        {400, "ValidationException", REPLY_REFUSED, false},
        {400, "SerializationException", REPLY_REFUSED, false},
        {500, "ValidationException", REPLY_REFUSED, false},
        {400, "ResourceInUseException", REPLY_TRANSIENT, false},
        {400, "InternalFailure", REPLY_TRANSIENT, false},
        {403, "ServiceUnavailable", REPLY_TRANSIENT, false},
        {400, "NobodyKnowsThisException", REPLY_TRANSIENT, false},
        {400, "accessdeniedexception", REPLY_TRANSIENT, false}, /* codes are spelled exactly */
    };
    static const struct {
        const char *before, *behind;
    } forms[] = {
        {"", ""},
        {"com.amazonaws.kinesis.v20131202#", ""},
        {"", ":http://internal.amazon.com/coral/com.amazonaws.kinesis/"},
        {"a#b#", ":x#y:z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases) * ARRAY_LEN(forms); i++) {
        const struct judged *c = &cases[i / ARRAY_LEN(forms)];
        char type[200], body[400];
        snprintf(type, sizeof type, "%s%s%s", forms[i % ARRAY_LEN(forms)].before, c->code,
                 forms[i % ARRAY_LEN(forms)].behind);
        snprintf(body, sizeof body, "{\"__type\":\"%s\",\"message\":\"why\"}", type);
        enum reply_kind kind = read_text(c->status, body, 1);
        if (kind != c->kind || reply.credentials != c->credentials)
            fail_msg("%d %s: %d", c->status, type, kind);
        assert_string_equal(reply.code, c->code);
        assert_string_equal(reply.message, "why");
    }
}

static void an_error_without_a_known_code_goes_by_its_status(void **state)
{
    (void)state;
    static const struct judged cases[] = {
        {400, "", REPLY_TRANSIENT, false}, {401, "", REPLY_HELD, true},
        {403, "", REPLY_HELD, true},       {404, "", REPLY_HELD, false},
        {407, "", REPLY_HELD, false},      {408, "", REPLY_TRANSIENT, false},
        {413, "", REPLY_REFUSED, false},   {429, "", REPLY_THROTTLED, false},
        {500, "", REPLY_TRANSIENT, false}, {502, "", REPLY_TRANSIENT, false},
        {503, "", REPLY_TRANSIENT, false}, {504, "", REPLY_TRANSIENT, false},
        {201, "", REPLY_TRANSIENT, false}, {204, "", REPLY_TRANSIENT, false},
        {301, "", REPLY_TRANSIENT, false}, {100, "", REPLY_TRANSIENT, false},
    };
    static const char *const bodies[] = {
        "",
        "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
        "{\"Records\":[" OK_ENTRY "]}",
        "{\"__type\":5,\"message\":{}}",
        "{\"__type\":",
        "[]",
        "\xff\xfe",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases) * ARRAY_LEN(bodies); i++) {
        const struct judged *c = &cases[i / ARRAY_LEN(bodies)];
        const char *body = bodies[i % ARRAY_LEN(bodies)];
        enum reply_kind kind = read_text(c->status, body, 1);
        if (kind != c->kind || reply.credentials != c->credentials)
            fail_msg("%d \"%s\": %d", c->status, body, kind);
    }
}

static void no_answer_is_transient(void **state)
{
    (void)state;
    assert_int_equal(read_text(0, "", 1), REPLY_TRANSIENT);
    assert_int_equal(read_text(0, "{\"Records\":[" OK_ENTRY "]}", 1), REPLY_TRANSIENT);
    assert_false(reply.credentials);
}

static void either_spelling_of_message_is_read_past_nested_members(void **state)
{
    (void)state;
    assert_int_equal(
        read_text(400,
                  "{\"a\":{\"__type\":\"ValidationException\",\"message\":\"no\"},"
                  "\"b\":[[]],\"Message\":\"yes\",\"__type\":\"AccessDeniedException\"}",
                  1),
        REPLY_HELD);
    assert_string_equal(reply.message, "yes");
    assert_string_equal(reply.code, "AccessDeniedException");
}

static void foreign_text_is_cut_and_made_printable(void **state)
{
    (void)state;
    char body[4000], longer[1000];
    memset(longer, 'm', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    snprintf(body, sizeof body, "{\"__type\":\"%s\",\"message\":\"%s\"}", longer, longer);
    read_text(500, body, 1);
    assert_int_equal(strlen(reply.code), sizeof reply.code - 1);
    assert_int_equal(strlen(reply.message), sizeof reply.message - 1);
    read_text(500, "{\"__type\":\"a\xc3\xa9\",\"message\":\"tab\\t\x7f\xe2\x82\xac\"}", 1);
    assert_string_equal(reply.code, "a??");
    assert_string_equal(reply.message, "tab\\t????");
    snprintf(body, sizeof body, "{\"Records\":[{\"ErrorCode\":\"%s\",\"ErrorMessage\":\"%s\"}]}",
             longer, longer);
    read_text(200, body, 1);
    assert_int_equal(strlen(reply.code), sizeof reply.code - 1);
}

static void odd_codes_do_no_harm(void **state)
{
    (void)state;
    static const char *const codes[] = {"", "#", ":", "#:", ":#", "###", "a#", ":b", "#a:"};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        char body[100];
        snprintf(body, sizeof body, "{\"__type\":\"%s\"}", codes[i]);
        assert_int_equal(read_text(400, body, 1), REPLY_TRANSIENT);
    }
    assert_string_equal(reply.code, "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_answer_is_ok),
        cmocka_unit_test(members_may_come_in_any_order_with_unknown_ones_between),
        cmocka_unit_test(null_members_count_as_absent),
        cmocka_unit_test(only_the_failed_entries_are_marked),
        cmocka_unit_test(the_entries_are_believed_not_the_count),
        cmocka_unit_test(a_failure_that_is_no_throttle_is_not_called_one),
        cmocka_unit_test(an_entry_without_a_sequence_number_has_failed),
        cmocka_unit_test(an_error_code_that_is_no_text_makes_the_answer_broken),
        cmocka_unit_test(too_few_or_too_many_entries_match_nothing),
        cmocka_unit_test(what_is_no_whole_answer_is_transient),
        cmocka_unit_test(an_answer_that_is_cut_anywhere_delivers_nothing),
        cmocka_unit_test(hostile_depth_is_refused_not_followed),
        cmocka_unit_test(a_full_batch_is_read),
        cmocka_unit_test(the_code_decides_and_not_the_status),
        cmocka_unit_test(an_error_without_a_known_code_goes_by_its_status),
        cmocka_unit_test(no_answer_is_transient),
        cmocka_unit_test(either_spelling_of_message_is_read_past_nested_members),
        cmocka_unit_test(foreign_text_is_cut_and_made_printable),
        cmocka_unit_test(odd_codes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
