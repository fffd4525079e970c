// One block per row of logits, two passes over it: the softmax statistics of both models together
// with a running maximum, then the gradient. Every row index is 64 bits wide; a column fits an int,
// as ids do. Sums of one thread are f32 over vocabulary / threads terms, sums of a block f64.

#include <climits>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/head.h"

namespace {

constexpr int THREADS_MAX = 1024;
constexpr int EACH = 8;         // logits that a thread takes at a time: 32 bytes of each model
constexpr float FLOOR = -1e30f; // below every logit, and finite: differences of two stay numbers

struct call {
    const float *z;
    const float *u; // NULL: no teacher
    cop_any d;      // data = NULL: no gradient
    int64_t stride; // of z and u
    int vocab;
    bool is_in_place;  // d is z
    const int *target; // of the first row; NULL: none
    const int *sample_ids;
    const float *sample_weights;
    const float *sample_entropy;
    int64_t samples;
    float inverse; // 1 / τ
    float ce;      // weights of the gradient
    float kl;
    float *cross_entropy; // of the first row; NULL: not wanted
    float *kl_loss;
    float *agree;
    float *teacher_cross_entropy;
};

// Statistics of one model: largest logit, first column of the EACH in which it is, Σ exp(x - max)
// and the same of x / τ.
struct side {
    float max;
    int at;
    float sum;
    float sum_tau;
};

struct pair {
    side z;
    side u;
    float cross; // Σ w (log w - (z - max z) / τ), w = exp((u - max u) / τ)
};

struct piece {
    float x[EACH];
};

__device__ inline piece load(const float *row, int from, int vocab)
{
    piece p;
    if (from + EACH <= vocab) {
        const float4 low = *reinterpret_cast<const float4 *>(row + from);
        const float4 high = *reinterpret_cast<const float4 *>(row + from + 4);
        p.x[0] = low.x;
        p.x[1] = low.y;
        p.x[2] = low.z;
        p.x[3] = low.w;
        p.x[4] = high.x;
        p.x[5] = high.y;
        p.x[6] = high.z;
        p.x[7] = high.w;
    } else {
        for (int i = 0; i < EACH; i++) {
            p.x[i] = from + i < vocab ? row[from + i] : FLOOR;
        }
    }
    return p;
}

struct alignas(16) halves {
    __nv_bfloat162 x[EACH / 2];
};

__device__ inline void store(cop_any d, int64_t row, int from, int vocab, const piece &p)
{
    const int64_t at = row * d.stride + from;
    if (from + EACH > vocab) {
        for (int i = 0; from + i < vocab; i++) {
            cop_any_put(d, row, from + i, p.x[i]);
        }
    } else if (d.is_half) {
        halves packed;
        for (int i = 0; i < EACH / 2; i++) {
            packed.x[i] = __floats2bfloat162_rn(p.x[2 * i], p.x[2 * i + 1]);
        }
        *reinterpret_cast<halves *>(static_cast<__nv_bfloat16 *>(d.data) + at) = packed;
    } else {
        float *to = static_cast<float *>(d.data) + at;
        *reinterpret_cast<float4 *>(to) = make_float4(p.x[0], p.x[1], p.x[2], p.x[3]);
        *reinterpret_cast<float4 *>(to + 4) = make_float4(p.x[4], p.x[5], p.x[6], p.x[7]);
    }
}

__device__ inline float largest(const piece &p)
{
    float top = p.x[0];
    for (int i = 1; i < EACH; i++) {
        top = fmaxf(top, p.x[i]);
    }
    return top;
}

// What the sums are multiplied with when the maximum rises: called rarely after the first pieces.
template <bool TEACHER, bool TAU>
__device__ inline void raise_z(pair &s, float top, int from, float inverse)
{
    const float step = s.z.max - top; // <= 0
    s.z.sum *= expf(step);
    if (TAU) {
        s.z.sum_tau *= expf(step * inverse);
    }
    if (TEACHER) {
        s.cross -= s.u.sum_tau * (step * inverse);
    }
    s.z.max = top;
    s.z.at = from;
}

template <bool TAU> __device__ inline void raise_u(pair &s, float top, int from, float inverse)
{
    const float step = s.u.max - top;
    const float factor = expf(step * inverse);
    s.cross = factor * (s.cross + s.u.sum_tau * (step * inverse));
    s.u.sum_tau *= factor;
    if (TAU) {
        s.u.sum *= expf(step);
    }
    s.u.max = top;
    s.u.at = from;
}

// Sums without τ are kept in sum_tau alone when τ = 1.
template <bool TEACHER, bool TAU>
__device__ inline void add(pair &s, const piece &z, const piece &u, int from, float inverse)
{
    const float z_top = largest(z);
    if (z_top > s.z.max) {
        raise_z<TEACHER, TAU>(s, z_top, from, inverse);
    }
    if (TEACHER) {
        const float u_top = largest(u);
        if (u_top > s.u.max) {
            raise_u<TAU>(s, u_top, from, inverse);
        }
    }
    for (int i = 0; i < EACH; i++) {
        const float z_log = z.x[i] - s.z.max;
        s.z.sum += expf(z_log);
        if (TAU) {
            s.z.sum_tau += expf(z_log * inverse);
        }
        if (TEACHER) {
            const float u_log = u.x[i] - s.u.max;
            const float w = expf(u_log * inverse);
            s.u.sum_tau += w;
            s.cross += w * ((u_log - z_log) * inverse);
            if (TAU) {
                s.u.sum += expf(u_log);
            }
        }
    }
}

// Least over a block; as cop_block_sum().
__device__ int block_least(int value, int *area)
{
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    const int warp = static_cast<int>(threadIdx.x) / COP_WARP;
    const int warps = static_cast<int>(blockDim.x) / COP_WARP;
    for (int step = COP_WARP / 2; step > 0; step /= 2) {
        value = min(value, __shfl_xor_sync(COP_WARP_ALL, value, step));
    }
    __syncthreads();
    if (lane == 0) {
        area[warp] = value;
    }
    __syncthreads();
    value = lane < warps ? area[lane] : INT_MAX;
    for (int step = COP_WARP / 2; step > 0; step /= 2) {
        value = min(value, __shfl_xor_sync(COP_WARP_ALL, value, step));
    }
    return value;
}

// Lowest column of the block's largest logit.
__device__ int argmax(const float *row, const side &mine, float max, int vocab, int *area)
{
    int at = INT_MAX;
    if (mine.max == max) {
        for (at = mine.at; at < mine.at + EACH - 1 && at < vocab - 1 && row[at] != max;) {
            at++;
        }
    }
    return block_least(at, area);
}

// What the whole row gives.
struct row_state {
    float z_max;
    float u_max;
    double z_sum;
    double z_sum_tau;
    double u_sum;
    double u_sum_tau;
    double cross;
};

// Brings the sums of all threads to the block's maxima and adds them up.
template <bool TEACHER, bool TAU>
__device__ row_state merge(const pair &s, float inverse, float *maxima, double *sums)
{
    row_state r = {};
    r.z_max = cop_block_max(s.z.max, maxima);
    const float z_step = s.z.max - r.z_max;
    r.z_sum = cop_block_sum<double>(static_cast<double>(s.z.sum * expf(z_step)), sums);
    r.z_sum_tau = r.z_sum;
    if (TAU) {
        r.z_sum_tau =
            cop_block_sum<double>(static_cast<double>(s.z.sum_tau * expf(z_step * inverse)), sums);
    }
    if (TEACHER) {
        r.u_max = cop_block_max(s.u.max, maxima);
        const float u_step = s.u.max - r.u_max;
        const float factor = expf(u_step * inverse);
        const float cross = factor * (s.cross + s.u.sum_tau * ((u_step - z_step) * inverse));
        r.u_sum_tau = cop_block_sum<double>(static_cast<double>(s.u.sum_tau * factor), sums);
        r.cross = cop_block_sum<double>(static_cast<double>(cross), sums);
        r.u_sum = r.u_sum_tau;
        if (TAU) {
            r.u_sum = cop_block_sum<double>(static_cast<double>(s.u.sum * expf(u_step)), sums);
        }
    }
    return r;
}

// Coefficients of the gradient: d = z_ce exp(z - max) + z_kl exp((z - max) / τ) - u_kl exp(…u…).
struct slopes {
    float z_ce;
    float z_kl;
    float u_kl;
    float z_max;
    float u_max;
    float inverse;
};

template <bool TEACHER, bool TAU> __device__ inline float slope(const slopes &k, float z, float u)
{
    const float z_log = z - k.z_max;
    float d = TAU ? k.z_ce * expf(z_log) + k.z_kl * expf(z_log * k.inverse)
                  : (k.z_ce + k.z_kl) * expf(z_log);
    if (TEACHER) {
        d -= k.u_kl * expf((u - k.u_max) * k.inverse);
    }
    return d;
}

// Takes the sample's weights off the gradient. An id that is there twice is taken off once, with both
// weights, by the thread of its first place.
template <bool TEACHER, bool TAU>
__device__ void subtract_sample(const call &p, int64_t r, const slopes &k, int target)
{
    const int *ids = p.sample_ids + r * p.samples;
    const float *weights = p.sample_weights + r * p.samples;
    for (int64_t i = threadIdx.x; i < p.samples; i += blockDim.x) {
        const int id = ids[i];
        float weight = 0.0f;
        bool is_first = id >= 0;
        for (int64_t j = 0; is_first && j < p.samples; j++) {
            if (ids[j] == id) {
                is_first = j >= i;
                weight += weights[j];
            }
        }
        if (is_first) {
            float d = p.is_in_place ? cop_any_at(p.d, r, id)
                                    : slope<TEACHER, TAU>(k, p.z[r * p.stride + id], 0.0f);
            d -= !p.is_in_place && id == target ? p.ce : 0.0f;
            cop_any_put(p.d, r, id, d - p.kl * weight);
        }
    }
}

// Σ w (lse - z) over the row's sample, less the entropy.
__device__ double sampled_kl(const call &p, int64_t r, const float *z, double lse, double *sums)
{
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < p.samples; i += blockDim.x) {
        const int id = p.sample_ids[r * p.samples + i];
        if (id >= 0) {
            sum += static_cast<double>(p.sample_weights[r * p.samples + i]) *
                   (lse - static_cast<double>(z[id]));
        }
    }
    sum = cop_block_sum<double>(sum, sums);
    return p.sample_entropy != NULL ? sum - static_cast<double>(p.sample_entropy[r]) : sum;
}

