/* Finding files. A scan walks the glob, directory by directory, and considers every path that it
 * leads to; before, files that their path no longer leads to are orphans. Between scans, a
 * directory's events name the one path that changed, and only that is considered. A scan is
 * repeated when a directory comes or goes, when events were lost, or, polling, once in a while.
 *
 * Watched are the directories in which the walk has to look names up, and where a part of the path
 * does not exist yet, the nearest directory above that does: so what appears later is noticed. Of
 * links, tail_links.c tells. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "daemon/tail_in.h"

#define SCAN_PASSES_MAX 16 /* walks in one scan, when directories appear while it looks */
#define SEARCHES_MAX    100
#define WALK_DEPTH_MAX  64
#define RESCAN_MS       1000

/* ---- one path ---- */

/* Never shipped, whatever the glob says: rotated files that somebody has packed. */
bool tail_is_packed(const char *path)
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

bool tail_is_inode(const struct tail_file *f, const struct stat *st)
{
    return st->st_ino == f->inode && st->st_dev == f->device;
}

/* Does the name that the tail knows this file by still lead to it? */
bool tail_still_there(const struct tail_file *f)
{
    struct stat st;
    return !f->orphan && stat(f->path, &st) == 0 && tail_is_inode(f, &st);
}

/* Its directory tells nothing of what is written through another name in another directory. */
static void watch_if_needed(struct tail_file *f, const struct stat *st)
{
    struct stat link;
    bool is_link = lstat(f->path, &link) == 0 && S_ISLNK(link.st_mode);
    list_del(&f->linked);
    if (is_link) {
        list_add_tail(&f->tail->linked, &f->linked);
        tail_watch_way(f->tail, f->path);
        f->tail->links_due |= !tail_still_there(f); /* switched before it was watched */
    }
    if (is_link || st->st_nlink > 1)
        tail_watch_itself(f);
    else
        tail_unwatch_itself(f);
}

/* Who had this path before, and is still being read. */
struct tail_file *tail_predecessor(const struct tail *t, const char *path)
{
    struct tail_file *last = NULL;
    LIST_FOR(it, save, &t->left)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, left);
        if (f->left_path != NULL && strcmp(f->left_path, path) == 0)
            last = f;
    }
    return last;
}

static void take_up_new(struct tail *t, const char *path, int fd, const struct stat *st)
{
    struct tail_file *f = tail_adopt(t, path, fd, st);
    if (f == NULL) {
        close(fd);
        tail_complain(t, path, "out of memory");
        t->incomplete = true;
        return;
    }
    if (!t->ops.found(t->ops.ctx, f)) {
        tail_complain(t, path, "not followed: too many files to remember, or out of memory");
        tail_forget(f);
        t->incomplete = true;
        return;
    }
    watch_if_needed(f, st);
    struct tail_file *before = tail_predecessor(t, path);
    if (before != NULL)
        tail_follows(f, before);
    f->unproven = f->read_at == 0 && !t->once;
    f->was_short = f->seen_end < COPY_FIRST;
    if (f->unproven && f->seen_end >= COPY_FIRST && !t->scanning)
        tail_hold(f);
    if (f->read_at >= COPY_FIRST)
        tail_learn_first(f);
    if (f->read_at != f->seen_end || t->once)
        tail_wake(f);
    t->unsorted = true;
    tail_trim(t);
}

/* Nobody tells when there are descriptors again. */
static void try_again_soon(struct tail *t)
{
    t->incomplete = true;
    if (t->once || t->rescan_at_ms != UINT64_MAX)
        return;
    t->rescan_at_ms = tail_now(t) + RESCAN_MS;
    tail_arm_timer(t);
}

static void take_up(struct tail *t, const char *path)
{
    struct stat st;
    int fd = tail_open_path(t, path, &st);
    if (fd == -EMFILE)
        try_again_soon(t);
    else if (fd == -ENOENT)
        tail_note_dangling(t, path);
    if (fd < 0)
        return;
    struct tail_file *known = tail_find_inode(t, st.st_dev, st.st_ino);
    if (known == NULL) {
        take_up_new(t, path, fd, &st);
        return;
    }
    close(fd);
    if (!tail_still_there(known)) {
        tail_rename(known, path);
        watch_if_needed(known, &st);
    }
    tail_wake(known); /* whoever wrote into it may have used this name */
}

void tail_take_up_renamed(struct tail *t, const char *path, const char *old_path)
{
    struct stat st;
    int fd = tail_is_packed(path) ? -1 : tail_open_path(t, path, &st);
    if (fd < 0)
        return;
    if (tail_find_inode(t, st.st_dev, st.st_ino) != NULL) {
        close(fd);
        return;
    }
    struct tail_file *f = tail_adopt(t, path, fd, &st);
    if (f == NULL) {
        close(fd);
        return;
    }
    if (!t->ops.found(t->ops.ctx, f)) {
        tail_forget(f);
        return;
    }
    tail_orphan(f);
    struct tail_file *successor = tail_find_path(t, old_path);
    if (successor != NULL)
        tail_follows(successor, f);
    t->unsorted = true;
}

