/* The happy path of unixsock_open: the directory is opened and locked; nothing stands at the path,
 * or a socket that is dead; ours is bound aside, as PATH.new, without a single permission; it gets
 * its owner and group, then its mode, then it listens; it is renamed to the path; the lock is let
 * go. The lock is an flock on the directory itself: it leaves nothing behind, and it ends with the
 * process.
 *
 * Bound aside and renamed, rather than bound in place and changed there: a client never finds a
 * socket that has not got its mode yet, or that does not listen yet, and a dead one gives way to
 * ours without a moment in which nothing is there. The price is that the kernel goes on showing
 * PATH.new as the socket's address (getsockname, ss). The mode while aside comes from an fchmod of
 * the unbound socket, which bind looks at, and not from the umask, which belongs to all threads.
 *
 * How it fails: what stands at the path is looked at first. No socket: left alone. A socket that
 * takes a connect, even with a full queue, or says that it is of another kind: somebody's, left
 * alone. Only one that refuses, which means that no process has it open, is replaced. Of those who
 * take the lock nobody can slip in between; who does not, and comes to an empty place before us,
 * keeps it. Whoever can write the directory could put a link in our way: so the socket, once bound,
 * is opened, and changed through that descriptor, not by name.
 */
#include "daemon/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ASIDE         ".new"
#define LOCK_TRIES    50 /* another daemon has it for a moment only */
#define LOCK_RETRY_NS 10000000

/* Where a socket is: its directory, open, and the name in it. */
struct place {
    int dir_fd;
    const char *path, *name;
    char aside[NAME_MAX + 1];
};

static int say_errno(struct err *e)
{
    return err_set(e, ERR_IO, "%s", strerror(errno));
}

/* Through the open directory every path is short enough for an address. */
static bool make_address(const struct place *p, const char *name, struct sockaddr_un *to)
{
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t size = sizeof to->sun_path;
    int n = snprintf(to->sun_path, size, "%.*s%s", (int)(p->name - p->path), p->path, name);
    if (n < 0 || (size_t)n >= size)
        n = snprintf(to->sun_path, size, "/proc/self/fd/%d/%s", p->dir_fd, name);
    return n > 0 && (size_t)n < size;
}

/* The longest address that will be asked for fits. */
static bool fits(struct place *p)
{
    struct sockaddr_un a;
    int n = snprintf(p->aside, sizeof p->aside, "%s" ASIDE, p->name);
    return n > 0 && (size_t)n < sizeof p->aside && make_address(p, p->aside, &a);
}

static int open_place(struct place *p, const char *path, int flags, struct err *e)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash[1] == '\0')
        return err_set(e, ERR_SYNTAX, "%.200s is not the path of a socket", path);
    char dir[UNIXSOCK_PATH_MAX];
    int n = snprintf(dir, sizeof dir, "%.*s", (int)(slash == path ? 1 : slash - path), path);
    if (n < 0 || (size_t)n >= sizeof dir)
        return err_set(e, ERR_RANGE, "the path is too long");
    *p = (struct place){.path = path, .name = slash + 1};
    p->dir_fd = open(dir, flags | O_DIRECTORY | O_CLOEXEC);
    if (p->dir_fd < 0)
        return err_set(e, errno == ENOENT ? ERR_MISSING : ERR_IO, "%.300s: %s", dir,
                       strerror(errno));
    if (fits(p))
        return 0;
    close(p->dir_fd);
    return err_set(e, ERR_RANGE, "the name of the socket is too long");
}

