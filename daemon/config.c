/*
 * Config: the root of the configuration, its limits and its log; datasets are in config-dataset.c.
 *
 * The tree stays alive as long as the config: strings point into it. The command line builds such a tree too
 * (cli.c), so there is one validator and one set of messages.
 */
#include "daemon/config.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/suggest.h"
#include "daemon/key.h"
#include "proto/frame.h"
#include "proto/json.h"

#define CONFIG_DEPTH_MAX   AMBP_JSON_DEPTH_MAX
#define LIMIT(field)       .kind = AMBD_KEY_U64, .offset = offsetof(struct ambd_limits, field)
#define LIMIT_BYTES(field) .kind = AMBD_KEY_BYTES, .offset = offsetof(struct ambd_limits, field)
#define ROOT(field)        .offset = offsetof(struct ambd_config, field)
#define EXACT              (UINT64_C(1) << 53) /* largest integer that a JSON number carries exactly */

static const struct ambd_key limit_keys[] = {
    {"frame_bytes", "integer", "65536", "Largest payload of a frame that a client may send, 1,024 to 65,536.",
     LIMIT(frame_bytes), 1024, AMBP_PAYLOAD_BYTES_MAX, NULL},
    {"hello_ms", "integer", "2000", "Time in which a new connection must say HELLO.", LIMIT(hello_ms), 1,
     600000, NULL},
    {"connections_per_uid", "integer", "64", "Connections of one user.", LIMIT(connections_per_uid), 1, 65536,
     NULL},
    {"connections", "integer", "256", "Connections in all.", LIMIT(connections), 1, 65536, NULL},
    {"connects_per_s", "integer", "2000",
     "Connections taken up in a second, in stretches of 20 ms of at least one; more wait in connect(), so that a flood\n"
     "of them costs streams nothing. 0: all at once.",
     LIMIT(connects_per_s), 0, UINT32_MAX, NULL},
    {"reserve_fds", "integer", "32", "File descriptors that connections must leave free.", LIMIT(reserve_fds),
     0, 65536, NULL},
    {"out_queue_bytes", "size", "256K",
     "Bytes queued for a client that does not read; past it the connection is closed. At least 160K: two "
     "frames.",
     LIMIT_BYTES(out_queue_bytes), 160u << 10, 1u << 30, NULL},
    {"out_queue_soft_bytes", "size", "64K",
     "Bytes of answers that may wait for a client for longer than out_queue_soft_s.",
     LIMIT_BYTES(out_queue_soft_bytes), 0, 1u << 30, NULL},
    {"out_queue_soft_s", "integer", "10",
     "A client that leaves more than that unread for so many seconds is disconnected.", LIMIT(out_queue_soft_s), 1,
     1u << 30, NULL},
    {"slot_lease_s", "integer", "0", "Longest time that a client may hold a slot, in seconds; 0: for ever.",
     LIMIT(slot_lease_s), 0, 1u << 30, NULL},
    {"shm_bytes", "size", "half of the memory", "Shared memory of all slots.", LIMIT_BYTES(shm_bytes), 4096,
     EXACT, NULL},
    {"shm_bytes_per_uid", "size", "0", "Shared memory of one user's slots; 0: no limit of its own.",
     LIMIT_BYTES(shm_bytes_per_uid), 0, EXACT, NULL},
    {"image_pixels", "integer", "67108864", "Pixels of a picture.", LIMIT(image_pixels), 1, UINT32_MAX, NULL},
    {"image_side", "integer", "16383", "Width and height of a picture.", LIMIT(image_side), 1, 65535, NULL},
    {"jpeg_scans", "integer", "500", "Scans of a progressive JPEG.", LIMIT(jpeg_scans), 1, 65535, NULL},
    {"decode_cpu_ms", "integer", "1000", "CPU time for decoding one picture.", LIMIT(decode_cpu_ms), 1,
     3600000, NULL},
    {"log_lines", "integer", "100", "Log lines that one user's clients may cause in a window.",
     LIMIT(log_lines), 0, UINT32_MAX, NULL},
    {"log_window_s", "integer", "30", "Length of that window.", LIMIT(log_window_s), 1, 86400, NULL},
    {"reload_drain_s", "integer", "30",
     "After a reload, streams and fills that stand on the generation before for longer are told of in the log; 0: never.",
     LIMIT(reload_drain_s), 0, UINT32_MAX, NULL},
    {"generations_kept", "integer", "4",
     "Annotation generations that no stream uses, kept in memory (8 bytes a sample each) so that a stream\n"
     "whose state names one can resume.",
     LIMIT(generations_kept), 0, 1024, NULL},
    {"stop_ms", "integer", "4500", "Time for a clean stop after SIGTERM.", LIMIT(stop_ms), 100, 600000, NULL},
};
static const struct ambd_section limit_section = {"limits",
                                                  "Each is counted in `ambientctl status` when it bites.",
                                                  limit_keys, sizeof limit_keys / sizeof limit_keys[0]};

