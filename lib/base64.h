/* base64.h - RFC 4648 section 4, with padding.
 *
 * base64_encode writes exactly base64_size(n) bytes and no NUL; dst and src may not overlap. It is
 * on the hot path: every delivered byte passes it once. Where the processor has AVX2 it is used;
 * base64_encode_plain is the same without it, for other processors and for the test that compares
 * the two. base64_decode accepts padded text only (length a multiple of 4, no white space, unused
 * bits zero) and returns ERR_SYNTAX otherwise, ERR_RANGE when dst (`cap` bytes) is too small;
 * *n_out is written on success only, dst may be written to on failure too.
 */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H

#include "lib/base.h"

static inline size_t base64_size(size_t n)
{
    return (n + 2) / 3 * 4;
}

void base64_encode(char *dst, const void *src, size_t n);
void base64_encode_plain(char *dst, const void *src, size_t n);
int base64_decode(void *dst, size_t cap, struct str text, size_t *n_out);

#endif
