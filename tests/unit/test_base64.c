#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/base64.h"
#include "lib/err.h"
#include "lib/rng.h"

/* One letter at a time, straight from the definition: bit i of the text is bit i of the data. */
static size_t by_definition(char *dst, const uint8_t *src, size_t n)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = 0;
    for (size_t bit = 0; bit < 8 * n; bit += 6) {
        unsigned group = 0;
        for (size_t i = bit; i < bit + 6; i++)
            group = group << 1 | (i < 8 * n ? src[i / 8] >> (7 - i % 8) & 1u : 0);
        dst[at++] = letters[group];
    }
    while (at % 4 != 0)
        dst[at++] = '=';
    return at;
}

static void the_vectors_of_rfc_4648_come_out(void **state)
{
    (void)state;
    static const char *const vectors[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct str plain = str_of(vectors[i][0]), coded = str_of(vectors[i][1]);
        char text[16];
        uint8_t back[16];
        size_t n = 99;
        assert_int_equal(base64_size(plain.n), coded.n);
        base64_encode(text, plain.p, plain.n);
        assert_memory_equal(text, coded.p, coded.n);
        assert_int_equal(base64_decode(back, sizeof back, coded, &n), 0);
        assert_int_equal(n, plain.n);
        assert_memory_equal(back, plain.p, plain.n);
    }
}

static void every_length_agrees_with_the_definition_on_both_paths(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 1);
    for (size_t n = 0; n <= 200; n++) {
        /* Exact allocations, so that the sanitizers see a byte too many. */
        uint8_t *src = malloc(n + 1);
        size_t size = base64_size(n);
        char *want = malloc(size + 4), *got = malloc(size + 1), *plain = malloc(size + 1);
        uint8_t *exact = malloc(n > 0 ? n : 1);
        for (size_t i = 0; i < n; i++)
            exact[i] = src[i] = (uint8_t)rng_next(&r);
        assert_int_equal(by_definition(want, src, n), size);
        got[size] = plain[size] = '#';
        base64_encode(got, exact, n);
        base64_encode_plain(plain, exact, n);
        assert_memory_equal(got, want, size);
        assert_memory_equal(plain, want, size);
        assert_int_equal(got[size], '#');
        assert_int_equal(plain[size], '#');
        size_t back_n = 0;
        assert_int_equal(base64_decode(src, n, (struct str){got, size}, &back_n), 0);
        assert_int_equal(back_n, n);
        assert_memory_equal(src, exact, n);
        free(src), free(want), free(got), free(plain), free(exact);
    }
}

static void every_group_of_six_bits_has_its_letter_at_every_place_of_a_block(void **state)
{
    (void)state;
    uint8_t src[48];
    char want[64], got[64];
    for (unsigned group = 0; group < 64; group++) {
        for (size_t place = 0; place < 64; place++) {
            memset(src, 0x5a, sizeof src);
            for (size_t i = 0; i < 6; i++) {
                size_t bit = place * 6 + i;
                unsigned one = 0x80u >> bit % 8;
                bool on = (group >> (5 - i) & 1) != 0;
                src[bit / 8] = (uint8_t)(on ? src[bit / 8] | one : src[bit / 8] & ~one);
            }
            by_definition(want, src, sizeof src);
            base64_encode(got, src, sizeof src);
            assert_memory_equal(got, want, sizeof got);
        }
    }
}

static void text_that_no_encoder_writes_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Z",     "Zg",   "Zg=",  "Zg===", "=",        "==",       "===",
        "====",  "Z===", "Zh==", "Zm9=",  "Zg==Zg==", "Zm8=Zm9v", "Zm 9",
        "Zm9\n", "Zm-_", "Zm=v", "=m9v",  "Zm9v Zm9", "Zm9\x80",  "Zm9v\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint8_t out[16];
        size_t n = 99;
        if (base64_decode(out, sizeof out, str_of(bad[i]), &n) != ERR_SYNTAX || n != 99)
            fail_msg("\"%s\" was not refused", bad[i]);
    }
    uint8_t out[4];
    size_t n = 99;
    assert_int_equal(base64_decode(out, 4, (struct str){"Zm\0v", 4}, &n), ERR_SYNTAX);
}

static void every_letter_outside_the_alphabet_is_refused(void **state)
{
    (void)state;
    unsigned taken = 0;
    for (int c = 0; c < 256; c++) {
        char text[4] = {'A', (char)c, 'A', 'A'};
        uint8_t out[3];
        size_t n;
        taken += base64_decode(out, 3, (struct str){text, 4}, &n) == 0;
    }
    assert_int_equal(taken, 64);
}

static void every_byte_at_every_place_of_a_long_text_is_a_letter_or_refused(void **state)
{
    (void)state;
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[100], back[100];
    uint8_t out[75];
    for (size_t place = 0; place < sizeof text; place++) {
        for (int c = 0; c < 256; c++) {
            memset(text, 'x', sizeof text);
            text[place] = (char)c;
            size_t n = 99;
            int rc = base64_decode(out, sizeof out, (struct str){text, sizeof text}, &n);
            bool letter = memchr(letters, c, 64) != NULL;
            assert_int_equal(rc, letter ? 0 : ERR_SYNTAX);
            assert_int_equal(n, letter ? 75 : 99);
            if (letter) {
                base64_encode_plain(back, out, n);
                assert_memory_equal(back, text, sizeof text);
            }
        }
    }
}

static void a_destination_that_is_too_small_is_not_overrun(void **state)
{
    (void)state;
    uint8_t out[6] = {0};
    size_t n = 99;
    assert_int_equal(base64_decode(out, 5, STR("Zm9vYmFy"), &n), ERR_RANGE);
    assert_int_equal(n, 99);
    assert_int_equal(base64_decode(out, 6, STR("Zm9vYmFy"), &n), 0);
    assert_int_equal(n, 6);
    assert_int_equal(base64_decode(out, 5, STR("Zm9vYmE="), &n), 0);
    assert_int_equal(n, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_rfc_4648_come_out),
        cmocka_unit_test(every_length_agrees_with_the_definition_on_both_paths),
        cmocka_unit_test(every_group_of_six_bits_has_its_letter_at_every_place_of_a_block),
        cmocka_unit_test(text_that_no_encoder_writes_is_refused),
        cmocka_unit_test(every_letter_outside_the_alphabet_is_refused),
        cmocka_unit_test(every_byte_at_every_place_of_a_long_text_is_a_letter_or_refused),
        cmocka_unit_test(a_destination_that_is_too_small_is_not_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
