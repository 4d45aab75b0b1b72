/* A client's bytes, whole and in pieces: the same frames, records and answers, whatever they are.
 *
 * The first byte chooses framing, acknowledgement and format, the second how the bytes are cut. The
 * spool and the pipeline are real; the file is memory. */
#include <stdlib.h>

#include "lib/client.h"
#include "tests/unit/fakes.h"
#include "tests/unit/spooldisk.h"

#define CAPACITY   ((uint64_t)64 * KIB)
#define CHUNK      ((size_t)4 * KIB)
#define RECORD_MAX ((size_t)1 * KIB)

struct world {
    struct fakes fakes;
    struct spool *spool;
    struct disk disk;
    struct buf answers; /* all of them */
};

static void open_world(struct world *x)
{
    fakes_init(&x->fakes, 1 * MIB);
    x->fakes.logging = true;
    disk_init(&x->disk, CAPACITY, 4711);
    const struct spool_ops ops = disk_ops(&x->disk);
    const struct spool_options o = {.record_max = RECORD_MAX + KIB, .chunk_bytes = CHUNK};
    struct spool_report report;
    x->spool = spool_new(&o, &ops, x->fakes.p, NULL);
    int rc = x->spool != NULL ? spool_recover(x->spool, &report, NULL) : -1;
    assert(rc == 0);
    (void)rc;
    buf_init(&x->answers, 4 * MIB);
}

static void turn(struct world *x)
{
    x->fakes.now.mono_ms += 1000;
    spool_turn(x->spool, x->fakes.now);
    disk_finish(&x->disk, x->spool);
    spool_turn(x->spool, x->fakes.now);
    fakes_settle(&x->fakes);
}

static void close_world(struct world *x)
{
    buf_release(&x->answers);
    list_del(&spool_origin(x->spool)->moved);
    fakes_release(&x->fakes);
    spool_free(x->spool);
    disk_release(&x->disk);
    free(x);
}

/* Takes the answers and makes room until it goes on. Oks depend on the time, and are left out. */
static enum client_result settle(struct world *x, struct client *c, enum client_result result,
                                 bool end)
{
    for (unsigned n = 0;; n++) {
        assert(!c->answers.failed && c->answers.n < CLIENT_ANSWERS_MAX + 2 * CLIENT_REASON_BYTES);
        buf_put(&x->answers, c->answers.p, c->answers.n);
        buf_reset(&c->answers);
        assert(result != CLIENT_BREAK && n < 10000);
        if (result == CLIENT_GO_ON)
            return result;
        turn(x);
        result = end ? client_end(c, x->fakes.now) : client_resume(c, x->fakes.now);
    }
}

static struct world *run(const struct shape_spec *spec, enum client_framing framing, bool answers,
                         struct str text, size_t step)
{
    struct world *x = calloc(1, sizeof *x);
    struct rng rng;
    rng_seed(&rng, 7);
    open_world(x);
    struct shape *shape = shape_new(spec, "host", NULL);
    assert(shape != NULL);
    struct client_home home = {.source = "events",
                               .framing = framing,
                               .answers = answers,
                               .shape = shape,
                               .spec = spec,
                               .spool = x->spool,
                               .stats = pipeline_stats(x->fakes.p),
                               .rng = &rng};
    struct client c;
    client_init(&c, &home, &(struct client_peer){.pid = 1, .uid = 2, .gid = 3});
    for (size_t at = 0; at < text.n; at += step) {
        struct str piece = {text.p + at, min_size(step, text.n - at)};
        settle(x, &c, client_feed(&c, x->fakes.now, piece), false);
        assert(c.held.n - c.held_at <= CLIENT_FRAME_MAX + 64 * KIB);
    }
    settle(x, &c, client_end(&c, x->fakes.now), true);
    uint64_t frames = c.frames;
    for (unsigned n = 0; !spool_is_empty(x->spool) && n < 1000; n++)
        turn(x);
    assert(spool_is_empty(x->spool));
    if (answers && frames > 0) {
        bool ok = client_acknowledge(&c, spool_safe(x->spool, SPOOL_DURABLE));
        assert(ok && !client_is_waiting(&c));
        (void)ok;
    }
    client_release(&c);
    assert(home.held == 0);
    shape_free(shape);
    return x;
}

/* The service gets data in order; dead letters go another way, in order among themselves. */
static void compare(const struct world *a, const struct world *b, enum record_kind kind)
{
    unsigned i = 0, k = 0;
    for (;; i++, k++) {
        while (i < a->fakes.log_n && a->fakes.log[i].kind != kind)
            i++;
        while (k < b->fakes.log_n && b->fakes.log[k].kind != kind)
            k++;
        assert((i == a->fakes.log_n) == (k == b->fakes.log_n));
        if (i == a->fakes.log_n)
            return;
        assert(str_eq(buf_str(&a->fakes.log[i].key), buf_str(&b->fakes.log[k].key)));
        assert(str_eq(buf_str(&a->fakes.log[i].data), buf_str(&b->fakes.log[k].data)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 64 * KIB)
        return 0;
    unsigned flags = data[0];
    struct str text = {(const char *)data + 2, size - 2};
    struct shape_spec spec = {.format = flags & 4 ? FORMAT_JSON : FORMAT_LINE,
                              .split_arrays = (flags & 4) != 0 && (flags & 8) != 0,
                              .flatten = (flags & 4) != 0 && (flags & 16) != 0 ? (char *)"." : NULL,
                              .on_oversize = flags & 32 ? OVERSIZE_DEAD_LETTER : OVERSIZE_TRUNCATE,
                              .key = (char *)"k",
                              .max_record = RECORD_MAX,
                              .delimiter = ','};
    enum client_framing framing = flags & 1 ? CLIENT_LENGTH32 : CLIENT_LINES;
    struct world *whole = run(&spec, framing, (flags & 2) != 0, text, text.n + 1);
    if (whole->fakes.log_n < FAKES_LOG_MAX / 2) {
        struct world *pieces = run(&spec, framing, (flags & 2) != 0, text, data[1] % 61u + 1);
        assert(str_eq(buf_str(&whole->answers), buf_str(&pieces->answers)));
        compare(whole, pieces, RECORD_DATA);
        compare(whole, pieces, RECORD_DEAD);
        close_world(pieces);
    }
    close_world(whole);
    return 0;
}
