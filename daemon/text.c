/*
 * Text: keys of samples, paths and messages come from files and clients; JSON must be UTF-8.
 *
 * What must come back byte by byte is written as {"hex":".."} where it is no UTF-8.
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

static bool text_is_utf8(const char *text) {
    size_t n = 1;

    for (const char *end = text + strlen(text); text < end && n != 0; text += n) {
        n = amb_utf8_peek(text, (size_t)(end - text));
    }
    return n != 0;
}

static void string_encode(cJSON *item) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = (const uint8_t *)item->valuestring;
    size_t bytes = strlen(item->valuestring);
    char *hex = amb_malloc(2 * bytes + 1);

    if (hex == NULL) {
        ambp_json_note_hole();
        return;
    }
    for (size_t i = 0; i < bytes; i++) {
        hex[2 * i] = digits[p[i] >> 4];
        hex[2 * i + 1] = digits[p[i] & 15];
    }
    hex[2 * bytes] = '\0';
    cJSON_free(item->valuestring);
    item->valuestring = NULL;
    item->type = (item->type & ~0xff) | cJSON_Object;
    ambp_json_add_item(item, "hex", cJSON_CreateString(hex));
    amb_free(hex);
}

void ambd_json_encode_strings(cJSON *json) {
    cJSON *item;

    if (cJSON_IsString(json) && !text_is_utf8(json->valuestring)) {
        string_encode(json);
        return;
    }
    cJSON_ArrayForEach(item, json) {
        ambd_json_encode_strings(item);
    }
}

/* -1: none */
static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at p; -1: none, or one that no string has. */
static int hex_byte(const char *p) {
    int high = hex_digit(p[0]), low = high < 0 ? -1 : hex_digit(p[1]);

    return low < 0 || high + low == 0 ? -1 : high << 4 | low;
}

/* Into the place of the digits; false, and nothing done: that is not what was written. */
static bool hex_decode(char *text) {
    char *out = text;

    for (const char *p = text; *p != '\0'; p += 2) {
        if (hex_byte(p) < 0) {
            return false;
        }
    }
    for (const char *p = text; *p != '\0'; p += 2) {
        *out++ = (char)hex_byte(p);
    }
    *out = '\0';
    return true;
}

void ambd_json_decode_strings(cJSON *json) {
    cJSON *child = json != NULL ? json->child : NULL, *item;

    if (cJSON_IsObject(json) && child != NULL && child->next == NULL && strcmp(child->string, "hex") == 0 &&
        cJSON_IsString(child) && hex_decode(child->valuestring)) {
        json->valuestring = child->valuestring;
        child->valuestring = NULL;
        json->type = (json->type & ~0xff) | cJSON_String;
        json->child = NULL;
        cJSON_Delete(child);
        return;
    }
    cJSON_ArrayForEach(item, json) {
        ambd_json_decode_strings(item);
    }
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
