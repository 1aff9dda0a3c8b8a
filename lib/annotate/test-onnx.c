/*
 * Test onnx: models are made field by field of onnx.proto3, so that a test needs neither Python nor files.
 */
#include "annotate/test-onnx.h"

#include <dlfcn.h>
#include <glob.h>
#include <pthread.h>
#include <unistd.h>

#include "base/test.h"

void put_varint(struct amb_buf *buf, uint64_t value) {
    uint8_t bytes[10];
    size_t n = 0;

    do {
        bytes[n++] = (uint8_t)((value & 127) | (value > 127 ? 128 : 0));
        value >>= 7;
    } while (value != 0);
    assert_int_equal(amb_buf_push(buf, bytes, n), 0);
}

void put_number(struct amb_buf *buf, uint32_t field, uint64_t value) {
    put_varint(buf, (uint64_t)field << 3);
    put_varint(buf, value);
}

void put_bytes(struct amb_buf *buf, uint32_t field, const void *data, size_t n) {
    put_varint(buf, (uint64_t)field << 3 | 2);
    put_varint(buf, n);
    if (n > 0) {
        assert_int_equal(amb_buf_push(buf, data, n), 0);
    }
}

void put_text(struct amb_buf *buf, uint32_t field, const char *text) {
    put_bytes(buf, field, text, strlen(text));
}

void put_message(struct amb_buf *buf, uint32_t field, struct amb_buf *message) {
    put_bytes(buf, field, message->data, message->n_bytes);
    amb_buf_deinit(message);
}

void put_value(struct amb_buf *graph, uint32_t field, const char *name, int dtype, const int64_t *dims, size_t n_dims) {
    struct amb_buf value = AMB_BUF_NULL, type = AMB_BUF_NULL, tensor = AMB_BUF_NULL, shape = AMB_BUF_NULL;

    for (size_t i = 0; i < n_dims; i++) {
        struct amb_buf dim = AMB_BUF_NULL;

        if (dims[i] < 0) {
            put_text(&dim, 2, i == 0 ? "N" : "any");
        } else {
            put_number(&dim, 1, (uint64_t)dims[i]);
        }
        put_message(&shape, 1, &dim);
    }
    put_number(&tensor, 1, (uint64_t)dtype);
    put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    put_text(&value, 1, name);
    put_message(&value, 2, &type);
    put_message(graph, field, &value);
}

static void put_ints(struct amb_buf *node, const char *name, const int64_t *values, size_t n) {
    struct amb_buf attribute = AMB_BUF_NULL;

    put_text(&attribute, 1, name);
    for (size_t i = 0; i < n; i++) {
        put_number(&attribute, 8, (uint64_t)values[i]);
    }
    put_number(&attribute, 20, 7);
    put_message(node, 5, &attribute);
}

static void put_int(struct amb_buf *node, const char *name, int64_t value) {
    struct amb_buf attribute = AMB_BUF_NULL;

    put_text(&attribute, 1, name);
    put_number(&attribute, 3, (uint64_t)value);
    put_number(&attribute, 20, 2);
    put_message(node, 5, &attribute);
}

/* Without attributes yet; b may be NULL. put_message(graph, GRAPH_NODE, &node) ends it. */
static struct amb_buf node_begin(const char *op, const char *a, const char *b, const char *output) {
    struct amb_buf node = AMB_BUF_NULL;

    put_text(&node, 1, a);
    if (b != NULL) {
        put_text(&node, 1, b);
    }
    put_text(&node, 2, output);
    put_text(&node, 4, op);
    return node;
}

void put_node(struct amb_buf *graph, const char *op, const char *a, const char *b, const char *output) {
    struct amb_buf node = node_begin(op, a, b, output);

    put_message(graph, GRAPH_NODE, &node);
}

static void put_node_axis(struct amb_buf *graph, const char *op, const char *a, const char *b,
                          const char *output, const char *attribute, int64_t axis) {
    struct amb_buf node = node_begin(op, a, b, output);

    if (attribute[strlen(attribute) - 1] == 's') {
        put_ints(&node, attribute, &axis, 1);
    } else {
        put_int(&node, attribute, axis);
    }
    put_message(graph, GRAPH_NODE, &node);
}

