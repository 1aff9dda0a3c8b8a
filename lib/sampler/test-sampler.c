#include "sampler/sampler.h"

#include "base/hash.h"
#include "sampler/level.h"
#include "sampler/test-reference.h"

enum { N_SAMPLES = 3000 };

static struct amb_stream_options options_of(enum amb_policy policy) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;

    options.seed = 42;
    options.policy = policy;
    options.xflip = true;
    return options;
}

/* Two sources of other weight over the mixed values, no gap. */
static void set_init(struct test_set *set) {
    struct amb_orders_source sources[] = {{0, 2000, 1}, {2000, 1000, 1.5}};

    test_set_init(set, test_values_mixed(N_SAMPLES, 5), N_SAMPLES, sources, 2, 1);
}

static void draw(struct amb_draw *draws, const struct amb_sampler *sampler, struct amb_state *at, size_t n) {
    size_t n_drawn = 0;

    assert_int_equal(amb_sampler_draw(draws, &n_drawn, sampler, at, n), 0);
    assert_int_equal(n_drawn, n);
}

static void assert_draws_equal(const struct amb_draw *a, const struct amb_draw *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        assert_true(a[i].counter == b[i].counter && a[i].s == b[i].s && a[i].s_n == b[i].s_n &&
                    a[i].i_sample == b[i].i_sample && a[i].sigma_min == b[i].sigma_min &&
                    a[i].sigma_max == b[i].sigma_max && a[i].flip == b[i].flip && a[i].request == b[i].request &&
                    a[i].replaced == b[i].replaced);
    }
}

TEST(a_stream_resumes_from_its_state_at_any_step) {
    /* 100 random steps of random size, each policy: the state goes through its JSON text, and what follows is what
     * followed without; in a new sampler over new orders. */
    for (unsigned p = 0; p < AMB_POLICY_N; p++) {
        enum { N = 2900 };
        struct amb_stream_options options = options_of((enum amb_policy)p);
        struct amb_draw *all = calloc(N, sizeof *all), *rest = calloc(N, sizeof *rest);
        struct test_set set, other;
        struct amb_sampler *sampler, *resumed;
        struct amb_state at = {.options = options};
        uint64_t random = p;

        set_init(&set);
        set_init(&other);
        sampler = test_sampler(&set, &options, NULL);
        resumed = test_sampler(&other, &options, NULL);
        draw(all, sampler, &at, N);
        for (unsigned i = 0; i < 100; i++) {
            size_t n = 1 + test_random(&random) % (N - 1);
            char text[AMB_STATE_BYTES_MAX];
            struct amb_state there = {.options = options}, back;
            struct amb_error err = AMB_ERROR_NULL;
            int n_text;

            draw(rest, sampler, &there, n);
            n_text = amb_state_encode(text, sizeof text, &there);
            assert_true(n_text > 0);
            assert_ok(amb_state_decode(&back, text, (size_t)n_text, &err), err);
            draw(rest, resumed, &back, N - n);
            assert_draws_equal(rest, all + n, N - n);
            assert_int_equal(back.k, at.k);
        }
        amb_sampler_free(sampler);
        amb_sampler_free(resumed);
        test_set_deinit(&set);
        test_set_deinit(&other);
        free(all);
        free(rest);
    }
}

TEST(ranks_together_draw_what_one_rank_draws) {
    /* G = 64 draws a step in W = 1, 2, 4, 8 slices: each rank passes over the others' draws without looking at them; the
     * union is the one sequence, and all states agree behind each step. */
    enum { G = 64, N_STEPS = 30 };

    for (unsigned p = 0; p < AMB_POLICY_N; p++) {
        struct amb_stream_options options = options_of((enum amb_policy)p);
        struct amb_draw one[G], slice[G];
        struct amb_state whole = {0}, ranks[8] = {0};
        struct amb_sampler *sampler;
        struct test_set set;

        set_init(&set);
        sampler = test_sampler(&set, &options, NULL);
        for (unsigned step = 0; step < N_STEPS; step++) {
            size_t world = (size_t)1 << (step % 4), share = G / world, n;

            draw(one, sampler, &whole, G);
            for (size_t r = 0; r < world; r++) {
                assert_int_equal(amb_sampler_draw(NULL, &n, sampler, &ranks[r], r * share), 0);
                draw(slice, sampler, &ranks[r], share);
                assert_int_equal(amb_sampler_draw(NULL, &n, sampler, &ranks[r], G - (r + 1) * share), 0);
                assert_draws_equal(slice, one + r * share, share);
            }
            for (size_t r = 0; r < 8; r++) {
                ranks[r] = r < world ? ranks[r] : ranks[0];
                assert_memory_equal(&ranks[r], &whole, sizeof whole);
            }
        }
        amb_sampler_free(sampler);
        test_set_deinit(&set);
    }
}

