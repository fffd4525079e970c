// What the files of the trainer share. Nobody outside distill/ includes this.

#ifndef COP_DISTILL_TRAINER_INTERNAL_H
#define COP_DISTILL_TRAINER_INTERNAL_H

#include "distill/state_losses.h"
#include "distill/trainer.h"

// Sizes and device memory of a trainer's passes through the LM head. T tokens per sequence,
// n = micro_batch * T rows per pass, N = batch * T rows per step.
typedef struct cop_trainer_buffers {
    cop_backend *backend; // borrowed
    cop_dtype wide;       // f32, or f64
    int64_t tokens_pass;  // n
    int64_t tokens;       // N
    cop_matrix hidden;    // [n, C], [V, C] …: sizes and types; the data belongs to others
    cop_matrix head;
    cop_matrix head_gradient;  // absent: frozen
    cop_matrix teacher_hidden; // absent: no KL, or a sample
    cop_matrix teacher_head;
    int64_t sample_draws;      // S; 0: no sample
    cop_teacher_sample sample; // [n, S]
    bool is_recordable;

    void *memory;             // one device block; what follows lies in it
    int32_t *targets;         // [n]
    cop_matrix d_hidden;      // [n, C]
    cop_matrix cross_entropy; // [1, N]
    cop_matrix kl;            // [1, N] or absent
    // Where recorded passes read what differs from batch to batch; else absent.
    cop_matrix teacher_copy;        // [n, Ct] of teacher_hidden
    int32_t *sample_ids_copy;       // [n, S]
    cop_teacher_sample sample_copy; // [n, S], with those ids
    void *scratch;
} cop_trainer_buffers;

struct cop_trainer {
    cop_network *student;             // borrowed
    cop_sampler *sampler;             // borrowed
    cop_teacher teacher;              // a copy; has_kl says whether it is used
    cop_teacher_model *teacher_model; // borrowed; NULL without state losses
    cop_trainer_options options;
    bool has_kl;
    cop_group *group; // borrowed from the student's options; NULL: alone
    cop_optimizer *optimizer;
    cop_state_losses *states; // NULL: none
    cop_trainer_buffers buffers;
    int32_t *inputs;       // [n] host
    int32_t *targets;      // [n] host
    void *rows;            // [2 N] host, losses: cross-entropy, then KL
    cop_graph *pass_graph; // NULL: not recorded (yet)
    cop_graph *step_graph;
    bool is_recording;  // from the second step on: plans of operators exist then
    int64_t steps;      // done
    double last_logits; // losses of the last step, for alpha
    double last_states; // NaN: no step yet
    bool is_spoilt;     // a loss was not finite
    bool is_exchanging; // a failure now is one that other members do not hear of
};

// The buffers of a trainer with these options, sizes only.
cop_trainer_buffers cop_trainer_buffers_of(const cop_arch *student,
                                           const cop_network_options *network,
                                           const cop_trainer_options *options,
                                           const cop_arch *teacher, cop_backend *backend);
// Places everything in a block at `base`; NULL: returns its size only.
uint64_t cop_trainer_buffers_lay_out(cop_trainer_buffers *buffers, char *base);
// The head's operator over the first `rows` rows of a pass that are rows `row` … of the step.
cop_head_loss_args cop_trainer_head_args(const cop_trainer_buffers *buffers,
                                         const cop_trainer_options *options, int64_t row,
                                         int64_t rows, bool with_gradient);

// The same status for all members of a group: that of the first that failed, with its message.
cop_status cop_trainer_agree(const cop_trainer *trainer, cop_status status, cop_error *err);
// Whether steps of this size are worth recording, and can be.
bool cop_trainer_is_recordable(const cop_arch *student, const cop_trainer_options *options,
                               cop_backend *backend);
// Does the work, or while is_recording: replays *graph, recording it first where it is NULL. The work
// must only enqueue operators. A backend that cannot record it is told once, and it runs eagerly.
COP_MUST_CHECK cop_status cop_trainer_replay(cop_trainer *trainer, cop_graph **graph,
                                             cop_status (*work)(void *context, cop_error *err),
                                             void *context, cop_error *err);

// Options with what `teacher` NULL means for the weights.
cop_trainer_options cop_trainer_effective(const cop_trainer_options *options, bool has_teacher);
cop_state_losses_options cop_trainer_state_options(const cop_trainer_options *options,
                                                   cop_precision precision);

#endif
