// One point of a space: its sizes and its costs in closed form; an architecture is made for none.

#include <math.h>
#include <stdio.h>

#include "search/space_internal.h"

enum { FFN_MULTIPLE = 8 };

// Two ratios whose products are further apart never round to the same width.
static const double duplicate_distance = 2.0 * FFN_MULTIPLE;

// --- Widths of the MLP --------------------------------------------------------------------------

static double product_of(const cop_space *space, int64_t ffn, int64_t hidden)
{
    return space->ratio[ffn] * (double)space->value[COP_SPACE_HIDDEN][hidden];
}

int64_t cop_space_ffn(const cop_space *space, int64_t ffn, int64_t hidden)
{
    if (space->ratio == NULL) {
        return space->value[COP_SPACE_FFN][ffn];
    }
    const double product = product_of(space, ffn, hidden);
    const double whole = floor(product + 0.5);
    if (fabs(product - whole) <= 1e-9 * product) {
        return whole < 1.0 ? 1 : (int64_t)whole;
    }
    const double rounded = FFN_MULTIPLE * floor(product / FFN_MULTIPLE + 0.5);
    return rounded < FFN_MULTIPLE ? FFN_MULTIPLE : (int64_t)rounded;
}

// Rounding moves a product by half a multiple at most, but for the smallest, which become one.
int64_t cop_space_ffn_least(const cop_space *space, int64_t ffn, int64_t hidden)
{
    if (space->ratio == NULL) {
        return space->value[COP_SPACE_FFN][ffn];
    }
    const int64_t least = (int64_t)floor(product_of(space, ffn, hidden)) - FFN_MULTIPLE / 2;
    return least < 1 ? 1 : least;
}

int64_t cop_space_ffn_most(const cop_space *space, int64_t ffn, int64_t hidden)
{
    if (space->ratio == NULL) {
        return space->value[COP_SPACE_FFN][ffn];
    }
    const int64_t most = (int64_t)ceil(product_of(space, ffn, hidden)) + FFN_MULTIPLE / 2;
    return most < FFN_MULTIPLE ? FFN_MULTIPLE : most;
}

int64_t cop_space_first_equal(const cop_space *space, int64_t ffn, int64_t hidden)
{
    if (space->ratio == NULL) {
        return ffn;
    }
    const int64_t width = cop_space_ffn(space, ffn, hidden);
    const int64_t rank = space->rank[COP_SPACE_FFN][ffn];
    const double product = product_of(space, ffn, hidden);
    int64_t first = ffn;
    for (int step = -1; step <= 1; step += 2) {
        for (int64_t i = rank + step; i >= 0 && i < space->count[COP_SPACE_FFN]; i += step) {
            const int64_t other = space->sorted[COP_SPACE_FFN][i];
            if (fabs(product_of(space, other, hidden) - product) > duplicate_distance) {
                break;
            }
            if (other < first && cop_space_ffn(space, other, hidden) == width) {
                first = other;
            }
        }
    }
    return first;
}

// --- Costs --------------------------------------------------------------------------------------

cop_space_parts cop_space_base(const cop_space *space, int64_t hidden)
{
    const cop_arch *teacher = &space->teacher;
    cop_space_parts parts = {.embedding = teacher->vocab * hidden};

    parts.params_non_embedding = hidden * (teacher->norm == COP_NORM_RMS ? 1 : 2);
    parts.params = parts.params_non_embedding + (teacher->is_tied ? 1 : 2) * parts.embedding;
    return parts;
}

cop_space_parts cop_space_block(const cop_space *space, int64_t hidden, const cop_layer_arch *block)
{
    const cop_space_point point = {.layers = 1,
                                   .heads = block->heads,
                                   .kv_heads = block->kv_heads,
                                   .ffn = block->ffn,
                                   .hidden = hidden};
    const cop_space_parts one = cop_space_measure(space, &point);
    const cop_space_parts base = cop_space_base(space, hidden);
    return cop_space_add(&one, &base, -1);
}

cop_space_parts cop_space_add(const cop_space_parts *a, const cop_space_parts *b, int64_t times)
{
    return (cop_space_parts){.matmul_params = a->matmul_params + times * b->matmul_params,
                             .params_non_embedding =
                                 a->params_non_embedding + times * b->params_non_embedding,
                             .params = a->params + times * b->params,
                             .embedding = a->embedding + times * b->embedding,
                             .queries = a->queries + times * b->queries,
                             .keys = a->keys + times * b->keys};
}

