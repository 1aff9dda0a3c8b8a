#include "base/test.h"

#include <errno.h>
#include <sha256.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/model-private.h"
#include "annotate/test-onnx.h"

#define TABLE "0123456789012345678901234567890123456789" /* TEST_LABELS floats */

/* Load and let go; what was found is in info. */
static int load(struct amb_model_info *info, bool *has_external, const char *path, uint64_t bytes_max,
                struct amb_error *err) {
    const struct amb_model_options options = {.path = path, .bytes_max = bytes_max};
    struct amb_model_file file = AMB_MODEL_FILE_NULL;
    int r;

    *info = (struct amb_model_info){.bytes = 0};
    r = amb_model_file_load(&file, info, &options, err);
    *has_external = file.has_external;
    amb_model_file_deinit(&file);
    amb_model_file_deinit(&file); /* twice does no harm */
    return r;
}

/* r and the words that its message must hold. */
static void assert_refused(const char *path, uint64_t bytes_max, int code, const char *word, const char *other) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model_info info;
    bool has_external;
    int r = load(&info, &has_external, path, bytes_max, &err);

    if (r != code || strstr(err.message, word) == NULL || strstr(err.message, other) == NULL) {
        fail_msg("%s: %d '%s', expected %d with '%s' and '%s'", path, r, err.message, code, word, other);
    }
}

static struct made with_table(const char *location) {
    return (struct made){.labels = AMB_MODEL_LABELS_INTEGER, .location = location};
}

static const char *store_with_table(const struct test_folder *folder, const char *location) {
    struct made made = with_table(location);

    return folder_store_made(folder, "m.onnx", &made);
}

TEST(bytes_are_hashed_and_counted) {
    struct test_folder folder = folder_new();
    struct made made = {0};
    struct amb_buf bytes = made_encode(&made);
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model_info info;
    char expected[SHA256_DIGEST_STRING_LENGTH];
    bool has_external = true;

    SHA256Data(bytes.data, bytes.n_bytes, expected);
    assert_ok(load(&info, &has_external, folder_store_made(&folder, "m.onnx", &made), 0, &err), err);
    assert_string_equal(info.sha256, expected);
    assert_int_equal(info.bytes, bytes.n_bytes);
    assert_false(has_external);
    amb_buf_deinit(&bytes);
    folder_free(&folder);
}

TEST(what_is_no_model_file_is_refused) {
    struct test_folder folder = folder_new();

    assert_refused(folder_path(&folder, "absent.onnx"), 0, -ENOENT, "absent.onnx", "No such file");
    assert_refused(folder.path, 0, AMB_ERR_FORMAT, "no regular file", "allowed: an .onnx file");
    assert_int_equal(mkfifo(folder_path(&folder, "fifo"), 0600), 0);
    assert_refused(folder_path(&folder, "fifo"), 0, AMB_ERR_FORMAT, "no regular file", "fifo"); /* and does not wait */
    assert_refused("/dev/zero", 0, AMB_ERR_FORMAT, "no regular file", "/dev/zero");
    assert_refused(folder_store(&folder, "empty.onnx", NULL, 0), 0, AMB_ERR_FORMAT, "not an ONNX model", "byte 0 of 0");
    assert_refused(folder_store(&folder, "text.onnx", "import torch\n", 13), 0, AMB_ERR_FORMAT, "not an ONNX model",
                   "text.onnx");
    folder_free(&folder);
}

TEST(truncated_file_is_refused) {
    struct test_folder folder = folder_new();
    struct amb_buf bytes = made_encode(&(struct made){0});

    assert_refused(folder_store(&folder, "cut.onnx", bytes.data, bytes.n_bytes - 1), 0, AMB_ERR_FORMAT, "cut off", "");
    assert_refused(folder_store(&folder, "cut.onnx", bytes.data, bytes.n_bytes / 2), 0, AMB_ERR_FORMAT, "cut off",
                   "cut.onnx");
    amb_buf_deinit(&bytes);
    folder_free(&folder);
}

