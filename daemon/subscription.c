/*
 * Subscription: JSON of SUBSCRIBE to numbers, in the order in which one key needs another.
 *
 * With a state and no options the state's options hold; with both they must agree (sampler/state.h names the
 * first that does not).
 */
#include "daemon/subscription.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/suggest.h"
#include "daemon/key.h"
#include "daemon/text.h"
#include "proto/json.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const keys[] = {"dataset", "mode",       "options", "batch_size", "global_batch_size",
                                   "rank",    "world_size", "fields",  "weight",     "slots",
                                   "state",   "follow",     "moves",   "steps",      "passes",
                                   "strict",  "on_generation_change"};
static const char *const field_keys[] = {"name", "dtype", "max_bytes", "overflow"};
static const char *const move_keys[] = {"step", "dataset", "annotations"};

void ambd_subscription_deinit(struct ambd_subscription *subscription) {
    amb_free(subscription->moves);
    subscription->moves = NULL;
    subscription->n_moves = 0;
}

static int fail_name(struct amb_error *err, const char *key, const char *found, const char *const *known,
                     size_t n) {
    char all[128] = "";
    const char *nearest = amb_suggest_get(found, known, n);

    for (size_t i = 0; i < n; i++) {
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i > 0 ? ", " : "", known[i]);
    }
    return amb_fail(err, AMB_ERR_CONFIG, "'%s' is '%.64s'%s%s%s, allowed: %s", key, found,
                    nearest != NULL ? ", did you mean '" : "", nearest != NULL ? nearest : "",
                    nearest != NULL ? "'?" : "", all);
}

static int load_mode(struct ambd_subscription *out, const cJSON *json, struct amb_error *err) {
    static const char *const modes[] = {"stream", "request"};
    const char *mode = "stream";
    int r = ambp_json_get_string(&mode, json, "mode", false, err);

    if (r < 0) {
        return r;
    }
    out->request_mode = strcmp(mode, "request") == 0;
    return out->request_mode || strcmp(mode, "stream") == 0
               ? 0
               : fail_name(err, "mode", mode, modes, COUNT(modes));
}

static int load_sizes(struct ambd_subscription *out, const cJSON *json, struct amb_error *err) {
    uint64_t local = 0, global = 0, n_slots = AMBD_SLOTS_DEFAULT;
    int r;

    out->world_size = 1;
    r = ambp_json_get_u64(&out->world_size, json, "world_size", 1, AMBD_WORLD_SIZE_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&out->rank, json, "rank", 0, out->world_size - 1, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&local, json, "batch_size", 1, UINT32_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&global, json, "global_batch_size", 1, UINT64_C(1) << 40, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&n_slots, json, "slots", 1, AMB_SLAB_SLOTS_MAX, false, err);
    if (r < 0) {
        return r;
    }
    if ((local == 0) == (global == 0)) {
        return amb_fail(err, AMB_ERR_CONFIG, "allowed: either 'batch_size' or 'global_batch_size'");
    }
    if (global % out->world_size != 0) {
        return amb_fail(err, AMB_ERR_CONFIG, "'global_batch_size' is %llu, which %llu ranks do not divide",
                        (unsigned long long)global, (unsigned long long)out->world_size);
    }
    local = local != 0 ? local : global / out->world_size;
    if (local > AMBD_GLOBAL_BATCH_MAX / out->world_size) {
        return amb_fail(err, AMB_ERR_LIMIT, "batches of %llu on %llu ranks, allowed: %u in all", (unsigned long long)local,
                        (unsigned long long)out->world_size, AMBD_GLOBAL_BATCH_MAX);
    }
    out->n_slots = (uint32_t)n_slots;
    out->batch_size = (uint32_t)local;
    return 0;
}

static int load_object_text(char **out, const cJSON *json, const char *key, struct amb_error *err) {
    const cJSON *object = NULL;
    int r = ambp_json_get_object(&object, json, key, false, err);

    *out = NULL;
    if (r < 0 || object == NULL) {
        return r;
    }
    *out = cJSON_PrintUnformatted(object);
    return *out != NULL ? 0 : amb_fail(err, -ENOMEM, "no memory for '%s'", key);
}

