/* Reading. Every read starts a little before read_at and checks that these bytes are still the
 * ones that were read: a file that was truncated, or truncated and refilled, is found out before
 * one byte of it is taken for a continuation. That costs one hash of 1 KiB a read and no system
 * call. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/tail_in.h"

#define READ_RETRY_MS 1000

/* ---- the file's own bytes ---- */

ssize_t tail_pread(const struct tail_file *f, void *to, size_t n, uint64_t offset)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = pread(f->fd, (char *)to + got, n - got, (off_t)(offset + got));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

struct fingerprint tail_fingerprint(const struct tail_file *f, uint64_t end, size_t n, bool *ok)
{
    char bytes[FINGERPRINT_MAX];
    *ok = end >= n && tail_pread(f, bytes, n, end - n) == (ssize_t)n;
    return *ok ? fingerprint_of(bytes, n) : (struct fingerprint){0};
}

static struct fingerprint fingerprint_before(const struct tail_file *f, uint64_t offset, bool *ok)
{
    return tail_fingerprint(f, offset, (size_t)min_u64(offset, FINGERPRINT_MAX), ok);
}

bool tail_seek(struct tail_file *f, uint64_t offset)
{
    bool ok;
    struct fingerprint before = fingerprint_before(f, offset, &ok);
    if (!ok)
        return false;
    f->before = before;
    f->read_at = offset;
    f->told_end = 0;
    return true;
}

