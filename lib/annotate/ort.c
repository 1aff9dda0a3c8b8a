/*
 * Ort: dlopen, the versioned table, and nothing else.
 *
 * The table is an array of function pointers behind one exported symbol. Each slot that we use is declared once, in
 * ort.h, with its index and its signature; test-ort.c calls every one of them in an old and in a new release, so a
 * wrong index cannot pass.
 *
 * Not here: sessions (model-onnx.c).
 */
#include "annotate/ort.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "shard/pattern.h"

struct ort_base {
    const void *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct amb_ort loaded; /* guarded by lock until `env` is set, constant afterwards */

/* Where pip puts the wheel, newest Python first: they come sorted, so the last match is taken. */
static const char *const package_globs[] = {
    "/usr/local/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*",
    "/usr/local/lib/python3*/dist-packages/onnxruntime/capi/libonnxruntime.so.*",
    "/usr/lib/python3/dist-packages/onnxruntime/capi/libonnxruntime.so.*",
};

int amb_ort_fail(const struct amb_ort *ort, amb_ort_result result, int code, const char *what, struct amb_error *err) {
    char text[320];

    snprintf(text, sizeof text, "%s", ort->GetErrorMessage(result));
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\n' || *p == '\r' ? ' ' : *p;
    }
    ort->ReleaseStatus(result);
    return amb_fail(err, code, "%s: %s", what, text);
}

static void *ort_open_glob(char *path, size_t bytes, const char *pattern) {
    AMB_CLEANUP(amb_paths_deinit) struct amb_paths found = AMB_PATHS_NULL;
    void *library = NULL;

    if (amb_paths_push_pattern(&found, pattern, NULL) < 0) {
        return NULL;
    }
    for (size_t i = found.n; i-- > 0 && library == NULL;) {
        library = dlopen(found.items[i], RTLD_NOW | RTLD_LOCAL);
        snprintf(path, bytes, "%s", found.items[i]);
    }
    return library;
}

static void *ort_open_environment(char *path, size_t bytes, const char *variable) {
    const char *root = getenv(variable);
    char pattern[2048];

    if (root == NULL || root[0] != '/') {
        return NULL;
    }
    snprintf(pattern, sizeof pattern, "%s/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*", root);
    return ort_open_glob(path, bytes, pattern);
}

/* A library that was named must load; the places that are only searched may all fail. */
static int ort_open(void **out, char *path, size_t bytes, const char *library, struct amb_error *err) {
    const char *named = library != NULL ? library : getenv("AMBIENTD_ONNXRUNTIME");

    if (named != NULL && named[0] != '\0') {
        snprintf(path, bytes, "%s", named);
        *out = dlopen(named, RTLD_NOW | RTLD_LOCAL);
        return *out != NULL ? 0
                            : amb_fail(err, AMB_ERR_NOT_FOUND, "ONNX Runtime named by %s cannot be loaded: %s",
                                       library != NULL ? "the configuration" : "AMBIENTD_ONNXRUNTIME", dlerror());
    }
    snprintf(path, bytes, "libonnxruntime.so.1");
    *out = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    *out = *out != NULL ? *out : ort_open_environment(path, bytes, "VIRTUAL_ENV");
    *out = *out != NULL ? *out : ort_open_environment(path, bytes, "CONDA_PREFIX");
    for (size_t i = 0; *out == NULL && i < sizeof package_globs / sizeof package_globs[0]; i++) {
        *out = ort_open_glob(path, bytes, package_globs[i]);
    }
    if (*out == NULL) {
        return amb_fail(err, AMB_ERR_NOT_FOUND,
                        "ONNX Runtime was not found: no libonnxruntime.so.1 of the system, no Python package onnxruntime "
                        "in $VIRTUAL_ENV, $CONDA_PREFIX or the system; `pip install onnxruntime` (1.19 or later), or "
                        "install libonnxruntime, or set AMBIENTD_ONNXRUNTIME to the library's path");
    }
    return 0;
}

static void ort_take_slots(struct amb_ort *ort, const void *table) {
    void *const *slots = table;

    /* POSIX lets data and function pointers be exchanged through memory only */
#define ORT_TAKE(slot, type, name, arguments) memcpy(&ort->name, &slots[slot], sizeof ort->name);
    AMB_ORT_SLOTS(ORT_TAKE)
#undef ORT_TAKE
}

static int ort_load_locked(const char *library, struct amb_error *err) {
    struct amb_ort ort = {0};
    const struct ort_base *(*get_base)(void) = NULL;
    const struct ort_base *base;
    const void *table;
    void *handle = NULL, *symbol;
    amb_ort_result result;
    int r = ort_open(&handle, ort.path, sizeof ort.path, library, err);

    if (r < 0) {
        return r;
    }
    symbol = dlsym(handle, "OrtGetApiBase");
    if (symbol == NULL) {
        dlclose(handle);
        return amb_fail(err, AMB_ERR_UNSUPPORTED, "%s has no OrtGetApiBase: not an ONNX Runtime", ort.path);
    }
    memcpy(&get_base, &symbol, sizeof get_base);
    base = get_base();
    snprintf(ort.version, sizeof ort.version, "%s", base->GetVersionString());
    table = base->GetApi(AMB_ORT_API_VERSION);
    if (table == NULL) {
        amb_fail(err, AMB_ERR_UNSUPPORTED, "%s is ONNX Runtime %s, allowed: 1.%u or later; `pip install -U onnxruntime`",
                 ort.path, ort.version, AMB_ORT_API_VERSION);
        dlclose(handle);
        return AMB_ERR_UNSUPPORTED;
    }
    ort_take_slots(&ort, table);
    result = ort.CreateEnv(AMB_ORT_LOG_ERROR, "ambientd", &ort.env);
    if (result != NULL) {
        return amb_ort_fail(&ort, result, -EIO, "ONNX Runtime does not start", err);
    }
    loaded = ort;
    return 0;
}

int amb_ort_get(const struct amb_ort **out, const char *library, struct amb_error *err) {
    int r = 0;

    pthread_mutex_lock(&lock);
    if (loaded.env == NULL) {
        r = ort_load_locked(library, err);
    }
    pthread_mutex_unlock(&lock);
    if (r == 0) {
        *out = &loaded;
    }
    return r;
}
