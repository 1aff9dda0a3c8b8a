/*
 * Load: cache, or read -> decode -> transform -> cache.
 *
 * The stored form is what the transform leaves, before flip and noise, so it is the same for every stream and
 * visit. Whether a sample loads is a matter of its bytes alone, except for faults of the moment, which are
 * told apart here by their code: our own codes are causes in the bytes, errno values are not.
 */
#include "batch/load.h"

#include <assert.h>
#include <errno.h>
#include <time.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "codec/npy.h"

uint64_t amb_load_now_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static size_t stored_elements(const struct amb_shape *shape) {
    size_t n_planes = shape->latent && shape->latent_std ? 2 * (size_t)shape->channels : shape->channels;

    return n_planes * shape->height * shape->width;
}

size_t amb_stored_bytes(const struct amb_shape *shape) {
    return stored_elements(shape) * (shape->latent ? sizeof(float) : 1);
}

bool amb_load_is_transient(int code) {
    return code < 0 && code > AMB_ERR_FORMAT;
}

/* Denormals must count again in the noise, whatever a codec library did to the thread's mode. */
static void load_restore_fpu(void) {
#if defined(__SSE2__)
    _mm_setcsr(_mm_getcsr() & ~0x8040u); /* FTZ, DAZ */
#elif defined(__aarch64__)
    uint64_t fpcr;

    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr & ~(UINT64_C(1) << 24))); /* FZ */
#endif
}

static int load_transform(struct amb_filler *filler, const struct amb_dataset *dataset,
                          const struct amb_image *image, struct amb_error *err) {
    int r = amb_transform_apply(filler->stored.data, &dataset->transform, image, filler->decoder, err);

    load_restore_fpu();
    return r;
}

static int load_decode_picture(struct amb_filler *filler, const struct amb_dataset *dataset,
                               struct amb_error *err) {
    struct amb_image image;
    int r = amb_decoder_decode(&image, filler->decoder, filler->payload.data, filler->payload.n_bytes,
                               dataset->transform.channels, err);

    return r < 0 ? r : load_transform(filler, dataset, &image, err);
}

static int load_decode_latent(struct amb_filler *filler, const struct amb_dataset *dataset,
                              struct amb_error *err) {
    const struct amb_shape *shape = &dataset->shape;
    uint64_t n_planes = shape->latent_std ? 2 * (uint64_t)shape->channels : shape->channels;
    struct amb_npy npy;
    int r;

    r = amb_npy_decode(&npy, filler->payload.data, filler->payload.n_bytes, err);
    if (r < 0) {
        return r;
    }
    if (npy.dtype != AMB_DTYPE_F32 && npy.dtype != AMB_DTYPE_F16) {
        return amb_fail(err, AMB_ERR_FORMAT, "latent of dtype %s, f32 or f16 is allowed",
                        amb_dtype_name(npy.dtype));
    }
    if (npy.n_dims != 3 || npy.dims[0] != n_planes || npy.dims[1] != shape->height ||
        npy.dims[2] != shape->width) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        "latent of %u dimensions, %llu x %llu x %llu; the dataset's are %llu x %u x %u",
                        npy.n_dims, (unsigned long long)(npy.n_dims > 0 ? npy.dims[0] : 1),
                        (unsigned long long)(npy.n_dims > 1 ? npy.dims[1] : 1),
                        (unsigned long long)(npy.n_dims > 2 ? npy.dims[2] : 1), (unsigned long long)n_planes,
                        shape->height, shape->width);
    }
    amb_npy_load_f32((float *)(void *)filler->stored.data, filler->payload.data + npy.data_offset, npy.dtype,
                     stored_elements(shape));
    return 0;
}

static int load_read(struct amb_filler *filler, const struct amb_dataset *dataset, uint32_t i_sample,
                     struct amb_error *err) {
    uint64_t begin_ns = amb_load_now_ns();
    int r = amb_catalog_read(&filler->payload, dataset->catalog, i_sample, err);

    filler->read_ns += amb_load_now_ns() - begin_ns;
    if (r == 0) {
        filler->read_bytes += filler->payload.n_bytes;
    }
    return r;
}

static int load_decode(struct amb_filler *filler, const struct amb_dataset *dataset, struct amb_error *err) {
    uint64_t begin_ns = amb_load_now_ns();
    int r = dataset->shape.latent ? load_decode_latent(filler, dataset, err)
                                  : load_decode_picture(filler, dataset, err);

    filler->decode_ns += amb_load_now_ns() - begin_ns;
    filler->n_decoded += r == 0;
    return r;
}

