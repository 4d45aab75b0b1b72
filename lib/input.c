/* The happy path: bytes come, a record is framed, shaped and put into the ring, and read_at passes
 * it. Nothing is kept here but offsets: what is unfinished, or finds no room, is offered again.
 *
 * What can go wrong with one record (not JSON, a bad value, too long) makes it a dead letter, in
 * its place in the ring, so that the offsets stay in order. What can go wrong with the ring (full)
 * stops the feed before the record: read_at has not moved past it. */
#include "lib/input.h"

#include <stdlib.h>

#define TRUNCATED STR("...[truncated]")

/* What one call of input_feed works with. */
struct feed {
    struct input *in;
    struct now now;
    struct str rest; /* the bytes not used yet */
    bool at_end;     /* no more will come */
    bool flush;      /* they have stood there long enough: all are records */
    bool timed_out;  /* so have the whole lines of an event */
    struct csv_row *row;
};

/* ---- life ---- */

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

static void reset_framer(struct input *in, bool skipping)
{
    framer_reset(&in->framer, skipping);
    in->framer.encoding = in->spec->encoding;
}

void input_start(struct input *in, uint64_t offset, bool mid_record)
{
    assert(in->origin.in_ring == 0);
    in->origin.read_at = in->origin.delivered = offset;
    in->origin.read_mid = in->origin.delivered_mid = mid_record;
    in->header_ahead = offset == 0;
    in->head_lines = offset == 0 ? in->spec->skip_lines : 0;
    in->pending = 0;
    reset_framer(in, mid_record);
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
    in->reshaped = true;
    if (in->origin.read_at == 0)
        in->head_lines = spec->skip_lines;
    reset_framer(in, in->framer.skipping);
    forget_columns(in);
}

/* ---- the header of a CSV file ---- */

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

/* The byte-order mark that a file may begin with. Lines of UTF-8 are sent as they stand, mark and
 * all. */
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

static struct str without_mark(const struct shape_spec *spec, struct str bytes)
{
    struct str mark = mark_of(spec);
    if (mark.n > 0 && bytes.n >= mark.n && memcmp(bytes.p, mark.p, mark.n) == 0)
        bytes = (struct str){bytes.p + mark.n, bytes.n - mark.n};
    return bytes;
}

/* Where the rows begin: behind the mark and the lines to skip. False: that is not in sight. */
static bool find_rows(const struct shape_spec *spec, struct str bytes, bool at_end,
                      struct str *rows)
{
    struct str rest = without_mark(spec, bytes);
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

/* ---- putting ---- */

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
    s->no_match += out->no_match;
    s->regex_limits += out->regex_limits;
    s->add_skipped += out->add_skipped;
}

static struct shape_in shape_in_of(const struct feed *f, struct str raw, size_t skip)
{
    const struct input *in = f->in;
    return (struct shape_in){
        .raw = raw,
        .row = f->row,
        .columns = in->columns,
        .path = str_of(in->path),
        .offset = in->origin.read_at + skip,
    };
}

static enum input_result put_data(struct feed *f, const struct shape_out *out, size_t skip,
                                  size_t used)
{
    uint64_t at = f->in->origin.read_at;
    const struct pipeline_item item = {.kind = RECORD_DATA,
                                       .key = out->key,
                                       .key_plain = out->key_plain,
                                       .data = out->data,
                                       .begin = at + skip,
                                       .end = at + used,
                                       .mid_record = f->in->framer.skipping};
    return put(f, &item, used);
}

/* ---- records that are too long ---- */

static bool may_be_cut(const struct shape_spec *spec)
{
    bool text = spec->format == FORMAT_LINE ||
                (shape_format_may_miss(spec->format) && spec->on_no_match == NO_MATCH_RAW);
    return text && spec->on_oversize != OVERSIZE_DEAD_LETTER;
}

/* The text, or as much of it as there is room for beside the suffix and the key. How long the key
 * is, is known only once it has been made. */
static enum shape_result shape_part(struct feed *f, struct shape_in *from, struct shape_out *out)
{
    struct input *in = f->in;
    struct rng *rng = pipeline_rng(in->pipeline);
    enum shape_result shaped = shape_apply(in->shape, from, rng, out);
    if (shaped != SHAPE_DEAD || !out->may_be_cut)
        return shaped;
    size_t taken = out->key.n + from->suffix.n, max = in->spec->max_record;
    from->raw.n = encoding_fit(from->raw, in->spec->encoding, max > taken ? max - taken : 0);
    return from->raw.n > 0 ? shape_apply(in->shape, from, rng, out) : shaped;
}

