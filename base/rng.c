#include "base/rng.h"

#include <assert.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include "base/alloc.h"
#include "base/hash.h"

struct cop_rng {
    gsl_rng *generator;
};

// mt19937 uses the low 32 bits of its seed: a hash of (seed, stream) plus the index keeps up to
// 2^32 indices of one stream apart for certain, which a hash of all three would not.
static unsigned long derive_seed(uint64_t seed, cop_rng_stream stream, uint64_t index)
{
    unsigned char bytes[16];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(seed >> (8 * i));
        bytes[8 + i] = (unsigned char)((uint64_t)stream >> (8 * i));
    }
    return (unsigned long)((cop_hash_bytes(bytes, sizeof bytes).low + index) & 0xffffffffu);
}

cop_status cop_rng_create(cop_rng **out, uint64_t seed, cop_rng_stream stream, uint64_t index,
                          cop_error *err)
{
    *out = NULL;
    cop_rng *rng = cop_alloc(1, sizeof *rng);
    if (rng == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "random numbers: out of memory");
    }
    rng->generator = gsl_rng_alloc(gsl_rng_mt19937);
    if (rng->generator == NULL) {
        cop_free(rng);
        return COP_FAIL(err, COP_ERR_NOMEM, "random numbers: out of memory");
    }
    gsl_rng_set(rng->generator, derive_seed(seed, stream, index));
    *out = rng;
    return COP_OK;
}

void cop_rng_destroy(cop_rng *rng)
{
    if (rng != NULL) {
        gsl_rng_free(rng->generator);
        cop_free(rng);
    }
}

double cop_rng_uniform(cop_rng *rng)
{
    return gsl_rng_uniform(rng->generator);
}

double cop_rng_normal(cop_rng *rng)
{
    return gsl_ran_gaussian_ziggurat(rng->generator, 1.0);
}

static uint64_t draw_u64(cop_rng *rng)
{
    const uint64_t high = gsl_rng_get(rng->generator);
    return high << 32 | gsl_rng_get(rng->generator);
}

uint64_t cop_rng_below(cop_rng *rng, uint64_t limit)
{
    assert(limit >= 1);
    const uint64_t rest = UINT64_MAX % limit;
    const uint64_t largest = rest == limit - 1 ? UINT64_MAX : UINT64_MAX - rest - 1;
    uint64_t value;
    do { // values beyond the last whole multiple of `limit` would favour small results
        value = draw_u64(rng);
    } while (value > largest);
    return value % limit;
}

void cop_rng_shuffle(cop_rng *rng, int64_t *values, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        const size_t j = (size_t)cop_rng_below(rng, i);
        const int64_t held = values[i - 1];
        values[i - 1] = values[j];
        values[j] = held;
    }
}
