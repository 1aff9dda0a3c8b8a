#include "batch/test-set.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "batch/fill.h"
#include "noise/normal.h"

#define BATCH 48u
#define PLANE (SET_SIDE * SET_SIDE)

static const char *const all_fields[] = {
    "x_t",
    "x_tn",
    "x0",
    "u8",
    "noise",
    "sigma_t:f64",
    "sigma_tn:f64",
    "s_t:f64",
    "s_tn:f64",
    "sigma_min",
    "sigma_max",
    "weight",
    "label",
    "index",
    "uid",
    "key",
    "corruption_label",
    "replaced",
    "seeds",
    "member:txt",
    "member:t5.npy",
};
#define N_ALL (sizeof all_fields / sizeof *all_fields)

/* ---- faults: linked with --wrap=amb_catalog_read ------------------------------------------------------- */

int __real_amb_catalog_read(struct amb_buf *payload, const struct amb_catalog *cat, uint32_t i_sample,
                            struct amb_error *err);
int __wrap_amb_catalog_read(struct amb_buf *payload, const struct amb_catalog *cat, uint32_t i_sample,
                            struct amb_error *err);

static _Atomic uint64_t n_reads;
static uint64_t tried_ns;         /* atomic: of a filler that is asked */
static _Atomic uint64_t n_tried;  /* reads that it began anew */
static _Atomic int n_faults_left; /* reads that fail ...         */
static _Atomic uint32_t i_fault;  /* ... of this sample ...      */
static _Atomic int fault_code;    /* ... with this code          */

int __wrap_amb_catalog_read(struct amb_buf *payload, const struct amb_catalog *cat, uint32_t i_sample,
                            struct amb_error *err) {
    n_reads++;
    n_tried += __atomic_exchange_n(&tried_ns, 0, __ATOMIC_RELAXED) != 0;
    if (i_sample == i_fault && n_faults_left > 0) {
        n_faults_left--;
        return amb_fail(err, fault_code, "fault made by the test");
    }
    return __real_amb_catalog_read(payload, cat, i_sample, err);
}

/* ---- helpers ------------------------------------------------------------------------------------------- */

static struct amb_filler filler_make(void) {
    struct amb_filler filler;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_filler_init(&filler, &AMB_CODEC_LIMITS_DEFAULT, &err), err);
    return filler;
}

static void draw_batch(struct amb_draw *draws, const struct set *set, struct amb_state *state) {
    size_t n_drawn = 0;

    if (state->n_cursors == 0) {
        amb_sampler_adopt(state, set->sampler);
    }
    assert_int_equal(amb_sampler_draw(draws, &n_drawn, set->sampler, state, BATCH), 0);
    assert_int_equal(n_drawn, BATCH);
}

static void fill_all(uint8_t *slot, const struct set *set, const struct amb_draw *draws,
                     struct amb_filler *filler) {
    for (uint32_t i = 0; i < set->layout.batch_size; i++) {
        struct amb_draw draw = draws[i];
        struct amb_error err = AMB_ERROR_NULL;

        assert_ok(amb_fill_row(slot, i, filler, &set->stream, &draw, &err), err);
    }
}

static const void *row_of(const struct set *set, const uint8_t *slot, enum amb_field field, uint32_t i_row) {
    const struct amb_layout_field *f = amb_layout_get(&set->layout, field);

    assert_non_null(f);
    return slot + amb_layout_row(&set->layout, f, i_row);
}

#define F32(field) ((const float *)row_of(set, slot, field, i_row))
#define F64(field) (*(const double *)row_of(set, slot, field, i_row))
#define I64(field) (*(const int64_t *)row_of(set, slot, field, i_row))

static void assert_near(double value, double expected, double scale, const char *what) {
    if (!(fabs(value - expected) <= 4e-6 * (scale + fabs(expected)))) {
        fail_msg("%s is %.9g, expected %.9g", what, value, expected);
    }
}

/* ---- the reference: one row from the formulas of DESIGN section 2, in f64 ------------------------------ */

struct reference {
    double x[8 * PLANE]; /* clean, unflipped */
    float n_i[8 * PLANE], e[8 * PLANE];
    double t, tn, alpha_t, alpha_n, a, b;
};

static void reference_levels(struct reference *ref, enum amb_process process, double s, double s_n) {
    ref->alpha_t = process == AMB_PROCESS_VE   ? 1
                   : process == AMB_PROCESS_VP ? 1 / sqrt(1 + s * s)
                                               : 1 / (1 + s);
    ref->alpha_n = process == AMB_PROCESS_VE   ? 1
                   : process == AMB_PROCESS_VP ? 1 / sqrt(1 + s_n * s_n)
                                               : 1 / (1 + s_n);
    ref->t = ref->alpha_t * s;
    ref->tn = ref->alpha_n * s_n;
    ref->a = ref->alpha_t / ref->alpha_n;
    ref->b = ref->alpha_t * sqrt(s * s - s_n * s_n);
}