TEST(a_stream_allocates_nothing) {
    struct amb_draw draws[256];

    for (unsigned p = 0; p < AMB_POLICY_N; p++) {
        struct amb_stream_options options = options_of((enum amb_policy)p);
        struct amb_sampler *sampler;
        struct amb_state at = {0};
        struct test_set set;
        uint64_t before;

        set_init(&set);
        sampler = test_sampler(&set, &options, NULL);
        before = amb_alloc_count();
        for (unsigned i = 0; i < 10; i++) {
            draw(draws, sampler, &at, 256);
        }
        assert_int_equal(amb_alloc_count(), before);
        amb_sampler_free(sampler);
        test_set_deinit(&set);
    }
}

static uint64_t draws_hash(const struct amb_draw *draws, size_t n) {
    uint64_t hash = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t words[] = {hash, draws[i].counter, amb_level_bits(draws[i].s), amb_level_bits(draws[i].s_n), draws[i].i_sample,
                            draws[i].flip};

        hash = amb_hash_words("test", words, 6);
    }
    return hash;
}

TEST(draws_are_golden) {
    /* Every bit that decides 5,000 draws of each policy, requests and replacements, on every machine. Changing one needs a
     * new format of the state. The values are built from integers alone, so that no libm has a part in them. */
    static const uint64_t golden[AMB_POLICY_N + 2] = {
        UINT64_C(0x13119ab56ebaec81), UINT64_C(0x2861844fd6c1fe03),
        UINT64_C(0xb58fbe21ab9ed121), UINT64_C(0x91fa1efc8d7d6e5f), UINT64_C(0x678ab429e9d8353f)};
    struct amb_orders_source sources[] = {{0, 4000, 1}, {4000, 1500, 2.25}};
    struct amb_annotation *values = test_values(5500);
    struct amb_draw *draws = calloc(5000, sizeof *draws);
    uint64_t random = 77, hashes[AMB_POLICY_N + 2];
    struct amb_sampler *sampler = NULL;
    struct test_set set;

    for (uint32_t i = 0; i < 5500; i++) {
        uint64_t word = test_random(&random);

        if (word % 8 != 0) {
            values[i] = (struct amb_annotation){(float)(word >> 8 & 1023) / 256, word % 4 == 1 ? (float)(word >> 20 & 255) / 512 : 0};
        }
    }
    test_set_init(&set, values, 5500, sources, 2, 1);
    for (unsigned p = 0; p < AMB_POLICY_N; p++) {
        struct amb_stream_options options = options_of((enum amb_policy)p);
        struct amb_state at = {0};

        amb_sampler_free(sampler);
        sampler = test_sampler(&set, &options, NULL);
        draw(draws, sampler, &at, 5000);
        hashes[p] = draws_hash(draws, 5000);
    }
    for (unsigned i = 0; i < 5000; i++) {
        assert_int_equal(amb_sampler_request(&draws[i], sampler, i % 8, i / 7, i % 64, (double)i / 1000), 0);
    }
    hashes[AMB_POLICY_N] = draws_hash(draws, 5000);
    for (unsigned i = 0; i < 5000; i++) {
        draws[i].request = i % 2;
        amb_sampler_replace(&draws[i], sampler, i % 64);
    }
    hashes[AMB_POLICY_N + 1] = draws_hash(draws, 5000);
    for (unsigned i = 0; i < AMB_POLICY_N + 2; i++) {
        if (hashes[i] != golden[i]) {
            fail_msg("hash %u is 0x%016llx, golden 0x%016llx", i, (unsigned long long)hashes[i], (unsigned long long)golden[i]);
        }
    }
    amb_sampler_free(sampler);
    test_set_deinit(&set);
    free(draws);
}

