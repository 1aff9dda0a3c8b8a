#pragma once
/* Test set: annotations, orders and samplers for tests; and what DESIGN says about them, written slowly. */
#include <math.h>

#include "base/alloc.h"
#include "base/test.h"
#include "sampler/sampler.h"

struct test_set {
    struct amb_annotations *annotations;
    struct amb_orders *orders;
    struct amb_orders_source sources[8];
    size_t n_sources;
    double buffer;
};

/* SplitMix64 (Steele, Lea, Flood 2014): test data and reference draws come from here, not from what is tested. */
static inline uint64_t test_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static inline double test_real(uint64_t *state) {
    return (double)(test_random(state) >> 11) * 0x1p-53;
}

static inline struct amb_annotation *test_values(uint32_t n) {
    struct amb_annotation *values = amb_malloc(n * sizeof *values + 1);

    assert_non_null(values);
    for (uint32_t i = 0; i < n; i++) {
        values[i] = AMB_ANNOTATION_EVERYWHERE;
    }
    return values;
}

/*
 * DESIGN's simulated set: 10 % clean, the rest with a threshold between 0.1 and 5 (log-uniform), one in ten of them
 * also with a sigma_max below it.
 */
static inline struct amb_annotation *test_values_mixed(uint32_t n, uint64_t seed) {
    struct amb_annotation *values = test_values(n);

    for (uint32_t i = 0; i < n; i++) {
        if (test_real(&seed) >= 0.1) {
            values[i].sigma_min = (float)exp(log(0.1) + test_real(&seed) * log(50));
            values[i].sigma_max = test_real(&seed) < 0.1 ? values[i].sigma_min * (float)(0.05 + 0.5 * test_real(&seed)) : 0;
        }
    }
    return values;
}

/* Takes values. sources NULL: one source of everything. */
static inline void test_set_init(struct test_set *set, struct amb_annotation *values, uint32_t n,
                                 const struct amb_orders_source *sources, size_t n_sources, double buffer) {
    struct amb_error err = AMB_ERROR_NULL;

    *set = (struct test_set){.n_sources = n_sources, .buffer = buffer};
    if (sources == NULL) {
        set->n_sources = 1;
        set->sources[0] = (struct amb_orders_source){.first = 0, .count = n, .repeat = 1};
    } else {
        memcpy(set->sources, sources, n_sources * sizeof *sources);
    }
    assert_ok(amb_annotations_new(&set->annotations, values, n, 0, 1, &err), err);
    assert_ok(amb_orders_new(&set->orders, set->annotations, set->sources, set->n_sources, buffer, &err), err);
}

static inline void test_set_deinit(struct test_set *set) {
    amb_orders_unref(set->orders);
    amb_annotations_unref(set->annotations);
}

static inline struct amb_sampler *test_sampler(const struct test_set *set, const struct amb_stream_options *options,
                                               struct amb_sampler_report *report) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_sampler *sampler = NULL;

    assert_ok(amb_sampler_new(&sampler, set->orders, options, report, &err), err);
    return sampler;
}

/* The rule of DESIGN section 2, word for word. */
static inline bool test_admits(struct amb_annotation value, double buffer, double s) {
    return s > (double)value.sigma_min * buffer || s < (double)value.sigma_max;
}

/* P(chi^2 of n - 1 degrees > x) is below about 1e-6 beyond this (Wilson-Hilferty). */
static inline double test_chi2_limit(double degrees) {
    double z = 4.75, t = 2 / (9 * degrees);

    return degrees * pow(1 - t + z * sqrt(t), 3);
}
