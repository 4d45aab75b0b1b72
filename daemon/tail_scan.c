/* Finding files. A scan expands the glob and considers every path; afterwards, files that no path
 * led to are orphans. Between scans, a directory's events name the one path that changed, and only
 * that is considered. A scan is repeated when a directory comes or goes, or events were lost.
 *
 * Watched are all directories that the glob's leading parts match, and where nothing matches yet,
 * the nearest directory above that exists: so a directory that appears later is noticed. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "daemon/tail_in.h"

#define WATCH_PASSES_MAX 16
#define COMPLAINTS_MAX   1000 /* remembered; then they may be told again */

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

/* ---- opening ---- */

static bool same_inode(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

/* A link is trusted only if root, or who owns its target, made it; and if it is still the same link
 * after the target was opened. */
static bool link_is_trusted(const char *path, const struct stat *link, const struct stat *target)
{
    struct stat again;
    return (link->st_uid == 0 || link->st_uid == target->st_uid) && lstat(path, &again) == 0 &&
           same_inode(link, &again);
}

int tail_open_path(struct tail *t, const char *path, struct stat *st)
{
    struct stat link;
    if (lstat(path, &link) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            tail_complain(t, path, strerror(errno));
        return -1;
    }
    bool is_link = S_ISLNK(link.st_mode);
    *st = link;
    if (is_link && stat(path, st) != 0)
        return -1; /* dangling: an event tells when the link is made anew */
    if (!S_ISREG(st->st_mode)) {
        tail_complain(t, path, "not a regular file, passed over");
        return -1;
    }
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | (is_link ? 0 : O_NOFOLLOW));
    if (fd < 0 || fstat(fd, st) != 0) {
        if (errno != ENOENT)
            tail_complain(t, path, strerror(errno));
    } else if (!S_ISREG(st->st_mode)) {
        tail_complain(t, path, "not a regular file, passed over");
    } else if (is_link && !link_is_trusted(path, &link, st)) {
        tail_complain(t, path, "a symbolic link of another owner, not followed");
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ---- one path ---- */

/* Never shipped, whatever the glob says: rotated files that somebody has packed. */
static bool is_packed(const char *path)
{
    static const char *const ends[] = {".gz", ".bz2", ".zip", ".xz", ".zst", ".lz4"};
    size_t n = strlen(path);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        size_t m = strlen(ends[i]);
        if (n > m && strcasecmp(path + n - m, ends[i]) == 0)
            return true;
    }
    return false;
}

/* Does the name that the tail knows this file by still lead to it? */
static bool still_there(const struct tail_file *f)
{
    struct stat st;
    return !f->orphan && stat(f->path, &st) == 0 && st.st_ino == f->inode && st.st_dev == f->device;
}

/* Its directory tells nothing of what is written through another name in another directory. */
static void watch_if_needed(struct tail_file *f, const struct stat *st)
{
    struct stat link;
    if (st->st_nlink > 1 || (lstat(f->path, &link) == 0 && S_ISLNK(link.st_mode)))
        tail_watch_itself(f);
    else
        tail_unwatch_itself(f);
}

static void take_up(struct tail *t, const char *path)
{
    struct stat st;
    int fd = tail_open_path(t, path, &st);
    if (fd < 0)
        return;
    struct tail_file *known = tail_find_inode(t, st.st_dev, st.st_ino);
    if (known != NULL) {
        close(fd);
        if (!still_there(known)) {
            tail_rename(known, path);
            watch_if_needed(known, &st);
        }
        tail_wake(known); /* whoever wrote into it may have used this name */
        return;
    }
    struct tail_file *f = tail_adopt(t, path, fd, &st);
    if (f == NULL) {
        close(fd);
        tail_complain(t, path, "out of memory");
        return;
    }
    if (!t->ops.found(t->ops.ctx, f)) {
        tail_forget(f);
        return;
    }
    watch_if_needed(f, &st);
    tail_wake(f);
}

void tail_consider(struct tail *t, const char *path)
{
    if (is_packed(path))
        return;
    struct tail_file *known = tail_find_path(t, path);
    struct stat st;
    if (known != NULL) {
        if (stat(path, &st) == 0 && st.st_ino == known->inode && st.st_dev == known->device) {
            tail_wake(known);
            return;
        }
        tail_orphan(known);
    }
    take_up(t, path);
}

/* ---- directories ---- */

static struct tail_dir *find_dir(struct tail *t, int wd)
{
    size_t low = 0, high = t->dirs_n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->dirs[mid].wd < wd)
            low = mid + 1;
        else
            high = mid;
    }
    return low < t->dirs_n && t->dirs[low].wd == wd ? &t->dirs[low] : NULL;
}

