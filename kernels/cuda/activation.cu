// Activations, gated and plain, forward and backward. Runs are read before they are written, so
// that outputs may lie on inputs.

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pack.cuh"

namespace {

constexpr float SQRT_HALF = 0.70710678118654752440f;
constexpr float SQRT_2_OVER_PI = 0.79788456080286535588f;
constexpr float INV_SQRT_2PI = 0.39894228040143267794f;
constexpr float GELU_CUBIC = 0.044715f;

struct value_slope {
    float value;
    float slope;
};

// The unused half is dropped by the compiler.
template <cop_activation KIND> __device__ inline value_slope activate(float x)
{
    if constexpr (KIND == COP_ACTIVATION_SILU) {
        const float s = 1.0f / (1.0f + expf(-x));
        return value_slope{x * s, s * (1.0f + x * (1.0f - s))};
    } else if constexpr (KIND == COP_ACTIVATION_RELU2) {
        const float positive = fmaxf(x, 0.0f);
        return value_slope{positive * positive, 2.0f * positive};
    } else if constexpr (KIND == COP_ACTIVATION_GELU) {
        const float phi = 0.5f * (1.0f + erff(x * SQRT_HALF));
        return value_slope{x * phi, phi + x * INV_SQRT_2PI * expf(-0.5f * x * x)};
    } else {
        const float t = tanhf(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x));
        const float inner = SQRT_2_OVER_PI * (1.0f + 3.0f * GELU_CUBIC * x * x);
        return value_slope{0.5f * x * (1.0f + t),
                           0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner};
    }
}

template <cop_activation KIND, typename M, unsigned N>
__global__ void forward_kernel(M gate, M up, M y, cop_span span)
{
    for (int64_t i = cop_thread(); i < span.count; i += cop_threads()) {
        const cop_place at = cop_place_of(span, i);
        float u[N];
        float g[N];
        cop_read_row(up, at.row, at.col, span.cols, u);
        if (gate.data != NULL) {
            cop_read_row(gate, at.row, at.col, span.cols, g);
            for (unsigned j = 0; j < N; j++) {
                u[j] *= activate<KIND>(g[j]).value;
            }
        } else {
            for (unsigned j = 0; j < N; j++) {
                u[j] = activate<KIND>(u[j]).value;
            }
        }
        cop_write_row(y, at.row, at.col, span.cols, u);
    }
}

template <typename M> struct gradients {
    M gate;
    M up;
    M d_y;
    M d_gate;
    M d_up;
};

template <cop_activation KIND, typename M, unsigned N>
__global__ void backward_kernel(gradients<M> of, cop_span span)
{
    for (int64_t i = cop_thread(); i < span.count; i += cop_threads()) {
        const cop_place at = cop_place_of(span, i);
        float u[N];
        float d[N];
        cop_read_row(of.up, at.row, at.col, span.cols, u);
        cop_read_row(of.d_y, at.row, at.col, span.cols, d);
        if (of.gate.data != NULL) {
            float g[N];
            cop_read_row(of.gate, at.row, at.col, span.cols, g);
            for (unsigned j = 0; j < N; j++) {
                const value_slope act = activate<KIND>(g[j]);
                g[j] = d[j] * u[j] * act.slope;
                d[j] *= act.value;
            }
            cop_write_row(of.d_gate, at.row, at.col, span.cols, g);
        } else {
            for (unsigned j = 0; j < N; j++) {
                d[j] *= activate<KIND>(u[j]).slope;
            }
        }
        cop_write_row(of.d_up, at.row, at.col, span.cols, d);
    }
}

template <cop_activation KIND, typename M, unsigned N>
void launch_forward(const cop_cuda *cuda, cudaStream_t stream,
                    const cop_activation_forward_args &args)
{
    const cop_span span = cop_span_of(args.up.rows, args.up.cols, N);
    COP_LAUNCH((forward_kernel<KIND, M, N>), cop_span_grid(span, cuda->multiprocessors),
               COP_PACK_THREADS, 0, stream, cop_as<M>(args.gate), cop_as<M>(args.up),
               cop_as<M>(args.y), span);
}

template <cop_activation KIND, typename M, unsigned N>
void launch_backward(const cop_cuda *cuda, cudaStream_t stream,
                     const cop_activation_backward_args &args)
{
    const cop_span span = cop_span_of(args.up.rows, args.up.cols, N);
    const gradients<M> of = {cop_as<M>(args.gate), cop_as<M>(args.up), cop_as<M>(args.d_y),
                             cop_as<M>(args.d_gate), cop_as<M>(args.d_up)};
    COP_LAUNCH((backward_kernel<KIND, M, N>), cop_span_grid(span, cuda->multiprocessors),
               COP_PACK_THREADS, 0, stream, of, span);
}