static int load_options(struct ambd_subscription *out, const cJSON *json, struct amb_error *err) {
    char *options = NULL, *state = NULL;
    int r = load_object_text(&options, json, "options", err);

    r = r < 0 ? r : load_object_text(&state, json, "state", err);
    if (r == 0 && state != NULL) {
        r = amb_state_decode(&out->state, state, strlen(state), err);
        out->has_state = true;
    }
    out->options = out->has_state ? out->state.options : AMB_STREAM_OPTIONS_DEFAULT;
    if (r == 0 && options != NULL) {
        r = amb_stream_options_decode(&out->options, options, strlen(options), err);
        if (r == 0 && out->has_state) {
            r = amb_state_check_options(&out->state, &out->options, err);
        }
    }
    cJSON_free(options);
    cJSON_free(state);
    return r;
}

static int push_field(struct amb_layout *layout, const cJSON *item, struct amb_error *err) {
    const char *name = NULL, *dtype_name = NULL, *overflow = "cut";
    enum amb_dtype dtype = AMB_DTYPE_N;
    uint64_t max_bytes = AMB_MEMBER_BYTES_DEFAULT;
    int r;

    if (cJSON_IsString(item)) {
        return amb_layout_push(layout, item->valuestring, AMB_DTYPE_N, AMB_MEMBER_BYTES_DEFAULT, err);
    }
    r = ambp_json_check_keys(item, "field", field_keys, COUNT(field_keys), err);
    r = r < 0 ? r : ambp_json_get_string(&name, item, "name", true, err);
    r = r < 0 ? r : ambp_json_get_string(&dtype_name, item, "dtype", false, err);
    r = r < 0 ? r : ambp_json_get_u64(&max_bytes, item, "max_bytes", 1, UINT32_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_string(&overflow, item, "overflow", false, err);
    if (r < 0) {
        return r;
    }
    if (dtype_name != NULL && !amb_dtype_parse(&dtype, dtype_name)) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "field '%.64s': unknown dtype '%.32s', allowed: f32, f16, bf16, f64, as the "
                        "field has them",
                        name, dtype_name);
    }
    if (strcmp(overflow, "cut") != 0 && strcmp(overflow, "error") != 0) {
        return amb_fail(err, AMB_ERR_CONFIG, "field '%.64s': 'overflow' is '%.32s', allowed: cut, error",
                        name, overflow);
    }
    r = amb_layout_push(layout, name, dtype, (size_t)max_bytes, err);
    if (r == 0) {
        layout->fields[layout->n_fields - 1].member_error = strcmp(overflow, "error") == 0;
    }
    return r;
}

/* What the slots are laid out for: the samples that the first step stands on, if they are in memory. */
static const struct ambd_edition *first_edition(const struct ambd_subscription *out) {
    const struct ambd_edition *edition = NULL;

    if (out->has_state) {
        edition = ambd_dataset_find_edition(out->dataset, &out->state.dataset);
    } else if (out->n_moves > 0 && out->moves[0].step == 0 && out->moves[0].has_dataset) {
        edition = ambd_dataset_find_edition(out->dataset, &out->moves[0].dataset);
    }
    return edition != NULL ? edition : out->dataset->edition;
}

static int load_fields(struct ambd_subscription *out, const cJSON *json, struct amb_error *err) {
    const cJSON *fields = NULL, *item;
    int r = ambp_json_get_array(&fields, json, "fields", true, err);

    if (r < 0) {
        return r;
    }
    out->layout = (struct amb_layout){.shape = first_edition(out)->fill.shape, .batch_size = out->batch_size};
    out->noise_seed = first_edition(out)->fill.noise_seed;
    cJSON_ArrayForEach(item, fields) {
        r = push_field(&out->layout, item, err);
        if (r < 0) {
            return r;
        }
    }
    if (out->layout.n_fields == 0) {
        return amb_fail(err, AMB_ERR_CONFIG, "'fields' is empty, allowed: at least one, as \"x_t\"");
    }
    return r;
}

