// Sums over the rows of a matrix in two stages, in a fixed order: slices of rows leave a line of
// partial sums each, which are folded. Used by norms and by the gradient of a bias.

#ifndef COP_KERNELS_CUDA_COLUMNS_CUH
#define COP_KERNELS_CUDA_COLUMNS_CUH

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/pack.cuh"

enum { COP_SLICE_WIDTH = 32, COP_SLICE_LANES = 8 }; // threads of a block: columns, rows

// Slices for [rows, cols]: as many as fill the device, each of enough rows.
int64_t cop_cuda_column_slices(const cop_cuda *cuda, int64_t rows, int64_t cols);

// out[c] += the sum of partial[s, c] over s. partial is [slices, cols].
void cop_cuda_fold_columns(cudaStream_t stream, const float *partial, int64_t slices, int64_t cols,
                           float *out);

#endif
