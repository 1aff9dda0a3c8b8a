/*
 * Pace: what indexing takes, fill workers lose, so that their rate is kept by taking little at a time.
 *
 * Measured with 1,000 small shards, two workers on two cores, means of five to ten rounds: at nice 19 without rests a stream had
 * 0.75 of its rate (workers, decoders, loop and trainer wake each other thousands of times a second; each time one of them
 * sleeps the indexer is let in, and stays for a slice); with rests at nice 0 0.89; with both 1.00. The shards take two to
 * four seconds then, instead of half of one; without streams they take what they took before.
 */
#include "daemon/pace.h"

#include <errno.h>
#include <time.h>

#define PACE_PARTS    10u                 /* of a worker's time, of which indexing may have one; 6 did as well */
#define PACE_SLEEP_NS UINT64_C(1000000)   /* shorter rests wait until they are worth a wake-up; not tuned */
#define PACE_REST_NS  UINT64_C(100000000) /* the longest, and how late a stop is noticed; not tuned */

int ambd_pace_rest(void *opaque, uint64_t used_ns, struct amb_error *err) {
    struct ambd_pace *pace = opaque;
    unsigned n_workers = pace->producer->n_workers;
    struct timespec rest;

    if (atomic_load_explicit(&pace->stop, memory_order_relaxed)) {
        return amb_fail(err, -ESHUTDOWN, "the daemon is stopping");
    }
    if (n_workers >= PACE_PARTS || ambd_producer_busy_ns(pace->producer, ambd_now_ns()) == 0) {
        pace->owed_ns = 0;
        return 0;
    }
    pace->owed_ns += used_ns * (PACE_PARTS - n_workers) / n_workers;
    pace->owed_ns = pace->owed_ns < PACE_REST_NS ? pace->owed_ns : PACE_REST_NS;
    if (pace->owed_ns >= PACE_SLEEP_NS) {
        rest = (struct timespec){0, (long)pace->owed_ns};
        pace->owed_ns = 0;
        nanosleep(&rest, NULL);
    }
    return 0;
}
