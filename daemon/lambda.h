/* lambda.h - the Lambda runtime API, as a runtime calls it: HTTP/1.1 over one loopback connection.
 *
 *   lambda_open(&l, "127.0.0.1:9001", &e)   an IPv4 address and a port, as
 *                                           AWS_LAMBDA_RUNTIME_API has them, or "localhost": no
 *                                           names are looked up, and nothing is sent yet
 *   loop:
 *     lambda_next(&l, &event, &e)           waits for an event, however long that takes; the
 *                                           event's body lives until the next call
 *     lambda_answer(&l, &event, body, &e)   or
 *     lambda_error(&l, &event, type, message, &e)
 *   lambda_init_error(&l, type, message, &e)  instead of the loop, and then the process ends
 *   lambda_close(&l)
 *
 * The connection is kept between calls, and made again when it is gone; a call that was under way
 * then is made once more on a new one. Heads are bounded by LAMBDA_HEAD_MAX, bodies by
 * LAMBDA_BODY_MAX; bodies have a length or come in chunks.
 *
 * Return values: 0; LAMBDA_REFUSED: the API has said no to this one event (its time was over, the
 * answer was too large), the next may do; LAMBDA_TOO_LARGE: of lambda_next, an event over
 * LAMBDA_BODY_MAX, which has an id and so can be told of; ERR_IO or ERR_SYNTAX: there is no API to
 * talk to, or it says that it cannot go on, and the process should end. err has the sentence.
 */
#ifndef DAEMON_LAMBDA_H
#define DAEMON_LAMBDA_H

#include <netinet/in.h>

#include "lib/buf.h"
#include "lib/err.h"

#define LAMBDA_HEAD_MAX (64 * KIB)
#define LAMBDA_BODY_MAX (8 * MIB) /* an event is at most 6 MB */
#define LAMBDA_ID_MAX   128

enum { LAMBDA_REFUSED = -100, LAMBDA_TOO_LARGE = -101 };

struct lambda {
    int fd; /* -1: not connected */
    struct sockaddr_in address;
    char host[64]; /* as given, for the Host header */
    struct buf in; /* what has come of an answer's head, of chunks' lines, and behind them */
    size_t used;   /* of in */
    struct buf body, out;
};

struct lambda_event {
    char id[LAMBDA_ID_MAX + 1];
    char invocation_id[LAMBDA_ID_MAX + 1]; /* to be sent back; empty: there was none */
    struct str body;
};

int lambda_open(struct lambda *l, const char *host_port, struct err *e);
void lambda_close(struct lambda *l);
int lambda_next(struct lambda *l, struct lambda_event *event, struct err *e);
int lambda_answer(struct lambda *l, const struct lambda_event *event, struct str body,
                  struct err *e);
int lambda_error(struct lambda *l, const struct lambda_event *event, const char *type,
                 const char *message, struct err *e);
int lambda_init_error(struct lambda *l, const char *type, const char *message, struct err *e);

#endif
