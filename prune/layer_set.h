// A set of a teacher's layers: plain data, copied by assignment; `{0}` is empty.

#ifndef COP_PRUNE_LAYER_SET_H
#define COP_PRUNE_LAYER_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "model/arch.h"

enum { COP_LAYER_SET_WORDS = COP_ARCH_LAYERS_MAX / 64 };

typedef struct cop_layer_set {
    uint64_t word[COP_LAYER_SET_WORDS];
} cop_layer_set;

// `layer`: 0 … COP_ARCH_LAYERS_MAX - 1.
void cop_layer_set_add(cop_layer_set *set, int64_t layer);
bool cop_layer_set_has(const cop_layer_set *set, int64_t layer);
int64_t cop_layer_set_count(const cop_layer_set *set);
int64_t cop_layer_set_last(const cop_layer_set *set); // the highest layer; -1: empty

#endif
