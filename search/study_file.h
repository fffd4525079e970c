// study.yaml, read strictly: every key, its unit, bounds and default is one row of the table in
// study_keys.c, with which a test compares configs/README.md.

#ifndef COP_SEARCH_STUDY_FILE_H
#define COP_SEARCH_STUDY_FILE_H

#include "base/config.h"
#include "base/text.h"
#include "distill/trainer.h"
#include "prune/select.h"
#include "search/candidate.h"
#include "search/free_space.h"

enum { COP_STUDY_PATH_BYTES = 1024, COP_STUDY_VALUES_MAX = 4096, COP_STUDY_RUNGS_MAX = 12 };

typedef enum cop_objective {
    COP_OBJECTIVE_LOSS = 0,
    COP_OBJECTIVE_PARAMS,
    COP_OBJECTIVE_MEMORY,
    COP_OBJECTIVE_FLOPS
} cop_objective;

typedef enum cop_probe_loss { COP_PROBE_KL = 0, COP_PROBE_CE, COP_PROBE_MIXED } cop_probe_loss;

// What a probe learns the teacher's distribution from.
typedef enum cop_probe_targets { COP_TARGETS_STATES = 0, COP_TARGETS_SAMPLES } cop_probe_targets;

const char *cop_objective_name(cop_objective objective); // "loss", "params", "memory_bytes" …

// Values of one axis, in the order they are written; count 0 and divisor 0: the teacher's value.
// {divisor, max_cut} depends on the teacher and is resolved by the space: all multiples of divisor
// from teacher * (1 - max_cut) to the teacher's size, ascending.
typedef struct cop_axis_values {
    double *value; // owned by the study file
    int64_t count;
    int64_t divisor; // 0: the values are those above
    double max_cut;
    double min, max; // of the values; -inf, +inf: no limit. Those above lie in it already
    const cop_config_node *node; // where it is written, for messages; NULL when absent
} cop_axis_values;

typedef struct cop_bound {
    double min; // -inf when absent
    double max; // +inf when absent
} cop_bound;

enum {
    COP_STUDY_WORKLOADS_MAX = 8,
    COP_WORKLOAD_NAME_BYTES = 24,
    COP_STUDY_LATENCIES_MAX = 1 + COP_STUDY_WORKLOADS_MAX
};

