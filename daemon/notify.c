/* The happy path: the address is read once, and each message is one datagram to it. The socket is
 * not connected, so a service manager that made its socket anew still hears us.
 *
 * How it fails: an address we cannot use, no descriptor, a full or vanished socket: nothing is sent
 * and nobody is told. The service manager has its own time limits and says so when it misses
 * READY=1.
 */
#include "daemon/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool number_of(const char *text, uint64_t *out)
{
    if (text == NULL || *text < '0' || *text > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0')
        return false;
    *out = n;
    return true;
}

static uint64_t watchdog_of_environment(void)
{
    uint64_t usec, pid;
    if (!number_of(getenv("WATCHDOG_USEC"), &usec) || usec == 0)
        return 0;
    const char *pid_text = getenv("WATCHDOG_PID");
    if (pid_text != NULL && (!number_of(pid_text, &pid) || pid != (uint64_t)getpid()))
        return 0;
    return usec < 2000 ? 1 : usec / 2000;
}

void notify_init(struct notify *n)
{
    *n = (struct notify){.fd = -1};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path == NULL ? 0 : strlen(path);
    if (len < 2 || len >= sizeof n->to.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    n->to.sun_family = AF_UNIX;
    memcpy(n->to.sun_path, path, len);
    if (path[0] == '@')
        n->to.sun_path[0] = '\0';
    n->to_n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (n->fd >= 0)
        n->watchdog_ms = watchdog_of_environment();
}

void notify_release(struct notify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
    n->watchdog_ms = 0;
}

void notify_send(struct notify *n, const char *fmt, ...)
{
    if (n->fd < 0)
        return;
    char text[NOTIFY_MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (len <= 0)
        return;
    sendto(n->fd, text, min_size((size_t)len, sizeof text - 1), MSG_NOSIGNAL,
           (const struct sockaddr *)&n->to, n->to_n);
}

uint64_t notify_watchdog_ms(const struct notify *n)
{
    return n->watchdog_ms;
}
