/* lines.h - the lines of some files, one file after the other, into a window.
 *
 * lines_pull reads at most one chunk and moves lines into the window while it has room:
 *   LINES_ON       there is more, or more may come: call it again when lines_fd can be read (or at
 *                  once, if lines_waiting) and the window has room
 *   LINES_END      every line of every file is in the window
 *   LINES_FAILED   a file cannot be read: err says which; what came before it is in the window
 *   LINES_NOMEM
 * A line is what stands before LF, or before the end of its file; a CR at its end is left off, and
 * empty lines are nothing, but they count. Lines over WINDOW_LINE_MAX are passed over, and told.
 *
 * "-" is standard input. It is only read when poll says so and never made non-blocking, for others
 * may have it open too. Directories and the like are failures; a FIFO is waited for until somebody
 * has opened it to write.
 */
#ifndef DAEMON_CLI_LINES_H
#define DAEMON_CLI_LINES_H

#include "daemon/cli/window.h"
#include "lib/err.h"

#define LINES_CHUNK (64 * KIB)

enum lines_result { LINES_ON, LINES_END, LINES_FAILED, LINES_NOMEM };

/* A line that is too long to be a frame. */
typedef void lines_tell_fn(void *ctx, struct window_place place);

struct lines {
    char *const *paths;
    unsigned n;
    lines_tell_fn *tell;
    void *ctx;
    struct window_place at; /* the line that is being read; line 0: none is yet */
    int fd;                 /* -1: the file at.file is still to be opened */
    bool too_long;          /* the line that is being read is passed over */
    char *chunk;
    size_t chunk_at, chunk_n;
};

bool lines_init(struct lines *l, char *const *paths, unsigned n, lines_tell_fn *tell, void *ctx);
void lines_release(struct lines *l);
enum lines_result lines_pull(struct lines *l, struct window *w, struct err *e);
int lines_fd(const struct lines *l);       /* to be polled; -1: nothing to wait for */
bool lines_waiting(const struct lines *l); /* bytes are read that are not in the window */
const char *lines_name(const struct lines *l, unsigned file);

#endif