TEST(trust_levels_follow_the_side_that_admits) {
    /* With a buffer of sqrt(1.5): s_n = sigma_min where s > sigma_min * buffer, 0 where the sample came in through
     * sigma_max; flips come for about half of the draws, and never unless asked for. */
    struct amb_stream_options options = options_of(AMB_POLICY_UNIFORM);
    struct amb_draw *draws = calloc(20000, sizeof *draws);
    uint32_t n_flips = 0, n_trusted = 0, n_low = 0;
    struct amb_state at = {0};
    struct amb_sampler *sampler;
    struct test_set set;
    double buffer;

    options.s_max = 3;
    buffer = amb_stream_options_buffer(&options);
    assert_true(fabs(buffer - sqrt(1.5)) < 1e-15);
    test_set_init(&set, test_values_mixed(N_SAMPLES, 5), N_SAMPLES, NULL, 0, buffer);
    sampler = test_sampler(&set, &options, NULL);
    draw(draws, sampler, &at, 20000);
    for (unsigned i = 0; i < 20000; i++) {
        struct amb_annotation value = set.annotations->values[draws[i].i_sample];

        assert_true(draws[i].sigma_min == value.sigma_min && draws[i].sigma_max == value.sigma_max);
        assert_true(test_admits(value, buffer, draws[i].s));
        assert_true(draws[i].s_n == (draws[i].s > (double)value.sigma_min * buffer ? (double)value.sigma_min : 0));
        n_flips += draws[i].flip;
        n_trusted += draws[i].s_n > 0;
        n_low += draws[i].s < (double)value.sigma_min;
    }
    assert_true(n_trusted > 1000 && n_low > 100);
    assert_in_range(n_flips, 10000 - 350, 10000 + 350); /* 5 sigma */
    amb_sampler_free(sampler);
    options.xflip = false;
    sampler = test_sampler(&set, &options, NULL);
    at.k = 0;
    draw(draws, sampler, &at, 2000);
    for (unsigned i = 0; i < 2000; i++) {
        assert_false(draws[i].flip);
    }
    amb_sampler_free(sampler);
    test_set_deinit(&set);
    free(draws);
}

TEST(sequential_goes_through_all_once_and_ends) {
    /* Sources with a hole between them; annotations that admit nothing do not matter, s_n is 0, the last step is short. */
    struct amb_orders_source sources[] = {{2, 3, 1}, {10, 4, 2.5}};
    static const uint32_t expect[] = {2, 3, 4, 10, 11, 12, 13};
    struct amb_stream_options options = options_of(AMB_POLICY_SEQUENTIAL);
    struct amb_annotation *values = test_values(20);
    struct amb_sampler_report report;
    struct amb_sampler *sampler;
    struct amb_state at = {0};
    struct amb_draw draws[5];
    struct test_set set;
    size_t n;

    options.schedule = (struct amb_schedule){.kind = AMB_SCHEDULE_CONSTANT, .a = 0};
    for (unsigned i = 0; i < 20; i++) {
        values[i] = AMB_ANNOTATION_NOWHERE;
    }
    values[3] = (struct amb_annotation){0.5f, 0};
    test_set_init(&set, values, 20, sources, 2, 1);
    sampler = test_sampler(&set, &options, &report);
    assert_int_equal(report.n_entries, 7);
    draw(draws, sampler, &at, 5);
    for (unsigned i = 0; i < 5; i++) {
        assert_true(draws[i].i_sample == expect[i] && draws[i].s == 0 && draws[i].s_n == 0 && draws[i].replaced == 0);
    }
    assert_int_equal(amb_sampler_draw(draws, &n, sampler, &at, 5), AMB_SAMPLER_E_END);
    assert_int_equal(n, 2);
    assert_true(draws[0].i_sample == 12 && draws[1].i_sample == 13);
    assert_int_equal(amb_sampler_draw(draws, &n, sampler, &at, 5), AMB_SAMPLER_E_END);
    assert_int_equal(n, 0);
    assert_int_equal(at.k, 7);
    assert_int_equal(at.n_cursors, 0);
    amb_sampler_free(sampler);
    test_set_deinit(&set);
}

