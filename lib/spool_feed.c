/* The happy path: what was just written still lies in its chunk, and goes from there into the ring.
 * A ring that was full for long leaves read_at behind the oldest chunk: then the file is read, a
 * window at a time, until the chunks are reached.
 *
 * How it fails: the ring is full, the next turn tries again. No room for a dead letter:
 * SPOOL_AGAIN_MS later. A read that fails is tried a few times; after that what cannot be read is
 * damage. Damage costs what is damaged, and is told. */
#include <inttypes.h>
#include <stdio.h>

#include "lib/spool_in.h"

#define READ_TRIES 5

static void notice(struct spool *sp, const char *text)
{
    if (sp->ops.notice != NULL)
        sp->ops.notice(sp->ops.ctx, text);
}

static void pass_damage(struct spool *sp, uint64_t begin, uint64_t end)
{
    char text[160];
    snprintf(text, sizeof text,
             "%" PRIu64 " damaged bytes at position %" PRIu64 " were passed over", end - begin,
             begin);
    sp->stats->spool_damaged_bytes += end - begin;
    sp->origin.read_at = end;
    notice(sp, text);
    if (end <= sp->recovered)
        return;
    snprintf(text, sizeof text,
             "what was written at position %" PRIu64
             " is not what is read there: the disk has lost "
             "it",
             begin);
    spool_fail(sp, text);
}

/* The record at read_at. False: not now. */
static bool put(struct spool *sp, struct now now, const struct spoollog_record *rec)
{
    struct origin *o = &sp->origin;
    uint64_t end = o->read_at + rec->size;
    if (rec->key.n + rec->data.n > pipeline_record_max(sp->pipeline)) {
        notice(sp, "a record of an earlier configuration is too long for the buffer: dropped");
        sp->stats->spool_dropped++;
        o->read_at = end;
        return true;
    }
    const struct pipeline_item item = {
        .kind = rec->kind == SPOOLLOG_DATA ? RECORD_DATA : RECORD_DEAD,
        .key = rec->key,
        .data = rec->data,
        .key_plain = rec->key_plain,
        .begin = o->read_at,
        .end = end,
    };
    switch (pipeline_put(sp->pipeline, now, o, &item)) {
    case PUT_OK:
        o->read_at = end;
        sp->stalled = false;
        return true;
    case PUT_DEAD_FULL:
        sp->stalled = true;
        sp->again_ms = now.mono_ms + SPOOL_AGAIN_MS;
        return false;
    case PUT_FULL:
        break;
    }
    return false;
}

/* ---- from memory ---- */

/* False: stopped before `until`. */
static bool feed_chunk(struct spool *sp, struct now now, const struct chunk *c, uint64_t until)
{
    struct origin *o = &sp->origin;
    while (o->read_at < until) {
        struct spoollog_record rec;
        spoollog_trust(c->p + (o->read_at - c->begin), &rec);
        if (rec.kind == SPOOLLOG_PAD)
            o->read_at += rec.size;
        else if (!put(sp, now, &rec))
            return false;
    }
    return true;
}

/* ---- from the file ---- */

static bool try_again_later(struct spool *sp, struct now now, const struct err *e)
{
    sp->again_ms = now.mono_ms + SPOOL_AGAIN_MS;
    notice(sp, e->text);
    if (e->code != ERR_NOMEM && ++sp->read_errors >= READ_TRIES)
        sp->reader.passes_errors = true;
    return false;
}

static void aim(struct spool *sp, uint64_t position, uint64_t readable)
{
    spoolread_seek(&sp->reader, position);
    sp->reader.readable = readable;
}

