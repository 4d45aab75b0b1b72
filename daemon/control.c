/* The happy path: somebody connects and is found to be root or ourselves; bytes gather until a line
 * is whole; the line goes upward and the answer comes back at once, all of it; it is written while
 * nothing is read; then the next line.
 *
 * How it fails: a client that is too slow, in either direction, is cut off by its timer, which only
 * whole requests and whole answers wind up again; one whose request is too long is told and then
 * cut off; any error on its socket ends that client and no other. There is a fixed number of places
 * for clients: when all are taken, a connection is not accepted, libuv stops asking the kernel, and
 * the next place that becomes free accepts it.
 */
#include "daemon/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/log.h"

#define CHUNK_BYTES       (4 * KIB)
#define COMPLAIN_EVERY_MS 10000

struct client {
    struct control *control;
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_write_t write;
    unsigned handles; /* open; 0: the place is free */
    bool closing, reading;
    bool last; /* the answer that is being written ends it */
    struct buf in, out;
};

struct control {
    struct control_ops ops;
    struct unixsock file;
    uv_pipe_t listener;
    uint64_t idle_ms;
    unsigned handles;
    bool waiting; /* a connection that found no place */
    bool closing;
    size_t answers_n; /* bytes of answers under way */
    struct log_limit stranger;
    struct client clients[CONTROL_CLIENTS_MAX];
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

static void accept_one(struct control *c);
static void serve(struct client *cl);

/* ---- the end ---- */

static void handle_closed(struct control *c)
{
    if (--c->handles > 0)
        return;
    void (*on_closed)(void *) = c->on_closed;
    void *ctx = c->close_ctx;
    free(c);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void on_client_closed(uv_handle_t *handle)
{
    struct client *cl = handle->data;
    struct control *c = cl->control;
    if (--cl->handles == 0) {
        c->answers_n -= cl->out.n;
        buf_release(&cl->in);
        buf_release(&cl->out);
        if (c->waiting && !c->closing)
            accept_one(c);
    }
    handle_closed(c);
}

static void client_close(struct client *cl)
{
    if (cl->closing)
        return;
    cl->closing = true;
    uv_close((uv_handle_t *)&cl->pipe, on_client_closed);
    uv_close((uv_handle_t *)&cl->timer, on_client_closed);
}

static void on_listener_closed(uv_handle_t *handle)
{
    handle_closed(CONTAINER_OF(handle, struct control, listener));
}

void control_close(struct control *c, void (*on_closed)(void *ctx), void *ctx)
{
    c->closing = true;
    c->on_closed = on_closed;
    c->close_ctx = ctx;
    unixsock_remove(&c->file);
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (c->clients[i].handles > 0)
            client_close(&c->clients[i]);
    uv_close((uv_handle_t *)&c->listener, on_listener_closed);
}

/* ---- writing ---- */

static void on_too_slow(uv_timer_t *timer)
{
    client_close(timer->data);
}

static void wind_up(struct client *cl)
{
    uv_timer_start(&cl->timer, on_too_slow, cl->control->idle_ms, 0);
}

static void on_written(uv_write_t *write, int status)
{
    struct client *cl = write->data;
    if (cl->closing)
        return;
    if (status != 0 || cl->last) {
        client_close(cl);
        return;
    }
    cl->control->answers_n -= cl->out.n;
    buf_release(&cl->out);
    wind_up(cl);
    serve(cl);
}

static void send_answer(struct client *cl)
{
    static char no_room[] = "{\"error\":\"the answer is too long for now\"}\n";
    uv_buf_t b = uv_buf_init(no_room, sizeof no_room - 1);
    if (cl->out.failed)
        buf_release(&cl->out);
    else
        b = uv_buf_init(cl->out.p, (unsigned)cl->out.n);
    cl->control->answers_n += cl->out.n;
    cl->reading = false;
    cl->write.data = cl;
    wind_up(cl);
    uv_read_stop((uv_stream_t *)&cl->pipe);
    if (uv_write(&cl->write, (uv_stream_t *)&cl->pipe, &b, 1, on_written) != 0)
        client_close(cl);
}

static void answer(struct client *cl, struct str line)
{
    struct control *c = cl->control;
    buf_init(&cl->out, CONTROL_ANSWERS_MAX - c->answers_n);
    c->ops.request(c->ops.ctx, line, &cl->out);
    assert(cl->out.failed || cl->out.n > 0);
    send_answer(cl);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *to)
{
    (void)suggested;
    struct client *cl = handle->data;
    size_t n = min_size(CHUNK_BYTES, CONTROL_REQUEST_MAX + 1 - cl->in.n);
    char *p = buf_reserve(&cl->in, n);
    *to = uv_buf_init(p, p != NULL ? (unsigned)n : 0); /* 0: on_read gets UV_ENOBUFS */
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct client *cl = stream->data;
    if (n < 0) {
        client_close(cl);
        return;
    }
    buf_commit(&cl->in, (size_t)n);
    serve(cl);
}

static void refuse_length(struct client *cl)
{
    buf_init(&cl->out, KIB);
    buf_printf(&cl->out, "{\"error\":\"a request has at most %zu bytes\"}\n", CONTROL_REQUEST_MAX);
    cl->last = true;
    send_answer(cl);
}

/* What has come is a whole request, too much for one, or not enough yet. */
static void serve(struct client *cl)
{
    const char *end = cl->in.n > 0 ? memchr(cl->in.p, '\n', cl->in.n) : NULL;
    if (end != NULL) {
        size_t n = (size_t)(end - cl->in.p);
        answer(cl, (struct str){cl->in.p, n});
        cl->in.n -= n + 1;
        memmove(cl->in.p, end + 1, cl->in.n);
    } else if (cl->in.n > CONTROL_REQUEST_MAX) {
        refuse_length(cl);
    } else if (!cl->reading) {
        cl->reading = uv_read_start((uv_stream_t *)&cl->pipe, on_alloc, on_read) == 0;
        if (!cl->reading)
            client_close(cl);
    }
}

/* ---- who comes ---- */

static bool is_allowed(struct client *cl)
{
    struct ucred peer;
    socklen_t n = sizeof peer;
    uv_os_fd_t fd;
    return uv_fileno((const uv_handle_t *)&cl->pipe, &fd) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

static void turn_away(struct client *cl)
{
    struct control *c = cl->control;
    uint64_t held;
    if (log_limit(&c->stranger, uv_now(c->listener.loop), COMPLAIN_EVERY_MS, &held))
        log_warn(log_msg("control socket: turned away, neither root nor our own user"),
                 log_u("held_back", held));
    client_close(cl);
}

static void accept_one(struct control *c)
{
    struct client *cl = NULL;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX && cl == NULL; i++)
        if (c->clients[i].handles == 0)
            cl = &c->clients[i];
    c->waiting = cl == NULL;
    if (cl == NULL)
        return;
    *cl = (struct client){.control = c, .handles = 2};
    c->handles += 2;
    buf_init(&cl->in, CONTROL_REQUEST_MAX + 1);
    buf_init(&cl->out, 0);
    uv_pipe_init(c->listener.loop, &cl->pipe, 0);
    uv_timer_init(c->listener.loop, &cl->timer);
    cl->pipe.data = cl->timer.data = cl;
    if (uv_accept((uv_stream_t *)&c->listener, (uv_stream_t *)&cl->pipe) != 0) {
        client_close(cl);
        return;
    }
    if (!is_allowed(cl)) {
        turn_away(cl);
        return;
    }
    wind_up(cl);
    serve(cl);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct control *c = CONTAINER_OF(listener, struct control, listener);
    if (status == 0 && !c->closing)
        accept_one(c);
}

/* ---- birth ---- */

struct control *control_new(uv_loop_t *loop, const char *path, const struct control_ops *ops,
                            struct err *e)
{
    struct control *c = calloc(1, sizeof *c);
    if (c == NULL) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    const struct unixsock_options own = {.mode = 0600, .owner = (uid_t)-1, .group = (gid_t)-1};
    int fd = unixsock_open(&c->file, path, &own, e);
    if (fd < 0) {
        free(c);
        return NULL;
    }
    c->ops = *ops;
    c->idle_ms = CONTROL_IDLE_MS;
    c->handles = 1;
    uv_pipe_init(loop, &c->listener, 0);
    int rc = uv_pipe_open(&c->listener, fd);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&c->listener, SOMAXCONN, on_connection);
    else
        close(fd);
    if (rc == 0)
        return c;
    err_set(e, ERR_IO, "%.300s: %s", path, uv_strerror(rc));
    control_close(c, NULL, NULL);
    return NULL;
}

void control_set_idle(struct control *c, uint64_t idle_ms)
{
    c->idle_ms = idle_ms;
}

bool control_path(const char *configured, const char *state_dir, char to[CONTROL_PATH_MAX])
{
    const char *runtime = getenv("RUNTIME_DIRECTORY"); /* several stand with ':' between them */
    int n;
    if (configured != NULL)
        n = snprintf(to, CONTROL_PATH_MAX, "%s", configured);
    else if (runtime != NULL && runtime[0] == '/')
        n = snprintf(to, CONTROL_PATH_MAX, "%.*s/" CONTROL_NAME, (int)strcspn(runtime, ":"),
                     runtime);
    else
        n = snprintf(to, CONTROL_PATH_MAX, "%s/" CONTROL_NAME, state_dir);
    return n > 0 && n < CONTROL_PATH_MAX;
}

int control_connect(const char *path, struct err *e)
{
    return unixsock_connect(path, false, e);
}
