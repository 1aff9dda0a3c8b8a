/*
 * Kernels for AVX2.
 *
 * A 32-bit multiply takes two slots here, a pair of 16-bit multiplies with their sum (madd) one. So a weight
 * of 24 bits is split into high * 4096 + low; the two halves are summed apart, two taps at a time, and joined
 * at the end. All of it is exact modulo 2^32, hence the same bytes as the scalar set.
 */
#include "codec/kernels.h"

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define HALF (1 << (AMB_TAPS_BITS - 1))

/* Sum = high * 4096 + low + one half; its top ten bits. */
AVX2 static inline __m256i join(__m256i high, __m256i low) {
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, AMB_TAPS_SPLIT), low);

    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(HALF)), AMB_TAPS_BITS);
}

/* As join, for sums that lie in two halves of a register, taps 0 1 and 2 3 of each four. */
AVX2 static inline __m128i join_halves(__m256i high, __m256i low) {
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, AMB_TAPS_SPLIT), low);
    __m128i whole = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));

    return _mm_srai_epi32(_mm_add_epi32(whole, _mm_set1_epi32(HALF)), AMB_TAPS_BITS);
}

/* Four RGB pixels to 16-bit pairs: r0 r1 g0 g1 b0 b1 0 0 | r2 r3 g2 g3 b2 b3 0 0. */
AVX2 static inline __m256i load_pairs(const uint8_t *p) {
    const __m256i order = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, /* */
                                           6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    __m128i four = _mm_loadu_si128((const __m128i *)(const void *)p);

    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(four), order);
}

AVX2 static inline void store_pixel(uint8_t *dst, int pixel) {
    memcpy(dst, &pixel, sizeof pixel); /* the fourth byte is the next pixel's, or padding */
}

AVX2 static void avx2_across_rgb(uint8_t *const dst[AMB_KERNELS_ROWS],
                                 const uint8_t *const src[AMB_KERNELS_ROWS], const struct amb_taps *taps) {
    const __m256i spread_high = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    const __m256i spread_low = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    const int16_t *parts = taps->parts;

    for (uint32_t i = 0; i < taps->axis.n; i++, parts += 2 * taps->stride) {
        size_t at = (size_t)taps->starts[i] * 3;
        __m256i high0 = _mm256_setzero_si256(), high1 = high0, high2 = high0, high3 = high0;
        __m256i low0 = high0, low1 = high0, low2 = high0, low3 = high0;
        __m128i both01, both23, bytes;

        for (uint32_t j = 0; j < taps->counts[i]; j += 4, at += 12) {
            __m256i four =
                _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(parts + 2 * j)));
            __m256i high = _mm256_permutevar8x32_epi32(four, spread_high);
            __m256i low = _mm256_permutevar8x32_epi32(four, spread_low);
            __m256i pixels0 = load_pairs(src[0] + at), pixels1 = load_pairs(src[1] + at);
            __m256i pixels2 = load_pairs(src[2] + at), pixels3 = load_pairs(src[3] + at);

            high0 = _mm256_add_epi32(high0, _mm256_madd_epi16(pixels0, high));
            low0 = _mm256_add_epi32(low0, _mm256_madd_epi16(pixels0, low));
            high1 = _mm256_add_epi32(high1, _mm256_madd_epi16(pixels1, high));
            low1 = _mm256_add_epi32(low1, _mm256_madd_epi16(pixels1, low));
            high2 = _mm256_add_epi32(high2, _mm256_madd_epi16(pixels2, high));
            low2 = _mm256_add_epi32(low2, _mm256_madd_epi16(pixels2, low));
            high3 = _mm256_add_epi32(high3, _mm256_madd_epi16(pixels3, high));
            low3 = _mm256_add_epi32(low3, _mm256_madd_epi16(pixels3, low));
        }
        both01 = _mm_packs_epi32(join_halves(high0, low0), join_halves(high1, low1));
        both23 = _mm_packs_epi32(join_halves(high2, low2), join_halves(high3, low3));
        bytes = _mm_packus_epi16(both01, both23);
        store_pixel(dst[0] + (size_t)i * 3, _mm_cvtsi128_si32(bytes));
        store_pixel(dst[1] + (size_t)i * 3, _mm_extract_epi32(bytes, 1));
        store_pixel(dst[2] + (size_t)i * 3, _mm_extract_epi32(bytes, 2));
        store_pixel(dst[3] + (size_t)i * 3, _mm_extract_epi32(bytes, 3));
    }
}

