#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/annotations.h"
#include "annotate/store-private.h"
#include "base/alloc.h"
#include "base/crc32c.h"
#include "proto/wire.h"

static char dir[64];

static int setup(void **state __attribute__((unused))) {
    strcpy(dir, "/tmp/test-store-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static void remove_files(const char *path) {
    DIR *d = opendir(path);
    struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        unlinkat(dirfd(d), entry->d_name, 0);
    }
    if (d != NULL) {
        closedir(d);
    }
}

static int teardown(void **state __attribute__((unused))) {
    remove_files(dir);
    return rmdir(dir);
}

static struct amb_store *open_store(struct amb_store_report *report) {
    const struct amb_store_options options = {.segment_bytes = 4096};
    struct amb_store *store = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_store_open(&store, dir, &options, report, &err), err);
    return store;
}

static struct amb_hash128 uid_of(uint32_t i) {
    return amb_hash128_encode(&i, sizeof i);
}

static struct amb_store_record record_of(uint32_t i, float sigma_min) {
    return (struct amb_store_record){.uid = uid_of(i),
                                     .origin = AMB_ORIGIN_CLASSIFIER,
                                     .sides = AMB_SIDE_MIN,
                                     .sigma_min = sigma_min,
                                     .lo = sigma_min / 2,
                                     .hi = sigma_min * 2,
                                     .n_evaluations = 100 + i,
                                     .model = 1};
}

static void put(struct amb_store *store, uint32_t i, float sigma_min) {
    struct amb_store_record record = record_of(i, sigma_min);
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_store_put(store, &record, 1, &err), err);
}

static void commit(struct amb_store *store) {
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_store_commit(store, &err), err);
    assert_false(amb_store_is_dirty(store));
}

static void compact(struct amb_store *store, uint64_t now) {
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_store_compact(store, now, &err), err);
}

static void assert_sigma(const struct amb_store *store, uint32_t i, float sigma_min) {
    struct amb_store_record out[AMB_ORIGIN_N];
    struct amb_hash128 uid = uid_of(i);
    size_t n;

    amb_store_get(out, &n, store, &uid, 0);
    assert_int_equal(n, 1);
    assert_true(amb_hash128_equal(&out[0].uid, &uid));
    assert_true(out[0].sigma_min == sigma_min && out[0].lo == sigma_min / 2 && out[0].hi == sigma_min * 2);
    assert_true(out[0].sides == AMB_SIDE_MIN && out[0].origin == AMB_ORIGIN_CLASSIFIER);
    assert_true(out[0].n_evaluations == 100 + i && out[0].model == 1 && out[0].code == 0);
}

/* In the journal, over several segments; in the table; and in both, where the later wins. */
TEST(records_are_there_again_after_opening) {
    struct amb_store_report report;
    struct amb_store *store = open_store(&report);

    assert_int_equal(report.n_records, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        put(store, i, (float)i);
    }
    commit(store);
    store = amb_store_close(store);
    store = open_store(&report);
    assert_int_equal(report.n_replayed, 1000);
    assert_int_equal(report.n_damaged, 0);
    compact(store, 1);
    for (uint32_t i = 0; i < 100; i++) {
        put(store, i, 7);
    }
    commit(store);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 1000; i++) {
            assert_sigma(store, i, i < 100 ? 7 : (float)i);
        }
        if (round == 1) {
            compact(store, 1);
        } else {
            amb_store_close(store);
            store = open_store(&report);
            assert_int_equal(report.n_damaged, 0);
            assert_int_equal(report.torn_bytes, 0);
        }
    }
    assert_int_equal(report.n_replayed, 0);
    assert_int_equal(report.n_records, 1000);
    amb_store_close(store);
}

