#pragma once
/* Subscription: what a client asks of a stream, parsed and checked, nothing allocated for it but its moves.
 */
#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "base/error.h"
#include "batch/layout.h"
#include "batch/slab.h"
#include "daemon/dataset.h"
#include "noise/weight.h"
#include "sampler/state.h"

#define AMBD_SLOTS_DEFAULT  4u
#define AMBD_GLOBAL_BATCH_MAX (1u << 22) /* of all ranks: each draws all of them, some 0.4 s. Not tuned */
#define AMBD_WORLD_SIZE_MAX (1u << 20) /* not tuned */
#define AMBD_MOVES_MAX      4096u      /* a frame holds fewer */

/* From `step` on these fingerprints hold. */
struct ambd_move_request {
    uint64_t step;
    bool has_dataset, has_annotations; /* not given: the present one */
    struct amb_hash128 dataset, annotations;
};

struct ambd_subscription {
    struct ambd_dataset *dataset;
    bool request_mode, follow, strict, has_state;
    bool continues; /* on_generation_change: where the state's generation cannot be had, begin passes on the present one */
    uint64_t noise_seed; /* of the samples that the layout is for */
    struct amb_stream_options options;
    uint32_t batch_size, n_slots;
    uint64_t rank, world_size;
    enum amb_weight weight;
    uint64_t n_steps;                /* of this session; 0: no end */
    double n_passes;                 /* 0: no end */
    struct ambd_move_request *moves; /* owned; rising steps */
    size_t n_moves;
    struct amb_state state;   /* to resume at, where has_state */
    struct amb_layout layout; /* fields pushed, not placed */
};

/**
 * Parse SUBSCRIBE.
 *
 * dataset: as named by the request, already found.
 * Errors:  AMB_ERR_CONFIG with the key, what was found and what is allowed; AMB_ERR_STATE, AMB_ERR_VERSION of
 * state. Thread:  loop.
 */
int ambd_subscription_decode(struct ambd_subscription *out, const cJSON *json, struct ambd_dataset *dataset,
                             struct amb_error *err);
void ambd_subscription_deinit(struct ambd_subscription *subscription); /* idempotent */

/* {"step","dataset","annotations"} of ADVANCE and of `moves`. */
int ambd_move_request_decode(struct ambd_move_request *out, const cJSON *json, const char *where,
                             struct amb_error *err);

/* AMB_ERR_CONFIG where the schedule can give a level at which the weight, or x_t itself, is infinite. Thread:
 * any. */
int ambd_subscription_check_levels(const struct ambd_subscription *subscription, struct amb_error *err);

/* The same for one level that a client sends. */
int ambd_subscription_check_level(const struct ambd_subscription *subscription, double s,
                                  struct amb_error *err);
