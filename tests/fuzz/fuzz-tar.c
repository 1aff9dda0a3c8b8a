/*
 * Tar index: headers, names, PAX records. What was indexed can be read, and its bytes lie where the index says.
 *
 * The mutator sets right the checksums of headers, which mutations would otherwise never get past.
 */
#include "archive.h"

#include <assert.h>

#include "shard/tar.h"

#define SAMPLES_READ 32u /* of an input; the rest goes the same way */

static void read_sample(const struct amb_map *map, const struct amb_index *index, uint32_t i, struct amb_buf *buf) {
    struct amb_error err = AMB_ERROR_NULL;
    const uint8_t *record = amb_index_record(index, i);
    size_t bytes;
    const char *name = amb_index_name(index, i, &bytes) + index->prefix_bytes;
    char list[256] = "";
    uint64_t offset = amb_tar_offset(record);

    bytes -= index->prefix_bytes;
    if (fuzz_check(amb_tar_read(buf, map, record, name, bytes, &err), &err) == 0) {
        FUZZ_REQUIRE(buf->n_bytes == amb_index_payload_bytes(index, i));
        FUZZ_REQUIRE(offset == 0 || memcmp(buf->data, map->base + offset, buf->n_bytes) == 0);
    } else {
        FUZZ_REQUIRE(err.code == AMB_ERR_LIMIT); /* a payload too large to read; all else was proven by the scan */
    }
    fuzz_check(amb_tar_read_member(buf, map, record, name, bytes, "json", &err), &err);
    fuzz_check(amb_tar_list_members(list, sizeof list, map, record, name, bytes, &err), &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct amb_index_options options = archive_options(bytes / AMB_TAR_BLOCK);
    struct amb_map map = archive_map(data, bytes);
    struct amb_index index = AMB_INDEX_NULL;
    struct amb_buf buf = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_indexer indexer;

    if (bytes == 0) {
        return 0;
    }
    amb_indexer_init(&indexer, AMB_SHARD_TAR, &amb_tar_format, &options, &map);
    if (fuzz_check(amb_tar_scan(&indexer, &map, &err), &err) == 0) {
        archive_view(&index, &indexer, &map);
        for (uint32_t i = 0; i < index.n_samples && i < SAMPLES_READ; i++) {
            read_sample(&map, &index, i, &buf);
        }
    }
    amb_index_deinit(&index);
    amb_indexer_deinit(&indexer);
    amb_buf_deinit(&buf);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed) {
    bytes = LLVMFuzzerMutate(data, bytes, bytes_max);
    if (seed % 8 == 0) {
        return bytes;
    }
    for (size_t at = 0; at + AMB_TAR_BLOCK <= bytes; at += AMB_TAR_BLOCK) {
        if (memcmp(data + at + 257, "ustar", 5) == 0) {
            char text[8];

            snprintf(text, sizeof text, "%06o", amb_tar_sum(data + at) & 0777777u);
            memcpy(data + at + 148, text, 7);
            data[at + 155] = ' ';
        }
    }
    return bytes;
}
