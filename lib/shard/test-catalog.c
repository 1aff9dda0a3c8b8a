#include "test-archive.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "base/alloc.h"
#include "shard/catalog-private.h"
#include "shard/guard.h"

static const char *const no_excludes[1];

static int open_with(struct amb_catalog **cat, const char *const *patterns, size_t n, const char *cache,
                     struct amb_catalog_report *report, struct amb_error *err) {
    struct amb_source_options source = {
        .name = "main", .patterns = patterns, .n_patterns = n, .repeat = 1, .corruption_label = 7};
    struct amb_catalog_options options = {.cache_dir = cache, .n_threads = 2, .excludes = no_excludes};

    return amb_catalog_open(cat, &source, 1, &options, report, err);
}

static int open_one(struct amb_catalog **cat, const char *pattern, struct amb_error *err) {
    return open_with(cat, &pattern, 1, NULL, NULL, err);
}

static void write_pair(const char *path, const char *first, const char *second) {
    struct amb_buf tar = AMB_BUF_NULL;
    char name[300];

    snprintf(name, sizeof name, "%s.png", first);
    test_tar_file(&tar, name, first);
    snprintf(name, sizeof name, "%s.cls", first);
    test_tar_file(&tar, name, "3\n");
    snprintf(name, sizeof name, "%s.png", second);
    test_tar_file(&tar, name, second);
    snprintf(name, sizeof name, "%s.json", second);
    test_tar_file(&tar, name, "{\"a\": 1}");
    test_tar_end(&tar);
    test_write_buf(path, &tar);
}

static void assert_read(const struct amb_catalog *cat, uint32_t i, const char *text) {
    struct amb_buf buf = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_catalog_read(&buf, cat, i, &err), err);
    assert_int_equal(buf.n_bytes, strlen(text));
    assert_memory_equal(buf.data, text, buf.n_bytes);
    amb_buf_deinit(&buf);
}

static void assert_key(const struct amb_catalog *cat, uint32_t i, const char *key) {
    struct amb_sample_info info;

    amb_catalog_get(&info, cat, i);
    assert_int_equal(info.key_bytes, strlen(key));
    assert_memory_equal(info.key, key, info.key_bytes);
}

