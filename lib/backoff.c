/* The window doubles with every try until the cap, is scaled by the share that failed, and a point
 * in it is drawn at random. Drawing from the whole window, zero included, is what spreads a fleet
 * of clients that all failed at the same moment.
 */
#include "lib/backoff.h"

#include "lib/base.h"

static uint64_t window_ms(uint64_t base_ms, uint64_t cap_ms, unsigned tries)
{
    if (base_ms == 0)
        return 0;
    if (tries >= 64 || base_ms > cap_ms >> tries)
        return cap_ms;
    return base_ms << tries;
}

uint64_t backoff_ms(struct rng *r, uint64_t base_ms, uint64_t cap_ms, unsigned tries,
                    unsigned failed, unsigned total)
{
    double share = total == 0 || failed >= total ? 1.0 : (double)failed / (double)total;
    double dice = (double)(rng_next(r) >> 11) * 0x1p-53; /* 0 <= dice < 1, all 53 bits */
    uint64_t delay = (uint64_t)(dice * share * (double)window_ms(base_ms, cap_ms, tries));
    delay = min_u64(delay, cap_ms);
    return delay > 0 ? delay : 1;
}