uint64_t tail_size(const struct tail_file *f)
{
    struct stat st;
    if (f->fd < 0)
        return f->seen_end;
    return fstat(f->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

bool tail_is_deleted(const struct tail_file *f)
{
    struct stat st;
    return f->fd >= 0 && fstat(f->fd, &st) == 0 && st.st_nlink == 0;
}

/* Up to where the file's first bytes are known. Of one of which little or nothing has been read
 * they are those that are there. */
static size_t head_n(const struct tail_file *f)
{
    uint64_t size = f->read_at < FINGERPRINT_MAX ? tail_size(f) : 0;
    return (size_t)min_u64(size > f->read_at ? size : f->read_at, FINGERPRINT_MAX);
}

bool tail_position(struct tail_file *f, uint64_t offset, struct position *at)
{
    assert(offset <= f->read_at);
    if (f->fd < 0) {
        if (offset == f->read_at)
            *at = f->shut_at;
        return offset == f->read_at;
    }
    bool ok[3];
    struct fingerprint tail = fingerprint_before(f, offset, &ok[1]);
    struct fingerprint head = fingerprint_before(f, head_n(f), &ok[2]);
    /* The proof comes last: if the file is rewritten meanwhile, the others are worth nothing. */
    struct fingerprint before = fingerprint_before(f, f->read_at, &ok[0]);
    if (!ok[0] || !ok[1] || !ok[2] || !fingerprint_eq(&before, &f->before)) {
        tail_wake(f); /* reading will find out */
        return false;
    }
    at->device = f->device;
    at->inode = f->inode;
    at->offset = offset;
    at->head = head;
    at->tail = tail;
    return true;
}

static bool seek_and_say(struct tail_file *f, uint64_t offset, struct position *at)
{
    const uint64_t read_at = f->read_at, told_end = f->told_end;
    const struct fingerprint before = f->before;
    if (!tail_seek(f, offset))
        return false;
    if (tail_position(f, offset, at))
        return true;
    f->read_at = read_at;
    f->told_end = told_end;
    f->before = before;
    return false;
}

/* A file that is shut is opened only for the moment: the reading has its own turn, and limits. */
bool tail_rewind(struct tail_file *f, uint64_t offset, struct position *at)
{
    struct stat st;
    bool shut = f->fd < 0;
    if (shut && !f->orphan)
        f->fd = tail_open_path(f->tail, f->path, &st);
    bool ok = f->fd >= 0 && (!shut || (st.st_ino == f->inode && st.st_dev == f->device)) &&
              seek_and_say(f, offset, at);
    if (shut && f->fd >= 0)
        close(f->fd);
    if (shut)
        f->fd = -1;
    if (ok && shut)
        f->shut_at = *at;
    if (ok)
        tail_wake(f);
    return ok;
}

bool tail_holds(const struct tail_file *f, const struct position *at)
{
    if (at->offset < at->tail.n)
        return false;
    bool ok[2];
    struct fingerprint tail = tail_fingerprint(f, at->offset, at->tail.n, &ok[0]);
    struct fingerprint head = tail_fingerprint(f, at->head.n, at->head.n, &ok[1]);
    return ok[0] && ok[1] && (tail.n == 0 || fingerprint_eq(&tail, &at->tail)) &&
           (head.n == 0 || fingerprint_eq(&head, &at->head));
}

bool tail_is(const struct tail_file *f, const struct position *at)
{
    return f->inode == at->inode && tail_holds(f, at);
}

/* ---- patience ---- */

void tail_patience(struct tail_file *f, uint64_t ms)
{
    f->patience_ms = ms;
}

void tail_tell_rest(struct tail_file *f)
{
    if (f->read_at < f->seen_end)
        tail_wake(f);
}

static uint64_t quiet_for_ms(const struct tail_file *f)
{
    return tail_now(f->tail) - f->quiet_since_ms;
}

uint64_t tail_quiet_ms(const struct tail_file *f)
{
    return f->ends_here ? quiet_for_ms(f) : 0;
}

/* The file ends, and the owner has left bytes of it: he wants to hear of them again in a while. */
static void be_patient(struct tail_file *f)
{
    if (f->patience_ms == UINT64_MAX || quiet_for_ms(f) >= f->patience_ms)
        return;
    list_del(&f->patient);
    list_add_tail(&f->tail->patient, &f->patient);
    tail_arm_timer(f->tail);
}

/* ---- reading ---- */

/* It may have been copied before, and an event that tells of the copy may be on its way: those
 * that are there by now are heard before the next turn. When there are none, everything is looked
 * at. */
static bool put_off(struct tail_file *f)
{
    struct tail *t = f->tail;
    if (f->put_off != 0 || t->once || f->read_at < COPY_FIRST)
        return false;
    f->put_off = t->turn;
    t->scan_due |= t->polling;
    return true;
}

/* The file begins again: what was read of it is no longer there. */
static void start_over(struct tail_file *f)
{
    struct tail *t = f->tail;
    uint64_t unread = f->known_end > f->read_at ? f->known_end - f->read_at : 0;
    f->known_end = f->put_off = 0;
    f->cut = false;
    if (!tail_hand_over(f)) {
        if (unread > 0)
            t->ops.missed(t->ops.ctx, f, f->read_at, unread, "truncated before it was read");
        f->read_at = 0;
        f->before = fingerprint_of(NULL, 0);
        t->ops.replaced(t->ops.ctx, f);
    }
    f->seen_end = f->told_end = 0;
    f->was_short = true;
    f->rotated = false;
    tail_forget_first(f);
}

/* `used` of the bytes that follow the `before.n` bytes in the chunk have been taken. */
static void move_on(struct tail_file *f, const char *chunk, size_t used)
{
    if (used == 0)
        return;
    size_t end = f->before.n + used, n = min_size(end, FINGERPRINT_MAX);
    f->read_at += used;
    f->before = fingerprint_of(chunk + end - n, n);
    if (f->first.n == 0 && f->read_at >= COPY_FIRST)
        tail_learn_first(f);
    else
        tail_is_active(f);
}

/* A record did not fit the chunk: read more at a time, up to the longest record there may be. */
static bool grow_chunk(struct tail *t)
{
    size_t most = t->record_max + 64 * KIB;
    size_t n = min_size(t->chunk_n * 2, most);
    if (n <= t->chunk_n)
        return false;
    char *p = realloc(t->chunk, FINGERPRINT_MAX + n);
    if (p == NULL)
        return false;
    t->chunk = p;
    t->chunk_n = n;
    return true;
}

/* Once it was cut off, what it grows to is new content, and will be read. */
void tail_note_size(struct tail_file *f)
{
    uint64_t size = tail_size(f);
    f->cut |= size < f->known_end;
    if (!f->cut)
        f->known_end = size;
}

/* Notes where the file ends. Half a record that grows is no quiet. */
static void see_end(struct tail_file *f, uint64_t end)
{
    if (end > f->known_end)
        f->known_end = end;
    if (end == f->seen_end)
        return;
    f->seen_end = end;
    f->quiet_since_ms = tail_now(f->tail);
}

/* It was cut off behind what has been read. True: nothing had been, it stands in a copy, and that
 * is to be read first. */
static bool was_cut(struct tail_file *f, uint64_t end)
{
    struct tail *t = f->tail;
    bool copied = f->read_at == 0 && tail_hand_over(f);
    f->was_short = true;
    if (copied)
        tail_forget_first(f);
    else
        t->ops.missed(t->ops.ctx, f, end, f->known_end - end, "truncated before it was read");
    f->known_end = end;
    f->cut = false;
    return copied;
}

/* The disk says no: that is tried again after a while, and at the latest with the next event. */
static void cannot_read(struct tail_file *f)
{
    struct tail *t = f->tail;
    tail_complain(t, f->path, strerror(errno));
    list_del(&f->ready);
    t->incomplete = true;
    if (t->once) {
        f->done = true;
        return;
    }
    f->patience_ms = quiet_for_ms(f) + READ_RETRY_MS;
    list_del(&f->patient);
    list_add_tail(&t->patient, &f->patient);
    tail_arm_timer(t);
}

/* What stands at read_at, as far as the chunk and the limit go, behind the bytes before it. False:
 * the file cannot be read, or begins again. */
static bool read_chunk(struct tail_file *f, size_t want, size_t *n)
{
    struct tail *t = f->tail;
    ssize_t got = pread(f->fd, t->chunk, f->before.n + want, (off_t)(f->read_at - f->before.n));
    if (got < 0) {
        if (errno != EINTR)
            cannot_read(f);
        return false;
    }
    bool same = (size_t)got >= f->before.n;
    if (same && f->before.n > 0) {
        struct fingerprint before = fingerprint_of(t->chunk, f->before.n);
        same = fingerprint_eq(&before, &f->before);
    }
    if (same) {
        *n = (size_t)got - f->before.n;
        f->put_off = 0;
        tail_prove_held(f);
    } else if (!put_off(f)) {
        start_over(f);
    }
    return same;
}

/* Nothing of a whole, largest chunk was used: that would go on for ever. */
static void give_up(struct tail_file *f)
{
    tail_complain(f->tail, f->path, "a record is longer than can be read; waiting for more");
    list_del(&f->ready);
    f->news = false;
}

/* What is left to do with a file after its bytes were told. */
static void after_bytes(struct tail_file *f, bool whole, bool last, size_t used)
{
    struct tail *t = f->tail;
    if (whole && used == 0 && !last && !grow_chunk(t))
        give_up(f);
    if (last)
        f->done = t->once;
    if (whole && !last)
        return;
    list_del(&f->ready);
    f->news = false;
    if (f->rotated)
        f->patience_ms = min_u64(f->patience_ms, t->quiet_ms);
    if (f->read_at < f->seen_end && !last)
        be_patient(f);
    if (last && f->orphan && t->ops.settled(t->ops.ctx, f))
        tail_forget(f);
}

size_t tail_read(struct tail_file *f, bool *wait)
{
    struct tail *t = f->tail;
    uint64_t at = f->read_at;
    size_t want = (size_t)min_u64(t->chunk_n, f->limit > at ? f->limit - at : 0), n, used = 0;
    if (!read_chunk(f, want, &n))
        return 0;
    see_end(f, at + n);
    if (n == want)
        tail_note_size(f); /* there may be far more */
    else if (at + n < f->known_end && was_cut(f, at + n))
        return 0;
    bool quiet = (f->orphan || f->rotated) && quiet_for_ms(f) >= t->quiet_ms;
    f->ends_here = n < want;
    bool last = (t->once && (n < want || at + n >= f->limit)) || (n < want && quiet);
    f->patience_ms = UINT64_MAX;
    if (n > 0 || last) {
        f->told = true;
        tail_touch(f);
        *wait = t->ops.bytes(t->ops.ctx, f, (struct str){t->chunk + f->before.n, n}, last, &used) ==
                TAIL_WAIT;
    }
    if (f->read_at != at)
        return n; /* the owner has sought another place: the file stays ready */
    move_on(f, t->chunk, used);
    if (!*wait)
        f->told_end = at + (n < want ? n : used);
    if (!*wait)
        after_bytes(f, n == want && n > 0, last, used);
    return n;
}
