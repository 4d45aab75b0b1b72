#include "tests/uv/uvtest.h"

#include <dlfcn.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "daemon/http.h"
#include "tests/uv/httpserver.h"

#define SLOTS 4

struct answer {
    unsigned n; /* done calls for this slot */
    int status;
    char error[300];
    struct buf body;
};

struct client {
    struct uvtest *t;
    struct http *http;
    struct answer answers[SLOTS];
    unsigned done_n, closed_n;
    bool sending; /* inside http_send: done may not come */
    unsigned again_n;
    const char *again_url;
    bool close_in_done;
};

static const char *const HEADERS[] = {"Content-Type: application/x-amz-json-1.1",
                                      "X-Amz-Target: Kinesis_20131202.PutRecords", NULL};

static void on_closed(void *ctx)
{
    struct client *c = ctx;
    c->closed_n++;
    c->http = NULL;
}

static void send_to(struct client *c, unsigned slot, const char *url, struct str body)
{
    struct http_request r = {.url = url, .headers = HEADERS, .body = body};
    unsigned before = c->done_n;
    c->sending = true;
    http_send(c->http, slot, &r);
    c->sending = false;
    assert_int_equal(c->done_n, before);
}

static void on_done(void *ctx, unsigned slot, const struct http_result *r)
{
    struct client *c = ctx;
    struct answer *a = &c->answers[slot];
    assert_false(c->sending);
    assert_int_equal(c->closed_n, 0);
    c->done_n++;
    a->n++;
    a->status = r->status;
    assert_true((r->status == 0) == (r->error != NULL));
    snprintf(a->error, sizeof a->error, "%s", r->error != NULL ? r->error : "");
    buf_reset(&a->body);
    buf_put(&a->body, r->body.p, r->body.n);
    if (c->again_n > 0) {
        c->again_n--;
        send_to(c, slot, c->again_url, STR("again"));
    }
    if (c->close_in_done) {
        c->close_in_done = false;
        http_close(c->http, on_closed, c);
    }
}

static void client_open_with(struct client *c, struct uvtest *t, const struct http_options *o)
{
    struct err e;
    memset(c, 0, sizeof *c);
    c->t = t;
    for (unsigned i = 0; i < SLOTS; i++)
        buf_init(&c->answers[i].body, 8 * MIB);
    c->http = http_new(&t->loop, o, on_done, c, &e);
    assert_non_null(c->http);
}

static void client_open(struct client *c, struct uvtest *t)
{
    const struct http_options o = {.slots = SLOTS,
                                   .connect_timeout_ms = 10000,
                                   .total_timeout_ms = 15000,
                                   .user_agent = "tailrace-test"};
    client_open_with(c, t, &o);
}

static void client_close(struct client *c)
{
    if (c->http != NULL) {
        http_close(c->http, on_closed, c);
        assert_int_equal(c->closed_n, 0);
    }
    UVTEST_UNTIL(c->t, c->closed_n == 1);
    for (unsigned i = 0; i < SLOTS; i++)
        buf_release(&c->answers[i].body);
}

static const struct answer *ask(struct client *c, const char *url, struct str body)
{
    unsigned before = c->done_n;
    send_to(c, 0, url, body);
    UVTEST_UNTIL(c->t, c->done_n == before + 1);
    return &c->answers[0];
}

static struct str big_body(size_t n)
{
    static char bytes[7 * MIB];
    assert_true(n <= sizeof bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 31 + i / 251); /* every byte value, NUL included */
    return (struct str){bytes, n};
}

