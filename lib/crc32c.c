/* Three ways to the same number. The table way takes eight bytes a step; its tables are linear in
 * the bits of a byte, so the compiler makes each from eight numbers. The instruction crc32 takes
 * eight bytes as well, but its result comes three cycles later and a new one may begin each cycle:
 * so of a longer run three pieces are computed side by side. They are joined by a multiplication:
 * the checksum of a piece is moved past n bytes that follow it by multiplying it with x^8n, without
 * carries, modulo the polynomial. The last crc32 does that division for all three at once. */
#include "lib/crc32c.h"

#define BIT(b, i, k) ((((b) >> (i)) & 1) * (k))
#define ENTRY(b, k0, k1, k2, k3, k4, k5, k6, k7)                                                   \
    BIT(b, 0, k0) ^ BIT(b, 1, k1) ^ BIT(b, 2, k2) ^ BIT(b, 3, k3) ^ BIT(b, 4, k4) ^                \
        BIT(b, 5, k5) ^ BIT(b, 6, k6) ^ BIT(b, 7, k7)
#define FOUR(b, ...)                                                                               \
    ENTRY((b), __VA_ARGS__), ENTRY((b) + 1, __VA_ARGS__), ENTRY((b) + 2, __VA_ARGS__),             \
        ENTRY((b) + 3, __VA_ARGS__)
#define SIXTEEN(b, ...)                                                                            \
    FOUR((b), __VA_ARGS__), FOUR((b) + 4, __VA_ARGS__), FOUR((b) + 8, __VA_ARGS__),                \
        FOUR((b) + 12, __VA_ARGS__)
#define SIXTY_FOUR(b, ...)                                                                         \
    SIXTEEN((b), __VA_ARGS__), SIXTEEN((b) + 16, __VA_ARGS__), SIXTEEN((b) + 32, __VA_ARGS__),     \
        SIXTEEN((b) + 48, __VA_ARGS__)
#define ALL(...)                                                                                   \
    SIXTY_FOUR(0u, __VA_ARGS__), SIXTY_FOUR(64u, __VA_ARGS__), SIXTY_FOUR(128u, __VA_ARGS__),      \
        SIXTY_FOUR(192u, __VA_ARGS__)

/* tables[k][b]: what byte b does to the checksum when k bytes follow it. Given are the bytes of one
 * bit, the lowest first. */
static const uint32_t tables[8][256] = {
    {ALL(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc,
         0x82f63b78)},
    {ALL(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604,
         0xfbc3faf9)},
    {ALL(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9,
         0x8b277743)},
    {ALL(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7,
         0x52a0c93f)},
    {ALL(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae,
         0x6ea2d55c)},
    {ALL(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb,
         0x1c08b7d6)},
    {ALL(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a,
         0xf56e0ef4)},
    {ALL(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32,
         0x34019664)},
};

static uint64_t load(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

uint32_t crc32c_table(uint32_t crc, const void *p, size_t n)
{
    const uint8_t *at = p;
    crc = ~crc;
    for (; n >= 8; n -= 8, at += 8) {
        uint64_t v = load(at) ^ crc;
        crc = 0;
        for (unsigned i = 0; i < 8; i++)
            crc ^= tables[7 - i][(v >> 8 * i) & 255];
    }
    for (; n > 0; n--)
        crc = tables[0][(crc ^ *at++) & 255] ^ crc >> 8;
    return ~crc;
}

#ifdef __x86_64__
#include <immintrin.h>

#define HARDWARE __attribute__((target("sse4.2,pclmul")))

/* Side by side: pieces of 64 bytes for the usual record, of 512 for long runs. For each, x^(8n-33)
 * for two pieces and for one piece, as the multiplication wants it: 33 because the reflected
 * product stands one bit too low, and crc32 multiplies by x^32. */
#define PIECE_SHORT 64
#define PIECE_LONG  512
static const uint32_t past_two_short = 0x0d3b6092, past_short = 0x9e4addf8;
static const uint32_t past_two_long = 0x170076fa, past_long = 0xdd7e3b0c;

HARDWARE static inline uint64_t move(uint64_t crc, uint32_t past)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                                           _mm_cvtsi64_si128((long long)past), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

HARDWARE static inline uint64_t three(uint64_t crc, const uint8_t *p, size_t piece,
                                      uint32_t past_two, uint32_t past_one)
{
    uint64_t a = crc, b = 0, c = 0;
    for (size_t i = 0; i < piece; i += 8) {
        a = _mm_crc32_u64(a, load(p + i));
        b = _mm_crc32_u64(b, load(p + piece + i));
        c = _mm_crc32_u64(c, load(p + 2 * piece + i));
    }
    return c ^ _mm_crc32_u64(0, move(a, past_two) ^ move(b, past_one));
}

HARDWARE static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *p, size_t n)
{
    uint64_t c = (uint32_t)~crc;
    for (; n >= 3 * PIECE_LONG; n -= 3 * PIECE_LONG, p += 3 * PIECE_LONG)
        c = three(c, p, PIECE_LONG, past_two_long, past_long);
    for (; n >= 3 * PIECE_SHORT; n -= 3 * PIECE_SHORT, p += 3 * PIECE_SHORT)
        c = three(c, p, PIECE_SHORT, past_two_short, past_short);
    for (; n >= 8; n -= 8, p += 8)
        c = _mm_crc32_u64(c, load(p));
    for (; n > 0; n--)
        c = _mm_crc32_u8((uint32_t)c, *p++);
    return ~(uint32_t)c;
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        return crc32c_hardware(crc, p, n);
#endif
    return crc32c_table(crc, p, n);
}
