#include "base/test.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "annotate/fake-catalog.h"
#include "annotate/import.h"
#include "annotate/test-data.h"

static char test_path[64];

/* A ledger over n samples "0000000".. with usable-everywhere default. */
static struct amb_ledger *test_ledger(uint32_t n) {
    struct amb_annotation everywhere = AMB_ANNOTATION_EVERYWHERE;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_catalog *cat = fake_catalog_new_numbered(n);
    struct amb_ledger *ledger = NULL;

    assert_ok(amb_ledger_new(&ledger, cat, &everywhere, &err), err);
    amb_catalog_unref(cat);
    return ledger;
}

static void test_write(const char *text, size_t bytes) {
    FILE *file;

    snprintf(test_path, sizeof test_path, "/tmp/test-import-%d.jsonl", (int)getpid());
    file = fopen(test_path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    fclose(file);
}

static int test_import(struct amb_import_report *report, struct amb_ledger *ledger, const char *text,
                       struct amb_error *err) {
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    int r;

    test_write(text, strlen(text));
    r = amb_import_jsonl(report, ledger, test_path, &options, err);
    unlink(test_path);
    return r;
}

static bool test_same(float got, double wanted) {
    return (double)got == wanted || fabs((double)got - wanted) <= 4e-7 * wanted;
}

static void assert_annotation(const struct amb_ledger *ledger, uint32_t i, double sigma_min, double sigma_max) {
    enum amb_origin min_origin, max_origin;
    struct amb_annotation value = amb_ledger_get(&min_origin, &max_origin, ledger, i);

    /* expected values come with seven digits */
    if (!test_same(value.sigma_min, sigma_min) || !test_same(value.sigma_max, sigma_max)) {
        fail_msg("sample %u is (%g, %g), expected (%g, %g)", i, (double)value.sigma_min, (double)value.sigma_max,
                 sigma_min, sigma_max);
    }
}

TEST(every_plain_form_sets_its_sides) {
    struct amb_ledger *ledger = test_ledger(12);
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(test_import(&report, ledger,
                          "\xef\xbb\xbf{\"filename\": \"0000000.png\", \"sigma_min\": 0.5}\r\n"
                          "\n"
                          "{\"key\": \"0000001\", \"sigma_min\": 0.5, \"sigma_max\": 0.1}\n"
                          "{\"path\": \"/elsewhere/0000002.png\", \"sigma_max\": \"inf\"}\n"
                          "{\"name\": \"main/0000003\", \"annotation\": 0.75}\n"
                          "{\"index\": 4, \"annotation\": [0.25, 0.125]}\n"
                          "{\"file\": \"0000005.png\", \"sigma\": 1.25, \"caption\": \"NaN Infinity\"}\n"
                          "{\"filename\": \"0000006.png\", \"sigma_min\": 300.0, \"sigma_max\": 0.2}\n"
                          "{\"filename\": \"0000007.png\", \"sigma_min\": Infinity, \"sigma_max\": null}\n"
                          "{\"filename\": \"0000008.png\", \"sigma_min\": null}\n"
                          "{\"filename\": \"0000009.png\", \"crop_predictions_4\": [0.9, 0.7], "
                          "\"crop_predictions_8\": [0.4, 0.4], \"crop_predictions_16\": [0.1]}\n"
                          "{\"filename\": \"0000010.png\", \"sigma_min\": 0.5, \"sigma_max\": 2}",
                          &err),
              err);
    assert_annotation(ledger, 0, 0.5, 0);
    assert_annotation(ledger, 1, 0.5, 0.1);
    assert_annotation(ledger, 2, INFINITY, INFINITY);
    assert_annotation(ledger, 3, 0.75, 0);
    assert_annotation(ledger, 4, 0.25, 0.125);
    assert_annotation(ledger, 5, 1.25, 0);
    assert_annotation(ledger, 6, INFINITY, 0.2);
    assert_annotation(ledger, 7, INFINITY, 0);
    assert_annotation(ledger, 8, 0, INFINITY); /* nothing set: the default */
    assert_annotation(ledger, 9, INFINITY, 0.15);
    assert_annotation(ledger, 10, 0.5, 2);
    assert_int_equal(report.n_lines, 12);
    assert_int_equal(report.n_matched, 11);
    assert_int_equal(report.n_inf_rule, 1);
    assert_int_equal(report.n_without_annotation, 1);
    assert_string_equal(report.rule, "file name");
    amb_ledger_free(ledger);
}

TEST(unmatched_and_repeated_lines_are_told_with_examples) {
    struct amb_ledger *ledger = test_ledger(3);
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(test_import(&report, ledger,
                          "{\"filename\": \"elephant.png\", \"sigma_min\": 1}\n"
                          "{\"index\": 3, \"sigma_min\": 1}\n"
                          "{\"filename\": \"0000001.png\", \"sigma_min\": 1}\n"
                          "{\"filename\": \"0000001.png\", \"sigma_min\": 2}\n",
                          &err),
              err);
    assert_int_equal(report.unmatched.n, 2);
    assert_string_equal(report.unmatched.text[0], "line 1: 'elephant.png'");
    assert_string_equal(report.unmatched.text[1], "line 2: index 3");
    assert_int_equal(report.n_repeated, 1);
    assert_annotation(ledger, 1, 2, 0); /* the later line wins */
    assert_int_equal(report.n_without_annotation, 2);
    amb_ledger_free(ledger);
}

/* The first line is good; the second must be refused by number, and the first must not have been taken. */
TEST(bad_line_leaves_nothing_behind) {
    static const char *const lines[] = {
        "not json", "{\"filename\": \"0000001.png\"", "[1, 2]", "{\"sigma_min\": 1}",
        "{\"filename\": \"0000001.png\", \"sigma_min\": NaN}", "{\"filename\": \"0000001.png\", \"sigma_min\": -1}",
        "{\"filename\": \"0000001.png\", \"sigma_min\": -Infinity}", "{\"filename\": \"0000001.png\", \"sigma_min\": \"many\"}",
        "{\"filename\": \"0000001.png\", \"sigma_max\": [1]}", "{\"filename\": \"0000001.png\", \"annotation\": [1, 2, 3]}",
        "{\"filename\": \"0000001.png\", \"sigma\": true}", "{\"index\": -1, \"sigma\": 1}", "{\"index\": 1.5, \"sigma\": 1}",
        "{\"filename\": \"0000001.png\", \"crop_predictions_5\": [0.1]}",
        "{\"filename\": \"0000001.png\", \"crop_predictions_4\": [1.5]}",
        "{\"filename\": \"0000001.png\", \"crop_predictions_4\": []}",
        "{\"filename\": \"0000001.png\", \"probabilities\": [0.5]}",
        "{\"filename\": \"0000001.png\", \"sigma_min\": 1} trailing",
        "{\"filename\": \"0000001.png\", \"x\": [[[[[[[[[[1]]]]]]]]]]}",
    };

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct amb_ledger *ledger = test_ledger(3);
        struct amb_import_report report;
        struct amb_error err = AMB_ERROR_NULL;
        char text[256];
        int r;

        snprintf(text, sizeof text, "{\"filename\": \"0000000.png\", \"sigma_min\": 0.5}\n%s\n", lines[i]);
        r = test_import(&report, ledger, text, &err);
        if (r >= 0 || strstr(err.message, " line 2: ") == NULL) {
            fail_msg("%s: %d, %s", lines[i], r, err.message);
        }
        assert_annotation(ledger, 0, 0, INFINITY);
        amb_ledger_free(ledger);
    }
}