cop_space_parts cop_space_measure(const cop_space *space, const cop_space_point *point)
{
    const cop_arch *teacher = &space->teacher;
    const int64_t query = point->heads * teacher->head_dim;
    const int64_t key = point->kv_heads * teacher->head_dim;
    const int64_t matrices = teacher->is_gated ? 3 : 2;
    const int64_t norm = point->hidden * (teacher->norm == COP_NORM_RMS ? 1 : 2);
    cop_space_parts parts = {.embedding = teacher->vocab * point->hidden,
                             .queries = point->layers * query,
                             .keys = point->layers * key};

    int64_t vectors = 2 * norm;
    if (teacher->attention_bias) {
        vectors += query + 2 * key + point->hidden;
    }
    if (teacher->mlp_bias) {
        vectors += (matrices - 1) * point->ffn + point->hidden;
    }
    parts.matmul_params =
        point->layers * point->hidden * (2 * (query + key) + matrices * point->ffn);
    parts.params_non_embedding = parts.matmul_params + point->layers * vectors + norm;
    parts.params = parts.params_non_embedding + (teacher->is_tied ? 1 : 2) * parts.embedding;
    return parts;
}

static int64_t weights_bytes(const cop_space_use *use, const cop_space_parts *parts)
{
    return parts->params * (int64_t)cop_dtype_bytes(use->weights);
}

static int64_t kv_cache_bytes(const cop_space_use *use, const cop_space_parts *parts)
{
    return 2 * use->batch * use->sequence * parts->keys * (int64_t)cop_dtype_bytes(use->kv);
}

static double flops_per_token(const cop_space_use *use, const cop_space_parts *parts)
{
    return 2.0 * (double)(parts->matmul_params + parts->embedding) +
           4.0 * (double)use->flops_sequence * (double)parts->queries;
}

cop_cost cop_space_cost(const cop_space *space, const cop_space_parts *parts)
{
    const cop_space_use *use = &space->use[0];
    cop_cost cost = {.params = parts->params,
                     .params_non_embedding = parts->params_non_embedding,
                     .matmul_params = parts->matmul_params,
                     .weights_bytes = weights_bytes(use, parts),
                     .kv_cache_bytes = kv_cache_bytes(use, parts),
                     .flops_per_token = flops_per_token(use, parts)};

    cost.total_bytes = cost.weights_bytes + cost.kv_cache_bytes;
    return cost;
}

double cop_space_bound_value(const cop_space *space, const cop_space_bound *bound,
                             const cop_space_parts *parts)
{
    const cop_space_use *use = &space->use[bound->use];
    switch (bound->metric) {
    case COP_SPACE_PARAMS: return (double)parts->params;
    case COP_SPACE_PARAMS_NON_EMBEDDING: return (double)parts->params_non_embedding;
    case COP_SPACE_MEMORY_BYTES:
        return (double)(weights_bytes(use, parts) + kv_cache_bytes(use, parts));
    case COP_SPACE_FLOPS_PER_TOKEN: return flops_per_token(use, parts);
    case COP_SPACE_METRIC_COUNT: break;
    }
    return 0.0;
}

int64_t cop_space_bound_sum(const cop_space *space, const cop_space_bound *bound,
                            const cop_space_parts *parts)
{
    const cop_space_use *use = &space->use[bound->use];
    switch (bound->metric) {
    case COP_SPACE_PARAMS: return parts->params;
    case COP_SPACE_PARAMS_NON_EMBEDDING: return parts->params_non_embedding;
    case COP_SPACE_MEMORY_BYTES: return weights_bytes(use, parts) + kv_cache_bytes(use, parts);
    case COP_SPACE_FLOPS_PER_TOKEN:
        return 2 * (parts->matmul_params + parts->embedding) +
               4 * use->flops_sequence * parts->queries;
    case COP_SPACE_METRIC_COUNT: break;
    }
    return 0;
}

bool cop_space_bound_holds(const cop_space_bound *bound, double value)
{
    return bound->is_min ? value >= bound->limit : value <= bound->limit;
}