/* A connected socket, or -1 with errno. */
static int try_connect(const struct place *p, bool datagram, int flags)
{
    struct sockaddr_un to;
    if (!make_address(p, p->name, &to)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = socket(AF_UNIX, (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    int saved_errno = errno;
    close(fd);
    errno = saved_errno;
    return -1;
}

/* ---- taking a place ---- */

static int take_lock(const struct place *p, struct err *e)
{
    const struct timespec pause = {.tv_nsec = LOCK_RETRY_NS};
    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        if (flock(p->dir_fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return say_errno(e);
        nanosleep(&pause, NULL);
    }
    return err_set(e, ERR_BUSY, "another process has locked its directory");
}

/* Of these, only a refusal means that nobody has it open. A socket of the other kind says
 * EPROTOTYPE, a datagram socket that hears one peer alone EPERM, a full queue EAGAIN. */
static int look(const struct place *p, bool datagram, bool *stale, struct err *e)
{
    struct stat st;
    *stale = false;
    if (fstatat(p->dir_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : say_errno(e);
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, ERR_BUSY, "it is there and is not a socket; it is left alone");
    int fd = try_connect(p, datagram, SOCK_NONBLOCK);
    if (fd >= 0)
        close(fd);
    else if (errno == ENOENT)
        return 0;
    else if (errno == ECONNREFUSED) {
        *stale = true;
        return 0;
    } else if (errno != EAGAIN && errno != EPROTOTYPE && errno != EPERM)
        return say_errno(e);
    return err_set(e, ERR_BUSY, "another process listens there");
}

/* A bound socket that nobody may connect to yet, or -1. */
static int bind_aside(const struct place *p, bool datagram, struct err *e)
{
    struct stat st;
    struct sockaddr_un at;
    const int on = 1;
    if (fstatat(p->dir_fd, p->aside, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
        unlinkat(p->dir_fd, p->aside, 0); /* of one that was killed: we have the lock */
    int kind = (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(AF_UNIX, kind, 0);
    if (fd >= 0 && make_address(p, p->aside, &at) && fchmod(fd, 0) == 0 &&
        (!datagram || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0) &&
        bind(fd, (const struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    say_errno(e);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* `fd` is the file, opened without looking at its permissions: the calls that take a descriptor do
 * not take such a one, but its name under /proc will do. */
static int set_rights(int fd, const struct unixsock_options *o, struct err *e)
{
    char name[32];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    bool as_it_is = o->owner == (uid_t)-1 && o->group == (gid_t)-1;
    if (!as_it_is && fchownat(fd, "", o->owner, o->group, AT_EMPTY_PATH) != 0)
        return err_set(e, ERR_IO, "it cannot be given to this owner and group: %s",
                       strerror(errno));
    if (chmod(name, o->mode) != 0)
        return err_set(e, ERR_IO, "it cannot get its mode: %s", strerror(errno));
    return 0;
}

static int dress(const struct place *p, struct unixsock *u, const struct unixsock_options *o,
                 struct err *e)
{
    struct stat st;
    int fd = openat(p->dir_fd, p->aside, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return say_errno(e);
    int rc = fstat(fd, &st) != 0 ? say_errno(e) : 0;
    if (rc == 0 && !S_ISSOCK(st.st_mode))
        rc = err_set(e, ERR_IO, "somebody else writes to its directory");
    if (rc == 0)
        rc = set_rights(fd, o, e);
    close(fd);
    if (rc == 0) {
        u->device = st.st_dev;
        u->inode = st.st_ino;
    }
    return rc;
}

static int move_in(const struct place *p, bool stale, struct err *e)
{
    unsigned flags = stale ? 0 : RENAME_NOREPLACE;
    int rc = renameat2(p->dir_fd, p->aside, p->dir_fd, p->name, flags);
    if (rc != 0 && errno == EINVAL) /* the file system does not know the flag */
        rc = renameat(p->dir_fd, p->aside, p->dir_fd, p->name);
    if (rc == 0)
        return 0;
    return errno == EEXIST ? err_set(e, ERR_BUSY, "another process has just come there")
                           : say_errno(e);
}

/* The socket, listening at its path, or a negative code. */
static int take_place(const struct place *p, struct unixsock *u, const struct unixsock_options *o,
                      struct err *e)
{
    bool stale;
    int rc = take_lock(p, e);
    if (rc == 0)
        rc = look(p, o->datagram, &stale, e);
    if (rc != 0)
        return rc;
    int fd = bind_aside(p, o->datagram, e);
    if (fd < 0)
        return ERR_IO;
    rc = dress(p, u, o, e);
    if (rc == 0 && !o->datagram && listen(fd, SOMAXCONN) != 0)
        rc = say_errno(e);
    if (rc == 0)
        rc = move_in(p, stale, e);
    if (rc == 0)
        return fd;
    unlinkat(p->dir_fd, p->aside, 0);
    close(fd);
    return rc;
}

int unixsock_open(struct unixsock *u, const char *path, const struct unixsock_options *o,
                  struct err *e)
{
    struct place p;
    *u = (struct unixsock){0};
    if (snprintf(u->path, sizeof u->path, "%s", path) >= (int)sizeof u->path)
        return err_set(e, ERR_RANGE, "the path is too long");
    int rc = open_place(&p, path, O_RDONLY, e);
    if (rc != 0)
        return rc;
    struct err why;
    int fd = take_place(&p, u, o, &why);
    close(p.dir_fd); /* which unlocks it */
    return fd >= 0 ? fd : err_set(e, fd, "%.300s: %.180s", path, why.text);
}

void unixsock_remove(const struct unixsock *u)
{
    struct stat st;
    if (lstat(u->path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == u->device &&
        st.st_ino == u->inode)
        unlink(u->path);
}

/* ---- the other side ---- */

static int reach(const char *path, bool datagram, int flags, struct err *e)
{
    struct place p;
    int rc = open_place(&p, path, O_PATH, e);
    if (rc != 0)
        return rc;
    int fd = try_connect(&p, datagram, flags);
    if (fd < 0) {
        bool nobody = errno == ENOENT || errno == ECONNREFUSED;
        rc = nobody ? ERR_MISSING : errno == EAGAIN ? ERR_BUSY : ERR_IO;
        err_set(e, rc, "%.300s: %s", path, strerror(errno));
    }
    close(p.dir_fd);
    return fd >= 0 ? fd : rc;
}

int unixsock_connect(const char *path, bool datagram, struct err *e)
{
    return reach(path, datagram, 0, e);
}

int unixsock_connect_now(const char *path, struct err *e)
{
    return reach(path, false, SOCK_NONBLOCK, e);
}
