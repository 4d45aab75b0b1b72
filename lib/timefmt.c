/* A pattern becomes a short list of operations; parsing walks the list and the text side by side,
 * filling a struct of what was found, and one step at the end makes a checked time of it. Printing
 * walks the same list. Dates are proleptic Gregorian, years 1 to 9999 when parsed.
 *
 * Two ways to fail when parsing: the text does not have the form (ERR_SYNTAX, found on the way), or
 * it has, but there is no such time (ERR_RANGE, found on the way or at the end).
 */
#include "lib/timefmt.h"

#define DAY_S        86400
#define EPOCH_DIGITS 12
#define MILLI_DIGITS 15
#define PRINTED_MAX  24 /* the longest directive: %s with all its digits */

static const char *const months[12] = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December",
};
static const char *const weekdays[7] = {
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
};

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in_month(int year, int month)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && leap(year));
}

/* From 1: 1 January is 1. */
static int day_of_year(int year, int month, int day)
{
    static const uint16_t before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    return before[month - 1] + (month > 2 && leap(year)) + day;
}

/* Leap days in the years 1..year, also right (by rounding down) for years before 1. */
static int64_t leap_days(int64_t year)
{
    int64_t cycles = year >= 0 ? year / 400 : -((399 - year) / 400);
    int64_t rest = year - cycles * 400;
    return cycles * 97 + rest / 4 - rest / 100;
}

/* Days from 1970-01-01. */
static int64_t days_of(int year, int month, int day)
{
    int64_t before = (int64_t)year - 1;
    int64_t days = before * 365 + leap_days(before) + day_of_year(year, month, day) - 1;
    return days - 719162; /* 0001-01-01 to 1970-01-01 */
}

static int add_op(struct timefmt *f, char kind, char literal, struct err *e)
{
    if (f->n == TIMEFMT_OPS_MAX)
        return err_set(e, ERR_RANGE, "the time pattern has more than %d parts", TIMEFMT_OPS_MAX);
    f->ops[f->n++] = (struct timefmt_op){kind, literal};
    return 0;
}

/* One directive, or the pattern that it stands for. `at` is its offset in the user's pattern. */
static int add_directive(struct timefmt *f, char letter, size_t at, struct err *e)
{
    if (letter == '\0')
        return err_set(e, ERR_SYNTAX, "the time pattern ends in a lone %%");
    if (letter == '%')
        return add_op(f, 'L', '%', e);
    if (letter == 'n' || letter == 't')
        return add_op(f, ' ', letter == 'n' ? '\n' : '\t', e);
    if (strchr("YmdeHIMSybBhaApjfzsQ", letter) != NULL)
        return add_op(f, letter, '\0', e);
    const char *means = letter == 'T'   ? "H:M:S"
                        : letter == 'D' ? "m/d/y"
                        : letter == 'F' ? "Y-m-d"
                        : letter == 'R' ? "H:M"
                                        : NULL;
    if (means == NULL && letter > ' ' && letter < 0x7f)
        return err_set(e, ERR_SYNTAX, "the time pattern has %%%c at byte %zu, which is not known",
                       letter, at);
    if (means == NULL)
        return err_set(e, ERR_SYNTAX, "the time pattern has %% before byte 0x%02x at byte %zu",
                       (unsigned)(unsigned char)letter, at);
    int rc = 0;
    for (; rc == 0 && *means != '\0'; means++) {
        bool literal = *means == ':' || *means == '/' || *means == '-';
        rc = literal ? add_op(f, 'L', *means, e) : add_op(f, *means, '\0', e);
    }
    return rc;
}

int timefmt_compile(struct timefmt *f, const char *pattern, struct err *e)
{
    struct timefmt made = {.n = 0};
    int rc = 0;
    for (const char *p = pattern; rc == 0 && *p != '\0'; p++) {
        if (p[0] == '%' && p[1] == '.' && p[2] == 'f') {
            rc = add_op(&made, '.', '\0', e);
            p += 2;
        } else if (*p == '%') {
            rc = add_directive(&made, p[1], (size_t)(p - pattern), e);
            p++;
        } else {
            rc = add_op(&made, is_blank(*p) ? ' ' : 'L', *p, e);
        }
    }
    if (rc == 0)
        *f = made;
    return rc;
}