static void reference_clean(struct reference *ref, const struct set *set, const struct amb_draw *draw,
                            uint64_t latent_key) {
    uint8_t rgb[3 * PLANE];
    float z[4 * PLANE];

    if (set->kind == SET_PICTURES) {
        set_pixels(rgb, draw->i_sample);
        for (uint32_t e = 0; e < 3 * PLANE; e++) {
            ref->x[e] = set_x(rgb, e / PLANE, e % PLANE / SET_SIDE, e % SET_SIDE);
        }
        return;
    }
    amb_normal_fill(z, 0, 4 * PLANE, latent_key, draw->counter);
    for (uint32_t e = 0; e < 4 * PLANE; e++) {
        double mean = (double)set_latent(draw->i_sample, e),
               std = (double)set_latent(draw->i_sample, 4 * PLANE + e);

        ref->x[e] = (mean + std * (double)z[e]) * (double)set->dataset.latent_scale[e / PLANE] +
                    (double)set->dataset.latent_shift[e / PLANE];
    }
}

static void check_planes(const struct set *set, const uint8_t *slot, uint32_t i_row,
                         const struct amb_draw *draw, const struct reference *ref) {
    uint32_t n = set->layout.shape.channels * PLANE;

    for (uint32_t out = 0; out < n; out++) {
        uint32_t x = out % SET_SIDE, in = draw->flip ? out - x + SET_SIDE - 1 - x : out;
        double x0 = ref->x[in], x_tn = ref->alpha_n * x0 + ref->tn * (double)ref->n_i[in];
        double x_t = ref->a * x_tn + ref->b * (double)ref->e[out];
        double noise = ref->t > 0 ? (x_t - ref->alpha_t * x0) / ref->t : (double)ref->e[out];

        assert_near((double)F32(AMB_FIELD_X0)[out], x0, 1, "x0");
        assert_near((double)F32(AMB_FIELD_X_TN)[out], x_tn, 1 + ref->tn, "x_tn");
        assert_near((double)F32(AMB_FIELD_X_T)[out], x_t, 1 + ref->t, "x_t");
        assert_near((double)F32(AMB_FIELD_NOISE)[out], noise, 5 + 1 / (ref->t + 1e-9), "noise");
        if (set->kind == SET_PICTURES) {
            assert_int_equal(((const uint8_t *)row_of(set, slot, AMB_FIELD_U8, i_row))[out],
                             lround((x0 + 1) * 127.5));
        }
    }
}

static void check_scalars(const struct set *set, const uint8_t *slot, uint32_t i_row,
                          const struct amb_draw *draw, const struct reference *ref) {
    const struct amb_layout_field *key = amb_layout_get(&set->layout, AMB_FIELD_KEY);
    const uint64_t *seeds = row_of(set, slot, AMB_FIELD_SEEDS, i_row);
    char name[16];
    struct amb_hash128 uid;
    double ambient = 1 / (ref->alpha_n * (1 - draw->s_n * draw->s_n / (draw->s * draw->s)));

    snprintf(name, sizeof name, "k%04u", draw->i_sample);
    uid = amb_hash128_uid("main", name, 5);
    assert_near(F64(AMB_FIELD_SIGMA_T), ref->t, 0, "sigma_t");
    assert_near(F64(AMB_FIELD_SIGMA_TN), ref->tn, 0, "sigma_tn");
    assert_true(F64(AMB_FIELD_S_T) == draw->s);
    assert_true(F64(AMB_FIELD_S_TN) == draw->s_n);
    assert_true(*F32(AMB_FIELD_SIGMA_MIN) == draw->sigma_min);
    assert_true(*F32(AMB_FIELD_SIGMA_MAX) == draw->sigma_max);
    assert_near((double)*F32(AMB_FIELD_WEIGHT), (1 / (draw->s * draw->s) + 4) * ambient * ambient, 0,
                "weight");
    assert_int_equal(I64(AMB_FIELD_LABEL), draw->i_sample % 10);
    assert_int_equal(I64(AMB_FIELD_CORRUPTION_LABEL), 3);
    assert_int_equal(I64(AMB_FIELD_INDEX), draw->i_sample);
    assert_memory_equal(row_of(set, slot, AMB_FIELD_UID, i_row), uid.bytes, 16);
    assert_int_equal(((const int64_t *)(const void *)(slot + key->offset))[i_row], 5);
    assert_memory_equal(row_of(set, slot, AMB_FIELD_KEY, i_row), name, 5);
    assert_int_equal(*(const uint8_t *)row_of(set, slot, AMB_FIELD_REPLACED, i_row), draw->replaced);
    assert_true(seeds[0] == amb_hash_uid_version(&uid, 0));
    assert_true(seeds[1] == draw->counter);
    assert_true(seeds[2] == (uint64_t)draw->flip && seeds[3] == 0);
}

