// What the files of a training command share.

#ifndef COP_CLI_TRAINING_INTERNAL_H
#define COP_CLI_TRAINING_INTERNAL_H

#include "base/log.h"
#include "cli/training_run.h"
#include "eval/evaluate.h"

typedef struct cop_training {
    const cop_training_job *job; // borrowed
    cop_arch arch;
    cop_precision precision;
    cop_trainer_options trainer_options;
    char *state_directory; // owned
    cop_backend *backend;
    cop_group *group;           // of the processes that train together; NULL: this one alone
    cop_checkpoint *checkpoint; // of the model to start from; NULL: from nothing
    cop_checkpoint *teacher_checkpoint;
    cop_tokens *tokens;
    cop_tokens *validation_tokens; // NULL: none
    cop_sampler *sampler;
    cop_sampler *validation_sampler;
    int64_t validation_count; // sequences
    cop_network *network;
    cop_teacher_model *teacher;
    cop_teacher_states *states;
    cop_teacher_samples *samples; // instead of states
    cop_teacher_states *validation_states;
    cop_trainer *trainer;

    uint64_t planned_bytes; // of the backend's memory
    double peak;            // FLOP/s of matrix products on the device
    int64_t first_step;
    double seconds; // of steps, without measuring and saving
    double flops;
    double saved_seconds; // clock when the state was saved last
    cop_trainer_step last;
    cop_progress progress;
    int signal_number; // that interrupted the run, or 0
    bool failed_alone; // other processes do not know of the failure
} cop_training;

// Means on held-out text.
typedef struct cop_training_quality {
    cop_estimate loss;
    cop_estimate kl;        // with a teacher
    cop_estimate agreement; // with the teacher, or with the text
} cop_training_quality;

// Opens everything and settles the options; joins the other processes; then the memory plan, which is printed
// and checked; then what the plan counted, the teacher first; then the state of an interrupted run. Where
// several processes train, they agree on the outcome of each of these before the next.
COP_MUST_CHECK cop_status cop_training_open(cop_training *run, cop_error *err);
COP_MUST_CHECK cop_status cop_training_join(cop_training *run, cop_error *err);
COP_MUST_CHECK cop_status cop_training_plan(cop_training *run, cop_error *err);
// Processes with a common cache build their teachers after one another: the first fills it.
COP_MUST_CHECK cop_status cop_training_build_teacher(cop_training *run, cop_error *err);
COP_MUST_CHECK cop_status cop_training_build(cop_training *run, cop_error *err);
COP_MUST_CHECK cop_status cop_training_resume(cop_training *run, cop_error *err);
void cop_training_release(cop_training *run);

// The teacher for training or for held-out text, in `out`; NULL: none is needed.
const cop_teacher *cop_training_teacher(const cop_training *run, bool is_validation,
                                        cop_teacher *out);
COP_MUST_CHECK cop_status cop_training_measure(cop_training *run, cop_training_quality *out,
                                               cop_error *err);
cop_network_options cop_training_network_options(const cop_training *run);

#endif