static bool feed_file(struct spool *sp, struct now now, uint64_t until, uint64_t stop)
{
    struct spoolread_item item;
    struct err e = {0};
    while (sp->origin.read_at < until && sp->origin.read_at < stop) {
        aim(sp, sp->origin.read_at, until);
        switch (spoolread_next(&sp->reader, until, &item, &e)) {
        case SPOOLREAD_RECORD:
            sp->origin.read_at = item.begin; /* behind the rest of a lap too small for a pad */
            if (!put(sp, now, &item.record))
                return false;
            sp->stats->spool_read_back++;
            break;
        case SPOOLREAD_PAD:
            sp->origin.read_at = item.end;
            break;
        case SPOOLREAD_DAMAGE:
            pass_damage(sp, item.begin, item.end);
            break;
        case SPOOLREAD_END:
            sp->origin.read_at = until;
            break;
        case SPOOLREAD_ERROR:
            return try_again_later(sp, now, &e);
        }
        sp->reader.passes_errors = false;
        sp->read_errors = 0;
    }
    return true;
}

/* ---- both ---- */

/* One step: a stretch of the file, or of a chunk. */
static bool feed_some(struct spool *sp, struct now now, uint64_t until, uint64_t stop)
{
    struct origin *o = &sp->origin;
    unsigned i = 0;
    while (i < sp->chunks_n && o->read_at >= chunk_end(spool_chunk(sp, i)))
        i++;
    const struct chunk *c = i < sp->chunks_n ? spool_chunk(sp, i) : NULL;
    if (c != NULL && o->read_at >= c->begin)
        return feed_chunk(sp, now, c, min_u64(min_u64(until, chunk_end(c)), stop));
    if (i == 0)
        return feed_file(sp, now, c != NULL ? min_u64(until, c->begin) : until, stop);
    o->read_at = c != NULL ? c->begin : until; /* the rest of a lap, too small for a pad */
    return true;
}

bool spool_feed(struct spool *sp, struct now now)
{
    struct origin *o = &sp->origin;
    if (sp->paused || now.mono_ms < sp->again_ms)
        return false;
    uint64_t until = sp->failed ? sp->end : sp->written, stop = o->read_at + SPOOL_READ_TURN;
    bool going = true;
    while (going && o->read_at < until && o->read_at < stop)
        going = feed_some(sp, now, until, stop);
    pipeline_origin_moved(sp->pipeline, o);
    return going && o->read_at < until;
}

/* ---- letting go ---- */

/* The record at `kept` need not be in the file: if it is not in the ring either, it is dropped. */
static void let_go(struct spool *sp, enum spoolread_found found, const struct spoolread_item *item)
{
    if (found == SPOOLREAD_RECORD && item->begin >= sp->origin.read_at)
        sp->stats->spool_dropped++;
    if (found == SPOOLREAD_DAMAGE && item->begin >= sp->origin.read_at)
        pass_damage(sp, item->begin, item->end);
    sp->kept = item->end;
    if (sp->origin.read_at < sp->kept)
        sp->origin.read_at = sp->kept;
}

void spool_drop_oldest(struct spool *sp)
{
    uint64_t wanted = spool_room_wanted(sp);
    if (!sp->wants_to_drop || sp->failed)
        return;
    if (spool_room(sp) >= wanted)
        sp->wants_to_drop = false;
    /* A chunk more: saving costs a write, and a sync, so one for each record would be dear. */
    uint64_t end_max = sp->log.capacity - wanted - sp->chunk_bytes;
    while (sp->wants_to_drop && sp->end - sp->kept > end_max && !sp->failed) {
        struct spoolread_item item = {0};
        struct err e = {0};
        aim(sp, sp->kept, sp->written);
        enum spoolread_found found = spoolread_next(&sp->reader, sp->written, &item, &e);
        if (found == SPOOLREAD_END || (found == SPOOLREAD_ERROR && e.code == ERR_NOMEM))
            break;
        sp->reader.passes_errors = found == SPOOLREAD_ERROR; /* what is unreadable goes first */
        if (found == SPOOLREAD_ERROR)
            continue;
        let_go(sp, found, &item);
    }
    pipeline_origin_moved(sp->pipeline, &sp->origin);
}
