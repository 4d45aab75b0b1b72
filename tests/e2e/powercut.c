/* powercut.c - preloaded into tailraced, it records what is done to the files in one directory.
 *
 * POWERCUT_DIR names the directory, POWERCUT_LOG the file that the record goes to. Beside it, in
 * POWERCUT_LOG.at, stand two numbers that other processes may map: how many entries there are, and
 * how many bytes they take. An entry is written after the call that it tells of has come back, so
 * what has an entry was done before whatever is seen later. An entry of a sync holds the number of
 * the last entry before the sync began: it covers those.
 *
 * Calls that change files and are not recorded end the process, if they come for such a file. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 65536

enum op {
    OP_OPEN,
    OP_CLOSE,
    OP_WRITE,
    OP_TRUNCATE,
    OP_ALLOCATE,
    OP_SYNC,
    OP_RENAME,
    OP_UNLINK,
    OP_MKDIR
};

struct entry {
    uint64_t number;
    uint32_t op;
    int32_t fd;
    uint64_t place; /* OP_SYNC: the last entry before; OP_OPEN: the flags; sizes */
    uint64_t n;     /* bytes that follow */
};

struct counters {
    uint64_t entries, bytes;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct counters *counters;
static char directory[PATH_MAX];
static int log_fd = -1;
static unsigned char followed[FDS_MAX];

__attribute__((constructor)) static void begin(void)
{
    const char *dir = getenv("POWERCUT_DIR"), *log = getenv("POWERCUT_LOG");
    char at[PATH_MAX];
    if (dir == NULL || log == NULL || realpath(dir, directory) == NULL)
        abort();
    snprintf(at, sizeof at, "%s.at", log);
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int at_fd = (int)syscall(SYS_openat, AT_FDCWD, at, O_RDWR | O_CLOEXEC, 0600);
    counters = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, at_fd, 0);
    if (log_fd < 0 || at_fd < 0 || counters == MAP_FAILED)
        abort();
    syscall(SYS_close, at_fd);
}

static uint64_t last_entry(void)
{
    pthread_mutex_lock(&mutex);
    uint64_t n = counters->entries;
    pthread_mutex_unlock(&mutex);
    return n;
}

static void record(enum op op, int fd, uint64_t place, const void *p, size_t n)
{
    int error_number = errno;
    pthread_mutex_lock(&mutex);
    struct entry e = {counters->entries + 1, op, fd, place, n};
    struct iovec parts[2] = {{&e, sizeof e}, {(void *)(uintptr_t)p, n}};
    ssize_t done = syscall(SYS_pwritev, log_fd, parts, 2, counters->bytes, 0);
    if (done != (ssize_t)(sizeof e + n))
        abort();
    counters->bytes += (uint64_t)done;
    __atomic_store_n(&counters->entries, e.number, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&mutex);
    errno = error_number;
}

static bool is_followed(int fd)
{
    return fd >= 0 && fd < FDS_MAX && followed[fd];
}

/* A stream of a directory closes its descriptor behind our back. */
static bool is_file(int fd)
{
    struct stat st;
    return is_followed(fd) && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Whether the path is in the directory; its absolute name. */
static bool find_path(int dir_fd, const char *path, char out[PATH_MAX])
{
    size_t n = strlen(directory);
    if (path[0] == '/' || dir_fd == AT_FDCWD) {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        char link[64], dir[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir_fd);
        ssize_t got = readlink(link, dir, sizeof dir - 1);
        if (got < 0)
            return false;
        dir[got] = '\0';
        if ((size_t)snprintf(out, PATH_MAX, "%s/%s", dir, path) >= PATH_MAX)
            abort();
    }
    return strncmp(out, directory, n) == 0 && (out[n] == '/' || out[n] == '\0');
}

/* ---- opening and closing ---- */

static int do_open(int dir_fd, const char *path, int flags, mode_t mode)
{
    char whole[PATH_MAX];
    bool follow = find_path(dir_fd, path, whole);
    int fd = (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    if (fd < 0)
        return fd;
    if (fd >= FDS_MAX)
        abort();
    followed[fd] = follow;
    if (follow)
        record(OP_OPEN, fd, (uint64_t)flags, whole, strlen(whole));
    return fd;
}

static mode_t mode_of(int flags, va_list args)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        int fd = do_open(AT_FDCWD, path, flags, mode_of(flags, args));                             \
        va_end(args);                                                                              \
        return fd;                                                                                 \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                               \
    int name(int dir_fd, const char *path, int flags, ...)                                         \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        int fd = do_open(dir_fd, path, flags, mode_of(flags, args));                               \
        va_end(args);                                                                              \
        return fd;                                                                                 \
    }
OPENAT(openat)
OPENAT(openat64)

int __open_2(const char *path, int flags)
{
    return do_open(AT_FDCWD, path, flags, 0);
}

int __openat_2(int dir_fd, const char *path, int flags)
{
    return do_open(dir_fd, path, flags, 0);
}

int close(int fd)
{
    if (is_followed(fd)) {
        followed[fd] = 0;
        record(OP_CLOSE, fd, 0, NULL, 0);
    }
    return (int)syscall(SYS_close, fd);
}

/* ---- bytes and sizes ---- */

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    ssize_t done = syscall(SYS_pwrite64, fd, p, n, at);
    if (done > 0 && is_file(fd))
        record(OP_WRITE, fd, (uint64_t)at, p, (size_t)done);
    return done;
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t at)
{
    return pwrite(fd, p, n, at);
}

