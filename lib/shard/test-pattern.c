#include "test-archive.h"

#include <errno.h>

#include "shard/catalog.h"
#include "shard/pattern.h"

/* Expand below a folder in which every file of `files` exists; join the base names with spaces. */
static void assert_expands(const char *pattern, const char *files, const char *wanted) {
    const char *folder = test_folder_new();
    struct amb_paths paths = AMB_PATHS_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    char list[512], got[4096] = "", *save = NULL;
    size_t skip = strlen(folder) + 1;

    snprintf(list, sizeof list, "%s", files);
    for (char *f = strtok_r(list, " ", &save); f != NULL; f = strtok_r(NULL, " ", &save)) {
        test_write(test_path(folder, f), "x", 1);
    }
    assert_ok(amb_paths_push_pattern(&paths, test_path(folder, pattern), &err), err);
    for (size_t i = 0; i < paths.n; i++) {
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i > 0 ? " " : "",
                 paths.items[i] + skip);
    }
    assert_string_equal(got, wanted);
    amb_paths_deinit(&paths);
    test_folder_free(folder);
}

TEST(braces_expand_as_a_shell_does) {
    assert_expands("a{08..11}", "a08 a09 a10 a11", "a08 a09 a10 a11");
    assert_expands("a{3..1}", "a1 a2 a3", "a3 a2 a1");
    assert_expands("a{0..6..3}", "a0 a3 a6", "a0 a3 a6");
    assert_expands("{a..c}{1,2}", "a1 a2 b1 b2 c1 c2", "a1 a2 b1 b2 c1 c2");
    assert_expands("{a,{b,c}d{0..1}}", "a bd0 bd1 cd0 cd1", "a bd0 bd1 cd0 cd1");
    assert_expands("{b,a,b}", "a b", "b a b");
    assert_expands("{,x}a", "a xa", "a xa");
    assert_expands("a{000..002}-{x,y}", "a000-x a000-y a001-x a001-y a002-x a002-y",
                   "a000-x a000-y a001-x a001-y a002-x a002-y");
}

TEST(braces_without_meaning_stand_for_themselves) {
    assert_expands("a{b}", "a{b}", "a{b}");
    assert_expands("a{b", "a{b", "a{b");
    assert_expands("a{}{1,2}", "a{}1 a{}2", "a{}1 a{}2");
    assert_expands("\\{1,2\\}", "{1,2}", "{1,2}");
    assert_expands("{a..}", "{a..}", "{a..}");
    assert_expands("{1..}", "{1..}", "{1..}");
    assert_expands("{1..3..}", "{1..3..}", "{1..3..}");
    assert_expands("{1..3..x}", "{1..3..x}", "{1..3..x}");
    assert_expands("{1..3..2y}", "{1..3..2y}", "{1..3..2y}");
    assert_expands("{1-3}", "{1-3}", "{1-3}");
    assert_expands("{a..bc}", "{a..bc}", "{a..bc}");
    assert_expands("{1..0000000000000000003}", "{1..0000000000000000003}", "{1..0000000000000000003}");
}

TEST(what_is_escaped_divides_nothing) {
    assert_expands("{a\\,b,c}", "a,b c", "a,b c");
    assert_expands("{a\\},b}", "a} b", "a} b");
    assert_expands("x\\{{1,2}", "x{1 x{2", "x{1 x{2");
    assert_expands("{1,\\{2}", "1 {2", "1 {2");
}

TEST(ranges_go_by_their_step_whatever_its_sign) {
    assert_expands("a{1..5..-2}", "a1 a3 a5", "a1 a3 a5");
    assert_expands("a{5..1..2}", "a1 a3 a5", "a5 a3 a1");
    assert_expands("a{1..3..0}", "a1 a2 a3", "a1 a2 a3");
    assert_expands("a{-1..1}", "a-1 a0 a1", "a-1 a0 a1");
    assert_expands("{A..E..2}", "A C E", "A C E");
}

