/*
 * Annotate: put the request for a job together and send it; job.c follows it.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "clients/ctl/ctl.h"

#define NOT_GIVEN UINT64_MAX /* the default is the daemon's */

/* "source=NAME,label=N,key=GLOB,annotated=any" */
static int where_add(cJSON *request, const struct ctl_command *command, const char *text) {
    static const char *const words[] = {"source", "label", "key", "annotated"};
    cJSON *where = cJSON_AddObjectToObject(request, "where");
    char copy[4096], *rest = copy, *word;

    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy) {
        return ctl_usage(command, "--where is longer than %zu bytes", sizeof copy);
    }
    while ((word = strsep(&rest, ",")) != NULL) {
        char *value = strchr(word, '='), *end = NULL;
        size_t bytes = value != NULL ? (size_t)(value - word) : 0, i = 0;

        while (i < sizeof words / sizeof words[0] && (bytes != strlen(words[i]) || strncmp(word, words[i], bytes) != 0)) {
            i++;
        }
        if (i == sizeof words / sizeof words[0]) {
            return ctl_usage(command, "--where has '%s', allowed: source=NAME, label=N, key=GLOB, annotated=any", word);
        }
        *value++ = '\0';
        if (strcmp(word, "label") == 0) {
            double label = strtod(value, &end);

            if (end == value || *end != '\0' || !(fabs(label) <= 0x1p53) || label != floor(label)) {
                return ctl_usage(command, "--where label=%s, allowed: a whole number", value);
            }
            cJSON_AddNumberToObject(where, word, label);
        } else {
            cJSON_AddStringToObject(where, word, value);
        }
    }
    return CTL_OK;
}

static int part_add(cJSON *request, const struct ctl_command *command, const char *text) {
    cJSON *part = cJSON_AddArrayToObject(request, "part");
    uint64_t k = 0, n = 0;
    const char *rest = ctl_count_load(&k, text);

    rest = rest != NULL && *rest == '/' ? ctl_count_load(&n, rest + 1) : NULL;
    if (rest == NULL || *rest != '\0' || k < 1 || k > n) {
        return ctl_usage(command, "--part is '%s', allowed: k/n with k from 1 to n, as 1/4", text);
    }
    ambp_json_add_item(part, NULL, cJSON_CreateNumber((double)k));
    ambp_json_add_item(part, NULL, cJSON_CreateNumber((double)n));
    return CTL_OK;
}

static int path_add(cJSON *request, const char *key, const char *path) {
    char full[PATH_MAX];

    if (strncmp(path, "fake:", 5) == 0) {
        cJSON_AddStringToObject(request, key, path);
        return CTL_OK;
    }
    if (realpath(path, full) == NULL) {
        fprintf(stderr, "ambientctl: %s: %s\n", path, strerror(errno));
        return CTL_FAILED;
    }
    cJSON_AddStringToObject(request, key, full);
    return CTL_OK;
}

/* A path, or "LO:HI:N". */
static int grid_add(cJSON *request, const char *text) {
    double lo, hi;
    uint64_t n = 0;
    int used = 0;
    const char *rest = sscanf(text, "%lf:%lf:%n", &lo, &hi, &used) == 2 && used > 0 ? ctl_count_load(&n, text + used) : NULL;

    if (rest != NULL && *rest == '\0') {
        const double numbers[] = {lo, hi, (double)n};
        cJSON *grid = cJSON_AddArrayToObject(request, "grid");

        for (int i = 0; i < 3; i++) {
            ambp_json_add_item(grid, NULL, cJSON_CreateNumber(numbers[i]));
        }
        return CTL_OK;
    }
    return path_add(request, "grid", text);
}

