#include "lib/encode.h"

#include "lib/base64.h"
#include "lib/json.h"

void encode_prefix(struct buf *prefix, struct str to)
{
    bool arn = to.n >= 4 && memcmp(to.p, "arn:", 4) == 0;
    buf_puts(prefix, arn ? "{\"StreamARN\":" : "{\"StreamName\":");
    json_put_string(prefix, to);
    buf_puts(prefix, ",\"Records\":[");
}

static void put_key(struct buf *body, const struct record *rec)
{
    struct str key = record_key(rec);
    if (!rec->key_plain) {
        json_put_string(body, key);
        return;
    }
    char *to = buf_reserve(body, key.n + 2);
    if (to == NULL)
        return;
    to[0] = '"';
    memcpy(to + 1, key.p, key.n);
    to[key.n + 1] = '"';
    buf_commit(body, key.n + 2);
}

static void put_record(struct buf *body, const struct record *rec)
{
    static const char head[] = "{\"Data\":\"", middle[] = "\",\"PartitionKey\":";
    struct str data = record_data(rec);
    size_t n = base64_size(data.n);
    char *to = buf_reserve(body, sizeof head - 1 + n + sizeof middle - 1);
    if (to == NULL)
        return;
    memcpy(to, head, sizeof head - 1);
    to += sizeof head - 1;
    base64_encode(to, data.p, data.n);
    memcpy(to + n, middle, sizeof middle - 1);
    buf_commit(body, sizeof head - 1 + n + sizeof middle - 1);
    put_key(body, rec);
    buf_put(body, "},", 2);
}

bool encode_put_records(struct buf *body, struct str prefix, struct record *const *records,
                        unsigned n)
{
    assert(n > 0);
    buf_reset(body);
    buf_put(body, prefix.p, prefix.n);
    for (unsigned i = 0; i < n; i++)
        put_record(body, records[i]);
    if (!body->failed)
        body->n--; /* the last comma */
    buf_put(body, "]}", 2);
    if (body->failed)
        buf_reset(body);
    return body->n > 0;
}
