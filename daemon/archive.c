/*
 * Archive: an edition that streams have left can be had again as long as its files are there.
 *
 * NUMBER-FINGERPRINT.json says what it was made of: the dataset's section of the configuration, with the shards as the
 * patterns stood for then, and how large and old each file was, so that a person can be told what has changed.
 * FINGERPRINT.values holds its newest annotations: the store leads back from there (annotate/store-generation.c), and only
 * backwards, so they are written with each generation: a file of the configuration may say something else by the next
 * start, and a record that came behind the generation hides what it replaced. Files are written whole or not at all. Old
 * ones go by age, as generations do.
 *
 * What is served does not depend on it, but at a start that cannot be as configured: what cannot be written is logged.
 */
#include "daemon/archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <zstd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "daemon/endpoint.h"
#include "daemon/log.h"
#include "daemon/text.h"
#include "proto/json-grammar.h"
#include "proto/json.h"
#include "proto/wire.h"

#define ARCHIVE_EDITIONS_MAX 1000    /* not tuned */
#define ARCHIVE_EXCLUDES_MAX 65536u  /* more are left to the file that named them; not tuned */
#define ARCHIVE_BYTES_MAX    (64u << 20)
#define VALUES_MAGIC         "AMBVALS1"
#define VALUES_HEAD_BYTES    48u /* magic 8, samples u64, fingerprint of the annotations 16, XXH3-128 of the rest 16 */

/* Files */

static int archive_path(char path[4096], const struct ambd_dataset *dataset, const char *name) {
    return snprintf(path, 4096, "%s/%s", dataset->archive_path, name) < 4096 ? 0 : -ENAMETOOLONG;
}

static int archive_write(const struct ambd_dataset *dataset, const char *name, const void *data, size_t bytes,
                         struct amb_error *err) {
    char path[4096], temp[4096];
    int fd, r = archive_path(path, dataset, name);

    r = r < 0 ? r : archive_path(temp, dataset, "tmp");
    if (r < 0) {
        return amb_fail(err, r, "archive: path too long: %s", dataset->archive_path);
    }
    fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return amb_fail(err, -errno, "archive: cannot write %s: %s", temp, strerror(errno));
    }
    r = amb_io_write(&amb_io_system, fd, data, bytes, 0);
    r = r == 0 && fsync(fd) != 0 ? -errno : r;
    close(fd);
    r = r == 0 && rename(temp, path) != 0 ? -errno : r;
    r = r < 0 ? r : amb_io_sync_dir(&amb_io_system, dataset->archive_path);
    if (r < 0) {
        unlink(temp);
        return amb_fail(err, r, "archive: cannot write %s: %s", path, strerror(-r));
    }
    return 0;
}

static int archive_read(struct amb_buf *out, const struct ambd_dataset *dataset, const char *name,
                        struct amb_error *err) {
    char path[4096];
    AMB_CLEANUP(amb_fd_closep) int fd = -1;
    struct stat st;
    size_t got;
    int r = archive_path(path, dataset, name);

    fd = r < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        r = r < 0 ? r : -errno;
        return amb_fail(err, r, "archive: cannot read %s: %s", path, strerror(-r));
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > (uint64_t)ARCHIVE_BYTES_MAX * 64) {
        return amb_fail(err, AMB_ERR_CHECKSUM, "archive: %s is not what was written there", path);
    }
    if (amb_buf_reserve(out, (size_t)st.st_size + 1) < 0) {
        return amb_fail(err, -ENOMEM, "archive: no memory for %s", path);
    }
    r = amb_io_read(&got, &amb_io_system, fd, out->data, (size_t)st.st_size, 0);
    out->n_bytes = got;
    return r < 0 ? amb_fail(err, r, "archive: cannot read %s: %s", path, strerror(-r)) : 0;
}

/* One file NUMBER-FINGERPRINT.json */
struct archive_entry {
    uint64_t number;
    char fingerprint[AMB_HASH128_TEXT_BYTES];
    char name[80];
};

