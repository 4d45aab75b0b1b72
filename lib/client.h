/* client.h - one client of a socket, seen from inside: bytes in, records into the spool, answers
 * out.
 *
 * client_feed is given the bytes as they come, cut anywhere. It cuts them into frames, shapes each
 * frame into its records and puts them into the spool; what it cannot use yet it holds. The clients
 * of one socket share a struct client_home, which says what frames become.
 *
 *   CLIENT_GO_ON  go on reading
 *   CLIENT_WAIT   stop reading: the spool has no room, or too many answers wait. client_resume
 *                 goes on with what is held, when answers were taken, or client_has_room says so
 *   CLIENT_BREAK  hang up: out of memory, or of what unfinished frames may take
 *
 * Frames. newline: a line, its LF and a CR before it left off; empty lines are nothing. length32:
 * four bytes, the highest first, and as many bytes as they say; an empty one is a frame without a
 * record. Frames are numbered from 1. With spec->split_arrays, a frame that is a JSON array becomes
 * a record an element (and none, if it is empty); else a frame is one record. A frame that is
 * longer than frame_max is cut as on_oversize says, and the rest of it is passed over as it comes.
 * At the end of the bytes (client_end), whole frames that are held are still dealt with; an
 * unfinished line is a frame if ack is none, for nobody would send it again, else it is dropped and
 * counted, as an unfinished message always is.
 *
 * Answers, for acknowledgements other than none. They gather in `answers`; the caller writes them
 * and resets the buf, and says in `untaken` how many bytes the client has not taken yet: from
 * CLIENT_ANSWERS_MAX on nothing more is read of it.
 *   bad K REASON   frame K, or an element of it, did not become a record, or not wholly; at once
 *   ok N           each frame up to N is safe, or was named by a bad before. client_acknowledge is
 *                  told how far the spool is safe; ok answers merge, as it is cumulative
 * A frame of which an element is bad is named once, with the first reason; its other elements are
 * records all the same. What cannot be a record goes through the spool as a dead letter.
 *
 * A full spool. block: CLIENT_WAIT, in the middle of an array, too: its elements before are in the
 * spool, and `element` remembers how far. drop_newest: the record is counted, and the frame is bad.
 * drop_oldest: the spool makes room. After a failure of the spool only clients without
 * acknowledgements go on, and when it is exhausted both policies drop what comes.
 *
 * Datagrams. client_datagram takes one record by one call, from the peer that is told; false: there
 * is no room, offer it again. One line end behind it is left off. One that was cut by the kernel is
 * over-long.
 *
 * A dead letter's key, in the spool, is a NUL, the name of the source, a NUL, the reason and a NUL.
 * client_dead_key takes it apart; it is false for any other key, which a record had that the
 * service refused: no key of ours begins with a NUL and has such a name behind it, and what a
 * client may put there is no path.
 *
 * Peers. What the kernel says of the client (client_init) is what templates find as @peer.*.
 *
 * Ownership. The home borrows all it names; a client borrows its home. client_release frees.
 */
#ifndef LIB_CLIENT_H
#define LIB_CLIENT_H

#include "lib/framer.h"
#include "lib/shape.h"
#include "lib/spool.h"

#define CLIENT_ANSWERS_MAX  (64 * KIB)
#define CLIENT_MARKS_MAX    64         /* frames waiting to be safe; more are told together */
#define CLIENT_FRAME_MAX    (16 * MIB) /* of an array that is split; else max_record */
#define CLIENT_HELD_FREE    (64 * KIB) /* what each client may hold; what it holds above that */
#define CLIENT_HELD_MAX     (64 * MIB) /* counts here, for all clients of a socket */
#define CLIENT_REASON_BYTES 200

enum client_framing { CLIENT_LINES, CLIENT_LENGTH32 };
enum client_full { CLIENT_BLOCK, CLIENT_DROP_NEWEST, CLIENT_DROP_OLDEST };

/* What the clients of one socket have in common. */
struct client_home {
    const char *source; /* its name */
    enum client_framing framing;
    enum client_full on_full;
    bool answers; /* ack is not none */
    struct shape *shape;
    const struct shape_spec *spec;
    struct spool *spool;
    struct stats *stats;
    struct rng *rng;
    size_t held;       /* by all clients, above what is free */
    uint64_t no_match; /* frames that are not of the format */
};

struct client_peer {
    int64_t pid, uid, gid;
};

enum client_result { CLIENT_GO_ON, CLIENT_WAIT, CLIENT_BREAK };

struct client {
    struct client_home *home;
    struct client_peer peer;
    struct framer framer;
    struct buf held;    /* bytes that came and are not used */
    size_t held_at;     /* those before it are */
    uint64_t skip;      /* length32: bytes of an over-long frame still to pass over */
    uint64_t frames;    /* the number of the last frame begun */
    bool in_frame, bad; /* it is not finished; a bad has named it */
    size_t element;     /* of an array being split: how much of its text is done */
    struct {
        uint64_t frame, position; /* the frame is safe when the spool is safe up to there */
    } marks[CLIENT_MARKS_MAX];
    unsigned marks_at, marks_n;
    struct buf answers;
    size_t untaken;
};

void client_init(struct client *c, struct client_home *home, const struct client_peer *peer);
void client_release(struct client *c);

enum client_result client_feed(struct client *c, struct now now, struct str bytes);
enum client_result client_resume(struct client *c, struct now now);
/* No more bytes will come. GO_ON: all is dealt with; WAIT: call it again. */
enum client_result client_end(struct client *c, struct now now);
/* Whether one that waits for the spool would get further now. A full file is room enough for a
 * policy that drops; a turn that finds it false need not ask again before something has moved. */
bool client_has_room(const struct client_home *home);
/* Whether it owes the rest of a frame. */
bool client_is_unfinished(const struct client *c);

/* `safe`: of the spool, as the source's ack asks. False: no memory for the answer; hang up. */
bool client_acknowledge(struct client *c, uint64_t safe);
bool client_is_waiting(const struct client *c); /* for an ok */

/* Both end in a NUL, which is not counted. */
bool client_dead_key(struct str key, struct str *source, struct str *reason);

bool client_datagram(struct client *c, struct now now, const struct client_peer *peer,
                     struct str bytes, bool whole);

#endif