static int config_parse_name(const char **out, const cJSON *value, const char *const *names, size_t n_names,
                             const char *where, struct amb_error *err) {
    const char *nearest;

    if (!cJSON_IsString(value)) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: found %s, allowed: a string", where, ambp_json_kind(value));
    }
    for (size_t i = 0; i < n_names; i++) {
        if (strcmp(value->valuestring, names[i]) == 0) {
            *out = names[i];
            return (int)i;
        }
    }
    nearest = amb_suggest_get(value->valuestring, names, n_names);
    return amb_fail(err, AMB_ERR_CONFIG, "%s: unknown value '%.64s'%s%s%s, see --help-config", where,
                    value->valuestring, nearest != NULL ? ", did you mean '" : "",
                    nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
}

static int annotate_apply_providers(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    struct ambd_annotate_config *annotate = object;
    const cJSON *entry;

    annotate->n_providers = 0;
    if (!cJSON_IsArray(value) || cJSON_GetArraySize(value) > (int)AMBD_PROVIDERS_CONFIG_MAX) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: found %s, allowed: an array of up to %u of \"CUDA\", \"CPU\"", where,
                        ambp_json_kind(value), AMBD_PROVIDERS_CONFIG_MAX);
    }
    cJSON_ArrayForEach(entry, value) {
        if (!cJSON_IsString(entry) || (strcmp(entry->valuestring, "CUDA") != 0 && strcmp(entry->valuestring, "CPU") != 0)) {
            return amb_fail(err, AMB_ERR_CONFIG, "%s: found %s, allowed: \"CUDA\", \"CPU\"", where,
                            cJSON_IsString(entry) ? entry->valuestring : ambp_json_kind(entry));
        }
        annotate->providers[annotate->n_providers++] = entry->valuestring;
    }
    return 0;
}

#define ANNOTATE(field) offsetof(struct ambd_annotate_config, field)
static const struct ambd_key annotate_keys[] = {
    {"library", "string", "searched",
     "Path of libonnxruntime. Else AMBIENTD_ONNXRUNTIME, the system's libonnxruntime.so.1, then the Python package\n"
     "onnxruntime of $VIRTUAL_ENV, $CONDA_PREFIX, ~/.local or the system; one that is too old is passed over.",
     AMBD_KEY_STRING, ANNOTATE(library), 0, 0, NULL},
    {"providers", "array of strings", "[\"CPU\"]", "Execution providers in order of preference: \"CUDA\", \"CPU\".",
     AMBD_KEY_CUSTOM, 0, 0, 0, annotate_apply_providers},
    {"threads", "integer", "0", "Threads that run a model; 0: as many as there are cores.", AMBD_KEY_U64,
     ANNOTATE(threads), 0, 1024, NULL},
    {"gives_way", "true or false", "true",
     "Jobs run only where fill workers leave the processor idle (SCHED_IDLE, nice 19); false: as equals.", AMBD_KEY_BOOL,
     ANNOTATE(gives_way), 0, 0, NULL},
    {"publish_s", "integer", "60",
     "While a job runs, a new generation is minted this often, if anything changed; also by `ambientctl mint` and at its\n"
     "end.",
     AMBD_KEY_U64, ANNOTATE(publish_s), 1, 86400, NULL},
    {"keep_generations_days", "integer", "30",
     "How long the store keeps what is needed to rebuild an older generation.", AMBD_KEY_U64,
     ANNOTATE(keep_generations_days), 1, 36500, NULL},
};
static const struct ambd_section annotate_section = {"annotate", "Jobs that annotate (`ambientctl annotate`).",
                                                     annotate_keys, sizeof annotate_keys / sizeof annotate_keys[0]};

