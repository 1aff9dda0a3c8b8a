#pragma once
/* Apply: one stored sample -> its noised fields, written straight into the slot. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/image.h"
#include "base/process.h"

/* Where a field of this sample goes; data NULL: not asked for. Element type f32, f16 or bf16. */
struct amb_noise_out {
    void *data;
    enum amb_dtype dtype;
};

struct amb_noise_job {
    uint32_t channels, height, width; /* of x                                                              */
    bool flip;                        /* mirror rows: outputs are flipped, noise n_i with them, e is not   */

    /* exactly one kind of source, contiguous planes, unflipped */
    const uint8_t *u8;          /* x = u8 / 127.5 - 1                                                */
    const float *mean;          /* latent: x = (mean + std z) * scale[c] + shift[c]                  */
    const float *std;           /* NULL: no own draw                                                 */
    const float *scale, *shift; /* channels floats each; NULL: as they are                           */

    struct amb_process_step step;
    uint64_t fixed_key, fixed_counter; /* n_i: counter = hash of (uid, version)                             */
    uint64_t fresh_key, fresh_counter; /* e: counter = k                                                    */
    uint64_t latent_key, latent_counter; /* z, at the unflipped index                                       */

    struct amb_noise_out x_t, x_tn, x0, noise; /* noise = (x_t - alpha_t x0) / t, e at t = 0                */
    uint8_t *u8_out; /* u8 after the flip; images only                                    */
};

/**
 * Compute every field asked for, each written once, front to back; `data` needs no alignment.
 *
 * Which fields and dtypes are asked for changes no byte of any other. x_t comes from the unrounded f32 x_tn.
 * scratch: grows to 30 KiB at the first call, then is reused.
 * Returns: 0 or -ENOMEM.
 * Thread:  worker; whatever rounding mode or FTZ/DAZ the thread has is set aside meanwhile.
 */
int amb_noise_apply(const struct amb_noise_job *job, struct amb_buf *scratch);