static int load_weight(struct ambd_subscription *out, const cJSON *json, struct amb_error *err) {
    const char *names[AMB_WEIGHT_N], *name = amb_weight_name(AMB_WEIGHT_EDM);
    int r = ambp_json_get_string(&name, json, "weight", false, err);

    for (int i = 0; i < AMB_WEIGHT_N; i++) {
        names[i] = amb_weight_name((enum amb_weight)i);
    }
    if (r < 0) {
        return r;
    }
    return amb_weight_parse(&out->weight, name) ? 0 : fail_name(err, "weight", name, names, AMB_WEIGHT_N);
}

static int hash_load(struct amb_hash128 *out, bool *given, const cJSON *json, const char *key,
                     struct amb_error *err) {
    const char *text = NULL;
    int r = ambp_json_get_string(&text, json, key, false, err);

    *given = text != NULL;
    if (r == 0 && text != NULL && !amb_hash128_parse(out, text)) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "'%s' is '%.40s', allowed: a fingerprint of 32 hex digits, or null", key, text);
    }
    return r;
}

int ambd_move_request_decode(struct ambd_move_request *out, const cJSON *json, const char *where,
                             struct amb_error *err) {
    int r = ambp_json_check_keys(json, where, move_keys, COUNT(move_keys), err);

    *out = (struct ambd_move_request){0};
    r = r < 0 ? r : ambp_json_get_u64(&out->step, json, "step", 0, UINT64_MAX, true, err);
    r = r < 0 ? r : hash_load(&out->dataset, &out->has_dataset, json, "dataset", err);
    return r < 0 ? r : hash_load(&out->annotations, &out->has_annotations, json, "annotations", err);
}

static int load_moves(struct ambd_subscription *out, const cJSON *json, struct amb_error *err) {
    const cJSON *moves = NULL, *follow = cJSON_GetObjectItemCaseSensitive(json, "follow"), *item;
    int r;

    out->follow = out->world_size == 1 && !out->request_mode;
    r = ambp_json_get_array(&moves, json, "moves", false, err);
    r = r < 0 ? r : ambp_json_get_bool(&out->follow, json, "follow", false, err);
    if (r < 0) {
        return r;
    }
    if (moves == NULL) {
        return out->follow && out->world_size > 1
                   ? amb_fail(err, AMB_ERR_CONFIG,
                              "'follow' is true with %llu ranks, allowed: with one; several ranks "
                              "move together by ADVANCE",
                              (unsigned long long)out->world_size)
                   : 0;
    }
    if (cJSON_IsTrue(follow)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'follow' and 'moves' exclude each other");
    }
    out->follow = false;
    if (cJSON_GetArraySize(moves) > (int)AMBD_MOVES_MAX) {
        return amb_fail(err, AMB_ERR_CONFIG, "'moves' has %d entries, limit %u", cJSON_GetArraySize(moves),
                        AMBD_MOVES_MAX);
    }
    out->moves = amb_calloc((size_t)cJSON_GetArraySize(moves) + 1, sizeof *out->moves);
    if (out->moves == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for moves");
    }
    cJSON_ArrayForEach(item, moves) {
        struct ambd_move_request *move = &out->moves[out->n_moves];

        r = ambd_move_request_decode(move, item, "moves", err);
        if (r == 0 && out->n_moves > 0 && move->step <= move[-1].step) {
            r = amb_fail(err, AMB_ERR_CONFIG, "'moves': step %llu follows step %llu, allowed: rising steps",
                         (unsigned long long)move->step, (unsigned long long)move[-1].step);
        }
        if (r < 0) {
            return r;
        }
        out->n_moves++;
    }
    return 0;
}

static int load_change(struct ambd_subscription *out, const cJSON *json, struct amb_error *err) {
    static const char *const names[] = {"error", "continue"};
    const char *name = names[0];
    int r = ambp_json_get_string(&name, json, "on_generation_change", false, err);

    out->continues = r == 0 && strcmp(name, names[1]) == 0;
    return r < 0 || out->continues || strcmp(name, names[0]) == 0
               ? r
               : fail_name(err, "on_generation_change", name, names, COUNT(names));
}

