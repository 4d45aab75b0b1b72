/* tail.h - follows every file that one glob matches.
 *
 * What a tail knows of a file: its path, how far it has been read, a fingerprint of the bytes just
 * before that place, and, as long as it is open, a descriptor. It reads in its own uv_idle, a
 * bounded amount a turn, oldest file first and then in turn, and tells the bytes upward. It keeps
 * none of them: what the owner did not use is read again. The idle runs only while some file has
 * news and nobody has paused.
 *
 * Calling order. tail_new; tail_scan finds the files that are there (it may be called again at any
 * time: everything is looked at anew); tail_event passes on what inotify said; tail_pause(false)
 * lets it read: a tail is born paused. tail_close ends it, and `lost` is told for every file.
 *
 * Told upward (struct tail_ops), never from inside tail_new or tail_seek:
 *   knows      does the owner remember this inode, of which the file is so long now? 0: no. Those
 *              files are looked at first in a scan, the lowest number first
 *   found      a file was opened; the owner sets f->owner and says where to begin with tail_seek
 *              (default 0). False: not now; the file is closed, and looked at again on the next
 *              scan
 *   bytes      what stands at f->read_at; the owner says in *used how much it took. at_end: the
 *              file will not grow any more. The owner may ask with tail_patience to be told the
 *              same bytes again when the file has been quiet for a while. TAIL_WAIT: no more this
 *              turn, there is no room; the owner pauses the tail before the next one
 *   replaced   what was read is no longer there (truncated, or written anew in place): the file
 *              begins again at 0
 *   copied     the same, but what was read stands in the file `to` now (copytruncate): `to` takes
 *              the place of `from`, owner and all, at to->read_at; `from` begins again at 0 with a
 *              new owner
 *   renamed    the file is known by another path now
 *   settled    asked before a file is closed: is everything that was read of it delivered?
 *   missed     so many bytes (0: nobody knows), from `offset`, that had not been read are gone
 *   lost       the file was closed for good; f is freed afterwards
 *   watch_dir, watch_file, unwatch    as in watch.h
 *   complain   something about a path that a person should know: told once per path and reason, not
 *              at every scan
 *
 * Which files. Only regular files are opened (O_NONBLOCK, then fstat); a symbolic link is followed
 * only if root or the owner of its target owns the link. A second name for an inode is left alone.
 * A file whose name no longer matches (renamed, deleted) stays open until it has been read to its
 * end, was quiet for TAIL_QUIET_MS and is delivered; its last bytes are then told with at_end. A
 * file that takes the place of another at its path is read only when the other has been read up to
 * the end it had then.
 *
 * Copies. A new file of which the first bytes are those of a followed one may be a copy in the
 * making: it is held back until it is another one after all, or the followed one is truncated and
 * the bytes before its read_at are found in the copy (`copied`), or nothing has happened for
 * COPY_HOLD_MS: then it is read from 0, since in doubt data is sent again. tail_copy.c has the
 * rules.
 *
 * Descriptors. At most open_max files are open, unless more have bytes that are not delivered: the
 * least recently active ones are shut, and opened again when they have news. With twice as many
 * open, files are shut also when they end in a part of a record that the owner has left. When the
 * process runs out of descriptors the same is done, whatever open_max says.
 *
 * Polling. With `poll`, or when a directory cannot be watched, everything is looked at once in
 * TAIL_POLL_MS.
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
#define TAIL_POLL_MS    1000
#define TAIL_PATH_MAX   4096
#define COPY_HOLD_MS    5000
#define COPY_FIRST      256 /* a file shorter than this is never taken for a copy */

struct tail;

struct tail_file {
    struct tail *tail;
    char *path;
    int fd; /* -1: shut */
    uint64_t device, inode;
    int64_t mtime_ns; /* as last seen; when found, it decides who is read first */
    uint64_t read_at;
    uint64_t limit;            /* once: read no further */
    bool orphan;               /* no name of it matches any more */
    bool rotated;              /* another file has come to the path that it had */
    bool done;                 /* once: read to the limit */
    bool news;                 /* something was written since it was read last */
    bool told;                 /* bytes of it have been told since it was opened */
    bool ends_here;            /* the bytes told last are the file's last */
    bool unproven;             /* new, and not yet looked at for being a copy */
    bool was_short;            /* it was followed when it had fewer bytes than COPY_FIRST */
    int wd;                    /* its own watch, or -1 */
    uint64_t seen_end;         /* where the file ended when it was last looked at */
    uint64_t put_off;          /* the turn in which it was found to begin again */
    uint64_t told_end;         /* the owner has been told, and left, what stands up to here */
    uint64_t quiet_since_ms;   /* since when it ends there */
    uint64_t known_end;        /* it is known to have been so long, read or not */
    bool cut;                  /* and to have been shorter after that */
    uint64_t patience_ms;      /* the owner wants to hear when it has been quiet for so long */
    struct fingerprint before; /* of the bytes before read_at */
    struct fingerprint first;  /* of the first COPY_FIRST bytes; n 0: not known */
    struct position shut_at;   /* while shut: its position at read_at */
    struct tail_file *after;   /* read first what was at this path before, */
    uint64_t after_until;      /* up to here */
    struct tail_file *successor;
    unsigned copies;            /* held back for it */
    struct tail_file *held_for; /* perhaps a copy of this one, */
    uint64_t proven;            /* and surely as far as this, its end */
    char *left_path;            /* the path that it had before it lost or changed it */
    struct list link;           /* all files */
    struct list ready;          /* those with news */
    struct list open;           /* those with a descriptor, the least recently active first */
    struct list orphans, patient, held, firsts, linked, left;
    void *owner;
};

