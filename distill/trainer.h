// Trains a network: cross-entropy on text, distillation from a teacher, or a mixture, resumable at
// every step. Used by `train`, `distill` and the probes of a search.
//
//     loss = ce_weight * CE + kl_weight * τ² KL(teacher ‖ student) + α * state losses
// Forward KL over the full vocabulary is the default (arXiv 2407.14679, section 3: logits alone, τ = 1).
// With sample_draws the teacher is a random sample of its distribution: the same loss and gradient in the
// mean, without the teacher's head (τ = 1, no state losses).
// State losses compare embedding and block outputs with the teacher's, normalized, through one learned
// linear map (student width -> teacher width); distill/state_losses.h has the formula. α is a constant,
// or L_logits / L_states as in the paper: each step takes the values of the step before it (the first
// one those of a forward pass over its own batch), so that nothing waits for the device within a step
// and a step does not depend on the size of its passes. L_logits is the KL term, or cross-entropy when
// that has no weight.
//
// A step does not depend on micro_batch but for rounding: gradients are accumulated in f32 and scaled by
// the tokens of the whole step. bf16 gradients (model/network.h) drift when many passes are added up, so
// that at most COP_NARROW_PASSES_MAX passes per step are allowed with them.
//
// Where the student has a group (model/network.h), its members train together: of a step's sequences member r
// takes the r-th equal part, gradients are summed, and every member knows the losses of the whole step. All
// members make the same calls. A step does not depend on their number but for rounding, and a saved state
// can be continued by any number of them.

#ifndef COP_DISTILL_TRAINER_H
#define COP_DISTILL_TRAINER_H

#include "base/hash.h"
#include "distill/schedule.h"
#include "distill/teacher_cache.h"
#include "model/optimizer.h"

//
// On a backend with graphs, small models are bound by the time it takes to launch operators. Where a
// pass has less than COP_GRAPH_FLOPS_PER_OPERATOR on average, the second step records the pass and the
// optimizer's step, and from then on they are replayed, with the same bits; the inputs of a pass
// (ids, targets, teacher states) are copied to fixed places before. Steps with state losses are not
// recorded: they watch the pass from the host.

enum { COP_STATE_PAIRS_MAX = 16, COP_NARROW_PASSES_MAX = 4 };

// An operator of this size takes 50 us at 400 TFLOP/s, an order more than its launch: queues stay full.
#define COP_GRAPH_FLOPS_PER_OPERATOR 2e10

typedef struct cop_state_pair {
    int64_t teacher_layer; // block output; -1: embedding output
    int64_t student_layer;
} cop_state_pair;

typedef struct cop_trainer_options {
    double kl_weight;
    double ce_weight;
    double temperature;
    int64_t sample_draws; // the teacher is a sample of so many draws a token; 0: its hidden states
    cop_state_loss_kind state_kind;
    int state_pairs; // 0: no state losses
    cop_state_pair state_pair[COP_STATE_PAIRS_MAX];
    double state_alpha;     // 0: dynamic
    int64_t batch;          // sequences per optimizer step
    int64_t micro_batch;    // sequences per pass; divides batch, or each member's part of it
    int64_t sequence;       // T
    int64_t first_sequence; // sequence number of step 0
    uint64_t seed;
    cop_schedule schedule;
    cop_optimizer_options optimizer; // its seed is set from the one above
    bool thaws; // a state saved with a frozen vocabulary may be continued with a trained one
    bool without_graphs; // never record a step; see below
    cop_hash inputs; // of what else the run depends on (teacher, initial weights); may stay zero
} cop_trainer_options;

// KL alone, τ = 1, one sequence of 512 per step, 100 steps of cosine from 1e-4 to 1e-5.
cop_trainer_options cop_trainer_options_default(void);

typedef struct cop_trainer_step {
    int64_t step; // steps done
    double loss;  // means over the step's tokens
    double cross_entropy;
    double kl;         // NaN without a teacher
    double state_loss; // NaN without state losses
    double learning_rate;
    double gradient_norm;
    double seconds; // of this step
    double flops;   // of this step, model FLOPs (model/cost.h)
} cop_trainer_step;

// Called after a step; a status other than COP_OK stops the run and is returned. NULL: none.
typedef cop_status (*cop_trainer_hook)(void *context, const cop_trainer_step *step, cop_error *err);

typedef struct cop_trainer cop_trainer;

// What training needs beyond network and teacher: optimizer, gradients of the head, buffers.
COP_MUST_CHECK cop_status cop_trainer_plan(cop_plan *plan, const cop_arch *arch,
                                           const cop_network_options *network_options,
                                           const cop_trainer_options *options,
                                           const cop_arch *teacher, // NULL: none
                                           cop_backend *backend, cop_error *err);

// All borrowed. `teacher` NULL: cross-entropy alone, whatever the weights say. `teacher_model` is needed
// for state losses only, which run its network on each batch and leave teacher->states alone. The
// student is a training network for passes of micro_batch x sequence. COP_ERR_CONFIG or
// COP_ERR_SHAPE: options that do not fit together, by name.
COP_MUST_CHECK cop_status cop_trainer_create(cop_trainer **out, cop_network *student,
                                             cop_sampler *sampler, const cop_teacher *teacher,
                                             cop_teacher_model *teacher_model,
                                             const cop_trainer_options *options, cop_error *err);
void cop_trainer_destroy(cop_trainer *trainer);

int64_t cop_trainer_steps(const cop_trainer *trainer); // done so far

// Runs until `until_step` steps are done. A loss or gradient that is not finite stops with
// COP_ERR_DEVICE naming the step, the loss and the learning rate; the weights are then spoilt, and
// cop_trainer_save() refuses, so that the last saved state stays.
COP_MUST_CHECK cop_status cop_trainer_run(cop_trainer *trainer, int64_t until_step,
                                          cop_trainer_hook hook, void *context, cop_error *err);

// Whether the failure of run() happened while members exchanged: the others then wait for this one, and must be
// ended.
bool cop_trainer_failed_alone(const cop_trainer *trainer);

// The first member writes; what fails for one fails for all. The whole state in one directory: `training-<step>.safetensors` (weights, moments), with state losses
// `projection-<step>.safetensors`, and `training.json`, which is replaced last and names the step: whoever
// is interrupted finds the older state whole. Loading it into a trainer made with the same options
// continues bit for bit; other options (batches, seed, schedule, architecture …; not micro_batch) are
// refused by name.
COP_MUST_CHECK cop_status cop_trainer_save(cop_trainer *trainer, const char *directory,
                                           cop_error *err);
COP_MUST_CHECK cop_status cop_trainer_load(cop_trainer *trainer, const char *directory,
                                           cop_error *err);
// Whether a saved state lies there.
bool cop_trainer_has_state(const char *directory);

#endif
