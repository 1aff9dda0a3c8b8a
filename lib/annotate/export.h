#pragma once
/* Export: a generation of annotations as an annotations.jsonl that import.h, and the Python toolbox, read. */
#include <stdbool.h>

#include "annotate/annotations.h"
#include "base/error.h"
#include "shard/catalog.h"

#define AMB_EXPORT_TOOLBOX_INF 300.0 /* what existing files write for a closed sigma_min */

struct amb_export_options {
    bool toolbox; /* as the toolbox reads them: "filename" too, and infinite sigmas as 300.0 instead of "inf" */
};
#define AMB_EXPORT_OPTIONS_DEFAULT ((struct amb_export_options){false})

/**
 * Write one line a sample, in order: {"key": KEY, "sigma_min": S, "sigma_max": S}, the effective values.
 *
 * The toolbox knows samples by "filename", the picture's path inside its shard or folder; import.h takes the key first.
 * KEY is "source/key" where the catalog has several sources or the key alone would be read as that. Numbers are the
 * shortest that give the same f32. Written beside `path`, synced and renamed over it: the old file or the new one is
 * there, never half of one.
 * annotations: of this catalog.
 * Errors: errno values with the path; the old file stays.
 * Thread: any; blocks.
 */
int amb_export_jsonl(const char *path, const struct amb_annotations *annotations, const struct amb_catalog *cat,
                     const struct amb_export_options *options, struct amb_error *err);
