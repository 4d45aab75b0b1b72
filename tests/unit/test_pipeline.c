#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <jansson.h>

#include "lib/backoff.h"
#include "tests/unit/fakes.h"

#define NEVER       UINT64_MAX
#define THROTTLED   "ProvisionedThroughputExceededException"
#define ERROR(code) "{\"__type\":\"" code "\",\"message\":\"why\"}"

static struct fakes f;
static struct origin origin;
static char bytes[2 * MIB];

static void begin(uint64_t buffer_bytes, uint64_t linger_ms, unsigned in_flight)
{
    fakes_init(&f, buffer_bytes);
    assert_true(fakes_configure(&f, linger_ms, in_flight));
    origin = (struct origin){0};
    list_init(&origin.moved);
}

static int tear_down(void **state)
{
    (void)state;
    list_del(&origin.moved);
    fakes_release(&f);
    return 0;
}

/* One record of n bytes, the first of which is `tag`; one byte of the source each. */
static enum pipeline_put put_to(struct origin *o, enum record_kind kind, char tag, size_t n)
{
    bytes[0] = tag;
    const struct pipeline_item item = {.kind = kind,
                                       .key = kind == RECORD_DEAD ? STR("bad") : STR("k"),
                                       .data = {bytes, n},
                                       .begin = o->read_at,
                                       .end = o->read_at + 1};
    enum pipeline_put result = pipeline_put(f.p, f.now, o, &item);
    o->read_at += result == PUT_OK;
    return result;
}

static void put(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(put_to(&origin, RECORD_DATA, 'g', 20), PUT_OK);
}

static void later(uint64_t ms)
{
    f.now.mono_ms += ms;
    f.now.wall_ms += ms;
}

static const struct stats *stats(void)
{
    return pipeline_stats(f.p);
}

/* Some turn later, when the pipeline itself wants it. */
static uint64_t pump_when_due(void)
{
    uint64_t due = fakes_pump(&f);
    if (due == NEVER)
        return due;
    if (due > f.now.mono_ms)
        later(due - f.now.mono_ms);
    return fakes_pump(&f);
}

/* ---- taking and sending --------------------------------------------------------------------- */

static void with_nothing_to_do_it_never_wants_to_be_called(void **state)
{
    (void)state;
    begin(MIB, 100, 4);
    assert_int_equal(fakes_pump(&f), NEVER);
    assert_int_equal(f.sent, 0);
    assert_true(pipeline_empty(f.p));
    assert_false(pipeline_paused(f.p));
    assert_int_equal(pipeline_health(f.p), HEALTH_OK);
}

static void a_record_lingers_and_no_longer(void **state)
{
    (void)state;
    begin(MIB, 100, 4);
    put(1);
    assert_int_equal(fakes_pump(&f), f.now.mono_ms + 100);
    later(60);
    put(1); /* the oldest counts */
    assert_int_equal(fakes_pump(&f), f.now.mono_ms + 40);
    later(39);
    assert_int_equal(fakes_pump(&f), f.now.mono_ms + 1);
    assert_int_equal(f.sent, 0);
    later(1);
    assert_int_equal(fakes_pump(&f), NEVER);
    assert_int_equal(f.sent, 1);
    assert_int_equal(f.requests[0].n, 2);
}

static void linger_is_right_where_the_clock_passes_32_bits(void **state)
{
    (void)state;
    begin(MIB, 100, 4);
    f.now.mono_ms = (UINT64_C(1) << 32) - 50;
    put(1);
    later(70);
    assert_int_equal(fakes_pump(&f), f.now.mono_ms + 30);
    assert_int_equal(f.sent, 0);
    later(30);
    fakes_pump(&f);
    assert_int_equal(f.sent, 1);
}

static void five_hundred_records_do_not_linger(void **state)
{
    (void)state;
    begin(MIB, 1000, 4);
    put(499);
    assert_int_equal(fakes_pump(&f), f.now.mono_ms + 1000);
    put(2);
    later(10);
    assert_int_equal(fakes_pump(&f), f.now.mono_ms + 990); /* the one that is left was put then */
    assert_int_equal(f.sent, 1);
    assert_int_equal(f.requests[0].n, 500);
}

static void a_full_requests_worth_of_bytes_does_not_linger(void **state)
{
    (void)state;
    begin(16 * MIB, 1000, 4);
    for (unsigned i = 0; i < 4; i++)
        put_to(&origin, RECORD_DATA, 'g', MIB);
    fakes_pump(&f);
    assert_int_equal(f.sent, 0);
    put_to(&origin, RECORD_DATA, 'g', MIB);
    fakes_pump(&f);
    assert_int_equal(f.sent, 1);
    assert_int_equal(f.requests[0].n, 4); /* a fifth would pass the limit */
    fakes_accept_all(&f);
    pipeline_drain(f.p, true);
    fakes_settle(&f);
    assert_true(pipeline_empty(f.p));
}

static void draining_forgets_the_linger(void **state)
{
    (void)state;
    begin(MIB, 60000, 1);
    put(3);
    fakes_pump(&f);
    assert_int_equal(f.sent, 0);
    pipeline_drain(f.p, true);
    assert_int_equal(fakes_pump(&f), NEVER);
    assert_int_equal(f.requests[0].n, 3);
    fakes_accept_all(&f);
    pipeline_drain(f.p, false);
    put(1);
    assert_int_equal(fakes_pump(&f), f.now.mono_ms + 60000);
}

static void no_more_requests_fly_than_allowed(void **state)
{
    (void)state;
    begin(4 * MIB, 0, 3);
    put(2000);
    assert_int_equal(fakes_pump(&f), NEVER); /* the flight is full: an answer will wake it */
    assert_int_equal(f.flying, 3);
    fakes_answer_entries(&f, 1, NULL, NULL);
    fakes_pump(&f);
    assert_int_equal(f.flying, 3);
    assert_int_equal(f.sent, 4);
    fakes_settle(&f);
    assert_int_equal(f.flying_most, 3);
    assert_int_equal(stats()->records_delivered, 2000);
    assert_int_equal(stats()->requests, 4);
}

static void a_request_says_what_it_is_and_is_signed(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    put(2);
    fakes_pump(&f);
    assert_string_equal(f.url, "http://127.0.0.1:4567/");
    assert_int_equal(f.headers_n, 5);
    assert_string_equal(f.headers[0], "Host: 127.0.0.1:4567");
    assert_string_equal(f.headers[1], "Content-Type: application/x-amz-json-1.1");
    assert_string_equal(f.headers[2], "X-Amz-Target: Kinesis_20131202.PutRecords");
    assert_string_equal(f.headers[3], "X-Amz-Date: 20261031T040000Z");
    assert_non_null(strstr(f.headers[4], "Authorization: AWS4-HMAC-SHA256 Credential=AKID/20261031/"
                                         "us-east-1/kinesis/aws4_request, SignedHeaders="));
    json_t *body = json_loadb(f.body.p, f.body.n, 0, NULL);
    assert_non_null(body);
    assert_string_equal(json_string_value(json_object_get(body, "StreamName")), "crimes");
    assert_int_equal(json_array_size(json_object_get(body, "Records")), 2);
    json_decref(body);
}

