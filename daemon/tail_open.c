/* Which files are opened, and for how long. A file that has been read and delivered may be shut to
 * keep within open_max; its position is worked out while it is still open. It is opened again by
 * its path when it has news, and must then be the same inode; the bytes before read_at are checked
 * by the reading anyway. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/tail_in.h"

#define TRIM_TRIES 64   /* files looked at for one that can be shut */
#define SPARE_MAX  1024 /* descriptors left to others; at most a quarter */

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

/* Some descriptors are left to others: connections and the checkpoint need them. */
static bool is_one_of_the_last(int fd)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return false;
    rlim_t spare = limit.rlim_cur / 4 < SPARE_MAX ? limit.rlim_cur / 4 : SPARE_MAX;
    return (rlim_t)fd >= limit.rlim_cur - spare;
}

static bool is_lack(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM;
}

/* One complaint will do for all the files that cannot be opened for lack of descriptors. */
static void complain_open(struct tail *t, const char *path)
{
    int error = errno;
    if (error == ENOENT || error == ENOTDIR)
        return;
    if (!is_lack(error) || !t->starved)
        tail_complain(t, path, strerror(error));
    t->starved |= is_lack(error);
    t->incomplete |= !is_lack(error);
}

static bool shut_one(struct tail *t);

/* When there are no descriptors left, those of files that have been read are given up for it. */
static int open_sparing(struct tail *t, const char *path, int flags)
{
    for (;;) {
        int fd = open(path, flags), error = errno;
        if (fd >= 0 && !is_one_of_the_last(fd))
            return fd;
        if (fd >= 0) {
            close(fd);
            error = EMFILE;
        }
        if ((error != EMFILE && error != ENFILE) || !shut_one(t)) {
            errno = error;
            return -1;
        }
    }
}

int tail_open_path(struct tail *t, const char *path, struct stat *st)
{
    struct stat link;
    if (lstat(path, &link) != 0) {
        complain_open(t, path);
        return -1;
    }
    bool is_link = S_ISLNK(link.st_mode);
    *st = link;
    if (is_link && stat(path, st) != 0)
        return -ENOENT; /* dangling: an event tells when the link is made anew */
    if (!S_ISREG(st->st_mode)) {
        tail_complain(t, path, "not a regular file, passed over");
        return -1;
    }
    int fd = open_sparing(
        t, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | (is_link ? 0 : O_NOFOLLOW));
    bool lack = fd < 0 && is_lack(errno);
    if (fd < 0 || fstat(fd, st) != 0) {
        complain_open(t, path);
    } else if (!S_ISREG(st->st_mode)) {
        tail_complain(t, path, "not a regular file, passed over");
    } else if (is_link && !link_is_trusted(path, &link, st)) {
        tail_complain(t, path, "a symbolic link of another owner, not followed");
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return lack ? -EMFILE : -1;
}

void tail_opened(struct tail_file *f, int fd)
{
    f->fd = fd;
    f->told = false;
    f->tail->open_n++;
    list_add_tail(&f->tail->open, &f->open);
}

void tail_closed(struct tail_file *f)
{
    if (f->fd < 0)
        return;
    close(f->fd);
    f->fd = -1;
    f->tail->open_n--;
    list_del(&f->open);
}

void tail_touch(struct tail_file *f)
{
    list_del(&f->open);
    list_add_tail(&f->tail->open, &f->open);
}

/* ---- shutting ---- */

static bool is_twice_too_many(const struct tail *t)
{
    return t->open_n >= t->open_max && t->open_n - t->open_max >= t->open_max;
}

/* With twice too many open, one that ends in half a record has to do: else a thousand of those
 * would leave no descriptor for the others, for ever. If it is deleted while it is shut, that half
 * is missed, and told so. */
static bool can_be_shut(struct tail_file *f)
{
    bool idle = list_empty(&f->ready) && (f->read_at == f->seen_end || is_twice_too_many(f->tail));
    return !f->orphan && f->held_for == NULL && (idle || !f->told) &&
           f->tail->ops.settled(f->tail->ops.ctx, f) && tail_position(f, f->read_at, &f->shut_at);
}

/* Shuts the least recently active file that can be. False: none of those looked at can; they go to
 * the back, so that it is the turn of others next time. */
static bool shut_one(struct tail *t)
{
    for (size_t tries = min_size(t->open_n, TRIM_TRIES); tries > 0; tries--) {
        struct tail_file *f = LIST_FIRST(&t->open, struct tail_file, open);
        if (can_be_shut(f)) {
            tail_closed(f);
            return true;
        }
        tail_touch(f);
    }
    return false;
}

void tail_trim(struct tail *t)
{
    while (!t->once && t->open_n > t->open_max && shut_one(t)) {
    }
}

/* ---- opening again ---- */

/* It was renamed faster than the events came: rotations follow each other closely, and rename one
 * file twice. It is still there, under some name. */
bool tail_open_beside(struct tail_file *f)
{
    const char *slash = strrchr(f->path, '/');
    int n = slash == f->path ? 1 : (int)(slash - f->path);
    char dir[TAIL_PATH_MAX], path[TAIL_PATH_MAX];
    snprintf(dir, sizeof dir, "%.*s", n, f->path);
    DIR *stream = opendir(dir);
    if (stream == NULL)
        return false;
    const struct dirent *d;
    bool opened = false;
    while (!opened && (d = readdir(stream)) != NULL) {
        struct stat st;
        if (d->d_ino != f->inode ||
            snprintf(path, sizeof path, "%s/%s", dir, d->d_name) >= (int)sizeof path)
            continue;
        int fd = tail_open_path(f->tail, path, &st);
        opened = fd >= 0 && st.st_ino == f->inode && st.st_dev == f->device;
        if (opened)
            tail_opened(f, fd);
        else if (fd >= 0)
            close(fd);
    }
    closedir(stream);
    return opened;
}

/* Its name leads elsewhere, or nowhere. Perhaps an event that is on its way tells whereto it went;
 * if not, what was written since is gone. */
static void cannot_reopen(struct tail_file *f)
{
    struct tail *t = f->tail;
    list_del(&f->ready);
    t->incomplete |= t->once;
    if (tail_still_there(f))
        return; /* no right to read it: the next event, or scan, tries again */
    tail_gone(f, true);
    t->scan_due = !t->once; /* whoever has its name now */
}

/* With twice too many open, of which none is delivered, it has to wait; but not one for which
 * copies wait, that are open themselves until it has been looked at. */
bool tail_reopen(struct tail_file *f)
{
    struct tail *t = f->tail;
    while (t->open_n >= t->open_max && shut_one(t)) {
    }
    return (f->copies > 0 || !is_twice_too_many(t)) && tail_reopen_now(f);
}

bool tail_reopen_now(struct tail_file *f)
{
    struct tail *t = f->tail;
    struct stat st;
    int fd = f->orphan ? -1 : tail_open_path(t, f->path, &st);
    if (fd >= 0 && st.st_ino == f->inode && st.st_dev == f->device) {
        tail_opened(f, fd);
        if (!list_empty(&f->linked) || st.st_nlink > 1)
            tail_watch_itself(f);
        return true;
    }
    if (fd >= 0)
        close(fd);
    if (fd != -EMFILE) /* else it is tried again soon */
        cannot_reopen(f);
    return false;
}
