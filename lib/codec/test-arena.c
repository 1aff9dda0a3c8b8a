#include "base/test.h"

#include "base/alloc.h"
#include "codec/arena.h"

/* The first round has nothing to give; after reset the arena holds what that round asked for, and no more
 * grows. */
TEST(arena_grows_to_what_was_missed) {
    struct amb_arena arena = AMB_ARENA_NULL;
    uint64_t n_allocs;

    assert_null(amb_arena_acquire(&arena, 1000));
    assert_null(amb_arena_acquire(&arena, 5000));
    amb_arena_reset(&arena);
    n_allocs = amb_alloc_count();
    for (unsigned round = 0; round < 3; round++) {
        uint8_t *a = amb_arena_acquire(&arena, 1000), *b = amb_arena_acquire(&arena, 5000);

        assert_non_null(a);
        assert_non_null(b);
        assert_true(b >= a + 1000);
        assert_int_equal((uintptr_t)b % AMB_ARENA_ALIGN, 0);
        assert_true(amb_arena_owns(&arena, a) && amb_arena_owns(&arena, b + 4999));
        assert_false(amb_arena_owns(&arena, &arena));
        memset(a, 1, 1000);
        memset(b, 2, 5000);
        amb_arena_reset(&arena);
    }
    assert_int_equal(amb_alloc_count(), n_allocs);
    amb_arena_deinit(&arena);
}

TEST(arena_stays_within_its_bound) {
    struct amb_arena arena = AMB_ARENA_NULL;

    assert_null(amb_arena_acquire(&arena, SIZE_MAX));
    assert_null(amb_arena_acquire(&arena, SIZE_MAX / 2));
    assert_null(amb_arena_acquire(&arena, SIZE_MAX / 2));
    assert_null(amb_arena_acquire(&arena, SIZE_MAX / 2));
    amb_arena_reset(&arena);
    assert_true(arena.buf.capacity_bytes <= AMB_ARENA_BYTES);
    assert_non_null(amb_arena_acquire(&arena, AMB_ARENA_BYTES));
    assert_null(amb_arena_acquire(&arena, 1));
    amb_arena_reset(&arena);
    assert_int_equal(arena.buf.capacity_bytes, AMB_ARENA_BYTES);
    amb_arena_deinit(&arena);
    amb_arena_deinit(&arena);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(arena_grows_to_what_was_missed),
    cmocka_unit_test(arena_stays_within_its_bound),
};

TEST_MAIN(tests)
