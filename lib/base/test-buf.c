#include "base/test.h"

#include "base/alloc.h"
#include "base/buf.h"

/* Warm once at the largest size, then use smaller ones: the allocation counter must stand still. */
TEST(warm_buffer_allocates_nothing) {
    struct amb_buf buf = AMB_BUF_NULL;
    uint64_t n_allocs;

    assert_int_equal(amb_buf_reserve(&buf, 10000), 0);
    n_allocs = amb_alloc_count();
    for (size_t bytes = 0; bytes <= 10000; bytes += 7) {
        assert_int_equal(amb_buf_reserve(&buf, bytes), 0);
        assert_int_equal((uintptr_t)buf.data % 64, 0);
    }
    assert_int_equal(amb_alloc_count(), n_allocs);
    amb_buf_deinit(&buf);
    amb_buf_deinit(&buf);
}

TEST(pushed_bytes_survive_growth) {
    struct amb_buf buf = AMB_BUF_NULL;

    for (unsigned i = 0; i < 100000; i++) {
        uint8_t byte = (uint8_t)(i * 31);

        assert_int_equal(amb_buf_push(&buf, &byte, 1), 0);
    }
    assert_int_equal(buf.n_bytes, 100000);
    for (unsigned i = 0; i < 100000; i++) {
        assert_int_equal(buf.data[i], (uint8_t)(i * 31));
    }
    amb_buf_deinit(&buf);
}

TEST(impossible_size_leaves_the_buffer_alone) {
    struct amb_buf buf = AMB_BUF_NULL;

    assert_int_equal(amb_buf_push(&buf, "abc", 3), 0);
    assert_true(amb_buf_reserve(&buf, SIZE_MAX) < 0);
    assert_true(amb_buf_grow(&buf, SIZE_MAX - 8) < 0);
    assert_int_equal(buf.n_bytes, 3);
    assert_memory_equal(buf.data, "abc", 3);
    amb_buf_deinit(&buf);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(warm_buffer_allocates_nothing),
    cmocka_unit_test(pushed_bytes_survive_growth),
    cmocka_unit_test(impossible_size_leaves_the_buffer_alone),
};

TEST_MAIN(tests)
