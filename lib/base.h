/* base.h - the few words every other file uses.
 *
 * A struct str is a borrowed run of bytes: it owns nothing, need not end in NUL, and lives only as
 * long as what it points into. Times are unsigned milliseconds: `mono` counts from any start and
 * never goes back, `wall` counts from 1970-01-01 UTC and may jump.
 */
#ifndef LIB_BASE_H
#define LIB_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})

static inline struct str str_of(const char *text)
{
    return (struct str){text, text ? strlen(text) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What time it is, as told by the caller: lib/ has no clock of its own. */
struct now {
    uint64_t mono_ms;
    uint64_t wall_ms;
};

#endif
