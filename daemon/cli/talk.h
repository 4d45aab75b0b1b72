/* talk.h - how a subcommand finds the daemon, and asks it.
 *
 * struct talk knows which daemon is meant: by its configuration (-c, else
 * /etc/tailrace/tailrace.yaml if it is there), by --state-dir, or by --control. talk_option takes
 * those three options of a subcommand; talk_init then reads the configuration and returns 0, or an
 * exit code after a complaint.
 *
 * talk_connect returns 0 when the daemon listens; ERR_MISSING: nobody does; ERR_IO: it is there,
 * perhaps, but not for us. Where the configuration does not say where the socket is, it is looked
 * for in the usual places, and a daemon counts only if its state directory is the one meant. It may
 * be called again, after talk_hang_up or a failure.
 *
 * talk_ask sends one request (a JSON object in one line) and hands each line of the answer upward,
 * as JSON, borrowed; the last line is not handed on. 0, or an error: ERR_MISSING when the daemon
 * has gone away or does not answer for TALK_PATIENCE_MS, ERR_IO when it says no (err has its
 * words). After any error but ERR_IO the connection is closed.
 *
 * talk_checkpoint loads what the state directory remembers, daemon or not.
 */
#ifndef DAEMON_CLI_TALK_H
#define DAEMON_CLI_TALK_H

#include "daemon/control.h"
#include "lib/config.h"
#include "lib/position.h"

#define TALK_PATIENCE_MS 20000
#define TALK_CONFIG      "/etc/tailrace/tailrace.yaml"
#define TALK_OPTIONS                                                                               \
    {"config", required_argument, NULL, 'c'}, {"control", required_argument, NULL, 'C'},           \
    {                                                                                              \
        "state-dir", required_argument, NULL, 'S'                                                  \
    }
#define TALK_HELP                                                                                  \
    "  -c, --config FILE   the daemon's configuration (default: " TALK_CONFIG ")\n"                \
    "      --control PATH  its control socket, if it is not where the configuration says\n"        \
    "      --state-dir DIR its state directory, likewise\n"

struct json_t; /* jansson's; its header and lib/json.h cannot be included together */

struct talk {
    const char *config_path, *control_option, *state_dir_option;
    struct config *config; /* NULL: none was needed, or there is none */
    char *state_dir;
    int fd; /* -1: not connected */
    struct buf in;
    struct checkpoint remembered; /* known.c's: the checkpoint, once for many files */
    bool remembers;
};

typedef void talk_line_fn(void *ctx, const struct json_t *line);

bool talk_option(struct talk *t, int option, const char *value); /* false: not one of its own */
int talk_init(struct talk *t);
void talk_release(struct talk *t);
int talk_connect(struct talk *t, struct err *e);
void talk_hang_up(struct talk *t);
int talk_ask(struct talk *t, const char *request, talk_line_fn *line, void *ctx, struct err *e);
int talk_checkpoint(const struct talk *t, struct checkpoint *c, struct err *e);

/* Members of a line; what is missing or of another kind is "" or 0. */
const char *talk_text(const struct json_t *line, const char *name);
uint64_t talk_number(const struct json_t *line, const char *name); /* also digits in a string */
bool talk_true(const struct json_t *line, const char *name);
bool talk_has(const struct json_t *line, const char *name);
/* The line as text, to be freed; NULL without memory. */
char *talk_dump(const struct json_t *line);
/* A path as its bytes, to be freed; NULL without memory. */
char *talk_path(const struct json_t *line);

uint64_t talk_now_ms(void); /* monotonic */
void talk_sleep(uint64_t ms);

#endif
