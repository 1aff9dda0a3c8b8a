/*
 * Apply: source -> x -> x_tn -> x_t, in runs that stay in the first-level cache.
 *
 * A run is at most APPLY_RUN elements: whole rows, or a part of one wide row. The two noises of a run are
 * made into scratch, whatever is mirrored is mirrored there, and one kernel (apply-body.inc, one instance for
 * each instruction set) then streams through the run in the order of the output. So the output is written
 * once, front to back, and mirroring is a matter of what lies in scratch.
 *
 * Rules, the same for all paths; every coefficient is computed in f64 and rounded once to f32:
 *   x    = u8 / 127.5 - 1                    each operation rounded to f32, as numpy and torch do it
 *   x    = fma(fma(std, z, mean), scale, shift)   without std: mean in place of the inner fma
 *   x_tn = fma(tn, n_i, alpha_n x)           tn = 0: alpha_n x
 *   x_t  = fma(b, e, a x_tn)                 b = 0: a x_tn; a = 0: b e
 *   noise = fma(-alpha_t, x, x_t) / t        t = 0: e
 * A term whose coefficient is 0 is left out and not multiplied by 0 (-0 + 0 is not -0, nor 0 inf a number),
 * so that a noise that counts for nothing need not be made, and which fields are asked for cannot show.
 */
#include "noise/apply.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "noise/fpenv.h"
#include "noise/normal.h"
#include "noise/path.h"

/* Five arrays of 4 KiB beside the output fit 32 KiB of L1. Measured: 256 costs 8 %, 4096 gains nothing. */
#define APPLY_RUN    1024u
#define APPLY_FLOATS (APPLY_RUN + 2 * AMB_NORMAL_GROUP) /* a run within whole groups */

/* Scratch of one call, cut from the caller's buffer. */
struct scratch {
    float *n_i, *e, *z, *x, *turned; /* APPLY_FLOATS each */
    uint8_t *u8;                     /* APPLY_FLOATS */
};

struct apply {
    const struct amb_noise_job *job;
    const struct amb_path_ops *ops;
    struct amb_apply_plan plan;
    struct scratch scratch;
    const struct amb_noise_out *outs[AMB_APPLY_N];
    bool need_n_i, need_e;
};

/* A run: n elements at `out` in the output; the same elements of the source, mirrored row by row, at `in`. */
struct span {
    size_t out, in, n, row; /* row: length of what is mirrored; n is a multiple of it */
};

static int scratch_init(struct scratch *out, struct amb_buf *buf) {
    float *base;

    if (amb_buf_reserve(buf, 6 * APPLY_FLOATS * sizeof(float)) < 0) {
        return -ENOMEM;
    }
    base = (float *)(void *)buf->data;
    *out = (struct scratch){
        .n_i = base,
        .e = base + APPLY_FLOATS,
        .z = base + 2 * APPLY_FLOATS,
        .x = base + 3 * APPLY_FLOATS,
        .turned = base + 4 * APPLY_FLOATS,
        .u8 = (uint8_t *)(base + 5 * APPLY_FLOATS),
    };
    return 0;
}

static void plan_init(struct apply *apply) {
    const struct amb_process_step *step = &apply->job->step;
    struct amb_apply_plan *plan = &apply->plan;
    bool x_t, x_tn;

    *plan = (struct amb_apply_plan){
        .alpha_n = (float)step->alpha_n,
        .tn = (float)step->tn,
        .a = (float)step->a,
        .b = (float)step->b,
        .minus_alpha_t = (float)-step->alpha_t,
        .t = (float)step->t,
    };
    plan->with_b = plan->b != 0;
    plan->with_a = plan->a != 0 || !plan->with_b;
    plan->with_t = plan->t != 0;
    for (unsigned i = 0; i < AMB_APPLY_N; i++) {
        enum amb_dtype dtype = apply->outs[i]->dtype;

        assert(apply->outs[i]->data == NULL || dtype == AMB_DTYPE_F32 || dtype == AMB_DTYPE_F16 ||
               dtype == AMB_DTYPE_BF16);
        plan->dtype[i] = dtype;
    }
    x_t = apply->outs[AMB_APPLY_X_T]->data != NULL ||
          (apply->outs[AMB_APPLY_NOISE]->data != NULL && plan->with_t);
    x_tn = apply->outs[AMB_APPLY_X_TN]->data != NULL || (x_t && plan->with_a);
    apply->need_n_i = x_tn && plan->tn != 0;
    apply->need_e = (x_t && plan->with_b) || (apply->outs[AMB_APPLY_NOISE]->data != NULL && !plan->with_t);
}