TEST(origins_stand_side_by_side_by_rising_sequence) {
    struct amb_store *store = open_store(NULL);
    struct amb_store_record out[AMB_ORIGIN_N], records[4];
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_hash128 uid = uid_of(1);
    size_t n;

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 4; i++) {
            records[i] = record_of(1, (float)i);
            records[i].origin = (enum amb_origin)(AMB_ORIGIN_IMPORT - i);
        }
        records[3].sides = 0;
        records[3].code = -ENOENT;
        assert_ok(amb_store_put(store, records, 4, &err), err);
        amb_store_get(out, &n, store, &uid, 0);
        assert_int_equal(n, 4);
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(out[i].origin, AMB_ORIGIN_IMPORT - i);
            assert_int_equal(out[i].sequence, records[i].sequence);
            assert_int_equal(out[i].sequence, (uint64_t)round * 4 + i + 1);
        }
        assert_int_equal(out[3].sides, 0);
        assert_int_equal(out[3].code, -ENOENT);
        amb_store_get(out, &n, store, &uid, 1);
        assert_int_equal(n, 0);
        compact(store, 1);
    }
    amb_store_close(store);
}

static int count_one(void *opaque, const struct amb_store_record *record) {
    *(uint64_t *)opaque += record->n_evaluations;
    return 0;
}

TEST(walk_meets_each_live_record_once) {
    struct amb_store *store = open_store(NULL);
    uint64_t sum = 0, expected = 0;

    for (uint32_t i = 0; i < 300; i++) {
        put(store, i, 1);
        expected += 100 + i;
        if (i == 150 || i == 250) {
            compact(store, 1);
        }
    }
    put(store, 3, 2);
    assert_int_equal(amb_store_walk(store, count_one, &sum), 0);
    assert_int_equal(sum, expected);
    amb_store_close(store);
}

TEST(curves_come_back_from_journal_and_table) {
    struct amb_store *store = open_store(NULL);
    struct amb_error err = AMB_ERROR_NULL;
    float sigmas[300], p[300], *got_sigmas, *got_p;
    struct amb_hash128 uid;
    size_t n;

    for (uint32_t k = 0; k < 40; k++) {
        uid = uid_of(k);
        for (uint32_t i = 0; i < 300; i++) {
            sigmas[i] = (float)i;
            p[i] = (float)(i * k) / 1e5f;
        }
        assert_ok(amb_store_put_curve(store, &uid, 2, sigmas, p, 100 + 5 * k, &err), err);
        if (k == 20) {
            compact(store, 1);
        }
    }
    for (int round = 0; round < 3; round++) {
        for (uint32_t k = 0; k < 40; k++) {
            uid = uid_of(k);
            assert_ok(amb_store_get_curve(&got_sigmas, &got_p, &n, store, &uid, 2, &err), err);
            assert_int_equal(n, 100 + 5 * k);
            for (uint32_t i = 0; i < n; i++) {
                assert_true(got_sigmas[i] == (float)i && got_p[i] == (float)(i * k) / 1e5f);
            }
            amb_free(got_sigmas);
            amb_free(got_p);
        }
        if (round == 0) {
            compact(store, 1);
        } else {
            commit(store);
            amb_store_close(store);
            store = open_store(NULL);
        }
    }
    assert_ok(amb_store_get_curve(&got_sigmas, &got_p, &n, store, &uid, 3, &err), err);
    assert_int_equal(n, 0);
    assert_true(amb_store_has_curve(store, &uid, 2) && !amb_store_has_curve(store, &uid, 3));
    assert_ok(amb_store_put_curve(store, &uid, 2, NULL, NULL, 0, &err), err); /* taken away */
    for (int round = 0; round < 3; round++) {
        assert_false(amb_store_has_curve(store, &uid, 2));
        assert_ok(amb_store_get_curve(&got_sigmas, &got_p, &n, store, &uid, 2, &err), err);
        assert_true(n == 0 && got_sigmas == NULL);
        if (round == 0) {
            compact(store, 1);
        } else {
            amb_store_close(store);
            store = open_store(NULL);
        }
    }
    amb_store_close(store);
}

