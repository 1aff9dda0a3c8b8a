/*
 * Examination: one thread beside the fill workers, which it must not disturb.
 *
 * It runs in the scheduler's idle class (and with nice 19 where that is refused), so it gets the processor time that
 * streams leave, and so do the model's threads, which inherit both. It shares no lock with a fill worker: its decoder,
 * buffers and cache are its own, since a thread of the idle class that holds a lock could hold up everybody.
 *
 * What a sample's record says is a function of sample, model and options: a job may be stopped anywhere and go on
 * with whatever has no record yet.
 *
 * Not here: which samples (jobs.c), and what becomes of a deposit (dataset-store.c).
 */
#include "daemon/examination.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "annotate/control.h"
#include "annotate/crops.h"
#include "annotate/examiner.h"
#include "base/alloc.h"
#include "batch/load.h"
#include "daemon/fit.h"
#include "daemon/subjects.h"

#define DEPOSIT_NS UINT64_C(300000000) /* a record waits no longer than this to be written */
#define MEASURE_NS UINT64_C(300000000) /* as long as a classifier's batch is looked for, about */
#define ADAPTIVE_EVALUATIONS 120u      /* a sample; 76 and 164 were measured: lib/annotate/adaptive.c */

struct bench { /* everything the thread has open */
    struct ambd_examination *examination;
    struct ambd_subjects subjects;
    struct amb_model *models[AMB_RULE_CROPS_N]; /* a classifier: the first */
    struct amb_examiner *examiner;
    struct amb_crops *crops;
    uint32_t channels;                /* of the model */
    char sha256[65];                  /* of the model, or what stands for several */
    uint32_t next;                    /* sample to look at */
    struct ambd_deposit *deposit;     /* being filled */
    uint64_t deposit_ns;
};

static void thread_give_way(void) {
    const struct sched_param param = {0};

    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &param);
}

static bool examination_stops(struct ambd_examination *examination) {
    bool stop;

    pthread_mutex_lock(&examination->lock);
    stop = examination->stop;
    pthread_mutex_unlock(&examination->lock);
    return stop;
}

/* Deposits */

static void deposit_clear(struct ambd_deposit *deposit) {
    deposit->n = 0;
    deposit->curves.n_bytes = 0;
    deposit->n_evaluations = deposit->n_given_up = deposit->n_unreadable = 0;
}

static void bench_hand_over(struct bench *bench) {
    struct ambd_examination *examination = bench->examination;
    struct ambd_deposit *deposit = bench->deposit;

    if (deposit == NULL || (deposit->n == 0 && deposit->n_unreadable == 0)) {
        return;
    }
    bench->deposit = NULL;
    deposit->next = NULL;
    memcpy(deposit->sha256, bench->sha256, sizeof deposit->sha256);
    pthread_mutex_lock(&examination->lock);
    if (examination->full_first == NULL) {
        examination->full_first = deposit;
    } else {
        examination->full_last->next = deposit;
    }
    examination->full_last = deposit;
    pthread_mutex_unlock(&examination->lock);
    examination->options.wake(examination->options.opaque);
}

/* A deposit with room for one more row; NULL: the job stops. */
static struct ambd_deposit *bench_deposit(struct bench *bench) {
    struct ambd_examination *examination = bench->examination;

    if (bench->deposit != NULL && bench->deposit->n == AMBD_DEPOSIT_ROWS) {
        bench_hand_over(bench);
    }
    if (bench->deposit == NULL) {
        pthread_mutex_lock(&examination->lock);
        while (examination->free == NULL && !examination->stop) {
            pthread_cond_wait(&examination->returned, &examination->lock);
        }
        bench->deposit = examination->free;
        if (bench->deposit != NULL) {
            examination->free = bench->deposit->next;
        }
        pthread_mutex_unlock(&examination->lock);
        if (bench->deposit != NULL) {
            deposit_clear(bench->deposit);
            bench->deposit_ns = amb_load_now_ns();
        }
    }
    return bench->deposit;
}

