// Norms, forward and backward, one pass over memory: a team of threads, a warp for narrow rows and
// a block for wide ones, keeps its row in registers. Rows that are wider than registers hold, or
// not aligned, go through norm_wide.cu.

#include "kernels/cuda/norm.cuh"

namespace {

constexpr int WARP_TEAMS = 4; // rows of a block when a warp is a team

struct team {
    int64_t first; // row
    int64_t step;
    int lane;
    int lanes;
};

template <bool IS_WARP> __device__ team team_of(void)
{
    const int x = static_cast<int>(threadIdx.x);
    if constexpr (IS_WARP) {
        const int64_t teams = blockDim.x / COP_WARP;
        return team{blockIdx.x * teams + x / COP_WARP, gridDim.x * teams, x % COP_WARP, COP_WARP};
    } else {
        return team{blockIdx.x, gridDim.x, x, static_cast<int>(blockDim.x)};
    }
}

template <bool IS_WARP> __device__ float team_sum(float value, float *area)
{
    if constexpr (IS_WARP) {
        (void)area;
        return cop_warp_sum(value);
    } else {
        return cop_block_sum(value, area);
    }
}

template <typename X, typename S, typename Y, unsigned K, bool IS_WARP>
__global__ void __launch_bounds__(IS_WARP ? WARP_TEAMS *COP_WARP : 512)
    forward_kernel(norm_forward<X, S, Y> of)
{
    __shared__ float area[COP_WARP];
    const team self = team_of<IS_WARP>();
    for (int64_t r = self.first; r < of.rows; r += self.step) {
        float v[K][COP_PACK];
        float total = 0.0f;
        COP_UNROLL(4)
        for (unsigned k = 0; k < K; k++) {
            const int64_t c = (static_cast<int64_t>(k) * self.lanes + self.lane) * COP_PACK;
            cop_read_row(of.x, r, c, of.cols, v[k]);
            if (of.residual.data != NULL) {
                float other[COP_PACK];
                cop_read_row(of.residual, r, c, of.cols, other);
                for (int i = 0; i < COP_PACK; i++) {
                    v[k][i] = cop_rounded(of.sum, v[k][i] + other[i]);
                }
                cop_write_row(of.sum, r, c, of.cols, v[k]);
            }
            for (int i = 0; i < COP_PACK; i++) {
                total += v[k][i];
            }
        }
        const float mean =
            of.is_rms ? 0.0f : team_sum<IS_WARP>(total, area) / static_cast<float>(of.cols);
        float squares = 0.0f;
        COP_UNROLL(4)
        for (unsigned k = 0; k < K; k++) {
            const int64_t c = (static_cast<int64_t>(k) * self.lanes + self.lane) * COP_PACK;
            for (int i = 0; i < COP_PACK; i++) {
                const float centred = c + i < of.cols ? v[k][i] - mean : 0.0f;
                squares += centred * centred;
            }
        }
        const float variance = team_sum<IS_WARP>(squares, area) / static_cast<float>(of.cols);
        const float scale = 1.0f / sqrtf(variance + of.eps);
        COP_UNROLL(4)
        for (unsigned k = 0; k < K; k++) {
            const int64_t c = (static_cast<int64_t>(k) * self.lanes + self.lane) * COP_PACK;
            norm_apply(of, r, c, mean, scale, v[k]);
        }
        if (self.lane == 0) {
            norm_put_stats(of, r, mean, scale);
        }
    }
}

// The sums over its rows of one team's columns, to the block's line of the scratch. With several
// teams in a block they are added in order of teams.
template <unsigned K, bool IS_WARP>
__device__ void put_partial(float (&sum)[K][COP_PACK], float *partial, int64_t cols,
                            const team &self, float *teams)
{
    const cop_f32_view line = {partial + blockIdx.x * cols, cols};
    if constexpr (!IS_WARP) {
        (void)teams;
        for (unsigned k = 0; k < K; k++) {
            const int64_t c = (static_cast<int64_t>(k) * self.lanes + self.lane) * COP_PACK;
            for (int i = 0; i < COP_PACK && c + i < cols; i++) {
                line.data[c + i] = sum[k][i];
            }
        }
    } else {
        constexpr int width = K * COP_WARP * COP_PACK;
        const int place = static_cast<int>(threadIdx.x) / COP_WARP;
        __syncthreads(); // the area may still be read from the call before
        for (unsigned k = 0; k < K; k++) {
            for (int i = 0; i < COP_PACK; i++) {
                const int slot = static_cast<int>(k) * COP_PACK + i;
                teams[place * width + slot * COP_WARP + self.lane] = sum[k][i];
            }
        }
        __syncthreads();
        for (int at = static_cast<int>(threadIdx.x); at < width; at += WARP_TEAMS * COP_WARP) {
            float total = 0.0f;
            for (int t = 0; t < WARP_TEAMS; t++) {
                total += teams[t * width + at];
            }
            const int slot = at / COP_WARP;
            const int c = (slot / COP_PACK * COP_WARP + at % COP_WARP) * COP_PACK + slot % COP_PACK;
            if (c < cols) {
                line.data[c] = total;
            }
        }
    }
}

// Registers decide how many rows are under way: sums for d_bias are kept where it is wanted only.
template <typename G, typename S, unsigned K, bool IS_WARP, bool HAS_BIAS>
__global__ void __launch_bounds__(IS_WARP ? WARP_TEAMS *COP_WARP : 512)
    backward_kernel(norm_backward<G, S> of)
{
    __shared__ float area[COP_WARP];
    __shared__ float teams[IS_WARP ? WARP_TEAMS * K * COP_WARP * COP_PACK : 1];
    const team self = team_of<IS_WARP>();
    float gain_sum[K][COP_PACK] = {};
    float bias_sum[HAS_BIAS ? K : 1][COP_PACK] = {};
    for (int64_t r = self.first; r < of.rows; r += self.step) {
        const float mean = of.stats.data[r * of.stats.stride];
        const float scale = of.stats.data[r * of.stats.stride + 1];
        float g[K][COP_PACK];
        float h[K][COP_PACK];
        float total_g = 0.0f;
        float total_gh = 0.0f;
        COP_UNROLL(4)
        for (unsigned k = 0; k < K; k++) {
            const int64_t c = (static_cast<int64_t>(k) * self.lanes + self.lane) * COP_PACK;
            float gain[COP_PACK];
            cop_read_row(of.d_y, r, c, of.cols, g[k]);
            cop_read_row(of.x, r, c, of.cols, h[k]);
            cop_read_row(of.gain, 0, c, of.cols, gain);
            for (int i = 0; i < COP_PACK; i++) {
                h[k][i] = (h[k][i] - mean) * scale;
                gain_sum[k][i] += g[k][i] * h[k][i];
                if constexpr (HAS_BIAS) {
                    bias_sum[k][i] += g[k][i];
                }
                g[k][i] *= gain[i] + of.shift; // behind the row's end d_y is 0
                total_g += g[k][i];
                total_gh += g[k][i] * h[k][i];
            }
        }
        const float mean_g =
            of.is_rms ? 0.0f : team_sum<IS_WARP>(total_g, area) / static_cast<float>(of.cols);
        const float mean_gh = team_sum<IS_WARP>(total_gh, area) / static_cast<float>(of.cols);
        COP_UNROLL(4)
        for (unsigned k = 0; k < K; k++) {
            const int64_t c = (static_cast<int64_t>(k) * self.lanes + self.lane) * COP_PACK;
            float before[COP_PACK] = {};
            if (of.accumulate) {
                cop_read_row(of.d_x, r, c, of.cols, before);
            }
            for (int i = 0; i < COP_PACK; i++) {
                g[k][i] = before[i] + scale * (g[k][i] - mean_g - h[k][i] * mean_gh);
            }
            cop_write_row(of.d_x, r, c, of.cols, g[k]);
        }
    }
    if (of.gain_partial != NULL) {
        put_partial<K, IS_WARP>(gain_sum, of.gain_partial, of.cols, self, teams);
    }
    if constexpr (HAS_BIAS) {
        put_partial<K, IS_WARP>(bias_sum, of.bias_partial, of.cols, self, teams);
    }
}

// --- Launches -----------------------------------------------------------------------------------

// Registers of a thread hold K runs of 8 columns; a block-wide team has up to 512 threads.
struct plan {
    int runs; // K
    bool is_warp;
    unsigned threads;
};

plan plan_of(int64_t cols)
{
    const int64_t packs = cop_ceil_div(cols, COP_PACK);
    if (packs <= 4 * COP_WARP) {
        return plan{packs <= COP_WARP ? 1 : (packs <= 2 * COP_WARP ? 2 : 4), true,
                    WARP_TEAMS * COP_WARP};
    }
    const int runs = packs <= 2 * 512 ? 2 : 4;
    const int64_t warps = cop_ceil_div(cop_ceil_div(packs, runs), COP_WARP);
    return plan{runs, false, static_cast<unsigned>(warps * COP_WARP)};
}

int64_t rows_per_block(const plan &plan)
{
    return plan.is_warp ? WARP_TEAMS : 1;
}

// Each block leaves one line of sums: enough blocks to fill the device, few enough that the lines
// are small beside the rows.
int64_t backward_blocks(const cop_cuda *cuda, int64_t rows, int64_t cols)
{
    const plan plan = plan_of(cols);
    const int64_t filling = cop_ceil_div(1024, plan.threads);
    const int64_t resident = filling < 8 ? filling : 8;
    const int64_t most = cop_ceil_div(rows, rows_per_block(plan) * 4);
    const int64_t blocks = cuda->multiprocessors * resident;
    return blocks < most ? blocks : most;
}

template <typename X, typename S, typename Y, unsigned K, bool IS_WARP>
void launch_forward(const cop_cuda *cuda, cudaStream_t stream, const plan &plan,
                    const cop_norm_forward_args &args)
{
    const norm_forward<X, S, Y> of = norm_forward_of<X, S, Y>(args);
    const int64_t limit = static_cast<int64_t>(cuda->multiprocessors) * 64;
    const unsigned grid = cop_grid(cop_ceil_div(of.rows, rows_per_block(plan)), limit);
    COP_LAUNCH((forward_kernel<X, S, Y, K, IS_WARP>), grid, plan.threads, 0, stream, of);
}

template <typename X, typename S, typename Y>
void forward(const cop_cuda *cuda, cudaStream_t stream, const cop_norm_forward_args &args)
{
    const plan plan = plan_of(args.x.cols);
    if (plan.is_warp && plan.runs == 1) {
        launch_forward<X, S, Y, 1, true>(cuda, stream, plan, args);
    } else if (plan.is_warp && plan.runs == 2) {
        launch_forward<X, S, Y, 2, true>(cuda, stream, plan, args);
    } else if (plan.is_warp) {
        launch_forward<X, S, Y, 4, true>(cuda, stream, plan, args);
    } else if (plan.runs == 2) {
        launch_forward<X, S, Y, 2, false>(cuda, stream, plan, args);
    } else {
        launch_forward<X, S, Y, 4, false>(cuda, stream, plan, args);
    }
}

template <typename G, typename S, unsigned K, bool IS_WARP>
void launch_backward(cudaStream_t stream, const plan &plan, int64_t blocks,
                     const norm_backward<G, S> &of)
{
    if (of.bias_partial != NULL) {
        COP_LAUNCH((backward_kernel<G, S, K, IS_WARP, true>), static_cast<unsigned>(blocks),
                   plan.threads, 0, stream, of);
    } else {
        COP_LAUNCH((backward_kernel<G, S, K, IS_WARP, false>), static_cast<unsigned>(blocks),
                   plan.threads, 0, stream, of);
    }
}

template <typename G, typename S>
void backward(cudaStream_t stream, const cop_norm_backward_args &args, int64_t blocks)
{
    const plan plan = plan_of(args.x.cols);
    const norm_backward<G, S> of = norm_backward_of<G, S>(args, blocks);
    if (plan.is_warp && plan.runs == 1) {
        launch_backward<G, S, 1, true>(stream, plan, blocks, of);
    } else if (plan.is_warp && plan.runs == 2) {
        launch_backward<G, S, 2, true>(stream, plan, blocks, of);
    } else if (plan.is_warp) {
        launch_backward<G, S, 4, true>(stream, plan, blocks, of);
    } else if (plan.runs == 2) {
        launch_backward<G, S, 2, false>(stream, plan, blocks, of);
    } else {
        launch_backward<G, S, 4, false>(stream, plan, blocks, of);
    }
}

} // namespace