TEST(texts_and_models_are_kept_by_name) {
    static const char *model_a = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    static const char *model_b = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    struct amb_store *store = open_store(NULL);
    struct amb_error err = AMB_ERROR_NULL;
    uint16_t a, b, again;
    size_t bytes;

    assert_ok(amb_store_put_model(&a, store, model_a, &err), err);
    assert_ok(amb_store_put_text(store, "job-2", "two", 3, &err), err);
    assert_ok(amb_store_put_text(store, "job-1", "one", 3, &err), err);
    assert_ok(amb_store_put_text(store, "job-3", "three", 5, &err), err);
    compact(store, 1);
    assert_ok(amb_store_put_model(&b, store, model_b, &err), err);
    assert_ok(amb_store_put_text(store, "job-1", "uno", 3, &err), err);
    assert_ok(amb_store_put_text(store, "job-3", NULL, 0, &err), err);
    commit(store);
    amb_store_close(store);
    store = open_store(NULL);
    assert_ok(amb_store_put_model(&again, store, model_a, &err), err);
    assert_int_equal(again, a);
    assert_true(a == 1 && b == 2);
    assert_string_equal(amb_store_peek_model(store, b), model_b);
    assert_null(amb_store_peek_model(store, 3));
    assert_string_equal(amb_store_peek_text(&bytes, store, "job-1"), "uno");
    assert_int_equal(bytes, 3);
    assert_null(amb_store_peek_text(&bytes, store, "job-3"));
    assert_string_equal(amb_store_next_text(store, NULL), "job-1");
    assert_string_equal(amb_store_next_text(store, "job-1"), "job-2");
    assert_null(amb_store_next_text(store, "job-2"));
    amb_store_close(store);
}

#define N_SAMPLES 150000u /* two undo records when all of them change */

static void change(struct amb_annotation *values, uint32_t generation) {
    for (uint32_t i = generation % 3; i < N_SAMPLES; i += generation % 3 + 1) {
        values[i].sigma_min = (float)(i % 97 + generation);
        values[i].sigma_max = i % 5 == 0 ? INFINITY : 0.5f;
    }
}

static void mint(struct amb_store *store, struct amb_annotation *values, uint32_t number, uint64_t unix_ns) {
    struct amb_annotation *before = amb_malloc(N_SAMPLES * sizeof *before);
    struct amb_store_generation generation = {.number = number, .unix_ns = unix_ns, .n_samples = N_SAMPLES};
    struct amb_error err = AMB_ERROR_NULL;

    memcpy(before, values, N_SAMPLES * sizeof *before);
    change(values, number);
    generation.dataset = uid_of(77);
    assert_int_equal(amb_annotations_fingerprint(&generation.annotations, values, N_SAMPLES), 0);
    assert_ok(amb_store_put_generation(store, &generation, number == 1 ? NULL : before, values, &err), err);
    amb_free(before);
}

static int rebuild(const struct amb_store *store, const struct amb_annotation *newest, uint32_t number,
                   struct amb_error *err) {
    struct amb_annotation *values = amb_malloc(N_SAMPLES * sizeof *values);
    struct amb_annotation *expected = amb_calloc(N_SAMPLES, sizeof *expected);
    struct amb_hash128 dataset = uid_of(77), wanted;
    int r;

    memcpy(values, newest, N_SAMPLES * sizeof *values);
    for (uint32_t i = 1; i <= number; i++) {
        change(expected, i);
    }
    amb_annotations_fingerprint(&wanted, expected, N_SAMPLES);
    r = amb_store_rebuild(values, N_SAMPLES, store, &dataset, &wanted, err);
    if (r == 0) {
        assert_memory_equal(values, expected, N_SAMPLES * sizeof *values);
    }
    amb_free(values);
    amb_free(expected);
    return r;
}

/* Six generations; every one is rebuilt from the newest, from the journal, from the table, and from both. */
TEST(older_generation_is_rebuilt_exactly) {
    struct amb_annotation *values = amb_calloc(N_SAMPLES, sizeof *values);
    struct amb_store *store = open_store(NULL);
    struct amb_error err = AMB_ERROR_NULL;

    for (uint32_t number = 1; number <= 6; number++) {
        mint(store, values, number, number);
        if (number == 4) {
            compact(store, 5);
        }
    }
    for (int round = 0; round < 2; round++) {
        assert_int_equal(amb_store_count_generations(store), 6);
        assert_int_equal(amb_store_peek_generation(store, 2)->number, 3);
        assert_true(amb_store_peek_generation(store, 5)->n_changed > 0);
        for (uint32_t number = 1; number <= 6; number++) {
            assert_ok(rebuild(store, values, number, &err), err);
        }
        amb_store_close(store);
        store = open_store(NULL);
        compact(store, 6);
    }
    assert_int_equal(rebuild(store, values, 7, &err), AMB_ERR_NOT_FOUND);
    amb_store_close(store);
    amb_free(values);
}