template <bool TEACHER, bool TAU>
__device__ void put_gradient(const call &p, int64_t r, const float *z, const float *u,
                             const row_state &state, int target)
{
    const float ce = target >= 0 ? p.ce : 0.0f;
    const slopes k = {static_cast<float>(static_cast<double>(ce) / state.z_sum),
                      static_cast<float>(static_cast<double>(p.kl) / state.z_sum_tau),
                      TEACHER ? static_cast<float>(static_cast<double>(p.kl) / state.u_sum_tau)
                              : 0.0f,
                      state.z_max,
                      state.u_max,
                      p.inverse};
    for (int c = static_cast<int>(threadIdx.x) * EACH; c < p.vocab;
         c += static_cast<int>(blockDim.x) * EACH) {
        const piece a = load(z, c, p.vocab);
        piece b = {};
        piece d;
        if (TEACHER) {
            b = load(u, c, p.vocab);
        }
        for (int i = 0; i < EACH; i++) {
            d.x[i] = slope<TEACHER, TAU>(k, a.x[i], b.x[i]);
        }
        if (target >= c && target < c + EACH) {
            for (int i = 0; i < EACH; i++) {
                d.x[i] -= c + i == target ? ce : 0.0f;
            }
        }
        store(p.d, r, c, p.vocab, d);
    }
    if (p.sample_ids != NULL && p.kl != 0.0f) {
        __syncthreads(); // the row is written
        subtract_sample<TEACHER, TAU>(p, r, k, target);
    }
}

