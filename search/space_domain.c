#include "search/space_domain.h"

#include <math.h>

#include "base/alloc.h"
#include "search/space_domain_internal.h"

// A genome's sizes. Its blocks are all alike unless the domain is layered.
typedef struct sizes {
    int64_t layers;
    int64_t hidden;
    int64_t hidden_at; // positions
    int64_t ffn_at;
    cop_layer_arch block; // of layers without a choice of their own
    cop_space_parts parts;
} sizes;

// --- Genomes ------------------------------------------------------------------------------------

// Position of the value that all layers share; 0 when each chooses.
static int64_t position(const cop_space_domain *domain, cop_space_axis kind, const int32_t *genome)
{
    const int at = domain->at[kind];
    return at < 0 ? 0 : domain->space->sorted[kind][genome[at]];
}

// First of the axes of single layers.
static int first_own(const cop_space_domain *domain)
{
    int shared = 0;
    for (int i = 0; i < COP_SPACE_AXIS_COUNT; i++) {
        shared += domain->at[i] >= 0 ? 1 : 0;
    }
    return shared;
}

// Block of a layer: what is shared, and what its own axes say from genome[*next] on.
static cop_layer_arch take_block(const cop_space_domain *domain, const sizes *s,
                                 const int32_t *genome, int *next)
{
    const cop_space *space = domain->space;
    cop_layer_arch block = s->block;
    if (space->has_layer_pairs) {
        const cop_space_pair *pair = &space->pair[domain->pair_sorted[genome[(*next)++]]];
        block.heads = pair->heads;
        block.kv_heads = pair->kv_heads;
    }
    if (space->has_layer_ffn) {
        block.ffn = space->value[COP_SPACE_FFN][space->sorted[COP_SPACE_FFN][genome[(*next)++]]];
    }
    return block;
}

// false: no architecture. `blocks` [layers] may be NULL.
static bool take_genome(const cop_space_domain *domain, const int32_t *genome,
                        cop_layer_arch *blocks, sizes *out)
{
    const cop_space *space = domain->space;
    int next = first_own(domain);

    *out = (sizes){.layers =
                       space->value[COP_SPACE_LAYERS][position(domain, COP_SPACE_LAYERS, genome)],
                   .hidden_at = position(domain, COP_SPACE_HIDDEN, genome),
                   .ffn_at = position(domain, COP_SPACE_FFN, genome)};
    out->hidden = space->value[COP_SPACE_HIDDEN][out->hidden_at];
    if (!space->has_layer_ffn) {
        out->block.ffn = cop_space_ffn(space, out->ffn_at, out->hidden_at);
        if (out->block.ffn > space->block.ffn) {
            return false;
        }
    }
    if (!space->has_layer_pairs) {
        cop_space_pair pair;
        if (!cop_space_pair_at(space, position(domain, COP_SPACE_HEADS, genome),
                               position(domain, COP_SPACE_KV_HEADS, genome), &pair)) {
            return false;
        }
        out->block.heads = pair.heads;
        out->block.kv_heads = pair.kv_heads;
    }
    out->parts = cop_space_base(space, out->hidden);
    if (!domain->is_layered) {
        const cop_space_parts block = cop_space_block(space, out->hidden, &out->block);
        out->parts = cop_space_add(&out->parts, &block, out->layers);
        return true;
    }
    for (int64_t i = 0; i < out->layers; i++) {
        const cop_layer_arch own = take_block(domain, out, genome, &next);
        const cop_space_parts block = cop_space_block(space, out->hidden, &own);
        out->parts = cop_space_add(&out->parts, &block, 1);
        if (blocks != NULL) {
            blocks[i] = own;
        }
    }
    return true;
}

