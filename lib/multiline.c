/* An event grows line by line: the framer remembers how many whole lines it has and where they end.
 * The next line is judged as soon as its end, or enough of it, is in sight; then either the event
 * ends before it, or the line is waited for and added. A line that ends an event is searched for
 * its end a second time, as the first line of the next one; it is not judged again, for a first
 * line is not judged at all.
 *
 * A match can fail for want of memory; then the same call is made again. A match that is given up
 * at its limits is no match, which may put two events together or cut one, but loses nothing.
 */
#include "lib/multiline.h"

#include <stdlib.h>

#include "lib/pattern.h"
#include "lib/record.h"

struct multiline {
    struct pattern *pattern;
    bool match_begins; /* a match begins an event; else it goes on with one */
    uint64_t max_lines;
    struct buf line; /* as UTF-8, where the file is in another encoding */
};

struct multiline *multiline_new(const struct multiline_spec *spec, struct err *e)
{
    struct multiline *m = calloc(1, sizeof *m);
    if (m == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    m->match_begins = spec->start != NULL;
    m->max_lines = spec->max_lines;
    buf_init(&m->line, ENCODING_GROWTH * MULTILINE_LOOK_MAX + 8);
    m->pattern = pattern_new(m->match_begins ? spec->start : spec->continues, PATTERN_START, e);
    if (m->pattern == NULL) {
        free(m);
        return NULL;
    }
    return m;
}

void multiline_free(struct multiline *m)
{
    if (m == NULL)
        return;
    pattern_free(m->pattern);
    buf_release(&m->line);
    free(m);
}

/* ---- one line ---- */

enum verdict { GOES_ON, BEGINS, CANNOT_TELL };

static enum verdict judge(struct multiline *m, struct framer *f, struct str line, unsigned *limits)
{
    line.n = min_size(line.n, MULTILINE_LOOK_MAX);
    if (f->encoding != ENCODING_UTF8) {
        buf_reset(&m->line);
        encoding_to_utf8(&m->line, line, f->encoding);
        if (m->line.failed)
            return CANNOT_TELL;
        line = buf_str(&m->line);
    }
    enum pattern_result matched = pattern_match(m->pattern, line);
    if (matched == PATTERN_NOMEM)
        return CANNOT_TELL;
    *limits += matched == PATTERN_LIMIT;
    return (matched == PATTERN_YES) == m->match_begins ? BEGINS : GOES_ON;
}

/* The line after the event's last, as far as it can be seen. */
struct ahead {
    size_t begin, seen; /* bytes from begin to seen are searched */
    size_t lf;          /* SIZE_MAX: not in sight */
    size_t text_end;    /* of its text, as far as it is seen */
    bool whole;         /* its end is in sight, or the bytes end */
};

static struct ahead look_ahead(const struct framer *f, struct str text, size_t room, bool at_end)
{
    size_t unit = framer_unit(f);
    struct ahead a = {.begin = f->lines_end, .seen = min_size(text.n, room + 2 * unit)};
    size_t from = f->looked > a.begin ? f->looked : a.begin;
    a.lf = framer_find(f, text, from, a.seen);
    bool last = at_end && a.seen == text.n;
    a.whole = a.lf != SIZE_MAX || last;
    if (!last)
        a.seen -= a.seen % unit;
    a.text_end = a.lf != SIZE_MAX ? framer_text_end(f, text, a.begin, a.lf) : a.seen;
    return a;
}

/* ---- events ---- */

static void add_line(struct framer *f, size_t text_end, size_t end)
{
    if (text_end > f->lines_end)
        f->data_n = text_end;
    f->lines++;
    f->lines_end = f->looked = end;
    f->judged = false;
}

static enum frame_result finish(struct framer *f, struct str text, struct frame *frame)
{
    frame->data = (struct str){text.p, f->data_n};
    frame->used = f->lines_end;
    enum shape_encoding encoding = f->encoding;
    framer_reset(f, false);
    f->encoding = encoding;
    return FRAME_RECORD;
}

/* FRAME_MORE: the line was added, or *stuck says that more bytes are needed. */
static enum frame_result go_on(struct multiline *m, struct framer *f, struct str text, size_t room,
                               bool at_end, bool *stuck, struct frame *frame)
{
    size_t unit = framer_unit(f);
    *stuck = text.n <= f->lines_end;
    if (f->lines_end >= room || f->lines >= m->max_lines)
        return finish(f, text, frame);
    if (*stuck)
        return FRAME_MORE;
    struct ahead a = look_ahead(f, text, room, at_end);
    if (a.text_end > room && (a.whole || a.seen >= room + 2 * unit))
        return finish(f, text, frame);
    bool enough = a.whole || a.seen - a.begin >= MULTILINE_LOOK_MAX + unit;
    if (enough && !f->judged) {
        struct str line = {text.p + a.begin, a.text_end - a.begin};
        enum verdict v = judge(m, f, line, &frame->limits);
        if (v == CANNOT_TELL)
            return FRAME_NOMEM;
        if (v == BEGINS)
            return finish(f, text, frame);
        f->judged = true;
    }
    *stuck = !a.whole;
    if (a.whole)
        add_line(f, a.text_end, a.lf != SIZE_MAX ? a.lf + unit : text.n);
    else
        f->looked = a.seen;
    return FRAME_MORE;
}

/* The room of a key, so that an event cut for its size can be sent whole. */
static size_t event_room(const struct framer *f, size_t max)
{
    size_t room = max - min_size(RECORD_KEY_BYTES_MAX, max / 8);
    return room - room % framer_unit(f);
}

static enum frame_result first_line(struct framer *f, struct str text, size_t max, bool at_end,
                                    struct frame *frame)
{
    enum frame_result r = framer_line(f, text, max, at_end, frame);
    if (r != FRAME_RECORD || frame->data.n == 0)
        return r;
    add_line(f, frame->data.n, frame->used);
    *frame = (struct frame){0};
    return FRAME_MORE;
}

enum frame_result multiline_next(struct multiline *m, struct framer *f, struct str text, size_t max,
                                 enum multiline_wait wait, struct frame *frame)
{
    bool at_end = wait == MULTILINE_END, stuck = false;
    size_t room = event_room(f, max);
    *frame = (struct frame){0};
    enum frame_result r = FRAME_MORE;
    if (f->lines == 0)
        r = first_line(f, text, max, at_end, frame);
    while (r == FRAME_MORE && f->lines > 0 && !stuck)
        r = go_on(m, f, text, room, at_end, &stuck, frame);
    if (r == FRAME_MORE && f->lines > 0 && wait != MULTILINE_WAIT)
        return finish(f, text, frame);
    return r;
}
