/* lambda_in.h - HTTP as lambda.c needs it: one exchange at a time, on l->fd.
 *
 * http_exchange sends l->out and, behind it, `body`; then it reads one answer: its head into
 * *reply, its body into l->body. `patient`: the answer's first byte may take for ever; each other
 * wait is bounded. 0; ERR_BUSY: the connection was gone, or went, and the whole may be tried again
 * on a new one; ERR_SYNTAX: what came is not HTTP; ERR_RANGE: the body is larger than
 * LAMBDA_BODY_MAX (and *reply is set). After anything but 0, and when the answer says so, the
 * connection is closed.
 */
#ifndef DAEMON_LAMBDA_IN_H
#define DAEMON_LAMBDA_IN_H

#include "daemon/lambda.h"

struct lambda_reply {
    unsigned status;
    bool again; /* what it answers was sent more than once */
    bool keep;  /* the connection may be used again */
    bool chunked, has_length;
    size_t length;
    char id[LAMBDA_ID_MAX + 1], invocation_id[LAMBDA_ID_MAX + 1];
};

int http_connect(struct lambda *l, struct err *e);
void http_close(struct lambda *l);
int http_exchange(struct lambda *l, struct str body, bool patient, struct lambda_reply *reply,
                  struct err *e);

#endif
