#pragma once
/* Folder: pictures as files below one folder, each with an identity of its own. */
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "shard/indexer.h"
#include "shard/map.h"

#define AMB_FOLDER_DEPTH_MAX 64u /* folders in folders; not tuned */

/* Files below a folder, sorted by their path relative to it as bytes. */
struct amb_folder_file {
    size_t name; /* offset in names */
    uint32_t name_bytes;
    uint32_t class_number; /* of the first folder of its path in sorted order; UINT32_MAX: lies in none */
    uint64_t identity, bytes;
};

struct amb_folder {
    int fd;           /* of the folder, for openat */
    const char *path; /* borrowed */
    struct amb_rest *rest; /* borrowed: a step for each file that the walk finds; or NULL */
    struct amb_folder_file *files;
    size_t n_files, capacity;
    uint64_t n_symlinks; /* passed over */
    uint64_t newest_ns;  /* latest mtime */
    bool is_fresh;       /* as of amb_identity_fresh, when that file was looked at: the walk may take long */
    struct amb_buf names;
    struct amb_identity identity; /* of the walk: changes with any file in it */
    struct amb_labels *labels;
};
#define AMB_FOLDER_NULL ((struct amb_folder){.fd = -1})

/**
 * Open a folder; walk makes the list.
 *
 * The folder itself may be reached through symbolic links; links below it are never followed, neither to
 * files nor to folders, and are counted. Hidden files and folders (".git") are passed over. Errors: -E...;
 * AMB_ERR_LIMIT depth, name, number. Thread: any.
 */
int amb_folder_init(struct amb_folder *out, const char *path, struct amb_error *err);
int amb_folder_walk(struct amb_folder *folder, struct amb_error *err);
void amb_folder_deinit(struct amb_folder *folder); /* idempotent */
void amb_folder_forget(struct amb_folder *folder); /* free the list and the labels; the fd stays */

extern const struct amb_indexer_format amb_folder_format; /* its opaque is the folder, walked */
int amb_folder_scan(struct amb_indexer *indexer, struct amb_folder *folder, struct amb_error *err);

/**
 * Read a file below the folder, without leaving it and without following links.
 *
 * Errors: AMB_ERR_CHANGED gone, or its identity is not `identity`; -EIO; AMB_ERR_LIMIT. Thread: any.
 */
int amb_folder_read(struct amb_buf *out, int folder_fd, const char *folder_path, const char *name,
                    size_t name_bytes, uint64_t identity, struct amb_error *err);
