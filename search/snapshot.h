// A study as it stands, read from its database in one piece: what ranking, status, report and pick work on.

#ifndef COP_SEARCH_SNAPSHOT_H
#define COP_SEARCH_SNAPSHOT_H

#include "search/store.h"

enum { COP_SNAPSHOT_STAGES_MAX = 13, COP_DECISION_BYTES = 16, COP_REASON_BYTES = 256 };

typedef struct cop_snapshot_stage {
    bool is_done;
    cop_stage_record record; // owned by the snapshot
    double probability;      // of belonging in the top at this stage's promotion; NaN: none yet
    char decision[COP_DECISION_BYTES]; // "", "promoted", "rescued", "eliminated", "finished"
} cop_snapshot_stage;

typedef struct cop_snapshot_candidate {
    cop_candidate candidate;
    cop_layer_arch *blocks; // owned: what candidate.layer points to; NULL: blocks are alike
    cop_candidate_state state;
    char reason[COP_REASON_BYTES];
    int last_stage; // deepest finished stage, -1: none
    cop_snapshot_stage stage[COP_SNAPSHOT_STAGES_MAX];
    cop_curve_point *curve; // owned, ascending tokens
    int64_t curve_points;
    int64_t batch;     // of the strategy that proposed it, from 0; -1: of the grid
    int64_t slot;      // in the batch
    int running_stage; // -1: not running
    int64_t running_tokens;
} cop_snapshot_candidate;

typedef struct cop_fact {
    char *key;
    char *value;
} cop_fact;

typedef struct cop_snapshot {
    cop_snapshot_candidate *candidate; // grid order
    int64_t count;
    cop_fact *fact; // everything stored with cop_store_set, sorted by key
    int64_t facts;
} cop_snapshot;

// Everything stored with cop_store_set(), sorted by key; owned: cop_facts_release().
COP_MUST_CHECK cop_status cop_facts_read(cop_fact **out, int64_t *count, cop_store *store,
                                         cop_error *err);
void cop_facts_release(cop_fact *facts, int64_t count);
const char *cop_facts_find(const cop_fact *facts, int64_t count, const char *key); // NULL: none

COP_MUST_CHECK cop_status cop_snapshot_read(cop_snapshot *out, cop_store *store, cop_error *err);
void cop_snapshot_release(cop_snapshot *snapshot);
const char *cop_snapshot_fact(const cop_snapshot *snapshot, const char *key); // NULL: none
// Index of a candidate by id, or -1.
int64_t cop_snapshot_find(const cop_snapshot *snapshot, const char *id);

#endif
