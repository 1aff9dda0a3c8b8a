#pragma once
/* Suggest: the known word that somebody most likely meant. */
#include <stddef.h>

/* Nearest of `known` to `word` by edit distance (at most a third of the word, at least 2); NULL if none is near. */
const char *amb_suggest_get(const char *word, const char *const *known, size_t n_known);
