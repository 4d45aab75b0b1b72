/* Each hash is fetched from libcrypto once (a fetch costs more than hashing a small request) and
 * used through a context that lives for one call, so that any thread may hash at any time.
 *
 * The only ways to fail are a libcrypto without SHA-256, or no memory for a context of a few
 * hundred bytes. Nothing sensible can be sent after either, and no caller could do better than
 * stop: abort.
 */
#include "lib/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

static CRYPTO_ONCE fetch_once = CRYPTO_ONCE_STATIC_INIT;
static EVP_MD *sha256, *md5;

static void fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    md5 = EVP_MD_fetch(NULL, "MD5", NULL); /* NULL where only approved algorithms may be used */
}

static const EVP_MD *get_sha256(void)
{
    if (CRYPTO_THREAD_run_once(&fetch_once, fetch) != 1 || sha256 == NULL)
        abort();
    return sha256;
}

void hash_sha256(const void *p, size_t n, uint8_t out[SHA256_SIZE])
{
    unsigned size = 0;
    if (EVP_Digest(p, n, out, &size, get_sha256(), NULL) != 1 || size != SHA256_SIZE)
        abort();
}

void hash_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n,
                      uint8_t out[SHA256_SIZE])
{
    /* HMAC takes an int; RFC 2104 replaces a key longer than a block by its hash anyway. */
    uint8_t short_key[SHA256_SIZE];
    bool hashed = key_n > 64;
    if (hashed) {
        hash_sha256(key, key_n, short_key);
        key = short_key;
        key_n = SHA256_SIZE;
    }
    unsigned size = 0;
    if (HMAC(get_sha256(), key_n > 0 ? key : "", (int)key_n, p, n, out, &size) == NULL ||
        size != SHA256_SIZE)
        abort();
    if (hashed)
        OPENSSL_cleanse(short_key, sizeof short_key);
}

bool hash_md5(const void *p, size_t n, uint8_t out[MD5_SIZE])
{
    unsigned size = 0;
    uint8_t sum[EVP_MAX_MD_SIZE];
    if (CRYPTO_THREAD_run_once(&fetch_once, fetch) != 1 || md5 == NULL ||
        EVP_Digest(n > 0 ? p : "", n, sum, &size, md5, NULL) != 1 || size != MD5_SIZE)
        return false;
    memcpy(out, sum, MD5_SIZE);
    return true;
}

void hash_hex(const uint8_t *p, size_t n, char *out)
{
    static const char digits[16] = {'0', '1', '2', '3', '4', '5', '6', '7',
                                    '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'};
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[p[i] >> 4];
        *out++ = digits[p[i] & 15];
    }
    *out = '\0';
}
