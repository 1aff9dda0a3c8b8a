#include "test-archive.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "shard/shard.h"

#define PICTURE_BYTES (8u << 20) /* copied in milliseconds, so that writes fall into it */
#define N_ROUNDS      20u

/* A file that is overwritten once and put back, its times included. */
struct vandal {
    const char *path;
    off_t at;
    atomic_bool done;
};

static void *vandal_run(void *opaque) {
    struct vandal *vandal = opaque;
    char *bad = malloc(PICTURE_BYTES), *good = malloc(PICTURE_BYTES);
    int fd = open(vandal->path, O_RDWR | O_CLOEXEC);
    struct stat st;

    memset(bad, 'x', PICTURE_BYTES);
    memset(good, 'o', PICTURE_BYTES);
    if (fstat(fd, &st) != 0 || pwrite(fd, bad, PICTURE_BYTES, vandal->at) < 0 ||
        pwrite(fd, good, PICTURE_BYTES, vandal->at) < 0 ||
        futimens(fd, (struct timespec[2]){st.st_atim, st.st_mtim}) != 0) {
        abort();
    }
    close(fd);
    free(bad);
    free(good);
    atomic_store(&vandal->done, true);
    return NULL;
}

/* Read until the vandal is through with it; the number of reads that succeeded, all of them right. */
static unsigned read_beside(struct amb_shard *shard, const char *path, off_t at, const char *good) {
    struct vandal vandal = {.path = path, .at = at};
    struct amb_buf out = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    unsigned n_right = 0, n_torn = 0;
    pthread_t thread;
    bool last = false;

    assert_int_equal(pthread_create(&thread, NULL, vandal_run, &vandal), 0);
    while (!last) {
        int r;

        last = atomic_load(&vandal.done);
        r = amb_shard_read(&out, shard, 0, &err);
        if (r == 0) {
            n_right++;
            n_torn += memcmp(out.data, good, PICTURE_BYTES) != 0;
        } else if (r != AMB_ERR_CHANGED && r != -EAGAIN) {
            fail_msg("%d: %s", r, err.message);
        }
    }
    pthread_join(thread, NULL);
    amb_buf_deinit(&out);
    if (n_torn > 0) {
        fail_msg("%u of %u reads took bytes that were overwritten meanwhile for those of the sample", n_torn, n_right);
    }
    return n_right;
}

static void tear(bool pread_only, bool as_folder) {
    const char *folder = test_folder_new(), *path = test_path(folder, as_folder ? "a.png" : "t.tar");
    struct amb_shard_options options = {.format = AMB_SHARD_AUTO, .pread = pread_only};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf tar = AMB_BUF_NULL;
    char *good = calloc(1, PICTURE_BYTES + 1);
    unsigned n_right = 0;

    memset(good, 'o', PICTURE_BYTES);
    if (as_folder) {
        test_write(path, good, PICTURE_BYTES);
    } else {
        test_tar_file(&tar, "a.png", good);
        test_tar_end(&tar);
        test_write_buf(path, &tar);
    }
    for (unsigned i = 0; i < N_ROUNDS; i++) {
        struct amb_shard shard = AMB_SHARD_NULL;

        assert_ok(amb_shard_init(&shard, as_folder ? folder : path, &options, &err), err);
        n_right += read_beside(&shard, path, as_folder ? 0 : 512, good);
        amb_shard_deinit(&shard);
    }
    print_message("%u reads succeeded\n", n_right);
    free(good);
    test_folder_free(folder);
}

/* A thread overwrites the picture and puts it back, with its times, while it is read: a read that succeeds has the
 * right bytes in every place, also where all of that happened between two pages of one copy. */
TEST(bytes_overwritten_while_they_are_read_are_never_delivered) {
    tear(false, false);
}

TEST(bytes_overwritten_while_they_are_read_without_a_map_are_never_delivered) {
    tear(true, false);
}

TEST(a_file_of_a_folder_overwritten_while_it_is_read_is_never_delivered) {
    tear(false, true);
}

struct renamer {
    const char *names[2];
    atomic_bool stop;
};

static void *renamer_run(void *opaque) {
    struct renamer *renamer = opaque;
    struct timespec pause = {0, 5000000};

    for (unsigned i = 0; !atomic_load(&renamer->stop); i++) {
        if (rename(renamer->names[i % 2], renamer->names[1 - i % 2]) != 0) {
            abort();
        }
        nanosleep(&pause, NULL);
    }
    return NULL;
}

/* Renaming moves the ctime and nothing else: a read meanwhile is right, or gives up for now where a slow machine gets through
 * none between two of them. */
TEST(a_file_that_is_renamed_while_it_is_read_is_right) {
    const char *folder = test_folder_new();
    struct renamer renamer = {.names = {test_path(folder, "t.tar"), test_path(folder, "u.tar")}};
    struct amb_shard_options options = {.format = AMB_SHARD_AUTO};
    struct amb_shard shard = AMB_SHARD_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_buf tar = AMB_BUF_NULL, out = AMB_BUF_NULL;
    char *good = calloc(1, PICTURE_BYTES + 1);
    unsigned n_right = 0;
    pthread_t thread;

    memset(good, 'o', PICTURE_BYTES / 64);
    test_tar_file(&tar, "a.png", good);
    test_tar_end(&tar);
    test_write_buf(renamer.names[0], &tar);
    assert_ok(amb_shard_init(&shard, renamer.names[0], &options, &err), err);
    assert_int_equal(pthread_create(&thread, NULL, renamer_run, &renamer), 0);
    for (unsigned i = 0; i < 2000; i++) {
        int r = amb_shard_read(&out, &shard, 0, &err);

        if ((r != 0 && r != -EAGAIN) || (r == 0 && memcmp(out.data, good, PICTURE_BYTES / 64) != 0)) {
            fail_msg("read %u: %d %s", i, r, err.message);
        }
        n_right += r == 0;
    }
    assert_true(n_right > 1000);
    atomic_store(&renamer.stop, true);
    pthread_join(thread, NULL);
    amb_buf_deinit(&out);
    amb_shard_deinit(&shard);
    free(good);
    test_folder_free(folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bytes_overwritten_while_they_are_read_are_never_delivered),
    cmocka_unit_test(bytes_overwritten_while_they_are_read_without_a_map_are_never_delivered),
    cmocka_unit_test(a_file_of_a_folder_overwritten_while_it_is_read_is_never_delivered),
    cmocka_unit_test(a_file_that_is_renamed_while_it_is_read_is_right),
};

TEST_MAIN(tests)
