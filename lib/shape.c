/* Shaping one record: run the plan's steps into one buffer, then make the key. The buffers live in
 * the shape and are reused, so a record costs no allocation. A bad value either becomes null, or
 * stops the steps with a reason in words that names field and column, never the value. */
#include "lib/shape.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/hash.h"
#include "lib/json.h"
#include "lib/shape_plan.h"
#include "lib/values.h"

#define SHAPE_OUT_MAX    (16 * MIB) /* max_record bytes, one escaped value and all text behind */
#define SHAPE_TIME_BYTES (1 * KIB)  /* more than any pattern prints: TIMEFMT_OPS_MAX names */

struct shape {
    const struct shape_spec *spec;
    struct plan plan;
    struct buf host;
    struct buf out, key, scratch;
    uint64_t row; /* counts records, so that times know whether they are parsed */
    char reason[256];
};

struct shape_columns {
    size_t n;
    int *index;       /* of each plan name in the header; -1: not there */
    struct buf names; /* without a template: what stands before each value */
    size_t *names_end;
};

/* ---- life ----------------------------------------------------------------------------------- */

struct shape *shape_new(const struct shape_spec *spec, const char *host, struct err *e)
{
    struct shape *s = calloc(1, sizeof *s);
    if (s == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    s->spec = spec;
    buf_init(&s->host, 1 * KIB);
    buf_init(&s->out, SHAPE_OUT_MAX);
    buf_init(&s->key, SHAPE_OUT_MAX);
    buf_init(&s->scratch, SHAPE_OUT_MAX);
    buf_puts(&s->host, host);
    if (plan_build(&s->plan, spec, e) != 0) {
        shape_free(s);
        return NULL;
    }
    if (s->host.failed || buf_reserve(&s->scratch, SHAPE_TIME_BYTES) == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        shape_free(s);
        return NULL;
    }
    return s;
}

void shape_free(struct shape *s)
{
    if (s == NULL)
        return;
    plan_release(&s->plan);
    buf_release(&s->host);
    buf_release(&s->out);
    buf_release(&s->key);
    buf_release(&s->scratch);
    free(s);
}

/* ---- a file's header ------------------------------------------------------------------------ */

static int index_of(const struct str *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(names[i], str_of(name)))
            return (int)i;
    return -1;
}

/* {"a":  ,"b":  ,"c":  - what an object of all columns needs between its values. */
static void write_names(struct shape_columns *c, const struct str *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_putc(&c->names, i == 0 ? '{' : ',');
        json_put_string(&c->names, names[i]);
        buf_putc(&c->names, ':');
        c->names_end[i] = c->names.n;
    }
}

struct shape_columns *shape_bind(const struct shape *s, const struct str *names, size_t n,
                                 const char **missing)
{
    struct shape_columns *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    buf_init(&c->names, SHAPE_OUT_MAX);
    c->n = n;
    c->index = calloc(s->plan.names_n + 1, sizeof *c->index);
    c->names_end = calloc(n + 1, sizeof *c->names_end);
    if (c->index != NULL && c->names_end != NULL)
        write_names(c, names, n);
    if (c->index == NULL || c->names_end == NULL || c->names.failed) {
        shape_columns_free(c);
        return NULL;
    }
    const char *lacks = NULL;
    for (size_t i = 0; i < s->plan.names_n; i++) {
        c->index[i] = index_of(names, n, s->plan.names[i]);
        if (c->index[i] < 0 && lacks == NULL)
            lacks = s->plan.names[i];
    }
    if (missing != NULL)
        *missing = lacks;
    return c;
}

void shape_columns_free(struct shape_columns *c)
{
    if (c == NULL)
        return;
    free(c->index);
    free(c->names_end);
    buf_release(&c->names);
    free(c);
}

/* ---- values --------------------------------------------------------------------------------- */

enum presence { PRESENT, ABSENT_CELL, ABSENT_COLUMN };

static enum presence get_cell(const struct shape_in *in, int name, struct str *value)
{
    int column = in->columns->index[name];
    if (column < 0)
        return ABSENT_COLUMN;
    if ((size_t)column >= in->row->n)
        return ABSENT_CELL;
    *value = in->row->fields[column];
    return PRESENT;
}

static struct str get_meta(struct shape *s, const struct shape_in *in, plan_source from,
                           char number[24])
{
    switch (from) {
    case META_PATH:
        return in->path;
    case META_HOST:
        return buf_str(&s->host);
    default:
        return (struct str){number,
                            (size_t)snprintf(number, 24, "%llu", (unsigned long long)in->offset)};
    }
}

static void put_null(struct buf *b)
{
    buf_put(b, "null", 4);
}

