/*
 * Sample: one sample, where it lies, what its annotation is and who said so.
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "clients/ctl/ctl.h"

static void sample_annotation(const cJSON *annotation) {
    char min[CTL_TEXT_BYTES], max[CTL_TEXT_BYTES];

    ctl_text_sigma(min, cJSON_GetObjectItemCaseSensitive(annotation, "sigma_min"));
    ctl_text_sigma(max, cJSON_GetObjectItemCaseSensitive(annotation, "sigma_max"));
    printf("annotation   sigma_min %s (%s), sigma_max %s (%s)\n", min, ctl_get_string(annotation, "sigma_min_origin"),
           max, ctl_get_string(annotation, "sigma_max_origin"));
    if (strcmp(min, "inf") == 0 && strcmp(max, "0") == 0) {
        printf("             admitted at no noise level\n");
    } else if (strcmp(min, "0") == 0 || strcmp(max, "inf") == 0) {
        printf("             admitted at every noise level\n");
    } else if (strcmp(max, "0") == 0) {
        printf("             admitted at sigma > %s\n", min);
    } else if (strcmp(min, "inf") == 0) {
        printf("             admitted at sigma < %s\n", max);
    } else {
        printf("             admitted at sigma > %s or sigma < %s\n", min, max);
    }
}

static void sample_print(const cJSON *reply) {
    const cJSON *bad = cJSON_GetObjectItemCaseSensitive(reply, "quarantine");
    char bytes[CTL_TEXT_BYTES];

    if (ctl_get_number(reply, "matches") > 1) {
        printf("%.0f samples match; this is the first\n", ctl_get_number(reply, "matches"));
    }
    printf("key          %s\nnumber       %.0f\n", ctl_get_string(reply, "key"), ctl_get_number(reply, "index"));
    printf("source       %s\nlies in      %s (%s)\n", ctl_get_string(reply, "source"), ctl_get_string(reply, "shard"),
           ctl_get_string(reply, "format"));
    printf("at           byte %.0f, %s; checksum %.0f\n", ctl_get_number(reply, "offset"),
           ctl_text_bytes(bytes, ctl_get_number(reply, "payload_bytes")), ctl_get_number(reply, "checksum"));
    printf("members      %s\n", ctl_get_string(reply, "members"));
    printf("label        %.0f, corruption label %.0f\n", ctl_get_number(reply, "label"),
           ctl_get_number(reply, "corruption_label"));
    printf("uid          %s\n", ctl_get_string(reply, "uid"));
    sample_annotation(cJSON_GetObjectItemCaseSensitive(reply, "annotation"));
    if (cJSON_IsObject(bad)) {
        printf("quarantined  %s: %s\n", ctl_get_string(bad, "code"), ctl_get_string(bad, "reason"));
    }
}

int ctl_sample_add(cJSON *request, const struct ctl_command *command, const char *word) {
    const char *rest;
    uint64_t index;

    if (word[0] != '#') {
        cJSON_AddStringToObject(request, "key", word);
        return CTL_OK;
    }
    rest = ctl_count_load(&index, word + 1);
    if (rest == NULL || *rest != '\0') {
        return ctl_usage(command, "'%s' is no sample number, allowed: # and a whole number, as '#17'", word);
    }
    ambp_json_add_u64(request, "index", index);
    return CTL_OK;
}

int ctl_run_sample(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("sample");
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    cJSON *request;
    int r = ctl_parse(ctl, command, NULL, 0, 1, argc, argv);

    if (r >= 0) {
        return r;
    }
    request = cJSON_CreateObject();
    r = ctl_sample_add(request, command, argv[0]);
    if (r != CTL_OK) {
        cJSON_Delete(request);
        return r;
    }
    if (ctl_ask(&reply, ctl, "SAMPLE", request) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    sample_print(reply);
    return CTL_OK;
}
