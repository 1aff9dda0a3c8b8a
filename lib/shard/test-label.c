#include "base/test.h"

#include <errno.h>

#include "base/alloc.h"
#include "proto/wire.h"
#include "shard/jsontext.h"
#include "shard/label.h"

static struct amb_label cls(const char *text) {
    return amb_label_decode_cls((const uint8_t *)text, strlen(text));
}

TEST(cls_is_a_decimal_integer_or_bad) {
    static const char *const bad[] = {"", "ship", "3.5", "0x3", "3 4", "99999999999999999999", "- 3", "\n"};

    assert_int_equal(cls("8").value, 8);
    assert_int_equal(cls(" -12\r\n").value, -12);
    assert_int_equal(cls("9223372036854775807").value, INT64_MAX);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(cls(bad[i]).kind, AMB_LABEL_KIND_BAD);
    }
}

TEST(json_field_becomes_a_label_or_is_bad) {
    static const struct {
        const char *text;
        enum amb_label_kind kind;
        int64_t value;
    } cases[] = {
        {"{\"x\": [1, {\"l\": 5}], \"l\": 7}", AMB_LABEL_KIND_INT, 7},
        {"{\"l\":-3.0e2}", AMB_LABEL_KIND_INT, -300},
        {"\xef\xbb\xbf{\"l\":true}", AMB_LABEL_KIND_INT, 1},
        {"{\"l\":\"12\"}", AMB_LABEL_KIND_INT, 12},
        {"{\"l\":null}", AMB_LABEL_KIND_NONE, 0},
        {"{\"\\u006c\":4}", AMB_LABEL_KIND_INT, 4},
        {"{}", AMB_LABEL_KIND_NONE, 0},
        {"{\"k\":\"}{\\\"\", \"m\": [[]]}", AMB_LABEL_KIND_NONE, 0},
        {"{\"l\":0.5}", AMB_LABEL_KIND_BAD, 0},
        {"{\"l\":1e300}", AMB_LABEL_KIND_BAD, 0},
        {"{\"l\":\"ship\"}", AMB_LABEL_KIND_BAD, 0},
        {"{\"l\":{}}", AMB_LABEL_KIND_BAD, 0},
        {"{\"l\":[]}", AMB_LABEL_KIND_BAD, 0},
        {"{\"l\"", AMB_LABEL_KIND_BAD, 0},
        {"{\"a\":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]],\"l\":1}", AMB_LABEL_KIND_BAD, 0},
        {"[1]", AMB_LABEL_KIND_BAD, 0},
        {"", AMB_LABEL_KIND_BAD, 0},
        {"{\"l\":nan}", AMB_LABEL_KIND_BAD, 0},
    };
    struct amb_buf floats = AMB_BUF_NULL;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct amb_label l =
            amb_label_decode_field(&floats, (const uint8_t *)cases[i].text, strlen(cases[i].text), "l");

        if (l.kind != cases[i].kind || (l.kind == AMB_LABEL_KIND_INT && l.value != cases[i].value)) {
            fail_msg("%s: kind %d value %lld", cases[i].text, (int)l.kind, (long long)l.value);
        }
    }
    amb_buf_deinit(&floats);
}

/* Cut at every byte and flipped at every byte, the reader answers and stays inside; sanitizers watch. */
TEST(damaged_json_is_survived) {
    static const char text[] =
        "{\"labels\": [[\"a\\u00e9\\ud83d\\ude00.png\", [0.5, -1e3]], [\"b.png\", [1, 2]]]}";
    struct amb_labels *labels = NULL;
    struct amb_buf floats = AMB_BUF_NULL;

    for (size_t n = 0; n < sizeof text; n++) {
        for (unsigned flip = 0; flip < 256; flip += 5) {
            uint8_t *copy = malloc(n + 1);

            memcpy(copy, text, n);
            if (n > 0) {
                copy[n * 7 % n] ^= (uint8_t)flip;
                copy[n - 1] ^= (uint8_t)(flip / 2);
            }
            if (amb_labels_new(&labels, copy, n, NULL) == 0) {
                labels = amb_labels_free(labels);
            }
            amb_label_decode_field(&floats, copy, n, "labels");
            free(copy);
        }
    }
    amb_buf_deinit(&floats);
}

static int labels_of(struct amb_labels **out, const char *text, struct amb_error *err) {
    return amb_labels_new(out, (const uint8_t *)text, strlen(text), err);
}

