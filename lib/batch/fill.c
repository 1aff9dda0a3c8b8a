/*
 * Fill: one row from one draw. Settle the sample, noise its planes into the slot, store the small fields.
 *
 * A row is a function of the draw, the dataset and the stream's options alone: not of the cache, the
 * quarantine, the order of rows or the number of workers. So a sample known bad is treated as one found bad
 * now, also as a
 * replacement: the candidates j = 0, 1, ... are always the same ones. Only faults of the moment break that,
 *              and the
 * row says so (replaced = 3).
 *
 * Not here: reading and decoding (load.c), noise (noise/apply.c), and who fills which row when (daemon).
 */
#include "batch/fill.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "batch/load.h"
#include "batch/row.h"
#include "noise/apply.h"

/* Outcomes of trying one sample. */
enum fill_outcome {
    FILL_E_BAD = 1,       /* a cause in its bytes: the same at every visit */
    FILL_E_TRANSIENT = 2, /* a fault of the moment                         */
};

void amb_fill_keys_get(struct amb_fill_keys *out, uint64_t noise_seed, uint64_t seed) {
    *out = (struct amb_fill_keys){
        .fixed = amb_hash_words("fixed", &noise_seed, 1),
        .fresh = amb_hash_words("fresh", &seed, 1),
        .latent = amb_hash_words("latent", &seed, 1),
        .request_fresh = amb_hash_words("request fresh", &seed, 1),
        .request_latent = amb_hash_words("request latent", &seed, 1),
    };
}

int amb_filler_init(struct amb_filler *filler, const struct amb_codec_limits *limits, struct amb_error *err) {
    struct amb_filler built = {0};
    int r = amb_decoder_new(&built.decoder, limits, err);

    if (r < 0) {
        return r;
    }
    *filler = built;
    return 0;
}

void amb_filler_deinit(struct amb_filler *filler) {
    amb_buf_deinit(&filler->member);
    amb_buf_deinit(&filler->scratch);
    amb_buf_deinit(&filler->stored);
    amb_buf_deinit(&filler->payload);
    amb_decoder_free(filler->decoder);
    *filler = (struct amb_filler){0};
}

static int fill_reserve(struct amb_filler *filler, const struct amb_dataset *dataset, struct amb_error *err) {
    size_t bytes = amb_stored_bytes(&dataset->shape);

    if (amb_buf_reserve(&filler->stored, bytes) < 0) {
        return amb_fail(err, -ENOMEM, "out of memory for a decoded sample of %zu bytes", bytes);
    }
    return 0;
}

static int fill_try(struct amb_stored *out, struct amb_filler *filler, const struct amb_dataset *dataset,
                    uint32_t i_sample, struct amb_error *why) {
    int r;

    if (filler->tried_ns != NULL) {
        __atomic_store_n(filler->tried_ns, amb_load_now_ns(), __ATOMIC_RELAXED);
    }
    if (amb_quarantine_peek(dataset->quarantine, i_sample) != 0) {
        amb_fail(why, AMB_ERR_FORMAT, "quarantined before");
        return FILL_E_BAD;
    }
    r = amb_load_stored(out, filler, dataset, i_sample, why);
    if (r == 0) {
        return 0;
    }
    if (amb_load_is_transient(r)) {
        return FILL_E_TRANSIENT;
    }
    amb_quarantine_put(dataset->quarantine, i_sample, why);
    return FILL_E_BAD;
}

