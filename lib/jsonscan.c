/* The scanner is a small machine: `state` says what may come next, the stack of open brackets is
 * one bit a level, and each call moves over blanks, one comma or colon, and one token. Strings are
 * the bulk of real text; they are passed over in runs.
 *
 * Anything the grammar does not allow ends in JSON_BAD: `at` stays where it went wrong and every
 * later call says the same. Text that stops too early goes wrong at its end.
 */
#include "lib/json.h"

enum {
    WANT_VALUE,
    WANT_VALUE_OR_CLOSE,
    WANT_KEY,
    WANT_KEY_OR_CLOSE,
    WANT_COLON,
    WANT_MORE,
    DONE,
    BAD
};

void json_scan_init(struct json_scan *s, struct str text)
{
    s->text = text;
    s->at = 0;
    s->token = (struct str){text.p, 0};
    s->escaped = false;
    s->depth = 0;
    s->state = WANT_VALUE;
}

static enum json_token bad(struct json_scan *s, size_t at)
{
    s->at = at;
    s->token = (struct str){s->text.p, 0};
    s->state = BAD;
    return JSON_BAD;
}

/* The next byte, or -1 at the end. */
static int peek(const struct json_scan *s)
{
    return s->at < s->text.n ? (unsigned char)s->text.p[s->at] : -1;
}

static void skip_run_of_blanks(struct json_scan *s)
{
    for (; s->at < s->text.n; s->at++) {
        char c = s->text.p[s->at];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
            return;
    }
}

/* Mostly there are none. */
static inline void skip_blanks(struct json_scan *s)
{
    if (s->at < s->text.n && (unsigned char)s->text.p[s->at] <= ' ')
        skip_run_of_blanks(s);
}

static void after_value(struct json_scan *s)
{
    s->state = s->depth > 0 ? WANT_MORE : DONE;
}

static bool in_array(const struct json_scan *s)
{
    unsigned level = s->depth - 1;
    return (s->in_array[level / 64] >> (level % 64) & 1) != 0;
}

static enum json_token open_bracket(struct json_scan *s, bool array)
{
    if (s->depth == JSON_DEPTH_MAX)
        return bad(s, s->at);
    unsigned level = s->depth++;
    uint64_t bit = UINT64_C(1) << (level % 64);
    if (level % 64 == 0)
        s->in_array[level / 64] =
            0; /* init leaves the stack alone; a word is cleared when reached */
    if (array)
        s->in_array[level / 64] |= bit;
    else
        s->in_array[level / 64] &= ~bit;
    s->token = (struct str){s->text.p + s->at++, 1};
    s->state = array ? WANT_VALUE_OR_CLOSE : WANT_KEY_OR_CLOSE;
    return array ? JSON_ARRAY : JSON_OBJECT;
}

