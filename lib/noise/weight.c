/*
 * Weight: x0 weight times ambient factor, in f64 (DESIGN section 2, "Loss").
 */
#include "noise/weight.h"

#include <assert.h>
#include <string.h>

static const char *const weight_names[AMB_WEIGHT_N] = {"none", "edm", "velocity"};

const char *amb_weight_name(enum amb_weight weight) {
    return weight_names[weight];
}

bool amb_weight_parse(enum amb_weight *out, const char *name) {
    for (unsigned i = 0; i < AMB_WEIGHT_N; i++) {
        if (strcmp(name, weight_names[i]) == 0) {
            *out = (enum amb_weight)i;
            return true;
        }
    }
    return false;
}

static double weight_x0(enum amb_weight weight, enum amb_process process, double s) {
    double t;

    switch (weight) {
    case AMB_WEIGHT_EDM:
        return 1 / (s * s) + 4; /* sd = 0.5 */
    case AMB_WEIGHT_VELOCITY:
        t = amb_process_t(process, s);
        return 1 / (t * t);
    default:
        return 1;
    }
}

/* 1 - (s_n/s)^2 without cancellation where s is little more than s_n. */
static double weight_kept(double s, double s_n) {
    return s > 0x1.fffffffffffffp1023 ? 1 : (s - s_n) / s * (1 + s_n / s);
}

double amb_weight_get(enum amb_weight weight, enum amb_process process, double s, double s_n) {
    double factor = 1;

    assert(s >= s_n && s_n >= 0);
    if (s > 0) {
        factor = 1 / (amb_process_alpha(process, s_n) * weight_kept(s, s_n));
    }
    return weight_x0(weight, process, s) * (factor * factor);
}
