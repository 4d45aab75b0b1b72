/* Encoding is a walk over the set. Decoding is a walk over the text with the JSON scanner, in the
 * order in which encoding wrote it: each read_* takes the next key and its value and checks both.
 * No tree is built, so what is allocated is what is kept.
 *
 * The first thing that is not as it must be is said once, with its place, and stops all reads after
 * it (they return zeros); whoever builds an entry looks at `rc` before keeping it, and what was
 * built is freed at the end. So a damaged checkpoint costs no more than a good one, and is never
 * half taken.
 */
#include "lib/position.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/hash.h"
#include "lib/json.h"

#define OFFSET_MAX ((uint64_t)INT64_MAX)
#define COUNT_MAX  (OFFSET_MAX / 2) /* of ids, generations: no counting on from there overflows */
#define TEXT_MAX   (64 * KIB) /* one name or path; PATH_MAX is 4 KiB */

struct fingerprint fingerprint_of(const void *p, size_t n)
{
    assert(n <= FINGERPRINT_MAX);
    uint8_t hash[SHA256_SIZE];
    hash_sha256(p, n, hash);
    struct fingerprint f = {.n = (uint32_t)n};
    memcpy(f.hash, hash, sizeof f.hash);
    return f;
}

bool fingerprint_eq(const struct fingerprint *a, const struct fingerprint *b)
{
    return a->n == b->n && memcmp(a->hash, b->hash, sizeof a->hash) == 0;
}

bool position_sane(const struct position *p)
{
    return p->offset <= OFFSET_MAX && p->head.n <= FINGERPRINT_MAX &&
           p->tail.n <= FINGERPRINT_MAX && p->tail.n <= p->offset;
}

static void put_number(struct buf *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    buf_put(out, digits + at, sizeof digits - at);
}

static bool is_utf8(struct str s)
{
    size_t bad_n, len;
    for (size_t at = 0; at < s.n; at += len) {
        len = json_utf8_len(s.p + at, s.n - at, &bad_n);
        if (len == 0)
            return false;
    }
    return true;
}

/* `"key":"text"`, or `"key_hex":"..."` when JSON cannot carry the bytes. */
static void put_text(struct buf *out, const char *key, const char *text)
{
    struct str s = str_of(text);
    assert(s.n > 0);
    bool utf8 = is_utf8(s);
    buf_putc(out, '"');
    buf_puts(out, key);
    buf_puts(out, utf8 ? "\":" : "_hex\":\"");
    if (utf8) {
        json_put_string(out, s);
        return;
    }
    for (size_t i = 0; i < s.n; i++) {
        char hex[3];
        hash_hex((const uint8_t *)s.p + i, 1, hex);
        buf_put(out, hex, 2);
    }
    buf_putc(out, '"');
}

static void put_fingerprint(struct buf *out, const struct fingerprint *f)
{
    char hex[2 * FINGERPRINT_SIZE + 1];
    hash_hex(f->hash, sizeof f->hash, hex);
    buf_puts(out, "{\"n\":");
    put_number(out, f->n);
    buf_puts(out, ",\"hash\":\"");
    buf_puts(out, hex);
    buf_puts(out, "\"}");
}

static void put_file(struct buf *out, const struct checkpoint_file *f)
{
    assert(position_sane(&f->at) && f->seen_s <= OFFSET_MAX && f->size <= OFFSET_MAX);
    assert(f->id > 0 && f->id <= OFFSET_MAX);
    buf_puts(out, "\n{\"id\":\"");
    put_number(out, f->id);
    buf_puts(out, "\",");
    put_text(out, "path", f->path);
    buf_puts(out, ",\"device\":\"");
    put_number(out, f->at.device);
    buf_puts(out, "\",\"inode\":\"");
    put_number(out, f->at.inode);
    buf_puts(out, "\",\"offset\":");
    put_number(out, f->at.offset);
    buf_puts(out, ",\"mid_record\":");
    buf_puts(out, f->at.mid_record ? "true" : "false");
    buf_puts(out, ",\"seen\":");
    put_number(out, f->seen_s);
    buf_puts(out, ",\"size\":");
    put_number(out, f->size);
    buf_puts(out, ",\"head\":");
    put_fingerprint(out, &f->at.head);
    buf_puts(out, ",\"tail\":");
    put_fingerprint(out, &f->at.tail);
    buf_putc(out, '}');
}