bool tail_matches(const struct tail *t, const char *path)
{
    return !tail_is_packed(path) && glob_match(t->glob, path);
}

void tail_consider(struct tail *t, const char *path, bool event)
{
    if (tail_is_packed(path))
        return;
    struct tail_file *known = tail_find_path(t, path);
    struct stat st;
    if (known != NULL) {
        if (stat(path, &st) == 0 && tail_is_inode(known, &st)) {
            bool changed =
                (uint64_t)st.st_size != known->seen_end || tail_mtime_ns(&st) != known->mtime_ns;
            known->mtime_ns = tail_mtime_ns(&st);
            if (event || changed || known->news)
                tail_wake(known);
            return;
        }
        tail_lose_name(known);
    }
    take_up(t, path);
}

/* ---- names that are lost ---- */

/* A file that is shut can be an orphan only if it can still be opened. A link, or one of several
 * hard links, may not have been the only name that matches: look for others. */
void tail_lose_name(struct tail_file *f)
{
    struct tail *t = f->tail;
    t->scan_due |= !t->scanning && (f->wd >= 0 || !list_empty(&f->linked));
    list_del(&f->linked);
    if (f->fd >= 0) {
        tail_orphan(f);
        return;
    }
    if (t->scanning)
        tail_unname(f);
    else
        tail_gone(f, true);
}

/* ---- walking ---- */

struct candidate {
    char *path;
    uint64_t known;
    int64_t mtime_ns;
};

struct walk {
    struct tail *t;
    struct candidate *found;
    size_t n, cap;
    bool news; /* a directory that was not watched yet */
};

static void note(struct walk *w, const char *path)
{
    struct stat st;
    if (glob_excluded(w->t->glob, path))
        return;
    if (stat(path, &st) != 0) {
        tail_note_dangling(w->t, path);
        return;
    }
    if (w->n == w->cap) {
        size_t cap = w->cap * 2 + 64;
        struct candidate *more = realloc(w->found, cap * sizeof *more);
        if (more == NULL)
            return;
        w->found = more;
        w->cap = cap;
    }
    char *copy = strdup(path);
    if (copy != NULL)
        w->found[w->n++] = (struct candidate){
            copy, w->t->ops.knows(w->t->ops.ctx, st.st_ino, (uint64_t)st.st_size),
            tail_mtime_ns(&st)};
}

static void walk(struct walk *w, const struct glob_alternative *a, size_t i, const char *dir,
                 unsigned depth);

static bool is_dir(const char *path, const struct dirent *d, bool through_links)
{
    struct stat st;
    if (d != NULL && d->d_type != DT_UNKNOWN && d->d_type != DT_LNK)
        return d->d_type == DT_DIR;
    return (through_links ? stat(path, &st) : lstat(path, &st)) == 0 && S_ISDIR(st.st_mode);
}

/* One name in a directory whose names component i chooses among. */
static void walk_name(struct walk *w, const struct glob_alternative *a, size_t i, const char *path,
                      const struct dirent *d, unsigned depth)
{
    const struct glob_component *c = &a->components[i];
    if (!glob_component_match(c, d->d_name))
        return;
    bool perhaps_link = d->d_type == DT_LNK || d->d_type == DT_UNKNOWN;
    w->t->linked_dirs |= perhaps_link && i + 1 < a->n && tail_is_link_to_dir(path);
    if (c->kind == GLOB_DEEP) {
        if (is_dir(path, d, false))
            walk(w, a, i, path, depth + 1);
    } else if (i + 1 == a->n) {
        note(w, path);
    } else if (is_dir(path, d, true)) {
        walk(w, a, i + 1, path, depth + 1);
    }
}

static void walk_names(struct walk *w, const struct glob_alternative *a, size_t i, const char *dir,
                       unsigned depth)
{
    DIR *stream = opendir(dir);
    if (stream == NULL) {
        bool gone = errno == ENOENT || errno == ENOTDIR;
        if (!gone)
            tail_complain(w->t, dir, strerror(errno));
        w->t->incomplete |= !gone;
        return;
    }
    const struct dirent *d;
    char path[TAIL_PATH_MAX];
    while ((d = readdir(stream)) != NULL)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
            tail_join(path, dir, d->d_name))
            walk_name(w, a, i, path, d, depth);
    closedir(stream);
}

/* On the way down through a directory that needs no listing. If it is moved, everything is
 * elsewhere; if it is a link, the names beside it tell when it is made to lead elsewhere. */
