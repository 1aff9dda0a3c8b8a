#include "sampler/pass.h"

#include "sampler/test-reference.h"

#define S_MAX 3.5

static struct amb_stream_options options_of(uint64_t seed, double mean, double std) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;

    options.seed = seed;
    options.schedule.a = mean;
    options.schedule.b = std;
    return options;
}

/* Values on both sides of 1, some with both sides close to each other, some clean, some of no use. */
static struct amb_annotation *values_of(uint32_t n, uint64_t seed) {
    struct amb_annotation *values = test_values(n);

    for (uint32_t i = 0; i < n; i++) {
        double u = test_real(&seed);
        float m = (float)exp(3 * test_real(&seed) - 2);

        if (u < 0.15) {
            values[i] = AMB_ANNOTATION_EVERYWHERE;
        } else if (u < 0.25) {
            values[i] = AMB_ANNOTATION_NOWHERE;
        } else if (u < 0.5) {
            values[i] = (struct amb_annotation){m, m * (float)test_real(&seed)};
        } else {
            values[i] = (struct amb_annotation){u < 0.6 ? INFINITY : m, u < 0.6 || u > 0.8 ? m / 2 : 0};
        }
    }
    return values;
}

struct use {
    uint32_t i_interval, i_sample;
    uint64_t pass;
};

static int use_compare(const void *a, const void *b) {
    return memcmp(a, b, sizeof(struct use));
}

/* Draw in chunks of random size and compare each draw, and the cursors behind each chunk, with the reference. */
static void check_set(const struct test_set *set, uint64_t seed, unsigned n_draws, uint32_t *n_sparse) {
    struct amb_stream_options options = options_of(seed, -0.7, 1.3);
    struct amb_sampler *sampler;
    struct amb_state at = {0};
    struct use *uses = calloc(n_draws, sizeof *uses);
    struct amb_draw draws[64];
    uint64_t random = seed;
    size_t n_uses = 0, n, n_same = 1;
    struct ref ref;

    options.s_max = set->buffer > 1 ? S_MAX : 0;
    sampler = test_sampler(set, &options, NULL);
    ref_init(&ref, set, seed);
    assert_int_equal(ref.n_intervals, set->orders->intervals.n);
    for (uint32_t i = 0; i < ref.n_intervals; i++) {
        assert_true(ref.lo[i] == set->orders->intervals.edges[i] && ref.last[i] == set->orders->intervals.lasts[i]);
    }
    while (at.k < n_draws) {
        size_t n_chunk = 1 + test_random(&random) % 64;
        uint64_t k = at.k;

        assert_int_equal(amb_sampler_draw(draws, &n, sampler, &at, n_chunk), 0);
        for (size_t i = 0; i < n_chunk; i++) {
            uint32_t i_interval = amb_intervals_find(&set->orders->intervals, draws[i].s);
            uint32_t expect = ref_draw(&ref, draws[i].s, k + i);

            if (draws[i].i_sample != expect) {
                fail_msg("seed %u, k = %u, s = %.17g: sample %u, expected %u", (unsigned)seed, (unsigned)(k + i), draws[i].s,
                         draws[i].i_sample, expect);
            }
            assert_true(test_admits(set->annotations->values[expect], set->buffer, draws[i].s));
            *n_sparse += ref.sparse;
            if (!ref.sparse && n_uses < n_draws) {
                uses[n_uses++] = (struct use){i_interval, expect, ref.cursors[i_interval].pass};
            }
        }
        assert_memory_equal(at.cursors, ref.cursors, ref.n_intervals * sizeof *at.cursors);
    }
    /* A sample comes at most ceil(repeat) times in a pass of an interval. */
    qsort(uses, n_uses, sizeof *uses, use_compare);
    for (size_t i = 1; i < n_uses; i++) {
        n_same = memcmp(&uses[i], &uses[i - 1], sizeof *uses) == 0 ? n_same + 1 : 1;
        for (size_t j = 0; j < set->n_sources; j++) {
            if (uses[i].i_sample - set->sources[j].first < set->sources[j].count) {
                assert_true(n_same <= (size_t)ceil(set->sources[j].repeat));
            }
        }
    }
    free(uses);
    ref_deinit(&ref);
    amb_sampler_free(sampler);
}

TEST(draws_equal_the_slow_reference) {
    /* 12 sets in all shapes: one source and three with weights 1, 2.5 and 0.3, with a buffer, with samples whose two
     * sides lie in one interval; the intervals, every sample, every cursor; and how often a sample comes in a pass. */
    const struct amb_stream_options with_buffer = {.s_max = S_MAX};
    uint32_t n_sparse = 0;

    for (unsigned c = 0; c < 12; c++) {
        uint32_t n = 24 + 11 * c;
        struct amb_orders_source sources[] = {{0, n / 3, 1}, {n / 3, n / 3, 2.5}, {2 * (n / 3) + 1, n / 3 - 1, 0.3}};
        struct amb_annotation *values = values_of(n, c);
        struct test_set set;

        values[0] = AMB_ANNOTATION_EVERYWHERE; /* no gap */
        test_set_init(&set, values, n, c % 3 ? sources : NULL, 3, c % 4 == 1 ? amb_stream_options_buffer(&with_buffer) : 1);
        check_set(&set, c, 1500, &n_sparse);
        test_set_deinit(&set);
    }
}

