/*
 * Bench annotate: evaluations a second of the examiner, beside the bare model at the same batch.
 *
 * bench-annotate [--quick] [--seconds S] [--model FILE] [--threads N]: without a model the stand-in, which tells what
 * everything but the model costs. tests/bench/annotate.py puts the Python loop beside it.
 *
 * Subjects of one age end together, so that a window begun and left would count little of its work: when the time is
 * up no more are taken in, and those that are there are finished.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "annotate/examiner.h"
#include "base/alloc.h"

#define SIDE 32u

static double now_s(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int fail(const struct amb_error *err) {
    fprintf(stderr, "bench-annotate: %s\n", err->message);
    return 1;
}

static int run(struct amb_examiner *examiner, double seconds, struct amb_error *err) {
    uint8_t pixels[3 * SIDE * SIDE];
    struct amb_subject subject = {.u8 = pixels};
    uint64_t n_evaluations = 0, n_samples = 0;
    double began = now_s();

    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    do {
        struct amb_verdict verdict;
        int r = 0;

        while (now_s() - began < seconds && amb_examiner_has_room(examiner) && r == 0) {
            subject.uid.bytes[0]++;
            subject.i_sample++;
            r = amb_examiner_push(examiner, &subject, err);
        }
        r = r < 0 ? r : amb_examiner_step(examiner, err);
        if (r < 0) {
            return fail(err);
        }
        while (amb_examiner_pop(&verdict, examiner) == 0) {
            n_evaluations += verdict.result.n_evaluations;
            n_samples++;
        }
    } while (amb_examiner_count(examiner) > 0);
    printf("examiner: %.0f evaluations/s, %.1f samples/s, %.1f evaluations a sample\n",
           (double)n_evaluations / (now_s() - began), (double)n_samples / (now_s() - began),
           (double)n_evaluations / (double)n_samples);
    return 0;
}

int main(int argc, char **argv) {
    struct amb_model_options options = {.path = "fake:constant=0.7", .channels = 3, .height = SIDE, .width = SIDE};
    struct amb_examiner_options examiner_options = {.channels = 3, .height = SIDE, .width = SIDE};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_grid grid = {amb_calloc(2048, sizeof(double)), 2048};
    struct amb_examiner *examiner = NULL;
    struct amb_model *model = NULL;
    double seconds = 5, rate = 0;
    size_t batch = 0;
    int r;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            seconds = 0.3;
        } else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
            seconds = atof(argv[++i]);
        } else if (strcmp(argv[i], "--model") == 0 && i + 1 < argc) {
            options.path = argv[++i];
        } else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
            options.n_threads = (unsigned)atoi(argv[++i]);
        } else {
            fprintf(stderr, "usage: bench-annotate [--quick] [--seconds S] [--model FILE] [--threads N]\n");
            return 2;
        }
    }
    for (size_t i = 0; i < grid.n; i++) {
        grid.sigmas[i] = 0.002 + 0.004 * (double)i;
    }
    examiner_options.search = (struct amb_search_options){
        .mode = AMB_SEARCH_ADAPTIVE, .grid = &grid, .n_trials = AMB_SEARCH_TRIALS, .span = 32, .epsilon = 0.05};
    r = amb_model_open(&model, &options, &err);
    r = r < 0 ? r : amb_examiner_new(&examiner, model, &examiner_options, &err);
    r = r < 0 ? r : amb_examiner_tune(&batch, &rate, examiner, &err);
    if (r == 0) {
        printf("model:    %.0f evaluations/s at its best batch, %zu (%s)\n", rate, batch, amb_model_peek(model)->runtime);
    }
    r = r < 0 ? fail(&err) : run(examiner, seconds, &err);
    amb_examiner_free(examiner);
    amb_model_close(model);
    amb_grid_deinit(&grid);
    return r;
}
