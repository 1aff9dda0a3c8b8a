/*
 * bench-noise: what one core makes of normals and of noised elements, by path, beside what bounds it.
 *
 * bench-noise [--quick]
 *
 * Normals go to a buffer in the first-level cache. Apply reads u8 pictures of 3 x 32 x 32 or 3 x 256 x 256
 * and writes into 64 MiB like a slot, front to back, over and over. The floor of an apply is the time for its
 * normals alone plus the time to move its bytes at the speed of memcpy, both measured in the same run; "of
 * floor" is floor / time. Time is processor time, each figure the best of many short rounds: other load only
 * ever adds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "noise/apply.h"
#include "noise/normal.h"

#define SLOT_BYTES (64u << 20)
#define N_NORMALS  4096u

static double round_s = 0.004;
static unsigned n_rounds = 60;

static double now_s(void) {
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

struct bench {
    uint8_t *slot, *pictures;
    float *normals;
    struct amb_buf scratch;
};

/* One case: fields, dtypes and levels of the job; 0 elements: normals only. */
struct kind {
    const char *name;
    uint32_t side;
    bool x_t, x_tn, flip;
    enum amb_dtype dtype;
    double s, s_n;
    unsigned n_normals; /* per element */
};

static const struct kind kinds[] = {
    {"u8 -> x_t, x_tn f32, 32x32", 32, true, true, false, AMB_DTYPE_F32, 2, 0.5, 2},
    {"u8 -> x_t, x_tn f32, 256x256", 256, true, true, false, AMB_DTYPE_F32, 2, 0.5, 2},
    {"u8 -> x_t, x_tn f32, 256x256 flip", 256, true, true, true, AMB_DTYPE_F32, 2, 0.5, 2},
    {"u8 -> x_t, x_tn f16, 256x256", 256, true, true, false, AMB_DTYPE_F16, 2, 0.5, 2},
    {"u8 -> x_t, x_tn bf16, 256x256", 256, true, true, false, AMB_DTYPE_BF16, 2, 0.5, 2},
    {"u8 -> x_t f32, 256x256", 256, true, false, false, AMB_DTYPE_F32, 2, 0.5, 2},
    {"u8 -> x_t, x_tn f32, tn = 0", 256, true, true, false, AMB_DTYPE_F32, 2, 0, 1},
    {"u8 -> x_tn f32, tn = 0", 256, false, true, false, AMB_DTYPE_F32, 2, 0, 0},
};

static size_t kind_bytes(const struct kind *kind) { /* read and written per element */
    return 1 + amb_dtype_bytes(kind->dtype) * ((kind->x_t ? 1u : 0u) + (kind->x_tn ? 1u : 0u));
}

static double normals_once(struct bench *b, uint64_t i) {
    amb_normal_fill(b->normals, 0, N_NORMALS, 7, i);
    return N_NORMALS;
}

static double copy_once(struct bench *b, uint64_t i) {
    size_t bytes = 1u << 20, at = (size_t)(i % (SLOT_BYTES / bytes)) * bytes;

    memcpy(b->slot + at, b->pictures, bytes);
    return (double)bytes;
}

static double apply_once(struct bench *b, uint64_t i, const struct kind *kind) {
    size_t n = (size_t)3 * kind->side * kind->side, bytes = n * amb_dtype_bytes(kind->dtype);
    size_t n_pictures = SLOT_BYTES / (2 * bytes), at = (size_t)(i % n_pictures);
    struct amb_noise_job job = {
        .channels = 3,
        .height = kind->side,
        .width = kind->side,
        .flip = kind->flip,
        .u8 = b->pictures + i * n % ((4u << 20) - n),
        .fixed_key = 1,
        .fixed_counter = i,
        .fresh_key = 2,
        .fresh_counter = i,
    };

    amb_process_get(&job.step, AMB_PROCESS_VE, kind->s, kind->s_n);
    if (kind->x_t) {
        job.x_t = (struct amb_noise_out){b->slot + at * bytes, kind->dtype};
    }
    if (kind->x_tn) {
        job.x_tn = (struct amb_noise_out){b->slot + SLOT_BYTES / 2 + at * bytes, kind->dtype};
    }
    if (amb_noise_apply(&job, &b->scratch) != 0) {
        exit(1);
    }
    return (double)n;
}

enum what { NORMALS, COPY, APPLY };

/* Units per second, the best round. */
static double measure(struct bench *b, enum what what, const struct kind *kind) {
    double best = 0;

    for (unsigned round = 0; round < n_rounds; round++) {
        double begin = now_s(), done = 0, spent;
        uint64_t i = 0;

        do {
            for (unsigned j = 0; j < 4; j++, i++) {
                done += what == NORMALS ? normals_once(b, i)
                        : what == COPY  ? copy_once(b, i)
                                        : apply_once(b, i, kind);
            }
            spent = now_s() - begin;
        } while (spent < round_s);
        best = done / spent > best ? done / spent : best;
    }
    return best;
}

static void bench_path(struct bench *b, enum amb_path path, double copy) {
    double normals;

    amb_path_select(path);
    normals = measure(b, NORMALS, NULL);
    printf("%-8s %-36s %9.0f M/s\n", amb_path_name(path), "normals", normals / 1e6);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const struct kind *kind = &kinds[i];
        double rate = measure(b, APPLY, kind);
        double floor = kind->n_normals / normals + (double)kind_bytes(kind) / (2 * copy);

        printf("%-8s %-36s %9.0f M/s  %6.2f GB/s moved  %4.0f %% of floor\n", amb_path_name(path), kind->name,
               rate / 1e6, rate * (double)kind_bytes(kind) / 1e9, 100 * floor * rate);
    }
}

int main(int argc, char **argv) {
    struct bench b = {0};
    double copy;

    if (argc == 2 && strcmp(argv[1], "--quick") == 0) {
        round_s = 0.001;
        n_rounds = 2;
    } else if (argc != 1) {
        fprintf(stderr, "usage: bench-noise [--quick]\n");
        return 2;
    }
    b.slot = aligned_alloc(4096, SLOT_BYTES);
    b.pictures = aligned_alloc(4096, 4u << 20);
    b.normals = aligned_alloc(64, N_NORMALS * sizeof *b.normals);
    if (b.slot == NULL || b.pictures == NULL || b.normals == NULL) {
        return 1;
    }
    memset(b.slot, 1, SLOT_BYTES);
    for (size_t i = 0; i < 4u << 20; i++) {
        b.pictures[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    copy = measure(&b, COPY, NULL);
    printf("memcpy into 64 MiB: %.2f GB/s copied (read + written: twice that)\n", copy / 1e9);
    for (unsigned path = 0; path < AMB_PATH_N; path++) {
        if (amb_path_available((enum amb_path)path)) {
            bench_path(&b, (enum amb_path)path, copy);
        }
    }
    amb_buf_deinit(&b.scratch);
    free(b.normals);
    free(b.pictures);
    free(b.slot);
    return 0;
}