struct amb_buf tensor_external(const char *name, const int64_t *dims, size_t n_dims,
                               const char *location, size_t location_bytes) {
    struct amb_buf tensor = AMB_BUF_NULL, entry = AMB_BUF_NULL;

    for (size_t i = 0; i < n_dims; i++) {
        put_number(&tensor, 1, (uint64_t)dims[i]);
    }
    put_number(&tensor, 2, TEST_F32);
    put_text(&tensor, 8, name);
    put_text(&entry, 1, "location");
    put_bytes(&entry, 2, location, location_bytes);
    put_message(&tensor, 13, &entry);
    put_number(&tensor, 14, 1);
    return tensor;
}

static void put_tensor(struct amb_buf *graph, const char *name, const float *values, const int64_t *dims,
                       size_t n_dims) {
    struct amb_buf tensor = AMB_BUF_NULL;
    size_t n = 1;

    for (size_t i = 0; i < n_dims; i++) {
        put_number(&tensor, 1, (uint64_t)dims[i]);
        n *= (size_t)dims[i];
    }
    put_number(&tensor, 2, TEST_F32);
    put_text(&tensor, 8, name);
    put_bytes(&tensor, 9, values, n * sizeof *values);
    put_message(graph, GRAPH_INITIALIZER, &tensor);
}

struct amb_buf model_end(struct amb_buf *graph) {
    struct amb_buf model = AMB_BUF_NULL, opset = AMB_BUF_NULL;

    put_text(graph, 2, "g");
    put_number(&opset, 2, 11); /* the last in which axes are attributes */
    put_number(&model, 1, 7);
    put_message(&model, 8, &opset);
    put_message(&model, 7, graph);
    return model;
}

static void made_put_labels(struct amb_buf *graph, const struct made *made, int64_t batch) {
    const int64_t table[] = {TEST_LABELS, 1}, shape[] = {batch, TEST_LABELS};
    const bool integer = made->labels == AMB_MODEL_LABELS_INTEGER;
    float values[TEST_LABELS];
    struct amb_buf tensor;

    for (size_t i = 0; i < TEST_LABELS; i++) {
        values[i] = (float)i / 2;
    }
    if (made->location != NULL) {
        tensor = tensor_external("w", table, integer ? 1 : 2, made->location, strlen(made->location));
        put_message(graph, GRAPH_INITIALIZER, &tensor);
    } else {
        put_tensor(graph, "w", values, table, integer ? 1 : 2);
    }
    put_value(graph, GRAPH_INPUT, "labels", made->labels_dtype != 0 ? made->labels_dtype : integer ? TEST_I64 : TEST_F32,
              shape, integer ? 1 : 2);
    if (integer) {
        put_node(graph, "Gather", "w", "labels", "more");
    } else {
        put_node(graph, "MatMul", "labels", "w", "column");
        put_node_axis(graph, "Squeeze", "column", NULL, "more", "axes", 1);
    }
    put_node(graph, "Add", "difference", "more", "labelled");
}

static void made_put_output(struct amb_buf *graph, const struct made *made, const char *logit, int64_t batch) {
    const int64_t shape[] = {batch, made->n_outputs};
    struct amb_buf node;

    if (made->output_dtype != 0) {
        put_node_axis(graph, "Cast", logit, NULL, "logits", "to", made->output_dtype);
    } else if (made->n_outputs == 0) {
        put_node(graph, "Identity", logit, NULL, "logits");
    } else {
        put_node_axis(graph, "Unsqueeze", logit, NULL, "plus", "axes", 1);
        put_node(graph, "Neg", "plus", NULL, "minus");
        node = node_begin("Concat", "plus", made->n_outputs > 1 ? "minus" : NULL, "logits");
        for (unsigned i = 2; i < made->n_outputs; i++) {
            put_text(&node, 1, i % 2 == 0 ? "plus" : "minus");
        }
        put_int(&node, "axis", 1);
        put_message(graph, GRAPH_NODE, &node);
    }
    put_value(graph, GRAPH_OUTPUT, "logits", made->output_dtype != 0 ? made->output_dtype : TEST_F32, shape,
              made->n_outputs == 0 ? 1 : 2);
    put_value(graph, GRAPH_OUTPUT, "difference", TEST_F32, shape, 1); /* the first counts */
}

