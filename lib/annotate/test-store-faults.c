#include "base/test.h"

#include <errno.h>

#include "annotate/store-manifest.h"
#include "annotate/store.h"
#include "base/alloc.h"
#include "base/test-disk.h"

#define ROWS_A_RECORD 22309u /* (1 MiB - 32) / 47 */

static struct amb_store *open_disk(struct test_disk *disk, struct amb_store_report *report) {
    const struct amb_store_options options = {.io = &disk->io};
    struct amb_store *store = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_store_open(&store, TEST_DISK_DIR, &options, report, &err), err);
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

static struct amb_store_record *many_records(uint32_t n) {
    struct amb_store_record *records = amb_calloc(n, sizeof *records);

    for (uint32_t i = 0; i < n; i++) {
        records[i] = record_of(i, 1);
    }
    return records;
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

/*
 * Five full records, of which a full disk takes two and a half; then one of the size of the first. The second lies
 * right behind it, whole, of the sequence that would follow: it must not come back, whatever power loss does.
 */
TEST(nothing_of_a_failed_put_comes_back) {
    static struct test_disk disk, base, image;
    struct amb_store_record *records = many_records(5 * ROWS_A_RECORD);
    struct amb_store_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_store *store;
    uint64_t random = 99;

    test_disk_init(&disk);
    test_disk_init(&base);
    disk.has_dir = base.has_dir = disk.is_logged = true;
    store = open_disk(&disk, NULL);
    assert_ok(amb_store_put(store, records, 1, &err), err);
    assert_ok(amb_store_commit(store, &err), err);
    disk.fault = (struct test_fault){.at = disk.n_calls + 2, .kind = TEST_FAULT_TORN, .code = -ENOSPC};
    assert_int_equal(amb_store_put(store, records, 5 * ROWS_A_RECORD, &err), -ENOSPC);
    assert_int_equal(disk.n_faults, 1);
    assert_ok(amb_store_put(store, records, ROWS_A_RECORD, &err), err);
    amb_store_close(store);
    test_disk_copy(&image, &disk);
    store = open_disk(&image, &report);
    assert_int_equal(report.n_replayed, 1 + ROWS_A_RECORD);
    assert_int_equal(report.torn_bytes, 0);
    amb_store_close(store);
    test_disk_deinit(&image);
    for (int i = 0; i < 60; i++) {
        test_disk_crash(&image, &base, disk.ops, disk.n_ops, &random);
        store = open_disk(&image, &report);
        assert_true(report.n_replayed == 1 || report.n_replayed == 1 + ROWS_A_RECORD);
        amb_store_close(store);
        test_disk_deinit(&image);
    }
    test_disk_deinit(&disk);
    amb_free(records);
}

static void assert_poisoned(struct amb_store *store, int code) {
    struct amb_store_record record = record_of(9, 9);
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(amb_store_put(store, &record, 1, &err), code);
    assert_non_null(strstr(err.message, "open it again"));
    assert_int_equal(amb_store_commit(store, &err), code);
    assert_int_equal(amb_store_compact(store, 1, &err), code);
    assert_int_equal(amb_store_put_text(store, "a", "b", 1, &err), code);
    assert_false(amb_store_wants_compaction(store));
    assert_sigma(store, 1, 1); /* and reading goes on */
}

TEST(failed_write_or_sync_ends_writing_until_opened_again) {
    static struct test_disk disk;

    for (uint64_t k = 0; k < 2; k++) {
        struct amb_store_record record = record_of(1, 1);
        struct amb_error err = AMB_ERROR_NULL;
        struct amb_store *store;

        test_disk_init(&disk);
        disk.has_dir = true;
        store = open_disk(&disk, NULL);
        assert_ok(amb_store_put(store, &record, 1, &err), err);
        assert_ok(amb_store_commit(store, &err), err);
        record = record_of(2, 2);
        disk.fault = (struct test_fault){.at = disk.n_calls + 1 + k, .code = -EIO};
        assert_int_equal(amb_store_put(store, &record, 1, &err), k == 0 ? -EIO : 0); /* no room is asked for: it is there */
        assert_int_equal(amb_store_commit(store, &err), -EIO);
        assert_int_equal(disk.n_faults, 1);
        assert_poisoned(store, -EIO);
        amb_store_close(store);
        store = open_disk(&disk, NULL);
        assert_ok(amb_store_put(store, &record, 1, &err), err);
        assert_ok(amb_store_commit(store, &err), err);
        assert_sigma(store, 2, 2);
        amb_store_close(store);
        test_disk_deinit(&disk);
    }
}

/* Two numbers are left: what needs more is refused and leaves no trace, in memory or on disk; then every write is. */
TEST(sequences_end_with_an_error) {
    static struct test_disk disk;
    const struct amb_manifest manifest = {.store_id = {1}, .first_segment = 1, .next_sequence = AMB_STORE_SEQUENCE_END - 2};
    struct amb_store_record records[3] = {record_of(1, 1), record_of(2, 2), record_of(3, 3)};
    struct amb_hash128 uid = uid_of(1);
    const float number = 1;
    struct amb_store_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_store *store;
    bool is_moved;

    test_disk_init(&disk);
    disk.has_dir = true;
    assert_ok(amb_manifest_store(&is_moved, &manifest, &disk.io, TEST_DISK_DIR, &err), err);
    store = open_disk(&disk, NULL);
    assert_int_equal(amb_store_put(store, records, 3, &err), AMB_ERR_LIMIT);
    assert_false(amb_store_is_dirty(store));
    assert_ok(amb_store_put(store, records, 2, &err), err);
    assert_true(records[1].sequence == AMB_STORE_SEQUENCE_MAX);
    assert_int_equal(amb_store_put(store, records, 1, &err), AMB_ERR_LIMIT);
    assert_int_equal(amb_store_put_curve(store, &uid, 0, &number, &number, 1, &err), AMB_ERR_LIMIT);
    assert_int_equal(amb_store_put_text(store, "a", "b", 1, &err), AMB_ERR_LIMIT);
    assert_ok(amb_store_commit(store, &err), err);
    for (int i = 0; i < 2; i++) {
        amb_store_close(store);
        store = open_disk(&disk, &report);
        assert_int_equal(report.n_damaged + report.torn_bytes, 0);
        assert_sigma(store, 2, 2);
        assert_true(amb_store_last_sequence(store) == AMB_STORE_SEQUENCE_MAX);
        assert_int_equal(amb_store_put(store, records, 1, &err), AMB_ERR_LIMIT);
        assert_ok(amb_store_compact(store, 1, &err), err);
    }
    amb_store_close(store);
    test_disk_deinit(&disk);
}

static void put_segments(struct amb_store *store, uint32_t n) {
    for (uint32_t i = 0; i < n * 4096 / 79 + 2; i++) {
        struct amb_store_record record = record_of(i, 1);
        struct amb_error err = AMB_ERROR_NULL;

        assert_ok(amb_store_put(store, &record, 1, &err), err);
    }
}

/* A table finds no room. It is not tried again before the journal has grown by a segment; then there is room. */
TEST(failed_compaction_is_not_tried_again_at_once) {
    static struct test_disk disk;
    const struct amb_store_options options = {.io = &disk.io, .segment_bytes = 4096};
    struct amb_store *store = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    test_disk_init(&disk);
    assert_ok(amb_store_open(&store, TEST_DISK_DIR, &options, NULL, &err), err);
    put_segments(store, 1);
    assert_true(amb_store_wants_compaction(store));
    assert_ok(amb_store_commit(store, &err), err);
    disk.fault = (struct test_fault){.at = disk.n_calls + 5, .code = -ENOSPC, .is_forever = true};
    assert_int_equal(amb_store_compact(store, 1, &err), -ENOSPC);
    disk.fault = (struct test_fault){0};
    assert_false(amb_store_wants_compaction(store));
    put_segments(store, 1);
    assert_true(amb_store_wants_compaction(store));
    assert_ok(amb_store_compact(store, 1, &err), err);
    assert_false(amb_store_wants_compaction(store));
    put_segments(store, 1);
    assert_true(amb_store_wants_compaction(store));
    assert_sigma(store, 1, 1);
    amb_store_close(store);
    test_disk_deinit(&disk);
}

static struct test_disk named;
static unsigned n_parents;

static int count_parents(void *opaque, const char *path, int flags, unsigned mode) {
    n_parents += strlen(path) > 3 && strcmp(path + strlen(path) - 3, "/..") == 0;
    return named.io.open(opaque, path, flags, mode);
}

/* Killed between mkdir and the sync of the folder above: the next start finds it made, and does not know that. Once a
 * manifest is there it is known. */
TEST(name_of_the_folder_is_on_disk_before_a_store_is_in_it) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_io io;

