// Options of every command that trains: parsed once, for `train` and `distill`.

#ifndef COP_CLI_TRAINING_OPTIONS_H
#define COP_CLI_TRAINING_OPTIONS_H

#include "cli/cli.h"
#include "distill/trainer.h"

typedef struct cop_training_options {
    cop_cli_common common; // first: it is what the shared option parsers get a pointer to
    const char *data;
    const char *validation; // NULL: none
    const char *output;
    int64_t steps;        // 0: by tokens
    int64_t tokens;       // 0: by steps
    int64_t batch;        // sequences per step
    int64_t micro_batch;  // 0: chosen
    int64_t sequence;     // 0: 512, or the model's context when shorter
    double learning_rate; // 0: the command's default
    double minimum_rate;  // negative: a tenth of the rate
    int64_t warmup;       // negative: a twentieth of the steps, at most 100
    cop_schedule_kind schedule;
    uint64_t seed;
    cop_recompute recompute;
    cop_state_form state;
    bool freezes_vocabulary;
    bool has_dtype;
    cop_dtype dtype; // of the output; without has_dtype as the model is stored
    double clip;
    double weight_decay;
    int64_t eval_every; // steps; 0: at the end only
    int64_t save_every; // steps; 0: every five minutes
} cop_training_options;

#define COP_TRAINING_OPTIONS_DEFAULT                                            \
    {                                                                           \
        .batch = 8, .minimum_rate = -1.0, .warmup = -1, .seed = 1, .clip = 1.0, \
        .weight_decay = 0.1                                                     \
    }

// A child of a command's struct argp; its input is the cop_cli_common at the start of the options.
extern const struct argp cop_training_argp;

// Called by a command at ARGP_KEY_END: wrong usage when --data, -o or the length is missing.
void cop_training_check_usage(const cop_training_options *options, struct argp_state *state);

// The options of a trainer for a model: sizes, schedule, seed, optimizer; the loss stays as it is.
COP_MUST_CHECK cop_status cop_training_settle(cop_trainer_options *out,
                                              const cop_training_options *options,
                                              const cop_arch *arch, double default_rate,
                                              cop_error *err);

#endif
