#include "base/test.h"

#include <pthread.h>

#include "annotate/annotations.h"
#include "base/alloc.h"

static struct amb_annotations *annotations_of(const struct amb_annotation *values, uint32_t n, uint64_t number) {
    struct amb_annotation *copy = amb_malloc((n + 1) * sizeof *copy);
    struct amb_annotations *annotations = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    for (uint32_t i = 0; i < n; i++) {
        copy[i] = values[i];
    }
    assert_ok(amb_annotations_new(&annotations, copy, n, n, number, &err), err);
    return annotations;
}

/* The bytes are written by hand: (0.5, inf), (inf, 0.25) as little-endian f32. */
TEST(fingerprint_is_the_hash_of_little_endian_pairs) {
    static const uint8_t bytes[] = {0, 0, 0, 0x3f, 0, 0, 0x80, 0x7f, 0, 0, 0x80, 0x7f, 0, 0, 0x80, 0x3e};
    static const struct amb_annotation values[] = {{0.5f, __builtin_inff()}, {__builtin_inff(), 0.25f}};
    struct amb_hash128 expected = amb_hash128_encode(bytes, sizeof bytes);
    struct amb_annotations *annotations = annotations_of(values, 2, 7);

    assert_true(amb_hash128_equal(&expected, &annotations->fingerprint));
    assert_int_equal(annotations->number, 7);
    assert_int_equal(annotations->n_samples, 2);
    assert_null(amb_annotations_unref(annotations));
}

/* 5,000 values cross several chunks: equal to the hash over one array (this machine is little-endian or skips). */
TEST(fingerprint_does_not_depend_on_chunks_or_number) {
    static struct amb_annotation values[5000];
    struct amb_annotations *a, *b;
    struct amb_hash128 expected;
    const uint16_t one = 1;

    for (size_t i = 0; i < 5000; i++) {
        values[i] = (struct amb_annotation){(float)i * 0.01f, (float)(i % 3)};
    }
    a = annotations_of(values, 5000, 1);
    b = annotations_of(values, 5000, 2);
    assert_true(amb_hash128_equal(&a->fingerprint, &b->fingerprint));
    expected = amb_hash128_encode(values, sizeof values);
    if (*(const uint8_t *)&one == 1) {
        assert_true(amb_hash128_equal(&a->fingerprint, &expected));
    }
    amb_annotations_unref(b);
    values[4999].sigma_max += 1;
    b = annotations_of(values, 5000, 1);
    assert_false(amb_hash128_equal(&a->fingerprint, &b->fingerprint));
    amb_annotations_unref(a);
    amb_annotations_unref(b);
}

TEST(empty_generation_is_legal) {
    struct amb_annotations *annotations = annotations_of(NULL, 0, 0);
    struct amb_hash128 expected = amb_hash128_encode("", 0);

    assert_true(amb_hash128_equal(&expected, &annotations->fingerprint));
    amb_annotations_unref(annotations);
    assert_null(amb_annotations_unref(NULL));
}

/* Owns one reference. */
static void *read_and_unref(void *arg) {
    struct amb_annotations *annotations = arg;

    for (int i = 0; i < 20000; i++) {
        amb_annotations_unref(amb_annotations_ref(annotations));
    }
    assert_true(annotations->values[0].sigma_min == 0.5f);
    amb_annotations_unref(annotations);
    return NULL;
}

/* Four threads, whichever ends last frees; under the sanitizers a lost count is a leak, a use after free or a race. */
TEST(last_of_many_threads_frees) {
    static const struct amb_annotation values[] = {{0.5f, 0.0f}};
    struct amb_annotations *annotations = annotations_of(values, 1, 1);
    pthread_t threads[4];

    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_and_unref, amb_annotations_ref(annotations)), 0);
    }
    amb_annotations_unref(annotations);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fingerprint_is_the_hash_of_little_endian_pairs),
    cmocka_unit_test(fingerprint_does_not_depend_on_chunks_or_number),
    cmocka_unit_test(empty_generation_is_legal),
    cmocka_unit_test(last_of_many_threads_frees),
};

TEST_MAIN(tests)
