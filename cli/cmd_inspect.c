// inspect: shape, parameters, memory and FLOPs of a model; of one with weights, whether they are
// whole.

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/file.h"
#include "cli/cli.h"
#include "model/arch_json.h"
#include "model/checkpoint.h"
#include "model/cost.h"

enum { KEY_BATCH = 0x2000, KEY_SEQUENCE, KEY_WEIGHTS, KEY_KV };

enum { BATCH_MAX = 1 << 20, SEQUENCE_DEFAULT = 4096 };

typedef struct arguments {
    cop_cli_common common;
    const char *path;
    int64_t batch;
    int64_t sequence; // 0: not given
    cop_dtype weights;
    cop_dtype kv;
} arguments;

// What there is to say.
typedef struct model {
    cop_arch arch;
    cop_cost cost;
    bool has_weights;
    cop_dtype stored; // when it has weights
} model;

static cop_dtype dtype_option(const struct argp_state *state, const char *option, const char *text)
{
    static const char *const words[] = {"f32", "bf16"};
    return cop_cli_word(state, option, text, words, 2) == 0 ? COP_F32 : COP_BF16;
}

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->common); break;
    case KEY_BATCH: given->batch = cop_cli_number(state, "--batch", text, 1, BATCH_MAX); break;
    case KEY_SEQUENCE:
        given->sequence = cop_cli_number(state, "--sequence", text, 1, COP_ARCH_CONTEXT_MAX);
        break;
    case KEY_WEIGHTS: given->weights = dtype_option(state, "--weights", text); break;
    case KEY_KV: given->kv = dtype_option(state, "--kv", text); break;
    case ARGP_KEY_ARG:
        if (given->path != NULL) {
            argp_error(state, "more than one MODEL is given");
        }
        given->path = text;
        break;
    case ARGP_KEY_NO_ARGS: argp_error(state, "MODEL is missing"); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

// NOLINTEND(concurrency-mt-unsafe)

static cop_status has_file(bool *out, const char *directory, const char *name, cop_error *err)
{
    char *path = cop_file_join(directory, name);
    if (path == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to look into it", directory);
    }
    *out = cop_file_exists(path);
    cop_free(path);
    return COP_OK;
}

// With weights the whole directory is checked: every header, every tensor's place and shape.
static cop_status look(model *found, arguments *given, cop_error *err)
{
    cop_checkpoint *checkpoint = NULL;
    bool is_single = false;
    bool is_sharded = false;
    cop_status status = COP_OK;

    COP_TRY(status, cop_arch_read(&found->arch, given->path, err));
    if (cop_file_is_directory(given->path)) {
        COP_TRY(status, has_file(&is_single, given->path, "model.safetensors", err));
        COP_TRY(status, has_file(&is_sharded, given->path, "model.safetensors.index.json", err));
    }
    if (is_single || is_sharded) {
        COP_TRY(status, cop_checkpoint_open(&checkpoint, given->path, err));
        found->has_weights = true;
        found->stored = cop_checkpoint_dtype(checkpoint);
    }
    if (given->sequence == 0) {
        given->sequence =
            found->arch.context < SEQUENCE_DEFAULT ? found->arch.context : SEQUENCE_DEFAULT;
    }
    found->cost =
        cop_cost_of(&found->arch, given->batch, given->sequence, given->weights, given->kv);

done:
    cop_checkpoint_destroy(checkpoint);
    return status;
}

static const char *activation_name(cop_activation activation)
{
    switch (activation) {
    case COP_ACTIVATION_SILU: return "silu";
    case COP_ACTIVATION_RELU2: return "relu2";
    case COP_ACTIVATION_GELU: return "gelu";
    case COP_ACTIVATION_GELU_TANH: return "gelu_tanh";
    }
    return "?";
}

static const char *norm_name(cop_norm_kind norm)
{
    switch (norm) {
    case COP_NORM_RMS: return "rms";
    case COP_NORM_LAYER: return "layer";
    case COP_NORM_LAYER_1P: return "layer_1p";
    }
    return "?";
}

