/* control.h - the control socket: a Unix stream socket on which the daemon answers questions.
 *
 * One JSON object a line in (lib/ask.h), JSON lines out. The last line of every answer is
 * {"end":true}, or {"error":"a sentence"}; after an error the connection may be used on, unless the
 * request was too long to be one. Requests are answered one after the other. The lines of
 *
 *   who         {"version":"0.1.0","pid":77,"state_dir":"/var/lib/tailrace"}
 *   positions   one for each source that has a position in a file with this inode:
 *               {"source":"a","path":"/x/a.log","device":"1","inode":"2","offset":3,
 *                "mid_record":false,"head":{"n":3,"hash":"..."},"tail":{"n":3,"hash":"..."},
 *                "saved":true,"followed":true,"read":3,"in_ring":0,"dropped":0}
 *               dropped: lines that on_no_match dropped since the daemon has followed it;
 *               offset: every record up to it is settled; saved: a checkpoint says so too;
 *               fingerprints as in position.h. Which of them is the file that is asked for is for
 *               the client to find out: it can read the file. A path that is not UTF-8 has its
 *               bytes beside it, as "path_hex"
 *   sources     one for each followed file:
 *               {"source":"a","path":"/x/a.log","state":"following","device":"1","inode":"2",
 *                "size":9,"read":9,"delivered":3,"behind_ms":1200}
 *               and one for each stream: {"stream":"s", and its counters (stats.h)}
 *               states: following, rotated (no name leads to it), paused (the stream's memory is
 *               full), waiting (for room in the dead letters), done (--once). A socket is
 *               listening, full (its clients wait) or failed (its spool's disk); its bytes are
 *               those of its stream's spool, and how many clients it has stands in a line
 *               {"socket":"a","clients":1,...} (listen.h)
 *   rewind      {"path":"/x/a.log","from":9,"offset":3}
 *
 * control_new makes the socket, mode 0600, in a directory that is there. Who connects must be root
 * or the daemon's own user (SO_PEERCRED). A socket that a dead process left is taken over: only
 * after connecting to it was refused, and while a lock on the directory keeps two daemons from
 * doing so at one time; what is not a socket, or what somebody listens on, is left alone
 * (ERR_BUSY). A path too long for a socket's address is no obstacle. NULL with err on failure.
 *
 * Bounds. At most CONTROL_CLIENTS_MAX are served at one time, others wait in the kernel's queue. A
 * request is at most CONTROL_REQUEST_MAX bytes. Who has no whole request ready, or has not taken
 * its answer, for CONTROL_IDLE_MS is cut off: single bytes do not count. All answers under way
 * together take at most CONTROL_ANSWERS_MAX. While an answer is being written nothing is read.
 *
 * Told upward: request(ctx, line, out) is to append the whole answer, at least one line, and never
 * from inside control_new. control_close unlinks the socket, if it is still ours, and calls
 * on_closed when nothing is left, never from inside.
 *
 * control_connect is the client's side: a connected descriptor, blocking, or ERR_MISSING (nobody
 * listens there), ERR_IO. control_path is where the socket is when the configuration does not say:
 * in systemd's runtime directory if there is one, else in state_dir; false: it would be too long.
 */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include <uv.h>

#include "daemon/unixsock.h"
#include "lib/buf.h"
#include "lib/err.h"

#define CONTROL_NAME        "control.sock"
#define CONTROL_PATH_MAX    UNIXSOCK_PATH_MAX
#define CONTROL_CLIENTS_MAX 16
#define CONTROL_REQUEST_MAX (64 * KIB)
#define CONTROL_ANSWERS_MAX (64 * MIB) /* some 200 000 files */
#define CONTROL_IDLE_MS     30000

struct control;

struct control_ops {
    void *ctx;
    void (*request)(void *ctx, struct str line, struct buf *out);
};

struct control *control_new(uv_loop_t *loop, const char *path, const struct control_ops *ops,
                            struct err *e);
void control_set_idle(struct control *c, uint64_t idle_ms); /* instead of CONTROL_IDLE_MS */
void control_close(struct control *c, void (*on_closed)(void *ctx), void *ctx);

bool control_path(const char *configured, const char *state_dir, char to[CONTROL_PATH_MAX]);
int control_connect(const char *path, struct err *e);

#endif
