#include "kernels/cpu/fast_math.h"
#include "kernels/cpu/fast_row.h"

static const float sqrt_2_over_pi = 0.797884561F;
static const float inv_sqrt_2pi = 0.398942280F;
static const float gelu_cubic = 0.044715F;

// 0.5 (1 + tanh(u)) = sigmoid(2u), without the cancellation of 1 + tanh near -1.
static inline float gelu_tanh_gate(float x)
{
    return cop_fast_sigmoid(2.0F * sqrt_2_over_pi * (x + gelu_cubic * x * x * x));
}

static inline float activate(cop_activation kind, float x)
{
    switch (kind) {
    case COP_ACTIVATION_SILU: return x * cop_fast_sigmoid(x);
    case COP_ACTIVATION_RELU2: return x > 0.0F ? x * x : 0.0F;
    case COP_ACTIVATION_GELU: return x * cop_fast_normal_cdf(x);
    case COP_ACTIVATION_GELU_TANH: return x * gelu_tanh_gate(x);
    }
    return 0.0F;
}

// act(x) in *value, its derivative returned.
static inline float slope(cop_activation kind, float x, float *value)
{
    switch (kind) {
    case COP_ACTIVATION_SILU: {
        const float s = cop_fast_sigmoid(x);
        *value = x * s;
        return s * (1.0F + x * (1.0F - s));
    }
    case COP_ACTIVATION_RELU2: {
        const float positive = x > 0.0F ? x : 0.0F;
        *value = positive * positive;
        return 2.0F * positive;
    }
    case COP_ACTIVATION_GELU: {
        const float cdf = cop_fast_normal_cdf(x);
        *value = x * cdf;
        return cdf + x * inv_sqrt_2pi * cop_fast_exp(-0.5F * x * x);
    }
    case COP_ACTIVATION_GELU_TANH: {
        const float s = gelu_tanh_gate(x);
        *value = x * s;
        return s + x * 2.0F * s * (1.0F - s) * sqrt_2_over_pi * (1.0F + 3.0F * gelu_cubic * x * x);
    }
    }
    *value = 0.0F;
    return 0.0F;
}

// The loop over one piece with the kind known to the compiler. gate is NULL for the plain form.
static inline void forward_piece(cop_activation kind, int64_t n, float *y, const float *gate,
                                 const float *up)
{
    if (gate != NULL) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            y[i] = activate(kind, gate[i]) * up[i];
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            y[i] = activate(kind, up[i]);
        }
    }
}

static inline void backward_piece(cop_activation kind, int64_t n, float *d_gate, float *d_up,
                                  const float *gate, const float *up, const float *d_y)
{
    if (gate != NULL) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float value;
            const float d = slope(kind, gate[i], &value);
            const float d_value = d_y[i];
            d_gate[i] = d_value * up[i] * d;
            d_up[i] = d_value * value;
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float value;
            d_up[i] = d_y[i] * slope(kind, up[i], &value);
        }
    }
}

static void forward_any(cop_activation kind, int64_t n, float *y, const float *gate,
                        const float *up)
{
    switch (kind) {
    case COP_ACTIVATION_SILU: forward_piece(COP_ACTIVATION_SILU, n, y, gate, up); break;
    case COP_ACTIVATION_RELU2: forward_piece(COP_ACTIVATION_RELU2, n, y, gate, up); break;
    case COP_ACTIVATION_GELU: forward_piece(COP_ACTIVATION_GELU, n, y, gate, up); break;
    case COP_ACTIVATION_GELU_TANH: forward_piece(COP_ACTIVATION_GELU_TANH, n, y, gate, up); break;
    }
}

static void backward_any(cop_activation kind, int64_t n, float *d_gate, float *d_up,
                         const float *gate, const float *up, const float *d_y)
{
    switch (kind) {
    case COP_ACTIVATION_SILU:
        backward_piece(COP_ACTIVATION_SILU, n, d_gate, d_up, gate, up, d_y);
        break;
    case COP_ACTIVATION_RELU2:
        backward_piece(COP_ACTIVATION_RELU2, n, d_gate, d_up, gate, up, d_y);
        break;
    case COP_ACTIVATION_GELU:
        backward_piece(COP_ACTIVATION_GELU, n, d_gate, d_up, gate, up, d_y);
        break;
    case COP_ACTIVATION_GELU_TANH:
        backward_piece(COP_ACTIVATION_GELU_TANH, n, d_gate, d_up, gate, up, d_y);
        break;
    }
}

void COP_FAST(activation_forward)(const cop_activation_forward_args *args)
{
    const cop_pieces pieces = cop_pieces_of(args->up);
    const bool is_gated = cop_fast_is_present(args->gate);
#pragma omp parallel for schedule(static) if (pieces.count > COP_FAST_PARALLEL_MIN / COP_FAST_CHUNK)
    for (int64_t p = 0; p < pieces.count; p++) {
        float gate_buffer[COP_FAST_CHUNK];
        float up_buffer[COP_FAST_CHUNK];
        float y_buffer[COP_FAST_CHUNK];
        const int64_t r = p / pieces.per_row;
        const int64_t c = p % pieces.per_row * COP_FAST_CHUNK;
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, args->up.cols - c);
        const float *gate = is_gated ? cop_row_load(args->gate, r, c, n, gate_buffer) : NULL;
        const float *up = cop_row_load(args->up, r, c, n, up_buffer);
        float *y = cop_row_target(args->y, r, c, y_buffer);
        forward_any(args->kind, n, y, gate, up);
        cop_row_store(args->y, r, c, n, y);
    }
}

void COP_FAST(activation_backward)(const cop_activation_backward_args *args)
{
    const cop_pieces pieces = cop_pieces_of(args->up);
    const bool is_gated = cop_fast_is_present(args->gate);
#pragma omp parallel for schedule(static) if (pieces.count > COP_FAST_PARALLEL_MIN / COP_FAST_CHUNK)
    for (int64_t p = 0; p < pieces.count; p++) {
        float gate_buffer[COP_FAST_CHUNK];
        float up_buffer[COP_FAST_CHUNK];
        float d_y_buffer[COP_FAST_CHUNK];
        float d_gate_buffer[COP_FAST_CHUNK];
        float d_up_buffer[COP_FAST_CHUNK];
        const int64_t r = p / pieces.per_row;
        const int64_t c = p % pieces.per_row * COP_FAST_CHUNK;
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, args->up.cols - c);
        const float *gate = is_gated ? cop_row_load(args->gate, r, c, n, gate_buffer) : NULL;
        const float *up = cop_row_load(args->up, r, c, n, up_buffer);
        const float *d_y = cop_row_load(args->d_y, r, c, n, d_y_buffer);
        float *d_gate = is_gated ? cop_row_target(args->d_gate, r, c, d_gate_buffer) : NULL;
        float *d_up = cop_row_target(args->d_up, r, c, d_up_buffer);
        backward_any(args->kind, n, d_gate, d_up, gate, up, d_y);
        if (is_gated) {
            cop_row_store(args->d_gate, r, c, n, d_gate);
        }
        cop_row_store(args->d_up, r, c, n, d_up);
    }
}
