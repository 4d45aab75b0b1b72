/* Writing a string: find the run of plain bytes, copy it whole, deal with the one byte that stopped
 * it (escape it, copy a multi-byte character, or replace what is not UTF-8), and go on. Most
 * strings are one run, so the search is done many bytes at a time.
 *
 * The text is hostile: it is checked against RFC 3629 byte by byte, so the output is valid UTF-8
 * and valid JSON whatever came in. The only failure is the buf's; a string is then not half
 * written.
 */
#include "lib/json.h"

static bool plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

#if defined(__SSE2__)
#define BLOCK JSON_BLOCK

static size_t plain_blocks(const char *p, size_t n)
{
    size_t at = 0;
    for (; n - at >= BLOCK; at += BLOCK) {
        unsigned special = json_special_16(p + at);
        if (special != 0)
            return at + (size_t)__builtin_ctz(special);
    }
    if (at < n && n >= BLOCK) { /* the rest, by a last block that overlaps */
        unsigned special = json_special_16(p + n - BLOCK);
        return special != 0 ? n - BLOCK + (size_t)__builtin_ctz(special) : n;
    }
    return at;
}
#else
#define BLOCK      8
#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Not 0 if any of the eight bytes is not plain; which one is left to the caller. */
static inline uint64_t special_8(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    uint64_t quote = v ^ EACH('"'), slash = v ^ EACH('\\');
    uint64_t below = (v - EACH(0x20)) | (quote - EACH(1)) | (slash - EACH(1));
    return (below | v) & EACH(0x80);
}

static size_t plain_blocks(const char *p, size_t n)
{
    size_t at = 0;
    while (n - at >= BLOCK && special_8(p + at) == 0)
        at += BLOCK;
    return at;
}
#endif

size_t json_plain_run(const char *p, size_t n)
{
    size_t at = n >= BLOCK ? plain_blocks(p, n) : 0;
    while (at < n && plain((unsigned char)p[at]))
        at++;
    return at;
}

/* The bounds of the second byte depend on the first: that is what keeps out overlong forms (E0,
 * F0), surrogates (ED) and what is past U+10FFFF (F4). Table 3-7 of the Unicode standard. */
static size_t lead_of(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    *high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    return c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

size_t json_utf8_len(const char *p, size_t n, size_t *bad_n)
{
    unsigned char low, high;
    size_t len = lead_of((unsigned char)p[0], &low, &high);
    size_t good = 1;
    while (good < len && good < n && (unsigned char)p[good] >= low &&
           (unsigned char)p[good] <= high) {
        good++;
        low = 0x80;
        high = 0xbf;
    }
    if (good == len)
        return len;
    *bad_n = good;
    return 0;
}

static void put_escape(struct buf *b, unsigned char c)
{
    static const char hex[16] = {'0', '1', '2', '3', '4', '5', '6', '7',
                                 '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'};
    char letter = c == '"' || c == '\\' ? (char)c
                  : c == '\b'           ? 'b'
                  : c == '\f'           ? 'f'
                  : c == '\n'           ? 'n'
                  : c == '\r'           ? 'r'
                  : c == '\t'           ? 't'
                                        : '\0';
    if (letter != '\0')
        buf_put(b, (char[]){'\\', letter}, 2);
    else
        buf_put(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

/* Appends what stands at p (n > 0, and it is not plain) and returns how many bytes that was. */
static size_t put_special(struct buf *b, const char *p, size_t n, unsigned *replaced)
{
    if ((unsigned char)p[0] < 0x80) {
        put_escape(b, (unsigned char)p[0]);
        return 1;
    }
    size_t bad_n = 0;
    size_t len = json_utf8_len(p, n, &bad_n);
    if (len > 0) {
        buf_put(b, p, len);
        return len;
    }
    buf_put(b, "\xef\xbf\xbd", 3);
    ++*replaced;
    return bad_n;
}

unsigned json_put_string(struct buf *b, struct str s)
{
    size_t begin = b->n;
    unsigned replaced = 0;
    size_t run = json_plain_len(s.p, s.n);
    char *to = buf_reserve(b, run + 2);
    if (to == NULL)
        return 0;
    *to++ = '"';
    if (run > 0)
        memcpy(to, s.p, run);
    b->n += run + 1;
    for (size_t at = run; at < s.n && !b->failed; at += run) {
        at += put_special(b, s.p + at, s.n - at, &replaced);
        run = json_plain_len(s.p + at, s.n - at);
        buf_put(b, s.p + at, run);
    }
    buf_putc(b, '"');
    if (b->failed)
        b->n = begin;
    return replaced;
}
