// The types of CUDA for a host compiler: dim3, float4 and its kin, bf16, error codes, streams.
//
// When the toolkit's headers are found they are used, because their bf16 conversions and their
// declarations of the runtime are the ones nvcc compiles against; only headers are needed, no
// library. Without them (or with -DCOP_CUDA_HOST_STANDALONE) the stand-ins below serve: the parts
// the kernels of this project use, with the same names, layouts and rounding.

#ifndef COP_TESTS_HOST_SHIM_CUDA_HOST_TYPES_H
#define COP_TESTS_HOST_SHIM_CUDA_HOST_TYPES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(COP_CUDA_HOST_STANDALONE) && __has_include(<cuda_bf16.h>)
#    include <cuda_bf16.h>
#    include <cuda_runtime_api.h>
#    include <vector_functions.h>
#else

// NOLINTBEGIN(readability-identifier-naming): the names are CUDA's.

typedef unsigned int uint;

#    define COP_CUDA_VECTORS(scalar, name, align2, align4)                           \
        struct name##1                                                               \
        {                                                                            \
            scalar x;                                                                \
        };                                                                           \
        struct alignas(align2) name##2                                               \
        {                                                                            \
            scalar x, y;                                                             \
        };                                                                           \
        struct name##3                                                               \
        {                                                                            \
            scalar x, y, z;                                                          \
        };                                                                           \
        struct alignas(align4) name##4                                               \
        {                                                                            \
            scalar x, y, z, w;                                                       \
        };                                                                           \
        static inline name##2 make_##name##2(scalar x, scalar y)                     \
        {                                                                            \
            return name##2 {x, y};                                                   \
        }                                                                            \
        static inline name##3 make_##name##3(scalar x, scalar y, scalar z)           \
        {                                                                            \
            return name##3 {x, y, z};                                                \
        }                                                                            \
        static inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) \
        {                                                                            \
            return name##4 {x, y, z, w};                                             \
        }

COP_CUDA_VECTORS(signed char, char, 2, 4)
COP_CUDA_VECTORS(unsigned char, uchar, 2, 4)
COP_CUDA_VECTORS(short, short, 4, 8)
COP_CUDA_VECTORS(unsigned short, ushort, 4, 8)
COP_CUDA_VECTORS(int, int, 8, 16)
COP_CUDA_VECTORS(unsigned int, uint, 8, 16)
COP_CUDA_VECTORS(float, float, 8, 16)
COP_CUDA_VECTORS(double, double, 16, 16)
#    undef COP_CUDA_VECTORS

struct dim3 {
    unsigned int x, y, z;

    constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1)
        : x(x_), y(y_), z(z_)
    {
    }
};

struct __nv_bfloat16 {
    uint16_t bits;

    __nv_bfloat16() = default;

    // To nearest, ties to even; every NaN becomes the one canonical NaN, as on the device.
    __nv_bfloat16(float value)
    {
        uint32_t word;
        memcpy(&word, &value, sizeof word);
        const bool is_nan = (word & 0x7fffffffu) > 0x7f800000u;
        bits = is_nan ? uint16_t{0x7fff}
                      : static_cast<uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
    }

    operator float() const
    {
        const uint32_t word = static_cast<uint32_t>(bits) << 16;
        float value;
        memcpy(&value, &word, sizeof value);
        return value;
    }
};

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

static inline __nv_bfloat16 __float2bfloat16(float value)
{
    return __nv_bfloat16(value);
}

static inline __nv_bfloat16 __float2bfloat16_rn(float value)
{
    return __nv_bfloat16(value);
}

static inline float __bfloat162float(__nv_bfloat16 value)
{
    return static_cast<float>(value);
}

static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y)
{
    return __nv_bfloat162{__nv_bfloat16(x), __nv_bfloat16(y)};
}

static inline float2 __bfloat1622float2(__nv_bfloat162 value)
{
    return float2{static_cast<float>(value.x), static_cast<float>(value.y)};
}

enum cudaError_t { // numbered as in the toolkit
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorNotReady = 600,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorCapturedEvent = 907,
    cudaErrorUnknown = 999
};

enum cudaMemcpyKind {
    cudaMemcpyHostToHost = 0,
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4
};

enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9
};

enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};

enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal = 0,
    cudaStreamCaptureModeThreadLocal = 1,
    cudaStreamCaptureModeRelaxed = 2
};

enum cudaStreamCaptureStatus {
    cudaStreamCaptureStatusNone = 0,
    cudaStreamCaptureStatusActive = 1,
    cudaStreamCaptureStatusInvalidated = 2
};

enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };

struct cudaDeviceProp { // those that are asked for
    char name[256];
    size_t totalGlobalMem;
    int major;
    int minor;
    int multiProcessorCount;
};

typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;
typedef void (*cudaHostFn_t)(void *context);

extern "C" {
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaMallocHost(void **memory, size_t bytes);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = 0);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *context);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = 0);
cudaError_t cudaMemset(void *memory, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream = 0);
cudaError_t cudaStreamCreate(cudaStream_t *stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute attribute, int value);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
const char *cudaGetErrorName(cudaError_t error);
const char *cudaGetErrorString(cudaError_t error);
}

// NOLINTEND(readability-identifier-naming)

#endif

#endif
