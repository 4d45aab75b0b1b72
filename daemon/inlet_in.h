/* inlet_in.h - the inside of a socket source, shared by its files:
 *
 *   inlet.c        life: what the configuration says becomes a socket; the turn
 *   inlet_peer.c   names of users and groups, looked up; who may write
 *   inlet_client.c its clients: bytes to lib/client, answers back
 *
 * A visitor is one connection: its connection (the device's) and its client (lib/client). It is in
 * `visitors` always; in `blocked` while the spool has no room for it, in `deaf` while it does not
 * take its answers, and in `acks` while it waits for an ok. The connection may end before the
 * client is done: what was received of a client that wants no answers is still put.
 */
#ifndef DAEMON_INLET_IN_H
#define DAEMON_INLET_IN_H

#include "daemon/listen.h"
#include "daemon/service_in.h"
#include "lib/client.h"

#define INLET_RESUMED_TURN 64 /* blocked clients that are given another chance, a turn */

struct inlet {
    struct list link;
    struct service *service;
    const struct config_source *config;
    struct stream *stream;
    char *name;
    struct shape *shape;
    struct client_home home;
    struct listen *listen;
    struct list visitors, blocked, deaf, acks;
    struct client datagrams; /* the one client of a datagram socket */
    bool full;               /* a datagram found no room */
    uint64_t told_safe;
    uint64_t gone; /* visitors without a connection, whose bytes wait for room */
    uint64_t told_no_match;
    struct log_limit trouble, no_match;
};

struct visitor {
    struct list link, wait, ack; /* wait: blocked or deaf */
    struct inlet *inlet;
    struct listen_client *connection; /* NULL: gone */
    struct client client;
    uint64_t frames; /* its client had begun when it was last looked at */
    bool ended;      /* no more bytes will come */
    bool gone;       /* counted in inlet.gone */
};

/* inlet_peer.c: what the names stand for now. */
struct inlet_names {
    uid_t owner;
    gid_t group;
    uid_t *uids;
    gid_t *gids;
    size_t uids_n, gids_n;
};
int inlet_names_find(struct inlet_names *n, const struct config_socket *c, struct err *e);
void inlet_names_release(struct inlet_names *n);

/* inlet_client.c: the ops of the device, and what a turn does for the clients. */
void *inlet_opened(void *inlet, struct listen_client *c, const struct listen_peer *peer);
void inlet_bytes(void *inlet, void *visitor, struct str bytes);
void inlet_ended(void *inlet, void *visitor, const char *why);
void inlet_closed(void *inlet, void *visitor);
bool inlet_datagram(void *inlet, const struct listen_peer *peer, struct str bytes, bool whole);
void inlet_acknowledge(struct inlet *in);
void inlet_resume(struct inlet *in, struct now now);
void inlet_forget(struct inlet *in); /* the visitors that have no connection any more */

#endif
