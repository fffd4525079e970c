// AdamW over flat runs. What a step multiplies with is computed by each thread from the schedule in
// device memory, so that a recorded step can be run again.

#include <math.h>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pack.cuh"
#include "kernels/random.h"

namespace {

// Of one call, from its arguments.
struct adamw_call {
    cop_any working; // absent, or a copy, or without master weights the weights themselves
    const cop_adamw_schedule *schedule;
    const double *norm_squared;
    double max_norm;
    double learning_rate;
    double correction1;
    double correction2;
    double weight_decay;
    uint64_t seed;
    uint64_t step;
    uint64_t first_index;
    float beta1;
    float beta2;
    float eps;
    bool zero_gradient;
    bool is_half_state; // moments in bf16
};

// Of one step, in the form the inner loop wants.
struct adamw_step {
    float clip;
    float rate;         // learning_rate / (1 - b1^step)
    float v_correction; // 1 / (1 - b2^step)
    float keep;         // 1 - learning_rate * weight_decay
    uint64_t key;
};

__device__ adamw_step step_of(const adamw_call &call)
{
    double rate = call.learning_rate;
    double correction1 = call.correction1;
    double correction2 = call.correction2;
    uint64_t count = call.step;
    if (call.schedule != NULL) {
        rate = static_cast<double>(call.schedule->learning_rate);
        correction1 = static_cast<double>(call.schedule->correction1);
        correction2 = static_cast<double>(call.schedule->correction2);
        count = call.schedule->step;
    }
    double clip = 1.0;
    if (call.norm_squared != NULL && *call.norm_squared > 0.0) {
        clip = fmin(1.0, call.max_norm / sqrt(*call.norm_squared));
    }
    return adamw_step{static_cast<float>(clip), static_cast<float>(rate / correction1),
                      static_cast<float>(1.0 / correction2),
                      static_cast<float>(1.0 - rate * call.weight_decay),
                      cop_random_key(call.seed, count)};
}

// The bf16 that random bits round `value` to, as f32: storing it rounds no more.
__device__ inline float rounded(float value, uint64_t bits)
{
    const uint32_t half =
        cop_bf16_round_stochastic(__float_as_uint(value), static_cast<uint32_t>(bits & 0xffffu));
    return __uint_as_float(half << 16);
}

template <bool HAS_MASTER, typename G, typename S, unsigned N>
__global__ void __launch_bounds__(COP_PACK_THREADS)
    adamw_kernel(adamw_call call, cop_f32_view master, G gradient, S m_state, S v_state,
                 cop_span span)
{
    const adamw_step step = step_of(call);
    const bool is_stochastic = !HAS_MASTER || call.is_half_state;
    for (int64_t i = cop_thread(); i < span.count; i += cop_threads()) {
        const cop_place at = cop_place_of(span, i);
        float p[N];
        float g[N];
        float m[N];
        float v[N];
        if constexpr (HAS_MASTER) {
            cop_read_row(master, at.row, at.col, span.cols, p);
        } else {
            cop_read_row(call.working, at.row, at.col, span.cols, p);
        }
        cop_read_row(gradient, at.row, at.col, span.cols, g);
        cop_read_row(m_state, at.row, at.col, span.cols, m);
        cop_read_row(v_state, at.row, at.col, span.cols, v);
        const uint64_t first =
            call.first_index + static_cast<uint64_t>(at.row * span.cols + at.col);
        for (unsigned j = 0; j < N; j++) {
            const float clipped = g[j] * step.clip;
            m[j] = call.beta1 * m[j] + (1.0f - call.beta1) * clipped;
            v[j] = call.beta2 * v[j] + (1.0f - call.beta2) * clipped * clipped;
            p[j] =
                step.keep * p[j] - step.rate * m[j] / (sqrtf(v[j] * step.v_correction) + call.eps);
            if (is_stochastic) {
                const uint64_t bits = cop_random_bits(step.key, first + j);
                p[j] = HAS_MASTER ? p[j] : rounded(p[j], bits);
                m[j] = call.is_half_state ? rounded(m[j], bits >> 16) : m[j];
                v[j] = call.is_half_state ? rounded(v[j], bits >> 32) : v[j];
            }
            g[j] = 0.0f;
        }
        cop_write_row(m_state, at.row, at.col, span.cols, m);
        cop_write_row(v_state, at.row, at.col, span.cols, v);
        if constexpr (HAS_MASTER) {
            cop_write_row(master, at.row, at.col, span.cols, p);
        }
        if (call.working.data != NULL) {
            cop_write_row(call.working, at.row, at.col, span.cols, p);
        }
        if (call.zero_gradient) {
            cop_write_row(gradient, at.row, at.col, span.cols, g);
        }
    }
}

adamw_call call_of(const cop_adamw_args &args)
{
    adamw_call call = {};
    call.working = cop_any_of(args.working);
    call.schedule = args.schedule;
    call.norm_squared = args.norm_squared;
    call.max_norm = static_cast<double>(args.max_norm);
    call.learning_rate = static_cast<double>(args.learning_rate);
    call.correction1 = 1.0 - pow(static_cast<double>(args.beta1), static_cast<double>(args.step));
    call.correction2 = 1.0 - pow(static_cast<double>(args.beta2), static_cast<double>(args.step));
    call.weight_decay = static_cast<double>(args.weight_decay);
    call.seed = args.seed;
    call.step = static_cast<uint64_t>(args.step);
    call.first_index = static_cast<uint64_t>(args.first_index);
    call.beta1 = args.beta1;
    call.beta2 = args.beta2;
    call.eps = args.eps;
    call.zero_gradient = args.zero_gradient;
    call.is_half_state = args.m.dtype == COP_BF16;
    return call;
}

template <bool HAS_MASTER, typename G, typename S, unsigned N>
void launch(const cop_cuda *cuda, cudaStream_t stream, const cop_adamw_args &args)
{
    const cop_span span = cop_span_of(args.gradient.rows, args.gradient.cols, N);
    COP_LAUNCH((adamw_kernel<HAS_MASTER, G, S, N>), cop_span_grid(span, cuda->multiprocessors),
               COP_PACK_THREADS, 0, stream, call_of(args), cop_as<cop_f32_view>(args.parameter),
               cop_as<G>(args.gradient), cop_as<S>(args.m), cop_as<S>(args.v), span);
}

template <bool HAS_MASTER>
void run(const cop_cuda *cuda, cudaStream_t stream, const cop_adamw_args &args, bool is_packed)
{
    const bool is_half_gradient = args.gradient.dtype == COP_BF16;
    const bool is_half_state = args.m.dtype == COP_BF16;
    if (!is_packed) {
        launch<HAS_MASTER, cop_any, cop_any, 1>(cuda, stream, args);
    } else if (is_half_gradient && is_half_state) {
        launch<HAS_MASTER, cop_bf16_view, cop_bf16_view, COP_PACK>(cuda, stream, args);
    } else if (is_half_gradient) {
        launch<HAS_MASTER, cop_bf16_view, cop_f32_view, COP_PACK>(cuda, stream, args);
    } else if (is_half_state) {
        launch<HAS_MASTER, cop_f32_view, cop_bf16_view, COP_PACK>(cuda, stream, args);
    } else {
        launch<HAS_MASTER, cop_f32_view, cop_f32_view, COP_PACK>(cuda, stream, args);
    }
}

} // namespace

cop_status cop_cuda_adamw(cop_cuda *cuda, cudaStream_t stream, const cop_adamw_args *args,
                          cop_error *err)
{
    cop_adamw_args a = *args;
    if (a.gradient.rows == 0 || a.gradient.cols == 0) {
        return COP_OK;
    }
    if (cop_is_dense(a.parameter) && cop_is_dense(a.working) && cop_is_dense(a.gradient) &&
        cop_is_dense(a.m) && cop_is_dense(a.v)) {
        a.parameter = cop_flat(a.parameter);
        a.working = cop_flat(a.working);
        a.gradient = cop_flat(a.gradient);
        a.m = cop_flat(a.m);
        a.v = cop_flat(a.v);
    }
    const bool is_packed = cop_takes_packs(a.parameter) && cop_takes_packs(a.working) &&
                           cop_takes_packs(a.gradient) && cop_takes_packs(a.m) &&
                           cop_takes_packs(a.v);
    if (a.parameter.data != NULL) {
        run<true>(cuda, stream, a, is_packed);
    } else {
        run<false>(cuda, stream, a, is_packed);
    }
    return cop_cuda_launched(err, "adamw", args->gradient.rows, args->gradient.cols);
}
