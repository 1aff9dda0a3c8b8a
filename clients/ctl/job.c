/*
 * Job: jobs that annotate, from the list of them to the progress of one. A job is the daemon's: it goes on whatever
 * happens here.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "clients/ctl/ctl.h"

#define BAR_COLUMNS  24
#define LINE_SECONDS 5   /* between lines where there is no terminal */
#define WAIT_SECONDS 300 /* for the daemon after this one: as long as trainers do */

static const struct timespec follow_pause = {0, 250000000};
static volatile sig_atomic_t interrupted;

static void follow_on_signal(int signum) {
    (void)signum;
    interrupted = 1;
}

static const char *progress_eta(char out[CTL_TEXT_BYTES], const cJSON *job) {
    const cJSON *eta = cJSON_GetObjectItemCaseSensitive(job, "eta_s");

    return cJSON_IsNumber(eta) ? ctl_text_seconds(out, eta->valuedouble) : "-";
}

/* In a terminal the bar takes what the numbers leave of the line, for a line that wraps cannot be written over. */
static void progress_print(const cJSON *job, bool terminal) {
    double done = ctl_get_number(job, "done"), total = ctl_get_number(job, "total");
    double evaluations = ctl_get_number(job, "evaluations");
    char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES], c[CTL_TEXT_BYTES], text[256];
    int columns = (int)ctl_columns() - 5, width, n; /* less the least of bars with its ends, a space, the cursor */
    const char *bar;

    n = snprintf(text, sizeof text, "%s / %s  %.1f/s  %.0f evaluations a sample  ETA %s  %s", ctl_text_count(a, done),
                 ctl_text_count(b, total), ctl_get_number(job, "samples_per_s"), done > 0 ? evaluations / done : 0.0,
                 progress_eta(c, job), ctl_get_string(job, "state"));
    if (!terminal) {
        fprintf(stderr, "%s\n", text);
        return;
    }
    width = columns <= n ? 1 : columns - n < BAR_COLUMNS ? columns - n + 1 : BAR_COLUMNS;
    bar = ctl_text_bar(total > 0 ? done / total : 0, (unsigned)width);
    fprintf(stderr, "\r\033[K▕%s%*s▏ %.*s", bar, width - (int)strlen(bar) / 3, "", columns, text);
    fflush(stderr);
}

static void summary_print(const cJSON *job) {
    double done = ctl_get_number(job, "done"), seconds = ctl_get_number(job, "seconds");
    double evaluations = ctl_get_number(job, "evaluations");
    char a[CTL_TEXT_BYTES], b[CTL_TEXT_BYTES], c[CTL_TEXT_BYTES];

    printf("job %.0f %s: %s of %s samples in %s", ctl_get_number(job, "id"), ctl_get_string(job, "state"),
           ctl_text_count(a, done), ctl_text_count(b, ctl_get_number(job, "total")), ctl_text_seconds(c, seconds));
    if (done > 0) {
        printf(", %.1f evaluations a sample, %s evaluations/s", evaluations / done,
               ctl_text_count(a, seconds > 0 ? evaluations / seconds : 0));
    }
    printf("\n");
    if (ctl_get_number(job, "total") == 0 && strcmp(ctl_get_string(job, "state"), "done") == 0) {
        printf("  nothing was left to do: the samples that were meant have annotations, or there are none; "
               "--where annotated=any does them again\n");
    }
    if (ctl_get_number(job, "given_up") > 0 || ctl_get_number(job, "unreadable") > 0) {
        printf("  %.0f samples without an answer from the model, %.0f unreadable; see `ambientctl annotations given-up`\n",
               ctl_get_number(job, "given_up"), ctl_get_number(job, "unreadable"));
    }
    if (ctl_get_string(job, "reason")[0] != '\0') {
        printf("  %s\n", ctl_get_string(job, "reason"));
    }
}

void ctl_job_warn(const cJSON *job) {
    if (ctl_get_string(job, "unwritten")[0] != '\0') {
        fprintf(stderr, "ambientctl: the job could not be written down (%s): a restart now would not know of this; the daemon "
                "tries again\n", ctl_get_string(job, "unwritten"));
    }
}

static bool job_is_over(const cJSON *job) {
    const char *state = ctl_get_string(job, "state");

    return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 || strcmp(state, "cancelled") == 0;
}

static int progress_show(const struct ctl *ctl, const cJSON *job, bool terminal) {
    if (ctl->json) {
        return ctl_print_json(job);
    }
    progress_print(job, terminal);
    if (job_is_over(job)) {
        fprintf(stderr, "%s", terminal ? "\n" : "");
        summary_print(job);
    }
    return CTL_OK;
}

static cJSON *job_find(cJSON *reply, double id) {
    cJSON *job;

    cJSON_ArrayForEach(job, cJSON_GetObjectItemCaseSensitive(reply, "jobs")) {
        if (ctl_get_number(job, "id") == id) {
            return job;
        }
    }
    return NULL;
}

/* The daemon after this one goes on with the job. */
static int follow_reconnect(struct ctl *ctl) {
    struct ambient_error err;

    fprintf(stderr, "ambientctl: waiting up to %d s for the next daemon, which goes on with the job\n", WAIT_SECONDS);
    ambient_disconnect(ctl->client);
    ctl->client = NULL;
    for (int i = 0; i < 4 * WAIT_SECONDS; i++) {
        if (interrupted || ambient_connect(&ctl->client, ctl->socket, &err) == 0) {
            return CTL_OK;
        }
        nanosleep(&follow_pause, NULL);
    }
    return ctl_fail(&err);
}

