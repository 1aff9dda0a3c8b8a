/*
 * Selection: samples that the request means, less those of which somebody of a higher rank has set the side in
 * question (trusted samples cost no evaluation), less those that have a record of the same kind already: from any job
 * or, where all are to be done again, from this one.
 */
#include "daemon/selection.h"

#include <errno.h>

#include "base/alloc.h"

enum want {
    WANT_SKIP,
    WANT_OWN, /* done by this job */
    WANT_YES,
};

static bool rank_is_higher(enum amb_origin origin) {
    return origin == AMB_ORIGIN_FIXED || origin == AMB_ORIGIN_IMPORT;
}

static enum want selection_want(struct ambd_selection *selection, const struct ambd_dataset *dataset,
                                const struct ambd_spec *spec, uint32_t i_sample, const struct amb_hash128 *uid) {
    const bool crops = spec->kind == AMBD_SPEC_CROPS;
    const enum amb_origin origin = crops ? AMB_ORIGIN_CROPS : AMB_ORIGIN_CLASSIFIER;
    struct amb_store_record records[AMB_ORIGIN_N];
    enum amb_origin min_origin, max_origin;
    size_t n;

    amb_ledger_get(&min_origin, &max_origin, dataset->ledger, i_sample);
    if (rank_is_higher(crops ? max_origin : min_origin)) {
        return WANT_SKIP;
    }
    amb_store_get(records, &n, dataset->store, uid, 0);
    for (size_t i = 0; i < n; i++) {
        if (records[i].origin == origin && records[i].sequence >= selection->start_sequence) {
            selection->n_evaluations += records[i].n_evaluations;
            return WANT_OWN;
        }
        if (records[i].origin == origin) {
            return spec->again ? WANT_YES : WANT_SKIP;
        }
    }
    return WANT_YES;
}

int ambd_selection_get(struct ambd_selection *out, const struct ambd_dataset *dataset, const struct ambd_spec *spec,
                       uint64_t start_sequence, struct amb_error *err) {
    const struct amb_catalog *catalog = dataset->filed->fill.catalog;
    const uint32_t n = amb_catalog_count(catalog);
    uint64_t counts[3] = {0};

    out->edition = dataset->filed;
    out->bits = amb_calloc((size_t)n / 64 + 1, sizeof *out->bits);
    if (out->bits == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to select among %u samples", n);
    }
    out->start_sequence = start_sequence != 0 ? start_sequence : amb_store_last_sequence(dataset->store) + 1;
    for (uint32_t i = 0; i < n; i++) {
        struct amb_hash128 uid = amb_catalog_uid(catalog, i);
        struct amb_sample_info info;
        enum want want;

        amb_catalog_get(&info, catalog, i);
        if (ambd_spec_matches(spec, &info, amb_catalog_source(catalog, info.i_source, NULL, NULL, NULL), &uid)) {
            want = selection_want(out, dataset, spec, i, &uid);
            counts[want]++;
            out->bits[i / 64] |= (uint64_t)(want == WANT_YES) << i % 64;
        }
    }
    out->n_selected = counts[WANT_YES];
    out->n_own = counts[WANT_OWN];
    out->n_skipped = counts[WANT_SKIP];
    return 0;
}

void ambd_selection_deinit(struct ambd_selection *selection) {
    amb_free(selection->bits);
    selection->bits = NULL;
}
