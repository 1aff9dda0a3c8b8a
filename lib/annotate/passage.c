/*
 * Passage: an autoregressive walk before an absorbing barrier, its density carried forward on cells.
 *
 * The smoothed curve of the dense method is e' = (1 - w) e + w p with p close to normal (a mean over trials). The cells
 * cover a range above the threshold: mass that falls below has crossed. As long as the mean is several stationary
 * deviations above it nothing can cross, and only the mean is carried forward. A step moves each cell's mass to where its mean goes, shared between
 * the two nearest cells, then spreads it with the kernel of the innovation, whose variance is lessened by what the
 * sharing spread already. So the rule's lag, and its habit of crossing early on noise, come out as they are, and
 * without a random number.
 */
#include "annotate/passage.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define CELLS      96u
#define KERNEL     24   /* cells to each side */
#define RANGE_SDS  9.0  /* of the stationary spread of e */
#define RANGE_MIN  0.02
#define RANGE_MAX  0.4
#define RANGE_LOOKS 64u
#define FAR_SHARE  0.75 /* of the range: seven stationary deviations above the barrier */
#define SD_MIN     1e-4

struct walk {
    double mass[CELLS + 2 * KERNEL], next[CELLS + 2 * KERNEL]; /* cell i lies at i + KERNEL */
    double threshold, cell, weight;
};

/* Mass of one step's innovation; 0 cells wide where it is finer than a cell. */
static int kernel_get(double kernel[2 * KERNEL + 1], double sd_cells) {
    double variance = sd_cells * sd_cells - 1.0 / 6.0, sum = 1; /* of sharing, on average */
    int n = 0;

    kernel[KERNEL] = 1;
    if (variance > 0.02) {
        n = (int)ceil(4 * sqrt(variance));
        n = n < 1 ? 1 : n > KERNEL ? KERNEL : n;
    }
    for (int i = 1; i <= n; i++) {
        kernel[KERNEL + i] = kernel[KERNEL - i] = exp(-0.5 * i * i / variance);
        sum += 2 * kernel[KERNEL + i];
    }
    for (int i = -n; i <= n; i++) {
        kernel[KERNEL + i] /= sum;
    }
    return n;
}

static void walk_move(struct walk *walk, double mean) {
    const double shift = walk->weight * (mean - walk->threshold) / walk->cell;

    memset(walk->next, 0, sizeof walk->next);
    for (size_t i = 0; i < CELLS; i++) {
        double at = (1 - walk->weight) * ((double)i + 0.5) + shift - 0.5 + KERNEL; /* of the cell's middle */
        double mass = walk->mass[i + KERNEL], share;
        size_t to;

        if (mass < 1e-15) {
            continue;
        }
        at = at < 0 ? 0 : at > CELLS - 1 + KERNEL ? CELLS - 1 + KERNEL : at;
        to = (size_t)at;
        share = at - (double)to;
        walk->next[to] += mass * (1 - share);
        walk->next[to + 1] += mass * share;
    }
}

static void walk_spread(struct walk *walk, double sd) {
    double kernel[2 * KERNEL + 1];
    int n = kernel_get(kernel, sd / walk->cell);

    memset(walk->mass, 0, sizeof walk->mass);
    for (int i = n; i < (int)(CELLS + 2 * KERNEL) - n; i++) {
        if (walk->next[i] < 1e-15) {
            continue;
        }
        for (int k = -n; k <= n; k++) {
            walk->mass[i + k] += walk->next[i] * kernel[KERNEL + k];
        }
    }
    for (int i = 0; i < n; i++) {
        walk->mass[i] += walk->next[i]; /* far below the barrier: where it lies does not matter */
    }
    for (size_t i = CELLS + KERNEL; i < CELLS + 2 * KERNEL; i++) {
        walk->mass[CELLS - 1 + KERNEL] += walk->mass[i] + (i >= CELLS + 2 * KERNEL - (size_t)n ? walk->next[i] : 0);
        walk->mass[i] = 0;
    }
}

