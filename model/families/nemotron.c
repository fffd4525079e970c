// Nemotron-4 and Minitron: LayerNorm1P (the file holds gain - 1) with bias, squared ReLU without a
// gate, rotary embedding over the first part of each head. "Nemotron-4 15B Technical Report"
// (2024); the defaults are those of NemotronConfig in transformers.

#include "model/families/family.h"

const cop_family_type cop_family_nemotron = {
    .model_type = "nemotron",
    .architecture = "NemotronForCausalLM",
    .norm_eps_key = "norm_eps",
    .head_dim_alias = "kv_channels",
    .partial_alias = "rope_percent",
    .norm = COP_NORM_LAYER_1P,
    .is_gated = false,
    .may_rotate_partly = true,
    .hidden_is_multiple_of_heads = false,
    .norm_eps = 1e-5,
    .partial = 0.5,
    .initializer_range = 0.0134,
    .activation = "relu2",
    .context = 4096,
    .bos = 2,
    .eos = 3,
};
