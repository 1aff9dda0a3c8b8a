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
    if (ferror(file)) { /* a folder opens as a file does */
        fprintf(stderr, "ambientctl: cannot read %s: %s\n", path, strerror(errno));
        return CTL_FAILED;
    }
    if (text->n_bytes == STATE_FILE_BYTES) {
        fprintf(stderr, "ambientctl: %s is no stream state: it has %u bytes or more, allowed: below\n", path, STATE_FILE_BYTES);
        return CTL_FAILED;
    }
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

/* What the daemon has of a state's fingerprints; absent where it was not asked. */
struct known {
    bool asked, sides[2]; /* as side_names */
};
static const char *const side_names[] = {"dataset", "annotations"};

static int known_load(struct known *out, struct ctl *ctl, const cJSON *state) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;

    if (ctl_ask(&reply, ctl, "GENERATIONS", NULL) != CTL_OK) {
        return CTL_FAILED;
    }
    out->asked = true;
    for (size_t i = 0; i < 2; i++) {
        out->sides[i] =
            state_known(cJSON_GetObjectItemCaseSensitive(reply, side_names[i]), ctl_get_string(state, side_names[i]));
    }
    return CTL_OK;
}

static bool known_resumes(const struct known *known) {
    return known->sides[0] && known->sides[1];
}

static int state_print_json(const cJSON *state, const struct known *known) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = cJSON_CreateObject();

    ambp_json_add_item(json, "state", cJSON_Duplicate(state, true));
    if (known->asked) {
        cJSON *sides = cJSON_AddObjectToObject(json, "known");

        for (size_t i = 0; i < 2; i++) {
            cJSON_AddBoolToObject(sides, side_names[i], known->sides[i]);
        }
        cJSON_AddBoolToObject(json, "resumes", known_resumes(known));
    }
    return ctl_print_json(json);
}

static void state_print(const cJSON *state, const struct known *known) {
    AMB_CLEANUP(amb_freep) char *options = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(state, "options"));

    printf("format       %.0f\nstep         %.0f\ndraws (k)    %.0f\nrequests (q) %.0f\nintervals    %d\ncodecs       %s\n",
           ctl_get_number(state, "format"), ctl_get_number(state, "step"), ctl_get_number(state, "k"),
           ctl_get_number(state, "q"), cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(state, "cursors")),
           ctl_get_string(state, "codecs"));
    printf("options      %s\n", options != NULL ? options : "-");
    if (!known->asked) {
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        printf("%-12s %s: %s\n", side_names[i], ctl_get_string(state, side_names[i]),
               known->sides[i] ? "the daemon has it" : "not in the daemon's memory");
    }
    printf(known_resumes(known)
               ? "this state can be resumed here\n"
               : "this state can be resumed here only if the daemon, which must have a state directory, has served that\n"
                 "generation and its shards are still there; else with on_generation_change=continue, in new passes\n");
}

int ctl_run_state(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("state");
    bool offline = false;
    const struct ctl_option options[] = {
        {"offline", 0, NULL, "do not ask the daemon", CTL_FLAG, &offline},
    };
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf text = AMB_BUF_NULL;
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct known known = {0};
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
    if (!offline && known_load(&known, ctl, state) != CTL_OK) {
        return CTL_FAILED;
    }
    if (!ctl->json) {
        state_print(state, &known);
    } else if (state_print_json(state, &known) != CTL_OK) {
        return CTL_FAILED;
    }
    return offline || known_resumes(&known) ? CTL_OK : CTL_FAILED;
}
