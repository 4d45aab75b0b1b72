#include "lib/ledger.h"

#include <stdlib.h>

void ledger_init(struct ledger *l)
{
    list_init(&l->sources);
}

static void drop_file(struct ledger_file *f)
{
    list_del(&f->link);
    free(f->path);
    free(f);
}

void ledger_release(struct ledger *l)
{
    LIST_FOR(it, save, &l->sources)
    {
        struct ledger_source *s = CONTAINER_OF(it, struct ledger_source, link);
        LIST_FOR(jt, keep, &s->files)
        {
            drop_file(CONTAINER_OF(jt, struct ledger_file, link));
        }
        list_del(&s->link);
        free(s->index);
        free(s->name);
        free(s);
    }
}

struct ledger_source *ledger_find_source(const struct ledger *l, const char *name)
{
    LIST_FOR(it, save, &l->sources)
    {
        struct ledger_source *s = CONTAINER_OF(it, struct ledger_source, link);
        if (strcmp(s->name, name) == 0)
            return s;
    }
    return NULL;
}

struct ledger_source *ledger_add_source(struct ledger *l, const char *name)
{
    struct ledger_source *s = calloc(1, sizeof *s);
    if (s == NULL || (s->name = strdup(name)) == NULL) {
        free(s);
        return NULL;
    }
    list_init(&s->files);
    list_add_tail(&l->sources, &s->link);
    return s;
}

struct ledger_file *ledger_add(struct ledger_source *s, const char *path)
{
    struct ledger_file *f = calloc(1, sizeof *f);
    if (f == NULL || (f->path = strdup(path)) == NULL) {
        free(f);
        return NULL;
    }
    f->live = true;
    list_add_tail(&s->files, &f->link);
    return f;
}

bool ledger_rename(struct ledger_file *f, const char *path)
{
    char *copy = strdup(path);
    if (copy == NULL)
        return false;
    free(f->path);
    f->path = copy;
    return true;
}

void ledger_leave(struct ledger_source *s, struct ledger_file *f)
{
    f->live = false;
    s->index_stale = true;
}

static bool load_source(struct ledger *l, const struct checkpoint_source *from)
{
    struct ledger_source *s = ledger_add_source(l, from->name);
    if (s == NULL)
        return false;
    for (size_t i = 0; i < from->files_n; i++) {
        struct ledger_file *f = ledger_add(s, from->files[i].path);
        if (f == NULL)
            return false;
        f->at = from->files[i].at;
        f->seen_s = from->files[i].seen_s;
        f->live = false;
    }
    s->index_stale = true;
    return true;
}

bool ledger_load(struct ledger *l, struct checkpoint *c)
{
    bool ok = true;
    for (size_t i = 0; ok && i < c->sources_n; i++)
        ok = load_source(l, &c->sources[i]);
    checkpoint_release(c);
    return ok;
}

static size_t count(const struct list *head)
{
    size_t n = 0;
    LIST_FOR(it, save, head)
    {
        n++;
    }
    return n;
}

static int by_inode(const void *a, const void *b)
{
    const struct ledger_file *x = *(struct ledger_file *const *)a;
    const struct ledger_file *y = *(struct ledger_file *const *)b;
    if (x->at.inode != y->at.inode)
        return x->at.inode < y->at.inode ? -1 : 1;
    return x->seen_s > y->seen_s ? -1 : x->seen_s < y->seen_s; /* the newest first */
}

static void make_index(struct ledger_source *s)
{
    free(s->index);
    s->index_n = 0;
    s->index = calloc(count(&s->files) + 1, sizeof *s->index);
    if (s->index == NULL)
        return; /* nothing is known again: data is sent again, which is allowed */
    LIST_FOR(it, save, &s->files)
    {
        struct ledger_file *f = CONTAINER_OF(it, struct ledger_file, link);
        if (!f->live)
            s->index[s->index_n++] = f;
    }
    qsort(s->index, s->index_n, sizeof *s->index, by_inode);
    s->index_stale = false;
}

/* The first place in the index whose inode is not less. */
static size_t lower_bound(const struct ledger_source *s, uint64_t inode)
{
    size_t low = 0, high = s->index_n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->index[mid]->at.inode < inode)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct ledger_file *ledger_find(struct ledger_source *s, uint64_t inode,
                                const struct ledger_file *after)
{
    if (s->index_stale)
        make_index(s);
    bool passed = after == NULL;
    for (size_t i = lower_bound(s, inode); i < s->index_n && s->index[i]->at.inode == inode; i++) {
        if (passed && !s->index[i]->live)
            return s->index[i];
        passed |= s->index[i] == after;
    }
    return NULL;
}

void ledger_expire(struct ledger *l, uint64_t now_s)
{
    LIST_FOR(it, save, &l->sources)
    {
        struct ledger_source *s = CONTAINER_OF(it, struct ledger_source, link);
        LIST_FOR(jt, keep, &s->files)
        {
            struct ledger_file *f = CONTAINER_OF(jt, struct ledger_file, link);
            if (f->live || f->seen_s + LEDGER_TTL_S >= now_s)
                continue;
            drop_file(f);
            s->index_stale = true;
        }
    }
}

static bool view_source(const struct ledger_source *s, struct checkpoint_source *to)
{
    to->name = s->name;
    to->files = calloc(count(&s->files) + 1, sizeof *to->files);
    if (to->files == NULL)
        return false;
    LIST_FOR(it, save, &s->files)
    {
        const struct ledger_file *f = CONTAINER_OF(it, struct ledger_file, link);
        to->files[to->files_n++] =
            (struct checkpoint_file){.path = f->path, .at = f->at, .seen_s = f->seen_s};
    }
    return true;
}

/* A view of borrowed strings, encoded and thrown away. */
void ledger_encode(const struct ledger *l, struct buf *out)
{
    struct checkpoint view = {.sources = calloc(count(&l->sources) + 1, sizeof *view.sources)};
    bool ok = view.sources != NULL;
    LIST_FOR(it, save, &l->sources)
    {
        if (ok)
            ok = view_source(CONTAINER_OF(it, struct ledger_source, link),
                             &view.sources[view.sources_n++]);
    }
    if (ok)
        checkpoint_encode(&view, out);
    else
        out->failed = true;
    for (size_t i = 0; i < view.sources_n; i++)
        free(view.sources[i].files);
    free(view.sources);
}
