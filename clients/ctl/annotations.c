/*
 * Annotations: what is known of samples, in the terminal and as files; its subcommands are rows of a table of their
 * own. Pictures are put together in show.c and grid.c.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/suggest.h"
#include "clients/ctl/annotations.h"

#define HISTOGRAM_ROWS 4u
#define COUNT(a)       (sizeof(a) / sizeof((a)[0]))

/* stats */

/* Bars of eighths, HISTOGRAM_ROWS high, one column a bin. */
static void histogram_print(const cJSON *counts) {
    static const char *const eighths[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    const cJSON *count;
    double most = 1;

    cJSON_ArrayForEach(count, counts) {
        most = count->valuedouble > most ? count->valuedouble : most;
    }
    for (unsigned row = HISTOGRAM_ROWS; row-- > 0;) {
        printf("    ");
        cJSON_ArrayForEach(count, counts) {
            double level = count->valuedouble / most * HISTOGRAM_ROWS * 8 - 8.0 * row;
            int eighth = level >= 8 ? 8 : level <= 0 ? 0 : (int)ceil(level);

            printf("%s", eighths[eighth]);
        }
        printf("%s\n", "");
    }
}

static void axis_print(const cJSON *bins) {
    int n = cJSON_GetArraySize(bins) - 1;
    char lo[CTL_TEXT_BYTES], middle[CTL_TEXT_BYTES], hi[CTL_TEXT_BYTES];

    if (n < 2) {
        return;
    }
    ctl_text_sigma(lo, cJSON_GetArrayItem(bins, 0));
    ctl_text_sigma(middle, cJSON_GetArrayItem(bins, n / 2));
    ctl_text_sigma(hi, cJSON_GetArrayItem(bins, n));
    if ((int)strlen(lo) >= n / 2 || (int)strlen(middle) > n - n / 2 - (int)strlen(hi)) { /* few bins */
        printf("    %s to %s\n", lo, hi);
        return;
    }
    printf("    %-*s%-*s%s\n", n / 2, lo, n - n / 2 - (int)strlen(hi) + 1, middle, hi);
}

static void side_print(const cJSON *group, const char *name, const cJSON *bins) {
    const cJSON *side = cJSON_GetObjectItemCaseSensitive(group, name);
    const cJSON *quantiles = cJSON_GetObjectItemCaseSensitive(side, "quantiles");
    double total = ctl_get_number(group, "samples");
    char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES], c[CTL_TEXT_BYTES];

    printf("  %s: ", name);
    if (ctl_get_number(side, "zero") + ctl_get_number(side, "inf") < total) {
        printf("quartiles %s  %s  %s", ctl_text_sigma(a, cJSON_GetArrayItem(quantiles, 1)),
               ctl_text_sigma(b, cJSON_GetArrayItem(quantiles, 2)), ctl_text_sigma(c, cJSON_GetArrayItem(quantiles, 3)));
        printf("; from %s", ctl_text_sigma(a, cJSON_GetArrayItem(quantiles, 0)));
        printf(" to %s; ", ctl_text_sigma(a, cJSON_GetArrayItem(quantiles, 4)));
    }
    printf("0: %s, ", ctl_text_count(a, ctl_get_number(side, "zero")));
    printf("inf: %s\n", ctl_text_count(a, ctl_get_number(side, "inf")));
    if (ctl_get_number(side, "zero") + ctl_get_number(side, "inf") < total) {
        histogram_print(cJSON_GetObjectItemCaseSensitive(side, "counts"));
        axis_print(bins);
    }
}

static void stats_print(const cJSON *reply, const char *by) {
    const cJSON *group, *bins = cJSON_GetObjectItemCaseSensitive(reply, "bins");

    cJSON_ArrayForEach(group, cJSON_GetObjectItemCaseSensitive(reply, "groups")) {
        char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES], c[CTL_TEXT_BYTES];

        printf("%s %s: %s samples, %s annotated, %s not", by, ctl_get_string(group, "name"),
               ctl_text_count(a, ctl_get_number(group, "samples")), ctl_text_count(b, ctl_get_number(group, "annotated")),
               ctl_text_count(c, ctl_get_number(group, "samples") - ctl_get_number(group, "annotated")));
        if (ctl_get_number(group, "given_up") > 0) {
            printf(", %s given up", ctl_text_count(a, ctl_get_number(group, "given_up")));
        }
        if (ctl_get_number(group, "quarantined") > 0) {
            printf(", %s quarantined", ctl_text_count(a, ctl_get_number(group, "quarantined")));
        }
        printf("\n");
        side_print(group, "sigma_min", bins);
        side_print(group, "sigma_max", bins);
    }
}

