/* The happy path: a record is copied into the newest chunk with its checksum, the next turn hands
 * it to a write, the turn after that write reads it from the chunk into the ring, and the chunk is
 * empty again. When delivery has passed the record, the state of a later write says so, and its
 * place in the file is used again a lap later.
 *
 * How it fails: no chunk is free (a write is slow): SPOOL_BUSY. The ring is full: chunks are used
 * again once they are written, and the records come from the file later. The file is full:
 * SPOOL_FULL, or the oldest are dropped. A write fails: spool_fail, and from there on nothing is
 * written, nothing is safe, and memory alone feeds the ring. */
#include "lib/spool_in.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- birth and death ---- */

static int read_header(struct spool *sp, struct err *e)
{
    int rc = spoolread_header(sp->ops.read, sp->ops.ctx, &sp->log, e);
    if (rc == 0 && sp->log.capacity < 2 * SPOOL_CHUNKS * sp->chunk_bytes)
        return err_set(e, ERR_RANGE,
                       "the spool has %" PRIu64 " bytes: for records of up to %zu bytes it needs "
                       "%zu",
                       sp->log.capacity, sp->record_max, 2 * SPOOL_CHUNKS * sp->chunk_bytes);
    return rc;
}

static int init(struct spool *sp, const struct spool_options *o, struct err *e)
{
    size_t least = spoollog_size(0, o->record_max);
    sp->record_max = o->record_max;
    sp->sync_ms = o->sync_ms;
    sp->chunk_bytes = o->chunk_bytes != 0 ? o->chunk_bytes : SPOOL_CHUNK_BYTES;
    if (sp->chunk_bytes < least)
        sp->chunk_bytes = least;
    assert(o->record_max <= SPOOLLOG_DATA_MAX / 2 && o->chunk_bytes <= SPOOLLOG_DATA_MAX / 2);
    sp->first_ms = NEVER;
    list_init(&sp->origin.moved);
    int rc = read_header(sp, e);
    if (rc != 0)
        return rc;
    bool ok = spoolread_init(&sp->reader, &sp->log, sp->ops.read, sp->ops.ctx, SPOOLREAD_WINDOW);
    for (unsigned i = 0; i < SPOOL_CHUNKS; i++) {
        sp->chunks[i].p = malloc(sp->chunk_bytes + SPOOLLOG_HEAD_BYTES); /* a pad always fits */
        ok = ok && sp->chunks[i].p != NULL;
    }
    return ok ? 0 : err_set(e, ERR_NOMEM, "no memory for a spool");
}

struct spool *spool_new(const struct spool_options *o, const struct spool_ops *ops,
                        struct pipeline *p, struct err *e)
{
    struct spool *sp = calloc(1, sizeof *sp);
    if (sp == NULL) {
        err_set(e, ERR_NOMEM, "no memory for a spool");
        return NULL;
    }
    sp->ops = *ops;
    sp->pipeline = p;
    sp->stats = pipeline_stats(p);
    if (init(sp, o, e) != 0) {
        spool_free(sp);
        return NULL;
    }
    return sp;
}

void spool_free(struct spool *sp)
{
    if (sp == NULL)
        return;
    assert(!sp->busy || sp->told);
    list_del(&sp->origin.moved);
    for (unsigned i = 0; i < SPOOL_CHUNKS; i++)
        free(sp->chunks[i].p);
    spoolread_release(&sp->reader);
    free(sp);
}

/* ---- recovery ---- */

int spool_recover(struct spool *sp, struct spool_report *report, struct err *e)
{
    struct spoollog_state state;
    bool lost;
    uint64_t end;
    int rc = spoolread_state(&sp->reader, &state, &lost, e);
    if (rc == 0)
        rc = spoolread_survey(&sp->reader, &state, NULL, NULL, report, &end, e);
    if (rc != 0)
        return rc;
    report->lost_state = lost;
    sp->state = sp->synced_state = state;
    sp->state_due = true;
    sp->kept = sp->origin.delivered = sp->origin.read_at = state.saved;
    sp->recovered = sp->written = sp->handed = sp->synced = sp->end = end;
    sp->lap = end - end % sp->log.capacity;
    return 0;
}

/* ---- chunks ---- */

