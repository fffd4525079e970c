// study.yaml, read strictly: every key, its unit, bounds and default is one row of the table in
// study_file.c, from which configs/README.md is checked.

#ifndef COP_SEARCH_STUDY_FILE_H
#define COP_SEARCH_STUDY_FILE_H

#include "distill/trainer.h"
#include "prune/select.h"
#include "search/candidate.h"

enum { COP_STUDY_PATH_BYTES = 1024, COP_STUDY_VALUES_MAX = 4096, COP_STUDY_RUNGS_MAX = 12 };

typedef enum cop_objective {
    COP_OBJECTIVE_LOSS = 0,
    COP_OBJECTIVE_PARAMS,
    COP_OBJECTIVE_MEMORY,
    COP_OBJECTIVE_FLOPS
} cop_objective;

// Values of one axis, ascending or as written; count 0: the teacher's value.
typedef struct cop_axis_values {
    double *value; // owned by the study file
    int64_t count;
} cop_axis_values;

typedef struct cop_bound {
    double min; // -inf when absent
    double max; // +inf when absent
} cop_bound;

typedef struct cop_study_file {
    char path[COP_STUDY_PATH_BYTES];
    char teacher[COP_STUDY_PATH_BYTES];    // relative paths are relative to the study file
    char importance[COP_STUDY_PATH_BYTES]; // "" : <study directory>/importance.h5
    char train[COP_STUDY_PATH_BYTES];
    char validation[COP_STUDY_PATH_BYTES];
    char calibration[COP_STUDY_PATH_BYTES]; // "" : train
    cop_importance_settings calibration_settings;
    int64_t validation_sequences; // held-out sequences that judge, 0: all (at most 256)

    cop_axis_values axis[COP_SPACE_AXIS_COUNT];
    cop_axis_values ffn_ratio; // exclusive with axis[COP_SPACE_FFN]

    cop_bound params;
    cop_bound params_non_embedding;
    cop_bound memory_bytes;
    cop_bound flops_per_token;
    cop_bound latency_ms; // measured, after pruning; batch and sequence below
    int64_t memory_batch, memory_sequence;
    cop_dtype memory_weights, memory_kv;
    int64_t flops_sequence;
    int64_t latency_batch, latency_sequence;

    cop_objective objective[4];
    int objectives;

    char strategy[16]; // "grid"
    uint64_t seed;

    int rungs;
    int64_t rung_tokens[COP_STUDY_RUNGS_MAX]; // cumulative tokens at the end of each rung, rising
    double keep;                              // share promoted from rung to rung, (0, 1]
    int64_t keep_pruned;    // candidates entering rung 1 after the pruned-loss stage; 0: all
    double rescue;          // share of the promoted that is drawn by lot from the rest, default 0.1
    bool stop_when_stable;  // stop raising fidelity when the ranking is stable (search.md 5.4)
    int64_t probe_sequence; // T
    int64_t batch_tokens;   // per optimizer step
    int64_t micro_batch;    // sequences per pass; 0: chosen by memory
    cop_precision precision;
    bool precision_is_auto;
    cop_recompute recompute;
    cop_trainer_options trainer; // loss, learning rate, schedule; batch etc. filled from the above
    cop_select_options select;   // order, aggregation, depth, carry
    uint64_t
        teacher_cache_bytes; // disk allowed for the teacher cache; above it the teacher runs online
} cop_study_file;

// Reads and checks a file. Errors carry file:line:column and the key. `needs_data`: teacher weights and data
// must be named (search, plan), else a bare config.json is enough (space).
COP_MUST_CHECK cop_status cop_study_file_read(cop_study_file *out, const char *path,
                                              bool needs_data, cop_error *err);
// The same from memory, for tests and fuzzing; `name` stands for the file.
COP_MUST_CHECK cop_status cop_study_file_parse(cop_study_file *out, const char *name,
                                               const char *text, size_t bytes, bool needs_data,
                                               cop_error *err);
void cop_study_file_release(cop_study_file *study);

#endif