static void check_row(const struct set *set, const uint8_t *slot, uint32_t i_row,
                      const struct amb_draw *draw) {
    static struct reference ref;
    const uint64_t noise_seed = set->dataset.noise_seed, seed = set->stream.options.seed;
    const char *prefix = draw->request ? "request " : "";
    char fresh[32], latent[32];
    uint32_t n = set->layout.shape.channels * PLANE;
    struct amb_hash128 uid = amb_catalog_uid(set->catalog, draw->i_sample);

    snprintf(fresh, sizeof fresh, "%sfresh", prefix);
    snprintf(latent, sizeof latent, "%slatent", prefix);
    reference_levels(&ref, set->stream.options.process, draw->s, draw->s_n);
    reference_clean(&ref, set, draw, amb_hash_words(latent, &seed, 1));
    amb_normal_fill(ref.n_i, 0, n, amb_hash_words("fixed", &noise_seed, 1), amb_hash_uid_version(&uid, 0));
    amb_normal_fill(ref.e, 0, n, amb_hash_words(fresh, &seed, 1), draw->counter);
    check_planes(set, slot, i_row, draw, &ref);
    check_scalars(set, slot, i_row, draw, &ref);
}

/* ---- tests --------------------------------------------------------------------------------------------- */

/* Every field of every row against the formulas, for all processes, pictures and latents, with flips, bad
 * samples and replacements; scalars exactly, planes to f32 rounding. */
TEST(fields_are_those_of_the_formulas) {
    for (unsigned i = 0; i < 2 * AMB_PROCESS_N; i++) {
        struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
        struct amb_filler filler = filler_make();
        struct amb_state at = {0};
        struct amb_draw draws[BATCH];
        struct set set;
        uint8_t *slot;
        unsigned n_flips = 0, n_replaced = 0, n_trusted = 0;
        enum set_kind kind = i % 2 != 0 ? SET_LATENTS : SET_PICTURES;
        size_t n_fields = 0;
        const char *fields[N_ALL];

        for (size_t j = 0; j < N_ALL; j++) {
            if (kind == SET_PICTURES ||
                (strcmp(all_fields[j], "u8") != 0 && strncmp(all_fields[j], "member", 6) != 0)) {
                fields[n_fields++] = all_fields[j];
            }
        }
        options.process = (enum amb_process)(i / 2);
        options.xflip = true;
        options.seed = 77 + i;
        set_open(&set, kind, 60, true, false);
        set_subscribe(&set, &options, BATCH, fields, n_fields);
        slot = calloc(set.layout.slot_bytes, 1);
        draw_batch(draws, &set, &at);
        for (uint32_t i_row = 0; i_row < BATCH; i_row++) {
            struct amb_error err = AMB_ERROR_NULL;
            bool bad = set_is_bad(draws[i_row].i_sample, true);

            assert_ok(amb_fill_row(slot, i_row, &filler, &set.stream, &draws[i_row], &err), err);
            assert_int_equal(draws[i_row].replaced, bad);
            assert_false(set_is_bad(draws[i_row].i_sample, true));
            check_row(&set, slot, i_row, &draws[i_row]);
            n_flips += draws[i_row].flip;
            n_replaced += draws[i_row].replaced;
            n_trusted += draws[i_row].s_n > 0;
        }
        assert_true(n_flips > BATCH / 8 && n_flips < BATCH && n_replaced > 0 && n_trusted > 0);
        assert_int_equal(filler.n_replaced, n_replaced);
        free(slot);
        amb_filler_deinit(&filler);
        set_close(&set);
    }
}

TEST(requests_have_noise_of_their_own) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_filler filler = filler_make();
    struct amb_error err = AMB_ERROR_NULL;
    struct set set;
    uint8_t *slot;

    set_open(&set, SET_PICTURES, 60, true, false);
    set_subscribe(&set, &options, BATCH, all_fields, N_ALL);
    slot = calloc(set.layout.slot_bytes, 1);
    for (uint32_t i_row = 0; i_row < BATCH; i_row++) {
        struct amb_draw draw;

        assert_int_equal(amb_sampler_request(&draw, set.sampler, 0, 5, i_row, 0.3 + i_row), 0);
        assert_true(draw.request);
        assert_ok(amb_fill_row(slot, i_row, &filler, &set.stream, &draw, &err), err);
        assert_true(draw.request);
        check_row(&set, slot, i_row, &draw);
    }
    free(slot);
    amb_filler_deinit(&filler);
    set_close(&set);
}

struct worker {
    const struct set *set;
    const struct amb_draw *draws;
    uint8_t *slot;
    _Atomic uint32_t *i_next;
    pthread_t thread;
};

static void *worker_run(void *opaque) {
    struct worker *worker = opaque;
    struct amb_filler filler;

    if (amb_filler_init(&filler, &AMB_CODEC_LIMITS_DEFAULT, NULL) != 0) {
        return worker;
    }
    for (uint32_t i = atomic_fetch_add(worker->i_next, 1); i < BATCH;
         i = atomic_fetch_add(worker->i_next, 1)) {
        struct amb_draw draw = worker->draws[i];

        if (amb_fill_row(worker->slot, i, &filler, &worker->set->stream, &draw, NULL) != 0) {
            return worker;
        }
    }
    amb_filler_deinit(&filler);
    return NULL;
}

