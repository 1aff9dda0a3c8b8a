/*
 * Zip index: end records, directory, local headers, dataset.json. What was indexed can be read, or says that its
 * bytes are damaged; what was read has the CRC and the size that the directory says.
 */
#include "archive.h"

#include "shard/label.h"
#include "shard/zip.h"

#define SAMPLES_READ 32u /* of an input; the rest goes the same way */

static void read_entry(const struct amb_map *map, uint64_t place, struct amb_buf *buf) {
    struct amb_error err = AMB_ERROR_NULL;
    int r = fuzz_check(amb_zip_read(buf, map, place, &err), &err);

    FUZZ_REQUIRE(r == 0 || r == AMB_ERR_FORMAT || r == AMB_ERR_CHECKSUM || r == AMB_ERR_LIMIT);
}

static void read_sample(const struct amb_map *map, const struct amb_index *index, uint32_t i, struct amb_buf *buf) {
    const char *ext;
    uint64_t place;

    read_entry(map, amb_zip_place(amb_index_record(index, i)), buf);
    for (uint32_t k = 0; amb_index_side(&place, &ext, index, i, k); k++) {
        FUZZ_REQUIRE(strlen(ext) <= AMB_KEY_BYTES_MAX);
        read_entry(map, place, buf);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct amb_index_options options = archive_options(bytes);
    struct amb_map map = archive_map(data, bytes);
    struct amb_zip_scan scan = {.map = &map};
    struct amb_index index = AMB_INDEX_NULL;
    struct amb_buf buf = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_indexer indexer;

    if (bytes == 0) {
        return 0;
    }
    amb_indexer_init(&indexer, AMB_SHARD_ZIP, &amb_zip_format, &options, &scan);
    if (fuzz_check(amb_zip_scan(&indexer, &scan, &err), &err) == 0) {
        archive_view(&index, &indexer, &map);
        for (uint32_t i = 0; i < index.n_samples && i < SAMPLES_READ; i++) {
            read_sample(&map, &index, i, &buf);
        }
    }
    amb_labels_free(scan.labels);
    amb_index_deinit(&index);
    amb_indexer_deinit(&indexer);
    amb_buf_deinit(&buf);
    return 0;
}
