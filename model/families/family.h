// A family is a type object: what its config.json is called, what its computation fixes, and the
// keys that only it has. Adding a family is one file with such an object and one line in
// family.c, as long as its blocks are those of model/arch.h.

#ifndef COP_MODEL_FAMILIES_FAMILY_H
#define COP_MODEL_FAMILIES_FAMILY_H

#include <jansson.h>

#include "model/arch.h"

typedef struct cop_family_type {
    const char *model_type;   // of config.json
    const char *architecture; // the class name in "architectures"
    const char *norm_eps_key;
    const char *head_dim_alias; // key of early revisions, or NULL
    const char *partial_alias;  // key of early revisions, or NULL
    cop_norm_kind norm;
    bool is_gated;
    bool may_rotate_partly;
    bool hidden_is_multiple_of_heads; // what current releases of transformers insist on
    // What transformers assumes for absent keys.
    double norm_eps;
    double partial;
    double initializer_range;
    const char *activation;
    int64_t context;
    int64_t bos;
    int64_t eos;
} cop_family_type;

extern const cop_family_type cop_family_llama;
extern const cop_family_type cop_family_nemotron;

const cop_family_type *cop_family_type_of(cop_family family);

// Finds a family by its model_type; false when there is none.
bool cop_family_find(cop_family *out, const char *model_type);

#endif