static void canonicalize(const void *context, int32_t *genome)
{
    const cop_space_domain *domain = context;
    const cop_space *space = domain->space;
    const int64_t layers =
        space->value[COP_SPACE_LAYERS][position(domain, COP_SPACE_LAYERS, genome)];

    if (space->ratio != NULL) {
        const int64_t first = cop_space_first_equal(space, position(domain, COP_SPACE_FFN, genome),
                                                    position(domain, COP_SPACE_HIDDEN, genome));
        genome[domain->at[COP_SPACE_FFN]] = space->rank[COP_SPACE_FFN][first];
    }
    for (int i = 0; i < domain->view.axes; i++) {
        if (domain->axis[i].layer >= layers) {
            genome[i] = 0;
        }
    }
}

// Place in the grid; INT64_MAX in one of more than 2^53 points.
static int64_t index_of(const cop_space_domain *domain, const int32_t *genome)
{
    const cop_space *space = domain->space;
    int64_t index = 0;

    if (space->size == INT64_MAX) {
        return INT64_MAX;
    }
    if (domain->is_layered) {
        return cop_space_index_layered(
            space, position(domain, COP_SPACE_LAYERS, genome),
            position(domain, COP_SPACE_HEADS, genome), position(domain, COP_SPACE_KV_HEADS, genome),
            position(domain, COP_SPACE_FFN, genome), position(domain, COP_SPACE_HIDDEN, genome));
    }
    for (int i = 0; i < COP_SPACE_AXIS_COUNT; i++) {
        index = index * space->count[i] + position(domain, (cop_space_axis)i, genome);
    }
    return index;
}

// What the blocks of a layered genome add to the index of its first point.
static int64_t index_of_blocks(const cop_space_domain *domain, const int32_t *genome,
                               int64_t layers)
{
    const cop_space *space = domain->space;
    int next = first_own(domain);
    int64_t index = 0;

    for (int64_t i = 0; i < layers; i++) {
        int64_t option = 0;
        if (space->has_layer_pairs) {
            option = domain->pair_sorted[genome[next++]];
        }
        if (space->has_layer_ffn) {
            option =
                option * space->count[COP_SPACE_FFN] + space->sorted[COP_SPACE_FFN][genome[next++]];
        }
        index = index * cop_space_options(space) + option;
    }
    return index;
}

bool cop_space_domain_candidate(const cop_space_domain *domain, const int32_t *genome,
                                cop_layer_arch *blocks, cop_candidate *out)
{
    const cop_space *space = domain->space;
    int64_t index = index_of(domain, genome);
    sizes s;

    *out = (cop_candidate){0};
    if (!take_genome(domain, genome, blocks, &s)) {
        return false;
    }
    if (!domain->is_layered) {
        const cop_space_point point = {.layers = s.layers,
                                       .heads = s.block.heads,
                                       .kv_heads = s.block.kv_heads,
                                       .ffn = s.block.ffn,
                                       .hidden = s.hidden};
        cop_space_fill(space, &point, s.ffn_at, index, out);
        return true;
    }
    index += index == INT64_MAX ? 0 : index_of_blocks(domain, genome, s.layers);
    cop_space_fill_blocks(space, s.layers, s.hidden, s.ffn_at, blocks, index, out);
    return true;
}

// --- What is known of a point -------------------------------------------------------------------

static double violation(const void *context, const int32_t *genome)
{
    const cop_space_domain *domain = context;
    sizes s;
    return take_genome(domain, genome, NULL, &s) ? cop_space_violation(domain->space, &s.parts)
                                                 : (double)INFINITY;
}

static double value(const void *context, int axis, int32_t level)
{
    const cop_space_domain *domain = context;
    const cop_space *space = domain->space;
    const cop_space_axis kind = domain->axis[axis].kind;
    if (kind == COP_SPACE_HEADS && domain->axis[axis].layer >= 0) {
        const cop_space_pair *pair = &space->pair[domain->pair_sorted[level]];
        return (double)(pair->heads + pair->kv_heads); // what the block's matrices grow with
    }
    const int64_t at = space->sorted[kind][level];
    return kind == COP_SPACE_FFN && space->ratio != NULL ? space->ratio[at]
                                                         : (double)space->value[kind][at];
}