/* Does the path that the tail knows it by still lead to it? A directory keeps its watch when it is
 * renamed. */
static bool dir_is_there(const struct tail_dir *d)
{
    struct stat st;
    return stat(d->path, &st) == 0 && st.st_ino == d->inode && st.st_dev == d->device;
}

static bool make_room_for_dir(struct tail *t)
{
    if (t->dirs_n < t->dirs_cap)
        return true;
    size_t cap = t->dirs_cap == 0 ? 8 : t->dirs_cap * 2;
    struct tail_dir *more = realloc(t->dirs, cap * sizeof *more);
    if (more == NULL)
        return false;
    t->dirs = more;
    t->dirs_cap = cap;
    return true;
}

static bool add_dir(struct tail *t, const struct tail_dir *dir)
{
    if (!make_room_for_dir(t))
        return false;
    size_t at = t->dirs_n++;
    for (; at > 0 && t->dirs[at - 1].wd > dir->wd; at--)
        t->dirs[at] = t->dirs[at - 1];
    t->dirs[at] = *dir;
    return true;
}

/* Whether it is news. One that has gone by now is: the levels above have to be looked at. */
static bool remember_dir(struct tail *t, int wd, const char *path)
{
    struct tail_dir *known = find_dir(t, wd);
    if (known != NULL)
        known->scan = t->scan;
    if (known != NULL && (strcmp(known->path, path) == 0 || dir_is_there(known)))
        return false;
    struct stat st;
    if (stat(path, &st) != 0)
        return true;
    char *copy = strdup(path);
    struct tail_dir dir = {wd, t->scan, st.st_dev, st.st_ino, copy};
    if (copy == NULL || (known == NULL && !add_dir(t, &dir))) {
        free(copy);
        return false;
    }
    if (known != NULL) {
        free(known->path);
        *known = dir;
    }
    return true;
}

static void forget_dir(struct tail *t, struct tail_dir *d)
{
    free(d->path);
    t->dirs_n--;
    memmove(d, d + 1, (size_t)(&t->dirs[t->dirs_n] - d) * sizeof *d);
}

/* Those that the last scan had no use for, such as the one above a directory that exists by now.
 * Another tail may use the same watch: it hears IN_IGNORED, and looks anew. */
static void drop_old_dirs(struct tail *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->dirs_n; i++) {
        if (t->dirs[i].scan == t->scan) {
            t->dirs[kept++] = t->dirs[i];
            continue;
        }
        t->ops.unwatch(t->ops.ctx, t->dirs[i].wd);
        free(t->dirs[i].path);
    }
    t->dirs_n = kept;
}

static bool watch_one(struct tail *t, const char *path, bool *news)
{
    int wd = t->ops.watch_dir(t->ops.ctx, path);
    if (wd >= 0)
        *news |= remember_dir(t, wd, path);
    else if (wd != -ENOENT && wd != -ENOTDIR)
        tail_complain(t, path,
                      wd == -ENOSPC ? "cannot be watched: fs.inotify.max_user_watches is reached"
                                    : strerror(-wd));
    return wd >= 0;
}

/* The directories that match the first parts of the pattern; `end` is one of its slashes. */
static bool watch_level(struct tail *t, size_t end, bool *news)
{
    char part[TAIL_PATH_MAX];
    snprintf(part, sizeof part, "%.*s", (int)(end == 0 ? 1 : end), t->pattern);
    glob_t g;
    bool any = false;
    if (glob(part, GLOB_NOSORT | GLOB_ONLYDIR, NULL, &g) == 0)
        for (size_t i = 0; i < g.gl_pathc; i++)
            any |= watch_one(t, g.gl_pathv[i], news);
    globfree(&g);
    return any;
}

/* From the last part back to the first wildcard, and on to the first level that exists. True: there
 * were new ones. */
static bool watch_levels(struct tail *t)
{
    size_t wild = strcspn(t->pattern, "*?[");
    bool any = false, news = false;
    for (size_t end = strlen(t->pattern); end-- > 0;) {
        if (t->pattern[end] != '/')
            continue;
        any |= watch_level(t, end, &news);
        if (any && end < wild)
            break;
    }
    return news;
}

/* A directory may be made between the look at its level and the watch on the one above; so look
 * again until there is nothing new: then every later one is told by an event. */
