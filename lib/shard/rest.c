/*
 * Rest: processor time, not time that passed: who waits for a disk or was not let in takes nothing from others.
 */
#include "shard/rest.h"

#include <time.h>

static uint64_t rest_get_used_ns(void) {
    struct timespec used;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * UINT64_C(1000000000) + (uint64_t)used.tv_nsec;
}

void amb_rest_init(struct amb_rest *rest, int (*take)(void *opaque, uint64_t used_ns, struct amb_error *err), void *opaque) {
    *rest = (struct amb_rest){.take = take, .opaque = opaque, .used_ns = rest_get_used_ns()};
}

int amb_rest_take(struct amb_rest *rest, struct amb_error *err) {
    uint64_t before_ns;
    int r;

    if (rest == NULL) {
        return 0;
    }
    before_ns = rest->used_ns;
    rest->used_ns = rest_get_used_ns();
    rest->n_steps = 0;
    r = rest->take(rest->opaque, rest->used_ns - before_ns, &rest->why);
    return r < 0 ? amb_fail(err, r, "%s", rest->why.message) : 0;
}
