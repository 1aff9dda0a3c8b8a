/*
 * Option: the words behind a command, parsed by one table for all: its own options and the common ones; and the page
 * that --help prints of them.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/suggest.h"
#include "clients/ctl/ctl.h"

#define OPTIONS_MAX 32

static void option_print_text(const char *text) {
    printf("    ");
    for (const char *p = text; *p != '\0'; p++) {
        putchar(*p);
        if (*p == '\n') {
            printf("%s", p[1] == ' ' ? "" : "    ");
        }
    }
    putchar('\n');
}

static void option_print_help(const struct ctl_command *command, const struct ctl_option *options, size_t n_options) {
    printf("NAME\n    ambientctl %s - %s\n\n", command->name, command->summary);
    printf("SYNOPSIS\n    ambientctl %s [OPTION...]%s%s\n\nDESCRIPTION\n", command->name,
           command->arguments[0] != '\0' ? " " : "", command->arguments);
    option_print_text(command->description);
    printf("\nOPTIONS\n");
    for (size_t i = 0; i < n_options; i++) {
        char left[64];

        snprintf(left, sizeof left, "%c%c%s--%s%s%s", options[i].letter ? '-' : ' ',
                 options[i].letter ? options[i].letter : ' ', options[i].letter ? ", " : "  ", options[i].name,
                 options[i].value != NULL ? " " : "", options[i].value != NULL ? options[i].value : "");
        printf("    %-26s %s\n", left, options[i].help);
    }
    printf("\nEXAMPLES\n");
    option_print_text(command->examples);
    printf("\nEXIT STATUS\n    0 done; 1 the daemon cannot be reached or said no; 2 wrong arguments\n");
}

const char *ctl_count_load(uint64_t *out, const char *text) {
    char *end = NULL;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && errno == 0 ? end : NULL; /* no sign, no space: strtoull takes both */
}

int ctl_check_count(const struct ctl_command *command, const char *name, uint64_t value, uint64_t lo, uint64_t hi) {
    if (value >= lo && value <= hi) {
        return CTL_PARSED;
    }
    return ctl_usage(command, "--%s is %" PRIu64 ", allowed: %" PRIu64 " to %" PRIu64, name, value, lo, hi);
}

static int option_set(const struct ctl_command *command, const struct ctl_option *option, const char *text) {
    const char *rest;
    char *end = NULL;

    errno = 0;
    switch (option->kind) {
    case CTL_FLAG:
        *(bool *)option->out = true;
        return 0;
    case CTL_STRING:
        *(const char **)option->out = text;
        return 0;
    case CTL_COUNT:
        rest = ctl_count_load(option->out, text);
        if (rest == NULL || *rest != '\0') {
            return ctl_usage(command, "--%s is '%s', allowed: a whole number below 2^64", option->name, text);
        }
        return 0;
    case CTL_NUMBER:
        *(double *)option->out = strtod(text, &end);
        if (end == text || *end != '\0' || errno != 0 || !isfinite(*(double *)option->out)) {
            return ctl_usage(command, "--%s is '%s', allowed: a finite number", option->name, text);
        }
        return 0;
    }
    return 0;
}

/* What getopt stopped at: a letter, which may stand among others in its word, or a long option, which has its own. */
static const char *option_word(char out[8], char **argv) {
    const unsigned char letter = (unsigned char)optopt;

    if (optopt == 0 || optopt > UCHAR_MAX) {
        return argv[optind - 1];
    }
    snprintf(out, 8, letter < 0x80 ? "-%c" : "-\\x%02x", letter);
    return out;
}

static int option_unknown(const struct ctl_command *command, const struct ctl_option *options, size_t n_options,
                          const char *word) {
    const char *names[OPTIONS_MAX], *nearest;
    char name[64];

    if (optopt > UCHAR_MAX) {
        return ctl_usage(command, "'%s' has a value, and the option takes none", word);
    }
    for (size_t i = 0; i < n_options; i++) {
        names[i] = options[i].name;
    }
    snprintf(name, sizeof name, "%s", word + strspn(word, "-"));
    name[strcspn(name, "=")] = '\0';
    nearest = amb_suggest_get(name, names, n_options);
    return nearest != NULL ? ctl_usage(command, "unknown option '%s', did you mean '--%s'?", word, nearest)
                           : ctl_usage(command, "unknown option '%s'", word);
}

int ctl_parse(struct ctl *ctl, const struct ctl_command *command, const struct ctl_option *own, size_t n_own,
              int n_arguments, int argc, char **argv) {
    bool help = false;
    const struct ctl_option common[] = {
        {"socket", 's', "PATH", "the daemon's socket", CTL_STRING, &ctl->socket},
        {"dataset", 'd', "NAME", "where the daemon serves several", CTL_STRING, &ctl->dataset},
        {"json", 'j', NULL, "answers as JSON, one a line, and nothing else", CTL_FLAG, &ctl->json},
        {"help", 'h', NULL, "this page", CTL_FLAG, &help},
    };
    struct ctl_option options[OPTIONS_MAX];
    struct option words[OPTIONS_MAX + 1] = {0};
    char letters[2 * OPTIONS_MAX + 2] = ":", word[8];
    size_t n_options = n_own + sizeof common / sizeof common[0], n_letters = 1;
    int c;

    for (size_t i = 0; i < n_own; i++) { /* own may be NULL */
        options[i] = own[i];
    }
    memcpy(options + n_own, common, sizeof common);
    for (size_t i = 0; i < n_options; i++) {
        words[i] = (struct option){options[i].name, options[i].value != NULL ? required_argument : no_argument, NULL,
                                   (int)(256 + i)};
        if (options[i].letter != '\0') {
            letters[n_letters++] = options[i].letter;
            if (options[i].value != NULL) {
                letters[n_letters++] = ':';
            }
        }
    }
    opterr = 0;
    optind = 1;
    while ((c = getopt_long(argc, argv, letters, words, NULL)) != -1) {
        const struct ctl_option *option = NULL;

        if (c == ':') {
            return ctl_usage(command, "option '%s' needs a value", option_word(word, argv));
        }
        for (size_t i = 0; i < n_options; i++) {
            if (c == (int)(256 + i) || (options[i].letter != '\0' && c == options[i].letter)) {
                option = &options[i];
            }
        }
        if (option == NULL) {
            return option_unknown(command, options, n_options, option_word(word, argv));
        }
        if (option_set(command, option, optarg) != CTL_OK) {
            return CTL_USAGE;
        }
    }
    if (help) {
        option_print_help(command, options, n_options);
        return CTL_OK;
    }
    if (n_arguments < 0 ? argc - optind > -n_arguments : argc - optind != n_arguments) {
        return ctl_usage(command, "%d argument%s found, expected %s", argc - optind, argc - optind == 1 ? "" : "s",
                         n_arguments == 0 ? "none" : command->arguments);
    }
    memmove(argv, argv + optind, (size_t)(argc - optind + 1) * sizeof argv[0]);
    return CTL_PARSED;
}
