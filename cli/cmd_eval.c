// eval: how good a model is on text, how near to its teacher, how fast.

#include <inttypes.h>
#include <math.h>

#include "cli/quality.h"
#include "distill/teacher_cache.h"
#include "eval/latency.h"
#include "model/cost.h"

enum { KEY_DATA = 0x3000, KEY_TEACHER, KEY_LATENCY, KEY_SEQUENCES, KEY_SEQUENCE, KEY_BATCH };

enum { SIZE_MAX_OPTION = 1 << 20, SEQUENCES_DEFAULT = 128, MODELS_MAX = 64 };

static const double latency_seconds = 3.0;
static const uint64_t bootstrap_seed = 1;

typedef struct arguments {
    cop_cli_common common;
    const char *model[MODELS_MAX];
    int models;
    const char *data;
    const char *teacher;
    bool has_latency;
    int64_t sequences; // 0: at most 128
    int64_t sequence;  // 0: 512, or the context when shorter
    int64_t batch;
} arguments;

typedef struct measured {
    int64_t sequences;
    int64_t sequence_tokens;
    cop_estimate loss;
    cop_estimate agreement;
    cop_estimate kl;           // with a teacher
    cop_estimate teacher_loss; // with a teacher
    bool has_teacher;
    cop_latency latency;
} measured;

typedef struct evaluation {
    const arguments *given; // borrowed
    const char *model;      // the one at hand
    cop_precision precision;
    cop_backend *backend;
    cop_checkpoint *checkpoint;
    cop_checkpoint *teacher_checkpoint;
    cop_tokens *tokens;
    cop_sampler *sampler;
    cop_network *network;
    cop_teacher_model *teacher;
    cop_teacher_states *states;
    int64_t sequence;
    int64_t count;
    measured found;
} evaluation;

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->common); break;
    case KEY_DATA: given->data = text; break;
    case KEY_TEACHER: given->teacher = text; break;
    case KEY_LATENCY: given->has_latency = true; break;
    case KEY_SEQUENCES:
        given->sequences = cop_cli_number(state, "--sequences", text, 1, INT64_MAX / 2);
        break;
    case KEY_SEQUENCE:
        given->sequence = cop_cli_number(state, "--sequence", text, 1, SIZE_MAX_OPTION);
        break;
    case KEY_BATCH:
        given->batch = cop_cli_number(state, "--batch", text, 1, SIZE_MAX_OPTION);
        break;
    case ARGP_KEY_ARG:
        if (given->models == MODELS_MAX) {
            argp_error(state, "more than %d models", MODELS_MAX);
        }
        given->model[given->models++] = text;
        break;
    case ARGP_KEY_END:
        if (given->models == 0) {
            argp_error(state, "the model is missing");
        }
        if (given->data == NULL && !given->has_latency) {
            argp_error(state, "--data is missing");
        }
        if (given->data == NULL && given->teacher != NULL) {
            argp_error(state, "--teacher needs --data");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

// NOLINTEND(concurrency-mt-unsafe)

// --- Inputs -------------------------------------------------------------------------------------

// How many sequences are measured; an explicit number must be there.
static cop_status count_sequences(evaluation *run, cop_error *err)
{
    const int64_t wanted = run->given->sequences;
    const int64_t windows = cop_sampler_windows(run->sampler);
    if (wanted > windows) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "--sequences: %" PRId64 " (allowed: 1..%" PRId64 ", what %s holds)", wanted,
                        windows, run->given->data);
    }
    const int64_t most = windows < SEQUENCES_DEFAULT ? windows : SEQUENCES_DEFAULT;
    run->count = wanted > 0 ? wanted : most;
    return COP_OK;
}

static cop_status open_inputs(evaluation *run, cop_error *err)
{
    const arguments *given = run->given;
    cop_status status = COP_OK;

    COP_TRY(status, cop_checkpoint_open(&run->checkpoint, run->model, err));
    COP_TRY(status, cop_cli_sequence(&run->sequence, given->sequence,
                                     cop_checkpoint_arch(run->checkpoint), err));
    if (given->teacher != NULL) {
        COP_TRY(status, cop_checkpoint_open(&run->teacher_checkpoint, given->teacher, err));
        COP_TRY(status, cop_cli_check_vocabulary(run->teacher_checkpoint, run->checkpoint, err));
    }
    if (given->data != NULL) {
        COP_TRY(status, cop_tokens_open(&run->tokens, given->data,
                                        cop_checkpoint_arch(run->checkpoint)->vocab, err));
        COP_TRY(status, cop_sampler_create(&run->sampler, run->tokens, run->sequence,
                                           COP_HELD_OUT_SEED, true, err));
        COP_TRY(status, count_sequences(run, err));
    }
    COP_TRY(status, cop_backend_create(&run->backend, "auto", err));

done:
    return status;
}

