/*
 * State: the few numbers from which every later draw follows, as one line of canonical JSON (proto/state.md).
 *
 * Encoding writes straight into the caller's memory, for it happens at each batch. Decoding trusts nothing: a state
 * has been on disks and in the hands of trainers.
 */
#include "sampler/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "proto/json.h"
#include "sampler/canon.h"
#include "sampler/options.h"

#define STATE_DEPTH_MAX 5u     /* state, options, schedule, points, point */
#define STATE_TEXT_MAX  65536u /* a frame; room for the spaces of those who reformat it */

static const char *const state_keys[] = {"format",  "k",           "step",   "q",      "cursors",
                                         "dataset", "annotations", "codecs", "options"};
#define N_KEYS (sizeof state_keys / sizeof *state_keys)

static void push_key(struct amb_canon *canon, const char *key) {
    amb_canon_push(canon, canon->n_bytes == 0 ? "{" : ",");
    amb_canon_push_string(canon, key);
    amb_canon_push(canon, ":");
}

static void push_word(struct amb_canon *canon, const char *key, uint64_t value) {
    push_key(canon, key);
    amb_canon_push_u64(canon, value);
}

static void push_hash(struct amb_canon *canon, const char *key, const struct amb_hash128 *hash) {
    char text[AMB_HASH128_TEXT_BYTES];

    amb_hash128_text(text, hash);
    push_key(canon, key);
    amb_canon_push_string(canon, text);
}

static void push_cursors(struct amb_canon *canon, const struct amb_state *state) {
    push_key(canon, "cursors");
    amb_canon_push(canon, "[");
    for (uint32_t i = 0; i < state->n_cursors; i++) {
        amb_canon_push(canon, i > 0 ? ",[" : "[");
        amb_canon_push_u64(canon, state->cursors[i].pass);
        amb_canon_push(canon, ",");
        amb_canon_push_u64(canon, state->cursors[i].position);
        amb_canon_push(canon, "]");
    }
    amb_canon_push(canon, "]");
}

int amb_state_encode(char *out, size_t out_bytes, const struct amb_state *state) {
    struct amb_canon canon;

    amb_canon_init(&canon, out, out_bytes);
    push_word(&canon, "format", AMB_STATE_FORMAT);
    push_word(&canon, "k", state->k);
    push_word(&canon, "step", state->step);
    push_word(&canon, "q", state->q);
    push_cursors(&canon, state);
    push_hash(&canon, "dataset", &state->dataset);
    push_hash(&canon, "annotations", &state->annotations);
    push_key(&canon, "codecs");
    amb_canon_push_string(&canon, state->codecs);
    push_key(&canon, "options");
    amb_options_push(&canon, &state->options);
    amb_canon_push(&canon, "}");
    return amb_canon_get(&canon);
}

/* Decode */

static int load_format(const cJSON *json, struct amb_error *err) {
    const cJSON *format = cJSON_GetObjectItemCaseSensitive(json, "format");

    if (!cJSON_IsObject(json) || !cJSON_IsNumber(format)) {
        return amb_fail(err, AMB_ERR_STATE, "a state without 'format', expected an object with format %u",
                        AMB_STATE_FORMAT);
    }
    if (format->valuedouble != (double)AMB_STATE_FORMAT) {
        return amb_fail(err, AMB_ERR_VERSION, "a state of format %g, this version reads %u", format->valuedouble,
                        AMB_STATE_FORMAT);
    }
    return 0;
}

/* A number below 2^53 or decimal digits, as amb_canon_push_u64 writes them. */
static bool cursor_load_word(uint64_t *out, const cJSON *item) {
    char *end;

    if (cJSON_IsNumber(item)) {
        double value = item->valuedouble;

        if (!(value >= 0 && value < 0x1p53) || (double)(uint64_t)value != value) {
            return false;
        }
        *out = (uint64_t)value;
        return true;
    }
    if (!cJSON_IsString(item) || item->valuestring[0] < '0' || item->valuestring[0] > '9') {
        return false;
    }
    errno = 0;
    *out = strtoull(item->valuestring, &end, 10);
    return errno == 0 && *end == '\0';
}

