/*
 * List: the commands that print rows: ls, quarantine, generations.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "clients/ctl/ctl.h"

/* A row of anything: every value in the order in which the daemon gave them, aligned by fixed widths. */
static void list_row(const cJSON *row) {
    const cJSON *item;

    cJSON_ArrayForEach(item, row) {
        if (cJSON_IsNumber(item)) {
            printf("%12.12g  ", item->valuedouble);
        } else if (cJSON_IsString(item)) {
            printf("%-24s  ", item->valuestring);
        } else if (cJSON_IsBool(item)) {
            printf("%-7s  ", cJSON_IsTrue(item) ? "yes" : "no");
        } else {
            printf("%-7s  ", cJSON_IsNull(item) ? "-" : "...");
        }
    }
    printf("\n");
}

static void list_head(const cJSON *row) {
    const cJSON *item;

    cJSON_ArrayForEach(item, row) {
        printf(cJSON_IsNumber(item) ? "%12s  " : cJSON_IsString(item) ? "%-24s  " : "%-7s  ", item->string);
    }
    printf("\n");
}

static void list_rows(const cJSON *rows) {
    const cJSON *row;

    if (cJSON_GetArraySize(rows) > 0) {
        list_head(cJSON_GetArrayItem(rows, 0));
    }
    cJSON_ArrayForEach(row, rows) {
        list_row(row);
    }
}

int ctl_run_list(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("ls");
    const char *what = "samples";
    uint64_t start = 0, count = 100;
    const struct ctl_option options[] = {
        {"what", 'w', "WHAT", "samples (default), shards or sources", CTL_STRING, &what},
        {"start", 0, "N", "first row, from 0", CTL_COUNT, &start},
        {"count", 'n', "N", "rows at the most, default 100, up to 10,000", CTL_COUNT, &count},
    };
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    cJSON *request;
    double shown;
    int r = ctl_parse(ctl, command, options, sizeof options / sizeof options[0], 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "what", what);
    ambp_json_add_u64(request, "start", start);
    ambp_json_add_u64(request, "count", count);
    if (ctl_ask(&reply, ctl, "LIST", request) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    list_rows(cJSON_GetObjectItemCaseSensitive(reply, "rows"));
    shown = (double)start + cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(reply, "rows"));
    if (shown < ctl_get_number(reply, "total")) {
        printf("... %.0f of %.0f; go on with --start %.0f\n", shown, ctl_get_number(reply, "total"), shown);
    }
    return CTL_OK;
}

static int list_export(const cJSON *rows, const char *path) {
    AMB_CLEANUP(amb_file_closep) FILE *file = fopen(path, "w");
    struct amb_error err;
    const cJSON *row;

    if (file == NULL) {
        fprintf(stderr, "ambientctl: cannot write %s: %s\n", path, strerror(errno));
        return CTL_FAILED;
    }
    cJSON_ArrayForEach(row, rows) {
        fprintf(file, "%s/%s\n", ctl_get_string(row, "source"), ctl_get_string(row, "key"));
    }
    if (amb_file_flush(file, path, &err) < 0) {
        fprintf(stderr, "ambientctl: %s\n", err.message);
        return CTL_FAILED;
    }
    return CTL_OK;
}

static void quarantine_print(const cJSON *rows) {
    const cJSON *row;

    cJSON_ArrayForEach(row, rows) {
        printf("%s/%s\n    %s\n    in %s\n", ctl_get_string(row, "source"), ctl_get_string(row, "key"),
               ctl_get_string(row, "reason"), ctl_get_string(row, "shard"));
    }
}

int ctl_run_quarantine(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("quarantine");
    const char *path = NULL;
    uint64_t start = 0, count = 10000;
    const struct ctl_option options[] = {
        {"export", 0, "FILE", "write source/key lines for `exclude`", CTL_STRING, &path},
        {"start", 0, "N", "first row, from 0", CTL_COUNT, &start},
        {"count", 'n', "N", "rows at the most, default 10,000", CTL_COUNT, &count},
    };
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    const cJSON *rows;
    cJSON *request;
    int r = ctl_parse(ctl, command, options, sizeof options / sizeof options[0], 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    ctl->raw = path != NULL;
    request = cJSON_CreateObject();
    ambp_json_add_u64(request, "start", start);
    ambp_json_add_u64(request, "count", count);
    if (ctl_ask(&reply, ctl, "QUARANTINE", request) != CTL_OK) {
        return CTL_FAILED;
    }
    rows = cJSON_GetObjectItemCaseSensitive(reply, "rows");
    if (path != NULL && list_export(rows, path) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    if (path != NULL) {
        printf("%d samples written to %s; name it under `exclude` in the config to leave them out\n",
               cJSON_GetArraySize(rows), path);
    } else {
        quarantine_print(rows);
    }
    printf("%.0f samples in quarantine\n", ctl_get_number(reply, "total"));
    return CTL_OK;
}

/* Those of the dataset, each with its annotations below it. */
static void generations_print(const cJSON *reply) {
    const cJSON *edition, *row, *holder;
    char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES];

    cJSON_ArrayForEach(edition, cJSON_GetObjectItemCaseSensitive(reply, "dataset")) {
        const char *fingerprint = ctl_get_string(edition, "fingerprint"), *comma = "";

        printf("generation %.0f  %s  %s samples in %s shards%s\n", ctl_get_number(edition, "number"), fingerprint,
               ctl_text_count(a, ctl_get_number(edition, "samples")), ctl_text_count(b, ctl_get_number(edition, "shards")),
               cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(edition, "current")) ? ", current" : "");
        if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(edition, "holders")) > 0) {
            printf("  held by session ");
            cJSON_ArrayForEach(holder, cJSON_GetObjectItemCaseSensitive(edition, "holders")) {
                printf("%s%.0f", comma, cJSON_IsNumber(holder) ? holder->valuedouble : 0);
                comma = ", ";
            }
            printf("\n");
        }
        cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(reply, "annotations")) {
            if (strcmp(ctl_get_string(row, "dataset"), fingerprint) == 0) {
                printf("  annotations %.0f  %s  %s set, %.0f streams%s\n", ctl_get_number(row, "number"),
                       ctl_get_string(row, "fingerprint"), ctl_text_count(a, ctl_get_number(row, "set")),
                       ctl_get_number(row, "streams"),
                       cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "current")) ? ", current" : "");
            }
        }
    }
}

int ctl_run_generations(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("generations");
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    int r = ctl_parse(ctl, command, NULL, 0, 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    if (ctl_ask(&reply, ctl, "GENERATIONS", NULL) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    generations_print(reply);
    return CTL_OK;
}