/* Elements first .. first + n of the array, somewhere in buf. */
static float *normals_at(float *buf, size_t first, size_t n, uint64_t key, uint64_t counter) {
    size_t lead = first % AMB_NORMAL_GROUP;

    amb_normal_fill(buf, first - lead, lead + n, key, counter);
    return buf + lead;
}

static void turn_rows_u8(uint8_t *out, const uint8_t *in, const struct span *span) {
    for (size_t begin = 0; begin < span->n; begin += span->row) {
        uint8_t *to = out + begin;
        const uint8_t *from = in + begin + span->row;
        size_t i = 0;

        for (; i + 8 <= span->row; i += 8) {
            uint64_t eight;

            memcpy(&eight, from - i - 8, sizeof eight);
            eight = __builtin_bswap64(eight);
            memcpy(to + i, &eight, sizeof eight);
        }
        for (; i < span->row; i++) {
            to[i] = from[-1 - (ptrdiff_t)i];
        }
    }
}

/* In place, by way of `turned`. */
static void turn_rows(const struct apply *apply, float *rows, const struct span *span) {
    for (size_t begin = 0; begin < span->n; begin += span->row) {
        apply->ops->reverse(apply->scratch.turned, rows + begin, span->row);
        memcpy(rows + begin, apply->scratch.turned, span->row * sizeof *rows);
    }
}

/* x of a latent, in the source's order. */
static void latent_load(const struct apply *apply, const struct span *span) {
    const struct amb_noise_job *job = apply->job;
    const float *z = NULL;
    size_t plane = (size_t)job->height * job->width;
    float *x = apply->scratch.x;

    memcpy(x, job->mean + span->in, span->n * sizeof *x);
    if (job->std != NULL) {
        z = normals_at(apply->scratch.z, span->in, span->n, job->latent_key, job->latent_counter);
        apply->ops->multiply_add(x, job->std + span->in, z, span->n);
    }
    if (job->scale == NULL && job->shift == NULL) {
        return;
    }
    for (size_t done = 0; done < span->n;) {
        size_t channel = (span->in + done) / plane, rest = (channel + 1) * plane - (span->in + done);
        size_t n = rest < span->n - done ? rest : span->n - done;

        apply->ops->affine(x + done, job->scale == NULL ? 1 : job->scale[channel],
                           job->shift == NULL ? 0 : job->shift[channel], n);
        done += n;
    }
}

static void source_load(struct amb_apply_run *run, const struct apply *apply, const struct span *span) {
    const struct amb_noise_job *job = apply->job;

    if (job->u8 != NULL) {
        run->u8 = job->u8 + span->in;
        if (job->flip) {
            turn_rows_u8(apply->scratch.u8, run->u8, span);
            run->u8 = apply->scratch.u8;
        }
        if (job->u8_out != NULL) {
            memcpy(job->u8_out + span->out, run->u8, span->n);
        }
        return;
    }
    latent_load(apply, span);
    if (job->flip) {
        turn_rows(apply, apply->scratch.x, span);
    }
    run->x = apply->scratch.x;
}

