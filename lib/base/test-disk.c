/*
 * Test disk: inodes, names, descriptors; every call of the table counts, may fail, and is logged.
 *
 * Bytes are shared between copies of a disk and copied at the first write, so that a hundred thousand states of one
 * folder cost little more than what differs between them.
 */
#include "base/test-disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/test-blob.h"

#define BLOCK    4096u
#define FIRST_FD 1000

/* The log */

static void log_push(struct test_disk *disk, const struct test_op *op, const void *data) {
    struct test_op *copy;

    if (!disk->is_logged) {
        return;
    }
    if (disk->n_ops == disk->ops_capacity) {
        disk->ops_capacity = disk->ops_capacity * 2 + 64;
        disk->ops = test_check(realloc(disk->ops, disk->ops_capacity * sizeof *disk->ops));
    }
    copy = &disk->ops[disk->n_ops++];
    *copy = *op;
    copy->data = NULL;
    if (op->bytes != 0 && data != NULL) {
        copy->data = test_check(malloc(op->bytes));
        memcpy(copy->data, data, op->bytes);
    }
}

void test_disk_ack(struct test_disk *disk, uint64_t sequence) {
    const struct test_op op = {.kind = TEST_OP_ACK, .offset = sequence};

    log_push(disk, &op, NULL);
}

void test_disk_forget(struct test_disk *disk) {
    for (size_t i = 0; i < disk->n_ops; i++) {
        free(disk->ops[i].data);
    }
    disk->n_ops = 0;
}

/* Names */

static struct test_name *name_find(struct test_disk *disk, const char *name) {
    for (uint32_t i = 0; i < disk->n_names; i++) {
        if (strcmp(disk->names[i].name, name) == 0) {
            return &disk->names[i];
        }
    }
    return NULL;
}

void test_disk_settle(struct test_disk *disk, uint32_t i_inode) {
    struct test_inode *inode = &disk->inodes[i_inode];

    if (inode->n_names == 0 && inode->n_fds == 0) {
        disk->used -= inode->reserved;
        inode->reserved = 0;
        test_blob_unref(inode->blob);
        inode->blob = NULL;
    }
}

static void name_remove(struct test_disk *disk, struct test_name *name) {
    uint32_t i_inode = name->i_inode;

    *name = disk->names[--disk->n_names];
    disk->inodes[i_inode].n_names--;
    test_disk_settle(disk, i_inode);
}

static void name_set(struct test_disk *disk, const char *name, uint32_t i_inode) {
    struct test_name *entry = name_find(disk, name);

    disk->inodes[i_inode].n_names++;
    if (entry != NULL) {
        name_remove(disk, entry);
    }
    assert(disk->n_names < TEST_DISK_NAMES && strlen(name) < TEST_DISK_NAME);
    entry = &disk->names[disk->n_names++];
    strcpy(entry->name, name);
    entry->i_inode = i_inode;
}

static void op_name(char out[TEST_DISK_NAME], const char *name) {
    assert(strlen(name) < TEST_DISK_NAME);
    strcpy(out, name);
}

/* Space */

static uint64_t inode_wanted(uint64_t end) {
    return (end + BLOCK - 1) / BLOCK * BLOCK;
}

/* How much of [offset, offset + bytes) has room. */
static size_t inode_reserve(struct test_disk *disk, struct test_inode *inode, uint64_t offset, size_t bytes) {
    uint64_t end = offset + bytes, wanted = inode_wanted(end), room;

    if (wanted <= inode->reserved) {
        return bytes;
    }
    room = disk->capacity == 0 ? wanted : inode->reserved + (disk->capacity - disk->used) / BLOCK * BLOCK;
    if (wanted > room) {
        wanted = room > inode->reserved ? room : inode->reserved;
        bytes = wanted > offset ? (size_t)(wanted - offset) : 0;
    }
    disk->used += wanted - inode->reserved;
    inode->reserved = wanted;
    return bytes;
}

