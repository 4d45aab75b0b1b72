/* A pattern, a line feed, a text: what can be read prints, and prints the same when read again. */
#include "lib/timefmt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct timefmt_time *a, const struct timefmt_time *b)
{
    return a->year == b->year && a->month == b->month && a->day == b->day && a->hour == b->hour &&
           a->minute == b->minute && a->second == b->second && a->has_zone == b->has_zone &&
           a->zone_minutes == b->zone_minutes && a->nanos == b->nanos;
}

static void check(const struct timefmt *f, const struct timefmt_time *t)
{
    assert(t->year >= 1 && t->year <= 9999 && t->month >= 1 && t->month <= 12);
    assert(t->day >= 1 && t->day <= 31 && t->hour < 24 && t->minute < 60 && t->second <= 60);
    assert(t->nanos < 1000000000 && t->zone_minutes > -1440 && t->zone_minutes < 1440);
    assert(t->has_zone || t->zone_minutes == 0);
    struct timefmt full;
    struct timefmt_time again;
    struct buf b;
    buf_init(&b, 64 * KIB);
    timefmt_print(f, t, &b); /* only must not fail: a pattern may print too little to read */
    buf_reset(&b);
    assert(timefmt_compile(&full, t->has_zone ? "%F %T%.f %z" : "%F %T%.f", NULL) == 0);
    timefmt_print(&full, t, &b);
    assert(timefmt_parse(&full, buf_str(&b), &again) == 0 && same(t, &again));
    buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char pattern[128];
    const uint8_t *lf = size > 0 ? memchr(data, '\n', size) : NULL;
    if (lf == NULL || (size_t)(lf - data) >= sizeof pattern)
        return 0;
    size_t n = (size_t)(lf - data);
    memcpy(pattern, data, n);
    pattern[n] = '\0';
    struct timefmt f;
    struct timefmt_time t;
    struct err e;
    if (timefmt_compile(&f, pattern, &e) != 0)
        return 0;
    assert(f.n <= TIMEFMT_OPS_MAX);
    if (timefmt_parse(&f, (struct str){(const char *)lf + 1, size - n - 1}, &t) == 0)
        check(&f, &t);
    return 0;
}
