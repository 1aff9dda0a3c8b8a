/*
 * Main: command line, configuration, then the server; exit codes are documented in --help.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/sandbox.h"
#include "base/utf8.h"
#include "daemon/cli.h"
#include "daemon/log.h"
#include "daemon/server.h"
#include "proto/json.h"

enum exit_code {
    EXIT_OK = 0,
    EXIT_ERROR = 1,
    EXIT_USAGE = 2,
    EXIT_RUNNING = 3,
};

static int main_fail(const struct amb_error *err, enum exit_code code) {
    struct amb_error shown = *err;

    amb_utf8_tame(shown.message);
    fprintf(stderr, "ambientd: %s\n", shown.message);
    return (int)code;
}

/* Of what was read before anything was done. */
static int main_refuse(const struct amb_error *err) {
    return main_fail(err, err->code == -ENOMEM ? EXIT_ERROR : EXIT_USAGE);
}

static int main_print_config(const struct ambd_config *config) {
    char *text = cJSON_Print(config->tree);

    if (text == NULL) {
        return main_fail(&(struct amb_error){.message = "no memory to print the configuration"}, EXIT_ERROR);
    }
    printf("%s\n", text);
    cJSON_free(text);
    return EXIT_OK;
}

/* PR_SET_PDEATHSIG is not told of a parent that died before: that parent is init by now. */
static int main_tie_to_parent(void) {
    pid_t parent = getppid();

    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0) {
        ambd_log(AMBD_WARN, "parent.untied reason=\"%s\"", strerror(errno));
        return 0;
    }
    return getppid() != parent || parent == 1 ? -1 : 0;
}

static int main_run(const struct ambd_cli *cli, struct ambd_config *config) {
    struct ambd_server_options options = {.ready_fd = cli->ready_fd, .config_path = cli->config_path};
    struct amb_error err = AMB_ERROR_NULL;
    int r;

    signal(SIGPIPE, SIG_IGN); /* not before: whoever reads a page may leave before its end */
    if (cli->parent_death && main_tie_to_parent() < 0) {
        return EXIT_OK;
    }
    r = cli->action == AMBD_CLI_CHECK ? ambd_server_check(config, &err)
                                      : ambd_server_run(config, &options, &err);
    if (r == 0) {
        return EXIT_OK;
    }
    return main_fail(&err, r == AMB_ERR_BUSY ? EXIT_RUNNING : r == AMB_ERR_CONFIG ? EXIT_USAGE : EXIT_ERROR);
}

static int main_configure(struct ambd_cli *cli) {
    struct ambd_config *config = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    int r = cli->config_path != NULL ? ambd_config_open(&config, cli->config_path, &err)
                                     : ambd_config_load(&config, cli->tree, &err);

    if (r < 0) {
        return main_refuse(&err);
    }
    if (cli->config_path == NULL) {
        cli->tree = NULL; /* the configuration's now */
    }
    ambd_log_configure(config->log_level, config->log_format, config->limits.log_lines,
                       config->limits.log_window_s);
    r = cli->action == AMBD_CLI_PRINT_CONFIG ? main_print_config(config) : main_run(cli, config);
    ambd_config_unref(config);
    return r;
}

/* A configuration or a report that did not arrive is a failure. */
static int main_end(int code) {
    struct amb_error err;

    if (amb_file_flush(stdout, "standard output", &err) == 0) {
        return code;
    }
    return main_fail(&err, code == EXIT_OK ? EXIT_ERROR : (enum exit_code)code);
}

int main(int argc, char **argv) {
    struct ambd_cli cli;
    struct amb_error err = AMB_ERROR_NULL;
    int code;

    if (argc == 2 && strcmp(argv[1], AMB_SANDBOX_ARGUMENT) == 0) {
        return amb_sandbox_serve(NULL);
    }
    amb_file_hold_standard();
    signal(SIGCHLD, SIG_DFL); /* ignored, it would hide from us how a decoder process died */
    ambp_json_init();
    if (ambd_cli_parse(&cli, argc, argv, &err) < 0) {
        return main_refuse(&err);
    }
    switch (cli.action) {
    case AMBD_CLI_HELP:
        ambd_cli_print_help(stdout);
        code = EXIT_OK;
        break;
    case AMBD_CLI_HELP_CONFIG:
        ambd_config_print(stdout);
        code = EXIT_OK;
        break;
    case AMBD_CLI_VERSION:
        printf("ambientd " AMB_VERSION "\n");
        code = EXIT_OK;
        break;
    default:
        code = main_configure(&cli);
        break;
    }
    ambd_cli_deinit(&cli);
    return main_end(code);
}
