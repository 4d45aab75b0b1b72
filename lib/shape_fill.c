/* Filling: the plan's steps write a template's text and, between it, the cells as their types say;
 * without a template all cells are written as strings. The members of `add` come last. The output
 * goes to one buffer that is used again, so a record costs no allocation.
 *
 * How it fails: a bad value becomes null, or, if the configuration says so, ends the record, with
 * words that name field and column and never the value, which may be private. What is over
 * max_record ends there, so that a template cannot multiply a long cell without bound.
 */
#include "lib/shape_in.h"

#include <stdio.h>

#include "lib/json.h"
#include "lib/values.h"

/* ---- values --------------------------------------------------------------------------------- */

enum presence { PRESENT, ABSENT_CELL, ABSENT_COLUMN };

static enum presence get_cell(const struct cells *cells, int name, struct str *value)
{
    int column = cells->columns->index[name];
    if (column < 0)
        return ABSENT_COLUMN;
    if ((size_t)column >= cells->n || cells->values[column].p == NULL)
        return ABSENT_CELL;
    *value = cells->values[column];
    return PRESENT;
}

static struct str known_text(const struct buf *b)
{
    return b->n > 0 ? buf_str(b) : (struct str){0};
}

/* p NULL: not known. */

static struct str get_meta(struct shape *s, const struct shape_in *in, plan_source from,
                           char number[24])
{
    switch (from) {
    case META_PATH:
        return in->path;
    case META_HOST:
        return buf_str(&s->host);
    case META_INSTANCE:
        return known_text(&s->instance_id);
    case META_ZONE:
        return known_text(&s->zone);
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
        if (value.p == NULL) {
            put_null(&s->out);
            return true;
        }
        if (step->time >= 0)
            return put_time(s, step, value, out);
        bool plain = step->from == META_OFFSET && step->field->type == TYPE_STRING;
        return put_typed(s, plain ? TYPE_INT : step->field->type, value, out);
    }
    switch (get_cell(&s->cells, step->from, &value)) {
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

/* ---- a whole record ------------------------------------------------------------------------- */

/* A template may name one long cell many times: it stops where max_record is passed, so that what a
 * record costs is bounded, and a failed buf means memory and nothing else. */
static enum shape_result run_template(struct shape *s, const struct shape_in *in,
                                      struct shape_out *out)
{
    const struct plan *plan = &s->plan;
    const struct cells *cells = &s->cells;
    if (cells->n > cells->columns->n) {
        out->ragged_rows++;
        out->bad_values++;
        if (s->spec->bad_value_dead)
            return shape_die(s, in, out, "%zu cells, but the file has %zu columns", cells->n,
                             cells->columns->n);
    }
    for (size_t i = 0; i < plan->steps_n; i++) {
        const struct plan_step *step = &plan->steps[i];
        buf_put(&s->out, plan->text.p + step->text_at, step->text_n);
        bool fits = !step->has_value || put_value(s, step, in, out);
        if (s->out.n > s->spec->max_record)
            return shape_die_long(s, in, out);
        if (fits)
            continue;
        out->bad_values++;
        put_null(&s->out);
        if (s->spec->bad_value_dead)
            return shape_die(s, in, out, "the value of column %.80s does not fit field %.80s",
                             step->field->from, step->field->name);
    }
    return SHAPE_RECORD;
}

static void run_all_columns(struct shape *s, struct shape_out *out)
{
    const struct cells *cells = &s->cells;
    const struct shape_columns *c = cells->columns;
    out->ragged_rows += cells->n > c->n;
    size_t at = 0;
    for (size_t i = 0; i < c->n; i++) {
        buf_put(&s->out, c->names.p + at, c->names_end[i] - at);
        at = c->names_end[i];
        if (i < cells->n && cells->values[i].p != NULL)
            out->bytes_replaced += json_put_string(&s->out, cells->values[i]);
        else
            put_null(&s->out);
    }
    buf_putc(&s->out, '}');
}

static void run_all_pairs(struct shape *s, struct shape_out *out)
{
    for (size_t i = 0; i < s->pairs_n; i++) {
        const struct logfmt_pair *pair = &s->pairs[i];
        buf_putc(&s->out, i == 0 ? '{' : ',');
        out->bytes_replaced += json_put_string(&s->out, pair->key);
        buf_putc(&s->out, ':');
        if (pair->value.p == logfmt_bare)
            buf_put(&s->out, "true", 4);
        else
            out->bytes_replaced += json_put_string(&s->out, pair->value);
    }
    buf_putc(&s->out, '}');
}

/* ---- add ------------------------------------------------------------------------------------ */

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

bool fill_part(struct shape *s, const struct plan_part *part, const struct shape_in *in)
{
    size_t before = s->scratch.n;
    struct str value = part->literal;
    if (part->literal.p != NULL) {
        buf_put(&s->scratch, value.p, value.n);
    } else if (part->from < 0) {
        char number[24];
        value = get_meta(s, in, part->from, number);
        buf_put(&s->scratch, value.p, value.n);
    } else if (s->spec->format == FORMAT_JSON) {
        if (!put_json_field(&s->scratch, s->raw, s->plan.names[part->from]))
            return false;
    } else if (get_cell(&s->cells, part->from, &value) == PRESENT) {
        buf_put(&s->scratch, value.p, value.n);
    }
    return s->scratch.n > before;
}

/* A lone source that gives nothing is null; the offset by itself is a number. False: too long. */
static bool put_text(struct shape *s, const struct plan_text *t, const struct shape_in *in,
                     struct shape_out *out)
{
    bool lone = t->n == 1 && t->parts[0].literal.p == NULL, any = false;
    buf_reset(&s->scratch);
    for (size_t i = 0; i < t->n; i++) {
        any |= fill_part(s, &t->parts[i], in);
        if (s->scratch.n > s->spec->max_record)
            return false;
    }
    if (lone && !any)
        put_null(&s->out);
    else if (lone && t->parts[0].from == META_OFFSET)
        buf_put(&s->out, s->scratch.p, s->scratch.n);
    else
        out->bytes_replaced += json_put_string(&s->out, buf_str(&s->scratch));
    return s->out.n <= s->spec->max_record;
}

/* The members, each with its comma in front, but the first one's if `first`. */
static bool put_members(struct shape *s, const struct shape_in *in, bool first,
                        struct shape_out *out)
{
    for (size_t i = 0; i < s->plan.add_n; i++) {
        const struct plan_add *add = &s->plan.add[i];
        size_t skip = first && i == 0;
        buf_put(&s->out, s->plan.text.p + add->text_at + skip, add->text_n - skip);
        if (!put_text(s, &add->value, in, out))
            return false;
    }
    return true;
}

/* ---- objects -------------------------------------------------------------------------------- */

enum shape_result fill_object(struct shape *s, const struct shape_in *in, struct shape_out *out)
{
    enum shape_result result = SHAPE_RECORD;
    buf_reset(&s->out);
    if (s->spec->fields_n > 0)
        result = run_template(s, in, out);
    else if (s->spec->format == FORMAT_LOGFMT)
        run_all_pairs(s, out);
    else
        run_all_columns(s, out);
    if (s->plan.add_n > 0 && result == SHAPE_RECORD && !s->out.failed) {
        s->out.n--; /* the brace; there is at least one member before it */
        if (!put_members(s, in, false, out))
            result = shape_die_long(s, in, out);
        buf_putc(&s->out, '}');
    }
    if (s->out.failed || s->scratch.failed)
        return SHAPE_NOMEM;
    if (result == SHAPE_RECORD)
        out->data = buf_str(&s->out);
    return result;
}

static bool is_json_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Valid JSON that ends in a brace is an object, and it is empty if nothing but blanks stands
 * between that and another brace: a string there would end in a quote. */
enum shape_result fill_json(struct shape *s, const struct shape_in *in, struct shape_out *out)
{
    struct str json = s->raw;
    size_t close = json.n;
    while (close > 0 && is_json_blank(json.p[close - 1]))
        close--;
    out->data = json;
    if (close < 2 || json.p[close - 1] != '}') {
        out->add_skipped++;
        return SHAPE_RECORD;
    }
    close--;
    size_t last = close;
    while (is_json_blank(json.p[last - 1]))
        last--;
    buf_reset(&s->out);
    buf_put(&s->out, json.p, close);
    if (!put_members(s, in, json.p[last - 1] == '{', out))
        return shape_die_long(s, in, out);
    buf_put(&s->out, json.p + close, json.n - close);
    out->data = buf_str(&s->out);
    return s->out.failed || s->scratch.failed ? SHAPE_NOMEM : SHAPE_RECORD;
}
