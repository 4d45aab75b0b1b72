/* The happy path: bytes come, a record is framed, shaped and put into the ring, and read_at passes
 * it. Nothing is kept here but offsets: what is unfinished, or finds no room, is offered again.
 *
 * What can go wrong with one record (not JSON, a bad value, too long) makes it a dead letter, in
 * its place in the ring, so that the offsets stay in order. What can go wrong with the ring (full)
 * stops the feed before the record: read_at has not moved past it. */
#include "lib/input.h"

#include <stdlib.h>

#define UTF8_BOM "\xef\xbb\xbf"

/* What one call of input_feed works with. */
struct feed {
    struct input *in;
    struct now now;
    struct str rest; /* the bytes not used yet */
    bool at_end;
    struct csv_row *row;
};

/* ---- life ------------------------------------------------------------------------------------ */

void input_init(struct input *in, struct pipeline *p, struct shape *shape,
                const struct shape_spec *spec, const char *path)
{
    *in = (struct input){.pipeline = p, .shape = shape, .spec = spec, .path = path};
    list_init(&in->origin.moved);
}

static void forget_columns(struct input *in)
{
    shape_columns_free(in->columns);
    in->columns = NULL;
    in->missing_column = NULL;
}

void input_release(struct input *in)
{
    assert(in->origin.in_ring == 0);
    list_del(&in->origin.moved);
    forget_columns(in);
}

void input_start(struct input *in, uint64_t offset, bool mid_record)
{
    assert(in->origin.in_ring == 0);
    in->origin.read_at = in->origin.delivered = offset;
    in->origin.read_mid = in->origin.delivered_mid = mid_record;
    in->header_ahead = offset == 0;
    framer_reset(&in->framer, mid_record);
    forget_columns(in);
}

static bool wants_header(const struct input *in)
{
    return in->spec->format == FORMAT_CSV && in->spec->columns_n == 0;
}

void input_reshape(struct input *in, struct shape *shape, const struct shape_spec *spec)
{
    if (!wants_header(in)) /* then nobody has looked for one */
        in->header_ahead = in->origin.read_at == 0;
    in->shape = shape;
    in->spec = spec;
    framer_reset(&in->framer, in->framer.skipping);
    forget_columns(in);
}

/* ---- the header of a CSV file --------------------------------------------------------------- */

bool input_needs_header(const struct input *in)
{
    return wants_header(in) && in->columns == NULL && !in->header_ahead;
}

