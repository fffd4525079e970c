// Runs a training command from its inputs to the written model: the memory plan, interruption and
// continuation, progress, measuring on held-out text.
//
// While a run lasts, its state lies in `<output>.training/`. A run that was interrupted (SIGINT and SIGTERM
// save first) continues when the same command is given again; other options are refused by name.
// The directory is removed when the model has been written.

#ifndef COP_CLI_TRAINING_RUN_H
#define COP_CLI_TRAINING_RUN_H

#include "cli/training_options.h"

typedef struct cop_training_job {
    const char *verb; // "train" or "distill"
    const cop_training_options *options;
    const char *arch;            // config.json of a model to be made from nothing, or NULL
    const char *model;           // directory of a model to start from, or NULL
    const char *teacher;         // directory, or NULL
    const char *cache;           // directory of the teacher's states; NULL: the teacher runs
    bool has_default_map;        // state losses between the layers that the paper compares
    cop_trainer_options trainer; // its loss is used, the rest settled from options
} cop_training_job;

// Returns the exit code; 128 + the signal's number when interrupted.
int cop_training_run(const cop_training_job *job);

#endif