static void bench_push_record(struct bench *bench, const struct amb_store_record *record, uint32_t i_sample) {
    struct ambd_deposit *deposit = bench_deposit(bench);

    if (deposit == NULL) {
        return;
    }
    deposit->records[deposit->n] = *record;
    deposit->i_samples[deposit->n] = i_sample;
    deposit->n++;
    deposit->n_evaluations += record->n_evaluations;
    deposit->n_evaluations += bench->examiner != NULL ? amb_examiner_take_overhead(bench->examiner) : 0;
    deposit->n_given_up += record->sides == 0;
}

static void bench_push_curve(struct bench *bench, const struct amb_verdict *verdict) {
    struct ambd_deposit *deposit = bench->deposit;
    uint32_t head[2];
    int r;

    if (deposit == NULL || deposit->n == 0 || verdict->n_curve == 0) {
        return;
    }
    head[0] = (uint32_t)deposit->n - 1;
    head[1] = (uint32_t)verdict->n_curve;
    r = amb_buf_push(&deposit->curves, head, sizeof head);
    for (int side = 0; side < 2; side++) {
        const double *values = side == 0 ? verdict->curve_sigmas : verdict->curve_p;

        for (size_t i = 0; i < verdict->n_curve && r == 0; i++) {
            float value = (float)values[i];

            r = amb_buf_push(&deposit->curves, &value, sizeof value);
        }
    }
    if (r < 0) {
        deposit->curves.n_bytes = 0; /* out of memory: the records stay, their curves are lost */
    }
}

/* Code: -EDOM no probability from the model, -ERANGE a label that the model has not, else why the picture is unreadable. */
static void record_fail(struct amb_store_record *record, int code) {
    record->sides = 0;
    record->code = (int16_t)code;
}

static void bench_push_verdict(struct bench *bench, const struct amb_verdict *verdict) {
    struct amb_store_record record = {
        .uid = verdict->uid,
        .version = verdict->version,
        .origin = AMB_ORIGIN_CLASSIFIER,
        .sides = AMB_SIDE_MIN,
        .sigma_min = (float)verdict->result.sigma_min,
        .lo = (float)verdict->result.lo,
        .hi = (float)verdict->result.hi,
        .n_evaluations = verdict->result.n_evaluations,
    };

    if (verdict->error.code != 0) {
        record_fail(&record, -EDOM);
    }
    bench_push_record(bench, &record, verdict->i_sample);
    bench_push_curve(bench, verdict);
}

/* Samples */

static bool bench_next_sample(uint32_t *out, struct bench *bench) {
    const struct ambd_examination_options *options = &bench->examination->options;

    while (bench->next < options->n_samples) {
        uint64_t word = options->selected[bench->next / 64] >> bench->next % 64;

        if (word == 0) {
            bench->next = (bench->next / 64 + 1) * 64;
            continue;
        }
        bench->next += (uint32_t)__builtin_ctzll(word);
        *out = bench->next++;
        return true;
    }
    return false;
}

/* What cannot be read is recorded, so that a job does not come back to it; a fault of the moment is only counted. */
static void bench_push_unreadable(struct bench *bench, const struct amb_subject *subject, int code) {
    struct amb_store_record record = {.uid = subject->uid,
                                      .origin = bench->crops != NULL ? AMB_ORIGIN_CROPS : AMB_ORIGIN_CLASSIFIER};
    struct ambd_deposit *deposit = bench_deposit(bench);

    if (deposit == NULL) {
        return;
    }
    deposit->n_unreadable++;
    if (!amb_load_is_transient(code)) {
        record_fail(&record, code);
        bench_push_record(bench, &record, subject->i_sample);
        deposit->n_given_up--;
    }
}

/* Classifier */

