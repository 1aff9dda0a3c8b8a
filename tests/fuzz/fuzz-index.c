/*
 * Index cache: an image as it lies in the cache folder. As it is, only an image whose checksum is right is believed;
 * then the same bytes with a right header and checksum, so that nothing but the contents stands between them and the
 * accessors.
 */
#include "fuzz.h"

#include "base/alloc.h"
#include "shard/index-layout.h"
#include "shard/index.h"

static uint8_t *copy(const uint8_t *data, size_t bytes) {
    uint8_t *image = amb_malloc(bytes);

    FUZZ_REQUIRE(image != NULL);
    memcpy(image, data, bytes);
    return image;
}

static void repair(uint8_t *image, size_t bytes, const struct amb_index_key *key) {
    struct amb_hash128 sum;

    memcpy(image, INDEX_MAGIC, 8);
    ambp_store_u32le(image + 8, AMB_INDEX_VERSION);
    amb_index_key_encode(image + INDEX_AT_KEY, key);
    sum = amb_hash128_encode(image + INDEX_AT_SUMMED, bytes - INDEX_AT_SUMMED);
    memcpy(image + INDEX_AT_SUM, sum.bytes, sizeof sum.bytes);
}

static void read_all(const struct amb_index *index) {
    static float vector[AMB_LABEL_WIDTH_MAX];
    size_t bytes, total = 0;
    const char *ext;
    uint64_t place;

    total += strlen(index->first_without_image) + strlen(index->first_bad_label) + strlen(index->first_hidden);
    for (uint32_t i = 0; i < index->n_samples; i++) {
        const char *name = amb_index_name(index, i, &bytes);

        for (size_t k = 0; k < bytes; k++) {
            total += (unsigned char)name[k];
        }
        total += (size_t)amb_index_label(index, i) + (size_t)amb_index_corruption(index, i, 0);
        total += amb_index_payload_bytes(index, i) + amb_index_checksum(index, i);
        if (index->label_width != 0) {
            FUZZ_REQUIRE(index->label_width <= AMB_LABEL_WIDTH_MAX);
            amb_index_vector(vector, index, i);
        }
        for (uint32_t k = 0; amb_index_side(&place, &ext, index, i, k); k++) {
            total += strlen(ext);
        }
    }
    __asm__ volatile("" ::"r"(total)); /* read, whatever the optimiser thinks of it */
}

static void decode(const uint8_t *data, size_t bytes, bool repaired) {
    static const struct amb_index_key key;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_index index = AMB_INDEX_NULL;
    uint8_t *image = copy(data, bytes);

    if (repaired) {
        repair(image, bytes, &key);
    }
    if (fuzz_check(amb_index_decode(&index, image, bytes, false, &key, &err), &err) == 0) {
        read_all(&index);
        amb_index_deinit(&index);
    } else {
        amb_free(image);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    decode(data, bytes, false);
    if (bytes >= INDEX_HEADER_BYTES) {
        decode(data, bytes, true);
    }
    return 0;
}