TEST(generation_of_other_samples_or_of_no_dataset_is_not_rebuilt) {
    struct amb_annotation *values = amb_calloc(N_SAMPLES, sizeof *values);
    struct amb_store *store = open_store(NULL);
    struct amb_hash128 dataset = uid_of(77), wanted = uid_of(78);
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(amb_store_last_sequence(store), 0);
    assert_int_equal(amb_store_rebuild(values, N_SAMPLES, store, &dataset, &wanted, &err), AMB_ERR_NOT_FOUND);
    mint(store, values, 1, 1);
    assert_int_equal(amb_store_last_sequence(store), 1);
    assert_int_equal(amb_store_rebuild(values, N_SAMPLES - 1, store, &dataset, &wanted, &err), AMB_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "samples, given are"));
    assert_int_equal(amb_store_rebuild(values, N_SAMPLES, store, &wanted, &wanted, &err), AMB_ERR_NOT_FOUND);
    change(values, 9); /* not what was minted */
    wanted = amb_store_peek_generation(store, 0)->annotations;
    assert_int_equal(amb_store_rebuild(values, N_SAMPLES, store, &dataset, &wanted, &err), AMB_ERR_CHECKSUM);
    amb_store_close(store);
    amb_free(values);
}

TEST(paths_too_long_are_refused) {
    const struct amb_store_options reader = {.read_only = true};
    struct amb_store *store = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    char path[4096];

    for (size_t n = 4091; n < 4096; n++) {
        memset(path, '/', n);
        path[n] = '\0';
        memcpy(path, dir, strlen(dir));
        assert_int_equal(amb_store_open(&store, path, NULL, NULL, &err), -ENAMETOOLONG);
        assert_int_equal(amb_store_open(&store, path, &reader, NULL, &err), -ENAMETOOLONG);
    }
}

/* The last number there is was given out: by hand, because 65,535 models are looked for one by one. */
TEST(models_are_counted_to_the_limit) {
    struct amb_store *store = open_store(NULL);
    struct amb_error err = AMB_ERROR_NULL;
    char sha256[65];
    uint16_t number = 0;

    snprintf(sha256, sizeof sha256, "%064x", 1);
    assert_int_equal(amb_models_reserve(&store->models, UINT16_MAX - 1), 0);
    amb_models_put(&store->models, UINT16_MAX - 1, sha256);
    snprintf(sha256, sizeof sha256, "%064x", 2);
    assert_ok(amb_store_put_model(&number, store, sha256, &err), err);
    assert_int_equal(number, UINT16_MAX);
    snprintf(sha256, sizeof sha256, "%064x", 3);
    assert_int_equal(amb_store_put_model(&number, store, sha256, &err), AMB_ERR_LIMIT);
    snprintf(sha256, sizeof sha256, "%064x", 1);
    assert_ok(amb_store_put_model(&number, store, sha256, &err), err);
    assert_int_equal(number, UINT16_MAX - 1);
    amb_store_close(store);
    store = open_store(NULL); /* what was written is found again */
    assert_string_equal(amb_store_peek_model(store, UINT16_MAX), "0000000000000000000000000000000000000000000000000000000000000002");
    amb_store_close(store);
}

