/*
 * Exif: a few bounded walks; nothing is allocated and nothing fails.
 *
 * Orientation is a hint beside the pixels, so a damaged block means "as stored" and never a bad picture. Only
 * the first block, only IFD0 and only tag 0x0112 are looked at; XMP is not read.
 */
#include "codec/exif.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/size.h"

#define TIFF_TAG_ORIENTATION 0x0112u
#define TIFF_TYPE_SHORT      3u

static uint32_t load_be(const uint8_t *p, size_t bytes) {
    uint32_t v = 0;

    for (size_t i = 0; i < bytes; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

static uint32_t load_le(const uint8_t *p, size_t bytes) {
    uint32_t v = 0;

    for (size_t i = bytes; i-- > 0;) {
        v = v << 8 | p[i];
    }
    return v;
}

unsigned amb_exif_from_tiff(const uint8_t *tiff, size_t bytes) {
    uint32_t (*load)(const uint8_t *, size_t);
    uint32_t ifd, n_entries;

    if (bytes < 8) {
        return 1;
    }
    if (memcmp(tiff, "II*\0", 4) == 0) {
        load = load_le;
    } else if (memcmp(tiff, "MM\0*", 4) == 0) {
        load = load_be;
    } else {
        return 1;
    }
    ifd = load(tiff + 4, 4);
    if (!amb_span_ok(ifd, 2, bytes)) {
        return 1;
    }
    n_entries = load(tiff + ifd, 2);
    for (uint32_t i = 0; i < n_entries; i++) {
        uint64_t at = (uint64_t)ifd + 2 + UINT64_C(12) * i;

        if (!amb_span_ok(at, 12, bytes)) {
            return 1;
        }
        if (load(tiff + at, 2) == TIFF_TAG_ORIENTATION) {
            uint32_t value = load(tiff + at + 8, 2);

            return load(tiff + at + 2, 2) == TIFF_TYPE_SHORT && value >= 1 && value <= 8 ? value : 1;
        }
    }
    return 1;
}

unsigned amb_exif_from_jpeg(const uint8_t *data, size_t bytes) {
    size_t at = 2; /* past SOI */

    while (amb_span_ok(at, 4, bytes) && data[at] == 0xFF) {
        uint8_t marker = data[at + 1];
        size_t length;

        if (marker == 0xFF) { /* fill byte */
            at++;
            continue;
        }
        if (marker == 0xDA || marker == 0xD9 || marker == 0xD8 || marker < 0xC0) {
            return 1;
        }
        length = load_be(data + at + 2, 2); /* counts itself */
        if (length < 2 || !amb_span_ok(at + 2, length, bytes)) {
            return 1;
        }
        if (marker == 0xE1 && length >= 8 && memcmp(data + at + 4, "Exif\0", 5) == 0) {
            return amb_exif_from_tiff(data + at + 10, length - 8);
        }
        at += 2 + length;
    }
    return 1;
}

unsigned amb_exif_from_png(const uint8_t *data, size_t bytes) {
    size_t at = 8; /* past the signature */

    while (amb_span_ok(at, 12, bytes)) {
        size_t length = load_be(data + at, 4);

        if (!amb_span_ok(at + 12, length, bytes)) {
            return 1;
        }
        if (memcmp(data + at + 4, "eXIf", 4) == 0) {
            return amb_exif_from_tiff(data + at + 8, length);
        }
        at += 12 + length;
    }
    return 1;
}

unsigned amb_exif_from_webp(const uint8_t *data, size_t bytes) {
    size_t at = 12; /* past RIFF, size, WEBP */

    while (amb_span_ok(at, 8, bytes)) {
        size_t length = load_le(data + at + 4, 4);

        if (!amb_span_ok(at + 8, length, bytes)) {
            return 1;
        }
        if (memcmp(data + at, "EXIF", 4) == 0) {
            bool prefixed = length >= 6 && memcmp(data + at + 8, "Exif\0", 5) == 0; /* as some writers do */
            size_t skip = prefixed ? 6 : 0;

            return amb_exif_from_tiff(data + at + 8 + skip, length - skip);
        }
        at += 8 + length + (length & 1);
    }
    return 1;
}

void amb_exif_apply(uint8_t *dst, const uint8_t *src, uint32_t width, uint32_t height, uint32_t channels,
                    unsigned orientation) {
    bool swapped = orientation >= 5;
    /* Of the source, where the walk over dst goes from right to left, or from bottom to top. */
    bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    ptrdiff_t pixel = (ptrdiff_t)channels, row = (ptrdiff_t)width * pixel;
    ptrdiff_t along = mirror_x ? -pixel : pixel, down = mirror_y ? -row : row;
    const uint8_t *first =
        src + (mirror_x ? row - pixel : 0) + (mirror_y ? row * ((ptrdiff_t)height - 1) : 0);
    uint32_t out_width = swapped ? height : width, out_height = swapped ? width : height;

    assert(orientation >= 1 && orientation <= 8 && (channels == 1 || channels == 3));
    for (uint32_t y = 0; y < out_height; y++) {
        const uint8_t *p = first + (ptrdiff_t)y * (swapped ? along : down);
        ptrdiff_t step = swapped ? down : along;

        for (uint32_t x = 0; x < out_width; x++, p += step) {
            for (uint32_t c = 0; c < channels; c++) {
                *dst++ = p[c];
            }
        }
    }
}
