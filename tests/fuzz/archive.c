/*
 * Archive: the shard stage without files. A file would cost five system calls an input, and it is the bytes that are
 * fuzzed; what files do (truncation under a map, identity) is tested in lib/shard.
 */
#include "archive.h"

#include "base/alloc.h"
#include "shard/guard.h"

struct amb_map archive_map(const uint8_t *data, size_t bytes) {
    static bool installed;

    if (!installed) {
        installed = amb_guard_install(NULL) == 0;
    }
    return (struct amb_map){.fd = -1, .base = data, .path = "input", .identity = {.size = bytes}};
}

struct amb_index_options archive_options(size_t bytes) {
    struct amb_index_options options = {.prefix = ""};

    if (bytes % 2 != 0) {
        options.prefix = "shard/";
        options.label_key = "label";
        options.corruption_key = "corruption";
    }
    return options;
}

void archive_view(struct amb_index *out, struct amb_indexer *indexer, const struct amb_map *map) {
    struct amb_index_key key = {.identity = map->identity};
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t *image = NULL;
    size_t image_bytes = 0;

    FUZZ_REQUIRE(amb_index_encode(&image, &image_bytes, &indexer->builder, &key, &err) == 0);
    FUZZ_REQUIRE(amb_index_decode(out, image, image_bytes, false, &key, &err) == 0);
    for (uint32_t i = 0; i < out->n_samples; i++) {
        size_t bytes;
        const char *name = amb_index_name(out, i, &bytes);

        FUZZ_REQUIRE(bytes > out->prefix_bytes && amb_member_key(name, bytes) > 0);
        FUZZ_REQUIRE(amb_member_key(name, bytes) <= out->key_bytes_max);
        (void)amb_index_label(out, i);
        (void)amb_index_corruption(out, i, 0);
    }
}