static void a_request_arrives_as_given_and_its_answer_comes_back(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ECHO);
    client_open(&c, *state);
    static const size_t SIZES[] = {2, 0, 1, 65536, 133000, 1 * MIB + 1, 7 * MIB};
    for (size_t i = 0; i < ARRAY_LEN(SIZES); i++) {
        struct str body = big_body(SIZES[i]);
        /* The echo of the largest would be larger than an answer may be. */
        s.how = body.n > HTTP_ANSWER_MAX ? SERVE_ERROR : SERVE_ECHO;
        const struct answer *a = ask(&c, s.url, body);
        assert_string_equal(a->error, "");
        assert_int_equal(a->status, body.n > HTTP_ANSWER_MAX ? 500 : 200);
        assert_true(str_eq(buf_str(&s.body), body));
        assert_true(a->status == 500 || str_eq(buf_str(&a->body), body));
        const char *head = buf_cstr(&s.head);
        assert_memory_equal(head, "POST / HTTP/1.1\r\n", 17);
        assert_non_null(strstr(head, "\r\nContent-Type: application/x-amz-json-1.1\r\n"));
        assert_non_null(strstr(head, "\r\nX-Amz-Target: Kinesis_20131202.PutRecords\r\n"));
        assert_non_null(strstr(head, "\r\nUser-Agent: tailrace-test\r\n"));
        assert_non_null(strstr(head, "\r\nHost: 127.0.0.1:"));
        assert_null(strstr(head, "Expect"));
        assert_null(strstr(head, "form-urlencoded"));
    }
    assert_int_equal(s.accepted_n, 1);
    client_close(&c);
    server_close(&s);
}

static void an_error_status_comes_with_its_body(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ERROR);
    client_open(&c, *state);
    const struct answer *a = ask(&c, s.url, STR("{}"));
    assert_int_equal(a->status, 500);
    assert_true(str_eq(buf_str(&a->body), STR("{\"__type\":\"InternalFailure\"}")));
    client_close(&c);
    server_close(&s);
}

static void a_chunked_answer_is_put_together(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_CHUNKED);
    client_open(&c, *state);
    struct str body = big_body(100001);
    const struct answer *a = ask(&c, s.url, body);
    assert_int_equal(a->status, 200);
    assert_true(str_eq(buf_str(&a->body), body));
    client_close(&c);
    server_close(&s);
}

static void a_redirect_is_an_answer_like_others(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_REDIRECT);
    client_open(&c, *state);
    assert_int_equal(ask(&c, s.url, STR("{}"))->status, 302);
    assert_int_equal(s.requests_n, 1);
    client_close(&c);
    server_close(&s);
}

static void a_port_nobody_listens_on_is_an_error(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ECHO);
    server_close(&s); /* now its port is free */
    client_open(&c, *state);
    const struct answer *a = ask(&c, s.url, STR("{}"));
    assert_int_equal(a->status, 0);
    assert_non_null(strstr(a->error, "onnect"));
    assert_int_equal(a->body.n, 0);
    client_close(&c);
}

/* What a bad server does, and a word of the error that must come of it. */
static void every_half_answer_is_an_error_and_the_next_request_works(void **state)
{
    static const struct {
        enum serve how;
        const char *word;
    } CASES[] = {
        {SERVE_CLOSE, "Empty reply"},   {SERVE_RESET, "reset"},
        {SERVE_CUT, "bytes remaining"}, {SERVE_CUT_CHUNK, "outstanding read data"},
        {SERVE_TOO_MUCH, "too large"},  {SERVE_GARBAGE, "HTTP/0.9"},
        {SERVE_BINARY, "HTTP/0.9"},     {SERVE_BAD_HEADER, ""},
    };
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ECHO);
    client_open(&c, *state);
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        s.how = CASES[i].how;
        const struct answer *a = ask(&c, s.url, STR("{}"));
        assert_int_equal(a->status, 0);
        assert_int_equal(a->body.n, 0);
        assert_true(a->error[0] != '\0');
        if (strstr(a->error, CASES[i].word) == NULL)
            fail_msg("case %zu: %s", i, a->error);
        s.how = SERVE_ECHO;
        a = ask(&c, s.url, STR("fine"));
        assert_int_equal(a->status, 200);
        assert_true(str_eq(buf_str(&a->body), STR("fine")));
    }
    client_close(&c);
    server_close(&s);
}

static void a_server_that_never_answers_runs_into_the_time_limit(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_NOTHING);
    client_open(&c, *state);
    http_set_timeouts(c.http, 10000, 60);
    uint64_t before = uv_hrtime();
    const struct answer *a = ask(&c, s.url, STR("{}"));
    assert_int_equal(a->status, 0);
    assert_non_null(strstr(a->error, "timed out"));
    assert_true(uv_hrtime() - before >= 50 * UINT64_C(1000000));
    client_close(&c);
    server_close(&s);
}

