/*
 * Jpeg: libjpeg-turbo, set up once and kept; rows go straight into the decoder's pixels.
 *
 * Fixed choices, so that pixels are those of every careful loader: the accurate integer DCT, fancy
 * upsampling, no scaled decoding.
 *
 * libjpeg reports errors through error_exit, which must not return: it jumps to the setjmp in
 * amb_jpeg_decode, whose function holds no variable that changes after it. All state lies in struct amb_jpeg.
 *
 * Warnings that mean made-up pixels (early end, bad codes, lost restart markers) are errors; those about
 * stray bytes between segments and odd application markers are not: thousands of good files have them.
 *
 * libjpeg leaves its fast Huffman path where fewer than 3 to 5 KB of input remain, which is all of a 32 x 32
 * picture: 30 % of its time. So a small file is copied to where an end marker and zeros follow. What is cut
 * off still shows: data that ends early meets the marker, which is a warning; scans that are missing, by
 * where the input was read to.
 *
 * Memory of one picture comes from the decoder's arena: libjpeg's memory manager is a table of methods, and
 * those that serve the pool of one image are replaced. Virtual arrays (progressive files) stay the library's.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/size.h"
#include "codec/colour.h"
#include "codec/decoder.h"
#include "codec/exif.h"

#define JPEG_SOS         0xDA
#define JPEG_ROWS        4u  /* of one call; a library row group has at most 4 */
#define JPEG_CHECK_CALLS 32u /* of the progress monitor between two looks at the clock; not tuned */
#define JPEG_PIXEL_BYTES 8u  /* of coefficients: four components of 16 bits */
#define JPEG_PAD_BYTES 5120u  /* jdhuff.c: the fast path wants 512 for each of the 10 blocks of an MCU */
#define JPEG_PAD_UNTIL 65536u /* a larger file spends little of its time in its last 5 KB; not tuned */
#define JPEG_ROW_ALIGN 64u    /* the library's SIMD code writes whole vectors: twice its 32 bytes */

struct amb_jpeg {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    struct jpeg_memory_mgr library; /* the methods that ours stand before */
    struct amb_buf input;           /* a small file and its padding */
    jmp_buf jump;

    /* of the picture at hand; borrowed */
    struct amb_decoder *decoder;
    struct amb_error *err;
    size_t n_bytes;
    size_t n_left; /* of padding behind the file, 0 where it is read in place */
    unsigned n_calls;
    int code;
};

/* ---- errors ---- */

static int jpeg_code(int message) {
    switch (message) {
    case JERR_OUT_OF_MEMORY:
        return -ENOMEM;
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_NOT_COMPILED:
    case JERR_ARITH_NOTIMPL:
        return AMB_ERR_UNSUPPORTED;
    case JERR_IMAGE_TOO_BIG:
    case JERR_NO_BACKING_STORE:
    case JERR_WIDTH_OVERFLOW:
        return AMB_ERR_LIMIT;
    default:
        return AMB_ERR_FORMAT;
    }
}

static void jpeg_on_error(j_common_ptr cinfo) {
    struct amb_jpeg *jpeg = cinfo->client_data;
    char message[JMSG_LENGTH_MAX];

    (*cinfo->err->format_message)(cinfo, message);
    jpeg->code =
        amb_fail(jpeg->err, jpeg_code(cinfo->err->msg_code), "JPEG of %zu bytes: %s", jpeg->n_bytes, message);
    longjmp(jpeg->jump, 1);
}

static void jpeg_on_message(j_common_ptr cinfo, int level) {
    if (level >= 0) {
        return; /* trace */
    }
    switch (cinfo->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_BOGUS_ICC:
        return;
    default:
        jpeg_on_error(cinfo);
    }
}

static void jpeg_on_output(j_common_ptr cinfo) {
    (void)cinfo; /* lib/ never logs */
}

static void jpeg_on_progress(j_common_ptr common) {
    struct amb_jpeg *jpeg = common->client_data;
    unsigned n_scans = (unsigned)jpeg->cinfo.input_scan_number;

    if (n_scans > jpeg->decoder->limits.scans_max) {
        jpeg->code = amb_fail(jpeg->err, AMB_ERR_LIMIT, "JPEG with more than %u scans",
                              jpeg->decoder->limits.scans_max);
        longjmp(jpeg->jump, 1);
    }
    if (++jpeg->n_calls % JPEG_CHECK_CALLS == 0 && amb_deadline_passed(&jpeg->decoder->deadline)) {
        jpeg->code = amb_decoder_fail_late(jpeg->decoder, AMB_CODEC_JPEG, jpeg->err);
        longjmp(jpeg->jump, 1);
    }
}

