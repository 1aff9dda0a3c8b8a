#include "base/test.h"

#include "base/alloc.h"
#include "shard/index-layout.h"
#include "shard/index.h"

static const struct amb_index_key key;

struct image {
    uint8_t *data;
    size_t bytes;
};

/* Ten samples with a caption each, as a zip has them. */
static struct image image_new(void) {
    struct amb_index_builder builder;
    struct amb_error err = AMB_ERROR_NULL;
    struct image image;

    amb_index_builder_init(&builder, AMB_SHARD_ZIP, false);
    for (unsigned i = 0; i < 10; i++) {
        uint8_t record[AMB_INDEX_RECORD_BYTES] = {0};
        char name[32];

        snprintf(name, sizeof name, "%u.png", i);
        assert_ok(amb_index_push(&builder, record, "p/", name, strlen(name), strlen(name) - 4, &AMB_LABEL_NULL, 0, &err),
                  err);
        assert_ok(amb_index_push_side(&builder, i, "txt", 3, &err), err);
    }
    assert_ok(amb_index_encode(&image.data, &image.bytes, &builder, &key, &err), err);
    amb_index_builder_deinit(&builder);
    return image;
}

static uint8_t *section(const struct image *image, enum amb_index_section i) {
    return image->data + ambp_load_u64le(image->data + INDEX_AT_SECTIONS + 16 * (size_t)i);
}

/* Sum the image anew and decode it; frees it. */
static int decode(struct image image) {
    struct amb_hash128 sum = amb_hash128_encode(image.data + INDEX_AT_SUMMED, image.bytes - INDEX_AT_SUMMED);
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_index index;
    int r;

    memcpy(image.data + INDEX_AT_SUM, sum.bytes, sizeof sum.bytes);
    r = amb_index_decode(&index, image.data, image.bytes, false, &key, &err);
    if (r == 0) {
        amb_index_deinit(&index);
    } else {
        assert_int_equal(err.code, r);
        amb_free(image.data);
    }
    return r;
}

TEST(image_that_lies_is_refused_though_its_sum_is_right) {
    /* One lie in each thing that an accessor follows; the untouched image shows that nothing else is wrong. */
    static const struct {
        enum amb_index_section section;
        size_t at;
        uint8_t byte;
    } lies[] = {
        {AMB_INDEX_BLOCKS, 0, 1},        {AMB_INDEX_BLOCKS, 8, 0},      {AMB_INDEX_BLOCKS, 15, 0x80},
        {AMB_INDEX_NAMES, 0, 0x7F},      {AMB_INDEX_NAMES, 0, 2},       {AMB_INDEX_NAMES, 72, 0xFF},
        {AMB_INDEX_SIDE_FIRST, 4, 200},  {AMB_INDEX_SIDE_FIRST, 8, 0},  {AMB_INDEX_SIDE_FIRST, 43, 0x80},
        {AMB_INDEX_SIDE, 8, 40},         {AMB_INDEX_SIDE, 11, 0x80},    {AMB_INDEX_SIDE_EXT, 39, 'x'},
    };

    assert_int_equal(decode(image_new()), 0);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct image image = image_new();

        section(&image, lies[i].section)[lies[i].at] = lies[i].byte;
        assert_int_equal(decode(image), AMB_ERR_FORMAT);
    }
}

TEST(sections_must_fit_the_number_of_samples) {
    for (size_t i = 0; i < AMB_INDEX_SECTION_N; i++) {
        struct image image = image_new();

        ambp_store_u64le(image.data + INDEX_AT_SECTIONS + 16 * i, image.bytes);
        ambp_store_u64le(image.data + INDEX_AT_SECTIONS + 16 * i + 8, 1);
        assert_int_equal(decode(image), AMB_ERR_FORMAT);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(image_that_lies_is_refused_though_its_sum_is_right),
    cmocka_unit_test(sections_must_fit_the_number_of_samples),
};

TEST_MAIN(tests)
