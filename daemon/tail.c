/* The happy path: inotify says that a file has grown (tail_event, tail_scan.c), tail_wake puts it
 * on the ready list, the idle reads a chunk at read_at and tells it upward, and what was used
 * moves read_at.
 *
 * Every read starts a little before read_at and checks that these bytes are still the ones that
 * were read: a file that was truncated, or truncated and refilled, is found out before one byte of
 * it is taken for a continuation. That costs one hash of 1 KiB a read and no system call.
 *
 * A file that lost its name (orphan) is kept until it is read to the end and has been quiet:
 * writers go on writing into a rotated file. The timer that watches the quiet runs only while
 * there are orphans. */
#include "daemon/tail.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/tail_in.h"

#define TURN_FILES_MAX 256 /* files looked at in one turn */
#define ORPHAN_TICK_MS 1000

/* ---- known files ---- */

static int by_path(const void *a, const void *b)
{
    const struct tail_file *x = a, *y = b;
    return strcmp(x->path, y->path);
}

static int by_inode(const void *a, const void *b)
{
    const struct tail_file *x = a, *y = b;
    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return 0;
}

static struct tail_file *find(void *const *tree, const struct tail_file *key,
                              int (*compare)(const void *, const void *))
{
    void *node = tfind(key, tree, compare);
    return node != NULL ? *(struct tail_file **)node : NULL;
}

struct tail_file *tail_find_path(const struct tail *t, const char *path)
{
    char *spelled = (char *)(uintptr_t)path; /* only compared */
    return find(&t->by_path, &(struct tail_file){.path = spelled}, by_path);
}

struct tail_file *tail_find_inode(const struct tail *t, uint64_t device, uint64_t inode)
{
    return find(&t->by_inode, &(struct tail_file){.device = device, .inode = inode}, by_inode);
}

/* ---- the ready list and who runs ---- */

static void on_idle(uv_idle_t *idle);
static void on_timer(uv_timer_t *timer);

void tail_kick(struct tail *t)
{
    if (!t->closing && (t->scan_due || (!t->paused && !list_empty(&t->ready))))
        uv_idle_start(&t->idle, on_idle);
    else if (!t->closing)
        uv_idle_stop(&t->idle);
}

void tail_wake(struct tail_file *f)
{
    if (f->done || !list_empty(&f->ready))
        return;
    list_add_tail(&f->tail->ready, &f->ready);
    tail_kick(f->tail);
}

void tail_pause(struct tail *t, bool pause)
{
    t->paused = pause;
    tail_kick(t);
}

/* ---- a file's life ---- */

struct tail_file *tail_adopt(struct tail *t, const char *path, int fd, const struct stat *st)
{
    struct tail_file *f = calloc(1, sizeof *f);
    if (f == NULL || (f->path = strdup(path)) == NULL) {
        free(f);
        return NULL;
    }
    f->tail = t;
    f->fd = fd;
    f->wd = -1;
    f->device = st->st_dev;
    f->inode = st->st_ino;
    f->mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    f->limit = t->once ? (uint64_t)st->st_size : UINT64_MAX;
    f->before = fingerprint_of(NULL, 0);
    list_init(&f->ready);
    list_init(&f->watched);
    list_add_tail(&t->files, &f->link);
    if (tsearch(f, &t->by_path, by_path) == NULL || tsearch(f, &t->by_inode, by_inode) == NULL) {
        f->fd = -1; /* the caller closes it */
        tail_forget(f);
        return NULL;
    }
    return f;
}

void tail_forget(struct tail_file *f)
{
    struct tail *t = f->tail;
    if (f->owner != NULL)
        t->ops.lost(t->ops.ctx, f);
    if (!f->orphan)
        tdelete(f, &t->by_path, by_path);
    tdelete(f, &t->by_inode, by_inode);
    list_del(&f->link);
    list_del(&f->ready);
    tail_unwatch_itself(f);
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    free(f);
}

