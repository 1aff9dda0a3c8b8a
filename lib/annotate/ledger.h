#pragma once
/* Ledger: who set which side of which sample; rules of precedence; from it generations are minted. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/annotations.h"
#include "shard/catalog.h"

/* Who set a side: fixed > import > classifier, crops, score; in a rank the later record wins (DESIGN section 5). */
enum amb_origin {
    AMB_ORIGIN_DEFAULT,
    AMB_ORIGIN_SCORE,
    AMB_ORIGIN_CROPS,
    AMB_ORIGIN_CLASSIFIER, /* score, crops, classifier are of one rank */
    AMB_ORIGIN_IMPORT,
    AMB_ORIGIN_FIXED,
    AMB_ORIGIN_N,
};
const char *amb_origin_name(enum amb_origin origin); /* "default", "score", ... Static. */

enum amb_side {
    AMB_SIDE_MIN = 1,
    AMB_SIDE_MAX = 2,
    AMB_SIDE_BOTH = 3,
};

struct amb_ledger;

/**
 * A ledger in which nobody has set anything; 9 bytes a sample.
 *
 * cat:      a reference is kept.
 * defaults: one for each source of the catalog, copied; AMB_ERR_CONFIG where one is negative or NaN.
 */
int amb_ledger_new(struct amb_ledger **out, struct amb_catalog *cat, const struct amb_annotation *defaults,
                   struct amb_error *err);
struct amb_ledger *amb_ledger_free(struct amb_ledger *ledger); /* NULL ok; returns NULL */

/* The catalog whose samples it counts. Borrowed; valid until free. */
struct amb_catalog *amb_ledger_peek_catalog(const struct amb_ledger *ledger);

/**
 * Record the sides named by `sides`; a side that a higher rank has set stays as it is.
 *
 * value:  each named side >= 0, inf allowed; the other is ignored. A record with sigma_min alone leaves sigma_max
 *         closed (0) unless another record sets it, and the reverse.
 * Thread: any, one caller at a time; readers not meanwhile.
 */
void amb_ledger_put(struct amb_ledger *ledger, uint32_t i_sample, enum amb_origin origin, enum amb_side sides,
                    struct amb_annotation value);

/* Called behind each put that ledger_put made since: who keeps what others put. NULL: nobody. */
typedef void (*amb_ledger_tap)(void *opaque, uint32_t i_sample, enum amb_origin origin, enum amb_side sides,
                               struct amb_annotation value);
void amb_ledger_set_tap(struct amb_ledger *ledger, amb_ledger_tap tap, void *opaque);

/* The effective value and where each side came from (DEFAULT where nobody set it). */
struct amb_annotation amb_ledger_get(enum amb_origin *min_origin, enum amb_origin *max_origin,
                                     const struct amb_ledger *ledger, uint32_t i_sample);

/* Number of samples by origin of their sigma_min and sigma_max side. */
void amb_ledger_count(uint64_t min_counts[AMB_ORIGIN_N], uint64_t max_counts[AMB_ORIGIN_N],
                      const struct amb_ledger *ledger);

/* Mint a generation of the present values: 8 bytes a sample, of its own. -ENOMEM. Readers as for get. */
int amb_ledger_mint(struct amb_annotations **out, const struct amb_ledger *ledger, uint64_t number,
                    struct amb_error *err);