/* Load the draw's sample or its replacement; AMB_REPLACED_UNREADABLE where `sequential` has neither. */
static int fill_settle(struct amb_stored *out, struct amb_filler *filler,
                       const struct amb_fill_stream *stream, struct amb_draw *draw, struct amb_error *err) {
    struct amb_error why = AMB_ERROR_NULL;
    bool transient;
    int r = fill_try(out, filler, stream->dataset, draw->i_sample, &why);

    draw->replaced = AMB_REPLACED_NO;
    if (r == 0) {
        return 0;
    }
    filler->n_replaced++;
    if (stream->options.policy == AMB_POLICY_SEQUENTIAL && !draw->request) {
        draw->replaced = AMB_REPLACED_UNREADABLE;
        return 0;
    }
    transient = r == FILL_E_TRANSIENT;
    for (unsigned j = 0; j < AMB_SAMPLER_REPLACEMENTS; j++) {
        amb_sampler_replace(draw, stream->sampler, j);
        r = fill_try(out, filler, stream->dataset, draw->i_sample, &why);
        transient = transient || r == FILL_E_TRANSIENT;
        if (r == 0) {
            draw->replaced = transient ? AMB_REPLACED_TRANSIENT : AMB_REPLACED_YES;
            return 0;
        }
    }
    return amb_fail(
        err, AMB_ERR_EXHAUSTED,
        "s = %g: the sample and all %u replacements are unreadable, the last one, sample %u: %.200s; see "
        "ambientctl quarantine",
        draw->s, AMB_SAMPLER_REPLACEMENTS, draw->i_sample, why.message);
}

/* The sample that a draw will most likely deliver: what is known to be bad is replaced now. */
static uint32_t fill_foresee(const struct amb_fill_stream *stream, const struct amb_draw *draw) {
    struct amb_draw other = *draw;
    bool replace = stream->options.policy != AMB_POLICY_SEQUENTIAL || draw->request;

    for (unsigned j = 0; replace && j < AMB_SAMPLER_REPLACEMENTS &&
                         amb_quarantine_peek(stream->dataset->quarantine, other.i_sample) != 0;
         j++) {
        amb_sampler_replace(&other, stream->sampler, j);
    }
    return other.i_sample;
}

void amb_fill_ahead(struct amb_filler *filler, const struct amb_fill_stream *stream,
                    const struct amb_draw *draws, uint32_t n) {
    const struct amb_dataset *dataset = stream->dataset;

    filler->ahead = (struct amb_ahead){0}; /* of another data set, perhaps one that is gone */
    if (dataset->shape.latent || !amb_decoder_is_ahead(filler->decoder)) {
        return;
    }
    amb_decoder_reset(filler->decoder);
    filler->ahead = (struct amb_ahead){.dataset = dataset};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t i_sample = fill_foresee(stream, &draws[i]);

        if (amb_quarantine_peek(dataset->quarantine, i_sample) == 0 &&
            !amb_load_ahead(filler, dataset, i_sample)) {
            return;
        }
    }
}

/* Where the planes of this row go; false: none is asked for. */
static bool fill_aim(struct amb_noise_job *job, const struct amb_row *row) {
    const struct amb_layout *layout = row->stream->layout;
    struct amb_noise_out *const outs[AMB_FIELD_N] = {
        [AMB_FIELD_X_T] = &job->x_t,
        [AMB_FIELD_X_TN] = &job->x_tn,
        [AMB_FIELD_X0] = &job->x0,
        [AMB_FIELD_NOISE] = &job->noise,
    };
    bool any = false;

    for (uint32_t i = 0; i < layout->n_fields; i++) {
        const struct amb_layout_field *field = &layout->fields[i];

        if (outs[field->field] != NULL) {
            *outs[field->field] = (struct amb_noise_out){amb_row_get(row, field), field->dtype};
            any = true;
        } else if (field->field == AMB_FIELD_U8) {
            job->u8_out = amb_row_get(row, field);
            any = true;
        }
    }
    return any;
}

static void fill_set_source(struct amb_noise_job *job, const struct amb_dataset *dataset,
                            const uint8_t *stored) {
    const struct amb_shape *shape = &dataset->shape;

    if (!shape->latent) {
        job->u8 = stored;
        return;
    }
    job->mean = (const float *)(const void *)stored;
    job->std = shape->latent_std ? job->mean + (size_t)shape->channels * shape->height * shape->width : NULL;
    job->scale = dataset->latent_scale;
    job->shift = dataset->latent_shift;
}