static void a_dribbling_answer_is_taken_in_time_and_cut_off_after_it(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_DRIBBLE);
    client_open(&c, *state);
    s.dribble_n = 10;
    const struct answer *a = ask(&c, s.url, STR("{}"));
    assert_int_equal(a->status, 200);
    assert_true(str_eq(buf_str(&a->body), STR("dddddddddd")));
    s.dribble_n = 1000000;
    http_set_timeouts(c.http, 10000, 80);
    a = ask(&c, s.url, STR("{}"));
    assert_int_equal(a->status, 0);
    assert_non_null(strstr(a->error, "timed out"));
    client_close(&c);
    server_close(&s);
}

static void requests_one_after_the_other_share_a_connection(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ECHO);
    client_open(&c, *state);
    for (int i = 0; i < 50; i++)
        assert_int_equal(ask(&c, s.url, STR("{}"))->status, 200);
    send_to(&c, 3, s.url, STR("another slot")); /* the connection belongs to no slot */
    UVTEST_UNTIL(c.t, c.answers[3].n == 1);
    assert_int_equal(c.answers[3].status, 200);
    assert_int_equal(s.accepted_n, 1);
    assert_int_equal(s.requests_n, 51);
    client_close(&c);
    server_close(&s);
}

static void all_slots_work_at_once_and_answers_find_their_slot(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ECHO);
    client_open(&c, *state);
    static char bodies[SLOTS][200000];
    for (unsigned round = 1; round <= 25; round++) {
        for (unsigned i = 0; i < SLOTS; i++) {
            memset(bodies[i], (int)('a' + i), sizeof bodies[i]);
            send_to(&c, i, s.url, (struct str){bodies[i], sizeof bodies[i] - round * i});
        }
        UVTEST_UNTIL(c.t, c.done_n == round * SLOTS);
        for (unsigned i = 0; i < SLOTS; i++) {
            assert_int_equal(c.answers[i].n, round);
            assert_int_equal(c.answers[i].status, 200);
            assert_true(str_eq(buf_str(&c.answers[i].body),
                               (struct str){bodies[i], sizeof bodies[i] - round * i}));
        }
    }
    assert_true(s.accepted_n <= SLOTS);
    client_close(&c);
    server_close(&s);
}

static void a_kept_connection_that_ended_while_idle_is_replaced(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ECHO);
    client_open(&c, *state);
    assert_int_equal(ask(&c, s.url, STR("{}"))->status, 200);
    server_drop_connections(&s);
    assert_int_equal(ask(&c, s.url, STR("{}"))->status, 200);
    assert_int_equal(s.accepted_n, 2);
    client_close(&c);
    server_close(&s);
}

static void a_kept_connection_that_ends_as_we_send_is_replaced(void **state)
{
    for (enum serve how = SERVE_CLOSE_LATER; how <= SERVE_RESET_LATER; how++) {
        struct client c;
        struct server s;
        server_open(&s, *state, how);
        client_open(&c, *state);
        assert_int_equal(ask(&c, s.url, STR("{}"))->status, 200);
        const struct answer *a = ask(&c, s.url, big_body(200000));
        assert_string_equal(a->error, "");
        assert_int_equal(a->status, 200);
        assert_true(str_eq(buf_str(&a->body), big_body(200000)));
        assert_int_equal(s.accepted_n, 2);
        assert_int_equal(s.requests_n, 3);
        client_close(&c);
        server_close(&s);
    }
}

static void an_idle_client_keeps_nothing_active(void **state)
{
    struct client c;
    struct server s;
    struct uvtest *t = *state;
    server_open(&s, t, SERVE_ECHO);
    client_open(&c, t);
    assert_false((server_count_as_active(&s, false), uv_loop_alive(&t->loop)));
    server_count_as_active(&s, true);
    for (unsigned i = 0; i < SLOTS; i++)
        send_to(&c, i, s.url, STR("{}"));
    assert_true(uv_loop_alive(&t->loop));
    UVTEST_UNTIL(t, c.done_n == SLOTS);
    assert_int_equal(s.open_n, s.accepted_n); /* kept alive */
    server_count_as_active(&s, false);
    uv_run(&t->loop, UV_RUN_NOWAIT);
    assert_false(uv_loop_alive(&t->loop)); /* no timer, no watcher: nobody wakes us */
    server_count_as_active(&s, true);
    client_close(&c);
    server_close(&s);
}

