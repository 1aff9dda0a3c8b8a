#pragma once
/* Weight: of the ambient loss at (s, s_n). */
#include <stdbool.h>

#include "base/process.h"

enum amb_weight {
    AMB_WEIGHT_NONE,     /* 1 times the ambient factor              */
    AMB_WEIGHT_EDM,      /* 1/s^2 + 1/sd^2, sd = 0.5 (EDM, table 1) */
    AMB_WEIGHT_VELOCITY, /* 1/t^2, flow                             */
    AMB_WEIGHT_N,
};
const char *amb_weight_name(enum amb_weight weight);
bool amb_weight_parse(enum amb_weight *out, const char *name);

/* Loss weight: x0 weight times the ambient factor (1/(alpha_n (1 - (s_n/s)^2)))^2; may be inf (the caller
 * refuses). */
double amb_weight_get(enum amb_weight weight, enum amb_process process, double s, double s_n);