/* A generation goes once the one after it is older than keep_ns; the newest stays. */
TEST(old_generations_go_at_compaction) {
    const struct amb_store_options options = {.keep_ns = 100};
    struct amb_annotation *values = amb_calloc(N_SAMPLES, sizeof *values);
    struct amb_store *store = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_store_open(&store, dir, &options, NULL, &err), err);
    for (uint32_t number = 1; number <= 4; number++) {
        mint(store, values, number, 100 * number);
    }
    compact(store, 350);
    assert_int_equal(amb_store_count_generations(store), 3); /* 1 was replaced at 200 */
    assert_ok(rebuild(store, values, 2, &err), err);
    assert_int_equal(rebuild(store, values, 1, &err), AMB_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "before generation 2"));
    compact(store, 10000);
    assert_int_equal(amb_store_count_generations(store), 1);
    assert_ok(rebuild(store, values, 4, &err), err);
    amb_store_close(store);
    amb_free(values);
}

/* The clock of the second and third was years behind, that of the fifth ahead: none was replaced long ago. */
TEST(clocks_that_jump_cost_no_generation) {
    static const uint64_t unix_ns[] = {1000, 10, 20, 1001, 99999, 1002};
    const struct amb_store_options options = {.keep_ns = 100};
    struct amb_annotation *values = amb_calloc(N_SAMPLES, sizeof *values);
    struct amb_store *store = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_store_open(&store, dir, &options, NULL, &err), err);
    for (uint32_t i = 0; i < 6; i++) {
        mint(store, values, i + 1, unix_ns[i]);
    }
    compact(store, 1003);
    assert_int_equal(amb_store_count_generations(store), 6);
    assert_ok(rebuild(store, values, 1, &err), err);
    compact(store, 1102); /* the third was replaced at 1001; when the fourth was, nobody knows */
    assert_int_equal(amb_store_count_generations(store), 3);
    amb_store_close(store);
    amb_free(values);
}

TEST(second_owner_is_refused_and_a_reader_is_not) {
    const struct amb_store_options reader = {.read_only = true};
    struct amb_store *store = open_store(NULL), *other = NULL;
    struct amb_store_report report;
    struct amb_error err = AMB_ERROR_NULL;

    put(store, 1, 1);
    assert_int_equal(amb_store_open(&other, dir, NULL, NULL, &err), AMB_ERR_BUSY);
    assert_ok(amb_store_open(&other, dir, &reader, &report, &err), err);
    assert_sigma(other, 1, 1);
    put(store, 2, 2);
    compact(store, 1); /* the reader keeps what it has open */
    assert_sigma(other, 1, 1);
    amb_store_close(other);
    assert_ok(amb_store_verify(&report, dir, NULL, &err), err);
    assert_int_equal(report.n_records, 2);
    amb_store_close(store);
    assert_null(amb_store_close(NULL));
}

static void overwrite(const char *name, off_t offset, const void *bytes, size_t n) {
    char path[4096];
    int fd;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, offset), n);
    close(fd);
}

TEST(unknown_version_and_foreign_files_are_refused) {
    struct amb_store *store = open_store(NULL);
    struct amb_store_report report;
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t part[128];
    char path[4096];
    int fd;

    amb_store_close(store);
    snprintf(path, sizeof path, "%s/MANIFEST", dir);
    fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, part, sizeof part, 0), sizeof part);
    close(fd);
    part[8] = 9;
    ambp_store_u32le(part + 124, amb_crc32c(0, part, 124));
    overwrite("MANIFEST", 0, part, sizeof part);
    assert_int_equal(amb_store_open(&store, dir, NULL, NULL, &err), AMB_ERR_VERSION);
    assert_non_null(strstr(err.message, "version 9"));
    overwrite("MANIFEST", 0, "rubbish", 7);
    assert_ok(amb_store_verify(&report, dir, NULL, &err), err); /* the other copy serves */
    assert_int_equal(report.n_damaged, 1);
    overwrite("MANIFEST", 4096, "rubbish", 7);
    assert_int_equal(amb_store_open(&store, dir, NULL, NULL, &err), AMB_ERR_FORMAT);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/journal-0000000001", dir);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    assert_int_equal(amb_store_open(&store, dir, NULL, NULL, &err), AMB_ERR_FORMAT);
    assert_int_equal(amb_store_verify(&report, dir, NULL, &err), -ENOENT);
}

