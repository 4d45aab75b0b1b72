/* transform.h - what the Lambda function does: an event of Firehose in, its answer out.
 *
 * An event is JSON that holds records; the answer names each of them once, by its recordId and in
 * their order, with a result:
 *
 *   Ok                what the mapping's shape made of it: one JSON text a line, each ended by a
 *                     line feed; and, with partition_keys, those members of it as metadata
 *   Dropped           there was nothing in it, or nothing that is to be kept (on_no_match: drop)
 *   ProcessingFailed  some of it cannot be shaped, or its answer has no room; the data is what
 *                     came, byte for byte, and Firehose puts it under its error prefix
 *
 * A record's data, out of base64, may be more than one: a KPL aggregate (kpl.h) is taken apart, and
 * each part, or the whole, is read as a file of the source's format is at the edge: by lines, or
 * rows of CSV, and with split_arrays by elements. Except that JSON may also be one value over
 * several lines. All of a record is shaped, or none of it.
 *
 * The answer is at most answer_max bytes. A record takes what is free when it comes, as far as
 * enough is left to fail all that follow.
 *
 * Partition keys are of the whole Firehose record: of its first JSON text; when another one's
 * differ, done->mixed counts the record. One without such a member, or with none but an empty one,
 * fails.
 *
 *   transform_new    compiles the mapping (config_build_mapping), which must outlive it and is not
 *                    changed. csv needs columns: there are no header rows here.
 *   transform_event  the answer goes into an initialised buf whose max is at least answer_max,
 *                    emptied first. Not 0: the event as a whole is no event (ERR_SYNTAX, ERR_TYPE,
 *                    ERR_MISSING: an answer is not possible), the answer cannot be so small
 *                    (ERR_RANGE), or memory ran out (ERR_NOMEM); err says more, and never holds
 *                    data. `done` is written in both cases; done->why borrows from the transform,
 *                    done->why_id from the event.
 *
 * Every input is bounded by what it is long: time is linear in the event and in what is made of it
 * (max_record a record), memory is the event's records and one record's result.
 */
#ifndef LIB_TRANSFORM_H
#define LIB_TRANSFORM_H

#include "lib/config.h"

/* Lambda lets 6 MB through; whether these are of 1000 or of 1024, this fits. */
#define TRANSFORM_ANSWER_MAX ((size_t)6000000)

struct transform_done {
    size_t records; /* in the event: ok + dropped + failed */
    size_t ok, dropped, failed;
    size_t no_room; /* of those failed: the answer was full */
    size_t texts;   /* JSON texts, or lines, in the answer */
    size_t aggregates, mixed;
    struct stats stats; /* of the shape: values that did not fit, and so on */
    const char *why;    /* the first that failed: what was wrong with it; NULL: none failed */
    struct str why_id;  /* and its recordId, as it stands in the event */
};

struct transform;

struct transform *transform_new(const struct config_source *mapping, const char *host,
                                size_t answer_max, struct err *e);
void transform_free(struct transform *t);
int transform_event(struct transform *t, struct str event, struct buf *answer,
                    struct transform_done *done, struct err *e);

#endif
