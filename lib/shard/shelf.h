#pragma once
/* Shelf: index images in a cache folder, written whole or not at all, believed only after their checksum. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

/**
 * Map the file that `name` stands for.
 *
 * Returns: 0 with a private, read-only map (munmap), -ENOENT if there is none, else -E....
 * Thread:  any.
 */
int amb_shelf_load(uint8_t **image, size_t *image_bytes, const char *dir, const struct amb_hash128 *name);

/* Write and rename; readers see the old file or all of the new one. Errors: -E... with the path. Thread: any.
 */
int amb_shelf_put(const char *dir, const struct amb_hash128 *name, const uint8_t *image, size_t image_bytes,
                  struct amb_error *err);

/* Make the folder and its parents, mode 0700; remove what crashes and shards long gone have left in it. */
int amb_shelf_init(const char *dir, struct amb_error *err);