static void walk_through(struct walk *w, const char *dir, const char *path)
{
    struct stat st;
    bool news = false;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
        tail_watch_dir(w->t, dir, true, &news);
        w->t->linked_dirs = true;
    }
    tail_watch_dir(w->t, path, false, &news);
}

/* In `dir`, with the components before i matched. The directory is watched before it is listed. */
static void walk(struct walk *w, const struct glob_alternative *a, size_t i, const char *dir,
                 unsigned depth)
{
    const struct glob_component *c = &a->components[i];
    char path[TAIL_PATH_MAX];
    if (depth > WALK_DEPTH_MAX) {
        tail_complain(w->t, dir, "too deep, not entered");
        return;
    }
    if (c->kind == GLOB_LITERAL && i + 1 < a->n && tail_join(path, dir, c->text) &&
        is_dir(path, NULL, true)) {
        walk_through(w, dir, path);
        walk(w, a, i + 1, path, depth + 1);
        return;
    }
    if (!tail_watch_dir(w->t, dir, true, &w->news))
        return;
    if (c->kind != GLOB_LITERAL)
        walk_names(w, a, i, dir, depth);
    if (c->kind == GLOB_DEEP)
        walk(w, a, i + 1, dir, depth + 1);
    if (c->kind == GLOB_LITERAL && tail_join(path, dir, c->text)) {
        if (i + 1 == a->n)
            note(w, path);
        else if (is_dir(path, NULL, true))
            w->news = true; /* it has come while we looked */
    }
}

static void free_candidates(struct walk *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->found[i].path);
    w->n = 0;
}

/* A directory may be made between the look at its level and the watch on the one above; so look
 * again until there is nothing new: then every later one is told by an event. */
static void walk_all(struct walk *w)
{
    struct tail *t = w->t;
    t->scan++;
    t->linked_dirs = false;
    tail_forget_dangling(t);
    for (int pass = 0; pass < SCAN_PASSES_MAX && (pass == 0 || w->news); pass++) {
        w->news = false;
        free_candidates(w);
        for (size_t i = 0; i < t->glob->n; i++)
            walk(w, &t->glob->alternatives[i], 0, "/", 0);
    }
    LIST_FOR(it, save, &t->linked)
    {
        tail_watch_way(t, CONTAINER_OF(it, struct tail_file, linked)->path);
    }
    tail_drop_old_dirs(t);
}

/* ---- the scan ---- */

/* What is remembered goes first, in its order, so that a copy of it is recognised; then the
 * oldest. */
static int by_age(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->known != y->known)
        return x->known - 1 < y->known - 1 ? -1 : 1; /* 0, not remembered, comes last */
    if (x->mtime_ns != y->mtime_ns)
        return x->mtime_ns < y->mtime_ns ? -1 : 1;
    return strcmp(x->path, y->path);
}

static int ready_by_age(const void *a, const void *b)
{
    const struct tail_file *x = *(struct tail_file *const *)a, *y = *(struct tail_file *const *)b;
    if (x->mtime_ns != y->mtime_ns)
        return x->mtime_ns < y->mtime_ns ? -1 : 1;
    return strcmp(x->path, y->path);
}

void tail_sort_ready(struct tail *t)
{
    size_t n = 0;
    t->unsorted = false;
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
    qsort(files, n, sizeof *files, ready_by_age);
    for (size_t i = 0; i < n; i++)
        list_add_tail(&t->ready, &files[i]->ready);
    free(files);
}

/* Files that were renamed are found again by their inode among the candidates; who has no name then
 * is an orphan, or, if it is shut, lost. */
static void check_names(struct tail *t)
{
    LIST_FOR(it, save, &t->files)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, link);
        if (!f->orphan && !tail_still_there(f))
            tail_lose_name(f);
    }
}

/* Each search reads a directory: when very many files have gone at once, they were deleted. */
static void drop_nameless(struct tail *t)
{
    unsigned searches = 0;
    LIST_FOR(it, save, &t->files)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, link);
        if (f->orphan && f->fd < 0)
            tail_gone(f, searches++ < SEARCHES_MAX || f->news);
    }
}

void tail_scan(struct tail *t)
{
    t->scan_due = t->links_due = false;
    struct walk w = {.t = t};
    walk_all(&w);
    t->scanning = true;
    check_names(t);
    if (w.n > 0)
        qsort(w.found, w.n, sizeof *w.found, by_age);
    for (size_t i = 0; i < w.n; i++)
        tail_consider(t, w.found[i].path, false);
    t->scanning = false;
    t->starved &= t->rescan_at_ms != UINT64_MAX;
    drop_nameless(t);
    tail_hold_new(t); /* now that those are known that they may be copies of */
    free_candidates(&w);
    free(w.found);
    tail_sort_ready(t);
    tail_arm_timer(t);
    tail_kick(t);
}
