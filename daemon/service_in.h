/* service_in.h - the inside of the household, shared by service.c (the turn), service_start.c,
 * service_stop.c, stream.c, source.c, inlet.c, spooling.c, saving.c, reload.c and answers.c.
 *
 *   service ──┬─ stream (one a destination): pipeline, http, and spool if sockets feed it
 *             ├─ source (one a glob): shape, tail ── followed (one a file): input, ledger entry
 *             ├─ inlet (one a socket): shape, listen ── visitor (one a connection): client
 *             └─ ledger, checkpoint store, dead letters, watch, credentials, notify
 *
 * A followed file whose descriptor is closed, but whose records are still in a ring, is `retired`:
 * it lives on the service's list until the ring has let go of it.
 */
#ifndef DAEMON_SERVICE_IN_H
#define DAEMON_SERVICE_IN_H

#include <uv.h>

#include "daemon/activation.h"
#include "daemon/checkpoint.h"
#include "daemon/control.h"
#include "daemon/creds.h"
#include "daemon/deadletter.h"
#include "daemon/http.h"
#include "daemon/imds.h"
#include "daemon/listen.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/progress.h"
#include "daemon/spoolfile.h"
#include "daemon/service.h"
#include "daemon/statedir.h"
#include "daemon/tail.h"
#include "daemon/watch.h"
#include "lib/endpoint.h"
#include "lib/input.h"
#include "lib/lag.h"
#include "lib/ledger.h"
#include "lib/pipeline.h"
#include "lib/spool.h"

#define SAVE_EVERY_MS     1000       /* checkpoints, when something moved */
#define EXPIRE_EVERY_MS   3600000    /* looking for entries that are too old: it walks them all */
#define STALL_RETRY_MS    1000       /* a source that waits for room in the dead letters */
#define CREDS_RETRY_MS    10000      /* looking for credentials again, at most this often */
#define HEADER_BYTES_MAX  (16 * MIB) /* a CSV header behind lines to skip is looked for in */
#define COMPLAIN_EVERY_MS 10000      /* the same trouble, in the log */
#define NO_DEAD_ROOM      "a record must become a dead letter, and dead_letter_max is reached"

struct stream {
    struct list link;
    struct service *service;
    char *name;
    uint32_t id;
    struct pipeline *pipeline;
    struct http *http;
    struct spool *spool; /* NULL: no socket feeds it, nor has left anything behind */
    struct spoolfile *spoolfile;
    struct lag spool_lag;
    bool spool_told;     /* that it has failed */
    bool spool_stalled;  /* it waits for room in the dead letters, and that is told */
    uint64_t drops_told; /* of stats.spool_dropped */
    struct log_limit drops, stall;
    bool paused;  /* by its pipeline */
    bool leaving; /* no longer configured: drains, then closes */
    struct log_limit trouble;
    bool trouble_told;
};

struct source {
    struct list link;
    struct service *service;
    const struct config_source *config;
    struct stream *stream;
    struct shape *shape;
    struct tail *tail;
    struct ledger_source *ledger;
    bool recovering; /* looking for files that have left the glob */
    bool fresh;      /* never started before, and still finding what is there: start_at decides */
    bool stalled;    /* waits for room in the dead letters, or for memory */
    uint64_t first_save; /* the save that says where it begins: before, it does not read */
    char *name;          /* outlives the configuration while records are in a ring */
    struct log_limit stall, no_match;
};

struct followed {
    struct list link; /* in service.retired, once closed */
    struct input input;
    struct source *source;
    struct tail_file *file;    /* NULL: closed */
    struct ledger_file *entry; /* NULL: its position no longer matters */
    char *path, *source_name;
    uint64_t inode;
    struct lag lag;
    uint64_t missed_to; /* it is deleted, and told to be missing up to here */
    bool told_missing;
    uint64_t told_no_match;
};

enum service_state {
    SERVICE_STARTING,
    SERVICE_RUNNING,
    SERVICE_DRAINING,
    SERVICE_SAVING,
    SERVICE_CLOSING
};

struct service {
    uv_loop_t loop;
    struct config *config;
    struct service_options options;
    enum service_state state;
    int exit_code;
    char host[256];

    uv_prepare_t prepare;
    uv_timer_t timer, watchdog;
    uv_signal_t sigterm, sigint, sighup;
    unsigned open; /* devices and handles that will still call back */

    struct statedir statedir;
    struct checkpoint_store store;
    struct ledger ledger;
    bool dirty; /* the ledger knows more than the last checkpoint */
    bool saving_now, save_failed;
    uint64_t save, saved; /* the number of the last save begun, and of the last that is durable */
    uint64_t next_save_ms, next_expire_ms;
    struct log_limit save_trouble;
    struct deadletter *deadletter;
    struct log_limit dead_trouble, dead_failure;
    bool dead_fails; /* the last one could not be stored */
    struct watch *watch;
    struct control *control; /* NULL: none */
    struct notify notify;
    struct creds creds;
    bool have_creds;
    struct imds imds;
    bool imds_asked; /* since the start, or the last reload */
    uint64_t next_creds_ms;
    struct log_limit creds_trouble;