static bool entry_parse(struct archive_entry *out, const char *name) {
    char dot[6] = "";
    int end = 0;

    if (sscanf(name, "%20" SCNu64 "-%32[0-9a-f]%5s%n", &out->number, out->fingerprint, dot, &end) != 3 ||
        strcmp(dot, ".json") != 0 || name[end] != '\0' || strlen(out->fingerprint) != AMB_HASH128_TEXT_BYTES - 1) {
        return false;
    }
    snprintf(out->name, sizeof out->name, "%.79s", name);
    return true;
}

static int entry_compare(const void *a, const void *b) {
    const struct archive_entry *x = a, *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

static int entry_push(struct archive_entry **entries, size_t *n, const struct archive_entry *entry) {
    struct archive_entry *grown = amb_realloc(*entries, (*n + 1) * sizeof *grown);

    if (grown == NULL) {
        return -ENOMEM;
    }
    grown[*n] = *entry;
    *entries = grown;
    ++*n;
    return 0;
}

/* All of them, by number; *entries is released by amb_free, also after a failure. */
static int archive_list(struct archive_entry **entries, size_t *n, const struct ambd_dataset *dataset) {
    DIR *dir = opendir(dataset->archive_path);
    struct archive_entry entry;
    int r = dir == NULL ? -errno : 0;

    for (struct dirent *d = dir != NULL ? readdir(dir) : NULL; d != NULL && r == 0; d = readdir(dir)) {
        r = entry_parse(&entry, d->d_name) ? entry_push(entries, n, &entry) : 0;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    if (*n > 0) {
        qsort(*entries, *n, sizeof entry, entry_compare);
    }
    return r;
}

/* What is there for sure, and what becomes it once the store has recorded the generation. */
enum values_file {
    VALUES_KEPT,
    VALUES_NEXT,
    VALUES_N,
};

static void values_name(char out[64], enum values_file file, const char *fingerprint) {
    static const char *const suffixes[VALUES_N] = {"values", "next"};

    snprintf(out, 64, "%s.%s", fingerprint, suffixes[file]);
}

/* Left so long ago, as the file of its values says. */
static bool entry_is_old(const struct ambd_dataset *dataset, const struct archive_entry *entry) {
    char name[64], path[4096];
    struct stat st;

    values_name(name, VALUES_KEPT, entry->fingerprint);
    return archive_path(path, dataset, name) == 0 && stat(path, &st) == 0 &&
           (uint64_t)time(NULL) > (uint64_t)st.st_mtime + dataset->keep_generations_s;
}

/* Neither the newest nor the one that serves, which may have had its values for long. */
static void archive_sweep(const struct ambd_dataset *dataset, const struct archive_entry *entries, size_t n,
                          const char *serving) {
    for (size_t i = 0; i + 1 < n; i++) {
        char name[64], path[4096];

        if (strcmp(entries[i].fingerprint, serving) == 0 ||
            (n - i <= ARCHIVE_EDITIONS_MAX && !entry_is_old(dataset, &entries[i]))) {
            continue;
        }
        if (archive_path(path, dataset, entries[i].name) == 0) {
            unlink(path);
        }
        for (int file = 0; file < VALUES_N; file++) {
            values_name(name, (enum values_file)file, entries[i].fingerprint);
            if (archive_path(path, dataset, name) == 0) {
                unlink(path);
            }
        }
    }
}

/* Recording an edition */

static cJSON *encode_shards(const struct ambd_edition *edition) {
    const struct amb_catalog *catalog = edition->fill.catalog;
    cJSON *shards = cJSON_CreateObject(), *list = NULL;
    uint32_t i_list = UINT32_MAX;

    for (size_t i = 0; i < amb_catalog_count_shards(catalog); i++) {
        struct amb_shard_facts facts;
        cJSON *row = cJSON_CreateArray();

        amb_catalog_get_shard(&facts, catalog, i);
        if (facts.i_source != i_list) {
            list = cJSON_AddArrayToObject(shards, amb_catalog_source(catalog, facts.i_source, NULL, NULL, NULL));
            i_list = facts.i_source;
        }
        ambp_json_add_item(row, NULL, cJSON_CreateString(facts.path));
        ambp_json_add_item(row, NULL, cJSON_CreateNumber(facts.n_samples));
        ambp_json_add_item(row, NULL, cJSON_CreateNumber((double)facts.bytes));
        ambp_json_add_item(row, NULL, cJSON_CreateNumber((double)(facts.mtime_ns / 1000000))); /* exact as a double */
        ambp_json_add_item(list, NULL, row);
    }
    return shards;
}

/* The dataset's section with what it named elsewhere: patterns go, excludes come in. */
static cJSON *encode_section(const struct ambd_dataset *dataset) {
    const cJSON *datasets = cJSON_GetObjectItemCaseSensitive(dataset->config->tree, "datasets");
    cJSON *section = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(datasets, dataset->name), true), *source, *list;
    const struct ambd_dataset_config *options = dataset->options;

    cJSON_ArrayForEach(source, cJSON_GetObjectItemCaseSensitive(section, "sources")) {
        cJSON_DeleteItemFromObjectCaseSensitive(source, "shards");
    }
    if (options->n_excludes <= ARCHIVE_EXCLUDES_MAX) { /* none too: the file that was named may not stay empty */
        cJSON_DeleteItemFromObjectCaseSensitive(section, "exclude");
        list = cJSON_AddArrayToObject(section, "exclude");
        for (size_t i = 0; i < options->n_excludes; i++) {
            ambp_json_add_item(list, NULL, cJSON_CreateString(options->excludes[i]));
        }
    }
    return section;
}

static int archive_record(const struct ambd_dataset *dataset, const struct ambd_edition *edition,
                          const char *fingerprint, struct amb_error *err) {
    cJSON *json = cJSON_CreateObject();
    char name[80], *text;
    int r;

    cJSON_AddNumberToObject(json, "format", 1);
    ambp_json_add_u64(json, "number", edition->number);
    cJSON_AddStringToObject(json, "fingerprint", fingerprint);
    ambp_json_add_u64(json, "unix_s", (uint64_t)time(NULL));
    ambp_json_add_item(json, "dataset", encode_section(dataset));
    ambp_json_add_item(json, "shards", encode_shards(edition));
    ambd_json_encode_strings(json);
    text = ambd_json_print(json);
    if (text == NULL) {
        return amb_fail(err, -ENOMEM, "archive: no memory for a list of shards");
    }
    snprintf(name, sizeof name, "%010" PRIu64 "-%s.json", edition->number, fingerprint);
    r = ambp_json_check(text, strlen(text), AMBP_JSON_DEPTH_MAX, err); /* else it could not be read back */
    r = r < 0 ? r : archive_write(dataset, name, text, strlen(text), err);
    cJSON_free(text);
    return r;
}

void ambd_archive_put_edition(struct ambd_dataset *dataset, struct ambd_edition *edition) {
    AMB_CLEANUP(amb_freep) struct archive_entry *entries = NULL;
    char fingerprint[AMB_HASH128_TEXT_BYTES];
    struct amb_error why = AMB_ERROR_NULL;
    uint64_t number = edition->number;
    size_t n = 0;

    amb_hash128_text(fingerprint, &edition->fingerprint);
    if (dataset->archive_path != NULL) {
        archive_list(&entries, &n, dataset);
    }
    for (size_t i = 0; i < n; i++) {
        bool same = strcmp(entries[i].fingerprint, fingerprint) == 0;

        number = same ? entries[i].number : number;
        dataset->last_edition_number =
            entries[i].number > dataset->last_edition_number ? entries[i].number : dataset->last_edition_number;
    }
    number = number != 0 ? number : ++dataset->last_edition_number;
    if (edition->number != number) { /* one that is served stays untouched: the loop reads it */
        edition->number = number;
    }
    if (dataset->archive_path != NULL && archive_record(dataset, edition, fingerprint, &why) < 0) {
        ambd_log(AMBD_WARN, "archive.unkept dataset=%s generation=%llu code=%s reason=\"%s\"", dataset->name,
                 (unsigned long long)edition->number, amb_error_name(why.code), why.message);
    }
    if (n > 0) {
        archive_sweep(dataset, entries, n, fingerprint);
    }
}

int ambd_archive_open(struct ambd_dataset *dataset, const char *state_dir, struct amb_error *err) {
    char path[4096];
    int r;

    if (state_dir == NULL) {
        return 0;
    }
    if (snprintf(path, sizeof path, "%s/editions/%.64s", state_dir, dataset->name) >= (int)sizeof path - 100) {
        return amb_fail(err, -ENAMETOOLONG, "state_dir: path too long");
    }
    r = ambd_folder_make(path, err);
    if (r < 0) {
        return r;
    }
    dataset->archive_path = amb_strdup(path);
    return dataset->archive_path == NULL ? amb_fail(err, -ENOMEM, "no memory for a path") : 0;
}

/* Values */

int ambd_archive_put_values(const struct ambd_dataset *dataset, const struct amb_hash128 *edition,
                            const struct amb_annotations *annotations, struct amb_error *err) {
    const size_t bytes = (size_t)annotations->n_samples * sizeof *annotations->values;
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf out = AMB_BUF_NULL;
    char fingerprint[AMB_HASH128_TEXT_BYTES], name[64];
    struct amb_hash128 sum;
    size_t packed;

    if (dataset->archive_path == NULL) {
        return 0;
    }
    if (amb_buf_reserve(&out, VALUES_HEAD_BYTES + ZSTD_compressBound(bytes)) < 0) {
        return amb_fail(err, -ENOMEM, "archive: no memory for annotations of %u samples", annotations->n_samples);
    }
    packed = ZSTD_compress(out.data + VALUES_HEAD_BYTES, out.n_bytes - VALUES_HEAD_BYTES, annotations->values, bytes, 1);
    if (ZSTD_isError(packed)) {
        return amb_fail(err, -ENOMEM, "archive: %s", ZSTD_getErrorName(packed));
    }
    memcpy(out.data, VALUES_MAGIC, 8);
    ambp_store_u64le(out.data + 8, annotations->n_samples);
    memcpy(out.data + 16, annotations->fingerprint.bytes, 16);
    sum = amb_hash128_encode(out.data + VALUES_HEAD_BYTES, packed);
    memcpy(out.data + 32, sum.bytes, 16);
    amb_hash128_text(fingerprint, edition);
    values_name(name, VALUES_NEXT, fingerprint);
    return archive_write(dataset, name, out.data, VALUES_HEAD_BYTES + packed, err);
}

void ambd_archive_keep_values(const struct ambd_dataset *dataset, const struct amb_hash128 *edition) {
    char fingerprint[AMB_HASH128_TEXT_BYTES], name[64], next[4096], kept[4096];

    if (dataset->archive_path == NULL) {
        return;
    }
    amb_hash128_text(fingerprint, edition);
    values_name(name, VALUES_NEXT, fingerprint);
    if (archive_path(next, dataset, name) < 0) {
        return;
    }
    values_name(name, VALUES_KEPT, fingerprint);
    if (archive_path(kept, dataset, name) == 0) {
        (void)rename(next, kept); /* where it fails the values are found under the other name, until the next ones come */
    }
}

void ambd_archive_touch_values(const struct ambd_dataset *dataset, const struct amb_hash128 *edition) {
    char fingerprint[AMB_HASH128_TEXT_BYTES], name[64], path[4096];

    if (dataset->archive_path == NULL) {
        return;
    }
    amb_hash128_text(fingerprint, edition);
    values_name(name, VALUES_KEPT, fingerprint);
    if (archive_path(path, dataset, name) == 0) {
        (void)utimensat(AT_FDCWD, path, NULL, 0); /* where it fails it goes sooner */
    }
}

static int archive_load_file(struct amb_annotation *values, uint32_t n_samples, const struct ambd_dataset *dataset,
                             enum values_file file, const struct amb_hash128 *edition,
                             const struct amb_hash128 *annotations, struct amb_error *err) {
    const size_t bytes = (size_t)n_samples * sizeof *values;
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf buf = AMB_BUF_NULL;
    char fingerprint[AMB_HASH128_TEXT_BYTES], name[64];
    struct amb_hash128 sum;
    int r;

    amb_hash128_text(fingerprint, edition);
    values_name(name, file, fingerprint);
    r = archive_read(&buf, dataset, name, err);
    if (r < 0) {
        return r;
    }
    if (buf.n_bytes < VALUES_HEAD_BYTES || memcmp(buf.data, VALUES_MAGIC, 8) != 0 ||
        ambp_load_u64le(buf.data + 8) != n_samples) {
        return amb_fail(err, AMB_ERR_CHECKSUM, "archive: %s is not of %u samples", name, n_samples);
    }
    if (memcmp(buf.data + 16, annotations->bytes, 16) != 0) {
        return amb_fail(err, -ENOENT, "archive: %s is of other annotations", name);
    }
    sum = amb_hash128_encode(buf.data + VALUES_HEAD_BYTES, buf.n_bytes - VALUES_HEAD_BYTES);
    if (memcmp(sum.bytes, buf.data + 32, 16) != 0 ||
        ZSTD_decompress(values, bytes, buf.data + VALUES_HEAD_BYTES, buf.n_bytes - VALUES_HEAD_BYTES) != bytes) {
        return amb_fail(err, AMB_ERR_CHECKSUM, "archive: %s is damaged", name);
    }
    return 0;
}

int ambd_archive_load_values(struct amb_annotation *values, uint32_t n_samples, const struct ambd_dataset *dataset,
                             const struct amb_hash128 *edition, const struct amb_hash128 *annotations,
                             struct amb_error *err) {
    int r = archive_load_file(values, n_samples, dataset, VALUES_KEPT, edition, annotations, err);

    if (r < 0 && archive_load_file(values, n_samples, dataset, VALUES_NEXT, edition, annotations, NULL) == 0) {
        ambd_archive_keep_values(dataset, edition); /* a crash came between the store's record and the name */
        return 0;
    }
    return r;
}

bool ambd_archive_has_values(const struct ambd_dataset *dataset, const struct amb_hash128 *edition,
                             const struct amb_hash128 *annotations) {
    char fingerprint[AMB_HASH128_TEXT_BYTES], name[64], path[4096];
    AMB_CLEANUP(amb_fd_closep) int fd = -1;
    uint8_t head[VALUES_HEAD_BYTES];
    size_t got = 0;

    if (dataset->archive_path == NULL) {
        return true;
    }
    amb_hash128_text(fingerprint, edition);
    values_name(name, VALUES_KEPT, fingerprint);
    fd = archive_path(path, dataset, name) < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return fd >= 0 && amb_io_read(&got, &amb_io_system, fd, head, sizeof head, 0) == 0 && got == sizeof head &&
           memcmp(head + 16, annotations->bytes, 16) == 0;
}

/* Opening an edition again */

static int archive_find(cJSON **out, const struct ambd_dataset *dataset, const char *fingerprint, struct amb_error *err) {
    AMB_CLEANUP(amb_freep) struct archive_entry *entries = NULL;
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf text = AMB_BUF_NULL;
    const struct archive_entry *found = NULL;
    size_t n = 0;
    int r = dataset->archive_path != NULL ? archive_list(&entries, &n, dataset) : 0;

    for (size_t i = 0; i < n; i++) {
        found = strcmp(entries[i].fingerprint, fingerprint) == 0 ? &entries[i] : found;
    }
    if (found == NULL) {
        return amb_fail(err, AMB_ERR_STATE,
                        "dataset '%s' has no generation with fingerprint %s%s: other samples, labels, sources, size, "
                        "transform, excludes or noise seed; bring those back and reload, or subscribe with "
                        "on_generation_change=continue",
                        dataset->name, fingerprint,
                        dataset->archive_path != NULL ? ", nor was it served from this state directory lately"
                                                      : ", and without --state-dir no older one is remembered");
    }
    r = archive_read(&text, dataset, found->name, err);
    r = r < 0 ? r : ambp_json_decode(out, (const char *)text.data, text.n_bytes, AMBP_JSON_DEPTH_MAX, err);
    if (r == 0) {
        ambd_json_decode_strings(*out);
    }
    return r;
}

struct difference {
    size_t n_gone, n_changed;
    char first[320];
};

/* What a person would look for first: files that are gone, or not as they were. */
static void find_difference(struct difference *out, const cJSON *shards) {
    const cJSON *list, *row;

    *out = (struct difference){0};
    cJSON_ArrayForEach(list, shards) {
        cJSON_ArrayForEach(row, list) {
            const cJSON *path = cJSON_GetArrayItem(row, 0), *bytes = cJSON_GetArrayItem(row, 2),
                        *mtime_ms = cJSON_GetArrayItem(row, 3);
            struct stat st;
            bool gone, changed;

            if (!cJSON_IsString(path) || !cJSON_IsNumber(bytes) || !cJSON_IsNumber(mtime_ms)) {
                continue;
            }
            gone = stat(path->valuestring, &st) != 0;
            changed = !gone && !S_ISDIR(st.st_mode) &&
                      ((double)st.st_size != bytes->valuedouble ||
                       (double)((uint64_t)st.st_mtim.tv_sec * 1000 + (uint64_t)st.st_mtim.tv_nsec / 1000000) !=
                           mtime_ms->valuedouble);
            if ((gone || changed) && out->first[0] == '\0') {
                snprintf(out->first, sizeof out->first, "%.240s%s", path->valuestring, gone ? " is gone" : " was changed");
            }
            out->n_gone += gone;
            out->n_changed += changed;
        }
    }
}

/* The configuration that names exactly these shards. */
static int archive_configure(struct ambd_config **out, const struct ambd_dataset *dataset, cJSON *json,
                             struct amb_error *err) {
    cJSON *section = cJSON_DetachItemFromObjectCaseSensitive(json, "dataset"), *tree = cJSON_CreateObject(), *source;
    const cJSON *shards = cJSON_GetObjectItemCaseSensitive(json, "shards"), *row;
    int r;

    ambp_json_add_item(cJSON_AddObjectToObject(tree, "datasets"), dataset->name, section);
    cJSON_ArrayForEach(source, cJSON_GetObjectItemCaseSensitive(section, "sources")) {
        cJSON *list = cJSON_AddArrayToObject(source, "shards");

        cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(shards, source->string)) {
            ambp_json_add_item(list, NULL, cJSON_Duplicate(cJSON_GetArrayItem(row, 0), false));
        }
    }
    r = ambd_config_load(out, tree, err);
    if (r < 0) {
        cJSON_Delete(tree);
    }
    return r;
}

