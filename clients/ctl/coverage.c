/*
 * Coverage: a bar for each sigma, as long as the share of samples that admit it.
 */
#include <math.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "clients/ctl/ctl.h"

static void coverage_print(const cJSON *reply) {
    const cJSON *sigmas = cJSON_GetObjectItemCaseSensitive(reply, "sigmas");
    const cJSON *admitted = cJSON_GetObjectItemCaseSensitive(reply, "admitted");
    const cJSON *gap = cJSON_GetObjectItemCaseSensitive(reply, "gap");
    double total = ctl_get_number(reply, "total");
    unsigned width = ctl_columns() - 34;
    char count[CTL_TEXT_BYTES], sigma[CTL_TEXT_BYTES];
    int n = cJSON_GetArraySize(sigmas);

    printf("%9s  samples that admit it, of %s\n", "sigma", ctl_text_count(count, total));
    for (int i = 0; i < n; i++) {
        double here = cJSON_GetArrayItem(admitted, i)->valuedouble;

        printf("%9s  %10s %5.1f %%  %s\n", ctl_text_sigma(sigma, cJSON_GetArrayItem(sigmas, i)),
               ctl_text_count(count, here), total > 0 ? 100 * here / total : 0.0,
               ctl_text_bar(total > 0 ? here / total : 0, width));
    }
    if (cJSON_IsArray(gap)) {
        char hi[CTL_TEXT_BYTES];

        printf("no sample admits sigma from %s to %s: a stream must not draw there (option gaps)\n",
               ctl_text_sigma(sigma, cJSON_GetArrayItem(gap, 0)), ctl_text_sigma(hi, cJSON_GetArrayItem(gap, 1)));
    }
}

int ctl_run_coverage(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("coverage");
    uint64_t points = 24;
    double buffer = 1;
    const struct ctl_option options[] = {
        {"points", 'n', "N", "number of sigmas, default 24", CTL_COUNT, &points},
        {"buffer", 0, "B", "factor on sigma_min, default 1", CTL_NUMBER, &buffer},
    };
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    cJSON *request;
    int r = ctl_parse(ctl, command, options, sizeof options / sizeof options[0], 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    request = cJSON_CreateObject();
    ambp_json_add_u64(request, "points", points);
    cJSON_AddNumberToObject(request, "buffer", buffer);
    if (ctl_ask(&reply, ctl, "COVERAGE", request) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    coverage_print(reply);
    return CTL_OK;
}
