/*
 * Shard: opening (format, cache, scan). Reads are in shard-read.c.
 */
#include "shard/shard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/size.h"
#include "shard/folder.h"
#include "shard/index-layout.h"
#include "shard/indexer.h"
#include "shard/shelf.h"
#include "shard/tar.h"
#include "shard/zip.h"

static void shard_deinitp(struct amb_shard *shard) {
    amb_shard_deinit(shard);
}

static void shard_unrefp(struct amb_shard **shard) {
    *shard = amb_shard_unref(*shard);
}

void amb_shard_deinit(struct amb_shard *shard) {
    amb_index_deinit(&shard->index);
    amb_map_deinit(&shard->map);
    if (shard->folder_fd >= 0) {
        close(shard->folder_fd);
    }
    amb_free(shard->path);
    *shard = AMB_SHARD_NULL;
}

/* By content; the name decides nothing. */
static int shard_sniff(enum amb_shard_format *out, const struct amb_map *map, struct amb_error *err) {
    static const struct {
        const char *magic;
        size_t bytes;
        const char *what;
    } packed[] = {{"\x1f\x8b", 2, "gzip"},
                  {"\x28\xb5\x2f\xfd", 4, "zstd"},
                  {"BZh", 3, "bzip2"},
                  {"\xfd"
                   "7zXZ",
                   5, "xz"}};
    uint8_t head[8] = {0};
    int r = amb_map_copy(head, map, 0, amb_size_min(sizeof head, (size_t)map->identity.size), err);

    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) {
        if (memcmp(head, packed[i].magic, packed[i].bytes) == 0) {
            return amb_fail(err, AMB_ERR_UNSUPPORTED,
                            "%s: is packed with %s, so its samples cannot be read where they lie; "
                            "unpack it (pictures are compressed already)",
                            map->path, packed[i].what);
        }
    }
    *out = memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0 ? AMB_SHARD_ZIP : AMB_SHARD_TAR;
    return 0;
}

/* Open what the path is: shard->map or folder. */
static int shard_open(struct amb_shard *shard, struct amb_folder *folder,
                      const struct amb_shard_options *options, struct amb_error *err) {
    struct stat st;
    int r;

    if (stat(shard->path, &st) != 0) {
        return amb_fail(err, -errno, "%s: cannot be opened: %s", shard->path, strerror(errno));
    }
    shard->format = options->format;
    if (S_ISDIR(st.st_mode) != (options->format == AMB_SHARD_FOLDER) && options->format != AMB_SHARD_AUTO) {
        return amb_fail(err, AMB_ERR_FORMAT, "%s: is %s folder, but the source's format says otherwise",
                        shard->path, S_ISDIR(st.st_mode) ? "a" : "no");
    }
    if (S_ISDIR(st.st_mode)) {
        shard->format = AMB_SHARD_FOLDER;
        r = amb_folder_init(folder, shard->path, err);
        folder->rest = options->rest;
        return r < 0 ? r : amb_folder_walk(folder, err);
    }
    r = amb_map_init(&shard->map, shard->path, options->pread, err);
    if (r == 0 && shard->format == AMB_SHARD_AUTO) {
        r = shard_sniff(&shard->format, &shard->map, err);
    }
    return r;
}

static const char *shard_base_name(const char *path, size_t *bytes) {
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    *bytes = n - amb_member_base(path, n);
    return path + n - *bytes;
}

/* Everything besides the bytes of the shard that decides what is in its index. */
static struct amb_hash128 shard_hash_options(enum amb_shard_format format,
                                             const struct amb_index_options *options) {
    const char *texts[] = {options->prefix, options->label_key, options->corruption_key};
    struct amb_hash128 parts[4] = {{{(uint8_t)format}}};

    for (size_t i = 0; i < 3; i++) {
        if (texts[i] != NULL) {
            parts[i + 1] = amb_hash128_encode(texts[i], strlen(texts[i]));
        }
    }
    return amb_hash128_encode(parts, sizeof parts);
}

static struct amb_hash128 shard_cache_name(const struct amb_index_key *key) {
    uint8_t encoded[INDEX_KEY_BYTES];

    amb_index_key_encode(encoded, key);
    return amb_hash128_encode(encoded, sizeof encoded);
}