cop_status cop_cuda_norm_forward(cop_cuda *cuda, cudaStream_t stream,
                                 const cop_norm_forward_args *args, cop_error *err)
{
    const cop_norm_forward_args &a = *args;
    if (a.x.rows == 0) {
        return COP_OK;
    }
    const bool is_packed = cop_takes_packs(a.x) && cop_takes_packs(a.residual) &&
                           cop_takes_packs(a.sum) && cop_takes_packs(a.gain) &&
                           cop_takes_packs(a.bias) && cop_takes_packs(a.y);
    const bool is_stream_f32 = cop_is(a.residual, COP_F32) && cop_is(a.sum, COP_F32);
    const bool is_stream_half = cop_is(a.residual, COP_BF16) && cop_is(a.sum, COP_BF16);
    if (!is_packed || a.x.cols > NORM_COLS_MAX) {
        cop_cuda_norm_forward_wide(cuda, stream, args);
    } else if (a.x.dtype == COP_BF16 && is_stream_f32 && a.y.dtype == COP_BF16) {
        forward<cop_bf16_view, cop_f32_view, cop_bf16_view>(cuda, stream, a);
    } else if (a.x.dtype == COP_F32 && a.residual.data == NULL && a.y.dtype == COP_BF16) {
        forward<cop_f32_view, cop_f32_view, cop_bf16_view>(cuda, stream, a);
    } else if (a.x.dtype == COP_BF16 && is_stream_half && a.y.dtype == COP_BF16) {
        forward<cop_bf16_view, cop_bf16_view, cop_bf16_view>(cuda, stream, a);
    } else {
        forward<cop_any, cop_any, cop_any>(cuda, stream, a);
    }
    return cop_cuda_launched(err, "norm_forward", a.x.rows, a.x.cols);
}

