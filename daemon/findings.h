#pragma once
/* Findings: what indexing passed over and people should know; the same rows for log, --check and STATUS. */
#include <stddef.h>
#include <stdint.h>

#include "shard/catalog.h"

#define AMBD_FINDINGS_MAX 8u

struct ambd_finding {
    const char *event; /* of the log: "dataset.hidden" */
    const char *text;  /* behind the number: "shards were left out" */
    const char *first; /* the first of them, "" if not known; borrowed from the report */
    uint64_t n;        /* > 0 */
};

/* The rows that apply; returns their number. Thread: any. */
size_t ambd_findings_get(struct ambd_finding out[AMBD_FINDINGS_MAX], const struct amb_catalog_report *report);
