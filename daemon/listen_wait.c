/* What is awaited of clients: that they send something, or the rest of a frame, that they take
 * answers, that they take the last ones. All who are awaited for the same thing have equally long,
 * so each kind is a list in the order of the deadlines, and a client that has done its part goes to
 * the end of it: nothing here costs more when there are more clients.
 *
 * One timer for all. It is wound up for the first deadline of all lists and not wound back when
 * that client does its part: it comes once for nothing, and looks again. When nothing is awaited it
 * is not wound up, and nobody is woken.
 *
 * While all are paused, or one, it is our turn: then nothing that they send is awaited.
 */
#include "daemon/listen_in.h"

#define EXPIRE_TURN 256

void listen_wait_init(struct listen_wait *w)
{
    list_init(&w->link);
    w->kind = WAIT_NOTHING;
}

static struct listen_client *first_of(const struct listen *l, enum listen_wait_kind kind)
{
    struct listen_wait *w = LIST_FIRST(&l->waits[kind], struct listen_wait, link);
    return kind <= WAIT_FRAME ? CONTAINER_OF(w, struct listen_client, input)
                              : CONTAINER_OF(w, struct listen_client, output);
}

/* When the first of a list has had its time. */
static uint64_t deadline(const struct listen *l, enum listen_wait_kind kind)
{
    bool input = kind <= WAIT_FRAME;
    if (list_empty(&l->waits[kind]) || l->wait_ms[kind] == 0 || (input && l->paused))
        return UINT64_MAX;
    uint64_t since_ms = LIST_FIRST(&l->waits[kind], struct listen_wait, link)->since_ms;
    if (input && since_ms < l->resumed_ms)
        since_ms = l->resumed_ms;
    return since_ms + l->wait_ms[kind];
}

static void wind_up(struct listen *l, uint64_t at_ms)
{
    uint64_t now_ms = listen_now(l);
    l->timer_at_ms = at_ms;
    uv_timer_start(&l->timer, listen_on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

void listen_wait_arm(struct listen *l)
{
    uint64_t at_ms = l->accept_at_ms > 0 ? l->accept_at_ms : UINT64_MAX;
    for (enum listen_wait_kind kind = 0; kind < WAITS; kind++)
        at_ms = min_u64(at_ms, deadline(l, kind));
    l->timer_at_ms = UINT64_MAX;
    if (at_ms == UINT64_MAX)
        uv_timer_stop(&l->timer);
    else
        wind_up(l, at_ms);
}

void listen_wait_for(struct listen *l, struct listen_wait *w, enum listen_wait_kind kind)
{
    list_del(&w->link);
    w->kind = kind;
    if (kind == WAIT_NOTHING)
        return;
    w->since_ms = listen_now(l);
    list_add_tail(&l->waits[kind], &w->link);
    if (l->wait_ms[kind] > 0 && w->since_ms + l->wait_ms[kind] < l->timer_at_ms)
        wind_up(l, w->since_ms + l->wait_ms[kind]);
}

void listen_on_timer(uv_timer_t *timer)
{
    static const char *const why[WAITS] = {
        [WAIT_IDLE] = "it was silent for too long",
        [WAIT_FRAME] = "it did not finish a frame in time",
        [WAIT_TAKEN] = "it did not take its answers",
        [WAIT_GOODBYE] = "it did not take its last answers",
    };
    struct listen *l = CONTAINER_OF(timer, struct listen, timer);
    uint64_t now_ms = listen_now(l);
    unsigned n = 0;
    for (enum listen_wait_kind kind = 0; kind < WAITS; kind++)
        while (n++ < EXPIRE_TURN && deadline(l, kind) <= now_ms)
            listen_client_cut_off(first_of(l, kind), why[kind], kind >= WAIT_TAKEN);
    if (l->accept_at_ms > 0 && l->accept_at_ms <= now_ms)
        listen_accept_again(l);
    listen_wait_arm(l);
}
