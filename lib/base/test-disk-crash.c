/*
 * Test disk, power loss: the log is followed up to the crash; what a sync covers holds, of what waits anything may.
 *
 * Files and names wait apart: a synced file may have no name, a name may lead to a file that was never written. Which
 * of these states one file system or another excludes does not matter: none of them may cost what was promised.
 */
#include "base/test-disk.h"

#include <assert.h>
#include <string.h>

#include "base/test-blob.h"

#define N_PENDING 512u

/* What was done to one file, or to the names, and is not synced. */
struct pending {
    const struct test_op *ops[N_PENDING];
    size_t n;
};

static void pending_push(struct pending *pending, const struct test_op *op) {
    assert(pending->n < N_PENDING);
    pending->ops[pending->n++] = op;
}

static void pending_shuffle(struct pending *pending, uint64_t *random) {
    for (size_t i = pending->n; i > 1; i--) {
        size_t k = (size_t)(test_random(random) % i);
        const struct test_op *op = pending->ops[k];

        pending->ops[k] = pending->ops[i - 1];
        pending->ops[i - 1] = op;
    }
}

/* Sectors of a write, each of them or not. */
static void crash_tear(struct test_disk *disk, const struct test_op *op, size_t sector, uint64_t *random) {
    struct test_inode *inode = &disk->inodes[op->i_inode];

    for (uint64_t at = op->offset; at < op->offset + op->bytes;) {
        uint64_t end = (at / sector + 1) * sector;

        end = end < op->offset + op->bytes ? end : op->offset + op->bytes;
        if (test_random(random) % 2 == 0) {
            inode->blob = test_blob_write(inode->blob, at, op->data + (at - op->offset), (size_t)(end - at));
        }
        at = end;
    }
}

/* A size that got to disk before its bytes: zeros, or what lay there before. */
static void crash_grow(struct test_disk *disk, struct test_inode *inode, size_t bytes, uint64_t *random) {
    const struct test_inode *other = &disk->inodes[test_random(random) % disk->n_inodes];
    size_t old = test_blob_bytes(inode->blob), n = test_blob_bytes(other->blob), at;

    inode->blob = test_blob_resize(inode->blob, bytes);
    if (other == inode || n == 0 || test_random(random) % 2 == 0) {
        return;
    }
    at = (size_t)(test_random(random) % n);
    n = n - at < bytes - old ? n - at : bytes - old;
    inode->blob = test_blob_write(inode->blob, old, test_blob_data(other->blob) + at, n);
}

/* 0: all; 1: nothing; 2: whole writes; 3: sectors; 4: all up to one of them, that one torn. */
static void crash_file(struct test_disk *disk, struct pending *pending, uint64_t *random) {
    const unsigned mode = (unsigned)(test_random(random) % 5);
    const size_t sector = test_random(random) % 2 == 0 ? 512 : 4096;
    size_t last = pending->n != 0 ? (size_t)(test_random(random) % pending->n) : 0;
    uint64_t largest = 0;

    for (size_t i = 0; i < pending->n; i++) {
        const struct test_op *op = pending->ops[i];

        largest = op->offset + op->bytes > largest ? op->offset + op->bytes : largest;
    }
    if (mode == 2 || mode == 3) {
        pending_shuffle(pending, random);
    }
    for (size_t i = 0; i < pending->n && mode != 1; i++) {
        const struct test_op *op = pending->ops[i];
        const bool is_write = op->kind == TEST_OP_WRITE;

        if (is_write && (mode == 3 || (mode == 4 && i == last))) {
            crash_tear(disk, op, sector, random);
        } else if (mode == 0 || (mode == 4 && i < last) || (mode != 4 && test_random(random) % 2 == 0)) {
            test_disk_apply(disk, op, op->bytes);
        }
    }
    if (pending->n != 0 && test_random(random) % 4 == 0) {
        struct test_inode *inode = &disk->inodes[pending->ops[0]->i_inode];

        if (largest > test_blob_bytes(inode->blob)) {
            crash_grow(disk, inode, (size_t)largest, random);
        }
    }
}

/* 0: all; 1: nothing; 2: up to one of them; 3: any of them. */
static void crash_names(struct test_disk *disk, const struct pending *pending, uint64_t *random) {
    const unsigned mode = (unsigned)(test_random(random) % 4);
    const size_t last = pending->n != 0 ? (size_t)(test_random(random) % pending->n) : 0;

    for (size_t i = 0; i < pending->n; i++) {
        if (mode == 0 || (mode == 2 && i < last) || (mode == 3 && test_random(random) % 2 == 0)) {
            test_disk_apply(disk, pending->ops[i], 0);
        }
    }
}

/* All of them hold now. */
static void pending_settle(struct test_disk *disk, struct pending *pending) {
    for (size_t i = 0; i < pending->n; i++) {
        test_disk_apply(disk, pending->ops[i], pending->ops[i]->bytes);
    }
    pending->n = 0;
}

static void crash_collect(struct test_disk *disk, struct pending *files, struct pending *names,
                          const struct test_op *op) {
    switch (op->kind) {
    case TEST_OP_WRITE:
    case TEST_OP_TRUNCATE:
        pending_push(&files[op->i_inode], op);
        break;
    case TEST_OP_SYNC:
        pending_settle(disk, &files[op->i_inode]);
        break;
    case TEST_OP_SYNC_DIR:
        pending_settle(disk, names);
        break;
    case TEST_OP_LOSE:
        files[op->i_inode].n = 0;
        break;
    case TEST_OP_ACK:
        break;
    default:
        pending_push(names, op);
    }
}

void test_disk_crash(struct test_disk *out, const struct test_disk *base, const struct test_op *ops, size_t n_ops,
                     uint64_t *random) {
    static struct pending files[TEST_DISK_INODES], names;

    test_disk_copy(out, base);
    out->capacity = 0;
    for (uint32_t i = 0; i < TEST_DISK_INODES; i++) {
        files[i].n = 0;
    }
    names.n = 0;
    for (; out->n_inodes < TEST_DISK_INODES; out->n_inodes++) { /* files are there before their names */
        memset(&out->inodes[out->n_inodes], 0, sizeof out->inodes[0]);
    }
    for (uint32_t i = 0; i < TEST_DISK_INODES; i++) {
        out->inodes[i].n_names++; /* kept alive though no name may lead to it */
    }
    for (size_t i = 0; i < n_ops; i++) {
        crash_collect(out, files, &names, &ops[i]);
    }
    out->n_inodes = base->n_inodes;
    for (size_t i = 0; i < n_ops; i++) {
        if (ops[i].kind == TEST_OP_CREATE && ops[i].i_inode >= out->n_inodes) {
            out->n_inodes = ops[i].i_inode + 1;
        }
    }
    for (uint32_t i = 0; i < out->n_inodes; i++) {
        crash_file(out, &files[i], random);
    }
    crash_names(out, &names, random);
    for (uint32_t i = 0; i < TEST_DISK_INODES; i++) {
        out->inodes[i].n_names--;
        test_disk_settle(out, i);
    }
}