static void a_session_token_goes_along_and_goes_again(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    const struct sign_credentials with = {"AKID", "secret", "token/=="};
    assert_true(pipeline_credentials(f.p, &with));
    put(1);
    fakes_pump(&f);
    assert_int_equal(f.headers_n, 6);
    assert_string_equal(f.headers[5], "X-Amz-Security-Token: token/==");
    assert_non_null(strstr(f.headers[4], "x-amz-security-token"));
    fakes_settle(&f);
    const struct sign_credentials without = {"OTHER", "secret", NULL};
    assert_true(pipeline_credentials(f.p, &without));
    put(1);
    fakes_pump(&f);
    assert_int_equal(f.headers_n, 5);
    assert_non_null(strstr(f.headers[4], "Credential=OTHER/"));
}

static void without_credentials_everything_waits(void **state)
{
    (void)state;
    begin(MIB, 50, 4);
    assert_true(pipeline_credentials(f.p, NULL));
    put(700);
    later(1000);
    assert_int_equal(fakes_pump(&f), NEVER);
    assert_int_equal(f.sent, 0);
    const struct sign_credentials c = {"AKID", "secret", NULL};
    assert_true(pipeline_credentials(f.p, &c));
    fakes_pump(&f);
    assert_int_equal(f.sent, 2);
}

static void new_options_count_from_the_next_request_on(void **state)
{
    (void)state;
    begin(4 * MIB, 0, 4);
    put(2000);
    fakes_pump(&f);
    assert_int_equal(f.flying, 4);
    const struct pipeline_options o = {.stream = "arn:aws:kinesis:eu-west-1:1:stream/x",
                                       .region = "eu-west-1",
                                       .url = "https://k/",
                                       .host = "k",
                                       .linger_ms = 500,
                                       .in_flight = 1};
    assert_true(pipeline_configure(f.p, &o));
    put(3);
    fakes_accept_all(&f);
    assert_int_equal(fakes_pump(&f), f.now.mono_ms + 500);
    later(500);
    fakes_pump(&f);
    assert_int_equal(f.flying, 1);
    assert_string_equal(f.url, "https://k/");
    assert_non_null(strstr(f.headers[4], "/eu-west-1/kinesis/"));
    assert_memory_equal(f.body.p, "{\"StreamARN\":\"arn:", 18);
}

static void options_that_do_not_fit_change_nothing(void **state)
{
    (void)state;
    begin(MIB, 0, 2);
    static char longer[8 * KIB];
    memset(longer, 'x', sizeof longer - 1);
    struct pipeline_options o = {
        .stream = longer, .region = "r", .url = "u", .host = "h", .linger_ms = 5, .in_flight = 3};
    assert_false(pipeline_configure(f.p, &o));
    o.stream = "s";
    o.url = longer;
    assert_false(pipeline_configure(f.p, &o));
    static char token[65 * KIB];
    memset(token, 't', sizeof token - 1);
    const struct sign_credentials c = {"NEW", "secret", token};
    assert_false(pipeline_credentials(f.p, &c));
    put(1);
    fakes_pump(&f);
    assert_int_equal(f.sent, 1);
    assert_string_equal(f.url, "http://127.0.0.1:4567/");
    assert_non_null(strstr(f.headers[4], "Credential=AKID/"));
    assert_memory_equal(f.body.p, "{\"StreamName\":\"crimes\"", 22);
}

/* ---- some of a request fails ---------------------------------------------------------------- */

static void only_the_failed_records_go_again_when_they_are_due(void **state)
{
    (void)state;
    begin(MIB, 0, 4);
    put(10);
    fakes_pump(&f);
    const struct record *third = f.requests[0].records[2], *last = f.requests[0].records[9];
    const uint8_t failed[10] = {[2] = 1, [9] = 1};
    fakes_answer_entries(&f, 0, failed, THROTTLED);
    uint64_t due = fakes_pump(&f);
    assert_true(due > f.now.mono_ms && due <= f.now.mono_ms + BACKOFF_THROTTLE_BASE_MS * 2 / 10);
    assert_int_equal(stats()->throttles, 1);
    assert_int_equal(stats()->records_delivered, 8);
    assert_int_equal(origin.delivered, 2);
    if (due > f.now.mono_ms + 1) {
        later(due - f.now.mono_ms - 1);
        assert_int_equal(fakes_pump(&f), due);
        assert_int_equal(f.sent, 1);
    }
    f.now.mono_ms = due;
    assert_int_equal(fakes_pump(&f), NEVER);
    assert_int_equal(f.sent, 2);
    assert_int_equal(f.requests[0].n, 2);
    assert_ptr_equal(f.requests[0].records[0], third);
    assert_ptr_equal(f.requests[0].records[1], last);
    assert_int_equal(stats()->records_retried, 2);
    fakes_accept_all(&f);
    fakes_pump(&f);
    assert_true(pipeline_empty(f.p));
    assert_int_equal(origin.delivered, 10);
    assert_int_equal(pipeline_health(f.p), HEALTH_OK);
    assert_int_equal(f.troubles, 0);
}

static void errors_of_single_records_are_tried_again_sooner_than_throttles(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    put(2);
    fakes_pump(&f);
    const uint8_t failed[2] = {0, 1};
    fakes_answer_entries(&f, 0, failed, "InternalFailure");
    uint64_t due = fakes_pump(&f);
    assert_true(due > f.now.mono_ms && due <= f.now.mono_ms + BACKOFF_TRANSIENT_BASE_MS / 2 + 1);
    assert_int_equal(stats()->throttles, 0);
}

static void a_batch_that_waits_holds_no_slot(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    put(500);
    fakes_pump(&f);
    put(500);
    uint8_t failed[500] = {0};
    memset(failed, 1, 499);
    fakes_answer_entries(&f, 0, failed, THROTTLED);
    fakes_pump(&f);
    assert_int_equal(f.sent, 2); /* the next batch, in the only slot */
    assert_int_equal(f.requests[0].n, 500);
    fakes_settle(&f);
    assert_int_equal(origin.delivered, 0); /* held back by the first */
    later(BACKOFF_CAP_MS);
    fakes_settle(&f);
    assert_int_equal(origin.delivered, 1000);
}

