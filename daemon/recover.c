/* Files that left the glob while nobody looked: renamed in their directory, as rotations do it, to
 * a name that the glob does not match. What was not yet read of them is still there. So the
 * directories of the entries that no file was found for are looked through once, at the start; a
 * file that is the one an entry speaks of, by inode and both fingerprints, is read to its end, and
 * let go.
 *
 * Entries whose own path the glob no longer matches are left alone: the configuration has changed,
 * and nobody wants these files any more. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/service_in.h"

#define DIRS_MAX 256 /* looked through at one start */

/* By a few first bytes alone no file is taken that nobody asked for. */
static bool is_certain(const struct position *at)
{
    return at->offset > 0 || at->head.n >= COPY_FIRST;
}

static bool is_wanted(const struct source *src, const struct ledger_file *entry)
{
    return !entry->live && is_certain(&entry->at) && tail_matches(src->tail, entry->path);
}

static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? NULL : strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static const struct ledger_file *wanted_entry(struct source *src, uint64_t inode)
{
    const struct ledger_file *entry = NULL;
    while ((entry = ledger_find(src->ledger, inode, entry)) != NULL)
        if (is_wanted(src, entry))
            break;
    return entry;
}

static void look_through(struct source *src, const char *dir)
{
    DIR *stream = opendir(dir);
    if (stream == NULL)
        return;
    const struct dirent *d;
    char path[TAIL_PATH_MAX];
    while ((d = readdir(stream)) != NULL) {
        const struct ledger_file *entry = wanted_entry(src, d->d_ino);
        int n = snprintf(path, sizeof path, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, d->d_name);
        if (entry != NULL && n > 0 && (size_t)n < sizeof path && !tail_matches(src->tail, path))
            tail_take_up_renamed(src->tail, path, entry->path);
    }
    closedir(stream);
}

static bool is_new(char *const *dirs, size_t n, const char *dir)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(dirs[i], dir) == 0)
            return false;
    return true;
}

void source_recover(struct source *src)
{
    char *dirs[DIRS_MAX];
    size_t n = 0;
    LIST_FOR(it, save, &src->ledger->files)
    {
        const struct ledger_file *entry = CONTAINER_OF(it, struct ledger_file, link);
        char *dir = n < DIRS_MAX && is_wanted(src, entry) ? directory_of(entry->path) : NULL;
        if (dir != NULL && is_new(dirs, n, dir))
            dirs[n++] = dir;
        else
            free(dir);
    }
    src->recovering = true; /* only what is known is wanted now */
    for (size_t i = 0; i < n; i++) {
        look_through(src, dirs[i]);
        free(dirs[i]);
    }
    src->recovering = false;
}
