#include "base/test.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/philox.h"
#include "batch/cache.h"

static struct amb_cache_key key_of(uint64_t set, uint32_t i) {
    uint64_t words[2] = {set, i};

    return (struct amb_cache_key){
        .uid = amb_hash128_encode(words, sizeof words), .identity = set, .transform = 7};
}

/* The bytes of an entry follow from its key and size, so any reader can check them. */
static void bytes_of(uint8_t *data, size_t bytes, uint64_t set, uint32_t i) {
    uint64_t word = (set << 32 | i) * UINT64_C(0x9E3779B97F4A7C15);

    for (size_t j = 0; j < bytes; j += sizeof word, word += UINT64_C(0x9E3779B97F4A7C15)) {
        memcpy(data + j, &word, bytes - j < sizeof word ? bytes - j : sizeof word);
    }
}

/* One look-up as the filler makes it: 1 for a hit, whose bytes are checked; a miss is pushed. */
static unsigned use(struct amb_cache *cache, uint64_t set, uint32_t i, size_t bytes) {
    struct amb_cache_key key = key_of(set, i);
    struct amb_cache_pin pin = AMB_CACHE_PIN_NULL;
    uint8_t data[8192];
    unsigned hit;

    assert_true(bytes <= sizeof data);
    bytes_of(data, bytes, set, i);
    hit = (unsigned)amb_cache_acquire(&pin, cache, &key, bytes);
    if (hit != 0) {
        assert_int_equal((uintptr_t)pin.data % 64, 0);
        assert_memory_equal(pin.data, data, bytes);
        amb_cache_release(&pin);
        amb_cache_release(&pin);
    } else {
        amb_cache_push(cache, &key, data, bytes);
    }
    return hit;
}

static struct amb_cache *cache_make(size_t capacity_bytes) {
    struct amb_cache *cache;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_cache_new(&cache, capacity_bytes, &err), err);
    return cache;
}

static struct amb_cache_stats stats_of(struct amb_cache *cache) {
    struct amb_cache_stats stats;

    amb_cache_get_stats(&stats, cache);
    assert_true(stats.used_bytes <= stats.capacity_bytes);
    return stats;
}

/* A pass over n samples, in order or in an order of its own; the share of hits. */
static double pass(struct amb_cache *cache, uint64_t set, uint32_t n, size_t bytes, bool shuffle,
                   uint64_t seed) {
    uint32_t *order = malloc(n * sizeof *order);
    unsigned n_hits = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = shuffle ? amb_philox(seed, i, set).w[0] % (i + 1) : i;

        order[i] = order[j];
        order[j] = i;
        if (!shuffle) {
            order[i] = i;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        n_hits += use(cache, set, order[i], bytes);
    }
    free(order);
    return (double)n_hits / n;
}

TEST(set_that_fits_is_hit_always) {
    struct amb_cache *cache = cache_make(8 << 20);
    uint64_t n_allocs;

    assert_true(pass(cache, 1, 2000, 3072, true, 1) == 0);
    n_allocs = amb_alloc_count();
    assert_true(pass(cache, 1, 2000, 3072, true, 2) == 1);
    assert_int_equal(stats_of(cache).n_entries, 2000);
    assert_int_equal(stats_of(cache).n_evictions, 0);
    assert_int_equal(stats_of(cache).n_hits, 2000);
    assert_int_equal(stats_of(cache).n_misses, 2000);
    assert_int_equal(amb_alloc_count(), n_allocs);
    amb_cache_free(cache);
}

/* The set is larger than the cache. LRU has no hit in order; here the share of hits must be near the share of
 * the set that is held, in order and shuffled, with one lock shard (8 MiB) and with many (64 MiB). */
