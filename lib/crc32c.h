/* crc32c.h - CRC-32C (Castagnoli), the checksum of iSCSI, ext4 and our spool.
 *
 * crc32c(0, p, n) is the checksum of n bytes; crc32c(crc, p, n) goes on from what an earlier call
 * returned, so that crc32c(crc32c(0, "ab"), "c") is crc32c(0, "abc"). n may be 0, and p NULL then.
 * The processor computes it where it can (x86-64 with SSE4.2 and PCLMULQDQ, asked at run time);
 * crc32c_table is the same without its help. No state: any thread at any time.
 */
#ifndef LIB_CRC32C_H
#define LIB_CRC32C_H

#include "lib/base.h"

uint32_t crc32c(uint32_t crc, const void *p, size_t n);
uint32_t crc32c_table(uint32_t crc, const void *p, size_t n);

#endif
