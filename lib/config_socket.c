/* config_socket.c - what makes a source one of a socket (declared in config_parts.h).
 *
 * A source has `file` or `socket`, and each kind has options of its own; the schema's rows say
 * which. Then come the rules that keep an acknowledgement true: what was acknowledged is in a
 * spool that syncs, and is never dropped, by whichever socket of the stream.
 */
#include <stdlib.h>

#include "lib/config_parts.h"

#define ALLOW_MAX 256

/* ---- allow ---- */

bool config_read_id(const char *text, uint32_t *id)
{
    uint64_t v = 0;
    size_t n = strlen(text);
    for (size_t i = 0; i < n && i < 10; i++)
        v = v * 10 + (uint64_t)(text[i] - '0');
    *id = (uint32_t)v;
    /* the last one stands for "none" */
    return n > 0 && n <= 10 && strspn(text, "0123456789") == n && v < UINT32_MAX;
}

static void build_ids(struct complaints *bad, const struct section *s, const char *option,
                      uint32_t **ids, size_t *n)
{
    char **names = NULL;
    size_t names_n = 0;
    names_build(bad, s, option, ALLOW_MAX, &names, &names_n);
    const struct yaml *at = section_key(s, option);
    *ids = names_n > 0 ? calloc(names_n, sizeof **ids) : NULL;
    bad->nomem |= names_n > 0 && *ids == NULL;
    for (size_t i = 0; i < names_n; i++) {
        if (*ids != NULL && names[i] != NULL && config_read_id(names[i], &(*ids)[*n]))
            ++*n;
        else if (!bad->nomem)
            complain(bad, at->line, at->column, "%s%s: \"%.40s\" is not a number of 0 to %u",
                     s->where, option, names[i], UINT32_MAX - 1);
        free(names[i]);
    }
    free(names);
}

static void build_allow(struct complaints *bad, const struct section *s, struct config_allow *a)
{
    const struct yaml *key = section_key(s, "allow");
    struct section in = {.scope = SCOPE_ALLOW};
    if (key == NULL ||
        !section_enter(bad, s, "", s->mapping, (size_t)(key - s->mapping->keys), &in))
        return;
    section_read(bad, &in, a);
    build_ids(bad, &in, "uids", &a->uids, &a->uids_n);
    build_ids(bad, &in, "gids", &a->gids, &a->gids_n);
    names_build(bad, &in, "users", ALLOW_MAX, &a->users, &a->users_n);
    names_build(bad, &in, "groups", ALLOW_MAX, &a->groups, &a->groups_n);
    if (in.mapping->n == 0)
        complain(bad, key->line, key->column, "%sallow: names nobody; leave it out to allow all",
                 s->where);
}

static bool ids_equal(const uint32_t *a, size_t a_n, const uint32_t *b, size_t b_n)
{
    return a_n == b_n && (a_n == 0 || memcmp(a, b, a_n * sizeof *a) == 0);
}

bool allow_equal(const struct config_allow *a, const struct config_allow *b)
{
    return ids_equal(a->uids, a->uids_n, b->uids, b->uids_n) &&
           ids_equal(a->gids, a->gids_n, b->gids, b->gids_n) &&
           names_equal(a->users, a->users_n, b->users, b->users_n) &&
           names_equal(a->groups, a->groups_n, b->groups, b->groups_n);
}

void socket_free(struct config_socket *socket)
{
    struct config_allow *a = &socket->allow;
    free(a->uids);
    free(a->gids);
    names_free(a->users, a->users_n);
    names_free(a->groups, a->groups_n);
}

/* ---- the one kind, or the other ---- */

static void check_kind(struct complaints *bad, const struct section *s, bool is_socket)
{
    enum option_kind other = is_socket ? KIND_FILE : KIND_SOCKET;
    for (size_t i = 0; i < s->mapping->n; i++) {
        const struct yaml *key = &s->mapping->keys[i];
        const struct schema_row *o = schema_find(SCOPE_SOURCE, key->text);
        if (o != NULL && o->kind == other && strcmp(key->text, "file") != 0)
            complain(bad, key->line, key->column, "%s%s: goes only with %s", s->where, key->text,
                     is_socket ? "file" : "socket");
    }
}

