// A stable sort of ids, to bring equal ones together in row order.

#ifndef COP_KERNELS_CUDA_SORT_CUH
#define COP_KERNELS_CUDA_SORT_CUH

#include <stdint.h>

#include "kernels/cuda/launch.h"

// Bytes of scratch to sort n ids in [0, limit); a multiple of 64.
uint64_t cop_cuda_sort_scratch(int64_t n, int64_t limit);

// Sorts ids[n], n >= 1 and below 2^31: *out_ids ascending, *out_rows where each stood, ascending
// among equal ids. Both are borrowed from the scratch.
void cop_cuda_sort_ids(cudaStream_t stream, const int32_t *ids, int64_t n, int64_t limit,
                       void *scratch, const int32_t **out_ids, const int32_t **out_rows);

#endif