static void a_close_in_the_middle_calls_nobody_but_on_closed(void **state)
{
    static const enum serve HOWS[] = {SERVE_NOTHING, SERVE_ECHO, SERVE_DRIBBLE};
    for (unsigned turns = 0; turns < 12; turns++) {
        struct client c;
        struct server s;
        server_open(&s, *state, HOWS[turns % 3]);
        s.dribble_n = 1000000;
        client_open(&c, *state);
        for (unsigned i = 0; i < SLOTS; i++)
            send_to(&c, i, s.url, big_body(3 * MIB));
        for (unsigned i = 0; i < turns; i++)
            uv_run(&c.t->loop, UV_RUN_NOWAIT);
        unsigned before = c.done_n;
        client_close(&c);
        assert_int_equal(c.done_n, before);
        server_close(&s);
        assert_int_equal(c.done_n, before);
    }
}

/* curl looks at them when it is connected, and again when it has to repeat the request. */
static void url_and_header_lines_are_free_once_http_send_returns(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ECHO);
    client_open(&c, *state);
    char url[sizeof s.url], line[] = "X-Amz-Security-Token: first";
    snprintf(url, sizeof url, "%s", s.url);
    const char *headers[] = {line, NULL};
    http_send(c.http, 0, &(struct http_request){.url = url, .headers = headers, .body = STR("{}")});
    memset(url, 'x', sizeof url - 1);
    memset(line, 'x', sizeof line - 1);
    headers[0] = NULL;
    UVTEST_UNTIL(c.t, c.done_n == 1);
    assert_int_equal(c.answers[0].status, 200);
    assert_non_null(strstr(buf_cstr(&s.head), "\r\nX-Amz-Security-Token: first\r\n"));
    client_close(&c);
    server_close(&s);
}

/* How many descriptors the loop's epoll watches, as the kernel tells it. */
static unsigned watched_by_epoll(struct uvtest *t)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", uv_backend_fd(&t->loop));
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    unsigned n = 0;
    while (fgets(line, sizeof line, in) != NULL)
        n += strncmp(line, "tfd:", 4) == 0;
    fclose(in);
    return n;
}

/* The number of a socket that one client has closed may be another's by the time the first ends. */
static void a_close_does_not_touch_the_sockets_of_others(void **state)
{
    struct client first, second;
    struct server s;
    server_open(&s, *state, SERVE_CLOSE);
    client_open(&first, *state);
    client_open(&second, *state);
    assert_int_equal(ask(&first, s.url, STR("{}"))->status, 0);
    s.how = SERVE_DRIBBLE;
    s.dribble_n = 20;
    send_to(&second, 0, s.url, STR("{}"));
    UVTEST_UNTIL(second.t, s.requests_n == 2);
    unsigned before = watched_by_epoll(second.t);
    http_close(first.http, on_closed, &first);
    assert_int_equal(watched_by_epoll(second.t), before);
    first.http = NULL;
    client_close(&first);
    UVTEST_UNTIL(second.t, second.done_n == 1);
    assert_string_equal(second.answers[0].error, "");
    assert_int_equal(second.answers[0].status, 200);
    client_close(&second);
    server_close(&s);
}

static void a_client_that_never_sent_closes_too(void **state)
{
    struct client c;
    client_open(&c, *state);
    client_close(&c);
    assert_int_equal(c.done_n, 0);
}

static void done_may_send_again_and_may_close(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ECHO);
    client_open(&c, *state);
    c.again_n = 10;
    c.again_url = s.url;
    send_to(&c, 1, s.url, STR("first"));
    UVTEST_UNTIL(c.t, c.done_n == 11);
    assert_int_equal(c.answers[1].status, 200);
    assert_true(str_eq(buf_str(&c.answers[1].body), STR("again")));
    for (unsigned i = 0; i < SLOTS; i++)
        send_to(&c, i, s.url, STR("x"));
    c.close_in_done = true;
    c.again_n = 1; /* sends, then closes with that under way */
    UVTEST_UNTIL(c.t, c.closed_n == 1);
    assert_int_equal(c.done_n, 12);
    client_close(&c);
    server_close(&s);
}

