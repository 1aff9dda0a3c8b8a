/*
 * Utf8: table 3-7 of Unicode: only the second byte of a character has a range that depends on the first.
 *
 * Bytes that are no character are replaced one by one, as decoders do.
 */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

size_t amb_utf8_peek(const char *text, size_t bytes) {
    const uint8_t *p = (const uint8_t *)text;
    uint8_t low = 0x80, high = 0xBF;
    size_t n;

    if (bytes == 0 || p[0] < 0x80) {
        return bytes == 0 ? 0 : 1;
    }
    n = p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;
    low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : low;
    high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : high;
    if (n > bytes) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if (p[i] < low || p[i] > high) {
            return 0;
        }
        low = 0x80;
        high = 0xBF;
    }
    return n;
}

void amb_utf8_store(char *out, size_t out_bytes, const char *text, size_t bytes) {
    size_t used = 0;

    for (size_t i = 0; i < bytes;) {
        size_t n = text[i] != '\0' ? amb_utf8_peek(text + i, bytes - i) : 0;
        const char *from = n > 0 ? text + i : "\xef\xbf\xbd";
        size_t from_bytes = n > 0 ? n : 3;

        if (from_bytes >= out_bytes - used) {
            break;
        }
        memcpy(out + used, from, from_bytes);
        used += from_bytes;
        i += n > 0 ? n : 1;
    }
    out[used] = '\0';
}

void amb_utf8_tame(char *text) {
    unsigned char *at = (unsigned char *)text;

    for (; *at != '\0'; at++) {
        if ((*at < 0x20 && *at != '\n' && *at != '\t') || *at == 0x7f) {
            *at = '?';
        } else if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0) { /* the same once more, in UTF-8 */
            *at++ = '?';
            *at = '?';
        }
    }
}
