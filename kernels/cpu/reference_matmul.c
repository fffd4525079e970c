#include "kernels/cpu/reference.h"

void cop_reference_matmul(const cop_matmul_args *args)
{
    const int64_t depth = args->transpose_a ? args->a.rows : args->a.cols;
    for (int64_t r = 0; r < args->c.rows; r++) {
        for (int64_t c = 0; c < args->c.cols; c++) {
            double sum = 0.0;
            for (int64_t k = 0; k < depth; k++) {
                const double a =
                    args->transpose_a ? cop_get(args->a, k, r) : cop_get(args->a, r, k);
                const double b =
                    args->transpose_b ? cop_get(args->b, c, k) : cop_get(args->b, k, c);
                sum += a * b;
            }
            sum *= (double)args->alpha;
            if (args->beta != 0.0F) {
                sum += (double)args->beta * cop_get(args->c, r, c);
            }
            cop_put(args->c, r, c, sum);
        }
    }
}
