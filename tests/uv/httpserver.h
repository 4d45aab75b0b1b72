/* httpserver.h - a server for one test, on the test's own loop, that answers well or badly on
 * order.
 *
 *   server_open(&s, t, SERVE_ECHO);  ... requests to s.url ...  server_close(&s) waits for the end.
 *
 * It reads whole requests (header and Content-Length) and then does what `how` says; `how` may be
 * changed at any time. The last request is kept in `head` and `body`.
 */
#ifndef TESTS_HTTPSERVER_H
#define TESTS_HTTPSERVER_H

#include "tests/uv/uvtest.h"

#include "lib/buf.h"
#include "lib/list.h"

#define CONTENT_LENGTH "Content-Length: "

enum serve {
    SERVE_ECHO,        /* 200, and the body back */
    SERVE_CHUNKED,     /* the same in chunks */
    SERVE_ERROR,       /* 500 with a body */
    SERVE_REDIRECT,    /* 302 to itself */
    SERVE_CLOSE,       /* closes without an answer */
    SERVE_RESET,       /* the same with a reset */
    SERVE_CLOSE_LATER, /* echoes a connection's first request, closes at its second */
    SERVE_RESET_LATER,
    SERVE_CUT,        /* says 100 bytes and sends 10 */
    SERVE_CUT_CHUNK,  /* ends in the middle of a chunk */
    SERVE_NOTHING,    /* never answers */
    SERVE_DRIBBLE,    /* a byte every few milliseconds, `dribble_n` of them */
    SERVE_TOO_MUCH,   /* 5 MiB, without saying so before */
    SERVE_GARBAGE,    /* not HTTP */
    SERVE_BINARY,     /* not even text */
    SERVE_BAD_HEADER, /* an endless header line */
};

struct server {
    struct uvtest *t;
    uv_tcp_t listener;
    enum serve how;
    size_t dribble_n;
    char url[64];
    unsigned accepted_n, requests_n;
    unsigned open_n;
    struct list connections;
    struct buf head, body;
};

struct connection {
    uv_tcp_t tcp;
    uv_timer_t timer;
    struct list link;
    struct server *server;
    struct buf in;
    unsigned requests_n;
    unsigned handles_n;
    size_t dribbled_n;
};

struct outgoing {
    uv_write_t req;
    char bytes[];
};

static inline void connection_on_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;
    if (--c->handles_n > 0)
        return;
    list_del(&c->link);
    c->server->open_n--;
    buf_release(&c->in);
    free(c);
}

static inline void connection_close(struct connection *c, bool reset)
{
    if (uv_is_closing((uv_handle_t *)&c->tcp))
        return;
    if (!reset || uv_tcp_close_reset(&c->tcp, connection_on_closed) != 0)
        uv_close((uv_handle_t *)&c->tcp, connection_on_closed);
    uv_close((uv_handle_t *)&c->timer, connection_on_closed);
}

static inline void connection_on_written(uv_write_t *req, int status)
{
    (void)status;
    free(CONTAINER_OF(req, struct outgoing, req));
}

static inline void connection_write(struct connection *c, struct str text)
{
    struct outgoing *out = malloc(sizeof *out + text.n);
    assert_non_null(out);
    memcpy(out->bytes, text.p, text.n);
    uv_buf_t b = uv_buf_init(out->bytes, (unsigned)text.n);
    if (uv_write(&out->req, (uv_stream_t *)&c->tcp, &b, 1, connection_on_written) != 0)
        free(out);
}

static inline void connection_answer(struct connection *c, const char *status, struct str body)
{
    char head[128];
    int n =
        snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", status, body.n);
    connection_write(c, (struct str){head, (size_t)n});
    if (body.n > 0)
        connection_write(c, body);
}

static inline void connection_dribble(uv_timer_t *timer)
{
    struct connection *c = timer->data;
    connection_write(c, STR("d"));
    if (++c->dribbled_n == c->server->dribble_n)
        uv_timer_stop(timer);
}