static void fill_threads(uint8_t *slot, const struct set *set, const struct amb_draw *draws,
                         unsigned n_threads) {
    struct worker workers[8];
    _Atomic uint32_t i_next = 0;

    for (unsigned i = 0; i < n_threads; i++) {
        workers[i] = (struct worker){.set = set, .draws = draws, .slot = slot, .i_next = &i_next};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
    }
    for (unsigned i = 0; i < n_threads; i++) {
        void *failed;

        pthread_join(workers[i].thread, &failed);
        assert_null(failed);
    }
}

/* Ten batches without a cache, in order, by one filler and with an empty quarantine each are the reference;
 * then with a cache (also one that holds a few samples only), with all bad samples known, backwards, and by 1
 * to 8 threads on one slot: the whole slot must be equal, byte by byte. */
TEST(bytes_do_not_depend_on_cache_order_or_threads) {
    static const size_t cache_bytes[] = {0, 20000, 1 << 20};
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_filler filler = filler_make();
    struct amb_state at = {0};
    struct amb_draw draws[BATCH];
    struct set set;
    uint8_t *expected, *slot;
    size_t bytes;

    options.xflip = true;
    set_open(&set, SET_PICTURES, 60, true, false);
    set_subscribe(&set, &options, BATCH, all_fields, N_ALL);
    bytes = set.layout.slot_bytes;
    expected = malloc(bytes);
    slot = malloc(bytes);
    for (unsigned i_step = 0; i_step < 10; i_step += test_stride()) {
        draw_batch(draws, &set, &at);
        memset(expected, 0x5A, bytes);
        set_renew(&set, 0);
        fill_all(expected, &set, draws, &filler);
        for (unsigned i = 0; i < 3; i++) {
            set_renew(&set, cache_bytes[i]);
            for (unsigned n_threads = 1; n_threads <= 8; n_threads *= 2) {
                memset(slot, 0x5A, bytes);
                fill_threads(slot, &set, draws, n_threads);
                assert_memory_equal(slot, expected, bytes);
            }
            memset(slot, 0x5A, bytes);
            for (uint32_t i_row = BATCH; i_row-- > 0;) {
                struct amb_draw draw = draws[i_row];

                assert_int_equal(amb_fill_row(slot, i_row, &filler, &set.stream, &draw, NULL), 0);
            }
            assert_memory_equal(slot, expected, bytes);
        }
    }
    assert_true(amb_quarantine_count(set.quarantine) > 0);
    free(slot);
    free(expected);
    amb_filler_deinit(&filler);
    set_close(&set);
}

/* The same draws with fewer fields and other dtypes: what is asked for beside a field must not change it. */
TEST(fields_do_not_change_each_other) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_filler filler = filler_make();
    struct amb_state at = {0};
    struct amb_draw draws[BATCH];
    struct amb_layout all;
    struct set set;
    uint8_t *expected, *slot;

    set_open(&set, SET_PICTURES, 60, true, false);
    set_subscribe(&set, &options, BATCH, all_fields, N_ALL);
    all = set.layout;
    expected = calloc(all.slot_bytes, 1);
    slot = malloc(all.slot_bytes);
    draw_batch(draws, &set, &at);
    fill_all(expected, &set, draws, &filler);
    for (size_t i = 0; i < N_ALL; i++) {
        set_subscribe(&set, &options, BATCH, &all_fields[i], 1);
        memset(slot, 0, set.layout.slot_bytes);
        fill_all(slot, &set, draws, &filler);
        assert_int_equal(set.layout.fields[0].bytes, all.fields[i].bytes);
        assert_memory_equal(slot, expected + all.fields[i].offset, all.fields[i].bytes);
    }
    free(slot);
    free(expected);
    amb_filler_deinit(&filler);
    set_close(&set);
}

/* Fill one row over two different grounds: outside of the row's bytes the ground must stay, inside it must
 * not show. */
TEST(a_row_writes_its_own_bytes_and_all_of_them) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_filler filler = filler_make();
    struct amb_state at = {0};
    struct amb_draw draws[BATCH];
    struct set set;
    uint8_t *slots[2], *mine;

    set_open(&set, SET_PICTURES, 60, true, false);
    set_subscribe(&set, &options, BATCH, all_fields, N_ALL);
    draw_batch(draws, &set, &at);
    mine = malloc(set.layout.slot_bytes);
    for (uint32_t i_row = 0; i_row < BATCH; i_row += 11) {
        for (unsigned i = 0; i < 2; i++) {
            struct amb_draw draw = draws[i_row];

            slots[i] = malloc(set.layout.slot_bytes);
            memset(slots[i], i == 0 ? 0x11 : 0xEE, set.layout.slot_bytes);
            assert_int_equal(amb_fill_row(slots[i], i_row, &filler, &set.stream, &draw, NULL), 0);
        }
        memset(mine, 0, set.layout.slot_bytes);
        for (uint32_t i = 0; i < set.layout.n_fields; i++) {
            const struct amb_layout_field *field = &set.layout.fields[i];

            memset(mine + amb_layout_row(&set.layout, field, i_row), 1, field->row_bytes);
            if (field->ragged || field->stacked) {
                memset(mine + field->offset + 8 * i_row, 1, 8);
            }
        }
        for (size_t i = 0; i < set.layout.slot_bytes; i++) {
            if (mine[i] != 0 ? slots[0][i] != slots[1][i] : slots[0][i] != 0x11 || slots[1][i] != 0xEE) {
                fail_msg("row %u, byte %zu of the slot: %02x %02x", i_row, i, slots[0][i], slots[1][i]);
            }
        }
        free(slots[0]);
        free(slots[1]);
    }
    free(mine);
    amb_filler_deinit(&filler);
    set_close(&set);
}

