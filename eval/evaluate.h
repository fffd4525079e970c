// How good a network is on held-out text: cross-entropy, and against a teacher KL and agreement, per
// sequence, so that comparisons can be paired.

#ifndef COP_EVAL_EVALUATE_H
#define COP_EVAL_EVALUATE_H

#include "model/network.h"
#include "model/teacher.h"
#include "model/tokens.h"

// Means over the positions of each sequence, [sequences] each, owned: cop_evaluation_release().
typedef struct cop_evaluation {
    int64_t sequences;
    int64_t sequence_tokens; // T
    double *cross_entropy;   // nats per token
    double *kl;              // KL(teacher ‖ student), nats per token; NULL without a teacher
    double *agreement; // share of positions with the same argmax (teacher, or target without one)
    double *teacher_cross_entropy; // NULL without a teacher
} cop_evaluation;

// Evaluates sequences [first, first + count) of the sampler. `teacher` NULL: no comparison. The network
// may be a training or an inference one. Results do not depend on the network's batch size beyond
// rounding.
COP_MUST_CHECK cop_status cop_evaluate(cop_evaluation *out, cop_network *network,
                                       cop_sampler *sampler, int64_t first, int64_t count,
                                       const cop_teacher *teacher, cop_error *err);
void cop_evaluation_release(cop_evaluation *evaluation);

// Mean with a 95 % interval by bootstrap over sequences (GSL; seeded, so repeatable). With one sequence
// low = high = value.
typedef struct cop_estimate {
    double value;
    double low;
    double high;
} cop_estimate;

COP_MUST_CHECK cop_status cop_estimate_mean(cop_estimate *out, const double *values, int64_t count,
                                            uint64_t seed, cop_error *err);

// Scratch and buffers of an evaluation.
COP_MUST_CHECK cop_status cop_evaluate_plan(cop_plan *plan, const cop_arch *arch,
                                            const cop_network_options *options,
                                            const cop_arch *teacher, cop_backend *backend,
                                            cop_error *err);

#endif
