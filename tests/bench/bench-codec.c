/*
 * bench-codec [--quick]: pictures a second on one core, decoding and transform apart.
 *
 * Pictures are made here: waves, edges and a little noise, compressed at quality 90, 4:2:0, by libjpeg; and
 * the stored PNG of EDM's tool by libpng. Times are CPU time of the thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jpeglib.h> /* wants stdio.h before it */
#include <png.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "codec/transform.h"

#define N_PICTURES 16u

enum form {
    FORM_JPEG,
    FORM_PNG,
};

struct bench {
    const char *name;
    enum form form;
    uint32_t width, height;
    enum amb_crop crop;
    enum amb_resample resample;
    uint32_t size;
};

static const struct bench benches[] = {
    {"jpeg 32x32, none", FORM_JPEG, 32, 32, AMB_CROP_NONE, AMB_RESAMPLE_LANCZOS, 32},
    {"jpeg 256x256, none", FORM_JPEG, 256, 256, AMB_CROP_NONE, AMB_RESAMPLE_LANCZOS, 256},
    {"jpeg 512x512, none", FORM_JPEG, 512, 512, AMB_CROP_NONE, AMB_RESAMPLE_LANCZOS, 512},
    {"jpeg 500x375, center-crop lanczos 256", FORM_JPEG, 500, 375, AMB_CROP_CENTER, AMB_RESAMPLE_LANCZOS,
     256},
    {"jpeg 500x375, dhariwal 256", FORM_JPEG, 500, 375, AMB_CROP_CENTER_DHARIWAL, AMB_RESAMPLE_BICUBIC, 256},
    {"jpeg 500x375, shortest+crop bicubic 256", FORM_JPEG, 500, 375, AMB_CROP_SHORTEST, AMB_RESAMPLE_BICUBIC,
     256},
    {"jpeg 1024x768, dhariwal 256", FORM_JPEG, 1024, 768, AMB_CROP_CENTER_DHARIWAL, AMB_RESAMPLE_BICUBIC,
     256},
    {"jpeg 512x512, squash lanczos 256", FORM_JPEG, 512, 512, AMB_CROP_SQUASH, AMB_RESAMPLE_LANCZOS, 256},
    {"png stored 32x32, none", FORM_PNG, 32, 32, AMB_CROP_NONE, AMB_RESAMPLE_LANCZOS, 32},
    {"png stored 256x256, none", FORM_PNG, 256, 256, AMB_CROP_NONE, AMB_RESAMPLE_LANCZOS, 256},
};

static double cpu_seconds(void) {
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void die(const char *what) {
    fprintf(stderr, "bench-codec: %s\n", what);
    exit(1);
}

/* A picture of the kind that photographs are: mostly smooth, some edges, some grain. */
static void paint(uint8_t *pixels, uint32_t width, uint32_t height, uint32_t seed) {
    uint32_t state = seed * 2654435761u + 1;

    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            uint32_t tone = 96 + 64 * ((x * 7 / width + y * 5 / height + seed) % 3);

            for (uint32_t c = 0; c < 3; c++) {
                state = state * 1664525u + 1013904223u;
                *pixels++ = (uint8_t)(tone + (x + (c + 1) * y) * 32 / (width + height) - 8 + (state >> 28));
            }
        }
    }
}

static void encode_jpeg(struct amb_buf *out, const uint8_t *pixels, uint32_t width, uint32_t height) {
    struct jpeg_compress_struct cinfo;
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    unsigned long bytes = 0;

    cinfo.err = jpeg_std_error(&errors);
    jpeg_create_compress(&cinfo);
    jpeg_mem_dest(&cinfo, &data, &bytes);
    cinfo.image_width = width;
    cinfo.image_height = height;
    cinfo.input_components = 3;
    cinfo.in_color_space = JCS_RGB;
    jpeg_set_defaults(&cinfo);
    jpeg_set_quality(&cinfo, 90, TRUE);
    jpeg_start_compress(&cinfo, TRUE);
    for (uint32_t y = 0; y < height; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (size_t)y * width * 3);

        jpeg_write_scanlines(&cinfo, &row, 1);
    }
    jpeg_finish_compress(&cinfo);
    if (amb_buf_push(out, data, bytes) < 0) {
        die("no memory");
    }
    free(data);
    jpeg_destroy_compress(&cinfo);
}

