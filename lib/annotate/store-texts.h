#pragma once
/* Texts: small texts by name, and models by number. */
#include <stddef.h>
#include <stdint.h>

#include "annotate/store-layout.h"

struct amb_text {
    char name[AMB_STORE_NAME_MAX + 1];
    char *text; /* owned, zero behind it */
    size_t bytes;
};

/* Sorted by name. */
struct amb_texts {
    struct amb_text *texts; /* owned */
    size_t n_texts;
};
void amb_texts_deinit(struct amb_texts *texts); /* idempotent */

/* bytes 0 takes it away. -ENOMEM: nothing changed. */
int amb_texts_put(struct amb_texts *texts, const char *name, size_t name_bytes, const char *text, size_t bytes);
const struct amb_text *amb_texts_peek(const struct amb_texts *texts, const char *name); /* NULL: none */
/* The first name that is greater; NULL: none. */
const struct amb_text *amb_texts_next(const struct amb_texts *texts, const char *after);

/* Numbers from 1; "" where the record of one was lost. */
struct amb_models {
    char (*names)[AMB_STORE_MODEL_BYTES + 1]; /* owned */
    uint32_t n_models;
};
void amb_models_deinit(struct amb_models *models);
int amb_models_reserve(struct amb_models *models, uint16_t number); /* numbers up to that one can be put; -ENOMEM */
void amb_models_put(struct amb_models *models, uint16_t number, const char *name); /* room was reserved */
/* Whatever became of their records, numbers up to that one are not given out again. -ENOMEM */
int amb_models_skip(struct amb_models *models, uint16_t number);
uint16_t amb_models_find(const struct amb_models *models, const char *name);       /* 0: unknown */
