/* tail_in.h - the inside of a tail, shared by tail.c (files and reading) and tail_scan.c
 * (finding). */
#ifndef DAEMON_TAIL_IN_H
#define DAEMON_TAIL_IN_H

#include <sys/stat.h>

#include "daemon/tail.h"

struct tail_dir {
    int wd;
    unsigned scan; /* the scan that found it last */
    uint64_t device, inode;
    char *path;
};

struct tail {
    struct tail_ops ops;
    char *pattern;
    bool once, paused, closing;
    bool scan_due; /* the idle begins with a scan: one for all the events of a turn */
    unsigned scan;
    uint64_t quiet_ms;
    size_t record_max;
    uv_idle_t idle;
    uv_timer_t timer; /* runs only while there are orphans */
    unsigned handles_open;
    struct list files, ready, watched;
    void *by_path, *by_inode; /* tsearch trees of struct tail_file; orphans are not in by_path */
    struct tail_dir *dirs;    /* sorted by wd */
    size_t dirs_n, dirs_cap;
    void *complained; /* tsearch tree of strings */
    size_t complained_n;
    char *chunk;
    size_t chunk_n; /* bytes to read at a time; grows up to record_max and a little */
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

/* tail.c */
struct tail_file *tail_find_path(const struct tail *t, const char *path);
struct tail_file *tail_find_inode(const struct tail *t, uint64_t device, uint64_t inode);
struct tail_file *tail_adopt(struct tail *t, const char *path, int fd, const struct stat *st);
void tail_rename(struct tail_file *f, const char *path); /* known again under this name */
void tail_orphan(struct tail_file *f);
void tail_wake(struct tail_file *f); /* it may have news */
void tail_forget(struct tail_file *f);
void tail_watch_itself(struct tail_file *f);
void tail_unwatch_itself(struct tail_file *f);
void tail_kick(struct tail *t); /* let the idle run if there is reason to */

/* tail_scan.c */
void tail_complain(struct tail *t, const char *path, const char *what); /* each once */
int tail_open_path(struct tail *t, const char *path, struct stat *st);
void tail_check_dirs(struct tail *t);
void tail_consider(struct tail *t, const char *path);
void tail_scan_release(struct tail *t);

#endif
