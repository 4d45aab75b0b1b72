/* ledger.h - what the next checkpoint will say: sources, and for each the files it has read from.
 *
 * The ledger outlives the files: an entry is `live` while somebody follows the file and moves its
 * position; afterwards it stays, so that a file that comes back is known again, until it is older
 * than the time to live. Sources that the configuration no longer names keep their entries too.
 *
 * ledger_load takes over a decoded checkpoint (which is empty afterwards). ledger_find walks the
 * entries of a source that are not live and have this inode, those seen last first: start with
 * NULL, go on with what it returned. Entries belong to the ledger. Whoever changes an entry calls
 * ledger_touch; its inode may change only while it is live.
 *
 * What one checkpoint can hold is the limit: at CHECKPOINT_FILES_MAX entries, ledger_add drops
 * those that were left longest ago, and is NULL when there are none, or no memory; so is
 * ledger_add_source at CHECKPOINT_SOURCES_MAX.
 *
 * ledger_expire, called every hour or so, drops what nobody has followed for LEDGER_TTL_S, telling
 * each before it goes (tell may be NULL). Of live entries it renews seen_s once it is
 * LEDGER_RENEW_S old, so that a file that was quiet for long is not forgotten as soon as it is
 * left. It returns whether anything changed.
 *
 * Saving. ledger_begin_save appends a checkpoint document: the whole ledger, or, when few of many
 * entries have changed since the last whole one, only these (position.h says how the two go
 * together). *whole tells which. Then, when it is durable or has failed, ledger_end_save(ok): a
 * whole document that was not saved does not count. One save at a time. The cost of a recent
 * document goes with the entries in it. ledger_is_saved: what the entry says now would still be
 * known after a crash.
 */
#ifndef LIB_LEDGER_H
#define LIB_LEDGER_H

#include "lib/list.h"
#include "lib/position.h"

#define LEDGER_TTL_S     ((uint64_t)7 * 24 * 3600) /* of entries nobody follows */
#define LEDGER_RENEW_S   ((uint64_t)24 * 3600)
#define LEDGER_SMALL_N   256 /* a ledger of so few entries is always saved whole */
#define LEDGER_RECENT_OF 8   /* more than an eighth of the entries changed: save the whole */

struct ledger_source;

struct ledger_file {
    struct list link;
    struct list touched;  /* in ledger.touched, the latest last */
    struct list by_inode; /* in a bucket of its source, once it was left */
    struct list displaced; /* among those of its source */
    struct ledger_source *source;
    uint64_t id, touched_at;
    char *path;
    struct position at;
    uint64_t seen_s; /* Unix time when it was last followed */
    uint64_t size;   /* as last seen */
    bool live;
};

struct ledger_source {
    struct list link;
    struct ledger *ledger;
    char *name;
    struct list files, displaced;
    struct list *buckets; /* of entries that were left, by inode; some may be live again */
    size_t buckets_n;     /* a power of two */
    size_t left_n;        /* entries in them */
    struct list few[16];  /* the buckets to begin with */
};

struct ledger {
    struct list sources, touched;
    size_t files_n;
    uint64_t last_id;
    uint64_t clock;      /* counts saves: what was touched since a save has a later time */
    uint64_t whole_at;   /* the clock at the last whole document */
    uint64_t saved_at;   /* the clock at the last save that succeeded */
    uint64_t generation; /* of that document */
    bool must_be_whole;  /* something changed that a recent document cannot say */
    bool saving_whole;
};

void ledger_init(struct ledger *l);
void ledger_release(struct ledger *l);
bool ledger_load(struct ledger *l, struct checkpoint *c); /* false: no memory */
struct ledger_source *ledger_find_source(const struct ledger *l, const char *name);
struct ledger_source *ledger_add_source(struct ledger *l, const char *name);
struct ledger_file *ledger_add(struct ledger_source *s, const char *path);
void ledger_touch(struct ledger_file *f);
bool ledger_rename(struct ledger_file *f, const char *path);
void ledger_leave(struct ledger_file *f);
void ledger_drop(struct ledger_file *f);
struct ledger_file *ledger_find(struct ledger_source *s, uint64_t inode,
                                const struct ledger_file *after);
/* An entry is displaced when its inode was found with other bytes in it, until it is left again.
 * These are walked as with ledger_find; live ones are passed over. */
void ledger_displace(struct ledger_file *f);
struct ledger_file *ledger_find_displaced(struct ledger_source *s, const struct ledger_file *after);
bool ledger_expire(struct ledger *l, uint64_t now_s,
                   void (*tell)(void *ctx, const struct ledger_file *f), void *ctx);
void ledger_begin_save(struct ledger *l, struct buf *out, bool *whole);
void ledger_end_save(struct ledger *l, bool ok);
bool ledger_is_saved(const struct ledger_file *f);

#endif