/* Warm up on a pass, then 1,000 steps (small batches of the same set) with and without a cache. */
TEST(warm_filler_allocates_nothing_in_a_thousand_steps) {
    const unsigned n_steps = 200 + 1000 / test_stride();

    for (unsigned i = 0; i < 2; i++) {
        struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
        struct amb_filler filler = filler_make();
        struct amb_state at = {0};
        struct amb_draw draws[BATCH];
        struct set set;
        uint64_t n_allocs = 0;
        uint8_t *slot;

        set_open(&set, SET_PICTURES, 60, true, false);
        set_subscribe(&set, &options, 8, all_fields, N_ALL);
        set_renew(&set, i != 0 ? 1 << 20 : 0);
        slot = calloc(set.layout.slot_bytes, 1);
        for (unsigned i_step = 0; i_step < n_steps; i_step++) {
            if (i_step % 6 == 0) {
                draw_batch(draws, &set, &at);
            }
            if (i_step == 200) {
                n_allocs = amb_alloc_count();
            }
            fill_all(slot, &set, draws + i_step % 6 * 8, &filler);
        }
        assert_int_equal(amb_alloc_count(), n_allocs);
        free(slot);
        amb_filler_deinit(&filler);
        set_close(&set);
    }
}

/* What was found bad is listed once each with a code of ours and a reason. */
TEST(bad_samples_are_quarantined_with_reasons) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_filler filler = filler_make();
    struct amb_state at = {0};
    struct amb_draw draws[BATCH];
    struct amb_quarantine_row row;
    struct set set;
    uint8_t *slot;

    set_open(&set, SET_PICTURES, 60, true, false);
    set_subscribe(&set, &options, BATCH, all_fields, N_ALL);
    slot = calloc(set.layout.slot_bytes, 1);
    for (unsigned i_step = 0; i_step < 20; i_step++) {
        draw_batch(draws, &set, &at);
        fill_all(slot, &set, draws, &filler);
    }
    assert_int_equal(amb_quarantine_count(set.quarantine), 12);
    for (uint64_t i = 0; amb_quarantine_get(&row, set.quarantine, i) == 0; i++) {
        assert_true(set_is_bad(row.i_sample, true));
        assert_true(row.code <= AMB_ERR_FORMAT);
        assert_true(strlen(row.reason) > 5);
    }
    assert_int_equal(filler.n_transient, 0);
    free(slot);
    amb_filler_deinit(&filler);
    set_close(&set);
}

/* A fault that passes at the second try leaves no trace in the bytes; one that stays gives a flagged
 * replacement and no quarantine; the same place with a cause in the bytes is quarantined. */
TEST(transient_faults_are_retried_then_flagged) {
    static const int transient[] = {-EIO, -ETIMEDOUT, -ENOMEM};
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_filler filler = filler_make();
    struct amb_state at = {0};
    struct amb_draw draws[BATCH], draw, usual;
    struct set set;
    uint8_t *slot, *expected;
    uint64_t n_transient = 0;

    set_open(&set, SET_PICTURES, 60, false, false);
    set_subscribe(&set, &options, BATCH, all_fields, N_ALL);
    slot = calloc(set.layout.slot_bytes, 1);
    expected = calloc(set.layout.slot_bytes, 1);
    draw_batch(draws, &set, &at);
    usual = draws[0];
    assert_int_equal(amb_fill_row(expected, 0, &filler, &set.stream, &usual, NULL), 0);
    i_fault = draws[0].i_sample;
    for (unsigned i = 0; i < 3; i++) {
        fault_code = transient[i];
        n_faults_left = 1;
        draw = draws[0];
        assert_int_equal(amb_fill_row(slot, 0, &filler, &set.stream, &draw, NULL), 0);
        assert_memory_equal(slot, expected, set.layout.slot_bytes);
        n_faults_left = 2;
        draw = draws[0];
        assert_int_equal(amb_fill_row(slot, 0, &filler, &set.stream, &draw, NULL), 0);
        assert_int_equal(n_faults_left, 0);
        assert_int_equal(draw.replaced, AMB_REPLACED_TRANSIENT);
        assert_int_not_equal(draw.i_sample, draws[0].i_sample);
        check_row(&set, slot, 0, &draw);
        n_transient += 3;
        assert_int_equal(filler.n_transient, n_transient);
        assert_int_equal(filler.n_timed_out, transient[i] == -ETIMEDOUT ? 3 : filler.n_timed_out);
    }
    assert_int_equal(amb_quarantine_count(set.quarantine), 0);
    fault_code = AMB_ERR_CHANGED;
    n_faults_left = 1;
    draw = draws[0];
    assert_int_equal(amb_fill_row(slot, 0, &filler, &set.stream, &draw, NULL), 0);
    assert_int_equal(draw.replaced, AMB_REPLACED_YES);
    assert_int_equal(amb_quarantine_count(set.quarantine), 1);
    free(expected);
    free(slot);
    amb_filler_deinit(&filler);
    set_close(&set);
}

