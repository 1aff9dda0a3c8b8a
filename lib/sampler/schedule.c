/*
 * Schedule: each distribution is its quantile function; cdf is the inverse, for masses and truncation.
 *
 * The numbers of a schedule are given on s or on the native t; s and t are monotone in each other, so a quantile on
 * one scale is converted and stays a quantile on the other. Nothing here calls libm (base/real.h).
 */
#include "sampler/schedule.h"

#include <math.h>

#include "base/real.h"

static bool schedule_level_ok(enum amb_scale scale, enum amb_process process, double level) {
    bool bounded = scale == AMB_SCALE_T && process != AMB_PROCESS_VE;

    return level >= 0 && (bounded ? level <= 1 : isfinite(level));
}

static int schedule_check_range(const struct amb_schedule *schedule, enum amb_process process, struct amb_error *err) {
    double lo = schedule->a, hi = schedule->b;
    bool positive = schedule->kind != AMB_SCHEDULE_LOGUNIFORM || lo > 0;

    if (!(lo < hi) || !positive || !schedule_level_ok(schedule->scale, process, lo) ||
        !schedule_level_ok(schedule->scale, process, hi)) {
        return amb_fail(err, AMB_ERR_CONFIG, "schedule from %g to %g, allowed: lo < hi, %s%s", lo, hi,
                        schedule->kind == AMB_SCHEDULE_LOGUNIFORM ? "0 < lo" : "0 <= lo",
                        schedule->scale == AMB_SCALE_T && process != AMB_PROCESS_VE ? ", hi <= 1" : ", finite");
    }
    return 0;
}

static int schedule_check_table(const struct amb_schedule *schedule, enum amb_process process, struct amb_error *err) {
    uint32_t n = schedule->n_table;

    if (n < 2 || n > AMB_SCHEDULE_TABLE_MAX) {
        return amb_fail(err, AMB_ERR_CONFIG, "schedule table of %u points, allowed: 2 to %u", n, AMB_SCHEDULE_TABLE_MAX);
    }
    for (uint32_t i = 0; i < n; i++) {
        bool rising = i == 0 || (schedule->p[i] > schedule->p[i - 1] && schedule->level[i] >= schedule->level[i - 1]);

        if (!rising || !schedule_level_ok(schedule->scale, process, schedule->level[i])) {
            return amb_fail(err, AMB_ERR_CONFIG,
                            "schedule table point %u [%g, %g], allowed: probabilities rising, levels not falling and "
                            "in the range of the scale",
                            i, schedule->p[i], schedule->level[i]);
        }
    }
    if (schedule->p[0] != 0 || schedule->p[n - 1] != 1) {
        return amb_fail(err, AMB_ERR_CONFIG, "schedule table from probability %g to %g, expected 0 to 1", schedule->p[0],
                        schedule->p[n - 1]);
    }
    return 0;
}

int amb_schedule_check(const struct amb_schedule *schedule, enum amb_process process, struct amb_error *err) {
    switch (schedule->kind) {
    case AMB_SCHEDULE_LOGNORMAL:
    case AMB_SCHEDULE_LOGIT_NORMAL:
        if (!isfinite(schedule->a) || !(schedule->b > 0) || !isfinite(schedule->b) || schedule->b > 100 ||
            fabs(schedule->a) > 100) {
            return amb_fail(err, AMB_ERR_CONFIG, "schedule of mean %g and std %g, allowed: -100..100 and 0 < std <= 100",
                            schedule->a, schedule->b);
        }
        if (schedule->kind == AMB_SCHEDULE_LOGNORMAL && schedule->scale == AMB_SCALE_T && process != AMB_PROCESS_VE) {
            return amb_fail(err, AMB_ERR_CONFIG, "lognormal levels t exceed 1, which %s does not have; use scale \"s\" "
                                                 "or logitnormal",
                            amb_process_name(process));
        }
        if (schedule->kind == AMB_SCHEDULE_LOGIT_NORMAL &&
            (schedule->scale != AMB_SCALE_T || process == AMB_PROCESS_VE)) {
            return amb_fail(err, AMB_ERR_CONFIG, "logitnormal is a distribution of t in (0, 1): scale \"t\" with process "
                                                 "vp or flow, found scale \"%s\" with %s",
                            schedule->scale == AMB_SCALE_T ? "t" : "s", amb_process_name(process));
        }
        return 0;
    case AMB_SCHEDULE_LOGUNIFORM:
    case AMB_SCHEDULE_UNIFORM:
        return schedule_check_range(schedule, process, err);
    case AMB_SCHEDULE_TABLE:
        return schedule_check_table(schedule, process, err);
    case AMB_SCHEDULE_CONSTANT:
        if (!schedule_level_ok(schedule->scale, process, schedule->a)) {
            return amb_fail(err, AMB_ERR_CONFIG, "constant level %g, allowed: from 0 on%s", schedule->a,
                            schedule->scale == AMB_SCALE_T && process != AMB_PROCESS_VE ? " to 1" : ", finite");
        }
        return 0;
    default:
        return amb_fail(err, AMB_ERR_CONFIG, "unknown kind of schedule");
    }
}

