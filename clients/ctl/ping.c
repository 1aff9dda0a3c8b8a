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

int ctl_run_ping(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("ping");
    uint64_t count = 3;
    const struct ctl_option options[] = {
        {"count", 'n', "N", "round trips, default 3", CTL_COUNT, &count},
    };
    struct ambient_error err;
    int r = ctl_parse(ctl, command, options, sizeof options / sizeof options[0], 0, argc, argv);

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
        printf("%s answered in %.3f ms\n", ambient_server(ctl->client), 1e3 * (ping_now() - began));
    }
    return CTL_OK;
}

int ctl_run_import(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("import");
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    char path[PATH_MAX], set[CTL_TEXT_BYTES];
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
    if (reply != NULL) {
        printf("%s\nannotation generation %.0f (%s), %s samples set\n", ctl_get_string(reply, "report"),
               ctl_get_number(reply, "generation"), ctl_get_string(reply, "fingerprint"),
               ctl_text_count(set, ctl_get_number(reply, "set")));
    }
    return CTL_OK;
}