/* What has been read so far. hour12 and pm only count when %I came. */
struct found {
    const char *p, *end;
    int year, month, day, hour, minute, second;
    int day_of_year; /* 0: not given */
    uint32_t nanos;
    int64_t epoch_s;
    int zone_minutes;
    bool hour12, pm, has_epoch, has_zone;
};

/* 1 to `width` digits, or -1. */
static inline int read_number(struct found *in, int width)
{
    const char *p = in->p;
    const char *stop = in->end - p > width ? p + width : in->end;
    int value = 0;
    while (p < stop && *p >= '0' && *p <= '9')
        value = value * 10 + (*p++ - '0');
    if (p == in->p)
        return -1;
    in->p = p;
    return value;
}

static inline int read_into(struct found *in, int width, int low, int high, int *to)
{
    int value = read_number(in, width);
    if (value < 0)
        return ERR_SYNTAX;
    *to = value;
    return value >= low && value <= high ? 0 : ERR_RANGE;
}

static bool starts_with(const struct found *in, const char *word, size_t n)
{
    if ((size_t)(in->end - in->p) < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = in->p[i];
        char lower = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
        if (lower != (word[i] | 0x20))
            return false;
    }
    return true;
}

/* The index of the name (whole, or its first three letters) that stands here, or -1. */
static int read_name(struct found *in, const char *const *names, int n)
{
    for (int i = 0; i < n; i++) {
        if (!starts_with(in, names[i], 3))
            continue;
        size_t whole = strlen(names[i]);
        in->p += starts_with(in, names[i], whole) ? whole : 3;
        return i;
    }
    return -1;
}

static int read_pm(struct found *in)
{
    in->pm = starts_with(in, "PM", 2);
    if (!in->pm && !starts_with(in, "AM", 2))
        return ERR_SYNTAX;
    in->p += 2;
    return 0;
}

static int read_fraction(struct found *in)
{
    const char *begin = in->p;
    int value = read_number(in, 9);
    if (value < 0)
        return ERR_SYNTAX;
    in->nanos = (uint32_t)value;
    for (long i = in->p - begin; i < 9; i++)
        in->nanos *= 10;
    return 0;
}

static int read_whole_fraction(struct found *in)
{
    if (in->p == in->end || *in->p != '.')
        return 0;
    in->p++;
    return read_fraction(in);
}

static int read_epoch(struct found *in, int digits_max)
{
    bool minus = in->p < in->end && *in->p == '-';
    if (minus || (in->p < in->end && *in->p == '+'))
        in->p++;
    const char *begin = in->p;
    int64_t value = 0;
    for (; in->p < in->end && *in->p >= '0' && *in->p <= '9'; in->p++) {
        if (in->p - begin == digits_max)
            return ERR_RANGE;
        value = value * 10 + (*in->p - '0');
    }
    in->epoch_s = minus ? -value : value;
    in->has_epoch = true;
    return in->p > begin ? 0 : ERR_SYNTAX;
}

static int read_epoch_ms(struct found *in)
{
    int rc = read_epoch(in, MILLI_DIGITS);
    int64_t seconds = in->epoch_s / 1000 - (in->epoch_s % 1000 < 0);
    in->nanos = (uint32_t)(in->epoch_s - seconds * 1000) * 1000000;
    in->epoch_s = seconds;
    return rc;
}