static void complain_of(struct complaints *bad, const struct section *s, const char *option,
                        const char *why)
{
    const struct yaml *at = section_key(s, option);
    if (at == NULL)
        at = s->place;
    complain(bad, at->line, at->column, "%s%s: %s", s->where, option, why);
}

static void check_socket(struct complaints *bad, const struct section *s,
                         const struct config_source *c)
{
    const struct config_socket *k = &c->socket;
    if (k->datagram && k->ack != ACK_NONE)
        complain_of(bad, s, "ack", "datagrams take only none: there is nobody to answer");
    if (k->datagram && section_key(s, "framing") != NULL)
        complain_of(bad, s, "framing", "each datagram is a record by itself");
    if (k->datagram && section_key(s, "max_clients") != NULL)
        complain_of(bad, s, "max_clients", "goes only with type: stream");
    if (k->datagram && section_key(s, "idle_timeout") != NULL)
        complain_of(bad, s, "idle_timeout", "goes only with type: stream");
    if (k->ack != ACK_NONE && k->on_full == FULL_DROP_OLDEST)
        complain_of(bad, s, "on_full",
                    "drop_oldest would drop records that were acknowledged: ack must be none");
    if (c->shape.format == FORMAT_CSV)
        complain_of(bad, s, "format", "csv goes only with file");
    if (c->shape.on_oversize == OVERSIZE_SPLIT)
        complain_of(bad, s, "on_oversize", "split goes only with file");
    if (encoding_is_utf16(c->shape.encoding) && !k->datagram && k->framing == FRAMING_NEWLINE)
        complain_of(bad, s, "encoding",
                    "utf-16 goes only with framing: length32 or type: datagram");
}

void socket_build(struct complaints *bad, const struct section *s, uint64_t wrong,
                  struct config_source *source)
{
    const struct yaml *file = section_key(s, "file"), *socket = section_key(s, "socket");
    if (file == NULL && socket == NULL)
        complain(bad, s->place->line, s->place->column,
                 "%sfile: is required and missing, or socket", s->where);
    if (file != NULL && socket != NULL)
        complain(bad, socket->line, socket->column, "%ssocket: goes not with file", s->where);
    if ((file == NULL) == (socket == NULL))
        return;
    check_kind(bad, s, file == NULL);
    build_allow(bad, s, &source->socket.allow);
    if (file == NULL && (wrong & section_bit(SCOPE_SOURCE, "type")) == 0)
        check_socket(bad, s, source);
}

/* ---- with its stream, and with others ---- */

void socket_check_stream(struct complaints *bad, const struct section *s, const struct config *c,
                         size_t i)
{
    const struct config_source *source = &c->sources[i];
    const struct config_stream *stream = &c->streams[source->stream];
    if (source->socket.path == NULL)
        return;
    if (source->socket.ack != ACK_NONE && stream->sync_ms == UINT64_MAX) {
        complain_of(bad, s, "ack",
                    "sync: never of its stream would make an acknowledgement untrue");
        return;
    }
    for (size_t k = 0; k < i; k++) {
        const struct config_source *other = &c->sources[k];
        if (other->socket.path == NULL)
            continue;
        if (strcmp(other->socket.path, source->socket.path) == 0)
            complain_of(bad, s, "socket", "another source listens there");
        if (other->stream != source->stream)
            continue;
        bool acked = other->socket.ack != ACK_NONE || source->socket.ack != ACK_NONE;
        bool drops =
            other->socket.on_full == FULL_DROP_OLDEST || source->socket.on_full == FULL_DROP_OLDEST;
        if (acked && drops)
            complain_of(bad, s, "on_full",
                        "drop_oldest and acknowledgements do not go together in one stream");
    }
}
