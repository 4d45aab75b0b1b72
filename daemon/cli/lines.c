/* The happy path: a file is opened, a chunk of it read, and each LF in the chunk ends a line; at
 * the end of the file the next one is opened.
 *
 * How it fails: a file that cannot be opened or read ends it all, with a sentence; a line that
 * grows too long is dropped as soon as that is certain, and the rest of it passed over.
 */
#include "daemon/cli/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

bool lines_init(struct lines *l, char *const *paths, unsigned n, lines_tell_fn *tell, void *ctx)
{
    *l = (struct lines){.paths = paths, .n = n, .tell = tell, .ctx = ctx, .fd = -1};
    l->chunk = malloc(LINES_CHUNK);
    return l->chunk != NULL;
}

static void close_file(struct lines *l)
{
    if (l->fd > STDIN_FILENO)
        close(l->fd);
    l->fd = -1;
}

void lines_release(struct lines *l)
{
    close_file(l);
    free(l->chunk);
}

const char *lines_name(const struct lines *l, unsigned file)
{
    return strcmp(l->paths[file], "-") == 0 ? "stdin" : l->paths[file];
}

int lines_fd(const struct lines *l)
{
    return l->fd;
}

bool lines_waiting(const struct lines *l)
{
    return l->chunk_at < l->chunk_n || (l->fd < 0 && l->at.file < l->n);
}

/* ---- lines ---- */

static bool is_too_long(struct lines *l, struct window *w, size_t more)
{
    if (!l->too_long && window_open(w) + more <= WINDOW_LINE_MAX + 1) /* a CR may go yet */
        return false;
    window_drop(w);
    l->too_long = true;
    return true;
}

static bool finish_line(struct lines *l, struct window *w)
{
    bool done = true;
    window_trim_cr(w);
    if (window_open(w) > WINDOW_LINE_MAX)
        l->too_long = true;
    if (l->too_long)
        l->tell(l->ctx, l->at);
    if (l->too_long || window_open(w) == 0)
        window_drop(w);
    else
        done = window_finish(w, l->at);
    l->too_long = false;
    l->at.line++;
    return done;
}

static bool take_lines(struct lines *l, struct window *w)
{
    while (l->chunk_at < l->chunk_n && window_has_room(w)) {
        const char *from = l->chunk + l->chunk_at;
        size_t left = l->chunk_n - l->chunk_at;
        const char *lf = memchr(from, '\n', left);
        size_t n = lf != NULL ? (size_t)(lf - from) : left;
        if (!is_too_long(l, w, n) && n > 0 && !window_add(w, (struct str){from, n}))
            return false;
        l->chunk_at += lf != NULL ? n + 1 : n;
        if (lf != NULL && !finish_line(l, w))
            return false;
    }
    return true;
}

/* ---- files ---- */

static int open_file(struct lines *l, struct err *e)
{
    const char *path = l->paths[l->at.file];
    l->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    l->at.line = 1;
    return l->fd >= 0 ? 0 : err_set(e, ERR_IO, "%.400s: %s", path, strerror(errno));
}

static int read_chunk(struct lines *l, bool *ended, struct err *e)
{
    *ended = false;
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    if (poll(&p, 1, 0) <= 0)
        return 0;
    ssize_t n = read(l->fd, l->chunk, LINES_CHUNK);
    if (n < 0 && errno != EINTR && errno != EAGAIN)
        return err_set(e, ERR_IO, "%.400s: %s", lines_name(l, l->at.file), strerror(errno));
    *ended = n == 0;
    l->chunk_at = 0;
    l->chunk_n = n > 0 ? (size_t)n : 0;
    return 0;
}

/* A last line without an end is a line. False: no memory. */
static bool end_file(struct lines *l, struct window *w)
{
    if ((window_open(w) > 0 || l->too_long) && !finish_line(l, w))
        return false;
    close_file(l);
    l->at = (struct window_place){.file = l->at.file + 1};
    return true;
}

enum lines_result lines_pull(struct lines *l, struct window *w, struct err *e)
{
    if (l->at.file == l->n)
        return LINES_END;
    if (l->fd < 0 && open_file(l, e) != 0)
        return LINES_FAILED;
    if (!take_lines(l, w))
        return LINES_NOMEM;
    if (!window_has_room(w))
        return LINES_ON;
    bool ended;
    if (read_chunk(l, &ended, e) != 0)
        return LINES_FAILED;
    if (!take_lines(l, w))
        return LINES_NOMEM;
    if (ended && !end_file(l, w)) /* it has taken nothing, so there is room */
        return LINES_NOMEM;
    return l->at.file == l->n ? LINES_END : LINES_ON;
}
