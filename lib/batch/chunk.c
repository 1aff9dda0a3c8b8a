/*
 * Chunk: header, entries and their bytes in one anonymous mapping, charged to a budget as whole pages.
 *
 * Mapped rather than allocated, so that giving a chunk back really lowers the memory of the process.
 */
#include "batch/chunk.h"

#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/size.h"

bool amb_budget_acquire(struct amb_budget *budget, size_t bytes) {
    size_t used = atomic_load_explicit(&budget->used_bytes, memory_order_relaxed);

    do {
        if (bytes > budget->capacity_bytes - used) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&budget->used_bytes, &used, used + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

void amb_budget_release(struct amb_budget *budget, size_t bytes) {
    size_t before = atomic_fetch_sub_explicit(&budget->used_bytes, bytes, memory_order_relaxed);

    assert(before >= bytes);
}

/* Bytes of the mapping and, in *data_offset, where the entries' bytes begin. entry_bytes is at most
 * PTRDIFF_MAX. */
static bool chunk_measure(size_t *bytes, size_t *data_offset, size_t entry_bytes, size_t n_entries) {
    size_t payload;

    *data_offset = sizeof(struct amb_chunk) + n_entries * sizeof(struct amb_cache_entry);
    return amb_size_mul(&payload, entry_bytes, n_entries) && amb_size_add(bytes, *data_offset, payload) &&
           amb_size_align(bytes, *bytes, (size_t)sysconf(_SC_PAGESIZE));
}

static struct amb_chunk *chunk_map(size_t bytes, size_t data_offset, size_t entry_bytes, size_t n_entries) {
    struct amb_chunk *chunk = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (chunk == MAP_FAILED) {
        return NULL;
    }
    chunk->bytes = bytes;
    chunk->entry_bytes = entry_bytes;
    chunk->data = (uint8_t *)chunk + data_offset;
    chunk->n_entries = (uint32_t)n_entries;
    for (size_t i = 0; i < n_entries; i++) {
        chunk->entries[i].chunk = chunk;
    }
    return chunk;
}

struct amb_chunk *amb_chunk_new(struct amb_budget *budget, size_t entry_bytes, size_t target_bytes) {
    size_t n_entries = target_bytes / (entry_bytes + sizeof(struct amb_cache_entry));

    assert(entry_bytes != 0 && entry_bytes % AMB_CHUNK_ALIGN == 0 && target_bytes <= UINT32_MAX);
    for (n_entries += n_entries == 0; n_entries != 0; n_entries /= 2) {
        size_t bytes, data_offset;
        struct amb_chunk *chunk;

        if (!chunk_measure(&bytes, &data_offset, entry_bytes, n_entries) ||
            !amb_budget_acquire(budget, bytes)) {
            continue;
        }
        chunk = chunk_map(bytes, data_offset, entry_bytes, n_entries);
        if (chunk != NULL) {
            return chunk;
        }
        amb_budget_release(budget, bytes);
    }
    return NULL;
}

struct amb_chunk *amb_chunk_free(struct amb_chunk *chunk, struct amb_budget *budget) {
    size_t bytes = chunk->bytes;

    munmap(chunk, bytes);
    amb_budget_release(budget, bytes);
    return NULL;
}
