#pragma once
/* Ctl: what the commands of ambientctl share: the parsed common options, the connection, the table of commands. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/c/ambient.h"
#include "proto/json.h"

enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1, /* the daemon answered with an error, or cannot be reached */
    CTL_USAGE = 2,  /* wrong arguments */
};

struct ctl {
    const char *socket;  /* NULL: default */
    const char *dataset; /* NULL: the only one */
    bool json;           /* stdout is for programs: JSON, one value a line, and nothing else */
    bool raw;            /* what is answered goes into a file: keys must stay what they are */
    struct ambient_client *client;
};

/* One option of a command: --name VALUE, or a flag where `value` is NULL. */
struct ctl_option {
    const char *name;
    char letter;        /* 0: none */
    const char *value;  /* name of the value in the help text; NULL: flag */
    const char *help;
    enum { CTL_STRING, CTL_COUNT, CTL_NUMBER, CTL_FLAG } kind;
    void *out;          /* const char **, uint64_t *, double *, bool * */
};

struct ctl_command {
    const char *name, *arguments, *summary;
    const char *description; /* paragraphs of the man page */
    const char *examples;
    int (*run)(struct ctl *ctl, int argc, char **argv); /* returns enum ctl_exit */
};

extern const struct ctl_command ctl_commands[];
extern const size_t ctl_n_commands;

#define CTL_PARSED (-1)

/**
 * Parse the options of a command, the common ones among them (--socket, --dataset, --json, --help).
 *
 * n_arguments: words expected beside the options; they are moved to the front of argv, NULL behind them. -1: none or
 *              one.
 * Returns:     CTL_PARSED, or the exit status to end with: a message or the help text is printed.
 */
int ctl_parse(struct ctl *ctl, const struct ctl_command *command, const struct ctl_option *options, size_t n_options,
              int n_arguments, int argc, char **argv);

/* `--name` lies in [lo, hi]: CTL_PARSED, or CTL_USAGE with a message. */
int ctl_check_count(const struct ctl_command *command, const char *name, uint64_t value, uint64_t lo, uint64_t hi);

/* Load the whole number that `text` begins with; what is behind it, NULL where none is there or it takes more than 64 bits. */
const char *ctl_count_load(uint64_t *out, const char *text);

/* The command called `name`, for its own run function. */
const struct ctl_command *ctl_command_get(const char *name);

/* Print "ambientctl: ..." and the message; returns CTL_FAILED, of usage CTL_USAGE. */
int ctl_fail(const struct ambient_error *err);
int ctl_usage(const struct ctl_command *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Connect if that has not happened; CTL_OK or CTL_FAILED with a message. */
int ctl_connect(struct ctl *ctl);

/**
 * Ask and parse; nothing is printed.
 *
 * request: JSON object, consumed; the dataset is added to it. NULL: {}.
 */
int ctl_ask(cJSON **out, struct ctl *ctl, const char *type, cJSON *request);

/* What --json prints in the place of text: one line, which leaves at once. CTL_OK or CTL_FAILED. */
int ctl_print_json(const cJSON *json);

/* Add the sample that `word` names, a key or #N, to a request; CTL_OK, or CTL_USAGE with a message. */
int ctl_sample_add(cJSON *request, const struct ctl_command *command, const char *word);

/* Of a PNG with so many images that was written to `path`. CTL_OK or CTL_FAILED. */
int ctl_print_picture(const struct ctl *ctl, const char *path, size_t n_images);

/* "12,345"; "1.5 GiB"; "3 min 5 s". Each writes into out and returns it. */
#define CTL_TEXT_BYTES 48
const char *ctl_text_count(char out[CTL_TEXT_BYTES], double n);
const char *ctl_text_bytes(char out[CTL_TEXT_BYTES], double n);
const char *ctl_text_seconds(char out[CTL_TEXT_BYTES], double seconds);
/* A sigma: 4 significant digits, "inf". */
const char *ctl_text_sigma(char out[CTL_TEXT_BYTES], const cJSON *value);

/* Why an annotator gave a sample up: `code` of a record, in words. */
const char *ctl_text_given_up(char out[CTL_TEXT_BYTES], const char *code);

/* A bar of at most `width` columns for share in [0, 1], in eighths of a column; UTF-8, not padded. Static buffer. */
const char *ctl_text_bar(double share, unsigned width);

/* Fields of an answer, with defaults where they are absent: an old daemon says less. */
double ctl_get_number(const cJSON *object, const char *key);
const char *ctl_get_string(const cJSON *object, const char *key);

/* Columns of the terminal, 80 where there is none. */
unsigned ctl_columns(void);

int ctl_run_status(struct ctl *ctl, int argc, char **argv);
int ctl_run_list(struct ctl *ctl, int argc, char **argv);
int ctl_run_sample(struct ctl *ctl, int argc, char **argv);
int ctl_run_coverage(struct ctl *ctl, int argc, char **argv);
int ctl_run_preview(struct ctl *ctl, int argc, char **argv);
int ctl_run_quarantine(struct ctl *ctl, int argc, char **argv);
int ctl_run_generations(struct ctl *ctl, int argc, char **argv);
int ctl_run_reload(struct ctl *ctl, int argc, char **argv);
int ctl_run_import(struct ctl *ctl, int argc, char **argv);
int ctl_run_bench(struct ctl *ctl, int argc, char **argv);
int ctl_run_state(struct ctl *ctl, int argc, char **argv);
int ctl_run_ping(struct ctl *ctl, int argc, char **argv);
int ctl_run_annotate(struct ctl *ctl, int argc, char **argv);
int ctl_run_annotations(struct ctl *ctl, int argc, char **argv);
int ctl_run_jobs(struct ctl *ctl, int argc, char **argv);
int ctl_run_job(struct ctl *ctl, int argc, char **argv);

/* Tell on stderr if the daemon could not write down what it answered. */
void ctl_job_warn(const cJSON *job);

/* Show a job's progress until it ends, or ^C. */
int ctl_follow(struct ctl *ctl, double id);
