/*
 * Sampler: the draws of a stream as a function of (state, generation, options).
 *
 * Sigma comes first: one Philox word through the schedule's quantile function, squeezed around the gap where there is
 * one. Then the policy finds a sample that admits it: the next of a pass (pass.c), a uniform one (uniform.c), or simply
 * the k-th. All that moves is the state; the sampler may be shared by threads.
 *
 * Which word of which Philox block decides what is written in proto/sampler.md.
 */
#include "sampler/sampler.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/philox.h"
#include "base/real.h"
#include "sampler/key.h"
#include "sampler/level.h"
#include "sampler/pass.h"
#include "sampler/uniform.h"

enum sampler_key {
    KEY_DRAW,
    KEY_UNIFORM,
    KEY_SPARSE,
    KEY_REPLACE,
    KEY_REQUEST,
    KEY_REQUEST_REPLACE,
    KEY_N,
};

static const char *const key_purposes[KEY_N] = {
    [KEY_DRAW] = "draw",       [KEY_UNIFORM] = "uniform", [KEY_SPARSE] = "sparse",
    [KEY_REPLACE] = "replace", [KEY_REQUEST] = "request", [KEY_REQUEST_REPLACE] = "request replace",
};

struct amb_sampler {
    struct amb_orders *orders; /* a reference */
    struct amb_stream_options options;
    uint64_t keys[KEY_N];
    bool has_gap;
    double gap_lo, gap_hi; /* no sample admits s in [gap_lo, gap_hi]             */
    double u_lo, mass;     /* P(s < gap_lo) and P(gap_lo <= s <= gap_hi)         */
};

/* New */

static void sampler_measure_gap(struct amb_sampler *sampler) {
    const struct amb_stream_options *options = &sampler->options;
    double u_hi = 1;

    sampler->has_gap = options->policy != AMB_POLICY_SEQUENTIAL &&
                       amb_orders_gap_from_zero(&sampler->gap_lo, &sampler->gap_hi, sampler->orders) != 0;
    if (!sampler->has_gap) {
        return;
    }
    if (sampler->gap_lo > 0) {
        sampler->u_lo = amb_schedule_cdf(&options->schedule, options->process, amb_level_below(sampler->gap_lo));
    }
    if (sampler->gap_hi < INFINITY) {
        u_hi = amb_schedule_cdf(&options->schedule, options->process, sampler->gap_hi);
    }
    sampler->mass = u_hi > sampler->u_lo ? u_hi - sampler->u_lo : 0;
}

static int sampler_check_gap(const struct amb_sampler *sampler, struct amb_error *err) {
    bool truncate = sampler->options.gaps == AMB_GAPS_TRUNCATE;
    bool is_nothing = !(sampler->gap_lo > 0) && !(sampler->gap_hi < INFINITY);
    char below[48] = "", above[48] = "";

    if (!sampler->has_gap || sampler->mass <= (truncate ? AMB_SAMPLER_GAP_MASS : AMB_SAMPLER_GAP_NONE)) {
        return 0;
    }
    if (sampler->gap_lo > 0) {
        snprintf(below, sizeof below, "sigma < %.6g", sampler->gap_lo);
    }
    if (sampler->gap_hi < INFINITY) {
        snprintf(above, sizeof above, "sigma > %.6g", sampler->gap_hi);
    }
    return amb_fail(err, AMB_ERR_GAP,
                    "no sample admits sigma in [%.6g, %.6g] (VE scale), where the schedule has %.4g %% of its mass; allowed: "
                    "%s; admitted: %s%s%s; %s",
                    sampler->gap_lo, sampler->gap_hi, 100 * sampler->mass,
                    truncate ? "1 % with gaps=truncate" : "none with gaps=error, 1 % with gaps=truncate", below,
                    below[0] != '\0' && above[0] != '\0' ? " and " : "",
                    is_nothing ? "nothing" : above,
                    is_nothing ? "annotate the samples, or let the default_annotation of a source admit its own"
                               : "use a schedule that stays there, or data that may be used everywhere");
}

static uint64_t sampler_count_entries(const struct amb_sampler *sampler) {
    const uint64_t one = UINT64_C(1) << AMB_ORDERS_WEIGHT_BITS;
    uint64_t sum = 0;

    for (uint32_t j = 0; j < sampler->orders->n_parts; j++) {
        const struct amb_orders_part *part = &sampler->orders->parts[j];
        uint64_t weight = sampler->options.policy == AMB_POLICY_SEQUENTIAL ? one : part->weight;

        sum += weight / one * part->source.count + (weight % one * part->source.count + one / 2) / one;
    }
    return sum;
}

