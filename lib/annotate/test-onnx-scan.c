#include "base/test.h"

#include <errno.h>

#include "annotate/onnx-scan.h"
#include "annotate/test-onnx.h"

struct seen {
    char names[16][32];
    size_t n;
    int answer; /* of the visit */
};

static int visit(void *opaque, const char *location, size_t bytes, struct amb_error *err) {
    struct seen *seen = opaque;

    (void)err;
    assert_true(bytes < 32);
    if (seen->n < 16) {
        memcpy(seen->names[seen->n], location, bytes);
        seen->names[seen->n++][bytes] = '\0';
    }
    return seen->answer;
}

static int scan(struct seen *seen, const struct amb_buf *model, struct amb_error *err) {
    *seen = (struct seen){.answer = seen->answer};
    return amb_onnx_scan("m.onnx", model->data, model->n_bytes, visit, seen, err);
}

/* A message of one field. */
static struct amb_buf wrap(uint32_t field, struct amb_buf inner) {
    struct amb_buf outer = AMB_BUF_NULL;

    put_message(&outer, field, &inner);
    return outer;
}

static struct amb_buf tensor_of(const char *location) {
    const int64_t dims[] = {1};

    return tensor_external("w", dims, 1, location, strlen(location));
}

/* Model whose graph has one field. */
static struct amb_buf model_of(uint32_t field, struct amb_buf inner) {
    struct amb_buf graph = wrap(field, inner);

    return model_end(&graph);
}

TEST(model_without_external_data_has_none) {
    struct amb_buf model = made_encode(&(struct made){.labels = AMB_MODEL_LABELS_INTEGER});
    struct amb_error err = AMB_ERROR_NULL;
    struct seen seen = {0};

    assert_ok(scan(&seen, &model, &err), err);
    assert_int_equal(seen.n, 0);
    amb_buf_deinit(&model);
}

/* Every place of onnx.proto3 in which a tensor may lie. */
TEST(tensors_are_found_wherever_they_hide) {
    struct amb_buf graph = AMB_BUF_NULL, models[] = {
        model_of(5, tensor_of("a")),                                      /* initializer                    */
        model_of(15, wrap(1, tensor_of("a"))),                            /* sparse initializer: values     */
        model_of(15, wrap(2, tensor_of("a"))),                            /* and indices                    */
        model_of(1, wrap(5, wrap(5, tensor_of("a")))),                    /* attribute: tensor              */
        model_of(1, wrap(5, wrap(10, tensor_of("a")))),                   /* tensors                        */
        model_of(1, wrap(5, wrap(22, wrap(1, tensor_of("a"))))),          /* sparse tensor                  */
        model_of(1, wrap(5, wrap(23, wrap(2, tensor_of("a"))))),          /* sparse tensors                 */
        model_of(1, wrap(5, wrap(6, wrap(5, tensor_of("a"))))),           /* graph in an attribute          */
        model_of(1, wrap(5, wrap(11, wrap(1, wrap(5, wrap(5, tensor_of("a"))))))), /* graphs, nested        */
        wrap(25, wrap(7, wrap(5, wrap(5, tensor_of("a"))))),              /* function                       */
        wrap(25, wrap(11, wrap(5, tensor_of("a")))),                      /* default of its attribute       */
        wrap(20, wrap(1, wrap(5, tensor_of("a")))),                       /* training: initialization       */
        wrap(20, wrap(2, wrap(5, tensor_of("a")))),                       /* training: algorithm            */
    };
    struct amb_error err = AMB_ERROR_NULL;
    struct seen seen = {0};

    put_text(&graph, 2, "g");
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        put_bytes(&models[i], 7, graph.data, graph.n_bytes);
        assert_ok(scan(&seen, &models[i], &err), err);
        if (seen.n != 1 || strcmp(seen.names[0], "a") != 0) {
            fail_msg("place %zu: %zu found", i, seen.n);
        }
        amb_buf_deinit(&models[i]);
    }
    amb_buf_deinit(&graph);
}

