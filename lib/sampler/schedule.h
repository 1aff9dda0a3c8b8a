#pragma once
/* Schedule: the distribution from which noise levels are drawn, as distribution and quantile function. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/process.h"

#define AMB_SCHEDULE_TABLE_MAX 64u /* pairs; bounded because the state carries them */

enum amb_schedule_kind {
    AMB_SCHEDULE_LOGNORMAL,    /* ln s ~ N(mean, std^2)            EDM (arXiv 2206.00364, table 1)        */
    AMB_SCHEDULE_LOGUNIFORM,   /* ln s ~ U(ln lo, ln hi)                                                  */
    AMB_SCHEDULE_UNIFORM,      /* s or t ~ U(lo, hi)                                                      */
    AMB_SCHEDULE_LOGIT_NORMAL, /* logit t ~ N(mean, std^2)         SD3 (arXiv 2403.03206, section 3.1)    */
    AMB_SCHEDULE_TABLE,        /* quantile function, piecewise linear between (probability, level)        */
    AMB_SCHEDULE_CONSTANT,     /* always the same level, 0 for clean images                               */
    AMB_SCHEDULE_N,
};

enum amb_scale {
    AMB_SCALE_S, /* VE scale */
    AMB_SCALE_T, /* native level of the stream's process */
};

struct amb_schedule {
    enum amb_schedule_kind kind;
    enum amb_scale scale;        /* in which the numbers below are given */
    double a, b;                 /* mean, std or lo, hi or level, - */
    uint32_t n_table;
    double p[AMB_SCHEDULE_TABLE_MAX], level[AMB_SCHEDULE_TABLE_MAX];
};

/* Refuse numbers that make no distribution; AMB_ERR_CONFIG with what is allowed. */
int amb_schedule_check(const struct amb_schedule *schedule, enum amb_process process, struct amb_error *err);

/* P(level <= s) and its inverse, both on the VE scale. Monotone, bit-identical everywhere. Thread: any. */
double amb_schedule_cdf(const struct amb_schedule *schedule, enum amb_process process, double s);
double amb_schedule_quantile(const struct amb_schedule *schedule, enum amb_process process, double u);
