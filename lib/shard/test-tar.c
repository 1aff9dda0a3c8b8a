#include "test-archive.h"

#include "shard/shard.h"

static const struct amb_shard_options plain = {.format = AMB_SHARD_AUTO};

/* Write what was built, open it, forget the bytes. */
static int open_tar(struct amb_shard *shard, struct amb_buf *tar, struct amb_error *err) {
    const char *folder = test_folder_new();
    const char *path = test_path(folder, "t.tar");
    int r;

    test_write_buf(path, tar);
    r = amb_shard_init(shard, path, &plain, err);
    unlink(path); /* the inode lives on below the map */
    rmdir(folder);
    return r;
}

static void assert_picture(const struct amb_shard *shard, uint32_t i, const char *path, const char *text) {
    struct amb_buf buf = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    size_t bytes;
    const char *name = amb_shard_picture(shard, i, &bytes);

    assert_int_equal(bytes, strlen(path));
    assert_memory_equal(name, path, bytes);
    assert_ok(amb_shard_read(&buf, shard, i, &err), err);
    assert_int_equal(buf.n_bytes, strlen(text));
    assert_memory_equal(buf.data, text, buf.n_bytes);
    amb_buf_deinit(&buf);
}

static void assert_member(const struct amb_shard *shard, uint32_t i, const char *ext, const char *text) {
    struct amb_buf buf = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    int r = amb_shard_read_member(&buf, shard, i, ext, &err);

    if (text == NULL) {
        assert_int_equal(r, AMB_CATALOG_E_MISSING);
    } else {
        assert_ok(r, err);
        assert_int_equal(buf.n_bytes, strlen(text));
        assert_memory_equal(buf.data, text, buf.n_bytes);
    }
    amb_buf_deinit(&buf);
}

/* The archive that `build` makes is refused with this code, and the message has this word. */
static void assert_refused(struct amb_buf *tar, int code, const char *word) {
    struct amb_shard shard = AMB_SHARD_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    int r = open_tar(&shard, tar, &err);

    if (r != code || strstr(err.message, word) == NULL) {
        fail_msg("%d: %s; wanted %d: %s", r, err.message, code, word);
    }
    amb_shard_deinit(&shard);
}

static void pax(struct amb_buf *tar, char type, const char *records) {
    test_tar_typed(tar, "pax", type, records, strlen(records));
}

TEST(runs_of_equal_key_are_samples) {
    struct amb_buf tar = AMB_BUF_NULL;
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;
    char list[64];

    test_tar_file(&tar, "a.txt", "caption");
    test_tar_file(&tar, "a.jpg", "A");
    test_tar_file(&tar, "README", "belongs to nobody, breaks no run");
    test_tar_file(&tar, "a.cls", "16777214");
    test_tar_file(&tar, "lonely.txt", "no picture");
    test_tar_file(&tar, "b.mask.png", "mask");
    test_tar_file(&tar, "b.PNG", "B");
    test_tar_file(&tar, "b.t5.npy", "embedding");
    test_tar_file(&tar, "c.npy", "C");
    test_tar_file(&tar, "a.png", "again, but not the same run");
    test_tar_end(&tar);
    assert_ok(open_tar(&shard, &tar, &err), err);
    assert_int_equal(shard.index.n_samples, 4);
    assert_int_equal(shard.index.n_without_image, 1);
    assert_string_equal(shard.index.first_without_image, "lonely");
    assert_picture(&shard, 0, "a.jpg", "A");
    assert_picture(&shard, 1, "b.PNG", "B");
    assert_picture(&shard, 2, "c.npy", "C");
    assert_picture(&shard, 3, "a.png", "again, but not the same run");
    assert_int_equal(amb_index_label(&shard.index, 0), 16777214);
    assert_int_equal(amb_index_label(&shard.index, 1), AMB_LABEL_NONE);
    assert_member(&shard, 0, "txt", "caption");
    assert_member(&shard, 0, "TXT", "caption");
    assert_member(&shard, 0, "jpg", "A");
    assert_member(&shard, 1, "t5.npy", "embedding");
    assert_member(&shard, 1, "cls", NULL);
    assert_member(&shard, 3, "txt", NULL);
    assert_int_equal(amb_shard_list_members(list, sizeof list, &shard, 1, &err), 0);
    assert_string_equal(list, "mask.png,PNG,t5.npy");
    assert_int_equal(amb_shard_list_members(list, 9, &shard, 0, &err), 0);
    assert_string_equal(list, "txt,jpg");
    amb_shard_deinit(&shard);
}

