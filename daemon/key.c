/*
 * Key: the configuration as tables, so that what is read and what --help-config prints cannot drift.
 *
 * The typed getters of proto/json.h say what was found and what is allowed; here the path of the key is put
 * in front.
 */
#include "daemon/key.h"

#include <stdlib.h>
#include <string.h>

#include "proto/json.h"

#define KEYS_MAX 64u /* rows of the largest section; not tuned */

int ambd_key_fail(struct amb_error *err, const char *where, const char *key) {
    char message[AMB_ERROR_MESSAGE_BYTES];

    if (err == NULL) {
        return AMB_ERR_CONFIG;
    }
    memcpy(message, err->message, sizeof message);
    return amb_fail(err, err->code, "%s%s%s: %s", where, *where != '\0' && *key != '\0' ? "." : "", key,
                    message);
}

int ambd_bytes_parse(uint64_t *out, const char *text) {
    static const char suffixes[] = "KMGT";
    const char *suffix;
    double value, unit = 1;
    char *end;

    if (text[0] < '0' || text[0] > '9' || text[strspn(text, "0123456789.")] == 'x') {
        return -1;
    }
    value = strtod(text, &end);
    suffix = *end != '\0' ? strchr(suffixes, *end & ~0x20) : NULL;
    if (suffix != NULL) {
        for (const char *p = suffixes; p <= suffix; p++) {
            unit *= 1024;
        }
        end++;
        end += *end == 'i' ? 1 : 0;
    }
    end += (*end & ~0x20) == 'B' ? 1 : 0;
    if (*end != '\0' || value * unit >= 0x1p63) {
        return -1;
    }
    *out = (uint64_t)(value * unit);
    return 0;
}

static int key_load_bytes(uint64_t *out, const struct ambd_key *key, const cJSON *json, const cJSON *value,
                          struct amb_error *err) {
    uint64_t bytes;

    if (!cJSON_IsString(value)) {
        return ambp_json_get_u64(out, json, key->name, key->lo, key->hi, false, err);
    }
    if (ambd_bytes_parse(&bytes, value->valuestring) < 0 || bytes < key->lo || bytes > key->hi) {
        return amb_fail(
            err, AMB_ERR_CONFIG,
            "\"%.64s\" is no size, allowed: %llu to %llu bytes, as a number or as \"64M\", \"2G\"",
            value->valuestring, (unsigned long long)key->lo, (unsigned long long)key->hi);
    }
    *out = bytes;
    return 0;
}

static int key_load_f64(double *out, const struct ambd_key *key, const cJSON *json, struct amb_error *err) {
    double value = *out;
    int r = ambp_json_get_f64(&value, json, key->name, false, err);

    if (r == 0 && !(value > 0)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'%s' is %g, allowed: a number above 0", key->name, value);
    }
    *out = value;
    return r;
}

static int key_load(void *object, const struct ambd_key *key, const cJSON *json, const cJSON *value,
                    const char *where, struct amb_error *err) {
    void *field = (char *)object + key->offset;

    switch (key->kind) {
    case AMBD_KEY_STRING:
        return ambp_json_get_string(field, json, key->name, false, err);
    case AMBD_KEY_BOOL:
        return ambp_json_get_bool(field, json, key->name, false, err);
    case AMBD_KEY_U64:
        return ambp_json_get_u64(field, json, key->name, key->lo, key->hi, false, err);
    case AMBD_KEY_BYTES:
        return key_load_bytes(field, key, json, value, err);
    case AMBD_KEY_F64:
        return key_load_f64(field, key, json, err);
    case AMBD_KEY_CUSTOM:
        break;
    }
    return key->apply(object, value, where, err);
}

int ambd_section_load(void *object, const struct ambd_section *section, const cJSON *json, const char *where,
                      struct amb_error *err) {
    const char *known[KEYS_MAX];
    int r;

    for (size_t i = 0; i < section->n_keys; i++) {
        known[i] = section->keys[i].name;
    }
    r = ambp_json_check_keys(json, *where != '\0' ? where : "configuration", known, section->n_keys, err);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < section->n_keys; i++) {
        const struct ambd_key *key = &section->keys[i];
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(json, key->name);
        char path[192];

        if (value == NULL || cJSON_IsNull(value)) {
            continue;
        }
        snprintf(path, sizeof path, "%s%s%s", where, *where != '\0' ? "." : "", key->name);
        r = key_load(object, key, json, value, path, err);
        if (r < 0) {
            /* what has a section of its own has said its path already */
            return key->kind == AMBD_KEY_CUSTOM ? r : ambd_key_fail(err, where, key->name);
        }
    }
    return 0;
}

void ambd_section_print(FILE *out, const struct ambd_section *section) {
    fprintf(out, "%s\n", section->title);
    if (section->intro != NULL) {
        fprintf(out, "  %s\n", section->intro);
    }
    for (size_t i = 0; i < section->n_keys; i++) {
        const struct ambd_key *key = &section->keys[i];

        fprintf(out, "\n  \"%s\": %s%s%s\n", key->name, key->kind_text,
                key->default_text != NULL ? "; default " : "",
                key->default_text != NULL ? key->default_text : "");
        for (const char *p = key->help; *p != '\0';) {
            size_t n = strcspn(p, "\n");

            fprintf(out, "      %.*s\n", (int)n, p);
            p += n + (p[n] == '\n');
        }
    }
    fprintf(out, "\n");
}