static const char *scaling_name(cop_rope_scaling scaling)
{
    switch (scaling) {
    case COP_ROPE_PLAIN: return "default";
    case COP_ROPE_LINEAR: return "linear";
    case COP_ROPE_LLAMA3: return "llama3";
    }
    return "?";
}

static int print_json(const arguments *given, const model *found)
{
    const cop_arch *arch = &found->arch;
    const cop_cost *cost = &found->cost;
    const cop_layer_arch *layer = &arch->layer[0];
    json_t *json = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I}", "model",
        given->path, "family", cop_family_name(arch->family), "layers", (json_int_t)arch->layers,
        "hidden", (json_int_t)arch->hidden, "heads", (json_int_t)layer->heads, "kv_heads",
        (json_int_t)layer->kv_heads, "head_dim", (json_int_t)arch->head_dim, "ffn",
        (json_int_t)layer->ffn, "vocab", (json_int_t)arch->vocab, "tied", (int)arch->is_tied,
        "params", (json_int_t)cost->params, "params_non_embedding",
        (json_int_t)cost->params_non_embedding, "batch", (json_int_t)given->batch, "sequence",
        (json_int_t)given->sequence, "context", (json_int_t)arch->context);
    // FLOPs are whole numbers far below 2^53.
    json_t *more = json_pack(
        "{s:I, s:I, s:{s:I, s:I, s:I, s:s, s:s}, s:s, s:s, s:b, s:b, s:{s:s, s:f, s:f}, s:I}",
        "flops_per_token", (json_int_t)cost->flops_per_token, "flops_per_token_training",
        (json_int_t)(3.0 * cost->flops_per_token), "memory", "weights_bytes",
        (json_int_t)cost->weights_bytes, "kv_cache_bytes", (json_int_t)cost->kv_cache_bytes,
        "total_bytes", (json_int_t)cost->total_bytes, "weights", cop_dtype_name(given->weights),
        "kv", cop_dtype_name(given->kv), "norm", norm_name(arch->norm), "activation",
        activation_name(arch->activation), "attention_bias", (int)arch->attention_bias, "mlp_bias",
        (int)arch->mlp_bias, "rope", "scaling", scaling_name(arch->rope.scaling), "theta",
        arch->rope.theta, "partial", arch->rope.partial, "tensors",
        (json_int_t)cop_arch_tensor_count(arch));
    json_t *checkpoint = found->has_weights
                             ? json_pack("{s:s}", "dtype", cop_dtype_name(found->stored))
                             : json_null();
    const bool is_broken =
        json_object_update(json, more) != 0 || json_object_set(json, "checkpoint", checkpoint) != 0;
    json_decref(more);
    json_decref(checkpoint);
    if (is_broken) {
        json_decref(json);
        json = NULL;
    }
    return cop_cli_print_json(json);
}

