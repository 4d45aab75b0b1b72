/* The happy path: inotify says that a file has grown (tail_scan.c), tail_wake puts it on the ready
 * list, the idle reads a chunk at read_at and tells it upward (tail_read.c), and what was used
 * moves read_at.
 *
 * A file that lost its name (orphan) is kept until it is read to the end and has been quiet:
 * writers go on writing into a rotated file. One timer serves everything that waits for a time:
 * orphans, copies held back, the owner's patience, polling. It runs only while something does. */
#include "daemon/tail.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/tail_in.h"

#define TURN_FILES_MAX 256  /* files looked at in one turn */
#define TICK_MS        1000 /* how often orphans and held copies are looked at */
#define COMPLAINTS_MAX 1000 /* remembered; then they may be told again */
#define LEFT_MAX       64   /* files remembered by the path that they have left */

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

static int by_wd(const void *a, const void *b)
{
    const struct tail_file *x = a, *y = b;
    return (x->wd > y->wd) - (x->wd < y->wd);
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

struct tail_file *tail_find_wd(const struct tail *t, int wd)
{
    return find(&t->by_wd, &(struct tail_file){.wd = wd}, by_wd);
}

/* ---- complaints, each once ---- */

static int compare_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

void tail_complain(struct tail *t, const char *path, const char *what)
{
    char *text = NULL;
    if (asprintf(&text, "%s: %s", path, what) < 0)
        return;
    if (tfind(text, &t->complained, compare_text) != NULL) {
        free(text);
        return;
    }
    if (t->complained_n == COMPLAINTS_MAX) {
        tdestroy(t->complained, free);
        t->complained = NULL;
        t->complained_n = 0;
    }
    if (tsearch(text, &t->complained, compare_text) == NULL) {
        free(text);
        return;
    }
    t->complained_n++;
    t->ops.complain(t->ops.ctx, path, what);
}

/* There may be thousands that cannot be watched, for one reason: it is said of the first; and not
 * at all when polling was asked for, since then it does not matter. */
void tail_cannot_watch(struct tail *t, const char *path, int error)
{
    if (error != ENOSPC)
        tail_complain(t, path, strerror(error));
    else if (!t->polling)
        tail_complain(t, path,
                      "cannot be watched: fs.inotify.max_user_watches is reached; polling");
    if (t->polling)
        return;
    t->polling = true;
    t->poll_at_ms = tail_now(t) + t->poll_ms;
    tail_arm_timer(t);
}

/* ---- the ready list and who runs ---- */

static void on_idle(uv_idle_t *idle);
static void on_timer(uv_timer_t *timer);

void tail_kick(struct tail *t)
{
    bool look = t->scan_due || t->links_due || t->moving != NULL;
    bool work = look || (!t->paused && !list_empty(&t->ready));
    if (!t->closing && work)
        uv_idle_start(&t->idle, on_idle);
    else if (!t->closing)
        uv_idle_stop(&t->idle);
}

void tail_wake(struct tail_file *f)
{
    f->news = true;
    if (f->tail->paused && f->fd >= 0)
        tail_note_size(f);
    if (f->done || f->held_for != NULL || !list_empty(&f->ready))
        return;
    list_del(&f->patient);
    list_add_tail(&f->tail->ready, &f->ready);
    tail_kick(f->tail);
}

void tail_pause(struct tail *t, bool pause)
{
    t->paused = pause;
    tail_kick(t);
}

/* What was at this path before has not been read far enough yet. */
static bool must_wait(struct tail_file *f)
{
    const struct tail_file *before = f->after;
    if (before == NULL)
        return false;
    if (before->read_at >= f->after_until || before->told_end >= f->after_until) {
        tail_follows_nobody(f);
        return false;
    }
    return !list_empty(&before->ready);
}

/* One file's turn. True: something was done. */
static bool serve(struct tail_file *f, size_t *budget, bool *wait)
{
    if (f->put_off == f->tail->turn || must_wait(f) || (f->fd < 0 && !tail_reopen(f)) ||
        (f->unproven && tail_hold(f)))
        return false;
    size_t n = tail_read(f, wait);
    *budget = n < *budget ? *budget - n : 0;
    return true;
}

static void on_idle(uv_idle_t *idle)
{
    struct tail *t = CONTAINER_OF(idle, struct tail, idle);
    size_t budget = TAIL_READ_BYTES;
    bool wait = false, progress = false;
    t->turn++;
    tail_settle_moving(t);
    if (t->scan_due)
        tail_scan(t);
    if (t->links_due)
        tail_check_links(t);
    if (t->unsorted)
        tail_sort_ready(t);
    for (unsigned i = 0; i < TURN_FILES_MAX && !t->paused && !list_empty(&t->ready); i++) {
        struct tail_file *f = LIST_FIRST(&t->ready, struct tail_file, ready);
        list_del(&f->ready); /* to the back: every file gets its turn */
        list_add_tail(&t->ready, &f->ready);
        progress |= serve(f, &budget, &wait);
        if (wait || budget == 0)
            break;
    }
    tail_trim(t);
    tail_kick(t);
    if (!progress && !t->scan_due && !list_empty(&t->ready)) {
        uv_idle_stop(&t->idle); /* all wait for others, or for descriptors */
        t->retry_at_ms = tail_now(t) + 20;
        tail_arm_timer(t);
    }
}

/* ---- times ---- */

static uint64_t patient_due(const struct tail_file *f)
{
    return f->quiet_since_ms + f->patience_ms;
}

void tail_arm_timer(struct tail *t)
{
    uint64_t due = min_u64(t->retry_at_ms, t->rescan_at_ms);
    if (t->polling)
        due = min_u64(due, t->poll_at_ms);
    if (!list_empty(&t->orphans) || !list_empty(&t->held))
        due = min_u64(due, t->tick_at_ms);
    LIST_FOR(it, save, &t->patient)
    {
        due = min_u64(due, patient_due(CONTAINER_OF(it, struct tail_file, patient)));
    }
    uint64_t now_ms = tail_now(t);
    if (t->closing || due == UINT64_MAX)
        uv_timer_stop(&t->timer);
    else
        uv_timer_start(&t->timer, on_timer, due > now_ms ? due - now_ms : 0, 0);
}

static void tick(struct tail *t)
{
    t->tick_at_ms = tail_now(t) + min_u64(TICK_MS, t->quiet_ms);
    LIST_FOR(it, save, &t->orphans)
    {
        tail_wake(CONTAINER_OF(it, struct tail_file, orphans));
    }
    tail_tick_held(t);
    if (!list_empty(&t->orphans))
        tail_check_dirs(t);
}

static void on_timer(uv_timer_t *timer)
{
    struct tail *t = CONTAINER_OF(timer, struct tail, timer);
    uint64_t now_ms = tail_now(t);
    t->retry_at_ms = UINT64_MAX;
    if (t->tick_at_ms <= now_ms)
        tick(t);
    LIST_FOR(it, save, &t->patient)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, patient);
        if (patient_due(f) <= now_ms)
            tail_wake(f);
    }
    if (t->polling && t->poll_at_ms <= now_ms) {
        t->poll_at_ms = now_ms + t->poll_ms;
        t->scan_due = true;
    }
    if (t->rescan_at_ms <= now_ms) {
        t->rescan_at_ms = UINT64_MAX;
        t->scan_due = true;
    }
    tail_kick(t);
    tail_arm_timer(t);
}

