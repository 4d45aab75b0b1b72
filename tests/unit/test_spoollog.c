#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/rng.h"
#include "lib/spoollog.h"

#define CAPACITY SPOOLLOG_CAPACITY_MIN

static struct spoollog make(void)
{
    struct spoollog l;
    spoollog_init(&l, 0xfeedfacecafebeef, CAPACITY);
    return l;
}

static void a_header_comes_back(void **state)
{
    (void)state;
    struct spoollog l = make(), back;
    char bytes[SPOOLLOG_HEADER_BYTES];
    spoollog_put_header(&l, bytes);
    assert_int_equal(spoollog_get_header(&back, (struct str){bytes, sizeof bytes}, NULL), 0);
    assert_true(back.id == l.id && back.capacity == l.capacity && back.seed == l.seed);
}

static int header_with(size_t at, char xor, struct err *e)
{
    struct spoollog l = make(), back = {.id = 1};
    char bytes[SPOOLLOG_HEADER_BYTES];
    spoollog_put_header(&l, bytes);
    bytes[at] = (char)(bytes[at] ^ xor);
    int rc = spoollog_get_header(&back, (struct str){bytes, sizeof bytes}, e);
    assert_true(rc == 0 || back.id == 1);
    return rc;
}

static void a_damaged_header_is_refused(void **state)
{
    (void)state;
    struct err e;
    for (size_t at = 0; at < 44; at++)
        for (unsigned bit = 0; bit < 8; bit++)
            assert_true(header_with(at, (char)(1 << bit), &e) < 0);
    assert_int_equal(header_with(3, 1, &e), ERR_TYPE);
    assert_int_equal(header_with(24, 1, &e), ERR_SYNTAX);
    assert_int_equal(spoollog_get_header(&(struct spoollog){0}, (struct str){"", 0}, &e), ERR_TYPE);
}

static void a_newer_version_is_named(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(header_with(16, 2, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "version is 3"));
}

static void a_state_comes_back_or_not_at_all(void **state)
{
    (void)state;
    struct spoollog l = make();
    const struct spoollog_state s = {
        .generation = 77, .saved = 4096, .written = 8192, .clean = true};
    char bytes[SPOOLLOG_STATE_BYTES];
    struct spoollog_state back;
    spoollog_put_state(&l, &s, bytes);
    const struct str all = {bytes, sizeof bytes};
    assert_true(spoollog_get_state(&l, all, &back));
    assert_true(back.generation == 77 && back.saved == 4096 && back.written == 8192 && back.clean);
    assert_false(spoollog_get_state(&l, (struct str){bytes, sizeof bytes - 1}, &back));
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= 4;
        assert_false(spoollog_get_state(&l, all, &back));
        bytes[i] ^= 4;
    }
    struct spoollog other;
    spoollog_init(&other, 1, CAPACITY);
    assert_false(spoollog_get_state(&other, all, &back));
}

static void a_state_that_cannot_be_is_refused(void **state)
{
    (void)state;
    struct spoollog l = make();
    const struct spoollog_state wrong[] = {
        {.saved = 16, .written = 8},
        {.saved = 0, .written = CAPACITY + 8},
        {.saved = 4, .written = 8},
        {.saved = 0, .written = 9},
        {.saved = SPOOLLOG_POSITION_MAX, .written = SPOOLLOG_POSITION_MAX + 8},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char bytes[SPOOLLOG_STATE_BYTES];
        struct spoollog_state back;
        spoollog_put_state(&l, &wrong[i], bytes);
        assert_false(spoollog_get_state(&l, (struct str){bytes, sizeof bytes}, &back));
    }
}

static void records_of_all_sizes_come_back(void **state)
{
    (void)state;
    struct spoollog l = make();
    char *bytes = malloc(CAPACITY), *data = malloc(CAPACITY);
    assert_true(bytes != NULL && data != NULL);
    memset(data, 'd', CAPACITY);
    for (size_t key_n = 0; key_n <= RECORD_KEY_BYTES_MAX; key_n += key_n < 9 ? 1 : 203)
        for (size_t n = 0; n < 20000; n = n * 3 / 2 + 1) {
            uint64_t position = CAPACITY * 1000 + n / 8 * 8;
            struct spoollog_record rec = {.kind = SPOOLLOG_DEAD,
                                          .key_plain = n % 2 == 0,
                                          .key = {data, key_n},
                                          .data = {data, n}},
                                   back;
            size_t size = spoollog_size(key_n, n);
            spoollog_put_record(&l, position, &rec, bytes);
            assert_int_equal(spoollog_look(&l, position, (struct str){bytes, size}, &back),
                             SPOOLLOG_GOOD);
            assert_int_equal(back.size, size);
            assert_int_equal(back.kind, SPOOLLOG_DEAD);
            assert_int_equal(back.key_plain, rec.key_plain);
            assert_true(str_eq(back.key, rec.key) && str_eq(back.data, rec.data));
        }
    free(bytes);
    free(data);
}