static cop_status check_memory(const evaluation *run, const cop_network_options *network,
                               const cop_teacher_options *teacher, cop_error *err)
{
    const cop_arch *arch = cop_checkpoint_arch(run->checkpoint);
    const cop_arch *teacher_arch =
        run->teacher_checkpoint != NULL ? cop_checkpoint_arch(run->teacher_checkpoint) : NULL;
    cop_status status = COP_OK;
    cop_plan_room room = {0};
    cop_plan plan;

    cop_plan_init(&plan);
    COP_TRY(status, cop_network_plan(&plan, "model", arch, network, run->backend, err));
    COP_TRY(status, cop_evaluate_plan(&plan, arch, network, teacher_arch, run->backend, err));
    if (teacher_arch != NULL) {
        COP_TRY(status, cop_teacher_plan(&plan, teacher_arch, teacher, true, run->backend, err));
    }
    COP_TRY(status, cop_plan_room_of(&room, run->backend, err));
    COP_TRY(status, cop_plan_check_room(&plan, "eval", &room, NULL, err));

done:
    return status;
}

static cop_status build(evaluation *run, cop_error *err)
{
    const int64_t batch = run->given->batch;
    const cop_network_options network = {
        .precision = run->precision, .batch = batch, .sequence = run->sequence};
    const cop_teacher_options teacher = {
        .precision = run->precision, .batch = batch, .sequence = run->sequence};
    cop_status status = COP_OK;

    COP_TRY(status, check_memory(run, &network, &teacher, err));
    COP_TRY(status, cop_network_create(&run->network, cop_checkpoint_arch(run->checkpoint),
                                       &network, run->backend, err));
    COP_TRY(status, cop_network_load(run->network, run->checkpoint, err));
    if (run->teacher_checkpoint != NULL) {
        COP_TRY(status, cop_teacher_model_create(&run->teacher, run->teacher_checkpoint, &teacher,
                                                 run->backend, err));
        COP_TRY(status, cop_teacher_states_online(&run->states, run->teacher, run->sampler, err));
    }

done:
    return status;
}

// --- Measuring ----------------------------------------------------------------------------------

// Nothing without values: there is no teacher.
static cop_status estimate(cop_estimate *out, const double *values, const cop_evaluation *of,
                           cop_error *err)
{
    return values == NULL ? COP_OK
                          : cop_estimate_mean(out, values, of->sequences, bootstrap_seed, err);
}

static cop_status measure_quality(evaluation *run, cop_error *err)
{
    measured *found = &run->found;
    cop_status status = COP_OK;
    cop_evaluation values = {0};
    cop_teacher teacher = {0};

    if (run->states != NULL) {
        teacher.head = cop_teacher_model_head(run->teacher);
        teacher.states = cop_teacher_states_source(run->states);
    }
    COP_TRY(status, cop_evaluate(&values, run->network, run->sampler, 0, run->count,
                                 run->states != NULL ? &teacher : NULL, err));

    COP_TRY(status, estimate(&found->loss, values.cross_entropy, &values, err));
    COP_TRY(status, estimate(&found->agreement, values.agreement, &values, err));
    COP_TRY(status, estimate(&found->kl, values.kl, &values, err));
    COP_TRY(status, estimate(&found->teacher_loss, values.teacher_cross_entropy, &values, err));
    found->sequences = values.sequences;
    found->sequence_tokens = values.sequence_tokens;
    found->has_teacher = run->states != NULL;

done:
    cop_evaluation_release(&values);
    return status;
}

static cop_estimate perplexity_of(cop_estimate loss)
{
    return (cop_estimate){exp(loss.value), exp(loss.low), exp(loss.high)};
}

// --- Output -------------------------------------------------------------------------------------

static void put(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value); // out of memory shows when it is printed
}

