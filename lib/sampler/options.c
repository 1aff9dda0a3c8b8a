/*
 * Options: one table row for each key: how it is read, how it is written. The order of rows is the canonical order.
 *
 * proto/state.md is the format. Writing goes through canon.c, so that two options are equal exactly if their texts are;
 * the comparison at resume uses this.
 */
#include "sampler/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define OPTIONS_DEPTH_MAX 4u /* options, schedule, points, point */

#define N_OF(array) (sizeof(array) / sizeof *(array))

/* Words */

static const char *const policy_names[AMB_POLICY_N] = {"pass", "uniform", "sequential"};
static const char *const gaps_names[AMB_GAPS_N] = {"truncate", "error"};
static const char *const process_names[AMB_PROCESS_N] = {"ve", "vp", "flow"};
static const char *const scale_names[] = {"s", "t"};

/* Index of the word at `key`; *out is left alone where it is absent. */
static int load_word(unsigned *out, const cJSON *object, const char *key, const char *const *words, size_t n_words,
                     struct amb_error *err) {
    const char *found = NULL;
    char allowed[96] = "";
    int r = ambp_json_get_string(&found, object, key, false, err);

    if (r < 0 || found == NULL) {
        return r;
    }
    for (unsigned i = 0; i < n_words; i++) {
        size_t n = strlen(allowed);

        if (strcmp(found, words[i]) == 0) {
            *out = i;
            return 0;
        }
        snprintf(allowed + n, sizeof allowed - n, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    return amb_fail(err, AMB_ERR_CONFIG, "'%s' is \"%.64s\", allowed: %s", key, found, allowed);
}

/* Schedule */

struct schedule_kind {
    const char *name;
    const char *a, *b;         /* keys of the two numbers; NULL: has none     */
    enum amb_scale scale;      /* where none is given                         */
    bool has_defaults;         /* else the numbers must be given              */
    double default_a, default_b;
};

static const struct schedule_kind schedule_kinds[AMB_SCHEDULE_N] = {
    [AMB_SCHEDULE_LOGNORMAL] = {"lognormal", "mean", "std", AMB_SCALE_S, true, -1.2, 1.2},
    [AMB_SCHEDULE_LOGUNIFORM] = {"loguniform", "lo", "hi", AMB_SCALE_S, false, 0, 0},
    [AMB_SCHEDULE_UNIFORM] = {"uniform", "lo", "hi", AMB_SCALE_S, false, 0, 0},
    [AMB_SCHEDULE_LOGIT_NORMAL] = {"logitnormal", "mean", "std", AMB_SCALE_T, true, 0, 1},
    [AMB_SCHEDULE_TABLE] = {"table", NULL, NULL, AMB_SCALE_S, false, 0, 0},
    [AMB_SCHEDULE_CONSTANT] = {"constant", "level", NULL, AMB_SCALE_S, false, 0, 0},
};

static int load_points(struct amb_schedule *out, const cJSON *object, struct amb_error *err) {
    const cJSON *points = NULL, *point;
    int r = ambp_json_get_array(&points, object, "points", true, err);

    if (r < 0) {
        return r;
    }
    if (cJSON_GetArraySize(points) > (int)AMB_SCHEDULE_TABLE_MAX) {
        return amb_fail(err, AMB_ERR_CONFIG, "schedule table of %d points, allowed: 2 to %u", cJSON_GetArraySize(points),
                        AMB_SCHEDULE_TABLE_MAX);
    }
    cJSON_ArrayForEach(point, points) {
        const cJSON *p = cJSON_GetArrayItem(point, 0), *level = cJSON_GetArrayItem(point, 1);

        if (!cJSON_IsArray(point) || cJSON_GetArraySize(point) != 2 || !cJSON_IsNumber(p) || !cJSON_IsNumber(level)) {
            return amb_fail(err, AMB_ERR_CONFIG, "schedule table point %u is %s, expected [probability, level]",
                            out->n_table, ambp_json_kind(point));
        }
        out->p[out->n_table] = p->valuedouble;
        out->level[out->n_table++] = level->valuedouble;
    }
    return 0;
}

static int load_numbers(struct amb_schedule *out, const cJSON *object, const struct schedule_kind *kind,
                        struct amb_error *err) {
    int r = 0;

    if (kind->a != NULL) {
        out->a = kind->default_a;
        r = ambp_json_get_f64(&out->a, object, kind->a, !kind->has_defaults, err);
    }
    if (r == 0 && kind->b != NULL) {
        out->b = kind->default_b;
        r = ambp_json_get_f64(&out->b, object, kind->b, !kind->has_defaults, err);
    }
    return r;
}

static int load_schedule(struct amb_stream_options *out, const cJSON *object, struct amb_error *err) {
    const char *names[AMB_SCHEDULE_N], *known[4];
    const cJSON *json = NULL;
    const struct schedule_kind *kind;
    unsigned i_kind = AMB_SCHEDULE_N, i_scale;
    size_t n_known = 0;
    struct amb_schedule schedule = {0};
    int r = ambp_json_get_object(&json, object, "schedule", false, err);

    if (r < 0 || json == NULL) {
        return r;
    }
    for (unsigned i = 0; i < AMB_SCHEDULE_N; i++) {
        names[i] = schedule_kinds[i].name;
    }
    r = load_word(&i_kind, json, "kind", names, AMB_SCHEDULE_N, err);
    if (r < 0) {
        return r;
    }
    if (i_kind == AMB_SCHEDULE_N) {
        return amb_fail(err, AMB_ERR_CONFIG, "schedule: 'kind' is missing");
    }
    kind = &schedule_kinds[i_kind];
    known[n_known++] = "kind";
    known[n_known++] = "scale";
    if (kind->a != NULL) {
        known[n_known++] = kind->a;
    }
    if (kind->b != NULL || i_kind == AMB_SCHEDULE_TABLE) {
        known[n_known++] = kind->b != NULL ? kind->b : "points";
    }
    r = ambp_json_check_keys(json, "schedule", known, n_known, err);
    i_scale = kind->scale;
    r = r < 0 ? r : load_word(&i_scale, json, "scale", scale_names, N_OF(scale_names), err);
    schedule.kind = (enum amb_schedule_kind)i_kind;
    schedule.scale = (enum amb_scale)i_scale;
    r = r < 0 ? r : load_numbers(&schedule, json, kind, err);
    r = r < 0 || i_kind != AMB_SCHEDULE_TABLE ? r : load_points(&schedule, json, err);
    if (r == 0) {
        out->schedule = schedule;
    }
    return r;
}

static void push_points(struct amb_canon *canon, const struct amb_schedule *schedule) {
    amb_canon_push(canon, ",\"points\":[");
    for (uint32_t i = 0; i < schedule->n_table; i++) {
        amb_canon_push(canon, i > 0 ? ",[" : "[");
        amb_canon_push_f64(canon, schedule->p[i]);
        amb_canon_push(canon, ",");
        amb_canon_push_f64(canon, schedule->level[i]);
        amb_canon_push(canon, "]");
    }
    amb_canon_push(canon, "]");
}

static void push_number(struct amb_canon *canon, const char *key, double value) {
    if (key != NULL) {
        amb_canon_push(canon, ",\"");
        amb_canon_push(canon, key);
        amb_canon_push(canon, "\":");
        amb_canon_push_f64(canon, value);
    }
}

static void push_schedule(struct amb_canon *canon, const struct amb_stream_options *options) {
    const struct amb_schedule *schedule = &options->schedule;
    const struct schedule_kind *kind = &schedule_kinds[schedule->kind];

    amb_canon_push(canon, "{\"kind\":");
    amb_canon_push_string(canon, kind->name);
    amb_canon_push(canon, ",\"scale\":");
    amb_canon_push_string(canon, scale_names[schedule->scale]);
    push_number(canon, kind->a, schedule->a);
    push_number(canon, kind->b, schedule->b);
    if (schedule->kind == AMB_SCHEDULE_TABLE) {
        push_points(canon, schedule);
    }
    amb_canon_push(canon, "}");
}

/* The other keys */

static int load_seed(struct amb_stream_options *out, const cJSON *object, struct amb_error *err) {
    return ambp_json_get_u64(&out->seed, object, "seed", 0, UINT64_MAX, false, err);
}

static void push_seed(struct amb_canon *canon, const struct amb_stream_options *options) {
    amb_canon_push_u64(canon, options->seed);
}

static int load_process(struct amb_stream_options *out, const cJSON *object, struct amb_error *err) {
    unsigned i = out->process;
    int r = load_word(&i, object, "process", process_names, AMB_PROCESS_N, err);

    out->process = (enum amb_process)i;
    return r;
}

static void push_process(struct amb_canon *canon, const struct amb_stream_options *options) {
    amb_canon_push_string(canon, process_names[options->process]);
}

static int load_policy(struct amb_stream_options *out, const cJSON *object, struct amb_error *err) {
    unsigned i = out->policy;
    int r = load_word(&i, object, "policy", policy_names, AMB_POLICY_N, err);

    out->policy = (enum amb_policy)i;
    return r;
}

static void push_policy(struct amb_canon *canon, const struct amb_stream_options *options) {
    amb_canon_push_string(canon, policy_names[options->policy]);
}

static int load_s_max(struct amb_stream_options *out, const cJSON *object, struct amb_error *err) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, "s_max");
    double s_max = 0;
    int r = ambp_json_get_f64(&s_max, object, "s_max", false, err);

    if (r < 0 || item == NULL) {
        return r;
    }
    if (!cJSON_IsNull(item) && !(s_max > 1 && isfinite(amb_stream_options_buffer(&(struct amb_stream_options){.s_max = s_max})))) {
        return amb_fail(err, AMB_ERR_CONFIG, "'s_max' is %g, allowed: null, or a number above 1", s_max);
    }
    out->s_max = s_max;
    return 0;
}

