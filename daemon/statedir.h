/* statedir.h - the state directory: there, ours, writable, and used by one daemon at a time.
 *
 * statedir_open opens it, takes an exclusive flock on `lock` inside it without waiting, and proves
 * by writing and removing a file that it can be written. It changes no mode bits, but refuses a
 * directory that group or others may write to, and, unless root runs us, one of another user.
 * Errors say what to do: missing (ERR_MISSING), read-only or not permitted (ERR_IO), in use by
 * another instance (ERR_BUSY, naming its process id when the lock file tells). The lock is held
 * until statedir_close (which may be called again, and on a struct with both at -1) or the end of
 * the process.
 */
#ifndef DAEMON_STATEDIR_H
#define DAEMON_STATEDIR_H

#include "lib/base.h"
#include "lib/err.h"

struct statedir {
    int dir_fd, lock_fd;
};

int statedir_open(struct statedir *s, const char *path, struct err *e);
void statedir_close(struct statedir *s);

/* Write `text` to NAME.new, fsync, rename over `name`, fsync the directory. Mode 0600. Blocking:
 * for a worker thread; one call for a name at a time. On failure the old file is untouched and
 * nothing is left behind; only when the very last step fails, the sync of the directory, is the new
 * file in place although an error is returned. */
int statedir_replace(int dir_fd, const char *name, const void *text, size_t n, struct err *e);

#endif
