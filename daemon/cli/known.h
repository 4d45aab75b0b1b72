/* known.h - what tailrace knows of a file: its positions, one for each source that follows it.
 *
 * A target is a file that somebody has named, open. known_ask gives the positions of it that the
 * daemon knows, or, when it does not run, those of the checkpoint. A position is one of this file
 * if inode and both fingerprints fit, whatever the path: so a file is found again after it has been
 * renamed. Sources that the configuration no longer has do not count. Of each source there is one
 * position at most. The checkpoint is read once for all files, until known_forget.
 */
#ifndef DAEMON_CLI_KNOWN_H
#define DAEMON_CLI_KNOWN_H

#include "daemon/cli/talk.h"

struct target {
    const char *path;
    int fd;
    uint64_t device, inode, size;
};

struct known {
    char *source, *path;
    struct position at;
    bool followed;                   /* by a running daemon */
    bool saved;                      /* the checkpoint on disk says so too */
    uint64_t read, in_ring, dropped; /* dropped: since the daemon has followed it */
};

struct known_set {
    bool live; /* from a running daemon */
    struct known *all;
    size_t n;
};

/* False after a complaint: it cannot be opened, or is no regular file. */
bool target_open(struct target *t, const char *path);
void target_close(struct target *t);
bool target_refresh(struct target *t); /* its size, now */

/* Whether a position is one in this file. */
bool known_is(int fd, uint64_t inode, const struct position *at);
/* 0, or an error with a sentence, and then *set is empty. Connects when that is needed. */
int known_ask(struct talk *talk, const struct target *t, struct known_set *set, struct err *e);
void known_forget(struct talk *talk);
void known_release(struct known_set *set);

#endif