static int load_cursors(struct amb_state *out, const cJSON *json, struct amb_error *err) {
    const cJSON *cursors = NULL, *item;
    int r = ambp_json_get_array(&cursors, json, "cursors", true, err);

    if (r < 0) {
        return r;
    }
    if (cJSON_GetArraySize(cursors) > (int)AMB_STATE_INTERVALS_MAX) {
        return amb_fail(err, AMB_ERR_STATE, "%d cursors, allowed: at most %u", cJSON_GetArraySize(cursors),
                        AMB_STATE_INTERVALS_MAX);
    }
    cJSON_ArrayForEach(item, cursors) {
        struct amb_cursor *cursor = &out->cursors[out->n_cursors];

        if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2 ||
            !cursor_load_word(&cursor->pass, cJSON_GetArrayItem(item, 0)) ||
            !cursor_load_word(&cursor->position, cJSON_GetArrayItem(item, 1))) {
            return amb_fail(err, AMB_ERR_STATE, "cursor %u is no [pass, position]", out->n_cursors);
        }
        out->n_cursors++;
    }
    return 0;
}

static int load_hash(struct amb_hash128 *out, const cJSON *json, const char *key, struct amb_error *err) {
    const char *text = NULL;
    int r = ambp_json_get_string(&text, json, key, true, err);

    if (r == 0 && !amb_hash128_parse(out, text)) {
        return amb_fail(err, AMB_ERR_STATE, "'%s' is \"%.40s\", expected 32 hex digits", key, text);
    }
    return r;
}

static int load_codecs(struct amb_state *out, const cJSON *json, struct amb_error *err) {
    const char *text = NULL;
    int r = ambp_json_get_string(&text, json, "codecs", true, err);

    if (r < 0) {
        return r;
    }
    if (strlen(text) >= sizeof out->codecs) {
        return amb_fail(err, AMB_ERR_STATE, "'codecs' has %zu bytes, allowed: at most %zu", strlen(text),
                        sizeof out->codecs - 1);
    }
    memcpy(out->codecs, text, strlen(text) + 1);
    return 0;
}

static int load_state(struct amb_state *out, const cJSON *json, struct amb_error *err) {
    const cJSON *options = NULL;
    int r = ambp_json_check_keys(json, "state", state_keys, N_KEYS, err);

    r = r < 0 ? r : ambp_json_get_u64(&out->k, json, "k", 0, UINT64_MAX, true, err);
    r = r < 0 ? r : ambp_json_get_u64(&out->step, json, "step", 0, UINT64_MAX, true, err);
    r = r < 0 ? r : ambp_json_get_u64(&out->q, json, "q", 0, UINT64_MAX, true, err);
    r = r < 0 ? r : load_cursors(out, json, err);
    r = r < 0 ? r : load_hash(&out->dataset, json, "dataset", err);
    r = r < 0 ? r : load_hash(&out->annotations, json, "annotations", err);
    r = r < 0 ? r : load_codecs(out, json, err);
    r = r < 0 ? r : ambp_json_get_object(&options, json, "options", true, err);
    return r < 0 ? r : amb_options_load(&out->options, options, true, err);
}

int amb_state_decode(struct amb_state *out, const char *json, size_t bytes, struct amb_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *object = NULL;
    struct amb_state state = {.options = AMB_STREAM_OPTIONS_DEFAULT};
    struct amb_error why = AMB_ERROR_NULL;
    int r;

    if (bytes > STATE_TEXT_MAX) {
        return amb_fail(err, AMB_ERR_STATE, "a state of %zu bytes, allowed: at most %u", bytes, STATE_TEXT_MAX);
    }
    r = ambp_json_decode(&object, json, bytes, STATE_DEPTH_MAX, &why);
    r = r < 0 ? r : load_format(object, &why);
    r = r < 0 ? r : load_state(&state, object, &why);
    if (r == AMB_ERR_VERSION || r == AMB_ERR_UNSUPPORTED || r == -ENOMEM) {
        return amb_fail(err, r, "%s", why.message);
    }
    if (r < 0) {
        return amb_fail(err, AMB_ERR_STATE, "the state is damaged: %s", why.message);
    }
    *out = state;
    return 0;
}
