/* encode.h - the body of one PutRecords request, as JSON.
 *
 *   {"StreamName":"crimes","Records":[{"Data":"<base64>","PartitionKey":"..."},...]}
 *
 * A destination is written once into the `prefix` (encode_prefix: everything up to the first
 * record; an ARN is sent as StreamARN). encode_put_records resets `body` and fills it; false when
 * memory ran out, and then the body is empty. The records are only read.
 * Source: the Kinesis API reference, PutRecords (JSON 1.1).
 */
#ifndef LIB_ENCODE_H
#define LIB_ENCODE_H

#include "lib/batch.h"
#include "lib/buf.h"

/* 4/3 of the data, and each key fully escaped, and what stands around them. */
#define ENCODE_BODY_MAX                                                                            \
    (BATCH_BYTES_MAX / 3 * 4 + BATCH_RECORDS_MAX * (6 * (size_t)RECORD_KEY_BYTES_MAX + 64) + 4096)

#define ENCODE_TARGET       "Kinesis_20131202.PutRecords"
#define ENCODE_CONTENT_TYPE "application/x-amz-json-1.1"

void encode_prefix(struct buf *prefix, struct str stream_name_or_arn);
bool encode_put_records(struct buf *body, struct str prefix, struct record *const *records,
                        unsigned n);

#endif
