/* lag.h - how old is the oldest byte that is not delivered yet?
 *
 * A few marks say "the file's bytes up to `end` were there at `ms`", oldest first. What is
 * delivered drops the marks it has passed; the oldest byte that is left came between the last mark
 * dropped and the first one kept, so the age of the first one kept is its age, as well as it was
 * seen. When there are more moments than marks, neighbours are joined (the earlier time with the
 * later end): ages then err towards older, never towards younger.
 *
 *   lag_seen(&l, end, delivered, now_ms)   bytes up to `end` are there; those up to `delivered` are
 *                                          settled. Constant and small: for every read
 *   lag_age_ms(&l, delivered, now_ms)      0 when nothing that was seen is left
 *   lag_reset(&l)                          another content: nothing was seen. All zeros is good too
 */
#ifndef LIB_LAG_H
#define LIB_LAG_H

#include "lib/base.h"

#define LAG_MARKS     6
#define LAG_MOMENT_MS 100 /* what is seen within this time has one mark */

struct lag {
    struct {
        uint64_t end, ms;
    } marks[LAG_MARKS];
    unsigned n;
};

void lag_reset(struct lag *l);
void lag_seen(struct lag *l, uint64_t end, uint64_t delivered, uint64_t now_ms);
uint64_t lag_age_ms(const struct lag *l, uint64_t delivered, uint64_t now_ms);

#endif