TEST(replacements_depend_on_k_and_j_alone) {
    /* The same draw gets the same 64 replacements wherever the cursors are; they keep all but the sample and what belongs
     * to it, are admissible, equal the slow uniform draw, and differ among each other. */
    struct amb_stream_options options = options_of(AMB_POLICY_PASS);
    uint64_t key = amb_hash_words("replace", &options.seed, 1);
    struct amb_state at = {0}, late = {0};
    struct amb_draw first, again, more[500];
    struct amb_sampler *sampler;
    struct test_set set;
    struct ref ref;

    set_init(&set);
    ref_init(&ref, &set, options.seed);
    sampler = test_sampler(&set, &options, NULL);
    draw(more, sampler, &late, 500);
    late.k = 0;
    draw(&first, sampler, &at, 1);
    draw(&again, sampler, &late, 1);
    assert_true(first.i_sample != again.i_sample && first.s == again.s); /* other cursors, same k */
    for (unsigned j = 0, n_equal = 0; j < AMB_SAMPLER_REPLACEMENTS; j++) {
        struct amb_draw a = first, b = again;

        amb_sampler_replace(&a, sampler, j);
        amb_sampler_replace(&b, sampler, j);
        assert_draws_equal(&a, &b, 1);
        assert_true(a.s == first.s && a.counter == first.counter && a.flip == first.flip && a.replaced == 1);
        assert_true(test_admits(set.annotations->values[a.i_sample], 1, a.s));
        assert_int_equal(a.i_sample, ref_uniform(&ref, key, j, 0, a.s));
        amb_sampler_replace(&b, sampler, (j + 1) % AMB_SAMPLER_REPLACEMENTS);
        n_equal += a.i_sample == b.i_sample;
        assert_true(n_equal < 4);
    }
    ref_deinit(&ref);
    amb_sampler_free(sampler);
    test_set_deinit(&set);
}

TEST(requests_are_a_sequence_apart) {
    /* Any (rank, q, j) names one draw: the same again, whatever the stream did in between; the slow uniform draw; other
     * items get other counters; a level that nothing admits is an outcome. s = 0 and s = inf are levels too. */
    struct amb_stream_options options = options_of(AMB_POLICY_PASS);
    uint64_t key = amb_hash_words("request", &options.seed, 1), words[] = {1, 2, 3};
    struct amb_annotation *values = test_values(3);
    struct amb_draw a, b, draws[100];
    struct amb_state at = {0};
    struct amb_sampler *sampler;
    struct test_set set;
    struct ref ref;

    set_init(&set);
    ref_init(&ref, &set, options.seed);
    sampler = test_sampler(&set, &options, NULL);
    assert_int_equal(amb_sampler_request(&a, sampler, 1, 2, 3, 0.5), 0);
    draw(draws, sampler, &at, 100);
    assert_int_equal(amb_sampler_request(&b, sampler, 1, 2, 3, 0.5), 0);
    assert_draws_equal(&a, &b, 1);
    assert_true(a.request && a.s == 0.5 && a.counter == amb_hash_words("request", words, 3));
    assert_int_equal(a.i_sample, ref_uniform(&ref, key, 0, a.counter, 0.5));
    assert_int_equal(amb_sampler_request(&b, sampler, 2, 1, 3, 0.5), 0);
    assert_true(a.counter != b.counter);
    b = a;
    b.request = false;
    amb_sampler_replace(&a, sampler, 0);
    amb_sampler_replace(&b, sampler, 0);
    assert_true(a.i_sample != b.i_sample); /* the keys of requests are their own */
    assert_int_equal(amb_sampler_request(&a, sampler, 0, 0, 0, NAN), AMB_SAMPLER_E_NONE);
    ref_deinit(&ref);
    amb_sampler_free(sampler);
    test_set_deinit(&set);

    values[0] = (struct amb_annotation){INFINITY, 0.25f};
    values[1] = (struct amb_annotation){1, 0};
    values[2] = AMB_ANNOTATION_NOWHERE;
    options.policy = AMB_POLICY_SEQUENTIAL; /* asks nothing of the gap */
    test_set_init(&set, values, 3, NULL, 0, 1);
    sampler = test_sampler(&set, &options, NULL);
    assert_int_equal(amb_sampler_request(&a, sampler, 0, 0, 0, 0), 0);
    assert_true(a.i_sample == 0 && a.s_n == 0);
    assert_int_equal(amb_sampler_request(&a, sampler, 0, 0, 0, 0.25), AMB_SAMPLER_E_NONE);
    assert_int_equal(amb_sampler_request(&a, sampler, 0, 0, 0, 1), AMB_SAMPLER_E_NONE);
    assert_int_equal(amb_sampler_request(&a, sampler, 0, 0, 0, INFINITY), 0);
    assert_true(a.i_sample == 1 && a.s_n == 1);
    amb_sampler_free(sampler);
    test_set_deinit(&set);
}

