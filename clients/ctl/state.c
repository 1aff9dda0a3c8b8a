/*
 * State: read a saved stream state and say what it resumes; the daemon is asked whether it has those fingerprints.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "clients/ctl/ctl.h"

#define STATE_FILE_BYTES (1u << 20) /* a state is at most 8 KiB; a file with more around it is allowed */

static int state_load(struct amb_buf *text, const char *path) {
    AMB_CLEANUP(amb_file_closep) FILE *opened = NULL;
    FILE *file = stdin;

    if (strcmp(path, "-") != 0) {
        opened = fopen(path, "rb");
        file = opened;
    }
    if (file == NULL || amb_buf_reserve(text, STATE_FILE_BYTES) < 0) {
        fprintf(stderr, "ambientctl: cannot read %s: %s\n", path, strerror(errno));
        return CTL_FAILED;
    }
    text->n_bytes = fread(text->data, 1, STATE_FILE_BYTES, file);
    return CTL_OK;
}

/* A checkpoint may hold the state under "state". */
static const cJSON *state_find(const cJSON *json) {
    const cJSON *inner = cJSON_GetObjectItemCaseSensitive(json, "state");

    return cJSON_IsObject(inner) ? inner : json;
}

static bool state_known(const cJSON *rows, const char *fingerprint) {
    const cJSON *row;

    cJSON_ArrayForEach(row, rows) {
        if (strcmp(ctl_get_string(row, "fingerprint"), fingerprint) == 0) {
            return true;
        }
    }
    return false;
}

static int state_compare(struct ctl *ctl, const cJSON *state) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    static const char *const sides[] = {"dataset", "annotations"};
    int r = CTL_OK;

    if (ctl_ask(&reply, ctl, "GENERATIONS", NULL) != CTL_OK || reply == NULL) {
        return CTL_FAILED;
    }
    for (size_t i = 0; i < 2; i++) {
        bool known = state_known(cJSON_GetObjectItemCaseSensitive(reply, sides[i]), ctl_get_string(state, sides[i]));

        printf("%-12s %s: %s\n", sides[i], ctl_get_string(state, sides[i]),
               known ? "the daemon has it" : "not in the daemon's memory");
        r = known ? r : CTL_FAILED;
    }
    printf(r == CTL_OK ? "this state can be resumed here\n"
                       : "this state can be resumed here only if the daemon, which must have a state directory, has served that\n"
                         "generation and its shards are still there; else with on_generation_change=continue, in new passes\n");
    return r;
}

int ctl_run_state(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("state");
    bool offline = false;
    const struct ctl_option options[] = {
        {"offline", 0, NULL, "do not ask the daemon", CTL_FLAG, &offline},
    };
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf text = AMB_BUF_NULL;
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    AMB_CLEANUP(amb_freep) char *printed = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    const cJSON *state;
    int r = ctl_parse(ctl, command, options, 1, 1, argc, argv);

    if (r >= 0) {
        return r;
    }
    if (state_load(&text, argv[0]) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ambp_json_decode(&json, (const char *)text.data, text.n_bytes, AMBP_JSON_DEPTH_MAX, &err) < 0) {
        fprintf(stderr, "ambientctl: %s: %s\n", argv[0], err.message);
        return CTL_FAILED;
    }
    state = state_find(json);
    if (ctl_get_string(state, "dataset")[0] == '\0') {
        fprintf(stderr, "ambientctl: %s is no stream state: it has no `dataset` fingerprint\n", argv[0]);
        return CTL_FAILED;
    }
    printf("format       %.0f\nstep         %.0f\ndraws (k)    %.0f\nrequests (q) %.0f\nintervals    %d\ncodecs       %s\n",
           ctl_get_number(state, "format"), ctl_get_number(state, "step"), ctl_get_number(state, "k"),
           ctl_get_number(state, "q"), cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(state, "cursors")),
           ctl_get_string(state, "codecs"));
    printed = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(state, "options"));
    printf("options      %s\n", printed != NULL ? printed : "-");
    return offline ? CTL_OK : state_compare(ctl, state);
}
