#include "lib/ledger.h"

#include <stdlib.h>

void ledger_init(struct ledger *l)
{
    *l = (struct ledger){.clock = 1, .must_be_whole = true};
    list_init(&l->sources);
    list_init(&l->touched);
}

static void drop_file(struct ledger_file *f)
{
    list_del(&f->link);
    list_del(&f->touched);
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
    s->ledger = l;
    list_init(&s->files);
    list_add_tail(&l->sources, &s->link);
    l->must_be_whole = true;
    return s;
}

void ledger_touch(struct ledger_file *f)
{
    struct ledger *l = f->source->ledger;
    f->touched_at = l->clock;
    list_del(&f->touched);
    list_add_tail(&l->touched, &f->touched);
}

static struct ledger_file *add_with_id(struct ledger_source *s, const char *path, uint64_t id)
{
    struct ledger_file *f = calloc(1, sizeof *f);
    if (f == NULL || (f->path = strdup(path)) == NULL) {
        free(f);
        return NULL;
    }
    f->source = s;
    f->id = id;
    f->live = true;
    list_init(&f->touched);
    list_add_tail(&s->files, &f->link);
    s->ledger->files_n++;
    ledger_touch(f);
    return f;
}

struct ledger_file *ledger_add(struct ledger_source *s, const char *path)
{
    return add_with_id(s, path, ++s->ledger->last_id);
}

bool ledger_rename(struct ledger_file *f, const char *path)
{
    char *copy = strdup(path);
    if (copy == NULL)
        return false;
    free(f->path);
    f->path = copy;
    ledger_touch(f);
    return true;
}

void ledger_leave(struct ledger_file *f)
{
    f->live = false;
    f->source->index_stale = true;
    ledger_touch(f);
}

void ledger_drop(struct ledger_file *f)
{
    struct ledger *l = f->source->ledger;
    f->source->index_stale = true;
    l->must_be_whole = true;
    l->files_n--;
    drop_file(f);
}

static bool load_source(struct ledger *l, const struct checkpoint_source *from)
{
    struct ledger_source *s = ledger_find_source(l, from->name);
    if (s == NULL && (s = ledger_add_source(l, from->name)) == NULL)
        return false;
    for (size_t i = 0; i < from->files_n; i++) {
        const struct checkpoint_file *file = &from->files[i];
        struct ledger_file *f = add_with_id(s, file->path, file->id);
        if (f == NULL)
            return false;
        f->at = file->at;
        f->seen_s = file->seen_s;
        f->size = file->size;
        f->live = false;
        if (f->id > l->last_id)
            l->last_id = f->id;
    }
    s->index_stale = true;
    return true;
}

bool ledger_load(struct ledger *l, struct checkpoint *c)
{
    bool ok = true;
    l->generation = c->generation;
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

void ledger_expire(struct ledger *l, uint64_t now_s,
                   void (*tell)(void *ctx, const struct ledger_file *f), void *ctx)
{
    LIST_FOR(it, save, &l->sources)
    {
        struct ledger_source *s = CONTAINER_OF(it, struct ledger_source, link);
        LIST_FOR(jt, keep, &s->files)
        {
            struct ledger_file *f = CONTAINER_OF(jt, struct ledger_file, link);
            if (f->live || f->seen_s + LEDGER_TTL_S >= now_s)
                continue;
            if (tell != NULL)
                tell(ctx, f);
            ledger_drop(f);
        }
    }
}

/* ---- saving ---- */

/* How many entries have changed since the last whole document; counted up to `most`. */
static size_t count_recent(const struct ledger *l, size_t most)
{
    size_t n = 0;
    for (const struct list *it = l->touched.prev; it != &l->touched && n < most; it = it->prev) {
        if (CONTAINER_OF(it, struct ledger_file, touched)->touched_at <= l->whole_at)
            break;
        n++;
    }
    return n;
}

static bool must_be_whole(const struct ledger *l)
{
    size_t most = l->files_n / LEDGER_RECENT_OF + 1;
    return l->must_be_whole || l->files_n <= LEDGER_SMALL_N || count_recent(l, most) == most;
}

/* Borrowed strings: thrown away after the encoding. */
static struct checkpoint_file view_of(const struct ledger_file *f)
{
    return (struct checkpoint_file){
        .path = f->path, .at = f->at, .seen_s = f->seen_s, .size = f->size, .id = f->id};
}

static bool view_whole(const struct ledger_source *s, struct checkpoint_source *to)
{
    *to = (struct checkpoint_source){.name = s->name};
    to->files = calloc(count(&s->files) + 1, sizeof *to->files);
    if (to->files == NULL)
        return false;
    LIST_FOR(it, save, &s->files)
    {
        to->files[to->files_n++] = view_of(CONTAINER_OF(it, struct ledger_file, link));
    }
    return true;
}

static void encode_whole(const struct ledger *l, struct buf *out)
{
    struct checkpoint view = {.generation = l->generation,
                              .sources = calloc(count(&l->sources) + 1, sizeof *view.sources)};
    bool ok = view.sources != NULL;
    LIST_FOR(it, save, &l->sources)
    {
        if (ok)
            ok = view_whole(CONTAINER_OF(it, struct ledger_source, link),
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

static int by_source(const void *a, const void *b)
{
    const struct ledger_file *x = *(struct ledger_file *const *)a;
    const struct ledger_file *y = *(struct ledger_file *const *)b;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The n entries that were touched last, grouped by their source. */
static void encode_entries(const struct ledger *l, size_t n, struct ledger_file **entries,
                           struct checkpoint_file *files, struct checkpoint_source *sources,
                           struct buf *out)
{
    const struct list *it = l->touched.prev;
    for (size_t i = 0; i < n; i++, it = it->prev)
        entries[i] = CONTAINER_OF(it, struct ledger_file, touched);
    qsort(entries, n, sizeof(struct ledger_file *), by_source);
    struct checkpoint view = {.generation = l->generation, .sources = sources};
    for (size_t i = 0; i < n; i++) {
        files[i] = view_of(entries[i]);
        if (i == 0 || entries[i]->source != entries[i - 1]->source)
            sources[view.sources_n++] =
                (struct checkpoint_source){.name = entries[i]->source->name, .files = &files[i]};
        sources[view.sources_n - 1].files_n++;
    }
    checkpoint_encode(&view, out);
}

static void encode_recent(const struct ledger *l, struct buf *out)
{
    size_t n = count_recent(l, l->files_n);
    struct ledger_file **entries = calloc(n + 1, sizeof(struct ledger_file *));
    struct checkpoint_file *files = calloc(n + 1, sizeof *files);
    struct checkpoint_source *sources = calloc(n + 1, sizeof *sources);
    if (entries != NULL && files != NULL && sources != NULL)
        encode_entries(l, n, entries, files, sources, out);
    else
        out->failed = true;
    free(entries);
    free(files);
    free(sources);
}

void ledger_begin_save(struct ledger *l, struct buf *out, bool *whole)
{
    *whole = l->saving_whole = must_be_whole(l);
    l->before_whole_at = l->whole_at;
    if (l->saving_whole) {
        l->generation++;
        l->whole_at = l->clock;
        encode_whole(l, out);
    } else {
        encode_recent(l, out);
    }
    l->must_be_whole = false;
    l->clock++;
}

void ledger_end_save(struct ledger *l, bool ok)
{
    if (ok || !l->saving_whole)
        return;
    l->whole_at = l->before_whole_at;
    l->must_be_whole = true;
}
