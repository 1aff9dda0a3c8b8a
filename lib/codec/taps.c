/*
 * Taps: Pillow's precompute_coeffs and normalize_coeffs_8bpc in our own words, computed in f64 and in its
 * order.
 *
 * Support grows with the downscale (antialiasing); weights are normalised to sum 1, then rounded half away
 * from zero to 22 fractional bits. Pillow calls libm's sin; we use a polynomial, so that no libm version
 * changes a byte. The two differ by some 1e-16, a weight's step is 2.4e-7: a weight that rounds differently
 * is one in 10^8.
 *
 * Computing the taps of a 500 -> 256 axis takes as long as resizing some 40 rows, so the last few axes are
 * kept.
 */
#include "codec/taps.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/size.h"

#define PI 3.14159265358979323846

static const double supports[AMB_RESAMPLE_N] = {
    [AMB_RESAMPLE_LANCZOS] = 3.0,
    [AMB_RESAMPLE_BICUBIC] = 2.0,
    [AMB_RESAMPLE_BOX] = 0.5,
};

/* sin(pi u) for u in [0, 1]: folded to [0, pi/2], then the Taylor series to y^21, whose first missing term is
 * at most (pi/2)^23 / 23! = 1.3e-18. */
static double sine_of_pi(double u) {
    double y = (u > 0.5 ? 1.0 - u : u) * PI, z = y * y;
    double p = 1.0 / 51090942171709440000.0;

    p = p * z - 1.0 / 121645100408832000.0;
    p = p * z + 1.0 / 355687428096000.0;
    p = p * z - 1.0 / 1307674368000.0;
    p = p * z + 1.0 / 6227020800.0;
    p = p * z - 1.0 / 39916800.0;
    p = p * z + 1.0 / 362880.0;
    p = p * z - 1.0 / 5040.0;
    p = p * z + 1.0 / 120.0;
    p = p * z - 1.0 / 6.0;
    return y + y * (z * p);
}

/* sinc(x) sinc(x/3) from one sine: sin(3a) = 3 sin a - 4 sin^3 a, a = pi x / 3. */
static double weigh_lanczos(double x) {
    double a, s;

    x = x < 0.0 ? -x : x;
    if (x >= 3.0) {
        return 0.0;
    }
    if (x == 0.0) {
        return 1.0;
    }
    a = x * PI / 3.0;
    s = sine_of_pi(x / 3.0);
    return s * (3.0 - 4.0 * s * s) / (3.0 * a) * (s / a);
}

/* Cubic convolution with a = -0.5. */
static double weigh_bicubic(double x) {
    x = x < 0.0 ? -x : x;
    if (x < 1.0) {
        return (1.5 * x - 2.5) * x * x + 1.0;
    }
    if (x < 2.0) {
        return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5;
    }
    return 0.0;
}

