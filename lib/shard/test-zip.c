#include "test-archive.h"

#include "shard/payload.h"
#include "shard/shard.h"

static int open_zip(struct amb_shard *shard, struct amb_buf *zip, struct amb_error *err) {
    static const struct amb_shard_options options = {.format = AMB_SHARD_AUTO};
    const char *folder = test_folder_new();
    const char *path = test_path(folder, "t.zip");
    int r;

    test_write_buf(path, zip);
    r = amb_shard_init(shard, path, &options, err);
    unlink(path);
    rmdir(folder);
    return r;
}

static void assert_refused(struct amb_buf *zip, int code, const char *word) {
    struct amb_shard shard = AMB_SHARD_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    int r = open_zip(&shard, zip, &err);

    if (r != code || strstr(err.message, word) == NULL) {
        fail_msg("%d: %s; wanted %d: %s", r, err.message, code, word);
    }
    amb_shard_deinit(&shard);
}

static void assert_sample(const struct amb_shard *shard, uint32_t i, const char *path, const char *text,
                          int64_t label) {
    struct amb_buf buf = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    size_t bytes;
    const char *name = amb_shard_picture(shard, i, &bytes);

    assert_int_equal(bytes, strlen(path));
    assert_memory_equal(name, path, bytes);
    assert_ok(amb_shard_read(&buf, shard, i, &err), err);
    assert_int_equal(buf.n_bytes, strlen(text));
    assert_memory_equal(buf.data, text, buf.n_bytes);
    assert_int_equal(amb_index_label(&shard->index, i), label);
    amb_buf_deinit(&buf);
}

/* An entry whose data is deflated into `room`. */
static struct test_zip_entry deflated(const char *name, const void *text, size_t bytes, uint8_t *room,
                                      size_t room_bytes) {
    struct test_zip_entry e = {.name = name, .data = (const char *)room, .size = bytes, .method = 8};
    z_stream z = {0};

    e.crc = (uint32_t)crc32(0, text, (unsigned)bytes);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (uint8_t *)(uintptr_t)text;
    z.avail_in = (unsigned)bytes;
    z.next_out = room;
    z.avail_out = (unsigned)room_bytes;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    e.bytes = z.total_out;
    deflateEnd(&z);
    return e;
}

TEST(members_are_sorted_by_name_and_labelled_by_dataset_json) {
    uint8_t room[256];
    struct test_zip_entry entries[] = {
        test_zip_stored("00000/img00000001.png", "one"),
        test_zip_stored("dataset.json",
                        "{\"labels\": [[\"00000/img00000000.png\", 7], [\"00000/img00000001.png\", 2]]}"),
        deflated("00000/img00000000.png", "zero zero zero zero", 19, room, sizeof room),
        test_zip_stored("00000/img00000001.txt", "caption"),
        test_zip_stored("00000/", ""),
        test_zip_stored("00000/img-mean-std-00000002.npy", "latent"),
    };
    struct amb_buf zip = AMB_BUF_NULL, buf = AMB_BUF_NULL;
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;
    char list[64];

    test_zip_all(&zip, entries, 6);
    assert_ok(open_zip(&shard, &zip, &err), err);
    assert_int_equal(shard.index.n_samples, 3);
    assert_sample(&shard, 0, "00000/img-mean-std-00000002.npy", "latent", AMB_LABEL_NONE);
    assert_sample(&shard, 1, "00000/img00000000.png", "zero zero zero zero", 7);
    assert_sample(&shard, 2, "00000/img00000001.png", "one", 2);
    assert_ok(amb_shard_read_member(&buf, &shard, 2, "txt", &err), err);
    assert_memory_equal(buf.data, "caption", 7);
    assert_int_equal(amb_shard_read_member(&buf, &shard, 1, "txt", &err), AMB_CATALOG_E_MISSING);
    assert_ok(amb_shard_list_members(list, sizeof list, &shard, 2, &err), err);
    assert_string_equal(list, "png,txt");
    amb_buf_deinit(&buf);
    amb_shard_deinit(&shard);
}

