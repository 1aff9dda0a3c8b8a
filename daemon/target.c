/*
 * Target: immutable once built, so workers read it while the loop lets go of it by count.
 *
 * A session that answers requests gets a sampler that does not check the schedule against gaps: the client
 * sends the levels, and each request is checked by itself.
 */
#include "daemon/target.h"

#include <errno.h>

#include "base/alloc.h"

static void target_set_fill(struct ambd_target *target, const struct ambd_subscription *subscription,
                            const struct amb_layout *layout) {
    target->fill = (struct amb_fill_stream){
        .dataset = &target->generation->edition->fill,
        .sampler = target->sampler,
        .layout = layout,
        .options = subscription->options,
        .weight = subscription->weight,
    };
    amb_fill_keys_get(&target->fill.keys, target->generation->edition->fill.noise_seed, subscription->options.seed);
}

int ambd_target_new(struct ambd_target **out, struct ambd_generation *generation,
                    const struct ambd_subscription *subscription, const struct amb_layout *layout,
                    struct amb_sampler_report *report, struct amb_error *err) {
    struct ambd_edition *edition = generation->edition;
    struct ambd_target *target = amb_calloc(1, sizeof *target);
    struct amb_stream_options options = subscription->options;
    int r;

    if (target == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a stream");
    }
    target->n_refs = 1;
    target->dataset = subscription->dataset;
    target->generation = generation;
    r = ambd_edition_fits(edition, &layout->shape, subscription->noise_seed, err);
    r = r < 0 ? r
              : ambd_shelf_acquire(&target->orders, &edition->shelf, generation->annotations, edition->sources,
                                   edition->n_sources, amb_stream_options_buffer(&subscription->options), err);
    options.policy =
        subscription->request_mode ? AMB_POLICY_SEQUENTIAL : options.policy; /* asks nothing of gaps */
    r = r < 0 ? r : amb_sampler_new(&target->sampler, target->orders, &options, &target->report, err);
    *report = target->report;
    if (r < 0) {
        ambd_shelf_release(&edition->shelf, target->orders);
        amb_free(target);
        return r;
    }
    target_set_fill(target, subscription, layout);
    *out = target;
    return 0;
}

struct ambd_target *ambd_target_ref(struct ambd_target *target) {
    target->n_refs++;
    return target;
}

struct ambd_target *ambd_target_unref(struct ambd_target *target, uint64_t n_kept) {
    if (target == NULL || --target->n_refs > 0) {
        return NULL;
    }
    amb_sampler_free(target->sampler);
    ambd_shelf_release(&target->generation->edition->shelf, target->orders);
    ambd_dataset_unpin(target->dataset, target->generation, n_kept);
    amb_free(target);
    return NULL;
}

bool ambd_target_adopt(struct amb_state *state, const struct ambd_target *target) {
    const struct amb_hash128 *dataset = &target->generation->edition->fingerprint,
                             *annotations = &target->generation->annotations->fingerprint;

    if (amb_hash128_equal(&state->dataset, dataset) && amb_hash128_equal(&state->annotations, annotations)) {
        return false;
    }
    state->dataset = *dataset;
    state->annotations = *annotations;
    amb_sampler_adopt(state, target->sampler);
    return true;
}
