/* Copies: copytruncate, with the copy where the glob matches it. logrotate copies app.log to
 * app.log.1 and then truncates app.log. What was read of app.log must not be read again from the
 * copy; what was not yet read must be read from it; and only then is app.log read from 0.
 *
 * A new file whose first COPY_FIRST bytes are those of a followed file g is held back, however
 * little of g has been read. Then
 *
 *   g begins again, and the copy holds the bytes before g's read_at:   it takes g's place
 *   g begins again, and the copy ends before g's read_at, but was found, while g was whole, to have
 *     the same bytes at its end:                                      the same, read to its end
 *   it has other bytes where g's read_at is, or g is gone, or nothing has changed for hold_ms:
 *                                                                     a file like others, from 0
 *
 * A file with the same first bytes may be anything: so nothing is skipped on that alone. Two files
 * that are the same up to g's read_at, with g truncated while we look, are one. */
#include <stdlib.h>

#include "daemon/tail_in.h"

#define LOOK_ALIKES_MAX 32 /* files that begin alike (a CSV header) looked at */

static struct list *bucket(struct tail *t, const struct fingerprint *first)
{
    size_t hash = (size_t)first->hash[0] | (size_t)first->hash[1] << 8;
    return &t->firsts[hash % TAIL_FIRSTS];
}

void tail_learn_first(struct tail_file *f)
{
    bool ok;
    struct fingerprint first = tail_fingerprint(f, COPY_FIRST, COPY_FIRST, &ok);
    tail_forget_first(f);
    if (!ok)
        return;
    f->first = first;
    list_add_tail(bucket(f->tail, &first)->next, &f->firsts); /* to the front */
}

/* Former copies begin like the file that was copied; that one is the one still written to. */
void tail_is_active(struct tail_file *g)
{
    if (list_empty(&g->firsts))
        return;
    list_del(&g->firsts);
    list_add_tail(bucket(g->tail, &g->first)->next, &g->firsts);
}

void tail_forget_first(struct tail_file *f)
{
    f->first = (struct fingerprint){0};
    list_del(&f->firsts);
}

/* The bytes before `end` are the same in both files. */
static bool same_before(struct tail_file *f, struct tail_file *g, uint64_t end)
{
    bool ok[2];
    size_t n = (size_t)min_u64(end, FINGERPRINT_MAX);
    struct fingerprint a = tail_fingerprint(f, end, n, &ok[0]);
    struct fingerprint b = tail_fingerprint(g, end, n, &ok[1]);
    return ok[0] && ok[1] && fingerprint_eq(&a, &b);
}

static bool has_what_was_read(const struct tail_file *f, const struct tail_file *g)
{
    bool ok;
    struct fingerprint before = tail_fingerprint(f, g->read_at, g->before.n, &ok);
    return ok && fingerprint_eq(&before, &g->before);
}

/* Was it followed before its first bytes were all there? Two that are found with the same first
 * bytes, and of which nothing has been read, are not told apart by that. */
static bool can_be_an_original(const struct tail_file *g)
{
    return g->read_at > 0 || (g->was_short && !g->unproven);
}

/* Files that have news may have been copied before more of them was read than they can be known
 * by. */
static void learn_firsts_of_ready(struct tail *t)
{
    unsigned looked_at = 0;
    LIST_FOR(it, save, &t->ready)
    {
        struct tail_file *g = CONTAINER_OF(it, struct tail_file, ready);
        if (g->first.n > 0 || g->fd < 0 || !can_be_an_original(g))
            continue;
        tail_learn_first(g);
        if (++looked_at == LOOK_ALIKES_MAX)
            break;
    }
}

/* The followed file that f may be a copy of, finished or in the making: it begins with the same
 * bytes, and nothing speaks against it. */
static struct tail_file *original_of(struct tail_file *f, const struct fingerprint *first,
                                     uint64_t size)
{
    unsigned looked_at = 0;
    learn_firsts_of_ready(f->tail);
    LIST_FOR(it, save, bucket(f->tail, first))
    {
        struct tail_file *g = CONTAINER_OF(it, struct tail_file, firsts);
        if (g == f || g->held_for != NULL || !fingerprint_eq(&g->first, first))
            continue;
        if (size >= g->read_at ? has_what_was_read(f, g) : g->fd < 0 || same_before(f, g, size))
            return g;
        if (++looked_at == LOOK_ALIKES_MAX)
            break;
    }
    return NULL;
}

/* While g is whole: is the copy, as far as it goes, the beginning of g? */
static void prove(struct tail_file *f, uint64_t size)
{
    struct tail_file *g = f->held_for;
    if (size != f->proven && g->fd >= 0 && same_before(f, g, size))
        f->proven = size;
}

/* There is nothing to know it by. Nor is it read, for bytes may come at any moment, and they are to
 * be looked at first: an event tells of them. */