static enum json_token close_bracket(struct json_scan *s)
{
    if (s->text.p[s->at] != (in_array(s) ? ']' : '}'))
        return bad(s, s->at);
    s->token = (struct str){s->text.p + s->at++, 1};
    s->depth--;
    after_value(s);
    return JSON_CLOSE;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The offset past the escape whose backslash is at `at`, or 0 with *bad_at set. */
static size_t past_escape(struct str t, size_t at, size_t *bad_at)
{
    if (++at < t.n && t.p[at] != '\0' && strchr("\"\\/bfnrt", t.p[at]) != NULL)
        return at + 1;
    if (at < t.n && t.p[at] == 'u') {
        size_t end = at + 5;
        do
            at++;
        while (at < t.n && at < end && is_hex(t.p[at]));
        if (at == end)
            return at;
    }
    *bad_at = min_size(at, t.n);
    return 0;
}

/* At a quote. Moves past the closing one and sets token and escaped; false after bad(). */
static bool scan_string(struct json_scan *s)
{
    struct str t = s->text;
    size_t begin = s->at + 1, at = begin;
    bool escaped = false;
    for (;;) {
        at += json_plain_len(t.p + at, t.n - at);
        if (at == t.n || (unsigned char)t.p[at] < 0x20) {
            bad(s, at);
            return false;
        }
        if (t.p[at] == '"')
            break;
        size_t bad_n = 0, bad_at = at;
        size_t next;
        if (t.p[at] == '\\') {
            next = past_escape(t, at, &bad_at);
            escaped = true;
        } else {
            size_t len = json_utf8_len(t.p + at, t.n - at, &bad_n);
            next = len > 0 ? at + len : 0;
        }
        if (next == 0) {
            bad(s, bad_at);
            return false;
        }
        at = next;
    }
    s->token = (struct str){t.p + begin, at - begin};
    s->escaped = escaped;
    s->at = at + 1;
    return true;
}

static enum json_token scan_key(struct json_scan *s)
{
    if (peek(s) != '"')
        return bad(s, s->at);
    if (!scan_string(s))
        return JSON_BAD;
    s->state = WANT_COLON;
    return JSON_KEY;
}

/* Moves *at over digits; false if there is none. */
static bool digits(struct str t, size_t *at)
{
    size_t begin = *at;
    while (*at < t.n && t.p[*at] >= '0' && t.p[*at] <= '9')
        ++*at;
    return *at > begin;
}

static enum json_token scan_number(struct json_scan *s)
{
    struct str t = s->text;
    size_t at = s->at + (t.p[s->at] == '-');
    if (at < t.n && t.p[at] == '0')
        at++; /* no digit may follow: whatever wants to be next will refuse it */
    else if (!digits(t, &at))
        return bad(s, at);
    if (at < t.n && t.p[at] == '.' && (at++, !digits(t, &at)))
        return bad(s, at);
    if (at < t.n && (t.p[at] == 'e' || t.p[at] == 'E')) {
        at++;
        if (at < t.n && (t.p[at] == '+' || t.p[at] == '-'))
            at++;
        if (!digits(t, &at))
            return bad(s, at);
    }
    s->token = (struct str){t.p + s->at, at - s->at};
    s->at = at;
    after_value(s);
    return JSON_NUMBER;
}

static enum json_token scan_word(struct json_scan *s, struct str word, enum json_token token)
{
    size_t i = 0;
    while (i < word.n && s->at + i < s->text.n && s->text.p[s->at + i] == word.p[i])
        i++;
    if (i < word.n)
        return bad(s, s->at + i);
    s->token = (struct str){s->text.p + s->at, word.n};
    s->at += word.n;
    after_value(s);
    return token;
}

static enum json_token scan_value(struct json_scan *s)
{
    switch (peek(s)) {
    case '"':
        if (!scan_string(s))
            return JSON_BAD;
        after_value(s);
        return JSON_STRING;
    case '{':
        return open_bracket(s, false);
    case '[':
        return open_bracket(s, true);
    case 't':
        return scan_word(s, STR("true"), JSON_TRUE);
    case 'f':
        return scan_word(s, STR("false"), JSON_FALSE);
    case 'n':
        return scan_word(s, STR("null"), JSON_NULL);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return scan_number(s);
    default:
        return bad(s, s->at);
    }
}

/* A comma and the next member or element, or the closing bracket. */
static enum json_token scan_more(struct json_scan *s)
{
    int c = peek(s);
    if (c == ']' || c == '}')
        return close_bracket(s);
    if (c != ',')
        return bad(s, s->at);
    s->at++;
    skip_blanks(s);
    return in_array(s) ? scan_value(s) : scan_key(s);
}

enum json_token json_scan_next(struct json_scan *s)
{
    if (s->state == BAD)
        return JSON_BAD;
    skip_blanks(s);
    int c = peek(s);
    switch (s->state) {
    case WANT_MORE:
        return scan_more(s);
    case WANT_COLON:
        if (c != ':')
            return bad(s, s->at);
        s->at++;
        skip_blanks(s);
        return scan_value(s);
    case WANT_KEY_OR_CLOSE:
        return c == '}' ? close_bracket(s) : scan_key(s);
    case WANT_VALUE_OR_CLOSE:
        return c == ']' ? close_bracket(s) : scan_value(s);
    case DONE:
        s->token = (struct str){s->text.p, 0};
        return c < 0 ? JSON_END : bad(s, s->at);
    default:
        return scan_value(s);
    }
}

enum json_token json_scan_skip(struct json_scan *s)
{
    assert(s->state == BAD || s->depth > 0);
    unsigned outside = s->depth - 1;
    enum json_token t;
    do
        t = json_scan_next(s);
    while (t > JSON_END && s->depth > outside);
    return t;
}

bool json_valid(struct str text, size_t *bad_at)
{
    struct json_scan s;
    json_scan_init(&s, text);
    enum json_token t;
    do
        t = json_scan_next(&s);
    while (t > JSON_END);
    if (t == JSON_BAD && bad_at != NULL)
        *bad_at = s.at;
    return t == JSON_END;
}

/* ---- splitting ---- */

bool json_is_array(struct str text)
{
    struct json_scan s;
    json_scan_init(&s, text);
    skip_blanks(&s);
    return peek(&s) == '[';
}

/* Stands behind an element that ended well: moves to the next one, or to the end of the text. */
static bool pass_separator(struct json_scan *s)
{
    skip_blanks(s);
    if (peek(s) != ',')
        return json_scan_next(s) == JSON_CLOSE && json_scan_next(s) == JSON_END;
    s->at++;
    skip_blanks(s);
    return s->at < s->text.n; /* a comma at the very end would look like the end of the array */
}

/* At the first byte of an element, or where there is none. False after bad(). */
static bool enter_array(struct json_scan *s, size_t at)
{
    if (at == 0) {
        if (json_scan_next(s) != JSON_ARRAY) {
            bad(s, s->state == BAD ? s->at : 0);
            return false;
        }
        skip_blanks(s);
        return true;
    }
    s->at = at;
    s->depth = 1;
    s->in_array[0] = 1;
    s->state = WANT_VALUE;
    return true;
}

enum json_split json_split_next(struct str text, size_t *at, struct str *element)
{
    if (*at > 0 && *at >= text.n)
        return JSON_SPLIT_END;
    struct json_scan s;
    json_scan_init(&s, text);
    enum json_token t = JSON_BAD;
    if (enter_array(&s, *at)) {
        *at = s.at;
        t = json_scan_next(&s);
    }
    struct str found = {text.p + *at, 0};
    bool none = t == JSON_CLOSE;
    if (t == JSON_OBJECT || t == JSON_ARRAY)
        t = json_scan_skip(&s);
    found.n = s.at - *at;
    bool good = none ? json_scan_next(&s) == JSON_END : t != JSON_BAD && pass_separator(&s);
    *at = s.at;
    if (!good)
        return JSON_SPLIT_BAD;
    if (none)
        return JSON_SPLIT_END;
    *element = found;
    return JSON_SPLIT_ELEMENT;
}

/* ---- unescaping ---- */

/* The value of four hex digits at p, or -1. */
static long four_hex(const char *p, size_t n)
{
    long value = 0;
    for (size_t i = 0; i < 4; i++) {
        if (i >= n || !is_hex(p[i]))
            return -1;
        int digit = p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10;
        value = value << 4 | digit;
    }
    return value;
}

static void put_utf8(struct buf *out, unsigned long c)
{
    if (c < 0x80)
        buf_putc(out, (char)c);
    else if (c < 0x800)
        buf_put(out, (char[]){(char)(0xc0 | c >> 6), (char)(0x80 | (c & 63))}, 2);
    else if (c < 0x10000)
        buf_put(
            out,
            (char[]){(char)(0xe0 | c >> 12), (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63))},
            3);
    else
        buf_put(out,
                (char[]){(char)(0xf0 | c >> 18), (char)(0x80 | (c >> 12 & 63)),
                         (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63))},
                4);
}

