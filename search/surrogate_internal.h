// What the files of the surrogate-assisted strategy share.

#ifndef COP_SEARCH_SURROGATE_INTERNAL_H
#define COP_SEARCH_SURROGATE_INTERNAL_H

#include "search/kendall.h"
#include "search/regression.h"
#include "search/strategy_internal.h"
#include "search/strategy_surrogate.h"

enum { COP_SURROGATE_ERRORS = 128, COP_SURROGATE_SMALL = 4096 };

// What was predicted of one objective, and what came.
typedef struct cop_surrogate_record {
    cop_kendall_pair *pair; // [capacity]: predicted, measured
    int64_t count;
    int64_t capacity;
    int64_t inside50;
    int64_t inside90;
    double square[COP_SURROGATE_ERRORS]; // z², the last ones, in a ring
    double scale;                        // of variances
} cop_surrogate_record;

// The results told, row by row.
typedef struct cop_surrogate_data {
    int64_t count;
    int64_t capacity;
    int32_t *genome;   // [capacity, axes]
    double *x;         // [capacity, columns]: axes scaled, features as described
    double *objective; // [capacity, objectives]
    double *violation; // [capacity]: beyond what is known by formula; failed: +infinity
    bool *is_usable;   // [capacity]: it has finite objectives
    bool *is_feasible; // [capacity]: and holds all bounds
    int64_t usable;
} cop_surrogate_data;

typedef struct cop_surrogate {
    cop_strategy_options options;
    cop_proposals proposals;
    int objectives;
    bool is_known[COP_FRONT_OBJECTIVES_MAX]; // by formula
    int columns;                             // axes of more than one level, then features
    int axis_columns;
    int *axis;        // [axis_columns]
    bool *is_word;    // [columns]
    double *low;      // [columns]
    double *span;     // [columns]
    double *features; // [domain->features]
    cop_surrogate_data data;
    bool are_models_current;
    cop_regression *model[COP_FRONT_OBJECTIVES_MAX]; // NULL where known
    cop_regression *feasibility;                     // of labels: < 0 feasible
    bool has_feasibility;                            // there was something to learn it from
    int64_t *learned; // [capacity]: rows the objectives' models are conditioned on
    int64_t learned_count;
    cop_surrogate_record record[COP_FRONT_OBJECTIVES_MAX];
} cop_surrogate;

// --- Models (surrogate_models.c) --------------------------------------------------------------------

COP_MUST_CHECK cop_status cop_surrogate_init_columns(cop_surrogate *self, cop_error *err);
// Columns of a genome [columns]: axes scaled to [0, 1], features as described.
void cop_surrogate_columns(cop_surrogate *self, const int32_t *genome, double *x);
// Features scaled by the range of the data.
void cop_surrogate_scale(const cop_surrogate *self, double *x);
bool cop_surrogate_can_model(const cop_surrogate *self);
// Fits the models to all that was told, once.
COP_MUST_CHECK cop_status cop_surrogate_fit(cop_surrogate *self, cop_error *err);
// Compares results with what the models, which have not seen them, predict.
COP_MUST_CHECK cop_status cop_surrogate_judge(cop_surrogate *self, const cop_trial *trials,
                                              int64_t count, cop_error *err);
COP_MUST_CHECK cop_status cop_surrogate_add(cop_surrogate *self, const cop_trial *trials,
                                            int64_t count, cop_error *err);
// Noise-free objectives [objectives] of row `row` as the models believe them; `position` is its place in
// `learned`, or -1.
void cop_surrogate_believed(cop_surrogate *self, int64_t row, int64_t position, double *value);

// --- Random points (surrogate_design.c) -------------------------------------------------------------

// How many points the first design has.
int64_t cop_surrogate_design_size(const cop_surrogate *self);
// How many points a later batch has.
int64_t cop_surrogate_batch_size(const cop_surrogate *self);
// Draws a genome around level quantile `tilt` (NaN: anywhere), canonical, and repairs bounds known by
// formula by random moves where it can.
void cop_surrogate_draw(cop_surrogate *self, double tilt, int32_t *genome);
// Adds up to `count` stratified points to the batch; fewer when hardly any are left.
COP_MUST_CHECK cop_status cop_surrogate_design(cop_surrogate *self, int64_t count, bool is_first,
                                               cop_error *err);

// --- Candidates (surrogate_pool.c) ------------------------------------------------------------------

typedef struct cop_surrogate_pool {
    cop_genome_set *set;    // owned: the genomes, in order
    double *x;              // [capacity, columns]
    double *mean;           // [capacity, objectives]: predicted medians
    double *label;          // [capacity]: predicted, above 0: more likely not feasible
    cop_front_point *point; // [capacity]: sorted by front where it was ranked
    cop_front_point *scratch;
    int64_t *work;
    int64_t capacity;
    int64_t count;
} cop_surrogate_pool;

// Candidates: all points left of a small space, otherwise neighbours, random points and an inner evolution. `front`
// [front_count] are rows of the data. On failure the pool can be released.
COP_MUST_CHECK cop_status cop_surrogate_gather(cop_surrogate *self, cop_surrogate_pool *pool,
                                               const int64_t *front, int64_t front_count,
                                               cop_error *err);
void cop_surrogate_pool_release(cop_surrogate_pool *pool);
// Canonicalises `genome` in place; a new one that holds the bounds known by formula becomes a candidate.
COP_MUST_CHECK cop_status cop_surrogate_pool_add(cop_surrogate *self, cop_surrogate_pool *pool,
                                                 int32_t *genome, bool *is_added, cop_error *err);
// Another level of one axis: the next ones of an ordered axis more often than far ones.
void cop_surrogate_move(cop_surrogate *self, int32_t *genome);
// Adds candidates by an evolution that starts from the pool (surrogate_evolve.c).
COP_MUST_CHECK cop_status cop_surrogate_evolve(cop_surrogate *self, cop_surrogate_pool *pool,
                                               cop_error *err);
// What candidate `index` is sorted by: predicted objectives, feasible ones first (Deb et al. 2002).
void cop_surrogate_pool_values(const cop_surrogate_pool *pool, int64_t index, int objectives,
                               double *value);

// --- Choice (surrogate_pick.c) ----------------------------------------------------------------------

// Adds a batch of proposals chosen by the models.
COP_MUST_CHECK cop_status cop_surrogate_propose(cop_surrogate *self, cop_error *err);

#endif