/* Value before key, keys that are others, a key that comes twice: the last one holds, as in protobuf. */
TEST(entries_are_read_as_protobuf_reads_them) {
    static const struct {
        const char *fields[4]; /* key, value, key, value in the order written; NULL: left out */
        const char *expected;
        bool value_first;
    } cases[] = {
        {{"location", "a"}, "a", false},
        {{"location", "a"}, "a", true},
        {{"offset", "a"}, NULL, false},
        {{"location2", "a"}, NULL, false},
        {{"offset", "a", "location", "b"}, "b", false},
        {{"location", "a", "offset", "b"}, NULL, false},
        {{"location", NULL}, "", false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct amb_buf entry = AMB_BUF_NULL, model;
        struct amb_error err = AMB_ERROR_NULL;
        struct seen seen = {0};

        for (unsigned k = 0; k < 4; k++) {
            unsigned at = cases[i].value_first ? k ^ 1 : k;

            if (cases[i].fields[at] != NULL) {
                put_text(&entry, at % 2 + 1, cases[i].fields[at]);
            }
        }
        model = model_of(5, wrap(13, entry));
        assert_ok(scan(&seen, &model, &err), err);
        assert_int_equal(seen.n, cases[i].expected != NULL);
        if (cases[i].expected != NULL) {
            assert_string_equal(seen.names[0], cases[i].expected);
        }
        amb_buf_deinit(&model);
    }
}

TEST(answer_of_the_visit_ends_the_scan) {
    struct amb_buf graph = AMB_BUF_NULL, tensor, model;
    struct amb_error err = AMB_ERROR_NULL;
    struct seen seen = {.answer = -EACCES};

    for (unsigned i = 0; i < 3; i++) {
        tensor = tensor_of("a");
        put_message(&graph, GRAPH_INITIALIZER, &tensor);
    }
    model = model_end(&graph);
    assert_int_equal(scan(&seen, &model, &err), -EACCES);
    assert_int_equal(seen.n, 1);
    seen.answer = 0;
    assert_ok(scan(&seen, &model, &err), err);
    assert_int_equal(seen.n, 3);
    amb_buf_deinit(&model);
}

/* Each cut that does not fall between two fields of the model itself is refused; none is read past its end (ASan, and
 * each prefix lies in a block of its own size). */
TEST(truncated_model_is_refused) {
    struct amb_buf model = made_encode(&(struct made){.labels = AMB_MODEL_LABELS_VECTOR, .n_outputs = 2});
    size_t n_refused = 0;

    for (size_t n = 0; n < model.n_bytes; n++) {
        struct amb_error err = AMB_ERROR_NULL;
        struct seen seen = {0};
        uint8_t *prefix = malloc(n > 0 ? n : 1);
        int r;

        assert_non_null(prefix);
        memcpy(prefix, model.data, n);
        r = amb_onnx_scan("m.onnx", prefix, n, visit, &seen, &err);
        free(prefix);
        assert_int_equal(r, AMB_ERR_FORMAT); /* the graph is the last field, and one is required */
        assert_non_null(strstr(err.message, "not an ONNX model, or cut off"));
        n_refused++;
    }
    assert_int_equal(n_refused, model.n_bytes);
    amb_buf_deinit(&model);
}

TEST(bytes_that_are_no_model_are_refused) {
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {
        {"", 0},
        {"not a model at all", 18},
        {"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16},
        {"\x18\0\0\0ORTM\0\0\0\0", 12},                          /* the runtime's own format     */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, /* a length of more than 64 bits */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},     /* of 2^64 - 1                  */
        {"\x00\x00", 2},                                          /* field 0                      */
        {"\x3b\x00", 2},                                          /* a group                      */
        {"\x08\x07", 2},                                          /* a version and no graph       */
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct amb_error err = AMB_ERROR_NULL;
        struct seen seen = {0};

        assert_int_equal(amb_onnx_scan("m.onnx", (const uint8_t *)cases[i].bytes, cases[i].n, visit, &seen, &err),
                         AMB_ERR_FORMAT);
        assert_int_equal(seen.n, 0);
    }
}

static struct amb_buf nested(unsigned n_graphs) {
    struct amb_buf inner = wrap(5, tensor_of("a"));

    for (unsigned i = 1; i < n_graphs; i++) {
        inner = wrap(1, wrap(5, wrap(6, inner))); /* node, attribute, graph */
    }
    return model_end(&inner);
}

/* Model 0, graph 1, then three levels for each graph within, tensor and entry: 21 graphs reach 63, 22 reach 66. */
TEST(depth_is_bounded) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf deep = nested(21), deeper = nested(22), absurd = nested(5000);
    struct seen seen = {0};

    assert_ok(scan(&seen, &deep, &err), err);
    assert_int_equal(seen.n, 1);
    assert_int_equal(scan(&seen, &deeper, &err), AMB_ERR_LIMIT);
    assert_non_null(strstr(err.message, "deeper than 64"));
    assert_int_equal(scan(&seen, &absurd, &err), AMB_ERR_LIMIT);
    amb_buf_deinit(&deep);
    amb_buf_deinit(&deeper);
    amb_buf_deinit(&absurd);
}

/* One byte of a model replaced at each place by each of several values: no crash, and locations stay inside. */
TEST(flipped_bytes_never_lead_outside) {
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0x0a, 0x6a};
    struct amb_buf model = model_of(5, tensor_of("abc"));

    for (size_t i = 0; i < model.n_bytes; i++) {
        for (size_t k = 0; k < sizeof values; k++) {
            uint8_t kept = model.data[i];
            struct amb_error err = AMB_ERROR_NULL;
            struct seen seen = {0};
            int r;

            model.data[i] = values[k];
            r = scan(&seen, &model, &err);
            model.data[i] = kept;
            assert_true(r == 0 || r == AMB_ERR_FORMAT || r == AMB_ERR_LIMIT);
        }
    }
    amb_buf_deinit(&model);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(model_without_external_data_has_none),
    cmocka_unit_test(tensors_are_found_wherever_they_hide),
    cmocka_unit_test(entries_are_read_as_protobuf_reads_them),
    cmocka_unit_test(answer_of_the_visit_ends_the_scan),
    cmocka_unit_test(truncated_model_is_refused),
    cmocka_unit_test(bytes_that_are_no_model_are_refused),
    cmocka_unit_test(depth_is_bounded),
    cmocka_unit_test(flipped_bytes_never_lead_outside),
};

TEST_MAIN(tests)
