// CUDA's math and bit intrinsics on the host.
//
// The approximate ones (__expf, __fdividef, rsqrtf...) are computed exactly rounded or nearly so:
// a kernel's tolerance must hold with the device's larger error too. expf, sqrtf, fmaf and the rest
// of <math.h> are the host library's, within 1 ulp or so of the device's.

#ifndef COP_TESTS_HOST_SHIM_CUDA_HOST_MATH_H
#define COP_TESTS_HOST_SHIM_CUDA_HOST_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

// NOLINTBEGIN(readability-identifier-naming): the names are CUDA's.

// glibc declares these names for itself (__expf is its expf), so that functions would clash.
#define __expf(x)                  expf(x)
#define __exp10f(x)                powf(10.0f, x)
#define __logf(x)                  logf(x)
#define __log2f(x)                 log2f(x)
#define __log10f(x)                log10f(x)
#define __powf(x, y)               powf(x, y)
#define __sinf(x)                  sinf(x)
#define __cosf(x)                  cosf(x)
#define __tanhf(x)                 tanhf(x)
#define __sincosf(x, sine, cosine) ((void)(*(sine) = sinf(x), *(cosine) = cosf(x)))

static inline float rsqrtf(float x)
{
    return static_cast<float>(1.0 / sqrt(static_cast<double>(x)));
}

static inline double rsqrt(double x)
{
    return 1.0 / sqrt(x);
}

static inline float __frsqrt_rn(float x)
{
    return rsqrtf(x);
}

static inline float __fdividef(float x, float y)
{
    return x / y;
}

static inline float __fdiv_rn(float x, float y)
{
    return x / y;
}

static inline float __frcp_rn(float x)
{
    return 1.0f / x;
}

static inline float __fadd_rn(float x, float y)
{
    return x + y;
}

static inline float __fmul_rn(float x, float y)
{
    return x * y;
}

static inline float __fmaf_rn(float x, float y, float z)
{
    return fmaf(x, y, z);
}

static inline float __saturatef(float x)
{
    return x > 0.0f ? fminf(x, 1.0f) : 0.0f; // NaN becomes 0, as on the device
}

static inline int __float2int_rn(float x)
{
    return static_cast<int>(nearbyintf(x));
}

static inline float __uint_as_float(unsigned bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float __int_as_float(int bits)
{
    return __uint_as_float(static_cast<unsigned>(bits));
}

static inline unsigned __float_as_uint(float value)
{
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline int __float_as_int(float value)
{
    return static_cast<int>(__float_as_uint(value));
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

static inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}

static inline int __clz(int x)
{
    return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}

static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

// Sum of the four products of signed bytes, plus `sum`: the step of int8 dot products.
static inline int __dp4a(int a, int b, int sum)
{
    for (int i = 0; i < 4; i++) {
        const int a_byte = static_cast<int8_t>(static_cast<unsigned>(a) >> (8 * i));
        const int b_byte = static_cast<int8_t>(static_cast<unsigned>(b) >> (8 * i));
        sum = static_cast<int>(static_cast<unsigned>(sum) + static_cast<unsigned>(a_byte * b_byte));
    }
    return sum;
}

template <typename T> constexpr T min(T a, T b)
{
    return b < a ? b : a;
}

template <typename T> constexpr T max(T a, T b)
{
    return a < b ? b : a;
}

// NOLINTEND(readability-identifier-naming)

#endif
