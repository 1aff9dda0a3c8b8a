/*
 * Edition: built beside the one that serves, immutable from then on, closed when nobody stands on it.
 *
 * Shards that did not change are shared with the edition before, and so is what its decoders found bad in them: a
 * sample does not become good because a neighbour was replaced.
 *
 * Not here: shape and fingerprint (dataset-shape.c), who stands on it (dataset.c), what is kept on disk (archive.c).
 */
#include "daemon/edition.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/dataset-shape.h"
#include "daemon/pace.h"
#include "daemon/premises.h"

static int edition_open_catalog(struct ambd_edition *edition, const struct ambd_edition_options *from,
                                struct amb_error *err) {
    const struct ambd_dataset_config *config = edition->options;
    AMB_CLEANUP(amb_freep) struct amb_source_options *sources = amb_calloc(config->n_sources, sizeof *sources);
    struct amb_catalog_options options = {
        .cache_dir = from->cache_dir,
        .n_threads = from->n_threads,
        .excludes = config->excludes,
        .n_excludes = config->n_excludes,
        .progress = from->progress,
        .opaque = from->progress_opaque,
        .before = from->before != NULL ? from->before->fill.catalog : NULL,
        .problem = from->problem,
        .problem_opaque = from->problem_opaque,
        .rest = from->pace != NULL ? ambd_pace_rest : NULL,
        .rest_opaque = from->pace,
    };

    if (sources == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %zu sources", config->n_sources);
    }
    for (size_t i = 0; i < config->n_sources; i++) {
        sources[i] = config->sources[i].options;
    }
    return amb_catalog_open(&edition->fill.catalog, sources, config->n_sources, &options, &edition->report, err);
}

static int edition_check_folders(const struct ambd_edition *edition, const struct ambd_edition_options *options,
                                 struct amb_error *err) {
    const struct ambd_premises premises = {.state_dir = options->state_dir, .cache_dir = options->cache_dir};
    int r = 0;

    for (size_t i = 0; i < amb_catalog_count_shards(edition->fill.catalog) && r == 0; i++) {
        enum amb_shard_format format;
        const char *path = amb_catalog_shard(edition->fill.catalog, i, &format, NULL, NULL);

        r = format == AMB_SHARD_FOLDER ? ambd_premises_check(&premises, path, err) : 0;
    }
    return r;
}

/* Shards come in the order of their sources, so one walk counts them; a shard without samples is the last
 * source's. */
static void edition_count_shards(struct ambd_edition *edition) {
    size_t n = amb_catalog_count_shards(edition->fill.catalog), i_source = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t first, count;

        amb_catalog_shard(edition->fill.catalog, i, NULL, &first, &count);
        while (count > 0 && i_source + 1 < edition->n_sources &&
               first >= edition->sources[i_source].first + edition->sources[i_source].count) {
            i_source++;
        }
        edition->n_shards[i_source]++;
    }
}

static int edition_get_sources(struct ambd_edition *edition, struct amb_error *err) {
    edition->n_sources = amb_catalog_count_sources(edition->fill.catalog);
    edition->sources = amb_calloc(edition->n_sources, sizeof *edition->sources);
    edition->n_shards = amb_calloc(edition->n_sources, sizeof *edition->n_shards);
    if (edition->sources == NULL || edition->n_shards == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %zu sources", edition->n_sources);
    }
    for (size_t i = 0; i < edition->n_sources; i++) {
        struct amb_orders_source *source = &edition->sources[i];

        amb_catalog_source(edition->fill.catalog, i, &source->first, &source->count, &source->repeat);
    }
    edition_count_shards(edition);
    return 0;
}

/* A sample that is the same in the same shard is as bad as it was; but not where another transform may take it, where it
 * was only the second of its key, nor where its file had changed: the shard would not be the same if it still had. */