/* ---- memory of one picture ---- */

static void *jpeg_acquire(j_common_ptr cinfo, int pool_id, size_t bytes) {
    struct amb_jpeg *jpeg = cinfo->client_data;

    return pool_id == JPOOL_IMAGE ? amb_arena_acquire(&jpeg->decoder->arena, bytes) : NULL;
}

static void *jpeg_alloc_small(j_common_ptr cinfo, int pool_id, size_t bytes) {
    struct amb_jpeg *jpeg = cinfo->client_data;
    void *p = jpeg_acquire(cinfo, pool_id, bytes);

    return p != NULL ? p : jpeg->library.alloc_small(cinfo, pool_id, bytes);
}

static void *jpeg_alloc_large(j_common_ptr cinfo, int pool_id, size_t bytes) {
    struct amb_jpeg *jpeg = cinfo->client_data;
    void *p = jpeg_acquire(cinfo, pool_id, bytes);

    return p != NULL ? p : jpeg->library.alloc_large(cinfo, pool_id, bytes);
}

/* Row pointers and rows as one block; NULL where the arena has no room. */
static void **jpeg_acquire_rows(j_common_ptr cinfo, int pool_id, size_t row_bytes, size_t n_rows) {
    size_t pointers_bytes = (n_rows * sizeof(void *) + JPEG_ROW_ALIGN - 1) & ~(size_t)(JPEG_ROW_ALIGN - 1);
    uint8_t *p = jpeg_acquire(cinfo, pool_id, pointers_bytes + row_bytes * n_rows);
    void **rows = (void **)(void *)p;

    for (size_t i = 0; p != NULL && i < n_rows; i++) {
        rows[i] = p + pointers_bytes + i * row_bytes;
    }
    return rows;
}

static JSAMPARRAY jpeg_alloc_sarray(j_common_ptr cinfo, int pool_id, JDIMENSION row_samples,
                                    JDIMENSION n_rows) {
    struct amb_jpeg *jpeg = cinfo->client_data;
    size_t row_bytes = ((size_t)row_samples + JPEG_ROW_ALIGN - 1) & ~(size_t)(JPEG_ROW_ALIGN - 1);
    void **rows = jpeg_acquire_rows(cinfo, pool_id, row_bytes, n_rows);

    return rows != NULL ? (JSAMPARRAY)rows : jpeg->library.alloc_sarray(cinfo, pool_id, row_samples, n_rows);
}

static JBLOCKARRAY jpeg_alloc_barray(j_common_ptr cinfo, int pool_id, JDIMENSION row_blocks,
                                     JDIMENSION n_rows) {
    struct amb_jpeg *jpeg = cinfo->client_data;
    void **rows = jpeg_acquire_rows(cinfo, pool_id, row_blocks * sizeof(JBLOCK), n_rows);

    return rows != NULL ? (JBLOCKARRAY)rows : jpeg->library.alloc_barray(cinfo, pool_id, row_blocks, n_rows);
}

static void jpeg_free_pool(j_common_ptr cinfo, int pool_id) {
    struct amb_jpeg *jpeg = cinfo->client_data;

    if (pool_id == JPOOL_IMAGE) {
        amb_arena_reset(&jpeg->decoder->arena);
    }
    jpeg->library.free_pool(cinfo, pool_id);
}

static void jpeg_take_memory(struct amb_jpeg *jpeg) {
    struct jpeg_memory_mgr *mem = jpeg->cinfo.mem;

    jpeg->library = *mem;
    mem->alloc_small = jpeg_alloc_small;
    mem->alloc_large = jpeg_alloc_large;
    mem->alloc_sarray = jpeg_alloc_sarray;
    mem->alloc_barray = jpeg_alloc_barray;
    mem->free_pool = jpeg_free_pool;
}

/* ---- life ---- */

