/* notify.h - sd_notify without libsystemd: one datagram to $NOTIFY_SOCKET.
 *
 * notify_init reads NOTIFY_SOCKET (a path, or @abstract), WATCHDOG_USEC and WATCHDOG_PID. Without
 * the socket everything here does nothing. notify_send sends one message of lines
 * ("READY=1\nSTATUS=..."); it never blocks: a full or missing socket loses the message, no more,
 * and one longer than NOTIFY_MESSAGE_MAX is cut (put what matters first). notify_watchdog_ms is
 * half the watchdog's interval, or 0 when there is none (also when WATCHDOG_PID is another
 * process).
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <sys/socket.h>
#include <sys/un.h>

#include "lib/base.h"

#define NOTIFY_MESSAGE_MAX 2048

struct notify {
    int fd; /* -1: nobody listens */
    struct sockaddr_un to;
    socklen_t to_n;
    uint64_t watchdog_ms;
};

void notify_init(struct notify *n);
void notify_release(struct notify *n);
void notify_send(struct notify *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t notify_watchdog_ms(const struct notify *n);

#endif
