// Places several arrays in one device block: called once without a block to learn its size, once with.

#ifndef COP_DISTILL_LAYOUT_H
#define COP_DISTILL_LAYOUT_H

#include "kernels/ops.h"

// The next `bytes` bytes of the block at `base` (NULL while counting); `at` moves behind them, aligned.
void *cop_layout_take(char *base, uint64_t *at, uint64_t bytes);

// The same for a dense matrix.
cop_matrix cop_layout_matrix(char *base, uint64_t *at, cop_dtype dtype, int64_t rows, int64_t cols);

// The first `rows` rows of a matrix.
cop_matrix cop_layout_rows(cop_matrix matrix, int64_t rows);

#endif