static void push_s_max(struct amb_canon *canon, const struct amb_stream_options *options) {
    if (options->s_max > 0) {
        amb_canon_push_f64(canon, options->s_max);
    } else {
        amb_canon_push(canon, "null");
    }
}

static int load_gaps(struct amb_stream_options *out, const cJSON *object, struct amb_error *err) {
    unsigned i = out->gaps;
    int r = load_word(&i, object, "gaps", gaps_names, AMB_GAPS_N, err);

    out->gaps = (enum amb_gaps)i;
    return r;
}

static void push_gaps(struct amb_canon *canon, const struct amb_stream_options *options) {
    amb_canon_push_string(canon, gaps_names[options->gaps]);
}

static int load_xflip(struct amb_stream_options *out, const cJSON *object, struct amb_error *err) {
    return ambp_json_get_bool(&out->xflip, object, "xflip", false, err);
}

static void push_xflip(struct amb_canon *canon, const struct amb_stream_options *options) {
    amb_canon_push(canon, options->xflip ? "true" : "false");
}

static int load_curriculum(struct amb_stream_options *out, const cJSON *object, struct amb_error *err) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, "curriculum");

    (void)out;
    if (item != NULL && !cJSON_IsNull(item)) {
        return amb_fail(err, AMB_ERR_UNSUPPORTED, "'curriculum' is %s; this version knows only null", ambp_json_kind(item));
    }
    return 0;
}