static void when_every_record_fails_the_delays_grow(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    put(1);
    fakes_pump(&f);
    uint64_t longest = 0;
    for (unsigned i = 0; i < 60; i++) {
        fakes_answer_entries(&f, 0, (const uint8_t[]){1}, "InternalFailure");
        uint64_t due = fakes_pump(&f), wait = due - f.now.mono_ms;
        uint64_t window = i < 9 ? (uint64_t)BACKOFF_TRANSIENT_BASE_MS << i : BACKOFF_CAP_MS;
        assert_true(wait >= 1 && wait <= (window < BACKOFF_CAP_MS ? window : BACKOFF_CAP_MS));
        longest = wait > longest ? wait : longest;
        f.now.mono_ms = due;
        fakes_pump(&f);
        assert_true(f.requests[0].busy);
    }
    assert_true(longest > BACKOFF_CAP_MS / 2);
    fakes_settle(&f);
    assert_true(pipeline_empty(f.p));
}

static void only_so_many_batches_wait(void **state)
{
    (void)state;
    begin(16 * MIB, 0, 1);
    const uint8_t failed[500] = {1};
    for (unsigned i = 0; i < BATCHES_WAITING_MAX; i++) {
        put(500);
        assert_true(fakes_pump(&f) > f.now.mono_ms); /* the clock stands, so nobody is due */
        assert_true(f.requests[0].busy);
        fakes_answer_entries(&f, 0, failed, THROTTLED);
    }
    put(500);
    uint64_t due = fakes_pump(&f);
    assert_false(f.requests[0].busy);
    assert_int_equal(pipeline_ring(f.p)->untaken_n, 500);
    f.now.mono_ms = due;
    fakes_pump(&f);
    assert_int_equal(f.requests[0].n, 1); /* a retry, not a new batch */
    later(BACKOFF_CAP_MS);
    fakes_settle(&f);
    assert_int_equal(origin.delivered, origin.read_at);
}

/* Answers what is in flight: records that begin with 's' are refused, all others taken. */
static void refuse_the_stubborn(void)
{
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++) {
        uint8_t failed[BATCH_RECORDS_MAX] = {0};
        for (unsigned j = 0; f.requests[i].busy && j < f.requests[i].n; j++)
            failed[j] = record_data(f.requests[i].records[j]).p[0] == 's';
        if (f.requests[i].busy)
            fakes_answer_entries(&f, i, failed, "InternalFailure");
    }
}

static void records_behind_a_stubborn_one_are_not_held_up(void **state)
{
    (void)state;
    begin(8 * MIB, 100, 4);
    put_to(&origin, RECORD_DATA, 's', 20);
    pump_when_due();
    refuse_the_stubborn();
    pump_when_due(); /* again: it is alone in its batch, so nothing at all is taken */
    refuse_the_stubborn();
    fakes_pump(&f);
    assert_int_equal(pipeline_health(f.p), HEALTH_RETRYING);
    for (unsigned round = 1; round <= 20; round++) {
        put(1700);
        for (unsigned turn = 0; turn < 12; turn++) {
            pump_when_due();
            refuse_the_stubborn();
        }
        assert_int_equal(stats()->records_delivered, 1700 * round);
        assert_int_equal(origin.delivered, 0);
    }
    for (unsigned turn = 0; turn < 3; turn++) {
        pump_when_due();
        fakes_accept_all(&f);
    }
    fakes_pump(&f);
    assert_true(pipeline_empty(f.p));
    assert_int_equal(pipeline_health(f.p), HEALTH_OK);
}

static void several_stubborn_records_a_batch_each_hold_up_nobody(void **state)
{
    (void)state;
    begin(8 * MIB, 0, 2);
    for (unsigned i = 0; i < BATCHES_WAITING_MAX - 1; i++) {
        put_to(&origin, RECORD_DATA, 's', 20);
        for (unsigned turn = 0; turn < 2 * BATCHES_WAITING_MAX; turn++) {
            pump_when_due();
            refuse_the_stubborn();
        }
        put(10);
        for (unsigned turn = 0; turn < 2 * BATCHES_WAITING_MAX; turn++) {
            pump_when_due();
            refuse_the_stubborn();
        }
        assert_int_equal(stats()->records_delivered, 10 * (i + 1));
    }
}

/* A stream of which nothing is taken gets new batches no faster than it refuses old ones again. */
static void a_stream_that_refuses_every_record_is_not_flooded(void **state)
{
    (void)state;
    begin(16 * MIB, 0, 4);
    put(500);
    fakes_pump(&f);
    put(4000);
    uint8_t all[BATCH_RECORDS_MAX];
    memset(all, 1, sizeof all);
    unsigned again = 0;
    for (unsigned i = 0; i < 30; i++) {
        for (unsigned slot = 0; slot < PIPELINE_SLOTS_MAX; slot++)
            if (f.requests[slot].busy)
                fakes_answer_entries(&f, slot, all, THROTTLED);
        pump_when_due();
        again = (unsigned)(stats()->records_retried / 500);
        assert_true(f.sent - again <= again + 1);
    }
    assert_true(again >= 10);
}

/* ---- a whole request fails ------------------------------------------------------------------ */

static void a_failure_narrows_the_flight_to_one_probe(void **state)
{
    (void)state;
    begin(8 * MIB, 0, 4);
    put(4000);
    fakes_pump(&f);
    assert_int_equal(f.flying, 4);
    for (unsigned i = 0; i < 4; i++)
        fakes_answer(&f, i, 500, "");
    uint64_t due = fakes_pump(&f);
    assert_int_equal(pipeline_health(f.p), HEALTH_RETRYING);
    assert_int_equal(f.health, HEALTH_RETRYING);
    assert_int_equal(f.asked_for_credentials, 0);
    assert_int_equal(f.flying, 0);
    assert_true(due > f.now.mono_ms && due <= f.now.mono_ms + BACKOFF_TRANSIENT_BASE_MS);
    later(BACKOFF_CAP_MS);
    assert_int_equal(fakes_pump(&f), NEVER);
    assert_int_equal(f.flying, 1);
    fakes_accept_all(&f);
    fakes_pump(&f);
    assert_int_equal(pipeline_health(f.p), HEALTH_OK);
    assert_int_equal(f.health, HEALTH_OK);
    assert_int_equal(f.flying, 2);
    fakes_accept_all(&f);
    fakes_pump(&f);
    assert_int_equal(f.flying, 4);
    fakes_settle(&f);
    assert_int_equal(stats()->records_delivered, 4000);
    assert_int_equal(stats()->requests_failed, 4);
    assert_int_equal(f.flying_most, 4);
}

