// Keys of the facts that a study keeps beside its candidates (cop_store_set): written by the search, read by
// status, report and pick. What a study does not hold is left out there; every other key is listed
// under provenance as it stands.

#ifndef COP_SEARCH_FACTS_H
#define COP_SEARCH_FACTS_H

#define COP_FACT_KIND       "kind"       // "teacher", or "evaluator" (search/trial_store.h)
#define COP_FACT_STUDY      "study"      // path of the study file, absolute
#define COP_FACT_SEED       "seed"       // integer
#define COP_FACT_OBJECTIVES "objectives" // "loss,params"
#define COP_FACT_RUNGS      "rungs"      // "500000,2000000": cumulative tokens of rung 1, 2 …
#define COP_FACT_TEACHER    "teacher"    // path, absolute
#define COP_FACT_TRAIN      "train"
#define COP_FACT_VALIDATION "validation"
#define COP_FACT_IMPORTANCE "importance"
#define COP_FACT_SPACE_SIZE "space_size" // grid points
#define COP_FACT_FEASIBLE   "feasible"
#define COP_FACT_EXCLUDED   "excluded" // "params >= 7.8e9: 12; params <= 8.5e9: 30"
#define COP_FACT_COMMAND    "command"
#define COP_FACT_FINISHED   "finished" // date; absent or empty while the study is not finished
#define COP_FACT_EXTENDING \
    "extending" // COP_CHANGED_… that are still to be seen to; absent or 0: none
#define COP_FACT_STABLE    "stopped_early" // why no further rung was run
#define COP_FACT_BATCH     "batch_tokens"
#define COP_FACT_SEQUENCE  "sequence"
#define COP_FACT_PRECISION "precision"

// What "search.strategy" and others were, e.g. COP_FACT_SETTING "search.evaluations".
#define COP_FACT_SETTING "setting."

// + objective: how well the surrogate predicted it, as JSON (search/calibration.h).
#define COP_FACT_CALIBRATION_PREFIX "calibration."

// Prefixes of book-keeping that is no provenance.
#define COP_FACT_STAGE_PREFIX   "stage."
#define COP_FACT_STALLED_PREFIX "stalled."

#endif
