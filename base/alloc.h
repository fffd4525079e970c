// The only door to the host heap. Tests close it after n calls to walk every error path.

#ifndef COP_BASE_ALLOC_H
#define COP_BASE_ALLOC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Every block starts at a multiple of this many bytes: a cache line, and an AVX-512 register.
#define COP_ALLOC_ALIGNMENT 64

// Zeroed array of `count` elements, or NULL when memory is exhausted or the size overflows.
// Pages of a large array are only committed when they are first touched.
void *cop_alloc(size_t count, size_t element_bytes);

// Copy of a string, owned by the caller, or NULL when memory is exhausted.
char *cop_alloc_string(const char *text);

// Grows or shrinks an array from cop_alloc(); the new part is NOT zeroed. NULL leaves it as it was.
void *cop_realloc(void *memory, size_t count, size_t element_bytes);

// Releases memory from the functions above. NULL is allowed.
void cop_free(void *memory);

// Test hooks, for single-threaded tests: let `n` further calls succeed and fail all later ones
// (SIZE_MAX lifts the limit); the number of blocks allocated and not yet released.
void cop_alloc_fail_after(size_t n);
size_t cop_alloc_live_blocks(void);

#ifdef __cplusplus
}
#endif

#endif
