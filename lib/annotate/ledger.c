/*
 * Ledger: for each sample two values and, in one byte, who set them; nine bytes a sample, nothing else.
 *
 * The byte holds the origin of sigma_min in its low and that of sigma_max in its high half. A value whose origin is
 * DEFAULT is not looked at. What is effective is decided when somebody asks: a side that nobody set is closed if the
 * other is set; with neither, the source's default holds. So the order in which sources of annotations arrive does
 * not matter across ranks, and in a rank the later record wins.
 *
 * Not here: durability (a journal replays records into a ledger) and the generations that were minted.
 */
#include "annotate/ledger.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"

struct ledger_source {
    uint32_t first, count; /* sample numbers */
    struct amb_annotation fallback;
};

struct amb_ledger {
    /* immutable after new */
    struct amb_catalog *catalog; /* a reference */
    uint32_t n_samples;
    size_t n_sources;
    struct ledger_source *sources; /* in order of sample numbers */

    /* one caller at a time */
    struct amb_annotation *values;
    uint8_t *origins; /* sigma_min | sigma_max << 4 */
    amb_ledger_tap tap; /* NULL: nobody listens */
    void *tap_opaque;
};

static const struct {
    const char *name;
    unsigned rank;
} origins[AMB_ORIGIN_N] = {
    [AMB_ORIGIN_DEFAULT] = {"default", 0},       [AMB_ORIGIN_SCORE] = {"score", 1},
    [AMB_ORIGIN_CROPS] = {"crops", 1},           [AMB_ORIGIN_CLASSIFIER] = {"classifier", 1},
    [AMB_ORIGIN_IMPORT] = {"import", 2},         [AMB_ORIGIN_FIXED] = {"fixed", 3},
};

const char *amb_origin_name(enum amb_origin origin) {
    assert((unsigned)origin < AMB_ORIGIN_N);
    return origins[origin].name;
}

static void ledger_freep(struct amb_ledger **ledger) {
    *ledger = amb_ledger_free(*ledger);
}

static int ledger_load_sources(struct amb_ledger *ledger, const struct amb_annotation *defaults,
                               struct amb_error *err) {
    for (size_t i = 0; i < ledger->n_sources; i++) {
        struct ledger_source *source = &ledger->sources[i];
        double repeat;
        const char *name = amb_catalog_source(ledger->catalog, i, &source->first, &source->count, &repeat);

        if (!(defaults[i].sigma_min >= 0 && defaults[i].sigma_max >= 0)) {
            return amb_fail(err, AMB_ERR_CONFIG, "default annotation of source '%s' is (%g, %g), allowed: sigmas >= 0",
                            name, (double)defaults[i].sigma_min, (double)defaults[i].sigma_max);
        }
        source->fallback = defaults[i];
    }
    return 0;
}

int amb_ledger_new(struct amb_ledger **out, struct amb_catalog *cat, const struct amb_annotation *defaults,
                   struct amb_error *err) {
    AMB_CLEANUP(ledger_freep) struct amb_ledger *ledger = amb_calloc(1, sizeof *ledger);
    const uint32_t n_samples = amb_catalog_count(cat);
    int r;

    if (ledger != NULL) {
        ledger->catalog = amb_catalog_ref(cat);
        ledger->n_samples = n_samples;
        ledger->n_sources = amb_catalog_count_sources(cat);
        ledger->sources = amb_calloc(ledger->n_sources + 1, sizeof *ledger->sources);
        ledger->values = amb_calloc((size_t)n_samples + 1, sizeof *ledger->values);
        ledger->origins = amb_calloc((size_t)n_samples + 1, sizeof *ledger->origins);
    }
    if (ledger == NULL || ledger->sources == NULL || ledger->values == NULL || ledger->origins == NULL) {
        return amb_fail(err, -ENOMEM, "out of memory for a ledger of %u samples", n_samples);
    }
    r = ledger_load_sources(ledger, defaults, err);
    if (r < 0) {
        return r;
    }
    *out = amb_steal_ptr(ledger);
    return 0;
}

struct amb_ledger *amb_ledger_free(struct amb_ledger *ledger) {
    if (ledger != NULL) {
        amb_free(ledger->origins);
        amb_free(ledger->values);
        amb_free(ledger->sources);
        amb_catalog_unref(ledger->catalog);
        amb_free(ledger);
    }
    return NULL;
}

struct amb_catalog *amb_ledger_peek_catalog(const struct amb_ledger *ledger) {
    return ledger->catalog;
}

static enum amb_origin origin_min(uint8_t pair) {
    return (enum amb_origin)(pair & 15);
}

