/* json.h - writing JSON into a buf, and walking JSON text without building a tree.
 *
 * Writing. json_put_string appends a quoted string. What is not UTF-8 (RFC 3629: no surrogates, no
 * overlong forms, nothing past U+10FFFF) becomes U+FFFD, one for each maximal invalid run as the
 * Unicode standard recommends ("substitution of maximal subparts"); the number of replacements is
 * returned, so that the caller can count them. Control characters, quote and backslash are escaped
 * (\b \f \n \r \t where they exist, \u00XX otherwise); everything else, DEL and non-ASCII
 * included, passes as it is. On the hot path: plain ASCII runs are copied in one go. When the buf
 * fails, nothing of the string stays in it.
 *
 * Walking. A struct json_scan is a pull parser over borrowed text: RFC 8259, nothing looser (no
 * comments, no trailing commas, no NaN), strings must be valid UTF-8, escapes valid (a lone
 * surrogate escape \ud800 is allowed by the grammar and passes), depth at most JSON_DEPTH_MAX. It
 * allocates nothing and is linear in the text.
 *
 *   struct json_scan s;  json_scan_init(&s, text);
 *   while ((t = json_scan_next(&s)) > JSON_END) ...
 *
 * Tokens come in document order: for an object JSON_OBJECT, then for each member JSON_KEY and the
 * value's token(s), then JSON_CLOSE; an array likewise without keys. `s.token` is the text of the
 * token: for keys and strings what stands between the quotes, still escaped; for numbers, true,
 * false and null the bytes themselves; for others the bracket. `s.escaped` says whether a string
 * or key holds a backslash. After the one top-level value only white space may follow; then
 * JSON_END. JSON_BAD is sticky; s.at is the offset where the text went wrong. json_scan_skip,
 * called right after JSON_OBJECT or JSON_ARRAY, moves past its JSON_CLOSE; it returns JSON_CLOSE
 * or JSON_BAD. The enumerators share names with jansson's: no file can include both.
 *
 * json_valid: true if `text` is exactly one JSON value; *bad_at (may be NULL) gets the offset if
 * not.
 *
 * Splitting. json_split_next walks the elements of one array, the whole text, and needs nothing but
 * an offset between two calls, 0 at first; so a caller whose ring is full remembers that and goes
 * on later, even if the text has moved in memory:
 *
 *   size_t at = 0;  struct str element;
 *   while (json_split_next(text, &at, &element) == JSON_SPLIT_ELEMENT)
 *       ...                        at == text.n: this was the last one
 *
 * It validates as it goes: element is one JSON value without blanks around it, and what stands
 * between it and the next is right too; nested arrays are elements. JSON_SPLIT_END: there are no
 * more, as in an empty array. JSON_SPLIT_BAD: *at is the offset where it went wrong; the elements
 * before have been given, so who wants all or nothing asks json_valid first. json_is_array: the
 * first byte that is not blank is a bracket; it says nothing of the rest.
 *
 * json_unescape: the text of a string token (escapes undone, surrogate pairs joined, lone ones as
 * U+FFFD) appended to `out`.
 */
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include "lib/buf.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define JSON_DEPTH_MAX 512 /* hostile nesting costs a bit a level, not stack */

enum json_token {
    JSON_BAD = -1,
    JSON_END = 0,
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_CLOSE,
    JSON_KEY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};

enum json_split { JSON_SPLIT_BAD = -1, JSON_SPLIT_END = 0, JSON_SPLIT_ELEMENT };

struct json_scan {
    struct str text;
    size_t at; /* offset of the next byte to look at */
    struct str token;
    bool escaped;
    unsigned depth;
    int state;                              /* what may come next; private */
    uint64_t in_array[JSON_DEPTH_MAX / 64]; /* one bit a level; private */
};

unsigned json_put_string(struct buf *b, struct str s);

void json_scan_init(struct json_scan *s, struct str text);
enum json_token json_scan_next(struct json_scan *s);
enum json_token json_scan_skip(struct json_scan *s);
bool json_valid(struct str text, size_t *bad_at);
bool json_is_array(struct str text);
enum json_split json_split_next(struct str text, size_t *at, struct str *element);
void json_unescape(struct buf *out, struct str token);

size_t json_plain_run(const char *p, size_t n);

#if defined(__SSE2__)
#define JSON_BLOCK 16

/* A bit for each byte that is not plain. Compared as signed, bytes from 0x80 are below 0x20 too. */
static inline unsigned json_special_16(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i odd = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));
    odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
    odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
    return (unsigned)_mm_movemask_epi8(odd);
}

#endif

/* The length of the run at p that needs no care: ASCII without controls, quote and backslash. Most
 * end within a block. */
static inline size_t json_plain_len(const char *p, size_t n)
{
#if defined(__SSE2__)
    unsigned special = n >= JSON_BLOCK ? json_special_16(p) : 0;
    if (special != 0)
        return (size_t)__builtin_ctz(special);
#endif
    return json_plain_run(p, n);
}

/* The length in bytes of the valid UTF-8 at p (n >= 1): 1..4; 0 if invalid, and then *bad_n is the
 * length of the maximal invalid subpart to replace. */
size_t json_utf8_len(const char *p, size_t n, size_t *bad_n);

#endif
