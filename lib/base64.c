/* Encoding walks the source in threes: 24 bits become four letters, and a last one or two bytes are
 * padded. With AVX2 the bulk goes 24 bytes at a time: a shuffle puts the bytes of each three where
 * two multiplications can shift all four 6-bit groups into bytes of their own, and a table of
 * sixteen offsets turns the groups into letters. The plain code then finishes what is left.
 *
 * Decoding goes the same way back, 32 letters at a time, as long as all are letters; what is left,
 * the padding among it, is done four by four, and strictly: a letter outside the alphabet, padding
 * anywhere but at the end, or unused bits that are not zero are refused, so that one value has one
 * spelling.
 */
#include "lib/base64.h"

#include "lib/err.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_AVX2 1
#include <immintrin.h>
#else
#define HAVE_AVX2 0
#endif

static const char alphabet[64] = {
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P',
    'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'a', 'b', 'c', 'd', 'e', 'f',
    'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v',
    'w', 'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '+', '/',
};

static void encode_last(char *dst, const uint8_t *s, size_t n)
{
    unsigned bits = (unsigned)s[0] << 16 | (n == 2 ? (unsigned)s[1] << 8 : 0);
    dst[0] = alphabet[bits >> 18];
    dst[1] = alphabet[bits >> 12 & 63];
    dst[2] = n == 2 ? alphabet[bits >> 6 & 63] : '=';
    dst[3] = '=';
}

void base64_encode_plain(char *dst, const void *src, size_t n)
{
    const uint8_t *s = src;
    for (; n >= 3; n -= 3, s += 3, dst += 4) {
        unsigned bits = (unsigned)s[0] << 16 | (unsigned)s[1] << 8 | s[2];
        dst[0] = alphabet[bits >> 18];
        dst[1] = alphabet[bits >> 12 & 63];
        dst[2] = alphabet[bits >> 6 & 63];
        dst[3] = alphabet[bits & 63];
    }
    if (n > 0)
        encode_last(dst, s, n);
}

#if HAVE_AVX2
/* Each lane of 16 bytes holds 12 to encode. Bytes a b c become the 32-bit word b a c b, in which
 * the four groups sit so that one multiplication by powers of two moves two of them into place. */
__attribute__((target("avx2"))) static __m256i groups_of(__m256i in)
{
    const __m256i spread = _mm256_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10, 1, 0,
                                            2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10);
    in = _mm256_shuffle_epi8(in, spread);
    __m256i odd = _mm256_and_si256(in, _mm256_set1_epi32(0x0fc0fc00));
    __m256i even = _mm256_and_si256(in, _mm256_set1_epi32(0x003f03f0));
    odd = _mm256_mulhi_epu16(odd, _mm256_set1_epi32(0x04000040));
    even = _mm256_mullo_epi16(even, _mm256_set1_epi32(0x01000010));
    return _mm256_or_si256(odd, even);
}

/* The distance from group to letter is constant within A-Z, a-z and 0-9: slot 13 is A-Z, slot 0
 * a-z, slots 1 to 10 the digits, 11 and 12 the two signs. */
__attribute__((target("avx2"))) static __m256i letters_of(__m256i groups)
{
    const __m256i distance =
        _mm256_setr_epi8(71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 65, 0, 0, 71, -4, -4,
                         -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 65, 0, 0);
    __m256i slot = _mm256_subs_epu8(groups, _mm256_set1_epi8(51));
    __m256i upper = _mm256_cmpgt_epi8(_mm256_set1_epi8(26), groups);
    slot = _mm256_or_si256(slot, _mm256_and_si256(upper, _mm256_set1_epi8(13)));
    return _mm256_add_epi8(groups, _mm256_shuffle_epi8(distance, slot));
}

/* Returns how many source bytes were encoded, a multiple of 24. A turn reads 28. */
__attribute__((target("avx2"))) static size_t encode_avx2(char *dst, const uint8_t *s, size_t n)
{
    size_t at = 0;
    for (; n - at >= 28; at += 24, dst += 32) {
        __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(s + at));
        __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(s + at + 12));
        __m256i in = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
        _mm256_storeu_si256((__m256i *)(void *)dst, letters_of(groups_of(in)));
    }
    return at;
}
#endif

void base64_encode(char *dst, const void *src, size_t n)
{
    size_t done = 0;
#if HAVE_AVX2
    if (n >= 28 && __builtin_cpu_supports("avx2"))
        done = encode_avx2(dst, src, n);
#endif
    if (n > done)
        base64_encode_plain(dst + done / 3 * 4, (const uint8_t *)src + done, n - done);
}

/* ---- decoding ---- */

#define NO_LETTER 64

