/* The longest result is known in advance, so that room is made once and the loops only write. Runs
 * of ASCII, the bulk of real text, are copied without looking at each character's length.
 *
 * Latin-1 cannot be wrong. UTF-16 can: half a surrogate pair, or half a unit at the end, becomes
 * one U+FFFD, and what follows it stands for itself.
 */
#include "lib/encoding.h"

#define REPLACEMENT 0xfffdu

static char *put_char(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 63));
        *to++ = (char)(0x80 | (c & 63));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 63));
        *to++ = (char)(0x80 | (c >> 6 & 63));
        *to++ = (char)(0x80 | (c & 63));
    }
    return to;
}

static char *put_latin1(char *to, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (; n - i >= 8; i += 8, to += 8) {
            uint64_t eight;
            memcpy(&eight, p + i, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) != 0)
                break;
            memcpy(to, &eight, sizeof eight);
        }
        if (i < n)
            to = put_char(to, p[i]);
    }
    return to;
}

static char *put_utf16(char *to, const unsigned char *p, size_t n, unsigned low, unsigned *replaced)
{
    const unsigned high = 1 - low; /* where in a unit the high byte stands */
    for (size_t i = 0; i < n; i += 2) {
        uint32_t c = i + 1 < n ? (uint32_t)p[i + high] << 8 | p[i + low] : 0xdc00;
        if (c >= 0xd800 && c < 0xdc00 && n - i >= 4) {
            uint32_t next = (uint32_t)p[i + 2 + high] << 8 | p[i + 2 + low];
            if (next >= 0xdc00 && next < 0xe000) {
                c = 0x10000 + ((c - 0xd800) << 10) + (next - 0xdc00);
                i += 2;
            }
        }
        if (c >= 0xd800 && c < 0xe000) {
            c = REPLACEMENT;
            ++*replaced;
        }
        to = put_char(to, c);
    }
    return to;
}

unsigned encoding_to_utf8(struct buf *out, struct str text, enum shape_encoding from)
{
    unsigned replaced = 0;
    if (text.n > SIZE_MAX / ENCODING_GROWTH - 1) {
        out->failed = true;
        return 0;
    }
    /* An odd byte alone becomes three. */
    char *begin = buf_reserve(out, text.n * ENCODING_GROWTH + 1), *to = begin;
    if (begin == NULL || text.n == 0)
        return 0;
    const unsigned char *p = (const unsigned char *)text.p;
    if (from == ENCODING_LATIN1)
        to = put_latin1(to, p, text.n);
    else if (encoding_is_utf16(from))
        to = put_utf16(to, p, text.n, from == ENCODING_UTF16BE ? 1 : 0, &replaced);
    else
        to = (char *)memcpy(to, p, text.n) + text.n;
    buf_commit(out, (size_t)(to - begin));
    return replaced;
}

/* ---- cutting -------------------------------------------------------------------------------- */

/* Back to the first byte of a character, if there is one near enough: the text may be anything. */
static size_t fit_utf8(const unsigned char *p, size_t n, size_t room)
{
    if (n <= room)
        return n;
    size_t at = room;
    while (at > 0 && room - at < 4 && (p[at] & 0xc0) == 0x80)
        at--;
    return p[at] >= 0xc0 ? at : room;
}

static size_t utf8_n(uint32_t unit)
{
    return unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3;
}

size_t encoding_fit(struct str text, enum shape_encoding from, size_t room)
{
    const unsigned char *p = (const unsigned char *)text.p;
    if (from == ENCODING_UTF8)
        return fit_utf8(p, text.n, room);
    size_t at = 0, low = from == ENCODING_UTF16BE ? 1 : 0;
    while (at < text.n) {
        size_t n = 1, grown = 3;
        if (from == ENCODING_LATIN1) {
            grown = utf8_n(p[at]);
        } else if (text.n - at >= 2) {
            uint32_t c = (uint32_t)p[at + 1 - low] << 8 | p[at + low];
            bool pair =
                c >= 0xd800 && c < 0xdc00 && text.n - at >= 4 && (p[at + 3 - low] & 0xfc) == 0xdc;
            n = pair ? 4 : 2;
            grown = pair ? 4 : utf8_n(c);
        }
        if (grown > room)
            break;
        room -= grown;
        at += n;
    }
    return at;
}
