#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/rng.h"
#include "lib/timefmt.h"

static struct timefmt compiled(const char *pattern)
{
    struct timefmt f;
    struct err e = {0};
    if (timefmt_compile(&f, pattern, &e) != 0)
        fail_msg("%s: %s", pattern, e.text);
    return f;
}

static int parse(const char *pattern, struct str text, struct timefmt_time *t)
{
    struct timefmt f = compiled(pattern);
    char *exact = malloc(text.n > 0 ? text.n : 1); /* a read too far is then seen */
    memcpy(exact, text.p, text.n);
    int rc = timefmt_parse(&f, (struct str){exact, text.n}, t);
    free(exact);
    return rc;
}

static bool same(const struct timefmt_time *a, const struct timefmt_time *b)
{
    return a->year == b->year && a->month == b->month && a->day == b->day && a->hour == b->hour &&
           a->minute == b->minute && a->second == b->second && a->nanos == b->nanos &&
           a->has_zone == b->has_zone && a->zone_minutes == b->zone_minutes;
}

static void assert_parsed(const char *pattern, const char *text, struct timefmt_time want)
{
    struct timefmt_time t = {0};
    int rc = parse(pattern, str_of(text), &t);
    if (rc != 0 || !same(&t, &want))
        fail_msg("\"%s\" by \"%s\": rc %d, %d-%d-%d %d:%d:%d.%u zone %d %d", text, pattern, rc,
                 t.year, t.month, t.day, t.hour, t.minute, t.second, t.nanos, t.has_zone,
                 t.zone_minutes);
}

static void assert_refused(const char *pattern, const char *text, int want)
{
    struct timefmt_time t, before;
    memset(&t, 0x55, sizeof t);
    before = t;
    int rc = parse(pattern, str_of(text), &t);
    if (rc != want)
        fail_msg("\"%s\" by \"%s\": rc %d, wanted %d", text, pattern, rc, want);
    assert_memory_equal(&t, &before, sizeof t);
}

struct parsed {
    const char *pattern, *text;
    struct timefmt_time want;
};

