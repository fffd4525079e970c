#include "model/arch_json.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "model/families/family.h"

enum { CONFIG_BYTES_MAX = 4 << 20 };

static const char *const activation_names[] = {
    [COP_ACTIVATION_SILU] = "silu",
    [COP_ACTIVATION_RELU2] = "relu2",
    [COP_ACTIVATION_GELU] = "gelu",
    [COP_ACTIVATION_GELU_TANH] = "gelu_pytorch_tanh",
};

// --- Reading ------------------------------------------------------------------------------------

// Present, and neither null nor false: the key changes something.
static bool is_set(const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    return value != NULL && !json_is_null(value) && !json_is_false(value);
}

static cop_status refuse_unsupported_keys(const json_t *config, const char *name, cop_error *err)
{
    static const char *const keys[] = {
        "sliding_window",          "quantization_config",  "attn_logit_softcapping",
        "final_logit_softcapping", "add_cross_attention",  "is_encoder_decoder",
        "per_layer_config",        "num_local_experts",    "num_experts",
        "n_routed_experts",        "attention_multiplier", "residual_multiplier",
        "embedding_multiplier",    "logits_scaling",       "use_qk_norm",
    };

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (is_set(config, keys[i])) {
            return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                            "%s: %s is set: it changes the computation in a way that is not "
                            "supported (allowed: absent, null or false)",
                            name, keys[i]);
        }
    }
    return COP_OK;
}

static cop_status read_family(cop_arch *arch, const json_t *config, const char *name,
                              cop_error *err)
{
    const char *model_type = NULL;
    cop_status status = COP_OK;

    COP_TRY(status, cop_json_text_of(&model_type, config, "model_type", name, err));
    if (!cop_family_find(&arch->family, model_type)) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: model_type is '%.64s' (allowed: %s, %s)", name,
                          model_type, cop_family_name(COP_FAMILY_LLAMA),
                          cop_family_name(COP_FAMILY_NEMOTRON));
    }

done:
    return status;
}

static cop_status read_head_dim(cop_arch *arch, const json_t *config, int64_t heads,
                                const char *name, cop_error *err)
{
    const char *alias = cop_family_type_of(arch->family)->head_dim_alias;
    const char *key = !is_set(config, "head_dim") && alias != NULL ? alias : "head_dim";
    cop_status status = COP_OK;

    COP_TRY(status,
            cop_json_i64_or(&arch->head_dim, config, key, 1, COP_ARCH_HEAD_DIM_MAX, 0, name, err));
    if (arch->head_dim == 0 && arch->hidden % heads != 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: hidden_size %" PRId64 " is no multiple of num_attention_heads "
                          "%" PRId64 " and head_dim is absent (allowed: a multiple, or a head_dim)",
                          name, arch->hidden, heads);
        goto done;
    }
    if (arch->head_dim == 0) {
        arch->head_dim = arch->hidden / heads;
    }

done:
    return status;
}

static cop_status read_sizes(cop_arch *arch, const json_t *config, const char *name, cop_error *err)
{
    const cop_family_type *type = cop_family_type_of(arch->family);
    cop_layer_arch layer = {0};
    cop_status status = COP_OK;

    COP_TRY(status,
            cop_json_i64(&arch->vocab, config, "vocab_size", 1, COP_ARCH_VOCAB_MAX, name, err));
    COP_TRY(status,
            cop_json_i64(&arch->hidden, config, "hidden_size", 1, COP_ARCH_HIDDEN_MAX, name, err));
    COP_TRY(status, cop_json_i64(&arch->layers, config, "num_hidden_layers", 1, COP_ARCH_LAYERS_MAX,
                                 name, err));
    COP_TRY(status, cop_json_i64(&layer.heads, config, "num_attention_heads", 1, COP_ARCH_HEADS_MAX,
                                 name, err));
    COP_TRY(status, cop_json_i64_or(&layer.kv_heads, config, "num_key_value_heads", 1,
                                    COP_ARCH_HEADS_MAX, layer.heads, name, err));
    COP_TRY(status,
            cop_json_i64(&layer.ffn, config, "intermediate_size", 1, COP_ARCH_FFN_MAX, name, err));
    COP_TRY(status, cop_json_i64_or(&arch->context, config, "max_position_embeddings", 1,
                                    COP_ARCH_CONTEXT_MAX, type->context, name, err));
    COP_TRY(status, read_head_dim(arch, config, layer.heads, name, err));
    if (layer.heads % layer.kv_heads != 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: num_attention_heads is %" PRId64
                          " (allowed: multiples of num_key_value_heads, %" PRId64 ")",
                          name, layer.heads, layer.kv_heads);
        goto done;
    }
    for (int64_t i = 0; i < arch->layers; i++) {
        arch->layer[i] = layer;
    }

