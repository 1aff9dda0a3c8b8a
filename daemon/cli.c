/*
 * Cli: one table of options; each sets a key of the tree that config.c checks, so the command line can say
 * nothing that a file cannot, and both are refused in the same words.
 *
 * PATTERNs belong to the source that is being described: `main`, then `main2` after the first --source, and
 * so on. Options of a source are those of the source being described, options of the dataset hold for all.
 */
#include "daemon/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/suggest.h"
#include "daemon/key.h"
#include "proto/json.h"

enum option_kind {
    OPTION_STRING,
    OPTION_INTEGER,
    OPTION_NUMBER,
    OPTION_TRUE,          /* takes no value */
    OPTION_FALSE,
    OPTION_LATENT,        /* mean-std or plain */
    OPTION_SIZE,          /* N or HxW */
    OPTION_NUMBERS,       /* a,b,c */
    OPTION_IMPORT,        /* appends {"import": value} to annotations */
    OPTION_IMPORT_STRING, /* a key of the last import */
    OPTION_IMPORT_NUMBER,
    OPTION_EXCLUDE,
    OPTION_ACTION, /* sets cli->action; takes no value */
    OPTION_SOURCE,
    OPTION_CONFIG,
    OPTION_READY_FD,
    OPTION_PARENT_DEATH,
};

enum option_place {
    PLACE_ROOT,
    PLACE_LIMITS,
    PLACE_LOG,
    PLACE_DECODE,
    PLACE_ANNOTATE,
    PLACE_DATASET,
    PLACE_IMAGE,
    PLACE_LATENT,
    PLACE_SOURCE,
    PLACE_NONE,
};

struct option {
    const char *name, *value; /* value: placeholder for --help, NULL: takes none */
    enum option_kind kind;
    enum option_place place;
    const char *key;
    int action;
    const char *help;
};

