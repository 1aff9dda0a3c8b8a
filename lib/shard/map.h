#pragma once
/* Map: one file of samples, opened read-only, mapped or read by pread, with the identity it had when opened.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"

struct amb_identity {
    uint64_t dev, ino, size;
    uint64_t mtime_ns, ctime_ns;
};

struct amb_map {
    int fd;              /* kept open: fstat tells whether the file changed */
    const uint8_t *base; /* NULL: pread; read only by amb_map_copy */
    const char *path;    /* borrowed, for messages */
    struct amb_identity identity;
};
#define AMB_MAP_NULL ((struct amb_map){.fd = -1})

/**
 * Open a regular file of at least one byte.
 *
 * path:   borrowed until deinit. pread: never map; also chosen where the file system is NFS, SMB, FUSE, 9p,
 * Ceph, AFS or Lustre, on which a map may fault or hang at any load. Errors: -E... of open; AMB_ERR_FORMAT
 * not a regular file, or empty. Thread: any.
 */
int amb_map_init(struct amb_map *out, const char *path, bool pread, struct amb_error *err);
void amb_map_deinit(struct amb_map *map); /* idempotent */

/**
 * Copy [offset, offset + bytes) of the file.
 *
 * Errors: AMB_ERR_FORMAT past the end that the file had when opened; AMB_ERR_CHANGED cut since then; -EIO
 *         unreadable. Thread: any.
 */
int amb_map_copy(void *dst, const struct amb_map *map, uint64_t offset, size_t bytes, struct amb_error *err);

/**
 * 0 if size and mtime are still those of init, else AMB_ERR_CHANGED: one fstat.
 *
 * ctime_ns: when anything about the file last changed, times put back included; NULL ok. What was copied between two
 * checks that tell the same is what was indexed. Thread: any.
 */
int amb_map_check(uint64_t *ctime_ns, const struct amb_map *map, struct amb_error *err);

void amb_identity_encode(struct amb_identity *out, const struct stat *st);
uint64_t amb_identity_hash(const struct amb_identity *identity);
/* Written so lately that a second write could leave the same times: such an index must not be cached. */
bool amb_identity_fresh(uint64_t mtime_ns);

/* Make room for n more open files under RLIMIT_NOFILE by raising its soft value. -EMFILE says what is needed.
 */
int amb_map_allow_files(size_t n, struct amb_error *err);
/* The same behind each of them, where nobody knows n: what others open meanwhile (pictures of folders, sockets) needs the
 * last ones. -EMFILE: open no further. Thread: any. */
int amb_map_spare_files(struct amb_error *err);
