// Random numbers by (seed, stream, index), never from shared state: what is drawn does not depend
// on the number of workers, their order, or interruptions. The generator is GSL's mt19937, seeded
// with hash(seed, stream) + index.

#ifndef COP_BASE_RNG_H
#define COP_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

// Streams keep unrelated uses apart: equal seeds and indices in two streams are unrelated draws.
typedef enum cop_rng_stream {
    COP_RNG_INIT = 1,  // random weights; index = tensor
    COP_RNG_BATCH,     // training windows; index = epoch
    COP_RNG_RANKING,   // random unit order when pruning; index = axis and layer
    COP_RNG_BOOTSTRAP, // resampling of sequences; index = purpose
    COP_RNG_RESCUE,    // candidates kept by lot; index = rung
    COP_RNG_TEST,
    COP_RNG_STRATEGY // proposals of a search strategy; index = batch
} cop_rng_stream;

typedef struct cop_rng cop_rng;

COP_MUST_CHECK cop_status cop_rng_create(cop_rng **out, uint64_t seed, cop_rng_stream stream,
                                         uint64_t index, cop_error *err);
void cop_rng_destroy(cop_rng *rng);

double cop_rng_uniform(cop_rng *rng);                 // [0, 1)
double cop_rng_normal(cop_rng *rng);                  // mean 0, standard deviation 1
uint64_t cop_rng_below(cop_rng *rng, uint64_t limit); // 0 … limit - 1, unbiased; limit >= 1
void cop_rng_shuffle(cop_rng *rng, int64_t *values, size_t count);

#endif
