#pragma once
/* Rest: who indexes tells every so often what it took of a processor, to one who may let it sleep or end it. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define AMB_REST_STEPS 128u /* members or samples, of 0.1 to 10 us each, to a look at the clock of 0.3 us; not tuned */

struct amb_rest {
    int (*take)(void *opaque, uint64_t used_ns, struct amb_error *err); /* as of amb_catalog_options.rest */
    void *opaque;
    uint64_t used_ns;     /* by this thread when take was called last */
    unsigned n_steps;     /* since then */
    struct amb_error why; /* code < 0: take has ended it, index no further */
};

/* On the thread that will index; the time it has used counts from here. */
void amb_rest_init(struct amb_rest *rest, int (*take)(void *opaque, uint64_t used_ns, struct amb_error *err), void *opaque);

/* Tell now; what take answers, which may have slept. rest: NULL ok, nobody listens. Thread: that of init. */
int amb_rest_take(struct amb_rest *rest, struct amb_error *err);

static inline bool amb_rest_ended(const struct amb_rest *rest) {
    return rest != NULL && rest->why.code < 0;
}

/* One step of many: tell, if it is time. */
static inline int amb_rest_step(struct amb_rest *rest, struct amb_error *err) {
    return rest == NULL || ++rest->n_steps < AMB_REST_STEPS ? 0 : amb_rest_take(rest, err);
}
