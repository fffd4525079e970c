// Points that an evaluator of the user's was asked for, in the study database: what was proposed in which batch,
// and the metrics that came back at each fidelity.

#ifndef COP_SEARCH_TRIAL_STORE_H
#define COP_SEARCH_TRIAL_STORE_H

#include "search/free_space.h"
#include "search/snapshot.h"

enum { COP_TRIAL_STAGES_MAX = 12, COP_TRIAL_METRICS_BYTES_MAX = 1 << 20 };

typedef struct cop_metric {
    char name[COP_FREE_NAME_BYTES];
    double value;
} cop_metric;

// What one evaluation gave.
typedef struct cop_trial_result {
    bool is_done;
    double fidelity;
    double seconds;
    cop_metric *metric; // in the order of the answer; owned
    int metrics;
} cop_trial_result;

typedef struct cop_trial_entry {
    int64_t number; // from 0, in the order proposed
    int64_t batch;
    char id[COP_FREE_ID_BYTES];
    char *values; // JSON object; owned
    bool is_failed;
    int failures; // attempts that failed
    char reason[COP_REASON_BYTES];
    cop_trial_result result[COP_TRIAL_STAGES_MAX];
} cop_trial_entry;

// All trials of a study with its facts. Owned: cop_trials_release().
typedef struct cop_trials {
    cop_trial_entry *entry; // by number
    int64_t count;
    int64_t capacity;
    cop_fact *fact; // sorted by key
    int64_t facts;
} cop_trials;

// `detached`: those of before the space or a bound was changed, which nobody proposed again yet.
COP_MUST_CHECK cop_status cop_trials_read(cop_trials *out, cop_store *store, bool detached,
                                          cop_error *err);
void cop_trials_release(cop_trials *trials);
const char *cop_trials_fact(const cop_trials *trials, const char *key); // NULL: none
// Index of a trial by id, or -1. Linear.
int64_t cop_trials_find(const cop_trials *trials, const char *id);
// Value of a metric, NaN: none.
double cop_trial_metric(const cop_trial_result *result, const char *name);

// Adds a trial in memory; `values` is copied. NULL when memory is exhausted. The pointer lives until the next.
cop_trial_entry *cop_trials_append(cop_trials *trials, int64_t batch, const char *id,
                                   const char *values);

// Does the study hold trials, rather than candidates of a teacher? What was read of an older version holds none.
COP_MUST_CHECK cop_status cop_store_has_trials(bool *out, cop_store *store, cop_error *err);

// Each is one transaction that survives kill -9 and a power cut once it returned COP_OK. `list` names indices
// into `trials`: new entries, entries whose result at `stage` is finished, entries that failed.
COP_MUST_CHECK cop_status cop_store_add_trials(cop_store *store, const cop_trials *trials,
                                               int64_t first, int64_t count, cop_error *err);
COP_MUST_CHECK cop_status cop_store_finish_trials(cop_store *store, const cop_trials *trials,
                                                  const int64_t *list, int64_t count, int stage,
                                                  cop_error *err);
// Detaches all trials from their batches (the space or a bound was changed): their results stay, for when they are
// proposed again.
COP_MUST_CHECK cop_status cop_store_detach_trials(cop_store *store, cop_error *err);

#endif
