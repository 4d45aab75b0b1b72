/* record.h - a record as it lies in the ring: this header, then its key, then its data.
 *
 *   kind   DATA   goes to the service; the key is its partition key
 *          DEAD   goes to the dead letters; the "key" is the reason, in words
 *   state  WAITING -> TAKEN (by a batch, or on its way to the dead letters) -> DONE
 *
 * A record is written once and never moves; it is gone when the ring's tail has passed it. `begin`
 * and `end` are offsets in the source: when every record up to this one is DONE, its source is
 * delivered up to `end`. A DATA record becomes DEAD in place when the service refuses it for good.
 */
#ifndef LIB_RECORD_H
#define LIB_RECORD_H

#include "lib/list.h"

enum record_kind { RECORD_DATA, RECORD_DEAD };
enum record_state { RECORD_WAITING, RECORD_TAKEN, RECORD_DONE };

#define RECORD_KEY_BYTES_MAX 1024 /* 256 characters of 4 bytes */

/* Where records come from, as far as the pipeline needs to know: offsets in one source.
 *
 *     delivered  <=  read_at
 *     |              '- up to here bytes have become records, or were passed over
 *     '- up to here every record is DONE: what a checkpoint may store
 *
 * While no record of it is in the ring, both are the same, except in lines at a file's beginning
 * that are skipped (input.h). `moved` links it into pipeline_moved when `delivered` has changed. */
struct origin {
    uint64_t delivered, read_at;
    bool delivered_mid, read_mid; /* the offset lies inside an over-long record */
    unsigned in_ring;
    struct list moved;
};

struct record {
    uint32_t size; /* of all of it, in the ring: a multiple of 8 */
    uint32_t data_n;
    uint16_t key_n;
    uint8_t kind, state;
    uint8_t key_plain;  /* the key needs no escaping in JSON */
    uint8_t mid_record; /* `end` lies inside an over-long record */
    uint32_t born_ms;   /* the low bits of the monotonic clock, for linger */
    struct origin *origin;
    uint64_t begin, end;
};

static inline struct str record_key(const struct record *r)
{
    return (struct str){(const char *)(r + 1), r->key_n};
}

static inline struct str record_data(const struct record *r)
{
    return (struct str){(const char *)(r + 1) + r->key_n, r->data_n};
}

/* What the service counts against its limits: data before base64, and key. */
static inline size_t record_weight(const struct record *r)
{
    return (size_t)r->data_n + r->key_n;
}

#endif