static int run_stats(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv) {
    const char *by = "source";
    uint64_t bins = ctl_columns() - 5 < 48 ? ctl_columns() - 5 : 48;
    const struct ctl_option options[] = {
        {"by", 0, "WHAT", "source (default) or label", CTL_STRING, &by},
        {"bins", 0, "N", "bins of the histograms, default 48 where they fit", CTL_COUNT, &bins},
    };
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    cJSON *request;
    int r = ctl_parse(ctl, command, options, COUNT(options), 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "by", by);
    ambp_json_add_u64(request, "bins", bins);
    if (ctl_ask(&reply, ctl, "STATS", request) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    stats_print(reply, by);
    return CTL_OK;
}

/* Files */

static int path_full(char out[PATH_MAX], const char *path, bool exists) {
    char folder[PATH_MAX], *slash;

    if (exists) {
        if (realpath(path, out) == NULL) {
            fprintf(stderr, "ambientctl: %s: %s\n", path, strerror(errno));
            return CTL_FAILED;
        }
        return CTL_OK;
    }
    snprintf(folder, sizeof folder, "%s%s", strchr(path, '/') == NULL ? "./" : "", path);
    slash = strrchr(folder, '/');
    *slash = '\0';
    if (realpath(folder[0] != '\0' ? folder : "/", out) == NULL) {
        fprintf(stderr, "ambientctl: %s: %s\n", folder, strerror(errno));
        return CTL_FAILED;
    }
    snprintf(out + strlen(out), PATH_MAX - strlen(out), "/%s", slash + 1);
    return CTL_OK;
}

static void generation_print(const cJSON *reply) {
    const cJSON *generation = cJSON_GetObjectItemCaseSensitive(reply, "generation");

    printf("annotation generation %.0f (%s)%s\n", ctl_get_number(generation, "number"),
           ctl_get_string(generation, "fingerprint"),
           cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(generation, "changed")) ? ", nothing changed" : "");
}

static int run_export(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv) {
    bool toolbox = false;
    const struct ctl_option options[] = {
        {"toolbox", 0, NULL, "as the Python toolbox reads them: by `filename`, infinity as 300.0", CTL_FLAG, &toolbox},
    };
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    char path[PATH_MAX], count[CTL_TEXT_BYTES];
    cJSON *request;
    int r = ctl_parse(ctl, command, options, COUNT(options), 1, argc, argv);

    if (r >= 0) {
        return r;
    }
    if (path_full(path, argv[0], false) != CTL_OK) {
        return CTL_FAILED;
    }
    request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "path", path);
    cJSON_AddBoolToObject(request, "toolbox", toolbox);
    if (ctl_ask(&reply, ctl, "EXPORT", request) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    printf("%s lines written to %s\n", ctl_text_count(count, ctl_get_number(reply, "lines")), ctl_get_string(reply, "path"));
    return CTL_OK;
}

static int run_import(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv) {
    (void)command;
    return ctl_run_import(ctl, argc, argv);
}

static int run_merge(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    char path[PATH_MAX], a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES], c[CTL_TEXT_BYTES];
    cJSON *request;
    int r = ctl_parse(ctl, command, NULL, 0, 1, argc, argv);

    if (r >= 0) {
        return r;
    }
    if (path_full(path, argv[0], true) != CTL_OK) {
        return CTL_FAILED;
    }
    request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "path", path);
    if (ctl_ask(&reply, ctl, "MERGE", request) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    printf("%s records of our samples found, %s taken over, %s curves\n", ctl_text_count(a, ctl_get_number(reply, "records")),
           ctl_text_count(b, ctl_get_number(reply, "taken")), ctl_text_count(c, ctl_get_number(reply, "curves")));
    if (ctl_get_number(reply, "damaged") > 0) {
        printf("the other store is DAMAGED in %.0f places, the first: %s; the rest was taken\n", ctl_get_number(reply, "damaged"),
               ctl_get_string(reply, "first_damage"));
    }
    generation_print(reply);
    return CTL_OK;
}

