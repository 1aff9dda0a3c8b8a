#pragma once
/* Ledger: who set which side of which sample; rules of precedence; from it generations are minted. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/annotations.h"
#include "shard/catalog.h"

/* Origin of a side, in rising rank: a higher one wins, equals are settled by the later record (DESIGN section 5). */
enum amb_origin {
    AMB_ORIGIN_DEFAULT,
    AMB_ORIGIN_SCORE,
    AMB_ORIGIN_CROPS,
    AMB_ORIGIN_CLASSIFIER, /* score, crops, classifier are of one rank */
    AMB_ORIGIN_IMPORT,
    AMB_ORIGIN_FIXED,
    AMB_ORIGIN_N,
};
const char *amb_origin_name(enum amb_origin origin);

enum amb_side {
    AMB_SIDE_MIN = 1,
    AMB_SIDE_MAX = 2,
    AMB_SIDE_BOTH = 3,
};

struct amb_ledger;

/* defaults: one for each source of the catalog. Keeps a reference of the catalog. */
int amb_ledger_new(struct amb_ledger **out, struct amb_catalog *cat, const struct amb_annotation *defaults,
                   struct amb_error *err);
struct amb_ledger *amb_ledger_free(struct amb_ledger *ledger);

/* Record the sides named by `sides` (the other side of value is ignored). Thread: one at a time. */
void amb_ledger_put(struct amb_ledger *ledger, uint32_t i_sample, enum amb_origin origin, enum amb_side sides,
                    struct amb_annotation value);

/* The effective value and where each side came from (DEFAULT where nobody set it). */
struct amb_annotation amb_ledger_get(enum amb_origin *min_origin, enum amb_origin *max_origin,
                                     const struct amb_ledger *ledger, uint32_t i_sample);

/* Number of samples by origin of their sigma_min and sigma_max side. */
void amb_ledger_count(uint64_t min_counts[AMB_ORIGIN_N], uint64_t max_counts[AMB_ORIGIN_N],
                      const struct amb_ledger *ledger);

/* Mint a generation of the present values. */
int amb_ledger_mint(struct amb_annotations **out, const struct amb_ledger *ledger, uint64_t number,
                    struct amb_error *err);
