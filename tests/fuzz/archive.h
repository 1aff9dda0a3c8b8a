#pragma once
/* Archive: bytes as the map of a shard, scanned, and every sample read back. Shared by the targets tar and zip. */
#include "fuzz.h"

#include "shard/index.h"
#include "shard/indexer.h"
#include "shard/map.h"

/* A map without a file: reads are bounded by `bytes` and come from memory. */
struct amb_map archive_map(const uint8_t *data, size_t bytes);

/* Labels and corruption labels are taken from .json for every other length of input. */
struct amb_index_options archive_options(size_t bytes);

/* The image of what was scanned, viewed; fails as amb_index_encode and amb_index_decode do, which must not be. */
void archive_view(struct amb_index *out, struct amb_indexer *indexer, const struct amb_map *map);
