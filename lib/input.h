/* input.h - one followed file, seen from inside: bytes in, records into the ring, a position out.
 *
 * Its offsets are those of its struct origin (record.h): reading goes on at read_at, the checkpoint
 * stores `delivered`.
 *
 * input_feed(in, now, bytes, at_end, &used) is given the bytes that stand at read_at. It frames
 * them, shapes them and puts them into the ring, and says how many it used; read_at moves by as
 * many. What was not used is to be offered again: an unfinished record together with more bytes
 * (INPUT_MORE), or everything when there is room again (INPUT_FULL, INPUT_DEAD_FULL). `at_end`
 * says that no more bytes will come: an unterminated last record counts.
 *
 * A CSV file without configured columns has a header row: its first row that is not empty. Read
 * from offset 0, input_feed takes it by itself. Taken up behind it (input_start at another offset,
 * or input_reshape), input_needs_header says so: give the file's first bytes to input_header. Of a
 * header with too many fields the first CSV_FIELDS_MAX count; of one longer than max_record, which
 * becomes a dead letter like any record, those in its first max_record bytes.
 *
 * A record longer than max_record becomes a dead letter with its first max_record bytes; the rest
 * of it, up to the next line end, is skipped, also across a restart (mid_record in the position).
 *
 * The shape may be exchanged between two feeds (input_reshape), for a reload. The input borrows
 * shape, pipeline and path; input_release demands origin.in_ring == 0.
 */
#ifndef LIB_INPUT_H
#define LIB_INPUT_H

#include "lib/framer.h"
#include "lib/list.h"
#include "lib/pipeline.h"
#include "lib/shape.h"

enum input_result {
    INPUT_MORE,      /* all whole records are taken */
    INPUT_FULL,      /* the ring is full */
    INPUT_DEAD_FULL, /* a dead letter is due and there is no room for it: the source must wait */
    INPUT_NOMEM,
};

struct input {
    struct origin origin;
    struct pipeline *pipeline;
    struct shape *shape;
    const struct shape_spec *spec;
    const char *path;
    struct shape_columns *columns;
    bool header_ahead; /* read_at has not passed the header row yet */
    struct framer framer;
    uint64_t dead;              /* records of it that became dead letters before the ring */
    const char *missing_column; /* asked for, and not in the header bound last; NULL: none */
};

void input_init(struct input *in, struct pipeline *p, struct shape *shape,
                const struct shape_spec *spec, const char *path);
void input_release(struct input *in);
/* Reading and delivery are here: a new file, a checkpoint taken up, a file started again. */
void input_start(struct input *in, uint64_t offset, bool mid_record);
bool input_needs_header(const struct input *in);
/* False: no memory, or no whole header row in `bytes` (at_end: when there are no more). */
bool input_header(struct input *in, struct str bytes, bool at_end);
void input_reshape(struct input *in, struct shape *shape, const struct shape_spec *spec);

enum input_result input_feed(struct input *in, struct now now, struct str bytes, bool at_end,
                             size_t *used);

#endif
