#pragma once
/* Cli: the command line, turned into a configuration. */
#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"
#include "daemon/config.h"

enum ambd_cli_action {
    AMBD_CLI_RUN,
    AMBD_CLI_CHECK,        /* open everything, report, exit */
    AMBD_CLI_PRINT_CONFIG, /* the configuration that the command line amounts to */
    AMBD_CLI_HELP,
    AMBD_CLI_HELP_CONFIG,
    AMBD_CLI_VERSION,
};

struct ambd_cli {
    enum ambd_cli_action action;
    const char *config_path; /* borrowed from argv; NULL: the tree below is the configuration */
    cJSON *tree;             /* owned; passed to ambd_config_load */
    int ready_fd;            /* -1: none */
    bool parent_death;
};

/**
 * Parse the command line; no file is touched.
 *
 * Errors: AMB_ERR_CONFIG with what was found and the nearest known option.
 * Thread: loop, at start.
 */
int ambd_cli_parse(struct ambd_cli *out, int argc, char **argv, struct amb_error *err);
void ambd_cli_deinit(struct ambd_cli *cli); /* idempotent */

void ambd_cli_print_help(FILE *out);
