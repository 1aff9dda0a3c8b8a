/*
 * Text: keys of samples, paths and messages come from files and clients; JSON must be UTF-8.
 *
 * Invalid bytes are replaced one by one by U+FFFD, as decoders do; NUL also, since C strings end there.
 */
#include "daemon/text.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "proto/frame.h"
#include "proto/json.h"

/* Length of the valid UTF-8 sequence at p (RFC 3629), 0 if it is none. */
static size_t text_sequence(const uint8_t *p, size_t bytes) {
    size_t n = p[0] < 0x80                     ? 1
               : (p[0] >= 0xc2 && p[0] < 0xe0) ? 2
               : (p[0] & 0xf0) == 0xe0         ? 3
               : (p[0] >= 0xf0 && p[0] < 0xf5) ? 4
                                               : 0;

    if (n == 0 || n > bytes || p[0] == 0) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return n;
}

void ambd_json_add_text(cJSON *object, const char *key, const char *text, size_t bytes) {
    const uint8_t *p = (const uint8_t *)text;
    char *clean = amb_malloc(3 * bytes + 1), *out = clean;

    if (clean == NULL) {
        ambp_json_note_hole();
        return;
    }
    for (size_t i = 0; i < bytes;) {
        size_t n = text_sequence(p + i, bytes - i);

        memcpy(out, n > 0 ? text + i : "\xef\xbf\xbd", n > 0 ? n : 3);
        out += n > 0 ? n : 3;
        i += n > 0 ? n : 1;
    }
    *out = '\0';
    ambp_json_add_item(object, key, cJSON_CreateString(clean));
    amb_free(clean);
}

void ambd_json_add_string(cJSON *object, const char *key, const char *text) {
    if (text == NULL) {
        cJSON_AddNullToObject(object, key);
        return;
    }
    ambd_json_add_text(object, key, text, strlen(text));
}

char *ambd_json_print(cJSON *json) {
    char *text = cJSON_PrintBuffered(json, AMBP_PAYLOAD_BYTES_MAX, 0); /* one allocation for what fits a frame */

    cJSON_Delete(json);
    if (ambp_json_take_hole()) {
        cJSON_free(text);
        text = NULL;
    }
    return text;
}

static void base64_encode(char *out, const uint8_t *data, size_t bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < bytes; i += 3) {
        uint32_t left = (uint32_t)(bytes - i);
        uint32_t word = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);

        *out++ = digits[word >> 18];
        *out++ = digits[word >> 12 & 63];
        *out++ = left > 1 ? digits[word >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[word & 63] : '=';
    }
    *out = '\0';
}

bool ambd_json_add_base64(cJSON *object, const char *key, const void *data, size_t bytes) {
    char *text = amb_malloc((bytes + 2) / 3 * 4 + 1);
    bool added;

    if (text == NULL) {
        return false;
    }
    base64_encode(text, data, bytes);
    added = cJSON_AddStringToObject(object, key, text) != NULL;
    amb_free(text);
    return added;
}
