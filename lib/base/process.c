/*
 * Process: native levels and coefficients of the two noise steps, all from s in f64 (DESIGN section 2).
 */
#include "base/process.h"

#include <assert.h>
#include <string.h>

static const char *const process_names[AMB_PROCESS_N] = {"ve", "vp", "flow"};

const char *amb_process_name(enum amb_process process) {
    return process_names[process];
}

bool amb_process_parse(enum amb_process *out, const char *name) {
    for (unsigned i = 0; i < AMB_PROCESS_N; i++) {
        if (strcmp(name, process_names[i]) == 0) {
            *out = (enum amb_process)i;
            return true;
        }
    }
    return false;
}

static bool process_is_inf(double s) {
    return s > 0x1.fffffffffffffp1023;
}

double amb_process_alpha(enum amb_process process, double s) {
    switch (process) {
    case AMB_PROCESS_VP:
        return 1 / __builtin_sqrt(1 + s * s); /* s * s may reach inf: alpha is 0 there */
    case AMB_PROCESS_FLOW:
        return 1 / (1 + s);
    default:
        return 1;
    }
}

double amb_process_t(enum amb_process process, double s) {
    if (process == AMB_PROCESS_VE) {
        return s;
    }
    /* past 2^500, s * s overflows, and t has long been 1 in f64 */
    return s > 0x1p500 ? 1 : amb_process_alpha(process, s) * s;
}

double amb_process_s(enum amb_process process, double t) {
    switch (process) {
    case AMB_PROCESS_VP:
        return t >= 1 ? __builtin_inf() : t / __builtin_sqrt((1 - t) * (1 + t));
    case AMB_PROCESS_FLOW:
        return t >= 1 ? __builtin_inf() : t / (1 - t);
    default:
        return t;
    }
}

void amb_process_get(struct amb_process_step *out, enum amb_process process, double s, double s_n) {
    assert(s >= s_n && s_n >= 0 && !(process == AMB_PROCESS_VE && process_is_inf(s)));
    *out = (struct amb_process_step){
        .s = s,
        .s_n = s_n,
        .t = amb_process_t(process, s),
        .tn = amb_process_t(process, s_n),
        .alpha_t = amb_process_alpha(process, s),
        .alpha_n = amb_process_alpha(process, s_n),
    };
    if (process_is_inf(s)) {
        out->a = 0;
        out->b = 1;
        return;
    }
    out->a = out->alpha_t / out->alpha_n;
    out->b = out->alpha_t * __builtin_sqrt((s - s_n) * (s + s_n));
}
