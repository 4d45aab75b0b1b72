/* input_in.h - the inside of an input, shared by its files:
 *
 *   input.c      life, a file's beginning, lines and events, time
 *   input_csv.c  rows of CSV and their header
 *   input_put.c  from a framed record to the ring
 *
 * A feed is one call of input_feed. The feed_ functions that put something let `rest` and read_at
 * pass it; any result but INPUT_MORE says that nothing has moved.
 */
#ifndef LIB_INPUT_IN_H
#define LIB_INPUT_IN_H

#include "lib/input.h"

/* What one call of input_feed works with. */
struct feed {
    struct input *in;
    struct now now;
    struct str rest; /* the bytes not used yet */
    bool at_end;     /* no more will come */
    bool flush;      /* they have stood there long enough: all are records */
    bool timed_out;  /* so have the whole lines of an event */
    struct csv_row *row;
};

/* input.c */
void input_reset_framer(struct input *in, bool skipping);

/* input_csv.c */
void input_forget_columns(struct input *in);
bool input_wants_header(const struct input *in);
enum input_result feed_csv(struct feed *f);

/* input_put.c */
/* read_at passes `used` bytes that have become a record, or nothing. */
void feed_advance(struct feed *f, size_t used);
/* One framed record, which starts `skip` bytes into the rest and ends with it after `used`. */
enum input_result feed_record(struct feed *f, struct str raw, size_t skip, size_t used);
enum input_result feed_dead(struct feed *f, struct str raw, size_t skip, size_t used,
                            const char *reason);
/* `raw` is a whole record of `used` bytes, or, if cut, the first `used` bytes of one: then the
 * framer skips the rest. */
enum input_result feed_oversize(struct feed *f, struct str raw, size_t skip, size_t used, bool cut);

#endif