/* Truncated, the record ends where it would have. Split, it ends behind the part, and what follows
 * is read as a record of its own. */
static enum input_result put_part(struct feed *f, struct str raw, size_t skip, size_t used)
{
    struct input *in = f->in;
    bool split = in->spec->on_oversize == OVERSIZE_SPLIT;
    struct shape_in from = shape_in_of(f, raw, skip);
    from.suffix = split ? (struct str){0} : TRUNCATED;
    struct shape_out out = {0};
    enum shape_result shaped = shape_part(f, &from, &out);
    if (shaped == SHAPE_NOMEM)
        return INPUT_NOMEM;
    if (shaped != SHAPE_RECORD)
        return put_dead(f, raw, skip, used, "longer than max_record");
    if (split) {
        in->framer.skipping = false;
        used = skip + from.raw.n;
    }
    enum input_result result = put_data(f, &out, skip, used);
    if (result != INPUT_MORE)
        return result;
    if (split && shape_multiline(in->shape) == NULL)
        in->framer.looked = raw.n - from.raw.n; /* they have been searched */
    count(pipeline_stats(in->pipeline), &out);
    return result;
}

/* `raw` is a whole record of `used` bytes, or, while the framer skips, the first `used` bytes of
 * one. */
static enum input_result put_oversize(struct feed *f, struct str raw, size_t skip, size_t used,
                                      bool cut)
{
    struct input *in = f->in;
    in->framer.skipping = cut;
    enum input_result result = may_be_cut(in->spec)
                                   ? put_part(f, raw, skip, used)
                                   : put_dead(f, raw, skip, used, "longer than max_record");
    if (result == INPUT_MORE)
        pipeline_stats(in->pipeline)->oversize++;
    else
        reset_framer(in, false);
    return result;
}

/* ---- records ---- */

/* One framed record, which starts `skip` bytes into the rest and ends with it after `used`. */
static enum input_result put_shaped(struct feed *f, struct str raw, size_t skip, size_t used)
{
    struct input *in = f->in;
    const struct shape_in from = shape_in_of(f, raw, skip);
    struct shape_out out = {0};
    enum shape_result shaped = shape_apply(in->shape, &from, pipeline_rng(in->pipeline), &out);
    if (shaped == SHAPE_NOMEM)
        return INPUT_NOMEM;
    if (out.may_be_cut && may_be_cut(in->spec))
        return put_oversize(f, raw, skip, used, false);
    enum input_result result = INPUT_MORE;
    if (shaped == SHAPE_DROPPED)
        advance(f, used); /* passed over, as if it had been delivered */
    else
        result = shaped == SHAPE_DEAD ? put_dead(f, raw, skip, used, out.reason)
                                      : put_data(f, &out, skip, used);
    if (result != INPUT_MORE)
        return result;
    struct stats *stats = pipeline_stats(in->pipeline);
    count(stats, &out);
    stats->dropped += shaped == SHAPE_DROPPED;
    stats->oversize += out.too_long;
    return result;
}

/* ---- lines, events of several lines, and JSON lines ---- */

/* The rest of a record that was too long may come later than any patience. */
static enum frame_result next_frame(struct feed *f, struct multiline *events, struct frame *frame)
{
    struct input *in = f->in;
    bool all = f->at_end || (f->flush && !in->framer.skipping);
    size_t max = in->spec->max_record;
    if (events == NULL)
        return framer_line(&in->framer, f->rest, max, all, frame);
    enum multiline_wait wait = all            ? MULTILINE_END
                               : f->timed_out ? MULTILINE_LINES
                                              : MULTILINE_WAIT;
    enum frame_result r = multiline_next(events, &in->framer, f->rest, max, wait, frame);
    pipeline_stats(in->pipeline)->regex_limits += frame->limits;
    return r;
}

