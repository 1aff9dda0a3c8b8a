/*
 * Preview: one batch, sorted by sigma, as a picture: x0, x_tn, x_t under each other, figures and key below.
 *
 * Noised pictures of ve are shown times 1/sqrt(1 + s^2) (alpha of the vp process), so that contrast stays in range at
 * every noise level; the caption says so. Here the columns are put together; picture.c draws them.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "clients/ctl/ctl.h"
#include "clients/ctl/picture.h"

#define PREVIEW_MAX 96u

struct preview {
    uint64_t count, seed, columns;
    const char *process, *policy, *path;
};

static const struct ambient_batch *preview_batch; /* of the comparison below */

static float preview_value(const char *field, uint32_t i) {
    float value;

    memcpy(&value, (const uint8_t *)ambient_batch_data(preview_batch, field, NULL) + sizeof value * i, sizeof value);
    return value;
}

static int preview_compare(const void *a, const void *b) {
    float x = preview_value("s_t", *(const uint32_t *)a), y = preview_value("s_t", *(const uint32_t *)b);

    return (x > y) - (x < y);
}

static void preview_column(struct picture_column *out, const struct ambient_batch *batch, const char *process,
                           uint32_t i) {
    static const char *const fields[PICTURE_ROWS] = {"x0", "x_tn", "x_t"};
    double s_t = (double)preview_value("s_t", i), s_tn = (double)preview_value("s_tn", i);
    bool ve = strcmp(process, "ve") == 0;
    struct ambient_array keys;
    int64_t key_bytes = 0;
    const char *key = ambient_batch_cell(batch, "key", i, &key_bytes);

    for (size_t r = 0; r < PICTURE_ROWS; r++) {
        struct ambient_array array;
        const uint8_t *data = ambient_batch_data(batch, fields[r], &array);

        out->x[r] = (const float *)(const void *)(data + array.row_bytes * i);
        out->channels = array.dims[1];
        out->height = array.dims[2];
        out->width = array.dims[3];
    }
    out->gain[0] = 1;
    out->gain[1] = ve ? 1 / sqrt(1 + s_tn * s_tn) : 1;
    out->gain[2] = ve ? 1 / sqrt(1 + s_t * s_t) : 1;
    snprintf(out->lines[0], sizeof out->lines[0], "sigma_t %.3g", (double)preview_value("sigma_t", i));
    snprintf(out->lines[1], sizeof out->lines[1], "sigma_tn %.3g", (double)preview_value("sigma_tn", i));
    ambient_batch_data(batch, "key", &keys);
    amb_utf8_store(out->lines[2], sizeof out->lines[2], key, (size_t)key_bytes < keys.row_bytes ? (size_t)key_bytes : keys.row_bytes);
}

static int preview_draw(const struct ctl *ctl, const struct preview *preview, const struct ambient_batch *batch) {
    AMB_CLEANUP(amb_freep) struct picture_column *columns = amb_calloc(PREVIEW_MAX, sizeof *columns);
    uint32_t order[PREVIEW_MAX], count = ambient_batch_count(batch);
    struct amb_error err = AMB_ERROR_NULL;
    const bool is_ve = strcmp(preview->process, "ve") == 0;
    char title[256], subtitle[256];

    if (columns == NULL) {
        fprintf(stderr, "ambientctl: no memory for a picture\n");
        return CTL_FAILED;
    }
    for (uint32_t i = 0; i < count; i++) {
        order[i] = i;
    }
    preview_batch = batch;
    qsort(order, count, sizeof order[0], preview_compare);
    for (uint32_t i = 0; i < count; i++) {
        preview_column(&columns[i], batch, preview->process, order[i]);
    }
    snprintf(title, sizeof title, "One batch of %u, sorted by noise level (process %s, policy %s, seed %" PRIu64 ")", count,
             preview->process, preview->policy, preview->seed);
    snprintf(subtitle, sizeof subtitle, "x_tn = %s + noise up to sigma_tn, the same for ever: its flaws lie below. x_t adds fresh "
             "noise up to sigma_t.%s", is_ve ? "x0" : "alpha_n x0", is_ve ? " Shown scaled by 1/sqrt(1 + sigma²)." : "");
    if (picture_store(preview->path, title, subtitle, columns, count, (uint32_t)preview->columns, &err) < 0) {
        fprintf(stderr, "ambientctl: %s\n", err.message);
        return CTL_FAILED;
    }
    return ctl_print_picture(ctl, preview->path, count);
}

static int preview_stream(struct ctl *ctl, const struct preview *preview) {
    static const char *const fields[] = {"x0", "x_tn", "x_t", "sigma_t", "sigma_tn", "s_t", "s_tn", "key"};
    struct ambient_stream_options options = AMBIENT_STREAM_OPTIONS_INIT;
    struct ambient_batch *batch = NULL;
    struct ambient_error err;
    char text[256];
    int r;

    snprintf(text, sizeof text, "{\"seed\":\"%" PRIu64 "\",\"process\":\"%s\",\"policy\":\"%s\"}", preview->seed,
             preview->process, preview->policy);
    options.dataset = ctl->dataset;
    options.options = text;
    options.fields = fields;
    options.n_fields = sizeof fields / sizeof fields[0];
    options.batch_size = (uint32_t)preview->count;
    options.slots = 1;
    options.steps = 1;
    if (ctl_connect(ctl) != CTL_OK) {
        return CTL_FAILED;
    }
    r = ambient_subscribe(ctl->client, &options, &err);
    if (r == 0) {
        r = ambient_next(&batch, ctl->client, &err);
    }
    if (r < 0) {
        return ctl_fail(&err);
    }
    r = preview_draw(ctl, preview, batch);
    ambient_batch_release(batch);
    return r;
}

int ctl_run_preview(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("preview");
    struct preview preview = {.count = 24, .columns = 12, .process = "ve", .policy = "pass", .path = "preview.png"};
    const struct ctl_option own[] = {
        {"output", 'o', "FILE", "PNG to write, default preview.png", CTL_STRING, &preview.path},
        {"count", 'n', "N", "images, default 24, at most 96", CTL_COUNT, &preview.count},
        {"columns", 'c', "N", "images side by side, default 12, at most 96", CTL_COUNT, &preview.columns},
        {"process", 'p', "NAME", "ve (default), vp or flow", CTL_STRING, &preview.process},
        {"policy", 0, "NAME", "pass (default) or uniform", CTL_STRING, &preview.policy},
        {"seed", 0, "N", "of the stream, default 0", CTL_COUNT, &preview.seed},
    };
    int r = ctl_parse(ctl, command, own, sizeof own / sizeof own[0], 0, argc, argv);

    r = r != CTL_PARSED ? r : ctl_check_count(command, "count", preview.count, 1, PREVIEW_MAX);
    r = r != CTL_PARSED ? r : ctl_check_count(command, "columns", preview.columns, 1, PREVIEW_MAX);
    if (r >= 0) {
        return r;
    }
    return preview_stream(ctl, &preview);
}
