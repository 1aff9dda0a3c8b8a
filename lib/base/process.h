#pragma once
/* Process: how a sample turns into noise: ve, vp, flow; all from s, the VE scale, in f64. */
#include <stdbool.h>

enum amb_process {
    AMB_PROCESS_VE,   /* x_t = x + t n,                 t = s               */
    AMB_PROCESS_VP,   /* x_t = sqrt(1 - t^2) x + t n,   t = s / sqrt(1+s^2) */
    AMB_PROCESS_FLOW, /* x_t = (1 - t) x + t n,         t = s / (1+s)       */
    AMB_PROCESS_N,
};

const char *amb_process_name(enum amb_process process);
bool amb_process_parse(enum amb_process *out, const char *name);

double amb_process_t(enum amb_process process, double s);     /* s in [0, inf]          */
double amb_process_s(enum amb_process process, double t);     /* t in [0, 1], ve [0, inf] */
double amb_process_alpha(enum amb_process process, double s); /* 1 / (1+s^2)^-1/2 / 1/(1+s) */

/* Coefficients of the two steps (DESIGN section 2): x_tn = alpha_n x + tn n_i, x_t = a x_tn + b e. */
struct amb_process_step {
    double s, s_n;         /* level and trust level, VE scale */
    double t, tn;          /* the same, native                */
    double alpha_t, alpha_n;
    double a, b;
};

/* s >= s_n >= 0. At s = inf: a = 0, b = 1. ve with s = inf is not allowed (assert). Thread: any. */
void amb_process_get(struct amb_process_step *out, enum amb_process process, double s, double s_n);
