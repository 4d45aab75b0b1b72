/* ledger.h - what the next checkpoint will say: sources, and for each the files it has read from.
 *
 * The ledger outlives the files: an entry is `live` while somebody follows the file and moves its
 * position; afterwards it stays, so that a file that comes back is known again, until it is older
 * than the time to live. Sources that the configuration no longer names keep their entries too.
 *
 * ledger_load takes over a decoded checkpoint (which is empty afterwards); ledger_encode appends
 * the whole ledger as a checkpoint document. ledger_find walks the entries of a source that are
 * not live and have this inode: start with NULL, go on with what it returned. Entries belong to
 * the ledger.
 */
#ifndef LIB_LEDGER_H
#define LIB_LEDGER_H

#include "lib/list.h"
#include "lib/position.h"

#define LEDGER_TTL_S ((uint64_t)7 * 24 * 3600) /* of entries nobody follows */

struct ledger_file {
    struct list link;
    char *path;
    struct position at;
    uint64_t seen_s; /* Unix time when it was last followed */
    bool live;
};

struct ledger_source {
    struct list link;
    char *name;
    struct list files;
    struct ledger_file **index; /* not live ones, by inode; made when asked for */
    size_t index_n;
    bool index_stale;
};

struct ledger {
    struct list sources;
};

void ledger_init(struct ledger *l);
void ledger_release(struct ledger *l);
bool ledger_load(struct ledger *l, struct checkpoint *c); /* false: no memory */
struct ledger_source *ledger_find_source(const struct ledger *l, const char *name);
struct ledger_source *ledger_add_source(struct ledger *l, const char *name);
struct ledger_file *ledger_add(struct ledger_source *s, const char *path);
bool ledger_rename(struct ledger_file *f, const char *path);
void ledger_leave(struct ledger_source *s, struct ledger_file *f);
struct ledger_file *ledger_find(struct ledger_source *s, uint64_t inode,
                                const struct ledger_file *after);
void ledger_expire(struct ledger *l, uint64_t now_s);
void ledger_encode(const struct ledger *l, struct buf *out);

#endif
