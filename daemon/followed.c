/* One followed file: an input, a ledger entry, and from which offset it is read:
 *
 *   known again (inode and both fingerprints)   where the checkpoint says
 *   the copy of a known one that was truncated  where the checkpoint says of that one
 *   found while a source starts for the very first time, start_at: end; or too old
 *                                               behind its last whole line
 *   else                                        0
 *
 * A file that begins again gets an input of its own: the old one's records may still be in a
 * ring. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/service_in.h"
#include "lib/csv.h"
#include "lib/encoding.h"

/* ---- followed files ---- */

static void followed_free(struct followed *fo)
{
    list_del(&fo->link);
    input_release(&fo->input);
    free(fo->path);
    free(fo->source_name);
    free(fo);
}

/* Its file is closed, or another one now. It stays until the ring has let go of its records. */
void followed_retire(struct followed *fo)
{
    struct service *s = fo->source->service;
    fo->file = NULL;
    fo->entry = NULL;
    fo->source = NULL;
    list_add_tail(&s->retired, &fo->link);
}

void followed_free_retired(struct service *s)
{
    LIST_FOR(it, save, &s->retired)
    {
        struct followed *fo = CONTAINER_OF(it, struct followed, link);
        if (fo->input.origin.in_ring == 0)
            followed_free(fo);
    }
}

static struct followed *followed_new(struct source *src, struct tail_file *f)
{
    struct followed *fo = calloc(1, sizeof *fo);
    if (fo == NULL)
        return NULL;
    list_init(&fo->link);
    fo->source = src;
    fo->file = f;
    fo->path = strdup(f->path);
    fo->inode = f->inode;
    fo->source_name = strdup(src->name);
    input_init(&fo->input, src->stream->pipeline, src->shape, &src->config->shape,
               fo->path != NULL ? fo->path : "");
    if (fo->path == NULL || fo->source_name == NULL) {
        followed_free(fo);
        return NULL;
    }
    return fo;
}

/* ---- where to begin ---- */

