/*
 * Bench: searches driven from outside, so that any model may answer: questions on stdout, answers on stdin.
 *
 * bench-search SIGMAS dense|adaptive N_SUBJECTS SEED
 *
 * Each round writes u32 n, then n questions {u32 subject, draw; f64 sigma}, and reads n f32 probabilities. n = 0 ends:
 * N_SUBJECTS results {f64 sigma_min, lo, hi, n_evaluations} follow. Native byte order. adaptive begins with a round
 * about the control, whose subject is 2^32 - 1. tests/bench/search-agreement.py is the other side.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/control.h"
#include "annotate/search.h"
#include "base/hash.h"

#define BLANK   UINT32_MAX /* subject of questions about the blank picture */
#define ASK_MAX 8192u /* questions of one subject in one round: all of the published method */

struct question {
    uint32_t subject, draw;
    double sigma;
};

struct round {
    struct amb_search **searches;
    size_t n_subjects, n;
    struct amb_probe *probes; /* of all subjects, one after the other */
    struct question *questions;
    float *p;
    size_t *first; /* of each subject's probes */
};

static void die(const char *what) {
    fprintf(stderr, "bench-search: %s\n", what);
    exit(1);
}

static void *take(size_t n, size_t bytes) {
    void *p = calloc(n, bytes);

    if (p == NULL) {
        die("out of memory");
    }
    return p;
}

static void round_ask(struct round *round) {
    round->n = 0;
    for (size_t i = 0; i < round->n_subjects; i++) {
        round->first[i] = round->n;
        round->n += amb_search_ask(round->probes + round->n, ASK_MAX, round->searches[i]);
        for (size_t k = round->first[i]; k < round->n; k++) {
            const struct amb_probe *probe = &round->probes[k];

            round->questions[k] = (struct question){(uint32_t)i, probe->draw, probe->sigma};
        }
    }
    round->first[round->n_subjects] = round->n;
}

static void round_exchange(struct round *round) {
    const uint32_t n = (uint32_t)round->n;

    if (fwrite(&n, sizeof n, 1, stdout) != 1 || fwrite(round->questions, sizeof *round->questions, n, stdout) != n ||
        fflush(stdout) != 0) {
        die("cannot write questions");
    }
    if (fread(round->p, sizeof *round->p, n, stdin) != n) {
        die("answers ended early");
    }
}

static void round_tell(struct round *round) {
    for (size_t i = 0; i < round->n_subjects; i++) {
        const size_t first = round->first[i];

        amb_search_tell(round->searches[i], round->probes + first, round->p + first, round->first[i + 1] - first);
    }
}

/* The pool of noises is asked about first, beside no subject. */
static void round_control(struct round *round, struct amb_control *control, const struct amb_grid *grid) {
    amb_control_begin(control, grid);
    round->n = amb_control_ask(round->probes, ASK_MAX, control);
    for (size_t k = 0; k < round->n; k++) {
        const struct amb_probe *probe = &round->probes[k];

        round->questions[k] = (struct question){BLANK, probe->draw, probe->sigma};
    }
    round_exchange(round);
    amb_control_tell(control, round->probes, round->p, round->n);
}

static void results_write(const struct round *round) {
    for (size_t i = 0; i < round->n_subjects; i++) {
        struct amb_search_result r;
        double row[4];

        amb_search_get(&r, round->searches[i]);
        row[0] = r.sigma_min;
        row[1] = r.lo;
        row[2] = r.hi;
        row[3] = (double)r.n_evaluations;
        if (fwrite(row, sizeof row, 1, stdout) != 1) {
            die("cannot write results");
        }
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_grid grid = AMB_GRID_NULL;
    struct amb_search_options options = {.grid = &grid, .n_trials = AMB_SEARCH_TRIALS, .span = 32, .epsilon = 0.05};
    static struct amb_control control;
    struct round round = {0};
    uint64_t words[2];

    if (argc == 2 && strcmp(argv[1], "--quick") == 0) {
        printf("driven by search-agreement.py, which needs a classifier and pictures\n");
        return 77;
    }
    if (argc != 5) {
        die("usage: bench-search SIGMAS dense|adaptive N_SUBJECTS SEED");
    }
    if (!amb_search_mode_parse(&options.mode, argv[2])) {
        die("the mode is dense or adaptive");
    }
    if (amb_grid_load(&grid, argv[1], &err) < 0) {
        die(err.message);
    }
    if (options.mode == AMB_SEARCH_ADAPTIVE) {
        options.control = &control;
    }
    round.n_subjects = strtoul(argv[3], NULL, 10);
    round.searches = take(round.n_subjects, sizeof *round.searches);
    round.first = take(round.n_subjects + 1, sizeof *round.first);
    round.probes = take(round.n_subjects * ASK_MAX, sizeof *round.probes);
    round.questions = take(round.n_subjects * ASK_MAX, sizeof *round.questions);
    round.p = take(round.n_subjects * ASK_MAX, sizeof *round.p);
    if (options.control != NULL) {
        round_control(&round, &control, &grid);
    }
    for (size_t i = 0; i < round.n_subjects; i++) {
        if (amb_search_new(&round.searches[i], &options, &err) < 0) {
            die(err.message);
        }
        words[0] = strtoull(argv[4], NULL, 10);
        words[1] = i;
        amb_search_begin(round.searches[i], amb_hash_words("bench search", words, 2));
    }
    do {
        round_ask(&round);
        round_exchange(&round);
        round_tell(&round);
    } while (round.n > 0);
    results_write(&round);
    for (size_t i = 0; i < round.n_subjects; i++) {
        amb_search_free(round.searches[i]);
    }
    amb_grid_deinit(&grid);
    free(round.p);
    free(round.questions);
    free(round.probes);
    free(round.first);
    free(round.searches);
    return 0;
}
