#pragma once
/* State: everything that decides the next draws of a stream, small and bounded, as canonical JSON. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/process.h"
#include "sampler/schedule.h"

#define AMB_STATE_BYTES_MAX     8192u /* DESIGN section 2 */
#define AMB_STATE_FORMAT        1u
#define AMB_STATE_INTERVALS_MAX 64u
#define AMB_STATE_CODECS_BYTES  96u

enum amb_policy {
    AMB_POLICY_PASS,
    AMB_POLICY_UNIFORM,
    AMB_POLICY_SEQUENTIAL,
    AMB_POLICY_N,
};

enum amb_gaps {
    AMB_GAPS_TRUNCATE,
    AMB_GAPS_ERROR,
    AMB_GAPS_N,
};

/* The options that decide draws: part of the state, compared at resume. */
struct amb_stream_options {
    uint64_t seed;
    enum amb_process process;
    enum amb_policy policy;
    enum amb_gaps gaps;
    bool xflip;
    double s_max;                      /* > 1, or 0: not set (buffer = 1) */
    struct amb_schedule schedule;
};

#define AMB_STREAM_OPTIONS_DEFAULT                                                                           \
    ((struct amb_stream_options){                                                                            \
        .schedule = {.kind = AMB_SCHEDULE_LOGNORMAL, .scale = AMB_SCALE_S, .a = -1.2, .b = 1.2}})

struct amb_cursor {
    uint64_t pass, position;
};

struct amb_state {
    uint64_t k, step, q;
    uint32_t n_cursors;                /* one for each interval; 0 until the first draw of `pass` */
    struct amb_cursor cursors[AMB_STATE_INTERVALS_MAX];
    struct amb_hash128 dataset, annotations; /* fingerprints under which the next draw is made */
    char codecs[AMB_STATE_CODECS_BYTES];
    struct amb_stream_options options;
};

double amb_stream_options_buffer(const struct amb_stream_options *options); /* sqrt(1 + 1/(s_max-1)) or 1 */

/**
 * JSON of the options alone, as the protocol carries them: {"seed":0,"process":"ve",...} (proto/state.md).
 *
 * out:      keys that are absent keep what *out holds; the caller sets AMB_STREAM_OPTIONS_DEFAULT first.
 * Errors:   AMB_ERR_CONFIG with the nearest known key or what is allowed, AMB_ERR_UNSUPPORTED (a curriculum),
 *           AMB_ERR_FORMAT (no JSON); *out is then as it was.
 */
int amb_stream_options_decode(struct amb_stream_options *out, const char *json, size_t bytes, struct amb_error *err);
/* Canonical; returns as amb_state_encode. */
int amb_stream_options_encode(char *out, size_t out_bytes, const struct amb_stream_options *options);

/* Canonical JSON: same state, same bytes. Returns its length (without terminator) or -ENOSPC. No allocation. */
int amb_state_encode(char *out, size_t out_bytes, const struct amb_state *state);
/* AMB_ERR_VERSION format unknown; AMB_ERR_UNSUPPORTED a curriculum; AMB_ERR_STATE damaged. Any key order and spacing is
 * accepted, every key must be there. */
int amb_state_decode(struct amb_state *out, const char *json, size_t bytes, struct amb_error *err);

/* AMB_ERR_STATE that names the first option that differs and both values, else 0. */
int amb_state_check_options(const struct amb_state *state, const struct amb_stream_options *options,
                            struct amb_error *err);
