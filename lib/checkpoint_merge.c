/* Putting the recent document over the whole one (declared in position.h). The entries of the whole
 * one are sorted by id once; each recent entry then finds its place, or goes to the end of its
 * source. Paths change hands: an entry whose path is NULL has been taken.
 *
 * When memory runs out, the whole checkpoint may be half merged, and is only good for being
 * released.
 */
#include "lib/position.h"

#include <stdlib.h>

struct place {
    uint64_t id;
    struct checkpoint_file *file;
};

static int by_id(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static size_t count_files(const struct checkpoint *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->sources_n; i++)
        n += c->sources[i].files_n;
    return n;
}

static struct place *sort_places(const struct checkpoint *c, size_t n)
{
    struct place *places = calloc(n + 1, sizeof *places);
    if (places == NULL)
        return NULL;
    size_t at = 0;
    for (size_t i = 0; i < c->sources_n; i++)
        for (size_t k = 0; k < c->sources[i].files_n; k++)
            places[at++] = (struct place){c->sources[i].files[k].id, &c->sources[i].files[k]};
    qsort(places, n, sizeof *places, by_id);
    return places;
}

/* The source of that name in the whole checkpoint; added, with nothing in it, when it has none. */
static struct checkpoint_source *source_of(struct checkpoint *c,
                                           const struct checkpoint_source *like)
{
    for (size_t i = 0; i < c->sources_n; i++)
        if (strcmp(c->sources[i].name, like->name) == 0)
            return &c->sources[i];
    struct checkpoint_source *more = realloc(c->sources, (c->sources_n + 1) * sizeof *more);
    char *name = strdup(like->name);
    if (more != NULL)
        c->sources = more;
    if (more == NULL || name == NULL) {
        free(name);
        return NULL;
    }
    c->sources[c->sources_n] = (struct checkpoint_source){.name = name};
    return &c->sources[c->sources_n++];
}

/* What is left of a source when the known entries have been taken: the new ones. */
static bool append_new(struct checkpoint *whole, struct checkpoint_source *from)
{
    size_t n = 0;
    for (size_t k = 0; k < from->files_n; k++)
        n += from->files[k].path != NULL;
    struct checkpoint_source *to = source_of(whole, from);
    if (to == NULL || n == 0)
        return to != NULL;
    struct checkpoint_file *more = realloc(to->files, (to->files_n + n) * sizeof *more);
    if (more == NULL)
        return false;
    to->files = more;
    for (size_t k = 0; k < from->files_n; k++) {
        if (from->files[k].path == NULL)
            continue;
        to->files[to->files_n++] = from->files[k];
        from->files[k].path = NULL;
    }
    return true;
}

/* First the replacements, while the places still point to where the entries are. */
static void replace_known(struct checkpoint *recent, struct place *places, size_t n)
{
    for (size_t i = 0; i < recent->sources_n; i++) {
        for (size_t k = 0; k < recent->sources[i].files_n; k++) {
            struct checkpoint_file *f = &recent->sources[i].files[k];
            struct place key = {.id = f->id};
            struct place *known = bsearch(&key, places, n, sizeof key, by_id);
            if (known == NULL)
                continue;
            free(known->file->path);
            *known->file = *f;
            f->path = NULL;
        }
    }
}

static bool put_over(struct checkpoint *whole, struct checkpoint *recent)
{
    size_t n = count_files(whole);
    struct place *places = sort_places(whole, n);
    if (places == NULL)
        return false;
    replace_known(recent, places, n);
    free(places);
    for (size_t i = 0; i < recent->sources_n; i++)
        if (!append_new(whole, &recent->sources[i]))
            return false;
    return true;
}

bool checkpoint_merge(struct checkpoint *whole, struct checkpoint *recent)
{
    bool ok = true;
    if (recent->generation == whole->generation)
        ok = put_over(whole, recent);
    else if (recent->generation > whole->generation)
        whole->generation = recent->generation;
    checkpoint_release(recent);
    return ok;
}
