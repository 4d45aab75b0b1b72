/* sink.c - a Kinesis that takes everything and keeps nothing, fast enough not to be the bottleneck.
 *
 *   sink [--cert FILE --key FILE] [--check FILE]
 *
 * Listens on 127.0.0.1 on a port the kernel picks, prints it, and answers every POST as PutRecords
 * does when all went well: one sequence number a record. It does not parse: the records are counted
 * by their "PartitionKey". One thread, epoll, keep-alive, TLS with a certificate. On SIGUSR1 and at
 * the end (SIGTERM, SIGINT) the totals are written to the --check file as JSON.
 *
 * How it fails: a connection that sends nonsense, or more than it may, is closed; the totals then
 * show that something is missing. When the sink itself cannot go on it says why and exits with 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_MAX      (16u << 20) /* a request; 10 MiB of data as base64 and some */
#define IN_FIRST    (512u << 10)
#define HEAD_MAX    (64u << 10)
#define RECORDS_MAX 500
#define EVENTS_MAX  64

#define ENTRY                                                                                      \
    "{\"SequenceNumber\":\"49650326713589421043671280987123456789012345678901234562\","            \
    "\"ShardId\":\"shardId-000000000000\"}"
#define BODY_HEAD "{\"EncryptionType\":\"NONE\",\"FailedRecordCount\":0,\"Records\":["
#define BODY_TAIL "]}"
#define HEAD_FORMAT                                                                                \
    "HTTP/1.1 200 OK\r\n"                                                                          \
    "x-amzn-RequestId: d6b7f0a4-1c5e-4b5a-9d0e-2f4a6c8e0b1d\r\n"                                   \
    "x-amz-id-2: 3rT7yVbHn5LqWc1xZkJmPfDsGaEoUiYhBvNlQwRtXzCkMjFpSgDaHeTuOyIrLbVn\r\n"             \
    "Content-Type: application/x-amz-json-1.1\r\n"                                                 \
    "Content-Length: %zu\r\n\r\n"

struct connection {
    int fd;
    SSL *ssl; /* NULL: plain */
    char *in;
    size_t in_n, in_cap;
    size_t head_n, body_n; /* of the request being read; head_n 0: not known yet */
    bool continued;        /* "100 Continue" was sent for it */
    char *out;
    size_t out_n, out_done;
    uint32_t armed;
};

static struct {
    uint64_t records, bytes, requests;
} totals;

static volatile sig_atomic_t ending, reporting;
static SSL_CTX *tls;
static int poller;
static const char *check_file;

static char entries[RECORDS_MAX * (sizeof ENTRY + 1)]; /* "E,E,E,..." */

static void die(const char *what)
{
    fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void on_signal(int number)
{
    if (number == SIGUSR1)
        reporting = 1;
    else
        ending = 1;
}

/* Aside and renamed, so that a reader sees all or nothing. */
static void report(void)
{
    char aside[4096];
    reporting = 0;
    if (check_file == NULL)
        return;
    snprintf(aside, sizeof aside, "%s.new", check_file);
    FILE *f = fopen(aside, "w");
    if (f == NULL)
        die(aside);
    fprintf(f, "{\"records\": %llu, \"bytes\": %llu, \"requests\": %llu}\n",
            (unsigned long long)totals.records, (unsigned long long)totals.bytes,
            (unsigned long long)totals.requests);
    if (fclose(f) != 0 || rename(aside, check_file) != 0)
        die(check_file);
}

static void build_entries(void)
{
    for (size_t i = 0; i < RECORDS_MAX; i++)
        memcpy(entries + i * sizeof ENTRY, ENTRY ",", sizeof ENTRY);
}

static void connection_free(struct connection *c)
{
    if (c->ssl != NULL)
        SSL_free(c->ssl);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void accept_one(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    if (fd < 0)
        return;
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL || (c->in = malloc(IN_FIRST)) == NULL ||
        (c->out = malloc(sizeof entries + 1024)) == NULL)
        die("memory");
    c->fd = fd;
    c->in_cap = IN_FIRST;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (tls != NULL) {
        if ((c->ssl = SSL_new(tls)) == NULL || SSL_set_fd(c->ssl, fd) != 1)
            die("TLS");
        SSL_set_accept_state(c->ssl);
    }
    c->armed = EPOLLIN;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) != 0)
        die("epoll");
}