struct amb_buf made_encode(const struct made *made) {
    const int64_t batch = made->batch != 0 ? made->batch : -1, one[] = {batch, 1}, axes[] = {1, 2, 3};
    const bool usual = made->channels == 0 && made->height == 0 && made->width == 0;
    const int64_t size[] = {batch, usual ? 3 : made->channels, usual ? 4 : made->height, usual ? 5 : made->width};
    const char *x = made->x != NULL ? made->x : "x", *sigma = made->sigma != NULL ? made->sigma : "sigma";
    struct amb_buf graph = AMB_BUF_NULL, node = node_begin("ReduceMean", x, NULL, "mean");
    const char *logit = "difference";

    put_value(&graph, GRAPH_INPUT, sigma, TEST_F32, one, made->sigma_column ? 2 : 1); /* the order is free */
    put_value(&graph, GRAPH_INPUT, x, made->x_dtype != 0 ? made->x_dtype : TEST_F32, size, 4);
    put_ints(&node, "axes", axes, 3);
    put_int(&node, "keepdims", 0);
    put_message(&graph, GRAPH_NODE, &node);
    if (made->sigma_column) {
        put_node_axis(&graph, "Squeeze", sigma, NULL, "flat", "axes", 1);
    }
    put_node(&graph, "Sub", "mean", made->sigma_column ? "flat" : sigma, "difference");
    if (made->labels != AMB_MODEL_LABELS_NONE) {
        made_put_labels(&graph, made, batch);
        logit = "labelled";
    }
    if (made->log) {
        put_node(&graph, "Log", logit, NULL, "logarithm");
        logit = "logarithm";
    }
    if (made->more != NULL) {
        put_value(&graph, GRAPH_INPUT, made->more, TEST_F32, one, 1);
    }
    made_put_output(&graph, made, logit, batch);
    return model_end(&graph);
}

struct test_folder folder_new(void) {
    struct test_folder folder = {"/tmp/ambientd-model-XXXXXX"};

    assert_non_null(mkdtemp(folder.path));
    return folder;
}

void folder_free(struct test_folder *folder) {
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", folder->path);
    assert_int_equal(system(command), 0);
}

const char *folder_path(const struct test_folder *folder, const char *name) {
    static char path[4][512]; /* four at once */
    static unsigned i;

    i = (i + 1) % 4;
    snprintf(path[i], sizeof path[i], "%s/%s", folder->path, name);
    return path[i];
}

const char *folder_store(const struct test_folder *folder, const char *name, const void *data, size_t n) {
    const char *path = folder_path(folder, name);
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(n > 0 ? fwrite(data, 1, n, file) : 0, n);
    assert_int_equal(fclose(file), 0);
    return path;
}

const char *folder_store_made(const struct test_folder *folder, const char *name, const struct made *made) {
    struct amb_buf bytes = made_encode(made);
    const char *path = folder_store(folder, name, bytes.data, bytes.n_bytes);

    amb_buf_deinit(&bytes);
    return path;
}

const char *test_ort_find(void) {
    static char path[4096];
    const char *name = getenv("AMBIENTD_TEST_ORT");
    const char *pattern = TEST_BUILD "/onnxruntime-1.19.2/onnxruntime/capi/libonnxruntime.so.*";
    void *handle;
    glob_t found;

    name = name != NULL ? name : "newest";
    if (name[0] == '/') {
        return name;
    }
    if (strcmp(name, "system") == 0) {
        handle = dlopen("libonnxruntime.so.1", RTLD_NOW | RTLD_LOCAL);
        if (handle != NULL) {
            dlclose(handle);
            return "libonnxruntime.so.1";
        }
        pattern = "/usr/lib/*/libonnxruntime.so.1.*";
    }
    if (strcmp(name, "newest") == 0) {
        pattern = TEST_BUILD "/venv/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*";
    }
    if (glob(pattern, 0, NULL, &found) != 0) {
        printf("skipped: no %s%s\n", pattern, strcmp(name, "system") != 0 ? "; tests/setup.sh --tests installs it" : "");
        return NULL;
    }
    snprintf(path, sizeof path, "%s", found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    return path;
}

const char *test_ort_library(void) {
    const char *library = test_ort_find();

    if (library == NULL) {
        skip();
    }
    return library;
}

static void *thread_main(void *argument) {
    return argument;
}

void test_thread_once(void) {
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, thread_main, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}