static json_t *json_of(const evaluation *run)
{
    const measured *found = &run->found;
    const cop_estimate perplexity = perplexity_of(found->loss);
    json_t *result = json_object();
    put(result, "model", json_string(run->model));
    put(result, "precision", json_string(cop_precision_name(run->precision)));
    if (run->given->data != NULL) {
        put(result, "sequences", json_integer(found->sequences));
        put(result, "sequence", json_integer(found->sequence_tokens));
        put(result, "tokens", json_integer(found->sequences * found->sequence_tokens));
        put(result, "loss", cop_cli_estimate_json(&found->loss));
        put(result, "perplexity", cop_cli_estimate_json(&perplexity));
        put(result, "agreement", cop_cli_estimate_json(&found->agreement));
        if (found->has_teacher) {
            put(result, "kl", cop_cli_estimate_json(&found->kl));
            put(result, "teacher_loss", cop_cli_estimate_json(&found->teacher_loss));
        }
    }
    if (run->given->has_latency) {
        const cop_latency *latency = &found->latency;
        put(result, "latency",
            json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:I}", "batch", (json_int_t)run->given->batch,
                      "sequence", (json_int_t)run->sequence, "median_ms",
                      1e3 * latency->median_seconds, "low_ms", 1e3 * latency->low_seconds,
                      "high_ms", 1e3 * latency->high_seconds, "tokens_per_second",
                      latency->tokens_per_second, "repeats", (json_int_t)latency->repeats));
    }
    return result;
}

static void print_tables_of_one(const evaluation *run)
{
    const measured *found = &run->found;
    if (run->given->data != NULL) {
        const cop_estimate perplexity = perplexity_of(found->loss);
        cop_cli_table table;
        cop_cli_print("%s on %s: %" PRId64 " sequences of %" PRId64 " tokens, %s\n", run->model,
                      run->given->data, found->sequences, found->sequence_tokens,
                      cop_precision_name(run->precision));
        cop_cli_table_init(&table, "lrr");
        cop_cli_estimate_heading(&table, "metric");
        cop_cli_estimate_row(&table, "loss (nats per token)", &found->loss);
        cop_cli_estimate_row(&table, "perplexity", &perplexity);
        if (found->has_teacher) {
            cop_cli_estimate_row(&table, "KL to the teacher (nats)", &found->kl);
            cop_cli_estimate_row(&table, "top-1 agreement with the teacher", &found->agreement);
            cop_cli_estimate_row(&table, "loss of the teacher", &found->teacher_loss);
        } else {
            cop_cli_estimate_row(&table, "top-1 accuracy", &found->agreement);
        }
        cop_cli_table_print(&table);
    }
    if (run->given->has_latency) {
        const cop_latency *latency = &found->latency;
        char rate[COP_TEXT_NUMBER_BYTES];
        cop_cli_print("latency of %" PRId64 " x %" PRId64 " tokens: median %.2f ms, 10..90 %% "
                      "%.2f..%.2f ms, %s tokens/s, %" PRId64 " repeats\n",
                      run->given->batch, run->sequence, 1e3 * latency->median_seconds,
                      1e3 * latency->low_seconds, 1e3 * latency->high_seconds,
                      cop_text_count(rate, latency->tokens_per_second), latency->repeats);
    }
}

// Several models: one row each.
static void print_heading(cop_cli_table *table, const arguments *given)
{
    static const char *const alignment[] = {"lr", "lrr", "lrrrrr", "lrrrrrr", "lrrrrrrr"};
    const int quality = given->data == NULL ? 0 : (given->teacher != NULL ? 3 : 2);
    cop_cli_table_init(table, alignment[quality + (given->has_latency ? 1 : 0)]);
    cop_cli_cell(table, "model");
    cop_cli_cell(table, "params");
    if (given->data != NULL) {
        cop_cli_cell(table, "loss");
        cop_cli_cell(table, "95%% interval");
        cop_cli_cell(table, "perplexity");
        if (given->teacher != NULL) {
            cop_cli_cell(table, "KL to teacher");
        }
        cop_cli_cell(table, given->teacher != NULL ? "agreement" : "accuracy");
    }
    if (given->has_latency) {
        cop_cli_cell(table, "latency");
    }
}

