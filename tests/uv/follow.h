/* follow.h - a tail with a real watch below it, and above it an owner that writes down what it is
 * told.
 *
 *   follow_open(t, pattern)     watch and tail on the test's loop; the pattern is inside its
 * directory follow_start(fo)            scans, lets it read, and turns the loop until nothing is
 * left to do follow_settle(fo)           turns the loop until every event that is already there has
 * been worked off. inotify queues its events in the system call that causes them, so this waits for
 * no time, and "nothing came" can be asserted after it follow_close(fo)            closes both;
 * every file must have been told as lost by then
 *
 * A struct record is kept for every file that was found, in that order, and stays when the file is
 * lost. follow_file gives the last one of a path. What the owner takes is `take`. The record of a
 * file that was copied and truncated goes on under the copy's path, as the owner does.
 */
#ifndef TESTS_FOLLOW_H
#define TESTS_FOLLOW_H

#include "daemon/tail.h"
#include "daemon/watch.h"
#include "tests/uv/uvtest.h"

#define FOLLOW_RECORD_MAX     (1 * MIB)
#define FOLLOW_COMPLAINTS_MAX 64

enum follow_take {
    TAKE_LINES, /* up to the last line end; at the end of a file everything */
    TAKE_ALL,
};

struct record {
    struct record *next;
    struct tail_file *file; /* NULL when lost */
    char *path;
    char *text;
    size_t n, cap;
    uint64_t inode;
    unsigned replaced_n, renamed_n, lost_n, told_n, ends_n;
};

struct follow {
    struct uvtest *uv;
    struct watch *watch;
    bool watch_is_lent;
    struct follow *other; /* hears the same events */
    bool deaf;            /* events are lost on the way */
    struct tail *tail;
    struct record *records, **last;
    struct record journal; /* what was taken of all files, in that order */
    enum follow_take take;
    bool refuse;       /* found answers false */
    bool unsettled;    /* settled answers false, for files that were told */
    size_t room;       /* bytes the owner takes before it says TAIL_WAIT; SIZE_MAX: no end */
    uint64_t begin_at; /* where files that are found begin */
    int watch_dir_error, watch_file_error; /* for the next calls, as -errno */
    unsigned found_n, lost_n, events_n, overflows_n, closed_n, complaints_n;
    size_t told_bytes;
    /* instead of writing the bytes down, when set */
    enum tail_verdict (*tell)(void *ctx, struct tail_file *f, struct str bytes, bool at_end,
                              size_t *used);
    char turns[64]; /* the first letters of the files told, in order */
    size_t turns_n;
    char *const *excludes;
    size_t excludes_n, open_max;
    bool poll;
    unsigned copied_n, missed_n, watch_dirs_n, knows_n;
    uint64_t missed_bytes;
    uint64_t patience_ms; /* asked for when bytes are left, and then they are taken; 0: not */
    char complaints[FOLLOW_COMPLAINTS_MAX][512];
};

static inline bool follow_on_found(void *ctx, struct tail_file *f)
{
    struct follow *fo = ctx;
    if (fo->refuse)
        return false;
    struct record *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->file = f;
    r->path = strdup(f->path);
    r->inode = f->inode;
    *fo->last = r;
    fo->last = &r->next;
    fo->found_n++;
    f->owner = r;
    assert_true(tail_seek(f, min_u64(fo->begin_at, tail_size(f))));
    return true;
}

static inline void follow_append(struct record *r, struct str bytes)
{
    while (r->n + bytes.n + 1 > r->cap) {
        r->cap = r->cap * 2 + 256;
        r->text = realloc(r->text, r->cap);
        assert_non_null(r->text);
    }
    memcpy(r->text + r->n, bytes.p, bytes.n);
    r->n += bytes.n;
    r->text[r->n] = '\0';
}

static inline size_t follow_lines(struct str bytes)
{
    size_t n = bytes.n;
    while (n > 0 && bytes.p[n - 1] != '\n')
        n--;
    return n;
}

