/* framer.h - where the next record ends, in bytes that may stop anywhere.
 *
 * The framer keeps no bytes: the unfinished tail stays where it came from (the file is its own
 * buffer) and is offered again, longer. It only remembers how far it has looked, so that a record
 * that arrives in a thousand pieces is searched once.
 *
 *   framer_line(&f, text, max, at_end, &frame)
 * gives one record that ends in LF (a CR before it is left off), from the start of `text`:
 *   FRAME_RECORD   frame.data is the record, frame.used the bytes to consume, terminator included.
 *                  Empty lines come as records of length 0: the caller decides.
 *   FRAME_MORE     no end yet: offer the same bytes again, with more behind them. With at_end, an
 *                  unterminated rest is a record, and FRAME_MORE means `text` was empty.
 *                  used is 0.
 *   FRAME_OVERSIZE the record is longer than `max` bytes (the terminator not counted): frame.data
 *                  is the first `max` of them, and frame.used is `max`. The framer now skips:
 *                  later calls drop bytes up to the end of this record (FRAME_SKIPPED, used says
 *                  how many; `skipping` tells whether it is over). `skipping` must be kept with
 *                  the position if reading is to resume in the middle of such a record.
 * With at_end, a CR at the very end is data, and skipping is over when the bytes are. What is
 * found never depends on how the bytes were cut into calls; a caller that holds max + 2 units
 * never has to wait for more. framer_reset forgets the search (after a seek), keeping `skipping`
 * as given.
 *
 * Units. In UTF-16 (set f.encoding after framer_reset) a line ends in the unit U+000A, which is
 * two bytes at an even distance from the start of the text; an odd byte that the second half of its
 * unit may still follow is left alone, and an odd `max` is one less. In every other encoding a unit
 * is a byte.
 */
#ifndef LIB_FRAMER_H
#define LIB_FRAMER_H

#include "lib/encoding.h"

enum frame_result { FRAME_RECORD, FRAME_MORE, FRAME_OVERSIZE, FRAME_SKIPPED, FRAME_NOMEM };

struct framer {
    size_t looked; /* bytes of the pending record already searched */
    bool skipping; /* inside a record that was too long */
    enum shape_encoding encoding;
    /* For multiline.h: the whole lines that the pending event has so far. */
    uint64_t lines;
    size_t lines_end; /* behind the last of them */
    size_t data_n;    /* behind the text of the last that is not empty */
    bool judged;      /* the line that begins at lines_end goes on with the event */
};

struct frame {
    struct str data;
    size_t used;
    unsigned limits; /* matches given up (multiline.h) */
};

void framer_reset(struct framer *f, bool skipping);
enum frame_result framer_line(struct framer *f, struct str text, size_t max, bool at_end,
                              struct frame *frame);
/* Only the skipping part, for other framings: ends at the first LF or CR. FRAME_SKIPPED, or
 * FRAME_MORE when `text` is empty; frame.data is empty. Call it only while f->skipping. */
enum frame_result framer_skip(struct framer *f, struct str text, bool at_end, struct frame *frame);

/* For framings built of lines. Offsets count from the start of a record. */
size_t framer_unit(const struct framer *f);
/* Where the first LF in text[from, to) stands; SIZE_MAX: there is none. `from` begins a unit. */
size_t framer_find(const struct framer *f, struct str text, size_t from, size_t to);
/* Where the text of a line ends that began at `from` and whose LF stands at `lf`. */
size_t framer_text_end(const struct framer *f, struct str text, size_t from, size_t lf);
/* Behind the last LF of text that stands at `offset` in its file; 0: it has none. */
size_t framer_last_end(enum shape_encoding encoding, struct str text, uint64_t offset);

#endif
