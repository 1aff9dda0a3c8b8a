#pragma once
/* Config: what the operator wants, read from JSON (a file, or what the command line amounts to). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cjson/cJSON.h>

#include "annotate/annotations.h"
#include "base/error.h"
#include "batch/fill.h"
#include "codec/transform.h"
#include "daemon/log.h"
#include "sampler/orders.h"
#include "shard/catalog.h"

#define AMBD_CONFIG_BYTES_MAX  (16u << 20)  /* a file with a long exclude list; not tuned */
#define AMBD_EXCLUDE_BYTES_MAX (256u << 20) /* such a list in a file of its own: 10^7 names of 25 bytes; not tuned */

/* DESIGN section 9; each is a key of "limits". */
struct ambd_limits {
    uint64_t frame_bytes, hello_ms, connections_per_uid, connections, connects_per_s, reserve_fds;
    uint64_t out_queue_bytes, out_queue_soft_bytes, out_queue_soft_s, slot_lease_s, shm_bytes, shm_bytes_per_uid;
    uint64_t image_pixels, image_side, jpeg_scans, decode_cpu_ms;
    uint64_t log_lines, log_window_s, generations_kept, reload_drain_s, stop_ms;
};

#define AMBD_PROVIDERS_CONFIG_MAX 4u

/* The section "annotate". */
struct ambd_annotate_config {
    const char *library; /* libonnxruntime; NULL: searched */
    const char *providers[AMBD_PROVIDERS_CONFIG_MAX];
    uint64_t n_providers;
    uint64_t threads;   /* of a model; 0: cores */
    bool gives_way;     /* jobs run where streams leave the processor idle */
    uint64_t publish_s; /* annotations reach streams at least so often */
    uint64_t keep_generations_days;
};

struct ambd_source_config {
    struct amb_source_options options; /* patterns owned, strings borrowed from the tree */
    struct amb_annotation default_annotation;
};

struct ambd_dataset_config {
    const char *name;
    struct ambd_source_config *sources; /* owned */
    size_t n_sources;
    uint64_t width, height; /* 0: those of the first sample, which then all must have */
    uint64_t channels;      /* of images, 1 or 3; 0: 3 */
    bool crop_set;
    enum amb_crop crop;
    enum amb_resample resample;
    bool latent_std, latent_std_set; /* arrays hold mean and std; not set: by the first key */
    double latent_scale[AMB_LATENT_CHANNELS_MAX], latent_shift[AMB_LATENT_CHANNELS_MAX];
    size_t n_latent_scale, n_latent_shift; /* 0: 1 and 0 */
    const cJSON *annotations;              /* array or NULL; read by daemon/annotator.c */
    const char **excludes; /* sorted, unique; array owned, strings borrowed or in excludes_text */
    size_t n_excludes;
    const char *excludes_path; /* borrowed; NULL: the list is in the configuration */
    char *excludes_text;       /* owned; of that file */
    uint64_t noise_seed;
};

struct ambd_config { /* constant once loaded, but for the count; editions and the server hold references */
    _Atomic int n_refs;
    const char *socket, *socket_group, *state_dir, *cache_dir;
    uint64_t n_workers; /* 0: cores */
    uint64_t cache_bytes;
    bool sandbox; /* decode in processes of their own */
    bool watch;   /* reload when files change */
    uint64_t watch_poll_s;
    struct ambd_limits limits;
    struct ambd_annotate_config annotate;
    enum ambd_level log_level;
    enum ambd_log_format log_format;
    struct ambd_dataset_config *datasets; /* owned */
    size_t n_datasets;
    cJSON *tree; /* owned; strings above point into it */
};

/**
 * Read a configuration file. *out is released by ambd_config_unref.
 *
 * Errors: AMB_ERR_FORMAT "FILE: line L column C: ..."; AMB_ERR_CONFIG with the path of the key; -E... of the
 * file. Thread: any.
 */
int ambd_config_open(struct ambd_config **out, const char *path, struct amb_error *err);

/* The same from a tree, which is taken on success. */
int ambd_config_load(struct ambd_config **out, cJSON *tree, struct amb_error *err);

struct ambd_config *ambd_config_ref(struct ambd_config *config);   /* Thread: any. */
struct ambd_config *ambd_config_unref(struct ambd_config *config); /* NULL ok; returns NULL. Thread: any. */

/* By name, or NULL. Thread: any. */
const struct ambd_dataset_config *ambd_config_find(const struct ambd_config *config, const char *name);

/* Reads "datasets" (config-dataset.c). */
int ambd_config_load_datasets(struct ambd_config *config, const cJSON *value, struct amb_error *err);
void ambd_dataset_config_deinit(struct ambd_dataset_config *dataset);
void ambd_config_print_datasets(FILE *out);

/* Every key, for people: --help-config. */
void ambd_config_print(FILE *out);

/* "everywhere", "nowhere" or "MIN,MAX". AMB_ERR_CONFIG. */
int ambd_annotation_parse(struct amb_annotation *out, const char *text, struct amb_error *err);

/* Memory of the machine or of the cgroup, whichever is less. */
uint64_t ambd_memory_bytes(void);
