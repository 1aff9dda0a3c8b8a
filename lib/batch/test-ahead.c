#include "batch/test-set.h"

#include <errno.h>

#include "codec/sandbox.h"

#define BATCH  64u
#define CHUNK  16u
#define ROUNDS 4u

static const char *const fields[] = {"x_t",   "x_tn",  "x0",  "u8",      "sigma_t",
                                     "label", "index", "key", "replaced"};
#define N_FIELDS (sizeof fields / sizeof fields[0])

static struct amb_filler make_filler(struct amb_sandbox *sandbox) {
    static const char *const argv[] = {"test-ahead", AMB_SANDBOX_ARGUMENT, NULL};
    struct amb_codec_limits limits = AMB_CODEC_LIMITS_DEFAULT;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_filler filler;

    if (sandbox != NULL) {
        *sandbox = (struct amb_sandbox){.program = program_invocation_name, .argv = argv};
        limits.sandbox = sandbox;
    }
    assert_ok(amb_filler_init(&filler, &limits, &err), err);
    return filler;
}

/* Fill a batch as a worker does, announcing each chunk; returns how many pictures were on their way ahead. */
static uint32_t fill_batch(uint8_t *slot, struct amb_filler *filler, const struct set *set,
                           struct amb_draw *draws) {
    struct amb_error err = AMB_ERROR_NULL;
    uint32_t n_ahead = 0;

    memset(slot, 0, set->layout.slot_bytes);
    for (uint32_t first = 0; first < BATCH; first += CHUNK) {
        amb_fill_ahead(filler, &set->stream, &draws[first], CHUNK);
        n_ahead += filler->ahead.n;
        for (uint32_t i = first; i < first + CHUNK; i++) {
            assert_ok(amb_fill_row(slot, i, filler, &set->stream, &draws[i], &err), err);
        }
    }
    return n_ahead;
}

static void draw_batch(struct amb_draw *draws, const struct set *set, struct amb_state *at) {
    size_t n = 0;

    assert_int_equal(amb_sampler_draw(draws, &n, set->sampler, at, BATCH), 0);
    assert_int_equal(n, BATCH);
}

/* The same batches filled by both fillers; the set has a cache of this size and every fifth sample is bad. */
static void compare(enum amb_policy policy, size_t cache_bytes) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_sandbox sandbox;
    struct amb_filler plain = make_filler(NULL), inside = make_filler(&sandbox);
    struct amb_state at = {0};
    struct set set;
    uint8_t *slots[2];
    uint32_t n_ahead = 0;

    options.policy = policy;
    set_open(&set, SET_PICTURES, ROUNDS * BATCH + 20, true, false); /* `sequential` sees each once */
    set_subscribe(&set, &options, BATCH, fields, N_FIELDS);
    slots[0] = malloc(set.layout.slot_bytes);
    slots[1] = malloc(set.layout.slot_bytes);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct amb_draw draws[2][BATCH];

        draw_batch(draws[0], &set, &at);
        memcpy(draws[1], draws[0], sizeof draws[0]);
        if (round < 2) {
            set_renew(&set, cache_bytes); /* no sample is known to be bad */
        }
        n_ahead += fill_batch(slots[0], &inside, &set, draws[0]);
        if (round < 2) {
            set_renew(&set, cache_bytes);
        }
        assert_int_equal(fill_batch(slots[1], &plain, &set, draws[1]), 0);
        assert_memory_equal(slots[0], slots[1], set.layout.slot_bytes);
    }
    assert_true(n_ahead > 0);
    assert_int_equal(inside.n_replaced, plain.n_replaced);
    assert_true(plain.n_replaced > 0);
    assert_int_equal(inside.n_transient, 0);
    assert_int_equal(atomic_load(&sandbox.counters.n_restarts), 0);
    free(slots[0]);
    free(slots[1]);
    amb_filler_deinit(&inside);
    amb_filler_deinit(&plain);
    set_close(&set);
}

TEST(rows_decoded_ahead_are_the_same) {
    compare(AMB_POLICY_PASS, 0);
    compare(AMB_POLICY_UNIFORM, 0);
    compare(AMB_POLICY_SEQUENTIAL, 0);
    compare(AMB_POLICY_PASS, 1u << 20);
}

TEST(only_what_will_be_decoded_is_announced) {
    /* Known bad samples are announced as what replaces them; what the cache holds is not announced. */
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_sandbox sandbox;
    struct amb_filler filler = make_filler(&sandbox);
    struct amb_state at = {0};
    struct amb_draw draws[BATCH];
    struct set set;
    uint8_t *slot;

    set_open(&set, SET_PICTURES, 60, true, false);
    set_subscribe(&set, &options, BATCH, fields, N_FIELDS);
    set_renew(&set, 4u << 20);
    slot = malloc(set.layout.slot_bytes);
    for (uint32_t i = 0; i < set.n_samples; i++) {
        struct amb_error err = AMB_ERROR_NULL;
        const uint8_t *stored;
        int r = amb_fill_load(&stored, &filler, &set.dataset, i, &err);

        if (r < 0) {
            amb_quarantine_put(set.quarantine, i, &err);
        }
    }
    assert_int_equal(amb_quarantine_count(set.quarantine), 12);
    draw_batch(draws, &set, &at);
    assert_int_equal(fill_batch(slot, &filler, &set, draws), 0);
    amb_cache_free(set.cache);
    assert_int_equal(amb_cache_new(&set.cache, 0, NULL), 0);
    set.dataset.cache = set.cache;
    draw_batch(draws, &set, &at);
    for (uint32_t first = 0; first < BATCH; first += CHUNK) {
        amb_fill_ahead(&filler, &set.stream, &draws[first], CHUNK);
        assert_true(filler.ahead.n > 0);
        for (uint32_t i = 0; i < filler.ahead.n; i++) {
            assert_false(set_is_bad(filler.ahead.samples[i], true));
        }
    }
    free(slot);
    amb_filler_deinit(&filler);
    set_close(&set);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_decoded_ahead_are_the_same),
    cmocka_unit_test(only_what_will_be_decoded_is_announced),
};

/* This program is its own decoder process. */
int tests_main(int argc, char **argv);
#define main tests_main
TEST_MAIN(tests)
#undef main

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], AMB_SANDBOX_ARGUMENT) == 0) {
        return amb_sandbox_serve(NULL);
    }
    return tests_main(argc, argv);
}