static double schedule_to_s(const struct amb_schedule *schedule, enum amb_process process, double level) {
    return schedule->scale == AMB_SCALE_T ? amb_process_s(process, level) : level;
}

static double schedule_from_s(const struct amb_schedule *schedule, enum amb_process process, double s) {
    return schedule->scale == AMB_SCALE_T ? amb_process_t(process, s) : s;
}

static double schedule_table_quantile(const struct amb_schedule *schedule, double u) {
    uint32_t i = 1;

    while (i + 1 < schedule->n_table && schedule->p[i] < u) {
        i++;
    }
    return schedule->level[i - 1] + (schedule->level[i] - schedule->level[i - 1]) *
                                        ((u - schedule->p[i - 1]) / (schedule->p[i] - schedule->p[i - 1]));
}

static double schedule_table_cdf(const struct amb_schedule *schedule, double level) {
    uint32_t i = schedule->n_table - 1;

    if (level >= schedule->level[i]) {
        return 1;
    }
    while (i > 0 && schedule->level[i - 1] > level) {
        i--;
    }
    if (i == 0) {
        return 0;
    }
    return schedule->p[i - 1] + (schedule->p[i] - schedule->p[i - 1]) *
                                    ((level - schedule->level[i - 1]) / (schedule->level[i] - schedule->level[i - 1]));
}

double amb_schedule_quantile(const struct amb_schedule *schedule, enum amb_process process, double u) {
    double z, lo, hi;

    switch (schedule->kind) {
    case AMB_SCHEDULE_LOGNORMAL:
        return schedule_to_s(schedule, process,
                             amb_real_exp(schedule->a + schedule->b * amb_real_normal_quantile(u)));
    case AMB_SCHEDULE_LOGIT_NORMAL:
        z = schedule->a + schedule->b * amb_real_normal_quantile(u);
        /* s = t/(1-t) of flow is exp(z) itself, without the detour over t that would lose the tail */
        if (process == AMB_PROCESS_FLOW) {
            return amb_real_exp(z);
        }
        return amb_process_s(process, 1 / (1 + amb_real_exp(-z)));
    case AMB_SCHEDULE_LOGUNIFORM:
        lo = amb_real_log(schedule->a);
        hi = amb_real_log(schedule->b);
        return schedule_to_s(schedule, process, amb_real_exp(lo + (hi - lo) * u));
    case AMB_SCHEDULE_UNIFORM:
        return schedule_to_s(schedule, process, schedule->a + (schedule->b - schedule->a) * u);
    case AMB_SCHEDULE_TABLE:
        return schedule_to_s(schedule, process, schedule_table_quantile(schedule, u));
    default:
        return schedule_to_s(schedule, process, schedule->a);
    }
}

static double schedule_clamp(double u) {
    return u < 0 ? 0 : u > 1 ? 1 : u;
}

double amb_schedule_cdf(const struct amb_schedule *schedule, enum amb_process process, double s) {
    double level = schedule_from_s(schedule, process, s), lo, hi;

    if (s == 0 && schedule->kind != AMB_SCHEDULE_CONSTANT && schedule->kind != AMB_SCHEDULE_TABLE) {
        return 0;
    }
    switch (schedule->kind) {
    case AMB_SCHEDULE_LOGNORMAL:
        return amb_real_normal_cdf((amb_real_log(level) - schedule->a) / schedule->b);
    case AMB_SCHEDULE_LOGIT_NORMAL:
        lo = process == AMB_PROCESS_FLOW ? amb_real_log(s) : amb_real_log(level) - amb_real_log(1 - level);
        return amb_real_normal_cdf((lo - schedule->a) / schedule->b);
    case AMB_SCHEDULE_LOGUNIFORM:
        lo = amb_real_log(schedule->a);
        hi = amb_real_log(schedule->b);
        return schedule_clamp((amb_real_log(level) - lo) / (hi - lo));
    case AMB_SCHEDULE_UNIFORM:
        return schedule_clamp((level - schedule->a) / (schedule->b - schedule->a));
    case AMB_SCHEDULE_TABLE:
        return schedule_table_cdf(schedule, level);
    default:
        return level >= schedule->a ? 1 : 0;
    }
}
