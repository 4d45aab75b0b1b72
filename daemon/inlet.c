/* One source of a socket: what the configuration says of it becomes a listening socket, and what
 * its clients send becomes records in the stream's spool.
 *
 * Birth: the names in its options are looked up, the socket is made or taken over from the service
 * manager. A reload keeps the socket and its clients when path, type, file options and stream are
 * the same; everything else is exchanged under them. A stop takes nothing more, tells what is safe
 * as long as the spool and the pipeline still move, and closes. */
#include <stdlib.h>

#include "daemon/inlet_in.h"

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What clients may have seen, or have in the middle of a frame. */
bool inlet_is_kept(const struct inlet *in, const struct config_source *c)
{
    const struct config_socket *a = &in->config->socket, *b = &c->socket;
    return b->path != NULL && strcmp(a->path, b->path) == 0 && a->datagram == b->datagram &&
           a->mode == b->mode && same_text(a->owner, b->owner) && same_text(a->group, b->group) &&
           a->framing == b->framing && a->ack == b->ack &&
           strcmp(in->config->stream_name, c->stream_name) == 0 &&
           in->config->shape.max_record == c->shape.max_record &&
           in->config->shape.split_arrays == c->shape.split_arrays;
}

static void set_home(struct inlet *in)
{
    const struct config_source *c = in->config;
    struct pipeline *p = in->stream->pipeline;
    in->home.source = in->name;
    in->home.framing = c->socket.framing == FRAMING_LENGTH32 ? CLIENT_LENGTH32 : CLIENT_LINES;
    in->home.on_full = c->socket.on_full == FULL_BLOCK         ? CLIENT_BLOCK
                       : c->socket.on_full == FULL_DROP_NEWEST ? CLIENT_DROP_NEWEST
                                                               : CLIENT_DROP_OLDEST;
    in->home.answers = c->socket.ack != ACK_NONE;
    in->home.shape = in->shape;
    in->home.spec = &c->shape;
    in->home.spool = in->stream->spool;
    in->home.stats = pipeline_stats(p);
    in->home.rng = pipeline_rng(p);
}

bool inlet_check(const struct config_source *c, struct err *e)
{
    struct inlet_names names;
    if (c->socket.path == NULL)
        return true;
    if (inlet_names_find(&names, &c->socket, e) != 0)
        return false;
    inlet_names_release(&names);
    return true;
}

static struct listen_allow allow_of(const struct inlet_names *n)
{
    return (struct listen_allow){
        .uids = n->uids, .uids_n = n->uids_n, .gids = n->gids, .gids_n = n->gids_n};
}

static bool open_socket(struct inlet *in, struct err *e)
{
    const struct config_socket *c = &in->config->socket;
    const struct listen_ops ops = {
        .ctx = in,
        .opened = inlet_opened,
        .bytes = inlet_bytes,
        .ended = inlet_ended,
        .closed = inlet_closed,
        .datagram = inlet_datagram,
    };
    struct inlet_names names;
    if (inlet_names_find(&names, c, e) != 0)
        return false;
    const struct listen_options o = {
        .name = in->name,
        .path = c->path,
        .fd = activation_take(&in->service->activation, c->path, c->datagram),
        .datagram = c->datagram,
        .mode = (mode_t)c->mode,
        .owner = names.owner,
        .group = names.group,
        .max_clients = (unsigned)c->max_clients,
        .idle_ms = c->idle_ms,
        .datagram_max = in->config->shape.max_record,
        .allow = allow_of(&names),
    };
    in->listen = listen_new(&in->service->loop, &o, &ops, e);
    inlet_names_release(&names);
    return in->listen != NULL;
}

static void inlet_free(struct inlet *in)
{
    inlet_forget(in);
    client_release(&in->datagrams);
    shape_free(in->shape);
    free(in->name);
    free(in);
}

