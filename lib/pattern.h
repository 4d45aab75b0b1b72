/* pattern.h - a regular expression (PCRE2) whose cost is bounded.
 *
 * pattern_new compiles once. `where` says what has to match: the whole text, or its beginning. A
 * match is tried at the first byte only. The text is bytes: `.` is one byte, unless the pattern
 * begins with (*UTF); a text that is not valid UTF-8 then never matches. Named groups are numbered
 * 0..pattern_names_n-1 in the order in which they open; a name used twice is refused, other groups
 * do not count.
 *
 * pattern_match allocates only when a text needs more memory for backtracking than any before it
 * (at most PATTERN_HEAP_KIB). After PATTERN_YES, pattern_group gives what a named group took: a
 * part of the same text, or p NULL when the group took no part in the match. It holds until the
 * next pattern_match.
 *
 * Limits. A step is one point to come back to, and between two steps the engine may read the text
 * to its end; so what is bounded is steps times bytes. A text may take PATTERN_STEPS_BASE steps and
 * four for each byte, but never more than PATTERN_WORK_MAX divided by its length (which is a step
 * for each byte at 16 KiB). A match that would need more, or more memory, is PATTERN_LIMIT. There
 * is no just-in-time compiler: it would need memory that is writable and executable, and its
 * limits count differently.
 */
#ifndef LIB_PATTERN_H
#define LIB_PATTERN_H

#include "lib/base.h"
#include "lib/err.h"

#define PATTERN_TEXT_MAX   4096 /* bytes of an expression */
#define PATTERN_NAMES_MAX  256
#define PATTERN_STEPS_BASE 10000
#define PATTERN_WORK_MAX   (256 * MIB)
#define PATTERN_HEAP_KIB   4096

enum pattern_where { PATTERN_WHOLE, PATTERN_START };
enum pattern_result { PATTERN_NO, PATTERN_YES, PATTERN_LIMIT, PATTERN_NOMEM };

struct pattern;

/* NULL with err set: not an expression (with the offset), too long, or no memory. */
struct pattern *pattern_new(const char *text, enum pattern_where where, struct err *e);
void pattern_free(struct pattern *p); /* NULL is fine */

size_t pattern_names_n(const struct pattern *p);
const char *pattern_name(const struct pattern *p, size_t i); /* as long as the pattern lives */

enum pattern_result pattern_match(struct pattern *p, struct str text);
struct str pattern_group(const struct pattern *p, struct str text, size_t i);

#endif
