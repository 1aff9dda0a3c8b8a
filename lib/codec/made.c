/*
 * Made: encoders in their plainest use; any failure ends the test program.
 */
#include "codec/made.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h> /* wants stdio.h before it */
#include <png.h>
#include <webp/encode.h>

#define SCANS_MAX 1024

static void must(bool ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "made: %s failed\n", what);
        abort();
    }
}

static void push(struct amb_buf *out, const void *data, size_t bytes) {
    must(amb_buf_push(out, data, bytes) == 0, "push");
}

void made_noise(uint8_t *data, size_t bytes, uint32_t seed) {
    uint32_t state = seed * 2654435761u + 12345u;

    for (size_t i = 0; i < bytes; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (uint8_t)(state >> 24);
    }
}

void made_paint(uint8_t *pixels, uint32_t width, uint32_t height, uint32_t channels, uint32_t seed) {
    made_noise(pixels, (size_t)width * height * channels, seed);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            for (uint32_t c = 0; c < channels; c++, pixels++) {
                *pixels = (uint8_t)((*pixels >> 4) + 60 + (c * 40 + x * 3 + y * 2) % 90 +
                                    ((x / 5 + y / 7 + seed) % 3 == 0 ? 80 : 0));
            }
        }
    }
}

static uint8_t *paint_new(uint32_t width, uint32_t height, uint32_t channels) {
    uint8_t *pixels = malloc((size_t)width * height * channels);

    must(pixels != NULL, "malloc");
    made_paint(pixels, width, height, channels, width + height);
    return pixels;
}

/* Every bit of every coefficient of one component in a scan of its own. */
static int scans_set(jpeg_scan_info *scans) {
    int n = 0;

    for (int k = 0; k < 64; k++) {
        for (int bit = 10; bit >= 0; bit--) {
            scans[n++] = (jpeg_scan_info){
                .comps_in_scan = 1, .Ss = k, .Se = k, .Ah = bit == 10 ? 0 : bit + 1, .Al = bit};
        }
    }
    return n;
}

void made_jpeg(struct amb_buf *out, const struct made_jpeg *options) {
    static jpeg_scan_info scans[SCANS_MAX];
    struct jpeg_compress_struct cinfo;
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    unsigned long bytes = 0;
    uint8_t *pixels = paint_new(options->width, options->height, options->channels);

    cinfo.err = jpeg_std_error(&errors);
    jpeg_create_compress(&cinfo);
    jpeg_mem_dest(&cinfo, &data, &bytes);
    cinfo.image_width = options->width;
    cinfo.image_height = options->height;
    cinfo.input_components = (int)options->channels;
    cinfo.in_color_space = options->channels == 1   ? JCS_GRAYSCALE
                           : options->channels == 3 ? JCS_RGB
                                                    : JCS_CMYK;
    jpeg_set_defaults(&cinfo);
    cinfo.restart_interval = options->restart;
    if (options->progressive) {
        jpeg_simple_progression(&cinfo);
    }
    if (options->all_scans) {
        cinfo.num_scans = scans_set(scans);
        cinfo.scan_info = scans;
    }
    jpeg_start_compress(&cinfo, TRUE);
    for (uint32_t y = 0; y < options->height; y++) {
        JSAMPROW row = pixels + (size_t)y * options->width * options->channels;

        jpeg_write_scanlines(&cinfo, &row, 1);
    }
    jpeg_finish_compress(&cinfo);
    jpeg_destroy_compress(&cinfo);
    push(out, data, bytes);
    free(data);
    free(pixels);
}

static void png_on_write(png_structp png, png_bytep data, size_t bytes) {
    push(png_get_io_ptr(png), data, bytes);
}

void made_png(struct amb_buf *out, uint32_t width, uint32_t height, int colour_type, int level,
              bool interlaced) {
    static const uint32_t channels_of[] = {1, 0, 3, 0, 2, 0, 4};
    uint32_t channels = channels_of[colour_type];
    uint8_t *pixels = paint_new(width, height, channels);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    int n_passes;

    png_set_write_fn(png, out, png_on_write, NULL);
    png_set_compression_level(png, level);
    png_set_IHDR(png, info, width, height, 8, colour_type,
                 interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
                 PNG_FILTER_TYPE_BASE);
    png_write_info(png, info);
    n_passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < n_passes; pass++) {
        for (uint32_t y = 0; y < height; y++) {
            png_write_row(png, pixels + (size_t)y * width * channels);
        }
    }
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    free(pixels);
}

static int webp_write(const uint8_t *data, size_t bytes, const WebPPicture *picture) {
    push(picture->custom_ptr, data, bytes);
    return 1;
}

void made_webp(struct amb_buf *out, uint32_t width, uint32_t height, bool lossless) {
    uint8_t *pixels = paint_new(width, height, 3);
    WebPPicture picture;
    WebPConfig config;

    must(WebPConfigPreset(&config, WEBP_PRESET_DEFAULT, lossless ? 70 : 80) && WebPPictureInit(&picture), "WebPConfigPreset");
    config.lossless = lossless;
    config.method = (uint64_t)width * height > 1 << 16 ? 0 : 4; /* the fastest: a large one is about its size */
    picture.use_argb = lossless;
    picture.width = (int)width;
    picture.height = (int)height;
    picture.writer = webp_write;
    picture.custom_ptr = out;
    must(WebPPictureImportRGB(&picture, pixels, (int)width * 3) && WebPEncode(&config, &picture), "WebPEncode");
    WebPPictureFree(&picture);
    free(pixels);
}

void made_npy(struct amb_buf *out, uint32_t height, uint32_t width, uint32_t channels, unsigned version) {
    uint8_t *pixels = paint_new(width, height, channels);
    char text[128];
    uint8_t preamble[12] = "\x93NUMPY";
    int n = channels == 1
                ? snprintf(text, sizeof text,
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (%u, %u), }\n", height, width)
                : snprintf(text, sizeof text,
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (%u, %u, %u), }\n", height,
                           width, channels);

    preamble[6] = (uint8_t)version;
    preamble[8] = (uint8_t)n;
    push(out, preamble, version == 1 ? 10 : 12);
    push(out, text, (size_t)n);
    push(out, pixels, (size_t)height * width * channels);
    free(pixels);
}
