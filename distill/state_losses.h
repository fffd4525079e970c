// Hidden-state losses of a trainer (arXiv 2407.14679, section 3): embedding and block outputs of the
// student are compared with the teacher's.
//
//     L_states = Σ_pairs mean over positions of distance(W norm(s), norm(t))
//
// W [Ct, C] is one learned linear map for all pairs, trained with AdamW beside the student: it starts
// as the identity when the widths are equal and as N(0, 1 / C) else. The paper takes states "after
// LayerNorm"; here norm is the family's norm (RMS, or mean-centred) without a gain: it takes away the size
// of the residual stream, which grows with depth, and exists for every pair, also where the layer that
// would normalize it was cut.
//
// Order of one pass: begin; teacher forward with the teacher tap; student forward with the student
// tap; then either measure, or student backward with inject.

#ifndef COP_DISTILL_STATE_LOSSES_H
#define COP_DISTILL_STATE_LOSSES_H

#include "distill/trainer.h"

typedef struct cop_state_losses cop_state_losses;

typedef struct cop_state_losses_options {
    cop_precision precision;
    cop_state_loss_kind kind;
    int pairs; // 1 … COP_STATE_PAIRS_MAX
    cop_state_pair pair[COP_STATE_PAIRS_MAX];
    int64_t tokens_pass; // n of one pass, at most
    int64_t tokens;      // of a whole step: rows of the losses
    uint64_t seed;
    cop_optimizer_options optimizer;
    cop_group *group; // whose members have equal parts of the rows, in order; borrowed; NULL: alone
} cop_state_losses_options;

COP_MUST_CHECK cop_status cop_state_losses_check(const cop_state_losses_options *options,
                                                 const cop_arch *student, const cop_arch *teacher,
                                                 cop_error *err);

// Adds the line "state losses" to a plan.
COP_MUST_CHECK cop_status cop_state_losses_plan(cop_plan *plan,
                                                const cop_state_losses_options *options,
                                                const cop_arch *student, const cop_arch *teacher,
                                                cop_backend *backend, cop_error *err);

COP_MUST_CHECK cop_status cop_state_losses_create(cop_state_losses **out,
                                                  const cop_state_losses_options *options,
                                                  const cop_arch *student, const cop_arch *teacher,
                                                  cop_backend *backend, cop_error *err);
void cop_state_losses_destroy(cop_state_losses *losses);

// The taps and inject take the cop_state_losses as their context.
//
// The next pass has `tokens` rows, which are rows [row, row + tokens) of the step. Gradients are
// multiplied by `grad_scale` (alpha / tokens of the step).
void cop_state_losses_begin(cop_state_losses *losses, int64_t tokens, int64_t row,
                            float grad_scale);
cop_status cop_state_losses_teacher_tap(void *context, cop_tap tap, int64_t layer,
                                        const cop_matrix *value, cop_error *err);
cop_status cop_state_losses_student_tap(void *context, cop_tap tap, int64_t layer,
                                        const cop_matrix *value, cop_error *err);
// A cop_gradient_function: losses of this pass, and their gradients by student state (added) and
// projection (accumulated).
cop_status cop_state_losses_inject(void *context, cop_tap tap, int64_t layer, cop_matrix *gradient,
                                   cop_error *err);
// The losses alone, without a backward pass.
COP_MUST_CHECK cop_status cop_state_losses_measure(cop_state_losses *losses, cop_error *err);

// One AdamW step of the projection, clipped by its own norm; its gradient is zeroed.
COP_MUST_CHECK cop_status cop_state_losses_update(cop_state_losses *losses, double learning_rate,
                                                  cop_error *err);

// L_states of the passes of the last step, from all of its rows: fetch() puts them on their way to the
// host, value() is right once the backend was synchronized after it.
COP_MUST_CHECK cop_status cop_state_losses_fetch(cop_state_losses *losses, cop_error *err);
double cop_state_losses_value(const cop_state_losses *losses);

// Device views: W in master precision and its gradient, [Ct, C]; for tests.
cop_matrix cop_state_losses_projection(const cop_state_losses *losses);
cop_matrix cop_state_losses_gradient(const cop_state_losses *losses);

// Projection, moments and step count, to / from a safetensors file.
COP_MUST_CHECK cop_status cop_state_losses_save(cop_state_losses *losses, const char *path,
                                                cop_error *err);
COP_MUST_CHECK cop_status cop_state_losses_load(cop_state_losses *losses, const char *path,
                                                cop_error *err);

#endif
