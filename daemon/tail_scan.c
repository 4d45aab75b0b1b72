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

#define COMPLAINTS_MAX 1000 /* remembered; then they may be told again */

/* ---- complaints, each once
 * ------------------------------------------------------------------------- */

static int compare_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void complain(struct tail *t, const char *path, const char *what)
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

/* ---- opening
 * ---------------------------------------------------------------------------------------- */

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
            complain(t, path, strerror(errno));
        return -1;
    }
    bool is_link = S_ISLNK(link.st_mode);
    if (!is_link && !S_ISREG(link.st_mode)) {
        complain(t, path, "not a regular file, passed over");
        return -1;
    }
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | (is_link ? 0 : O_NOFOLLOW));
    if (fd < 0 || fstat(fd, st) != 0) {
        if (errno != ENOENT)
            complain(t, path, strerror(errno));
    } else if (!S_ISREG(st->st_mode)) {
        complain(t, path, "not a regular file, passed over");
    } else if (is_link && !link_is_trusted(path, &link, st)) {
        complain(t, path, "a symbolic link of another owner, not followed");
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ---- one path
 * ------------------------------------------------------------------------------------- */

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

static void take_up(struct tail *t, const char *path)
{
    struct stat st;
    int fd = tail_open_path(t, path, &st);
    if (fd < 0)
        return;
    struct tail_file *known = tail_find_inode(t, st.st_dev, st.st_ino);
    if (known != NULL) {
        close(fd);
        if (!still_there(known))
            tail_rename(known, path);
        return;
    }
    struct tail_file *f = tail_adopt(t, path, fd, &st);
    if (f == NULL) {
        close(fd);
        complain(t, path, "out of memory");
        return;
    }
    if (!t->ops.found(t->ops.ctx, f)) {
        tail_forget(f);
        return;
    }
    struct stat link;
    if (lstat(path, &link) == 0 && S_ISLNK(link.st_mode))
        tail_watch_itself(f); /* its directory tells nothing of what happens to the target */
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

/* ---- directories
 * ---------------------------------------------------------------------------------- */

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

static int by_wd(const void *a, const void *b)
{
    const struct tail_dir *x = a, *y = b;
    return x->wd < y->wd ? -1 : x->wd > y->wd;
}

static void remember_dir(struct tail *t, int wd, const char *path)
{
    struct tail_dir *known = find_dir(t, wd);
    if (known != NULL)
        return;
    if (t->dirs_n == t->dirs_cap) {
        size_t cap = t->dirs_cap == 0 ? 8 : t->dirs_cap * 2;
        struct tail_dir *more = realloc(t->dirs, cap * sizeof *more);
        if (more == NULL)
            return;
        t->dirs = more;
        t->dirs_cap = cap;
    }
    char *copy = strdup(path);
    if (copy == NULL)
        return;
    t->dirs[t->dirs_n++] = (struct tail_dir){wd, copy};
    qsort(t->dirs, t->dirs_n, sizeof *t->dirs, by_wd);
}

static void forget_dir(struct tail *t, struct tail_dir *d)
{
    free(d->path);
    t->dirs_n--;
    memmove(d, d + 1, (size_t)(&t->dirs[t->dirs_n] - d) * sizeof *d);
}

static bool watch_one(struct tail *t, const char *path)
{
    int wd = t->ops.watch_dir(t->ops.ctx, path);
    if (wd >= 0)
        remember_dir(t, wd, path);
    else if (wd != -ENOENT && wd != -ENOTDIR)
        complain(t, path,
                 wd == -ENOSPC ? "cannot be watched: fs.inotify.max_user_watches is reached"
                               : strerror(-wd));
    return wd >= 0;
}

/* The directories that match the first parts of the pattern; `end` is one of its slashes. */
static bool watch_level(struct tail *t, size_t end)
{
    char part[TAIL_PATH_MAX];
    snprintf(part, sizeof part, "%.*s", (int)(end == 0 ? 1 : end), t->pattern);
    glob_t g;
    bool any = false;
    if (glob(part, GLOB_NOSORT | GLOB_ONLYDIR, NULL, &g) == 0)
        for (size_t i = 0; i < g.gl_pathc; i++)
            any |= watch_one(t, g.gl_pathv[i]);
    globfree(&g);
    return any;
}

/* From the last part back to the first wildcard, and on to the first level that exists. */
static void watch_dirs(struct tail *t)
{
    size_t wild = strcspn(t->pattern, "*?[");
    bool any = false;
    for (size_t end = strlen(t->pattern); end-- > 0;) {
        if (t->pattern[end] != '/')
            continue;
        any |= watch_level(t, end);
        if (any && end < wild)
            return;
    }
}

/* ---- the scan
 * ------------------------------------------------------------------------------------- */

static struct tail *scanning; /* glob's error callback has no context */

static int on_glob_error(const char *path, int error)
{
    if (error != ENOENT && error != ENOTDIR)
        complain(scanning, path, strerror(error));
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

/* ---- events
 * ----------------------------------------------------------------------------------------- */

static void wake_by_wd(struct tail *t, int wd)
{
    LIST_FOR(it, save, &t->files)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, link);
        if (f->wd == wd)
            tail_wake(f);
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
        wake_by_wd(t, wd);
        return;
    }
    if (mask & IN_IGNORED)
        forget_dir(t, d);
    if (mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_ISDIR)) {
        tail_scan(t);
        return;
    }
    char path[TAIL_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", strcmp(d->path, "/") == 0 ? "" : d->path, name);
    if (n > 0 && (size_t)n < sizeof path)
        on_name(t, mask, path);
}

void tail_scan_release(struct tail *t)
{
    for (size_t i = 0; i < t->dirs_n; i++)
        free(t->dirs[i].path);
    free(t->dirs);
    t->dirs = NULL;
    t->dirs_n = 0;
    tdestroy(t->complained, free);
    t->complained = NULL;
}
