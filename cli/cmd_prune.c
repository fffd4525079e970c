// prune: one given smaller architecture, cut out of a teacher.

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/version.h"
#include "cli/cli.h"
#include "model/cost.h"
#include "prune/slice.h"

enum {
    KEY_IMPORTANCE = 0x2000,
    KEY_TO,
    KEY_ORDER,
    KEY_SEED,
    KEY_AGGREGATION,
    KEY_DEPTH_METRIC,
    KEY_DEPTH,
    KEY_KEEP_ENDS,
    KEY_KEEP_LAYERS,
    KEY_DROP_LAYERS,
    KEY_CARRY,
    KEY_DTYPE
};

// The axes of --to. 0: as the teacher.
enum { AXIS_LAYERS = 0, AXIS_HIDDEN, AXIS_HEADS, AXIS_KV_HEADS, AXIS_FFN, AXES };

static const char *const axis_names[AXES] = {"layers", "hidden", "heads", "kv_heads", "ffn"};
static const char *const order_names[] = {"importance", "random", "reversed"};
static const char *const metric_names[] = {"block_influence", "perplexity"};
static const char *const depth_names[] = {"scattered", "contiguous"};
static const char *const carry_names[] = {"off", "kept-minus-pruned", "pruned-minus-kept"};
static const char *const dtype_names[] = {"keep", "f32", "bf16", "f16"};

enum { DTYPE_KEEP = 0, DTYPE_F32, DTYPE_BF16, DTYPE_F16 };

typedef struct arguments {
    cop_cli_common common;
    const char *model;
    const char *importance;
    const char *output;
    int64_t to[AXES];
    bool has_target;
    int dtype;
    cop_select_options select;
} arguments;

static const struct argp_option options[] = {
    {"importance", KEY_IMPORTANCE, "FILE", 0,
     "Scores made by coppice score (required but for --order random)", 0},
    {"to", KEY_TO, "AXIS=N,...", 0,
     "The smaller architecture: layers, hidden, heads, kv_heads, ffn; axes that are not named keep "
     "the teacher's value (required)",
     0},
    {"output", 'o', "DIR", 0, "The pruned model directory (required)", 0},
    {"order", KEY_ORDER, "ORDER", 0, "Keep by importance (default), random, or reversed", 0},
    {"seed", KEY_SEED, "N", 0, "Seed of --order random (default 0)", 0},
    {"aggregation", KEY_AGGREGATION, "NAME", 0,
     "<batch>_<sequence> of l2, mean, var (default l2_mean)", 0},
    {"depth-metric", KEY_DEPTH_METRIC, "NAME", 0,
     "Rank layers by block_influence (default) or perplexity", 0},
    {"depth", KEY_DEPTH, "SHAPE", 0, "Drop layers scattered (default), or one contiguous run", 0},
    {"keep-ends", KEY_KEEP_ENDS, NULL, 0, "Never drop the first and the last layer", 0},
    {"keep-layers", KEY_KEEP_LAYERS, "N,...", 0, "Layers that are never dropped, from 0", 0},
    {"drop-layers", KEY_DROP_LAYERS, "N,...", 0, "Layers that are dropped before all others", 0},
    {"carry", KEY_CARRY, "SIGN", 0,
     "Head residual carry-over: off (default), kept-minus-pruned (as printed in arXiv 2407.14679) "
     "or pruned-minus-kept",
     0},
    {"dtype", KEY_DTYPE, "TYPE", 0, "Element type of the output: keep (default), f32, bf16 or f16",
     0},
    {0},
};

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
// "layers=32,hidden=3072": each axis once.
static void parse_target(const struct argp_state *state, arguments *given, char *text)
{
    char *rest = text;
    for (char *part = strtok_r(text, ",", &rest); part != NULL; part = strtok_r(NULL, ",", &rest)) {
        char *value = strchr(part, '=');
        if (value == NULL) {
            argp_error(state, "--to: '%s' (allowed: <axis>=<number>, as in layers=32,hidden=3072)",
                       part);
            return;
        }
        *value++ = '\0';
        int axis = 0;
        while (axis < AXES && strcmp(part, axis_names[axis]) != 0) {
            axis++;
        }
        if (axis == AXES) {
            const char *nearest = cop_text_nearest(part, axis_names, AXES);
            argp_error(
                state,
                "--to: unknown axis: %s (%s%s%sallowed: layers, hidden, heads, kv_heads, ffn)",
                part, nearest == NULL ? "" : "did you mean ", nearest == NULL ? "" : nearest,
                nearest == NULL ? "" : "? ");
            return;
        }
        char option[32];
        (void)snprintf(option, sizeof option, "--to: %s", part);
        if (given->to[axis] != 0) {
            argp_error(state, "%s: is given twice", option);
        }
        given->to[axis] = cop_cli_number(state, option, value, 1, COP_ARCH_FFN_MAX);
        given->has_target = true;
    }
}

