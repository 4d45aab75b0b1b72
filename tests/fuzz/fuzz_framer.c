/* The first byte and two are the limit, the second says how many bytes arrive at a time, and the
 * encoding; lines must not depend on
 * the latter, and every byte is used once. */
#include "lib/framer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct digest {
    uint64_t value;
    size_t records, cut, data_n, dropped;
};

static void stir(struct digest *d, struct str s, enum frame_result what)
{
    d->value = (d->value ^ (uint64_t)what) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < s.n; i++)
        d->value = (d->value ^ (uint8_t)s.p[i]) * UINT64_C(0x100000001b3);
    d->data_n += s.n;
}

static struct digest read_all(struct str text, enum shape_encoding encoding, size_t max,
                              size_t step)
{
    struct framer f;
    struct digest d = {0};
    size_t at = 0, seen = 0;
    framer_reset(&f, false);
    f.encoding = encoding;
    for (;;) {
        struct frame frame;
        struct str part = {text.p + at, seen - at};
        bool at_end = seen == text.n;
        enum frame_result got = framer_line(&f, part, max, at_end, &frame);
        assert(frame.used <= part.n && frame.data.n <= max);
        at += frame.used;
        if (got == FRAME_RECORD || got == FRAME_OVERSIZE) {
            assert(frame.data.p == part.p && frame.data.n <= frame.used);
            assert(got == FRAME_RECORD || f.skipping);
            stir(&d, frame.data, got);
            d.records += got == FRAME_RECORD;
            d.cut += got == FRAME_OVERSIZE;
        } else if (got == FRAME_SKIPPED) {
            assert(frame.used > 0 && frame.data.n == 0);
            d.dropped += frame.used;
        } else if (at_end) {
            break;
        } else {
            assert(frame.used == 0 && part.n < max + 2 * framer_unit(&f));
            seen = min_size(text.n, seen + step);
        }
    }
    assert(at == text.n);
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str text = {(const char *)data + 2, size - 2};
    enum shape_encoding encoding = (enum shape_encoding)(data[1] / 16 % 4);
    size_t max = 2 + (size_t)data[0];
    struct digest whole = read_all(text, encoding, max, size);
    struct digest parts = read_all(text, encoding, max, 1 + data[1] % 16u);
    assert(whole.value == parts.value && whole.records == parts.records);
    assert(whole.cut == parts.cut && whole.data_n == parts.data_n);
    assert(whole.dropped == parts.dropped);
    return 0;
}
