#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/cuda/device.cuh"
#include "tests/cuda/cublaslt_host.h"

namespace {

struct layout {
    cudaDataType type;
    int64_t rows, cols, stride;
};

struct operation {
    cublasComputeType_t compute;
    cudaDataType scale;
    cublasOperation_t first, second;
};

struct preference {
    uint64_t workspace_bytes;
    uint32_t reductions;
    uint32_t alignments[4];
};

template <typename T, typename H> cublasStatus_t make(H *out)
{
    *out = static_cast<H>(calloc(1, sizeof(T)));
    cop_test_lt.live++;
    return *out != NULL ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t drop(void *object)
{
    free(object);
    cop_test_lt.live--;
    return CUBLAS_STATUS_SUCCESS;
}

// Column-major, as the library has it.
double at(const layout &m, const void *data, bool is_transposed, int64_t row, int64_t col)
{
    const int64_t i = is_transposed ? col + row * m.stride : row + col * m.stride;
    return m.type == CUDA_R_16BF
               ? static_cast<double>(cop_load(static_cast<const __nv_bfloat16 *>(data) + i))
               : static_cast<double>(static_cast<const float *>(data)[i]);
}

void put(const layout &m, void *data, int64_t row, int64_t col, double value)
{
    const int64_t i = row + col * m.stride;
    if (m.type == CUDA_R_16BF) {
        cop_store(static_cast<__nv_bfloat16 *>(data) + i, static_cast<float>(value));
    } else {
        static_cast<float *>(data)[i] = static_cast<float>(value);
    }
}

void nap(void)
{
    const struct timespec time = {0, 3000000};
    (void)nanosleep(&time, NULL);
}

} // namespace

cop_test_lt_record cop_test_lt;

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    return make<int>(reinterpret_cast<void **>(handle));
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    return drop(handle);
}

size_t cublasLtGetVersion(void)
{
    return 130000;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    const cublasStatus_t status = make<operation>(reinterpret_cast<void **>(out));
    *reinterpret_cast<operation *>(*out) = operation{compute, scale, CUBLAS_OP_N, CUBLAS_OP_N};
    return status;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    return drop(desc);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    operation *self = reinterpret_cast<operation *>(desc);
    if (bytes != sizeof(cublasOperation_t)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    switch (static_cast<int>(attribute)) {
    case CUBLASLT_MATMUL_DESC_TRANSA: memcpy(&self->first, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_TRANSB: memcpy(&self->second, value, bytes); break;
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t stride)
{
    const cublasStatus_t status = make<layout>(reinterpret_cast<void **>(out));
    *reinterpret_cast<layout *>(*out) =
        layout{type, static_cast<int64_t>(rows), static_cast<int64_t>(cols), stride};
    return status;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t self)
{
    return drop(self);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    return make<preference>(reinterpret_cast<void **>(out));
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t self)
{
    return drop(self);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t which,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes)
{
    preference *self = reinterpret_cast<preference *>(which);
    uint32_t word = 0;
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && bytes == sizeof(uint64_t)) {
        memcpy(&self->workspace_bytes, value, bytes);
        return CUBLAS_STATUS_SUCCESS;
    }
    if (bytes != sizeof word) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    memcpy(&word, value, bytes);
    switch (static_cast<int>(attribute)) {
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: self->reductions = word; break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: self->alignments[0] = word; break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: self->alignments[1] = word; break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: self->alignments[2] = word; break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: self->alignments[3] = word; break;
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t which, int wanted,
                                              cublasLtMatmulHeuristicResult_t *found, int *count)
{
    (void)handle;
    (void)desc;
    (void)a;
    (void)b;
    (void)d;
    const preference *self = reinterpret_cast<preference *>(which);
    cop_test_lt.heuristics++;
    cop_test_lt.workspace_bytes = self->workspace_bytes;
    cop_test_lt.reductions = self->reductions;
    memcpy(cop_test_lt.alignments, self->alignments, sizeof self->alignments);
    *count = 0;
    if (reinterpret_cast<layout *>(c)->rows == COP_TEST_LT_REFUSED_COLUMNS) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    for (int i = 0; i < 3 && i < wanted; i++) {
        found[i].algo.data[0] = static_cast<uint64_t>(i);
        *count = i + 1;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    (void)handle;
    (void)d_layout;
    const operation op = *reinterpret_cast<operation *>(desc);
    const layout la = *reinterpret_cast<layout *>(a_layout);
    const layout lb = *reinterpret_cast<layout *>(b_layout);
    const layout lc = *reinterpret_cast<layout *>(c_layout);
    const bool first = op.first == CUBLAS_OP_T;
    const bool second = op.second == CUBLAS_OP_T;
    const int64_t depth = first ? la.rows : la.cols;
    const double scale = static_cast<double>(*static_cast<const float *>(alpha));
    const double add = static_cast<double>(*static_cast<const float *>(beta));
    const int candidate = static_cast<int>(algo->data[0]);
    const bool fits = (first ? la.cols : la.rows) == lc.rows &&
                      (second ? lb.rows : lb.cols) == lc.cols &&
                      (second ? lb.cols : lb.rows) == depth && op.compute == CUBLAS_COMPUTE_32F;
    if (!fits || candidate == 2 || reinterpret_cast<uintptr_t>(workspace) % 256 != 0) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    cop_test_lt.products++;
    cop_test_lt.candidate = candidate;
    cop_cuda_host::enqueue(stream, [=]() {
        static_cast<char *>(workspace)[0] = 0x77;
        static_cast<char *>(workspace)[workspace_bytes - 1] = 0x77;
        if (candidate == 0) {
            nap();
        }
        for (int64_t col = 0; col < lc.cols; col++) {
            for (int64_t row = 0; row < lc.rows; row++) {
                double sum = 0.0;
                for (int64_t k = 0; k < depth; k++) {
                    sum += at(la, a, first, row, k) * at(lb, b, second, k, col);
                }
                const double before = add != 0.0 ? add * at(lc, c, false, row, col) : 0.0;
                put(lc, d, row, col, scale * sum + before);
            }
        }
    });
    return CUBLAS_STATUS_SUCCESS;
}
