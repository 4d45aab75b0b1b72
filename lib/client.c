/* A client's bytes become frames, and its frames are numbered and answered.
 *
 * The happy path: the bytes of one read hold some whole frames, which are put one after the other
 * straight from where they were read, and the beginning of one more, which is held until the rest
 * of it has come. Each finished frame leaves a mark, at what position the spool must be safe for it
 * to be; client_acknowledge passes marks and says ok.
 *
 * When there is no room, everything from the frame at hand on is held and nothing more is read; a
 * frame is offered to put_frame again until it is through, under the same number.
 */
#include "lib/client_in.h"

#include <inttypes.h>

#define HELD_KEEP (4 * KIB) /* memory that an idle client may keep */

/* What is at hand: the bytes that came, behind those that were held. */
struct run {
    struct client *c;
    struct now now;
    struct str rest;
    bool end;
};

void client_init(struct client *c, struct client_home *home, const struct client_peer *peer)
{
    *c = (struct client){.home = home, .peer = *peer};
    framer_reset(&c->framer, false);
    buf_init(&c->held, SIZE_MAX / 2);
    buf_init(&c->answers, 2 * CLIENT_ANSWERS_MAX);
}

static size_t counted(const struct client *c)
{
    return c->held.n > CLIENT_HELD_FREE ? c->held.n - CLIENT_HELD_FREE : 0;
}

void client_release(struct client *c)
{
    c->home->held -= counted(c);
    buf_release(&c->held);
    buf_release(&c->answers);
}

/* ---- answers ---- */

void say_bad(struct client *c, const char *reason)
{
    if (!c->home->answers || c->bad)
        return;
    c->bad = true;
    char line[CLIENT_REASON_BYTES];
    size_t n = 0;
    for (; reason[n] != '\0' && n < sizeof line; n++)
        line[n] = (unsigned char)reason[n] < ' ' ? ' ' : reason[n];
    buf_printf(&c->answers, "bad %" PRIu64 " %.*s\n", c->frames, (int)n, line);
}

static void mark(struct client *c)
{
    if (!c->home->answers)
        return;
    if (c->marks_n == CLIENT_MARKS_MAX)
        c->marks_n--; /* the last two are told together */
    unsigned at = (c->marks_at + c->marks_n++) % CLIENT_MARKS_MAX;
    c->marks[at].frame = c->frames;
    c->marks[at].position = spool_end(c->home->spool);
}

bool client_is_waiting(const struct client *c)
{
    return c->marks_n > 0;
}

bool client_acknowledge(struct client *c, uint64_t safe)
{
    uint64_t frame = 0;
    while (c->marks_n > 0 && c->marks[c->marks_at].position <= safe) {
        frame = c->marks[c->marks_at].frame;
        c->marks_at = (c->marks_at + 1) % CLIENT_MARKS_MAX;
        c->marks_n--;
    }
    if (frame > 0)
        buf_printf(&c->answers, "ok %" PRIu64 "\n", frame);
    return !c->answers.failed;
}

/* ---- frames ---- */

static size_t frame_max(const struct client *c)
{
    const struct shape_spec *spec = c->home->spec;
    return spec->split_arrays ? CLIENT_FRAME_MAX : spec->max_record;
}

static void pass(struct run *r, size_t n)
{
    if (n == 0)
        return; /* the rest may be nothing, and nowhere */
    r->rest.p += n;
    r->rest.n -= n;
}

static enum client_result finish_frame(struct run *r, struct str text, bool cut, size_t used)
{
    struct client *c = r->c;
    if (!c->in_frame) {
        c->in_frame = true;
        c->bad = false;
        c->element = 0;
        c->frames++;
    }
    enum client_result result = text.n > 0 ? put_frame(c, r->now, text, cut) : CLIENT_GO_ON;
    if (result != CLIENT_GO_ON)
        return result;
    c->in_frame = false;
    mark(c);
    pass(r, used);
    return c->answers.failed ? CLIENT_BREAK : CLIENT_GO_ON;
}

static void drop_rest(struct run *r)
{
    if (r->rest.n > 0 || r->c->skip > 0)
        r->c->home->stats->frames_cut++;
    r->c->skip = 0;
    pass(r, r->rest.n);
}

/* *more: there is no whole frame left. */
static enum client_result next_line(struct run *r, bool *more)
{
    struct client *c = r->c;
    struct frame frame;
    bool at_end = r->end && !c->home->answers;
    switch (framer_line(&c->framer, r->rest, frame_max(c), at_end, &frame)) {
    case FRAME_RECORD:
        if (frame.data.n > 0)
            return finish_frame(r, frame.data, false, frame.used);
        pass(r, frame.used);
        return CLIENT_GO_ON;
    case FRAME_SKIPPED:
        pass(r, frame.used);
        return CLIENT_GO_ON;
    case FRAME_OVERSIZE: {
        enum client_result result = finish_frame(r, frame.data, true, frame.used);
        if (result != CLIENT_GO_ON)
            framer_reset(&c->framer, false); /* it is looked at again, from its beginning */
        return result;
    }
    case FRAME_MORE:
    case FRAME_NOMEM:
        break;
    }
    *more = true;
    return CLIENT_GO_ON;
}

