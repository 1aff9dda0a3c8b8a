/*
 * Reload: let the daemon read its configuration, shards and annotations anew, and say what came of it. While it works
 * a second connection asks how far it is.
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "clients/ctl/ctl.h"

#define BAR_COLUMNS 24u
#define WATCH_MS    250

/* The watcher's; a pipe that closes ends it. */
struct watch {
    pthread_t thread;
    const char *socket;
    int stop[2]; /* -1: there is none */
};

static void watch_print(const cJSON *status) {
    const cJSON *reload = cJSON_GetObjectItemCaseSensitive(status, "reload");
    double done = ctl_get_number(reload, "shards_done"), n = ctl_get_number(reload, "shards");
    double seconds = ctl_get_number(reload, "seconds"), rate = seconds > 0 ? done / seconds : 0;
    char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES], c[CTL_TEXT_BYTES];

    if (n > 0) {
        fprintf(stderr, "\r\033[K▕%s %s / %s shards  %.0f shards/s  ETA %s", ctl_text_bar(done / n, BAR_COLUMNS),
                ctl_text_count(a, done), ctl_text_count(b, n), rate, ctl_text_seconds(c, rate > 0 ? (n - done) / rate : 0));
        fflush(stderr);
    }
}

static void *watch_run(void *opaque) {
    struct watch *watch = opaque;
    struct ctl ctl = {.socket = watch->socket};
    struct pollfd stop = {.fd = watch->stop[0], .events = POLLIN};
    bool shown = false;

    while (poll(&stop, 1, WATCH_MS) == 0) {
        AMB_CLEANUP(ambp_json_deletep) cJSON *status = NULL;

        if (ctl_ask(&status, &ctl, "STATUS", NULL) != CTL_OK) {
            break;
        }
        watch_print(status);
        shown = true;
    }
    if (shown) {
        fprintf(stderr, "\r\033[K");
    }
    ambient_disconnect(ctl.client);
    return NULL;
}

static void watch_start(struct watch *watch, const struct ctl *ctl) {
    *watch = (struct watch){.socket = ctl->socket, .stop = {-1, -1}};
    if (ctl->json || isatty(STDERR_FILENO) == 0 || pipe(watch->stop) != 0) {
        watch->stop[0] = watch->stop[1] = -1;
        return;
    }
    if (pthread_create(&watch->thread, NULL, watch_run, watch) != 0) {
        close(watch->stop[0]);
        close(watch->stop[1]);
        watch->stop[0] = watch->stop[1] = -1;
    }
}

static void watch_end(struct watch *watch) {
    if (watch->stop[1] >= 0) {
        close(watch->stop[1]);
        pthread_join(watch->thread, NULL);
        close(watch->stop[0]);
    }
}

static void dataset_print(const cJSON *row, bool check) {
    const cJSON *annotations = cJSON_GetObjectItemCaseSensitive(row, "annotations");
    char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES];

    printf("%s: %s samples in %s shards", row->string, ctl_text_count(a, ctl_get_number(row, "samples")),
           ctl_text_count(b, ctl_get_number(row, "shards")));
    if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "changed"))) {
        printf(", as before\n");
    } else {
        printf("; %.0f shards kept, %.0f opened, %.0f gone\n", ctl_get_number(row, "kept"), ctl_get_number(row, "opened"),
               ctl_get_number(row, "gone"));
    }
    if (check && cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(annotations, "changed"))) {
        printf("  other annotations\n");
    }
    if (!check) {
        printf("  generation %.0f  %s\n  annotations %.0f  %s\n", ctl_get_number(row, "number"),
               ctl_get_string(row, "fingerprint"), ctl_get_number(annotations, "number"),
               ctl_get_string(annotations, "fingerprint"));
    }
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "new_subscription"))) {
        printf("  size, channels, labels or noise seed differ: running streams stay where they are until they subscribe anew\n");
    }
}

static void reply_print(const cJSON *reply, bool check) {
    const cJSON *item;
    char seconds[CTL_TEXT_BYTES];

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(reply, "datasets")) {
        dataset_print(item, check);
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(reply, "needs_restart")) {
        printf("not by a reload: %s\n", cJSON_IsString(item) ? item->valuestring : "");
    }
    printf("%s in %s\n",
           check ? "checked; nothing was touched"
                 : cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reply, "changed")) ? "reloaded" : "nothing to reload",
           ctl_text_seconds(seconds, ctl_get_number(reply, "seconds")));
}

/* What ctl_fail says is the first reason; here are all. */
static void problems_print(const struct ctl *ctl) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *error = NULL;
    const char *text = ctl->client != NULL ? ambient_last_error(ctl->client) : NULL;
    const cJSON *problems, *problem;

    if (text == NULL || ambp_json_decode(&error, text, strlen(text), AMBP_JSON_DEPTH_MAX, NULL) < 0) {
        return;
    }
    problems = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(error, "detail"), "problems");
    if (cJSON_GetArraySize(problems) < 2) {
        return;
    }
    cJSON_ArrayForEach(problem, problems) {
        fprintf(stderr, "  %s\n", cJSON_IsString(problem) ? problem->valuestring : "");
    }
}

int ctl_run_reload(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("reload");
    bool check = false;
    const struct ctl_option options[] = {
        {"check", 0, NULL, "say what a reload would do, and change nothing", CTL_FLAG, &check},
    };
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    struct watch watch;
    cJSON *request;
    int r = ctl_parse(ctl, command, options, 1, 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    if (ctl->dataset != NULL) {
        return ctl_usage(command, "a reload is of all datasets, leave --dataset out");
    }
    request = cJSON_CreateObject();
    cJSON_AddBoolToObject(request, "check", check);
    watch_start(&watch, ctl);
    r = ctl_ask(&reply, ctl, "RELOAD", request);
    watch_end(&watch);
    if (r != CTL_OK) {
        problems_print(ctl);
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    reply_print(reply, check);
    return CTL_OK;
}
