/*
 * Normal: what is common to all paths: which one runs, round keys, the ends of arrays.
 *
 * What a normal is stands in base/boxmuller.h (with the error of each polynomial), base/philox.h and, for
 * readers without C, in proto/noise.md. normal-scalar.c is the reference; test-normal.c holds every other
 * path to its bits.
 */
#include "noise/normal.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "noise/path.h"

#if defined(__x86_64__)
#include <cpuid.h>

#define PATH_X86(ops)  ops
#define PATH_NEON(ops) NULL
#define PATH_CPU(name) (__builtin_cpu_supports(name) != 0)
#elif defined(__aarch64__)
#define PATH_X86(ops)  NULL
#define PATH_NEON(ops) ops
#define PATH_CPU(name) 0
#else
#define PATH_X86(ops)  NULL
#define PATH_NEON(ops) NULL
#define PATH_CPU(name) 0
#endif

static const struct {
    const char *name;
    const struct amb_path_ops *ops; /* NULL: not for this architecture */
} paths[AMB_PATH_N] = {
    [AMB_PATH_SCALAR] = {"scalar", &amb_path_scalar},
    [AMB_PATH_AVX2] = {"avx2", PATH_X86(&amb_path_avx2)},
    [AMB_PATH_AVX512] = {"avx512", PATH_X86(&amb_path_avx512)},
    [AMB_PATH_NEON] = {"neon", PATH_NEON(&amb_path_neon)},
};

/* -1: not chosen yet. Racing first calls choose the same path. */
static atomic_int path_in_use = -1;

const char *amb_path_name(enum amb_path path) {
    return paths[path].name;
}

/* Not a name that __builtin_cpu_supports of every compiler knows. */
static int path_has_f16c(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
#else
    return 0;
#endif
}

int amb_path_available(enum amb_path path) {
    if (paths[path].ops == NULL) {
        return 0;
    }
    switch (path) {
    case AMB_PATH_AVX2:
        return PATH_CPU("avx2") && PATH_CPU("fma") && path_has_f16c();
    case AMB_PATH_AVX512:
        return PATH_CPU("avx512f") && PATH_CPU("avx512bw") && PATH_CPU("avx512dq") && PATH_CPU("avx512vl");
    default:
        return 1;
    }
}

static enum amb_path path_choose(void) {
    const char *wanted = getenv("AMBIENTD_PATH");
    enum amb_path best = AMB_PATH_SCALAR;

    for (unsigned i = 0; i < AMB_PATH_N; i++) {
        if (amb_path_available((enum amb_path)i)) {
            best = (enum amb_path)i;
            if (wanted != NULL && strcmp(wanted, paths[i].name) == 0) {
                return best;
            }
        }
    }
    return best;
}

enum amb_path amb_path_get(void) {
    int path = atomic_load_explicit(&path_in_use, memory_order_relaxed);

    if (path < 0) {
        path = (int)path_choose();
        atomic_store_explicit(&path_in_use, path, memory_order_relaxed);
    }
    return (enum amb_path)path;
}

void amb_path_select(enum amb_path path) {
    assert(path < AMB_PATH_N && amb_path_available(path));
    atomic_store_explicit(&path_in_use, (int)path, memory_order_relaxed);
}

const struct amb_path_ops *amb_path_ops_get(void) {
    return paths[amb_path_get()].ops;
}

/* Rounds 1 and 2 as far as they do not depend on the block's low word; base/philox.h is the whole of them. */
static void run_begin(struct amb_normal_run *run, uint64_t key, uint32_t block_high, uint64_t counter) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint64_t p1 = (uint64_t)AMB_PHILOX_M1 * (uint32_t)counter, p0;

    run->counter = counter;
    run->block_high = block_high;
    for (unsigned i = 0; i < AMB_PHILOX_ROUNDS; i++) {
        run->k0[i] = k0 + i * AMB_PHILOX_W0;
        run->k1[i] = k1 + i * AMB_PHILOX_W1;
    }
    run->r1_x2 = (uint32_t)(counter >> 32) ^ run->k1[0];
    run->r2_x0 = (uint32_t)p1 ^ run->k0[1];
    p0 = (uint64_t)AMB_PHILOX_M0 * ((uint32_t)(p1 >> 32) ^ block_high ^ run->k0[0]);
    run->r2_x2 = (uint32_t)(p0 >> 32) ^ run->k1[1];
    run->r3_x2 = (uint32_t)p0 ^ run->k1[2];
}

void amb_normal_fill(float *out, size_t first, size_t n, uint64_t key, uint64_t counter) {
    const struct amb_path_ops *ops = amb_path_ops_get();
    struct amb_normal_run run;
    uint64_t block = first / 4;

    assert(first % AMB_NORMAL_GROUP == 0);
    while (n > 0) {
        uint64_t left = (((uint64_t)1 << 32) - (uint32_t)block) / 16; /* groups before the low word wraps */
        size_t n_groups = n / AMB_NORMAL_GROUP < left ? n / AMB_NORMAL_GROUP : (size_t)left;

        run_begin(&run, key, (uint32_t)(block >> 32), counter);
        if (n_groups == 0) {
            float last[AMB_NORMAL_GROUP];

            ops->fill(last, (uint32_t)block, 1, &run);
            memcpy(out, last, n * sizeof *out);
            return;
        }
        ops->fill(out, (uint32_t)block, n_groups, &run);
        out += n_groups * AMB_NORMAL_GROUP;
        n -= n_groups * AMB_NORMAL_GROUP;
        block += n_groups * 16;
    }
}
