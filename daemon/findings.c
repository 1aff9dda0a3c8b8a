/*
 * Findings: one table, so that nothing that indexing counted is told in one place and forgotten in another.
 */
#include "daemon/findings.h"

size_t ambd_findings_get(struct ambd_finding out[AMBD_FINDINGS_MAX], const struct amb_catalog_report *report) {
    const struct ambd_finding rows[] = {
        {"dataset.without_image", "entries hold no picture", report->first_without_image, report->n_without_image},
        {"dataset.hidden", "further pictures of a key that has one already are not served", report->first_hidden,
         report->n_hidden},
        {"dataset.bad_labels", "labels are no integers: those samples have none", report->first_bad_label,
         report->n_bad_labels},
        {"dataset.bad_shards", "shards were left out", report->first_bad_shard, report->n_bad_shards},
        {"dataset.repeated_keys", "samples repeat a key of their shard and are bad", "", report->n_repeated},
        {"dataset.symlinks", "symbolic links in folders were not followed", "", report->n_symlinks},
        {"dataset.uncached", "shard indexes could not be cached", "", report->n_uncached},
    };
    size_t n = 0;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].n > 0) {
            out[n++] = rows[i];
        }
    }
    return n;
}