uint64_t cop_cuda_norm_backward_scratch(const cop_cuda *cuda, const cop_norm_backward_args *args)
{
    const int64_t rows = args->x.rows;
    const int64_t cols = args->x.cols;
    if (rows <= 0 || cols <= 0) {
        return 0;
    }
    // Alignment is not known yet: the larger of what the two ways need.
    const int64_t blocks = cols <= NORM_COLS_MAX ? backward_blocks(cuda, rows, cols) : 0;
    const int64_t slices = cop_cuda_column_slices(cuda, rows, cols);
    return static_cast<uint64_t>(2 * (blocks > slices ? blocks : slices) * cols) * sizeof(float);
}

cop_status cop_cuda_norm_backward(cop_cuda *cuda, cudaStream_t stream,
                                  const cop_norm_backward_args *args, cop_error *err)
{
    const cop_norm_backward_args &a = *args;
    const int64_t cols = a.x.cols;
    if (a.x.rows == 0) {
        return COP_OK;
    }
    const bool is_packed = cop_takes_packs(a.d_y) && cop_takes_packs(a.x) &&
                           cop_takes_packs(a.gain) && cop_takes_packs(a.d_x);
    int64_t lines = 0;
    if (!is_packed || cols > NORM_COLS_MAX) {
        lines = cop_cuda_column_slices(cuda, a.x.rows, cols);
        cop_cuda_norm_backward_wide(cuda, stream, args, lines);
    } else {
        lines = backward_blocks(cuda, a.x.rows, cols);
        if (a.d_y.dtype == COP_BF16 && a.x.dtype == COP_F32 && a.d_x.dtype == COP_F32) {
            backward<cop_bf16_view, cop_f32_view>(stream, a, lines);
        } else if (a.d_y.dtype == COP_BF16 && a.x.dtype == COP_BF16 && a.d_x.dtype == COP_BF16) {
            backward<cop_bf16_view, cop_bf16_view>(stream, a, lines);
        } else {
            backward<cop_any, cop_any>(stream, a, lines);
        }
    }
    float *partial = static_cast<float *>(a.scratch);
    if (a.d_gain.data != NULL) {
        cop_cuda_fold_columns(stream, partial, lines, cols, static_cast<float *>(a.d_gain.data));
    }
    if (a.d_bias.data != NULL) {
        cop_cuda_fold_columns(stream, partial + lines * cols, lines, cols,
                              static_cast<float *>(a.d_bias.data));
    }
    return cop_cuda_launched(err, "norm_backward", a.x.rows, cols);
}
