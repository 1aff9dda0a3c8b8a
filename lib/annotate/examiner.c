/*
 * Examiner: a window of subjects, each with a search of its own; a step takes their questions in turn until the
 * model's batch is full, makes the noise of each, runs the model and gives the answers back in the same order.
 *
 * Noise is a function of (seed, uid, version, draw), of a search with a control of (seed, draw): neither the batch nor
 * the window nor who else is under examination changes an answer beyond the model's own rounding, so work may be split
 * and resumed anywhere. The control is asked about first.
 *
 * A model that answers NaN gives its subject up; the others go on.
 */
#include "annotate/examiner.h"

#include <errno.h>
#include <assert.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "annotate/control.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "noise/normal.h"
#include "proto/wire.h"

#define BATCH_MAX      256u /* the last size that tune tries */
#define TUNE_NS        UINT64_C(60000000) /* for each size; eight sizes: half a second */
#define RUN_NS         UINT64_C(250000000) /* no larger batch than takes so long: a stop waits for a run; not tuned */
#define SUBJECTS_MIN   32u  /* window: an adaptive search asks for some 8 at once, so these fill batches of 256 */
#define SUBJECTS_DENSE 2u   /* one fills every batch by itself; the next is there when it ends */

struct exam {
    struct amb_subject subject; /* pixels and label vector are not looked at after push */
    struct amb_search *search;
    float *base;                /* elements; owned, kept for the next subject */
    float *label_vector;
    uint64_t key_words[3];      /* uid, version */
    struct amb_error error;
    bool active, ready;
};

struct row {
    struct exam *exam; /* NULL: of the control, beside a blank picture */
    struct amb_probe probe;
};

struct amb_examiner {
    struct amb_model *model;
    struct amb_examiner_options options;
    size_t n_elements, batch, n_active, n_ready;
    uint64_t key;
    struct exam *exams; /* n_subjects */
    size_t i_turn;      /* whose questions come first */
    struct amb_control control; /* of adaptive searches */
    uint64_t n_overhead;
    struct row *rows;   /* BATCH_MAX */
    struct amb_probe *probes;
    float *x, *sigma, *p, *blank;
    void *labels;
};

static int examiner_check(const struct amb_model_info *info, const struct amb_examiner_options *options,
                          struct amb_error *err) {
    if (info->channels != options->channels || info->height != options->height || info->width != options->width) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "the model takes %u x %u x %u (channels, height, width), the samples are %u x %u x %u",
                        info->channels, info->height, info->width, options->channels, options->height, options->width);
    }
    return 0;
}

static size_t examiner_label_bytes(const struct amb_examiner *examiner) {
    const struct amb_model_info *info = amb_model_peek(examiner->model);

    return info->labels == AMB_MODEL_LABELS_VECTOR ? info->label_width * sizeof(float) : sizeof(int64_t);
}

static int examiner_init_exams(struct amb_examiner *examiner, struct amb_error *err) {
    for (size_t i = 0; i < examiner->options.n_subjects; i++) {
        struct exam *exam = &examiner->exams[i];
        int r = amb_search_new(&exam->search, &examiner->options.search, err);

        if (r < 0) {
            return r;
        }
        exam->base = amb_malloc(examiner->n_elements * sizeof *exam->base);
        exam->label_vector = amb_calloc(1, examiner_label_bytes(examiner));
        if (exam->base == NULL || exam->label_vector == NULL) {
            return amb_fail(err, -ENOMEM, "no memory for %zu subjects", examiner->options.n_subjects);
        }
    }
    return 0;
}

static int examiner_build(struct amb_examiner *examiner, struct amb_error *err) {
    const size_t n = examiner->n_elements;

    examiner->exams = amb_calloc(examiner->options.n_subjects, sizeof *examiner->exams);
    examiner->rows = amb_calloc(BATCH_MAX, sizeof *examiner->rows);
    examiner->probes = amb_calloc(BATCH_MAX, sizeof *examiner->probes);
    examiner->x = amb_malloc(BATCH_MAX * n * sizeof *examiner->x);
    examiner->sigma = amb_calloc(BATCH_MAX, sizeof *examiner->sigma);
    examiner->p = amb_calloc(BATCH_MAX, sizeof *examiner->p);
    examiner->blank = amb_calloc(n, sizeof *examiner->blank);
    examiner->labels = amb_calloc(BATCH_MAX, examiner_label_bytes(examiner));
    if (examiner->exams == NULL || examiner->rows == NULL || examiner->probes == NULL || examiner->x == NULL ||
        examiner->sigma == NULL || examiner->p == NULL || examiner->blank == NULL || examiner->labels == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for batches of %u pictures of %zu elements", BATCH_MAX, n);
    }
    return examiner_init_exams(examiner, err);
}

