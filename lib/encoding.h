/* encoding.h - text in another encoding, as UTF-8.
 *
 * encoding_to_utf8 appends `text` to `out` as UTF-8 and returns the number of replacements: each
 * half of a surrogate pair that stands alone in UTF-16, and an odd byte at the end, become U+FFFD.
 * Latin-1 is ISO 8859-1: each byte is the character of that number, so nothing is ever replaced. A
 * byte-order mark is a character like any other here; the reader of a file passes it over.
 *
 * The room is reserved first, at most ENCODING_GROWTH times the length of the text, and so `out`
 * moves at most once in a call; if it cannot grow, `out` has failed and nothing was appended.
 * ENCODING_UTF8 copies the bytes as they are.
 */
#ifndef LIB_ENCODING_H
#define LIB_ENCODING_H

#include "lib/buf.h"

#define ENCODING_GROWTH 2 /* a byte of Latin-1 becomes two, two bytes of UTF-16 at most three */

enum shape_encoding { ENCODING_UTF8, ENCODING_LATIN1, ENCODING_UTF16LE, ENCODING_UTF16BE };

static inline bool encoding_is_utf16(enum shape_encoding e)
{
    return e == ENCODING_UTF16LE || e == ENCODING_UTF16BE;
}

unsigned encoding_to_utf8(struct buf *out, struct str text, enum shape_encoding from);
/* How many of its bytes, whole characters, become at most `room` bytes of UTF-8. */
size_t encoding_fit(struct str text, enum shape_encoding from, size_t room);

#endif
