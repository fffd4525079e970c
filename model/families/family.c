#include "model/families/family.h"

#include <string.h>

static const cop_family_type *const types[COP_FAMILY_COUNT] = {
    [COP_FAMILY_LLAMA] = &cop_family_llama,
    [COP_FAMILY_NEMOTRON] = &cop_family_nemotron,
};

const cop_family_type *cop_family_type_of(cop_family family)
{
    return types[family];
}

bool cop_family_find(cop_family *out, const char *model_type)
{
    for (int i = 0; i < COP_FAMILY_COUNT; i++) {
        if (strcmp(types[i]->model_type, model_type) == 0) {
            *out = (cop_family)i;
            return true;
        }
    }
    return false;
}
