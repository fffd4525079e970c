#include "tests/host_shim/cuda_host_mma.h"

#include "tests/host_shim/cuda_host_internal.h"

namespace {

enum { COPIES_MAX = 128, GROUPS_MAX = 8 };

constexpr uint32_t ALL_LANES = 0xffffffffu;

// What a lane offers to one instruction. Two places in turn: a lane may offer to the next
// instruction while others still read what it offered to this one, but not to the one after.
struct offer {
    uint32_t a[4]; // ldmatrix: the lane's row
    uint32_t b[2];
    uintptr_t address;
};

struct copy {
    unsigned char *to;
    const unsigned char *from; // NULL: zeros
    size_t bytes;
};

// The copies of a thread that have not arrived, oldest first. group_end[i] counts the copies up to
// the end of group i.
struct copies {
    copy list[COPIES_MAX];
    int count;
    int group_end[GROUPS_MAX];
    int group_count;
    uint3 block;
};

offer offers[COP_THREADS_MAX][2];
unsigned char turns[COP_THREADS_MAX];
copies pending[COP_THREADS_MAX];
uint64_t mma_count;
uint64_t bank_conflicts;

} // namespace

static unsigned thread_index(void)
{
    return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
}

// --- Collectives

static offer *offer_next(void)
{
    const unsigned thread = thread_index();
    turns[thread] ^= 1u;
    return &offers[thread][turns[thread]];
}

// Waits for all lanes; others[i] is what lane i offered.
static int offer_exchange(const offer *others[COP_WARP], const offer *own, const char *operation,
                          const char *file, int line)
{
    const cop_cuda_lanes lanes =
        cop_cuda_host_exchange(operation, ALL_LANES, reinterpret_cast<uintptr_t>(own), file, line);
    for (int i = 0; i < COP_WARP; i++) {
        if ((lanes.present >> i & 1u) == 0) {
            cop_cuda_host_missing_lane(operation, i, file, line);
        }
        // NOLINTNEXTLINE(performance-no-int-to-ptr): a lane can deposit eight bytes
        others[i] = reinterpret_cast<const offer *>(static_cast<uintptr_t>(lanes.values[i]));
    }
    return lanes.lane;
}

static float half_of(uint32_t word, int which)
{
    return __uint_as_float(which == 0 ? word << 16 : word & 0xffff0000u);
}

void cop_mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                        const char *file, int line)
{
    const offer *others[COP_WARP];
    offer *own = offer_next();
    memcpy(own->a, a, sizeof own->a);
    own->b[0] = b0;
    own->b[1] = b1;
    const int lane = offer_exchange(others, own, "mma.sync", file, line);
    const int g = lane / 4;
    const int t = lane % 4;
    mma_count += lane == 0 ? 1 : 0;
    float sum[4] = {d[0], d[1], d[2], d[3]};
    for (int word = 0; word < 8; word++) { // depth 2 * word and 2 * word + 1
        const int deep = word / 4;         // 1: depth 8 to 15
        const offer *left = others[g * 4 + word % 4];
        const uint32_t upper = left->a[2 * deep];
        const uint32_t lower = left->a[2 * deep + 1];
        const uint32_t first = others[2 * t * 4 + word % 4]->b[deep];
        const uint32_t second = others[(2 * t + 1) * 4 + word % 4]->b[deep];
        for (int side = 0; side < 2; side++) {
            sum[0] += half_of(upper, side) * half_of(first, side);
            sum[1] += half_of(upper, side) * half_of(second, side);
            sum[2] += half_of(lower, side) * half_of(first, side);
            sum[3] += half_of(lower, side) * half_of(second, side);
        }
    }
    memcpy(d, sum, sizeof sum);
}

static void check_aligned(const void *address, size_t bytes, const char *operation,
                          const char *file, int line)
{
    if (reinterpret_cast<uintptr_t>(address) % bytes != 0) {
        cop_cuda_host_fail(cop_cuda_host_now.running, "%s at %s:%d: %p is not aligned to %zu bytes",
                           operation, file, line, address, bytes);
    }
}

// Eight rows of 16 bytes are read at once when they lie in different groups of four banks.
static void count_conflicts(const offer *const others[COP_WARP])
{
    for (int matrix = 0; matrix < 4; matrix++) {
        unsigned groups = 0;
        for (int row = 0; row < 8; row++) {
            groups |= 1u << (others[matrix * 8 + row]->address / 16 % 8);
        }
        bank_conflicts += groups != 0xffu ? 1 : 0;
    }
}

