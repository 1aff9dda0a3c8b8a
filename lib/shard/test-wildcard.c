#include "test-archive.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>

#include "shard/wildcard.h"

#define N_MAX 65536u

/* What readdir is called with 64 bits of offsets. */
struct dirent *__real_readdir64(DIR *folder);
struct dirent *__wrap_readdir64(DIR *folder);

static unsigned readdir_fails; /* the so many-th call; 0: none */

struct dirent *__wrap_readdir64(DIR *folder) {
    if (readdir_fails > 0 && --readdir_fails == 0) {
        errno = EIO;
        return NULL;
    }
    return __real_readdir64(folder);
}

static char *matched[N_MAX];

struct matches {
    char **paths; /* matched */
    size_t n;
};

static int matches_push(void *opaque, const char *path, struct amb_error *err) {
    struct matches *matches = opaque;

    (void)err;
    assert_true(matches->n < N_MAX);
    matches->paths[matches->n++] = strdup(path);
    return 0;
}

static int matches_compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static uint32_t next(uint32_t *random) {
    *random = *random * 1664525u + 1013904223u;
    return *random >> 16;
}

static void word(char *out, uint32_t *random, const char *alphabet) {
    uint32_t n = 1 + next(random) % 4;

    for (uint32_t i = 0; i < n; i++) {
        out[i] = alphabet[next(random) % strlen(alphabet)];
    }
    out[n] = '\0';
}

/* Below `folder`: a pattern of up to three components, some with a doubled slash. */
static void pattern_draw(char *out, size_t bytes, const char *folder, uint32_t *random) {
    uint32_t n = 1 + next(random) % 3;
    size_t at = (size_t)snprintf(out, bytes, "%s", folder);

    for (uint32_t i = 0; i < n; i++) {
        char text[8];

        word(text, random, "ab.?*[]-\\!");
        text[strlen(text) - 1] = text[strlen(text) - 1] == '\\' ? '?' : text[strlen(text) - 1]; /* glob takes "\/" for "/" */
        at += (size_t)snprintf(out + at, bytes - at, "%s%s", next(random) % 8 == 0 ? "//" : "/", text);
    }
}

/* Random trees and patterns, of names full of what patterns mean something by: glob(3) is asked for the same. */
TEST(matches_are_those_of_glob) {
    const char *whole = test_folder_new(), *folder = test_path(whole, "1/2/3"); /* ".." stays below it */
    uint32_t random = 20261, n_any = 0;

    print_message("seed %u\n", random);
    assert_int_equal(mkdir(test_path(whole, "1"), 0700) | mkdir(test_path(whole, "1/2"), 0700) | mkdir(folder, 0700), 0);
    for (int i = 0; i < 400; i++) {
        char name[8], path[256], below[8];

        word(name, &random, "aab.[]\\-");
        word(below, &random, "ab.");
        if (name[0] == '.' && (name[1] == '\0' || name[1] == '.')) {
            continue;
        }
        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (i % 2 == 0 && mkdir(path, 0700) == 0) {
            snprintf(path, sizeof path, "%s/%s/%s_", folder, name, below);
        }
        close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
    for (int i = 0; i < 1500; i++) {
        struct matches got = {.paths = matched};
        struct amb_error err = AMB_ERROR_NULL;
        glob_t wanted = {0};
        char pattern[128];

        pattern_draw(pattern, sizeof pattern, folder, &random);
        glob(pattern, GLOB_NOSORT, NULL, &wanted);
        assert_ok(amb_wildcard_walk(pattern, matches_push, &got, &err), err);
        qsort(got.paths, got.n, sizeof *got.paths, matches_compare);
        if (wanted.gl_pathc > 0) {
            qsort(wanted.gl_pathv, wanted.gl_pathc, sizeof *wanted.gl_pathv, matches_compare);
        }
        for (size_t k = 0; k < got.n || k < wanted.gl_pathc; k++) {
            if (k >= got.n || k >= wanted.gl_pathc || strcmp(got.paths[k], wanted.gl_pathv[k]) != 0) {
                fail_msg("%s: %s where glob has %s", pattern, k < got.n ? got.paths[k] : "nothing",
                         k < wanted.gl_pathc ? wanted.gl_pathv[k] : "nothing");
            }
        }
        n_any += got.n > 0;
        for (size_t k = 0; k < got.n; k++) {
            free(got.paths[k]);
        }
        globfree(&wanted);
    }
    print_message("%u of 1500 patterns match something\n", n_any);
    assert_true(n_any > 150);
    test_folder_free(whole);
}

/* One call of readdir fails, each in turn: a list that could be a part of the whole is never taken for it. */
TEST(a_folder_that_cannot_be_read_to_its_end_is_an_error) {
    const char *folder = test_folder_new();

    for (int i = 0; i < 5; i++) {
        char name[8];

        snprintf(name, sizeof name, "%d.tar", i);
        test_write(test_path(folder, name), "x", 1);
    }
    for (unsigned at = 1; at <= 8; at++) { /* five, "." and "..", and the end */
        struct matches got = {.paths = matched};
        struct amb_error err = AMB_ERROR_NULL;

        readdir_fails = at;
        assert_int_equal(amb_wildcard_walk(test_path(folder, "*.tar"), matches_push, &got, &err), -EIO);
        assert_non_null(strstr(err.message, folder));
        for (size_t k = 0; k < got.n; k++) {
            free(got.paths[k]);
        }
    }
    readdir_fails = 0;
    test_folder_free(folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(matches_are_those_of_glob),
    cmocka_unit_test(a_folder_that_cannot_be_read_to_its_end_is_an_error),
};

TEST_MAIN(tests)
