/* pipeline_in.h - the inside of a pipeline, shared by its three files:
 *   pipeline.c         life, what callbacks deposit, the turn
 *   pipeline_send.c    from the ring into requests, and into the dead letters
 *   pipeline_settle.c  what an answer does to its batch
 */
#ifndef LIB_PIPELINE_IN_H
#define LIB_PIPELINE_IN_H

#include "lib/pipeline.h"

#define DEAD_REASON_SIZE 384
#define AHEAD_RECORDS (2 * BATCH_RECORDS_MAX) /* ready for the next requests: enough */
#define AHEAD_BYTES (2 * BATCH_BYTES_MAX)

enum slot_state { SLOT_IDLE, SLOT_BUSY, SLOT_ANSWERED };

struct slot {
    enum slot_state state;
    struct batch *batch;
    struct buf body, authorization;
    char date_line[SIGN_DATE_SIZE + 16];
    int status;
    struct str answer;
};

enum dead_state { DEAD_FREE, DEAD_WAITING, DEAD_STORING, DEAD_STORED, DEAD_FAILED };

struct dead {
    enum dead_state state;
    struct record *rec;
    uint64_t due_ms;
    char reason[DEAD_REASON_SIZE];
};

/* Where requests go. All but the prefix of every body end in a NUL. */
struct destination {
    struct buf prefix, region, url, host, host_line;
};

/* NUL-terminated; empty: none. */
struct keys {
    struct buf akid, secret, token, token_line;
};

struct pipeline {
    struct pipeline_ops ops;
    struct ring ring;
    struct rng rng;
    struct stats stats;

    uint64_t linger_ms;
    unsigned in_flight;
    struct destination to;
    struct keys keys;
    struct sign_key sign_key;

    struct slot slots[PIPELINE_SLOTS_MAX];
    unsigned flying;       /* slots not idle */
    unsigned flight_limit; /* how many may fly: 1 after a failure, growing back */
    struct batch *pool;
    struct list free, waiting;
    unsigned waiting_n;

    struct dead dead[DEAD_IN_WORK_MAX];
    unsigned dead_n; /* not free */
    unsigned refused_in_a_row;
    unsigned window_most; /* records a request: less while larger ones are not through in time */
    bool probe_new; /* in trouble: the next probe may be a new batch */

    enum pipeline_health health;
    struct list moved;
    bool full;     /* over the high mark, and not yet under the low one */
    bool paused, draining;
    bool was_full; /* a record found no room since the last turn */
};

/* pipeline_send.c */
/* False: too many are in work. */
bool pipeline_dead_add(struct pipeline *p, struct record *rec, const char *reason);
void pipeline_pump_dead(struct pipeline *p, struct now now);
void pipeline_wait(struct pipeline *p, struct batch *b, uint64_t due_ms);
void pipeline_send_due(struct pipeline *p, struct now now);
void pipeline_take_new(struct pipeline *p, struct now now);
uint64_t pipeline_next_deadline(struct pipeline *p, struct now now);

/* pipeline_settle.c */
void pipeline_settle_answers(struct pipeline *p, struct now now);

#endif
