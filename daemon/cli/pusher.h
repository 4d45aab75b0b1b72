/* pusher.h - lines to a stream socket, until all are taken, or acknowledged.
 *
 * pusher_run takes lines as long as its window has room, writes them, and reads answers meanwhile,
 * so that two full buffers never wait for each other; it sleeps in poll and nowhere else.
 *
 * With `ack`: what no `ok` has named is kept, and when the connection is lost a new one is made,
 * after pauses that grow, and all of that is sent again, in order. It is over when the input is,
 * and all is acknowledged. Without: answers are passed over; at the end the sending side is shut
 * down, and it is over when the peer closes having read all of it. A connection that is lost
 * earlier ends it, for nobody knows what has arrived. In both cases the first connection is tried
 * again and again while nobody listens, and time is up when nothing has moved for timeout_ms: no
 * byte was written for the first time, no line named by an answer. Time does not count while there
 * is nothing to send.
 *
 *   PUSHER_DONE        but see input_failed: what could be read is dealt with
 *   PUSHER_GAVE_UP     for now: time is up, or the connection was lost
 *   PUSHER_SHUT_OUT    the socket cannot be connected to, and that will not change
 *   PUSHER_NONSENSE    the peer does not answer as the protocol says
 *   PUSHER_NOMEM
 * `why` says more of all but the first and the last.
 *
 * Told upward: bad, a line that the peer has refused, with whatever bytes it gave as the reason;
 * note, a sentence for who waits; turn, once a turn, which returns when it wants to be called
 * again.
 */
#ifndef DAEMON_CLI_PUSHER_H
#define DAEMON_CLI_PUSHER_H

#include "daemon/cli/lines.h"
#include "lib/rng.h"

#define PUSHER_ANSWER_MAX (4 * KIB) /* of one answer; the daemon's are far shorter */

enum pusher_end {
    PUSHER_ON,
    PUSHER_DONE,
    PUSHER_GAVE_UP,
    PUSHER_SHUT_OUT,
    PUSHER_NONSENSE,
    PUSHER_NOMEM,
};

struct pusher_ops {
    void *ctx;
    void (*bad)(void *ctx, struct window_place place, struct str reason);
    void (*note)(void *ctx, const char *sentence);
    uint64_t (*turn)(void *ctx, uint64_t now_ms);
};

struct pusher {
    const char *path;
    bool ack;
    uint64_t timeout_ms;
    struct pusher_ops ops;
    struct window window; /* the caller's to init and release, both */
    struct lines lines;
    bool input_ended, input_failed;
    struct err input_why, why;

    int fd; /* -1: not connected */
    bool was_connected, shut, answered;
    bool noted; /* who waits knows that it is lost */
    unsigned tries;
    uint64_t retry_ms;
    uint64_t moved_ms, mark; /* when something moved last, and how far all was then */
    bool was_busy;
    enum pusher_end end;
    char answers[PUSHER_ANSWER_MAX];
    size_t answers_n;
    struct rng rng;
};

enum pusher_end pusher_run(struct pusher *p);

#endif