/* One byte less than it has is refused, its own size is not. */
TEST(size_is_capped) {
    struct test_folder folder = folder_new();
    struct amb_buf bytes = made_encode(&(struct made){0});
    const char *path = folder_store(&folder, "m.onnx", bytes.data, bytes.n_bytes);
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model_info info;
    bool has_external;

    assert_ok(load(&info, &has_external, path, bytes.n_bytes, &err), err);
    assert_ok(load(&info, &has_external, path, bytes.n_bytes + 1, &err), err);
    assert_refused(path, bytes.n_bytes - 1, AMB_ERR_LIMIT, "allowed:", "bytes");
    amb_buf_deinit(&bytes);
    folder_free(&folder);
}

/* SHA-256 over the model, then the file's name with its zero byte, then the file. */
TEST(external_data_enters_the_hash) {
    struct test_folder folder = folder_new();
    struct made made = with_table("table.bin");
    struct amb_buf bytes = made_encode(&made);
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model_info info;
    char expected[SHA256_DIGEST_STRING_LENGTH];
    bool has_external = false;
    SHA256_CTX sha;

    SHA256Init(&sha);
    SHA256Update(&sha, bytes.data, bytes.n_bytes);
    SHA256Update(&sha, (const uint8_t *)"table.bin", 10);
    SHA256Update(&sha, (const uint8_t *)TABLE, 40);
    SHA256End(&sha, expected);
    folder_store(&folder, "table.bin", TABLE, 40);
    assert_ok(load(&info, &has_external, store_with_table(&folder, "table.bin"), 0, &err), err);
    assert_string_equal(info.sha256, expected);
    assert_int_equal(info.bytes, bytes.n_bytes + 40);
    assert_true(has_external);
    assert_int_equal(mkdir(folder_path(&folder, "sub"), 0700), 0); /* a folder below is inside too */
    folder_store(&folder, "sub/table.bin", TABLE, 40);
    assert_ok(load(&info, &has_external, store_with_table(&folder, "sub/table.bin"), 0, &err), err);
    amb_buf_deinit(&bytes);
    folder_free(&folder);
}

/* The stranger's own folder lies beside the one with the secret. */
TEST(external_data_outside_is_refused) {
    struct test_folder folder = folder_new(), other = folder_new();
    char up[128];

    folder_store(&other, "secret", TABLE, 40);
    snprintf(up, sizeof up, "..%s/secret", strrchr(other.path, '/'));
    assert_refused(store_with_table(&folder, folder_path(&other, "secret")), 0, AMB_ERR_FORMAT, "external data", "allowed:");
    assert_refused(store_with_table(&folder, up), 0, AMB_ERR_FORMAT, "external data", "allowed:");
    assert_refused(store_with_table(&folder, "/etc/passwd"), 0, AMB_ERR_FORMAT, "/etc/passwd", "below the model's own");
    assert_refused(store_with_table(&folder, "absent.bin"), 0, AMB_ERR_FORMAT, "absent.bin", "No such file");
    assert_refused(store_with_table(&folder, ""), 0, AMB_ERR_FORMAT, "no name", "allowed:");
    assert_int_equal(mkdir(folder_path(&folder, "sub"), 0700), 0);
    assert_refused(store_with_table(&folder, ".."), 0, AMB_ERR_FORMAT, "Permission denied", "allowed:");
    assert_refused(store_with_table(&folder, "sub/.."), 0, AMB_ERR_FORMAT, "Permission denied", "allowed:");
    assert_refused(store_with_table(&folder, "sub/../m.onnx"), 0, AMB_ERR_FORMAT, "Permission denied", "allowed:");
    assert_refused(store_with_table(&folder, "sub//m.onnx"), 0, AMB_ERR_FORMAT, "Permission denied", "allowed:");
    assert_refused(store_with_table(&folder, "m.onnx/x"), 0, AMB_ERR_FORMAT, "Not a directory", "allowed:");
    assert_refused(store_with_table(&folder, "."), 0, AMB_ERR_FORMAT, "regular file", "");
    assert_refused(store_with_table(&folder, "/proc/self/environ"), 0, AMB_ERR_FORMAT, "external data", "allowed:");
    folder_free(&folder);
    folder_free(&other);
}

