#pragma once
/* Row: one annotation in 47 bytes. */
#include <stdbool.h>
#include <stdint.h>

#include "annotate/store-layout.h"
#include "annotate/store.h"

/* record: as amb_store_put wants it; its sequence is taken. */
void amb_row_encode(uint8_t row[AMB_ROW_BYTES], const struct amb_store_record *record);

/* False: no row that encode makes. */
bool amb_row_decode(struct amb_store_record *out, const uint8_t row[AMB_ROW_BYTES]);
