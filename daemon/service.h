/* service.h - the household: owns everything, births in order, deaths in reverse.
 *
 *   service_new     builds all from a configuration: state directory, checkpoint, dead letters,
 *                   streams, sources. NULL with err and *exit_code when the start is bad.
 *   service_run     runs the loop until a signal (or, with `once`, the end of the files) has ended
 *                   it; returns the exit code. Everything is closed and freed then.
 *
 * The turn (service_turn, in an unref'd uv_prepare just before the loop sleeps) is the whole
 * behaviour: pump every stream, save the checkpoint if it is due, see whether a stop is complete,
 * arm the one timer for the next deadline. No deadline, no timer: an idle daemon does not wake up.
 *
 * No file is read before the first checkpoint is durable: it says where reading began.
 */
#ifndef DAEMON_SERVICE_H
#define DAEMON_SERVICE_H

#include "lib/config.h"

#define EXIT_DEAD_LETTERS 1
#define EXIT_USAGE_ERROR  64
#define EXIT_NO_INPUT     66
#define EXIT_TEMPORARY    75
#define EXIT_CONFIG       78

struct service_options {
    const char *config_path; /* read again on SIGHUP */
    bool once;
    uint64_t once_timeout_ms; /* 0: none */
};

struct service;

/* Takes over `config`, also on failure. */
struct service *service_new(struct config *config, const struct service_options *o, int *exit_code,
                            struct err *e);
int service_run(struct service *s);

#endif