static bool wait_for_bytes(struct tail_file *f)
{
    list_del(&f->ready);
    f->news = false;
    return true;
}

bool tail_hold(struct tail_file *f)
{
    struct tail *t = f->tail;
    uint64_t size = tail_size(f);
    if (size == 0 && !f->orphan)
        return wait_for_bytes(f);
    f->unproven = false;
    bool ok;
    struct fingerprint first = tail_fingerprint(f, COPY_FIRST, COPY_FIRST, &ok);
    struct tail_file *g = ok ? original_of(f, &first, size) : NULL;
    if (g == NULL)
        return false;
    f->held_for = g;
    g->copies++;
    prove(f, size);
    f->seen_end = size;
    f->quiet_since_ms = tail_now(t);
    list_del(&f->ready);
    list_add_tail(&t->held, &f->held);
    t->tick_at_ms = tail_now(t) + min_u64(200, t->hold_ms);
    tail_arm_timer(t);
    tail_wake(g); /* it may be truncated already */
    return true;
}

void tail_unhold(struct tail_file *f)
{
    if (f->held_for == NULL)
        return;
    f->held_for->copies--;
    f->held_for = NULL;
    list_del(&f->held);
}

static void release(struct tail_file *f)
{
    tail_unhold(f);
    tail_wake(f);
}

void tail_release_held_for(struct tail_file *g)
{
    LIST_FOR(it, save, &g->tail->held)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, held);
        if (f->held_for == g)
            release(f);
    }
}

/* How far the copy can take over: g's read_at, or, when it ends before, its end, if it was proven
 * to be the beginning of g while g was whole; or UINT64_MAX. */
static uint64_t take_over_at(const struct tail_file *f, const struct tail_file *g)
{
    uint64_t size = tail_size(f);
    if (size >= g->read_at)
        return has_what_was_read(f, g) ? g->read_at : UINT64_MAX;
    return f->proven == size && size > 0 ? size : UINT64_MAX;
}

/* New files that nobody has looked at yet, while others are still known as they were. */
void tail_hold_new(struct tail *t)
{
    LIST_FOR(it, save, &t->ready)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, ready);
        if (f->unproven && f->fd >= 0)
            tail_hold(f);
    }
}

/* New files that were shut before anyone looked, empty perhaps: those with names like g's are
 * opened, for they may be its copies. */
static void hold_shut(struct tail_file *g)
{
    size_t n = strlen(g->path);
    LIST_FOR(it, save, &g->tail->ready)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, ready);
        if (f->unproven && f->fd < 0 && strncmp(f->path, g->path, n) == 0 && tail_reopen_now(f))
            tail_hold(f);
    }
}

bool tail_hand_over(struct tail_file *g)
{
    struct tail *t = g->tail;
    tail_hold_new(t);
    hold_shut(g);
    LIST_FOR(it, save, &t->held)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, held);
        uint64_t at = f->held_for == g ? take_over_at(f, g) : UINT64_MAX;
        if (at == UINT64_MAX || !tail_seek(f, at))
            continue;
        tail_unhold(f);
        g->read_at = 0;
        g->before = fingerprint_of(NULL, 0);
        t->ops.copied(t->ops.ctx, g, f);
        tail_learn_first(f);
        tail_wake(f);
        tail_follows_nobody(f); /* that might have been g itself */
        tail_follows(g, f);
        tail_release_held_for(g);
        return true;
    }
    tail_release_held_for(g);
    return false;
}

void tail_prove_held(struct tail_file *g)
{
    LIST_FOR(it, save, &g->tail->held)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, held);
        if (f->held_for == g)
            prove(f, tail_size(f));
    }
}

/* It is another file after all; but if g has shrunk, that is for its next read to judge. */
static bool is_no_copy(const struct tail_file *f, const struct tail_file *g, uint64_t size)
{
    return size >= g->read_at && !has_what_was_read(f, g) && tail_size(g) >= g->read_at;
}

/* As long as there are bytes of g to be looked at, it may turn out to be truncated; unless it
 * cannot be opened for want of descriptors, which the copies have. */
void tail_tick_held(struct tail *t)
{
    if (!list_empty(&t->held))
        t->tick_at_ms = tail_now(t) + min_u64(200, t->hold_ms);
    LIST_FOR(it, save, &t->held)
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, held);
        uint64_t size = tail_size(f);
        if (size != f->seen_end) {
            f->seen_end = size;
            f->quiet_since_ms = tail_now(t);
        }
        bool quiet = tail_now(t) - f->quiet_since_ms >= t->hold_ms;
        bool hopeless = t->starved && !t->paused && f->held_for->fd < 0;
        if ((quiet && (hopeless || list_empty(&f->held_for->ready))) ||
            is_no_copy(f, f->held_for, size))
            release(f);
        else
            prove(f, size);
    }
}
