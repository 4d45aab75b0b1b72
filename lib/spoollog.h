/* spoollog.h - how the file of a spool looks, and what can be told from its bytes alone.
 *
 *   0      header   magic, version, capacity, id: written once, when the file is made
 *   4096   state    two slots, a page each; a new state goes where the older one stands, so that a
 *   8192   state    torn write leaves the other. The one with the higher generation counts
 *   10240  copy     of the header's first bytes: without the id, nothing could be read
 *   12288  data     `capacity` bytes
 *
 * Numbers are little-endian. All checksums are CRC-32C and begin with the file's id, which is
 * random: bytes of another file are never taken for this one's.
 *
 * Positions count all bytes ever put and never wrap: position p stands at data + p % capacity. A
 * record has its own position in its header. So a record of an earlier lap, which stands where a
 * newer one would, is never taken for new; and behind damage the next record can be found, because
 * records begin on multiples of 8.
 *
 *   record     offset  bytes
 *              0       4      checksum of the header, from `position` on
 *              4       4      the same going on over key, data and padding: all of the record
 *              8       8      position
 *              16      4      data_n
 *              20      2      key_n
 *              22      1      kind: 0 pad, 1 data, 2 dead letter (its "key" is the reason)
 *              23      1      flags: 1 the key is plain (nothing to escape in JSON)
 *              24      key, then data, then zeros up to a multiple of 8
 *
 * The header has a checksum of its own, so that a length is believed only if it is right: looking
 * for a record in damaged bytes costs a glance at each multiple of 8.
 *
 * Records never wrap. Where the next does not fit before the end of the data, a pad fills the rest:
 * a header alone, whose data_n covers what follows. A rest too small for a header is passed over.
 *
 * spoollog_look tells what stands at a position, given the bytes from there on (not beyond the end
 * of the lap: spoollog_lap_left); all lengths are checked before they are used:
 *   SPOOLLOG_GOOD   *out is a record or a pad; its key and data point into the bytes
 *   SPOOLLOG_MORE   so far it is good, and out->size bytes are needed
 *   SPOOLLOG_BAD    no record begins here
 * spoollog_find is the offset of the next place behind the first where a header is right; if there
 * is none, of the first place that was not looked at (n if n bytes cannot hold a header).
 */
#ifndef LIB_SPOOLLOG_H
#define LIB_SPOOLLOG_H

#include "lib/err.h"
#include "lib/record.h"

#define SPOOLLOG_VERSION      1
#define SPOOLLOG_PAGE         ((size_t)4096)
#define SPOOLLOG_COPY_PLACE   (2 * SPOOLLOG_PAGE + 2048)
#define SPOOLLOG_DATA_PLACE   (3 * SPOOLLOG_PAGE)
#define SPOOLLOG_HEADER_BYTES ((size_t)512)
#define SPOOLLOG_STATE_BYTES  ((size_t)48)
#define SPOOLLOG_HEAD_BYTES   ((size_t)24)
#define SPOOLLOG_DATA_MAX     (16 * MIB) /* of one record: more than any service takes */
#define SPOOLLOG_CAPACITY_MIN ((uint64_t)64 * KIB)
#define SPOOLLOG_CAPACITY_MAX ((uint64_t)1 << 40)
#define SPOOLLOG_POSITION_MAX ((uint64_t)1 << 62)

struct spoollog {
    uint64_t id, capacity;
    uint32_t seed; /* what all checksums begin with */
};

struct spoollog_state {
    uint64_t generation;
    uint64_t saved;   /* all before is settled; records are read from here on */
    uint64_t written; /* a hint: so far records had been written, at least */
    bool clean;       /* so far exactly: the last one closed the file */
};

enum spoollog_kind { SPOOLLOG_PAD, SPOOLLOG_DATA, SPOOLLOG_DEAD };

struct spoollog_record {
    enum spoollog_kind kind;
    bool key_plain;
    struct str key, data;
    size_t size; /* in the file: how far it is to the next */
};

enum spoollog_found { SPOOLLOG_GOOD, SPOOLLOG_MORE, SPOOLLOG_BAD };

/* capacity: between the bounds above, a multiple of SPOOLLOG_PAGE. */
void spoollog_init(struct spoollog *l, uint64_t id, uint64_t capacity);
void spoollog_put_header(const struct spoollog *l, char to[SPOOLLOG_HEADER_BYTES]);
/* ERR_TYPE: no spool at all; ERR_RANGE: of a newer version; ERR_SYNTAX: damaged. */
int spoollog_get_header(struct spoollog *l, struct str from, struct err *e);

void spoollog_put_state(const struct spoollog *l, const struct spoollog_state *s,
                        char to[SPOOLLOG_STATE_BYTES]);
bool spoollog_get_state(const struct spoollog *l, struct str from, struct spoollog_state *s);

static inline uint64_t spoollog_state_place(uint64_t generation)
{
    return generation % 2 == 0 ? SPOOLLOG_PAGE : 2 * SPOOLLOG_PAGE;
}

static inline uint64_t spoollog_place(const struct spoollog *l, uint64_t position)
{
    return SPOOLLOG_DATA_PLACE + position % l->capacity;
}

static inline uint64_t spoollog_lap_left(const struct spoollog *l, uint64_t position)
{
    return l->capacity - position % l->capacity;
}

static inline size_t spoollog_size(size_t key_n, size_t data_n)
{
    return (SPOOLLOG_HEAD_BYTES + key_n + data_n + 7) & ~(size_t)7;
}

/* The record's size must be there; `to` need not be aligned. */
void spoollog_put_record(const struct spoollog *l, uint64_t position,
                         const struct spoollog_record *rec, char *to);
/* A pad of `rest` bytes: SPOOLLOG_HEAD_BYTES of them are written. */
void spoollog_put_pad(const struct spoollog *l, uint64_t position, uint64_t rest, char *to);

enum spoollog_found spoollog_look(const struct spoollog *l, uint64_t position, struct str bytes,
                                  struct spoollog_record *out);
/* The same for what this process has put into its own memory: nothing is checked. */
void spoollog_trust(const char *p, struct spoollog_record *out);
/* Of a header with its 24 bytes: which position it says it has; whether it may be believed there.
 */
uint64_t spoollog_claim(const char *head);
bool spoollog_has_head(const struct spoollog *l, uint64_t position, const char *head);
size_t spoollog_find(const struct spoollog *l, uint64_t position, struct str bytes);

#endif