static void watch_dirs(struct tail *t)
{
    t->scan++;
    for (int i = 0; i < WATCH_PASSES_MAX && watch_levels(t); i++) {
    }
    drop_old_dirs(t);
}

/* A directory is removed, for inotify, only when nobody holds a file in it open any more; and an
 * orphan does. So while there are orphans, this is asked now and then. */
void tail_check_dirs(struct tail *t)
{
    for (size_t i = 0; i < t->dirs_n && !t->scan_due; i++)
        t->scan_due = !dir_is_there(&t->dirs[i]);
    tail_kick(t);
}

/* ---- the scan ---- */

static struct tail *scanning; /* glob's error callback has no context */

static int on_glob_error(const char *path, int error)
{
    if (error != ENOENT && error != ENOTDIR)
        tail_complain(scanning, path, strerror(error));
    return 0;
}

static int by_age(const void *a, const void *b)
{
    const struct tail_file *x = *(struct tail_file *const *)a, *y = *(struct tail_file *const *)b;
    if (x->mtime_ns != y->mtime_ns)
        return x->mtime_ns < y->mtime_ns ? -1 : 1;
    return strcmp(x->path, y->path);
}

static void sort_ready(struct tail *t)
{
    size_t n = 0;
    LIST_FOR(it, save, &t->ready)
    {
        n++;
    }
    struct tail_file **files = n > 1 ? malloc(n * sizeof *files) : NULL;
    if (files == NULL)
        return;
    for (size_t i = 0; i < n; i++) {
        files[i] = LIST_FIRST(&t->ready, struct tail_file, ready);
        list_del(&files[i]->ready);
    }
    qsort(files, n, sizeof *files, by_age);
    for (size_t i = 0; i < n; i++)
        list_add_tail(&t->ready, &files[i]->ready);
    free(files);
}

void tail_scan(struct tail *t)
{
    t->scan_due = false;
    if (!t->once)
        watch_dirs(t);
    LIST_FOR(it, save, &t->files)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, link);
        if (!f->orphan && !still_there(f))
            tail_orphan(f);
    }
    scanning = t;
    glob_t g;
    if (glob(t->pattern, GLOB_NOSORT, on_glob_error, &g) == 0)
        for (size_t i = 0; i < g.gl_pathc; i++)
            tail_consider(t, g.gl_pathv[i]);
    globfree(&g);
    sort_ready(t);
    tail_kick(t);
}

/* ---- events ---- */

static void on_file_event(struct tail *t, int wd, uint32_t mask)
{
    LIST_FOR(it, save, &t->watched)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, watched);
        if (f->wd != wd)
            continue;
        if (mask & IN_IGNORED) { /* another tail follows the file too, and has dropped the watch */
            tail_unwatch_itself(f);
            tail_watch_itself(f);
        }
        tail_wake(f);
        return;
    }
}

static void on_name(struct tail *t, uint32_t mask, const char *path)
{
    if (mask & (IN_MODIFY | IN_DELETE | IN_MOVED_FROM)) {
        struct tail_file *f = tail_find_path(t, path);
        if (f == NULL && (mask & IN_MODIFY) &&
            fnmatch(t->pattern, path, FNM_PATHNAME | FNM_PERIOD) == 0)
            tail_consider(t, path); /* one that could not be opened before, perhaps */
        if (f == NULL)
            return;
        if (mask & IN_MODIFY)
            tail_wake(f);
        else if (!still_there(f))
            tail_orphan(f);
    } else if (fnmatch(t->pattern, path, FNM_PATHNAME | FNM_PERIOD) == 0) {
        tail_consider(t, path);
    }
}

void tail_event(struct tail *t, int wd, uint32_t mask, const char *name)
{
    struct tail_dir *d = find_dir(t, wd);
    if (d == NULL) {
        on_file_event(t, wd, mask);
        return;
    }
    if (mask & IN_IGNORED)
        forget_dir(t, d);
    if (mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_ISDIR)) {
        t->scan_due = true;
        tail_kick(t);
        return;
    }
    char path[TAIL_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", strcmp(d->path, "/") == 0 ? "" : d->path, name);
    if (n > 0 && (size_t)n < sizeof path)
        on_name(t, mask, path);
}

void tail_scan_release(struct tail *t)
{
    t->scan++;
    drop_old_dirs(t);
    free(t->dirs);
    t->dirs = NULL;
    tdestroy(t->complained, free);
    t->complained = NULL;
}
