/* readfile.c - open, look, read, close.
 *
 * O_NONBLOCK, so that opening a FIFO nobody writes to returns at once and fstat can refuse it. Room
 * for one byte more than `max` is reserved in one piece (untouched pages cost nothing): the buf
 * never moves, and the byte too many shows a file that is too large even if it grew since fstat.
 */
#include "daemon/readfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_kind(int fd, const char *path, size_t max, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return err_set(e, ERR_TYPE, "%s: is a directory", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_TYPE, "%s: is not a regular file", path);
    if (st.st_size > 0 && (uint64_t)st.st_size > max)
        return err_set(e, ERR_RANGE, "%s: is larger than %zu bytes", path, max);
    return 0;
}

static int read_all(int fd, const char *path, size_t max, struct buf *b, struct err *e)
{
    for (;;) {
        char *to = buf_reserve(b, max + 1 - b->n);
        if (to == NULL)
            return err_set(e, ERR_NOMEM, "%s: memory ran out", path);
        ssize_t n = read(fd, to, max + 1 - b->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
        if (n == 0)
            return 0;
        buf_commit(b, (size_t)n);
        if (b->n > max)
            return err_set(e, ERR_RANGE, "%s: is larger than %zu bytes", path, max);
    }
}

int readfile(const char *path, size_t max, struct buf *out, struct err *e)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, errno == ENOENT ? ERR_MISSING : ERR_IO, "%s: %s", path, strerror(errno));
    struct buf b;
    buf_init(&b, max + 1);
    int rc = check_kind(fd, path, max, e);
    if (rc == 0)
        rc = read_all(fd, path, max, &b, e);
    close(fd);
    if (rc != 0) {
        buf_wipe_release(&b);
        return rc;
    }
    buf_release(out);
    *out = b;
    return 0;
}

static int read_mapping(void *ctx, const char *path, size_t max, struct buf *out, struct err *e)
{
    (void)ctx;
    return readfile(path, max, out, e);
}

const struct config_files readfile_mappings = {.read = read_mapping};