static void inode_truncate(struct test_disk *disk, struct test_inode *inode, uint64_t bytes) {
    uint64_t wanted = inode_wanted(bytes);

    inode->blob = test_blob_resize(inode->blob, bytes);
    if (wanted < inode->reserved) {
        disk->used -= inode->reserved - wanted;
        inode->reserved = wanted;
    }
}

/* Calls */

/* True: this call has the fault. */
static bool disk_faults(struct test_disk *disk) {
    disk->n_calls++;
    if (disk->fault.at == 0 || disk->n_calls < disk->fault.at ||
        (!disk->fault.is_forever && disk->n_calls > disk->fault.at)) {
        return false;
    }
    disk->n_faults++;
    return true;
}

/* As above, for calls that cannot be short. */
static bool disk_fails(struct test_disk *disk) {
    return disk_faults(disk) && disk->fault.kind < TEST_FAULT_SHORT;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static int fd_open(struct test_disk *disk, bool is_dir, uint32_t i_inode) {
    for (uint32_t i = 0; i < TEST_DISK_FDS; i++) {
        if (!disk->fds[i].is_open) {
            disk->fds[i].is_open = true;
            disk->fds[i].is_dir = is_dir;
            disk->fds[i].i_inode = i_inode;
            if (!is_dir) {
                disk->inodes[i_inode].n_fds++;
            }
            return FIRST_FD + (int)i;
        }
    }
    return -EMFILE;
}

static struct test_inode *fd_inode(struct test_disk *disk, int fd) {
    uint32_t i = (uint32_t)(fd - FIRST_FD);

    assert(i < TEST_DISK_FDS && disk->fds[i].is_open && !disk->fds[i].is_dir);
    return &disk->inodes[disk->fds[i].i_inode];
}

static int disk_open(void *opaque, const char *path, int flags, unsigned mode) {
    struct test_disk *disk = opaque;
    struct test_op op = {.kind = TEST_OP_CREATE};
    struct test_name *name;

    (void)mode;
    if (disk_fails(disk)) {
        return disk->fault.code;
    }
    if ((flags & O_DIRECTORY) != 0) {
        return disk->has_dir ? fd_open(disk, true, 0) : -ENOENT;
    }
    if (!disk->has_dir) {
        return -ENOENT;
    }
    name = name_find(disk, base_name(path));
    if (name == NULL && (flags & O_CREAT) == 0) {
        return -ENOENT;
    }
    if (name == NULL) {
        assert(disk->n_inodes < TEST_DISK_INODES);
        op.i_inode = disk->n_inodes++;
        memset(&disk->inodes[op.i_inode], 0, sizeof disk->inodes[op.i_inode]);
        op_name(op.name, base_name(path));
        name_set(disk, op.name, op.i_inode);
        log_push(disk, &op, NULL);
        return fd_open(disk, false, op.i_inode);
    }
    if ((flags & O_TRUNC) != 0 && test_blob_bytes(disk->inodes[name->i_inode].blob) != 0) {
        op = (struct test_op){.kind = TEST_OP_TRUNCATE, .i_inode = name->i_inode};
        inode_truncate(disk, &disk->inodes[name->i_inode], 0);
        log_push(disk, &op, NULL);
    }
    return fd_open(disk, false, name->i_inode);
}

static int disk_close(void *opaque, int fd) {
    struct test_disk *disk = opaque;
    uint32_t i = (uint32_t)(fd - FIRST_FD);

    assert(i < TEST_DISK_FDS && disk->fds[i].is_open);
    disk->fds[i].is_open = false;
    if (!disk->fds[i].is_dir) {
        struct test_inode *inode = &disk->inodes[disk->fds[i].i_inode];

        inode->n_fds--;
        inode->is_locked = inode->is_locked && inode->n_fds != 0;
        test_disk_settle(disk, disk->fds[i].i_inode);
    }
    return disk_fails(disk) ? disk->fault.code : 0; /* closed all the same, as Linux does it */
}

static ssize_t disk_pread(void *opaque, int fd, void *data, size_t bytes, uint64_t offset) {
    struct test_disk *disk = opaque;
    const struct test_inode *inode = fd_inode(disk, fd);
    size_t size = test_blob_bytes(inode->blob), left = offset < size ? size - (size_t)offset : 0;

    if (disk_faults(disk)) {
        if (disk->fault.kind < TEST_FAULT_SHORT) {
            return disk->fault.code;
        }
        bytes = disk->fault.kind == TEST_FAULT_END ? 0 : (bytes + 1) / 2;
    }
    bytes = bytes < left ? bytes : left;
    if (bytes != 0) {
        memcpy(data, test_blob_data(inode->blob) + offset, bytes);
    }
    return (ssize_t)bytes;
}

static ssize_t disk_pwrite(void *opaque, int fd, const void *data, size_t bytes, uint64_t offset) {
    struct test_disk *disk = opaque;
    struct test_inode *inode = fd_inode(disk, fd);
    struct test_op op = {.kind = TEST_OP_WRITE, .i_inode = disk->fds[fd - FIRST_FD].i_inode, .offset = offset};
    const bool is_faulty = disk_faults(disk);

    if (is_faulty && disk->fault.kind == TEST_FAULT_FAIL) {
        return disk->fault.code;
    }
    if (is_faulty && disk->fault.kind == TEST_FAULT_END) {
        return 0;
    }
    if (is_faulty) {
        bytes = disk->fault.kind == TEST_FAULT_TORN ? bytes / 2 : (bytes + 1) / 2;
    }
    op.bytes = inode_reserve(disk, inode, offset, bytes);
    if (op.bytes == 0 && bytes != 0) {
        return -ENOSPC;
    }
    inode->blob = test_blob_write(inode->blob, offset, data, op.bytes);
    log_push(disk, &op, data);
    return is_faulty && disk->fault.kind == TEST_FAULT_TORN ? disk->fault.code : (ssize_t)op.bytes;
}

static int disk_sync(void *opaque, int fd) {
    struct test_disk *disk = opaque;
    uint32_t i = (uint32_t)(fd - FIRST_FD);
    struct test_op op = {.kind = disk->fds[i].is_dir ? TEST_OP_SYNC_DIR : TEST_OP_SYNC,
                         .i_inode = disk->fds[i].i_inode};

    assert(i < TEST_DISK_FDS && disk->fds[i].is_open);
    if (disk_fails(disk)) {
        op.kind = TEST_OP_LOSE;
        if (!disk->fds[i].is_dir) {
            log_push(disk, &op, NULL);
        }
        return disk->fault.code;
    }
    log_push(disk, &op, NULL);
    return 0;
}

static int disk_ftruncate(void *opaque, int fd, uint64_t bytes) {
    struct test_disk *disk = opaque;
    struct test_op op = {.kind = TEST_OP_TRUNCATE, .i_inode = disk->fds[fd - FIRST_FD].i_inode, .offset = bytes};

    if (disk_fails(disk)) {
        return disk->fault.code;
    }
    inode_truncate(disk, fd_inode(disk, fd), bytes);
    log_push(disk, &op, NULL);
    return 0;
}

static int disk_fallocate(void *opaque, int fd, uint64_t offset, uint64_t bytes) {
    struct test_disk *disk = opaque;
    struct test_inode *inode = fd_inode(disk, fd);
    uint64_t wanted = inode_wanted(offset + bytes);

    if (disk_fails(disk)) {
        return disk->fault.code;
    }
    if (disk->capacity != 0 && wanted > inode->reserved && wanted - inode->reserved > disk->capacity - disk->used) {
        return -ENOSPC;
    }
    inode_reserve(disk, inode, offset, bytes);
    return 0;
}

static int disk_size(void *opaque, uint64_t *out, int fd) {
    struct test_disk *disk = opaque;

    if (disk_fails(disk)) {
        return disk->fault.code;
    }
    *out = test_blob_bytes(fd_inode(disk, fd)->blob);
    return 0;
}

static int disk_flock(void *opaque, int fd) {
    struct test_disk *disk = opaque;
    struct test_inode *inode = fd_inode(disk, fd);

    if (disk_fails(disk)) {
        return disk->fault.code;
    }
    if (inode->is_locked) {
        return -EWOULDBLOCK;
    }
    inode->is_locked = true;
    return 0;
}

/* A copy: what is mapped is never changed. */
static int disk_mmap(void *opaque, uint8_t **out, int fd, size_t bytes) {
    struct test_disk *disk = opaque;
    const struct test_inode *inode = fd_inode(disk, fd);

    if (disk_fails(disk)) {
        return disk->fault.code;
    }
    assert(bytes <= test_blob_bytes(inode->blob));
    *out = test_check(malloc(bytes));
    memcpy(*out, test_blob_data(inode->blob), bytes);
    return 0;
}

static int disk_munmap(void *opaque, uint8_t *map, size_t bytes) {
    (void)opaque;
    (void)bytes;
    free(map);
    return 0;
}

static int disk_rename(void *opaque, const char *from, const char *to) {
    struct test_disk *disk = opaque;
    struct test_name *name = name_find(disk, base_name(from));
    struct test_op op = {.kind = TEST_OP_RENAME};

    if (disk_fails(disk)) {
        return disk->fault.code;
    }
    if (name == NULL) {
        return -ENOENT;
    }
    op.i_inode = name->i_inode;
    op_name(op.name, base_name(from));
    op_name(op.to, base_name(to));
    test_disk_apply(disk, &op, 0);
    log_push(disk, &op, NULL);
    return 0;
}

static int disk_unlink(void *opaque, const char *path) {
    struct test_disk *disk = opaque;
    struct test_op op = {.kind = TEST_OP_UNLINK};

    if (disk_fails(disk)) {
        return disk->fault.code;
    }
    if (name_find(disk, base_name(path)) == NULL) {
        return -ENOENT;
    }
    op_name(op.name, base_name(path));
    test_disk_apply(disk, &op, 0);
    log_push(disk, &op, NULL);
    return 0;
}

static int disk_mkdir(void *opaque, const char *path, unsigned mode) {
    struct test_disk *disk = opaque;

    (void)path;
    (void)mode;
    if (disk_fails(disk)) {
        return disk->fault.code;
    }
    if (disk->has_dir) {
        return -EEXIST;
    }
    disk->has_dir = true;
    return 0;
}

/* Over a copy, because the visitor may remove what it is shown. */
static int disk_list(void *opaque, const char *path, int (*visit)(void *arg, const char *name), void *arg) {
    struct test_disk *disk = opaque;
    struct test_name names[TEST_DISK_NAMES];
    const uint32_t n = disk->n_names;
    int r = 0;

    (void)path;
    if (disk_fails(disk)) {
        return disk->fault.code;
    }
    if (!disk->has_dir) {
        return -ENOENT;
    }
    memcpy(names, disk->names, n * sizeof names[0]);
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        r = visit(arg, names[i].name);
    }
    return r;
}

