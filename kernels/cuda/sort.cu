// Least significant digit first; for each digit the positions are counted, summed and taken. A warp
// goes through one chunk of the ids in order, 32 at a time, and learns by ballots how many lanes
// before it hold the same digit: nothing depends on which warp is faster, so the sort is stable and
// the same on every run.

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/sort.cuh"

namespace {

constexpr int DIGITS_MAX = 512; // 9 bits: two passes for a vocabulary of 256,000
constexpr int64_t CHUNKS_MAX = 256;
constexpr int64_t CHUNK_IDS = 256; // at least
constexpr int SCAN_WARPS = 8;

struct pass {
    const int32_t *ids;
    const int32_t *rows; // NULL: the i-th stands at i
    int32_t *out_ids;
    int32_t *out_rows;
    int32_t *counts; // [digits, chunks]: then how many of the digit lie in chunks before
    int32_t *totals; // [digits]
    int64_t n;
    int64_t chunks;
    int64_t ids_per_chunk; // a multiple of 32
    int bits;              // of a digit
    int shift;
};

__device__ int digit_of(const pass &by, int32_t id)
{
    return (id >> by.shift) & ((1 << by.bits) - 1);
}

// The lanes of the warp that hold the same digit; lanes without an id form a set of their own.
__device__ unsigned peers_of(const pass &by, int digit, bool is_there)
{
    const unsigned there = __ballot_sync(COP_WARP_ALL, is_there);
    unsigned peers = is_there ? there : ~there;
    for (int bit = 0; bit < by.bits; bit++) {
        const unsigned set = __ballot_sync(COP_WARP_ALL, digit >> bit & 1);
        peers &= (digit >> bit & 1) != 0 ? set : ~set;
    }
    return peers;
}

// Calls take(index, id, digit, place) for the ids of the block's chunk, in order: `place` counts up
// from next[digit], one for each id.
template <typename F> __device__ void walk_chunk(const pass &by, int32_t *next, F take)
{
    const int lane = static_cast<int>(threadIdx.x);
    const int64_t first = blockIdx.x * by.ids_per_chunk;
    const int64_t end = min(first + by.ids_per_chunk, by.n);
    for (int64_t at = first; at < end; at += COP_WARP) {
        const bool is_there = at + lane < end;
        const int32_t id = is_there ? by.ids[at + lane] : 0;
        const int digit = digit_of(by, id);
        const unsigned peers = peers_of(by, digit, is_there);
        const unsigned before = peers & ((1u << lane) - 1u);
        if (is_there) {
            take(at + lane, id, digit, next[digit] + __popc(before));
        }
        __syncwarp();
        if (is_there && before == 0) { // one lane for each digit
            next[digit] += __popc(peers);
        }
        __syncwarp();
    }
}

__global__ void __launch_bounds__(COP_WARP) count_kernel(pass by)
{
    __shared__ int32_t next[DIGITS_MAX];
    const int digits = 1 << by.bits;
    for (int d = static_cast<int>(threadIdx.x); d < digits; d += COP_WARP) {
        next[d] = 0;
    }
    __syncwarp();
    walk_chunk(by, next, [](int64_t, int32_t, int, int32_t) {});
    for (int d = static_cast<int>(threadIdx.x); d < digits; d += COP_WARP) {
        by.counts[d * by.chunks + blockIdx.x] = next[d];
    }
}

// Sum of the values of lower lanes.
__device__ int32_t lower_sum(int32_t value, int lane, int32_t *total)
{
    int32_t sum = value;
    for (unsigned step = 1; step < COP_WARP; step *= 2) {
        const int32_t other = __shfl_up_sync(COP_WARP_ALL, sum, step);
        sum += lane >= static_cast<int>(step) ? other : 0;
    }
    *total = __shfl_sync(COP_WARP_ALL, sum, COP_WARP - 1);
    return sum - value;
}

// A warp for a digit: counts become sums over the chunks before.
__global__ void __launch_bounds__(SCAN_WARPS *COP_WARP) chunks_kernel(pass by)
{
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    const int digit =
        static_cast<int>(blockIdx.x) * SCAN_WARPS + static_cast<int>(threadIdx.x) / COP_WARP;
    if (digit >= 1 << by.bits) {
        return;
    }
    int32_t before = 0;
    for (int64_t first = 0; first < by.chunks; first += COP_WARP) {
        const int64_t chunk = first + lane;
        int32_t *at = by.counts + digit * by.chunks + chunk;
        int32_t total = 0;
        const int32_t lower = lower_sum(chunk < by.chunks ? *at : 0, lane, &total);
        if (chunk < by.chunks) {
            *at = before + lower;
        }
        before += total;
    }
    if (lane == 0) {
        by.totals[digit] = before;
    }
}

// Each block sums the totals of lower digits for itself: there are at most 512.
__global__ void __launch_bounds__(COP_WARP) take_kernel(pass by)
{
    __shared__ int32_t next[DIGITS_MAX];
    const int lane = static_cast<int>(threadIdx.x);
    const int digits = 1 << by.bits;
    int32_t before = 0;
    for (int first = 0; first < digits; first += COP_WARP) {
        const int d = first + lane;
        int32_t total = 0;
        const int32_t lower = lower_sum(d < digits ? by.totals[d] : 0, lane, &total);
        if (d < digits) {
            next[d] = before + lower + by.counts[d * by.chunks + blockIdx.x];
        }
        before += total;
    }
    __syncwarp();
    walk_chunk(by, next, [&](int64_t index, int32_t id, int, int32_t place) {
        by.out_ids[place] = id;
        by.out_rows[place] = by.rows != NULL ? by.rows[index] : static_cast<int32_t>(index);
    });
}

struct shape {
    int passes;
    int bits; // of a digit
    int64_t chunks;
    int64_t ids_per_chunk;
    uint64_t list_bytes; // of one list of n
};

uint64_t rounded_up(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

shape shape_of(int64_t n, int64_t limit)
{
    int bits = 1;
    while (bits < 31 && (INT64_C(1) << bits) < limit) {
        bits++;
    }
    shape of = {};
    of.passes = (bits + 8) / 9;
    of.bits = (bits + of.passes - 1) / of.passes;
    const int64_t wanted = cop_ceil_div(n, CHUNKS_MAX);
    of.ids_per_chunk = cop_ceil_div(wanted < CHUNK_IDS ? CHUNK_IDS : wanted, COP_WARP) * COP_WARP;
    of.chunks = cop_ceil_div(n, of.ids_per_chunk);
    of.list_bytes = rounded_up(static_cast<uint64_t>(n) * sizeof(int32_t));
    return of;
}

} // namespace

uint64_t cop_cuda_sort_scratch(int64_t n, int64_t limit)
{
    const shape of = shape_of(n, limit);
    const uint64_t counts = (static_cast<uint64_t>(of.chunks) + 1) << of.bits;
    return 4 * of.list_bytes + rounded_up(counts * sizeof(int32_t));
}

void cop_cuda_sort_ids(cudaStream_t stream, const int32_t *ids, int64_t n, int64_t limit,
                       void *scratch, const int32_t **out_ids, const int32_t **out_rows)
{
    const shape of = shape_of(n, limit);
    const unsigned chunks = static_cast<unsigned>(of.chunks);
    const unsigned scans = static_cast<unsigned>(cop_ceil_div(INT64_C(1) << of.bits, SCAN_WARPS));
    char *memory = static_cast<char *>(scratch);
    pass by = {};
    by.ids = ids;
    by.counts = reinterpret_cast<int32_t *>(memory + 4 * of.list_bytes);
    by.totals = by.counts + (of.chunks << of.bits);
    by.n = n;
    by.chunks = of.chunks;
    by.ids_per_chunk = of.ids_per_chunk;
    by.bits = of.bits;
    for (int p = 0; p < of.passes; p++) {
        const uint64_t flip = static_cast<uint64_t>(p % 2) * 2 * of.list_bytes;
        by.out_ids = reinterpret_cast<int32_t *>(memory + flip);
        by.out_rows = reinterpret_cast<int32_t *>(memory + flip + of.list_bytes);
        by.shift = p * of.bits;
        COP_LAUNCH(count_kernel, chunks, COP_WARP, 0, stream, by);
        COP_LAUNCH(chunks_kernel, scans, SCAN_WARPS * COP_WARP, 0, stream, by);
        COP_LAUNCH(take_kernel, chunks, COP_WARP, 0, stream, by);
        by.ids = by.out_ids;
        by.rows = by.out_rows;
    }
    *out_ids = by.out_ids;
    *out_rows = by.out_rows;
}
