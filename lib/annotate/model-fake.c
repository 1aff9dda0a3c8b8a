/*
 * Model fake: deterministic and without a library, for tests of everything around a model.
 *
 *   fake:edge            p falls through 1/2 at a sigma that is the larger the smoother the picture is
 *   fake:constant=P      always P
 *   fake:nan=S           NaN at sigma >= S, else as edge
 *   fake:slow=MS         as edge, MS milliseconds a batch
 *
 * The edge: mean absolute difference d of neighbours along rows. Noise of sigma adds to it, so the picture's own part
 * is what is left of d^2 without 4/pi sigma^2; a flat picture has s0 near 1, a sharp one near 0.05.
 */
#include <errno.h>
#include <math.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "annotate/model-private.h"
#include "base/alloc.h"

#define FAKE_SLOPE 3.0 /* of the logit in log sigma; not tuned */

enum fake_kind { FAKE_EDGE, FAKE_CONSTANT, FAKE_NAN, FAKE_SLOW, FAKE_N };
static const char *const kind_names[FAKE_N] = {"edge", "constant=", "nan=", "slow="};

struct fake {
    struct amb_model base;
    enum fake_kind kind;
    double value;
};

static double fake_edge(const float *x, const struct amb_model_info *info, double sigma) {
    size_t n_rows = (size_t)info->channels * info->height, n = 0;
    double sum = 0, own;

    for (size_t row = 0; row < n_rows; row++, x += info->width) {
        for (uint32_t i = 1; i < info->width; i++, n++) {
            sum += fabs((double)x[i] - (double)x[i - 1]);
        }
    }
    sum = n > 0 ? sum / (double)n : 0;
    own = sum * sum - 4 / 3.141592653589793 * sigma * sigma;
    return exp(-20 * sqrt(own > 0 ? own : 0));
}

static int fake_run(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels, size_t n,
                    struct amb_error *err) {
    const struct fake *fake = (const struct fake *)model;
    const size_t elements = (size_t)model->info.channels * model->info.height * model->info.width;

    (void)labels;
    (void)err;
    if (fake->kind == FAKE_SLOW) {
        struct timespec pause = {(time_t)(fake->value / 1000), (long)(fmod(fake->value, 1000) * 1e6)};

        nanosleep(&pause, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        double s = (double)sigma[i], s0 = fake_edge(x + i * elements, &model->info, s);

        p[i] = fake->kind == FAKE_CONSTANT                   ? (float)fake->value
               : fake->kind == FAKE_NAN && s >= fake->value ? NAN
                                                             : (float)(1 / (1 + pow(s / s0, FAKE_SLOPE)));
    }
    return 0;
}

static void fake_close(struct amb_model *model) {
    amb_free(model);
}

int amb_model_fake_open(struct amb_model **out, const struct amb_model_options *options, struct amb_error *err) {
    static const struct amb_model_ops ops = {fake_run, fake_close, NULL, NULL};
    const char *name = options->path + strlen("fake:");
    struct fake *fake;
    int kind = -1;

    for (int i = 0; i < FAKE_N && kind < 0; i++) {
        kind = strncmp(name, kind_names[i], strlen(kind_names[i])) == 0 ? i : -1;
    }
    if (kind < 0) {
        return amb_fail(err, AMB_ERR_CONFIG, "model '%.60s', allowed: fake:edge, fake:constant=P, fake:nan=S, fake:slow=MS",
                        options->path);
    }
    fake = amb_calloc(1, sizeof *fake);
    if (fake == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a model");
    }
    fake->base.ops = &ops;
    fake->kind = (enum fake_kind)kind;
    fake->value = atof(name + strlen(kind_names[kind]));
    fake->base.info.n_outputs = 1;
    fake->base.info.n_parallel = 1;
    fake->base.info.channels = options->channels;
    fake->base.info.height = options->height;
    fake->base.info.width = options->width;
    SHA256Data((const uint8_t *)name, strlen(name), fake->base.info.sha256);
    snprintf(fake->base.info.runtime, sizeof fake->base.info.runtime, "fake");
    *out = &fake->base;
    return 0;
}
