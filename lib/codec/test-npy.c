#include "base/test.h"

#include <math.h>

#include "base/buf.h"
#include "codec/npy.h"

/* A .npy of this header text and n data bytes, in a heap block of its exact size. */
static int parse(struct amb_npy *out, unsigned version, const char *text, size_t n_data,
                 struct amb_error *err) {
    size_t n = strlen(text), preamble = version == 1 ? 10 : 12;
    uint8_t *data = calloc(1, preamble + n + n_data);
    int r;

    assert_non_null(data);
    memcpy(data, "\x93NUMPY", 6);
    data[6] = (uint8_t)version;
    data[8] = (uint8_t)n;
    data[9] = (uint8_t)(n >> 8);
    memcpy(data + preamble, text, n);
    r = amb_npy_decode(out, data, preamble + n + n_data, err);
    free(data);
    return r;
}

TEST(headers_of_every_version_are_read) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_npy npy;

    for (unsigned version = 1; version <= 3; version++) {
        assert_ok(parse(&npy, version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 5), }    \n",
                        120, &err),
                  err);
        assert_int_equal(npy.dtype, AMB_DTYPE_F32);
        assert_int_equal(npy.n_dims, 3);
        assert_int_equal(npy.dims[0], 2);
        assert_int_equal(npy.dims[1], 3);
        assert_int_equal(npy.dims[2], 5);
        assert_int_equal(npy.data_bytes, 120);
    }
    assert_int_equal(parse(&npy, 4, "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 4, &err),
                     AMB_ERR_VERSION);
}

TEST(odd_but_legal_headers_are_read) {
    static const struct {
        const char *text;
        size_t n_data;
    } cases[] = {
        {"{\"shape\":(7,),\"descr\":\"|u1\",\"fortran_order\":False}", 7},
        {"{'descr': '<f2', 'fortran_order': False, 'shape': (), }", 2},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (3L, 2L), }", 48},
        {"{'descr': '<i8', 'fortran_order': False, 'shape': (0, 4), }", 0},
        {"{'descr': '<u8', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1), }", 8},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct amb_error err = AMB_ERROR_NULL;
        struct amb_npy npy;

        assert_ok(parse(&npy, 1, cases[i].text, cases[i].n_data, &err), err);
    }
}

TEST(other_headers_are_refused) {
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        {"", AMB_ERR_FORMAT},
        {"{", AMB_ERR_FORMAT},
        {"{}", AMB_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", AMB_ERR_UNSUPPORTED},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", AMB_ERR_UNSUPPORTED},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", AMB_ERR_UNSUPPORTED},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", AMB_ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }", AMB_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 2, }", AMB_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", AMB_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", AMB_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,,), }", AMB_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2), }", AMB_ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", AMB_ERR_LIMIT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", AMB_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
         AMB_ERR_FORMAT}, /* 12 bytes wanted, 8 there */
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", AMB_ERR_FORMAT}, /* 4 wanted, 8 there */
        {"{'descr': '<f4', 'fortran_order': False, }", AMB_ERR_FORMAT},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", AMB_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", AMB_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } import os", AMB_ERR_FORMAT},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct amb_error err = AMB_ERROR_NULL;
        struct amb_npy npy;
        int r = parse(&npy, 1, cases[i].text, 8, &err);

        if (r != cases[i].code) {
            fail_msg("%s: %d (%s), wanted %d", cases[i].text, r, err.message, cases[i].code);
        }
    }
}

/* Each prefix of a good file is refused, read from a block of its exact size. */
TEST(every_prefix_is_refused) {
    const char *text = "{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }\n";
    uint8_t whole[128] = "\x93NUMPY\x01";
    size_t bytes = 10 + strlen(text) + 4;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_npy npy;

    whole[8] = (uint8_t)strlen(text);
    memcpy(whole + 10, text, strlen(text));
    assert_ok(amb_npy_decode(&npy, whole, bytes, &err), err);
    for (size_t n = 0; n < bytes; n++) {
        uint8_t *cut = malloc(n != 0 ? n : 1);

        assert_non_null(cut);
        memcpy(cut, whole, n);
        assert_int_equal(amb_npy_decode(&npy, cut, n, &err), AMB_ERR_FORMAT);
        free(cut);
    }
}

/* All 65,536 halves against ldexp, by the vector path, the scalar one (a tail of 1) and from an odd address.
 */
TEST(every_half_becomes_its_float) {
    static uint8_t halves[65536 * 2 + 1];
    static float floats[65536];

    for (uint32_t h = 0; h < 65536; h++) {
        halves[2 * h + 1] = (uint8_t)h;
        halves[2 * h + 2] = (uint8_t)(h >> 8);
    }
    amb_npy_load_f32(floats, halves + 1, AMB_DTYPE_F16, 65536);
    for (uint32_t h = 0; h < 65536; h++) {
        int exponent = (int)(h >> 10 & 31);
        double fraction = h & 1023, value;
        float single;

        amb_npy_load_f32(&single, halves + 1 + 2 * h, AMB_DTYPE_F16, 1);
        assert_memory_equal(&single, &floats[h], sizeof single);
        if (exponent == 31) {
            assert_true(fraction == 0 ? isinf(single) : isnan(single));
            assert_int_equal(signbit(single) != 0, h >> 15);
            continue;
        }
        value = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
        assert_true(single == (float)(h >> 15 ? -value : value));
        assert_int_equal(signbit(single) != 0, h >> 15);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(headers_of_every_version_are_read), cmocka_unit_test(odd_but_legal_headers_are_read),
    cmocka_unit_test(other_headers_are_refused),         cmocka_unit_test(every_prefix_is_refused),
    cmocka_unit_test(every_half_becomes_its_float),
};

TEST_MAIN(tests)