static void what_curl_does_not_take_is_told_later(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ECHO);
    client_open(&c, *state);
    char *endless = malloc(9 * MIB); /* a URL longer than curl's own limit */
    memset(endless, 'a', 9 * MIB);
    memcpy(endless, "http://", 7);
    endless[9 * MIB - 1] = '\0';
    const char *urls[] = {endless, "ftp://127.0.0.1/", "file:///etc/passwd", "not a url", ""};
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        const struct answer *a = ask(&c, urls[i], STR("{}"));
        assert_int_equal(a->status, 0);
        assert_true(a->error[0] != '\0');
        assert_int_equal(ask(&c, s.url, STR("{}"))->status, 200);
    }
    /* Together with transfers that do start, and with a close before it is told. */
    send_to(&c, 0, s.url, STR("{}"));
    send_to(&c, 1, endless, STR("{}"));
    send_to(&c, 2, s.url, STR("{}"));
    UVTEST_UNTIL(c.t, c.answers[0].n == 11 && c.answers[1].n == 1 && c.answers[2].n == 1);
    assert_int_equal(c.answers[0].status, 200);
    assert_int_equal(c.answers[1].status, 0);
    assert_int_equal(c.answers[2].status, 200);
    send_to(&c, 1, endless, STR("{}"));
    client_close(&c);
    assert_int_equal(c.answers[1].n, 1);
    free(endless);
    server_close(&s);
}

static void a_refusal_is_told_whatever_curl_does_with_its_timer(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ECHO);
    client_open(&c, *state);
    char *endless = malloc(9 * MIB);
    memset(endless, 'a', 9 * MIB);
    endless[9 * MIB - 1] = '\0';
    c.again_url = endless;
    for (unsigned round = 1; round <= 30; round++) {
        /* All answers come in one turn; the first is followed by a refusal, and when curl hears the
         * others it has no use for the timer any more. */
        c.again_n = 1;
        for (unsigned i = 0; i < SLOTS; i++)
            send_to(&c, i, s.url, STR("x"));
        UVTEST_UNTIL(c.t, c.done_n == round * (SLOTS + 1));
    }
    free(endless);
    client_close(&c);
    server_close(&s);
}

static void a_large_answer_does_not_stay_in_memory_for_the_next(void **state)
{
    struct client c;
    struct server s;
    server_open(&s, *state, SERVE_ECHO);
    client_open(&c, *state);
    struct str body = big_body(HTTP_ANSWER_MAX); /* just as large as one may be */
    const struct answer *a = ask(&c, s.url, body);
    assert_int_equal(a->status, 200);
    assert_true(str_eq(buf_str(&a->body), body));
    a = ask(&c, s.url, (struct str){body.p, HTTP_ANSWER_MAX + 1});
    assert_int_equal(a->status, 0);
    a = ask(&c, s.url, STR("small"));
    assert_true(str_eq(buf_str(&a->body), STR("small")));
    client_close(&c);
    server_close(&s);
}

/* --- a name server that does not answer: our getaddrinfo stands before libc's -------------------
 */

static int stuck_pipe[2] = {-1, -1};

__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **result)
{
    char c;
    if (node != NULL && strcmp(node, "stuck.test") == 0)
        return read(stuck_pipe[0], &c, 1) == 1 ? EAI_AGAIN : EAI_FAIL;
    if (node != NULL && strcmp(node, "unknown.test") == 0)
        return EAI_NONAME;
    typedef int real_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    real_fn *real;
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&real, &symbol, sizeof real);
    return real(node, service, hints, result);
}

static void an_unknown_name_is_an_error(void **state)
{
    struct client c;
    client_open(&c, *state);
    const struct answer *a = ask(&c, "http://unknown.test/", STR("{}"));
    assert_int_equal(a->status, 0);
    assert_non_null(strstr(a->error, "unknown.test"));
    client_close(&c);
}

static void a_name_server_that_hangs_does_not_block_the_loop(void **state)
{
    struct client c;
    struct server s;
    struct uvtest *t = *state;
    assert_int_equal(pipe(stuck_pipe), 0);
    server_open(&s, t, SERVE_ECHO); /* once before we count: libuv keeps a descriptor in reserve */
    server_close(&s);
    unsigned fds_before = uvtest_count_fds();
    server_open(&s, t, SERVE_ECHO);
    client_open(&c, t);
    http_set_timeouts(c.http, 60, 60);
    const struct answer *a = ask(&c, "http://stuck.test/", STR("{}")); /* times out */
    assert_int_equal(a->status, 0);
    assert_non_null(strstr(a->error, "timed out"));
    http_set_timeouts(c.http, 10000, 10000);
    assert_int_equal(ask(&c, s.url, STR("{}"))->status, 200);
    send_to(&c, 1, "http://stuck.test/", STR("{}")); /* closed while it hangs */
    for (int i = 0; i < 5; i++)
        uv_run(&t->loop, UV_RUN_NOWAIT);
    client_close(&c);
    server_close(&s);
    assert_int_equal(write(stuck_pipe[1], "xx", 2), 2); /* lets the two threads go */
    UVTEST_UNTIL(t, uvtest_count_fds() == fds_before);
    close(stuck_pipe[0]);
    close(stuck_pipe[1]);
}

