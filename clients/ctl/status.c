/*
 * Status: server, cache, datasets with their annotations, sessions; one screen.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "clients/ctl/ctl.h"

static void status_server(const cJSON *server) {
    char uptime[CTL_TEXT_BYTES], rss[CTL_TEXT_BYTES], cpu[CTL_TEXT_BYTES];

    printf("ambientd %s, pid %.0f, up %s, %.0f workers (%s), %s resident, %s CPU\n", ctl_get_string(server, "version"),
           ctl_get_number(server, "pid"), ctl_text_seconds(uptime, ctl_get_number(server, "uptime_s")),
           ctl_get_number(server, "workers"), ctl_get_string(server, "path"),
           ctl_text_bytes(rss, ctl_get_number(server, "rss_bytes")),
           ctl_text_seconds(cpu, ctl_get_number(server, "cpu_s")));
}

static void status_cache(const cJSON *cache) {
    char used[CTL_TEXT_BYTES], capacity[CTL_TEXT_BYTES], entries[CTL_TEXT_BYTES];
    double hits = ctl_get_number(cache, "hits"), total = hits + ctl_get_number(cache, "misses");

    printf("cache    %s images in %s of %s", ctl_text_count(entries, ctl_get_number(cache, "entries")),
           ctl_text_bytes(used, ctl_get_number(cache, "used_bytes")),
           ctl_text_bytes(capacity, ctl_get_number(cache, "capacity_bytes")));
    if (total > 0) {
        printf(", %.1f %% hits", 100 * hits / total);
    }
    printf("\n");
}

/* "sigma_min  import 1,280, default 1,920" */
static void status_origins(const char *side, const cJSON *counts) {
    char count[CTL_TEXT_BYTES];
    const cJSON *item;
    const char *comma = "  ";

    printf("  %-11s", side);
    cJSON_ArrayForEach(item, counts) {
        if (item->valuedouble > 0) {
            printf("%s%s %s", comma, item->string, ctl_text_count(count, item->valuedouble));
            comma = ", ";
        }
    }
    printf("\n");
}

static void status_lines(const cJSON *lines) {
    const cJSON *line;

    cJSON_ArrayForEach(line, lines) {
        const char *text = cJSON_IsString(line) ? line->valuestring : "";

        while (*text != '\0') {
            size_t n = strcspn(text, "\n");

            printf("    %.*s\n", (int)n, text);
            text += n + (text[n] == '\n');
        }
    }
}

static void status_dataset(const cJSON *dataset) {
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(dataset, "shape"), *source;
    const cJSON *annotations = cJSON_GetObjectItemCaseSensitive(dataset, "annotations");
    const cJSON *origins = cJSON_GetObjectItemCaseSensitive(annotations, "by_origin");
    const cJSON *store = cJSON_GetObjectItemCaseSensitive(annotations, "store");
    char samples[CTL_TEXT_BYTES], set[CTL_TEXT_BYTES], bad[CTL_TEXT_BYTES];

    printf("\ndataset %s: %s samples in %.0f shards, %s %.0f x %.0f x %.0f%s%s\n", dataset->string,
           ctl_text_count(samples, ctl_get_number(dataset, "samples")), ctl_get_number(dataset, "shards"),
           cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(shape, "latent")) ? "latents" : "images",
           ctl_get_number(shape, "channels"), ctl_get_number(shape, "height"), ctl_get_number(shape, "width"),
           ctl_get_string(dataset, "transform")[0] != '\0' ? ", " : "", ctl_get_string(dataset, "transform"));
    printf("  generation   %.0f (%.8s)\n", ctl_get_number(dataset, "generation"),
           ctl_get_string(dataset, "fingerprint"));
    cJSON_ArrayForEach(source, cJSON_GetObjectItemCaseSensitive(dataset, "sources")) {
        double repeat = ctl_get_number(source, "repeat");

        printf("  source %-12s %s samples, %.0f shards", ctl_get_string(source, "name"),
               ctl_text_count(samples, ctl_get_number(source, "samples")), ctl_get_number(source, "shards"));
        if (fabs(repeat - 1) > 0) {
            printf(", repeat %g", repeat);
        }
        printf("\n");
    }
    printf("  annotations  generation %.0f (%.8s), %s samples set\n", ctl_get_number(annotations, "generation"),
           ctl_get_string(annotations, "fingerprint"), ctl_text_count(set, ctl_get_number(annotations, "set")));
    status_origins("sigma_min", cJSON_GetObjectItemCaseSensitive(origins, "sigma_min"));
    status_origins("sigma_max", cJSON_GetObjectItemCaseSensitive(origins, "sigma_max"));
    status_lines(cJSON_GetObjectItemCaseSensitive(annotations, "reports"));
    if (ctl_get_number(dataset, "quarantined") > 0) {
        printf("  quarantined  %s samples: see `ambientctl quarantine`\n",
               ctl_text_count(bad, ctl_get_number(dataset, "quarantined")));
    }
    if (ctl_get_number(store, "damaged") > 0) {
        printf("  store        DAMAGED, the rest is served: see `ambientctl annotations verify`\n");
    }
    if (ctl_get_string(store, "failed")[0] != '\0') {
        printf("  store        TAKES NOTHING ANY MORE, streams go on: %s\n", ctl_get_string(store, "failed"));
    }
    status_lines(cJSON_GetObjectItemCaseSensitive(dataset, "findings"));
}

