/*
 * Control: a control variate (Owen, Monte Carlo theory, section 8.9).
 *
 * Of what makes two answers about one picture differ, most belongs to the noise and not to the picture: with
 * a classifier of blur, answers about any two pictures under the same noises are correlated. So each noise of a pool is
 * asked about once beside a blank picture, and a search learns from its own answers by how much such a value moves them
 * (curve.c). What is left varies less: with the shipped classifier, where answers are near the threshold, the blank
 * picture at sigma 0.68 explains this share of their variance:
 *
 *   sigma of the answers                  0.33   0.5   0.75   1.1   1.7
 *   the blank picture at sigma 0.68       0.25   0.59  0.71   0.73  0.80
 *   at their own sigma                    0.39   0.64  0.72   0.80  0.92
 *   energies of the noise in 30 bands, regressed on 1,024 answers:  0.2 to 0.4
 *
 * One sigma is enough, therefore. The pool is shared by all samples, so what it has by chance is common to all: with 256
 * noises all results moved by 0.036 in log sigma (standard deviation over seeds), with 1,024 by half of it. A search
 * that learns that the values say nothing, of another kind of model, loses nothing but the 1,024 evaluations of a job.
 */
#include "annotate/control.h"

#include <assert.h>
#include <math.h>

#define P_MIN 1e-6 /* a float says little about surer answers */

void amb_control_begin(struct amb_control *control, const struct amb_grid *grid) {
    control->i_grid = (uint32_t)(grid->n - 1 - grid->n / 4);
    control->sigma = grid->sigmas[control->i_grid];
    control->n_asked = control->n_answered = 0;
}

size_t amb_control_ask(struct amb_probe *out, size_t n_max, struct amb_control *control) {
    size_t n = 0;

    for (; n < n_max && control->n_asked < AMB_CONTROL_DRAWS; n++) {
        out[n] = (struct amb_probe){control->sigma, control->i_grid, (uint32_t)control->n_asked++};
    }
    return n;
}

/* Values that hardly differ say nothing. */
static void control_standardize(struct amb_control *control) {
    double mean = 0, squares = 0, sd;

    for (size_t i = 0; i < AMB_CONTROL_DRAWS; i++) {
        mean += control->values[i] / AMB_CONTROL_DRAWS;
    }
    for (size_t i = 0; i < AMB_CONTROL_DRAWS; i++) {
        control->values[i] -= mean;
        squares += control->values[i] * control->values[i];
    }
    sd = sqrt(squares / AMB_CONTROL_DRAWS);
    for (size_t i = 0; i < AMB_CONTROL_DRAWS; i++) {
        control->values[i] = sd > P_MIN ? control->values[i] / sd : 0;
    }
}

void amb_control_tell(struct amb_control *control, const struct amb_probe *probes, const float *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double q = p[i] >= 0 && p[i] <= 1 ? (double)p[i] : 0.5;

        q = q < P_MIN ? P_MIN : q > 1 - P_MIN ? 1 - P_MIN : q;
        control->values[probes[i].draw] = log(q / (1 - q));
    }
    control->n_answered += n;
    if (amb_control_is_complete(control)) {
        control_standardize(control);
    }
}

bool amb_control_is_complete(const struct amb_control *control) {
    return control->n_answered == AMB_CONTROL_DRAWS;
}

double amb_control_get(const struct amb_control *control, uint32_t draw) {
    assert(amb_control_is_complete(control) && draw < AMB_CONTROL_DRAWS);
    return control->values[draw];
}
