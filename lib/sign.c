/* sign.c - AWS Signature Version 4.
 *
 * The happy path: the header names are sorted by an index (the caller's array is not touched), the
 * canonical request is written from them, its hash goes into the string to sign, and that is signed
 * with a key derived from secret, date, region and service. Deriving costs four HMACs and changes
 * once a day, so the key is cached beside a hash of what it was made of.
 *
 * How it fails: too many headers, or a buffer at its cap; then nothing is appended to `out`. The
 * canonical request holds the session token: its buffer is sized beforehand, so that no realloc
 * leaves a copy behind, and is wiped.
 */
#include "lib/sign.h"

#include <openssl/crypto.h>

#define CANONICAL_MAX (1 * MIB) /* session tokens have no published bound; this is far past any */
#define ALGORITHM     "AWS4-HMAC-SHA256"
#define TERMINATOR    "aws4_request"
#define HEX_SIZE      (2 * SHA256_SIZE + 1)

struct sorted {
    const struct sign_header *at[SIGN_HEADERS_MAX];
    size_t n;
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int compare_names(struct str a, struct str b)
{
    for (size_t i = 0; i < a.n && i < b.n; i++) {
        unsigned char x = (unsigned char)lower(a.p[i]), y = (unsigned char)lower(b.p[i]);
        if (x != y)
            return x < y ? -1 : 1;
    }
    return a.n == b.n ? 0 : a.n < b.n ? -1 : 1;
}

/* An insertion sort: stable, which keeps repeated names in their given order, and right for the
 * handful of headers there are. */
static int sort_headers(const struct sign_request *r, struct sorted *s)
{
    if (r->headers_n > SIGN_HEADERS_MAX)
        return ERR_RANGE;
    s->n = 0;
    for (size_t i = 0; i < r->headers_n; i++) {
        size_t at = s->n++;
        for (; at > 0 && compare_names(r->headers[i].name, s->at[at - 1]->name) < 0; at--)
            s->at[at] = s->at[at - 1];
        s->at[at] = &r->headers[i];
    }
    return 0;
}

static bool same_name_as_before(const struct sorted *s, size_t i)
{
    return i > 0 && compare_names(s->at[i]->name, s->at[i - 1]->name) == 0;
}

static void put_lower(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_putc(out, lower(s.p[i]));
}

/* Trimmed at both ends; every run of blanks inside becomes one space. */
static void put_folded(struct buf *out, struct str s)
{
    bool blank = false, begun = false;
    for (size_t i = 0; i < s.n; i++) {
        if (is_blank(s.p[i])) {
            blank = true;
            continue;
        }
        if (blank && begun)
            buf_putc(out, ' ');
        buf_putc(out, s.p[i]);
        blank = false;
        begun = true;
    }
}

static void put_headers(struct buf *out, const struct sorted *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (same_name_as_before(s, i)) {
            buf_putc(out, ',');
        } else {
            if (i > 0)
                buf_putc(out, '\n');
            put_lower(out, s->at[i]->name);
            buf_putc(out, ':');
        }
        put_folded(out, s->at[i]->value);
    }
    if (s->n > 0)
        buf_putc(out, '\n');
}

static void put_signed_names(struct buf *out, const struct sorted *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (same_name_as_before(s, i))
            continue;
        if (i > 0)
            buf_putc(out, ';');
        put_lower(out, s->at[i]->name);
    }
}

static void put_hex(struct buf *out, const uint8_t digest[SHA256_SIZE])
{
    char hex[HEX_SIZE];
    hash_hex(digest, SHA256_SIZE, hex);
    buf_put(out, hex, HEX_SIZE - 1);
}

/* An upper bound: the names stand there twice, everything else once. */
static size_t canonical_size(const struct sign_request *r, const struct sorted *s)
{
    size_t n = strlen(r->method) + strlen(r->path) + strlen(r->query) + HEX_SIZE + 8;
    for (size_t i = 0; i < s->n; i++)
        n += 2 * s->at[i]->name.n + s->at[i]->value.n + 4;
    return n;
}

static int put_canonical(const struct sign_request *r, const struct sorted *s, struct buf *out)
{
    buf_reserve(out, canonical_size(r, s));
    buf_puts(out, r->method);
    buf_putc(out, '\n');
    buf_puts(out, r->path);
    buf_putc(out, '\n');
    buf_puts(out, r->query);
    buf_putc(out, '\n');
    put_headers(out, s);
    buf_putc(out, '\n');
    put_signed_names(out, s);
    buf_putc(out, '\n');
    put_hex(out, r->body_sha256);
    return out->failed ? ERR_RANGE : 0;
}

int sign_canonical(const struct sign_request *r, struct buf *out)
{
    struct sorted s;
    int rc = sort_headers(r, &s);
    return rc != 0 ? rc : put_canonical(r, &s, out);
}

static void put_scope(struct buf *out, const struct sign_request *r)
{
    buf_put(out, r->amz_date, 8);
    buf_putc(out, '/');
    buf_puts(out, r->region);
    buf_putc(out, '/');
    buf_puts(out, r->service);
    buf_puts(out, "/" TERMINATOR);
}

int sign_string(const struct sign_request *r, struct str canonical, struct buf *out)
{
    assert(strlen(r->amz_date) == SIGN_DATE_SIZE - 1);
    uint8_t digest[SHA256_SIZE];
    hash_sha256(canonical.p, canonical.n, digest);
    buf_puts(out, ALGORITHM "\n");
    buf_puts(out, r->amz_date);
    buf_putc(out, '\n');
    put_scope(out, r);
    buf_putc(out, '\n');
    put_hex(out, digest);
    return out->failed ? ERR_RANGE : 0;
}

