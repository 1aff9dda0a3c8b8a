#pragma once
/* Fake catalog: catalog.h over arrays, for unit tests of annotations that need names and labels only. */
#include "shard/catalog.h"

struct fake_sample {
    const char *source; /* samples of a source stand together */
    const char *key;
    const char *path;   /* of the picture inside its shard */
    int64_t label;
};

/* The samples are borrowed. One reference, given back by amb_catalog_unref. */
struct amb_catalog *fake_catalog_new(const struct fake_sample *samples, uint32_t n_samples);

/* n samples of source "main" with keys "0000000", "0000001", ... and paths "0000000.png". */
struct amb_catalog *fake_catalog_new_numbered(uint32_t n_samples);