static int jpeg_new(struct amb_jpeg **out, struct amb_decoder *decoder, struct amb_error *err) {
    struct amb_jpeg *jpeg = amb_calloc(1, sizeof *jpeg);

    if (jpeg == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a JPEG decoder");
    }
    jpeg->decoder = decoder;
    jpeg->err = err;
    jpeg->cinfo.client_data = jpeg;
    jpeg->cinfo.err = jpeg_std_error(&jpeg->errors);
    jpeg->errors.error_exit = jpeg_on_error;
    jpeg->errors.emit_message = jpeg_on_message;
    jpeg->errors.output_message = jpeg_on_output;
    if (setjmp(jpeg->jump) != 0) {
        int code = jpeg->code;

        jpeg_destroy_decompress(&jpeg->cinfo);
        amb_free(jpeg);
        return code;
    }
    jpeg_create_decompress(&jpeg->cinfo);
    jpeg_take_memory(jpeg);
    jpeg->progress.progress_monitor = jpeg_on_progress;
    jpeg->cinfo.progress = &jpeg->progress;
    *out = jpeg;
    return 0;
}

struct amb_jpeg *amb_jpeg_free(struct amb_jpeg *jpeg) {
    if (jpeg != NULL) {
        jpeg_destroy_decompress(&jpeg->cinfo);
        amb_buf_deinit(&jpeg->input);
        amb_free(jpeg);
    }
    return NULL;
}

/* ---- one picture; everything below runs under the setjmp of amb_jpeg_decode ---- */

static void jpeg_stop(struct amb_jpeg *jpeg, int code) {
    jpeg->code = code;
    longjmp(jpeg->jump, 1);
}

static void jpeg_read_rows(struct amb_jpeg *jpeg, uint8_t *pixels, size_t row_bytes) {
    struct jpeg_decompress_struct *cinfo = &jpeg->cinfo;
    JSAMPROW rows[JPEG_ROWS];

    while (cinfo->output_scanline < cinfo->output_height) {
        for (size_t i = 0; i < JPEG_ROWS; i++) { /* the library writes no row past output_height */
            rows[i] = pixels + (cinfo->output_scanline + i) * row_bytes;
        }
        jpeg_read_scanlines(cinfo, rows, JPEG_ROWS);
    }
}

static void jpeg_read_cmyk(struct amb_jpeg *jpeg, uint8_t *pixels, uint32_t width) {
    struct jpeg_decompress_struct *cinfo = &jpeg->cinfo;
    JSAMPROW row;

    if (amb_buf_reserve(&jpeg->decoder->row, (size_t)width * 4) < 0) {
        jpeg_stop(jpeg, amb_fail(jpeg->err, -ENOMEM, "no memory for a row of %u pixels", width));
    }
    row = jpeg->decoder->row.data;
    while (cinfo->output_scanline < cinfo->output_height) {
        uint8_t *dst = pixels + (size_t)cinfo->output_scanline * width * 3;

        jpeg_read_scanlines(cinfo, &row, 1);
        amb_colour_cmyk(dst, row, width);
    }
}

static J_COLOR_SPACE jpeg_choose_space(struct amb_jpeg *jpeg) {
    switch (jpeg->cinfo.jpeg_color_space) {
    case JCS_GRAYSCALE:
        return JCS_GRAYSCALE;
    case JCS_RGB:
    case JCS_YCbCr:
        return JCS_RGB;
    case JCS_CMYK:
    case JCS_YCCK:
        return JCS_CMYK;
    default:
        jpeg_stop(jpeg, amb_fail(jpeg->err, AMB_ERR_UNSUPPORTED,
                                 "JPEG of %d components; allowed are grey (1), colour (3) and CMYK (4)",
                                 jpeg->cinfo.num_components));
        return JCS_UNKNOWN; /* not reached */
    }
}

static void jpeg_set_input(struct amb_jpeg *jpeg, const uint8_t *data, size_t bytes) {
    uint8_t *padded;

    jpeg->n_left = 0;
    if (bytes > JPEG_PAD_UNTIL || amb_buf_reserve(&jpeg->input, bytes + JPEG_PAD_BYTES) < 0) {
        jpeg_mem_src(&jpeg->cinfo, data, bytes);
        return;
    }
    padded = jpeg->input.data;
    memcpy(padded, data, bytes);
    memset(padded + bytes, 0, JPEG_PAD_BYTES);
    padded[bytes] = 0xFF;
    padded[bytes + 1] = JPEG_EOI;
    jpeg->n_left = JPEG_PAD_BYTES;
    jpeg_mem_src(&jpeg->cinfo, padded, bytes + JPEG_PAD_BYTES);
}

static size_t load_u16be(const uint8_t *p) {
    return (size_t)p[0] << 8 | p[1];
}

