// Llama 2, 3 and 3.1: RMSNorm, SwiGLU, rotary embedding over the whole head. "The Llama 3 Herd of
// Models" (2024); the defaults are those of LlamaConfig in transformers.

#include "model/families/family.h"

const cop_family_type cop_family_llama = {
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .norm_eps_key = "rms_norm_eps",
    .norm = COP_NORM_RMS,
    .is_gated = true,
    .may_rotate_partly = false,
    .hidden_is_multiple_of_heads = true,
    .norm_eps = 1e-6,
    .partial = 1.0,
    .initializer_range = 0.02,
    .activation = "silu",
    .context = 2048,
    .bos = 1,
    .eos = 2,
};
