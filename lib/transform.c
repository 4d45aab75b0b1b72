/* An event is walked twice. The first walk sees to it that the whole is an event, and notes where
 * each record's id and data stand; so nothing is shaped of one that cannot be answered, and what
 * the rest would need at least is known when a record's result is weighed. The second goes through
 * the records: base64, the aggregate, lines, the shape, base64 again, straight into the answer.
 *
 * How it fails: what is wrong with a record fails that record. Its answer is then its own text from
 * the event, so that it needs no more than the walk knew. What is wrong with the event is told to
 * the caller, who has an error to report instead of an answer.
 */
#include "lib/transform_in.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base64.h"
#include "lib/json.h"

#define HEAD       "{\"records\":["
#define TAIL       "]}"
#define BEFORE_ID  "{\"recordId\":\""
#define OK         "\",\"result\":\"Ok\",\"data\":\""
#define DROPPED    "\",\"result\":\"Dropped\",\"data\":\""
#define FAILED     "\",\"result\":\"ProcessingFailed\",\"data\":\""
#define AFTER_DATA "\"},"
#define KEYS       "\",\"metadata\":{\"partitionKeys\":{"
#define AFTER_KEYS "}}},"

/* One record of the event, both as they stand between their quotes. */
struct entry {
    struct str id, data;
    bool has_data, escaped;
};

/* ---- life ---- */

static bool bind_columns(struct transform *t)
{
    size_t n = t->spec.columns_n;
    struct str *names = calloc(n + 1, sizeof *names);
    for (size_t i = 0; names != NULL && i < n; i++)
        names[i] = str_of(t->spec.columns[i]);
    if (names != NULL)
        t->columns = shape_bind(t->shape, names, n, NULL);
    free(names);
    return t->columns != NULL;
}

static int compile(struct transform *t, const char *host, struct err *e)
{
    bool csv = t->spec.format == FORMAT_CSV;
    if (csv && t->spec.columns_n == 0)
        return err_set(e, ERR_MISSING,
                       "columns: is required with format: csv, for no record here "
                       "is a header row");
    t->shape = shape_new(&t->spec, host, e);
    if (t->shape == NULL)
        return ERR_SYNTAX;
    if (csv && !bind_columns(t))
        return err_set(e, ERR_NOMEM, "memory ran out");
    return 0;
}

struct transform *transform_new(const struct config_source *mapping, const char *host,
                                size_t answer_max, struct err *e)
{
    static char no_key[] = "random"; /* nothing is put into a stream, so the cheapest will do */
    struct transform *t = calloc(1, sizeof *t);
    if (t == NULL) {
        err_set(e, ERR_NOMEM, "memory ran out");
        return NULL;
    }
    t->mapping = mapping;
    t->spec = mapping->shape;
    t->spec.key = no_key;
    t->spec.max_record += SHAPE_RANDOM_KEY_BYTES; /* which is not sent, and so weighs nothing */
    t->answer_max = answer_max;
    csv_row_init(&t->row, RAW_BYTES_MAX);
    t->row.no_quotes = t->spec.no_quotes;
    buf_init(&t->entries, SIZE_MAX / 2);
    buf_init(&t->unescaped, RAW_BYTES_MAX);
    buf_init(&t->raw, RAW_BYTES_MAX);
    buf_init(&t->out, answer_max);
    buf_init(&t->keys, answer_max);
    buf_init(&t->other_keys, answer_max);
    if (compile(t, host, e) == 0)
        return t;
    transform_free(t);
    return NULL;
}

void transform_free(struct transform *t)
{
    if (t == NULL)
        return;
    shape_columns_free(t->columns);
    shape_free(t->shape);
    csv_row_release(&t->row);
    buf_release(&t->entries);
    buf_release(&t->unescaped);
    buf_release(&t->raw);
    buf_release(&t->out);
    buf_release(&t->keys);
    buf_release(&t->other_keys);
    free(t);
}

/* ---- the event ---- */

