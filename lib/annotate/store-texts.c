/*
 * Texts: a sorted array; a store has some dozens of jobs and models, not thousands.
 */
#include "annotate/store-texts.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

void amb_texts_deinit(struct amb_texts *texts) {
    for (size_t i = 0; i < texts->n_texts; i++) {
        amb_free(texts->texts[i].text);
    }
    amb_free(texts->texts);
    *texts = (struct amb_texts){0};
}

/* The first whose name is not below; *is_equal: it is that one. */
static size_t texts_find(bool *is_equal, const struct amb_texts *texts, const char *name) {
    size_t i = 0;

    while (i < texts->n_texts && strcmp(texts->texts[i].name, name) < 0) {
        i++;
    }
    *is_equal = i < texts->n_texts && strcmp(texts->texts[i].name, name) == 0;
    return i;
}

static int texts_insert(struct amb_texts *texts, size_t i, const char *name) {
    struct amb_text *grown = amb_realloc(texts->texts, (texts->n_texts + 1) * sizeof *grown);

    if (grown == NULL) {
        return -ENOMEM;
    }
    texts->texts = grown;
    memmove(grown + i + 1, grown + i, (texts->n_texts - i) * sizeof *grown);
    texts->n_texts++;
    grown[i] = (struct amb_text){0};
    strcpy(grown[i].name, name);
    return 0;
}

int amb_texts_put(struct amb_texts *texts, const char *name, size_t name_bytes, const char *text, size_t bytes) {
    char key[AMB_STORE_NAME_MAX + 1];
    bool is_equal;
    char *copy;
    size_t i;

    memcpy(key, name, name_bytes);
    key[name_bytes] = '\0';
    i = texts_find(&is_equal, texts, key);
    if (bytes == 0) {
        if (is_equal) {
            amb_free(texts->texts[i].text);
            texts->n_texts--;
            memmove(texts->texts + i, texts->texts + i + 1, (texts->n_texts - i) * sizeof *texts->texts);
        }
        return 0;
    }
    copy = amb_malloc(bytes + 1);
    if (copy == NULL || (!is_equal && texts_insert(texts, i, key) < 0)) {
        amb_free(copy);
        return -ENOMEM;
    }
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    amb_free(texts->texts[i].text);
    texts->texts[i].text = copy;
    texts->texts[i].bytes = bytes;
    return 0;
}

const struct amb_text *amb_texts_peek(const struct amb_texts *texts, const char *name) {
    bool is_equal;
    size_t i = texts_find(&is_equal, texts, name);

    return is_equal ? &texts->texts[i] : NULL;
}

const struct amb_text *amb_texts_next(const struct amb_texts *texts, const char *after) {
    bool is_equal = false;
    size_t i = after == NULL ? 0 : texts_find(&is_equal, texts, after);

    i += is_equal;
    return i < texts->n_texts ? &texts->texts[i] : NULL;
}

void amb_models_deinit(struct amb_models *models) {
    amb_free(models->names);
    *models = (struct amb_models){0};
}

int amb_models_reserve(struct amb_models *models, uint16_t number) {
    char(*names)[AMB_STORE_MODEL_BYTES + 1];

    if (number <= models->n_models) {
        return 0;
    }
    names = amb_realloc(models->names, (size_t)number * sizeof *names);
    if (names == NULL) {
        return -ENOMEM;
    }
    models->names = names;
    return 0;
}

static void models_pad(struct amb_models *models, uint16_t number) {
    while (models->n_models < number) {
        models->names[models->n_models++][0] = '\0';
    }
}

int amb_models_skip(struct amb_models *models, uint16_t number) {
    if (amb_models_reserve(models, number) < 0) {
        return -ENOMEM;
    }
    models_pad(models, number);
    return 0;
}

void amb_models_put(struct amb_models *models, uint16_t number, const char *name) {
    models_pad(models, number);
    memcpy(models->names[number - 1], name, AMB_STORE_MODEL_BYTES);
    models->names[number - 1][AMB_STORE_MODEL_BYTES] = '\0';
}

uint16_t amb_models_find(const struct amb_models *models, const char *name) {
    for (uint32_t i = 0; i < models->n_models; i++) {
        if (strcmp(models->names[i], name) == 0) {
            return (uint16_t)(i + 1);
        }
    }
    return 0;
}
