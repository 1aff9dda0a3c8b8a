/*
 * Stream state and options: JSON that a client sends. What decodes encodes to a canonical text that decodes to the
 * same text again; every schedule that is let in can be drawn from.
 */
#include "fuzz.h"

#include <math.h>

#include "sampler/state.h"

static void check_schedule(const struct amb_stream_options *options) {
    static const double us[] = {0, 0x1p-53, 0.25, 0.5, 0.999, 1 - 0x1p-53};
    double before = -1;

    for (size_t i = 0; i < sizeof us / sizeof us[0]; i++) {
        double s = amb_schedule_quantile(&options->schedule, options->process, us[i]);

        FUZZ_REQUIRE(s >= before);
        FUZZ_REQUIRE(!isnan(amb_schedule_cdf(&options->schedule, options->process, s)));
        before = s;
    }
}

static void check_state(const char *text, size_t bytes) {
    char once[AMB_STATE_BYTES_MAX], twice[AMB_STATE_BYTES_MAX];
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_state state, again;
    int n;

    if (fuzz_check(amb_state_decode(&state, text, bytes, &err), &err) < 0) {
        return;
    }
    check_schedule(&state.options);
    n = amb_state_encode(once, sizeof once, &state);
    FUZZ_REQUIRE(n > 0);
    FUZZ_REQUIRE(amb_state_decode(&again, once, (size_t)n, &err) == 0);
    FUZZ_REQUIRE(amb_state_encode(twice, sizeof twice, &again) == n && memcmp(once, twice, (size_t)n) == 0);
    FUZZ_REQUIRE(amb_state_check_options(&state, &again.options, &err) == 0);
}

static void check_options(const char *text, size_t bytes) {
    char once[AMB_STATE_BYTES_MAX], twice[AMB_STATE_BYTES_MAX];
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT, again = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_error err = AMB_ERROR_NULL;
    int n;

    if (fuzz_check(amb_stream_options_decode(&options, text, bytes, &err), &err) < 0) {
        return;
    }
    check_schedule(&options);
    n = amb_stream_options_encode(once, sizeof once, &options);
    FUZZ_REQUIRE(n > 0);
    FUZZ_REQUIRE(amb_stream_options_decode(&again, once, (size_t)n, &err) == 0);
    FUZZ_REQUIRE(amb_stream_options_encode(twice, sizeof twice, &again) == n && memcmp(once, twice, (size_t)n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    check_state((const char *)data, bytes);
    check_options((const char *)data, bytes);
    return 0;
}
