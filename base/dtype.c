#include "base/dtype.h"

#include <assert.h>
#include <math.h>

size_t cop_dtype_bytes(cop_dtype dtype)
{
    switch (dtype) {
    case COP_F32: return 4;
    case COP_BF16: return 2;
    case COP_F64: return 8;
    case COP_F16: return 2;
    case COP_I32: return 4;
    case COP_I64: return 8;
    case COP_U8: return 1;
    }
    return 0;
}

const char *cop_dtype_name(cop_dtype dtype)
{
    switch (dtype) {
    case COP_F32: return "f32";
    case COP_BF16: return "bf16";
    case COP_F64: return "f64";
    case COP_F16: return "f16";
    case COP_I32: return "i32";
    case COP_I64: return "i64";
    case COP_U8: return "u8";
    }
    return "unknown";
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1fu;
    const uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0x1f) {
        return float_of(sign | 0x7f800000u | mantissa << 13 | (mantissa != 0 ? 0x400000u : 0u));
    }
    if (exponent == 0) { // zero or subnormal: mantissa * 2^-24, exact in f32
        const float magnitude = (float)mantissa * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

static uint16_t f16_from_f32(float value)
{
    const uint32_t bits = bits_of(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t half;
    if (magnitude > 0x7f800000u) {
        half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    } else if (magnitude >= 0x477ff000u) { // 65520 and above round to infinity
        half = 0x7c00u;
    } else if (magnitude < 0x38800000u) { // below 2^-14: the unit in the last place is 2^-24
        half = (uint32_t)lrintf(float_of(magnitude) * 0x1p24f);
    } else {
        half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    }
    return (uint16_t)(sign | half);
}

// Rounds to odd: a second rounding to a type at least two bits narrower then gives what a single
// rounding of the f64 would have given.
static float f64_to_f32_odd(double value)
{
    const float rounded = (float)value;
    if (isnan(value) || (double)rounded == value) {
        return rounded;
    }
    uint32_t bits = bits_of(rounded);
    if (fabs((double)rounded) > fabs(value)) {
        bits--;
    }
    return float_of(bits | 1u);
}

static float element_f32(const void *from, cop_dtype dtype, size_t i)
{
    switch (dtype) {
    case COP_F32: return ((const float *)from)[i];
    case COP_BF16: return cop_bf16_to_f32(((const uint16_t *)from)[i]);
    case COP_F16: return f16_to_f32(((const uint16_t *)from)[i]);
    case COP_F64: return f64_to_f32_odd(((const double *)from)[i]);
    case COP_I32:
    case COP_I64:
    case COP_U8: break;
    }
    return 0.0F;
}

static bool is_real(cop_dtype dtype)
{
    return dtype == COP_F32 || dtype == COP_BF16 || dtype == COP_F16 || dtype == COP_F64;
}

void cop_dtype_convert(void *to, cop_dtype to_dtype, const void *from, cop_dtype from_dtype,
                       size_t count)
{
    if (to_dtype == from_dtype) {
        if (to != from && count > 0) {
            memcpy(to, from, count * cop_dtype_bytes(to_dtype));
        }
        return;
    }
    assert(is_real(to_dtype) && is_real(from_dtype));
    if (to_dtype == COP_F32 && from_dtype == COP_BF16) { // the two common ones, vectorized
        const uint16_t *source = from;
        float *target = to;
        for (size_t i = 0; i < count; i++) {
            target[i] = cop_bf16_to_f32(source[i]);
        }
    } else if (to_dtype == COP_BF16 && from_dtype == COP_F32) {
        const float *source = from;
        uint16_t *target = to;
        for (size_t i = 0; i < count; i++) {
            target[i] = cop_bf16_from_f32(source[i]);
        }
    } else if (to_dtype == COP_F32 && from_dtype == COP_F64) {
        const double *source = from;
        float *target = to;
        for (size_t i = 0; i < count; i++) {
            target[i] = (float)source[i];
        }
    } else if (to_dtype == COP_F32) {
        float *target = to;
        for (size_t i = 0; i < count; i++) {
            target[i] = element_f32(from, from_dtype, i);
        }
    } else if (to_dtype == COP_F64) {
        double *target = to;
        for (size_t i = 0; i < count; i++) {
            target[i] = (double)element_f32(from, from_dtype, i);
        }
    } else {
        uint16_t *target = to;
        for (size_t i = 0; i < count; i++) {
            const float value = element_f32(from, from_dtype, i);
            target[i] = to_dtype == COP_BF16 ? cop_bf16_from_f32(value) : f16_from_f32(value);
        }
    }
}