static void avx2_across(uint8_t *const dst[AMB_KERNELS_ROWS], const uint8_t *const src[AMB_KERNELS_ROWS],
                        const struct amb_taps *taps, uint32_t channels) {
    if (channels == 3) {
        avx2_across_rgb(dst, src, taps);
    } else {
        amb_kernels_scalar.across(dst, src, taps, channels);
    }
}

/* 32 columns of a resize along y, two rows at a time; the partner of an odd last row has weight 0. */
AVX2 static inline void down_32(uint8_t *dst, const uint8_t *src, size_t row_bytes, const int16_t *parts,
                                uint32_t count) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i high0 = zero, high1 = zero, high2 = zero, high3 = zero;
    __m256i low0 = zero, low1 = zero, low2 = zero, low3 = zero;
    __m256i lower, upper;

    for (uint32_t j = 0; j < count; j += 2) {
        const int16_t *four = parts + 8 * (j / 4) + j % 4;
        const uint8_t *p = src + j * row_bytes, *q = j + 1 < count ? p + row_bytes : p;
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)q);
        __m256i ab_low = _mm256_unpacklo_epi8(a, b), ab_high = _mm256_unpackhi_epi8(a, b);
        __m256i pairs0 = _mm256_unpacklo_epi8(ab_low, zero), pairs1 = _mm256_unpackhi_epi8(ab_low, zero);
        __m256i pairs2 = _mm256_unpacklo_epi8(ab_high, zero), pairs3 = _mm256_unpackhi_epi8(ab_high, zero);
        __m256i high, low;
        int32_t two;

        memcpy(&two, four, sizeof two);
        high = _mm256_set1_epi32(two);
        memcpy(&two, four + 4, sizeof two);
        low = _mm256_set1_epi32(two);
        high0 = _mm256_add_epi32(high0, _mm256_madd_epi16(pairs0, high));
        low0 = _mm256_add_epi32(low0, _mm256_madd_epi16(pairs0, low));
        high1 = _mm256_add_epi32(high1, _mm256_madd_epi16(pairs1, high));
        low1 = _mm256_add_epi32(low1, _mm256_madd_epi16(pairs1, low));
        high2 = _mm256_add_epi32(high2, _mm256_madd_epi16(pairs2, high));
        low2 = _mm256_add_epi32(low2, _mm256_madd_epi16(pairs2, low));
        high3 = _mm256_add_epi32(high3, _mm256_madd_epi16(pairs3, high));
        low3 = _mm256_add_epi32(low3, _mm256_madd_epi16(pairs3, low));
    }
    lower = _mm256_packs_epi32(join(high0, low0), join(high1, low1));
    upper = _mm256_packs_epi32(join(high2, low2), join(high3, low3));
    _mm256_storeu_si256((__m256i *)(void *)dst, _mm256_packus_epi16(lower, upper));
}

AVX2 static void avx2_down(uint8_t *dst, const uint8_t *src, size_t row_bytes, const struct amb_taps *taps,
                           uint32_t i, size_t n_bytes) {
    const int16_t *parts = taps->parts + (size_t)i * taps->stride * 2;
    size_t x = 0;

    if (n_bytes < 32) {
        amb_kernels_scalar.down(dst, src, row_bytes, taps, i, n_bytes);
        return;
    }
    for (; x + 32 <= n_bytes; x += 32) {
        down_32(dst + x, src + x, row_bytes, parts, taps->counts[i]);
    }
    if (x < n_bytes) { /* the last 32 once more, rather than columns one by one */
        down_32(dst + n_bytes - 32, src + n_bytes - 32, row_bytes, parts, taps->counts[i]);
    }
}

