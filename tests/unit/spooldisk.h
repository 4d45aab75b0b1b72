/* spooldisk.h - a false disk under a spool: it remembers what was synced, and what was not.
 *
 *   struct disk d;
 *   disk_init(&d, capacity, id);        a new spool's file
 *   disk_ops(&d)                        what spool_new takes; ctx is the disk
 *   disk_finish(&d, sp)                 the write under way, if any, is done: spool_wrote
 *   disk_kill(&d, rng)                  kill -9: what was written stays, of the write under way any
 *                                       part of its bytes, the first ones first
 *   disk_cut_power(&d, rng)             of all writes since the last sync, any of their sectors
 *   disk_release(&d)
 *
 * fail_writes, fail_syncs and fail_reads count down to the failure: 1 is the next. Nothing here
 * knows cmocka.
 */
#ifndef TESTS_UNIT_SPOOLDISK_H
#define TESTS_UNIT_SPOOLDISK_H

#include <stdio.h>
#include <stdlib.h>

#include "lib/rng.h"
#include "lib/spool.h"

#define DISK_SECTOR     ((size_t)512)
#define DISK_WRITES_MAX 4096

struct disk_write {
    uint64_t place;
    size_t n;
    char *bytes;
};

struct disk {
    size_t n;
    char *bytes, *synced;
    struct disk_write unsynced[DISK_WRITES_MAX];
    unsigned unsynced_n;
    const struct spool_write *under_way;
    unsigned fail_writes, fail_syncs, fail_reads;
    unsigned writes, syncs, states, reads, notices;
    uint64_t written_bytes;
    char last_notice[256];
};

static inline void disk_forget(struct disk *d)
{
    for (unsigned i = 0; i < d->unsynced_n; i++)
        free(d->unsynced[i].bytes);
    d->unsynced_n = 0;
}

static inline void disk_put(struct disk *d, uint64_t place, struct str bytes)
{
    assert(place <= d->n && bytes.n <= d->n - place);
    memcpy(d->bytes + place, bytes.p, bytes.n);
    if (d->unsynced_n == DISK_WRITES_MAX) { /* the kernel writes the oldest back by itself */
        struct disk_write *oldest = &d->unsynced[0];
        memcpy(d->synced + oldest->place, oldest->bytes, oldest->n);
        free(oldest->bytes);
        memmove(oldest, oldest + 1, --d->unsynced_n * sizeof *oldest);
    }
    struct disk_write *w = &d->unsynced[d->unsynced_n++];
    *w = (struct disk_write){.place = place, .n = bytes.n, .bytes = malloc(bytes.n + 1)};
    assert(w->bytes != NULL);
    memcpy(w->bytes, bytes.p, bytes.n);
}

static inline void disk_sync(struct disk *d)
{
    for (unsigned i = 0; i < d->unsynced_n; i++) {
        const struct disk_write *w = &d->unsynced[i];
        memcpy(d->synced + w->place, w->bytes, w->n);
    }
    disk_forget(d);
}

static inline void disk_init(struct disk *d, uint64_t capacity, uint64_t id)
{
    memset(d, 0, sizeof *d);
    d->n = (size_t)(SPOOLLOG_DATA_PLACE + capacity);
    d->bytes = calloc(1, d->n);
    d->synced = calloc(1, d->n);
    assert(d->bytes != NULL && d->synced != NULL);
    struct spoollog log;
    struct spoollog_state state = {.clean = true};
    spoollog_init(&log, id, capacity);
    spoollog_put_header(&log, d->bytes);
    spoollog_put_header(&log, d->bytes + SPOOLLOG_COPY_PLACE);
    spoollog_put_state(&log, &state, d->bytes + spoollog_state_place(0));
    memcpy(d->synced, d->bytes, d->n);
}

static inline void disk_release(struct disk *d)
{
    disk_forget(d);
    free(d->bytes);
    free(d->synced);
}

static inline void disk_on_write(void *ctx, const struct spool_write *w)
{
    struct disk *d = ctx;
    assert(d->under_way == NULL && (w->pieces_n > 0 || w->sync));
    d->under_way = w;
    d->writes++;
}

static inline bool disk_on_read(void *ctx, uint64_t place, char *to, size_t n, struct err *e)
{
    struct disk *d = ctx;
    d->reads++;
    if ((d->fail_reads > 0 && --d->fail_reads == 0) || place > d->n || n > d->n - place) {
        err_set(e, ERR_IO, "cannot read: Input/output error");
        return false;
    }
    memcpy(to, d->bytes + place, n);
    return true;
}

static inline void disk_on_notice(void *ctx, const char *text)
{
    struct disk *d = ctx;
    d->notices++;
    snprintf(d->last_notice, sizeof d->last_notice, "%s", text);
}

static inline struct spool_ops disk_ops(struct disk *d)
{
    return (struct spool_ops){
        .ctx = d, .write = disk_on_write, .read = disk_on_read, .notice = disk_on_notice};
}

static inline void disk_finish(struct disk *d, struct spool *sp)
{
    const struct spool_write *w = d->under_way;
    struct err e;
    if (w == NULL)
        return;
    d->under_way = NULL;
    if (d->fail_writes > 0 && --d->fail_writes == 0) {
        err_set(&e, ERR_IO, "cannot write: No space left on device");
        spool_wrote(sp, &e);
        return;
    }
    for (unsigned i = 0; i < w->pieces_n; i++) {
        disk_put(d, w->pieces[i].place, w->pieces[i].bytes);
        d->written_bytes += w->pieces[i].bytes.n;
        d->states += w->pieces[i].place < SPOOLLOG_DATA_PLACE;
    }
    if (w->sync && d->fail_syncs > 0 && --d->fail_syncs == 0) {
        err_set(&e, ERR_IO, "cannot sync: Input/output error");
        spool_wrote(sp, &e);
        return;
    }
    if (w->sync) {
        disk_sync(d);
        d->syncs++;
    }
    spool_wrote(sp, NULL);
}

/* Of the write under way, some first bytes are written; of the last sector, all or nothing. */
static inline void disk_kill(struct disk *d, struct rng *rng)
{
    const struct spool_write *w = d->under_way;
    d->under_way = NULL;
    for (unsigned i = 0; w != NULL && i < w->pieces_n; i++) {
        struct str bytes = w->pieces[i].bytes;
        bool stop = rng_below(rng, 3) == 0;
        if (stop)
            bytes.n = (size_t)rng_below(rng, bytes.n + 1);
        disk_put(d, w->pieces[i].place, bytes);
        if (stop)
            return;
    }
    if (w != NULL && w->sync && rng_below(rng, 2) == 0)
        disk_sync(d);
}

static inline void disk_cut_power(struct disk *d, struct rng *rng)
{
    disk_kill(d, rng);
    unsigned mood = (unsigned)rng_below(rng, 101); /* how much of it has reached the disk */
    for (unsigned i = 0; i < d->unsynced_n; i++) {
        const struct disk_write *w = &d->unsynced[i];
        for (uint64_t at = w->place, end; at < w->place + w->n; at = end) {
            end = min_u64(w->place + w->n, (at / DISK_SECTOR + 1) * DISK_SECTOR);
            if (rng_below(rng, 100) < mood)
                memcpy(d->synced + at, w->bytes + (at - w->place), (size_t)(end - at));
        }
    }
    disk_forget(d);
    memcpy(d->bytes, d->synced, d->n);
}

#endif
