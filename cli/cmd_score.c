// score: importance of every unit of a teacher, from forward passes over calibration text.

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"
#include "prune/importance.h"

enum { SEQUENCE_DEFAULT = 4096, NUMBER_MAX = 1 << 24 };

enum { KEY_DATA = 0x2000, KEY_SAMPLES, KEY_SEQUENCE, KEY_BATCH, KEY_NO_PERPLEXITY };

typedef struct arguments {
    cop_cli_common common;
    const char *model;
    const char *data;
    const char *output;
    int64_t samples;
    int64_t sequence; // 0: chosen
    int64_t batch;    // 0: chosen
    bool without_perplexity;
} arguments;

static const struct argp_option options[] = {
    {"data", KEY_DATA, "FILE", 0, "Calibration text: a token file (required)", 0},
    {"output", 'o', "FILE", 0, "The scores, e.g. importance.h5 (required)", 0},
    {"samples", KEY_SAMPLES, "N", 0, "Calibration sequences, spread over the file (default 1024)",
     0},
    {"sequence", KEY_SEQUENCE, "T", 0,
     "Tokens of each (default: 4096, or less where the model's context or the file is shorter)", 0},
    {"batch", KEY_BATCH, "B", 0, "Sequences of one pass (default: about 4096 tokens)", 0},
    {"no-perplexity", KEY_NO_PERPLEXITY, NULL, 0,
     "Leave out the perplexity without each layer: layers / 2 more passes", 0},
    {0},
};

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->common); break;
    case KEY_DATA: given->data = text; break;
    case 'o': given->output = text; break;
    case KEY_SAMPLES:
        given->samples = cop_cli_number(state, "--samples", text, 1, NUMBER_MAX);
        break;
    case KEY_SEQUENCE:
        given->sequence = cop_cli_number(state, "--sequence", text, 1, NUMBER_MAX);
        break;
    case KEY_BATCH: given->batch = cop_cli_number(state, "--batch", text, 1, NUMBER_MAX); break;
    case KEY_NO_PERPLEXITY: given->without_perplexity = true; break;
    case ARGP_KEY_ARG:
        if (given->model != NULL) {
            argp_error(state, "too many arguments: %s (allowed: one MODEL)", text);
        }
        given->model = text;
        break;
    case ARGP_KEY_END:
        if (given->model == NULL || given->data == NULL || given->output == NULL) {
            argp_error(state, "%s is missing",
                       given->model == NULL  ? "MODEL"
                       : given->data == NULL ? "--data"
                                             : "--output");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

// NOLINTEND(concurrency-mt-unsafe)

static const struct argp_child children[] = {
    {&cop_cli_precision_argp, 0, NULL, 0},
    {&cop_cli_force_argp, 0, NULL, 0},
    {&cop_cli_json_argp, 0, NULL, 0},
    {&cop_cli_run_argp, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL --data FILE -o importance.h5",
    .doc = "Scores every layer, head, KV group, neuron and channel of MODEL by its activations on "
           "calibration text. The result is a cache: the same model, text and settings are never "
           "measured twice.",
    .children = children,
};

static int64_t smallest(int64_t a, int64_t b, int64_t c)
{
    const int64_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

static cop_importance_settings settings_of(const arguments *given, const cop_checkpoint *teacher,
                                           const cop_tokens *tokens)
{
    cop_importance_settings settings = COP_IMPORTANCE_SETTINGS_DEFAULT;
    settings.samples = given->samples;
    settings.sequence = given->sequence > 0
                            ? given->sequence
                            : smallest(SEQUENCE_DEFAULT, cop_checkpoint_arch(teacher)->context,
                                       cop_tokens_count(tokens) - 1);
    settings.batch = given->batch;
    settings.with_perplexity = !given->without_perplexity;
    settings.precision = cop_cli_precision_of(&given->common);
    return settings;
}

// --- Memory -------------------------------------------------------------------------------------

static void show_plan(const cop_plan *plan)
{
    cop_text text = {0};
    cop_plan_append(plan, &text);
    for (const char *line = cop_text_view(&text); *line != '\0';) {
        const size_t length = strcspn(line, "\n");
        cop_log(COP_LOG_INFO, "%.*s", (int)length, line);
        line += length + (line[length] == '\n' ? 1 : 0);
    }
    cop_text_release(&text);
}

static cop_status check_memory(const cop_arch *arch, const cop_importance_settings *settings,
                               cop_backend *backend, cop_error *err)
{
    cop_status status = COP_OK;
    cop_plan_room room = {0};
    cop_plan plan;
    const cop_network_options network = {
        .precision = settings->precision,
        .batch = cop_importance_batch(settings),
        .sequence = settings->sequence,
    };

    cop_plan_init(&plan);
    COP_TRY(status, cop_network_plan(&plan, "teacher", arch, &network, backend, err));
    COP_TRY(status, cop_importance_plan(&plan, arch, settings, backend, err));
    show_plan(&plan);
    COP_TRY(status, cop_plan_room_of(&room, backend, err));
    COP_TRY(status, cop_plan_check_room(&plan, "score", &room, NULL, err));

done:
    return status;
}

// --- Result -------------------------------------------------------------------------------------

typedef struct range {
    double low;
    double mean;
    double high;
} range;

static range range_of(const double *scores, int64_t count)
{
    range out = {.low = scores[0], .high = scores[0]};
    for (int64_t i = 0; i < count; i++) {
        out.low = scores[i] < out.low ? scores[i] : out.low;
        out.high = scores[i] > out.high ? scores[i] : out.high;
        out.mean += scores[i] / (double)count;
    }
    return out;
}

static void put_range(cop_cli_table *table, range values)
{
    cop_cli_cell(table, "%.3g .. %.3g", values.low, values.high);
}

static void print_table(const arguments *given, const cop_importance *importance,
                        const cop_arch *arch, bool was_cached)
{
    const char *name = cop_aggregate_name(COP_AGGREGATE_DEFAULT);
    const double *influence = cop_importance_block_influence(importance);
    const double *perplexity = cop_importance_perplexity(importance);
    cop_cli_table table;

    cop_cli_print("%s: %s\n", given->output,
                  was_cached ? "up to date, nothing was measured" : "written");
    cop_cli_table_init(&table, "rrrrrr");
    cop_cli_cell(&table, "layer");
    cop_cli_cell(&table, "block influence");
    cop_cli_cell(&table, "perplexity without");
    cop_cli_cell(&table, "heads (%s)", name);
    cop_cli_cell(&table, "KV groups");
    cop_cli_cell(&table, "neurons");
    for (int64_t i = 0; i < arch->layers; i++) {
        const cop_layer_arch *layer = &arch->layer[i];
        const int which = COP_AGGREGATE_DEFAULT;
        cop_cli_cell(&table, "%" PRId64, i);
        cop_cli_cell(&table, "%.5f", influence[i]);
        if (perplexity != NULL) {
            cop_cli_cell(&table, "%.6g", perplexity[i]);
        } else {
            cop_cli_cell(&table, "-");
        }
        put_range(&table, range_of(cop_importance_heads(importance, which, i), layer->heads));
        put_range(&table,
                  range_of(cop_importance_kv_groups(importance, which, i), layer->kv_heads));
        put_range(&table, range_of(cop_importance_neurons(importance, which, i), layer->ffn));
    }
    cop_cli_table_print(&table);
    const range channels =
        range_of(cop_importance_channels(importance, COP_AGGREGATE_DEFAULT), arch->hidden);
    cop_cli_print("channels (%s): %.3g .. %.3g, mean %.3g\n", name, channels.low, channels.high,
                  channels.mean);
    if (perplexity != NULL) {
        cop_cli_print("perplexity of the whole model: %.6g\n",
                      cop_importance_teacher_perplexity(importance));
    }
}

// JSON has no infinity: a layer without which the model breaks reads null.
static json_t *json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *json_range(range values)
{
    return json_pack("{s:o, s:o, s:o}", "min", json_number(values.low), "mean",
                     json_number(values.mean), "max", json_number(values.high));
}

static json_t *json_layers(const cop_importance *importance, const cop_arch *arch)
{
    const double *perplexity = cop_importance_perplexity(importance);
    const int which = COP_AGGREGATE_DEFAULT;
    json_t *layers = json_array();
    for (int64_t i = 0; i < arch->layers; i++) {
        const cop_layer_arch *dims = &arch->layer[i];
        json_t *layer = json_pack(
            "{s:I, s:o, s:o, s:o, s:o, s:o}", "layer", (json_int_t)i, "block_influence",
            json_number(cop_importance_block_influence(importance)[i]), "perplexity",
            perplexity == NULL ? json_null() : json_number(perplexity[i]), "heads",
            json_range(range_of(cop_importance_heads(importance, which, i), dims->heads)),
            "kv_groups",
            json_range(range_of(cop_importance_kv_groups(importance, which, i), dims->kv_heads)),
            "neurons",
            json_range(range_of(cop_importance_neurons(importance, which, i), dims->ffn)));
        if (json_array_append_new(layers, layer) != 0) {
            json_decref(layers);
            return NULL;
        }
    }
    return layers;
}

static int print_json(const arguments *given, const cop_importance *importance,
                      const cop_arch *arch, const cop_importance_settings *settings,
                      int64_t samples, cop_hash key, bool was_cached, double seconds)
{
    char key_text[COP_HASH_TEXT_BYTES];
    return cop_cli_print_json(json_pack(
        "{s:s, s:s, s:b, s:s, s:s, s:I, s:I, s:s, s:s, s:o, s:o, s:o, s:f}", "output",
        given->output, "key", cop_hash_text(key_text, key), "cached", was_cached, "teacher",
        given->model, "data", given->data, "samples", (json_int_t)samples, "sequence",
        (json_int_t)settings->sequence, "precision", cop_precision_name(settings->precision),
        "aggregation", cop_aggregate_name(COP_AGGREGATE_DEFAULT), "perplexity",
        json_number(cop_importance_teacher_perplexity(importance)), "layers",
        json_layers(importance, arch), "channels",
        json_range(
            range_of(cop_importance_channels(importance, COP_AGGREGATE_DEFAULT), arch->hidden)),
        "seconds", seconds));
}

static cop_status run(const arguments *given, int *exit_code, cop_error *err)
{
    cop_status status = COP_OK;
    cop_checkpoint *teacher = NULL;
    cop_tokens *tokens = NULL;
    cop_backend *backend = NULL;
    cop_importance *importance = NULL;
    cop_importance_settings settings = {0};
    cop_hash key = {0};
    bool was_cached = false;
    const cop_arch *arch = NULL;
    const double start = cop_clock_seconds();

    COP_TRY(status, cop_checkpoint_open(&teacher, given->model, err));
    arch = cop_checkpoint_arch(teacher);
    COP_TRY(status, cop_tokens_open(&tokens, given->data, arch->vocab, err));
    settings = settings_of(given, teacher, tokens);
    COP_TRY(status, cop_importance_find(&importance, given->output, teacher, tokens, &settings,
                                        given->common.is_forced, err));
    was_cached = importance != NULL;
    if (!was_cached) {
        COP_TRY(status, cop_backend_create(&backend, "auto", err));
        COP_TRY(status, check_memory(arch, &settings, backend, err));
        COP_TRY(status,
                cop_importance_obtain(&importance, given->output, teacher, tokens, &settings,
                                      backend, given->common.is_forced, NULL, err));
    }
    // The file's own: scores with perplexity answer a request without it.
    cop_importance_destroy(importance);
    COP_TRY(status, cop_importance_read(&importance, given->output, teacher, &key, err));
    if (given->common.is_json) {
        *exit_code = print_json(given, importance, arch, &settings,
                                cop_importance_samples(tokens, &settings), key, was_cached,
                                cop_clock_seconds() - start);
    } else {
        print_table(given, importance, arch, was_cached);
    }

done:
    cop_importance_destroy(importance);
    cop_backend_destroy(backend);
    cop_tokens_destroy(tokens);
    cop_checkpoint_destroy(teacher);
    return status;
}

int cop_cmd_score(int argc, char **argv)
{
    arguments given = {.samples = 1024};
    cop_error err = {0};
    int exit_code = COP_EXIT_DONE;

    cop_cli_parse(&argp, argc, argv, &given);
    const cop_status status = run(&given, &exit_code, &err);
    return status == COP_OK ? exit_code : cop_cli_fail(&err);
}
