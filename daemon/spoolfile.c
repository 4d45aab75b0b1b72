/* The happy path: at the start the file is there, of the right size, locked by nobody. A write goes
 * to a worker thread, piece after piece, then the sync, and back on the loop its end is told.
 *
 * How it fails: at the start every step has its sentence, and a file that is being made is only
 * given its name when it is whole and on the disk. Later a write or a sync that fails is told with
 * its reason and left so: what it means is the spool's to decide. No step is tried again but those
 * that a signal has interrupted. */
#include "daemon/spoolfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/transfer.h"

#define NAME_SIZE  96
#define FILE_FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

struct spoolfile {
    uv_loop_t *loop;
    int fd;
    struct spoollog log;
    char path[NAME_SIZE];
    spoolfile_wrote_fn *wrote;
    void *ctx;
    uv_work_t work;
    const struct spool_write *writing; /* the worker's, until on_worked; NULL: none is under way */
    const char *failed_step;           /* NULL: none */
    int error_number;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

/* ---- making one ---- */

static bool allocate(int fd, uint64_t n)
{
    int rc;
    do
        rc = posix_fallocate(fd, 0, (off_t)n);
    while (rc == EINTR);
    errno = rc;
    return rc == 0;
}

/* Header and first state; what follows is zero. */
static bool write_beginning(int fd, const struct spoollog *log)
{
    const struct spoollog_state state = {.clean = true};
    char header[SPOOLLOG_HEADER_BYTES], first[SPOOLLOG_STATE_BYTES];
    spoollog_put_header(log, header);
    spoollog_put_state(log, &state, first);
    const struct str head = {header, sizeof header};
    return transfer_pwrite(fd, 0, head) && transfer_pwrite(fd, SPOOLLOG_COPY_PLACE, head) &&
           transfer_pwrite(fd, spoollog_state_place(0), (struct str){first, sizeof first});
}

/* Returns the step that failed, with errno set. */
static const char *fill_new(int fd, uint64_t capacity, struct spoollog *log)
{
    uint64_t id;
    if (getrandom(&id, sizeof id, 0) != sizeof id)
        return "get a random number for it";
    spoollog_init(log, id, capacity);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return "lock it";
    if (!allocate(fd, SPOOLLOG_DATA_PLACE + capacity))
        return "allocate its space";
    return write_beginning(fd, log) ? NULL : "write to it";
}

int spoolfile_make(int dir_fd, const char *name, uint64_t capacity, struct spoollog *log,
                   struct err *e)
{
    const char *step = NULL;
    int fd = -1;
    if (unlinkat(dir_fd, name, 0) != 0 && errno != ENOENT)
        step = "remove what an earlier start left";
    else if ((fd = openat(dir_fd, name, FILE_FLAGS | O_RDWR | O_CREAT | O_EXCL, 0600)) < 0)
        step = "create it";
    else
        step = fill_new(fd, capacity, log);
    if (step == NULL)
        return fd;
    int error_number = errno;
    if (fd >= 0) {
        close(fd);
        unlinkat(dir_fd, name, 0);
    }
    return err_set(e, ERR_IO, "cannot %s (%" PRIu64 " bytes): %s", step,
                   capacity + SPOOLLOG_DATA_PLACE, strerror(error_number));
}

static int make_and_rename(struct spoolfile *f, int dir_fd, const char *name, uint64_t capacity,
                           struct err *e)
{
    char aside[NAME_SIZE + 8];
    struct spoollog log;
    snprintf(aside, sizeof aside, "%s.new", name);
    int fd = spoolfile_make(dir_fd, aside, capacity, &log, e);
    if (fd < 0)
        return fd;
    const char *step = NULL;
    if (fsync(fd) != 0)
        step = "sync it";
    else if (renameat(dir_fd, aside, dir_fd, name) != 0)
        step = "rename it";
    if (step != NULL) {
        int error_number = errno;
        close(fd);
        unlinkat(dir_fd, aside, 0);
        return err_set(e, ERR_IO, "cannot %s: %s", step, strerror(error_number));
    }
    if (f->fd >= 0)
        close(f->fd);
    f->fd = fd;
    f->log = log;
    /* Some file systems cannot sync a directory and say EINVAL: they have nothing better. */
    if (fsync(dir_fd) != 0 && errno != EINVAL)
        return err_set(e, ERR_IO, "cannot sync its directory: %s", strerror(errno));
    return 0;
}

/* ---- one that exists ---- */

/* A file that ends here has no more header than this. */
static bool read_header(void *ctx, uint64_t place, char *to, size_t n, struct err *e)
{
    memset(to, 0, n);
    if (transfer_pread(*(int *)ctx, place, to, n) || errno == ENODATA)
        return true;
    err_set(e, ERR_IO, "cannot read it: %s", strerror(errno));
    return false;
}

static int check_existing(int fd, bool reading, struct spoollog *log, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(e, ERR_IO, "cannot look at it: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_TYPE, "it is not a regular file: move it away");
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK
                   ? err_set(e, ERR_BUSY, "it is in use, by tailraced or `tailrace spool`")
                   : err_set(e, ERR_IO, "cannot lock it: %s", strerror(errno));
    int rc = spoolread_header(read_header, &fd, log, e);
    if (rc == 0 && !reading && (uint64_t)st.st_size < SPOOLLOG_DATA_PLACE + log->capacity)
        return err_set(e, ERR_SYNTAX,
                       "it is cut short, with %" PRIu64 " of its %" PRIu64
                       " bytes: `tailrace spool repair` saves what is good in it",
                       (uint64_t)st.st_size, SPOOLLOG_DATA_PLACE + log->capacity);
    return rc;
}

/* While it was opened, `tailrace spool repair` may have put another file there. */
static bool is_still_there(int fd, int dir_fd, const char *name)
{
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

int spoolfile_find(int dir_fd, const char *name, bool reading, struct spoollog *log, struct err *e)
{
    int flags = (reading ? O_RDONLY : O_RDWR) | FILE_FLAGS, fd = openat(dir_fd, name, flags);
    if (fd < 0)
        return err_set(e, errno == ENOENT ? ERR_MISSING : ERR_IO, "cannot open it: %s",
                       errno == ELOOP ? "it is a symbolic link" : strerror(errno));
    int rc = check_existing(fd, reading, log, e);
    if (rc == 0 && !is_still_there(fd, dir_fd, name))
        rc = err_set(e, ERR_BUSY, "it has just been exchanged for another: try again");
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

/* Nothing in it waits to be delivered, and it was closed in good order. */
static bool is_empty(const struct spoolfile *f)
{
    struct spoollog_state newest = {0};
    bool found = false;
    for (uint64_t slot = 0; slot < 2; slot++) {
        char bytes[SPOOLLOG_STATE_BYTES];
        struct spoollog_state s;
        if (!transfer_pread(f->fd, spoollog_state_place(slot), bytes, sizeof bytes))
            return false;
        if (!spoollog_get_state(&f->log, (struct str){bytes, sizeof bytes}, &s) ||
            (found && s.generation < newest.generation))
            continue;
        newest = s;
        found = true;
    }
    return found && newest.clean && newest.saved == newest.written;
}

static int open_or_make(struct spoolfile *f, int dir_fd, const char *name, uint64_t capacity,
                        struct err *e)
{
    int fd = spoolfile_find(dir_fd, name, false, &f->log, e);
    if (fd == ERR_MISSING)
        return make_and_rename(f, dir_fd, name, capacity, e);
    if (fd < 0)
        return fd;
    f->fd = fd;
    if (f->log.capacity != capacity && is_empty(f))
        return make_and_rename(f, dir_fd, name, capacity, e);
    /* A copy of it may have holes; and what a killed process wrote need not be on the disk. */
    if (!allocate(fd, SPOOLLOG_DATA_PLACE + f->log.capacity))
        return err_set(e, ERR_IO, "cannot allocate its space: %s", strerror(errno));
    if (fdatasync(fd) != 0)
        return err_set(e, ERR_IO, "cannot sync it: %s", strerror(errno));
    return 0;
}

static int open_directory(int state_dir_fd, struct err *e)
{
    if (mkdirat(state_dir_fd, SPOOLFILE_DIR, 0700) == 0)
        fsync(state_dir_fd);
    else if (errno != EEXIST)
        return err_set(e, ERR_IO, "%s: cannot make the directory: %s", SPOOLFILE_DIR,
                       strerror(errno));
    int fd = openat(state_dir_fd, SPOOLFILE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd
                   : err_set(e, ERR_IO, "%s: cannot open the directory: %s", SPOOLFILE_DIR,
                             strerror(errno));
}

static int open_file(struct spoolfile *f, int state_dir_fd, const char *stream, uint64_t capacity,
                     struct err *e)
{
    struct err why = {0};
    snprintf(f->path, sizeof f->path, "%s/%s%s", SPOOLFILE_DIR, stream, SPOOLFILE_SUFFIX);
    int dir_fd = open_directory(state_dir_fd, e);
    if (dir_fd < 0)
        return dir_fd;
    int rc = open_or_make(f, dir_fd, f->path + sizeof SPOOLFILE_DIR,
                          capacity - capacity % SPOOLLOG_PAGE, &why);
    close(dir_fd);
    return rc == 0 ? 0 : err_set(e, rc, "%s: %s", f->path, why.text);
}

struct spoolfile *spoolfile_open(uv_loop_t *loop, int state_dir_fd, const char *stream,
                                 uint64_t capacity, spoolfile_wrote_fn *wrote, void *ctx,
                                 struct err *e)
{
    assert(strlen(stream) <= 64 && strchr(stream, '/') == NULL);
    struct spoolfile *f = calloc(1, sizeof *f);
    if (f == NULL) {
        err_set(e, ERR_NOMEM, "%s: no memory", SPOOLFILE_DIR);
        return NULL;
    }
    *f = (struct spoolfile){.loop = loop, .fd = -1, .wrote = wrote, .ctx = ctx};
    if (open_file(f, state_dir_fd, stream, capacity, e) == 0)
        return f;
    if (f->fd >= 0)
        close(f->fd);
    free(f);
    return NULL;
}

bool spoolfile_exists(int state_dir_fd, const char *stream)
{
    char path[NAME_SIZE];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s%s", SPOOLFILE_DIR, stream, SPOOLFILE_SUFFIX);
    return fstatat(state_dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void tell_name(const char *name, void (*each)(void *ctx, const char *stream), void *ctx)
{
    char stream[NAME_SIZE];
    size_t n = strlen(name), suffix = strlen(SPOOLFILE_SUFFIX);
    if (n <= suffix || n >= sizeof stream || strcmp(name + n - suffix, SPOOLFILE_SUFFIX) != 0)
        return;
    memcpy(stream, name, n - suffix);
    stream[n - suffix] = '\0';
    each(ctx, stream);
}

void spoolfile_each(int state_dir_fd, void (*each)(void *ctx, const char *stream), void *ctx)
{
    int fd = openat(state_dir_fd, SPOOLFILE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        tell_name(entry->d_name, each, ctx);
    closedir(dir);
}

uint64_t spoolfile_capacity(const struct spoolfile *f)
{
    return f->log.capacity;
}

const char *spoolfile_path(const struct spoolfile *f)
{
    return f->path;
}

/* ---- reading and writing ---- */

bool spoolfile_read(struct spoolfile *f, uint64_t place, char *to, size_t n, struct err *e)
{
    if (transfer_pread(f->fd, place, to, n))
        return true;
    err_set(e, ERR_IO, "%s: cannot read at %" PRIu64 ": %s", f->path, place,
            errno == ENODATA ? "the file is cut short" : strerror(errno));
    return false;
}

/* In the worker: touches nothing of the struct but the descriptor and what is its own. */
static void do_write(uv_work_t *work)
{
    struct spoolfile *f = CONTAINER_OF(work, struct spoolfile, work);
    const struct spool_write *w = f->writing;
    f->failed_step = NULL;
    for (unsigned i = 0; w != NULL && i < w->pieces_n; i++) {
        if (transfer_pwrite(f->fd, w->pieces[i].place, w->pieces[i].bytes))
            continue;
        f->failed_step = "write";
        f->error_number = errno;
        return;
    }
    int rc = 0;
    do
        rc = w != NULL && w->sync ? fdatasync(f->fd) : 0;
    while (rc != 0 && errno == EINTR);
    if (rc == 0)
        return;
    f->failed_step = "sync";
    f->error_number = errno;
}

static void tell(struct spoolfile *f)
{
    struct err e;
    if (f->failed_step != NULL)
        err_set(&e, ERR_IO, "%s: cannot %s: %s", f->path, f->failed_step,
                strerror(f->error_number));
    f->writing = NULL;
    f->wrote(f->ctx, f->failed_step != NULL ? &e : NULL);
}

static void on_worked(uv_work_t *work, int status)
{
    struct spoolfile *f = CONTAINER_OF(work, struct spoolfile, work);
    assert(status == 0); /* nobody cancels it */
    if (f->writing != NULL)
        tell(f);
    if (f->on_closed == NULL)
        return;
    void (*on_closed)(void *) = f->on_closed;
    void *close_ctx = f->close_ctx;
    close(f->fd);
    free(f);
    on_closed(close_ctx);
}

static void start(struct spoolfile *f)
{
    int rc = uv_queue_work(f->loop, &f->work, do_write, on_worked);
    assert(rc == 0); /* fails only without a job */
    (void)rc;
}

void spoolfile_write(struct spoolfile *f, const struct spool_write *w)
{
    assert(f->writing == NULL && f->on_closed == NULL && w != NULL);
    f->writing = w;
    start(f);
}

void spoolfile_close(struct spoolfile *f, void (*on_closed)(void *ctx), void *ctx)
{
    assert(f->on_closed == NULL && on_closed != NULL);
    f->on_closed = on_closed;
    f->close_ctx = ctx;
    if (f->writing == NULL)
        start(f); /* so that on_closed is not called from inside */
}
