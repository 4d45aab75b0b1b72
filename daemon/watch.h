/* watch.h - one inotify descriptor on the loop, for all sources.
 *
 * Our own, and not libuv's uv_fs_event, because that hides the queue's overflow: here
 * IN_Q_OVERFLOW is told (`overflow`), and means that anything may have happened: look at
 * everything again.
 *
 * watch_dir tells what happens to the names in a directory and to their files (names), or only that
 * the directory itself is moved or removed. watch_dir and watch_file return a watch descriptor (the
 * same one for the same inode), or -errno: ENOSPC means the limit of watches is reached. Events are
 * told as event(ctx, wd, mask, cookie, name); name is "" for the watched object itself. IN_IGNORED
 * is told too: the descriptor is gone. watch_drop forgets one. At most WATCH_READ_MAX bytes of
 * events are told a turn.
 */
#ifndef DAEMON_WATCH_H
#define DAEMON_WATCH_H

#include <sys/inotify.h>
#include <uv.h>

#include "lib/base.h"
#include "lib/err.h"

#define WATCH_READ_MAX (64 * KIB)

struct watch_ops {
    void *ctx;
    void (*event)(void *ctx, int wd, uint32_t mask, uint32_t cookie, const char *name);
    void (*overflow)(void *ctx);
};

struct watch;

struct watch *watch_new(uv_loop_t *loop, const struct watch_ops *ops, struct err *e);
int watch_dir(struct watch *w, const char *path, bool names);
int watch_file(struct watch *w, int fd);
void watch_drop(struct watch *w, int wd);
void watch_close(struct watch *w, void (*on_closed)(void *ctx), void *ctx);

#endif
