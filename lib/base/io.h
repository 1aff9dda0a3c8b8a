#pragma once
/* Io: the table of system calls through which files that must survive are written; tests put faults there. */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Each call answers 0 (or what it counts) or a negative errno value, and gets `opaque` of its table. Nothing in the
 * product knows whether the system or a test answers.
 */
struct amb_io {
    void *opaque;

    int (*open)(void *opaque, const char *path, int flags, unsigned mode); /* a descriptor; never waits */
    int (*close)(void *opaque, int fd);
    ssize_t (*pread)(void *opaque, int fd, void *data, size_t bytes, uint64_t offset);
    ssize_t (*pwrite)(void *opaque, int fd, const void *data, size_t bytes, uint64_t offset);
    int (*fdatasync)(void *opaque, int fd);
    int (*fsync)(void *opaque, int fd);
    int (*ftruncate)(void *opaque, int fd, uint64_t bytes);
    int (*fallocate)(void *opaque, int fd, uint64_t offset, uint64_t bytes); /* the size stays as it is */
    int (*size)(void *opaque, uint64_t *out, int fd);
    int (*flock)(void *opaque, int fd); /* exclusive; -EWOULDBLOCK where another holds it */
    int (*mmap)(void *opaque, uint8_t **out, int fd, size_t bytes); /* shared, read-only */
    int (*munmap)(void *opaque, uint8_t *map, size_t bytes);
    int (*rename)(void *opaque, const char *from, const char *to);
    int (*unlink)(void *opaque, const char *path);
    int (*mkdir)(void *opaque, const char *path, unsigned mode);
    /* Names in a folder, "." and ".." too, in no order; a visitor that returns non-zero ends the walk, and that is returned. */
    int (*list)(void *opaque, const char *path, int (*visit)(void *arg, const char *name), void *arg);
    int (*random)(void *opaque, void *data, size_t bytes);
};

extern const struct amb_io amb_io_system; /* opaque is NULL; Thread: any */

/**
 * Read until `bytes` are there or the file ends; interrupted calls are made again.
 *
 * *got: bytes read. Returns 0 or -E...; -EIO also where the system says that the file ends and its size says that it goes on.
 */
int amb_io_read(size_t *got, const struct amb_io *io, int fd, void *data, size_t bytes, uint64_t offset);

/* Write all; 0 or -E..., and then any part of it may be written. Interrupted calls are made again, a short one goes on. */
int amb_io_write(const struct amb_io *io, int fd, const void *data, size_t bytes, uint64_t offset);

/* fsync of a folder: what was created, renamed or removed in it before is on disk when it returns. */
int amb_io_sync_dir(const struct amb_io *io, const char *path);