TEST(long_names_and_sizes_are_those_of_the_extension_headers) {
    struct amb_buf tar = AMB_BUF_NULL;
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;
    char name[301], record[400];

    memset(name, 'n', 296);
    strcpy(name + 296, ".png");
    test_tar_typed(&tar, "././@LongLink", 'L', name, strlen(name) + 1);
    test_tar_file(&tar, "cut.png", "gnu");
    name[0] = 'm';
    snprintf(record, sizeof record, "%zu path=%s\n", strlen(name) + 10, name);
    pax(&tar, 'x', record);
    test_tar_file(&tar, "cut.png", "pax");
    pax(&tar, 'g', "20 comment=for all.\n");
    /* PAX size against the header's: 700 bytes, where the header says 0 */
    pax(&tar, 'x', "12 size=700\n");
    test_tar_header(&tar, "big.png", "00000000000", '0');
    {
        char big[701];

        memset(big, 'b', 700);
        big[700] = '\0';
        test_tar_data(&tar, big, 700);
        test_tar_header(&tar, "base256.png", "\x80\0\0\0\0\0\0\0\0\0\0\x05", '0');
        test_tar_data(&tar, "fiver", 5);
        test_tar_typed(&tar, "K", 'K', "a long link target", 19);
        test_tar_file(&tar, "last.png", "last");
        test_tar_end(&tar);
        assert_ok(open_tar(&shard, &tar, &err), err);
        assert_int_equal(shard.index.n_samples, 5);
        assert_picture(&shard, 1, name, "pax");
        name[0] = 'n';
        assert_picture(&shard, 0, name, "gnu");
        assert_picture(&shard, 2, "big.png", big);
    }
    assert_picture(&shard, 3, "base256.png", "fiver");
    assert_picture(&shard, 4, "last.png", "last");
    amb_shard_deinit(&shard);
}

TEST(other_types_are_passed_over) {
    struct amb_buf tar = AMB_BUF_NULL;
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t *h;

    test_tar_header(&tar, "dir.png/", "00000000000", '5');
    test_tar_header(&tar, "link.png", "00000001000", '2'); /* its size means nothing */
    test_tar_header(&tar, "old/", "00000000000", '\0');
    test_tar_typed(&tar, "volume.png", 'V', "data of an unknown type", 23);
    pax(&tar, 'x', "22 GNU.sparse.major=1\n");
    test_tar_file(&tar, "sparse.png", "not the bytes of the file");
    test_tar_typed(&tar, "contiguous.png", '7', "seven", 5);
    test_tar_typed(&tar, "v7.png", '\0', "old", 3);
    h = tar.data + tar.n_bytes - 1024;
    memset(h + 257, 0, 8); /* no magic at all; the sum is mended */
    {
        unsigned sum = 8 * ' ';

        for (size_t i = 0; i < 512; i++) {
            sum += i - 148 < 8 ? 0 : h[i];
        }
        snprintf((char *)h + 148, 8, "%06o", sum);
    }
    test_tar_end(&tar);
    assert_ok(open_tar(&shard, &tar, &err), err);
    assert_int_equal(shard.index.n_samples, 2);
    assert_picture(&shard, 0, "contiguous.png", "seven");
    assert_picture(&shard, 1, "v7.png", "old");
    amb_shard_deinit(&shard);
}

