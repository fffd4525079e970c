// Products by cuBLASLt.
//
// cuBLASLt thinks in columns: a row-major [rows, cols] is its column-major [cols, rows] with the
// same leading dimension. c = op(a) op(b) is asked for as cᵀ = op(b)ᵀ op(a)ᵀ, where the transposed
// views are what the memory already looks like: the operands change places and nothing is moved.
//
// A plan (descriptors and the algorithm) is made once per shape, layout, type and alignment.
// Sums are in f32, f32 operands are not rounded to tf32, and partial sums of a split K are added in
// a fixed order from f32 workspace: the same plan gives the same bits.

#include <cublasLt.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/dtype.h"
#include "kernels/cuda/matmul_tune.h"
#include "kernels/cuda/ops.h"

namespace {

constexpr int CANDIDATES_MAX = 8;
constexpr int TIMED_RUNS = 3; // after one to warm up
constexpr uint64_t WORKSPACE_ALIGNMENT = 256;
constexpr size_t PLANS_FIRST = 64; // a power of two

// What decides a plan. Compared byte by byte.
struct plan_key {
    int64_t m, n, k;
    int64_t a_stride, b_stride, c_stride;
    int16_t a_alignment, b_alignment, c_alignment; // bytes, 1..256
    bool is_half;                                  // a and b are bf16, else f32
    bool is_half_out;
    bool transpose_a, transpose_b;
    bool is_added; // beta is not 0
    uint8_t unused[5];
};

static_assert(sizeof(plan_key) == 64, "no gaps, whose bytes would be compared too");

struct plan {
    plan_key key;
    bool is_used;
    bool has_algorithm; // false: the library has none, the plain kernel multiplies
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t first;  // b
    cublasLtMatrixLayout_t second; // a
    cublasLtMatrixLayout_t result; // c
    cublasLtMatmulAlgo_t algorithm;
};

} // namespace

struct cop_cuda_lt {
    cop_cuda *cuda; // borrowed
    cublasLtHandle_t handle;
    cop_cuda_tune *tune; // NULL: the first candidate
    uint64_t workspace_bytes;
    plan *plans; // hash table, open addressing
    size_t capacity;
    size_t count;
};

namespace {

#define LT_TRY(status, err, what, call)                   \
    do {                                                  \
        const cublasStatus_t lt_status = (call);          \
        if (lt_status != CUBLAS_STATUS_SUCCESS) {         \
            (status) = lt_fail((err), (what), lt_status); \
            goto done;                                    \
        }                                                 \
    } while (0)

cop_status lt_fail(cop_error *err, const char *what, cublasStatus_t lt_status)
{
    (void)cudaGetLastError();
    const cop_status status =
        lt_status == CUBLAS_STATUS_ALLOC_FAILED ? COP_ERR_NOMEM : COP_ERR_DEVICE;
    return COP_FAIL(err, status, "matmul: cuBLASLt: %s: status %d", what,
                    static_cast<int>(lt_status));
}

int16_t alignment_of(const void *data)
{
    const uintptr_t address = reinterpret_cast<uintptr_t>(data) | 256u;
    return static_cast<int16_t>(address & (~address + 1u));
}

plan_key key_of(const cop_matmul_args *args)
{
    plan_key key = {};
    key.m = args->c.rows;
    key.n = args->c.cols;
    key.k = args->transpose_a ? args->a.rows : args->a.cols;
    key.a_stride = args->a.stride;
    key.b_stride = args->b.stride;
    key.c_stride = args->c.stride;
    key.a_alignment = alignment_of(args->a.data);
    key.b_alignment = alignment_of(args->b.data);
    key.c_alignment = alignment_of(args->c.data);
    key.is_half = args->a.dtype == COP_BF16;
    key.is_half_out = args->c.dtype == COP_BF16;
    key.transpose_a = args->transpose_a;
    key.transpose_b = args->transpose_b;
    key.is_added = args->beta != 0.0f;
    return key;
}

uint64_t hash_of(const plan_key *key) // FNV-1a
{
    const unsigned char *bytes = reinterpret_cast<const unsigned char *>(key);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof *key; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash ^ (hash >> 32);
}

// The plan of this key, or the free place for it.
plan *place_of(plan *plans, size_t capacity, const plan_key *key)
{
    size_t at = hash_of(key) & (capacity - 1);
    while (plans[at].is_used && memcmp(&plans[at].key, key, sizeof *key) != 0) {
        at = (at + 1) & (capacity - 1);
    }
    return &plans[at];
}

// Keeps at least half of the table free.
cop_status make_room(cop_cuda_lt *lt, cop_error *err)
{
    if (lt->count * 2 < lt->capacity) {
        return COP_OK;
    }
    const size_t capacity = lt->capacity == 0 ? PLANS_FIRST : lt->capacity * 2;
    plan *plans = static_cast<plan *>(cop_alloc(capacity, sizeof *plans));
    if (plans == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "matmul: %zu plans (allowed: memory is exhausted)",
                        capacity);
    }
    for (size_t i = 0; i < lt->capacity; i++) {
        if (lt->plans[i].is_used) {
            *place_of(plans, capacity, &lt->plans[i].key) = lt->plans[i];
        }
    }
    cop_free(lt->plans);
    lt->plans = plans;
    lt->capacity = capacity;
    return COP_OK;
}