/* What \uXXXX means, p behind the u; returns how many bytes behind the u were used. */
static size_t unescape_u(struct buf *out, const char *p, size_t n)
{
    long c = four_hex(p, n);
    if (c < 0) {
        put_utf8(out, 0xfffd);
        return 0;
    }
    if (c < 0xd800 || c > 0xdfff) {
        put_utf8(out, (unsigned long)c);
        return 4;
    }
    long low = c < 0xdc00 && n >= 10 && p[4] == '\\' && p[5] == 'u' ? four_hex(p + 6, n - 6) : -1;
    if (low < 0xdc00 || low > 0xdfff) {
        put_utf8(out, 0xfffd); /* half a pair; what follows it stands for itself */
        return 4;
    }
    put_utf8(out, 0x10000 + ((unsigned long)(c - 0xd800) << 10) + (unsigned long)(low - 0xdc00));
    return 10;
}

void json_unescape(struct buf *out, struct str token)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    size_t at = 0;
    while (at < token.n) {
        const char *slash = memchr(token.p + at, '\\', token.n - at);
        size_t run = slash != NULL ? (size_t)(slash - token.p) - at : token.n - at;
        buf_put(out, token.p + at, run);
        at += run + 1;
        if (slash == NULL)
            return;
        char c = at < token.n ? token.p[at++] : '\0';
        const char *known = c != '\0' ? strchr(from, c) : NULL;
        if (known != NULL)
            buf_putc(out, to[known - from]);
        else if (c == 'u')
            at += unescape_u(out, token.p + at, token.n - at);
        else
            put_utf8(out, 0xfffd);
    }
}
