/* Encoding puts numbers in place and a checksum before them. Decoding believes nothing before the
 * checksum over it was right, and keeps to the bounds even then: whoever can write the file could
 * write good checksums too.
 *
 * The one thing read before any checksum is the version, at its fixed place behind the magic: a
 * newer file may have its checksum elsewhere, and is to be refused, not called damaged. */
#include "lib/spoollog.h"

#include "lib/crc32c.h"

#define MAGIC         "tailrace spool\n" /* 16 bytes with its NUL; the file tells what it is */
#define HEADER_USED   44
#define FLAG_PLAIN    1
#define STATE_CLEAN   1
#define STATE_CRC_AT  (SPOOLLOG_STATE_BYTES - 4)
#define HEADER_CRC_AT (HEADER_USED - 4)

static inline uint64_t swap64(uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline uint32_t swap32(uint32_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline void put64(char *to, uint64_t v)
{
    v = swap64(v);
    memcpy(to, &v, 8);
}

static inline void put32(char *to, uint32_t v)
{
    v = swap32(v);
    memcpy(to, &v, 4);
}

static inline uint64_t get64(const char *from)
{
    uint64_t v;
    memcpy(&v, from, 8);
    return swap64(v);
}

static inline uint32_t get32(const char *from)
{
    uint32_t v;
    memcpy(&v, from, 4);
    return swap32(v);
}

/* ---- the header ---- */

static bool is_capacity(uint64_t n)
{
    return n >= SPOOLLOG_CAPACITY_MIN && n <= SPOOLLOG_CAPACITY_MAX && n % SPOOLLOG_PAGE == 0;
}

void spoollog_init(struct spoollog *l, uint64_t id, uint64_t capacity)
{
    assert(is_capacity(capacity));
    char text[8];
    put64(text, id);
    *l = (struct spoollog){.id = id, .capacity = capacity, .seed = crc32c(0, text, sizeof text)};
}

void spoollog_put_header(const struct spoollog *l, char to[SPOOLLOG_HEADER_BYTES])
{
    memset(to, 0, SPOOLLOG_HEADER_BYTES);
    memcpy(to, MAGIC, 16);
    put32(to + 16, SPOOLLOG_VERSION);
    put32(to + 20, (uint32_t)SPOOLLOG_DATA_PLACE);
    put64(to + 24, l->capacity);
    put64(to + 32, l->id);
    put32(to + HEADER_CRC_AT, crc32c(0, to, HEADER_CRC_AT));
}

int spoollog_get_header(struct spoollog *l, struct str from, struct err *e)
{
    if (from.n < HEADER_USED || memcmp(from.p, MAGIC, 16) != 0)
        return err_set(e, ERR_TYPE, "it is not a spool");
    uint32_t version = get32(from.p + 16);
    if (version > SPOOLLOG_VERSION)
        return err_set(e, ERR_RANGE,
                       "it was made by a newer tailrace: its version is %u, and this one knows "
                       "versions up to %u",
                       (unsigned)version, SPOOLLOG_VERSION);
    if (get32(from.p + HEADER_CRC_AT) != crc32c(0, from.p, HEADER_CRC_AT) || version == 0 ||
        get32(from.p + 20) != SPOOLLOG_DATA_PLACE || !is_capacity(get64(from.p + 24)))
        return err_set(e, ERR_SYNTAX, "its header is damaged");
    spoollog_init(l, get64(from.p + 32), get64(from.p + 24));
    return 0;
}

/* ---- the state ---- */

void spoollog_put_state(const struct spoollog *l, const struct spoollog_state *s,
                        char to[SPOOLLOG_STATE_BYTES])
{
    memset(to, 0, SPOOLLOG_STATE_BYTES);
    put64(to, s->generation);
    put64(to + 8, s->saved);
    put64(to + 16, s->written);
    put32(to + 24, s->clean ? STATE_CLEAN : 0);
    put32(to + STATE_CRC_AT, crc32c(l->seed, to, STATE_CRC_AT));
}

bool spoollog_get_state(const struct spoollog *l, struct str from, struct spoollog_state *s)
{
    if (from.n < SPOOLLOG_STATE_BYTES ||
        get32(from.p + STATE_CRC_AT) != crc32c(l->seed, from.p, STATE_CRC_AT))
        return false;
    struct spoollog_state found = {.generation = get64(from.p),
                                   .saved = get64(from.p + 8),
                                   .written = get64(from.p + 16),
                                   .clean = (get32(from.p + 24) & STATE_CLEAN) != 0};
    if (found.saved > found.written || found.written > SPOOLLOG_POSITION_MAX ||
        found.written - found.saved > l->capacity || found.saved % 8 != 0 || found.written % 8 != 0)
        return false;
    *s = found;
    return true;
}

/* ---- records ---- */

static inline uint32_t put_head(const struct spoollog *l, uint64_t position, uint32_t data_n,
                                uint16_t key_n, uint8_t kind, uint8_t flags, char *to)
{
    put64(to + 8, position);
    put64(to + 16, data_n | (uint64_t)key_n << 32 | (uint64_t)kind << 48 | (uint64_t)flags << 56);
    uint32_t crc = crc32c(l->seed, to + 8, 16);
    put32(to, crc);
    return crc;
}

void spoollog_put_record(const struct spoollog *l, uint64_t position,
                         const struct spoollog_record *rec, char *to)
{
    size_t n = SPOOLLOG_HEAD_BYTES + rec->key.n + rec->data.n;
    size_t size = spoollog_size(rec->key.n, rec->data.n);
    assert(rec->key.n <= RECORD_KEY_BYTES_MAX && rec->data.n <= SPOOLLOG_DATA_MAX);
    uint32_t crc = put_head(l, position, (uint32_t)rec->data.n, (uint16_t)rec->key.n,
                            (uint8_t)rec->kind, rec->key_plain ? FLAG_PLAIN : 0, to);
    char *body = to + SPOOLLOG_HEAD_BYTES;
    if (rec->key.n > 0)
        memcpy(body, rec->key.p, rec->key.n);
    if (rec->data.n > 0)
        memcpy(body + rec->key.n, rec->data.p, rec->data.n);
    memset(to + n, 0, size - n);
    put32(to + 4, crc32c(crc, body, size - SPOOLLOG_HEAD_BYTES));
}

void spoollog_put_pad(const struct spoollog *l, uint64_t position, uint64_t rest, char *to)
{
    assert(rest >= SPOOLLOG_HEAD_BYTES && rest <= UINT32_MAX);
    uint32_t data_n = (uint32_t)(rest - SPOOLLOG_HEAD_BYTES);
    put32(to + 4, put_head(l, position, data_n, 0, SPOOLLOG_PAD, 0, to));
}

static inline void get_head(const char *p, struct spoollog_record *out)
{
    uint64_t word = get64(p + 16);
    out->kind = (enum spoollog_kind)(word >> 48 & 255);
    out->key_plain = (word >> 56 & FLAG_PLAIN) != 0;
    out->key = (struct str){p + SPOOLLOG_HEAD_BYTES, (size_t)(word >> 32 & 0xffff)};
    out->data = (struct str){out->key.p + out->key.n, (size_t)(word & 0xffffffff)};
    out->size = spoollog_size(out->key.n, out->data.n);
}

uint64_t spoollog_claim(const char *head)
{
    return get64(head + 8);
}

/* The checksum is right, and what it says within the bounds. */
bool spoollog_has_head(const struct spoollog *l, uint64_t position, const char *p)
{
    if (get64(p + 8) != position || get32(p) != crc32c(l->seed, p + 8, 16))
        return false;
    struct spoollog_record rec;
    get_head(p, &rec);
    uint64_t left = spoollog_lap_left(l, position);
    if (rec.kind == SPOOLLOG_PAD)
        return rec.key.n == 0 && rec.size == left && get32(p + 4) == get32(p);
    return (rec.kind == SPOOLLOG_DATA || rec.kind == SPOOLLOG_DEAD) &&
           rec.key.n <= RECORD_KEY_BYTES_MAX && rec.data.n <= SPOOLLOG_DATA_MAX && rec.size <= left;
}

void spoollog_trust(const char *p, struct spoollog_record *out)
{
    get_head(p, out);
}

enum spoollog_found spoollog_look(const struct spoollog *l, uint64_t position, struct str bytes,
                                  struct spoollog_record *out)
{
    assert(position % 8 == 0);
    if (bytes.n < SPOOLLOG_HEAD_BYTES) {
        *out = (struct spoollog_record){.size = SPOOLLOG_HEAD_BYTES};
        return SPOOLLOG_MORE;
    }
    if (!spoollog_has_head(l, position, bytes.p))
        return SPOOLLOG_BAD;
    struct spoollog_record rec;
    get_head(bytes.p, &rec);
    if (rec.kind == SPOOLLOG_PAD) {
        rec.key = rec.data = (struct str){0};
        *out = rec;
        return SPOOLLOG_GOOD;
    }
    if (bytes.n < rec.size) {
        *out = (struct spoollog_record){.size = rec.size};
        return SPOOLLOG_MORE;
    }
    uint32_t crc = crc32c(get32(bytes.p), rec.key.p, rec.size - SPOOLLOG_HEAD_BYTES);
    if (get32(bytes.p + 4) != crc)
        return SPOOLLOG_BAD;
    *out = rec;
    return SPOOLLOG_GOOD;
}

size_t spoollog_find(const struct spoollog *l, uint64_t position, struct str bytes)
{
    size_t at = 8;
    if (bytes.n < SPOOLLOG_HEAD_BYTES)
        return bytes.n;
    while (at + SPOOLLOG_HEAD_BYTES <= bytes.n &&
           !spoollog_has_head(l, position + at, bytes.p + at))
        at += 8;
    return at;
}
