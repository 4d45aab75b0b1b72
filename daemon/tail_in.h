/* tail_in.h - the inside of a tail, shared by its files:
 *   tail.c        birth and death, the files it knows, who is read when
 *   tail_read.c   reading, fingerprints, positions
 *   tail_open.c   which files are opened; shutting and opening again
 *   tail_scan.c   the glob walked, one path considered
 *   tail_events.c what an event means
 *   tail_dirs.c   the directories that are watched
 *   tail_links.c  symbolic links, and where they lead
 *   tail_copy.c   copies of a file that is about to be truncated
 */
#ifndef DAEMON_TAIL_IN_H
#define DAEMON_TAIL_IN_H

#include <sys/stat.h>

#include "daemon/tail.h"
#include "lib/glob.h"

#define TAIL_FIRSTS 1024 /* buckets for the first bytes of files */

struct tail_dir {
    int wd;
    unsigned scan; /* the scan that found it last */
    bool names;    /* that scan wants to be told what happens in it */
    bool armed;    /* and the kernel was asked for that, now or before */
    uint64_t device, inode;
    char *path;
};

struct tail {
    struct tail_ops ops;
    struct glob *glob;
    bool once, paused, closing;
    bool watchless;   /* nothing is to be watched */
    bool polling;     /* asked for, or some directory cannot be watched */
    bool incomplete;  /* something that matches could not be opened or read */
    bool linked_dirs; /* some directory on the way is a link */
    bool links_due;   /* something has come or gone where links may lead */
    bool too_many_dangling;
    bool scan_due; /* the idle begins with a scan: one for all the events of a turn */
    bool starved;  /* there were no descriptors */
    bool scanning; /* who has lost its name may get another one yet */
    bool unsorted; /* files were found that may be older than others on the ready list */
    unsigned scan;
    uint64_t turn; /* of the idle, from 1 */
    uint64_t quiet_ms, poll_ms, hold_ms;
    /* When the timer is wanted; UINT64_MAX: not. */
    uint64_t poll_at_ms, tick_at_ms, retry_at_ms, rescan_at_ms;
    size_t record_max, open_max, open_n;
    uv_idle_t idle;
    uv_timer_t timer;
    unsigned handles_open;
    struct list files, ready, open, orphans, patient, held, linked, left;
    struct list *firsts; /* TAIL_FIRSTS of them */
    /* tsearch trees of struct tail_file; by_path: not the orphans, by_wd: with an own watch */
    void *by_path, *by_inode, *by_wd;
    struct tail_dir *dirs; /* sorted by wd */
    size_t dirs_n, dirs_cap;
    struct tail_file *moving; /* shut, and gone from its name: the next event may say whereto */
    uint32_t moving_cookie;
    char moved_from[TAIL_PATH_MAX]; /* by the last event that told of it, */
    uint32_t moved_cookie;          /* and this */
    char **dangling;                /* paths of links that lead nowhere yet */
    size_t dangling_n;
    void *complained; /* tsearch tree of strings */
    size_t complained_n;
    char *chunk;
    size_t chunk_n; /* bytes to read at a time; grows up to record_max and a little */
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

static inline uint64_t tail_now(const struct tail *t)
{
    return uv_now(t->idle.loop);
}

static inline int64_t tail_mtime_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/* tail.c */
struct tail_file *tail_find_path(const struct tail *t, const char *path);
struct tail_file *tail_find_inode(const struct tail *t, uint64_t device, uint64_t inode);
struct tail_file *tail_find_wd(const struct tail *t, int wd);
struct tail_file *tail_adopt(struct tail *t, const char *path, int fd, const struct stat *st);
void tail_rename(struct tail_file *f, const char *path); /* known again under this name */
/* Whoever comes to this path now is read after f. */
void tail_left(struct tail_file *f, const char *path);
void tail_unname(struct tail_file *f); /* an orphan, for now without what keeps one alive */
void tail_orphan(struct tail_file *f);
/* Shut, and without its name. `search`: it may have another in its directory, and have grown
 * since. */
void tail_gone(struct tail_file *f, bool search);
void tail_wake(struct tail_file *f); /* it may have news */
void tail_forget(struct tail_file *f);
void tail_watch_itself(struct tail_file *f);
void tail_unwatch_itself(struct tail_file *f);
void tail_kick(struct tail *t);      /* let the idle run if there is reason to */
void tail_arm_timer(struct tail *t); /* for the earliest of what waits for a time */
void tail_follows(struct tail_file *f, struct tail_file *before); /* read it after that one */
void tail_follows_nobody(struct tail_file *f);
void tail_complain(struct tail *t, const char *path, const char *what); /* each once */
void tail_cannot_watch(struct tail *t, const char *path, int error);    /* so poll */

/* tail_read.c */
size_t tail_read(struct tail_file *f, bool *wait);
void tail_note_size(struct tail_file *f); /* so that what is never read can be counted */
struct fingerprint tail_fingerprint(const struct tail_file *f, uint64_t end, size_t n, bool *ok);

/* tail_open.c */
/* -EMFILE: there are no descriptors; -ENOENT: a link that leads nowhere; less than 0: it is not to
 * be followed, or not now. */
int tail_open_path(struct tail *t, const char *path, struct stat *st);
void tail_opened(struct tail_file *f, int fd);
void tail_closed(struct tail_file *f);
bool tail_open_beside(struct tail_file *f); /* under another name in its directory */
bool tail_reopen(struct tail_file *f);      /* false: not now, or f is forgotten: do not touch it */
bool tail_reopen_now(struct tail_file *f);  /* the same, however many are open */
void tail_touch(struct tail_file *f);       /* it was active */

/* tail_scan.c */
bool tail_is_packed(const char *path);
bool tail_is_inode(const struct tail_file *f, const struct stat *st);
void tail_lose_name(struct tail_file *f);
/* Who had this path before, and is still being read. */
struct tail_file *tail_predecessor(const struct tail *t, const char *path);
bool tail_still_there(const struct tail_file *f);
void tail_consider(struct tail *t, const char *path, bool event);
void tail_sort_ready(struct tail *t); /* the oldest file first */

/* tail_events.c */
void tail_settle_moving(struct tail *t);

/* tail_links.c */
bool tail_join(char to[TAIL_PATH_MAX], const char *dir, const char *name);
bool tail_is_link_to_dir(const char *path);
void tail_watch_way(struct tail *t, const char *path);     /* the directories on a link's way */
void tail_note_dangling(struct tail *t, const char *path); /* if it is a link that does */
void tail_forget_dangling(struct tail *t);
void tail_check_links(struct tail *t);

/* tail_dirs.c */
struct tail_dir *tail_find_dir(struct tail *t, int wd);
/* names: tell what happens in it; else only to it. False: it is not there. */
bool tail_watch_dir(struct tail *t, const char *path, bool names, bool *news);
void tail_forget_dir(struct tail *t, struct tail_dir *d);
void tail_drop_old_dirs(struct tail *t);
void tail_check_dirs(struct tail *t);

/* tail_copy.c */
void tail_learn_first(struct tail_file *f);
void tail_forget_first(struct tail_file *f);
bool tail_hold(struct tail_file *f); /* true: it may be a copy, or become one, and must wait */
void tail_hold_new(struct tail *t);  /* what is new, and may be */
/* `f` is about to begin again; true: a copy has taken its place, and the owner knows. */
bool tail_hand_over(struct tail_file *f);
void tail_tick_held(struct tail *t);
void tail_prove_held(struct tail_file *g); /* while what was read of g is still there */
void tail_is_active(struct tail_file *g);
void tail_release_held_for(struct tail_file *g);
void tail_unhold(struct tail_file *f);

#endif
