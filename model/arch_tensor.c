// The list of tensors of an architecture, and their Hugging Face names.

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "model/arch.h"

#define LAYER_PREFIX "model.layers."

// Names by role; those of a block stand behind "model.layers.<i>.". Both families use them.
static const char *const role_names[COP_ROLE_COUNT] = {
    [COP_ROLE_EMBEDDING] = "model.embed_tokens.weight",
    [COP_ROLE_INPUT_NORM] = "input_layernorm.weight",
    [COP_ROLE_INPUT_NORM_BIAS] = "input_layernorm.bias",
    [COP_ROLE_Q] = "self_attn.q_proj.weight",
    [COP_ROLE_Q_BIAS] = "self_attn.q_proj.bias",
    [COP_ROLE_K] = "self_attn.k_proj.weight",
    [COP_ROLE_K_BIAS] = "self_attn.k_proj.bias",
    [COP_ROLE_V] = "self_attn.v_proj.weight",
    [COP_ROLE_V_BIAS] = "self_attn.v_proj.bias",
    [COP_ROLE_O] = "self_attn.o_proj.weight",
    [COP_ROLE_O_BIAS] = "self_attn.o_proj.bias",
    [COP_ROLE_POST_NORM] = "post_attention_layernorm.weight",
    [COP_ROLE_POST_NORM_BIAS] = "post_attention_layernorm.bias",
    [COP_ROLE_GATE] = "mlp.gate_proj.weight",
    [COP_ROLE_GATE_BIAS] = "mlp.gate_proj.bias",
    [COP_ROLE_UP] = "mlp.up_proj.weight",
    [COP_ROLE_UP_BIAS] = "mlp.up_proj.bias",
    [COP_ROLE_DOWN] = "mlp.down_proj.weight",
    [COP_ROLE_DOWN_BIAS] = "mlp.down_proj.bias",
    [COP_ROLE_FINAL_NORM] = "model.norm.weight",
    [COP_ROLE_FINAL_NORM_BIAS] = "model.norm.bias",
    [COP_ROLE_HEAD] = "lm_head.weight",
};

static bool has_role(const cop_arch *arch, cop_role role)
{
    switch (role) {
    case COP_ROLE_INPUT_NORM_BIAS:
    case COP_ROLE_POST_NORM_BIAS:
    case COP_ROLE_FINAL_NORM_BIAS: return arch->norm != COP_NORM_RMS;
    case COP_ROLE_Q_BIAS:
    case COP_ROLE_K_BIAS:
    case COP_ROLE_V_BIAS:
    case COP_ROLE_O_BIAS: return arch->attention_bias;
    case COP_ROLE_GATE: return arch->is_gated;
    case COP_ROLE_GATE_BIAS: return arch->is_gated && arch->mlp_bias;
    case COP_ROLE_UP_BIAS:
    case COP_ROLE_DOWN_BIAS: return arch->mlp_bias;
    case COP_ROLE_HEAD: return !arch->is_tied;
    case COP_ROLE_EMBEDDING:
    case COP_ROLE_INPUT_NORM:
    case COP_ROLE_Q:
    case COP_ROLE_K:
    case COP_ROLE_V:
    case COP_ROLE_O:
    case COP_ROLE_POST_NORM:
    case COP_ROLE_UP:
    case COP_ROLE_DOWN:
    case COP_ROLE_FINAL_NORM: return true;
    case COP_ROLE_COUNT: break;
    }
    return false;
}

// Roles in [first, last] that the architecture has: the enum is in canonical order.
static int64_t count_roles(const cop_arch *arch, cop_role first, cop_role last)
{
    int64_t count = 0;
    for (int role = (int)first; role <= (int)last; role++) {
        count += has_role(arch, (cop_role)role) ? 1 : 0;
    }
    return count;
}

static int64_t count_in_layer(const cop_arch *arch)
{
    return count_roles(arch, COP_ROLE_INPUT_NORM, COP_ROLE_DOWN_BIAS);
}

static bool is_layer_role(cop_role role)
{
    return role >= COP_ROLE_INPUT_NORM && role <= COP_ROLE_DOWN_BIAS;
}

// The `nth` present role from `first` on.
static cop_role role_at(const cop_arch *arch, cop_role first, int64_t nth)
{
    int role = (int)first;
    for (;; role++) {
        if (has_role(arch, (cop_role)role) && nth-- == 0) {
            return (cop_role)role;
        }
    }
}

int64_t cop_arch_tensor_count(const cop_arch *arch)
{
    return 1 + arch->layers * count_in_layer(arch) +
           count_roles(arch, COP_ROLE_FINAL_NORM, COP_ROLE_HEAD);
}

static int64_t axis_size(const cop_arch *arch, const cop_layer_arch *layer, cop_axis axis)
{
    switch (axis) {
    case COP_AXIS_VOCAB: return arch->vocab;
    case COP_AXIS_HIDDEN: return arch->hidden;
    case COP_AXIS_QUERY: return layer->heads * arch->head_dim;
    case COP_AXIS_KEY: return layer->kv_heads * arch->head_dim;
    case COP_AXIS_FFN: return layer->ffn;
    case COP_AXIS_NONE: break;
    }
    return 1;
}