/* --- TLS: certificates made here, served by openssl s_server
 * -------------------------------------- */

static void make_certificate(struct uvtest *t, const char *name, const char *alt_name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    assert_non_null(key);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"tailrace test", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alt_name);
    assert_non_null(san);
    X509_add_ext(x, san, -1);
    X509_EXTENSION_free(san);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    FILE *f = fopen(uvtest_path(t, name), "we");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(PEM_write_X509(f, x), 1);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

struct tls_server {
    struct uvtest *t;
    uv_process_t process;
    uv_pipe_t in, out;
    struct buf said;
    unsigned open_n;
    bool answered;
    char url[64];
};

static void tls_on_closed(uv_handle_t *handle)
{
    ((struct tls_server *)handle->data)->open_n--;
}

static void tls_on_exit(uv_process_t *process, int64_t status, int signal_number)
{
    (void)status;
    (void)signal_number;
    uv_close((uv_handle_t *)process, tls_on_closed);
}

static void tls_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    static char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret";
    struct tls_server *s = stream->data;
    if (n < 0) {
        uv_read_stop(stream);
        return;
    }
    buf_put(&s->said, b->base, (size_t)n);
    const char *text = buf_cstr(&s->said);
    const char *accept = strstr(text, "ACCEPT 127.0.0.1:");
    if (s->url[0] == '\0' && accept != NULL && strchr(accept, '\n') != NULL)
        snprintf(s->url, sizeof s->url, "https://127.0.0.1:%lu/",
                 strtoul(accept + sizeof "ACCEPT 127.0.0.1:" - 1, NULL, 10));
    if (!s->answered && strstr(text, "the request") != NULL) {
        uv_buf_t out = uv_buf_init(answer, sizeof answer - 1);
        s->answered = uv_try_write((uv_stream_t *)&s->in, &out, 1) == (int)out.len;
    }
}

static void tls_server_open(struct tls_server *s, struct uvtest *t, const char *certificate)
{
    static char program[] = "openssl", kind[] = "s_server", accept[] = "-accept",
                address[] = "127.0.0.1:0", cert[] = "-cert";
    char path[512];
    snprintf(path, sizeof path, "%s", certificate);
    char *args[] = {program, kind, accept, address, cert, path, NULL};
    memset(s, 0, sizeof *s);
    s->t = t;
    buf_init(&s->said, MIB);
    uv_pipe_init(&t->loop, &s->in, 0);
    uv_pipe_init(&t->loop, &s->out, 0);
    s->in.data = s->out.data = s->process.data = s;
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&s->in},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&s->out},
        {.flags = UV_IGNORE},
    };
    uv_process_options_t o = {
        .file = args[0], .args = args, .stdio = stdio, .stdio_count = 3, .exit_cb = tls_on_exit};
    assert_int_equal(uv_spawn(&t->loop, &s->process, &o), 0);
    s->open_n = 3;
    uv_read_start((uv_stream_t *)&s->out, connection_on_alloc, tls_on_read);
    UVTEST_UNTIL(t, s->url[0] != '\0');
}

static void tls_server_close(struct tls_server *s)
{
    uv_process_kill(&s->process, SIGKILL);
    uv_close((uv_handle_t *)&s->in, tls_on_closed);
    uv_close((uv_handle_t *)&s->out, tls_on_closed);
    UVTEST_UNTIL(s->t, s->open_n == 0);
    buf_release(&s->said);
}

