/* hash.h - SHA-256, HMAC-SHA-256 and MD5 over libcrypto.
 *
 * All one-shot and free of state the caller can see; they cannot fail on a working libcrypto, and
 * a libcrypto that refuses SHA-256 is a broken installation: that aborts. MD5 is no protection, but
 * what the service hashes partition keys with and what KPL aggregates end in; a libcrypto may be
 * told to refuse it, and then hash_md5 is false. hash_hex writes 2n lower-case digits and a NUL.
 */
#ifndef LIB_HASH_H
#define LIB_HASH_H

#include "lib/base.h"

#define SHA256_SIZE 32
#define MD5_SIZE    16

void hash_sha256(const void *p, size_t n, uint8_t out[SHA256_SIZE]);
void hash_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n,
                      uint8_t out[SHA256_SIZE]);
bool hash_md5(const void *p, size_t n, uint8_t out[MD5_SIZE]);
void hash_hex(const uint8_t *p, size_t n, char *out);

#endif
