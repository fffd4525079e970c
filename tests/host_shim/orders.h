// The thread orders that every test of a kernel goes through, and a repeatable stream of numbers.

#ifndef COP_TESTS_HOST_SHIM_ORDERS_H
#define COP_TESTS_HOST_SHIM_ORDERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static const char *const orders[] = {"forward", "reverse", "random:1", "random:20"};

enum { ORDER_COUNT = sizeof orders / sizeof orders[0] };

static inline void order_set(const char *order)
{
    // NOLINTNEXTLINE(concurrency-mt-unsafe): these tests have one thread
    assert_int_equal(setenv("COP_CUDA_ORDER", order, 1), 0);
}

// Uniform in [-1, 1); `state` is any number, and changes.
static inline float uniform(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state / 2147483648.0f;
}

// An array of exactly `count` floats, so that a sanitizer sees its end; freed by the caller.
static inline float *floats(size_t count)
{
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    return values;
}

static inline float *floats_random(size_t count, uint32_t seed, float scale)
{
    float *values = floats(count);
    for (size_t i = 0; i < count; i++) {
        values[i] = scale * uniform(&seed);
    }
    return values;
}

#endif
