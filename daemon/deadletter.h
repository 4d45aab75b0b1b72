/* deadletter.h - records the service will never take, kept on disk with the reason.
 *
 * state_dir/dead-letter/SOURCE.jsonl, directory 0700, files 0600, one JSON object a line:
 *   {"time":"2026-11-23T04:05:06Z","source":"...","stream":"...","path":"...","inode":"1311",
 *    "offset":123,"size":456,"reason":"...","data":"<base64 of the first bytes>"}
 * `size` is the record's whole size; `data` may hold fewer bytes (the first max_record).
 *
 * deadletter_store queues one record: its line is formatted at once, so nothing stays borrowed. The
 * queued lines of all sources are appended and fdatasynced together in a worker thread, and then
 * stored(ctx, token, err) is called once for each, in order, on the loop, never from inside
 * deadletter_store. On an error (disk full) the file is cut back to its last whole line, err says
 * what, and the caller may store the record again later. The caller must not let the checkpoint
 * pass a record before its stored call without err. A file that ends in half a line (a process was
 * killed) is cut back to its last whole line before the next append.
 *
 * Bounds. deadletter_room tells whether a record of n data bytes still fits under `max_bytes` for
 * the whole directory (what is queued counts). deadletter_store without room answers with an err
 * (ERR_RANGE) through stored. The directory is measured at open, and again, at most once a second,
 * when room is asked for and there is none: an operator may take files away at any time; a file
 * that was moved or deleted is created anew, and so is the directory. A line is counted as its data
 * plus about 1 KiB before it exists, so a long path may take the directory past max_bytes by the
 * rest of one line. An empty directory has room for one record of any size. At most
 * DEADLETTER_QUEUE_MAX bytes of lines wait in memory, or one larger line alone: beyond that there
 * is no room for now.
 */
#ifndef DAEMON_DEADLETTER_H
#define DAEMON_DEADLETTER_H

#include <uv.h>

#include "lib/buf.h"
#include "lib/err.h"

#define DEADLETTER_DIR       "dead-letter"
#define DEADLETTER_QUEUE_MAX (8 * MIB)

struct deadletter;

struct deadletter_record {
    const char *source, *stream, *path, *reason;
    uint64_t inode; /* of the file, which may have another path by now */
    uint64_t offset;
    uint64_t size;
    struct str data;
    uint64_t wall_ms;
};

typedef void deadletter_stored_fn(void *ctx, uint64_t token, const struct err *e);

struct deadletter *deadletter_new(uv_loop_t *loop, int state_dir_fd, uint64_t max_bytes,
                                  deadletter_stored_fn *stored, void *ctx, struct err *e);
void deadletter_set_max(struct deadletter *d, uint64_t max_bytes);
bool deadletter_room(struct deadletter *d, uint64_t data_bytes);
void deadletter_store(struct deadletter *d, const struct deadletter_record *r, uint64_t token);
/* Finishes what is queued (stored is called for it, but nothing more may be stored), then frees and
 * calls on_closed, on the loop and never from inside deadletter_close. */
void deadletter_close(struct deadletter *d, void (*on_closed)(void *ctx), void *ctx);

#endif