/* A bad sample whose replacement fails for the moment: the row then depends on that moment, and must say so.
 * With all bad samples known, each row is read once; before, the bad ones cost a read more. */
TEST(known_bad_samples_are_not_read_and_faults_of_replacements_flagged) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_filler filler = filler_make();
    struct amb_state at = {0};
    struct amb_draw draws[BATCH], draw, usual;
    struct set set;
    uint8_t *slot;
    uint32_t i_bad = 0;
    uint64_t before;

    set_open(&set, SET_PICTURES, 60, true, false);
    set_subscribe(&set, &options, BATCH, all_fields, N_ALL);
    slot = calloc(set.layout.slot_bytes, 1);
    draw_batch(draws, &set, &at);
    before = n_reads;
    fill_all(slot, &set, draws, &filler);
    assert_true(n_reads > before + BATCH);
    before = n_reads;
    fill_all(slot, &set, draws, &filler);
    assert_int_equal(n_reads, before + BATCH);
    while (!set_is_bad(draws[i_bad].i_sample, true)) {
        i_bad++;
        assert_true(i_bad < BATCH);
    }
    usual = draws[i_bad];
    assert_int_equal(amb_fill_row(slot, i_bad, &filler, &set.stream, &usual, NULL), 0);
    assert_int_equal(usual.replaced, AMB_REPLACED_YES);
    i_fault = usual.i_sample;
    fault_code = -EIO;
    n_faults_left = 2;
    draw = draws[i_bad];
    assert_int_equal(amb_fill_row(slot, i_bad, &filler, &set.stream, &draw, NULL), 0);
    assert_int_equal(n_faults_left, 0);
    assert_int_equal(draw.replaced, AMB_REPLACED_TRANSIENT);
    free(slot);
    amb_filler_deinit(&filler);
    set_close(&set);
}

TEST(exhausted_replacements_name_the_level) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_filler filler = filler_make();
    struct amb_state at = {0};
    struct amb_draw draws[BATCH];
    struct amb_error err = AMB_ERROR_NULL;
    struct set set;
    char level[32];
    uint8_t *slot;

    set_open(&set, SET_PICTURES, 30, true, true);
    set_subscribe(&set, &options, BATCH, all_fields, N_ALL);
    slot = calloc(set.layout.slot_bytes, 1);
    draw_batch(draws, &set, &at);
    snprintf(level, sizeof level, "s = %g:", draws[0].s);
    filler.tried_ns = &tried_ns; /* whoever watches sees each of them, not only the row */
    n_reads = n_tried = 0;
    assert_int_equal(amb_fill_row(slot, 0, &filler, &set.stream, &draws[0], &err), AMB_ERR_EXHAUSTED);
    assert_true(n_reads > 1 && n_tried == n_reads);
    assert_non_null(strstr(err.message, level));
    assert_non_null(strstr(err.message, "64"));
    for (size_t i = 0; i < set.layout.slot_bytes; i++) {
        assert_int_equal(slot[i], 0);
    }
    free(slot);
    amb_filler_deinit(&filler);
    set_close(&set);
}

/* In `sequential` at level 0: every sample once and clean, unreadable ones as zeros that say which they
 * were. */
TEST(sequential_replaces_nothing) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_filler filler = filler_make();
    struct amb_state at = {0};
    struct amb_draw draws[BATCH];
    const uint8_t zeros[PLANE * 3 * 4] = {0};
    struct set set_, *set = &set_;
    uint8_t *slot;

    options.policy = AMB_POLICY_SEQUENTIAL;
    options.schedule = (struct amb_schedule){.kind = AMB_SCHEDULE_CONSTANT, .a = 0};
    set_open(set, SET_PICTURES, BATCH, true, false);
    set_subscribe(set, &options, BATCH, all_fields, N_ALL);
    slot = malloc(set->layout.slot_bytes);
    memset(slot, 0x77, set->layout.slot_bytes);
    draw_batch(draws, set, &at);
    fill_all(slot, set, draws, &filler);
    for (uint32_t i_row = 0; i_row < BATCH; i_row++) {
        bool bad = set_is_bad(i_row, true);
        char name[16];

        snprintf(name, sizeof name, "k%04u", i_row);
        assert_int_equal(I64(AMB_FIELD_INDEX), i_row);
        assert_memory_equal(row_of(set, slot, AMB_FIELD_KEY, i_row), name, 5);
        assert_int_equal(*(const uint8_t *)row_of(set, slot, AMB_FIELD_REPLACED, i_row),
                         bad ? AMB_REPLACED_UNREADABLE : AMB_REPLACED_NO);
        assert_int_equal(I64(AMB_FIELD_LABEL), bad ? -1 : (int)(i_row % 10));
        assert_memory_equal(F32(AMB_FIELD_X_T), F32(AMB_FIELD_X0), PLANE * 3 * 4);
        assert_memory_equal(F32(AMB_FIELD_X_TN), F32(AMB_FIELD_X0), PLANE * 3 * 4);
        if (bad) {
            assert_memory_equal(F32(AMB_FIELD_X0), zeros, sizeof zeros);
            assert_memory_equal(F32(AMB_FIELD_NOISE), zeros, sizeof zeros);
            assert_true(*F32(AMB_FIELD_WEIGHT) == 0);
        } else {
            assert_true(isinf(*F32(AMB_FIELD_WEIGHT))); /* what the daemon refuses at subscription */
        }
    }
    free(slot);
    amb_filler_deinit(&filler);
    set_close(set);
}

