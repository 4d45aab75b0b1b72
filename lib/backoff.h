/* backoff.h - how long to wait before the next try.
 *
 * Full jitter: delay = random(0,1) x min(cap_ms, base_ms x 2^tries) x failed/total, where `tries`
 * is 0 for the first retry, and failed/total is the share of the batch that failed. Never
 * overflows, whatever the numbers; total 0 counts as 1/1, and so does failed > total. The result
 * is at most cap_ms, and at least 1 ms (even when cap_ms is 0), so that a retry never spins.
 */
#ifndef LIB_BACKOFF_H
#define LIB_BACKOFF_H

#include "lib/rng.h"

#define BACKOFF_CAP_MS 20000          /* the SDKs' cap */
#define BACKOFF_TRANSIENT_BASE_MS 50  /* the SDKs' 2026 base for transient errors */
#define BACKOFF_THROTTLE_BASE_MS 1000 /* and for throttling */

uint64_t backoff_ms(struct rng *r, uint64_t base_ms, uint64_t cap_ms, unsigned tries,
                    unsigned failed, unsigned total);

#endif
