/* The happy path: the variables say that the descriptors from 3 on are for this process, and how
 * many; each is looked at and kept; a source that listens at the path of one takes it.
 *
 * How it fails: variables that are not exactly what the manager writes mean nothing, and are told;
 * so is a descriptor that is not there or is not a Unix socket that can be read from.
 */
#include "daemon/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/log.h"

#define FIRST_FD 3

/* Digits and nothing else. */
static bool number_of(const char *text, uint64_t *out)
{
    uint64_t n = 0;
    size_t digits = 0;
    for (; text != NULL && text[digits] >= '0' && text[digits] <= '9' && digits < 10; digits++)
        n = 10 * n + (uint64_t)(text[digits] - '0');
    if (digits == 0 || text[digits] != '\0')
        return false;
    *out = n;
    return true;
}

/* The names are colon-separated, in the order of the descriptors; they are for the log only. */
static struct str name_at(const char *names, unsigned i)
{
    struct str s = {names, names != NULL ? strcspn(names, ":") : 0};
    for (; i > 0 && s.p != NULL; i--) {
        s.p = s.p[s.n] == ':' ? s.p + s.n + 1 : NULL;
        s.n = s.p != NULL ? strcspn(s.p, ":") : 0;
    }
    return s;
}

static int option_of(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

static bool is_readable(int fd)
{
    int type = option_of(fd, SO_TYPE);
    return option_of(fd, SO_DOMAIN) == AF_UNIX &&
           (type == SOCK_DGRAM || (type == SOCK_STREAM && option_of(fd, SO_ACCEPTCONN) == 1));
}

static void adopt(struct activation *a, int fd, struct str name)
{
    const char *why = NULL;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        why = "it is not open";
    else if (!is_readable(fd)) {
        why = "it is not a Unix socket that listens";
        close(fd);
    }
    if (why != NULL)
        log_warn(log_msg("a descriptor of the service manager cannot be used"), log_i("fd", fd),
                 log_str("name", name), log_s("why", why));
    else
        a->sockets[a->n++] = (struct activation_socket){.fd = fd};
}

void activation_init(struct activation *a)
{
    const char *pid_text = getenv("LISTEN_PID"), *n_text = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    uint64_t pid, n = 0;
    a->n = 0;
    if (pid_text == NULL || n_text == NULL)
        n = 0;
    else if (!number_of(pid_text, &pid) || !number_of(n_text, &n))
        log_warn(log_msg("LISTEN_PID and LISTEN_FDS are not numbers: no sockets are taken over"));
    else if (pid != (uint64_t)getpid())
        n = 0;
    if (n > ACTIVATION_MAX)
        log_warn(log_msg("the service manager has too many sockets for us"), log_u("sockets", n),
                 log_u("taken", ACTIVATION_MAX));
    for (unsigned i = 0; i < n && i < ACTIVATION_MAX; i++)
        adopt(a, FIRST_FD + (int)i, name_at(names, i));
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

/* Where it was bound, NUL-terminated; "" for one without a path. */
static void path_of(int fd, char path[sizeof(struct sockaddr_un) + 1])
{
    union {
        struct sockaddr any;
        struct sockaddr_un un;
    } at = {0};
    socklen_t size = sizeof at.un;
    path[0] = '\0';
    if (getsockname(fd, &at.any, &size) != 0 || size <= offsetof(struct sockaddr_un, sun_path))
        return;
    size_t n = min_size(size, sizeof at.un) - offsetof(struct sockaddr_un, sun_path);
    memcpy(path, at.un.sun_path, n);
    path[n] = '\0';
}

static bool is_at(int fd, const char *path)
{
    char own[sizeof(struct sockaddr_un) + 1];
    struct stat a, b;
    path_of(fd, own);
    return strcmp(own, path) == 0 || (own[0] == '/' && stat(own, &a) == 0 && stat(path, &b) == 0 &&
                                      a.st_dev == b.st_dev && a.st_ino == b.st_ino);
}

int activation_take(struct activation *a, const char *path, bool datagram)
{
    for (unsigned i = 0; i < a->n; i++) {
        struct activation_socket *s = &a->sockets[i];
        if (option_of(s->fd, SO_TYPE) == (datagram ? SOCK_DGRAM : SOCK_STREAM) &&
            is_at(s->fd, path)) {
            s->taken = true;
            return fcntl(s->fd, F_DUPFD_CLOEXEC, FIRST_FD);
        }
    }
    return -1;
}

void activation_report(struct activation *a)
{
    char path[sizeof(struct sockaddr_un) + 1];
    for (unsigned i = 0; i < a->n; i++) {
        struct activation_socket *s = &a->sockets[i];
        if (s->taken || s->reported)
            continue;
        path_of(s->fd, path);
        log_warn(log_msg("the service manager listens for us, but no source has this socket"),
                 log_s("path", path),
                 log_s("type", option_of(s->fd, SO_TYPE) == SOCK_DGRAM ? "datagram" : "stream"));
        s->reported = true;
    }
}

void activation_release(struct activation *a)
{
    for (unsigned i = 0; i < a->n; i++)
        close(a->sockets[i].fd);
    a->n = 0;
}