/* Texts are 0 to 47 bytes in cells of 30; some are missing. Arrays are 2 x 3, some missing, of another shape,
 * or cut. */
TEST(members_are_cut_stacked_or_missing) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_filler filler = filler_make();
    struct amb_state at = {0};
    struct amb_draw draws[BATCH];
    struct amb_error err = AMB_ERROR_NULL;
    struct set set;
    const struct amb_layout_field *text, *array;
    uint8_t *slot;

    options.policy = AMB_POLICY_SEQUENTIAL;
    set_open(&set, SET_PICTURES, BATCH, true, false);
    set_subscribe(&set, &options, BATCH, all_fields, N_ALL);
    text = &set.layout.fields[N_ALL - 2];
    array = &set.layout.fields[N_ALL - 1];
    assert_true(text->ragged && !text->stacked && array->stacked && !array->ragged);
    assert_int_equal(array->dtype, AMB_DTYPE_F32);
    assert_true(array->n_dims == 2 && array->dims[0] == 2 && array->dims[1] == 3 && array->row_bytes == 24);
    slot = malloc(set.layout.slot_bytes);
    memset(slot, 0x77, set.layout.slot_bytes);
    draw_batch(draws, &set, &at);
    fill_all(slot, &set, draws, &filler);
    for (uint32_t i = 0; i < BATCH; i++) {
        bool bad = set_is_bad(i, true);
        int64_t text_bytes = ((const int64_t *)(const void *)(slot + text->offset))[i];
        int64_t array_bytes = ((const int64_t *)(const void *)(slot + array->offset))[i];
        const float *t5 = (const float *)(const void *)(slot + amb_layout_row(&set.layout, array, i));
        char expected[1000] = {0};

        assert_int_equal(text_bytes, bad || i % 7 == 3 ? -1 : (int64_t)i);
        if (text_bytes > 0) {
            set_text(expected, i);
        }
        assert_memory_equal(slot + amb_layout_row(&set.layout, text, i), expected, 30);
        assert_int_equal(array_bytes, bad || (i % 7 >= 4) ? -1 : 24);
        for (unsigned j = 0; j < 6; j++) {
            assert_true(t5[j] == (array_bytes == 24 ? (float)(i * 10 + j) : 0));
        }
    }
    assert_int_equal(amb_quarantine_count(set.quarantine), (BATCH + 2) / 5);
    set.layout.fields[N_ALL - 2].member_error = true;
    assert_int_equal(amb_fill_row(slot, 30, &filler, &set.stream, &draws[30], &err), 0);
    assert_int_equal(amb_fill_row(slot, 33, &filler, &set.stream, &draws[33], &err), AMB_ERR_LIMIT);
    assert_non_null(strstr(err.message, "\"k0033\" has 33 bytes, max_bytes is 30"));
    free(slot);
    amb_filler_deinit(&filler);
    set_close(&set);
}

TEST(probe_finds_size_and_kind) {
    struct amb_filler filler = filler_make();
    struct amb_error err = AMB_ERROR_NULL;
    const uint8_t *stored;
    uint8_t rgb[3 * PLANE];
    uint32_t width, height, channels;
    struct set set;
    bool latent;

    set_open(&set, SET_PICTURES, 10, false, false);
    assert_ok(amb_fill_probe(&width, &height, &channels, &latent, &filler, set.catalog, &err), err);
    assert_true(width == SET_SIDE && height == SET_SIDE && channels == 3 && !latent);
    set_pixels(rgb, 7);
    for (unsigned i = 0; i < 2; i++) {
        set_renew(&set, i == 0 ? 0 : 1 << 20);
        assert_ok(amb_fill_load(&stored, &filler, &set.dataset, 7, &err), err);
        assert_ok(amb_fill_load(&stored, &filler, &set.dataset, 7, &err), err);
        for (uint32_t e = 0; e < 3 * PLANE; e++) {
            assert_int_equal(stored[e], rgb[e % PLANE * 3 + e / PLANE]);
        }
    }
    set_close(&set);
    set_open(&set, SET_LATENTS, 10, false, false);
    assert_ok(amb_fill_probe(&width, &height, &channels, &latent, &filler, set.catalog, &err), err);
    assert_true(width == SET_SIDE && height == SET_SIDE && channels == 8 && latent);
    set_close(&set);
    set_open(&set, SET_PICTURES, 10, true, true);
    assert_true(amb_fill_probe(&width, &height, &channels, &latent, &filler, set.catalog, &err) <=
                AMB_ERR_FORMAT);
    assert_true(amb_fill_load(&stored, &filler, &set.dataset, 3, &err) <= AMB_ERR_FORMAT);
    set_close(&set);
    amb_filler_deinit(&filler);
}

