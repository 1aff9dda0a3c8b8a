#include "base/test.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "annotate/fake-catalog.h"
#include "annotate/import.h"
#include "annotate/test-data.h"

#define INF INFINITY

/* Keys as a tar gives them; "dup" lies in two folders, "b" in two sources. */
static const struct fake_sample samples[] = {
    {"main", "a", "a.png", AMB_LABEL_NONE},         /* 0 */
    {"main", "b", "b.jpg", AMB_LABEL_NONE},         /* 1 */
    {"main", "x/dup", "x/dup.png", AMB_LABEL_NONE}, /* 2 */
    {"main", "y/dup", "y/dup.png", AMB_LABEL_NONE}, /* 3 */
    {"main2", "b", "b.jpg", AMB_LABEL_NONE},        /* 4 */
    {"main2", "d", "d.seg.png", AMB_LABEL_NONE},    /* 5 */
};
#define N_SAMPLES (sizeof samples / sizeof samples[0])

static char dir[] = "/tmp/test-import-XXXXXX";
static char path[64], grid_path[64];

static int setup(void **state) {
    (void)state;
    if (mkdtemp(dir) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/annotations.jsonl", dir);
    snprintf(grid_path, sizeof grid_path, "%s/sigmas.txt", dir);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    unlink(path);
    unlink(grid_path);
    return rmdir(dir);
}

static void file_write(const char *to, const char *text, size_t bytes) {
    FILE *file = fopen(to, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static struct amb_ledger *ledger_new(struct amb_catalog *cat) {
    const struct amb_annotation defaults[] = {AMB_ANNOTATION_EVERYWHERE, AMB_ANNOTATION_EVERYWHERE};
    struct amb_ledger *ledger = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_ledger_new(&ledger, cat, defaults, &err), err);
    amb_catalog_unref(cat);
    return ledger;
}

static struct amb_ledger *samples_ledger_new(void) {
    return ledger_new(fake_catalog_new(samples, N_SAMPLES));
}

static int import_text(struct amb_import_report *report, struct amb_ledger *ledger, const char *text,
                       struct amb_error *err) {
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;

    file_write(path, text, strlen(text));
    return amb_import_jsonl(report, ledger, path, &options, err);
}

static void assert_value(const struct amb_ledger *ledger, uint32_t i, double sigma_min, double sigma_max,
                         const char *what) {
    enum amb_origin min_origin, max_origin;
    struct amb_annotation value = amb_ledger_get(&min_origin, &max_origin, ledger, i);

    if (value.sigma_min != (float)sigma_min || value.sigma_max != (float)sigma_max) {
        fail_msg("%s: sample %u is (%g, %g), expected (%g, %g)", what, i, (double)value.sigma_min,
                 (double)value.sigma_max, sigma_min, sigma_max);
    }
}

/* Forms of values, one line each for sample 0; (0, inf) is the source's default: nothing set. */
TEST(every_form_sets_the_sides_that_it_gives) {
    static const struct {
        const char *fields;
        double sigma_min, sigma_max;
    } rows[] = {
        {"\"sigma_min\": 0.5", 0.5, 0},
        {"\"sigma_max\": 0.5", INF, 0.5},
        {"\"sigma_min\": 0.5, \"sigma_max\": 0.25", 0.5, 0.25},
        {"\"sigma_min\": 0.25, \"sigma_max\": 0.5", 0.25, 0.5}, /* above: usable everywhere, legal */
        {"\"sigma_min\": \"inf\", \"sigma_max\": 0.25", INF, 0.25},
        {"\"sigma_min\": Infinity, \"sigma_max\": 0.25", INF, 0.25},
        {"\"sigma_min\": \"Infinity\"", INF, 0},
        {"\"sigma_min\": 0, \"sigma_max\": \"inf\"", 0, INF},
        {"\"sigma_min\": null, \"sigma_max\": 0.25", INF, 0.25},
        {"\"sigma_min\": 0.5, \"sigma_max\": null", 0.5, 0},
        {"\"sigma_min\": null, \"sigma_max\": null", 0, INF},
        {"\"sigma_min\": -0.0", 0, 0},
        {"\"sigma_min\": 1e-2", 0.01, 0},
        {"\"sigma_min\": 299.999", 299.999, 0},
        {"\"sigma_min\": 300", INF, 0},
        {"\"sigma_min\": 300.0, \"sigma_max\": 0.2", INF, 0.2},
        {"\"sigma_max\": 300", INF, 300},
        {"\"annotation\": 0.75", 0.75, 0},
        {"\"annotation\": \"inf\"", INF, 0},
        {"\"annotation\": [0.75, 0.125]", 0.75, 0.125},
        {"\"annotation\": [ 0.75 , null ]", 0.75, 0},
        {"\"annotation\": [null, 0.125]", INF, 0.125},
        {"\"annotation\": [300, \"inf\"]", INF, INF},
        {"\"annotation\": null", 0, INF},
        {"\"sigma\": 1.25", 1.25, 0},
        {"\"crop_predictions_4\": [0.9, 0.5], \"crop_predictions_8\": [0.3, 0.3], \"crop_predictions_16\": [0.25]",
         INF, 0.15},
        {"\"crop_predictions_64\": 0.26", INF, 1.0},
        {"\"crop_predictions_64\": [0.24, 0.26]", INF, 0.01}, /* 0.25 is not above 0.25 */
        {"\"crop_predictions_64\": null", 0, INF},
        {"\"sigma_min\": 0.5, \"crop_predictions_32\": [1]", 0.5, 0.55},
        /* two forms of one side: the plainest decides */
        {"\"sigma\": 3, \"annotation\": [2, 5], \"sigma_min\": 1, \"crop_predictions_64\": 1", 1, 5},
        {"\"sigma\": 3, \"annotation\": 2", 2, 0},
        {"\"sigma_min\": null, \"sigma\": 3", 3, 0},
        {"\"sigma_min\": 1, \"sigma_min\": 2", 2, 0}, /* equal fields: the later, as Python reads it */
        /* what nobody reads may be anything that is JSON, or Python's NaN */
        {"\"score\": NaN, \"more\": {\"a\": [1, [], {}, -Infinity, true, false, null, \"\\u00e9\\ud83d\\ude00\"]}", 0,
         INF},
    };
    static const char *const forms[] = {"{\"key\": \"a\", %s}\n", "{%s, \"key\": \"a\"}", "  {\"key\":\"a\",%s }\t\r\n"};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t j = 0; j < 3; j++) {
            struct amb_ledger *ledger = samples_ledger_new();
            struct amb_import_report report;
            struct amb_error err = AMB_ERROR_NULL;
            char text[512];

            snprintf(text, sizeof text, forms[j], rows[i].fields);
            assert_ok(import_text(&report, ledger, text, &err), err);
            assert_int_equal(report.n_matched, 1);
            assert_int_equal(report.n_empty, rows[i].sigma_min == 0 && rows[i].sigma_max == INF &&
                                                 strstr(text, "\"inf\"") == NULL);
            assert_value(ledger, 0, rows[i].sigma_min, rows[i].sigma_max, rows[i].fields);
            amb_ledger_free(ledger);
        }
    }
}

