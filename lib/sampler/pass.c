/*
 * Pass: each interval's places in the order of a keyed bijection, one for each pass; a cursor says how far it is.
 *
 * A place is an entry of a list of the interval's domain (interval.h). Its sample is used if it admits s. A sample that
 * the domain holds in both lists has one live place for each copy, that of list 1, which serves both of its sides; its
 * places of list 2 are dead: so no sample comes more often than its copies in a pass, and at each s as many places are
 * live and admissible as a(s) + b(s) says.
 *
 * Which places come next does not depend on what is drawn, so they are looked up some at a time: the entries, then all
 * sample numbers, then all annotations, each step with its cache misses in flight together.
 */
#include "sampler/pass.h"

#include <stdbool.h>

#include "base/hash.h"
#include "sampler/key.h"
#include "sampler/sampler.h"

void amb_pass_init(struct amb_pass *pass, const struct amb_orders *orders, uint64_t seed) {
    pass->orders = orders;
    pass->seed = seed;
    pass->lanes_ready = 0;
    pass->extras_ready = 0;
}

static const struct amb_permutation *pass_get_extra(struct amb_pass *pass, uint32_t i_part, uint64_t number,
                                                    uint64_t n) {
    uint32_t slot = (i_part + (uint32_t)n) % AMB_PASS_EXTRAS; /* intervals differ in n */
    struct amb_pass_extra *extra = &pass->extras[slot];

    if ((pass->extras_ready >> slot & 1) == 0 || extra->i_part != i_part || extra->pass != number ||
        extra->permutation.n != n) {
        uint64_t words[] = {pass->seed, i_part, number};

        amb_permutation_init(&extra->permutation, amb_hash_words("extra", words, 3), n);
        extra->i_part = i_part;
        extra->pass = number;
        pass->extras_ready |= 1u << slot;
    }
    return &extra->permutation;
}

/* The source of a place: the last whose first place is not behind it. */
static uint32_t pass_find_part(const struct amb_interval_part *parts, uint32_t n_parts, uint64_t place) {
    uint32_t lo = 0, hi = n_parts;

    while (hi - lo > 1) {
        uint32_t middle = lo + (hi - lo) / 2;

        if (parts[middle].first_place <= place) {
            lo = middle;
        } else {
            hi = middle;
        }
    }
    return lo;
}

/* Where the word of a place lies. */
static const uint32_t *pass_get_place(struct amb_pass *pass, uint32_t i_interval, uint64_t number, uint64_t place,
                                      bool *from_max) {
    const struct amb_orders *orders = pass->orders;
    const struct amb_interval_part *parts = &orders->intervals.parts[i_interval * orders->n_parts];
    uint32_t j = pass_find_part(parts, orders->n_parts, place);
    const struct amb_orders_part *part = &orders->parts[j];
    uint64_t n = (uint64_t)parts[j].n_min + parts[j].n_max, entry = place - parts[j].first_place;
    uint64_t copies = part->weight >> AMB_ORDERS_WEIGHT_BITS;

    if (entry >= copies * n) {
        entry = amb_permutation_get(pass_get_extra(pass, j, number, n), entry - copies * n);
    } else if (entry >= n) {
        entry %= n;
    }
    *from_max = entry >= parts[j].n_min;
    return *from_max ? &part->lists[AMB_ORDERS_BY_MAX].words[entry - parts[j].n_min]
                     : &part->lists[AMB_ORDERS_BY_MIN].words[entry];
}

static void lane_fill(struct amb_pass_lane *lane, struct amb_pass *pass, uint32_t i_interval,
                      const struct amb_cursor *cursor) {
    uint64_t n_places = pass->orders->intervals.n_places[i_interval], left = n_places - cursor->position;
    const uint32_t *places[AMB_PASS_AHEAD];

    lane->n = (uint16_t)(left < AMB_PASS_AHEAD ? left : AMB_PASS_AHEAD);
    lane->i = 0;
    lane->from_max = 0;
    for (unsigned i = 0; i < lane->n; i++) {
        uint64_t place = amb_permutation_get(&lane->permutation, cursor->position + i);
        bool from_max;

        places[i] = pass_get_place(pass, i_interval, cursor->pass, place, &from_max);
        lane->from_max |= (uint16_t)(from_max << i);
        __builtin_prefetch(places[i]);
    }
    for (unsigned i = 0; i < lane->n; i++) {
        lane->ids[i] = *places[i] & pass->orders->id_mask;
        __builtin_prefetch(&pass->orders->annotations->values[lane->ids[i]]);
    }
}

static void lane_set_pass(struct amb_pass_lane *lane, struct amb_pass *pass, uint32_t i_interval, uint64_t number) {
    uint64_t words[] = {pass->seed, i_interval, number};

    amb_permutation_init(&lane->permutation, amb_hash_words("pass", words, 3),
                         pass->orders->intervals.n_places[i_interval]);
    lane->pass = number;
    lane->i = 0;
    lane->n = 0;
    pass->lanes_ready |= UINT64_C(1) << i_interval;
}

/* The lane with at least one place looked up behind the cursor, which moves into the next pass where this one is over.
 * The interval has places. */
static struct amb_pass_lane *pass_get_lane(struct amb_pass *pass, uint32_t i_interval, struct amb_cursor *cursor) {
    struct amb_pass_lane *lane = &pass->lanes[i_interval];

    if (cursor->position >= pass->orders->intervals.n_places[i_interval]) {
        cursor->position = 0;
        cursor->pass++;
    }
    if ((pass->lanes_ready >> i_interval & 1) == 0 || lane->pass != cursor->pass) {
        lane_set_pass(lane, pass, i_interval, cursor->pass);
    }
    if (lane->i == lane->n) {
        lane_fill(lane, pass, i_interval, cursor);
    }
    return lane;
}

uint32_t amb_pass_draw(struct amb_pass *pass, struct amb_cursor *cursors, double s) {
    const struct amb_orders *orders = pass->orders;
    uint32_t i_interval = amb_intervals_find(&orders->intervals, s);
    struct amb_cursor *cursor = &cursors[i_interval];

    if (orders->intervals.n_places[i_interval] == 0) {
        return AMB_PASS_SPARSE;
    }
    for (unsigned n = 0; n < AMB_SAMPLER_SPARSE; n++) {
        struct amb_pass_lane *lane = pass_get_lane(pass, i_interval, cursor);
        uint32_t id = lane->ids[lane->i];
        struct amb_annotation value = orders->annotations->values[id];
        bool dead = (lane->from_max >> lane->i & 1) != 0 &&
                    amb_key_m(value, orders->buffer) < orders->intervals.lasts[i_interval];

        lane->i++;
        cursor->position++;
        if (!dead && amb_key_admits(value, orders->buffer, s)) {
            return id;
        }
    }
    return AMB_PASS_SPARSE;
}
