/* Shaping one record: its text is read into cells (shape_read.c), the cells fill a template
 * (shape_fill.c), and then comes the key (shape_key.c). The buffers live in the shape and are
 * reused, so a record costs no allocation.
 *
 * How it fails: a line that is not of its format is sent as it is, dropped, or dead, as the
 * configuration says. What makes a record dead is said in words in `reason`.
 */
#include "lib/shape.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/json.h"
#include "lib/shape_in.h"

#define SHAPE_TIME_BYTES (1 * KIB) /* more than any pattern prints: TIMEFMT_OPS_MAX names */

/* ---- life ---- */

static int compile(struct shape *s, struct err *e)
{
    const struct shape_spec *spec = s->spec;
    int rc = read_open(s, e);
    if (rc != 0)
        return rc;
    const struct plan_known known = {s->names, s->names_n};
    rc = plan_build(&s->plan, spec, &known, e);
    if (rc == 0)
        rc = read_bind(s, e);
    if (rc != 0)
        return rc;
    bool lines_join = spec->multiline.start != NULL || spec->multiline.continues != NULL;
    if (lines_join && (s->multiline = multiline_new(&spec->multiline, e)) == NULL)
        return ERR_SYNTAX;
    if (s->host.failed || buf_reserve(&s->scratch, SHAPE_TIME_BYTES) == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    return 0;
}

struct shape *shape_new(const struct shape_spec *spec, const char *host, struct err *e)
{
    struct shape *s = calloc(1, sizeof *s);
    if (s == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    s->spec = spec;
    buf_init(&s->host, 1 * KIB);
    buf_init(&s->instance_id, 1 * KIB);
    buf_init(&s->zone, 1 * KIB);
    buf_init(&s->out, SHAPE_OUT_MAX);
    buf_init(&s->key, SHAPE_OUT_MAX);
    buf_init(&s->scratch, SHAPE_OUT_MAX);
    buf_init(&s->text, SHAPE_OUT_MAX);
    buf_init(&s->unescaped, SHAPE_OUT_MAX);
    buf_puts(&s->host, host);
    if (compile(s, e) == 0)
        return s;
    shape_free(s);
    return NULL;
}

void shape_free(struct shape *s)
{
    if (s == NULL)
        return;
    read_close(s);
    plan_release(&s->plan);
    multiline_free(s->multiline);
    buf_release(&s->host);
    buf_release(&s->instance_id);
    buf_release(&s->zone);
    buf_release(&s->out);
    buf_release(&s->key);
    buf_release(&s->scratch);
    buf_release(&s->text);
    buf_release(&s->unescaped);
    free(s);
}

struct multiline *shape_multiline(const struct shape *s)
{
    return s->multiline;
}

bool shape_wants_ec2(const struct shape *s)
{
    return s->plan.wants_ec2;
}

bool shape_set_ec2(struct shape *s, const char *instance_id, const char *availability_zone)
{
    buf_reset(&s->instance_id);
    buf_reset(&s->zone);
    if (instance_id != NULL)
        buf_puts(&s->instance_id, instance_id);
    if (availability_zone != NULL)
        buf_puts(&s->zone, availability_zone);
    return !s->instance_id.failed && !s->zone.failed;
}

/* ---- a file's header ---- */

static int index_of(const struct str *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(names[i], str_of(name)))
            return (int)i;
    return -1;
}

/* {"a":  ,"b":  ,"c":  - what an object of all columns needs between its values. Nothing for a
 * column whose name is that of an added member: its value is left out. */
static void write_names(const struct shape *s, struct shape_columns *c, const struct str *names,
                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!shape_adds(s, names[i])) {
            buf_putc(&c->names, c->names.n == 0 ? '{' : ',');
            json_put_string(&c->names, names[i]);
            buf_putc(&c->names, ':');
        }
        c->names_end[i] = c->names.n;
    }
}

bool shape_adds(const struct shape *s, struct str name)
{
    for (size_t i = 0; i < s->spec->add_n; i++)
        if (str_eq(name, str_of(s->spec->add[i].name)))
            return true;
    return false;
}