template <bool TEACHER, bool TAU>
__global__ void __launch_bounds__(THREADS_MAX) head_rows_kernel(call p)
{
    __shared__ double sums[COP_WARP];
    __shared__ float maxima[COP_WARP];
    __shared__ int columns[COP_WARP];
    const int64_t r = blockIdx.x;
    const float *z = p.z + r * p.stride;
    const float *u = TEACHER ? p.u + r * p.stride : NULL;
    const int target = p.target != NULL ? p.target[r] : -1;
    pair s = {{FLOOR, 0, 0.0f, 0.0f}, {FLOOR, 0, 0.0f, 0.0f}, 0.0f};
    piece b = {};
    for (int c = static_cast<int>(threadIdx.x) * EACH; c < p.vocab;
         c += static_cast<int>(blockDim.x) * EACH) {
        const piece a = load(z, c, p.vocab);
        if (TEACHER) {
            b = load(u, c, p.vocab);
        }
        add<TEACHER, TAU>(s, a, b, c, p.inverse);
    }
    // Read before the barriers below, behind which the gradient may take z's place.
    const double z_target = target >= 0 ? static_cast<double>(z[target]) : 0.0;
    const double u_target = TEACHER && target >= 0 ? static_cast<double>(u[target]) : 0.0;
    const row_state state = merge<TEACHER, TAU>(s, p.inverse, maxima, sums);
    const double z_lse = log(state.z_sum) + static_cast<double>(state.z_max);
    double kl = 0.0;
    if (TEACHER) {
        kl = fmax(state.cross / state.u_sum_tau - log(state.u_sum_tau) + log(state.z_sum_tau), 0.0);
    } else if (p.kl_loss != NULL) {
        kl = sampled_kl(p, r, z, z_lse, sums);
    }
    if (p.agree != NULL) {
        const int best = argmax(z, s.z, state.z_max, p.vocab, columns);
        const int wanted = TEACHER ? argmax(u, s.u, state.u_max, p.vocab, columns) : target;
        if (threadIdx.x == 0) {
            p.agree[r] = best == wanted ? 1.0f : 0.0f;
        }
    }
    if (threadIdx.x == 0) {
        if (p.cross_entropy != NULL) {
            p.cross_entropy[r] = target >= 0 ? static_cast<float>(z_lse - z_target) : 0.0f;
        }
        if (p.kl_loss != NULL) {
            // A loss that is not a number stays one: the maximum of it and 0 would hide it.
            p.kl_loss[r] = static_cast<float>(isnan(state.cross) ? state.cross : kl);
        }
        if (TEACHER && p.teacher_cross_entropy != NULL) {
            const double lse = log(state.u_sum) + static_cast<double>(state.u_max);
            p.teacher_cross_entropy[r] = target >= 0 ? static_cast<float>(lse - u_target) : 0.0f;
        }
    }
    if (p.d.data != NULL) {
        put_gradient<TEACHER, TAU>(p, r, z, u, state, target);
    }
}

