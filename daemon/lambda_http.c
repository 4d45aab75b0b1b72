/* A request goes out in one piece, and then bytes are read as they are needed: the head, line by
 * line once its end is there; then the body, straight to where it stays if its length is known.
 *
 * How it fails: a connection that ends, or is silent for too long, is ERR_BUSY, wherever it was.
 * What cannot be read as HTTP, or is longer than its bounds, is given up together with the
 * connection, for nobody knows where the next answer would begin.
 */
#include "daemon/lambda_in.h"

#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define WAIT_MS        30000
#define INTERIM_MAX    8 /* answers of 1xx before the real one */
#define CHUNK_LINE_MAX 1024
#define READ_BYTES     (16 * KIB)

/* ---- the connection ---- */

void http_close(struct lambda *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    buf_reset(&l->in);
    l->used = 0;
}

int http_connect(struct lambda *l, struct err *e)
{
    const int one = 1;
    const struct timeval wait = {.tv_sec = WAIT_MS / 1000};
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return err_set(e, ERR_IO, "socket: %s", strerror(errno));
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(l->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait); /* connect's too */
    if (connect(l->fd, (const struct sockaddr *)(const void *)&l->address, sizeof l->address) == 0)
        return 0;
    err_set(e, ERR_BUSY, "connect to %s: %s", l->host, strerror(errno));
    http_close(l);
    return ERR_BUSY;
}

static int send_all(struct lambda *l, struct str head, struct str body, struct err *e)
{
    while (head.n + body.n > 0) {
        struct iovec iov[2] = {{(void *)(uintptr_t)head.p, head.n},
                               {(void *)(uintptr_t)body.p, body.n}};
        const struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
        ssize_t sent = sendmsg(l->fd, &m, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return err_set(e, ERR_BUSY, "send to %s: %s", l->host, strerror(errno));
        size_t of_head = min_size((size_t)sent, head.n), of_body = (size_t)sent - of_head;
        head = (struct str){head.p + of_head, head.n - of_head};
        if (of_body > 0) /* of no body p is NULL */
            body = (struct str){body.p + of_body, body.n - of_body};
    }
    return 0;
}

/* At least one byte; *got may be less than n. */
static int receive(struct lambda *l, char *to, size_t n, bool patient, size_t *got, struct err *e)
{
    for (;;) {
        struct pollfd p = {.fd = l->fd, .events = POLLIN};
        int ready = poll(&p, 1, patient ? -1 : WAIT_MS);
        ssize_t r = ready > 0 ? recv(l->fd, to, n, 0) : -1;
        if (ready == 0)
            return err_set(e, ERR_BUSY, "%s has been silent for %d s", l->host, WAIT_MS / 1000);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return err_set(e, ERR_BUSY, "receive from %s: %s", l->host,
                           r < 0 ? strerror(errno) : "the connection has ended");
        *got = (size_t)r;
        return 0;
    }
}

static int receive_more(struct lambda *l, bool patient, struct err *e)
{
    if (l->used > 0) {
        memmove(l->in.p, l->in.p + l->used, l->in.n - l->used);
        l->in.n -= l->used;
        l->used = 0;
    }
    char *to = buf_reserve(&l->in, READ_BYTES);
    if (to == NULL)
        return err_set(e, ERR_SYNTAX, "%s sends a head without end", l->host);
    size_t got = 0;
    int rc = receive(l, to, READ_BYTES, patient, &got, e);
    if (rc == 0)
        buf_commit(&l->in, got);
    return rc;
}

/* The next line without its end, borrowed from l->in until more is received. */
static int read_line(struct lambda *l, size_t max, bool patient, struct str *line, struct err *e)
{
    for (size_t looked = 0;;) {
        struct str rest = {0}; /* before anything was received there is no l->in.p */
        if (l->in.n > l->used)
            rest = (struct str){l->in.p + l->used, l->in.n - l->used};
        const char *end = rest.n > looked ? memchr(rest.p + looked, '\n', rest.n - looked) : NULL;
        size_t n = end != NULL ? (size_t)(end - rest.p) : rest.n;
        if (n > max)
            return err_set(e, ERR_SYNTAX, "%s sends a line over %zu bytes", l->host, max);
        if (end != NULL) {
            *line = (struct str){rest.p, n > 0 && end[-1] == '\r' ? n - 1 : n};
            l->used += n + 1;
            return 0;
        }
        looked = rest.n;
        int rc = receive_more(l, patient && rest.n == 0, e);
        if (rc != 0)
            return rc;
    }
}

/* ---- the head ---- */

static bool is_header(struct str line, const char *name, struct str *value)
{
    size_t n = strlen(name);
    if (line.n <= n || line.p[n] != ':' || strncasecmp(line.p, name, n) != 0)
        return false;
    struct str v = {line.p + n + 1, line.n - n - 1};
    while (v.n > 0 && (*v.p == ' ' || *v.p == '\t'))
        v = (struct str){v.p + 1, v.n - 1};
    while (v.n > 0 && (v.p[v.n - 1] == ' ' || v.p[v.n - 1] == '\t'))
        v.n--;
    *value = v;
    return true;
}

static bool same_word(struct str a, const char *b)
{
    return a.n == strlen(b) && strncasecmp(a.p, b, a.n) == 0;
}

static bool read_number(struct str digits, unsigned base, size_t *number)
{
    size_t sum = 0;
    for (size_t i = 0; i < digits.n; i++) {
        int c = digits.p[i] | 0x20;
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 99;
        if (digits.p[i] < '0' || digit >= base || sum > (SIZE_MAX - digit) / base)
            return false;
        sum = sum * base + digit;
    }
    *number = sum;
    return digits.n > 0;
}

/* An id becomes a part of a path and a header: nothing in it may end one. */
static bool take_id(struct str value, char id[LAMBDA_ID_MAX + 1])
{
    if (value.n == 0 || value.n > LAMBDA_ID_MAX)
        return false;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!word && memchr("-_.=+:", c, 6) == NULL)
            return false;
    }
    memcpy(id, value.p, value.n);
    id[value.n] = '\0';
    return true;
}

