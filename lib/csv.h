/* csv.h - one CSV row at a time, out of bytes that may end anywhere.
 *
 * RFC 4180, read as Python's csv module reads it (its default dialect, bytes for characters): a
 * field that starts with a quote runs to the closing quote, "" inside it is one quote, line breaks
 * and delimiters inside are data; bytes after the closing quote are appended as they are; a quote
 * inside an unquoted field is data. Rows end at LF, CR or CRLF. A CR is an end at once, so that
 * the last row of a CR-only file does not wait; the LF of a CRLF is then an empty row of its own,
 * which csv_row_next skips like all empty rows (a row of no bytes at all).
 *
 * csv_row_next looks at the bytes from `text.p[0]`:
 *   CSV_ROW   a whole row: row->fields[0..n) are its fields, row->used the bytes consumed, leading
 *             empty rows and the terminator included, row->begin the offset where the row itself
 *             starts. Fields borrow from `text`, or from row->scratch when quotes had to be
 *             undone; both must stay until the row has been used.
 *   CSV_MORE  no end of row in sight; row->used says how many leading bytes (empty rows) can be
 *             let go. With `at_end` true the last row need not be terminated (nor its last quote
 *             closed): CSV_MORE then means there is nothing left but empty rows. Each call starts
 *             over, so a caller offers an unfinished row again when more has come, and bounds what
 *             it holds.
 *   CSV_WIDE  more than CSV_FIELDS_MAX fields; used and begin are set, the row is complete, and
 *             fields[0..n) are the first CSV_FIELDS_MAX of them.
 *   CSV_NOMEM scratch could not grow (row->scratch.max is the cap; the caller sets it; as many
 *             bytes as the longest row always do). used and begin are set, n is 0.
 * With row->no_quotes, set by the caller after csv_row_init, a quote is data wherever it stands, so
 * that a row ends at the first line end.
 *
 * The struct is set up with csv_row_init (which allocates nothing yet), reused for all rows, and
 * freed with csv_row_release. The delimiter is any byte but a quote, CR and LF. On the hot path:
 * one pass over the bytes.
 */
#ifndef LIB_CSV_H
#define LIB_CSV_H

#include "lib/buf.h"

#define CSV_FIELDS_MAX 1024 /* a hostile row of commas costs this much, not memory without end */

enum csv_result { CSV_ROW, CSV_MORE, CSV_WIDE, CSV_NOMEM };

struct csv_row {
    struct str fields[CSV_FIELDS_MAX];
    size_t n;
    bool no_quotes;
    size_t begin, used; /* bytes from the start of the text */
    struct buf scratch;
};

void csv_row_init(struct csv_row *row, size_t scratch_max);
void csv_row_release(struct csv_row *row);
enum csv_result csv_row_next(struct csv_row *row, struct str text, char delimiter, bool at_end);

/* Where a row's end is waited for: csv_row_next starts over with every call, csv_scan goes on where
 * it stopped. Zeroed but for no_quotes, it stands at the first byte of a row (not an empty one); it
 * is given the same bytes with more behind them, and says whether the row's end is among them. */
struct csv_scan {
    size_t looked;
    bool no_quotes;
    enum { CSV_AT_FIELD, CSV_PLAIN, CSV_QUOTED, CSV_AT_QUOTE } state;
};
bool csv_scan(struct csv_scan *s, struct str text, char delimiter);

/* Passes over one line, quotes or not: how many bytes. *over: its end was among them (a CR at the
 * very end is left, for an LF may follow it). */
size_t csv_pass_line(struct str text, bool at_end, bool *over);
/* Behind the last LF or CR; 0: there is none. */
size_t csv_last_end(struct str text);

#endif
