// What tests see of device memory: copies on the host, so that the same test runs on a backend whose
// memory the host cannot reach.

#ifndef COP_TESTS_DEVICE_MEMORY_H
#define COP_TESTS_DEVICE_MEMORY_H

#include <stdlib.h>

#include "kernels/backend.h"
#include "tests/support.h"

// Owned by the caller: free().
static inline void *device_copy(cop_backend *backend, const void *from_dev, size_t bytes)
{
    cop_error err = {0};
    void *copy = malloc(bytes + 1);
    assert_non_null(copy);
    if (cop_backend_to_host(backend, NULL, copy, from_dev, bytes, &err) != COP_OK ||
        cop_backend_synchronize(backend, NULL, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    return copy;
}

// Fails the test when the bytes of two places differ, each on its own backend.
static inline void assert_device_equal(cop_backend *a_backend, const void *a_dev,
                                       cop_backend *b_backend, const void *b_dev, size_t bytes)
{
    void *a = device_copy(a_backend, a_dev, bytes);
    void *b = device_copy(b_backend, b_dev, bytes);
    assert_memory_equal(a, b, bytes);
    free(a);
    free(b);
}

#endif
