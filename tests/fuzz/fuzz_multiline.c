/* The first byte and two are the limit, the second how many bytes arrive at a time, the third
 * chooses the pattern, the encoding and the most lines. Events must not depend on how the bytes
 * arrive. With timeouts they do; but then too every byte is used once, by an event, an empty line
 * or a skip. */
#include "lib/multiline.h"
#include "lib/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct digest {
    uint64_t value;
    size_t events, cut, data_n, dropped;
};

static void stir(struct digest *d, struct str s, enum frame_result what)
{
    d->value = (d->value ^ (uint64_t)what) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < s.n; i++)
        d->value = (d->value ^ (uint8_t)s.p[i]) * UINT64_C(0x100000001b3);
    d->data_n += s.n;
}

struct reading {
    struct multiline *m;
    enum shape_encoding encoding;
    size_t max, step;
    struct rng *impatience; /* NULL: events never time out */
};

static struct digest read_all(const struct reading *r, struct str text)
{
    struct framer f;
    struct digest d = {0};
    size_t at = 0, seen = 0, unit = encoding_is_utf16(r->encoding) ? 2 : 1;
    framer_reset(&f, false);
    f.encoding = r->encoding;
    for (;;) {
        struct frame frame;
        struct str part = {text.p + at, seen - at};
        enum multiline_wait wait = seen == text.n ? MULTILINE_END : MULTILINE_WAIT;
        if (r->impatience != NULL && wait == MULTILINE_WAIT)
            wait = (enum multiline_wait)rng_below(r->impatience, f.skipping ? 2 : 3);
        enum frame_result got = multiline_next(r->m, &f, part, r->max, wait, &frame);
        assert(got != FRAME_NOMEM);
        assert(frame.used <= part.n && frame.data.n <= r->max);
        at += frame.used;
        if (got == FRAME_RECORD || got == FRAME_OVERSIZE) {
            assert(frame.used > 0 && frame.data.p == part.p && frame.data.n <= frame.used);
            assert(got == FRAME_RECORD || f.skipping);
            stir(&d, frame.data, got);
            d.events += got == FRAME_RECORD;
            d.cut += got == FRAME_OVERSIZE;
        } else if (got == FRAME_SKIPPED) {
            assert(frame.used > 0 && frame.data.n == 0);
            d.dropped += frame.used;
        } else if (seen == text.n) {
            break;
        } else {
            assert(frame.used == 0 && part.n < r->max + 2 * unit);
            seen = min_size(text.n, seen + r->step);
        }
    }
    assert(at == text.n);
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char *const patterns[] = {(char *)"[0-9]", (char *)"\\s|$", (char *)"(a+)+$",
                                     (char *)"(*UTF)\\x{e9}"};
    if (size < 3)
        return 0;
    char *pattern = patterns[data[2] % 4];
    struct multiline_spec spec = {.max_lines = 1 + data[2] / 32};
    *(data[2] & 4 ? &spec.continues : &spec.start) = pattern;
    struct rng rng;
    rng_seed(&rng, data[1]);
    struct reading r = {.m = multiline_new(&spec, NULL),
                        .encoding = (enum shape_encoding)(data[2] / 8 % 4),
                        .max = 2 + data[0],
                        .step = size};
    assert(r.m != NULL);
    struct str text = {(const char *)data + 3, size - 3};
    struct digest whole = read_all(&r, text);
    r.step = 1 + data[1] % 16u;
    struct digest parts = read_all(&r, text);
    assert(whole.value == parts.value && whole.events == parts.events);
    assert(whole.cut == parts.cut && whole.data_n == parts.data_n);
    assert(whole.dropped == parts.dropped);
    r.impatience = &rng;
    read_all(&r, text);
    multiline_free(r.m);
    return 0;
}
