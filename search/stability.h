// Does another rung still change the order? If not, the search may end before the last one.
//
// Source: the idea is that of PASHA (Bohdal et al., arXiv 2207.06940, 2022): raise the fidelity only while the
// rankings of the top rungs disagree, where losses closer than epsilon are no disagreement. Here, over
// two consecutive steps between trained rungs (three rungs in all), among those who finished the last of them,
//
// - the lower 95 % bound of Kendall's tau-b of their losses, by the paired bootstrap over held-out sequences, is
//   at least 0.8, and
// - the best k are the same up to soft ties: for whoever left or entered them, a loss changed by epsilon at one
//   of the two rungs would undo it. They are ordered as a promotion orders, fronts first; with several
//   objectives the front must be the same in this sense as well.
//
// epsilon is twice the noise of an evaluation at that rung: the standard error of a candidate's mean loss
// without what all candidates share, from the residuals of the two-way layout candidates x sequences.
// tau-b is of the losses with several objectives, too: the others are exact and do not change between rungs.

#ifndef COP_SEARCH_STABILITY_H
#define COP_SEARCH_STABILITY_H

#include "search/ranking.h"

#define COP_STABLE_TAU 0.8

typedef struct cop_stability {
    bool is_stable;
    int64_t survivors;               // who finished the last of the three rungs
    int64_t best;                    // k
    cop_rank_agreement agreement[2]; // the older step first
    double epsilon[3];               // of the rungs, oldest first
    bool is_same_best[2];            // over each step
    bool is_same_front[2];           // true with one objective
} cop_stability;

// Judges the rungs stage - 2, stage - 1 and stage >= 3. `keep` >= 1 go on from `stage`: the best k are those, or
// the best one when all go on. Not stable with fewer than three survivors.
COP_MUST_CHECK cop_status cop_stability_judge(cop_stability *out, const cop_snapshot *snapshot,
                                              const cop_objective *objectives, int objective_count,
                                              int stage, int64_t keep, uint64_t seed,
                                              cop_error *err);

#endif