static int disk_random(void *opaque, void *data, size_t bytes) {
    struct test_disk *disk = opaque;

    if (disk_fails(disk)) {
        return disk->fault.code;
    }
    memset(data, (int)(++disk->n_random), bytes);
    return 0;
}

static const struct amb_io disk_io = {
    .open = disk_open,
    .close = disk_close,
    .pread = disk_pread,
    .pwrite = disk_pwrite,
    .fdatasync = disk_sync,
    .fsync = disk_sync,
    .ftruncate = disk_ftruncate,
    .fallocate = disk_fallocate,
    .size = disk_size,
    .flock = disk_flock,
    .mmap = disk_mmap,
    .munmap = disk_munmap,
    .rename = disk_rename,
    .unlink = disk_unlink,
    .mkdir = disk_mkdir,
    .list = disk_list,
    .random = disk_random,
};

/* Life */

void test_disk_init(struct test_disk *disk) {
    memset(disk, 0, sizeof *disk);
    disk->io = disk_io;
    disk->io.opaque = disk;
}

void test_disk_deinit(struct test_disk *disk) {
    test_disk_forget(disk);
    free(disk->ops);
    for (uint32_t i = 0; i < disk->n_inodes; i++) {
        test_blob_unref(disk->inodes[i].blob);
    }
    test_disk_init(disk);
}

