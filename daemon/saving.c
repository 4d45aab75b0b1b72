/* The checkpoint: what the rings' tails have passed goes into the ledger, and the ledger to disk,
 * at most once a second and only when something moved.
 *
 * Once an hour, and not before files had an hour to be found again, entries that nobody has
 * followed for a week are let go.
 *
 * A position is taken only if the file's bytes are still those that were read (tail_position);
 * else the old one stays. A save that fails leaves the last good checkpoint in place and is tried
 * again. */
#include "daemon/service_in.h"

static void collect(struct service *s, struct now now)
{
    LIST_FOR(it, save, &s->streams)
    {
        struct list *moved = pipeline_moved(CONTAINER_OF(it, struct stream, link)->pipeline);
        LIST_FOR(jt, keep, moved)
        {
            struct origin *o = CONTAINER_OF(jt, struct origin, moved);
            struct input *in = CONTAINER_OF(o, struct input, origin);
            struct followed *fo = CONTAINER_OF(in, struct followed, input);
            list_del(&o->moved);
            if (fo->file == NULL ||
                !tail_position(fo->file, min_u64(o->delivered, fo->file->read_at), &fo->entry->at))
                continue;
            fo->entry->at.mid_record = o->delivered_mid;
            fo->entry->seen_s = now.wall_ms / 1000;
            fo->entry->size = fo->missed_to > 0 ? fo->entry->at.offset : fo->file->known_end;
            ledger_touch(fo->entry);
        }
    }
    LIST_FOR(it, save, &s->sources)
    {
        tail_trim(CONTAINER_OF(it, struct source, link)->tail);
    }
    followed_free_retired(s);
}

static bool something_moved(const struct service *s)
{
    LIST_FOR(it, save, &s->streams)
    {
        if (!list_empty(pipeline_moved(CONTAINER_OF(it, struct stream, link)->pipeline)))
            return true;
    }
    return s->dirty;
}

static void on_saved(void *ctx, const struct err *e)
{
    struct service *s = ctx;
    s->saving_now = false;
    s->save_failed = e != NULL;
    ledger_end_save(&s->ledger, e == NULL);
    uint64_t held;
    if (e == NULL) {
        s->saved = s->save;
        service_saved(s);
        return;
    }
    s->dirty = true;
    if (log_limit(&s->save_trouble, uv_now(&s->loop), COMPLAIN_EVERY_MS, &held))
        log_error(log_msg("the checkpoint cannot be saved; the old one stays, trying again"),
                  log_s("why", e->text), log_u("held_back", held));
}

void saving_open(struct service *s)
{
    checkpoint_open(&s->store, &s->loop, s->statedir.dir_fd, on_saved, s);
    s->next_expire_ms = uv_now(&s->loop) + EXPIRE_EVERY_MS;
}

static void begin(struct service *s, struct now now)
{
    struct buf text;
    buf_init(&text, CHECKPOINT_BYTES_MAX);
    collect(s, now);
    bool whole;
    ledger_begin_save(&s->ledger, &text, &whole);
    s->dirty = false;
    s->saving_now = true;
    s->save++;
    s->next_save_ms = now.mono_ms + SAVE_EVERY_MS;
    checkpoint_save(&s->store, &text, whole);
}

uint64_t saving_turn(struct service *s, struct now now)
{
    if (now.mono_ms >= s->next_expire_ms) {
        s->dirty |= ledger_expire(&s->ledger, now.wall_ms / 1000, NULL, NULL);
        s->next_expire_ms = now.mono_ms + EXPIRE_EVERY_MS;
    }
    if (s->saving_now || !something_moved(s))
        return s->next_expire_ms;
    bool hurry = s->state == SERVICE_SAVING || s->state == SERVICE_STARTING;
    if (s->next_save_ms > now.mono_ms && !(hurry && !s->save_failed))
        return s->next_save_ms;
    begin(s, now);
    return UINT64_MAX;
}

bool saving_done(const struct service *s)
{
    return !s->saving_now && !something_moved(s);
}
