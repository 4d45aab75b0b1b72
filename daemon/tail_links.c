/* Symbolic links. What is rotated where a link leads tells nothing in the link's own directory: so
 * every directory on its way is watched, from link to link (Kubernetes has two in a row) and up to
 * the file. When something comes or goes in one of them, the links are looked at: one that leads
 * to another file now, or nowhere, has lost its old one. A link that dangles is remembered, and
 * waited for at the place where its way ends.
 *
 * That look costs one stat a link, and is had once for all the events of a turn. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/tail_in.h"

#define HOPS_MAX     40  /* as the kernel */
#define DANGLING_MAX 256 /* remembered; with more, everything is looked at instead */

bool tail_join(char to[TAIL_PATH_MAX], const char *dir, const char *name)
{
    const char *slash = strcmp(dir, "/") == 0 ? "" : "/";
    int n = snprintf(to, TAIL_PATH_MAX, "%s%s%s", dir, slash, name);
    return n > 0 && n < TAIL_PATH_MAX;
}

static bool is_link(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

bool tail_is_link_to_dir(const char *path)
{
    struct stat st;
    return is_link(path) && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- the way that a link leads ---- */

/* How far a path has been followed, what is still to be, and how many links that took. */
struct way {
    char done[PATH_MAX];
    char rest[TAIL_PATH_MAX];
    unsigned hops;
};

static bool begin_way(struct way *w, const char *path)
{
    const char *slash = strrchr(path, '/');
    char dir[TAIL_PATH_MAX];
    snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    w->hops = 0;
    return realpath(dir, w->done) != NULL && snprintf(w->rest, sizeof w->rest, "%s", slash + 1) > 0;
}

/* What a link says comes before the rest. */
static bool follow_link(struct way *w, const char *link)
{
    char target[TAIL_PATH_MAX], rest[TAIL_PATH_MAX];
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n <= 0 || ++w->hops > HOPS_MAX)
        return false;
    target[n] = '\0';
    int used = snprintf(rest, sizeof rest, "%s/%s", target, w->rest);
    if (used < 0 || (size_t)used >= sizeof rest)
        return false;
    memcpy(w->rest, rest, (size_t)used + 1);
    if (target[0] == '/')
        memcpy(w->done, "/", 2);
    return true;
}

/* The next name of the rest; false at the end. */
static bool next_name(struct way *w, char name[NAME_MAX + 1])
{
    const char *p = w->rest + strspn(w->rest, "/");
    size_t n = strcspn(p, "/");
    if (n == 0 || n > NAME_MAX)
        return false;
    memcpy(name, p, n);
    name[n] = '\0';
    memmove(w->rest, p + n, strlen(p + n) + 1);
    return true;
}

/* "." and ".." lead to a directory that is known. */
static bool is_dot(struct way *w, const char *name)
{
    if (strcmp(name, "..") == 0) {
        char *slash = strrchr(w->done, '/');
        slash[slash == w->done] = '\0';
        return true;
    }
    return strcmp(name, ".") == 0;
}

static void watch(struct tail *t, const char *dir)
{
    bool news = false;
    tail_watch_dir(t, dir, true, &news);
}

void tail_watch_way(struct tail *t, const char *path)
{
    struct way w;
    char name[NAME_MAX + 1], next[TAIL_PATH_MAX];
    if (t->once || !begin_way(&w, path))
        return;
    while (next_name(&w, name)) {
        struct stat st;
        if (is_dot(&w, name))
            continue;
        bool there = tail_join(next, w.done, name) && lstat(next, &st) == 0;
        bool last = w.rest[strspn(w.rest, "/")] == '\0';
        if (!there || S_ISLNK(st.st_mode) || last)
            watch(t, w.done);
        if (!there || (S_ISLNK(st.st_mode) && !follow_link(&w, next)))
            return;
        if (!S_ISLNK(st.st_mode))
            memcpy(w.done, next, strlen(next) + 1);
    }
}

/* ---- links that dangle ---- */

void tail_note_dangling(struct tail *t, const char *path)
{
    struct stat st;
    if (t->once || !is_link(path))
        return;
    tail_watch_way(t, path);
    t->links_due |= stat(path, &st) == 0; /* it came before it was waited for */
    for (size_t i = 0; i < t->dangling_n; i++)
        if (strcmp(t->dangling[i], path) == 0)
            return;
    if (t->dangling == NULL)
        t->dangling = calloc(DANGLING_MAX, sizeof *t->dangling);
    char *copy = strdup(path);
    if (t->dangling == NULL || copy == NULL || t->dangling_n == DANGLING_MAX) {
        t->too_many_dangling = true;
        free(copy);
        return;
    }
    t->dangling[t->dangling_n++] = copy;
}

void tail_forget_dangling(struct tail *t)
{
    while (t->dangling_n > 0)
        free(t->dangling[--t->dangling_n]);
    t->too_many_dangling = false;
}

/* ---- when something has come or gone ---- */

static void check_linked(struct tail *t)
{
    size_t n = 0;
    LIST_FOR(it, save, &t->linked)
    {
        n++;
    }
    for (; n > 0 && !list_empty(&t->linked); n--) {
        struct tail_file *f = LIST_FIRST(&t->linked, struct tail_file, linked);
        list_del(
            &f->linked); /* to the back: considering one may take others out, and put some in */
        list_add_tail(&t->linked, &f->linked);
        char path[TAIL_PATH_MAX];
        snprintf(path, sizeof path, "%s", f->path);
        if (!f->orphan && !tail_still_there(f))
            tail_consider(t, path, true);
    }
}

/* Considering puts one that still dangles back to its end. */
static void check_dangling(struct tail *t)
{
    for (size_t n = t->dangling_n; n > 0; n--) {
        char *path = t->dangling[0];
        memmove(t->dangling, t->dangling + 1, --t->dangling_n * sizeof *t->dangling);
        tail_consider(t, path, true);
        free(path);
    }
}

void tail_check_links(struct tail *t)
{
    t->links_due = false;
    check_linked(t);
    check_dangling(t);
    t->scan_due |= t->too_many_dangling;
}
