/* A record's text becomes UTF-8, and then cells: by the pattern, by the parser of a named format,
 * or, for CSV, by the caller. What the cells are called is known when the shape is made; only
 * logfmt brings its keys with each line, and looks up those that a template asks for.
 *
 * How it fails: a line that is not of the format is READ_NO_MATCH, one that the pattern gave up is
 * READ_LIMIT; nothing else is wrong with them. Memory is needed only for texts that are converted
 * or unescaped.
 */
#include "lib/shape_in.h"

#include <stdlib.h>

static int nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory");
}

static enum logformat logformat_of(enum shape_format f)
{
    return (enum logformat)(f - FORMAT_COMMON_LOG);
}
_Static_assert(FORMAT_SYSLOG_RFC5424 - FORMAT_COMMON_LOG == LOGFORMAT_SYSLOG_RFC5424, "one order");

bool shape_format_may_miss(enum shape_format f)
{
    return f >= FORMAT_REGEX;
}

bool shape_format_has_fields(enum shape_format f)
{
    return f >= FORMAT_JSON;
}

/* ---- life ----------------------------------------------------------------------------------- */

static int open_regex(struct shape *s, struct err *e)
{
    if (s->spec->pattern == NULL)
        return err_set(e, ERR_MISSING, "pattern: is required with format: regex");
    struct err inner;
    s->pattern = pattern_new(s->spec->pattern, PATTERN_WHOLE, &inner);
    if (s->pattern == NULL)
        return err_set(e, inner.code, "pattern: %.480s", inner.text);
    s->names_n = pattern_names_n(s->pattern);
    if (s->names_n == 0)
        return err_set(e, ERR_MISSING, "pattern: has no named groups, like (?<host>\\S+)");
    s->names = calloc(s->names_n, sizeof *s->names);
    if (s->names == NULL)
        return nomem(e);
    for (size_t i = 0; i < s->names_n; i++)
        s->names[i] = str_of(pattern_name(s->pattern, i));
    return 0;
}

static int open_logformat(struct shape *s, struct err *e)
{
    const char *const *names = logformat_names(logformat_of(s->spec->format), &s->names_n);
    s->names = calloc(s->names_n, sizeof *s->names);
    if (s->names == NULL)
        return nomem(e);
    for (size_t i = 0; i < s->names_n; i++)
        s->names[i] = str_of(names[i]);
    return 0;
}

int read_open(struct shape *s, struct err *e)
{
    if (s->spec->format == FORMAT_REGEX)
        return open_regex(s, e);
    if (s->spec->format > FORMAT_REGEX && s->spec->format < FORMAT_LOGFMT)
        return open_logformat(s, e);
    return 0;
}

/* The cells of logfmt and JSON are the names of the plan, in the plan's order. */
static int name_by_plan(struct shape *s, struct err *e)
{
    s->names_n = s->plan.names_n;
    s->names = calloc(s->names_n + 1, sizeof *s->names);
    if (s->names == NULL)
        return nomem(e);
    for (size_t i = 0; i < s->names_n; i++)
        s->names[i] = str_of(s->plan.names[i]);
    return 0;
}

int read_bind(struct shape *s, struct err *e)
{
    enum shape_format format = s->spec->format;
    bool by_plan = format == FORMAT_LOGFMT || format == FORMAT_JSON;
    if (by_plan && name_by_plan(s, e) != 0)
        return ERR_NOMEM;
    size_t values_n = s->names_n;
    if (format == FORMAT_CSV && s->spec->encoding != ENCODING_UTF8)
        values_n = CSV_FIELDS_MAX;
    s->values = calloc(values_n + 1, sizeof *s->values);
    if (s->values == NULL)
        return nomem(e);
    if (format == FORMAT_LOGFMT && (s->pairs = calloc(LOGFMT_PAIRS_MAX, sizeof *s->pairs)) == NULL)
        return nomem(e);
    bool fixed = by_plan || shape_format_may_miss(format);
    if (fixed && (s->fixed = shape_bind(s, s->names, s->names_n, NULL)) == NULL)
        return nomem(e);
    return format == FORMAT_JSON ? walk_open(s, e) : 0;
}

