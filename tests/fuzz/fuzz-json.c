/*
 * Control JSON: what decodes can be printed and decoded again; typed access to any of its fields ends in a value
 * within the range that was asked for, or in an error.
 */
#include "fuzz.h"

#include <math.h>

#include "proto/json.h"

static const char *const known[] = {"dataset", "batch_size", "fields", "seed", "schedule", "options"};

static void check_fields(const cJSON *object, unsigned depth) {
    const cJSON *item, *inner = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    if (depth > AMBP_JSON_DEPTH_MAX) {
        abort(); /* the decoder has promised less */
    }
    cJSON_ArrayForEach(item, object) {
        const char *text = NULL;
        bool flag = false;
        double f64 = 0;
        uint64_t u64 = 7;

        if (cJSON_IsObject(object)) {
            fuzz_check(ambp_json_get_string(&text, object, item->string, true, &err), &err);
            fuzz_check(ambp_json_get_bool(&flag, object, item->string, false, &err), &err);
            fuzz_check(ambp_json_get_object(&inner, object, item->string, true, &err), &err);
            fuzz_check(ambp_json_get_array(&inner, object, item->string, true, &err), &err);
            if (fuzz_check(ambp_json_get_f64(&f64, object, item->string, true, &err), &err) == 0) {
                FUZZ_REQUIRE(!isnan(f64));
            }
            if (fuzz_check(ambp_json_get_u64(&u64, object, item->string, 3, 1000, true, &err), &err) == 0) {
                FUZZ_REQUIRE(u64 >= 3 && u64 <= 1000);
            }
        }
        check_fields(item, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct amb_error err = AMB_ERROR_NULL;
    cJSON *json = NULL, *again = NULL;
    char *text;

    if (fuzz_check(ambp_json_decode(&json, (const char *)data, bytes, AMBP_JSON_DEPTH_MAX, &err), &err) < 0) {
        return 0;
    }
    fuzz_check(ambp_json_check_keys(json, "input", known, sizeof known / sizeof known[0], &err), &err);
    check_fields(json, 0);
    text = cJSON_PrintUnformatted(json);
    FUZZ_REQUIRE(text != NULL);
    FUZZ_REQUIRE(ambp_json_decode(&again, text, strlen(text), AMBP_JSON_DEPTH_MAX, &err) == 0);
    cJSON_Delete(again);
    cJSON_Delete(json);
    cJSON_free(text);
    return 0;
}
