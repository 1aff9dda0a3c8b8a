/*
 * Crops: every tile of every size becomes a canvas of its own in a batch; which of them look like the target says up
 * to which noise level out-of-distribution data may be used (rule.c).
 */
#include "annotate/crops.h"

#include <errno.h>
#include <math.h>
#include <sha256.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

struct amb_crops {
    struct amb_model *models[AMB_RULE_CROPS_N];
    uint32_t channels, height, width;
    size_t n_elements;
    float *base, *x, *sigma, *p;
    void *labels;
};

static size_t tiles_count(const struct amb_crops *crops, unsigned row) {
    const size_t size = amb_rule_crops[row].size;

    return ((crops->height + size - 1) / size) * ((crops->width + size - 1) / size);
}

static int crops_check(const struct amb_crops *crops, struct amb_error *err) {
    for (unsigned i = 0; i < AMB_RULE_CROPS_N; i++) {
        const struct amb_model_info *info = crops->models[i] != NULL ? amb_model_peek(crops->models[i]) : NULL;

        if (info != NULL && (info->channels != crops->channels || info->height != crops->height ||
                             info->width != crops->width)) {
            return amb_fail(err, AMB_ERR_CONFIG,
                            "the model for patches of %u takes %u x %u x %u (channels, height, width), the samples are "
                            "%u x %u x %u",
                            amb_rule_crops[i].size, info->channels, info->height, info->width, crops->channels,
                            crops->height, crops->width);
        }
        if (info != NULL && info->labels == AMB_MODEL_LABELS_VECTOR) {
            return amb_fail(err, AMB_ERR_CONFIG, "the model for patches of %u takes label vectors, allowed: none or i64",
                            amb_rule_crops[i].size);
        }
    }
    return 0;
}

int amb_crops_new(struct amb_crops **out, struct amb_model *const models[AMB_RULE_CROPS_N], uint32_t channels,
                  uint32_t height, uint32_t width, struct amb_error *err) {
    struct amb_crops *crops = amb_calloc(1, sizeof *crops);
    int r;

    if (crops == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for crops");
    }
    memcpy(crops->models, models, sizeof crops->models);
    crops->channels = channels;
    crops->height = height;
    crops->width = width;
    crops->n_elements = (size_t)channels * height * width;
    r = crops_check(crops, err);
    crops->base = amb_malloc(crops->n_elements * sizeof *crops->base);
    crops->x = amb_malloc(AMB_CROPS_BATCH * crops->n_elements * sizeof *crops->x);
    crops->sigma = amb_calloc(AMB_CROPS_BATCH, sizeof *crops->sigma);
    crops->p = amb_calloc(AMB_CROPS_BATCH, sizeof *crops->p);
    crops->labels = amb_calloc(AMB_CROPS_BATCH, sizeof(int64_t));
    if (r == 0 && (crops->base == NULL || crops->x == NULL || crops->sigma == NULL || crops->p == NULL ||
                   crops->labels == NULL)) {
        r = amb_fail(err, -ENOMEM, "no memory for %u patches", AMB_CROPS_BATCH);
    }
    if (r < 0) {
        amb_crops_free(crops);
        return r;
    }
    for (size_t i = 0; i < AMB_CROPS_BATCH; i++) {
        crops->sigma[i] = AMB_CROPS_SIGMA;
    }
    *out = crops;
    return 0;
}

struct amb_crops *amb_crops_free(struct amb_crops *crops) {
    if (crops != NULL) {
        amb_free(crops->base);
        amb_free(crops->x);
        amb_free(crops->sigma);
        amb_free(crops->p);
        amb_free(crops->labels);
        amb_free(crops);
    }
    return NULL;
}

void amb_crops_identify(char out[65], const struct amb_crops *crops) {
    const char *only = NULL;
    unsigned n = 0;
    SHA256_CTX sha;

    SHA256Init(&sha);
    for (unsigned i = 0; i < AMB_RULE_CROPS_N; i++) {
        char line[80];

        if (crops->models[i] != NULL) {
            only = amb_model_peek(crops->models[i])->sha256;
            snprintf(line, sizeof line, "%u:%s\n", amb_rule_crops[i].size, only);
            SHA256Update(&sha, (const uint8_t *)line, strlen(line));
            n++;
        }
    }
    if (n == 1) {
        memcpy(out, only, 65);
    } else {
        SHA256End(&sha, out);
    }
}

size_t amb_crops_count(const struct amb_crops *crops) {
    size_t n = 0;

    for (unsigned i = 0; i < AMB_RULE_CROPS_N; i++) {
        n += crops->models[i] != NULL ? tiles_count(crops, i) : 0;
    }
    return n;
}

/* Canvas with tile number `i_tile` of size N alone. */
static void tile_copy(float *x, const struct amb_crops *crops, size_t size, size_t i_tile) {
    const size_t n_columns = (crops->width + size - 1) / size, top = i_tile / n_columns * size;
    const size_t left = i_tile % n_columns * size;
    const size_t bottom = top + size < crops->height ? top + size : crops->height;
    const size_t columns = left + size < crops->width ? size : crops->width - left;

    memset(x, 0, crops->n_elements * sizeof *x);
    for (uint32_t c = 0; c < crops->channels; c++) {
        for (size_t y = top; y < bottom; y++) {
            size_t at = ((size_t)c * crops->height + y) * crops->width + left;

            memcpy(x + at, crops->base + at, columns * sizeof *x);
        }
    }
}

static int crops_run_size(double *q, struct amb_crops *crops, unsigned row, struct amb_error *err) {
    const size_t n_tiles = tiles_count(crops, row), size = amb_rule_crops[row].size;
    double sum = 0;

    for (size_t at = 0; at < n_tiles; at += AMB_CROPS_BATCH) {
        size_t n = n_tiles - at < AMB_CROPS_BATCH ? n_tiles - at : AMB_CROPS_BATCH;
        int r;

        for (size_t i = 0; i < n; i++) {
            tile_copy(crops->x + i * crops->n_elements, crops, size, at + i);
        }
        r = amb_model_run(crops->p, crops->models[row], crops->x, crops->sigma,
                          amb_model_peek(crops->models[row])->labels == AMB_MODEL_LABELS_NONE ? NULL : crops->labels, n,
                          err);
        if (r < 0) {
            return r;
        }
        for (size_t i = 0; i < n; i++) {
            sum += 1 - (double)crops->p[i];
        }
    }
    *q = sum / (double)n_tiles;
    return isnan(sum) ? amb_fail(err, AMB_ERR_FORMAT, "the model for patches of %zu answers NaN", size) : 0;
}

int amb_crops_run(double q[AMB_RULE_CROPS_N], struct amb_crops *crops, const struct amb_subject *subject,
                  struct amb_error *err) {
    for (size_t i = 0; i < crops->n_elements; i++) {
        crops->base[i] = subject->u8 != NULL ? (float)subject->u8[i] / 127.5f - 1.0f : subject->x[i];
    }
    for (size_t i = 0; i < AMB_CROPS_BATCH; i++) {
        memcpy((uint8_t *)crops->labels + i * sizeof(int64_t), &subject->label, sizeof(int64_t));
    }
    for (unsigned row = 0; row < AMB_RULE_CROPS_N; row++) {
        int r = crops->models[row] != NULL ? crops_run_size(&q[row], crops, row, err) : 0;

        q[row] = crops->models[row] != NULL ? q[row] : (double)NAN;
        if (r < 0) {
            return r;
        }
    }
    return 0;
}
