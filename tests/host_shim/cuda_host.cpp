#include "tests/host_shim/cuda_host.h"

#include <pthread.h>
#include <stdlib.h>

#include "tests/host_shim/cuda_host_internal.h"

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;
cop_launch cop_cuda_host_now;

namespace {

pthread_mutex_t launch_turn = PTHREAD_MUTEX_INITIALIZER; // held during a launch
cop_launch *const now = &cop_cuda_host_now;
cop_thread threads[COP_THREADS_MAX];
uint64_t results[COP_WARPS_MAX][COP_WARP];

} // namespace

// --- Order

static uint64_t random_next(void) // splitmix64
{
    uint64_t z = (now->random_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

// Writes the order in which `count` warps or lanes run next.
static void order_fill(int *order, int count)
{
    for (int i = 0; i < count; i++) {
        order[i] = now->order == COP_ORDER_REVERSE ? count - 1 - i : i;
    }
    for (int i = count - 1; now->order == COP_ORDER_RANDOM && i > 0; i--) {
        const int j = static_cast<int>(random_next() % static_cast<uint64_t>(i + 1));
        const int held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}

static void order_read(void)
{
    const char *text = getenv("COP_CUDA_ORDER"); // NOLINT(concurrency-mt-unsafe): holds the turn
    char *end = NULL;
    now->order = COP_ORDER_FORWARD;
    now->random_state = 0;
    if (text == NULL || strcmp(text, "forward") == 0) {
        return;
    }
    if (strcmp(text, "reverse") == 0) {
        now->order = COP_ORDER_REVERSE;
        return;
    }
    if (strncmp(text, "random:", 7) == 0 && text[7] >= '0' && text[7] <= '9') {
        now->order = COP_ORDER_RANDOM;
        now->random_state = strtoull(text + 7, &end, 10);
    }
    if (end == NULL || *end != '\0') {
        cop_cuda_host_fail(
            NULL, "COP_CUDA_ORDER is \"%s\" (allowed: forward, reverse, random:<seed>)", text);
    }
}

// --- Scheduling

static void thread_main(void *context)
{
    (void)context;
    now->body(now->context);
    now->running->state = COP_THREAD_DONE;
}

// Runs one warp until each of its threads waits at the block's barrier or has returned: true. In
// random orders it may leave off at any collective, for other warps to come in between: false.
static bool warp_run(int warp_index)
{
    cop_thread *warp = threads + static_cast<size_t>(warp_index) * COP_WARP;
    const int left = now->thread_count - warp_index * COP_WARP;
    const int lane_count = left < COP_WARP ? left : COP_WARP;
    int order[COP_WARP] = {0};
    do {
        order_fill(order, lane_count);
        for (int i = 0; i < lane_count; i++) {
            cop_thread *self = &warp[order[i]];
            if (self->state == COP_THREAD_READY) {
                now->running = self;
                threadIdx = self->index;
                cop_fiber_resume(&self->fiber);
                now->running = NULL;
            }
        }
        if (!cop_cuda_host_warp_resolve(warp, lane_count)) {
            cop_cuda_host_warp_check(warp, lane_count);
            return true;
        }
    } while (now->order != COP_ORDER_RANDOM || random_next() % 2 == 0);
    return false;
}

// Lets all threads through the barrier; false when all have returned. Anything else is divergence:
// CUDA wants all threads of the block at the same __syncthreads() or none.
static bool barrier_release(void)
{
    const cop_thread *first = NULL;
    for (int i = 0; i < now->thread_count && first == NULL; i++) {
        first = threads[i].state == COP_THREAD_AT_BARRIER ? &threads[i] : NULL;
    }
    if (first == NULL) {
        return false;
    }
    for (int i = 0; i < now->thread_count; i++) {
        cop_thread *self = &threads[i];
        if (self->state == COP_THREAD_DONE || self->line != first->line ||
            strcmp(self->file, first->file) != 0) {
            char text[512];
            cop_cuda_host_fail(first, "divergent __syncthreads at %s:%d: %s", first->file,
                               first->line, cop_cuda_host_describe(text, sizeof text, self));
        }
        self->state = COP_THREAD_READY;
    }
    return true;
}

static void block_run(void)
{
    cop_cuda_host_poison_static();
    memset(now->dynamic_shared, 0xff, now->dynamic_bytes);
    for (int i = 0; i < now->thread_count; i++) {
        const unsigned id = static_cast<unsigned>(i);
        threads[i].index.x = id % blockDim.x;
        threads[i].index.y = id / blockDim.x % blockDim.y;
        threads[i].index.z = id / blockDim.x / blockDim.y;
        threads[i].state = COP_THREAD_READY;
        threads[i].results = results[i / COP_WARP];
        cop_fiber_start(&threads[i].fiber, thread_main, NULL);
    }
    do {
        bool is_settled = false;
        while (!is_settled) {
            int order[COP_WARPS_MAX] = {0};
            order_fill(order, now->warp_count);
            is_settled = true;
            for (int i = 0; i < now->warp_count; i++) {
                is_settled = warp_run(order[i]) && is_settled;
            }
        }
    } while (barrier_release());
}

// The limits of every device since compute capability 3.0.
static cudaError_t configuration_check(const void *function, dim3 grid, dim3 block,
                                       size_t shared_bytes)
{
    const bool is_empty =
        grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0;
    const bool is_grid_too_large = grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535;
    const bool is_block_too_large =
        block.x > COP_THREADS_MAX || block.y > COP_THREADS_MAX || block.z > 64 ||
        static_cast<uint64_t>(block.x) * block.y * block.z > COP_THREADS_MAX;
    if (is_empty || is_grid_too_large || is_block_too_large) {
        return cudaErrorInvalidConfiguration;
    }
    return shared_bytes > cop_cuda_host_dynamic_limit(function) ? cudaErrorInvalidValue
                                                                : cudaSuccess;
}

bool cop_cuda_host_launchable(const void *function, dim3 grid, dim3 block, size_t shared_bytes)
{
    const cudaError_t error = configuration_check(function, grid, block, shared_bytes);
    if (error != cudaSuccess) {
        cop_cuda_host_error_set(error);
    }
    return error == cudaSuccess;
}

// Fibers and dynamic shared memory of the launch. The exact size lets a sanitizer see its end.
static cudaError_t resources_take(size_t shared_bytes)
{
    for (int i = 0; i < now->thread_count; i++) {
        if (threads[i].fiber.mapping == NULL && !cop_fiber_init(&threads[i].fiber)) {
            return cudaErrorMemoryAllocation;
        }
    }
    now->dynamic_bytes = shared_bytes;
    return posix_memalign(&now->dynamic_shared, 16, shared_bytes) == 0 ? cudaSuccess
                                                                       : cudaErrorMemoryAllocation;
}

static void grid_run(dim3 grid)
{
    const uint64_t block_count = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
    const uint64_t start = now->order == COP_ORDER_RANDOM ? random_next() % block_count : 0;
    for (uint64_t i = 0; i < block_count; i++) {
        const uint64_t turn = (start + i) % block_count;
        const uint64_t id = now->order == COP_ORDER_REVERSE ? block_count - 1 - turn : turn;
        blockIdx.x = static_cast<unsigned>(id % grid.x);
        blockIdx.y = static_cast<unsigned>(id / grid.x % grid.y);
        blockIdx.z = static_cast<unsigned>(id / grid.x / grid.y);
        block_run();
    }
}

void *cop_cuda_host_dynamic_shared(void)
{
    return now->dynamic_shared;
}

void cop_cuda_host_run(const char *kernel, const void *function, dim3 grid, dim3 block,
                       size_t shared_bytes, void (*body)(void *context), void *context)
{
    (void)pthread_mutex_lock(&launch_turn);
    cudaError_t error = configuration_check(function, grid, block, shared_bytes);
    if (error == cudaSuccess) {
        now->kernel = kernel;
        now->body = body;
        now->context = context;
        now->thread_count = static_cast<int>(block.x * block.y * block.z);
        now->warp_count = (now->thread_count + COP_WARP - 1) / COP_WARP;
        gridDim = grid;
        blockDim = block;
        blockIdx = uint3{};
        cop_cuda_host_explain_reports();
        order_read();
        error = resources_take(shared_bytes);
    }
    if (error == cudaSuccess) {
        grid_run(grid);
    } else {
        cop_cuda_host_error_set(error);
    }
    free(now->dynamic_shared);
    now->dynamic_shared = NULL;
    now->kernel = NULL;
    (void)pthread_mutex_unlock(&launch_turn);
}
