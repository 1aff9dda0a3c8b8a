/*
 * Suggest: Levenshtein distance with two rows; words are option and field names, so a fixed bound is enough.
 */
#include "base/suggest.h"

#include <string.h>

#define SUGGEST_WORD_MAX 63u /* longer words are no typing mistake; not tuned */

static size_t suggest_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t row[SUGGEST_WORD_MAX + 1];

    for (size_t j = 0; j <= b_length; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[b_length];
}

const char *amb_suggest_get(const char *word, const char *const *known, size_t n_known) {
    size_t length = strlen(word), limit = length / 3 < 2 ? 2 : length / 3, best = limit + 1;
    const char *nearest = NULL;

    if (length > SUGGEST_WORD_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < n_known; i++) {
        size_t known_length = strlen(known[i]), distance;

        if (known_length > SUGGEST_WORD_MAX) {
            continue;
        }
        distance = suggest_distance(word, length, known[i], known_length);
        if (distance < best && distance < known_length) {
            best = distance;
            nearest = known[i];
        }
    }
    return nearest;
}
