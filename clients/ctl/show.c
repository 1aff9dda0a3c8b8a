/*
 * Show: one sample's records, and its curve as text or as a picture.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "clients/ctl/annotations.h"
#include "clients/ctl/columns.h"
#include "clients/ctl/page.h"

#define PLOT_ROWS    21u /* 0.05 each: the usual threshold 0.55 is a row */
#define PLOT_COLUMNS 240u
#define PLOT_LEFT    8u /* of the axis: "  1.00 ┤" */

struct curve {
    double *sigmas, *p; /* owned */
    size_t n;
};

static void curve_deinit(struct curve *curve) {
    amb_free(curve->sigmas);
    amb_free(curve->p);
}

static bool curve_load(struct curve *out, const cJSON *reply) {
    const cJSON *curve = cJSON_GetObjectItemCaseSensitive(reply, "curve");
    const cJSON *sigmas = cJSON_GetObjectItemCaseSensitive(curve, "sigmas");
    const cJSON *p = cJSON_GetObjectItemCaseSensitive(curve, "p");
    size_t n = (size_t)cJSON_GetArraySize(sigmas);

    out->sigmas = amb_calloc(n + 1, sizeof *out->sigmas);
    out->p = amb_calloc(n + 1, sizeof *out->p);
    if (out->sigmas == NULL || out->p == NULL) {
        return false;
    }
    sigmas = sigmas != NULL ? sigmas->child : NULL;
    p = p != NULL ? p->child : NULL;
    for (; sigmas != NULL && p != NULL; sigmas = sigmas->next, p = p->next) {
        if (sigmas->valuedouble > 0) { /* a log axis has no place for 0 */
            out->sigmas[out->n] = sigmas->valuedouble;
            out->p[out->n++] = p->valuedouble;
        }
    }
    return true;
}

static double number_or(const cJSON *object, const char *key, double absent) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    return cJSON_IsNumber(item) ? item->valuedouble : cJSON_IsString(item) ? (double)INFINITY : absent;
}

static void records_print(const cJSON *reply) {
    const cJSON *annotation = cJSON_GetObjectItemCaseSensitive(reply, "annotation"), *record;
    char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES];

    printf("sample %.0f: %s, source %s\n", ctl_get_number(reply, "index"), ctl_get_string(reply, "key"),
           ctl_get_string(reply, "source"));
    printf("  usable at sigma > %s (%s) or sigma < %s (%s)\n",
           ctl_text_sigma(a, cJSON_GetObjectItemCaseSensitive(annotation, "sigma_min")),
           ctl_get_string(annotation, "sigma_min_origin"),
           ctl_text_sigma(b, cJSON_GetObjectItemCaseSensitive(annotation, "sigma_max")),
           ctl_get_string(annotation, "sigma_max_origin"));
    cJSON_ArrayForEach(record, cJSON_GetObjectItemCaseSensitive(reply, "records")) {
        printf("  %s:", ctl_get_string(record, "origin"));
        if (ctl_get_string(record, "code")[0] != '\0') {
            printf(" gave it up (%s)", ctl_text_given_up(a, ctl_get_string(record, "code")));
        }
        if (!cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(record, "sigma_min"))) {
            printf(" sigma_min %s", ctl_text_sigma(a, cJSON_GetObjectItemCaseSensitive(record, "sigma_min")));
        }
        if (!cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(record, "sigma_max"))) {
            printf(" sigma_max %s", ctl_text_sigma(a, cJSON_GetObjectItemCaseSensitive(record, "sigma_max")));
        }
        if (cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(record, "hi"))) {
            printf(" in [%s, %s]", ctl_text_sigma(a, cJSON_GetObjectItemCaseSensitive(record, "lo")),
                   ctl_text_sigma(b, cJSON_GetObjectItemCaseSensitive(record, "hi")));
        }
        printf(", %.0f evaluations%s%.12s\n", ctl_get_number(record, "evaluations"),
               ctl_get_string(record, "model")[0] != '\0' ? ", model " : "", ctl_get_string(record, "model"));
    }
}

struct plot {
    double lo, hi; /* log sigma */
    unsigned width;
};

