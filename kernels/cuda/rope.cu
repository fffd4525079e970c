// Rotary embedding in place. A thread turns the same pairs of several heads, so that the tables,
// f32 and as wide as the pairs, are read once for all of them.

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pack.cuh"

namespace {

constexpr int HEADS_PER_THREAD = 4;

struct turn {
    cop_f32_view cos;
    cop_f32_view sin;
    int64_t heads;
    int64_t head_dim;
    int64_t sequence;
    int64_t pairs;       // R
    int64_t head_groups; // of HEADS_PER_THREAD
    float sign;          // -1: back
};

template <typename M, unsigned N>
__device__ void turn_head(M x, int64_t r, int64_t c, int64_t pairs, const float (&cos)[N],
                          const float (&sin)[N])
{
    float low[N];
    float high[N];
    cop_read(x, r, c, low);
    cop_read(x, r, c + pairs, high);
    for (unsigned j = 0; j < N; j++) {
        const float a = low[j];
        const float b = high[j];
        low[j] = a * cos[j] - b * sin[j];
        high[j] = b * cos[j] + a * sin[j];
    }
    cop_write(x, r, c, low);
    cop_write(x, r, c + pairs, high);
}

// A row of `span` is (head group, pair) of one position.
template <typename M, unsigned N> __global__ void rope_kernel(M x, turn by, cop_span span)
{
    const int64_t runs = by.pairs / N;
    for (int64_t i = cop_thread(); i < span.count; i += cop_threads()) {
        const cop_place at = cop_place_of(span, i);
        const uint32_t group = static_cast<uint32_t>(at.col) / static_cast<uint32_t>(runs);
        const int64_t pair = (at.col - group * runs) * N;
        const int64_t t = at.row % by.sequence;
        float cos[N];
        float sin[N];
        cop_read(by.cos, t, pair, cos);
        cop_read(by.sin, t, pair, sin);
        for (unsigned j = 0; j < N; j++) {
            sin[j] *= by.sign;
        }
        const int64_t first = static_cast<int64_t>(group) * HEADS_PER_THREAD;
        const int64_t end = min(first + HEADS_PER_THREAD, by.heads);
        for (int64_t h = first; h < end; h++) {
            turn_head(x, at.row, h * by.head_dim + pair, by.pairs, cos, sin);
        }
    }
}

template <typename M, unsigned N>
void launch_rope(const cop_cuda *cuda, cudaStream_t stream, const cop_rope_args &args,
                 const turn &by)
{
    const cop_span span = cop_span_of(args.x.rows, by.head_groups * (by.pairs / N), 1);
    COP_LAUNCH((rope_kernel<M, N>), cop_span_grid(span, cuda->multiprocessors), COP_PACK_THREADS, 0,
               stream, cop_as<M>(args.x), by, span);
}

} // namespace

cop_status cop_cuda_rope(cop_cuda *cuda, cudaStream_t stream, const cop_rope_args *args,
                         cop_error *err)
{
    const int64_t pairs = args->cos.cols;
    if (args->x.rows == 0 || pairs == 0) {
        return COP_OK;
    }
    const turn by = {cop_as<cop_f32_view>(args->cos),
                     cop_as<cop_f32_view>(args->sin),
                     args->heads,
                     args->head_dim,
                     args->sequence,
                     pairs,
                     cop_ceil_div(args->heads, HEADS_PER_THREAD),
                     args->inverse ? -1.0f : 1.0f};
    const bool is_packed = pairs % COP_PACK == 0 && args->head_dim % COP_PACK == 0 &&
                           cop_takes_packs(args->x) && cop_takes_packs(args->cos) &&
                           cop_takes_packs(args->sin);
    if (!is_packed) {
        launch_rope<cop_any, 1>(cuda, stream, *args, by);
    } else if (args->x.dtype == COP_BF16) {
        launch_rope<cop_bf16_view, COP_PACK>(cuda, stream, *args, by);
    } else {
        launch_rope<cop_f32_view, COP_PACK>(cuda, stream, *args, by);
    }
    return cop_cuda_launched(err, "rope", args->x.rows, args->x.cols);
}
