/* Page none: this build has no cairo. */
#include <errno.h>

#include "clients/ctl/page.h"

static int page_fail(struct amb_error *err) {
    return amb_fail(err, -ENOSYS, "this ambientctl was built without cairo and draws no pictures; install libcairo2-dev and "
                                  "build again");
}

int page_store_curve(const char *path, const struct page_curve *curve, struct amb_error *err) {
    (void)path;
    (void)curve;
    return page_fail(err);
}

int page_store_grid(const char *path, const struct page_grid *grid, struct amb_error *err) {
    (void)path;
    (void)grid;
    return page_fail(err);
}
