/* kinesis.h - a small synchronous Kinesis client for the command-line tools.
 *
 * kinesis_new finds endpoint, region and credentials; kinesis_call sends one request and waits for
 * the answer; kinesis_insist does the same and repeats, with growing pauses, what may get better by
 * itself. Endpoint: the option, AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL, the region's own.
 * Region: the option, AWS_REGION, AWS_DEFAULT_REGION, the profile's. CA bundle: the option,
 * AWS_CA_BUNDLE, the system's. Credentials: daemon/creds.h; after an answer that blames them they
 * are loaded once more.
 *
 *   KINESIS_OK         *answer is the caller's (json_decref)
 *   KINESIS_THROTTLED  send it again, later
 *   KINESIS_TRANSIENT  no answer, a broken one, or the service's own trouble: send it again
 *   KINESIS_EXPIRED    the shard iterator is too old
 *   KINESIS_STOPPED    *stop became true
 *   KINESIS_FAILED     it will not get better
 * All but OK and STOPPED set err. Strings in the options must outlive the client. Every transfer
 * has a connect and a total time limit; an answer over KINESIS_ANSWER_MAX is cut off as an error.
 */
#ifndef DAEMON_CLI_KINESIS_H
#define DAEMON_CLI_KINESIS_H

#include <signal.h>

#include "lib/base.h"
#include "lib/err.h"

#define KINESIS_ANSWER_MAX (64 * MIB) /* GetRecords gives at most 10 MiB, before base64 */

enum kinesis_result {
    KINESIS_OK,
    KINESIS_THROTTLED,
    KINESIS_TRANSIENT,
    KINESIS_EXPIRED,
    KINESIS_STOPPED,
    KINESIS_FAILED,
};

struct kinesis_options {
    const char *endpoint, *region, *profile, *ca_bundle; /* NULL: look elsewhere */
    uint64_t connect_timeout_ms, total_timeout_ms;
};

struct kinesis;
struct json_t; /* jansson.h has names of its own for what lib/json.h names, too */

struct kinesis *kinesis_new(const struct kinesis_options *o, const volatile sig_atomic_t *stop,
                            struct err *e);
void kinesis_free(struct kinesis *k);

enum kinesis_result kinesis_call(struct kinesis *k, const char *operation,
                                 const struct json_t *request, struct json_t **answer,
                                 struct err *e);
enum kinesis_result kinesis_insist(struct kinesis *k, const char *operation,
                                   const struct json_t *request, struct json_t **answer,
                                   struct err *e);

/* After `tries` failures in a row: how long to wait before the next try, or 0 to give up. A service
 * that has answered before is given longer. */
uint64_t kinesis_pause_ms(struct kinesis *k, enum kinesis_result failure, unsigned tries);

/* Sleeps; false when *stop became true. */
bool kinesis_sleep(struct kinesis *k, uint64_t ms);
struct now kinesis_now(void);

#endif
