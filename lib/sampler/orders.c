/*
 * Orders: which samples admit a level, as two sorted lists of sample numbers for each source.
 *
 * The lists hold numbers; keys are computed from the annotations when somebody looks (key.h). While a list is built its
 * keys lie beside the numbers and are sorted by radix; every 2^shift-th stays behind in a ladder, and of the others as
 * many bits as a word has to spare.
 * Invariant: an entry of rank r in list 1 admits s exactly if r < a(s), one of list 2 exactly if r < b(s).
 *
 * Not here: curricula. Orders for each group, once there are groups, are orders for each part.
 */
#include "sampler/orders.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "sampler/key.h"
#include "sampler/rank.h"
#include "sampler/sort.h"

#define ORDERS_PIVOTS_MAX (UINT32_C(1) << 19) /* keys kept of each kind of list: 2 MiB; measured by bench-sampler */

static int32_t orders_key(struct amb_annotation value, double buffer, enum amb_orders_which which) {
    return which == AMB_ORDERS_BY_MIN ? amb_key_of_min(value, buffer) : amb_key_of_max(value, buffer);
}

static uint32_t orders_pair_samples(uint64_t *pairs, const struct amb_orders *orders,
                                    const struct amb_orders_source *source, enum amb_orders_which which) {
    const struct amb_annotation *values = orders->annotations->values;
    uint32_t n = 0;

    for (uint32_t i = source->first; i - source->first < source->count; i++) {
        int32_t key = orders_key(values[i], orders->buffer, which);

        if (key != AMB_KEY_NONE) {
            pairs[n++] = (uint64_t)(uint32_t)key << 32 | i;
        }
    }
    return n;
}

static uint32_t orders_count_samples(const struct amb_orders *orders, const struct amb_orders_source *source,
                                     enum amb_orders_which which) {
    const struct amb_annotation *values = orders->annotations->values;
    uint32_t n = 0;

    for (uint32_t i = source->first; i - source->first < source->count; i++) {
        n += orders_key(values[i], orders->buffer, which) != AMB_KEY_NONE;
    }
    return n;
}

/* The least shift that keeps all ladders of one kind within ORDERS_PIVOTS_MAX. */
static unsigned orders_shift(const struct amb_orders *orders, enum amb_orders_which which) {
    unsigned shift = 0;

    for (;; shift++) {
        uint64_t n = 0;

        for (uint32_t j = 0; j < orders->n_parts; j++) {
            n += orders->parts[j].lists[which].n >> shift;
        }
        if (n <= ORDERS_PIVOTS_MAX) {
            return shift;
        }
    }
}

/* Sample numbers, and above them the distances of keys within each block of the ladder. */
static void orders_store_words(struct amb_orders_list *list, const struct amb_orders *orders, const uint64_t *sorted) {
    for (uint32_t i = 0; i < list->n;) {
        uint32_t block = i >> list->ladder.shift;
        int32_t base;
        uint32_t span = amb_ladder_span(&base, &list->ladder, block);
        unsigned loss = amb_ladder_loss(span, 32 - orders->id_bits);

        for (; i < list->n && i >> list->ladder.shift == block; i++) {
            uint64_t distance = (sorted[i] >> 32) - (uint64_t)base;

            list->words[i] = (uint32_t)(distance >> loss << orders->id_bits) | (uint32_t)sorted[i];
        }
    }
}

static int orders_store_list(struct amb_orders *orders, struct amb_orders_part *part, enum amb_orders_which which,
                             unsigned shift, uint64_t *pairs, uint64_t *scratch) {
    struct amb_orders_list *list = &part->lists[which];
    uint32_t n = orders_pair_samples(pairs, orders, &part->source, which);
    const uint64_t *sorted = amb_sort_pairs(pairs, scratch, n);
    int r = amb_ladder_init(&list->ladder, sorted, n, shift);

    assert(n == list->n);
    if (r == 0) {
        orders_store_words(list, orders, sorted);
    }
    return r;
}

/* Draws read the lists at random: with huge pages a miss of the cache is no longer also a miss of the TLB. */
static void orders_advise(uint32_t *words, size_t n_words) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)words + page - 1) / page * page, end = ((uintptr_t)words + n_words * sizeof *words) / page * page;

    if (begin < end) {
        madvise((void *)begin, end - begin, MADV_HUGEPAGE); /* advice: failing changes nothing */
    }
}