/* "8=m8.onnx,16=m16.onnx", or "8=0.15,16=0.2" */
static int sizes_add(cJSON *object, const struct ctl_command *command, const char *option, bool sigmas, const char *text) {
    char copy[8192], *rest = copy, *word, *end = NULL;
    int r = CTL_OK;

    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy) {
        return ctl_usage(command, "--%s is longer than %zu bytes", option, sizeof copy);
    }
    while (r == CTL_OK && (word = strsep(&rest, ",")) != NULL) {
        char *value = strchr(word, '=');
        double sigma = value != NULL && sigmas ? strtod(value + 1, &end) : 0;

        if (value == NULL || (sigmas && (end == value + 1 || *end != '\0' || !(sigma >= 0) || isinf(sigma)))) {
            return ctl_usage(command, "--%s has '%s', allowed: SIZE=%s,...", option, word, sigmas ? "SIGMA" : "MODEL");
        }
        *value++ = '\0';
        if (sigmas) {
            cJSON_AddNumberToObject(object, word, sigma);
        } else {
            r = path_add(object, word, value);
        }
    }
    return r;
}

static int crops_add(cJSON *request, const struct ctl_command *command, const char *models, const char *table,
                     double threshold) {
    int r;

    cJSON_AddStringToObject(request, "kind", "crops");
    if (!isnan(threshold)) {
        cJSON_AddNumberToObject(request, "crop_threshold", threshold);
    }
    r = sizes_add(cJSON_AddObjectToObject(request, "models"), command, "crops", false, models);
    return r != CTL_OK || table == NULL
               ? r
               : sizes_add(cJSON_AddObjectToObject(request, "crop_table"), command, "crop-table", true, table);
}

static void dry_run_print(const cJSON *reply) {
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(reply, "model");
    char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES], c[CTL_TEXT_BYTES];

    printf("%s samples to annotate, %s passed over (annotated already, or trusted)\n",
           ctl_text_count(a, ctl_get_number(reply, "samples")), ctl_text_count(b, ctl_get_number(reply, "skipped")));
    printf("model of %s, %.0f x %.0f x %.0f, %s\n", ctl_text_bytes(a, ctl_get_number(model, "bytes")),
           ctl_get_number(model, "channels"), ctl_get_number(model, "height"), ctl_get_number(model, "width"),
           ctl_get_string(model, "runtime"));
    printf("some %s evaluations, %s/s in batches of %.0f: %s\n", ctl_text_count(a, ctl_get_number(reply, "evaluations")),
           ctl_text_count(b, ctl_get_number(reply, "evaluations_per_s")), ctl_get_number(reply, "batch"),
           ctl_text_seconds(c, ctl_get_number(reply, "eta_s")));
}

static int annotate_send(struct ctl *ctl, cJSON *request, bool dry_run, bool follow) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    const cJSON *job;

    if (dry_run) {
        cJSON_AddTrueToObject(request, "dry_run");
    }
    if (ctl_ask(&reply, ctl, "ANNOTATE", request) != CTL_OK) {
        return CTL_FAILED;
    }
    job = cJSON_GetObjectItemCaseSensitive(reply, "job");
    if (!ctl->json) {
        ctl_job_warn(job);
    }
    if (follow && !dry_run) {
        return ctl_follow(ctl, ctl_get_number(job, "id"));
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    if (dry_run) {
        dry_run_print(reply);
        return CTL_OK;
    }
    printf("job %.0f is %s; `ambientctl job follow %.0f` shows its progress\n", ctl_get_number(job, "id"),
           ctl_get_string(job, "state"), ctl_get_number(job, "id"));
    return CTL_OK;
}