/* Span 1 smooths nothing, so the crossing can be read off: 0.9, 0.6, 0.5 over 0.1, 0.2, 0.4. */
TEST(probabilities_use_the_grid_beside_the_file_or_the_given_one) {
    static const char *const forms[] = {
        "{\"key\": \"a\", \"probabilities\": [[1.0, 0.8], [0.6, 0.6], [0.25, 0.75]]}",
        "{\"key\": \"a\", \"probabilities\": [0.9, 0.6, 0.5], \"sigma_max\": 0.01}",
        "{\"probabilities\": [[0.9],[0.6],[0.5]], \"key\": \"a\", \"crop_predictions_8\": 0.1}",
    };
    static const double maxes[] = {0, 0.01, 0.01};
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;
    char other[80];

    options.span = 1;
    file_write(grid_path, "0.1\n0.2\n0.4\n", 12);
    for (size_t i = 0; i < 3; i++) {
        struct amb_ledger *ledger = samples_ledger_new();

        file_write(path, forms[i], strlen(forms[i]));
        assert_ok(amb_import_jsonl(&report, ledger, path, &options, &err), err);
        assert_value(ledger, 0, 0.4, maxes[i], forms[i]);
        options.epsilon = 0.11;
        assert_ok(amb_import_jsonl(&report, ledger, path, &options, &err), err);
        assert_value(ledger, 0, 0.2, maxes[i], forms[i]);
        options.epsilon = 0.05;
        amb_ledger_free(ledger);
    }
    unlink(grid_path);
    {
        struct amb_ledger *ledger = samples_ledger_new();

        assert_int_equal(amb_import_jsonl(&report, ledger, path, &options, &err), -ENOENT);
        assert_non_null(strstr(err.message, grid_path));
        snprintf(other, sizeof other, "%s/grid", dir);
        file_write(other, "300 400 500", 11);
        options.sigmas_path = other;
        assert_ok(amb_import_jsonl(&report, ledger, path, &options, &err), err);
        assert_value(ledger, 0, 500, 0.01, "the inf rule is for numbers of old files, not for the grid");
        assert_int_equal(report.n_inf_rule, 0);
        unlink(other);
        amb_ledger_free(ledger);
    }
}

