#include "cli/training_options.h"

#include <inttypes.h>

#include "base/processes.h"
#include "cli/quality.h"

enum {
    KEY_STEPS = 0x2000,
    KEY_TOKENS,
    KEY_BATCH,
    KEY_MICRO_BATCH,
    KEY_SEQUENCE,
    KEY_RATE,
    KEY_MINIMUM_RATE,
    KEY_WARMUP,
    KEY_SCHEDULE,
    KEY_SEED,
    KEY_RECOMPUTE,
    KEY_STATE,
    KEY_FREEZE,
    KEY_VALIDATION,
    KEY_EVAL_EVERY,
    KEY_SAVE_EVERY,
    KEY_DTYPE,
    KEY_CLIP,
    KEY_WEIGHT_DECAY,
    KEY_DATA
};

enum { BATCH_MAX = 1 << 20, SEQUENCE_MAX = 1 << 20 };

static const int64_t steps_max = INT64_C(1000000000000);

// Tokens of one pass when the user does not say: enough to keep the matrix products busy.
static const int64_t pass_tokens = 4096;

static const struct argp_option options_table[] = {
    {"data", KEY_DATA, "FILE", 0, "Token file to train on", 2},
    {"output", 'o', "DIR", 0, "Where the model is written", 2},
    {"steps", KEY_STEPS, "N", 0, "Optimizer steps", 2},
    {"tokens", KEY_TOKENS, "N", 0, "Tokens, instead of steps (4e6)", 2},
    {"batch", KEY_BATCH, "N", 0, "Sequences per step (8)", 2},
    {"micro-batch", KEY_MICRO_BATCH, "N", 0,
     "Sequences per pass, a divisor of the batch (default: about 4096 tokens)", 2},
    {"sequence", KEY_SEQUENCE, "T", 0, "Tokens per sequence (512, or the context if shorter)", 2},
    {"learning-rate", KEY_RATE, "X", 0,
     "Peak learning rate (1e-3 for new models, 1e-4 for trained ones)", 2},
    {"min-learning-rate", KEY_MINIMUM_RATE, "X", 0, "At the end of the cosine (a tenth)", 2},
    {"warmup", KEY_WARMUP, "N", 0, "Warm-up steps (a twentieth, at most 100)", 2},
    {"schedule", KEY_SCHEDULE, "NAME", 0, "cosine (default) or constant", 2},
    {"seed", KEY_SEED, "N", 0, "Seed of weights and batches (1)", 2},
    {"recompute", KEY_RECOMPUTE, "HOW", 0,
     "none (default), selective or block: less memory, more work", 2},
    {"state", KEY_STATE, "FORM", 0,
     "full (default), compact (bf16 moments) or lean (bf16 gradients and moments, no f32 weights): "
     "18, 14 or 8 bytes per parameter in bf16",
     2},
    {"freeze-vocabulary", KEY_FREEZE, NULL, 0,
     "Leave embedding and LM head as they are: less memory, less work", 2},
    {"validation", KEY_VALIDATION, "FILE", 0, "Token file to measure on", 2},
    {"eval-every", KEY_EVAL_EVERY, "N", 0, "Measure every N steps (default: at the end)", 2},
    {"save-every", KEY_SAVE_EVERY, "N", 0, "Save the state every N steps (every five minutes)", 2},
    {"dtype", KEY_DTYPE, "TYPE", 0, "f32 or bf16 weights in the output (default: as stored)", 2},
    {"clip", KEY_CLIP, "X", 0, "Largest global gradient norm, 0 for any (1)", 2},
    {"weight-decay", KEY_WEIGHT_DECAY, "X", 0, "AdamW's weight decay (0.1)", 2},
    {0},
};