int ctl_run_annotate(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("annotate");
    const char *model = NULL, *crops = NULL, *table = NULL, *mode = NULL, *where = NULL, *part = NULL, *grid = NULL, *resize = NULL;
    uint64_t trials = NOT_GIVEN, span = NOT_GIVEN, column = 0, seed = 0, batch = 0;
    double epsilon = 0.05, priority = 0, threshold = NAN; /* not given */
    bool follow = false, dry_run = false, curves = false;
    const struct ctl_option options[] = {
        {"model", 'm', "FILE", "the classifier, an .onnx file that the daemon can read", CTL_STRING, &model},
        {"crops", 0, "N=FILE,..", "find sigma_max instead, by a classifier for each patch size", CTL_STRING, &crops},
        {"crop-table", 0, "N=S,..", "sigma_max of patch sizes, default 4=0.05,8=0.15,...", CTL_STRING, &table},
        {"crop-threshold", 0, "Q", "the largest size with a mean above it decides, default 0.25", CTL_NUMBER, &threshold},
        {"mode", 0, "MODE", "adaptive (default) or dense, the published 8,192 evaluations", CTL_STRING, &mode},
        {"where", 'w', "COND,..", "source=NAME, label=N, key=GLOB; annotated=any: also again", CTL_STRING, &where},
        {"part", 0, "K/N", "the K-th of N equal parts, for several daemons", CTL_STRING, &part},
        {"grid", 0, "FILE|LO:HI:N", "the sigmas; default: the published 2,048", CTL_STRING, &grid},
        {"trials", 0, "N", "answers at each sigma, default 4", CTL_COUNT, &trials},
        {"span", 0, "N", "of the moving average, default 32", CTL_COUNT, &span},
        {"epsilon", 0, "E", "usable from p < 0.5 + E on, default 0.05", CTL_NUMBER, &epsilon},
        {"column", 0, "K", "of a softmax: low quality, default 0", CTL_COUNT, &column},
        {"resize", 0, "FILTER", "to the model's size: lanczos (default), bicubic, box", CTL_STRING, &resize},
        {"curves", 0, NULL, "keep each sample's curve for `annotations show`", CTL_FLAG, &curves},
        {"seed", 0, "N", "of the noise, default 0", CTL_COUNT, &seed},
        {"batch", 0, "N", "evaluations a run, default: measured", CTL_COUNT, &batch},
        {"priority", 'p', "N", "jobs of a higher one go first, default 0", CTL_NUMBER, &priority},
        {"follow", 'f', NULL, "show progress until it ends; ^C leaves the job running", CTL_FLAG, &follow},
        {"dry-run", 0, NULL, "say what it would cost, start nothing", CTL_FLAG, &dry_run},
    };
    cJSON *request;
    int r = ctl_parse(ctl, command, options, sizeof options / sizeof options[0], -1, argc, argv);

    if (r >= 0) {
        return r;
    }
    if ((model == NULL) == (crops == NULL)) {
        return ctl_usage(command, "%s, expected one of --model FILE and --crops SIZE=FILE,...",
                         model == NULL ? "no model" : "two kinds of model");
    }
    if (crops == NULL && (table != NULL || !isnan(threshold))) {
        return ctl_usage(command, "--crop-%s without --crops", table != NULL ? "table" : "threshold");
    }
    ctl->dataset = argv[0] != NULL ? argv[0] : ctl->dataset;
    request = cJSON_CreateObject();
    r = model != NULL ? path_add(request, "model", model) : crops_add(request, command, crops, table, threshold);
    r = r == CTL_OK && where != NULL ? where_add(request, command, where) : r;
    r = r == CTL_OK && part != NULL ? part_add(request, command, part) : r;
    r = r == CTL_OK && grid != NULL ? grid_add(request, grid) : r;
    if (r != CTL_OK) {
        cJSON_Delete(request);
        return r;
    }
    if (mode != NULL) {
        cJSON_AddStringToObject(request, "mode", mode);
    }
    if (resize != NULL) {
        cJSON_AddStringToObject(request, "resize", resize);
    }
    if (trials != NOT_GIVEN) {
        ambp_json_add_u64(request, "trials", trials);
    }
    if (span != NOT_GIVEN) {
        ambp_json_add_u64(request, "span", span);
    }
    cJSON_AddNumberToObject(request, "epsilon", epsilon);
    ambp_json_add_u64(request, "column", column);
    ambp_json_add_u64(request, "seed", seed);
    ambp_json_add_u64(request, "batch", batch);
    cJSON_AddNumberToObject(request, "priority", priority);
    cJSON_AddBoolToObject(request, "curves", curves);
    return annotate_send(ctl, request, dry_run, follow);
}
