/* One client, after it has been let in.
 *
 * The happy path: it is put into both epolls; when it has sent something, one read of it is told;
 * answers gather in its buffer and are written before the loop sleeps; it shuts down its side,
 * which is told as the end; the owner gives the last answers and hangs up; when they are written it
 * is closed.
 *
 * How it fails: it takes no answers: they wait, and `takers` says when it takes them again. It has
 * closed without hearing them: it is deaf, its answers are dropped, and what it has sent before is
 * still read to its end. After that end, one that is closed altogether is given up at once: there
 * may be many such while answers are long in coming. One that is awaited in vain (listen_wait.c) is
 * told as ended and hung up on.
 *
 * A client is closed and freed only from the loop (the work of a turn, or its own event), from
 * listen_close, and never under the hands of another client's event.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/listen_in.h"

#define WORK_TURN  256
#define OUT_KEEP   KIB     /* bytes of memory that an idle client keeps for its answers */
#define LAST_READS 8       /* at a close: more than a socket's buffer holds */
#define ASLEEP     EPOLLET /* no event, and the one that always comes (EPOLLHUP) only once */

static void set_events(const struct listen_client *c, int epoll_fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = (void *)(uintptr_t)c};
    int rc = epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
    assert(rc == 0);
}

static bool is_read(const struct listen_client *c)
{
    return !c->paused && !c->ended && !c->leaving;
}

/* After anything that is_read asks about has changed. */
static void settle_reading(struct listen_client *c)
{
    set_events(c, c->listen->readers_fd, is_read(c) ? EPOLLIN : ASLEEP);
}

/* After stuck, ended or deaf has changed. */
static void settle_taking(struct listen_client *c)
{
    uint32_t events = c->stuck ? EPOLLOUT : c->ended ? 0 : ASLEEP; /* 0: EPOLLHUP comes */
    set_events(c, c->listen->takers_fd, events);
}

/* What is awaited of what it sends; `heard`: it has just sent something. */
static void reckon(struct listen_client *c, bool heard)
{
    enum listen_wait_kind kind = WAIT_NOTHING;
    if (is_read(c) && c->unfinished)
        kind = WAIT_FRAME;
    else if (is_read(c) && !c->owed)
        kind = WAIT_IDLE;
    if (kind != c->input.kind || (kind == WAIT_IDLE && heard))
        listen_wait_for(c->listen, &c->input, kind);
}

/* ---- life ---- */

static bool join(struct listen_client *c)
{
    struct epoll_event in = {.events = EPOLLIN, .data.ptr = c};
    struct epoll_event out = {.events = ASLEEP, .data.ptr = c};
    return epoll_ctl(c->listen->readers_fd, EPOLL_CTL_ADD, c->fd, &in) == 0 &&
           epoll_ctl(c->listen->takers_fd, EPOLL_CTL_ADD, c->fd, &out) == 0;
}

static void release(struct listen_client *c)
{
    struct listen *l = c->listen;
    list_del(&c->link);
    list_del(&c->work);
    list_del(&c->input.link);
    list_del(&c->output.link);
    l->counts.clients--;
    /* A close does not take it out of the epolls when somebody else has the descriptor too. */
    epoll_ctl(l->readers_fd, EPOLL_CTL_DEL, c->fd, NULL);
    epoll_ctl(l->takers_fd, EPOLL_CTL_DEL, c->fd, NULL);
    close(c->fd);
    buf_release(&c->out);
    free(c);
}

void listen_client_new(struct listen *l, int fd, const struct listen_peer *peer)
{
    struct listen_client *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(fd);
        return;
    }
    *c = (struct listen_client){.listen = l, .fd = fd, .peer = *peer};
    buf_init(&c->out, LISTEN_ANSWERS_MAX);
    list_init(&c->work);
    listen_wait_init(&c->input);
    listen_wait_init(&c->output);
    list_add_tail(&l->clients, &c->link);
    l->counts.clients++;
    if (join(c) && (c->owner = l->ops.opened(l->ops.ctx, c, &c->peer)) != NULL)
        reckon(c, true);
    else
        release(c);
}

void listen_client_close(struct listen_client *c)
{
    struct listen *l = c->listen;
    void *owner = c->owner;
    release(c);
    l->ops.closed(l->ops.ctx, owner);
}

static void end(struct listen_client *c, const char *why)
{
    struct listen *l = c->listen;
    c->ended = true;
    settle_reading(c);
    settle_taking(c);
    reckon(c, false);
    l->ops.ended(l->ops.ctx, c->owner, why);
}

static void be_deaf(struct listen_client *c)
{
    c->deaf = true;
    c->stuck = false;
    c->out_at = 0;
    buf_reset(&c->out);
    settle_taking(c);
    listen_wait_for(c->listen, &c->output, WAIT_NOTHING);
}

void listen_client_cut_off(struct listen_client *c, const char *why, bool deaf)
{
    struct listen *l = c->listen;
    uint64_t held;
    l->counts.cut_off++;
    if (log_limit(&l->slow, listen_now(l), LISTEN_COMPLAIN_EVERY_MS, &held))
        log_warn(log_msg("a client is cut off"), log_s("source", l->name), log_s("why", why),
                 log_i("pid", c->peer.pid), log_u("uid", c->peer.uid), log_u("held_back", held));
    if (deaf)
        be_deaf(c);
    if (!c->ended && !c->leaving)
        end(c, why);
    listen_hang_up(c);
}