static uint32_t length_of(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static enum client_result next_message(struct run *r, bool *more)
{
    struct client *c = r->c;
    size_t skipped = (size_t)min_u64(c->skip, r->rest.n);
    c->skip -= skipped;
    pass(r, skipped);
    *more = r->rest.n < 4;
    if (*more)
        return CLIENT_GO_ON;
    size_t n = length_of(r->rest.p);
    bool cut = n > frame_max(c);
    size_t here = cut ? c->home->spec->max_record : n; /* of one that is too long, its beginning */
    *more = r->rest.n - 4 < here;
    if (*more)
        return CLIENT_GO_ON;
    enum client_result result = finish_frame(r, (struct str){r->rest.p + 4, here}, cut, 4 + here);
    if (result == CLIENT_GO_ON)
        c->skip = n - here;
    return result;
}

static enum client_result run(struct run *r)
{
    struct client *c = r->c;
    enum client_result result = CLIENT_GO_ON;
    bool more = false;
    while (result == CLIENT_GO_ON && !more) {
        if (c->answers.n + c->untaken >= CLIENT_ANSWERS_MAX)
            return CLIENT_WAIT;
        result = c->home->framing == CLIENT_LINES ? next_line(r, &more) : next_message(r, &more);
    }
    if (result == CLIENT_GO_ON && r->end)
        drop_rest(r);
    return result;
}

/* ---- bytes ---- */

/* Afterwards exactly `rest` is held, which stands at the end of what was held, or elsewhere. */
static bool hold(struct client *c, struct str rest, bool is_held)
{
    struct client_home *home = c->home;
    home->held -= counted(c);
    if (rest.n == 0) {
        buf_reset(&c->held);
        buf_shrink(&c->held, HELD_KEEP);
    } else if (is_held) {
        c->held_at = c->held.n - rest.n;
    } else {
        assert(c->held.n == 0);
        buf_put(&c->held, rest.p, rest.n);
    }
    if (rest.n == 0 || !is_held)
        c->held_at = 0;
    home->held += counted(c);
    return !c->held.failed && home->held <= CLIENT_HELD_MAX;
}

/* Moved to the front only when half of it is behind us, so that each byte moves about once. */
static bool append(struct client *c, struct str bytes)
{
    c->home->held -= counted(c);
    if (c->held_at > c->held.n / 2) {
        memmove(c->held.p, c->held.p + c->held_at, c->held.n - c->held_at);
        c->held.n -= c->held_at;
        c->held_at = 0;
    }
    buf_put(&c->held, bytes.p, bytes.n);
    c->home->held += counted(c);
    return !c->held.failed;
}

static struct str held(const struct client *c)
{
    return (struct str){c->held.p + c->held_at, c->held.n - c->held_at};
}

static enum client_result go_on(struct client *c, struct now now, struct str bytes, bool end)
{
    bool is_held = c->held.n > 0;
    if (is_held && bytes.n > 0 && !append(c, bytes))
        return CLIENT_BREAK;
    struct run r = {.c = c, .now = now, .rest = is_held ? held(c) : bytes, .end = end};
    enum client_result result = run(&r);
    return hold(c, r.rest, is_held) ? result : CLIENT_BREAK;
}

enum client_result client_feed(struct client *c, struct now now, struct str bytes)
{
    return go_on(c, now, bytes, false);
}

enum client_result client_resume(struct client *c, struct now now)
{
    return go_on(c, now, (struct str){0}, false);
}

enum client_result client_end(struct client *c, struct now now)
{
    return go_on(c, now, (struct str){0}, true);
}

bool client_has_room(const struct client_home *home)
{
    const struct spool *sp = home->spool;
    if (spool_failed(sp) != NULL && home->answers)
        return false;
    if (spool_is_exhausted(sp))
        return home->on_full != CLIENT_BLOCK;
    switch (home->on_full) {
    case CLIENT_DROP_NEWEST:
        return spool_has_memory(sp);
    case CLIENT_DROP_OLDEST: /* until it is refused, nobody makes room for it */
        return spool_makes_room(sp) ? spool_has_room(sp) : spool_has_memory(sp);
    case CLIENT_BLOCK:
        break;
    }
    return spool_has_room(sp);
}

bool client_is_unfinished(const struct client *c)
{
    return c->held.n > 0 || c->skip > 0 || c->framer.skipping;
}

/* ---- datagrams ---- */

bool client_datagram(struct client *c, struct now now, const struct client_peer *peer,
                     struct str bytes, bool whole)
{
    if (bytes.n > 0 && (bytes.p[bytes.n - 1] == '\n' || bytes.p[bytes.n - 1] == '\0'))
        bytes.n--; /* writers of lines, and of C strings */
    if (bytes.n == 0)
        return true;
    size_t max = frame_max(c);
    c->peer = *peer;
    if (!c->in_frame)
        c->element = 0;
    c->in_frame = true;
    bool cut = !whole || bytes.n > max;
    if (put_frame(c, now, (struct str){bytes.p, min_size(bytes.n, max)}, cut) != CLIENT_GO_ON)
        return false;
    c->in_frame = false;
    return true;
}