static void png_on_write(png_structp png, png_bytep data, size_t bytes) {
    if (amb_buf_push(png_get_io_ptr(png), data, bytes) < 0) {
        die("no memory");
    }
}

static void encode_png(struct amb_buf *out, const uint8_t *pixels, uint32_t width, uint32_t height) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);

    png_set_write_fn(png, out, png_on_write, NULL);
    png_set_compression_level(png, 0);
    png_set_IHDR(png, info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    png_write_info(png, info);
    for (uint32_t y = 0; y < height; y++) {
        png_write_row(png, pixels + (size_t)y * width * 3);
    }
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
}

static void make(struct amb_buf files[N_PICTURES], const struct bench *bench) {
    uint8_t *pixels = amb_malloc((size_t)bench->width * bench->height * 3);

    if (pixels == NULL) {
        die("no memory");
    }
    for (uint32_t i = 0; i < N_PICTURES; i++) {
        files[i].n_bytes = 0;
        paint(pixels, bench->width, bench->height, i);
        if (bench->form == FORM_JPEG) {
            encode_jpeg(&files[i], pixels, bench->width, bench->height);
        } else {
            encode_png(&files[i], pixels, bench->width, bench->height);
        }
    }
    amb_free(pixels);
}

/* Decode (and transform) every picture once; seconds. */
static double pass(const struct bench *bench, struct amb_buf files[N_PICTURES], struct amb_decoder *decoder,
                   uint8_t *planes, bool transforms) {
    struct amb_transform t = {bench->crop, bench->resample, bench->size, bench->size, 3};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;
    double began = cpu_seconds();

    for (uint32_t i = 0; i < N_PICTURES; i++) {
        if (amb_decoder_decode(&image, decoder, files[i].data, files[i].n_bytes, 3, &err) < 0 ||
            (transforms && amb_transform_apply(planes, &t, &image, decoder, &err) < 0)) {
            die(err.message);
        }
    }
    return cpu_seconds() - began;
}

static void run(const struct bench *bench, struct amb_buf files[N_PICTURES], double seconds) {
    struct amb_decoder *decoder = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t *planes = amb_malloc((size_t)bench->size * bench->size * 3);
    double decode = 1e9, both = 1e9, began;
    uint64_t n_allocs;

    if (planes == NULL || amb_decoder_new(&decoder, &AMB_CODEC_LIMITS_DEFAULT, &err) < 0) {
        die("no memory");
    }
    make(files, bench);
    pass(bench, files, decoder, planes, true);
    n_allocs = amb_alloc_count();
    began = cpu_seconds();
    while (cpu_seconds() - began <
           seconds) { /* the quickest pass: what the code costs, not what the machine does */
        double d = pass(bench, files, decoder, planes, false), b = pass(bench, files, decoder, planes, true);

        decode = d < decode ? d : decode;
        both = b < both ? b : both;
    }
    printf("%-42s %8.0f images/s %9.2f us: decode %3.0f %%, transform %3.0f %%; %llu allocations\n",
           bench->name, N_PICTURES / both, both / N_PICTURES * 1e6, 100 * decode / both,
           100 * (both - decode) / both, (unsigned long long)(amb_alloc_count() - n_allocs));
    fflush(stdout);
    amb_free(planes);
    amb_decoder_free(decoder);
}

int main(int argc, char **argv) {
    bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    struct amb_buf files[N_PICTURES] = {AMB_BUF_NULL};

    printf("%s; one core\n", amb_codec_versions());
    for (size_t i = 0; i < sizeof benches / sizeof benches[0]; i++) {
        run(&benches[i], files, quick ? 0.05 : 1.0);
    }
    for (uint32_t i = 0; i < N_PICTURES; i++) {
        amb_buf_deinit(&files[i]);
    }
    return 0;
}