static int archive_reopen(struct ambd_edition **out, const struct ambd_dataset *dataset, cJSON *json,
                          const struct ambd_edition_options *how, struct amb_error *err) {
    struct ambd_edition_options options = *how;
    struct ambd_config *config = NULL;
    int r = archive_configure(&config, dataset, json, err);

    if (r < 0) {
        return r;
    }
    options.config = config;
    options.options = ambd_config_find(config, dataset->name);
    r = ambd_edition_open(out, &options, err);
    ambd_config_unref(config);
    return r;
}

int ambd_archive_load_edition(struct ambd_edition **out, const struct ambd_dataset *dataset,
                              const struct amb_hash128 *fingerprint, const struct ambd_edition_options *how,
                              struct amb_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    struct ambd_edition *edition = NULL;
    struct difference difference;
    struct amb_error why = AMB_ERROR_NULL;
    char text[AMB_HASH128_TEXT_BYTES];
    uint64_t number = 0;
    int r;

    amb_hash128_text(text, fingerprint);
    r = archive_find(&json, dataset, text, err);
    r = r < 0 ? r : ambp_json_get_u64(&number, json, "number", 0, UINT64_MAX, true, err);
    if (r < 0) {
        return r;
    }
    find_difference(&difference, cJSON_GetObjectItemCaseSensitive(json, "shards"));
    r = archive_reopen(&edition, dataset, json, how, &why);
    if (r == 0 && amb_hash128_equal(&edition->fingerprint, fingerprint)) {
        edition->number = number;
        ambd_archive_touch_values(dataset, fingerprint);
        *out = edition;
        return 0;
    }
    ambd_edition_close(edition);
    return amb_fail(err, AMB_ERR_STATE,
                    "generation %" PRIu64 " of dataset '%s' cannot be had again: %.200s; shards gone: %zu, changed: %zu%s%.160s; "
                    "bring them back, or subscribe with on_generation_change=continue",
                    number, dataset->name, r < 0 ? why.message : "its samples are not what they were",
                    difference.n_gone, difference.n_changed, difference.first[0] != '\0' ? ", first: " : "",
                    difference.first);
}