TEST(names_are_understood_in_many_forms) {
    static const struct {
        const char *name; /* fields */
        int i_sample;     /* -1 unmatched, -2 ambiguous */
        enum amb_match_rule rule;
    } rows[] = {
        {"\"key\": \"a\"", 0, AMB_MATCH_KEY},
        {"\"__key__\": \"x/dup\"", 2, AMB_MATCH_KEY},
        {"\"key\": \"main2/b\"", 4, AMB_MATCH_SOURCE_KEY},
        {"\"filename\": \"a.png\"", 0, AMB_MATCH_PATH},
        {"\"file_name\": \"x/dup.png\"", 2, AMB_MATCH_PATH},
        {"\"path\": \"/home/me/images/a.png\"", 0, AMB_MATCH_TAIL},
        {"\"path\": \"./a.png\"", 0, AMB_MATCH_TAIL},
        {"\"path\": \"images/y/dup.png\"", 3, AMB_MATCH_TAIL},
        {"\"path\": \"images/y/dup.webp\"", 3, AMB_MATCH_TAIL}, /* converted since */
        {"\"filename\": \"a.JPEG\"", 0, AMB_MATCH_PATH},
        {"\"name\": \"d.seg.png\"", 5, AMB_MATCH_PATH},
        {"\"name\": \"\\u0061\"", 0, AMB_MATCH_KEY},
        {"\"file\": \"a.png\"", 0, AMB_MATCH_PATH},
        {"\"image\": \"a.png\"", 0, AMB_MATCH_PATH},
        {"\"index\": 5", 5, AMB_MATCH_INDEX},
        {"\"idx\": 0.0", 0, AMB_MATCH_INDEX},
        {"\"key\": null, \"index\": 3", 3, AMB_MATCH_INDEX},
        {"\"name\": \"ship\", \"filename\": \"a.png\"", 0, AMB_MATCH_PATH},     /* `name` may be a class */
        {"\"key\": \"nobody\", \"filename\": \"a.png\"", 0, AMB_MATCH_PATH},    /* the first that means something */
        {"\"filename\": \"gone.png\", \"index\": 1", 1, AMB_MATCH_INDEX},
        {"\"key\": \"b\"", -2, 0},
        {"\"filename\": \"dup.png\"", -2, 0},
        {"\"key\": \"dup\", \"index\": 2", -2, 0}, /* ambiguous ends the search */
        {"\"key\": \"nobody\"", -1, 0},
        {"\"key\": \"a/\"", -1, 0},
        {"\"key\": \".png\"", -1, 0},
        {"\"index\": 6", -1, 0},
        {"\"index\": 9007199254740991", -1, 0},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct amb_ledger *ledger = samples_ledger_new();
        struct amb_import_report report;
        struct amb_error err = AMB_ERROR_NULL;
        char text[256];

        snprintf(text, sizeof text, "{%s, \"sigma_min\": 2}", rows[i].name);
        assert_ok(import_text(&report, ledger, text, &err), err);
        for (uint32_t j = 0; j < N_SAMPLES; j++) {
            bool hit = (int)j == rows[i].i_sample;

            assert_value(ledger, j, hit ? 2 : 0, hit ? 0 : INF, rows[i].name);
        }
        assert_int_equal(report.unmatched.n, rows[i].i_sample == -1);
        assert_int_equal(report.ambiguous.n, rows[i].i_sample == -2);
        assert_int_equal(report.n_matched, rows[i].i_sample >= 0);
        if (rows[i].i_sample >= 0) {
            assert_string_equal(report.rule, amb_match_rule_name(rows[i].rule));
        }
        amb_ledger_free(ledger);
    }
}