TEST(a_new_generation_begins_new_passes) {
    /* Passes are numbered on, so that many short generations do not begin with the same samples; k, step, q stay. */
    struct amb_stream_options options = options_of(AMB_POLICY_PASS);
    struct amb_state at = {.step = 9, .q = 8}, fresh = {0};
    struct amb_draw draws[200], more[200];
    struct amb_sampler *sampler;
    unsigned n_same = 0;
    struct test_set set;

    test_set_init(&set, test_values(100), 100, NULL, 0, 1);
    sampler = test_sampler(&set, &options, NULL);
    amb_sampler_adopt(&fresh, sampler);
    assert_true(fresh.n_cursors == 1 && fresh.cursors[0].pass == 0 && fresh.cursors[0].position == 0);
    draw(draws, sampler, &at, 130);
    assert_true(at.cursors[0].pass == 1 && at.cursors[0].position == 30);
    amb_sampler_adopt(&at, sampler);
    assert_true(at.n_cursors == 1 && at.cursors[0].pass == 2 && at.cursors[0].position == 0);
    assert_true(at.k == 130 && at.step == 9 && at.q == 8);
    draw(more, sampler, &at, 100);
    for (unsigned i = 0; i < 100; i++) {
        n_same += draws[i].i_sample == more[i].i_sample;
    }
    assert_true(n_same < 12); /* Poisson of mean 1 */
    amb_sampler_free(sampler);
    test_set_deinit(&set);
}

TEST(cursors_of_another_set_are_refused) {
    /* Another number of intervals is an error; a position behind the end, which no stream writes, begins the next pass. */
    struct amb_stream_options options = options_of(AMB_POLICY_PASS);
    struct amb_state at = {.n_cursors = 40};
    struct amb_draw draws[4];
    struct amb_sampler *sampler;
    struct test_set set;
    size_t n = 7;

    set_init(&set);
    sampler = test_sampler(&set, &options, NULL);
    assert_int_equal(amb_sampler_draw(draws, &n, sampler, &at, 4), AMB_ERR_STATE);
    assert_int_equal(n, 0);
    assert_int_equal(at.k, 0);
    at.n_cursors = set.orders->intervals.n;
    for (unsigned i = 0; i < at.n_cursors; i++) {
        at.cursors[i] = (struct amb_cursor){UINT64_MAX, UINT64_MAX};
    }
    draw(draws, sampler, &at, 4);
    amb_sampler_free(sampler);
    test_set_deinit(&set);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_stream_resumes_from_its_state_at_any_step),
    cmocka_unit_test(ranks_together_draw_what_one_rank_draws),
    cmocka_unit_test(a_stream_allocates_nothing),
    cmocka_unit_test(draws_are_golden),
    cmocka_unit_test(trust_levels_follow_the_side_that_admits),
    cmocka_unit_test(sequential_goes_through_all_once_and_ends),
    cmocka_unit_test(replacements_depend_on_k_and_j_alone),
    cmocka_unit_test(requests_are_a_sequence_apart),
    cmocka_unit_test(a_new_generation_begins_new_passes),
    cmocka_unit_test(cursors_of_another_set_are_refused),
};

TEST_MAIN(tests)
