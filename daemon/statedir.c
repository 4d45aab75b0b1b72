/* The happy path: open the directory, see that it is ours, take the lock, write our process id into
 * the lock file for whoever comes second, prove with a file of one byte that the disk takes writes.
 *
 * How it fails: each refusal is a sentence that says what to do, because it is read by a person at
 * start. The lock file is never removed: removing it would let two daemons lock two files of one
 * name.
 *
 * statedir_replace is the one way state is written. Until the rename the old file is whole, after
 * it the new one is; the last fsync makes the rename itself durable.
 */
#include "daemon/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/transfer.h"

#define LOCK_NAME  "lock"
#define PROBE_NAME ".write-test"
#define FILE_FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

static int refuse(const char *path, struct err *e)
{
    switch (errno) {
    case ENOENT:
        return err_set(e, ERR_MISSING,
                       "state_dir %s does not exist: create it, owned by the user that runs "
                       "tailraced, with mode 0700",
                       path);
    case ENOTDIR:
        return err_set(e, ERR_IO, "state_dir %s is not a directory", path);
    case EROFS:
        return err_set(e, ERR_IO, "state_dir %s is on a read-only file system", path);
    case EACCES:
    case EPERM:
        return err_set(e, ERR_IO, "state_dir %s: no permission for user id %u: change its owner",
                       path, (unsigned)geteuid());
    default:
        return err_set(e, ERR_IO, "state_dir %s: %s", path, strerror(errno));
    }
}

static int check_owner(int dir_fd, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(dir_fd, &st) != 0)
        return refuse(path, e);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return err_set(e, ERR_IO,
                       "state_dir %s may be written by others (mode %04o): chmod go-w it", path,
                       (unsigned)(st.st_mode & 07777));
    /* Root may use anyone's; nobody else may rely on what another user can exchange. */
    if (geteuid() != 0 && st.st_uid != geteuid())
        return err_set(e, ERR_IO, "state_dir %s belongs to user id %u, but user id %u is running",
                       path, (unsigned)st.st_uid, (unsigned)geteuid());
    return 0;
}

static int say_who_has_it(int lock_fd, const char *path, struct err *e)
{
    char text[24] = "";
    ssize_t n = pread(lock_fd, text, sizeof text - 1, 0);
    size_t digits = n > 0 ? strspn(text, "0123456789") : 0;
    if (digits == 0)
        return err_set(e, ERR_BUSY, "state_dir %s is in use by another tailraced", path);
    return err_set(e, ERR_BUSY, "state_dir %s is in use by another tailraced (process %.*s)", path,
                   (int)digits, text);
}

/* Returns the locked descriptor. */
static int take_lock(int dir_fd, const char *path, struct err *e)
{
    int fd = openat(dir_fd, LOCK_NAME, O_RDWR | O_CREAT | FILE_FLAGS, 0600);
    if (fd < 0)
        return refuse(path, e);
    int rc = 0;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        rc = errno == EWOULDBLOCK ? say_who_has_it(fd, path, e) : refuse(path, e);
    char text[24];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (rc == 0 && (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n))
        rc = refuse(path, e);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    return fd;
}

static int prove_writable(int dir_fd, const char *path, struct err *e)
{
    int fd = openat(dir_fd, PROBE_NAME, O_WRONLY | O_CREAT | O_TRUNC | FILE_FLAGS, 0600);
    if (fd < 0)
        return refuse(path, e);
    int rc = write(fd, "x", 1) == 1 ? 0 : refuse(path, e);
    close(fd);
    if (unlinkat(dir_fd, PROBE_NAME, 0) != 0 && rc == 0)
        rc = refuse(path, e);
    return rc;
}

int statedir_open(struct statedir *s, const char *path, struct err *e)
{
    int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return refuse(path, e);
    int rc = check_owner(dir_fd, path, e);
    int lock_fd = rc == 0 ? take_lock(dir_fd, path, e) : rc;
    if (lock_fd >= 0)
        rc = prove_writable(dir_fd, path, e);
    else
        rc = lock_fd;
    if (rc == 0) {
        *s = (struct statedir){.dir_fd = dir_fd, .lock_fd = lock_fd};
        return 0;
    }
    if (lock_fd >= 0)
        close(lock_fd);
    close(dir_fd);
    return rc;
}

void statedir_close(struct statedir *s)
{
    if (s->lock_fd >= 0) {
        /* So that no later message names a process id that is long gone; failing is harmless. */
        if (ftruncate(s->lock_fd, 0) != 0)
            errno = 0;
        close(s->lock_fd);
    }
    if (s->dir_fd >= 0)
        close(s->dir_fd);
    *s = (struct statedir){.dir_fd = -1, .lock_fd = -1};
}

/* Returns the name of the step that failed, with errno set; NULL when the file is on the disk. */
static const char *write_aside(int dir_fd, const char *aside, const void *text, size_t n)
{
    /* What an earlier process left behind by dying here is in the way of O_EXCL. */
    if (unlinkat(dir_fd, aside, 0) != 0 && errno != ENOENT)
        return "remove";
    int fd = openat(dir_fd, aside, O_WRONLY | O_CREAT | O_EXCL | FILE_FLAGS, 0600);
    if (fd < 0)
        return "create";
    const char *step = NULL;
    if (!transfer_write(fd, (struct str){text, n}))
        step = "write";
    else if (fsync(fd) != 0)
        step = "sync";
    int saved_errno = errno;
    if (close(fd) != 0 && step == NULL)
        return "close";
    errno = saved_errno;
    return step;
}

int statedir_replace(int dir_fd, const char *name, const void *text, size_t n, struct err *e)
{
    char aside[256];
    int len = snprintf(aside, sizeof aside, "%s.new", name);
    assert(len > 0 && (size_t)len < sizeof aside);
    const char *step = write_aside(dir_fd, aside, text, n);
    if (step == NULL && renameat(dir_fd, aside, dir_fd, name) != 0)
        step = "rename";
    if (step != NULL) {
        int rc = err_set(e, ERR_IO, "%s: cannot %s %s: %s", name, step, aside, strerror(errno));
        unlinkat(dir_fd, aside, 0);
        return rc;
    }
    /* Some file systems cannot sync a directory and say EINVAL; they have nothing better to offer.
     */
    if (fsync(dir_fd) != 0 && errno != EINVAL)
        return err_set(e, ERR_IO, "%s: cannot sync the directory: %s", name, strerror(errno));
    return 0;
}
