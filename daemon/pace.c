/*
 * Pace: what indexing takes, fill workers lose, so that their rate is kept by taking little at a time.
 *
 * Measured with 1,000 small shards, two workers on two cores, means of five to ten rounds: at nice 19 without rests a stream had
 * 0.75 of its rate (workers, decoders, loop and trainer wake each other thousands of times a second; each time one of them
 * sleeps the indexer is let in, and stays for a slice); with rests at nice 0 0.89; with both 1.00. The shards take two to
 * four seconds then, instead of half of one; without streams they take what they took before.
 *
 * However long it was used at once, all of it is owed, so that the share holds for shards of any size; it is slept off in
 * parts, to notice a stop, and workers that have nothing to do any more.
 */
#include "daemon/pace.h"

#include <errno.h>
#include <time.h>

#define PACE_PARTS    10u                 /* of a worker's time, of which indexing may have one; 6 did as well */
#define PACE_SLEEP_NS UINT64_C(1000000)   /* shorter rests wait until they are worth a wake-up; not tuned */
#define PACE_PART_NS  UINT64_C(100000000) /* slept at a time, and how late a stop is noticed; not tuned */

static bool pace_is_wanted(const struct ambd_pace *pace) {
    return pace->producer->n_workers < PACE_PARTS && ambd_producer_busy_ns(pace->producer, ambd_now_ns()) != 0;
}

int ambd_pace_rest(void *opaque, uint64_t used_ns, struct amb_error *err) {
    struct ambd_pace *pace = opaque;
    unsigned n_workers = pace->producer->n_workers;

    pace->owed_ns += n_workers < PACE_PARTS ? used_ns * (PACE_PARTS - n_workers) / n_workers : 0;
    while (!atomic_load_explicit(&pace->stop, memory_order_relaxed)) {
        uint64_t part_ns = pace->owed_ns < PACE_PART_NS ? pace->owed_ns : PACE_PART_NS;
        struct timespec part = {0, (long)part_ns};

        pace->owed_ns = pace_is_wanted(pace) ? pace->owed_ns : 0;
        if (pace->owed_ns < PACE_SLEEP_NS) {
            return 0;
        }
        nanosleep(&part, NULL);
        pace->owed_ns -= part_ns;
    }
    return amb_fail(err, -ESHUTDOWN, "the daemon is stopping");
}
