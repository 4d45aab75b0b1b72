/* The partition key: random, the hash of the record as it is sent, or a template. A template that
 * gives nothing for one of its fields, or a key that the service would not take, falls back to a
 * random one, and is counted: a record is never lost for its key.
 */
#include "lib/shape_in.h"

#include "lib/hash.h"
#include "lib/json.h"

static void put_hex(struct buf *key, uint64_t bits, unsigned digits)
{
    static const char hex[] = "0123456789abcdef";
    char *to = buf_reserve(key, digits);
    if (to == NULL)
        return;
    for (unsigned i = 0; i < digits; i++, bits >>= 4)
        to[i] = hex[bits & 15];
    buf_commit(key, digits);
}

static void put_hash(struct buf *key, struct str data)
{
    uint8_t sha[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    hash_sha256(data.p, data.n, sha);
    hash_hex(sha, sizeof sha / 2, hex);
    buf_put(key, hex, sizeof sha);
}

/* Appends text with invalid UTF-8 replaced; returns the number of characters. */
static size_t put_clean(struct buf *b, struct str text)
{
    size_t chars = 0;
    for (size_t at = 0; at < text.n;) {
        const char *p = text.p + at;
        size_t plain = json_plain_len(p, text.n - at), bad_n = 1;
        size_t n = plain > 0 ? plain : json_utf8_len(p, text.n - at, &bad_n);
        buf_put(b, n > 0 ? p : "\xef\xbf\xbd", n > 0 ? n : 3);
        chars += plain > 0 ? plain : 1;
        at += n > 0 ? n : bad_n;
    }
    return chars;
}

/* Over four bytes a character the key is too long for sure, and no more of it is copied. */
static bool run_key_template(struct shape *s, const struct shape_in *in)
{
    buf_reset(&s->scratch);
    for (size_t i = 0; i < s->plan.key_text.n; i++)
        if (!fill_part(s, &s->plan.key_text.parts[i], in) || s->scratch.n > 4 * SHAPE_KEY_CHARS_MAX)
            return false;
    size_t chars = put_clean(&s->key, buf_str(&s->scratch));
    return chars > 0 && chars <= SHAPE_KEY_CHARS_MAX;
}

void key_make(struct shape *s, const struct shape_in *in, struct rng *r, struct shape_out *out)
{
    buf_reset(&s->key);
    out->key_plain = true;
    if (s->plan.key == KEY_HASH) {
        put_hash(&s->key, out->data);
        return;
    }
    if (s->plan.key == KEY_TEMPLATE) {
        out->key_plain = false;
        if (run_key_template(s, in))
            return;
        out->key_fallbacks++;
        buf_reset(&s->key);
    }
    put_hex(&s->key, rng_next(r), 8);
}
