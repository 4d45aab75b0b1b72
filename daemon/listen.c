/* Birth and death of a listening socket, and who comes to it (declared in listen.h).
 *
 * The happy path: the socket is made, or the manager's is looked at; the loop polls it; who comes
 * is accepted, asked of the kernel who it is, held against what is allowed, and becomes a client
 * (listen_client.c), or the datagram is told (listen_datagram.c).
 *
 * How it fails: whoever may not come, or is one too many, is accepted and closed at once, so that
 * it knows. Without a descriptor left, the spare one is given up for that, and taken again. When
 * accepting fails in any other way, it rests for ACCEPT_REST_MS, rather than fail in every turn.
 * Each of these is counted and logged at a bounded rate.
 *
 * The end: the path goes first. Who has connected by then, and what has been sent by then, is still
 * told, if there is no pause: it was written by somebody who was not refused. Who has come to the
 * manager's socket and was not accepted yet, or has sent it a datagram, waits for the next process.
 */
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/listen_in.h"

#define ACCEPT_TURN    128
#define ACCEPT_LAST    4096 /* at a close: what may wait in the kernel */
#define ACCEPT_REST_MS 1000

/* ---- who may ---- */

bool listen_allows(const struct listen *l, uid_t uid, const gid_t *gids, size_t gids_n)
{
    if (l->uids_n == 0 && l->gids_n == 0)
        return true;
    for (size_t i = 0; i < l->uids_n; i++)
        if (l->uids[i] == uid)
            return true;
    for (size_t i = 0; i < l->gids_n; i++)
        for (size_t j = 0; j < gids_n; j++)
            if (l->gids[i] == gids[j])
                return true;
    return false;
}

void listen_refuse(struct listen *l, const struct listen_peer *peer)
{
    uint64_t held;
    l->counts.refused++;
    if (log_limit(&l->stranger, listen_now(l), LISTEN_COMPLAIN_EVERY_MS, &held))
        log_warn(log_msg("a client is refused: it is not on the list of those allowed"),
                 log_s("source", l->name), log_i("pid", peer->pid), log_u("uid", peer->uid),
                 log_u("gid", peer->gid), log_u("held_back", held));
}

static bool may_come(const struct listen *l, int fd, const struct listen_peer *peer)
{
    if (listen_allows(l, peer->uid, &peer->gid, 1))
        return true;
    gid_t few[64], *gids = few;
    socklen_t size = sizeof few;
    int rc = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &size);
    if (rc != 0 && errno == ERANGE && size <= LISTEN_GROUPS_MAX * sizeof gids[0] &&
        (gids = malloc(size)) != NULL)
        rc = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &size);
    bool may = rc == 0 && listen_allows(l, peer->uid, gids, size / sizeof gids[0]);
    if (gids != few)
        free(gids);
    return may;
}

/* ---- who comes ---- */

static void turn_away(struct listen *l, int fd, const char *why)
{
    uint64_t held;
    l->counts.turned_away++;
    if (log_limit(&l->too_many, listen_now(l), LISTEN_COMPLAIN_EVERY_MS, &held))
        log_warn(log_msg("a client is turned away"), log_s("source", l->name), log_s("why", why),
                 log_u("clients", l->counts.clients), log_u("held_back", held));
    close(fd);
}

static void welcome(struct listen *l, int fd)
{
    struct ucred who;
    socklen_t size = sizeof who;
    l->counts.accepted++;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) {
        close(fd);
        return;
    }
    const struct listen_peer peer = {.pid = who.pid, .uid = who.uid, .gid = who.gid};
    if (!may_come(l, fd, &peer)) {
        listen_refuse(l, &peer);
        close(fd);
    } else if (l->counts.clients >= l->max_clients)
        turn_away(l, fd, "there are max_clients");
    else
        listen_client_new(l, fd, &peer);
}

