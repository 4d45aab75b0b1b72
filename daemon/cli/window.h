/* window.h - the frames that a client of a socket keeps until it knows that they are safe.
 *
 * Bytes of a line are added as they come; window_finish makes a frame of them, remembering the
 * place they came from, or window_drop throws them away. What window_unsent gives may be written,
 * and window_sent says how much was. A frame leaves when an answer names it (window_ok), or, where
 * nobody answers, when it is written (window_forget_sent); until its last byte is written it stays
 * in any case, for the peer is owed the rest.
 *
 *   origin <= kept <= sent <= whole <= end      positions in all bytes ever; they only grow, but
 *                                               for sent, which window_rewind sets back to kept
 *   first <= settled, first <= begun <= first + n         numbers of frames, from 0
 *
 * A connection numbers its frames from 1; window_rewind begins a new one, on which everything that
 * is kept is written again. window_ok and window_bad are given such numbers, and say false when
 * nothing of that frame was ever written: then nobody sane is there.
 *
 * Bounds: window_has_room is false while WINDOW_FRAMES_MAX frames or WINDOW_BYTES_MAX bytes are
 * kept; the caller bounds the unfinished line (window_open says how long it is).
 */
#ifndef DAEMON_CLI_WINDOW_H
#define DAEMON_CLI_WINDOW_H

#include "lib/buf.h"

#define WINDOW_FRAMES_MAX 65536 /* a power of two */
#define WINDOW_BYTES_MAX  (8 * MIB)
#define WINDOW_LINE_MAX   (16 * MIB) /* of one frame, without its end */

struct window_place {
    unsigned file;
    uint64_t line;
};

struct window_frame {
    uint64_t end; /* the position behind it */
    uint64_t line;
    unsigned file;
    bool bad; /* it was named so, on whichever connection */
};

struct window {
    bool length32;    /* its length before each frame, instead of LF behind it */
    struct buf bytes; /* from origin to end */
    uint64_t origin, kept, sent, whole;
    uint64_t sent_max;           /* the farthest that sent has ever been */
    struct window_frame *frames; /* a ring: number i stands at i % WINDOW_FRAMES_MAX */
    uint64_t first, n;
    uint64_t settled;          /* those before it need not be sent again */
    uint64_t begun;            /* those before it were written on this connection, or begun */
    uint64_t connection_first; /* which is number 1 there */
    uint64_t bad;              /* frames named bad, ever */
    struct window_place last;  /* of the frame that left last; line 0: none has */
};

bool window_init(struct window *w, bool length32); /* false: no memory */
void window_release(struct window *w);

bool window_has_room(const struct window *w);
bool window_add(struct window *w, struct str bytes); /* false: no memory */
size_t window_open(const struct window *w);
void window_trim_cr(struct window *w);                           /* of the unfinished line */
bool window_finish(struct window *w, struct window_place place); /* false: no memory */
void window_drop(struct window *w);

struct str window_unsent(const struct window *w);
void window_sent(struct window *w, size_t n);
void window_rewind(struct window *w);

bool window_ok(struct window *w, uint64_t number);
/* *frame is NULL when it was named before: that is no news. */
bool window_bad(struct window *w, uint64_t number, const struct window_frame **frame);
void window_forget_sent(struct window *w);

#endif
