/*
 * Command: the table of commands, and the one way to ask the daemon; option.c parses what stands behind a command.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/utf8.h"
#include "clients/ctl/ctl.h"

const struct ctl_command ctl_commands[] = {
    {"status", "", "what the daemon serves and who streams from it",
     "Shows the server, its cache of decoded images, each dataset with its sources and annotations, and every\n"
     "session: how far it is and what it waits for. `client` is time in which the trainer held every slot, `fill`\n"
     "time in which none was ready.",
     "ambientctl status\n    ambientctl status --json | jq .cache", ctl_run_status},
    {"ls", "", "samples, shards or sources of a dataset",
     "Lists samples in the order of their numbers, or with --what shards or sources.",
     "ambientctl ls --start 1000 --count 20\n    ambientctl ls --what shards", ctl_run_list},
    {"sample", "KEY", "where a sample lies, its annotation and why",
     "KEY is tried as source/key, key, path inside the shard, base name; #N is a sample's number. Where several\n"
     "samples match, the first is shown and their number said.",
     "ambientctl sample 000017\n    ambientctl sample '#17'", ctl_run_sample},
    {"coverage", "", "how many samples admit each sigma, drawn in the terminal",
     "A sample admits sigma if sigma > sigma_min * buffer or sigma < sigma_max. Sigmas are on the VE scale, log-spaced\n"
     "over the range of the EDM schedule. A gap, where nothing is admitted, is named.",
     "ambientctl coverage\n    ambientctl coverage --points 40", ctl_run_coverage},
    {"preview", "", "a picture of one batch: x0, x_tn, x_t under each other",
     "Streams one batch and draws it sorted by sigma, with sigma_t, sigma_tn and the key under each column. Pictures\n"
     "with noise are shown scaled by 1/sqrt(1 + s^2), so that they keep their contrast.",
     "ambientctl preview -o preview.png\n    ambientctl preview -o p.png --count 24 --process flow", ctl_run_preview},
    {"quarantine", "", "samples found bad, and why",
     "A bad sample stays in the sequence and is replaced each time, until an exclude list names it. --export writes\n"
     "such a list, one source/key a line, for the key `exclude` of the config.",
     "ambientctl quarantine\n    ambientctl quarantine --export exclude.txt", ctl_run_quarantine},
    {"reload", "", "read the configuration, the shards and the annotations anew",
     "The daemon builds the next generation of every dataset beside the one that it serves, and adopts all of it or\n"
     "nothing: with anything wrong, every reason is named and the old one keeps serving. Shards that did not change\n"
     "stay mapped. Streams that follow take the new generation at their next unsettled step, others when their ranks\n"
     "advance; each batch's state says on which it stands. Publish shards by writing a temporary file, fsync and\n"
     "rename: a shard written in place is noticed, and its samples are quarantined.\n\n"
     "Sockets, limits, workers and what else lies outside of `datasets` hold as they were at the start, and so does the\n"
     "list of datasets; a difference is named. SIGHUP does the same without an answer, --watch of the daemon by itself.",
     "ambientctl reload --check\n    ambientctl reload", ctl_run_reload},
    {"generations", "", "generations of dataset and annotations that are in memory, and who stands on them",
     "Current ones, and older ones that a stream still stands on; `holders` are sessions as `status` lists them. A\n"
     "state of one that is not listed resumes where the daemon has a state directory and the shards are still there.",
     "ambientctl generations", ctl_run_generations},
    {"import", "FILE", "read an annotations file into the running daemon",
     "FILE is an annotations.jsonl in any of its forms (proto/annotations.md). A new annotation generation is minted,\n"
     "which streams take up as they follow or advance. It is kept in the state directory; without one it lasts until\n"
     "the daemon stops. For the daemon's own user and root.",
     "ambientctl import new.jsonl", ctl_run_import},
    {"annotate", "[DATASET]", "find out at which noise levels each sample may be used",
     "Starts a job in the daemon that runs a noise-dependent classifier over the samples and sets their sigma_min, or\n"
     "with --crops their sigma_max. The job goes on without this command and after a restart of the daemon; what it\n"
     "found is kept in the daemon's state directory. Samples that are annotated already are passed over, and so are\n"
     "trusted ones, whose value is fixed or imported. Streams take new annotations up every minute and at the end.\n\n"
     "The model is an ONNX file with inputs x [N,C,H,W], sigma [N] and maybe labels, and logits of `low quality`. It\n"
     "is run by ONNX Runtime: `pip install onnxruntime`, or the distribution's libonnxruntime.",
     "ambientctl annotate main --model classifier.onnx --dry-run\n"
     "    ambientctl annotate main --model classifier.onnx --follow\n"
     "    ambientctl annotate main -m c.onnx --where source=web,label=3 --curves\n"
     "    ambientctl annotate main --crops 8=m8.onnx,16=m16.onnx --crop-table 8=0.1,16=0.2\n"
     "    ambientctl annotate main -m c.onnx --part 1/4 --mode dense",
     ctl_run_annotate},
    {"annotations", "SUBCOMMAND", "stats, show, grid, given-up, export, import, merge, mint, verify", "", "", ctl_run_annotations},
    {"jobs", "", "annotation jobs, their state and progress",
     "A job waits where there is no room on the disk, and goes on by itself.", "ambientctl jobs", ctl_run_jobs},
    {"job", "ACTION ID", "follow, pause, resume, cancel a job, or change its priority",
     "ACTION is follow, pause, resume, cancel or priority. A paused job keeps what it found, and so does one that failed\n"
     "or was cancelled; resume goes on with each. The job of the highest priority of a dataset runs. follow ends with the\n"
     "job, exit status 1 where that failed or was cancelled, and waits up to 300 s for a daemon that is restarted; with\n"
     "--json it prints the job every 5 s and at its end.",
     "ambientctl job follow 3\n    ambientctl job pause 3\n    ambientctl job priority 3 --priority 10", ctl_run_job},
    {"bench", "", "stream at full speed: images/s, GB/s, stalls by cause",
     "Subscribes like a trainer, reads every byte of each batch once, and says where the time went.",
     "ambientctl bench\n    ambientctl bench --batch-size 64 --fields x_t,sigma_t --seconds 10", ctl_run_bench},
    {"state", "FILE", "what a saved stream state says, and whether it can be resumed here",
     "FILE is JSON as batch.state or Loader.state_dict() give it; - is standard input. Compared with the daemon's\n"
     "fingerprints, unless --offline; exit status 1 where it lacks one. With --json: the state, which of its two\n"
     "fingerprints are known, and whether it resumes.",
     "ambientctl state checkpoint-state.json", ctl_run_state},
    {"ping", "", "round trips to the daemon",
     "Prints the time of each round trip; exit status 1 if the daemon does not answer.", "ambientctl ping --count 5",
     ctl_run_ping},
};
const size_t ctl_n_commands = sizeof ctl_commands / sizeof ctl_commands[0];

const struct ctl_command *ctl_command_get(const char *name) {
    for (size_t i = 0; i < ctl_n_commands; i++) {
        if (strcmp(ctl_commands[i].name, name) == 0) {
            return &ctl_commands[i];
        }
    }
    return NULL;
}

int ctl_usage(const struct ctl_command *command, const char *fmt, ...) {
    va_list args;

    fprintf(stderr, "ambientctl %s: ", command->name);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "; see `ambientctl %s --help`\n", command->name);
    return CTL_USAGE;
}

int ctl_fail(const struct ambient_error *err) {
    char message[sizeof err->message];

    snprintf(message, sizeof message, "%s", err->message);
    amb_utf8_tame(message);
    fprintf(stderr, "ambientctl: %s\n", message);
    return CTL_FAILED;
}

static void json_tame(cJSON *json) {
    for (; json != NULL; json = json->next) {
        if (cJSON_IsString(json)) {
            amb_utf8_tame(json->valuestring);
        }
        json_tame(json->child);
    }
}

int ctl_connect(struct ctl *ctl) {
    struct ambient_error err;

    if (ctl->client != NULL) {
        return CTL_OK;
    }
    return ambient_connect(&ctl->client, ctl->socket, &err) < 0 ? ctl_fail(&err) : CTL_OK;
}

int ctl_ask(cJSON **out, struct ctl *ctl, const char *type, cJSON *request) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *question = request != NULL ? request : cJSON_CreateObject();
    AMB_CLEANUP(amb_freep) char *text = NULL, *reply = NULL;
    struct ambient_error err;
    struct amb_error bad = AMB_ERROR_NULL;

    *out = NULL;
    if (ctl_connect(ctl) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->dataset != NULL && strcmp(type, "STATUS") != 0) {
        cJSON_AddStringToObject(question, "dataset", ctl->dataset);
    }
    text = cJSON_PrintUnformatted(question);
    if (ambient_call(&reply, ctl->client, type, text, &err) < 0) {
        return ctl_fail(&err);
    }
    if (ambp_json_decode(out, reply, strlen(reply), AMBP_JSON_DEPTH_MAX, &bad) < 0) {
        fprintf(stderr, "ambientctl: the daemon's answer: %s\n", bad.message);
        return CTL_FAILED;
    }
    if (!ctl->json && !ctl->raw) {
        json_tame(*out);
    }
    return CTL_OK;
}

int ctl_print_json(const cJSON *json) {
    AMB_CLEANUP(amb_freep) char *text = cJSON_PrintUnformatted(json);
    struct amb_error err;

    if (text == NULL) {
        fprintf(stderr, "ambientctl: no memory to print an answer\n");
        return CTL_FAILED;
    }
    puts(text);
    if (amb_file_flush(stdout, "standard output", &err) < 0) {
        fprintf(stderr, "ambientctl: %s\n", err.message);
        if (freopen("/dev/null", "w", stdout) == NULL) { /* told: main need not say it again */
            _exit(CTL_FAILED);
        }
        return CTL_FAILED;
    }
    return CTL_OK;
}

int ctl_print_picture(const struct ctl *ctl, const char *path, size_t n_images) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;

    if (!ctl->json) {
        printf("%zu images written to %s\n", n_images, path);
        return CTL_OK;
    }
    json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "path", path);
    cJSON_AddNumberToObject(json, "images", (double)n_images);
    return ctl_print_json(json);
}