static int fill_planes(const struct amb_row *row, struct amb_filler *filler, const uint8_t *stored,
                       struct amb_error *err) {
    const struct amb_fill_stream *stream = row->stream;
    const struct amb_shape *shape = &stream->layout->shape;
    const struct amb_draw *draw = row->draw;
    struct amb_noise_job job = {
        .channels = shape->channels,
        .height = shape->height,
        .width = shape->width,
        .flip = draw->flip,
        .step = row->step,
        .fixed_key = stream->keys.fixed,
        .fixed_counter = amb_hash_uid_version(&row->uid, 0),
        .fresh_key = draw->request ? stream->keys.request_fresh : stream->keys.fresh,
        .fresh_counter = draw->counter,
        .latent_key = draw->request ? stream->keys.request_latent : stream->keys.latent,
        .latent_counter = draw->counter,
    };
    int r;

    if (!fill_aim(&job, row)) {
        return 0;
    }
    fill_set_source(&job, stream->dataset, stored);
    r = amb_noise_apply(&job, &filler->scratch);
    return r < 0 ? amb_fail(err, r, "out of memory for the noise of a %u x %u sample", shape->width,
                            shape->height)
                 : 0;
}

static void fill_zero_planes(const struct amb_row *row) {
    const struct amb_layout *layout = row->stream->layout;

    for (uint32_t i = 0; i < layout->n_fields; i++) {
        if (layout->fields[i].field <= AMB_FIELD_NOISE) {
            memset(amb_row_get(row, &layout->fields[i]), 0, layout->fields[i].row_bytes);
        }
    }
}
_Static_assert(AMB_FIELD_X_T == 0 && AMB_FIELD_NOISE == 4, "plane fields come first");

static int fill_store(struct amb_row *row, struct amb_filler *filler, const struct amb_stored *stored,
                      struct amb_error *err) {
    uint64_t begin_ns = amb_load_now_ns();
    int r = 0;

    if (row->draw->replaced == AMB_REPLACED_UNREADABLE) {
        fill_zero_planes(row);
    } else {
        r = fill_planes(row, filler, stored->data, err);
    }
    filler->noise_ns += amb_load_now_ns() - begin_ns;
    if (r < 0) {
        return r;
    }
    amb_row_store_scalars(row);
    return amb_row_store_members(row, filler, err);
}

int amb_fill_row(uint8_t *slot, uint32_t i_row, struct amb_filler *filler,
                 const struct amb_fill_stream *stream, struct amb_draw *draw, struct amb_error *err) {
    const struct amb_dataset *dataset = stream->dataset;
    struct amb_stored stored = AMB_STORED_NULL;
    struct amb_row row = {.slot = slot, .i_row = i_row, .stream = stream, .draw = draw};
    int r;

    assert(i_row < stream->layout->batch_size);
    assert(amb_stored_bytes(&stream->layout->shape) == amb_stored_bytes(&dataset->shape));
    r = fill_reserve(filler, dataset, err);
    if (r < 0) {
        return r;
    }
    r = fill_settle(&stored, filler, stream, draw, err);
    if (r < 0) {
        return r;
    }
    amb_catalog_get(&row.info, dataset->catalog, draw->i_sample);
    row.uid = amb_catalog_uid(dataset->catalog, draw->i_sample);
    amb_process_get(&row.step, stream->options.process, draw->s, draw->s_n);
    r = fill_store(&row, filler, &stored, err);
    amb_stored_release(&stored);
    return r;
}

int amb_fill_load(const uint8_t **stored, struct amb_filler *filler, const struct amb_dataset *dataset,
                  uint32_t i_sample, struct amb_error *err) {
    struct amb_stored loaded = AMB_STORED_NULL;
    int r;

    r = fill_reserve(filler, dataset, err);
    if (r < 0) {
        return r;
    }
    r = amb_load_stored(&loaded, filler, dataset, i_sample, err);
    if (r < 0) {
        return r;
    }
    if (loaded.data != filler->stored.data) {
        memcpy(filler->stored.data, loaded.data, filler->stored.n_bytes);
    }
    amb_stored_release(&loaded);
    *stored = filler->stored.data;
    return 0;
}