void test_disk_copy(struct test_disk *out, const struct test_disk *from) {
    out->io = disk_io;
    out->io.opaque = out;
    out->n_inodes = from->n_inodes;
    out->n_names = from->n_names;
    memcpy(out->inodes, from->inodes, from->n_inodes * sizeof from->inodes[0]);
    memcpy(out->names, from->names, from->n_names * sizeof from->names[0]);
    for (uint32_t i = 0; i < out->n_inodes; i++) {
        out->inodes[i].n_fds = 0;
        out->inodes[i].is_locked = false;
        test_blob_ref(out->inodes[i].blob);
    }
    memset(out->fds, 0, sizeof out->fds);
    out->capacity = from->capacity;
    out->used = from->used;
    out->has_dir = from->has_dir;
    out->n_random = from->n_random;
    out->fault = (struct test_fault){0};
    out->n_calls = out->n_faults = 0;
    out->is_logged = false;
    out->ops = NULL;
    out->n_ops = out->ops_capacity = 0;
}

void test_disk_kill(struct test_disk *disk) {
    for (uint32_t i = 0; i < TEST_DISK_FDS; i++) {
        if (disk->fds[i].is_open) {
            struct test_fault fault = disk->fault;

            disk->fault.at = 0;
            disk_close(disk, FIRST_FD + (int)i);
            disk->fault = fault;
        }
    }
}