static const struct option options[] = {
    {"annotations", "FILE", OPTION_IMPORT, PLACE_DATASET, NULL, 0,
     "Read annotations.jsonl; may be given several times, later ones win."},
    {"sigmas", "FILE", OPTION_IMPORT_STRING, PLACE_NONE, "sigmas", 0,
     "Grid of the probabilities in the --annotations before it; default sigmas.txt beside that file."},
    {"epsilon", "E", OPTION_IMPORT_NUMBER, PLACE_NONE, "epsilon", 0,
     "Of those probabilities: sigma_min is the first sigma with p < 0.5 + E; default 0.05."},
    {"size", "N|HxW", OPTION_SIZE, PLACE_IMAGE, "size", 0,
     "Size of x; default: that of the first picture, which then all must have."},
    {"channels", "1|3", OPTION_INTEGER, PLACE_IMAGE, "channels", 0, "Grey or RGB; default 3."},
    {"transform", "NAME", OPTION_STRING, PLACE_IMAGE, "transform", 0,
     "none, center-crop, center-crop-dhariwal, shortest+crop or squash; default center-crop with --size."},
    {"resample", "NAME", OPTION_STRING, PLACE_IMAGE, "resample", 0, "lanczos (default), bicubic or box."},
    {"latent", "KIND", OPTION_LATENT, PLACE_LATENT, "std", 0,
     "mean-std: latents are pairs, drawn anew at each use (EDM2); plain: they are taken as they are.\n"
     "Default: mean-std if the first key contains that."},
    {"latent-scale", "A,B,..", OPTION_NUMBERS, PLACE_LATENT, "scale", 0,
     "x = latent * scale + shift, for each channel."},
    {"latent-shift", "A,B,..", OPTION_NUMBERS, PLACE_LATENT, "shift", 0, "See --latent-scale."},
    {"noise-seed", "N", OPTION_INTEGER, PLACE_DATASET, "noise_seed", 0,
     "Seed of the fixed noise; default 0."},
    {"exclude", "SOURCE/KEY|FILE", OPTION_EXCLUDE, PLACE_DATASET, "exclude", 0,
     "Leave a sample out; @FILE names a file with one a line. May be given several times."},

    {"source", NULL, OPTION_SOURCE, PLACE_NONE, NULL, 0,
     "PATTERNs behind it belong to a new source: main2, main3, ..."},
    {"repeat", "R", OPTION_NUMBER, PLACE_SOURCE, "repeat", 0,
     "Weight of the source: 2.5 = each sample 2.5 times as often."},
    {"format", "NAME", OPTION_STRING, PLACE_SOURCE, "format", 0, "auto (default), tar, zip or folder."},
    {"default-annotation", "A", OPTION_STRING, PLACE_SOURCE, "default_annotation", 0,
     "everywhere (default), nowhere or MIN,MAX: of samples that no annotation names."},
    {"key-scope", "NAME", OPTION_STRING, PLACE_SOURCE, "key_scope", 0,
     "source (default) or shard: keys repeat from shard to shard."},
    {"label-key", "FIELD", OPTION_STRING, PLACE_SOURCE, "label_key", 0,
     "Field of the .json member that is the label."},
    {"corruption-label", "N", OPTION_INTEGER, PLACE_SOURCE, "corruption_label", 0,
     "Corruption label of every sample."},
    {"corruption-key", "FIELD", OPTION_STRING, PLACE_SOURCE, "corruption_key", 0,
     "Field of the .json member that is the corruption label."},
    {"pread", NULL, OPTION_TRUE, PLACE_SOURCE, "pread", 0, "Never map these shards."},
    {"skip-bad-shards", NULL, OPTION_TRUE, PLACE_SOURCE, "skip_bad_shards", 0,
     "Leave out shards that cannot be indexed."},

    {"socket", "PATH", OPTION_STRING, PLACE_ROOT, "socket", 0,
     "Where to listen; default $XDG_RUNTIME_DIR/ambientd/ambientd.sock, /run/ambientd/ or "
     "/tmp/ambientd-UID/."},
    {"socket-group", "GROUP", OPTION_STRING, PLACE_ROOT, "socket_group", 0, "Let this group connect too."},
    {"state-dir", "DIR", OPTION_STRING, PLACE_ROOT, "state_dir", 0,
     "Folder of this daemon alone: annotations, jobs, shard indexes, and what it takes to come back to an\n"
     "older generation of the shards."},
    {"cache-dir", "DIR", OPTION_STRING, PLACE_ROOT, "cache_dir", 0,
     "Folder of the shard indexes; default STATE_DIR/index, else ~/.cache/ambientd/index."},
    {"cache-size", "SIZE", OPTION_STRING, PLACE_ROOT, "cache_bytes", 0,
     "Memory for decoded samples, as 2G; default a quarter of all."},
    {"workers", "N", OPTION_INTEGER, PLACE_ROOT, "workers", 0, "Threads that fill batches; default: cores."},
    {"watch", NULL, OPTION_TRUE, PLACE_ROOT, "watch", 0,
     "Reload when a shard, a folder, an annotation file or the configuration changes."},
    {"sandbox", NULL, OPTION_TRUE, PLACE_DECODE, "sandbox", 0,
     "Decode pictures in processes that reach no file, network or other process; the default."},
    {"no-sandbox", NULL, OPTION_FALSE, PLACE_DECODE, "sandbox", 0,
     "Decode them in the daemon's own process: for pictures that you trust."},
    {"jobs-share", NULL, OPTION_FALSE, PLACE_ANNOTATE, "gives_way", 0,
     "Annotation jobs get their share of a busy machine; else only what nobody else wants."},
    {"shm-size", "SIZE", OPTION_STRING, PLACE_LIMITS, "shm_bytes", 0,
     "Shared memory of all slots; default half of all."},
    {"log-level", "LEVEL", OPTION_STRING, PLACE_LOG, "level", 0, "error, warn, info (default) or debug."},
    {"log-format", "NAME", OPTION_STRING, PLACE_LOG, "format", 0, "auto (default), plain or journal."},

    {"config", "FILE", OPTION_CONFIG, PLACE_NONE, NULL, 0,
     "Read everything from a JSON file instead; see --help-config."},
    {"check", NULL, OPTION_ACTION, PLACE_NONE, NULL, AMBD_CLI_CHECK,
     "Index shards, read annotations, report, exit; no socket is made."},
    {"print-config", NULL, OPTION_ACTION, PLACE_NONE, NULL, AMBD_CLI_PRINT_CONFIG,
     "Print the configuration file that the command line amounts to, exit."},
    {"ready-fd", "N", OPTION_READY_FD, PLACE_NONE, NULL, 0,
     "Write the socket's path and a line feed there once the daemon serves, then close it."},
    {"parent-death", NULL, OPTION_PARENT_DEATH, PLACE_NONE, NULL, 0, "Stop when the parent process dies."},
    {"help", NULL, OPTION_ACTION, PLACE_NONE, NULL, AMBD_CLI_HELP, "Print this text."},
    {"help-config", NULL, OPTION_ACTION, PLACE_NONE, NULL, AMBD_CLI_HELP_CONFIG,
     "Print every key of the configuration."},
    {"version", NULL, OPTION_ACTION, PLACE_NONE, NULL, AMBD_CLI_VERSION, "Print the version."},
};
#define N_OPTIONS (sizeof options / sizeof options[0])

