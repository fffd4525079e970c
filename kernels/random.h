// Random bits for operators, by counter: the bits of an element depend on (seed, step, index) alone,
// never on who computes it, so that every backend, a resumed run and a sharded one draw the same.
// The mixing function is the finalizer of SplitMix64 (Steele, Lea, Flood, "Fast splittable
// pseudorandom number generators", 2014), variant 13 of Stafford.

#ifndef COP_KERNELS_RANDOM_H
#define COP_KERNELS_RANDOM_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#    define COP_HOST_DEVICE __host__ __device__
#else
#    define COP_HOST_DEVICE
#endif

static inline COP_HOST_DEVICE uint64_t cop_random_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// What all elements of one step share.
static inline COP_HOST_DEVICE uint64_t cop_random_key(uint64_t seed, uint64_t step)
{
    return cop_random_mix(cop_random_mix(seed + 0x9e3779b97f4a7c15u) + step);
}

static inline COP_HOST_DEVICE uint64_t cop_random_bits(uint64_t key, uint64_t index)
{
    return cop_random_mix(key + index * 0x9e3779b97f4a7c15u);
}

// Uniform in [0, 1): the upper 24 bits, each value exact in f32.
static inline COP_HOST_DEVICE float cop_random_uniform(uint64_t bits)
{
    return (float)(bits >> 40) * (1.0F / 16777216.0F);
}

// Rounds an f32, given as its bits, to bf16 up or down in magnitude with the probability of its
// distance, by 16 random bits: unbiased, where rounding to nearest would drop small updates. NaN
// and infinities stay what they are; a value that bf16 holds exactly is not changed.
static inline COP_HOST_DEVICE uint16_t cop_bf16_round_stochastic(uint32_t value, uint32_t random16)
{
    const uint32_t quiet = (value >> 16) | ((value & 0x007fffffu) != 0 ? 0x40u : 0u);
    const uint32_t rounded = (value + (random16 & 0xffffu)) >> 16;
    return (uint16_t)((value & 0x7f800000u) == 0x7f800000u ? quiet : rounded);
}

#endif
