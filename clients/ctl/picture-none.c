/*
 * Picture: the build without cairo; says what to install.
 */
#include "clients/ctl/picture.h"

#include <errno.h>

int picture_store(const char *path, const char *title, const char *subtitle, const struct picture_column *columns,
                  uint32_t count, uint32_t per_band, struct amb_error *err) {
    (void)title;
    (void)subtitle;
    (void)columns;
    (void)count;
    (void)per_band;
    return amb_fail(err, -ENOSYS,
                    "cannot write %s: this ambientctl was built without cairo; install libcairo2-dev and build again", path);
}