/* How far each source is, by state: a question of its own, since it walks every sample. */
static void status_states(struct ctl *ctl, const char *dataset) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    AMB_CLEANUP(amb_freep) char *text = NULL;
    struct ambient_error err;
    const cJSON *group;
    cJSON *request = cJSON_CreateObject();
    char *question;

    cJSON_AddStringToObject(request, "dataset", dataset);
    question = cJSON_PrintUnformatted(request);
    cJSON_Delete(request);
    if (ambient_call(&text, ctl->client, "STATS", question, &err) == 0) {
        ambp_json_decode(&reply, text, strlen(text), AMBP_JSON_DEPTH_MAX, NULL);
    }
    cJSON_free(question);
    cJSON_ArrayForEach(group, cJSON_GetObjectItemCaseSensitive(reply, "groups")) {
        double samples = ctl_get_number(group, "samples"), annotated = ctl_get_number(group, "annotated");
        char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES], c[CTL_TEXT_BYTES];

        printf("  annotated    source %s: %s (%.1f %%), %s not, %s given up\n", ctl_get_string(group, "name"),
               ctl_text_count(a, annotated), samples > 0 ? 100 * annotated / samples : 0.0,
               ctl_text_count(b, samples - annotated), ctl_text_count(c, ctl_get_number(group, "given_up")));
    }
}

/* Jobs that have not ended, of the dataset that was named. */
static void status_jobs(const cJSON *jobs, const char *dataset) {
    const cJSON *job;

    cJSON_ArrayForEach(job, jobs) {
        const char *state = ctl_get_string(job, "state"), *reason = ctl_get_string(job, "reason");
        char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES], c[CTL_TEXT_BYTES];

        if (strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 || strcmp(state, "cancelled") == 0 ||
            (dataset != NULL && strcmp(dataset, ctl_get_string(job, "dataset")) != 0)) {
            continue;
        }
        printf("\njob %.0f %s: dataset %s, %s of %s samples, %.1f/s, %s evaluations/s, ETA %s%s%s\n", ctl_get_number(job, "id"),
               state, ctl_get_string(job, "dataset"), ctl_text_count(a, ctl_get_number(job, "done")),
               ctl_text_count(b, ctl_get_number(job, "total")), ctl_get_number(job, "samples_per_s"),
               ctl_text_count(c, ctl_get_number(job, "evaluations_per_s")),
               ctl_get_number(job, "eta_s") > 0 ? ctl_text_seconds((char[CTL_TEXT_BYTES]){0}, ctl_get_number(job, "eta_s")) : "-",
               reason[0] != '\0' ? "; " : "", reason);
    }
}