static unsigned plot_column(const struct plot *plot, double sigma) {
    return (unsigned)((log(sigma) - plot->lo) / (plot->hi - plot->lo) * (plot->width - 1));
}

struct plot_axis {
    char figures[PLOT_COLUMNS + 1];
    bool ticks[PLOT_COLUMNS];
};

/* A figure centred under its column, where a space is left on both sides. */
static void plot_axis_put(struct plot_axis *axis, const struct plot *plot, double sigma) {
    char text[16];
    int n = snprintf(text, sizeof text, "%.3g", sigma), width = (int)plot->width;
    int column = (int)plot_column(plot, sigma), left = column - n / 2;

    left = left < 0 ? 0 : left > width - n ? width - n : left;
    for (int i = left > 0 ? left - 1 : 0; i <= left + n && i < width; i++) {
        if (axis->figures[i] != ' ') {
            return;
        }
    }
    memcpy(axis->figures + left, text, (size_t)n);
    axis->ticks[column] = true;
}

/* The decades first, then 2 and 5 of each where there is room, and on a short axis what else fits, or its ends. */
static void plot_axis_print(const struct plot *plot, unsigned at) {
    static const int steps[] = {1, 2, 5, 3, 4, 6, 7, 8, 9};
    const int n_steps = plot->hi - plot->lo < M_LN10 ? 9 : 3;
    struct plot_axis axis = {0};

    memset(axis.figures, ' ', plot->width);
    for (int k = 0; k < n_steps; k++) {
        for (int decade = (int)floor(plot->lo / M_LN10); decade <= plot->hi / M_LN10; decade++) {
            double z = log(steps[k]) + decade * M_LN10;

            if (z >= plot->lo && z <= plot->hi) {
                plot_axis_put(&axis, plot, exp(z));
            }
        }
    }
    plot_axis_put(&axis, plot, exp(plot->lo));
    plot_axis_put(&axis, plot, exp(plot->hi));
    printf("%*s└", (int)PLOT_LEFT - 1, "");
    for (unsigned x = 0; x < plot->width; x++) {
        printf("%s", x == at ? "┴" : axis.ticks[x] ? "┬" : "─");
    }
    printf("\n%*s%s\n", (int)PLOT_LEFT, "", axis.figures);
}

/* Mean of the points in each column, as a dot on a grid of characters. */
static void plot_print(const struct curve *curve, double threshold, double sigma_min) {
    const struct plot plot = {
        .lo = log(curve->sigmas[0]) - 1e-9,
        .hi = log(curve->sigmas[curve->n - 1]) + 1e-9,
        .width = ctl_columns() - PLOT_LEFT - 1 < PLOT_COLUMNS ? ctl_columns() - PLOT_LEFT - 1 : PLOT_COLUMNS,
    };
    double sums[PLOT_COLUMNS] = {0};
    unsigned counts[PLOT_COLUMNS] = {0}, at = (unsigned)-1;
    const unsigned line = (unsigned)lround((1 - threshold) * (PLOT_ROWS - 1));

    for (size_t i = 0; i < curve->n; i++) {
        unsigned column = plot_column(&plot, curve->sigmas[i]);

        sums[column] += curve->p[i];
        counts[column]++;
    }
    if (sigma_min > 0 && isfinite(sigma_min) && log(sigma_min) >= plot.lo && log(sigma_min) <= plot.hi) {
        at = plot_column(&plot, sigma_min);
    }
    printf("  P(low quality) by sigma; ╌ threshold %.3g%s\n", threshold, at < plot.width ? ", │ sigma_min" : "");
    for (unsigned row = 0; row < PLOT_ROWS; row++) {
        if (row % 5 == 0) {
            printf("%*.2f ┤", (int)PLOT_LEFT - 2, 1 - row / (PLOT_ROWS - 1.0));
        } else {
            printf("%*s│", (int)PLOT_LEFT - 1, "");
        }
        for (unsigned x = 0; x < plot.width; x++) {
            bool dot = counts[x] > 0 && (unsigned)lround((1 - sums[x] / counts[x]) * (PLOT_ROWS - 1)) == row;

            printf("%s", dot ? "●" : x == at ? "│" : row == line ? "╌" : " ");
        }
        printf("\n");
    }
    plot_axis_print(&plot, at);
}