/* ---- a file's life ---- */

static void init_links(struct tail_file *f)
{
    struct list *links[] = {&f->ready, &f->open,   &f->orphans, &f->patient,
                            &f->held,  &f->firsts, &f->linked,  &f->left};
    for (size_t i = 0; i < ARRAY_LEN(links); i++)
        list_init(links[i]);
}

static void unlink_all(struct tail_file *f)
{
    struct list *links[] = {&f->link, &f->ready,  &f->open,   &f->orphans, &f->patient,
                            &f->held, &f->firsts, &f->linked, &f->left};
    for (size_t i = 0; i < ARRAY_LEN(links); i++)
        list_del(links[i]);
}

struct tail_file *tail_adopt(struct tail *t, const char *path, int fd, const struct stat *st)
{
    struct tail_file *f = calloc(1, sizeof *f);
    if (f == NULL || (f->path = strdup(path)) == NULL) {
        free(f);
        return NULL;
    }
    f->tail = t;
    f->fd = f->wd = -1;
    f->device = st->st_dev;
    f->inode = st->st_ino;
    f->mtime_ns = tail_mtime_ns(st);
    f->seen_end = f->known_end = (uint64_t)st->st_size;
    f->quiet_since_ms = tail_now(t);
    f->patience_ms = UINT64_MAX;
    f->limit = t->once ? (uint64_t)st->st_size : UINT64_MAX;
    f->before = fingerprint_of(NULL, 0);
    init_links(f);
    list_add_tail(&t->files, &f->link);
    if (tsearch(f, &t->by_path, by_path) == NULL || tsearch(f, &t->by_inode, by_inode) == NULL) {
        tail_forget(f); /* the caller closes the descriptor */
        return NULL;
    }
    tail_opened(f, fd);
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
    tail_release_held_for(f);
    tail_unhold(f);
    if (f->successor != NULL)
        tail_follows_nobody(f->successor);
    tail_follows_nobody(f);
    if (t->moving == f)
        t->moving = NULL;
    tail_unwatch_itself(f);
    tail_closed(f);
    unlink_all(f);
    free(f->left_path);
    free(f->path);
    free(f);
}