static int orders_place_lists(struct amb_orders *orders) {
    size_t n_words = 0;

    for (uint32_t j = 0; j < orders->n_parts; j++) {
        for (unsigned w = 0; w < AMB_ORDERS_N; w++) {
            struct amb_orders_part *part = &orders->parts[j];

            part->lists[w].n = orders_count_samples(orders, &part->source, (enum amb_orders_which)w);
            n_words += part->lists[w].n;
        }
    }
    orders->words = amb_malloc(n_words * sizeof *orders->words + 1);
    orders->n_words = n_words;
    if (orders->words == NULL) {
        return -ENOMEM;
    }
    orders_advise(orders->words, n_words);
    n_words = 0;
    for (uint32_t j = 0; j < orders->n_parts; j++) {
        for (unsigned w = 0; w < AMB_ORDERS_N; w++) {
            orders->parts[j].lists[w].words = orders->words + n_words;
            n_words += orders->parts[j].lists[w].n;
        }
    }
    return 0;
}

static int orders_build(struct amb_orders *orders) {
    AMB_CLEANUP(amb_freep) uint64_t *pairs = NULL;
    uint64_t n_most = 0;
    int r = orders_place_lists(orders);

    for (uint32_t j = 0; j < orders->n_parts; j++) {
        n_most = orders->parts[j].source.count > n_most ? orders->parts[j].source.count : n_most;
    }
    pairs = amb_malloc(2 * n_most * sizeof *pairs + 1);
    if (r < 0 || pairs == NULL) {
        return -ENOMEM;
    }
    for (unsigned w = 0; w < AMB_ORDERS_N; w++) {
        unsigned shift = orders_shift(orders, (enum amb_orders_which)w);

        for (uint32_t j = 0; j < orders->n_parts; j++) {
            r = orders_store_list(orders, &orders->parts[j], (enum amb_orders_which)w, shift, pairs, pairs + n_most);
            if (r < 0) {
                return r;
            }
        }
    }
    return amb_intervals_init(&orders->intervals, orders);
}

static int orders_check(const struct amb_annotations *annotations, const struct amb_orders_source *sources,
                        size_t n_sources, struct amb_error *err) {
    if (n_sources > AMB_ORDERS_SOURCES_MAX) {
        return amb_fail(err, AMB_ERR_CONFIG, "%zu sources, allowed: at most %u", n_sources, AMB_ORDERS_SOURCES_MAX);
    }
    for (size_t j = 0; j < n_sources; j++) {
        assert((uint64_t)sources[j].first + sources[j].count <= annotations->n_samples);
        if (!(sources[j].repeat * (1 << AMB_ORDERS_WEIGHT_BITS) >= 1) || sources[j].repeat > AMB_ORDERS_REPEAT_MAX) {
            return amb_fail(err, AMB_ERR_CONFIG, "repeat of source %zu is %g, allowed: from 1e-6 to %g", j,
                            sources[j].repeat, AMB_ORDERS_REPEAT_MAX);
        }
    }
    return 0;
}

int amb_orders_new(struct amb_orders **out, struct amb_annotations *annotations,
                   const struct amb_orders_source *sources, size_t n_sources, double buffer, struct amb_error *err) {
    struct amb_orders *orders;
    int r = orders_check(annotations, sources, n_sources, err);

    assert(buffer >= 1 && isfinite(buffer));
    if (r < 0) {
        return r;
    }
    orders = amb_calloc(1, sizeof *orders);
    if (orders == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for the orders of %u samples", annotations->n_samples);
    }
    orders->n_refs = 1;
    orders->annotations = amb_annotations_ref(annotations);
    orders->buffer = buffer;
    orders->id_bits = annotations->n_samples > 2 ? 32 - (unsigned)__builtin_clz(annotations->n_samples - 1) : 1;
    orders->id_mask = (uint32_t)((UINT64_C(1) << orders->id_bits) - 1);
    orders->parts = amb_calloc(n_sources + 1, sizeof *orders->parts);
    if (orders->parts != NULL) {
        orders->n_parts = (uint32_t)n_sources;
        for (size_t j = 0; j < n_sources; j++) {
            orders->parts[j].source = sources[j];
            orders->parts[j].weight = (uint64_t)(sources[j].repeat * (1 << AMB_ORDERS_WEIGHT_BITS) + 0.5);
        }
        r = orders_build(orders);
    }
    if (orders->parts == NULL || r < 0) {
        amb_orders_unref(orders);
        return amb_fail(err, -ENOMEM, "no memory for the orders of %u samples", annotations->n_samples);
    }
    *out = orders;
    return 0;
}

