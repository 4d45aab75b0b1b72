/* buf.h - a capped writer with a sticky error.
 *
 * Append twenty things, check once: when memory runs out or `max` bytes would be passed, `failed`
 * is set, the append does nothing, and so do all later ones. Nothing is ever half appended.
 *
 *   struct buf b;
 *   buf_init(&b, MIB);            owns nothing yet
 *   buf_put(&b, p, n); ...
 *   if (b.failed) ...             the one check
 *   buf_release(&b);              frees; the buf may be initialised again
 *
 * buf_reset empties, clears `failed` and keeps the memory. buf_reserve makes room for n bytes (at
 * least 1) and returns where they go (NULL once failed); buf_commit says how many were written. A
 * buf is not NUL-terminated unless buf_cstr is called, which appends a NUL without counting it;
 * the NUL needs room under `max` all the same, there and in buf_printf.
 */
#ifndef LIB_BUF_H
#define LIB_BUF_H

#include "lib/base.h"

struct buf {
    char *p;
    size_t n;   /* bytes written */
    size_t cap; /* bytes allocated */
    size_t max; /* never more than this */
    bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b);
void buf_wipe_release(struct buf *b); /* for secrets: zeroed first */
void buf_reset(struct buf *b);
void buf_shrink(struct buf *b, size_t keep_max); /* frees the memory if more than keep_max */

bool buf_grow(struct buf *b, size_t more); /* the slow path of buf_reserve */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_puts(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *buf_cstr(struct buf *b); /* NULL once failed */

static inline char *buf_reserve(struct buf *b, size_t more)
{
    if (!b->failed && b->cap - b->n >= more)
        return b->p + b->n;
    return buf_grow(b, more) ? b->p + b->n : NULL;
}

static inline void buf_commit(struct buf *b, size_t n)
{
    assert(b->cap - b->n >= n);
    b->n += n;
}

static inline void buf_putc(struct buf *b, char c)
{
    char *to = buf_reserve(b, 1);
    if (to != NULL) {
        *to = c;
        b->n++;
    }
}

static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->p, b->n};
}

#endif