static int edition_get_quarantine(struct ambd_edition *edition, const struct ambd_edition *before,
                                  struct amb_error *err) {
    bool is_same = before != NULL && before->fill.transform_hash == edition->fill.transform_hash;
    struct amb_quarantine_row row;
    int r = amb_quarantine_new(&edition->fill.quarantine, amb_catalog_count(edition->fill.catalog), err);

    for (uint64_t i = 0; r == 0 && is_same && amb_quarantine_get(&row, before->fill.quarantine, i) == 0; i++) {
        struct amb_error why = {.code = row.code};
        uint32_t i_sample;

        memcpy(why.message, row.reason, sizeof why.message);
        if (row.code != AMB_ERR_DUPLICATE && row.code != AMB_ERR_CHANGED &&
            amb_catalog_translate(&i_sample, edition->fill.catalog, before->fill.catalog, row.i_sample)) {
            amb_quarantine_put(edition->fill.quarantine, i_sample, &why);
        }
    }
    return r;
}

static int edition_build(struct ambd_edition *edition, const struct ambd_edition_options *options,
                         struct amb_error *err) {
    int r = edition_open_catalog(edition, options, err);

    r = r < 0 ? r : edition_check_folders(edition, options, err);
    r = r < 0 ? r : edition_get_sources(edition, err);
    r = r < 0 ? r : ambd_dataset_shape_get(&edition->fill, edition->options, options->limits, err);
    r = r < 0 ? r : edition_get_quarantine(edition, options->before, err);
    return r < 0 ? r : ambd_dataset_fingerprint_get(&edition->fingerprint, &edition->fill, edition->options, err);
}

int ambd_edition_open(struct ambd_edition **out, const struct ambd_edition_options *options, struct amb_error *err) {
    struct ambd_edition *edition = amb_calloc(1, sizeof *edition);
    int r;

    if (edition == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a dataset");
    }
    edition->config = ambd_config_ref(options->config);
    edition->options = options->options;
    edition->fill.cache = options->cache;
    ambd_shelf_init(&edition->shelf);
    r = edition_build(edition, options, err);
    if (r < 0) {
        ambd_edition_close(edition);
        return r;
    }
    *out = edition;
    return 0;
}

struct ambd_edition *ambd_edition_close(struct ambd_edition *edition) {
    if (edition == NULL) {
        return NULL;
    }
    ambd_shelf_deinit(&edition->shelf);
    amb_quarantine_free(edition->fill.quarantine);
    amb_free(edition->n_shards);
    amb_free(edition->sources);
    amb_catalog_unref(edition->fill.catalog);
    ambd_config_unref(edition->config);
    amb_free(edition);
    return NULL;
}

bool ambd_edition_same(const struct ambd_edition *a, const struct ambd_edition *b) {
    return amb_hash128_equal(&a->fingerprint, &b->fingerprint) && amb_catalog_same(a->fill.catalog, b->fill.catalog);
}

static const char *shape_kind(const struct amb_shape *shape) {
    return !shape->latent ? "pictures" : shape->latent_std ? "latents with a deviation" : "latents";
}

/* The slots are sealed, and the client has the keys of the noise: neither can change under a stream. */
int ambd_edition_fits(const struct ambd_edition *edition, const struct amb_shape *shape, uint64_t noise_seed,
                      struct amb_error *err) {
    const struct amb_shape *x = shape, *y = &edition->fill.shape;
    bool same_pictures = x->channels == y->channels && x->height == y->height && x->width == y->width &&
                         x->latent == y->latent && x->latent_std == y->latent_std && x->label_width == y->label_width;

    if (same_pictures && noise_seed == edition->fill.noise_seed) {
        return 0;
    }
    if (same_pictures) {
        return amb_fail(err, AMB_ERR_STATE, "noise seed %llu, this stream was subscribed under %llu: subscribe anew",
                        (unsigned long long)edition->fill.noise_seed, (unsigned long long)noise_seed);
    }
    return amb_fail(err, AMB_ERR_STATE,
                    "%s of %ux%ux%u with labels of %u numbers, this stream's slots are for %s of %ux%ux%u and %u: "
                    "subscribe anew",
                    shape_kind(y), y->channels, y->height, y->width, y->label_width,
                    shape_kind(x), x->channels, x->height, x->width, x->label_width);
}
