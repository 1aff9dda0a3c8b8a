#include "base/test.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/philox.h"
#include "noise/apply.h"
#include "noise/fpenv.h"
#include "noise/normal.h"

#define N_MAX    (3 * 40 * 40 + 64 * 3000)
#define N_FIELDS 4

/* What a test asks for, and all that the definition says of it, computed the plain way. */
struct sample {
    struct amb_noise_job job;
    uint8_t u8[N_MAX];
    float mean[N_MAX], std[N_MAX], scale[8], shift[8];
    float n_i[N_MAX], e[N_MAX], z[N_MAX];
    float want[N_FIELDS][N_MAX]; /* x_t, x_tn, x0, noise */
    uint8_t want_u8[N_MAX];
    size_t n;
};

static struct sample sample;
static uint64_t n_words;

static uint32_t word(void) {
    return amb_philox(0x5eed0002, n_words++, 5).w[0];
}

static float unit(void) {
    return (float)(word() >> 8) * 0x1p-23f - 1;
}

static void sample_size(uint32_t channels, uint32_t height, uint32_t width) {
    sample.n = (size_t)channels * height * width;
    assert_true(sample.n <= N_MAX && channels <= 8);
    sample.job = (struct amb_noise_job){
        .channels = channels,
        .height = height,
        .width = width,
        .fixed_key = word(),
        .fixed_counter = word(),
        .fresh_key = word(),
        .fresh_counter = word(),
        .latent_key = word(),
        .latent_counter = word(),
    };
    for (size_t i = 0; i < sample.n; i++) {
        sample.u8[i] = (uint8_t)word();
        sample.mean[i] = unit();
        sample.std[i] = 1 + unit();
    }
    for (size_t i = 0; i < 8; i++) {
        sample.scale[i] = 1 + unit();
        sample.shift[i] = unit();
    }
}

/* The definitions of apply.c, one element at a time, from whole arrays. */
static void sample_expect(void) {
    struct amb_noise_job *job = &sample.job;
    const struct amb_process_step *s = &job->step;
    size_t plane = (size_t)job->height * job->width;
    float tn = (float)s->tn, a = (float)s->a, b = (float)s->b, t = (float)s->t, alpha_n = (float)s->alpha_n;

    amb_path_select(AMB_PATH_SCALAR);
    amb_normal_fill(sample.n_i, 0, sample.n, job->fixed_key, job->fixed_counter);
    amb_normal_fill(sample.e, 0, sample.n, job->fresh_key, job->fresh_counter);
    amb_normal_fill(sample.z, 0, sample.n, job->latent_key, job->latent_counter);
    for (size_t i = 0; i < sample.n; i++) {
        size_t row = i / job->width, column = i % job->width;
        size_t from = job->flip ? row * job->width + job->width - 1 - column : i;
        float x, x_tn, x_t, noise;

        if (job->u8 != NULL) {
            x = (float)job->u8[from] / 127.5f - 1.0f;
            sample.want_u8[i] = job->u8[from];
        } else {
            x = job->std == NULL ? job->mean[from] : fmaf(job->std[from], sample.z[from], job->mean[from]);
            if (job->scale != NULL || job->shift != NULL) {
                x = fmaf(x, job->scale != NULL ? job->scale[from / plane] : 1,
                         job->shift != NULL ? job->shift[from / plane] : 0);
            }
        }
        x_tn = tn == 0 ? alpha_n * x : fmaf(tn, sample.n_i[from], alpha_n * x);
        x_t = b == 0 ? a * x_tn : a == 0 ? b * sample.e[i] : fmaf(b, sample.e[i], a * x_tn);
        noise = t == 0 ? sample.e[i] : fmaf((float)-s->alpha_t, x, x_t) / t;
        sample.want[0][i] = x_t;
        sample.want[1][i] = x_tn;
        sample.want[2][i] = x;
        sample.want[3][i] = noise;
    }
}

