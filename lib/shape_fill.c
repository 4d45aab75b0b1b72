/* Filling: the plan's steps write a template's text and, between it, the cells as their types say;
 * without a template all cells are written as strings. The members of `add` come last. The output
 * goes to one buffer that is used again, so a record costs no allocation.
 *
 * How it fails: a bad value becomes null, or, if the configuration says so, ends the record, with
 * words that name field and column and never the value, which may be private. What is over
 * max_record ends there, so that a template cannot multiply a long cell without bound.
 */
#include "lib/shape_in.h"

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

#define NUMBER_BYTES 21 /* a sign and the digits of 64 bits */

static struct str number_text(char number[NUMBER_BYTES], uint64_t value, bool minus)
{
    char *at = number + NUMBER_BYTES;
    do
        *--at = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    if (minus)
        *--at = '-';
    return (struct str){at, (size_t)(number + NUMBER_BYTES - at)};
}

static struct str peer_text(char number[NUMBER_BYTES], const struct shape_in *in, int64_t value)
{
    if (!in->has_peer)
        return (struct str){0};
    return number_text(number, value < 0 ? -(uint64_t)value : (uint64_t)value, value < 0);
}

static struct str known_text(const struct buf *b)
{
    return b->n > 0 ? buf_str(b) : (struct str){0};
}

/* p NULL: not known. */
static struct str get_meta(struct shape *s, const struct shape_in *in, plan_source from,
                           char number[NUMBER_BYTES])
{
    bool file = in->path.n > 0;
    switch (from) {
    case META_PATH:
        return file ? in->path : (struct str){0};
    case META_OFFSET:
        return file ? number_text(number, in->offset, false) : (struct str){0};
    case META_HOST:
        return buf_str(&s->host);
    case META_INSTANCE:
        return known_text(&s->instance_id);
    case META_ZONE:
        return known_text(&s->zone);
    case META_PID:
        return peer_text(number, in, in->pid);
    case META_UID:
        return peer_text(number, in, in->uid);
    default:
        return peer_text(number, in, in->gid);
    }
}

static bool is_number(plan_source from)
{
    return from == META_OFFSET || from == META_PID || from == META_UID || from == META_GID;
}

static void put_null(struct buf *b)
{
    buf_put(b, "null", 4);
}

static bool put_typed(struct shape *s, enum shape_type type, struct str value,
                      struct shape_out *out)
{
    switch (type) {
    case TYPE_ANY:
    case TYPE_STRING:
        out->bytes_replaced += json_put_string(&s->out, value);
        return true;
    case TYPE_INT:
        return value_put_int(&s->out, value);
    case TYPE_DOUBLE:
        return value_put_double(&s->out, value);
    case TYPE_BOOL:
        return value_put_bool(&s->out, value);
    }
    return false;
}

/* Blanks around what is no string say nothing. */
static struct str for_type(enum shape_type type, struct str value)
{
    return type > TYPE_STRING ? value_trim(value) : value;
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
    s->scratch.n = 0;
    timefmt_print(&step->print, &t->value, &s->scratch);
    enum shape_type type = step->field->type;
    return put_typed(s, type, for_type(type, buf_str(&s->scratch)), out);
}

/* A value that is text. */
static bool put_cell(struct shape *s, const struct plan_step *step, struct str value,
                     struct shape_out *out)
{
    const struct shape_field *f = step->field;
    if (step->time >= 0)
        return put_time(s, step, value, out);
    value = f->trim ? value_trim(value) : for_type(f->type, value);
    if (f->type > TYPE_STRING && value.n == 0) {
        put_null(&s->out);
        return true;
    }
    return put_typed(s, f->type, value, out);
}