void tail_watch_itself(struct tail_file *f)
{
    struct tail *t = f->tail;
    if (f->wd >= 0 || t->once)
        return;
    int wd = t->ops.watch_file(t->ops.ctx, f->fd);
    if (wd >= 0) {
        f->wd = wd;
        list_add_tail(&t->watched, &f->watched);
    } else {
        tail_complain(t, f->path,
                      wd == -ENOSPC ? "cannot be watched: fs.inotify.max_user_watches is reached"
                                    : strerror(-wd));
    }
}

void tail_unwatch_itself(struct tail_file *f)
{
    if (f->wd >= 0)
        f->tail->ops.unwatch(f->tail->ops.ctx, f->wd);
    f->wd = -1;
    list_del(&f->watched);
}

static void start_timer(struct tail *t)
{
    uint64_t tick = min_u64(ORPHAN_TICK_MS, t->quiet_ms);
    if (!t->closing && !uv_is_active((uv_handle_t *)&t->timer))
        uv_timer_start(&t->timer, on_timer, tick, tick);
}

void tail_orphan(struct tail_file *f)
{
    struct tail *t = f->tail;
    if (f->orphan)
        return;
    tdelete(f, &t->by_path, by_path);
    f->orphan = true;
    f->quiet_since_ms = uv_now(t->idle.loop);
    tail_watch_itself(f);
    tail_wake(f);
    start_timer(t);
}

void tail_rename(struct tail_file *f, const char *path)
{
    struct tail *t = f->tail;
    char *copy = strdup(path);
    if (copy == NULL)
        return;
    if (!f->orphan)
        tdelete(f, &t->by_path, by_path);
    free(f->path);
    f->path = copy;
    f->orphan = false;
    if (tsearch(f, &t->by_path, by_path) == NULL)
        f->orphan = true;
    t->ops.renamed(t->ops.ctx, f);
    tail_wake(f);
}

/* ---- reading ---- */

static struct fingerprint fingerprint_at(const struct tail_file *f, uint64_t end, size_t n,
                                         bool *ok)
{
    char bytes[FINGERPRINT_MAX];
    *ok = tail_pread(f, bytes, n, end - n) == (ssize_t)n;
    return *ok ? fingerprint_of(bytes, n) : (struct fingerprint){0};
}

static struct fingerprint fingerprint_before(const struct tail_file *f, uint64_t offset, bool *ok)
{
    return fingerprint_at(f, offset, (size_t)min_u64(offset, FINGERPRINT_MAX), ok);
}

bool tail_seek(struct tail_file *f, uint64_t offset)
{
    bool ok;
    struct fingerprint before = fingerprint_before(f, offset, &ok);
    if (!ok)
        return false;
    f->before = before;
    f->read_at = offset;
    return true;
}

/* The file begins again: what was read of it is no longer there. */
static void start_over(struct tail_file *f)
{
    struct tail *t = f->tail;
    f->read_at = 0;
    f->before = fingerprint_of(NULL, 0);
    t->ops.replaced(t->ops.ctx, f);
}

/* `used` of the bytes that follow the `before.n` bytes in the chunk have been taken. */
static void move_on(struct tail_file *f, const char *chunk, size_t used)
{
    if (used == 0)
        return;
    size_t end = f->before.n + used, n = min_size(end, FINGERPRINT_MAX);
    f->read_at += used;
    f->before = fingerprint_of(chunk + end - n, n);
}

/* A record did not fit the chunk: read more at a time, up to the longest record there may be. */
static bool grow_chunk(struct tail *t)
{
    size_t most = t->record_max + 64 * KIB;
    size_t n = min_size(t->chunk_n * 2, most);
    if (n <= t->chunk_n)
        return false;
    char *p = realloc(t->chunk, FINGERPRINT_MAX + n);
    if (p == NULL)
        return false;
    t->chunk = p;
    t->chunk_n = n;
    return true;
}