static void pop_chunk(struct spool *sp)
{
    sp->first = (sp->first + 1) % SPOOL_CHUNKS;
    sp->chunks_n--;
    if (sp->chunks_n == 0)
        sp->first = 0; /* the same memory again and again, while little is there */
}

/* Whether the file has this chunk; after a failure, whether no write wants it any more. */
static bool is_written(const struct spool *sp, const struct chunk *c)
{
    return sp->written >= chunk_end(c) || (sp->failed && !sp->busy);
}

static bool is_used(const struct spool *sp, const struct chunk *c)
{
    return is_written(sp, c) && sp->origin.read_at >= chunk_end(c);
}

static void pop_used_chunks(struct spool *sp)
{
    while (sp->chunks_n > 0 && is_used(sp, spool_chunk(sp, 0)))
        pop_chunk(sp);
}

/* What is read from memory costs less than what is read from the file: while delivery goes well,
 * who puts waits a moment for it. */
static uint64_t held_until(const struct spool *sp, const struct chunk *c)
{
    return pipeline_health(sp->pipeline) == HEALTH_OK ? c->full_ms + SPOOL_HOLD_MS : 0;
}

/* A free one, or the oldest if the file has it, read or not. After a failure the file has nothing
 * more for sure: it must have been read. */
static bool has_chunk(const struct spool *sp)
{
    const struct chunk *oldest = &sp->chunks[sp->first];
    if (sp->chunks_n < SPOOL_CHUNKS || is_used(sp, oldest))
        return true;
    return !sp->failed && is_written(sp, oldest) && sp->now_ms >= held_until(sp, oldest);
}

/* When time alone makes room: the oldest chunk is held no longer. Whether somebody waits for that
 * is not known here, who has looked at spool_has_room and stayed away. */
static uint64_t memory_deadline(const struct spool *sp)
{
    const struct chunk *oldest = &sp->chunks[sp->first];
    if (has_chunk(sp) || sp->failed || !is_written(sp, oldest))
        return NEVER;
    return held_until(sp, oldest);
}

static struct chunk *push_chunk(struct spool *sp, uint64_t begin)
{
    if (sp->chunks_n == SPOOL_CHUNKS)
        pop_chunk(sp);
    if (sp->chunks_n > 0)
        spool_chunk(sp, sp->chunks_n - 1)->full_ms = sp->now_ms;
    struct chunk *c = spool_chunk(sp, sp->chunks_n++);
    c->begin = begin;
    c->n = 0;
    return c;
}

static struct chunk *newest_chunk(struct spool *sp)
{
    return sp->chunks_n > 0 ? spool_chunk(sp, sp->chunks_n - 1) : NULL;
}

/* ---- putting ---- */

/* Fills the rest of the lap; `end` is then where the next lap begins. */
static void end_lap(struct spool *sp, uint64_t rest)
{
    if (rest >= SPOOLLOG_HEAD_BYTES) {
        struct chunk *c = newest_chunk(sp);
        if (c == NULL)
            c = push_chunk(sp, sp->end);
        spoollog_put_pad(&sp->log, sp->end, rest, c->p + c->n);
        c->n += SPOOLLOG_HEAD_BYTES;
    }
    sp->end += rest;
    sp->lap = sp->end;
}

/* The chunk in which `size` bytes go on at `end`; NULL: memory is full, and nothing has changed. */
static struct chunk *make_place(struct spool *sp, size_t size, uint64_t rest)
{
    struct chunk *c = newest_chunk(sp);
    if (size <= rest && c != NULL && sp->chunk_bytes - c->n >= size)
        return c;
    if (!has_chunk(sp))
        return NULL;
    if (size > rest)
        end_lap(sp, rest);
    return push_chunk(sp, sp->end);
}

static enum spool_put no_room(struct spool *sp, bool drop_oldest)
{
    sp->wants_room = true;
    sp->wants_to_drop |= drop_oldest;
    return drop_oldest ? SPOOL_BUSY : SPOOL_FULL;
}