static void write_file(const char *dir, const char *name, const void *data, size_t bytes) {
    char path[128];
    FILE *file;

    assert_true((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) < sizeof path);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    fclose(file);
}

static void remove_file(const char *dir, const char *name) {
    char path[128];

    assert_true((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) < sizeof path);
    assert_int_equal(unlink(path), 0);
}

/* A folder of three pictures, two of them u8 arrays and one of those damaged, with vector labels. */
TEST(folders_of_arrays_have_vector_labels) {
    static const char labels[] =
        "{\"labels\": [[\"a.npy\", [1.5, -2.0]], [\"b.npy\", [0.25, 3.0]], [\"c.png\", [4.0, 5.0]]]}";
    static const char *const fields[] = {"label", "u8", "replaced"};
    static const float expected[3][2] = {{1.5f, -2.0f}, {0, 0}, {4.0f, 5.0f}};
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_filler filler = filler_make();
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_state at = {0};
    struct amb_draw draws[3];
    struct set set_ = {.n_samples = 3}, *set = &set_;
    uint8_t rgb[3 * PLANE], bytes[4096], *slot;
    uint32_t width, height, channels;
    size_t n_drawn = 0;
    bool latent;

    snprintf(set->dir, sizeof set->dir, "/tmp/ambientd-test-XXXXXX");
    assert_non_null(mkdtemp(set->dir));
    set_pixels(rgb, 0);
    write_file(set->dir, "a.npy", bytes, set_npy(bytes, "|u1", "(12, 12, 3)", rgb, sizeof rgb));
    write_file(set->dir, "b.npy", bytes, set_npy(bytes, "|u1", "(12, 12, 3)", rgb, sizeof rgb - 1));
    write_file(set->dir, "c.png", bytes, set_png(bytes, sizeof bytes, rgb));
    write_file(set->dir, "dataset.json", labels, sizeof labels - 1);
    set_open_catalog(set, set->dir);
    set_open_dataset(set);
    assert_ok(amb_fill_probe(&width, &height, &channels, &latent, &filler, set->catalog, &err), err);
    assert_true(width == SET_SIDE && height == SET_SIDE && channels == 3 && !latent);
    options.policy = AMB_POLICY_SEQUENTIAL;
    set_subscribe(set, &options, 3, fields, 3);
    assert_int_equal(set->layout.fields[0].dtype, AMB_DTYPE_F32);
    slot = malloc(set->layout.slot_bytes);
    memset(slot, 0x77, set->layout.slot_bytes);
    amb_sampler_adopt(&at, set->sampler);
    assert_int_equal(amb_sampler_draw(draws, &n_drawn, set->sampler, &at, 3), 0);
    fill_all(slot, set, draws, &filler);
    for (uint32_t i_row = 0; i_row < 3; i_row++) {
        const uint8_t *u8 = row_of(set, slot, AMB_FIELD_U8, i_row);

        assert_memory_equal(F32(AMB_FIELD_LABEL), expected[i_row], sizeof expected[i_row]);
        assert_int_equal(*(const uint8_t *)row_of(set, slot, AMB_FIELD_REPLACED, i_row),
                         i_row == 1 ? AMB_REPLACED_UNREADABLE : AMB_REPLACED_NO);
        for (uint32_t e = 0; e < 3 * PLANE; e++) {
            assert_int_equal(u8[e], i_row == 1 ? 0 : rgb[e % PLANE * 3 + e / PLANE]);
        }
    }
    free(slot);
    amb_filler_deinit(&filler);
    remove_file(set->dir, "a.npy");
    remove_file(set->dir, "b.npy");
    remove_file(set->dir, "c.png");
    remove_file(set->dir, "dataset.json");
    set_close(set);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fields_are_those_of_the_formulas),
    cmocka_unit_test(requests_have_noise_of_their_own),
    cmocka_unit_test(bytes_do_not_depend_on_cache_order_or_threads),
    cmocka_unit_test(fields_do_not_change_each_other),
    cmocka_unit_test(a_row_writes_its_own_bytes_and_all_of_them),
    cmocka_unit_test(warm_filler_allocates_nothing_in_a_thousand_steps),
    cmocka_unit_test(bad_samples_are_quarantined_with_reasons),
    cmocka_unit_test(transient_faults_are_retried_then_flagged),
    cmocka_unit_test(known_bad_samples_are_not_read_and_faults_of_replacements_flagged),
    cmocka_unit_test(exhausted_replacements_name_the_level),
    cmocka_unit_test(sequential_replaces_nothing),
    cmocka_unit_test(members_are_cut_stacked_or_missing),
    cmocka_unit_test(probe_finds_size_and_kind),
    cmocka_unit_test(folders_of_arrays_have_vector_labels),
};

TEST_MAIN(tests)
