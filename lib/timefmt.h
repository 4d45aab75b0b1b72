/* timefmt.h - reading and writing times by a pattern, as text, without a clock and without a zone.
 *
 * A pattern is compiled once (timefmt_compile returns 0, or a code with err saying what is wrong
 * and where) and then used for parsing or printing. A time without a zone stays as written:
 * nothing is ever converted through the machine's zone or locale. Names are English.
 *
 * Directives, for both directions unless said: %Y %m %d %e %H %I %M %S %y %b %B %h %a %A %p %j %f
 * %.f %z %s %Q %% %T (=%H:%M:%S) %D (=%m/%d/%y) %F (=%Y-%m-%d) %R (=%H:%M) %n %t.
 *   parse: numbers take 1 to their full width of digits (so "1/1/06 0:00" fits "%m/%d/%y %H:%M"),
 *          %d %e also after one blank; %y is 69..99 -> 19yy, 00..68 -> 20yy; %f takes 1..9 digits
 *          as a fraction of a second, %.f a dot and such digits, or nothing; %z takes Z, +hh:mm,
 *          +hhmm, +hh; a blank in the pattern takes any run of blanks, also none; %b %B %h take a
 *          month's full or short name, %a %A a day's, %p AM or PM, in any case; the day's name is
 *          ignored; the whole value must be used up. Date and time are checked: year 0, 30
 *          February, hour 24 are bad; second 60 is allowed. %I without %p is before noon, %p
 *          without %I says nothing. %j decides over month and day. %s (seconds from 1970 on, at
 *          most 12 digits, with a sign or not) decides over all but the zone, and is UTC if none is
 *          given; %Q is the same in milliseconds, at most 15 digits. What the pattern does not give
 *          is 1900-01-01 00:00:00 (as Python's strptime), without a zone.
 *   print: %Y 4 digits, %f 6 digits, %e blank-padded; %.f prints a dot and 3, 6 or 9 digits, as
 *          many as the fraction has, or nothing; %z prints +hhmm, or nothing when the time has no
 *          zone; %s and %Q count as UTC when the time has no zone; %j and %a are computed.
 * Any other directive is refused by timefmt_compile, and so is a pattern that compiles to more
 * than TIMEFMT_OPS_MAX directives and literal bytes.
 *
 * timefmt_parse returns 0, ERR_SYNTAX (not of the pattern's form) or ERR_RANGE (of the form, but
 * no such time), and writes *t only on success. timefmt_print appends to b; the time's month, day,
 * hour, minute and second must be in their bounds, as timefmt_parse leaves them. On the hot path:
 * no allocation, no locale.
 */
#ifndef LIB_TIMEFMT_H
#define LIB_TIMEFMT_H

#include "lib/buf.h"
#include "lib/err.h"

#define TIMEFMT_OPS_MAX 48

struct timefmt_time {
    int32_t year;
    uint8_t month, day, hour, minute, second; /* month and day from 1 */
    uint32_t nanos;
    bool has_zone;
    int16_t zone_minutes; /* east of UTC */
};

struct timefmt_op {
    char kind;    /* the directive's letter; '.' for %.f; 'L' for a literal byte, ' ' for a blank */
    char literal; /* what 'L' and ' ' print */
};

struct timefmt {
    unsigned n;
    struct timefmt_op ops[TIMEFMT_OPS_MAX];
};

int timefmt_compile(struct timefmt *f, const char *pattern, struct err *e);
int timefmt_parse(const struct timefmt *f, struct str text, struct timefmt_time *t);
void timefmt_print(const struct timefmt *f, const struct timefmt_time *t, struct buf *b);

#endif
