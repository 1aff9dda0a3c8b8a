/*
 * bench-sampler [N]: CPU nanoseconds a draw over N samples (default 10^7), by policy and by the share of samples that admit
 * a level; memory and build time of the orders.
 *
 * Draws are made a step of 1,024 at a time, as a daemon does, with the EDM schedule. In a set of share p, a random p of
 * the samples is usable everywhere and the rest at no level that the schedule reaches; in "thresholds" every sample has
 * a sigma_min and a sigma_max of its own, in both lists: the largest orders and the longest searches there are.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "sampler/sampler.h"

#define STEP     1024u
#define N_ROUNDS 10u
#define N_STEPS  200u /* a round; 2 million draws a figure */

static uint64_t bench_random(uint64_t *state) { /* SplitMix64 */
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static double bench_real(uint64_t *state) {
    return (double)(bench_random(state) >> 11) * 0x1p-53;
}

/* CPU time of this thread: a busy machine takes away its turns, but not its cycles. */
static double bench_now(void) {
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct amb_annotation bench_value(double share, uint64_t *random) {
    float m;

    if (share > 0) {
        return bench_real(random) < share ? AMB_ANNOTATION_EVERYWHERE : (struct amb_annotation){1e6f, 0};
    }
    m = (float)exp(log(0.01) + bench_real(random) * log(1000));
    return (struct amb_annotation){m, m * (float)(0.1 + 0.8 * bench_real(random))};
}

static void bench_draws(struct amb_orders *orders, enum amb_policy policy, struct amb_draw *draws) {
    static const char *const names[AMB_POLICY_N] = {"pass", "uniform", "sequential"};
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_sampler *sampler = NULL;
    struct amb_state state = {0};
    struct amb_error err = AMB_ERROR_NULL;
    double least = INFINITY, begin;
    size_t n;

    options.policy = policy;
    if (amb_sampler_new(&sampler, orders, &options, NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    for (unsigned round = 0; round < N_ROUNDS; round++) {
        begin = bench_now();
        for (unsigned i = 0; i < N_STEPS; i++) {
            amb_sampler_draw(draws, &n, sampler, &state, STEP);
        }
        begin = (bench_now() - begin) / (N_STEPS * STEP) * 1e9;
        least = begin < least ? begin : least;
    }
    printf("  %-8s %7.1f ns a draw (best of %u rounds of %u)\n", names[policy], least, N_ROUNDS, N_STEPS * STEP);
    amb_sampler_free(sampler);
}

static void bench_set(const char *name, double share, uint32_t n, struct amb_draw *draws) {
    struct amb_annotation *values = amb_malloc(n * sizeof *values);
    struct amb_annotations *annotations = NULL;
    struct amb_orders_source source = {.first = 0, .count = n, .repeat = 1};
    struct amb_orders *orders = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    uint64_t random = 1;
    double begin;

    for (uint32_t i = 0; values != NULL && i < n; i++) {
        values[i] = bench_value(share, &random);
    }
    if (values == NULL || amb_annotations_new(&annotations, values, n, n, 1, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    begin = bench_now();
    if (amb_orders_new(&orders, annotations, &source, 1, 1, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    printf("%s: %u samples, built in %.2f s, %.3f bytes a sample (orders) + 8 (annotations), %u intervals\n", name, n,
           bench_now() - begin, (double)amb_orders_bytes(orders) / n, orders->intervals.n);
    bench_draws(orders, AMB_POLICY_PASS, draws);
    bench_draws(orders, AMB_POLICY_UNIFORM, draws);
    amb_orders_unref(orders);
    amb_annotations_unref(annotations);
}

int main(int argc, char **argv) {
    uint32_t n = argc < 2                             ? 10000000
                 : strcmp(argv[1], "--quick") == 0 ? 1000000
                                                   : (uint32_t)strtoul(argv[1], NULL, 10);
    struct amb_draw *draws = amb_calloc(STEP, sizeof *draws);

    if (draws == NULL || n == 0) {
        return 1;
    }
    bench_set("admissible 1 %", 0.01, n, draws);
    bench_set("admissible 10 %", 0.1, n, draws);
    bench_set("admissible 100 %", 1, n, draws);
    bench_set("thresholds", 0, n, draws);
    amb_free(draws);
    return 0;
}