static void print_options(FILE *out, size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
        char left[64];
        const char *help = options[i].help;

        snprintf(left, sizeof left, "--%s%s%s", options[i].name, options[i].value != NULL ? " " : "",
                 options[i].value != NULL ? options[i].value : "");
        for (size_t n; *help != '\0'; help += n + (help[n] == '\n'), left[0] = '\0') {
            n = strcspn(help, "\n");
            fprintf(out, "  %-26s %.*s\n", left, (int)n, help);
        }
    }
}

static size_t option_index(const char *name) {
    size_t i = 0;

    while (strcmp(options[i].name, name) != 0) {
        i++;
    }
    return i;
}

void ambd_cli_print_help(FILE *out) {
    fprintf(out, "NAME\n"
                 "  ambientd - serve sigma-matched, noised batches from image shards to trainers\n\n"
                 "SYNOPSIS\n"
                 "  ambientd serve PATTERN... [OPTION...]\n"
                 "  ambientd --config FILE [--check]\n"
                 "  ambientd --help | --help-config | --version\n\n"
                 "DESCRIPTION\n"
                 "  Maps the shards that the PATTERNs name (tar, zip, folders; globs and brace lists as\n"
                 "  'cifar-{000000..000012}.tar'), reads annotations that say at which noise levels each "
                 "sample may be used,\n"
                 "  and streams batches over a Unix socket and shared memory. See ambientctl(1) for a look "
                 "inside and the\n"
                 "  Python package ambientd for trainers.\n\n"
                 "DATA\n");
    print_options(out, 0, option_index("source"));
    fprintf(out, "\nSOURCES (each holds for the PATTERNs of the source being described)\n");
    print_options(out, option_index("source"), option_index("socket"));
    fprintf(out, "\nDAEMON\n");
    print_options(out, option_index("socket"), option_index("config"));
    fprintf(out, "\nRUNNING\n");
    print_options(out, option_index("config"), N_OPTIONS);
    fprintf(out,
            "\nSIGNALS\n"
            "  SIGTERM, SIGINT  stop cleanly, within limits.stop_ms; a second one leaves at once. Trainers wait for "
            "the next\n"
            "                   daemon and go on at the exact next draw\n"
            "  SIGHUP           reload: read the configuration file, the shards and the annotations anew, beside what is\n"
            "                   served; streams move to what changed, a bad one is refused and logged with every reason.\n"
            "                   `ambientctl reload` does the same and answers\n\n"
            "EXIT STATUS\n"
            "  0  stopped as asked, also where work did not end within limits.stop_ms or a second signal came (nothing\n"
            "     is left half-written then, the log says stop.forced); or --check found nothing wrong\n"
            "  1  an error while starting or running\n"
            "  2  the command line, the configuration or an inherited socket is wrong\n"
            "  3  another daemon runs on this socket or state folder\n"
            "  A signal before the daemon serves ends it by that signal; SIGHUP waits until then.\n\n"
            "ENVIRONMENT\n"
            "  XDG_RUNTIME_DIR, XDG_CACHE_HOME, HOME  where the socket and the indexes lie by default\n"
            "  RUNTIME_DIRECTORY, STATE_DIRECTORY     the same in a service: the socket's folder, and --state-dir\n"
            "  NOTIFY_SOCKET, WATCHDOG_USEC           the service manager's (sd_notify(3)): READY, RELOADING, STOPPING,\n"
            "                                         WATCHDOG from the loop, EXTEND_TIMEOUT_USEC while indexing\n"
            "  LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES up to 8 sockets to serve (sd_listen_fds(3)); never unlinked\n"
            "  AMBIENTD_PATH                          code path of the noise: scalar, avx2, avx512, neon\n\n"
            "EXAMPLES\n"
            "  ambientd serve 'shards/*.tar' --annotations annotations.jsonl --size 32\n"
            "  ambientd serve clean/ --source 'web-{0000..0999}.tar' --default-annotation 0.6,0 --size 64\n"
            "  ambientd serve 'latents/*.zip' --latent-scale 0.13,0.13,0.13,0.13 --check\n");
}

/* Tree */

static cJSON *child_get(cJSON *object, const char *key) {
    cJSON *child = cJSON_GetObjectItemCaseSensitive(object, key);

    return child != NULL ? child : cJSON_AddObjectToObject(object, key);
}

