/* One run of bytes, and a ring of where its frames end.
 *
 * The happy path: a line is appended, becomes a frame, is written, is named by an ok, and its bytes
 * are behind `kept`. When more than half of the memory lies there, what is kept moves to the front,
 * so that each byte moves about once and the memory stays below twice of what is kept.
 *
 * How it fails: only for want of memory, and then nothing has changed.
 */
#include "daemon/cli/window.h"

#include <stdlib.h>

#define LENGTH_BYTES 4

bool window_init(struct window *w, bool length32)
{
    *w = (struct window){.length32 = length32};
    buf_init(&w->bytes, SIZE_MAX / 2);
    w->frames = calloc(WINDOW_FRAMES_MAX, sizeof *w->frames);
    return w->frames != NULL;
}

void window_release(struct window *w)
{
    buf_release(&w->bytes);
    free(w->frames);
}

static struct window_frame *frame_at(const struct window *w, uint64_t i)
{
    return &w->frames[i % WINDOW_FRAMES_MAX];
}

/* ---- in ---- */

bool window_has_room(const struct window *w)
{
    return w->n < WINDOW_FRAMES_MAX && w->whole - w->kept < WINDOW_BYTES_MAX;
}

static void move_to_front(struct window *w)
{
    size_t gone = (size_t)(w->kept - w->origin);
    if (gone <= w->bytes.n / 2)
        return;
    memmove(w->bytes.p, w->bytes.p + gone, w->bytes.n - gone);
    w->bytes.n -= gone;
    w->origin = w->kept;
}

static uint64_t end_of(const struct window *w)
{
    return w->origin + w->bytes.n;
}

bool window_add(struct window *w, struct str bytes)
{
    static const char room_for_length[LENGTH_BYTES];
    move_to_front(w);
    if (w->length32 && end_of(w) == w->whole)
        buf_put(&w->bytes, room_for_length, LENGTH_BYTES);
    buf_put(&w->bytes, bytes.p, bytes.n);
    return !w->bytes.failed;
}

size_t window_open(const struct window *w)
{
    size_t n = (size_t)(end_of(w) - w->whole);
    return w->length32 && n > 0 ? n - LENGTH_BYTES : n;
}

void window_trim_cr(struct window *w)
{
    if (window_open(w) > 0 && w->bytes.p[w->bytes.n - 1] == '\r')
        w->bytes.n--;
}

void window_drop(struct window *w)
{
    w->bytes.n = (size_t)(w->whole - w->origin);
}

static void write_length(char *to, size_t n)
{
    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        to[i] = (char)(unsigned char)(n >> (8 * (LENGTH_BYTES - 1 - i)));
}

bool window_finish(struct window *w, struct window_place place)
{
    assert(w->n < WINDOW_FRAMES_MAX && window_open(w) > 0 && window_open(w) <= UINT32_MAX);
    if (w->length32)
        write_length(w->bytes.p + (w->whole - w->origin), window_open(w));
    else
        buf_putc(&w->bytes, '\n');
    if (w->bytes.failed)
        return false;
    w->whole = end_of(w);
    *frame_at(w, w->first + w->n++) =
        (struct window_frame){.end = w->whole, .line = place.line, .file = place.file};
    return true;
}

/* ---- out ---- */

/* Only whole frames are written: an unfinished one may still be dropped. */
struct str window_unsent(const struct window *w)
{
    if (w->sent == w->whole)
        return (struct str){0};
    return (struct str){w->bytes.p + (w->sent - w->origin), (size_t)(w->whole - w->sent)};
}

static void take_away(struct window *w)
{
    const struct window_frame *f = frame_at(w, w->first++);
    w->n--;
    w->kept = f->end;
    w->last = (struct window_place){.file = f->file, .line = f->line};
}

static void take_away_settled(struct window *w)
{
    while (w->n > 0 && w->first < w->settled && frame_at(w, w->first)->end <= w->sent)
        take_away(w);
}

static uint64_t beginning_of(const struct window *w, uint64_t i)
{
    return i == w->first ? w->kept : frame_at(w, i - 1)->end;
}

void window_sent(struct window *w, size_t n)
{
    assert(n <= w->whole - w->sent);
    w->sent += n;
    while (w->begun < w->first + w->n && beginning_of(w, w->begun) < w->sent)
        w->begun++;
    if (w->sent > w->sent_max)
        w->sent_max = w->sent;
    take_away_settled(w);
}

void window_rewind(struct window *w)
{
    while (w->n > 0 && w->first < w->settled)
        take_away(w);
    w->sent = w->kept;
    w->begun = w->connection_first = w->first;
}

/* ---- answers ---- */

/* The frame's own number, or UINT64_MAX. */
static uint64_t number_of(const struct window *w, uint64_t number)
{
    uint64_t begun = w->begun - w->connection_first;
    return number >= 1 && number <= begun ? w->connection_first + number - 1 : UINT64_MAX;
}

bool window_ok(struct window *w, uint64_t number)
{
    uint64_t i = number_of(w, number);
    if (i == UINT64_MAX)
        return false;
    if (i + 1 > w->settled)
        w->settled = i + 1;
    take_away_settled(w);
    return true;
}

bool window_bad(struct window *w, uint64_t number, const struct window_frame **frame)
{
    uint64_t i = number_of(w, number);
    if (i == UINT64_MAX || i < w->settled)
        return false; /* what is ok does not become bad */
    struct window_frame *f = frame_at(w, i);
    *frame = f->bad ? NULL : f;
    w->bad += !f->bad;
    f->bad = true;
    return true;
}

void window_forget_sent(struct window *w)
{
    w->settled = w->begun;
    take_away_settled(w);
}
