/*
 * Png: libpng by its row calls, on memory of the decoder's arena.
 *
 * libpng cannot be reused, so its structures are made for each picture, but from warm memory. Chunks that
 * decide no pixel (text, profiles, times) are skipped unread, so nothing is inflated for them; their CRC
 * still counts.
 *
 * libpng reports errors through png_on_error, which must not return: it jumps to the setjmp in
 * amb_png_decode, whose function holds no variable that changes after it. All state lies in struct png_job.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

#include <png.h>

#include "base/alloc.h"
#include "base/size.h"
#include "codec/decoder.h"
#include "codec/exif.h"

#define PNG_CHUNK_MAX                                                                                        \
    (8u << 20)             /* bytes that a chunk may claim in memory; image data apart (HAZARDS: bombs) */
#define PNG_HEAD_BYTES 33u /* signature, IHDR with its length, name and CRC                             */
#define PNG_SURPLUS_MAX                                                                                      \
    (64u << 10) /* bytes of image data behind the last row; good files have 0 to 10; not tuned  */
#define PNG_CHECK_BYTES                                                                                      \
    (1u << 20) /* of pixels between two looks at the clock; not tuned                        */

struct png_job {
    jmp_buf jump;
    png_structp png;
    png_infop info;
    struct amb_decoder *decoder;
    struct amb_error *err;
    const uint8_t *data;
    size_t bytes, offset;
    uint32_t width, height;
    int n_passes; /* while rows are read, else 0 */
    size_t n_surplus;
    int code;
};

static void png_stop(struct png_job *job, int code) {
    job->code = code;
    longjmp(job->jump, 1);
}

static void png_on_error(png_structp png, png_const_charp message) {
    struct png_job *job = png_get_error_ptr(png);
    int code = AMB_ERR_FORMAT;

    if (strstr(message, "CRC") != NULL ||
        strstr(message, "data check") != NULL) { /* of a chunk, of zlib's stream */
        code = AMB_ERR_CHECKSUM;
    } else if (strstr(message, "emory") != NULL) { /* "Out of memory", "insufficient memory" */
        code = -ENOMEM;
    }
    png_stop(job, amb_fail(job->err, code, "PNG of %zu bytes, damaged before byte %zu: %s", job->bytes,
                           job->offset, message));
}

static void png_on_warning(png_structp png, png_const_charp message) {
    (void)png; /* about chunks that decide no pixel */
    (void)message;
}

static png_voidp png_on_malloc(png_structp png, png_alloc_size_t bytes) {
    struct png_job *job = png_get_mem_ptr(png);
    void *p = amb_arena_acquire(&job->decoder->arena, bytes);

    return p != NULL ? p : amb_malloc(bytes);
}

static void png_on_free(png_structp png, png_voidp p) {
    struct png_job *job = png_get_mem_ptr(png);

    if (!amb_arena_owns(&job->decoder->arena, p)) {
        amb_free(p);
    }
}

/* With its last row libpng inflates whatever image data follow, a thousand bytes for each, only to drop them. */
static void png_check_surplus(struct png_job *job, size_t bytes) {
    bool is_done = job->n_passes == 1 ? png_get_current_row_number(job->png) >= job->height
                                      : png_get_current_pass_number(job->png) >= job->n_passes;

    job->n_surplus += is_done ? bytes : 0;
    if (job->n_surplus > PNG_SURPLUS_MAX) {
        png_stop(job, amb_fail(job->err, AMB_ERR_FORMAT,
                               "PNG of %zu bytes with more than %u of image data behind its last row", job->bytes,
                               PNG_SURPLUS_MAX));
    }
}

static void png_on_read(png_structp png, png_bytep dst, size_t bytes) {
    struct png_job *job = png_get_io_ptr(png);

    if (job->n_passes != 0) {
        png_check_surplus(job, bytes);
    }
    if (!amb_span_ok(job->offset, bytes, job->bytes)) {
        png_stop(job,
                 amb_fail(job->err, AMB_ERR_FORMAT, "PNG of %zu bytes is truncated: wants %zu at byte %zu",
                          job->bytes, bytes, job->offset));
    }
    memcpy(dst, job->data + job->offset, bytes);
    job->offset += bytes;
}