void checkpoint_encode(const struct checkpoint *c, struct buf *out)
{
    buf_puts(out, "{\"version\":");
    put_number(out, CHECKPOINT_VERSION);
    buf_puts(out, ",\"generation\":");
    assert(c->generation <= OFFSET_MAX);
    put_number(out, c->generation);
    buf_puts(out, ",\"sources\":[");
    for (size_t i = 0; i < c->sources_n; i++) {
        const struct checkpoint_source *s = &c->sources[i];
        buf_puts(out, i > 0 ? ",\n{" : "\n{");
        put_text(out, "name", s->name);
        buf_puts(out, ",\"files\":[");
        for (size_t k = 0; k < s->files_n; k++) {
            if (k > 0)
                buf_putc(out, ',');
            put_file(out, &s->files[k]);
        }
        buf_puts(out, "]}");
    }
    buf_puts(out, "]}\n");
}

static void release_source(struct checkpoint_source *s)
{
    for (size_t i = 0; i < s->files_n; i++)
        free(s->files[i].path);
    free(s->files);
    free(s->name);
}

void checkpoint_release(struct checkpoint *c)
{
    for (size_t i = 0; i < c->sources_n; i++)
        release_source(&c->sources[i]);
    free(c->sources);
    *c = (struct checkpoint){0};
}

struct reader {
    struct json_scan scan;
    struct err *err;
    int rc; /* sticky */
    size_t files_n;
};

static void fail(struct reader *r, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void fail(struct reader *r, int code, const char *fmt, ...)
{
    if (r->rc != 0)
        return;
    char what[ERR_TEXT_MAX / 2];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    r->rc =
        err_set(r->err, code, "the checkpoint cannot be used: at byte %zu, %s", r->scan.at, what);
}

static enum json_token next(struct reader *r)
{
    if (r->rc != 0)
        return JSON_BAD;
    enum json_token t = json_scan_next(&r->scan);
    if (t == JSON_BAD)
        fail(r, ERR_SYNTAX, "%s", r->scan.at < r->scan.text.n ? "not JSON" : "it ends too early");
    return t;
}

static void expect(struct reader *r, enum json_token want, const char *what)
{
    if (next(r) != want)
        fail(r, ERR_SYNTAX, "expected %s", what);
}

static void read_key(struct reader *r, const char *key)
{
    if (next(r) != JSON_KEY || !str_eq(r->scan.token, str_of(key)))
        fail(r, ERR_SYNTAX, "expected the field \"%s\"", key);
}

/* Digits as put_number writes them. */
static bool parse_number(struct str s, uint64_t max, uint64_t *value)
{
    uint64_t v = 0;
    if (s.n == 0 || s.n > 20 || (s.n > 1 && s.p[0] == '0'))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        unsigned digit = (unsigned)(s.p[i] - '0');
        if (digit > max || v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *value = v;
    return true;
}

static uint64_t read_number(struct reader *r, const char *key, uint64_t max)
{
    uint64_t value = 0;
    read_key(r, key);
    if (next(r) != JSON_NUMBER || !parse_number(r->scan.token, max, &value))
        fail(r, ERR_SYNTAX, "\"%s\" is not a whole number from 0 to %llu", key,
             (unsigned long long)max);
    return value;
}

static uint64_t read_quoted_number(struct reader *r, const char *key)
{
    uint64_t value = 0;
    read_key(r, key);
    if (next(r) != JSON_STRING || !parse_number(r->scan.token, UINT64_MAX, &value))
        fail(r, ERR_SYNTAX, "\"%s\" is not a number of 64 bits in quotes", key);
    return value;
}

static bool read_bool(struct reader *r, const char *key)
{
    read_key(r, key);
    enum json_token t = next(r);
    if (t != JSON_TRUE && t != JSON_FALSE)
        fail(r, ERR_SYNTAX, "\"%s\" is neither true nor false", key);
    return t == JSON_TRUE;
}

/* Pairs of lower-case hex digits into dst (s.n / 2 bytes). */
static bool parse_hex(struct str s, uint8_t *dst)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool digit = c >= '0' && c <= '9';
        if (!digit && (c < 'a' || c > 'f'))
            return false;
        unsigned value = (unsigned)(digit ? c - '0' : c - 'a' + 10);
        dst[i / 2] = (uint8_t)(i % 2 == 0 ? value << 4 : dst[i / 2] | value);
    }
    return s.n % 2 == 0;
}

