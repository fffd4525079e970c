// Hugging Face config.json <-> architecture, for the families of model/families/.

#ifndef COP_MODEL_ARCH_JSON_H
#define COP_MODEL_ARCH_JSON_H

#include <jansson.h>

#include "model/arch.h"

// Reads `path`: a config.json, or a directory that holds one. Unknown model_type: COP_ERR_FORMAT
// with the list of families. Keys that change the computation and are not supported (sliding
// window, other rope types, unknown activation …) are refused; keys that do not are ignored.
COP_MUST_CHECK cop_status cop_arch_read(cop_arch *out, const char *path, cop_error *err);

// The same from parsed JSON; `name` stands for the file.
COP_MUST_CHECK cop_status cop_arch_from_json(cop_arch *out, const json_t *config, const char *name,
                                             cop_error *err);

// A config.json that `transformers` loads unchanged, always with explicit head_dim and
// num_key_value_heads. `base` (may be NULL) is the teacher's config.json: keys of it that the
// architecture does not decide (bos, tokenizer settings …) are carried over. `dtype_name` e.g.
// "bfloat16". A non-uniform architecture is COP_ERR_UNSUPPORTED: Hugging Face has no form for it.
COP_MUST_CHECK cop_status cop_arch_to_json(json_t **out, const cop_arch *arch, const json_t *base,
                                           const char *dtype_name, cop_error *err);

// False for shapes that only some releases of `transformers` load: LlamaConfig of release 5 wants
// hidden_size to be a multiple of num_attention_heads, though head_dim is given. They are written
// all the same.
bool cop_arch_is_portable(const cop_arch *arch);

#endif