/* Scans of a file, counted by its markers: a picture of many scans is refused before its first is decoded. */
static unsigned jpeg_count_scans(const uint8_t *data, size_t bytes) {
    const uint8_t *p = data, *end = data + bytes;
    unsigned n = 0;

    while (end - p >= 4) {
        p = memchr(p, 0xFF, (size_t)(end - p - 3));
        if (p == NULL || p[1] == JPEG_EOI) {
            break;
        }
        if (p[1] == 0xFF) { /* a fill byte */
            p++;
        } else if (p[1] < 0xC0 || (p[1] >= JPEG_RST0 && p[1] <= 0xD8)) { /* inside a scan; SOI */
            p += 2;
        } else {
            n += p[1] == JPEG_SOS;
            p += 2;
            p += amb_size_min(load_u16be(p), (size_t)(end - p));
        }
    }
    return n;
}

static void jpeg_check_scans(struct amb_jpeg *jpeg, const uint8_t *data, size_t bytes) {
    unsigned scans_max = jpeg->decoder->limits.scans_max, n = jpeg_count_scans(data, bytes);

    if (n > scans_max) {
        jpeg_stop(jpeg, amb_fail(jpeg->err, AMB_ERR_LIMIT, "JPEG of %u scans, allowed are %u", n, scans_max));
    }
}

/* All scans have been read, up to an end marker: it must be the file's own. */
static void jpeg_check_end(struct amb_jpeg *jpeg) {
    if (jpeg->cinfo.src->bytes_in_buffer < jpeg->n_left) {
        jpeg_stop(jpeg, amb_fail(jpeg->err, AMB_ERR_FORMAT, "JPEG of %zu bytes: Premature end of JPEG file",
                                 jpeg->n_bytes));
    }
}

static void jpeg_decode(struct amb_picture *out, struct amb_jpeg *jpeg, const uint8_t *data, size_t bytes) {
    struct jpeg_decompress_struct *cinfo = &jpeg->cinfo;
    struct amb_decoder *decoder = jpeg->decoder;
    int r;

    jpeg_set_input(jpeg, data, bytes);
    jpeg_read_header(cinfo, TRUE);
    r = amb_decoder_prepare(decoder, AMB_CODEC_JPEG, cinfo->image_width, cinfo->image_height, jpeg->err);
    if (r < 0) {
        jpeg_stop(jpeg, r);
    }
    cinfo->out_color_space = jpeg_choose_space(jpeg);
    cinfo->dct_method = JDCT_ISLOW;
    cinfo->do_fancy_upsampling = TRUE;
    /* Coefficients of a progressive picture, 2 bytes each; more than four full components are no picture. */
    cinfo->mem->max_memory_to_use =
        (long)amb_size_min(LONG_MAX, JPEG_PIXEL_BYTES * decoder->limits.pixels_max);
    if (jpeg_has_multiple_scans(cinfo)) {
        jpeg_check_scans(jpeg, data, bytes);
    }
    jpeg_start_decompress(cinfo);
    if (jpeg_has_multiple_scans(cinfo)) {
        jpeg_check_end(jpeg);
    }
    out->width = cinfo->output_width;
    out->height = cinfo->output_height;
    if (cinfo->out_color_space == JCS_CMYK) {
        out->channels = 3;
        jpeg_read_cmyk(jpeg, decoder->pixels.data, out->width);
    } else {
        out->channels = cinfo->out_color_space == JCS_GRAYSCALE ? 1 : 3;
        jpeg_read_rows(jpeg, decoder->pixels.data, (size_t)out->width * out->channels);
    }
    jpeg_abort_decompress(cinfo); /* every row is there; what follows the last scan is no business of ours */
}

int amb_jpeg_decode(struct amb_picture *out, struct amb_decoder *decoder, const uint8_t *data, size_t bytes,
                    struct amb_error *err) {
    struct amb_jpeg *jpeg = decoder->jpeg;

    if (jpeg == NULL) {
        int r = jpeg_new(&decoder->jpeg, decoder, err);

        if (r < 0) {
            return r;
        }
        return amb_jpeg_decode(out, decoder, data, bytes, err);
    }
    jpeg->err = err;
    jpeg->n_bytes = bytes;
    jpeg->n_calls = 0;
    if (setjmp(jpeg->jump) != 0) {
        jpeg_abort_decompress(&jpeg->cinfo);
        return jpeg->code;
    }
    jpeg_decode(out, jpeg, data, bytes);
    out->orientation = amb_exif_from_jpeg(data, bytes);
    return 0;
}
