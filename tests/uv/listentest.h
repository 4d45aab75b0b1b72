/* listentest.h - what both kinds of listening socket are tested with.
 *
 *   listentest_open(t, o, ops)         a socket on the test's loop; fails the test if there is none
 *   listentest_on_closed               for listen_close: sets the bool that its ctx is
 *   listentest_connect(path, datagram) a client's end, which does not block
 *   listentest_manager(path, kind)     a socket as a service manager hands it over
 *   listentest_turn(t, n)              n turns of the loop, without waiting
 *   listentest_fork, listentest_become, listentest_wait
 *                                      a client that is a process of its own, and another user
 */
#ifndef TESTS_LISTENTEST_H
#define TESTS_LISTENTEST_H

#include "tests/uv/uvtest.h"

#include <errno.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "daemon/listen.h"
#include "daemon/unixsock.h"

static inline struct listen *listentest_open(struct uvtest *t, const struct listen_options *o,
                                             const struct listen_ops *ops)
{
    struct err e;
    struct listen *l = listen_new(&t->loop, o, ops, &e);
    if (l == NULL)
        fail_msg("%s", e.text);
    return l;
}

static inline void listentest_on_closed(void *closed)
{
    *(bool *)closed = true;
}

static inline void listentest_turn(struct uvtest *t, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        uv_run(&t->loop, UV_RUN_NOWAIT);
}

static inline int listentest_connect(const char *path, bool datagram)
{
    struct err e;
    int fd = unixsock_connect(path, datagram, &e);
    if (fd < 0)
        fail_msg("%s", e.text);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static inline int listentest_manager(const char *path, int kind)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, kind, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
    if (kind != SOCK_DGRAM)
        assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static inline pid_t listentest_fork(void)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    return pid;
}

/* For the child: it is that user from here on, or ends with 99. */
static inline void listentest_become(uid_t uid, gid_t gid, const gid_t *gids, size_t gids_n)
{
    if (setgroups(gids_n, gids) != 0 || setresgid(gid, gid, gid) != 0 ||
        setresuid(uid, uid, uid) != 0)
        _exit(99);
}

/* The child's exit code; the loop turns until then. */
static inline int listentest_wait(struct uvtest *t, pid_t pid)
{
    int status;
    UVTEST_UNTIL(t, waitpid(pid, &status, WNOHANG) == pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#endif
