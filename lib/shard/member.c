/*
 * Member: names are opaque bytes. They are never used to write a file, and only folder.c opens one by name.
 */
#include "shard/member.h"

#include <string.h>
#include <strings.h>

size_t amb_member_base(const char *name, size_t name_bytes) {
    const char *slash = memrchr(name, '/', name_bytes);

    return slash == NULL ? 0 : (size_t)(slash - name) + 1;
}

size_t amb_member_key(const char *name, size_t name_bytes) {
    size_t base = amb_member_base(name, name_bytes);
    const char *dot = memchr(name + base, '.', name_bytes - base);
    size_t key_bytes;

    if (dot == NULL) {
        return 0;
    }
    key_bytes = (size_t)(dot - name);
    if (key_bytes == base || key_bytes + 1 == name_bytes) {
        return 0;
    }
    if (name_bytes > 4 && memcmp(name, "__", 2) == 0 && memcmp(name + name_bytes - 2, "__", 2) == 0) {
        return 0;
    }
    return key_bytes;
}

bool amb_member_ext_equal(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
    return a_bytes == b_bytes && strncasecmp(a, b, a_bytes) == 0;
}

static bool ext_is_picture(const char *ext, size_t ext_bytes) {
    static const char *const pictures[] = {"png", "jpg", "jpeg", "webp"};

    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
        if (amb_member_ext_equal(ext, ext_bytes, pictures[i], strlen(pictures[i]))) {
            return true;
        }
    }
    return false;
}

enum amb_member_rank amb_member_rank_get(const char *name, size_t name_bytes) {
    size_t key_bytes = amb_member_key(name, name_bytes);
    const char *ext = name + key_bytes + 1, *last;
    size_t ext_bytes, last_bytes;

    if (key_bytes == 0) {
        return AMB_RANK_NONE;
    }
    ext_bytes = name_bytes - key_bytes - 1;
    last = memrchr(ext, '.', ext_bytes);
    last = last == NULL ? ext : last + 1;
    last_bytes = (size_t)(name + name_bytes - last);
    if (ext_is_picture(last, last_bytes)) {
        return last == ext ? AMB_RANK_PICTURE : AMB_RANK_PICTURE_MORE;
    }
    if (amb_member_ext_equal(last, last_bytes, "npy", 3)) {
        const char *base = name + amb_member_base(name, name_bytes);

        return last == ext || strncmp(base, "img", 3) == 0 ? AMB_RANK_ARRAY : AMB_RANK_ARRAY_MORE;
    }
    return AMB_RANK_NONE;
}
