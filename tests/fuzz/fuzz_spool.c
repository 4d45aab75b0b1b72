/* Bytes as the file of a spool. The first byte chooses: 0, the input is the file as it is; else the
 * header is good, and the input says what the states say, where records stand, and what of all that
 * is then spoilt. Held against: recovery ends, and what it counts is what is delivered, in order;
 * no record is delivered that was not put there; the spool works on, and starts again. */
#include "lib/pipeline_in.h"
#include "tests/unit/fakes.h"
#include "tests/unit/spooldisk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CAPACITY    SPOOLLOG_CAPACITY_MIN
#define RECORDS_MAX 256

struct input {
    const uint8_t *p;
    size_t n;
};

static uint64_t take(struct input *in, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes && in->n > 0; i++) {
        v = v << 8 | *in->p++;
        in->n--;
    }
    return v;
}

static struct disk disk;
static struct fakes fakes;
static struct spool_report report;
static struct {
    uint64_t position;
    char data[8];
} put_there[RECORDS_MAX];
static unsigned put_n;

static void put_state(const struct spoollog *log, struct input *in, uint64_t slot)
{
    char *to = disk.bytes + spoollog_state_place(slot);
    struct spoollog_state s = {.generation = take(in, 1), .saved = take(in, 3) * 8};
    s.written = s.saved + take(in, 2) * 8;
    s.clean = take(in, 1) & 1;
    spoollog_put_state(log, &s, to);
}

static uint64_t put_record(const struct spoollog *log, struct input *in, uint64_t position)
{
    static const char key[RECORD_KEY_BYTES_MAX], text[4 * KIB];
    uint8_t kind = (uint8_t)take(in, 1);
    size_t key_n = kind & 4 ? (size_t)take(in, 2) % RECORD_KEY_BYTES_MAX : 1,
           n = kind & 8 ? 4000 : 8;
    struct spoollog_record rec = {
        .kind = kind & 1 ? SPOOLLOG_DEAD : SPOOLLOG_DATA, .key = {key, key_n}, .data = {text, n}};
    uint64_t size = spoollog_size(key_n, n), left = spoollog_lap_left(log, position);
    char *to = disk.bytes + spoollog_place(log, position);
    if (size > left && left >= SPOOLLOG_HEAD_BYTES)
        spoollog_put_pad(log, position, left, to);
    if (size > left || put_n == RECORDS_MAX)
        return position + left;
    char data[4000] = {0};
    memcpy(data, &position, 8);
    rec.data.p = data;
    spoollog_put_record(log, position, &rec, to);
    put_there[put_n].position = position;
    memcpy(put_there[put_n++].data, data, 8);
    return position + size;
}

static void build(struct input *in)
{
    struct spoollog log;
    spoollog_init(&log, 1, CAPACITY);
    memset(disk.bytes + SPOOLLOG_DATA_PLACE, 0, CAPACITY);
    spoollog_put_header(&log, disk.bytes);
    put_state(&log, in, 0);
    put_state(&log, in, 1);
    uint64_t position = take(in, 3) * 8;
    while (in->n > 0) {
        uint8_t op = (uint8_t)take(in, 1);
        size_t n = op & 63, at = (size_t)take(in, 2);
        switch (op >> 6) {
        case 0:
        case 1:
            position = put_record(&log, in, position);
            break;
        case 2: /* go elsewhere, or an old lap */
            position = op & 32 ? position + CAPACITY * (at & 3) : at * 8;
            break;
        default: /* spoil something, the states too */
            at = at * 2 % (disk.n - SPOOLLOG_PAGE - n) + SPOOLLOG_PAGE;
            for (size_t i = 0; i < n; i++)
                disk.bytes[at + i] = (char)(disk.bytes[at + i] ^ (char)take(in, 1));
        }
    }
}

static bool was_put(const struct record *rec)
{
    for (unsigned i = 0; i < put_n; i++)
        if (put_there[i].position == rec->begin &&
            memcmp(put_there[i].data, record_data(rec).p, 8) == 0)
            return true;
    return false;
}

static bool checked; /* what is delivered must be in put_there */

static void on_send(void *ctx, unsigned slot, const struct pipeline_request *r)
{
    fakes_on_send(ctx, slot, r);
    for (unsigned i = 0; i < r->batch->window; i++)
        assert(!checked || was_put(r->batch->records[i]));
}

static struct spool *start(void)
{
    static const struct spool_options o = {.record_max = 2 * KIB, .chunk_bytes = 8 * KIB};
    const struct spool_ops ops = disk_ops(&disk);
    fakes_init(&fakes, 64 * KIB);
    fakes.p->ops.send = on_send;
    struct spool *sp = spool_new(&o, &ops, fakes.p, NULL);
    if (sp != NULL && spool_recover(sp, &report, NULL) != 0) {
        spool_free(sp);
        sp = NULL;
    }
    if (sp == NULL)
        fakes_release(&fakes);
    return sp;
}

static void stop(struct spool *sp)
{
    spool_free(sp);
    fakes_release(&fakes);
}

static void deliver_all(struct spool *sp)
{
    for (unsigned i = 0; !spool_is_empty(sp); i++) {
        assert(i < 10000);
        spool_turn(sp, fakes.now);
        disk_finish(&disk, sp);
        fakes_settle(&fakes);
        spool_pause(sp, fakes.paused);
    }
}

static void check(struct spool *sp)
{
    struct origin *o = spool_origin(sp);
    const struct stats *stats = pipeline_stats(fakes.p);
    assert(o->delivered == o->read_at && o->delivered <= spool_end(sp));
    assert(spool_end(sp) - o->delivered <= CAPACITY);
    deliver_all(sp);
    assert(stats->records_in == report.records);
    assert(stats->spool_damaged_bytes == report.damaged_bytes);
    assert(stats->spool_dropped == 0);
}

static void go_on(struct spool *sp)
{
    const struct spool_item item = {.kind = RECORD_DATA, .key = STR("k"), .data = STR("12345678")};
    checked = false;
    for (unsigned i = 0; i < 20; i++) {
        enum spool_put result = spool_put(sp, fakes.now, &item);
        assert(result != SPOOL_FAILED);
        if (result != SPOOL_OK)
            deliver_all(sp);
        fakes.now.mono_ms += 300;
        spool_turn(sp, fakes.now);
        disk_finish(&disk, sp);
    }
    deliver_all(sp);
    spool_finish(sp);
    for (unsigned i = 0; i < 8 && !spool_is_quiet(sp); i++) {
        spool_turn(sp, fakes.now);
        disk_finish(&disk, sp);
    }
    assert(spool_is_quiet(sp) && spool_failed(sp) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    disk_init(&disk, CAPACITY, 1);
    put_n = 0;
    checked = take(&in, 1) != 0;
    if (checked)
        build(&in);
    else if (in.n > 0)
        memcpy(disk.bytes, in.p, min_size(in.n, disk.n));
    bool chosen = checked;
    struct spool *sp = start();
    if (sp != NULL) {
        check(sp);
        go_on(sp);
        stop(sp);
        sp = start();
        assert(sp != NULL); /* a good record just behind the end may have been put there */
        assert(chosen || report.records == 0);
        stop(sp);
    }
    disk_release(&disk);
    return 0;
}
