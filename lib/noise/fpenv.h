#pragma once
/* Fpenv: rounding to nearest and subnormals kept, whatever a foreign library left in this thread. */
#include <stdint.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* Libraries built for fast mathematics switch FTZ and DAZ on where they are loaded; threads inherit it. */
struct amb_fpenv {
    uint64_t control; /* MXCSR or FPCR as found */
};

#if defined(__x86_64__)

#define AMB_FPENV_PLAIN 0x1f80u /* MXCSR at start: exceptions masked, nearest, no FTZ, no DAZ */
#define AMB_FPENV_FLAGS 0x3fu   /* sticky exception flags: of no consequence */

static inline uint64_t amb_fpenv_peek(void) {
    return _mm_getcsr() & ~AMB_FPENV_FLAGS;
}

static inline void amb_fpenv_put(uint64_t control) {
    _mm_setcsr((uint32_t)control);
}

#elif defined(__aarch64__)

#define AMB_FPENV_PLAIN 0u

static inline uint64_t amb_fpenv_peek(void) {
    uint64_t control;

    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}

static inline void amb_fpenv_put(uint64_t control) {
    __asm__ volatile("msr fpcr, %0" : : "r"(control));
}

#else

#define AMB_FPENV_PLAIN 0u

static inline uint64_t amb_fpenv_peek(void) {
    return AMB_FPENV_PLAIN;
}

static inline void amb_fpenv_put(uint64_t control) {
    (void)control;
}

#endif

/* Make the environment plain; give the result to release. Thread: any. */
static inline struct amb_fpenv amb_fpenv_acquire(void) {
    struct amb_fpenv found = {amb_fpenv_peek()};

    if (found.control != AMB_FPENV_PLAIN) {
        amb_fpenv_put(AMB_FPENV_PLAIN);
    }
    return found;
}

static inline void amb_fpenv_release(struct amb_fpenv found) {
    if (found.control != AMB_FPENV_PLAIN) {
        amb_fpenv_put(found.control);
    }
}