static double weigh_box(double x) {
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

static double weigh(enum amb_resample resample, double x) {
    switch (resample) {
    case AMB_RESAMPLE_LANCZOS:
        return weigh_lanczos(x);
    case AMB_RESAMPLE_BICUBIC:
        return weigh_bicubic(x);
    default:
        return weigh_box(x);
    }
}

static int32_t weight_round(double w) {
    double scaled = w * (double)(1 << AMB_TAPS_BITS);

    return (int32_t)(w < 0.0 ? scaled - 0.5 : scaled + 0.5);
}

/* The window of one output in input pixels. */
struct window {
    double centre;
    uint32_t start, count;
};

static struct window window_of(const struct amb_axis *axis, double scale, double support, uint32_t i_out) {
    double centre = ((double)i_out + 0.5) * scale;
    double low = centre - support + 0.5, high = centre + support + 0.5;
    uint32_t start = low > 0.0 ? (uint32_t)low : 0; /* truncation, as Pillow's cast to int */
    uint32_t end = high < (double)axis->in_size ? (uint32_t)high : axis->in_size;

    return (struct window){centre, start, end - start};
}

static int taps_lay_out(struct amb_taps *taps, uint32_t n, uint32_t stride) {
    size_t n_weights, bytes;
    uint8_t *p;
    int r;

    if (!amb_size_mul(&n_weights, n, stride) || !amb_size_mul(&bytes, n_weights, sizeof(int32_t) * 2) ||
        !amb_size_add(&bytes, bytes, n * 2 * sizeof(uint32_t))) {
        return -ENOMEM;
    }
    r = amb_buf_reserve(&taps->buf, bytes);
    if (r < 0) {
        return r;
    }
    p = taps->buf.data;
    memset(p, 0, bytes);
    taps->weights = (int32_t *)(void *)p;
    taps->parts = (int16_t *)(void *)(p + n_weights * sizeof(int32_t));
    taps->starts = (uint32_t *)(void *)(p + n_weights * sizeof(int32_t) * 2);
    taps->counts = taps->starts + n;
    taps->stride = stride;
    return 0;
}

/* The weights of one output; in_scale is 1 / (how much the filter is stretched). */
static void taps_weigh(struct amb_taps *taps, uint32_t i, const struct window *window, double in_scale) {
    uint32_t stride = taps->stride, in_size = taps->axis.in_size, shift = 0;
    int32_t *weights = taps->weights + (size_t)i * stride;
    int16_t *parts = taps->parts + (size_t)i * stride * 2;
    double sum = 0.0, w;

    /* At the right edge the window begins earlier, with zero weights, so that a whole stride may be read. */
    if (taps->inside && window->start + stride > in_size) {
        shift = window->start + stride - in_size;
    }
    for (uint32_t j = 0; j < window->count; j++) {
        sum += weigh(taps->resample, ((double)j + (double)window->start - window->centre + 0.5) * in_scale);
    }
    for (uint32_t j = 0; j < window->count; j++) {
        w = weigh(taps->resample, ((double)j + (double)window->start - window->centre + 0.5) * in_scale);
        weights[shift + j] = weight_round(sum != 0.0 ? w / sum : w);
    }
    for (uint32_t j = 0; j < stride; j++) {
        int16_t *four = parts + 8 * (j / 4) + j % 4;

        four[0] = (int16_t)(weights[j] >> AMB_TAPS_SPLIT);
        four[4] = (int16_t)(weights[j] & ((1 << AMB_TAPS_SPLIT) - 1));
    }
    taps->starts[i] = window->start - shift;
    taps->counts[i] = window->count + shift;
}

static int taps_compute(struct amb_taps *taps) {
    const struct amb_axis *axis = &taps->axis;
    double scale = (double)axis->in_size / (double)axis->out_size;
    double stretch = scale < 1.0 ? 1.0 : scale, support = supports[taps->resample] * stretch;
    uint32_t count_max = 1, stride;
    int r;

    for (uint32_t i = 0; i < axis->n; i++) {
        struct window window = window_of(axis, scale, support, axis->first + i);

        count_max = window.count > count_max ? window.count : count_max;
    }
    stride = (count_max + 3) & ~3u;
    r = taps_lay_out(taps, axis->n, stride);
    if (r < 0) {
        return r;
    }
    taps->inside = axis->in_size >= stride;
    for (uint32_t i = 0; i < axis->n; i++) {
        struct window window = window_of(axis, scale, support, axis->first + i);

        taps_weigh(taps, i, &window, 1.0 / stretch);
    }
    return 0;
}

static bool axis_equal(const struct amb_axis *a, const struct amb_axis *b) {
    return a->in_size == b->in_size && a->out_size == b->out_size && a->first == b->first && a->n == b->n;
}

int amb_taps_get(const struct amb_taps **out, struct amb_taps_cache *cache, const struct amb_axis *axis,
                 enum amb_resample resample, struct amb_error *err) {
    struct amb_taps *oldest = &cache->slots[0];

    assert(axis->in_size >= 1 && axis->n >= 1 && axis->first + axis->n <= axis->out_size);
    cache->n_gets++;
    for (unsigned i = 0; i < AMB_TAPS_SLOTS; i++) {
        struct amb_taps *taps = &cache->slots[i];

        if (taps->used != 0 && taps->resample == resample && axis_equal(&taps->axis, axis)) {
            taps->used = cache->n_gets;
            *out = taps;
            return 0;
        }
        oldest = taps->used < oldest->used ? taps : oldest;
    }
    oldest->axis = *axis;
    oldest->resample = resample;
    oldest->used = 0; /* nothing here, should it fail */
    if (taps_compute(oldest) < 0) {
        return amb_fail(err, -ENOMEM, "no memory for the weights of a resize from %u to %u pixels",
                        axis->in_size, axis->out_size);
    }
    oldest->used = cache->n_gets;
    *out = oldest;
    return 0;
}

void amb_taps_cache_deinit(struct amb_taps_cache *cache) {
    for (unsigned i = 0; i < AMB_TAPS_SLOTS; i++) {
        amb_buf_deinit(&cache->slots[i].buf);
    }
    *cache = (struct amb_taps_cache){0};
}
