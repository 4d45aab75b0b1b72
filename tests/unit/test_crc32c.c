#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/crc32c.h"
#include "lib/rng.h"

static uint32_t bit_by_bit(uint32_t crc, const uint8_t *p, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void expect(uint32_t want, const void *p, size_t n)
{
    assert_int_equal(crc32c(0, p, n), want);
    assert_int_equal(crc32c_table(0, p, n), want);
}

/* RFC 3720, appendix B.4, and the check value of the catalogues. */
static void known_vectors_come_out(void **state)
{
    (void)state;
    uint8_t b[48];
    expect(0, NULL, 0);
    expect(0xe3069283, "123456789", 9);
    memset(b, 0, 32);
    expect(0x8a9136aa, b, 32);
    memset(b, 0xff, 32);
    expect(0x62a8ab43, b, 32);
    for (unsigned i = 0; i < 32; i++)
        b[i] = (uint8_t)i;
    expect(0x46dd794e, b, 32);
    for (unsigned i = 0; i < 32; i++)
        b[i] = (uint8_t)(31 - i);
    expect(0x113fdb5c, b, 32);
    static const uint8_t scsi_read[48] = {
        0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0x14, 0, 0, 0,   0,
        0,    0x04, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0,    0, 0, 0x02};
    expect(0xd9963a56, scsi_read, sizeof scsi_read);
}

static void every_length_and_alignment_agrees_bit_by_bit(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    uint8_t *b = malloc(4 * KIB + 8);
    assert_non_null(b);
    for (size_t i = 0; i < 4 * KIB + 8; i++)
        b[i] = (uint8_t)rng_next(&rng);
    for (size_t n = 0; n <= 4 * KIB; n += n < 700 ? 1 : 1 + rng_below(&rng, 37))
        for (size_t at = 0; at < 8; at += n < 260 ? 1 : 5) {
            uint32_t begin = (uint32_t)rng_next(&rng), want = bit_by_bit(begin, b + at, n);
            assert_int_equal(crc32c(begin, b + at, n), want);
            assert_int_equal(crc32c_table(begin, b + at, n), want);
        }
    free(b);
}

static void pieces_give_the_same_as_the_whole(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    uint8_t b[3000];
    for (size_t i = 0; i < sizeof b; i++)
        b[i] = (uint8_t)rng_next(&rng);
    uint32_t whole = crc32c(0, b, sizeof b);
    for (unsigned round = 0; round < 500; round++) {
        uint32_t crc = 0;
        for (size_t at = 0, n; at < sizeof b; at += n) {
            n = min_size(sizeof b - at, (size_t)rng_below(&rng, 900));
            crc = rng_next(&rng) & 1 ? crc32c(crc, b + at, n) : crc32c_table(crc, b + at, n);
        }
        assert_int_equal(crc, whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_vectors_come_out),
        cmocka_unit_test(every_length_and_alignment_agrees_bit_by_bit),
        cmocka_unit_test(pieces_give_the_same_as_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