static int picture_load(struct page_image *out, uint8_t **data, struct ctl *ctl, double index) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    cJSON *request = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(request, "index");
    size_t bytes = 0;

    ambp_json_add_item(list, NULL, cJSON_CreateNumber(index));
    if (ctl_ask(&reply, ctl, "PICTURES", request) != CTL_OK) {
        return CTL_FAILED;
    }
    out->channels = (uint32_t)ctl_get_number(reply, "channels");
    out->height = (uint32_t)ctl_get_number(reply, "height");
    out->width = (uint32_t)ctl_get_number(reply, "width");
    *data = ctl_base64_load(&bytes, ctl_get_string(cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(reply, "rows"), 0), "u8"));
    out->data = *data != NULL && bytes == (size_t)out->channels * out->height * out->width && bytes > 0 ? *data : NULL;
    return CTL_OK;
}

static int show_store(struct ctl *ctl, const char *path, const cJSON *reply, const struct curve *curve, double sigma_min,
                      const cJSON *record) {
    AMB_CLEANUP(amb_freep) uint8_t *data = NULL;
    const char *key = ctl_get_string(reply, "key");
    struct amb_error err = AMB_ERROR_NULL;
    char title[121], subtitle[200];
    struct page_curve page = {
        .title = title,
        .subtitle = subtitle,
        .sigmas = curve->sigmas,
        .p = curve->p,
        .n = curve->n,
        .threshold = ctl_get_number(reply, "threshold"),
        .sigma_min = sigma_min,
        .lo = number_or(record, "lo", NAN),
        .hi = number_or(record, "hi", NAN),
    };

    amb_utf8_store(title, sizeof title, key, strlen(key));
    snprintf(subtitle, sizeof subtitle, "how likely the classifier finds it of low quality, by noise level; %.0f evaluations",
             ctl_get_number(record, "evaluations"));
    if (picture_load(&page.image, &data, ctl, ctl_get_number(reply, "index")) != CTL_OK) {
        return CTL_FAILED;
    }
    if (page_store_curve(path, &page, &err) < 0) {
        fprintf(stderr, "ambientctl: %s\n", err.message);
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    printf("curve written to %s\n", path);
    return CTL_OK;
}

static int show_nothing(const cJSON *reply, const char *path) {
    fprintf(path != NULL ? stderr : stdout, "%s%s: no curve is kept; annotate it with --curves (and --where annotated=any, if it has been)\n",
            path != NULL ? "ambientctl: " : "  ", ctl_get_string(reply, "key"));
    return path != NULL ? CTL_FAILED : CTL_OK;
}

static const cJSON *record_find(const cJSON *reply, const char *origin) {
    const cJSON *record;

    cJSON_ArrayForEach(record, cJSON_GetObjectItemCaseSensitive(reply, "records")) {
        if (strcmp(ctl_get_string(record, "origin"), origin) == 0) {
            return record;
        }
    }
    return NULL;
}

int ctl_annotations_show(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv) {
    const char *path = NULL;
    const struct ctl_option options[] = {
        {"output", 'o', "FILE", "the curve as a PNG", CTL_STRING, &path},
    };
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    AMB_CLEANUP(curve_deinit) struct curve curve = {0};
    const cJSON *record;
    cJSON *request;
    double sigma_min;
    int r = ctl_parse(ctl, command, options, 1, 1, argc, argv);

    if (r >= 0) {
        return r;
    }
    request = cJSON_CreateObject();
    r = ctl_sample_add(request, command, argv[0]);
    if (r != CTL_OK) {
        cJSON_Delete(request);
        return r;
    }
    if (ctl_ask(&reply, ctl, "CURVE", request) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json && path == NULL) {
        return ctl_print_json(reply);
    }
    if (!ctl->json) {
        records_print(reply);
    }
    if (!curve_load(&curve, reply) || curve.n < 2) {
        return show_nothing(reply, path);
    }
    record = record_find(reply, "classifier");
    sigma_min = number_or(record, "sigma_min", NAN);
    if (path != NULL) {
        return show_store(ctl, path, reply, &curve, sigma_min, record);
    }
    plot_print(&curve, ctl_get_number(reply, "threshold"), sigma_min);
    return CTL_OK;
}
