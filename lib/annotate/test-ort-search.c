/*
 * Where a library is looked for, without one: a stand-in that is too old answers from wherever it was found, and nothing
 * that fails stays loaded, so that the cases do not see each other.
 */
#include "base/test.h"

#include <dlfcn.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/ort-cuda.h"
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
    unsetenv("HOME");
}

#define SITE "lib/python3.11/site-packages"

/* A Python environment below `folder` that has a library as its package. */
static void environment_make(const struct test_folder *folder, const char *library) {
    static const char *const parts[] = {"lib", "lib/python3.11", SITE, SITE "/onnxruntime",
                                        SITE "/onnxruntime/capi"};

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        assert_int_equal(mkdir(folder_path(folder, parts[i]), 0700), 0);
    }
    assert_int_equal(
        symlink(library, folder_path(folder, SITE "/onnxruntime/capi/libonnxruntime.so.1.18.1")), 0);
    assert_int_equal(symlink(".", folder_path(folder, ".local")), 0); /* as below a home */
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

/* The system's comes before the environments, so with one of those there is nothing to see here. */
static void skip_where_the_system_has_one(void) {
    void *handle = dlopen("libonnxruntime.so.1", RTLD_NOW);
    glob_t found;

    if (handle != NULL || glob("/usr/lib/*/libonnxruntime.so.1.*", 0, NULL, &found) == 0) {
        printf("skipped: the system's libonnxruntime is found first\n");
        skip();
    }
}

static void assert_found_in(const char *variable) {
    struct test_folder folder;
    struct amb_error err = AMB_ERROR_NULL;

    forget_environment();
    folder = folder_new();
    environment_make(&folder, TEST_OLD_ORT);
    setenv(variable, folder.path, 1);
    assert_int_equal(search(NULL, &err), AMB_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, folder.path));
    forget_environment();
    folder_free(&folder);
}

TEST(package_of_the_active_environment_is_found) {
    skip_where_the_system_has_one();
    assert_found_in("VIRTUAL_ENV");
    assert_found_in("CONDA_PREFIX");
    assert_found_in("HOME");
}

/* It is there, so "was not found" would send people to install what they have. */
TEST(package_that_does_not_load_is_told_with_the_reason) {
    struct test_folder folder;
    struct amb_error err = AMB_ERROR_NULL;

    skip_where_the_system_has_one();
    forget_environment();
    folder = folder_new();
    environment_make(&folder, "/dev/null");
    setenv("VIRTUAL_ENV", folder.path, 1);
    assert_int_equal(search(NULL, &err), AMB_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "cannot be loaded"));
    assert_non_null(strstr(err.message, folder.path));
    forget_environment();
    folder_free(&folder);
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

/* A stand-in is known to the loader behind it, by its path. */
TEST(libraries_of_nvidias_packages_are_loaded_from_beside_the_package) {
    struct test_folder folder = folder_new();
    const char *library;
    void *handle;

    environment_make(&folder, TEST_OLD_ORT);
    assert_int_equal(mkdir(folder_path(&folder, SITE "/nvidia"), 0700), 0);
    assert_int_equal(mkdir(folder_path(&folder, SITE "/nvidia/cu13"), 0700), 0);
    assert_int_equal(mkdir(folder_path(&folder, SITE "/nvidia/cu13/lib"), 0700), 0);
    library = folder_path(&folder, SITE "/nvidia/cu13/lib/libcudart.so.13");
    assert_int_equal(symlink(TEST_OLD_ORT, library), 0);
    assert_null(dlopen(library, RTLD_NOW | RTLD_NOLOAD));
    amb_ort_load_cuda("libonnxruntime.so.1"); /* the loader's own: nothing lies beside it */
    assert_null(dlopen(library, RTLD_NOW | RTLD_NOLOAD));
    amb_ort_load_cuda(folder_path(&folder, SITE "/onnxruntime/capi/libonnxruntime.so.1.18.1"));
    handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(handle);
    dlclose(handle);
    dlclose(handle); /* the one that stays */
    folder_free(&folder);
}

/* `pip install -U` into one environment helps, whatever lies in the places before it. */
TEST(old_library_does_not_hide_a_newer_one_behind_it) {
    const char *newest = test_ort_library();
    struct test_folder folders[2];
    struct amb_error err = AMB_ERROR_NULL;
    const struct amb_ort *ort = NULL;

    skip_where_the_system_has_one();
    forget_environment();
    for (int i = 0; i < 2; i++) {
        folders[i] = folder_new();
        environment_make(&folders[i], i == 0 ? TEST_OLD_ORT : newest);
        setenv(i == 0 ? "VIRTUAL_ENV" : "CONDA_PREFIX", folders[i].path, 1);
    }
    assert_ok(amb_ort_get(&ort, NULL, &err), err);
    assert_non_null(strstr(ort->path, folders[1].path));
    folder_free(&folders[0]);
    folder_free(&folders[1]);
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_library_is_refused_with_its_release_and_what_is_allowed),
        cmocka_unit_test(library_that_is_none_is_refused),
        cmocka_unit_test(variable_is_obeyed_and_the_configuration_goes_before_it),
        cmocka_unit_test(package_of_the_active_environment_is_found),
        cmocka_unit_test(package_that_does_not_load_is_told_with_the_reason),
        cmocka_unit_test(libraries_of_nvidias_packages_are_loaded_from_beside_the_package),
        cmocka_unit_test(without_any_library_the_error_says_what_to_install), /* it may load one */
        cmocka_unit_test(old_library_does_not_hide_a_newer_one_behind_it),    /* it does */
    };

    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
