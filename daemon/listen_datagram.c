/* Datagrams: read many at one time, told one by one.
 *
 * The happy path: the loop says that there are some; up to DATAGRAMS_MAX are read by one call, with
 * who has sent each; they are told; again, until there are no more or the turn is over.
 *
 * How it fails: the callee has no room, pauses and says so: that datagram and those read behind it
 * are held, and told first after the pause. One longer than its room comes cut, and is told so. One
 * from somebody who is not allowed is counted and dropped.
 *
 * There is no receive buffer to be made larger: what the kernel holds of a sender counts against
 * the sender's own buffer, and the queue is as long as net.unix.max_dgram_qlen said when the socket
 * was made.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "daemon/listen_in.h"

#define DATAGRAMS_MAX  64        /* read by one call, */
#define DATAGRAM_BYTES (8 * MIB) /* but less if they may be long; only what is used is touched */
#define LAST_DATAGRAMS 4096      /* at a close: more than the kernel queues */

struct listen_datagrams {
    struct mmsghdr heads[DATAGRAMS_MAX];
    struct iovec rooms[DATAGRAMS_MAX];
    /* Room for credentials and no more: descriptors that are sent along are closed for us. */
    struct {
        _Alignas(struct cmsghdr) char bytes[CMSG_SPACE(sizeof(struct ucred))];
    } controls[DATAGRAMS_MAX];
    unsigned n_max; /* by one call */
    unsigned n, at; /* read; told */
    char *bytes;
};

int listen_datagrams_new(struct listen *l, size_t datagram_max, struct err *e)
{
    struct listen_datagrams *d = calloc(1, sizeof *d);
    l->datagrams = d;
    size_t n = DATAGRAM_BYTES / datagram_max;
    n = n < 1 ? 1 : min_size(n, DATAGRAMS_MAX);
    if (d == NULL || (d->bytes = malloc(n * datagram_max)) == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    d->n_max = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        d->rooms[i] = (struct iovec){d->bytes + i * datagram_max, datagram_max};
        d->heads[i].msg_hdr = (struct msghdr){
            .msg_iov = &d->rooms[i], .msg_iovlen = 1, .msg_control = d->controls[i].bytes};
    }
    return 0;
}

void listen_datagrams_free(struct listen *l)
{
    if (l->datagrams != NULL)
        free(l->datagrams->bytes);
    free(l->datagrams);
}

bool listen_datagrams_held(const struct listen *l)
{
    return l->datagrams != NULL && l->datagrams->at < l->datagrams->n;
}

/* Who is not known is nobody. */
static struct listen_peer peer_of(const struct msghdr *m)
{
    struct listen_peer peer = {.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
    const struct cmsghdr *c = CMSG_FIRSTHDR(m);
    if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
        struct ucred who;
        memcpy(&who, CMSG_DATA(c), sizeof who);
        peer = (struct listen_peer){.pid = who.pid, .uid = who.uid, .gid = who.gid};
    }
    return peer;
}

/* False: not now. */
static bool tell_one(struct listen *l, const struct mmsghdr *h)
{
    const struct msghdr *m = &h->msg_hdr;
    const struct listen_peer peer = peer_of(m);
    if (!listen_allows(l, peer.uid, &peer.gid, 1)) {
        listen_refuse(l, &peer);
        return true;
    }
    const struct str bytes = {m->msg_iov->iov_base, h->msg_len};
    return l->ops.datagram(l->ops.ctx, &peer, bytes, (m->msg_flags & MSG_TRUNC) == 0);
}

void listen_datagrams_tell(struct listen *l)
{
    struct listen_datagrams *d = l->datagrams;
    while (d->at < d->n && !l->paused && tell_one(l, &d->heads[d->at]))
        d->at++;
    assert(d->at == d->n || l->paused);
}

/* The number of those read. */
static unsigned read_some(struct listen *l)
{
    struct listen_datagrams *d = l->datagrams;
    for (unsigned i = 0; i < d->n_max; i++)
        d->heads[i].msg_hdr.msg_controllen = sizeof d->controls[i].bytes;
    int n = recvmmsg(l->fd, d->heads, d->n_max, MSG_DONTWAIT, NULL);
    d->at = 0;
    d->n = n > 0 ? (unsigned)n : 0;
    return d->n;
}

/* At most `n` and a few; all that are there, if they are fewer. */
static void read_and_tell(struct listen *l, unsigned n)
{
    struct listen_datagrams *d = l->datagrams;
    listen_datagrams_tell(l);
    for (unsigned done = 0; done < n && d->at == d->n && !l->paused; done += d->n) {
        if (read_some(l) == 0)
            return;
        listen_datagrams_tell(l);
    }
}

void listen_on_datagrams(uv_poll_t *poll, int status, int events)
{
    (void)events;
    if (status == 0)
        read_and_tell(CONTAINER_OF(poll, struct listen, listener), LISTEN_DATAGRAMS_TURN);
}

void listen_datagrams_last(struct listen *l)
{
    const struct listen_datagrams *d = l->datagrams;
    if (d == NULL)
        return;
    read_and_tell(l, l->ours ? LAST_DATAGRAMS : 0);
    if (d->at < d->n)
        log_warn(log_msg("datagrams are lost: they were read, and there is no room for them"),
                 log_s("source", l->name), log_u("datagrams", d->n - d->at));
}
