#include "model/rope.h"

#include <math.h>

static const double TWO_PI = 6.283185307179586476925;

// Llama 3.1: long wavelengths are stretched, short ones are not.
static double scale_llama3(double frequency, const cop_rope_settings *rope)
{
    const double context = (double)rope->original_context;
    const double wavelength = TWO_PI / frequency;
    if (wavelength < context / rope->high_frequency_factor) {
        return frequency;
    }
    if (wavelength > context / rope->low_frequency_factor) {
        return frequency / rope->factor;
    }
    const double share = (context / wavelength - rope->low_frequency_factor) /
                         (rope->high_frequency_factor - rope->low_frequency_factor);
    return (1.0 - share) * frequency / rope->factor + share * frequency;
}

void cop_rope_frequencies(double *out, const cop_arch *arch)
{
    const int64_t pairs = cop_arch_rotary_pairs(arch);
    for (int64_t i = 0; i < pairs; i++) {
        const double plain = pow(arch->rope.theta, -(double)i / (double)pairs);
        switch (arch->rope.scaling) {
        case COP_ROPE_LINEAR: out[i] = plain / arch->rope.factor; break;
        case COP_ROPE_LLAMA3: out[i] = scale_llama3(plain, &arch->rope); break;
        case COP_ROPE_PLAIN:
        default: out[i] = plain; break;
        }
    }
}

void cop_rope_tables(void *cosine, void *sine, cop_dtype dtype, const double *frequencies,
                     int64_t pairs, int64_t rows)
{
    for (int64_t t = 0; t < rows; t++) {
        for (int64_t i = 0; i < pairs; i++) {
            const double angle = (double)t * frequencies[i];
            const int64_t at = t * pairs + i;
            if (dtype == COP_F64) {
                ((double *)cosine)[at] = cos(angle);
                ((double *)sine)[at] = sin(angle);
            } else {
                ((float *)cosine)[at] = (float)cos(angle);
                ((float *)sine)[at] = (float)sin(angle);
            }
        }
    }
}