// "0,1,31"
static void parse_layers(const struct argp_state *state, const char *option, cop_layer_set *set,
                         char *text)
{
    char *rest = text;
    for (char *part = strtok_r(text, ",", &rest); part != NULL; part = strtok_r(NULL, ",", &rest)) {
        cop_layer_set_add(set, cop_cli_number(state, option, part, 0, COP_ARCH_LAYERS_MAX - 1));
    }
}

static int parse_aggregation(const struct argp_state *state, const char *text)
{
    const char *names[COP_AGGREGATES];
    for (int i = 0; i < COP_AGGREGATES; i++) {
        names[i] = cop_aggregate_name(i);
    }
    return cop_cli_word(state, "--aggregation", text, names, COP_AGGREGATES);
}

static void check_required(const struct argp_state *state, const arguments *given)
{
    const bool needs_scores = given->select.order != COP_ORDER_RANDOM;
    const char *missing = given->model == NULL                        ? "MODEL"
                          : !given->has_target                        ? "--to"
                          : given->output == NULL                     ? "--output"
                          : needs_scores && given->importance == NULL ? "--importance"
                                                                      : NULL;
    if (missing != NULL) {
        argp_error(state, "%s is missing", missing);
    }
}

static error_t parse_choice(int key, char *text, struct argp_state *state)
{
    cop_select_options *select = &((arguments *)state->input)->select;
    switch (key) {
    case KEY_ORDER:
        select->order =
            (cop_order)cop_cli_word(state, "--order", text, order_names, COUNT_OF(order_names));
        break;
    case KEY_SEED:
        select->seed = (uint64_t)cop_cli_number(state, "--seed", text, 0, INT64_MAX);
        break;
    case KEY_AGGREGATION: select->aggregate = parse_aggregation(state, text); break;
    case KEY_DEPTH_METRIC:
        select->depth_metric = (cop_depth_metric)cop_cli_word(state, "--depth-metric", text,
                                                              metric_names, COUNT_OF(metric_names));
        break;
    case KEY_DEPTH:
        select->depth_shape = (cop_depth_shape)cop_cli_word(state, "--depth", text, depth_names,
                                                            COUNT_OF(depth_names));
        break;
    case KEY_KEEP_ENDS: select->keep_first_and_last = true; break;
    case KEY_KEEP_LAYERS: parse_layers(state, "--keep-layers", &select->keep_layers, text); break;
    case KEY_DROP_LAYERS: parse_layers(state, "--drop-layers", &select->drop_layers, text); break;
    case KEY_CARRY:
        select->carry =
            (cop_carry)cop_cli_word(state, "--carry", text, carry_names, COUNT_OF(carry_names));
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->common); break;
    case KEY_IMPORTANCE: given->importance = text; break;
    case KEY_TO: parse_target(state, given, text); break;
    case 'o': given->output = text; break;
    case KEY_DTYPE:
        given->dtype = cop_cli_word(state, "--dtype", text, dtype_names, COUNT_OF(dtype_names));
        break;
    case ARGP_KEY_ARG:
        if (given->model != NULL) {
            argp_error(state, "too many arguments: %s (allowed: one MODEL)", text);
        }
        given->model = text;
        break;
    case ARGP_KEY_END: check_required(state, given); break;
    default: return parse_choice(key, text, state);
    }
    return 0;
}

// NOLINTEND(concurrency-mt-unsafe)

