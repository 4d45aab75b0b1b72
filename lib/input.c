/* The happy path: bytes come, a record is framed, shaped and put into the ring, and read_at passes
 * it. Nothing is kept here but offsets: what is unfinished, or finds no room, is offered again.
 *
 * This file is the door: what stands at a file's beginning, lines, events of several lines, and
 * time. Rows of CSV are in input_csv.c; what a record goes through, and the ways it fails, in
 * input_put.c.
 */
#include "lib/input_in.h"

/* ---- life ---- */

void input_init(struct input *in, struct pipeline *p, struct shape *shape,
                const struct shape_spec *spec, const char *path)
{
    *in = (struct input){.pipeline = p, .shape = shape, .spec = spec, .path = path};
    list_init(&in->origin.moved);
}

void input_release(struct input *in)
{
    assert(in->origin.in_ring == 0);
    list_del(&in->origin.moved);
    input_forget_columns(in);
}

void input_reset_framer(struct input *in, bool skipping)
{
    framer_reset(&in->framer, skipping);
    in->framer.encoding = in->spec->encoding;
    in->ahead = (struct csv_scan){.no_quotes = in->spec->no_quotes};
}

void input_start(struct input *in, uint64_t offset, bool mid_record)
{
    assert(in->origin.in_ring == 0);
    in->origin.read_at = in->origin.delivered = offset;
    in->origin.read_mid = in->origin.delivered_mid = mid_record;
    in->header_ahead = offset == 0;
    in->head_lines = offset == 0 ? in->spec->skip_lines : 0;
    in->pending = 0;
    in->elements_at = 0;
    input_reset_framer(in, mid_record);
    input_forget_columns(in);
}

void input_reshape(struct input *in, struct shape *shape, const struct shape_spec *spec)
{
    if (!input_wants_header(in)) /* then nobody has looked for one */
        in->header_ahead = in->origin.read_at == 0;
    in->shape = shape;
    in->spec = spec;
    in->reshaped = true;
    in->elements_at = 0;
    if (in->origin.read_at == 0)
        in->head_lines = spec->skip_lines;
    input_reset_framer(in, in->framer.skipping);
    input_forget_columns(in);
}

/* ---- a file's beginning ---- */

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
        feed_advance(f, pass_line(f, &over));
        f->in->head_lines -= over;
    }
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
            feed_advance(f, frame.used);
            break;
        case FRAME_OVERSIZE:
            result = feed_oversize(f, frame.data, 0, frame.used, true);
            break;
        case FRAME_RECORD:
            if (frame.data.n == 0)
                feed_advance(f, frame.used); /* an empty line says nothing */
            else
                result = feed_record(f, frame.data, 0, frame.used);
            break;
        }
    }
    return result;
}

/* ---- the door ---- */

/* When it came in pieces, the framer has looked into it. */
static void skip_mark(struct feed *f)
{
    size_t n = f->rest.n - shape_without_mark(f->in->spec, f->rest).n;
    if (n == 0)
        return;
    input_reset_framer(f->in, false);
    feed_advance(f, n);
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
    row.no_quotes = in->spec->no_quotes;
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
