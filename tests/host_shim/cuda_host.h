// CUDA C for a host compiler: runs the project's kernels thread by thread, for tests only.
//
// Included through launch.h. It gives the keywords, built-in variables, barriers, warp collectives
// and atomics of CUDA C their meaning on a CPU, so that a kernel is compiled unchanged by g++ or
// clang++, under AddressSanitizer and UBSan, and compared with its reference without a GPU.
//
// Execution. One block at a time; each of its threads is a fiber (fiber.h). A thread runs until it
// waits, and a warp until all its threads wait at the block's barrier or have returned, before the
// next warp begins: what no barrier forbids does happen out of step. The order comes from the
// environment, read at each launch:
//     COP_CUDA_ORDER=forward | reverse | random:<seed>      (forward when unset)
// It orders blocks, warps and lanes. Random orders change after every wait, may leave a warp at any
// collective for another, and are the same for the same seed. A kernel with its barriers in place
// gives the same result in every order; one that lacks a barrier reads too early or too late in at
// least one of them, if not with one seed then with another.
//
// Memory. Device memory is heap memory. Shared memory, static and dynamic, is filled with 0xff
// bytes before each block, and fresh device memory when it is allocated: a float, double or bf16
// read before it is written is NaN, an integer is -1.
//
// Findings. Misuse that a device would answer with a hang or an undefined value ends the process
// with SIGABRT and one line on standard error that names kernel, block, thread and the source line:
// threads that wait at different barriers, or wait for one that has returned; warp collectives
// whose lanes do not arrive, or that read a lane outside the mask. Reports of the sanitizers are
// accompanied by a line with kernel, block and thread.
//
// Streams. Work runs when it is enqueued, or, after cop_cuda_host_lazy_streams(true) of
// cuda_host_control.h, when somebody waits for it: then what lacks an event or a wait shows. Between
// cudaStreamBeginCapture() and its end launches, copies and host functions are recorded, and run by
// cudaGraphLaunch(); what a device forbids meanwhile is an error here too.
//
// Threads: launches from several operating system threads take turns. A kernel must not spin on a
// value another thread or block will write: nothing runs meanwhile.

#ifndef COP_TESTS_HOST_SHIM_CUDA_HOST_H
#define COP_TESTS_HOST_SHIM_CUDA_HOST_H

#include "tests/host_shim/cuda_host_atomic.h"
#include "tests/host_shim/cuda_host_math.h"
#include "tests/host_shim/cuda_host_types.h"

// NOLINTBEGIN(readability-identifier-naming): the names are CUDA's.

// --- Keywords. The toolkit's headers define some of them as nothing; shared memory must be static.

#undef __shared__
#undef __constant__
#undef __forceinline__
#undef __launch_bounds__
#undef __global__
#undef __device__
#undef __host__
#undef __grid_constant__
#undef __align__
#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n)    __attribute__((aligned(n)))
#define __constant__    static

#define COP_CUDA_JOIN_(a, b) a##b
#define COP_CUDA_JOIN(a, b)  COP_CUDA_JOIN_(a, b)

// One block runs at a time, so block-shared is static. The mark is a neighbour in the same scope:
// its symbol tells cuda_host_shared.cpp which functions' statics to poison. (A section attribute
// would be simpler, but gcc 12 drops it on statics of templates and rejects it in inline functions.)
#define __shared__                                                                               \
    static char COP_CUDA_JOIN(cop_cuda_shared_mark_, __COUNTER__) __attribute__((used, unused)); \
    static

// --- Built-in variables of the running thread. Only the shim writes them.

extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
constexpr int warpSize = 32;

// --- The scheduler's interface. Each wait carries its source position for the reports.

// What lanes deposited in one warp collective: valid until the lane's next wait.
struct cop_cuda_lanes {
    const uint64_t *values; // [32]; only those in `present` are defined
    uint32_t present;       // lanes of the mask that had not returned
    int lane;               // the calling lane
};

// Waits until every lane of `mask` that has not returned arrives with the same mask and operation.
cop_cuda_lanes cop_cuda_host_exchange(const char *operation, uint32_t mask, uint64_t value,
                                      const char *file, int line);

// Reports that the calling lane reads `source`, which takes no part. Does not return.
[[noreturn]] void cop_cuda_host_missing_lane(const char *operation, int source, const char *file,
                                             int line);

void cop_cuda_host_barrier(const char *file, int line);

// Start of the running block's dynamic shared memory; borrowed, valid during the launch.
void *cop_cuda_host_dynamic_shared(void);

// Runs body(context) once for each thread of the grid. Invalid configurations run nothing and set
// the error that cudaGetLastError() returns, as on a device: zero or too large dimensions, more
// than 1024 threads in a block, more than 48 KiB of dynamic shared memory without
// cudaFuncSetAttribute(). `function` is the kernel's address.
void cop_cuda_host_run(const char *kernel, const void *function, dim3 grid, dim3 block,
                       size_t shared_bytes, void (*body)(void *context), void *context);