/* Three committed records; a byte of the second goes bad. */
TEST(damage_in_the_middle_is_reported_and_passed_over) {
    struct amb_store_report report;
    struct amb_store *store = open_store(NULL);
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_store_record out[AMB_ORIGIN_N];
    struct amb_hash128 uid = uid_of(2);
    size_t n;

    put(store, 1, 1);
    put(store, 2, 2);
    put(store, 3, 3);
    commit(store);
    amb_store_close(store);
    overwrite("journal-0000000001", 64 + 79 + 50, "x", 1);
    assert_ok(amb_store_verify(&report, dir, NULL, &err), err);
    assert_int_equal(report.n_damaged, 1);
    assert_string_equal(report.first_damage,
                        "journal-0000000001 offset 143: 79 bytes are damaged, records 2 to 2 are lost");
    store = open_store(&report);
    assert_int_equal(report.n_damaged, 1);
    assert_sigma(store, 1, 1);
    assert_sigma(store, 3, 3);
    amb_store_get(out, &n, store, &uid, 0);
    assert_int_equal(n, 0);
    put(store, 2, 5);
    commit(store);
    amb_store_close(store);
    store = open_store(&report);
    assert_int_equal(report.n_damaged, 1);
    assert_sigma(store, 2, 5);
    compact(store, 1);
    amb_store_close(store);
    store = open_store(&report);
    assert_int_equal(report.n_damaged, 0);
    assert_sigma(store, 3, 3);
    assert_int_equal(access(strcat(strcpy((char[4096]){0}, dir), "/journal-0000000001.damaged"), F_OK), 0);
    amb_store_close(store);
}

static uint16_t put_model(struct amb_store *store, char digit) {
    struct amb_error err = AMB_ERROR_NULL;
    char sha256[65] = {0};
    uint16_t number = 0;

    memset(sha256, digit, 64);
    assert_ok(amb_store_put_model(&number, store, sha256, &err), err);
    return number;
}

/* Offset of the last run of eight such bytes. */
static off_t find_digits(const char *name, char digit) {
    static char data[65536];
    char path[4096], run[8];
    off_t found = -1;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    fd = open(path, O_RDONLY);
    n = read(fd, data, sizeof data);
    close(fd);
    memset(run, digit, sizeof run);
    for (ssize_t i = 0; i + 8 <= n; i++) {
        found = memcmp(data + i, run, sizeof run) == 0 ? i : found;
    }
    assert_true(found > 0);
    return found;
}

/* Rows say which model found them by a number. Its record goes bad, in the journal or in the table: what rows say must
 * not come to mean the model that is met next, neither at once nor behind a compaction. */
TEST(number_of_a_lost_model_is_not_given_to_another) {
    for (int i = 0; i < 4; i++) {
        const bool in_table = i % 2 != 0, is_compacted = i / 2 != 0;
        const char *name = in_table ? "table-0000000001" : "journal-0000000001";
        struct amb_store_record record = record_of(1, 1);
        struct amb_store *store = open_store(NULL);
        struct amb_error err = AMB_ERROR_NULL;

        assert_int_equal(put_model(store, 'a'), 1);
        record.model = put_model(store, 'b');
        assert_int_equal(record.model, 2);
        assert_ok(amb_store_put(store, &record, 1, &err), err);
        commit(store);
        if (in_table) {
            compact(store, 1);
        }
        amb_store_close(store);
        overwrite(name, find_digits(name, 'b'), "x", 1);
        store = open_store(NULL);
        assert_null(amb_store_peek_model(store, 2));
        if (is_compacted) {
            compact(store, 2);
            amb_store_close(store);
            store = open_store(NULL);
        }
        assert_null(amb_store_peek_model(store, 2));
        assert_int_equal(put_model(store, 'c'), 3);
        assert_int_equal(put_model(store, 'a'), 1);
        amb_store_close(store);
        remove_files(dir);
    }
}

