/* pusher.c - applications that push events, fast, and measure how long an acknowledgement takes.
 *
 *   pusher SOCKET EVENTS [CLIENTS] [WINDOW] [RATE]
 *
 * Sends EVENTS lines of 200 bytes over CLIENTS connections. WINDOW 0: no answers are waited for,
 * the end is when all is written. Else at most WINDOW lines a client wait for their ok, and the end
 * is when all have it. RATE: at most so many lines a second, 0: as fast as it goes. Prints one JSON
 * object: seconds, and of the times from write to ok p50 and p99, in microseconds.
 *
 * One thread, poll. A connection that ends, or an answer that is no ok, is the end (exit 1).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LINE        200 /* with its line end */
#define BLOCK_LINES 256
#define CLIENTS_MAX 1024

struct client {
    int fd;
    uint64_t target, sent, ok; /* lines */
    size_t partial;            /* bytes of the line at hand that are written */
    uint64_t *times;           /* when each line of the window was written */
    char answer[64];
    size_t answer_n;
};

static char block[BLOCK_LINES * LINE];
static struct client clients[CLIENTS_MAX];
static unsigned clients_n = 1;
static uint64_t window, rate, written, begun;
static uint32_t *latencies;
static size_t latencies_n;

static void die(const char *why)
{
    fprintf(stderr, "pusher: %s: %s\n", why, strerror(errno));
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die(path);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* How many lines it may send now. */
static uint64_t allowed(const struct client *c, uint64_t now)
{
    uint64_t n = c->target - c->sent;
    if (window > 0 && n > window - (c->sent - c->ok))
        n = window - (c->sent - c->ok);
    if (rate > 0) {
        uint64_t due = (now - begun) * rate / 1000000 + 1;
        n = due <= written ? 0 : n < due - written ? n : due - written;
    }
    return n < BLOCK_LINES ? n : BLOCK_LINES;
}

static void push(struct client *c)
{
    uint64_t now = now_us(), n = allowed(c, now);
    if (n == 0 && c->partial == 0)
        return;
    size_t bytes = (size_t)(n > 0 ? n : 1) * LINE - c->partial;
    ssize_t wrote = write(c->fd, block + c->partial, bytes);
    if (wrote < 0 && errno != EAGAIN)
        die("write");
    if (wrote <= 0)
        return;
    size_t all = c->partial + (size_t)wrote;
    for (size_t i = 0; i < all / LINE; i++, c->sent++, written++)
        if (window > 0)
            c->times[c->sent % window] = now;
    c->partial = all % LINE;
}

static void take_ok(struct client *c, uint64_t n, uint64_t now)
{
    if (n <= c->ok || n > c->sent)
        die("an ok for what was not sent");
    for (; c->ok < n; c->ok++)
        latencies[latencies_n++] = (uint32_t)(now - c->times[c->ok % window]);
}

static void hear(struct client *c)
{
    char bytes[4096];
    ssize_t n = read(c->fd, bytes, sizeof bytes);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("the daemon hung up");
    uint64_t now = now_us();
    for (ssize_t i = 0; i < n; i++) {
        if (bytes[i] != '\n') {
            if (c->answer_n < sizeof c->answer - 1)
                c->answer[c->answer_n++] = bytes[i];
            continue;
        }
        c->answer[c->answer_n] = '\0';
        c->answer_n = 0;
        if (strncmp(c->answer, "ok ", 3) != 0)
            die(c->answer);
        take_ok(c, strtoull(c->answer + 3, NULL, 10), now);
    }
}

static bool is_done(const struct client *c)
{
    return c->sent == c->target && (window == 0 || c->ok == c->target);
}

static void turn(void)
{
    static struct pollfd fds[CLIENTS_MAX];
    uint64_t now = now_us();
    bool held = false;
    for (unsigned i = 0; i < clients_n; i++) {
        struct client *c = &clients[i];
        bool more = c->partial > 0 || allowed(c, now) > 0;
        held |= !more && c->sent < c->target && rate > 0;
        fds[i] =
            (struct pollfd){.fd = is_done(c) ? -1 : c->fd,
                            .events = (short)((more ? POLLOUT : 0) | (window > 0 ? POLLIN : 0))};
    }
    if (poll(fds, clients_n, held ? 1 : 30000) < 0)
        die("poll");
    for (unsigned i = 0; i < clients_n; i++) {
        if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
            hear(&clients[i]);
        if (fds[i].revents & POLLOUT)
            push(&clients[i]);
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint64_t argument(int argc, char **argv, int i, uint64_t otherwise)
{
    return i < argc ? strtoull(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 64;
    uint64_t events = argument(argc, argv, 2, 0), left = events;
    clients_n = (unsigned)argument(argc, argv, 3, 1);
    window = argument(argc, argv, 4, 0);
    rate = argument(argc, argv, 5, 0);
    if (clients_n == 0 || clients_n > CLIENTS_MAX)
        return 64;
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = i % LINE == LINE - 1 ? '\n' : (char)('a' + i * 7 % 26);
    latencies = calloc((size_t)events + 1, sizeof *latencies);
    for (unsigned i = 0; i < clients_n; i++) {
        clients[i].fd = connect_to(argv[1]);
        clients[i].target = left / (clients_n - i);
        left -= clients[i].target;
        clients[i].times = calloc((size_t)window + 1, sizeof(uint64_t));
        if (clients[i].times == NULL || latencies == NULL)
            die("memory");
    }
    begun = now_us();
    for (bool done = false; !done;) {
        turn();
        done = true;
        for (unsigned i = 0; i < clients_n; i++)
            done = done && is_done(&clients[i]);
    }
    double seconds = (double)(now_us() - begun) / 1e6;
    qsort(latencies, latencies_n, sizeof *latencies, by_size);
    uint32_t p50 = latencies_n > 0 ? latencies[latencies_n / 2] : 0;
    uint32_t p99 = latencies_n > 0 ? latencies[latencies_n * 99 / 100] : 0;
    printf("{\"seconds\": %.6f, \"p50_us\": %u, \"p99_us\": %u}\n", seconds, p50, p99);
    return 0;
}