static inline enum tail_verdict follow_on_bytes(void *ctx, struct tail_file *f, struct str bytes,
                                                bool at_end, size_t *used)
{
    struct follow *fo = ctx;
    struct record *r = f->owner;
    r->told_n++;
    fo->told_bytes += bytes.n;
    if (fo->turns_n < sizeof fo->turns - 1)
        fo->turns[fo->turns_n++] = strrchr(f->path, '/')[1];
    size_t n = fo->take == TAKE_ALL || at_end ? bytes.n : follow_lines(bytes);
    if (n < bytes.n && fo->patience_ms > 0) {
        if (tail_quiet_ms(f) >= fo->patience_ms)
            n = bytes.n;
        else
            tail_patience(f, fo->patience_ms);
    }
    bool full = n > fo->room;
    if (full)
        n = fo->take == TAKE_ALL ? fo->room : follow_lines((struct str){bytes.p, fo->room});
    follow_append(r, (struct str){bytes.p, n});
    follow_append(&fo->journal, (struct str){bytes.p, n});
    if (fo->room != SIZE_MAX)
        fo->room -= n;
    r->ends_n += at_end && !full;
    *used = n;
    if (!full)
        return TAIL_GO_ON;
    tail_pause(fo->tail, true);
    return TAIL_WAIT;
}

static inline enum tail_verdict follow_tell(void *ctx, struct tail_file *f, struct str bytes,
                                            bool at_end, size_t *used)
{
    struct follow *fo = ctx;
    return (fo->tell != NULL ? fo->tell : follow_on_bytes)(fo, f, bytes, at_end, used);
}

static inline void follow_on_replaced(void *ctx, struct tail_file *f)
{
    (void)ctx;
    ((struct record *)f->owner)->replaced_n++;
}

static inline void follow_on_renamed(void *ctx, struct tail_file *f)
{
    (void)ctx;
    struct record *r = f->owner;
    r->renamed_n++;
    free(r->path);
    r->path = strdup(f->path);
}

static inline bool follow_on_settled(void *ctx, struct tail_file *f)
{
    return !((struct follow *)ctx)->unsettled || ((struct record *)f->owner)->told_n == 0;
}

static inline void follow_on_lost(void *ctx, struct tail_file *f)
{
    struct record *r = f->owner;
    r->lost_n++;
    r->file = NULL;
    ((struct follow *)ctx)->lost_n++;
}

static inline int follow_watch_dir(void *ctx, const char *path, bool names)
{
    struct follow *fo = ctx;
    fo->watch_dirs_n++;
    return fo->watch_dir_error != 0 ? fo->watch_dir_error : watch_dir(fo->watch, path, names);
}

static inline int follow_watch_file(void *ctx, int fd)
{
    struct follow *fo = ctx;
    return fo->watch_file_error != 0 ? fo->watch_file_error : watch_file(fo->watch, fd);
}

static inline void follow_unwatch(void *ctx, int wd)
{
    watch_drop(((struct follow *)ctx)->watch, wd);
}

static inline void follow_complain(void *ctx, const char *path, const char *what)
{
    struct follow *fo = ctx;
    if (fo->complaints_n < FOLLOW_COMPLAINTS_MAX)
        snprintf(fo->complaints[fo->complaints_n], sizeof fo->complaints[0], "%s: %s", path, what);
    fo->complaints_n++;
}

static inline void follow_on_event(void *ctx, int wd, uint32_t mask, uint32_t cookie,
                                   const char *name)
{
    struct follow *fo = ctx;
    fo->events_n++;
    if (fo->tail != NULL && !fo->deaf)
        tail_event(fo->tail, wd, mask, cookie, name);
    if (fo->other != NULL)
        follow_on_event(fo->other, wd, mask, cookie, name);
}

static inline void follow_on_overflow(void *ctx)
{
    struct follow *fo = ctx;
    fo->overflows_n++;
    if (fo->tail != NULL)
        tail_scan(fo->tail);
}