/* Round to nearest even by comparing with both neighbours in f64: slow, and not the method of any path. */
static uint16_t narrow(float x, bool bf16) {
    int digits = bf16 ? 8 : 11, lowest = bf16 ? -126 : -14, exponent;
    double magnitude = fabs((double)x), unit_, steps;
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    if (magnitude == 0) {
        return (uint16_t)(bits >> 16 & 0x8000);
    }
    if (isinf(magnitude)) {
        return (uint16_t)((bits >> 16 & 0x8000) | (bf16 ? 0x7f80 : 0x7c00));
    }
    frexp(magnitude, &exponent);
    exponent = exponent - 1 < lowest ? lowest : exponent - 1;
    unit_ = ldexp(1, exponent - (digits - 1));
    steps = nearbyint(magnitude / unit_) * unit_; /* the value, rounded */
    if (steps >= ldexp(1, bf16 ? 128 : 16)) {
        return (uint16_t)((bits >> 16 & 0x8000) | (bf16 ? 0x7f80 : 0x7c00));
    }
    if (steps < ldexp(1, lowest)) {
        return (uint16_t)((bits >> 16 & 0x8000) | (uint32_t)(steps / unit_));
    }
    frexp(steps, &exponent);
    exponent--;
    return (uint16_t)((bits >> 16 & 0x8000) | (uint32_t)((exponent - lowest + 1) << (digits - 1)) |
                      ((uint32_t)(steps / ldexp(1, exponent - (digits - 1))) - (1u << (digits - 1))));
}

static uint8_t outs[N_FIELDS][N_MAX * 4 + 64], out_u8[N_MAX + 64];
static struct amb_buf scratch;

static void check_field(unsigned field, enum amb_dtype dtype, const char *what) {
    size_t bytes = amb_dtype_bytes(dtype);

    for (size_t i = 0; i < sample.n; i++) {
        uint32_t got = 0, want = 0;

        memcpy(&got, outs[field] + 1 + i * bytes, bytes);
        memcpy(&want, &sample.want[field][i], sizeof want);
        if (dtype != AMB_DTYPE_F32) {
            want = narrow(sample.want[field][i], dtype == AMB_DTYPE_BF16);
        }
        if (got != want) {
            fail_msg("%s: field %u as %s, element %zu of %zu: %08x, expected %08x", what, field,
                     amb_dtype_name(dtype), i, sample.n, got, want);
        }
    }
    for (size_t i = 0; i < 32; i++) {
        assert_int_equal(outs[field][1 + sample.n * bytes + i], 0xa5);
    }
    assert_int_equal(outs[field][0], 0xa5);
}

static const enum amb_dtype dtypes[] = {AMB_DTYPE_F32, AMB_DTYPE_F16, AMB_DTYPE_BF16};

/* Ask for the fields in `mask` (bit 4: u8), field i with dtype (first + i) % 3, at odd addresses. */
static void run_fields(unsigned mask, unsigned first) {
    struct amb_noise_job job = sample.job;
    struct amb_noise_out *const fields[N_FIELDS] = {&job.x_t, &job.x_tn, &job.x0, &job.noise};

    memset(outs, 0xa5, sizeof outs);
    memset(out_u8, 0xa5, sizeof out_u8);
    for (unsigned i = 0; i < N_FIELDS; i++) {
        if ((mask >> i & 1) != 0) {
            *fields[i] = (struct amb_noise_out){outs[i] + 1, dtypes[(first + i) % 3]};
        }
    }
    if ((mask & 16) != 0 && job.u8 != NULL) {
        job.u8_out = out_u8 + 1;
    }
    assert_int_equal(amb_noise_apply(&job, &scratch), 0);
}

static void check_fields(unsigned mask, unsigned first, const char *what) {
    for (unsigned i = 0; i < N_FIELDS; i++) {
        if ((mask >> i & 1) != 0) {
            check_field(i, dtypes[(first + i) % 3], what);
        }
    }
    if ((mask & 16) != 0 && sample.job.u8 != NULL) {
        assert_memory_equal(out_u8 + 1, sample.want_u8, sample.n);
        assert_int_equal(out_u8[1 + sample.n], 0xa5);
    }
}

static void run(unsigned mask, unsigned first, const char *what) {
    run_fields(mask, first);
    check_fields(mask, first, what);
}

static const struct {
    enum amb_process process;
    double s, s_n;
} levels[] = {
    {AMB_PROCESS_VE, 2.5, 0.7},   {AMB_PROCESS_VE, 0.3, 0},    {AMB_PROCESS_VE, 0.8, 0.8},
    {AMB_PROCESS_VE, 0, 0},       {AMB_PROCESS_VP, 1.5, 0.25}, {AMB_PROCESS_VP, (double)INFINITY, 2},
    {AMB_PROCESS_FLOW, 3, 0.125}, {AMB_PROCESS_FLOW, 0, 0},    {AMB_PROCESS_FLOW, (double)INFINITY, 0},
    {AMB_PROCESS_VE, 1e-5, 0},    {AMB_PROCESS_VE, 8e4, 5e4},
};
#define N_LEVELS (sizeof levels / sizeof levels[0])