void plan_release(plan *self)
{
    if (self->operation != NULL) {
        (void)cublasLtMatmulDescDestroy(self->operation);
    }
    cublasLtMatrixLayout_t layouts[] = {self->first, self->second, self->result};
    for (cublasLtMatrixLayout_t layout : layouts) {
        if (layout != NULL) {
            (void)cublasLtMatrixLayoutDestroy(layout);
        }
    }
    *self = plan{};
}

cop_status layout_create(cublasLtMatrixLayout_t *out, cop_matrix m, cop_error *err)
{
    cop_status status = COP_OK;
    LT_TRY(status, err, "layout",
           cublasLtMatrixLayoutCreate(out, m.dtype == COP_BF16 ? CUDA_R_16BF : CUDA_R_32F,
                                      static_cast<uint64_t>(m.cols), static_cast<uint64_t>(m.rows),
                                      m.stride));

done:
    return status;
}

cop_status describe(plan *self, const cop_matmul_args *args, cop_error *err)
{
    cop_status status = COP_OK;
    const cublasOperation_t first = args->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t second = args->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    LT_TRY(status, err, "operation",
           cublasLtMatmulDescCreate(&self->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    LT_TRY(status, err, "operation",
           cublasLtMatmulDescSetAttribute(self->operation, CUBLASLT_MATMUL_DESC_TRANSA, &first,
                                          sizeof first));
    LT_TRY(status, err, "operation",
           cublasLtMatmulDescSetAttribute(self->operation, CUBLASLT_MATMUL_DESC_TRANSB, &second,
                                          sizeof second));
    COP_TRY(status, layout_create(&self->first, args->b, err));
    COP_TRY(status, layout_create(&self->second, args->a, err));
    COP_TRY(status, layout_create(&self->result, args->c, err));

done:
    return status;
}

// Without it the library assumes 256 bytes, and its kernels then fail or read across bounds.
cop_status prefer_alignment(cublasLtMatmulPreference_t preference, const plan_key *key,
                            cop_error *err)
{
    cop_status status = COP_OK;

    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        int16_t bytes;
    } each[] = {
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key->b_alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key->a_alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key->c_alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key->c_alignment},
    };

    for (const auto &one : each) {
        const uint32_t bytes = static_cast<uint32_t>(one.bytes);
        LT_TRY(
            status, err, "preference",
            cublasLtMatmulPreferenceSetAttribute(preference, one.attribute, &bytes, sizeof bytes));
    }

done:
    return status;
}

// The library's best first. *count = 0: it has none for this product.
cop_status candidates_of(const cop_cuda_lt *lt, const plan *self,
                         cublasLtMatmulHeuristicResult_t *found, int *count, cop_error *err)
{
    cop_status status = COP_OK;
    cublasLtMatmulPreference_t preference = NULL;
    cublasStatus_t answer = CUBLAS_STATUS_SUCCESS;
    const uint64_t workspace_bytes = lt->workspace_bytes;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; // or none at all
    *count = 0;
    LT_TRY(status, err, "preference", cublasLtMatmulPreferenceCreate(&preference));
    LT_TRY(status, err, "preference",
           cublasLtMatmulPreferenceSetAttribute(preference,
                                                CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                &workspace_bytes, sizeof workspace_bytes));
    LT_TRY(status, err, "preference",
           cublasLtMatmulPreferenceSetAttribute(preference,
                                                CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                &reductions, sizeof reductions));
    COP_TRY(status, prefer_alignment(preference, &self->key, err));
    answer = cublasLtMatmulAlgoGetHeuristic(lt->handle, self->operation, self->first, self->second,
                                            self->result, self->result, preference, CANDIDATES_MAX,
                                            found, count);
    if (answer == CUBLAS_STATUS_NOT_SUPPORTED) {
        *count = 0;
        (void)cudaGetLastError();
    } else if (answer != CUBLAS_STATUS_SUCCESS) {
        status = lt_fail(err, "heuristic", answer);
    }

done:
    if (preference != NULL) {
        (void)cublasLtMatmulPreferenceDestroy(preference);
    }
    return status;
}

