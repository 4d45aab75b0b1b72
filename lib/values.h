/* values.h - one raw value into JSON, by type. Numbers are copied as text, never through a double.
 *
 * Each function appends to b and returns true, or appends nothing and returns false when the text
 * does not fit: value_put_int: optional sign and digits; value_put_double: a decimal number with
 * optional fraction and exponent; value_put_bool: true/false, yes/no, t/f, y/n, 1/0 in any case.
 * Blanks around the text have been taken off with value_trim. What JSON is stricter about is
 * mended: +5 is 5, 007 is 7, .5 is 0.5, 1. is 1.0.
 */
#ifndef LIB_VALUES_H
#define LIB_VALUES_H

#include "lib/buf.h"

struct str value_trim(struct str s);
bool value_put_int(struct buf *b, struct str s);
bool value_put_double(struct buf *b, struct str s);
bool value_put_bool(struct buf *b, struct str s);

#endif