/* What Python's datetime.strptime gives. */
static const struct parsed as_python[] = {
    {"%m/%d/%y %H:%M", "1/1/06 0:00", {2006, 1, 1, 0, 0, 0, 0, false, 0}},
    {"%m/%d/%y %H:%M", "12/31/06 23:59", {2006, 12, 31, 23, 59, 0, 0, false, 0}},
    {"%m/%d/%y %H:%M", "2/29/04 1:05", {2004, 2, 29, 1, 5, 0, 0, false, 0}},
    {"%y", "68", {2068, 1, 1, 0, 0, 0, 0, false, 0}},
    {"%y", "69", {1969, 1, 1, 0, 0, 0, 0, false, 0}},
    {"%y", "00", {2000, 1, 1, 0, 0, 0, 0, false, 0}},
    {"%y", "99", {1999, 1, 1, 0, 0, 0, 0, false, 0}},
    {"%Y-%m-%d %H:%M:%S", "2026-11-23 04:31:59", {2026, 11, 23, 4, 31, 59, 0, false, 0}},
    {"%Y-%m-%d", "2000-02-29", {2000, 2, 29, 0, 0, 0, 0, false, 0}},
    {"%Y-%m-%d", "0001-01-01", {1, 1, 1, 0, 0, 0, 0, false, 0}},
    {"%Y-%m-%d", "9999-12-31", {9999, 12, 31, 0, 0, 0, 0, false, 0}},
    {"%Y-%m-%dT%H:%M:%S.%f",
     "2026-11-23T04:31:59.5",
     {2026, 11, 23, 4, 31, 59, 500000000, false, 0}},
    {"%Y-%m-%dT%H:%M:%S.%f",
     "2026-11-23T04:31:59.000001",
     {2026, 11, 23, 4, 31, 59, 1000, false, 0}},
    {"%Y-%m-%dT%H:%M:%S%z", "2026-11-23T04:31:59Z", {2026, 11, 23, 4, 31, 59, 0, true, 0}},
    {"%Y-%m-%dT%H:%M:%S%z", "2026-11-23T04:31:59+05:30", {2026, 11, 23, 4, 31, 59, 0, true, 330}},
    {"%Y-%m-%dT%H:%M:%S%z", "2026-11-23T04:31:59-0800", {2026, 11, 23, 4, 31, 59, 0, true, -480}},
    {"%d %b %Y", "5 Mar 2024", {2024, 3, 5, 0, 0, 0, 0, false, 0}},
    {"%d %b %Y", "05 mar 2024", {2024, 3, 5, 0, 0, 0, 0, false, 0}},
    {"%d %B %Y", "17 SEPTEMBER 2024", {2024, 9, 17, 0, 0, 0, 0, false, 0}},
    {"%a, %d %b %Y %H:%M:%S", "Sun, 06 Nov 1994 08:49:37", {1994, 11, 6, 8, 49, 37, 0, false, 0}},
    {"%A %d %B %Y", "Wednesday 1 May 2024", {2024, 5, 1, 0, 0, 0, 0, false, 0}},
    {"%I:%M %p", "12:00 AM", {1900, 1, 1, 0, 0, 0, 0, false, 0}},
    {"%I:%M %p", "12:00 PM", {1900, 1, 1, 12, 0, 0, 0, false, 0}},
    {"%I:%M %p", "1:07 pm", {1900, 1, 1, 13, 7, 0, 0, false, 0}},
    {"%I:%M %p", "11:59 am", {1900, 1, 1, 11, 59, 0, 0, false, 0}},
    {"%I:%M", "12:30", {1900, 1, 1, 0, 30, 0, 0, false, 0}},
    {"%I:%M", "7:30", {1900, 1, 1, 7, 30, 0, 0, false, 0}},
    {"%p %I", "pM 12", {1900, 1, 1, 12, 0, 0, 0, false, 0}},
    {"%p %I", "PM 3", {1900, 1, 1, 15, 0, 0, 0, false, 0}},
    {"%H:%M %p", "13:00 AM", {1900, 1, 1, 13, 0, 0, 0, false, 0}},
    {"%H:%M %p", "1:00 PM", {1900, 1, 1, 1, 0, 0, 0, false, 0}},
    {"%S", "59", {1900, 1, 1, 0, 0, 59, 0, false, 0}},
    {"%Y-%j", "2024-366", {2024, 12, 31, 0, 0, 0, 0, false, 0}},
    {"%Y-%j", "2023-365", {2023, 12, 31, 0, 0, 0, 0, false, 0}},
    {"%Y-%j", "2024-060", {2024, 2, 29, 0, 0, 0, 0, false, 0}},
    {"%Y-%j", "2023-60", {2023, 3, 1, 0, 0, 0, 0, false, 0}},
    {"%j", "1", {1900, 1, 1, 0, 0, 0, 0, false, 0}},
    {"%j %m %d", "60 7 4", {1900, 3, 1, 0, 0, 0, 0, false, 0}},
    {"%d/%b/%Y:%H:%M:%S %z",
     "10/Oct/2000:13:55:36 -0700",
     {2000, 10, 10, 13, 55, 36, 0, true, -420}},
    {"%H%%%M", "12%30", {1900, 1, 1, 12, 30, 0, 0, false, 0}},
    {"%d", " 5", {1900, 1, 5, 0, 0, 0, 0, false, 0}},
    {"%f", "123456", {1900, 1, 1, 0, 0, 0, 123456000, false, 0}},
    {"%Y%m%d%H%M%S", "20240229235958", {2024, 2, 29, 23, 59, 58, 0, false, 0}},
    {"%b", "May", {1900, 5, 1, 0, 0, 0, 0, false, 0}},
    {"%B", "May", {1900, 5, 1, 0, 0, 0, 0, false, 0}},
    {"%B", "June", {1900, 6, 1, 0, 0, 0, 0, false, 0}},
    {"%z", "+00:00", {1900, 1, 1, 0, 0, 0, 0, true, 0}},
    {"%z", "-23:59", {1900, 1, 1, 0, 0, 0, 0, true, -1439}},
};

static void times_are_read_as_python_reads_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(as_python); i++)
        assert_parsed(as_python[i].pattern, as_python[i].text, as_python[i].want);
}