TEST(missing_file_is_named) {
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    struct amb_ledger *ledger = test_ledger(1);
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(amb_import_jsonl(&report, ledger, "/nowhere/a.jsonl", &options, &err), -ENOENT);
    assert_non_null(strstr(err.message, "/nowhere/a.jsonl"));
    amb_ledger_free(ledger);
}

/* The shipped file has one line of each form; the three with probabilities must give the sigma_min of expected.csv's
 * rule, which test-rule.c proves; here, that all seven lines are understood and fall on their samples. */
TEST(shipped_file_is_understood) {
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    const char *path = test_data_path("annotate/annotations.jsonl");
    struct amb_ledger *ledger = NULL;
    struct fake_sample samples[13];
    char keys[13][8], paths[13][16];
    struct amb_annotation everywhere = AMB_ANNOTATION_EVERYWHERE;
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_catalog *cat;

    for (unsigned i = 0; i < 13; i++) {
        snprintf(keys[i], sizeof keys[i], "%04u", i);
        snprintf(paths[i], sizeof paths[i], "%04u.png", i);
        samples[i] = (struct fake_sample){"main", keys[i], paths[i], -1, NULL};
    }
    cat = fake_catalog_new(samples, 13);
    assert_ok(amb_ledger_new(&ledger, cat, &everywhere, &err), err);
    amb_catalog_unref(cat);
    assert_ok(amb_import_jsonl(&report, ledger, path, &options, &err), err);
    assert_int_equal(report.n_matched, 7);
    assert_int_equal(report.unmatched.n, 0);
    assert_int_equal(report.n_inf_rule, 1);
    assert_annotation(ledger, 0, 0.0030304687097668648, 0);
    assert_annotation(ledger, 1, 0.0030304687097668648, 0);
    assert_annotation(ledger, 2, 1.180589, 0);
    assert_annotation(ledger, 3, 0.75, 0);
    assert_annotation(ledger, 4, 1.25, 0);
    assert_annotation(ledger, 5, INFINITY, 0.2);
    assert_annotation(ledger, 12, INFINITY, 0.15);
    amb_ledger_free(ledger);
}

/* No limit on time here: the figure is printed. */
TEST(a_large_file_is_read_in_one_go) {
    enum { N = 200000 };
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    struct amb_ledger *ledger = test_ledger(N);
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct timespec began, ended;
    double seconds;
    FILE *file;

    test_write("", 0);
    file = fopen(test_path, "w");
    for (unsigned i = 0; i < N; i++) {
        fprintf(file, "{\"filename\": \"%07u.png\", \"sigma_min\": %.4f}\n", i, 0.001 * i);
    }
    fclose(file);
    clock_gettime(CLOCK_MONOTONIC, &began);
    assert_ok(amb_import_jsonl(&report, ledger, test_path, &options, &err), err);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    unlink(test_path);
    seconds = (double)(ended.tv_sec - began.tv_sec) + 1e-9 * (double)(ended.tv_nsec - began.tv_nsec);
    printf("%d lines in %.2f s, %.0f lines/s\n", N, seconds, N / seconds);
    assert_int_equal(report.n_matched, N);
    assert_annotation(ledger, 12345, 12.345, 0);
    amb_ledger_free(ledger);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_plain_form_sets_its_sides),
    cmocka_unit_test(unmatched_and_repeated_lines_are_told_with_examples),
    cmocka_unit_test(bad_line_leaves_nothing_behind),
    cmocka_unit_test(missing_file_is_named),
    cmocka_unit_test(shipped_file_is_understood),
    cmocka_unit_test(a_large_file_is_read_in_one_go),
};

TEST_MAIN(tests)
