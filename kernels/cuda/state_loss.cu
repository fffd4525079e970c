// Distances of states, a block for a row. The gradient reads the row again, from the cache: its
// share of a thread would not fit its registers for every width.

#include "kernels/cuda/ops.h"
#include "kernels/cuda/products.cuh"

namespace {

constexpr int THREADS = 128;

struct distance {
    cop_any student;
    cop_any teacher;
    float *loss;
    cop_any d_student;
    int64_t rows;
    int64_t cols;
    float grad_scale;
    bool is_cosine;
};

template <unsigned N>
__device__ void put_gradient(const distance &of, int64_t r, double by_s, double by_t)
{
    const float s_factor = static_cast<float>(by_s * static_cast<double>(of.grad_scale));
    const float t_factor = static_cast<float>(by_t * static_cast<double>(of.grad_scale));
    for (int64_t c = static_cast<int64_t>(threadIdx.x) * N; c < of.cols;
         c += static_cast<int64_t>(blockDim.x) * N) {
        float s[N];
        float t[N];
        cop_read_row(of.student, r, c, of.cols, s);
        cop_read_row(of.teacher, r, c, of.cols, t);
        for (unsigned i = 0; i < N; i++) {
            // Equal factors: the difference first, which is 0 where the states agree.
            s[i] = of.is_cosine ? s_factor * s[i] - t_factor * t[i] : s_factor * (s[i] - t[i]);
        }
        cop_write_row(of.d_student, r, c, of.cols, s);
    }
}

template <unsigned N> __global__ void state_loss_kernel(distance of)
{
    __shared__ double area[COP_WARP];
    const int lane = static_cast<int>(threadIdx.x);
    for (int64_t r = blockIdx.x; r < of.rows; r += gridDim.x) {
        cop_products sum = cop_row_products<N>(of.student, of.teacher, r, of.cols, lane, THREADS);
        double loss = 0.0;
        double by_s = 2.0 / static_cast<double>(of.cols);
        double by_t = by_s;
        if (of.is_cosine) {
            sum.xx = cop_block_sum(sum.xx, area);
            sum.xy = cop_block_sum(sum.xy, area);
            sum.yy = cop_block_sum(sum.yy, area);
            const bool is_flat = sum.xx == 0.0 || sum.yy == 0.0; // no direction: no gradient
            const double cosine = cop_cosine(sum);
            loss = 1.0 - cosine;
            by_s = is_flat ? 0.0 : cosine / sum.xx;
            by_t = is_flat ? 0.0 : 1.0 / (sqrt(sum.xx) * sqrt(sum.yy));
        } else {
            loss = cop_block_sum(sum.squares, area) / static_cast<double>(of.cols);
        }
        if (lane == 0) {
            of.loss[r] = static_cast<float>(loss);
        }
        if (of.d_student.data != NULL) {
            put_gradient<N>(of, r, by_s, by_t);
        }
    }
}

} // namespace

cop_status cop_cuda_state_loss(cop_cuda *cuda, cudaStream_t stream, const cop_state_loss_args *args,
                               cop_error *err)
{
    const int64_t rows = args->student.rows;
    const int64_t cols = args->student.cols;
    if (rows == 0) {
        return COP_OK;
    }
    const distance of = {cop_any_of(args->student),
                         cop_any_of(args->teacher),
                         static_cast<float *>(args->loss.data),
                         cop_any_of(args->d_student),
                         rows,
                         cols,
                         args->grad_scale,
                         args->kind == COP_STATE_LOSS_COSINE};
    const unsigned grid = cop_grid(rows, static_cast<int64_t>(cuda->multiprocessors) * 64);
    if (cop_takes_packs(args->student) && cop_takes_packs(args->teacher) &&
        cop_takes_packs(args->d_student)) {
        COP_LAUNCH((state_loss_kernel<COP_PACK>), grid, THREADS, 0, stream, of);
    } else {
        COP_LAUNCH((state_loss_kernel<1>), grid, THREADS, 0, stream, of);
    }
    return cop_cuda_launched(err, "state_loss", rows, cols);
}
