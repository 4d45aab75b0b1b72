/* The directories that are watched, each with the path it is known by. A directory keeps its watch
 * when it is renamed, and its watch ends late when somebody holds a file in it open: so a path is
 * asked again whether it still leads there. */
#include <errno.h>
#include <stdlib.h>

#include "daemon/tail_in.h"

struct tail_dir *tail_find_dir(struct tail *t, int wd)
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

static bool is_there(const struct tail_dir *d)
{
    struct stat st;
    return stat(d->path, &st) == 0 && st.st_ino == d->inode && st.st_dev == d->device;
}

static bool make_room(struct tail *t)
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
    if (!make_room(t))
        return false;
    size_t at = t->dirs_n++;
    for (; at > 0 && t->dirs[at - 1].wd > dir->wd; at--)
        t->dirs[at] = t->dirs[at - 1];
    t->dirs[at] = *dir;
    return true;
}

/* Whether it is news. One that has gone by now is: the levels above have to be looked at. */
static bool remember(struct tail *t, int wd, const char *path, bool names)
{
    struct tail_dir *known = tail_find_dir(t, wd);
    if (known != NULL) {
        known->names = names || (known->names && known->scan == t->scan);
        known->armed |= names;
        known->scan = t->scan;
    }
    if (known != NULL && (strcmp(known->path, path) == 0 || is_there(known)))
        return false;
    struct stat st;
    if (stat(path, &st) != 0)
        return true;
    char *copy = strdup(path);
    struct tail_dir dir = {wd, t->scan, names, names, st.st_dev, st.st_ino, copy};
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

void tail_forget_dir(struct tail *t, struct tail_dir *d)
{
    free(d->path);
    t->dirs_n--;
    memmove(d, d + 1, (size_t)(&t->dirs[t->dirs_n] - d) * sizeof *d);
}

/* Those that the last scan had no use for, such as the one above a directory that exists by now;
 * and those of which it wants to hear less: a watch can only be made anew for that. Another tail
 * may use the same watch: it hears IN_IGNORED, and looks anew. */
void tail_drop_old_dirs(struct tail *t)
{
    size_t kept = 0, less_n = 0;
    char **less = calloc(t->dirs_n + 1, sizeof *less);
    for (size_t i = 0; i < t->dirs_n; i++) {
        struct tail_dir *d = &t->dirs[i];
        bool used = d->scan == t->scan;
        if (used && (d->names || !d->armed || less == NULL)) {
            t->dirs[kept++] = *d;
            continue;
        }
        t->ops.unwatch(t->ops.ctx, d->wd);
        if (used)
            less[less_n++] = d->path;
        else
            free(d->path);
    }
    t->dirs_n = kept;
    bool news = false;
    for (size_t i = 0; i < less_n; i++) {
        tail_watch_dir(t, less[i], false, &news);
        free(less[i]);
    }
    free(less);
}

bool tail_watch_dir(struct tail *t, const char *path, bool names, bool *news)
{
    if (t->watchless)
        return true;
    int wd = t->ops.watch_dir(t->ops.ctx, path, names);
    if (wd >= 0) {
        *news |= remember(t, wd, path, names);
        return true;
    }
    if (wd == -ENOENT || wd == -ENOTDIR)
        return false;
    if (wd == -EACCES && !names)
        return true; /* it may be passed through, not read; nobody tells when it is moved */
    tail_cannot_watch(t, path, -wd);
    return true;
}

/* A directory is removed, for inotify, only when nobody holds a file in it open any more: and an
 * orphan does. So while there are orphans, this is asked now and then. */
void tail_check_dirs(struct tail *t)
{
    for (size_t i = 0; i < t->dirs_n && !t->scan_due; i++)
        t->scan_due = !is_there(&t->dirs[i]);
    tail_kick(t);
}
