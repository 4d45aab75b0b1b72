/* pipeline.h - one stream: its ring, its batches, its requests, and the one function that decides.
 *
 *   inputs ─ pipeline_put ─▶ RING ─▶ batch ─▶ encode ─▶ sign ─▶ ops.send ─▶ ... the world ...
 *                             │        ▲                                         │
 *             acked ◀─ DONE ──┘        └─ shrinks ◀─ reply ◀─ pipeline_answer ◀──┘
 *
 * Calling order. pipeline_new; pipeline_configure and pipeline_credentials (again at any time);
 * then, from callbacks, in any order and number: pipeline_put (through an input), pipeline_answer,
 * pipeline_dead_stored: these only deposit. pipeline_pump(p, now) once a loop turn: it settles the
 * answers, retires what is delivered, sends what is due, takes new batches, steers the sources, and
 * returns the monotonic time at which it wants to be called even if nothing happens (UINT64_MAX:
 * never). Its work a turn is bounded (PUMP_RETIRE_MAX); if more is left, the returned time is now.
 *
 * Effects. struct pipeline_ops is all the pipeline knows of the world:
 *   send          start one request in a slot; its body is borrowed until pipeline_answer for that
 *                 slot, its url and headers only for the call; the answer may come at any later
 *                 time, but not from inside send, and its body must live until the next pump
 *   dead_letter   store this record; answered by pipeline_dead_stored(token), later, not from
 *                 inside
 *   dead_room     whether a dead letter of so many bytes would fit now
 *   steer         true: stop reading (the ring is 7/8 full or a record found no room in it, until
 *                 it is half empty; or the flight is full and the next requests lie ready); false:
 *                 go on
 *   trouble       something a person should know: the pipeline's health changed, or is still bad;
 *                 `credentials` asks for fresh ones
 *
 * Rules it keeps.
 *   A request that fails as a whole stops new batches until one gets through: one probe at a time,
 *   then twice as many with each success, up to in_flight. Records that are refused one by one, and
 *   all of them again, stop nobody: a new batch is tried then. A batch waiting for its retry holds
 *   no slot. At most BATCHES_WAITING_MAX batches wait; then no new ones are taken, the ring fills,
 *   sources pause.
 *   Requests that are not through in time, again and again, are halved, down to one record: what a
 *   slow link can carry is found like that, and tried anew with each success.
 *   Refused requests are narrowed to the one record that is refused, which becomes a dead letter;
 *   of a batch that is narrowed, records refused by themselves go to the end, out of the way;
 *   REFUSED_IN_A_ROW_MAX such dead letters without an acceptance in between are operator trouble:
 *   data is kept.
 *
 * Ownership. The pipeline owns ring, batches and bodies; it borrows ops, and the origins whose
 * records are in the ring: one may be freed only when its in_ring is 0. pipeline_free wipes
 * credentials.
 */
#ifndef LIB_PIPELINE_H
#define LIB_PIPELINE_H

#include "lib/encode.h"
#include "lib/reply.h"
#include "lib/rng.h"
#include "lib/sign.h"
#include "lib/stats.h"

#define PIPELINE_SLOTS_MAX 64
#define BATCHES_WAITING_MAX  32 /* shrunken batches waiting for a retry, besides those in flight */
#define DEAD_IN_WORK_MAX     64    /* records on their way to the dead letters at one time */
#define PUMP_RETIRE_MAX      16384 /* records retired a turn */
#define REFUSED_IN_A_ROW_MAX 10
#define HELD_BASE_MS         5000 /* a person is needed: ask again slowly */
#define HELD_CAP_MS          60000
#define DEAD_RETRY_MS        1000
#define PIPELINE_HEADERS_MAX 8

enum pipeline_health {
    HEALTH_OK,
    HEALTH_RETRYING, /* the last request failed; trying again */
    HEALTH_HELD,     /* a person is needed; data is kept */
};

struct pipeline_request {
    const char *url;
    const char *headers[PIPELINE_HEADERS_MAX]; /* "Name: value", NULL at the end */
    struct str body;
    const struct batch *batch; /* for tests: what is in the body */
};

struct pipeline_ops {
    void *ctx;
    void (*send)(void *ctx, unsigned slot, const struct pipeline_request *r);
    void (*dead_letter)(void *ctx, const struct record *rec, const char *reason, uint64_t token);
    bool (*dead_room)(void *ctx, size_t data_n);
    void (*steer)(void *ctx, bool pause);
    void (*trouble)(void *ctx, enum pipeline_health health, const struct reply *last);
};

struct pipeline_options {
    const char *stream; /* name or ARN */
    const char *region, *url, *host;
    uint64_t linger_ms;
    unsigned in_flight; /* 1..PIPELINE_SLOTS_MAX */
};

struct pipeline;

/* What an input wants to put: a DATA record with its key, or a DEAD one with its reason as key. */
struct pipeline_item {
    enum record_kind kind;
    struct str key, data;
    bool key_plain; /* surely nothing to escape in the key */
    uint64_t begin, end;
    bool mid_record;
};

struct pipeline *pipeline_new(uint64_t buffer_bytes, const struct pipeline_ops *ops, uint64_t seed);
void pipeline_free(struct pipeline *p); /* NULL is fine */
/* Both copy. False: no memory, and nothing has changed. Credentials NULL: none, nothing is sent. */
bool pipeline_configure(struct pipeline *p, const struct pipeline_options *o);
bool pipeline_credentials(struct pipeline *p, const struct sign_credentials *c);

enum pipeline_put { PUT_OK, PUT_FULL, PUT_DEAD_FULL };

/* Not PUT_OK: the ring, or the dead letters, are full, and nothing was taken. PUT_OK: from->in_ring
 * has counted up. */
enum pipeline_put pipeline_put(struct pipeline *p, struct now now, struct origin *from,
                               const struct pipeline_item *item);
void pipeline_answer(struct pipeline *p, unsigned slot, int status, struct str body);
void pipeline_dead_stored(struct pipeline *p, uint64_t token, bool stored);

uint64_t pipeline_pump(struct pipeline *p, struct now now);

void pipeline_drain(struct pipeline *p, bool on); /* linger no longer counts */
bool pipeline_empty(const struct pipeline *p);
bool pipeline_paused(const struct pipeline *p);
enum pipeline_health pipeline_health(const struct pipeline *p);
struct stats *pipeline_stats(struct pipeline *p);
struct rng *pipeline_rng(struct pipeline *p);
const struct ring *pipeline_ring(const struct pipeline *p);
size_t pipeline_record_max(const struct pipeline *p);

/* `from` has been read further without a record, or moved by hand: does `delivered` follow? */
void pipeline_origin_moved(struct pipeline *p, struct origin *from);

/* The origins whose `delivered` has changed since they were last taken from here, linked by
 * `moved`. The caller unlinks them. */
struct list *pipeline_moved(struct pipeline *p);

#endif
