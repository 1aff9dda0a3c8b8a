/*
 * Manifest: replaced by rename, never changed in place. It holds itself twice, so that a damaged byte costs nothing.
 */
#include "annotate/store-manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MANIFEST_TEMP       "MANIFEST.tmp"
#define MANIFEST_NUMBER_MAX UINT64_C(9000000000) /* ten digits in a file's name, and some left to count on */

bool amb_store_path(char path[4096], const char *dir, const char *name) {
    int n = snprintf(path, 4096, "%s/%s", dir, name);

    return n > 0 && n < 4096;
}

bool amb_store_file(char path[4096], const char *dir, const char *kind, uint64_t number) {
    int n = snprintf(path, 4096, "%s/%s-%010" PRIu64, dir, kind, number);

    return n > 0 && n < 4096;
}

uint64_t amb_store_number(const char *name, const char *kind) {
    size_t kind_bytes = strlen(kind);
    uint64_t number = 0;

    if (strncmp(name, kind, kind_bytes) != 0 || name[kind_bytes] != '-' || strlen(name) != kind_bytes + 11) {
        return 0;
    }
    for (const char *p = name + kind_bytes + 1; *p != '\0'; p++) {
        if (*p < '0' || *p > '9') {
            return 0;
        }
        number = number * 10 + (uint64_t)(*p - '0');
    }
    return number;
}

void amb_manifest_encode(uint8_t part[AMB_MANIFEST_PART_BYTES], const struct amb_manifest *manifest,
                         const char *magic) {
    const uint64_t words[] = {manifest->table,  manifest->first_segment, manifest->next_sequence, manifest->n_rows,
                              manifest->n_curves, manifest->bulk_bytes,  manifest->meta_bytes};

    memset(part, 0, AMB_MANIFEST_PART_BYTES);
    memcpy(part, magic, 7);
    ambp_store_u32le(part + 8, AMB_STORE_VERSION);
    memcpy(part + 16, manifest->store_id, 16);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        ambp_store_u64le(part + 32 + 8 * i, words[i]);
    }
    ambp_store_u32le(part + AMB_MANIFEST_PART_BYTES - 4, amb_crc32c(0, part, AMB_MANIFEST_PART_BYTES - 4));
}

bool amb_manifest_decode(struct amb_manifest *out, const uint8_t part[AMB_MANIFEST_PART_BYTES], const char *magic,
                         uint32_t *version) {
    uint64_t words[7];

    if (memcmp(part, magic, 8) != 0 || ambp_load_u32le(part + AMB_MANIFEST_PART_BYTES - 4) !=
                                           amb_crc32c(0, part, AMB_MANIFEST_PART_BYTES - 4)) {
        return false;
    }
    *version = ambp_load_u32le(part + 8);
    for (size_t i = 0; i < 7; i++) {
        words[i] = ambp_load_u64le(part + 32 + 8 * i);
        if (words[i] > UINT64_C(1) << 56) {
            return false; /* so that sums of offsets cannot wrap */
        }
    }
    if (words[0] > MANIFEST_NUMBER_MAX || words[1] > MANIFEST_NUMBER_MAX || words[2] > AMB_STORE_SEQUENCE_END) {
        return false; /* files of such numbers would not be found again; such sequences are not written */
    }
    memcpy(out->store_id, part + 16, 16);
    out->table = words[0];
    out->first_segment = words[1];
    out->next_sequence = words[2];
    out->n_rows = words[3];
    out->n_curves = words[4];
    out->bulk_bytes = words[5];
    out->meta_bytes = words[6];
    return true;
}

static int manifest_read(uint8_t bytes[AMB_MANIFEST_BYTES], size_t *got, const struct amb_io *io, const char *dir,
                         struct amb_error *err) {
    char path[4096];
    int fd, r;

    if (!amb_store_path(path, dir, AMB_MANIFEST_NAME)) {
        return amb_fail(err, -ENAMETOOLONG, "store: path too long: %s", dir);
    }
    fd = io->open(io->opaque, path, O_RDONLY, 0);
    if (fd < 0) {
        return amb_fail(err, fd, "store: cannot read %s: %s", path, strerror(-fd));
    }
    memset(bytes, 0xFF, AMB_MANIFEST_BYTES);
    r = amb_io_read(got, io, fd, bytes, AMB_MANIFEST_BYTES, 0);
    io->close(io->opaque, fd);
    return r < 0 ? amb_fail(err, r, "store: cannot read %s: %s", path, strerror(-r)) : 0;
}