static bool take_header(struct lambda_reply *r, struct str line)
{
    struct str value;
    if (is_header(line, "Content-Length", &value)) {
        size_t before = r->length;
        bool again = r->has_length;
        r->has_length = read_number(value, 10, &r->length);
        return r->has_length && (!again || before == r->length);
    }
    if (is_header(line, "Transfer-Encoding", &value))
        return r->chunked = same_word(value, "chunked");
    if (is_header(line, "Connection", &value))
        r->keep = r->keep && !same_word(value, "close");
    if (is_header(line, "Lambda-Runtime-Aws-Request-Id", &value))
        return take_id(value, r->id);
    if (is_header(line, "Lambda-Runtime-Invocation-Id", &value))
        return take_id(value, r->invocation_id);
    return true;
}

static bool take_status(struct lambda_reply *r, struct str line)
{
    size_t status;
    if (line.n < 12 || memcmp(line.p, "HTTP/1.", 7) != 0 || line.p[8] != ' ' ||
        (line.n > 12 && line.p[12] != ' ') ||
        !read_number((struct str){line.p + 9, 3}, 10, &status))
        return false;
    *r = (struct lambda_reply){.status = (unsigned)status, .keep = line.p[7] == '1'};
    return true;
}

static int read_head(struct lambda *l, bool patient, struct lambda_reply *r, struct err *e)
{
    struct str line;
    size_t total = 0;
    int rc = read_line(l, LAMBDA_HEAD_MAX, patient, &line, e);
    if (rc == 0 && !take_status(r, line))
        return err_set(e, ERR_SYNTAX, "%s answers with something that is not HTTP/1", l->host);
    while (rc == 0 && line.n > 0) {
        total += line.n;
        if (total > LAMBDA_HEAD_MAX)
            return err_set(e, ERR_SYNTAX, "%s sends a head over %zu bytes", l->host,
                           LAMBDA_HEAD_MAX);
        rc = read_line(l, LAMBDA_HEAD_MAX, false, &line, e);
        if (rc == 0 && line.n > 0 && !take_header(r, line))
            return err_set(e, ERR_SYNTAX, "%s sends a header that cannot be right", l->host);
    }
    return rc;
}