static inline void connection_answer_chunked(struct connection *c, struct str body)
{
    char size[32];
    connection_write(c, STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (size_t at = 0; at < body.n; at += 1000) {
        size_t n = min_size(1000, body.n - at);
        snprintf(size, sizeof size, "%zx\r\n", n);
        connection_write(c, str_of(size));
        connection_write(c, (struct str){body.p + at, n});
        connection_write(c, STR("\r\n"));
    }
    connection_write(c, STR("0\r\n\r\n"));
}

static inline void connection_answer_too_much(struct connection *c)
{
    static char block[MIB];
    memset(block, 'x', sizeof block);
    connection_write(c, STR("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"));
    for (int i = 0; i < 5; i++)
        connection_write(c, (struct str){block, sizeof block});
}

static inline void connection_on_shutdown(uv_shutdown_t *req, int status)
{
    (void)status;
    connection_close(req->data, false);
    free(req);
}

/* Closes when what was written is out. */
static inline void connection_end(struct connection *c)
{
    uv_shutdown_t *req = malloc(sizeof *req);
    assert_non_null(req);
    req->data = c;
    assert_int_equal(uv_shutdown(req, (uv_stream_t *)&c->tcp, connection_on_shutdown), 0);
}

static inline void connection_serve(struct connection *c)
{
    struct server *s = c->server;
    char head[96];
    c->requests_n++;
    s->requests_n++;
    enum serve how = s->how;
    if (how == SERVE_CLOSE_LATER)
        how = c->requests_n == 1 ? SERVE_ECHO : SERVE_CLOSE;
    if (how == SERVE_RESET_LATER)
        how = c->requests_n == 1 ? SERVE_ECHO : SERVE_RESET;
    switch (how) {
    case SERVE_CLOSE:
    case SERVE_RESET:
        connection_close(c, how == SERVE_RESET);
        return;
    case SERVE_CHUNKED:
        connection_answer_chunked(c, buf_str(&s->body));
        return;
    case SERVE_ERROR:
        connection_answer(c, "500 Internal Server Error", STR("{\"__type\":\"InternalFailure\"}"));
        return;
    case SERVE_REDIRECT:
        snprintf(head, sizeof head, "HTTP/1.1 302 Found\r\nLocation: %s\r\n", s->url);
        connection_write(c, str_of(head));
        connection_write(c, STR("Content-Length: 0\r\n\r\n"));
        return;
    case SERVE_CUT:
        connection_write(c, STR("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789"));
        connection_end(c);
        return;
    case SERVE_CUT_CHUNK:
        connection_write(c,
                         STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n01234"));
        connection_end(c);
        return;
    case SERVE_NOTHING:
        return;
    case SERVE_DRIBBLE:
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", s->dribble_n);
        connection_write(c, str_of(head));
        uv_timer_start(&c->timer, connection_dribble, 5, 5);
        return;
    case SERVE_TOO_MUCH:
        connection_answer_too_much(c);
        return;
    case SERVE_GARBAGE:
        connection_write(c, STR("220 mail.example.com ESMTP\r\n"));
        return;
    case SERVE_BINARY:
        connection_write(c, STR("\0\1\2\xff\xfe\0\0\0\r\n\r\n\0"));
        return;
    case SERVE_BAD_HEADER:
        connection_write(c, STR("HTTP/1.1 200 OK\r\nX: "));
        connection_answer_too_much(c);
        return;
    default:
        connection_answer(c, "200 OK", buf_str(&s->body));
    }
}

/* Takes one whole request out of the front of what was read. */
static inline bool connection_take_request(struct connection *c)
{
    struct buf *in = &c->in;
    struct server *s = c->server;
    if (in->n == 0)
        return false;
    char *end = memmem(in->p, in->n, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    size_t head_n = (size_t)(end - in->p) + 4;
    char *length = memmem(in->p, head_n, CONTENT_LENGTH, sizeof CONTENT_LENGTH - 1);
    assert_non_null(length);
    size_t body_n = strtoull(length + sizeof CONTENT_LENGTH - 1, NULL, 10);
    if (in->n - head_n < body_n)
        return false;
    buf_reset(&s->head);
    buf_reset(&s->body);
    buf_put(&s->head, in->p, head_n);
    buf_put(&s->body, in->p + head_n, body_n);
    memmove(in->p, in->p + head_n + body_n, in->n - head_n - body_n);
    in->n -= head_n + body_n;
    return true;
}

static inline void connection_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
    static char bytes[65536];
    (void)handle;
    (void)suggested;
    *b = uv_buf_init(bytes, sizeof bytes);
}

static inline void connection_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct connection *c = stream->data;
    if (n < 0) {
        connection_close(c, false);
        return;
    }
    buf_put(&c->in, b->base, (size_t)n);
    assert_false(c->in.failed);
    while (!uv_is_closing((uv_handle_t *)stream) && connection_take_request(c))
        connection_serve(c);
}

static inline void server_on_connection(uv_stream_t *listener, int status)
{
    struct server *s = listener->data;
    assert_int_equal(status, 0);
    struct connection *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->server = s;
    buf_init(&c->in, 16 * MIB);
    uv_tcp_init(&s->t->loop, &c->tcp);
    uv_timer_init(&s->t->loop, &c->timer);
    c->tcp.data = c->timer.data = c;
    c->handles_n = 2;
    list_add_tail(&s->connections, &c->link);
    s->open_n++;
    s->accepted_n++;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&c->tcp), 0);
    uv_read_start((uv_stream_t *)&c->tcp, connection_on_alloc, connection_on_read);
}

static inline void server_open(struct server *s, struct uvtest *t, enum serve how)
{
    struct sockaddr_in a;
    int n = sizeof a;
    memset(s, 0, sizeof *s);
    s->t = t;
    s->how = how;
    list_init(&s->connections);
    buf_init(&s->head, MIB);
    buf_init(&s->body, 16 * MIB);
    uv_tcp_init(&t->loop, &s->listener);
    s->listener.data = s;
    uv_ip4_addr("127.0.0.1", 0, &a);
    assert_int_equal(uv_tcp_bind(&s->listener, (const struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&s->listener, 64, server_on_connection), 0);
    uv_tcp_getsockname(&s->listener, (struct sockaddr *)&a, &n);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u/", ntohs(a.sin_port));
}

/* The server drops every connection, as it would at a restart. */
static inline void server_drop_connections(struct server *s)
{
    LIST_FOR(it, next, &s->connections)
    {
        connection_close(CONTAINER_OF(it, struct connection, link), false);
    }
    UVTEST_UNTIL(s->t, s->open_n == 0);
}

static inline void server_close(struct server *s)
{
    server_drop_connections(s);
    uv_close((uv_handle_t *)&s->listener, NULL);
    buf_release(&s->head);
    buf_release(&s->body);
    uvtest_turn_idle(s->t);
}

/* With false the loop counts as idle although the server listens on. */
static inline void server_count_as_active(struct server *s, bool yes)
{
    void (*change)(uv_handle_t *) = yes ? uv_ref : uv_unref;
    change((uv_handle_t *)&s->listener);
    LIST_FOR(it, next, &s->connections)
    {
        change((uv_handle_t *)&CONTAINER_OF(it, struct connection, link)->tcp);
    }
}

#endif