static struct fingerprint read_fingerprint(struct reader *r, const char *key, uint64_t max)
{
    struct fingerprint f = {0};
    read_key(r, key);
    expect(r, JSON_OBJECT, "a fingerprint: {\"n\": ..., \"hash\": ...}");
    f.n = (uint32_t)read_number(r, "n", min_u64(max, FINGERPRINT_MAX));
    read_key(r, "hash");
    enum json_token t = next(r);
    if (t != JSON_STRING || r->scan.token.n != 2 * sizeof f.hash ||
        !parse_hex(r->scan.token, f.hash))
        fail(r, ERR_SYNTAX, "the \"hash\" of \"%s\" is not %zu hex digits", key, 2 * sizeof f.hash);
    expect(r, JSON_CLOSE, "the end of the fingerprint");
    return f;
}

/* The bytes of the string token just read, with a NUL behind them; NULL after fail(). */
static char *copy_text(struct reader *r, const char *key, bool hex)
{
    struct str token = r->scan.token;
    struct buf b;
    buf_init(&b, TEXT_MAX);
    if (!hex) {
        json_unescape(&b, token);
    } else {
        uint8_t *to = (uint8_t *)buf_reserve(&b, token.n / 2 + 1);
        if (to != NULL && !parse_hex(token, to))
            fail(r, ERR_SYNTAX, "\"%s_hex\" is not pairs of hex digits", key);
        else if (to != NULL)
            buf_commit(&b, token.n / 2);
    }
    const char *text = buf_cstr(&b);
    if (text == NULL && token.n >= TEXT_MAX)
        fail(r, ERR_RANGE, "\"%s\" is longer than %zu bytes", key, TEXT_MAX - 1);
    else if (text == NULL)
        fail(r, ERR_NOMEM, "no memory");
    else if (b.n == 0 || strlen(text) != b.n)
        fail(r, ERR_SYNTAX, "\"%s\" is empty or has a NUL in it", key);
    if (r->rc == 0)
        return b.p;
    buf_release(&b);
    return NULL;
}

static char *read_text(struct reader *r, const char *key)
{
    size_t n = strlen(key);
    struct str got = {NULL, 0};
    if (next(r) == JSON_KEY)
        got = r->scan.token;
    bool hex = got.n == n + 4 && memcmp(got.p + n, "_hex", 4) == 0;
    if ((got.n != n && !hex) || memcmp(got.p, key, n) != 0)
        fail(r, ERR_SYNTAX, "expected the field \"%s\"", key);
    expect(r, JSON_STRING, "a string");
    return r->rc == 0 ? copy_text(r, key, hex) : NULL;
}

static uint64_t read_id(struct reader *r)
{
    uint64_t id = read_quoted_number(r, "id");
    if (id == 0 || id > COUNT_MAX)
        fail(r, ERR_SYNTAX, "\"id\" is not from 1 to %llu", (unsigned long long)COUNT_MAX);
    return id;
}

static struct checkpoint_file read_file(struct reader *r)
{
    struct checkpoint_file f = {0};
    if (++r->files_n > CHECKPOINT_FILES_MAX)
        fail(r, ERR_RANGE, "it has more than %d files", CHECKPOINT_FILES_MAX);
    f.id = read_id(r);
    f.path = read_text(r, "path");
    f.at.device = read_quoted_number(r, "device");
    f.at.inode = read_quoted_number(r, "inode");
    f.at.offset = read_number(r, "offset", OFFSET_MAX);
    f.at.mid_record = read_bool(r, "mid_record");
    f.seen_s = read_number(r, "seen", OFFSET_MAX);
    f.size = read_number(r, "size", OFFSET_MAX);
    f.at.head = read_fingerprint(r, "head", FINGERPRINT_MAX);
    f.at.tail = read_fingerprint(r, "tail", f.at.offset);
    expect(r, JSON_CLOSE, "the end of the file's entry");
    return f;
}

/* Room for one more of `n` in an array that grows at the powers of two; NULL after fail(). */
static void *room_for_one(struct reader *r, void *array, size_t n, size_t size)
{
    if (r->rc != 0)
        return NULL;
    if ((n & (n - 1)) != 0) /* 0 and the powers of two are where it is full */
        return array;
    void *grown = realloc(array, (n == 0 ? 1 : 2 * n) * size);
    if (grown == NULL)
        fail(r, ERR_NOMEM, "no memory");
    return grown;
}

