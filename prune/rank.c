#include "prune/rank.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"

struct cop_ranked {
    double score;
    int32_t index;
};

cop_status cop_ranker_init(cop_ranker *ranker, int64_t units, cop_error *err)
{
    *ranker = (cop_ranker){.units = units};
    ranker->pairs = cop_alloc((size_t)units, sizeof *ranker->pairs);
    ranker->shuffled = cop_alloc((size_t)units, sizeof *ranker->shuffled);
    if (ranker->pairs == NULL || ranker->shuffled == NULL) {
        cop_ranker_release(ranker);
        return COP_FAIL(err, COP_ERR_NOMEM, "selection: no memory to rank %lld units",
                        (long long)units);
    }
    return COP_OK;
}

void cop_ranker_release(cop_ranker *ranker)
{
    cop_free(ranker->pairs);
    cop_free(ranker->shuffled);
    *ranker = (cop_ranker){0};
}

// A total order, so that the result does not depend on the sorting algorithm.
static int compare_pairs(const void *left, const void *right)
{
    const struct cop_ranked *a = left;
    const struct cop_ranked *b = right;
    if (a->score != b->score) {
        return a->score > b->score ? -1 : 1;
    }
    return (a->index > b->index) - (a->index < b->index);
}

static int compare_indices(const void *left, const void *right)
{
    const int32_t a = *(const int32_t *)left;
    const int32_t b = *(const int32_t *)right;
    return (a > b) - (a < b);
}

static cop_status shuffle(const cop_ranker *ranker, int32_t *order, int64_t count, uint64_t seed,
                          uint64_t index, cop_error *err)
{
    cop_rng *rng = NULL;
    const cop_status status = cop_rng_create(&rng, seed, COP_RNG_RANKING, index, err);
    if (status != COP_OK) {
        return status;
    }
    for (int64_t i = 0; i < count; i++) {
        ranker->shuffled[i] = i;
    }
    cop_rng_shuffle(rng, ranker->shuffled, (size_t)count);
    for (int64_t i = 0; i < count; i++) {
        order[i] = (int32_t)ranker->shuffled[i];
    }
    cop_rng_destroy(rng);
    return COP_OK;
}

cop_status cop_rank(cop_ranker *ranker, int32_t *order, const double *scores, int64_t count,
                    cop_order how, uint64_t seed, uint64_t index, cop_error *err)
{
    if (how == COP_ORDER_RANDOM) {
        return shuffle(ranker, order, count, seed, index, err);
    }
    for (int64_t i = 0; i < count; i++) {
        ranker->pairs[i] = (struct cop_ranked){.score = scores[i], .index = (int32_t)i};
    }
    qsort(ranker->pairs, (size_t)count, sizeof *ranker->pairs, compare_pairs);
    for (int64_t i = 0; i < count; i++) {
        const int64_t from = how == COP_ORDER_REVERSED ? count - 1 - i : i;
        order[i] = ranker->pairs[from].index;
    }
    return COP_OK;
}

void cop_rank_sort_kept(int32_t *order, int64_t kept)
{
    qsort(order, (size_t)kept, sizeof *order, compare_indices);
}
