// Ranking as measurement: paired bootstrap over the held-out sequences that all candidates share.
// Candidates are compared at one stage only; figures of different stages are never mixed.

#ifndef COP_SEARCH_RANKING_H
#define COP_SEARCH_RANKING_H

#include "search/snapshot.h"
#include "search/study_file.h"

enum { COP_RANKING_RESAMPLES = 2000 };

// What a candidate has of an objective; `loss` is measured, the others are exact.
double cop_objective_value(const cop_candidate *candidate, cop_objective objective, double loss);

typedef struct cop_ranked {
    int64_t index; // into the snapshot
    int rank;      // 1 = best by the first objective (loss); ties share the rank of their first
    bool is_tied_with_next;   // the paired 95 % interval of the difference to the next one holds 0
    bool on_front;            // not dominated on the study's objectives
    double front_probability; // share of resamples in which it is not dominated
    double top_probability;   // share of resamples in which it belongs to the best `keep_count`
    double best_probability;  // share of resamples in which it has the lowest loss
    cop_estimate loss;        // with interval, over sequences
    cop_estimate cross_entropy;
    cop_estimate agreement;
    cop_estimate difference_to_best; // paired; 0 for the best itself
} cop_ranked;

typedef struct cop_ranking {
    int stage;
    int64_t tokens;
    cop_ranked *entry; // best first; owned
    int64_t count;
} cop_ranking;

// Ranks all candidates that finished `stage`. loss = KL to the teacher (or cross-entropy when there is no
// teacher). Objectives beyond loss are exact (params, memory, flops). top_probability is computed by
// non-dominated sorting per resample, loss breaking ties within a front, for the best `keep_count`.
// Seeded by `seed` and the stage: repeatable.
COP_MUST_CHECK cop_status cop_ranking_make(cop_ranking *out, const cop_snapshot *snapshot,
                                           const cop_objective *objectives, int objective_count,
                                           int stage, int64_t keep_count, uint64_t seed,
                                           cop_error *err);
void cop_ranking_release(cop_ranking *ranking);

// Who goes on: the `keep_count` with the largest top_probability (ties by loss), of which
// floor(rescue * keep_count) places are drawn by lot among the rest, seeded by (seed, stage).
// decision[i] for entry i: 'p' promoted, 'r' rescued, 'e' eliminated.
COP_MUST_CHECK cop_status cop_ranking_promote(char *decision, const cop_ranking *ranking,
                                              int64_t keep_count, double rescue, uint64_t seed,
                                              cop_error *err);

// Strata of size, and how many candidates one needs for a tau of its own.
enum { COP_SIZE_STRATA = 3, COP_STRATUM_MIN = 3 };

// The shared candidates of one third by params; those of one size stay together.
typedef struct cop_size_stratum {
    int64_t count;
    int64_t params_min;
    int64_t params_max;
    double tau; // NaN: too few, or one side is constant
} cop_size_stratum;

// Kendall's tau-b of the losses of candidates that finished both stages, with a 95 % bootstrap interval over
// sequences; NaN when fewer than three are shared.
// `within` is the mean over the strata that have a tau, weighted by their pairs of candidates, its interval from
// the same resamples. Size decides most of the loss at any stage: `tau` of candidates that span sizes is high
// whether or not the shapes of one size are in the right order, which `within` tells.
typedef struct cop_rank_agreement {
    int from_stage;
    int to_stage;
    int64_t shared;
    cop_estimate tau;
    cop_estimate within;
    cop_size_stratum stratum[COP_SIZE_STRATA]; // smallest first
} cop_rank_agreement;

COP_MUST_CHECK cop_status cop_ranking_agreement(cop_rank_agreement *out,
                                                const cop_snapshot *snapshot, int from_stage,
                                                int to_stage, uint64_t seed, cop_error *err);

// Loss of candidate `first` minus that of `second` (indices into the snapshot) with its paired interval, over
// the same resamples as the ranking of that stage. Both must have finished it.
COP_MUST_CHECK cop_status cop_ranking_difference(cop_estimate *out, const cop_snapshot *snapshot,
                                                 int stage, int64_t first, int64_t second,
                                                 uint64_t seed, cop_error *err);

// Which candidate to take, among those of the deepest stage with at least one finished candidate:
// lowest loss; among those tied with it (paired interval holds 0) the one with fewest parameters.
typedef struct cop_pick {
    int64_t index;     // into the snapshot; -1: none
    int64_t runner_up; // -1: none
    int stage;
    bool is_tie;             // the pick was made among ties
    cop_estimate difference; // runner-up minus pick, paired
    char reason[512];
} cop_pick;

// A filter "params=4.2e9": the candidate's value must not exceed the limit.
typedef struct cop_pick_limit {
    char name[64]; // params, params_non_embedding, memory_bytes, flops_per_token, loss; or a metric
    double limit;
} cop_pick_limit;

// COP_ERR_CONFIG when nothing finished yet, or nothing meets the limits (naming the nearest).
COP_MUST_CHECK cop_status cop_pick_make(cop_pick *out, const cop_snapshot *snapshot,
                                        const cop_pick_limit *limits, int limit_count,
                                        uint64_t seed, cop_error *err);

#endif