static enum amb_origin origin_max(uint8_t pair) {
    return (enum amb_origin)(pair >> 4);
}

void amb_ledger_put(struct amb_ledger *ledger, uint32_t i_sample, enum amb_origin origin, enum amb_side sides,
                    struct amb_annotation value) {
    uint8_t *pair;

    assert(i_sample < ledger->n_samples);
    pair = &ledger->origins[i_sample];
    assert(origin > AMB_ORIGIN_DEFAULT && origin < AMB_ORIGIN_N);
    if ((sides & AMB_SIDE_MIN) != 0 && origins[origin].rank >= origins[origin_min(*pair)].rank) {
        assert(value.sigma_min >= 0); /* NaN fails too */
        ledger->values[i_sample].sigma_min = value.sigma_min + 0.0f; /* -0 becomes 0: one fingerprint */
        *pair = (uint8_t)((*pair & 0xf0) | origin);
    }
    if ((sides & AMB_SIDE_MAX) != 0 && origins[origin].rank >= origins[origin_max(*pair)].rank) {
        assert(value.sigma_max >= 0);
        ledger->values[i_sample].sigma_max = value.sigma_max + 0.0f;
        *pair = (uint8_t)((*pair & 0x0f) | origin << 4);
    }
    if (ledger->tap != NULL) {
        ledger->tap(ledger->tap_opaque, i_sample, origin, sides, value);
    }
}

void amb_ledger_set_tap(struct amb_ledger *ledger, amb_ledger_tap tap, void *opaque) {
    ledger->tap = tap;
    ledger->tap_opaque = opaque;
}

static struct amb_annotation ledger_effective(const struct amb_ledger *ledger, const struct ledger_source *source,
                                              uint32_t i_sample) {
    const uint8_t pair = ledger->origins[i_sample];
    struct amb_annotation value = ledger->values[i_sample];

    if (pair == 0) {
        return source->fallback;
    }
    if (origin_min(pair) == AMB_ORIGIN_DEFAULT) {
        value.sigma_min = INFINITY;
    }
    if (origin_max(pair) == AMB_ORIGIN_DEFAULT) {
        value.sigma_max = 0.0f;
    }
    return value;
}

/* The last source that begins at or before the sample; empty sources share their neighbour's first number. */
static const struct ledger_source *ledger_source_of(const struct amb_ledger *ledger, uint32_t i_sample) {
    size_t lo = 0, hi = ledger->n_sources;

    while (hi - lo > 1) {
        size_t middle = lo + (hi - lo) / 2;

        if (ledger->sources[middle].first <= i_sample) {
            lo = middle;
        } else {
            hi = middle;
        }
    }
    return &ledger->sources[lo];
}

struct amb_annotation amb_ledger_get(enum amb_origin *min_origin, enum amb_origin *max_origin,
                                     const struct amb_ledger *ledger, uint32_t i_sample) {
    assert(i_sample < ledger->n_samples);
    *min_origin = origin_min(ledger->origins[i_sample]);
    *max_origin = origin_max(ledger->origins[i_sample]);
    return ledger_effective(ledger, ledger_source_of(ledger, i_sample), i_sample);
}

void amb_ledger_count(uint64_t min_counts[AMB_ORIGIN_N], uint64_t max_counts[AMB_ORIGIN_N],
                      const struct amb_ledger *ledger) {
    memset(min_counts, 0, AMB_ORIGIN_N * sizeof *min_counts);
    memset(max_counts, 0, AMB_ORIGIN_N * sizeof *max_counts);
    for (uint32_t i = 0; i < ledger->n_samples; i++) {
        min_counts[origin_min(ledger->origins[i])]++;
        max_counts[origin_max(ledger->origins[i])]++;
    }
}

int amb_ledger_mint(struct amb_annotations **out, const struct amb_ledger *ledger, uint64_t number,
                    struct amb_error *err) {
    AMB_CLEANUP(amb_freep)
    struct amb_annotation *values = amb_malloc(((size_t)ledger->n_samples + 1) * sizeof *values);
    uint64_t n_set = 0;
    int r;

    if (values == NULL) {
        return amb_fail(err, -ENOMEM, "out of memory for annotations of %u samples", ledger->n_samples);
    }
    for (size_t i = 0; i < ledger->n_sources; i++) {
        const struct ledger_source *source = &ledger->sources[i];

        for (uint32_t j = source->first; j < source->first + source->count; j++) {
            values[j] = ledger_effective(ledger, source, j);
            n_set += ledger->origins[j] != 0;
        }
    }
    r = amb_annotations_new(out, values, ledger->n_samples, n_set, number, err);
    if (r < 0) {
        return r;
    }
    values = NULL; /* taken */
    return 0;
}