/* Of three registers with 16 RGB pixels take one channel: each order names its bytes of a, of b and of c. */
AVX2 static inline __m128i pick(__m128i a, __m128i b, __m128i c, __m128i of_a, __m128i of_b, __m128i of_c) {
    return _mm_or_si128(_mm_shuffle_epi8(a, of_a),
                        _mm_or_si128(_mm_shuffle_epi8(b, of_b), _mm_shuffle_epi8(c, of_c)));
}

AVX2 static void avx2_split(uint8_t *dst, size_t plane_bytes, const uint8_t *src, size_t n) {
    const __m128i ra = _mm_setr_epi8(0, 3, 6, 9, 12, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m128i rb = _mm_setr_epi8(-1, -1, -1, -1, -1, -1, 2, 5, 8, 11, 14, -1, -1, -1, -1, -1);
    const __m128i rc = _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 1, 4, 7, 10, 13);
    const __m128i ga = _mm_setr_epi8(1, 4, 7, 10, 13, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m128i gb = _mm_setr_epi8(-1, -1, -1, -1, -1, 0, 3, 6, 9, 12, 15, -1, -1, -1, -1, -1);
    const __m128i gc = _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 2, 5, 8, 11, 14);
    const __m128i ba = _mm_setr_epi8(2, 5, 8, 11, 14, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m128i bb = _mm_setr_epi8(-1, -1, -1, -1, -1, 1, 4, 7, 10, 13, -1, -1, -1, -1, -1, -1);
    const __m128i bc = _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 3, 6, 9, 12, 15);
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        const uint8_t *p = src + 3 * i;
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + 16));
        __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(p + 32));

        _mm_storeu_si128((__m128i *)(void *)(dst + i), pick(a, b, c, ra, rb, rc));
        _mm_storeu_si128((__m128i *)(void *)(dst + plane_bytes + i), pick(a, b, c, ga, gb, gc));
        _mm_storeu_si128((__m128i *)(void *)(dst + 2 * plane_bytes + i), pick(a, b, c, ba, bb, bc));
    }
    amb_kernels_scalar.split(dst + i, plane_bytes, src + 3 * i, n - i);
}

/* The mean of upper and lower does not commute with rounding, so x goes first, as in the two passes. */
AVX2 static void avx2_halve_rgb(uint8_t *dst, const uint8_t *upper, const uint8_t *lower, size_t n) {
    /* Of five pixels: 0 and 2 packed, and 1 and 3 packed, six bytes each. */
    const __m128i even = _mm_setr_epi8(0, 1, 2, 6, 7, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m128i odd = _mm_setr_epi8(3, 4, 5, 9, 10, 11, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    size_t i = 0;

    for (; i + 3 <= n; i += 2) { /* reads 16 of the 18 bytes that three outputs prove to be there */
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(upper + 6 * i));
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(lower + 6 * i));
        __m128i top = _mm_avg_epu8(_mm_shuffle_epi8(a, even), _mm_shuffle_epi8(a, odd));
        __m128i bottom = _mm_avg_epu8(_mm_shuffle_epi8(b, even), _mm_shuffle_epi8(b, odd));
        long long bytes = _mm_cvtsi128_si64(_mm_avg_epu8(top, bottom));

        memcpy(dst + 3 * i, &bytes, 8); /* two bytes of the third output, written anew below */
    }
    amb_kernels_scalar.halve(dst + 3 * i, upper + 6 * i, lower + 6 * i, n - i, 3);
}

static void avx2_halve(uint8_t *dst, const uint8_t *upper, const uint8_t *lower, size_t n,
                       uint32_t channels) {
    if (channels == 3) {
        avx2_halve_rgb(dst, upper, lower, n);
    } else {
        amb_kernels_scalar.halve(dst, upper, lower, n, channels);
    }
}

static const struct amb_kernels kernels_avx2 = {
    .name = "avx2",
    .across = avx2_across,
    .down = avx2_down,
    .split = avx2_split,
    .halve = avx2_halve,
};

const struct amb_kernels *amb_kernels_vector(void) {
    return __builtin_cpu_supports("avx2") ? &kernels_avx2 : NULL;
}
