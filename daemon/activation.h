/* activation.h - sockets that the service manager has opened for us, without libsystemd.
 *
 * activation_init reads LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, once, at the start, and unsets
 * them: they are for this process alone. Descriptors that are not ours (another process id) are not
 * touched; ours are closed on exec. What is not a Unix socket of ours to read from is closed, with
 * a warning.
 *
 * activation_take: a descriptor for the socket at `path`, for the caller to close, or -1: there is
 * none. The path may be spelled differently, through a link for instance. The first descriptor is
 * kept, and may be taken again: a reload that takes a source away and brings it back finds it,
 * while clients wait in the kernel, as they do when nobody has ever taken it. activation_report
 * warns of those, each once. activation_release closes what is kept; the manager has its own.
 */
#ifndef DAEMON_ACTIVATION_H
#define DAEMON_ACTIVATION_H

#include "lib/base.h"

#define ACTIVATION_MAX 256 /* sockets; more are left alone, with a warning */

struct activation {
    unsigned n;
    struct activation_socket {
        int fd;
        bool taken, reported;
    } sockets[ACTIVATION_MAX];
};

void activation_init(struct activation *a);
int activation_take(struct activation *a, const char *path, bool datagram);
void activation_report(struct activation *a);
void activation_release(struct activation *a);

#endif