TEST(vector_labels_need_every_sample) {
    struct test_zip_entry entries[] = {
        test_zip_stored("a.png", "a"),
        test_zip_stored("b.png", "b"),
        test_zip_stored("dataset.json", "{\"labels\": [[\"a.png\", [0.5, 1]], [\"b.png\", [2, 3]]]}"),
    };
    struct amb_buf zip = AMB_BUF_NULL;
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;
    float v[2];

    test_zip_all(&zip, entries, 3);
    assert_ok(open_zip(&shard, &zip, &err), err);
    amb_index_vector(v, &shard.index, 1);
    assert_true(v[0] == 2.0f && v[1] == 3.0f);
    amb_shard_deinit(&shard);
    entries[2] = test_zip_stored("dataset.json", "{\"labels\": [[\"a.png\", [0.5, 1]]]}");
    test_zip_all(&zip, entries, 3);
    assert_refused(&zip, AMB_ERR_FORMAT, "b.png");
    entries[2] = test_zip_stored("dataset.json", "{\"labels\": [[\"a.png\", ");
    test_zip_all(&zip, entries, 3);
    assert_refused(&zip, AMB_ERR_FORMAT, "dataset.json");
}

/* A comment that holds a false end record fools nobody: it is passed by if it cannot be true, refused if it
 * can. */
TEST(false_end_record_in_a_comment) {
    struct test_zip_entry entries[] = {test_zip_stored("a.png", "a"), test_zip_stored("evil.png", "e")};
    struct amb_buf zip = AMB_BUF_NULL;
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t fake[60] = "no comment ";
    size_t directory, middle;

    /* not consistent: its directory does not end where it begins */
    ambp_store_u32le(fake + 11, 0x06054B50);
    ambp_store_u16le(fake + 11 + 20, sizeof fake - 11 - 22);
    test_zip_push(&zip, &entries[0]);
    directory = zip.n_bytes;
    test_zip_directory(&zip, entries, 1);
    test_zip_end(&zip, 1, directory, fake, sizeof fake);
    assert_ok(open_zip(&shard, &zip, &err), err);
    assert_sample(&shard, 0, "a.png", "a", AMB_LABEL_NONE);
    amb_shard_deinit(&shard);

    /* consistent: a second directory in the comment, for the second entry only */
    test_zip_push(&zip, &entries[0]);
    test_zip_push(&zip, &entries[1]);
    directory = zip.n_bytes;
    test_zip_directory(&zip, entries, 1);
    {
        struct amb_buf comment = AMB_BUF_NULL;

        middle = zip.n_bytes + 22;
        comment.n_bytes = 0;
        test_zip_directory(&comment, entries + 1, 1);
        {
            uint8_t h[22] = {0};

            ambp_store_u32le(h, 0x06054B50);
            ambp_store_u16le(h + 8, 1);
            ambp_store_u16le(h + 10, 1);
            ambp_store_u32le(h + 12, (uint32_t)comment.n_bytes);
            ambp_store_u32le(h + 16, (uint32_t)middle);
            amb_buf_push(&comment, h, sizeof h);
        }
        test_zip_end(&zip, 1, directory, comment.data, comment.n_bytes);
        amb_buf_deinit(&comment);
    }
    assert_refused(&zip, AMB_ERR_FORMAT, "two records");
}

TEST(local_header_must_agree) {
    struct test_zip_entry e[2] = {test_zip_stored("a.png", "aaaa"), test_zip_stored("b.png", "b")};
    struct amb_buf zip = AMB_BUF_NULL;

    e[0].local_name = "z.png";
    test_zip_all(&zip, e, 2);
    assert_refused(&zip, AMB_ERR_FORMAT, "another name");
    e[0] = test_zip_stored("a.png", "aaaa");
    e[0].local_crc = 5;
    test_zip_all(&zip, e, 2);
    assert_refused(&zip, AMB_ERR_FORMAT, "another size or CRC");
    e[0] = test_zip_stored("a.png", "aaaa");
    e[0].size = 5; /* stored, but inflates to more */
    test_zip_all(&zip, e, 2);
    assert_refused(&zip, AMB_ERR_FORMAT, "two sizes");
    e[0] = test_zip_stored("a.png", "aaaa");
    e[0].method = 12;
    test_zip_all(&zip, e, 2);
    assert_refused(&zip, AMB_ERR_UNSUPPORTED, "method 12");
    e[0].method = 0;
    e[0].flags = 1;
    test_zip_all(&zip, e, 2);
    assert_refused(&zip, AMB_ERR_UNSUPPORTED, "encrypted");
    e[0] = test_zip_stored("b.png", "aaaa");
    test_zip_all(&zip, e, 2);
    assert_refused(&zip, AMB_ERR_DUPLICATE, "b.png");
}

