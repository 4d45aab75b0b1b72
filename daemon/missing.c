/* What nobody can have any more is said, and counted: bytes of files that were deleted, truncated,
 * packed or moved away before they could be read. */
#include <errno.h>
#include <sys/stat.h>

#include "daemon/service_in.h"

/* What nobody can have any more is said, and counted. */
static void miss(struct source *src, const char *path, uint64_t inode, uint64_t offset,
                 uint64_t bytes, const char *why)
{
    struct stats *stats = pipeline_stats(src->stream->pipeline);
    stats->missing_files++;
    stats->missing_bytes += bytes;
    log_warn(log_msg("bytes that were not read are gone"), log_s("source", src->name),
             log_s("path", path), log_u("inode", inode), log_u("offset", offset),
             log_u("bytes", bytes), log_s("why", why));
}

void source_missed(void *ctx, struct tail_file *f, uint64_t offset, uint64_t bytes, const char *why)
{
    miss(ctx, f->path, f->inode, offset, bytes, why);
}

/* Somebody else has the inode now. */
static bool is_reused(const struct ledger_file *entry)
{
    LIST_FOR(it, save, &entry->source->files)
    {
        const struct ledger_file *other = CONTAINER_OF(it, struct ledger_file, link);
        if (other->live && other->at.inode == entry->at.inode)
            return true;
    }
    return !list_empty(&entry->displaced);
}

/* Its path leads elsewhere, or nowhere; what cannot be looked at may still be there. */
static bool is_gone(const struct ledger_file *entry)
{
    struct stat st;
    if (stat(entry->path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR;
    return st.st_ino != entry->at.inode || is_reused(entry);
}

/* Files that were deleted, packed or renamed out of the glob while nobody looked: what was known
 * to be in them beyond the checkpoint is missing. That is told once; the entry stays, for they may
 * come back. */
void source_miss_gone(struct source *src)
{
    LIST_FOR(it, save, &src->ledger->files)
    {
        struct ledger_file *entry = CONTAINER_OF(it, struct ledger_file, link);
        if (entry->live || entry->size <= entry->at.offset || !is_gone(entry))
            continue;
        miss(src, entry->path, entry->at.inode, entry->at.offset, entry->size - entry->at.offset,
             "gone while tailraced was not running");
        entry->size = entry->at.offset;
        ledger_touch(entry);
        src->service->dirty = true;
    }
}

/* Nobody can open it again, so what is not delivered now never will be. */
void source_miss_deleted(struct source *src, struct tail_file *f)
{
    struct followed *fo = followed_of(f);
    uint64_t from = fo->input.origin.delivered;
    if (from < fo->missed_to)
        from = fo->missed_to; /* told, and written to since */
    if (f->known_end <= from)
        return;
    miss(src, f->path, f->inode, from, f->known_end - from,
         "deleted, and tailraced stops following it");
    fo->missed_to = f->known_end;
}

static bool is_itself(struct tail_file *f)
{
    struct position at;
    return tail_position(f, f->read_at, &at);
}

/* Before the last checkpoint. The sizes are there for the next start, which may find a file
 * gone. */
void source_take_leave(struct source *src)
{
    LIST_FOR(it, save, tail_files(src->tail))
    {
        struct tail_file *f = CONTAINER_OF(it, struct tail_file, link);
        struct ledger_file *entry = followed_of(f)->entry;
        uint64_t size = tail_size(f);
        if (tail_is_deleted(f)) {
            source_miss_deleted(src, f);
            size = followed_of(f)->input.origin.delivered; /* the next start has nothing to add */
        } else if (!is_itself(f)) {
            continue; /* written anew, and that is the size of something else */
        } else if (entry->at.offset == 0) {
            tail_position(f, 0, &entry->at); /* so that it can be known again all the same */
        }
        if (entry->size != size) {
            entry->size = size;
            ledger_touch(entry);
            src->service->dirty = true;
        }
    }
}
