/*
 * Ping and import: one question each.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "clients/ctl/ctl.h"

static double ping_now(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int ping_print(const struct ctl *ctl, double seconds) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;

    if (!ctl->json) {
        printf("%s answered in %.3f ms\n", ambient_server(ctl->client), 1e3 * seconds);
        return CTL_OK;
    }
    json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "server", ambient_server(ctl->client));
    cJSON_AddNumberToObject(json, "seconds", seconds);
    return ctl_print_json(json);
}

int ctl_run_ping(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("ping");
    uint64_t count = 3;
    const struct ctl_option options[] = {
        {"count", 'n', "N", "round trips, default 3", CTL_COUNT, &count},
    };
    struct ambient_error err;
    int r = ctl_parse(ctl, command, options, sizeof options / sizeof options[0], 0, argc, argv);

    r = r != CTL_PARSED ? r : ctl_check_count(command, "count", count, 1, UINT64_MAX);
    if (r >= 0) {
        return r;
    }
    if (ctl_connect(ctl) != CTL_OK) {
        return CTL_FAILED;
    }
    for (uint64_t i = 0; i < count; i++) {
        double began = ping_now();

        if (ambient_call(NULL, ctl->client, "PING", NULL, &err) < 0) {
            return ctl_fail(&err);
        }
        if (ping_print(ctl, ping_now() - began) != CTL_OK) {
            return CTL_FAILED;
        }
    }
    return CTL_OK;
}

/* "2 unmatched: line 3: 'cat.png', ..." for the lines that found no sample, several, or one that was named before. */
static void import_examples(const cJSON *reply, const char *what) {
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(reply, what), *example;
    const char *comma = ": ";

    if (ctl_get_number(object, "n") <= 0) {
        return;
    }
    printf("  %.0f %s", ctl_get_number(object, "n"), what);
    cJSON_ArrayForEach(example, cJSON_GetObjectItemCaseSensitive(object, "examples")) {
        printf("%s%s", comma, cJSON_IsString(example) ? example->valuestring : "");
        comma = ", ";
    }
    printf("\n");
}

static void import_print(const cJSON *reply) {
    const cJSON *generation = cJSON_GetObjectItemCaseSensitive(reply, "generation");
    const char *rule = ctl_get_string(reply, "rule");

    printf("%.0f lines, %.0f matched by %s\n", ctl_get_number(reply, "lines"), ctl_get_number(reply, "matched"),
           rule[0] != '\0' ? rule : "nothing");
    import_examples(reply, "unmatched");
    import_examples(reply, "ambiguous");
    import_examples(reply, "repeated");
    printf("  %.0f samples without annotation in this file\n", ctl_get_number(reply, "without_annotation"));
    printf("annotation generation %.0f (%s)%s\n", ctl_get_number(generation, "number"),
           ctl_get_string(generation, "fingerprint"),
           cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(generation, "changed")) ? ", nothing changed" : "");
}

int ctl_run_import(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("import");
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    char path[PATH_MAX];
    cJSON *request;
    int r = ctl_parse(ctl, command, NULL, 0, 1, argc, argv);

    if (r >= 0) {
        return r;
    }
    if (realpath(argv[0], path) == NULL) {
        fprintf(stderr, "ambientctl: %s: %s\n", argv[0], strerror(errno));
        return CTL_FAILED;
    }
    request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "path", path);
    if (ctl_ask(&reply, ctl, "IMPORT", request) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    import_print(reply);
    return CTL_OK;
}
