#pragma once
/* Cleanup: release by attribute at the end of scope; success is an explicit hand-over. */
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#define AMB_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Take the pointer out of a variable that would be released: *out = amb_steal_ptr(thing); */
#define amb_steal_ptr(p)                                                                                     \
    ({                                                                                                       \
        __typeof__(p) amb_stolen_ = (p);                                                                     \
        (p) = NULL;                                                                                          \
        amb_stolen_;                                                                                         \
    })

static inline int amb_steal_fd(int *fd) {
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

static inline void amb_fd_closep(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
}

static inline void amb_file_closep(FILE **file) {
    if (*file != NULL) {
        fclose(*file);
    }
}
