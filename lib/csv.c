/* A row is walked field by field. An unquoted field ends at the next delimiter, LF or CR; those are
 * found 64 bytes at a time as a bit mask, from which one field costs one bit scan. A quoted field
 * runs from quote to quote. Nothing is copied: fields borrow from the text, except the rare ones in
 * which a quote was doubled or something stood behind the closing quote. Those are marked, and put
 * right into `scratch` when the whole row is known, in one reservation, so that scratch never moves
 * under a field.
 *
 * The only failures are too many fields (the rest is walked but not kept) and memory for scratch.
 */
#include "lib/csv.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define BLOCK 64

void csv_row_init(struct csv_row *row, size_t scratch_max)
{
    row->n = row->begin = row->used = 0;
    row->no_quotes = false;
    buf_init(&row->scratch, scratch_max);
}

void csv_row_release(struct csv_row *row)
{
    row->n = 0;
    buf_release(&row->scratch);
}

/* Where unquoted fields end: bit i of `mask` says that p[base + i] is a delimiter, LF or CR. */
struct ends {
    const char *p;
    size_t n, base;
    uint64_t mask;
    char delimiter;
};

#if defined(__SSE2__)
static inline uint64_t mask_of(const char *p, char delimiter)
{
    const __m128i d = _mm_set1_epi8(delimiter);
    const __m128i lf = _mm_set1_epi8('\n'), cr = _mm_set1_epi8('\r');
    uint64_t mask = 0;
    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, lf), _mm_cmpeq_epi8(v, cr));
        hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, d));
        mask |= (uint64_t)(unsigned)_mm_movemask_epi8(hit) << i;
    }
    return mask;
}
#else
static inline uint64_t mask_of(const char *p, char delimiter)
{
    uint64_t mask = 0;
    for (unsigned i = 0; i < BLOCK; i++) {
        bool hit = p[i] == delimiter || p[i] == '\n' || p[i] == '\r';
        mask |= (uint64_t)hit << i;
    }
    return mask;
}
#endif

static void load(struct ends *e, size_t base)
{
    size_t left = e->n - base;
    e->base = base;
    if (left >= BLOCK) {
        e->mask = mask_of(e->p + base, e->delimiter);
        return;
    }
    char last[BLOCK] = {0};
    memcpy(last, e->p + base, left);
    e->mask = mask_of(last, e->delimiter) & ((UINT64_C(1) << left) - 1);
}

/* The offset of the first end at or after `from`, or e->n. */
static inline size_t next_end(struct ends *e, size_t from)
{
    for (;;) {
        if (from - e->base < BLOCK) {
            uint64_t mask = e->mask >> (from - e->base);
            if (mask != 0)
                return from + (size_t)__builtin_ctzll(mask);
            from = e->base + BLOCK;
        }
        if (from >= e->n)
            return e->n;
        load(e, from);
    }
}

/* A field as walked: text.p[begin..begin+n), and whether it must be copied to be right. */
struct walked {
    size_t begin, n;
    bool rough;
};

/* A field whose opening quote is at `at`. Returns where it ends, as next_end does. */
static size_t walk_quoted(struct ends *e, size_t at, struct walked *w)
{
    size_t begin = at + 1;
    *w = (struct walked){.begin = begin};
    for (at = begin;; at += 2) {
        const char *quote = at < e->n ? memchr(e->p + at, '"', e->n - at) : NULL;
        if (quote == NULL) {
            w->n = e->n - begin;
            return e->n;
        }
        at = (size_t)(quote - e->p);
        if (at + 1 == e->n || e->p[at + 1] != '"')
            break;
        w->rough = true;
    }
    size_t end = next_end(e, at + 1);
    if (end > at + 1)
        w->rough = true;
    w->n = (w->rough ? end : at) - begin;
    return end;
}

/* Undoes the quoting of a field whose opening quote is already gone; returns its new length. */
static size_t undo_quotes(char *to, const char *p, size_t n)
{
    const char *begin = to, *end = p + n;
    while (p < end) {
        const char *quote = memchr(p, '"', (size_t)(end - p));
        size_t run = (size_t)((quote != NULL ? quote : end) - p);
        memcpy(to, p, run);
        to += run;
        p += run;
        if (quote == NULL)
            break;
        if (end - p < 2 || p[1] != '"') { /* the closing quote: what follows is data as it is */
            size_t rest = (size_t)(end - p) - 1;
            memcpy(to, p + 1, rest);
            to += rest;
            break;
        }
        *to++ = '"';
        p += 2;
    }
    return (size_t)(to - begin);
}