static void arm(struct connection *c, uint32_t events)
{
    if (c->armed == events)
        return;
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e) != 0)
        die("epoll");
    c->armed = events;
}

/* Bytes moved; 0 when it must wait (armed for what it waits for); -1 when the connection is over.
 */
static ssize_t outcome(struct connection *c, ssize_t n, uint32_t wanted)
{
    if (n > 0)
        return n;
    if (c->ssl != NULL) {
        int why = SSL_get_error(c->ssl, (int)n);
        ERR_clear_error();
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            return -1;
        wanted = why == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        return -1;
    }
    arm(c, wanted);
    return 0;
}

static ssize_t receive(struct connection *c)
{
    size_t room = c->in_cap - c->in_n;
    ssize_t n = c->ssl != NULL ? SSL_read(c->ssl, c->in + c->in_n, (int)room)
                               : recv(c->fd, c->in + c->in_n, room, 0);
    return outcome(c, n, EPOLLIN);
}

static ssize_t send_some(struct connection *c)
{
    size_t left = c->out_n - c->out_done;
    ssize_t n = c->ssl != NULL ? SSL_write(c->ssl, c->out + c->out_done, (int)left)
                               : send(c->fd, c->out + c->out_done, left, MSG_NOSIGNAL);
    return outcome(c, n, EPOLLOUT);
}

/* The value of a header in the head at c->in, or NULL. Only for heads that end in an empty line. */
static const char *header(const struct connection *c, const char *name)
{
    size_t name_n = strlen(name);
    const char *at = c->in, *end = c->in + c->head_n;
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL && ++at < end) {
        if ((size_t)(end - at) > name_n && at[name_n] == ':' && strncasecmp(at, name, name_n) == 0)
            return at + name_n + 1;
    }
    return NULL;
}

static void put_out(struct connection *c, const void *p, size_t n)
{
    memcpy(c->out + c->out_n, p, n);
    c->out_n += n;
}

/* False when this is no request that can be read to its end. */
static bool take_head(struct connection *c)
{
    const char *end = memmem(c->in, c->in_n, "\r\n\r\n", 4);
    if (end == NULL)
        return c->in_n < HEAD_MAX;
    c->head_n = (size_t)(end - c->in) + 4;
    const char *length = header(c, "Content-Length");
    c->body_n = length != NULL ? strtoul(length, NULL, 10) : 0;
    if (c->body_n > IN_MAX - c->head_n || header(c, "Transfer-Encoding") != NULL)
        return false;
    size_t whole = c->head_n + c->body_n;
    if (whole > c->in_cap) {
        char *in = realloc(c->in, whole);
        if (in == NULL)
            die("memory");
        c->in = in;
        c->in_cap = whole;
    }
    if (c->in_n < whole && header(c, "Expect") != NULL && !c->continued) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        put_out(c, go_on, sizeof go_on - 1);
        c->continued = true;
    }
    return true;
}

static size_t count_records(const char *p, size_t n)
{
    static const char needle[] = "\"PartitionKey\"";
    size_t count = 0;
    const char *end = p + n;
    while ((p = memmem(p, (size_t)(end - p), needle, sizeof needle - 1)) != NULL) {
        p += sizeof needle - 1;
        count++;
    }
    return count;
}