static void classifier_push_mislabelled(struct bench *bench, const struct amb_subject *subject) {
    struct amb_store_record record = {.uid = subject->uid, .origin = AMB_ORIGIN_CLASSIFIER};

    record_fail(&record, -ERANGE);
    bench_push_record(bench, &record, subject->i_sample);
}

static void classifier_feed(struct bench *bench) {
    uint32_t i_sample;

    while (!examination_stops(bench->examination) && amb_examiner_has_room(bench->examiner) &&
           bench_next_sample(&i_sample, bench)) {
        struct amb_error why = AMB_ERROR_NULL;
        struct amb_subject subject;

        if (ambd_subjects_load(&subject, &bench->subjects, i_sample, &why) < 0) {
            bench_push_unreadable(bench, &subject, why.code);
        } else if (amb_examiner_push(bench->examiner, &subject, &why) < 0) {
            classifier_push_mislabelled(bench, &subject);
        }
    }
}

static int classifier_run(struct bench *bench, struct amb_error *err) {
    struct amb_verdict verdict;
    int r = 0;

    while (r == 0 && !examination_stops(bench->examination)) {
        classifier_feed(bench);
        if (amb_examiner_count(bench->examiner) == 0) {
            break;
        }
        r = amb_examiner_step(bench->examiner, err);
        while (r == 0 && amb_examiner_pop(&verdict, bench->examiner) == 0) {
            bench_push_verdict(bench, &verdict);
        }
        if (bench->deposit != NULL && amb_load_now_ns() - bench->deposit_ns > DEPOSIT_NS) {
            bench_hand_over(bench);
        }
    }
    return r;
}

/* Crops */

static int crops_run(struct bench *bench, struct amb_error *err) {
    const struct ambd_spec *spec = bench->examination->options.spec;
    uint32_t i_sample;

    while (!examination_stops(bench->examination) && bench_next_sample(&i_sample, bench)) {
        struct amb_error why = AMB_ERROR_NULL;
        struct amb_subject subject;
        double q[AMB_RULE_CROPS_N];
        struct amb_store_record record = {.origin = AMB_ORIGIN_CROPS, .sides = AMB_SIDE_MAX};

        if (ambd_subjects_load(&subject, &bench->subjects, i_sample, &why) < 0) {
            bench_push_unreadable(bench, &subject, why.code);
            continue;
        }
        if (amb_crops_run(q, bench->crops, &subject, &why) == 0) {
            record.sigma_max = (float)amb_rule_sigma_max(q, spec->crop_sigmas, spec->crop_threshold);
        } else if (why.code == AMB_ERR_FORMAT) {
            record_fail(&record, -EDOM);
        } else {
            return amb_fail(err, why.code, "%s", why.message);
        }
        record.uid = subject.uid;
        record.n_evaluations = (uint32_t)amb_crops_count(bench->crops);
        bench_push_record(bench, &record, i_sample);
        if (bench->deposit != NULL && amb_load_now_ns() - bench->deposit_ns > DEPOSIT_NS) {
            bench_hand_over(bench);
        }
    }
    return 0;
}

/* Start and end */

/* A stop that came before finds it here. */
static void bench_show_model(struct bench *bench, unsigned i) {
    struct ambd_examination *examination = bench->examination;

    pthread_mutex_lock(&examination->lock);
    examination->models[i] = bench->models[i];
    if (examination->stop) {
        amb_model_stop(bench->models[i]);
    }
    pthread_mutex_unlock(&examination->lock);
}

static int bench_open_model(struct bench *bench, unsigned i, const char *path, struct amb_error *err) {
    const struct ambd_examination_options *options = &bench->examination->options;
    const struct amb_shape *shape = &bench->examination->dataset.shape;
    const bool own = options->spec->n_providers > 0;
    struct amb_model_options model = {
        .path = path,
        .library = options->library,
        .providers = own ? options->spec->providers : options->providers,
        .n_providers = own ? options->spec->n_providers : options->n_providers,
        .n_threads = options->n_threads,
        .column = (unsigned)options->spec->column,
        .channels = shape->channels,
        .height = shape->height,
        .width = shape->width,
    };
    const struct amb_model_info *info;
    int r = amb_model_open(&bench->models[i], &model, err);

    if (r < 0) {
        return r;
    }
    bench_show_model(bench, i);
    info = amb_model_peek(bench->models[i]);
    bench->channels = info->channels;
    bench->subjects.height = info->height;
    bench->subjects.width = info->width;
    return ambd_fit_check(info, shape, path, err);
}