static bool two_digits(struct found *in, int *to)
{
    const char *p = in->p;
    if (in->end - p < 2 || p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return false;
    *to = (p[0] - '0') * 10 + (p[1] - '0');
    in->p += 2;
    return true;
}

static int read_zone(struct found *in)
{
    if (in->p == in->end)
        return ERR_SYNTAX;
    char sign = *in->p++;
    int hours = 0, minutes = 0;
    if (sign != 'Z') {
        if ((sign != '+' && sign != '-') || !two_digits(in, &hours))
            return ERR_SYNTAX;
        bool colon = in->p < in->end && *in->p == ':';
        in->p += colon;
        if (!two_digits(in, &minutes) && colon)
            return ERR_SYNTAX;
    }
    in->zone_minutes = (sign == '-' ? -1 : 1) * (hours * 60 + minutes);
    in->has_zone = true;
    return hours < 24 && minutes < 60 ? 0 : ERR_RANGE;
}

static int read_blanks(struct found *in)
{
    while (in->p < in->end && is_blank(*in->p))
        in->p++;
    return 0;
}

static int read_month_name(struct found *in)
{
    in->month = read_name(in, months, 12) + 1;
    return in->month > 0 ? 0 : ERR_SYNTAX;
}

static int read_short_year(struct found *in)
{
    int value = read_number(in, 2);
    in->year = value < 69 ? 2000 + value : 1900 + value;
    return value >= 0 ? 0 : ERR_SYNTAX;
}

static int read_op(struct found *in, struct timefmt_op op)
{
    switch (op.kind) {
    case 'L':
        return in->p < in->end && *in->p++ == op.literal ? 0 : ERR_SYNTAX;
    case ' ':
        return read_blanks(in);
    case 'Y':
        return read_into(in, 4, 1, 9999, &in->year);
    case 'y':
        return read_short_year(in);
    case 'm':
        return read_into(in, 2, 1, 12, &in->month);
    case 'd':
    case 'e':
        in->p += in->p < in->end && *in->p == ' ';
        return read_into(in, 2, 1, 31, &in->day);
    case 'j':
        return read_into(in, 3, 1, 366, &in->day_of_year);
    case 'H':
        in->hour12 = false;
        return read_into(in, 2, 0, 23, &in->hour);
    case 'I':
        in->hour12 = true;
        return read_into(in, 2, 1, 12, &in->hour);
    case 'M':
        return read_into(in, 2, 0, 59, &in->minute);
    case 'S':
        return read_into(in, 2, 0, 60, &in->second);
    case 'f':
        return read_fraction(in);
    case '.':
        return read_whole_fraction(in);
    case 'p':
        return read_pm(in);
    case 'z':
        return read_zone(in);
    case 's':
        return read_epoch(in, EPOCH_DIGITS);
    case 'Q':
        return read_epoch_ms(in);
    case 'a':
    case 'A':
        return read_name(in, weekdays, 7) >= 0 ? 0 : ERR_SYNTAX;
    default:
        return read_month_name(in);
    }
}

static void set_day_of_year(struct found *in)
{
    in->month = 1;
    in->day = in->day_of_year;
    while (in->day > days_in_month(in->year, in->month))
        in->day -= days_in_month(in->year, in->month++);
}

/* Turns the epoch into the wall clock of the zone that was given, UTC if none was. */
static int set_epoch(struct found *in)
{
    int64_t seconds = in->epoch_s + in->zone_minutes * 60;
    int64_t days = seconds / DAY_S - (seconds % DAY_S < 0);
    int in_day = (int)(seconds - days * DAY_S);
    if (days < days_of(1, 1, 1) || days > days_of(9999, 12, 31))
        return ERR_RANGE;
    in->year = 1968 + (int)(days * 400 / 146097); /* never too late; then step to the right one */
    while (in->year < 9999 && days_of(in->year + 1, 1, 1) <= days)
        in->year++;
    in->day_of_year = (int)(days - days_of(in->year, 1, 1)) + 1;
    in->hour = in_day / 3600;
    in->minute = in_day / 60 % 60;
    in->second = in_day % 60;
    in->hour12 = false;
    in->has_zone = true;
    return 0;
}

static int finish(struct found *in, struct timefmt_time *t)
{
    if (in->has_epoch && set_epoch(in) != 0)
        return ERR_RANGE;
    if (in->day_of_year > 365 + leap(in->year))
        return ERR_RANGE;
    if (in->day_of_year > 0)
        set_day_of_year(in);
    if (in->day > days_in_month(in->year, in->month))
        return ERR_RANGE;
    if (in->hour12)
        in->hour = in->hour % 12 + (in->pm ? 12 : 0);
    *t = (struct timefmt_time){
        .year = in->year,
        .month = (uint8_t)in->month,
        .day = (uint8_t)in->day,
        .hour = (uint8_t)in->hour,
        .minute = (uint8_t)in->minute,
        .second = (uint8_t)in->second,
        .nanos = in->nanos,
        .has_zone = in->has_zone,
        .zone_minutes = (int16_t)in->zone_minutes,
    };
    return 0;
}

int timefmt_parse(const struct timefmt *f, struct str text, struct timefmt_time *t)
{
    if (text.n == 0)
        text.p = "";
    struct found in = {.p = text.p, .end = text.p + text.n, .year = 1900, .month = 1, .day = 1};
    for (unsigned i = 0; i < f->n; i++) {
        int rc = read_op(&in, f->ops[i]);
        if (rc != 0)
            return rc;
    }
    return in.p == in.end ? finish(&in, t) : ERR_SYNTAX;
}

/* At least `width` places, filled from the left. */
static char *put_number(char *to, int64_t value, int width, char fill)
{
    char digits[20];
    int n = 0;
    uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do
        digits[n++] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (value < 0)
        *to++ = '-';
    for (int i = n; i < width; i++)
        *to++ = fill;
    while (n > 0)
        *to++ = digits[--n];
    return to;
}

static char *put_text(char *to, const char *text, size_t n)
{
    memcpy(to, text, n);
    return to + n;
}

static char *put_zone(char *to, const struct timefmt_time *t)
{
    if (!t->has_zone)
        return to;
    int minutes = t->zone_minutes < 0 ? -t->zone_minutes : t->zone_minutes;
    *to++ = t->zone_minutes < 0 ? '-' : '+';
    return put_number(to, minutes / 60 * 100 + minutes % 60, 4, '0');
}

static int64_t epoch_of(const struct timefmt_time *t)
{
    int64_t seconds = days_of(t->year, t->month, t->day) * DAY_S;
    seconds += t->hour * 3600 + t->minute * 60 + t->second;
    return seconds - (t->has_zone ? t->zone_minutes * 60 : 0);
}

/* As few digits as say it all, in threes. */
static char *put_fraction(char *to, uint32_t nanos)
{
    if (nanos == 0)
        return to;
    *to++ = '.';
    if (nanos % 1000000 == 0)
        return put_number(to, nanos / 1000000, 3, '0');
    if (nanos % 1000 == 0)
        return put_number(to, nanos / 1000, 6, '0');
    return put_number(to, nanos, 9, '0');
}

static const char *weekday_of(const struct timefmt_time *t)
{
    int64_t days = days_of(t->year, t->month, t->day) + 3; /* 1970-01-01 was a Thursday */
    return weekdays[(days % 7 + 7) % 7];
}

static char *put_op(char *to, struct timefmt_op op, const struct timefmt_time *t)
{
    switch (op.kind) {
    case 'L':
    case ' ':
        *to = op.literal;
        return to + 1;
    case 'Y':
        return put_number(to, t->year, 4, '0');
    case 'y':
        return put_number(to, (t->year % 100 + 100) % 100, 2, '0');
    case 'm':
        return put_number(to, t->month, 2, '0');
    case 'd':
        return put_number(to, t->day, 2, '0');
    case 'e':
        return put_number(to, t->day, 2, ' ');
    case 'j':
        return put_number(to, day_of_year(t->year, t->month, t->day), 3, '0');
    case 'H':
        return put_number(to, t->hour, 2, '0');
    case 'I':
        return put_number(to, (t->hour + 11) % 12 + 1, 2, '0');
    case 'M':
        return put_number(to, t->minute, 2, '0');
    case 'S':
        return put_number(to, t->second, 2, '0');
    case 'f':
        return put_number(to, t->nanos / 1000, 6, '0');
    case '.':
        return put_fraction(to, t->nanos);
    case 'p':
        return put_text(to, t->hour < 12 ? "AM" : "PM", 2);
    case 'z':
        return put_zone(to, t);
    case 's':
        return put_number(to, epoch_of(t), 1, '0');
    case 'Q':
        return put_number(to, epoch_of(t) * 1000 + t->nanos / 1000000, 1, '0');
    case 'a':
        return put_text(to, weekday_of(t), 3);
    case 'A':
        return put_text(to, weekday_of(t), strlen(weekday_of(t)));
    case 'B':
        return put_text(to, months[t->month - 1], strlen(months[t->month - 1]));
    default:
        return put_text(to, months[t->month - 1], 3);
    }
}

void timefmt_print(const struct timefmt *f, const struct timefmt_time *t, struct buf *b)
{
    assert(t->month >= 1 && t->month <= 12 && t->day >= 1 && t->day <= 31);
    assert(t->hour < 24 && t->minute < 60 && t->second <= 60 && t->nanos < 1000000000);
    char text[TIMEFMT_OPS_MAX * PRINTED_MAX];
    char *to = text;
    for (unsigned i = 0; i < f->n; i++)
        to = put_op(to, f->ops[i], t);
    buf_put(b, text, (size_t)(to - text));
}
