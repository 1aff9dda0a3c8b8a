#pragma once
/* Test: what every unit test includes; cmocka with claims as names and a count of open fds. */
#ifdef NDEBUG
#error "tests need asserts: build with b_ndebug=false"
#endif

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

/* TEST(truncated_index_is_refused) { ... }: the name is a claim, the comment inside says how it is proven. */
#define TEST(name) static void name(void **state __attribute__((unused)))

/* Check of a call that must succeed; prints the message of err where it does not. */
#define assert_ok(call, err)                                                                                 \
    do {                                                                                                     \
        int test_r_ = (call);                                                                                \
        if (test_r_ != 0) {                                                                                  \
            fail_msg("%s = %d: %s", #call, test_r_, (err).message);                                          \
        }                                                                                                    \
    } while (0)

/*
 * What long loops go by. 1; or AMBIENTD_TEST_STRIDE where an instrument (valgrind) makes each step dear, and looks at what
 * a step does, not at what thousands of them say together. Only for loops that prove as much of each step either way.
 */
static inline unsigned test_stride(void) {
    const char *stride = getenv("AMBIENTD_TEST_STRIDE");
    unsigned n = stride != NULL ? (unsigned)strtoul(stride, NULL, 10) : 1;

    return n > 0 ? n : 1;
}

static inline int test_count_fds(void) {
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    if (dir == NULL) {
        return -1;
    }
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

/*
 * Run the tests, or only the one that is named on the command line (ready for gdb); open fds before and
 * after must be equal.
 */
#define TEST_MAIN(tests)                                                                                     \
    int main(int argc, char **argv) {                                                                        \
        int n_fds = test_count_fds(), r;                                                                     \
        if (argc > 1) {                                                                                      \
            cmocka_set_test_filter(argv[1]);                                                                 \
        }                                                                                                    \
        r = cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);                                        \
        if (test_count_fds() != n_fds) {                                                                     \
            fprintf(stderr, "open fds: %d before, %d after\n", n_fds, test_count_fds());                     \
            return 1;                                                                                        \
        }                                                                                                    \
        return r;                                                                                            \
    }