static void more_is_read_than_python_reads(void **state)
{
    (void)state;
    static const struct parsed cases[] = {
        {"%S", "60", {1900, 1, 1, 0, 0, 60, 0, false, 0}},
        {"%f", "123456789", {1900, 1, 1, 0, 0, 0, 123456789, false, 0}},
        {"%f", "1", {1900, 1, 1, 0, 0, 0, 100000000, false, 0}},
        {"%z", "+01", {1900, 1, 1, 0, 0, 0, 0, true, 60}},
        {"%z", "-00:30", {1900, 1, 1, 0, 0, 0, 0, true, -30}},
        {"%Y", "6", {6, 1, 1, 0, 0, 0, 0, false, 0}},
        {"%e/%m", " 9/3", {1900, 3, 9, 0, 0, 0, 0, false, 0}},
        {"%FT%T%.f%z", "2019-01-02T03:04:05.678Z", {2019, 1, 2, 3, 4, 5, 678000000, true, 0}},
        {"%FT%T%.f%z", "2019-01-02T03:04:05Z", {2019, 1, 2, 3, 4, 5, 0, true, 0}},
        {"%FT%T%.f%z", "2019-01-02T03:04:05.1+02", {2019, 1, 2, 3, 4, 5, 100000000, true, 120}},
        {"%T%.f", "03:04:05", {1900, 1, 1, 3, 4, 5, 0, false, 0}},
        {"%Q", "1546398245678", {2019, 1, 2, 3, 4, 5, 678000000, true, 0}},
        {"%Q", "0", {1970, 1, 1, 0, 0, 0, 0, true, 0}},
        {"%Q", "-1", {1969, 12, 31, 23, 59, 59, 999000000, true, 0}},
        {"%Q", "-1000", {1969, 12, 31, 23, 59, 59, 0, true, 0}},
        {"%Q", "253402300799999", {9999, 12, 31, 23, 59, 59, 999000000, true, 0}},
        {"%Q%z", "1546398245678+01:00", {2019, 1, 2, 4, 4, 5, 678000000, true, 60}},
        {"%s%.f", "1546398245.25", {2019, 1, 2, 3, 4, 5, 250000000, true, 0}},
        {"%F %T", "2024-02-29 01:02:03", {2024, 2, 29, 1, 2, 3, 0, false, 0}},
        {"%D %R", "02/03/70 23:59", {1970, 2, 3, 23, 59, 0, 0, false, 0}},
        {"%h %d", "Dec 7", {1900, 12, 7, 0, 0, 0, 0, false, 0}},
        {"%b", "june", {1900, 6, 1, 0, 0, 0, 0, false, 0}},
        {"%B", "JUN", {1900, 6, 1, 0, 0, 0, 0, false, 0}},
        {"%a%A", "MondayTue", {1900, 1, 1, 0, 0, 0, 0, false, 0}},
        {"", "", {1900, 1, 1, 0, 0, 0, 0, false, 0}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_parsed(cases[i].pattern, cases[i].text, cases[i].want);
}

static void a_blank_in_the_pattern_takes_any_run_of_blanks_also_none(void **state)
{
    (void)state;
    static const char *const patterns[] = {"%m %d", "%m%n%d", "%m%t%d", "%m\t%d", "%m  %d"};
    static const char *const texts[] = {"11 22", "11   22", "11\t \n\r\v\f22", "1122"};
    struct timefmt_time want = {1900, 11, 22, 0, 0, 0, 0, false, 0};
    for (size_t p = 0; p < ARRAY_LEN(patterns); p++)
        for (size_t t = 0; t < ARRAY_LEN(texts); t++)
            assert_parsed(patterns[p], texts[t], want);
    assert_refused("%m%d", "11 \t22", ERR_SYNTAX);
    assert_refused("%m %d", "11 22 ", ERR_SYNTAX);
    assert_parsed("%m %d ", "11 22", want);
    assert_parsed(" %m %d ", "  11 22  ", want);
}

static void text_of_another_form_is_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"%m/%d/%y %H:%M", ""},
        {"%m/%d/%y %H:%M", "1/1/06"},
        {"%m/%d/%y %H:%M", "1/1/06 0:"},
        {"%m/%d/%y %H:%M", "1/1/06 0:00x"},
        {"%m/%d/%y %H:%M", "1/1/2006 0:00"},
        {"%m/%d/%y %H:%M", "1-1-06 0:00"},
        {"%m/%d", "1/"},
        {"%m/%d", "/1"},
        {"%m/%d", "1/2/3"},
        {"%Y", "2024 "},
        {"%Y", " 2024"},
        {"%Y", "20245"},
        {"%Y", "-2024"},
        {"%H", "+1"},
        {"%b", "Mai"},
        {"%b", "Ju"},
        {"%b", ""},
        {"%b", "Junx"},
        {"%a %d", "Xyz 3"},
        {"%p", "XM"},
        {"%T%.f", "03:04:05."},
        {"%T%.f", "03:04:05.1234567890"},
        {"%T%.f", "03:04:05,5"},
        {"%Q", ""},
        {"%Q", "-"},
        {"%Q", "1546398245.678"},
        {"%p", "A"},
        {"%f", ""},
        {"%f", "1234567890"},
        {"%z", ""},
        {"%z", "05:00"},
        {"%z", "+5"},
        {"%z", "+05:"},
        {"%z", "+05:3"},
        {"%z", "+053"},
        {"%z", "+"},
        {"%z", "z"},
        {"%z", "UTC"},
        {"%s", ""},
        {"%s", "-"},
        {"%s", "+ 1"},
        {"%s", "1.5"},
        {"%%", "x"},
        {"%%", ""},
        {"x", "X"},
        {"%H", "\xd9\xa1"},
        {"", " "},
        {"%d", "  5"},
        {"%j", "a"},
        {"%y", "x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_refused(cases[i][0], cases[i][1], ERR_SYNTAX);
    struct timefmt_time t;
    assert_int_equal(parse("%H%M",
                           (struct str){"1\0"
                                        "2",
                                        3},
                           &t),
                     ERR_SYNTAX);
}

static void times_that_do_not_exist_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"%m/%d/%y %H:%M", "2/29/06 1:05"},
        {"%m/%d/%y %H:%M", "13/1/06 0:00"},
        {"%Q", "253402300800000"},
        {"%Q", "1234567890123456"},
        {"%m/%d/%y %H:%M", "1/1/06 24:00"},
        {"%m/%d/%y %H:%M", "1/1/06 0:60"},
        {"%Y-%m-%d", "1900-02-29"},
        {"%Y-%m-%d", "2026-04-31"},
        {"%Y-%m-%d", "2026-02-30"},
        {"%Y-%m-%d", "0000-01-01"},
        {"%m-%d", "2-29"},
        {"%m", "0"},
        {"%m", "13"},
        {"%d", "0"},
        {"%d", "32"},
        {"%e", "00"},
        {"%H", "24"},
        {"%M", "60"},
        {"%S", "61"},
        {"%I", "0"},
        {"%I", "13"},
        {"%j", "0"},
        {"%j", "367"},
        {"%Y-%j", "2023-366"},
        {"%Y-%j", "1900-366"},
        {"%z", "+24:00"},
        {"%z", "+05:60"},
        {"%s", "253402300800"},
        {"%s", "-62135596801"},
        {"%s", "1234567890123"},
        {"%s%z", "253402300799+0001"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_refused(cases[i][0], cases[i][1], ERR_RANGE);
}

