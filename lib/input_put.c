/* What a record goes through once its bytes are found: it is shaped and put into the ring.
 *
 * What can go wrong with one record (not JSON, a bad value, too long) makes it a dead letter, or a
 * part of it a record, in its place in the ring, so that the offsets stay in order. What can go
 * wrong with the ring (full) stops the feed before the record: read_at has not moved past it. An
 * array's elements have all the line's offset, and only the last lets read_at pass the line.
 */
#include "lib/input_in.h"
#include "lib/json.h"

/* ---- putting ---- */

void feed_advance(struct feed *f, size_t used)
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
    feed_advance(f, used);
    return INPUT_MORE;
}

enum input_result feed_dead(struct feed *f, struct str raw, size_t skip, size_t used,
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

/* Truncated, the record ends where it would have. Split, it ends behind the part, and what follows
 * is read as a record of its own. */
static enum input_result put_part(struct feed *f, struct str raw, size_t skip, size_t used)
{
    struct input *in = f->in;
    bool split = in->spec->on_oversize == OVERSIZE_SPLIT;
    struct shape_in from = shape_in_of(f, raw, skip);
    from.suffix = split ? (struct str){0} : SHAPE_TRUNCATED;
    struct shape_out out = {0};
    enum shape_result shaped = shape_cut(in->shape, &from, pipeline_rng(in->pipeline), &out);
    if (shaped == SHAPE_NOMEM)
        return INPUT_NOMEM;
    if (shaped != SHAPE_RECORD)
        return feed_dead(f, raw, skip, used, SHAPE_TOO_LONG);
    if (split) {
        in->framer.skipping = false;
        used = skip + from.raw.n;
    }
    enum input_result result = put_data(f, &out, skip, used);
    if (result != INPUT_MORE)
        return result;
    if (split && shape_multiline(in->shape) == NULL)
        in->framer.looked = raw.n - from.raw.n; /* they have been searched */
    shape_count(pipeline_stats(in->pipeline), &out);
    return result;
}

enum input_result feed_oversize(struct feed *f, struct str raw, size_t skip, size_t used, bool cut)
{
    struct input *in = f->in;
    in->framer.skipping = cut;
    enum input_result result = shape_may_cut(in->spec)
                                   ? put_part(f, raw, skip, used)
                                   : feed_dead(f, raw, skip, used, SHAPE_TOO_LONG);
    if (result == INPUT_MORE)
        pipeline_stats(in->pipeline)->oversize++;
    else
        input_reset_framer(in, false);
    return result;
}

/* ---- records ---- */

static enum input_result feed_one(struct feed *f, struct str raw, size_t skip, size_t used,
                                  bool valid)
{
    struct input *in = f->in;
    struct shape_in from = shape_in_of(f, raw, skip);
    struct shape_out out;
    from.valid = valid;
    enum shape_result shaped = shape_apply(in->shape, &from, pipeline_rng(in->pipeline), &out);
    if (shaped == SHAPE_NOMEM)
        return INPUT_NOMEM;
    if (out.may_be_cut && shape_may_cut(in->spec))
        return feed_oversize(f, raw, skip, used, false);
    enum input_result result = INPUT_MORE;
    if (shaped == SHAPE_DROPPED)
        feed_advance(f, used); /* passed over, as if it had been delivered */
    else
        result = shaped == SHAPE_DEAD ? feed_dead(f, raw, skip, used, out.reason)
                                      : put_data(f, &out, skip, used);
    if (result != INPUT_MORE)
        return result;
    struct stats *stats = pipeline_stats(in->pipeline);
    shape_count(stats, &out);
    stats->dropped += shaped == SHAPE_DROPPED;
    in->no_match += out.no_match;
    in->dropped += shaped == SHAPE_DROPPED;
    stats->oversize += out.too_long;
    return result;
}

/* All or nothing: the line is looked at whole before the first element goes. When it is offered
 * again, it may have grown behind the elements that are in the ring, and be an array no more. */
static enum input_result feed_array(struct feed *f, struct str raw, size_t skip, size_t used)
{
    struct input *in = f->in;
    if (in->elements_at == 0 && !json_valid(raw, NULL))
        return feed_one(f, raw, skip, used, false);
    enum input_result result = INPUT_MORE;
    size_t at = in->elements_at;
    bool over = false;
    while (result == INPUT_MORE && !over) {
        struct str element;
        switch (json_split_next(raw, &at, &element)) {
        case JSON_SPLIT_ELEMENT:
            over = at == raw.n;
            result = feed_one(f, element, skip, over ? used : 0, true);
            break;
        case JSON_SPLIT_END:
            over = true;
            feed_advance(f, used);
            break;
        case JSON_SPLIT_BAD:
            over = true;
            result = feed_dead(f, raw, skip, used, "not JSON");
            break;
        }
        if (result == INPUT_MORE)
            in->elements_at = over ? 0 : at;
    }
    return result;
}

enum input_result feed_record(struct feed *f, struct str raw, size_t skip, size_t used)
{
    if (f->in->spec->split_arrays && json_is_array(raw))
        return feed_array(f, raw, skip, used);
    return feed_one(f, raw, skip, used, false);
}