static inline void follow_on_closed(void *ctx)
{
    ((struct follow *)ctx)->closed_n++;
}

static inline uint64_t follow_on_knows(void *ctx, uint64_t inode, uint64_t size)
{
    ((struct follow *)ctx)->knows_n++;
    (void)inode;
    (void)size;
    return false;
}

#define SWAP(a, b)                                                                                 \
    do {                                                                                           \
        __typeof__(a) swapped = (a);                                                               \
        (a) = (b);                                                                                 \
        (b) = swapped;                                                                             \
    } while (0)

/* The copy goes on where the file was: the record moves with it, and the file gets a new one. */
static inline void follow_on_copied(void *ctx, struct tail_file *from, struct tail_file *to)
{
    struct follow *fo = ctx;
    struct record *old = from->owner, *fresh = to->owner;
    fo->copied_n++;
    old->file = to;
    to->owner = old;
    fresh->file = from;
    from->owner = fresh;
    SWAP(old->path, fresh->path);
    SWAP(old->inode, fresh->inode);
}

static inline void follow_on_missed(void *ctx, struct tail_file *f, uint64_t offset, uint64_t bytes,
                                    const char *why)
{
    struct follow *fo = ctx;
    (void)f;
    (void)offset;
    (void)why;
    fo->missed_n++;
    fo->missed_bytes += bytes;
}

static inline void follow_make_tail(struct follow *fo, const char *pattern, bool once)
{
    const struct tail_ops ops = {
        .ctx = fo,
        .knows = follow_on_knows,
        .found = follow_on_found,
        .bytes = follow_tell,
        .replaced = follow_on_replaced,
        .copied = follow_on_copied,
        .missed = follow_on_missed,
        .renamed = follow_on_renamed,
        .settled = follow_on_settled,
        .lost = follow_on_lost,
        .watch_dir = follow_watch_dir,
        .watch_file = follow_watch_file,
        .unwatch = follow_unwatch,
        .complain = follow_complain,
    };
    const struct tail_options o = {.pattern = uvtest_path(fo->uv, pattern),
                                   .excludes = fo->excludes,
                                   .excludes_n = fo->excludes_n,
                                   .record_max = FOLLOW_RECORD_MAX,
                                   .open_max = fo->open_max,
                                   .once = once,
                                   .poll = fo->poll};
    struct err e = {0};
    fo->tail = tail_new(&fo->uv->loop, &o, &ops, &e);
    assert_non_null(fo->tail);
}

static inline struct follow *follow_new(struct uvtest *uv)
{
    struct follow *fo = calloc(1, sizeof *fo);
    assert_non_null(fo);
    fo->uv = uv;
    fo->last = &fo->records;
    fo->room = SIZE_MAX;
    return fo;
}

static inline void follow_make_watch(struct follow *fo)
{
    const struct watch_ops ops = {
        .ctx = fo, .event = follow_on_event, .overflow = follow_on_overflow};
    struct err e = {0};
    fo->watch = watch_new(&fo->uv->loop, &ops, &e);
    assert_non_null(fo->watch);
}

/* With exclusions, open_max and poll as in these options. */
static inline struct follow *follow_open_as(struct uvtest *uv, const char *pattern,
                                            const struct tail_options *o)
{
    struct follow *fo = follow_new(uv);
    fo->excludes = o->excludes;
    fo->excludes_n = o->excludes_n;
    fo->open_max = o->open_max;
    fo->poll = o->poll;
    follow_make_watch(fo);
    follow_make_tail(fo, pattern, false);
    return fo;
}

static inline struct follow *follow_open(struct uvtest *uv, const char *pattern)
{
    return follow_open_as(uv, pattern, &(struct tail_options){0});
}

static inline struct follow *follow_open_once(struct uvtest *uv, const char *pattern)
{
    struct follow *fo = follow_new(uv);
    follow_make_tail(fo, pattern, true);
    return fo;
}

