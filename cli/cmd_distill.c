// distill: retrains a pruned model from its teacher.

#include <stdlib.h>
#include <string.h>

#include "cli/training_run.h"

enum {
    KEY_TEACHER = 0x3000,
    KEY_STUDENT,
    KEY_LOSS,
    KEY_CE_WEIGHT,
    KEY_TEMPERATURE,
    KEY_STATE_LOSS,
    KEY_STATE_MAP,
    KEY_STATE_ALPHA,
    KEY_TARGETS,
    KEY_DRAWS,
    KEY_CACHE,
    KEY_NO_CACHE
};

enum { LAYER_MAX = 1 << 20, DRAWS_DEFAULT = 50 };

typedef enum loss_kind { LOSS_KL, LOSS_CE, LOSS_MIXED } loss_kind;

typedef struct arguments {
    cop_training_options training; // first: see cli/training_options.h
    const char *teacher;
    const char *student;
    const char *cache;
    loss_kind loss;
    double ce_weight; // negative: not given
    bool is_sampled;
    int64_t draws; // 0: not given
    bool has_state_loss;
    bool has_state_map;
    cop_trainer_options trainer;
} arguments;

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
// "29:13,emb": pairs of teacher and student layers.
static void parse_map(arguments *given, char *text, const struct argp_state *state)
{
    char *rest = NULL;
    given->trainer.state_pairs = 0;
    for (char *item = strtok_r(text, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        cop_state_pair pair = {-1, -1};
        char *colon = strchr(item, ':');
        if (given->trainer.state_pairs == COP_STATE_PAIRS_MAX) {
            argp_error(state, "--state-map has more than %d entries", COP_STATE_PAIRS_MAX);
        }
        if (strcmp(item, "emb") != 0) {
            if (colon == NULL) {
                argp_error(state, "--state-map has %s (allowed: emb, TEACHER:STUDENT)", item);
                return;
            }
            *colon = '\0';
            pair.teacher_layer = cop_cli_number(state, "--state-map", item, 0, LAYER_MAX);
            pair.student_layer = cop_cli_number(state, "--state-map", colon + 1, 0, LAYER_MAX);
        }
        given->trainer.state_pair[given->trainer.state_pairs++] = pair;
    }
    if (given->trainer.state_pairs == 0) {
        argp_error(state, "--state-map is empty (allowed: emb, TEACHER:STUDENT)");
    }
    given->has_state_map = true;
}

static void check_usage(const arguments *given, struct argp_state *state)
{
    const bool has_states = given->has_state_loss || given->has_state_map;
    if (given->teacher == NULL || given->student == NULL) {
        argp_error(state, "--teacher and --student are needed");
    }
    if (given->ce_weight >= 0.0 && given->loss != LOSS_MIXED) {
        argp_error(state, "--ce-weight goes with --loss mixed");
    }
    if (given->draws > 0 && !given->is_sampled) {
        argp_error(state, "--draws goes with --targets samples");
    }
    if (given->is_sampled && (has_states || given->loss == LOSS_CE)) {
        argp_error(state, "--targets samples goes with the KL of --loss kl or mixed alone");
    }
    if (given->is_sampled && given->trainer.temperature != 1.0) {
        argp_error(state, "--targets samples goes with --temperature 1");
    }
    if (has_states && given->cache != NULL) {
        argp_error(state, "--cache holds final states only: state losses run the teacher");
    }
    cop_training_check_usage(&given->training, state);
}

static error_t parse_loss(int key, char *text, struct argp_state *state, arguments *given)
{
    static const char *const losses[] = {"kl", "ce", "mixed"};
    static const char *const state_losses[] = {"mse", "cosine"};
    static const char *const targets[] = {"states", "samples"};
    switch (key) {
    case KEY_LOSS: given->loss = (loss_kind)cop_cli_word(state, "--loss", text, losses, 3); break;
    case KEY_CE_WEIGHT:
        given->ce_weight = cop_cli_real(state, "--ce-weight", text, 0.0, 1e6);
        break;
    case KEY_TEMPERATURE:
        given->trainer.temperature = cop_cli_real(state, "--temperature", text, 1e-3, 1e3);
        break;
    case KEY_STATE_LOSS:
        given->trainer.state_kind =
            (cop_state_loss_kind)cop_cli_word(state, "--state-loss", text, state_losses, 2);
        given->has_state_loss = true;
        break;
    case KEY_TARGETS:
        given->is_sampled = cop_cli_word(state, "--targets", text, targets, 2) == 1;
        break;
    case KEY_DRAWS:
        given->draws = cop_cli_number(state, "--draws", text, 1, COP_SAMPLE_DRAWS_MAX);
        break;
    case KEY_STATE_MAP: parse_map(given, text, state); break;
    case KEY_STATE_ALPHA:
        given->trainer.state_alpha = strcmp(text, "dynamic") == 0
                                         ? 0.0
                                         : cop_cli_real(state, "--state-alpha", text, 1e-9, 1e6);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->training.common); break;
    case KEY_TEACHER: given->teacher = text; break;
    case KEY_STUDENT: given->student = text; break;
    case KEY_CACHE: given->cache = text; break;
    case KEY_NO_CACHE: given->cache = NULL; break;
    case ARGP_KEY_ARG: argp_error(state, "too many arguments"); break;
    case ARGP_KEY_END: check_usage(given, state); break;
    default: return parse_loss(key, text, state, given);
    }
    return 0;
}