static void describe(const void *context, const int32_t *genome, double *features)
{
    const cop_space_domain *domain = context;
    cop_layer_arch blocks[COP_ARCH_LAYERS_MAX];
    cop_candidate c;

    if (!cop_space_domain_candidate(domain, genome, blocks, &c)) {
        for (int i = 0; i < domain->view.features; i++) {
            features[i] = (double)NAN;
        }
        return;
    }
    const double own[COP_SPACE_FEATURES] = {(double)c.layers,
                                            (double)c.hidden,
                                            (double)c.heads,
                                            (double)c.kv_heads,
                                            (double)c.ffn,
                                            (double)c.layers / (double)c.hidden,
                                            log((double)c.cost.params),
                                            log((double)c.cost.params_non_embedding),
                                            log((double)c.cost.total_bytes),
                                            log(c.cost.flops_per_token)};
    for (int i = 0; i < COP_SPACE_FEATURES; i++) {
        features[i] = own[i];
    }
    if (domain->extra.count > 0) {
        domain->extra.describe(domain->extra.context, &c, features + COP_SPACE_FEATURES);
    }
}

static void strata(const void *context, const int32_t *genome, double *size, double *shape)
{
    sizes s;
    const bool is_one = take_genome(context, genome, NULL, &s);
    *size = is_one ? (double)s.parts.params : (double)NAN;
    *shape = is_one ? (double)s.layers / (double)s.hidden : (double)NAN;
}

static void known(const void *context, const int32_t *genome, double *objective)
{
    const cop_space_domain *domain = context;
    const cop_space *space = domain->space;
    sizes s;

    const bool is_one = take_genome(domain, genome, NULL, &s);
    const cop_cost cost = is_one ? cop_space_cost(space, &s.parts) : (cop_cost){0};
    for (int i = 0; i < space->objectives; i++) {
        objective[i] = (double)NAN;
        switch (space->objective[i]) {
        case COP_OBJECTIVE_LOSS: break;
        case COP_OBJECTIVE_PARAMS: objective[i] = (double)cost.params; break;
        case COP_OBJECTIVE_MEMORY: objective[i] = (double)cost.total_bytes; break;
        case COP_OBJECTIVE_FLOPS: objective[i] = cost.flops_per_token; break;
        }
        if (!is_one && space->objective[i] != COP_OBJECTIVE_LOSS) {
            objective[i] = (double)INFINITY;
        }
    }
}

// --- Life cycle ---------------------------------------------------------------------------------

static void add_axis(cop_space_domain *domain, cop_space_axis kind, int layer)
{
    const bool is_pair = kind == COP_SPACE_HEADS && layer >= 0;
    const int64_t levels = is_pair ? domain->space->pairs : domain->space->count[kind];
    if (layer < 0) {
        domain->at[kind] = domain->view.axes;
    }
    domain->axis[domain->view.axes] = (domain_axis){.kind = kind, .layer = layer};
    domain->levels[domain->view.axes++] = (int32_t)levels;
}

// Axes that all layers share, then those of each layer of the deepest candidate.
static void list_axes(cop_space_domain *domain, int64_t deepest)
{
    const cop_space *space = domain->space;
    for (int i = 0; i < COP_SPACE_AXIS_COUNT; i++) {
        const cop_space_axis kind = (cop_space_axis)i;
        const bool is_head = kind == COP_SPACE_HEADS || kind == COP_SPACE_KV_HEADS;
        domain->at[i] = -1;
        if (!(is_head && space->has_layer_pairs) &&
            !(kind == COP_SPACE_FFN && space->has_layer_ffn)) {
            add_axis(domain, kind, -1);
        }
    }
    for (int layer = 0; domain->is_layered && layer < deepest; layer++) {
        if (space->has_layer_pairs) {
            add_axis(domain, COP_SPACE_HEADS, layer);
        }
        if (space->has_layer_ffn) {
            add_axis(domain, COP_SPACE_FFN, layer);
        }
    }
}