int amb_sampler_new(struct amb_sampler **out, struct amb_orders *orders, const struct amb_stream_options *options,
                    struct amb_sampler_report *report, struct amb_error *err) {
    struct amb_sampler *sampler;
    int r = amb_schedule_check(&options->schedule, options->process, err);

    if (r < 0) {
        return r;
    }
    assert(amb_stream_options_buffer(options) == orders->buffer);
    sampler = amb_calloc(1, sizeof *sampler);
    if (sampler == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a sampler");
    }
    sampler->orders = amb_orders_ref(orders);
    sampler->options = *options;
    for (unsigned i = 0; i < KEY_N; i++) {
        sampler->keys[i] = amb_hash_words(key_purposes[i], &options->seed, 1);
    }
    sampler_measure_gap(sampler);
    if (report != NULL) {
        *report = (struct amb_sampler_report){.gap_lo = sampler->gap_lo,
                                              .gap_hi = sampler->gap_hi,
                                              .gap_mass = sampler->mass,
                                              .n_intervals = orders->intervals.n,
                                              .n_entries = sampler_count_entries(sampler)};
    }
    r = sampler_check_gap(sampler, err);
    if (r < 0) {
        amb_sampler_free(sampler);
        return r;
    }
    *out = sampler;
    return 0;
}

struct amb_sampler *amb_sampler_free(struct amb_sampler *sampler) {
    if (sampler != NULL) {
        amb_orders_unref(sampler->orders);
        amb_free(sampler);
    }
    return NULL;
}

/* Draw */

/* A level outside the gap next to it, on the side of u. */
static double sampler_leave_gap(const struct amb_sampler *sampler, bool above) {
    if (above && sampler->gap_hi < INFINITY) {
        return amb_level_above(sampler->gap_hi);
    }
    return sampler->gap_lo > 0 ? amb_level_below(sampler->gap_lo) : amb_level_above(sampler->gap_hi);
}

/* The schedule conditioned on being admitted: u is spread over [0, u_lo) and [u_lo + mass, 1). */
static double sampler_get_level(const struct amb_sampler *sampler, double u) {
    bool above = false;
    double s;

    if (sampler->has_gap) {
        u *= 1 - sampler->mass;
        above = u >= sampler->u_lo;
        u = above ? u + sampler->mass : u;
    }
    s = amb_schedule_quantile(&sampler->options.schedule, sampler->options.process, u);
    if (sampler->has_gap && s >= sampler->gap_lo && s <= sampler->gap_hi) {
        s = sampler_leave_gap(sampler, above);
    }
    return s;
}

static void sampler_draw_level(struct amb_draw *draw, const struct amb_sampler *sampler, uint64_t k) {
    struct amb_philox_block block = amb_philox(sampler->keys[KEY_DRAW], 0, k);

    *draw = (struct amb_draw){
        .counter = k,
        .s = sampler_get_level(sampler, amb_real_uniform(amb_philox_u64(&block, 0))),
        .flip = sampler->options.xflip && (block.w[2] & 1) != 0,
    };
}

static void sampler_set_sample(struct amb_draw *draw, const struct amb_sampler *sampler, uint32_t i_sample) {
    struct amb_annotation value = sampler->orders->annotations->values[i_sample];
    bool trusted = sampler->options.policy != AMB_POLICY_SEQUENTIAL || draw->request;

    draw->i_sample = i_sample;
    draw->sigma_min = value.sigma_min;
    draw->sigma_max = value.sigma_max;
    draw->s_n = trusted && draw->s > amb_key_m(value, sampler->orders->buffer) ? (double)value.sigma_min : 0;
}

static uint32_t sampler_draw_uniform(const struct amb_sampler *sampler, enum sampler_key key, uint64_t block,
                                     const struct amb_draw *draw) {
    struct amb_uniform uniform = {.s = draw->s, .block = block, .counter = draw->counter};
    uint32_t id;

    amb_uniform_draw(&id, sampler->orders, sampler->keys[key], &uniform, 1);
    return id;
}

static void sampler_draw_uniforms(struct amb_draw *draws, const struct amb_sampler *sampler, unsigned n) {
    struct amb_uniform uniforms[AMB_RANK_N_MAX];
    uint32_t ids[AMB_RANK_N_MAX];

    for (unsigned i = 0; i < n; i++) {
        uniforms[i] = (struct amb_uniform){.s = draws[i].s, .block = 0, .counter = draws[i].counter};
    }
    amb_uniform_draw(ids, sampler->orders, sampler->keys[KEY_UNIFORM], uniforms, n);
    for (unsigned i = 0; i < n; i++) {
        assert(ids[i] != AMB_UNIFORM_NONE); /* the gap has been cut out */
        sampler_set_sample(&draws[i], sampler, ids[i]);
    }
}

static void sampler_draw_passes(struct amb_draw *draws, const struct amb_sampler *sampler, struct amb_pass *pass,
                                struct amb_state *state, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        uint32_t id = amb_pass_draw(pass, state->cursors, draws[i].s);

        if (id == AMB_PASS_SPARSE) {
            id = sampler_draw_uniform(sampler, KEY_SPARSE, 0, &draws[i]);
            assert(id != AMB_UNIFORM_NONE);
        }
        sampler_set_sample(&draws[i], sampler, id);
    }
}

