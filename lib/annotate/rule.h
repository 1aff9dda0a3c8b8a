#pragma once
/* Rule: probabilities over a sorted grid of sigmas -> sigma_min (Ambient Omni, arXiv 2506.10038; DESIGN section 5). */
#include <stddef.h>

/* EMA in place: e_0 = p_0, e_i = e_{i-1} + 2/(span+1) (p_i - e_{i-1}). */
void amb_rule_smooth(double *p, size_t n, unsigned span);

/* First sigma whose smoothed p is below 0.5 + epsilon, else the last. n >= 1. Thread: any. */
double amb_rule_sigma_min(const double *smoothed, const double *sigmas, size_t n, double epsilon);