TEST(report_counts_and_gives_examples) {
    struct amb_ledger *ledger = samples_ledger_new();
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(import_text(&report, ledger,
                          "\xef\xbb\xbf{\"key\": \"a\", \"sigma_min\": 1}\r\n\r\n"
                          "{\"key\": \"x\", \"sigma_min\": 1}\n"
                          "{\"key\": \"b\", \"sigma_min\": 1}\n"
                          "{\"key\": \"a\", \"sigma_max\": 0.5}\n"
                          "{\"key\": \"bad\\u000aline\", \"sigma_min\": 1}\n"
                          "{\"key\": \"z\"}\n{\"index\": 17}\n"
                          "{\"filename\": \"d.seg.png\", \"sigma_min\": 1000}",
                          &err),
              err);
    assert_int_equal(report.n_lines, 8);
    assert_int_equal(report.n_matched, 3);
    assert_int_equal(report.n_repeated, 1);
    assert_int_equal(report.n_inf_rule, 1);
    assert_int_equal(report.unmatched.n, 4);
    assert_string_equal(report.unmatched.text[0], "line 3: 'x'");
    assert_string_equal(report.unmatched.text[1], "line 6: 'bad?line'");
    assert_string_equal(report.unmatched.text[2], "line 7: 'z'");
    assert_int_equal(report.ambiguous.n, 1);
    assert_string_equal(report.ambiguous.text[0], "line 4: 'b'");
    assert_string_equal(report.repeated.text[0], "line 5: 'a'");
    assert_int_equal(report.n_without_annotation, 4);
    assert_int_equal(report.n_by_rule[AMB_MATCH_KEY], 2);
    assert_int_equal(report.n_by_rule[AMB_MATCH_PATH], 1);
    assert_string_equal(report.rule, "key");
    assert_value(ledger, 0, 1, 0.5, "both lines of a count, each for its side");
    amb_ledger_free(ledger);
}

/* Long names and names of many-byte characters are cut to whole characters. */
TEST(examples_are_cut_between_characters) {
    struct amb_import_examples examples = {0};
    char name[400];

    for (size_t shift = 0; shift < 4; shift++) {
        const char *text;

        memset(name, 'x', shift);
        for (size_t i = shift; i + 3 <= sizeof name; i += 3) {
            memcpy(name + i, "\xe2\x82\xac", 3);
        }
        memset(&examples, 0, sizeof examples);
        amb_import_examples_push(&examples, UINT64_MAX, name, sizeof name - 4);
        text = examples.text[0] + strlen("line 18446744073709551615: '") + shift;
        while (strncmp(text, "\xe2\x82\xac", 3) == 0) {
            text += 3;
        }
        assert_string_equal(text, "...'");
        assert_true(strlen(examples.text[0]) > AMB_IMPORT_EXAMPLE_BYTES - 8);
    }
}

TEST(inf_rule_can_be_moved_and_turned_off) {
    static const struct {
        double inf_from;
        double sigma_min;
        unsigned n;
    } rows[] = {{0, 300, 0}, {300, INF, 1}, {300.1, 300, 0}, {80, INF, 1}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static const char text[] = "{\"key\": \"a\", \"sigma_min\": 300}\n{\"key\": \"main/b\", \"sigma_min\": \"inf\"}";
        struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
        struct amb_ledger *ledger = samples_ledger_new();
        struct amb_import_report report;
        struct amb_error err = AMB_ERROR_NULL;

        options.inf_from = rows[i].inf_from;
        file_write(path, text, sizeof text - 1);
        assert_ok(amb_import_jsonl(&report, ledger, path, &options, &err), err);
        assert_value(ledger, 0, rows[i].sigma_min, 0, "inf rule");
        assert_value(ledger, 1, INF, 0, "inf said");
        assert_int_equal(report.n_inf_rule, rows[i].n);
        amb_ledger_free(ledger);
    }
}

/* Each bad line comes third, behind a good one and a blank one: its number is in the message, and the good line is
 * not recorded either. */