/* Whether an orphan has not grown for a while; half a record that grows is no quiet either. */
static bool is_quiet(struct tail_file *f, uint64_t end)
{
    uint64_t now_ms = uv_now(f->tail->idle.loop);
    if (end != f->seen_end) {
        f->seen_end = end;
        f->quiet_since_ms = now_ms;
    }
    return f->orphan && now_ms - f->quiet_since_ms >= f->tail->quiet_ms;
}

/* What stands at read_at, as far as the chunk and the limit go, behind the bytes before it. False:
 * the file cannot be read, or begins again. */
static bool read_chunk(struct tail_file *f, size_t want, size_t *n)
{
    struct tail *t = f->tail;
    ssize_t got = pread(f->fd, t->chunk, f->before.n + want, (off_t)(f->read_at - f->before.n));
    if (got < 0) {
        tail_complain(t, f->path, strerror(errno));
        list_del(&f->ready);
        return false;
    }
    bool same = (size_t)got >= f->before.n;
    if (same && f->before.n > 0) {
        struct fingerprint before = fingerprint_of(t->chunk, f->before.n);
        same = fingerprint_eq(&before, &f->before);
    }
    if (same)
        *n = (size_t)got - f->before.n;
    else
        start_over(f);
    return same;
}

/* One chunk of one file. Returns how many bytes were told; *wait: the owner wants no more for
 * now. */
static size_t read_some(struct tail_file *f, bool *wait)
{
    struct tail *t = f->tail;
    uint64_t at = f->read_at;
    size_t want = (size_t)min_u64(t->chunk_n, f->limit > at ? f->limit - at : 0), n, used = 0;
    if (!read_chunk(f, want, &n))
        return 0;
    bool quiet = is_quiet(f, at + n);
    bool last = (t->once && (n < want || at + n >= f->limit)) || (n < want && quiet);
    if (n > 0 || last)
        *wait = t->ops.bytes(t->ops.ctx, f, (struct str){t->chunk + f->before.n, n}, last, &used) ==
                TAIL_WAIT;
    if (f->read_at != at)
        return n; /* the owner has sought another place: the file stays ready */
    move_on(f, t->chunk, used);
    if (*wait)
        return n;
    bool whole = n == want && n > 0;
    if (whole && used == 0 && !last)
        grow_chunk(t);
    if (last)
        f->done = t->once;
    if (!whole || last)
        list_del(&f->ready);
    if (last && f->orphan && t->ops.settled(t->ops.ctx, f))
        tail_forget(f);
    return n;
}

static void on_idle(uv_idle_t *idle)
{
    struct tail *t = CONTAINER_OF(idle, struct tail, idle);
    size_t budget = TAIL_READ_BYTES;
    if (t->scan_due)
        tail_scan(t);
    for (unsigned i = 0; i < TURN_FILES_MAX && !t->paused && !list_empty(&t->ready); i++) {
        struct tail_file *f = LIST_FIRST(&t->ready, struct tail_file, ready);
        list_del(&f->ready); /* to the back: every file gets its turn */
        list_add_tail(&t->ready, &f->ready);
        bool wait = false;
        size_t n = read_some(f, &wait);
        if (wait || n >= budget)
            break;
        budget -= n;
    }
    tail_kick(t);
}

/* ---- orphans ---- */

static void on_timer(uv_timer_t *timer)
{
    struct tail *t = CONTAINER_OF(timer, struct tail, timer);
    unsigned orphans = 0;
    LIST_FOR(it, save, &t->files)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, link);
        if (!f->orphan)
            continue;
        orphans++;
        tail_wake(f); /* on a file system without events, this is how late bytes are seen */
    }
    if (orphans == 0)
        uv_timer_stop(&t->timer);
    else
        tail_check_dirs(t);
}

/* ---- for the owner ---- */