    struct list streams, sources, inlets, retired;
    unsigned inlet_turns;
    struct activation activation;
    uint32_t next_stream_id;
    uint64_t next_stall_ms;
    uint64_t stop_at_ms; /* draining: the deadline */
    uint64_t once_until_ms;
    bool once_read; /* --once: every file has been read to its end */
    struct progress progress;
};

/* service.c */
struct now service_now(struct service *s);
void service_status(struct service *s);
void service_on_prepare(uv_prepare_t *handle); /* the turn */
void service_on_watchdog(uv_timer_t *timer);

/* service_stop.c */
void service_begin_stop(struct service *s);
void service_fail(struct service *s, int exit_code); /* stop, with this exit code */
uint64_t service_stop_turn(struct service *s, struct now now);
void service_steer_all(struct service *s);
void service_drain_all(struct service *s); /* nobody waits for more */
bool service_all_delivered(struct service *s);
void service_close_all(struct service *s);
void on_device_closed(void *service);

/* service_start.c */
void service_saved(struct service *s); /* a checkpoint is durable */
/* A tail or a socket. True: the shape is taken over. */
bool source_open(struct service *s, const struct config_source *c, struct shape *shape,
                 struct err *e);

/* stream.c */
struct stream *stream_new(struct service *s, const struct config_stream *c, struct err *e);
bool stream_configure(struct stream *st, const struct config *config, const struct config_stream *c,
                      struct err *e);
void stream_close(struct stream *st);
struct stream *stream_find(struct service *s, const char *name);
void stream_dead_stored(void *service, uint64_t token, const struct err *e);
void service_load_creds(struct service *s, struct now now);

/* source.c */
struct source *source_new(struct service *s, const struct config_source *c, struct stream *st,
                          struct shape *shape, struct err *e);
struct shape *source_shape(struct service *s, const struct shape_spec *spec, struct err *e);
void source_steer(struct source *src);
void source_reshape(struct source *src, const struct config_source *c, struct shape *shape);
void source_take_leave(struct source *src); /* before the last checkpoint, and source_close */
void source_close(struct source *src);
bool source_rewind(struct tail_file *f, uint64_t offset); /* false: it cannot be read there */
struct source *source_find(struct service *s, const char *name);
void followed_free_retired(struct service *s);

/* followed.c */
static inline struct followed *followed_of(const struct tail_file *f)
{
    return f->owner;
}
uint64_t followed_knows(void *source, uint64_t inode, uint64_t size);
bool followed_found(void *source, struct tail_file *f);
void followed_start_again(struct source *src, struct tail_file *f);
void followed_copied(void *source, struct tail_file *from, struct tail_file *to);
void followed_retire(struct followed *fo);
void followed_note_size(struct followed *fo); /* bytes were read that the ledger does not know of */

/* missing.c */
void source_missed(void *source, struct tail_file *f, uint64_t offset, uint64_t bytes,
                   const char *why);
void source_miss_gone(struct source *src);
void source_miss_deleted(struct source *src, struct tail_file *f);

/* recover.c */
void source_recover(struct source *src);

/* saving.c */
void saving_open(struct service *s);
uint64_t saving_turn(struct service *s, struct now now); /* the next deadline */
bool saving_done(const struct service *s);               /* nothing new, nothing under way */

/* spooling.c: a stream's spool. */
bool spooling_open(struct stream *st, const struct config *config, const struct config_stream *c,
                   struct err *e);
uint64_t spooling_turn(struct stream *st, struct now now);
bool spooling_is_over(const struct stream *st);  /* nothing in it waits for delivery */
bool spooling_is_quiet(const struct stream *st); /* finished, and nothing waits for the disk */
void spooling_report(struct service *s);         /* spools that no stream has */
void spooling_tell_drops(struct stream *st);     /* what the log has not heard of yet */

/* inlet.c */
struct inlet;
struct inlet *inlet_new(struct service *s, const struct config_source *c, struct stream *st,
                        struct shape *shape, struct err *e);
/* Whether the users and groups that it names exist. */
bool inlet_check(const struct config_source *c, struct err *e);
void inlet_reshape(struct inlet *in, const struct config_source *c, struct shape *shape);
bool inlet_is_kept(const struct inlet *in, const struct config_source *c);
void inlet_steer(struct inlet *in);
void inlet_close(struct inlet *in);
const char *inlet_name(const struct inlet *in);
const char *inlet_path(const struct inlet *in);
const char *inlet_state(const struct inlet *in); /* a word for people */
struct stream *inlet_stream(const struct inlet *in);
const struct listen_counts *inlet_counts(const struct inlet *in);
struct inlet *inlet_find(struct service *s, const char *name);
struct inlet *inlet_of(struct list *link);           /* in service.inlets */
void inlets_turn(struct service *s, struct now now); /* who waited for room goes on */
/* What is safe now is told; the deadline is now if somebody need not wait any more. */
uint64_t inlets_answer(struct service *s, struct now now);

/* answers.c */
void answers_open(struct service *s);

/* reload.c */
void service_reload(struct service *s);

#endif
