/* One frame: its records, shaped, and put into the spool.
 *
 * What can go wrong with a record (not JSON, a bad value, too long) makes it a dead letter in the
 * spool, and names the frame to its client. What can go wrong with the spool (full) stops here,
 * before the record, and of an array the elements before it are done for good.
 */
#include <stdio.h>

#include "lib/client_in.h"
#include "lib/json.h"

#define NAME_BYTES_MAX 64 /* of a source */

static enum client_result put_item(struct client *c, struct now now, struct spool_item *item)
{
    struct client_home *home = c->home;
    item->unsafe = !home->answers;
    item->drop_oldest = home->on_full == CLIENT_DROP_OLDEST;
    switch (spool_put(home->spool, now, item)) {
    case SPOOL_OK:
        return CLIENT_GO_ON;
    case SPOOL_FULL:
        if (home->on_full == CLIENT_BLOCK)
            return CLIENT_WAIT;
        home->stats->spool_dropped++;
        say_bad(c, "dropped: the spool is full");
        return CLIENT_GO_ON;
    case SPOOL_BUSY:
    case SPOOL_FAILED:
        break;
    }
    return CLIENT_WAIT;
}

static enum client_result put_dead(struct client *c, struct now now, struct str raw,
                                   const char *reason)
{
    char key[RECORD_KEY_BYTES_MAX];
    int n = snprintf(key, sizeof key, "%c%s%c%s", '\0', c->home->source, '\0', reason);
    struct spool_item item = {
        .kind = RECORD_DEAD,
        .key = {key, min_size((size_t)n + 1, sizeof key)},
        .data = {raw.p, min_size(raw.n, c->home->spec->max_record)},
    };
    enum client_result result = put_item(c, now, &item);
    if (result == CLIENT_GO_ON)
        say_bad(c, reason);
    return result;
}

static bool is_name(struct str s)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    return s.n > 0 && s.n <= NAME_BYTES_MAX && strspn(s.p, allowed) == s.n;
}

bool client_dead_key(struct str key, struct str *source, struct str *reason)
{
    if (key.n < 4 || key.p[0] != '\0' || key.p[key.n - 1] != '\0')
        return false;
    struct str name = {key.p + 1, strlen(key.p + 1)};
    if (!is_name(name) || name.n + 2 >= key.n)
        return false;
    *source = name;
    *reason = str_of(name.p + name.n + 1);
    return true;
}

static enum client_result put_data(struct client *c, struct now now, const struct shape_out *out)
{
    struct spool_item item = {
        .kind = RECORD_DATA, .key = out->key, .key_plain = out->key_plain, .data = out->data};
    return put_item(c, now, &item);
}

static struct shape_in shape_in_of(const struct client *c, struct str raw)
{
    return (struct shape_in){
        .raw = raw, .has_peer = true, .pid = c->peer.pid, .uid = c->peer.uid, .gid = c->peer.gid};
}

/* ---- records that are too long ---- */

static enum client_result put_long(struct client *c, struct now now, struct str raw)
{
    struct client_home *home = c->home;
    struct shape_in in = shape_in_of(c, raw);
    struct shape_out out;
    enum shape_result shaped = SHAPE_DEAD;
    in.suffix = SHAPE_TRUNCATED;
    if (shape_may_cut(home->spec))
        shaped = shape_cut(home->shape, &in, home->rng, &out);
    if (shaped == SHAPE_NOMEM)
        return CLIENT_WAIT;
    enum client_result result =
        shaped == SHAPE_RECORD ? put_data(c, now, &out) : put_dead(c, now, raw, SHAPE_TOO_LONG);
    if (result != CLIENT_GO_ON)
        return result;
    home->stats->oversize++;
    say_bad(c, "too large: truncated");
    return result;
}

/* ---- records ---- */

/* `valid`: it is known to be JSON. */
static enum client_result put_record(struct client *c, struct now now, struct str raw, bool valid)
{
    struct client_home *home = c->home;
    struct shape_in in = shape_in_of(c, raw);
    in.valid = valid;
    struct shape_out out;
    enum client_result result = CLIENT_GO_ON;
    switch (shape_apply(home->shape, &in, home->rng, &out)) {
    case SHAPE_NOMEM:
        return CLIENT_WAIT;
    case SHAPE_RECORD:
        result = put_data(c, now, &out);
        break;
    case SHAPE_DEAD:
        if (out.may_be_cut && shape_may_cut(home->spec))
            return put_long(c, now, raw);
        result = put_dead(c, now, raw, out.reason);
        break;
    case SHAPE_DROPPED:
        say_bad(c, "dropped: not of the source's format");
        home->stats->dropped++;
        break;
    }
    if (result != CLIENT_GO_ON)
        return result;
    shape_count(home->stats, &out);
    home->no_match += out.no_match;
    return result;
}

/* The elements before c->element are in the spool. */
static enum client_result put_array(struct client *c, struct now now, struct str text)
{
    size_t at = c->element;
    struct str element;
    enum json_split found;
    while ((found = json_split_next(text, &at, &element)) == JSON_SPLIT_ELEMENT) {
        enum client_result result = put_record(c, now, element, true);
        if (result != CLIENT_GO_ON)
            return result;
        c->element = at;
    }
    if (found == JSON_SPLIT_END)
        return CLIENT_GO_ON;
    char reason[64];
    snprintf(reason, sizeof reason, "not JSON at byte %zu", at);
    return put_dead(c, now, (struct str){text.p + c->element, text.n - c->element}, reason);
}

static bool is_array(struct str text)
{
    size_t n = 0;
    while (n < text.n && strchr(" \t\r\n", text.p[n]) != NULL && text.p[n] != '\0')
        n++;
    return n < text.n && text.p[n] == '[';
}

enum client_result put_frame(struct client *c, struct now now, struct str text, bool cut)
{
    if (cut)
        return put_long(c, now, text);
    if (c->home->spec->split_arrays && is_array(text))
        return put_array(c, now, text);
    return put_record(c, now, text, false);
}