ssize_t tail_pread(const struct tail_file *f, void *to, size_t n, uint64_t offset)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = pread(f->fd, (char *)to + got, n - got, (off_t)(offset + got));
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

uint64_t tail_size(const struct tail_file *f)
{
    struct stat st;
    return fstat(f->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

bool tail_position(struct tail_file *f, uint64_t offset, struct position *at)
{
    assert(offset <= f->read_at);
    bool ok[3];
    struct fingerprint before = fingerprint_before(f, f->read_at, &ok[0]);
    struct fingerprint tail = fingerprint_before(f, offset, &ok[1]);
    struct fingerprint head = fingerprint_before(f, min_u64(f->read_at, FINGERPRINT_MAX), &ok[2]);
    if (!ok[0] || !ok[1] || !ok[2] || !fingerprint_eq(&before, &f->before)) {
        tail_wake(f); /* reading will find out */
        return false;
    }
    at->device = f->device;
    at->inode = f->inode;
    at->offset = offset;
    at->head = head;
    at->tail = tail;
    return true;
}

bool tail_is(const struct tail_file *f, const struct position *at)
{
    if (f->inode != at->inode || at->offset < at->tail.n)
        return false;
    bool ok[2];
    struct fingerprint tail = fingerprint_at(f, at->offset, at->tail.n, &ok[0]);
    struct fingerprint head = fingerprint_at(f, at->head.n, at->head.n, &ok[1]);
    return ok[0] && ok[1] && (tail.n == 0 || fingerprint_eq(&tail, &at->tail)) &&
           (head.n == 0 || fingerprint_eq(&head, &at->head));
}

bool tail_finished(const struct tail *t)
{
    return list_empty(&t->ready);
}

struct list *tail_files(struct tail *t)
{
    return &t->files;
}

/* ---- birth and death ---- */

struct tail *tail_new(uv_loop_t *loop, const char *pattern, bool once, size_t record_max,
                      const struct tail_ops *ops, struct err *e)
{
    struct tail *t = calloc(1, sizeof *t);
    if (t != NULL) {
        t->pattern = strdup(pattern);
        t->chunk_n = TAIL_READ_BYTES;
        t->chunk = malloc(FINGERPRINT_MAX + t->chunk_n);
    }
    if (t == NULL || t->pattern == NULL || t->chunk == NULL) {
        if (t != NULL) {
            free(t->pattern);
            free(t->chunk);
        }
        free(t);
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    t->ops = *ops;
    t->once = once;
    t->paused = true;
    t->quiet_ms = TAIL_QUIET_MS;
    t->record_max = record_max;
    list_init(&t->files);
    list_init(&t->ready);
    list_init(&t->watched);
    uv_idle_init(loop, &t->idle);
    uv_timer_init(loop, &t->timer);
    t->handles_open = 2;
    return t;
}

void tail_set_quiet(struct tail *t, uint64_t quiet_ms)
{
    t->quiet_ms = quiet_ms;
}

static void on_handle_closed(struct tail *t)
{
    if (--t->handles_open > 0)
        return;
    void (*on_closed)(void *) = t->on_closed;
    void *ctx = t->close_ctx;
    free(t->pattern);
    free(t->chunk);
    free(t);
    on_closed(ctx);
}

static void on_idle_closed(uv_handle_t *handle)
{
    on_handle_closed(CONTAINER_OF(handle, struct tail, idle));
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_handle_closed(CONTAINER_OF(handle, struct tail, timer));
}

void tail_close(struct tail *t, void (*on_closed)(void *ctx), void *ctx)
{
    t->closing = true;
    t->on_closed = on_closed;
    t->close_ctx = ctx;
    LIST_FOR(it, save, &t->files)
    {
        tail_forget(CONTAINER_OF(it, struct tail_file, link));
    }
    tail_scan_release(t);
    uv_close((uv_handle_t *)&t->idle, on_idle_closed);
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}
