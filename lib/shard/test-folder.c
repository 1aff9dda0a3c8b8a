#include "test-archive.h"

#include <errno.h>

#include "shard/folder.h"
#include "shard/shard.h"

static const struct amb_shard_options plain = {.format = AMB_SHARD_AUTO};

static void put(const char *folder, const char *name, const char *text) {
    char path[512];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *p = path + strlen(folder) + 1; *p != '\0'; p++) {
        if (*p == '/') {
            *p = '\0';
            mkdir(path, 0700);
            *p = '/';
        }
    }
    test_write(path, text, strlen(text));
    usleep(
        12000); /* the next file gets other times, even where the clock of the file system ticks at 100 Hz */
}

static int open_folder(struct amb_shard *shard, const char *folder, struct amb_error *err) {
    return amb_shard_init(shard, folder, &plain, err);
}

static void assert_sample(const struct amb_shard *shard, uint32_t i, const char *path, int64_t label) {
    struct amb_buf buf = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    size_t bytes;
    const char *name = amb_shard_picture(shard, i, &bytes);

    assert_int_equal(bytes, strlen(path));
    assert_memory_equal(name, path, bytes);
    assert_ok(amb_shard_read(&buf, shard, i, &err), err);
    assert_int_equal(buf.n_bytes, strlen(path)); /* every file holds its own name */
    assert_memory_equal(buf.data, path, bytes);
    assert_int_equal(amb_index_label(&shard->index, i), label);
    amb_buf_deinit(&buf);
}

/* "a-b/..." sorts before "a/...", but class a is below class a-b; folders without pictures are no classes. */
TEST(files_are_sorted_as_bytes_and_classes_by_name) {
    const char *folder = test_folder_new();
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;

    put(folder, "a/y.png", "a/y.png");
    put(folder, "a/sub/x.jpg", "a/sub/x.jpg");
    put(folder, "a-b/z.png", "a-b/z.png");
    put(folder, "empty/readme.md", "words");
    put(folder, "top.webp", "top.webp");
    put(folder, ".hidden/h.png", "h");
    put(folder, "a/.h.png", "h");
    put(folder, "zz/q.npy", "zz/q.npy");
    assert_ok(open_folder(&shard, folder, &err), err);
    assert_int_equal(shard.index.n_samples, 5);
    assert_sample(&shard, 0, "a-b/z.png", 1);
    assert_sample(&shard, 1, "a/sub/x.jpg", 0);
    assert_sample(&shard, 2, "a/y.png", 0);
    assert_sample(&shard, 3, "top.webp", AMB_LABEL_NONE);
    assert_sample(&shard, 4, "zz/q.npy", 2);
    amb_shard_deinit(&shard);
    put(folder, "dataset.json", "{\"labels\": [[\"a/y.png\", 40], [\"top.webp\", 41]]}");
    assert_ok(open_folder(&shard, folder, &err), err);
    assert_sample(&shard, 2, "a/y.png", 40);
    assert_sample(&shard, 3, "top.webp", 41);
    assert_sample(&shard, 0, "a-b/z.png", AMB_LABEL_NONE);
    amb_shard_deinit(&shard);
    test_folder_free(folder);
}

TEST(members_beside_a_picture_are_read) {
    const char *folder = test_folder_new();
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf buf = AMB_BUF_NULL;
    char list[64];

    put(folder, "c/a.PNG", "c/a.PNG");
    put(folder, "c/a.Txt", "caption");
    put(folder, "c/a.cls", "12");
    assert_ok(open_folder(&shard, folder, &err), err);
    assert_sample(&shard, 0, "c/a.PNG", 12);
    assert_ok(amb_shard_read_member(&buf, &shard, 0, "txt", &err), err);
    assert_memory_equal(buf.data, "caption", 7);
    assert_ok(amb_shard_read_member(&buf, &shard, 0, "png", &err), err);
    assert_int_equal(amb_shard_read_member(&buf, &shard, 0, "json", &err), AMB_CATALOG_E_MISSING);
    assert_ok(amb_shard_list_members(list, sizeof list, &shard, 0, &err), err);
    assert_string_equal(list, "PNG,Txt,cls");
    put(folder, "c/a.Txt", "changed");
    assert_int_equal(amb_shard_read_member(&buf, &shard, 0, "txt", &err), AMB_ERR_CHANGED);
    amb_buf_deinit(&buf);
    amb_shard_deinit(&shard);
    test_folder_free(folder);
}

