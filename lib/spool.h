/* spool.h - the log on disk of records that have no second copy.
 *
 * What files hold can be read again; what came through a socket cannot. Each stream that sockets
 * feed has one spool: records are put into it, written to its file, and only then read from it into
 * the pipeline's ring. After a restart the same reading goes on where delivery had got to. This is
 * the deciding half: it owns positions and memory, and asks for effects through spool_ops.
 * spoollog.h says how the file looks.
 *
 *      saved  <=  delivered  <=  read_at  <=  written  <=  end         (bytes ever put)
 *      |          |              |            |            '- where the next record goes, in memory
 *      |          |              |            '- in the file; synced <= written: on the disk, too
 *      |          |              '- in the ring, or already settled: origin.read_at
 *      |          '- all before is settled: origin.delivered
 *      '- the file says that all before is settled: only this room is used again
 *
 * Positions never wrap; a position's place in the file is position % capacity. The origin is the
 * spool's own (record.h): the pipeline moves `delivered` as the ring's tail passes its records.
 *
 * Put. spool_put copies one record (DATA with its key, DEAD with its reason as the key) into memory
 * that waits to be written, and moves `end`:
 *   SPOOL_OK      end has moved; the record is safe when spool_safe says so
 *   SPOOL_BUSY    the memory is full: when it has been written there is room again
 *   SPOOL_FULL    the file is full until more is delivered; or the spool is exhausted
 *   SPOOL_FAILED  a write or a sync has failed: see below
 * With `drop_oldest`, a full file makes room by letting go of its oldest records: first of those
 * that are in the ring anyway (they lose only their second copy), then of records that have not
 * been read; these are counted in stats->spool_dropped, each.
 *
 * What is not read into the ring yet is let go from memory only when delivery is in trouble, or
 * after SPOOL_HOLD_MS: until then a put is SPOOL_BUSY. So a flood goes at the pace of delivery and
 * is not read from the file, while a burst is still taken at the pace of the disk.
 *
 * Turn. spool_turn(sp, now), once a loop turn and before the pipeline's: takes the outcome of the
 * write, reads what is written into the ring (at most SPOOL_READ_TURN bytes; from memory if it is
 * still there, else by ops.read, every CRC checked again), starts the next write if one is due, and
 * names the next deadline. One write is under way at a time. It holds all that is there, the saved
 * state when `delivered` has moved (at once if the file is getting full, else each second), and a
 * sync if sync_ms have passed since the first byte that is not synced was put (0: with each
 * write; SPOOL_SYNC_NEVER). While nothing is there to do, no deadline is named.
 *
 * Safe. spool_safe(sp, SPOOL_DURABLE) is the position before which all is synced, and
 * spool_safe(sp, SPOOL_DELIVERED) that before which all is settled: accepted by the service, or a
 * stored dead letter. What a client may be told follows from these two numbers alone.
 *
 * Failure. After a write or a sync that failed nobody knows what is on the disk: `synced` never
 * moves again, spool_failed says so with the sentence, and spool_safe stands still for good (also
 * for SPOOL_DELIVERED). What is in memory still goes to the ring; spool_put goes on to take records
 * only with `unsafe` (from clients that want no acknowledgement), which then go through memory to
 * the ring. A restart is needed. The same happens when what was written since the start is read
 * back and is not what was written: then the disk cannot be trusted.
 *
 * Recovery. spool_recover, once, right after spool_new: reads the file, which must be synced (what
 * a killed process has written need not be on the disk), from `saved` on, finds how far good
 * records go, and what was damaged in between. A torn end is cut at the last good record; a damaged
 * middle costs only the damaged records: reading goes on behind them (spoollog.h). Then read_at =
 * delivered = saved, written = synced = end. The report says what was found.
 *
 * Stop. spool_finish: what is in memory is written and synced, and the state saved, without waiting
 * for sync_ms; spool_is_quiet says when nothing is under way and all of that is done (or failed).
 *
 * Ownership. The spool owns its memory (SPOOL_CHUNKS pieces, each of chunk_bytes); it borrows the
 * pipeline. spool_free demands that no write is under way. If records of it are in the ring, the
 * pipeline must not be pumped any more; if the pipeline is gone, the origin must have been unlinked
 * from its list.
 */