static cJSON *array_get(cJSON *object, const char *key) {
    cJSON *child = cJSON_GetObjectItemCaseSensitive(object, key);

    return child != NULL ? child : cJSON_AddArrayToObject(object, key);
}

struct parser {
    struct ambd_cli *cli;
    cJSON *dataset, *source;
    unsigned n_sources;
    bool any; /* a pattern or an option that belongs to a configuration */
};

static cJSON *place_get(struct parser *parser, enum option_place place) {
    switch (place) {
    case PLACE_LIMITS:
        return child_get(parser->cli->tree, "limits");
    case PLACE_LOG:
        return child_get(parser->cli->tree, "log");
    case PLACE_DECODE:
        return child_get(parser->cli->tree, "decode");
    case PLACE_ANNOTATE:
        return child_get(parser->cli->tree, "annotate");
    case PLACE_DATASET:
        return parser->dataset;
    case PLACE_IMAGE:
        return child_get(parser->dataset, "image");
    case PLACE_LATENT:
        return child_get(parser->dataset, "latent");
    case PLACE_SOURCE:
        return parser->source;
    case PLACE_ROOT:
    case PLACE_NONE:
        break;
    }
    return parser->cli->tree;
}

static void tree_set(cJSON *object, const char *key, cJSON *value) {
    cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    ambp_json_add_item(object, key, value);
}

static void parser_add_source(struct parser *parser) {
    char name[24];

    parser->n_sources++;
    snprintf(name, sizeof name, parser->n_sources == 1 ? "main" : "main%u", parser->n_sources);
    parser->source = cJSON_AddObjectToObject(child_get(parser->dataset, "sources"), name);
}

/* Values */

static int option_fail(const struct option *option, const char *value, const char *allowed,
                       struct amb_error *err) {
    return amb_fail(err, AMB_ERR_CONFIG, "--%s: '%.64s' is not allowed, %s is", option->name, value, allowed);
}

static int set_number(struct parser *parser, const struct option *option, const char *value, cJSON *place,
                      struct amb_error *err) {
    char *end;
    double number = strtod(value, &end);

    (void)parser;
    if (end == value || *end != '\0' || !isfinite(number)) {
        return option_fail(option, value, "a number", err);
    }
    if (option->kind == OPTION_INTEGER && number != floor(number)) {
        return option_fail(option, value, "an integer", err);
    }
    if (fabs(number) >= 0x1p53) {
        tree_set(place, option->key, cJSON_CreateString(value)); /* exact, as decimal digits */
    } else {
        tree_set(place, option->key, cJSON_CreateNumber(number));
    }
    return 0;
}

static int set_size(const struct option *option, const char *value, cJSON *place, struct amb_error *err) {
    char *end;
    unsigned long height = strtoul(value, &end, 10), width = height;
    cJSON *size;

    if (end != value && (*end == 'x' || *end == 'X') && end[1] >= '0' && end[1] <= '9') {
        width = strtoul(end + 1, &end, 10);
    }
    if (value[0] < '0' || value[0] > '9' || *end != '\0') {
        return option_fail(option, value, "N or HEIGHTxWIDTH", err);
    }
    size = cJSON_CreateArray();
    ambp_json_add_item(size, NULL, cJSON_CreateNumber((double)height));
    ambp_json_add_item(size, NULL, cJSON_CreateNumber((double)width));
    tree_set(place, option->key, size);
    return 0;
}

static int set_numbers(const struct option *option, const char *value, cJSON *place, struct amb_error *err) {
    cJSON *list = cJSON_CreateArray();

    for (const char *p = value;;) {
        char *end;
        double number = strtod(p, &end);

        if (end == p || !isfinite(number) || (*end != ',' && *end != '\0')) {
            cJSON_Delete(list);
            return option_fail(option, value, "numbers with commas between", err);
        }
        ambp_json_add_item(list, NULL, cJSON_CreateNumber(number));
        if (*end == '\0') {
            break;
        }
        p = end + 1;
    }
    tree_set(place, option->key, list);
    return 0;
}