static void in_trouble_no_new_batch_is_taken(void **state)
{
    (void)state;
    begin(8 * MIB, 0, 4);
    put(500);
    fakes_pump(&f);
    fakes_answer(&f, 0, 503, "");
    put(2000);
    for (unsigned i = 0; i < 20; i++) {
        pump_when_due();
        assert_int_equal(f.flying, 1);
        assert_int_equal(f.requests[0].n, 500);
        assert_int_equal(origin.delivered, 0);
        fakes_answer(&f, 0, 0, "");
    }
    assert_int_equal(pipeline_ring(f.p)->untaken_n, 2000);
    assert_int_equal(f.troubles, 20);
    pump_when_due();
    fakes_accept_all(&f);
    fakes_settle(&f);
    assert_true(pipeline_empty(f.p));
}

/* A turn of a link that gets so many records through in time. How many requests were late. */
static unsigned link_turn(unsigned most)
{
    unsigned late = 0;
    pump_when_due();
    for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++) {
        if (!f.requests[i].busy)
            continue;
        if (f.requests[i].n <= most) {
            fakes_answer_entries(&f, i, NULL, NULL);
            continue;
        }
        fakes_answer(&f, i, REPLY_STATUS_LATE, "");
        late++;
    }
    return late;
}

static void a_slow_link_gets_smaller_requests(void **state)
{
    (void)state;
    begin(8 * MIB, 0, 2);
    put(5000);
    unsigned late = 0, turns = 0;
    for (; !pipeline_empty(f.p) && turns < 400; turns++)
        late += link_turn(60);
    assert_true(pipeline_empty(f.p));
    assert_true(late > 3 && late < 40);
    assert_true(turns < 200);
}

static void one_late_answer_changes_nothing(void **state)
{
    (void)state;
    begin(8 * MIB, 0, 1);
    put(1000);
    assert_int_equal(link_turn(0), 1);
    for (unsigned turns = 0; turns < 3; turns++)
        link_turn(500);
    fakes_pump(&f);
    assert_true(pipeline_empty(f.p));
    assert_int_equal(f.sent, 3);
}

static void a_link_that_is_fast_again_gets_whole_requests_again(void **state)
{
    (void)state;
    begin(8 * MIB, 0, 1);
    put(500);
    for (unsigned turns = 0; turns < 60; turns++)
        link_turn(0);
    assert_int_equal(origin.delivered, 0);
    assert_true(f.sent >= 29); /* one record now, and it is sent again and again */
    put(9500);
    for (unsigned turns = 0; turns < 300; turns++)
        link_turn(500);
    assert_true(pipeline_empty(f.p));
    put(500);
    unsigned sent = f.sent;
    link_turn(500);
    assert_int_equal(f.sent, sent + 1);
}

static void a_throttled_request_waits_longer(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    uint64_t longest = 0;
    for (unsigned i = 0; i < 40; i++) {
        put(1);
        fakes_pump(&f);
        fakes_answer(&f, 0, 400, ERROR("ThrottlingException"));
        uint64_t due = fakes_pump(&f), wait = due - f.now.mono_ms;
        assert_true(wait <= BACKOFF_THROTTLE_BASE_MS);
        longest = wait > longest ? wait : longest;
        f.now.mono_ms = due;
        fakes_settle(&f);
    }
    assert_true(longest > BACKOFF_TRANSIENT_BASE_MS * 4);
    assert_int_equal(stats()->throttles, 40);
    assert_int_equal(stats()->requests_failed, 40);
}

static void a_broken_answer_sends_everything_again(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    put(3);
    fakes_pump(&f);
    fakes_answer(&f, 0, 200, "{\"Records\":[{\"SequenceNumber\":\"1\"}");
    fakes_pump(&f);
    assert_int_equal(origin.delivered, 0);
    assert_int_equal(pipeline_health(f.p), HEALTH_RETRYING);
    assert_string_equal(f.last.code, "BrokenAnswer");
    later(BACKOFF_CAP_MS);
    fakes_pump(&f);
    assert_int_equal(f.requests[0].n, 3);
}

static void trouble_that_lasts_is_told_each_time(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    put(1);
    for (unsigned i = 1; i <= 5; i++) {
        pump_when_due();
        fakes_answer(&f, 0, 500, ERROR("InternalFailure"));
        fakes_pump(&f);
        assert_int_equal(f.troubles, i);
        assert_string_equal(f.last.message, "why");
    }
    pump_when_due();
    fakes_accept_all(&f);
    fakes_pump(&f);
    assert_int_equal(f.troubles, 6); /* the good news */
    assert_int_equal(f.health, HEALTH_OK);
    put(1);
    fakes_settle(&f);
    assert_int_equal(f.troubles, 6); /* is no news twice */
}

/* ---- a person is needed --------------------------------------------------------------------- */

static void without_permission_data_is_kept_and_fresh_credentials_asked_for(void **state)
{
    (void)state;
    begin(MIB, 0, 4);
    put(5);
    fakes_pump(&f);
    for (unsigned i = 0; i < 30; i++) {
        fakes_answer(&f, 0, 400, ERROR("AccessDeniedException"));
        uint64_t due = fakes_pump(&f);
        assert_int_equal(pipeline_health(f.p), HEALTH_HELD);
        assert_true(due > f.now.mono_ms && due <= f.now.mono_ms + HELD_CAP_MS);
        assert_int_equal(f.asked_for_credentials, i + 1);
        assert_int_equal(f.requests[0].n, 5);
        assert_int_equal(origin.delivered, 0);
        f.now.mono_ms = due;
        fakes_pump(&f);
        assert_true(f.requests[0].busy);
    }
    assert_int_equal(f.dead_ever, 0);
    fakes_settle(&f);
    assert_int_equal(origin.delivered, 5);
    assert_int_equal(pipeline_health(f.p), HEALTH_OK);
}

static void a_missing_stream_is_held_too_but_asks_for_no_credentials(void **state)
{
    (void)state;
    static const char *const bodies[] = {ERROR("ResourceNotFoundException"),
                                         ERROR("KMSDisabledException")};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        begin(MIB, 0, 4);
        put(5);
        fakes_pump(&f);
        fakes_answer(&f, 0, 400, bodies[i]);
        fakes_pump(&f);
        assert_int_equal(pipeline_health(f.p), HEALTH_HELD);
        assert_int_equal(f.asked_for_credentials, 0);
        assert_int_equal(ring_used(pipeline_ring(f.p)) > 0, true);
        if (i + 1 < ARRAY_LEN(bodies))
            tear_down(NULL);
    }
}

/* ---- what will never be taken --------------------------------------------------------------- */

