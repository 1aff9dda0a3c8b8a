#pragma once
/* Hash: XXH3 of named words (counter keys) and of byte runs (uids, fingerprints). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 128 bits as 16 bytes, the canonical big-endian form of XXH128, so that hex prints as xxh128sum does. */
struct amb_hash128 {
    uint8_t bytes[16];
};

/* Longest text form: 32 hex digits and the terminator. */
#define AMB_HASH128_TEXT_BYTES 33

/**
 * XXH3-64 of the bytes `purpose`, one zero byte, then each word as 8 little-endian bytes.
 *
 * Every random key and counter of the product comes from here, so equal seeds for different purposes never
 * collide. purpose: at most 31 characters. n_words: at most 8.
 * Thread: any.
 */
uint64_t amb_hash_words(const char *purpose, const uint64_t *words, size_t n_words);

/* XXH3-128 of a byte run. */
struct amb_hash128 amb_hash128_encode(const void *data, size_t bytes);

/**
 * uid of a sample: XXH3-128 of `source` "/" `key`.
 *
 * Returns: the uid; survives re-sharding and reloads because neither path nor position enters it.
 */
struct amb_hash128 amb_hash128_uid(const char *source, const char *key, size_t key_bytes);

/* XXH3-64 of (uid 16 bytes, version u32 little-endian): words 2-3 of the fixed noise's counter. */
uint64_t amb_hash_uid_version(const struct amb_hash128 *uid, uint32_t version);

void amb_hash128_text(char out[AMB_HASH128_TEXT_BYTES], const struct amb_hash128 *hash);
bool amb_hash128_parse(struct amb_hash128 *out, const char *text); /* false: not 32 hex digits */

static inline bool amb_hash128_equal(const struct amb_hash128 *a, const struct amb_hash128 *b) {
    return __builtin_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* Running XXH3-128 for fingerprints; heap object, freed by free. */
struct amb_hasher;
struct amb_hasher *amb_hasher_new(void); /* NULL: out of memory */
struct amb_hasher *amb_hasher_free(struct amb_hasher *hasher);
void amb_hasher_push(struct amb_hasher *hasher, const void *data, size_t bytes);
struct amb_hash128 amb_hasher_get(const struct amb_hasher *hasher);