/* Rough fields are marked by the top bit of their length, which no real length has. */
#define ROUGH ((SIZE_MAX >> 1) + 1)

static bool smooth(struct csv_row *row)
{
    char *to = buf_reserve(&row->scratch, row->used - row->begin);
    if (to == NULL)
        return false;
    for (size_t i = 0; i < row->n; i++) {
        struct str *field = &row->fields[i];
        if ((field->n & ROUGH) == 0)
            continue;
        size_t n = undo_quotes(to, field->p, field->n & ~ROUGH);
        *field = (struct str){to, n};
        to += n;
        buf_commit(&row->scratch, n);
    }
    return true;
}

static size_t past_empty_rows(struct str text)
{
    size_t at = 0;
    while (at < text.n && (text.p[at] == '\n' || text.p[at] == '\r'))
        at++;
    return at;
}

static enum csv_result give_up(struct csv_row *row, enum csv_result why)
{
    row->n = 0;
    return why;
}

enum csv_result csv_row_next(struct csv_row *row, struct str text, char delimiter, bool at_end)
{
    assert(delimiter != '"' && delimiter != '\n' && delimiter != '\r');
    struct ends ends = {.p = text.p, .n = text.n, .delimiter = delimiter};
    bool rough = false, wide = false;
    size_t at = row->begin = row->used = past_empty_rows(text);
    row->n = 0;
    if (at == text.n)
        return CSV_MORE;
    load(&ends, at);
    for (;;) {
        struct walked w = {.begin = at};
        size_t end;
        if (at < text.n && text.p[at] == '"' && !row->no_quotes) {
            end = walk_quoted(&ends, at, &w);
        } else {
            end = next_end(&ends, at);
            w.n = end - at;
        }
        if (end == text.n && !at_end)
            return give_up(row, CSV_MORE);
        if (row->n < CSV_FIELDS_MAX) {
            row->fields[row->n++] = (struct str){text.p + w.begin, w.n | (w.rough ? ROUGH : 0)};
            rough |= w.rough;
        } else {
            wide = true;
        }
        at = end + 1;
        if (end == text.n || text.p[end] != delimiter) {
            row->used = min_size(at, text.n);
            break;
        }
    }
    buf_reset(&row->scratch);
    if (rough && !smooth(row))
        return give_up(row, CSV_NOMEM);
    return wide ? CSV_WIDE : CSV_ROW;
}

bool csv_scan(struct csv_scan *s, struct str text, char delimiter)
{
    while (s->looked < text.n) {
        if (s->state == CSV_QUOTED) {
            const char *quote = memchr(text.p + s->looked, '"', text.n - s->looked);
            s->looked = quote != NULL ? (size_t)(quote - text.p) + 1 : text.n;
            if (quote != NULL)
                s->state = CSV_AT_QUOTE;
            continue;
        }
        char c = text.p[s->looked];
        if (c == '\n' || c == '\r')
            return true;
        if (c == delimiter)
            s->state = CSV_AT_FIELD;
        else if (c == '"' && s->state != CSV_PLAIN &&
                 !s->no_quotes) /* an opening one, or the second of two */
            s->state = CSV_QUOTED;
        else
            s->state = CSV_PLAIN;
        s->looked++;
    }
    return false;
}

size_t csv_pass_line(struct str text, bool at_end, bool *over)
{
    size_t at = 0;
    while (at < text.n && text.p[at] != '\n' && text.p[at] != '\r')
        at++;
    bool cr = at < text.n && text.p[at] == '\r', last = at + 1 >= text.n;
    *over = at_end || (at < text.n && !(cr && last));
    if (!*over || at == text.n)
        return at;
    return at + (cr && !last && text.p[at + 1] == '\n' ? 2 : 1);
}

size_t csv_last_end(struct str text)
{
    size_t at = text.n;
    while (at > 0 && text.p[at - 1] != '\n' && text.p[at - 1] != '\r')
        at--;
    return at;
}
