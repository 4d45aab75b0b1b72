/* Entries stand in three lists: their source's, the order in which they were touched, and, once
 * they were left, a bucket by inode. Saving walks the second from its young end; finding walks a
 * bucket. So what a turn costs goes with what happened in it, not with how many files are known.
 *
 * How it fails: without memory for more buckets they only get longer; a document for which there is
 * no memory is a failed buf, and a failed save.
 */
#include "lib/ledger.h"

#include <stdlib.h>

void ledger_init(struct ledger *l)
{
    *l = (struct ledger){.clock = 1, .must_be_whole = true};
    list_init(&l->sources);
    list_init(&l->touched);
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

static void drop_file(struct ledger_file *f)
{
    list_del(&f->link);
    list_del(&f->touched);
    list_del(&f->by_inode);
    list_del(&f->displaced);
    free(f->path);
    free(f);
}

static void free_buckets(struct ledger_source *s)
{
    if (s->buckets != s->few)
        free(s->buckets);
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
        free_buckets(s);
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
    if (count(&l->sources) >= CHECKPOINT_SOURCES_MAX)
        return NULL;
    struct ledger_source *s = calloc(1, sizeof *s);
    if (s == NULL || (s->name = strdup(name)) == NULL) {
        free(s);
        return NULL;
    }
    s->ledger = l;
    list_init(&s->files);
    list_init(&s->displaced);
    s->buckets = s->few;
    s->buckets_n = ARRAY_LEN(s->few);
    for (size_t i = 0; i < s->buckets_n; i++)
        list_init(&s->few[i]);
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
    list_init(&f->by_inode);
    list_init(&f->displaced);
    list_add_tail(&s->files, &f->link);
    s->ledger->files_n++;
    ledger_touch(f);
    return f;
}

/* Many at once, because a whole document must say so each time. */
static void make_room(struct ledger *l)
{
    size_t n = CHECKPOINT_FILES_MAX / 16;
    LIST_FOR(it, save, &l->touched)
    {
        struct ledger_file *f = CONTAINER_OF(it, struct ledger_file, touched);
        if (n == 0)
            break;
        if (f->live)
            continue;
        ledger_drop(f);
        n--;
    }
}

struct ledger_file *ledger_add(struct ledger_source *s, const char *path)
{
    struct ledger *l = s->ledger;
    if (l->files_n >= CHECKPOINT_FILES_MAX)
        make_room(l);
    return l->files_n < CHECKPOINT_FILES_MAX ? add_with_id(s, path, ++l->last_id) : NULL;
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

/* ---- by inode ---- */

static struct list *bucket_of(const struct ledger_source *s, uint64_t inode)
{
    return &s->buckets[(inode * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (s->buckets_n - 1)];
}

/* Keeps the order. */
static void grow_buckets(struct ledger_source *s)
{
    struct ledger_source grown = {.buckets_n = 2 * s->buckets_n};
    grown.buckets = calloc(grown.buckets_n, sizeof *grown.buckets);
    if (grown.buckets == NULL)
        return;
    for (size_t i = 0; i < grown.buckets_n; i++)
        list_init(&grown.buckets[i]);
    for (size_t i = 0; i < s->buckets_n; i++) {
        LIST_FOR(it, save, &s->buckets[i])
        {
            list_del(it);
            struct ledger_file *f = CONTAINER_OF(it, struct ledger_file, by_inode);
            list_add_tail(bucket_of(&grown, f->at.inode), it);
        }
    }
    free_buckets(s);
    s->buckets = grown.buckets;
    s->buckets_n = grown.buckets_n;
}

static void forget_place(struct ledger_file *f)
{
    if (list_empty(&f->by_inode))
        return;
    list_del(&f->by_inode);
    f->source->left_n--;
}

/* Before the entries that were seen earlier. Those that are live again may have any seen_s by now,
 * and do not count. */
static void give_place(struct ledger_file *f)
{
    struct ledger_source *s = f->source;
    forget_place(f); /* it may be from the last time it was left, under another inode */
    if (s->left_n == s->buckets_n)
        grow_buckets(s);
    struct list *before = bucket_of(s, f->at.inode);
    LIST_FOR(it, save, before)
    {
        const struct ledger_file *g = CONTAINER_OF(it, struct ledger_file, by_inode);
        if (!g->live && g->seen_s <= f->seen_s) {
            before = it;
            break;
        }
    }
    list_add_tail(before, &f->by_inode);
    s->left_n++;
}

struct ledger_file *ledger_find(struct ledger_source *s, uint64_t inode,
                                const struct ledger_file *after)
{
    const struct list *head = bucket_of(s, inode);
    for (const struct list *it = after != NULL ? after->by_inode.next : head->next; it != head;
         it = it->next) {
        struct ledger_file *f = CONTAINER_OF(it, struct ledger_file, by_inode);
        if (!f->live && f->at.inode == inode)
            return f;
    }
    return NULL;
}

void ledger_displace(struct ledger_file *f)
{
    if (list_empty(&f->displaced))
        list_add_tail(&f->source->displaced, &f->displaced);
}

struct ledger_file *ledger_find_displaced(struct ledger_source *s, const struct ledger_file *after)
{
    const struct list *head = &s->displaced;
    for (const struct list *it = after != NULL ? after->displaced.next : head->next; it != head;
         it = it->next) {
        struct ledger_file *f = CONTAINER_OF(it, struct ledger_file, displaced);
        if (!f->live)
            return f;
    }
    return NULL;
}

void ledger_leave(struct ledger_file *f)
{
    f->live = false;
    list_del(&f->displaced);
    give_place(f);
    ledger_touch(f);
}

void ledger_drop(struct ledger_file *f)
{
    struct ledger *l = f->source->ledger;
    forget_place(f);
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
        give_place(f);
        if (f->id > l->last_id)
            l->last_id = f->id;
    }
    return true;
}

bool ledger_load(struct ledger *l, struct checkpoint *c)
{
    bool ok = true;
    l->generation = c->generation;
    for (size_t i = 0; ok && i < c->sources_n; i++)
        ok = load_source(l, &c->sources[i]);
    checkpoint_release(c);
    while (l->files_n > CHECKPOINT_FILES_MAX)
        make_room(l); /* two documents can hold more than one */
    return ok;
}

/* True: the entry has changed, or is gone. */
static bool expire_one(struct ledger_file *f, uint64_t now_s,
                       void (*tell)(void *ctx, const struct ledger_file *f), void *ctx)
{
    if (f->seen_s + (f->live ? LEDGER_RENEW_S : LEDGER_TTL_S) >= now_s)
        return false;
    if (f->live) {
        f->seen_s = now_s;
        ledger_touch(f);
        return true;
    }
    if (tell != NULL)
        tell(ctx, f);
    ledger_drop(f);
    return true;
}

bool ledger_expire(struct ledger *l, uint64_t now_s,
                   void (*tell)(void *ctx, const struct ledger_file *f), void *ctx)
{
    bool changed = false;
    LIST_FOR(it, save, &l->sources)
    {
        struct ledger_source *s = CONTAINER_OF(it, struct ledger_source, link);
        LIST_FOR(jt, keep, &s->files)
        {
            changed |= expire_one(CONTAINER_OF(jt, struct ledger_file, link), now_s, tell, ctx);
        }
    }
    return changed;
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
    if (x->source != y->source) /* any order will do that keeps them together */
        return (uintptr_t)x->source < (uintptr_t)y->source ? -1 : 1;
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
    if (ok)
        l->saved_at = l->clock - 1; /* beginning it moved the clock */
    if (ok || !l->saving_whole)
        return;
    l->must_be_whole = true; /* and until then nobody looks at whole_at */
}

bool ledger_is_saved(const struct ledger_file *f)
{
    return f->touched_at <= f->source->ledger->saved_at;
}