// A use that candidates must be fit for, beside the others.
typedef struct cop_workload {
    char name[COP_WORKLOAD_NAME_BYTES];
    int64_t batch, sequence; // of the KV cache and of the timed pass; of attention's FLOPs
    cop_dtype weights, kv;
    cop_bound memory_bytes;
    cop_bound flops_per_token;
    cop_bound latency_ms;
} cop_workload;

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
    cop_axis_values kv_groups; // query heads per KV head; exclusive with axis[COP_SPACE_KV_HEADS]
    cop_axis_values
        layer_axis[COP_SPACE_AXIS_COUNT]; // heads, kv_heads and ffn of each layer by itself
    int64_t head_dim;                     // 0: not named; else it must be the teacher's

    cop_bound params;
    cop_bound params_non_embedding;
    cop_bound memory_bytes;
    cop_bound flops_per_token;
    cop_bound latency_ms; // measured, after pruning; batch and sequence below
    int64_t memory_batch, memory_sequence;
    cop_dtype memory_weights, memory_kv;
    int64_t flops_sequence;
    int64_t latency_batch, latency_sequence;
    cop_workload workload[COP_STUDY_WORKLOADS_MAX];
    int workloads;

    cop_objective objective[4];
    int objectives;

    char strategy[16]; // a name that cop_strategy_find() knows
    uint64_t seed;
    int64_t population;  // of a generation of nsga2, of the first design of surrogate
    int64_t evaluations; // points that the strategy may have evaluated; 0: the whole grid
    int64_t generations; // evaluations as a multiple of population; 0: not given
    int64_t batch;       // points proposed at a time; 0: the strategy's choice
    int64_t fidelity;    // stage at whose end a strategy is told; -1: chosen

    // A program of the user instead of teacher, pruning and probes.
    char evaluator_command[COP_STUDY_PATH_BYTES]; // "": none
    int64_t evaluator_processes;                  // of each process of a search
    double evaluator_timeout_seconds;             // of one evaluation; 0: none
    int64_t evaluator_attempts;                   // at one point, before it counts as failed
    int64_t evaluator_restarts; // of a process that dies without an answer, in a row
    cop_free_space *free;       // axes, objectives and bounds with an evaluator, else NULL; owned

    int rungs;
    int64_t rung_tokens[COP_STUDY_RUNGS_MAX]; // cumulative, rising, rounded up to whole steps
    double keep;                              // share promoted from rung to rung, (0, 1]
    int64_t keep_pruned;    // candidates entering rung 1 after the pruned-loss stage; 0: all
    double rescue;          // share of the promoted that is drawn by lot from the rest, default 0.1
    bool stop_when_stable;  // stop raising fidelity when the ranking is stable (search.md 5.4)
    bool stop_hopeless;     // at promotions, who will not be among the best (search/hopeless.h)
    int64_t probe_sequence; // T, of probes and of the held-out sequences
    int64_t batch_tokens;   // per optimizer step
    int64_t micro_batch;    // sequences per pass; 0: chosen by memory
    cop_precision precision;
    bool precision_is_auto; // bf16 where the device has fast bf16 matmuls, f32 otherwise
    cop_recompute recompute;
    cop_state_form state;
    int64_t freeze_vocabulary; // early rungs in which embedding and LM head are not trained
    cop_probe_loss probe_loss;
    cop_probe_targets probe_targets;
    int64_t probe_draws;         // of a token, with samples
    cop_trainer_options trainer; // complete but for the micro-batch when that is 0
    cop_select_options select;   // order, aggregation, depth, carry
    // Disk allowed for the teacher's states or samples of training text; above it the teacher runs online.
    uint64_t teacher_cache_bytes;
    double checkpoint_seconds; // a running probe is saved at least this often

    cop_config *document; // owned; what the nodes above point into
} cop_study_file;

// Reads and checks a file. Errors carry file:line:column and the key. `needs_data`: teacher weights and data
// must be named (search, plan), else a bare config.json is enough (space). With an evaluator neither is
// needed; `space`, `objectives` and `budget` are then those of search/free_space.h.
COP_MUST_CHECK cop_status cop_study_file_read(cop_study_file *out, const char *path,
                                              bool needs_data, cop_error *err);
// The same from memory, for tests and fuzzing; `name` stands for the file.
COP_MUST_CHECK cop_status cop_study_file_parse(cop_study_file *out, const char *name,
                                               const char *text, size_t bytes, bool needs_data,
                                               cop_error *err);
void cop_study_file_release(cop_study_file *study);

// "<path of the study file without .yaml or .yml>.study": the study directory when none is named.
// Owned by the caller (cop_free); NULL when memory is exhausted.
char *cop_study_file_directory(const char *path);

// One budget of latency: what is timed and its bound.
typedef struct cop_latency_budget {
    const char *name; // of the workload, "" for budget.latency_ms; borrowed from the study
    cop_bound bound;
    int64_t batch, sequence;
} cop_latency_budget;

// The budgets of latency that have a bound: budget.latency_ms first, then the workloads'. Returns their
// number.
int cop_study_latencies(const cop_study_file *study,
                        cop_latency_budget out[COP_STUDY_LATENCIES_MAX]);

// --- The table of keys --------------------------------------------------------------------------

// One key as users see it; configs/README.md has one row for each.
typedef struct cop_study_key {
    const char *path; // "budget.params.max"
    const char *type; // "integer", "number", "choice" …
    const char *unit; // "" : none
    char range[96];
    const char *fallback; // the default, "required", or "none"
    const char *help;
} cop_study_key;

size_t cop_study_key_count(void);
cop_study_key cop_study_key_at(size_t index);

// Canonical text of a key's value in a study, defaults filled in: equal text, equal meaning. false for
// keys that do not change a study's results (paths, whose content is hashed instead, and the time
// between checkpoints). With it a study directory tells which key of another study differs.
bool cop_study_key_value(const cop_study_file *study, size_t index, cop_text *out);

#endif
