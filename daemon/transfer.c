/* One loop a direction; each call moves on by what the system has done. */
#include "daemon/transfer.h"

#include <errno.h>
#include <unistd.h>

#define APPEND UINT64_MAX /* no place: where the descriptor stands */

static bool write_all(int fd, uint64_t place, struct str rest)
{
    while (rest.n > 0) {
        ssize_t done =
            place == APPEND ? write(fd, rest.p, rest.n) : pwrite(fd, rest.p, rest.n, (off_t)place);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            errno = done == 0 ? ENOSPC : errno;
            return false;
        }
        rest.p += done;
        rest.n -= (size_t)done;
        place += place == APPEND ? 0 : (uint64_t)done;
    }
    return true;
}

bool transfer_write(int fd, struct str bytes)
{
    return write_all(fd, APPEND, bytes);
}

bool transfer_pwrite(int fd, uint64_t place, struct str bytes)
{
    return write_all(fd, place, bytes);
}

bool transfer_pread(int fd, uint64_t place, char *to, size_t n)
{
    while (n > 0) {
        ssize_t done = pread(fd, to, n, (off_t)place);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            errno = done == 0 ? ENODATA : errno;
            return false;
        }
        to += done;
        n -= (size_t)done;
        place += (uint64_t)done;
    }
    return true;
}
