/* sign.h - AWS Signature Version 4, header form, over libcrypto.
 *
 * sign_v4 computes the value of the Authorization header for one request. `headers` are exactly the
 * headers to sign, in any order and spelling; names are lower-cased, values trimmed, runs of blanks
 * folded, repeated names joined by commas in the given order, as the algorithm demands. `path` is
 * sent as given (the caller has normalised and encoded it); `query` is the canonical query, "" if
 * none. x-amz-date and the session token (if any) must be among the headers: sign_v4 adds nothing.
 *
 * The derived key is cached in a struct sign_key for (secret, date, region, service): sign_key_init
 * empties it, sign_key_wipe clears it with OPENSSL_cleanse; call that when credentials change. All
 * intermediate keys are wiped. Returns 0, or ERR_RANGE when more than SIGN_HEADERS_MAX headers or
 * `out` overflowed. Nothing here is logged, and an err never holds a secret.
 *
 * Source: "Create a signed AWS API request", and the header cases of aws-c-auth's v4 test suite,
 * which the unit test replays.
 */
#ifndef LIB_SIGN_H
#define LIB_SIGN_H

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/hash.h"

#define SIGN_HEADERS_MAX 32
#define SIGN_DATE_SIZE 17 /* YYYYMMDDTHHMMSSZ and a NUL */

struct sign_credentials {
    const char *access_key_id;
    const char *secret_access_key;
    const char *session_token; /* NULL if none */
};

struct sign_header {
    struct str name, value;
};

struct sign_request {
    const char *method; /* "POST" */
    const char *path;   /* "/" */
    const char *query;  /* "" */
    const struct sign_header *headers;
    size_t headers_n;
    const uint8_t *body_sha256; /* SHA256_SIZE bytes */
    const char *region, *service;
    const char *amz_date; /* YYYYMMDDTHHMMSSZ */
};

struct sign_key {
    bool valid;
    uint8_t key[SHA256_SIZE];
    uint8_t made_of[SHA256_SIZE]; /* SHA-256 of secret, date, region and service */
};

void sign_key_init(struct sign_key *k);
void sign_key_wipe(struct sign_key *k);

/* Writes YYYYMMDDTHHMMSSZ for a time in Unix milliseconds (years 1970..9999). */
void sign_date(uint64_t wall_ms, char out[SIGN_DATE_SIZE]);

/* Appends "AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=..." to out. */
int sign_v4(struct sign_key *cache, const struct sign_credentials *c, const struct sign_request *r,
            struct buf *out);

/* For tests: the canonical request and the string to sign of the same request. */
int sign_canonical(const struct sign_request *r, struct buf *out);
int sign_string(const struct sign_request *r, struct str canonical, struct buf *out);

#endif