struct inlet *inlet_new(struct service *s, const struct config_source *c, struct stream *st,
                        struct shape *shape, struct err *e)
{
    struct inlet *in = calloc(1, sizeof *in);
    char *name = strdup(c->name);
    if (in == NULL || name == NULL) {
        free(in);
        free(name);
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    *in = (struct inlet){.service = s, .config = c, .stream = st, .name = name};
    in->told_safe = UINT64_MAX;
    list_init(&in->visitors);
    list_init(&in->blocked);
    list_init(&in->deaf);
    list_init(&in->acks);
    set_home(in);
    client_init(&in->datagrams, &in->home, &(struct client_peer){0});
    if (!open_socket(in, e)) {
        inlet_free(in);
        return NULL;
    }
    in->shape = in->home.shape = shape; /* taken over only now */
    s->open++;
    list_add_tail(&s->inlets, &in->link);
    inlet_steer(in);
    return in;
}

void inlet_reshape(struct inlet *in, const struct config_source *c, struct shape *shape)
{
    struct inlet_names names;
    struct err e;
    shape_free(in->shape);
    in->shape = shape;
    in->config = c;
    set_home(in);
    if (inlet_names_find(&names, &c->socket, &e) != 0) {
        log_error(log_msg("who may write stays as it was"), log_s("source", in->name),
                  log_s("why", e.text));
        return;
    }
    const struct listen_allow allow = allow_of(&names);
    if (!listen_set(in->listen, (unsigned)c->socket.max_clients, c->socket.idle_ms, &allow))
        log_error(log_msg("who may write stays as it was"), log_s("source", in->name),
                  log_s("why", "out of memory"));
    inlet_names_release(&names);
}

/* Before the daemon is ready nothing is taken; at a stop, what has come by then. */
void inlet_steer(struct inlet *in)
{
    enum service_state state = in->service->state;
    if (state <= SERVICE_RUNNING)
        listen_pause_all(in->listen, state != SERVICE_RUNNING || in->full);
    else
        listen_finish(in->listen);
}

static void on_listen_closed(void *ctx)
{
    struct inlet *in = ctx;
    struct service *s = in->service;
    inlet_free(in);
    on_device_closed(s);
}

void inlet_close(struct inlet *in)
{
    list_del(&in->link);
    listen_close(in->listen, on_listen_closed, in);
}

const char *inlet_name(const struct inlet *in)
{
    return in->name;
}

const char *inlet_path(const struct inlet *in)
{
    return in->config->socket.path;
}

const char *inlet_state(const struct inlet *in)
{
    if (spool_failed(in->home.spool) != NULL)
        return "failed";
    if (spool_is_stalled(in->home.spool))
        return "waiting";
    return in->full || !list_empty(&in->blocked) ? "full" : "listening";
}

struct stream *inlet_stream(const struct inlet *in)
{
    return in->stream;
}

const struct listen_counts *inlet_counts(const struct inlet *in)
{
    return listen_counts(in->listen);
}

struct inlet *inlet_find(struct service *s, const char *name)
{
    LIST_FOR(it, save, &s->inlets)
    {
        struct inlet *in = inlet_of(it);
        if (strcmp(in->name, name) == 0)
            return in;
    }
    return NULL;
}

struct inlet *inlet_of(struct list *link)
{
    return CONTAINER_OF(link, struct inlet, link);
}

/* Each turn begins with another, for the first may take all the room that there is. */
void inlets_turn(struct service *s, struct now now)
{
    unsigned n = 0, i = 0;
    LIST_FOR(it, save, &s->inlets)
    {
        n++;
    }
    unsigned first = n > 0 ? s->inlet_turns++ % n : 0;
    for (unsigned round = 0; round < 2; round++) {
        LIST_FOR(it, save, &s->inlets)
        {
            if ((i++ % n >= first) == (round == 0))
                inlet_resume(inlet_of(it), now);
        }
    }
}

/* Who waits although there is room: there were more of them than a turn serves, or the spool has
 * made room since. */
static bool is_due(const struct inlet *in)
{
    return (in->full || !list_empty(&in->blocked)) && client_has_room(&in->home);
}

/* As for files: a wrong format shows here first. */
static void tell_no_match(struct inlet *in, struct now now)
{
    uint64_t held, n = in->home.no_match - in->told_no_match;
    if (n == 0 || !log_limit(&in->no_match, now.mono_ms, COMPLAIN_EVERY_MS, &held))
        return;
    in->told_no_match = in->home.no_match;
    log_warn(log_msg("lines are not of the format that the configuration names"),
             log_s("source", in->name), log_u("lines", n));
}

uint64_t inlets_answer(struct service *s, struct now now)
{
    uint64_t next = UINT64_MAX;
    LIST_FOR(it, save, &s->inlets)
    {
        struct inlet *in = inlet_of(it);
        if (in->home.answers)
            inlet_acknowledge(in);
        tell_no_match(in, now);
        if (is_due(in))
            next = now.mono_ms;
    }
    return next;
}