/* Asks a server with `served` while trusting `trusted` (NULL: the system's). */
static void ask_tls(struct uvtest *t, const char *served, const char *trusted, struct answer *out)
{
    struct tls_server s;
    struct client c;
    char bundle[512] = "";
    tls_server_open(&s, t, uvtest_path(t, served));
    if (trusted != NULL)
        snprintf(bundle, sizeof bundle, "%s", uvtest_path(t, trusted));
    const struct http_options o = {.slots = 1,
                                   .connect_timeout_ms = 10000,
                                   .total_timeout_ms = 15000,
                                   .ca_bundle = trusted != NULL ? bundle : NULL};
    client_open_with(&c, t, &o);
    memset(bundle, 'x', sizeof bundle - 1); /* the option was copied */
    *out = *ask(&c, s.url, STR("the request"));
    out->body = (struct buf){0};
    out->n = s.answered;
    if (out->status == 200)
        assert_true(str_eq(buf_str(&c.answers[0].body), STR("secret")));
    client_close(&c);
    tls_server_close(&s);
}

static void only_a_trusted_certificate_of_the_right_name_is_accepted(void **state)
{
    struct uvtest *t = *state;
    struct answer a;
    make_certificate(t, "good.pem", "IP:127.0.0.1");
    make_certificate(t, "stranger.pem", "IP:127.0.0.1");
    make_certificate(t, "other.pem", "DNS:kinesis.example.com");
    ask_tls(t, "good.pem", "good.pem", &a);
    assert_string_equal(a.error, "");
    assert_int_equal(a.status, 200);
    static const struct {
        const char *served, *trusted, *word;
    } BAD[] = {
        {"good.pem", NULL, "certificate"},
        {"good.pem", "stranger.pem", "certificate"},
        {"other.pem", "other.pem", "subject name"},
        {"good.pem", "missing.pem", "certificate"},
    };
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        ask_tls(t, BAD[i].served, BAD[i].trusted, &a);
        assert_int_equal(a.status, 0);
        if (strstr(a.error, BAD[i].word) == NULL)
            fail_msg("case %zu: %s", i, a.error);
        assert_int_equal(a.n, 0); /* the request was never sent */
    }
}

static void plain_text_from_a_tls_port_is_an_error(void **state)
{
    struct client c;
    struct server s;
    char url[80];
    server_open(&s, *state, SERVE_GARBAGE);
    client_open(&c, *state);
    http_set_timeouts(c.http, 100, 200); /* the server waits for the end of a header */
    snprintf(url, sizeof url, "https://127.0.0.1:%lu/", strtoul(strrchr(s.url, ':') + 1, NULL, 10));
    assert_int_equal(ask(&c, url, STR("{}"))->status, 0);
    client_close(&c);
    server_close(&s);
}

int main(void)
{
    setenv("no_proxy", "*", 1);
    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    const struct CMUnitTest tests[] = {
        UVTEST(a_request_arrives_as_given_and_its_answer_comes_back),
        UVTEST(an_error_status_comes_with_its_body),
        UVTEST(a_chunked_answer_is_put_together),
        UVTEST(a_redirect_is_an_answer_like_others),
        UVTEST(a_port_nobody_listens_on_is_an_error),
        UVTEST(every_half_answer_is_an_error_and_the_next_request_works),
        UVTEST(a_server_that_never_answers_runs_into_the_time_limit),
        UVTEST(a_dribbling_answer_is_taken_in_time_and_cut_off_after_it),
        UVTEST(requests_one_after_the_other_share_a_connection),
        UVTEST(all_slots_work_at_once_and_answers_find_their_slot),
        UVTEST(a_kept_connection_that_ended_while_idle_is_replaced),
        UVTEST(a_kept_connection_that_ends_as_we_send_is_replaced),
        UVTEST(an_idle_client_keeps_nothing_active),
        UVTEST(a_close_in_the_middle_calls_nobody_but_on_closed),
        UVTEST(url_and_header_lines_are_free_once_http_send_returns),
        UVTEST(a_close_does_not_touch_the_sockets_of_others),
        UVTEST(a_client_that_never_sent_closes_too),
        UVTEST(done_may_send_again_and_may_close),
        UVTEST(what_curl_does_not_take_is_told_later),
        UVTEST(a_refusal_is_told_whatever_curl_does_with_its_timer),
        UVTEST(a_large_answer_does_not_stay_in_memory_for_the_next),
        UVTEST(an_unknown_name_is_an_error),
        UVTEST(a_name_server_that_hangs_does_not_block_the_loop),
        UVTEST(only_a_trusted_certificate_of_the_right_name_is_accepted),
        UVTEST(plain_text_from_a_tls_port_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