/* A second tail on the watch of the first; to be closed before it. */
static inline struct follow *follow_open_beside(struct follow *first, const char *pattern)
{
    struct follow *fo = follow_new(first->uv);
    fo->watch = first->watch;
    fo->watch_is_lent = true;
    first->other = fo;
    follow_make_tail(fo, pattern, false);
    return fo;
}

/* Without waiting: the idle's work and the events that are in the queue by now. The tail's timer
 * may be running, so that what is due is asked of the loop only as "now or not". */
static inline void follow_settle(struct follow *fo)
{
    uint64_t patient_until = uv_hrtime() + UVTEST_PATIENCE_MS * UINT64_C(1000000);
    unsigned before;
    do {
        if (uv_hrtime() > patient_until)
            fail_msg("the tail never comes to rest");
        before = fo->events_n + fo->overflows_n;
        uv_run(&fo->uv->loop, UV_RUN_NOWAIT);
    } while (fo->events_n + fo->overflows_n != before ||
             (uv_loop_alive(&fo->uv->loop) && uv_backend_timeout(&fo->uv->loop) == 0));
}

static inline void follow_start(struct follow *fo)
{
    tail_scan(fo->tail);
    tail_pause(fo->tail, false);
    follow_settle(fo);
}

static inline void follow_close_tail(struct follow *fo)
{
    unsigned before = fo->closed_n;
    tail_close(fo->tail, follow_on_closed, fo);
    fo->tail = NULL;
    UVTEST_UNTIL(fo->uv, fo->closed_n == before + 1);
    assert_int_equal(fo->lost_n, fo->found_n);
}

static inline void follow_close(struct follow *fo)
{
    if (fo->tail != NULL)
        follow_close_tail(fo);
    unsigned before = fo->closed_n;
    if (fo->watch != NULL && !fo->watch_is_lent) {
        watch_close(fo->watch, follow_on_closed, fo);
        UVTEST_UNTIL(fo->uv, fo->closed_n == before + 1);
    }
    while (fo->records != NULL) {
        struct record *r = fo->records;
        fo->records = r->next;
        assert_int_equal(r->lost_n, 1);
        free(r->path);
        free(r->text);
        free(r);
    }
    free(fo->journal.text);
    free(fo);
}

/* The last file found that is known by this path, or NULL. */
static inline struct record *follow_file(struct follow *fo, const char *name)
{
    struct record *found = NULL;
    const char *path = uvtest_path(fo->uv, name);
    for (struct record *r = fo->records; r != NULL; r = r->next)
        if (strcmp(r->path, path) == 0)
            found = r;
    return found;
}

static inline const char *follow_text(struct follow *fo, const char *name)
{
    struct record *r = follow_file(fo, name);
    return r == NULL ? "(not found)" : r->n == 0 ? "" : r->text;
}

static inline unsigned follow_complaints(struct follow *fo, const char *name, const char *what)
{
    unsigned n = 0;
    const char *path = uvtest_path(fo->uv, name);
    for (unsigned i = 0; i < fo->complaints_n && i < FOLLOW_COMPLAINTS_MAX; i++)
        n += strncmp(fo->complaints[i], path, strlen(path)) == 0 &&
             strstr(fo->complaints[i] + strlen(path), what) != NULL;
    return n;
}

/* ---- what writers do ---- */