void tail_watch_itself(struct tail_file *f)
{
    struct tail *t = f->tail;
    if (f->wd >= 0 || f->fd < 0 || t->watchless)
        return;
    int wd = t->ops.watch_file(t->ops.ctx, f->fd);
    if (wd >= 0) {
        f->wd = wd;
        if (tail_size(f) != f->seen_end)
            tail_wake(f); /* what was written before the watch is not told */
        if (tsearch(f, &t->by_wd, by_wd) != NULL)
            return;
        tail_unwatch_itself(f);
        wd = -ENOMEM;
    }
    tail_cannot_watch(t, f->path, -wd);
}

void tail_unwatch_itself(struct tail_file *f)
{
    struct tail *t = f->tail;
    if (f->wd < 0)
        return;
    tdelete(f, &t->by_wd, by_wd);
    t->ops.unwatch(t->ops.ctx, f->wd);
    f->wd = -1;
}

void tail_left(struct tail_file *f, const char *path)
{
    struct tail *t = f->tail;
    free(f->left_path);
    f->left_path = strdup(path);
    list_del(&f->left);
    list_add_tail(&t->left, &f->left);
    size_t n = 0;
    LIST_FOR(it, save, &t->left)
    {
        n++;
    }
    if (n > LEFT_MAX)
        list_del(t->left.next);
}

void tail_follows_nobody(struct tail_file *f)
{
    if (f->after != NULL)
        f->after->successor = NULL;
    f->after = NULL;
}

void tail_follows(struct tail_file *f, struct tail_file *before)
{
    if (before == f)
        return;
    before->rotated = true;
    if (before->read_at < before->seen_end)
        tail_wake(before); /* for its last bytes, once they are quiet */
    if (before->successor != NULL)
        return;
    tail_follows_nobody(f);
    f->after = before;
    f->after_until = tail_size(before);
    before->successor = f;
}

void tail_unname(struct tail_file *f)
{
    tail_left(f, f->path);
    tdelete(f, &f->tail->by_path, by_path);
    f->orphan = true;
}

void tail_gone(struct tail_file *f, bool search)
{
    struct tail *t = f->tail;
    uint64_t unread = f->seen_end > f->read_at ? f->seen_end - f->read_at : 0;
    if (search && tail_open_beside(f)) {
        tail_orphan(f);
        return;
    }
    if (f->news || unread > 0)
        t->ops.missed(t->ops.ctx, f, f->read_at, unread, "gone while its descriptor was closed");
    tail_forget(f);
}

void tail_orphan(struct tail_file *f)
{
    struct tail *t = f->tail;
    if (!list_empty(&f->orphans))
        return;
    if (!f->orphan)
        tail_unname(f);
    f->quiet_since_ms = tail_now(t);
    list_add_tail(&t->orphans, &f->orphans);
    t->tick_at_ms = tail_now(t) + min_u64(TICK_MS, t->quiet_ms);
    tail_watch_itself(f);
    tail_wake(f);
    tail_arm_timer(t);
}

