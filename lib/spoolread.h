/* spoolread.h - a cursor over the records in the file of a spool.
 *
 * Owns a window of bytes, filled by `read`; give it a log, a position and what may be read, and
 * then ask for one thing after the other:
 *
 *   spoolread_next(r, until, &item, e)
 *     SPOOLREAD_RECORD  a record; it points into the window and lives until the next call
 *     SPOOLREAD_PAD     the rest of a lap, filled with a pad
 *     SPOOLREAD_DAMAGE  a stretch in which no record begins (or the first part of one: the next
 *                       may go on where it ends)
 *     SPOOLREAD_END     the position has reached `until`
 *     SPOOLREAD_ERROR   `read` has failed, or (ERR_NOMEM) a long record needs a larger window;
 *                       nothing has changed, it may be asked again
 *
 * item.begin and item.end say which positions it was; behind it the cursor is at item.end. Records
 * begin before `until`, and only bytes before `readable` are looked at,
 * which is `until` or behind it: it may be moved on, but never past what is in the file for good,
 * because the window remembers it.
 *
 * With `passes_errors` a place that cannot be read is filled with zeros, page by page, and so
 * becomes damage instead of an error; unreadable_pages counts them.
 *
 * One call reads at most a window, unless a record is longer.
 *
 * Survey: what a spool holds, found out from its file alone. spoolread_state takes the newer of the
 * two states; if both are damaged (*lost) it looks through the whole file for headers, and makes a
 * state from which all that may be undelivered is read. spoolread_survey then goes from `saved` on,
 * over damage too: behind it the next record is looked for up to SPOOLREAD_REACH behind the last
 * good one, or behind what the state says was written (the spool renews its state before it is half
 * as far behind, so all that was synced is found); a file that was closed ends where it says. It
 * calls each(ctx, ...) for every record and for every damaged stretch between records; what comes
 * behind the last good record is the end of the log, and not damage. *end is then where that record
 * ends. (A power cut can leave a good record behind the end that nobody was told was safe. When the
 * log has grown just up to it, it is found: late, and whole.)
 */
#ifndef LIB_SPOOLREAD_H
#define LIB_SPOOLREAD_H

#include "lib/spoollog.h"

#define SPOOLREAD_WINDOW (1 * MIB)
#define SPOOLREAD_REACH  (64 * MIB)

typedef bool spoolread_fn(void *ctx, uint64_t place, char *to, size_t n, struct err *e);

struct spoolread {
    const struct spoollog *log;
    spoolread_fn *read;
    void *ctx;
    uint64_t position, readable;
    bool passes_errors;
    uint64_t unreadable_pages;
    char *window;
    size_t window_cap, window_n;
    uint64_t window_at; /* the position of its first byte */
};

struct spoolread_item {
    struct spoollog_record record;
    uint64_t begin, end;
};

enum spoolread_found {
    SPOOLREAD_RECORD,
    SPOOLREAD_PAD,
    SPOOLREAD_DAMAGE,
    SPOOLREAD_END,
    SPOOLREAD_ERROR,
};

/* The header, or its copy if it is damaged. */
int spoolread_header(spoolread_fn *read, void *ctx, struct spoollog *log, struct err *e);
/* False: no memory. The log is borrowed. */
bool spoolread_init(struct spoolread *r, const struct spoollog *log, spoolread_fn *read, void *ctx,
                    size_t window_bytes);
void spoolread_release(struct spoolread *r);
void spoolread_seek(struct spoolread *r, uint64_t position);
/* n bytes of the file into the window, at its beginning; the cursor stays. */
bool spoolread_raw(struct spoolread *r, uint64_t place, size_t n, struct err *e);
enum spoolread_found spoolread_next(struct spoolread *r, uint64_t until,
                                    struct spoolread_item *item, struct err *e);

/* What a survey found. */
struct spool_report {
    uint64_t records, bytes; /* to be delivered; keys included */
    uint64_t damaged_bytes;  /* passed over in the middle */
    uint64_t damaged_places; /* in so many places */
    uint64_t cut_bytes;      /* behind the last good record, known to have been written */
    bool lost_state;         /* both states were damaged; spool_recover says so */
};

typedef void spoolread_each_fn(void *ctx, enum spoolread_found found,
                               const struct spoolread_item *item);

int spoolread_state(struct spoolread *r, struct spoollog_state *state, bool *lost, struct err *e);
/* each may be NULL. */
int spoolread_survey(struct spoolread *r, const struct spoollog_state *state,
                     spoolread_each_fn *each, void *ctx, struct spool_report *report, uint64_t *end,
                     struct err *e);

#endif
