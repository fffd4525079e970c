// Runs of neighbouring elements as f32, moved 16 bytes at a time, and how element-wise kernels walk
// over matrices in such runs.
//
// A kernel is a template over the type of its views: cop_view<T> where the element type is known
// when compiling (the common combinations), cop_any where it is looked up, the same for all threads,
// so that every mix of types runs at nearly the same speed. N is COP_PACK, or 1 where a matrix is
// not aligned to 16 bytes.

#ifndef COP_KERNELS_CUDA_PACK_CUH
#define COP_KERNELS_CUDA_PACK_CUH

#include "kernels/cuda/device.cuh"

// Asks nvcc to unroll the loop that follows; host compilers decide by themselves.
#ifdef COP_CUDA_HOST
#    define COP_UNROLL(times)
#else
#    define COP_PRAGMA(text)  _Pragma(#    text)
#    define COP_UNROLL(times) COP_PRAGMA(unroll times)
#endif

enum { COP_PACK = 8, COP_PACK_THREADS = 256 };

// Any memory may be read through it: it carries elements of both types.
struct __attribute__((may_alias)) __align__(16) cop_words
{
    unsigned at[4];
};

// --- Loads and stores ---------------------------------------------------------------------------

template <unsigned N> __device__ inline void cop_run_load(const float *at, float (&v)[N])
{
    if constexpr (N == COP_PACK) {
        const cop_words low = reinterpret_cast<const cop_words *>(at)[0];
        const cop_words high = reinterpret_cast<const cop_words *>(at)[1];
        for (int i = 0; i < 4; i++) {
            v[i] = __uint_as_float(low.at[i]);
            v[i + 4] = __uint_as_float(high.at[i]);
        }
    } else {
        v[0] = *at;
    }
}

template <unsigned N> __device__ inline void cop_run_load(const __nv_bfloat16 *at, float (&v)[N])
{
    if constexpr (N == COP_PACK) {
        const cop_words words = *reinterpret_cast<const cop_words *>(at);
        for (int i = 0; i < 4; i++) {
            v[2 * i] = __uint_as_float(words.at[i] << 16);
            v[2 * i + 1] = __uint_as_float(words.at[i] & 0xffff0000u);
        }
    } else {
        v[0] = cop_load(at);
    }
}

template <unsigned N> __device__ inline void cop_run_store(float *at, const float (&v)[N])
{
    if constexpr (N == COP_PACK) {
        cop_words low;
        cop_words high;
        for (int i = 0; i < 4; i++) {
            low.at[i] = __float_as_uint(v[i]);
            high.at[i] = __float_as_uint(v[i + 4]);
        }
        reinterpret_cast<cop_words *>(at)[0] = low;
        reinterpret_cast<cop_words *>(at)[1] = high;
    } else {
        *at = v[0];
    }
}

template <unsigned N> __device__ inline void cop_run_store(__nv_bfloat16 *at, const float (&v)[N])
{
    if constexpr (N == COP_PACK) {
        cop_words words;
        for (int i = 0; i < 4; i++) {
            const __nv_bfloat162 pair = __floats2bfloat162_rn(v[2 * i], v[2 * i + 1]);
            memcpy(&words.at[i], &pair, sizeof pair);
        }
        *reinterpret_cast<cop_words *>(at) = words;
    } else {
        cop_store(at, v[0]);
    }
}

template <unsigned N, typename T>
__device__ inline void cop_read(cop_view<T> m, int64_t r, int64_t c, float (&v)[N])
{
    cop_run_load(m.data + r * m.stride + c, v);
}

template <unsigned N>
__device__ inline void cop_read(cop_any m, int64_t r, int64_t c, float (&v)[N])
{
    const int64_t at = r * m.stride + c;
    if (m.is_half) {
        cop_run_load(static_cast<const __nv_bfloat16 *>(m.data) + at, v);
    } else {
        cop_run_load(static_cast<const float *>(m.data) + at, v);
    }
}

template <unsigned N, typename T>
__device__ inline void cop_write(cop_view<T> m, int64_t r, int64_t c, const float (&v)[N])
{
    cop_run_store(m.data + r * m.stride + c, v);
}

template <unsigned N>
__device__ inline void cop_write(cop_any m, int64_t r, int64_t c, const float (&v)[N])
{
    const int64_t at = r * m.stride + c;
    if (m.is_half) {
        cop_run_store(static_cast<__nv_bfloat16 *>(m.data) + at, v);
    } else {
        cop_run_store(static_cast<float *>(m.data) + at, v);
    }
}