/* A value of JSON, as it stands in the record. */
static bool put_json(struct shape *s, const struct plan_step *step, struct str value,
                     struct shape_out *out)
{
    const struct shape_field *f = step->field;
    bool as_it_stands = f->type == TYPE_ANY && step->time < 0;
    switch (value.p[0]) {
    case 'n':
        put_null(&s->out);
        return true;
    case '"':
        if (as_it_stands && !f->trim)
            break;
        s->unescaped.n = 0;
        json_unescape(&s->unescaped, (struct str){value.p + 1, value.n - 2});
        return put_cell(s, step, buf_str(&s->unescaped), out);
    case '{':
    case '[':
        if (!as_it_stands && (f->type != TYPE_STRING || step->time >= 0))
            return false;
        break;
    default:
        break;
    }
    if (!as_it_stands)
        return put_cell(s, step, value, out);
    walk_put_raw(&s->out, value);
    return true;
}

static bool put_metadata(struct shape *s, const struct plan_step *step, const struct shape_in *in,
                         struct shape_out *out)
{
    char number[NUMBER_BYTES];
    enum shape_type type = step->field->type;
    struct str value = get_meta(s, in, step->from, number);
    if (value.p == NULL) {
        put_null(&s->out);
        return true;
    }
    if (step->time >= 0)
        return put_time(s, step, value, out);
    if (type == TYPE_ANY && is_number(step->from))
        type = TYPE_INT;
    return put_typed(s, type, for_type(type, value), out);
}

static bool put_value(struct shape *s, const struct plan_step *step, const struct shape_in *in,
                      struct shape_out *out)
{
    struct str value = {0};
    if (step->from < 0)
        return put_metadata(s, step, in, out);
    switch (get_cell(&s->cells, step->from, &value)) {
    case ABSENT_COLUMN:
        return false;
    case ABSENT_CELL:
        put_null(&s->out);
        return true;
    case PRESENT:
        break;
    }
    return s->spec->format == FORMAT_JSON ? put_json(s, step, value, out)
                                          : put_cell(s, step, value, out);
}

/* ---- a whole record ------------------------------------------------------------------------- */

/* A template may name one long cell many times: it stops where max_record is passed, so that what a
 * record costs is bounded, and a failed buf means memory and nothing else. */
static enum shape_result run_steps(struct shape *s, const struct shape_in *in, size_t at, size_t n,
                                   struct shape_out *out)
{
    const struct plan_step *step = s->plan.steps + at, *end = step + n;
    const char *text = s->plan.text.p;
    for (size_t max = s->spec->max_record; step < end; step++) {
        buf_put(&s->out, text + step->text_at, step->text_n);
        bool fits = !step->has_value || put_value(s, step, in, out);
        if (s->out.n > max)
            return shape_die_long(s, in, out);
        if (fits)
            continue;
        out->bad_values++;
        put_null(&s->out);
        if (s->spec->bad_value_dead)
            return shape_die(s, in, out, "the value of %s %.80s does not fit field %.80s",
                             s->spec->format == FORMAT_JSON ? "member" : "column",
                             step->field->from, step->field->name);
    }
    return SHAPE_RECORD;
}

static enum shape_result run_template(struct shape *s, const struct shape_in *in,
                                      struct shape_out *out)
{
    const struct cells *cells = &s->cells;
    if (cells->n != cells->columns->n) {
        out->ragged_rows++;
        out->bad_values++;
        if (s->spec->bad_value_dead)
            return shape_die(s, in, out, "%zu cells, but the file has %zu columns", cells->n,
                             cells->columns->n);
    }
    return run_steps(s, in, 0, s->plan.record_n, out);
}

static void run_all_columns(struct shape *s, struct shape_out *out)
{
    const struct cells *cells = &s->cells;
    const struct shape_columns *c = cells->columns;
    out->ragged_rows += cells->n != c->n;
    size_t at = 0;
    for (size_t i = 0, end; i < c->n; i++, at = end) {
        if ((end = c->names_end[i]) == at)
            continue;
        buf_put(&s->out, c->names.p + at, end - at);
        if (i < cells->n && cells->values[i].p != NULL)
            out->bytes_replaced += json_put_string(&s->out, cells->values[i]);
        else
            put_null(&s->out);
    }
    if (at == 0)
        buf_putc(&s->out, '{');
    buf_putc(&s->out, '}');
}