static void span_apply(const struct apply *apply, const struct span *span) {
    const struct amb_noise_job *job = apply->job;
    struct amb_apply_run run = {.plan = &apply->plan, .n = span->n};
    bool any = false;

    source_load(&run, apply, span);
    for (unsigned i = 0; i < AMB_APPLY_N; i++) {
        if (apply->outs[i]->data != NULL) {
            run.out[i] = (uint8_t *)apply->outs[i]->data + span->out * amb_dtype_bytes(apply->outs[i]->dtype);
            any = true;
        }
    }
    if (!any) {
        return;
    }
    if (apply->need_n_i) {
        float *n_i = normals_at(apply->scratch.n_i, span->in, span->n, job->fixed_key, job->fixed_counter);

        if (job->flip) {
            turn_rows(apply, n_i, span);
        }
        run.n_i = n_i;
    }
    if (apply->need_e) {
        run.e = normals_at(apply->scratch.e, span->out, span->n, job->fresh_key, job->fresh_counter);
    }
    apply->ops->apply(&run);
}

/* Nothing is mirrored: rows do not matter, and every run begins at a group. */
static void apply_straight(const struct apply *apply, size_t n) {
    for (size_t done = 0; done < n; done += APPLY_RUN) {
        struct span span = {
            .out = done, .in = done, .n = n - done < APPLY_RUN ? n - done : APPLY_RUN, .row = 0};

        span_apply(apply, &span);
    }
}

/* As many whole rows as fit, by preference so many that the next run begins at a group. */
static size_t rows_per_run(size_t width) {
    size_t most = APPLY_RUN / width, step = 1;

    while (step < AMB_NORMAL_GROUP && step * width % AMB_NORMAL_GROUP != 0) {
        step *= 2;
    }
    return most >= step ? most - most % step : most;
}

static void apply_mirrored(const struct apply *apply, size_t n_rows, size_t width) {
    size_t n_together = rows_per_run(width);

    for (size_t row = 0; n_together > 0 && row < n_rows; row += n_together) {
        size_t n = n_rows - row < n_together ? n_rows - row : n_together;
        struct span span = {.out = row * width, .in = row * width, .n = n * width, .row = width};

        span_apply(apply, &span);
    }
    for (size_t row = 0; n_together == 0 && row < n_rows; row++) {
        for (size_t column = 0; column < width; column += APPLY_RUN) {
            size_t n = width - column < APPLY_RUN ? width - column : APPLY_RUN;
            struct span span = {
                .out = row * width + column, .in = row * width + width - column - n, .n = n, .row = n};

            span_apply(apply, &span);
        }
    }
}

/* A call, so that no operation on floats moves out of it past a change of the control register. */
static __attribute__((noinline)) void apply_all(struct apply *apply) {
    const struct amb_noise_job *job = apply->job;
    size_t n_rows = (size_t)job->channels * job->height;

    plan_init(apply);
    if (job->flip) {
        apply_mirrored(apply, n_rows, job->width);
    } else {
        apply_straight(apply, n_rows * job->width);
    }
}

int amb_noise_apply(const struct amb_noise_job *job, struct amb_buf *scratch) {
    struct apply apply = {
        .job = job,
        .ops = amb_path_ops_get(),
        .outs = {[AMB_APPLY_X_T] = &job->x_t,
                 [AMB_APPLY_X_TN] = &job->x_tn,
                 [AMB_APPLY_X0] = &job->x0,
                 [AMB_APPLY_NOISE] = &job->noise},
    };
    struct amb_fpenv fpenv;

    assert((job->u8 != NULL) != (job->mean != NULL) && (job->u8_out == NULL || job->u8 != NULL));
    assert(job->channels > 0 && job->height > 0 && job->width > 0);
    if (scratch_init(&apply.scratch, scratch) < 0) {
        return -ENOMEM;
    }
    fpenv = amb_fpenv_acquire();
    apply_all(&apply);
    amb_fpenv_release(fpenv);
    return 0;
}
