/* Rows of CSV, and the header that names their columns. A row that is too long is cut wherever it
 * ends; a header that is, still gives the names in its first part.
 */
#include <stdlib.h>

#include "lib/input_in.h"

/* ---- the header ---- */

void input_forget_columns(struct input *in)
{
    shape_columns_free(in->columns);
    in->columns = NULL;
    in->missing_column = NULL;
}

bool input_wants_header(const struct input *in)
{
    return in->spec->format == FORMAT_CSV && in->spec->columns_n == 0;
}

bool input_needs_header(const struct input *in)
{
    return input_wants_header(in) && in->columns == NULL && !in->header_ahead;
}

static bool bind_names(struct input *in, const struct str *names, size_t n)
{
    input_forget_columns(in);
    in->columns = shape_bind(in->shape, names, n, &in->missing_column);
    return in->columns != NULL;
}

static bool bind_configured(struct input *in)
{
    size_t n = in->spec->columns_n;
    struct str *names = malloc(n * sizeof *names);
    if (names == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        names[i] = str_of(in->spec->columns[i]);
    bool ok = bind_names(in, names, n);
    free(names);
    return ok;
}

/* Where the rows begin: behind the mark and the lines to skip. False: that is not in sight. */
static bool find_rows(const struct shape_spec *spec, struct str bytes, bool at_end,
                      struct str *rows)
{
    struct str rest = shape_without_mark(spec, bytes);
    bool over = true;
    for (uint64_t i = 0; i < spec->skip_lines && over; i++) {
        size_t used = csv_pass_line(rest, at_end, &over);
        rest = (struct str){rest.p + used, rest.n - used};
    }
    if (over)
        *rows = rest;
    return over;
}

/* The row's own bytes, as far as they are there, without the line end. */
static struct str row_text(struct str text, const struct csv_row *row, enum csv_result r)
{
    size_t end = r == CSV_MORE ? text.n : row->used;
    if (r != CSV_MORE && (text.p[end - 1] == '\n' || text.p[end - 1] == '\r'))
        end--;
    return (struct str){text.p + row->begin, end - row->begin};
}

/* The names in the first max_record bytes of a header that is longer. */
static bool bind_cut_header(struct input *in, struct str header)
{
    struct csv_row row;
    csv_row_init(&row, in->spec->max_record);
    row.no_quotes = in->spec->no_quotes;
    header.n = min_size(header.n, in->spec->max_record);
    enum csv_result r = csv_row_next(&row, header, in->spec->delimiter, true);
    bool ok = (r == CSV_ROW || r == CSV_WIDE) && bind_names(in, row.fields, row.n);
    csv_row_release(&row);
    return ok;
}

bool input_header(struct input *in, struct str bytes, bool at_end)
{
    struct str rows;
    if (!find_rows(in->spec, bytes, at_end, &rows))
        return false;
    struct csv_row row;
    csv_row_init(&row, in->spec->max_record * 2);
    row.no_quotes = in->spec->no_quotes;
    enum csv_result r = csv_row_next(&row, rows, in->spec->delimiter, at_end);
    struct str header = row_text(rows, &row, r);
    bool ok = false;
    if (in->origin.read_at <= bytes.n - rows.n + row.begin)
        ok = in->header_ahead = true; /* only the mark and empty rows have been read */
    else if (header.n > in->spec->max_record)
        ok = bind_cut_header(in, header);
    else if (r == CSV_ROW || r == CSV_WIDE)
        ok = bind_names(in, row.fields, row.n);
    csv_row_release(&row);
    return ok;
}

/* ---- rows ---- */

/* The row that the rest begins with is too long, wherever it ends: its end may not be there yet,
 * and what becomes of it must not depend on that. */
static enum input_result cut_row(struct feed *f)
{
    struct input *in = f->in;
    size_t max = in->spec->max_record;
    if (in->columns == NULL && !bind_cut_header(in, f->rest))
        return INPUT_NOMEM;
    in->header_ahead = false;
    return feed_oversize(f, (struct str){f->rest.p, max}, 0, max, true);
}

static enum input_result use_row(struct feed *f, enum csv_result r)
{
    struct input *in = f->in;
    struct str raw = row_text(f->rest, f->row, r);
    if (raw.n > in->spec->max_record) {
        feed_advance(f, f->row->begin);
        return cut_row(f);
    }
    if (r == CSV_NOMEM)
        return INPUT_NOMEM;
    if (in->columns == NULL) {
        if (!bind_names(in, f->row->fields, f->row->n))
            return INPUT_NOMEM;
        in->header_ahead = false;
        feed_advance(f, f->row->used);
        return INPUT_MORE;
    }
    if (r == CSV_WIDE)
        return feed_dead(f, raw, f->row->begin, f->row->used, "too many fields");
    return feed_record(f, raw, f->row->begin, f->row->used);
}

static void skip_rest(struct feed *f)
{
    struct frame frame;
    framer_skip(&f->in->framer, f->rest, f->at_end, &frame);
    feed_advance(f, frame.used);
}

/* Whether it is worth while to take the row apart: one that comes in a thousand pieces is searched
 * for its end once. */
static bool end_may_be_there(struct feed *f)
{
    struct input *in = f->in;
    bool known = in->ahead.looked > 0 && in->ahead_at == in->origin.read_at;
    return !known || f->rest.n > in->spec->max_record ||
           csv_scan(&in->ahead, f->rest, in->spec->delimiter);
}

static void look_ahead(struct feed *f)
{
    struct input *in = f->in;
    in->ahead = (struct csv_scan){.no_quotes = in->spec->no_quotes};
    in->ahead_at = in->origin.read_at;
    csv_scan(&in->ahead, f->rest, in->spec->delimiter);
}

enum input_result feed_csv(struct feed *f)
{
    struct input *in = f->in;
    if (in->spec->columns_n > 0 && in->columns == NULL && !bind_configured(in))
        return INPUT_NOMEM;
    enum input_result result = INPUT_MORE;
    while (result == INPUT_MORE && f->rest.n > 0) {
        if (in->framer.skipping) {
            skip_rest(f);
            continue;
        }
        bool all = f->at_end || (f->flush && in->columns != NULL);
        if (!all && !end_may_be_there(f))
            return INPUT_MORE;
        enum csv_result r = csv_row_next(f->row, f->rest, in->spec->delimiter, all);
        if (r != CSV_MORE) {
            result = use_row(f, r);
            continue;
        }
        feed_advance(f, f->row->used); /* empty rows */
        if (f->rest.n > in->spec->max_record) {
            result = cut_row(f);
            continue;
        }
        look_ahead(f);
        return INPUT_MORE;
    }
    return result;
}
