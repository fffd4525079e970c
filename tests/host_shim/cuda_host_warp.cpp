#include "tests/host_shim/cuda_host.h"
#include "tests/host_shim/cuda_host_internal.h"

// --- Called on the fiber of the running thread

void cop_cuda_host_wait(cop_thread_state state, const char *operation, const char *file, int line)
{
    cop_thread *self = cop_cuda_host_now.running;
    self->operation = operation;
    self->file = file;
    self->line = line;
    self->state = state;
    cop_fiber_yield();
}

void cop_cuda_host_barrier(const char *file, int line)
{
    cop_cuda_host_wait(COP_THREAD_AT_BARRIER, "__syncthreads", file, line);
}

int cop_cuda_host::current_lane(void)
{
    const unsigned id = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    return static_cast<int>(id) % COP_WARP;
}

cop_cuda_lanes cop_cuda_host_exchange(const char *operation, uint32_t mask, uint64_t value,
                                      const char *file, int line)
{
    cop_thread *self = cop_cuda_host_now.running;
    const int lane = cop_cuda_host::current_lane();
    if ((mask >> lane & 1u) == 0) {
        cop_cuda_host_fail(self, "%s at %s:%d: calling lane %d is not in mask 0x%08x", operation,
                           file, line, lane, mask);
    }
    self->mask = mask;
    self->deposit = value;
    cop_cuda_host_wait(COP_THREAD_AT_COLLECTIVE, operation, file, line);
    return cop_cuda_lanes{self->results, self->present, lane};
}

void cop_cuda_host_missing_lane(const char *operation, int source, const char *file, int line)
{
    const cop_thread *self = cop_cuda_host_now.running;
    cop_cuda_host_fail(self,
                       "%s at %s:%d reads lane %d, which is not in mask 0x%08x or has returned",
                       operation, file, line, source, self->mask);
}

// --- Called by the scheduler

// The first lane that keeps the collective of `self` from completing, or NULL. Lanes that have
// returned, or that a partial warp never had, are not waited for: so says the programming guide.
static const cop_thread *collective_blocker(const cop_thread *warp, int lane_count,
                                            const cop_thread *self)
{
    for (int i = 0; i < lane_count; i++) {
        const cop_thread *other = &warp[i];
        if ((self->mask >> i & 1u) == 0 || other->state == COP_THREAD_DONE) {
            continue;
        }
        if (other->state != COP_THREAD_AT_COLLECTIVE || other->mask != self->mask ||
            strcmp(other->operation, self->operation) != 0) {
            return other;
        }
    }
    return NULL;
}

// Delivers one complete collective to the lanes of `mask`.
static void collective_finish(cop_thread *warp, int lane_count, uint32_t mask)
{
    uint32_t present = 0;
    for (int i = 0; i < lane_count; i++) {
        const bool is_in = (mask >> i & 1u) != 0 && warp[i].state == COP_THREAD_AT_COLLECTIVE;
        present |= is_in ? 1u << i : 0u;
    }
    for (int i = 0; i < lane_count; i++) {
        if ((present >> i & 1u) != 0) {
            warp[i].results[i] = warp[i].deposit;
            warp[i].present = present;
            warp[i].state = COP_THREAD_READY;
        }
    }
}

bool cop_cuda_host_warp_resolve(cop_thread *warp, int lane_count)
{
    // Ready lanes are no longer waited for, so what is complete is decided before anything moves.
    uint32_t complete[COP_WARP];
    uint32_t covered = 0;
    int count = 0;
    for (int i = 0; i < lane_count; i++) {
        const cop_thread *self = &warp[i];
        if ((covered >> i & 1u) == 0 && self->state == COP_THREAD_AT_COLLECTIVE &&
            collective_blocker(warp, lane_count, self) == NULL) {
            complete[count] = self->mask;
            covered |= self->mask;
            count++;
        }
    }
    for (int i = 0; i < count; i++) {
        collective_finish(warp, lane_count, complete[i]);
    }
    return count > 0;
}

void cop_cuda_host_warp_check(const cop_thread *warp, int lane_count)
{
    for (int i = 0; i < lane_count; i++) {
        if (warp[i].state == COP_THREAD_AT_COLLECTIVE) {
            char text[512];
            cop_cuda_host_fail(
                &warp[i], "%s at %s:%d: lanes of mask 0x%08x do not arrive: %s", warp[i].operation,
                warp[i].file, warp[i].line, warp[i].mask,
                cop_cuda_host_describe(text, sizeof text,
                                       collective_blocker(warp, lane_count, &warp[i])));
        }
    }
}

// --- Collectives made of one exchange

// NOLINTBEGIN(readability-identifier-naming): the names are CUDA's.

unsigned __ballot_sync(unsigned mask, int predicate, const char *file, int line)
{
    const cop_cuda_lanes lanes =
        cop_cuda_host_exchange("__ballot_sync", mask, predicate != 0, file, line);
    unsigned votes = 0;
    for (int i = 0; i < COP_WARP; i++) {
        if ((lanes.present >> i & 1u) != 0 && lanes.values[i] != 0) {
            votes |= 1u << i;
        }
    }
    return votes;
}

int __any_sync(unsigned mask, int predicate, const char *file, int line)
{
    return __ballot_sync(mask, predicate, file, line) != 0;
}

int __all_sync(unsigned mask, int predicate, const char *file, int line)
{
    return __ballot_sync(mask, predicate == 0, file, line) == 0;
}

unsigned __reduce_add_sync(unsigned mask, unsigned value, const char *file, int line)
{
    const cop_cuda_lanes lanes =
        cop_cuda_host_exchange("__reduce_add_sync", mask, value, file, line);
    unsigned sum = 0;
    for (int i = 0; i < COP_WARP; i++) {
        sum += (lanes.present >> i & 1u) != 0 ? static_cast<unsigned>(lanes.values[i]) : 0u;
    }
    return sum;
}

int __reduce_add_sync(unsigned mask, int value, const char *file, int line)
{
    return static_cast<int>(__reduce_add_sync(mask, static_cast<unsigned>(value), file, line));
}

// NOLINTEND(readability-identifier-naming)