TEST(bad_lines_are_refused_and_nothing_is_recorded) {
    static const struct {
        const char *line, *message;
    } rows[] = {
        {"nonsense", "not JSON at 'nonsense'"},
        {"[1]", "column 1: not JSON at '[1]'"},
        {"\"a\"", "not JSON"},
        {"{\"key\": \"a\", \"sigma_min\": 1", "column 28: ends too early"},
        {"{\"key\": \"a\", \"sigma_min\": 1}}", "column 29: not JSON at '}'"},
        {"{\"key\": \"a\", \"sigma_min\": 1} {}", "not JSON at '{}'"},
        {"{\"key\": \"a\", \"sigma_min\": 1,}", "not JSON at '}'"},
        {"{\"key\": \"a\" \"sigma_min\": 1}", "not JSON"},
        {"{'key': 'a'}", "not JSON"},
        {"{\"key\": \"a\tb\"}", "not JSON"},
        {"{\"key\": \"a\", \"x\": 01}", "not JSON"},
        {"{\"key\": \"a\", \"x\": nul}", "not JSON"},
        {"{\"key\": \"a\", \"x\": [1 2]}", "not JSON"},
        {"{\"key\": \"a\", \"x\": {\"y\"}}", "not JSON"},
        {"{\"key\": \"a\", \"x\": \"\\x\"}", "not JSON"},
        {"{\"key\": \"a\", \"sigma_min\": NaN}", "sigma_min: found NaN}, allowed: a number >= 0, \"inf\" or null"},
        {"{\"key\": \"a\", \"sigma_min\": nan}", "sigma_min: found nan"},
        {"{\"key\": \"a\", \"sigma_min\": -0.5}", "column 27: sigma_min: found -0.5}"},
        {"{\"key\": \"a\", \"sigma_min\": -Infinity}", "sigma_min: found -Infinity"},
        {"{\"key\": \"a\", \"sigma_min\": \"0.5\"}", "sigma_min: found \"0.5\""},
        {"{\"key\": \"a\", \"sigma_min\": \"nan\"}", "sigma_min: found \"nan\""},
        {"{\"key\": \"a\", \"sigma_min\": \"-inf\"}", "sigma_min: found \"-inf\""},
        {"{\"key\": \"a\", \"sigma_min\": [1]}", "sigma_min: found [1]"},
        {"{\"key\": \"a\", \"sigma_min\": true}", "sigma_min: found true"},
        {"{\"key\": \"a\", \"sigma_min\": 1e999}", "sigma_min: found 1e999"},
        {"{\"key\": \"a\", \"sigma_max\": -1}", "sigma_max: found -1"},
        {"{\"key\": \"a\", \"sigma\": {}}", "sigma: found {}"},
        {"{\"key\": \"a\", \"annotation\": [1]}", "annotation: found [1]}, allowed: a sigma or a pair"},
        {"{\"key\": \"a\", \"annotation\": [1, 2, 3]}", "annotation: found [1, 2, 3]"},
        {"{\"key\": \"a\", \"annotation\": []}", "annotation: found ]"},
        {"{\"key\": \"a\", \"annotation\": [1, -2]}", "annotation: found -2"},
        {"{\"key\": \"a\", \"probabilities\": 0.5}", "probabilities: found 0.5"},
        {"{\"key\": \"a\", \"probabilities\": []}", "probabilities: found ]"},
        {"{\"key\": \"a\", \"probabilities\": [0.5, 0.5]}", "allowed: as many entries as sigmas, 3, not 2"},
        {"{\"key\": \"a\", \"probabilities\": [0.5, 0.5, 1.5]}", "probabilities: found 1.5"},
        {"{\"key\": \"a\", \"probabilities\": [[0.5], [], [0.5]]}", "probabilities: found ]"},
        {"{\"key\": \"a\", \"probabilities\": [[0.5], [NaN], [0.5]]}", "probabilities: found NaN"},
        {"{\"key\": \"a\", \"probabilities\": [[0.5], [null], [0.5]]}", "probabilities: found null"},
        {"{\"key\": \"a\", \"probabilities\": [[[0.5]], 0.5, 0.5]}", "probabilities: found [0.5]"},
        {"{\"key\": \"a\", \"probabilities\": [0.5, 0.5, 0.5}", "not JSON at '}'"},
        {"{\"key\": \"a\", \"crop_predictions_4\": []}", "crop_predictions: found ]"},
        {"{\"key\": \"a\", \"crop_predictions_4\": [-0.1]}", "crop_predictions: found -0.1"},
        {"{\"key\": \"a\", \"crop_predictions_5\": [0.1]}", "allowed: patches of size 1, 4, 8"},
        {"{\"key\": \"a\", \"crop_predictions_\": [0.1]}", "allowed: patches of size"},
        {"{\"key\": \"a\", \"crop_predictions_04\": [0.1]}", "allowed: patches of size"},
        {"{\"key\": \"a\", \"crop_predictions_44444444444\": [0.1]}", "allowed: patches of size"},
        {"{\"key\": 7}", "key: found 7}, allowed: a string or null"},
        {"{\"filename\": [\"a\"]}", "filename: found [\"a\"]"},
        {"{\"index\": -1}", "index: found -1}, allowed: an integer >= 0"},
        {"{\"index\": 1.5}", "index: found 1.5"},
        {"{\"index\": \"1\"}", "index: found \"1\""},
        {"{\"index\": 1e300}", "index: found 1e300"},
        {"{\"sigma_min\": 1}", "name of the sample: found {\"sigma_min\": 1}, allowed: one of the fields"},
        {"{\"key\": null, \"sigma_min\": 1}", "name of the sample"},
        {"{\"key\": \"\", \"sigma_min\": 1}", "name of the sample"},
        {"{}", "name of the sample: found {}"},
    };

    file_write(grid_path, "1 2 3", 5);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct amb_ledger *ledger = samples_ledger_new();
        struct amb_import_report report;
        struct amb_error err = AMB_ERROR_NULL;
        char text[256];
        int r;

        snprintf(text, sizeof text, "{\"key\": \"d\", \"sigma_min\": 1}\n\n%s\n{\"key\": \"a\"}\n", rows[i].line);
        r = import_text(&report, ledger, text, &err);
        if (r != AMB_ERR_FORMAT || strstr(err.message, "line 3 ") != err.message ||
            strstr(err.message, rows[i].message) == NULL || strstr(err.message, path) == NULL) {
            fail_msg("%s: %d '%s', expected '%s'", rows[i].line, r, err.message, rows[i].message);
        }
        assert_int_equal(report.n_lines, 2);
        for (uint32_t j = 0; j < N_SAMPLES; j++) {
            assert_value(ledger, j, 0, INF, rows[i].line);
        }
        amb_ledger_free(ledger);
    }
    unlink(grid_path);
}

