/* listen.h - a local socket on the loop: clients come, are looked at, give bytes, get answers.
 *
 * listen_new makes a socket at `path` (unixsock.h: mode, owner and group exactly as told, stale
 * paths taken over), or takes a descriptor that the service manager has opened (fd >= 0, its own
 * from then on, also on failure). What is made here is unlinked by listen_close, if it is still
 * ours; what the manager made is left alone.
 *
 * A stream socket. Each connection is a struct listen_client. Its peer (SO_PEERCRED, and the
 * supplementary groups by SO_PEERGROUPS) is held against `allow` before a byte is read: refused
 * ones are closed, counted and logged at a bounded rate. Told upward, always on the loop:
 *   opened(ctx, client, peer)  a new client; what is returned is told as `owner` from then on;
 *                              NULL: no memory, and it is closed without another word
 *   bytes(ctx, owner, bytes)   at most LISTEN_READ_MAX a client and turn, and LISTEN_CLIENTS_TURN
 *                              clients, so that one that floods does not starve the others; they
 *                              are the callee's to copy
 *   ended(ctx, owner, why)     no more bytes will come: NULL: the client has shut down its side or
 *                              closed; else why it is being cut off, and hung up on anyway. Answers
 *                              may still be given, and the callee calls listen_hang_up when it is
 *                              done with it. Told once, and not after listen_hang_up
 *   closed(ctx, owner)         the client is gone, and with it the struct: after listen_hang_up,
 *                              after ended as soon as there is nobody left to hear answers, and
 *                              from inside listen_close, but from inside no other call. What the
 *                              owner still holds of its bytes is for the owner to deal with
 * Asked for from above, also from inside what is told:
 *   listen_pause / listen_resume   stop and go on reading from this client
 *   listen_answer                  queue bytes for it, written before the loop sleeps or when it
 *                                  takes them; once it can hear no more they are dropped. false:
 *                                  no memory, or more than LISTEN_ANSWERS_MAX wait
 *   listen_waiting                 how many bytes of answers it has not taken
 *   listen_expects                 true: the client owes the rest of an unfinished frame, and is
 *                                  cut off LISTEN_FRAME_MS after the first such call; false: it
 *                                  does not. When the rest of one came together with the beginning
 *                                  of the next: false, then true
 *   listen_owes                    true: it waits for an answer, so that its silence is in order
 *   listen_hang_up                 no more bytes are told; closes once the answers that wait are
 *                                  written, at the latest after LISTEN_GOODBYE_MS
 * A client that sends nothing for idle_ms, owes nothing and waits for nothing is cut off. One that
 * takes no answers for LISTEN_GOODBYE_MS while some wait, too. While it is not read from, because
 * of a pause, no time counts but that. Over max_clients: accepted and closed at once, counted,
 * logged at a bounded rate; so are those for whom no descriptor is left (a spare one is kept for
 * that).
 *
 * A datagram socket. datagram(ctx, peer, bytes, whole) for each, about LISTEN_DATAGRAMS_TURN a
 * turn, its sender's pid, uid and gid from SCM_CREDENTIALS; other groups are not known, and `allow`
 * by group looks at the sender's own group only. (A descriptor of the manager's needs
 * PassCredentials=yes: else who sent before we were there is nobody, and as good as refused by any
 * allow.) One longer than datagram_max comes cut, with `whole` false. If the callee returns false
 * it must have paused, and the same one is told again after the pause; in listen_finish that means
 * that it is lost, and those behind it, which is logged.
 *
 * listen_pause_all(l, true) stops reading from all, and accepting, at a cost that does not depend
 * on how many there are; senders then block in the kernel. Answers go on.
 *
 * listen_finish is the beginning of the end: the path is unlinked, who has connected by then and
 * what has been sent by then is told, unless there is a pause, and from then on nothing is read or
 * accepted, while answers still go out. Of the manager's socket nobody is accepted and no datagram
 * read: they wait for the next process. listen_close does that too, if it was not done, writes what
 * clients take of their answers, closes them (closed is called for each) and the socket, and calls
 * on_closed when nothing is left, never from inside. Neither is called from inside what is told.
 */
#ifndef DAEMON_LISTEN_H
#define DAEMON_LISTEN_H

#include <sys/types.h>
#include <uv.h>

#include "lib/base.h"
#include "lib/err.h"

#define LISTEN_READ_MAX       (64 * KIB)
#define LISTEN_CLIENTS_TURN   64
#define LISTEN_DATAGRAMS_TURN 256
#define LISTEN_FRAME_MS       60000
#define LISTEN_GOODBYE_MS     30000
#define LISTEN_ANSWERS_MAX    (4 * MIB) /* stop reading long before: what one read can cause */
#define LISTEN_GROUPS_MAX     65536     /* of a peer: as many as the kernel lets it have */

struct listen_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

/* Nobody listed: everybody whom the file's mode lets in. */
struct listen_allow {
    const uid_t *uids;
    size_t uids_n;
    const gid_t *gids;
    size_t gids_n;
};

struct listen_client;
struct listen;

struct listen_options {
    const char *name; /* for the log; copied, as path and allow */
    const char *path;
    int fd; /* -1: bind path */
    bool datagram;
    mode_t mode;
    uid_t owner; /* (uid_t)-1: as it is */
    gid_t group; /* (gid_t)-1: as it is */
    unsigned max_clients;
    uint64_t idle_ms; /* 0: a silent client may stay */
    size_t datagram_max;
    struct listen_allow allow;
};

struct listen_ops {
    void *ctx;
    void *(*opened)(void *ctx, struct listen_client *c, const struct listen_peer *peer);
    void (*bytes)(void *ctx, void *owner, struct str bytes);
    void (*ended)(void *ctx, void *owner, const char *why);
    void (*closed)(void *ctx, void *owner);
    bool (*datagram)(void *ctx, const struct listen_peer *peer, struct str bytes, bool whole);
};

struct listen_counts {
    uint64_t clients;     /* now */
    uint64_t accepted;    /* ever, refused ones included */
    uint64_t refused;     /* by allow (datagrams: each) */
    uint64_t turned_away; /* over max_clients, or without a descriptor */
    uint64_t cut_off;     /* idle, an unfinished frame for too long, or answers not taken */
};

struct listen *listen_new(uv_loop_t *loop, const struct listen_options *o,
                          const struct listen_ops *ops, struct err *e);
void listen_finish(struct listen *l);
void listen_close(struct listen *l, void (*on_closed)(void *ctx), void *ctx);
/* Live options. False: no memory, and nothing has changed. Who is here already may stay. */
bool listen_set(struct listen *l, unsigned max_clients, uint64_t idle_ms,
                const struct listen_allow *allow);
void listen_set_waits(struct listen *l, uint64_t frame_ms, uint64_t goodbye_ms); /* for tests */
const struct listen_counts *listen_counts(const struct listen *l);
void listen_pause_all(struct listen *l, bool pause);
void listen_tell_held(struct listen *l); /* datagrams that were read before a pause, now */

void listen_pause(struct listen_client *c);
void listen_resume(struct listen_client *c);
bool listen_answer(struct listen_client *c, struct str bytes);
size_t listen_waiting(const struct listen_client *c);
void listen_expects(struct listen_client *c, bool unfinished);
void listen_owes(struct listen_client *c, bool answer);
void listen_hang_up(struct listen_client *c);

#endif