// Whether a launch is accepted; else sets the error that cudaGetLastError() returns.
bool cop_cuda_host_launchable(const void *function, dim3 grid, dim3 block, size_t shared_bytes);

// Whether work of the stream is kept for later: recorded, or in a queue.
bool cop_cuda_host_defers(cudaStream_t stream);

// Keeps run(context) for later, as often as it is asked for, and then release(context).
void cop_cuda_host_defer(cudaStream_t stream, void (*run)(void *context),
                         void (*release)(void *context), void *context);

namespace cop_cuda_host {

// Runs a function object in the order of the stream.
template <typename B> void enqueue(cudaStream_t stream, const B &body)
{
    if (!cop_cuda_host_defers(stream)) {
        body();
        return;
    }
    cop_cuda_host_defer(
        stream, [](void *context) { (*static_cast<const B *>(context))(); },
        [](void *context) { delete static_cast<B *>(context); }, new B(body));
}

// Arguments are converted to the kernel's parameter types once, as <<<>>> does, not per thread.
template <typename... P>
void launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, cop_cuda_value<P>... arguments)
{
    const void *function = reinterpret_cast<const void *>(kernel);
    if (!cop_cuda_host_launchable(function, grid, block, shared_bytes)) {
        return;
    }
    enqueue(stream, [=]() {
        auto body = [&]() { kernel(arguments...); };
        cop_cuda_host_run(
            name, function, grid, block, shared_bytes,
            [](void *context) { (*static_cast<decltype(body) *>(context))(); }, &body);
    });
}

template <typename T> uint64_t to_bits(T value)
{
    static_assert(sizeof(T) <= sizeof(uint64_t), "a lane exchanges at most 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}

template <typename T> T from_bits(uint64_t bits)
{
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// Delivers the value of lane `source`; lanes whose source is out of range (`is_own`) keep theirs.
template <typename T>
T shuffle(const char *operation, uint32_t mask, T value, int source, bool is_own, const char *file,
          int line)
{
    const cop_cuda_lanes lanes =
        cop_cuda_host_exchange(operation, mask, to_bits(value), file, line);
    if (is_own || source == lanes.lane) {
        return value;
    }
    if ((lanes.present >> source & 1u) == 0) {
        cop_cuda_host_missing_lane(operation, source, file, line);
    }
    return from_bits<T>(lanes.values[source]);
}

int current_lane(void); // index of the running thread within its warp

} // namespace cop_cuda_host

// --- Synchronization and warp collectives, for any trivially copyable type of up to 8 bytes.

#define COP_CUDA_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

static inline void __syncthreads(COP_CUDA_HERE)
{
    cop_cuda_host_barrier(file, line);
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, COP_CUDA_HERE)
{
    (void)cop_cuda_host_exchange("__syncwarp", mask, 0, file, line);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, COP_CUDA_HERE)
{
    const int start = cop_cuda_host::current_lane() & ~(width - 1);
    const int from = start | (source & (width - 1));
    return cop_cuda_host::shuffle("__shfl_sync", mask, value, from, false, file, line);
}

template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, COP_CUDA_HERE)
{
    const int lane = cop_cuda_host::current_lane();
    const int from = lane - static_cast<int>(delta);
    const bool is_own = from < (lane & ~(width - 1));
    return cop_cuda_host::shuffle("__shfl_up_sync", mask, value, from, is_own, file, line);
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, COP_CUDA_HERE)
{
    const int lane = cop_cuda_host::current_lane();
    const int from = lane + static_cast<int>(delta);
    const bool is_own = from > (lane | (width - 1));
    return cop_cuda_host::shuffle("__shfl_down_sync", mask, value, from, is_own, file, line);
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize, COP_CUDA_HERE)
{
    const int lane = cop_cuda_host::current_lane();
    const int from = lane ^ bits;
    const bool is_own = from > (lane | (width - 1));
    return cop_cuda_host::shuffle("__shfl_xor_sync", mask, value, from, is_own, file, line);
}

unsigned __ballot_sync(unsigned mask, int predicate, COP_CUDA_HERE);
int __any_sync(unsigned mask, int predicate, COP_CUDA_HERE);
int __all_sync(unsigned mask, int predicate, COP_CUDA_HERE);
unsigned __reduce_add_sync(unsigned mask, unsigned value, COP_CUDA_HERE);
int __reduce_add_sync(unsigned mask, int value, COP_CUDA_HERE);
unsigned __activemask(void); // not offered: undefined, so that a kernel using it does not link

#undef COP_CUDA_HERE

// The runtime's C++ overloads.
template <typename T> cudaError_t cudaMalloc(T **memory, size_t bytes)
{
    return ::cudaMalloc(reinterpret_cast<void **>(memory), bytes);
}

template <typename T> cudaError_t cudaMallocHost(T **memory, size_t bytes)
{
    return ::cudaMallocHost(reinterpret_cast<void **>(memory), bytes);
}

template <typename... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value)
{
    return ::cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), attribute, value);
}

// NOLINTEND(readability-identifier-naming)

#endif
