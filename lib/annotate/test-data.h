#pragma once
/* Test data: the folder of shared real data, where there is one. */
#include "base/test.h"

#include <unistd.h>

#ifndef TEST_DATA_DEFAULT /* the build says where it lies beside the project */
#define TEST_DATA_DEFAULT "../shared/data"
#endif

/* Path of a file of the folder named by AMBIENTD_TEST_DATA, or of ../shared/data beside the project; in a static
 * buffer. Skips the test, with a reason, where the file is absent. */
static inline const char *test_data_path(const char *name) {
    static char path[4096];
    const char *root = getenv("AMBIENTD_TEST_DATA");

    snprintf(path, sizeof path, "%s/%s", root != NULL ? root : TEST_DATA_DEFAULT, name);
    if (access(path, R_OK) != 0) {
        printf("skipped: no %s; set AMBIENTD_TEST_DATA to the folder of test data\n", path);
        skip();
    }
    return path;
}