static enum input_result feed_lines(struct feed *f)
{
    struct input *in = f->in;
    struct multiline *events = shape_multiline(in->shape);
    enum input_result result = INPUT_MORE;
    while (result == INPUT_MORE) {
        struct frame frame;
        switch (next_frame(f, events, &frame)) {
        case FRAME_MORE:
            return INPUT_MORE;
        case FRAME_NOMEM:
            return INPUT_NOMEM;
        case FRAME_SKIPPED:
            advance(f, frame.used);
            break;
        case FRAME_OVERSIZE:
            result = put_oversize(f, frame.data, 0, frame.used, true);
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

/* ---- CSV ---- */

/* The row that the rest begins with is too long, wherever it ends: its end may not be there yet,
 * and what becomes of it must not depend on that. */
static enum input_result cut_row(struct feed *f)
{
    struct input *in = f->in;
    size_t max = in->spec->max_record;
    if (in->columns == NULL && !bind_cut_header(in, f->rest))
        return INPUT_NOMEM;
    in->header_ahead = false;
    return put_oversize(f, (struct str){f->rest.p, max}, 0, max, true);
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
        bool all = f->at_end || (f->flush && in->columns != NULL);
        enum csv_result r = csv_row_next(f->row, f->rest, in->spec->delimiter, all);
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

/* ---- lines to skip ---- */

static size_t pass_line(struct feed *f, bool *over)
{
    struct input *in = f->in;
    if (in->spec->format == FORMAT_CSV)
        return csv_pass_line(f->rest, f->at_end, over);
    struct frame frame;
    in->framer.skipping = true;
    framer_line(&in->framer, f->rest, in->spec->max_record, f->at_end, &frame);
    *over = !in->framer.skipping;
    return frame.used;
}

/* They are passed over as they come, however long they are, but the checkpoint stays at 0 until all
 * are: after a restart they are counted from the beginning again. */
static void skip_head(struct feed *f)
{
    for (bool over = true; f->in->head_lines > 0 && over && f->rest.n > 0;) {
        advance(f, pass_line(f, &over));
        f->in->head_lines -= over;
    }
}

/* ---- the door ---- */

/* When it came in pieces, the framer has looked into it. */
static void skip_mark(struct feed *f)
{
    size_t n = f->rest.n - without_mark(f->in->spec, f->rest).n;
    if (n == 0)
        return;
    reset_framer(f->in, false);
    advance(f, n);
}

static enum input_result feed(struct feed *f)
{
    struct input *in = f->in;
    if (in->origin.read_at == 0)
        skip_mark(f);
    if (in->head_lines > 0)
        skip_head(f);
    if (in->head_lines > 0)
        return INPUT_MORE;
    if (in->spec->format != FORMAT_CSV)
        return feed_lines(f);
    struct csv_row row;
    csv_row_init(&row, in->spec->max_record * 2);
    f->row = &row;
    enum input_result result = feed_csv(f);
    csv_row_release(&row);
    return result;
}

enum input_result input_feed(struct input *in, struct now now, struct str bytes, bool at_end,
                             uint64_t quiet_ms, size_t *used)
{
    assert(!input_needs_header(in));
    const struct shape_spec *spec = in->spec;
    struct feed f = {
        .in = in,
        .now = now,
        .rest = bytes,
        .at_end = at_end,
        .flush = spec->flush_after_ms > 0 && quiet_ms >= spec->flush_after_ms,
        .timed_out = quiet_ms >= spec->multiline.timeout_ms,
    };
    uint64_t from = in->origin.read_at;
    enum input_result result = feed(&f);
    *used = (size_t)(in->origin.read_at - from);
    in->pending = f.rest.n;
    in->reshaped = false;
    if (in->head_lines == 0 || at_end)
        pipeline_origin_moved(in->pipeline, &in->origin);
    return result;
}

uint64_t input_patience_ms(const struct input *in)
{
    const struct framer *f = &in->framer;
    const struct shape_spec *spec = in->spec;
    uint64_t patience_ms = UINT64_MAX;
    if (in->pending == 0 || in->head_lines > 0 || f->skipping)
        return patience_ms;
    if (shape_multiline(in->shape) != NULL && (f->lines > 0 || in->reshaped))
        patience_ms = spec->multiline.timeout_ms;
    if (spec->flush_after_ms > 0 && (spec->format != FORMAT_CSV || in->columns != NULL))
        patience_ms = min_u64(patience_ms, spec->flush_after_ms);
    return patience_ms;
}
