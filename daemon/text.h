#pragma once
/* Text: strings of foreign origin as JSON strings, and answers as text. */
#include <stdbool.h>
#include <stddef.h>

#include <cjson/cJSON.h>

/* Add a string of `bytes` that may hold anything: what is not UTF-8 becomes U+FFFD. NULL `key`: into an
 * array. Thread: any, one owner of the tree. */
void ambd_json_add_text(cJSON *object, const char *key, const char *text, size_t bytes);

/* Add a string that is terminated; NULL text adds null. */
void ambd_json_add_string(cJSON *object, const char *key, const char *text);

/* Add bytes as base64 (RFC 4648, padded). False: out of memory. */
bool ambd_json_add_base64(cJSON *object, const char *key, const void *data, size_t bytes);

/* Every string of the tree that is not UTF-8 becomes {"hex":".."}, and back: for those that must come back byte by byte. */
void ambd_json_encode_strings(cJSON *json);
void ambd_json_decode_strings(cJSON *json);

/* A tree as one line of JSON, to be released by cJSON_free; frees the tree. NULL: out of memory. */
char *ambd_json_print(cJSON *json);