done:
    return status;
}

static cop_status read_activation(cop_arch *arch, const json_t *config, const char *name,
                                  cop_error *err)
{
    static const struct {
        const char *name;
        cop_activation kind;
    } known[] = {
        {"silu", COP_ACTIVATION_SILU},          {"swish", COP_ACTIVATION_SILU},
        {"relu2", COP_ACTIVATION_RELU2},        {"gelu", COP_ACTIVATION_GELU},
        {"gelu_new", COP_ACTIVATION_GELU_TANH}, {"gelu_pytorch_tanh", COP_ACTIVATION_GELU_TANH},
    };

    const char *text = NULL;
    cop_status status = COP_OK;

    COP_TRY(status, cop_json_text_or(&text, config, "hidden_act",
                                     cop_family_type_of(arch->family)->activation, name, err));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, text) == 0) {
            arch->activation = known[i].kind;
            return COP_OK;
        }
    }
    status = COP_FAIL(err, COP_ERR_FORMAT,
                      "%s: hidden_act is '%.64s' (allowed: silu, relu2, gelu, gelu_new, "
                      "gelu_pytorch_tanh)",
                      name, text);

done:
    return status;
}

// The settings of the rotary embedding lie in rope_scaling (transformers 4; null when plain), or in
// rope_parameters together with theta and the rotated share (transformers 5). As there, the old
// name wins when both are set.
static cop_status find_rope_object(const json_t **out, const json_t *config, const char *name,
                                   cop_error *err)
{
    const json_t *scaling = json_object_get(config, "rope_scaling");
    const bool is_empty = json_is_object(scaling) && json_object_size(scaling) == 0;
    const char *key =
        is_set(config, "rope_scaling") && !is_empty ? "rope_scaling" : "rope_parameters";
    const json_t *object = json_object_get(config, key);

    *out = NULL;
    if (object == NULL || json_is_null(object)) {
        return COP_OK;
    }
    if (!json_is_object(object)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s is no object (allowed: an object or null)",
                        name, key);
    }
    *out = object;
    return COP_OK;
}

static cop_status read_rope_scaling(cop_arch *arch, const json_t *config, const json_t *object,
                                    const char *name, cop_error *err)
{
    cop_rope_settings *rope = &arch->rope;
    const char *type = "default";
    cop_status status = COP_OK;

    rope->scaling = COP_ROPE_PLAIN;
    if (object == NULL) {
        return COP_OK;
    }
    COP_TRY(status, cop_json_text_or(&type, object, "type", type, name, err));
    COP_TRY(status, cop_json_text_or(&type, object, "rope_type", type, name, err));
    if (strcmp(type, "default") == 0) {
        return COP_OK;
    }
    if (strcmp(type, "linear") != 0 && strcmp(type, "llama3") != 0) {
        status =
            COP_FAIL(err, COP_ERR_UNSUPPORTED,
                     "%s: rope_type is '%.64s' (allowed: default, linear, llama3)", name, type);
        goto done;
    }
    COP_TRY(status, cop_json_f64(&rope->factor, object, "factor", 1e-9, 1e9, name, err));
    rope->scaling = COP_ROPE_LINEAR;
    if (strcmp(type, "linear") == 0) {
        goto done;
    }
    rope->scaling = COP_ROPE_LLAMA3;
    COP_TRY(status, cop_json_f64(&rope->low_frequency_factor, object, "low_freq_factor", 1e-9, 1e9,
                                 name, err));
    COP_TRY(status, cop_json_f64(&rope->high_frequency_factor, object, "high_freq_factor", 1e-9,
                                 1e9, name, err));
    COP_TRY(status,
            cop_json_i64_or(&rope->original_context, object, "original_max_position_embeddings", 1,
                            COP_ARCH_CONTEXT_MAX, arch->context, name, err));
    // A value outside the object takes precedence in transformers.
    COP_TRY(status,
            cop_json_i64_or(&rope->original_context, config, "original_max_position_embeddings", 1,
                            COP_ARCH_CONTEXT_MAX, rope->original_context, name, err));

done:
    return status;
}

