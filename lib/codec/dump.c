/*
 * codec-dump FILE CHANNELS [CROP RESAMPLE WIDTH HEIGHT]: decode, transform, write "CHANNELS HEIGHT WIDTH\n"
 * and planes.
 *
 * For comparisons with other decoders (tests/test_codec_pillow.py). Exit status 1: "NAME: message" on stderr.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "codec/transform.h"

static void decoder_freep(struct amb_decoder **decoder) {
    *decoder = amb_decoder_free(*decoder);
}

static int usage(void) {
    fprintf(stderr, "usage: codec-dump FILE CHANNELS [CROP RESAMPLE WIDTH HEIGHT]\n");
    return 2;
}

static int report(const struct amb_error *err) {
    fprintf(stderr, "%s: %s\n", amb_error_name(err->code), err->message);
    return 1;
}

static int file_load(struct amb_buf *buf, const char *path) {
    AMB_CLEANUP(amb_file_closep) FILE *file = fopen(path, "rb");
    uint8_t piece[65536];
    size_t n;

    if (file == NULL) {
        perror(path);
        return -1;
    }
    for (n = fread(piece, 1, sizeof piece, file); n > 0; n = fread(piece, 1, sizeof piece, file)) {
        if (amb_buf_push(buf, piece, n) < 0) {
            return -1;
        }
    }
    return 0;
}

static int transform_parse(struct amb_transform *t, int argc, char **argv) {
    if (argc == 3) {
        return 0;
    }
    if (argc != 7 || !amb_crop_parse(&t->crop, argv[3]) || !amb_resample_parse(&t->resample, argv[4])) {
        return -1;
    }
    t->width = (uint32_t)strtoul(argv[5], NULL, 10);
    t->height = (uint32_t)strtoul(argv[6], NULL, 10);
    if (t->width < 1 || t->width > AMB_CODEC_SIDE_MAX || t->height < 1 || t->height > AMB_CODEC_SIDE_MAX) {
        return -1;
    }
    return 0;
}

static int planes_write(const struct amb_transform *t, const struct amb_buf *planes) {
    printf("%u %u %u\n", t->channels, t->height, t->width);
    return fwrite(planes->data, 1, planes->n_bytes, stdout) == planes->n_bytes && fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    AMB_CLEANUP(decoder_freep) struct amb_decoder *decoder = NULL;
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf data = AMB_BUF_NULL;
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf planes = AMB_BUF_NULL;
    struct amb_transform t = {.crop = AMB_CROP_NONE};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;

    if (argc < 3) {
        return usage();
    }
    t.channels = (uint32_t)strtoul(argv[2], NULL, 10);
    if ((t.channels != 1 && t.channels != 3) || transform_parse(&t, argc, argv) < 0 ||
        file_load(&data, argv[1]) < 0) {
        return usage();
    }
    if (amb_decoder_new(&decoder, &AMB_CODEC_LIMITS_DEFAULT, &err) < 0 ||
        amb_decoder_decode(&image, decoder, data.data, data.n_bytes, t.channels, &err) < 0) {
        return report(&err);
    }
    if (t.width == 0) {
        t.width = image.width;
        t.height = image.height;
    }
    if (amb_buf_reserve(&planes, (size_t)t.width * t.height * t.channels) < 0 ||
        amb_transform_apply(planes.data, &t, &image, decoder, &err) < 0) {
        return report(&err);
    }
    return planes_write(&t, &planes);
}
