/* One write at a time. It takes all that was put since the last, in as many pieces as chunks, and
 * where it is due the state and the sync with it. What is written next waits in the chunks for its
 * end: under load each write is as large as the disk is slow.
 *
 * A state is due when delivery has moved and a second is over; at once when somebody waits for the
 * room; and when recovery could otherwise not find what is written: far behind the last state
 * (SPOOLREAD_REACH), or behind one that says that it closes the file. That one comes only when all
 * before it is on the disk.
 *
 * A failure is for good: the kernel forgets what it could not write, so no later sync can be
 * believed. */
#include "lib/spool_in.h"

void spool_wrote(struct spool *sp, const struct err *e)
{
    assert(sp->busy && !sp->told);
    sp->told = true;
    sp->outcome.code = 0;
    if (e != NULL)
        sp->outcome = *e;
}

void spool_take_outcome(struct spool *sp)
{
    if (!sp->told)
        return;
    sp->busy = sp->told = false;
    if (sp->outcome.code != 0) {
        spool_fail(sp, sp->outcome.text);
        return;
    }
    sp->written = sp->job.end;
    if (sp->failed)
        return;
    if (sp->job.has_state)
        sp->state = sp->job.state;
    if (sp->write.sync) {
        sp->synced = sp->job.end;
        sp->synced_state = sp->state;
    }
}

static bool syncs(const struct spool *sp)
{
    return sp->sync_ms != SPOOL_SYNC_NEVER;
}

/* Whether saving what is kept makes room, and somebody needs it or will soon. */
static bool is_room_due(struct spool *sp)
{
    uint64_t room = spool_room(sp), gain = sp->kept - spool_floor(sp), all = sp->log.capacity;
    if (sp->wants_room && room >= spool_room_wanted(sp))
        sp->wants_room = false;
    if (sp->kept <= spool_floor(sp) || room + gain < spool_room_wanted(sp))
        return false;
    return sp->wants_room || (room < all / 4 && gain >= all / 16);
}

static bool is_sync_due(const struct spool *sp, struct now now)
{
    if (sp->first_ms == NEVER || !syncs(sp))
        return false;
    return sp->finishing || now.mono_ms - sp->first_ms >= sp->sync_ms;
}

static bool is_closed(const struct spool *sp)
{
    return sp->state.clean && sp->state.saved == sp->kept && sp->state.written == sp->end &&
           (!syncs(sp) || sp->synced_state.generation == sp->state.generation);
}

/* ---- one write ---- */

static void add_chunks(struct spool *sp, struct spool_write *w)
{
    for (unsigned i = 0; i < sp->chunks_n; i++) {
        const struct chunk *c = spool_chunk(sp, i);
        if (chunk_end(c) <= sp->handed)
            continue;
        uint64_t from = c->begin > sp->handed ? c->begin : sp->handed;
        w->pieces[w->pieces_n].place = spoollog_place(&sp->log, from);
        w->pieces[w->pieces_n].bytes =
            (struct str){c->p + (from - c->begin), (size_t)(chunk_end(c) - from)};
        w->pieces_n++;
    }
}

static void add_state(struct spool *sp, struct spool_write *w, bool clean)
{
    sp->job.has_state = true;
    sp->job.state = (struct spoollog_state){.generation = sp->state.generation + 1,
                                            .saved = sp->kept,
                                            .written = sp->written,
                                            .clean = clean};
    spoollog_put_state(&sp->log, &sp->job.state, sp->state_bytes);
    w->pieces[w->pieces_n].place = spoollog_state_place(sp->job.state.generation);
    w->pieces[w->pieces_n].bytes = (struct str){sp->state_bytes, sizeof sp->state_bytes};
    w->pieces_n++;
}

static void start(struct spool *sp, struct now now, bool state, bool clean, bool sync)
{
    struct spool_write *w = &sp->write;
    w->pieces_n = 0;
    w->sync = sync;
    sp->job.end = sp->end;
    sp->job.has_state = false;
    add_chunks(sp, w);
    if (state) {
        add_state(sp, w, clean);
        sp->state_ms = now.mono_ms;
        sp->state_due = false;
    }
    sp->handed = sp->end;
    if (sync)
        sp->first_ms = NEVER;
    sp->busy = true;
    sp->stats->spool_writes++;
    sp->stats->spool_syncs += sync;
    sp->ops.write(sp->ops.ctx, w);
}

void spool_start_write(struct spool *sp, struct now now)
{
    if (sp->busy || sp->failed)
        return;
    bool data = sp->handed<sp->end, moved = sp->kept> sp->state.saved;
    bool room = is_room_due(sp);
    bool closing = sp->finishing && !data && sp->first_ms == NEVER && !is_closed(sp);
    if (!syncs(sp))
        closing = sp->finishing && !data && !is_closed(sp);
    bool behind = sp->end > sp->state.written + SPOOLREAD_REACH / 2;
    bool state = (data && (sp->state_due || behind || sp->state.clean)) || closing ||
                 (moved && (room || now.mono_ms - sp->state_ms >= SPOOL_SAVE_MS));
    bool sync = (data && sp->sync_ms == 0) || is_sync_due(sp, now) || room || closing ||
                (state && !data && sp->sync_ms <= SPOOL_SAVE_MS);
    if (data || state || (sync && syncs(sp)))
        start(sp, now, state, closing, sync && syncs(sp));
}

uint64_t spool_write_deadline(const struct spool *sp, struct now now)
{
    uint64_t deadline = NEVER;
    if (sp->busy || sp->failed)
        return deadline;
    if (sp->first_ms != NEVER && sp->sync_ms < NEVER - sp->first_ms)
        deadline = sp->first_ms + sp->sync_ms;
    if (sp->kept > sp->state.saved)
        deadline = min_u64(deadline, sp->state_ms + SPOOL_SAVE_MS);
    return deadline > now.mono_ms ? deadline : now.mono_ms;
}

bool spool_is_quiet(const struct spool *sp)
{
    if (sp->busy || sp->failed)
        return !sp->busy;
    return sp->finishing && sp->handed == sp->end && is_closed(sp);
}
