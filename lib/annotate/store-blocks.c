/*
 * Blocks: uids are hashes, so where a key lies is guessed from its first eight bytes. In a table of 10^8 rows the guess
 * misses by some dozens of blocks, a second one by one. Every third step halves the range instead, so that keys
 * made to cluster cost a logarithm too.
 *
 * Each block read is copied (the file may be cut under us) and its checksum taken, which costs less than the cache
 * misses of the copy: a flipped bit is never served, whenever it flipped.
 */
#include "annotate/store-blocks.h"

#include "base/size.h"
#include "shard/guard.h"

#define BLOCK_CRC_OFFSET (AMB_BLOCK_BYTES - 4)

/* The number enters, so that a block in another's place is damaged too. */
static uint32_t block_crc(const uint8_t block[AMB_BLOCK_BYTES], uint64_t i) {
    uint8_t number[8];

    ambp_store_u64le(number, i);
    return amb_crc32c(amb_crc32c(0, number, sizeof number), block, BLOCK_CRC_OFFSET);
}

void amb_blocks_seal(uint8_t block[AMB_BLOCK_BYTES], uint64_t i) {
    ambp_store_u32le(block + BLOCK_CRC_OFFSET, block_crc(block, i));
}

uint32_t amb_blocks_load(uint8_t block[AMB_BLOCK_BYTES], const struct amb_blocks *blocks, uint64_t i) {
    uint64_t at = blocks->offset + i * AMB_BLOCK_BYTES, left = blocks->n_entries - i * blocks->per_block;

    if (!amb_span_ok(at, AMB_BLOCK_BYTES, blocks->map_bytes) ||
        !amb_guard_copy(block, blocks->map + at, AMB_BLOCK_BYTES, blocks->map, blocks->map_bytes) ||
        ambp_load_u32le(block + BLOCK_CRC_OFFSET) != block_crc(block, i)) {
        return 0;
    }
    return left < blocks->per_block ? (uint32_t)left : blocks->per_block;
}

/* Range of blocks in which the first entry that is not below the key lies, or behind which; and what is loaded. */
struct blocks_search {
    const struct amb_blocks *blocks;
    struct amb_key key;
    uint64_t lo, hi;             /* blocks below lo end below the key, those from hi on begin at or above it */
    uint64_t lo_word, hi_word;   /* first words of keys at these borders */
    uint64_t i_damaged;
    uint8_t block[AMB_BLOCK_BYTES];
    uint32_t n;                  /* entries in it */
};

static uint64_t key_word(const struct amb_key *key) {
    return __builtin_bswap64(ambp_load_u64le(key->uid)); /* keys compare as bytes, first byte first */
}

static struct amb_key search_key(const struct blocks_search *search, uint32_t i) {
    const struct amb_blocks *blocks = search->blocks;

    return amb_key_load(search->block + (size_t)i * blocks->entry_bytes, blocks->entry_bytes, blocks->has_origin);
}

static uint64_t search_guess(const struct blocks_search *search, unsigned step) {
    uint64_t width = search->hi - search->lo, word = key_word(&search->key);

    if (step % 3 == 2 || word <= search->lo_word || search->hi_word <= search->lo_word) {
        return search->lo + (step % 3 == 2 ? width / 2 : 0);
    }
    if (word >= search->hi_word) {
        return search->hi - 1;
    }
    return search->lo + (uint64_t)((__uint128_t)(word - search->lo_word) * width / (search->hi_word - search->lo_word));
}

/* Load the block guessed, or where it is damaged the next good one, or the last good one before; false: none is. */
static bool search_probe(struct blocks_search *search, uint64_t guess, uint64_t *at) {
    for (*at = guess; *at < search->hi; ++*at) {
        search->n = amb_blocks_load(search->block, search->blocks, *at);
        if (search->n != 0) {
            return true;
        }
        search->i_damaged = *at;
    }
    for (*at = guess; *at > search->lo;) {
        --*at;
        search->n = amb_blocks_load(search->block, search->blocks, *at);
        if (search->n != 0) {
            return true;
        }
        search->i_damaged = *at;
    }
    return false;
}