static void print_row(cop_cli_table *table, const evaluation *run)
{
    const measured *found = &run->found;
    const cop_cost cost =
        cop_cost_of(cop_checkpoint_arch(run->checkpoint), 1, 1, COP_BF16, COP_BF16);
    cop_cli_cell(table, "%s", run->model);
    cop_cli_cell(table, "%" PRId64, cost.params);
    if (run->given->data != NULL) {
        cop_cli_cell(table, "%.4f", found->loss.value);
        cop_cli_cell(table, "%.4f..%.4f", found->loss.low, found->loss.high);
        cop_cli_cell(table, "%.3f", exp(found->loss.value));
        if (found->has_teacher) {
            cop_cli_cell(table, "%.4f", found->kl.value);
        }
        cop_cli_cell(table, "%.1f%%", 100.0 * found->agreement.value);
    }
    if (run->given->has_latency) {
        cop_cli_cell(table, "%.2f ms", 1e3 * found->latency.median_seconds);
    }
}

static void release(evaluation *run)
{
    cop_teacher_states_destroy(run->states);
    cop_teacher_model_destroy(run->teacher);
    cop_network_destroy(run->network);
    cop_sampler_destroy(run->sampler);
    cop_tokens_destroy(run->tokens);
    cop_checkpoint_destroy(run->teacher_checkpoint);
    cop_checkpoint_destroy(run->checkpoint);
    cop_backend_destroy(run->backend);
}

static cop_status evaluate(evaluation *run, cop_error *err)
{
    const arguments *given = run->given;
    cop_status status = COP_OK;

    COP_TRY(status, open_inputs(run, err));
    COP_TRY(status, build(run, err));
    if (given->data != NULL) {
        COP_TRY(status, measure_quality(run, err));
    }
    if (given->has_latency) {
        COP_TRY(status, cop_latency_measure(&run->found.latency, run->network, given->batch,
                                            run->sequence, latency_seconds, err));
    }

done:
    return status;
}

static int evaluate_all(const arguments *given)
{
    const cop_precision precision = cop_cli_precision_of(&given->common);
    const bool is_table = given->models > 1 && !given->common.is_json;
    json_t *list = json_array();
    cop_status status = COP_OK;
    cop_cli_table table;
    cop_error err = {0};

    if (is_table) {
        print_heading(&table, given);
    }
    for (int i = 0; i < given->models && status == COP_OK; i++) {
        evaluation run = {.given = given, .model = given->model[i], .precision = precision};
        status = evaluate(&run, &err);
        if (status == COP_OK && given->common.is_json) {
            (void)json_array_append_new(list, json_of(&run));
        } else if (status == COP_OK && is_table) {
            print_row(&table, &run);
        } else if (status == COP_OK) {
            print_tables_of_one(&run);
        }
        release(&run);
    }
    if (is_table) {
        cop_cli_table_print(&table); // what was measured before a failure is shown all the same
    }
    if (status != COP_OK || !given->common.is_json) {
        json_decref(list);
        return cop_cli_finish(status, &err);
    }
    if (given->models == 1) {
        json_t *only = json_incref(json_array_get(list, 0));
        json_decref(list);
        return cop_cli_print_json(only);
    }
    return cop_cli_print_json(json_pack("{s:o}", "models", list));
}

int cop_cmd_eval(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"data", KEY_DATA, "FILE", 0, "Token file to measure on", 0},
        {"teacher", KEY_TEACHER, "DIR", 0, "Compare with this model too", 0},
        {"latency", KEY_LATENCY, NULL, 0, "Time forward passes of batch x sequence tokens", 0},
        {"sequences", KEY_SEQUENCES, "N", 0, "Sequences to measure (at most 128)", 0},
        {"sequence", KEY_SEQUENCE, "T", 0, "Tokens per sequence (512, or the context if shorter)",
         0},
        {"batch", KEY_BATCH, "N", 0, "Sequences per pass (8)", 0},
        {0},
    };
    static const struct argp_child children[] = {
        {&cop_cli_precision_argp, 0, NULL, 0},
        {&cop_cli_json_argp, 0, NULL, 0},
        {&cop_cli_run_argp, 0, NULL, 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "MODEL...",
        .doc = "Measures models on held-out text: loss and perplexity, with a teacher KL and "
               "top-1 agreement, each with a 95% bootstrap interval over sequences; and latency.",
        .children = children,
    };
    arguments given = {.batch = 8};
    cop_cli_parse(&argp, argc, argv, &given);
    return evaluate_all(&given);
}