static bool bind_names(struct input *in, const struct str *names, size_t n)
{
    forget_columns(in);
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

static struct str without_bom(struct str bytes)
{
    const size_t n = sizeof UTF8_BOM - 1;
    if (bytes.n >= n && memcmp(bytes.p, UTF8_BOM, n) == 0)
        bytes = (struct str){bytes.p + n, bytes.n - n};
    return bytes;
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
    header.n = min_size(header.n, in->spec->max_record);
    enum csv_result r = csv_row_next(&row, header, in->spec->delimiter, true);
    bool ok = (r == CSV_ROW || r == CSV_WIDE) && bind_names(in, row.fields, row.n);
    csv_row_release(&row);
    return ok;
}

bool input_header(struct input *in, struct str bytes, bool at_end)
{
    struct str rows = without_bom(bytes);
    struct csv_row row;
    csv_row_init(&row, in->spec->max_record);
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

/* ---- putting -------------------------------------------------------------------------------- */

/* read_at passes `used` bytes that have become a record, or nothing. */
static void advance(struct feed *f, size_t used)
{
    f->rest.p += used;
    f->rest.n -= used;
    f->in->origin.read_at += used;
    f->in->origin.read_mid = f->in->framer.skipping;
}

static enum input_result put(struct feed *f, const struct pipeline_item *item, size_t used)
{
    struct input *in = f->in;
    switch (pipeline_put(in->pipeline, f->now, &in->origin, item)) {
    case PUT_FULL:
        return INPUT_FULL;
    case PUT_DEAD_FULL:
        return INPUT_DEAD_FULL;
    case PUT_OK:
        break;
    }
    if (item->kind == RECORD_DEAD)
        in->dead++;
    advance(f, used);
    return INPUT_MORE;
}

static enum input_result put_dead(struct feed *f, struct str raw, size_t skip, size_t used,
                                  const char *reason)
{
    uint64_t at = f->in->origin.read_at;
    raw.n = min_size(raw.n, f->in->spec->max_record);
    const struct pipeline_item item = {
        .kind = RECORD_DEAD,
        .key = {reason, min_size(strlen(reason), RECORD_KEY_BYTES_MAX)},
        .data = raw,
        .begin = at + skip,
        .end = at + used,
        .mid_record = f->in->framer.skipping,
    };
    return put(f, &item, used);
}

static void count(struct stats *s, const struct shape_out *out)
{
    s->bad_values += out->bad_values;
    s->bytes_replaced += out->bytes_replaced;
    s->key_fallbacks += out->key_fallbacks;
    s->ragged_rows += out->ragged_rows;
}

/* One framed record, which starts `skip` bytes into the rest and ends with it after `used`. */
static enum input_result put_shaped(struct feed *f, struct str raw, size_t skip, size_t used)
{
    struct input *in = f->in;
    uint64_t at = in->origin.read_at;
    const struct shape_in from = {
        .raw = raw,
        .row = f->row,
        .columns = in->columns,
        .path = str_of(in->path),
        .offset = at + skip,
    };
    struct shape_out out = {0};
    enum shape_result shaped = shape_apply(in->shape, &from, pipeline_rng(in->pipeline), &out);
    if (shaped == SHAPE_NOMEM)
        return INPUT_NOMEM;
    const struct pipeline_item item = {.kind = RECORD_DATA,
                                       .key = out.key,
                                       .key_plain = out.key_plain,
                                       .data = out.data,
                                       .begin = at + skip,
                                       .end = at + used};
    enum input_result result =
        shaped == SHAPE_DEAD ? put_dead(f, raw, skip, used, out.reason) : put(f, &item, used);
    if (result == INPUT_MORE)
        count(pipeline_stats(in->pipeline), &out);
    return result;
}

/* `raw` is the beginning of a record that is too long; `used` bytes of it have been seen. */
static enum input_result put_oversize(struct feed *f, struct str raw, size_t skip, size_t used)
{
    f->in->framer.skipping = true;
    enum input_result result = put_dead(f, raw, skip, used, "longer than max_record");
    if (result == INPUT_MORE)
        pipeline_stats(f->in->pipeline)->oversize++;
    else
        framer_reset(&f->in->framer, false);
    return result;
}

/* ---- lines and JSON lines ------------------------------------------------------------------- */

static enum input_result feed_lines(struct feed *f)
{
    struct input *in = f->in;
    enum input_result result = INPUT_MORE;
    while (result == INPUT_MORE) {
        struct frame frame;
        switch (framer_line(&in->framer, f->rest, in->spec->max_record, f->at_end, &frame)) {
        case FRAME_MORE:
            return INPUT_MORE;
        case FRAME_SKIPPED:
            advance(f, frame.used);
            break;
        case FRAME_OVERSIZE:
            result = put_oversize(f, frame.data, 0, frame.used);
            break;
        case FRAME_RECORD:
            if (frame.data.n == 0)
                advance(f, frame.used); /* an empty line says nothing */
            else
                result = put_shaped(f, frame.data, 0, frame.used);
            break;
        }
    }
    return result;
}

/* ---- CSV ------------------------------------------------------------------------------------ */

/* The row that the rest begins with is too long, wherever it ends: its end may not be there yet,
 * and what becomes of it must not depend on that. */
static enum input_result cut_row(struct feed *f)
{
    struct input *in = f->in;
    size_t max = in->spec->max_record;
    if (in->columns == NULL && !bind_cut_header(in, f->rest))
        return INPUT_NOMEM;
    in->header_ahead = false;
    return put_oversize(f, (struct str){f->rest.p, max}, 0, max);
}

static enum input_result use_row(struct feed *f, enum csv_result r)
{
    struct input *in = f->in;
    struct str raw = row_text(f->rest, f->row, r);
    if (raw.n > in->spec->max_record) {
        advance(f, f->row->begin);
        return cut_row(f);
    }
    if (r == CSV_NOMEM)
        return INPUT_NOMEM;
    if (in->columns == NULL) {
        if (!bind_names(in, f->row->fields, f->row->n))
            return INPUT_NOMEM;
        in->header_ahead = false;
        advance(f, f->row->used);
        return INPUT_MORE;
    }
    if (r == CSV_WIDE)
        return put_dead(f, raw, f->row->begin, f->row->used, "too many fields");
    return put_shaped(f, raw, f->row->begin, f->row->used);
}

static void skip_rest(struct feed *f)
{
    struct frame frame;
    framer_skip(&f->in->framer, f->rest, f->at_end, &frame);
    advance(f, frame.used);
}

static enum input_result feed_csv(struct feed *f)
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
        enum csv_result r = csv_row_next(f->row, f->rest, in->spec->delimiter, f->at_end);
        if (r != CSV_MORE) {
            result = use_row(f, r);
            continue;
        }
        advance(f, f->row->used); /* empty rows */
        if (f->rest.n <= in->spec->max_record)
            return INPUT_MORE;
        result = cut_row(f);
    }
    return result;
}

/* ---- the door ------------------------------------------------------------------------------- */

enum input_result input_feed(struct input *in, struct now now, struct str bytes, bool at_end,
                             size_t *used)
{
    assert(!input_needs_header(in));
    struct feed f = {.in = in, .now = now, .rest = bytes, .at_end = at_end};
    uint64_t from = in->origin.read_at;
    if (from == 0 && in->spec->format != FORMAT_LINE)
        advance(&f, bytes.n - without_bom(bytes).n);
    enum input_result result;
    if (in->spec->format == FORMAT_CSV) {
        struct csv_row row;
        csv_row_init(&row, in->spec->max_record * 2);
        f.row = &row;
        result = feed_csv(&f);
        csv_row_release(&row);
    } else {
        result = feed_lines(&f);
    }
    *used = (size_t)(in->origin.read_at - from);
    pipeline_origin_moved(in->pipeline, &in->origin);
    return result;
}
