#include "base/test.h"

#include "batch/layout.h"

static struct amb_layout layout_of(uint32_t batch_size) {
    return (struct amb_layout){
        .shape = {.channels = 3, .height = 32, .width = 32, .key_bytes_max = 21},
        .batch_size = batch_size,
    };
}

/* Push all fields; every row of every field must lie in the slot, aligned, and overlap no other row: proven
 * by counting the writers of each byte. */
TEST(rows_of_all_fields_are_disjoint) {
    struct amb_layout layout = layout_of(5);
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t *n_writers;

    for (unsigned i = 0; i < AMB_FIELD_MEMBER; i++) {
        assert_ok(amb_layout_push(&layout, amb_field_name(i), AMB_DTYPE_N, 0, &err), err);
    }
    assert_ok(amb_layout_push(&layout, "member:txt", AMB_DTYPE_N, 100, &err), err);
    assert_ok(amb_layout_push(&layout, "member:t5.npy", AMB_DTYPE_N, 0, &err), err);
    assert_ok(amb_layout_stack(&layout.fields[layout.n_fields - 1],
                               &(struct amb_npy){.dtype = AMB_DTYPE_F16, .n_dims = 2, .dims = {7, 9}}, &err),
              err);
    assert_ok(amb_layout_place(&layout, &err), err);
    assert_int_equal(layout.slot_bytes % AMB_LAYOUT_ALIGN, 0);
    n_writers = calloc(layout.slot_bytes, 1);
    for (uint32_t i = 0; i < layout.n_fields; i++) {
        const struct amb_layout_field *field = &layout.fields[i];

        assert_int_equal(field->offset % AMB_LAYOUT_ALIGN, 0);
        for (uint32_t row = 0; row < layout.batch_size; row++) {
            size_t begin = amb_layout_row(&layout, field, row);

            for (size_t j = 0; j < field->row_bytes; j++) {
                assert_true(begin + j < field->offset + field->bytes);
                assert_int_equal(n_writers[begin + j]++, 0);
            }
            for (size_t j = 0; (field->ragged || field->stacked) && j < 8; j++) {
                assert_int_equal(n_writers[field->offset + 8 * row + j]++, 0);
            }
        }
        assert_true(field->offset + field->bytes <= layout.slot_bytes);
    }
    free(n_writers);
}

TEST(rows_have_the_size_of_their_shape) {
    static const struct {
        const char *name;
        size_t row_bytes;
        uint32_t n_dims;
    } cases[] = {
        {"x_t", 12288, 3},       {"x_tn:f16", 6144, 3}, {"x0:bf16", 6144, 3},    {"u8", 3072, 3},
        {"noise:f32", 12288, 3}, {"sigma_t", 4, 0},     {"s_tn:f64", 8, 0},      {"weight", 4, 0},
        {"label", 8, 0},         {"index", 8, 0},       {"uid", 16, 1},          {"key", 21, 1},
        {"replaced", 1, 0},      {"seeds", 32, 1},      {"member:txt", 4096, 1}, {"member:.json", 4096, 1},
    };
    struct amb_layout layout = layout_of(4);
    struct amb_error err = AMB_ERROR_NULL;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_ok(amb_layout_push(&layout, cases[i].name, AMB_DTYPE_N, 0, &err), err);
        assert_int_equal(layout.fields[i].row_bytes, cases[i].row_bytes);
        assert_int_equal(layout.fields[i].n_dims, cases[i].n_dims);
    }
    assert_string_equal(layout.fields[15].member_ext, "json");
}

TEST(vector_labels_are_f32) {
    struct amb_layout layout = layout_of(4);
    struct amb_error err = AMB_ERROR_NULL;

    layout.shape.label_width = 10;
    assert_ok(amb_layout_push(&layout, "label", AMB_DTYPE_N, 0, &err), err);
    assert_int_equal(layout.fields[0].dtype, AMB_DTYPE_F32);
    assert_int_equal(layout.fields[0].row_bytes, 40);
}