/* 16 objects and arrays may be open, the line's own included; also in a field that nobody reads. */
/* Only names and the one field mean something, whatever forms of annotations stand beside them. */
TEST(scores_are_the_numbers_of_one_field) {
    static const char text[] = "{\"filename\": \"/data/a.png\", \"q\\u0061\": -1.5, \"sigma_min\": \"no sigma\"}\n"
                               "{\"key\": \"main/b\", \"qa\": 3, \"crop_predictions_5\": 1}\n"
                               "{\"index\": 1, \"qa\": 4}\n"
                               "{\"index\": 1, \"qa\": null}\n"
                               "{\"key\": \"x/dup\", \"qa\": NaN}\n"
                               "{\"key\": \"y/dup\", \"qa\": [7]}\n"
                               "{\"key\": \"d\", \"q\": 7}\n"
                               "{\"key\": \"nobody\", \"qa\": 7}\n";
    static const double expected[N_SAMPLES] = {-1.5, 4, 0, 0, 0, 0}; /* 0: as before */
    struct amb_catalog *cat = fake_catalog_new(samples, N_SAMPLES);
    double scores[N_SAMPLES] = {0};
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;

    file_write(path, text, sizeof text - 1);
    assert_ok(amb_import_scores(scores, &report, cat, path, "qa", &err), err);
    for (size_t i = 0; i < N_SAMPLES; i++) {
        assert_true(scores[i] >= expected[i] && scores[i] <= expected[i]);
    }
    assert_int_equal(report.n_matched, 7);
    assert_int_equal(report.unmatched.n, 1);
    assert_int_equal(report.n_repeated, 2);
    assert_int_equal(report.n_without_annotation, 1);
    file_write(path, "{\"key\": \"a\", \"qa\": 1}\n{\"key\": \"a\", \"qa\": 01}\n", 44);
    assert_int_equal(amb_import_scores(scores, &report, cat, path, "qa", &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "line 2"));
    amb_catalog_unref(cat);
}

TEST(depth_is_limited) {
    for (int depth = 15; depth <= 100000; depth = depth == 15 ? 16 : depth * 50) {
        struct amb_ledger *ledger = samples_ledger_new();
        struct amb_import_report report;
        struct amb_error err = AMB_ERROR_NULL;
        char *text = malloc((size_t)depth * 2 + 64), *p = text;

        assert_non_null(text);
        p = stpcpy(p, "{\"key\": \"a\", \"x\": ");
        memset(p, '[', (size_t)depth);
        memset(p + depth, ']', (size_t)depth);
        strcpy(p + 2 * depth, "}");
        assert_int_equal(import_text(&report, ledger, text, &err), depth == 15 ? 0 : AMB_ERR_FORMAT);
        free(text);
        amb_ledger_free(ledger);
    }
}

