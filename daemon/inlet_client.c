/* The clients of a socket: their bytes go to lib/client, its answers go back.
 *
 * After each call into a client, `settle` looks at what it said: to go on, to wait (for room, or
 * until its answers are taken), or to be hung up on. Those that wait for room stand in a queue and
 * are served in turn, so that one that floods gets no more than the others. */
#include <stdlib.h>

#include "daemon/inlet_in.h"

static struct visitor *visitor_of(struct list *l, size_t offset)
{
    return (struct visitor *)(void *)((char *)l - offset);
}
#define VISITOR(l, member) visitor_of(l, offsetof(struct visitor, member))

static void visitor_free(struct visitor *v)
{
    list_del(&v->link);
    list_del(&v->wait);
    list_del(&v->ack);
    v->inlet->gone -= v->gone;
    client_release(&v->client);
    free(v);
}

/* What waits for it as an answer is given to the device. */
static bool give_answers(struct visitor *v)
{
    struct client *c = &v->client;
    if (v->connection == NULL)
        return true;
    bool taken = c->answers.n == 0 || listen_answer(v->connection, buf_str(&c->answers));
    buf_reset(&c->answers);
    c->untaken = listen_waiting(v->connection);
    return taken;
}

static void break_off(struct visitor *v, const char *why)
{
    struct inlet *in = v->inlet;
    uint64_t held;
    if (log_limit(&in->trouble, uv_now(&in->service->loop), COMPLAIN_EVERY_MS, &held))
        log_warn(log_msg("a client was hung up on"), log_s("source", in->name),
                 log_i("pid", v->client.peer.pid), log_s("why", why), log_u("held_back", held));
    list_del(&v->wait);
    list_del(&v->ack);
    if (v->connection != NULL)
        listen_hang_up(v->connection);
    else
        visitor_free(v);
}

/* It has ended, and all that came of it is dealt with. */
static void see_off(struct visitor *v)
{
    if (v->connection == NULL)
        visitor_free(v);
    else if (!client_is_waiting(&v->client))
        listen_hang_up(v->connection);
}

/* A frame that was finished meanwhile ends the waiting for it, if it was not the last. */
static void expect(struct visitor *v)
{
    const struct client *c = &v->client;
    if (v->frames != c->frames)
        listen_expects(v->connection, false);
    v->frames = c->frames;
    listen_expects(v->connection, client_is_unfinished(c));
    listen_owes(v->connection, client_is_waiting(c));
}

/* How far the spool is safe, as the source says. */
static uint64_t safe_for(const struct inlet *in)
{
    return spool_safe(in->home.spool,
                      in->config->socket.ack == ACK_DURABLE ? SPOOL_DURABLE : SPOOL_DELIVERED);
}

/* A frame without a record may be safe at once, and then nothing moves that would say so later. */
static bool answer(struct visitor *v)
{
    return client_acknowledge(&v->client, safe_for(v->inlet)) && give_answers(v);
}

static void settle(struct visitor *v, enum client_result result)
{
    struct inlet *in = v->inlet;
    list_del(&v->wait);
    if (result == CLIENT_BREAK || !answer(v)) {
        break_off(v, "no memory for what it sends, or for its answers");
        return;
    }
    list_del(&v->ack);
    if (client_is_waiting(&v->client))
        list_add_tail(&in->acks, &v->ack);
    if (result == CLIENT_WAIT) {
        bool deaf = v->client.untaken >= CLIENT_ANSWERS_MAX;
        list_add_tail(deaf ? &in->deaf : &in->blocked, &v->wait);
        if (v->connection != NULL)
            listen_pause(v->connection);
    } else if (v->ended) {
        see_off(v);
    } else {
        expect(v);
        listen_resume(v->connection);
    }
}

/* ---- what the device tells ---- */

/* Those who left something behind take memory as those who are here do, and as many may. */
static bool has_place(struct inlet *in)
{
    uint64_t held;
    if (in->gone < in->config->socket.max_clients)
        return true;
    if (log_limit(&in->trouble, uv_now(&in->service->loop), COMPLAIN_EVERY_MS, &held))
        log_warn(log_msg("a client is turned away: what max_clients others have left behind waits "
                         "for room in the spool"),
                 log_s("source", in->name), log_u("held_back", held));
    return false;
}