static bool skip_value(struct json_scan *s)
{
    enum json_token token = json_scan_next(s);
    if (token == JSON_OBJECT || token == JSON_ARRAY)
        token = json_scan_skip(s);
    return token != JSON_BAD;
}

/* The scanner stands behind the record's brace. Of two members of one name the last counts. */
static bool read_entry(struct json_scan *s, struct entry *entry)
{
    *entry = (struct entry){0};
    enum json_token token;
    while ((token = json_scan_next(s)) == JSON_KEY) {
        bool id = str_eq(s->token, STR("recordId")), data = str_eq(s->token, STR("data"));
        if (!id && !data) {
            if (!skip_value(s))
                return false;
            continue;
        }
        token = json_scan_next(s);
        struct str text = token == JSON_STRING ? s->token : (struct str){0};
        if (id) {
            entry->id = text;
        } else {
            entry->data = text;
            entry->has_data = token == JSON_STRING;
            entry->escaped = s->escaped;
        }
        if ((token == JSON_OBJECT || token == JSON_ARRAY) && json_scan_skip(s) == JSON_BAD)
            return false;
    }
    return token == JSON_CLOSE;
}

static size_t entries_n(const struct transform *t)
{
    return t->entries.n / sizeof(struct entry);
}

static int read_records(struct transform *t, struct json_scan *s, struct err *e)
{
    if (json_scan_next(s) != JSON_ARRAY)
        return err_set(e, ERR_TYPE, "the event's records are not an array");
    enum json_token token;
    while ((token = json_scan_next(s)) == JSON_OBJECT) {
        struct entry entry;
        if (!read_entry(s, &entry))
            return err_set(e, ERR_SYNTAX, "the event is not JSON at byte %zu", s->at);
        if (entry.id.n == 0)
            return err_set(e, ERR_MISSING, "record %zu of the event has no recordId", entries_n(t));
        buf_put(&t->entries, &entry, sizeof entry);
    }
    if (token > JSON_END && token != JSON_CLOSE)
        return err_set(e, ERR_TYPE, "record %zu of the event is no object", entries_n(t));
    return 0;
}

/* What goes wrong in the text goes wrong for good, so the scanner is asked in the end. */
static int read_event(struct transform *t, struct str event, struct err *e)
{
    struct json_scan s;
    enum json_token token;
    bool seen = false;
    json_scan_init(&s, event);
    buf_reset(&t->entries);
    token = json_scan_next(&s);
    if (token > JSON_END && token != JSON_OBJECT)
        return err_set(e, ERR_TYPE, "the event is no JSON object");
    while (token != JSON_BAD && (token = json_scan_next(&s)) == JSON_KEY) {
        if (!str_eq(s.token, STR("records"))) {
            skip_value(&s);
            continue;
        }
        if (seen)
            return err_set(e, ERR_SYNTAX, "the event has records twice");
        seen = true;
        int rc = read_records(t, &s, e);
        if (rc != 0)
            return rc;
    }
    if (json_scan_next(&s) != JSON_END)
        return err_set(e, ERR_SYNTAX, "the event is not JSON at byte %zu", s.at);
    if (t->entries.failed)
        return err_set(e, ERR_NOMEM, "memory ran out");
    return seen ? 0 : err_set(e, ERR_MISSING, "the event has no records");
}

/* ---- the answer ---- */

static size_t size_failed(const struct entry *entry)
{
    return sizeof BEFORE_ID + entry->id.n + sizeof FAILED + entry->data.n + sizeof AFTER_DATA - 3;
}

static void put_result(struct buf *answer, const struct entry *entry, struct str result,
                       struct str data)
{
    buf_puts(answer, BEFORE_ID);
    buf_put(answer, entry->id.p, entry->id.n);
    buf_put(answer, result.p, result.n);
    buf_put(answer, data.p, data.n);
    buf_puts(answer, AFTER_DATA);
}

