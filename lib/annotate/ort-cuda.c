/*
 * Ort cuda: as `onnxruntime.preload_dlls()` does in Python. The provider names its libraries without a path; the loader
 * takes one that is loaded already under that name, so each is loaded by its path before, those first that others need.
 */
#include "annotate/ort-cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "shard/pattern.h"

static const char *const names[] = {"cudart", "cublasLt", "cublas", "nvrtc", "curand", "cufft", "cudnn"};

void amb_ort_load_cuda(const char *library) {
    const char *slash = strrchr(library, '/');

    for (size_t i = 0; slash != NULL && i < sizeof names / sizeof names[0]; i++) {
        AMB_CLEANUP(amb_paths_deinit) struct amb_paths found = AMB_PATHS_NULL;
        char pattern[2048];

        snprintf(pattern, sizeof pattern, "%.*s/../../nvidia/*/lib/lib%s.so.*", (int)(slash - library), library, names[i]);
        if (amb_paths_push_pattern(&found, pattern, NULL) == 0) {
            for (size_t k = 0; k < found.n; k++) {
                dlopen(found.items[k], RTLD_NOW | RTLD_LOCAL);
            }
        }
    }
}