    for (int made = 0; made < 2; made++) {
        test_disk_init(&named);
        named.has_dir = made != 0;
        io = named.io;
        io.open = count_parents;
        n_parents = 0;
        for (int i = 0; i < 2; i++) {
            const struct amb_store_options options = {.io = &io};
            struct amb_store *store = NULL;

            assert_ok(amb_store_open(&store, TEST_DISK_DIR, &options, NULL, &err), err);
            amb_store_close(store);
        }
        assert_int_equal(n_parents, 1);
        test_disk_deinit(&named);
    }
}

TEST(reader_changes_nothing) {
    static struct test_disk disk;
    const struct amb_store_options reader = {.io = &disk.io, .read_only = true};
    struct amb_store_record record = record_of(1, 1);
    struct amb_store_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_store *store = NULL;

    test_disk_init(&disk);
    assert_int_equal(amb_store_open(&store, TEST_DISK_DIR, &reader, NULL, &err), -ENOENT);
    store = open_disk(&disk, NULL);
    assert_ok(amb_store_put(store, &record, 1, &err), err);
    amb_store_close(store); /* a tail that nothing proves */
    disk.is_logged = true;
    assert_ok(amb_store_open(&store, TEST_DISK_DIR, &reader, &report, &err), err);
    assert_sigma(store, 1, 1);
    amb_store_close(store);
    assert_ok(amb_store_verify(&report, TEST_DISK_DIR, &disk.io, &err), err);
    assert_int_equal(report.n_records, 1);
    assert_int_equal(disk.n_ops, 0);
    test_disk_deinit(&disk);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(nothing_of_a_failed_put_comes_back),
    cmocka_unit_test(failed_write_or_sync_ends_writing_until_opened_again),
    cmocka_unit_test(sequences_end_with_an_error),
    cmocka_unit_test(failed_compaction_is_not_tried_again_at_once),
    cmocka_unit_test(name_of_the_folder_is_on_disk_before_a_store_is_in_it),
    cmocka_unit_test(reader_changes_nothing),
};

TEST_MAIN(tests)
