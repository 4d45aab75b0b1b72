/* tail.h - follows every file that one glob matches.
 *
 * What a tail knows of a file: its path, an open descriptor, how far it has been read, and a
 * fingerprint of the bytes just before that place. It reads in its own uv_idle, a bounded amount a
 * turn, oldest file first and then in turn, and tells the bytes upward. It keeps none of them:
 * what the owner did not use is read again. The idle runs only while some file has news and nobody
 * has paused.
 *
 * Calling order. tail_new; tail_scan finds the files that are there (it may be called again at any
 * time: everything is looked at anew); tail_event passes on what inotify said; tail_pause(false)
 * lets it read: a tail is born paused. tail_close ends it, and `lost` is told for every file.
 *
 * Told upward (struct tail_ops), never from inside tail_new or tail_seek:
 *   found      a file was opened; the owner sets f->owner and says where to begin with tail_seek
 *              (default 0). False: not now; the file is closed, and looked at again on the next
 *              scan.
 *   bytes      what stands at f->read_at; the owner says in *used how much it took. at_end: the
 *              file will not grow any more. TAIL_WAIT: no more this turn, there is no room; the
 *              owner pauses the tail before the next one
 *   replaced   what was read is no longer there (truncated, or written anew in place): the file
 *              begins again at 0
 *   renamed    the file is known by another path now
 *   settled    asked before an orphan is let go: is everything that was read of it delivered?
 *   lost       the file was closed; f is freed afterwards
 *   watch_dir, watch_file, unwatch    as in watch.h
 *   complain   something about a path that a person should know: told once per path and reason, not
 *              at every scan
 *
 * Which files. Only regular files are opened (O_NONBLOCK, then fstat); a symbolic link is followed
 * only if root or the owner of its target owns the link. A second name for an inode is left alone.
 * A file whose name no longer matches (renamed, deleted) stays open until it has been read to its
 * end and was quiet for TAIL_QUIET_MS; its last bytes are then told with at_end.
 *
 * `once`: every file is read to the size it had when it was found, with at_end at that place;
 * nothing is watched; tail_finished tells when all is done.
 */
#ifndef DAEMON_TAIL_H
#define DAEMON_TAIL_H

#include <uv.h>

#include "lib/list.h"
#include "lib/position.h"

#define TAIL_READ_BYTES (256 * KIB) /* a turn; fits the second-level cache */
#define TAIL_QUIET_MS   5000
#define TAIL_PATH_MAX   4096

struct tail;

struct tail_file {
    struct tail *tail;
    char *path;
    int fd;
    uint64_t device, inode;
    int64_t mtime_ns; /* when found: decides who is read first */
    uint64_t read_at;
    uint64_t limit;            /* once: read no further */
    bool orphan;               /* no name of it matches any more */
    bool done;                 /* once: read to the limit */
    int wd;                    /* its own watch, or -1 */
    uint64_t seen_end;         /* where the file ended when it was last read */
    uint64_t quiet_since_ms;   /* since when it ends there */
    struct fingerprint before; /* of the bytes before read_at */
    struct list link;          /* all files */
    struct list ready;         /* those with news */
    struct list watched;       /* those with a watch of their own */
    void *owner;
};

enum tail_verdict { TAIL_GO_ON, TAIL_WAIT };

struct tail_ops {
    void *ctx;
    bool (*found)(void *ctx, struct tail_file *f);
    enum tail_verdict (*bytes)(void *ctx, struct tail_file *f, struct str bytes, bool at_end,
                               size_t *used);
    void (*replaced)(void *ctx, struct tail_file *f);
    void (*renamed)(void *ctx, struct tail_file *f);
    bool (*settled)(void *ctx, struct tail_file *f);
    void (*lost)(void *ctx, struct tail_file *f);
    int (*watch_dir)(void *ctx, const char *path);
    int (*watch_file)(void *ctx, int fd);
    void (*unwatch)(void *ctx, int wd);
    void (*complain)(void *ctx, const char *path, const char *what);
};

struct tail *tail_new(uv_loop_t *loop, const char *pattern, bool once, size_t record_max,
                      const struct tail_ops *ops, struct err *e);
/* Instead of TAIL_QUIET_MS; before the first scan. */
void tail_set_quiet(struct tail *t, uint64_t quiet_ms);
void tail_scan(struct tail *t);
void tail_event(struct tail *t, int wd, uint32_t mask, const char *name);
void tail_pause(struct tail *t, bool pause);
void tail_close(struct tail *t, void (*on_closed)(void *ctx), void *ctx);

/* Reading goes on at this offset; false when the bytes before it cannot be read. To be called from
 * `found`, or from `bytes`, which then uses none of what it was told. */
bool tail_seek(struct tail_file *f, uint64_t offset);
/* The file's own bytes, for the owner: how many were read, or -1. */
ssize_t tail_pread(const struct tail_file *f, void *to, size_t n, uint64_t offset);
uint64_t tail_size(const struct tail_file *f);
/* What a checkpoint at this offset (<= read_at) must say. False: the bytes are no longer those
 * that were read; then the old checkpoint must stay. Sets everything but mid_record. */
bool tail_position(struct tail_file *f, uint64_t offset, struct position *at);
/* Whether the file is the one that `at` speaks of: inode and both fingerprints. */
bool tail_is(const struct tail_file *f, const struct position *at);

bool tail_finished(const struct tail *t);
struct list *tail_files(struct tail *t); /* of tail_file.link */

#endif
