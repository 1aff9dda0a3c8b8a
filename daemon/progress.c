/*
 * Progress: silent for what takes less than half a second, which a start from cached indexes does.
 */
#include "daemon/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/producer.h"

#define PROGRESS_FIRST_NS UINT64_C(500000000)
#define PROGRESS_LOG_NS   UINT64_C(5000000000) /* between log lines; not tuned */

void ambd_progress_init(struct ambd_progress *progress, const char *dataset) {
    *progress = (struct ambd_progress){
        .dataset = dataset, .tty = isatty(STDERR_FILENO) != 0, .began_ns = ambd_now_ns()};
}

static double progress_eta(double elapsed_s, size_t n_done, size_t n_shards) {
    return n_done > 0 ? elapsed_s * (double)(n_shards - n_done) / (double)n_done : 0;
}

void ambd_progress_show(void *opaque, size_t n_done, size_t n_shards, uint64_t n_samples) {
    struct ambd_progress *progress = opaque;
    uint64_t now_ns = ambd_now_ns();
    double elapsed_s = (double)(now_ns - progress->began_ns) * 1e-9;
    bool last = n_done == n_shards;

    if (progress->last_ns == 0 && now_ns - progress->began_ns < PROGRESS_FIRST_NS) {
        return;
    }
    if (progress->tty) {
        fprintf(stderr,
                "\rindexing %s: %zu of %zu shards, %llu samples, %.0f samples/s, %.0f s left \x1b[K%s",
                progress->dataset, n_done, n_shards, (unsigned long long)n_samples,
                (double)n_samples / elapsed_s, progress_eta(elapsed_s, n_done, n_shards), last ? "\n" : "");
    } else if (last || progress->last_ns == 0 || now_ns - progress->last_ns > PROGRESS_LOG_NS) {
        ambd_log(AMBD_INFO, "index.progress dataset=%s shards=%zu of=%zu samples=%llu rate=%.0f eta_s=%.0f",
                 progress->dataset, n_done, n_shards, (unsigned long long)n_samples,
                 (double)n_samples / elapsed_s, progress_eta(elapsed_s, n_done, n_shards));
    } else {
        return;
    }
    ambd_notify("EXTEND_TIMEOUT_USEC=300000000"); /* TimeoutStartSec= is not for the first index of many shards */
    progress->last_ns = now_ns;
}
