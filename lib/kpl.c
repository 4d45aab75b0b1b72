/* A message is a run of fields; a field is a number, a wire type, and a value whose end the type
 * tells. read_field walks one of them and is all that touches bytes, so bounds are checked in one
 * place. The tables may stand behind the records that point into them: they are counted first.
 *
 * How it fails: any length that reaches past its message, a varint without end, a group (a wire
 * type long given up), a record without data or with an index past its table is a damaged
 * aggregate.
 */
#include "lib/kpl.h"

#include "lib/hash.h"

#define MAGIC_SIZE 4

static const char magic[MAGIC_SIZE] = "\xf3\x89\x9a\xc2";

enum { AGGREGATE_KEYS = 1, AGGREGATE_HASH_KEYS = 2, AGGREGATE_RECORDS = 3 };
enum { RECORD_KEY = 1, RECORD_HASH_KEY = 2, RECORD_DATA = 3 };
enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value;   /* WIRE_VARINT */
    struct str bytes; /* WIRE_BYTES */
};

static bool read_varint(struct str m, size_t *at, uint64_t *v)
{
    uint64_t sum = 0;
    for (unsigned shift = 0; shift < 70 && *at < m.n; shift += 7) {
        uint8_t byte = (uint8_t)m.p[(*at)++];
        if (shift == 63 && byte > 1)
            return false; /* more than 64 bits */
        sum |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *v = sum;
            return true;
        }
    }
    return false;
}

/* False: there is no field at *at. */
static bool read_field(struct str m, size_t *at, struct field *f)
{
    uint64_t tag, n = 0;
    if (!read_varint(m, at, &tag))
        return false;
    *f = (struct field){.number = tag >> 3, .wire = (enum wire)(tag & 7)};
    if (f->number == 0)
        return false;
    switch (f->wire) {
    case WIRE_VARINT:
        return read_varint(m, at, &f->value);
    case WIRE_64:
        n = 8;
        break;
    case WIRE_32:
        n = 4;
        break;
    case WIRE_BYTES:
        if (!read_varint(m, at, &n))
            return false;
        break;
    default:
        return false;
    }
    if (n > m.n - *at)
        return false;
    f->bytes = (struct str){m.p + *at, (size_t)n};
    *at += (size_t)n;
    return true;
}

/* The data of a user record; of a field that comes twice the last counts. */
static bool read_record(struct str m, uint64_t keys, uint64_t hash_keys, struct str *data)
{
    bool has_key = false, has_data = false;
    size_t at = 0;
    while (at < m.n) {
        struct field f;
        if (!read_field(m, &at, &f))
            return false;
        if (f.number == RECORD_KEY) {
            if (f.wire != WIRE_VARINT || f.value >= keys)
                return false;
            has_key = true;
        } else if (f.number == RECORD_HASH_KEY) {
            if (f.wire != WIRE_VARINT || f.value >= hash_keys)
                return false;
        } else if (f.number == RECORD_DATA) {
            if (f.wire != WIRE_BYTES)
                return false;
            has_data = true;
            *data = f.bytes;
        }
    }
    return has_key && has_data;
}

static bool count_tables(struct str m, uint64_t *keys, uint64_t *hash_keys)
{
    *keys = *hash_keys = 0;
    for (size_t at = 0; at < m.n;) {
        struct field f;
        if (!read_field(m, &at, &f))
            return false;
        if (f.number <= AGGREGATE_RECORDS && f.wire != WIRE_BYTES)
            return false;
        *keys += f.number == AGGREGATE_KEYS;
        *hash_keys += f.number == AGGREGATE_HASH_KEYS;
    }
    return true;
}

static bool check_records(struct str m, uint64_t keys, uint64_t hash_keys)
{
    for (size_t at = 0; at < m.n;) {
        struct field f = {0};
        struct str data;
        read_field(m, &at, &f); /* count_tables has been here */
        if (f.number == AGGREGATE_RECORDS && !read_record(f.bytes, keys, hash_keys, &data))
            return false;
    }
    return true;
}

bool kpl_is_aggregate(struct str data)
{
    return data.n >= MAGIC_SIZE && memcmp(data.p, magic, MAGIC_SIZE) == 0;
}

bool kpl_open(struct kpl *k, struct str data, const char **why)
{
    assert(kpl_is_aggregate(data));
    if (data.n < MAGIC_SIZE + MD5_SIZE) {
        *why = "a KPL aggregate that is cut short";
        return false;
    }
    struct str m = {data.p + MAGIC_SIZE, data.n - MAGIC_SIZE - MD5_SIZE};
    uint8_t sum[MD5_SIZE];
    uint64_t keys, hash_keys;
    if (!hash_md5(m.p, m.n, sum)) {
        *why = "a KPL aggregate, and MD5 is not to be had";
        return false;
    }
    if (memcmp(sum, m.p + m.n, MD5_SIZE) != 0) {
        *why = "a KPL aggregate whose checksum is wrong";
        return false;
    }
    if (!count_tables(m, &keys, &hash_keys) || !check_records(m, keys, hash_keys)) {
        *why = "a KPL aggregate that is not of its format";
        return false;
    }
    *k = (struct kpl){.message = m};
    return true;
}

bool kpl_next(struct kpl *k, struct str *user)
{
    struct field f;
    while (k->at < k->message.n && read_field(k->message, &k->at, &f))
        if (f.number == AGGREGATE_RECORDS)
            return read_record(f.bytes, UINT64_MAX, UINT64_MAX, user);
    return false;
}
