#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/hash.h"

static void assert_sha256(struct str text, const char *want)
{
    uint8_t hash[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    hash_sha256(text.p, text.n, hash);
    hash_hex(hash, sizeof hash, hex);
    assert_string_equal(hex, want);
}

static void sha256_gives_the_vectors_of_fips_180(void **state)
{
    (void)state;
    assert_sha256(STR(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_sha256(STR("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_sha256(STR("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    char *million = malloc(1000000);
    memset(million, 'a', 1000000);
    assert_sha256((struct str){million, 1000000},
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

static void nothing_at_all_may_be_hashed_through_a_null_pointer(void **state)
{
    (void)state;
    assert_sha256((struct str){NULL, 0},
                  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void assert_hmac(const void *key, size_t key_n, struct str text, const char *want)
{
    uint8_t mac[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    hash_hmac_sha256(key, key_n, text.p, text.n, mac);
    hash_hex(mac, sizeof mac, hex);
    assert_string_equal(hex, want);
}

static void hmac_gives_the_vectors_of_rfc_4231(void **state)
{
    (void)state;
    uint8_t key[131];
    memset(key, 0x0b, 20);
    assert_hmac(key, 20, STR("Hi There"),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_hmac("Jefe", 4, STR("what do ya want for nothing?"),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    char dd[50];
    memset(key, 0xaa, 131);
    memset(dd, 0xdd, sizeof dd);
    assert_hmac(key, 20, (struct str){dd, 50},
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    assert_hmac(key, 131, STR("Test Using Larger Than Block-Size Key - Hash Key First"),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    assert_hmac(key, 131,
                STR("This is a test using a larger than block-size key and a larger than "
                    "block-size data. The key needs to be hashed before being used by the HMAC "
                    "algorithm."),
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

static void hmac_with_no_key_and_no_text_is_defined(void **state)
{
    (void)state;
    assert_hmac(NULL, 0, (struct str){NULL, 0},
                "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void a_key_of_one_block_is_used_as_it_is_and_a_longer_one_is_hashed(void **state)
{
    (void)state;
    uint8_t key[65], hashed[SHA256_SIZE], a[SHA256_SIZE], b[SHA256_SIZE];
    memset(key, 'k', sizeof key);
    hash_sha256(key, 65, hashed);
    hash_hmac_sha256(key, 65, "x", 1, a);
    hash_hmac_sha256(hashed, sizeof hashed, "x", 1, b);
    assert_memory_equal(a, b, sizeof a);
    hash_sha256(key, 64, hashed);
    hash_hmac_sha256(key, 64, "x", 1, a);
    hash_hmac_sha256(hashed, sizeof hashed, "x", 1, b);
    assert_memory_not_equal(a, b, sizeof a);
}

static void md5_gives_the_vectors_of_rfc_1321(void **state)
{
    (void)state;
    static const char *const vectors[][2] = {
        {"", "d41d8cd98f00b204e9800998ecf8427e"},
        {"abc", "900150983cd24fb0d6963f7d28e17f72"},
        {"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
        {"12345678901234567890123456789012345678901234567890123456789012345678901234567890",
         "57edf4a22be3c955ac49da2e2107b67a"},
    };
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        uint8_t sum[MD5_SIZE];
        char hex[2 * MD5_SIZE + 1];
        assert_true(hash_md5(vectors[i][0], strlen(vectors[i][0]), sum));
        hash_hex(sum, sizeof sum, hex);
        assert_string_equal(hex, vectors[i][1]);
    }
    uint8_t sum[MD5_SIZE];
    assert_true(hash_md5(NULL, 0, sum));
}

static void hex_is_lower_case_and_ends_in_nul(void **state)
{
    (void)state;
    char hex[9];
    memset(hex, '#', sizeof hex);
    hash_hex((const uint8_t[]){0x00, 0x9a, 0xff, 0x10}, 4, hex);
    assert_string_equal(hex, "009aff10");
    hash_hex(NULL, 0, hex);
    assert_string_equal(hex, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_gives_the_vectors_of_fips_180),
        cmocka_unit_test(nothing_at_all_may_be_hashed_through_a_null_pointer),
        cmocka_unit_test(hmac_gives_the_vectors_of_rfc_4231),
        cmocka_unit_test(hmac_with_no_key_and_no_text_is_defined),
        cmocka_unit_test(a_key_of_one_block_is_used_as_it_is_and_a_longer_one_is_hashed),
        cmocka_unit_test(md5_gives_the_vectors_of_rfc_1321),
        cmocka_unit_test(hex_is_lower_case_and_ends_in_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
