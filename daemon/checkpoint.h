/* checkpoint.h - the checkpoint on disk: state_dir/checkpoint.json, mode 0600, and beside it, when
 * there are many files, checkpoint-recent.json with the entries that have moved since (position.h
 * says how the two go together).
 *
 * checkpoint_load reads both (blocking, at start). Missing files are no error: `out` is empty then.
 * A file that cannot be read, is larger than CHECKPOINT_BYTES_MAX, or that checkpoint_decode
 * refuses is an error naming it; nothing is overwritten: the caller stops.
 *
 * checkpoint_save takes over the bytes in `text` (the buf is emptied) and writes them aside,
 * fsyncs, renames, fsyncs the directory, in a worker thread; then saved(ctx, err) is called on the
 * loop, err NULL on success. One save at a time: checkpoint_busy tells; saved() may begin the next
 * one. After a failure the last good file is still there. A buf that has failed is a failed save
 * (ERR_NOMEM).
 *
 * checkpoint_write does the same for a command-line tool that holds the lock of the state
 * directory: blocking, the whole checkpoint, with a generation of its own.
 *
 * checkpoint_close lets a save under way finish (saved is called), then calls on_closed, on the
 * loop and never from inside checkpoint_close; the store's memory must live until then.
 */
#ifndef DAEMON_CHECKPOINT_H
#define DAEMON_CHECKPOINT_H

#include <uv.h>

#include "lib/position.h"

#define CHECKPOINT_NAME        "checkpoint.json"
#define CHECKPOINT_RECENT_NAME "checkpoint-recent.json"

typedef void checkpoint_saved_fn(void *ctx, const struct err *e);

struct checkpoint_store {
    uv_loop_t *loop;
    int dir_fd; /* borrowed */
    uv_work_t work;
    bool busy;
    const char *name; /* of the file being written */
    struct buf text;
    struct err err;
    int result;
    checkpoint_saved_fn *saved;
    void *ctx;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

void checkpoint_open(struct checkpoint_store *s, uv_loop_t *loop, int dir_fd,
                     checkpoint_saved_fn *saved, void *ctx);
int checkpoint_load(int dir_fd, struct checkpoint *out, struct err *e);
int checkpoint_write(int dir_fd, struct checkpoint *c, struct err *e);
bool checkpoint_busy(const struct checkpoint_store *s);
void checkpoint_save(struct checkpoint_store *s, struct buf *text, bool whole);
void checkpoint_close(struct checkpoint_store *s, void (*on_closed)(void *ctx), void *ctx);

#endif