static const struct argp_child children[] = {
    {&cop_cli_force_argp, 0, NULL, 0},
    {&cop_cli_json_argp, 0, NULL, 0},
    {&cop_cli_run_argp, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL --importance FILE --to AXIS=N,... -o DIR",
    .doc = "Cuts MODEL down to a smaller architecture. The result is a model directory that loads "
           "everywhere; what stays is copied bit for bit.",
    .children = children,
};

static cop_arch target_of(const arguments *given, const cop_arch *teacher)
{
    cop_arch target = *teacher;
    const int64_t *to = given->to;
    target.layers = to[AXIS_LAYERS] > 0 ? to[AXIS_LAYERS] : teacher->layers;
    target.hidden = to[AXIS_HIDDEN] > 0 ? to[AXIS_HIDDEN] : teacher->hidden;
    for (int64_t i = 0; i < COP_ARCH_LAYERS_MAX; i++) {
        cop_layer_arch *layer = &target.layer[i];
        *layer = teacher->layer[i < teacher->layers ? i : 0];
        layer->heads = to[AXIS_HEADS] > 0 ? to[AXIS_HEADS] : layer->heads;
        layer->kv_heads = to[AXIS_KV_HEADS] > 0 ? to[AXIS_KV_HEADS] : layer->kv_heads;
        layer->ffn = to[AXIS_FFN] > 0 ? to[AXIS_FFN] : layer->ffn;
    }
    return target;
}

// The stored type of all tensors, or f32, which holds each of them exactly, where they differ.
static cop_dtype stored_dtype(const cop_checkpoint *teacher)
{
    const int64_t tensors = cop_arch_tensor_count(cop_checkpoint_arch(teacher));
    const cop_dtype first = cop_checkpoint_dtype(teacher);
    for (int64_t i = 0; i < tensors; i++) {
        cop_dtype dtype = COP_F32;
        (void)cop_checkpoint_view(teacher, i, &dtype);
        if (dtype != first) {
            return COP_F32;
        }
    }
    return first == COP_F64 ? COP_F32 : first;
}

static cop_dtype output_dtype(const arguments *given, const cop_checkpoint *teacher)
{
    switch (given->dtype) {
    case DTYPE_F32: return COP_F32;
    case DTYPE_BF16: return COP_BF16;
    case DTYPE_F16: return COP_F16;
    default: return stored_dtype(teacher);
    }
}

// --force must not replace the model that is being read.
static cop_status check_output(const arguments *given, cop_error *err)
{
    struct stat model;
    struct stat output;
    if (stat(given->model, &model) == 0 && stat(given->output, &output) == 0 &&
        model.st_dev == output.st_dev && model.st_ino == output.st_ino) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s: is the model itself (allowed: another directory)",
                        given->output);
    }
    return cop_file_check_absent(given->output, given->common.is_forced, err);
}

// --- Result -------------------------------------------------------------------------------------

static json_t *json_arch(const cop_arch *arch)
{
    const cop_layer_arch *layer = &arch->layer[0];
    const cop_cost cost = cop_cost_of(arch, 1, 1, COP_BF16, COP_BF16);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I}", "family",
                     cop_family_name(arch->family), "layers", (json_int_t)arch->layers, "hidden",
                     (json_int_t)arch->hidden, "heads", (json_int_t)layer->heads, "kv_heads",
                     (json_int_t)layer->kv_heads, "head_dim", (json_int_t)arch->head_dim, "ffn",
                     (json_int_t)layer->ffn, "vocab", (json_int_t)arch->vocab, "tied",
                     arch->is_tied ? 1 : 0, "params", (json_int_t)cost.params,
                     "params_non_embedding", (json_int_t)cost.params_non_embedding);
}

static json_t *json_layer_set(const cop_layer_set *set)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < COP_ARCH_LAYERS_MAX; i++) {
        if (cop_layer_set_has(set, i)) {
            (void)json_array_append_new(list, json_integer(i));
        }
    }
    return list;
}

static json_t *json_layers(const cop_selection *selection)
{
    json_t *layers = json_array();
    for (int64_t i = 0; i < cop_selection_arch(selection)->layers; i++) {
        if (json_array_append_new(layers, json_integer(cop_selection_layer(selection, i))) != 0) {
            json_decref(layers);
            return NULL;
        }
    }
    return layers;
}

// What was done, for the metadata of the weights and for --json.
static json_t *describe(const arguments *given, const cop_checkpoint *teacher,
                        const cop_selection *selection, cop_hash weights, const cop_hash *key,
                        cop_dtype dtype)
{
    const cop_select_options *select = &given->select;
    char weights_text[COP_HASH_TEXT_BYTES];
    char key_text[COP_HASH_TEXT_BYTES] = "";
    const bool has_scores = given->importance != NULL;
    if (has_scores) {
        (void)cop_hash_text(key_text, *key);
    }
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s?, s:s?, s:s, s:I, s:s, s:s, s:s, s:b, s:o, s:o, s:s, s:s, "
        "s:o, s:o}",
        "program", "coppice", "version", cop_version(), "command", "prune", "teacher",
        cop_checkpoint_path(teacher), "teacher_hash", cop_hash_text(weights_text, weights),
        "importance", given->importance, "importance_key", has_scores ? key_text : NULL, "order",
        order_names[select->order], "seed", (json_int_t)select->seed, "aggregation",
        cop_aggregate_name(select->aggregate), "depth_metric", metric_names[select->depth_metric],
        "depth", depth_names[select->depth_shape], "keep_ends", select->keep_first_and_last ? 1 : 0,
        "keep_layers", json_layer_set(&select->keep_layers), "drop_layers",
        json_layer_set(&select->drop_layers), "carry", carry_names[select->carry], "dtype",
        cop_dtype_name(dtype), "kept_layers", json_layers(selection), "arch",
        json_arch(cop_selection_arch(selection)));
}

