/*
 * Hash: the only caller of xxHash, so that every encoding that enters a key or a fingerprint is written once.
 */
#include "base/hash.h"

#include <assert.h>
#include <string.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "base/alloc.h"

static size_t hash_store_word(uint8_t *out, uint64_t word) {
    for (size_t i = 0; i < 8; i++) {
        out[i] = (uint8_t)(word >> (8 * i));
    }
    return 8;
}

uint64_t amb_hash_words(const char *purpose, const uint64_t *words, size_t n_words) {
    uint8_t bytes[32 + 8 * 8];
    size_t n = strlen(purpose) + 1;

    assert(n <= 32 && n_words <= 8);
    memcpy(bytes, purpose, n);
    for (size_t i = 0; i < n_words; i++) {
        n += hash_store_word(bytes + n, words[i]);
    }
    return XXH3_64bits(bytes, n);
}

static struct amb_hash128 hash128_from(XXH128_hash_t hash) {
    struct amb_hash128 out;
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(out.bytes, canonical.digest, sizeof out.bytes);
    return out;
}

struct amb_hash128 amb_hash128_encode(const void *data, size_t bytes) {
    return hash128_from(XXH3_128bits(data, bytes));
}

struct amb_hash128 amb_hash128_uid(const char *source, const char *key, size_t key_bytes) {
    uint8_t text[4096 + 256 + 1]; /* name limit of DESIGN section 9, source names are shorter */
    size_t n = strlen(source);

    assert(n <= 256 && key_bytes <= 4096);
    memcpy(text, source, n);
    text[n++] = '/';
    memcpy(text + n, key, key_bytes);
    return amb_hash128_encode(text, n + key_bytes);
}

uint64_t amb_hash_uid_version(const struct amb_hash128 *uid, uint32_t version) {
    uint8_t bytes[20];

    memcpy(bytes, uid->bytes, 16);
    for (size_t i = 0; i < 4; i++) {
        bytes[16 + i] = (uint8_t)(version >> (8 * i));
    }
    return XXH3_64bits(bytes, sizeof bytes);
}

void amb_hash128_text(char out[AMB_HASH128_TEXT_BYTES], const struct amb_hash128 *hash) {
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < 16; i++) {
        out[2 * i] = digits[hash->bytes[i] >> 4];
        out[2 * i + 1] = digits[hash->bytes[i] & 15];
    }
    out[32] = '\0';
}

static int hash_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return -1;
}

bool amb_hash128_parse(struct amb_hash128 *out, const char *text) {
    struct amb_hash128 hash;

    if (strlen(text) != 32) {
        return false;
    }
    for (size_t i = 0; i < 16; i++) {
        int high = hash_digit(text[2 * i]), low = hash_digit(text[2 * i + 1]);

        if (high < 0 || low < 0) {
            return false;
        }
        hash.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *out = hash;
    return true;
}

struct amb_hasher *amb_hasher_new(void) {
    XXH3_state_t *state = XXH3_createState();

    if (state != NULL) {
        XXH3_128bits_reset(state);
    }
    return (struct amb_hasher *)state;
}

struct amb_hasher *amb_hasher_free(struct amb_hasher *hasher) {
    XXH3_freeState((XXH3_state_t *)hasher);
    return NULL;
}

void amb_hasher_push(struct amb_hasher *hasher, const void *data, size_t bytes) {
    XXH3_128bits_update((XXH3_state_t *)hasher, data, bytes);
}

struct amb_hash128 amb_hasher_get(const struct amb_hasher *hasher) {
    return hash128_from(XXH3_128bits_digest((const XXH3_state_t *)hasher));
}