/* Each refusal names what was asked for and what is allowed, and leaves the layout as it was. */
TEST(refusals_say_what_is_allowed) {
    static const struct {
        const char *name;
        enum amb_dtype dtype;
        const char *says;
    } cases[] = {
        {"sigma", AMB_DTYPE_N, "did you mean \"sigma_t\""},
        {"sigma_tm", AMB_DTYPE_N, "did you mean"},
        {"lable", AMB_DTYPE_N, "did you mean \"label\""},
        {"something else", AMB_DTYPE_N, "fields are x_t"},
        {"", AMB_DTYPE_N, "fields are x_t"},
        {"x_t:f64", AMB_DTYPE_N, "it may be f16, bf16, f32"},
        {"x_t:half", AMB_DTYPE_N, "no dtype is called \"half\""},
        {"x_t:f16", AMB_DTYPE_BF16, "as bf16 as well"},
        {"sigma_t", AMB_DTYPE_F16, "it may be f32, f64"},
        {"label", AMB_DTYPE_I32, "it may be i64"},
        {"u8:f32", AMB_DTYPE_N, "it may be u8"},
        {"member", AMB_DTYPE_N, "member:txt"},
        {"member:", AMB_DTYPE_N, "member:txt"},
        {"member:0123456789012345678901234567890123456789012345678901234567890123", AMB_DTYPE_N,
         "1 to 63 characters"},
        {"index", AMB_DTYPE_N, "twice"},
    };
    struct amb_layout layout = layout_of(4), before;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_layout_push(&layout, "index", AMB_DTYPE_N, 0, &err), err);
    before = layout;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(amb_layout_push(&layout, cases[i].name, cases[i].dtype, 0, &err), AMB_ERR_CONFIG);
        if (strstr(err.message, cases[i].says) == NULL) {
            fail_msg("\"%s\": \"%s\" does not say \"%s\"", cases[i].name, err.message, cases[i].says);
        }
        assert_memory_equal(&layout, &before, sizeof layout);
    }
    layout.shape.latent = true;
    assert_int_equal(amb_layout_push(&layout, "u8", AMB_DTYPE_N, 0, &err), AMB_ERR_CONFIG);
    assert_non_null(strstr(err.message, "latents"));
}

/* As if the fields had been asked for of such samples in the first place. */
TEST(fields_are_laid_out_anew_for_another_shape) {
    static const char *const names[] = {"x_t:f16", "u8", "label", "key", "member:txt", "seeds"};
    const struct amb_shape other = {.channels = 1, .height = 5, .width = 7, .label_width = 3, .key_bytes_max = 11}, latents = {.latent = true};
    struct amb_layout layout = layout_of(4), expected = {.shape = other, .batch_size = 4};
    struct amb_error err = AMB_ERROR_NULL;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_ok(amb_layout_push(&layout, names[i], AMB_DTYPE_N, 100, &err), err);
        assert_ok(amb_layout_push(&expected, names[i], AMB_DTYPE_N, 100, &err), err);
    }
    layout.fields[4].member_error = expected.fields[4].member_error = true;
    assert_ok(amb_layout_reshape(&layout, &other, &err), err);
    assert_memory_equal(&layout, &expected, sizeof layout);
    assert_int_equal(amb_layout_reshape(&layout, &latents, &err), AMB_ERR_CONFIG);
    assert_memory_equal(&layout, &expected, sizeof layout);
}

TEST(one_field_above_the_limit_is_refused) {
    struct amb_layout layout = layout_of(4);
    struct amb_error err = AMB_ERROR_NULL;
    char name[32];

    for (unsigned i = 0; i < AMB_LAYOUT_FIELDS_MAX; i++) {
        snprintf(name, sizeof name, "member:%u", i);
        assert_ok(amb_layout_push(&layout, name, AMB_DTYPE_N, 0, &err), err);
    }
    assert_int_equal(amb_layout_push(&layout, "x_t", AMB_DTYPE_N, 0, &err), AMB_ERR_CONFIG);
    assert_int_equal(layout.n_fields, AMB_LAYOUT_FIELDS_MAX);
}

/* Sizes whose products wrap in 64 bits must be refused, not wrapped. */
TEST(impossible_sizes_are_refused) {
    struct amb_layout layout = layout_of(UINT32_MAX);
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_npy npy = {.dtype = AMB_DTYPE_F64, .n_dims = 3, .dims = {UINT32_MAX, UINT32_MAX, 2}};

    assert_int_equal(amb_layout_place(&layout, &err), AMB_ERR_CONFIG);
    assert_ok(amb_layout_push(&layout, "member:npy", AMB_DTYPE_N, UINT32_MAX, &err), err);
    assert_int_equal(amb_layout_place(&layout, &err), AMB_ERR_LIMIT);
    assert_int_equal(amb_layout_stack(&layout.fields[0], &npy, &err), AMB_ERR_LIMIT);
    npy.dims[0] = (uint64_t)UINT32_MAX + 1;
    assert_int_equal(amb_layout_stack(&layout.fields[0], &npy, &err), AMB_ERR_LIMIT);
    assert_true(layout.fields[0].ragged && !layout.fields[0].stacked);
    layout.shape.width = layout.shape.height = UINT32_MAX;
    assert_int_equal(amb_layout_push(&layout, "x_t", AMB_DTYPE_N, 0, &err), AMB_ERR_LIMIT);
    layout.batch_size = 0;
    assert_int_equal(amb_layout_place(&layout, &err), AMB_ERR_CONFIG);
    assert_int_equal(amb_layout_push(&layout, "member:txt", AMB_DTYPE_N, SIZE_MAX, &err), AMB_ERR_LIMIT);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_of_all_fields_are_disjoint),
    cmocka_unit_test(rows_have_the_size_of_their_shape),
    cmocka_unit_test(vector_labels_are_f32),
    cmocka_unit_test(refusals_say_what_is_allowed),
    cmocka_unit_test(fields_are_laid_out_anew_for_another_shape),
    cmocka_unit_test(one_field_above_the_limit_is_refused),
    cmocka_unit_test(impossible_sizes_are_refused),
};

TEST_MAIN(tests)