enum spool_put spool_put(struct spool *sp, struct now now, const struct spool_item *item)
{
    assert(item->key.n <= RECORD_KEY_BYTES_MAX && item->key.n + item->data.n <= sp->record_max);
    if (sp->failed && !item->unsafe)
        return SPOOL_FAILED;
    size_t size = spoollog_size(item->key.n, item->data.n);
    uint64_t rest = sp->log.capacity - (sp->end - sp->lap);
    uint64_t needed = size > rest ? size + rest : size;
    if (!sp->failed && spool_room(sp) < needed)
        return no_room(sp, item->drop_oldest);
    sp->now_ms = now.mono_ms;
    struct chunk *c = make_place(sp, size, rest);
    if (c == NULL)
        return spool_is_exhausted(sp) ? SPOOL_FULL : SPOOL_BUSY;
    const struct spoollog_record rec = {.kind = item->kind == RECORD_DATA ? SPOOLLOG_DATA
                                                                          : SPOOLLOG_DEAD,
                                        .key_plain = item->key_plain,
                                        .key = item->key,
                                        .data = item->data};
    spoollog_put_record(&sp->log, sp->end, &rec, c->p + c->n);
    c->n += size;
    sp->end += size;
    if (sp->first_ms == NEVER)
        sp->first_ms = now.mono_ms;
    sp->stats->spooled_records++;
    sp->stats->spooled_bytes += item->key.n + item->data.n;
    return SPOOL_OK;
}

bool spool_has_memory(const struct spool *sp)
{
    const struct chunk *c = &sp->chunks[(sp->first + sp->chunks_n - 1) % SPOOL_CHUNKS];
    size_t size = spoollog_size(0, sp->record_max);
    return (sp->chunks_n > 0 && sp->chunk_bytes - c->n >= size &&
            sp->log.capacity - (sp->end - sp->lap) >= size) ||
           has_chunk(sp);
}

bool spool_is_exhausted(const struct spool *sp)
{
    return sp->failed && !spool_has_memory(sp) && pipeline_health(sp->pipeline) != HEALTH_OK;
}

bool spool_has_room(const struct spool *sp)
{
    return spool_has_memory(sp) && (sp->failed || spool_room(sp) >= spool_room_wanted(sp));
}

bool spool_makes_room(const struct spool *sp)
{
    return sp->wants_to_drop && !sp->failed;
}

/* ---- the turn ---- */

uint64_t spool_turn(struct spool *sp, struct now now)
{
    sp->now_ms = now.mono_ms;
    spool_take_outcome(sp);
    if (sp->kept < sp->origin.delivered)
        sp->kept = sp->origin.delivered;
    bool more = spool_feed(sp, now);
    spool_drop_oldest(sp);
    pop_used_chunks(sp);
    spool_start_write(sp, now);
    if (more)
        return now.mono_ms;
    uint64_t deadline = min_u64(spool_write_deadline(sp, now), memory_deadline(sp));
    return sp->again_ms > now.mono_ms ? min_u64(deadline, sp->again_ms) : deadline;
}

void spool_pause(struct spool *sp, bool pause)
{
    sp->paused = pause;
}

void spool_finish(struct spool *sp)
{
    sp->finishing = true;
}

void spool_resume(struct spool *sp)
{
    sp->finishing = false;
}

void spool_set_sync(struct spool *sp, uint64_t sync_ms)
{
    sp->sync_ms = sync_ms;
}

/* ---- failure ---- */

void spool_fail(struct spool *sp, const char *text)
{
    if (sp->failed)
        return;
    sp->failed = true;
    sp->delivered_when_failed = sp->origin.delivered;
    snprintf(sp->failure, sizeof sp->failure, "%s", text);
}

const char *spool_failed(const struct spool *sp)
{
    return sp->failed ? sp->failure : NULL;
}

bool spool_is_stalled(const struct spool *sp)
{
    return sp->stalled;
}

/* ---- looking in ---- */

uint64_t spool_end(const struct spool *sp)
{
    return sp->end;
}

uint64_t spool_safe(const struct spool *sp, enum spool_mark mark)
{
    if (mark == SPOOL_DURABLE)
        return sp->synced;
    return sp->failed ? sp->delivered_when_failed : sp->origin.delivered;
}

bool spool_is_empty(const struct spool *sp)
{
    return sp->origin.delivered == sp->end;
}

struct origin *spool_origin(struct spool *sp)
{
    return &sp->origin;
}

struct spool *spool_of_origin(struct origin *o)
{
    return CONTAINER_OF(o, struct spool, origin);
}

uint64_t spool_capacity(const struct spool *sp)
{
    return sp->log.capacity;
}
