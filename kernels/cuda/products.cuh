// The products of two rows, in f64, and the cosine of their angle.

#ifndef COP_KERNELS_CUDA_PRODUCTS_CUH
#define COP_KERNELS_CUDA_PRODUCTS_CUH

#include "kernels/cuda/pack.cuh"

struct cop_products {
    double xx;
    double xy;
    double yy;
    double squares; // of x - y
};

// The share of one of `lanes` threads.
template <unsigned N>
__device__ cop_products cop_row_products(cop_any x, cop_any y, int64_t r, int64_t cols, int lane,
                                         int lanes)
{
    cop_products sum = {};
    for (int64_t c = static_cast<int64_t>(lane) * N; c < cols;
         c += static_cast<int64_t>(lanes) * N) {
        float a[N];
        float b[N];
        cop_read_row(x, r, c, cols, a);
        cop_read_row(y, r, c, cols, b);
        for (unsigned i = 0; i < N; i++) {
            const double s = static_cast<double>(a[i]);
            const double t = static_cast<double>(b[i]);
            sum.xx += s * s;
            sum.xy += s * t;
            sum.yy += t * t;
            sum.squares += (s - t) * (s - t);
        }
    }
    return sum;
}

// A zero row: 1 when both are, else 0.
__device__ inline double cop_cosine(const cop_products &sum)
{
    if (sum.xx == 0.0 || sum.yy == 0.0) {
        return sum.xx == sum.yy ? 1.0 : 0.0;
    }
    return sum.xy / (sqrt(sum.xx) * sqrt(sum.yy));
}

#endif
