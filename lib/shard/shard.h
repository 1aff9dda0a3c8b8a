#pragma once
/* Shard: one file or folder of samples, its index and its reads; the one place that knows all formats. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "shard/catalog.h"
#include "shard/index.h"
#include "shard/map.h"
#include "shard/rest.h"

struct amb_shard_options {
    enum amb_shard_format format;
    bool pread, prefix_keys; /* prefix_keys: "base name of the shard/" before each key */
    const char *label_key, *corruption_key;
    const char *cache_dir; /* NULL: no cache */
    struct amb_rest *rest; /* this thread's; NULL: none. What it ends is failed with what it said */
};

struct amb_shard {
    char *path; /* owned */
    enum amb_shard_format format;
    struct amb_map map;       /* tar, zip */
    int folder_fd;            /* folder */
    struct amb_index_key key; /* what the index was made of */
    struct amb_index index;
    uint64_t identity; /* hash of key.identity */
    bool is_cached;    /* the index came from the cache */
    int cache_code;    /* 0, or why it could not be put there */
    bool pread;
    bool is_fresh;     /* written so shortly before that a second write could look the same: not to be kept */
    _Atomic int n_refs; /* of those that amb_shard_open made */
};
#define AMB_SHARD_NULL ((struct amb_shard){.map = {.fd = -1}, .folder_fd = -1})

/**
 * Open a shard and index it, or take its index from the cache. A cache file that is damaged, old or of
 * something else is replaced without a word.
 *
 * Errors: those of the format, with the path. Immutable afterwards. Thread: any; blocks.
 */
int amb_shard_init(struct amb_shard *out, const char *path, const struct amb_shard_options *options,
                   struct amb_error *err);
void amb_shard_deinit(struct amb_shard *shard); /* idempotent */

/**
 * The same on the heap and counted, or one more reference to the one of `known` that is made of the same bytes and
 * options: its file, map and index are shared.
 *
 * known: n_known shards of amb_shard_open with this path; may be NULL. *kept: one of them serves.
 */
int amb_shard_open(struct amb_shard **out, bool *kept, const char *path, const struct amb_shard_options *options,
                   struct amb_shard *const *known, size_t n_known, struct amb_error *err);
struct amb_shard *amb_shard_ref(struct amb_shard *shard);   /* Thread: any. */
struct amb_shard *amb_shard_unref(struct amb_shard *shard); /* NULL ok; returns NULL. Thread: any. */

/* Path of the picture inside the shard, without prefix. Borrowed. */
const char *amb_shard_picture(const struct amb_shard *shard, uint32_t i, size_t *bytes);
/* Key, with prefix. Borrowed. */
const char *amb_shard_key(const struct amb_shard *shard, uint32_t i, size_t *bytes);

/* As amb_catalog_read, _read_member, _get_members, with the number of a sample in the shard. Thread: any. */
int amb_shard_read(struct amb_buf *payload, const struct amb_shard *shard, uint32_t i, struct amb_error *err);
int amb_shard_read_member(struct amb_buf *payload, const struct amb_shard *shard, uint32_t i, const char *ext,
                          struct amb_error *err);
int amb_shard_list_members(char *out, size_t out_bytes, const struct amb_shard *shard, uint32_t i,
                           struct amb_error *err);
/* Of the picture's bytes in a tar, 0 elsewhere. */
uint64_t amb_shard_offset(const struct amb_shard *shard, uint32_t i);
uint64_t amb_shard_sample_identity(const struct amb_shard *shard, uint32_t i);
