/*
 * Json: what configuration, control messages and states share. json-grammar.c lets in what is JSON and not too
 * deep, cJSON makes a tree of it, this file types it.
 *
 * Integers past 2^53 travel as
 * decimal strings, infinity as "inf": JSON numbers can carry neither.
 */
#include "proto/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/suggest.h"
#include "proto/json-grammar.h"

static _Thread_local bool json_has_hole;

void ambp_json_note_hole(void) {
    json_has_hole = true;
}

bool ambp_json_take_hole(void) {
    bool had = json_has_hole;

    json_has_hole = false;
    return had;
}

void ambp_json_add_item(cJSON *parent, const char *key, cJSON *item) {
    if (!(key != NULL ? cJSON_AddItemToObject(parent, key, item) : cJSON_AddItemToArray(parent, item))) {
        cJSON_Delete(item);
        json_has_hole = true;
    }
}

static void *json_malloc(size_t bytes) {
    void *p = amb_malloc(bytes);

    json_has_hole = json_has_hole || p == NULL;
    return p;
}

void ambp_json_init(void) {
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = json_malloc, .free_fn = amb_free});
}

int ambp_json_decode(cJSON **out, const char *text, size_t bytes, unsigned depth_max, struct amb_error *err) {
    cJSON *json;
    int r = ambp_json_check(text, bytes, depth_max, err);

    if (r < 0) {
        return r;
    }
    json = cJSON_ParseWithLength(text, bytes);
    if (json == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %zu bytes of JSON", bytes);
    }
    *out = json;
    return 0;
}

void ambp_json_deletep(cJSON **json) {
    cJSON_Delete(*json);
}

const char *ambp_json_kind(const cJSON *value) {
    static const struct {
        int type;
        const char *name;
    } kinds[] = {
        {cJSON_False, "false"},   {cJSON_True, "true"},     {cJSON_NULL, "null"},      {cJSON_Number, "a number"},
        {cJSON_String, "a string"}, {cJSON_Array, "an array"}, {cJSON_Object, "an object"},
    };

    for (size_t i = 0; value != NULL && i < sizeof kinds / sizeof kinds[0]; i++) {
        if ((value->type & 0xff) == kinds[i].type) {
            return kinds[i].name;
        }
    }
    return "nothing";
}

int ambp_json_check_keys(const cJSON *object, const char *where, const char *const *known, size_t n_known,
                         struct amb_error *err) {
    const cJSON *item;

    if (!cJSON_IsObject(object)) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: found %s, expected an object", where, ambp_json_kind(object));
    }
    cJSON_ArrayForEach(item, object) {
        bool found = false;

        for (size_t i = 0; i < n_known && !found; i++) {
            found = strcmp(item->string, known[i]) == 0;
        }
        if (!found) {
            const char *nearest = amb_suggest_get(item->string, known, n_known);

            return nearest != NULL
                       ? amb_fail(err, AMB_ERR_CONFIG, "%s: unknown key '%.64s', did you mean '%s'?", where,
                                  item->string, nearest)
                       : amb_fail(err, AMB_ERR_CONFIG, "%s: unknown key '%.64s'", where, item->string);
        }
        for (const cJSON *other = item->next; other != NULL; other = other->next) {
            if (strcmp(other->string, item->string) == 0) {
                return amb_fail(err, AMB_ERR_CONFIG, "%s: key '%s' given twice", where, item->string);
            }
        }
    }
    return 0;
}

/* 1: present; 0: absent or null and not required; < 0: absent but required. */
static int json_find(const cJSON **out, const cJSON *object, const char *key, bool required, struct amb_error *err) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    if (item == NULL || cJSON_IsNull(item)) {
        return required ? amb_fail(err, AMB_ERR_CONFIG, "'%s' is missing", key) : 0;
    }
    *out = item;
    return 1;
}

static int json_wrong(const cJSON *item, const char *key, const char *allowed, struct amb_error *err) {
    if (cJSON_IsNumber(item)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'%s' is %.17g, allowed: %s", key, item->valuedouble, allowed);
    }
    if (cJSON_IsString(item)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'%s' is \"%.64s\", allowed: %s", key, item->valuestring, allowed);
    }
    return amb_fail(err, AMB_ERR_CONFIG, "'%s' is %s, allowed: %s", key, ambp_json_kind(item), allowed);
}