TEST(bad_options_are_refused) {
    struct amb_import_options rows[4] = {AMB_IMPORT_OPTIONS_DEFAULT, AMB_IMPORT_OPTIONS_DEFAULT,
                                         AMB_IMPORT_OPTIONS_DEFAULT, AMB_IMPORT_OPTIONS_DEFAULT};

    rows[0].span = 0;
    rows[1].epsilon = NAN;
    rows[2].inf_from = -1;
    rows[3].crop_threshold = INF;
    for (size_t i = 0; i < 4; i++) {
        struct amb_ledger *ledger = samples_ledger_new();
        struct amb_import_report report;
        struct amb_error err = AMB_ERROR_NULL;

        assert_int_equal(amb_import_jsonl(&report, ledger, "/nowhere", &rows[i], &err), AMB_ERR_CONFIG);
        amb_ledger_free(ledger);
    }
}

/* Each byte of a good line replaced by each of some others: refused or taken, never a crash (for the sanitizers),
 * and refused with the line's number. */
TEST(damaged_lines_end_in_a_verdict) {
    static const char good[] = "{\"filename\": \"a.png\", \"probabilities\": [[0.5, 1e-3], [0.25], 0.1], \"sigma_max\": "
                               "\"inf\", \"crop_predictions_4\": [0.5], \"x\": {\"y\": [null, \"\\u00e9\"]}}";
    static const char other[] = {'\0', '"', '\\', '{', '}', '[', ']', ',', ':', '-', '0', '9', 'e', 'n', ' ', '\xff'};
    struct amb_ledger *ledger = samples_ledger_new();
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    unsigned n_taken = 0, n_refused = 0;

    file_write(grid_path, "1 2 3", 5);
    for (size_t i = 0; i < sizeof good - 1; i++) {
        for (size_t j = 0; j < sizeof other; j++) {
            char text[sizeof good];
            struct amb_import_report report;
            struct amb_error err = AMB_ERROR_NULL;
            int r;

            memcpy(text, good, sizeof good);
            text[i] = other[j];
            file_write(path, text, sizeof good - 1);
            r = amb_import_jsonl(&report, ledger, path, &options, &err);
            assert_true(r == 0 || (r == AMB_ERR_FORMAT && strncmp(err.message, "line 1 ", 7) == 0));
            n_taken += r == 0;
            n_refused += r != 0;
        }
    }
    printf("%u damaged lines: %u refused, %u still good\n", n_taken + n_refused, n_refused, n_taken);
    assert_true(n_refused > 1500);
    unlink(grid_path);
    amb_ledger_free(ledger);
}

/* The keys of the real catalog: 0000, 0001, ... six blurs of each eighth image's group. */
TEST(shared_file_is_read_in_all_its_forms) {
    static const char *const keys[] = {"0000", "0001", "0002", "0003", "0004", "0005", "0012", "0013"};
    static const char *const paths[] = {"0000.png", "0001.png", "0002.png", "0003.png",
                                        "0004.png", "0005.png", "0012.png", "0013.png"};
    struct fake_sample list[8];
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_ledger *ledger;
    char text[32];

    test_data_path("annotate/sigmas.txt");
    for (size_t i = 0; i < 8; i++) {
        list[i] = (struct fake_sample){"main", keys[i], paths[i], AMB_LABEL_NONE};
    }
    ledger = ledger_new(fake_catalog_new(list, 8));
    assert_ok(amb_import_jsonl(&report, ledger, test_data_path("annotate/annotations.jsonl"), &options, &err), err);
    assert_int_equal(report.n_lines, 7);
    assert_int_equal(report.n_matched, 7);
    assert_int_equal(report.n_by_rule[AMB_MATCH_PATH], 7);
    assert_int_equal(report.n_inf_rule, 1);
    assert_int_equal(report.n_without_annotation, 1);
    for (uint32_t i = 0; i < 3; i++) { /* expected.csv, first run */
        static const char *const expected[] = {"0.003030469", "0.003030469", "1.180589"};
        enum amb_origin min_origin, max_origin;
        struct amb_annotation value = amb_ledger_get(&min_origin, &max_origin, ledger, i);

        snprintf(text, sizeof text, "%.7g", (double)value.sigma_min);
        assert_string_equal(text, expected[i]);
        assert_true(value.sigma_max == 0);
    }
    assert_value(ledger, 3, 0.75, 0, "annotation");
    assert_value(ledger, 4, 1.25, 0, "sigma");
    assert_value(ledger, 5, INF, 0.2, "sigma_min, sigma_max");
    assert_value(ledger, 6, INF, 0.15, "crop_predictions");
    assert_value(ledger, 7, 0, INF, "no line");
    amb_ledger_free(ledger);
}