static void push_curriculum(struct amb_canon *canon, const struct amb_stream_options *options) {
    (void)options;
    amb_canon_push(canon, "null");
}

struct option_row {
    const char *key;
    int (*load)(struct amb_stream_options *out, const cJSON *object, struct amb_error *err);
    void (*push)(struct amb_canon *canon, const struct amb_stream_options *options);
};

static const struct option_row option_rows[] = {
    {"seed", load_seed, push_seed},       {"process", load_process, push_process},
    {"schedule", load_schedule, push_schedule}, {"policy", load_policy, push_policy},
    {"s_max", load_s_max, push_s_max},    {"gaps", load_gaps, push_gaps},
    {"xflip", load_xflip, push_xflip},    {"curriculum", load_curriculum, push_curriculum},
};

/* The whole */

double amb_stream_options_buffer(const struct amb_stream_options *options) {
    return options->s_max > 1 ? __builtin_sqrt(1 + 1 / (options->s_max - 1)) : 1;
}

int amb_options_load(struct amb_stream_options *out, const cJSON *object, bool complete, struct amb_error *err) {
    struct amb_stream_options options = *out;
    const char *known[N_OF(option_rows)];
    int r;

    for (size_t i = 0; i < N_OF(option_rows); i++) {
        known[i] = option_rows[i].key;
    }
    r = ambp_json_check_keys(object, "options", known, N_OF(known), err);
    for (size_t i = 0; r == 0 && i < N_OF(option_rows); i++) {
        if (complete && !cJSON_HasObjectItem(object, known[i])) {
            return amb_fail(err, AMB_ERR_CONFIG, "options: '%s' is missing", known[i]);
        }
        r = option_rows[i].load(&options, object, err);
    }
    r = r < 0 ? r : amb_schedule_check(&options.schedule, options.process, err);
    if (r == 0) {
        *out = options;
    }
    return r;
}

void amb_options_push(struct amb_canon *canon, const struct amb_stream_options *options) {
    for (size_t i = 0; i < N_OF(option_rows); i++) {
        amb_canon_push(canon, i == 0 ? "{" : ",");
        amb_canon_push_string(canon, option_rows[i].key);
        amb_canon_push(canon, ":");
        option_rows[i].push(canon, options);
    }
    amb_canon_push(canon, "}");
}

int amb_stream_options_decode(struct amb_stream_options *out, const char *json, size_t bytes, struct amb_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *object = NULL;
    int r = ambp_json_decode(&object, json, bytes, OPTIONS_DEPTH_MAX, err);

    return r < 0 ? r : amb_options_load(out, object, false, err);
}

int amb_stream_options_encode(char *out, size_t out_bytes, const struct amb_stream_options *options) {
    struct amb_canon canon;

    amb_canon_init(&canon, out, out_bytes);
    amb_options_push(&canon, options);
    return amb_canon_get(&canon);
}

int amb_state_check_options(const struct amb_state *state, const struct amb_stream_options *options,
                            struct amb_error *err) {
    for (size_t i = 0; i < N_OF(option_rows); i++) {
        char there[AMB_STATE_BYTES_MAX], here[AMB_STATE_BYTES_MAX];
        struct amb_canon canon;

        amb_canon_init(&canon, there, sizeof there);
        option_rows[i].push(&canon, &state->options);
        amb_canon_get(&canon);
        amb_canon_init(&canon, here, sizeof here);
        option_rows[i].push(&canon, options);
        amb_canon_get(&canon);
        if (strcmp(there, here) != 0) {
            return amb_fail(err, AMB_ERR_STATE,
                            "'%s' is %.150s in the state and %.150s in this stream; a resumed stream keeps its options",
                            option_rows[i].key, there, here);
        }
    }
    return 0;
}
