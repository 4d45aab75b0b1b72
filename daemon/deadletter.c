/* The happy path: deadletter_store formats the line at once and queues it. When no job is under way
 * the whole queue goes to a worker thread, which appends each source's lines to its file, syncs the
 * file, and the directory when the file is new. Back on the loop every record hears its result, in
 * the order of the stores; what was queued meanwhile is the next job.
 *
 *   queue ──start──▶ working (the worker's alone until on_worked) ──tell──▶ stored(), freed
 *
 * How it fails: a line that is not written whole is cut off again, and it and the source's later
 * lines in the job hear the error; after a failed sync nothing of the job counts, so all of it is
 * cut off. A process killed in the middle leaves half a line, which the next append cuts off first:
 * that record was never told to be stored, so it comes again. A record without room or without
 * memory for its line passes through the queue like the others, with its error already set: order
 * is kept. When not even the few bytes of a queue entry can be had the process aborts: nothing is
 * lost by that, as no checkpoint has passed the record.
 *
 * The directory is opened by name for every job, so that an operator may move it away as a whole.
 */
#include "daemon/deadletter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/transfer.h"
#include "lib/base64.h"
#include "lib/json.h"

#define SOURCE_MAX        64         /* of a source's name; the configuration's own limit */
#define LINE_EXTRA        1024       /* what a line usually takes beside its data */
#define LINE_BYTES_MAX    (64 * MIB) /* far above the largest record as base64 */
#define SCRATCH_KEEP      (64 * KIB)
#define MEASURE_EVERY_MS  1000
#define MEASURE_FILES_MAX 10000 /* more count as a full directory: measuring blocks the loop */

struct entry {
    struct entry *next;
    uint64_t token;
    int code;         /* 0: stored, once the worker has been at it */
    const char *step; /* with ERR_IO: what failed, a literal, and errno */
    int error_number;
    bool worked;
    const char *source; /* this and the line lie behind the struct, in one piece of memory */
    const char *line;
    size_t line_n;
};

struct queue {
    struct entry *first, **last;
};

