#include <inttypes.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/tokens.h"

struct cop_sampler {
    const cop_tokens *tokens; // borrowed
    int64_t sequence;
    int64_t windows;
    uint64_t seed;
    bool is_shuffled;
    int64_t epoch;  // whose order is in `order`; -1: none
    int64_t *order; // owned, [windows]; NULL when not shuffled
    cop_hash hash;
};

static cop_status make_hash(cop_sampler *sampler, cop_error *err)
{
    cop_hasher *hasher = NULL;
    const cop_hash content = cop_tokens_hash(sampler->tokens);
    cop_status status = COP_OK;

    COP_TRY(status, cop_hasher_create(&hasher, err));
    cop_hasher_add_i64(hasher, (int64_t)content.high);
    cop_hasher_add_i64(hasher, (int64_t)content.low);
    cop_hasher_add_i64(hasher, sampler->sequence);
    // The seed of windows in file order does not matter.
    cop_hasher_add_i64(hasher, sampler->is_shuffled ? (int64_t)sampler->seed : 0);
    cop_hasher_add_i64(hasher, sampler->is_shuffled ? 1 : 0);
    sampler->hash = cop_hasher_value(hasher);

done:
    cop_hasher_destroy(hasher);
    return status;
}

cop_status cop_sampler_create(cop_sampler **out, const cop_tokens *tokens, int64_t sequence,
                              uint64_t seed, bool is_shuffled, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t count = cop_tokens_count(tokens);
    cop_sampler *sampler = NULL;

    *out = NULL;
    if (sequence < 1) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s: sequence is %" PRId64 " (allowed: at least 1)",
                        cop_tokens_path(tokens), sequence);
    }
    if (sequence > count - 1) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "%s: %" PRId64 " tokens are too few for a sequence of %" PRId64
                        " and its targets (allowed: sequences of at most %" PRId64 ")",
                        cop_tokens_path(tokens), count, sequence, count - 1);
    }
    sampler = cop_alloc(1, sizeof *sampler);
    if (sampler == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to sample it", cop_tokens_path(tokens));
    }
    sampler->tokens = tokens;
    sampler->sequence = sequence;
    sampler->windows = (count - 1) / sequence;
    sampler->seed = seed;
    sampler->is_shuffled = is_shuffled;
    sampler->epoch = -1;
    if (is_shuffled) {
        sampler->order = cop_alloc((size_t)sampler->windows, sizeof *sampler->order);
        if (sampler->order == NULL) {
            status =
                COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory for the order of %" PRId64 " windows",
                         cop_tokens_path(tokens), sampler->windows);
            goto done;
        }
    }
    COP_TRY(status, make_hash(sampler, err));
    *out = sampler;
    sampler = NULL;

done:
    cop_sampler_destroy(sampler);
    return status;
}

void cop_sampler_destroy(cop_sampler *sampler)
{
    if (sampler != NULL) {
        cop_free(sampler->order);
        cop_free(sampler);
    }
}

int64_t cop_sampler_windows(const cop_sampler *sampler)
{
    return sampler->windows;
}

int64_t cop_sampler_sequence(const cop_sampler *sampler)
{
    return sampler->sequence;
}

cop_hash cop_sampler_hash(const cop_sampler *sampler)
{
    return sampler->hash;
}

static cop_status make_order(cop_sampler *sampler, int64_t epoch, cop_error *err)
{
    cop_rng *rng = NULL;
    cop_status status = COP_OK;

    if (!sampler->is_shuffled || sampler->epoch == epoch) {
        return COP_OK;
    }
    COP_TRY(status, cop_rng_create(&rng, sampler->seed, COP_RNG_BATCH, (uint64_t)epoch, err));
    for (int64_t i = 0; i < sampler->windows; i++) {
        sampler->order[i] = i;
    }
    cop_rng_shuffle(rng, sampler->order, (size_t)sampler->windows);
    sampler->epoch = epoch;

done:
    cop_rng_destroy(rng);
    return status;
}

cop_status cop_sampler_fill(cop_sampler *sampler, int64_t first, int64_t count, int32_t *inputs,
                            int32_t *targets, cop_error *err)
{
    const int64_t length = sampler->sequence;
    cop_status status = COP_OK;

    if (first < 0 || count < 0 || first > INT64_MAX - count) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "%s: sequences from %" PRId64 ", %" PRId64 " of them (allowed: from 0)",
                        cop_tokens_path(sampler->tokens), first, count);
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t number = first + i;
        COP_TRY(status, make_order(sampler, number / sampler->windows, err));
        const int64_t place = number % sampler->windows;
        const int64_t window = sampler->is_shuffled ? sampler->order[place] : place;
        cop_tokens_read(sampler->tokens, window * length, length, inputs + i * length);
        if (targets != NULL) {
            cop_tokens_read(sampler->tokens, window * length + 1, length, targets + i * length);
        }
    }

done:
    return status;
}
