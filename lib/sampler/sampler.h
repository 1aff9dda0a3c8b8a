#pragma once
/* Sampler: sigma first, then a sample admissible at it; never retries. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "sampler/orders.h"
#include "sampler/state.h"

#define AMB_SAMPLER_REPLACEMENTS 64u  /* DESIGN section 2: bad samples */
#define AMB_SAMPLER_SPARSE       64u  /* entries walked before a uniform draw takes over */
#define AMB_SAMPLER_GAP_MASS     0.01 /* most mass that gaps=truncate may drop */
#define AMB_SAMPLER_GAP_NONE     0x1p-40 /* less is rounding, also for gaps=error: a point has an ulp of mass */

struct amb_draw {
    uint64_t counter;     /* k, or XXH3-64('request', r, q, j): words 2-3 of every Philox counter of this draw */
    double s, s_n;        /* level and trust level, VE scale                                                   */
    uint32_t i_sample;
    float sigma_min, sigma_max;
    bool flip;
    bool request;         /* keys carry the purpose 'request'                                                  */
    uint8_t replaced;     /* 0; 1 replaced; set by the filler: 2 bad in `sequential`, 3 transient              */
};

/* One stream's sampler over one generation. Immutable after new: what moves is the state. */
struct amb_sampler;

struct amb_sampler_report {
    double gap_lo, gap_hi, gap_mass; /* mass of the schedule on levels that no sample admits */
    uint32_t n_intervals;
    uint64_t n_entries;              /* of one pass over everything: sum over samples of repeat; `sequential`: samples */
};

/**
 * Cut the s axis into intervals and check that the schedule is admitted.
 *
 * orders:  a reference is kept; made with amb_stream_options_buffer(options). `sequential` asks nothing of the gap, so
 *          a sampler for requests alone is best made with that policy.
 * Errors:  AMB_ERR_GAP (gaps=error, or more mass than AMB_SAMPLER_GAP_MASS) with the gap, its mass and the nearest
 *          levels that are admitted; AMB_ERR_CONFIG.
 * report:  may be NULL; filled also on AMB_ERR_GAP.
 */
int amb_sampler_new(struct amb_sampler **out, struct amb_orders *orders, const struct amb_stream_options *options,
                    struct amb_sampler_report *report, struct amb_error *err);
struct amb_sampler *amb_sampler_free(struct amb_sampler *sampler);

enum amb_sampler_outcome {
    AMB_SAMPLER_E_END = 1, /* `sequential` has no further sample: *n_drawn says how many were left */
};

/**
 * Draw the next n items of the stream and advance the state (k, cursors; not step).
 *
 * draws:    n of them, or NULL: only advance (cheap where the policy allows).
 * n_drawn:  n, or fewer at the end of `sequential`.
 * Returns:  0, AMB_SAMPLER_E_END, or AMB_ERR_STATE: the state has cursors for another number of intervals than this
 *           generation (it is damaged).
 * Stack:    about 100 KiB; allocates nothing.
 * Thread:   any, one caller for each state.
 */
int amb_sampler_draw(struct amb_draw *draws, size_t *n_drawn, const struct amb_sampler *sampler,
                     struct amb_state *state, size_t n);

/* Item j of request q of rank r: a uniform draw at s (VE scale). AMB_SAMPLER_E_NONE where no sample admits s. */
enum { AMB_SAMPLER_E_NONE = 2 };
int amb_sampler_request(struct amb_draw *out, const struct amb_sampler *sampler, uint64_t rank, uint64_t q, uint64_t j,
                        double s);

/* Replacement j (0..63) of a draw whose sample is bad: a uniform draw at its sigma; sets replaced = 1. Not for `sequential`.
 * Everything but the sample, sigma_min, sigma_max and s_n stays. Thread: any (workers). */
void amb_sampler_replace(struct amb_draw *draw, const struct amb_sampler *sampler, unsigned j);

/* Begin a new generation: new passes in all intervals, numbered behind all passes so far; k, step and q stay. */
void amb_sampler_adopt(struct amb_state *state, const struct amb_sampler *sampler);