int ctl_follow(struct ctl *ctl, double id) {
    const bool terminal = !ctl->json && isatty(STDERR_FILENO);
    struct sigaction action = {.sa_handler = follow_on_signal};
    bool answered = false;
    time_t last = 0;

    sigaction(SIGINT, &action, NULL);
    while (!interrupted) {
        AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
        cJSON *job;

        if (ctl_ask(&reply, ctl, "JOBS", NULL) != CTL_OK) {
            if (!answered || follow_reconnect(ctl) != CTL_OK) {
                return CTL_FAILED;
            }
            answered = false;
            continue;
        }
        answered = true;
        job = job_find(reply, id);
        if (job == NULL) {
            fprintf(stderr, "ambientctl: the daemon has no job %.0f; `ambientctl jobs` lists them\n", id);
            return CTL_FAILED;
        }
        if (terminal || time(NULL) - last >= LINE_SECONDS || job_is_over(job)) {
            if (progress_show(ctl, job, terminal) != CTL_OK) {
                return CTL_FAILED;
            }
            last = time(NULL);
        }
        if (job_is_over(job)) {
            return strcmp(ctl_get_string(job, "state"), "done") == 0 ? CTL_OK : CTL_FAILED;
        }
        nanosleep(&follow_pause, NULL);
    }
    fprintf(ctl->json ? stderr : stdout,
            "%sjob %.0f goes on in the daemon; `ambientctl job follow %.0f` looks again, `ambientctl job cancel %.0f` ends it\n",
            terminal ? "\n" : "", id, id, id);
    return CTL_OK;
}

static void jobs_print(const cJSON *reply) {
    const cJSON *job;
    int n = 0;

    printf("%4s  %-12s %-10s %-9s %8s %19s %11s %9s  %s\n", "id", "dataset", "kind", "state", "priority", "done", "samples/s",
           "ETA", "model");
    cJSON_ArrayForEach(job, cJSON_GetObjectItemCaseSensitive(reply, "jobs")) {
        char done[CTL_TEXT_BYTES], total[CTL_TEXT_BYTES], both[2 * CTL_TEXT_BYTES + 4], eta[CTL_TEXT_BYTES];
        const char *slash = strrchr(ctl_get_string(job, "model"), '/');

        snprintf(both, sizeof both, "%s / %s", ctl_text_count(done, ctl_get_number(job, "done")),
                 ctl_text_count(total, ctl_get_number(job, "total")));
        printf("%4.0f  %-12s %-10s %-9s %8.0f %19s %11.1f %9s  %s\n", ctl_get_number(job, "id"), ctl_get_string(job, "dataset"),
               strcmp(ctl_get_string(job, "kind"), "crops") == 0 ? "crops" : ctl_get_string(job, "mode"),
               ctl_get_string(job, "state"), ctl_get_number(job, "priority"), both, ctl_get_number(job, "samples_per_s"),
               progress_eta(eta, job), slash != NULL ? slash + 1 : ctl_get_string(job, "model"));
        if (ctl_get_string(job, "reason")[0] != '\0') {
            printf("      %s\n", ctl_get_string(job, "reason"));
        }
        n++;
    }
    if (n == 0) {
        printf("  none; `ambientctl annotate --model FILE` starts one\n");
    }
}

int ctl_run_jobs(struct ctl *ctl, int argc, char **argv) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    int r = ctl_parse(ctl, ctl_command_get("jobs"), NULL, 0, 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    if (ctl_ask(&reply, ctl, "JOBS", NULL) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    jobs_print(reply);
    return CTL_OK;
}

int ctl_run_job(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("job");
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    double priority = NAN; /* not given */
    const struct ctl_option options[] = {
        {"priority", 'p', "N", "of `job priority`", CTL_NUMBER, &priority},
    };
    cJSON *request;
    const char *rest;
    uint64_t id;
    int r = ctl_parse(ctl, command, options, 1, 2, argc, argv);

    if (r >= 0) {
        return r;
    }
    rest = ctl_count_load(&id, argv[1]);
    if (rest == NULL || *rest != '\0') {
        return ctl_usage(command, "job '%s', expected its number", argv[1]);
    }
    if (strcmp(argv[0], "follow") == 0) {
        return ctl_follow(ctl, (double)id);
    }
    if (strcmp(argv[0], "priority") == 0 && isnan(priority)) {
        return ctl_usage(command, "`job priority` without --priority N");
    }
    request = cJSON_CreateObject();
    ambp_json_add_u64(request, "id", id);
    cJSON_AddStringToObject(request, "action", argv[0]);
    if (!isnan(priority)) {
        cJSON_AddNumberToObject(request, "priority", priority);
    }
    ctl->dataset = NULL; /* a job has one already */
    if (ctl_ask(&reply, ctl, "JOB", request) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        return ctl_print_json(reply);
    }
    ctl_job_warn(reply);
    printf("job %.0f is %s, %.0f of %.0f samples done\n", ctl_get_number(reply, "id"), ctl_get_string(reply, "state"),
           ctl_get_number(reply, "done"), ctl_get_number(reply, "total"));
    return CTL_OK;
}
