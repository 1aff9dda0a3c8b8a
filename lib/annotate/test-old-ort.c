/* A library that says it is ONNX Runtime 1.18.1, which knows no API of 1.19. */
#include <stddef.h>
#include <stdint.h>

struct base {
    const void *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
};

const struct base *OrtGetApiBase(void);

static const void *old_get_api(uint32_t version) {
    static const char table;

    return version <= 18 ? &table : NULL;
}

static const char *old_get_version(void) {
    return "1.18.1";
}

__attribute__((visibility("default"))) const struct base *OrtGetApiBase(void) {
    static const struct base base = {old_get_api, old_get_version};

    return &base;
}