static void seconds_since_1970_become_a_date(void **state)
{
    (void)state;
    static const struct parsed cases[] = {
        {"%s", "0", {1970, 1, 1, 0, 0, 0, 0, true, 0}},
        {"%s", "-1", {1969, 12, 31, 23, 59, 59, 0, true, 0}},
        {"%s", "+951782399", {2000, 2, 28, 23, 59, 59, 0, true, 0}},
        {"%s", "951782400", {2000, 2, 29, 0, 0, 0, 0, true, 0}},
        {"%s", "951868800", {2000, 3, 1, 0, 0, 0, 0, true, 0}},
        {"%s", "4102444799", {2099, 12, 31, 23, 59, 59, 0, true, 0}},
        {"%s", "253402300799", {9999, 12, 31, 23, 59, 59, 0, true, 0}},
        {"%s", "-62135596800", {1, 1, 1, 0, 0, 0, 0, true, 0}},
        {"%s.%f", "1000000000.25", {2001, 9, 9, 1, 46, 40, 250000000, true, 0}},
        {"%s %z", "1000000000 +0200", {2001, 9, 9, 3, 46, 40, 0, true, 120}},
        {"%s %z", "0 -0030", {1969, 12, 31, 23, 30, 0, 0, true, -30}},
        {"%Y %I %p %s", "1999 5 PM 0", {1970, 1, 1, 0, 0, 0, 0, true, 0}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_parsed(cases[i].pattern, cases[i].text, cases[i].want);
}

struct printed {
    const char *pattern;
    struct timefmt_time t;
    const char *want;
};

/* What Python's datetime.strftime gives (%s: calendar.timegm). */
static const struct printed like_python[] = {
    {"%Y|%m|%d|%e|%H|%I|%M|%S|%y|%b|%B|%h|%a|%A|%p|%j",
     {2006, 1, 1, 0, 0, 0, 0, false, 0},
     "2006|01|01| 1|00|12|00|00|06|Jan|January|Jan|Sun|Sunday|AM|001"},
    {"%Y|%m|%d|%e|%H|%I|%M|%S|%y|%b|%B|%h|%a|%A|%p|%j",
     {2024, 2, 29, 12, 5, 9, 123456000, false, 0},
     "2024|02|29|29|12|12|05|09|24|Feb|February|Feb|Thu|Thursday|PM|060"},
    {"%Y|%m|%d|%e|%H|%I|%M|%S|%y|%b|%B|%h|%a|%A|%p|%j",
     {1999, 12, 31, 23, 59, 59, 999999000, true, -420},
     "1999|12|31|31|23|11|59|59|99|Dec|December|Dec|Fri|Friday|PM|365"},
    {"%Y|%m|%d|%e|%H|%I|%M|%S|%y|%b|%B|%h|%a|%A|%p|%j",
     {2000, 10, 10, 13, 55, 36, 0, true, 330},
     "2000|10|10|10|13|01|55|36|00|Oct|October|Oct|Tue|Tuesday|PM|284"},
    {"%Y|%m|%d|%e|%H|%I|%M|%S|%y|%b|%B|%h|%a|%A|%p|%j",
     {1969, 7, 20, 11, 0, 1, 0, false, 0},
     "1969|07|20|20|11|11|00|01|69|Jul|July|Jul|Sun|Sunday|AM|201"},
    {"%f|%z|%%|%T|%D|%F|%R|%n|%t",
     {2006, 1, 1, 0, 0, 0, 0, false, 0},
     "000000||%|00:00:00|01/01/06|2006-01-01|00:00|\n|\t"},
    {"%f|%z|%%|%T|%D|%F|%R|%n|%t",
     {2024, 2, 29, 12, 5, 9, 123456000, false, 0},
     "123456||%|12:05:09|02/29/24|2024-02-29|12:05|\n|\t"},
    {"%f|%z|%%|%T|%D|%F|%R|%n|%t",
     {1999, 12, 31, 23, 59, 59, 999999000, true, -420},
     "999999|-0700|%|23:59:59|12/31/99|1999-12-31|23:59|\n|\t"},
    {"%f|%z|%%|%T|%D|%F|%R|%n|%t",
     {2000, 10, 10, 13, 55, 36, 0, true, 330},
     "000000|+0530|%|13:55:36|10/10/00|2000-10-10|13:55|\n|\t"},
    {"%f|%z|%%|%T|%D|%F|%R|%n|%t",
     {1969, 7, 20, 11, 0, 1, 0, false, 0},
     "000000||%|11:00:01|07/20/69|1969-07-20|11:00|\n|\t"},
    {"%s", {2006, 1, 1, 0, 0, 0, 0, false, 0}, "1136073600"},
    {"%s", {2024, 2, 29, 12, 5, 9, 123456000, false, 0}, "1709208309"},
    {"%s", {1999, 12, 31, 23, 59, 59, 999999000, true, -420}, "946709999"},
    {"%s", {2000, 10, 10, 13, 55, 36, 0, true, 330}, "971166336"},
    {"%s", {1969, 7, 20, 11, 0, 1, 0, false, 0}, "-14216399"},
};

static void assert_printed(const char *pattern, const struct timefmt_time *t, const char *want)
{
    struct timefmt f = compiled(pattern);
    struct buf b;
    buf_init(&b, KIB);
    timefmt_print(&f, t, &b);
    if (!str_eq(buf_str(&b), str_of(want)))
        fail_msg("\"%s\" printed \"%.*s\", wanted \"%s\"", pattern, (int)b.n, b.p ? b.p : "", want);
    buf_release(&b);
}

static void times_are_printed_as_python_prints_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(like_python); i++)
        assert_printed(like_python[i].pattern, &like_python[i].t, like_python[i].want);
}