/* ---- the body ---- */

static int too_large(struct lambda *l, struct err *e)
{
    return err_set(e, ERR_RANGE, "%s sends a body over %zu bytes", l->host, LAMBDA_BODY_MAX);
}

/* n more bytes of the body: those that are there, and then straight from the connection. */
static int read_bytes(struct lambda *l, size_t n, struct err *e)
{
    if (n > LAMBDA_BODY_MAX - l->body.n)
        return too_large(l, e);
    if (n > 0 && buf_reserve(&l->body, n) == NULL)
        return err_set(e, ERR_SYNTAX, "memory ran out");
    size_t here = min_size(n, l->in.n - l->used);
    buf_put(&l->body, l->in.p + l->used, here);
    l->used += here;
    for (n -= here; n > 0;) {
        size_t got = 0;
        int rc = receive(l, l->body.p + l->body.n, n, false, &got, e);
        if (rc != 0)
            return rc;
        buf_commit(&l->body, got);
        n -= got;
    }
    return 0;
}

static int read_chunks(struct lambda *l, struct err *e)
{
    for (;;) {
        struct str line, digits;
        size_t n;
        int rc = read_line(l, CHUNK_LINE_MAX, false, &line, e);
        if (rc != 0)
            return rc;
        for (digits = (struct str){line.p, 0}; digits.n < line.n; digits.n++)
            if (memchr("; \t", line.p[digits.n], 3) != NULL)
                break;
        if (!read_number(digits, 16, &n))
            return err_set(e, ERR_SYNTAX, "%s sends a chunk without a length", l->host);
        if (n == 0)
            return 0;
        rc = read_bytes(l, n, e);
        if (rc == 0)
            rc = read_line(l, CHUNK_LINE_MAX, false, &line, e);
        if (rc != 0)
            return rc;
        if (line.n > 0)
            return err_set(e, ERR_SYNTAX, "%s sends a chunk longer than it says", l->host);
    }
}

static int read_trailers(struct lambda *l, struct err *e)
{
    struct str line = {0};
    size_t total = 0;
    do {
        int rc = read_line(l, LAMBDA_HEAD_MAX, false, &line, e);
        if (rc != 0)
            return rc;
        total += line.n;
        if (total > LAMBDA_HEAD_MAX)
            return err_set(e, ERR_SYNTAX, "%s sends trailers without end", l->host);
    } while (line.n > 0);
    return 0;
}

static int read_body(struct lambda *l, const struct lambda_reply *r, struct err *e)
{
    buf_reset(&l->body);
    if (!r->chunked)
        return read_bytes(l, r->length, e);
    int rc = read_chunks(l, e);
    return rc == 0 ? read_trailers(l, e) : rc;
}

/* ---- an exchange ---- */

static int read_answer(struct lambda *l, bool patient, struct lambda_reply *r, struct err *e)
{
    for (unsigned i = 0; i < INTERIM_MAX; i++) {
        int rc = read_head(l, patient, r, e);
        if (rc != 0)
            return rc;
        if (r->status < 100 || r->status > 199)
            return read_body(l, r, e);
    }
    return err_set(e, ERR_SYNTAX, "%s never comes to its answer", l->host);
}

int http_exchange(struct lambda *l, struct str body, bool patient, struct lambda_reply *r,
                  struct err *e)
{
    int rc = send_all(l, buf_str(&l->out), body, e);
    if (rc == 0)
        rc = read_answer(l, patient, r, e);
    bool whole = rc == 0 && l->used == l->in.n && (r->chunked || r->has_length);
    if (!whole || !r->keep)
        http_close(l);
    return rc;
}