/* Offset of the first byte between the copies that is not zero; -1: none. */
static int64_t manifest_padding(const uint8_t bytes[AMB_MANIFEST_BYTES]) {
    static const uint8_t zero[AMB_BLOCK_BYTES];
    size_t i = AMB_MANIFEST_PART_BYTES;

    if (memcmp(bytes + i, zero, AMB_BLOCK_BYTES - i) == 0) {
        return -1;
    }
    while (bytes[i] == 0) {
        i++;
    }
    return (int64_t)i;
}

int amb_manifest_load(struct amb_manifest *out, int64_t *damage, const struct amb_io *io, const char *dir,
                      struct amb_error *err) {
    uint8_t bytes[AMB_MANIFEST_BYTES];
    struct amb_manifest copies[2];
    uint32_t versions[2] = {0};
    bool is_good[2];
    size_t got, i;
    int r = manifest_read(bytes, &got, io, dir, err);

    if (r < 0) {
        return r;
    }
    is_good[0] = amb_manifest_decode(&copies[0], bytes, AMB_MANIFEST_MAGIC, &versions[0]);
    is_good[1] = amb_manifest_decode(&copies[1], bytes + AMB_BLOCK_BYTES, AMB_MANIFEST_MAGIC, &versions[1]);
    i = is_good[0] ? 0 : 1;
    if (!is_good[i]) {
        return amb_fail(err, AMB_ERR_FORMAT, "store: both copies in %s/" AMB_MANIFEST_NAME
                        " are damaged or no store's (%zu bytes, expected %u); " AMB_STORE_ADVICE, dir, got,
                        AMB_MANIFEST_BYTES);
    }
    if (versions[i] != AMB_STORE_VERSION) {
        return amb_fail(err, AMB_ERR_VERSION, "store: %s is of version %u, this program reads and writes %u", dir,
                        versions[i], AMB_STORE_VERSION);
    }
    *damage = !is_good[0] ? 0 : manifest_padding(bytes);
    if (*damage < 0 && (!is_good[1] || got != AMB_MANIFEST_BYTES)) {
        *damage = AMB_BLOCK_BYTES;
    }
    *out = copies[i];
    return 0;
}

static int manifest_write(const struct amb_manifest *manifest, const struct amb_io *io, const char *path) {
    uint8_t bytes[AMB_MANIFEST_BYTES] = {0};
    int r, fd = io->open(io->opaque, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0) {
        return fd;
    }
    amb_manifest_encode(bytes, manifest, AMB_MANIFEST_MAGIC);
    memcpy(bytes + AMB_BLOCK_BYTES, bytes, AMB_MANIFEST_PART_BYTES);
    r = amb_io_write(io, fd, bytes, sizeof bytes, 0);
    if (r == 0) {
        r = io->fsync(io->opaque, fd);
    }
    io->close(io->opaque, fd);
    return r;
}

int amb_manifest_store(bool *is_moved, const struct amb_manifest *manifest, const struct amb_io *io, const char *dir,
                       struct amb_error *err) {
    char path[4096], temp[4096];
    int r;

    *is_moved = false;
    if (!amb_store_path(path, dir, AMB_MANIFEST_NAME) || !amb_store_path(temp, dir, MANIFEST_TEMP)) {
        return amb_fail(err, -ENAMETOOLONG, "store: path too long: %s", dir);
    }
    r = manifest_write(manifest, io, temp);
    if (r < 0) {
        io->unlink(io->opaque, temp);
        return amb_fail(err, r, "store: cannot write %s: %s", temp, strerror(-r));
    }
    r = io->rename(io->opaque, temp, path);
    *is_moved = r == 0 || (r != -ENOSPC && r != -EDQUOT);
    if (r == 0) {
        r = amb_io_sync_dir(io, dir);
    }
    return r < 0 ? amb_fail(err, r, "store: cannot replace %s: %s", path, strerror(-r)) : 0;
}