static void status_sessions(const cJSON *sessions) {
    const cJSON *session;

    int n_streams = 0;

    cJSON_ArrayForEach(session, sessions) {
        n_streams += ctl_get_number(session, "slots") > 0;
    }
    if (n_streams == 0) {
        printf("\nnobody streams\n");
        return;
    }
    printf("\n%4s  %-22s %-8s %-7s %9s %6s %12s %10s %9s %9s\n", "id", "client", "pid", "rank", "step", "slots",
           "images", "bytes", "client", "fill");
    cJSON_ArrayForEach(session, sessions) {
        const char *name = ctl_get_string(session, "client");
        char client[23], rank[CTL_TEXT_BYTES], slots[CTL_TEXT_BYTES], images[CTL_TEXT_BYTES], bytes[CTL_TEXT_BYTES],
            wait_client[CTL_TEXT_BYTES], wait_fill[CTL_TEXT_BYTES];

        if (ctl_get_number(session, "slots") <= 0) {
            continue; /* somebody who only asks, as we do */
        }
        amb_utf8_store(client, sizeof client, name, strlen(name));
        snprintf(rank, sizeof rank, "%.0f/%.0f", ctl_get_number(session, "rank"), ctl_get_number(session, "world_size"));
        snprintf(slots, sizeof slots, "%.0f/%.0f", ctl_get_number(session, "slots_lent"),
                 ctl_get_number(session, "slots"));
        printf("%4.0f  %-22s %-8.0f %-7s %9.0f %6s %12s %10s %9s %9s\n", ctl_get_number(session, "id"),
               client, ctl_get_number(session, "pid"), rank, ctl_get_number(session, "step"),
               slots, ctl_text_count(images, ctl_get_number(session, "images")),
               ctl_text_bytes(bytes, ctl_get_number(session, "bytes")),
               ctl_text_seconds(wait_client, ctl_get_number(session, "wait_client_s")),
               ctl_text_seconds(wait_fill, ctl_get_number(session, "wait_fill_s")));
        if (ctl_get_string(session, "stays")[0] != '\0') {
            printf("      stays on its generation, the newest is not for it: %s\n", ctl_get_string(session, "stays"));
        }
    }
}

static void status_counters(const cJSON *counters) {
    const cJSON *item;
    const char *comma = "\ncounters ";

    cJSON_ArrayForEach(item, counters) {
        if (cJSON_IsNumber(item) && item->valuedouble > 0) {
            printf("%s%s %.0f", comma, item->string, item->valuedouble);
            comma = ", ";
        }
    }
    printf("%s", comma[0] == ',' ? "\n" : "");
}

/* STATUS is of all datasets: the one that was named is looked for here, and refused in the daemon's words. */
static int status_check(const cJSON *datasets, const char *name) {
    const char *comma = "; there are: ";
    const cJSON *dataset;

    if (name == NULL || cJSON_GetObjectItemCaseSensitive(datasets, name) != NULL) {
        return CTL_OK;
    }
    fprintf(stderr, "ambientctl: no dataset '%s'", name);
    cJSON_ArrayForEach(dataset, datasets) {
        fprintf(stderr, "%s%s", comma, dataset->string);
        comma = ", ";
    }
    fprintf(stderr, "\n");
    return CTL_FAILED;
}

int ctl_run_status(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("status");
    AMB_CLEANUP(ambp_json_deletep) cJSON *status = NULL;
    const cJSON *dataset;
    int r = ctl_parse(ctl, command, NULL, 0, 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    if (ctl_ask(&status, ctl, "STATUS", NULL) != CTL_OK) {
        return CTL_FAILED;
    }
    if (status_check(cJSON_GetObjectItemCaseSensitive(status, "datasets"), ctl->dataset) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(status);
    }
    status_server(cJSON_GetObjectItemCaseSensitive(status, "server"));
    status_cache(cJSON_GetObjectItemCaseSensitive(status, "cache"));
    cJSON_ArrayForEach(dataset, cJSON_GetObjectItemCaseSensitive(status, "datasets")) {
        if (ctl->dataset == NULL || strcmp(ctl->dataset, dataset->string) == 0) {
            status_dataset(dataset);
            status_states(ctl, dataset->string);
        }
    }
    status_jobs(cJSON_GetObjectItemCaseSensitive(status, "jobs"), ctl->dataset);
    status_sessions(cJSON_GetObjectItemCaseSensitive(status, "sessions"));
    status_counters(cJSON_GetObjectItemCaseSensitive(status, "counters"));
    return CTL_OK;
}
