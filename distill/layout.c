#include "distill/layout.h"

void *cop_layout_take(char *base, uint64_t *at, uint64_t bytes)
{
    void *memory = base == NULL ? NULL : base + *at;
    *at += (bytes + 255) / 256 * 256;
    return memory;
}

cop_matrix cop_layout_matrix(char *base, uint64_t *at, cop_dtype dtype, int64_t rows, int64_t cols)
{
    const uint64_t bytes = (uint64_t)rows * (uint64_t)cols * cop_dtype_bytes(dtype);
    return cop_matrix_dense(cop_layout_take(base, at, bytes), dtype, rows, cols);
}

cop_matrix cop_layout_rows(cop_matrix matrix, int64_t rows)
{
    return cop_matrix_part(matrix, 0, rows, 0, matrix.cols);
}