/* Whether the file that the entry speaks of is still at its path, with other bytes in it. */
static bool has_other_bytes(const struct ledger_file *entry)
{
    const struct position *at = &entry->at;
    const struct fingerprint *known = at->offset > 0 ? &at->tail : &at->head;
    off_t begin = at->offset > 0 ? (off_t)(at->offset - at->tail.n) : 0;
    char bytes[FINGERPRINT_MAX];
    struct stat st;
    int fd = open(entry->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return false;
    bool itself = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == at->inode;
    ssize_t got = itself ? pread(fd, bytes, known->n, begin) : -1;
    close(fd);
    if (got < 0)
        return false;
    struct fingerprint found = fingerprint_of(bytes, (size_t)got);
    return !fingerprint_eq(&found, known);
}

/* Can a copy be known by it? So many bytes that are the same are no chance; and where nothing is
 * delivered, nothing is skipped by a mistake. */
static bool is_telling(const struct position *at)
{
    return at->offset >= COPY_FIRST || at->head.n >= COPY_FIRST ||
           (at->offset == 0 && at->head.n > 0);
}

/* The entry of a file that is about to be displaced, and whose copy is f. For a file with the inode
 * of one long gone: it is looked at together with those that are known, perhaps before them. */
static struct ledger_file *displaced_later(struct source *src, struct tail_file *f)
{
    char bytes[FINGERPRINT_MAX];
    ssize_t n = tail_pread(f, bytes, sizeof bytes, 0);
    struct fingerprint head = fingerprint_of(bytes, n > 0 ? (size_t)n : 0);
    LIST_FOR(it, save, &src->ledger->files)
    {
        struct ledger_file *entry = CONTAINER_OF(it, struct ledger_file, link);
        const struct position *at = &entry->at;
        bool other = at->head.n == FINGERPRINT_MAX && !fingerprint_eq(&head, &at->head);
        if (entry->live || !is_telling(at) || other || !tail_holds(f, at) ||
            !has_other_bytes(entry))
            continue;
        ledger_displace(entry);
        return entry;
    }
    return NULL;
}

/* The entry of this very file; or, when the file that an entry speaks of has been truncated since,
 * and this one has the bytes that were read of it, that entry: it was copied before
 * (copytruncate). */
static struct ledger_file *known_entry(struct source *src, struct tail_file *f)
{
    struct ledger_file *entry = NULL, *blank = NULL;
    bool reused = false;
    while ((entry = ledger_find(src->ledger, f->inode, entry)) != NULL) {
        if (!tail_is(f, &entry->at)) {
            ledger_displace(entry);
            reused = true;
        } else if (entry->at.offset > 0) {
            return entry;
        } else {
            blank = entry;
        }
    }
    entry = ledger_find_displaced(src->ledger, NULL);
    for (; entry != NULL; entry = ledger_find_displaced(src->ledger, entry))
        if (is_telling(&entry->at) && tail_holds(f, &entry->at))
            break;
    reused |= blank != NULL && blank->at.head.n == 0; /* that may be anybody's */
    if (entry == NULL && reused)
        entry = displaced_later(src, f);
    if (entry == NULL)
        return blank;
    if (blank != NULL) /* from a life that ended before the original was truncated */
        ledger_drop(blank);
    return entry;
}

/* In the order in which they were found: a file comes before its copy. And one that has become
 * shorter is displaced before any is looked at: a copy of it may have the inode of a file long
 * gone, and then be looked at first. */
uint64_t followed_knows(void *ctx, uint64_t inode, uint64_t size)
{
    struct source *src = ctx;
    struct ledger_file *entry = NULL;
    uint64_t latest = 0;
    while ((entry = ledger_find(src->ledger, inode, entry)) != NULL) {
        latest = entry->id > latest ? entry->id : latest;
        if (entry->at.offset > size)
            ledger_displace(entry);
    }
    return latest;
}

/* Behind the last line end, so that a half-written line is not cut: at most max_record back. */
static uint64_t last_line_end(const struct source *src, const struct tail_file *f)
{
    uint64_t size = tail_size(f);
    size_t n = (size_t)min_u64(size, src->config->shape.max_record);
    char *bytes = malloc(n + 1);
    ssize_t got = bytes != NULL ? tail_pread(f, bytes, n, size - n) : -1;
    uint64_t end = size;
    if (got == (ssize_t)n && n > 0) {
        struct str text = {bytes, n};
        size_t at = src->config->shape.format == FORMAT_CSV
                        ? csv_last_end(text)
                        : framer_last_end(src->config->shape.encoding, text, size - n);
        end = at > 0 || n == size ? size - n + at : size;
    }
    if (encoding_is_utf16(src->config->shape.encoding))
        end -= end % 2;
    free(bytes);
    return end;
}

static bool is_too_old(const struct source *src, const struct tail_file *f)
{
    uint64_t limit_ms = src->config->ignore_older_ms;
    uint64_t written_ms = f->mtime_ns > 0 ? (uint64_t)f->mtime_ns / 1000000 : 0;
    return limit_ms > 0 && written_ms + limit_ms < service_now(src->service).wall_ms;
}

/* Of a file that begins at 0; who else it might be taken for is not known if it is being written
 * anew just now. */
static struct position beginning_of(struct tail_file *f)
{
    struct position at = {0};
    if (!tail_position(f, 0, &at))
        at = (struct position){.device = f->device, .inode = f->inode};
    return at;
}

static struct ledger_file *begin_anew(struct source *src, struct tail_file *f, uint64_t offset)
{
    struct ledger_file *entry = ledger_add(src->ledger, f->path);
    if (entry == NULL)
        return NULL;
    bool ok = tail_seek(f, offset) && tail_position(f, offset, &entry->at);
    if (!ok) {
        tail_seek(f, 0);
        entry->at = beginning_of(f);
    }
    return entry;
}

/* The entry of a file that was truncated goes on as that of its copy, and from now on the copy is
 * known by its own inode: the truncated file may grow until nothing shows any more that it was. And
 * of a file of which nothing is delivered, the first bytes are those that it has now. */
static bool identify(struct ledger_file *entry, struct tail_file *f)
{
    struct position at = entry->at;
    if (at.inode == f->inode && at.offset > 0 && at.head.n >= COPY_FIRST)
        return true;
    if (!tail_position(f, at.offset, &at))
        return false;
    entry->at = at;
    return true;
}

static void start_followed(struct source *src, struct followed *fo, struct ledger_file *entry)
{
    struct service *s = src->service;
    entry->live = true;
    entry->size = fo->file->known_end;
    entry->seen_s = service_now(s).wall_ms / 1000;
    ledger_touch(entry);
    fo->entry = entry;
    input_start(&fo->input, entry->at.offset, entry->at.mid_record);
    s->dirty = true;
}

bool followed_found(void *ctx, struct tail_file *f)
{
    struct source *src = ctx;
    struct followed *fo = followed_new(src, f);
    if (fo == NULL)
        return false;
    struct ledger_file *entry = known_entry(src, f);
    if (entry != NULL && !tail_seek(f, entry->at.offset))
        entry = NULL;
    if (src->recovering) {
        /* under the name by which it is found again, should this end here */
    } else if (entry != NULL) {
        ledger_rename(entry, f->path);
    } else {
        bool end = (src->fresh && src->config->start_at == START_AT_END) || is_too_old(src, f);
        entry = begin_anew(src, f, end ? last_line_end(src, f) : 0);
    }
    if (entry == NULL) {
        followed_free(fo);
        return false;
    }
    start_followed(src, fo, entry);
    identify(entry, f);
    f->owner = fo;
    log_info(log_msg("following"), log_s("source", src->name), log_s("path", f->path),
             log_u("offset", f->read_at));
    return true;
}

/* In an outage nothing is delivered, and yet the next checkpoint must know what is there: by that a
 * start after a kill counts it if it is gone, or finds it if it was renamed. */
void followed_note_size(struct followed *fo)
{
    struct ledger_file *entry = fo->entry;
    if (entry->size >= fo->file->known_end || fo->missed_to > 0 || !identify(entry, fo->file))
        return;
    entry->size = fo->file->known_end;
    ledger_touch(entry);
    fo->source->service->dirty = true;
}

static void out_of_memory(void)
{
    log_error(log_msg("out of memory; ending, to be started again from the checkpoint"));
    abort();
}

/* The file begins again at 0 with an input of its own: the old one's records may still be in the
 * ring, with offsets that mean nothing in the new content. */
void followed_start_again(struct source *src, struct tail_file *f)
{
    struct followed *old = followed_of(f), *fo = followed_new(src, f);
    if (fo == NULL)
        out_of_memory();
    old->entry->at = beginning_of(f);
    ledger_touch(old->entry);
    start_followed(src, fo, old->entry);
    followed_retire(old);
    f->owner = fo;
    followed_free_retired(src->service);
}

/* The same at any offset, because a person wants it so. Records of the old input that are still in
 * the ring are delivered; their positions no longer count. */
bool source_rewind(struct tail_file *f, uint64_t offset)
{
    struct followed *old = followed_of(f);
    struct source *src = old->source;
    struct followed *fo = followed_new(src, f);
    struct position at = {0}; /* not in the middle of a record */
    if (fo == NULL || !tail_rewind(f, offset, &at)) {
        if (fo != NULL)
            followed_free(fo);
        return false;
    }
    old->entry->at = at;
    start_followed(src, fo, old->entry);
    followed_retire(old);
    f->owner = fo;
    followed_free_retired(src->service);
    return true;
}

/* copytruncate: what was read of `from` stands in `to`, so the input that read it goes on there,
 * with all that it still has in the ring; `from` gets one of its own. */
void followed_copied(void *ctx, struct tail_file *from, struct tail_file *to)
{
    struct source *src = ctx;
    struct followed *old = followed_of(from), *unused = followed_of(to);
    log_info(log_msg("copied and truncated, reading on in the copy"), log_s("source", src->name),
             log_s("path", from->path), log_s("copy", to->path), log_u("offset", to->read_at));
    ledger_drop(unused->entry);
    followed_free(unused);
    to->owner = old;
    old->file = to;
    old->inode = to->inode;
    ledger_rename(old->entry, to->path);
    struct origin *o = &old->input.origin;
    o->read_at = min_u64(o->read_at, to->read_at); /* the copy may have ended earlier */
    input_reshape(&old->input, src->shape, &src->config->shape);
    if (!tail_position(to, min_u64(o->delivered, to->read_at), &old->entry->at))
        old->entry->at = (struct position){.device = to->device, .inode = to->inode};
    ledger_touch(old->entry);
    struct followed *fo = followed_new(src, from);
    struct ledger_file *entry = fo != NULL ? ledger_add(src->ledger, from->path) : NULL;
    if (entry == NULL)
        out_of_memory();
    entry->at = beginning_of(from);
    start_followed(src, fo, entry);
    from->owner = fo;
}