/* The service refuses each request that holds a record tagged 'b'. Returns the requests it took. */
static unsigned serve(const char *refusal, int status, unsigned turns)
{
    unsigned before = f.sent;
    for (unsigned i = 0; i < turns && !pipeline_empty(f.p); i++) {
        pump_when_due();
        for (unsigned slot = 0; slot < PIPELINE_SLOTS_MAX; slot++) {
            struct fake_request *q = &f.requests[slot];
            bool bad = false;
            for (unsigned j = 0; q->busy && j < q->n; j++)
                bad |= record_data(q->records[j]).p[0] == 'b';
            if (q->busy && bad)
                fakes_answer(&f, slot, status, refusal);
            else if (q->busy)
                fakes_answer_entries(&f, slot, NULL, NULL);
        }
    }
    fakes_pump(&f);
    return f.sent - before;
}

static void a_refused_request_is_halved_down_to_the_one_record(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    put(300);
    put_to(&origin, RECORD_DATA, 'b', 20);
    put(199);
    unsigned requests = serve(ERROR("ValidationException"), 400, 100);
    assert_true(requests <= 40); /* two for each halving, not one for each record */
    assert_int_equal(f.dead_n, 1);
    assert_int_equal(record_data(f.dead[0].rec).p[0], 'b');
    assert_int_equal(f.dead[0].rec->begin, 300);
    assert_string_equal(f.dead[0].reason, "refused: ValidationException: why");
    assert_int_equal(stats()->records_delivered, 499);
    assert_int_equal(origin.delivered, 300); /* not past the dead letter, which is not stored yet */
    assert_false(pipeline_empty(f.p));
    fakes_store_dead(&f, true);
    fakes_pump(&f);
    assert_int_equal(origin.delivered, 500);
    assert_int_equal(stats()->records_dead, 1);
    assert_true(pipeline_empty(f.p));
    assert_int_equal(pipeline_health(f.p), HEALTH_OK);
}

static void a_body_that_is_too_large_is_narrowed_like_a_refusal(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    put(3);
    put_to(&origin, RECORD_DATA, 'b', 20);
    serve("", 413, 100);
    assert_int_equal(f.dead_n, 1);
    assert_non_null(strstr(f.dead[0].reason, "413"));
    assert_int_equal(stats()->records_delivered, 3);
}

static void several_bad_records_in_one_batch_are_all_found(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    for (unsigned i = 0; i < 100; i++)
        put_to(&origin, RECORD_DATA, i % 25 == 7 ? 'b' : 'g', 20);
    serve(ERROR("InvalidArgumentException"), 400, 200);
    assert_int_equal(f.dead_n, 4);
    assert_int_equal(stats()->records_delivered, 96);
}

static bool holds(const struct fake_request *q, char tag)
{
    for (unsigned i = 0; i < q->n; i++)
        if (record_data(q->records[i]).p[0] == tag)
            return true;
    return false;
}

static void stubborn_records_do_not_hide_a_bad_one_behind_them(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    for (unsigned i = 0; i < 40; i++)
        put_to(&origin, RECORD_DATA, i < 3 ? 's' : i == 20 ? 'b' : 'g', 20);
    for (unsigned turn = 0; turn < 100; turn++) {
        pump_when_due();
        if (f.requests[0].busy && holds(&f.requests[0], 'b'))
            fakes_answer(&f, 0, 400, ERROR("InvalidArgumentException"));
        refuse_the_stubborn();
        fakes_store_dead(&f, true);
    }
    assert_int_equal(stats()->records_dead, 1);
    assert_int_equal(stats()->records_delivered, 36);
    fakes_accept_all(&f);
    for (unsigned turn = 0; turn < 5; turn++) {
        pump_when_due();
        fakes_accept_all(&f);
    }
    fakes_pump(&f);
    assert_true(pipeline_empty(f.p));
}

static void ten_refusals_in_a_row_are_a_persons_trouble(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    for (unsigned i = 0; i < 15; i++)
        put_to(&origin, RECORD_DATA, 'b', 20);
    serve(ERROR("ValidationException"), 400, 200);
    assert_int_equal(f.dead_ever, REFUSED_IN_A_ROW_MAX - 1);
    assert_int_equal(pipeline_health(f.p), HEALTH_HELD);
    fakes_store_dead(&f, true);
    serve(ERROR("ValidationException"), 400, 50);
    assert_int_equal(f.dead_ever, REFUSED_IN_A_ROW_MAX - 1); /* the data is kept */
    assert_int_equal(origin.delivered, REFUSED_IN_A_ROW_MAX - 1);
    for (unsigned i = 0; i < 100 && !pipeline_empty(f.p); i++) { /* somebody has mended it */
        pump_when_due();
        fakes_accept_all(&f);
    }
    assert_int_equal(stats()->records_delivered, 15 - (REFUSED_IN_A_ROW_MAX - 1));
    assert_int_equal(pipeline_health(f.p), HEALTH_OK);
}

static void an_acceptance_between_refusals_starts_the_count_again(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    for (unsigned i = 0; i < 60; i++)
        put_to(&origin, RECORD_DATA, i % 3 == 0 ? 'b' : 'g', 20);
    for (unsigned i = 0; i < 20; i++) {
        serve(ERROR("ValidationException"), 400, 20);
        fakes_store_dead(&f, true);
    }
    assert_int_equal(f.dead_ever, 20);
    assert_int_equal(stats()->records_delivered, 40);
    assert_true(pipeline_empty(f.p));
}

static void the_flow_goes_on_after_the_last_record_in_trouble_became_a_dead_letter(void **state)
{
    (void)state;
    begin(MIB, 0, 4);
    put_to(&origin, RECORD_DATA, 'b', 20);
    fakes_pump(&f);
    fakes_answer(&f, 0, 500, "");
    fakes_pump(&f);
    serve(ERROR("ValidationException"), 400, 3);
    assert_int_equal(f.dead_n, 1);
    fakes_store_dead(&f, true);
    fakes_pump(&f);
    assert_true(pipeline_empty(f.p));
    assert_int_equal(pipeline_health(f.p), HEALTH_RETRYING);
    put(1200); /* nothing waits that could be the probe */
    fakes_pump(&f);
    assert_int_equal(f.flying, 1);
    fakes_settle(&f);
    assert_int_equal(pipeline_health(f.p), HEALTH_OK);
    assert_int_equal(origin.delivered, 1201);
}

/* ---- dead letters --------------------------------------------------------------------------- */

