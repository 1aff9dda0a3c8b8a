#pragma once
/* Normal: counter-based standard normals, bit-identical on every path. */
#include <stddef.h>
#include <stdint.h>

/*
 * Element e of the array with (key, counter) lies in group g = e / 64: with r = e % 64, it is output r / 16
 * of Philox block 16 g + r % 16. The block's words (w0, w1) give outputs 0 and 1 by Box-Muller, (w2, w3) give
 * 2 and 3: the exact rule, polynomials and order of operations are in base/boxmuller.h and proto/noise.md.
 */
#define AMB_NORMAL_GROUP 64u

/**
 * Fill out[0 .. n) with elements first .. first + n of the array (key, counter).
 *
 * first:  a multiple of AMB_NORMAL_GROUP. n: any; the rest of the last group is not written.
 * Thread: any.
 */
void amb_normal_fill(float *out, size_t first, size_t n, uint64_t key, uint64_t counter);

/* Code paths. "scalar" is the reference; auto picks the fastest that the processor has. */
enum amb_path {
    AMB_PATH_SCALAR,
    AMB_PATH_AVX2,
    AMB_PATH_AVX512,
    AMB_PATH_NEON,
    AMB_PATH_N,
};
const char *amb_path_name(enum amb_path path);
int amb_path_available(enum amb_path path); /* 1 or 0 */
enum amb_path amb_path_get(void);           /* in use; first call reads AMBIENTD_PATH from the environment */
void amb_path_select(enum amb_path path);   /* tests and benches; asserts that it is available */