static void print_row(cop_cli_table *table, const char *name, const cop_arch *arch)
{
    char total[COP_TEXT_NUMBER_BYTES];
    char text[COP_ARCH_TEXT_BYTES];
    const cop_cost cost = cop_cost_of(arch, 1, 1, COP_BF16, COP_BF16);
    cop_cli_cell(table, "%s", name);
    cop_cli_cell(table, "%s", cop_text_count(total, (double)cost.params));
    cop_cli_cell(table, "%" PRId64, cost.params);
    cop_cli_cell(table, "%s", cop_arch_text(text, arch));
}

static void print_text(const arguments *given, const cop_checkpoint *teacher,
                       const cop_selection *selection)
{
    const cop_arch *from = cop_checkpoint_arch(teacher);
    const cop_arch *to = cop_selection_arch(selection);
    cop_cli_table table;

    cop_cli_table_init(&table, "lrrl");
    cop_cli_cell(&table, "model");
    cop_cli_cell(&table, "params");
    cop_cli_cell(&table, "exactly");
    cop_cli_cell(&table, "architecture");
    print_row(&table, given->model, from);
    print_row(&table, given->output, to);
    cop_cli_table_print(&table);
    if (to->layers < from->layers) {
        cop_cli_print("layers kept:");
        for (int64_t i = 0; i < to->layers; i++) {
            cop_cli_print(" %" PRId64, cop_selection_layer(selection, i));
        }
        cop_cli_print("\n");
    }
}

static cop_status write_model(const arguments *given, const cop_checkpoint *teacher,
                              const cop_selection *selection, const json_t *description,
                              cop_dtype dtype, cop_error *err)
{
    cop_status status = COP_OK;
    cop_checkpoint_writer *writer = NULL;
    char *provenance = NULL;
    cop_checkpoint_options writing = {
        .dtype = dtype,
        .base = given->model,
        .force = given->common.is_forced,
    };

    COP_TRY(status, cop_json_text(&provenance, description, 0, err));
    writing.provenance = provenance;
    COP_TRY(status, cop_checkpoint_writer_create(&writer, given->output,
                                                 cop_selection_arch(selection), &writing, err));
    COP_TRY(status, cop_slice(selection, teacher, cop_checkpoint_writer_sink(writer), err));
    COP_TRY(status, cop_checkpoint_writer_commit(writer, err));

done:
    cop_checkpoint_writer_destroy(writer);
    cop_free(provenance);
    return status;
}

// A trap of others, said before somebody falls into it: the weights are right, and head_dim is explicit.
static void warn_of_transformers(const cop_arch *target)
{
    const int64_t heads = target->layer[0].heads;
    if (target->family == COP_FAMILY_LLAMA && target->hidden % heads != 0) {
        cop_log(COP_LOG_WARNING,
                "transformers 5 refuses a Llama config whose hidden size (%" PRId64
                ") is no multiple of its heads (%" PRId64 ")",
                target->hidden, heads);
    }
}

static cop_status run(const arguments *given, int *exit_code, cop_error *err)
{
    cop_status status = COP_OK;
    cop_checkpoint *teacher = NULL;
    cop_importance *importance = NULL;
    cop_selection *selection = NULL;
    json_t *description = NULL;
    cop_hash weights = {0};
    cop_hash key = {0};
    cop_arch target;
    cop_dtype dtype = COP_F32;

    COP_TRY(status, cop_checkpoint_open(&teacher, given->model, err));
    COP_TRY(status, check_output(given, err));
    if (given->importance != NULL) {
        COP_TRY(status, cop_importance_read(&importance, given->importance, teacher, &key, err));
    }
    target = target_of(given, cop_checkpoint_arch(teacher));
    COP_TRY(status, cop_selection_create(&selection, cop_checkpoint_arch(teacher), &target,
                                         importance, &given->select, err));
    COP_TRY(status, cop_checkpoint_hash(teacher, &weights, err));
    dtype = output_dtype(given, teacher);
    description = describe(given, teacher, selection, weights, &key, dtype);
    COP_TRY(status, write_model(given, teacher, selection, description, dtype, err));
    warn_of_transformers(&target);
    if (given->common.is_json) {
        (void)json_object_set_new(description, "output", json_string(given->output));
        *exit_code = cop_cli_print_json(description);
        description = NULL;
    } else {
        print_text(given, teacher, selection);
    }

done:
    json_decref(description);
    cop_selection_destroy(selection);
    cop_importance_destroy(importance);
    cop_checkpoint_destroy(teacher);
    return status;
}

int cop_cmd_prune(int argc, char **argv)
{
    arguments given = {.select = COP_SELECT_OPTIONS_DEFAULT};
    cop_error err = {0};
    int exit_code = COP_EXIT_DONE;

    cop_cli_parse(&argp, argc, argv, &given);
    const cop_status status = run(&given, &exit_code, &err);
    return status == COP_OK ? exit_code : cop_cli_fail(&err);
}