static void run_all_pairs(struct shape *s, struct shape_out *out)
{
    bool adds = s->plan.add_n > 0;
    buf_putc(&s->out, '{');
    for (size_t i = 0; i < s->pairs_n; i++) {
        const struct logfmt_pair *pair = &s->pairs[i];
        if (adds && shape_adds(s, pair->key))
            continue;
        if (s->out.n > 1)
            buf_putc(&s->out, ',');
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

/* A scalar as text; false when it is null, or none. */
static bool put_json_text(struct buf *b, struct str value)
{
    if (value.p == NULL || value.p[0] == 'n' || value.p[0] == '{' || value.p[0] == '[')
        return false;
    if (value.p[0] == '"')
        json_unescape(b, (struct str){value.p + 1, value.n - 2});
    else
        buf_put(b, value.p, value.n);
    return true;
}

bool fill_part(struct shape *s, const struct plan_part *part, const struct shape_in *in)
{
    size_t before = s->scratch.n;
    struct str value = part->literal;
    if (part->literal.p != NULL) {
        buf_put(&s->scratch, value.p, value.n);
    } else if (part->from < 0) {
        char number[NUMBER_BYTES];
        value = get_meta(s, in, part->from, number);
        buf_put(&s->scratch, value.p, value.n);
    } else if (s->spec->format == FORMAT_JSON) {
        if (!put_json_text(&s->scratch, s->values[part->from]))
            return false;
    } else if (get_cell(&s->cells, part->from, &value) == PRESENT) {
        buf_put(&s->scratch, value.p, value.n);
    }
    return s->scratch.n > before;
}

/* A lone source that gives nothing is null; one that is a number stays one. False: too long. */
static bool put_text(struct shape *s, const struct plan_text *t, const struct shape_in *in,
                     struct shape_out *out)
{
    bool lone = t->n == 1 && t->parts[0].literal.p == NULL, any = false;
    s->scratch.n = 0;
    for (size_t i = 0; i < t->n; i++) {
        any |= fill_part(s, &t->parts[i], in);
        if (s->scratch.n > s->spec->max_record)
            return false;
    }
    if (lone && !any)
        put_null(&s->out);
    else if (lone && is_number(t->parts[0].from))
        buf_put(&s->out, s->scratch.p, s->scratch.n);
    else
        out->bytes_replaced += json_put_string(&s->out, buf_str(&s->scratch));
    return s->out.n <= s->spec->max_record;
}

enum shape_result fill_members(struct shape *s, const struct shape_in *in, bool first,
                               struct shape_out *out)
{
    enum shape_result result = SHAPE_RECORD;
    for (size_t i = 0; i < s->plan.add_n && result == SHAPE_RECORD; i++) {
        const struct plan_add *add = &s->plan.add[i];
        if (i > 0 || !first)
            buf_putc(&s->out, ',');
        if (add->steps_n > 0) {
            result = run_steps(s, in, add->steps_at, add->steps_n, out);
            continue;
        }
        buf_put(&s->out, s->plan.text.p + add->text_at, add->text_n);
        if (!put_text(s, &add->value, in, out))
            result = shape_die_long(s, in, out);
    }
    return result;
}

/* ---- objects -------------------------------------------------------------------------------- */

enum shape_result fill_object(struct shape *s, const struct shape_in *in, struct shape_out *out)
{
    enum shape_result result = SHAPE_RECORD;
    buf_reset(&s->out);
    buf_reset(&s->scratch);
    if (s->spec->fields_n > 0)
        result = run_template(s, in, out);
    else if (s->spec->format == FORMAT_LOGFMT)
        run_all_pairs(s, out);
    else
        run_all_columns(s, out);
    if (s->plan.add_n > 0 && result == SHAPE_RECORD && !s->out.failed) {
        s->out.n--; /* the brace */
        result = fill_members(s, in, s->out.n == 1, out);
        buf_putc(&s->out, '}');
    }
    if (s->out.failed || s->scratch.failed || s->unescaped.failed)
        return SHAPE_NOMEM;
    if (result == SHAPE_RECORD)
        out->data = buf_str(&s->out);
    return result;
}