static void each_path(unsigned mask, unsigned first) {
    for (unsigned path = 0; path < AMB_PATH_N; path++) {
        if (amb_path_available((enum amb_path)path)) {
            amb_path_select((enum amb_path)path);
            run(mask, first, amb_path_name((enum amb_path)path));
        }
    }
}

static void each_source_and_level(unsigned mask, unsigned first) {
    for (unsigned source = 0; source < 4; source++) {
        sample.job.u8 = source == 0 ? sample.u8 : NULL;
        sample.job.mean = source != 0 ? sample.mean : NULL;
        sample.job.std = source >= 2 ? sample.std : NULL;
        sample.job.scale = source == 3 ? sample.scale : NULL;
        sample.job.shift = source == 3 ? sample.shift : NULL;
        for (size_t i = 0; i < N_LEVELS; i++) {
            for (unsigned flip = 0; flip < 2; flip++) {
                sample.job.flip = flip != 0;
                amb_process_get(&sample.job.step, levels[i].process, levels[i].s, levels[i].s_n);
                sample_expect();
                each_path(mask, first);
            }
        }
    }
}

/* All paths against the plain definition: every source, process, edge level, flip, and dtype on odd small
 * sizes. */
TEST(paths_follow_the_definition) {
    static const uint32_t sizes[][3] = {{1, 1, 1}, {3, 5, 7}, {2, 3, 64}, {1, 7, 33}, {4, 8, 8}};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        sample_size(sizes[i][0], sizes[i][1], sizes[i][2]);
        for (unsigned first = 0; first < 3; first++) {
            each_source_and_level(31, first);
        }
    }
}

/* Longer than a run, rows wider than a run, rows that end beside every multiple of a group and of a vector.
 */
TEST(runs_join_without_a_seam) {
    static const uint32_t sizes[][3] = {{3, 32, 32}, {2, 3, 1500}, {1, 2, 1024}, {1, 2, 1025},
                                        {3, 37, 31}, {1, 1, 2999}, {2, 17, 500}};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        sample_size(sizes[i][0], sizes[i][1], sizes[i][2]);
        sample.job.u8 = sample.u8;
        for (unsigned flip = 0; flip < 2; flip++) {
            sample.job.flip = flip != 0;
            amb_process_get(&sample.job.step, AMB_PROCESS_VP, 2.5, 0.7);
            sample_expect();
            each_path(31, 0);
        }
        sample.job.u8 = NULL;
        sample.job.mean = sample.mean;
        sample.job.std = sample.std;
        sample.job.scale = sample.scale;
        sample_expect();
        each_path(15, 1);
    }
}

/* Each of the 31 sets of fields, in all dtypes: no field's bytes depend on what else is asked for. */
TEST(fields_do_not_depend_on_each_other) {
    sample_size(3, 5, 23);
    for (unsigned mask = 1; mask < 32; mask += test_stride()) {
        each_source_and_level(mask, mask % 3);
    }
}

/* x0 is what numpy and torch give for all 256 bytes: f32 division, then f32 subtraction. */
TEST(all_bytes_convert_exactly) {
    sample_size(1, 1, 256);
    for (size_t i = 0; i < 256; i++) {
        sample.u8[i] = (uint8_t)i;
    }
    sample.job.u8 = sample.u8;
    amb_process_get(&sample.job.step, AMB_PROCESS_VE, 1, 0);
    sample_expect();
    each_path(4, 1); /* x0 as f32 */
    assert_true(sample.want[2][0] == -1 && sample.want[2][255] == 1);
}

/* Where rounding changes its mind: ties at both ends of f16's and bf16's ranges, and the neighbours of each.
 */
static const uint32_t edges[] = {
    0x32ffffff, 0x33000000, 0x33000001, 0x33bfffff, 0x33c00000, 0x33c00001, 0x387fdfff,
    0x387fe000, 0x387fefff, 0x387ff000, 0x387fffff, 0x38800000, 0x477fefff, 0x477ff000,
    0x477fffff, 0x47800000, 0x7f7f7fff, 0x7f7f8000, 0x7f7fffff, 0x7f800000, 0x00007fff,
    0x00008000, 0x00008001, 0x00017fff, 0x00018000, 0x007fffff, 0x00000000,
};

/* f16 and bf16 round to nearest even: latents made of ties, their neighbours, subnormals, and values that
 * overflow. */
