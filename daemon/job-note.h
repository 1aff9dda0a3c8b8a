#pragma once
/* Job note: a job as the store remembers it over restarts. Loop only. */
#include <stdbool.h>

#include "base/error.h"
#include "daemon/jobs.h"

/**
 * Write down how the job stands, or forget it; behind that its dataset's next job may start.
 *
 * Records are not affected where it fails: job->unnoted_ns says since when, dataset->unwritten why, and whoever has jobs
 * tries again.
 */
void ambd_job_note(struct ambd_jobs *jobs, struct ambd_job *job, bool forget);

/* Whether the store can take it. AMB_ERR_CONFIG: the request is too long. */
int ambd_job_note_check(const struct ambd_job *job, struct amb_error *err);
