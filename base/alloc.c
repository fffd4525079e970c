#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// In front of every block, in a cache line of its own, so that the block stays aligned.
typedef struct block_header {
    void *origin; // what the C library returned
    size_t bytes; // of the block
} block_header;

#if defined(__SANITIZE_ADDRESS__)
#    define LAZY_BYTES SIZE_MAX // blocks end where the C library's do, so that overruns are seen
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define LAZY_BYTES SIZE_MAX
#    endif
#endif
#ifndef LAZY_BYTES
#    define LAZY_BYTES ((size_t)256 << 10)
#endif

enum { HEADER_BYTES = COP_ALLOC_ALIGNMENT };

_Static_assert(sizeof(block_header) <= HEADER_BYTES, "the header has one cache line");

static atomic_size_t calls_left = SIZE_MAX;
static atomic_size_t live_blocks;

static block_header *header_of(void *memory)
{
    return (block_header *)(void *)((char *)memory - HEADER_BYTES);
}

static bool take_call(void)
{
    size_t left = atomic_load(&calls_left);
    if (left == SIZE_MAX) {
        return true;
    }
    if (left == 0) {
        return false;
    }
    atomic_store(&calls_left, left - 1);
    return true;
}

// The first aligned address behind a header at `origin`.
static void *place(void *origin, size_t bytes)
{
    const uintptr_t first = (uintptr_t)origin + HEADER_BYTES;
    const size_t skip = (COP_ALLOC_ALIGNMENT - first % COP_ALLOC_ALIGNMENT) % COP_ALLOC_ALIGNMENT;
    char *memory = (char *)origin + HEADER_BYTES + skip;
    *header_of(memory) = (block_header){.origin = origin, .bytes = bytes};
    return memory;
}

// Small blocks are cleared by hand; for large ones calloc() hands out untouched pages, but knows
// no alignment, so they are placed inside a slightly larger block.
static void *allocate(size_t bytes, bool zeroed)
{
    void *origin = NULL;
    if (bytes >= LAZY_BYTES) {
        origin = calloc(1, bytes + HEADER_BYTES + COP_ALLOC_ALIGNMENT);
    } else if (posix_memalign(&origin, COP_ALLOC_ALIGNMENT, bytes + HEADER_BYTES) != 0) {
        origin = NULL;
    } else if (zeroed) {
        memset(origin, 0, bytes + HEADER_BYTES);
    }
    if (origin == NULL) {
        return NULL;
    }
    atomic_fetch_add(&live_blocks, 1);
    return place(origin, bytes);
}

static bool is_too_large(size_t count, size_t element_bytes)
{
    const size_t limit = PTRDIFF_MAX - HEADER_BYTES - COP_ALLOC_ALIGNMENT;
    return element_bytes != 0 && count > limit / element_bytes;
}

void *cop_alloc(size_t count, size_t element_bytes)
{
    if (!take_call() || is_too_large(count, element_bytes)) {
        return NULL;
    }
    return allocate(count * element_bytes, true);
}

char *cop_alloc_string(const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = cop_alloc(bytes, 1);
    if (copy != NULL) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

// Large blocks are moved by the C library, which remaps pages instead of copying them.
static void *grow_large(void *memory, size_t bytes)
{
    void *origin = header_of(memory)->origin;
    const size_t old_bytes = header_of(memory)->bytes;
    const ptrdiff_t offset = (char *)memory - (char *)origin;

    char *moved = realloc(origin, bytes + HEADER_BYTES + COP_ALLOC_ALIGNMENT);
    if (moved == NULL) {
        return NULL;
    }
    const uintptr_t first = (uintptr_t)moved + HEADER_BYTES;
    const size_t skip = (COP_ALLOC_ALIGNMENT - first % COP_ALLOC_ALIGNMENT) % COP_ALLOC_ALIGNMENT;
    char *target = moved + HEADER_BYTES + skip;
    if (target != moved + offset) {
        memmove(target, moved + offset, old_bytes < bytes ? old_bytes : bytes);
    }
    return place(moved, bytes);
}

void *cop_realloc(void *memory, size_t count, size_t element_bytes)
{
    if (memory == NULL) {
        return cop_alloc(count, element_bytes);
    }
    if (!take_call() || is_too_large(count, element_bytes)) {
        return NULL;
    }
    const size_t bytes = count * element_bytes;
    const size_t old_bytes = header_of(memory)->bytes;
    if (old_bytes >= LAZY_BYTES && bytes >= LAZY_BYTES) {
        return grow_large(memory, bytes);
    }
    void *moved = allocate(bytes, false);
    if (moved != NULL) {
        memcpy(moved, memory, old_bytes < bytes ? old_bytes : bytes);
        cop_free(memory);
    }
    return moved;
}

void cop_free(void *memory)
{
    if (memory != NULL) {
        atomic_fetch_sub(&live_blocks, 1);
        free(header_of(memory)->origin);
    }
}

void cop_alloc_fail_after(size_t n)
{
    atomic_store(&calls_left, n);
}

size_t cop_alloc_live_blocks(void)
{
    return atomic_load(&live_blocks);
}