int amb_examiner_new(struct amb_examiner **out, struct amb_model *model, const struct amb_examiner_options *options,
                     struct amb_error *err) {
    struct amb_examiner *examiner;
    int r = examiner_check(amb_model_peek(model), options, err);

    if (r < 0) {
        return r;
    }
    examiner = amb_calloc(1, sizeof *examiner);
    if (examiner == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for an examiner");
    }
    examiner->model = model;
    examiner->options = *options;
    examiner->n_elements = (size_t)options->channels * options->height * options->width;
    examiner->key = amb_hash_words("annotate", &options->seed, 1);
    examiner->batch = options->batch == 0 ? 32 : options->batch < BATCH_MAX ? options->batch : BATCH_MAX;
    if (options->n_subjects == 0) {
        examiner->options.n_subjects = options->search.mode == AMB_SEARCH_DENSE
                                           ? SUBJECTS_DENSE
                                           : SUBJECTS_MIN;
    }
    if (options->search.mode == AMB_SEARCH_ADAPTIVE) {
        amb_control_begin(&examiner->control, options->search.grid);
        examiner->options.search.control = &examiner->control;
    }
    r = examiner_build(examiner, err);
    if (r < 0) {
        amb_examiner_free(examiner);
        return r;
    }
    *out = examiner;
    return 0;
}

struct amb_examiner *amb_examiner_free(struct amb_examiner *examiner) {
    if (examiner == NULL) {
        return NULL;
    }
    for (size_t i = 0; examiner->exams != NULL && i < examiner->options.n_subjects; i++) {
        amb_search_free(examiner->exams[i].search);
        amb_free(examiner->exams[i].base);
        amb_free(examiner->exams[i].label_vector);
    }
    amb_free(examiner->exams);
    amb_free(examiner->rows);
    amb_free(examiner->probes);
    amb_free(examiner->x);
    amb_free(examiner->sigma);
    amb_free(examiner->p);
    amb_free(examiner->blank);
    amb_free(examiner->labels);
    amb_free(examiner);
    return NULL;
}

/* Rows */

static uint64_t row_counter(const struct amb_examiner *examiner, const struct row *row) {
    uint64_t words[4] = {0, 0, 0, row->probe.draw};

    if (examiner->options.search.control != NULL) {
        return amb_hash_words("annotate pool", words + 3, 1);
    }
    memcpy(words, row->exam->key_words, sizeof row->exam->key_words);
    return amb_hash_words("annotate draw", words, 4);
}

static void row_noise(struct amb_examiner *examiner, size_t i_row) {
    const struct row *row = &examiner->rows[i_row];
    const float scale = (float)row->probe.sigma;
    float *x = examiner->x + i_row * examiner->n_elements;
    const float *base = row->exam != NULL ? row->exam->base : examiner->blank;

    amb_normal_fill(x, 0, examiner->n_elements, examiner->key, row_counter(examiner, row));
    for (size_t i = 0; i < examiner->n_elements; i++) {
        x[i] = fmaf(scale, x[i], base[i]);
    }
    examiner->sigma[i_row] = scale;
}

/* Of the blank picture: class 0, or a row of zeros. */
static void row_label(struct amb_examiner *examiner, size_t i_row) {
    const struct amb_model_info *info = amb_model_peek(examiner->model);
    const struct exam *exam = examiner->rows[i_row].exam;
    const size_t bytes = examiner_label_bytes(examiner);
    uint8_t *label = (uint8_t *)examiner->labels + i_row * bytes;

    if (exam == NULL) {
        memset(label, 0, bytes);
    } else if (info->labels == AMB_MODEL_LABELS_INTEGER) {
        memcpy(label, &exam->subject.label, bytes);
    } else if (info->labels == AMB_MODEL_LABELS_VECTOR) {
        memcpy(label, exam->label_vector, bytes);
    }
}

static size_t examiner_push_rows(struct amb_examiner *examiner, size_t n, struct exam *exam, size_t n_new) {
    for (size_t i = 0; i < n_new; i++) {
        examiner->rows[n + i] = (struct row){exam, examiner->probes[i]};
    }
    return n + n_new;
}

