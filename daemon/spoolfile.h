/* spoolfile.h - the file of a spool: made, allocated, locked, written in a worker thread.
 *
 * state_dir/spool/STREAM.spool, directory 0700, file 0600 (spoollog.h says what is in it).
 *
 * spoolfile_open makes the file if there is none: aside, with all its space allocated, synced,
 * renamed. `capacity` (bytes of data; rounded down to whole pages) counts for a new file, and for
 * one in which nothing waits, which is then made anew; else the old size is kept, and
 * spoolfile_capacity tells. The file is locked (flock) while it is open. Nothing is changed when it
 * fails, and nothing half-made is left: a full or read-only disk, something else at the path, a
 * file of a newer version or one that is damaged or cut short, one that is locked. Errors are whole
 * sentences and say what to do; blocking, for the start.
 *
 * spoolfile_write does one write in a worker thread, in the order of its pieces, and the sync after
 * them; then wrote(ctx, err) is called on the loop, never from inside. err NULL: all of it is done.
 * One at a time; what w points to must live until then. spoolfile_read reads at once, even while a
 * write is under way.
 *
 * spoolfile_close waits for the write under way (wrote is called for it), then frees and calls
 * on_closed, on the loop, never from inside.
 */
#ifndef DAEMON_SPOOLFILE_H
#define DAEMON_SPOOLFILE_H

#include <uv.h>

#include "lib/spool.h"

#define SPOOLFILE_DIR    "spool"
#define SPOOLFILE_SUFFIX ".spool"

struct spoolfile;

typedef void spoolfile_wrote_fn(void *ctx, const struct err *e);

struct spoolfile *spoolfile_open(uv_loop_t *loop, int state_dir_fd, const char *stream,
                                 uint64_t capacity, spoolfile_wrote_fn *wrote, void *ctx,
                                 struct err *e);
/* Whether the stream has one, of whatever kind. */
bool spoolfile_exists(int state_dir_fd, const char *stream);
/* The names of the streams that have one. */
void spoolfile_each(int state_dir_fd, void (*each)(void *ctx, const char *stream), void *ctx);
uint64_t spoolfile_capacity(const struct spoolfile *f);
const char *spoolfile_path(const struct spoolfile *f); /* in the state directory */

void spoolfile_write(struct spoolfile *f, const struct spool_write *w);
bool spoolfile_read(struct spoolfile *f, uint64_t place, char *to, size_t n, struct err *e);
void spoolfile_close(struct spoolfile *f, void (*on_closed)(void *ctx), void *ctx);

/* For the tool, too. spoolfile_make: a new file with nothing in it, locked, open for reading and
 * writing, not yet synced; nothing is left on failure. spoolfile_find opens and locks one that
 * exists, and reads its header; `reading` is for reading only, and takes one that is cut short.
 * ERR_MISSING; ERR_BUSY: it is locked; and what spoollog_get_header says. */
int spoolfile_make(int dir_fd, const char *name, uint64_t capacity, struct spoollog *log,
                   struct err *e);
int spoolfile_find(int dir_fd, const char *name, bool reading, struct spoollog *log, struct err *e);

#endif
