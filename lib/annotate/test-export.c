#include "base/test.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/export.h"
#include "annotate/fake-catalog.h"
#include "annotate/import.h"

static char dir[] = "/tmp/test-export-XXXXXX", path[64];

static int setup(void **state) {
    (void)state;
    if (mkdtemp(dir) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/a.jsonl", dir);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    unlink(path);
    return rmdir(dir); /* fails where a temporary file was left */
}

static struct amb_ledger *ledger_new(struct amb_catalog *cat) {
    const struct amb_annotation defaults[] = {AMB_ANNOTATION_EVERYWHERE, AMB_ANNOTATION_EVERYWHERE};
    struct amb_ledger *ledger = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_ledger_new(&ledger, cat, defaults, &err), err);
    return ledger;
}

static void export_all(const struct amb_ledger *ledger, bool toolbox) {
    struct amb_annotations *annotations = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_ledger_mint(&annotations, ledger, 1, &err), err);
    assert_ok(amb_export_jsonl(path, annotations, amb_ledger_peek_catalog(ledger),
                               &(struct amb_export_options){toolbox}, &err),
              err);
    amb_annotations_unref(annotations);
}

static void assert_file(const char *expected) {
    char text[1024];
    FILE *file = fopen(path, "r");
    size_t n;

    assert_non_null(file);
    n = fread(text, 1, sizeof text - 1, file);
    text[n] = '\0';
    fclose(file);
    assert_string_equal(text, expected);
}

TEST(lines_are_what_people_and_the_toolbox_read) {
    static const struct fake_sample samples[] = {
        {"main", "a", "a.png", AMB_LABEL_NONE},
        {"main", "q\"\\\n\xc3\xa9\xff", "b.png", AMB_LABEL_NONE},
        {"main", "main/a", "main/a.png", AMB_LABEL_NONE},
    };
    struct amb_catalog *cat = fake_catalog_new(samples, 3);
    struct amb_ledger *ledger = ledger_new(cat);

    amb_ledger_put(ledger, 0, AMB_ORIGIN_IMPORT, AMB_SIDE_BOTH, (struct amb_annotation){0.1f, 0.25f});
    amb_ledger_put(ledger, 1, AMB_ORIGIN_IMPORT, AMB_SIDE_MAX, (struct amb_annotation){0, 1e-7f});
    export_all(ledger, false);
    assert_file("{\"key\": \"a\", \"sigma_min\": 0.1, \"sigma_max\": 0.25}\n"
                "{\"key\": \"q\\u0022\\u005c\\u000a\xc3\xa9\\udcff\", \"sigma_min\": \"inf\", \"sigma_max\": 1e-07}\n"
                "{\"key\": \"main/main/a\", \"sigma_min\": 0, \"sigma_max\": \"inf\"}\n");
    export_all(ledger, true); /* over the old one */
    assert_file("{\"filename\": \"a.png\", \"key\": \"a\", \"sigma_min\": 0.1, \"sigma_max\": 0.25}\n"
                "{\"filename\": \"b.png\", \"key\": \"q\\u0022\\u005c\\u000a\xc3\xa9\\udcff\", \"sigma_min\": 300.0, "
                "\"sigma_max\": 1e-07}\n"
                "{\"filename\": \"main/a.png\", \"key\": \"main/main/a\", \"sigma_min\": 0, \"sigma_max\": 300.0}\n");
    amb_ledger_free(ledger);
    amb_catalog_unref(cat);
}

/* Random f32 bit patterns, keys with stray bytes, two sources that share keys: what is imported again has the same fingerprint. */
TEST(exported_annotations_are_imported_again_bit_by_bit) {
    enum { N = 2000 };
    const uint32_t n = N / test_stride() / 4 * 4;
    static struct fake_sample samples[N];
    static char keys[N][16];
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    struct amb_annotations *before = NULL, *after = NULL;
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_catalog *cat;
    struct amb_ledger *ledger, *again;
    uint32_t random = 2463534242u; /* xorshift; the seed is fixed */

    for (uint32_t i = 0; i < n; i++) {
        snprintf(keys[i], sizeof keys[i], i % 7 == 0 ? "\xff\xc3%u\"" : "%u", i % (n / 2) / 2 * 2 + i % 2);
        samples[i] = (struct fake_sample){i < n / 2 ? "main" : "main2", keys[i], keys[i], AMB_LABEL_NONE};
    }
    cat = fake_catalog_new(samples, n);
    ledger = ledger_new(cat);
    again = ledger_new(cat);
    for (uint32_t i = 0; i < n; i++) {
        float sides[2];

        for (size_t j = 0; j < 2; j++) {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            memcpy(&sides[j], &(uint32_t){random >> 1}, 4);
            sides[j] = isnan(sides[j]) ? INFINITY : sides[j];
        }
        amb_ledger_put(ledger, i, AMB_ORIGIN_IMPORT, AMB_SIDE_BOTH, (struct amb_annotation){sides[0], sides[1]});
    }
    export_all(ledger, false);
    options.inf_from = 0;
    assert_ok(amb_import_jsonl(&report, again, path, &options, &err), err);
    assert_int_equal(report.n_matched, n);
    assert_int_equal(report.n_by_rule[AMB_MATCH_SOURCE_KEY], n);
    assert_ok(amb_ledger_mint(&before, ledger, 1, &err), err);
    assert_ok(amb_ledger_mint(&after, again, 1, &err), err);
    assert_true(amb_hash128_equal(&before->fingerprint, &after->fingerprint));
    amb_annotations_unref(before);
    amb_annotations_unref(after);
    amb_ledger_free(ledger);
    amb_ledger_free(again);
    amb_catalog_unref(cat);
}

/* A folder that is not there, and a path that is a folder (rename fails): an error, and nothing is left behind. */
TEST(failed_export_leaves_nothing_behind) {
    static const struct fake_sample samples[] = {{"main", "a", "a.png", AMB_LABEL_NONE}};
    struct amb_catalog *cat = fake_catalog_new(samples, 1);
    struct amb_ledger *ledger = ledger_new(cat);
    struct amb_export_options options = AMB_EXPORT_OPTIONS_DEFAULT;
    struct amb_annotations *annotations = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_ledger_mint(&annotations, ledger, 1, &err), err);
    assert_int_equal(amb_export_jsonl("/nowhere/a.jsonl", annotations, cat, &options, &err), -ENOENT);
    assert_non_null(strstr(err.message, "/nowhere/a.jsonl"));
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(amb_export_jsonl(path, annotations, cat, &options, &err), -EISDIR);
    assert_int_equal(rmdir(path), 0);
    amb_annotations_unref(annotations);
    amb_ledger_free(ledger);
    amb_catalog_unref(cat);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(lines_are_what_people_and_the_toolbox_read),
    cmocka_unit_test(exported_annotations_are_imported_again_bit_by_bit),
    cmocka_unit_test(failed_export_leaves_nothing_behind),
};

int main(int argc, char **argv) {
    int n_fds = test_count_fds(), r;

    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    r = cmocka_run_group_tests_name(__FILE__, tests, setup, teardown);
    return test_count_fds() != n_fds ? 1 : r;
}
