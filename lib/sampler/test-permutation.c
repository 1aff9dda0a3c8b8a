#include "sampler/permutation.h"

#include <math.h>

#include "sampler/test-set.h"

TEST(every_domain_is_permuted) {
    /* All sizes to 300, and sizes around powers of two, where walking is rarest and commonest: every image comes once. */
    static const uint64_t large[] = {1022, 1023, 1024, 1025, 65535, 65536, 65537, 100000};
    uint8_t *seen = malloc(100000);

    for (unsigned c = 0; c < 300 + sizeof large / sizeof *large; c += test_stride()) {
        uint64_t n = c < 300 ? c + 1 : large[c - 300];
        struct amb_permutation p;

        amb_permutation_init(&p, n * 77, n);
        memset(seen, 0, n);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t to = amb_permutation_get(&p, i);

            assert_true(to < n);
            assert_int_equal(seen[to], 0);
            seen[to] = 1;
        }
    }
    free(seen);
}

TEST(large_domains_stay_inside) {
    /* Domains of more than 2^32 places (repeat) use both wide halves; images are in range and differ. */
    uint64_t n = (UINT64_C(1) << 43) + 12345;
    struct amb_permutation p;

    amb_permutation_init(&p, 5, n);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(amb_permutation_get(&p, i) < n);
        assert_true(amb_permutation_get(&p, i) != amb_permutation_get(&p, i + 1));
    }
}

TEST(images_are_uniform_over_keys) {
    /* For small domains, where Feistel networks are weakest: over many keys each place goes everywhere equally often,
     * and so does each pair of neighbours. Chi^2 over all (place, image) and (image of 0, image of 1). */
    for (uint64_t n = 2; n <= 65; n += (n < 33 ? 1 : 16) * test_stride()) {
        const unsigned n_keys = 60000;
        double expect = n_keys / (double)n, pair_expect = n_keys / (double)(n * (n - 1)), chi2 = 0, pair_chi2 = 0;
        uint32_t *counts = calloc(n * n, sizeof *counts), *pairs = calloc(n * n, sizeof *pairs);

        for (uint64_t key = 0; key < n_keys; key++) {
            struct amb_permutation p;

            amb_permutation_init(&p, key, n);
            for (uint64_t i = 0; i < n; i++) {
                counts[i * n + amb_permutation_get(&p, i)]++;
            }
            pairs[amb_permutation_get(&p, 0) * n + amb_permutation_get(&p, 1)]++;
        }
        for (uint64_t i = 0; i < n * n; i++) {
            chi2 += pow(counts[i] - expect, 2) / expect;
            pair_chi2 += i / n == i % n ? 0 : pow(pairs[i] - pair_expect, 2) / pair_expect;
        }
        if (chi2 > test_chi2_limit((double)((n - 1) * (n - 1))) || pair_chi2 > test_chi2_limit((double)(n * (n - 1)) - 1)) {
            fail_msg("n = %u: chi^2 %g of places, %g of pairs", (unsigned)n, chi2, pair_chi2);
        }
        free(counts);
        free(pairs);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_domain_is_permuted),
    cmocka_unit_test(large_domains_stay_inside),
    cmocka_unit_test(images_are_uniform_over_keys),
};

TEST_MAIN(tests)