TEST(repeated_passes_over_a_larger_set_hit) {
    static const struct {
        size_t capacity_bytes;
        double share;
        bool shuffle;
    } cases[] = {
        {8 << 20, 0.5, false}, {8 << 20, 0.5, true},   {8 << 20, 0.1, false},
        {8 << 20, 0.1, true},  {64 << 20, 0.3, false}, {64 << 20, 0.3, true},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i += test_stride()) {
        struct amb_cache *cache = cache_make(cases[i].capacity_bytes);
        size_t bytes = cases[i].capacity_bytes > 8 << 20 ? 8000 : 3072;
        uint32_t n = (uint32_t)((double)cases[i].capacity_bytes / (double)bytes / cases[i].share);
        double hits = 0, held;

        for (unsigned i_pass = 0; i_pass < 8; i_pass++) {
            double share = pass(cache, 1, n, bytes, cases[i].shuffle, i_pass);

            hits += i_pass >= 3 ? share / 5 : 0;
        }
        held = (double)stats_of(cache).n_entries / n;
        if (hits < 0.9 * held || held < 0.9 * cases[i].share) {
            fail_msg("case %zu: holds %.3f of the set, hits %.3f", i, held, hits);
        }
        amb_cache_free(cache);
    }
}

/* Train on A until the cache is full of it, then on B of the same or another entry size, also with a cache
 * that A
 * overfilled: after some passes B must have its hits. */
TEST(a_set_that_is_read_no_longer_gives_way) {
    static const struct {
        size_t a_bytes, b_bytes;
        uint32_t n_a, n_b;
    } cases[] = {{3072, 3072, 2600, 2000},
                 {3072, 8000, 2600, 900},
                 {8000, 1024, 1000, 5000},
                 {3072, 3072, 20000, 2000}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i += test_stride()) {
        struct amb_cache *cache = cache_make(8 << 20);
        double share = 0;

        for (unsigned i_pass = 0; i_pass < 4; i_pass++) {
            pass(cache, 1, cases[i].n_a, cases[i].a_bytes, true, i_pass);
        }
        for (unsigned i_pass = 0; i_pass < 30 && share < 0.95; i_pass++) {
            share = pass(cache, 2, cases[i].n_b, cases[i].b_bytes, true, i_pass);
        }
        if (share < 0.95) {
            fail_msg("case %zu: %.3f hits after 30 passes", i, share);
        }
        stats_of(cache);
        amb_cache_free(cache);
    }
}

/* One pass over a large set in between, as an evaluation makes it, must not push out the set that trains. */
TEST(a_set_read_once_pushes_nothing_out) {
    struct amb_cache *cache = cache_make(8 << 20);

    for (unsigned i_pass = 0; i_pass < 3; i_pass++) {
        pass(cache, 1, 2500, 3072, true, i_pass);
    }
    pass(cache, 2, 50000, 3072, false, 0);
    assert_true(pass(cache, 1, 2500, 3072, true, 9) > 0.99);
    amb_cache_free(cache);
}

/* Samples used ten times as often as others must end up in the cache. */
TEST(what_is_used_more_often_gets_in) {
    struct amb_cache *cache = cache_make(8 << 20);
    unsigned n_hits = 0, n_uses = 0;

    pass(cache, 1, 6000, 3072, true, 0); /* full of what is rarely used */
    for (uint32_t i = 0; i < 200000; i++) {
        struct amb_philox_block word = amb_philox(5, i, 0);
        bool often = word.w[0] % 4 != 0;

        if (often) {
            unsigned hit = use(cache, 2, word.w[1] % 1500, 3072);

            n_hits += i >= 150000 ? hit : 0;
            n_uses += i >= 150000;
        } else {
            use(cache, 1, word.w[1] % 6000, 3072);
        }
    }
    assert_true(n_hits > 0.9 * n_uses);
    amb_cache_free(cache);
}

/* At, below and above the sizes where nothing fits: the budget is exact and the cache still right. */
TEST(tiny_capacities_hold_little_and_never_too_much) {
    static const size_t capacities[] = {0, 1, 1000, 4096, 16384, 65536, 100000, 1 << 20};

    for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++) {
        struct amb_cache *cache = cache_make(capacities[i]);

        for (unsigned i_pass = 0; i_pass < 3; i_pass++) {
            for (uint32_t j = 0; j < 300; j++) {
                use(cache, 1, j, 1 + j % 5 * 2000);
                stats_of(cache);
            }
        }
        assert_int_equal(stats_of(cache).n_hits + stats_of(cache).n_misses, 900);
        assert_true(capacities[i] > 4096 || stats_of(cache).n_hits == 0);
        assert_true(capacities[i] < 100000 || stats_of(cache).n_hits > 0);
        amb_cache_free(cache);
    }
}

