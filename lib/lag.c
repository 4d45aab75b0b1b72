/* Ends and times of the marks only grow. Nothing can fail here. */
#include "lib/lag.h"

void lag_reset(struct lag *l)
{
    l->n = 0;
}

static void drop_passed(struct lag *l, uint64_t delivered)
{
    unsigned passed = 0;
    while (passed < l->n && l->marks[passed].end <= delivered)
        passed++;
    if (passed == 0)
        return;
    l->n -= passed;
    memmove(l->marks, l->marks + passed, l->n * sizeof l->marks[0]);
}

/* The two neighbours that stand for the shortest time together become one. */
static void join_two(struct lag *l, uint64_t now_ms)
{
    unsigned best = 0;
    uint64_t best_ms = UINT64_MAX;
    for (unsigned i = 0; i + 1 < l->n; i++) {
        uint64_t until_ms = i + 2 < l->n ? l->marks[i + 2].ms : now_ms;
        if (until_ms - l->marks[i].ms >= best_ms)
            continue;
        best_ms = until_ms - l->marks[i].ms;
        best = i;
    }
    l->marks[best].end = l->marks[best + 1].end;
    l->n--;
    memmove(l->marks + best + 1, l->marks + best + 2, (l->n - best - 1) * sizeof l->marks[0]);
}

void lag_seen(struct lag *l, uint64_t end, uint64_t delivered, uint64_t now_ms)
{
    drop_passed(l, delivered);
    uint64_t known = l->n > 0 ? l->marks[l->n - 1].end : delivered;
    if (end <= known)
        return;
    if (l->n > 0 && now_ms - l->marks[l->n - 1].ms < LAG_MOMENT_MS) {
        l->marks[l->n - 1].end = end;
        return;
    }
    if (l->n == LAG_MARKS)
        join_two(l, now_ms);
    l->marks[l->n].end = end;
    l->marks[l->n].ms = now_ms;
    l->n++;
}

uint64_t lag_age_ms(const struct lag *l, uint64_t delivered, uint64_t now_ms)
{
    for (unsigned i = 0; i < l->n; i++)
        if (l->marks[i].end > delivered)
            return now_ms - l->marks[i].ms;
    return 0;
}