static double seconds(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

TEST(million_lines_are_imported) {
    const uint32_t n = 1000000 / test_stride();
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_ledger *ledger = ledger_new(fake_catalog_new_numbered(n));
    FILE *file = fopen(path, "wb");
    double start;
    long bytes;

    assert_non_null(file);
    for (uint32_t i = 0; i < n; i++) {
        fprintf(file, "{\"filename\": \"%07u.png\", \"sigma_min\": %.5f, \"sigma_max\": 0.0}\n", i, i * 1e-5);
    }
    bytes = ftell(file);
    fclose(file);
    start = seconds();
    assert_ok(amb_import_jsonl(&report, ledger, path, &options, &err), err);
    start = seconds() - start;
    printf("%u lines, %.0f MB: %.2f s, %.0f MB/s (catalog's lookup is the fake one)\n", n, (double)bytes * 1e-6, start,
           (double)bytes * 1e-6 / start);
    assert_int_equal(report.n_matched, n);
    assert_int_equal(report.n_without_annotation, 0);
    assert_value(ledger, 23456, 0.23456, 0, "one of a million");
    amb_ledger_free(ledger);
}

/* 77 KB a line, as the published files have. */
TEST(lines_of_probabilities_are_read_fast) {
    const unsigned n = 500 / test_stride();
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    struct amb_import_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_ledger *ledger = ledger_new(fake_catalog_new_numbered(n));
    FILE *file = fopen(grid_path, "wb");
    double start;
    long bytes;

    assert_non_null(file);
    for (unsigned i = 0; i < 2048; i++) {
        fprintf(file, "%.7f\n", 0.001 * (i + 1));
    }
    fclose(file);
    file = fopen(path, "wb");
    assert_non_null(file);
    for (unsigned i = 0; i < n; i++) {
        fprintf(file, "{\"filename\": \"%07u.png\", \"probabilities\": [", i);
        for (unsigned j = 0; j < 2048; j++) {
            double p = 1 - i * j * 9.7e-7;

            fprintf(file, "%s[%.5f, %.5f, %.5f, %.5f]", j > 0 ? ", " : "", p, p, p, p);
        }
        fputs("]}\n", file);
    }
    bytes = ftell(file);
    fclose(file);
    start = seconds();
    assert_ok(amb_import_jsonl(&report, ledger, path, &options, &err), err);
    start = seconds() - start;
    printf("%u lines of 2048 x 4 probabilities, %.0f MB: %.2f s, %.0f MB/s\n", n, (double)bytes * 1e-6, start,
           (double)bytes * 1e-6 / start);
    assert_int_equal(report.n_matched, n);
    assert_value(ledger, 0, 2.048, 0, "never crosses: the last");
    unlink(grid_path);
    amb_ledger_free(ledger);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_form_sets_the_sides_that_it_gives),
    cmocka_unit_test(probabilities_use_the_grid_beside_the_file_or_the_given_one),
    cmocka_unit_test(names_are_understood_in_many_forms),
    cmocka_unit_test(report_counts_and_gives_examples),
    cmocka_unit_test(examples_are_cut_between_characters),
    cmocka_unit_test(inf_rule_can_be_moved_and_turned_off),
    cmocka_unit_test(bad_lines_are_refused_and_nothing_is_recorded),
    cmocka_unit_test(scores_are_the_numbers_of_one_field),
    cmocka_unit_test(depth_is_limited),
    cmocka_unit_test(bad_options_are_refused),
    cmocka_unit_test(damaged_lines_end_in_a_verdict),
    cmocka_unit_test(shared_file_is_read_in_all_its_forms),
    cmocka_unit_test(million_lines_are_imported),
    cmocka_unit_test(lines_of_probabilities_are_read_fast),
};

int main(int argc, char **argv) {
    int n_fds = test_count_fds(), r;

    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    r = cmocka_run_group_tests_name(__FILE__, tests, setup, teardown);
    return test_count_fds() != n_fds ? 1 : r;
}