static bool put_typed(struct shape *s, enum shape_type type, struct str value,
                      struct shape_out *out)
{
    switch (type) {
    case TYPE_STRING:
        out->bytes_replaced += json_put_string(&s->out, value);
        return true;
    case TYPE_INT:
        return value_put_int(&s->out, value_trim(value));
    case TYPE_DOUBLE:
        return value_put_double(&s->out, value_trim(value));
    case TYPE_BOOL:
        return value_put_bool(&s->out, value_trim(value));
    }
    return false;
}

static void parse_time(struct plan_time *t, uint64_t row, struct str value)
{
    t->row = row;
    if (t->trim)
        value = value_trim(value);
    t->empty = value.n == 0;
    t->ok = !t->empty && timefmt_parse(&t->parse, value, &t->value) == 0;
}

static bool put_time(struct shape *s, const struct plan_step *step, struct str value,
                     struct shape_out *out)
{
    struct plan_time *t = &s->plan.times[step->time];
    if (t->row != s->row)
        parse_time(t, s->row, value);
    if (t->empty) {
        put_null(&s->out);
        return true;
    }
    if (!t->ok)
        return false;
    buf_reset(&s->scratch);
    timefmt_print(&step->print, &t->value, &s->scratch);
    return put_typed(s, step->field->type, buf_str(&s->scratch), out);
}

static bool put_value(struct shape *s, const struct plan_step *step, const struct shape_in *in,
                      struct shape_out *out)
{
    struct str value = {0};
    if (step->from < 0) {
        char number[24];
        value = get_meta(s, in, step->from, number);
        if (step->time >= 0)
            return put_time(s, step, value, out);
        bool plain = step->from == META_OFFSET && step->field->type == TYPE_STRING;
        return put_typed(s, plain ? TYPE_INT : step->field->type, value, out);
    }
    switch (get_cell(in, step->from, &value)) {
    case ABSENT_COLUMN:
        return false;
    case ABSENT_CELL:
        put_null(&s->out);
        return true;
    case PRESENT:
        break;
    }
    if (step->time >= 0)
        return put_time(s, step, value, out);
    if (step->field->trim)
        value = value_trim(value);
    if (step->field->type != TYPE_STRING && value_trim(value).n == 0) {
        put_null(&s->out);
        return true;
    }
    return put_typed(s, step->field->type, value, out);
}

/* ---- records -------------------------------------------------------------------------------- */

static enum shape_result die(struct shape *s, const struct shape_in *in, struct shape_out *out)
{
    out->reason = s->reason;
    out->data = in->raw;
    return SHAPE_DEAD;
}

static enum shape_result die_too_long(struct shape *s, const struct shape_in *in,
                                      struct shape_out *out)
{
    snprintf(s->reason, sizeof s->reason, "data and key are longer than max_record");
    return die(s, in, out);
}

/* A template may name one long cell many times: it stops where max_record is passed, so that what a
 * record costs is bounded, and a failed buf means memory and nothing else. */
static enum shape_result run_template(struct shape *s, const struct shape_in *in,
                                      struct shape_out *out)
{
    const struct plan *plan = &s->plan;
    if (in->row->n > in->columns->n) {
        out->ragged_rows++;
        out->bad_values++;
        if (s->spec->bad_value_dead) {
            snprintf(s->reason, sizeof s->reason, "%zu cells, but the file has %zu columns",
                     in->row->n, in->columns->n);
            return die(s, in, out);
        }
    }
    for (size_t i = 0; i < plan->steps_n; i++) {
        const struct plan_step *step = &plan->steps[i];
        buf_put(&s->out, plan->text.p + step->text_at, step->text_n);
        bool fits = !step->has_value || put_value(s, step, in, out);
        if (s->out.n > s->spec->max_record)
            return die_too_long(s, in, out);
        if (fits)
            continue;
        out->bad_values++;
        put_null(&s->out);
        if (s->spec->bad_value_dead) {
            snprintf(s->reason, sizeof s->reason,
                     "the value of column %.80s does not fit field %.80s", step->field->from,
                     step->field->name);
            return die(s, in, out);
        }
    }
    return SHAPE_RECORD;
}

static void run_all_columns(struct shape *s, const struct shape_in *in, struct shape_out *out)
{
    const struct shape_columns *c = in->columns;
    out->ragged_rows += in->row->n > c->n;
    size_t at = 0;
    for (size_t i = 0; i < c->n; i++) {
        buf_put(&s->out, c->names.p + at, c->names_end[i] - at);
        at = c->names_end[i];
        if (i < in->row->n)
            out->bytes_replaced += json_put_string(&s->out, in->row->fields[i]);
        else
            put_null(&s->out);
    }
    buf_putc(&s->out, '}');
}