static int shard_load_cached(struct amb_shard *shard, const char *dir) {
    struct amb_hash128 name = shard_cache_name(&shard->key);
    uint8_t *image;
    size_t image_bytes;
    int r = amb_shelf_load(&image, &image_bytes, dir, &name);

    if (r < 0) {
        return r;
    }
    r = amb_index_decode(&shard->index, image, image_bytes, true, &shard->key, NULL);
    if (r == 0 && shard->index.format != shard->format) {
        amb_index_deinit(&shard->index);
        return AMB_ERR_FORMAT;
    }
    if (r < 0) {
        munmap(image, image_bytes);
    }
    return r;
}

static int shard_scan_into(struct amb_indexer *indexer, struct amb_shard *shard, struct amb_folder *folder,
                           const struct amb_index_options *options, struct amb_error *err) {
    struct amb_zip_scan zip = {&shard->map, NULL};
    int r;

    switch (shard->format) {
    case AMB_SHARD_TAR:
        amb_indexer_init(indexer, shard->format, &amb_tar_format, options, &shard->map);
        return amb_tar_scan(indexer, &shard->map, err);
    case AMB_SHARD_ZIP:
        amb_indexer_init(indexer, shard->format, &amb_zip_format, options, &zip);
        r = amb_zip_scan(indexer, &zip, err);
        amb_labels_free(zip.labels);
        return r;
    default:
        amb_indexer_init(indexer, shard->format, &amb_folder_format, options, folder);
        return amb_folder_scan(indexer, folder, err);
    }
}

/* Scan, and view the result on the heap. */
static int shard_scan(struct amb_shard *shard, struct amb_folder *folder,
                      const struct amb_index_options *options, struct amb_error *err) {
    AMB_CLEANUP(amb_indexer_deinit) struct amb_indexer indexer = {0};
    struct amb_error why = AMB_ERROR_NULL;
    uint8_t *image;
    size_t image_bytes;
    int r = shard_scan_into(&indexer, shard, folder, options, &why);

    if (r == 0 && shard->format != AMB_SHARD_FOLDER) {
        r = amb_map_check(NULL, &shard->map, &why); /* written while we read it */
    }
    if (r == 0) {
        r = amb_index_encode(&image, &image_bytes, &indexer.builder, &shard->key, &why);
    }
    if (r < 0) {
        /* what the formats share does not know the path */
        return strncmp(why.message, shard->path, strlen(shard->path)) == 0
                   ? amb_fail(err, r, "%s", why.message)
                   : amb_fail(err, r, "%s: %s", shard->path, why.message);
    }
    r = amb_index_decode(&shard->index, image, image_bytes, false, &shard->key, err);
    if (r < 0) {
        amb_free(image);
    }
    return r;
}

/* Replace the heap image by the mapped file; if that fails the heap serves. */
static void shard_store(struct amb_shard *shard, const char *dir) {
    struct amb_hash128 name = shard_cache_name(&shard->key);
    struct amb_index heap = shard->index;

    shard->cache_code = amb_shelf_put(dir, &name, heap.image, heap.image_bytes, NULL);
    if (shard->cache_code == 0) {
        shard->cache_code = shard_load_cached(shard, dir);
    }
    if (shard->cache_code == 0) {
        amb_index_deinit(&heap);
    } else {
        shard->index = heap;
    }
}

/* What of the shard's name goes before each key. */
static void shard_prefix(char prefix[AMB_KEY_BYTES_MAX], const struct amb_shard *shard,
                         const struct amb_shard_options *options) {
    size_t n;
    const char *base = shard_base_name(shard->path, &n);

    prefix[0] = '\0';
    if (options->prefix_keys) {
        snprintf(prefix, AMB_KEY_BYTES_MAX, "%.*s/", (int)amb_size_min(n, AMB_KEY_BYTES_MAX - 2), base);
    }
}

