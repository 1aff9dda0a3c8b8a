/*
 * Given up: samples of which an annotator has no answer, each with its key and why. What cannot even be read is in
 * `ambientctl quarantine` once a stream has met it.
 */
#include <stdio.h>

#include "base/cleanup.h"
#include "clients/ctl/annotations.h"
#include "clients/ctl/columns.h"

#define STATE_GIVEN_UP 2 /* proto/README.md, ANNOTATIONS */

static void sample_print(const cJSON *reply) {
    const cJSON *record;
    char why[CTL_TEXT_BYTES];

    printf("%9.0f  %s/%s", ctl_get_number(reply, "index"), ctl_get_string(reply, "source"), ctl_get_string(reply, "key"));
    cJSON_ArrayForEach(record, cJSON_GetObjectItemCaseSensitive(reply, "records")) {
        if (ctl_get_string(record, "code")[0] != '\0') {
            printf("  %s: %s", ctl_get_string(record, "origin"), ctl_text_given_up(why, ctl_get_string(record, "code")));
        }
    }
    printf("\n");
}

static int sample_show(struct ctl *ctl, size_t i_sample) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    cJSON *request = cJSON_CreateObject();

    ambp_json_add_u64(request, "index", i_sample);
    if (ctl_ask(&reply, ctl, "CURVE", request) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    sample_print(reply);
    return CTL_OK;
}

int ctl_annotations_given_up(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv) {
    AMB_CLEANUP(ctl_columns_deinit) struct ctl_columns columns = {0};
    uint64_t count = 100, n = 0;
    const struct ctl_option options[] = {
        {"count", 'n', "N", "list so many at most, default 100", CTL_COUNT, &count},
    };
    int r = ctl_parse(ctl, command, options, 1, 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    r = ctl_columns_load(&columns, ctl);
    for (size_t i = 0; i < columns.n && r == CTL_OK; i++) {
        if (columns.state[i] == STATE_GIVEN_UP && n++ < count) {
            r = sample_show(ctl, i);
        }
    }
    if (r == CTL_OK && !ctl->json) {
        printf("%s%llu samples given up\n", n > count ? "... " : "", (unsigned long long)n);
    }
    return r;
}