static void role_axes(cop_role role, cop_axis axis[2])
{
    static const cop_axis table[COP_ROLE_COUNT][2] = {
        [COP_ROLE_EMBEDDING] = {COP_AXIS_VOCAB, COP_AXIS_HIDDEN},
        [COP_ROLE_INPUT_NORM] = {COP_AXIS_HIDDEN, COP_AXIS_NONE},
        [COP_ROLE_INPUT_NORM_BIAS] = {COP_AXIS_HIDDEN, COP_AXIS_NONE},
        [COP_ROLE_Q] = {COP_AXIS_QUERY, COP_AXIS_HIDDEN},
        [COP_ROLE_Q_BIAS] = {COP_AXIS_QUERY, COP_AXIS_NONE},
        [COP_ROLE_K] = {COP_AXIS_KEY, COP_AXIS_HIDDEN},
        [COP_ROLE_K_BIAS] = {COP_AXIS_KEY, COP_AXIS_NONE},
        [COP_ROLE_V] = {COP_AXIS_KEY, COP_AXIS_HIDDEN},
        [COP_ROLE_V_BIAS] = {COP_AXIS_KEY, COP_AXIS_NONE},
        [COP_ROLE_O] = {COP_AXIS_HIDDEN, COP_AXIS_QUERY},
        [COP_ROLE_O_BIAS] = {COP_AXIS_HIDDEN, COP_AXIS_NONE},
        [COP_ROLE_POST_NORM] = {COP_AXIS_HIDDEN, COP_AXIS_NONE},
        [COP_ROLE_POST_NORM_BIAS] = {COP_AXIS_HIDDEN, COP_AXIS_NONE},
        [COP_ROLE_GATE] = {COP_AXIS_FFN, COP_AXIS_HIDDEN},
        [COP_ROLE_GATE_BIAS] = {COP_AXIS_FFN, COP_AXIS_NONE},
        [COP_ROLE_UP] = {COP_AXIS_FFN, COP_AXIS_HIDDEN},
        [COP_ROLE_UP_BIAS] = {COP_AXIS_FFN, COP_AXIS_NONE},
        [COP_ROLE_DOWN] = {COP_AXIS_HIDDEN, COP_AXIS_FFN},
        [COP_ROLE_DOWN_BIAS] = {COP_AXIS_HIDDEN, COP_AXIS_NONE},
        [COP_ROLE_FINAL_NORM] = {COP_AXIS_HIDDEN, COP_AXIS_NONE},
        [COP_ROLE_FINAL_NORM_BIAS] = {COP_AXIS_HIDDEN, COP_AXIS_NONE},
        [COP_ROLE_HEAD] = {COP_AXIS_VOCAB, COP_AXIS_HIDDEN},
    };
    axis[0] = table[role][0];
    axis[1] = table[role][1];
}

cop_tensor_spec cop_arch_tensor(const cop_arch *arch, int64_t index)
{
    cop_tensor_spec spec = {.layer = -1};
    const int64_t in_layer = count_in_layer(arch);
    const int64_t behind_layers = index - 1 - arch->layers * in_layer;

    if (index == 0) {
        spec.role = COP_ROLE_EMBEDDING;
    } else if (behind_layers >= 0) {
        spec.role = role_at(arch, COP_ROLE_FINAL_NORM, behind_layers);
    } else {
        spec.layer = (index - 1) / in_layer;
        spec.role = role_at(arch, COP_ROLE_INPUT_NORM, (index - 1) % in_layer);
    }
    if (spec.layer >= 0) {
        (void)snprintf(spec.name, sizeof spec.name, LAYER_PREFIX "%" PRId64 ".%s", spec.layer,
                       role_names[spec.role]);
    } else {
        (void)snprintf(spec.name, sizeof spec.name, "%s", role_names[spec.role]);
    }
    role_axes(spec.role, spec.axis);
    spec.rank = spec.axis[1] == COP_AXIS_NONE ? 1 : 2;
    const cop_layer_arch *layer = &arch->layer[spec.layer < 0 ? 0 : spec.layer];
    spec.shape[0] = axis_size(arch, layer, spec.axis[0]);
    spec.shape[1] = axis_size(arch, layer, spec.axis[1]);
    return spec;
}

int64_t cop_arch_find(const cop_arch *arch, cop_role role, int64_t layer)
{
    if (role < 0 || role >= COP_ROLE_COUNT || !has_role(arch, role)) {
        return -1;
    }
    if (is_layer_role(role)) {
        if (layer < 0 || layer >= arch->layers) {
            return -1;
        }
        return 1 + layer * count_in_layer(arch) + count_roles(arch, COP_ROLE_INPUT_NORM, role) - 1;
    }
    if (layer != -1) {
        return -1;
    }
    if (role == COP_ROLE_EMBEDDING) {
        return 0;
    }
    return 1 + arch->layers * count_in_layer(arch) + count_roles(arch, COP_ROLE_FINAL_NORM, role) -
           1;
}

int64_t cop_arch_find_name(const cop_arch *arch, const char *name)
{
    int64_t layer = -1;
    const char *rest = name;

    if (strncmp(name, LAYER_PREFIX, strlen(LAYER_PREFIX)) == 0) {
        rest = name + strlen(LAYER_PREFIX);
        if (rest[0] < '0' || rest[0] > '9' || (rest[0] == '0' && rest[1] != '.')) {
            return -1; // one spelling per layer: no sign, no leading zero
        }
        layer = 0;
        for (; *rest >= '0' && *rest <= '9'; rest++) {
            layer = layer * 10 + (*rest - '0');
            if (layer >= arch->layers) {
                return -1;
            }
        }
        if (*rest++ != '.') {
            return -1;
        }
    }
    for (int role = 0; role < COP_ROLE_COUNT; role++) {
        if (is_layer_role((cop_role)role) == (layer >= 0) && strcmp(rest, role_names[role]) == 0) {
            return cop_arch_find(arch, (cop_role)role, layer);
        }
    }
    return -1;
}
