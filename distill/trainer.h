// Trains a network: cross-entropy on text, distillation from a teacher, or a mixture, resumable at
// every step. Used by `train`, `distill` and the probes of a search.
//
//     loss = ce_weight * CE + kl_weight * τ² KL(teacher ‖ student) + α * state losses
// Forward KL over the full vocabulary is the default (arXiv 2407.14679, section 3: logits alone, τ = 1).
// State losses compare embedding and block outputs with the teacher's through one learned linear map
// (student width -> teacher width); α = L_logits / L_states, recomputed each step as the paper does,
// or a constant.

#ifndef COP_DISTILL_TRAINER_H
#define COP_DISTILL_TRAINER_H

#include "distill/schedule.h"
#include "distill/teacher_cache.h"
#include "model/optimizer.h"

enum { COP_STATE_PAIRS_MAX = 16 };

typedef struct cop_state_pair {
    int64_t teacher_layer; // block output; -1: embedding output
    int64_t student_layer;
} cop_state_pair;

typedef struct cop_trainer_options {
    double kl_weight;
    double ce_weight;
    double temperature;
    cop_state_loss_kind state_kind;
    int state_pairs; // 0: no state losses
    cop_state_pair state_pair[COP_STATE_PAIRS_MAX];
    double state_alpha;     // 0: dynamic
    int64_t batch;          // sequences per optimizer step
    int64_t micro_batch;    // sequences per pass; divides batch
    int64_t sequence;       // T
    int64_t first_sequence; // sequence number of step 0
    uint64_t seed;
    cop_schedule schedule;
    cop_optimizer_options optimizer;
} cop_trainer_options;

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

// All borrowed. `teacher` NULL: cross-entropy alone. `teacher_model` is needed for state losses only.
COP_MUST_CHECK cop_status cop_trainer_create(cop_trainer **out, cop_network *student,
                                             cop_sampler *sampler, const cop_teacher *teacher,
                                             cop_teacher_model *teacher_model,
                                             const cop_trainer_options *options, cop_error *err);
void cop_trainer_destroy(cop_trainer *trainer);

int64_t cop_trainer_steps(const cop_trainer *trainer); // done so far

// Runs until `until_step` steps are done. A loss that is not finite stops with COP_ERR_DEVICE naming the
// step, the loss and the learning rate.
COP_MUST_CHECK cop_status cop_trainer_run(cop_trainer *trainer, int64_t until_step,
                                          cop_trainer_hook hook, void *context, cop_error *err);

// The whole state (weights, moments, projection, step) in one directory, atomically replaced:
// `training.safetensors` and `training.json`. Loading it into a trainer made with the same options
// continues bit for bit; other options (batches, seed, architecture) are refused by name.
COP_MUST_CHECK cop_status cop_trainer_save(cop_trainer *trainer, const char *directory,
                                           cop_error *err);
COP_MUST_CHECK cop_status cop_trainer_load(cop_trainer *trainer, const char *directory,
                                           cop_error *err);

#endif
