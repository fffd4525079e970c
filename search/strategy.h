// How candidates are found: one interface for all strategies, asked for points and told their results.
//
// A strategy's next batch is a function of its options and of what it was told, batch by batch; nothing else.
// Random draws are keyed by (seed, COP_RNG_STRATEGY, number of the batch). So the state of a strategy is
// never stored: after an interruption a new one is told the finished batches in their order and goes on
// as if it had never stopped. Within a batch the order in which points are evaluated, by how many workers, or
// how often they are interrupted does not matter: results are told all at once, in the order asked.

#ifndef COP_SEARCH_STRATEGY_H
#define COP_SEARCH_STRATEGY_H

#include "search/domain.h"

typedef struct cop_strategy cop_strategy;

enum { COP_STRATEGY_POPULATION_MAX = 1000000 };

typedef struct cop_strategy_options {
    int objectives; // 1 … COP_FRONT_OBJECTIVES_MAX, all minimised
    int64_t
        population; // 2 … COP_STRATEGY_POPULATION_MAX: nsga2: of a generation; surrogate: first design
    // surrogate, random, stratified, knapsack: points proposed at a time, 0: the strategy's own choice, for random and
    // stratified as many as are asked for, for knapsack `population`. grid always proposes as many as are asked for.
    int64_t batch;
    uint64_t seed;
} cop_strategy_options;

#define COP_STRATEGY_OPTIONS_DEFAULT                 \
    {                                                \
        .objectives = 2, .population = 50, .seed = 1 \
    }

// The result of one evaluated point.
typedef struct cop_trial {
    const int32_t *genome;                      // [axes], borrowed for the call
    double objective[COP_FRONT_OBJECTIVES_MAX]; // minimised; one NaN or infinity: as if failed
    double violation; // of bounds, those known by formula included: 0 feasible; relative and summed
    bool is_failed;   // has no result; it is not proposed again
} cop_trial;

// A kind of strategy. `create` makes `self` (owned), `destroy` takes it.
typedef struct cop_strategy_type {
    const char
        *name; // as in study.yaml: "grid", "random", "stratified", "nsga2", "surrogate", "knapsack"
    const char *help; // one line: method, source, variant
    cop_status (*create)(void **self, const cop_domain *domain, const cop_strategy_options *options,
                         cop_error *err);
    cop_status (*ask)(void *self, int64_t batch, int32_t *genomes, int64_t limit, int64_t *count,
                      cop_error *err);
    cop_status (*tell)(void *self, int64_t batch, const cop_trial *trials, int64_t count,
                       cop_error *err);
    void (*destroy)(void *self);
} cop_strategy_type;

extern const cop_strategy_type cop_strategy_grid;
extern const cop_strategy_type cop_strategy_random;
extern const cop_strategy_type cop_strategy_stratified;
extern const cop_strategy_type cop_strategy_nsga2;
extern const cop_strategy_type cop_strategy_surrogate;
extern const cop_strategy_type cop_strategy_knapsack;

// All of them, in the order of documentation; NULL at the end.
const cop_strategy_type *const *cop_strategy_types(void);
// By name; NULL: unknown.
const cop_strategy_type *cop_strategy_find(const char *name);

// The domain must outlive the strategy. COP_ERR_CONFIG for options or axes out of range.
COP_MUST_CHECK cop_status cop_strategy_create(cop_strategy **out, const cop_strategy_type *type,
                                              const cop_domain *domain,
                                              const cop_strategy_options *options, cop_error *err);
void cop_strategy_destroy(cop_strategy *strategy);

// Proposes the next batch: 1 to `limit` genomes into `genomes` [limit, axes]. They are canonical, differ from
// one another and from all that were told before, and hold the bounds known by formula (violation 0). *count
// is 0 when the space is exhausted: in one of up to 2^20 genomes every feasible point was told; in a larger one no further
// feasible point could be found. Asking again before telling gives the same batch. A smaller `limit` (the
// end of a budget) gives its first points; those not told are open again in the next batch.
COP_MUST_CHECK cop_status cop_strategy_ask(cop_strategy *strategy, int32_t *genomes, int64_t limit,
                                           int64_t *count, cop_error *err);

// The results of one batch, in the order asked, 1 or more. Also takes batches of an earlier process that were
// never asked of this one. Genomes are canonicalised; the result of one that was told before is ignored.
// COP_ERR_CONFIG, and nothing is taken, when a level is out of range.
COP_MUST_CHECK cop_status cop_strategy_tell(cop_strategy *strategy, const cop_trial *trials,
                                            int64_t count, cop_error *err);

// How many batches were told.
int64_t cop_strategy_batches(const cop_strategy *strategy);

// --- Shared by strategies -------------------------------------------------------------------------

// Was this canonical genome proposed or told? For strategies, from their `self`'s own set.
typedef struct cop_genome_set cop_genome_set;

COP_MUST_CHECK cop_status cop_genome_set_create(cop_genome_set **out, int axes, cop_error *err);
void cop_genome_set_destroy(cop_genome_set *set);
bool cop_genome_set_holds(const cop_genome_set *set, const int32_t *genome);
// Adds a genome; *is_new false when it was there. COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_genome_set_add(cop_genome_set *set, const int32_t *genome,
                                             bool *is_new, cop_error *err);
int64_t cop_genome_set_count(const cop_genome_set *set);

#endif
