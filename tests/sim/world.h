/* world.h - a world in a box: a disk of growing files, a Kinesis with moods, a clock that obeys.
 *
 * Everything random comes from the seed. Every record carries its number ("#17#"), so the world
 * can tell what was stored, how often, and what became a dead letter, whatever the format made of
 * the bytes. The fake Kinesis shares no code with lib/: it reads requests with jansson and its own
 * base64.
 *
 * What happens to a request is decided when it is sent; it happens later, as events: first the
 * storing (maybe), then the answer (maybe). A crash of the shipper cancels the answers, not the
 * storing.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "lib/pipeline.h"
#include "lib/shape.h"

#define WORLD_FILES_MAX  4
#define WORLD_EVENTS_MAX 512
#define WORLD_ARRAY_MAX  8 /* records in one line */

enum fate { FATE_SEND, FATE_DEAD }; /* where a record must end up */

struct truth {
    unsigned file;
    uint64_t end; /* offset behind its line in its file */
    enum fate fate;
    unsigned stored; /* times in Kinesis */
    unsigned dead;   /* times in the dead letters */
    size_t text_n;
    uint64_t text_at; /* offset of its text in the file */
};

struct world_file {
    char *bytes;
    size_t n, cap;
    uint64_t inode;
    uint64_t grown_ms; /* when it last grew */
};

struct event {
    uint64_t at_ms;
    enum { EVENT_STORE, EVENT_ANSWER, EVENT_DEAD } kind;
    unsigned slot;
    int status;
    char *body;    /* EVENT_ANSWER: what the service says */
    unsigned *ids; /* EVENT_STORE, EVENT_DEAD */
    unsigned ids_n;
    uint64_t token; /* EVENT_DEAD */
    bool ok;
};

struct weather {
    unsigned partial, throttle, error500, cut_before, cut_after, broken, held; /* per mille */
    unsigned dead_fails, save_fails;
    bool outage, dead_full;
};

struct world {
    struct rng rng;
    enum shape_format format;
    bool multiline; /* lines: a record has several, and only the first begins with # */
    bool arrays;    /* json: records come as arrays, one in a line */
    uint64_t now_ms;
    struct world_file files[WORLD_FILES_MAX];
    unsigned files_n;
    struct truth *truths;
    unsigned truths_n, truths_cap;
    struct event events[WORLD_EVENTS_MAX];
    unsigned events_n;
    struct weather weather;
    uint64_t stored, duplicates;
    uint64_t ambiguous;  /* records stored by requests whose answer got lost or was broken */
    char complaint[256]; /* not empty: the run has failed */
};

void world_init(struct world *w, uint64_t seed);
void world_release(struct world *w);
void world_append(struct world *w, unsigned records);
void world_change_weather(struct world *w, bool fair);
void world_request(struct world *w, unsigned slot, struct str body);
void world_dead_letter(struct world *w, const struct record *rec, uint64_t token);
/* The first event that is due is taken out. False: none is. The caller frees body and ids. */
bool world_next_event(struct world *w, struct event *ev);
uint64_t world_next_ms(const struct world *w);
void world_apply(struct world *w, const struct event *ev); /* storing */
void world_crash(struct world *w);
void world_complain(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
