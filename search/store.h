// The study database: SQLite in WAL mode, <study>/study.db, the only mutable truth of a study. One process
// owns it (an advisory lock with host, pid and start time; a dead owner's lock is taken over); readers
// may open it at any time. Every call that returns COP_OK survives kill -9.

#ifndef COP_SEARCH_STORE_H
#define COP_SEARCH_STORE_H

#include "eval/evaluate.h"
#include "search/candidate.h"

typedef struct cop_store cop_store;

typedef enum cop_store_mode { COP_STORE_READ, COP_STORE_OWN } cop_store_mode;

// State of a candidate in a study.
typedef enum cop_candidate_state {
    COP_STATE_PENDING = 0, // not evaluated at its next stage yet
    COP_STATE_ELIMINATED,  // not promoted after its last stage
    COP_STATE_FINISHED,    // reached the last rung
    COP_STATE_FAILED       // gave up after the allowed attempts; the reason is stored
} cop_candidate_state;

const char *cop_candidate_state_name(cop_candidate_state state);

// Stage 0 is the pruned model without training; stage r >= 1 is rung r.
typedef struct cop_stage_record {
    int stage;
    int64_t tokens; // trained, cumulative
    double seconds; // spent in this stage
    int attempts;
    cop_evaluation evaluation; // per held-out sequence; owned
} cop_stage_record;

typedef struct cop_curve_point {
    int64_t tokens;
    double loss; // training loss (mean since the last point)
} cop_curve_point;

// Opens <directory>/study.db; COP_STORE_OWN creates it. A newer schema version is refused.
COP_MUST_CHECK cop_status cop_store_open(cop_store **out, const char *directory,
                                         cop_store_mode mode, cop_error *err);
void cop_store_destroy(cop_store *store);

// Is some process running the study at this moment? `out` receives who, e.g. "process 123 on host since
// 2025-01-31T12:00:00Z" (cut to `bytes`), or "". Needs no open store.
bool cop_store_owner(const char *directory, char *out, size_t bytes);

// Free-form facts: provenance, hashes, settings. `out` is owned by the caller (cop_free), NULL when absent.
COP_MUST_CHECK cop_status cop_store_set(cop_store *store, const char *key, const char *value,
                                        cop_error *err);
COP_MUST_CHECK cop_status cop_store_get(cop_store *store, const char *key, char **out,
                                        cop_error *err);

// What is recorded from here to the end of the group shares a transaction, and a wait for the disk: many records
// at once cost a fraction. Each is still whole or absent, but what returned COP_OK survives kill -9 only
// when group_end() has returned COP_OK, too. No cop_snapshot_read() within.
void cop_store_group(cop_store *store);
COP_MUST_CHECK cop_status cop_store_group_end(cop_store *store, cop_error *err);

// Adds candidates that are not there yet (by id), in one transaction.
COP_MUST_CHECK cop_status cop_store_add(cop_store *store, const cop_candidate *candidates,
                                        int64_t count, cop_error *err);
// The same, with their place in a strategy's proposals: slots `slot`, slot + 1, … of `batch`. A candidate that is
// there already (of before the space was changed) gets the place and keeps its results.
COP_MUST_CHECK cop_status cop_store_propose(cop_store *store, const cop_candidate *candidates,
                                            int64_t count, int64_t batch, int64_t slot,
                                            cop_error *err);

// What of a study is taken back when it is extended: decisions about who goes on always, so that they are made
// again from the figures.
enum {
    COP_STORE_FORGET_RUNGS = 1, // figures and curves of trained stages
    COP_STORE_FORGET_SPACE =
        2, // which candidates the study has: those not added again are left out
    COP_STORE_FORGET_LATENCIES =
        4 // and pruned losses: the pruned models are measured and judged again
};

// `rung_tokens` [rungs]: figures of trained stages with other tokens go, too.
COP_MUST_CHECK cop_status cop_store_extend(cop_store *store, unsigned forget,
                                           const int64_t *rung_tokens, int rungs, cop_error *err);

COP_MUST_CHECK cop_status cop_store_state(cop_store *store, const char *id,
                                          cop_candidate_state state, const char *reason,
                                          cop_error *err);

// Counts an attempt at a stage (before it starts) and returns how many there were with this one.
COP_MUST_CHECK cop_status cop_store_attempt(cop_store *store, const char *id, int stage,
                                            int *attempts, cop_error *err);
// Records a finished stage: figures per sequence and the curve, in one transaction with synchronous=FULL.
// `curve` holds points of this stage in ascending tokens. Points already stored from curve[0].tokens on
// (an interrupted attempt's) are replaced, earlier ones stay; with 0 points those that
// cop_store_progress() left up to record->tokens stay. At least one sequence.
COP_MUST_CHECK cop_status cop_store_finish_stage(cop_store *store, const char *id,
                                                 const cop_stage_record *record,
                                                 const cop_curve_point *curve, int64_t points,
                                                 cop_error *err);
// Progress of a running stage, for `status` in another process. A finite loss becomes a point of the
// curve (later ones of an interrupted attempt are dropped), so call it at steps that do not depend on the
// clock: the curve of an interrupted probe is then that of an uninterrupted one.
COP_MUST_CHECK cop_status cop_store_progress(cop_store *store, const char *id, int stage,
                                             int64_t tokens, double loss, cop_error *err);
// Records the outcome of a promotion: `decision` e.g. "promoted", "rescued", "eliminated";
// `probability` of belonging in the top.
COP_MUST_CHECK cop_status cop_store_promotion(cop_store *store, const char *id, int stage,
                                              double probability, const char *decision,
                                              cop_error *err);
// Forgets the figures and curves of a candidate behind a stage: it does not go on from there any more.
COP_MUST_CHECK cop_status cop_store_forget(cop_store *store, const char *id, int stage,
                                           cop_error *err);

#endif