TEST(external_data_through_links_is_refused) {
    struct test_folder folder = folder_new(), other = folder_new();

    folder_store(&other, "secret", TABLE, 40);
    assert_int_equal(symlink(folder_path(&other, "secret"), folder_path(&folder, "soft")), 0);
    assert_refused(store_with_table(&folder, "soft"), 0, AMB_ERR_FORMAT, "through no link", "soft");
    assert_int_equal(symlink(other.path, folder_path(&folder, "door")), 0);
    assert_refused(store_with_table(&folder, "door/secret"), 0, AMB_ERR_FORMAT, "through no link", "door/secret");
    assert_int_equal(link(folder_path(&other, "secret"), folder_path(&folder, "hard")), 0);
    assert_refused(store_with_table(&folder, "hard"), 0, AMB_ERR_FORMAT, "hard links", "allowed: 1");
    assert_int_equal(mkfifo(folder_path(&folder, "pipe"), 0600), 0);
    assert_refused(store_with_table(&folder, "pipe"), 0, AMB_ERR_FORMAT, "no regular file", "pipe");
    folder_free(&folder);
    folder_free(&other);
}

/* The runtime takes this name for an address in its own memory; a file of that name would let it through. */
TEST(name_that_means_an_address_is_refused) {
    struct test_folder folder = folder_new();

    assert_refused(store_with_table(&folder, "*/_ORT_MEM_ADDR_/*"), 0, AMB_ERR_FORMAT, "_ORT_MEM_ADDR_", "allowed:");
    assert_int_equal(mkdir(folder_path(&folder, "*"), 0700), 0);
    assert_int_equal(mkdir(folder_path(&folder, "*/_ORT_MEM_ADDR_"), 0700), 0);
    folder_store(&folder, "*/_ORT_MEM_ADDR_/*", TABLE, 40);
    assert_refused(store_with_table(&folder, "*/_ORT_MEM_ADDR_/*"), 0, AMB_ERR_FORMAT, "_ORT_MEM_ADDR_", "allowed:");
    folder_free(&folder);
}

/* A zero byte ends a name for the kernel, and might not for who reads it next. */
TEST(name_with_a_zero_byte_is_refused) {
    struct test_folder folder = folder_new();
    const int64_t dims[] = {TEST_LABELS};
    struct amb_buf graph = AMB_BUF_NULL, tensor = tensor_external("w", dims, 1, "table.bin\0/../x", 15), model;

    folder_store(&folder, "table.bin", TABLE, 40);
    put_message(&graph, GRAPH_INITIALIZER, &tensor);
    model = model_end(&graph);
    assert_refused(folder_store(&folder, "m.onnx", model.data, model.n_bytes), 0, AMB_ERR_FORMAT, "no name", "table.bin");
    amb_buf_deinit(&model);
    folder_free(&folder);
}

TEST(external_file_obeys_the_cap_too) {
    struct test_folder folder = folder_new();
    const char *path = store_with_table(&folder, "big.bin");

    folder_store(&folder, "big.bin", TABLE, 40);
    assert_int_equal(truncate(folder_path(&folder, "big.bin"), 1 << 20), 0);
    assert_refused(path, (1 << 20) - 1, AMB_ERR_LIMIT, "big.bin", "1048576");
    folder_free(&folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bytes_are_hashed_and_counted),
    cmocka_unit_test(what_is_no_model_file_is_refused),
    cmocka_unit_test(truncated_file_is_refused),
    cmocka_unit_test(size_is_capped),
    cmocka_unit_test(external_data_enters_the_hash),
    cmocka_unit_test(external_data_outside_is_refused),
    cmocka_unit_test(external_data_through_links_is_refused),
    cmocka_unit_test(name_that_means_an_address_is_refused),
    cmocka_unit_test(name_with_a_zero_byte_is_refused),
    cmocka_unit_test(external_file_obeys_the_cap_too),
};

TEST_MAIN(tests)
