/* The first byte says which encoding, the second how much room a cut may have. What comes out is
 * UTF-8 unless it came in as such, within the growth that is promised; cut in two between
 * characters, both parts make the same text; and the first part fits. */
#include "lib/encoding.h"
#include "lib/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_utf8(struct str s)
{
    while (s.n > 0) {
        size_t bad_n, n = json_utf8_len(s.p, s.n, &bad_n);
        if (n == 0)
            return false;
        s.p += n;
        s.n -= n;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    enum shape_encoding from = (enum shape_encoding)(data[0] % 4);
    struct str text = {(const char *)data + 2, size - 2};
    struct buf whole, parts;
    buf_init(&whole, size * ENCODING_GROWTH + 1);
    buf_init(&parts, size * ENCODING_GROWTH + 8);
    unsigned replaced = encoding_to_utf8(&whole, text, from);
    assert(!whole.failed && whole.n <= text.n * ENCODING_GROWTH + 1);
    assert(from == ENCODING_UTF8 || is_utf8(buf_str(&whole)));
    assert(encoding_is_utf16(from) || replaced == 0);

    size_t room = data[1], cut = encoding_fit(text, from, room);
    assert(cut <= text.n);
    unsigned again = encoding_to_utf8(&parts, (struct str){text.p, cut}, from);
    assert(parts.n <= room);
    again += encoding_to_utf8(&parts, (struct str){text.p + cut, text.n - cut}, from);
    assert(again == replaced && str_eq(buf_str(&parts), buf_str(&whole)));
    buf_release(&whole);
    buf_release(&parts);
    return 0;
}
