/* listen_in.h - the inside of a listening socket, shared by its files:
 *   listen.c           birth and death, who comes, who may
 *   listen_client.c    one client: reading, answers, the end
 *   listen_wait.c      what is awaited of clients, and one timer for all
 *   listen_datagram.c  datagrams
 *
 * Clients are not handles of the loop. The loop polls two epoll descriptors that hold them all:
 * `readers` for what they send, `takers` for whether they take answers or are gone. So reading from
 * all of them stops by not polling one descriptor, and a turn is as long as we like: epoll gives
 * each ready client its turn before any a second one.
 */
#ifndef DAEMON_LISTEN_IN_H
#define DAEMON_LISTEN_IN_H

#include "daemon/listen.h"
#include "daemon/log.h"
#include "daemon/unixsock.h"
#include "lib/buf.h"
#include "lib/list.h"

#define LISTEN_COMPLAIN_EVERY_MS 10000

/* What may be awaited of a client: the first two of what it sends, the others of what it takes. */
enum listen_wait_kind { WAIT_IDLE, WAIT_FRAME, WAIT_TAKEN, WAIT_GOODBYE, WAITS, WAIT_NOTHING };

struct listen_wait {
    struct list link; /* in listen->waits[kind] */
    enum listen_wait_kind kind;
    uint64_t since_ms;
};

struct listen_client {
    struct listen *listen;
    void *owner;
    int fd;
    struct listen_peer peer;
    struct list link; /* in clients */
    struct list work; /* in listen->work: answers to write, or to be closed */
    struct listen_wait input, output;
    struct buf out;
    size_t out_at;   /* the bytes before it are written */
    bool paused;     /* this one */
    bool unfinished; /* listen_expects */
    bool owed;       /* listen_owes */
    bool stuck;      /* the kernel takes no answers for now */
    bool deaf;       /* nobody will hear an answer any more */
    bool ended;      /* it says nothing any more */
    bool leaving;    /* hung up: gone when its answers are written */
};

struct listen_datagrams;

struct listen {
    struct listen_ops ops;
    char *name;
    int fd, spare_fd; /* -1: none */
    int readers_fd, takers_fd;
    bool ours; /* made here, and to be unlinked */
    struct unixsock file;
    unsigned max_clients;
    uid_t *uids; /* allowed, as are gids; without any everybody is */
    gid_t *gids;
    size_t uids_n, gids_n;
    struct listen_counts counts;
    bool paused;
    bool finished; /* and paused for good */
    uv_poll_t listener, readers, takers;
    uv_timer_t timer;
    uv_idle_t idle; /* runs while there is work, so that no turn sleeps on it */
    unsigned handles;
    struct list clients, work;
    struct list waits[WAITS]; /* each in order of its deadlines, for all have equally long */
    uint64_t wait_ms[WAITS];  /* 0: without end */
    uint64_t resumed_ms;      /* what clients send is awaited from here on, if not from later */
    uint64_t accept_at_ms;    /* 0: now */
    uint64_t timer_at_ms;     /* UINT64_MAX: it is not wound up */
    struct log_limit stranger, too_many, slow, trouble;
    struct listen_datagrams *datagrams; /* NULL: a stream */
    char *chunk;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

static inline uint64_t listen_now(const struct listen *l)
{
    return uv_now(l->idle.loop);
}

/* listen.c */
bool listen_allows(const struct listen *l, uid_t uid, const gid_t *gids, size_t gids_n);
void listen_refuse(struct listen *l, const struct listen_peer *peer);
void listen_accept_again(struct listen *l); /* after accept_at_ms */
void listen_wake(struct listen *l);         /* there is work before the loop sleeps */

/* listen_client.c */
/* Takes over the descriptor. */
void listen_client_new(struct listen *l, int fd, const struct listen_peer *peer);
void listen_client_close(struct listen_client *c);
/* `deaf`: its answers are given up. */
void listen_client_cut_off(struct listen_client *c, const char *why, bool deaf);
void listen_client_last_words(struct listen_client *c); /* what it has sent so far is told */
void listen_client_leave(struct listen_client *c);      /* what it takes is written, and closed */
void listen_do_work(struct listen *l);
void listen_on_readers(uv_poll_t *poll, int status, int events);
void listen_on_takers(uv_poll_t *poll, int status, int events);

/* listen_wait.c */
void listen_wait_init(struct listen_wait *w);
void listen_wait_for(struct listen *l, struct listen_wait *w, enum listen_wait_kind kind);
void listen_wait_arm(struct listen *l); /* the lists or the times have changed */
void listen_on_timer(uv_timer_t *timer);

/* listen_datagram.c */
int listen_datagrams_new(struct listen *l, size_t datagram_max, struct err *e);
void listen_datagrams_free(struct listen *l);
bool listen_datagrams_held(const struct listen *l); /* read, and not taken yet */
void listen_datagrams_tell(struct listen *l);       /* those, unless there is a pause */
void listen_datagrams_last(struct listen *l);       /* those, and if ours, all in the kernel */
void listen_on_datagrams(uv_poll_t *poll, int status, int events);

#endif
