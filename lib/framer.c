/* One memchr finds the end of a line; `looked` keeps it from searching the same bytes twice when a
 * line comes in pieces. A line that is too long is cut once, then its rest is passed over.
 *
 * Whether a line is too long must not depend on how its bytes arrived, so the decision waits until
 * it is certain: `max` bytes may be followed by CR LF, so only two units more without LF are surely
 * too many.
 *
 * In UTF-16 the memchr finds candidates: a byte of 0A is half of many other characters too.
 */
#include "lib/framer.h"

void framer_reset(struct framer *f, bool skipping)
{
    *f = (struct framer){.skipping = skipping};
}

size_t framer_unit(const struct framer *f)
{
    return encoding_is_utf16(f->encoding) ? 2 : 1;
}

/* ---- line ends ---- */

static bool is_unit(enum shape_encoding encoding, const char *p, char c)
{
    bool big = encoding == ENCODING_UTF16BE;
    return p[big] == c && p[!big] == '\0';
}

static size_t find_wide(const struct framer *f, struct str text, size_t from, size_t to)
{
    while (from < to) {
        const char *byte = memchr(text.p + from, '\n', to - from);
        if (byte == NULL)
            break;
        size_t at = (size_t)(byte - text.p) & ~(size_t)1;
        if (at + 1 < to && is_unit(f->encoding, text.p + at, '\n'))
            return at;
        from = (size_t)(byte - text.p) + 1;
    }
    return SIZE_MAX;
}

/* `unit` says the same as the encoding: where it is a constant, the compiler makes one form of each
 * of these for bytes, and that is the hot path. */
static inline size_t find(const struct framer *f, struct str text, size_t from, size_t to,
                          size_t unit)
{
    if (from >= to)
        return SIZE_MAX;
    if (unit == 2)
        return find_wide(f, text, from, to);
    const char *lf = memchr(text.p + from, '\n', to - from);
    return lf != NULL ? (size_t)(lf - text.p) : SIZE_MAX;
}

static inline bool is_cr(const struct framer *f, struct str text, size_t at, size_t unit)
{
    return unit == 2 ? is_unit(f->encoding, text.p + at, '\r') : text.p[at] == '\r';
}

static inline size_t text_end(const struct framer *f, struct str text, size_t from, size_t lf,
                              size_t unit)
{
    return lf >= from + unit && is_cr(f, text, lf - unit, unit) ? lf - unit : lf;
}

size_t framer_find(const struct framer *f, struct str text, size_t from, size_t to)
{
    return find(f, text, from, to, framer_unit(f));
}

size_t framer_text_end(const struct framer *f, struct str text, size_t from, size_t lf)
{
    return text_end(f, text, from, lf, framer_unit(f));
}

size_t framer_last_end(enum shape_encoding encoding, struct str text, uint64_t offset)
{
    bool wide = encoding_is_utf16(encoding);
    for (size_t at = text.n; at > 0; at--) {
        if (!wide && text.p[at - 1] == '\n')
            return at;
        if (wide && at > 1 && (offset + at) % 2 == 0 && is_unit(encoding, text.p + at - 2, '\n'))
            return at;
    }
    return 0;
}

/* ---- passing over ---- */

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
    size_t unit = framer_unit(f), lf = framer_find(f, text, 0, text.n);
    if (lf != SIZE_MAX)
        return skipped(f, lf + unit, true, frame);
    return skipped(f, at_end ? text.n : text.n - text.n % unit, at_end, frame);
}

/* ---- lines ---- */

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

/* More than `max` bytes without LF: might it still be `max` of them, CR and LF? */
static inline bool may_be_cr(const struct framer *f, struct str text, size_t max, size_t n,
                             size_t unit)
{
    return n < max + unit || (n < max + 2 * unit && is_cr(f, text, max, unit));
}

static inline enum frame_result next_line(struct framer *f, struct str text, size_t max,
                                          bool at_end, struct frame *frame, size_t unit)
{
    max -= max % unit;
    size_t n = max < SIZE_MAX - 2 * unit ? min_size(text.n, max + 2 * unit) : text.n;
    size_t lf = find(f, text, f->looked, n, unit);
    if (lf != SIZE_MAX) {
        size_t data_n = text_end(f, text, 0, lf, unit);
        if (data_n > max)
            return oversize(f, text, max, frame);
        return record(f, text, data_n, lf + unit, frame);
    }
    if (n > max && (at_end || !may_be_cr(f, text, max, n, unit)))
        return oversize(f, text, max, frame);
    if (at_end && n > 0)
        return record(f, text, n, n, frame);
    f->looked = n - n % unit;
    *frame = (struct frame){.used = 0};
    return FRAME_MORE;
}

enum frame_result framer_line(struct framer *f, struct str text, size_t max, bool at_end,
                              struct frame *frame)
{
    if (f->skipping)
        return skip_line(f, text, at_end, frame);
    if (encoding_is_utf16(f->encoding))
        return next_line(f, text, max, at_end, frame, 2);
    return next_line(f, text, max, at_end, frame, 1);
}
