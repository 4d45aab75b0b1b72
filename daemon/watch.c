#include "daemon/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What a directory tells of its files; IN_ATTRIB because of files that become readable. */
#define DIR_MASK                                                                                   \
    (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_MODIFY | IN_DELETE_SELF |            \
     IN_MOVE_SELF | IN_ATTRIB | IN_ONLYDIR)
#define SELF_MASK (IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define FILE_MASK IN_MODIFY

struct watch {
    struct watch_ops ops;
    int fd;
    uv_poll_t poll;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

static void tell(struct watch *w, const char *bytes, size_t n)
{
    for (size_t at = 0; at + sizeof(struct inotify_event) <= n;) {
        const struct inotify_event *ev = (const struct inotify_event *)(const void *)(bytes + at);
        at += sizeof *ev + ev->len;
        if (ev->mask & IN_Q_OVERFLOW)
            w->ops.overflow(w->ops.ctx);
        else
            w->ops.event(w->ops.ctx, ev->wd, ev->mask, ev->cookie, ev->len > 0 ? ev->name : "");
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct watch *w = CONTAINER_OF(poll, struct watch, poll);
    if (status < 0)
        return;
    _Alignas(struct inotify_event) char bytes[WATCH_READ_MAX];
    ssize_t n = read(w->fd, bytes, sizeof bytes);
    if (n > 0)
        tell(w, bytes, (size_t)n);
}

struct watch *watch_new(uv_loop_t *loop, const struct watch_ops *ops, struct err *e)
{
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    w->ops = *ops;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd < 0) {
        err_set(e, ERR_IO, "inotify: %s", strerror(errno));
        free(w);
        return NULL;
    }
    uv_poll_init(loop, &w->poll, w->fd);
    uv_poll_start(&w->poll, UV_READABLE, on_readable);
    return w;
}

static int add(struct watch *w, const char *path, uint32_t mask)
{
    int wd = inotify_add_watch(w->fd, path, mask | IN_MASK_ADD);
    return wd >= 0 ? wd : -errno;
}

int watch_dir(struct watch *w, const char *path, bool names)
{
    return add(w, path, names ? DIR_MASK : SELF_MASK);
}

int watch_file(struct watch *w, int fd)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return add(w, path, FILE_MASK);
}

void watch_drop(struct watch *w, int wd)
{
    inotify_rm_watch(w->fd, wd);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct watch *w = CONTAINER_OF(handle, struct watch, poll);
    void (*on_closed)(void *) = w->on_closed;
    void *ctx = w->close_ctx;
    close(w->fd);
    free(w);
    on_closed(ctx);
}

void watch_close(struct watch *w, void (*on_closed)(void *ctx), void *ctx)
{
    w->on_closed = on_closed;
    w->close_ctx = ctx;
    uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, on_poll_closed);
}
