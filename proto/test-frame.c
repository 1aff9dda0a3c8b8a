#include "base/test.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "proto/frame.h"
#include "proto/json.h"
#include "proto/message.h"
#include "proto/wire.h"

static char *test_load_golden(size_t *bytes) {
    const char *dir = getenv("AMBIENTD_GOLDEN");
    char path[4096];
    FILE *file;
    char *text = malloc(1 << 20);

    snprintf(path, sizeof path, "%s/frames.json", dir != NULL ? dir : "proto/golden");
    file = fopen(path, "rb");
    assert_non_null(file);
    *bytes = fread(text, 1, 1 << 20, file);
    fclose(file);
    return text;
}

static size_t test_unhex(uint8_t *out, const char *hex) {
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++) {
        unsigned byte;

        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
    return n;
}

static uint64_t test_u64(const cJSON *object, const char *key) {
    struct amb_error err = AMB_ERROR_NULL;
    uint64_t value = 0;

    assert_ok(ambp_json_get_u64(&value, object, key, 0, UINT64_MAX, true, &err), err);
    return value;
}

static int test_encode_packed(uint8_t *out, size_t out_bytes, unsigned type, const cJSON *fields) {
    if (type == AMBP_LEND) {
        const char *state = cJSON_GetObjectItem(fields, "state")->valuestring;
        struct ambp_lend lend = {
            .slot = (uint32_t)test_u64(fields, "slot"),
            .count = (uint32_t)test_u64(fields, "count"),
            .step = test_u64(fields, "step"),
            .k = test_u64(fields, "k"),
            .flags = (uint32_t)test_u64(fields, "flags"),
            .n_replaced = (uint32_t)test_u64(fields, "n_replaced"),
            .fill_ns = test_u64(fields, "fill_ns"),
            .state_bytes = (uint32_t)strlen(state),
            .state = state,
        };

        return ambp_lend_encode(out, out_bytes, &lend);
    }
    if (type == AMBP_DONE) {
        struct ambp_done done = {.slot = (uint32_t)test_u64(fields, "slot")};

        return ambp_done_encode(out, out_bytes, &done);
    }
    if (type == AMBP_REQUEST) {
        const cJSON *sigmas = cJSON_GetObjectItem(fields, "sigmas");
        uint8_t packed[64 * 8];
        struct ambp_request request = {
            .n_sigmas = (uint32_t)cJSON_GetArraySize(sigmas),
            .scale = (uint32_t)test_u64(fields, "scale"),
            .q = test_u64(fields, "q"),
            .sigmas = packed,
        };

        assert_true(amb_hash128_parse(&request.dataset, cJSON_GetObjectItem(fields, "dataset")->valuestring));
        assert_true(amb_hash128_parse(&request.annotations, cJSON_GetObjectItem(fields, "annotations")->valuestring));
        for (uint32_t i = 0; i < request.n_sigmas; i++) {
            ambp_store_f64le(packed + 8 * i, cJSON_GetArrayItem(sigmas, (int)i)->valuedouble);
        }
        return ambp_request_encode(out, out_bytes, &request);
    }
    fail_msg("no packed message of type %u", type);
    return -1;
}

static void test_decode_packed(unsigned type, const uint8_t *payload, size_t bytes, int expected) {
    struct amb_error err = AMB_ERROR_NULL;
    int r = type == AMBP_LEND   ? ambp_lend_decode(&(struct ambp_lend){0}, payload, bytes, &err)
            : type == AMBP_DONE ? ambp_done_decode(&(struct ambp_done){0}, payload, bytes, &err)
                                : ambp_request_decode(&(struct ambp_request){0}, payload, bytes, &err);

    if (r != expected) {
        fail_msg("type %u, %zu bytes: %d (%s), expected %d", type, bytes, r, err.message, expected);
    }
}

/* Each golden frame is encoded from its fields and compared byte for byte, then decoded; the Python suite replays
 * the same file. A payload cut or grown by one byte is refused. */
TEST(golden_frames_are_reproduced) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    size_t bytes;
    char *text = test_load_golden(&bytes);
    const cJSON *row;
    int n_rows = 0;

    assert_ok(ambp_json_decode(&json, text, bytes, AMBP_JSON_DEPTH_MAX, &err), err);
    cJSON_ArrayForEach(row, json) {
        uint8_t expected[4096], frame[4096];
        size_t n_payload, n_expected = test_unhex(expected, cJSON_GetObjectItem(row, "frame")->valuestring);
        const cJSON *payload = cJSON_GetObjectItem(row, "json"), *fields = cJSON_GetObjectItem(row, "fields");
        struct ambp_header header = {
            .version = AMBP_VERSION,
            .type = (uint8_t)test_u64(row, "type"),
            .flags = (uint16_t)test_u64(row, "flags"),
            .request_id = (uint32_t)test_u64(row, "request_id"),
        };
        uint8_t *body = frame + AMBP_HEADER_BYTES;

        if (payload != NULL) {
            n_payload = strlen(payload->valuestring);
            memcpy(body, payload->valuestring, n_payload);
        } else {
            int n = test_encode_packed(body, sizeof frame - AMBP_HEADER_BYTES, header.type, fields);

            assert_true(n > 0);
            n_payload = (size_t)n;
            test_decode_packed(header.type, body, n_payload, 0);
            test_decode_packed(header.type, body, n_payload - 1, AMB_ERR_PROTOCOL);
            body[n_payload] = 0;
            test_decode_packed(header.type, body, n_payload + 1, AMB_ERR_PROTOCOL);
        }
        header.length = (uint32_t)n_payload;
        ambp_header_encode(frame, &header);
        assert_int_equal(n_expected, AMBP_HEADER_BYTES + n_payload);
        assert_memory_equal(frame, expected, n_expected);
        assert_ok(ambp_header_decode(&header, expected, &err), err);
        assert_string_equal(ambp_type_name(header.type), cJSON_GetObjectItem(row, "name")->valuestring);
        n_rows++;
    }
    assert_true(n_rows >= 10);
    free(text);
}

TEST(bad_headers_are_refused) {
    struct ambp_header header = {.version = 1, .type = AMBP_PING, .request_id = 1};
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t bytes[AMBP_HEADER_BYTES];

    for (uint32_t length = 65535; length <= 65537; length++) { /* limit - 1, limit, limit + 1 */
        header.length = length;
        ambp_header_encode(bytes, &header);
        assert_int_equal(ambp_header_decode(&header, bytes, &err), length <= 65536 ? 0 : AMB_ERR_LIMIT);
        header.length = 0;
    }
    ambp_header_encode(bytes, &header);
    bytes[0] ^= 1;
    assert_int_equal(ambp_header_decode(&header, bytes, &err), AMB_ERR_PROTOCOL);
    bytes[0] ^= 1;
    bytes[4] = 2;
    assert_int_equal(ambp_header_decode(&header, bytes, &err), AMB_ERR_VERSION);
    bytes[4] = 1;
    for (unsigned type = 0; type < 256; type++) {
        bytes[5] = (uint8_t)type;
        assert_int_equal(ambp_header_decode(&header, bytes, &err), ambp_type_name(type) ? 0 : AMB_ERR_PROTOCOL);
    }
    bytes[5] = AMBP_PING;
    bytes[6] = AMBP_FLAG_MORE;
    assert_int_equal(ambp_header_decode(&header, bytes, &err), AMB_ERR_PROTOCOL);
    bytes[5] = AMBP_DATA;
    assert_int_equal(ambp_header_decode(&header, bytes, &err), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(golden_frames_are_reproduced),
    cmocka_unit_test(bad_headers_are_refused),
};

TEST_MAIN(tests)