ssize_t write(int fd, const void *p, size_t n)
{
    if (!is_file(fd))
        return syscall(SYS_write, fd, p, n);
    if ((fcntl(fd, F_GETFL) & O_APPEND) != 0)
        abort();
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = syscall(SYS_write, fd, p, n);
    if (done > 0)
        record(OP_WRITE, fd, (uint64_t)at, p, (size_t)done);
    return done;
}

int ftruncate(int fd, off_t size)
{
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (rc == 0 && is_file(fd))
        record(OP_TRUNCATE, fd, (uint64_t)size, NULL, 0);
    return rc;
}

int ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}

int posix_fallocate(int fd, off_t at, off_t n)
{
    if (syscall(SYS_fallocate, fd, 0, at, n) != 0)
        return errno;
    if (is_file(fd))
        record(OP_ALLOCATE, fd, (uint64_t)(at + n), NULL, 0);
    return 0;
}

int posix_fallocate64(int fd, off_t at, off_t n)
{
    return posix_fallocate(fd, at, n);
}

static int sync_with(long call, int fd)
{
    uint64_t before = last_entry();
    int rc = (int)syscall(call, fd);
    if (rc == 0 && is_followed(fd))
        record(OP_SYNC, fd, before, NULL, 0);
    return rc;
}

int fsync(int fd)
{
    return sync_with(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_with(SYS_fdatasync, fd);
}

/* ---- names ---- */

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    char paths[2 * PATH_MAX], second[PATH_MAX];
    bool follow = find_path(from_fd, from, paths);
    int rc = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    if (rc != 0 || (!follow && !find_path(to_fd, to, second)))
        return rc;
    if (!follow || !find_path(to_fd, to, second))
        abort();
    size_t n = strlen(paths);
    memcpy(paths + n + 1, second, strlen(second));
    record(OP_RENAME, -1, 0, paths, n + 1 + strlen(second));
    return rc;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return renameat2(from_fd, from, to_fd, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int dir_fd, const char *path, int flags)
{
    char whole[PATH_MAX];
    bool follow = find_path(dir_fd, path, whole);
    int rc = (int)syscall(SYS_unlinkat, dir_fd, path, flags);
    if (rc == 0 && follow)
        record(OP_UNLINK, -1, 0, whole, strlen(whole));
    return rc;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int dir_fd, const char *path, mode_t mode)
{
    char whole[PATH_MAX];
    bool follow = find_path(dir_fd, path, whole);
    int rc = (int)syscall(SYS_mkdirat, dir_fd, path, mode);
    if (rc == 0 && follow)
        record(OP_MKDIR, -1, 0, whole, strlen(whole));
    return rc;
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

/* ---- what is not recorded ---- */

static void refuse(int fd, const char *what)
{
    if (!is_file(fd))
        return;
    dprintf(STDERR_FILENO, "powercut: %s is not recorded\n", what);
    abort();
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    refuse(fd, "writev");
    return syscall(SYS_writev, fd, parts, n);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at)
{
    refuse(fd, "pwritev");
    return syscall(SYS_pwritev, fd, parts, n, at, 0);
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    refuse(fd, "fallocate");
    return (int)syscall(SYS_fallocate, fd, mode, at, n);
}