struct log_config {
    enum ambd_level level;
    enum ambd_log_format format;
};

static int log_apply_level(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    const char *names[AMBD_LEVEL_N], *name;
    int r;

    for (int i = 0; i < AMBD_LEVEL_N; i++) {
        names[i] = ambd_level_name((enum ambd_level)i);
    }
    r = config_parse_name(&name, value, names, AMBD_LEVEL_N, where, err);
    if (r >= 0) {
        ((struct log_config *)object)->level = (enum ambd_level)r;
    }
    return r < 0 ? r : 0;
}

static int log_apply_format(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    const char *names[AMBD_LOG_FORMAT_N], *name;
    int r;

    for (int i = 0; i < AMBD_LOG_FORMAT_N; i++) {
        names[i] = ambd_log_format_name((enum ambd_log_format)i);
    }
    r = config_parse_name(&name, value, names, AMBD_LOG_FORMAT_N, where, err);
    if (r >= 0) {
        ((struct log_config *)object)->format = (enum ambd_log_format)r;
    }
    return r < 0 ? r : 0;
}

static const struct ambd_key log_keys[] = {
    {"level", "\"error\", \"warn\", \"info\" or \"debug\"", "\"info\"", "The least important line written.",
     AMBD_KEY_CUSTOM, 0, 0, 0, log_apply_level},
    {"format", "\"auto\", \"plain\" or \"journal\"", "\"auto\"",
     "plain: with time and level; journal: with sd-daemon(3) prefixes; auto: journal under systemd.",
     AMBD_KEY_CUSTOM, 0, 0, 0, log_apply_format},
};
static const struct ambd_section log_section = {"log", NULL, log_keys, sizeof log_keys / sizeof log_keys[0]};

static int root_apply_limits(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    return ambd_section_load(&((struct ambd_config *)object)->limits, &limit_section, value, where, err);
}

static int root_apply_annotate(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    return ambd_section_load(&((struct ambd_config *)object)->annotate, &annotate_section, value, where, err);
}

static int root_apply_log(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    struct ambd_config *config = object;
    struct log_config log = {config->log_level, config->log_format};
    int r = ambd_section_load(&log, &log_section, value, where, err);

    config->log_level = log.level;
    config->log_format = log.format;
    return r;
}

static int root_apply_datasets(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    (void)where;
    return ambd_config_load_datasets(object, value, err);
}

static const struct ambd_key decode_keys[] = {
    {"sandbox", "true or false", "true",
     "Decode pictures in processes of their own, one for each worker, that reach no file, network or other\n"
     "process; false: in the daemon's own process. Changes no byte of any batch.",
     AMBD_KEY_BOOL, offsetof(struct ambd_config, sandbox), 0, 0, NULL},
};
static const struct ambd_section decode_section = {"decode", NULL, decode_keys,
                                                   sizeof decode_keys / sizeof decode_keys[0]};

static int root_apply_decode(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    return ambd_section_load(object, &decode_section, value, where, err);
}

