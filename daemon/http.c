/* The happy path: http_send hands an easy handle to the multi handle; curl asks for a timer, and
 * from then on every step is an answer to an event: on_poll and on_timer pass the event to
 * curl_multi_socket_action, curl says through on_curl_socket and on_curl_timer what to wait for
 * next, and collect() takes finished transfers out and tells the caller.
 *
 *   on_curl_* never call back into curl (curl forbids it); collect runs only outside of curl, so
 * that done() may start the next transfer or close everything.
 *
 * How it fails: what curl reports becomes a result with status 0 and curl's words. What fails
 * before curl has the transfer (memory, a URL longer than curl takes) is kept in the slot and told
 * from the timer, so that done() never comes from inside http_send. libuv stops watching a socket
 * in error; curl then reads and writes once to find out for itself, because only an error it saw in
 * a read makes it repeat a request on a new connection when a kept one had gone stale.
 *
 * A watcher ends when curl has no more use for its socket: one that was kept would, when it is
 * closed later, make libuv forget whatever socket has the number by then, also one of another
 * stream. While no transfer is under way neither a watcher nor the timer is active: an idle stream
 * wakes nobody.
 */
#include "daemon/http.h"

#include <curl/curl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/buf.h"
#include "lib/list.h"

/* So that a request of 500 records goes out in one write after its header. */
#define UPLOAD_CHUNK  (256 * KIB)
#define ANSWER_CHUNK  (64 * KIB)
#define ANSWER_KEEP   (256 * KIB) /* memory a slot keeps for its next answer */
#define DNS_KEEP_S    60
#define HTTP_LINE_MAX (64 * KIB) /* a header line; session tokens have no documented bound */

struct watcher {
    uv_poll_t poll;
    struct list link;
    struct http *http;
    curl_socket_t fd;
    int events; /* what curl wants to hear of; 0: not in use */
};

struct slot {
    struct http *http;
    unsigned index;
    CURL *easy;
    bool busy;
    CURLcode refused; /* CURLE_OK, or why curl did not even take the transfer */
    struct buf answer;
    struct buf lines; /* of the header; a session token may be among them */
    struct curl_slist headers[HTTP_HEADERS_MAX + 1]; /* into lines, and one for "Expect:" */
    char error[CURL_ERROR_SIZE];
};

struct http {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    struct list watchers;
    unsigned open_n; /* handles whose close callback is still to come */
    unsigned refused_n;
    uint64_t connect_timeout_ms, total_timeout_ms;
    char *ca_bundle; /* NULL: the system's */
    http_done_fn *done;
    void *ctx;
    bool closing;
    void (*on_closed)(void *ctx);
    void *close_ctx;
    unsigned slots_n;
    struct slot slots[];
};

static void collect(struct http *h);

static void on_handle_closed(struct http *h)
{
    if (--h->open_n > 0)
        return;
    void (*on_closed)(void *) = h->on_closed;
    void *close_ctx = h->close_ctx;
    free(h);
    if (on_closed != NULL)
        on_closed(close_ctx);
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_handle_closed(CONTAINER_OF(handle, struct http, timer));
}