// NOLINTEND(concurrency-mt-unsafe)

int cop_cmd_distill(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"teacher", KEY_TEACHER, "DIR", 0, "The model to learn from", 0},
        {"student", KEY_STUDENT, "DIR", 0, "The model to retrain", 0},
        {"loss", KEY_LOSS, "KIND", 0, "kl (default), ce or mixed (their sum)", 0},
        {"ce-weight", KEY_CE_WEIGHT, "X", 0, "Weight of cross-entropy in a mixed loss (1)", 0},
        {"temperature", KEY_TEMPERATURE, "X", 0, "Of both softmaxes of the KL (1)", 0},
        {"state-loss", KEY_STATE_LOSS, "KIND", 0,
         "Compare hidden states too: cosine (the paper's best) or mse", 0},
        {"state-map", KEY_STATE_MAP, "PAIRS", 0,
         "TEACHER:STUDENT layers from 0, and emb (emb and the last but two)", 0},
        {"state-alpha", KEY_STATE_ALPHA, "X", 0, "Weight of state losses, or dynamic (default)", 0},
        {"targets", KEY_TARGETS, "KIND", 0,
         "Learn the KL from the teacher's states (default), exact, or from samples of its "
         "distributions, unbiased: about 1/200 of the disk, no teacher head in a step",
         0},
        {"draws", KEY_DRAWS, "N", 0, "Of a token, with --targets samples (50)", 0},
        {"cache", KEY_CACHE, "DIR", 0,
         "Compute the teacher's states or samples first and keep them here: less memory, and other "
         "runs on "
         "the "
         "same batches find them",
         0},
        {"no-cache", KEY_NO_CACHE, NULL, 0, "Run the teacher on each batch (default)", 0},
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
        .args_doc = "--teacher DIR --student DIR --data FILE -o DIR --steps N|--tokens N",
        .doc = "Retrains a pruned model by distillation: forward KL to the teacher over the full "
               "vocabulary. An interrupted run continues when the same command is given again; "
               "until it is done, its state lies in DIR.training.",
        .children = children,
    };
    arguments given = {
        .training = COP_TRAINING_OPTIONS_DEFAULT,
        .ce_weight = -1.0,
        .trainer = cop_trainer_options_default(),
    };
    cop_cli_parse(&argp, argc, argv, &given);

    const double ce_weight = given.ce_weight >= 0.0 ? given.ce_weight : 1.0;
    given.trainer.sample_draws =
        !given.is_sampled ? 0 : (given.draws > 0 ? given.draws : DRAWS_DEFAULT);
    given.trainer.kl_weight = given.loss == LOSS_CE ? 0.0 : 1.0;
    given.trainer.ce_weight = given.loss == LOSS_KL ? 0.0 : ce_weight;
    const cop_training_job job = {
        .verb = "distill",
        .options = &given.training,
        .model = given.student,
        .teacher = given.teacher,
        .cache = given.cache,
        .has_default_map = given.has_state_loss && !given.has_state_map,
        .trainer = given.trainer,
    };
    return cop_training_run(&job);
}
