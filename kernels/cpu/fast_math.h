// Elementary functions in f32 that the compiler vectorizes: no branches, no calls, no tables.
// Polynomials were fitted at Chebyshev nodes. Errors against the exact values are in units in the
// last place, over the range given; tests/kernels/math_test.c measures them.

#ifndef COP_KERNELS_CPU_FAST_MATH_H
#define COP_KERNELS_CPU_FAST_MATH_H

#include <stdint.h>
#include <string.h>

// e^x, 2 ulp on [-87, 88]. 0 below -87.3 (results that would be denormal), capped above 88 at
// e^88: what uses it divides or compares. NaN stays NaN.
static inline float cop_fast_exp(float x)
{
    const float shifter = 12582912.0F; // 1.5 * 2^23: adding it rounds to an integer
    const float capped = x > 88.0F ? 88.0F : x;
    const float shifted = capped * 1.44269504F + shifter;
    const float n = shifted - shifter;
    // ln 2 in two parts, the first with so few bits that n * 0.693359375 is exact.
    const float r = (capped - n * 0.693359375F) - n * -2.12194440e-4F;
    const float q =
        (((0.00139261761F * r + 0.00836317307F) * r + 0.0416665547F) * r + 0.16666577F) * r + 0.5F;
    const float p = (q * r * r + r) + 1.0F;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const uint32_t exponent = (bits + 127U) << 23; // the low bits of `shifted` are n
    float power;
    memcpy(&power, &exponent, sizeof power);
    return x < -87.3F ? 0.0F : p * power;
}

// 1 / (1 + e^-x), 3 ulp; the result is 0 below -88.
static inline float cop_fast_sigmoid(float x)
{
    return 1.0F / (1.0F + cop_fast_exp(-x));
}

// Φ(x), the normal distribution function: 1e-6 relative for x > -12, with
// erfc(y) = e^(-y²) g((y - 2.5) / (y + 2.5)) / (1 + 2 y), g a polynomial.
static inline float cop_fast_normal_cdf(float x)
{
    const float y = (x < 0.0F ? -x : x) * 0.707106781F;
    const float t = (y - 2.5F) / (y + 2.5F);
    float g = -6.60132743e-05F;
    g = g * t + 0.000404788142F;
    g = g * t + 0.000468581915F;
    g = g * t - 0.00417866144F;
    g = g * t + 0.000942164442F;
    g = g * t + 0.0326763726F;
    g = g * t - 0.102968894F;
    g = g * t + 0.157644631F;
    g = g * t - 0.0990244476F;
    g = g * t - 0.122357491F;
    g = g * t + 1.26483818F;
    const float half = 0.5F * cop_fast_exp(-0.5F * x * x) * g / (1.0F + 2.0F * y);
    return x < 0.0F ? half : 1.0F - half;
}

#endif