static int set_import(struct parser *parser, const struct option *option, const char *value,
                      struct amb_error *err) {
    cJSON *imports = array_get(parser->dataset, "annotations"), *last;

    if (option->kind == OPTION_IMPORT) {
        last = cJSON_CreateObject();
        cJSON_AddStringToObject(last, "import", value);
        ambp_json_add_item(imports, NULL, last);
        return 0;
    }
    last = cJSON_GetArrayItem(imports, cJSON_GetArraySize(imports) - 1);
    if (last == NULL) {
        return amb_fail(err, AMB_ERR_CONFIG, "--%s stands before any --annotations, whose option it is",
                        option->name);
    }
    if (option->kind == OPTION_IMPORT_NUMBER) {
        return set_number(parser, option, value, last, err);
    }
    tree_set(last, option->key, cJSON_CreateString(value));
    return 0;
}

static int set_exclude(struct parser *parser, const struct option *option, const char *value,
                       struct amb_error *err) {
    cJSON *present = cJSON_GetObjectItemCaseSensitive(parser->dataset, "exclude");

    if (value[0] == '@' || cJSON_IsString(present)) {
        if (present != NULL) {
            return amb_fail(err, AMB_ERR_CONFIG, "--%s: a file (@FILE) stands alone", option->name);
        }
        tree_set(parser->dataset, option->key, cJSON_CreateString(value + 1));
        return 0;
    }
    ambp_json_add_item(array_get(parser->dataset, "exclude"), NULL, cJSON_CreateString(value));
    return 0;
}

static int set_ready_fd(struct parser *parser, const struct option *option, const char *value,
                        struct amb_error *err) {
    char *end;
    long fd = strtol(value, &end, 10);

    if (end == value || *end != '\0' || fd < 0 || fd > 1 << 20) {
        return option_fail(option, value, "the number of an open file descriptor", err);
    }
    parser->cli->ready_fd = (int)fd;
    return 0;
}

static int option_apply(struct parser *parser, const struct option *option, const char *value,
                        struct amb_error *err) {
    cJSON *place = place_get(parser, option->place);

    parser->any = parser->any || option->place != PLACE_NONE;
    switch (option->kind) {
    case OPTION_STRING:
        tree_set(place, option->key, cJSON_CreateString(value));
        return 0;
    case OPTION_INTEGER:
    case OPTION_NUMBER:
        return set_number(parser, option, value, place, err);
    case OPTION_TRUE:
        tree_set(place, option->key, cJSON_CreateTrue());
        return 0;
    case OPTION_FALSE:
        tree_set(place, option->key, cJSON_CreateFalse());
        return 0;
    case OPTION_LATENT:
        if (strcmp(value, "mean-std") != 0 && strcmp(value, "plain") != 0) {
            return option_fail(option, value, "mean-std or plain", err);
        }
        tree_set(place, option->key, cJSON_CreateBool(value[0] == 'm'));
        return 0;
    case OPTION_SIZE:
        return set_size(option, value, place, err);
    case OPTION_NUMBERS:
        return set_numbers(option, value, place, err);
    case OPTION_IMPORT:
    case OPTION_IMPORT_STRING:
    case OPTION_IMPORT_NUMBER:
        return set_import(parser, option, value, err);
    case OPTION_EXCLUDE:
        return set_exclude(parser, option, value, err);
    case OPTION_ACTION:
        parser->cli->action = (enum ambd_cli_action)option->action;
        return 0;
    case OPTION_SOURCE:
        parser_add_source(parser);
        return 0;
    case OPTION_CONFIG:
        parser->cli->config_path = value;
        return 0;
    case OPTION_READY_FD:
        return set_ready_fd(parser, option, value, err);
    case OPTION_PARENT_DEATH:
        parser->cli->parent_death = true;
        return 0;
    }
    return 0;
}

/* Arguments */

static const struct option *option_find(const char *name, size_t bytes, struct amb_error *err) {
    const char *names[N_OPTIONS], *nearest;
    char word[64];

    for (size_t i = 0; i < N_OPTIONS; i++) {
        names[i] = options[i].name;
        if (strlen(options[i].name) == bytes && memcmp(options[i].name, name, bytes) == 0) {
            return &options[i];
        }
    }
    snprintf(word, sizeof word, "%.*s", (int)(bytes < 63 ? bytes : 63), name);
    nearest = amb_suggest_get(word, names, N_OPTIONS);
    amb_fail(err, AMB_ERR_CONFIG, "unknown option '--%s'%s%s%s; see ambientd --help", word,
             nearest != NULL ? ", did you mean '--" : "", nearest != NULL ? nearest : "",
             nearest != NULL ? "'?" : "");
    return NULL;
}