TEST(hostile_headers_are_refused_with_their_position) {
    struct amb_buf tar = AMB_BUF_NULL;
    static char long_name[5000], ext[5100];

    test_tar_file(&tar, "a.png", "a");
    test_tar_header(&tar, "b.png", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", '0');
    assert_refused(&tar, AMB_ERR_FORMAT, "1024: a size that is negative");
    test_tar_header(&tar, "b.png", "\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", '0');
    assert_refused(&tar, AMB_ERR_FORMAT, "too large");
    test_tar_header(&tar, "b.png", "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", '0');
    assert_refused(&tar, AMB_ERR_FORMAT, "truncated");
    test_tar_header(&tar, "b.png", "-0000000001", '0');
    assert_refused(&tar, AMB_ERR_FORMAT, "no number");
    test_tar_header(&tar, "b.png", "77777777777", '0');
    assert_refused(&tar, AMB_ERR_FORMAT, "truncated");
    pax(&tar, 'x', "10 size=-1\n");
    test_tar_file(&tar, "b.png", "b");
    assert_refused(&tar, AMB_ERR_FORMAT, "does not end");
    pax(&tar, 'x', "11 size=-1\n");
    test_tar_file(&tar, "b.png", "b");
    assert_refused(&tar, AMB_ERR_FORMAT, "negative");
    pax(&tar, 'x', "28 size=18446744073709551615\n");
    test_tar_file(&tar, "b.png", "b");
    assert_refused(&tar, AMB_ERR_FORMAT, "PAX");
    pax(&tar, 'x', "27 size=9223372036854775807\n");
    test_tar_file(&tar, "b.png", "b");
    assert_refused(&tar, AMB_ERR_FORMAT, "PAX");
    pax(&tar, 'x', "99 path=b.png\n");
    test_tar_file(&tar, "b.png", "b");
    assert_refused(&tar, AMB_ERR_FORMAT, "length is wrong");
    pax(&tar, 'g', "11 size=10\n");
    test_tar_file(&tar, "b.png", "b");
    assert_refused(&tar, AMB_ERR_FORMAT, "global");
    pax(&tar, 'x', "11 size=10\n12 size=100\n");
    test_tar_file(&tar, "b.png", "b");
    assert_refused(&tar, AMB_ERR_FORMAT, "two PAX sizes");
    test_tar_typed(&tar, "L", 'L', "x.png", 6);
    pax(&tar, 'x', "14 path=y.png\n");
    test_tar_file(&tar, "b.png", "b");
    assert_refused(&tar, AMB_ERR_FORMAT, "two long names");
    pax(&tar, 'x', "14 path=y.png\n");
    assert_refused(&tar, AMB_ERR_FORMAT, "without its member");
    test_tar_header(&tar, "x", "00004000001", 'x');
    assert_refused(&tar, AMB_ERR_LIMIT, "1 MiB");
    test_tar_file(&tar, "a.png", "a");
    tar.data[5] ^= 1;
    assert_refused(&tar, AMB_ERR_FORMAT, "checksum");
    memset(long_name, 'n', 4092);
    strcpy(long_name + 4092, ".png");
    test_tar_typed(&tar, "L", 'L', long_name, 4096);
    test_tar_file(&tar, "b.png", "b");
    assert_refused(&tar, 0, "");
    memset(long_name, 'n', 4093);
    strcpy(long_name + 4093, ".png");
    test_tar_typed(&tar, "L", 'L', long_name, 4097);
    test_tar_file(&tar, "b.png", "b");
    assert_refused(&tar, AMB_ERR_LIMIT, "4097");
    snprintf(ext, sizeof ext, "14 path=%s\n", "a\1b.png");
    ext[9] = '\0';
    test_tar_typed(&tar, "x", 'x', ext, 14);
    test_tar_file(&tar, "b.png", "b");
    assert_refused(&tar, AMB_ERR_FORMAT, "");
}

/* One archive cut at every byte: the whole is taken, a cut inside a member is refused, and nothing crashes.
 */
TEST(archive_cut_at_any_byte_is_refused_or_shorter) {
    struct amb_buf tar = AMB_BUF_NULL, cut = AMB_BUF_NULL;
    size_t ends[3], total;

    test_tar_file(&tar, "a.png", "aaaa");
    ends[0] = tar.n_bytes;
    pax(&tar, 'x', "14 path=c.png\n");
    test_tar_file(&tar, "b.png", "bbbb");
    ends[1] = tar.n_bytes;
    test_tar_typed(&tar, "L", 'L', "d.png", 6);
    test_tar_file(&tar, "d.png", "dddd");
    ends[2] = tar.n_bytes;
    test_tar_end(&tar);
    total = tar.n_bytes;
    for (size_t n = 1; n <= total; n += n % 512 < 8 || n % 512 > 500 ? 1 : 61) {
        struct amb_shard shard = AMB_SHARD_NULL;
        struct amb_error err = AMB_ERROR_NULL;
        uint32_t n_whole = 0;
        bool may_end = n > ends[2];
        int r;

        for (size_t i = 0; i < 3; i++) {
            n_whole += n >= ends[i] - 508; /* four bytes of data, the padding may be missing */
            may_end |= n >= ends[i] - 508 && n <= ends[i];
        }
        may_end &= n <= ends[2] || n >= ends[2] + 512; /* a part of a block of zeros is no header */
        amb_buf_push(&cut, tar.data, n);
        r = open_tar(&shard, &cut, &err);
        if (r != (may_end ? 0 : AMB_ERR_FORMAT) || (r < 0 && strstr(err.message, "truncated") == NULL)) {
            fail_msg("cut at %zu: %d %s", n, r, err.message);
        }
        if (r == 0) {
            assert_int_equal(shard.index.n_samples, n_whole);
        }
        amb_shard_deinit(&shard);
    }
    amb_buf_deinit(&tar);
}

/* The picture begins 32 MiB behind the first header of its sample: the record cannot say so, reads walk. */
TEST(picture_far_behind_its_first_header_is_found_by_walking) {
    struct amb_buf tar = AMB_BUF_NULL;
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;
    size_t bytes = 33 << 20;
    char *filler = malloc(bytes);

    memset(filler, 'f', bytes);
    test_tar_file(&tar, "a.png", "A");
    test_tar_typed(&tar, "b.bin", '0', filler, bytes);
    test_tar_file(&tar, "b.png", "B");
    test_tar_end(&tar);
    free(filler);
    assert_ok(open_tar(&shard, &tar, &err), err);
    assert_true(amb_shard_offset(&shard, 0) == 512);
    assert_true(amb_shard_offset(&shard, 1) == 0);
    assert_picture(&shard, 1, "b.png", "B");
    assert_member(&shard, 1, "png", "B");
    amb_shard_deinit(&shard);
}

TEST(repeated_member_and_endless_run_are_refused) {
    struct amb_buf tar = AMB_BUF_NULL;
    char name[32];

    test_tar_file(&tar, "a.png", "one");
    test_tar_file(&tar, "a.txt", "t");
    test_tar_file(&tar, "a.png", "two");
    test_tar_end(&tar);
    assert_refused(&tar, AMB_ERR_DUPLICATE, "a.png");
    for (unsigned extra = 0; extra < 2; extra++) {
        for (unsigned i = 0; i < 256 + extra; i++) {
            snprintf(name, sizeof name, "a.%04u.png", i);
            test_tar_file(&tar, name, "frame");
        }
        test_tar_end(&tar);
        assert_refused(&tar, extra == 0 ? 0 : AMB_ERR_LIMIT, extra == 0 ? "" : "a-0001.png");
    }
}

TEST(archives_without_samples) {
    struct amb_buf tar = AMB_BUF_NULL;

    test_tar_end(&tar);
    assert_refused(&tar, 0, "");
    test_tar_file(&tar, "movie.mp4", "m");
    test_tar_end(&tar);
    assert_refused(&tar, AMB_ERR_FORMAT, "no picture");
    amb_buf_push(&tar, "\x1f\x8b\x08\0\0\0\0\0\0\0", 10);
    assert_refused(&tar, AMB_ERR_UNSUPPORTED, "gzip");
    amb_buf_push(&tar, "", 0);
    assert_refused(&tar, AMB_ERR_FORMAT, "empty");
    amb_buf_push(&tar, "x", 1);
    assert_refused(&tar, AMB_ERR_FORMAT, "truncated");
}

TEST(labels_that_are_none_are_told_and_left_out) {
    struct amb_buf tar = AMB_BUF_NULL;
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;

    test_tar_file(&tar, "a.png", "a");
    test_tar_file(&tar, "a.cls", "ship");
    test_tar_file(&tar, "b.png", "b");
    test_tar_file(&tar, "b.cls", "-5");
    test_tar_file(&tar, "c.png", "c");
    test_tar_file(&tar, "c.cls", "16777215");
    test_tar_file(&tar, "d.png", "d");
    test_tar_end(&tar);
    assert_ok(open_tar(&shard, &tar, &err), err);
    assert_int_equal(shard.index.n_bad_labels, 1);
    assert_string_equal(shard.index.first_bad_label, "a.cls");
    assert_int_equal(amb_index_label(&shard.index, 0), AMB_LABEL_NONE);
    assert_int_equal(amb_index_label(&shard.index, 1), -5);
    assert_int_equal(amb_index_label(&shard.index, 2), 16777215);
    assert_int_equal(amb_index_label(&shard.index, 3), AMB_LABEL_NONE);
    amb_shard_deinit(&shard);
}

/* By option the labels come from the .json: integers, text, vectors; and a corruption label of its own. */
TEST(json_fields_become_labels_by_option) {
    const char *folder = test_folder_new(), *path = test_path(folder, "t.tar");
    struct amb_shard_options options = {.label_key = "class", .corruption_key = "blur"};
    struct amb_buf tar = AMB_BUF_NULL;
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;
    float vector[2];

    test_tar_file(&tar, "a.png", "a");
    test_tar_file(&tar, "a.json", "{\"class\": \"3\", \"blur\": 2}");
    test_tar_file(&tar, "a.cls", "9");
    test_tar_file(&tar, "b.json", "{\"blur\": 0.5}");
    test_tar_file(&tar, "b.png", "b");
    test_tar_end(&tar);
    test_write_buf(path, &tar);
    assert_ok(amb_shard_init(&shard, path, &options, &err), err);
    assert_int_equal(amb_index_label(&shard.index, 0), 3);
    assert_int_equal(amb_index_corruption(&shard.index, 0, 77), 2);
    assert_int_equal(amb_index_label(&shard.index, 1), AMB_LABEL_NONE);
    assert_int_equal(amb_index_corruption(&shard.index, 1, 77), AMB_LABEL_NONE);
    assert_int_equal(shard.index.n_bad_labels, 1);
    amb_shard_deinit(&shard);

    test_tar_file(&tar, "a.png", "a");
    test_tar_file(&tar, "a.json", "{\"class\": [0.25, -1]}");
    test_tar_end(&tar);
    test_write_buf(path, &tar);
    assert_ok(amb_shard_init(&shard, path, &options, &err), err);
    assert_int_equal(shard.index.label_width, 2);
    amb_index_vector(vector, &shard.index, 0);
    assert_true(vector[0] == 0.25f && vector[1] == -1.0f);
    amb_shard_deinit(&shard);
    test_folder_free(folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(runs_of_equal_key_are_samples),
    cmocka_unit_test(long_names_and_sizes_are_those_of_the_extension_headers),
    cmocka_unit_test(other_types_are_passed_over),
    cmocka_unit_test(hostile_headers_are_refused_with_their_position),
    cmocka_unit_test(archive_cut_at_any_byte_is_refused_or_shorter),
    cmocka_unit_test(picture_far_behind_its_first_header_is_found_by_walking),
    cmocka_unit_test(repeated_member_and_endless_run_are_refused),
    cmocka_unit_test(archives_without_samples),
    cmocka_unit_test(labels_that_are_none_are_told_and_left_out),
    cmocka_unit_test(json_fields_become_labels_by_option),
};

TEST_MAIN(tests)