static int load_rows(const offer *others[COP_WARP], const void *row, const char *operation,
                     const char *file, int line)
{
    offer *own = offer_next();
    check_aligned(row, 16, operation, file, line);
    memcpy(own->a, row, sizeof own->a);
    own->address = reinterpret_cast<uintptr_t>(row);
    const int lane = offer_exchange(others, own, operation, file, line);
    if (lane == 0) {
        count_conflicts(others);
    }
    return lane;
}

void cop_ldmatrix_x4(uint32_t (&words)[4], const void *row, const char *file, int line)
{
    const offer *others[COP_WARP];
    const int lane = load_rows(others, row, "ldmatrix", file, line);
    for (int i = 0; i < 4; i++) {
        words[i] = others[i * 8 + lane / 4]->a[lane % 4];
    }
}

void cop_ldmatrix_x4_trans(uint32_t (&words)[4], const void *row, const char *file, int line)
{
    const offer *others[COP_WARP];
    const int lane = load_rows(others, row, "ldmatrix.trans", file, line);
    const int column = lane / 4;
    const int shift = column % 2 * 16;
    for (int i = 0; i < 4; i++) {
        const offer *const *rows = &others[i * 8 + 2 * (lane % 4)];
        const uint32_t low = rows[0]->a[column / 2] >> shift & 0xffffu;
        const uint32_t high = rows[1]->a[column / 2] >> shift & 0xffffu;
        words[i] = low | high << 16;
    }
}

// --- Asynchronous copies

static copies *copies_of_thread(void)
{
    copies *self = &pending[thread_index()];
    const bool is_same =
        self->block.x == blockIdx.x && self->block.y == blockIdx.y && self->block.z == blockIdx.z;
    if (!is_same && self->count > 0) {
        cop_cuda_host_fail(cop_cuda_host_now.running,
                           "a thread of block (%u,%u,%u) ended without waiting for its copies",
                           self->block.x, self->block.y, self->block.z);
    }
    if (!is_same) {
        self->block = blockIdx;
        self->group_count = 0;
    }
    return self;
}

static void copy_begin(void *shared, const void *global, bool is_there, size_t bytes,
                       const char *file, int line)
{
    copies *self = copies_of_thread();
    check_aligned(shared, bytes, "cp.async", file, line);
    check_aligned(global, is_there ? bytes : 1, "cp.async", file, line);
    if (self->count == COPIES_MAX) {
        cop_cuda_host_fail(cop_cuda_host_now.running, "cp.async at %s:%d: more than %d copies",
                           file, line, static_cast<int>(COPIES_MAX));
    }
    memset(shared, 0xff, bytes);
    self->list[self->count] =
        copy{static_cast<unsigned char *>(shared),
             is_there ? static_cast<const unsigned char *>(global) : NULL, bytes};
    self->count++;
}

void cop_cp_async_16(void *shared, const void *global, bool is_there, const char *file, int line)
{
    copy_begin(shared, global, is_there, 16, file, line);
}

void cop_cp_async_4(void *shared, const void *global, bool is_there, const char *file, int line)
{
    copy_begin(shared, global, is_there, 4, file, line);
}

void cop_cp_async_commit(void)
{
    copies *self = copies_of_thread();
    if (self->group_count == GROUPS_MAX) {
        cop_cuda_host_fail(cop_cuda_host_now.running, "more than %d groups of copies",
                           static_cast<int>(GROUPS_MAX));
    }
    self->group_end[self->group_count] = self->count;
    self->group_count++;
}

void cop_cuda_host_async_wait(int left)
{
    copies *self = copies_of_thread();
    const int done = self->group_count > left ? self->group_count - left : 0;
    const int arrived = done > 0 ? self->group_end[done - 1] : 0;
    for (int i = 0; i < arrived; i++) {
        const copy *each = &self->list[i];
        if (each->from == NULL) {
            memset(each->to, 0, each->bytes);
        } else {
            memcpy(each->to, each->from, each->bytes);
        }
    }
    self->count -= arrived;
    memmove(self->list, self->list + arrived, static_cast<size_t>(self->count) * sizeof(copy));
    self->group_count -= done;
    for (int i = 0; i < self->group_count; i++) {
        self->group_end[i] = self->group_end[i + done] - arrived;
    }
}

uint64_t cop_cuda_host_mma_count(void)
{
    return mma_count;
}

uint64_t cop_cuda_host_bank_conflicts(void)
{
    return bank_conflicts;
}
