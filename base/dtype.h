// Element types of tensors, and the conversions between them.

#ifndef COP_BASE_DTYPE_H
#define COP_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cop_dtype {
    COP_F32 = 0,
    COP_BF16, // upper half of an f32
    COP_F64,
    COP_F16, // IEEE half; read from checkpoints, never computed in
    COP_I32,
    COP_I64,
    COP_U8
} cop_dtype;

// Bytes of one element.
size_t cop_dtype_bytes(cop_dtype dtype);

// Lower-case name: "f32", "bf16" …
const char *cop_dtype_name(cop_dtype dtype);

// Converts `count` elements between f64, f32, bf16 and f16. Rounds to nearest even; NaN stays NaN
// and infinities stay infinite. The arrays must not overlap, unless they are the same and the
// types are equal.
void cop_dtype_convert(void *to, cop_dtype to_dtype, const void *from, cop_dtype from_dtype,
                       size_t count);

static inline float cop_bf16_to_f32(uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

// Rounds to nearest even; a NaN stays a (quiet) NaN.
static inline uint16_t cop_bf16_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

#ifdef __cplusplus
}
#endif

#endif