/* The reader keeps its map; what is behind the new end counts as damaged, and nobody dies of SIGBUS. */
TEST(table_cut_under_a_reader_costs_only_what_was_cut) {
    struct amb_store *store = open_store(NULL);
    struct amb_store_report report;
    struct amb_store_record out[AMB_ORIGIN_N];
    struct amb_error err = AMB_ERROR_NULL;
    uint32_t n_found = 0;
    char path[4096];

    for (uint32_t i = 0; i < 2000; i++) {
        put(store, i, 1);
    }
    compact(store, 1);
    snprintf(path, sizeof path, "%s/table-0000000001", dir);
    assert_int_equal(truncate(path, 12 * 4096), 0);
    for (uint32_t i = 0; i < 2000; i++) {
        struct amb_hash128 uid = uid_of(i);
        size_t n;

        amb_store_get(out, &n, store, &uid, 0);
        n_found += (uint32_t)n;
    }
    assert_int_equal(n_found, 11 * 87);
    amb_store_get_report(&report, store);
    assert_true(report.n_damaged > 0);
    amb_store_close(store);
    assert_ok(amb_store_verify(&report, dir, NULL, &err), err);
    assert_int_equal(report.n_damaged, 1 + 12); /* the size, and blocks: 23 were there */
    assert_int_equal(report.n_records, 11 * 87);
}

/* What cannot be read any more is carried on as zeros, never as what happened to be read before it. */
TEST(a_curve_that_is_cut_stays_damaged_in_the_next_table) {
    static const float numbers[121]; /* records of 1,024 bytes: four of them end with a page */
    struct amb_store *store = open_store(NULL);
    struct amb_store_report report;
    struct amb_error err = AMB_ERROR_NULL;
    float *sigmas, *p;
    char path[4096];
    unsigned n_lost = 0;
    size_t n;

    for (uint32_t i = 1; i <= 5; i++) {
        struct amb_hash128 uid = uid_of(i);

        put(store, i, 1);
        assert_ok(amb_store_put_curve(store, &uid, 0, numbers, numbers, 121, &err), err);
    }
    compact(store, 1);
    snprintf(path, sizeof path, "%s/table-0000000001", dir);
    assert_int_equal(truncate(path, 4 * 4096), 0); /* head, rows, curves, and a page of records */
    compact(store, 2);
    for (uint32_t i = 1; i <= 5; i++) {
        struct amb_hash128 uid = uid_of(i);
        int r = amb_store_get_curve(&sigmas, &p, &n, store, &uid, 0, &err);

        if (r == 0) {
            assert_int_equal(n, 121);
            amb_free(sigmas);
            amb_free(p);
        }
        n_lost += r == AMB_ERR_CHECKSUM;
    }
    assert_int_equal(n_lost, 1);
    amb_store_close(store);
    assert_ok(amb_store_verify(&report, dir, NULL, &err), err);
    assert_int_equal(report.n_damaged, 1);
    assert_int_equal(report.n_records, 5);
}

TEST(limits_hold_on_both_sides) {
    static char text[65537], name[66];
    static float numbers[65536];
    struct amb_store *store = open_store(NULL);
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_hash128 uid = uid_of(1);
    float *sigmas, *p;
    size_t n;

    memset(text, 't', sizeof text);
    memset(name, 'n', 64);
    assert_ok(amb_store_put_text(store, name, text, 65535, &err), err);
    assert_ok(amb_store_put_text(store, name, text, 65536, &err), err);
    assert_int_equal(amb_store_put_text(store, name, text, 65537, &err), AMB_ERR_LIMIT);
    name[64] = 'n';
    assert_int_equal(amb_store_put_text(store, name, text, 1, &err), AMB_ERR_LIMIT);
    assert_int_equal(amb_store_put_text(store, "", text, 1, &err), AMB_ERR_LIMIT);
    assert_ok(amb_store_put_curve(store, &uid, 0, numbers, numbers, 65536, &err), err);
    assert_ok(amb_store_get_curve(&sigmas, &p, &n, store, &uid, 0, &err), err);
    assert_int_equal(n, 65536);
    amb_free(sigmas);
    amb_free(p);
    amb_store_close(store);
}

