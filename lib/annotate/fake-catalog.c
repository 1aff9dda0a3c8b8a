/*
 * Fake catalog: the functions of shard/catalog.h that annotations use, with the order of lookup that the header
 * promises. Names are found by linear search, or by their number in a numbered catalog.
 */
#include "annotate/fake-catalog.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_SOURCES_MAX 8

struct amb_catalog {
    int n_refs;
    uint32_t n_samples;
    const struct fake_sample *samples; /* NULL: numbered */
    char (*keys)[8];                   /* of a numbered catalog */
    size_t n_sources;
    struct {
        const char *name;
        uint32_t first, count;
    } sources[FAKE_SOURCES_MAX];
};

struct amb_catalog *fake_catalog_new(const struct fake_sample *samples, uint32_t n_samples) {
    struct amb_catalog *cat = calloc(1, sizeof *cat);

    assert(cat != NULL);
    cat->n_refs = 1;
    cat->samples = samples;
    cat->n_samples = n_samples;
    for (uint32_t i = 0; i < n_samples; i++) {
        if (cat->n_sources == 0 || strcmp(samples[i].source, cat->sources[cat->n_sources - 1].name) != 0) {
            assert(cat->n_sources < FAKE_SOURCES_MAX);
            cat->sources[cat->n_sources].name = samples[i].source;
            cat->sources[cat->n_sources++].first = i;
        }
        cat->sources[cat->n_sources - 1].count++;
    }
    return cat;
}

struct amb_catalog *fake_catalog_new_numbered(uint32_t n_samples) {
    struct amb_catalog *cat = calloc(1, sizeof *cat);

    assert(cat != NULL && n_samples <= 10000000);
    cat->n_refs = 1;
    cat->n_samples = n_samples;
    cat->n_sources = 1;
    cat->sources[0].name = "main";
    cat->sources[0].count = n_samples;
    cat->keys = calloc(n_samples, sizeof *cat->keys);
    assert(cat->keys != NULL);
    for (uint32_t i = 0; i < n_samples; i++) {
        for (uint32_t j = 0, rest = i; j < 7; j++, rest /= 10) {
            cat->keys[i][6 - j] = (char)('0' + rest % 10);
        }
    }
    return cat;
}

struct amb_catalog *amb_catalog_ref(struct amb_catalog *cat) {
    cat->n_refs++;
    return cat;
}

struct amb_catalog *amb_catalog_unref(struct amb_catalog *cat) {
    if (cat != NULL && --cat->n_refs == 0) {
        free(cat->keys);
        free(cat);
    }
    return NULL;
}

uint32_t amb_catalog_count(const struct amb_catalog *cat) {
    return cat->n_samples;
}

size_t amb_catalog_count_sources(const struct amb_catalog *cat) {
    return cat->n_sources;
}

const char *amb_catalog_source(const struct amb_catalog *cat, size_t i_source, uint32_t *first, uint32_t *count,
                               double *repeat) {
    *first = cat->sources[i_source].first;
    *count = cat->sources[i_source].count;
    *repeat = 1;
    return cat->sources[i_source].name;
}

void amb_catalog_get(struct amb_sample_info *out, const struct amb_catalog *cat, uint32_t i_sample) {
    size_t i_source = 0;

    assert(i_sample < cat->n_samples);
    while (i_sample >= cat->sources[i_source].first + cat->sources[i_source].count) {
        i_source++;
    }
    *out = (struct amb_sample_info){.i_source = (uint32_t)i_source, .label = AMB_LABEL_NONE};
    out->key = cat->samples != NULL ? cat->samples[i_sample].key : cat->keys[i_sample];
    out->key_bytes = strlen(out->key);
    out->label = cat->samples != NULL ? cat->samples[i_sample].label : AMB_LABEL_NONE;
}

const char *amb_catalog_peek_path(size_t *bytes, const struct amb_catalog *cat, uint32_t i_sample) {
    const char *path = cat->samples != NULL ? cat->samples[i_sample].path : cat->keys[i_sample];

    *bytes = strlen(path);
    return path;
}

static bool same(const char *text, size_t text_bytes, const char *name, size_t name_bytes) {
    return text_bytes == name_bytes && memcmp(text, name, name_bytes) == 0;
}

static bool fake_matches(const struct fake_sample *sample, unsigned rule, const char *name, size_t name_bytes) {
    const char *slash = strrchr(sample->path, '/'), *base = slash != NULL ? slash + 1 : sample->path;
    char full[256];
    int n;

    switch (rule) {
    case 0:
        n = snprintf(full, sizeof full, "%s/%s", sample->source, sample->key);
        return same(full, (size_t)n, name, name_bytes);
    case 1:
        return same(sample->key, strlen(sample->key), name, name_bytes);
    case 2:
        return same(sample->path, strlen(sample->path), name, name_bytes);
    case 3:
        return same(base, strlen(base), name, name_bytes);
    default:
        return same(base, strcspn(base, "."), name, name_bytes);
    }
}

int amb_catalog_load_names(struct amb_catalog *cat, struct amb_error *err) {
    (void)cat;
    (void)err;
    return 0;
}

uint32_t amb_catalog_find(uint32_t *i_sample, struct amb_catalog *cat, const char *name, size_t name_bytes) {
    uint32_t n = 0;

    if (cat->samples == NULL) {
        uint32_t number = 0;

        for (size_t i = 0; i < 7 && i < name_bytes && name[i] >= '0' && name[i] <= '9'; i++) {
            number = number * 10 + (uint32_t)(name[i] - '0');
        }
        if (number >= cat->n_samples || name_bytes < 7 || memcmp(cat->keys[number], name, 7) != 0 ||
            (name_bytes != 7 && !same(".png", 4, name + 7, name_bytes - 7))) {
            return 0;
        }
        *i_sample = number;
        return 1;
    }
    for (unsigned rule = 0; rule < 5 && n == 0; rule++) {
        for (uint32_t i = 0; i < cat->n_samples; i++) {
            if (fake_matches(&cat->samples[i], rule, name, name_bytes)) {
                *i_sample = n++ == 0 ? i : *i_sample;
            }
        }
    }
    return n;
}
