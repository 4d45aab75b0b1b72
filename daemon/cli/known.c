/* The happy path: the daemon is asked for every position with the file's inode, and those whose
 * fingerprints are not those of the file are dropped. Without a daemon, the same from the
 * checkpoint.
 */
#include "daemon/cli/known.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the file ---- */

bool target_refresh(struct target *t)
{
    struct stat st;
    if (fstat(t->fd, &st) != 0)
        return false;
    t->size = (uint64_t)st.st_size;
    return true;
}

bool target_open(struct target *t, const char *path)
{
    struct stat st;
    *t = (struct target){.path = path};
    t->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (t->fd < 0 || fstat(t->fd, &st) != 0) {
        fprintf(stderr, "tailrace: %s: %s\n", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        fprintf(stderr, "tailrace: %s: not a regular file\n", path);
    } else {
        t->device = st.st_dev;
        t->inode = st.st_ino;
        t->size = (uint64_t)st.st_size;
        return true;
    }
    if (t->fd >= 0)
        close(t->fd);
    return false;
}

void target_close(struct target *t)
{
    close(t->fd);
}

static bool holds(int fd, uint64_t end, const struct fingerprint *f)
{
    char bytes[FINGERPRINT_MAX];
    if (f->n == 0)
        return true;
    if (f->n > sizeof bytes || f->n > end)
        return false;
    ssize_t n = pread(fd, bytes, f->n, (off_t)(end - f->n));
    if (n != (ssize_t)f->n)
        return false;
    const struct fingerprint found = fingerprint_of(bytes, f->n);
    return fingerprint_eq(&found, f);
}

bool known_is(int fd, uint64_t inode, const struct position *at)
{
    return at->inode == inode && holds(fd, at->offset, &at->tail) &&
           holds(fd, at->head.n, &at->head);
}

/* ---- the positions ---- */

static void known_free(struct known *k)
{
    free(k->source);
    free(k->path);
}

void known_release(struct known_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        known_free(&set->all[i]);
    free(set->all);
    *set = (struct known_set){0};
}

/* A followed one before one that is not; else the one that is farther. */
static bool is_better(const struct known *a, const struct known *b)
{
    return a->followed != b->followed ? a->followed : a->at.offset > b->at.offset;
}

/* Takes over `k`. False: no memory. */
static bool add(struct known_set *set, struct known *k)
{
    for (size_t i = 0; i < set->n; i++) {
        if (strcmp(set->all[i].source, k->source) != 0)
            continue;
        if (is_better(k, &set->all[i])) {
            known_free(&set->all[i]);
            set->all[i] = *k;
        } else {
            known_free(k);
        }
        return true;
    }
    struct known *all = realloc(set->all, (set->n + 1) * sizeof *all);
    if (all == NULL) {
        known_free(k);
        return false;
    }
    set->all = all;
    all[set->n++] = *k;
    return true;
}

struct gathering {
    const struct target *target;
    struct known_set *set;
    bool failed;
};

static void gather(struct gathering *g, struct known *k)
{
    if (k->source == NULL || k->path == NULL) {
        known_free(k);
        g->failed = true;
    } else if (!known_is(g->target->fd, g->target->inode, &k->at)) {
        known_free(k);
    } else if (!add(g->set, k)) {
        g->failed = true;
    }
}

/* ---- from the daemon ---- */

static struct fingerprint read_fingerprint(const json_t *line, const char *name)
{
    struct fingerprint f = {0};
    const json_t *object = json_object_get(line, name);
    const char *hash = talk_text(object, "hash");
    f.n = (uint32_t)min_u64(talk_number(object, "n"), UINT32_MAX);
    for (size_t i = 0; i < FINGERPRINT_SIZE && strlen(hash) == 2 * FINGERPRINT_SIZE; i++)
        f.hash[i] = (uint8_t)strtoul((char[]){hash[2 * i], hash[2 * i + 1], '\0'}, NULL, 16);
    return f;
}

static void on_position(void *ctx, const json_t *line)
{
    struct known k = {
        .source = strdup(talk_text(line, "source")),
        .path = talk_path(line),
        .at = {.device = talk_number(line, "device"),
               .inode = talk_number(line, "inode"),
               .offset = talk_number(line, "offset"),
               .mid_record = talk_true(line, "mid_record"),
               .head = read_fingerprint(line, "head"),
               .tail = read_fingerprint(line, "tail")},
        .followed = talk_true(line, "followed"),
        .saved = talk_true(line, "saved"),
        .read = talk_number(line, "read"),
        .in_ring = talk_number(line, "in_ring"),
        .dropped = talk_number(line, "dropped"),
    };
    gather(ctx, &k);
}

static int from_daemon(struct talk *talk, struct gathering *g, struct err *e)
{
    char request[128];
    snprintf(request, sizeof request, "{\"do\":\"positions\",\"inode\":\"%" PRIu64 "\"}",
             g->target->inode);
    g->set->live = true;
    return talk_ask(talk, request, on_position, g, e);
}

/* ---- from the checkpoint ---- */

static bool is_configured(const struct talk *talk, const char *source)
{
    if (talk->config == NULL)
        return true; /* nobody has said which are */
    for (size_t i = 0; i < talk->config->sources_n; i++)
        if (strcmp(talk->config->sources[i].name, source) == 0)
            return true;
    return false;
}

static void gather_source(struct gathering *g, const struct checkpoint_source *s)
{
    for (size_t i = 0; i < s->files_n; i++) {
        const struct checkpoint_file *f = &s->files[i];
        if (f->at.inode != g->target->inode)
            continue;
        struct known k = {.source = strdup(s->name),
                          .path = strdup(f->path),
                          .at = f->at,
                          .saved = true,
                          .read = f->at.offset};
        gather(g, &k);
    }
}

static int from_checkpoint(struct talk *talk, struct gathering *g, struct err *e)
{
    int rc = talk->remembers ? 0 : talk_checkpoint(talk, &talk->remembered, e);
    if (rc != 0)
        return rc;
    talk->remembers = true;
    const struct checkpoint *c = &talk->remembered;
    for (size_t i = 0; i < c->sources_n; i++)
        if (is_configured(talk, c->sources[i].name))
            gather_source(g, &c->sources[i]);
    return 0;
}

void known_forget(struct talk *talk)
{
    checkpoint_release(&talk->remembered);
    talk->remembers = false;
}

int known_ask(struct talk *talk, const struct target *t, struct known_set *set, struct err *e)
{
    *set = (struct known_set){0};
    struct gathering g = {.target = t, .set = set};
    int rc = talk->fd >= 0 ? 0 : talk_connect(talk, e);
    if (rc == 0)
        rc = from_daemon(talk, &g, e);
    if (rc != 0) { /* not there, not for us, or gone in the middle of it */
        known_release(set);
        g.failed = false;
        rc = from_checkpoint(talk, &g, e);
    }
    if (rc == 0 && g.failed)
        rc = err_set(e, ERR_NOMEM, "memory ran out");
    if (rc != 0)
        known_release(set);
    return rc;
}