#define ROWS_A_RECORD 22309u /* (1 MiB - 32) / 47 */

TEST(put_of_many_records_is_one_put) {
    const uint32_t n = 3 * ROWS_A_RECORD + 7;
    struct amb_store_record *records = amb_calloc(n, sizeof *records);
    struct amb_store_report report;
    struct amb_store *store = open_store(NULL);
    struct amb_error err = AMB_ERROR_NULL;

    for (uint32_t i = 0; i < n; i++) {
        records[i] = record_of(i, 1);
    }
    assert_ok(amb_store_put(store, records, n, &err), err);
    assert_int_equal(records[n - 1].sequence, n);
    commit(store);
    amb_store_close(store);
    store = open_store(&report);
    assert_int_equal(report.n_replayed, n);
    for (uint32_t i = 0; i < n; i += 1000) {
        assert_sigma(store, i, 1);
    }
    amb_store_close(store);
    amb_free(records);
}

/* A record of the same segment and a lower sequence, whole, behind the last one. */
TEST(record_whose_sequence_does_not_follow_is_no_record) {
    struct amb_store_report report;
    struct amb_store *store = open_store(NULL);
    uint8_t record[79];
    char path[4096];
    struct stat st;
    int fd;

    put(store, 1, 1);
    put(store, 2, 2);
    commit(store);
    amb_store_close(store);
    snprintf(path, sizeof path, "%s/journal-0000000001", dir);
    fd = open(path, O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 64 + 79 + 79 + 32);
    assert_int_equal(pread(fd, record, 79, 64), 79);
    assert_int_equal(pwrite(fd, record, 79, st.st_size), 79);
    close(fd);
    store = open_store(&report);
    assert_int_equal(report.torn_bytes, 79);
    assert_int_equal(report.n_replayed, 2);
    amb_store_close(store);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 64 + 79 + 79 + 32);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(records_are_there_again_after_opening, setup, teardown),
    cmocka_unit_test_setup_teardown(origins_stand_side_by_side_by_rising_sequence, setup, teardown),
    cmocka_unit_test_setup_teardown(walk_meets_each_live_record_once, setup, teardown),
    cmocka_unit_test_setup_teardown(curves_come_back_from_journal_and_table, setup, teardown),
    cmocka_unit_test_setup_teardown(texts_and_models_are_kept_by_name, setup, teardown),
    cmocka_unit_test_setup_teardown(older_generation_is_rebuilt_exactly, setup, teardown),
    cmocka_unit_test_setup_teardown(old_generations_go_at_compaction, setup, teardown),
    cmocka_unit_test_setup_teardown(clocks_that_jump_cost_no_generation, setup, teardown),
    cmocka_unit_test_setup_teardown(second_owner_is_refused_and_a_reader_is_not, setup, teardown),
    cmocka_unit_test_setup_teardown(unknown_version_and_foreign_files_are_refused, setup, teardown),
    cmocka_unit_test_setup_teardown(damage_in_the_middle_is_reported_and_passed_over, setup, teardown),
    cmocka_unit_test_setup_teardown(number_of_a_lost_model_is_not_given_to_another, setup, teardown),
    cmocka_unit_test_setup_teardown(table_cut_under_a_reader_costs_only_what_was_cut, setup, teardown),
    cmocka_unit_test_setup_teardown(generation_of_other_samples_or_of_no_dataset_is_not_rebuilt, setup, teardown),
    cmocka_unit_test_setup_teardown(paths_too_long_are_refused, setup, teardown),
    cmocka_unit_test_setup_teardown(models_are_counted_to_the_limit, setup, teardown),
    cmocka_unit_test_setup_teardown(a_curve_that_is_cut_stays_damaged_in_the_next_table, setup, teardown),
    cmocka_unit_test_setup_teardown(limits_hold_on_both_sides, setup, teardown),
    cmocka_unit_test_setup_teardown(put_of_many_records_is_one_put, setup, teardown),
    cmocka_unit_test_setup_teardown(record_whose_sequence_does_not_follow_is_no_record, setup, teardown),
};

TEST_MAIN(tests)
