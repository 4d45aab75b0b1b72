/* reply.h - what an answer to PutRecords means. HTTP 200 is not delivery.
 *
 * reply_read judges one answer. For a 200 it walks the Records array without building a tree: an
 * entry with a non-empty SequenceNumber and no ErrorCode is accepted, one with an ErrorCode has
 * failed. The answer counts only if it is whole JSON and has exactly as many entries as the
 * request: otherwise nothing can be matched with anything, and the whole request is
 * REPLY_TRANSIENT (it may have been stored; sending again can duplicate, never lose).
 *
 *   REPLY_OK         all accepted
 *   REPLY_PARTIAL    failed[i] is 1 for the failed ones; `failed_n` of them (it may be all)
 *   REPLY_TRANSIENT  no answer, 5xx, a broken answer, an unknown error: send again
 *   REPLY_THROTTLED  the whole request was throttled: send again, later
 *   REPLY_HELD       only a person can help (authorisation, no such stream, KMS): keep, retry
 *                    slowly
 *   REPLY_REFUSED    the request will never be taken as it is: narrow it down
 *
 * `throttled` tells for REPLY_PARTIAL that a throttle was among the failures. `code` and `message`
 * are the service's own words (of the first failure), cut to size, for the log: printable ASCII
 * only. failed[] means something only for REPLY_OK (all 0) and REPLY_PARTIAL. The code decides, not
 * the status: Kinesis answers many errors with 400. Error bodies that are not JSON are judged by
 * their status.
 */
#ifndef LIB_REPLY_H
#define LIB_REPLY_H

#include "lib/base.h"

enum reply_kind {
    REPLY_OK,
    REPLY_PARTIAL,
    REPLY_TRANSIENT,
    REPLY_THROTTLED,
    REPLY_HELD,
    REPLY_REFUSED,
};

struct reply {
    enum reply_kind kind;
    unsigned failed_n;
    bool throttled;
    bool late;        /* REPLY_TRANSIENT: less in one request may get through in time */
    bool credentials; /* REPLY_HELD: fresh credentials may help */
    char code[80];
    char message[240];
};

#define REPLY_STATUS_LATE 408 /* the service's word; also for no answer in the caller's own time */

void reply_read(struct reply *r, int status, struct str body, unsigned n, uint8_t *failed);

#endif