static void hours_of_the_twelve_hour_clock_have_no_zero(void **state)
{
    (void)state;
    struct timefmt_time t = {2024, 1, 1, 0, 0, 0, 0, false, 0};
    for (int hour = 0; hour < 24; hour++) {
        char want[16];
        t.hour = (uint8_t)hour;
        snprintf(want, sizeof want, "%02d %s", hour % 12 == 0 ? 12 : hour % 12,
                 hour < 12 ? "AM" : "PM");
        assert_printed("%I %p", &t, want);
    }
}

static void fractions_are_printed_as_long_as_they_are(void **state)
{
    (void)state;
    struct timefmt_time t = {2019, 1, 2, 3, 4, 5, 0, true, 60};
    static const struct {
        uint32_t nanos;
        const char *want;
    } cases[] = {{0, " 1546394645000"},
                 {678000000, ".678 1546394645678"},
                 {1000, ".000001 1546394645000"},
                 {1, ".000000001 1546394645000"},
                 {999999999, ".999999999 1546394645999"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        t.nanos = cases[i].nanos;
        struct timefmt f = compiled("%.f %Q");
        struct buf b;
        buf_init(&b, 100);
        timefmt_print(&f, &t, &b);
        if (!str_eq(buf_str(&b), str_of(cases[i].want)))
            fail_msg("%.*s, wanted %s", (int)b.n, b.p, cases[i].want);
        buf_release(&b);
    }
}

static void what_is_printed_is_added_and_kept_whole(void **state)
{
    (void)state;
    struct timefmt f = compiled("%Y-%m");
    struct timefmt_time t = {2024, 5, 1, 0, 0, 0, 0, false, 0};
    struct buf b;
    buf_init(&b, 10);
    buf_puts(&b, "at ");
    timefmt_print(&f, &t, &b);
    assert_true(str_eq(buf_str(&b), STR("at 2024-05")));
    timefmt_print(&f, &t, &b);
    assert_true(b.failed);
    assert_int_equal(b.n, 10);
    buf_release(&b);
}

/* Walks the calendar day by day beside the library's arithmetic. */
static void every_day_from_1_to_9999_goes_there_and_back(void **state)
{
    (void)state;
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct timefmt both = compiled("%s"), date = compiled("%j %a");
    long long epoch = -62135596800;
    unsigned weekday = 0, in_year = 1;
    for (struct timefmt_time t = {1, 1, 1, 0, 0, 0, 0, true, 0}; t.year < 10000;) {
        struct buf b;
        char want[32];
        buf_init(&b, 64);
        timefmt_print(&both, &t, &b);
        int n = snprintf(want, sizeof want, "%lld", epoch);
        if (!str_eq(buf_str(&b), (struct str){want, (size_t)n}))
            fail_msg("%d-%d-%d is %.*s, wanted %s", t.year, t.month, t.day, (int)b.n, b.p, want);
        struct timefmt_time back;
        assert_int_equal(timefmt_parse(&both, buf_str(&b), &back), 0);
        assert_true(same(&back, &t));
        buf_reset(&b);
        timefmt_print(&date, &t, &b);
        n = snprintf(want, sizeof want, "%03u %.3s", in_year,
                     &"MonTueWedThuFriSatSun"[3 * weekday]);
        assert_true(str_eq(buf_str(&b), (struct str){want, (size_t)n}));
        buf_release(&b);
        epoch += 86400;
        weekday = (weekday + 1) % 7;
        in_year++;
        bool leap = (t.year % 4 == 0 && t.year % 100 != 0) || t.year % 400 == 0;
        if (++t.day > days[t.month - 1] + (t.month == 2 && leap)) {
            t.day = 1;
            t.month++;
        }
        if (t.month > 12) {
            t.month = 1;
            t.year++;
            in_year = 1;
        }
    }
}

static void random_times_survive_a_full_pattern(void **state)
{
    (void)state;
    struct timefmt f = compiled("%A %d %B %Y, %H:%M:%S.%f %z");
    struct rng r;
    rng_seed(&r, 9);
    for (int i = 0; i < 20000; i++) {
        struct timefmt_time t = {
            .year = (int32_t)(1 + rng_below(&r, 9999)),
            .month = (uint8_t)(1 + rng_below(&r, 12)),
            .day = (uint8_t)(1 + rng_below(&r, 28)),
            .hour = (uint8_t)rng_below(&r, 24),
            .minute = (uint8_t)rng_below(&r, 60),
            .second = (uint8_t)rng_below(&r, 61),
            .nanos = (uint32_t)rng_below(&r, 1000000) * 1000,
            .has_zone = true,
            .zone_minutes = (int16_t)((int)rng_below(&r, 2879) - 1439),
        };
        struct timefmt_time back;
        struct buf b;
        buf_init(&b, 200);
        timefmt_print(&f, &t, &b);
        assert_int_equal(timefmt_parse(&f, buf_str(&b), &back), 0);
        assert_true(same(&back, &t));
        buf_release(&b);
    }
}

static void a_bad_pattern_is_refused_with_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *says;
    } cases[] = {
        {"%q", "%q at byte 0"},
        {"%Y-%-d", "%- at byte 3"},
        {"%.3f", "%. at byte 0"},
        {"%Y %", "lone %"},
        {"%", "lone %"},
        {"%%%", "lone %"},
        {"%Y%\xc3\xbc", "0xc3 at byte 2"},
        {"%U", "%U at byte 0"},
        {"%c", "%c at byte 0"},
        {"%E", "%E at byte 0"},
        {"a%\nb", "0x0a at byte 1"},
        {"% d", "0x20 at byte 0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct timefmt f, before;
        struct err e = {0};
        memset(&f, 0x55, sizeof f);
        before = f;
        assert_int_equal(timefmt_compile(&f, cases[i].pattern, &e), ERR_SYNTAX);
        if (strstr(e.text, cases[i].says) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].pattern, e.text, cases[i].says);
        assert_memory_equal(&f, &before, sizeof f);
        assert_int_equal(timefmt_compile(&f, cases[i].pattern, NULL), ERR_SYNTAX);
    }
}

