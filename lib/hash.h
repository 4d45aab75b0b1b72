/* hash.h - SHA-256 and HMAC-SHA-256 over libcrypto.
 *
 * All one-shot and free of state the caller can see; they cannot fail on a working libcrypto, and
 * a libcrypto that refuses SHA-256 is a broken installation: that aborts. hash_hex writes 2n
 * lower-case digits and a NUL.
 */
#ifndef LIB_HASH_H
#define LIB_HASH_H

#include "lib/base.h"

#define SHA256_SIZE 32

void hash_sha256(const void *p, size_t n, uint8_t out[SHA256_SIZE]);
void hash_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n,
                      uint8_t out[SHA256_SIZE]);
void hash_hex(const uint8_t *p, size_t n, char *out);

#endif
