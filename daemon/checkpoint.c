/* The happy path: the text moves into the store, a worker thread writes it aside and renames, and
 * the loop hears the result. A close is a job like a save, only empty, so that its callback never
 * comes from inside checkpoint_close.
 *
 * How it fails: whatever the disk says goes to saved() as a sentence; the file of the last good
 * save stays, and the caller simply saves again with newer positions. A checkpoint that cannot be
 * read at start is never overwritten: checkpoint_load refuses, and a person decides.
 */
#include "daemon/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/statedir.h"

void checkpoint_open(struct checkpoint_store *s, uv_loop_t *loop, int dir_fd,
                     checkpoint_saved_fn *saved, void *ctx)
{
    *s = (struct checkpoint_store){.loop = loop, .dir_fd = dir_fd, .saved = saved, .ctx = ctx};
    buf_init(&s->text, CHECKPOINT_BYTES_MAX);
}

static int refuse(struct err *e, const char *name, int code, const char *why)
{
    return err_set(e, code, "%s: %s", name, why);
}

static int read_whole(int fd, const char *name, size_t size, struct buf *b, struct err *e)
{
    /* One byte more than the size, so that a file still growing is seen to be no file of ours. */
    char *p = buf_reserve(b, size + 1);
    if (p == NULL)
        return refuse(e, name, ERR_NOMEM, "no memory to read it");
    ssize_t n;
    while ((n = read(fd, p + b->n, size + 1 - b->n)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return refuse(e, name, ERR_IO, strerror(errno));
        buf_commit(b, (size_t)n);
        if (b->n > size)
            return refuse(e, name, ERR_IO, "it changed while it was read");
    }
    return 0;
}

static int load_from(int fd, const char *name, struct checkpoint *out, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return refuse(e, name, ERR_IO, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return refuse(e, name, ERR_IO, "not a regular file");
    if (st.st_size > (off_t)CHECKPOINT_BYTES_MAX)
        return refuse(e, name, ERR_RANGE, "larger than any checkpoint can be");
    struct buf b;
    buf_init(&b, CHECKPOINT_BYTES_MAX + 1);
    struct err why;
    int rc = read_whole(fd, name, (size_t)st.st_size, &b, e);
    if (rc == 0 && (rc = checkpoint_decode(buf_str(&b), out, &why)) != 0)
        refuse(e, name, rc, why.text);
    buf_release(&b);
    return rc;
}

static int load_one(int dir_fd, const char *name, struct checkpoint *out, struct err *e)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        *out = (struct checkpoint){0};
        return 0;
    }
    if (fd < 0)
        return refuse(e, name, ERR_IO, strerror(errno));
    int rc = load_from(fd, name, out, e);
    close(fd);
    return rc;
}

int checkpoint_load(int dir_fd, struct checkpoint *out, struct err *e)
{
    struct checkpoint whole, recent;
    int rc = load_one(dir_fd, CHECKPOINT_NAME, &whole, e);
    if (rc != 0)
        return rc;
    rc = load_one(dir_fd, CHECKPOINT_RECENT_NAME, &recent, e);
    if (rc == 0 && !checkpoint_merge(&whole, &recent))
        rc = refuse(e, CHECKPOINT_RECENT_NAME, ERR_NOMEM, "no memory");
    if (rc != 0)
        checkpoint_release(&whole);
    else
        *out = whole;
    return rc;
}

int checkpoint_write(int dir_fd, struct checkpoint *c, struct err *e)
{
    struct buf text;
    buf_init(&text, CHECKPOINT_BYTES_MAX);
    c->generation++; /* a recent document, if there is one, is out of date from now on */
    checkpoint_encode(c, &text);
    int rc = text.failed ? refuse(e, CHECKPOINT_NAME, ERR_NOMEM, "no memory")
                         : statedir_replace(dir_fd, CHECKPOINT_NAME, text.p, text.n, e);
    buf_release(&text);
    return rc;
}

bool checkpoint_busy(const struct checkpoint_store *s)
{
    return s->busy;
}

static void save_in_worker(uv_work_t *work)
{
    struct checkpoint_store *s = CONTAINER_OF(work, struct checkpoint_store, work);
    if (s->text.failed)
        s->result = refuse(&s->err, s->name, ERR_NOMEM, "no memory, or larger than it may be");
    else
        s->result = statedir_replace(s->dir_fd, s->name, s->text.p, s->text.n, &s->err);
}

static void close_in_worker(uv_work_t *work)
{
    (void)work;
}

static void on_saved(uv_work_t *work, int status)
{
    struct checkpoint_store *s = CONTAINER_OF(work, struct checkpoint_store, work);
    assert(status == 0); /* nobody cancels it */
    s->busy = false;
    buf_release(&s->text);
    s->saved(s->ctx, s->result == 0 ? NULL : &s->err);
    /* saved() may have begun the next save, or the close, which then has a job of its own. */
    if (s->on_closed != NULL && !s->busy)
        s->on_closed(s->close_ctx);
}

static void on_close_job(uv_work_t *work, int status)
{
    struct checkpoint_store *s = CONTAINER_OF(work, struct checkpoint_store, work);
    assert(status == 0);
    s->on_closed(s->close_ctx);
}

static void start(struct checkpoint_store *s, uv_work_cb job, uv_after_work_cb then)
{
    s->busy = true;
    int rc = uv_queue_work(s->loop, &s->work, job, then);
    assert(rc == 0); /* fails only without a job */
    (void)rc;
}

void checkpoint_save(struct checkpoint_store *s, struct buf *text, bool whole)
{
    assert(!s->busy && s->on_closed == NULL);
    assert(text->failed || text->n > 0);
    s->name = whole ? CHECKPOINT_NAME : CHECKPOINT_RECENT_NAME;
    s->text = *text;
    buf_init(text, text->max);
    start(s, save_in_worker, on_saved);
}

void checkpoint_close(struct checkpoint_store *s, void (*on_closed)(void *ctx), void *ctx)
{
    assert(s->on_closed == NULL && on_closed != NULL);
    s->on_closed = on_closed;
    s->close_ctx = ctx;
    if (!s->busy)
        start(s, close_in_worker, on_close_job);
}
