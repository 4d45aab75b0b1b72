/* logfmt.h - a line of key=value pairs.
 *
 *   level=info msg="said \"hi\"" took=1.5ms cached
 *
 * Pairs stand apart by blanks (any byte up to 0x20). A key is any run of other bytes but '=' and
 * '"'. A value is a run of bytes up to a blank, or stands in quotes, where \" \\ \/ \b \f \n \r \t
 * and \uXXXX are undone (any other backslash stands for itself); a blank or the end must follow the
 * closing quote. `key=` is empty. A key without '=' is bare: its value is true. Of a key that
 * comes twice, the first counts.
 *
 * logfmt_parse gives LOGFMT_LINE and the pairs; LOGFMT_NO when the line is none (a key that is not
 * one, a quote that does not close, more than LOGFMT_PAIRS_MAX pairs, or not one '=' in it: then
 * it is just words); LOGFMT_NOMEM when scratch could not grow. Keys and values borrow from the
 * line, or from `scratch`, which is grown once, before anything is put into it, and only for lines
 * with a backslash. One pass, but for keys that might be repeated.
 */
#ifndef LIB_LOGFMT_H
#define LIB_LOGFMT_H

#include "lib/buf.h"

#define LOGFMT_PAIRS_MAX 256

enum logfmt_result { LOGFMT_LINE, LOGFMT_NO, LOGFMT_NOMEM };

extern const char logfmt_bare[]; /* "true": a bare key's value points here */

struct logfmt_pair {
    struct str key, value;
};

enum logfmt_result logfmt_parse(struct str line, struct buf *scratch, struct logfmt_pair *pairs,
                                size_t *n);

#endif
