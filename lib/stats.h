/* stats.h - the counters of a pipeline, as rows: name, and one sentence.
 *
 * The struct, the log line at the end of a run and the tests all come from STATS; a counter exists
 * by having a row. Counters only grow.
 */
#ifndef LIB_STATS_H
#define LIB_STATS_H

#include <stdint.h>

#define STATS(X)                                                                                   \
    X(records_in, "records put into the ring")                                                     \
    X(bytes_in, "their bytes, keys included")                                                      \
    X(records_delivered, "records the service has accepted")                                       \
    X(records_dead, "records stored as dead letters")                                              \
    X(requests, "requests sent")                                                                   \
    X(requests_failed, "requests that failed as a whole")                                          \
    X(records_retried, "records sent again after a failure")                                       \
    X(throttles, "answers that throttled a request or a part of it") \
    X(pauses, "times the ring was full and its sources paused")                                    \
    X(bad_values, "values that did not fit their type")                                            \
    X(bytes_replaced, "invalid UTF-8 sequences replaced in JSON")                                  \
    X(key_fallbacks, "records whose key could not be made from the template")                      \
    X(ragged_rows, "CSV rows with more or fewer cells than columns")                               \
    X(no_match, "lines that do not match their format")                                            \
    X(dropped, "of these, lines that were dropped")                                                \
    X(add_skipped, "JSON records that are no objects, and were sent as they stand")                \
    X(oversize, "records over max_record: truncated, split (each cut counts) or dead letters")     \
    X(regex_limits, "matches given up because they cost too much")                                 \
    X(missing_files, "files of which bytes were gone before they could be read")                   \
    X(missing_bytes, "those of these bytes that could be counted")                                 \
    X(spooled_records, "records from sockets put into the spool")                                  \
    X(spooled_bytes, "their bytes, keys included")                                                 \
    X(frames_cut, "frames that a client left unfinished, not sent")                               \
    X(spool_dropped, "records dropped because the spool was full")                                 \
    X(spool_read_back, "records read back from the spool's file, not from memory")                 \
    X(spool_damaged_bytes, "bytes of the spool passed over because they were damaged")             \
    X(spool_writes, "times the spool was written to")                                              \
    X(spool_syncs, "times the spool was synced to the disk")

struct stats {
#define STATS_FIELD(name, sentence) uint64_t name;
    STATS(STATS_FIELD)
#undef STATS_FIELD
};

#endif