static int run_mint(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    int r = ctl_parse(ctl, command, NULL, 0, 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    if (ctl_ask(&reply, ctl, "MINT", NULL) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    generation_print(reply);
    return CTL_OK;
}

static void verify_print(const cJSON *reply) {
    char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES], c[CTL_TEXT_BYTES];

    printf("%s records, %.0f generations; table %s, journal %s\n", ctl_text_count(a, ctl_get_number(reply, "records")),
           ctl_get_number(reply, "generations"), ctl_text_bytes(b, ctl_get_number(reply, "table_bytes")),
           ctl_text_bytes(c, ctl_get_number(reply, "journal_bytes")));
    if (ctl_get_number(reply, "torn_bytes") > 0) {
        printf("%.0f bytes behind the last whole record: a write that was never acknowledged\n", ctl_get_number(reply, "torn_bytes"));
    }
    if (ctl_get_number(reply, "damaged") > 0) {
        printf("DAMAGED in %.0f places, the first: %s\n", ctl_get_number(reply, "damaged"), ctl_get_string(reply, "first_damage"));
    } else {
        printf("every record is whole\n");
    }
}

static int run_verify(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    int r = ctl_parse(ctl, command, NULL, 0, 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    if (ctl_ask(&reply, ctl, "VERIFY", NULL) != CTL_OK) {
        return CTL_FAILED;
    }
    r = ctl_get_number(reply, "damaged") > 0 ? CTL_FAILED : CTL_OK;
    if (ctl->json) {
        return ctl_print_json(reply) == CTL_OK ? r : CTL_FAILED;
    }
    verify_print(reply);
    return r;
}

/* The table */

struct subcommand {
    struct ctl_command command;
    int (*run)(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv);
};

static const struct subcommand subcommands[] = {
    {{"annotations stats", "", "histograms of sigma_min and sigma_max, by source or label",
      "Bars are counts in log-spaced bins of sigma, common to all groups. 0 and inf lie on no log axis and are\n"
      "counted beside: a closed side is sigma_min inf or sigma_max 0.",
      "ambientctl annotations stats\n    ambientctl annotations stats --by label", NULL},
     run_stats},
    {{"annotations show", "KEY", "one sample: who said what, and its curve",
      "Draws the probability of low quality against sigma, with threshold, sigma_min and interval, in the terminal,\n"
      "or as a PNG with -o. Curves are there where the job kept them (`annotate --curves`).",
      "ambientctl annotations show 000017\n    ambientctl annotations show 000017 -o curve.png", NULL},
     ctl_annotations_show},
    {{"annotations grid", "", "pictures sorted by sigma_min, as a PNG",
      "Samples evenly spread over the quantiles of sigma_min, the value under each, a band of quantiles in each row: what\n"
      "the classifier takes for good and for bad.",
      "ambientctl annotations grid -o grid.png\n    ambientctl annotations grid -o g.png --rows 9 --columns 12", NULL},
     ctl_annotations_grid},
    {{"annotations given-up", "", "samples of which an annotator has no answer, and why",
      "Why stands beside each: no probability from the model, a label that it has not, or a picture that cannot be read.\n"
      "They keep their source's default; a job passes over them unless it is asked with --where annotated=any. A sample of\n"
      "which an earlier job had an answer keeps that, and is not listed.",
      "ambientctl annotations given-up\n    ambientctl annotations given-up --json | jq -r .key", NULL},
     ctl_annotations_given_up},
    {{"annotations export", "FILE", "write the present generation as annotations.jsonl",
      "One line a sample; the daemon writes the file. With --toolbox in the form that the Python toolbox reads.",
      "ambientctl annotations export annotations.jsonl --toolbox", NULL},
     run_export},
    {{"annotations import", "FILE", "read an annotations file: the same as `ambientctl import`",
      "See `ambientctl import --help`.", "ambientctl annotations import annotations.jsonl", NULL},
     run_import},
    {{"annotations merge", "DIR", "take over what another daemon annotated",
      "DIR is the store of the other daemon: STATE_DIR/annotations/DATASET. Records of samples that are served here and\n"
      "that are not annotated here yet are taken over, each side by itself. The other daemon may go on; where its store is\n"
      "damaged, what can be read is taken.",
      "ambientctl annotate main -m c.onnx --part 1/2   # on this machine, 2/2 on the other\n"
      "    ambientctl annotations merge /mnt/other/state/annotations/main", NULL},
     run_merge},
    {{"annotations mint", "", "make the annotations as they stand the next generation, now",
      "Streams take it up as they follow or advance. It happens by itself at the end of a job and every minute.",
      "ambientctl annotations mint", NULL},
     run_mint},
    {{"annotations verify", "", "read the whole store and check every record",
      "Exit status 1 where something is damaged; what is damaged is skipped and kept aside, the rest is served.",
      "ambientctl annotations verify", NULL},
     run_verify},
};

static void annotations_help(void) {
    printf("NAME\n    ambientctl annotations - what is known of the samples\n\n"
           "SYNOPSIS\n    ambientctl annotations SUBCOMMAND [OPTION...] [ARGUMENT...]\n\nSUBCOMMANDS\n");
    for (size_t i = 0; i < COUNT(subcommands); i++) {
        printf("    %-9s %s\n", strrchr(subcommands[i].command.name, ' ') + 1, subcommands[i].command.summary);
    }
    printf("\n    `ambientctl annotations SUBCOMMAND --help` has the page of each.\n");
}

int ctl_run_annotations(struct ctl *ctl, int argc, char **argv) {
    const char *names[COUNT(subcommands)], *nearest;

    for (size_t i = 0; i < COUNT(subcommands); i++) {
        names[i] = strrchr(subcommands[i].command.name, ' ') + 1;
        if (argc > 1 && strcmp(argv[1], names[i]) == 0) {
            return subcommands[i].run(ctl, &subcommands[i].command, argc - 1, argv + 1);
        }
    }
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        annotations_help();
        return argc < 2 ? CTL_USAGE : CTL_OK;
    }
    nearest = amb_suggest_get(argv[1], names, COUNT(subcommands));
    fprintf(stderr, "ambientctl annotations: no subcommand '%s'%s%s%s; see `ambientctl annotations --help`\n", argv[1],
            nearest != NULL ? ", did you mean '" : "", nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
    return CTL_USAGE;
}
