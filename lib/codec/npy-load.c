/*
 * Npy elements to f32: exact for every f16, subnormals included; NaNs become quiet and keep their payload, as
 * the processors' own conversion does. So scalar and vector give the same bits.
 */
#include <assert.h>
#include <string.h>

#include "codec/npy.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static float half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3FFu, bits;
    float f;

    if (exponent == 31) {
        bits = sign | 0x7F800000u | fraction << 13 | (fraction != 0 ? 0x00400000u : 0);
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else {
        f = (float)fraction * 0x1p-24f; /* exact */
        memcpy(&bits, &f, sizeof bits);
        bits |= sign;
    }
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void load_f16(float *dst, const uint8_t *src, size_t n) {
    for (size_t i = 0; i < n; i++) {
        dst[i] = half_to_float((uint16_t)(src[2 * i] | src[2 * i + 1] << 8));
    }
}

#if defined(__x86_64__)
__attribute__((target("avx,f16c"))) static size_t load_f16_vector(float *dst, const uint8_t *src, size_t n) {
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(dst + i,
                         _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + 2 * i))));
    }
    return i;
}

/* Every processor with AVX2 has F16C. */
static size_t load_f16_fast(float *dst, const uint8_t *src, size_t n) {
    return __builtin_cpu_supports("avx2") ? load_f16_vector(dst, src, n) : 0;
}
#else
static size_t load_f16_fast(float *dst, const uint8_t *src, size_t n) {
    (void)dst;
    (void)src;
    (void)n;
    return 0;
}
#endif

void amb_npy_load_f32(float *dst, const uint8_t *src, enum amb_dtype dtype, size_t n) {
    size_t done;

    assert(dtype == AMB_DTYPE_U8 || dtype == AMB_DTYPE_F16 || dtype == AMB_DTYPE_F32);
    switch (dtype) {
    case AMB_DTYPE_U8:
        for (size_t i = 0; i < n; i++) {
            dst[i] = (float)src[i];
        }
        return;
    case AMB_DTYPE_F16:
        done = load_f16_fast(dst, src, n);
        load_f16(dst + done, src + 2 * done, n - done);
        return;
    default:
        memcpy(dst, src, n * sizeof *dst);
    }
}