/* What lies below the barrier has crossed. */
static double walk_absorb(struct walk *walk) {
    double crossed = 0;

    for (size_t i = 0; i < KERNEL; i++) {
        crossed += walk->mass[i];
        walk->mass[i] = 0;
    }
    return crossed;
}

/* `mass` at `value`, spread by sd. */
static void walk_begin(struct walk *walk, double value, double mass, double sd) {
    double at = (value - walk->threshold) / walk->cell - 0.5 + KERNEL;

    memset(walk->next, 0, sizeof walk->next);
    at = at < 0 ? 0 : at > CELLS - 1 + KERNEL ? CELLS - 1 + KERNEL : at;
    walk->next[(size_t)(at + 0.5)] = mass;
    walk_spread(walk, sd);
}

/* Mean of what has not crossed. */
static double walk_mean(const struct walk *walk) {
    double sum = 0, moment = 0;

    for (size_t i = 0; i < CELLS; i++) {
        sum += walk->mass[i + KERNEL];
        moment += walk->mass[i + KERNEL] * ((double)i + 0.5);
    }
    return walk->threshold + walk->cell * (sum > 0 ? moment / sum : 0);
}

static double range_get(size_t first, size_t last, double stationary, unsigned n_trials, amb_passage_mean mean,
                        void *opaque) {
    double m, variance, worst = 0, range;

    for (size_t i = first; i <= last; i += (last - first) / RANGE_LOOKS + 1) {
        mean(&m, &variance, opaque, i);
        worst = variance > worst ? variance : worst;
    }
    range = RANGE_SDS * stationary * sqrt(worst / n_trials);
    return range < RANGE_MIN ? RANGE_MIN : range > RANGE_MAX ? RANGE_MAX : range;
}

/* Far above the barrier the walk is as good as its mean: `value`, with `alive` not crossed. */
static void passage_step(struct walk *walk, bool *far, double *value, double alive, double m, double sd, bool first) {
    const double stationary = sqrt(walk->weight / (2 - walk->weight)), near = FAR_SHARE * walk->cell * CELLS;

    if (first) {
        *value = m;
        *far = m - walk->threshold > near;
        if (!*far) {
            walk_begin(walk, m, 1, sd);
        }
        return;
    }
    if (*far) {
        *value += walk->weight * (m - *value);
        if (*value - walk->threshold <= near) {
            *far = false;
            walk_begin(walk, *value, alive, stationary * sd);
        }
        return;
    }
    walk_move(walk, m);
    walk_spread(walk, walk->weight * sd);
    *value = walk_mean(walk);
    *far = *value - walk->threshold > near + 2 * walk->cell;
}

void amb_passage_get(struct amb_passage *out, size_t first, size_t last, double threshold, unsigned span,
                     unsigned n_trials, amb_passage_mean mean, void *opaque) {
    struct walk walk = {.threshold = threshold, .weight = 2.0 / (span + 1.0)};
    double m, variance, value = 0, crossed = 0;
    bool far = false, has_lo = false, has_median = false;

    *out = (struct amb_passage){last, last, last};
    walk.cell = range_get(first, last, sqrt(walk.weight / (2 - walk.weight)), n_trials, mean, opaque) / CELLS;
    for (size_t i = first; i <= last; i++) {
        double sd;

        mean(&m, &variance, opaque, i);
        sd = sqrt(variance / n_trials);
        passage_step(&walk, &far, &value, 1 - crossed, m, sd < SD_MIN ? SD_MIN : sd, i == first);
        if (far) {
            continue;
        }
        crossed += walk_absorb(&walk);
        if (!has_lo && crossed >= 0.05) {
            out->lo = i;
            has_lo = true;
        }
        if (!has_median && crossed >= 0.5) {
            out->median = i;
            has_median = true;
        }
        if (crossed >= 0.95) {
            out->hi = i;
            return;
        }
    }
}
