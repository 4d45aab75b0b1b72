/* unixsock.h - a Unix socket as a file: made at a path, taken over from the dead, removed, reached.
 *
 * unixsock_open makes a socket at `path`, in a directory that is there, and returns its descriptor
 * (non-blocking; a stream listens), or a negative code. Mode, owner and group are exactly as told
 * from the first moment that the path leads to it, whatever the umask; a client that finds it can
 * connect at once. What a dead process left at the path is replaced in one step, so that the path
 * is never missing in between. What is not a socket, or what a living process has open, is left
 * alone (ERR_BUSY). A lock on the directory keeps two daemons from taking over at one time: who may
 * read the directory can hold that lock, so for strangers it should have no more than the x bit
 * (0711). A killed process may leave PATH.new behind; the next one removes it.
 *
 * Owner and group are changed only when asked: for an owner that needs CAP_CHOWN, for a group that,
 * or membership in it. On a datagram socket SO_PASSCRED is set before anybody can send.
 *
 * unixsock_remove unlinks the path if it still leads to the socket that unixsock_open made.
 *
 * unixsock_connect is the other side: a connected descriptor, blocking, or ERR_MISSING (nobody
 * listens there), ERR_IO. It needs no right to read the directory. unixsock_connect_now does not
 * wait: its descriptor is non-blocking, and ERR_BUSY means that the listener's queue is full.
 *
 * A socket's address takes 107 bytes, but a path may have any length up to UNIXSOCK_PATH_MAX: only
 * its last part, the name, has to be short (ERR_RANGE).
 */
#ifndef DAEMON_UNIXSOCK_H
#define DAEMON_UNIXSOCK_H

#include <sys/types.h>

#include "lib/base.h"
#include "lib/err.h"

#define UNIXSOCK_PATH_MAX 4096

struct unixsock_options {
    bool datagram;
    mode_t mode;
    uid_t owner; /* (uid_t)-1: who we are */
    gid_t group; /* (gid_t)-1: as a file in that directory gets it */
};

struct unixsock {
    char path[UNIXSOCK_PATH_MAX];
    uint64_t device, inode;
};

int unixsock_open(struct unixsock *u, const char *path, const struct unixsock_options *o,
                  struct err *e);
void unixsock_remove(const struct unixsock *u);
int unixsock_connect(const char *path, bool datagram, struct err *e);
int unixsock_connect_now(const char *path, struct err *e); /* a stream */

#endif