static void a_dead_record_goes_to_the_dead_letters_with_its_reason(void **state)
{
    (void)state;
    begin(MIB, 1000, 4);
    put_to(&origin, RECORD_DEAD, 'd', 20);
    put(1);
    assert_int_equal(fakes_pump(&f), f.now.mono_ms + 1000);
    assert_int_equal(f.dead_n, 1);
    assert_string_equal(f.dead[0].reason, "bad");
    assert_int_equal(record_data(f.dead[0].rec).p[0], 'd');
    assert_int_equal(origin.delivered, 0);
    fakes_store_dead(&f, true);
    fakes_pump(&f);
    assert_int_equal(origin.delivered, 1);
    assert_int_equal(stats()->records_dead, 1);
}

static void dead_letters_need_no_credentials_and_no_service(void **state)
{
    (void)state;
    begin(MIB, 0, 4);
    pipeline_credentials(f.p, NULL);
    put_to(&origin, RECORD_DEAD, 'd', 20);
    fakes_pump(&f);
    assert_int_equal(f.dead_n, 1);
}

static void a_dead_letter_that_cannot_be_stored_is_tried_again(void **state)
{
    (void)state;
    begin(MIB, 0, 4);
    put_to(&origin, RECORD_DEAD, 'd', 20);
    assert_int_equal(fakes_pump(&f), NEVER);
    for (unsigned i = 1; i < 5; i++) {
        fakes_store_dead(&f, false);
        assert_int_equal(fakes_pump(&f), f.now.mono_ms + DEAD_RETRY_MS);
        assert_int_equal(f.dead_n, 0);
        assert_int_equal(origin.delivered, 0);
        later(DEAD_RETRY_MS);
        assert_int_equal(fakes_pump(&f), NEVER);
        assert_int_equal(f.dead_n, 1);
        assert_string_equal(f.dead[0].reason, "bad");
    }
    fakes_store_dead(&f, true);
    fakes_pump(&f);
    assert_true(pipeline_empty(f.p));
}

static void only_so_many_dead_letters_are_in_work_and_nobody_spins(void **state)
{
    (void)state;
    begin(MIB, 0, 4);
    for (unsigned i = 0; i < DEAD_IN_WORK_MAX + 30; i++)
        put_to(&origin, RECORD_DEAD, 'd', 20);
    put(5);
    assert_int_equal(fakes_pump(&f), NEVER);
    assert_int_equal(f.dead_n, DEAD_IN_WORK_MAX);
    assert_int_equal(f.sent, 0);
    later(5000);
    assert_int_equal(fakes_pump(&f), NEVER);
    fakes_store_dead(&f, false);
    assert_int_equal(fakes_pump(&f), f.now.mono_ms + DEAD_RETRY_MS);
    later(DEAD_RETRY_MS);
    fakes_settle(&f);
    assert_true(pipeline_empty(f.p));
    assert_int_equal(stats()->records_dead, DEAD_IN_WORK_MAX + 30);
    assert_int_equal(stats()->records_delivered, 5);
}

static void refusals_wait_while_the_dead_letters_are_all_in_work(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    put_to(&origin, RECORD_DATA, 'b', 20);
    for (unsigned i = 0; i < DEAD_IN_WORK_MAX; i++)
        put_to(&origin, RECORD_DEAD, 'd', 20);
    fakes_pump(&f);
    assert_int_equal(f.dead_n, DEAD_IN_WORK_MAX);
    fakes_answer(&f, 0, 400, ERROR("ValidationException"));
    uint64_t due = fakes_pump(&f);
    assert_true(due > f.now.mono_ms && due <= f.now.mono_ms + DEAD_RETRY_MS);
    fakes_store_dead(&f, true);
    f.now.mono_ms = due;
    fakes_pump(&f);
    fakes_answer(&f, 0, 400, ERROR("ValidationException"));
    fakes_pump(&f);
    assert_int_equal(f.dead_n, 1);
    fakes_settle(&f);
    assert_int_equal(stats()->records_dead, DEAD_IN_WORK_MAX + 1);
}

static void without_room_a_dead_record_is_not_taken_in(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    f.no_dead_room = true;
    assert_int_equal(put_to(&origin, RECORD_DEAD, 'd', 20), PUT_DEAD_FULL);
    assert_int_equal(origin.in_ring, 0);
    assert_true(pipeline_empty(f.p));
    assert_int_equal(put_to(&origin, RECORD_DATA, 'g', 20), PUT_OK);
}

/* ---- room ----------------------------------------------------------------------------------- */

static void a_ring_that_is_nearly_full_pauses_its_sources_until_half_is_free(void **state)
{
    (void)state;
    begin(64 * KIB, 0, 1);
    pipeline_credentials(f.p, NULL);
    unsigned n = 0;
    while (!f.paused) {
        assert_true(n < 2000);
        put(1);
        n++;
        fakes_pump(&f);
    }
    uint64_t used = ring_used(pipeline_ring(f.p));
    assert_true(used > 64 * KIB / 8 * 7 && used < 64 * KIB);
    assert_true(pipeline_paused(f.p));
    assert_int_equal(stats()->pauses, 1);
    const struct sign_credentials c = {"AKID", "secret", NULL};
    pipeline_credentials(f.p, &c);
    while (f.paused) {
        used = ring_used(pipeline_ring(f.p));
        assert_true(used > 32 * KIB);
        fakes_pump(&f);
        fakes_answer_entries(&f, 0, NULL, NULL);
        fakes_pump(&f);
    }
    assert_true(ring_used(pipeline_ring(f.p)) <= 32 * KIB);
    assert_int_equal(f.steers, 2);
}

/* The answers come in while the sources still read: the turn that learns that there was no room is
 * the one in which all of it becomes free, and no other turn is sure to follow. */
static void no_room_in_the_turn_that_empties_the_ring_pauses_nobody(void **state)
{
    (void)state;
    begin(8 * MIB, 0, 2);
    const size_t n = MIB - sizeof(struct record) - 1; /* with its key, exactly an eighth */
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(put_to(&origin, RECORD_DATA, 'g', n), PUT_OK);
    fakes_pump(&f);
    assert_int_equal(f.flying, 2);
    assert_false(f.paused);
    fakes_accept_all(&f);
    assert_int_equal(put_to(&origin, RECORD_DATA, 'g', n + 1), PUT_FULL);
    assert_int_equal(fakes_pump(&f), NEVER);
    assert_true(pipeline_empty(f.p));
    assert_false(f.paused);
}

static void a_record_that_finds_no_room_pauses_the_sources(void **state)
{
    (void)state;
    begin(64 * KIB, 0, 1);
    unsigned n = 0;
    while (put_to(&origin, RECORD_DATA, 'g', 15 * KIB) == PUT_OK)
        n++;
    assert_true(n >= 3);
    uint64_t read_at = origin.read_at;
    unsigned in_ring = origin.in_ring;
    fakes_pump(&f);
    assert_true(f.paused);
    assert_int_equal(origin.read_at, read_at);
    assert_int_equal(origin.in_ring, in_ring);
    fakes_settle(&f);
    assert_false(f.paused);
    assert_int_equal(put_to(&origin, RECORD_DATA, 'g', 15 * KIB), PUT_OK);
}