TEST(narrow_types_round_to_nearest_even) {
    sample_size(1, 64, 64);
    for (size_t i = 0; i < sample.n; i++) {
        uint32_t bits = word(), kind = word() % 8;

        bits = kind < 3 ? (bits & 0xfffff000u) | 0x1000u : kind < 5 ? (bits & 0xffff0000u) | 0x8000u : bits;
        bits += kind % 2 == 0 ? 1u : 0;
        bits = kind == 7 ? (bits & 0x83ffffffu) | 0x30000000u : bits; /* around f16's subnormals */
        bits = (bits & 0x7f800000u) == 0x7f800000u ? bits ^ 0x40000000u : bits;
        if (i < 2 * sizeof edges / sizeof edges[0]) {
            bits = edges[i / 2] | (i % 2 == 0 ? 0 : 0x80000000u);
        }
        memcpy(&sample.mean[i], &bits, sizeof bits);
    }
    sample.job.mean = sample.mean;
    amb_process_get(&sample.job.step, AMB_PROCESS_VE, 0, 0);
    sample_expect();
    for (unsigned first = 0; first < 3; first++) {
        each_path(7, first);
    }
}

/* A term whose coefficient is 0 is left out, not multiplied: inf in a latent reaches x_t unless a is 0. */
TEST(zero_coefficients_leave_terms_out) {
    sample_size(1, 3, 21);
    sample.mean[5] = INFINITY;
    sample.mean[40] = -INFINITY;
    sample.mean[41] = -0.0f;
    sample.job.mean = sample.mean;
    for (size_t i = 0; i < N_LEVELS; i++) {
        amb_process_get(&sample.job.step, levels[i].process, levels[i].s, levels[i].s_n);
        sample_expect();
        each_path(7, 0);
        assert_true(isinf(sample.want[0][5]) || sample.job.step.a == 0);
    }
}

/* NaN stays NaN in every type. Which one is not promised. */
TEST(nan_stays_nan) {
    sample_size(1, 1, 50);
    for (size_t i = 0; i < sample.n; i++) {
        uint32_t bits =
            word() | (i % 2 == 0 ? 0x7fffffffu : 0x7f800001u); /* rounding up would carry into the sign */

        memcpy(&sample.mean[i], &bits, sizeof bits);
    }
    sample.job.mean = sample.mean;
    amb_process_get(&sample.job.step, AMB_PROCESS_VE, 0, 0);
    for (unsigned path = 0; path < AMB_PATH_N; path++) {
        if (amb_path_available((enum amb_path)path)) {
            amb_path_select((enum amb_path)path);
            run_fields(7, 0);
            for (size_t i = 0; i < sample.n; i++) {
                uint32_t f32;
                uint16_t f16, bf16;

                memcpy(&f32, outs[0] + 1 + 4 * i, sizeof f32);
                memcpy(&f16, outs[1] + 1 + 2 * i, sizeof f16);
                memcpy(&bf16, outs[2] + 1 + 2 * i, sizeof bf16);
                assert_true((f32 & 0x7fffffff) > 0x7f800000 && (f16 & 0x7fff) > 0x7c00 &&
                            (bf16 & 0x7fff) > 0x7f80);
            }
        }
    }
}

/* The noise of a flipped sample is the mirror image of the unflipped one's, so two visits never average it
 * away. */
TEST(fixed_noise_turns_with_the_picture) {
    static float straight[3 * 9 * 13], turned[3 * 9 * 13];

    sample_size(3, 9, 13);
    sample.job.u8 = sample.u8;
    amb_process_get(&sample.job.step, AMB_PROCESS_VE, 3, 1);
    sample.job.x_tn = (struct amb_noise_out){straight, AMB_DTYPE_F32};
    assert_int_equal(amb_noise_apply(&sample.job, &scratch), 0);
    sample.job.flip = true;
    sample.job.x_tn.data = turned;
    assert_int_equal(amb_noise_apply(&sample.job, &scratch), 0);
    for (size_t row = 0; row < 27; row++) {
        for (size_t column = 0; column < 13; column++) {
            assert_true(straight[row * 13 + column] == turned[row * 13 + 12 - column]);
        }
    }
}

/* A foreign library may have left FTZ, DAZ or another rounding in the thread: no byte shows it, and it is put
 * back. */
