#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"

/* A table whose reads and writes do as `script` says: a count of bytes at most, or a negative errno; then whole. */
struct script {
    struct amb_io io;
    const int *steps;
    size_t n_steps, n_calls;
    uint64_t size;
    uint8_t bytes[64];
};

static int script_size(void *opaque, uint64_t *out, int fd) {
    (void)fd;
    *out = ((struct script *)opaque)->size;
    return 0;
}

static ssize_t script_next(struct script *script, size_t bytes) {
    int step = script->n_calls < script->n_steps ? script->steps[script->n_calls] : 1000;

    script->n_calls++;
    return step < 0 || (size_t)step < bytes ? step : (ssize_t)bytes;
}

static ssize_t script_pread(void *opaque, int fd, void *data, size_t bytes, uint64_t offset) {
    struct script *script = opaque;
    ssize_t n = script_next(script, bytes);

    (void)fd;
    if (n > 0) {
        memcpy(data, script->bytes + offset, (size_t)n);
    }
    return n;
}

static ssize_t script_pwrite(void *opaque, int fd, const void *data, size_t bytes, uint64_t offset) {
    struct script *script = opaque;
    ssize_t n = script_next(script, bytes);

    (void)fd;
    if (n > 0) {
        memcpy(script->bytes + offset, data, (size_t)n);
    }
    return n;
}

#define SCRIPT(...)                                                                                                    \
    {                                                                                                                  \
        .steps = (const int[]){__VA_ARGS__}, .n_steps = sizeof((const int[]){__VA_ARGS__}) / sizeof(int)               \
    }

static void script_start(struct script *script) {
    script->io = amb_io_system;
    script->io.opaque = script;
    script->io.pread = script_pread;
    script->io.pwrite = script_pwrite;
    script->io.size = script_size;
}

TEST(read_goes_on_after_an_interruption_and_a_short_transfer) {
    struct script script = SCRIPT(-EINTR, 3, -EINTR, 2);
    uint8_t data[10];
    size_t got = 0;

    script_start(&script);
    for (uint8_t i = 0; i < 10; i++) {
        script.bytes[i] = i;
    }
    assert_int_equal(amb_io_read(&got, &script.io, -1, data, sizeof data, 0), 0);
    assert_int_equal(got, sizeof data);
    assert_memory_equal(data, script.bytes, sizeof data);
    assert_int_equal(script.n_calls, 5);
}

TEST(read_ends_where_the_file_does_and_forwards_errors) {
    struct script end = SCRIPT(4, 0), broken = SCRIPT(4, -EIO), early = SCRIPT(4, 0, 0),
                  grown = SCRIPT(4, 0, 2, 0, 4);
    uint8_t data[10];
    size_t got = 99;

    script_start(&end);
    end.size = 4;
    assert_int_equal(amb_io_read(&got, &end.io, -1, data, sizeof data, 0), 0);
    assert_int_equal(got, 4);
    script_start(&broken);
    assert_int_equal(amb_io_read(&got, &broken.io, -1, data, sizeof data, 0), -EIO);
    script_start(&early);
    early.size = 5; /* the file goes on */
    assert_int_equal(amb_io_read(&got, &early.io, -1, data, sizeof data, 0), -EIO);
    assert_int_equal(got, 4); /* not touched */
    script_start(&grown);
    grown.size = sizeof data; /* it was written to meanwhile */
    assert_int_equal(amb_io_read(&got, &grown.io, -1, data, sizeof data, 0), 0);
    assert_int_equal(got, sizeof data);
}

TEST(write_goes_on_and_a_write_of_nothing_is_an_error) {
    struct script script = SCRIPT(-EINTR, 1, 2), nothing = SCRIPT(3, 0), full = SCRIPT(3, -ENOSPC);
    const uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};

    script_start(&script);
    assert_int_equal(amb_io_write(&script.io, -1, data, sizeof data, 5), 0);
    assert_memory_equal(script.bytes + 5, data, sizeof data);
    script_start(&nothing);
    assert_int_equal(amb_io_write(&nothing.io, -1, data, sizeof data, 0), -EIO);
    script_start(&full);
    assert_int_equal(amb_io_write(&full.io, -1, data, sizeof data, 0), -ENOSPC);
}