/* What was decoded ahead; AMB_DECODER_E_NONE: this sample was not. */
static int load_take_ahead(struct amb_filler *filler, const struct amb_dataset *dataset, uint32_t i_sample,
                           struct amb_error *err) {
    const struct amb_ahead *ahead = &filler->ahead;
    uint64_t begin_ns = amb_load_now_ns();
    struct amb_image image;
    uint32_t i = 0;
    int r;

    while (i < ahead->n && ahead->samples[i] != i_sample) {
        i++;
    }
    if (i == ahead->n || ahead->dataset != dataset) {
        return AMB_DECODER_E_NONE;
    }
    r = amb_decoder_pop(&image, filler->decoder, i, err);
    r = r != 0 ? r : load_transform(filler, dataset, &image, err);
    filler->decode_ns += amb_load_now_ns() - begin_ns;
    filler->n_decoded += r == 0;
    return r;
}

/* What came of one attempt: true if another may come to something else. */
static bool load_count(struct amb_filler *filler, int r) {
    const bool transient = amb_load_is_transient(r);

    filler->n_transient += transient;
    filler->n_limited += r == AMB_ERR_LIMIT;
    filler->n_timed_out += r == -ETIMEDOUT;
    return transient;
}

static int load_uncached(struct amb_filler *filler, const struct amb_dataset *dataset, uint32_t i_sample,
                         struct amb_error *err) {
    int r = load_take_ahead(filler, dataset, i_sample, err), i_try = 0;

    if (r <= 0) {
        if (!load_count(filler, r)) {
            return r;
        }
        i_try++;
    }
    for (; i_try < 2; i_try++) {
        r = load_read(filler, dataset, i_sample, err);
        if (r == 0) {
            r = load_decode(filler, dataset, err);
        }
        if (!load_count(filler, r)) {
            break;
        }
    }
    return r;
}

static struct amb_cache_key load_key(const struct amb_dataset *dataset, uint32_t i_sample) {
    return (struct amb_cache_key){
        .uid = amb_catalog_uid(dataset->catalog, i_sample),
        .identity = amb_catalog_identity(dataset->catalog, i_sample),
        .transform = dataset->transform_hash,
    };
}

bool amb_load_ahead(struct amb_filler *filler, const struct amb_dataset *dataset, uint32_t i_sample) {
    struct amb_ahead *ahead = &filler->ahead;
    struct amb_cache_key key = load_key(dataset, i_sample);

    if (ahead->n == AMB_AHEAD_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < ahead->n; i++) {
        if (ahead->samples[i] == i_sample) {
            return true;
        }
    }
    if (amb_cache_peek(dataset->cache, &key, amb_stored_bytes(&dataset->shape)) != 0 ||
        load_read(filler, dataset, i_sample, NULL) < 0) {
        return true; /* a fault of reading is told when the row is filled */
    }
    if (amb_decoder_push(filler->decoder, ahead->n, filler->payload.data, filler->payload.n_bytes,
                         dataset->transform.channels) != 0) {
        return false;
    }
    ahead->samples[ahead->n++] = i_sample;
    return true;
}

int amb_load_stored(struct amb_stored *out, struct amb_filler *filler, const struct amb_dataset *dataset,
                    uint32_t i_sample, struct amb_error *err) {
    struct amb_stored stored = {.data = filler->stored.data};
    size_t bytes = amb_stored_bytes(&dataset->shape);
    struct amb_cache_key key = load_key(dataset, i_sample);
    int r;

    assert(filler->stored.n_bytes == bytes);
    /* the cache goes by contents, and may have it of a time when this was the only sample of its key */
    if (!amb_catalog_is_repeated(dataset->catalog, i_sample) &&
        amb_cache_acquire(&stored.pin, dataset->cache, &key, bytes) != 0) {
        stored.data = stored.pin.data;
        *out = stored;
        return 0;
    }
    r = load_uncached(filler, dataset, i_sample, err);
    if (r != 0) {
        return r;
    }
    amb_cache_push(dataset->cache, &key, filler->stored.data, bytes);
    *out = stored;
    return 0;
}

void amb_stored_release(struct amb_stored *stored) {
    amb_cache_release(&stored->pin);
    *stored = AMB_STORED_NULL;
}