uint32_t test_disk_count_fds(const struct test_disk *disk) {
    uint32_t n = 0;

    for (uint32_t i = 0; i < TEST_DISK_FDS; i++) {
        n += disk->fds[i].is_open;
    }
    return n;
}

void test_disk_apply(struct test_disk *disk, const struct test_op *op, size_t bytes) {
    struct test_inode *inode = &disk->inodes[op->i_inode];
    struct test_name *name;

    switch (op->kind) {
    case TEST_OP_WRITE:
        inode_reserve(disk, inode, op->offset, bytes);
        inode->blob = test_blob_write(inode->blob, op->offset, op->data, bytes);
        break;
    case TEST_OP_TRUNCATE:
        inode_truncate(disk, inode, op->offset);
        break;
    case TEST_OP_CREATE:
        for (; disk->n_inodes <= op->i_inode; disk->n_inodes++) {
            memset(&disk->inodes[disk->n_inodes], 0, sizeof disk->inodes[0]);
        }
        name_set(disk, op->name, op->i_inode);
        break;
    case TEST_OP_RENAME:
        name_set(disk, op->to, op->i_inode);
        name = name_find(disk, op->name);
        if (name != NULL && name->i_inode == op->i_inode) {
            name_remove(disk, name);
        }
        break;
    case TEST_OP_UNLINK:
        name = name_find(disk, op->name);
        if (name != NULL) {
            name_remove(disk, name);
        }
        break;
    default:
        break;
    }
}

const uint8_t *test_disk_peek(size_t *bytes, const struct test_disk *disk, const char *name) {
    for (uint32_t i = 0; i < disk->n_names; i++) {
        if (strcmp(disk->names[i].name, name) == 0) {
            const struct test_blob *blob = disk->inodes[disk->names[i].i_inode].blob;

            *bytes = test_blob_bytes(blob);
            return test_blob_data(blob);
        }
    }
    return NULL;
}

void test_disk_flip(struct test_disk *disk, const char *name, size_t offset, uint8_t mask) {
    struct test_inode *inode = &disk->inodes[name_find(disk, name)->i_inode];
    uint8_t byte = (uint8_t)(test_blob_data(inode->blob)[offset] ^ mask);

    inode->blob = test_blob_write(inode->blob, offset, &byte, 1);
}
