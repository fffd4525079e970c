// A study with an evaluator of the user's: the strategy proposes batches, the evaluator's processes (of this and of
// other ranks) measure them, the best go on from fidelity to fidelity.
//
// Stage s of such a study is its s-th fidelity: probe.rungs[s] (the number is handed to the program), or 1 where there
// are none. A strategy is told at search.fidelity; from there each stage keeps probe.keep of its points, by
// front, and within a front the less crowded first, with probe.rescue of the places drawn by lot.
//
// Whatever is asked for is in study.db before it is asked, and whatever came back is there within a moment: results
// that arrive faster than the disk takes them are written together, at the latest after flush_seconds. An
// interrupted study asks again for what has no result, and proposes the same points as an undisturbed one.
//
// With several processes rank 0 owns the study and the others run evaluators: requests and answers travel as they
// are. The result does not depend on their number.

#ifndef COP_SEARCH_TRIALS_H
#define COP_SEARCH_TRIALS_H

#include "search/run_internal.h"
#include "search/strategy.h"
#include "search/trial_store.h"

// Rank 0: runs the study. `run` has its study and options.
COP_MUST_CHECK cop_status cop_trials_search(cop_run *run, cop_error *err);
// Another rank: evaluates for rank 0 until told to quit.
COP_MUST_CHECK cop_status cop_trials_serve(cop_run *run, cop_error *err);

// --- Ranking ------------------------------------------------------------------------------------

typedef struct cop_trial_rank {
    int64_t index;                              // of the trial
    double objective[COP_FRONT_OBJECTIVES_MAX]; // NaN: missing
    double violation;                           // of the bounds; 0: feasible
    int64_t front;   // from 0: the non-dominated; infeasible ones come behind all others
    double crowding; // within the front, by Deb 2002; +infinity at its ends
} cop_trial_rank;

// All trials with a result at `stage`: feasible ones by front, within it by the first objective, then the others
// by violation. Owned by the caller: cop_free().
COP_MUST_CHECK cop_status cop_trials_rank(cop_trial_rank **out, int64_t *count,
                                          const cop_trials *trials, const cop_free_space *space,
                                          int stage, cop_error *err);

// Who goes on from a stage: 'p' promoted, 'r' rescued, 'e' eliminated, for each entry of a ranking. `share` of
// all, rounded up, of which floor(rescue * kept) are drawn by lot among the other feasible ones.
COP_MUST_CHECK cop_status cop_trials_promote(char *decision, const cop_trial_rank *ranking,
                                             int64_t count, int stage, double share, double rescue,
                                             uint64_t seed, cop_error *err);

// Forgets, in memory, all results behind `stage` of those that do not go on from it by `decision`: a study that
// was extended may hold results of points that are no longer among the best.
void cop_trials_keep_promoted(cop_trials *trials, const cop_trial_rank *ranking, int64_t count,
                              const char *decision, int stage);

// Stages of a study, and the fidelity of one.
int cop_trials_stages(const cop_study_file *study);
double cop_trials_fidelity(const cop_study_file *study, int stage);

#endif