static void on_watcher_closed(uv_handle_t *handle)
{
    struct watcher *w = CONTAINER_OF(handle, struct watcher, poll);
    struct http *h = w->http;
    free(w);
    on_handle_closed(h);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void watcher_start(struct watcher *w)
{
    int rc = uv_poll_start(&w->poll, w->events, on_poll);
    assert(rc == 0); /* fails only for a handle that is closing */
    (void)rc;
}

static void watcher_close(struct watcher *w)
{
    w->events = 0;
    list_del(&w->link);
    uv_close((uv_handle_t *)&w->poll, on_watcher_closed);
}

static struct watcher *watcher_new(struct http *h, curl_socket_t fd)
{
    struct watcher *w = calloc(1, sizeof *w);
    if (w == NULL || uv_poll_init_socket(h->loop, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->http = h;
    w->fd = fd;
    list_add_tail(&h->watchers, &w->link);
    h->open_n++;
    return w;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watcher *w = CONTAINER_OF(poll, struct watcher, poll);
    struct http *h = w->http;
    int mask = (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
               (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    if (status < 0)
        mask = CURL_CSELECT_IN | CURL_CSELECT_OUT;
    int running;
    curl_multi_socket_action(h->multi, w->fd, mask, &running);
    if (w->events != 0 && !uv_is_active((uv_handle_t *)poll))
        watcher_start(w);
    collect(h);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    struct http *h = ctx;
    struct watcher *w = socket_ctx;
    (void)easy;
    if (h->closing)
        return 0;
    if (what == CURL_POLL_REMOVE) {
        if (w == NULL)
            return 0;
        curl_multi_assign(h->multi, fd, NULL);
        watcher_close(w);
        return 0;
    }
    if (w == NULL) {
        w = watcher_new(h, fd);
        if (w == NULL)
            return -1;
        curl_multi_assign(h->multi, fd, w);
    }
    w->events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    if (w->events != 0)
        watcher_start(w);
    else
        uv_poll_stop(&w->poll);
    return 0;
}

static void tell_refused(struct http *h)
{
    for (unsigned i = 0; i < h->slots_n && h->refused_n > 0 && !h->closing; i++) {
        struct slot *s = &h->slots[i];
        if (s->refused == CURLE_OK)
            continue;
        struct http_result result = {.error = curl_easy_strerror(s->refused)};
        s->refused = CURLE_OK;
        s->busy = false;
        h->refused_n--;
        h->done(h->ctx, i, &result);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct http *h = CONTAINER_OF(timer, struct http, timer);
    int running;
    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(h);
    tell_refused(h);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct http *h = ctx;
    (void)multi;
    if (h->closing)
        return 0;
    if (h->refused_n > 0)
        timeout_ms = 0;
    if (timeout_ms < 0)
        uv_timer_stop(&h->timer);
    else
        uv_timer_start(&h->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

static size_t on_answer_bytes(char *p, size_t size, size_t n, void *ctx)
{
    struct slot *s = ctx;
    buf_put(&s->answer, p, size * n);
    return s->answer.failed ? 0 : size * n; /* 0 ends the transfer as CURLE_WRITE_ERROR */
}

/* A connection that is not made in time says nothing of the request. */
static bool is_late(const struct slot *s, CURLcode code)
{
    curl_off_t ready_us = 0;
    curl_easy_getinfo(s->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
    return code == CURLE_OPERATION_TIMEDOUT && ready_us > 0;
}

static struct http_result result_of(const struct slot *s, CURLcode code)
{
    if (code == CURLE_OK) {
        long status = 0;
        curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
        return (struct http_result){.status = (int)status, .body = buf_str(&s->answer)};
    }
    if (code == CURLE_WRITE_ERROR && s->answer.failed)
        return (struct http_result){.error = "the answer is too large, or no memory for it"};
    const char *error = s->error[0] != '\0' ? s->error : curl_easy_strerror(code);
    return (struct http_result){.error = error, .late = is_late(s, code)};
}

/* Not within curl, so done() may send, and may close: then the rest is dropped. */
static void collect(struct http *h)
{
    CURLMsg *m;
    int left;
    while (!h->closing && (m = curl_multi_info_read(h->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        struct slot *s = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&s);
        curl_multi_remove_handle(h->multi, s->easy); /* m is gone with it */
        struct http_result result = result_of(s, code);
        s->busy = false;
        h->done(h->ctx, s->index, &result);
    }
}

/* Everything that is the same for every request. The first refusal is the answer. */
static bool prepare(struct slot *s, const struct http_options *o)
{
    CURLcode bad = CURLE_OK;
#define SET(option, value) bad = bad != CURLE_OK ? bad : curl_easy_setopt(s->easy, option, value)
    SET(CURLOPT_PRIVATE, (char *)s);
    SET(CURLOPT_ERRORBUFFER, s->error);
    SET(CURLOPT_WRITEFUNCTION, on_answer_bytes);
    SET(CURLOPT_WRITEDATA, s);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_CHUNK);
    SET(CURLOPT_BUFFERSIZE, (long)ANSWER_CHUNK);
    SET(CURLOPT_DNS_CACHE_TIMEOUT, (long)DNS_KEEP_S);
    /* Without it a transfer that times out while a name is looked up blocks the loop until the
     * resolver's thread gives up. */
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (o->user_agent != NULL)
        SET(CURLOPT_USERAGENT, o->user_agent);
#undef SET
    return bad == CURLE_OK;
}

static bool prepare_multi(struct http *h)
{
    CURLMcode bad = CURLM_OK;
#define SET(option, value) bad = bad != CURLM_OK ? bad : curl_multi_setopt(h->multi, option, value)
    SET(CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    SET(CURLMOPT_SOCKETDATA, h);
    SET(CURLMOPT_TIMERFUNCTION, on_curl_timer);
    SET(CURLMOPT_TIMERDATA, h);
    SET(CURLMOPT_MAX_HOST_CONNECTIONS, (long)h->slots_n);
    SET(CURLMOPT_MAXCONNECTS, (long)h->slots_n);
#undef SET
    return bad == CURLM_OK;
}

static void release_curl(struct http *h)
{
    for (unsigned i = 0; i < h->slots_n; i++) {
        struct slot *s = &h->slots[i];
        if (s->busy)
            curl_multi_remove_handle(h->multi, s->easy);
        curl_easy_cleanup(s->easy);
        buf_release(&s->answer);
        buf_wipe_release(&s->lines);
    }
    if (h->multi != NULL)
        curl_multi_cleanup(h->multi);
    curl_global_cleanup();
    free(h->ca_bundle);
}

static bool slots_init(struct http *h, const struct http_options *o)
{
    for (unsigned i = 0; i < h->slots_n; i++) {
        struct slot *s = &h->slots[i];
        s->http = h;
        s->index = i;
        buf_init(&s->answer, HTTP_ANSWER_MAX);
        buf_init(&s->lines, HTTP_HEADERS_MAX * HTTP_LINE_MAX);
        s->easy = curl_easy_init();
        if (s->easy == NULL || !prepare(s, o))
            return false;
    }
    return true;
}

struct http *http_new(uv_loop_t *loop, const struct http_options *o, http_done_fn *done, void *ctx,
                      struct err *e)
{
    assert(o->slots > 0 && o->slots <= HTTP_SLOTS_MAX);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        err_set(e, ERR_NOMEM, "libcurl cannot be initialised");
        return NULL;
    }
    struct http *h = calloc(1, sizeof *h + o->slots * sizeof h->slots[0]);
    if (h != NULL) {
        h->loop = loop;
        h->slots_n = o->slots;
        h->done = done;
        h->ctx = ctx;
        h->multi = curl_multi_init();
        list_init(&h->watchers);
        http_set_timeouts(h, o->connect_timeout_ms, o->total_timeout_ms);
    }
    if (h == NULL || h->multi == NULL || !prepare_multi(h) || !slots_init(h, o) ||
        !http_set_ca_bundle(h, o->ca_bundle)) {
        err_set(e, ERR_NOMEM, "no memory for %u HTTP transfers, or libcurl lacks an option",
                o->slots);
        if (h != NULL)
            release_curl(h);
        else
            curl_global_cleanup();
        free(h);
        return NULL;
    }
    uv_timer_init(loop, &h->timer);
    h->open_n = 1;
    return h;
}

void http_set_timeouts(struct http *h, uint64_t connect_timeout_ms, uint64_t total_timeout_ms)
{
    assert(connect_timeout_ms > 0 && total_timeout_ms > 0); /* 0 would mean no limit to curl */
    h->connect_timeout_ms = min_u64(connect_timeout_ms, INT_MAX);
    h->total_timeout_ms = min_u64(total_timeout_ms, INT_MAX);
}

bool http_set_ca_bundle(struct http *h, const char *ca_bundle)
{
    char *copy = ca_bundle != NULL ? strdup(ca_bundle) : NULL;
    if (copy == NULL && ca_bundle != NULL)
        return false;
    free(h->ca_bundle);
    h->ca_bundle = copy;
    return true;
}

/* Where the certificates to trust are: with a bundle the system's do not count. A connection that
 * is kept is used again only for the certificates that it was made with. */
static CURLcode apply_trust(struct slot *s)
{
    const char *file = s->http->ca_bundle;
    char *system_file = NULL, *system_dir = NULL;
    if (file == NULL) {
        curl_easy_getinfo(s->easy, CURLINFO_CAINFO, &system_file);
        curl_easy_getinfo(s->easy, CURLINFO_CAPATH, &system_dir);
        file = system_file;
    }
    CURLcode bad = curl_easy_setopt(s->easy, CURLOPT_CAINFO, file);
    return bad != CURLE_OK ? bad : curl_easy_setopt(s->easy, CURLOPT_CAPATH, system_dir);
}

/* curl reads the lines when the connection is there, and again when it repeats the request on
 * another one. They are copied: by then the caller may have new credentials or a new host. The list
 * lives as long as the slot. NULL: no memory. */
static struct curl_slist *link_headers(struct slot *s, const char *const *lines)
{
    static char no_expect[] = "Expect:"; /* or curl waits a second for a 100 before a large body */
    size_t n = 0, bytes = 0, at = 0;
    for (; lines[n] != NULL; n++)
        bytes += strlen(lines[n]) + 1;
    assert(n <= HTTP_HEADERS_MAX);
    buf_wipe_release(&s->lines); /* not reset: to grow would leave a copy behind */
    char *to = buf_reserve(&s->lines, bytes + 1);
    if (to == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t size = strlen(lines[i]) + 1;
        memcpy(to + at, lines[i], size);
        s->headers[i] = (struct curl_slist){to + at, &s->headers[i + 1]};
        at += size;
    }
    buf_commit(&s->lines, bytes);
    s->headers[n] = (struct curl_slist){no_expect, NULL};
    return s->headers;
}

static CURLcode apply(struct slot *s, const struct http_request *r)
{
    const struct http *h = s->http;
    struct curl_slist *headers = link_headers(s, r->headers);
    CURLcode bad = headers == NULL ? CURLE_OUT_OF_MEMORY : apply_trust(s);
#define SET(option, value) bad = bad != CURLE_OK ? bad : curl_easy_setopt(s->easy, option, value)
    SET(CURLOPT_URL, r->url);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.n);
    SET(CURLOPT_POSTFIELDS, r->body.n > 0 ? r->body.p : "");
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)h->connect_timeout_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)h->total_timeout_ms);
#undef SET
    return bad;
}

void http_send(struct http *h, unsigned slot, const struct http_request *r)
{
    assert(slot < h->slots_n && !h->closing && !h->slots[slot].busy);
    struct slot *s = &h->slots[slot];
    s->busy = true;
    s->error[0] = '\0';
    buf_shrink(&s->answer, ANSWER_KEEP);
    s->refused = apply(s, r);
    if (s->refused == CURLE_OK && curl_multi_add_handle(h->multi, s->easy) != CURLM_OK)
        s->refused = CURLE_OUT_OF_MEMORY;
    if (s->refused != CURLE_OK) {
        h->refused_n++;
        uv_timer_start(&h->timer, on_timer, 0, 0);
    }
}

void http_close(struct http *h, void (*on_closed)(void *ctx), void *ctx)
{
    assert(!h->closing);
    h->closing = true;
    h->on_closed = on_closed;
    h->close_ctx = ctx;
    /* curl closes the sockets below: nobody may watch them by then. */
    LIST_FOR(it, next, &h->watchers)
    {
        watcher_close(CONTAINER_OF(it, struct watcher, link));
    }
    release_curl(h);
    uv_close((uv_handle_t *)&h->timer, on_timer_closed);
}
