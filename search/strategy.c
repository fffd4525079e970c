#include "search/strategy.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "search/strategy_internal.h"

struct cop_strategy {
    const cop_strategy_type *type;
    void *self; // owned
    const cop_domain *domain;
    int64_t batches;
};

static const cop_strategy_type *const all_types[] = {
    &cop_strategy_grid,
    &cop_strategy_random,
    &cop_strategy_stratified,
    &cop_strategy_nsga2,
    &cop_strategy_surrogate,
    &cop_strategy_knapsack,
    NULL,
};

const cop_strategy_type *const *cop_strategy_types(void)
{
    return all_types;
}

const cop_strategy_type *cop_strategy_find(const char *name)
{
    for (const cop_strategy_type *const *type = all_types; *type != NULL; type++) {
        if (strcmp((*type)->name, name) == 0) {
            return *type;
        }
    }
    return NULL;
}

static cop_status check_options(const cop_strategy_options *options, cop_error *err)
{
    if (options->objectives < 1 || options->objectives > COP_FRONT_OBJECTIVES_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "strategy: objectives is %d (allowed: 1..%d)",
                        options->objectives, (int)COP_FRONT_OBJECTIVES_MAX);
    }
    if (options->population < 2 || options->population > COP_STRATEGY_POPULATION_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "strategy: population is %" PRId64 " (allowed: 2..%d)",
                        options->population, (int)COP_STRATEGY_POPULATION_MAX);
    }
    if (options->batch < 0 || options->batch > COP_STRATEGY_POPULATION_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "strategy: batch is %" PRId64 " (allowed: 0..%d)",
                        options->batch, (int)COP_STRATEGY_POPULATION_MAX);
    }
    return COP_OK;
}

static cop_status check_domain(const cop_domain *domain, cop_error *err)
{
    if (domain->axes < 1 || domain->axes > COP_DOMAIN_AXES_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "strategy: axes is %d (allowed: 1..%d)", domain->axes,
                        (int)COP_DOMAIN_AXES_MAX);
    }
    for (int i = 0; i < domain->axes; i++) {
        if (domain->levels[i] < 1) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "strategy: levels[%d] is %" PRId32 " (allowed: >= 1)", i,
                            domain->levels[i]);
        }
    }
    return COP_OK;
}

cop_status cop_strategy_create(cop_strategy **out, const cop_strategy_type *type,
                               const cop_domain *domain, const cop_strategy_options *options,
                               cop_error *err)
{
    cop_status status = COP_OK;
    cop_strategy *strategy = NULL;

    *out = NULL;
    COP_TRY(status, check_options(options, err));
    COP_TRY(status, check_domain(domain, err));
    strategy = cop_alloc(1, sizeof *strategy);
    if (strategy == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory"));
    }
    strategy->type = type;
    strategy->domain = domain;
    COP_TRY(status, type->create(&strategy->self, domain, options, err));
    *out = strategy;
    strategy = NULL;

done:
    cop_free(strategy);
    return status;
}

void cop_strategy_destroy(cop_strategy *strategy)
{
    if (strategy != NULL) {
        strategy->type->destroy(strategy->self);
        cop_free(strategy);
    }
}

cop_status cop_strategy_ask(cop_strategy *strategy, int32_t *genomes, int64_t limit, int64_t *count,
                            cop_error *err)
{
    *count = 0;
    if (limit < 1) {
        return COP_FAIL(err, COP_ERR_CONFIG, "strategy: limit is %" PRId64 " (allowed: >= 1)",
                        limit);
    }
    return strategy->type->ask(strategy->self, strategy->batches, genomes, limit, count, err);
}

const void *cop_strategy_self(const cop_strategy *strategy, const cop_strategy_type *type)
{
    return strategy->type == type ? strategy->self : NULL;
}

static cop_status check_trial(const cop_domain *domain, const cop_trial *trial, int64_t index,
                              cop_error *err)
{
    for (int axis = 0; axis < domain->axes; axis++) {
        if (trial->genome[axis] < 0 || trial->genome[axis] >= domain->levels[axis]) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "strategy: result %" PRId64 ": level of axis %d is %" PRId32
                            " (allowed: 0..%" PRId32 ")",
                            index, axis, trial->genome[axis], domain->levels[axis] - 1);
        }
    }
    return COP_OK;
}

cop_status cop_strategy_tell(cop_strategy *strategy, const cop_trial *trials, int64_t count,
                             cop_error *err)
{
    cop_status status = COP_OK;

    if (count < 1) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_CONFIG,
                                 "strategy: results told are %" PRId64 " (allowed: >= 1)", count));
    }
    for (int64_t i = 0; i < count; i++) {
        COP_TRY(status, check_trial(strategy->domain, &trials[i], i, err));
    }
    COP_TRY(status, strategy->type->tell(strategy->self, strategy->batches, trials, count, err));
    strategy->batches++;

done:
    return status;
}

int64_t cop_strategy_batches(const cop_strategy *strategy)
{
    return strategy->batches;
}