/* One that is written so, and one that grows so. */
TEST(paths_too_long_are_refused) {
    struct amb_paths paths = AMB_PATHS_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    char pattern[8192];

    memset(pattern, 'a', sizeof pattern);
    pattern[sizeof pattern - 1] = '\0';
    assert_int_equal(amb_paths_push_pattern(&paths, pattern, &err), -ENAMETOOLONG);
    memcpy(pattern, "{b,c}", 5);
    assert_int_equal(amb_paths_push_pattern(&paths, pattern, &err), -ENAMETOOLONG);
    assert_non_null(strstr(err.message, "becomes a path"));
    amb_paths_deinit(&paths);
}

TEST(globs_are_sorted_as_bytes_within_each_pattern) {
    assert_expands("*.tar", "b.tar a.tar B.tar .h.tar c.zip", "B.tar a.tar b.tar");
    assert_expands("{b,a}*.tar", "a2.tar a1.tar b1.tar b0.tar", "b0.tar b1.tar a1.tar a2.tar");
    assert_expands("a?[12]", "ax1 ax2 ax3 ay1", "ax1 ax2 ay1");
}

TEST(a_path_that_exists_is_itself) {
    assert_expands("a[1]", "a[1] a1", "a[1]");
    assert_expands("a{1,2}", "a{1,2} a1 a2", "a{1,2}");
}

TEST(what_matches_nothing_is_named) {
    static const char *const patterns[] = {"/nowhere/x-*.tar", "/nowhere/x-{0..3}.tar", "/nowhere/one.tar",
                                           ""};

    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        struct amb_paths paths = AMB_PATHS_NULL;
        struct amb_error err = AMB_ERROR_NULL;

        assert_int_equal(amb_paths_push_pattern(&paths, patterns[i], &err), -ENOENT);
        assert_true(i == 3 || strstr(err.message, "/nowhere/") != NULL);
        amb_paths_deinit(&paths);
    }
}

/* Before anything is looked up on disk. */
TEST(expansions_are_bounded) {
    static const struct {
        const char *pattern;
        int code;
    } cases[] = {
        {"/{1..65537}", AMB_ERR_LIMIT},
        {"{1..99999999999999999}", AMB_ERR_LIMIT},
        {"{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{1,2},3},4},5},6},7},8},9},a},b},c},d},e},f},g},h},i},j},k},l},m},"
         "n},o},p},q}"
         ",r},s},t},u},v},w},x},y},z}",
         AMB_ERR_LIMIT},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct amb_paths paths = AMB_PATHS_NULL;
        struct amb_error err = AMB_ERROR_NULL;
        int r = amb_paths_push_pattern(&paths, cases[i].pattern, &err);

        if (r != cases[i].code) {
            fail_msg("%s: %d %s", cases[i].pattern, r, err.message);
        }
        amb_paths_deinit(&paths);
    }
}

/* "/tmp" n times: exactly as many shards as are allowed, then one more. */
TEST(shards_are_counted_to_the_limit) {
    struct amb_paths paths = AMB_PATHS_NULL;
    struct amb_error err = AMB_ERROR_NULL;

    for (size_t i = 0; i < AMB_CATALOG_SHARDS_MAX; i++) {
        assert_ok(amb_paths_push_pattern(&paths, "/", &err), err);
    }
    assert_int_equal(amb_paths_push_pattern(&paths, "/", &err), AMB_ERR_LIMIT);
    assert_int_equal(paths.n, AMB_CATALOG_SHARDS_MAX);
    amb_paths_deinit(&paths);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(braces_expand_as_a_shell_does),
    cmocka_unit_test(braces_without_meaning_stand_for_themselves),
    cmocka_unit_test(what_is_escaped_divides_nothing),
    cmocka_unit_test(ranges_go_by_their_step_whatever_its_sign),
    cmocka_unit_test(paths_too_long_are_refused),
    cmocka_unit_test(globs_are_sorted_as_bytes_within_each_pattern),
    cmocka_unit_test(a_path_that_exists_is_itself),
    cmocka_unit_test(what_matches_nothing_is_named),
    cmocka_unit_test(expansions_are_bounded),
    cmocka_unit_test(shards_are_counted_to_the_limit),
};

TEST_MAIN(tests)