/* Many entries that share one body: sorted, the second neighbour shows it. */
TEST(overlapping_entries_are_refused) {
    struct amb_buf zip = AMB_BUF_NULL;
    struct test_zip_entry e[2] = {test_zip_stored("a.png", "aaaa"), test_zip_stored("a.png", "aaaa")};
    size_t directory;

    test_zip_push(&zip, &e[0]);
    e[1].name = "b.png";
    e[1].offset = e[0].offset;
    directory = zip.n_bytes;
    test_zip_directory(&zip, e, 2);
    test_zip_end(&zip, 2, directory, "", 0);
    assert_refused(&zip, AMB_ERR_FORMAT, "another name");

    /* a whole entry hidden in the data of another one */
    {
        struct amb_buf inner = AMB_BUF_NULL;
        struct test_zip_entry hidden = test_zip_stored("b.png", "hidden"), outer;

        test_zip_push(&inner, &hidden);
        outer = (struct test_zip_entry){
            .name = "a.png", .data = (const char *)inner.data, .bytes = inner.n_bytes, .size = inner.n_bytes};
        outer.crc = (uint32_t)crc32(0, inner.data, (unsigned)inner.n_bytes);
        test_zip_push(&zip, &outer);
        hidden.offset = 35;
        e[0] = outer;
        e[1] = hidden;
        directory = zip.n_bytes;
        test_zip_directory(&zip, e, 2);
        test_zip_end(&zip, 2, directory, "", 0);
        assert_refused(&zip, AMB_ERR_FORMAT, "overlaps");
        amb_buf_deinit(&inner);
    }
}

TEST(lying_counts_and_offsets_are_refused) {
    struct amb_buf zip = AMB_BUF_NULL;
    struct test_zip_entry e = test_zip_stored("a.png", "aaaa");
    static const struct {
        size_t from_end;
        uint32_t value;
        unsigned bytes;
        int code;
    } lies[] = {
        {14, 2, 2, AMB_ERR_UNSUPPORTED},    {12, 2, 2, AMB_ERR_UNSUPPORTED},
        {10, 0, 4, AMB_ERR_FORMAT},         {10, 0xFFFFFFFF, 4, AMB_ERR_FORMAT},
        {6, 0, 4, AMB_ERR_FORMAT},          {6, 0xFFFFFFFF, 4, AMB_ERR_FORMAT},
        {6, 0x7FFFFFFF, 4, AMB_ERR_FORMAT}, {18, 1, 2, AMB_ERR_UNSUPPORTED},
        {2, 7, 2, AMB_ERR_FORMAT},
    };

    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t *p;

        test_zip_all(&zip, &e, 1);
        p = zip.data + zip.n_bytes - lies[i].from_end;
        if (lies[i].bytes == 2) {
            ambp_store_u16le(p, (uint16_t)lies[i].value);
        } else {
            ambp_store_u32le(p, lies[i].value);
        }
        assert_refused(&zip, lies[i].code, "");
    }
    for (unsigned n = 0; n <= 3; n += 3) { /* no entries said, or three, where there is one */
        test_zip_all(&zip, &e, 1);
        ambp_store_u16le(zip.data + zip.n_bytes - 14, (uint16_t)n);
        ambp_store_u16le(zip.data + zip.n_bytes - 12, (uint16_t)n);
        assert_refused(&zip, AMB_ERR_FORMAT, "");
    }
    amb_buf_push(&zip, "prefix", 6); /* something before the archive moves every offset */
    {
        struct amb_buf inner = AMB_BUF_NULL;

        test_zip_all(&inner, &e, 1);
        amb_buf_push(&zip, inner.data, inner.n_bytes);
        amb_buf_deinit(&inner);
    }
    memcpy(zip.data, "PK\3\4..", 6);
    assert_refused(&zip, AMB_ERR_FORMAT, "put before");
}

/* Every byte of the archive changed in turn: refused, or the same samples, or damage found at the read. */
TEST(any_flipped_byte_is_survived) {
    uint8_t room[64];
    struct test_zip_entry e[2] = {test_zip_stored("a.png", "aaaa"),
                                  deflated("b.png", "bbbbbbbbbbbb", 12, room, 64)};
    struct amb_buf whole = AMB_BUF_NULL, buf = AMB_BUF_NULL;
    unsigned n_wrong = 0;

    test_zip_all(&whole, e, 2);
    for (size_t at = 0; at < whole.n_bytes; at++) {
        for (unsigned flip = 1; flip < 256; flip <<= 1) {
            struct amb_buf zip = AMB_BUF_NULL;
            struct amb_shard shard = AMB_SHARD_NULL;
            struct amb_error err = AMB_ERROR_NULL;

            amb_buf_push(&zip, whole.data, whole.n_bytes);
            zip.data[at] ^= (uint8_t)flip;
            if (at < 4) {
                amb_buf_deinit(&zip);
                continue; /* then it is not taken for a zip at all */
            }
            if (open_zip(&shard, &zip, &err) == 0) {
                for (uint32_t i = 0; i < shard.index.n_samples; i++) {
                    if (amb_shard_read(&buf, &shard, i, &err) == 0) {
                        n_wrong +=
                            memcmp(buf.data, "aaaa", 4) != 0 && memcmp(buf.data, "bbbbbbbbbbbb", 12) != 0;
                    }
                }
            }
            amb_shard_deinit(&shard);
        }
    }
    assert_int_equal(n_wrong, 0);
    amb_buf_deinit(&buf);
    amb_buf_deinit(&whole);
}

