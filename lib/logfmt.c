/* The line is walked pair by pair. Values are borrowed; only one in quotes with a backslash in it
 * is written anew, into scratch, which has been given room for the whole line first, because
 * undoing an escape never makes a text longer.
 *
 * Repeated keys are rare: each key sets one of 64 bits, and only when its bit is set already are
 * the keys before it compared.
 */
#include "lib/logfmt.h"

#include "lib/json.h"

const char logfmt_bare[] = "true";

struct walk {
    const char *p, *end;
    struct buf *scratch;
    uint64_t seen;
    bool has_value; /* at least one '=' */
};

static bool is_blank(char c)
{
    return (unsigned char)c <= ' ';
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* How many bytes at p (a backslash) are \uXXXX, or two of them that are a pair. */
static size_t unicode_len(const char *p, const char *end)
{
    for (size_t i = 0; i < 6; i++)
        if ((size_t)(end - p) <= i || !(i == 0   ? p[i] == '\\'
                                        : i == 1 ? p[i] == 'u'
                                                 : is_hex(p[i])))
            return 0;
    bool high = (p[2] | 0x20) == 'd' && strchr("89abAB", p[3]) != NULL;
    return high && unicode_len(p + 6, end) >= 6 ? 12 : 6;
}

/* JSON's escapes, undone by JSON's own reader; what is none of them is data. */
static void unescape(struct buf *out, struct str text)
{
    const char *p = text.p, *end = text.p + text.n;
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t run = (size_t)((slash != NULL ? slash : end) - p);
        buf_put(out, p, run);
        p += run;
        if (slash == NULL)
            return;
        size_t n = unicode_len(p, end);
        if (n == 0 && end - p >= 2 && p[1] != '\0' && strchr("\"\\/bfnrt", p[1]) != NULL)
            n = 2;
        if (n > 0)
            json_unescape(out, (struct str){p, n});
        else
            buf_putc(out, '\\');
        p += n > 0 ? n : 1;
    }
}

/* Behind the opening quote. */
static bool take_quoted(struct walk *w, struct str *value)
{
    const char *begin = w->p;
    bool escaped = false;
    for (; w->p < w->end && *w->p != '"'; w->p++) {
        if (*w->p != '\\')
            continue;
        escaped = true;
        if (++w->p == w->end)
            return false;
    }
    if (w->p == w->end)
        return false;
    *value = (struct str){begin, (size_t)(w->p++ - begin)};
    if (escaped) {
        size_t at = w->scratch->n;
        unescape(w->scratch, *value);
        *value = (struct str){w->scratch->p + at, w->scratch->n - at};
    }
    return w->p == w->end || is_blank(*w->p);
}

static bool take_pair(struct walk *w, struct logfmt_pair *pair)
{
    const char *begin = w->p;
    while (w->p < w->end && !is_blank(*w->p) && *w->p != '=' && *w->p != '"')
        w->p++;
    pair->key = (struct str){begin, (size_t)(w->p - begin)};
    if (pair->key.n == 0 || (w->p < w->end && *w->p == '"'))
        return false;
    if (w->p == w->end || *w->p != '=') {
        pair->value = (struct str){logfmt_bare, 4};
        return true;
    }
    w->has_value = true;
    begin = ++w->p;
    if (w->p < w->end && *w->p == '"') {
        w->p++;
        return take_quoted(w, &pair->value);
    }
    while (w->p < w->end && !is_blank(*w->p))
        w->p++;
    pair->value = (struct str){begin, (size_t)(w->p - begin)};
    return true;
}

static bool is_repeated(struct walk *w, const struct logfmt_pair *pairs, size_t n, struct str key)
{
    unsigned char first = (unsigned char)key.p[0], last = (unsigned char)key.p[key.n - 1];
    uint64_t bit = UINT64_C(1) << ((first + 3u * last + 7u * key.n) % 64);
    bool maybe = (w->seen & bit) != 0;
    w->seen |= bit;
    for (size_t i = 0; maybe && i < n; i++)
        if (str_eq(pairs[i].key, key))
            return true;
    return false;
}

enum logfmt_result logfmt_parse(struct str line, struct buf *scratch, struct logfmt_pair *pairs,
                                size_t *n)
{
    if (line.n == 0)
        return LOGFMT_NO;
    buf_reset(scratch);
    if (memchr(line.p, '\\', line.n) != NULL && buf_reserve(scratch, line.n) == NULL)
        return LOGFMT_NOMEM;
    struct walk w = {.p = line.p, .end = line.p + line.n, .scratch = scratch};
    size_t count = 0;
    for (;;) {
        while (w.p < w.end && is_blank(*w.p))
            w.p++;
        if (w.p == w.end)
            break;
        struct logfmt_pair pair;
        if (!take_pair(&w, &pair))
            return LOGFMT_NO;
        if (is_repeated(&w, pairs, count, pair.key))
            continue;
        if (count == LOGFMT_PAIRS_MAX)
            return LOGFMT_NO;
        pairs[count++] = pair;
    }
    if (!w.has_value)
        return LOGFMT_NO;
    *n = count;
    return LOGFMT_LINE;
}