struct amb_orders *amb_orders_ref(struct amb_orders *orders) {
    __atomic_fetch_add(&orders->n_refs, 1, __ATOMIC_RELAXED);
    return orders;
}

struct amb_orders *amb_orders_unref(struct amb_orders *orders) {
    if (orders == NULL || __atomic_fetch_sub(&orders->n_refs, 1, __ATOMIC_RELEASE) != 1) {
        return NULL;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    amb_intervals_deinit(&orders->intervals);
    for (uint32_t j = 0; j < orders->n_parts; j++) {
        for (unsigned w = 0; w < AMB_ORDERS_N; w++) {
            amb_ladder_deinit(&orders->parts[j].lists[w].ladder);
        }
    }
    amb_free(orders->parts);
    amb_free(orders->words);
    amb_annotations_unref(orders->annotations);
    amb_free(orders);
    return NULL;
}

struct amb_annotations *amb_orders_annotations(const struct amb_orders *orders) {
    return orders->annotations;
}

size_t amb_orders_bytes(const struct amb_orders *orders) {
    size_t bytes = sizeof *orders + orders->n_parts * sizeof *orders->parts + orders->n_words * sizeof *orders->words +
                   (size_t)orders->intervals.n * orders->n_parts * sizeof *orders->intervals.parts;

    for (uint32_t j = 0; j < orders->n_parts; j++) {
        for (unsigned w = 0; w < AMB_ORDERS_N; w++) {
            bytes += orders->parts[j].lists[w].ladder.n_keys * sizeof(int32_t);
        }
    }
    return bytes;
}

uint64_t amb_orders_count(const struct amb_orders *orders, size_t i_source, double s) {
    uint64_t sum = 0;

    assert(i_source == SIZE_MAX || i_source < orders->n_parts);
    for (uint32_t j = 0; j < orders->n_parts; j++) {
        uint32_t a, b;

        if (i_source == SIZE_MAX || i_source == j) {
            amb_rank_get(&a, orders, j, AMB_ORDERS_BY_MIN, &s, 1);
            amb_rank_get(&b, orders, j, AMB_ORDERS_BY_MAX, &s, 1);
            sum += (uint64_t)a + b;
        }
    }
    return sum;
}

/* Admitted are all s > the least m and all s < the largest sigma_max: the heads of the lists say it. */
int amb_orders_gap_from_zero(double *lo, double *hi, const struct amb_orders *orders) {
    double least_m = INFINITY, most_max = 0;

    for (uint32_t j = 0; j < orders->n_parts; j++) {
        const struct amb_orders_list *lists = orders->parts[j].lists;

        if (lists[AMB_ORDERS_BY_MIN].n > 0) {
            struct amb_annotation value = orders->annotations->values[lists[AMB_ORDERS_BY_MIN].words[0] & orders->id_mask];

            if (amb_key_everywhere(value, orders->buffer)) {
                return 0;
            }
            least_m = fmin(least_m, amb_key_m(value, orders->buffer));
        }
        if (lists[AMB_ORDERS_BY_MAX].n > 0) {
            struct amb_annotation value = orders->annotations->values[lists[AMB_ORDERS_BY_MAX].words[0] & orders->id_mask];

            most_max = fmax(most_max, (double)value.sigma_max);
        }
    }
    if (most_max > least_m) {
        return 0;
    }
    *lo = most_max;
    *hi = least_m;
    return 1;
}

int amb_orders_gap(double *lo, double *hi, const struct amb_orders *orders) {
    double from, to;

    if (amb_orders_gap_from_zero(&from, &to, orders) == 0 || to == 0) {
        return 0;
    }
    *lo = from;
    *hi = to;
    return 1;
}
