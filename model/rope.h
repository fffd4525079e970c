// Tables of rotary position embeddings: cos and sin of position * frequency, for the operator
// `rope`. RoFormer (Su et al., 2021); scaling of frequencies as `transformers` does it.

#ifndef COP_MODEL_ROPE_H
#define COP_MODEL_ROPE_H

#include "base/dtype.h"
#include "model/arch.h"

// Angle per position of each rotated pair: `out` has cop_arch_rotary_pairs(arch) elements. With
// R pairs, frequency i is theta^(-i / R); then
// - LINEAR divides by factor;
// - LLAMA3 divides those with a wavelength above original_context / low_frequency_factor by factor,
//   keeps those below original_context / high_frequency_factor, and blends in between.
void cop_rope_frequencies(double *out, const cop_arch *arch);

// Row t of the tables [rows, R]: cos and sin of t * frequency. `cosine` and `sine` are host memory
// of element type f32 or f64.
void cop_rope_tables(void *cosine, void *sine, cop_dtype dtype, const double *frequencies,
                     int64_t pairs, int64_t rows);

#endif
