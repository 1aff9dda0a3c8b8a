#pragma once
/* Test archive: tar and zip archives made byte by byte, so that tests can lie in any field. */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/size.h"
#include "base/test.h"
#include "proto/wire.h"

#include <zlib.h>

/* A folder that is removed with everything in it at the end of the test. */
static inline char *test_folder_new(void) {
    static char path[64];

    snprintf(path, sizeof path, "%s/amb-shard-XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void test_folder_free(const char *folder) {
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

static inline const char *test_path(const char *folder, const char *name) {
    static char paths[32][512]; /* so many are valid at a time */
    static unsigned i;
    char *path = paths[i++ % 32];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Write a file whose times lie in the past, so that its index may be cached. */
static inline void test_write(const char *path, const void *data, size_t bytes) {
    struct timespec old[2] = {{1700000000, 0}, {1700000000, 0}};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), (ssize_t)bytes);
    assert_int_equal(futimens(fd, old), 0);
    close(fd);
}

static inline void test_write_buf(const char *path, struct amb_buf *buf) {
    test_write(path, buf->data, buf->n_bytes);
    amb_buf_deinit(buf);
}

/* A header as tar has it; `size` is text, or 12 bytes in base 256. */
static inline void test_tar_header(struct amb_buf *tar, const char *name, const char *size, char type) {
    uint8_t h[512] = {0};
    unsigned sum = 0;

    memcpy(h, name, amb_size_min(strlen(name), 100));
    memcpy(h + 100, "0000644", 8);
    memcpy(h + 108, "0000000", 8);
    memcpy(h + 116, "0000000", 8);
    memcpy(h + 124, size, (size[0] & 0x80) != 0 ? 12 : amb_size_min(strlen(size), 12));
    memcpy(h + 136, "14540000000", 12);
    h[156] = (uint8_t)type;
    memcpy(h + 257,
           "ustar\0"
           "00",
           8);
    memset(h + 148, ' ', 8);
    for (size_t i = 0; i < sizeof h; i++) {
        sum += h[i];
    }
    snprintf((char *)h + 148, 8, "%06o", sum);
    assert_int_equal(amb_buf_push(tar, h, sizeof h), 0);
}

static inline void test_tar_data(struct amb_buf *tar, const void *data, size_t bytes) {
    static const uint8_t zeros[512];

    assert_int_equal(amb_buf_push(tar, data, bytes), 0);
    assert_int_equal(amb_buf_push(tar, zeros, (512 - bytes % 512) % 512), 0);
}

static inline void test_tar_typed(struct amb_buf *tar, const char *name, char type, const void *data,
                                  size_t bytes) {
    char size[24];

    snprintf(size, sizeof size, "%011zo", bytes);
    test_tar_header(tar, name, size, type);
    test_tar_data(tar, data, bytes);
}

static inline void test_tar_file(struct amb_buf *tar, const char *name, const char *text) {
    test_tar_typed(tar, name, '0', text, strlen(text));
}

static inline void test_tar_end(struct amb_buf *tar) {
    static const uint8_t zeros[1024];

    assert_int_equal(amb_buf_push(tar, zeros, sizeof zeros), 0);
}

/* What a zip entry says; lies are allowed. */
struct test_zip_entry {
    const char *name, *local_name; /* NULL: the same */
    const char *data;              /* as stored */
    size_t bytes;
    uint64_t size; /* inflated */
    uint32_t crc;
    uint16_t method, flags;
    uint32_t offset;    /* filled by push; may be overwritten */
    uint32_t local_crc; /* 0: crc */
};

static inline struct test_zip_entry test_zip_stored(const char *name, const char *text) {
    size_t n = strlen(text);

    return (struct test_zip_entry){.name = name,
                                   .data = text,
                                   .bytes = n,
                                   .size = n,
                                   .crc = (uint32_t)crc32(0, (const uint8_t *)text, (unsigned)n)};
}

static inline void test_zip_push(struct amb_buf *zip, struct test_zip_entry *e) {
    const char *name = e->local_name != NULL ? e->local_name : e->name;
    uint8_t h[30] = {0};

    e->offset = (uint32_t)zip->n_bytes;
    ambp_store_u32le(h, 0x04034B50);
    ambp_store_u16le(h + 4, 20);
    ambp_store_u16le(h + 6, e->flags);
    ambp_store_u16le(h + 8, e->method);
    ambp_store_u32le(h + 14, e->local_crc != 0 ? e->local_crc : e->crc);
    ambp_store_u32le(h + 18, (uint32_t)e->bytes);
    ambp_store_u32le(h + 22, (uint32_t)e->size);
    ambp_store_u16le(h + 26, (uint16_t)strlen(name));
    assert_int_equal(amb_buf_push(zip, h, sizeof h), 0);
    assert_int_equal(amb_buf_push(zip, name, strlen(name)), 0);
    assert_int_equal(amb_buf_push(zip, e->data, e->bytes), 0);
}

static inline void test_zip_directory(struct amb_buf *zip, const struct test_zip_entry *entries, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const struct test_zip_entry *e = &entries[i];
        uint8_t h[46] = {0};

        ambp_store_u32le(h, 0x02014B50);
        ambp_store_u16le(h + 8, e->flags);
        ambp_store_u16le(h + 10, e->method);
        ambp_store_u32le(h + 16, e->crc);
        ambp_store_u32le(h + 20, (uint32_t)e->bytes);
        ambp_store_u32le(h + 24, (uint32_t)e->size);
        ambp_store_u16le(h + 28, (uint16_t)strlen(e->name));
        ambp_store_u32le(h + 42, e->offset);
        assert_int_equal(amb_buf_push(zip, h, sizeof h), 0);
        assert_int_equal(amb_buf_push(zip, e->name, strlen(e->name)), 0);
    }
}

static inline void test_zip_end(struct amb_buf *zip, size_t n, size_t directory, const void *comment,
                                size_t bytes) {
    uint8_t h[22] = {0};

    ambp_store_u32le(h, 0x06054B50);
    ambp_store_u16le(h + 8, (uint16_t)n);
    ambp_store_u16le(h + 10, (uint16_t)n);
    ambp_store_u32le(h + 12, (uint32_t)(zip->n_bytes - directory));
    ambp_store_u32le(h + 16, (uint32_t)directory);
    ambp_store_u16le(h + 20, (uint16_t)bytes);
    assert_int_equal(amb_buf_push(zip, h, sizeof h), 0);
    assert_int_equal(amb_buf_push(zip, comment, bytes), 0);
}

/* A whole archive of honest entries. */
static inline void test_zip_all(struct amb_buf *zip, struct test_zip_entry *entries, size_t n) {
    size_t directory;

    for (size_t i = 0; i < n; i++) {
        test_zip_push(zip, &entries[i]);
    }
    directory = zip->n_bytes;
    test_zip_directory(zip, entries, n);
    test_zip_end(zip, n, directory, "", 0);
}