static bool examiner_wants_control(const struct amb_examiner *examiner) {
    return examiner->options.search.control != NULL && !amb_control_is_complete(&examiner->control);
}

static size_t examiner_collect(struct amb_examiner *examiner) {
    const size_t n_subjects = examiner->options.n_subjects;
    size_t n = 0;

    if (examiner_wants_control(examiner)) {
        n = amb_control_ask(examiner->probes, examiner->batch, &examiner->control);
        return examiner_push_rows(examiner, 0, NULL, n);
    }
    for (size_t k = 0; k < n_subjects && n < examiner->batch; k++) {
        struct exam *exam = &examiner->exams[(examiner->i_turn + k) % n_subjects];

        if (exam->active) {
            size_t n_new = amb_search_ask(examiner->probes, examiner->batch - n, exam->search);

            n = examiner_push_rows(examiner, n, exam, n_new);
        }
    }
    return n;
}

static void exam_end(struct amb_examiner *examiner, struct exam *exam) {
    exam->active = false;
    exam->ready = true;
    examiner->n_active--;
    examiner->n_ready++;
}

static void examiner_tell(struct amb_examiner *examiner, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct exam *exam = examiner->rows[i].exam;
        float p = examiner->p[i];

        if (!exam->active) {
            continue;
        }
        if (p >= 0 && p <= 1) {
            amb_search_tell(exam->search, &examiner->rows[i].probe, &p, 1);
        } else {
            amb_fail(&exam->error, AMB_ERR_FORMAT, "the model says %g at sigma %g, allowed: a probability", (double)p,
                     examiner->rows[i].probe.sigma);
        }
        if (exam->error.code != 0 || amb_search_is_done(exam->search)) {
            exam_end(examiner, exam);
        }
    }
}

/* On threads of the model; each row once. */
static void rows_fill(void *opaque, size_t first, size_t n) {
    for (size_t i = first; i < first + n; i++) {
        row_noise(opaque, i);
        row_label(opaque, i);
    }
}

int amb_examiner_step(struct amb_examiner *examiner, struct amb_error *err) {
    size_t n = examiner_collect(examiner);
    const bool labelled = amb_model_peek(examiner->model)->labels != AMB_MODEL_LABELS_NONE;
    int r = amb_model_run_filled(examiner->p, examiner->model, examiner->x, examiner->sigma,
                                 labelled ? examiner->labels : NULL, n, rows_fill, examiner, err);

    if (r < 0) {
        return r;
    }
    if (examiner_wants_control(examiner)) {
        amb_control_tell(&examiner->control, examiner->probes, examiner->p, n);
        examiner->n_overhead += n;
        return 0;
    }
    examiner_tell(examiner, n);
    examiner->i_turn = (examiner->i_turn + 1) % examiner->options.n_subjects;
    return 0;
}

uint64_t amb_examiner_take_overhead(struct amb_examiner *examiner) {
    const uint64_t n = examiner->n_overhead;

    examiner->n_overhead = 0;
    return n;
}

/* Subjects */

bool amb_examiner_has_room(const struct amb_examiner *examiner) {
    return examiner->n_active + examiner->n_ready < examiner->options.n_subjects;
}

size_t amb_examiner_count(const struct amb_examiner *examiner) {
    return examiner->n_active + examiner->n_ready;
}

static int exam_take_label(struct exam *exam, const struct amb_model_info *info, struct amb_error *err) {
    const struct amb_subject *subject = &exam->subject;

    if (info->labels != AMB_MODEL_LABELS_VECTOR) {
        return 0;
    }
    memset(exam->label_vector, 0, info->label_width * sizeof *exam->label_vector);
    if (subject->label_vector != NULL) {
        memcpy(exam->label_vector, subject->label_vector, info->label_width * sizeof *exam->label_vector);
    } else if (subject->label >= 0 && subject->label < (int64_t)info->label_width) {
        exam->label_vector[subject->label] = 1;
    } else if (subject->label >= 0) {
        return amb_fail(err, AMB_ERR_FORMAT, "label %lld, allowed by the model: 0 to %u", (long long)subject->label,
                        info->label_width - 1);
    }
    return 0; /* no label: a row of zeros, as EDM's unconditional row */
}