/* Open the file or walk the folder, and say what an index of it is made of. */
static int shard_begin(struct amb_shard *shard, struct amb_folder *folder, const char *path,
                       const struct amb_shard_options *options, struct amb_error *err) {
    char prefix[AMB_KEY_BYTES_MAX];
    struct amb_index_options index_options = {prefix, options->label_key, options->corruption_key, options->rest};
    bool is_folder;
    int r;

    shard->path = amb_strdup(path);
    if (shard->path == NULL) {
        return amb_fail(err, -ENOMEM, "%s: out of memory", path);
    }
    r = shard_open(shard, folder, options, err);
    if (r < 0) {
        return r;
    }
    is_folder = shard->format == AMB_SHARD_FOLDER;
    shard_prefix(prefix, shard, options);
    shard->key.identity = is_folder ? folder->identity : shard->map.identity;
    shard->key.options = shard_hash_options(shard->format, &index_options);
    shard->identity = amb_identity_hash(&shard->key.identity);
    shard->pread = options->pread;
    shard->is_fresh = is_folder ? folder->is_fresh : amb_identity_fresh(shard->map.identity.mtime_ns);
    return 0;
}

static int shard_index(struct amb_shard *shard, struct amb_folder *folder,
                       const struct amb_shard_options *options, struct amb_error *err) {
    char prefix[AMB_KEY_BYTES_MAX];
    struct amb_index_options index_options = {prefix, options->label_key, options->corruption_key, options->rest};
    int r;

    shard_prefix(prefix, shard, options);
    if (options->cache_dir != NULL && shard_load_cached(shard, options->cache_dir) == 0) {
        shard->is_cached = true;
    } else {
        r = shard_scan(shard, folder, &index_options, err);
        if (r < 0) {
            return r;
        }
        if (options->cache_dir != NULL && !shard->is_fresh) {
            shard_store(shard, options->cache_dir);
        }
    }
    shard->folder_fd = amb_steal_fd(&folder->fd);
    return 0;
}

int amb_shard_init(struct amb_shard *out, const char *path, const struct amb_shard_options *options,
                   struct amb_error *err) {
    AMB_CLEANUP(shard_deinitp) struct amb_shard shard = AMB_SHARD_NULL;
    AMB_CLEANUP(amb_folder_deinit) struct amb_folder folder = AMB_FOLDER_NULL;
    int r = shard_begin(&shard, &folder, path, options, err);

    r = r < 0 ? r : shard_index(&shard, &folder, options, err);
    if (r < 0) {
        return r;
    }
    *out = shard;
    shard = AMB_SHARD_NULL;
    return 0;
}

/* A file that was replaced by rename is another inode while we hold the first one open, so equal means the same. */
static bool shard_same(const struct amb_shard *a, const struct amb_shard *b) {
    const struct amb_identity *x = &a->key.identity, *y = &b->key.identity;

    return a->format == b->format && a->pread == b->pread && x->dev == y->dev && x->ino == y->ino &&
           x->size == y->size && x->mtime_ns == y->mtime_ns && x->ctime_ns == y->ctime_ns &&
           amb_hash128_equal(&a->key.options, &b->key.options);
}

int amb_shard_open(struct amb_shard **out, bool *kept, const char *path, const struct amb_shard_options *options,
                   struct amb_shard *const *known, size_t n_known, struct amb_error *err) {
    AMB_CLEANUP(shard_unrefp) struct amb_shard *shard = amb_malloc(sizeof *shard);
    AMB_CLEANUP(amb_folder_deinit) struct amb_folder folder = AMB_FOLDER_NULL;
    int r;

    if (shard == NULL) {
        return amb_fail(err, -ENOMEM, "%s: out of memory", path);
    }
    *shard = AMB_SHARD_NULL;
    shard->n_refs = 1;
    r = shard_begin(shard, &folder, path, options, err);
    for (size_t i = 0; i < n_known && r == 0; i++) {
        if (!known[i]->is_fresh && shard_same(known[i], shard)) {
            *out = amb_shard_ref(known[i]);
            *kept = true;
            return 0;
        }
    }
    r = r < 0 ? r : shard_index(shard, &folder, options, err);
    if (r < 0) {
        return r;
    }
    *out = amb_steal_ptr(shard);
    *kept = false;
    return 0;
}

struct amb_shard *amb_shard_ref(struct amb_shard *shard) {
    atomic_fetch_add_explicit(&shard->n_refs, 1, memory_order_relaxed);
    return shard;
}

struct amb_shard *amb_shard_unref(struct amb_shard *shard) {
    if (shard != NULL && atomic_fetch_sub_explicit(&shard->n_refs, 1, memory_order_acq_rel) == 1) {
        amb_shard_deinit(shard);
        amb_free(shard);
    }
    return NULL;
}