/* A signal storm, or an injected fault that never ends: no call is made for ever. */
TEST(interruptions_without_end_are_an_error) {
    int steps[10000];
    struct script script = {.steps = steps, .n_steps = sizeof steps / sizeof steps[0]};
    uint8_t data[4] = {0};
    size_t got;

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        steps[i] = -EINTR;
    }
    script_start(&script);
    assert_int_equal(amb_io_read(&got, &script.io, -1, data, sizeof data, 0), -EINTR);
    script.n_calls = 0;
    assert_int_equal(amb_io_write(&script.io, -1, data, sizeof data, 0), -EINTR);
    assert_true(script.n_calls < 10000);
}

static int on_name(void *arg, const char *name) {
    ++*(int *)arg;
    return name[0] == '.' ? 0 : 42;
}

TEST(system_answers_negative_errno) {
    const struct amb_io *io = &amb_io_system;
    char path[] = "/tmp/ambientd-io-XXXXXX", name[64];
    int ends[2], fd, n = 0;
    uint64_t size = 99;
    uint8_t *map, byte = 0;

    assert_int_equal(io->open(io->opaque, "/nowhere/at/all", O_RDONLY, 0), -ENOENT);
    assert_int_equal(io->close(io->opaque, -1), -EBADF);
    assert_int_equal(io->pread(io->opaque, -1, &byte, 1, 0), -EBADF);
    assert_int_equal(io->pwrite(io->opaque, -1, &byte, 1, 0), -EBADF);
    assert_int_equal(io->fdatasync(io->opaque, -1), -EBADF);
    assert_int_equal(io->fsync(io->opaque, -1), -EBADF);
    assert_int_equal(io->ftruncate(io->opaque, -1, 0), -EBADF);
    assert_int_equal(io->size(io->opaque, &size, -1), -EBADF);
    assert_int_equal(io->flock(io->opaque, -1), -EBADF);
    assert_int_equal(io->mmap(io->opaque, &map, -1, 4096), -EBADF);
    assert_int_equal(io->rename(io->opaque, "/nowhere/a", "/nowhere/b"), -ENOENT);
    assert_int_equal(io->unlink(io->opaque, "/nowhere/a"), -ENOENT);
    assert_int_equal(io->mkdir(io->opaque, "/nowhere/a/b", 0700), -ENOENT);
    assert_int_equal(io->list(io->opaque, "/nowhere", on_name, &n), -ENOENT);
    assert_int_equal(amb_io_sync_dir(io, "/nowhere"), -ENOENT);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(io->size(io->opaque, &size, ends[0]), -EINVAL); /* of regular files only */
    assert_int_equal(size, 99);
    close(ends[0]);
    close(ends[1]);

    assert_non_null(mkdtemp(path));
    assert_int_equal(io->list(io->opaque, path, on_name, &n), 0);
    assert_int_equal(n, 2);
    snprintf(name, sizeof name, "%s/file", path);
    fd = io->open(io->opaque, name, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(io->pwrite(io->opaque, fd, "abc", 3, 2), 3);
    assert_int_equal(io->size(io->opaque, &size, fd), 0);
    assert_int_equal(size, 5);
    assert_int_equal(io->list(io->opaque, path, on_name, &n), 42); /* the visitor ends the walk */
    assert_int_equal(io->close(io->opaque, fd), 0);
    assert_int_equal(io->unlink(io->opaque, name), 0);
    assert_int_equal(rmdir(path), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(read_goes_on_after_an_interruption_and_a_short_transfer),
    cmocka_unit_test(read_ends_where_the_file_does_and_forwards_errors),
    cmocka_unit_test(write_goes_on_and_a_write_of_nothing_is_an_error),
    cmocka_unit_test(interruptions_without_end_are_an_error),
    cmocka_unit_test(system_answers_negative_errno),
};

TEST_MAIN(tests)
