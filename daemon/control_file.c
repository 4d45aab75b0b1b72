/* The socket as a file: made, found, taken over, removed (declared in control.h).
 *
 * The happy path of control_file_open: the directory is opened and locked, nothing stands at the
 * name, the socket is bound and listens, the lock is let go. The lock is an flock on the directory
 * itself: it leaves nothing behind, and it ends with the process.
 *
 * How it fails: what stands at the name is looked at first. No socket: left alone. A socket that
 * answers a connect, even with a full queue: somebody's, left alone. Only one that refuses, which
 * means that no process has it open for listening, is removed. Nothing can slip in between, because
 * the lock is held from the look to the listen.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/control.h"

/* Where a socket is: its directory, open, and an address that fits. */
struct place {
    int dir_fd;
    const char *name;
    struct sockaddr_un address;
};

bool control_path(const char *configured, const char *state_dir, char to[CONTROL_PATH_MAX])
{
    const char *runtime = getenv("RUNTIME_DIRECTORY"); /* several stand with ':' between them */
    int n;
    if (configured != NULL)
        n = snprintf(to, CONTROL_PATH_MAX, "%s", configured);
    else if (runtime != NULL && runtime[0] == '/')
        n = snprintf(to, CONTROL_PATH_MAX, "%.*s/" CONTROL_NAME, (int)strcspn(runtime, ":"),
                     runtime);
    else
        n = snprintf(to, CONTROL_PATH_MAX, "%s/" CONTROL_NAME, state_dir);
    return n > 0 && n < CONTROL_PATH_MAX;
}

/* A socket's address takes 107 bytes; through the open directory every path is short. */
static bool make_address(struct place *p, const char *path)
{
    p->address = (struct sockaddr_un){.sun_family = AF_UNIX};
    char *to = p->address.sun_path;
    size_t size = sizeof p->address.sun_path;
    int n = snprintf(to, size, "%s", path);
    if (n < 0 || (size_t)n >= size)
        n = snprintf(to, size, "/proc/self/fd/%d/%s", p->dir_fd, p->name);
    return n > 0 && (size_t)n < size;
}

static int open_place(struct place *p, const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash[1] == '\0')
        return err_set(e, ERR_SYNTAX, "%.200s is not the path of a socket", path);
    char dir[CONTROL_PATH_MAX];
    int n = snprintf(dir, sizeof dir, "%.*s", (int)(slash == path ? 1 : slash - path), path);
    if (n < 0 || (size_t)n >= sizeof dir)
        return err_set(e, ERR_RANGE, "the path is too long");
    p->name = slash + 1;
    p->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->dir_fd < 0)
        return err_set(e, errno == ENOENT ? ERR_MISSING : ERR_IO, "%.300s: %s", dir,
                       strerror(errno));
    if (make_address(p, path))
        return 0;
    close(p->dir_fd);
    return err_set(e, ERR_RANGE, "the name of the socket is too long");
}

/* A connected socket, or -1 with errno. */
static int try_connect(const struct place *p, int flags)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&p->address, sizeof p->address) == 0)
        return fd;
    int saved_errno = errno;
    close(fd);
    errno = saved_errno;
    return -1;
}

/* Whatever stands at the name is out of the way afterwards, or stays for a reason. */
static int make_room(const struct place *p, struct err *e)
{
    struct stat st;
    if (fstatat(p->dir_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : err_set(e, ERR_IO, "%s", strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, ERR_BUSY, "it is there and is not a socket; it is left alone");
    int fd = try_connect(p, SOCK_NONBLOCK);
    if (fd >= 0)
        close(fd);
    else if (errno == ECONNREFUSED && unlinkat(p->dir_fd, p->name, 0) == 0)
        return 0;
    else if (errno == ENOENT)
        return 0;
    else if (errno != EAGAIN)
        return err_set(e, ERR_IO, "%s", strerror(errno));
    return err_set(e, ERR_BUSY, "another process listens there");
}

/* The mode is made by the umask, so that the socket never has a wider one. */
static int bind_and_listen(const struct place *p, struct err *e)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0177);
    int rc = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)&p->address, sizeof p->address);
    umask(before);
    if (rc == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    err_set(e, ERR_IO, "%s", strerror(errno));
    if (rc == 0)
        unlinkat(p->dir_fd, p->name, 0);
    if (fd >= 0)
        close(fd);
    return -1;
}

static int take_place(const struct place *p, struct control_file *f, struct err *e)
{
    struct stat st;
    if (flock(p->dir_fd, LOCK_EX | LOCK_NB) != 0) {
        err_set(e, ERR_BUSY, "another process has locked its directory");
        return -1;
    }
    if (make_room(p, e) != 0)
        return -1;
    int fd = bind_and_listen(p, e);
    if (fd >= 0 && fstatat(p->dir_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        f->device = st.st_dev;
        f->inode = st.st_ino;
    }
    return fd;
}

int control_file_open(struct control_file *f, const char *path, struct err *e)
{
    struct place p;
    *f = (struct control_file){0};
    if (snprintf(f->path, sizeof f->path, "%s", path) >= (int)sizeof f->path)
        return err_set(e, ERR_RANGE, "the path is too long");
    int rc = open_place(&p, path, e);
    if (rc != 0)
        return rc;
    struct err why = {.code = ERR_IO};
    int fd = take_place(&p, f, &why);
    close(p.dir_fd); /* which unlocks it */
    if (fd < 0)
        return err_set(e, why.code, "%.300s: %.180s", path, why.text);
    return fd;
}

void control_file_remove(const struct control_file *f)
{
    struct stat st;
    if (lstat(f->path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == f->device &&
        st.st_ino == f->inode)
        unlink(f->path);
}

int control_connect(const char *path, struct err *e)
{
    struct place p;
    int rc = open_place(&p, path, e);
    if (rc != 0)
        return rc;
    int fd = try_connect(&p, 0);
    bool nobody = fd < 0 && (errno == ENOENT || errno == ECONNREFUSED);
    if (fd < 0)
        err_set(e, nobody ? ERR_MISSING : ERR_IO, "%.300s: %s", path, strerror(errno));
    close(p.dir_fd);
    return fd >= 0 ? fd : nobody ? ERR_MISSING : ERR_IO;
}