static int accept_one(const struct listen *l)
{
    return accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* False: not even that worked. */
static bool turn_away_for_want(struct listen *l)
{
    if (l->spare_fd < 0)
        return false;
    close(l->spare_fd);
    int fd = accept_one(l);
    bool served = fd >= 0 || errno == EAGAIN;
    if (fd >= 0) {
        l->counts.accepted++;
        turn_away(l, fd, "there is no descriptor left");
    }
    l->spare_fd = open_spare();
    return served;
}

static void rest(struct listen *l, int error)
{
    uint64_t held;
    if (log_limit(&l->trouble, listen_now(l), LISTEN_COMPLAIN_EVERY_MS, &held))
        log_warn(log_msg("no client can be accepted for now"), log_s("source", l->name),
                 log_s("why", strerror(error)), log_u("held_back", held));
    if (l->spare_fd < 0)
        l->spare_fd = open_spare();
    l->accept_at_ms = listen_now(l) + ACCEPT_REST_MS;
    uv_poll_stop(&l->listener);
    listen_wait_arm(l);
}

static void accept_some(struct listen *l, unsigned n)
{
    for (unsigned i = 0; i < n && !l->paused; i++) {
        int fd = accept_one(l);
        if (fd >= 0) {
            welcome(l, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            int error = errno;
            if ((error == EMFILE || error == ENFILE) && turn_away_for_want(l))
                continue;
            rest(l, error);
            return;
        }
    }
}

static void on_listener(uv_poll_t *poll, int status, int events)
{
    (void)events;
    if (status == 0)
        accept_some(CONTAINER_OF(poll, struct listen, listener), ACCEPT_TURN);
}

/* ---- polling ---- */

static void poll_all(struct listen *l)
{
    if (l->paused)
        return;
    if (l->datagrams != NULL) {
        uv_poll_start(&l->listener, UV_READABLE, listen_on_datagrams);
        return;
    }
    uv_poll_start(&l->readers, UV_READABLE, listen_on_readers);
    if (l->accept_at_ms == 0)
        uv_poll_start(&l->listener, UV_READABLE, on_listener);
}

void listen_accept_again(struct listen *l)
{
    l->accept_at_ms = 0;
    poll_all(l);
}

void listen_pause_all(struct listen *l, bool pause)
{
    if (l->paused == pause || l->finished)
        return;
    l->paused = pause;
    if (pause) {
        uv_poll_stop(&l->listener);
        if (l->datagrams == NULL)
            uv_poll_stop(&l->readers);
        return;
    }
    l->resumed_ms = listen_now(l);
    listen_wait_arm(l);
    poll_all(l);
    listen_wake(l); /* there may be datagrams that were read before */
}

void listen_tell_held(struct listen *l)
{
    if (l->datagrams != NULL)
        listen_datagrams_tell(l);
}

static void on_idle(uv_idle_t *idle)
{
    struct listen *l = CONTAINER_OF(idle, struct listen, idle);
    listen_do_work(l);
    listen_tell_held(l);
    if (list_empty(&l->work) && (l->paused || !listen_datagrams_held(l)))
        uv_idle_stop(idle);
}

void listen_wake(struct listen *l)
{
    uv_idle_start(&l->idle, on_idle);
}

/* ---- options ---- */

static bool copy_ids(const struct listen_allow *a, uid_t **uids, gid_t **gids)
{
    *uids = malloc((a->uids_n + 1) * sizeof **uids);
    *gids = malloc((a->gids_n + 1) * sizeof **gids);
    if (*uids == NULL || *gids == NULL) {
        free(*uids);
        free(*gids);
        return false;
    }
    if (a->uids_n > 0)
        memcpy(*uids, a->uids, a->uids_n * sizeof **uids);
    if (a->gids_n > 0)
        memcpy(*gids, a->gids, a->gids_n * sizeof **gids);
    return true;
}

bool listen_set(struct listen *l, unsigned max_clients, uint64_t idle_ms,
                const struct listen_allow *allow)
{
    uid_t *uids;
    gid_t *gids;
    if (!copy_ids(allow, &uids, &gids))
        return false;
    free(l->uids);
    free(l->gids);
    l->uids = uids;
    l->gids = gids;
    l->uids_n = allow->uids_n;
    l->gids_n = allow->gids_n;
    l->max_clients = max_clients;
    l->wait_ms[WAIT_IDLE] = idle_ms;
    listen_wait_arm(l);
    return true;
}

void listen_set_waits(struct listen *l, uint64_t frame_ms, uint64_t goodbye_ms)
{
    l->wait_ms[WAIT_FRAME] = frame_ms;
    l->wait_ms[WAIT_TAKEN] = l->wait_ms[WAIT_GOODBYE] = goodbye_ms;
    listen_wait_arm(l);
}

const struct listen_counts *listen_counts(const struct listen *l)
{
    return &l->counts;
}

/* ---- birth and death ---- */

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void free_all(struct listen *l)
{
    close_fd(l->fd);
    close_fd(l->spare_fd);
    close_fd(l->readers_fd);
    close_fd(l->takers_fd);
    listen_datagrams_free(l);
    free(l->uids);
    free(l->gids);
    free(l->name);
    free(l->chunk);
    free(l);
}

static int option_of(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/* The manager's socket is what the configuration says. */
static int look_at(int fd, bool datagram, struct err *e)
{
    const int on = 1;
    if (option_of(fd, SO_DOMAIN) != AF_UNIX ||
        option_of(fd, SO_TYPE) != (datagram ? SOCK_DGRAM : SOCK_STREAM) ||
        (!datagram && option_of(fd, SO_ACCEPTCONN) != 1))
        return err_set(e, ERR_TYPE, "the service manager's socket is not a Unix %s socket",
                       datagram ? "datagram" : "stream");
    if ((datagram && setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return err_set(e, ERR_IO, "the service manager's socket: %s", strerror(errno));
    return 0;
}

static int make_socket(struct listen *l, const struct listen_options *o, struct err *e)
{
    const struct unixsock_options own = {
        .datagram = o->datagram, .mode = o->mode, .owner = o->owner, .group = o->group};
    if (l->fd >= 0)
        return look_at(l->fd, o->datagram, e);
    int fd = unixsock_open(&l->file, o->path, &own, e);
    if (fd < 0)
        return fd;
    l->fd = fd;
    l->ours = true;
    return 0;
}

static int make_rest(struct listen *l, const struct listen_options *o, struct err *e)
{
    if (!listen_set(l, o->max_clients, o->idle_ms, &o->allow) ||
        (l->name = strdup(o->name)) == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    if (o->datagram)
        return listen_datagrams_new(l, o->datagram_max, e);
    l->chunk = malloc(LISTEN_READ_MAX);
    if (l->chunk == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    l->spare_fd = open_spare();
    l->readers_fd = epoll_create1(EPOLL_CLOEXEC);
    l->takers_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->spare_fd < 0 || l->readers_fd < 0 || l->takers_fd < 0)
        return err_set(e, ERR_IO, "%s", strerror(errno));
    return 0;
}

static int make_polls(struct listen *l, uv_loop_t *loop, struct err *e)
{
    int rc = uv_poll_init(loop, &l->listener, l->fd);
    if (rc != 0)
        return err_set(e, ERR_IO, "%s", uv_strerror(rc));
    l->handles++;
    if (l->datagrams != NULL)
        return 0;
    rc = uv_poll_init(loop, &l->readers, l->readers_fd);
    l->handles += rc == 0;
    if (rc == 0)
        rc = uv_poll_init(loop, &l->takers, l->takers_fd);
    l->handles += rc == 0;
    return rc == 0 ? 0 : err_set(e, ERR_IO, "%s", uv_strerror(rc));
}

static uv_handle_t *handle_at(struct listen *l, unsigned i)
{
    uv_handle_t *const all[] = {(uv_handle_t *)&l->timer, (uv_handle_t *)&l->idle,
                                (uv_handle_t *)&l->listener, (uv_handle_t *)&l->readers,
                                (uv_handle_t *)&l->takers};
    all[i]->data = l;
    return all[i];
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct listen *l = handle->data;
    if (--l->handles > 0)
        return;
    void (*on_closed)(void *) = l->on_closed;
    void *ctx = l->close_ctx;
    free_all(l);
    if (on_closed != NULL)
        on_closed(ctx);
}

void listen_finish(struct listen *l)
{
    if (l->finished)
        return;
    if (l->ours) {
        unixsock_remove(&l->file);
        if (l->datagrams == NULL)
            accept_some(l, ACCEPT_LAST);
    }
    if (l->datagrams != NULL)
        listen_datagrams_last(l);
    LIST_FOR(it, save, &l->clients)
    {
        listen_client_last_words(CONTAINER_OF(it, struct listen_client, link));
    }
    listen_pause_all(l, true);
    l->finished = true;
}

void listen_close(struct listen *l, void (*on_closed)(void *ctx), void *ctx)
{
    l->on_closed = on_closed;
    l->close_ctx = ctx;
    listen_finish(l);
    while (!list_empty(&l->clients))
        listen_client_leave(LIST_FIRST(&l->clients, struct listen_client, link));
    unsigned n = l->handles;
    for (unsigned i = 0; i < n; i++)
        uv_close(handle_at(l, i), on_handle_closed);
}

static void init(struct listen *l, uv_loop_t *loop, int fd, const struct listen_ops *ops)
{
    *l = (struct listen){.ops = *ops,
                         .fd = fd,
                         .spare_fd = -1,
                         .readers_fd = -1,
                         .takers_fd = -1,
                         .timer_at_ms = UINT64_MAX,
                         .handles = 2};
    l->wait_ms[WAIT_FRAME] = LISTEN_FRAME_MS;
    l->wait_ms[WAIT_TAKEN] = l->wait_ms[WAIT_GOODBYE] = LISTEN_GOODBYE_MS;
    list_init(&l->clients);
    list_init(&l->work);
    for (unsigned i = 0; i < WAITS; i++)
        list_init(&l->waits[i]);
    uv_timer_init(loop, &l->timer);
    uv_idle_init(loop, &l->idle);
}

struct listen *listen_new(uv_loop_t *loop, const struct listen_options *o,
                          const struct listen_ops *ops, struct err *e)
{
    struct listen *l = malloc(sizeof *l);
    if (l == NULL) {
        close_fd(o->fd);
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    init(l, loop, o->fd, ops);
    if (make_rest(l, o, e) != 0 || make_socket(l, o, e) != 0 || make_polls(l, loop, e) != 0) {
        l->paused = true; /* nothing is told of what has never been */
        listen_close(l, NULL, NULL);
        return NULL;
    }
    if (!o->datagram)
        uv_poll_start(&l->takers, UV_READABLE, listen_on_takers);
    poll_all(l);
    return l;
}
