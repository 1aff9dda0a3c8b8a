/*
 * Exif: the walks through each container, on the same bytes; whatever is found is an orientation.
 */
#include "fuzz.h"

#include "codec/exif.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static unsigned (*const walks[])(const uint8_t *, size_t) = {amb_exif_from_tiff, amb_exif_from_jpeg,
                                                                 amb_exif_from_png, amb_exif_from_webp};

    for (size_t i = 0; i < sizeof walks / sizeof walks[0]; i++) {
        unsigned orientation = walks[i](data, bytes);

        FUZZ_REQUIRE(orientation >= 1 && orientation <= 8);
    }
    return 0;
}
