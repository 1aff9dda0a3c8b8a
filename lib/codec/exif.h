#pragma once
/* Exif: the orientation of a picture, found in each container and read from its TIFF block. */
#include <stddef.h>
#include <stdint.h>

/* 1 (as stored) to 8, as TIFF 6.0 numbers them; 1 where there is none, or the block is damaged. Thread: any. */
unsigned amb_exif_from_tiff(const uint8_t *tiff, size_t bytes);
unsigned amb_exif_from_jpeg(const uint8_t *data, size_t bytes); /* APP1 before the first scan */
unsigned amb_exif_from_png(const uint8_t *data, size_t bytes);  /* chunk eXIf                 */
unsigned amb_exif_from_webp(const uint8_t *data, size_t bytes); /* chunk EXIF                 */

/**
 * Permute pixels so that a picture of this orientation stands upright.
 *
 * dst, src: width x height (of src) pixels of `channels` bytes, contiguous; apart from each other.
 *           Orientations 5 to 8 swap the sides: dst has `height` columns then.
 */
void amb_exif_apply(uint8_t *dst, const uint8_t *src, uint32_t width, uint32_t height, uint32_t channels,
                    unsigned orientation);