/* Links are counted, never followed; a file that became a link, or whose folder did, is not opened. */
TEST(links_inside_a_folder_are_never_followed) {
    const char *folder = test_folder_new();
    char outside[600], inside[600], command[8192];
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf buf = AMB_BUF_NULL;

    snprintf(outside, sizeof outside, "%s/outside", folder);
    snprintf(inside, sizeof inside, "%s/inside", folder);
    put(folder, "outside/secret.png", "secret");
    put(folder, "inside/a.png", "a.png");
    put(folder, "inside/d/b.png", "d/b.png");
    snprintf(command, sizeof command, "ln -s %s/secret.png %s/link.png; ln -s %s %s/linked; ln -s %s %s/way",
             outside, inside, outside, inside, inside, folder);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "%s/way", folder);
    assert_ok(open_folder(&shard, command, &err), err); /* the folder itself may be reached by a link */
    assert_int_equal(shard.index.n_samples, 2);
    assert_int_equal(shard.index.n_symlinks, 2);
    snprintf(command, sizeof command, "rm %s/a.png; ln -s %s/secret.png %s/a.png; mv %s/d %s/e; ln -s e %s/d",
             inside, outside, inside, inside, inside, inside);
    assert_int_equal(system(command), 0);
    assert_int_equal(amb_shard_read(&buf, &shard, 0, &err), AMB_ERR_CHANGED);
    assert_int_equal(amb_shard_read(&buf, &shard, 1, &err), AMB_ERR_CHANGED);
    /* names that lead out are refused whatever the index says */
    assert_true(amb_folder_read(&buf, shard.folder_fd, "x", "../outside/secret.png", 21, 0, &err) < 0);
    assert_true(amb_folder_read(&buf, shard.folder_fd, "x", "/etc/passwd", 11, 0, &err) < 0);
    amb_shard_deinit(&shard);
    amb_buf_deinit(&buf);
    test_folder_free(folder);
}

/* Only links: the message says why there is nothing. */
TEST(folder_of_links_says_why_it_is_empty) {
    const char *folder = test_folder_new();
    struct amb_shard shard = AMB_SHARD_NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(symlink("/etc/hostname", test_path(folder, "a.png")), 0);
    assert_int_equal(open_folder(&shard, folder, &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "1 symbolic links"));
    test_folder_free(folder);
}

/* Each file has an identity of its own: rewriting one leaves the others readable. */
TEST(changed_file_is_noticed_alone) {
    const char *folder = test_folder_new();
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf buf = AMB_BUF_NULL;

    put(folder, "a.png", "a.png");
    put(folder, "b.png", "b.png");
    put(folder, "c.png", "c.png");
    assert_ok(open_folder(&shard, folder, &err), err);
    put(folder, "a.png", "A.png"); /* same size, same mtime: ctime tells */
    assert_int_equal(unlink(test_path(folder, "c.png")), 0);
    assert_int_equal(amb_shard_read(&buf, &shard, 0, &err), AMB_ERR_CHANGED);
    assert_sample(&shard, 1, "b.png", AMB_LABEL_NONE);
    assert_int_equal(amb_shard_read(&buf, &shard, 2, &err), AMB_ERR_CHANGED);
    amb_buf_deinit(&buf);
    amb_shard_deinit(&shard);
    test_folder_free(folder);
}

/* The walk is the identity: a new, gone or touched file means another index; an untouched folder the cached
 * one. */
TEST(cached_index_follows_every_file) {
    const char *folder = test_folder_new();
    struct amb_shard_options options = {.cache_dir = test_path(folder, "cache")};
    char data[512];
    struct amb_shard shard;
    struct amb_error err = AMB_ERROR_NULL;

    snprintf(data, sizeof data, "%s/data", folder);
    mkdir(options.cache_dir, 0700);
    put(folder, "data/a.png", "a.png");
    for (unsigned round = 0; round < 6; round++) {
        assert_ok(amb_shard_init(&shard, data, &options, &err), err);
        assert_int_equal(shard.is_cached, round % 2 == 1);
        assert_int_equal(shard.index.n_samples, round < 2 ? 1 : 2);
        amb_shard_deinit(&shard);
        if (round == 1) {
            put(folder, "data/b.png", "b.png");
        } else if (round == 3) {
            put(folder, "data/b.png", "B.png");
        }
    }
    test_folder_free(folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(files_are_sorted_as_bytes_and_classes_by_name),
    cmocka_unit_test(members_beside_a_picture_are_read),
    cmocka_unit_test(links_inside_a_folder_are_never_followed),
    cmocka_unit_test(folder_of_links_says_why_it_is_empty),
    cmocka_unit_test(changed_file_is_noticed_alone),
    cmocka_unit_test(cached_index_follows_every_file),
};

TEST_MAIN(tests)