static bool answer(struct connection *c)
{
    size_t records = count_records(c->in + c->head_n, c->body_n);
    if (records > RECORDS_MAX)
        return false;
    totals.records += records;
    totals.bytes += c->body_n;
    totals.requests++;
    char head[512];
    size_t entries_n = records > 0 ? records * sizeof ENTRY - 1 : 0; /* without the last comma */
    size_t body_n = sizeof BODY_HEAD - 1 + entries_n + sizeof BODY_TAIL - 1;
    int head_n = snprintf(head, sizeof head, HEAD_FORMAT, body_n);
    put_out(c, head, (size_t)head_n);
    put_out(c, BODY_HEAD, sizeof BODY_HEAD - 1);
    put_out(c, entries, entries_n);
    put_out(c, BODY_TAIL, sizeof BODY_TAIL - 1);
    size_t whole = c->head_n + c->body_n;
    c->in_n -= whole;
    memmove(c->in, c->in + whole, c->in_n); /* what came early of the next; as a rule nothing */
    c->head_n = 0;
    c->continued = false;
    return true;
}

/* One step. 1: go on, 0: wait, -1: over. */
static int step(struct connection *c)
{
    if (c->out_done < c->out_n) {
        ssize_t n = send_some(c);
        if (n > 0)
            c->out_done += (size_t)n;
        return n > 0 ? 1 : (int)n;
    }
    c->out_n = c->out_done = 0;
    if (c->head_n == 0 && c->in_n > 0 && !take_head(c))
        return -1;
    if (c->out_n > 0)
        return 1;
    if (c->head_n > 0 && c->in_n >= c->head_n + c->body_n)
        return answer(c) ? 1 : -1;
    arm(c, EPOLLIN);
    ssize_t n = receive(c);
    if (n > 0)
        c->in_n += (size_t)n;
    return n > 0 ? 1 : (int)n;
}

/* Until it must wait: bytes that TLS has taken from the socket already would wake nobody later. */
static void serve(struct connection *c)
{
    int go;
    while ((go = step(c)) > 0)
        ;
    if (go < 0)
        connection_free(c);
}

static int listen_somewhere(unsigned *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) != 0)
        die("cannot listen");
    *port = ntohs(at.sin_port);
    return fd;
}

static void use_tls(const char *cert, const char *key)
{
    tls = SSL_CTX_new(TLS_server_method());
    if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

static void loop(int listener)
{
    struct epoll_event events[EVENTS_MAX], e = {.events = EPOLLIN, .data.ptr = NULL};
    sigset_t none;
    sigemptyset(&none);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e) != 0)
        die("epoll");
    while (!ending) {
        int n = epoll_pwait(poller, events, EVENTS_MAX, -1, &none);
        if (n < 0 && errno != EINTR)
            die("epoll");
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                accept_one(listener);
            else
                serve(events[i].data.ptr);
        }
        if (reporting)
            report();
    }
}

/* Signals come only while epoll waits, so none is missed between a look at the flags and the wait.
 */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    const int numbers[] = {SIGTERM, SIGINT, SIGUSR1};
    sigset_t blocked;
    sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        sigaction(numbers[i], &action, NULL);
        sigaddset(&blocked, numbers[i]);
    }
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"cert", required_argument, NULL, 'c'},
        {"key", required_argument, NULL, 'k'},
        {"check", required_argument, NULL, 'o'},
        {0},
    };
    const char *cert = NULL, *key = NULL;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'c')
            cert = optarg;
        else if (c == 'k')
            key = optarg;
        else if (c == 'o')
            check_file = optarg;
        else
            return 64;
    }
    if (optind != argc || (cert == NULL) != (key == NULL)) {
        fprintf(stderr, "usage: sink [--cert FILE --key FILE] [--check FILE]\n");
        return 64;
    }
    unsigned port;
    build_entries();
    catch_signals();
    if (cert != NULL)
        use_tls(cert, key);
    int listener = listen_somewhere(&port);
    printf("%u\n", port);
    fflush(stdout);
    loop(listener);
    report();
    return 0;
}