static size_t size_ok(const struct transform *t, const struct entry *entry)
{
    size_t keys = t->keys.n > 0 ? sizeof KEYS + t->keys.n + sizeof AFTER_KEYS : sizeof AFTER_DATA;
    return sizeof BEFORE_ID + entry->id.n + sizeof OK + base64_size(t->out.n) + keys;
}

static void put_ok(struct transform *t, struct buf *answer, const struct entry *entry)
{
    size_t size = base64_size(t->out.n);
    buf_puts(answer, BEFORE_ID);
    buf_put(answer, entry->id.p, entry->id.n);
    buf_puts(answer, OK);
    char *to = buf_reserve(answer, size);
    if (to != NULL) {
        base64_encode(to, t->out.p, t->out.n);
        buf_commit(answer, size);
    }
    if (t->keys.n > 0) {
        buf_puts(answer, KEYS);
        buf_put(answer, t->keys.p, t->keys.n);
        buf_puts(answer, AFTER_KEYS);
    } else {
        buf_puts(answer, AFTER_DATA);
    }
}

static bool decode(struct transform *t, const struct entry *entry)
{
    struct str text = entry->data;
    buf_reset(&t->unescaped);
    if (entry->escaped) {
        json_unescape(&t->unescaped, text);
        text = buf_str(&t->unescaped);
    }
    buf_reset(&t->raw);
    size_t room = text.n / 4 * 3;
    char *to = buf_reserve(&t->raw, room + 1);
    if (to == NULL || t->unescaped.failed)
        return record_fail(t, "memory ran out");
    size_t n;
    if (!entry->has_data || base64_decode(to, room, text, &n) != 0)
        return record_fail(t, entry->has_data ? "its data is not base64" : "it has no data");
    buf_commit(&t->raw, n);
    return true;
}

/* `free` is what the answer has left beside what all later records need to fail. */
static void answer_record(struct transform *t, const struct entry *entry, size_t free,
                          struct buf *answer)
{
    struct transform_done *done = t->done;
    t->full = false; /* also when it is not even base64 */
    bool made = decode(t, entry) && record_make(t, buf_str(&t->raw));
    if (made && t->out.n == 0) {
        done->dropped++;
        put_result(answer, entry, STR(DROPPED), (struct str){0});
        return;
    }
    if (made && size_ok(t, entry) <= free) {
        done->ok++;
        done->texts += t->texts;
        done->mixed += t->mixed;
        put_ok(t, answer, entry);
        return;
    }
    if (made || t->full) {
        record_fail(t, "there was no room in the answer");
        done->no_room++;
    }
    if (done->failed++ == 0) {
        memcpy(t->first_why, t->why, sizeof t->why);
        done->why = t->first_why;
        done->why_id = entry->id;
    }
    put_result(answer, entry, STR(FAILED), entry->data);
}

static int answer_records(struct transform *t, struct buf *answer, struct err *e)
{
    const struct entry *entries = (const struct entry *)(const void *)t->entries.p;
    size_t n = t->entries.n / sizeof *entries, later = sizeof HEAD + sizeof TAIL;
    t->done->records = n;
    for (size_t i = 0; i < n; i++)
        later += size_failed(&entries[i]);
    if (later > t->answer_max)
        return err_set(e, ERR_RANGE, "an answer to the event's %zu records would be over %zu bytes",
                       n, t->answer_max);
    buf_puts(answer, HEAD);
    for (size_t i = 0; i < n; i++) {
        later -= size_failed(&entries[i]);
        answer_record(t, &entries[i], t->answer_max - later - answer->n, answer);
    }
    if (n > 0)
        answer->n--; /* the last comma */
    buf_puts(answer, TAIL);
    return answer->failed ? err_set(e, ERR_NOMEM, "memory ran out") : 0;
}

int transform_event(struct transform *t, struct str event, struct buf *answer,
                    struct transform_done *done, struct err *e)
{
    *done = (struct transform_done){0};
    t->done = done;
    buf_reset(answer);
    int rc = read_event(t, event, e);
    return rc == 0 ? answer_records(t, answer, e) : rc;
}