static cop_status read_rope(cop_arch *arch, const json_t *config, const char *name, cop_error *err)
{
    const cop_family_type *type = cop_family_type_of(arch->family);
    const json_t *object = NULL;
    double partial = type->partial;
    cop_status status = COP_OK;

    COP_TRY(status, find_rope_object(&object, config, name, err));
    COP_TRY(status,
            cop_json_f64_or(&arch->rope.theta, config, "rope_theta", 1e-30, 1e30, 1e4, name, err));
    if (type->partial_alias != NULL) {
        COP_TRY(status, cop_json_f64_or(&partial, config, type->partial_alias, 0.0, 1.0, partial,
                                        name, err));
    }
    COP_TRY(status, cop_json_f64_or(&partial, config, "partial_rotary_factor", 0.0, 1.0, partial,
                                    name, err));
    if (object != NULL) {
        COP_TRY(status, cop_json_f64_or(&arch->rope.theta, object, "rope_theta", 1e-30, 1e30,
                                        arch->rope.theta, name, err));
        COP_TRY(status, cop_json_f64_or(&partial, object, "partial_rotary_factor", 0.0, 1.0,
                                        partial, name, err));
    }
    if (!type->may_rotate_partly && partial < 1.0) {
        status = COP_FAIL(err, COP_ERR_UNSUPPORTED,
                          "%s: partial_rotary_factor is %g (allowed: 1 in the family %s)", name,
                          partial, type->model_type);
        goto done;
    }
    arch->rope.partial = partial;
    COP_TRY(status, read_rope_scaling(arch, config, object, name, err));

done:
    return status;
}

// A token id, or the first of a list of them; -1 for null and for ids outside the vocabulary, which
// many configurations of cut vocabularies still carry.
static int64_t read_token(const json_t *config, const char *key, int64_t fallback, int64_t vocab)
{
    const json_t *value = json_object_get(config, key);
    if (json_is_array(value)) {
        value = json_array_get(value, 0);
    }
    const int64_t id = value == NULL            ? fallback
                       : json_is_integer(value) ? json_integer_value(value)
                                                : -1;
    return id >= 0 && id < vocab ? id : -1;
}

cop_status cop_arch_from_json(cop_arch *out, const json_t *config, const char *name, cop_error *err)
{
    cop_arch arch = {0};
    const cop_family_type *type = NULL;
    cop_status status = COP_OK;

    if (!json_is_object(config)) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: is no JSON object (allowed: a model's "
                        "config.json)",
                        name);
    }
    COP_TRY(status, read_family(&arch, config, name, err));
    type = cop_family_type_of(arch.family);
    COP_TRY(status, refuse_unsupported_keys(config, name, err));
    COP_TRY(status, read_sizes(&arch, config, name, err));
    COP_TRY(status, read_activation(&arch, config, name, err));
    arch.norm = type->norm;
    arch.is_gated = type->is_gated;
    COP_TRY(status, cop_json_f64_or(&arch.norm_eps, config, type->norm_eps_key, 1e-30, 1.0,
                                    type->norm_eps, name, err));
    COP_TRY(status,
            cop_json_bool_or(&arch.is_tied, config, "tie_word_embeddings", false, name, err));
    COP_TRY(status,
            cop_json_bool_or(&arch.attention_bias, config, "attention_bias", false, name, err));
    COP_TRY(status, cop_json_bool_or(&arch.mlp_bias, config, "mlp_bias", false, name, err));
    COP_TRY(status, cop_json_f64_or(&arch.initializer_range, config, "initializer_range", 0.0, 1.0,
                                    type->initializer_range, name, err));
    COP_TRY(status, read_rope(&arch, config, name, err));
    arch.bos = read_token(config, "bos_token_id", type->bos, arch.vocab);
    arch.eos = read_token(config, "eos_token_id", type->eos, arch.vocab);
    COP_TRY(status, cop_arch_check(&arch, name, err));
    *out = arch;

done:
    return status;
}

cop_status cop_arch_read(cop_arch *out, const char *path, cop_error *err)
{
    char *joined = NULL;
    json_t *config = NULL;
    cop_status status = COP_OK;

    if (cop_file_is_directory(path)) {
        joined = cop_file_join(path, "config.json");
        if (joined == NULL) {
            status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to open it", path);
            goto done;
        }
        path = joined;
    }
    COP_TRY(status, cop_json_read(&config, path, CONFIG_BYTES_MAX, err));
    COP_TRY(status, cop_arch_from_json(out, config, path, err));

done:
    json_decref(config);
    cop_free(joined);
    return status;
}

// --- Writing ------------------------------------------------------------------------------------

// Collects failures of json_object_set_new, which takes the value even when it fails.
static void put(json_t *object, const char *key, json_t *value, bool *is_broken)
{
    if (json_object_set_new(object, key, value) != 0) {
        *is_broken = true;
    }
}

