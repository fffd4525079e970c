// Successive halving replayed on finished curves: whom the project's rule would have promoted, what that would
// have cost, and whom it would have picked. Source: Li et al., "A system for massively parallel
// hyperparameter tuning", 2020 (synchronous variant), with lots, learning curves and a stability rule.

#ifndef COP_BENCHMARKS_REPLAY_H
#define COP_BENCHMARKS_REPLAY_H

#include <stdbool.h>

#include "base/rng.h"
#include "benchmarks/curves.h"

enum { REPLAY_CANDIDATES_MAX = 512, REPLAY_RUNGS_MAX = 16, REPLAY_POINTS_MAX = 256 };

typedef struct replay_rule {
    double first;     // tokens of the first rung; rungs lie a factor of 1 / keep apart
    double keep;      // share promoted, 0 … 1; at least one
    double rescue;    // of the places, drawn by lot among the others: floor(rescue * places)
    double noise;     // standard deviation of a measured loss
    double tau_least; // stability: bound of tau-b among the survivors; > 1: never stop
    int top;          // stability: how many of the best must stay the same
    bool
        stops_curves; // gives up a probe whose extrapolated end is hopeless, after every measurement
    bool stops_at_rungs; // the same at promotions only, by the rule of search/hopeless.h
    bool starts_again;   // a promoted probe is trained from its start, not continued
} replay_rule;

typedef struct replay_result {
    int pick;                // into `chosen`
    int true_best;           // by the losses at the end, without noise
    double tokens;           // spent until the pick
    double tokens_with_pick; // and with the pick trained to the end
    double tokens_all;       // of all to the end
    double regret;           // of the pick's loss at the end, without noise
    int rungs;
    bool is_stable;  // the stability rule ended it
    int curve_stops; // probes given up by their curves
    bool stopped_the_best;
    int best_lost_at; // rung that eliminated the best; 0: none
} replay_result;

// Replays on the candidates `chosen` [count] of finished curves. Measurements are the losses plus
// normal noise of `rng`: one draw per candidate and point. COP_ERR_CONFIG beyond the limits above.
COP_MUST_CHECK cop_status replay_run(replay_result *out, const curves *all, const int *chosen,
                                     int count, const replay_rule *rule, cop_rng *rng,
                                     cop_error *err);

#endif