TEST(samples_are_numbered_in_the_order_of_patterns) {
    const char *folder = test_folder_new();
    const char *patterns[] = {test_path(folder, "b.tar"), test_path(folder, "{a,c}.tar")};
    struct amb_catalog *cat;
    struct amb_sample_info info;
    struct amb_error err = AMB_ERROR_NULL;
    uint32_t first, count;

    write_pair(test_path(folder, "a.tar"), "a0", "a1");
    write_pair(test_path(folder, "b.tar"), "b0", "b1");
    write_pair(test_path(folder, "c.tar"), "x/c0", "x/c1");
    assert_ok(open_with(&cat, patterns, 2, NULL, NULL, &err), err);
    assert_int_equal(amb_catalog_count(cat), 6);
    assert_key(cat, 0, "b0");
    assert_key(cat, 3, "a1");
    assert_key(cat, 5, "x/c1");
    assert_read(cat, 5, "x/c1");
    amb_catalog_get(&info, cat, 4);
    assert_int_equal(info.label, 3);
    assert_int_equal(info.corruption_label, 7);
    assert_int_equal(info.i_shard, 2);
    amb_catalog_get(&info, cat, 5);
    assert_int_equal(info.label, AMB_LABEL_NONE);
    amb_catalog_shard(cat, 1, NULL, &first, &count);
    assert_int_equal(first, 2);
    assert_int_equal(count, 2);
    assert_int_equal(amb_catalog_key_bytes_max(cat), 4);
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

static int open_after(struct amb_catalog **cat, const char *pattern, const struct amb_catalog *before,
                      struct amb_catalog_report *report, struct amb_error *err) {
    struct amb_source_options source = {.name = "main", .patterns = &pattern, .n_patterns = 1, .repeat = 1};
    struct amb_catalog_options options = {.n_threads = 2, .before = before};

    return amb_catalog_open(cat, &source, 1, &options, report, err);
}

/* Of four shards one stays, one is replaced by rename, one grows in place and one goes; a fifth comes. Only the first
 * keeps its map, and both catalogs read their own bytes to the end, whichever of them is freed first. */
TEST(unchanged_shards_are_shared_with_the_catalog_before) {
    const char *folder = test_folder_new(), *pattern = test_path(folder, "*.tar");
    struct amb_catalog *old, *cat;
    struct amb_catalog_report report;
    struct amb_error err = AMB_ERROR_NULL;
    uint32_t i;
    size_t i_shard;

    write_pair(test_path(folder, "a.tar"), "a0", "a1");
    write_pair(test_path(folder, "b.tar"), "b0", "b1");
    write_pair(test_path(folder, "c.tar"), "c0", "c1");
    write_pair(test_path(folder, "d.tar"), "d0", "d1");
    assert_ok(open_after(&old, pattern, NULL, &report, &err), err);
    assert_int_equal(report.n_kept, 0);
    write_pair(test_path(folder, "tmp"), "b2", "b3");
    assert_int_equal(rename(test_path(folder, "tmp"), test_path(folder, "b.tar")), 0);
    assert_int_equal(truncate(test_path(folder, "c.tar"), 16384), 0);
    assert_int_equal(unlink(test_path(folder, "d.tar")), 0);
    write_pair(test_path(folder, "e.tar"), "e0", "e1");
    assert_ok(open_after(&cat, pattern, old, &report, &err), err);
    assert_int_equal(report.n_kept, 1);
    assert_int_equal(report.n_indexed, 3);
    assert_ptr_equal(catalog_locate(&i_shard, &i, old, 0)->shard, catalog_locate(&i_shard, &i, cat, 0)->shard);
    assert_ptr_not_equal(catalog_locate(&i_shard, &i, old, 2)->shard, catalog_locate(&i_shard, &i, cat, 2)->shard);
    assert_ptr_not_equal(catalog_locate(&i_shard, &i, old, 4)->shard, catalog_locate(&i_shard, &i, cat, 4)->shard);
    assert_read(old, 2, "b0");
    assert_read(cat, 2, "b2");
    assert_read(old, 7, "d1");
    amb_catalog_unref(old);
    assert_read(cat, 0, "a0");
    assert_read(cat, 7, "e1");
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

/* What was written a moment ago could be written again without a trace in its times: it is looked at again. */
TEST(a_shard_of_this_moment_is_not_kept) {
    const char *folder = test_folder_new(), *pattern = test_path(folder, "a.tar");
    struct amb_catalog *old, *cat;
    struct amb_catalog_report report;
    struct amb_error err = AMB_ERROR_NULL;

    write_pair(pattern, "a0", "a1");
    assert_int_equal(utimensat(AT_FDCWD, pattern, NULL, 0), 0);
    assert_ok(open_after(&old, pattern, NULL, NULL, &err), err);
    assert_ok(open_after(&cat, pattern, old, &report, &err), err);
    assert_int_equal(report.n_kept, 0);
    amb_catalog_unref(old);
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

struct told {
    char text[8][AMB_ERROR_MESSAGE_BYTES];
    size_t n;
};

static void tell(void *opaque, const struct amb_error *why) {
    struct told *told = opaque;

    assert_true(told->n < 8);
    snprintf(told->text[told->n++], sizeof told->text[0], "%s", why->message);
}

/* With a listener every bad pattern and shard is told, and open fails all the same. */
TEST(every_problem_is_told_at_once) {
    const char *folder = test_folder_new();
    const char *patterns[] = {test_path(folder, "gone-*.tar"), test_path(folder, "{a,b,c}.tar"), test_path(folder, "no.tar")};
    struct amb_source_options source = {.name = "main", .patterns = patterns, .n_patterns = 3, .repeat = 1};
    struct told told = {.n = 0};
    struct amb_catalog_options options = {.n_threads = 1, .problem = tell, .problem_opaque = &told};
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;

    write_pair(test_path(folder, "a.tar"), "a0", "a1");
    test_write(test_path(folder, "b.tar"), "short", 5);
    test_write(test_path(folder, "c.tar"), "", 0);
    assert_int_equal(amb_catalog_open(&cat, &source, 1, &options, NULL, &err), -ENOENT);
    assert_int_equal(told.n, 4);
    assert_non_null(strstr(told.text[0], "gone-"));
    assert_non_null(strstr(told.text[1], "no.tar"));
    assert_non_null(strstr(told.text[2], "b.tar"));
    assert_non_null(strstr(told.text[3], "c.tar"));
    test_folder_free(folder);
}

static void write_vector(const char *path, const char *key, const char *json) {
    struct amb_buf tar = AMB_BUF_NULL;
    char name[64];

    snprintf(name, sizeof name, "%s.png", key);
    test_tar_file(&tar, name, key);
    snprintf(name, sizeof name, "%s.json", key);
    test_tar_file(&tar, name, json);
    test_tar_end(&tar);
    test_write_buf(path, &tar);
}

static void write_unlabelled(const char *path) {
    struct amb_buf tar = AMB_BUF_NULL;

    test_tar_file(&tar, "a0.png", "a0");
    test_tar_file(&tar, "a1.png", "a1");
    test_tar_end(&tar);
    test_write_buf(path, &tar);
}

static int open_all(struct amb_catalog **cat, const struct amb_source_options *sources, size_t n, struct told *told,
                    struct amb_error *err) {
    static const char *const excludes[] = {"none/a0", "none/a1", "nil/a0", "nil/a1"};
    struct amb_catalog_options options = {.n_threads = 1, .excludes = excludes, .n_excludes = 4, .problem_opaque = told};

    options.problem = told != NULL ? tell : NULL;
    return amb_catalog_open(cat, sources, n, &options, NULL, err);
}

/* Shards that are good one by one, and do not fit together: labels of three widths, keys repeated in two sources, two
 * sources without samples. Without a listener the first of it ends it. */
TEST(every_disagreement_is_told_at_once) {
    const char *folder = test_folder_new();
    const char *vectors = test_path(folder, "v{1,2,3}.tar"), *twice[] = {test_path(folder, "a.tar"), test_path(folder, "b.tar")};
    const struct amb_source_options sources[] = {
        {.name = "vectors", .patterns = &vectors, .n_patterns = 1, .repeat = 1, .label_key = "l"},
        {.name = "one", .patterns = twice, .n_patterns = 2, .repeat = 1},
        {.name = "none", .patterns = twice, .n_patterns = 1, .repeat = 1},
        {.name = "two", .patterns = twice, .n_patterns = 2, .repeat = 1},
        {.name = "nil", .patterns = twice, .n_patterns = 1, .repeat = 1},
    };
    static const char *const expected[] = {"v2.tar of 3",     "v3.tar of 1",     "source 'one': key", "source 'two': key",
                                           "source 'none' has", "source 'nil' has"};
    struct told told = {.n = 0};
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;

    write_unlabelled(test_path(folder, "a.tar"));
    write_vector(test_path(folder, "b.tar"), "a1", "{}");
    write_vector(test_path(folder, "v1.tar"), "a", "{\"l\": [1, 2]}");
    write_vector(test_path(folder, "v2.tar"), "b", "{\"l\": [1, 2, 3]}");
    write_vector(test_path(folder, "v3.tar"), "c", "{\"l\": [1]}");
    assert_int_equal(open_all(&cat, sources, 5, &told, &err), AMB_ERR_FORMAT);
    assert_string_equal(err.message, told.text[0]);
    assert_int_equal(told.n, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_non_null(strstr(told.text[i], expected[i]));
    }
    told.n = 0;
    assert_int_equal(open_all(&cat, sources + 1, 4, &told, &err), AMB_ERR_DUPLICATE);
    assert_int_equal(told.n, 4);
    assert_int_equal(open_all(&cat, sources + 1, 4, NULL, &err), AMB_ERR_DUPLICATE);
    assert_string_equal(err.message, told.text[0]);
    test_folder_free(folder);
}

struct rests {
    size_t n, n_end; /* the one that ends it; 0: none */
    uint64_t used_ns;
};

static int rest(void *opaque, uint64_t used_ns, struct amb_error *err) {
    struct rests *rests = opaque;

    rests->used_ns += used_ns;
    return ++rests->n == rests->n_end ? amb_fail(err, -ESHUTDOWN, "no further") : 0;
}

/* Between shards its user may take its time, or end it: then nothing else that is wrong matters. */
TEST(indexing_rests_behind_each_shard) {
    const char *folder = test_folder_new();
    const char *pattern = test_path(folder, "{a,b,c}.tar");
    struct amb_source_options source = {.name = "main", .patterns = &pattern, .n_patterns = 1, .repeat = 1};
    struct rests rests = {0};
    struct told told = {.n = 0};
    struct amb_catalog_options options = {.n_threads = 1, .rest = rest, .rest_opaque = &rests};
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;

    write_pair(test_path(folder, "a.tar"), "a0", "a1");
    write_pair(test_path(folder, "b.tar"), "b0", "b1");
    write_pair(test_path(folder, "c.tar"), "c0", "c1");
    assert_ok(amb_catalog_open(&cat, &source, 1, &options, NULL, &err), err);
    assert_int_equal(rests.n, 3);
    assert_true(rests.used_ns > 0);
    amb_catalog_unref(cat);
    test_write(test_path(folder, "a.tar"), "short", 5);
    for (size_t n_end = 1; n_end <= 3; n_end++) {
        rests = (struct rests){.n_end = n_end};
        told.n = 0;
        options.problem = tell;
        options.problem_opaque = &told;
        assert_int_equal(amb_catalog_open(&cat, &source, 1, &options, NULL, &err), -ESHUTDOWN);
        assert_string_equal(err.message, "no further");
        assert_int_equal(rests.n, n_end);
        assert_int_equal(told.n, 1);
    }
    test_folder_free(folder);
}

/* Within a tar and a folder, its walk too, and while all samples are gone through; and so it can be ended anywhere there, with
 * what was said and no problem of a shard. */
TEST(indexing_rests_within_a_shard) {
    const char *folder = test_folder_new();
    char path[256];
    const char *pattern = path;
    struct amb_source_options source = {.name = "main", .patterns = &pattern, .n_patterns = 1, .repeat = 1};
    struct amb_buf tar = AMB_BUF_NULL;
    struct rests rests = {0};
    struct told told = {.n = 0};
    struct amb_catalog_options options = {.n_threads = 1, .rest = rest, .rest_opaque = &rests, .problem = tell, .problem_opaque = &told};
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;
    size_t n_all;

    assert_int_equal(mkdir(test_path(folder, "a"), 0700), 0);
    for (unsigned i = 0; i < 4 * AMB_REST_STEPS; i++) {
        char name[32];

        snprintf(name, sizeof name, "%06u.png", i);
        test_tar_file(&tar, name, name);
        snprintf(name, sizeof name, "a/x%06u.png", i);
        test_write(test_path(folder, name), name, strlen(name));
    }
    test_tar_end(&tar);
    test_write_buf(test_path(folder, "a.tar"), &tar);
    snprintf(path, sizeof path, "%s/a*", folder);
    assert_ok(amb_catalog_open(&cat, &source, 1, &options, NULL, &err), err);
    amb_catalog_unref(cat);
    n_all = rests.n;
    assert_true(n_all >= 2 + 3 * 4 + 2 * 8); /* behind shards; members of both and the walk; lookup and digest of all */
    for (size_t n_end = 1; n_end <= n_all; n_end++) {
        rests = (struct rests){.n_end = n_end};
        assert_int_equal(amb_catalog_open(&cat, &source, 1, &options, NULL, &err), -ESHUTDOWN);
        assert_string_equal(err.message, "no further");
        assert_int_equal(rests.n, n_end);
        assert_int_equal(told.n, 0);
    }
    test_folder_free(folder);
}

/* The same bytes with and without cache, and from a cache that was damaged at every byte of the header and
 * more. */
TEST(damaged_cache_is_rebuilt) {
    const char *folder = test_folder_new();
    const char *pattern = test_path(folder, "a.tar"), *cache = test_path(folder, "cache/deep");
    struct amb_catalog *cat;
    struct amb_catalog_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_hash128 digest, again;
    char command[600];

    write_pair(pattern, "a0", "a1");
    assert_ok(open_with(&cat, &pattern, 1, cache, &report, &err), err);
    digest = amb_catalog_digest(cat);
    assert_int_equal(report.n_indexed, 1);
    amb_catalog_unref(cat);
    for (int round = 0; round < 40; round++) {
        assert_ok(open_with(&cat, &pattern, 1, cache, &report, &err), err);
        again = amb_catalog_digest(cat);
        assert_int_equal(report.n_cached, round % 2 == 0 ? 1 : 0);
        assert_memory_equal(&again, &digest, sizeof digest);
        assert_read(cat, 1, "a1");
        amb_catalog_unref(cat);
        if (round % 2 == 0) {
            /* flip one byte of each file, at another place each time; or cut it */
            snprintf(command, sizeof command,
                     round < 36 ? "for f in '%s'/*.idx; do printf '\\377' | dd of=\"$f\" bs=1 seek=%d "
                                  "conv=notrunc 2>/dev/null; done"
                                : "for f in '%s'/*.idx; do truncate -s %d \"$f\"; done",
                     cache, round < 36 ? round * 37 % 1100 : (round - 36) * 500);
            assert_int_equal(system(command), 0);
        }
    }
    test_folder_free(folder);
}

TEST(repeated_key_names_both_places) {
    const char *folder = test_folder_new();
    const char *pattern = test_path(folder, "*.tar");
    struct amb_catalog *cat = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    write_pair(test_path(folder, "a.tar"), "same", "a1");
    write_pair(test_path(folder, "b.tar"), "b0", "same");
    assert_int_equal(open_one(&cat, pattern, &err), AMB_ERR_DUPLICATE);
    assert_non_null(strstr(err.message, "'same'"));
    assert_non_null(strstr(err.message, "a.tar"));
    assert_non_null(strstr(err.message, "b.tar"));
    test_folder_free(folder);
}

/* With key_scope: shard the shard's name is part of the key; what is repeated even so is bad, the first is
 * not. */
TEST(key_scope_shard_tells_equal_keys_apart) {
    const char *folder = test_folder_new();
    const char *patterns[] = {test_path(folder, "[ab].tar"), test_path(folder, "sub/a.tar")};
    const char *exclude = "main/b.tar/only";
    struct amb_source_options source = {
        .name = "main", .patterns = patterns, .n_patterns = 2, .repeat = 1, .key_scope_shard = true};
    struct amb_catalog_options options = {.excludes = &exclude, .n_excludes = 1};
    struct amb_catalog_report report;
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf buf = AMB_BUF_NULL;
    uint32_t i = 99;

    mkdir(test_path(folder, "sub"), 0700);
    write_pair(test_path(folder, "a.tar"), "d/same", "a1");
    write_pair(test_path(folder, "b.tar"), "d/same", "only");
    write_pair(test_path(folder, "sub/a.tar"), "d/same", "a2");
    assert_ok(amb_catalog_open(&cat, &source, 1, &options, &report, &err), err);
    assert_int_equal(report.n_repeated, 1);
    assert_int_equal(report.n_excluded, 1);
    assert_int_equal(amb_catalog_count(cat), 5);
    assert_key(cat, 0, "a.tar/d/same");
    assert_key(cat, 2, "b.tar/d/same");
    assert_read(cat, 2, "d/same");
    assert_read(cat, 4, "a2");
    assert_int_equal(amb_catalog_read(&buf, cat, 3, &err), AMB_ERR_DUPLICATE);
    assert_int_equal(amb_catalog_find(&i, cat, "b.tar/d/same", 12), 1);
    assert_int_equal(i, 2);
    assert_int_equal(amb_catalog_find(&i, cat, "d/same.png", 10), 3);
    assert_int_equal(i, 0);
    assert_int_equal(amb_catalog_find(&i, cat, "only", 4), 0);
    amb_buf_deinit(&buf);
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

TEST(names_are_found_by_the_first_rule_that_matches) {
    const char *folder = test_folder_new();
    const char *left = test_path(folder, "left.tar"), *right = test_path(folder, "right.tar");
    struct amb_source_options sources[] = {
        {.name = "main", .patterns = &left, .n_patterns = 1, .repeat = 1},
        {.name = "main2", .patterns = &right, .n_patterns = 1, .repeat = 2.5}};
    static const struct {
        const char *name;
        uint32_t n, first;
    } cases[] = {
        {"main/x/cat", 1, 0}, {"main2/x/cat", 1, 2},
        {"x/cat", 2, 0},      {"x/cat.png", 2, 0},
        {"cat.png", 2, 0},    {"dog.v1.png", 1, 1},
        {"dog.v1", 1, 1},     {"dog", 1, 1},
        {"y/bee.png", 1, 3},  {"bee", 1, 3},
        {"bee.jpg", 0, 0},    {"ox", 0, 0},
        {"main/ox", 0, 0},    {"", 0, 0},
        {"/", 0, 0},          {"main/", 0, 0},
        {".png", 0, 0},
    };
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;

    write_pair(left, "x/cat", "dog.v1");
    write_pair(right, "x/cat", "y/bee");
    assert_ok(amb_catalog_open(&cat, sources, 2, NULL, NULL, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t sample = 0, n = amb_catalog_find(&sample, cat, cases[i].name, strlen(cases[i].name));

        if (n != cases[i].n || sample != cases[i].first) {
            fail_msg("'%s': %u matches, first %u", cases[i].name, n, sample);
        }
    }
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

/* Cut the file under the map: the copy faults, the fault is caught, and only that is what happens. */
TEST(truncation_under_the_map_is_caught) {
    const char *folder = test_folder_new();
    const char *path = test_path(folder, "a.tar");
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf tar = AMB_BUF_NULL, buf = AMB_BUF_NULL;
    static char big[100000];
    uint64_t before = amb_guard_count();
    size_t i_shard;
    uint32_t i;

    memset(big, 'x', sizeof big - 1);
    test_tar_file(&tar, "a.png", "small");
    test_tar_file(&tar, "b.png", big);
    test_tar_end(&tar);
    test_write_buf(path, &tar);
    assert_ok(open_one(&cat, path, &err), err);
    assert_non_null(catalog_locate(&i_shard, &i, cat, 1)->shard->map.base);
    assert_int_equal(truncate(path, 4096), 0);
    assert_int_equal(amb_catalog_read(&buf, cat, 1, &err), AMB_ERR_CHANGED);
    assert_int_equal(amb_guard_count(), before); /* fstat saw it first */
    /* straight to the map, as if the file were cut between fstat and copy */
    assert_int_equal(amb_buf_reserve(&buf, 50000), 0);
    assert_int_equal(
        amb_map_copy(buf.data, &catalog_locate(&i_shard, &i, cat, 1)->shard->map, 2048, 50000, &err),
        AMB_ERR_CHANGED);
    assert_int_equal(amb_guard_count(), before + 1);
    amb_buf_deinit(&buf);
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

/* Same size, same mtime, other header: the checksum of the header tells. A newer mtime: fstat tells. */
TEST(replaced_in_place_is_noticed_and_rename_is_not) {
    const char *folder = test_folder_new();
    const char *path = test_path(folder, "a.tar"), *next = test_path(folder, "next.tar");
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf buf = AMB_BUF_NULL;

    write_pair(path, "a0", "a1");
    assert_ok(open_one(&cat, path, &err), err);
    write_pair(next, "z0", "z1");
    assert_int_equal(rename(next, path), 0);
    assert_read(cat, 1, "a1"); /* the old inode lives on */
    amb_catalog_unref(cat);

    assert_ok(open_one(&cat, path, &err), err);
    write_pair(path, "q0", "q1"); /* through the same inode, times put back */
    assert_int_equal(amb_catalog_read(&buf, cat, 1, &err), AMB_ERR_CHANGED);
    assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0);
    assert_int_equal(amb_catalog_read(&buf, cat, 0, &err), AMB_ERR_CHANGED);
    assert_int_equal(amb_catalog_read_member(&buf, cat, 0, "cls", &err), AMB_ERR_CHANGED);
    amb_buf_deinit(&buf);
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

/* Counted over 1,000 reads with a buffer that has grown to the largest. */
TEST(reads_allocate_nothing_once_warm) {
    const char *folder = test_folder_new();
    const char *path = test_path(folder, "a.tar");
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf buf = AMB_BUF_NULL;
    uint64_t n_allocs;

    write_pair(path, "a0", "a1");
    assert_ok(open_one(&cat, path, &err), err);
    assert_int_equal(amb_buf_reserve(&buf, 4096), 0);
    assert_read(cat, 0, "a0");
    n_allocs = amb_alloc_count();
    for (uint32_t i = 0; i < 1000; i++) {
        assert_ok(amb_catalog_read(&buf, cat, i % 2, &err), err);
        amb_catalog_read_member(&buf, cat, i % 2, "cls", &err);
    }
    assert_int_equal(amb_alloc_count(), n_allocs);
    amb_buf_deinit(&buf);
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

TEST(bad_shards_are_left_out_only_if_asked) {
    const char *folder = test_folder_new();
    const char *pattern = test_path(folder, "*.tar");
    struct amb_source_options source = {.name = "main", .patterns = &pattern, .n_patterns = 1, .repeat = 1};
    struct amb_catalog_report report;
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;

    write_pair(test_path(folder, "a.tar"), "a0", "a1");
    test_write(test_path(folder, "b.tar"), "rubbish", 7);
    write_pair(test_path(folder, "c.tar"), "c0", "c1");
    assert_int_equal(amb_catalog_open(&cat, &source, 1, NULL, NULL, &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "b.tar"));
    source.skip_bad_shards = true;
    assert_ok(amb_catalog_open(&cat, &source, 1, NULL, &report, &err), err);
    assert_int_equal(report.n_bad_shards, 1);
    assert_non_null(strstr(report.first_bad_shard, "b.tar"));
    assert_int_equal(amb_catalog_count(cat), 4);
    assert_key(cat, 2, "c0");
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

/* Same samples in other shards at other paths: same digest; one label changed: another. */
TEST(digest_is_of_samples_not_of_places) {
    const char *folder = test_folder_new();
    const char *one = test_path(folder, "one.tar"),
               *two[] = {test_path(folder, "t0.tar"), test_path(folder, "t1.tar")};
    struct amb_catalog *a, *b;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf tar = AMB_BUF_NULL;
    struct amb_hash128 x, y;

    for (int round = 0; round < 2; round++) {
        test_tar_file(&tar, "a.png", "aa");
        test_tar_file(&tar, "b.png", "bbb");
        test_tar_file(&tar, "b.cls", "5");
        test_tar_end(&tar);
        test_write_buf(one, &tar);
        test_tar_file(&tar, "a.png", "aa");
        test_tar_end(&tar);
        test_write_buf(two[0], &tar);
        test_tar_file(&tar, "b.png", "bbb");
        test_tar_file(&tar, "b.cls", round == 0 ? "5" : "6");
        test_tar_end(&tar);
        test_write_buf(two[1], &tar);
        assert_ok(open_one(&a, one, &err), err);
        assert_ok(open_with(&b, two, 2, NULL, NULL, &err), err);
        x = amb_catalog_digest(a);
        y = amb_catalog_digest(b);
        assert_int_equal(amb_hash128_equal(&x, &y), round == 0);
        amb_catalog_unref(a);
        amb_catalog_unref(b);
    }
    test_folder_free(folder);
}

/* Excluding any subset leaves the others in order, found and readable; from the cache as well. */
TEST(excluded_samples_leave_no_hole) {
    const char *folder = test_folder_new();
    const char *pattern = test_path(folder, "a.tar"), *cache = test_path(folder, "cache");
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf tar = AMB_BUF_NULL;
    char name[16];

    for (char c = '0'; c < '8'; c++) {
        snprintf(name, sizeof name, "k%c.png", c);
        test_tar_file(&tar, name, name);
    }
    test_tar_end(&tar);
    test_write_buf(pattern, &tar);
    for (unsigned set = 0; set < 255; set += 3) {
        char texts[8][16];
        const char *excludes[9] = {"main/nobody"};
        struct amb_source_options source = {
            .name = "main", .patterns = &pattern, .n_patterns = 1, .repeat = 1};
        struct amb_catalog_options options = {.cache_dir = cache, .excludes = excludes, .n_excludes = 1};
        struct amb_catalog_report report;
        struct amb_catalog *cat;
        uint32_t i = 0;

        for (unsigned k = 0; k < 8; k++) {
            if ((set >> k & 1) != 0) {
                snprintf(texts[k], sizeof texts[k], "main/k%u", k);
                excludes[options.n_excludes++] = texts[k];
            }
        }
        for (int again = 0; again < 2; again++, i = 0) {
            assert_ok(amb_catalog_open(&cat, &source, 1, &options, &report, &err), err);
            assert_int_equal(report.n_excluded, __builtin_popcount(set));
            for (unsigned k = 0; k < 8; k++) {
                uint32_t found;

                snprintf(name, sizeof name, "k%u.png", k);
                assert_int_equal(amb_catalog_find(&found, cat, name, 6), (set >> k & 1) == 0);
                if ((set >> k & 1) == 0) {
                    assert_int_equal(found, i);
                    assert_read(cat, i++, name);
                }
            }
            assert_int_equal(amb_catalog_count(cat), i);
            amb_catalog_unref(cat);
        }
    }
    test_folder_free(folder);
}

/* More shards than the soft limit of open files allows: it is raised; the hard limit is named. */
TEST(limit_of_open_files_is_raised_or_named) {
    const char *folder = test_folder_new();
    char pattern[128];
    struct rlimit old, low;
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;
    int status;
    pid_t pid;

    for (unsigned i = 0; i < 100; i++) {
        char name[16], key[16];

        snprintf(name, sizeof name, "%02u.tar", i);
        snprintf(key, sizeof key, "x%02u", i);
        write_pair(test_path(folder, name), key, name);
    }
    snprintf(pattern, sizeof pattern, "%s/{00..99}.tar", folder);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = (struct rlimit){40, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_ok(open_one(&cat, pattern, &err), err);
    assert_int_equal(amb_catalog_count_shards(cat), 100);
    amb_catalog_unref(cat);
    pid = fork();
    if (pid == 0) {
        low.rlim_cur = low.rlim_max = 90;
        if (setrlimit(RLIMIT_NOFILE, &low) != 0) {
            _exit(2);
        }
        _exit(open_one(&cat, pattern, &err) == -EMFILE && strstr(err.message, "LimitNOFILE") != NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
        print_message("the hard limit cannot be lowered here: its message is not tried\n");
    } else {
        assert_int_equal(status, 0);
    }
    setrlimit(RLIMIT_NOFILE, &old);
    test_folder_free(folder);
}

/* How many files more can be opened, up to what may be asked for. */
static size_t count_spare(size_t n_most) {
    int fds[64];
    size_t n = 0;

    while (n < n_most && (fds[n] = open("/", O_PATH | O_CLOEXEC)) >= 0) {
        n++;
    }
    for (size_t i = 0; i < n; i++) {
        close(fds[i]);
    }
    return n;
}

struct lacking {
    size_t n_told, n_spare;
};

static void tell_lacking(void *opaque, const struct amb_error *why) {
    struct lacking *lacking = opaque;

    lacking->n_told += why->code == -EMFILE && strstr(why->message, "LimitNOFILE") != NULL;
    lacking->n_spare = count_spare(40);
}

/* A child, whose limits may be lowered: hundred shards are replaced under a limit that has room for fifty. 0: as it should be. */
static int replace_under_limit(const char *pattern, const struct amb_catalog *before) {
    struct amb_source_options source = {.name = "main", .patterns = &pattern, .n_patterns = 1, .repeat = 1};
    struct lacking lacking = {0};
    struct amb_catalog_options options = {.n_threads = 1, .before = before, .problem = tell_lacking, .problem_opaque = &lacking};
    struct rlimit low;
    struct amb_catalog *cat;
    int next = open("/", O_PATH | O_CLOEXEC);

    low.rlim_cur = low.rlim_max = (rlim_t)next + 100;
    if (close(next) != 0 || setrlimit(RLIMIT_NOFILE, &low) != 0) {
        return 2;
    }
    return amb_catalog_open(&cat, &source, 1, &options, NULL, NULL) == -EMFILE && lacking.n_told == 1 && lacking.n_spare == 40
               ? 0 : 1;
}

/* As many shards as before, each another file: it ends at the first that there is no room for, with files to spare for
 * those who read meanwhile. */
TEST(replaced_shards_leave_files_to_others) {
    const char *folder = test_folder_new();
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;
    char pattern[128];
    int status;
    pid_t pid;

    snprintf(pattern, sizeof pattern, "%s/{00..99}.tar", folder);
    for (unsigned turn = 0; turn < 2; turn++) {
        for (unsigned i = 0; i < 100; i++) {
            char name[16], key[16];

            snprintf(name, sizeof name, "%02u.tar", i);
            snprintf(key, sizeof key, "x%02u-%u", i, turn);
            write_pair(test_path(folder, "tmp"), key, name);
            assert_int_equal(rename(test_path(folder, "tmp"), test_path(folder, name)), 0);
        }
        if (turn == 0) {
            assert_ok(open_one(&cat, pattern, &err), err);
        }
    }
    pid = fork();
    if (pid == 0) {
        _exit(replace_under_limit(pattern, cat));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2) {
        print_message("the hard limit cannot be lowered here: it is not tried\n");
    } else {
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

/* Left-overs of a crash and indexes that nobody used for months go; those in use stay. */
TEST(old_files_of_the_cache_are_removed) {
    const char *folder = test_folder_new();
    const char *path = test_path(folder, "a.tar"), *cache = test_path(folder, "cache");
    struct timespec month[2], year[2];
    struct amb_catalog_report report;
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;
    time_t now = time(NULL);

    month[0] = month[1] = (struct timespec){now - 30 * 86400, 0};
    year[0] = year[1] = (struct timespec){now - 365 * 86400, 0};
    write_pair(path, "a0", "a1");
    assert_ok(open_with(&cat, &path, 1, cache, &report, &err), err);
    amb_catalog_unref(cat);
    test_write(test_path(folder, "cache/tmp-abcdef"), "x", 1);
    test_write(test_path(folder, "cache/0123.idx"), "x", 1);
    test_write(test_path(folder, "cache/young.idx"), "x", 1);
    test_write(test_path(folder, "cache/somebody's.txt"), "x", 1);
    assert_int_equal(utimensat(AT_FDCWD, test_path(folder, "cache/young.idx"), month, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, test_path(folder, "cache/0123.idx"), year, 0), 0);
    assert_ok(open_with(&cat, &path, 1, cache, &report, &err), err);
    assert_int_equal(report.n_cached, 1);
    amb_catalog_unref(cat);
    assert_int_equal(access(test_path(folder, "cache/tmp-abcdef"), F_OK), -1);
    assert_int_equal(access(test_path(folder, "cache/0123.idx"), F_OK), -1);
    assert_int_equal(access(test_path(folder, "cache/young.idx"), F_OK), 0);
    assert_int_equal(access(test_path(folder, "cache/somebody's.txt"), F_OK), 0);
    test_folder_free(folder);
}

/* A cache folder that cannot be written is no reason not to start. */
TEST(full_cache_costs_only_the_cache) {
    const char *folder = test_folder_new();
    const char *path = test_path(folder, "a.tar");
    struct amb_catalog_report report;
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;

    write_pair(path, "a0", "a1");
    assert_ok(open_with(&cat, &path, 1, "/proc/self", &report, &err), err);
    assert_int_equal(report.n_uncached, 1);
    assert_true(report.uncached_code < 0);
    assert_read(cat, 0, "a0");
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

static void count_progress(void *opaque, size_t n_done, size_t n_shards, uint64_t n_samples) {
    size_t *last = opaque;

    assert_in_range(n_done, *last, n_shards);
    assert_true(n_samples <= 2 * n_done);
    *last = n_done;
}

TEST(progress_ends_at_all_shards) {
    const char *folder = test_folder_new();
    const char *patterns[] = {test_path(folder, "a.tar"), test_path(folder, "b.tar")};
    size_t last = 0;
    struct amb_source_options source = {.name = "main", .patterns = patterns, .n_patterns = 2, .repeat = 1};
    struct amb_catalog_options options = {.progress = count_progress, .opaque = &last};
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;

    write_pair(patterns[0], "a0", "a1");
    write_pair(patterns[1], "b0", "b1");
    assert_ok(amb_catalog_open(&cat, &source, 1, &options, NULL, &err), err);
    assert_int_equal(last, 2);
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

/* Threads that read while one of them truncates: every read ends in the right bytes or in an error. */
struct reader {
    const struct amb_catalog *cat;
    const char *path;
    size_t bytes;
    unsigned n_wrong, n_ok;
};

static void *read_often(void *opaque) {
    struct reader *reader = opaque;
    struct amb_buf buf = AMB_BUF_NULL;
    struct amb_error err;

    for (unsigned i = 0; i < 2000; i++) {
        int r = amb_catalog_read(&buf, reader->cat, i % 2, &err);

        if (r == 0) {
            reader->n_ok++;
            for (size_t k = 0; k < buf.n_bytes; k++) {
                reader->n_wrong += buf.data[k] != 'x';
            }
        } else {
            reader->n_wrong += r != AMB_ERR_CHANGED && r != -EIO;
        }
    }
    amb_buf_deinit(&buf);
    return NULL;
}

static void *cut_once(void *opaque) {
    struct reader *reader = opaque;

    usleep(2000);
    assert_int_equal(truncate(reader->path, 6000), 0);
    return NULL;
}

TEST(truncation_under_readers_gives_errors_not_wrong_bytes) {
    static char big[20001];

    memset(big, 'x', sizeof big - 1);
    for (unsigned round = 0; round < 10; round++) {
        const char *folder = test_folder_new();
        struct reader readers[3] = {{.path = test_path(folder, "a.tar")}};
        struct amb_buf tar = AMB_BUF_NULL;
        struct amb_catalog *cat;
        struct amb_error err = AMB_ERROR_NULL;
        pthread_t threads[3];

        test_tar_file(&tar, "a.png", big);
        test_tar_file(&tar, "b.png", big);
        test_tar_end(&tar);
        test_write_buf(readers[0].path, &tar);
        assert_ok(open_one(&cat, readers[0].path, &err), err);
        readers[1].cat = readers[2].cat = cat;
        pthread_create(&threads[0], NULL, cut_once, &readers[0]);
        pthread_create(&threads[1], NULL, read_often, &readers[1]);
        pthread_create(&threads[2], NULL, read_often, &readers[2]);
        for (size_t i = 0; i < 3; i++) {
            pthread_join(threads[i], NULL);
        }
        assert_int_equal(readers[1].n_wrong + readers[2].n_wrong, 0);
        amb_catalog_unref(cat);
        test_folder_free(folder);
    }
}

/* DESIGN section 4: 16 bytes a sample beyond names; a shard adds its header once. */
TEST(index_costs_16_bytes_a_sample) {
    const char *folder = test_folder_new();
    const char *path = test_path(folder, "a.tar");
    struct amb_catalog_report report;
    struct amb_catalog *cat;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf tar = AMB_BUF_NULL;
    char name[16];

    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "%06u.png", i);
        test_tar_file(&tar, name, "x");
        snprintf(name, sizeof name, "%06u.cls", i);
        test_tar_file(&tar, name, "999");
    }
    test_tar_end(&tar);
    test_write_buf(path, &tar);
    assert_ok(open_with(&cat, &path, 1, NULL, &report, &err), err);
    assert_int_equal(report.n_samples, 5000);
    assert_in_range(report.index_bytes, 16 * 5000, 16 * 5000 + 320);
    assert_in_range(report.names_bytes, 10 * 5000, 12 * 5000 + 8);
    amb_catalog_unref(cat);
    test_folder_free(folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(samples_are_numbered_in_the_order_of_patterns),
    cmocka_unit_test(unchanged_shards_are_shared_with_the_catalog_before),
    cmocka_unit_test(a_shard_of_this_moment_is_not_kept),
    cmocka_unit_test(every_problem_is_told_at_once),
    cmocka_unit_test(every_disagreement_is_told_at_once),
    cmocka_unit_test(indexing_rests_behind_each_shard),
    cmocka_unit_test(indexing_rests_within_a_shard),
    cmocka_unit_test(damaged_cache_is_rebuilt),
    cmocka_unit_test(repeated_key_names_both_places),
    cmocka_unit_test(key_scope_shard_tells_equal_keys_apart),
    cmocka_unit_test(names_are_found_by_the_first_rule_that_matches),
    cmocka_unit_test(truncation_under_the_map_is_caught),
    cmocka_unit_test(replaced_in_place_is_noticed_and_rename_is_not),
    cmocka_unit_test(reads_allocate_nothing_once_warm),
    cmocka_unit_test(bad_shards_are_left_out_only_if_asked),
    cmocka_unit_test(digest_is_of_samples_not_of_places),
    cmocka_unit_test(excluded_samples_leave_no_hole),
    cmocka_unit_test(limit_of_open_files_is_raised_or_named),
    cmocka_unit_test(replaced_shards_leave_files_to_others),
    cmocka_unit_test(old_files_of_the_cache_are_removed),
    cmocka_unit_test(full_cache_costs_only_the_cache),
    cmocka_unit_test(progress_ends_at_all_shards),
    cmocka_unit_test(truncation_under_readers_gives_errors_not_wrong_bytes),
    cmocka_unit_test(index_costs_16_bytes_a_sample),
};

TEST_MAIN(tests)
