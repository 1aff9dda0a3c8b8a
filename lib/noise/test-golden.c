/*
 * Golden: proto/golden/noise.json replayed on every path of the processor, and the paths compared with each
 * other.
 *
 * A plain program without cmocka and JSON, because tests/aarch64.sh builds it for another architecture.
 */
#ifdef NDEBUG
#error "tests need asserts: build with b_ndebug=false"
#endif

#include <assert.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/process.h"
#include "noise/apply.h"
#include "noise/normal.h"

struct golden_normals {
    uint64_t key, counter;
    uint32_t bits[16];
    size_t n; /* normals that the sum is over */
    uint64_t fnv1a64;
};

/* A picture of 3 x 32 x 32, byte i = (37 i + i / 32) mod 256; keys and counters 1 2 (fixed) and 3 4 (fresh).
 */
struct golden_apply {
    enum amb_process process;
    double s, s_n;
    int flip;
    uint64_t fnv1a64[4]; /* x_t, x_tn, x0, noise */
    uint32_t x_t_bits[8];
};

#include "golden-noise.h"

#define N_PICTURE 3072
#define N_NORMALS (1 << 18)
#define COUNT(x)  (sizeof(x) / sizeof *(x))

static int n_failed;

static uint64_t fnv1a64(const void *data, size_t bytes) {
    const uint8_t *p = data;
    uint64_t sum = 0xcbf29ce484222325u;

    for (size_t i = 0; i < bytes; i++) {
        sum = (sum ^ p[i]) * 0x100000001b3u;
    }
    return sum;
}

static void check(const char *what, size_t i, uint64_t got, uint64_t want) {
    if (got != want) {
        printf("%s, %s %zu: %016" PRIx64 ", expected %016" PRIx64 "\n", amb_path_name(amb_path_get()), what,
               i, got, want);
        n_failed++;
    }
}

static void replay_normals(void) {
    static float out[1 << 20];

    for (size_t row = 0; row < COUNT(golden_normals); row++) {
        const struct golden_normals *golden = &golden_normals[row];
        uint32_t bits[16];

        assert(golden->n <= COUNT(out));
        amb_normal_fill(out, 0, golden->n, golden->key, golden->counter);
        memcpy(bits, out, sizeof bits);
        for (size_t i = 0; i < 16; i++) {
            check("normal", i, bits[i], golden->bits[i]);
        }
        check("sum of normals of row", row, fnv1a64(out, golden->n * sizeof *out), golden->fnv1a64);
    }
}

static void picture_job(struct amb_noise_job *job, const uint8_t *picture) {
    *job = (struct amb_noise_job){.channels = 3,
                                  .height = 32,
                                  .width = 32,
                                  .u8 = picture,
                                  .fixed_key = 1,
                                  .fixed_counter = 2,
                                  .fresh_key = 3,
                                  .fresh_counter = 4};
}

static void replay_apply(struct amb_buf *scratch) {
    static float out[4][N_PICTURE];
    static uint8_t picture[N_PICTURE];

    for (unsigned i = 0; i < N_PICTURE; i++) {
        picture[i] = (uint8_t)(37 * i + i / 32);
    }
    for (size_t row = 0; row < COUNT(golden_apply); row++) {
        const struct golden_apply *golden = &golden_apply[row];
        struct amb_noise_job job;
        uint32_t bits[8];

        picture_job(&job, picture);
        job.flip = golden->flip != 0;
        amb_process_get(&job.step, golden->process, golden->s, golden->s_n);
        job.x_t = (struct amb_noise_out){out[0], AMB_DTYPE_F32};
        job.x_tn = (struct amb_noise_out){out[1], AMB_DTYPE_F32};
        job.x0 = (struct amb_noise_out){out[2], AMB_DTYPE_F32};
        job.noise = (struct amb_noise_out){out[3], AMB_DTYPE_F32};
        check("status", row, (uint64_t)amb_noise_apply(&job, scratch), 0);
        memcpy(bits, out[0], sizeof bits);
        for (size_t i = 0; i < 8; i++) {
            check("x_t", i, bits[i], golden->x_t_bits[i]);
        }
        for (size_t i = 0; i < 4; i++) {
            check("sum of field", i, fnv1a64(out[i], sizeof out[i]), golden->fnv1a64[i]);
        }
    }
}

/* Normals in number, and narrow types at odd width: the sum that the scalar path gives. */
static uint64_t sum_of_path(struct amb_buf *scratch) {
    static float normals[N_NORMALS];
    static uint16_t half[2][3 * 31 * 33];
    static uint8_t picture[3 * 31 * 33];
    uint64_t sum;

    amb_normal_fill(normals, 0, N_NORMALS - 7, 5, 6);
    sum = fnv1a64(normals, sizeof normals);
    for (unsigned flip = 0; flip < 2; flip++) {
        struct amb_noise_job job;

        picture_job(&job, picture);
        job.height = 31;
        job.width = 33;
        job.flip = flip != 0;
        amb_process_get(&job.step, AMB_PROCESS_VP, 1e-4, 1e-5);
        job.x_t = (struct amb_noise_out){half[0], AMB_DTYPE_F16};
        job.noise = (struct amb_noise_out){half[1], AMB_DTYPE_BF16};
        check("status", flip, (uint64_t)amb_noise_apply(&job, scratch), 0);
        sum = sum * 31 + fnv1a64(half, sizeof half);
    }
    return sum;
}

int main(void) {
    struct amb_buf scratch = AMB_BUF_NULL;
    uint64_t want = 0;

    for (unsigned path = 0; path < AMB_PATH_N; path++) {
        if (!amb_path_available((enum amb_path)path)) {
            continue;
        }
        amb_path_select((enum amb_path)path);
        replay_normals();
        replay_apply(&scratch);
        if (path == AMB_PATH_SCALAR) {
            want = sum_of_path(&scratch);
        }
        check("sum", path, sum_of_path(&scratch), want);
        printf("%s: %zu arrays of normals, %zu pictures\n", amb_path_name((enum amb_path)path),
               COUNT(golden_normals), COUNT(golden_apply));
    }
    amb_buf_deinit(&scratch);
    return n_failed != 0;
}