static void every_changed_bit_is_seen(void **state)
{
    (void)state;
    struct spoollog l = make();
    char bytes[64];
    struct spoollog_record rec = {.kind = SPOOLLOG_DATA,
                                  .key = STR("key"),
                                  .data = STR("some data")},
                           back;
    size_t size = spoollog_size(3, 9);
    spoollog_put_record(&l, 64, &rec, bytes);
    for (size_t i = 0; i < size * 8; i++) {
        bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
        assert_int_equal(spoollog_look(&l, 64, (struct str){bytes, size}, &back), SPOOLLOG_BAD);
        bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
    }
    assert_int_equal(spoollog_look(&l, 64, (struct str){bytes, size}, &back), SPOOLLOG_GOOD);
    assert_int_equal(spoollog_look(&l, 72, (struct str){bytes, size}, &back), SPOOLLOG_BAD);
    assert_int_equal(spoollog_look(&l, 64 + CAPACITY, (struct str){bytes, size}, &back),
                     SPOOLLOG_BAD);
}

static void too_few_bytes_ask_for_more(void **state)
{
    (void)state;
    struct spoollog l = make();
    char bytes[64];
    struct spoollog_record rec = {.kind = SPOOLLOG_DATA,
                                  .key = STR("key"),
                                  .data = STR("some data")},
                           back;
    size_t size = spoollog_size(3, 9);
    spoollog_put_record(&l, 64, &rec, bytes);
    for (size_t n = 0; n < size; n++) {
        char *exact = malloc(n + 1);
        memcpy(exact, bytes, n);
        assert_int_equal(spoollog_look(&l, 64, (struct str){exact, n}, &back), SPOOLLOG_MORE);
        assert_int_equal(back.size, n < SPOOLLOG_HEAD_BYTES ? SPOOLLOG_HEAD_BYTES : size);
        free(exact);
    }
}

static void a_pad_fills_the_rest_and_only_that(void **state)
{
    (void)state;
    struct spoollog l = make();
    char bytes[SPOOLLOG_HEAD_BYTES];
    struct spoollog_record back;
    const struct str all = {bytes, sizeof bytes};
    for (uint64_t rest = SPOOLLOG_HEAD_BYTES; rest <= 4096; rest += 8) {
        uint64_t position = 3 * CAPACITY - rest;
        spoollog_put_pad(&l, position, rest, bytes);
        assert_int_equal(spoollog_look(&l, position, all, &back), SPOOLLOG_GOOD);
        assert_int_equal(back.kind, SPOOLLOG_PAD);
        assert_true(back.size == rest);
        spoollog_put_pad(&l, position - 8, rest, bytes);
        assert_int_equal(spoollog_look(&l, position - 8, all, &back), SPOOLLOG_BAD);
    }
}

static void a_record_never_goes_past_its_lap(void **state)
{
    (void)state;
    struct spoollog l = make();
    char bytes[128];
    struct spoollog_record rec = {.kind = SPOOLLOG_DATA, .data = STR("0123456789")}, back;
    size_t size = spoollog_size(0, 10);
    for (uint64_t left = SPOOLLOG_HEAD_BYTES; left <= 2 * size; left += 8) {
        spoollog_put_record(&l, CAPACITY - left, &rec, bytes);
        enum spoollog_found found =
            spoollog_look(&l, CAPACITY - left, (struct str){bytes, size}, &back);
        assert_int_equal(found, left >= size ? SPOOLLOG_GOOD : SPOOLLOG_BAD);
    }
}

static void the_next_header_is_found_in_damage(void **state)
{
    (void)state;
    struct spoollog l = make();
    char bytes[4096];
    struct spoollog_record rec = {.kind = SPOOLLOG_DATA, .data = STR("0123456789")};
    struct rng rng;
    rng_seed(&rng, 5);
    for (size_t at = 8; at + spoollog_size(0, 10) <= 1024; at += 8) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)rng_next(&rng);
        spoollog_put_record(&l, 800 + at, &rec, bytes + at);
        assert_int_equal(spoollog_find(&l, 800, (struct str){bytes, 1024}), at);
        assert_int_equal(spoollog_find(&l, 800, (struct str){bytes, at + 24}), at);
        assert_int_equal(spoollog_find(&l, 800, (struct str){bytes, at + 16}), at);
    }
    assert_int_equal(spoollog_find(&l, 800, (struct str){bytes, 0}), 0);
    assert_int_equal(spoollog_find(&l, 800, (struct str){bytes, 23}), 23);
    assert_int_equal(spoollog_find(&l, 800, (struct str){bytes, 24}), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_comes_back),
        cmocka_unit_test(a_damaged_header_is_refused),
        cmocka_unit_test(a_newer_version_is_named),
        cmocka_unit_test(a_state_comes_back_or_not_at_all),
        cmocka_unit_test(a_state_that_cannot_be_is_refused),
        cmocka_unit_test(records_of_all_sizes_come_back),
        cmocka_unit_test(every_changed_bit_is_seen),
        cmocka_unit_test(too_few_bytes_ask_for_more),
        cmocka_unit_test(a_pad_fills_the_rest_and_only_that),
        cmocka_unit_test(a_record_never_goes_past_its_lap),
        cmocka_unit_test(the_next_header_is_found_in_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