static void a_pattern_may_have_so_many_parts_and_no_more(void **state)
{
    (void)state;
    char pattern[2 * TIMEFMT_OPS_MAX + 8];
    struct timefmt f;
    struct err e = {0};
    memset(pattern, 'x', sizeof pattern);
    pattern[TIMEFMT_OPS_MAX] = '\0';
    assert_int_equal(timefmt_compile(&f, pattern, &e), 0);
    memcpy(pattern + TIMEFMT_OPS_MAX - 1, "%d", 3);
    assert_int_equal(timefmt_compile(&f, pattern, &e), 0);
    memcpy(pattern + TIMEFMT_OPS_MAX - 1, "%R", 3);
    assert_int_equal(timefmt_compile(&f, pattern, &e), ERR_RANGE);
    memcpy(pattern + TIMEFMT_OPS_MAX - 1, "xx", 3);
    assert_int_equal(timefmt_compile(&f, pattern, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "48"));
}

static void the_widest_print_fits(void **state)
{
    (void)state;
    char pattern[2 * TIMEFMT_OPS_MAX + 1] = "";
    for (size_t i = 0; i < TIMEFMT_OPS_MAX; i++)
        memcpy(pattern + 2 * i, i % 2 == 0 ? "%s" : "%Y", 3);
    struct timefmt f = compiled(pattern);
    struct timefmt_time t = {INT32_MIN, 9, 30, 23, 59, 60, 999999999, true, -1439};
    struct buf b;
    buf_init(&b, 4 * KIB);
    timefmt_print(&f, &t, &b);
    t.year = INT32_MAX;
    timefmt_print(&f, &t, &b);
    assert_false(b.failed);
    assert_true(b.n > 2 * TIMEFMT_OPS_MAX * 11);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_as_python_reads_them),
        cmocka_unit_test(more_is_read_than_python_reads),
        cmocka_unit_test(a_blank_in_the_pattern_takes_any_run_of_blanks_also_none),
        cmocka_unit_test(text_of_another_form_is_refused),
        cmocka_unit_test(times_that_do_not_exist_are_refused),
        cmocka_unit_test(seconds_since_1970_become_a_date),
        cmocka_unit_test(times_are_printed_as_python_prints_them),
        cmocka_unit_test(hours_of_the_twelve_hour_clock_have_no_zero),
        cmocka_unit_test(fractions_are_printed_as_long_as_they_are),
        cmocka_unit_test(what_is_printed_is_added_and_kept_whole),
        cmocka_unit_test(every_day_from_1_to_9999_goes_there_and_back),
        cmocka_unit_test(random_times_survive_a_full_pattern),
        cmocka_unit_test(a_bad_pattern_is_refused_with_what_is_wrong),
        cmocka_unit_test(a_pattern_may_have_so_many_parts_and_no_more),
        cmocka_unit_test(the_widest_print_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
