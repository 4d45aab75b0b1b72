/* floor.c - the least that can be done to deliver a file's lines: the floor to measure a shipper
 * by.
 *
 *   floor PORT FILE [CERTIFICATE]
 *
 * Reads the file, splits it at LF, writes each line as base64 with a key of eight hex digits into a
 * PutRecords body of 500 records, hashes the body (signing cannot do without that), sends it over
 * one connection (TLS when there is a certificate to trust), reads the whole answer. Nothing else:
 * no retries, no answer looked into, no checkpoint, no second connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base64.h"
#include "lib/hash.h"
#include "lib/rng.h"

#define READ_BYTES       (256 * KIB)
#define LINE_BYTES_MAX   (1 * MIB)
#define BODY_BYTES_MAX   (8 * MIB)
#define RECORDS_MAX      500
#define HEAD_ROOM        512 /* the head is written just before the body: one write sends both */
#define ANSWER_BYTES_MAX (1 * MIB)

struct floor {
    int fd;
    SSL *ssl;
    struct rng rng;
    char *message; /* HEAD_ROOM and the body */
    size_t body_n;
    unsigned records;
    unsigned long long total;
    char *answer;
};

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void *claim(size_t n)
{
    void *p = malloc(n);
    if (p == NULL)
        die("memory");
    return p;
}

static void connect_to(struct floor *f, unsigned port, const char *certificate)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->fd < 0 || connect(f->fd, (struct sockaddr *)&at, sizeof at) != 0)
        die("cannot connect");
    setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (certificate == NULL)
        return;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL || SSL_CTX_load_verify_locations(ctx, certificate, NULL) != 1)
        die(certificate);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    f->ssl = SSL_new(ctx);
    SSL_CTX_free(ctx); /* the connection keeps it */
    if (f->ssl == NULL || SSL_set_fd(f->ssl, f->fd) != 1 || SSL_connect(f->ssl) != 1)
        die("TLS");
}

static void send_all(struct floor *f, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = f->ssl ? SSL_write(f->ssl, p, (int)n) : send(f->fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            die("cannot send");
        p += sent;
        n -= (size_t)sent;
    }
}

/* Reads until the answer is whole, by its Content-Length. */
static void read_answer(struct floor *f)
{
    size_t n = 0, whole = 0;
    while (whole == 0 || n < whole) {
        if (n == ANSWER_BYTES_MAX)
            die("the answer is too large");
        size_t room = ANSWER_BYTES_MAX - n;
        ssize_t got = f->ssl ? SSL_read(f->ssl, f->answer + n, (int)room)
                             : recv(f->fd, f->answer + n, room, 0);
        if (got <= 0)
            die("the answer ended early");
        n += (size_t)got;
        const char *end = whole == 0 ? memmem(f->answer, n, "\r\n\r\n", 4) : NULL;
        if (end == NULL)
            continue;
        static const char name[] = "\r\nContent-Length: ";
        const char *length = memmem(f->answer, n, name, sizeof name - 1);
        if (length == NULL || strncmp(f->answer, "HTTP/1.1 200 ", 13) != 0)
            die("not the answer it should be");
        whole = (size_t)(end - f->answer) + 4 + strtoul(length + sizeof name - 1, NULL, 10);
    }
}

static void put(struct floor *f, const char *text, size_t n)
{
    memcpy(f->message + HEAD_ROOM + f->body_n, text, n);
    f->body_n += n;
}

#define PUT(f, literal) put(f, literal, sizeof(literal) - 1)

static void flush_batch(struct floor *f)
{
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1], head[HEAD_ROOM];
    PUT(f, "],\"StreamName\":\"bench\"}");
    hash_sha256(f->message + HEAD_ROOM, f->body_n, digest);
    hash_hex(digest, sizeof digest, hex);
    int n = snprintf(head, sizeof head,
                     "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                     "Content-Type: application/x-amz-json-1.1\r\n"
                     "X-Amz-Target: Kinesis_20131202.PutRecords\r\n"
                     "X-Amz-Content-Sha256: %s\r\nContent-Length: %zu\r\n\r\n",
                     hex, f->body_n);
    char *start = f->message + HEAD_ROOM - n;
    memcpy(start, head, (size_t)n);
    send_all(f, start, (size_t)n + f->body_n);
    read_answer(f);
    f->total += f->records;
    f->records = 0;
    f->body_n = 0;
}

static void add_line(struct floor *f, const char *line, size_t n)
{
    if (f->records == 0)
        PUT(f, "{\"Records\":[{\"Data\":\"");
    else
        PUT(f, ",{\"Data\":\"");
    base64_encode(f->message + HEAD_ROOM + f->body_n, line, n);
    f->body_n += base64_size(n);
    uint64_t key = rng_next(&f->rng);
    char digits[8];
    for (unsigned i = 0; i < 8; i++, key >>= 4)
        digits[i] = "0123456789abcdef"[key & 15];
    PUT(f, "\",\"PartitionKey\":\"");
    put(f, digits, sizeof digits);
    PUT(f, "\"}");
    if (++f->records == RECORDS_MAX || f->body_n > BODY_BYTES_MAX - 2 * LINE_BYTES_MAX)
        flush_batch(f);
}

/* Whole lines out of p[0..n); returns how many bytes they were. */
static size_t take_lines(struct floor *f, const char *p, size_t n)
{
    const char *at = p, *end = p + n, *lf;
    while ((lf = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        add_line(f, at, (size_t)(lf - at));
        at = lf + 1;
    }
    return (size_t)(at - p);
}

static void ship(struct floor *f, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *in = claim(LINE_BYTES_MAX + READ_BYTES);
    size_t held = 0;
    ssize_t n;
    if (fd < 0)
        die(path);
    while ((n = read(fd, in + held, READ_BYTES)) > 0) {
        held += (size_t)n;
        size_t used = take_lines(f, in, held);
        held -= used;
        if (held > LINE_BYTES_MAX)
            die("a line is too long");
        memmove(in, in + used, held);
    }
    if (n < 0)
        die(path);
    if (held > 0)
        add_line(f, in, held);
    if (f->records > 0)
        flush_batch(f);
    free(in);
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: floor PORT FILE [CERTIFICATE]\n");
        return 64;
    }
    struct floor f = {.message = claim(HEAD_ROOM + BODY_BYTES_MAX),
                      .answer = claim(ANSWER_BYTES_MAX)};
    rng_seed(&f.rng, 1);
    connect_to(&f, (unsigned)strtoul(argv[1], NULL, 10), argc == 4 ? argv[3] : NULL);
    ship(&f, argv[2]);
    printf("%llu\n", f.total);
    if (f.ssl != NULL)
        SSL_free(f.ssl);
    close(f.fd);
    free(f.message);
    free(f.answer);
    return 0;
}
