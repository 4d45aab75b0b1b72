/* multiline.h - which lines belong together, and so where an event of several lines ends.
 *
 * A pattern is held against the beginning of each line. With `start`, a line that matches begins a
 * new event; with `continues`, a line that does not. The first line that is read begins an event
 * whatever it looks like, so every byte belongs to one.
 *
 *   multiline_next(m, &f, text, max, wait, &frame)
 * gives one event from the start of `text`, as framer_line gives a line (framer.h), with the same
 * struct framer and the same promises: nothing depends on how the bytes were cut into calls, and
 * no line is held against the pattern twice, however often the unfinished bytes are offered again.
 *   FRAME_RECORD   frame.data runs to the end of the last line that is not empty, without that
 *                  line's end; line ends inside are untouched. An empty line that begins no event
 *                  comes as a record of length 0. `limits` says how many matches were given up
 *                  at the limits of pattern.h, and taken for no match.
 *   FRAME_MORE     the event may go on.
 *   FRAME_OVERSIZE, FRAME_SKIPPED    as for lines: a first line that is longer than `max`.
 *   FRAME_NOMEM    no memory for a match; nothing has changed.
 * `wait` says when an event that may go on is an event all the same:
 *   MULTILINE_WAIT   not yet: its end is where the next event begins
 *   MULTILINE_LINES  its whole lines are (the file has been quiet for timeout_ms)
 *   MULTILINE_END    all bytes are, the last line need not be terminated
 *
 * Limits. An event ends after max_lines lines, and before a line with which its text would be over
 * max less the room of a key: the line then begins an event of its own, whatever it looks like. So
 * no line is cut because of its neighbours. Of a line, the first MULTILINE_LOOK_MAX bytes are held
 * against the pattern, as UTF-8; until a line's end or so many bytes are there, it is not judged.
 */
#ifndef LIB_MULTILINE_H
#define LIB_MULTILINE_H

#include "lib/err.h"
#include "lib/framer.h"

#define MULTILINE_LOOK_MAX 4096

struct multiline_spec {
    char *start, *continues; /* one of them, or neither: each line is a record */
    uint64_t timeout_ms, max_lines;
};

enum multiline_wait { MULTILINE_WAIT, MULTILINE_LINES, MULTILINE_END };

struct multiline;

/* Copies what it needs. NULL with err set: a bad pattern, or no memory. */
struct multiline *multiline_new(const struct multiline_spec *spec, struct err *e);
void multiline_free(struct multiline *m); /* NULL is fine */

enum frame_result multiline_next(struct multiline *m, struct framer *f, struct str text, size_t max,
                                 enum multiline_wait wait, struct frame *frame);

#endif