// "8,271,699,968": digits in groups, for numbers that are compared with a paper's.
static const char *grouped(char out[COP_TEXT_NUMBER_BYTES], int64_t value)
{
    char digits[COP_TEXT_NUMBER_BYTES];
    const int length = snprintf(digits, sizeof digits, "%" PRId64, value);
    int at = 0;
    for (int i = 0; i < length && at + 2 < COP_TEXT_NUMBER_BYTES; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            out[at++] = ',';
        }
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

static void add_count(cop_cli_table *table, const char *name, int64_t value)
{
    char number[COP_TEXT_NUMBER_BYTES];
    cop_cli_cell(table, "  %s", name);
    cop_cli_cell(table, "%s", grouped(number, value));
    cop_cli_cell(table, "%s", cop_text_count(number, (double)value));
}

static void add_bytes(cop_cli_table *table, const char *name, int64_t value)
{
    char number[COP_TEXT_NUMBER_BYTES];
    cop_cli_cell(table, "  %s", name);
    cop_cli_cell(table, "%s", grouped(number, value));
    cop_cli_cell(table, "%s", cop_text_bytes(number, (uint64_t)value));
}

static void print_shape(const model *found)
{
    const cop_arch *arch = &found->arch;
    const cop_layer_arch *layer = &arch->layer[0];

    cop_cli_print("shape\n");
    cop_cli_print("  %" PRId64 " layers, hidden %" PRId64 ", %" PRId64 " heads of %" PRId64
                  " in %" PRId64 " groups, ffn %" PRId64 ", vocabulary %" PRId64 "%s\n",
                  arch->layers, arch->hidden, layer->heads, arch->head_dim, layer->kv_heads,
                  layer->ffn, arch->vocab, arch->is_tied ? ", tied" : "");
    cop_cli_print("  %s norm, %s%s, rotary %g of each head, theta %g, %s scaling, context %" PRId64
                  "\n",
                  norm_name(arch->norm), activation_name(arch->activation),
                  arch->is_gated ? " with a gate" : "", arch->rope.partial, arch->rope.theta,
                  scaling_name(arch->rope.scaling), arch->context);
    if (!cop_arch_is_portable(arch)) {
        cop_cli_print("  note: transformers 5 wants hidden to be a multiple of the heads and will "
                      "not load this shape\n");
    }
}

static void print_text(const arguments *given, const model *found)
{
    const cop_cost *cost = &found->cost;
    cop_cli_table table;

    cop_cli_print("%s: %s\n", given->path, cop_family_name(found->arch.family));
    print_shape(found);
    cop_cli_print("parameters\n");
    cop_cli_table_init(&table, "lrr");
    add_count(&table, "all", cost->params);
    add_count(&table, "without embeddings", cost->params_non_embedding);
    cop_cli_table_print(&table);
    cop_cli_print("memory, batch %" PRId64 ", sequence %" PRId64 "\n", given->batch,
                  given->sequence);
    cop_cli_table_init(&table, "lrr");
    add_bytes(&table, given->weights == COP_F32 ? "weights (f32)" : "weights (bf16)",
              cost->weights_bytes);
    add_bytes(&table, given->kv == COP_F32 ? "KV cache (f32)" : "KV cache (bf16)",
              cost->kv_cache_bytes);
    add_bytes(&table, "total", cost->total_bytes);
    cop_cli_table_print(&table);
    cop_cli_print("FLOPs per token, sequence %" PRId64 "\n", given->sequence);
    cop_cli_table_init(&table, "lrr");
    add_count(&table, "forward", (int64_t)cost->flops_per_token);
    add_count(&table, "training", (int64_t)(3.0 * cost->flops_per_token));
    cop_cli_table_print(&table);
    if (found->has_weights) {
        cop_cli_print("weights\n  %" PRId64 " tensors, all there, stored as %s\n",
                      cop_arch_tensor_count(&found->arch), cop_dtype_name(found->stored));
    }
}

int cop_cmd_inspect(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"batch", KEY_BATCH, "N", 0, "Sequences in the KV cache (default: 1)", 0},
        {"sequence", KEY_SEQUENCE, "N", 0,
         "Tokens of each (default: the model's context, at most 4096)", 0},
        {"weights", KEY_WEIGHTS, "TYPE", 0, "f32 or bf16 (default): type to count weights in", 0},
        {"kv", KEY_KV, "TYPE", 0, "f32 or bf16 (default): type to count the KV cache in", 0},
        {0},
    };
    static const struct argp_child children[] = {{&cop_cli_json_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "MODEL",
        .doc = "Tells shape, parameters, memory and FLOPs of MODEL: a Hugging Face directory or a "
               "bare config.json. Of a directory with weights, every file and tensor is checked.",
        .children = children,
    };
    arguments given = {.batch = 1, .weights = COP_BF16, .kv = COP_BF16};
    model found = {0};
    cop_error err = {0};
    cop_cli_parse(&argp, argc, argv, &given);

    const cop_status status = look(&found, &given, &err);
    if (status != COP_OK) {
        return cop_cli_fail(&err);
    }
    if (given.common.is_json) {
        return print_json(&given, &found);
    }
    print_text(&given, &found);
    return COP_EXIT_DONE;
}