template <cop_activation KIND>
void forward(const cop_cuda *cuda, cudaStream_t stream, const cop_activation_forward_args &args)
{
    const bool is_half =
        cop_is(args.gate, COP_BF16) && cop_is(args.up, COP_BF16) && cop_is(args.y, COP_BF16);
    if (!cop_takes_packs(args.gate) || !cop_takes_packs(args.up) || !cop_takes_packs(args.y)) {
        launch_forward<KIND, cop_any, 1>(cuda, stream, args);
    } else if (is_half) {
        launch_forward<KIND, cop_bf16_view, COP_PACK>(cuda, stream, args);
    } else {
        launch_forward<KIND, cop_any, COP_PACK>(cuda, stream, args);
    }
}

template <cop_activation KIND>
void backward(const cop_cuda *cuda, cudaStream_t stream, const cop_activation_backward_args &args)
{
    const bool is_half = cop_is(args.gate, COP_BF16) && cop_is(args.up, COP_BF16) &&
                         cop_is(args.d_y, COP_BF16) && cop_is(args.d_gate, COP_BF16) &&
                         cop_is(args.d_up, COP_BF16);
    const bool is_packed = cop_takes_packs(args.gate) && cop_takes_packs(args.up) &&
                           cop_takes_packs(args.d_y) && cop_takes_packs(args.d_gate) &&
                           cop_takes_packs(args.d_up);
    if (!is_packed) {
        launch_backward<KIND, cop_any, 1>(cuda, stream, args);
    } else if (is_half) {
        launch_backward<KIND, cop_bf16_view, COP_PACK>(cuda, stream, args);
    } else {
        launch_backward<KIND, cop_any, COP_PACK>(cuda, stream, args);
    }
}

} // namespace

cop_status cop_cuda_activation_forward(cop_cuda *cuda, cudaStream_t stream,
                                       const cop_activation_forward_args *args, cop_error *err)
{
    cop_activation_forward_args a = *args;
    if (a.up.rows == 0 || a.up.cols == 0) {
        return COP_OK;
    }
    if (cop_is_dense(a.gate) && cop_is_dense(a.up) && cop_is_dense(a.y)) {
        a.gate = cop_flat(a.gate);
        a.up = cop_flat(a.up);
        a.y = cop_flat(a.y);
    }
    switch (a.kind) {
    case COP_ACTIVATION_SILU: forward<COP_ACTIVATION_SILU>(cuda, stream, a); break;
    case COP_ACTIVATION_RELU2: forward<COP_ACTIVATION_RELU2>(cuda, stream, a); break;
    case COP_ACTIVATION_GELU: forward<COP_ACTIVATION_GELU>(cuda, stream, a); break;
    case COP_ACTIVATION_GELU_TANH: forward<COP_ACTIVATION_GELU_TANH>(cuda, stream, a); break;
    }
    return cop_cuda_launched(err, "activation_forward", args->up.rows, args->up.cols);
}

cop_status cop_cuda_activation_backward(cop_cuda *cuda, cudaStream_t stream,
                                        const cop_activation_backward_args *args, cop_error *err)
{
    cop_activation_backward_args a = *args;
    if (a.up.rows == 0 || a.up.cols == 0) {
        return COP_OK;
    }
    if (cop_is_dense(a.gate) && cop_is_dense(a.up) && cop_is_dense(a.d_y) &&
        cop_is_dense(a.d_gate) && cop_is_dense(a.d_up)) {
        a.gate = cop_flat(a.gate);
        a.up = cop_flat(a.up);
        a.d_y = cop_flat(a.d_y);
        a.d_gate = cop_flat(a.d_gate);
        a.d_up = cop_flat(a.d_up);
    }
    switch (a.kind) {
    case COP_ACTIVATION_SILU: backward<COP_ACTIVATION_SILU>(cuda, stream, a); break;
    case COP_ACTIVATION_RELU2: backward<COP_ACTIVATION_RELU2>(cuda, stream, a); break;
    case COP_ACTIVATION_GELU: backward<COP_ACTIVATION_GELU>(cuda, stream, a); break;
    case COP_ACTIVATION_GELU_TANH: backward<COP_ACTIVATION_GELU_TANH>(cuda, stream, a); break;
    }
    return cop_cuda_launched(err, "activation_backward", args->up.rows, args->up.cols);
}