/* The k-th sample of the sources in order. */
static uint32_t sampler_get_kth(const struct amb_sampler *sampler, uint64_t k) {
    for (uint32_t j = 0;; j++) {
        const struct amb_orders_source *source = &sampler->orders->parts[j].source;

        if (k < source->count) {
            return source->first + (uint32_t)k;
        }
        k -= source->count;
    }
}

static void sampler_draw_chunk(struct amb_draw *draws, const struct amb_sampler *sampler, struct amb_pass *pass,
                               struct amb_state *state, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        sampler_draw_level(&draws[i], sampler, state->k + i);
    }
    switch (sampler->options.policy) {
    case AMB_POLICY_PASS:
        sampler_draw_passes(draws, sampler, pass, state, n);
        break;
    case AMB_POLICY_UNIFORM:
        sampler_draw_uniforms(draws, sampler, n);
        break;
    default:
        for (unsigned i = 0; i < n; i++) {
            sampler_set_sample(&draws[i], sampler, sampler_get_kth(sampler, state->k + i));
        }
        break;
    }
    state->k += n;
}

static int sampler_begin(const struct amb_sampler *sampler, struct amb_state *state) {
    if (sampler->options.policy != AMB_POLICY_PASS) {
        return 0;
    }
    if (state->n_cursors == 0) {
        state->n_cursors = sampler->orders->intervals.n;
        for (uint32_t i = 0; i < state->n_cursors; i++) {
            state->cursors[i] = (struct amb_cursor){0, 0};
        }
    }
    return state->n_cursors == sampler->orders->intervals.n ? 0 : AMB_ERR_STATE;
}

int amb_sampler_draw(struct amb_draw *draws, size_t *n_drawn, const struct amb_sampler *sampler,
                     struct amb_state *state, size_t n) {
    struct amb_draw unwanted[AMB_RANK_N_MAX];
    struct amb_pass pass;
    size_t n_wanted = n, n_left = n;
    int r = sampler_begin(sampler, state);

    *n_drawn = 0;
    if (r < 0) {
        return r;
    }
    if (sampler->options.policy == AMB_POLICY_SEQUENTIAL) {
        uint64_t n_entries = sampler_count_entries(sampler), rest = state->k < n_entries ? n_entries - state->k : 0;

        n_left = n < rest ? n : (size_t)rest;
        n_wanted = n_left;
    }
    if (draws == NULL && sampler->options.policy != AMB_POLICY_PASS) {
        state->k += n_left;
        n_left = 0;
    }
    amb_pass_init(&pass, sampler->orders, sampler->options.seed);
    while (n_left > 0) {
        unsigned n_chunk = n_left < AMB_RANK_N_MAX ? (unsigned)n_left : AMB_RANK_N_MAX;

        sampler_draw_chunk(draws != NULL ? draws + (n_wanted - n_left) : unwanted, sampler, &pass, state, n_chunk);
        n_left -= n_chunk;
    }
    *n_drawn = n_wanted;
    return n_wanted < n ? AMB_SAMPLER_E_END : 0;
}

int amb_sampler_request(struct amb_draw *out, const struct amb_sampler *sampler, uint64_t rank, uint64_t q, uint64_t j,
                        double s) {
    uint64_t words[] = {rank, q, j};
    struct amb_draw draw = {.s = s, .counter = amb_hash_words("request", words, 3), .request = true};
    struct amb_philox_block block = amb_philox(sampler->keys[KEY_REQUEST], 1, draw.counter);
    uint32_t id = s >= 0 ? sampler_draw_uniform(sampler, KEY_REQUEST, 0, &draw) : AMB_UNIFORM_NONE;

    if (id == AMB_UNIFORM_NONE) {
        return AMB_SAMPLER_E_NONE;
    }
    draw.flip = sampler->options.xflip && (block.w[0] & 1) != 0;
    sampler_set_sample(&draw, sampler, id);
    *out = draw;
    return 0;
}

void amb_sampler_replace(struct amb_draw *draw, const struct amb_sampler *sampler, unsigned j) {
    uint32_t id = sampler_draw_uniform(sampler, draw->request ? KEY_REQUEST_REPLACE : KEY_REPLACE, j, draw);

    assert(j < AMB_SAMPLER_REPLACEMENTS && id != AMB_UNIFORM_NONE);
    sampler_set_sample(draw, sampler, id);
    draw->replaced = 1;
}

/* Numbers of passes go on, or many short generations would begin with the same samples again and again. */
void amb_sampler_adopt(struct amb_state *state, const struct amb_sampler *sampler) {
    uint64_t next = 0;

    for (uint32_t i = 0; i < state->n_cursors; i++) {
        next = state->cursors[i].pass >= next ? state->cursors[i].pass + 1 : next;
    }
    state->n_cursors = sampler->options.policy == AMB_POLICY_PASS ? sampler->orders->intervals.n : 0;
    for (uint32_t i = 0; i < state->n_cursors; i++) {
        state->cursors[i] = (struct amb_cursor){.pass = next, .position = 0};
    }
}