// The same where a row of `cols` elements may end inside the run: elements behind it are 0, and are
// not written.
template <unsigned N, typename M>
__device__ inline void cop_read_row(M m, int64_t r, int64_t c, int64_t cols, float (&v)[N])
{
    if (c + N <= cols) {
        cop_read(m, r, c, v);
        return;
    }
    for (unsigned i = 0; i < N; i++) {
        float one[1] = {0.0f};
        if (c + i < cols) {
            cop_read(m, r, c + i, one);
        }
        v[i] = one[0];
    }
}

template <unsigned N, typename M>
__device__ inline void cop_write_row(M m, int64_t r, int64_t c, int64_t cols, const float (&v)[N])
{
    if (c + N <= cols) {
        cop_write(m, r, c, v);
        return;
    }
    for (unsigned i = 0; i < N; i++) {
        const float one[1] = {v[i]};
        if (c + i < cols) {
            cop_write(m, r, c + i, one);
        }
    }
}

// What reading the value back would give.
__device__ inline float cop_rounded(cop_view<float> m, float value)
{
    (void)m;
    return value;
}

__device__ inline float cop_rounded(cop_view<__nv_bfloat16> m, float value)
{
    (void)m;
    return __bfloat162float(__float2bfloat16(value));
}

__device__ inline float cop_rounded(cop_any m, float value)
{
    return m.is_half ? __bfloat162float(__float2bfloat16(value)) : value;
}

// --- A matrix as a kernel's view ----------------------------------------------------------------

template <typename M> inline M cop_as(cop_matrix m);

template <> inline cop_any cop_as<cop_any>(cop_matrix m)
{
    return cop_any_of(m);
}

template <> inline cop_view<float> cop_as<cop_view<float>>(cop_matrix m)
{
    return cop_view_of<float>(m);
}

template <> inline cop_view<__nv_bfloat16> cop_as<cop_view<__nv_bfloat16>>(cop_matrix m)
{
    return cop_view_of<__nv_bfloat16>(m);
}

using cop_f32_view = cop_view<float>;
using cop_bf16_view = cop_view<__nv_bfloat16>;

static inline bool cop_is(cop_matrix m, cop_dtype dtype)
{
    return m.data == NULL || m.dtype == dtype;
}

// Whether each row begins at a multiple of 16 bytes.
static inline bool cop_takes_packs(cop_matrix m)
{
    const int64_t bytes = m.dtype == COP_BF16 ? 2 : 4;
    return m.data == NULL || (reinterpret_cast<uintptr_t>(m.data) % 16 == 0 &&
                              (m.rows <= 1 || m.stride * bytes % 16 == 0));
}

// Whether there are no gaps between rows; then the matrix is one long row.
static inline bool cop_is_dense(cop_matrix m)
{
    return m.data == NULL || m.stride == m.cols || m.rows <= 1;
}

static inline cop_matrix cop_flat(cop_matrix m)
{
    const int64_t count = m.rows * m.cols;
    return cop_matrix{m.data, m.dtype, 1, count, count};
}

// --- Walking ------------------------------------------------------------------------------------

// The runs of a matrix, row by row.
struct cop_span {
    int64_t count;   // of runs
    int64_t per_row; // runs in a row
    int64_t cols;
    int width; // elements of a run
};

struct cop_place {
    int64_t row;
    int64_t col;
};

static inline cop_span cop_span_of(int64_t rows, int64_t cols, int width)
{
    const int64_t per_row = cop_ceil_div(cols, width);
    return cop_span{rows * per_row, per_row, cols, width};
}

static inline unsigned cop_span_grid(cop_span span, int multiprocessors)
{
    return cop_grid(cop_ceil_div(span.count, COP_PACK_THREADS),
                    static_cast<int64_t>(multiprocessors) * 32);
}

__device__ inline int64_t cop_thread(void)
{
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ inline int64_t cop_threads(void)
{
    return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

// A division of 64 bits costs as much as the rest of a copy: it is done only where it must be.
__device__ inline cop_place cop_place_of(const cop_span &span, int64_t i)
{
    int64_t row = 0;
    if (span.count > 0xffffffff) {
        row = i / span.per_row;
    } else if (span.count != span.per_row) {
        row = static_cast<uint32_t>(i) / static_cast<uint32_t>(span.per_row);
    }
    return cop_place{row, (i - row * span.per_row) * span.width};
}

#endif
