#pragma once
/* Level: neighbours among the levels that f64 can tell apart. */
#include <stdint.h>
#include <string.h>

/* Levels from 0 to inf as integers of the same order. */
static inline uint64_t amb_level_bits(double level) {
    uint64_t bits;

    memcpy(&bits, &level, sizeof bits);
    return bits;
}

static inline double amb_level_from_bits(uint64_t bits) {
    double level;

    memcpy(&level, &bits, sizeof level);
    return level;
}

static inline double amb_level_below(double level) { /* level > 0 */
    return amb_level_from_bits(amb_level_bits(level) - 1);
}

static inline double amb_level_above(double level) { /* 0 <= level < inf, not -0 */
    return amb_level_from_bits(amb_level_bits(level) + 1);
}
