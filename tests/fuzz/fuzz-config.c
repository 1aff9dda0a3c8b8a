/*
 * Configuration: the JSON of a file, and its annotations' own check. Lists of excluded samples that lie in a file are
 * left out, so that the fuzzer opens none.
 */
#include "fuzz.h"

#include "daemon/annotator.h"
#include "daemon/config.h"
#include "proto/json.h"

static bool names_a_file(const cJSON *tree) {
    const cJSON *dataset, *datasets = cJSON_GetObjectItemCaseSensitive(tree, "datasets");

    cJSON_ArrayForEach(dataset, datasets) {
        const cJSON *item;

        cJSON_ArrayForEach(item, dataset) {
            if (item->string != NULL && strcmp(item->string, "exclude") == 0 && cJSON_IsString(item)) {
                return true;
            }
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct ambd_config *config = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    cJSON *tree = NULL;

    if (fuzz_check(ambp_json_decode(&tree, (const char *)data, bytes, AMBP_JSON_DEPTH_MAX, &err), &err) < 0) {
        return 0;
    }
    if (names_a_file(tree) || fuzz_check(ambd_config_load(&config, tree, &err), &err) < 0) {
        cJSON_Delete(tree);
        return 0;
    }
    FUZZ_REQUIRE(config->n_datasets > 0);
    for (size_t i = 0; i < config->n_datasets; i++) {
        FUZZ_REQUIRE(config->datasets[i].name != NULL && config->datasets[i].n_sources > 0);
        if (config->datasets[i].annotations != NULL) {
            fuzz_check(ambd_annotator_check(config->datasets[i].annotations, "annotations", &err), &err);
        }
    }
    ambd_config_unref(config);
    return 0;
}