static int bench_open_classifier(struct bench *bench, struct amb_error *err) {
    const struct ambd_spec *spec = bench->examination->options.spec;
    struct amb_examiner_options options = {
        .search = {spec->mode, &spec->grid, (unsigned)spec->n_trials, (unsigned)spec->span, spec->epsilon, spec->curves, NULL},
        .seed = spec->seed,
        .batch = (size_t)spec->batch,
    };
    int r = bench_open_model(bench, 0, spec->model, err);

    options.channels = bench->channels;
    options.height = bench->subjects.height;
    options.width = bench->subjects.width;
    return r < 0 ? r : amb_examiner_new(&bench->examiner, bench->models[0], &options, err);
}

static int bench_open_crops(struct bench *bench, struct amb_error *err) {
    const struct ambd_spec *spec = bench->examination->options.spec;
    uint32_t height = 0, width = 0;
    int r = 0;

    for (unsigned i = 0; i < AMB_RULE_CROPS_N && r == 0; i++) {
        if (spec->models[i] == NULL) {
            continue;
        }
        r = bench_open_model(bench, i, spec->models[i], err);
        height = height == 0 ? bench->subjects.height : height;
        width = width == 0 ? bench->subjects.width : width;
    }
    return r < 0 ? r : amb_crops_new(&bench->crops, bench->models, bench->channels, height, width, err);
}

/* Deposits are signed with it. A file exchanged under a job would give it two meanings. */
static int bench_identify(struct bench *bench, struct amb_error *err) {
    const char *began = bench->examination->options.sha256;

    if (bench->crops != NULL) {
        amb_crops_identify(bench->sha256, bench->crops);
    } else {
        memcpy(bench->sha256, amb_model_peek(bench->models[0])->sha256, sizeof bench->sha256);
    }
    return began[0] == '\0' || strcmp(began, bench->sha256) == 0
               ? 0
               : amb_fail(err, AMB_ERR_CHANGED,
                          "the model's file has changed: sha256 %.12s, the job began with %.12s; put that back and resume "
                          "the job, or start another",
                          bench->sha256, began);
}

static const struct amb_model *bench_first_model(const struct bench *bench) {
    unsigned i = 0;

    while (bench->models[i] == NULL) {
        i++;
    }
    return bench->models[i];
}

static int bench_open(struct bench *bench, struct amb_error *err) {
    struct ambd_examination *examination = bench->examination;
    double evaluations_per_s = 0;
    size_t batch = AMB_CROPS_BATCH;
    int r = ambd_subjects_init(&bench->subjects, &examination->dataset, &examination->options.limits,
                               examination->options.spec->resample, err);

    r = r < 0 ? r
        : examination->options.spec->kind == AMBD_SPEC_CROPS ? bench_open_crops(bench, err)
                                                              : bench_open_classifier(bench, err);
    r = r < 0 ? r : bench_identify(bench, err);
    r = r < 0 || bench->examiner == NULL
            ? r
            : amb_examiner_tune(&batch, &evaluations_per_s, bench->examiner, err);
    if (r < 0) {
        return r;
    }
    pthread_mutex_lock(&examination->lock);
    examination->info = *amb_model_peek(bench_first_model(bench));
    memcpy(examination->info.sha256, bench->sha256, sizeof examination->info.sha256);
    examination->batch = batch;
    examination->evaluations_per_s = evaluations_per_s;
    examination->ready = true;
    pthread_mutex_unlock(&examination->lock);
    if (examination->options.wake != NULL) {
        examination->options.wake(examination->options.opaque);
    }
    return 0;
}

