#pragma once
/* Test disk: one folder in memory behind an amb_io; it fails where it is told to, and remembers what was done to it. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/io.h"

#define TEST_DISK_DIR    "/disk/store"
#define TEST_DISK_INODES 160u
#define TEST_DISK_NAMES  96u
#define TEST_DISK_FDS    16u
#define TEST_DISK_NAME   40u

struct test_blob; /* bytes of a file, shared by copies of a disk until one writes */

struct test_inode {
    struct test_blob *blob; /* NULL: empty */
    uint64_t reserved;      /* bytes that have room, whole blocks */
    uint16_t n_names, n_fds;
    bool is_locked;
};

struct test_name {
    char name[TEST_DISK_NAME];
    uint32_t i_inode;
};

enum test_op_kind {
    TEST_OP_WRITE,
    TEST_OP_TRUNCATE, /* to offset */
    TEST_OP_CREATE,
    TEST_OP_RENAME, /* name to `to` */
    TEST_OP_UNLINK,
    TEST_OP_SYNC,
    TEST_OP_SYNC_DIR,
    TEST_OP_LOSE, /* a sync failed: what waited is clean in memory, and never gets to the disk */
    TEST_OP_ACK, /* the test's: up to `offset` was acknowledged */
};

struct test_op {
    enum test_op_kind kind;
    uint32_t i_inode;
    uint64_t offset;
    size_t bytes;
    uint8_t *data; /* owned by the log */
    char name[TEST_DISK_NAME], to[TEST_DISK_NAME];
};

enum test_fault_kind {
    TEST_FAULT_FAIL,  /* nothing happens but the answer */
    TEST_FAULT_TORN,  /* half of a write happens; else as fail */
    TEST_FAULT_SHORT, /* reads and writes transfer half and say so; other calls are as ever */
    TEST_FAULT_END,   /* they transfer nothing and say so, as if the file ended */
};

struct test_fault {
    uint64_t at; /* number of the call, from 1; 0: none */
    bool is_forever;
    enum test_fault_kind kind;
    int code; /* negative errno */
};

struct test_disk {
    struct amb_io io; /* opaque is the disk itself: it must not move */
    struct test_inode inodes[TEST_DISK_INODES];
    uint32_t n_inodes;
    struct test_name names[TEST_DISK_NAMES];
    uint32_t n_names;
    struct {
        bool is_open, is_dir;
        uint32_t i_inode;
    } fds[TEST_DISK_FDS];
    uint64_t capacity, used; /* bytes in blocks of 4 KiB; capacity 0: endless */
    bool has_dir;
    uint64_t n_random;

    struct test_fault fault;
    uint64_t n_calls, n_faults; /* of the table; faults that took effect */

    bool is_logged;
    struct test_op *ops; /* owned */
    size_t n_ops, ops_capacity;
};

void test_disk_init(struct test_disk *disk);
void test_disk_deinit(struct test_disk *disk);
/* Files and names; neither descriptors, faults nor log. The copy is initialised by it. */
void test_disk_copy(struct test_disk *out, const struct test_disk *from);
/* The process is gone: its descriptors and locks too. */
void test_disk_kill(struct test_disk *disk);
uint32_t test_disk_count_fds(const struct test_disk *disk);

void test_disk_ack(struct test_disk *disk, uint64_t sequence); /* into the log */
void test_disk_forget(struct test_disk *disk);                 /* the log so far */

/* Do again what the log says; of a write its first `bytes` only. */
void test_disk_apply(struct test_disk *disk, const struct test_op *op, size_t bytes);

/* Let go of an inode that neither name nor descriptor leads to. */
void test_disk_settle(struct test_disk *disk, uint32_t i_inode);

/* A file by name; NULL: none. *bytes: its size. */
const uint8_t *test_disk_peek(size_t *bytes, const struct test_disk *disk, const char *name);
/* Change one byte of a file. */
void test_disk_flip(struct test_disk *disk, const char *name, size_t offset, uint8_t mask);

/**
 * What a disk may hold after power was lost behind the n_ops first of ops.
 *
 * base: what was on disk before them. Synced bytes and names are there; of what was not synced since, any part: whole
 * writes dropped or done in another order, sectors of 512 or 4096 bytes of them, sizes grown over zeros or over what
 * another file once held there, names not yet made, moved or taken away. What waited at a failed sync is lost.
 * random: xorshift state, not zero.
 */
void test_disk_crash(struct test_disk *out, const struct test_disk *base, const struct test_op *ops, size_t n_ops,
                     uint64_t *random);

static inline uint64_t test_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}