static const struct ambd_key root_keys[] = {
    {"socket", "string", NULL,
     "Path of the Unix socket, at most 107 bytes. Its folder is made with mode 0700 where it is missing.\n"
     "Default: $XDG_RUNTIME_DIR/ambientd/ambientd.sock, else /run/ambientd/ambientd.sock where root may "
     "write,\n"
     "else /tmp/ambientd-UID/ambientd.sock. Where the service manager passes sockets (LISTEN_FDS), those are\n"
     "served and this key is not used.",
     AMBD_KEY_STRING, ROOT(socket), 0, 0, NULL},
    {"socket_group", "string", "none", "Group that may connect too: the socket becomes 0660 instead of 0600.",
     AMBD_KEY_STRING, ROOT(socket_group), 0, 0, NULL},
    {"state_dir", "string", "$STATE_DIRECTORY, else none",
     "Folder that belongs to this daemon alone (a second one on it is refused): annotations, jobs, and the lists of\n"
     "shards of generations that were served.", AMBD_KEY_STRING,
     ROOT(state_dir), 0, 0, NULL},
    {"cache_dir", "string",
     "STATE_DIR/index, else $XDG_CACHE_HOME/ambientd/index, else ~/.cache/ambientd/index",
     "Folder of the shard indexes; daemons may share it.", AMBD_KEY_STRING, ROOT(cache_dir), 0, 0, NULL},
    {"workers", "integer", "0", "Threads that fill batches; 0: as many as there are cores.", AMBD_KEY_U64,
     ROOT(n_workers), 0, 1024, NULL},
    {"cache_bytes", "size", "a quarter of the memory",
     "Decoded samples kept in memory, shared by all streams; 0: none. Changes no byte of any batch.",
     AMBD_KEY_BYTES, ROOT(cache_bytes), 0, EXACT, NULL},
    {"watch", "true or false", "false",
     "Reload when the configuration, a shard, a folder or an annotation file changes: by inotify, and by looking at\n"
     "sizes and times every watch_poll_s. Publish shards by rename, else one is looked at half-written, and refused.",
     AMBD_KEY_BOOL, ROOT(watch), 0, 0, NULL},
    {"watch_poll_s", "integer", "30",
     "Seconds between two looks at sizes and times, for what inotify does not see: network file systems, targets of\n"
     "links.", AMBD_KEY_U64, ROOT(watch_poll_s), 1, 86400, NULL},
    {"annotate", "object", NULL, "See \"annotate\" below.", AMBD_KEY_CUSTOM, 0, 0, 0, root_apply_annotate},
    {"decode", "object", NULL, "See \"decode\" below.", AMBD_KEY_CUSTOM, 0, 0, 0, root_apply_decode},
    {"limits", "object", NULL, "See \"limits\" below.", AMBD_KEY_CUSTOM, 0, 0, 0, root_apply_limits},
    {"log", "object", NULL, "See \"log\" below.", AMBD_KEY_CUSTOM, 0, 0, 0, root_apply_log},
    {"datasets", "object", NULL, "Datasets by name; at least one. See \"datasets.NAME\" below.",
     AMBD_KEY_CUSTOM, 0, 0, 0, root_apply_datasets},
};
static const struct ambd_section root_section = {
    "the file",
    "A JSON object. Sizes are numbers of bytes or strings as \"64M\" and \"2G\" (powers of 1,024).",
    root_keys, sizeof root_keys / sizeof root_keys[0]};

void ambd_config_print(FILE *out) {
    fprintf(
        out,
        "Configuration of ambientd: every key. `ambientd serve ... --print-config` writes a file to start "
        "from;\n`ambientd --config FILE --check` tries one.\n\n");
    ambd_section_print(out, &root_section);
    ambd_config_print_datasets(out);
    ambd_section_print(out, &annotate_section);
    ambd_section_print(out, &decode_section);
    ambd_section_print(out, &limit_section);
    ambd_section_print(out, &log_section);
}

static uint64_t config_cgroup_bytes(void) {
    AMB_CLEANUP(amb_file_closep) FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    unsigned long long bytes;

    return file != NULL && fscanf(file, "%llu", &bytes) == 1 ? bytes : UINT64_MAX;
}

uint64_t ambd_memory_bytes(void) {
    struct sysinfo info;
    uint64_t total = UINT64_C(1) << 32, limit = config_cgroup_bytes();

    if (sysinfo(&info) == 0) {
        total = (uint64_t)info.totalram * info.mem_unit;
    }
    return limit < total ? limit : total;
}

static struct ambd_config config_defaults(void) {
    uint64_t memory = ambd_memory_bytes();