TEST(half_an_object_is_no_object_without_labels) {
    static const char *const bad[] = {"{\"a\"}", "{\"labels\"}", "{\"a\": }", "{\"a\": 1,}", "{\"a\": [}"};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_labels *labels = NULL;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct amb_buf floats = AMB_BUF_NULL;

        assert_int_equal(amb_labels_new(&labels, (const uint8_t *)bad[i], strlen(bad[i]), &err), AMB_ERR_FORMAT);
        assert_int_equal(amb_label_decode_field(&floats, (const uint8_t *)bad[i], strlen(bad[i]), "label").kind,
                         AMB_LABEL_KIND_BAD);
        amb_buf_deinit(&floats);
    }
}

TEST(dataset_json_gives_integers_by_name) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_labels *labels;

    assert_ok(
        labels_of(&labels,
                  "{\"v\": 1, \"labels\": [[\"a/b.png\", 3], [\"c\\u00e9.png\", null], [\"a/b.png\", 4]]}",
                  &err),
        err);
    assert_int_equal(amb_labels_get(labels, "a/b.png", 7).value, 4); /* the last one, as dict() has it */
    assert_int_equal(amb_labels_get(labels, "c\xc3\xa9.png", 7).kind, AMB_LABEL_KIND_NONE);
    assert_int_equal(amb_labels_get(labels, "d", 1).kind, AMB_LABEL_KIND_NONE);
    amb_labels_free(labels);
    assert_ok(labels_of(&labels, "{\"labels\": null}", &err), err);
    assert_null(labels);
    assert_ok(labels_of(&labels, "{}", &err), err);
    assert_null(labels);
}

TEST(dataset_json_gives_vectors_by_name) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_labels *labels;
    struct amb_label label;
    float f;
    uint32_t bits;

    assert_ok(labels_of(&labels, "{\"labels\": [[\"a\", [0.5, 2]], [\"b\", [-1, 3e-2]]]}", &err), err);
    label = amb_labels_get(labels, "b", 1);
    assert_int_equal(label.kind, AMB_LABEL_KIND_VECTOR);
    assert_int_equal(label.width, 2);
    bits = ambp_load_u32le(label.vector + 4);
    memcpy(&f, &bits, 4);
    assert_true(f == 0.03f);
    amb_labels_free(labels);
    assert_int_equal(labels_of(&labels, "{\"labels\": [[\"a\", [1]], [\"b\", [1, 2]]]}", &err),
                     AMB_ERR_FORMAT);
    assert_int_equal(labels_of(&labels, "{\"labels\": [[\"a\", 1], [\"b\", [1, 2]]]}", &err), AMB_ERR_FORMAT);
    assert_int_equal(labels_of(&labels, "{\"labels\":\n [[\"a\", 1],\n [\"b\" 2]]}", &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "line 3"));
}

/* A label that only memory keeps from being read must not pass for a bad one: indexes are kept. */
TEST(want_of_memory_is_no_bad_label) {
    static const char text[] = "{\"l\": \"12\"}", table[] = "{\"labels\": [[\"a.png\", 3]]}";

    for (uint64_t n = 1; n <= 3; n++) {
        struct amb_buf floats = AMB_BUF_NULL;
        struct amb_labels *labels = NULL;
        struct amb_error err = AMB_ERROR_NULL;
        struct amb_label label;

        amb_alloc_fail(n, false);
        label = amb_label_decode_field(&floats, (const uint8_t *)text, sizeof text - 1, "l");
        assert_true(label.kind == AMB_LABEL_KIND_NO_MEMORY || (n > 1 && label.kind == AMB_LABEL_KIND_INT && label.value == 12));
        amb_alloc_fail(n, false);
        assert_int_equal(amb_labels_new(&labels, (const uint8_t *)table, sizeof table - 1, &err), -ENOMEM);
        amb_alloc_fail(0, false);
        amb_buf_deinit(&floats);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(cls_is_a_decimal_integer_or_bad),
    cmocka_unit_test(json_field_becomes_a_label_or_is_bad),
    cmocka_unit_test(damaged_json_is_survived),
    cmocka_unit_test(half_an_object_is_no_object_without_labels),
    cmocka_unit_test(dataset_json_gives_integers_by_name),
    cmocka_unit_test(dataset_json_gives_vectors_by_name),
    cmocka_unit_test(want_of_memory_is_no_bad_label),
};

TEST_MAIN(tests)
