#include "lib/values.h"

#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

struct str value_trim(struct str s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

static struct str take_digits(struct str *s)
{
    size_t n = 0;
    while (n < s->n && is_digit(s->p[n]))
        n++;
    struct str digits = {s->p, n};
    s->p += n;
    s->n -= n;
    return digits;
}

static bool take_char(struct str *s, char c)
{
    if (s->n == 0 || s->p[0] != c)
        return false;
    s->p++;
    s->n--;
    return true;
}

static bool take_sign(struct str *s)
{
    bool negative = take_char(s, '-');
    if (!negative)
        take_char(s, '+');
    return negative;
}

/* JSON allows no leading zero, but for zero itself. */
static void put_whole(struct buf *b, bool negative, struct str digits)
{
    if (negative)
        buf_putc(b, '-');
    while (digits.n > 1 && digits.p[0] == '0') {
        digits.p++;
        digits.n--;
    }
    if (digits.n == 0)
        buf_putc(b, '0');
    else
        buf_put(b, digits.p, digits.n);
}

bool value_put_int(struct buf *b, struct str s)
{
    bool negative = take_sign(&s);
    struct str digits = take_digits(&s);
    if (digits.n == 0 || s.n > 0)
        return false;
    put_whole(b, negative, digits);
    return true;
}

bool value_put_double(struct buf *b, struct str s)
{
    bool negative = take_sign(&s);
    struct str whole = take_digits(&s), fraction = {0}, exponent = s;
    bool point = take_char(&s, '.');
    if (point) {
        fraction = take_digits(&s);
        exponent = s;
    }
    if (whole.n + fraction.n == 0)
        return false;
    if (s.n > 0) {
        if (!take_char(&s, 'e') && !take_char(&s, 'E'))
            return false;
        take_sign(&s);
        if (take_digits(&s).n == 0 || s.n > 0)
            return false;
    }
    put_whole(b, negative, whole);
    if (point) {
        buf_putc(b, '.');
        buf_put(b, fraction.n > 0 ? fraction.p : "0", fraction.n > 0 ? fraction.n : 1);
    }
    buf_put(b, exponent.p, exponent.n);
    return true;
}

bool value_put_bool(struct buf *b, struct str s)
{
    static const char *const yes[] = {"true", "t", "yes", "y", "1"};
    static const char *const no[] = {"false", "f", "no", "n", "0"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (s.n == strlen(yes[i]) && strncasecmp(s.p, yes[i], s.n) == 0) {
            buf_put(b, "true", 4);
            return true;
        }
        if (s.n == strlen(no[i]) && strncasecmp(s.p, no[i], s.n) == 0) {
            buf_put(b, "false", 5);
            return true;
        }
    }
    return false;
}
