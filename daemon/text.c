/*
 * Text: keys of samples, paths and messages come from files and clients; JSON must be UTF-8.
 */
#include "daemon/text.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "proto/frame.h"
#include "proto/json.h"

void ambd_json_add_text(cJSON *object, const char *key, const char *text, size_t bytes) {
    char *clean = amb_malloc(3 * bytes + 1);

    if (clean == NULL) {
        ambp_json_note_hole();
        return;
    }
    amb_utf8_store(clean, 3 * bytes + 1, text, bytes);
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
