// train: cross-entropy on text, for a model from nothing (a teacher to experiment with, the baseline of a
// pruned one) or from a checkpoint (teacher correction, arXiv 2408.11796).

#include "cli/training_run.h"

enum { KEY_ARCH = 0x3000, KEY_MODEL };

typedef struct arguments {
    cop_training_options training; // first: see cli/training_options.h
    const char *arch;
    const char *model;
} arguments;

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
// NOLINTNEXTLINE(readability-non-const-parameter): the type is argp's
static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->training.common); break;
    case KEY_ARCH: given->arch = text; break;
    case KEY_MODEL: given->model = text; break;
    case ARGP_KEY_ARG: argp_error(state, "too many arguments"); break;
    case ARGP_KEY_END:
        if ((given->arch == NULL) == (given->model == NULL)) {
            argp_error(state, "one of --arch and --model is needed");
        }
        cop_training_check_usage(&given->training, state);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

// NOLINTEND(concurrency-mt-unsafe)

int cop_cmd_train(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"arch", KEY_ARCH, "FILE", 0, "config.json of a model to train from nothing", 0},
        {"model", KEY_MODEL, "DIR", 0, "Model to go on training", 0},
        {0},
    };
    static const struct argp_child children[] = {
        {&cop_training_argp, 0, NULL, 0},
        {&cop_cli_device_argp, 0, NULL, 0},
        {&cop_cli_precision_argp, 0, NULL, 0},
        {&cop_cli_json_argp, 0, NULL, 0},
        {&cop_cli_force_argp, 0, NULL, 0},
        {&cop_cli_run_argp, 0, NULL, 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "--arch FILE|--model DIR --data FILE -o DIR --steps N|--tokens N",
        .doc = "Trains a model on text by cross-entropy. An interrupted run continues when the "
               "same command is given again; until it is done, its state lies in DIR.training.",
        .children = children,
    };
    arguments given = {.training = COP_TRAINING_OPTIONS_DEFAULT};
    cop_cli_parse(&argp, argc, argv, &given);

    cop_training_job job = {
        .verb = "train",
        .options = &given.training,
        .arch = given.arch,
        .model = given.model,
        .trainer = cop_trainer_options_default(),
    };
    job.trainer.kl_weight = 0.0;
    job.trainer.ce_weight = 1.0;
    return cop_training_run(&job);
}