static void bench_close(struct bench *bench) {
    pthread_mutex_lock(&bench->examination->lock);
    memset(bench->examination->models, 0, sizeof bench->examination->models);
    pthread_mutex_unlock(&bench->examination->lock);
    amb_examiner_free(bench->examiner);
    amb_crops_free(bench->crops);
    for (unsigned i = 0; i < AMB_RULE_CROPS_N; i++) {
        amb_model_close(bench->models[i]);
    }
    ambd_subjects_deinit(&bench->subjects);
}

static void *examination_main(void *opaque) {
    struct ambd_examination *examination = opaque;
    struct bench bench = {.examination = examination};
    struct amb_error err = AMB_ERROR_NULL;
    int r;

    if (examination->options.gives_way) {
        thread_give_way();
    }
    r = bench_open(&bench, &err);
    if (r == 0) {
        r = bench.crops != NULL ? crops_run(&bench, &err) : classifier_run(&bench, &err);
        bench_hand_over(&bench);
    }
    bench_close(&bench);
    pthread_mutex_lock(&examination->lock);
    examination->error = r < 0 && r != -ECANCELED ? err : AMB_ERROR_NULL;
    examination->finished = true;
    pthread_mutex_unlock(&examination->lock);
    examination->options.wake(examination->options.opaque);
    return NULL;
}

/* Of a sample without a picture: each costs the same. */
static int crops_measure(double *evaluations_per_s, struct bench *bench, const uint8_t *blank, struct amb_error *err) {
    const struct amb_subject subject = {.u8 = blank};
    const uint64_t began_ns = amb_load_now_ns();
    double q[AMB_RULE_CROPS_N];
    uint64_t n = 0, spent_ns = 0;

    while (spent_ns < MEASURE_NS) {
        struct amb_error why = AMB_ERROR_NULL;

        if (amb_crops_run(q, bench->crops, &subject, &why) < 0 && why.code != AMB_ERR_FORMAT) { /* NaN costs the same */
            return amb_fail(err, why.code, "%s", why.message);
        }
        n += amb_crops_count(bench->crops);
        spent_ns = amb_load_now_ns() - began_ns;
    }
    *evaluations_per_s = (double)n * 1e9 / (double)spent_ns;
    return 0;
}

static int bench_measure(struct ambd_measurement *out, struct bench *bench, struct amb_error *err) {
    const struct ambd_spec *spec = bench->examination->options.spec;
    uint8_t *blank;
    int r;

    if (bench->crops == NULL) {
        const bool dense = spec->mode == AMB_SEARCH_DENSE;

        out->n_evaluations = dense ? spec->grid.n * spec->n_trials : ADAPTIVE_EVALUATIONS;
        out->n_overhead = dense ? 0 : AMB_CONTROL_DRAWS;
        out->evaluations_per_s = bench->examination->evaluations_per_s;
        return 0;
    }
    blank = amb_calloc((size_t)bench->channels * bench->subjects.height, bench->subjects.width);
    if (blank == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to measure a model");
    }
    out->n_evaluations = amb_crops_count(bench->crops);
    r = crops_measure(&out->evaluations_per_s, bench, blank, err);
    amb_free(blank);
    return r;
}

int ambd_examination_measure(struct ambd_measurement *out, const struct ambd_examination_options *options,
                             struct amb_error *err) {
    struct ambd_examination *examination = amb_calloc(1, sizeof *examination);
    struct bench bench = {.examination = examination};
    int r;

    if (examination == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to measure a model");
    }
    examination->options = *options;
    examination->dataset = *options->dataset;
    pthread_mutex_init(&examination->lock, NULL);
    r = bench_open(&bench, err);
    r = r < 0 ? r : bench_measure(out, &bench, err);
    bench_close(&bench);
    out->info = examination->info;
    out->batch = examination->batch;
    pthread_mutex_destroy(&examination->lock);
    amb_free(examination);
    return r;
}