__global__ void narrow_kernel(cop_view<float> x, cop_view<__nv_bfloat16> y, int64_t rows,
                              int64_t cols, float beta)
{
    const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < rows * cols;
         i += threads) {
        const int64_t r = i / cols;
        const int64_t c = i % cols;
        const float before = beta != 0.0f ? beta * cop_at(y, r, c) : 0.0f;
        cop_put(y, r, c, cop_at(x, r, c) + before);
    }
}

// Where row `first` of a loss is put.
float *loss_at(cop_matrix losses, int64_t first)
{
    return losses.data == NULL ? NULL : static_cast<float *>(losses.data) + first;
}

call call_of(const cop_head_loss_args *args, const cop_head_rows *rows)
{
    const bool has_kl = args->teacher_hidden.data != NULL || args->sample_ids != NULL;
    const int64_t first = rows->first;
    call p = {};
    p.z = rows->z;
    p.u = rows->u;
    p.d = cop_any_of(rows->d_logits);
    p.stride = rows->stride;
    p.vocab = static_cast<int>(args->head.rows);
    p.is_in_place = rows->d_logits.data == rows->z;
    p.target = args->targets == NULL ? NULL : args->targets + first;
    if (args->sample_ids != NULL) {
        p.samples = args->sample_weights.cols;
        p.sample_ids = args->sample_ids + first * p.samples;
        p.sample_weights =
            static_cast<const float *>(args->sample_weights.data) + first * p.samples;
        p.sample_entropy = loss_at(args->sample_entropy, first);
    }
    p.inverse = 1.0f / args->temperature;
    p.ce = args->ce_weight * args->grad_scale;
    p.kl = has_kl ? args->kl_weight * args->grad_scale * args->temperature : 0.0f;
    p.cross_entropy = loss_at(args->cross_entropy, first);
    p.kl_loss = loss_at(args->kl, first);
    p.agree = loss_at(args->agree, first);
    p.teacher_cross_entropy = loss_at(args->teacher_cross_entropy, first);
    return p;
}

} // namespace

cop_status cop_cuda_head_rows(cudaStream_t stream, const cop_head_loss_args *args,
                              const cop_head_rows *rows, cop_error *err)
{
    const call p = call_of(args, rows);
    const int64_t wanted = cop_ceil_div(cop_ceil_div(p.vocab, EACH), COP_WARP) * COP_WARP;
    const unsigned threads = static_cast<unsigned>(wanted < THREADS_MAX ? wanted : THREADS_MAX);
    const unsigned grid = static_cast<unsigned>(rows->rows);
    const bool has_tau = args->temperature != 1.0f;
    if (rows->rows == 0) {
        return COP_OK;
    }
    if (p.u != NULL && has_tau) {
        COP_LAUNCH((head_rows_kernel<true, true>), grid, threads, 0, stream, p);
    } else if (p.u != NULL) {
        COP_LAUNCH((head_rows_kernel<true, false>), grid, threads, 0, stream, p);
    } else {
        COP_LAUNCH((head_rows_kernel<false, false>), grid, threads, 0, stream, p);
    }
    return cop_cuda_launched(err, "head_loss", rows->rows, args->head.rows);
}

cop_status cop_cuda_head_narrow(cudaStream_t stream, cop_matrix x, cop_matrix y, float beta,
                                cop_error *err)
{
    constexpr int64_t THREADS = 256;
    constexpr int64_t BLOCKS = 4096;
    if (x.rows == 0 || x.cols == 0) {
        return COP_OK;
    }
    COP_LAUNCH(narrow_kernel, cop_grid(cop_ceil_div(x.rows * x.cols, THREADS), BLOCKS),
               static_cast<unsigned>(THREADS), 0, stream, cop_view_of<float>(x),
               cop_view_of<__nv_bfloat16>(y), x.rows, x.cols, beta);
    return cop_cuda_launched(err, "head_loss", x.rows, x.cols);
}