static error_t parse_sizes(int key, char *text, struct argp_state *state,
                           cop_training_options *options)
{
    switch (key) {
    case KEY_STEPS: options->steps = cop_cli_number(state, "--steps", text, 1, steps_max); break;
    case KEY_TOKENS:
        options->tokens = cop_cli_number(state, "--tokens", text, 1, INT64_MAX / 2);
        break;
    case KEY_BATCH: options->batch = cop_cli_number(state, "--batch", text, 1, BATCH_MAX); break;
    case KEY_MICRO_BATCH:
        options->micro_batch = cop_cli_number(state, "--micro-batch", text, 1, BATCH_MAX);
        break;
    case KEY_SEQUENCE:
        options->sequence = cop_cli_number(state, "--sequence", text, 1, SEQUENCE_MAX);
        break;
    case KEY_WARMUP: options->warmup = cop_cli_number(state, "--warmup", text, 0, steps_max); break;
    case KEY_SEED:
        options->seed = (uint64_t)cop_cli_number(state, "--seed", text, 0, INT64_MAX);
        break;
    case KEY_EVAL_EVERY:
        options->eval_every = cop_cli_number(state, "--eval-every", text, 1, steps_max);
        break;
    case KEY_SAVE_EVERY:
        options->save_every = cop_cli_number(state, "--save-every", text, 1, steps_max);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    static const char *const schedules[] = {"cosine", "constant"};
    static const char *const recomputes[] = {"none", "selective", "block"};
    static const char *const forms[] = {"full", "compact", "lean"};
    static const char *const dtypes[] = {"f32", "bf16"};
    cop_training_options *options = state->input;
    switch (key) {
    case KEY_DATA: options->data = text; break;
    case 'o': options->output = text; break;
    case KEY_VALIDATION: options->validation = text; break;
    case KEY_RATE:
        options->learning_rate = cop_cli_real(state, "--learning-rate", text, 1e-12, 100.0);
        break;
    case KEY_MINIMUM_RATE:
        options->minimum_rate = cop_cli_real(state, "--min-learning-rate", text, 0.0, 100.0);
        break;
    case KEY_SCHEDULE:
        options->schedule =
            (cop_schedule_kind)cop_cli_word(state, "--schedule", text, schedules, 2);
        break;
    case KEY_RECOMPUTE:
        options->recompute = (cop_recompute)cop_cli_word(state, "--recompute", text, recomputes, 3);
        break;
    case KEY_STATE:
        options->state = (cop_state_form)cop_cli_word(state, "--state", text, forms, 3);
        break;
    case KEY_FREEZE: options->freezes_vocabulary = true; break;
    case KEY_DTYPE:
        options->dtype = cop_cli_word(state, "--dtype", text, dtypes, 2) == 0 ? COP_F32 : COP_BF16;
        options->has_dtype = true;
        break;
    case KEY_CLIP: options->clip = cop_cli_real(state, "--clip", text, 0.0, 1e6); break;
    case KEY_WEIGHT_DECAY:
        options->weight_decay = cop_cli_real(state, "--weight-decay", text, 0.0, 100.0);
        break;
    default: return parse_sizes(key, text, state, options);
    }
    return 0;
}

const struct argp cop_training_argp = {.options = options_table, .parser = parse};

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
void cop_training_check_usage(const cop_training_options *options, struct argp_state *state)
{
    if (options->data == NULL) {
        argp_error(state, "--data is missing");
    }
    if (options->output == NULL || options->output[0] == '\0') {
        argp_error(state, "-o is missing");
    }
    if ((options->steps == 0) == (options->tokens == 0)) {
        argp_error(state, "one of --steps and --tokens is needed");
    }
}

// NOLINTEND(concurrency-mt-unsafe)

static int64_t choose_micro_batch(int64_t batch, int64_t sequence)
{
    int64_t micro = batch;
    while (micro > 1 && (batch % micro != 0 || micro * sequence > pass_tokens)) {
        micro--;
    }
    return micro;
}

cop_status cop_training_settle(cop_trainer_options *out, const cop_training_options *options,
                               const cop_arch *arch, double default_rate, cop_error *err)
{
    int64_t sequence = 0;
    const cop_status status = cop_cli_sequence(&sequence, options->sequence, arch, err);
    if (status != COP_OK) {
        return status;
    }
    const int64_t processes = cop_processes_self().size;
    const int64_t part = options->batch / processes; // of each process
    if (options->batch % processes != 0) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "--batch: %" PRId64 " (allowed: multiples of %" PRId64
                        ", the number of processes)",
                        options->batch, processes);
    }
    if (options->micro_batch > 0 && part % options->micro_batch != 0) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "--micro-batch: %" PRId64 " (allowed: divisors of the batch%s, %" PRId64
                        ")",
                        options->micro_batch, processes > 1 ? " of a process" : "", part);
    }
    const int64_t step_tokens = options->batch * sequence;
    const int64_t by_tokens =
        options->tokens / step_tokens + (options->tokens % step_tokens != 0 ? 1 : 0);
    const int64_t steps = options->steps > 0 ? options->steps : by_tokens;
    const int64_t warmup = steps / 20 < 100 ? steps / 20 : 100;
    const double rate = options->learning_rate > 0.0 ? options->learning_rate : default_rate;

    out->batch = options->batch;
    out->sequence = sequence;
    out->micro_batch =
        options->micro_batch > 0 ? options->micro_batch : choose_micro_batch(part, sequence);
    out->seed = options->seed;
    out->schedule = (cop_schedule){
        .kind = options->schedule,
        .peak = rate,
        .minimum = options->minimum_rate >= 0.0 ? options->minimum_rate : rate / 10.0,
        .warmup_steps = options->warmup >= 0 ? options->warmup : warmup,
        .steps = steps,
    };
    out->optimizer.clip_norm = options->clip;
    out->optimizer.weight_decay = options->weight_decay;
    out->optimizer.moments = options->state == COP_STATE_FULL ? COP_F32 : COP_BF16;
    return COP_OK;
}