int amb_examiner_push(struct amb_examiner *examiner, const struct amb_subject *subject, struct amb_error *err) {
    struct exam *exam = examiner->exams;
    uint64_t words[3];
    int r;

    assert(amb_examiner_has_room(examiner));
    while (exam->active || exam->ready) {
        exam++;
    }
    exam->subject = *subject;
    exam->error = AMB_ERROR_NULL;
    r = exam_take_label(exam, amb_model_peek(examiner->model), err);
    if (r < 0) {
        return r;
    }
    if (subject->u8 != NULL) {
        for (size_t i = 0; i < examiner->n_elements; i++) {
            exam->base[i] = (float)subject->u8[i] / 127.5f - 1.0f;
        }
    } else {
        memcpy(exam->base, subject->x, examiner->n_elements * sizeof *exam->base);
    }
    words[0] = exam->key_words[0] = ambp_load_u64le(subject->uid.bytes);
    words[1] = exam->key_words[1] = ambp_load_u64le(subject->uid.bytes + 8);
    exam->key_words[2] = subject->version;
    words[2] = subject->version ^ examiner->options.seed << 32 ^ examiner->options.seed >> 32;
    amb_search_begin(exam->search, amb_hash_words("annotate search", words, 3));
    exam->active = true;
    examiner->n_active++;
    return 0;
}

int amb_examiner_pop(struct amb_verdict *out, struct amb_examiner *examiner) {
    for (size_t i = 0; examiner->n_ready > 0 && i < examiner->options.n_subjects; i++) {
        struct exam *exam = &examiner->exams[i];

        if (!exam->ready) {
            continue;
        }
        *out = (struct amb_verdict){.i_sample = exam->subject.i_sample,
                                    .uid = exam->subject.uid,
                                    .version = exam->subject.version,
                                    .error = exam->error};
        if (exam->error.code == 0) {
            amb_search_get(&out->result, exam->search);
        }
        if (exam->error.code == 0 && examiner->options.search.keep_curve) {
            out->n_curve = amb_search_peek_curve(&out->curve_sigmas, &out->curve_p, exam->search);
        }
        exam->ready = false;
        examiner->n_ready--;
        return 0;
    }
    return AMB_EXAMINER_E_NONE;
}

/* Tuning */

static uint64_t now_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static int tune_one(double *rate, struct amb_examiner *examiner, size_t batch, struct amb_error *err) {
    const bool labelled = amb_model_peek(examiner->model)->labels != AMB_MODEL_LABELS_NONE;
    uint64_t began, ended;
    size_t n = 0;
    int r = amb_model_run(examiner->p, examiner->model, examiner->x, examiner->sigma,
                          labelled ? examiner->labels : NULL, batch, err); /* the first run plans memory */

    for (began = ended = now_ns(); r == 0 && (n == 0 || ended - began < TUNE_NS); ended = now_ns()) {
        r = amb_model_run(examiner->p, examiner->model, examiner->x, examiner->sigma,
                          labelled ? examiner->labels : NULL, batch, err);
        n += batch;
    }
    *rate = ended > began ? (double)n * 1e9 / (double)(ended - began) : 0;
    return r;
}

int amb_examiner_tune(size_t *batch, double *evaluations_per_s, struct amb_examiner *examiner, struct amb_error *err) {
    const size_t least = amb_model_peek(examiner->model)->n_parallel;
    double best = 0;
    size_t n_filled = 0, size = examiner->options.batch != 0 ? examiner->batch : least > BATCH_MAX ? BATCH_MAX : least;

    memset(examiner->labels, 0, BATCH_MAX * examiner_label_bytes(examiner));
    for (; size <= BATCH_MAX; size *= 2) {
        double rate = 0;
        int r;

        for (; n_filled < size; n_filled++) { /* large pictures are never made that no run takes */
            examiner->sigma[n_filled] = 1;
            amb_normal_fill(examiner->x + n_filled * examiner->n_elements, 0, examiner->n_elements, examiner->key, n_filled);
        }
        r = tune_one(&rate, examiner, size, err);
        if (r < 0) {
            return r;
        }
        if (rate > best * 1.02) { /* of equals the smaller: it answers sooner */
            best = rate;
            *batch = size;
        }
        if (rate < best / 2 || (double)size * 1e9 > rate * (double)RUN_NS || examiner->options.batch != 0) {
            break;
        }
    }
    examiner->batch = *batch;
    *evaluations_per_s = best;
    return 0;
}