/* Pin one entry while everything else in the cache is replaced; its bytes must stay. */
TEST(pinned_entry_is_not_evicted) {
    struct amb_cache *cache = cache_make(1 << 20);
    struct amb_cache_key key = key_of(1, 0);
    struct amb_cache_pin pin = AMB_CACHE_PIN_NULL;
    uint8_t data[3072];
    uint64_t n_evictions;

    pass(cache, 1, 300, 3072, false, 0);
    bytes_of(data, sizeof data, 1, 0);
    assert_int_equal(amb_cache_acquire(&pin, cache, &key, sizeof data), 1);
    for (unsigned i_pass = 0; i_pass < 30; i_pass++) {
        pass(cache, 2, 300, 3072, true, i_pass);
    }
    n_evictions = stats_of(cache).n_evictions;
    assert_true(n_evictions > 200);
    assert_memory_equal(pin.data, data, sizeof data);
    amb_cache_release(&pin);
    amb_cache_free(cache);
}

struct stress {
    struct amb_cache *cache;
    uint64_t seed;
    _Atomic unsigned n_wrong;
};

static void *stress_run(void *opaque) {
    struct stress *stress = opaque;
    uint64_t seed = stress->seed;
    uint8_t data[4096], expected[4096];

    for (uint32_t i = 0; i < 20000; i++) {
        struct amb_philox_block word = amb_philox(seed, i, 0);
        uint64_t set = i / 5000 % 3;
        uint32_t i_sample = word.w[0] % 400;
        size_t bytes = (size_t)512 << (set + word.w[1] % 2);
        struct amb_cache_key key = key_of(set << 8 | bytes, i_sample);
        struct amb_cache_pin pin = AMB_CACHE_PIN_NULL;

        bytes_of(expected, bytes, set, i_sample);
        if (amb_cache_acquire(&pin, stress->cache, &key, bytes) != 0) {
            if (memcmp(pin.data, expected, bytes) != 0) {
                stress->n_wrong++;
            }
            amb_cache_release(&pin);
        } else {
            memcpy(data, expected, bytes);
            amb_cache_push(stress->cache, &key, data, bytes);
            memset(data, 0, bytes); /* the cache has its own copy */
        }
        if (i % 1000 == 0) {
            struct amb_cache_stats stats;

            amb_cache_get_stats(&stats, stress->cache);
            if (stats.used_bytes > stats.capacity_bytes) {
                stress->n_wrong++;
            }
        }
    }
    return NULL;
}

/* Threads over the same keys of several sizes in a cache too small for them, so that entries and chunks
 * change hands all the time; every byte of every hit is checked. Meant for ThreadSanitizer too. */
TEST(racing_users_see_right_bytes) {
    struct stress stress[4];
    pthread_t threads[4];
    struct amb_cache *cache = cache_make(512 << 10);
    struct amb_cache_stats stats;

    for (unsigned i = 0; i < 4; i++) {
        stress[i] = (struct stress){.cache = cache, .seed = i % 2};
        assert_int_equal(pthread_create(&threads[i], NULL, stress_run, &stress[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(stress[i].n_wrong, 0);
    }
    stats = stats_of(cache);
    assert_int_equal(stats.n_hits + stats.n_misses, 80000);
    assert_true(stats.n_hits > 1000 && stats.n_evictions > 1000);
    amb_cache_free(cache);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(set_that_fits_is_hit_always),
    cmocka_unit_test(repeated_passes_over_a_larger_set_hit),
    cmocka_unit_test(a_set_that_is_read_no_longer_gives_way),
    cmocka_unit_test(a_set_read_once_pushes_nothing_out),
    cmocka_unit_test(what_is_used_more_often_gets_in),
    cmocka_unit_test(tiny_capacities_hold_little_and_never_too_much),
    cmocka_unit_test(pinned_entry_is_not_evicted),
    cmocka_unit_test(racing_users_see_right_bytes),
};

TEST_MAIN(tests)