/* True while there is another element of the array; false at its end, or after fail(). */
static bool another(struct reader *r)
{
    enum json_token t = next(r);
    if (t != JSON_OBJECT && t != JSON_CLOSE)
        fail(r, ERR_SYNTAX, "expected an object, or the end of the list");
    return r->rc == 0 && t == JSON_OBJECT;
}

static void read_source(struct reader *r, struct checkpoint_source *s)
{
    s->name = read_text(r, "name");
    read_key(r, "files");
    expect(r, JSON_ARRAY, "a list of files");
    while (another(r)) {
        struct checkpoint_file f = read_file(r);
        struct checkpoint_file *files = room_for_one(r, s->files, s->files_n, sizeof *files);
        if (files == NULL) {
            free(f.path);
            return;
        }
        s->files = files;
        s->files[s->files_n++] = f;
    }
    expect(r, JSON_CLOSE, "the end of the source");
}

static bool known(const struct checkpoint *c, const char *name)
{
    for (size_t i = 0; i < c->sources_n; i++) {
        if (strcmp(c->sources[i].name, name) == 0)
            return true;
    }
    return false;
}

static void read_sources(struct reader *r, struct checkpoint *c)
{
    while (another(r)) {
        struct checkpoint_source s = {0};
        read_source(r, &s);
        if (r->rc == 0 && known(c, s.name))
            fail(r, ERR_SYNTAX, "the source \"%.100s\" is there twice", s.name);
        if (c->sources_n == CHECKPOINT_SOURCES_MAX)
            fail(r, ERR_RANGE, "it has more than %d sources", CHECKPOINT_SOURCES_MAX);
        struct checkpoint_source *sources =
            room_for_one(r, c->sources, c->sources_n, sizeof *sources);
        if (sources == NULL) {
            release_source(&s);
            return;
        }
        c->sources = sources;
        c->sources[c->sources_n++] = s;
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Two entries of one id could not be told apart by a recent document. */
static void check_ids(struct reader *r, const struct checkpoint *c)
{
    uint64_t *ids = r->rc == 0 ? calloc(r->files_n + 1, sizeof *ids) : NULL;
    if (ids == NULL) {
        fail(r, ERR_NOMEM, "no memory");
        return;
    }
    size_t n = 0;
    for (size_t i = 0; i < c->sources_n; i++)
        for (size_t k = 0; k < c->sources[i].files_n; k++)
            ids[n++] = c->sources[i].files[k].id;
    qsort(ids, n, sizeof *ids, by_value);
    for (size_t i = 1; i < n; i++)
        if (ids[i] == ids[i - 1])
            fail(r, ERR_SYNTAX, "the id %llu is there twice", (unsigned long long)ids[i]);
    free(ids);
}

/* Refuses another version before anything else is looked at: its other fields may differ. */
static void read_version(struct reader *r)
{
    uint64_t version = read_number(r, "version", OFFSET_MAX);
    if (r->rc == 0 && version != CHECKPOINT_VERSION)
        r->rc =
            err_set(r->err, ERR_RANGE,
                    "the checkpoint is of version %llu, and this program knows only version %d%s",
                    (unsigned long long)version, CHECKPOINT_VERSION,
                    version > CHECKPOINT_VERSION ? ": a newer program wrote it" : "");
}

int checkpoint_decode(struct str text, struct checkpoint *c, struct err *e)
{
    if (text.n > CHECKPOINT_BYTES_MAX)
        return err_set(e, ERR_RANGE, "the checkpoint is larger than %zu MiB",
                       CHECKPOINT_BYTES_MAX / MIB);
    struct reader r = {.err = e};
    struct checkpoint made = {0};
    json_scan_init(&r.scan, text);
    expect(&r, JSON_OBJECT, "an object");
    read_version(&r);
    made.generation = read_number(&r, "generation", COUNT_MAX);
    read_key(&r, "sources");
    expect(&r, JSON_ARRAY, "a list of sources");
    if (r.rc == 0)
        read_sources(&r, &made);
    expect(&r, JSON_CLOSE, "the end of the checkpoint");
    expect(&r, JSON_END, "nothing more");
    check_ids(&r, &made);
    if (r.rc != 0) {
        checkpoint_release(&made);
        return r.rc;
    }
    *c = made;
    return 0;
}
