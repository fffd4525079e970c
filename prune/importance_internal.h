// What the files of cop_importance share: its fields, and the fold of per-sequence sums into the
// nine aggregations.

#ifndef COP_PRUNE_IMPORTANCE_INTERNAL_H
#define COP_PRUNE_IMPORTANCE_INTERNAL_H

#include "prune/importance.h"

struct cop_importance {
    int64_t layers;
    int64_t heads;    // widest layer
    int64_t kv_heads; // widest layer
    int64_t ffn;      // widest layer
    int64_t hidden;
    double *head;              // [9, layers, heads]
    double *kv_group;          // [9, layers, kv_heads]
    double *neuron;            // [9, layers, ffn]
    double *channel;           // [9, hidden]
    double *block_influence;   // [layers]
    double *perplexity;        // [layers], or NULL
    double teacher_perplexity; // NaN: not measured
    double *storage;           // owned: all of the above
};

// All scores NaN. Sizes are trusted.
COP_MUST_CHECK cop_status cop_importance_create(cop_importance **out, int64_t layers, int64_t heads,
                                                int64_t kv_heads, int64_t ffn, int64_t hidden,
                                                bool with_perplexity, cop_error *err);

// COP_ERR_CONFIG: samples, sequence or batch out of range. COP_ERR_FORMAT: no whole window in the file.
COP_MUST_CHECK cop_status cop_importance_check(const cop_tokens *tokens,
                                               const cop_importance_settings *settings,
                                               cop_error *err);

// Sizes of the widest layer.
cop_layer_arch cop_importance_widest(const cop_arch *arch);

// --- Fold ---------------------------------------------------------------------------------------
//
// Per unit and sequence aggregation (l2, mean, var) the running sums over sequences that the three
// batch aggregations need. Variances are kept by Welford's update (1962): no cancellation.

typedef struct cop_fold {
    int64_t units;
    int64_t sequences; // folded so far
    double *sum;       // [3, units] Σ s
    double *square;    // [3, units] Σ s²
    double *spread;    // [3, units] Σ (s - s̄)²
} cop_fold;

COP_MUST_CHECK cop_status cop_fold_init(cop_fold *fold, int64_t units, cop_error *err);
void cop_fold_release(cop_fold *fold);

// Starts one more sequence of `tokens` positions; then every unit is added exactly once.
void cop_fold_next(cop_fold *fold);
// Adds units [first, first + units) from their sums over the sequence, moments [3, units]:
// Σ|s|, Σ s², Σ s. Thread-safe for ranges that do not overlap.
void cop_fold_add(cop_fold *fold, int64_t first, int64_t units, const double *moments,
                  int64_t tokens);
// Scores of units [first, first + units) by one aggregation, added to `out` [units].
void cop_fold_score(const cop_fold *fold, int aggregate, int64_t first, int64_t units, double *out);

#endif