    return (struct ambd_config){
        .cache_bytes = memory / 4,
        .sandbox = true,
        .watch_poll_s = 30,
        .log_level = AMBD_INFO,
        .annotate = {.gives_way = true, .publish_s = 60, .keep_generations_days = 30},
        .limits =
            {
                .frame_bytes = AMBP_PAYLOAD_BYTES_MAX,
                .hello_ms = 2000,
                .connections_per_uid = 64,
                .connections = 256,
                .connects_per_s = 2000,
                .reserve_fds = 32,
                .out_queue_bytes = 256u << 10,
                .out_queue_soft_bytes = 64u << 10,
                .out_queue_soft_s = 10,
                .shm_bytes = memory / 2,
                .image_pixels = AMB_CODEC_PIXELS_MAX,
                .image_side = AMB_CODEC_SIDE_MAX,
                .jpeg_scans = AMB_CODEC_SCANS_MAX,
                .decode_cpu_ms = AMB_CODEC_CPU_NS / 1000000,
                .log_lines = AMBD_LOG_LINES_DEFAULT,
                .log_window_s = AMBD_LOG_WINDOW_S_DEFAULT,
                .generations_kept = 4,
                .reload_drain_s = 30,
                .stop_ms = 4500,
            },
    };
}

/* StateDirectory= of the unit, several with colons between: the first is ours, where the tree names none. */
static void config_add_environment(cJSON *tree) {
    const char *state = getenv("STATE_DIRECTORY");
    char path[4096];

    if (state == NULL || state[0] != '/' || !cJSON_IsObject(tree) ||
        cJSON_GetObjectItemCaseSensitive(tree, "state_dir") != NULL) {
        return;
    }
    snprintf(path, sizeof path, "%.*s", (int)strcspn(state, ":"), state);
    cJSON_AddStringToObject(tree, "state_dir", path);
}

static void config_unrefp(struct ambd_config **config) {
    *config = ambd_config_unref(*config);
}

int ambd_config_load(struct ambd_config **out, cJSON *tree, struct amb_error *err) {
    AMB_CLEANUP(config_unrefp) struct ambd_config *config = amb_malloc(sizeof *config);
    int r;

    if (config == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a configuration");
    }
    *config = config_defaults();
    config->n_refs = 1;
    config_add_environment(tree);
    r = ambd_section_load(config, &root_section, tree, "", err);
    if (r < 0) {
        return r;
    }
    if (config->n_datasets == 0) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "datasets: none given, allowed: at least one, as "
                        "{\"main\":{\"sources\":{\"main\":{\"shards\":[\"*.tar\"]}}}}");
    }
    config->tree = tree;
    *out = amb_steal_ptr(config);
    return 0;
}

int ambd_config_open(struct ambd_config **out, const char *path, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf text = AMB_BUF_NULL;
    AMB_CLEANUP(ambp_json_deletep) cJSON *tree = NULL;
    int r = amb_file_load(&text, path, AMBD_CONFIG_BYTES_MAX, err);

    if (r < 0) {
        return r;
    }
    r = ambp_json_decode(&tree, (const char *)text.data, text.n_bytes, CONFIG_DEPTH_MAX, err);
    if (r == 0) {
        r = ambd_config_load(out, tree, err);
    }
    if (r < 0) {
        return ambd_key_fail(err, "", path);
    }
    tree = NULL;
    return 0;
}

struct ambd_config *ambd_config_ref(struct ambd_config *config) {
    atomic_fetch_add_explicit(&config->n_refs, 1, memory_order_relaxed);
    return config;
}

struct ambd_config *ambd_config_unref(struct ambd_config *config) {
    if (config == NULL || atomic_fetch_sub_explicit(&config->n_refs, 1, memory_order_acq_rel) != 1) {
        return NULL;
    }
    for (size_t i = 0; i < config->n_datasets; i++) {
        ambd_dataset_config_deinit(&config->datasets[i]);
    }
    amb_free(config->datasets);
    cJSON_Delete(config->tree);
    amb_free(config);
    return NULL;
}

const struct ambd_dataset_config *ambd_config_find(const struct ambd_config *config, const char *name) {
    for (size_t i = 0; i < config->n_datasets; i++) {
        if (strcmp(config->datasets[i].name, name) == 0) {
            return &config->datasets[i];
        }
    }
    return NULL;
}
