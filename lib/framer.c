/* One memchr finds the end of a line; `looked` keeps it from searching the same bytes twice when a
 * line comes in pieces. A line that is too long is cut once, then its rest is passed over.
 *
 * Whether a line is too long must not depend on how its bytes arrived, so the decision waits until
 * it is certain: `max` bytes may be followed by CR LF, so only max + 2 bytes without LF are surely
 * too many.
 */
#include "lib/framer.h"

void framer_reset(struct framer *f, bool skipping)
{
    *f = (struct framer){.skipping = skipping};
}

static enum frame_result skipped(struct framer *f, size_t used, bool over, struct frame *frame)
{
    f->skipping = !over;
    f->looked = 0;
    *frame = (struct frame){.used = used};
    return used > 0 ? FRAME_SKIPPED : FRAME_MORE;
}

enum frame_result framer_skip(struct framer *f, struct str text, bool at_end, struct frame *frame)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\n' || text.p[i] == '\r')
            return skipped(f, i + 1, true, frame);
    }
    return skipped(f, text.n, at_end, frame);
}

static enum frame_result skip_line(struct framer *f, struct str text, bool at_end,
                                   struct frame *frame)
{
    const char *lf = text.n > 0 ? memchr(text.p, '\n', text.n) : NULL;
    if (lf != NULL)
        return skipped(f, (size_t)(lf - text.p) + 1, true, frame);
    return skipped(f, text.n, at_end, frame);
}

static enum frame_result record(struct framer *f, struct str text, size_t n, size_t used,
                                struct frame *frame)
{
    f->looked = 0;
    *frame = (struct frame){.data = {text.p, n}, .used = used};
    return FRAME_RECORD;
}

static enum frame_result oversize(struct framer *f, struct str text, size_t max,
                                  struct frame *frame)
{
    f->looked = 0;
    f->skipping = true;
    *frame = (struct frame){.data = {text.p, max}, .used = max};
    return FRAME_OVERSIZE;
}

enum frame_result framer_line(struct framer *f, struct str text, size_t max, bool at_end,
                              struct frame *frame)
{
    if (f->skipping)
        return skip_line(f, text, at_end, frame);
    size_t from = min_size(f->looked, text.n);
    size_t n = max < SIZE_MAX - 2 ? min_size(text.n, max + 2) : text.n;
    const char *lf = n > from ? memchr(text.p + from, '\n', n - from) : NULL;
    if (lf != NULL) {
        size_t end = (size_t)(lf - text.p);
        size_t data_n = end > 0 && lf[-1] == '\r' ? end - 1 : end;
        if (data_n > max)
            return oversize(f, text, max, frame);
        return record(f, text, data_n, end + 1, frame);
    }
    bool may_be_cr = n == max + 1 && text.p[max] == '\r' && !at_end;
    if (n > max && !may_be_cr)
        return oversize(f, text, max, frame);
    if (at_end && n > 0)
        return record(f, text, n, n, frame);
    f->looked = n;
    *frame = (struct frame){.used = 0};
    return FRAME_MORE;
}