void sign_key_init(struct sign_key *k)
{
    *k = (struct sign_key){.valid = false};
}

void sign_key_wipe(struct sign_key *k)
{
    OPENSSL_cleanse(k, sizeof *k);
}

/* "AWS4", secret, date, region and service, each closed by a NUL: no two inputs give one text. The
 * buffer starts with "AWS4" and the secret because that is also the first HMAC's key. */
static int key_material(const char *secret, const struct sign_request *r, struct buf *b)
{
    size_t secret_n = strlen(secret);
    buf_reserve(b, secret_n + strlen(r->region) + strlen(r->service) + 16);
    buf_puts(b, "AWS4");
    buf_put(b, secret, secret_n + 1);
    buf_put(b, r->amz_date, 8);
    buf_putc(b, '\0');
    buf_put(b, r->region, strlen(r->region) + 1);
    buf_put(b, r->service, strlen(r->service) + 1);
    return b->failed ? ERR_RANGE : 0;
}

static void key_derive(struct sign_key *k, const struct sign_request *r, struct str first)
{
    uint8_t a[SHA256_SIZE], b[SHA256_SIZE];
    hash_hmac_sha256(first.p, first.n, r->amz_date, 8, a);
    hash_hmac_sha256(a, sizeof a, r->region, strlen(r->region), b);
    hash_hmac_sha256(b, sizeof b, r->service, strlen(r->service), a);
    hash_hmac_sha256(a, sizeof a, TERMINATOR, sizeof TERMINATOR - 1, k->key);
    OPENSSL_cleanse(a, sizeof a);
    OPENSSL_cleanse(b, sizeof b);
}

static int key_refresh(struct sign_key *k, const char *secret, const struct sign_request *r)
{
    struct buf material;
    buf_init(&material, CANONICAL_MAX);
    int rc = key_material(secret, r, &material);
    if (rc == 0) {
        uint8_t made_of[SHA256_SIZE];
        hash_sha256(material.p, material.n, made_of);
        if (!k->valid || CRYPTO_memcmp(made_of, k->made_of, sizeof made_of) != 0) {
            key_derive(k, r, (struct str){material.p, strlen(secret) + 4});
            memcpy(k->made_of, made_of, sizeof made_of);
            k->valid = true;
        }
    }
    buf_wipe_release(&material);
    return rc;
}

static int put_authorization(struct buf *out, const struct sign_credentials *c,
                             const struct sign_request *r, const struct sorted *s,
                             const uint8_t signature[SHA256_SIZE])
{
    size_t before = out->n;
    buf_puts(out, ALGORITHM " Credential=");
    buf_puts(out, c->access_key_id);
    buf_putc(out, '/');
    put_scope(out, r);
    buf_puts(out, ", SignedHeaders=");
    put_signed_names(out, s);
    buf_puts(out, ", Signature=");
    put_hex(out, signature);
    if (!out->failed)
        return 0;
    out->n = before;
    return ERR_RANGE;
}

int sign_v4(struct sign_key *cache, const struct sign_credentials *c, const struct sign_request *r,
            struct buf *out)
{
    struct sorted s;
    int rc = sort_headers(r, &s);
    if (rc != 0)
        return rc;
    struct buf canonical, text;
    uint8_t signature[SHA256_SIZE];
    buf_init(&canonical, CANONICAL_MAX);
    buf_init(&text, CANONICAL_MAX);
    rc = put_canonical(r, &s, &canonical);
    if (rc == 0)
        rc = sign_string(r, buf_str(&canonical), &text);
    if (rc == 0)
        rc = key_refresh(cache, c->secret_access_key, r);
    if (rc == 0) {
        hash_hmac_sha256(cache->key, sizeof cache->key, text.p, text.n, signature);
        rc = put_authorization(out, c, r, &s, signature);
    }
    buf_wipe_release(&canonical);
    buf_release(&text);
    return rc;
}

/* Days since 1970 to a date of the Gregorian calendar: count from 1 March of a year 0, so that the
 * leap day is the last of its year, and divide by the 400-year cycle of 146,097 days. */
static void civil_date(uint64_t days, unsigned *year, unsigned *month, unsigned *day)
{
    uint64_t z = days + 719468;
    uint64_t era = z / 146097, of_era = z % 146097;
    uint64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * y + y / 4 - y / 100);
    uint64_t m = (5 * of_year + 2) / 153;
    *day = (unsigned)(of_year - (153 * m + 2) / 5 + 1);
    *month = (unsigned)(m < 10 ? m + 3 : m - 9);
    *year = (unsigned)(y + era * 400 + (*month <= 2 ? 1 : 0));
}

static void put_digits(char *to, unsigned value, unsigned digits)
{
    while (digits-- > 0) {
        to[digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

void sign_date(uint64_t wall_ms, char out[SIGN_DATE_SIZE])
{
    uint64_t seconds = min_u64(wall_ms / 1000, 253402300799u); /* the last second of 9999 */
    unsigned year, month, day, of_day = (unsigned)(seconds % 86400);
    civil_date(seconds / 86400, &year, &month, &day);
    memcpy(out, "YYYYMMDDTHHMMSSZ", SIGN_DATE_SIZE);
    put_digits(out, year, 4);
    put_digits(out + 4, month, 2);
    put_digits(out + 6, day, 2);
    put_digits(out + 9, of_day / 3600, 2);
    put_digits(out + 11, of_day / 60 % 60, 2);
    put_digits(out + 13, of_day % 60, 2);
}