struct deadletter {
    uv_loop_t *loop;
    int state_dir_fd;
    uint64_t max_bytes;
    deadletter_stored_fn *stored;
    void *ctx;
    uv_work_t work;
    bool busy;
    struct queue queue;   /* the loop's */
    struct queue working; /* the worker's while busy */
    uint64_t disk_bytes;  /* as measured, plus what was appended since */
    uint64_t queue_bytes; /* lines not yet on disk, queued or with the worker */
    uint64_t measured_ms;
    struct buf scratch;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

static void queue_init(struct queue *q)
{
    q->first = NULL;
    q->last = &q->first;
}

static void queue_add(struct queue *q, struct entry *e)
{
    *q->last = e;
    q->last = &e->next;
}

static int open_directory(int state_dir_fd)
{
    if (mkdirat(state_dir_fd, DEADLETTER_DIR, 0700) == 0)
        fsync(state_dir_fd);
    else if (errno != EEXIST)
        return -1;
    return openat(state_dir_fd, DEADLETTER_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool add_files(DIR *dir, uint64_t *sum)
{
    struct dirent *found;
    unsigned files_n = 0;
    while ((errno = 0, found = readdir(dir)) != NULL) {
        struct stat st;
        if (++files_n > MEASURE_FILES_MAX) {
            *sum = INT64_MAX;
            return true;
        }
        if (fstatat(dirfd(dir), found->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode))
            *sum += (uint64_t)st.st_size;
    }
    return errno == 0;
}

static int measure(struct deadletter *d, struct err *e)
{
    uint64_t sum = 0;
    d->measured_ms = uv_now(d->loop);
    int fd = open_directory(d->state_dir_fd);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL || !add_files(dir, &sum)) {
        int rc = err_set(e, ERR_IO, "%s: %s", DEADLETTER_DIR, strerror(errno));
        if (dir != NULL)
            closedir(dir);
        else if (fd >= 0)
            close(fd);
        return rc;
    }
    closedir(dir);
    d->disk_bytes = sum;
    return 0;
}

/* Where the last whole line ends; -1 on an error. */
static off_t whole_lines_end(int fd, off_t size)
{
    char block[4096];
    while (size > 0) {
        size_t n = min_size((size_t)size, sizeof block);
        if (pread(fd, block, n, size - (off_t)n) != (ssize_t)n)
            return -1;
        const char *newline = memrchr(block, '\n', n);
        if (newline != NULL)
            return size - (off_t)n + (newline - block) + 1;
        size -= (off_t)n;
    }
    return 0;
}

/* Finds the end of the file, and cuts off what a killed process left of a line. */
static const char *find_end(int fd, off_t *end_out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return "look at it";
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return "append to what is not a regular file";
    }
    off_t end = whole_lines_end(fd, st.st_size);
    if (end < 0)
        return "read its end";
    if (end < st.st_size && ftruncate(fd, end) != 0)
        return "cut off half a line";
    *end_out = end;
    return NULL;
}

/* Here and below a string that is returned names the step that failed, with errno set. */
static const char *open_file(int dir_fd, const char *source, int *fd_out, off_t *end_out)
{
    char name[SOURCE_MAX + 16];
    snprintf(name, sizeof name, "%s.jsonl", source);
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    const char *step = NULL;
    int fd = openat(dir_fd, name, flags);
    if (fd < 0 && errno == ENOENT) {
        fd = openat(dir_fd, name, flags | O_CREAT | O_EXCL, 0600);
        if (fd >= 0 && fsync(dir_fd) != 0 && errno != EINVAL)
            step = "sync the directory";
    }
    if (fd < 0)
        return "open it";
    if (step == NULL)
        step = find_end(fd, end_out);
    if (step != NULL) {
        int saved_errno = errno;
        close(fd);
        errno = saved_errno;
        return step;
    }
    *fd_out = fd;
    return NULL;
}

/* Where even this fails, the next job finds half a line and cuts it off. */
static void cut_back(int fd, off_t end)
{
    int rc = ftruncate(fd, end);
    (void)rc;
}

static void fail(struct entry *e, const char *step, int error_number)
{
    e->code = ERR_IO;
    e->step = step;
    e->error_number = error_number;
}

/* The first of the list that goes into `source`'s file, e itself included. */
static struct entry *same_source(struct entry *e, const char *source)
{
    while (e != NULL && (e->line == NULL || strcmp(e->source, source) != 0))
        e = e->next;
    return e;
}

static void append_source(int dir_fd, struct entry *first)
{
    int fd = -1;
    off_t start = 0;
    const char *step = open_file(dir_fd, first->source, &fd, &start);
    int error_number = errno;
    off_t end = start;
    for (struct entry *e = first; e != NULL; e = same_source(e->next, first->source)) {
        e->worked = true;
        if (step == NULL && !transfer_pwrite(fd, (uint64_t)end, (struct str){e->line, e->line_n})) {
            step = "write to it";
            error_number = errno;
            cut_back(fd, end);
        }
        if (step != NULL)
            fail(e, step, error_number);
        else
            end += (off_t)e->line_n;
    }
    if (end > start && fdatasync(fd) != 0) {
        error_number = errno;
        cut_back(fd, start);
        for (struct entry *e = first; e != NULL; e = same_source(e->next, first->source))
            fail(e, "sync it", error_number);
    }
    if (fd >= 0)
        close(fd);
}

/* In the worker: touches nothing of the struct but `working` and the descriptor. */
static void append_all(uv_work_t *work)
{
    struct deadletter *d = CONTAINER_OF(work, struct deadletter, work);
    if (d->working.first == NULL)
        return;
    int dir_fd = open_directory(d->state_dir_fd);
    int open_errno = errno;
    for (struct entry *e = d->working.first; e != NULL; e = e->next) {
        if (e->line == NULL || e->worked)
            continue;
        if (dir_fd >= 0)
            append_source(dir_fd, e);
        else
            fail(e, "open the directory", open_errno);
    }
    if (dir_fd >= 0)
        close(dir_fd);
}

static void tell(struct deadletter *d, const struct entry *e)
{
    struct err err;
    switch (e->code) {
    case 0:
        d->stored(d->ctx, e->token, NULL);
        return;
    case ERR_IO:
        err_set(&err, ERR_IO, "%s/%s.jsonl: cannot %s: %s", DEADLETTER_DIR, e->source, e->step,
                strerror(e->error_number));
        break;
    case ERR_RANGE:
        err_set(&err, ERR_RANGE, "%s: no room for a record of %s", DEADLETTER_DIR, e->source);
        break;
    default:
        err_set(&err, e->code, "%s: no memory for a record of %s", DEADLETTER_DIR, e->source);
    }
    d->stored(d->ctx, e->token, &err);
}

static void start(struct deadletter *d);

static void on_worked(uv_work_t *work, int status)
{
    struct deadletter *d = CONTAINER_OF(work, struct deadletter, work);
    assert(status == 0); /* nobody cancels it */
    struct entry *done = d->working.first;
    for (struct entry *e = done; e != NULL; e = e->next) {
        d->queue_bytes -= e->line_n;
        d->disk_bytes += e->code == 0 ? e->line_n : 0;
    }
    while (done != NULL) { /* busy still: what stored() stores only queues */
        struct entry *e = done;
        done = e->next;
        tell(d, e);
        free(e);
    }
    d->busy = false;
    if (d->queue.first != NULL) {
        start(d);
    } else if (d->on_closed != NULL) {
        void (*on_closed)(void *) = d->on_closed;
        void *close_ctx = d->close_ctx;
        buf_release(&d->scratch);
        free(d);
        on_closed(close_ctx);
    }
}

static void start(struct deadletter *d)
{
    d->working = d->queue;
    queue_init(&d->queue);
    d->busy = true;
    int rc = uv_queue_work(d->loop, &d->work, append_all, on_worked);
    assert(rc == 0); /* fails only without a job */
    (void)rc;
}

struct deadletter *deadletter_new(uv_loop_t *loop, int state_dir_fd, uint64_t max_bytes,
                                  deadletter_stored_fn *stored, void *ctx, struct err *e)
{
    struct deadletter *d = calloc(1, sizeof *d);
    if (d == NULL) {
        err_set(e, ERR_NOMEM, "%s: no memory", DEADLETTER_DIR);
        return NULL;
    }
    *d = (struct deadletter){.loop = loop,
                             .state_dir_fd = state_dir_fd,
                             .max_bytes = max_bytes,
                             .stored = stored,
                             .ctx = ctx};
    queue_init(&d->queue);
    queue_init(&d->working);
    buf_init(&d->scratch, LINE_BYTES_MAX);
    if (measure(d, e) != 0) {
        free(d);
        return NULL;
    }
    return d;
}

void deadletter_set_max(struct deadletter *d, uint64_t max_bytes)
{
    d->max_bytes = max_bytes;
}

/* The first always fits: or a record larger than max_bytes would hold up its source for ever. */
static bool fits_on_disk(const struct deadletter *d, uint64_t line_bytes)
{
    uint64_t used = d->disk_bytes + d->queue_bytes;
    return used == 0 || (line_bytes <= d->max_bytes && used <= d->max_bytes - line_bytes);
}

bool deadletter_room(struct deadletter *d, uint64_t data_bytes)
{
    uint64_t line_bytes = LINE_EXTRA + base64_size((size_t)min_u64(data_bytes, LINE_BYTES_MAX));
    /* Lines the worker is writing would be counted twice, so it is asked again when they are done.
     */
    if (!fits_on_disk(d, line_bytes) && !d->busy &&
        uv_now(d->loop) - d->measured_ms >= MEASURE_EVERY_MS && measure(d, NULL) != 0)
        return false;
    bool fits_in_memory =
        d->queue_bytes == 0 || d->queue_bytes + line_bytes <= DEADLETTER_QUEUE_MAX;
    return fits_in_memory && fits_on_disk(d, line_bytes);
}

static void put_time(struct buf *b, uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[40] = "";
    if (gmtime_r(&seconds, &tm) != NULL)
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_puts(b, text);
}

static void put_member(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, ",\"%s\":", name);
    json_put_string(b, str_of(value));
}