enum tail_verdict { TAIL_GO_ON, TAIL_WAIT };

struct tail_ops {
    void *ctx;
    uint64_t (*knows)(void *ctx, uint64_t inode, uint64_t size);
    bool (*found)(void *ctx, struct tail_file *f);
    enum tail_verdict (*bytes)(void *ctx, struct tail_file *f, struct str bytes, bool at_end,
                               size_t *used);
    void (*replaced)(void *ctx, struct tail_file *f);
    void (*copied)(void *ctx, struct tail_file *from, struct tail_file *to);
    void (*renamed)(void *ctx, struct tail_file *f);
    bool (*settled)(void *ctx, struct tail_file *f);
    void (*missed)(void *ctx, struct tail_file *f, uint64_t offset, uint64_t bytes,
                   const char *why);
    void (*lost)(void *ctx, struct tail_file *f);
    int (*watch_dir)(void *ctx, const char *path, bool names);
    int (*watch_file)(void *ctx, int fd);
    void (*unwatch)(void *ctx, int wd);
    void (*complain)(void *ctx, const char *path, const char *what);
};

struct tail_options {
    const char *pattern;
    char *const *excludes;
    size_t excludes_n;
    size_t record_max;
    size_t open_max; /* 0: no limit */
    bool once, poll;
};

/* Everything is copied. NULL with err: the pattern is no glob, or no memory. */
struct tail *tail_new(uv_loop_t *loop, const struct tail_options *o, const struct tail_ops *ops,
                      struct err *e);
/* Instead of TAIL_QUIET_MS, TAIL_POLL_MS and COPY_HOLD_MS; before the first scan. */
void tail_set_times(struct tail *t, uint64_t quiet_ms, uint64_t poll_ms, uint64_t hold_ms);
void tail_set_open_max(struct tail *t, size_t open_max);
/* Something was delivered: perhaps files can be shut now that could not before. */
void tail_trim(struct tail *t);
void tail_scan(struct tail *t);
void tail_event(struct tail *t, int wd, uint32_t mask, uint32_t cookie, const char *name);
/* A file that the glob matched once, by a name that it no longer matches: it is read to its end,
 * as one that has lost its name, old_path, just now; `found` says whether it is wanted.
 * tail_matches: whether the glob, and no exclusion, matches a path. */
void tail_take_up_renamed(struct tail *t, const char *path, const char *old_path);
bool tail_matches(const struct tail *t, const char *path);
void tail_pause(struct tail *t, bool pause);
void tail_close(struct tail *t, void (*on_closed)(void *ctx), void *ctx);

/* Reading goes on at this offset; false when the bytes before it cannot be read. To be called from
 * `found`, or from `bytes`, which then uses none of what it was told, or between turns. */
bool tail_seek(struct tail_file *f, uint64_t offset);
/* Between turns, because a person wants it so: the same, also for a file that is shut, which then
 * has news; and what a checkpoint at this place must say. False: nothing has changed. */
bool tail_rewind(struct tail_file *f, uint64_t offset, struct position *at);
/* From `bytes`: tell me again when the file has been quiet for so long. tail_quiet_ms: how long it
 * has ended where the bytes told end; 0 when it does not end there. */
void tail_patience(struct tail_file *f, uint64_t ms);
/* Tell again what the owner has left: he may want it now. */
void tail_tell_rest(struct tail_file *f);
uint64_t tail_quiet_ms(const struct tail_file *f);
/* The file's own bytes, for the owner: how many were read, or -1 (also when it is shut). */
ssize_t tail_pread(const struct tail_file *f, void *to, size_t n, uint64_t offset);
uint64_t tail_size(const struct tail_file *f);
/* It is open, and has no name anywhere any more: nobody can ever open it again. */
bool tail_is_deleted(const struct tail_file *f);
/* What a checkpoint at this offset (<= read_at) must say. False: the bytes are no longer those
 * that were read; then the old checkpoint must stay. Sets everything but mid_record. */
bool tail_position(struct tail_file *f, uint64_t offset, struct position *at);
/* Whether the file is the one that `at` speaks of: inode and both fingerprints. tail_holds: whether
 * its bytes are the same, whatever its inode. */
bool tail_is(const struct tail_file *f, const struct position *at);
bool tail_holds(const struct tail_file *f, const struct position *at);

bool tail_finished(const struct tail *t);
/* Something that matches could not be opened or read so far. */
bool tail_is_incomplete(const struct tail *t);
bool tail_is_polling(const struct tail *t);
struct list *tail_files(struct tail *t); /* of tail_file.link */

#endif