int ambp_json_get_string(const char **out, const cJSON *object, const char *key, bool required,
                         struct amb_error *err) {
    const cJSON *item = NULL;
    int r = json_find(&item, object, key, required, err);

    if (r <= 0) {
        return r;
    }
    if (!cJSON_IsString(item)) {
        return json_wrong(item, key, "a string", err);
    }
    *out = item->valuestring;
    return 0;
}

int ambp_json_get_bool(bool *out, const cJSON *object, const char *key, bool required, struct amb_error *err) {
    const cJSON *item = NULL;
    int r = json_find(&item, object, key, required, err);

    if (r <= 0) {
        return r;
    }
    if (!cJSON_IsBool(item)) {
        return json_wrong(item, key, "true or false", err);
    }
    *out = cJSON_IsTrue(item);
    return 0;
}

int ambp_json_get_f64(double *out, const cJSON *object, const char *key, bool required, struct amb_error *err) {
    const cJSON *item = NULL;
    int r = json_find(&item, object, key, required, err);

    if (r <= 0) {
        return r;
    }
    if (cJSON_IsString(item) &&
        (strcmp(item->valuestring, "inf") == 0 || strcmp(item->valuestring, "Infinity") == 0)) {
        *out = INFINITY;
        return 0;
    }
    if (!cJSON_IsNumber(item) || isnan(item->valuedouble)) {
        return json_wrong(item, key, "a number or \"inf\"", err);
    }
    *out = item->valuedouble;
    return 0;
}

static bool json_digits(uint64_t *out, const char *text) {
    char *end;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

int ambp_json_get_u64(uint64_t *out, const cJSON *object, const char *key, uint64_t lo, uint64_t hi, bool required,
                      struct amb_error *err) {
    const cJSON *item = NULL;
    uint64_t value = 0;
    char allowed[96];
    bool ok = false;
    int r = json_find(&item, object, key, required, err);

    if (r <= 0) {
        return r;
    }
    if (cJSON_IsString(item)) {
        ok = json_digits(&value, item->valuestring);
    } else if (cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < 0x1p53) {
        value = (uint64_t)item->valuedouble;
        ok = (double)value == item->valuedouble;
    }
    if (!ok || value < lo || value > hi) {
        snprintf(allowed, sizeof allowed, "an integer from %" PRIu64 " to %" PRIu64 "%s", lo, hi,
                 hi >= UINT64_C(1) << 53 ? " (from 2^53 on as a string)" : "");
        return json_wrong(item, key, allowed, err);
    }
    *out = value;
    return 0;
}

int ambp_json_get_object(const cJSON **out, const cJSON *object, const char *key, bool required,
                         struct amb_error *err) {
    const cJSON *item = NULL;
    int r = json_find(&item, object, key, required, err);

    if (r <= 0) {
        return r;
    }
    if (!cJSON_IsObject(item)) {
        return json_wrong(item, key, "an object", err);
    }
    *out = item;
    return 0;
}

int ambp_json_get_array(const cJSON **out, const cJSON *object, const char *key, bool required,
                        struct amb_error *err) {
    const cJSON *item = NULL;
    int r = json_find(&item, object, key, required, err);

    if (r <= 0) {
        return r;
    }
    if (!cJSON_IsArray(item)) {
        return json_wrong(item, key, "an array", err);
    }
    *out = item;
    return 0;
}

void ambp_json_add_f64(cJSON *object, const char *key, double value) {
    if (isinf(value)) {
        cJSON_AddStringToObject(object, key, value > 0 ? "inf" : "-inf");
    } else {
        cJSON_AddNumberToObject(object, key, value);
    }
}

void ambp_json_add_u64(cJSON *object, const char *key, uint64_t value) {
    char digits[24];

    if (value < UINT64_C(1) << 53) {
        cJSON_AddNumberToObject(object, key, (double)value);
        return;
    }
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    cJSON_AddStringToObject(object, key, digits);
}