/* ---- reading ---- */

static bool is_close(int error)
{
    return error == ECONNRESET || error == EPIPE;
}

/* Whether there may be more. */
static bool read_once(struct listen_client *c)
{
    struct listen *l = c->listen;
    ssize_t n = recv(c->fd, l->chunk, LISTEN_READ_MAX, MSG_DONTWAIT);
    if (n > 0) {
        reckon(c, true);
        l->ops.bytes(l->ops.ctx, c->owner, (struct str){l->chunk, (size_t)n});
    } else if (n == 0 || is_close(errno)) {
        end(c, NULL);
    } else if (errno != EAGAIN && errno != EINTR) {
        end(c, strerror(errno));
        listen_hang_up(c);
    }
    return n > 0;
}

void listen_on_readers(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct listen *l = CONTAINER_OF(poll, struct listen, readers);
    struct epoll_event ready[LISTEN_CLIENTS_TURN];
    int n = status < 0 ? 0 : epoll_wait(l->readers_fd, ready, LISTEN_CLIENTS_TURN, 0);
    for (int i = 0; i < n && !l->paused; i++) {
        struct listen_client *c = ready[i].data.ptr;
        if (is_read(c))
            read_once(c);
    }
}

void listen_client_last_words(struct listen_client *c)
{
    const struct listen *l = c->listen;
    for (unsigned i = 0; i < LAST_READS && !l->paused && is_read(c); i++)
        if (!read_once(c))
            return;
}

void listen_pause(struct listen_client *c)
{
    if (c->paused)
        return;
    c->paused = true;
    settle_reading(c);
    reckon(c, false);
}

void listen_resume(struct listen_client *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    settle_reading(c);
    reckon(c, false);
}

void listen_expects(struct listen_client *c, bool unfinished)
{
    c->unfinished = unfinished;
    reckon(c, false);
}

void listen_owes(struct listen_client *c, bool answer)
{
    c->owed = answer;
    reckon(c, false);
}

/* ---- answers ---- */

static void add_work(struct listen_client *c)
{
    list_del(&c->work);
    list_add_tail(&c->listen->work, &c->work);
    listen_wake(c->listen);
}

size_t listen_waiting(const struct listen_client *c)
{
    return c->out.n - c->out_at;
}

bool listen_answer(struct listen_client *c, struct str bytes)
{
    if (c->deaf)
        return true;
    buf_put(&c->out, bytes.p, bytes.n);
    if (!c->stuck)
        add_work(c);
    return !c->out.failed;
}

void listen_hang_up(struct listen_client *c)
{
    if (!c->leaving) {
        c->leaving = true;
        settle_reading(c);
        reckon(c, false);
        if (listen_waiting(c) > 0)
            listen_wait_for(c->listen, &c->output, WAIT_GOODBYE);
    }
    add_work(c);
}

/* It has taken all for now, or, `stuck`, not all. */
static void note_taken(struct listen_client *c, bool stuck, bool progress)
{
    if (stuck) {
        c->out.n -= c->out_at;
        memmove(c->out.p, c->out.p + c->out_at, c->out.n);
    } else {
        bool failed = c->out.failed;
        buf_reset(&c->out);
        buf_shrink(&c->out, OUT_KEEP);
        c->out.failed = failed; /* an answer is missing: none may follow */
    }
    c->out_at = 0;
    if (stuck != c->stuck) {
        c->stuck = stuck;
        settle_taking(c);
    }
    bool begins = stuck && c->output.kind == WAIT_NOTHING;
    if (!stuck)
        listen_wait_for(c->listen, &c->output, WAIT_NOTHING);
    else if (begins || (progress && c->output.kind == WAIT_TAKEN))
        listen_wait_for(c->listen, &c->output, WAIT_TAKEN);
}

static void write_answers(struct listen_client *c)
{
    ssize_t n = 0;
    bool progress = false;
    while (listen_waiting(c) > 0) {
        n = send(c->fd, c->out.p + c->out_at, listen_waiting(c), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EINTR)
            break;
        c->out_at += n > 0 ? (size_t)n : 0;
        progress = progress || n > 0;
    }
    if (n < 0 && errno != EAGAIN)
        be_deaf(c);
    else
        note_taken(c, listen_waiting(c) > 0, progress);
}

/* It is closed and gone afterwards, if that was all. */
static void flush(struct listen_client *c)
{
    write_answers(c);
    if (c->leaving && listen_waiting(c) == 0)
        listen_client_close(c);
}

void listen_client_leave(struct listen_client *c)
{
    write_answers(c);
    listen_client_close(c);
}

void listen_on_takers(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct listen *l = CONTAINER_OF(poll, struct listen, takers);
    struct epoll_event ready[LISTEN_CLIENTS_TURN];
    int n = status < 0 ? 0 : epoll_wait(l->takers_fd, ready, LISTEN_CLIENTS_TURN, 0);
    for (int i = 0; i < n; i++) {
        struct listen_client *c = ready[i].data.ptr;
        if (c->ended && (ready[i].events & EPOLLHUP) != 0)
            listen_client_close(c);
        else if (c->stuck)
            flush(c);
    }
}

void listen_do_work(struct listen *l)
{
    for (unsigned i = 0; i < WORK_TURN && !list_empty(&l->work); i++) {
        struct listen_client *c = LIST_FIRST(&l->work, struct listen_client, work);
        list_del(&c->work);
        flush(c);
    }
}