static void while_all_is_well_reading_keeps_pace_with_sending(void **state)
{
    (void)state;
    begin(64 * MIB, 0, 2);
    put(1000);
    fakes_pump(&f);
    put(999);
    fakes_pump(&f);
    assert_false(f.paused);
    put(1);
    fakes_pump(&f);
    assert_true(f.paused);
    assert_int_equal(stats()->pauses, 0); /* not for want of room */
    fakes_answer_entries(&f, 0, NULL, NULL);
    fakes_pump(&f);
    assert_false(f.paused);
}

static void in_trouble_the_ring_takes_what_it_can(void **state)
{
    (void)state;
    begin(64 * MIB, 0, 1);
    put(500);
    fakes_pump(&f);
    put(5000);
    fakes_pump(&f);
    assert_true(f.paused);
    fakes_answer(&f, 0, 500, "");
    fakes_pump(&f);
    assert_false(f.paused);
    put(10000);
    fakes_pump(&f);
    assert_false(f.paused);
}

/* ---- bounds and positions ------------------------------------------------------------------- */

static void what_is_retired_in_one_turn_is_bounded(void **state)
{
    (void)state;
    begin(16 * MIB, 0, PIPELINE_SLOTS_MAX);
    put(30000);
    fakes_pump(&f);
    assert_int_equal(f.flying, 60);
    for (unsigned i = 1; i < 60; i++)
        fakes_answer_entries(&f, i, NULL, NULL);
    fakes_pump(&f);
    assert_int_equal(origin.delivered, 0);
    fakes_answer_entries(&f, 0, NULL, NULL);
    assert_int_equal(fakes_pump(&f), f.now.mono_ms); /* there is more to do */
    assert_int_equal(origin.delivered, PUMP_RETIRE_MAX);
    assert_int_equal(fakes_pump(&f), NEVER);
    assert_int_equal(origin.delivered, 30000);
}

static void the_moved_list_holds_whose_position_has_changed(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    struct origin other = {.read_at = 50, .delivered = 50};
    list_init(&other.moved);
    put(2);
    put_to(&other, RECORD_DATA, 'g', 20);
    fakes_pump(&f);
    assert_true(list_empty(pipeline_moved(f.p)));
    fakes_answer_entries(&f, 0, (const uint8_t[]){0, 1, 0}, "InternalFailure");
    fakes_pump(&f);
    assert_ptr_equal(LIST_FIRST(pipeline_moved(f.p), struct origin, moved), &origin);
    assert_ptr_equal(pipeline_moved(f.p)->prev, &origin.moved);
    list_del(&origin.moved);
    later(BACKOFF_CAP_MS);
    fakes_settle(&f);
    assert_false(list_empty(&other.moved));
    assert_false(list_empty(&origin.moved));
    assert_int_equal(other.delivered, 51);
    list_del(&other.moved);
    list_del(&origin.moved);
    assert_true(list_empty(pipeline_moved(f.p)));
    other.read_at += 7; /* read on without a record */
    pipeline_origin_moved(f.p, &other);
    assert_int_equal(other.delivered, 58);
    assert_false(list_empty(&other.moved));
    list_del(&other.moved);
    pipeline_origin_moved(f.p, &other);
    assert_true(list_empty(&other.moved)); /* no change, no news */
}

static void a_position_in_the_middle_of_a_record_says_so(void **state)
{
    (void)state;
    begin(MIB, 0, 1);
    struct pipeline_item item = {.kind = RECORD_DEAD,
                                 .key = STR("long"),
                                 .data = STR("x"),
                                 .begin = 0,
                                 .end = 10,
                                 .mid_record = true};
    assert_int_equal(pipeline_put(f.p, f.now, &origin, &item), PUT_OK);
    item = (struct pipeline_item){
        .kind = RECORD_DATA, .key = STR("k"), .data = STR("y"), .begin = 15, .end = 20};
    assert_int_equal(pipeline_put(f.p, f.now, &origin, &item), PUT_OK);
    origin.read_at = 20;
    fakes_pump(&f);
    fakes_store_dead(&f, true);
    fakes_pump(&f);
    assert_int_equal(origin.delivered, 10);
    assert_true(origin.delivered_mid);
    fakes_settle(&f);
    assert_int_equal(origin.delivered, 20);
    assert_false(origin.delivered_mid);
}

static void a_pipeline_may_end_in_the_middle_of_everything(void **state)
{
    (void)state;
    begin(4 * MIB, 0, 2);
    put_to(&origin, RECORD_DEAD, 'd', 20);
    put(2000);
    fakes_pump(&f);
    fakes_answer_entries(&f, 0, (const uint8_t[500]){1}, THROTTLED);
    fakes_pump(&f);
    pipeline_free(NULL);
}

/* ---- at random ------------------------------------------------------------------------------ */

#define ORIGINS 5

/* What the world knows: which bytes of which origin are accepted or stored. */
struct truth {
    struct origin origin;
    bool done[20000];
};

static struct truth truths[ORIGINS];

static void mark(const struct record *rec)
{
    struct truth *t = CONTAINER_OF(rec->origin, struct truth, origin);
    assert_true(rec->begin < ARRAY_LEN(t->done));
    t->done[rec->begin] = true;
}

static void assert_positions(void)
{
    unsigned in_ring = 0;
    for (unsigned i = 0; i < ORIGINS; i++) {
        const struct truth *t = &truths[i];
        assert_true(t->origin.delivered <= t->origin.read_at);
        for (uint64_t at = t->origin.delivered > 600 ? t->origin.delivered - 600 : 0;
             at < t->origin.delivered; at++)
            assert_true(t->done[at]);
        in_ring += t->origin.in_ring;
        assert_true(t->origin.in_ring > 0 || t->origin.delivered == t->origin.read_at);
    }
    assert_true((in_ring == 0) == pipeline_empty(f.p));
    assert_true(ring_sane(pipeline_ring(f.p)));
}

static void answer_at_random(struct rng *r, unsigned slot)
{
    struct fake_request *q = &f.requests[slot];
    uint64_t dice = rng_below(r, 20);
    bool bad = false;
    for (unsigned i = 0; i < q->n; i++)
        bad |= record_data(q->records[i]).p[0] == 'b';
    if (dice == 0) {
        fakes_answer(&f, slot, 500, "");
    } else if (dice == 1) {
        fakes_answer(&f, slot, 400, ERROR("AccessDeniedException"));
    } else if (dice == 2) {
        fakes_answer(&f, slot, 0, "");
    } else if (bad) {
        fakes_answer(&f, slot, 400, ERROR("ValidationException"));
    } else {
        uint8_t failed[BATCH_RECORDS_MAX] = {0};
        for (unsigned i = 0; i < q->n; i++) {
            failed[i] = dice < 8 && rng_below(r, 3) == 0;
            if (!failed[i])
                mark(q->records[i]);
        }
        fakes_answer_entries(&f, slot, failed, rng_below(r, 2) ? THROTTLED : "InternalFailure");
    }
}