double cop_space_violation(const cop_space *space, const cop_space_parts *parts)
{
    double sum = 0.0;

    for (int i = 0; i < space->bounds; i++) {
        const cop_space_bound *bound = &space->bound[i];
        const double value = cop_space_bound_value(space, bound, parts);
        if (!cop_space_bound_holds(bound, value)) {
            sum += fabs(value - bound->limit) / (bound->limit > 0.0 ? bound->limit : 1.0);
        }
    }
    return sum;
}

// --- Points -------------------------------------------------------------------------------------

bool cop_space_pair_at(const cop_space *space, int64_t heads, int64_t kv_heads, cop_space_pair *out)
{
    const int64_t group = space->block.heads / space->block.kv_heads;
    const int64_t value = space->value[COP_SPACE_KV_HEADS][kv_heads];
    *out = (cop_space_pair){.heads_at = (int32_t)heads,
                            .kv_heads_at = (int32_t)kv_heads,
                            .heads = space->value[COP_SPACE_HEADS][heads],
                            .kv_heads = value};
    if (out->heads % value != 0) {
        return false;
    }
    if (space->is_grouped) {
        out->kv_heads = out->heads / value;
        return value <= group && out->kv_heads <= space->block.kv_heads;
    }
    return out->heads / value <= group;
}

void cop_space_fill(const cop_space *space, const cop_space_point *point, int64_t ffn,
                    int64_t index, cop_candidate *out)
{
    const cop_space_parts parts = cop_space_measure(space, point);

    *out = (cop_candidate){.grid_index = index,
                           .layers = point->layers,
                           .hidden = point->hidden,
                           .heads = point->heads,
                           .kv_heads = point->kv_heads,
                           .head_dim = space->teacher.head_dim,
                           .ffn = point->ffn,
                           .ffn_ratio = space->ratio != NULL ? space->ratio[ffn] : (double)NAN,
                           .cost = cop_space_cost(space, &parts)};
    (void)snprintf(out->id, sizeof out->id, "L%lld-C%lld-H%lld-K%lld-F%lld", (long long)out->layers,
                   (long long)out->hidden, (long long)out->heads, (long long)out->kv_heads,
                   (long long)out->ffn);
}

void cop_space_fill_blocks(const cop_space *space, int64_t layers, int64_t hidden, int64_t ffn,
                           const cop_layer_arch *blocks, int64_t index, cop_candidate *out)
{
    cop_space_parts parts = cop_space_base(space, hidden);

    for (int64_t i = 0; i < layers; i++) {
        const cop_space_parts block = cop_space_block(space, hidden, &blocks[i]);
        parts = cop_space_add(&parts, &block, 1);
    }
    *out = (cop_candidate){.grid_index = index,
                           .layers = layers,
                           .hidden = hidden,
                           .head_dim = space->teacher.head_dim,
                           .ffn_ratio = space->ratio != NULL ? space->ratio[ffn] : (double)NAN,
                           .cost = cop_space_cost(space, &parts)};
    cop_candidate_name(out, blocks);
}

bool cop_space_at(const cop_space *space, int64_t index, cop_layer_arch *blocks, cop_candidate *out)
{
    int64_t digit[COP_SPACE_AXIS_COUNT];
    int64_t rest = index;
    cop_space_pair pair;

    *out = (cop_candidate){0};
    if (index < 0 || index >= space->size || space->size == INT64_MAX) {
        return false;
    }
    if (space->has_layer_pairs || space->has_layer_ffn) {
        return cop_space_at_layered(space, index, blocks, out);
    }
    for (int i = COP_SPACE_AXIS_COUNT - 1; i >= 0; i--) {
        digit[i] = rest % space->count[i];
        rest /= space->count[i];
    }
    if (!cop_space_pair_at(space, digit[COP_SPACE_HEADS], digit[COP_SPACE_KV_HEADS], &pair)) {
        return false;
    }
    const cop_space_point point = {
        .layers = space->value[COP_SPACE_LAYERS][digit[COP_SPACE_LAYERS]],
        .heads = pair.heads,
        .kv_heads = pair.kv_heads,
        .ffn = cop_space_ffn(space, digit[COP_SPACE_FFN], digit[COP_SPACE_HIDDEN]),
        .hidden = space->value[COP_SPACE_HIDDEN][digit[COP_SPACE_HIDDEN]]};
    if (point.ffn > space->block.ffn) {
        return false;
    }
    cop_space_fill(space, &point, digit[COP_SPACE_FFN], index, out);
    return true;
}
