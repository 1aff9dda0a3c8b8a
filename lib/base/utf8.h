#pragma once
/* Utf8: text of foreign origin, which may hold any bytes. */
#include <stddef.h>

/**
 * Length of the character that `text` of `bytes` begins with.
 *
 * Returns: 1 to 4 (RFC 3629: no overlong form, no surrogate, at most U+10FFFF); 0 where the bytes are no character, are cut
 *          short, or are none.
 * Thread:  any.
 */
size_t amb_utf8_peek(const char *text, size_t bytes);

/**
 * Store a text as UTF-8 that C can end: each byte that is no character, and each NUL, becomes U+FFFD; what does not fit is
 * left out, by whole characters.
 *
 * out_bytes: at least 1; 3 * bytes + 1 holds everything.
 * Thread:    any.
 */
void amb_utf8_store(char *out, size_t out_bytes, const char *text, size_t bytes);

/**
 * Take from a text what commands a terminal: control characters, C1 in UTF-8 too, become '?', but for tab and newline.
 *
 * Thread: any.
 */
void amb_utf8_tame(char *text);
