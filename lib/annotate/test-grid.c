#include "base/test.h"

#include <errno.h>
#include <unistd.h>

#include "annotate/grid.h"

static int grid_of(struct amb_grid *grid, const char *text, struct amb_error *err) {
    char path[] = "/tmp/test-grid-XXXXXX";
    int fd = mkstemp(path), r;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    r = amb_grid_load(grid, path, err);
    unlink(path);
    return r;
}

TEST(numbers_are_read_however_they_are_separated) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_grid grid = AMB_GRID_NULL;

    assert_ok(grid_of(&grid, "0\r\n1e-1\n0.1 0.25,80", &err), err);
    assert_int_equal(grid.n, 5);
    assert_true(grid.sigmas[0] == 0 && grid.sigmas[1] == 0.1 && grid.sigmas[2] == 0.1 && grid.sigmas[4] == 80);
    amb_grid_deinit(&grid);
    amb_grid_deinit(&grid);
}

TEST(bad_grids_are_refused_with_the_entry) {
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "found no number"},          {" \n\n", "found no number"},
        {"0.1\n0.2x\n", "entry 2"},       {"0.1 nan", "found 'nan'"},
        {"0.1 inf", "found 'inf'"},       {"-0.1", "found '-0.1'"},
        {"0.1 0.3 0.2", "found 0.2 after 0.3"},
        {"0000000000000000000000000000000000000000000000000000000000000000000000000001", "entry 1: longer"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct amb_error err = AMB_ERROR_NULL;
        struct amb_grid grid = AMB_GRID_NULL;

        assert_int_equal(grid_of(&grid, rows[i].text, &err), AMB_ERR_FORMAT);
        assert_non_null(strstr(err.message, rows[i].message));
        assert_null(grid.sigmas);
    }
}

/* At the limit, and one past it. */
TEST(grid_length_is_limited) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_grid grid = AMB_GRID_NULL;
    char *text = malloc(2 * (AMB_GRID_MAX + 1) + 1);

    assert_non_null(text);
    for (size_t i = 0; i <= AMB_GRID_MAX; i++) {
        memcpy(text + 2 * i, "1\n", 3);
    }
    assert_int_equal(grid_of(&grid, text, &err), AMB_ERR_LIMIT);
    text[2 * AMB_GRID_MAX] = '\0';
    assert_ok(grid_of(&grid, text, &err), err);
    assert_int_equal(grid.n, AMB_GRID_MAX);
    amb_grid_deinit(&grid);
    free(text);
}

TEST(absent_grid_is_named) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_grid grid = AMB_GRID_NULL;

    assert_int_equal(amb_grid_load(&grid, "/nowhere/sigmas.txt", &err), -ENOENT);
    assert_non_null(strstr(err.message, "/nowhere/sigmas.txt"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(numbers_are_read_however_they_are_separated),
    cmocka_unit_test(bad_grids_are_refused_with_the_entry),
    cmocka_unit_test(grid_length_is_limited),
    cmocka_unit_test(absent_grid_is_named),
};

TEST_MAIN(tests)
