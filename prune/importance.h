// Importance of every layer, head, KV group, neuron and channel, from forward passes alone.
//
// Source: "Compact Language Models via Pruning and Knowledge Distillation", arXiv 2407.14679, section
// 2.2, with the measuring points of NVIDIA's public code where the paper's print differs:
//   head      L2 norm over D of the head's output before the output projection
//   kv_group  the same over all heads of a KV group
//   neuron    input of the down projection (after the activation, and the gate where there is one)
//   channel   outputs of the input and post-attention norms; scores of all places are summed
// A unit's activation per position is aggregated over the sequence, then over the batch (all
// calibration sequences), each by one of
//   l2 = sqrt(Σ s²), mean = (1/n) Σ |s|, var = (1/n) Σ (s - s̄)²
// so there are nine aggregations "<batch>_<sequence>"; "l2_mean" is the default.
//   layer     block influence 1 - E[cos(x_i, x_{i+1})], and the perplexity without the layer
// Higher = more important, everywhere.

#ifndef COP_PRUNE_IMPORTANCE_H
#define COP_PRUNE_IMPORTANCE_H

#include "base/hash.h"
#include "model/network.h"
#include "model/tokens.h"

typedef enum cop_aggregate {
    COP_AGGREGATE_L2 = 0,
    COP_AGGREGATE_MEAN,
    COP_AGGREGATE_VAR
} cop_aggregate;

enum { COP_AGGREGATES = 9, COP_AGGREGATE_DEFAULT = 1 }; // index = 3 * batch + sequence: l2_mean

// "l2_l2", "l2_mean" … by index; the index of a name, or -1.
const char *cop_aggregate_name(int index);
int cop_aggregate_find(const char *name);

typedef struct cop_importance_settings {
    int64_t samples;      // calibration sequences
    int64_t sequence;     // tokens of each
    bool with_perplexity; // leave-one-out perplexity: layers / 2 more forward passes
    cop_precision precision;
    int64_t batch; // sequences of one pass; 0: chosen by cop_importance_batch(). Not in the key.
} cop_importance_settings;

#define COP_IMPORTANCE_SETTINGS_DEFAULT                                                            \
    {                                                                                              \
        .samples = 1024, .sequence = 4096, .with_perplexity = true, .precision = COP_PRECISION_F32 \
    }

// Sequences that will be used: `settings->samples`, or all windows of the file when it has fewer. They
// are windows [w*T, w*T + T] with w = floor(i * windows / samples): spread evenly over the file.
int64_t cop_importance_samples(const cop_tokens *tokens, const cop_importance_settings *settings);

// Sequences of one pass: `settings->batch`, or as many as make about 4096 tokens.
int64_t cop_importance_batch(const cop_importance_settings *settings);

// Adds to a plan what cop_importance_measure() allocates beside the network, whose `batch` and
// `sequence` are meant.
COP_MUST_CHECK cop_status cop_importance_plan(cop_plan *plan, const cop_arch *arch,
                                              const cop_importance_settings *settings,
                                              cop_backend *backend, cop_error *err);

// Scores of one teacher. Rows of layers with fewer units than the widest are padded with NaN.
typedef struct cop_importance cop_importance;

// Runs the calibration pass: one forward pass for everything but perplexity. `network` is the teacher,
// inference only, with room for at least one sequence; several sequences per pass are used when
// its batch allows. Every sequence is summed by itself and sequences are folded in their order, in
// f64: the result does not depend on the batch, as long as the backend's operators give a row the
// same bits whatever rows are beside it (the reference does; matmul libraries may round the last
// bits of an f32 differently).
// COP_ERR_CONFIG: samples or sequence out of range, or the network's precision is not the one of the
// settings. COP_ERR_FORMAT: fewer than sequence + 1 tokens. COP_ERR_DEVICE: a score is not finite.
COP_MUST_CHECK cop_status cop_importance_measure(cop_importance **out, cop_network *network,
                                                 const cop_tokens *tokens,
                                                 const cop_importance_settings *settings,
                                                 cop_error *err);
void cop_importance_destroy(cop_importance *importance);

// What the scores belong to: hash of teacher weights, calibration ids and settings.
COP_MUST_CHECK cop_status cop_importance_key(cop_hash *out, const cop_checkpoint *teacher,
                                             const cop_tokens *tokens,
                                             const cop_importance_settings *settings,
                                             cop_error *err);

// importance.h5, by the schema of DESIGN.md section 6: /meta attributes (teacher, teacher_hash, data,
// data_hash, samples, sequence, precision, key, program, version, and definitions as text),
// /head/<agg> [layers, heads], /kv_group/<agg> [layers, kv_heads], /neuron/<agg> [layers, ffn],
// /channel/<agg> [hidden], /layer/{block_influence, perplexity} [layers], f64.
COP_MUST_CHECK cop_status cop_importance_write(const cop_importance *importance, const char *path,
                                               cop_hash key, const cop_checkpoint *teacher,
                                               const cop_tokens *tokens,
                                               const cop_importance_settings *settings,
                                               cop_error *err);
// Reads a file and checks that it was made from `teacher` (its weights' hash) and has its shape: the
// message says whose it is. `teacher` NULL: no check. `key` (may be NULL) receives the stored key.
COP_MUST_CHECK cop_status cop_importance_read(cop_importance **out, const char *path,
                                              const cop_checkpoint *teacher, cop_hash *key,
                                              cop_error *err);
// Reads `path` when it exists and its key matches; measures and writes it otherwise. An existing file
// with another key is an error unless `force`. `was_cached` (may be NULL) tells which.
COP_MUST_CHECK cop_status cop_importance_obtain(cop_importance **out, const char *path,
                                                const cop_checkpoint *teacher,
                                                const cop_tokens *tokens,
                                                const cop_importance_settings *settings,
                                                cop_backend *backend, bool force, bool *was_cached,
                                                cop_error *err);

// The first half of cop_importance_obtain(): `*out` is NULL when the scores have to be measured.
COP_MUST_CHECK cop_status cop_importance_find(cop_importance **out, const char *path,
                                              const cop_checkpoint *teacher,
                                              const cop_tokens *tokens,
                                              const cop_importance_settings *settings, bool force,
                                              cop_error *err);

// Has it the layers, channels, heads and neurons of this architecture?
bool cop_importance_fits(const cop_importance *importance, const cop_arch *arch);

// Borrowed scores; `aggregate` is an index of COP_AGGREGATES.
int64_t cop_importance_layers(const cop_importance *importance);
const double *cop_importance_heads(const cop_importance *importance, int aggregate, int64_t layer);
const double *cop_importance_kv_groups(const cop_importance *importance, int aggregate,
                                       int64_t layer);
const double *cop_importance_neurons(const cop_importance *importance, int aggregate,
                                     int64_t layer);
const double *cop_importance_channels(const cop_importance *importance, int aggregate);
const double *cop_importance_block_influence(const cop_importance *importance);
const double *cop_importance_perplexity(const cop_importance *importance); // NULL: not measured
// Perplexity of the whole teacher on the calibration sequences; NaN when not measured.
double cop_importance_teacher_perplexity(const cop_importance *importance);

#endif