// Ascending by heads + kv_heads, then by heads. Pairs are few: insertion.
static void sort_pairs(cop_space_domain *domain)
{
    const cop_space *space = domain->space;
    for (int64_t i = 0; i < space->pairs; i++) {
        const cop_space_pair *pair = &space->pair[i];
        int64_t k = i;
        for (; k > 0; k--) {
            const cop_space_pair *before = &space->pair[domain->pair_sorted[k - 1]];
            const int64_t difference =
                before->heads + before->kv_heads - pair->heads - pair->kv_heads;
            if (difference < 0 || (difference == 0 && before->heads < pair->heads)) {
                break;
            }
            domain->pair_sorted[k] = domain->pair_sorted[k - 1];
        }
        domain->pair_sorted[k] = (int32_t)i;
    }
    for (int64_t i = 0; i < space->pairs; i++) {
        domain->pair_rank[domain->pair_sorted[i]] = (int32_t)i;
    }
}

cop_status cop_space_domain_create(cop_space_domain **out, const cop_space *space,
                                   const cop_space_features *features, cop_error *err)
{
    const int extra = features == NULL ? 0 : features->count;
    const int64_t layers = space->count[COP_SPACE_LAYERS];
    const int64_t deepest =
        space->value[COP_SPACE_LAYERS][space->sorted[COP_SPACE_LAYERS][layers - 1]];
    cop_status status = COP_OK;
    cop_space_domain *domain = NULL;

    *out = NULL;
    if (extra < 0 || extra > COP_DOMAIN_FEATURES_MAX - COP_SPACE_FEATURES) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s: space: %d further features (allowed: 0..%d)",
                        space->path, extra, COP_DOMAIN_FEATURES_MAX - COP_SPACE_FEATURES);
    }
    domain = cop_alloc(1, sizeof *domain);
    if (domain == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for the space", space->path);
    }
    domain->space = space;
    domain->is_layered = space->has_layer_pairs || space->has_layer_ffn;
    domain->extra = extra > 0 ? *features : (cop_space_features){0};
    domain->axis = cop_alloc(COP_DOMAIN_AXES_MAX, sizeof *domain->axis);
    domain->levels = cop_alloc(COP_DOMAIN_AXES_MAX, sizeof *domain->levels);
    domain->pair_sorted = cop_alloc((size_t)space->pairs, sizeof *domain->pair_sorted);
    domain->pair_rank = cop_alloc((size_t)space->pairs, sizeof *domain->pair_rank);
    if (domain->axis == NULL || domain->levels == NULL || domain->pair_sorted == NULL ||
        domain->pair_rank == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for the space", space->path);
        goto done;
    }
    if (domain->is_layered) {
        sort_pairs(domain);
    }
    domain->view = (cop_domain){.context = domain,
                                .levels = domain->levels,
                                .canonicalize = canonicalize,
                                .violation = violation,
                                .value = value,
                                .features = COP_SPACE_FEATURES + extra,
                                .describe = describe,
                                .strata = strata,
                                .known = known};
    list_axes(domain, deepest);
    if (features != NULL && features->scores != NULL) {
        COP_TRY(status, cop_space_domain_add(domain, features->scores, err));
    }
    *out = domain;
    domain = NULL;

done:
    cop_space_domain_destroy(domain);
    return status;
}

void cop_space_domain_destroy(cop_space_domain *domain)
{
    if (domain != NULL) {
        cop_free(domain->axis);
        cop_free(domain->levels);
        cop_free(domain->pair_sorted);
        cop_free(domain->pair_rank);
        cop_free(domain->is_shared);
        cop_free(domain);
    }
}

const cop_domain *cop_space_domain_view(const cop_space_domain *domain)
{
    return &domain->view;
}

const char *cop_space_domain_axis_name(const cop_space_domain *domain, int axis, int *layer)
{
    if (layer != NULL) {
        *layer = domain->axis[axis].layer;
    }
    return cop_space_key(domain->space, domain->axis[axis].kind);
}