void read_close(struct shape *s)
{
    shape_columns_free(s->fixed);
    walk_close(s);
    pattern_free(s->pattern);
    free(s->names);
    free(s->values);
    free(s->pairs);
}

/* ---- records -------------------------------------------------------------------------------- */

/* UTF-8 without a suffix stays where it is. */
static bool read_text(struct shape *s, const struct shape_in *in, struct shape_out *out)
{
    s->raw = in->raw;
    if (s->spec->encoding == ENCODING_UTF8 && in->suffix.n == 0)
        return true;
    buf_reset(&s->text);
    out->bytes_replaced += encoding_to_utf8(&s->text, in->raw, s->spec->encoding);
    buf_put(&s->text, in->suffix.p, in->suffix.n);
    s->raw = buf_str(&s->text);
    return !s->text.failed;
}

/* The cells of a Latin-1 row, converted in one reservation, so that none moves. Rows of UTF-16 are
 * converted by the caller, before they are taken apart. */
static enum read_result read_csv(struct shape *s, const struct shape_in *in)
{
    s->cells = (struct cells){in->row->fields, in->row->n, in->columns};
    if (s->spec->encoding != ENCODING_LATIN1)
        return READ_OK;
    size_t n = 0;
    for (size_t i = 0; i < in->row->n; i++)
        n += in->row->fields[i].n;
    buf_reset(&s->text);
    if (buf_reserve(&s->text, n * ENCODING_GROWTH + 1) == NULL)
        return READ_NOMEM;
    for (size_t i = 0; i < in->row->n; i++) {
        size_t at = s->text.n;
        encoding_to_utf8(&s->text, in->row->fields[i], ENCODING_LATIN1);
        s->values[i] = (struct str){s->text.p + at, s->text.n - at};
    }
    s->cells.values = s->values;
    return READ_OK;
}

static enum read_result read_regex(struct shape *s)
{
    switch (pattern_match(s->pattern, s->raw)) {
    case PATTERN_NO:
        return READ_NO_MATCH;
    case PATTERN_LIMIT:
        return READ_LIMIT;
    case PATTERN_NOMEM:
        return READ_NOMEM;
    case PATTERN_YES:
        break;
    }
    for (size_t i = 0; i < s->names_n; i++)
        s->values[i] = pattern_group(s->pattern, s->raw, i);
    return READ_OK;
}

static enum read_result read_logfmt(struct shape *s)
{
    switch (logfmt_parse(s->raw, &s->unescaped, s->pairs, &s->pairs_n)) {
    case LOGFMT_NO:
        return READ_NO_MATCH;
    case LOGFMT_NOMEM:
        return READ_NOMEM;
    case LOGFMT_LINE:
        break;
    }
    for (size_t i = 0; i < s->names_n; i++) {
        s->values[i] = (struct str){0};
        for (size_t k = 0; k < s->pairs_n; k++) {
            if (str_eq(s->pairs[k].key, s->names[i])) {
                s->values[i] = s->pairs[k].value;
                break;
            }
        }
    }
    return READ_OK;
}

enum read_result read_record(struct shape *s, const struct shape_in *in, struct shape_out *out)
{
    enum shape_format format = s->spec->format;
    if (format == FORMAT_CSV)
        return read_csv(s, in);
    if (!read_text(s, in, out))
        return READ_NOMEM;
    if (!shape_format_may_miss(format))
        return READ_OK;
    s->cells = (struct cells){.columns = s->fixed};
    if (in->suffix.n > 0)
        return READ_NO_MATCH; /* the first part of a line: its last field would be cut */
    enum read_result result = format == FORMAT_REGEX    ? read_regex(s)
                              : format == FORMAT_LOGFMT ? read_logfmt(s)
                              : logformat_parse(logformat_of(format), s->raw, s->values)
                                  ? READ_OK
                                  : READ_NO_MATCH;
    if (result == READ_OK)
        s->cells = (struct cells){s->values, s->names_n, s->fixed};
    return result;
}
