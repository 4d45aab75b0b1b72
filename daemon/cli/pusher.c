/* The happy path of a turn: wait, read answers, write what is not written, take more lines.
 *
 * How it fails: the connection is lost: what the peer has answered before is still read, and then
 * pusher.h says what becomes of it. Nothing moves: time is up. What comes from the socket is read
 * as if a stranger had sent it: an answer that is none, or about a line that was never sent, ends
 * it.
 */
#include "daemon/cli/pusher.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/cli/talk.h"
#include "daemon/unixsock.h"
#include "lib/backoff.h"

#define RETRY_CAP_MS  2000
#define WRITES_TURN   8
#define READS_GOODBYE 256 /* of what a lost peer has said before */
#define TOLD_MAX      60  /* of an answer that is none */

/* ---- answers ---- */

static void be_puzzled(struct pusher *p, struct str line)
{
    char told[TOLD_MAX + 1];
    size_t n = 0;
    for (; n < min_size(line.n, TOLD_MAX); n++)
        told[n] = line.p[n] >= ' ' && line.p[n] <= '~' ? line.p[n] : '?';
    told[n] = '\0';
    p->end = PUSHER_NONSENSE;
    err_set(&p->why, ERR_SYNTAX, "%.300s: not an answer of tailraced: \"%s\"", p->path, told);
}

static bool take_word(struct str *line, const char *word)
{
    size_t n = strlen(word);
    if (line->n < n || memcmp(line->p, word, n) != 0)
        return false;
    *line = (struct str){line->p + n, line->n - n};
    return true;
}

static bool take_number(struct str *line, uint64_t *number)
{
    size_t n = 0;
    uint64_t v = 0;
    for (; n < min_size(line->n, 18) && line->p[n] >= '0' && line->p[n] <= '9'; n++)
        v = v * 10 + (uint64_t)(line->p[n] - '0');
    *line = (struct str){line->p + n, line->n - n};
    *number = v;
    return n > 0;
}

/* Also what was named before, on a connection before this one, is answered; it is told once. */
static bool take_bad(struct pusher *p, struct str line)
{
    uint64_t number;
    const struct window_frame *frame;
    if (!take_number(&line, &number) || !take_word(&line, " ") ||
        !window_bad(&p->window, number, &frame))
        return false;
    if (frame != NULL)
        p->ops.bad(p->ops.ctx, (struct window_place){frame->file, frame->line}, line);
    return true;
}

static void take_answer(struct pusher *p, struct str line)
{
    struct str rest = line;
    uint64_t number;
    bool good;
    if (take_word(&rest, "ok "))
        good = take_number(&rest, &number) && rest.n == 0 && window_ok(&p->window, number);
    else
        good = take_word(&rest, "bad ") && take_bad(p, rest);
    if (!good)
        be_puzzled(p, line);
    p->answered = true;
}

static void take_answers(struct pusher *p)
{
    size_t at = 0;
    const char *lf;
    while (p->end == PUSHER_ON && (lf = memchr(p->answers + at, '\n', p->answers_n - at)) != NULL) {
        size_t n = (size_t)(lf - (p->answers + at));
        take_answer(p, (struct str){p->answers + at, n});
        at += n + 1;
    }
    p->answers_n -= at;
    memmove(p->answers, p->answers + at, p->answers_n);
    if (p->answers_n == sizeof p->answers && p->end == PUSHER_ON)
        be_puzzled(p, (struct str){p->answers, p->answers_n});
}

/* What recv returned; errno is its own. */
static ssize_t read_answers(struct pusher *p)
{
    ssize_t n = recv(p->fd, p->answers + p->answers_n, sizeof p->answers - p->answers_n, 0);
    if (n > 0 && p->ack) {
        p->answers_n += (size_t)n;
        take_answers(p);
    }
    return n;
}

/* ---- the connection ---- */

static void note(struct pusher *p)
{
    char sentence[ERR_TEXT_MAX + 64];
    if (p->noted)
        return;
    p->noted = true;
    snprintf(sentence, sizeof sentence, "%s; trying again for %" PRIu64 " s", p->why.text,
             p->timeout_ms / 1000);
    p->ops.note(p->ops.ctx, sentence);
}

static void try_later(struct pusher *p, uint64_t now_ms)
{
    p->retry_ms =
        now_ms + backoff_ms(&p->rng, BACKOFF_TRANSIENT_BASE_MS, RETRY_CAP_MS, p->tries++, 1, 1);
    note(p);
}

static void connect_now(struct pusher *p, uint64_t now_ms)
{
    int fd = unixsock_connect_now(p->path, &p->why);
    if (fd >= 0) {
        p->fd = fd;
        p->was_connected = true;
        window_rewind(&p->window);
    } else if (fd == ERR_MISSING || fd == ERR_BUSY || p->was_connected) {
        try_later(p, now_ms);
    } else {
        p->end = PUSHER_SHUT_OUT;
    }
}

/* `error`: 0 if the peer has closed after reading all. */
static void lose(struct pusher *p, int error, uint64_t now_ms)
{
    close(p->fd);
    p->fd = -1;
    p->answers_n = 0;
    if (p->end != PUSHER_ON)
        return;
    if (!p->ack && p->shut && error == 0) {
        p->end = PUSHER_DONE;
        return;
    }
    window_rewind(&p->window);
    err_set(&p->why, ERR_IO, "%.300s: tailraced has closed the connection%s", p->path,
            error == ECONNRESET ? " without reading all" : "");
    if (!p->ack)
        p->end = PUSHER_GAVE_UP;
    else if (p->window.n > 0)
        try_later(p, now_ms);
}

