/*
 * Where a library is looked for, without one: a stand-in that is too old answers from wherever it was found, and nothing
 * that fails stays loaded, so that the cases do not see each other.
 */
#include "base/test.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/ort.h"
#include "annotate/test-onnx.h"

static int search(const char *library, struct amb_error *err) {
    const struct amb_ort *ort = NULL;
    int r = amb_ort_get(&ort, library, err);

    assert_true(r < 0);
    assert_null(ort);
    return r;
}

static void forget_environment(void) {
    unsetenv("AMBIENTD_ONNXRUNTIME");
    unsetenv("VIRTUAL_ENV");
    unsetenv("CONDA_PREFIX");
}

/* A Python environment below `folder` that has the old library as its package. */
static void environment_make(const struct test_folder *folder) {
    static const char *const parts[] = {"lib", "lib/python3.11", "lib/python3.11/site-packages",
                                        "lib/python3.11/site-packages/onnxruntime",
                                        "lib/python3.11/site-packages/onnxruntime/capi"};

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        assert_int_equal(mkdir(folder_path(folder, parts[i]), 0700), 0);
    }
    assert_int_equal(
        symlink(TEST_OLD_ORT, folder_path(folder, "lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.18.1")),
        0);
}

TEST(old_library_is_refused_with_its_release_and_what_is_allowed) {
    struct amb_error err = AMB_ERROR_NULL;

    forget_environment();
    assert_int_equal(search(TEST_OLD_ORT, &err), AMB_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "1.18.1"));
    assert_non_null(strstr(err.message, "allowed: 1.19 or later"));
    assert_non_null(strstr(err.message, TEST_OLD_ORT));
}

TEST(library_that_is_none_is_refused) {
    struct amb_error err = AMB_ERROR_NULL;

    forget_environment();
    assert_int_equal(search("libm.so.6", &err), AMB_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "OrtGetApiBase"));
    assert_int_equal(search("/dev/null", &err), AMB_ERR_NOT_FOUND);
    assert_int_equal(search("/nonexistent/libonnxruntime.so", &err), AMB_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "the configuration"));
    assert_non_null(strstr(err.message, "/nonexistent/libonnxruntime.so"));
}

/* Named and not there is an error, even where a search would find one. */
TEST(variable_is_obeyed_and_the_configuration_goes_before_it) {
    struct amb_error err = AMB_ERROR_NULL;

    forget_environment();
    setenv("AMBIENTD_ONNXRUNTIME", "/nonexistent/by-variable.so", 1);
    assert_int_equal(search(NULL, &err), AMB_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "AMBIENTD_ONNXRUNTIME"));
    assert_non_null(strstr(err.message, "by-variable.so"));
    assert_int_equal(search(TEST_OLD_ORT, &err), AMB_ERR_UNSUPPORTED);
    forget_environment();
}

static void assert_found_in(const char *variable) {
    struct test_folder folder;
    struct amb_error err = AMB_ERROR_NULL;
    void *handle = dlopen("libonnxruntime.so.1", RTLD_NOW);

    if (handle != NULL) {
        dlclose(handle);
        printf("skipped: the system's libonnxruntime.so.1 is found first\n");
        skip();
    }
    forget_environment();
    folder = folder_new();
    environment_make(&folder);
    setenv(variable, folder.path, 1);
    assert_int_equal(search(NULL, &err), AMB_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, folder.path));
    forget_environment();
    folder_free(&folder);
}

TEST(package_of_the_active_environment_is_found) {
    assert_found_in("VIRTUAL_ENV");
    assert_found_in("CONDA_PREFIX");
}

TEST(without_any_library_the_error_says_what_to_install) {
    struct amb_error err = AMB_ERROR_NULL;
    const struct amb_ort *ort = NULL;
    int r;

    forget_environment();
    r = amb_ort_get(&ort, NULL, &err);
    if (r == 0) {
        printf("skipped: this system has ONNX Runtime at %s\n", ort->path);
        skip();
    }
    assert_int_equal(r, AMB_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "pip install onnxruntime"));
    assert_non_null(strstr(err.message, "AMBIENTD_ONNXRUNTIME"));
    assert_non_null(strstr(err.message, "VIRTUAL_ENV"));
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_library_is_refused_with_its_release_and_what_is_allowed),
        cmocka_unit_test(library_that_is_none_is_refused),
        cmocka_unit_test(variable_is_obeyed_and_the_configuration_goes_before_it),
        cmocka_unit_test(package_of_the_active_environment_is_found),
        cmocka_unit_test(without_any_library_the_error_says_what_to_install), /* last: it may load one */
    };

    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
