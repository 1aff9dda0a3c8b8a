#include "base/test.h"

#include <math.h>

#include "base/boxmuller.h"

static float float_of(uint32_t bits) {
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x) {
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Given y: every f32 that v can be near the top, where R2 is small, and every 61st one below; v and -v alike.
 */
TEST(radius_is_as_accurate_as_stated) {
    uint32_t stride = test_stride();
    double worst = 0;

    for (uint32_t bits = bits_of(1.0f); bits < bits_of(0x1p31f);
         bits += bits < bits_of(0x1p30f) ? 61 * stride : stride) {
        float v = float_of(bits);
        double want = -log((double)fmaf(v, v, AMB_BM_CELL) * 0x1p-62);
        double error = fabs((double)amb_boxmuller_log(v) - want) / want;

        worst = error > worst ? error : worst;
    }
    printf("-2 ln u: %.3g\n", worst);
    assert_true(worst > 1e-8 && worst < 2.3e-7);
    assert_true(amb_boxmuller_log(0x1p31f) == 0);
    assert_true(amb_boxmuller_log(-12345.0f) == amb_boxmuller_log(12345.0f));
}

/* Every f32 in [2^-12, 1/2]; below, S and C are their first coefficients. */
TEST(angle_is_as_accurate_as_stated) {
    double worst_sin = 0, worst_cos = 0;

    for (uint32_t bits = bits_of(0x1p-12f); bits <= bits_of(0.5f); bits += 3 * test_stride()) {
        float x = float_of(bits), c, s;
        double angle = 3.141592653589793 * (double)x, error;

        amb_boxmuller_turn(&c, &s, x);
        error = fabs((double)c - cos(angle));
        worst_cos = error > worst_cos ? error : worst_cos;
        error = fabs((double)(x * s) - sin(angle)) / sin(angle);
        worst_sin = error > worst_sin ? error : worst_sin;
    }
    printf("sin: %.3g relative, cos: %.3g absolute\n", worst_sin, worst_cos);
    assert_true(worst_sin > 1e-8 && worst_sin < 1.5e-7);
    assert_true(worst_cos > 1e-8 && worst_cos < 1.5e-7);
}

/* The polynomials alone, coefficients as rounded, in f64. */
TEST(polynomials_are_as_accurate_as_stated) {
    static const double q[] = {AMB_BM_Q7, AMB_BM_Q6, AMB_BM_Q5, AMB_BM_Q4,
                               AMB_BM_Q3, AMB_BM_Q2, AMB_BM_Q1, AMB_BM_Q0};
    static const double s[] = {AMB_BM_S4, AMB_BM_S3, AMB_BM_S2, AMB_BM_S1, AMB_BM_S0};
    static const double c[] = {AMB_BM_C4, AMB_BM_C3, AMB_BM_C2, AMB_BM_C1, AMB_BM_C0};
    double worst_q = 0, worst_s = 0, worst_c = 0;

    for (int i = 1; i < 1000000; i += (int)test_stride()) {
        double u = i * 1e-6, y = u * u, k = 0, sum = 0, z, error, x;

        while (y < 2.0 / 3) {
            y *= 2;
            k--;
        }
        for (int j = 0; j < 8; j++) {
            sum = sum * (y - 1) + q[j];
        }
        error = fabs(((y - 1) * sum - k * log(2.0)) / (-2 * log(u)) - 1);
        worst_q = error > worst_q ? error : worst_q;
        x = i * 0.5e-6;
        z = x * x;
        sum = (((s[0] * z + s[1]) * z + s[2]) * z + s[3]) * z + s[4];
        error = fabs(x * sum / sin(3.141592653589793 * x) - 1);
        worst_s = error > worst_s ? error : worst_s;
        sum = (((c[0] * z + c[1]) * z + c[2]) * z + c[3]) * z + c[4];
        error = fabs(sum - cos(3.141592653589793 * x));
        worst_c = error > worst_c ? error : worst_c;
    }
    printf("Q: %.3g, S: %.3g, C: %.3g\n", worst_q, worst_s, worst_c);
    assert_true(worst_q < 1.2e-7 && worst_s < 2.9e-8 && worst_c < 5.5e-8);
}

/* The corners of both words: finite, within the stated bound, and the largest radius well past 5.6 sigma. */
TEST(corners_are_finite) {
    static const uint32_t words[] = {0,          1,          2,          0x7fffffff, 0x7fffffbf,
                                     0x80000000, 0x80000001, 0xffffffff, 0x40000000};
    float out[2], most = 0;

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        for (size_t j = 0; j < sizeof words / sizeof words[0]; j++) {
            amb_boxmuller(out, words[i], words[j]);
            for (int k = 0; k < 2; k++) {
                assert_true(isfinite(out[k]) && fabsf(out[k]) < 6.765f);
                most = fmaxf(most, fabsf(out[k]));
            }
        }
    }
    assert_true(most > 6.76f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(radius_is_as_accurate_as_stated),
    cmocka_unit_test(angle_is_as_accurate_as_stated),
    cmocka_unit_test(polynomials_are_as_accurate_as_stated),
    cmocka_unit_test(corners_are_finite),
};

TEST_MAIN(tests)
