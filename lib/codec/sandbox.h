#pragma once
/* Sandbox: decoders in processes of their own, which can reach nothing but the picture and its pixels. */
#include <stdatomic.h>
#include <stdint.h>

#include "base/error.h"
#include "codec/decode.h"

#define AMB_SANDBOX_ARGUMENT "--decode-worker"

/* Totals over all decoders. Relaxed atomics. */
struct amb_sandbox_counters {
    _Atomic uint64_t n_running;  /* decoder processes now                                              */
    _Atomic uint64_t n_restarts; /* started anew for a decoder that had one before                     */
    _Atomic uint64_t n_faults;   /* died by a fault of their own, or gave an answer that cannot be     */
    _Atomic uint64_t n_late;     /* killed for CPU time or for sitting still                           */
    _Atomic uint64_t n_lost;     /* ended otherwise: killed from outside, exited                       */
    _Atomic uint64_t cpu_ns;     /* spent, up to the last look of each decoder                         */
    _Atomic uint64_t n_refused;  /* pictures refused because two fresh processes died of them          */
};

/* How decoder processes are made. Shared by all decoders, outlives them; constant but for the counters. */
struct amb_sandbox {
    const char *program;     /* whose main() calls amb_sandbox_serve; "/proc/self/exe" for the own one */
    const char *const *argv; /* NULL-terminated; as the program knows its worker by */
    struct amb_sandbox_counters counters;
};

/**
 * Start one decoder process, see that it locks itself in, end it.
 *
 * Errors: what keeps a sandbox from working here, and where it stopped. Thread: any.
 */
int amb_sandbox_check(const struct amb_codec_limits *limits, struct amb_error *err);

/* Called in the process before it decodes a picture: tests break it from there. */
typedef void (*amb_sandbox_hook)(const uint8_t *data, size_t bytes, void *shared);

/**
 * Be a decoder process: lock in, decode what is asked for until killed.
 *
 * hook:    NULL outside of tests.
 * Returns: an exit status, where this process was not started by a decoder.
 */
int amb_sandbox_serve(amb_sandbox_hook hook);
