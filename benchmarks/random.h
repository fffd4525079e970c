// Random operands of benchmarks: a linear congruential generator, the same values on every machine.

#ifndef COP_BENCHMARKS_RANDOM_H
#define COP_BENCHMARKS_RANDOM_H

#include "kernels/backend.h"
#include "kernels/ops.h"

// The next 24 bits of a sequence.
static inline uint32_t bench_random(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

// Fills a dense matrix of a backend's memory, f32 or bf16, with values of [-scale, scale): 16 MiB of
// them, repeated. Returns when they are there. COP_ERR_NOMEM, COP_ERR_DEVICE.
COP_MUST_CHECK cop_status bench_random_fill(cop_backend *backend, cop_matrix m, float scale,
                                            uint32_t seed, cop_error *err);

#endif
