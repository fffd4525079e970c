#include "model/cost.h"

// Σ heads * head_dim over the layers: what attention scores cost.
static int64_t query_sum(const cop_arch *arch)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < arch->layers; i++) {
        sum += arch->layer[i].heads * arch->head_dim;
    }
    return sum;
}

static int64_t matmul_params(const cop_arch *arch)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < arch->layers; i++) {
        const cop_layer_arch *layer = &arch->layer[i];
        const int64_t attention = 2 * (layer->heads + layer->kv_heads) * arch->head_dim;
        const int64_t mlp = (arch->is_gated ? 3 : 2) * layer->ffn;
        sum += arch->hidden * (attention + mlp);
    }
    return sum;
}

static int64_t vector_params(const cop_arch *arch)
{
    const int64_t norm = arch->hidden * (arch->norm == COP_NORM_RMS ? 1 : 2);
    int64_t sum = norm;
    for (int64_t i = 0; i < arch->layers; i++) {
        const cop_layer_arch *layer = &arch->layer[i];
        sum += 2 * norm;
        if (arch->attention_bias) {
            sum += (layer->heads + 2 * layer->kv_heads) * arch->head_dim + arch->hidden;
        }
        if (arch->mlp_bias) {
            sum += (arch->is_gated ? 2 : 1) * layer->ffn + arch->hidden;
        }
    }
    return sum;
}

// Beyond int64 the largest value stands for "does not fit anywhere".
static int64_t saturated_product(int64_t a, int64_t b)
{
    return b > 0 && a > INT64_MAX / b ? INT64_MAX : a * b;
}

cop_cost cop_cost_of(const cop_arch *arch, int64_t batch, int64_t sequence, cop_dtype weights,
                     cop_dtype kv)
{
    cop_cost cost = {0};
    const int64_t embedding = arch->vocab * arch->hidden;
    int64_t key_sum = 0;

    for (int64_t i = 0; i < arch->layers; i++) {
        key_sum += arch->layer[i].kv_heads * arch->head_dim;
    }
    cost.matmul_params = matmul_params(arch);
    cost.params_non_embedding = cost.matmul_params + vector_params(arch);
    cost.params = cost.params_non_embedding + (arch->is_tied ? 1 : 2) * embedding;
    cost.weights_bytes = cost.params * (int64_t)cop_dtype_bytes(weights);
    cost.kv_cache_bytes = saturated_product(saturated_product(batch, sequence),
                                            2 * key_sum * (int64_t)cop_dtype_bytes(kv));
    cost.total_bytes = cost.kv_cache_bytes > INT64_MAX - cost.weights_bytes
                           ? INT64_MAX
                           : cost.weights_bytes + cost.kv_cache_bytes;
    cost.flops_per_token = 2.0 * (double)(cost.matmul_params + embedding) +
                           4.0 * (double)sequence * (double)query_sum(arch);
    return cost;
}

double cop_cost_train_flops(const cop_arch *arch, int64_t sequence)
{
    return 6.0 * (double)(matmul_params(arch) + arch->vocab * arch->hidden) +
           6.0 * (double)sequence * (double)query_sum(arch);
}