TEST(a_walk_that_finds_nothing_ends_in_a_sparse_draw) {
    /* A source of one sample and repeat 0.2 has no place in any pass (floor(0.2 + 0.5) = 0): only sparse draws can give
     * it, and the stream does not spin. */
    struct amb_annotation *values = test_values(2);
    struct amb_orders_source lone[] = {{0, 1, 0.2}, {1, 1, 0.3}};
    uint32_t n_sparse = 0;
    struct test_set set;

    test_set_init(&set, values, 2, lone, 2, 1);
    assert_int_equal(set.orders->intervals.n_places[0], 0);
    check_set(&set, 3, 300, &n_sparse);
    assert_true(n_sparse >= 300);
    test_set_deinit(&set);
}

TEST(an_epoch_is_a_permutation_where_nothing_is_annotated) {
    /* 1,000 samples usable everywhere: one interval; each 1,000 draws hold each sample once, in another order. */
    enum { N = 1000, N_PASSES = 20 };
    struct amb_stream_options options = options_of(1, -1.2, 1.2);
    struct amb_draw *draws = calloc(N, sizeof *draws);
    uint32_t last[N] = {0}, n_fixed = 0;
    struct amb_sampler_report report;
    struct amb_state at = {0};
    struct amb_sampler *sampler;
    struct test_set set;
    size_t n;

    test_set_init(&set, test_values(N), N, NULL, 0, 1);
    sampler = test_sampler(&set, &options, &report);
    assert_int_equal(report.n_intervals, 1);
    assert_int_equal(report.n_entries, N);
    for (unsigned pass = 0; pass < N_PASSES; pass++) {
        uint8_t seen[N] = {0};

        assert_int_equal(amb_sampler_draw(draws, &n, sampler, &at, N), 0);
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(seen[draws[i].i_sample]++, 0);
            n_fixed += draws[i].i_sample == last[i];
            last[i] = draws[i].i_sample;
        }
        assert_int_equal(at.cursors[0].pass, pass);
        assert_int_equal(at.cursors[0].position, N);
    }
    assert_true(n_fixed < 60); /* Poisson of mean 20 */
    free(draws);
    amb_sampler_free(sampler);
    test_set_deinit(&set);
}

TEST(repeat_weighs_whole_and_broken_copies) {
    /* 200 samples of repeat 2.5 and 100 of repeat 1, all usable: a pass has 2 x 200 + 100 + 100 places; each sample of
     * the first comes 2 or 3 times in it, half of them 3 times, and other ones in the next pass. */
    enum { N_PASS = 600 };
    struct amb_orders_source sources[] = {{0, 200, 2.5}, {200, 100, 1}};
    struct amb_stream_options options = options_of(2, -1.2, 1.2);
    struct amb_draw draws[N_PASS];
    struct amb_sampler_report report;
    struct amb_state at = {0};
    uint32_t sums[300] = {0};
    struct amb_sampler *sampler;
    struct test_set set;
    size_t n;

    test_set_init(&set, test_values(300), 300, sources, 2, 1);
    sampler = test_sampler(&set, &options, &report);
    assert_int_equal(report.n_entries, N_PASS);
    for (unsigned pass = 0; pass < 40; pass++) {
        uint32_t counts[300] = {0}, n_three = 0;

        assert_int_equal(amb_sampler_draw(draws, &n, sampler, &at, N_PASS), 0);
        for (size_t i = 0; i < N_PASS; i++) {
            counts[draws[i].i_sample]++;
        }
        for (uint32_t i = 0; i < 300; i++) {
            assert_true(i < 200 ? counts[i] == 2 || counts[i] == 3 : counts[i] == 1);
            n_three += counts[i] == 3;
            sums[i] += counts[i];
        }
        assert_int_equal(n_three, 100);
    }
    for (uint32_t i = 0; i < 200; i++) {
        assert_in_range(sums[i], 80 + 4, 80 + 36); /* binomial of 40 and 1/2: 5 sigma */
    }
    amb_sampler_free(sampler);
    test_set_deinit(&set);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(draws_equal_the_slow_reference),
    cmocka_unit_test(a_walk_that_finds_nothing_ends_in_a_sparse_draw),
    cmocka_unit_test(an_epoch_is_a_permutation_where_nothing_is_annotated),
    cmocka_unit_test(repeat_weighs_whole_and_broken_copies),
};

TEST_MAIN(tests)