static inline void follow_write_at(struct uvtest *t, const char *name, int flags, const void *p,
                                   size_t n)
{
    int fd = open(uvtest_path(t, name), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    assert_int_equal(close(fd), 0);
}

static inline void write_file(struct uvtest *t, const char *name, const char *text)
{
    follow_write_at(t, name, O_TRUNC, text, strlen(text));
}

static inline void append(struct uvtest *t, const char *name, const char *text)
{
    follow_write_at(t, name, O_APPEND, text, strlen(text));
}

static inline void rename_file(struct uvtest *t, const char *from, const char *to)
{
    char old[512];
    snprintf(old, sizeof old, "%s", uvtest_path(t, from));
    assert_int_equal(rename(old, uvtest_path(t, to)), 0);
}

static inline void delete_file(struct uvtest *t, const char *name)
{
    assert_int_equal(remove(uvtest_path(t, name)), 0);
}

/* What cp does: in one write, since the sizes are small. */
static inline void copy_file(struct uvtest *t, const char *from, const char *to)
{
    size_t n = 0;
    char *text = uvtest_read(t, from, &n);
    assert_non_null(text);
    follow_write_at(t, to, O_TRUNC, text, n);
    free(text);
}

static inline void truncate_file(struct uvtest *t, const char *name)
{
    assert_int_equal(truncate(uvtest_path(t, name), 0), 0);
}

static inline void make_dir(struct uvtest *t, const char *name)
{
    assert_int_equal(mkdir(uvtest_path(t, name), 0755), 0);
}

static inline void set_age(struct uvtest *t, const char *name, long seconds)
{
    const struct timespec times[2] = {{.tv_sec = 1700000000 - seconds},
                                      {.tv_sec = 1700000000 - seconds}};
    assert_int_equal(utimensat(AT_FDCWD, uvtest_path(t, name), times, 0), 0);
}

/* The old writer of a file: it keeps its descriptor whatever the file is called by now. */
static inline int open_writer(struct uvtest *t, const char *name)
{
    int fd = open(uvtest_path(t, name), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    return fd;
}

static inline void say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static inline void move_over(struct uvtest *t, const char *from, const char *to, unsigned flags)
{
    char old[512];
    snprintf(old, sizeof old, "%s", uvtest_path(t, from));
    assert_int_equal(renameat2(AT_FDCWD, old, AT_FDCWD, uvtest_path(t, to), flags), 0);
}

static inline void link_file(struct uvtest *t, const char *target, const char *name)
{
    assert_int_equal(symlink(target, uvtest_path(t, name)), 0);
}

static inline void hard_link(struct uvtest *t, const char *target, const char *name)
{
    char old[512];
    snprintf(old, sizeof old, "%s", uvtest_path(t, target));
    assert_int_equal(link(old, uvtest_path(t, name)), 0);
}

static inline struct record *nth_found(struct follow *fo, unsigned n)
{
    struct record *r = fo->records;
    while (r != NULL && n-- > 0)
        r = r->next;
    assert_non_null(r);
    return r;
}

/* n bytes of numbered lines, to be freed: no two stretches of them are equal. */
static inline char *numbered_lines(size_t n)
{
    char *text = malloc(n + 32);
    assert_non_null(text);
    for (size_t at = 0, line = 0; at < n; line++)
        at += (size_t)snprintf(text + at, 32, "line %zu\n", line);
    text[n - 1] = '\n';
    text[n] = '\0';
    return text;
}

/* How many handles of the loop could still wake it, the test's own tick aside. */
static inline void follow_count_active(uv_handle_t *handle, void *arg)
{
    *(unsigned *)arg += (unsigned)(uv_is_active(handle) != 0);
}

static inline unsigned active_handles(struct uvtest *t)
{
    unsigned n = 0;
    uv_walk(&t->loop, follow_count_active, &n);
    return n - (unsigned)(uv_is_active((uv_handle_t *)&t->tick) != 0);
}

/* How many watches the kernel holds for this process' inotify descriptors. */
/* Not the watches on the directories above, which tell only that these are moved. */
static inline bool tells_of_changes(const char *fdinfo_line)
{
    const char *mask = strstr(fdinfo_line, " mask:");
    return strncmp(fdinfo_line, "inotify wd:", 11) == 0 && mask != NULL &&
           (strtoul(mask + 6, NULL, 16) & IN_MODIFY) != 0;
}

static inline unsigned kernel_watches(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 64; fd++) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
        FILE *f = fopen(path, "re");
        while (f != NULL && fgets(line, sizeof line, f) != NULL)
            n += tells_of_changes(line);
        if (f != NULL)
            fclose(f);
    }
    return n;
}

#endif