static enum shape_result make_data(struct shape *s, const struct shape_in *in,
                                   struct shape_out *out)
{
    size_t bad_at;
    switch (s->spec->format) {
    case FORMAT_LINE:
        out->data = in->raw;
        return SHAPE_RECORD;
    case FORMAT_JSON:
        out->data = in->raw;
        if (json_valid(in->raw, &bad_at))
            return SHAPE_RECORD;
        snprintf(s->reason, sizeof s->reason, "not JSON at byte %zu", bad_at);
        return die(s, in, out);
    case FORMAT_CSV:
        break;
    }
    buf_reset(&s->out);
    enum shape_result result = SHAPE_RECORD;
    if (s->spec->fields_n > 0)
        result = run_template(s, in, out);
    else
        run_all_columns(s, in, out);
    if (s->out.failed)
        return SHAPE_NOMEM;
    if (result == SHAPE_RECORD)
        out->data = buf_str(&s->out);
    return result;
}

/* ---- keys ----------------------------------------------------------------------------------- */

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

/* A member of the object the scanner has just entered, by name; on success its value is the next
 * token. Leaves the scanner anywhere on failure. */
static bool enter_member(struct json_scan *scan, struct str name)
{
    while (json_scan_next(scan) == JSON_KEY) {
        if (!scan->escaped && str_eq(scan->token, name))
            return true;
        enum json_token t = json_scan_next(scan);
        if (t == JSON_OBJECT || t == JSON_ARRAY)
            json_scan_skip(scan);
    }
    return false;
}

/* A scalar by its dotted path; false when there is none, or it is null. */
static bool put_json_field(struct buf *key, struct str json, const char *path)
{
    struct json_scan scan;
    json_scan_init(&scan, json);
    for (;;) {
        if (json_scan_next(&scan) != JSON_OBJECT)
            return false;
        const char *dot = strchr(path, '.');
        size_t n = dot != NULL ? (size_t)(dot - path) : strlen(path);
        if (!enter_member(&scan, (struct str){path, n}))
            return false;
        if (dot == NULL)
            break;
        path = dot + 1;
    }
    enum json_token t = json_scan_next(&scan);
    if (t == JSON_STRING)
        json_unescape(key, scan.token);
    else if (t == JSON_NUMBER || t == JSON_TRUE || t == JSON_FALSE)
        buf_put(key, scan.token.p, scan.token.n);
    else
        return false;
    return true;
}

/* Appends text with invalid UTF-8 replaced; returns the number of characters. */
static size_t put_clean(struct buf *b, struct str text)
{
    size_t chars = 0;
    while (text.n > 0) {
        size_t bad_n = 1, n = json_utf8_len(text.p, text.n, &bad_n);
        if (n > 0)
            buf_put(b, text.p, n);
        else
            buf_put(b, "\xef\xbf\xbd", 3);
        n = n > 0 ? n : bad_n;
        text.p += n;
        text.n -= n;
        chars++;
    }
    return chars;
}

static bool put_part(struct shape *s, const struct plan_key_part *part, const struct shape_in *in)
{
    if (part->literal.p != NULL) {
        buf_put(&s->scratch, part->literal.p, part->literal.n);
        return true;
    }
    size_t before = s->scratch.n;
    if (part->from < 0) {
        char number[24];
        struct str value = get_meta(s, in, part->from, number);
        buf_put(&s->scratch, value.p, value.n);
    } else if (s->spec->format == FORMAT_JSON) {
        if (!put_json_field(&s->scratch, in->raw, s->plan.names[part->from]))
            return false;
    } else {
        struct str value;
        if (get_cell(in, part->from, &value) != PRESENT)
            return false;
        buf_put(&s->scratch, value.p, value.n);
    }
    return s->scratch.n > before;
}

/* Over four bytes a character the key is too long for sure, and no more of it is copied. */
static bool run_key_template(struct shape *s, const struct shape_in *in)
{
    buf_reset(&s->scratch);
    for (size_t i = 0; i < s->plan.parts_n; i++)
        if (!put_part(s, &s->plan.parts[i], in) || s->scratch.n > 4 * SHAPE_KEY_CHARS_MAX)
            return false;
    size_t chars = put_clean(&s->key, buf_str(&s->scratch));
    return chars > 0 && chars <= SHAPE_KEY_CHARS_MAX;
}

static void make_key(struct shape *s, const struct shape_in *in, struct rng *r,
                     struct shape_out *out)
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

enum shape_result shape_apply(struct shape *s, const struct shape_in *in, struct rng *r,
                              struct shape_out *out)
{
    *out = (struct shape_out){0};
    s->row++;
    enum shape_result result = make_data(s, in, out);
    if (result != SHAPE_RECORD)
        return result;
    make_key(s, in, r, out);
    if (s->key.failed || s->scratch.failed)
        return SHAPE_NOMEM;
    out->key = buf_str(&s->key);
    if (out->data.n + out->key.n > s->spec->max_record)
        return die_too_long(s, in, out);
    return SHAPE_RECORD;
}
