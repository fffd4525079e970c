// Exact costs of an architecture, by formula: parameters, bytes, FLOPs.

#ifndef COP_MODEL_COST_H
#define COP_MODEL_COST_H

#include "base/dtype.h"
#include "model/arch.h"

typedef struct cop_cost {
    int64_t params;               // every tensor once; a tied head is not counted again
    int64_t params_non_embedding; // params - input embedding - output embedding (when untied)
    int64_t matmul_params;        // weights of q k v o gate up down, all layers
    int64_t weights_bytes;        // params * bytes of the weight dtype
    int64_t kv_cache_bytes; // 2 * batch * sequence * Σ kv_heads * head_dim * bytes of kv dtype
    int64_t total_bytes;    // weights + kv cache
    // Forward pass at `sequence`, per token, counted as the papers do (no discount for the causal
    // mask): 2 * (matmul_params + V*C) + 4 * sequence * Σ heads * head_dim. A training step is
    // three times that. arXiv 2407.14679, facts: 4.4e17 / 2.5e17 / 1.2e17 per step.
    double flops_per_token;
} cop_cost;

// batch, sequence >= 1. Pure arithmetic; thread-safe. Byte counts beyond int64 are INT64_MAX.
cop_cost cop_cost_of(const cop_arch *arch, int64_t batch, int64_t sequence, cop_dtype weights,
                     cop_dtype kv);

// FLOPs per token of a training step (3 forward passes) with the causal half of attention counted
// once: what progress lines and benchmarks divide by the matmul peak:
// 6 * (matmul_params + V*C) + 6 * sequence * Σ heads * head_dim.
double cop_cost_train_flops(const cop_arch *arch, int64_t sequence);

#endif
