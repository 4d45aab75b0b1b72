/* progress.h - one line on a terminal that says how far a `--once` run is: files, bytes, records,
 * rate, time left. Where no end is known, it says what is done and the rate.
 *
 * progress_init looks whether stderr is a terminal; if not, nothing is ever written. progress_show
 * draws at most every PROGRESS_EVERY_MS (or when `last`, which also ends the line); progress_due
 * tells when it wants to be called next. The line is cut to the terminal's width.
 */
#ifndef DAEMON_PROGRESS_H
#define DAEMON_PROGRESS_H

#include "lib/base.h"

#define PROGRESS_EVERY_MS 200

struct progress {
    bool on;
    uint64_t started_ms, next_ms;
};

struct progress_facts {
    unsigned files, files_done;
    uint64_t bytes, bytes_done;
    bool endless; /* nobody knows how many bytes there will be */
    uint64_t records_done;
};

void progress_init(struct progress *p, uint64_t now_ms);
uint64_t progress_due(const struct progress *p); /* UINT64_MAX when off */
void progress_show(struct progress *p, uint64_t now_ms, const struct progress_facts *f, bool last);

#endif