void *inlet_opened(void *inlet, struct listen_client *c, const struct listen_peer *peer)
{
    struct inlet *in = inlet;
    struct visitor *v = has_place(in) ? calloc(1, sizeof *v) : NULL;
    if (v == NULL)
        return NULL;
    const struct client_peer known = {.pid = peer->pid, .uid = peer->uid, .gid = peer->gid};
    v->inlet = in;
    v->connection = c;
    client_init(&v->client, &in->home, &known);
    list_init(&v->wait);
    list_init(&v->ack);
    list_add_tail(&in->visitors, &v->link);
    return v;
}

void inlet_bytes(void *inlet, void *visitor, struct str bytes)
{
    struct inlet *in = inlet;
    struct visitor *v = visitor;
    settle(v, client_feed(&v->client, service_now(in->service), bytes));
}

void inlet_ended(void *inlet, void *visitor, const char *why)
{
    struct inlet *in = inlet;
    struct visitor *v = visitor;
    (void)why; /* the device has told it */
    v->ended = true;
    settle(v, client_end(&v->client, service_now(in->service)));
}

/* Nobody will send again what was received of a client that wants no answers. */
void inlet_closed(void *inlet, void *visitor)
{
    struct visitor *v = visitor;
    (void)inlet;
    v->connection = NULL;
    list_del(&v->ack);
    bool owed = !v->inlet->home.answers && !list_empty(&v->wait);
    v->ended = true;
    v->gone = owed;
    v->inlet->gone += owed;
    if (!owed)
        visitor_free(v);
}

bool inlet_datagram(void *inlet, const struct listen_peer *peer, struct str bytes, bool whole)
{
    struct inlet *in = inlet;
    const struct client_peer known = {.pid = peer->pid, .uid = peer->uid, .gid = peer->gid};
    if (client_datagram(&in->datagrams, service_now(in->service), &known, bytes, whole))
        return true;
    in->full = true;
    listen_pause_all(in->listen, true);
    return false;
}

/* ---- the turn ---- */

void inlet_acknowledge(struct inlet *in)
{
    uint64_t safe = safe_for(in);
    if (safe == in->told_safe)
        return;
    in->told_safe = safe;
    LIST_FOR(it, save, &in->acks)
    {
        struct visitor *v = VISITOR(it, ack);
        if (!client_acknowledge(&v->client, safe) || !give_answers(v)) {
            break_off(v, "no memory for its answers");
            continue;
        }
        if (client_is_waiting(&v->client))
            continue;
        list_del(&v->ack);
        listen_owes(v->connection, false);
        if (v->ended && list_empty(&v->wait))
            see_off(v);
    }
}

static void try_again(struct visitor *v, struct now now)
{
    if (v->connection != NULL)
        v->client.untaken = listen_waiting(v->connection);
    settle(v, v->ended ? client_end(&v->client, now) : client_resume(&v->client, now));
}

void inlet_resume(struct inlet *in, struct now now)
{
    LIST_FOR(it, save, &in->deaf)
    {
        struct visitor *v = VISITOR(it, wait);
        if (listen_waiting(v->connection) < CLIENT_ANSWERS_MAX)
            try_again(v, now);
    }
    unsigned turns = INLET_RESUMED_TURN;
    while (turns-- > 0 && !list_empty(&in->blocked) && client_has_room(&in->home))
        try_again(VISITOR(in->blocked.next, wait), now);
    if (in->full && client_has_room(&in->home)) {
        in->full = false;
        listen_pause_all(in->listen, false);
        listen_tell_held(in->listen);
    }
}

void inlet_forget(struct inlet *in)
{
    uint64_t bytes = 0;
    LIST_FOR(it, save, &in->visitors)
    {
        struct visitor *v = VISITOR(it, link);
        bytes += v->client.held.n - v->client.held_at;
        visitor_free(v);
    }
    if (bytes > 0)
        log_warn(log_msg("what clients had sent and the spool had no room for is gone with the "
                         "socket"),
                 log_s("source", in->name), log_u("bytes", bytes));
}
