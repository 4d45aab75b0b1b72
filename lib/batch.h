/* batch.h - a loan of records, on its way to the service in one request at a time.
 *
 * batch_fill borrows records from the ring in order, up to the service's limits. Then the batch
 * only shrinks: batch_settle marks the accepted records DONE and keeps the others, in order. A
 * request carries the first `window` records; when the service refuses a whole request for what is
 * in it, batch_narrow halves the window until one record stands alone; after an acceptance
 * batch_widen opens it again. `tries` and `due_ms` say when it goes out next. A retry is nothing
 * but that.
 *
 * The records belong to the ring; a batch is a fixed struct in a pool and allocates nothing.
 */
#ifndef LIB_BATCH_H
#define LIB_BATCH_H

#include "lib/list.h"
#include "lib/ring.h"

#define BATCH_RECORDS_MAX 500       /* PutRecords takes no more */
#define BATCH_BYTES_MAX   (5 * MIB) /* data before base64, and keys: the older, safer limit */
#define BATCH_BYTES_SLACK (4 * KIB) /* requests 108 bytes under the limit have been refused */

static_assert(BATCH_BYTES_MAX - BATCH_BYTES_SLACK > MIB + RECORD_KEY_BYTES_MAX,
              "the largest record fits an empty batch");

struct batch {
    struct list link;
    uint64_t due_ms;
    unsigned tries;
    unsigned n, window;
    size_t bytes;
    struct record *records[BATCH_RECORDS_MAX];
};

void batch_init(struct batch *b);
/* Adds DATA records while they fit; stops at the first that does not, at a DEAD one, or at the
 * end. */
void batch_fill(struct batch *b, struct ring *r);
/* failed[i] for the first `window` records; returns how many were accepted. */
unsigned batch_settle(struct batch *b, const uint8_t *failed);
void batch_drop_first(struct batch *b); /* the first record leaves the batch, as it is */
void batch_narrow(struct batch *b);
void batch_widen(struct batch *b, unsigned most); /* up to so many */

#endif
