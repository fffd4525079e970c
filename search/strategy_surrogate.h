// The surrogate-assisted strategy, as reports see it. It is created, asked and told by search/strategy.h.
//
// First a design: lowest and highest levels, the extremes of what is known by formula, and points stratified
// from low to high levels. Then, batch by batch: a Gaussian process per objective that is not known by formula
// (search/regression.h), another for whether a point is feasible where bounds are measured or points fail;
// candidates from neighbours of the front, random points and an NSGA-II on the predicted means; and the ones of largest
// expected hypervolume improvement (search/improvement.h) times the probability of being feasible. Within a
// batch each pick is believed to come out at its mean ("kriging believer": Ginsbourger, Le Riche & Carraro,
// "Kriging is well-suited to parallelize optimization", 2010), which narrows the variances of the others. Every tenth
// pick explores: it goes where the models know least.
// The reference point is the worst of the front in each objective, plus 10 % of the front's range in it, plus 1 %
// of the range of all results. The front's points enter with their predicted noise-free values.
//
// The models' variances are scaled by how far earlier predictions were off: (10 + Σ z²) / (10 + n) over the last
// 128 standardised errors.

#ifndef COP_SEARCH_STRATEGY_SURROGATE_H
#define COP_SEARCH_STRATEGY_SURROGATE_H

#include "search/strategy.h"

enum {
    COP_SURROGATE_BATCH_MAX = 256, // larger batches are cut to this
    COP_SURROGATE_POINTS_MAX =
        1200 // models learn from at most so many: the best fronts, others evenly
};

// How well one objective was predicted: every point from the second batch on, before it was told.
typedef struct cop_surrogate_calibration {
    int64_t n;           // predictions compared; 0: the other figures are NaN
    double coverage50;   // share of outcomes inside the central 50 % interval
    double coverage90;   // and inside the 90 % interval
    double tau;          // Kendall's tau-b of predicted against measured
    double rmse;         // in the objective's unit
    double scale;        // by which variances are multiplied now
    bool is_logarithmic; // the model is of the logarithm
    bool is_exact;       // known by formula: nothing to predict
} cop_surrogate_calibration;

bool cop_strategy_is_surrogate(const cop_strategy *strategy);

// COP_ERR_CONFIG: the strategy is another one, or has no such objective. COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_strategy_surrogate_calibration(cop_surrogate_calibration *out,
                                                             const cop_strategy *strategy,
                                                             int objective, cop_error *err);

#endif