static int load_end(struct ambd_subscription *out, const cJSON *json, struct amb_error *err) {
    int r = ambp_json_get_u64(&out->n_steps, json, "steps", 1, UINT64_C(1) << 62, false, err);

    r = r < 0 ? r : ambp_json_get_f64(&out->n_passes, json, "passes", false, err);
    r = r < 0 ? r : ambp_json_get_bool(&out->strict, json, "strict", false, err);
    if (r == 0 && !(out->n_passes >= 0 && out->n_passes <= 0x1p31)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'passes' is %g, allowed: a number above 0, at most 2^31",
                        out->n_passes);
    }
    if (r == 0 && out->n_steps != 0 && out->n_passes > 0) {
        return amb_fail(err, AMB_ERR_CONFIG, "'steps' and 'passes' exclude each other");
    }
    if (r == 0 && out->n_passes > 0 && out->options.policy == AMB_POLICY_SEQUENTIAL && out->n_passes != 1) {
        return amb_fail(err, AMB_ERR_CONFIG, "'passes' is %g, allowed with policy sequential: 1",
                        out->n_passes);
    }
    return r;
}

int ambd_subscription_decode(struct ambd_subscription *out, const cJSON *json, struct ambd_dataset *dataset,
                             struct amb_error *err) {
    int r = ambp_json_check_keys(json, "SUBSCRIBE", keys, COUNT(keys), err);

    *out = (struct ambd_subscription){.dataset = dataset};
    r = r < 0 ? r : load_mode(out, json, err);
    r = r < 0 ? r : load_sizes(out, json, err);
    r = r < 0 ? r : load_options(out, json, err);
    r = r < 0 ? r : load_weight(out, json, err);
    r = r < 0 ? r : load_moves(out, json, err);
    r = r < 0 ? r : load_fields(out, json, err);
    r = r < 0 ? r : load_change(out, json, err);
    r = r < 0 ? r : load_end(out, json, err);
    r = r < 0 || out->request_mode ? r : ambd_subscription_check_levels(out, err);
    if (r < 0) {
        ambd_subscription_deinit(out);
    }
    return r;
}

int ambd_subscription_check_level(const struct ambd_subscription *subscription, double s,
                                  struct amb_error *err) {
    enum amb_process process = subscription->options.process;
    bool weighted = false;

    if (!(s >= 0) || (isinf(s) && process == AMB_PROCESS_VE)) {
        return amb_fail(err, AMB_ERR_CONFIG, "sigma %g with process %s, allowed: from 0%s", s,
                        amb_process_name(process), process == AMB_PROCESS_VE ? ", finite" : "");
    }
    for (uint32_t i = 0; i < subscription->layout.n_fields; i++) {
        weighted = weighted || subscription->layout.fields[i].field == AMB_FIELD_WEIGHT;
    }
    if (weighted && isinf((float)amb_weight_get(subscription->weight, process, s, 0))) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "field 'weight' of kind %s is infinite at sigma %g; ask for another weight, or a "
                        "schedule that stays "
                        "away from it",
                        amb_weight_name(subscription->weight), s);
    }
    return 0;
}

int ambd_subscription_check_levels(const struct ambd_subscription *subscription, struct amb_error *err) {
    const struct amb_stream_options *options = &subscription->options;
    int r = amb_schedule_check(&options->schedule, options->process, err);

    if (r < 0) {
        return r;
    }
    /* draws use words mapped into the open interval (0, 1): these are its ends (base/real.h) */
    r = ambd_subscription_check_level(
        subscription, amb_schedule_quantile(&options->schedule, options->process, 0x1p-54), err);
    return r < 0 ? r
                 : ambd_subscription_check_level(
                       subscription, amb_schedule_quantile(&options->schedule, options->process, 1 - 0x1p-53),
                       err);
}
