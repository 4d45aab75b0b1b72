/* What an event means. A directory's events name the one path that changed, and only that is
 * considered; those about directories have everything looked at, once for all the events of a turn.
 *
 * A name that is lost and one that is found are two events with one cookie. A file that is open
 * needs no more than its inode to be known again. One that is shut is lost with its name: it waits
 * for the second event, which tells where it can be opened. And when a file turns up that was
 * renamed before anyone saw it, the first event tells what name it had, and so between which others
 * it belongs. */
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "daemon/tail_in.h"

/* ---- names that are lost ---- */

/* The next event did not tell whereto it went. */
void tail_settle_moving(struct tail *t)
{
    struct tail_file *f = t->moving;
    t->moving = NULL;
    if (f != NULL && !tail_still_there(f))
        tail_lose_name(f);
}

static void on_lost_name(struct tail *t, struct tail_file *f, uint32_t mask, uint32_t cookie)
{
    if (tail_still_there(f))
        return;
    if (f->fd < 0 && (mask & IN_MOVED_FROM)) {
        t->moving = f;
        t->moving_cookie = cookie;
        tail_kick(t);
        return;
    }
    if (f->fd < 0 && (mask & IN_DELETE))
        tail_gone(f, false);
    else
        tail_lose_name(f);
}

/* It has moved to a name that the glob does not match: it is an orphan, with a descriptor. */
static void on_moved_out(struct tail *t, const char *path)
{
    struct tail_file *f = t->moving;
    struct stat st;
    t->moving = NULL;
    int fd = tail_open_path(t, path, &st);
    if (fd >= 0 && tail_is_inode(f, &st)) {
        tail_opened(f, fd);
        tail_orphan(f);
        return;
    }
    if (fd >= 0)
        close(fd);
    tail_lose_name(f);
}

/* ---- events ---- */

static void on_file_event(struct tail *t, int wd, uint32_t mask)
{
    struct tail_file *f = tail_find_wd(t, wd);
    if (f == NULL)
        return;
    if (mask & IN_IGNORED) { /* another tail follows the file too, and has dropped the watch */
        tail_unwatch_itself(f);
        tail_watch_itself(f);
    }
    tail_wake(f);
}

static void on_name(struct tail *t, uint32_t mask, uint32_t cookie, const char *path)
{
    struct tail_file *f = tail_find_path(t, path);
    if (f != NULL && (mask & IN_MODIFY)) {
        tail_wake(f);
    } else if (f != NULL && (mask & (IN_DELETE | IN_MOVED_FROM))) {
        on_lost_name(t, f, mask, cookie);
    } else if (!(mask & (IN_DELETE | IN_MOVED_FROM)) && glob_match(t->glob, path)) {
        tail_consider(t, path, true);
    }
}

/* A new file, of which the name it had before was never seen: it was rotated again before anyone
 * looked. It belongs between whoever had that name before and whoever has it now. */
static void came_from(struct tail_file *f, const char *path)
{
    struct tail *t = f->tail;
    struct tail_file *now = tail_find_path(t, path);
    struct tail_file *before = now != NULL ? now->after : tail_predecessor(t, path);
    tail_left(f, path);
    if (now == f)
        return;
    if (now != NULL)
        tail_follows_nobody(now);
    if (before != NULL)
        tail_follows(f, before);
    if (now != NULL)
        tail_follows(now, f);
}

static void on_names(struct tail *t, uint32_t mask, uint32_t cookie, const char *path)
{
    bool known = tail_find_path(t, path) != NULL;
    if (mask & IN_MOVED_FROM) {
        snprintf(t->moved_from, sizeof t->moved_from, "%s", path);
        t->moved_cookie = cookie;
    }
    on_name(t, mask, cookie, path);
    struct tail_file *f = known ? NULL : tail_find_path(t, path);
    if (f != NULL && f->left_path == NULL && (mask & IN_MOVED_TO) && cookie == t->moved_cookie)
        came_from(f, t->moved_from);
}

/* Is it one of the directories that lead to the files, by way of a link? */
static bool leads_to_files(const struct tail *t, const char *path)
{
    size_t n = strlen(path);
    for (size_t i = 0; t->linked_dirs && i < t->dirs_n; i++)
        if (strncmp(t->dirs[i].path, path, n) == 0 &&
            (t->dirs[i].path[n] == '/' || t->dirs[i].path[n] == '\0'))
            return true;
    return false;
}

/* A link to a directory has come, or one has gone, or leads elsewhere now: it is no directory
 * itself, so IN_ISDIR does not tell. */
static bool may_move_directories(const struct tail *t, const char *path)
{
    return leads_to_files(t, path) || tail_is_link_to_dir(path);
}

void tail_event(struct tail *t, int wd, uint32_t mask, uint32_t cookie, const char *name)
{
    struct tail_dir *d = tail_find_dir(t, wd);
    if (d == NULL) {
        on_file_event(t, wd, mask);
        return;
    }
    if (mask & IN_IGNORED)
        tail_forget_dir(t, d);
    if (mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_ISDIR)) {
        t->scan_due = true;
        tail_kick(t);
        return;
    }
    char path[TAIL_PATH_MAX];
    if (!tail_join(path, d->path, name))
        return;
    if (t->moving != NULL && (mask & IN_MOVED_TO) && cookie == t->moving_cookie &&
        (tail_is_packed(path) || !glob_match(t->glob, path))) {
        on_moved_out(t, path);
        return;
    }
    if (t->moving != NULL && cookie != t->moving_cookie)
        tail_settle_moving(t);
    on_names(t, mask, cookie, path);
    if (mask & (IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM))
        t->scan_due |= may_move_directories(t, path);
    if (t->dangling_n > 0 || t->too_many_dangling || !list_empty(&t->linked))
        t->links_due |= !(mask & IN_MODIFY);
    tail_kick(t);
}
