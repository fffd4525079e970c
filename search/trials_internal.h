// What the loop of an evaluator's study shares with the part that hands out and takes back evaluations.

#ifndef COP_SEARCH_TRIALS_INTERNAL_H
#define COP_SEARCH_TRIALS_INTERNAL_H

#include <jansson.h>

#include "search/evaluator.h"
#include "search/trials.h"

typedef struct cop_trials_desk cop_trials_desk; // trials_desk.c

typedef struct cop_trials_run {
    cop_run *run;
    const cop_free_space *space;
    cop_domain domain;
    cop_strategy *strategy;
    cop_evaluator *pool;
    cop_trials trials;
    cop_trials detached; // of before the space was changed: results to be used again
    cop_trials_desk *desk;
    int64_t planned; // evaluations in all, for the progress; 0: not known
    int64_t reused;
} cop_trials_run;

// The evaluator of this process, by the study file: its answers must hold the objectives and the bounded
// metrics. `log` receives what its processes say.
// `has_answered`: it answered before, so that a failure now is the point's rather than the command's.
COP_MUST_CHECK cop_status cop_trials_open_pool(cop_evaluator **out, const cop_study_file *study,
                                               bool has_answered, cop_evaluator_log log,
                                               void *context, cop_error *err);

// --- Between ranks (trials_worker.c) --------------------------------------------------------------

// Messages are JSON texts: to a worker {"ticket":…,"stage":…,"id":…,"values":"…"}, or {} to quit; from it
// {"ticket":…,"seconds":…,"metrics":{…}} or {"ticket":…,"reason":…}, {"note":…} for the log, {"stop":true} when it
// was interrupted, and {"failed":…} when its evaluator gave up.

static const double cop_trials_look_seconds = 0.002; // between two looks for messages

// Takes `object` over.
COP_MUST_CHECK cop_status cop_trials_send(int to, json_t *object, cop_error *err);
// The next message, owned by the caller; *from is -1 and *out NULL when there is none.
COP_MUST_CHECK cop_status cop_trials_take(json_t **out, int *from, cop_error *err);

// --- Rank 0's desk (trials_desk.c) ------------------------------------------------------------------

COP_MUST_CHECK cop_status cop_trials_desk_create(cop_trials_desk **out, cop_trials_run *t,
                                                 cop_error *err);
// Lets the other processes go.
void cop_trials_desk_destroy(cop_trials_desk *desk);
// Evaluates the trials `list` names at a stage; those that have a result there, or failed, are passed over.
// Returns early, without a failure, when the search is to stop: run->is_stopped.
COP_MUST_CHECK cop_status cop_trials_evaluate(cop_trials_run *t, const int64_t *list, int64_t count,
                                              int stage, cop_error *err);

#endif