TEST(control_register_does_not_show) {
#if defined(__x86_64__)
    const uint64_t foreign = 0x1f80u | 0x8040u | 0x4000u; /* FTZ, DAZ, upwards */
#elif defined(__aarch64__)
    const uint64_t foreign = UINT64_C(1) << 24 | UINT64_C(1) << 22; /* FZ, upwards */
#else
    const uint64_t foreign = AMB_FPENV_PLAIN;
#endif
    bool taken;

    amb_fpenv_put(foreign);
    taken = amb_fpenv_peek() == foreign;
    amb_fpenv_put(AMB_FPENV_PLAIN);
    if (!taken) {
        print_message("this machine (an emulator?) keeps no such bits\n");
        skip();
    }
    sample_size(1, 1, 100);
    for (size_t i = 0; i < sample.n; i++) {
        sample.mean[i] = unit() * 0x1p-126f;
    }
    sample.job.mean = sample.mean;
    amb_process_get(&sample.job.step, AMB_PROCESS_FLOW, 1e-41, 0);
    sample_expect();
    for (unsigned path = 0; path < AMB_PATH_N; path++) {
        if (amb_path_available((enum amb_path)path)) {
            uint64_t left;

            amb_path_select((enum amb_path)path);
            run(0, 0, ""); /* scratch is there */
            amb_fpenv_put(foreign);
            run_fields(15, 0);
            left = amb_fpenv_peek();
            amb_fpenv_put(AMB_FPENV_PLAIN);
            assert_int_equal(left, foreign);
            check_fields(15, 0, amb_path_name((enum amb_path)path));
        }
    }
}

/* bytes (at most 64 KiB) that end where a page without any right begins */
static void *guarded(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = 65536;
    uint8_t *base = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(base != MAP_FAILED && bytes <= room);
    assert_int_equal(mprotect(base + room, page, PROT_NONE), 0);
    return base + room - bytes;
}

static void release_guarded(void *data, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = 65536;

    munmap((uint8_t *)data + bytes - room, room + page);
}

/* Sources and fields that end at a page which may not be touched, on lengths around vectors and groups. */
TEST(nothing_behind_the_ends_is_touched) {
    static const uint32_t widths[] = {1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 1023, 1025, 1100};

    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        size_t n = 2 * (size_t)widths[i];
        uint8_t *u8 = guarded(n), *u8_out = guarded(n);
        float *mean = guarded(4 * n), *std = guarded(4 * n), *x_t = guarded(4 * n);
        uint16_t *x_tn = guarded(2 * n), *x0 = guarded(2 * n);

        sample_size(1, 2, widths[i]);
        sample.job.x_t = (struct amb_noise_out){x_t, AMB_DTYPE_F32};
        sample.job.x_tn = (struct amb_noise_out){x_tn, AMB_DTYPE_F16};
        sample.job.x0 = (struct amb_noise_out){x0, AMB_DTYPE_BF16};
        amb_process_get(&sample.job.step, AMB_PROCESS_VE, 2, 1);
        for (unsigned path = 0; path < AMB_PATH_N; path++) {
            for (unsigned flip = 0; flip < 2 && amb_path_available((enum amb_path)path); flip++) {
                amb_path_select((enum amb_path)path);
                sample.job.flip = flip != 0;
                sample.job.mean = sample.job.std = NULL;
                sample.job.u8 = u8;
                sample.job.u8_out = u8_out;
                assert_int_equal(amb_noise_apply(&sample.job, &scratch), 0);
                sample.job.u8 = sample.job.u8_out = NULL;
                sample.job.mean = mean;
                sample.job.std = std;
                assert_int_equal(amb_noise_apply(&sample.job, &scratch), 0);
            }
        }
        release_guarded(u8, n);
        release_guarded(u8_out, n);
        release_guarded(mean, 4 * n);
        release_guarded(std, 4 * n);
        release_guarded(x_t, 4 * n);
        release_guarded(x_tn, 2 * n);
        release_guarded(x0, 2 * n);
    }
}

/* The second call finds the scratch that it needs: no allocation in the steady state. */
TEST(scratch_is_reused) {
    const uint8_t *before;

    sample_size(3, 40, 40);
    sample.job.u8 = sample.u8;
    sample.job.u8_out = out_u8;
    assert_int_equal(amb_noise_apply(&sample.job, &scratch), 0);
    before = scratch.data;
    sample.job.flip = true;
    assert_int_equal(amb_noise_apply(&sample.job, &scratch), 0);
    assert_ptr_equal(scratch.data, before);
    amb_buf_deinit(&scratch);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(paths_follow_the_definition),
    cmocka_unit_test(runs_join_without_a_seam),
    cmocka_unit_test(fields_do_not_depend_on_each_other),
    cmocka_unit_test(all_bytes_convert_exactly),
    cmocka_unit_test(narrow_types_round_to_nearest_even),
    cmocka_unit_test(zero_coefficients_leave_terms_out),
    cmocka_unit_test(nan_stays_nan),
    cmocka_unit_test(fixed_noise_turns_with_the_picture),
    cmocka_unit_test(control_register_does_not_show),
    cmocka_unit_test(nothing_behind_the_ends_is_touched),
    cmocka_unit_test(scratch_is_reused),
};

TEST_MAIN(tests)