static void hear(struct pusher *p, uint64_t now_ms)
{
    ssize_t n = read_answers(p);
    if (n == 0)
        lose(p, 0, now_ms);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        lose(p, errno, now_ms);
}

/* The peer takes no more; what it has said before counts all the same. */
static void take_leave(struct pusher *p, int error, uint64_t now_ms)
{
    ssize_t n = 1;
    for (unsigned i = 0; i < READS_GOODBYE && n > 0 && p->end == PUSHER_ON; i++)
        n = read_answers(p);
    lose(p, n < 0 && errno == ECONNRESET ? errno : error, now_ms);
}

static void speak(struct pusher *p, uint64_t now_ms)
{
    struct str unsent;
    for (unsigned i = 0; i < WRITES_TURN && (unsent = window_unsent(&p->window)).n > 0; i++) {
        ssize_t n = send(p->fd, unsent.p, unsent.n, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            take_leave(p, errno, now_ms);
        if (n < 0)
            return;
        window_sent(&p->window, (size_t)n);
        if (!p->ack)
            window_forget_sent(&p->window);
    }
    if (!p->ack && p->input_ended && p->window.n == 0 && !p->shut) {
        shutdown(p->fd, SHUT_WR);
        p->shut = true;
    }
}

/* ---- the turn ---- */

static void take_lines(struct pusher *p)
{
    if (p->input_ended || !window_has_room(&p->window))
        return;
    switch (lines_pull(&p->lines, &p->window, &p->input_why)) {
    case LINES_ON:
        return;
    case LINES_NOMEM:
        p->end = PUSHER_NOMEM;
        return;
    case LINES_FAILED:
        p->input_failed = true;
        window_drop(&p->window);
        break;
    case LINES_END:
        break;
    }
    p->input_ended = true;
}

/* Something is owed: a connection, answers, or the peer's goodbye. */
static bool is_busy(const struct pusher *p)
{
    return !p->was_connected || p->window.n > 0 || p->shut;
}

static void reckon(struct pusher *p, uint64_t now_ms)
{
    uint64_t mark = p->window.settled + p->window.bad + p->window.sent_max;
    if (mark != p->mark) {
        p->tries = 0;
        p->noted = false;
    }
    if (mark != p->mark || !p->was_busy)
        p->moved_ms = now_ms;
    p->mark = mark;
    p->was_busy = is_busy(p);
    if (p->end != PUSHER_ON || !p->was_busy || now_ms - p->moved_ms < p->timeout_ms)
        return;
    p->end = PUSHER_GAVE_UP;
    if (p->fd >= 0)
        err_set(&p->why, ERR_IO, "%.300s: tailraced %s%s", p->path,
                p->ack ? "does not answer" : "does not read",
                p->ack && !p->answered ? " (with ack: none it never does)" : "");
}

static void sleep_until_something(struct pusher *p, uint64_t now_ms)
{
    bool room = !p->input_ended && window_has_room(&p->window);
    uint64_t until_ms = p->ops.turn(p->ops.ctx, now_ms);
    struct pollfd fds[2] = {{.fd = p->fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    if (window_unsent(&p->window).n > 0)
        fds[0].events |= POLLOUT;
    if (room && lines_waiting(&p->lines))
        until_ms = now_ms;
    else if (room)
        fds[1].fd = lines_fd(&p->lines);
    if (is_busy(p))
        until_ms = min_u64(until_ms, p->moved_ms + p->timeout_ms);
    if (is_busy(p) && p->fd < 0)
        until_ms = min_u64(until_ms, p->retry_ms);
    uint64_t ms = until_ms > now_ms ? until_ms - now_ms : 0;
    int limit = until_ms == UINT64_MAX ? -1 : (int)min_u64(ms, 60000);
    if (poll(fds, 2, limit) > 0 && fds[0].revents != 0)
        hear(p, talk_now_ms());
}

static bool is_done(const struct pusher *p)
{
    return p->ack && p->input_ended && p->window.n == 0 && p->was_connected;
}

enum pusher_end pusher_run(struct pusher *p)
{
    p->fd = -1;
    p->end = PUSHER_ON;
    p->moved_ms = talk_now_ms();
    p->was_busy = true;
    rng_seed(&p->rng, p->moved_ms ^ ((uint64_t)getpid() << 32));
    for (;;) {
        take_lines(p);
        uint64_t now_ms = talk_now_ms();
        if (p->fd < 0 && is_busy(p) && p->end == PUSHER_ON && now_ms >= p->retry_ms)
            connect_now(p, now_ms);
        if (p->fd >= 0 && p->end == PUSHER_ON)
            speak(p, now_ms);
        reckon(p, now_ms);
        if (p->end == PUSHER_ON && is_done(p))
            p->end = PUSHER_DONE;
        if (p->end != PUSHER_ON)
            break;
        sleep_until_something(p, now_ms);
    }
    if (p->fd >= 0)
        close(p->fd);
    return p->end;
}