static void put_rope(json_t *config, const cop_arch *arch, bool *is_broken)
{
    const cop_rope_settings *rope = &arch->rope;
    static const char *const types[] = {
        [COP_ROPE_PLAIN] = "default", [COP_ROPE_LINEAR] = "linear", [COP_ROPE_LLAMA3] = "llama3"};
    json_t *scaling = json_object();

    put(scaling, "rope_type", json_string(types[rope->scaling]), is_broken);
    if (rope->scaling != COP_ROPE_PLAIN) {
        put(scaling, "factor", json_real(rope->factor), is_broken);
    }
    if (rope->scaling == COP_ROPE_LLAMA3) {
        put(scaling, "low_freq_factor", json_real(rope->low_frequency_factor), is_broken);
        put(scaling, "high_freq_factor", json_real(rope->high_frequency_factor), is_broken);
        put(scaling, "original_max_position_embeddings", json_integer(rope->original_context),
            is_broken);
    }
    // transformers 4 reads these three, transformers 5 rope_parameters.
    const bool is_partial = cop_family_type_of(arch->family)->may_rotate_partly;
    put(config, "rope_theta", json_real(rope->theta), is_broken);
    put(config, "rope_scaling",
        rope->scaling == COP_ROPE_PLAIN ? json_null() : json_deep_copy(scaling), is_broken);
    put(scaling, "rope_theta", json_real(rope->theta), is_broken);
    if (is_partial) {
        put(config, "partial_rotary_factor", json_real(rope->partial), is_broken);
        put(scaling, "partial_rotary_factor", json_real(rope->partial), is_broken);
    }
    put(config, "rope_parameters", scaling, is_broken);
}

static void put_sizes(json_t *config, const cop_arch *arch, bool *is_broken)
{
    const cop_layer_arch *layer = &arch->layer[0];
    put(config, "vocab_size", json_integer(arch->vocab), is_broken);
    put(config, "hidden_size", json_integer(arch->hidden), is_broken);
    put(config, "intermediate_size", json_integer(layer->ffn), is_broken);
    put(config, "num_hidden_layers", json_integer(arch->layers), is_broken);
    put(config, "num_attention_heads", json_integer(layer->heads), is_broken);
    put(config, "num_key_value_heads", json_integer(layer->kv_heads), is_broken);
    put(config, "head_dim", json_integer(arch->head_dim), is_broken);
    put(config, "max_position_embeddings", json_integer(arch->context), is_broken);
}

// Keys of the base that would contradict what is written, or name another place.
static void drop_stale_keys(json_t *config, const cop_family_type *type)
{
    static const char *const keys[] = {"dtype", "_name_or_path", "transformers_version",
                                       "original_max_position_embeddings"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        (void)json_object_del(config, keys[i]); // absent is fine
    }
    if (type->head_dim_alias != NULL) {
        (void)json_object_del(config, type->head_dim_alias);
    }
    if (type->partial_alias != NULL) {
        (void)json_object_del(config, type->partial_alias);
    }
}

cop_status cop_arch_to_json(json_t **out, const cop_arch *arch, const json_t *base,
                            const char *dtype_name, cop_error *err)
{
    const cop_family_type *type = cop_family_type_of(arch->family);
    bool is_broken = false;

    *out = NULL;
    if (!cop_arch_is_uniform(arch)) {
        char text[COP_ARCH_TEXT_BYTES];
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "config.json: layers of different sizes, %s, cannot be written (allowed: "
                        "all layers equal)",
                        cop_arch_text(text, arch));
    }
    json_t *config = base != NULL ? json_deep_copy(base) : json_object();
    if (config == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "config.json: no memory to write it");
    }
    drop_stale_keys(config, type);
    put(config, "architectures", json_pack("[s]", type->architecture), &is_broken);
    put(config, "model_type", json_string(type->model_type), &is_broken);
    put(config, "torch_dtype", json_string(dtype_name), &is_broken);
    put_sizes(config, arch, &is_broken);
    put(config, "hidden_act", json_string(activation_names[arch->activation]), &is_broken);
    put(config, type->norm_eps_key, json_real(arch->norm_eps), &is_broken);
    put(config, "tie_word_embeddings", json_boolean(arch->is_tied), &is_broken);
    put(config, "attention_bias", json_boolean(arch->attention_bias), &is_broken);
    put(config, "mlp_bias", json_boolean(arch->mlp_bias), &is_broken);
    put(config, "initializer_range", json_real(arch->initializer_range), &is_broken);
    put_rope(config, arch, &is_broken);
    if (base == NULL) {
        put(config, "bos_token_id", arch->bos < 0 ? json_null() : json_integer(arch->bos),
            &is_broken);
        put(config, "eos_token_id", arch->eos < 0 ? json_null() : json_integer(arch->eos),
            &is_broken);
        put(config, "use_cache", json_true(), &is_broken);
    }
    if (is_broken) {
        json_decref(config);
        return COP_FAIL(err, COP_ERR_NOMEM, "config.json: no memory to write it");
    }
    *out = config;
    return COP_OK;
}

bool cop_arch_is_portable(const cop_arch *arch)
{
    return !cop_family_type_of(arch->family)->hidden_is_multiple_of_heads ||
           arch->hidden % arch->layer[0].heads == 0;
}
