// What collectives.cu offers to the C tests: one launch that exercises every collective and
// atomic, and one that only asks whether a configuration is accepted.

#ifndef COP_TESTS_HOST_SHIM_COLLECTIVES_H
#define COP_TESTS_HOST_SHIM_COLLECTIVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { COP_LANES = 32 };

// Lane i offers value 3 * i + 1 in the type of each field; predicates are i % 3 == 0.
typedef struct cop_collectives {
    int32_t broadcast_i32[COP_LANES]; // __shfl_sync from lane 5
    float segment_f32[COP_LANES];     // __shfl_sync from lane 9 with width 8: lane 1 of each 8
    double up_f64[COP_LANES];         // __shfl_up_sync by 3
    int64_t down_i64[COP_LANES];      // __shfl_down_sync by 4 with width 16
    uint64_t xor_u64[COP_LANES];      // __shfl_xor_sync by 16
    float xor_segment_f32[COP_LANES]; // __shfl_xor_sync by 8 with width 8
    uint32_t half_u32[COP_LANES];     // __shfl_xor_sync by 1, each half warp with its own mask
    uint32_t ballot[COP_LANES];
    int32_t any_and_all[COP_LANES]; // any + 2 * all of "i % 3 == 0", + 4 * all of "i >= 0"
    int32_t sum_i32[COP_LANES];     // __reduce_add_sync of -i
    int32_t left_alone[COP_LANES];  // __ballot_sync after lanes 0..7 have returned
    float atomic_f32;               // sums over 4 blocks of one warp
    double atomic_f64;
    int32_t atomic_i32;
    uint32_t atomic_u32;
    unsigned long long atomic_u64;
    int32_t atomic_max_i32;
} cop_collectives;

// Fills *out, which is device memory set to zero.
COP_MUST_CHECK cop_status cop_collectives_cuda(cop_collectives *out, cop_error *err);

// Launches an empty kernel; with `is_opted_in` after raising its limit of dynamic shared memory.
COP_MUST_CHECK cop_status cop_launch_probe_cuda(unsigned grid, unsigned block, size_t shared_bytes,
                                                bool is_opted_in, cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