static void put_line(struct buf *b, const struct deadletter_record *r)
{
    buf_puts(b, "{\"time\":\"");
    put_time(b, r->wall_ms);
    buf_putc(b, '"');
    put_member(b, "source", r->source);
    put_member(b, "stream", r->stream);
    put_member(b, "path", r->path);
    buf_printf(b, ",\"inode\":\"%" PRIu64 "\",\"offset\":%" PRIu64 ",\"size\":%" PRIu64, r->inode,
               r->offset, r->size);
    put_member(b, "reason", r->reason);
    buf_puts(b, ",\"data\":\"");
    size_t n = base64_size(r->data.n);
    char *to = buf_reserve(b, n);
    if (to != NULL) {
        base64_encode(to, r->data.p, r->data.n);
        buf_commit(b, n);
    }
    buf_puts(b, "\"}\n");
}

/* An entry with its source and line behind it; NULL without memory. */
static struct entry *entry_new(const char *source, struct str line, uint64_t token)
{
    size_t source_n = strlen(source) + 1;
    struct entry *e = malloc(sizeof *e + source_n + line.n);
    if (e == NULL)
        return NULL;
    char *text = (char *)(e + 1);
    *e = (struct entry){.token = token, .source = text, .line_n = line.n};
    memcpy(text, source, source_n);
    if (line.n > 0) {
        memcpy(text + source_n, line.p, line.n);
        e->line = text + source_n;
    }
    return e;
}

void deadletter_store(struct deadletter *d, const struct deadletter_record *r, uint64_t token)
{
    assert(d->on_closed == NULL);
    assert(strlen(r->source) <= SOURCE_MAX && strchr(r->source, '/') == NULL);
    struct entry *e = NULL;
    int code = ERR_RANGE;
    if (deadletter_room(d, r->data.n)) {
        put_line(&d->scratch, r);
        if (!d->scratch.failed)
            e = entry_new(r->source, buf_str(&d->scratch), token);
        buf_shrink(&d->scratch, SCRATCH_KEEP);
        code = e == NULL ? ERR_NOMEM : 0;
    }
    if (e == NULL && (e = entry_new(r->source, (struct str){0}, token)) == NULL)
        abort();
    e->code = code;
    d->queue_bytes += e->line_n;
    queue_add(&d->queue, e);
    if (!d->busy)
        start(d);
}

void deadletter_close(struct deadletter *d, void (*on_closed)(void *ctx), void *ctx)
{
    assert(d->on_closed == NULL && on_closed != NULL);
    d->on_closed = on_closed;
    d->close_ctx = ctx;
    if (!d->busy)
        start(d);
}