#ifndef LIB_SPOOL_H
#define LIB_SPOOL_H

#include "lib/pipeline.h"
#include "lib/spoolread.h"

#define SPOOL_CHUNKS      4
#define SPOOL_CHUNK_BYTES (1 * MIB) /* or what the largest record needs, if that is more */
#define SPOOL_READ_TURN   (1 * MIB)
#define SPOOL_SAVE_MS     1000
#define SPOOL_HOLD_MS     10   /* what is not read yet stays in memory, while delivery goes well */
#define SPOOL_AGAIN_MS    1000 /* after a read that failed, or no room for a dead letter */
#define SPOOL_SYNC_NEVER  UINT64_MAX

/* One write: the pieces in order, then the state if there is one, then the sync if it is wanted. */
struct spool_write {
    struct {
        uint64_t place; /* in the file */
        struct str bytes;
    } pieces[SPOOL_CHUNKS + 1];
    unsigned pieces_n;
    bool sync;
};

struct spool_ops {
    void *ctx;
    /* Starts one write; all it points to stays alive until spool_wrote, which comes later, never
     * from inside. */
    void (*write)(void *ctx, const struct spool_write *w);
    /* Reads n bytes at a place of the file, now. Fewer: an error. */
    bool (*read)(void *ctx, uint64_t place, char *to, size_t n, struct err *e);
    /* Something a person should know, as a sentence: damage that was passed over while reading
     * back, a read that failed. Not for failures that spool_failed tells. */
    void (*notice)(void *ctx, const char *text);
};

struct spool_options {
    size_t record_max;  /* data and key */
    uint64_t sync_ms;   /* 0: with each write */
    size_t chunk_bytes; /* 0: SPOOL_CHUNK_BYTES */
};

enum spool_put { SPOOL_OK, SPOOL_BUSY, SPOOL_FULL, SPOOL_FAILED };
enum spool_mark { SPOOL_DURABLE, SPOOL_DELIVERED };

struct spool_item {
    enum record_kind kind;
    struct str key, data;
    bool key_plain;
    bool unsafe;      /* nobody waits for an acknowledgement: fine after a failure, too */
    bool drop_oldest; /* make room if there is none */
};

struct spool;

/* Reads the file's header through ops.read. */
struct spool *spool_new(const struct spool_options *o, const struct spool_ops *ops,
                        struct pipeline *p, struct err *e);
void spool_free(struct spool *sp); /* NULL is fine */
int spool_recover(struct spool *sp, struct spool_report *report, struct err *e);
void spool_set_sync(struct spool *sp, uint64_t sync_ms);

enum spool_put spool_put(struct spool *sp, struct now now, const struct spool_item *item);
uint64_t spool_end(const struct spool *sp);
uint64_t spool_safe(const struct spool *sp, enum spool_mark mark);
/* Whether spool_put would take a record of the largest size now (BUSY and FULL are over). A smaller
 * one may be taken before. */
bool spool_has_room(const struct spool *sp);
/* Half of that: whether there is memory, be the file full or not. */
bool spool_has_memory(const struct spool *sp);
/* After a failure: memory is the whole spool, it is full, and delivery does not empty it. */
bool spool_is_exhausted(const struct spool *sp);
/* A put with drop_oldest has found no room, and turns are making some. */
bool spool_makes_room(const struct spool *sp);

uint64_t spool_turn(struct spool *sp, struct now now);
void spool_wrote(struct spool *sp, const struct err *e); /* NULL: all of it is done */
/* The pipeline's steering: while paused, nothing is read into the ring. Going on needs a turn,
 * which the caller sees to. */
void spool_pause(struct spool *sp, bool pause);

void spool_finish(struct spool *sp);
void spool_resume(struct spool *sp); /* it is not the end, after all */
bool spool_is_quiet(const struct spool *sp);
bool spool_is_empty(const struct spool *sp);      /* all that was put is settled */
const char *spool_failed(const struct spool *sp); /* NULL: it works */
bool spool_is_stalled(const struct spool *sp);    /* a dead letter in it has no room elsewhere */
struct origin *spool_origin(struct spool *sp);
struct spool *spool_of_origin(struct origin *o);
uint64_t spool_capacity(const struct spool *sp);

#endif
