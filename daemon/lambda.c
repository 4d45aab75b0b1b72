/* The calls of the runtime API: each writes a request into l->out, makes the exchange, and judges
 * the status.
 *
 * How it fails: a connection that is gone is made again, a few times, with pauses that grow; the
 * API is on the same machine, so if it is not back by then there is nobody to work for. To ask for
 * an event twice harms nothing; an answer that was given twice is refused the second time, and then
 * it has been given.
 */
#include "daemon/lambda.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/lambda_in.h"
#include "lib/json.h"

#define BASE          "/2018-06-01/runtime/"
#define TRIES         6
#define PAUSE_MS      5 /* before the second try, and four times as long before each later one */
#define MESSAGE_BYTES (16 * KIB)

/* ---- life ---- */

static bool take_port(const char *text, uint16_t *port)
{
    unsigned sum = 0;
    size_t n = strlen(text);
    for (size_t i = 0; i < n && sum <= UINT16_MAX; i++)
        sum = text[i] >= '0' && text[i] <= '9' ? sum * 10 + (unsigned)(text[i] - '0') : UINT32_MAX;
    *port = (uint16_t)sum;
    return n > 0 && n < 6 && sum > 0 && sum <= UINT16_MAX;
}

int lambda_open(struct lambda *l, const char *host_port, struct err *e)
{
    *l = (struct lambda){.fd = -1, .address.sin_family = AF_INET};
    const char *colon = strrchr(host_port, ':');
    size_t n = strlen(host_port), host_n = colon != NULL ? (size_t)(colon - host_port) : n;
    char host[sizeof l->host];
    uint16_t port = 0;
    if (n >= sizeof l->host || colon == NULL || !take_port(colon + 1, &port))
        return err_set(e, ERR_SYNTAX, "\"%.64s\" is not an address and a port", host_port);
    memcpy(host, host_port, host_n);
    host[host_n] = '\0';
    const char *number = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (inet_pton(AF_INET, number, &l->address.sin_addr) != 1)
        return err_set(e, ERR_SYNTAX, "\"%.64s\" is not an IPv4 address", host);
    l->address.sin_port = htons(port);
    memcpy(l->host, host_port, n + 1);
    buf_init(&l->in, 2 * LAMBDA_HEAD_MAX);
    buf_init(&l->body, LAMBDA_BODY_MAX);
    buf_init(&l->out, LAMBDA_HEAD_MAX);
    return 0;
}

void lambda_close(struct lambda *l)
{
    http_close(l);
    buf_release(&l->in);
    buf_release(&l->body);
    buf_release(&l->out);
}

/* ---- calls ---- */

static void begin_request(struct lambda *l, const char *method, const char *path, const char *id,
                          const char *what)
{
    buf_reset(&l->out);
    buf_printf(&l->out, "%s " BASE "%s%s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: tailrace/%s\r\n",
               method, path, id, what, l->host, TAILRACE_VERSION);
}

static void put_body_headers(struct lambda *l, size_t n)
{
    buf_printf(&l->out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", n);
}

static void pause_ms(unsigned ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static int call(struct lambda *l, struct str body, bool patient, struct lambda_reply *r,
                struct err *e)
{
    buf_puts(&l->out, "\r\n");
    if (l->out.failed)
        return err_set(e, ERR_IO, "memory ran out");
    bool again = false;
    for (unsigned try = 1, ms = PAUSE_MS;; try++) {
        bool used = l->fd >= 0; /* and so may have gone long ago */
        int rc = used ? 0 : http_connect(l, e);
        bool sent = rc == 0;
        if (sent)
            rc = http_exchange(l, body, patient, r, e);
        r->again = again;
        if (rc != ERR_BUSY)
            return rc;
        again |= sent;
        if (try == TRIES) {
            e->code = ERR_IO;
            return ERR_IO;
        }
        if (!used) {
            pause_ms(ms);
            ms *= 4;
        }
    }
}

int lambda_next(struct lambda *l, struct lambda_event *event, struct err *e)
{
    struct lambda_reply r;
    begin_request(l, "GET", "invocation/next", "", "");
    int rc = call(l, (struct str){0}, true, &r, e);
    if (rc != 0 && rc != ERR_RANGE)
        return rc;
    if (r.status != 200)
        return err_set(e, ERR_IO, "%s answers with status %u when asked for an event", l->host,
                       r.status);
    if (r.id[0] == '\0')
        return err_set(e, ERR_SYNTAX, "%s gives an event without an id", l->host);
    *event = (struct lambda_event){.body = buf_str(&l->body)};
    memcpy(event->id, r.id, sizeof r.id);
    memcpy(event->invocation_id, r.invocation_id, sizeof r.invocation_id);
    return rc == ERR_RANGE ? LAMBDA_TOO_LARGE : 0;
}

#define TOO_LARGE 413

/* What is refused when it is sent again had arrived, if nothing is wrong with it. */
static int judge(const struct lambda *l, const struct lambda_reply *r, struct err *e)
{
    if (r->status >= 200 && r->status <= 299)
        return 0;
    if (r->again && r->status <= 499 && r->status != TOO_LARGE)
        return 0;
    return err_set(e, r->status >= 500 ? ERR_IO : LAMBDA_REFUSED, "%s answers with status %u",
                   l->host, r->status);
}

static int post(struct lambda *l, struct str body, struct err *e)
{
    struct lambda_reply r;
    int rc = call(l, body, false, &r, e);
    return rc == 0 || rc == ERR_RANGE ? judge(l, &r, e) : rc;
}

static void begin_event(struct lambda *l, const struct lambda_event *event, const char *what)
{
    begin_request(l, "POST", "invocation/", event->id, what);
    if (event->invocation_id[0] != '\0')
        buf_printf(&l->out, "Lambda-Runtime-Invocation-Id: %s\r\n", event->invocation_id);
}

int lambda_answer(struct lambda *l, const struct lambda_event *event, struct str body,
                  struct err *e)
{
    begin_event(l, event, "/response");
    put_body_headers(l, body.n);
    return post(l, body, e);
}

static int post_error(struct lambda *l, const char *type, const char *message, struct err *e)
{
    struct buf body;
    buf_init(&body, MESSAGE_BYTES);
    buf_puts(&body, "{\"errorMessage\":");
    json_put_string(&body, (struct str){message, strnlen(message, MESSAGE_BYTES / 8)});
    buf_printf(&body, ",\"errorType\":\"%s\",\"stackTrace\":[]}", type);
    buf_printf(&l->out, "Lambda-Runtime-Function-Error-Type: %s\r\n", type);
    put_body_headers(l, body.n);
    int rc = body.failed ? err_set(e, ERR_IO, "memory ran out") : post(l, buf_str(&body), e);
    buf_release(&body);
    return rc;
}

int lambda_error(struct lambda *l, const struct lambda_event *event, const char *type,
                 const char *message, struct err *e)
{
    begin_event(l, event, "/error");
    return post_error(l, type, message, e);
}

int lambda_init_error(struct lambda *l, const char *type, const char *message, struct err *e)
{
    begin_request(l, "POST", "init/error", "", "");
    return post_error(l, type, message, e);
}