void tail_rename(struct tail_file *f, const char *path)
{
    struct tail *t = f->tail;
    char *copy = strdup(path);
    if (copy == NULL)
        return;
    if (!f->orphan)
        tail_unname(f);
    free(f->path);
    f->path = copy;
    f->orphan = tsearch(f, &t->by_path, by_path) == NULL;
    if (!f->orphan)
        list_del(&f->orphans);
    t->ops.renamed(t->ops.ctx, f);
    tail_wake(f);
}

/* ---- birth and death ---- */

static bool make_parts(struct tail *t, const struct tail_options *o, struct err *e)
{
    t->glob = glob_new(o->pattern, o->excludes, o->excludes_n, e);
    if (t->glob == NULL)
        return false;
    t->chunk_n = TAIL_READ_BYTES;
    t->chunk = malloc(FINGERPRINT_MAX + t->chunk_n);
    t->firsts = calloc(TAIL_FIRSTS, sizeof *t->firsts);
    if (t->chunk == NULL || t->firsts == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        return false;
    }
    for (size_t i = 0; i < TAIL_FIRSTS; i++)
        list_init(&t->firsts[i]);
    return true;
}

static void free_parts(struct tail *t)
{
    glob_free(t->glob);
    free(t->chunk);
    free(t->firsts);
    free(t);
}

static void init_lists(struct tail *t)
{
    struct list *heads[] = {&t->files,   &t->ready, &t->open,   &t->orphans,
                            &t->patient, &t->held,  &t->linked, &t->left};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        list_init(heads[i]);
}

struct tail *tail_new(uv_loop_t *loop, const struct tail_options *o, const struct tail_ops *ops,
                      struct err *e)
{
    struct tail *t = calloc(1, sizeof *t);
    if (t == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    if (!make_parts(t, o, e)) {
        free_parts(t);
        return NULL;
    }
    t->ops = *ops;
    t->once = o->once;
    t->polling = o->poll && !o->once;
    t->watchless = o->poll || o->once;
    t->paused = true;
    t->record_max = o->record_max;
    t->open_max = o->open_max > 0 ? o->open_max : SIZE_MAX / 2;
    t->retry_at_ms = t->rescan_at_ms = UINT64_MAX;
    init_lists(t);
    uv_idle_init(loop, &t->idle);
    uv_timer_init(loop, &t->timer);
    t->handles_open = 2;
    tail_set_times(t, TAIL_QUIET_MS, TAIL_POLL_MS, COPY_HOLD_MS);
    return t;
}

void tail_set_times(struct tail *t, uint64_t quiet_ms, uint64_t poll_ms, uint64_t hold_ms)
{
    t->quiet_ms = quiet_ms;
    t->poll_ms = poll_ms;
    t->hold_ms = hold_ms;
    t->poll_at_ms = tail_now(t) + poll_ms;
}

void tail_set_open_max(struct tail *t, size_t open_max)
{
    t->open_max = open_max > 0 ? open_max : SIZE_MAX / 2;
    tail_trim(t);
}

static void on_handle_closed(struct tail *t)
{
    if (--t->handles_open > 0)
        return;
    void (*on_closed)(void *) = t->on_closed;
    void *ctx = t->close_ctx;
    free_parts(t);
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
    while (!list_empty(&t->files))
        tail_forget(LIST_FIRST(&t->files, struct tail_file, link));
    t->scan++;
    tail_drop_old_dirs(t);
    free(t->dirs);
    tail_forget_dangling(t);
    free(t->dangling);
    tdestroy(t->complained, free);
    uv_close((uv_handle_t *)&t->idle, on_idle_closed);
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}

bool tail_finished(const struct tail *t)
{
    return list_empty(&t->ready);
}

bool tail_is_incomplete(const struct tail *t)
{
    return t->incomplete;
}

bool tail_is_polling(const struct tail *t)
{
    return t->polling;
}

struct list *tail_files(struct tail *t)
{
    return &t->files;
}