static struct shape_columns *bind(const struct shape *s, const struct str *names, size_t n,
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
        write_names(s, c, names, n);
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

/* A header row of Latin-1; names from the configuration are UTF-8. */
static struct shape_columns *bind_latin1(const struct shape *s, const struct str *raw, size_t n,
                                         const char **missing)
{
    struct shape_columns *c = NULL;
    struct str *names = calloc(n + 1, sizeof *names);
    struct buf text;
    size_t room = 1;
    for (size_t i = 0; i < n; i++)
        room += raw[i].n * ENCODING_GROWTH + 1;
    buf_init(&text, room);
    if (names != NULL && buf_reserve(&text, room) != NULL) {
        for (size_t i = 0; i < n; i++) {
            size_t at = text.n;
            encoding_to_utf8(&text, raw[i], ENCODING_LATIN1);
            names[i] = (struct str){text.p + at, text.n - at};
        }
        c = bind(s, names, n, missing);
    }
    buf_release(&text);
    free(names);
    return c;
}

struct shape_columns *shape_bind(const struct shape *s, const struct str *names, size_t n,
                                 const char **missing)
{
    const struct shape_spec *spec = s->spec;
    bool from_file = spec->format == FORMAT_CSV && spec->columns_n == 0;
    if (from_file && spec->encoding == ENCODING_LATIN1)
        return bind_latin1(s, names, n, missing);
    return bind(s, names, n, missing);
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

/* ---- records ---- */

enum shape_result shape_die(struct shape *s, const struct shape_in *in, struct shape_out *out,
                            const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->reason, sizeof s->reason, fmt, args);
    va_end(args);
    out->reason = s->reason;
    out->data = in->raw;
    return SHAPE_DEAD;
}

enum shape_result shape_die_long(struct shape *s, const struct shape_in *in, struct shape_out *out)
{
    out->too_long = true;
    return shape_die(s, in, out, "data and key are longer than max_record");
}

static enum shape_result miss(struct shape *s, const struct shape_in *in, bool limit,
                              struct shape_out *out)
{
    out->no_match = 1;
    out->regex_limits = limit;
    out->data = s->raw;
    switch (s->spec->on_no_match) {
    case NO_MATCH_RAW:
        return SHAPE_RECORD;
    case NO_MATCH_DROP:
        return SHAPE_DROPPED;
    case NO_MATCH_DEAD_LETTER:
        break;
    }
    if (limit)
        return shape_die(s, in, out, "matching the pattern took more than its limits allow");
    return shape_die(s, in, out, "the line does not match its format");
}

static enum shape_result make_data(struct shape *s, const struct shape_in *in,
                                   struct shape_out *out)
{
    switch (read_record(s, in, out)) {
    case READ_NOMEM:
        return SHAPE_NOMEM;
    case READ_NO_MATCH:
        return miss(s, in, false, out);
    case READ_LIMIT:
        return miss(s, in, true, out);
    case READ_OK:
        break;
    }
    out->data = s->raw;
    if (s->spec->format == FORMAT_LINE)
        return SHAPE_RECORD;
    return s->spec->format == FORMAT_JSON ? walk_record(s, in, out) : fill_object(s, in, out);
}

enum shape_result shape_apply(struct shape *s, const struct shape_in *in, struct rng *r,
                              struct shape_out *out)
{
    *out = (struct shape_out){0};
    s->row++;
    enum shape_result result = make_data(s, in, out);
    if (result != SHAPE_RECORD)
        return result;
    key_make(s, in, r, out);
    if (s->key.failed || s->scratch.failed)
        return SHAPE_NOMEM;
    out->key = buf_str(&s->key);
    if (out->data.n + out->key.n <= s->spec->max_record)
        return SHAPE_RECORD;
    out->may_be_cut = s->spec->format == FORMAT_LINE || out->no_match > 0;
    return shape_die_long(s, in, out);
}

/* How long the key is, is known only once it has been made. */
enum shape_result shape_cut(struct shape *s, struct shape_in *in, struct rng *r,
                            struct shape_out *out)
{
    enum shape_result shaped = shape_apply(s, in, r, out);
    if (shaped != SHAPE_DEAD || !out->may_be_cut)
        return shaped;
    size_t taken = out->key.n + in->suffix.n, max = s->spec->max_record;
    in->raw.n = encoding_fit(in->raw, s->spec->encoding, max > taken ? max - taken : 0);
    return in->raw.n > 0 ? shape_apply(s, in, r, out) : shaped;
}

bool shape_may_cut(const struct shape_spec *spec)
{
    bool text = spec->format == FORMAT_LINE ||
                (shape_format_may_miss(spec->format) && spec->on_no_match == NO_MATCH_RAW);
    return text && spec->on_oversize != OVERSIZE_DEAD_LETTER;
}

static struct str mark_of(const struct shape_spec *spec)
{
    switch (spec->encoding) {
    case ENCODING_UTF16LE:
        return STR("\xff\xfe");
    case ENCODING_UTF16BE:
        return STR("\xfe\xff");
    case ENCODING_UTF8:
        return spec->format != FORMAT_LINE ? STR("\xef\xbb\xbf") : (struct str){0};
    case ENCODING_LATIN1:
        break;
    }
    return (struct str){0};
}

struct str shape_without_mark(const struct shape_spec *spec, struct str bytes)
{
    struct str mark = mark_of(spec);
    if (mark.n > 0 && bytes.n >= mark.n && memcmp(bytes.p, mark.p, mark.n) == 0)
        bytes = (struct str){bytes.p + mark.n, bytes.n - mark.n};
    return bytes;
}

void shape_count(struct stats *stats, const struct shape_out *out)
{
    stats->bad_values += out->bad_values;
    stats->bytes_replaced += out->bytes_replaced;
    stats->key_fallbacks += out->key_fallbacks;
    stats->ragged_rows += out->ragged_rows;
    stats->no_match += out->no_match;
    stats->regex_limits += out->regex_limits;
    stats->add_skipped += out->add_skipped;
}
