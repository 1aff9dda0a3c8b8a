#pragma once
/* Spec: what an annotation job is asked to do: the object of ANNOTATE, checked. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "annotate/grid.h"
#include "annotate/rule.h"
#include "annotate/search.h"
#include "base/error.h"
#include "codec/transform.h"
#include "shard/catalog.h"

#define AMBD_PROVIDERS_MAX 4u

enum ambd_spec_kind {
    AMBD_SPEC_CLASSIFIER, /* sigma_min by a noise-dependent classifier */
    AMBD_SPEC_CROPS,      /* sigma_max by one model for each patch size */
    AMBD_SPEC_N,
};
const char *ambd_spec_kind_name(enum ambd_spec_kind kind);

struct ambd_spec {
    cJSON *json; /* owned; strings point into it */
    enum ambd_spec_kind kind;
    const char *model;                     /* of a classifier */
    const char *models[AMB_RULE_CROPS_N];  /* of crops, by row of amb_rule_crops; NULL: not asked */
    enum amb_search_mode mode;
    struct amb_grid grid;  /* owned */
    const char *grid_path; /* of a file that is to be read into it; NULL: none is */
    uint64_t n_trials, span, column, seed, batch;
    int64_t priority; /* higher first */
    double epsilon, crop_threshold;
    double crop_sigmas[AMB_RULE_CROPS_N];
    bool curves;
    enum amb_resample resample; /* to the model's own size */
    const char *providers[AMBD_PROVIDERS_MAX];
    size_t n_providers; /* 0: those of the configuration */

    /* which samples */
    const char *source, *key; /* NULL: any */
    bool has_label;
    int64_t label;
    bool again;      /* those that have a record of this kind too */
    uint64_t part, n_parts;
};

/**
 * Check and take over. json is taken on success; dry_run and dataset are dropped from it, so that it can be kept.
 *
 * Errors: AMB_ERR_CONFIG with key, found, allowed.
 * Thread: any; reads no file.
 */
int ambd_spec_load(struct ambd_spec *out, cJSON *json, struct amb_error *err);
void ambd_spec_deinit(struct ambd_spec *spec); /* idempotent; also for AMB_CLEANUP */

/* Is there a source of the name asked for, if one is? AMB_ERR_CONFIG, with those that there are. Thread: any. */
int ambd_spec_check_source(const struct ambd_spec *spec, const struct amb_catalog *catalog, struct amb_error *err);

/* The sample is among those asked for, but for what is known of it. Thread: any. */
bool ambd_spec_matches(const struct ambd_spec *spec, const struct amb_sample_info *info, const char *source,
                       const struct amb_hash128 *uid);

/* No sample can be in both. */
bool ambd_spec_is_apart(const struct ambd_spec *a, const struct ambd_spec *b);