static int parse_option(struct parser *parser, int *i, int argc, char **argv, struct amb_error *err) {
    const char *name = argv[*i] + 2, *equals = strchr(name, '='), *value = "";
    const struct option *option =
        option_find(name, equals != NULL ? (size_t)(equals - name) : strlen(name), err);

    if (option == NULL) {
        return AMB_ERR_CONFIG;
    }
    if (option->value == NULL && equals != NULL) {
        return amb_fail(err, AMB_ERR_CONFIG, "--%s takes no value", option->name);
    }
    if (option->value != NULL) {
        if (equals == NULL && *i + 1 >= argc) {
            return amb_fail(err, AMB_ERR_CONFIG, "--%s needs a value: %s", option->name, option->value);
        }
        value = equals != NULL ? equals + 1 : argv[++*i];
    }
    return option_apply(parser, option, value, err);
}

static int parse_arguments(struct parser *parser, int first, int argc, char **argv, struct amb_error *err) {
    bool options_end = false;
    int r = 0;

    for (int i = first; i < argc && r == 0; i++) {
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && strcmp(argv[i], "-h") == 0) {
            parser->cli->action = AMBD_CLI_HELP;
        } else if (!options_end && strncmp(argv[i], "--", 2) == 0) {
            r = parse_option(parser, &i, argc, argv, err);
        } else if (!options_end && argv[i][0] == '-' && argv[i][1] != '\0') {
            r = amb_fail(err, AMB_ERR_CONFIG,
                         "unknown option '%.32s'; options begin with two dashes, see ambientd --help",
                         argv[i]);
        } else {
            ambp_json_add_item(array_get(parser->source, "shards"), NULL, cJSON_CreateString(argv[i]));
            parser->any = true;
        }
    }
    return r;
}

static bool action_needs_config(enum ambd_cli_action action) {
    return action == AMBD_CLI_RUN || action == AMBD_CLI_CHECK || action == AMBD_CLI_PRINT_CONFIG;
}

static int check_sources(const struct parser *parser, struct amb_error *err) {
    const cJSON *source;

    cJSON_ArrayForEach(source, cJSON_GetObjectItemCaseSensitive(parser->dataset, "sources")) {
        if (cJSON_GetObjectItemCaseSensitive(source, "shards") == NULL) {
            return amb_fail(
                err, AMB_ERR_CONFIG, "no PATTERN %s%s; as: ambientd serve 'shards/*.tar' --size 32",
                parser->n_sources > 1 ? "for source " : "given", parser->n_sources > 1 ? source->string : "");
        }
    }
    return 0;
}

int ambd_cli_parse(struct ambd_cli *out, int argc, char **argv, struct amb_error *err) {
    static const char *const commands[] = {"serve", "run"};
    struct ambd_cli cli = {.action = AMBD_CLI_RUN, .ready_fd = -1, .tree = cJSON_CreateObject()};
    struct parser parser = {.cli = &cli};
    bool serve = argc > 1 && strcmp(argv[1], "serve") == 0;
    bool run =
        argc > 1 && strcmp(argv[1], "run") == 0; /* `ambientd run --config FILE` = `ambientd --config FILE` */
    int r;

    parser.dataset = child_get(child_get(cli.tree, "datasets"), "main");
    parser_add_source(&parser);
    r = parse_arguments(&parser, serve || run ? 2 : 1, argc, argv, err);
    if (ambp_json_take_hole()) { /* before anything is said of what is missing */
        r = amb_fail(err, -ENOMEM, "no memory for the command line");
    }
    if (r == 0 && action_needs_config(cli.action)) {
        if (cli.config_path != NULL && parser.any) {
            r = amb_fail(err, AMB_ERR_CONFIG,
                         "--config stands alone: patterns and options belong into the file, as "
                         "--print-config writes it");
        } else if (cli.config_path == NULL && !serve) {
            const char *word = argc > 1 ? argv[1] : "";
            const char *nearest = amb_suggest_get(word, commands, 2);

            r = amb_fail(err, AMB_ERR_CONFIG,
                         "nothing to do%s%s%s; as: ambientd serve 'shards/*.tar' --size 32, or "
                         "ambientd --config FILE; see ambientd --help",
                         nearest != NULL ? ", did you mean '" : "", nearest != NULL ? nearest : "",
                         nearest != NULL ? "'?" : "");
        } else if (cli.config_path == NULL) {
            r = check_sources(&parser, err);
        }
    }
    if (r < 0) {
        ambd_cli_deinit(&cli);
        return r;
    }
    *out = cli;
    return 0;
}

void ambd_cli_deinit(struct ambd_cli *cli) {
    cJSON_Delete(cli->tree);
    cli->tree = NULL;
}
