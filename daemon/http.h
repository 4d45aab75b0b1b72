/* http.h - HTTP requests on the loop: a curl multi handle driven by uv_poll and one uv_timer.
 *
 * One struct http serves one stream. It has `slots` reusable transfers; which is free is the
 * caller's book-keeping (the pipeline's). Connections are kept alive and shared by the slots.
 *
 * http_send starts a POST. The url and the header lines are copied; the body is borrowed until
 * done(ctx, slot, &result) is called: exactly once, later, on the loop, never from inside
 * http_send. done may send again, on this slot too, and may close.
 *
 * result.status is the HTTP status, or 0 when there was no whole answer; then `error` says why, in
 * words. result.body is the answer's body; it lives until the next http_send on that slot, `error`
 * until done returns. An answer larger than HTTP_ANSWER_MAX is cut off as an error. A request on a
 * kept connection that turns out to be dead is sent once more on a new one, without a word.
 *
 * http_close cancels what is on its way (no done call for these), closes every handle and calls
 * on_closed when the last one is gone and the memory is freed; never from inside http_close.
 *
 * Every transfer has a connect and a total time limit, neither may be 0. TLS verification is always
 * on (peer and host); redirects are not followed; only http and https are allowed; no proxy but the
 * one in the environment (curl's own rule); HTTP/1.1; Nagle off; no "Expect:". The program ignores
 * SIGPIPE. Names are looked up in a thread of curl's. Header lines are never logged. While nothing
 * is under way, no handle is active: kept connections wake nobody.
 */
#ifndef DAEMON_HTTP_H
#define DAEMON_HTTP_H

#include <uv.h>

#include "lib/base.h"
#include "lib/err.h"

#define HTTP_SLOTS_MAX   64
#define HTTP_HEADERS_MAX 16
#define HTTP_ANSWER_MAX  (4 * MIB) /* an answer for 500 records is about 64 KiB */

struct http_request {
    const char *url;
    const char *const *headers; /* "Name: value" lines, NULL at the end */
    struct str body;
};

struct http_result {
    int status;
    struct str body;
    const char *error; /* when status is 0 */
    bool late;         /* and it was under way when its time was up */
};

struct http_options {
    unsigned slots;
    uint64_t connect_timeout_ms, total_timeout_ms;
    const char *ca_bundle;  /* NULL: the system's; copied */
    const char *user_agent; /* copied */
};

struct http;
typedef void http_done_fn(void *ctx, unsigned slot, const struct http_result *result);

struct http *http_new(uv_loop_t *loop, const struct http_options *o, http_done_fn *done, void *ctx,
                      struct err *e);
void http_send(struct http *h, unsigned slot, const struct http_request *r);
void http_set_timeouts(struct http *h, uint64_t connect_timeout_ms, uint64_t total_timeout_ms);
/* NULL: the system's; copied; for requests sent from now on. False: no memory, and nothing
 * changed. */
bool http_set_ca_bundle(struct http *h, const char *ca_bundle);
void http_close(struct http *h, void (*on_closed)(void *ctx), void *ctx);

#endif