static uint32_t load_u32be(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Size from IHDR, before libpng sees the file: our limits then speak first, and clearly. */
static int png_read_size(struct png_job *job) {
    if (job->bytes < PNG_HEAD_BYTES || memcmp(job->data + 8, "\0\0\0\rIHDR", 8) != 0) {
        return amb_fail(job->err, AMB_ERR_FORMAT, "PNG of %zu bytes does not begin with a whole IHDR chunk",
                        job->bytes);
    }
    job->width = load_u32be(job->data + 16);
    job->height = load_u32be(job->data + 20);
    return amb_decoder_prepare(job->decoder, AMB_CODEC_PNG, job->width, job->height, job->err);
}

/* ---- everything below runs under the setjmp of amb_png_decode ---- */

static void png_open(struct png_job *job) {
    const struct amb_codec_limits *limits = &job->decoder->limits;

    job->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, png_on_error, png_on_warning, job,
                                        png_on_malloc, png_on_free);
    if (job->png == NULL) {
        png_stop(job, amb_fail(job->err, -ENOMEM, "no memory for a PNG decoder"));
    }
    job->info = png_create_info_struct(job->png);
    if (job->info == NULL) {
        png_stop(job, amb_fail(job->err, -ENOMEM, "no memory for a PNG decoder"));
    }
    png_set_read_fn(job->png, job, png_on_read);
    png_set_user_limits(job->png, limits->side_max, limits->side_max);
    png_set_chunk_malloc_max(job->png, PNG_CHUNK_MAX);
    png_set_crc_action(job->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_keep_unknown_chunks(job->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
}

/* Ask for 8-bit grey or RGB; returns the channels. */
static uint32_t png_set_output(struct png_job *job) {
    png_structp png = job->png;
    png_byte type = png_get_color_type(png, job->info), depth = png_get_bit_depth(png, job->info);

    if (depth == 16) {
        png_set_strip_16(png); /* v >> 8 */
    }
    if (type == PNG_COLOR_TYPE_PALETTE) {
        png_set_palette_to_rgb(png);
        png_set_strip_alpha(png);
        return 3;
    }
    if (depth < 8) {
        png_set_expand_gray_1_2_4_to_8(png);
    }
    png_set_strip_alpha(png);
    return type & PNG_COLOR_MASK_COLOR ? 3 : 1;
}

static void png_read_rows_of(struct png_job *job, size_t row_bytes) {
    uint8_t *pixels = job->decoder->pixels.data;
    size_t n_unchecked = 0;

    for (int pass = 0; pass < job->n_passes; pass++) {
        for (uint32_t y = 0; y < job->height; y++) {
            png_read_row(job->png, pixels + y * row_bytes, NULL);
            n_unchecked += row_bytes;
            if (n_unchecked >= PNG_CHECK_BYTES) {
                n_unchecked = 0;
                if (amb_deadline_passed(&job->decoder->deadline)) {
                    png_stop(job, amb_decoder_fail_late(job->decoder, AMB_CODEC_PNG, job->err));
                }
            }
        }
    }
}

static void png_decode(struct amb_picture *out, struct png_job *job) {
    size_t row_bytes;
    int n_passes;

    png_open(job);
    png_read_info(job->png, job->info);
    out->width = job->width;
    out->height = job->height;
    out->channels = png_set_output(job);
    n_passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    row_bytes = (size_t)job->width * out->channels;
    if (png_get_rowbytes(job->png, job->info) != row_bytes) {
        png_stop(job,
                 amb_fail(job->err, AMB_ERR_UNSUPPORTED, "PNG of colour type %d and %d bits",
                          png_get_color_type(job->png, job->info), png_get_bit_depth(job->png, job->info)));
    }
    job->n_passes = n_passes;
    png_read_rows_of(job, row_bytes);
    job->n_passes = 0;
    png_read_end(job->png, NULL); /* the CRC of the last image data, and that IEND is there */
}

int amb_png_decode(struct amb_picture *out, struct amb_decoder *decoder, const uint8_t *data, size_t bytes,
                   struct amb_error *err) {
    struct png_job job = {.decoder = decoder, .err = err, .data = data, .bytes = bytes};
    struct png_job *volatile kept = &job; /* its fields are memory, whatever the jump does to registers */
    int r = png_read_size(&job);

    if (r < 0) {
        return r;
    }
    if (setjmp(kept->jump) == 0) {
        png_decode(out, kept);
        kept->code = 0;
    }
    png_destroy_read_struct(&kept->png, &kept->info, NULL);
    amb_arena_reset(&decoder->arena);
    if (kept->code == 0) {
        out->orientation = amb_exif_from_png(data, bytes);
    }
    return kept->code;
}
