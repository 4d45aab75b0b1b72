/* input.h - one followed file, seen from inside: bytes in, records into the ring, a position out.
 *
 * Its offsets are those of its struct origin (record.h): reading goes on at read_at, the checkpoint
 * stores `delivered`.
 *
 * input_feed(in, now, bytes, at_end, quiet_ms, &used) is given the bytes that stand at read_at. It
 * frames them, shapes them and puts them into the ring, and says how many it used; read_at moves by
 * as many. What was not used is to be offered again: an unfinished record together with more bytes
 * (INPUT_MORE), or everything when there is room again (INPUT_FULL, INPUT_DEAD_FULL). `at_end`
 * says that no more bytes will come: an unterminated last record counts. So it does on a file that
 * is still there, once it has been quiet for flush_after_ms; and the whole lines of a multi-line
 * event (multiline.h), once it has been for the event's timeout. What comes later is a record of
 * its own.
 *
 * A CSV file without configured columns has a header row: its first row that is not empty. Read
 * from offset 0, input_feed takes it by itself. Taken up behind it (input_start at another offset,
 * or input_reshape), input_needs_header says so: give the file's first bytes to input_header. Of a
 * header with too many fields the first CSV_FIELDS_MAX count; of one longer than max_record, which
 * becomes a dead letter like any record, those in its first max_record bytes.
 *
 * A record is too long when the service would refuse it: its data and its key together are over
 * max_record. on_oversize decides for text that is sent as it stands (lines):
 *   truncate     as much as there is room for, and the marker ...[truncated]
 *   split        parts of at most max_record, each a record; the parts after the first are read as
 *                if a line began there, so a restart between them needs no memory
 *   dead_letter  a dead letter with its first max_record bytes
 * Any other record that is too long becomes a dead letter: a part of it would be invalid. Of a
 * record longer than max_record before it is shaped, the rest, up to the next line end, is skipped
 * (unless split), also across a restart (mid_record in the position).
 *
 * With split_arrays a line that is a JSON array becomes a record an element, all at the line's
 * offset; an empty one none, and one that is not JSON throughout is one dead letter. The line is
 * delivered when all of them are: only the last moves the checkpoint, so that a restart in between
 * sends the whole line again. When the ring is full in the middle of a line, read_at stays before
 * it, and the next feed goes on behind the elements that are in the ring.
 *
 * The first skip_lines lines of a file read from 0 are passed over. Until all of them are there,
 * `delivered` stays at 0, so that a restart counts them again; at_end ends that.
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
    bool header_ahead;   /* read_at has not passed the header row yet */
    uint64_t head_lines; /* of spec->skip_lines, those still to be passed over */
    struct framer framer;
    struct csv_scan ahead; /* of the unfinished row at ahead_at */
    uint64_t ahead_at;
    size_t elements_at; /* of the array that read_at stands before: its text that is in the ring */
    size_t pending; /* bytes offered last that were not used */
    bool reshaped;  /* and not looked at since: lines among them may be an event now */
    uint64_t dead;              /* records of it that became dead letters before the ring */
    uint64_t no_match;          /* lines of it that are not of the format */
    uint64_t dropped;           /* and those of them that were dropped */
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

/* quiet_ms: how long the file has ended where `bytes` end; 0 when it does not end there. */
enum input_result input_feed(struct input *in, struct now now, struct str bytes, bool at_end,
                             uint64_t quiet_ms, size_t *used);
/* Once the file has been quiet for so long, what was not used is to be offered again: some of it
 * will count as it stands. UINT64_MAX: only more bytes help. It may change with each input_feed. */
uint64_t input_patience_ms(const struct input *in);

#endif