int ambd_examination_new(struct ambd_examination **out, const struct ambd_examination_options *options,
                         struct amb_error *err) {
    struct ambd_examination *examination = amb_calloc(1, sizeof *examination);
    int r;

    if (examination == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a job");
    }
    examination->options = *options;
    examination->dataset = *options->dataset;
    examination->dataset.cache = NULL;
    r = amb_cache_new(&examination->dataset.cache, 0, err);
    if (r < 0) {
        amb_free(examination);
        return r;
    }
    amb_catalog_ref(examination->dataset.catalog);
    pthread_mutex_init(&examination->lock, NULL);
    pthread_cond_init(&examination->returned, NULL);
    for (unsigned i = 0; i < AMBD_DEPOSITS; i++) {
        examination->deposits[i].next = examination->free;
        examination->free = &examination->deposits[i];
    }
    r = pthread_create(&examination->thread, NULL, examination_main, examination);
    if (r != 0) {
        examination->options.selected = NULL; /* the caller's still */
        ambd_examination_free(examination);
        return amb_fail(err, -r, "cannot start the thread of a job: %s", strerror(r));
    }
    examination->started = true;
    pthread_setname_np(examination->thread, "annotate");
    *out = examination;
    return 0;
}

void ambd_examination_stop(struct ambd_examination *examination) {
    pthread_mutex_lock(&examination->lock);
    examination->stop = true;
    for (unsigned i = 0; i < AMB_RULE_CROPS_N; i++) {
        if (examination->models[i] != NULL) {
            amb_model_stop(examination->models[i]);
        }
    }
    pthread_cond_signal(&examination->returned);
    pthread_mutex_unlock(&examination->lock);
}

struct ambd_deposit *ambd_examination_take(struct ambd_examination *examination) {
    struct ambd_deposit *deposit;

    pthread_mutex_lock(&examination->lock);
    deposit = examination->full_first;
    examination->full_first = deposit != NULL ? deposit->next : NULL;
    pthread_mutex_unlock(&examination->lock);
    return deposit;
}

void ambd_examination_return(struct ambd_examination *examination, struct ambd_deposit *deposit) {
    pthread_mutex_lock(&examination->lock);
    deposit->next = examination->free;
    examination->free = deposit;
    pthread_cond_signal(&examination->returned);
    pthread_mutex_unlock(&examination->lock);
}

bool ambd_examination_is_finished(struct ambd_examination *examination, struct amb_error *error) {
    bool finished;

    pthread_mutex_lock(&examination->lock);
    finished = examination->finished && examination->full_first == NULL;
    *error = examination->error;
    pthread_mutex_unlock(&examination->lock);
    return finished;
}

bool ambd_examination_peek(struct ambd_examination *examination, struct amb_model_info *info, size_t *batch,
                           double *evaluations_per_s) {
    bool ready;

    pthread_mutex_lock(&examination->lock);
    ready = examination->ready;
    *info = examination->info;
    *batch = examination->batch;
    *evaluations_per_s = examination->evaluations_per_s;
    pthread_mutex_unlock(&examination->lock);
    return ready;
}

struct ambd_examination *ambd_examination_free(struct ambd_examination *examination) {
    if (examination == NULL) {
        return NULL;
    }
    if (examination->started) {
        pthread_join(examination->thread, NULL);
    }
    for (unsigned i = 0; i < AMBD_DEPOSITS; i++) {
        amb_buf_deinit(&examination->deposits[i].curves);
    }
    amb_cache_free(examination->dataset.cache);
    amb_catalog_unref(examination->dataset.catalog);
    amb_free(examination->options.selected);
    pthread_cond_destroy(&examination->returned);
    pthread_mutex_destroy(&examination->lock);
    amb_free(examination);
    return NULL;
}