/* 0..63, or 64 for what is no letter. */
static const uint8_t groups[256] = {
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 62, 64, 64, 64, 63,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64, 64, 64, 64, 64, 64, 64, 0,  1,  2,  3,  4,  5,  6,
    7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 64, 64, 64, 64, 64,
    64, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48,
    49, 50, 51, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
};

/* Three bytes out of four letters; false unless the first `letters` are. */
static bool decode_four(const char *p, size_t letters, uint8_t out[3], unsigned *unused)
{
    unsigned bits = 0;
    for (size_t i = 0; i < 4; i++) {
        unsigned group = i < letters ? groups[(uint8_t)p[i]] : 0;
        if (group == NO_LETTER)
            return false;
        bits = bits << 6 | group;
    }
    out[0] = (uint8_t)(bits >> 16);
    out[1] = (uint8_t)(bits >> 8);
    out[2] = (uint8_t)bits;
    *unused = letters == 4 ? 0 : letters == 3 ? bits & 0xff : bits & 0xffff;
    return true;
}

#if HAVE_AVX2
/* Whether all 32 are letters. What may stand before a low half of a byte, and behind a high one,
 * are bits of two tables; a byte is a letter if they have none in common. */
__attribute__((target("avx2"))) static bool are_letters(__m256i in, __m256i high)
{
    const __m256i of_low =
        _mm256_setr_epi8(0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a,
                         0x1b, 0x1b, 0x1b, 0x1a, 0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                         0x11, 0x11, 0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a);
    const __m256i of_high =
        _mm256_setr_epi8(0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10,
                         0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08,
                         0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10);
    __m256i low = _mm256_and_si256(in, _mm256_set1_epi8(15));
    return _mm256_testz_si256(_mm256_shuffle_epi8(of_low, low),
                              _mm256_shuffle_epi8(of_high, high)) != 0;
}

/* Letter to group: what to add depends on the high half alone, but for the slash. */
__attribute__((target("avx2"))) static __m256i groups_of_letters(__m256i in, __m256i high)
{
    const __m256i distance =
        _mm256_setr_epi8(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 19, 4,
                         -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256i slash = _mm256_cmpeq_epi8(in, _mm256_set1_epi8('/'));
    return _mm256_add_epi8(in, _mm256_shuffle_epi8(distance, _mm256_add_epi8(slash, high)));
}

/* Four groups of six bits become three bytes, and the 24 of them move together. */
__attribute__((target("avx2"))) static __m256i bytes_of(__m256i in)
{
    const __m256i order = _mm256_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1,
                                           2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
    in = _mm256_maddubs_epi16(in, _mm256_set1_epi32(0x01400140));
    in = _mm256_madd_epi16(in, _mm256_set1_epi32(0x00011000));
    in = _mm256_shuffle_epi8(in, order);
    return _mm256_permutevar8x32_epi32(in, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
}

/* Returns how many letters were decoded, a multiple of 32: as far as all are letters, the last four
 * are not among them, and a turn's 32 bytes, of which 24 count, have room. */
__attribute__((target("avx2"))) static size_t decode_avx2(uint8_t *dst, size_t cap, const char *p,
                                                          size_t n)
{
    size_t at = 0;
    for (size_t done = 0; n - at > 36 && cap - done >= 32; at += 32, done += 24) {
        __m256i in = _mm256_loadu_si256((const __m256i *)(const void *)(p + at));
        __m256i high = _mm256_and_si256(_mm256_srli_epi32(in, 4), _mm256_set1_epi8(15));
        if (!are_letters(in, high))
            break;
        _mm256_storeu_si256((__m256i *)(void *)(dst + done), bytes_of(groups_of_letters(in, high)));
    }
    return at;
}
#endif

int base64_decode(void *dst, size_t cap, struct str text, size_t *n_out)
{
    if (text.n % 4 != 0)
        return ERR_SYNTAX;
    if (text.n == 0) {
        *n_out = 0;
        return 0;
    }
    size_t pad = text.p[text.n - 1] != '=' ? 0 : text.p[text.n - 2] != '=' ? 1 : 2;
    size_t size = text.n / 4 * 3 - pad;
    if (size > cap)
        return ERR_RANGE;
    uint8_t *out = dst;
    size_t i = 0;
#if HAVE_AVX2
    if (text.n > 36 && __builtin_cpu_supports("avx2"))
        i = decode_avx2(out, size, text.p, text.n);
#endif
    for (size_t at = i / 4 * 3; i < text.n; i += 4, at += 3) {
        bool last = i + 4 == text.n;
        uint8_t three[3];
        unsigned unused;
        if (!decode_four(text.p + i, last ? 4 - pad : 4, three, &unused) || unused != 0)
            return ERR_SYNTAX;
        memcpy(out + at, three, last ? 3 - pad : 3);
    }
    *n_out = size;
    return 0;
}
