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
        .dataset = &target->dataset->fill,
        .sampler = target->sampler,
        .layout = layout,
        .options = subscription->options,
        .weight = subscription->weight,
    };
    amb_fill_keys_get(&target->fill.keys, target->dataset->fill.noise_seed, subscription->options.seed);
}

int ambd_target_new(struct ambd_target **out, struct ambd_generation *generation,
                    const struct ambd_subscription *subscription, const struct amb_layout *layout,
                    struct amb_sampler_report *report, struct amb_error *err) {
    struct ambd_dataset *dataset = subscription->dataset;
    struct ambd_target *target = amb_calloc(1, sizeof *target);
    struct amb_stream_options options = subscription->options;
    int r;

    if (target == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a stream");
    }
    target->n_refs = 1;
    target->dataset = dataset;
    target->generation = generation;
    r = ambd_shelf_acquire(&target->orders, &dataset->shelf, generation->annotations, dataset->sources,
                           dataset->n_sources, amb_stream_options_buffer(&subscription->options), err);
    options.policy =
        subscription->request_mode ? AMB_POLICY_SEQUENTIAL : options.policy; /* asks nothing of gaps */
    r = r < 0 ? r : amb_sampler_new(&target->sampler, target->orders, &options, &target->report, err);
    *report = target->report;
    if (r < 0) {
        ambd_shelf_release(&dataset->shelf, target->orders);
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
    ambd_shelf_release(&target->dataset->shelf, target->orders);
    ambd_dataset_unpin(target->dataset, target->generation, n_kept);
    amb_free(target);
    return NULL;
}