/* First entry of the loaded block that is not below the key. */
static uint32_t search_inside(const struct blocks_search *search) {
    uint32_t lo = 0, hi = search->n;

    while (lo < hi) {
        uint32_t middle = lo + (hi - lo) / 2;
        struct amb_key key = search_key(search, middle);

        if (amb_key_compare(&key, &search->key) < 0) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo;
}

/* *i_block, *i: the first entry that is not below the key, its block loaded; false: there is none that can be read. */
static bool search_run(struct blocks_search *search, uint64_t *i_block, uint32_t *i) {
    for (unsigned step = 0; search->lo < search->hi; step++) {
        uint64_t guess = search_guess(search, step), at;
        struct amb_key first, last;

        if (!search_probe(search, guess, &at)) {
            break;
        }
        first = search_key(search, 0);
        last = search_key(search, search->n - 1);
        if (amb_key_compare(&last, &search->key) < 0) {
            search->lo = at + 1;
            search->lo_word = key_word(&last);
        } else if (amb_key_compare(&first, &search->key) >= 0) {
            search->hi = at < guess ? at : guess;
            search->hi_word = key_word(&first);
        } else {
            *i_block = at;
            *i = search_inside(search);
            return true;
        }
    }
    *i_block = search->hi;
    *i = 0;
    if (search->hi >= amb_blocks_count(search->blocks->n_entries, search->blocks->per_block)) {
        return false;
    }
    search->n = amb_blocks_load(search->block, search->blocks, search->hi);
    if (search->n == 0) {
        search->i_damaged = search->hi;
    }
    return search->n != 0;
}

uint32_t amb_blocks_find(uint8_t *out, uint32_t n_max, uint64_t *i_damaged, const struct amb_blocks *blocks,
                         const uint8_t uid[16], uint32_t version) {
    struct blocks_search search;
    uint64_t i_block, n_blocks = amb_blocks_count(blocks->n_entries, blocks->per_block);
    uint32_t i, n = 0;
    bool found;

    search.blocks = blocks;
    search.key = (struct amb_key){.version = version};
    memcpy(search.key.uid, uid, 16);
    search.lo = 0;
    search.hi = n_blocks;
    search.lo_word = 0;
    search.hi_word = UINT64_MAX;
    search.i_damaged = UINT64_MAX;
    for (found = search_run(&search, &i_block, &i); found && n < n_max; i++) {
        const uint8_t *entry;

        if (i == search.n) {
            if (++i_block == n_blocks) {
                break;
            }
            search.n = amb_blocks_load(search.block, blocks, i_block);
            if (search.n == 0) {
                search.i_damaged = i_block;
                break;
            }
            i = 0;
        }
        entry = search.block + (size_t)i * blocks->entry_bytes;
        if (memcmp(entry, uid, 16) != 0 || ambp_load_u32le(entry + 16) != version) {
            break;
        }
        memcpy(out + (size_t)n++ * blocks->entry_bytes, entry, blocks->entry_bytes);
    }
    *i_damaged = search.i_damaged;
    return n;
}

void amb_blocks_cursor_init(struct amb_blocks_cursor *cursor, const struct amb_blocks *blocks) {
    cursor->blocks = blocks;
    cursor->i_block = cursor->n_damaged = 0;
    cursor->i_damaged = UINT64_MAX;
    cursor->i = cursor->n = 0;
}

const uint8_t *amb_blocks_cursor_next(struct amb_blocks_cursor *cursor) {
    const struct amb_blocks *blocks = cursor->blocks;

    while (cursor->i == cursor->n) {
        if (cursor->i_block >= amb_blocks_count(blocks->n_entries, blocks->per_block)) {
            return NULL;
        }
        cursor->i = 0;
        cursor->n = amb_blocks_load(cursor->block, blocks, cursor->i_block);
        if (cursor->n == 0 && cursor->n_damaged++ == 0) {
            cursor->i_damaged = cursor->i_block;
        }
        cursor->i_block++;
    }
    return cursor->block + (size_t)cursor->i++ * blocks->entry_bytes;
}