void *workspace_of(const cop_matmul_args *args)
{
    // The contract of scratch is an alignment of 64.
    const uintptr_t start = reinterpret_cast<uintptr_t>(args->scratch);
    return static_cast<char *>(args->scratch) +
           (WORKSPACE_ALIGNMENT - start % WORKSPACE_ALIGNMENT) % WORKSPACE_ALIGNMENT;
}

cublasStatus_t multiply(const cop_cuda_lt *lt, const plan *self,
                        const cublasLtMatmulAlgo_t *algorithm, cudaStream_t stream,
                        const cop_matmul_args *args, void *result)
{
    return cublasLtMatmul(lt->handle, self->operation, &args->alpha, args->b.data, self->first,
                          args->a.data, self->second, &args->beta, result, self->result, result,
                          self->result, algorithm, workspace_of(args),
                          static_cast<size_t>(lt->workspace_bytes), stream);
}

// Milliseconds of the best of several runs, or a negative number when the candidate fails.
float time_candidate(const cop_cuda_lt *lt, const plan *self, const cublasLtMatmulAlgo_t *algorithm,
                     cudaStream_t stream, const cop_matmul_args *args, void *result,
                     const cudaEvent_t *events)
{
    float best = -1.0f;
    for (int run = 0; run <= TIMED_RUNS; run++) {
        float elapsed = 0.0f;
        const bool is_done =
            cudaEventRecord(events[0], stream) == cudaSuccess &&
            multiply(lt, self, algorithm, stream, args, result) == CUBLAS_STATUS_SUCCESS &&
            cudaEventRecord(events[1], stream) == cudaSuccess &&
            cudaEventSynchronize(events[1]) == cudaSuccess &&
            cudaEventElapsedTime(&elapsed, events[0], events[1]) == cudaSuccess;
        if (!is_done) {
            (void)cudaGetLastError();
            return -1.0f;
        }
        best = run > 0 && (best < 0.0f || elapsed < best) ? elapsed : best;
    }
    return best;
}

// The fastest of the candidates on these operands. With beta = 0 the result is overwritten anyway;
// else the candidates add to a spare matrix. 0, the library's own choice, when that is not to be had.
int fastest(const cop_cuda_lt *lt, const plan *self, const cublasLtMatmulHeuristicResult_t *found,
            int count, cudaStream_t stream, const cop_matmul_args *args)
{
    const size_t bytes = static_cast<size_t>(args->c.rows) * static_cast<size_t>(args->c.stride) *
                         cop_dtype_bytes(args->c.dtype);
    cudaEvent_t events[2] = {};
    void *spare = NULL;
    float best_time = -1.0f;
    int best = 0;
    bool is_ready =
        cudaEventCreate(&events[0]) == cudaSuccess && cudaEventCreate(&events[1]) == cudaSuccess;
    if (is_ready && args->beta != 0.0f) {
        is_ready = cudaMalloc(&spare, bytes) == cudaSuccess &&
                   cudaMemsetAsync(spare, 0, bytes, stream) == cudaSuccess;
    }
    for (int i = 0; is_ready && i < count; i++) {
        const float elapsed = time_candidate(lt, self, &found[i].algo, stream, args,
                                             spare != NULL ? spare : args->c.data, events);
        if (elapsed >= 0.0f && (best_time < 0.0f || elapsed < best_time)) {
            best_time = elapsed;
            best = i;
        }
    }
    (void)cudaFree(spare);
    for (cudaEvent_t event : events) {
        if (event != NULL) {
            (void)cudaEventDestroy(event);
        }
    }
    (void)cudaGetLastError();
    return best;
}

void tune_key(char *text, const cop_cuda_lt *lt, const plan_key *key)
{
    (void)snprintf(
        text, COP_CUDA_TUNE_KEY_BYTES,
        "%s|%zu|%lldx%lldx%lld %s%s ld %lld,%lld,%lld at %d,%d,%d %s>%s%s", lt->cuda->name,
        cublasLtGetVersion(), static_cast<long long>(key->m), static_cast<long long>(key->n),
        static_cast<long long>(key->k), key->transpose_a ? "t" : "n", key->transpose_b ? "t" : "n",
        static_cast<long long>(key->a_stride), static_cast<long long>(key->b_stride),
        static_cast<long long>(key->c_stride), key->a_alignment, key->b_alignment, key->c_alignment,
        key->is_half ? "bf16" : "f32", key->is_half_out ? "bf16" : "f32", key->is_added ? "+" : "");
}

