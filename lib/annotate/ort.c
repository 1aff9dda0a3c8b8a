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

#define PACKAGE "/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*"

/* Searched in this order; of the matches of one pattern the last first. A pattern is behind the variable's value. */
static const struct {
    const char *variable, *pattern;
} places[] = {
    {NULL, "libonnxruntime.so.1"},               /* where the loader looks */
    {NULL, "/usr/lib/*/libonnxruntime.so.1.*"},  /* Debian's, whose name for the loader has the minor release too */
    {"VIRTUAL_ENV", PACKAGE},
    {"CONDA_PREFIX", PACKAGE},
    {"HOME", "/.local" PACKAGE},
    {NULL, "/usr/local" PACKAGE},
    {NULL, "/usr/local/lib/python3*/dist-packages/onnxruntime/capi/libonnxruntime.so.*"},
};

/* Behind the place in its source that the library puts before some: "FILE:LINE FUNCTION [ONNXRuntimeError] : 1 : FAIL : ". */
static const char *message_peek(const char *text) {
    const char *tag = strstr(text, "[ONNXRuntimeError] : ");
    const char *number = tag != NULL ? strstr(tag, " : ") : NULL, *kind = number != NULL ? strstr(number + 3, " : ") : NULL;
    const char *rest = kind != NULL ? strstr(kind + 3, " : ") : NULL;

    return rest != NULL ? rest + 3 : text;
}

int amb_ort_fail(const struct amb_ort *ort, amb_ort_result result, int code, const char *what, struct amb_error *err) {
    char text[320];

    snprintf(text, sizeof text, "%s", message_peek(ort->GetErrorMessage(result)));
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\n' || *p == '\r' ? ' ' : *p;
    }
    ort->ReleaseStatus(result);
    return amb_fail(err, code, "%s: %s", what, text);
}

static void ort_take_slots(struct amb_ort *ort, const void *table) {
    void *const *slots = table;

    /* POSIX lets data and function pointers be exchanged through memory only */
#define ORT_TAKE(slot, type, name, arguments) memcpy(&ort->name, &slots[slot], sizeof ort->name);
    AMB_ORT_SLOTS(ORT_TAKE)
#undef ORT_TAKE
}

/* AMB_ERR_NOT_FOUND: nothing that the loader takes. `who` named it. */
static int ort_load(struct amb_ort *out, const char *library, const char *who, struct amb_error *err) {
    struct amb_ort ort = {0};
    const struct ort_base *(*get_base)(void) = NULL;
    const struct ort_base *base;
    const void *table;
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL), *symbol;
    amb_ort_result result;

    if (handle == NULL) {
        return amb_fail(err, AMB_ERR_NOT_FOUND, "ONNX Runtime%s cannot be loaded: %s", who, dlerror());
    }
    snprintf(ort.path, sizeof ort.path, "%s", library);
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
        dlclose(handle);
        return amb_fail(err, AMB_ERR_UNSUPPORTED, "%s is ONNX Runtime %s, allowed: 1.%u or later; `pip install -U onnxruntime`",
                        ort.path, ort.version, AMB_ORT_API_VERSION);
    }
    ort_take_slots(&ort, table);
    result = ort.CreateEnv(AMB_ORT_LOG_ERROR, "ambientd", &ort.env);
    if (result != NULL) {
        return amb_ort_fail(&ort, result, -EIO, "ONNX Runtime does not start", err);
    }
    *out = ort;
    return 0;
}

/* `why` keeps the first fault of a library that is there. */
static int ort_load_pattern(struct amb_ort *out, const char *pattern, struct amb_error *why) {
    AMB_CLEANUP(amb_paths_deinit) struct amb_paths found = AMB_PATHS_NULL;
    int r = AMB_ERR_NOT_FOUND;

    if (pattern[0] != '/') {
        r = ort_load(out, pattern, "", why);
        *why = r == AMB_ERR_NOT_FOUND ? AMB_ERROR_NULL : *why; /* the loader knows none: no fault of any */
        return r;
    }
    if (amb_paths_push_pattern(&found, pattern, NULL) < 0) {
        return r;
    }
    for (size_t i = found.n; i-- > 0 && r < 0;) {
        r = ort_load(out, found.items[i], "", why->code == 0 ? why : NULL);
    }
    return r;
}

/* What is too old, or not for this machine, does not hide a better one behind it. */
static int ort_search(struct amb_ort *out, struct amb_error *err) {
    struct amb_error why = AMB_ERROR_NULL;

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *root = places[i].variable != NULL ? getenv(places[i].variable) : "";
        char pattern[2048];

        if (root == NULL || (places[i].variable != NULL && root[0] != '/')) {
            continue;
        }
        snprintf(pattern, sizeof pattern, "%s%s", root, places[i].pattern);
        if (ort_load_pattern(out, pattern, &why) == 0) {
            return 0;
        }
    }
    if (why.code != 0) {
        return amb_fail(err, why.code, "%s", why.message);
    }
    return amb_fail(err, AMB_ERR_NOT_FOUND,
                    "ONNX Runtime was not found: no libonnxruntime.so.1 of the system, no Python package onnxruntime in "
                    "$VIRTUAL_ENV, $CONDA_PREFIX, ~/.local or the system; `pip install onnxruntime` (1.19 or later), or "
                    "install libonnxruntime (Debian 13: libonnxruntime1.21), or set AMBIENTD_ONNXRUNTIME to the library's "
                    "path");
}

/* A library that was named must load; the places that are only searched may all fail. */
static int ort_load_locked(const char *library, struct amb_error *err) {
    const char *variable = getenv("AMBIENTD_ONNXRUNTIME");

    if (library != NULL && library[0] != '\0') {
        return ort_load(&loaded, library, " named by the configuration", err);
    }
    if (variable != NULL && variable[0] != '\0') {
        return ort_load(&loaded, variable, " named by AMBIENTD_ONNXRUNTIME", err);
    }
    return ort_search(&loaded, err);
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
