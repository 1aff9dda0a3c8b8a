/*
 * Main: finds the command and prints the page that says what there is; each command lives in a file of its own.
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/suggest.h"
#include "clients/ctl/ctl.h"

#define N_COMMANDS_MAX 32

static void main_help(void) {
    printf("NAME\n"
           "    ambientctl - ask a running ambientd, look at its data, measure it\n\n"
           "SYNOPSIS\n"
           "    ambientctl COMMAND [OPTION...] [ARGUMENT...]\n\n"
           "COMMANDS\n");
    for (size_t i = 0; i < ctl_n_commands; i++) {
        printf("    %-12s %s\n", ctl_commands[i].name, ctl_commands[i].summary);
    }
    printf("\n    `ambientctl COMMAND --help` has the page of each.\n\n"
           "COMMON OPTIONS\n"
           "    -s, --socket PATH   the daemon's socket; default: AMBIENTD_SOCKET, else\n"
           "                        $XDG_RUNTIME_DIR/ambientd/ambientd.sock, else /run/ambientd/ambientd.sock\n"
           "                        for root, /tmp/ambientd-UID/ambientd.sock for others\n"
           "    -d, --dataset NAME  where the daemon serves several\n"
           "    -j, --json          answers as JSON, one a line, and nothing else\n"
           "    -h, --help\n"
           "    --version\n\n"
           "EXIT STATUS\n"
           "    0 done; 1 the daemon cannot be reached or said no; 2 wrong arguments\n");
}

static int main_unknown(const char *name) {
    const char *names[N_COMMANDS_MAX] = {0}, *nearest, *comma = "; there are: ";

    for (size_t i = 0; i < ctl_n_commands; i++) {
        names[i] = ctl_commands[i].name;
    }
    nearest = amb_suggest_get(name, names, ctl_n_commands);
    fprintf(stderr, "ambientctl: no command '%s'", name);
    if (nearest != NULL) {
        fprintf(stderr, ", did you mean '%s'?", nearest);
    }
    for (size_t i = 0; nearest == NULL && i < ctl_n_commands; i++) {
        fprintf(stderr, "%s%s", comma, ctl_commands[i].name);
        comma = ", ";
    }
    fprintf(stderr, "; see `ambientctl --help`\n");
    return CTL_USAGE;
}

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

/* `help COMMAND` is `COMMAND --help`. */
static int main_help_of(struct ctl *ctl, char *name) {
    const struct ctl_command *command = ctl_command_get(name);
    char help[] = "--help", *words[] = {name, help, NULL};

    return command != NULL ? command->run(ctl, 2, words) : main_unknown(name);
}

/* The value of a common option that stands before the command: NULL: `word` is another. *i: on its last word. */
static const char *lead_value(int *i, int argc, char **argv, const char *name, char letter) {
    const char *word = argv[*i];
    const size_t n = strlen(name);

    if (strncmp(word, name, n) == 0 && word[n] == '=') {
        return word + n + 1;
    }
    if (*i + 1 < argc && (strcmp(word, name) == 0 || (word[0] == '-' && word[1] == letter && word[2] == '\0'))) {
        return argv[++*i];
    }
    return NULL;
}

/* `ambientctl -s PATH COMMAND` is `ambientctl COMMAND -s PATH`. Returns how many words were taken. */
static int lead_take(struct ctl *ctl, int argc, char **argv) {
    int i = 1;

    for (; i < argc; i++) {
        const char *value;

        if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-j") == 0) {
            ctl->json = true;
        } else if ((value = lead_value(&i, argc, argv, "--socket", 's')) != NULL) {
            ctl->socket = value;
        } else if ((value = lead_value(&i, argc, argv, "--dataset", 'd')) != NULL) {
            ctl->dataset = value;
        } else {
            break;
        }
    }
    return i - 1;
}

static int main_run(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command;
    const int n = lead_take(ctl, argc, argv);

    argc -= n;
    argv += n;
    if (argc > 2 && is_help(argv[1]) && !is_help(argv[2])) {
        return main_help_of(ctl, argv[2]);
    }
    if (argc < 2 || is_help(argv[1])) {
        main_help();
        return argc < 2 ? CTL_USAGE : CTL_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("ambientctl " AMB_VERSION "\n");
        return CTL_OK;
    }
    command = ctl_command_get(argv[1]);
    return command != NULL ? command->run(ctl, argc - 1, argv + 1) : main_unknown(argv[1]);
}

/* Every command prints as it goes; whether it arrived is asked once, here. */
static int main_end(int r) {
    struct amb_error err;

    if (amb_file_flush(stdout, "standard output", &err) < 0) {
        fprintf(stderr, "ambientctl: %s\n", err.message);
        return r != CTL_OK ? r : CTL_FAILED;
    }
    return r;
}

int main(int argc, char **argv) {
    struct ctl ctl = {0};
    int r;

    amb_file_hold_standard();
    r = main_run(&ctl, argc, argv);
    ambient_disconnect(ctl.client);
    return main_end(r);
}
