#pragma once
/* Examination: the thread of a running job: samples are read, examined by models, and handed over in deposits. */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/model.h"
#include "annotate/store.h"
#include "base/buf.h"
#include "base/error.h"
#include "batch/fill.h"
#include "daemon/spec.h"

#define AMBD_DEPOSIT_ROWS 256u /* group commit: a deposit is one fsync; not tuned */
#define AMBD_DEPOSITS     2u   /* one is filled while the other is written */

/* Records on their way to the store. Belongs to the thread, then to the loop, then to the clerk, and back. */
struct ambd_deposit {
    struct ambd_deposit *next;
    struct amb_store_record records[AMBD_DEPOSIT_ROWS];
    uint32_t i_samples[AMBD_DEPOSIT_ROWS];
    size_t n;
    struct amb_buf curves; /* for each: row u32, n u32, n sigmas f32, n p f32 */
    uint64_t n_evaluations, n_given_up, n_unreadable;
    char sha256[65];
};

/* What a job's thread runs on; all constant while it runs. */
struct ambd_examination_options {
    const struct ambd_spec *spec;     /* borrowed */
    const struct amb_dataset *dataset; /* borrowed; its catalog is referenced */
    uint64_t *selected;               /* a bit for each sample; taken */
    uint32_t n_samples;
    struct amb_codec_limits limits;
    const char *library;              /* NULL: searched */
    char sha256[65];                  /* of the model, or what stands for several, that the job began with; "": it begins */
    const char *const *providers;     /* borrowed */
    size_t n_providers;
    unsigned n_threads;               /* 0: cores */
    bool gives_way;                   /* run only where nothing else wants the processor */
    void (*wake)(void *opaque);       /* something waits to be taken; any thread */
    void *opaque;
};

struct ambd_examination {
    struct ambd_examination_options options;
    struct amb_dataset dataset; /* a copy with a cache of its own: no lock is shared with fill workers */
    pthread_t thread;
    bool started;

    pthread_mutex_t lock;
    pthread_cond_t returned;
    /* guarded by lock */
    struct amb_model *models[AMB_RULE_CROPS_N]; /* open, for a stop to reach; the thread's */
    struct ambd_deposit *full_first, *full_last, *free;
    bool stop, ready, finished;
    struct amb_model_info info;   /* once ready: of the model; of several the first, but for what stands for all as sha256 */
    size_t batch;
    double evaluations_per_s;     /* as tuned */
    struct amb_error error;       /* why it ended; code 0: all samples done, or stopped */

    struct ambd_deposit deposits[AMBD_DEPOSITS];
};

struct ambd_measurement {
    struct amb_model_info info; /* as a job has it */
    size_t batch;
    uint64_t n_evaluations;     /* that a sample takes; adaptive: on average */
    uint64_t n_overhead;        /* that a job takes beside its samples */
    double evaluations_per_s;
};

/* Open the model and measure it, as a job would, on this thread. Errors: those of a job. Thread: desk; blocks. */
int ambd_examination_measure(struct ambd_measurement *out, const struct ambd_examination_options *options,
                             struct amb_error *err);

/* Start the thread. Errors: -ENOMEM, -EAGAIN; `selected` is the caller's still. Thread: loop. */
int ambd_examination_new(struct ambd_examination **out, const struct ambd_examination_options *options,
                         struct amb_error *err);

/* End soon: a batch that runs is broken off. Thread: loop. */
void ambd_examination_stop(struct ambd_examination *examination);

/* Next full deposit, or NULL. Thread: loop. */
struct ambd_deposit *ambd_examination_take(struct ambd_examination *examination);

/* Give a deposit back to be filled again. Thread: loop. */
void ambd_examination_return(struct ambd_examination *examination, struct ambd_deposit *deposit);

/* True once the thread has nothing more to say (and all deposits are taken). Thread: loop. */
bool ambd_examination_is_finished(struct ambd_examination *examination, struct amb_error *error);

/* True once the model is open and measured; copies what is known. Thread: loop. */
bool ambd_examination_peek(struct ambd_examination *examination, struct amb_model_info *info, size_t *batch,
                           double *evaluations_per_s);

/* Join and free; finished, or stopped and every deposit returned. NULL ok; returns NULL. Thread: loop. */
struct ambd_examination *ambd_examination_free(struct ambd_examination *examination);