// While work is recorded nothing can be timed: the library's first choice, which is noted like any
// other, so that a run which meets the shape outside of a recording agrees.
int choose(cop_cuda_lt *lt, const plan *self, const cublasLtMatmulHeuristicResult_t *found,
           int count, cudaStream_t stream, const cop_matmul_args *args)
{
    char key[COP_CUDA_TUNE_KEY_BYTES];
    if (lt->tune == NULL || count < 2) {
        return 0;
    }
    tune_key(key, lt, &self->key);
    int choice = cop_cuda_tune_get(lt->tune, key);
    if (choice == -1) {
        choice = lt->cuda->is_recording ? 0 : fastest(lt, self, found, count, stream, args);
        cop_cuda_tune_put(lt->tune, key, choice);
    }
    return choice >= 0 && choice < count ? choice : 0;
}

cop_status plan_for(const plan **out, cop_cuda_lt *lt, cudaStream_t stream,
                    const cop_matmul_args *args, cop_error *err)
{
    cop_status status = COP_OK;
    const plan_key key = key_of(args);
    plan made = {};
    plan *place = NULL;
    cublasLtMatmulHeuristicResult_t found[CANDIDATES_MAX] = {};
    int count = 0;
    COP_TRY(status, make_room(lt, err));
    place = place_of(lt->plans, lt->capacity, &key);
    if (!place->is_used) {
        made.key = key;
        COP_TRY(status, describe(&made, args, err));
        COP_TRY(status, candidates_of(lt, &made, found, &count, err));
        made.has_algorithm = count > 0;
        if (made.has_algorithm) {
            made.algorithm = found[choose(lt, &made, found, count, stream, args)].algo;
        }
        made.is_used = true;
        *place = made;
        lt->count++;
        made = plan{};
    }
    *out = place;

done:
    plan_release(&made);
    return status;
}

} // namespace

cop_status cop_cuda_lt_create(cop_cuda_lt **out, cop_cuda *cuda, cop_error *err)
{
    cop_status status = COP_OK;
    cop_cuda_lt *lt = static_cast<cop_cuda_lt *>(cop_alloc(1, sizeof *lt));
    *out = NULL;
    if (lt == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "matmul: %zu bytes (allowed: memory is exhausted)",
                          sizeof *lt);
        goto done;
    }
    lt->cuda = cuda;
    // What the library's fastest kernels want: 32 MiB on Hopper and later, 4 MiB before.
    lt->workspace_bytes = uint64_t{cuda->compute >= 90 ? 32u : 4u} << 20;
    COP_TRY(status, cop_cuda_tune_create(&lt->tune, err));
    LT_TRY(status, err, "handle", cublasLtCreate(&lt->handle));
    *out = lt;
    lt = NULL;

done:
    cop_cuda_lt_destroy(lt);
    return status;
}

void cop_cuda_lt_destroy(cop_cuda_lt *lt)
{
    if (lt == NULL) {
        return;
    }
    for (size_t i = 0; i < lt->capacity; i++) {
        plan_release(&lt->plans[i]);
    }
    if (lt->handle != NULL) {
        (void)cublasLtDestroy(lt->handle);
    }
    cop_cuda_tune_destroy(lt->tune);
    cop_free(lt->plans);
    cop_free(lt);
}

int64_t cop_cuda_lt_version(void)
{
    return static_cast<int64_t>(cublasLtGetVersion());
}

uint64_t cop_cuda_lt_scratch(const cop_cuda_lt *lt, const cop_matmul_args *args)
{
    (void)args;
    return lt->workspace_bytes + WORKSPACE_ALIGNMENT;
}

bool cop_cuda_lt_takes(const cop_cuda_lt *lt, const cop_matmul_args *args)
{
    (void)lt;
    const int64_t k = args->transpose_a ? args->a.rows : args->a.cols;
    return k > 0 && k <= INT32_MAX && args->c.rows <= INT32_MAX && args->c.cols <= INT32_MAX;
}

cop_status cop_cuda_lt_matmul(cop_cuda_lt *lt, cudaStream_t stream, const cop_matmul_args *args,
                              cop_error *err)
{
    cop_status status = COP_OK;
    const plan *self = NULL;
    COP_TRY(status, plan_for(&self, lt, stream, args, err));
    if (!self->has_algorithm) {
        status = cop_cuda_matmul_plain(lt->cuda, stream, args, err);
        goto done;
    }
    LT_TRY(status, err, "product",
           multiply(lt, self, &self->algorithm, stream, args, args->c.data));

done:
    if (status == COP_ERR_DEVICE) {
        (void)COP_FAIL(err, status, "%s, [%lld, %lld] x [%lld, %lld]",
                       err != NULL ? err->message : "", static_cast<long long>(args->a.rows),
                       static_cast<long long>(args->a.cols), static_cast<long long>(args->b.rows),
                       static_cast<long long>(args->b.cols));
    }
    return status;
}
