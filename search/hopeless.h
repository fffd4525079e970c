// Who cannot win any more: probes whose learning curve says at a promotion that they will not be among the best
// at the end of the last rung.
//
// Asked after a rung is finished by all, never within one, and answered from stored figures alone: the
// answer depends neither on the number of workers nor on interruptions.
//
// Method. The losses that a probe saw in training are fitted (search/curve_fit.h) and extrapolated to the
// end of the last rung; all probes see the same batches, so their curves are comparable. Losses there are
// drawn for all who go on from their predictive Student distributions (a Latin hypercube: each probe's draws
// are evenly spaced quantiles in random order), and each draw is ranked as a promotion ranks: fronts in
// their order, within a front the lower loss first. A probe's probability is the share of draws in which it
// is among the best k or, with several objectives, on the front.
//
// What the residuals of all curves share at a point (a hard batch; a bend of all curves when the learning
// rate falls) says nothing about who is better: the mean of the standardised residuals is taken out of all
// curves, which are then fitted again, with errors wider by sqrt(n / (n - 1)) for n probes. Draws are independent
// between probes.
//
// Why it takes more than a probability below 0.05. Asked at every evaluation, at 0.05 each, a search stopped
// its best candidate by its curve in up to 12 % of replays (benchmarks/halving_bench); by this rule in none of 200
// where curves are power laws, and in at most 3 % (1.4 to 6.4 %) where a decaying learning rate bends them by
// amounts that differ. Here
// - a study asks at its promotions only, and the level of one is 0.05 over their number (Bonferroni);
// - it does not ask before a tenth of the training of the last rung is done: predictions hold for a few times
//   the tokens of a curve;
// - two curves must agree: the whole one behind the warm-up, and the later half of its points alone, which
//   does not follow the form of the early part;
// - a probe that is among the best k by its measured loss now is not stopped, nor is one that was drawn by
//   lot, nor one whose fit did not converge, is flat, leads below 0 or has few points; nor do such fits keep
//   others out;
// - the places of those who are stopped are not given to others, and later promotions keep as many as if
//   they were still there, so that nobody else goes out for it.
// Points weigh by the tokens that they are means over, and by 1/loss^2: the noise of a KL is in proportion to it.
// The level holds as far as the form does. A learning rate that decays bends curves away from it, if
// all in much the same way.

#ifndef COP_SEARCH_HOPELESS_H
#define COP_SEARCH_HOPELESS_H

#include "search/curve_fit.h"
#include "search/front.h"
#include "search/ranking.h"

enum { COP_HOPELESS_POINTS_MIN = 10, COP_HOPELESS_REACH = 10, COP_HOPELESS_DRAWS = 2000 };

// One of those who compete for the end.
typedef struct cop_hopeless_probe {
    const double *tokens; // [points], ascending, behind the warm-up
    const double *loss;
    const double *weight; // in proportion to 1/variance; NULL: equal
    int64_t points;
    double other[COP_FRONT_OBJECTIVES_MAX - 1]; // what it has of the objectives beside loss: exact
    bool is_exempt;                             // competes, but is not stopped
} cop_hopeless_probe;

typedef struct cop_hopeless_rule {
    double tokens; // at the end, at most COP_HOPELESS_REACH times what is trained
    int64_t keep;  // k
    int others;    // objectives beside loss
    int tests;     // promotions of a study at which it is asked
    uint64_t seed;
    int stage;
} cop_hopeless_rule;

typedef struct cop_hopeless_verdict {
    bool is_hopeless;
    double probability; // of being among the best k, by the curve that gives more; NaN: unknown
    double front_probability;  // the same of the front
    cop_curve_prediction loss; // at the end, by the whole curve
    double kth;                // k-th lowest prediction; NaN: there are fewer
} cop_hopeless_verdict;

// verdict[i] of probe i. Repeatable bit for bit on a machine. COP_ERR_NOMEM; COP_ERR_CONFIG for a number of
// objectives out of range.
COP_MUST_CHECK cop_status cop_hopeless_judge(cop_hopeless_verdict *verdict,
                                             const cop_hopeless_probe *probes, int64_t count,
                                             const cop_hopeless_rule *rule, cop_error *err);

// k: as many as the study would keep of those who finish the last rung, when `places` go on from here, `rungs` are
// ahead and each keeps `share`.
int64_t cop_hopeless_keep(double share, int rungs, int64_t places);

// The same for a promotion after a trained rung: verdict[i] for entry i of the ranking, whose
// decision[i] is as from cop_ranking_promote() for `places`. Only those promoted are stopped; all but those
// eliminated compete. Nobody is stopped while the vocabulary is frozen, nor after the last rung.
COP_MUST_CHECK cop_status cop_hopeless_find(cop_hopeless_verdict *verdict,
                                            const cop_snapshot *snapshot,
                                            const cop_study_file *study, const cop_ranking *ranking,
                                            const char *decision, int64_t places, cop_error *err);

// "its training loss at the end is predicted as 0.21 (0.18 to 0.25), that of the best 4 …".
void cop_hopeless_text(char *out, size_t bytes, const cop_hopeless_verdict *verdict,
                       const cop_study_file *study, int64_t keep);

#endif
