#pragma once
/* Imports: what IMPORT brought to a daemon without a state directory, until it stops. Thread: clerk. */
#include <stddef.h>

#include "annotate/ledger.h"
#include "annotate/store.h"
#include "base/error.h"
#include "shard/catalog.h"

struct ambd_imports {
    struct ambd_imports_row *rows; /* owned; by uid, each once */
    size_t n;
};

void ambd_imports_deinit(struct ambd_imports *imports); /* idempotent */

/* records: of one import, in the order of its lines. Errors: -ENOMEM, and nothing was taken. */
int ambd_imports_put(struct ambd_imports *imports, const struct amb_store_record *records, size_t n,
                     struct amb_error *err);

/* Put what is known of the samples of a catalog into a ledger of it. */
void ambd_imports_replay(struct amb_ledger *ledger, const struct ambd_imports *imports,
                         const struct amb_catalog *catalog);