static void put_at_random(struct rng *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct origin *o = &truths[rng_below(r, ORIGINS)].origin;
        uint64_t dice = rng_below(r, 100);
        if (o->read_at >= ARRAY_LEN(truths[0].done))
            continue;
        put_to(o, dice == 0 ? RECORD_DEAD : RECORD_DATA, dice == 1 ? 'b' : 'g',
               1 + rng_below(r, dice == 2 ? 9000 : 60));
    }
}

/* One seed: a while of trouble, then good weather until all is delivered. */
static void live(uint64_t seed)
{
    struct rng r;
    rng_seed(&r, seed);
    begin(32 * KIB + 8 * rng_below(&r, 9000), rng_below(&r, 300), 1 + (unsigned)rng_below(&r, 6));
    memset(truths, 0, sizeof truths);
    for (unsigned i = 0; i < ORIGINS; i++)
        list_init(&truths[i].origin.moved);
    for (unsigned turn = 0; turn < 600; turn++) {
        bool weather = turn > 400;
        if (!weather && !f.paused)
            put_at_random(&r, (unsigned)rng_below(&r, 120));
        for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++)
            if (f.requests[i].busy && rng_below(&r, 2) == 0)
                answer_at_random(&r, i);
        if (rng_below(&r, 3) == 0) {
            bool stored = rng_below(&r, 4) > 0;
            for (unsigned i = 0; stored && i < f.dead_n; i++)
                mark(f.dead[i].rec);
            fakes_store_dead(&f, stored);
        }
        uint64_t due = fakes_pump(&f);
        assert_positions();
        assert_true(f.flying > 0 || f.dead_n > 0 || due != NEVER || pipeline_empty(f.p));
        later(weather ? 20000 : rng_below(&r, 500));
    }
    for (unsigned turn = 0; turn < 2000 && !pipeline_empty(f.p); turn++) {
        for (unsigned i = 0; i < PIPELINE_SLOTS_MAX; i++)
            for (unsigned j = 0; f.requests[i].busy && j < f.requests[i].n; j++)
                mark(f.requests[i].records[j]);
        fakes_accept_all(&f);
        for (unsigned i = 0; i < f.dead_n; i++)
            mark(f.dead[i].rec);
        fakes_store_dead(&f, true);
        fakes_pump(&f);
        assert_positions();
        later(20000);
    }
    if (!pipeline_empty(f.p))
        fail_msg("seed %llu: not delivered", (unsigned long long)seed);
    assert_int_equal(stats()->records_in, stats()->records_delivered + stats()->records_dead);
    for (unsigned i = 0; i < ORIGINS; i++)
        list_del(&truths[i].origin.moved);
    tear_down(NULL);
}

static void whatever_happens_nothing_is_lost_and_no_position_is_ahead(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++)
        live(seed);
    begin(MIB, 0, 1);
}

#define T(test) cmocka_unit_test_teardown(test, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(with_nothing_to_do_it_never_wants_to_be_called),
        T(a_record_lingers_and_no_longer),
        T(linger_is_right_where_the_clock_passes_32_bits),
        T(five_hundred_records_do_not_linger),
        T(a_full_requests_worth_of_bytes_does_not_linger),
        T(draining_forgets_the_linger),
        T(no_more_requests_fly_than_allowed),
        T(a_request_says_what_it_is_and_is_signed),
        T(a_session_token_goes_along_and_goes_again),
        T(without_credentials_everything_waits),
        T(new_options_count_from_the_next_request_on),
        T(options_that_do_not_fit_change_nothing),
        T(only_the_failed_records_go_again_when_they_are_due),
        T(errors_of_single_records_are_tried_again_sooner_than_throttles),
        T(a_batch_that_waits_holds_no_slot),
        T(when_every_record_fails_the_delays_grow),
        T(only_so_many_batches_wait),
        T(records_behind_a_stubborn_one_are_not_held_up),
        T(several_stubborn_records_a_batch_each_hold_up_nobody),
        T(a_stream_that_refuses_every_record_is_not_flooded),
        T(a_failure_narrows_the_flight_to_one_probe),
        T(in_trouble_no_new_batch_is_taken),
        T(a_slow_link_gets_smaller_requests),
        T(one_late_answer_changes_nothing),
        T(a_link_that_is_fast_again_gets_whole_requests_again),
        T(a_throttled_request_waits_longer),
        T(a_broken_answer_sends_everything_again),
        T(trouble_that_lasts_is_told_each_time),
        T(without_permission_data_is_kept_and_fresh_credentials_asked_for),
        T(a_missing_stream_is_held_too_but_asks_for_no_credentials),
        T(a_refused_request_is_halved_down_to_the_one_record),
        T(a_body_that_is_too_large_is_narrowed_like_a_refusal),
        T(several_bad_records_in_one_batch_are_all_found),
        T(stubborn_records_do_not_hide_a_bad_one_behind_them),
        T(ten_refusals_in_a_row_are_a_persons_trouble),
        T(an_acceptance_between_refusals_starts_the_count_again),
        T(the_flow_goes_on_after_the_last_record_in_trouble_became_a_dead_letter),
        T(a_dead_record_goes_to_the_dead_letters_with_its_reason),
        T(dead_letters_need_no_credentials_and_no_service),
        T(a_dead_letter_that_cannot_be_stored_is_tried_again),
        T(only_so_many_dead_letters_are_in_work_and_nobody_spins),
        T(refusals_wait_while_the_dead_letters_are_all_in_work),
        T(without_room_a_dead_record_is_not_taken_in),
        T(a_ring_that_is_nearly_full_pauses_its_sources_until_half_is_free),
        T(no_room_in_the_turn_that_empties_the_ring_pauses_nobody),
        T(a_record_that_finds_no_room_pauses_the_sources),
        T(while_all_is_well_reading_keeps_pace_with_sending),
        T(in_trouble_the_ring_takes_what_it_can),
        T(what_is_retired_in_one_turn_is_bounded),
        T(the_moved_list_holds_whose_position_has_changed),
        T(a_position_in_the_middle_of_a_record_says_so),
        T(a_pipeline_may_end_in_the_middle_of_everything),
        T(whatever_happens_nothing_is_lost_and_no_position_is_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
