// What the two forms of the norms share: norm.cu keeps rows in registers, norm_wide.cu reads them
// again.

#ifndef COP_KERNELS_CUDA_NORM_CUH
#define COP_KERNELS_CUDA_NORM_CUH

#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/pack.cuh"

enum { NORM_COLS_MAX = 16384 }; // of rows in registers: 512 threads of 4 runs of 8

template <typename X, typename S, typename Y> struct norm_forward {
    X x;
    S residual;
    S sum;
    cop_f32_view gain;
    cop_f32_view bias;
    Y y;
    cop_f32_view stats;
    int64_t rows;
    int64_t cols;
    float eps;
    float shift; // of the gain
    bool is_rms;
};

template <typename X, typename S, typename Y>
norm_forward<X, S, Y> norm_forward_of(const cop_norm_forward_args &args)
{
    return norm_forward<X, S, Y>{cop_as<X>(args.x),
                                 cop_as<S>(args.residual),
                                 cop_as<S>(args.sum),
                                 cop_as<cop_f32_view>(args.gain),
                                 cop_as<cop_f32_view>(args.bias),
                                 cop_as<Y>(args.y),
                                 cop_as<cop_f32_view>(args.stats),
                                 args.x.rows,
                                 args.x.cols,
                                 args.eps,
                                 args.kind == COP_NORM_LAYER_1P ? 1.0f : 0.0f,
                                 args.kind == COP_NORM_RMS};
}

// y of one run from its sums v.
template <typename X, typename S, typename Y, unsigned N>
__device__ void norm_apply(const norm_forward<X, S, Y> &of, int64_t r, int64_t c, float mean,
                           float scale, float (&v)[N])
{
    float gain[N];
    cop_read_row(of.gain, 0, c, of.cols, gain);
    for (unsigned i = 0; i < N; i++) {
        v[i] = (v[i] - mean) * scale * (gain[i] + of.shift);
    }
    if (of.bias.data != NULL) {
        cop_read_row(of.bias, 0, c, of.cols, gain);
        for (unsigned i = 0; i < N; i++) {
            v[i] += gain[i];
        }
    }
    cop_write_row(of.y, r, c, of.cols, v);
}

template <typename X, typename S, typename Y>
__device__ void norm_put_stats(const norm_forward<X, S, Y> &of, int64_t r, float mean, float scale)
{
    if (of.stats.data != NULL) {
        of.stats.data[r * of.stats.stride] = mean;
        of.stats.data[r * of.stats.stride + 1] = scale;
    }
}

// With h = (x - mean) * scale and g = d_y * gain:
//     d_x = scale * (g - mean_c(g) - h * mean_c(g h)),   without mean_c(g) for RMS.
template <typename G, typename S> struct norm_backward {
    G d_y;
    S x;
    S d_x;
    cop_f32_view gain;
    cop_f32_view stats;
    float *gain_partial; // [lines, cols] or NULL
    float *bias_partial;
    int64_t rows;
    int64_t cols;
    float shift;
    bool is_rms;
    bool accumulate;
};

template <typename G, typename S>
norm_backward<G, S> norm_backward_of(const cop_norm_backward_args &args, int64_t lines)
{
    float *partial = static_cast<float *>(args.scratch);
    return norm_backward<G, S>{cop_as<G>(args.d_y),
                               cop_as<S>(args.x),
                               cop_as<S>(args.d_x),
                               cop_as<cop_f32_view>(args.gain),
                               cop_as<cop_f32_view>(args.stats),
                               args.d_gain.data != NULL ? partial : NULL,
                               args.d_bias.data != NULL ? partial + lines * args.x.cols : NULL,
                               args.x.rows,
                               args.x.cols,
                               args.kind == COP_NORM_LAYER_1P ? 1.0f : 0.0f,
                               args.kind == COP_NORM_RMS,
                               args.accumulate};
}

// For any width and alignment: kernels/cuda/norm_wide.cu. The backward pass leaves `lines` lines
// of partial sums in the scratch.
void cop_cuda_norm_forward_wide(const cop_cuda *cuda, cudaStream_t stream,
                                const cop_norm_forward_args *args);
void cop_cuda_norm_backward_wide(const cop_cuda *cuda, cudaStream_t stream,
                                 const cop_norm_backward_args *args, int64_t lines);

#endif
