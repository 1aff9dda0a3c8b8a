#pragma once
/* Progress: how far indexing is, on a terminal as one line with rate and ETA, else as log lines. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ambd_progress {
    const char *dataset;
    bool tty;
    uint64_t began_ns, last_ns; /* 0: nothing shown yet */
};

void ambd_progress_init(struct ambd_progress *progress, const char *dataset);
/* For amb_catalog_options.progress. Thread: that of open. */
void ambd_progress_show(void *progress, size_t n_done, size_t n_shards, uint64_t n_samples);
