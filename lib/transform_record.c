/* What one record of Firehose becomes. Its data, or each part of an aggregate, is cut into texts as
 * an input cuts a file (input.h), each is shaped, and what comes out is put together, a line each.
 *
 * How it fails: the first text that cannot be shaped fails the record, for the service takes a
 * record whole or not at all.
 */
#include <stdio.h>

#include "lib/framer.h"
#include "lib/json.h"
#include "lib/kpl.h"
#include "lib/transform_in.h"

bool record_fail(struct transform *t, const char *why)
{
    snprintf(t->why, sizeof t->why, "%s", why);
    return false;
}

/* ---- partition keys ---- */

/* The values of all partition keys among the text's members; the last of a name counts. */
static void find_values(const struct transform *t, struct str text, struct str *values)
{
    struct json_scan s;
    json_scan_init(&s, text);
    enum json_token token = json_scan_next(&s);
    while (token == JSON_OBJECT && json_scan_next(&s) == JSON_KEY) {
        struct str name = s.token;
        enum json_token kind = json_scan_next(&s);
        bool plain =
            kind == JSON_STRING || kind == JSON_NUMBER || kind == JSON_TRUE || kind == JSON_FALSE;
        for (size_t i = 0; i < t->mapping->partition_keys_n; i++)
            if (str_eq(name, str_of(t->mapping->partition_keys[i])))
                values[i] = plain ? s.token : (struct str){0};
        if (kind == JSON_OBJECT || kind == JSON_ARRAY)
            json_scan_skip(&s);
    }
}

static bool put_keys(struct transform *t, struct str text, struct buf *keys)
{
    struct str values[PARTITION_KEYS_MAX] = {{0}};
    find_values(t, text, values);
    buf_reset(keys);
    for (size_t i = 0; i < t->mapping->partition_keys_n; i++) {
        const char *name = t->mapping->partition_keys[i];
        char why[128];
        if (values[i].n == 0) {
            snprintf(why, sizeof why, "there is no %.64s to partition it by", name);
            return record_fail(t, why);
        }
        if (i > 0)
            buf_putc(keys, ',');
        json_put_string(keys, str_of(name));
        buf_puts(keys, ":\"");
        buf_put(keys, values[i].p, values[i].n);
        buf_putc(keys, '"');
    }
    return !keys->failed || record_fail(t, "memory ran out");
}

static bool keep_keys(struct transform *t, struct str text)
{
    if (t->mapping->partition_keys_n == 0)
        return true;
    if (t->out.n == 0)
        return put_keys(t, text, &t->keys);
    if (!put_keys(t, text, &t->other_keys))
        return false;
    t->mixed |= !str_eq(buf_str(&t->keys), buf_str(&t->other_keys));
    return true;
}

/* ---- texts ---- */

/* A line break in JSON stands between tokens, where a blank does as well. */
static bool put_line(struct transform *t, struct str text)
{
    char *to = text.n < t->out.max ? buf_reserve(&t->out, text.n + 1) : NULL;
    if (to == NULL) {
        t->full = true;
        return record_fail(t, SHAPE_TOO_LONG);
    }
    memcpy(to, text.p, text.n);
    to[text.n] = '\n';
    for (char *at = to; (at = memchr(at, '\n', (size_t)(to + text.n - at))) != NULL;)
        *at = ' ';
    buf_commit(&t->out, text.n + 1);
    t->texts++;
    return true;
}

static bool make_text(struct transform *t, struct str raw, const struct csv_row *row, bool valid)
{
    const struct shape_in in = {.raw = raw, .row = row, .columns = t->columns, .valid = valid};
    struct shape_out out;
    switch (shape_apply(t->shape, &in, &t->rng, &out)) {
    case SHAPE_NOMEM:
        return record_fail(t, "memory ran out");
    case SHAPE_DEAD:
        return record_fail(t, out.reason);
    case SHAPE_DROPPED:
        t->done->stats.dropped++;
        break;
    case SHAPE_RECORD:
        if (!keep_keys(t, out.data) || !put_line(t, out.data))
            return false;
        break;
    }
    shape_count(&t->done->stats, &out);
    return true;
}

static bool make_array(struct transform *t, struct str text)
{
    size_t at = 0;
    struct str element;
    enum json_split found;
    while ((found = json_split_next(text, &at, &element)) == JSON_SPLIT_ELEMENT)
        if (!make_text(t, element, NULL, true))
            return false;
    char why[64];
    snprintf(why, sizeof why, "not JSON at byte %zu", at);
    return found == JSON_SPLIT_END || record_fail(t, why);
}

static bool make_json(struct transform *t, struct str text, bool valid)
{
    if (t->spec.split_arrays && json_is_array(text))
        return make_array(t, text);
    return make_text(t, text, NULL, valid);
}

/* ---- data ---- */

static bool make_lines(struct transform *t, struct str data)
{
    struct framer framer;
    struct frame line;
    bool json = t->spec.format == FORMAT_JSON;
    framer_reset(&framer, false);
    framer.encoding = t->spec.encoding;
    while (framer_line(&framer, data, SIZE_MAX, true, &line) == FRAME_RECORD) {
        data = (struct str){data.p + line.used, data.n - line.used};
        if (line.data.n == 0)
            continue;
        if (!(json ? make_json(t, line.data, false) : make_text(t, line.data, NULL, false)))
            return false;
    }
    return true;
}

static bool make_rows(struct transform *t, struct str data)
{
    struct csv_row *row = &t->row;
    for (;;) {
        enum csv_result r = csv_row_next(row, data, t->spec.delimiter, true);
        if (r == CSV_MORE)
            return true;
        if (r == CSV_NOMEM)
            return record_fail(t, "memory ran out");
        if (r == CSV_WIDE)
            return record_fail(t, "too many fields");
        struct str raw = {data.p + row->begin, row->used - row->begin};
        if (raw.n > t->spec.max_record + 1) /* a line end may be among them */
            return record_fail(t, SHAPE_TOO_LONG);
        if (!make_text(t, raw, row, false))
            return false;
        data = (struct str){data.p + row->used, data.n - row->used};
    }
}

/* One value over several lines, or a value a line. */
static bool make_values(struct transform *t, struct str data)
{
    const char *end = memchr(data.p, '\n', data.n);
    bool lines = end != NULL && (size_t)(end - data.p) + 1 < data.n;
    if (lines && json_valid(data, NULL))
        return make_json(t, data, true);
    return make_lines(t, data);
}

static bool make_data(struct transform *t, struct str data)
{
    data = shape_without_mark(&t->spec, data);
    if (data.n == 0)
        return true;
    if (t->spec.format == FORMAT_CSV)
        return make_rows(t, data);
    if (t->spec.format == FORMAT_JSON)
        return make_values(t, data);
    return make_lines(t, data);
}

bool record_make(struct transform *t, struct str data)
{
    buf_reset(&t->out);
    buf_reset(&t->keys);
    t->texts = 0;
    t->mixed = false;
    if (!kpl_is_aggregate(data))
        return make_data(t, data);
    struct kpl k;
    struct str user;
    const char *why;
    if (!kpl_open(&k, data, &why))
        return record_fail(t, why);
    t->done->aggregates++;
    while (kpl_next(&k, &user))
        if (!make_data(t, user))
            return false;
    return true;
}