TEST(archive_cut_at_any_byte_is_refused) {
    struct test_zip_entry e[2] = {test_zip_stored("a.png", "aaaa"), test_zip_stored("b.png", "b")};
    struct amb_buf whole = AMB_BUF_NULL;

    test_zip_all(&whole, e, 2);
    for (size_t n = 4; n < whole.n_bytes; n++) {
        struct amb_buf zip = AMB_BUF_NULL;

        amb_buf_push(&zip, whole.data, n);
        assert_refused(&zip, AMB_ERR_FORMAT, "");
    }
    amb_buf_deinit(&whole);
}

/* Declared sizes that deflate cannot reach, that are too large, or that are not true: an error at the read
 * only. */
TEST(bombs_are_refused_at_the_read) {
    static uint8_t room[1 << 16], zeros[1 << 20];
    struct test_zip_entry e[4];
    struct amb_buf zip = AMB_BUF_NULL, buf = AMB_BUF_NULL;
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;

    e[0] = deflated("a.png", zeros, sizeof zeros, room, 4096);
    e[1] = deflated("b.png", zeros, sizeof zeros, room + 4096, 4096);
    e[1].size = 0x70000000; /* 1.9 GB from 1 KiB */
    e[2] = deflated("c.png", zeros, sizeof zeros, room + 8192, 4096);
    e[2].size = sizeof zeros - 1;
    e[3] = deflated("d.png", zeros, sizeof zeros, room + 12288, 4096);
    e[3].size = sizeof zeros + 1;
    test_zip_all(&zip, e, 4);
    assert_ok(open_zip(&shard, &zip, &err), err);
    assert_ok(amb_shard_read(&buf, &shard, 0, &err), err);
    assert_int_equal(buf.n_bytes, sizeof zeros);
    assert_int_equal(amb_shard_read(&buf, &shard, 1, &err), AMB_ERR_LIMIT);
    assert_int_equal(amb_shard_read(&buf, &shard, 2, &err), AMB_ERR_FORMAT);
    assert_int_equal(amb_shard_read(&buf, &shard, 3, &err), AMB_ERR_FORMAT);
    assert_true(buf.capacity_bytes < 4 * sizeof zeros);
    amb_buf_deinit(&buf);
    amb_shard_deinit(&shard);
}

TEST(payload_limit_is_exact) {
    struct amb_map map = {.fd = -1, .path = "x", .identity = {.size = 0}};
    struct amb_buf buf = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;

    /* the file has no bytes, so below the limit it is the copy that refuses */
    assert_int_equal(amb_payload_copy(&buf, &map, 0, AMB_PAYLOAD_BYTES_MAX - 1, &err), AMB_ERR_FORMAT);
    assert_int_equal(amb_payload_copy(&buf, &map, 0, AMB_PAYLOAD_BYTES_MAX, &err), AMB_ERR_FORMAT);
    assert_int_equal(amb_payload_copy(&buf, &map, 0, (uint64_t)AMB_PAYLOAD_BYTES_MAX + 1, &err),
                     AMB_ERR_LIMIT);
    amb_buf_deinit(&buf);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(members_are_sorted_by_name_and_labelled_by_dataset_json),
    cmocka_unit_test(vector_labels_need_every_sample),
    cmocka_unit_test(false_end_record_in_a_comment),
    cmocka_unit_test(local_header_must_agree),
    cmocka_unit_test(overlapping_entries_are_refused),
    cmocka_unit_test(lying_counts_and_offsets_are_refused),
    cmocka_unit_test(any_flipped_byte_is_survived),
    cmocka_unit_test(archive_cut_at_any_byte_is_refused),
    cmocka_unit_test(bombs_are_refused_at_the_read),
    cmocka_unit_test(payload_limit_is_exact),
};

TEST_MAIN(tests)
